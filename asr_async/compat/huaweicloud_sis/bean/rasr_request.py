"""The request of a recognition."""

from __future__ import annotations

from typing import Any

__all__ = ["RasrRequest"]


class RasrRequest:
    """The options of a task; the vendor's API reference has their values. Nothing is checked here."""

    def __init__(self, audio_format: str, model_property: str) -> None:
        self._config: dict[str, Any] = {
            "audio_format": audio_format,
            "property": model_property,
            "add_punc": "no",
            "digit_norm": "yes",
            "vad_head": 10_000,
            "vad_tail": 500,
            "max_seconds": 30,
            "interim_results": "no",
            "need_word_info": "no",
        }

    def set_add_punc(self, add_punc: str) -> None:
        """Set punctuation: yes or no."""
        self._config["add_punc"] = add_punc

    def set_digit_norm(self, digit_norm: str) -> None:
        """Set digits: yes or no."""
        self._config["digit_norm"] = digit_norm

    def set_vad_head(self, vad_head: int) -> None:
        """Set the longest silence in front of speech, in milliseconds."""
        self._config["vad_head"] = vad_head

    def set_vad_tail(self, vad_tail: int) -> None:
        """Set the silence that ends a sentence, in milliseconds."""
        self._config["vad_tail"] = vad_tail

    def set_max_seconds(self, max_seconds: int) -> None:
        """Set the longest sentence, in seconds."""
        self._config["max_seconds"] = max_seconds

    def set_interim_results(self, interim_results: str) -> None:
        """Set interim results: yes or no."""
        self._config["interim_results"] = interim_results

    def set_need_word_info(self, need_word_info: str) -> None:
        """Set words with times: yes or no."""
        self._config["need_word_info"] = need_word_info

    def set_vocabulary_id(self, vocabulary_id: str) -> None:
        """Set the table of hot words."""
        self._config["vocabulary_id"] = vocabulary_id

    def set_vad_threshold(self, vad_threshold: int) -> None:
        """Set an undocumented option."""
        self._config["vad_threshold"] = vad_threshold

    def set_user_words(self, user_words: list[str]) -> None:
        """Set hot words without a table; undocumented."""
        self._config["user_words"] = user_words

    def construct_params(self) -> dict[str, Any]:
        """Return the START message."""
        return {"command": "START", "config": dict(self._config)}
