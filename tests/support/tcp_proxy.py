"""A network path that a test can break: a TCP proxy that passes bytes on until it is told not to.

It knows bytes and directions, nothing of WebSocket. Its sockets are real; under `virtual_time` its delays cost nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Literal

import msgspec

__all__ = ["Path", "TcpProxy"]

Direction = Literal["up", "down"]
"""`up` is from the caller to the vendor."""


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection goes through."""

    act: Literal["abort", "stall", "half-close", "none"] = "none"
    """`abort` drops both ends; `stall` passes nothing more on, either way, with both ends open; `half-close` ends one
    direction as a program would that has nothing more to say, and passes the other one on."""
    direction: Direction = "up"
    """Where bytes are counted, and which direction is half-closed."""
    after_bytes: int = 0
    """How many are passed on before the act."""
    piece_bytes: int = 65_536
    """The largest piece that is passed on at once: small ones split messages."""
    delay_s: float = 0.0
    """How long each piece waits; what comes meanwhile is passed on in one piece with the next."""


class TcpProxy:
    """Listens on a port of its own; its first connection takes the first path, and so on, later ones are not harmed."""

    def __init__(self, vendor_port: int, paths: Iterable[Path]) -> None:
        self._vendor_port = vendor_port
        self._paths = iter(paths)
        self._handlers: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0
        self.acts_at: list[float] = []
        """When the paths did what they do, by the loop's clock."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[TcpProxy]:
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            try:
                yield self
            finally:
                for handler in self._handlers:
                    handler.cancel()
                await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)
        self.connections += 1
        connection = _Connection(next(self._paths, Path()), self.acts_at)
        with suppress(OSError, asyncio.CancelledError):  # the vendor is not there; the test is over
            await connection.join(reader, writer, *await asyncio.open_connection("127.0.0.1", self._vendor_port))
        writer.transport.abort()


class _Connection:
    """Two ends, joined."""

    def __init__(self, path: Path, acts_at: list[float]) -> None:
        self._path = path
        self._acts_at = acts_at
        self._is_stalled = False
        self._transports: list[asyncio.WriteTransport] = []

    async def join(
        self,
        caller_reader: asyncio.StreamReader,
        caller_writer: asyncio.StreamWriter,
        vendor_reader: asyncio.StreamReader,
        vendor_writer: asyncio.StreamWriter,
    ) -> None:
        """Pass bytes on until both directions have ended."""
        self._transports = [caller_writer.transport, vendor_writer.transport]
        try:
            await asyncio.gather(
                self._pump("up", caller_reader, vendor_writer), self._pump("down", vendor_reader, caller_writer)
            )
        finally:
            self._abort()

    async def _pump(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path, passed_bytes = self._path, 0
        has_fault = path.act != "none" and path.direction == direction
        with suppress(ConnectionError):  # an end went away: so does the other direction, by itself
            while not has_fault or passed_bytes < path.after_bytes:
                most_bytes = min(path.piece_bytes, path.after_bytes - passed_bytes if has_fault else path.piece_bytes)
                piece = await reader.read(most_bytes)
                if path.delay_s:
                    await asyncio.sleep(path.delay_s)
                if self._is_stalled:
                    await asyncio.Event().wait()
                if not piece:
                    writer.write_eof()
                    return
                writer.write(piece)
                await writer.drain()
                passed_bytes += len(piece)
            await self._act(writer)

    async def _act(self, writer: asyncio.StreamWriter) -> None:
        self._acts_at.append(asyncio.get_running_loop().time())
        match self._path.act:
            case "abort":
                self._abort()
            case "half-close":
                writer.write_eof()
            case "stall":
                self._is_stalled = True
                await asyncio.Event().wait()

    def _abort(self) -> None:
        for transport in self._transports:
            transport.abort()
