"""Phone calls from Twilio: a media stream as a source, and marks back.

    @app.websocket("/call")  # FastAPI; in TwiML: <Connect><Stream url="wss://example.com/call"/></Connect>
    async def call(websocket: WebSocket) -> None:
        await websocket.accept()
        stream = TwilioStream(websocket, options)
        async with client.session(options) as session:
            async for event in session.events(stream, on_source_error="cancel"):
                ...

Twilio sends u-law at 8 kHz: take a model for telephones, such as `Paraformer(model="paraformer-realtime-8k-v2")`; for
a model with 16 kHz only, the audio is resampled (extra `audio`). The messages are those of "Media Streams - WebSocket
Messages" (Twilio, 2025): connected, start, media, dtmf, mark and stop come, mark and clear go back.
"""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from ..audio import AudioFormat
from ..audio.samples import SampleFormat
from ..errors import ConfigurationError
from ._samples import SampleConverter
from ._sockets import ClientGoneError, WebSocket, socket_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..vendors.options import Options

__all__ = ["ClientGoneError", "StreamStart", "TwilioStream", "TwilioStreamError"]

SAMPLE_RATE = 8_000
"""The rate of every media stream; Twilio documents no other."""

Track = Literal["inbound", "outbound"]


class TwilioStreamError(ValueError):
    """A message that does not belong to a media stream, or comes out of order; the text says which."""


class StreamStart(msgspec.Struct, frozen=True, rename="camel"):
    """Twilio's description of the call, in its message "start"."""

    stream_sid: str = ""
    call_sid: str = ""
    account_sid: str = ""
    tracks: tuple[str, ...] = ()
    custom_parameters: dict[str, str] = {}
    """The `<Parameter>` elements of the TwiML."""


class _Media(msgspec.Struct):
    payload: str
    track: str = "inbound"


class _Mark(msgspec.Struct):
    name: str = ""


class _Dtmf(msgspec.Struct):
    digit: str = ""


class _Message(msgspec.Struct):
    event: str
    start: StreamStart | None = None
    media: _Media | None = None
    mark: _Mark | None = None
    dtmf: _Dtmf | None = None


_messages: msgspec.json.Decoder[_Message] = msgspec.json.Decoder(_Message)


class TwilioStream:
    """The audio of one call, as an async iterator of chunks, and the way back to it.

    The source ends when the call does. If the connection is lost before that, it raises `ClientGoneError`.

    Args:
        websocket: aiohttp's `WebSocketResponse`, prepared, or an accepted `WebSocket` of Starlette or FastAPI.
        options: the options of the session, which declare the format of the audio: pcm, or u-law at 8 kHz, which is
            passed on as it comes.
        track: the side of the call: "inbound", the default, is what the caller says. A stream with both tracks needs a
            session for each.
        on_mark: called with the name of a mark that Twilio sends back: what was sent before `send_mark` was played.
        on_digit: called with each key that the caller presses.

    Raises:
        ConfigurationError: the object is not such a WebSocket, or the options declare audio that a call cannot become.
    """

    live = True

    def __init__(
        self,
        websocket: WebSocket,
        options: Options | None = None,
        *,
        track: Track = "inbound",
        on_mark: Callable[[str], None] | None = None,
        on_digit: Callable[[str], None] | None = None,
    ) -> None:
        if track not in {"inbound", "outbound"}:
            raise ConfigurationError(f"TwilioStream(track={track!r}): must be 'inbound' or 'outbound'")
        self.start: StreamStart | None = None
        self._socket = socket_of(websocket)
        self._track = track
        self._on_mark = on_mark
        self._on_digit = on_digit
        self._format = AudioFormat() if options is None else options.audio
        self._converter = None
        if self._format != AudioFormat("ulaw", SAMPLE_RATE):
            samples = SampleFormat("ulaw", 1)
            self._converter = SampleConverter(samples, SAMPLE_RATE, self._format, sender="Twilio")
        self._has_ended = False

    def __repr__(self) -> str:
        return f"<TwilioStream {'not started' if self.start is None else self.start.call_sid}>"

    async def preflight(self, expected: AudioFormat) -> None:
        """Refuse a session with options of another format.

        Raises:
            ConfigurationError: the formats differ.
        """
        if expected != self._format:
            raise ConfigurationError("the session has other options than TwilioStream(websocket, options): pass them")

    async def started(self) -> StreamStart:
        """Return Twilio's description of the call, as soon as it has arrived; for use before the session.

        Raises:
            ClientGoneError: the connection was closed before.
            TwilioStreamError: the stream does not begin with it.
        """
        while self.start is None:
            message = await self._next_message()
            if message.start is not None:
                self.start = message.start
            elif message.event != "connected":
                raise TwilioStreamError(
                    f'the stream sends "{message.event}" before "start": connect Twilio\'s <Stream> here, and read '
                    "this WebSocket nowhere else"
                )
        return self.start

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk.

        Raises:
            ClientGoneError: the connection was lost before the end of the call.
            TwilioStreamError: a message does not belong to a media stream.
        """
        await self.started()
        while not self._has_ended:
            chunk = self._receive(await self._next_message())
            if chunk:
                return chunk
        raise StopAsyncIteration

    def _receive(self, message: _Message) -> bytes:
        """Act on a message; return its audio."""
        if message.media is not None:
            return self._audio(message.media) if message.media.track == self._track else b""
        if message.event == "stop":
            self._has_ended = True
            return b"" if self._converter is None else self._converter.finish()
        if message.mark is not None and self._on_mark is not None:
            self._on_mark(message.mark.name)
        elif message.dtmf is not None and self._on_digit is not None:
            self._on_digit(message.dtmf.digit)
        return b""

    def _audio(self, media: _Media) -> bytes:
        try:
            codes = binascii.a2b_base64(media.payload, strict_mode=True)
        except binascii.Error as error:
            raise TwilioStreamError(f"the payload of a media message is not base64: {error}") from None
        return codes if self._converter is None else self._converter.convert(codes)

    async def _next_message(self) -> _Message:
        text = await self._socket.receive()
        try:
            return _messages.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise TwilioStreamError(f"not a message of a media stream: {error}: {text[:80]!r}") from None

    async def send_mark(self, name: str) -> None:
        """Set a mark behind the audio that was sent to the caller; Twilio sends it back when that was played.

        Raises:
            ClientGoneError: the connection is closed.
            TwilioStreamError: the stream has not started.
        """
        await self._send({"event": "mark", "mark": {"name": name}})

    async def clear(self) -> None:
        """Stop the audio that is being played, when the caller begins to speak for instance; marks come back at once.

        Raises:
            ClientGoneError: the connection is closed.
            TwilioStreamError: the stream has not started.
        """
        await self._send({"event": "clear"})

    async def _send(self, message: dict[str, object]) -> None:
        if self.start is None:
            raise TwilioStreamError('the stream has not started: send behind "start", see started()')
        await self._socket.send(msgspec.json.encode({**message, "streamSid": self.start.stream_sid}).decode())
