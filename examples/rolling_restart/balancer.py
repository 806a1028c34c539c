"""What a load balancer does: it asks each process for its health, and gives new connections to those that are well."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

CHECK_EVERY_S = 0.2


class Balancer:
    """A TCP proxy in front of some ports of this machine."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.healthy: set[int] = set()
        self.connections: Counter[int] = Counter()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Balance while the context lasts, and yield the URL."""
        async with asyncio.TaskGroup() as group:
            checks = group.create_task(self._check())
            server = await asyncio.start_server(self._connect, "127.0.0.1")
            try:
                yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            finally:
                server.close()
                checks.cancel()

    async def _check(self) -> None:
        while True:
            self.healthy = {port for port in self.ports if await is_healthy(port)}
            await asyncio.sleep(CHECK_EVERY_S)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass a connection on to the healthy process with the fewest of them."""
        for port in sorted(self.healthy, key=lambda port: self.connections[port]):
            self.connections[port] += 1
            try:
                there = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer))
            except OSError:
                continue  # it has closed its port since the last check
            finally:
                self.connections[port] -= 1
            break
        writer.close()


async def is_healthy(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.readline()
        writer.close()
    except OSError:
        return False
    return b" 200 " in answer


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
