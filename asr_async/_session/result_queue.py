"""The queue between the receiving of results and the caller: it keeps every final, and conflates interims.

Putting an event never waits, so the connection is always read. When finals pile up, the *sending* of audio waits for
room (`wait_for_room`): a caller that stops iterating stops the source, loses nothing and costs bounded memory.

Does not know what fills or empties it.
"""

from __future__ import annotations

from .._loop.event import LightEvent
from ..results import Event, Result

__all__ = ["ResultQueue"]

MAX_WAITING = 1_000
"""The finals and events that may wait for the caller before the source is stopped: well over an hour of speech."""


class ResultQueue:
    """A bounded queue of events that keeps only the newest interim of each segment.

    It has one end, which is delivered behind the last event.
    """

    __slots__ = ("_error", "_is_closed", "_max_waiting", "_next_key", "_not_empty", "_room", "_waiting", "conflated")

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        # in order; an interim by the id of its segment, all other events by negative numbers, which are never looked up
        self._waiting: dict[int, Event] = {}
        self._next_key = -1
        self._not_empty = LightEvent()
        self._room = LightEvent()
        self._room.set()
        self._is_closed = False
        self._error: BaseException | None = None
        self.conflated = 0
        """The interims that a newer result replaced before the caller took them."""

    def __repr__(self) -> str:
        return f"<ResultQueue {len(self)} waiting{', closed' if self._is_closed else ''}>"

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, event: Event) -> None:
        """Add an event; an interim replaces the one of its segment, a final removes it."""
        waiting = self._waiting
        if isinstance(event, Result) and waiting.pop(event.segment_id, None) is not None:
            self.conflated += 1
        if isinstance(event, Result) and not event.is_final:
            waiting[event.segment_id] = event
        else:
            waiting[self._next_key] = event
            self._next_key -= 1
        if len(waiting) >= self._max_waiting:
            self._room.clear()
        self._not_empty.set()

    def close(self, error: BaseException | None = None) -> None:
        """Set the end, normal or an error that is raised behind the last event. Only the first call counts."""
        if not self._is_closed:
            self._is_closed = True
            self._error = error
            self._not_empty.set()
            self._room.set()

    async def get(self) -> Event:
        """Remove the oldest event and return it.

        Raises:
            StopAsyncIteration: the queue is empty and its end is normal.
            BaseException: the queue is empty and this error is its end; again at every further call.
        """
        while not self._waiting:
            if self._is_closed:
                raise StopAsyncIteration if self._error is None else self._error
            self._not_empty.clear()
            await self._not_empty.wait()
        event = self._waiting.pop(next(iter(self._waiting)))
        if len(self._waiting) == self._max_waiting - 1:
            self._room.set()
        return event

    async def wait_for_room(self) -> None:
        """Return when there is room for the results of new audio; at once if there is."""
        await self._room.wait()

    @property
    def has_room(self) -> bool:
        """True if `wait_for_room` would return at once."""
        return self._room.is_set()
