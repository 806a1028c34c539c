"""The segments of the task protocol's models that send one sentence after the other.

Segments are numbered by `SegmentTracker`, because `sentence_id` is missing from the documents of 2025, and no document
promises where it begins. Gummy sends translations beside its sentences: see `gummy`.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import UNSET

from ...results import Result, Word
from ..codec import CodecEvent, Unrecognised
from ..segments import SegmentTracker, TrackedSegment
from .wire import GummySentence, Output, Sentence

__all__ = ["PlainSegments", "Segments", "end_ms_of", "is_final", "words_of"]


class Segments(Protocol):
    """The segments of one task."""

    def receive(self, output: Output, *, raw: str) -> list[CodecEvent]:
        """Return the events of a `result-generated` message; empty if it reports nothing new."""
        ...

    def release_pending(self, segment_id: int) -> list[CodecEvent]:
        """Return the finals that are pending up to this segment; see `DeferringCodec`."""
        ...

    def lost_translations(self, reason: str) -> list[CodecEvent]:
        """Return an event for each translation that a returned final lacks; see `DeferringCodec`."""
        ...

    def close(self) -> list[CodecEvent]:
        """Return the finals that are still pending: the vendor has confirmed the end."""
        ...


class PlainSegments:
    """The segments of a model that has one sentence open at a time."""

    __slots__ = ("_request_id", "_tracker")

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._tracker: SegmentTracker[int | None, TrackedSegment[int | None]] = SegmentTracker(
            TrackedSegment, is_sequential=True
        )

    def receive(self, output: Output, *, raw: str) -> list[CodecEvent]:
        """Return the events of a sentence; empty if it reports nothing."""
        sentence = output.sentence
        if sentence is None:
            return [Unrecognised("result-generated without a sentence", raw)]
        if sentence.heartbeat:
            return []
        tracker, key = self._tracker, sentence.sentence_id
        is_end = is_final(sentence)
        if not sentence.text and not (is_end and tracker.has_open):
            return []
        events: list[CodecEvent] = []
        # a sentence without an id continues the open one
        segment = tracker.newest_open if key is None else tracker.find_open(key)
        if segment is None:
            if tracker.is_repeat(key):
                return []
            segment = tracker.open(key, sentence.begin_time or 0)
            events += segment.start()
        words = words_of(sentence)
        start_ms = segment.start_ms if sentence.begin_time is None else sentence.begin_time
        end_ms = end_ms_of(sentence, words, start_ms)
        result = Result(
            text=sentence.text or "",
            is_final=is_end,
            segment_id=segment.id,
            start_ms=start_ms,
            end_ms=end_ms,
            words=words,
            emotion=sentence.emo_tag,
            emotion_confidence=sentence.emo_confidence,
            request_id=self._request_id,
            raw=raw,
        )
        segment.has_text = True
        events.append(result)
        if is_end:
            events.append(tracker.close(segment, end_ms))
        return events

    def release_pending(self, segment_id: int) -> list[CodecEvent]:  # noqa: ARG002 - a member of `Segments`
        """Return nothing: no final of these models is ever pending."""
        return []

    def lost_translations(self, reason: str) -> list[CodecEvent]:  # noqa: ARG002 - a member of `Segments`
        """Return nothing: these models do not translate."""
        return []

    def close(self) -> list[CodecEvent]:
        """Return nothing: no final of these models is ever pending."""
        return []


def words_of(sentence: Sentence | GummySentence) -> tuple[Word, ...]:
    """Return the words of a sentence with their times."""
    if not sentence.words:
        return ()
    words = [
        Word(
            text=word.text or "",
            start_ms=word.begin_time or 0,
            end_ms=word.end_time or word.begin_time or 0,
            # Gummy's samples repeat the word where other models have the punctuation behind it
            punctuation=word.punctuation if word.punctuation and word.punctuation != word.text else "",
            is_fixed=None if word.fixed is UNSET else word.fixed,
        )
        for word in sentence.words
    ]
    return tuple(words)


def is_final(sentence: Sentence | GummySentence) -> bool:
    """Return `sentence_end` if there is one, else True if the end is known (documents before 2026 lack that member)."""
    if isinstance(sentence.sentence_end, bool):
        return sentence.sentence_end
    return isinstance(sentence.end_time, int)


def end_ms_of(sentence: Sentence | GummySentence, words: tuple[Word, ...], start_ms: int) -> int:
    """Return the end of a sentence; while it is not known, the end of the last word so far."""
    if isinstance(sentence.end_time, int):
        return sentence.end_time
    return words[-1].end_ms if words else start_ms
