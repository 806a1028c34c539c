"""Sessions over TLS: as over plain TCP, and no secret is sent to a server that has not proved its identity."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from websockets.sync.server import ServerConnection as SyncConnection
from websockets.sync.server import serve as serve_in_thread

from asr_async import ConfigurationError, ConnectionLostError, DashScope, DeadlineError, Paraformer, Timeouts, connect
from asr_async._net.tls import TlsConnection, TlsState, _context_for, default_context
from asr_async._net.websocket import WebSocket

from ..support.certificates import server_ssl_context, trust_by_environment
from ..support.numbered_audio import NumberedServer, NumberedSource, finals_of, finals_of_seconds
from ..support.scripted_server import read_until_finish, scripted_server, send_event, send_final, start_task
from ..support.streaming import SILENT_SECOND, endless_silence, stream_once
from ..support.tcp_proxy import Direction, NetworkPath, TcpProxy
from ..support.tcp_server import tcp_server
from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator, Iterator

    from websockets.asyncio.server import ServerConnection

pytestmark = pytest.mark.both_loops

KEY = "sk-0123456789abcdef"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> trustme.CA:
    trust_by_environment(authority, monkeypatch, tmp_path)
    return authority


async def recognise(connection: ServerConnection) -> None:
    task_id = await start_task(connection)
    size = await read_until_finish(connection)
    await send_final(connection, task_id, f"{size} bytes")
    await send_event(connection, "task-finished", task_id, {"output": {}})


async def unexpected(_connection: ServerConnection) -> None:
    raise AssertionError


async def send_nothing(session: Any) -> None:
    async for _ in session.stream([]):
        pass


# --- a session -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_runs_over_either_version_of_tls(trusted: trustme.CA, version: ssl.TLSVersion) -> None:
    tls = server_ssl_context(trusted)
    tls.minimum_version = tls.maximum_version = version
    async with scripted_server(recognise, ssl=tls) as service:
        assert await stream_once(service) == (["64000 bytes"], None)


async def test_many_and_large_results_arrive_whole_and_in_order(trusted: trustme.CA) -> None:
    async def verbose(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        for number in range(500):
            await send_final(connection, task_id, str(number), number, number + 1)
        await send_final(connection, task_id, "x" * 5_000_000, 500, 501)
        await send_event(connection, "task-finished", task_id, {"output": {}})

    async with scripted_server(verbose, ssl=server_ssl_context(trusted)) as service:
        texts, error = await stream_once(service)
    assert error is None
    assert texts == [*map(str, range(500)), "x" * 5_000_000]


async def test_a_message_of_many_records_arrives_whole_at_the_server(trusted: trustme.CA) -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    payload = random.Random(1).randbytes(8 * 1024 * 1024)
    async with scripted_server(echo, ssl=server_ssl_context(trusted)) as service:
        websocket = await WebSocket.connect(await service.resolve(Paraformer()), connect_s=5, idle_s=20, close_s=1)
        websocket.send(payload)
        websocket.send("and behind it")
        assert await websocket.receive() == payload
        assert await websocket.receive() == "and behind it"
        await websocket.close()


def test_a_clean_end_takes_no_time_on_either_side(trusted: trustme.CA) -> None:
    """The closing message of TLS is answered: some servers wait for that before they end the connection."""

    async def scenario() -> float:
        tap = Tap(passes_end=False)
        async with (
            scripted_server(recognise, ssl=server_ssl_context(trusted)) as service,
            tap.in_front_of(service) as tapped,
        ):
            assert await stream_once(tapped, timeouts=Timeouts(close=5)) == (["64000 bytes"], None)
            left_at = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - left_at < 0.5
        return left_at

    assert run_virtual(scenario) < 0.5


async def test_a_session_leaves_nothing_open(trusted: trustme.CA) -> None:
    """An open transport or task warns when it is collected, which fails the test."""
    async with scripted_server(recognise, ssl=server_ssl_context(trusted)) as service:
        await stream_once(service)
        await stream_once(service, audio=iter(()))
        others = asyncio.all_tasks() - {asyncio.current_task()}
    gc.collect()
    assert not [task for task in others if not task.done()]


# --- the identity of the server --------------------------------------------------------------------------------------


TRUST_ADVICE = (
    "name the file of its certificate authority in SSL_CERT_FILE or ssl_context=; a proxy that inspects TLS has an "
    "authority of its own"
)


def untrusted(authority: trustme.CA) -> ssl.SSLContext:
    return server_ssl_context(trustme.CA())


def of_another_host(authority: trustme.CA) -> ssl.SSLContext:
    return server_ssl_context(authority, "asr.example")


def expired(authority: trustme.CA) -> ssl.SSLContext:
    return server_ssl_context(authority, is_expired=True)


@pytest.mark.parametrize(
    ("tls", "why"),
    [
        (untrusted, f"unable to get local issuer certificate; {TRUST_ADVICE}"),
        (of_another_host, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
        (expired, "certificate has expired"),
    ],
)
async def test_an_untrusted_server_receives_nothing(trusted: trustme.CA, tls: Any, why: str) -> None:
    requests: list[Any] = []
    tap = Tap()
    context = tls(trusted)
    options = {"process_request": lambda *request: requests.append(request)}
    async with scripted_server(unexpected, ssl=context, **options) as service, tap.in_front_of(service) as tapped:
        _, error = await stream_once(tapped)
    assert isinstance(error, ConnectionLostError)
    assert str(error) == f"the certificate of {host_of(tapped)} is not trusted: {why}"
    assert not error.retryable
    assert not requests
    assert tap.received
    assert KEY.encode() not in tap.received


class Tap:
    """A forwarder that keeps the bytes of the client, and may withhold the end of the server's bytes."""

    def __init__(self, *, passes_end: bool = True) -> None:
        self.received = bytearray()
        self._passes_end = passes_end

    @contextlib.asynccontextmanager
    async def in_front_of(self, service: DashScope) -> AsyncIterator[DashScope]:
        port = int((await service.resolve(Paraformer())).host.rpartition(":")[2])
        async with plain_server(lambda reader, writer: self._forward(reader, writer, port)) as tapped:
            yield tapped

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        down = asyncio.create_task(self._copy_down(server_reader, writer))
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                self.received += piece
                server_writer.write(piece)
            server_writer.write_eof()
        await down
        server_writer.close()
        with contextlib.suppress(ConnectionError):
            await server_writer.wait_closed()

    async def _copy_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                writer.write(piece)
            if self._passes_end:
                writer.write_eof()


