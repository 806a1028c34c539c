"""The HTTP server on a loopback port that the emulator and the replay share.

Knows the endpoint URLs, but no protocol: a subclass supplies the application with its routes and request handlers.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import LocalProtocolError
from .dashscope import realtime as dashscope_realtime
from .dashscope import tasks as dashscope_tasks
from .funasr import realtime as funasr_realtime
from .funasr import two_pass as funasr_two_pass
from .openai import realtime as openai_realtime

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar, Self

    from .handler import WebSocketHandler

__all__ = ["LocalServer"]

BACKLOG = 1024
"""The most connections that wait to be accepted: tests open hundreds at once."""

RECEIVE_BUFFER_BYTES = 128 * 1024
"""The receive buffer of a connection, 4 s of audio. The system's own holds minutes: a client that sends a recording as
fast as it can would end it minutes before the engine, and give up waiting for the confirmation."""

SHUTDOWN_TIMEOUT_S = 2.0
"""The longest wait of a shutdown for plain HTTP requests; the handlers end their WebSocket connections themselves."""


class LocalServer(ABC):
    """A server on this machine; `async with` starts and stops it."""

    _noun: ClassVar[str]
    """The name of the server in error texts."""

    def __init__(self, *, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._address: str | None = None
        self._running = AsyncExitStack()
        """Undoes the start. For the emulator the order is: the port, the WebSocket connections, the server, the
        engine."""

    @abstractmethod
    async def _start(self, starting: AsyncExitStack) -> tuple[web.Application, Sequence[WebSocketHandler]]:
        """Return the application, and the handlers of the connections that a shutdown must end.

        What this starts is entered into the stack, which stops it after the server.
        """

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as starting:
            application, handlers = await self._start(starting)
            self._address = await _listen(application, handlers, starting, host=self._host, port=self._port)
            self._running = starting.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._address = None
        await self._running.aclose()

    @property
    def address(self) -> str:
        """The host and the port, "127.0.0.1:54321".

        Raises:
            LocalProtocolError: the server is not running.
        """
        if self._address is None:
            raise LocalProtocolError(f"the {self._noun} has no address: it runs only inside `async with`")
        return self._address

    @property
    def url(self) -> str:
        """The base URL: scheme, host and port."""
        return f"http://{self.address}"

    @property
    def dashscope_url(self) -> str:
        """The endpoint of DashScope's task protocol."""
        return f"ws://{self.address}{dashscope_tasks.PATH}"

    @property
    def dashscope_realtime_url(self) -> str:
        """The endpoint of DashScope's realtime protocol."""
        return f"ws://{self.address}{dashscope_realtime.PATH}"

    @property
    def openai_url(self) -> str:
        """The endpoint of OpenAI's realtime transcription."""
        return f"ws://{self.address}{openai_realtime.PATH}"

    @property
    def huawei_url(self) -> str:
        """The endpoint of Huawei Cloud's RASR, in the form that its SDK expects: scheme, host and port."""
        return f"ws://{self.address}"

    @property
    def funasr_url(self) -> str:
        """The address of FunASR's real-time server; with "?endpoint-mode=client", the client ends utterances."""
        return f"ws://{self.address}{funasr_realtime.PATH}"

    @property
    def funasr_2pass_url(self) -> str:
        """The address of FunASR's older server, of the 2pass protocol."""
        return f"ws://{self.address}{funasr_two_pass.PATH}"


async def _listen(
    application: web.Application,
    handlers: Sequence[WebSocketHandler],
    running: AsyncExitStack,
    *,
    host: str,
    port: int,
) -> str:
    """Serve an application until `running` is closed, which ends the handlers' connections; return host and port."""
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    running.push_async_callback(runner.cleanup)
    running.push_async_callback(_let_accepted_connections_arrive)
    await runner.setup()
    # Not in `on_shutdown`: aiohttp no longer reads by then, so no closing handshake could be completed
    # (3.14.5, RequestHandler.data_received after BaseRunner.cleanup has begun).
    for handler in handlers:
        running.push_async_callback(handler.close_connections)
    # Not with aiohttp's `TCPSite`: cancelled while it starts, it leaves an open port behind. Here everything that
    # exists at an await has already been entered into the stack.
    loop = asyncio.get_running_loop()
    family, _, _, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
    listener = running.enter_context(socket.create_server(address[:2], family=family))
    assert runner.server is not None  # noqa: S101 - set by `runner.setup`
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)  # connections inherit it
    server = await loop.create_server(runner.server, sock=listener, backlog=BACKLOG, start_serving=False)
    running.callback(server.close)
    running.push_async_callback(_let_accepted_connections_arrive)
    await server.start_serving()
    return _host_and_port(*listener.getsockname()[:2])


async def _let_accepted_connections_arrive() -> None:
    """Yield to the loop three times, so that a connection accepted just before reaches aiohttp.

    The connection would be lost and stay open if the port closed before it is attached (CPython 3.11,
    `Server._attach`), or if aiohttp closed its connections before it has this one.
    """
    for _ in range(3):
        await asyncio.sleep(0)


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
