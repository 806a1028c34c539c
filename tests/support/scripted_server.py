"""A WebSocket server that runs a function of the test per connection, and DashScope's messages for such functions.

The sockets are real, and no code of the package runs in the server.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import ServerConnection, serve

from asr_async import DashScope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["read_until_finish", "scripted_server", "send_event", "send_final", "send_interim", "start_task"]


@asynccontextmanager
async def scripted_server(
    script: Callable[[ServerConnection], Awaitable[None]], **options: Any
) -> AsyncIterator[DashScope]:
    """Listen while the context lasts, and yield a service for the server; with `ssl` among the options, over TLS."""
    options = {"compression": None, "max_size": None, "close_timeout": 1, **options}
    async with serve(script, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        scheme = "wss" if "ssl" in options else "ws"
        yield DashScope("sk-scripted", endpoint=f"{scheme}://127.0.0.1:{port}/")


async def start_task(connection: ServerConnection) -> str:
    """Receive run-task, send task-started and return the task id."""
    task_id: str = json.loads(await connection.recv())["header"]["task_id"]
    await send_event(connection, "task-started", task_id)
    return task_id


async def send_event(
    connection: ServerConnection, event: str, task_id: str, payload: Any = None, **header: Any
) -> None:
    """Send one event of the task protocol."""
    await connection.send(
        json.dumps({"header": {"task_id": task_id, "event": event, **header}, "payload": payload or {}})
    )


async def send_final(connection: ServerConnection, task_id: str, text: str, begin: int = 0, end: int = 800) -> None:
    """Send a final."""
    await _send_sentence(connection, task_id, text, begin, end)


async def send_interim(connection: ServerConnection, task_id: str, text: str, begin: int = 0) -> None:
    """Send an interim."""
    await _send_sentence(connection, task_id, text, begin, None)


async def _send_sentence(connection: ServerConnection, task_id: str, text: str, begin: int, end: int | None) -> None:
    sentence: dict[str, Any] = {
        "begin_time": begin,
        "end_time": end,
        "text": text,
        "words": [],
        "sentence_end": end is not None,
    }
    await send_event(connection, "result-generated", task_id, {"output": {"sentence": sentence}, "usage": None})


async def read_until_finish(connection: ServerConnection) -> int:
    """Receive audio until finish-task arrives; return the number of audio bytes."""
    size = 0
    async for message in connection:
        if isinstance(message, str):
            return size
        size += len(message)
    return size
