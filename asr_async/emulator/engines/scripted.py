"""An engine that recognises a script: the utterances are written down beforehand, the audio only drives the clock.

Knows neither sound nor time of day: the clock is the number of samples received, so the same audio gives the same
hypotheses in the same order, for any division into messages and at any speed. Silence counts like speech. A source that
is recognised over several connections needs audio that encodes its position in the source, and `Scripted(...,
position=position_of)`, which decodes it; see there.

As the clock passes through a segment, the engine emits an interim hypothesis every `interim_every_ms`, with the words
that have begun by then, and the final one at its end. If the audio ends inside a segment, the segment is finalised with
the words that have begun, and ends where the audio ends. Segments that the audio does not reach are not emitted.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ...errors import ConfigurationError
from ..audio_decoder import SAMPLE_BYTES
from ..json_file import load_json
from .engine import Hypothesis, HypothesisWord
from .words import WORD

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from .engine import Emit, Request

__all__ = ["Position", "Scripted", "ScriptedSegment", "beginnings_of"]

_Timed = TypeVar("_Timed", Hypothesis, HypothesisWord)

Position = Callable[[bytes], int | None]
"""Returns the index of the first sample in its source; None for samples without a position, such as silence."""

MAX_SHIFTS = 64
"""The most shifts between script and audio that are kept; the present utterance needs the last one."""

_TUPLE_MEMBERS = ("text", "start_ms", "end_ms", "words")
"""The members of a segment in tuple form, in this order; the others need their names."""


class ScriptedSegment(msgspec.Struct, frozen=True):
    """One utterance of a script. Without `words`, the words of the text are spread evenly over the segment."""

    text: str
    start_ms: int
    end_ms: int
    words: tuple[HypothesisWord, ...] | None = None
    variants: dict[str, str] | None = None
    """Terms of the text that are recognised only if they are hot words, each with its text otherwise:
    `{"Seediq Bale": "seat a bail"}`. Cannot be combined with `words`."""
    translations: dict[str, str] | None = None
    """Language → the whole text in that language, which grows with the words."""

    @classmethod
    def of(cls, value: ScriptedSegment | Mapping[str, Any] | Sequence[Any]) -> Self:
        """Read a segment from a dict or from a tuple (text, start_ms, end_ms).

        Raises:
            ConfigurationError: the value is not a segment.
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
    """An engine that emits a script; it accepts any sample rate, any language and any number of recognitions.

    With `position` the script belongs to a *source*, and each recognition follows it from the position of its audio: a
    client that sends a part of the source again receives the text of that part again, and a client that omits a part
    does not receive its text. Times are those of the recognition's own audio, as with a vendor. The rules:

    - A segment that began before the audio is emitted from its first word that begins in the audio, and starts where
      that word does; a segment without such a word is not emitted. (`Request.includes_half_words` has another rule.)
    - Audio that jumps to another position ends the present segment, with the words that have begun by then.
    - Audio without a position (silence that a client inserts) advances the audio time, but not the script.
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
            segments: the utterances, in order.
            interim_every_ms: the audio time between two interims of a segment.
            position: returns the position of audio in the source, as `position_of` does for `position_audio(...)`; None
                starts the script from its beginning in each recognition.

        Raises:
            ConfigurationError: a segment cannot be read, is out of order or overlaps the one before it.
        """
        if interim_every_ms < 1:
            raise ConfigurationError(f"interim_every_ms={interim_every_ms}: must be at least 1")
        self._utterances = _read_utterances(segments)
        self._interim_every_ms = interim_every_ms
        self._position = position

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, interim_every_ms: int = 200) -> Self:
        """Read a script: JSON, a list of segments or `{"segments": [...]}`.

        Raises:
            ConfigurationError: the file cannot be read, or is not a script.
        """
        return load_json(
            path, kind="script", parse=lambda script: cls(_read_list(script), interim_every_ms=interim_every_ms)
        )

    def __repr__(self) -> str:
        return f"<Scripted {len(self._utterances)} segments>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def open(self, request: Request, emit: Emit) -> _ScriptedRecognition:
        """Start the script, in the form that the hot words of the request produce."""
        utterances = tuple(utterance.with_hot_words(request.hot_words) for utterance in self._utterances)
        clock = _Clock(request.sample_rate, self._position)
        return _ScriptedRecognition(
            utterances, self._interim_every_ms, clock, emit, with_half=request.includes_half_words
        )


def _read_list(script: Any) -> list[Any]:
    if isinstance(script, dict) and "segments" in script:
        script = script["segments"]
    if not isinstance(script, list):
        raise ConfigurationError('must be a list of segments or {"segments": [...]}')
    return script


def _read_utterances(segments: Iterable[Any]) -> tuple[_Utterance, ...]:
    utterances: list[_Utterance] = []
    for number, segment in enumerate(segments, 1):
        try:
            utterances.append(_read_next(utterances[-1:], segment))
        except ConfigurationError as error:
            raise ConfigurationError(f"segment {number}: {error}") from None
    return tuple(utterances)


