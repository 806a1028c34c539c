"""WebSocket connections: messages in all fragments and segments, signs of life, the handshake, the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from asr_async import ASRError, ConfigurationError, ConnectionLostError, Paraformer, RemoteProtocolError, VendorError
from asr_async._net.stream import LITTLE_BYTES
from asr_async._net.websocket import MAX_UNREAD, MAX_UNREAD_CHARS, WebSocket
from asr_async.vendors.service import Endpoint

from ..support.scripted_server import scripted_server
from ..support.tcp_proxy import NetworkPath, TcpProxy
from ..support.tcp_server import tcp_server
from ..support.virtual_time import VirtualLoop, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request

pytestmark = pytest.mark.both_loops

TEXT, BINARY, CONT, CLOSE, PING = Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.CLOSE, Opcode.PING
CLOSE_S = 2.0


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


def refused(status: int, _headers: Mapping[str, str], body: bytes) -> ASRError:
    return VendorError(body.decode(), code=str(status))


async def connect(url: str, *, headers: dict[str, str] | None = None, idle_s: float = 20.0) -> WebSocket:
    endpoint = Endpoint(url=url, headers=headers or {}, handshake_error=refused)
    return await WebSocket.connect(endpoint, connect_s=5, idle_s=idle_s, close_s=CLOSE_S)


@asynccontextmanager
async def connected(
    behaviour: Callable[[ServerConnection], Awaitable[None]], *, idle_s: float = 20.0, **options: Any
) -> AsyncIterator[WebSocket]:
    """A connection to a server with this behaviour."""
    async with scripted_server(behaviour, ping_interval=None, **options) as service:
        websocket = await connect((await service.resolve(Paraformer())).url, idle_s=idle_s)
        try:
            yield websocket
        finally:
            await websocket.close()


def sending(*pieces: bytes) -> Callable[[ServerConnection], Awaitable[None]]:
    """A server that sends these pieces, each with one write, and waits for the end."""

    async def behave(connection: ServerConnection) -> None:
        for piece in pieces:
            connection.transport.write(piece)
            await asyncio.sleep(0)
        await connection.wait_closed()

    return behave


async def receive_all(websocket: WebSocket) -> tuple[list[str | bytes], ASRError]:
    """Receive all messages, and the error that ends them."""
    messages: list[str | bytes] = []
    try:
        while True:
            messages.append(await websocket.receive())
    except ASRError as error:
        assert "\n" not in str(error)
        return messages, error


# --- messages --------------------------------------------------------------------------------------------------------

CLOSE_FRAME = frame(CLOSE, Close(CloseCode.NORMAL_CLOSURE, "").serialize())


@pytest.mark.parametrize(
    ("frames", "messages"),
    [
        ([frame(TEXT, b"a whole one"), frame(BINARY, b"\0\1")], ["a whole one", b"\0\1"]),
        (
            [frame(TEXT, b"in ", fin=False), frame(CONT, b"three ", fin=False), frame(CONT, b"pieces")],
            ["in three pieces"],
        ),
        ([frame(BINARY, b"\xff", fin=False), frame(CONT, b"\xfe")], [b"\xff\xfe"]),
        ([frame(TEXT, "你".encode()[:1], fin=False), frame(CONT, "你好".encode()[1:])], ["你好"]),
        ([frame(TEXT, b"", fin=False), frame(CONT, b"late")], ["late"]),
        ([frame(TEXT, b"early", fin=False), frame(CONT, b"")], ["early"]),
        ([frame(TEXT, b""), frame(BINARY, b"")], ["", b""]),
        ([frame(TEXT, b"a", fin=False), frame(PING, b"?"), frame(CONT, b"b"), frame(BINARY, b"c")], ["ab", b"c"]),
    ],
)
@pytest.mark.parametrize("is_one_segment", [True, False], ids=["one-segment", "frame-by-frame"])
async def test_messages_are_whole_in_all_fragments_and_segments(
    frames: list[bytes], messages: list[str | bytes], is_one_segment: bool
) -> None:
    pieces = [b"".join([*frames, CLOSE_FRAME])] if is_one_segment else [*frames, CLOSE_FRAME]
    async with connected(sending(*pieces)) as websocket:
        assert (await receive_all(websocket))[0] == messages


async def test_a_message_of_very_many_fragments_is_whole() -> None:
    pieces = frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False) * 100_000 + frame(CONT, b"end")
    async with connected(sending(pieces)) as websocket:
        assert await websocket.receive() == "end"


def test_messages_are_whole_when_their_bytes_arrive_one_by_one() -> None:
    async def scenario() -> None:
        sent = b"".join(
            [frame(TEXT, b"one", fin=False), frame(PING, b"?"), frame(CONT, b"!"), frame(BINARY, bytes(200))]
        )
        async with scripted_server(sending(sent)) as service:
            port = int((await service.resolve(Paraformer())).host.rpartition(":")[2])
            async with TcpProxy(port, [NetworkPath(piece_bytes=1)]).serving() as proxy:
                websocket = await connect(f"ws://127.0.0.1:{proxy.port}/")
                assert await websocket.receive() == "one!"
                assert await websocket.receive() == bytes(200)
                await websocket.close()

    run_virtual(scenario)


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ([frame(TEXT, b"\xff\xfe")], "broke the WebSocket protocol: invalid start byte at position 0 (code 1007)"),
        ([frame(TEXT, b"a", fin=False), frame(CONT, b"\xc3")], "unexpected end of data at position 1 (code 1007)"),
        ([frame(CONT, b"of what?")], "unexpected continuation frame (code 1002)"),
        ([frame(TEXT, b"a", fin=False), frame(TEXT, b"b")], "expected a continuation frame (code 1002)"),
        ([b"\x81\x80\0\0\0\0"], "incorrect masking (code 1002)"),
        ([b"\xc1\x00"], "reserved bits must be 0 (code 1002)"),
        ([b"\x83\x00"], "invalid opcode (code 1002)"),
        ([b"\x89\x7e\x00\x80" + bytes(128)], "control frame too long (code 1002)"),
        ([b"\x81\x7f" + (17 * 2**20).to_bytes(8, "big")], "a message of more than 16 MiB (code 1009)"),
        (
            [frame(BINARY, bytes(9 * 2**20), fin=False), frame(CONT, bytes(9 * 2**20))],
            "a message of more than 16 MiB (code 1009)",
        ),
    ],
)
async def test_a_server_that_breaks_the_protocol_receives_the_reason_and_the_rest_is_ignored(
    frames: list[bytes], text: str
) -> None:
    reason: asyncio.Future[Close | None] = asyncio.get_running_loop().create_future()

    async def behave(connection: ServerConnection) -> None:
        connection.transport.write(b"".join([frame(TEXT, b"first"), *frames, frame(TEXT, b"ignored")]))
        await connection.wait_closed()
        reason.set_result(connection.protocol.close_rcvd)

    async with connected(behave) as websocket:
        messages, error = await receive_all(websocket)
        close = await reason
    assert messages == ["first"]
    assert isinstance(error, RemoteProtocolError)
    assert text in str(error)
    assert close is not None
    assert error.code == str(int(close.code))


async def test_a_close_in_the_middle_of_a_message_ends_the_connection() -> None:
    close = frame(CLOSE, Close(CloseCode.GOING_AWAY, "restart").serialize())
    async with connected(sending(frame(TEXT, b"never whole", fin=False) + close)) as websocket:
        messages, error = await receive_all(websocket)
    assert messages == []
    assert isinstance(error, ConnectionLostError)
    assert str(error).endswith("before the end of the transcript: restart (code 1001)")


async def test_messages_before_the_end_are_received_first() -> None:
    async with connected(sending(b"".join(frame(TEXT, b"%d" % n) for n in range(200)) + CLOSE_FRAME)) as websocket:
        messages, _ = await receive_all(websocket)
    assert messages == [str(number) for number in range(200)]


async def test_a_ping_is_answered() -> None:
    answered = asyncio.Event()

    async def behave(connection: ServerConnection) -> None:
        await (await connection.ping(b"are you there?"))
        answered.set()
        await connection.wait_closed()

    async with connected(behave):
        await answered.wait()


async def test_a_message_that_arrives_with_the_close_cannot_be_answered() -> None:
    async def behave(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.write(frame(TEXT, b"ready?") + CLOSE_FRAME)
        await connection.wait_closed()

    def answer(message: str | bytes) -> bool:
        received.append(message)
        websocket.send("too late")
        return False

    received: list[str | bytes] = []
    async with connected(behave) as websocket:
        websocket.send("begin")
        with pytest.raises(ConnectionLostError, match="closed the connection"):
            await websocket.listen(answer)
    assert received == ["ready?"]


async def blocked(websocket: WebSocket) -> int:
    """Send until the network does not keep up; return the size of the messages that are not sent."""
    while websocket.send(bytes(100_000)):  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0)
    return unsent_bytes(websocket)


def unsent_bytes(websocket: WebSocket) -> int:
    transport = websocket._stream._transport
    return 0 if transport is None else transport.get_write_buffer_size()


class PingFlood:
    """A server that reads nothing while it sends pings, then all, and keeps the payloads of the pongs."""

    PINGS = 10_000

    def __init__(self, first: bytes = b"", last: bytes = b"") -> None:
        self._pieces = [first, *[frame(PING, b"%d" % number) for number in range(self.PINGS)], last]
        self.is_blocked = asyncio.Event()
        self.is_over = asyncio.Event()
        self.pongs: list[bytes] = []

    async def __call__(self, connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await self.is_blocked.wait()
        connection.transport.write(b"".join(self._pieces))
        await self.is_over.wait()
        receive_frame = connection.protocol.recv_frame

        def keep_pongs(received: Frame) -> None:
            if received.opcode is Opcode.PONG:
                self.pongs.append(bytes(received.data))
            receive_frame(received)

        connection.protocol.recv_frame = keep_pongs  # type: ignore[method-assign, assignment]
        connection.transport.resume_reading()
        async for _ in connection:
            pass


def test_a_connection_that_cannot_send_keeps_the_answer_to_the_newest_ping_only() -> None:
    async def scenario() -> None:
        flood = PingFlood(last=frame(TEXT, b"behind all pings"))
        async with connected(flood) as websocket:
            unsent = await blocked(websocket)
            flood.is_blocked.set()
            assert await websocket.receive() == "behind all pings"
            assert unsent_bytes(websocket) == unsent
            flood.is_over.set()
            await websocket.drain()
            await asyncio.sleep(1)
            assert flood.pongs == [b"%d" % (PingFlood.PINGS - 1)]

    run_virtual(scenario)


def test_pings_between_the_fragments_of_a_message_are_bounded_too() -> None:
    async def scenario() -> None:
        flood = PingFlood(first=frame(TEXT, b"begun ", fin=False), last=frame(CONT, b"ended"))
        async with connected(flood) as websocket:
            unsent = await blocked(websocket)
            flood.is_blocked.set()
            assert await websocket.receive() == "begun ended"
            assert unsent_bytes(websocket) == unsent
            flood.is_over.set()

    run_virtual(scenario)


class ReadSizes:
    """A handler between a stream and its connection that records how much is read at once."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        websocket._stream.handler = self
        self.sizes: list[int] = []

    def data_received(self, data: memoryview) -> None:
        self.sizes.append(len(data))
        self._websocket.data_received(data)

    def eof_received(self) -> None:
        self._websocket.eof_received()

    def connection_lost(self) -> None:
        self._websocket.connection_lost()


