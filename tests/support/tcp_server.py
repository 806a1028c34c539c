"""TCP servers whose behaviour is a function of the test, and the forwarding of bytes between two connections."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["forward", "tcp_server"]


@asynccontextmanager
async def tcp_server(
    behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    grace_s: float | None = None,
    **options: Any,
) -> AsyncIterator[int]:
    """Serve each connection with `behave` on a free port of 127.0.0.1, which is yielded; close it behind `behave`.

    A connection that is lost ends its behaviour; every other error fails the test. At the end of the context every
    behaviour must end, as it does when the client closes its connection.

    Args:
        behave: the behaviour of one connection.
        grace_s: how long a behaviour may go on at the end before it is cancelled; None waits for it.
        options: for `asyncio.start_server`.
    """
    tasks: set[asyncio.Task[Any]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            try:
                await behave(reader, writer)
            finally:
                await close(writer)

    async with await asyncio.start_server(accept, "127.0.0.1", 0, **options) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            errors = await end(tasks, grace_s)
    for error in errors:
        raise error


async def end(tasks: set[asyncio.Task[Any]], grace_s: float | None) -> list[Exception]:
    """Wait for the tasks, cancel those that take longer than `grace_s`, and return their errors."""
    if tasks:
        _, pending = await asyncio.wait(tasks, timeout=grace_s)
        for task in pending:
            task.cancel()
    return [error for error in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(error, Exception)]


async def forward(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    port: int,
    *,
    begin: bytes = b"",
    received: bytearray | None = None,
) -> None:
    """Forward a connection to a port of this machine, in both directions, until both have ended.

    Args:
        reader: the client's bytes.
        writer: the way back.
        port: the server's.
        begin: bytes of the client that were read already.
        received: collects the client's bytes.
    """
    server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
    server_writer.write(begin)
    down_task = asyncio.create_task(copy(server_reader, writer))
    await copy(reader, server_writer, received)
    await down_task


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: bytearray | None = None) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            if received is not None:
                received += data
            writer.write(data)
    await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