def host_of(service: DashScope) -> str:
    return repr(service).partition("//")[2].partition("/")[0]


@contextlib.asynccontextmanager
async def plain_server(behave: Any) -> AsyncIterator[DashScope]:
    """A TCP server without TLS, under a URL of TLS."""
    async with tcp_server(behave) as port:
        yield DashScope(KEY, endpoint=f"wss://127.0.0.1:{port}/")


async def test_a_server_that_does_not_speak_tls_receives_no_secret_and_is_named() -> None:
    received = bytearray()

    async def talk_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read(65_536))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        received.extend(await reader.read())

    async with plain_server(talk_http) as service:
        _, error = await stream_once(service)
    assert isinstance(error, ConnectionLostError)
    assert str(error).startswith("no TLS connection to 127.0.0.1:")
    assert str(error).endswith(("wrong version number", "record layer failure", "packet length too long"))
    assert KEY.encode() not in received


async def test_a_handshake_of_tls_that_breaks_off_is_a_lost_connection() -> None:
    async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)

    async with plain_server(end) as service:
        _, error = await stream_once(service)
    assert isinstance(error, ConnectionLostError)
    assert str(error).endswith("it ended during the handshake")
    assert error.retryable


async def test_a_handshake_of_tls_that_is_cut_is_a_lost_connection() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)  # unread bytes turn the end into a reset
        writer.transport.abort()

    async with plain_server(cut) as service:
        _, error = await stream_once(service)
    assert isinstance(error, ConnectionLostError)
    assert error.retryable