@pytest.mark.parametrize("small", [frame(PING, b""), frame(CONT, b"", fin=False)], ids=["pings", "fragments"])
def test_little_is_read_at_once_from_a_server_that_sends_very_small_frames(small: bytes) -> None:
    """So the other connections of the event loop are served in between; afterwards reads are large again."""
    text = frame(TEXT, b"x" * 60_000)
    flood = frame(TEXT, b"begun ", fin=False) + small * 100_000 + frame(CONT, b"ended")

    async def scenario() -> None:
        async with connected(sending(flood, *[text] * 20)) as websocket:
            sizes = ReadSizes(websocket).sizes
            assert await websocket.receive() == "begun ended"
            assert max(sizes[1:-1]) <= LITTLE_BYTES
            for _ in range(20):
                assert len(await websocket.receive()) == 60_000
            assert max(sizes[-20:]) > 10 * LITTLE_BYTES

    run_virtual(scenario)


def test_little_is_read_at_once_of_messages_that_take_long_to_handle() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        handling_s = 0.02

        def on_message(message: str | bytes) -> bool:
            loop.jump(handling_s)
            return len(message) == 4

        messages = frame(TEXT, b"x" * 150) * 3_000
        async with connected(sending(messages, frame(TEXT, b"last"), messages, frame(TEXT, b"last"))) as websocket:
            sizes = ReadSizes(websocket).sizes
            await websocket.listen(on_message)
            assert max(sizes[1:-1]) <= LITTLE_BYTES < sizes[0]
            handling_s = 0.0
            await websocket.listen(on_message)
            assert max(sizes) > 10 * LITTLE_BYTES, "reads are large again"

    run_virtual(scenario)


