"""An event with the interface of `asyncio.Event` that needs almost no memory while no task waits for it.

`asyncio.Event` creates a queue of 700 bytes at once, and a session has a dozen events, most of which no task waits for
most of the time. This one holds nothing until a task waits, and then a list with a future.
"""

from __future__ import annotations

import asyncio

__all__ = ["LightEvent"]


class LightEvent:
    """An event. `set` wakes all tasks that wait, also if `clear` follows at once."""

    __slots__ = ("_is_set", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: list[asyncio.Future[None]] | None = None

    def __repr__(self) -> str:
        return f"<LightEvent {'set' if self._is_set else 'not set'}>"

    def is_set(self) -> bool:
        """Return True if the event is set, so that `wait` returns a future that is done."""
        return self._is_set

    def set(self) -> None:
        """Set the event and wake all tasks that wait for it."""
        self._is_set = True
        if self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():  # it may have been cancelled
                    waiter.set_result(None)

    def clear(self) -> None:
        """Clear the event: those that wait from now on wait for the next `set`."""
        self._is_set = False

    def wait(self) -> asyncio.Future[None]:
        """Return a future that is done when the event is set, at once if it is set. Await it, or cancel it."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._is_set:
            waiter.set_result(None)
        elif self._waiters is None:
            self._waiters = [waiter]
        else:
            self._waiters = [*(other for other in self._waiters if not other.done()), waiter]
        return waiter
