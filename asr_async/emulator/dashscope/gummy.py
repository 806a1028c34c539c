"""The output of the emulated Gummy models: an engine's hypotheses as a transcription and its translations.

The documents promise only that the two agree at the end of a sentence; each progresses at its own rate. Here every
message holds one of them, translations lag one interim behind, and the final ones follow the final transcription: a
client that handles this handles all that is documented. `stash` is not produced: the engines do not divide by meaning.

The chat model predicts the end of its sentence (`vad_pre_end`), and withdraws the prediction when speech continues
(`pre_end_failed`). No document says when. Here a pause is a prediction; without a pause the prediction comes directly
before the end, since an engine reports the end only then. Only the transcription carries predictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ...vendors.dashscope.wire import GummySentence, Output, WireWord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..engines.engine import Hypothesis

__all__ = ["GummySentences"]

PREDICT_END_AFTER_MS = 300
"""The pause that predicts the end; with the default `max_end_silence` a pause of 700 ms is the end."""


class GummySentences:
    """The sentences of a task, numbered from 0, with the translation that is still to be sent."""

    def __init__(self, *, is_transcribed: bool, languages: tuple[str, ...], predicts_end: bool) -> None:
        self._is_transcribed = is_transcribed
        self._languages = languages
        self._prediction = _EndPrediction() if predicts_end else None
        self._number = 0
        self._untranslated: Hypothesis | None = None

    def outputs(self, hypothesis: Hypothesis) -> Iterator[Output]:
        """Yield the output of each message for a hypothesis."""
        if self._is_transcribed:
            yield from self._transcriptions(hypothesis)
        ready = hypothesis if hypothesis.is_final else self._untranslated
        translations = () if ready is None else self._translations(ready)
        if translations:
            yield Output(translations=translations)
        is_over = hypothesis.is_final or hypothesis.is_noise
        self._untranslated = None if is_over else hypothesis
        self._number += is_over

    def _transcriptions(self, hypothesis: Hypothesis) -> Iterator[Output]:
        prediction = {} if self._prediction is None else self._prediction.members(hypothesis)
        if hypothesis.is_final and prediction:  # a final carries no prediction, so an interim before it does
            yield self._transcription(msgspec.structs.replace(hypothesis, is_final=False), prediction)
            prediction = {}
        yield self._transcription(hypothesis, prediction)

    def _transcription(self, hypothesis: Hypothesis, prediction: dict[str, Any]) -> Output:
        sentence = self._sentence(hypothesis, hypothesis.text, words=_words(hypothesis))
        return Output(transcription=msgspec.structs.replace(sentence, **prediction))

    def _translations(self, hypothesis: Hypothesis) -> tuple[GummySentence, ...]:
        return tuple(
            # no words: an engine has no times for them
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


class _EndPrediction:
    """The prediction that the only sentence of a task has ended; reported when it changes."""

    def __init__(self) -> None:
        self._words: int | None = None
        """The number of words at the prediction; None while the end is not predicted."""

    def members(self, hypothesis: Hypothesis) -> dict[str, Any]:
        """Return the members for a transcription; nothing if the prediction has not changed."""
        count = len(hypothesis.words)
        if self._words is not None:
            if count == self._words:
                return {}
            self._words = None
            return {"pre_end_failed": True}
        spoken_until_ms = hypothesis.words[-1].end_ms if count else hypothesis.end_ms
        if not hypothesis.is_final and hypothesis.end_ms - spoken_until_ms < PREDICT_END_AFTER_MS:
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
