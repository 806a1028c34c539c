"""Gummy's output from the server's side: an engine's hypotheses as a transcription and its translations, out of step.

The documents promise only that the two come together at the end of a sentence, each in its own time. Here every
message holds one of them, translations are one interim behind, and the final ones follow the final transcription; a
client that bears this bears what is said of the service. `stash` is not produced: the engines do not cut by meaning.

The chat model guesses the end of its sentence beforehand (`vad_pre_end`), and takes the guess back when speech goes on
(`pre_end_failed`). No document says when: here a pause is a guess, and without one the guess comes directly before the
end, which is when an engine tells of it. Only the transcription carries guesses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ...vendors.dashscope.wire import GummySentence, Output, WireWord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..engines.engine import Hypothesis

__all__ = ["GummySentences"]

GUESS_AFTER_MS = 300
"""A pause that is taken for the end; with the default `max_end_silence` the end is 700 ms of it."""


class GummySentences:
    """Numbers the sentences of a task from 0, and knows which translation is still to be told."""

    def __init__(self, *, is_transcribed: bool, languages: tuple[str, ...], guesses_end: bool) -> None:
        self._is_transcribed = is_transcribed
        self._languages = languages
        self._guess = _Guess() if guesses_end else None
        self._number = 0
        self._untranslated: Hypothesis | None = None

    def outputs(self, hypothesis: Hypothesis) -> Iterator[Output]:
        """What to say about a hypothesis, a message each."""
        if self._is_transcribed:
            yield from self._transcriptions(hypothesis)
        ready = hypothesis if hypothesis.is_final else self._untranslated
        translations = () if ready is None else self._translations(ready)
        if translations:
            yield Output(translations=translations)
        self._untranslated = None if hypothesis.is_final else hypothesis
        self._number += hypothesis.is_final

    def _transcriptions(self, hypothesis: Hypothesis) -> Iterator[Output]:
        guess = {} if self._guess is None else self._guess.members(hypothesis)
        if hypothesis.is_final and guess:  # what is over is no guess
            yield self._transcription(msgspec.structs.replace(hypothesis, is_final=False), guess)
            guess = {}
        yield self._transcription(hypothesis, guess)

    def _transcription(self, hypothesis: Hypothesis, guess: dict[str, Any]) -> Output:
        sentence = self._sentence(hypothesis, hypothesis.text, words=_words(hypothesis))
        return Output(transcription=msgspec.structs.replace(sentence, **guess))

    def _translations(self, hypothesis: Hypothesis) -> tuple[GummySentence, ...]:
        return tuple(
            # no words: an engine knows no times for them
            self._sentence(hypothesis, hypothesis.translations[language], words=(), language=language)
            for language in self._languages
            if language in hypothesis.translations
        )

    def _sentence(
        self, hypothesis: Hypothesis, text: str, *, words: tuple[WireWord, ...], language: str | None = None
    ) -> GummySentence:
        return GummySentence(
            sentence_id=self._number,
            lang=language,
            begin_time=hypothesis.start_ms,
            end_time=hypothesis.end_ms if hypothesis.is_final else None,
            current_time=hypothesis.end_ms,
            text=text,
            words=words,
            sentence_end=hypothesis.is_final,
        )


class _Guess:
    """Whether the one sentence of a task seems to have ended, told when that changes."""

    def __init__(self) -> None:
        self._words: int | None = None
        """With how many words; None: it does not."""

    def members(self, hypothesis: Hypothesis) -> dict[str, Any]:
        """What a transcription says about it; empty where that is nothing new."""
        count = len(hypothesis.words)
        if self._words is not None:
            if count == self._words:
                return {}
            self._words = None
            return {"pre_end_failed": True}
        spoken_until_ms = hypothesis.words[-1].end_ms if count else hypothesis.end_ms
        if not hypothesis.is_final and hypothesis.end_ms - spoken_until_ms < GUESS_AFTER_MS:
            return {}
        self._words = count
        return {
            "vad_pre_end": True,
            "pre_end_start_time": hypothesis.start_ms,
            "pre_end_end_time": spoken_until_ms,
        }


def _words(hypothesis: Hypothesis) -> tuple[WireWord, ...]:
    last = len(hypothesis.words) - 1
    return tuple(
        WireWord(
            text=word.text,
            begin_time=word.start_ms,
            end_time=word.end_ms,
            punctuation=word.punctuation,
            fixed=hypothesis.is_final or index < last,
        )
        for index, word in enumerate(hypothesis.words)
    )
