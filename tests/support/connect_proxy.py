"""An HTTP proxy that lets its callers through by CONNECT, to where a test says a name leads."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = ["ConnectProxy"]


class ConnectProxy:
    """Knows the ports of this machine that stand for hosts and ports of the network."""

    def __init__(self, ports: Mapping[str, int], *, answer: bytes = b"HTTP/1.1 200 Go ahead\r\n\r\n") -> None:
        self._ports = ports
        self._answer = answer
        self._handlers: set[asyncio.Task[Any]] = set()
        self.requests: list[str] = []
        self.heard = bytearray()
        """What went through it, from the callers."""
        self.port = 0

    @asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[ConnectProxy]:
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
            writer.write(self._answer)
            method, name, _ = request.split(" ", 2)
            if self._answer.startswith(b"HTTP/1.1 200") and method == "CONNECT":
                await self._join(reader, writer, self._ports[name])
        await _close(writer)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        down = asyncio.create_task(_pump(back, writer))
        with suppress(ConnectionError):
            while piece := await reader.read(65_536):
                self.heard += piece
                forth.write(piece)
        await _close(forth)
        await down


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
    await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
