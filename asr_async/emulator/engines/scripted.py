"""An engine that answers from a script: what is said when is written down beforehand, the audio only drives the clock.

Knows neither sound nor time of day: the clock is the number of samples taken in, so the same audio gives the same
hypotheses in the same order, however it is cut into pieces and however fast it comes. Silence is as good as speech.
A source that is recognised in several connections needs audio that says where in it each of them stands, and
`Scripted(..., position=position_of)`, which reads that; see there.

A segment is read out as the clock passes it: an interim hypothesis every `interim_every_ms`, holding the words begun by
then, and the final one at its end. If the audio ends inside a segment, the segment is finalised with the words begun
until then, and ends where the audio ends; segments that the audio never reached are never heard.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ...errors import ConfigurationError
from ..audio_decoder import SAMPLE_BYTES
from .engine import Hypothesis, HypothesisWord

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from .engine import Emit, Request

__all__ = ["Position", "Scripted", "ScriptedSegment"]

_Timed = TypeVar("_Timed", Hypothesis, HypothesisWord)

Position = Callable[[bytes], int | None]
"""Reads from samples which of its source the first one is; None for samples that do not say, such as silence."""

MAX_SHIFTS = 64
"""So many places of the script are remembered by where they are in the audio; what is being read needs the last."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han, which are written without spaces: each character counts as a word, as with the vendors."""

_PUNCTUATION = ',.!?;:…"”，。！？；：、'  # noqa: RUF001 - the full-width ones are meant
_WORD = re.compile(
    rf"(?P<word>[{_CJK}]|[^\s{_CJK}]+?(?=[{_PUNCTUATION}]*(?:\s|$|[{_CJK}])))(?P<punctuation>[{_PUNCTUATION}]*)"
)

_TUPLE_MEMBERS = ("text", "start_ms", "end_ms", "words")
"""What a segment holds that is written as a tuple, in its order; the rest needs its name."""


class ScriptedSegment(msgspec.Struct, frozen=True):
    """One utterance of a script. Without `words` they are taken from the text and spread evenly over the segment."""

    text: str
    start_ms: int
    end_ms: int
    words: tuple[HypothesisWord, ...] | None = None
    variants: dict[str, str] | None = None
    """Terms of the text that are heard right only as hot words, and how they are written otherwise:
    `{"Seediq Bale": "seat a bail"}`. Not beside `words`."""
    translations: dict[str, str] | None = None
    """Language → the whole text in that language, which grows as the words do."""

    @classmethod
    def of(cls, value: ScriptedSegment | Mapping[str, Any] | Sequence[Any]) -> Self:
        """Read a segment from a dict or from a tuple (text, start_ms, end_ms).

        Raises:
            ConfigurationError: that is not a segment.
        """
        if isinstance(value, (tuple, list)):
            if len(value) > len(_TUPLE_MEMBERS):
                raise ConfigurationError(f"has {len(value)} members, not (text, start_ms, end_ms)")
            value = dict(zip(_TUPLE_MEMBERS, value, strict=False))
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise ConfigurationError(str(error)) from None


