"""The clients that are compared. Each is written as a user of its library alone would write it.

A peer opens sessions. A session streams frames, the nth due at `begin_at` plus n times 100 ms of the loop's clock, and
calls `on_result` with the text of each result and True if the result is final.

- `ours`: this library. `ours-unpooled` closes each connection after its session, `ours-observed` counts finals with an
  observer, `ours-otel` has the observer for OpenTelemetry.
- `thin`: `websockets` alone, with two coroutines per session, no reconnect, no deadline, no backpressure.
  `aiohttp`: the same on aiohttp's WebSocket client.
- `floor`: an `asyncio.Protocol` that writes one prepared ws frame over and over and discards the bytes it receives. It
  shows the cost of the sockets and the event loop themselves.
- `official`: the vendor's SDK. Its own threads do the work; one more thread sends the frames of all sessions, where the
  vendor's samples use one thread per session. `face`: the same program on `asr_async.compat.dashscope`.
"""

from __future__ import annotations

import asyncio
import heapq
import importlib
import itertools
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, Protocol, Self, cast
from urllib.parse import urlsplit

import aiohttp
import msgspec
from websockets.asyncio.client import connect as websocket_connect

from asr_async import Client, DashScope, Paraformer, Pool, Result, Session
from asr_async.telemetry import Observer, SessionInfo

from . import messages, ws_frames

__all__ = ["MOST_SESSIONS", "PEERS", "Peer", "PeerSession"]

FRAME_S = messages.FRAME_MS / 1_000

_TASK_IDS = (f"{number:032x}" for number in itertools.count(1))
"""Task ids for the clients that do not generate them."""

OnResult = Callable[[str, bool], None]


class PeerSession(Protocol):
    """An open task."""

    async def stream(self, frames: Iterable[bytes], begin_at: float, on_result: OnResult) -> None:
        """Send the frames on schedule; return when the server has confirmed the end."""
        ...


class Peer(Protocol):
    """A client, as an async context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    def session(self) -> AbstractAsyncContextManager[PeerSession]:
        """Connect and open a task."""
        ...


async def sleep_until(instant: float) -> None:
    """Sleep until an instant of the loop's clock; do not sleep if it has passed."""
    delay_s = instant - asyncio.get_running_loop().time()
    if delay_s > 0:
        await asyncio.sleep(delay_s)


# --- this library ----------------------------------------------------------------------------------------------------


class Ours:
    """This library: one client for all sessions."""

    def __init__(self, url: str, *, pool: Pool | None = None, observers: Sequence[Observer] = ()) -> None:
        self._client = Client(DashScope("benchmark", endpoint=url), pool=pool, observers=observers)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.__aexit__(*exc_info)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[PeerSession]:
        async with self._client.session(Paraformer()) as session:
            yield OurSession(session)


class OurSession:
    """A session of this library."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def stream(self, frames: Iterable[bytes], begin_at: float, on_result: OnResult) -> None:
        await sleep_until(begin_at)
        async for result in self._session.stream(frames):
            on_result(result.text, result.is_final)


# --- thin clients ----------------------------------------------------------------------------------------------------


class _Stateless:
    """A peer whose sessions have no state in common."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None


class ThinSession:
    """A sending and a receiving coroutine, on any connection that carries messages."""

    def __init__(
        self, send: Callable[[bytes | str], Awaitable[None]], receive: Callable[[], Awaitable[str | bytes]]
    ) -> None:
        self._send = send
        self._receive = receive
        self._task_id = next(_TASK_IDS)

    async def start(self) -> None:
        """Start the task; the first message received confirms it."""
        await self._send(messages.run_task(self._task_id))
        await self._receive()

    async def stream(self, frames: Iterable[bytes], begin_at: float, on_result: OnResult) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_all(frames, begin_at))
            group.create_task(self._receive_all(on_result))

    async def _send_all(self, frames: Iterable[bytes], begin_at: float) -> None:
        for number, frame in enumerate(frames):
            await sleep_until(begin_at + number * FRAME_S)
            await self._send(frame)
        await self._send(messages.finish_task(self._task_id))

    async def _receive_all(self, on_result: OnResult) -> None:
        while (message := msgspec.json.decode(await self._receive()))["header"]["event"] != "task-finished":
            sentence = message["payload"]["output"]["sentence"]
            on_result(sentence["text"], sentence["sentence_end"])


