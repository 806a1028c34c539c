"""The connections of one client: it makes new ones, and keeps idle ones where a vendor takes several tasks on one.

A connection becomes idle when the vendor has confirmed the end of its task, or when it was opened ahead (`Pool.warm`).
It is closed before the vendor's own limit for idle connections.

Theory of operation of warming. The pool learns of a destination when a session has been opened there, or is about to
be. From then on a *warmer*, one background task for each destination, keeps the wanted number of *fresh* connections
there: open ones that are not about to be closed for their age. So an old connection is replaced before it is closed.
The errors of a warmer are logged, and it tries again later: no session depends on it.

Does not know vendor tasks.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec

from .._limits.circuit_breaker import CircuitBreaker
from .._net.websocket import WebSocket
from ..errors import ASRError, AuthenticationError, ConfigurationError, DeadlineError
from .member import connect_member

if TYPE_CHECKING:
    from .._net.wire_log import WireLog
    from ..config import Pool, Timeouts
    from ..vendors.service import Endpoint, MemberChoice

__all__ = ["ConnectionPool"]

logger = logging.getLogger("asr_async")

RENEWAL_S = 5.0
"""The time before its end at which an idle connection is replaced: many times a handshake, a third of the shortest
lifetime that a vendor allows."""

CHECK_INTERVAL_S = 5.0
"""The time between two checks of a warmer that the idle connections are still open: a server that restarts closes
them."""

LONGEST_PAUSE_S = 30.0
"""The longest pause of a warmer after failed attempts; see `CircuitBreaker`."""

T = TypeVar("T")

_Destination: TypeAlias = tuple[str, int]
"""The URL, and the rank of the member: two members may have the same URL and different keys."""

Choose: TypeAlias = Callable[[], Awaitable["MemberChoice"]]
WaitToConnect: TypeAlias = Callable[["MemberChoice"], Awaitable[None]]


class ConnectionPool:
    """Makes the connections of a client and keeps the idle ones, from `open` to `aclose`."""

    def __init__(self, pool: Pool, timeouts: Timeouts, wire_log: WireLog | None = None) -> None:
        self._pool = pool
        self._timeouts = timeouts
        self._wire_log = wire_log
        self._idle: dict[_Destination, deque[_IdleConnection]] = {}
        self._warmers: dict[_Destination, _Warmer] = {}
        self._group = asyncio.TaskGroup()

    def __repr__(self) -> str:
        return f"<ConnectionPool {len(self)} idle>"

    def __len__(self) -> int:
        return sum(len(connections) for connections in self._idle.values())

    async def open(self) -> None:
        """Enter the group of background tasks, which `aclose` leaves."""
        await self._group.__aenter__()

    async def connect(self, endpoint: Endpoint, *, connect_s: float, idle_s: float, close_s: float) -> WebSocket:
        """Make a new connection; see `WebSocket.connect`."""
        log = None if self._wire_log is None else self._wire_log.record_connect(endpoint)
        try:
            return await WebSocket.connect(endpoint, connect_s=connect_s, idle_s=idle_s, close_s=close_s, log=log)
        except ASRError as error:
            error.change_texts(endpoint.redactor.text)
            # without the frames of its origin, whose local variables hold parts of the URL and what the server sent
            raise error.with_traceback(None) from error.__cause__

    def take(self, choice: MemberChoice) -> WebSocket | None:
        """Remove the newest idle connection to the member and return it; None if there is none."""
        destination = _destination(choice)
        idle = self._idle.get(destination, deque())
        taken = None
        while idle and taken is None:
            newest = idle.pop()
            newest.timer.cancel()
            if newest.remaining_s() > 0:
                taken = newest.connection
        if destination in self._warmers:
            self._warmers[destination].wake()
        return taken

    def keep(self, choice: MemberChoice, connection: WebSocket) -> bool:
        """Keep an idle connection for the next task; return False if it should be closed instead."""
        reuse_s = choice.endpoint.reuse_s
        if reuse_s is None or not connection.is_open or self._pool.max_idle == 0:
            return False
        if len(self) >= self._pool.max_idle:
            self._drop_oldest()
        destination = _destination(choice)
        timer = asyncio.get_running_loop().call_later(reuse_s, self._drop, destination, connection)
        self._idle.setdefault(destination, deque()).append(_IdleConnection(connection, timer))
        return True

    # --- warming -----------------------------------------------------------------------------------------------------

    def keep_warm(self, choice: MemberChoice, wait_to_connect: WaitToConnect) -> None:
        """Keep as many connections to the member ready as `Pool.warm` says, from now on.

        Args:
            choice: the member that a session was opened at, or will be.
            wait_to_connect: returns when the limits allow another connection there.
        """
        if choice.endpoint.reuse_s is None or self._pool.warm == 0:
            return
        destination = _destination(choice)
        if destination in self._warmers:
            self._warmers[destination].record_session(choice)
        else:
            self._warmers[destination] = warmer = _Warmer(self, destination, choice, wait_to_connect)
            warmer.task = self._group.create_task(warmer.run())

    async def warm(self, choose: Choose, wait_to_connect: WaitToConnect) -> None:
        """Open a connection to the member that a session would use now, unless an idle one is fresh.

        The others follow in the background.

        Raises:
            ASRError: it could not be opened.
            ConfigurationError: the pool keeps no connections warm, or the vendor takes one task on a connection.
        """
        if self._pool.warm == 0:
            raise ConfigurationError("warm(): this client keeps nothing warm; make it with pool=Pool(warm=1) or more")
        choice = await self._in_time(choose())
        if choice.endpoint.reuse_s is None:
            raise ConfigurationError(f"warm(): {choice.endpoint.host} takes one session of this model on a connection")
        if not self.fresh_s(_destination(choice)):
            await self.open_ahead(choice.refresh, wait_to_connect)
        self.keep_warm(choice, wait_to_connect)

    def needs_another(self, destination: _Destination) -> bool:
        """Return True if another connection should be opened ahead, and the bounds of the pool allow it."""
        fresh = sum(len(self.fresh_s(any_destination)) for any_destination in self._idle)
        return len(self.fresh_s(destination)) < self._pool.warm and fresh < self._pool.max_idle

    def fresh_s(self, destination: _Destination) -> list[float]:
        """Return, for each fresh idle connection, the time that it stays fresh."""
        remaining_s = (idle.remaining_s() - RENEWAL_S for idle in self._idle.get(destination, ()))
        return [seconds for seconds in remaining_s if seconds > 0]

    async def open_ahead(self, choose: Choose, wait_to_connect: WaitToConnect) -> None:
        """Open a connection and keep it idle. Cached credentials that the vendor refuses are refreshed once.

        Raises:
            ASRError: it could not be opened.
        """
        choice, connection = await self._in_time(self._open_ahead(choose, wait_to_connect))
        if not self.keep(choice, connection):
            connection.abort()

    async def _open_ahead(self, choose: Choose, wait_to_connect: WaitToConnect) -> tuple[MemberChoice, WebSocket]:
        choice = await choose()
        await wait_to_connect(choice)
        return await connect_member(choice, self._connect_ahead)

    async def _connect_ahead(self, choice: MemberChoice) -> tuple[MemberChoice, WebSocket]:
        timeouts = self._timeouts
        connection = await self.connect(
            choice.endpoint, connect_s=timeouts.connect, idle_s=timeouts.idle, close_s=timeouts.close
        )
        return choice, connection

    async def _in_time(self, opening: Awaitable[T]) -> T:
        connect_s = self._timeouts.connect
        try:
            async with asyncio.timeout(connect_s) as limit:
                return await opening
        except TimeoutError as error:
            if isinstance(error, ASRError) or not limit.expired():
                raise
            raise DeadlineError(f"no connection within {connect_s:g} s (Timeouts.connect)", retryable=True) from None

    # --- closing -----------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Stop the warmers, close all idle connections, and close the wire log."""
        for warmer in self._warmers.values():
            if warmer.task is not None:
                warmer.task.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        finally:
            await self._close_idle()

    async def _close_idle(self) -> None:
        idle = [each for connections in self._idle.values() for each in connections]
        self._idle.clear()
        for each in idle:
            each.timer.cancel()
        try:
            await asyncio.gather(*(each.connection.close() for each in idle), return_exceptions=True)
        finally:
            for each in idle:
                each.connection.abort()
            if self._wire_log is not None:
                self._wire_log.close()

    def _drop_oldest(self) -> None:
        destination = min((idle[0].timer.when(), destination) for destination, idle in self._idle.items() if idle)[1]
        oldest = self._idle[destination].popleft()
        oldest.timer.cancel()
        oldest.connection.abort()

    def _drop(self, destination: _Destination, connection: WebSocket) -> None:
        idle = self._idle[destination]
        self._idle[destination] = deque(each for each in idle if each.connection is not connection)
        connection.abort()


