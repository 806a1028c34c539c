"""Where connections come in: checked, refused on demand, opened, and all ended when the emulator leaves.

Knows no protocol; a vendor's room says who may come in, how it words a refusal and what happens then.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from aiohttp import web

from .connection import CLOSE_TIMEOUT_S, ClientConnection, pause
from .faults import Cut, Delay, HalfOpen, Refuse
from .session import Link

if TYPE_CHECKING:
    from .faults import Fault, FaultInjector
    from .session import VendorSession

__all__ = ["FaultInjectingHandler", "ServerSession", "WebSocketHandler"]

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""What is longer closes the connection. More than any room allows, so that it can say what it allows; and where a
vendor names no limit, its SDK sends any buffer as one message."""


class ServerSession(Protocol):
    """What happens on a connection."""

    async def run(self, leaving: asyncio.Event) -> None:
        """Serve the client until it leaves, is to be sent away, or `leaving` is set."""
        ...


class WebSocketHandler(ABC):
    """Lets clients into a room, and all of them out at the end."""

    def __init__(self) -> None:
        self._leaving = asyncio.Event()
        self._handler_tasks: set[asyncio.Task[Any]] = set()

    @abstractmethod
    async def _receive(self, request: web.Request, line: ClientConnection) -> ServerSession | web.Response:
        """Begin the talk with a client, or say what it gets in place of one; the line is not open yet."""

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """Check who comes, open the WebSocket, serve the client."""
        handler_task = asyncio.current_task()
        if request.transport is None or handler_task is None:  # gone already
            return web.Response()
        self._handler_tasks.add(handler_task)
        handler_task.add_done_callback(self._handler_tasks.discard)
        # no compression: none of the services is known to offer permessage-deflate, no official SDK asks for it
        ws = web.WebSocketResponse(timeout=CLOSE_TIMEOUT_S, compress=False, max_msg_size=MAX_MESSAGE_BYTES)
        talk = await self._receive(request, ClientConnection(ws, request.transport))
        if isinstance(talk, web.Response):
            return talk
        await ws.prepare(request)
        if request.transport is not None:  # else gone meanwhile
            await talk.run(self._leaving)
        return ws

    async def shut(self) -> None:
        """End all connections, and wait until they have ended."""
        self._leaving.set()
        if self._handler_tasks:
            await asyncio.wait(self._handler_tasks)


class FaultInjectingHandler(WebSocketHandler):
    """The door of a vendor's room: who comes in is checked, and something may go wrong."""

    def __init__(self, faults: FaultInjector) -> None:
        super().__init__()
        self._faults = faults

    @abstractmethod
    def _refused(self, request: web.Request) -> web.Response | None:
        """What a client gets that may not come in; None for one that may."""

    @abstractmethod
    def _error_body(self, code: str, message: str) -> Any:
        """The vendor's own form of an error in plain HTTP, for JSON."""

    @abstractmethod
    def _welcome(self, request: web.Request, link: Link) -> VendorSession[Any, Any]:
        """Begin the conversation with a client that came in."""

    async def _receive(self, request: web.Request, line: ClientConnection) -> ServerSession | web.Response:
        if refusal := self._refused(request):
            return refusal
        script = self._faults.connection()
        for fault in script.at_the_door():
            if instead := await self._suffer(fault, line):
                return instead
        return self._welcome(request, Link(line, script))

    async def _suffer(self, fault: Fault, line: ClientConnection) -> web.Response | None:
        match fault:
            case Refuse():
                return self._refusal(fault)
            case Delay():
                line.delay(fault.by_ms / 1000)
                await pause(fault.by_ms / 1000, self._leaving)
                return None
            case HalfOpen():
                await line.play_dead(self._leaving)
            case Cut():
                line.cut()
        return web.Response()  # nobody gets it

    def _refusal(self, fault: Refuse) -> web.Response:
        headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
        if fault.code is None:
            return web.Response(status=fault.status, headers=headers)
        body = msgspec.json.encode(self._error_body(fault.code, fault.message))
        return web.Response(status=fault.status, headers=headers, body=body, content_type="application/json")