class Thin(_Stateless):
    """`websockets`, without compression, which saves nothing on audio, and without a proxy."""

    def __init__(self, url: str) -> None:
        self._url = url

    @asynccontextmanager
    async def session(self) -> AsyncIterator[PeerSession]:
        async with websocket_connect(self._url, compression=None, proxy=None) as connection:
            session = ThinSession(connection.send, connection.recv)
            await session.start()
            yield session


class Aiohttp(_Stateless):
    """aiohttp's WebSocket client."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        # limit=0: the default limit is 100 connections
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._http.close()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[PeerSession]:
        async with self._http.ws_connect(self._url) as connection:

            async def send(message: bytes | str) -> None:
                await (connection.send_str(message) if isinstance(message, str) else connection.send_bytes(message))

            session = ThinSession(send, connection.receive_str)
            await session.start()
            yield session


# --- the floor -------------------------------------------------------------------------------------------------------


class Floor(_Stateless):
    """A peer with one timer and one write per frame, and nothing else."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[PeerSession]:
        loop = asyncio.get_running_loop()
        session = FloorSession(loop)
        transport, _ = await loop.create_connection(
            lambda: session, str(self._url.hostname), self._url.port or 0, ssl=self._url.scheme == "wss" or None
        )
        try:
            transport.write(ws_frames.handshake_request(self._url.netloc, self._url.path))
            await session.upgraded
            transport.write(ws_frames.encode(ws_frames.TEXT, messages.run_task(next(_TASK_IDS)).encode(), masked=True))
            yield session
        finally:
            transport.close()


class FloorSession(asyncio.Protocol):
    """One connection of the floor peer."""

    _ws_frame = ws_frames.encode(ws_frames.BINARY, messages.FRAME, masked=True)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._frames: Iterator[bytes] = iter(())
        self._due_at = 0.0
        self.upgraded = loop.create_future()
        self._sent = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast("asyncio.Transport", transport).write  # uvloop's transport does not inherit from it

    def data_received(self, data: bytes) -> None:
        del data
        if not self.upgraded.done():
            self.upgraded.set_result(None)

    async def stream(self, frames: Iterable[bytes], begin_at: float, on_result: OnResult) -> None:
        del on_result  # this peer does not parse results
        self._frames = iter(frames)
        self._due_at = begin_at
        self._loop.call_at(begin_at, self._send_next)
        await self._sent

    def _send_next(self) -> None:
        if next(self._frames, None) is None:
            self._sent.set_result(None)
            return
        self._write(self._ws_frame)
        self._due_at += FRAME_S
        self._loop.call_at(self._due_at, self._send_next)


# --- the vendor's SDK ------------------------------------------------------------------------------------------------


class Official:
    """DashScope's `Recognition` with a callback, as its documentation shows it.

    Args:
        url: the URL of the load server.
        package: the official package, or the one that stands in for it.
    """

    def __init__(self, url: str, package: str = "dashscope") -> None:
        self._url = url
        self._package = package
        self._sender = _FrameSender()

    async def __aenter__(self) -> Self:
        os.environ["NO_PROXY"] = "127.0.0.1"  # the SDK uses the proxy of the environment for loopback too
        dashscope: Any = importlib.import_module(self._package)  # slow to import, and needed by this peer alone
        dashscope.api_key = "benchmark"
        dashscope.base_websocket_api_url = self._url
        self._sender.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._sender.end()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[PeerSession]:
        session = OfficialSession(self._sender, importlib.import_module(f"{self._package}.audio.asr"))
        session.recognition.start()
        yield session


