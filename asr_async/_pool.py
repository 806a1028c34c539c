"""The connections of one client: new ones, and those that wait for their next task where a vendor takes several on one.

A connection waits only when the vendor has confirmed the end of its task, and never as long as the vendor would let it.
Nothing here knows what tasks are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from ._transport import Transport
from .errors import ConfigurationError

if TYPE_CHECKING:
    from ._tape import Tape
    from .vendors.service import Target

__all__ = ["Connections", "Pool"]

_Place = tuple[str, int]
"""Where a connection goes: the URL, and as which of several members, which may have the same URL and other keys."""


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections a client keeps between sessions.

    Raises:
        ConfigurationError: a value out of range.
    """

    max_idle: int = 8
    """0 closes each connection behind its session. What is beyond closes the one that has waited longest."""

    def __post_init__(self) -> None:
        if not isinstance(self.max_idle, int) or self.max_idle < 0:
            raise ConfigurationError(f"Pool(max_idle={self.max_idle!r}): must be a whole number, 0 or more")


class Connections:
    """Makes a client's connections, and keeps those that wait."""

    def __init__(self, pool: Pool, tape: Tape | None = None) -> None:
        self._max_idle = pool.max_idle
        self._tape = tape
        self._waiting: dict[_Place, deque[tuple[Transport, asyncio.TimerHandle]]] = {}

    def __repr__(self) -> str:
        return f"<Connections {len(self)} waiting>"

    def __len__(self) -> int:
        return sum(len(transports) for transports in self._waiting.values())

    async def connect(self, target: Target, *, connect_s: float, idle_s: float, close_s: float) -> Transport:
        """Make a new one; see `Transport.connect`."""
        track = None if self._tape is None else self._tape.connecting(target)
        return await Transport.connect(target, connect_s=connect_s, idle_s=idle_s, close_s=close_s, track=track)

    def take(self, target: Target) -> Transport | None:
        """One that waits to go where the target is, the freshest there is; None if there is none."""
        waiting = self._waiting.get(_place(target), deque())
        while waiting:
            transport, timer = waiting.pop()
            timer.cancel()
            if transport.is_open:
                return transport
        return None

    def keep(self, target: Target, transport: Transport) -> bool:
        """Let a connection wait for the next task; False if it should rather be closed."""
        if target.reuse_s is None or not transport.is_open or self._max_idle == 0:
            return False
        if len(self) >= self._max_idle:
            self._drop_oldest()
        place = _place(target)
        timer = asyncio.get_running_loop().call_later(target.reuse_s, self._drop, place, transport)
        self._waiting.setdefault(place, deque()).append((transport, timer))
        return True

    async def aclose(self) -> None:
        """Say goodbye to all that wait, and end the recording."""
        transports = [transport for waiting in self._waiting.values() for transport, _ in waiting]
        for waiting in self._waiting.values():
            for _, timer in waiting:
                timer.cancel()
        self._waiting.clear()
        try:
            await asyncio.gather(*(transport.close() for transport in transports), return_exceptions=True)
        finally:
            if self._tape is not None:
                self._tape.close()

    def _drop_oldest(self) -> None:
        place = min((timer.when(), at) for at, waiting in self._waiting.items() for _, timer in list(waiting)[:1])[1]
        transport, timer = self._waiting[place].popleft()
        timer.cancel()
        transport.abort()

    def _drop(self, place: _Place, transport: Transport) -> None:
        """It has waited as long as it may."""
        waiting = self._waiting[place]
        self._waiting[place] = deque(entry for entry in waiting if entry[0] is not transport)
        transport.abort()


def _place(target: Target) -> _Place:
    return target.url, 0 if target.choice is None else target.choice.rank
