"""The wire to one client, with what may be wrong with it: delayed, slow, cut, or open and dead.

Knows no protocol, and does not decide what goes wrong when.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import NoReturn

__all__ = ["CLOSE_TIMEOUT_S", "HALF_OPEN_S", "ClientConnection", "pause"]

CLOSE_TIMEOUT_S = 1.0
"""How long a client has for its side of the closing handshake, and for taking what is still on its way to it."""

HALF_OPEN_S = 600.0
"""How long a dead connection is kept: every client has given up by then, and sockets are not without number."""

MAX_LATE = 1_000
"""So many delayed messages are on their way at most; the next waits for room."""

SLOW_BUFFER_BYTES = 4_096
"""What the system is to keep for a slow reader, so that the client feels it soon."""

_logger = logging.getLogger("asr_async")


class ClientConnection:
    """A WebSocket and the TCP connection under it."""

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self._ws = ws
        self._transport = transport
        self._delay_s = 0.0
        self._late: deque[tuple[float, bytes, WSMsgType]] = deque()
        """Messages on their long way, and when they arrive."""
        self._late_room = asyncio.Semaphore(MAX_LATE)
        self._late_came = asyncio.Event()
        self._bytes_per_second: float | None = None
        """None reads as fast as it can."""

    def __repr__(self) -> str:
        state = "closing" if self._transport.is_closing() else "open"
        return f"<ClientConnection {state}, {len(self._late)} messages on a long way>"

    # --- messages ----------------------------------------------------------------------------------------------------

    async def receive(self) -> Any:
        """Wait for a message; pings are answered on the way."""
        return await self._ws.receive()

    async def read_through(self, message: Any) -> None:
        """Take the time that a slow reader needs for the message."""
        if self._bytes_per_second is not None and message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
            await asyncio.sleep(len(message.data) / self._bytes_per_second)

    async def send(self, data: bytes, kind: WSMsgType = WSMsgType.TEXT) -> None:
        """Hand a message to the socket, which takes it only as fast as the client reads, or put it on its long way.

        That the client is gone is for the reader to find: whoever sends may be a task of the engine.
        """
        if not self.is_delayed:
            await self._write(data, kind)
            return
        await self._late_room.acquire()
        self._late.append((_now() + self._delay_s, data, kind))
        self._late_came.set()

    async def _write(self, data: bytes, kind: WSMsgType) -> None:
        with suppress(ConnectionError):
            await self._ws.send_frame(data, kind)

    async def carry(self) -> NoReturn:
        """Let delayed messages arrive, as long as the connection lives."""
        while True:
            self._late_came.clear()
            await self._carry_all()
            await self._late_came.wait()

    async def _carry_all(self) -> None:
        while self._late:
            # What interrupts the waiting leaves the message for the parting.
            await asyncio.sleep(self._late[0][0] - _now())
            _, data, kind = self._late.popleft()
            self._late_room.release()
            await self._write(data, kind)

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    @property
    def is_delayed(self) -> bool:
        """Whether messages are late."""
        return self._delay_s > 0

    def delay(self, delay_s: float) -> None:
        """Let all messages from now on arrive so much later; somebody has to `carry` them."""
        self._delay_s = delay_s

    def slow_down(self, bytes_per_second: float) -> None:
        """Read no faster than this from now on."""
        self._bytes_per_second = bytes_per_second
        self._system_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)

    def cut(self) -> None:
        """Break the connection off: a reset, what is still on its way is lost."""
        if not self._transport.is_closing():
            self._system_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def play_dead(self, leaving: asyncio.Event) -> None:
        """Neither read nor write, for a long time or until `leaving`."""
        if not self._transport.is_closing():
            self._transport.pause_reading()
        await pause(HALF_OPEN_S, leaving)
        self.cut()

    @property
    def _system_socket(self) -> socket.socket:
        system_socket: socket.socket = self._transport.get_extra_info("socket")
        return system_socket

    # --- the end -----------------------------------------------------------------------------------------------------

    async def part(self, code: int, reason: str, say_why: Callable[[], Awaitable[None]] | None = None) -> None:
        """Say why, and close behind what was said; a client that takes no part in it loses the connection."""
        is_closed = False
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S + self._delay_s):
                if say_why is not None:
                    await say_why()
                await self._carry_all()
                await self._ws.close(code=code, message=reason.encode())
            is_closed = self._ws.close_code != WSCloseCode.ABNORMAL_CLOSURE
        except TimeoutError:
            _logger.debug("emulator: %r: the client does not read", self)
        finally:
            if not is_closed:
                # What is buffered for the client would keep the socket open.
                self._transport.abort()


async def pause(seconds: float, leaving: asyncio.Event) -> None:
    """Wait so long, but not beyond `leaving`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await leaving.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