class Scripted:
    """Makes recognitions that follow a script; any sample rate, any language, any number at once.

    With `position` the script is one of a *source*, and each recognition follows it from the place at which its audio
    stands: a client that sends a part of the source again hears that part again, one that leaves something out does not
    hear that. Times are told by the recognition's own audio, as a vendor tells them. The rules:

    - A segment that began before the audio is read from its first word that begins in the audio, with that word's
      begin as its own; one without such a word is not heard.
    - Audio that leaps to another place ends the segment that is being read, with the words begun until then.
    - Audio without a position (silence that a client fills in) takes time, in which nothing is said.
    """

    def __init__(
        self,
        segments: Iterable[ScriptedSegment | Mapping[str, Any] | Sequence[Any]],
        *,
        interim_every_ms: int = 200,
        position: Position | None = None,
    ) -> None:
        """Check the script.

        Args:
            segments: what is said, in order.
            interim_every_ms: how often, in audio, what has been said so far is told.
            position: reads from the audio where in the script it stands, such as `position_of` does for
                `position_audio(...)`; None reads the script from its beginning in each recognition.

        Raises:
            ConfigurationError: a segment cannot be read, is out of order or overlaps the one before.
        """
        if interim_every_ms < 1:
            raise ConfigurationError(f"interim_every_ms={interim_every_ms}: must be at least 1")
        self._utterances = _utterances(segments)
        self._interim_every_ms = interim_every_ms
        self._position = position

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, interim_every_ms: int = 200) -> Self:
        """Read a script: JSON, a list of segments or `{"segments": [...]}`.

        Raises:
            ConfigurationError: the file cannot be read, or is not a script.
        """
        try:
            script = msgspec.json.decode(Path(path).read_bytes())
            return cls(_listed(script), interim_every_ms=interim_every_ms)
        except OSError as error:
            raise ConfigurationError(f"script {path}: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"script {path}: not JSON: {error}") from None
        except ConfigurationError as error:
            raise ConfigurationError(f"script {path}: {error}") from None

    def __repr__(self) -> str:
        return f"<Scripted {len(self._utterances)} segments>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def open(self, request: Request, emit: Emit) -> _ScriptedRecognition:
        """Begin to read out the script, as it is heard with the hot words of the request."""
        utterances = tuple(utterance.heard_with(request.hot_words) for utterance in self._utterances)
        clock = _Clock(request.sample_rate, self._position)
        return _ScriptedRecognition(utterances, self._interim_every_ms, clock, emit)


def _listed(script: Any) -> list[Any]:
    if isinstance(script, dict) and "segments" in script:
        script = script["segments"]
    if not isinstance(script, list):
        raise ConfigurationError('must be a list of segments or {"segments": [...]}')
    return script


def _utterances(segments: Iterable[Any]) -> tuple[_Utterance, ...]:
    utterances: list[_Utterance] = []
    for number, segment in enumerate(segments, 1):
        try:
            utterances.append(_following(utterances[-1:], segment))
        except ConfigurationError as error:
            raise ConfigurationError(f"segment {number}: {error}") from None
    return tuple(utterances)


def _following(before: list[_Utterance], segment: Any) -> _Utterance:
    utterance = _Utterance(ScriptedSegment.of(segment))
    if before and utterance.start_ms < before[0].end_ms:
        raise ConfigurationError(
            f"starts at {utterance.start_ms} ms, before the one before it ends ({before[0].end_ms} ms)"
        )
    return utterance


class _Utterance:
    """A checked segment, ready to be read out up to any moment."""

    def __init__(self, segment: ScriptedSegment) -> None:
        self.text = segment.text
        self.start_ms = segment.start_ms
        self.end_ms = segment.end_ms
        if not 0 <= self.start_ms < self.end_ms:
            raise ConfigurationError(
                f"must start at 0 ms or later and before it ends, not {self.start_ms}..{self.end_ms}"
            )
        self._segment = segment
        self._words = _spread(segment) if segment.words is None else segment.words
        self._check_words()
        self._check_variants()
        self._ends_in_text = _word_ends(self.text, self._words)
        self._translations = {
            language: _beginnings(text, len(self._words)) for language, text in (segment.translations or {}).items()
        }

    def _check_words(self) -> None:
        if not self._words:
            raise ConfigurationError("has no words")
        before_ms = self.start_ms
        for word in self._words:
            if not before_ms <= word.start_ms <= word.end_ms <= self.end_ms:
                raise ConfigurationError(f"the times of {word.text!r} are out of order or outside the segment")
            before_ms = word.end_ms

    def _check_variants(self) -> None:
        variants = self._segment.variants or {}
        if variants and self._segment.words is not None:
            raise ConfigurationError("has both words and variants: leave out words, they follow from the text")
        for term, variant in variants.items():
            if not term or term not in self.text:
                raise ConfigurationError(f"variants: {term!r} is not in its text")
            if not _WORD.search(variant):
                raise ConfigurationError(f"variants: {variant!r} for {term!r} holds no word")

    def heard_with(self, hot_words: Collection[str]) -> _Utterance:
        """The utterance as it is heard by who knows these words."""
        variants = self._segment.variants
        if not variants:
            return self
        # the longest first: a shorter one may be part of it
        terms = "|".join(re.escape(term) for term in sorted(variants, key=len, reverse=True))
        text = re.sub(terms, lambda match: match[0] if match[0] in hot_words else variants[match[0]], self.text)
        return _Utterance(msgspec.structs.replace(self._segment, text=text, variants=None))

    def from_word_at(self, moment_ms: int) -> _Utterance | None:
        """What is left of the utterance for who begins to listen at that moment; None if that is no word."""
        if moment_ms <= self.start_ms:
            return self
        missed = sum(word.start_ms < moment_ms for word in self._words)
        if missed == len(self._words):
            return None
        words = self._words[missed:]
        cut = self.text.index(words[0].text, self._ends_in_text[missed - 1]) if missed else 0
        return _Utterance(
            msgspec.structs.replace(
                self._segment,
                text=self.text[cut:],
                start_ms=words[0].start_ms,
                words=words,
                variants=None,
                translations={
                    language: texts[-1].removeprefix(texts[missed - 1] if missed else "").lstrip()
                    for language, texts in self._translations.items()
                },
            )
        )

    def until(self, moment_ms: int, *, is_final: bool) -> Hypothesis | None:
        """What was said before that moment; None if nothing was."""
        ended = moment_ms >= self.end_ms
        begun = len(self._words) if ended else sum(word.start_ms < moment_ms for word in self._words)
        if not begun:
            return None
        words = self._words[:begun]
        clipped = msgspec.structs.replace(words[-1], end_ms=min(words[-1].end_ms, moment_ms))
        return Hypothesis(
            text=self.text[: self._ends_in_text[begun - 1]],
            is_final=is_final,
            start_ms=self.start_ms,
            end_ms=moment_ms,
            words=(*words[:-1], clipped),
            translations={language: texts[begun - 1] for language, texts in self._translations.items()},
        )


def _spread(segment: ScriptedSegment) -> tuple[HypothesisWord, ...]:
    found = list(_WORD.finditer(segment.text))
    length_ms = segment.end_ms - segment.start_ms
    return tuple(
        HypothesisWord(
            text=match["word"],
            punctuation=match["punctuation"],
            start_ms=segment.start_ms + length_ms * index // len(found),
            end_ms=segment.start_ms + length_ms * (index + 1) // len(found),
        )
        for index, match in enumerate(found)
    )


def _word_ends(text: str, words: tuple[HypothesisWord, ...]) -> list[int]:
    """Where to cut the text behind each word: just before the next one, without the space between."""
    starts, position = [], 0
    for word in words:
        start = text.find(word.text, position)
        if start < 0:
            raise ConfigurationError(f"the word {word.text!r} is not in its text, or out of order")
        starts.append(start)
        position = start + len(word.text)
    return [len(text[:start].rstrip()) for start in starts[1:]] + [len(text)]


def _beginnings(text: str, steps: int) -> list[str]:
    """The text as it grows in so many steps, by whole words and to its end."""
    ends = [match.end() for match in _WORD.finditer(text)] or [len(text)]
    cuts = [ends[-(-len(ends) * step // steps) - 1] for step in range(1, steps)]
    return [*(text[:cut] for cut in cuts), text]


def _readings(utterances: tuple[_Utterance, ...], interim_every_ms: int) -> Iterator[Hypothesis]:
    """Every hypothesis of the whole script in order; each is due at its own `end_ms`."""
    for utterance in utterances:
        for tick_ms in range(utterance.start_ms + interim_every_ms, utterance.end_ms, interim_every_ms):
            if interim := utterance.until(tick_ms, is_final=False):
                yield interim
        if final := utterance.until(utterance.end_ms, is_final=True):
            yield final


class _Clock:
    """How much audio a recognition has taken in, and where in the script that is."""

    def __init__(self, sample_rate: int, position: Position | None) -> None:
        self._sample_rate = sample_rate
        self._position = position
        self._taken = 0
        """Samples of the recognition."""
        self._place = 0
        """The sample of the script that comes next."""
        self._shifts: deque[tuple[int, int]] = deque([(0, 0)], maxlen=MAX_SHIFTS)
        """From which place of the script on (ms), how much later it stands in the audio (ms)."""

    @property
    def now_ms(self) -> int:
        """The time in the script."""
        return self.to_ms(self._place)

    @property
    def audio_ms(self) -> int:
        """The time in the recognition's own audio."""
        return self.to_ms(self._taken)

    def read(self, samples: bytes) -> int | None:
        """Which sample of the script the first of these is; None if they are none of it."""
        return self._place if self._position is None else self._position(samples)

    def leaps_to(self, place: int) -> bool:
        """Whether the script does not go on where it was."""
        return place != self._place

    def take(self, samples: bytes, place: int | None) -> None:
        """Move on by these samples, which stand there in the script."""
        count = len(samples) // SAMPLE_BYTES
        if place is not None:
            shift_ms = round((self._taken - place) * 1000 / self._sample_rate)
            if shift_ms != self._shifts[-1][1]:
                self._shifts.append((self.to_ms(place), shift_ms))
            self._place = place + count
        self._taken += count

    def span_in_audio(self, start_ms: int, end_ms: int) -> tuple[int, int]:
        """From when to when something that is now read of the script is in the recognition's own audio."""
        # an end belongs to what is before it, also where the audio went on elsewhere from there
        return start_ms + self._shift_ms(start_ms), end_ms + self._shift_ms(max(start_ms, end_ms - 1))

    def _shift_ms(self, script_ms: int) -> int:
        fitting = (shift_ms for since_ms, shift_ms in reversed(self._shifts) if since_ms <= script_ms)
        return next(fitting, self._shifts[0][1])

    def to_ms(self, samples: int) -> int:
        """So many samples as a time."""
        return samples * 1000 // self._sample_rate


class _ScriptedRecognition:
    """One reading of a script."""

    def __init__(
        self,
        utterances: tuple[_Utterance, ...],
        interim_every_ms: int,
        clock: _Clock,
        emit: Emit,
    ) -> None:
        self._script = utterances
        self._interim_every_ms = interim_every_ms
        self._clock = clock
        self._emit = emit
        self._heard_speech = False
        self._read_from(0)

    def _read_from(self, moment_ms: int) -> None:
        """Begin to read out the script at this time of it."""
        left = (utterance.from_word_at(moment_ms) for utterance in self._script if utterance.end_ms > moment_ms)
        self._utterances = tuple(utterance for utterance in left if utterance is not None)
        self._finals = 0
        self._ahead = _readings(self._utterances, self._interim_every_ms)
        self._next = next(self._ahead, None)

    def __repr__(self) -> str:
        progress = f"{self._finals} of {len(self._utterances)} segments done"
        return f"<_ScriptedRecognition at {self._clock.now_ms} ms, {progress}>"

    @property
    def _begun(self) -> int:
        """How many segments the clock has entered."""
        return bisect_left(self._utterances, self._clock.now_ms, key=lambda utterance: utterance.start_ms)

    @property
    def silent_ms(self) -> int:
        """Audio since the last segment ended; 0 inside one."""
        if not self._begun:
            return self._clock.audio_ms
        last = self._utterances[self._begun - 1]
        _, heard_until_ms = self._clock.span_in_audio(last.start_ms, last.end_ms)
        return max(0, self._clock.audio_ms - heard_until_ms)

    @property
    def has_speech(self) -> bool:
        """Whether the first segment has begun."""
        return self._heard_speech or self._begun > 0

    async def feed(self, samples: bytes) -> None:
        """Move the clock on, and say what has become due."""
        place = self._clock.read(samples)
        if place is not None and self._clock.leaps_to(place):
            await self.finish()
            self._heard_speech = self.has_speech
            self._read_from(self._clock.to_ms(place))
        self._clock.take(samples, place)
        while self._next is not None and self._next.end_ms <= self._clock.now_ms:
            due, self._next = self._next, next(self._ahead, None)
            self._finals += due.is_final
            await self._say(due)

    async def _say(self, hypothesis: Hypothesis) -> None:
        """Tell what was said, by the times of the recognition's own audio."""
        await self._emit(
            msgspec.structs.replace(
                self._in_audio(hypothesis), words=tuple(self._in_audio(word) for word in hypothesis.words)
            )
        )

    def _in_audio(self, said: _Timed) -> _Timed:
        start_ms, end_ms = self._clock.span_in_audio(said.start_ms, said.end_ms)
        return msgspec.structs.replace(said, start_ms=start_ms, end_ms=end_ms)

    async def finish(self) -> None:
        """Finalise the segment that the audio ended in, if it ended in one."""
        if self._begun > self._finals:
            last = self._utterances[self._begun - 1].until(self._clock.now_ms, is_final=True)
            self._finals = self._begun
            if last is not None:
                await self._say(last)

    async def aclose(self) -> None:
        """Nothing is held; nothing is said any more."""
        self._next = None
