"""The segments of one vendor task, by the vendor's key of each.

Three questions are answered here for every vendor:

- *What identifies a segment?* Its key: a sentence id, an item id, the start of the sentence. While a segment is open,
  every message with its key belongs to it.
- *What is a repeat?* A message with the key of a segment that is closed and still remembered; where the vendor reports
  where the segment ends, one that does not end later. A segment without a key of its own (None, "") has no repeats.
- *When is a segment closed?* When the vendor's code calls `close`, at its final result. Where the vendor sends one
  segment after the other, the next one ends the memory of the one before it.

Does not know messages, texts, results or clocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..results import SpeechEnded, SpeechStarted

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["MAX_REMEMBERED", "SegmentTracker", "TrackedSegment"]

MAX_REMEMBERED = 64
"""Segments of each state that are remembered. A repeat comes soon after its final; a task of hours has thousands."""

K = TypeVar("K", bound="Hashable")
S = TypeVar("S", bound="TrackedSegment[Any]")


class TrackedSegment(Generic[K]):
    """One segment: its id, its place, and its progress."""

    __slots__ = ("end_ms", "has_text", "id", "is_closed", "is_started", "key", "start_ms")

    def __init__(self, segment_id: int, key: K, start_ms: int) -> None:
        self.id: int = segment_id
        self.key: K = key
        self.start_ms: int = start_ms
        self.end_ms: int = start_ms
        # an interim result of it was returned
        self.has_text: bool = False
        # its `SpeechStarted` was returned
        self.is_started: bool = False
        # its final result was returned
        self.is_closed: bool = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {'closed' if self.is_closed else 'open'}>"

    def start(self) -> list[SpeechStarted]:
        """Return the event of the segment's first sign; empty if it was returned before."""
        if self.is_started:
            return []
        self.is_started = True
        return [SpeechStarted(segment_id=self.id, start_ms=self.start_ms)]


class SegmentTracker(Generic[K, S]):
    """The open and the last closed segments of a task, numbered from 0 in the order of their first sign."""

    __slots__ = (
        "_closed",
        "_dropped_text",
        "_forgotten_until",
        "_is_announced",
        "_is_sequential",
        "_make",
        "_max_open",
        "_next_id",
        "_open",
    )

    def __init__(
        self, make: Callable[[int, K, int], S], *, is_sequential: bool = False, max_open: int | None = MAX_REMEMBERED
    ) -> None:
        """Track no segment yet.

        Args:
            make: the class of the segments; called with the id, the key and the start.
            is_sequential: True if the vendor sends one segment after the other, so that a new one ends the memory of
                the one before it, open or closed.
            max_open: the number of open segments beyond which the oldest is dropped; None if the caller closes segments
                before they are too many.
        """
        self._make = make
        self._is_sequential = is_sequential
        self._max_open = max_open
        self._next_id = 0
        self._is_announced = False
        self._dropped_text = False
        self._forgotten_until = -1
        # both by key, oldest first
        self._open: dict[K, S] = {}
        self._closed: dict[K, S] = {}

    def __repr__(self) -> str:
        return f"<SegmentTracker {len(self._open)} open of {self._next_id}>"

    # --- queries -----------------------------------------------------------------------------------------------------

    def find_open(self, key: K) -> S | None:
        """Return the open segment with this key."""
        return self._open.get(key)

    def find_closed(self, key: K) -> S | None:
        """Return the closed segment with this key, if it is still remembered."""
        return self._closed.get(key)

    def is_repeat(self, key: K, *, end_ms: int | None = None) -> bool:
        """Return True if a message with this key is about a closed segment, and reports nothing behind its end.

        Args:
            key: the key in the message.
            end_ms: where the segment of the message ends; None if the key alone decides.
        """
        if key in self._open:
            return False
        closed = self._closed.get(key)
        return closed is not None and (end_ms is None or end_ms <= closed.end_ms)

    def is_forgotten(self, key: int) -> bool:
        """Return True if a vendor that counts its segments has sent a key that is too old to be remembered."""
        return key <= self._forgotten_until

    @property
    def newest_open(self) -> S | None:
        """The open segment that was opened last."""
        return next(reversed(self._open.values()), None)

    @property
    def open_segments(self) -> list[S]:
        """The open segments, oldest first."""
        return list(self._open.values())

    @property
    def has_open(self) -> bool:
        """True if any segment is open."""
        return bool(self._open)

    @property
    def has_unfinished_text(self) -> bool:
        """True if an interim result was returned and its final was not, dropped segments included."""
        return self._dropped_text or any(segment.has_text for segment in self._open.values())

    # --- changes -----------------------------------------------------------------------------------------------------

    def announce(self, start_ms: int) -> list[SpeechStarted]:
        """Return the event of the next segment's first sign, before its key is known; empty while any is open."""
        if self._is_announced or self._open:
            return []
        self._is_announced = True
        return [SpeechStarted(segment_id=self._next_id, start_ms=start_ms)]

    def open(self, key: K, start_ms: int) -> S:
        """Open a segment with a key that no open segment has."""
        if self._is_sequential:
            self._open.clear()
            self._closed.clear()
        segment = self._open[key] = self._make(self._next_id, key, start_ms)
        self._next_id += 1
        segment.is_started, self._is_announced = self._is_announced, False
        if self._max_open is not None and len(self._open) > self._max_open:
            self._dropped_text |= self._open.pop(next(iter(self._open))).has_text
        return segment

    def close(self, segment: S, end_ms: int) -> SpeechEnded:
        """Close an open segment and return the event of its end; its final result precedes that event."""
        key: K = segment.key
        del self._open[key]
        segment.is_closed = True
        segment.end_ms = end_ms
        if key is not None and key != "":
            self._closed[key] = segment
        if len(self._closed) > MAX_REMEMBERED:
            self._forget_oldest()
        return SpeechEnded(segment_id=segment.id, end_ms=end_ms)

    def _forget_oldest(self) -> None:
        key = next(iter(self._closed))
        del self._closed[key]
        if isinstance(key, int) and key > self._forgotten_until:
            self._forgotten_until = key
