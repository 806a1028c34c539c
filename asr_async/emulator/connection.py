"""The WebSocket connection to one client, with injectable transport faults: delayed, slow, reset, or half open.

Knows no protocol, and does not decide which fault is injected when.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import WSCloseCode, WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import NoReturn

__all__ = ["CLOSE_TIMEOUT_S", "HALF_OPEN_S", "MAX_REASON_BYTES", "ClientConnection", "wait_for_shutdown"]

CLOSE_TIMEOUT_S = 1.0
"""The time a client has to complete the closing handshake and to read the messages that were sent before it."""

MAX_REASON_BYTES = 123
"""The longest reason that fits into a close frame (RFC 6455, 5.5); what is longer is cut off."""

HALF_OPEN_S = 600.0
"""The lifetime of a half-open connection: every client has given up by then, and the number of sockets is limited."""

MAX_DELAYED_MESSAGES = 1_000
"""The most messages that are delayed at one time; sending the next one waits until one has been delivered."""

SLOW_RECEIVE_BUFFER_BYTES = 4_096
"""The receive buffer of a slow reader's socket: small, so that the client notices backpressure soon."""

PONG_TIMEOUT_S = 1.0
"""A client that does not answer a ping is taken to have read it after this time: few clients answer none."""

LONG_ROUND_TRIP_S = 0.5
"""After this time, one more round trip shows nothing: what a client sends without waiting is on its way by then."""

_logger = logging.getLogger("asr_async")


class _Ping(NamedTuple):
    """A ping that the client has not answered."""

    number: int
    on_read: Callable[[], None]
    timer: asyncio.TimerHandle
    """Answers in place of a client that does not."""