def _read_next(previous: list[_Utterance], segment: Any) -> _Utterance:
    utterance = _Utterance(ScriptedSegment.of(segment))
    if previous and utterance.start_ms < previous[0].end_ms:
        raise ConfigurationError(
            f"starts at {utterance.start_ms} ms, before the previous segment ends ({previous[0].end_ms} ms)"
        )
    return utterance


class _Utterance:
    """A checked segment, which gives its hypothesis at any moment."""

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
            language: beginnings_of(text, len(self._words)) for language, text in (segment.translations or {}).items()
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
            raise ConfigurationError("has both words and variants: omit words, which follow from the text")
        for term, variant in variants.items():
            if not term or term not in self.text:
                raise ConfigurationError(f"variants: {term!r} is not in its text")
            if not WORD.search(variant):
                raise ConfigurationError(f"variants: {variant!r} for {term!r} contains no word")

    def with_hot_words(self, hot_words: Collection[str]) -> _Utterance:
        """Return the utterance as recognised with these hot words: other terms appear as their variants."""
        variants = self._segment.variants
        if not variants:
            return self
        # the longest first: a shorter one may be part of it
        terms = "|".join(re.escape(term) for term in sorted(variants, key=len, reverse=True))
        text = re.sub(terms, lambda match: match[0] if match[0] in hot_words else variants[match[0]], self.text)
        return _Utterance(msgspec.structs.replace(self._segment, text=text, variants=None))

    def from_word_at(self, moment_ms: int, *, with_half: bool) -> _Utterance | None:
        """Return the rest of the utterance from that moment on; None if no word begins after it.

        Args:
            moment_ms: the moment.
            with_half: True to begin with a word that has its middle behind that moment.
        """
        if moment_ms <= self.start_ms:
            return self
        missed = self._words_before(moment_ms, with_half=with_half)
        if missed == len(self._words):
            return None
        first = self._words[missed]
        words = (msgspec.structs.replace(first, start_ms=max(first.start_ms, moment_ms)), *self._words[missed + 1 :])
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

    def _words_before(self, moment_ms: int, *, with_half: bool) -> int:
        """Return the number of words that begin before a moment, or have their middle before it."""
        if with_half:
            return sum(word.start_ms + word.end_ms < 2 * moment_ms for word in self._words)
        return sum(word.start_ms < moment_ms for word in self._words)

    def until(self, moment_ms: int, *, is_final: bool, with_half: bool) -> Hypothesis | None:
        """Return the hypothesis at that moment; None if no word has begun, or reached its middle."""
        ended = moment_ms >= self.end_ms
        begun = len(self._words) if ended else self._words_before(moment_ms, with_half=with_half)
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
    found = list(WORD.finditer(segment.text))
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
    """Return the end of the text of each word: just before the next word, without the space between them."""
    starts, position = [], 0
    for word in words:
        start = text.find(word.text, position)
        if start < 0:
            raise ConfigurationError(f"the word {word.text!r} is not in its text, or out of order")
        starts.append(start)
        position = start + len(word.text)
    return [len(text[:start].rstrip()) for start in starts[1:]] + [len(text)]


