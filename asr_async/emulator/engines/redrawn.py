"""An engine that draws the sentences of another one anew: other boundaries over the same words, as the fault `redraw`.

Real recognisers cut the same audio into other sentences when it begins elsewhere, so a client that sends audio again
after a lost connection receives other sentences. Here each recognition draws its own. The words stay those of the
engine, in their order:

- a sentence has up to `max_words` words, over the pauses of the engine's utterances or cut within one;
- every time is off by up to `jitter_ms`, by another value in each message; words still follow one another;
- with the probability `noise`, a sentence comes behind a noise: an interim that is never final.

The engine's finals decide when words become final: an interim of words that are cut from it later may be longer than
the final of its sentence. Hypotheses without words pass unchanged. Does not know protocols, connections or the plan of
faults; everything is drawn from the seed.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ...results import join_texts
from .engine import Hypothesis, HypothesisWord
from .scripted import beginnings_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from .engine import Emit, Engine, Recognition, Request

__all__ = ["RedrawnEngine"]

NOISES = ("uh", "um", "嗯")

NOISE_MS = 300
"""The longest noise; a shorter pause in front of the sentence makes a shorter one."""

MIN_NOISE_MS = 50

PAUSE_ENDS_SENTENCE = 0.5
"""The probability that the end of an utterance ends the sentence too, with however few words."""


class RedrawnEngine:
    """An engine with the recognitions of another one, and sentences drawn anew."""

    def __init__(self, engine: Engine, *, max_words: int, jitter_ms: int, noise: float, seed: str) -> None:
        """Wrap an engine, which the caller has entered.

        Args:
            engine: the engine.
            max_words: the most words of a sentence.
            jitter_ms: the most that a time is off, in both directions.
            noise: the probability of a noise in front of a sentence.
            seed: decides everything, together with the number of the recognition.
        """
        self._engine = engine
        self._max_words = max_words
        self._jitter_ms = jitter_ms
        self._noise = noise
        self._seed = seed
        self._opened = 0

    def __repr__(self) -> str:
        return f"<RedrawnEngine of {self._engine!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass  # the engine belongs to the emulator

    async def open(self, request: Request, emit: Emit) -> _RedrawnRecognition:
        """Start a recognition of the engine."""
        self._opened += 1
        rng = random.Random(f"{self._seed}/{self._opened}")  # noqa: S311 - no secret
        sentences = _Sentences(emit, rng, max_words=self._max_words, jitter_ms=self._jitter_ms, noise=self._noise)
        request = msgspec.structs.replace(request, includes_half_words=True)
        return _RedrawnRecognition(await self._engine.open(request, sentences.receive), sentences)


class _RedrawnRecognition:
    """A recognition of the engine; its hypotheses go through the sentences."""

    def __init__(self, recognition: Recognition, sentences: _Sentences) -> None:
        self._recognition = recognition
        self._sentences = sentences

    def __repr__(self) -> str:
        return f"<_RedrawnRecognition of {self._recognition!r}>"

    @property
    def silent_ms(self) -> int:
        """The silence at the end, by the engine."""
        return self._recognition.silent_ms

    @property
    def has_speech(self) -> bool:
        """True if the engine has found speech."""
        return self._recognition.has_speech

    async def feed(self, samples: bytes) -> None:
        """Recognise samples."""
        await self._recognition.feed(samples)

    async def finish(self) -> None:
        """Recognise to the end, and end the last sentence."""
        await self._recognition.finish()
        await self._sentences.flush()

    async def aclose(self) -> None:
        """Release all resources."""
        await self._recognition.aclose()


class _SpokenWord(NamedTuple):
    """A word with its part of the texts of its utterance."""

    word: HypothesisWord
    text: str
    translations: dict[str, str]
    utterance: int


class _Sentences:
    """The sentences of a recognition, drawn over the words of the engine."""

    def __init__(self, emit: Emit, rng: random.Random, *, max_words: int, jitter_ms: int, noise: float) -> None:
        self._emit = emit
        self._rng = rng
        self._max_words = max_words
        self._jitter_ms = jitter_ms
        self._noise = noise
        # words of finals of the engine that are in no final of ours yet
        self._kept: list[_SpokenWord] = []
        self._utterance = 0
        # the end of the last sentence
        self._ended_ms = 0
        self._begin()

    def _begin(self) -> None:
        """Draw the next sentence."""
        self._length = self._rng.randint(1, self._max_words)
        self._is_noisy = self._rng.random() < self._noise

    async def receive(self, hypothesis: Hypothesis) -> None:
        """Emit what follows from a hypothesis of the engine."""
        if not hypothesis.words:
            await self.flush()
            await self._emit(hypothesis)
            return
        words = [*self._kept, *self._spoken(hypothesis)]
        if not hypothesis.is_final:
            await self._show(words, is_final=False)
            return
        self._utterance += 1
        while len(words) >= self._length:
            sentence, words = words[: self._length], words[self._length :]
            await self._show(sentence, is_final=True)
        self._kept = words
        if self._rng.random() < PAUSE_ENDS_SENTENCE:
            await self.flush()
        elif words:
            await self._show(words, is_final=False)

    async def flush(self) -> None:
        """End the present sentence."""
        words, self._kept = self._kept, []
        if words:
            await self._show(words, is_final=True)

    async def _show(self, words: Sequence[_SpokenWord], *, is_final: bool) -> None:
        if self._is_noisy:
            self._is_noisy = False
            await self._make_noise(words[0].word.start_ms)
        moved = self._with_jitter([spoken.word for spoken in words])
        languages = dict.fromkeys(language for spoken in words for language in spoken.translations)
        await self._emit(
            Hypothesis(
                text=_joined(words),
                is_final=is_final,
                start_ms=moved[0].start_ms,
                end_ms=moved[-1].end_ms,
                words=tuple(moved),
                translations={
                    language: join_texts([spoken.translations.get(language, "") for spoken in words])
                    for language in languages
                },
            )
        )
        if is_final:
            self._ended_ms = words[-1].word.end_ms
            self._begin()

    async def _make_noise(self, until_ms: int) -> None:
        """Emit a noise in the pause before this time; nothing if there is no pause."""
        start_ms = max(self._ended_ms, until_ms - NOISE_MS)
        if until_ms - start_ms < MIN_NOISE_MS:
            return
        word = HypothesisWord(text=self._rng.choice(NOISES), start_ms=start_ms, end_ms=until_ms)
        await self._emit(
            Hypothesis(text=word.text, is_final=False, start_ms=start_ms, end_ms=until_ms, words=(word,), is_noise=True)
        )

    def _with_jitter(self, words: Sequence[HypothesisWord]) -> list[HypothesisWord]:
        moved: list[HypothesisWord] = []
        at_ms = 0
        for word in words:
            start_ms = at_ms = max(at_ms, word.start_ms + self._jitter())
            at_ms = max(at_ms, word.end_ms + self._jitter())
            moved.append(msgspec.structs.replace(word, start_ms=start_ms, end_ms=at_ms))
        return moved

    def _jitter(self) -> int:
        return self._rng.randint(-self._jitter_ms, self._jitter_ms)

    def _spoken(self, hypothesis: Hypothesis) -> list[_SpokenWord]:
        """Return the words of a hypothesis, each with its part of the text and of the translations."""
        words = hypothesis.words
        translated = {
            language: _differences(beginnings_of(text, len(words)))
            for language, text in hypothesis.translations.items()
        }
        return [
            _SpokenWord(word, text, {language: parts[index] for language, parts in translated.items()}, self._utterance)
            for index, (word, text) in enumerate(zip(words, _parts_of(hypothesis.text, words), strict=True))
        ]


def _parts_of(text: str, words: Sequence[HypothesisWord]) -> list[str]:
    """Divide a text into the parts of its words, with everything behind each; by the words alone if it lacks one."""
    starts, position = [0], 0
    for word in words:
        start = text.find(word.text, position)
        if start < 0:
            return [f"{word.text}{word.punctuation} " for word in words]
        starts.append(start)
        position = start + len(word.text)
    del starts[1]  # what is in front of the first word belongs to it
    return [text[start:end] for start, end in itertools.pairwise([*starts, len(text)])]


def _differences(texts: Sequence[str]) -> list[str]:
    """Return what each text adds to the one before it."""
    return [text.removeprefix(before).strip() for before, text in itertools.pairwise(["", *texts])]


def _joined(words: Sequence[_SpokenWord]) -> str:
    utterances = itertools.groupby(words, key=lambda spoken: spoken.utterance)
    return join_texts(["".join(spoken.text for spoken in group) for _, group in utterances])
