"""Audio from browsers: a WebSocket of aiohttp or Starlette as a source, and a whole handler for live captions.

    async def listen(request: web.Request) -> web.WebSocketResponse:  # aiohttp
        websocket = web.WebSocketResponse(heartbeat=20)
        await websocket.prepare(request)
        await captions(websocket, request.app[CLIENT], Paraformer())
        return websocket

    @app.websocket("/listen")  # FastAPI
    async def listen(websocket: WebSocket) -> None:
        await captions(websocket, client, Paraformer())

**The client sends** audio as binary messages of any size, 16-bit samples in the format of the options, and JSON:

    {"type": "start", "sample_rate": 48000, "channels": 2}   optional, before the audio: another rate, more channels
    {"type": "finalize"}                                     make final what was said so far, and go on
    {"type": "stop"}                                         no more audio: the rest of the results follows

**The server sends** JSON: the events of the session as `asr_async.to_json` makes them, and `{"type": "ready"}` when it
listens, `{"type": "end"}` behind the last event, or `{"type": "error", "message": ..., "retryable": ...}` in its place;
or `{"type": "moved"}`, if the process is to stop (`Handover`): the client connects anew, and continues with its audio
from the end of the last final result that it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ..audio import COMPRESSED_BYTES_PER_SECOND, AudioFormat
from ..audio.samples import SAMPLE_BYTES, SampleFormat
from ..errors import ASRError, ConfigurationError
from ..results import Result, SpeechEnded, SpeechStarted, with_times
from ..sources import TaskEnd
from ..wire import to_json
from ._samples import SampleConverter
from ._sockets import AiohttpWebSocket, ClientGoneError, Socket, StarletteWebSocket, WebSocket, socket_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from ..client import Client
    from ..results import Event
    from ..vendors.options import Options

__all__ = [
    "AiohttpWebSocket",
    "ClientGoneError",
    "ClientMessageError",
    "Handover",
    "ReceivedAudio",
    "StarletteWebSocket",
    "WebSocket",
    "captions",
    "receive",
]

logger: logging.Logger = logging.getLogger("asr_async")

MAX_AHEAD_S = 90.0
"""The audio that a client may send faster than real time: what a browser has kept while its connection was lost. With
more than that, its captions would be late for as long as it speaks."""

CATCH_UP = 4.0
"""The speed at which audio of that kind is read, as a multiple of real time; a session catches up as fast."""

UNPACED_S = 1.0
"""The audio that a client may be ahead of real time without any effect: networks deliver in bursts."""

UNREADABLE, FAILED, RESTARTING, TRY_AGAIN = 1007, 1011, 1012, 1013
"""WebSocket close codes (RFC 6455, 7.4.1, and the IANA registry)."""


class ClientMessageError(ValueError):
    """A message of the client that cannot be read; the text says what is expected."""


class _Start(msgspec.Struct, tag="start"):
    sample_rate: int | None = None
    channels: int = 1


class _Finalize(msgspec.Struct, tag="finalize"):
    pass


class _Stop(msgspec.Struct, tag="stop"):
    pass


_controls: msgspec.json.Decoder[_Start | _Finalize | _Stop] = msgspec.json.Decoder(_Start | _Finalize | _Stop)


def receive(
    websocket: WebSocket,
    options: Options | None = None,
    *,
    on_message: Callable[[dict[str, Any]], None] | None = None,
) -> ReceivedAudio:
    """Return the audio of a client's WebSocket as a source.

        async for event in session.events(receive(websocket, options), on_source_error="cancel"):
            ...

    The source ends when the client says "stop". If the client leaves without that, it raises `ClientGoneError`, and
    `on_source_error="cancel"` then drops what is not recognised yet. Audio is read as the session takes it, and no
    faster than `MAX_AHEAD_S` ahead of real time: a client that floods waits, by TCP's flow control.

    Args:
        websocket: aiohttp's `WebSocketResponse`, prepared, or an accepted `WebSocket` of Starlette or FastAPI.
        options: the options of the session, which declare the format of the audio. None, the default, is 16-bit mono
            samples at 16 kHz. Another sample rate that the client declares is resampled (extra `audio`).
        on_message: called with each JSON object of a type that is not known here. None, the default, raises
            `ClientMessageError` for them.

    Raises:
        ConfigurationError: the object is not such a WebSocket.
    """
    return ReceivedAudio(socket_of(websocket), options, on_message)


class ReceivedAudio:
    """The audio of a client, as an async iterator of chunks; made by `receive`.

    Attributes:
        has_stopped: True if the client has announced the end of its audio.
    """

    live = True

    def __init__(
        self, socket: Socket, options: Options | None, on_message: Callable[[dict[str, Any]], None] | None
    ) -> None:
        self.has_stopped: bool = False
        self._socket = socket
        self._options = options
        self._format = AudioFormat() if options is None else options.audio
        self._on_message = on_message
        self._gate = _RealTimeGate()
        # of audio that is not in the format of the options
        self._converter: SampleConverter | None = None
        self._has_begun = False
        self._mark: TaskEnd | None = None

    def __repr__(self) -> str:
        return f"<ReceivedAudio {self._format.encoding} {'ended' if self.has_stopped else 'open'}>"

    async def preflight(self, expected: AudioFormat) -> None:
        """Refuse a session with options of another format.

        Raises:
            ConfigurationError: the formats differ.
        """
        if expected != self._format:
            raise ConfigurationError("the session has other options than receive(websocket, options): pass the same")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk.

        Raises:
            ClientGoneError: the client left before it said "stop".
            ClientMessageError: a message cannot be read.
            ConfigurationError: the client declares samples that cannot be converted.
        """
        while not self.has_stopped:
            if self._mark is not None and self._mark.error is not None:
                raise self._mark.error
            message = await self._socket.receive()
            chunk = self._control(message) if isinstance(message, str) else await self._audio(message)
            if chunk is not None:
                return chunk
        raise StopAsyncIteration

    async def _audio(self, data: bytes) -> bytes:
        self._has_begun = True
        chunk = data if self._converter is None else self._converter.convert(data)
        delay_s = self._gate.delay_s(
            asyncio.get_running_loop().time(),
            len(chunk) / (self._format.bytes_per_second or COMPRESSED_BYTES_PER_SECOND),
        )
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        return chunk

    def _control(self, text: str) -> bytes | None:
        """Act on a JSON message; return what takes its place in the audio, if anything does."""
        try:
            control = _controls.decode(text)
        except msgspec.ValidationError as error:
            self._pass_on(text, error)
            return None
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ClientMessageError(f"not a control message: {error}: {text[:80]!r}") from None
        match control:
            case _Start():
                self._start(control)
                return None
            case _Finalize():
                return self._finalize()
            case _Stop():
                self.has_stopped = True
                return None if self._converter is None else self._converter.finish() or None

    def _pass_on(self, text: str, error: msgspec.ValidationError) -> None:
        """Pass a message of another type on to the program."""
        message = msgspec.json.decode(text)
        known = {"start", "finalize", "stop"}
        if self._on_message is None or not isinstance(message, dict) or message.get("type") in known:
            raise ClientMessageError(
                f"not a control message: {error}: {text[:80]!r}; the types are start, finalize and stop"
            )
        self._on_message(message)

    def _start(self, start: _Start) -> None:
        if self._has_begun:
            raise ClientMessageError('"start" must come before the audio, once')
        self._has_begun = True
        rate = start.sample_rate or self._format.sample_rate
        if rate != self._format.sample_rate or start.channels != 1:
            samples = SampleFormat("int", SAMPLE_BYTES, start.channels)
            self._converter = SampleConverter(samples, rate, self._format, sender="the client")

    def _finalize(self) -> TaskEnd:
        if self._options is not None and self._options.sentence_end_ms is not None:
            raise ClientMessageError(f'"finalize": {self._options.model} recognises one sentence: send "stop"')
        self._mark = TaskEnd()
        return self._mark


