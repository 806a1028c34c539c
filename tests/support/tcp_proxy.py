"""A TCP proxy that delays, splits, stalls or breaks the connections through it.

It handles bytes and directions, and does not know WebSocket. Its sockets are real; in a `VirtualLoop` its delays
take no real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Literal

import msgspec

__all__ = ["Direction", "NetworkPath", "TcpProxy"]

Direction = Literal["up", "down"]
"""`up` is from the client to the vendor."""


class NetworkPath(msgspec.Struct, frozen=True, kw_only=True):
    """The behaviour of the network for one connection."""

    fault: Literal["abort", "stall", "half-close", "none"] = "none"
    """`abort` resets both ends; `stall` forwards nothing more in either direction and keeps both ends open;
    `half-close` ends one direction with a FIN and goes on forwarding the other one."""
    direction: Direction = "up"
    """The direction that counts for `after_bytes`, and that `half-close` ends."""
    after_bytes: int = 0
    """The number of bytes that are forwarded before the fault."""
    piece_bytes: int = 65_536
    """The most bytes that are forwarded at once; small pieces split messages."""
    delay_s: float = 0.0
    """The delay of each piece; bytes that arrive meanwhile form the next piece."""


class TcpProxy:
    """A proxy that gives each connection the next of `paths`, and a path without a fault after those."""

    def __init__(self, vendor_port: int, paths: Iterable[NetworkPath]) -> None:
        self._vendor_port = vendor_port
        self._paths = iter(paths)
        self._handlers: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0
        self.faults_at: list[float] = []
        """The times of the faults by the loop's clock."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[TcpProxy]:
        """Listen on a free port while the context lasts."""
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
        connection = _ProxiedConnection(next(self._paths, NetworkPath()), self.faults_at)
        with suppress(OSError, asyncio.CancelledError):  # the vendor does not listen; the test is over
            await connection.forward(reader, writer, *await asyncio.open_connection("127.0.0.1", self._vendor_port))
        writer.transport.abort()


class _ProxiedConnection:
    """A connection of a client and the one to the vendor that belongs to it."""

    def __init__(self, path: NetworkPath, faults_at: list[float]) -> None:
        self._path = path
        self._faults_at = faults_at
        self._is_stalled = False
        self._transports: list[asyncio.WriteTransport] = []

    async def forward(
        self,
        client_reader: asyncio.StreamReader,
        client_writer: asyncio.StreamWriter,
        vendor_reader: asyncio.StreamReader,
        vendor_writer: asyncio.StreamWriter,
    ) -> None:
        """Forward bytes until both directions have ended."""
        self._transports = [client_writer.transport, vendor_writer.transport]
        try:
            await asyncio.gather(
                self._copy("up", client_reader, vendor_writer), self._copy("down", vendor_reader, client_writer)
            )
        finally:
            self._abort()

    async def _copy(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path, forwarded_bytes = self._path, 0
        has_fault = path.fault != "none" and path.direction == direction
        with suppress(ConnectionError):  # one end is gone; the other direction ends by itself
            while not has_fault or forwarded_bytes < path.after_bytes:
                most_bytes = min(
                    path.piece_bytes, path.after_bytes - forwarded_bytes if has_fault else path.piece_bytes
                )
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
                forwarded_bytes += len(piece)
            await self._cause_fault(writer)

    async def _cause_fault(self, writer: asyncio.StreamWriter) -> None:
        self._faults_at.append(asyncio.get_running_loop().time())
        match self._path.fault:
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
