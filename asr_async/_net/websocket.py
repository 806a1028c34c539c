"""One WebSocket connection, and the place where the errors of `websockets` and the system become this library's.

The library's protocol decides which bytes go over the wire; this moves them at once: a message is one write, and a
received message reaches its listener in the call that reads it from the socket. Thousands of connections then cost
little more than their sockets. Does not know the meaning of messages, nor how a stream reaches its server.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, NegotiationError
from websockets.frames import CloseCode
from websockets.protocol import State
from websockets.uri import WebSocketURI, parse_uri

from .._text.redaction import Redactor, secrets_of
from ..errors import ASRError, ConfigurationError, ConnectionLostError, DeadlineError, RemoteProtocolError
from .os_errors import connect_error, tls_reason
from .refusal import MAX_REFUSAL_BYTES, Refusal, parse_refusal
from .stream import ByteStream
from .tunnel import Server, open_stream
from .ws_frames import FIN_AND_PONG, MessageReader, binary_frame, text_of

if TYPE_CHECKING:
    from websockets.frames import Close
    from websockets.typing import Subprotocol

    from .hosts import Destination, Message
    from .wire_log import ConnectionLog

__all__ = ["WebSocket", "WebSocketState"]

logger = logging.getLogger("asr_async")

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The vendor's error page (read 2026) advises clients to accept at least 16 MiB; the library's default is 1 MiB."""

MAX_UNREAD = 64
MAX_UNREAD_CHARS = 256 * 1024
"""The number and the size of unread messages from which on nothing more is read from the network. A listener takes each
message at once; they only wait on a connection that is not read."""

FEW_FRAMES = 64
SMALL_FRAME_BYTES = 64
"""More ws frames than these in one read, and smaller ones, are no results: a server that floods."""

LONG_S = 0.05
"""The messages of one read take less than this, unless a server floods."""

_FINAL_CLOSE_CODES = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
"""Codes by which the server says that this side's messages are at fault: the same again would end the same."""


