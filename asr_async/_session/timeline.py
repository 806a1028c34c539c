"""The timeline of a session: the results of several connections, placed in the source, without repeats.

Each connection counts its own milliseconds and segments from 0. A `ConnectionTimeline` belongs to one connection: it
moves times to the source's clock, leaves out the silence that only the connection was sent, and replaces segment ids by
the session's. A segment that was open when its connection was lost is recognised again and keeps its id, so that its
interims continue; one that was final is not delivered again. The `Timeline` knows up to where final results cover the
source without a hole.

Pure rules. Does not know connections or clocks.
"""

from __future__ import annotations

from typing import overload

import msgspec

from .._connection.silence import Silence
from ..results import (
    Event,
    Result,
    SpeechEnded,
    SpeechEnding,
    SpeechStarted,
    Translation,
    TranslationArrived,
    TranslationLost,
    Word,
)

__all__ = ["ConnectionTimeline", "Timeline"]

MAX_REMEMBERED = 1_000
"""The segments that may still change or be repeated; a session of hours has many more."""


class _Span(msgspec.Struct, frozen=True, gc=False):
    """The place of a final segment in the source."""

    start_ms: int
    end_ms: int


class Timeline:
    """The segments of a whole session."""

    __slots__ = ("_finals", "_finals_end_ms", "_next_id", "_open", "_orphans")

    def __init__(self) -> None:
        self._next_id = 0
        # the open segments, with the place where each begins
        self._open: dict[int, int] = {}
        # segments that an earlier connection left open and none has recognised again, the first first
        self._orphans: list[int] = []
        self._finals: list[_Span] = []
        self._finals_end_ms = 0

    def __repr__(self) -> str:
        return f"<Timeline {self._next_id} segments, {len(self._open)} open, covered to {self.covered_ms} ms>"

    @property
    def covered_ms(self) -> int:
        """The place up to which everything that was recognised is in a final result."""
        return min([self._finals_end_ms, *self._open.values()])

    @property
    def has_finals(self) -> bool:
        """True if any segment is final."""
        return bool(self._finals)

    @property
    def is_between_segments(self) -> bool:
        """True if no segment is open."""
        return not self._open

    def connect(self, offset_ms: int, silence: Silence | None = None) -> ConnectionTimeline:
        """Return the timeline of the next connection: its audio begins at `offset_ms` in the source.

        Segments that an earlier connection left open, or made final behind this place, will be recognised again; they
        count as covered when that has happened.

        Args:
            offset_ms: the place in the source.
            silence: the silence that the connection is sent beside the source.
        """
        self._orphans = sorted([*self._orphans, *self._open])
        self._open.clear()
        self._finals_end_ms = offset_ms
        known_finals = [span for span in self._finals if span.end_ms > offset_ms]
        return ConnectionTimeline(self, offset_ms, silence, self._orphans, known_finals)

    def new_id(self) -> int:
        """Return the id of the session's next segment."""
        self._next_id += 1
        return self._next_id - 1

    def open(self, segment_id: int, start_ms: int) -> None:
        """Record that a segment has begun."""
        self._open.setdefault(segment_id, start_ms)

    def close(self, segment_id: int) -> None:
        """Record that a segment gets no more results."""
        self._open.pop(segment_id, None)

    def add_final(self, start_ms: int, end_ms: int) -> None:
        """Record a final segment, or one that was final already and was recognised again."""
        self._finals.append(_Span(start_ms, end_ms))
        del self._finals[:-MAX_REMEMBERED]
        self._finals_end_ms = max(self._finals_end_ms, end_ms)


