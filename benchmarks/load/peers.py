"""The clients that are compared, each as somebody would write it who has nothing else.

A peer opens sessions; a session streams frames, the nth due at `begin_at` plus n times 100 ms of the loop's clock, and
calls `take` with the text of each result and whether it is final.

- `ours`: this library. `ours-unpooled` closes each connection behind its session.
- `thin`: `websockets` alone, two coroutines a session, no reconnect, no deadline, no backpressure. `aiohttp`: the same.
- `floor`: an `asyncio.Protocol` that writes one prepared frame over and over and throws away what it receives: what
  the sockets and the event loop themselves cost.
- `official`: the vendor's SDK. Its own threads do the work; one further thread feeds all sessions, where the vendor's
  samples have one per session.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, Self, cast
from urllib.parse import urlsplit

import aiohttp
import msgspec
from websockets.asyncio.client import connect as websocket_connect

from asr_async import Client, DashScope, Paraformer, Pool, Session

from . import messages, wire

__all__ = ["MOST_SESSIONS", "PEERS", "Peer", "PeerSession"]

FRAME_S = messages.FRAME_MS / 1_000

_TASK_IDS = (f"{number:032x}" for number in itertools.count(1))
"""Of the tasks of clients that make no ids themselves."""

Take = Callable[[str, bool], None]


class PeerSession(Protocol):
    """An open task."""

    async def stream(self, frames: Iterable[bytes], begin_at: float, take: Take) -> None:
        """Send the frames on schedule, and return when the server has confirmed the end."""
        ...


class Peer(Protocol):
    """A client; an async context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    def session(self) -> AbstractAsyncContextManager[PeerSession]:
        """Connect and open a task."""
        ...


async def until(instant: float) -> None:
    """Sleep until an instant of the loop's clock; return at once if it has passed."""
    delay_s = instant - asyncio.get_running_loop().time()
    if delay_s > 0:
        await asyncio.sleep(delay_s)


# --- this library ----------------------------------------------------------------------------------------------------


class Ours:
    """One client, any number of sessions."""

    def __init__(self, url: str, *, pool: Pool | None = None) -> None:
        self._client = Client(DashScope("benchmark", endpoint=url), pool=pool)

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
    """A session of ours."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def stream(self, frames: Iterable[bytes], begin_at: float, take: Take) -> None:
        await until(begin_at)
        async for result in self._session.stream(frames):
            take(result.text, result.is_final)


# --- thin clients ----------------------------------------------------------------------------------------------------


class _Stateless:
    """A peer whose sessions share nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None


class ThinSession:
    """A coroutine that sends and one that receives, on any connection that carries messages."""

    def __init__(
        self, send: Callable[[bytes | str], Awaitable[None]], receive: Callable[[], Awaitable[str | bytes]]
    ) -> None:
        self._send = send
        self._receive = receive
        self._task_id = next(_TASK_IDS)

    async def start(self) -> None:
        """Open the task; the first message is the answer."""
        await self._send(messages.run_task(self._task_id))
        await self._receive()

    async def stream(self, frames: Iterable[bytes], begin_at: float, take: Take) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_all(frames, begin_at))
            group.create_task(self._receive_all(take))

    async def _send_all(self, frames: Iterable[bytes], begin_at: float) -> None:
        for number, frame in enumerate(frames):
            await until(begin_at + number * FRAME_S)
            await self._send(frame)
        await self._send(messages.finish_task(self._task_id))

    async def _receive_all(self, take: Take) -> None:
        while (message := msgspec.json.decode(await self._receive()))["header"]["event"] != "task-finished":
            sentence = message["payload"]["output"]["sentence"]
            take(sentence["text"], sentence["sentence_end"])


class Thin(_Stateless):
    """`websockets`, with the one setting that everybody makes who sends audio."""

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
        # without the limit of a hundred connections that it has by default
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
    """A timer and a write per frame, nothing else."""

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
            transport.write(wire.handshake_request(self._url.netloc, self._url.path))
            await session.upgraded
            transport.write(wire.frame(wire.TEXT, messages.run_task(next(_TASK_IDS)).encode(), masked=True))
            yield session
        finally:
            transport.close()


