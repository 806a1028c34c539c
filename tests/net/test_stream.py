"""Byte streams over real sockets: connecting, TLS, flow control and the ends of a stream."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trustme

from asr_async._net.stream import MAX_UNSENT_BYTES, ByteStream

from ..support.certificates import server_ssl_context
from ..support.tcp_server import tcp_server
from ..support.virtual_time import run_virtual
from ..support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.both_loops

TCP_CLOSE = 7
"""The state of a TCP connection that the other side has reset (Linux, tcp(7))."""


class Recorder:
    """A handler that keeps everything it receives."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.events: list[str] = []
        self.ended = asyncio.Event()

    def data_received(self, data: memoryview) -> None:
        self.received += data

    def eof_received(self) -> None:
        self.events.append("eof")

    def connection_lost(self) -> None:
        self.events.append("lost")
        self.ended.set()


@asynccontextmanager
async def connected(
    behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[tuple[ByteStream, Recorder]]:
    """A stream to a server with this behaviour, and the recorder of what it receives."""
    recorder = Recorder()
    async with tcp_server(behave, grace_s=0.2) as port:
        stream = ByteStream(recorder)
        await stream.connect(host="127.0.0.1", port=port)
        try:
            yield stream, recorder
        finally:
            stream.abort()
            await stream.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


async def send_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def read_nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3_600)


# --- sending and receiving -------------------------------------------------------------------------------------------


async def test_bytes_go_both_ways_in_order() -> None:
    async with connected(echo) as (stream, recorder):
        for number in range(100):
            stream.write(b"%d," % number)
        expected = b"".join(b"%d," % number for number in range(100))
        await wait_until(lambda: len(recorder.received) == len(expected))
        assert recorder.received == expected


async def test_a_host_that_cannot_be_reached_raises_the_systems_error() -> None:
    async with tcp_server(echo) as port:
        pass
    stream = ByteStream(Recorder())
    with pytest.raises(OSError, match=r"Connection refused|Connect call failed"):
        await stream.connect(host="127.0.0.1", port=port)
    stream.abort()
    await stream.wait_closed()


async def test_the_time_of_the_last_received_bytes_is_kept() -> None:
    async with connected(echo) as (stream, recorder):
        before = asyncio.get_running_loop().time()
        stream.write(b"x")
        await wait_until(lambda: bool(recorder.received))
        assert before <= stream.last_received_at <= asyncio.get_running_loop().time()


async def test_streams_of_one_loop_share_their_read_buffer() -> None:
    async with connected(echo) as (first, _), connected(echo) as (second, _):
        assert first.get_buffer(-1) is second.get_buffer(-1)


async def test_a_repr_shows_the_state() -> None:
    stream = ByteStream(Recorder())
    assert repr(stream) == "<ByteStream not connected>"
    async with connected(echo) as (stream, _):
        assert repr(stream) == "<ByteStream open>"
        stream.abort()
        assert repr(stream) == "<ByteStream closing>"


# --- flow control ----------------------------------------------------------------------------------------------------


def test_a_server_is_held_back_while_reading_is_paused() -> None:
    sent = 0

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for _ in range(1_000):
            writer.write(bytes(60_000))
            await writer.drain()
            sent += 60_000

    async def scenario() -> None:
        async with connected(flood) as (stream, recorder):
            stream.pause_reading()
            stream.pause_reading()
            assert not stream.is_reading
            await asyncio.sleep(60)
            held_back, received = sent, len(recorder.received)
            await asyncio.sleep(60)
            assert sent == held_back < 60_000_000
            assert len(recorder.received) == received
            stream.resume_reading()
            assert stream.last_received_at == asyncio.get_running_loop().time()
            await wait_until(lambda: len(recorder.received) == 60_000_000)

    run_virtual(scenario)