def test_no_pong_follows_the_closing_message() -> None:
    async def scenario() -> None:
        flood = PingFlood(last=CLOSE_FRAME + frame(PING, b"behind the end"))
        async with connected(flood) as websocket:
            await blocked(websocket)
            flood.is_blocked.set()
            with pytest.raises(ConnectionLostError):
                await websocket.receive()
            flood.is_over.set()
            await asyncio.sleep(1)
            assert flood.pongs == []

    run_virtual(scenario)


# --- listening -------------------------------------------------------------------------------------------------------


class MemoryTransport(asyncio.Transport):
    """A transport that only keeps the bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return False


def feed(websocket: WebSocket, data: bytes) -> None:
    """Receive these bytes in one read."""
    stream = websocket._stream
    stream.get_buffer(-1)[: len(data)] = data
    stream.buffer_updated(len(data))


async def listen_to(pieces: Iterable[bytes], *, with_handshake: bytes = b"") -> tuple[list[str | bytes], str | None]:
    """Return the messages that a listener receives, and the text of the error that ends them."""
    websocket = WebSocket(parse_uri(URL), "example.test", idle_s=9.0, close_s=CLOSE_S, log=None)
    transport = MemoryTransport()
    websocket._stream.connection_made(transport)
    handshake = asyncio.create_task(websocket._shake_hands({}))
    await asyncio.sleep(0)
    feed(websocket, switch(transport.data.decode()) + with_handshake)
    await handshake
    received: list[str | bytes] = []

    def on_message(message: str | bytes) -> bool:
        received.append(message)
        return False

    listening = asyncio.create_task(websocket.listen(on_message))
    await asyncio.sleep(0)
    for piece in pieces:
        feed(websocket, piece)
        await asyncio.sleep(0)
    error = str(listening.exception()) if listening.done() else None
    listening.cancel()
    websocket._stream.connection_lost(None)
    await asyncio.wait([listening])
    return received, error


async def test_the_headers_of_an_accepted_handshake_are_not_kept() -> None:
    websocket = WebSocket(parse_uri(URL), "example.test", idle_s=9.0, close_s=CLOSE_S, log=None)
    transport = MemoryTransport()
    websocket._stream.connection_made(transport)
    handshake = asyncio.create_task(websocket._shake_hands({}))
    await asyncio.sleep(0)
    feed(websocket, switch(transport.data.decode()))
    await handshake
    gc.collect()
    kept = [thing for thing in gc.get_objects() if isinstance(thing, Headers) and "Sec-WebSocket-Accept" in thing]
    assert websocket.is_open
    assert kept == []
    websocket._stream.connection_lost(None)


def in_pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(places)]


URL = "ws://example.test/"
TEXTS = st.text(max_size=200).map(lambda text: ([frame(TEXT, text.encode())], text))
BINARIES = st.binary(max_size=200).map(lambda data: ([frame(BINARY, data)], data))
FRAGMENTS = st.text(max_size=200).map(
    lambda text: ([frame(TEXT, text.encode()[:3], fin=False), frame(CONT, text.encode()[3:])], text)
)
PINGS = st.binary(max_size=20).map(lambda data: ([frame(PING, data)], None))


@given(
    st.lists(TEXTS | BINARIES | FRAGMENTS | PINGS, min_size=1, max_size=8),
    st.lists(st.integers(0, 5_000), max_size=8),
    st.booleans(),
)
def test_a_listener_receives_all_messages_whole_and_in_order(
    sent: list[tuple[list[bytes], str | bytes | None]], cuts: list[int], is_cut_at_frames: bool
) -> None:
    frames = [one for frames, _ in sent for one in frames]
    pieces = frames if is_cut_at_frames else in_pieces(b"".join(frames), cuts)
    received, error = asyncio.run(listen_to(pieces))
    assert received == [message for _, message in sent if message is not None]
    assert error is None


@pytest.mark.parametrize("behind", [b"", frame(TEXT, b"welcome"), frame(TEXT, b"welcome")[:4]])
async def test_bytes_behind_the_handshake_begin_the_next_message(behind: bytes) -> None:
    rest = (frame(TEXT, b"welcome") + frame(TEXT, b"and hello"))[len(behind) :]
    received, _ = await listen_to([rest, frame(TEXT, b"you")], with_handshake=behind)
    assert received == ["welcome", "and hello", "you"]


LOOKS_LIKE_A_FRAME = frame(TEXT, b"I am data")


@pytest.mark.parametrize("first_bytes", [1, 2])
@pytest.mark.parametrize("is_behind_handshake", [True, False])
async def test_a_payload_that_looks_like_a_frame_is_not_one(first_bytes: int, is_behind_handshake: bool) -> None:
    """It arrives alone: the header before it has arrived already, and is not mistaken for a whole frame."""
    whole = frame(BINARY, LOOKS_LIKE_A_FRAME)
    begun, rest = whole[:2], whole[2:]
    pieces = [begun[:first_bytes], begun[first_bytes:]] if first_bytes < len(begun) else [begun]
    if is_behind_handshake:
        received, _ = await listen_to([*pieces[1:], rest], with_handshake=pieces[0])
    else:
        received, _ = await listen_to([*pieces, rest])
    assert received == [LOOKS_LIKE_A_FRAME]


@pytest.mark.parametrize(
    ("pieces", "messages", "text"),
    [
        ([frame(TEXT, b"\xff\xfe")], [], "invalid start byte at position 0 (code 1007)"),
        ([frame(TEXT, b"a", fin=False), frame(TEXT, b"b")], [], "expected a continuation frame (code 1002)"),
        ([frame(TEXT, b"", fin=False), frame(TEXT, b"b")], [], "expected a continuation frame (code 1002)"),
        ([frame(TEXT, b"a"), b"\x81\x80\0\0\0\0", frame(TEXT, b"b")], ["a"], "incorrect masking (code 1002)"),
        ([frame(TEXT, b"a"), b"\xc1\x00"], ["a"], "reserved bits must be 0 (code 1002)"),
        ([frame(TEXT, b"a"), CLOSE_FRAME, frame(TEXT, b"b")], ["a"], "closed the connection"),
    ],
)
async def test_a_listener_receives_nothing_behind_a_fault(
    pieces: list[bytes], messages: list[str | bytes], text: str
) -> None:
    received, error = await listen_to(pieces)
    assert received == messages
    assert error is not None
    assert text in error


# --- a connection that is not read -----------------------------------------------------------------------------------


class Flood:
    """A server that sends numbered messages, far more than a network holds, and counts those that are sent."""

    COUNT = 1_000

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, connection: ServerConnection) -> None:
        for number in range(self.COUNT):
            await connection.send(number.to_bytes(4, "big") + bytes(60_000))
            self.sent += 1
        await connection.wait_closed()


def test_unread_messages_stay_in_the_network_and_arrive_later_in_order() -> None:
    async def scenario() -> None:
        flood = Flood()
        async with connected(flood) as websocket:
            await asyncio.sleep(1)
            held_back = flood.sent
            await asyncio.sleep(60)
            assert flood.sent == held_back < flood.COUNT
            assert len(websocket._unread) < 2 * MAX_UNREAD
            for number in range(flood.COUNT):
                message = await websocket.receive()
                assert isinstance(message, bytes)
                assert int.from_bytes(message[:4], "big") == number

    run_virtual(scenario)


def test_an_unread_connection_is_not_timed_out_and_is_watched_again_when_it_is_read() -> None:
    async def scenario() -> None:
        flood = Flood()
        async with connected(flood, idle_s=8) as websocket:
            await asyncio.sleep(600)
            for _ in range(flood.COUNT):
                await websocket.receive()
            await asyncio.sleep(600)  # pings are answered
            assert websocket.is_open

    run_virtual(scenario)


async def test_unread_messages_are_received_after_the_connection_is_lost() -> None:
    arrived = asyncio.Event()

    async def behave(connection: ServerConnection) -> None:
        connection.transport.write(b"".join(frame(TEXT, b"%d" % number) for number in range(MAX_UNREAD)))
        await (await connection.ping())
        arrived.set()
        await connection.recv()
        connection.transport.abort()

    async with connected(behave) as websocket:
        await arrived.wait()
        with contextlib.suppress(ConnectionLostError):
            while True:  # without reading, only a write notices the end
                websocket.send(bytes(100_000))
                await asyncio.sleep(0)
        messages, error = await receive_all(websocket)
    assert messages == [str(number) for number in range(MAX_UNREAD)]
    assert isinstance(error, ConnectionLostError)


def test_a_slow_reader_does_not_make_the_messages_pile_up() -> None:
    """Small ones neither: one read from the network holds thousands of these."""

    async def scenario() -> None:
        async with connected(sending(*[frame(TEXT, b"") * 1_000] * 1_000)) as websocket:
            await asyncio.sleep(1)
            unread = len(websocket._unread)
            for _ in range(100):
                await websocket.receive()
                await asyncio.sleep(1)
            assert len(websocket._unread) == unread - 100

    run_virtual(scenario)


def test_few_unread_messages_that_are_large_stay_in_the_network() -> None:
    async def scenario() -> None:
        large = frame(TEXT, b"x" * MAX_UNREAD_CHARS)
        async with connected(sending(*[large] * 10)) as websocket:
            await asyncio.sleep(1)
            assert len(websocket._unread) == 1
            for _ in range(10):
                assert len(await websocket.receive()) == MAX_UNREAD_CHARS
                assert len(websocket._unread) <= 1

    run_virtual(scenario)


def test_a_listener_that_pauses_reading_receives_the_rest_when_it_is_resumed() -> None:
    """While it is paused the connection is not idle, whatever the time is."""

    async def scenario() -> None:
        async with connected(Flood(), idle_s=8) as websocket:
            received: list[int] = []

            def on_message(message: str | bytes) -> bool:
                received.append(int.from_bytes(message[:4], "big"))  # type: ignore[arg-type]
                websocket.pause_reading()
                return len(received) == Flood.COUNT

            listening = asyncio.create_task(websocket.listen(on_message))
            await asyncio.sleep(600)
            assert len(received) < 5, "those of the first read"
            while not listening.done():
                websocket.resume_reading()
                await asyncio.sleep(0.01)
            assert received == list(range(Flood.COUNT))
            assert websocket._stream.is_reading, "for the next task on this connection"

    run_virtual(scenario)


async def test_an_unread_connection_that_is_aborted_closes_at_once() -> None:
    async with connected(Flood()) as websocket:
        async with asyncio.timeout(5):
            while websocket._stream.is_reading:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0)
        websocket.abort()
        await websocket.close()
        await websocket.close()


def test_closing_is_not_slowed_down_by_a_server_that_floods() -> None:
    async def scenario() -> float:
        async with connected(Flood()) as websocket:
            await asyncio.sleep(1)
            began_at = asyncio.get_running_loop().time()
            await websocket.close()
            return asyncio.get_running_loop().time() - began_at

    assert run_virtual(scenario) < 0.5


# --- the end ---------------------------------------------------------------------------------------------------------


def closing_s(behave: Callable[[ServerConnection], Awaitable[None]], *, unsent_bytes: int = 0) -> float:
    """Return the seconds that it takes to close a connection to this server."""

    async def scenario() -> float:
        async with connected(behave) as websocket:
            if unsent_bytes:
                websocket.send(bytes(unsent_bytes))
            await asyncio.sleep(1)
            began_at = asyncio.get_running_loop().time()
            await websocket.close()
            return asyncio.get_running_loop().time() - began_at

    return run_virtual(scenario)


def test_closing_is_bounded_when_the_server_sends_instead() -> None:
    async def babble(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                connection.transport.write(frame(TEXT, b"and another thing"))
                await asyncio.sleep(0.5)
                if connection.transport.is_closing():
                    return

    async def babble_without_reading(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await babble(connection)

    assert closing_s(babble_without_reading) == pytest.approx(CLOSE_S, abs=0.1)


def test_closing_is_bounded_when_the_server_sends_behind_its_closing_message() -> None:
    async def close_and_babble(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        connection.transport.write(CLOSE_FRAME)
        while not connection.transport.is_closing():
            connection.transport.write(frame(TEXT, b"and another thing"))
            await asyncio.sleep(0.5)

    assert closing_s(close_and_babble) <= CLOSE_S


def test_closing_is_bounded_when_the_server_ends_its_side_and_does_not_read() -> None:
    async def end_without_reading(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        connection.transport.write_eof()
        await asyncio.sleep(600)

    assert closing_s(end_without_reading, unsent_bytes=32 * 2**20) <= CLOSE_S


def test_waiting_for_a_writable_connection_ends_with_the_connection() -> None:
    async def end_without_reading(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await asyncio.sleep(1)
        connection.transport.write_eof()
        await asyncio.sleep(600)

    async def scenario() -> float:
        async with connected(end_without_reading) as websocket:
            websocket.send(bytes(32 * 2**20))
            assert not websocket.is_writable
            await websocket.drain()
            with pytest.raises(ConnectionLostError, match="without a closing message"):
                websocket.send(b"more")
            return asyncio.get_running_loop().time()

    assert run_virtual(scenario) == pytest.approx(1, abs=0.1)


async def test_a_repr_shows_host_and_state() -> None:
    async def close_later(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.write(CLOSE_FRAME)
        await connection.recv()

    states = []
    async with connected(close_later) as websocket:
        host = websocket._host
        states.append(repr(websocket))
        websocket.send("close")
        with pytest.raises(ConnectionLostError):
            await websocket.receive()
        states.append(repr(websocket))
    states.append(repr(websocket))
    assert states == [f"<WebSocket {host} {state}>" for state in ("open", "closing", "closed")]


# --- signs of life ---------------------------------------------------------------------------------------------------


async def quiet(connection: ServerConnection) -> None:
    await connection.wait_closed()


async def send_nothing(connection: ServerConnection) -> None:
    connection.transport.pause_reading()
    await asyncio.sleep(3_600)


def test_a_quiet_server_that_answers_pings_is_kept() -> None:
    async def scenario() -> None:
        async with connected(quiet, idle_s=8) as websocket:
            await asyncio.sleep(3_600)
            assert websocket.is_open

    run_virtual(scenario)


def test_a_server_without_a_sign_of_life_is_dropped_after_the_idle_timeout() -> None:
    async def scenario() -> tuple[float, ASRError]:
        async with connected(send_nothing, idle_s=8) as websocket:
            with pytest.raises(ConnectionLostError) as caught:
                await websocket.receive()
            assert repr(websocket).endswith(" timed_out>")
            with pytest.raises(ConnectionLostError):
                websocket.send(b"still there?")
            return asyncio.get_running_loop().time(), caught.value

    elapsed_s, error = run_virtual(scenario)
    assert "no sign of life for 8 s (Timeouts.idle)" in str(error)
    assert elapsed_s == pytest.approx(8, abs=0.1)


def test_after_a_sleep_of_the_machine_a_ping_precedes_the_timeout() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        async with connected(quiet, idle_s=8) as websocket:
            for _ in range(5):
                await asyncio.sleep(3)
                loop.jump(600)  # no callback runs meanwhile
                await asyncio.sleep(20)
                assert websocket.is_open

    run_virtual(scenario)


# --- the handshake ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def answering(
    answer: Callable[[str], bytes], *, piece_bytes: int = 65_536, requests: list[str] | None = None
) -> AsyncIterator[int]:
    """A server that answers a request with these bytes and does not close the connection; yields its port."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        if requests is not None:
            requests.append(request)
        response = answer(request)
        for begin in range(0, len(response), piece_bytes):
            writer.write(response[begin : begin + piece_bytes])
            await writer.drain()
        await reader.read()

    async with tcp_server(behave) as port:
        yield port


