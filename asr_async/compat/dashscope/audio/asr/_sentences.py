"""The sentences of the vendor's messages, with the texts and times of this library's results.

A result differs from its message behind a reconnect: times go on, words that were final are left out, and numbers of
sentences do not begin again.
"""

from __future__ import annotations

from typing import Any

from .....results import Result, Translation, Word

__all__ = ["sentence_of", "with_times_of"]


def sentence_of(result: Result, message: Any, *, first_id: int) -> dict[str, Any]:
    """Return the sentence of a result.

    Args:
        result: the result.
        message: the sentence in the vendor's message, whose other members are kept.
        first_id: the number of the first sentence.
    """
    sentence = with_times_of(result, message)
    if "sentence_id" in sentence:
        sentence["sentence_id"] = result.segment_id + first_id
    if result.lost_before_ms:
        sentence["lost_before_ms"] = result.lost_before_ms
    if result.may_repeat:
        sentence["may_repeat"] = True
    return sentence


def with_times_of(value: Result | Translation, message: Any) -> dict[str, Any]:
    """Return a sentence with the text and the times of a result, or of a translation."""
    sentence: dict[str, Any] = {**message} if isinstance(message, dict) else {}
    words = sentence.get("words")
    sentence["begin_time"] = value.start_ms
    sentence["end_time"] = value.end_ms if value.is_final else None
    if sentence.get("text") != value.text or not _has_times(words, value.words):
        sentence["words"] = [*map(_word, value.words)]
    sentence["text"] = value.text
    if "sentence_end" in sentence:
        sentence["sentence_end"] = value.is_final
    return sentence


def _has_times(words: Any, own: tuple[Word, ...]) -> bool:
    """Return True if the words of a message are those of a result."""
    if not isinstance(words, list) or len(words) != len(own):
        return False
    return all(_begin(word) == mine.start_ms for word, mine in zip(words, own, strict=True))


def _begin(word: Any) -> Any:
    return word.get("begin_time") if isinstance(word, dict) else None


def _word(word: Word) -> dict[str, Any]:
    made: dict[str, Any] = {"text": word.text, "begin_time": word.start_ms, "end_time": word.end_ms}
    made["punctuation"] = word.punctuation
    if word.is_fixed is not None:
        made["fixed"] = word.is_fixed
    return made
