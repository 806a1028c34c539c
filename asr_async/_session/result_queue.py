"""The queue between the receiving of results and the caller: it keeps every final, and conflates interims.

Putting an event never waits, so the connection is always read. When finals pile up, the *sending* of audio waits for
room (`wait_for_room`): a caller that stops iterating stops the source, loses nothing and costs bounded memory.

Events that are no results may arrive before it is known whether the caller wants them. They are held in their place
until `settle` decides, and do not take the room of results meanwhile.

Does not know what fills or empties it.
"""

from __future__ import annotations

from .._loop.event import LightEvent
from ..errors import LocalProtocolError
from ..results import Event, Result

__all__ = ["ResultQueue"]

MAX_WAITING = 1_000
"""The finals and events that may wait for the caller before the source is stopped: well over an hour of speech."""

MAX_HELD = 4_000
"""The events that may be held beside them: a start and an end for each of the finals, and as many again."""


class ResultQueue:
    """A bounded queue of events that keeps only the newest interim of each segment.

    It has one end, which is delivered behind the last event.
    """

    __slots__ = (
        "_error",
        "_held",
        "_is_awaited",
        "_is_closed",
        "_is_exhausted",
        "_max_waiting",
        "_next_key",
        "_not_empty",
        "_room",
        "_waiting",
        "conflated",
    )

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        # in order; an interim by the id of its segment, all other events by negative numbers, which are never looked up
        self._waiting: dict[int, Event] = {}
        self._next_key = -1
        # the number of the events that are held
        self._held = 0
        self._not_empty = LightEvent()
        self._room = LightEvent()
        self._room.set()
        self._is_closed = False
        self._error: BaseException | None = None
        # a task waits for an event; the caller has received the normal end
        self._is_awaited = False
        self._is_exhausted = False
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
        if len(waiting) - self._held >= self._max_waiting:
            self._room.clear()
        self._not_empty.set()

    def hold(self, event: Event) -> None:
        """Add an event that is no result, before it is known whether the caller wants it."""
        self._waiting[self._next_key] = event
        self._next_key -= 1
        self._held += 1
        if self._held >= MAX_HELD:
            self._room.clear()

    def settle(self, *, wants_events: bool) -> list[Event]:
        """Decide about the events that are held: remove and return them if the caller does not want them."""
        self._held = 0
        removed: list[Event] = []
        if not wants_events:
            removed = [event for event in self._waiting.values() if not isinstance(event, Result)]
            self._waiting = {key: event for key, event in self._waiting.items() if isinstance(event, Result)}
        if self._is_closed or len(self._waiting) < self._max_waiting:
            self._room.set()
        else:
            self._room.clear()
        return removed

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
            LocalProtocolError: another task waits for an event already, or the normal end was raised before.
            BaseException: the queue is empty and this error is its end; again at every further call.
        """
        if self._is_awaited:
            self.check_not_awaited()
        while not self._waiting:
            if self._is_closed:
                raise self._end()
            self._not_empty.clear()
            self._is_awaited = True
            try:
                await self._not_empty.wait()
            finally:
                self._is_awaited = False
        event = self._waiting.pop(next(iter(self._waiting)))
        if len(self._waiting) == self._max_waiting - 1:
            self._room.set()
        return event

    def check_not_awaited(self) -> None:
        """Refuse a second consumer.

        Raises:
            LocalProtocolError: a task waits for an event.
        """
        if self._is_awaited:
            raise LocalProtocolError(
                "another task iterates the results of this session, and each result goes to one of them only: iterate "
                "in one task, and pass the results on from there"
            )

    def _end(self) -> BaseException:
        """Return the exception that tells the caller the end."""
        if self._error is not None:
            return self._error
        if self._is_exhausted:
            return LocalProtocolError(
                "all results of this session have been iterated: keep them, [result async for result in ...], or make "
                "another session with client.session(...)"
            )
        self._is_exhausted = True
        return StopAsyncIteration()

    async def wait_for_room(self) -> None:
        """Return when there is room for the results of new audio; at once if there is."""
        await self._room.wait()

    @property
    def has_room(self) -> bool:
        """True if `wait_for_room` would return at once."""
        return self._room.is_set()