def switch(request: str, *frames: bytes) -> bytes:
    """Return the response of a WebSocket server, and the frames that follow at once."""
    server = ServerProtocol()
    server.receive_data(request.encode())
    server.send_response(server.accept(next(iter(server.events_received()))))  # type: ignore[arg-type]
    return b"".join([*server.data_to_send(), *frames])


@pytest.mark.parametrize("piece_bytes", [65_536, 1], ids=["one-segment", "byte-by-byte"])
async def test_messages_right_behind_the_handshake_are_read(piece_bytes: int) -> None:
    def answer(request: str) -> bytes:
        return switch(request, frame(TEXT, b"welcome"), frame(TEXT, b"and hello"))

    async with answering(answer, piece_bytes=piece_bytes) as port:
        websocket = await connect(f"ws://127.0.0.1:{port}/")
        assert [await websocket.receive() for _ in range(2)] == ["welcome", "and hello"]
        websocket.abort()


async def test_a_close_right_behind_the_handshake_ends_the_connection() -> None:
    async with answering(lambda request: switch(request, frame(TEXT, b"no"), CLOSE_FRAME)) as port:
        websocket = await connect(f"ws://127.0.0.1:{port}/")
        messages, error = await receive_all(websocket)
        assert messages == ["no"]
        assert isinstance(error, ConnectionLostError)
        await websocket.close()


