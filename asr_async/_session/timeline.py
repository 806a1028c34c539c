"""One line of results out of several connections: where their audio stands in the source, and what is told already.

Each connection counts its own milliseconds and segments from 0. A `ConnectionTimeline` is what one connection
recognises: it moves times to the source's clock, leaves out the silence that only the connection was sent, and gives
segments the session's ids. A segment that was open when its connection was lost is recognised again and keeps its id,
so that its interims go on where they stopped; one that was final is not told again. The `Timeline` knows how far the
source is covered by final results without a hole.

Pure rules: no connections, no clock.
"""

from __future__ import annotations

from typing import overload

import msgspec

from .._connection.silence import Silence
from ..results import Event, Result, SpeechEnded, SpeechEnding, SpeechStarted, Translation, TranslationArrived, Word

__all__ = ["ConnectionTimeline", "Timeline"]

MAX_REMEMBERED = 1_000
"""Segments of which something may still be said, or said again; a session of hours has many more."""


class _Span(msgspec.Struct, frozen=True, gc=False):
    """A final segment's place in the source."""

    start_ms: int
    end_ms: int


class Timeline:
    """The segments of a whole session."""

    __slots__ = ("_finals", "_finals_end_ms", "_next_id", "_open", "_orphans")

    def __init__(self) -> None:
        self._next_id = 0
        # open segments, and where they begin
        self._open: dict[int, int] = {}
        # those that an earlier connection left open and none has heard again, the first first
        self._orphans: list[int] = []
        self._finals: list[_Span] = []
        self._finals_end_ms = 0

    def __repr__(self) -> str:
        return f"<Timeline {self._next_id} segments, {len(self._open)} open, covered to {self.covered_ms} ms>"

    @property
    def covered_ms(self) -> int:
        """Up to where every sound that was recognised is in a final result."""
        return min([self._finals_end_ms, *self._open.values()])

    @property
    def has_finals(self) -> bool:
        """Whether anything is final."""
        return bool(self._finals)

    @property
    def is_between_segments(self) -> bool:
        """Whether everything that was begun is final."""
        return not self._open

    def stretch(self, offset_ms: int, silence: Silence | None = None) -> ConnectionTimeline:
        """What the next connection recognises, whose audio begins here in the source.

        `silence` is what it is sent beside the source. What an earlier connection left open, or made final behind this
        place, will be heard again: it counts as covered when it was.
        """
        self._orphans = sorted([*self._orphans, *self._open])
        self._open.clear()
        self._finals_end_ms = offset_ms
        told = [span for span in self._finals if span.end_ms > offset_ms]
        return ConnectionTimeline(self, offset_ms, silence, self._orphans, told)

    def new_id(self) -> int:
        """The next segment of the session."""
        self._next_id += 1
        return self._next_id - 1

    def opened(self, segment_id: int, start_ms: int) -> None:
        """Something of a segment was heard."""
        self._open.setdefault(segment_id, start_ms)

    def closed(self, segment_id: int) -> None:
        """Nothing more is said about a segment."""
        self._open.pop(segment_id, None)

    def finalised(self, start_ms: int, end_ms: int) -> None:
        """A segment is final, or was already and was heard again."""
        self._finals.append(_Span(start_ms, end_ms))
        del self._finals[:-MAX_REMEMBERED]
        self._finals_end_ms = max(self._finals_end_ms, end_ms)


class ConnectionTimeline:
    """What one connection recognises."""

    __slots__ = ("_ids", "_offset_ms", "_orphans", "_silence", "_timeline", "_told")

    def __init__(
        self, timeline: Timeline, offset_ms: int, silence: Silence | None, orphans: list[int], told: list[_Span]
    ) -> None:
        self._timeline = timeline
        self._offset_ms = offset_ms
        self._silence = silence
        # ids of segments that an earlier connection left open, the first first
        self._orphans = orphans
        # final segments of earlier connections that this one will hear again
        self._told = told
        # the connection's own ids → the session's
        self._ids: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<ConnectionTimeline from {self._offset_ms} ms>"

    @overload
    def place(self, event: Result) -> Result | None: ...

    @overload
    def place(self, event: Event) -> Event | None: ...

    def place(self, event: Event) -> Event | None:
        """The event as it is in the session; None if it tells what was told already."""
        match event:
            case Result():
                return self._place_result(event)
            case SpeechStarted():
                return self._place_start(event)
            case SpeechEnded():
                return self._place_end(event)
            case SpeechEnding():
                return self._place_ending(event)
            case TranslationArrived():
                return self._place_translation(event)
            case _:  # no codec says it: reconnects and gaps are the session's
                return event

    def _place_result(self, result: Result) -> Result | None:
        start_ms, end_ms = result.start_ms, result.end_ms
        is_moved = self._offset_ms or (self._silence is not None and self._silence.size_bytes)
        if is_moved:
            start_ms, end_ms = self._in_source(start_ms), self._in_source(end_ms)
        if self._was_told(start_ms, end_ms):
            if result.is_final:
                self._timeline.finalised(start_ms, end_ms)
            return None
        segment_id = self._id_of(result.segment_id)
        self._timeline.opened(segment_id, start_ms)
        if result.is_final:
            self._timeline.closed(segment_id)
            self._timeline.finalised(start_ms, end_ms)
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
        if self._was_told(start_ms, start_ms + 1):
            return None
        segment_id = self._id_of(event.segment_id)
        self._timeline.opened(segment_id, start_ms)
        return SpeechStarted(segment_id=segment_id, start_ms=start_ms)

    def _place_end(self, event: SpeechEnded) -> SpeechEnded | None:
        segment_id = self._ids.get(event.segment_id)
        if segment_id is None:
            return None
        self._timeline.closed(segment_id)
        return SpeechEnded(segment_id=segment_id, end_ms=self._in_source(event.end_ms))

    def _place_ending(self, event: SpeechEnding) -> SpeechEnding | None:
        segment_id = self._ids.get(event.segment_id)
        if segment_id is None:
            return None
        end_ms = None if event.end_ms is None else self._in_source(event.end_ms)
        return msgspec.structs.replace(event, segment_id=segment_id, end_ms=end_ms)

    def _place_translation(self, event: TranslationArrived) -> TranslationArrived | None:
        segment_id = self._ids.get(event.segment_id)
        if segment_id is None:
            return None
        return msgspec.structs.replace(event, segment_id=segment_id, translation=self._moved(event.translation))

    def _in_source(self, own_ms: int) -> int:
        time_ms, silence = own_ms + self._offset_ms, self._silence
        return time_ms if silence is None or not silence.size_bytes else silence.left_out(time_ms)

    def _was_told(self, start_ms: int, end_ms: int) -> bool:
        """Whether this lies in a segment that is final: with its middle, since times differ by some milliseconds."""
        if not self._told:
            return False
        middle_ms = (start_ms + end_ms) / 2
        return any(span.start_ms <= middle_ms < span.end_ms for span in self._told)

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
