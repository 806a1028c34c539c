"""A server that follows the handshake and then misbehaves as a test tells it: real sockets, nothing of ours inside."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import ServerConnection, serve

from asr_async import DashScope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["final", "interim", "read_until_finish", "rogue", "say", "start"]

Behaviour = "Callable[[ServerConnection], Awaitable[None]]"


@asynccontextmanager
async def rogue(behaviour: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[DashScope]:
    """Run a server with this behaviour; yields the service that calls it, over TLS if the options have `ssl`."""
    options = {"compression": None, "max_size": None, "close_timeout": 1, **options}
    async with serve(behaviour, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        scheme = "wss" if "ssl" in options else "ws"
        yield DashScope("sk-rogue", endpoint=f"{scheme}://127.0.0.1:{port}/")


async def start(connection: ServerConnection) -> str:
    """Take run-task, say task-started; return the task id."""
    task_id: str = json.loads(await connection.recv())["header"]["task_id"]
    await say(connection, "task-started", task_id)
    return task_id


async def say(connection: ServerConnection, event: str, task_id: str, payload: Any = None, **header: Any) -> None:
    """Send one event."""
    await connection.send(
        json.dumps({"header": {"task_id": task_id, "event": event, **header}, "payload": payload or {}})
    )


async def final(connection: ServerConnection, task_id: str, text: str, begin: int = 0, end: int = 800) -> None:
    """Send a final result."""
    await _sentence(connection, task_id, text, begin, end)


async def interim(connection: ServerConnection, task_id: str, text: str, begin: int = 0) -> None:
    """Send an interim result."""
    await _sentence(connection, task_id, text, begin, None)


async def _sentence(connection: ServerConnection, task_id: str, text: str, begin: int, end: int | None) -> None:
    sentence: dict[str, Any] = {
        "begin_time": begin,
        "end_time": end,
        "text": text,
        "words": [],
        "sentence_end": end is not None,
    }
    await say(connection, "result-generated", task_id, {"output": {"sentence": sentence}, "usage": None})


async def read_until_finish(connection: ServerConnection) -> int:
    """Read audio until finish-task comes; return how many bytes it was."""
    size = 0
    async for message in connection:
        if isinstance(message, str):
            return size
        size += len(message)
    return size
