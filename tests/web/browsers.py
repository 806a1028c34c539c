"""Scripted browsers: WebSocket clients of handlers in aiohttp and Starlette, without a page.

That of aiohttp goes over a socket. That of Starlette speaks ASGI to the handler, with the messages of uvicorn.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web
from starlette.websockets import WebSocket as StarletteWebSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = [
    "OPEN_BROWSER",
    "AiohttpBrowser",
    "Browser",
    "Handler",
    "aiohttp_browser",
    "aiohttp_server",
    "starlette_browser",
]

Handler = Callable[[Any], Awaitable[None]]
"""A handler of a WebSocket."""


class Browser(Protocol):
    """A client of a handler."""

    async def send(self, message: bytes | dict[str, Any] | str) -> None: ...
    async def receive(self) -> dict[str, Any]: ...
    async def closed(self) -> tuple[int, str]: ...
    async def leave(self) -> None: ...


# --- aiohttp ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def aiohttp_server(handler: Handler) -> AsyncIterator[str]:
    """Serve a handler; yield its URL."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await handler(websocket)
        return websocket

    application = web.Application()
    application.router.add_get("/", handle)
    # not a `TestServer`, which cancels a handler when its client has left: programs do not by default
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


class AiohttpBrowser:
    """A browser with a socket."""

    def __init__(self, websocket: ClientWebSocketResponse) -> None:
        self._websocket = websocket

    async def send(self, message: bytes | dict[str, Any] | str) -> None:
        if isinstance(message, bytes):
            await self._websocket.send_bytes(message)
        else:
            await self._websocket.send_str(message if isinstance(message, str) else json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        received: dict[str, Any] = await self._websocket.receive_json(timeout=20)
        return received

    async def closed(self) -> tuple[int, str]:
        message = await self._websocket.receive(timeout=20)
        assert message.type is WSMsgType.CLOSE, message
        return message.data, message.extra or ""

    async def leave(self) -> None:
        """Lose the connection, without a closing handshake."""
        connection = self._websocket._conn
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()


@asynccontextmanager
async def aiohttp_browser(handler: Handler) -> AsyncIterator[Browser]:
    async with aiohttp_server(handler) as url, ClientSession() as session, session.ws_connect(url) as websocket:
        yield AiohttpBrowser(websocket)


# --- Starlette -------------------------------------------------------------------------------------------------------


class _StarletteBrowser:
    def __init__(self) -> None:
        self._to_handler: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_handler: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._has_left = False

    async def receive_asgi(self) -> dict[str, Any]:
        return await self._to_handler.get()

    async def send_asgi(self, message: dict[str, Any]) -> None:
        if self._has_left:
            raise OSError("the client has left")  # as uvicorn does
        await self._from_handler.put(message)

    async def connect(self) -> None:
        await self._to_handler.put({"type": "websocket.connect"})
        assert (await self._from_handler.get())["type"] == "websocket.accept"

    async def send(self, message: bytes | dict[str, Any] | str) -> None:
        received: dict[str, Any] = {"type": "websocket.receive"}
        if isinstance(message, bytes):
            received["bytes"] = message
        else:
            received["text"] = message if isinstance(message, str) else json.dumps(message)
        await self._to_handler.put(received)

    async def _next(self) -> dict[str, Any]:
        async with asyncio.timeout(20):
            return await self._from_handler.get()

    async def receive(self) -> dict[str, Any]:
        received: dict[str, Any] = json.loads((await self._next())["text"])
        return received

    async def closed(self) -> tuple[int, str]:
        message = await self._next()
        assert message["type"] == "websocket.close", message
        return message["code"], message["reason"]

    async def leave(self) -> None:
        self._has_left = True
        await self._to_handler.put({"type": "websocket.disconnect", "code": 1006})


@asynccontextmanager
async def starlette_browser(handler: Handler) -> AsyncIterator[Browser]:
    browser = _StarletteBrowser()
    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b""}
    websocket = StarletteWebSocket(scope, browser.receive_asgi, browser.send_asgi)  # type: ignore[arg-type]
    task = asyncio.ensure_future(handler(websocket))
    try:
        await browser.connect()
        yield browser
    finally:
        if not task.done():
            await browser.leave()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)


OPEN_BROWSER = {"aiohttp": aiohttp_browser, "starlette": starlette_browser}
"""Framework → the function that opens a browser of a handler in it."""
