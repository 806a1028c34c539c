"""Audio that holds its own position, and servers that recognise it: the reference for whole transcripts.

Each sample holds the number of its millisecond. A server therefore knows where in the source the audio of a connection
starts and whether audio is missing, and the text of a result (`to 3000`: everything up to there) gives its end time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from asr_async import DashScope, Huawei, Paraformer, Rasr, Result, connect

from . import scripted_server

if TYPE_CHECKING:
    from asr_async import Event, SessionStats
    from asr_async.vendors.options import Options
    from asr_async.vendors.service import Service

__all__ = [
    "BYTES_PER_MS",
    "DASHSCOPE",
    "HUAWEI",
    "Fault",
    "FinalAtEndServer",
    "HuaweiNumberedServer",
    "NumberedServer",
    "NumberedSource",
    "VendorProtocol",
    "assert_seamless",
    "cut",
    "finals_of",
    "finals_of_seconds",
    "numbered_millisecond",
    "stop_answering",
    "stream_events",
]

BYTES_PER_MS = 32
NUMBERS = 2**16
"""The number of values of a sample: longer audio counts from 0 again."""

Fault = Callable[[ServerConnection, str], Awaitable[None]]


class NumberedSource:
    """An audio source in which each sample holds the number of its millisecond, modulo `NUMBERS`."""

    def __init__(self, seconds: float, *, chunk_ms: int = 100, every_s: float = 0.0) -> None:
        self.total_ms = round(seconds * 1_000)
        self.chunk_ms = chunk_ms
        self.every_s = every_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for first in range(0, self.total_ms, self.chunk_ms):
            if self.every_s:
                await asyncio.sleep(self.every_s)
            yield b"".join(numbered_millisecond(n) for n in range(first, min(first + self.chunk_ms, self.total_ms)))


def numbered_millisecond(number: int) -> bytes:
    """Return the 16 samples of one millisecond."""
    return (number % NUMBERS).to_bytes(2, "little") * 16


class VendorProtocol(Protocol):
    """The messages of one vendor that a `NumberedServer` needs."""

    options: Options

    def service(self, port: int) -> Service:
        """Return a service with this port as its endpoint."""
        ...

    async def start_task(self, connection: ServerConnection) -> str:
        """Receive the start of a task, confirm it and return the task's id."""
        ...

    async def send_result(
        self, connection: ServerConnection, task_id: str, text: str, begin: int, end: int | None
    ) -> None:
        """Send a final if there is an end, else an interim."""
        ...

    async def finish_task(self, connection: ServerConnection, task_id: str) -> None:
        """Confirm the end of the task."""
        ...


class _DashScopeProtocol:
    options: Options = Paraformer()

    def service(self, port: int) -> DashScope:
        return DashScope("sk-numbered", endpoint=f"ws://127.0.0.1:{port}/")

    async def start_task(self, connection: ServerConnection) -> str:
        return await scripted_server.start_task(connection)

    async def send_result(
        self, connection: ServerConnection, task_id: str, text: str, begin: int, end: int | None
    ) -> None:
        if end is None:
            await scripted_server.send_interim(connection, task_id, text, begin)
        else:
            await scripted_server.send_final(connection, task_id, text, begin, end)

    async def finish_task(self, connection: ServerConnection, task_id: str) -> None:
        await scripted_server.send_event(connection, "task-finished", task_id, {"output": {}})


class _HuaweiProtocol:
    options: Options = Rasr()

    def service(self, port: int) -> Huawei:
        return Huawei(ak="AK", sk="SK", project_id="p", region="cn-north-4", endpoint=f"ws://127.0.0.1:{port}")

    async def start_task(self, connection: ServerConnection) -> str:
        assert json.loads(await connection.recv())["command"] == "START"
        await self._send(connection, "START", "numbered")
        return "numbered"

    async def send_result(
        self, connection: ServerConnection, task_id: str, text: str, begin: int, end: int | None
    ) -> None:
        segment: dict[str, Any] = {"start_time": begin, "is_final": end is not None, "result": {"text": text}}
        if end is not None:
            segment["end_time"] = end
        await self._send(connection, "RESULT", task_id, segments=[segment])

    async def finish_task(self, connection: ServerConnection, task_id: str) -> None:
        await self._send(connection, "END", task_id, reason="NORMAL")

    async def _send(self, connection: ServerConnection, kind: str, trace_id: str, **members: Any) -> None:
        await connection.send(json.dumps({"resp_type": kind, "trace_id": trace_id, **members}))


DASHSCOPE: VendorProtocol = _DashScopeProtocol()
HUAWEI: VendorProtocol = _HuaweiProtocol()


