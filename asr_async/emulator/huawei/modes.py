"""The results of the three RASR modes: an engine's hypotheses converted to the vendor's messages.

Knows neither connection nor engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from ...results import join_texts
from ...vendors.huawei.wire import ServerMessage, WireResult, WireSegment, WireWord
from ..engines.engine import Hypothesis
from ..engines.words import spell_digits, without_punctuation

if TYPE_CHECKING:
    from .commands import Config

__all__ = ["MODE_OUTPUTS", "ContinueMode", "SentenceMode", "ShortMode"]

VAD_HEAD_MS = 10_000
"""The silence before speech that ends a task in mode sentence, unless START sets another value; 0 is no limit."""

FINAL_SCORE = 0.9
"""The score of finals: the documents have 0.0 for interims and 0..1 for finals, and the engines report none."""


def _event(name: str, timestamp: int) -> ServerMessage:
    return ServerMessage(resp_type="EVENT", event=name, timestamp=timestamp)


class ContinueMode:
    """The messages of mode continue: sentence after sentence."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._start_ms: int | None = None
        """The start of the present sentence, which all its results repeat; None between two sentences."""

    @property
    def is_over(self) -> bool:
        """True if the remaining audio makes no difference."""
        return False

    def on_hypothesis(self, hypothesis: Hypothesis) -> list[ServerMessage]:
        """Return the messages for a hypothesis."""
        return self._results(self._spelled(hypothesis))

    def on_silence(self, _silent_ms: int) -> list[ServerMessage]:
        """Return the messages for silence since the start."""
        return []

    def on_finish(self) -> list[ServerMessage]:
        """Return the messages to send when the engine has finished."""
        return []

    def _results(self, hypothesis: Hypothesis) -> list[ServerMessage]:
        if self._start_ms is None:
            self._start_ms = hypothesis.start_ms
        start_ms = self._start_ms
        if hypothesis.is_final or hypothesis.is_noise:
            self._start_ms = None
        if not hypothesis.is_final and self._config.interim_results != "yes":
            return []
        segment = WireSegment(
            start_time=start_ms,
            end_time=hypothesis.end_ms,
            is_final=hypothesis.is_final,
            result=WireResult(
                text=hypothesis.text,
                score=FINAL_SCORE if hypothesis.is_final else 0.0,
                word_info=_wire_words(hypothesis) if self._config.need_word_info == "yes" else UNSET,
            ),
        )
        return [ServerMessage(resp_type="RESULT", segments=(segment,))]

    def _spelled(self, hypothesis: Hypothesis) -> Hypothesis:
        """Return the hypothesis with its numbers and punctuation as START demands them."""
        if self._config.digit_norm == "no":
            hypothesis = spell_digits(hypothesis)
        return hypothesis if self._config.add_punc == "yes" else without_punctuation(hypothesis)


class SentenceMode(ContinueMode):
    """The messages of mode sentence: one sentence, or too much silence before it."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._vad_head_ms = VAD_HEAD_MS if config.vad_head is None else config.vad_head
        self._has_begun = False
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """True if the sentence has ended, or has not begun in time."""
        return self._is_over

    def on_hypothesis(self, hypothesis: Hypothesis) -> list[ServerMessage]:
        """Return the sentence between its two events; nothing after it."""
        if self._is_over:
            return []
        begun = [] if self._has_begun else [_event("VOICE_START", hypothesis.start_ms)]
        self._has_begun = True
        self._is_over = hypothesis.is_final
        over = [_event("VOICE_END", hypothesis.end_ms)] if hypothesis.is_final else []
        return [*begun, *super().on_hypothesis(hypothesis), *over]

    def on_silence(self, silent_ms: int) -> list[ServerMessage]:
        """Return an event once the silence reaches `vad_head`; 0 turns this off (Chinese documents)."""
        if self._has_begun or self._is_over or not 0 < self._vad_head_ms <= silent_ms:
            return []
        self._is_over = True
        return [_event("EXCEEDED_SILENCE", silent_ms)]


class ShortMode(ContinueMode):
    """The messages of mode short: one segment that grows until END.

    Without speech there is no result: the documents show none for that case.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._utterances: list[Hypothesis] = []

    def on_hypothesis(self, hypothesis: Hypothesis) -> list[ServerMessage]:
        """Return everything recognised so far, never as final."""
        hypothesis = self._spelled(hypothesis)
        whole = self._whole([*self._utterances, hypothesis], is_final=False)
        if hypothesis.is_final:
            self._utterances.append(hypothesis)
        return self._results(whole)

    def on_finish(self) -> list[ServerMessage]:
        """Return everything as final."""
        return self._results(self._whole(self._utterances, is_final=True)) if self._utterances else []

    def _whole(self, utterances: list[Hypothesis], *, is_final: bool) -> Hypothesis:
        return Hypothesis(
            text=join_texts([utterance.text for utterance in utterances]),
            is_final=is_final,
            start_ms=utterances[0].start_ms,
            end_ms=utterances[-1].end_ms,
            words=tuple(word for utterance in utterances for word in utterance.words),
        )


def _wire_words(hypothesis: Hypothesis) -> tuple[WireWord, ...]:
    return tuple(WireWord(start_time=word.start_ms, end_time=word.end_ms, word=word.text) for word in hypothesis.words)


MODE_OUTPUTS: dict[str, type[ContinueMode]] = {"continue": ContinueMode, "sentence": SentenceMode, "short": ShortMode}
"""The converter of each mode, by the name of the mode."""
