"""One WebSocket connection, and where the exceptions of `websockets` and the system become ours.

The library's protocol decides what goes over the wire; this moves the bytes, with nothing in between: a message is
framed and written in one go, what comes in is parsed as it arrives. Thousands of connections cost little more than
their sockets then. It does not know what the messages mean.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI, parse_uri

from ..errors import ASRError, ConfigurationError, ConnectionLostError, DeadlineError, RemoteProtocolError
from .os_errors import tls_reason, unreachable
from .proxy import open_stream
from .tls import TlsConnection
from .ws_frames import binary_frame, whole_text, wire_bytes

if TYPE_CHECKING:
    from websockets.frames import Close
    from websockets.http11 import Response
    from websockets.protocol import Event

    from .hosts import Destination, Message
    from .wire_log import ConnectionLog

__all__ = ["WebSocket"]

logger = logging.getLogger("asr_async")

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The vendor's error page (read 2026) advises clients to take at least 16 MiB; the library's default is 1 MiB."""

MAX_UNSENT_BYTES = 32 * 1024
"""How much may wait for the network before `send` is to pause: a second of audio."""

READ_BYTES = 64 * 1024
"""What is read at once at most: a dozen of results, or four records of TLS."""

MAX_UNREAD = 64
"""Messages that may wait to be read before no more are taken from the network. The reader takes each at once; they wait
only on a connection that nobody reads."""

_FINAL_CLOSE_CODES = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
"""The other side says that what we sent is at fault: the same again would end the same."""