def beginnings_of(text: str, steps: int) -> list[str]:
    """Return this many beginnings of the text, each by whole words, the last one complete."""
    ends = [match.end() for match in WORD.finditer(text)] or [len(text)]
    cuts = [ends[-(-len(ends) * step // steps) - 1] for step in range(1, steps)]
    return [*(text[:cut] for cut in cuts), text]


def _hypotheses(utterances: tuple[_Utterance, ...], interim_every_ms: int, *, with_half: bool) -> Iterator[Hypothesis]:
    """Yield every hypothesis of the script in order; each is due at its own `end_ms`."""
    for utterance in utterances:
        for tick_ms in range(utterance.start_ms + interim_every_ms, utterance.end_ms, interim_every_ms):
            if interim := utterance.until(tick_ms, is_final=False, with_half=with_half):
                yield interim
        if final := utterance.until(utterance.end_ms, is_final=True, with_half=with_half):
            yield final


class _Clock:
    """The audio time of a recognition, and the time in the script that corresponds to it."""

    def __init__(self, sample_rate: int, position: Position | None) -> None:
        self._sample_rate = sample_rate
        self._position = position
        self._received = 0
        """The number of samples received."""
        self._next_sample = 0
        """The sample of the script that comes next."""
        self._shifts: deque[tuple[int, int]] = deque([(0, 0)], maxlen=MAX_SHIFTS)
        """Pairs of a time in the script and the shift of the audio time from there on, in milliseconds."""

    @property
    def now_ms(self) -> int:
        """The time in the script."""
        return self.to_ms(self._next_sample)

    @property
    def audio_ms(self) -> int:
        """The time in the recognition's own audio."""
        return self.to_ms(self._received)

    def locate(self, samples: bytes) -> int | None:
        """Return the sample of the script at which these samples begin; None if they do not belong to it."""
        return self._next_sample if self._position is None else self._position(samples)

    def is_jump(self, position: int) -> bool:
        """Return True if this is not the next sample of the script."""
        return position != self._next_sample

    def advance(self, samples: bytes, position: int | None) -> None:
        """Move the clock on by these samples, which begin at this sample of the script."""
        count = len(samples) // SAMPLE_BYTES
        if position is not None:
            shift_ms = round((self._received - position) * 1000 / self._sample_rate)
            if shift_ms != self._shifts[-1][1]:
                self._shifts.append((self.to_ms(position), shift_ms))
            self._next_sample = position + count
        self._received += count

    def span_in_audio(self, start_ms: int, end_ms: int) -> tuple[int, int]:
        """Convert a span of the present utterance from script time to audio time."""
        # an end belongs to the audio before it, also where the audio continues elsewhere from there
        return start_ms + self._shift_ms(start_ms), end_ms + self._shift_ms(max(start_ms, end_ms - 1))

    def _shift_ms(self, script_ms: int) -> int:
        fitting = (shift_ms for since_ms, shift_ms in reversed(self._shifts) if since_ms <= script_ms)
        return next(fitting, self._shifts[0][1])

    def to_ms(self, samples: int) -> int:
        """Convert a number of samples to milliseconds."""
        return samples * 1000 // self._sample_rate


class _ScriptedRecognition:
    """One pass through a script."""

    def __init__(
        self,
        utterances: tuple[_Utterance, ...],
        interim_every_ms: int,
        clock: _Clock,
        emit: Emit,
        *,
        with_half: bool,
    ) -> None:
        self._script = utterances
        self._with_half = with_half
        self._interim_every_ms = interim_every_ms
        self._clock = clock
        self._emit = emit
        self._has_speech = False
        self._start_from(0)

    def _start_from(self, moment_ms: int) -> None:
        """Start the script at this time of it."""
        remaining = (
            utterance.from_word_at(moment_ms, with_half=self._with_half)
            for utterance in self._script
            if utterance.end_ms > moment_ms
        )
        self._utterances = tuple(utterance for utterance in remaining if utterance is not None)
        self._finals = 0
        self._upcoming = _hypotheses(self._utterances, self._interim_every_ms, with_half=self._with_half)
        self._next = next(self._upcoming, None)

    def __repr__(self) -> str:
        progress = f"{self._finals} of {len(self._utterances)} segments done"
        return f"<_ScriptedRecognition at {self._clock.now_ms} ms, {progress}>"

    @property
    def _begun(self) -> int:
        """The number of segments that the clock has entered."""
        return bisect_left(self._utterances, self._clock.now_ms, key=lambda utterance: utterance.start_ms)

    @property
    def silent_ms(self) -> int:
        """The audio since the last segment ended; 0 inside a segment."""
        if not self._begun:
            return self._clock.audio_ms
        last = self._utterances[self._begun - 1]
        _, speech_until_ms = self._clock.span_in_audio(last.start_ms, last.end_ms)
        return max(0, self._clock.audio_ms - speech_until_ms)

    @property
    def has_speech(self) -> bool:
        """True if the first segment has begun."""
        return self._has_speech or self._begun > 0

    async def feed(self, samples: bytes) -> None:
        """Move the clock on, and emit the hypotheses that are due."""
        position = self._clock.locate(samples)
        if position is not None and self._clock.is_jump(position):
            await self.finish()
            self._has_speech = self.has_speech
            self._start_from(self._clock.to_ms(position))
        self._clock.advance(samples, position)
        while self._next is not None and self._next.end_ms <= self._clock.now_ms:
            due, self._next = self._next, next(self._upcoming, None)
            self._finals += due.is_final
            await self._emit_in_audio_time(due)

    async def _emit_in_audio_time(self, hypothesis: Hypothesis) -> None:
        """Emit a hypothesis with the times of the recognition's own audio."""
        await self._emit(
            msgspec.structs.replace(
                self._in_audio_time(hypothesis), words=tuple(self._in_audio_time(word) for word in hypothesis.words)
            )
        )

    def _in_audio_time(self, item: _Timed) -> _Timed:
        start_ms, end_ms = self._clock.span_in_audio(item.start_ms, item.end_ms)
        return msgspec.structs.replace(item, start_ms=start_ms, end_ms=end_ms)

    async def finish(self) -> None:
        """Finalise the present segment, if the audio ends inside one."""
        if self._begun > self._finals:
            present = self._utterances[self._begun - 1]
            last = present.until(self._clock.now_ms, is_final=True, with_half=self._with_half)
            self._finals = self._begun
            if last is not None:
                await self._emit_in_audio_time(last)

    async def aclose(self) -> None:
        """Emit nothing more; there are no resources to release."""
        self._next = None