class _RealTimeGate:
    """The wait that keeps a stream from running ahead of real time: a leaky bucket, which holds seconds of audio."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._last_at: float | None = None

    def delay_s(self, now: float, length_s: float) -> float:
        """Return the seconds to wait before audio of this length is passed on, which has arrived now."""
        elapsed_s = 0.0 if self._last_at is None else now - self._last_at
        self._last_at = now
        self._ahead_s = max(0.0, self._ahead_s - elapsed_s) + length_s
        if self._ahead_s <= UNPACED_S:
            return 0.0
        return max(length_s / CATCH_UP, self._ahead_s - MAX_AHEAD_S)


# --- captions ---------------------------------------------------------------------------------------------------------


async def captions(
    websocket: WebSocket,
    client: Client,
    options: Options,
    *,
    places: asyncio.Semaphore | None = None,
    on_event: Callable[[Event], None] | None = None,
    start_ms: int = 0,
    handover: Handover | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Recognise the audio of a client, and send it the events as JSON, until it stops or leaves: a whole handler.

    Returns when the connection is closed. A client that leaves ends its session at once; one that does not read its
    captions gets fewer interims, and every final, as with any session. Errors go to the client, and with the vendor's
    code and request id to the log; this function raises none of them.

    Args:
        websocket: as for `receive`; a WebSocket of Starlette that is not accepted yet is accepted.
        client: the client of the program, one for all WebSockets.
        options: the model and its settings.
        places: the sessions that may run at once, `asyncio.Semaphore(50)`, shared by all calls. A client that finds no
            place is refused with a message; close code 1013, "try again later". None, the default, is no limit but
            those of the client, with which it waits.
        on_event: called with each event, before it is sent: for a log, or for other listeners.
        start_ms: the time of the first byte in the audio of the client, for one that continues after a lost connection;
            it is added to the times of all events.
        handover: the hand-over of this process to others. None, the default, if there is none.
        tags: names of the session for observers, as for `Client.session`.

    Raises:
        ConfigurationError: the object is not such a WebSocket.
    """
    socket = socket_of(websocket)
    try:
        await socket.accept()
        if places is not None and places.locked():
            await _end(socket, TRY_AGAIN, "all places are taken: try again later", retryable=True)
            return
        async with (
            contextlib.nullcontext() if places is None else places,
            client.session(options, tags=tags) as session,
        ):
            await socket.send('{"type":"ready"}')
            events = session.events(ReceivedAudio(socket, options, None), on_source_error="cancel")
            is_whole = await _send_events(socket, events, on_event, start_ms, handover or Handover())
        await socket.send('{"type":"end"}' if is_whole else '{"type":"moved"}')
        await socket.close(1000 if is_whole else RESTARTING)
    except ClientGoneError as error:
        logger.info("captions: %s", error)
    except ClientMessageError as error:
        await _end(socket, UNREADABLE, str(error), retryable=False)
    except ASRError as error:
        logger.warning("captions: %s", error)
        await _end(socket, TRY_AGAIN if error.retryable else FAILED, error.message, retryable=error.retryable)