class _WebsocketsLogger(logging.LoggerAdapter[logging.Logger]):
    """Keeps the library's DEBUG output shut: it prints the handshake's headers, key included, and the audio."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is the standard library's
        return level > logging.DEBUG and super().isEnabledFor(level)


class WebSocket(asyncio.BufferedProtocol):
    """A connection that carries whole messages."""

    __slots__ = (
        "_arrival",
        "_beginning",
        "_buffer",
        "_close_s",
        "_gone",
        "_heard_at",
        "_heard_enough",
        "_host",
        "_idle_s",
        "_is_leaving",
        "_is_mute",
        "_is_partial",
        "_is_reading",
        "_is_text",
        "_listener",
        "_log",
        "_loop",
        "_room",
        "_stream",
        "_timer",
        "_tls",
        "_unparsed_bytes",
        "_unread",
        "_uri",
        "_wants_no_more",
        "_websocket",
        "is_open",
    )

    def __init__(
        self, uri: WebSocketURI, host: str, *, idle_s: float, close_s: float, log: ConnectionLog | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._uri = uri
        self._host = host
        self._idle_s = idle_s
        self._close_s = close_s
        # where what goes over the connection is recorded
        self._log = log
        self._websocket = ClientProtocol(uri, max_size=MAX_MESSAGE_BYTES, logger=_WebsocketsLogger(logger))
        # where bytes come in, shared with others: what is left there is gone
        self._buffer = _read_buffer(self._loop)
        # exists from `connection_made` on; what encrypts exists before, so that nothing ever goes out without
        self._stream: asyncio.Transport | None = None
        self._tls = TlsConnection(uri.host) if uri.secure else None
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self.is_open: bool = False
        """Whether nothing is known that would keep a message from being sent."""
        # whole messages, and the beginning of one that is not complete
        self._unread: list[str | bytes] = []
        self._wants_no_more = False
        self._beginning = bytearray()
        self._is_text = False
        self._is_partial = False
        # what came in of a frame that the protocol waits for the rest of; infinite where that is not known
        self._unparsed_bytes: float = math.inf
        self._is_reading = True
        # who takes messages as they come in, and is told when it is over
        self._listener: Callable[[str | bytes], bool] | None = None
        self._heard_enough: asyncio.Future[None] = self._gone
        # who waits: for anything to come in, for room to send, for the connection to be gone
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        # that nothing is heard any more, since when, that the goodbye is said, and what happens if that stays so
        self._is_mute = False
        self._heard_at = 0.0
        self._is_leaving = False
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<WebSocket {self._host} {self._websocket.state.name.lower()}>"

    @property
    def local_address(self) -> tuple[str, int] | None:
        """This end's host and port, which tell one connection from another."""
        return None if self._stream is None else self._stream.get_extra_info("sockname")[:2]

    # --- opening -----------------------------------------------------------------------------------------------------

    @classmethod
    async def connect(
        cls, target: Destination, *, connect_s: float, idle_s: float, close_s: float, log: ConnectionLog | None = None
    ) -> WebSocket:
        """Connect and shake hands.

        `idle_s` is how long the other side may stay without any sign of life before it is given up, `close_s` how long
        it may take to close; `log` records everything.

        Raises:
            ASRError: as the target makes it from an HTTP answer.
            ConfigurationError: the URL is malformed, or a header, or the proxy that the environment names.
            ConnectionLostError: nobody is there.
            DeadlineError: not within `connect_s`.
            RemoteProtocolError: somebody is there who does not speak WebSocket.
        """
        uri = _parse_url(target.url)
        _check_headers(target.headers)
        host = target.host
        with _our_errors(host, f"no connection to {host} within {connect_s:g} s (Timeouts.connect)"):
            self = cls(uri, host, idle_s=idle_s, close_s=close_s, log=log)
            try:
                async with asyncio.timeout(connect_s):
                    await open_stream(lambda: self, uri, host, user_agent=target.headers.get("User-Agent"))
                    await self._shake_hands(target.headers)
            except InvalidStatus as refusal:
                self._drop()
                raise self._refused(target, refusal.response) from None
            except BaseException:
                self._drop()
                raise
        if self.is_open:  # not closed again at once
            self._watch_for_life()
        return self

    async def _shake_hands(self, headers: dict[str, str]) -> None:
        request = self._websocket.connect()
        if "Authorization" in headers and "Authorization" in request.headers:
            del request.headers["Authorization"]  # the URL's; a header of two credentials says nothing
        request.headers.update(headers)
        self._websocket.send_request(request)
        self._write()
        while self._websocket.state is State.CONNECTING and self._websocket.handshake_exc is None:
            await self._something_new()
        if self._tls is not None and self._tls.failure is not None:
            raise self._tls.failure
        if self._websocket.handshake_exc is not None:
            raise self._websocket.handshake_exc

    def _refused(self, target: Destination, response: Response) -> ASRError:
        headers = dict(response.headers.raw_items())
        body = bytes(response.body or b"")
        if self._log is not None:
            self._log.record_refusal(response.status_code, headers, body)
        return target.refused(response.status_code, headers, body)

    # --- sending -----------------------------------------------------------------------------------------------------

    def send(self, message: Message) -> bool:
        """Send one message, at once.

        Returns:
            Whether the network keeps up with what is sent; who sends much waits where it does not (`drain`).

        Raises:
            ConnectionLostError: the connection is gone.
            RemoteProtocolError: the other side broke the WebSocket protocol.
        """
        if not self.is_open:
            raise self._end()
        if self._log is not None:
            self._log.record_sent(message)  # before it goes: its answer must not stand in front of it
        if isinstance(message, str):
            self._websocket.send_text(message.encode())
            self._write()
            return self._room is None
        stream, tls = self._stream, self._tls
        assert stream is not None  # noqa: S101 - it is open
        if tls is None:
            stream.write(binary_frame(message))
        else:
            tls.encrypt(binary_frame(message))
            stream.write(tls.to_send())
        return self._room is None

    @property
    def is_writable(self) -> bool:
        """Whether the network keeps up with what is sent."""
        return self._room is None

    def call_when_writable(self, callback: Callable[[], None]) -> None:
        """Call once when the network has caught up, or never will; at once if it has."""
        if self._room is None:
            callback()
        else:
            self._room.add_done_callback(lambda _room: callback())

    async def drain(self) -> None:
        """Return when the network has caught up, or never will."""
        if self._room is not None:
            await asyncio.shield(self._room)

    def _write(self) -> None:
        """Hand to the network what the protocol has to say."""
        stream, tls = self._stream, self._tls
        if stream is None or stream.is_closing():
            return
        if tls is None:
            for data in self._websocket.data_to_send():
                if data:
                    stream.write(data)
                elif stream.can_write_eof():
                    stream.write_eof()
            return
        if tls.is_open:
            for data in self._websocket.data_to_send():
                if data:
                    tls.encrypt(data)
                else:
                    tls.say_goodbye()
        if encrypted := tls.to_send():
            stream.write(encrypted)

    # --- receiving ---------------------------------------------------------------------------------------------------

    async def receive(self) -> str | bytes:
        """Wait for the next message.

        Raises:
            ConnectionLostError: the connection ended, however politely, or gave no sign of life for `idle_s`.
            RemoteProtocolError: the other side broke the WebSocket protocol, or sent more than `MAX_MESSAGE_BYTES`.
        """
        while not self._unread:
            if not self.is_open:
                raise self._end()
            await self._something_new()
        return self._next_unread()

    async def listen(self, take: Callable[[str | bytes], bool]) -> None:
        """Have each message taken at once, as it comes in, until `take` has heard enough and returns True.

        Raises:
            ASRError: as `receive`.
            Exception: what `take` raised.
        """
        while self._unread:
            if take(self._next_unread()):
                return
        if not self.is_open:
            raise self._end()
        self._listener = take
        self._heard_enough = self._loop.create_future()
        try:
            await self._heard_enough
        finally:
            self._listener = None

    def _tell(self, listener: Callable[[str | bytes], bool], message: str | bytes) -> None:
        try:
            if listener(message):
                self._stop_telling(None)
        except Exception as error:  # noqa: BLE001 - it belongs to the one who listens, not to the event loop
            self._stop_telling(error)

    def _stop_telling(self, error: Exception | None) -> None:
        self._listener = None
        if self._heard_enough.done():
            return
        if error is None:
            self._heard_enough.set_result(None)
        else:
            self._heard_enough.set_exception(error)

    def _next_unread(self) -> str | bytes:
        message = self._unread.pop(0)
        if len(self._unread) < MAX_UNREAD:
            self._read_on()
        return message

    def _read_on(self) -> None:
        if self._is_reading:
            return
        self._is_reading = True
        self._heard_at = self._loop.time()
        if self._stream is not None:
            self._stream.resume_reading()

    async def _something_new(self) -> None:
        """Wait until something has come in, or the connection has ended; one at a time."""
        self._arrival = self._loop.create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None

    def _take(self, events: list[Event]) -> None:
        """Hand on the messages that are whole now, up to one that is none."""
        try:
            for event in events:
                if isinstance(event, Frame) and event.opcode < Opcode.CLOSE:  # from there on it is control frames
                    message = self._put_together(event)
                    if message is not None:
                        self._hand_on(message)
        except UnicodeDecodeError as error:
            self._websocket.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")

    def _put_together(self, frame: Frame) -> str | bytes | None:
        """Put the pieces of a message together; None while it is not complete."""
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        data, self._is_partial = frame.data, not frame.fin
        if self._is_partial or self._beginning:
            self._beginning += data
            if self._is_partial:
                return None
            data, self._beginning = self._beginning, bytearray()
        return str(data, "utf-8") if self._is_text else bytes(data)

    def _hand_on(self, message: str | bytes) -> None:
        if self._log is not None:
            self._log.record_received(message)
        if self._listener is not None:
            self._tell(self._listener, message)
        elif not self._wants_no_more:
            self._unread.append(message)

    # --- what the event loop calls -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The bytes have a way."""
        self._stream = cast("asyncio.Transport", transport)
        self._stream.set_write_buffer_limits(high=MAX_UNSENT_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the size is ours to choose
        """Where bytes may be put."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came in."""
        self._heard_at = self._loop.time()
        tls, data = self._tls, self._buffer[:nbytes]
        if tls is not None:
            data = memoryview(tls.receive(bytes(data)))
        is_between_messages = not (self._unparsed_bytes or self._is_partial)
        text = whole_text(data) if is_between_messages and self._listener is not None else None
        if text is None:
            self._parse(bytes(data))
        else:
            self._hand_on(text)
        if tls is not None and tls.is_over:
            self._end_tls()

    def _parse(self, data: bytes) -> None:
        """Let the protocol see what came in, whatever it is."""
        is_answer = self._websocket.state is State.CONNECTING
        if data:
            self._websocket.receive_data(data)
        self._write()
        self._see_state()
        events = self._websocket.events_received()
        self._take(events)
        self._measure_rest(data, events, is_answer=is_answer)
        if self._websocket.close_expected():
            self._write()
            self._leave_in_time()
        if len(self._unread) >= MAX_UNREAD and self._is_reading and self._stream is not None:
            self._is_reading = False
            self._stream.pause_reading()
        self._wake()

    def _measure_rest(self, data: bytes, events: list[Event], *, is_answer: bool) -> None:
        """Find out whether the protocol waits for the rest of something."""
        if is_answer:  # to the request for the handshake, and perhaps more
            _, blank_line, behind = data.partition(b"\r\n\r\n")
            self._unparsed_bytes = len(behind) if blank_line else math.inf
        else:
            self._unparsed_bytes += len(data)
        for event in events:
            if isinstance(event, Frame):
                self._unparsed_bytes -= wire_bytes(len(event.data))

    def _end_tls(self) -> None:
        """Nothing more can be read, whether the other side said so or broke TLS: the end of the bytes says no more."""
        self.eof_received()
        if self._stream is not None:
            self._stream.close()

    def eof_received(self) -> None:
        """No more bytes come; the stream closes itself then, when it has sent what it has, if it can in time."""
        self._websocket.receive_eof()
        self._write()
        self._leave_in_time()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - that it is over says all
        """The bytes have no way any more."""
        self._websocket.receive_eof()
        self._stop_timer()
        if not self._gone.done():
            self._gone.set_result(None)
        self._wake()

    def pause_writing(self) -> None:
        """The network does not keep up."""
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def _wake(self) -> None:
        """Something has happened: let the one who waits see what."""
        self._see_state()
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
        if self.is_open:
            return
        self.resume_writing()  # there never will be room
        if self._listener is not None:
            self._stop_telling(self._end())

    def _see_state(self) -> None:
        self.is_open = self._websocket.state is State.OPEN and not self._is_mute

    # --- signs of life -----------------------------------------------------------------------------------------------

    def _watch_for_life(self) -> None:
        self._stop_timer()
        self._timer = self._loop.call_at(self._heard_at + self._idle_s / 2, self._look, self._heard_at)

    def _look(self, heard_at: float) -> None:
        """Half the time has passed: if there was nothing since, ask.

        A connection that is not read has no way to answer.
        """
        if not self._is_reading:
            self._heard_at = self._loop.time()
        if self._heard_at != heard_at:
            self._watch_for_life()
            return
        self._websocket.send_ping(os.urandom(4))
        self._write()
        # from now on, not from what was heard: this may come late, after the machine was asleep
        self._timer = self._loop.call_later(self._idle_s / 2, self._look_again, heard_at)

    def _look_again(self, heard_at: float) -> None:
        """The other half has passed: if there was no answer either, it is lost."""
        if self._heard_at == heard_at and self._is_reading:
            self._is_mute = True
            self._drop()
            self._wake()
        else:
            self._watch_for_life()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- the end -----------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Say goodbye and close; bounded by the connection's `close_s`."""
        if self._log is not None:
            self._log.record_close(1000, "", by="client")
        # what still comes is for nobody, but the other side's goodbye is behind it
        self._wants_no_more = True
        self._unread.clear()
        self._read_on()
        if self._websocket.state is State.OPEN:
            self._websocket.send_close(CloseCode.NORMAL_CLOSURE)
            self.is_open = False
            self._write()
            self._leave_in_time()
        if self._stream is not None:
            await asyncio.shield(self._gone)

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._log is not None:
            self._log.record_close(1006, "", by="client")
        self._drop()

    def _drop(self) -> None:
        self._stop_timer()
        if self._stream is not None:
            self._stream.abort()

    def _leave_in_time(self) -> None:
        """The goodbye is said: it is the server that closes, if it does so in time."""
        if not self._is_leaving:
            self._is_leaving = True
            self._stop_timer()
            self._timer = self._loop.call_later(self._close_s, self._drop)

    def _end(self) -> ASRError:
        """Make the error that says how it ended, and record that."""
        close = self._websocket.close_rcvd
        if self._log is not None:
            self._log.record_close(
                1006 if close is None else close.code, "" if close is None else close.reason, by="server"
            )
        if self._is_mute:
            text = f"lost the connection to {self._host}: no sign of life for {self._idle_s:g} s (Timeouts.idle)"
            return ConnectionLostError(text, retryable=True)
        if close is None and self._tls is not None and self._tls.failure is not None:
            text = f"lost the connection to {self._host}: TLS failed: {tls_reason(self._tls.failure)}"
            return ConnectionLostError(text, retryable=True, code="1006")
        return _closed_error(close, self._websocket.close_sent, self._host)


@functools.lru_cache(maxsize=64)  # thousands of connections go to the same few places
def _parse_url(url: str) -> WebSocketURI:
    """Take the URL apart. What is wrong is told without showing it: it may hold a password."""
    try:
        uri = parse_uri(url)
        uri.host.encode("idna")  # as the system does it later on, with an error of its own
    except InvalidURI as error:
        raise ConfigurationError(f"not a WebSocket URL: {error.msg}") from None
    except ValueError:
        raise ConfigurationError("not a WebSocket URL: its host, port or credentials are malformed") from None
    return uri


def _check_headers(headers: dict[str, str]) -> None:
    """Refuse what would break the request apart, a line end behind a key for instance; the library would show it."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ConfigurationError(
                f"the header {name} can only be of printable ASCII characters: look for a line end, a blank or a "
                "letter that is not ASCII in what it is made of, such as the key"
            )


_read_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = weakref.WeakKeyDictionary()


def _read_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """Where all connections of a loop read into: each takes what came in before the next one reads.

    Without it asyncio takes 256 KiB from the system for each read, and gives it back. The loops of Windows read in the
    background, so there each connection needs its own.
    """
    if sys.platform == "win32":
        return memoryview(bytearray(READ_BYTES))
    buffer = _read_buffers.get(loop)
    if buffer is None:
        buffer = _read_buffers[loop] = memoryview(bytearray(READ_BYTES))
    return buffer


@contextmanager
def _our_errors(host: str, deadline_text: str) -> Iterator[None]:
    """Turn what `websockets`, TLS and the system raise while connecting into ours."""
    try:
        yield
    except ASRError:
        raise
    except InvalidHandshake as error:
        if isinstance(error.__cause__, EOFError):  # how the library says that the answer broke off
            text = f"lost the connection to {host}: it ended during the handshake"
            raise ConnectionLostError(text, retryable=True) from None
        raise RemoteProtocolError(f"{host} does not speak WebSocket: {error}") from None
    except TimeoutError:
        raise DeadlineError(deadline_text, retryable=True) from None
    except OSError as error:
        raise unreachable(host, error) from None


def _closed_error(received: Close | None, sent: Close | None, host: str) -> ASRError:
    if received is None and sent is not None and sent.code in _FINAL_CLOSE_CODES:
        # closed from this side, by the library, because of what it received
        reason = sent.reason or f"close code {sent.code}"
        if sent.code == CloseCode.MESSAGE_TOO_BIG:
            reason = f"a message of more than {MAX_MESSAGE_BYTES // 1024**2} MiB"
        return RemoteProtocolError(f"{host} broke the WebSocket protocol: {reason}", code=str(int(sent.code)))
    if received is None:
        return ConnectionLostError(
            f"lost the connection to {host}: it ended without a closing message", retryable=True, code="1006"
        )
    code, reason = received.code, received.reason
    return ConnectionLostError(
        f"{host} closed the connection before the end of the transcript{': ' + reason if reason else ''}",
        retryable=code not in _FINAL_CLOSE_CODES,
        code=str(int(code)),
    )