@pytest.mark.parametrize("piece_bytes", [65_536, 1], ids=["one-segment", "byte-by-byte"])
@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 4\r\n\r\nbusy", b"Transfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n"],
    ids=["length", "chunks"],
)
def test_a_refusal_on_a_connection_that_stays_open_is_raised_at_once(body: bytes, piece_bytes: int) -> None:
    async def scenario() -> tuple[float, ASRError]:
        answer = b"HTTP/1.1 503 Service Unavailable\r\nConnection: keep-alive\r\n" + body
        async with answering(lambda _: answer, piece_bytes=piece_bytes) as port:
            with pytest.raises(VendorError) as caught:
                await connect(f"ws://127.0.0.1:{port}/")
        return asyncio.get_running_loop().time(), caught.value

    elapsed_s, error = run_virtual(scenario)
    assert str(error) == "busy (code 503)"
    assert elapsed_s < 0.5


async def test_a_redirect_is_refused_and_the_credentials_go_nowhere_else() -> None:
    elsewhere: list[str] = []
    async with answering(lambda _: b"", requests=elsewhere) as other_port:
        answer = f"HTTP/1.1 307 Moved\r\nLocation: ws://127.0.0.1:{other_port}/\r\nContent-Length: 5\r\n\r\nthere"
        async with answering(lambda _: answer.encode()) as port:
            with pytest.raises(VendorError, match=re.escape("there (code 307)")):
                await connect(f"ws://127.0.0.1:{port}/", headers={"Authorization": "Bearer sk"})
    assert elsewhere == []