class _QuietLogger(logging.LoggerAdapter[logging.Logger]):
    """The library's logger without DEBUG: there it prints the handshake's headers, key included, and the audio."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is the standard library's
        return level > logging.DEBUG and super().isEnabledFor(level)


_quiet_logger = _QuietLogger(logger)


class WebSocketState(enum.IntEnum):
    """The states of a connection, in their order: a connection never returns to an earlier one."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    """Nothing can be sent any more: a side has sent its closing message, broken the protocol or ended its bytes. The
    server has `close_s` to end the stream."""
    CLOSED = 3
    """The stream has ended."""
    TIMED_OUT = 4
    """The server gave no sign of life for `idle_s`, and the stream was dropped."""


_OPEN = WebSocketState.OPEN  # read for each message: one lookup instead of two


class WebSocket:
    """A connection that carries whole messages; made by `connect`."""

    __slots__ = (
        "_arrival",
        "_close_s",
        "_discards_messages",
        "_host",
        "_idle_s",
        "_listener",
        "_listening",
        "_log",
        "_loop",
        "_opening_bytes",
        "_pong",
        "_probe",
        "_protocol",
        "_reader",
        "_state",
        "_stream",
        "_timer",
        "_unread",
        "_unread_chars",
        "is_paused",
    )

    def __init__(
        self,
        uri: WebSocketURI,
        host: str,
        *,
        subprotocols: Sequence[str] = (),
        idle_s: float,
        close_s: float,
        log: ConnectionLog | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._idle_s = idle_s
        self._close_s = close_s
        # records everything that goes over the connection
        self._log = log
        offered = [cast("Subprotocol", name) for name in subprotocols]
        self._protocol = ClientProtocol(
            uri, subprotocols=offered or None, max_size=MAX_MESSAGE_BYTES, logger=_quiet_logger
        )
        self._stream = ByteStream(self)
        self._reader = MessageReader(self._protocol)
        self._state = WebSocketState.CONNECTING
        # the beginning of the server's response, until the handshake is complete
        self._opening_bytes: bytearray | None = bytearray()
        # the answer to the newest ping, while the network does not keep up with what is sent
        self._pong: bytes | None = None
        # the payload of the newest ping of `send_probe`; None before the first
        self._probe: bytes | None = None
        # complete messages that are not received yet, and their size
        self._unread: list[str | bytes] = []
        self._unread_chars = 0
        self.is_paused: bool = False
        """True between `pause_reading` and `resume_reading`."""
        # set by `close`: messages that still come are of no use
        self._discards_messages = False
        # receives each message at once, and the future on which `listen` waits for the end
        self._listener: Callable[[str | bytes], bool] | None = None
        self._listening: asyncio.Future[None] | None = None
        # pending while `receive` or the handshake waits for anything to come in
        self._arrival: asyncio.Future[None] | None = None
        # the next check for signs of life while open, the deadline of the end while closing
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<WebSocket {self._host} {self._state.name.lower()}>"

    @property
    def local_address(self) -> tuple[str, int] | None:
        """This end's host and port, which differ from connection to connection."""
        return self._stream.local_address

    # --- opening -----------------------------------------------------------------------------------------------------

    @classmethod
    async def connect(
        cls,
        endpoint: Destination,
        *,
        connect_s: float,
        idle_s: float,
        close_s: float,
        log: ConnectionLog | None = None,
    ) -> WebSocket:
        """Connect and complete the handshake.

        Args:
            endpoint: the destination.
            connect_s: the deadline of the whole.
            idle_s: how long the server may give no sign of life before the connection counts as lost.
            close_s: how long the server may take to close.
            log: records everything.

        Raises:
            ASRError: the error that the endpoint makes of an HTTP response.
            ConfigurationError: the URL, a header, the proxy or the TLS context cannot be used.
            ConnectionLostError: the server or the proxy cannot be reached.
            DeadlineError: not within `connect_s`.
            RemoteProtocolError: the server does not speak WebSocket, or chose a subprotocol that was not offered.
        """
        uri = _parse_url(endpoint.url)
        _check_headers(endpoint.headers)
        _check_subprotocols(endpoint.subprotocols)
        host = endpoint.host
        server = Server("wss" if uri.secure else "ws", uri.host, uri.port, host)
        with _mapped_errors(host, f"no connection to {host} within {connect_s:.3g} s (Timeouts.connect)"):
            self = cls(uri, host, subprotocols=endpoint.subprotocols, idle_s=idle_s, close_s=close_s, log=log)
            try:
                async with asyncio.timeout(connect_s):
                    user_agent = endpoint.headers.get("User-Agent")
                    await open_stream(self._stream, server, endpoint.network, user_agent=user_agent)
                    await self._shake_hands(endpoint.headers)
            except (EOFError, InvalidHandshake, TimeoutError) as error:
                self._drop()
                # no local variable in a traceback shows the response, which may hold what was sent
                if (refused := self._refused(endpoint, self._find_refusal(error))) is not None:
                    raise refused from None
                raise
            except BaseException:
                self._drop()
                raise
        self._opening_bytes = None
        if self.is_open:  # not closed again at once
            self._watch_idle()
        return self

    async def _shake_hands(self, headers: dict[str, str]) -> None:
        request = self._protocol.connect()
        if "Authorization" in headers and "Authorization" in request.headers:
            del request.headers["Authorization"]  # the URL's: a request with two credentials is ambiguous
        request.headers.update(headers)
        self._protocol.send_request(request)
        self._flush()
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            await self._wait_for_arrival()
        if self._stream.tls_failure is not None:
            raise self._stream.tls_failure
        if self._protocol.handshake_exc is not None:
            raise self._protocol.handshake_exc

    def _find_refusal(self, error: Exception) -> Refusal | None:
        """Return the response for which a handshake failed, also one that is malformed, cut off or never ends."""
        if isinstance(error, InvalidStatus):
            response = error.response
            return Refusal(response.status_code, dict(response.headers.raw_items()), bytes(response.body or b""))
        return parse_refusal(bytes(self._opening_bytes or b""))

    def _refused(self, endpoint: Destination, refusal: Refusal | None) -> ASRError | None:
        """Return the error for a response; None if there is none."""
        if refusal is None:
            return None
        body = Redactor(secrets_of(endpoint.url, endpoint.headers)).bytes(refusal.body)
        if self._log is not None:
            self._log.record_refusal(refusal.status, refusal.headers, body)
        error = endpoint.handshake_error(refusal.status, refusal.headers, body)
        error.status = refusal.status
        return error

    # --- sending -----------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """True if nothing is known that keeps a message from being sent."""
        return self._state is _OPEN

    def send(self, message: Message) -> bool:
        """Send one message at once.

        Returns:
            `is_writable`. A caller that sends much waits where it is False (`drain`).

        Raises:
            ConnectionLostError: the connection is lost.
            RemoteProtocolError: the server broke the WebSocket protocol.
        """
        if self._state is not _OPEN:
            raise self._end_error()
        if self._log is not None:
            self._log.record_sent(message)  # first: the answer must stand behind it
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
            self._flush()
        else:
            self._stream.write(binary_frame(message))
        return self._stream.is_writable

    @property
    def is_writable(self) -> bool:
        """True if the network keeps up with the messages that are sent."""
        return self._stream.is_writable

    def call_when_writable(self, callback: Callable[[], None]) -> None:
        """Call once when the network has caught up, or never will; at once if it has."""
        self._stream.call_when_writable(callback)

    async def drain(self) -> None:
        """Return when the network has caught up, or never will."""
        await self._stream.drain()

    def _flush(self) -> None:
        """Write the bytes that the protocol has to send; each item is one ws frame, or empty for the end."""
        pong = None
        for data in self._protocol.data_to_send():
            if self._stream.is_closing:
                return
            if not data:
                self._stream.write_eof()
            elif data[0] == FIN_AND_PONG:
                pong = data
            else:
                self._stream.write(data)
        if pong is not None:
            self._answer_ping(pong)

    def _answer_ping(self, pong: bytes) -> None:
        """Send a pong as soon as the network takes it.

        Only the newest ping has to be answered (RFC 6455, section 5.5.3), so one pong waits at most, whatever the
        server sends while it does not read.
        """
        is_waiting = self._pong is not None
        self._pong = pong
        if not is_waiting:
            self._stream.call_when_writable(self._send_pong)

    def _send_pong(self) -> None:
        pong, self._pong = self._pong, None
        if pong is not None and self._protocol.state is State.OPEN:  # nothing follows a closing message
            self._stream.write(pong)

    # --- receiving ---------------------------------------------------------------------------------------------------

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
            ConnectionLostError: the connection ended, in good order too, or gave no sign of life for `idle_s`.
            RemoteProtocolError: the server broke the WebSocket protocol, or sent more than `MAX_MESSAGE_BYTES`.
        """
        while not self._unread:
            if not self.is_open:
                raise self._end_error()
            await self._wait_for_arrival()
        return self._pop_unread()

    async def listen(self, on_message: Callable[[str | bytes], bool]) -> None:
        """Call `on_message` with each message in the call that receives it, until it returns True.

        Raises:
            ASRError: as `receive`.
            Exception: an exception of `on_message`.
        """
        while self._unread:
            if on_message(self._pop_unread()):
                return
        if not self.is_open:
            raise self._end_error()
        self._listener = on_message
        self._listening = self._loop.create_future()
        try:
            await self._listening
        finally:
            self._listener = self._listening = None
            self.resume_reading()

    def stop_listening(self, error: Exception | None = None) -> None:
        """End `listen` as if its callback had returned True, or raised this error; does nothing without a `listen`."""
        self._end_listening(error)

    def pause_reading(self) -> None:
        """Leave further messages in the network until `resume_reading`, or until `listen` returns.

        The messages of the present call still reach the listener. Pings are not answered meanwhile, and the connection
        does not count as idle.
        """
        self.is_paused = True
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        """Read again. Idempotent."""
        self.is_paused = False
        if not self._is_full:
            self._stream.resume_reading()

    async def _wait_for_arrival(self) -> None:
        """Return when anything has come in or the connection has ended; for one caller at a time."""
        self._arrival = self._loop.create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None

    def _pop_unread(self) -> str | bytes:
        message = self._unread.pop(0)
        self._unread_chars -= len(message)
        if not (self.is_paused or self._is_full):
            self._stream.resume_reading()
        return message

    @property
    def _is_full(self) -> bool:
        """True if no more messages may wait to be received."""
        return len(self._unread) >= MAX_UNREAD or self._unread_chars >= MAX_UNREAD_CHARS

    def data_received(self, data: memoryview) -> None:
        """Deliver the messages that the bytes complete; called by the stream."""
        text = text_of(data) if self._listener is not None and self._reader.is_between_messages else None
        if text is None:
            self._parse(bytes(data))
        else:
            self._deliver(text)

    def _parse(self, data: bytes) -> None:
        if self._opening_bytes is not None:
            self._opening_bytes += data[: MAX_REFUSAL_BYTES - len(self._opening_bytes)]
        messages = self._reader.receive(data)
        # tens of thousands of empty pings fit into one read, and take a third of a second
        self._stream.reads_little = self._reader.frame_count > max(FEW_FRAMES, len(data) // SMALL_FRAME_BYTES)
        self._flush()
        self._follow_protocol()
        for message in messages:
            self._deliver(message)
        # hundreds of results fit into one read too, and may take seconds where each is compared with others
        if self._loop.time() - self._stream.last_received_at > LONG_S:
            self._stream.reads_little = True
        if self._protocol.close_expected():
            self._flush()
            self._advance(WebSocketState.CLOSING)
        if self._is_full:
            self._stream.pause_reading()
        self._notify()

    def _deliver(self, message: str | bytes) -> None:
        if self._log is not None:
            self._log.record_received(message)
        if self._listener is None:
            if not self._discards_messages:
                self._unread.append(message)
                self._unread_chars += len(message)
            return
        try:
            if self._listener(message):
                self._end_listening(None)
        except Exception as error:  # noqa: BLE001 - raised by `listen`, not in the event loop
            self._end_listening(error)

    def _end_listening(self, error: Exception | None) -> None:
        self._listener = None
        listening = self._listening
        if listening is None or listening.done():
            return
        if error is None:
            listening.set_result(None)
        else:
            listening.set_exception(error)

    # --- state -------------------------------------------------------------------------------------------------------

    def _advance(self, state: WebSocketState) -> None:
        """Enter a state, unless the connection is in it or in a later one; each state has a timer of its own."""
        if state <= self._state:
            return
        self._state = state
        if state is not _OPEN:
            self._stop_timer()
        if state is WebSocketState.CLOSING:  # it is the server that ends the stream (RFC 6455, section 7.1.1)
            self._timer = self._loop.call_later(self._close_s, self._drop)

    def _follow_protocol(self) -> None:
        """Bring the state up to that of the library's protocol."""
        protocol_state = self._protocol.state
        if protocol_state is State.OPEN:
            self._advance(WebSocketState.OPEN)
        elif protocol_state is not State.CONNECTING:
            self._advance(WebSocketState.CLOSING)

    def _notify(self) -> None:
        """Let waiting callers see what has changed."""
        self._follow_protocol()
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
        if self._state is _OPEN:
            return
        self._stream.resume_writing()  # nothing more will be sent
        if self._listener is not None:
            self._end_listening(self._end_error())

    # --- signs of life -----------------------------------------------------------------------------------------------

    def send_probe(self) -> None:
        """Send a ping; its answer (`is_probe_answered`) proves that the server has received all messages before it.

        Raises:
            ASRError: as `send`.
        """
        if self._state is not _OPEN:
            raise self._end_error()
        self._probe = os.urandom(4)
        self._protocol.send_ping(self._probe)
        self._flush()

    @property
    def is_probe_answered(self) -> bool:
        """True if the pong of the newest probe has arrived, and with it all messages that were sent before it."""
        return self._probe is not None and self._reader.last_pong == self._probe

    async def probe(self) -> None:
        """Send a probe, and return when it is answered; messages that arrive before wait to be received.

        Raises:
            ASRError: as `receive`.
        """
        self.send_probe()
        while not self.is_probe_answered:
            if not self.is_open:
                raise self._end_error()
            await self._wait_for_arrival()

    def _watch_idle(self) -> None:
        self._stop_timer()
        last_at = self._stream.last_received_at
        self._timer = self._loop.call_at(last_at + self._idle_s / 2, self._check_idle, last_at)

    def _check_idle(self, last_at: float) -> None:
        """Send a ping if nothing was received for half of `idle_s`.

        A connection that is not read cannot show that its server lives.
        """
        stream = self._stream
        if not stream.is_reading:
            stream.last_received_at = self._loop.time()
        if stream.last_received_at != last_at:
            self._watch_idle()
            return
        # A server may answer only the newest of several pings (RFC 6455, section 5.5.3): it then answers the probe too.
        self._protocol.send_ping(self._probe or os.urandom(4))
        self._flush()
        # from now on, not from the last sign of life: after a sleep of the machine this call comes late
        self._timer = self._loop.call_later(self._idle_s / 2, self._check_pong, last_at)

    def _check_pong(self, last_at: float) -> None:
        """Drop the connection if nothing was received in the other half either."""
        if self._stream.last_received_at == last_at and self._stream.is_reading:
            self._advance(WebSocketState.TIMED_OUT)
            self._drop()
            self._notify()
        else:
            self._watch_idle()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- the end -----------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close in good order; bounded by `close_s`."""
        if self._log is not None:
            self._log.record_close(1000, "", by="client")
        # messages that still come have no reader, but the server's closing message is behind them
        self._discards_messages = True
        self._unread.clear()
        self._unread_chars = 0
        self.resume_reading()
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._flush()
            self._advance(WebSocketState.CLOSING)
        await self._stream.wait_closed()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._log is not None:
            self._log.record_close(1006, "", by="client")
        self._drop()

    def _drop(self) -> None:
        self._stop_timer()
        self._stream.abort()

    def eof_received(self) -> None:
        """Begin the end: no more bytes come; called by the stream."""
        self._protocol.receive_eof()
        self._flush()
        self._advance(WebSocketState.CLOSING)
        self._notify()

    def connection_lost(self) -> None:
        """End; called by the stream."""
        self._protocol.receive_eof()
        self._advance(WebSocketState.CLOSED)
        self._notify()

    def _end_error(self) -> ASRError:
        """Make the error for the end of the connection, and record the end."""
        close = self._protocol.close_rcvd
        if self._log is not None:
            code, reason = (1006, "") if close is None else (close.code, close.reason)
            self._log.record_close(code, reason, by="server")
        if self._state is WebSocketState.TIMED_OUT:
            text = f"lost the connection to {self._host}: no sign of life for {self._idle_s:g} s (Timeouts.idle)"
            return ConnectionLostError(text, retryable=True)
        failure = self._stream.tls_failure
        if close is None and failure is not None:
            text = f"lost the connection to {self._host}: TLS failed: {tls_reason(failure)}"
            return ConnectionLostError(text, retryable=True, code="1006")
        return _closed_error(close, self._protocol.close_sent, self._host)


# --- before and after ------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)  # thousands of connections go to the same few places
def _parse_url(url: str) -> WebSocketURI:
    """Parse the URL. No error shows it: it may hold a password."""
    try:
        uri = parse_uri(url)
        uri.host.encode("idna")  # as the system does later, with an error of its own
    except InvalidURI as error:
        raise ConfigurationError(f"not a WebSocket URL: {error.msg}") from None
    except ValueError:
        raise ConfigurationError("not a WebSocket URL: its host, port or credentials are malformed") from None
    return uri


def _check_headers(headers: dict[str, str]) -> None:
    """Refuse headers that break the request, such as a line end behind a key; the library would show the key."""
    for name, value in headers.items():
        if name.lower().startswith("sec-websocket-"):
            raise ConfigurationError(
                f"the header {name} belongs to the handshake: leave it out, and name subprotocols in "
                "Endpoint(subprotocols=...)"
            )
        if not (value.isascii() and value.isprintable()):
            raise ConfigurationError(
                f"the header {name} can only hold printable ASCII characters: look for a line end, a blank or a "
                "letter that is not ASCII in its source, such as the key"
            )


_SUBPROTOCOL = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""A token of HTTP."""


