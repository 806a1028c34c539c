"""A stream of bytes to a server: TCP, TLS on it, flow control. Does not know WebSocket, HTTP or proxies.

Thousands of streams cost little more than their sockets: received bytes go to the handler in the call that reads them
from the socket, bytes to send go to the socket in the call of `write`, and nothing is buffered in between.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

from .tls import TlsConnection, TlsState

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

__all__ = ["MAX_UNSENT_BYTES", "READ_BYTES", "ByteStream", "StreamHandler"]

MAX_UNSENT_BYTES = 32 * 1024
"""The bytes that may wait for the network before the stream is no longer writable: a second of audio."""

READ_BYTES = 64 * 1024
"""The most that is read at once: a dozen results, or four records of TLS."""

LITTLE_BYTES = 2 * 1024
"""The most that is read at once where that takes long to handle: the loop has other streams."""


class StreamHandler(Protocol):
    """The receiving side of a stream; its methods are called by the event loop and must not block."""

    def data_received(self, data: memoryview) -> None:
        """Handle received bytes, decrypted where there is TLS. The view is only valid during the call."""
        ...

    def eof_received(self) -> None:
        """Handle the end of the received bytes; the stream then closes as soon as everything is sent."""
        ...

    def connection_lost(self) -> None:
        """Handle the end of the stream; called once, after everything else."""
        ...


class ByteStream(asyncio.BufferedProtocol):
    """One stream of bytes; `connect` opens it, `start_tls` puts TLS on it."""

    __slots__ = (
        "_buffer",
        "_closed",
        "_handshake",
        "_loop",
        "_tls",
        "_transport",
        "_writable",
        "handler",
        "is_reading",
        "is_writable",
        "last_received_at",
        "reads_little",
    )

    def __init__(self, handler: StreamHandler) -> None:
        self._loop = asyncio.get_running_loop()
        # shared with the loop's other streams: received bytes are only there during a call
        self._buffer = _read_buffer(self._loop)
        # None before `connect` and after the end
        self._transport: asyncio.Transport | None = None
        # None for bytes that are not encrypted
        self._tls: TlsConnection | None = None
        # pending while TLS begins, while the network does not keep up, while `wait_closed` waits
        self._handshake: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        self.handler: StreamHandler = handler
        self.is_writable: bool = True
        """True if the network keeps up with the bytes that are sent. Read for each message."""
        self.is_reading: bool = True
        """False while received bytes stay in the network, since `pause_reading`."""
        self.reads_little: bool = False
        """True if only `LITTLE_BYTES` are to be read at once."""
        self.last_received_at: float = 0.0
        """The loop's time when bytes were last received, or reading was resumed."""

    def __repr__(self) -> str:
        state = "not connected" if self._transport is None else "closing" if self.is_closing else "open"
        return f"<ByteStream {state}{' TLS' if self._tls is not None else ''}>"

    # --- opening -----------------------------------------------------------------------------------------------------

    async def connect(self, **address: Any) -> None:
        """Connect to an address, which is given as to `loop.create_connection`.

        Raises:
            OSError: the address cannot be reached.
        """
        await self._loop.create_connection(lambda: self, **address)

    async def start_tls(self, context: ssl.SSLContext, hostname: str) -> None:
        """Encrypt everything from here on; return when the server has proved that it is `hostname`.

        Raises:
            EOFError: the stream ended.
            ssl.SSLError: the server is not trusted, or does not speak TLS.
        """
        if self._transport is None:
            raise EOFError
        self._tls = TlsConnection(context, hostname)
        self._handshake = self._loop.create_future()
        self._flush_tls()
        try:
            await self._handshake
        finally:
            self._handshake = None

    # --- sending -----------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes; after the end of the stream they are dropped, also before the event loop has reported the end."""
        transport, tls = self._transport, self._tls
        if transport is None or transport.is_closing():
            return
        if tls is None:
            transport.write(data)
        else:
            tls.encrypt(data)
            transport.write(tls.data_to_send())

    def write_eof(self) -> None:
        """End the bytes to send, where the stream can end in one direction."""
        if self._tls is not None:
            if self._tls.state is not TlsState.HANDSHAKE:
                self._tls.close()
            self._flush_tls()
        elif self._transport is not None and self._transport.can_write_eof():
            with suppress(OSError):  # a socket that the other side has reset cannot be ended
                self._transport.write_eof()

    @property
    def is_closing(self) -> bool:
        """True if nothing can be sent any more."""
        return self._transport is None or self._transport.is_closing()

    def call_when_writable(self, callback: Callable[[], None]) -> None:
        """Call once when the network has caught up, or never will; at once if it has."""
        if self._writable is None:
            callback()
        else:
            self._writable.add_done_callback(lambda _writable: callback())

    async def drain(self) -> None:
        """Return when the network has caught up, or never will."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def _flush_tls(self) -> None:
        """Send the messages of TLS itself: the handshake, the answer to a new key, the end."""
        if self._tls is not None and not self.is_closing and (data := self._tls.data_to_send()):
            assert self._transport is not None  # noqa: S101 - it is not closing
            self._transport.write(data)

    # --- receiving ---------------------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Leave received bytes in the network, which holds the server back in the end."""
        if self.is_reading and self._transport is not None:
            self.is_reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        if self.is_reading:
            return
        self.is_reading = True
        self.last_received_at = self._loop.time()
        if self._transport is not None:
            self._transport.resume_reading()

    # --- the end -----------------------------------------------------------------------------------------------------

    @property
    def tls_failure(self) -> ssl.SSLError | None:
        """The reason why TLS failed, if it did."""
        return None if self._tls is None else self._tls.failure

    @property
    def local_address(self) -> tuple[str, int] | None:
        """This end's host and port, which differ from connection to connection."""
        return None if self._transport is None else self._transport.get_extra_info("sockname")[:2]

    def abort(self) -> None:
        """Close at once; bytes that are not sent yet are lost."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Return when the stream has ended."""
        if self._transport is None:
            return
        if self._closed is None:
            self._closed = self._loop.create_future()
        await asyncio.shield(self._closed)

    # --- calls of the event loop -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the size is this module's choice
        """Return the buffer for the next bytes."""
        return self._buffer[:LITTLE_BYTES] if self.reads_little else self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand the received bytes to the handler."""
        self.last_received_at = self._loop.time()
        if self._tls is None:
            self.handler.data_received(self._buffer[:nbytes])
        else:
            self._receive_encrypted(self._tls, bytes(self._buffer[:nbytes]))

    def _receive_encrypted(self, tls: TlsConnection, encrypted: bytes) -> None:
        data = tls.receive(encrypted)
        if self._handshake is not None:
            self._continue_handshake(tls, self._handshake)
        if data:
            self.handler.data_received(memoryview(data))
        else:
            self._flush_tls()
        # the end of TLS is the end, whether the server's closing message or a failure: the end of TCP adds nothing
        if tls.state is TlsState.CLOSED:
            self.eof_received()
            if self._transport is not None:
                self._transport.close()

    def _continue_handshake(self, tls: TlsConnection, handshake: asyncio.Future[None]) -> None:
        self._flush_tls()
        if handshake.done() or tls.state is TlsState.HANDSHAKE:
            return
        if tls.failure is None:
            handshake.set_result(None)
        else:
            handshake.set_exception(tls.failure)

    def eof_received(self) -> None:
        """End the received bytes; asyncio then closes the transport."""
        self._end_handshake()
        self.handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - an end is an end
        """End the stream."""
        self._transport = None
        self._end_handshake()
        self.resume_writing()
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        self.handler.connection_lost()

    def _end_handshake(self) -> None:
        if self._handshake is not None and not self._handshake.done():
            self._handshake.set_exception(EOFError())

    def pause_writing(self) -> None:
        """Begin backpressure: the network does not keep up."""
        self.is_writable = False
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """End backpressure: the network has caught up, or nothing more will be sent."""
        self.is_writable = True
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)


_read_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = weakref.WeakKeyDictionary()


def _read_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """Return the buffer that all streams of a loop read into; each one is done with it before the next one reads.

    Without it asyncio takes 256 KiB from the system for each read, and gives it back. The loops of Windows read in the
    background, so there each stream needs its own.
    """
    if sys.platform == "win32":
        return memoryview(bytearray(READ_BYTES))
    buffer = _read_buffers.get(loop)
    if buffer is None:
        buffer = _read_buffers[loop] = memoryview(bytearray(READ_BYTES))
    return buffer
