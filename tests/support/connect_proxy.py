"""An HTTP proxy that resolves host names by a table of the test: tunnels by CONNECT, and forwards plain requests."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = ["ConnectProxy"]


class ConnectProxy:
    """A proxy whose table maps `host:port` to a port of this machine.

    An `answer` whose status is not 200 refuses every tunnel.
    """

    def __init__(self, ports: Mapping[str, int], *, answer: bytes = b"HTTP/1.1 200 Go ahead\r\n\r\n") -> None:
        self._ports = ports
        self._answer = answer
        self._handlers: set[asyncio.Task[Any]] = set()
        self.requests: list[str] = []
        self.received = bytearray()
        """All bytes that the clients sent through tunnels."""
        self.port = 0

    @asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[ConnectProxy]:
        """Listen on a free port while the context lasts; `options` go to `asyncio.start_server`."""
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0, **options) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
        await asyncio.gather(*self._handlers)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(request)
            method, name, _ = request.split(" ", 2)
            accepts = self._answer.startswith(b"HTTP/1.1 200")
            if method == "CONNECT" or not accepts:
                writer.write(self._answer)
            if method == "CONNECT" and accepts:
                await self._tunnel(reader, writer, self._ports[name])
            elif accepts:  # a request with a whole URL (RFC 9112, section 3.2.2)
                url = urlsplit(name)
                port = self._ports[f"{url.hostname}:{url.port or 80}"]
                await self._tunnel(reader, writer, port, begin=request.encode())
        await _close(writer)

    async def _tunnel(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, *, begin: bytes = b""
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        server_writer.write(begin)
        down_task = asyncio.create_task(_copy(server_reader, writer))
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                self.received += data
                server_writer.write(data)
        await _close(server_writer)
        await down_task


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
