"""The segments of the task protocol's models that send one sentence after the other.

Segments are numbered by `SegmentTracker`, because `sentence_id` is missing from the documents of 2025, and no document
promises where it begins. Gummy sends translations beside its sentences: see `gummy`.

Does not know tasks, connections or clocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import UNSET
from msgspec.structs import replace

from ...results import Result, Word
from ..codec import CodecEvent, Unrecognised
from ..lenient import MAX_MS, known_ms, word_start_ms
from ..segments import SegmentTracker, TrackedSegment
from .wire import GummySentence, Output, Sentence, WireWord

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PlainSegments", "Segments", "is_final", "place_of", "words_of"]

NO_TEXT = "the vendor reported speech, and ended the task without a text for it"


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
        """Return the finals that are still pending or open: the vendor has confirmed the end."""
        ...

    def withdraw(self) -> list[CodecEvent]:
        """Return the ends of the open sentences: the vendor has found that the audio contains no speech."""
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
        tracker, text, is_end = self._tracker, sentence.text or "", is_final(sentence)
        if not text and not (is_end and tracker.has_open):
            return []
        events: list[CodecEvent] = []
        start_ms, end_ms = place_of(sentence)
        segment = tracker.assign(sentence.sentence_id, start_ms, end_ms, text, is_final=is_end, events=events)
        if segment is None:
            return events
        if start_ms is None:
            start_ms = segment.start_ms
        words = words_of(sentence, start_ms)
        result = Result(
            text=text,
            is_final=is_end,
            segment_id=segment.id,
            start_ms=start_ms,
            end_ms=start_ms if end_ms is None else end_ms,
            words=words,
            emotion=sentence.emo_tag,
            emotion_confidence=sentence.emo_confidence,
            request_id=self._request_id,
            raw=raw,
            stable_text=stable_text_of(text, words, is_final=is_end),
        )
        if is_end:
            events += tracker.end(segment, result)
            events.append(tracker.in_order(segment, result))
            events += tracker.close(segment)
        else:
            segment.interim_result = result
            events.append(result)
        return events

    def release_pending(self, segment_id: int) -> list[CodecEvent]:  # noqa: ARG002 - a member of `Segments`
        """Return nothing: no final of these models is ever pending."""
        return []

    def lost_translations(self, reason: str) -> list[CodecEvent]:  # noqa: ARG002 - a member of `Segments`
        """Return nothing: these models do not translate."""
        return []

    def close(self) -> list[CodecEvent]:
        """Return the newest interim of the open sentence as a final that the vendor did not confirm."""
        return self._tracker.close_at_end(NO_TEXT)

    def withdraw(self) -> list[CodecEvent]:
        """Return the end of the open sentence, without a final: its text was no speech."""
        return self._tracker.withdraw_open()


def place_of(sentence: Sentence | GummySentence) -> tuple[int | None, int | None]:
    """Return the start and the end of a sentence, from its words if need be; each None if unknown, the end so far."""
    start_ms, end_ms, words = sentence.begin_time, sentence.end_time, sentence.words or ()
    if start_ms is None or start_ms == -1:
        start_ms = next(
            (ms for word in words if (ms := word_start_ms(word.begin_time, word.end_time)) is not None), None
        )
    if end_ms is UNSET or end_ms == -1:
        end_ms = None
    if end_ms is None or (start_ms is not None and end_ms < start_ms):
        end_ms = words[-1].end_time if words else None
        if end_ms is None or end_ms == -1:
            end_ms = next((ms for word in reversed(words) if (ms := _end_of(word)) is not None), None)
        if start_ms is not None and end_ms is not None and end_ms < start_ms:
            end_ms = None
    return start_ms, end_ms


def words_of(sentence: Sentence | GummySentence, start_ms: int) -> tuple[Word, ...]:
    """Return the words of a sentence with their times.

    Args:
        sentence: the sentence.
        start_ms: its start. A word without times, or before the audio, has the place where the word before it ends.
    """
    words = sentence.words
    if not words:
        return ()
    made = _words(words, 0) if start_ms >= 0 else []
    if len(made) < len(words):
        made = _words(_mended(words, start_ms), -MAX_MS)
    return tuple(made)


def _words(words: Sequence[WireWord], earliest_ms: int) -> list[Word]:
    """Return the words whose times are in order and not before `earliest_ms`; none if a time lacks.

    Making words is the largest part of reading a message: so the check of their times is part of the only loop, and the
    members are given by position.
    """
    begin_ms: int
    end_ms: int
    try:
        return [
            Word(
                word.text or "",
                begin_ms,
                end_ms,
                # Gummy's samples repeat the word where other models have the punctuation behind it
                mark if (mark := word.punctuation) and mark != word.text else "",
                None,
                word.fixed,
            )
            for word in words
            if earliest_ms <= (begin_ms := word.begin_time) <= (end_ms := word.end_time)  # type: ignore[assignment,operator]
        ]
    except TypeError:
        return []


def stable_text_of(text: str, words: Sequence[Word], *, is_final: bool) -> str | None:
    """Return the beginning of a text whose words are all fixed; None if the vendor does not report which words are.

    It ends where the text is not that of the words, as where numbers are written in digits.

    Args:
        text: the text.
        words: its words.
        is_final: True for the text of a final, which is stable as a whole.
    """
    if not words or words[0].is_fixed is None:
        return None
    if is_final:
        return text
    stable_until = 0
    for word in words:
        begins_at = text.find(word.text, stable_until)
        if not word.is_fixed or begins_at < 0 or any(map(str.isalnum, text[stable_until:begins_at])):
            break
        stable_until = begins_at + len(word.text)
        if text.startswith(word.punctuation, stable_until):
            stable_until += len(word.punctuation)
    return text[:stable_until]


def _mended(words: Sequence[WireWord], start_ms: int) -> list[WireWord]:
    """Return the words of a sentence that begins at `start_ms` with times for those that lack or cannot be."""
    mended: list[WireWord] = []
    for word in words:
        begin_ms, end_ms = word.begin_time, word.end_time
        is_known = begin_ms is not None and (begin_ms >= 0 or (start_ms < 0 and begin_ms != -1))
        first_ms = begin_ms if is_known and begin_ms is not None else start_ms
        start_ms = first_ms if end_ms is None or end_ms < first_ms else end_ms
        mended.append(replace(word, begin_time=first_ms, end_time=start_ms))
    return mended


def is_final(sentence: Sentence | GummySentence) -> bool:
    """Return `sentence_end` if there is one, else True if the end is known (documents before 2026 lack that member)."""
    if isinstance(sentence.sentence_end, bool):
        return sentence.sentence_end
    return known_ms(sentence.end_time) is not None


def _end_of(word: WireWord) -> int | None:
    end_ms = known_ms(word.end_time)
    return known_ms(word.begin_time) if end_ms is None else end_ms