@pytest.mark.parametrize("piece_bytes", [65_536, 1], ids=["one-segment", "byte-by-byte"])
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("SSH-2.0-OpenSSH_9.6\r\n", "did not receive a valid HTTP response"),
        ("HTTP/1.0 101 Switching Protocols\r\n\r\n", "did not receive a valid HTTP response"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "missing Connection header"),
        (
            "HTTP/1.1 101 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: bm9wZQ==\r\n\r\n",
            "invalid Sec-WebSocket-Accept header: bm9wZQ==",
        ),
    ],
)
async def test_a_response_that_is_no_handshake_is_reported_at_once(answer: str, text: str, piece_bytes: int) -> None:
    async with answering(lambda _: answer.encode(), piece_bytes=piece_bytes) as port:
        with pytest.raises(RemoteProtocolError) as caught:
            await connect(f"ws://127.0.0.1:{port}/")
    assert str(caught.value) == f"127.0.0.1:{port} does not speak WebSocket: {text}"


@pytest.mark.parametrize(
    ("headers", "authorization"),
    [({}, "Basic dXNlcjpwYXNz"), ({"Authorization": "Bearer sk"}, "Bearer sk"), ({"X-Key": "k"}, "Basic dXNlcjpwYXNz")],
)
async def test_credentials_in_the_url_are_sent_where_the_service_has_none(
    headers: dict[str, str], authorization: str
) -> None:
    seen: list[list[str]] = []

    def look(_connection: ServerConnection, request: Request) -> None:
        seen.append(request.headers.get_all("Authorization"))

    async with scripted_server(quiet, process_request=look) as service:
        host = (await service.resolve(Paraformer())).host
        websocket = await connect(f"ws://user:pass@{host}/", headers=headers)
        assert "pass" not in repr(websocket)
        await websocket.close()
    assert seen == [[authorization]]


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://user:secret@asr.example/", "not a WebSocket URL: scheme isn't ws or wss"),
        ("ws://user:secret@/", "not a WebSocket URL: hostname isn't provided"),
        ("ws://secret@asr.example/", "not a WebSocket URL: username provided without password"),
        ("ws://asr.example/#secret", "not a WebSocket URL: fragment identifier is meaningless"),
        ("ws://asr.example:secret/", "not a WebSocket URL: its host, port or credentials are malformed"),
        ("ws://user:sec/ret@asr.example/", "not a WebSocket URL: its host, port or credentials are malformed"),
        ("ws://asr.example:99999/", "not a WebSocket URL: its host, port or credentials are malformed"),
        ("ws://[::1/", "not a WebSocket URL: its host, port or credentials are malformed"),
        (f"ws://{'a' * 64}.example/", "not a WebSocket URL: its host, port or credentials are malformed"),
        ("wss://.example/", "not a WebSocket URL: its host, port or credentials are malformed"),
    ],
)
async def test_a_malformed_url_is_refused_without_its_secrets(url: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await connect(url)
    assert str(caught.value) == text


@pytest.mark.parametrize("key", ["sk-secret\n", "sk-secret\r\nX-Admin: yes", "ｓｋ-secret", "sk-“secret”"])
async def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key: str) -> None:
    requests: list[str] = []
    async with answering(lambda _: b"", requests=requests) as port:
        with pytest.raises(ConfigurationError) as caught:
            await connect(f"ws://127.0.0.1:{port}/", headers={"Authorization": f"Bearer {key}"})
    assert "the header Authorization can only hold printable ASCII characters" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert requests == []
