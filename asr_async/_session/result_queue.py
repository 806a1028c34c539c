"""Between the receive task and the caller: keeps every final, and only the newest interim of each segment.

It does not know what fills or empties it. Putting in never waits, so the socket is always read; when finals pile up, it
is the *sending* of audio that waits for room (`wait_for_room`), so a caller that stops reading stops the source, loses
nothing and costs bounded memory.
"""

from __future__ import annotations

from .._loop.event import LightEvent
from ..results import Event, Result

__all__ = ["ResultQueue"]

MAX_WAITING = 1_000
"""Finals and events that may wait for the caller before the source is stopped: well over an hour of speech."""


class ResultQueue:
    """A bounded, conflating queue with one end, of which the caller is told once everything before it was taken."""

    __slots__ = ("_error", "_is_closed", "_max_waiting", "_next_key", "_room", "_waiting", "_wake", "conflated")

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        # in order; an interim under its segment's id, all others under negative numbers, which nobody looks for
        self._waiting: dict[int, Event] = {}
        self._next_key = -1
        self._wake = LightEvent()
        self._room = LightEvent()
        self._room.set()
        self._is_closed = False
        self._error: BaseException | None = None
        self.conflated = 0
        """Interims that were replaced before they were taken."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: Event) -> None:
        """Take in an item; an interim replaces the one of its segment, a final removes it."""
        waiting = self._waiting
        if isinstance(item, Result) and waiting.pop(item.segment_id, None) is not None:
            self.conflated += 1
        if isinstance(item, Result) and not item.is_final:
            waiting[item.segment_id] = item
        else:
            waiting[self._next_key] = item
            self._next_key -= 1
        if len(waiting) >= self._max_waiting:
            self._room.clear()
        self._wake.set()

    def close(self, error: BaseException | None = None) -> None:
        """Set the end: normal, or an error that is raised behind the last item. The first end counts."""
        if not self._is_closed:
            self._is_closed = True
            self._error = error
            self._wake.set()
            self._room.set()

    async def get(self) -> Event:
        """Take the oldest item.

        Raises:
            StopAsyncIteration: everything was taken and the end is normal.
            BaseException: everything was taken, and this is what ended it; again at every further call.
        """
        while not self._waiting:
            if self._is_closed:
                raise StopAsyncIteration if self._error is None else self._error
            self._wake.clear()
            await self._wake.wait()
        item = self._waiting.pop(next(iter(self._waiting)))
        if len(self._waiting) == self._max_waiting - 1:
            self._room.set()
        return item

    async def wait_for_room(self) -> None:
        """Return when there is room for what new audio may bring; at once when there is."""
        await self._room.wait()

    @property
    def has_room(self) -> bool:
        """Whether `wait_for_room` would return at once."""
        return self._room.is_set()