def test_a_handshake_of_tls_that_is_never_answered_ends_at_the_connect_deadline() -> None:
    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scenario() -> tuple[float, Any]:
        async with plain_server(never_answer) as service:
            _, error = await stream_once(service, timeouts=Timeouts(connect=3))
            return asyncio.get_running_loop().time(), error

    elapsed_s, error = run_virtual(scenario)
    assert isinstance(error, DeadlineError)
    assert "within 3 s (Timeouts.connect)" in str(error)
    assert elapsed_s == pytest.approx(3, abs=0.2)


async def test_a_refused_handshake_of_tls_is_reported_with_the_reason_of_tls(trusted: trustme.CA) -> None:
    tls = server_ssl_context(trusted)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # the certificate has an elliptic key
    with server_in_thread(tls) as service:
        _, error = await stream_once(service)
    assert isinstance(error, ConnectionLostError)
    assert "no TLS connection to 127.0.0.1:" in str(error)
    assert "handshake failure" in str(error)


# --- the environment -------------------------------------------------------------------------------------------------


async def test_each_trust_store_of_the_environment_is_loaded_once(
    trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    _context_for.cache_clear()
    async with scripted_server(recognise, ssl=server_ssl_context(trusted)) as service:
        for _ in range(3):
            assert (await stream_once(service))[1] is None
        assert _context_for.cache_info().misses == 1
        (tmp_path / "other").mkdir()
        trust_by_environment(trustme.CA(), monkeypatch, tmp_path / "other")
        _, error = await stream_once(service)
        assert "is not trusted" in str(error)
        assert _context_for.cache_info().misses == 2


async def test_an_environment_that_breaks_tls_is_reported_and_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "missing" / "keys.log"))
    _context_for.cache_clear()
    received = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read())

    async with plain_server(listen) as service:
        _, error = await stream_once(service)
    assert isinstance(error, ConfigurationError)
    assert "check SSL_CERT_FILE, SSL_CERT_DIR, SSLKEYLOGFILE" in str(error)
    assert not received


# --- in mid-stream ---------------------------------------------------------------------------------------------------

FRAME_MS = 100
TIMEOUTS = Timeouts(connect=3, start=3, idle=4, finish=8, close=1)
OPENING_BYTES = {"up": 6_000, "down": 5_000}
"""More bytes than the handshakes and the opening of a task."""
DIRECTIONS: list[Direction] = ["up", "down"]