class ClientConnection:
    """A WebSocket and the TCP connection that carries it."""

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self._ws = ws
        self._transport = transport
        self._delay_s = 0.0
        self._delayed: deque[tuple[float, bytes, WSMsgType]] = deque()
        """Messages that wait for their delay, each with the time at which it is due."""
        self._delayed_slots = asyncio.Semaphore(MAX_DELAYED_MESSAGES)
        self._message_delayed = asyncio.Event()
        self._pings = 0
        """The number of pings sent, which is also the content of the last one."""
        self._unanswered: deque[_Ping] = deque()
        self._bytes_per_second: float | None = None
        """The rate limit of reading; None means no limit."""

    def __repr__(self) -> str:
        state = "closing" if self._transport.is_closing() else "open"
        return f"<ClientConnection {state}, {len(self._delayed)} messages delayed>"

    # --- messages -----------------------------------------------------------------------------------------------------

    async def receive(self) -> Any:
        """Wait for the next message; pings are answered, and pongs processed, meanwhile."""
        while True:
            message = await self._ws.receive()
            if message.type is WSMsgType.PING:
                await self._write(message.data, WSMsgType.PONG)
            elif message.type is WSMsgType.PONG:
                self._on_pong(message.data)
            else:
                return message

    async def throttle(self, message: Any) -> None:
        """Wait as long as a slow reader needs for this message; return at once if reading is not slowed down."""
        if self._bytes_per_second is not None and message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
            await asyncio.sleep(len(message.data) / self._bytes_per_second)

    async def send(self, data: bytes, kind: WSMsgType = WSMsgType.TEXT) -> None:
        """Write a message to the socket, or queue it if messages are delayed.

        Writing waits for a client that reads slowly. A lost connection raises nothing here: the reader detects it,
        and the sender may be a task of the engine.
        """
        if not self.is_delayed:
            await self._write(data, kind)
            return
        await self._delayed_slots.acquire()
        self._delayed.append((_now() + self._delay_s, data, kind))
        self._message_delayed.set()

    async def _write(self, data: bytes, kind: WSMsgType) -> None:
        with suppress(ConnectionError):
            await self._ws.send_frame(data, kind)

    async def ping(self, on_read: Callable[[], None]) -> None:
        """Send a ping; call `on_read` when the client has read all that was sent before it.

        The pong tells so: a client answers a ping before it reads on. Messages that the client had sent by then are
        returned by `receive` before the call, all others after it.
        """
        self._pings += 1
        content = str(self._pings).encode()
        timeout_s = PONG_TIMEOUT_S + self._delay_s
        timer = asyncio.get_running_loop().call_later(timeout_s, self._on_pong, content)
        self._unanswered.append(_Ping(self._pings, on_read, timer))
        await self.send(content, WSMsgType.PING)

    def _on_pong(self, content: bytes) -> None:
        number = int(content) if content.isdigit() else 0  # a client may send pongs of its own
        # a client need not answer more than the newest ping (RFC 6455, section 5.5.3)
        while self._unanswered and self._unanswered[0].number <= number:
            ping = self._unanswered.popleft()
            ping.timer.cancel()
            ping.on_read()

    async def wait_round_trips(self, count: int) -> None:
        """Wait until the client has answered so many pings, one after another; not if messages are delayed.

        A client that is far away, or that answers none, is waited for once: it had `LONG_ROUND_TRIP_S` and more.
        """
        began_at = _now()
        for _ in range(0 if self.is_delayed else count):
            is_answered = asyncio.Event()
            await self.ping(is_answered.set)
            await is_answered.wait()
            if _now() - began_at >= LONG_ROUND_TRIP_S:
                return

    async def deliver_delayed(self) -> NoReturn:
        """Write each delayed message when it is due, for as long as the connection lives."""
        while True:
            self._message_delayed.clear()
            await self._flush_delayed()
            await self._message_delayed.wait()

    async def _flush_delayed(self) -> None:
        while self._delayed:
            # A cancellation of this wait leaves the message in the queue: `close` sends it.
            await asyncio.sleep(self._delayed[0][0] - _now())
            _, data, kind = self._delayed.popleft()
            self._delayed_slots.release()
            await self._write(data, kind)

    # --- faults -------------------------------------------------------------------------------------------------------

    @property
    def is_delayed(self) -> bool:
        """True if messages to the client are delayed."""
        return self._delay_s > 0

    def delay(self, delay_s: float) -> None:
        """Delay all messages from now on by this much; a task must run `deliver_delayed`."""
        self._delay_s = delay_s

    def slow_down(self, bytes_per_second: float) -> None:
        """Read no faster than this from now on."""
        self._bytes_per_second = bytes_per_second
        self._system_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_RECEIVE_BUFFER_BYTES)

    def cut(self) -> None:
        """Reset the TCP connection; data that is still buffered is lost."""
        if not self._transport.is_closing():
            self._system_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def hold_half_open(self, shutdown: asyncio.Event) -> None:
        """Neither read nor write for `HALF_OPEN_S`, or until `shutdown` is set; then reset the connection."""
        if not self._transport.is_closing():
            self._transport.pause_reading()
        await wait_for_shutdown(HALF_OPEN_S, shutdown)
        self.cut()

    @property
    def _system_socket(self) -> socket.socket:
        system_socket: socket.socket = self._transport.get_extra_info("socket")
        return system_socket

    # --- the end ------------------------------------------------------------------------------------------------------

    async def close(self, code: int, reason: str, send_reason: Callable[[], Awaitable[None]] | None = None) -> None:
        """Send the reason, then all delayed messages, then the close frame.

        A client that does not complete the closing handshake within `CLOSE_TIMEOUT_S` loses the connection.
        """
        is_closed = False
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S + self._delay_s):
                if send_reason is not None:
                    await send_reason()
                await self._flush_delayed()
                await self._ws.close(code=code, message=_fitting(reason))
            is_closed = self._ws.close_code != WSCloseCode.ABNORMAL_CLOSURE
        except TimeoutError:
            _logger.debug("emulator: %r: the client does not read", self)
        finally:
            if not is_closed:
                # Data buffered for the client would keep the socket open.
                self._transport.abort()


def _fitting(reason: str) -> bytes:
    """Return the part of the reason that fits into a close frame."""
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()


async def wait_for_shutdown(timeout_s: float, shutdown: asyncio.Event) -> None:
    """Wait until `shutdown` is set, but no longer than the timeout."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await shutdown.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