async def _send_events(
    socket: Socket,
    events: AsyncIterator[Event],
    on_event: Callable[[Event], None] | None,
    start_ms: int,
    handover: Handover,
) -> bool:
    """Send the events of a session; return False if the captions are to go on in another process."""
    try:
        async with handover.stream() as stream:
            async for event in events:
                shifted = with_times(event, lambda time_ms, _: time_ms + start_ms) if start_ms else event
                if on_event is not None:
                    on_event(shifted)
                await socket.send(to_json(shifted))
                if stream.ends_behind(event):
                    return False
    except TimeoutError:
        if not stream.has_expired:
            raise
        return False
    return True


class Handover:
    """The hand-over of the captions of this process to others, for a restart: `captions(..., handover=handover)`.

        async def hand_over(_app: web.Application) -> None:  # aiohttp calls it at SIGTERM, when it listens no more
            handover.begin()
            await handover.wait()

        app.on_shutdown.append(hand_over)

    Captions whose speaker is silent end at once, others behind the final result of their present segment. Their clients
    connect anew and send their audio from the end of the last final result on, so no word is lost, and none is there
    twice. Use it in the event loop of the handlers.

    Args:
        grace_s: the longest wait for the end of a segment, in seconds. What is said in it is then recognised anew.
    """

    def __init__(self, *, grace_s: float = 10.0) -> None:
        self._grace_s = grace_s
        self._has_begun = False
        self._streams: set[_HandedStream] = set()
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Handover {'begun' if self._has_begun else 'not begun'}, {len(self._streams)} captions here>"

    @property
    def has_begun(self) -> bool:
        """True from the first call of `begin` on: for the health check of a load balancer."""
        return self._has_begun

    def begin(self) -> None:
        """Begin to hand over. New captions move on at once. Idempotent."""
        if self._has_begun:
            return
        self._has_begun = True
        for stream in self._streams:
            stream.end_within(self._grace_s)

    async def wait(self) -> None:
        """Wait until no captions are left here; not longer than some seconds behind `grace_s`."""
        while self._streams:
            self._changed.clear()
            await self._changed.wait()

    @contextlib.asynccontextmanager
    async def stream(self) -> AsyncIterator[_HandedStream]:
        """Hold the captions of one client; `TimeoutError` is raised where they are to end within a segment."""
        async with asyncio.timeout(None) as deadline:
            stream = _HandedStream(deadline)
            self._streams.add(stream)
            if self._has_begun:
                stream.end_within(0)
            try:
                yield stream
            finally:
                self._streams.discard(stream)
                self._changed.set()


class _HandedStream:
    """The captions of one client, and the time by which they move to another process."""

    def __init__(self, deadline: asyncio.Timeout) -> None:
        self._deadline = deadline
        self._has_open_segment = False
        self._is_moving = False

    @property
    def has_expired(self) -> bool:
        """True if the captions end because their time is over."""
        return self._deadline.expired()

    def end_within(self, grace_s: float) -> None:
        """Have them end at the end of the open segment, or by this time; at once if there is none."""
        self._is_moving = True
        delay_s = grace_s if self._has_open_segment else 0
        self._deadline.reschedule(asyncio.get_running_loop().time() + delay_s)

    def ends_behind(self, event: Event) -> bool:
        """Record an event; return True if the captions move behind it."""
        match event:
            case Result(is_final=True) | SpeechEnded(is_withdrawn=True):
                self._has_open_segment = False
                return self._is_moving
            case Result() | SpeechStarted():
                self._has_open_segment = True
        return False


async def _end(socket: Socket, code: int, message: str, *, retryable: bool) -> None:
    """Send the client the reason for the end of its captions, and close."""
    error = {"type": "error", "message": message, "retryable": retryable}
    with contextlib.suppress(ClientGoneError):
        await socket.send(msgspec.json.encode(error).decode())
        await socket.close(code, message)