class ConnectionTimeline:
    """The results of one connection."""

    __slots__ = ("_ids", "_known_finals", "_offset_ms", "_orphans", "_silence", "_timeline")

    def __init__(
        self, timeline: Timeline, offset_ms: int, silence: Silence | None, orphans: list[int], known_finals: list[_Span]
    ) -> None:
        self._timeline = timeline
        self._offset_ms = offset_ms
        self._silence = silence
        # the ids of segments that an earlier connection left open, the first first
        self._orphans = orphans
        # final segments of earlier connections that this one will recognise again
        self._known_finals = known_finals
        # the connection's segment ids → the session's
        self._ids: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<ConnectionTimeline from {self._offset_ms} ms>"

    @overload
    def place(self, event: Result) -> Result | None: ...

    @overload
    def place(self, event: Event) -> Event | None: ...

    def place(self, event: Event) -> Event | None:
        """Return the event with the session's times and segment ids; None if it repeats a final segment."""
        match event:
            case Result():
                return self._place_result(event)
            case SpeechStarted():
                return self._place_start(event)
            case SpeechEnded():
                return self._place_end(event)
            case SpeechEnding():
                return self._place_ending(event)
            case TranslationArrived() | TranslationLost():
                return self._place_translation(event)
            case _:  # reconnects and gaps: they come from the session, with its times
                return event

    def _place_result(self, result: Result) -> Result | None:
        start_ms, end_ms = result.start_ms, result.end_ms
        is_moved = self._offset_ms or (self._silence is not None and self._silence.size_bytes)
        if is_moved:
            start_ms, end_ms = self._in_source(start_ms), self._in_source(end_ms)
        if self._repeats_final(start_ms, end_ms):
            if result.is_final:
                self._timeline.add_final(start_ms, end_ms)
            return None
        segment_id = self._id_of(result.segment_id)
        self._timeline.open(segment_id, start_ms)
        if result.is_final:
            self._timeline.close(segment_id)
            self._timeline.add_final(start_ms, end_ms)
        if not is_moved and segment_id == result.segment_id:
            return result
        return msgspec.structs.replace(
            result,
            segment_id=segment_id,
            start_ms=start_ms,
            end_ms=end_ms,
            words=self._moved_words(result.words),
            translations={language: self._moved(text) for language, text in result.translations.items()},
        )

    def _place_start(self, event: SpeechStarted) -> SpeechStarted | None:
        start_ms = self._in_source(event.start_ms)
        if self._repeats_final(start_ms, start_ms + 1):
            return None
        segment_id = self._id_of(event.segment_id)
        self._timeline.open(segment_id, start_ms)
        return SpeechStarted(segment_id=segment_id, start_ms=start_ms)

    def _place_end(self, event: SpeechEnded) -> SpeechEnded | None:
        segment_id = self._ids.get(event.segment_id)
        if segment_id is None:
            return None
        self._timeline.close(segment_id)
        return SpeechEnded(segment_id=segment_id, end_ms=self._in_source(event.end_ms))

    def _place_ending(self, event: SpeechEnding) -> SpeechEnding | None:
        segment_id = self._ids.get(event.segment_id)
        if segment_id is None:
            return None
        end_ms = None if event.end_ms is None else self._in_source(event.end_ms)
        return msgspec.structs.replace(event, segment_id=segment_id, end_ms=end_ms)

    def _place_translation(
        self, event: TranslationArrived | TranslationLost
    ) -> TranslationArrived | TranslationLost | None:
        segment_id = self._ids.get(event.segment_id)
        if segment_id is None:
            return None
        if isinstance(event, TranslationLost):
            return msgspec.structs.replace(event, segment_id=segment_id)
        return msgspec.structs.replace(event, segment_id=segment_id, translation=self._moved(event.translation))

    def _in_source(self, own_ms: int) -> int:
        time_ms, silence = own_ms + self._offset_ms, self._silence
        return time_ms if silence is None or not silence.size_bytes else silence.left_out(time_ms)

    def _repeats_final(self, start_ms: int, end_ms: int) -> bool:
        """Return True if the middle lies in a known final segment; the ends may differ by some milliseconds."""
        if not self._known_finals:
            return False
        middle_ms = (start_ms + end_ms) / 2
        return any(span.start_ms <= middle_ms < span.end_ms for span in self._known_finals)

    def _id_of(self, own_id: int) -> int:
        known_id = self._ids.get(own_id)
        if known_id is not None:
            return known_id
        new_id = self._ids[own_id] = self._orphans.pop(0) if self._orphans else self._timeline.new_id()
        if len(self._ids) > MAX_REMEMBERED:
            del self._ids[next(iter(self._ids))]
        return new_id

    def _moved(self, translation: Translation) -> Translation:
        return msgspec.structs.replace(
            translation,
            start_ms=self._in_source(translation.start_ms),
            end_ms=self._in_source(translation.end_ms),
            words=self._moved_words(translation.words),
        )

    def _moved_words(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        place = self._in_source
        return tuple(
            msgspec.structs.replace(word, start_ms=place(word.start_ms), end_ms=place(word.end_ms)) for word in words
        )
