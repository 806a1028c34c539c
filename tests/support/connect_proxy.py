"""An HTTP proxy that resolves host names by a table of the test: tunnels by CONNECT, and forwards plain requests."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .tcp_server import forward, tcp_server

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Mapping

__all__ = ["ConnectProxy"]


class ConnectProxy:
    """A proxy with a table from `host:port` to ports of this machine.

    An `answer` with another status than 200 refuses every tunnel.
    """

    def __init__(self, ports: Mapping[str, int], *, answer: bytes = b"HTTP/1.1 200 Go ahead\r\n\r\n") -> None:
        self._ports = ports
        self._answer = answer
        self.requests: list[str] = []
        self.received = bytearray()
        """All bytes that the clients sent through tunnels."""
        self.port = 0

    @asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[ConnectProxy]:
        """Listen on a free port while the context lasts; `options` go to `asyncio.start_server`."""
        async with tcp_server(self._serve, **options) as self.port:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(request)
        method, name, _ = request.split(" ", 2)
        accepts = self._answer.startswith(b"HTTP/1.1 200")
        if method == "CONNECT" or not accepts:
            writer.write(self._answer)
        if method == "CONNECT" and accepts:
            await forward(reader, writer, self._ports[name], received=self.received)
        elif accepts:  # a request with a whole URL (RFC 9112, section 3.2.2)
            url = urlsplit(name)
            port = self._ports[f"{url.hostname}:{url.port or 80}"]
            await forward(reader, writer, port, begin=request.encode(), received=self.received)
