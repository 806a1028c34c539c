"""A vendor of a test: the smallest protocol, whose description each test chooses, and a server that a test scripts.

Audio is binary, `end` is the end of the audio, `alive` is a keepalive message. The server's messages are JSON: `text`
with `id`, `start`, `end` and `final`; or `error`; or `done`.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from websockets.asyncio.server import ServerConnection, serve

from asr_async import AudioFormat, Result, VendorError
from asr_async.vendors.codec import CodecEvent, Failed, Finished, Message, Started, TaskDescription
from asr_async.vendors.options import Options
from asr_async.vendors.service import Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["PlainCodec", "PlainOptions", "PlainService", "plain_server", "say"]


class PlainOptions(Options, frozen=True, kw_only=True):
    """The options of the only model."""

    vendor = "plain"
    model: str = "plain-1"
    audio = AudioFormat("pcm", 16_000)


class PlainCodec:
    """The client side of one task."""

    def __init__(self) -> None:
        self.request_id = ""
        self._interims: dict[int, Result] = {}

    def start(self) -> list[Message]:
        return ["start"]

    def audio(self, frame: bytes | memoryview) -> Message:
        return frame

    def finish(self) -> list[Message]:
        return ["end"]

    def keepalive(self) -> list[Message]:
        return ["alive"]

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        match json.loads(message):
            case {"started": request_id}:
                self.request_id = request_id
                return [Started(request_id)]
            case {"text": text, "id": segment, "start": start_ms, "end": end_ms, "final": is_final}:
                result = Result(text=text, is_final=is_final, segment_id=segment, start_ms=start_ms, end_ms=end_ms)
                self._interims.pop(segment, None)
                if not is_final:
                    self._interims[segment] = result
                return [result]
            case {"error": reason, "retryable": retryable}:
                return [Failed(VendorError(reason, vendor="plain", retryable=retryable))]
            case {"done": _}:
                return [Finished()]
        return []

    def end(self) -> list[CodecEvent]:
        finals = [
            Result(
                text=interim.text,
                is_final=True,
                is_confirmed=False,
                segment_id=interim.segment_id,
                start_ms=interim.start_ms,
                end_ms=interim.end_ms,
            )
            for interim in self._interims.values()
        ]
        return [*finals, Finished()]


class PlainService:
    """The service at one address."""

    def __init__(self, url: str, *, codec: Callable[[], Any] = PlainCodec, **description: Any) -> None:
        self._url = url
        self._codec = codec
        self.endpoint: dict[str, Any] = {}
        """Further members of the endpoint, or others."""
        self._description = {"audio_format": PlainOptions.audio, "max_frame_bytes": 32_000, **description}

    def __repr__(self) -> str:
        return "<PlainService>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass  # there is nothing to release

    @property
    def vocabularies(self) -> Any:
        raise NotImplementedError

    def describe(self, _options: Options) -> TaskDescription:
        return TaskDescription(**self._description)

    def codec(self, _options: Options, *, task_id: str) -> Any:
        return self._codec()

    async def resolve(self, _options: Options) -> Endpoint:
        members: dict[str, Any] = {
            "url": self._url,
            "headers": {},
            "handshake_error": lambda status, _headers, _body: VendorError(f"HTTP {status}", vendor="plain"),
        }
        return Endpoint(**members | self.endpoint)


@asynccontextmanager
async def plain_server(
    script: Callable[[ServerConnection], Awaitable[object]],
    *,
    server: dict[str, Any] | None = None,
    codec: Callable[[], Any] = PlainCodec,
    **description: Any,
) -> AsyncIterator[PlainService]:
    """Serve a script while the context lasts, and yield the service."""
    options = {"compression": None, "close_timeout": 1, "ping_interval": None, **(server or {})}

    async def run(connection: ServerConnection) -> None:
        await script(connection)

    async with serve(run, "127.0.0.1", 0, **options) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        yield PlainService(f"ws://127.0.0.1:{port}/", codec=codec, **description)


async def say(connection: ServerConnection, text: str, start: int, end: int, *, number: int = 0, final: bool) -> None:
    """Send a result."""
    await connection.send(json.dumps({"text": text, "id": number, "start": start, "end": end, "final": final}))
