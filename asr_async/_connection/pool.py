"""The connections of one client: new ones, and those that wait for their next task where a vendor takes several on one.

A connection waits when the vendor has confirmed the end of its task, or when it was opened ahead (`Pool.warm`), and
never as long as the vendor would let it. Nothing here knows what tasks are.

Theory of operation of warming. A place becomes known when a session has been opened there, or is to be. From then on a
*warmer*, one task for each place, sees to it that so many *fresh* connections wait there: those that are open and not
soon at the end of their time. An old one is so replaced before it is dropped. What goes wrong with a warmer is logged
and tried again later: no session depends on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import msgspec

from .._limits.circuit_breaker import CircuitBreaker
from .._net.websocket import WebSocket
from ..config import Pool
from ..errors import ASRError, AuthenticationError, ConfigurationError, DeadlineError

if TYPE_CHECKING:
    from .._net.wire_log import WireLog
    from ..config import Timeouts
    from ..vendors.service import Endpoint

__all__ = [
    "ConnectionPool",
]

logger = logging.getLogger("asr_async")

RENEWAL_S = 5.0
"""How long before its end a connection is replaced: many times a handshake, a third of the shortest time there is."""

LOOK_S = 5.0
"""How often a warmer looks whether what waits is still open: a server that restarts closes it."""

LONGEST_REST_S = 30.0
"""Between attempts of a warmer that fails; see `_circuit`."""

T = TypeVar("T")

_Place = tuple[str, int]
"""Where a connection goes: the URL, and as which of several members, which may have the same URL and other keys."""


Ask = Callable[[], Awaitable["Endpoint"]]
Admit = Callable[["Endpoint"], Awaitable[None]]


class ConnectionPool:
    """Makes a client's connections, and keeps those that wait, from `open` to `aclose`."""

    def __init__(self, pool: Pool, timeouts: Timeouts, tape: WireLog | None = None) -> None:
        self._pool = pool
        self._timeouts = timeouts
        self._tape = tape
        self._waiting: dict[_Place, deque[_Waiting]] = {}
        self._warmers: dict[_Place, _Warmer] = {}
        self._group = asyncio.TaskGroup()

    def __repr__(self) -> str:
        return f"<ConnectionPool {len(self)} waiting>"

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    async def open(self) -> None:
        """Begin; what begins here ends in `aclose`."""
        await self._group.__aenter__()

    async def connect(self, target: Endpoint, *, connect_s: float, idle_s: float, close_s: float) -> WebSocket:
        """Make a new one; see `WebSocket.connect`."""
        log = None if self._tape is None else self._tape.record_connect(target)
        return await WebSocket.connect(target, connect_s=connect_s, idle_s=idle_s, close_s=close_s, log=log)

    def take(self, target: Endpoint) -> WebSocket | None:
        """One that waits to go where the target is, the freshest there is; None if there is none."""
        place = _place(target)
        waiting = self._waiting.get(place, deque())
        taken = None
        while waiting and taken is None:
            last = waiting.pop()
            last.timer.cancel()
            if last.lasts_s() > 0:
                taken = last.transport
        if place in self._warmers:
            self._warmers[place].wake()
        return taken

    def keep(self, target: Endpoint, transport: WebSocket) -> bool:
        """Let a connection wait for the next task; False if it should rather be closed."""
        if target.reuse_s is None or not transport.is_open or self._pool.max_idle == 0:
            return False
        if len(self) >= self._pool.max_idle:
            self._drop_oldest()
        place = _place(target)
        timer = asyncio.get_running_loop().call_later(target.reuse_s, self._drop, place, transport)
        self._waiting.setdefault(place, deque()).append(_Waiting(transport, timer))
        return True

    # --- warming -----------------------------------------------------------------------------------------------------

    def keep_warm(self, target: Endpoint, ask: Ask, admit: Admit) -> None:
        """Hold as many ready as are wanted where a session was opened, or will be.

        Args:
            target: where.
            ask: gives it again, with the credentials of the day; not needed where the target has a `choice`.
            admit: returns when the limits allow another connection there.
        """
        if target.reuse_s is None or self._pool.warm == 0:
            return
        ask = ask if target.choice is None else target.choice.again
        place = _place(target)
        if place in self._warmers:
            self._warmers[place].encourage(ask)
        else:
            self._warmers[place] = warmer = _Warmer(self, place, ask, admit)
            warmer.task = self._group.create_task(warmer.run())

    async def warm(self, ask: Ask, admit: Admit) -> None:
        """Open one where a session would be opened now, unless one waits; the others follow in the background.

        Raises:
            ASRError: it could not be opened.
            ConfigurationError: none are to be warm, or none can be.
        """
        if self._pool.warm == 0:
            raise ConfigurationError("warm(): this client keeps nothing warm; make it with pool=Pool(warm=1) or more")
        target = await self._in_time(ask())
        if target.reuse_s is None:
            raise ConfigurationError(f"warm(): {target.host} takes one session of this model on a connection")
        if not self.fresh_at(_place(target)):
            await self.open_ahead(ask if target.choice is None else target.choice.again, admit)
        self.keep_warm(target, ask, admit)

    def lacks_warmth(self, place: _Place) -> bool:
        """Whether one more should be opened, and may be."""
        fresh = sum(len(self.fresh_at(any_place)) for any_place in self._waiting)
        return len(self.fresh_at(place)) < self._pool.warm and fresh < self._pool.max_idle

    def fresh_at(self, place: _Place) -> list[float]:
        """For each of those that wait there, and are fresh: how long it will be, in seconds."""
        fresh_s = (waiting.lasts_s() - RENEWAL_S for waiting in self._waiting.get(place, ()))
        return [seconds for seconds in fresh_s if seconds > 0]

    async def open_ahead(self, ask: Ask, admit: Admit) -> None:
        """Make one and let it wait. Credentials that were kept, and are refused, are renewed once.

        Raises:
            ASRError: it could not be made.
        """
        target, transport = await self._in_time(self._open_and_renew(ask, admit))
        if not self.keep(target, transport):
            transport.abort()

    async def _open_and_renew(self, ask: Ask, admit: Admit) -> tuple[Endpoint, WebSocket]:
        target = await ask()
        await admit(target)
        try:
            return target, await self._connect_ahead(target)
        except AuthenticationError as error:
            if not target.renew(error):
                raise
        target = await ask()
        return target, await self._connect_ahead(target)

    async def _connect_ahead(self, target: Endpoint) -> WebSocket:
        times = self._timeouts
        return await self.connect(target, connect_s=times.connect, idle_s=times.idle, close_s=times.close)

    async def _in_time(self, work: Awaitable[T]) -> T:
        connect_s = self._timeouts.connect
        try:
            async with asyncio.timeout(connect_s) as limit:
                return await work
        except TimeoutError as error:
            if isinstance(error, ASRError) or not limit.expired():
                raise
            raise DeadlineError(f"no connection within {connect_s:g} s (Timeouts.connect)", retryable=True) from None

    # --- letting go --------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Stop warming, say goodbye to all that wait, and end the recording."""
        for warmer in self._warmers.values():
            if warmer.task is not None:
                warmer.task.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        finally:
            await self._close_waiting()

    async def _close_waiting(self) -> None:
        transports = [waiting.transport for at_place in self._waiting.values() for waiting in at_place]
        for at_place in self._waiting.values():
            for waiting in at_place:
                waiting.timer.cancel()
        self._waiting.clear()
        try:
            await asyncio.gather(*(transport.close() for transport in transports), return_exceptions=True)
        finally:
            for transport in transports:
                transport.abort()
            if self._tape is not None:
                self._tape.close()

    def _drop_oldest(self) -> None:
        place = min((waiting[0].timer.when(), at) for at, waiting in self._waiting.items() if waiting)[1]
        oldest = self._waiting[place].popleft()
        oldest.timer.cancel()
        oldest.transport.abort()

    def _drop(self, place: _Place, transport: WebSocket) -> None:
        """It has waited as long as it may."""
        waiting = self._waiting[place]
        self._waiting[place] = deque(entry for entry in waiting if entry.transport is not transport)
        transport.abort()


