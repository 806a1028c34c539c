"""How the vendor's sentences become segments, for the models that send one sentence after the other.

Segments are counted here, because `sentence_id` is missing from the documents of 2025 and not promised to start
anywhere. What Gummy sends beside it is in `gummy`.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import UNSET

from ...results import Result, SpeechEnded, SpeechStarted, Word
from ..codec import CodecEvent, Unrecognised
from .wire import GummySentence, Output, Sentence

__all__ = ["PlainSegments", "Segments", "end_ms_of", "is_final", "words_of"]


class Segments(Protocol):
    """The segments of one task."""

    def take(self, output: Output, *, raw: str) -> list[CodecEvent]:
        """Turn what was recognised into events; empty where it says nothing new."""
        ...

    def release_pending(self, segment_id: int) -> list[CodecEvent]:
        """See `Codec.overdue`."""
        ...

    def close(self) -> list[CodecEvent]:
        """The vendor has said everything: what is still held back."""
        ...


class PlainSegments:
    """One sentence is open at a time."""

    __slots__ = ("_id", "_is_open", "_request_id", "_sentence_id", "_start_ms")

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._id = -1
        self._is_open = False
        self._sentence_id: int | None = None
        self._start_ms = 0

    def take(self, output: Output, *, raw: str) -> list[CodecEvent]:
        """Turn a sentence into events; empty for one that says nothing."""
        sentence = output.sentence
        if sentence is None:
            return [Unrecognised("result-generated without a sentence", raw)]
        if sentence.heartbeat:
            return []
        is_end = is_final(sentence)
        if not sentence.text and not (is_end and self._is_open):
            return []
        if not self._is_open and sentence.sentence_id is not None and sentence.sentence_id == self._sentence_id:
            return []  # a final said twice
        events: list[CodecEvent] = []
        if not self._is_open or sentence.sentence_id != self._sentence_id:
            events.append(self._open(sentence))
        words = words_of(sentence)
        start_ms = self._start_ms if sentence.begin_time is None else sentence.begin_time
        end_ms = end_ms_of(sentence, words, start_ms)
        result = Result(
            text=sentence.text or "",
            is_final=is_end,
            segment_id=self._id,
            start_ms=start_ms,
            end_ms=end_ms,
            words=words,
            emotion=sentence.emo_tag,
            emotion_confidence=sentence.emo_confidence,
            request_id=self._request_id,
            raw=raw,
        )
        events.append(result)
        if is_end:
            self._is_open = False
            events.append(SpeechEnded(segment_id=self._id, end_ms=end_ms))
        return events

    def release_pending(self, segment_id: int) -> list[CodecEvent]:  # noqa: ARG002 - the common face
        """Nothing: a final never waits."""
        return []

    def close(self) -> list[CodecEvent]:
        """Nothing is held back."""
        return []

    def _open(self, sentence: Sentence) -> SpeechStarted:
        self._id += 1
        self._is_open = True
        self._sentence_id = sentence.sentence_id
        self._start_ms = sentence.begin_time or 0
        return SpeechStarted(segment_id=self._id, start_ms=self._start_ms)


def words_of(sentence: Sentence | GummySentence) -> tuple[Word, ...]:
    """The words with their times."""
    if not sentence.words:
        return ()
    words = [
        Word(
            text=word.text or "",
            start_ms=word.begin_time or 0,
            end_ms=word.end_time or word.begin_time or 0,
            # Gummy's samples repeat the word where others have the punctuation behind it
            punctuation=word.punctuation if word.punctuation and word.punctuation != word.text else "",
            is_fixed=None if word.fixed is UNSET else word.fixed,
        )
        for word in sentence.words
    ]
    return tuple(words)


def is_final(sentence: Sentence | GummySentence) -> bool:
    """`sentence_end` where there is one; else whether the end is known (documents before 2026 have no such member)."""
    if isinstance(sentence.sentence_end, bool):
        return sentence.sentence_end
    return isinstance(sentence.end_time, int)


def end_ms_of(sentence: Sentence | GummySentence, words: tuple[Word, ...], start_ms: int) -> int:
    """The end, or where the last word ends so far."""
    if isinstance(sentence.end_time, int):
        return sentence.end_time
    return words[-1].end_ms if words else start_ms
