"""Audio that says what it is, and vendors that say what they heard of it: the truth that transcripts are held against.

Each sample holds the number of its millisecond, so a vendor of the tests knows where in the source its audio begins,
whether a piece is missing, and which text (`to 3000`: everything up to there) belongs to which time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request

from asr_async import DashScope, Huawei, Paraformer, Rasr, Result

from . import scripted_server as rogue

if TYPE_CHECKING:
    from asr_async.vendors.options import Options
    from asr_async.vendors.service import Service

__all__ = [
    "BYTES_PER_MS",
    "DASHSCOPE",
    "HUAWEI",
    "HuaweiListener",
    "Listener",
    "Source",
    "Tongue",
    "cut",
    "fall_silent",
    "finals_of",
    "numbered",
    "seconds",
]

BYTES_PER_MS = 32
NUMBERS = 2**16
"""As many as a sample can hold: longer audio counts from 0 again."""


class Source:
    """Numbered audio: each sample holds the number of its millisecond, modulo `NUMBERS`."""

    def __init__(self, seconds: float, *, chunk_ms: int = 100, every_s: float = 0.0) -> None:
        self.total_ms = round(seconds * 1_000)
        self.chunk_ms = chunk_ms
        self.every_s = every_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for first in range(0, self.total_ms, self.chunk_ms):
            if self.every_s:
                await asyncio.sleep(self.every_s)
            yield b"".join(numbered(n) for n in range(first, min(first + self.chunk_ms, self.total_ms)))


def numbered(millisecond: int) -> bytes:
    return (millisecond % NUMBERS).to_bytes(2, "little") * 16


class Tongue(Protocol):
    """The messages of one vendor, as far as a listener needs them."""

    options: Options

    def service(self, port: int) -> Service:
        """Who calls this vendor at this port."""
        ...

    async def start(self, connection: ServerConnection) -> str:
        """Take the opening of a task, confirm it; the task's id."""
        ...

    async def say(self, connection: ServerConnection, task_id: str, text: str, begin: int, end: int | None) -> None:
        """Send a result: a final one if it has an end."""
        ...

    async def finish(self, connection: ServerConnection, task_id: str) -> None:
        """Confirm the end."""
        ...


class _DashScope:
    options: Options = Paraformer()

    def service(self, port: int) -> DashScope:
        return DashScope("sk-numbered", endpoint=f"ws://127.0.0.1:{port}/")

    async def start(self, connection: ServerConnection) -> str:
        return await rogue.start(connection)

    async def say(self, connection: ServerConnection, task_id: str, text: str, begin: int, end: int | None) -> None:
        if end is None:
            await rogue.interim(connection, task_id, text, begin)
        else:
            await rogue.final(connection, task_id, text, begin, end)

    async def finish(self, connection: ServerConnection, task_id: str) -> None:
        await rogue.say(connection, "task-finished", task_id, {"output": {}})


class _Huawei:
    options: Options = Rasr()

    def service(self, port: int) -> Huawei:
        return Huawei(ak="AK", sk="SK", project_id="p", region="cn-north-4", endpoint=f"ws://127.0.0.1:{port}")

    async def start(self, connection: ServerConnection) -> str:
        await connection.recv()
        await self._send(connection, "START", "numbered")
        return "numbered"

    async def say(self, connection: ServerConnection, task_id: str, text: str, begin: int, end: int | None) -> None:
        segment: dict[str, Any] = {"start_time": begin, "is_final": end is not None, "result": {"text": text}}
        if end is not None:
            segment["end_time"] = end
        await self._send(connection, "RESULT", task_id, segments=[segment])

    async def finish(self, connection: ServerConnection, task_id: str) -> None:
        await self._send(connection, "END", task_id, reason="NORMAL")

    async def _send(self, connection: ServerConnection, kind: str, trace_id: str, **members: Any) -> None:
        await connection.send(json.dumps({"resp_type": kind, "trace_id": trace_id, **members}))


DASHSCOPE: Tongue = _DashScope()
HUAWEI: Tongue = _Huawei()


class Listener:
    """A vendor that finalises each second of the numbered audio; `fate` says what happens to a connection, and when."""

    tongue: ClassVar[Tongue] = DASHSCOPE

    def __init__(self, *fates: Callable[[ServerConnection, str], Awaitable[None]] | None, after_ms: int = 0) -> None:
        self.fates = list(fates)
        self.after_ms = after_ms
        self.began_at: list[int] = []
        self.heard_ms: list[int] = []
        """How much audio each connection brought."""
        self.holes: list[int] = []
        """Where a piece of audio did not follow the one before it on its connection."""

    async def __call__(self, connection: ServerConnection) -> None:
        task_id = await self.tongue.start(connection)
        fate = self.fates.pop(0) if self.fates else None
        got, began_ms, told_ms, index = 0, None, 0, 0
        async for message in connection:
            if isinstance(message, str):
                await self._tell_rest(connection, task_id, began_ms or 0, told_ms, got // BYTES_PER_MS)
                await self.tongue.finish(connection, task_id)
                return
            number = int.from_bytes(message[:2], "little")
            if began_ms is None:
                began_ms = number
                self.began_at.append(began_ms)
                self.heard_ms.append(0)
                index = len(self.heard_ms) - 1
            elif number != (began_ms + got // BYTES_PER_MS) % NUMBERS:
                self.holes.append(began_ms + got // BYTES_PER_MS)
            got += len(message)
            self.heard_ms[index] = got // BYTES_PER_MS
            told_ms = await self._tell_seconds(connection, task_id, began_ms, told_ms, got // BYTES_PER_MS)
            if fate is not None and got // BYTES_PER_MS >= self.after_ms:
                await fate(connection, task_id)
                return

    async def _tell_seconds(self, connection: ServerConnection, task_id: str, began: int, told: int, now: int) -> int:
        """Sentences end at whole seconds of the source."""
        while (end := (began + told) // 1_000 * 1_000 + 1_000 - began) <= now:
            await self.tongue.say(connection, task_id, f"to {began + end}", told, end)
            told = end
        if now > told:
            await self.tongue.say(connection, task_id, "…", told, None)
        return told

    async def _tell_rest(self, connection: ServerConnection, task_id: str, began: int, told: int, now: int) -> None:
        if now > told:
            await self.tongue.say(connection, task_id, f"to {began + now}", told, now)

    async def let_in(self, connection: ServerConnection, request: Request) -> None:
        """Take part in the handshake."""

    @asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[int]:
        """Listen; yields the port."""
        options = {"compression": None, "max_size": None, "close_timeout": 1, **options}
        async with serve(self, "127.0.0.1", 0, process_request=self.let_in, **options) as server:
            yield next(iter(server.sockets)).getsockname()[1]


class HuaweiListener(Listener):
    tongue = HUAWEI


async def cut(connection: ServerConnection, _task_id: str) -> None:
    connection.transport.abort()


async def fall_silent(connection: ServerConnection, _task_id: str) -> None:
    connection.transport.pause_reading()  # no pong either: the library never sees the ping
    await asyncio.sleep(600)


def finals_of(events: list[Any]) -> list[tuple[int, str, int, int]]:
    return [
        (event.segment_id, event.text, event.start_ms, event.end_ms)
        for event in events
        if isinstance(event, Result) and event.is_final
    ]


def seconds(count: int) -> list[tuple[int, str, int, int]]:
    return [(n, f"to {1_000 * (n + 1)}", 1_000 * n, 1_000 * (n + 1)) for n in range(count)]