class _IdleConnection(msgspec.Struct, frozen=True):
    """A connection without a task, and the timer that drops it."""

    connection: WebSocket
    timer: asyncio.TimerHandle

    def remaining_s(self) -> float:
        """Return the time until it is dropped; 0 or less if it can no longer be used."""
        return self.timer.when() - _now() if self.connection.is_open else 0.0


class _Warmer:
    """Keeps connections to one destination ready."""

    def __init__(
        self, pool: ConnectionPool, destination: _Destination, choice: MemberChoice, wait_to_connect: WaitToConnect
    ) -> None:
        self._pool = pool
        self._destination = destination
        self._choice = choice
        self._wait_to_connect = wait_to_connect
        self._breaker = CircuitBreaker(LONGEST_PAUSE_S)
        self._is_refused = False
        self._woken = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Check the number of idle connections now: one was taken."""
        self._woken.set()

    def record_session(self, choice: MemberChoice) -> None:
        """Record that a session could be opened: its credentials are good."""
        self._choice = choice
        if self._is_refused:
            self._is_refused = False
            self._breaker.record_success()
        self.wake()

    async def run(self) -> None:
        """Open connections as they are needed, until cancelled."""
        while True:
            self._woken.clear()
            while self._may_connect and self._pool.needs_another(self._destination):
                await self._open_one()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._woken.wait()

    @property
    def _may_connect(self) -> bool:
        return not self._is_refused and not self._breaker.is_open(_now())

    async def _open_one(self) -> None:
        try:
            await self._pool.open_ahead(self._choice.refresh, self._wait_to_connect)
        except ASRError as error:
            self._record_failure(error)
        except Exception as error:  # noqa: BLE001 - raised by the caller's own function for the key; sessions raise it
            self._record_failure(ASRError(f"there was no key: {type(error).__name__}", retryable=True))
        else:
            self._breaker.record_success()

    def _record_failure(self, error: ASRError) -> None:
        self._breaker.record_failure(_now(), error, task_was_open=False)
        self._is_refused = isinstance(error, AuthenticationError)
        until = "until a session can be opened" if self._is_refused else f"for {self._breaker.open_for_s:g} s"
        logger.warning("no connection could be opened ahead, the next attempt waits %s: %s", until, error)

    def _pause_s(self) -> float | None:
        """Return the time until the next check, unless something wakes the warmer; None for no check at all."""
        if self._is_refused:
            return None
        if self._breaker.is_open(_now()):
            return self._breaker.retry_in_s(_now())
        return min([CHECK_INTERVAL_S, *self._pool.fresh_s(self._destination)])


def _destination(choice: MemberChoice) -> _Destination:
    return choice.endpoint.url, choice.rank


def _now() -> float:
    return asyncio.get_running_loop().time()