class _Waiting(msgspec.Struct, frozen=True):
    """A connection without a task, and what drops it in time."""

    transport: WebSocket
    timer: asyncio.TimerHandle

    def lasts_s(self) -> float:
        """How long it can still be taken; 0 or less when it cannot."""
        return self.timer.when() - _now() if self.transport.is_open else 0.0


class _Warmer:
    """Holds connections ready at one place."""

    def __init__(self, connections: ConnectionPool, place: _Place, ask: Ask, admit: Admit) -> None:
        self._connections = connections
        self._place = place
        self._ask = ask
        self._admit = admit
        self._circuit = CircuitBreaker(LONGEST_REST_S)
        self._is_refused = False
        self._woken = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something was taken."""
        self._woken.set()

    def encourage(self, ask: Ask) -> None:
        """A session got in: so would a warmer, with the same credentials."""
        self._ask = ask
        if self._is_refused:
            self._is_refused = False
            self._circuit.record_success()
        self.wake()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._woken.clear()
            while not self._rests and self._connections.lacks_warmth(self._place):
                await self._open_one()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._woken.wait()

    @property
    def _rests(self) -> bool:
        return self._is_refused or self._circuit.is_open(_now())

    async def _open_one(self) -> None:
        try:
            await self._connections.open_ahead(self._ask, self._admit)
        except ASRError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - of the caller's own function for the key; sessions raise it
            self._fail(ASRError(f"there was no key: {type(error).__name__}", retryable=True))
        else:
            self._circuit.record_success()

    def _fail(self, error: ASRError) -> None:
        self._circuit.record_failure(_now(), error, task_was_open=False)
        self._is_refused = isinstance(error, AuthenticationError)
        until = "until a session gets in" if self._is_refused else f"for {self._circuit.open_for_s:g} s"
        logger.warning("no connection could be opened ahead, and none is tried %s: %s", until, error)

    def _pause_s(self) -> float | None:
        """Until something may have to be done without being woken."""
        if self._is_refused:
            return None
        if self._circuit.is_open(_now()):
            return self._circuit.retry_in_s(_now())
        return min([LOOK_S, *self._connections.fresh_at(self._place)])


def _place(target: Endpoint) -> _Place:
    return target.url, 0 if target.choice is None else target.choice.rank


def _now() -> float:
    return asyncio.get_running_loop().time()