@pytest.mark.parametrize("piece_bytes", [65_536, 173], ids=["whole", "in-pieces"])
@pytest.mark.parametrize("fault", ["abort", "stall", "half-close"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_path_that_breaks_in_mid_stream_loses_and_doubles_nothing(
    trusted: trustme.CA, fault: Any, direction: Direction, piece_bytes: int
) -> None:
    async def scenario() -> None:
        listener = NumberedServer()
        breaking = NetworkPath(
            fault=fault, direction=direction, after_bytes=2 * OPENING_BYTES[direction], piece_bytes=piece_bytes
        )
        async with (
            listener.serving(ssl=server_ssl_context(trusted)) as port,
            TcpProxy(port, [breaking]).serving() as proxy,
            connect(
                Paraformer(), DashScope(KEY, endpoint=f"wss://127.0.0.1:{proxy.port}/"), timeouts=TIMEOUTS
            ) as session,
        ):
            events = [event async for event in session.events(NumberedSource(8))]
        assert finals_of(events) == finals_of_seconds(8)
        assert listener.missing_at_ms == []
        assert session.stats.reconnects == 1

    random.seed(1)
    run_virtual(scenario)


@pytest.mark.parametrize("fault", ["abort", "half-close", "stall"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_next_connection_that_breaks_in_its_handshake_is_tried_again(
    trusted: trustme.CA, fault: Any, direction: Direction
) -> None:
    async def scenario() -> None:
        listener = NumberedServer()
        paths = [NetworkPath(fault="abort", after_bytes=50_000)]
        paths += [
            NetworkPath(fault=fault, direction=direction, after_bytes=after_bytes) for after_bytes in (0, 20, 300, 900)
        ]
        async with (
            listener.serving(ssl=server_ssl_context(trusted)) as port,
            TcpProxy(port, paths).serving() as proxy,
            connect(
                Paraformer(), DashScope(KEY, endpoint=f"wss://127.0.0.1:{proxy.port}/"), timeouts=TIMEOUTS
            ) as session,
        ):
            events = [event async for event in session.events(NumberedSource(8), pace=None)]
        assert finals_of(events) == finals_of_seconds(8)
        assert proxy.connections == 6

    random.seed(1)
    run_virtual(scenario)


@pytest.mark.parametrize(
    ("code", "reason", "text", "retryable"),
    [
        (1011, "restarting", "before the end of the transcript: restarting", True),
        (1007, "Invalid payload data", "before the end of the transcript: Invalid payload data", False),
    ],
)
async def test_a_close_of_the_server_is_reported_with_its_code(
    trusted: trustme.CA, code: int, reason: str, text: str, retryable: bool
) -> None:
    async def close(connection: ServerConnection) -> None:
        await send_final(connection, await start_task(connection), "one")
        await connection.close(code, reason)

    async with scripted_server(close, ssl=server_ssl_context(trusted)) as service:
        texts, error = await stream_once(service, audio=endless_silence())
    assert texts == ["one"]
    assert error is not None
    assert text in str(error)
    assert (error.code, error.retryable) == (str(code), retryable)


def test_the_closing_message_of_tls_is_noticed_without_the_end_of_tcp(trusted: trustme.CA) -> None:
    async def close_tls(connection: ServerConnection) -> None:
        await send_final(connection, await start_task(connection), "one")
        await connection.recv()
        connection.transport.close()
        await connection.wait_closed()

    async def scenario() -> tuple[float, Any]:
        tap = Tap(passes_end=False)
        async with (
            scripted_server(close_tls, ssl=server_ssl_context(trusted)) as service,
            tap.in_front_of(service) as tapped,
        ):
            texts, error = await stream_once(tapped, audio=endless_silence())
            assert texts == ["one"]
            return asyncio.get_running_loop().time(), error

    elapsed_s, error = run_virtual(scenario)
    assert isinstance(error, ConnectionLostError)
    assert "without a closing message" in str(error)
    assert elapsed_s < 0.5


async def test_invalid_bytes_end_the_connection_behind_the_results_before_them(trusted: trustme.CA) -> None:
    async def break_tls(connection: ServerConnection) -> None:
        await send_final(connection, await start_task(connection), "one")
        os.write(connection.transport.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
        await connection.wait_closed()

    async with scripted_server(break_tls, ssl=server_ssl_context(trusted)) as service:
        texts, error = await stream_once(service, audio=endless_silence())
    assert texts == ["one"]
    assert isinstance(error, ConnectionLostError)
    assert "TLS failed: decryption failed or bad record mac" in str(error)
    assert error.retryable


def test_a_connection_that_takes_no_more_audio_ends_at_the_idle_deadline(trusted: trustme.CA) -> None:
    async def never_read(connection: ServerConnection) -> None:
        await start_task(connection)
        connection.transport.pause_reading()
        await asyncio.sleep(3_600)

    async def scenario() -> tuple[float, Any]:
        async with scripted_server(never_read, ssl=server_ssl_context(trusted), ping_interval=None) as service:
            audio = (SILENT_SECOND for _ in range(2_000))
            _, error = await stream_once(service, audio=audio, timeouts=Timeouts(idle=8, close=5))
            return asyncio.get_running_loop().time(), error

    elapsed_s, error = run_virtual(scenario)
    assert isinstance(error, DeadlineError | ConnectionLostError)
    assert "Timeouts.idle" in str(error)
    assert elapsed_s < 8 + 5 + 5 + 1


# --- cost ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def server_in_thread(tls: ssl.SSLContext) -> Iterator[DashScope]:
    """A server without an event loop, so all of asyncio's TLS objects in this process are the client's."""

    def behave(connection: SyncConnection) -> None:
        for _ in connection:
            connection.send("here")

    with serve_in_thread(behave, "127.0.0.1", 0, ssl=tls) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield DashScope(KEY, endpoint=f"wss://127.0.0.1:{server.socket.getsockname()[1]}/")
        finally:
            server.shutdown()
            thread.join()


def tls_objects_of_asyncio() -> list[Any]:
    return [thing for thing in gc.get_objects() if type(thing).__module__ == "asyncio.sslproto"]


async def test_the_event_loops_own_tls_with_its_large_buffers_is_not_used(trusted: trustme.CA) -> None:
    with server_in_thread(server_ssl_context(trusted)) as service:
        endpoint = await service.resolve(Paraformer())
        gc.collect()
        before = len(tls_objects_of_asyncio())
        _, writer = await asyncio.open_connection(*endpoint.host.split(":"), ssl=ssl.create_default_context())
        writer.close()
        assert (
            type(asyncio.get_running_loop()).__module__.startswith("uvloop") or len(tls_objects_of_asyncio()) > before
        )
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        del writer
        gc.collect()
        before = len(tls_objects_of_asyncio())
        websocket = await WebSocket.connect(endpoint, connect_s=5, idle_s=20, close_s=1)
        websocket.send(b"are you there?")
        assert await websocket.receive() == "here"
        assert len(tls_objects_of_asyncio()) == before
        await websocket.close()


# --- bytes only ------------------------------------------------------------------------------------------------------


class Pair:
    """Both sides of a TLS connection, without a network."""

    def __init__(self, server: ssl.SSLContext) -> None:
        self.client = TlsConnection(default_context(), "127.0.0.1")
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(self._incoming, self._outgoing, server_side=True)
        for _ in range(4):
            self._incoming.write(self.client.data_to_send())
            with contextlib.suppress(ssl.SSLWantReadError):
                self.server.do_handshake()
            assert self.client.receive(self._outgoing.read()) == b""
        assert self.client.state is TlsState.OPEN

    def send(self, data: bytes) -> bytes:
        """Return the bytes on the network when the server sends this."""
        self.server.write(data)
        return self._outgoing.read()

    def close(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.server.unwrap()
        return self._outgoing.read()


def test_data_before_a_failure_is_not_lost(trusted: trustme.CA) -> None:
    pair = Pair(server_ssl_context(trusted))
    assert pair.client.receive(pair.send(b"the end") + b"\x17\x03\x03\x00\x20" + bytes(32)) == b"the end"
    assert pair.client.state is TlsState.CLOSED
    assert pair.client.failure is not None
    pair.client.encrypt(b"too late")


def test_data_before_the_closing_message_is_not_lost(trusted: trustme.CA) -> None:
    pair = Pair(server_ssl_context(trusted))
    assert pair.client.receive(pair.send(b"the end") + pair.close()) == b"the end"
    assert pair.client.state is TlsState.CLOSED
    assert pair.client.failure is None


def test_single_bytes_are_decrypted_too(trusted: trustme.CA) -> None:
    pair = Pair(server_ssl_context(trusted))
    came = b"".join(pair.client.receive(bytes([byte])) for byte in pair.send(b"in pieces"))
    assert came == b"in pieces"
    assert pair.client.state is TlsState.OPEN