def _check_subprotocols(names: Sequence[str]) -> None:
    for name in names:
        if not _SUBPROTOCOL.fullmatch(name):
            raise ConfigurationError(f"not a WebSocket subprotocol: {name!r}; it is one word of ASCII characters")


@contextmanager
def _mapped_errors(host: str, deadline_text: str) -> Iterator[None]:
    """Turn the errors of `websockets`, TLS and the system into this library's while connecting."""
    try:
        yield
    except ASRError:
        raise
    except (EOFError, InvalidHandshake) as error:
        # with an EOFError as the cause the library reports an HTTP response that breaks off
        if isinstance(error, EOFError) or isinstance(error.__cause__, EOFError):
            text = f"lost the connection to {host}: it ended during the handshake"
            raise ConnectionLostError(text, retryable=True) from None
        if isinstance(error, NegotiationError) or getattr(error, "name", "") == "Sec-WebSocket-Protocol":
            text = f"{host} chose a WebSocket subprotocol that was not offered: {error}"
            raise RemoteProtocolError(text) from None
        raise RemoteProtocolError(f"{host} does not speak WebSocket: {error}") from None
    except TimeoutError:
        raise DeadlineError(deadline_text, retryable=True) from None
    except OSError as error:
        raise connect_error(host, error) from None


def _closed_error(received: Close | None, sent: Close | None, host: str) -> ASRError:
    if received is None and sent is not None and sent.code in _FINAL_CLOSE_CODES:
        # the library closed the connection because of a message that it received
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
