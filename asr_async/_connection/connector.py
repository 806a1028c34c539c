"""The way of a session to a vendor task: choose the member, connect or take an idle connection, start the task.

Does not know audio, results or reconnection: each call opens one task, or raises the reason why it cannot.
"""

from __future__ import annotations

import asyncio
import functools
import uuid
from typing import TYPE_CHECKING

from .._text.lines import one_line
from ..errors import ASRError, ConfigurationError, ConnectionLostError, DeadlineError, LocalProtocolError
from ..telemetry.observer import Observer
from .member import choose_member, connect_member
from .task import RecognitionTask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._limits.limiter import SessionPermit
    from .._net.websocket import WebSocket
    from ..config import Timeouts
    from ..telemetry.observer import SessionObservers
    from ..telemetry.session_log import SessionLogger
    from ..vendors.codec import Codec
    from ..vendors.options import Options
    from ..vendors.service import MemberChoice, Service
    from .pool import ConnectionPool

__all__ = ["Connector"]

SHORTEST_WAIT_S = 0.001
"""Less than this is no wait for a limit, but the time of the check."""


class Connector:
    """Opens the vendor tasks of one session."""

    __slots__ = ("_log", "_observers", "_permit", "_pool", "_service", "description", "options", "timeouts")

    def __init__(
        self,
        service: Service,
        options: Options,
        *,
        timeouts: Timeouts,
        pool: ConnectionPool,
        permit: SessionPermit,
        log: SessionLogger,
        observers: SessionObservers | None = None,
    ) -> None:
        """Keep everything that a connection needs.

        Raises:
            ConfigurationError: the options are not of the service's vendor, or `Timeouts.finish` is too short for it.
        """
        self._service = service
        self._pool = pool
        self._permit = permit
        self._log = log
        self._observers = observers
        self.options = options
        self.timeouts = timeouts
        self.description = description = service.describe(options)
        """The facts that are the same for the task of every connection."""
        if description.quiet_end_s is not None and description.quiet_end_s >= timeouts.finish:
            raise ConfigurationError(
                f"Timeouts(finish={timeouts.finish:g}): {options.model} ends {description.quiet_end_s:g} s after its "
                "last message, so allow more"
            )

    def __repr__(self) -> str:
        return f"<Connector {self.options.model} {self._service!r}>"

    async def open(self) -> RecognitionTask:
        """Open a task on a new or an idle connection, and return it when the vendor is ready.

        Cached credentials that the vendor refuses are refreshed once. Each member of a service is tried once, with its
        own deadlines.

        Raises:
            ASRError: no task could be opened, or not in time.
        """
        choose: Callable[[], Awaitable[MemberChoice]] = self._choose_member
        while True:
            deadline = self._connect_deadline()
            choice = await self._in_time(choose(), deadline)
            try:
                return await self._open_at(choice, deadline)
            except ASRError as error:
                choice.record_refusal(error)
            choose = choice.next_member

    def release(self, task: RecognitionTask) -> None:
        """Leave the connection of a task that the vendor has completed to the next task; see `RecognitionTask`."""
        task.release(self._pool)

    async def open_preferred(self, current: RecognitionTask) -> RecognitionTask | None:
        """Open a task at a member that is preferred to the current task's; return None if that fails."""
        deadline = self._connect_deadline()
        try:
            choice = await self._in_time(self._choose_member(), deadline)
        except ASRError:
            return None
        if choice.rank >= current.choice.rank:
            return None
        try:
            return await self._open_at(choice, deadline)
        except ASRError as error:
            choice.record_refusal(error)
            return None

    def _choose_member(self) -> Awaitable[MemberChoice]:
        return choose_member(self._service, self.options)

    def _connect_deadline(self) -> float:
        return _now() + self.timeouts.connect

    async def _in_time(self, choosing: Awaitable[MemberChoice], deadline: float) -> MemberChoice:
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await choosing
        except TimeoutError:
            if not limit.expired():  # raised by the caller's own function for the key
                raise
            text = f"no credentials within {self.timeouts.connect:g} s (Timeouts.connect)"
            raise DeadlineError(text) from None

    async def _open_at(self, choice: MemberChoice, deadline: float) -> RecognitionTask:
        """Open a task as the limits allow; the time that they take does not count towards the deadline."""
        remaining_s = deadline - _now()
        await self._permitted("session", self._permit.acquire_session(choice))
        try:
            task = await self._open_permitted(choice, _now() + remaining_s)
        except ASRError as error:
            self._permit.record_refusal(choice, error)
            raise
        self._permit.record_start(choice)
        self._pool.keep_warm(choice, self._permit.wait_to_connect)
        return task

    async def _open_permitted(self, choice: MemberChoice, deadline: float) -> RecognitionTask:
        if (idle := self._pool.take(choice)) is not None:
            await self._wait_to_start(choice, idle)
            try:
                return await self._start(idle, choice, is_reused=True)
            except (ConnectionLostError, DeadlineError) as error:
                self._log.debug("an idle connection was lost meanwhile: %s", error)
                deadline = self._connect_deadline()
        return await connect_member(choice, functools.partial(self._connect_and_start, deadline))

    async def _connect_and_start(self, deadline: float, choice: MemberChoice) -> RecognitionTask:
        """Open a task on a new connection; as in `_open_at`, waits for the limits do not count."""
        timeouts = self.timeouts
        connect_s = deadline - _now()
        await self._permitted("connect", self._permit.wait_to_connect(choice))
        began_at = _now()
        connection = await self._pool.connect(
            choice.endpoint, connect_s=connect_s, idle_s=timeouts.idle, close_s=timeouts.close
        )
        connected_s = _now() - began_at
        await self._wait_to_start(choice, connection)
        return await self._start(connection, choice, connected_s=connected_s)

    async def _wait_to_start(self, choice: MemberChoice, connection: WebSocket) -> None:
        try:
            await self._permitted("start", self._permit.wait_to_start(choice))
        except BaseException:
            connection.abort()
            raise

    async def _permitted(self, permit: str, waiting: Awaitable[None]) -> None:
        """Wait for the limits, and report to the observers a wait that is longer than a check, also if it fails."""
        observers = self._observers
        if observers is None:
            await waiting
            return
        began_at, is_wait = _now(), False

        def begin() -> None:
            nonlocal is_wait
            is_wait = True
            observers.notify(Observer.on_limit_wait_start)

        timer = asyncio.get_running_loop().call_later(SHORTEST_WAIT_S, begin)
        try:
            await waiting
        finally:
            timer.cancel()
            if is_wait:
                observers.notify(Observer.on_limit_wait, waited_s=_now() - began_at, permit=permit)

    def _make_codec(self, choice: MemberChoice) -> Codec:
        """Make the codec of a task, which may be that of another project.

        Raises:
            LocalProtocolError: the service failed.
        """
        try:
            return choice.codec(task_id=uuid.uuid4().hex)
        except ASRError:
            raise
        except Exception as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            text = f"codec() of {choice.name or repr(self._service)} raised {reason}"
            raise LocalProtocolError(text, vendor=choice.options.vendor) from error

    async def _start(
        self, connection: WebSocket, choice: MemberChoice, *, is_reused: bool = False, connected_s: float = 0.0
    ) -> RecognitionTask:
        try:
            codec = self._make_codec(choice)
            task = RecognitionTask(
                codec, connection, choice, timeouts=self.timeouts, permit=self._permit, log=self._log
            )
        except BaseException:
            connection.abort()
            raise
        began_at = _now()
        await task.start(is_reused=is_reused)
        if self._observers is not None:
            self._observers.notify(
                Observer.on_connect,
                duration_s=connected_s + _now() - began_at,
                is_reused=is_reused,
                host=choice.endpoint.host,
                member=choice.name,
            )
        return task


def _now() -> float:
    return asyncio.get_running_loop().time()