class FloorSession(asyncio.Protocol):
    """One connection."""

    _frame = wire.frame(wire.BINARY, messages.FRAME, masked=True)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._frames: Iterator[bytes] = iter(())
        self._due_at = 0.0
        self.upgraded = loop.create_future()
        self._sent = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast("asyncio.Transport", transport).write  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        del data
        if not self.upgraded.done():
            self.upgraded.set_result(None)

    async def stream(self, frames: Iterable[bytes], begin_at: float, take: Take) -> None:
        del take  # it does not read
        self._frames = iter(frames)
        self._due_at = begin_at
        self._loop.call_at(begin_at, self._send_next)
        await self._sent

    def _send_next(self) -> None:
        if next(self._frames, None) is None:
            self._sent.set_result(None)
            return
        self._write(self._frame)
        self._due_at += FRAME_S
        self._loop.call_at(self._due_at, self._send_next)


# --- the vendor's SDK ------------------------------------------------------------------------------------------------


class Official:
    """DashScope's `Recognition` with a callback, as its documentation shows it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._feeder = _Feeder()

    async def __aenter__(self) -> Self:
        os.environ["NO_PROXY"] = "127.0.0.1"  # it asks for a proxy, for loopback too
        import dashscope  # noqa: PLC0415 - heavy, and in this process only if it is measured

        dashscope.api_key = "benchmark"
        dashscope.base_websocket_api_url = self._url
        self._feeder.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._feeder.end()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[PeerSession]:
        session = OfficialSession(self._feeder)
        session.recognition.start()
        yield session


class OfficialSession:
    """One `Recognition`."""

    def __init__(self, feeder: _Feeder) -> None:
        from dashscope.audio.asr import Recognition, RecognitionCallback  # noqa: PLC0415 - see above

        self._feeder = feeder
        self._take: Take | None = None
        callback: Any = RecognitionCallback()
        callback.on_event = self._hear
        self.recognition: Any = Recognition(
            model="paraformer-realtime-v2", format="pcm", sample_rate=16_000, callback=callback
        )

    async def stream(self, frames: Iterable[bytes], begin_at: float, take: Take) -> None:
        self._take = take
        await self._feeder.feed(self.recognition.send_audio_frame, iter(frames), begin_at)
        with ThreadPoolExecutor(1) as stopping:  # it blocks until the end is confirmed
            await asyncio.get_running_loop().run_in_executor(stopping, self.recognition.stop)

    def _hear(self, result: Any) -> None:
        sentence = result.get_sentence()
        if self._take is not None:
            self._take(sentence["text"], sentence["sentence_end"])


class _Feeder(threading.Thread):
    """Gives every session its frames when they are due."""

    def __init__(self) -> None:
        super().__init__(name="feeder", daemon=True)
        self._wake = threading.Condition()
        self._schedule: list[tuple[float, int, Callable[[bytes], None], Iterator[bytes], Callable[[], None]]] = []
        self._number = 0
        self._is_ended = False

    async def feed(self, send: Callable[[bytes], None], frames: Iterator[bytes], begin_at: float) -> None:
        """Return when the last frame was given; `begin_at` is of the loop's clock, which is the monotonic one."""
        loop = asyncio.get_running_loop()
        given = loop.create_future()

        def tell() -> None:
            loop.call_soon_threadsafe(given.set_result, None)

        with self._wake:
            self._number += 1
            heapq.heappush(self._schedule, (begin_at, self._number, send, frames, tell))
            self._wake.notify()
        await given

    def end(self) -> None:
        """Stop, and wait for it."""
        with self._wake:
            self._is_ended = True
            self._wake.notify()
        self.join()

    def run(self) -> None:
        with self._wake:
            while not self._is_ended:
                delay_s = self._schedule[0][0] - time.monotonic() if self._schedule else None
                if delay_s is None or delay_s > 0:
                    self._wake.wait(delay_s)
                else:
                    self._feed_next()

    def _feed_next(self) -> None:
        due_at, number, send, frames, tell = heapq.heappop(self._schedule)
        if (frame := next(frames, None)) is None:
            tell()
            return
        send(frame)
        heapq.heappush(self._schedule, (due_at + FRAME_S, number, send, frames, tell))


def _ours_unpooled(url: str) -> Ours:
    return Ours(url, pool=Pool(max_idle=0))


PEERS: dict[str, Callable[[str], Peer]] = {
    "ours": Ours,
    "ours-unpooled": _ours_unpooled,
    "thin": Thin,
    "aiohttp": Aiohttp,
    "floor": Floor,
    "official": Official,
}
"""Each made with the URL of the server."""

MOST_SESSIONS = {"official": 50}
"""More than these a peer is not asked for: four threads each."""
