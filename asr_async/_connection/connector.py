"""How a session comes by a connection: find out where to, connect or take one that waits, open the task.

It does not know audio, results or recovery: each call opens one link, or says in an error why not.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import uuid
from typing import TYPE_CHECKING

from ..errors import ASRError, AuthenticationError, ConnectionLostError, DeadlineError
from .task import RecognitionTask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._limits.limiter import SessionPermit
    from .._net.websocket import WebSocket
    from ..config import Timeouts
    from ..vendors.options import Options
    from ..vendors.service import Endpoint, Service
    from .pool import ConnectionPool

__all__ = ["Connector"]

logger = logging.getLogger("asr_async")


class Connector:
    """Opens the links of one session."""

    __slots__ = ("_connections", "_permit", "_service", "description", "options", "timeouts")

    def __init__(
        self, service: Service, options: Options, timeouts: Timeouts, connections: ConnectionPool, permit: SessionPermit
    ) -> None:
        """Take all that a connection needs.

        Raises:
            ConfigurationError: the service is not of the options' vendor.
        """
        self._service = service
        self._connections = connections
        self._permit = permit
        self.options = options
        self.timeouts = timeouts
        self.description = service.describe(options)
        """The facts that are the same for the task of every connection."""

    def __repr__(self) -> str:
        return f"<Connector {self.options.model} {self._service!r}>"

    async def open(self) -> RecognitionTask:
        """Connect, or take a connection that waits; open the task and wait until the vendor is ready.

        Credentials that the service had kept, and that are refused, are renewed once. Of a service with several members
        each is asked once, with deadlines of its own.

        Raises:
            ASRError: it could not be done, or not in time.
        """
        ask = self._ask
        while True:
            deadline = self._connect_deadline()
            target = await self._find_target(ask, deadline)
            try:
                link = await self._open_at(target, deadline)
            except ASRError as error:
                if target.choice is None:
                    raise
                target.choice.refused(error)
            else:
                self._connections.keep_warm(target, ask, self._permit.wait_to_connect)
                return link
            ask = target.choice.following

    async def open_better(self, than: RecognitionTask) -> RecognitionTask | None:
        """A link to a better member of the service than this one's; None if none answers."""
        deadline = self._connect_deadline()
        try:
            target = await self._find_target(self._ask, deadline)
        except ASRError:
            return None
        if target.choice is None or not than.yields_to(target.choice):
            return None
        try:
            link = await self._open_at(target, deadline)
        except ASRError as error:
            target.choice.refused(error)
            return None
        self._connections.keep_warm(target, self._ask, self._permit.wait_to_connect)
        return link

    @property
    def _ask(self) -> Callable[[], Awaitable[Endpoint]]:
        return functools.partial(self._service.resolve, self.options)

    def _connect_deadline(self) -> float:
        return asyncio.get_running_loop().time() + self.timeouts.connect

    async def _open_at(self, target: Endpoint, deadline: float) -> RecognitionTask:
        """Open a link there, as the limits allow; the deadline stands still while they let nobody in."""
        left_s = deadline - asyncio.get_running_loop().time()
        await self._permit.acquire_session(target)
        try:
            link = await self._open_there(target, asyncio.get_running_loop().time() + left_s)
        except ASRError as error:
            self._permit.record_refusal(target, error)
            raise
        self._permit.record_start(target)
        return link

    async def _open_there(self, target: Endpoint, deadline: float) -> RecognitionTask:
        if (waiting := self._connections.take(target)) is not None:
            await self._wait_to_start(target, waiting)
            try:
                return await self._start(waiting, target)
            except (ConnectionLostError, DeadlineError) as error:
                logger.debug("a connection that waited was lost meanwhile: %s", error)
                deadline = self._connect_deadline()
        try:
            return await self._start(await self._connect(target, deadline), target)
        except AuthenticationError as error:
            if not target.renew(error):
                raise
            logger.info("kept credentials of %s were refused, once more with new ones: %s", target.host, error)
        again = self._ask if target.choice is None else target.choice.again
        target = await self._find_target(again, deadline)
        return await self._start(await self._connect(target, deadline), target)

    async def _find_target(self, ask: Callable[[], Awaitable[Endpoint]], deadline: float) -> Endpoint:
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await ask()
        except TimeoutError:
            if not limit.expired():  # the caller's own, of a function that gives the key
                raise
            text = f"no credentials within {self.timeouts.connect:g} s (Timeouts.connect)"
            raise DeadlineError(text) from None

    async def _connect(self, target: Endpoint, deadline: float) -> WebSocket:
        """Make a connection that may start a task now; the deadline stands still as in `_open_at`."""
        times = self.timeouts
        connect_s = deadline - asyncio.get_running_loop().time()
        await self._permit.wait_to_connect(target)
        transport = await self._connections.connect(target, connect_s=connect_s, idle_s=times.idle, close_s=times.close)
        await self._wait_to_start(target, transport)
        return transport

    async def _wait_to_start(self, target: Endpoint, transport: WebSocket) -> None:
        try:
            await self._permit.wait_to_start(target)
        except BaseException:
            transport.abort()
            raise

    async def _start(self, transport: WebSocket, target: Endpoint) -> RecognitionTask:
        task_id = uuid.uuid4().hex
        if target.choice is None:
            codec, description = self._service.codec(self.options, task_id=task_id), self.description
        else:  # a member has options of its own
            codec, description = target.choice.codec(task_id=task_id), target.choice.description
        link = RecognitionTask(
            codec, transport, target, description=description, timeouts=self.timeouts, permit=self._permit
        )
        await link.start()
        return link
