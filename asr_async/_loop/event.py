"""A flag that can be waited for, with the face of `asyncio.Event`.

The standard one keeps a queue from the start, 700 bytes of it, and a session has a dozen of them that nobody waits for
most of the time. This one holds nothing until somebody waits, and then no more than a future.
"""

from __future__ import annotations

import asyncio

__all__ = ["LightEvent"]


class LightEvent:
    """Set or not; waiting ends when it is set, even if it is cleared again at once."""

    __slots__ = ("_is_set", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: list[asyncio.Future[None]] | None = None

    def __repr__(self) -> str:
        return f"<LightEvent {'set' if self._is_set else 'not set'}>"

    def is_set(self) -> bool:
        """Whether `wait` returns at once."""
        return self._is_set

    def set(self) -> None:
        """Let all go on that wait."""
        self._is_set = True
        if self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():  # not given up meanwhile
                    waiter.set_result(None)

    def clear(self) -> None:
        """Have the next ones wait."""
        self._is_set = False

    def wait(self) -> asyncio.Future[None]:
        """What is done when it is set, at once if it is; to be awaited. One that is cancelled waits no more."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._is_set:
            waiter.set_result(None)
        elif self._waiters is None:
            self._waiters = [waiter]
        else:
            self._waiters = [*(other for other in self._waiters if not other.done()), waiter]
        return waiter