async def test_a_stream_is_writable_again_when_the_server_has_read() -> None:
    go_on = asyncio.Event()

    async def read_later(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await reader.read(-1)

    called: list[str] = []
    async with connected(read_later) as (stream, _):
        assert stream.is_writable
        stream.call_when_writable(lambda: called.append("at once"))
        await stream.drain()
        assert called == ["at once"]
        stream.write(bytes(64 * 2**20))
        assert stream._writable is not None
        stream.call_when_writable(lambda: called.append("later"))
        draining = asyncio.create_task(stream.drain())
        await asyncio.sleep(0.01)
        assert called == ["at once"]
        assert not draining.done()
        go_on.set()
        await draining
        await wait_until(lambda: called == ["at once", "later"])


async def test_as_little_as_a_second_of_audio_waits_for_the_network_before_a_stream_is_not_writable() -> None:
    async with connected(read_nothing) as (stream, _):
        assert stream._transport is not None
        while stream.is_writable:
            stream.write(bytes(3_200))
            await asyncio.sleep(0)
        assert MAX_UNSENT_BYTES < stream._transport.get_write_buffer_size() <= MAX_UNSENT_BYTES + 3_200


@pytest.mark.parametrize("end", ["abort", "resume_writing"])
async def test_waiting_for_the_network_ends_when_it_never_will_catch_up(end: str) -> None:
    async with connected(read_nothing) as (stream, _):
        stream.write(bytes(64 * 2**20))
        draining = asyncio.create_task(stream.drain())
        await asyncio.sleep(0)
        getattr(stream, end)()
        async with asyncio.timeout(5):
            await draining


async def test_a_cancelled_wait_leaves_the_others_waiting() -> None:
    async with connected(read_nothing) as (stream, _):
        stream.write(bytes(64 * 2**20))
        first, second = asyncio.create_task(stream.drain()), asyncio.create_task(stream.drain())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        assert not second.done()
        stream.resume_writing()
        await second


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_the_end_of_the_servers_bytes_is_handled_before_the_end_of_the_stream() -> None:
    async def say_and_end(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"the end")
        await writer.drain()

    async with connected(say_and_end) as (stream, recorder):
        await recorder.ended.wait()
        assert recorder.received == b"the end"
        assert recorder.events == ["eof", "lost"]
        assert stream.is_closing


async def test_after_abort_the_stream_is_lost_once_and_bytes_are_dropped() -> None:
    async with connected(echo) as (stream, recorder):
        assert stream.local_address is not None
        stream.abort()
        stream.abort()
        await stream.wait_closed()
        assert recorder.events == ["lost"]
        stream.write(b"too late")
        stream.write_eof()
        stream.pause_reading()
        stream.resume_reading()
        await stream.wait_closed()
        assert stream.local_address is None


async def test_the_own_bytes_can_end_although_the_server_has_reset_the_connection() -> None:
    async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger_s = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_s)
        writer.transport.abort()

    async with connected(reset) as (stream, _recorder):
        stream.pause_reading()  # the stream does not learn of the reset
        assert stream._transport is not None
        tcp_socket = stream._transport.get_extra_info("socket")
        await wait_until(lambda: tcp_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE)
        stream.write_eof()


async def test_after_the_end_of_its_own_bytes_a_stream_still_receives() -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read(-1))
        await writer.drain()

    async with connected(answer_at_the_end) as (stream, recorder):
        stream.write(b"everything")
        stream.write_eof()
        await recorder.ended.wait()
        assert recorder.received == b"got everything"


async def test_nothing_is_sent_behind_a_failure_before_the_event_loop_has_reported_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = ByteStream(Recorder())
        await stream.connect(host="127.0.0.1", port=server.getsockname()[1])
        server_socket, _ = server.accept()
        server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server_socket.close()  # resets the connection
        for _ in range(20):
            stream.write(b"x")
        await stream.wait_closed()
    assert not [record for record in caplog.records if "socket.send()" in record.message]


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def over_tls(
    context: ssl.SSLContext, behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """The behaviour of a server that begins with TLS."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await writer.start_tls(context)
        await behave(reader, writer)

    return accept


async def test_everything_is_encrypted_from_start_tls_on(authority: trustme.CA) -> None:
    context = server_ssl_context(authority)
    async with connected(over_tls(context, echo)) as (stream, recorder):
        await stream.start_tls(client_context(authority), "127.0.0.1")
        assert repr(stream) == "<ByteStream open TLS>"
        message = bytes(range(256)) * 4_096
        stream.write(message)
        await wait_until(lambda: len(recorder.received) == len(message))
        assert recorder.received == message
        assert stream.tls_failure is None


async def test_a_server_that_is_not_trusted_receives_nothing(authority: trustme.CA) -> None:
    received = bytearray()

    async def listen(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read(-1))

    async with connected(over_tls(server_ssl_context(trustme.CA()), listen)) as (stream, _):
        with pytest.raises(ssl.SSLCertVerificationError):
            await stream.start_tls(client_context(authority), "127.0.0.1")
        assert isinstance(stream.tls_failure, ssl.SSLCertVerificationError)
        stream.write(b"secret")
    assert not received


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
async def test_a_handshake_of_tls_that_breaks_off_is_the_end_of_the_stream(
    authority: trustme.CA, is_reset: bool
) -> None:
    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)  # unread bytes turn the end into a reset
        if is_reset:
            writer.transport.abort()
        else:
            await reader.read(65_536)

    async with connected(end) as (stream, recorder):
        with pytest.raises(EOFError):
            await stream.start_tls(client_context(authority), "127.0.0.1")
        await recorder.ended.wait()


async def test_tls_cannot_begin_on_a_stream_that_has_ended(authority: trustme.CA) -> None:
    async with connected(echo) as (stream, _):
        stream.abort()
        await stream.wait_closed()
        with pytest.raises(EOFError):
            await stream.start_tls(client_context(authority), "127.0.0.1")


async def test_the_closing_message_of_tls_is_the_end_of_the_servers_bytes(authority: trustme.CA) -> None:
    async def say_and_close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"the end")

    async with connected(over_tls(server_ssl_context(authority), say_and_close)) as (stream, recorder):
        await stream.start_tls(client_context(authority), "127.0.0.1")
        await recorder.ended.wait()
        assert recorder.received == b"the end"
        assert recorder.events[0] == "eof"
        assert stream.tls_failure is None


async def test_the_end_of_the_own_bytes_is_the_closing_message_of_tls(authority: trustme.CA) -> None:
    ended = asyncio.Event()

    async def wait_for_end(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        assert await reader.read(-1) == b"everything"
        ended.set()

    async with connected(over_tls(server_ssl_context(authority), wait_for_end)) as (stream, _):
        await stream.start_tls(client_context(authority), "127.0.0.1")
        stream.write(b"everything")
        stream.write_eof()
        await ended.wait()