class OfficialSession:
    """One `Recognition`."""

    def __init__(self, sender: _FrameSender, asr: Any) -> None:
        self._sender = sender
        self._on_result: OnResult | None = None
        callback: Any = asr.RecognitionCallback()
        callback.on_event = self._on_event
        self.recognition: Any = asr.Recognition(
            model="paraformer-realtime-v2", format="pcm", sample_rate=16_000, callback=callback
        )

    async def stream(self, frames: Iterable[bytes], begin_at: float, on_result: OnResult) -> None:
        self._on_result = on_result
        await self._sender.send(self.recognition.send_audio_frame, iter(frames), begin_at)
        with ThreadPoolExecutor(1) as executor:  # stop() blocks until the end is confirmed
            await asyncio.get_running_loop().run_in_executor(executor, self.recognition.stop)

    def _on_event(self, result: Any) -> None:
        sentence = result.get_sentence()
        if self._on_result is not None:
            self._on_result(sentence["text"], sentence["sentence_end"])


class _Stream(NamedTuple):
    """The frames of one session that are still to be sent; streams are ordered by `due_at`, then `number`."""

    due_at: float
    number: int
    send_frame: Callable[[bytes], None]
    frames: Iterator[bytes]
    on_sent: Callable[[], None]


class _FrameSender(threading.Thread):
    """A thread that sends the frames of all sessions when they are due."""

    def __init__(self) -> None:
        super().__init__(name="frame sender", daemon=True)
        self._changed = threading.Condition()
        self._schedule: list[_Stream] = []
        self._streams = 0
        self._is_ended = False

    async def send(self, send_frame: Callable[[bytes], None], frames: Iterator[bytes], begin_at: float) -> None:
        """Return when the last frame was sent; `begin_at` is of the loop's clock, which is the monotonic one."""
        loop = asyncio.get_running_loop()
        sent = loop.create_future()

        def on_sent() -> None:
            loop.call_soon_threadsafe(sent.set_result, None)

        with self._changed:
            self._streams += 1
            heapq.heappush(self._schedule, _Stream(begin_at, self._streams, send_frame, frames, on_sent))
            self._changed.notify()
        await sent

    def end(self) -> None:
        """Stop the thread, and wait until it has ended."""
        with self._changed:
            self._is_ended = True
            self._changed.notify()
        self.join()

    def run(self) -> None:
        with self._changed:
            while not self._is_ended:
                delay_s = self._schedule[0].due_at - time.monotonic() if self._schedule else None
                if delay_s is None or delay_s > 0:
                    self._changed.wait(delay_s)
                else:
                    self._send_next()

    def _send_next(self) -> None:
        stream = heapq.heappop(self._schedule)
        if (frame := next(stream.frames, None)) is None:
            stream.on_sent()
            return
        stream.send_frame(frame)
        heapq.heappush(self._schedule, _Stream(stream.due_at + FRAME_S, *stream[1:]))


def _face(url: str) -> Official:
    return Official(url, "asr_async.compat.dashscope")


def _ours_unpooled(url: str) -> Ours:
    return Ours(url, pool=Pool(max_idle=0))


class _FinalCounter(Observer):
    """An observer of a program's own."""

    def __init__(self) -> None:
        self.finals = 0

    def on_final(self, session: SessionInfo, result: Result, *, delay_s: float | None) -> None:
        del session, result, delay_s
        self.finals += 1


def _ours_observed(url: str) -> Ours:
    return Ours(url, observers=[_FinalCounter()])


def _ours_otel(url: str) -> Ours:
    # imported by this peer alone
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: PLC0415

    from asr_async.telemetry.otel import OpenTelemetryObserver  # noqa: PLC0415

    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    meters = MeterProvider([InMemoryMetricReader()])
    return Ours(url, observers=[OpenTelemetryObserver(tracer_provider=tracers, meter_provider=meters)])


PEERS: dict[str, Callable[[str], Peer]] = {
    "ours": Ours,
    "ours-unpooled": _ours_unpooled,
    "ours-observed": _ours_observed,
    "ours-otel": _ours_otel,
    "thin": Thin,
    "aiohttp": Aiohttp,
    "floor": Floor,
    "official": Official,
    "face": _face,
}
"""Factories of the peers by name; each takes the URL of the load server."""

MOST_SESSIONS = {"official": 50}
"""Limits on the sessions of a peer: each session of the official SDK has four threads."""