class NumberedServer:
    """A vendor's server that sends a final for each second of the numbered audio.

    Each of its connections takes the next of `faults`, which runs once `after_ms` of audio have arrived; later
    connections have no fault, nor does one with None.
    """

    protocol: ClassVar[VendorProtocol] = DASHSCOPE

    def __init__(self, *faults: Fault | None, after_ms: int = 0) -> None:
        self.faults = list(faults)
        self.after_ms = after_ms
        self.started_at_ms: list[int] = []
        """The position in the source at which the audio of each connection starts."""
        self.received_ms: list[int] = []
        """The duration of the audio of each connection."""
        self.missing_at_ms: list[int] = []
        """The positions at which audio does not continue the audio before it on the same connection."""
        self.contexts: list[tuple[int, str]] = []
        """The number of connections with audio before each message with a context, and the message."""
        self.last_frame_bytes = 0
        """The size of the last frame that arrived."""

    async def __call__(self, connection: ServerConnection) -> None:
        """Serve one connection."""
        task_id = await self.protocol.start_task(connection)
        fault = self.faults.pop(0) if self.faults else None
        received_bytes, start_ms, final_ms, index = 0, None, 0, 0
        async for message in connection:
            if isinstance(message, str) and "continue-task" in message:
                self.contexts.append((len(self.started_at_ms), message))
                continue
            if isinstance(message, str):
                await self._send_rest(connection, task_id, start_ms or 0, final_ms, received_bytes // BYTES_PER_MS)
                await self.protocol.finish_task(connection, task_id)
                return
            number = int.from_bytes(message[:2], "little")
            if start_ms is None:
                start_ms = number
                self.started_at_ms.append(start_ms)
                self.received_ms.append(0)
                index = len(self.received_ms) - 1
            elif number != (start_ms + received_bytes // BYTES_PER_MS) % NUMBERS:
                self.missing_at_ms.append(start_ms + received_bytes // BYTES_PER_MS)
            self.last_frame_bytes = len(message)
            received_bytes += len(message)
            now_ms = received_bytes // BYTES_PER_MS
            self.received_ms[index] = now_ms
            final_ms = await self._send_whole_seconds(connection, task_id, start_ms, final_ms, now_ms)
            if fault is not None and now_ms >= self.after_ms:
                await fault(connection, task_id)
                return

    async def _send_whole_seconds(
        self, connection: ServerConnection, task_id: str, start_ms: int, final_ms: int, now_ms: int
    ) -> int:
        """Send the finals that are complete, and an interim for the rest; return the end of the last final.

        Finals end at whole seconds of the source. All times but `start_ms` count from the start of the connection.
        """
        while (end_ms := (start_ms + final_ms) // 1_000 * 1_000 + 1_000 - start_ms) <= now_ms:
            await self.protocol.send_result(connection, task_id, f"to {start_ms + end_ms}", final_ms, end_ms)
            final_ms = end_ms
        if now_ms > final_ms:
            await self.protocol.send_result(connection, task_id, "…", final_ms, None)
        return final_ms

    async def _send_rest(
        self, connection: ServerConnection, task_id: str, start_ms: int, final_ms: int, now_ms: int
    ) -> None:
        if now_ms > final_ms:
            await self.protocol.send_result(connection, task_id, f"to {start_ms + now_ms}", final_ms, now_ms)

    async def process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Accept the handshake; a subclass can delay, refuse or break it."""
        return None

    @asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[int]:
        """Listen on a free port while the context lasts; yield the port."""
        options = {"compression": None, "max_size": None, "close_timeout": 1, **options}
        async with serve(self, "127.0.0.1", 0, process_request=self.process_request, **options) as server:
            yield next(iter(server.sockets)).getsockname()[1]


class HuaweiNumberedServer(NumberedServer):
    """A `NumberedServer` with Huawei's protocol."""

    protocol = HUAWEI


class FinalAtEndServer(NumberedServer):
    """A `NumberedServer` that sends its only final at the end of the task, as for speech without a pause."""

    async def _send_whole_seconds(self, *_args: Any) -> int:
        return 0


async def cut(connection: ServerConnection, _task_id: str) -> None:
    """Abort the TCP connection."""
    connection.transport.abort()


async def stop_answering(connection: ServerConnection, _task_id: str) -> None:
    """Read nothing more, and keep the TCP connection open for ten minutes.

    No pong is sent either: the library does not see the pings.
    """
    connection.transport.pause_reading()
    await asyncio.sleep(600)


async def stream_events(
    server: NumberedServer, source: Any, *, pace: float | None = 1.0, **options: Any
) -> tuple[list[Event], SessionStats]:
    """Return all events of a session with this server, and its statistics."""
    async with (
        scripted_server.scripted_server(server) as service,
        connect(server.protocol.options, service, **options) as session,
    ):
        events = [event async for event in session.events(source, pace=pace)]
    return events, session.stats


def finals_of(events: list[Any]) -> list[tuple[int, str, int, int]]:
    """Return segment, text and times of each final among the events."""
    return [
        (event.segment_id, event.text, event.start_ms, event.end_ms)
        for event in events
        if isinstance(event, Result) and event.is_final
    ]


def finals_of_seconds(count: int) -> list[tuple[int, str, int, int]]:
    """Return the finals of a whole transcript of so many seconds, as `finals_of` returns them."""
    return [(n, f"to {1_000 * (n + 1)}", 1_000 * n, 1_000 * (n + 1)) for n in range(count)]


def assert_seamless(finals: list[tuple[int, str, int, int]], total_ms: int) -> None:
    """Assert that each segment begins where the segment before it ended, and that the last one ends at `total_ms`."""
    assert [start_ms for _, _, start_ms, _ in finals] == [0, *(end_ms for _, _, _, end_ms in finals[:-1])]
    assert finals[-1][3] == total_ms
    assert [segment_id for segment_id, _, _, _ in finals] == list(range(len(finals)))
    assert all(text == f"to {end_ms}" for _, text, _, end_ms in finals)
