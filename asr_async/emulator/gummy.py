"""Gummy's output from the server's side: an engine's hypotheses as a transcription and its translations, out of step.

The documents promise only that the two come together at the end of a sentence, each in its own time. Here every
message holds one of them, translations are one interim behind, and the final ones follow the final transcription; a
client that bears this bears what is said of the service. `stash` is not produced: the engines do not cut by meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..vendors.dashscope.wire import GummySentence, Output, WireWord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .engine import Hypothesis

__all__ = ["GummySentences"]


class GummySentences:
    """Numbers the sentences of a task from 0, and knows which translation is still to be told."""

    def __init__(self, *, is_transcribed: bool, languages: tuple[str, ...]) -> None:
        self._is_transcribed = is_transcribed
        self._languages = languages
        self._number = 0
        self._untranslated: Hypothesis | None = None

    def outputs(self, hypothesis: Hypothesis) -> Iterator[Output]:
        """What to say about a hypothesis, a message each."""
        if self._is_transcribed:
            yield Output(transcription=self._sentence(hypothesis, hypothesis.text, words=_words(hypothesis)))
        ready = hypothesis if hypothesis.is_final else self._untranslated
        translations = () if ready is None else self._translations(ready)
        if translations:
            yield Output(translations=translations)
        self._untranslated = None if hypothesis.is_final else hypothesis
        self._number += hypothesis.is_final

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
