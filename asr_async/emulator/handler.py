"""The request handlers of the emulated WebSocket endpoints: check a handshake, reject it or serve the connection.

Know no protocol: a vendor's subclass checks the credentials, words the rejection and creates the session.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec
from aiohttp import web

from .connection import CLOSE_TIMEOUT_S, ClientConnection, wait_for_shutdown
from .faults import Cut, Delay, HalfOpen, Refuse

if TYPE_CHECKING:
    from .faults import ConnectionFaults, Fault, FaultInjector
    from .session import VendorSession

__all__ = ["FaultInjectingHandler", "ServerSession", "WebSocketHandler"]

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""A longer message closes the connection. This is more than any protocol allows, so that each protocol can report its
own limit; and where a vendor names no limit, its SDK sends a buffer of any length as one message."""


class ServerSession(Protocol):
    """The server side of one connection."""

    async def serve(self, shutdown: asyncio.Event) -> None:
        """Serve the client until it leaves, the server closes the connection, or `shutdown` is set."""
        ...


class WebSocketHandler(ABC):
    """The handler of one endpoint; tracks its connections and ends all of them at shutdown."""

    subprotocols: ClassVar[tuple[str, ...]] = ()
    """The WebSocket subprotocols of the endpoint: the first of them that a client offers is chosen."""

    def __init__(self) -> None:
        self._shutdown = asyncio.Event()
        self._handler_tasks: set[asyncio.Task[Any]] = set()

    @abstractmethod
    async def _accept(self, request: web.Request, connection: ClientConnection) -> ServerSession | web.Response:
        """Create the session of a client, or return the response that rejects it; the WebSocket is not open yet."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Accept or reject the handshake, open the WebSocket, and serve the client."""
        handler_task = asyncio.current_task()
        if request.transport is None or handler_task is None:  # the client has left
            return web.Response()
        self._handler_tasks.add(handler_task)
        handler_task.add_done_callback(self._handler_tasks.discard)
        # no compression: no vendor is known to offer permessage-deflate, and no official SDK requests it
        ws = web.WebSocketResponse(
            timeout=CLOSE_TIMEOUT_S,
            compress=False,
            max_msg_size=MAX_MESSAGE_BYTES,
            protocols=self.subprotocols,
            autoping=False,  # `ClientConnection` answers pings, and needs the pongs
        )
        session = await self._accept(request, ClientConnection(ws, request.transport))
        if isinstance(session, web.Response):
            return session
        await ws.prepare(request)
        if request.transport is not None:  # None: the client has left meanwhile
            await session.serve(self._shutdown)
        return ws

    async def close_connections(self) -> None:
        """End all connections, and wait until they have ended."""
        self._shutdown.set()
        if self._handler_tasks:
            await asyncio.wait(self._handler_tasks)


class FaultInjectingHandler(WebSocketHandler):
    """The handler of a vendor's endpoint: checks credentials and injects the faults of the handshake."""

    def __init__(self, faults: FaultInjector) -> None:
        super().__init__()
        self._faults = faults

    @abstractmethod
    def _reject(self, request: web.Request) -> web.Response | None:
        """Return the response that rejects a client by its credentials; None if they are accepted."""

    @abstractmethod
    def _error_body(self, code: str, message: str) -> Any:
        """Return an error in the form that the vendor uses in plain HTTP, ready for JSON."""

    @abstractmethod
    def _create_session(
        self, request: web.Request, connection: ClientConnection, faults: ConnectionFaults
    ) -> VendorSession[Any, Any]:
        """Create the session of an accepted client."""

    async def _accept(self, request: web.Request, connection: ClientConnection) -> ServerSession | web.Response:
        if rejection := self._reject(request):
            return rejection
        faults = self._faults.next_connection()
        for fault in faults.pop_before_handshake():
            if response := await self._inject(fault, connection):
                return response
        return self._create_session(request, connection, faults)

    async def _inject(self, fault: Fault, connection: ClientConnection) -> web.Response | None:
        match fault:
            case Refuse():
                return self._refusal(fault)
            case Delay():
                connection.delay(fault.by_ms / 1000)
                await wait_for_shutdown(fault.by_ms / 1000, self._shutdown)
                return None
            case HalfOpen():
                await connection.hold_half_open(self._shutdown)
            case Cut():
                connection.cut()
        return web.Response()  # never delivered: the connection is gone

    def _refusal(self, fault: Refuse) -> web.Response:
        headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
        if fault.code is None:
            return web.Response(status=fault.status, headers=headers)
        body = msgspec.json.encode(self._error_body(fault.code, fault.message))
        return web.Response(status=fault.status, headers=headers, body=body, content_type="application/json")
