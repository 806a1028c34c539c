"""Between the receive task and the caller: keeps every final, and only the newest interim of each segment.

It does not know what fills or empties it. Putting in never waits, so the socket is always read; when finals pile up, it
is the *sending* of audio that waits for room (`wait_for_room`), so a caller that stops reading stops the source, loses
nothing and costs bounded memory.
"""

from __future__ import annotations

from collections import OrderedDict

from ._signal import Signal
from .results import Event, Result

__all__ = ["Outbox"]

MAX_WAITING = 1_000
"""Finals and events that may wait for the caller before the source is stopped: well over an hour of speech."""


class Outbox:
    """A bounded, conflating queue with one end, of which the caller is told once everything before it was taken."""

    __slots__ = ("_error", "_is_closed", "_max_waiting", "_put_count", "_room", "_waiting", "_wake", "conflated")

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._waiting: OrderedDict[tuple[str, int], Event] = OrderedDict()
        self._put_count = 0
        self._wake = Signal()
        self._room = Signal()
        self._room.set()
        self._is_closed = False
        self._error: BaseException | None = None
        self.conflated = 0
        """Interims that were replaced before they were taken."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: Event) -> None:
        """Take in an item; an interim replaces the one of its segment, a final removes it."""
        if isinstance(item, Result):
            superseded = self._waiting.pop(("interim", item.segment_id), None)
            self.conflated += superseded is not None
        if isinstance(item, Result) and not item.is_final:
            key = ("interim", item.segment_id)
        else:
            key = ("kept", self._put_count)
            self._put_count += 1
        self._waiting[key] = item
        if len(self._waiting) >= self._max_waiting:
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
        _, item = self._waiting.popitem(last=False)
        if len(self._waiting) < self._max_waiting:
            self._room.set()
        return item

    async def wait_for_room(self) -> None:
        """Return when there is room for what new audio may bring; at once when there is."""
        await self._room.wait()

    @property
    def has_room(self) -> bool:
        """Whether `wait_for_room` would return at once."""
        return self._room.is_set()
