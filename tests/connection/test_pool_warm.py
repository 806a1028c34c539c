"""Connections that are opened before they are needed: a session uses one at once, and none becomes too old.

Time is virtual. The path to the emulator delays each direction by a second, so a session that has to connect starts
four seconds after it is entered, and a session that uses an idle connection after two. In the DashScope protocol, each
start takes a second more: before task-started, the emulator waits for one round trip of a ping, and gives it up after
`PONG_TIMEOUT_S` (`ROUND_TRIPS` in its module `tasks` has the reason).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from asr_async import (
    AuthenticationError,
    Client,
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    Fallback,
    FunASR,
    Huawei,
    LocalProtocolError,
    Paraformer,
    Pool,
    QwenRealtime,
    Rasr,
    Retry,
    VendorError,
)
from asr_async.emulator import Scripted, serve
from asr_async.emulator.connection import PONG_TIMEOUT_S
from asr_async.vendors.options import Options
from asr_async.vendors.service import Service

from ..support.scripted_server import read_until_finish, scripted_server, send_event, send_final, start_task
from ..support.tcp_proxy import NetworkPath, TcpProxy
from ..support.virtual_time import now, run_virtual

pytestmark = pytest.mark.both_loops

SCRIPT = Scripted([("Good morning.", 100, 900)])
SECOND = bytes(32_000)
POOLED_S, COLD_S = 2.0, 4.0
BOTH = pytest.mark.parametrize("options", [Paraformer(), Rasr()], ids=["dashscope", "huawei"])


class DelayedEmulator:
    """An emulator behind a network path with delay, and a client of it."""

    def __init__(self, proxy: TcpProxy, client: Client, options: Options) -> None:
        self.proxy = proxy
        self.client = client
        self.options = options

    @property
    def pooled_s(self) -> Any:
        """The seconds that a session with an idle connection takes to start."""
        return roughly(POOLED_S + self._ping_s)

    @property
    def cold_s(self) -> Any:
        """The seconds that a session without one takes to start."""
        return roughly(COLD_S + self._ping_s)

    @property
    def _ping_s(self) -> float:
        return PONG_TIMEOUT_S if isinstance(self.options, Paraformer) else 0.0

    @property
    def idle_connections(self) -> int:
        assert self.client._connections is not None
        return len(self.client._connections)

    async def time_to_start_s(self) -> float:
        """Run a session, and return the seconds that it took to start."""
        entered_at = now()
        async with self.client.session(self.options) as session:
            took_s = now() - entered_at
            texts = [result.text async for result in session.stream([SECOND], pace=None) if result.is_final]
            assert texts[0].startswith("Good morning")
        return took_s


@asynccontextmanager
async def delayed_emulator(options: Options, pool: Pool) -> AsyncIterator[DelayedEmulator]:
    async with serve(SCRIPT) as emulator:
        path = TcpProxy(int(emulator.address.rpartition(":")[2]), itertools.repeat(NetworkPath(delay_s=1.0)))
        async with path.serving(), Client(service_at(path.port, options), pool=pool, retry=Retry(attempts=0)) as client:
            yield DelayedEmulator(path, client, options)


def service_at(port: int, options: Options) -> Service:
    if isinstance(options, Rasr):
        return Huawei(ak="a", sk="s", project_id="p", region="r", endpoint=f"ws://127.0.0.1:{port}")
    return DashScope("key", endpoint=f"ws://127.0.0.1:{port}/api-ws/v1/inference")


def roughly(seconds: float) -> Any:
    return pytest.approx(seconds, abs=0.2)


# --- idle connections that are ready ---------------------------------------------------------------------------------


@BOTH
def test_the_first_session_connects_and_the_next_ones_use_idle_connections(options: Options) -> None:
    async def scenario() -> None:
        async with delayed_emulator(options, Pool(warm=2)) as emulator, emulator.client.session(options):
            await asyncio.sleep(10)
            assert emulator.idle_connections == 2
            start_times_s = await asyncio.gather(*(emulator.time_to_start_s() for _ in range(3)))
            assert sorted(start_times_s) == [emulator.pooled_s, emulator.pooled_s, emulator.cold_s]

    run_virtual(scenario)


@BOTH
def test_after_warm_the_first_session_needs_no_handshake(options: Options) -> None:
    async def scenario() -> None:
        async with delayed_emulator(options, Pool(warm=2)) as emulator:
            await emulator.client.warm(options)
            assert emulator.proxy.connections == 1
            assert await emulator.time_to_start_s() == emulator.pooled_s

    run_virtual(scenario)


def test_a_used_connection_is_replaced_and_a_returned_one_counts() -> None:
    async def scenario() -> None:
        async with delayed_emulator(Paraformer(), Pool(warm=1)) as emulator:
            await emulator.client.warm(emulator.options)
            async with emulator.client.session(emulator.options) as session:
                await asyncio.sleep(5)
                assert emulator.idle_connections == 1
                assert emulator.proxy.connections == 2
                await session.send(SECOND)
                await session.finish()
            await asyncio.sleep(20)
            assert emulator.idle_connections == 2
            assert emulator.proxy.connections == 2

    run_virtual(scenario)


def test_no_connection_is_opened_in_advance_by_default() -> None:
    async def scenario() -> None:
        async with delayed_emulator(Paraformer(), Pool()) as emulator:
            await emulator.time_to_start_s()
            await asyncio.sleep(30)
            assert emulator.proxy.connections == 1

    run_virtual(scenario)


def test_no_connection_is_opened_in_advance_if_the_vendor_accepts_one_session_on_each() -> None:
    async def scenario() -> None:
        async with delayed_emulator(QwenRealtime(), Pool(warm=2)) as emulator:
            await emulator.time_to_start_s()
            await asyncio.sleep(30)
            assert emulator.proxy.connections == 1
            with pytest.raises(ConfigurationError, match=r"^warm\(\): 127\.0\.0\.1:\d+ takes one session of this"):
                await emulator.client.warm(emulator.options)

    run_virtual(scenario)


def test_endpoints_share_max_idle_without_closing_each_others_connections_repeatedly() -> None:
    async def scenario() -> None:
        async with delayed_emulator(Rasr(), Pool(warm=2, max_idle=3)) as emulator:
            for mode in ("continue", "short"):
                await emulator.client.warm(Rasr(mode=mode))
            await asyncio.sleep(20)
            before = emulator.proxy.connections
            for _ in range(60):
                await asyncio.sleep(1)
                assert 1 <= emulator.idle_connections <= 3
            assert emulator.proxy.connections - before <= 3 * 60 / 10 + 3

    run_virtual(scenario)


def test_the_member_of_a_fallback_that_sessions_use_is_kept_warm() -> None:
    async def scenario() -> None:
        async with serve(SCRIPT) as emulator:
            second = DashScope("key", endpoint=emulator.dashscope_url)
            fallback = Fallback([(DashScope("key", endpoint="ws://127.0.0.1:9/"), Paraformer()), (second, FunASR())])
            async with Client(fallback, pool=Pool(warm=1)) as client:
                await client.transcribe([SECOND], fallback.options)
                async with client.session(fallback.options) as session:
                    await asyncio.sleep(5)
                    assert client._connections is not None
                    assert len(client._connections) == 1
                    assert session.stats.member is not None
                    assert "fun-asr" in session.stats.member

    run_virtual(scenario)


# --- the age of idle connections -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "renewed_after_s"), [(Paraformer(), 50), (Rasr(), 10)], ids=["dashscope", "huawei"]
)
def test_a_connection_is_ready_at_any_time_of_ten_minutes(options: Options, renewed_after_s: int) -> None:
    async def scenario() -> None:
        async with delayed_emulator(options, Pool(warm=1)) as emulator:
            await emulator.client.warm(options)
            for _ in range(600):
                await asyncio.sleep(1)
                assert emulator.idle_connections >= 1
            assert emulator.proxy.connections == pytest.approx(600 / renewed_after_s, rel=0.3)

    run_virtual(scenario)


@BOTH
def test_no_session_of_ten_minutes_uses_a_connection_that_the_vendor_closed(options: Options) -> None:
    """The emulator closes connections at the vendor's limit; a session with such a connection would have to connect."""

    async def scenario() -> None:
        async with delayed_emulator(options, Pool(warm=1)) as emulator:
            await emulator.client.warm(options)
            for pause_s in itertools.takewhile(lambda _: now() < 600, itertools.cycle([7.3, 16.4, 61.7])):
                await asyncio.sleep(pause_s)
                assert await emulator.time_to_start_s() == emulator.pooled_s

    run_virtual(scenario)


def test_an_idle_connection_that_the_server_closed_is_replaced_before_it_is_needed() -> None:
    connections: list[ServerConnection] = []

    async def stay_open(connection: ServerConnection) -> None:
        connections.append(connection)
        await connection.wait_closed()

    async def scenario() -> None:
        async with scripted_server(stay_open) as service, Client(service, pool=Pool(warm=2)) as client:
            await client.warm(Paraformer())
            await asyncio.sleep(1)
            assert len(connections) == 2
            for connection in connections:
                await connection.close(1001)
            await asyncio.sleep(6)
            assert len(connections) == 4

    run_virtual(scenario)


# --- failures --------------------------------------------------------------------------------------------------------


class ToggledServer:
    """A server whose handshakes respond with `status`; each connection carries any number of tasks."""

    def __init__(self) -> None:
        self.status = HTTPStatus.SWITCHING_PROTOCOLS
        self.handshakes_at: list[float] = []

    async def respond(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes_at.append(now())
        if self.status is HTTPStatus.SWITCHING_PROTOCOLS:
            return None
        code = "InvalidApiKey" if self.status is HTTPStatus.UNAUTHORIZED else "ServiceUnavailable"
        return connection.respond(self.status, json.dumps({"code": code, "message": "no"}))

    async def __call__(self, connection: ServerConnection) -> None:
        while True:
            task_id = await start_task(connection)
            await read_until_finish(connection)
            await send_final(connection, task_id, "there")
            await send_event(connection, "task-finished", task_id, {"output": {}})

    @asynccontextmanager
    async def client(self, pool: Pool, **service_options: Any) -> AsyncIterator[Client]:
        async with scripted_server(self, process_request=self.respond) as default_service:
            service = (
                DashScope(**service_options, endpoint=default_service._endpoint) if service_options else default_service
            )
            async with Client(service, pool=pool, retry=Retry(attempts=0)) as client:
                yield client


def test_attempts_to_open_connections_back_off_until_the_vendor_is_up(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        server = ToggledServer()
        async with server.client(Pool(warm=1)) as client:
            await client.warm(Paraformer())
            server.status = HTTPStatus.SERVICE_UNAVAILABLE
            await asyncio.sleep(200)
            attempts_at = server.handshakes_at[1:]
            delays_s = [later - earlier for earlier, later in itertools.pairwise(attempts_at)]
            assert delays_s[:5] == [roughly(1), roughly(2), roughly(4), roughly(8), roughly(16)]
            assert delays_s[5:] == [roughly(30)] * len(delays_s[5:])
            server.status = HTTPStatus.SWITCHING_PROTOCOLS
            await asyncio.sleep(31)
            assert client._connections is not None
            assert len(client._connections) == 1

    with caplog.at_level(logging.WARNING, "asr_async"):
        run_virtual(scenario)
    assert re.match(r"no connection could be opened ahead, the next attempt waits for 1 s: ", caplog.messages[0])
    assert "sk-scripted" not in caplog.text


def test_after_a_refused_key_no_connection_is_opened_in_advance_until_a_session_starts() -> None:
    async def scenario() -> None:
        server = ToggledServer()
        async with server.client(Pool(warm=1)) as client:
            await client.warm(Paraformer())
            server.status = HTTPStatus.UNAUTHORIZED
            await asyncio.sleep(3_600)
            assert len(server.handshakes_at) == 2
            with pytest.raises(AuthenticationError):
                await client.transcribe([SECOND], Paraformer())
            await asyncio.sleep(3_600)
            assert len(server.handshakes_at) == 3
            server.status = HTTPStatus.SWITCHING_PROTOCOLS
            assert (await client.transcribe([SECOND], Paraformer())).text == "there"
            await asyncio.sleep(60)
            assert client._connections is not None
            assert len(client._connections) == 1

    run_virtual(scenario)


def test_a_refused_key_of_a_function_is_refreshed_once() -> None:
    async def scenario() -> None:
        calls = 0

        def key() -> str:
            nonlocal calls
            calls += 1
            server.status = HTTPStatus.UNAUTHORIZED if calls == 2 else HTTPStatus.SWITCHING_PROTOCOLS
            return f"sk-{calls}"

        server = ToggledServer()
        async with server.client(Pool(warm=1), api_key=key) as client:
            await client.warm(Paraformer())
            assert calls == 3
            assert client._connections is not None
            assert len(client._connections) == 1

    run_virtual(scenario)


def test_an_exception_of_the_function_for_the_key_is_logged_and_retried(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        calls = 0

        def key() -> str:
            nonlocal calls
            calls += 1
            if 2 < calls < 5:
                raise RuntimeError("sk-secret of the key store")
            return "sk-good"

        server = ToggledServer()
        async with server.client(Pool(warm=1), api_key=key) as client:
            await client.warm(Paraformer())
            await asyncio.sleep(60)
            assert calls == 5
            assert client._connections is not None
            assert len(client._connections) == 1

    with caplog.at_level(logging.WARNING, "asr_async"):
        run_virtual(scenario)
    assert "there was no key: RuntimeError" in caplog.text
    assert "sk-secret" not in caplog.text


def test_a_connection_is_not_kept_after_its_session_failed() -> None:
    async def scenario() -> None:
        used_connections = []

        async def refuse_the_task(connection: ServerConnection) -> None:
            task_id = await start_task(connection)
            used_connections.append(connection)
            await send_event(connection, "task-failed", task_id, error_code="InvalidParameter", error_message="no")
            await connection.wait_closed()

        async with scripted_server(refuse_the_task) as service, Client(service, pool=Pool(warm=1)) as client:
            await client.warm(Paraformer())
            for _ in range(3):
                await asyncio.sleep(1)
                with pytest.raises(VendorError):
                    await client.transcribe([SECOND], Paraformer())
            assert len(set(used_connections)) == 3

    run_virtual(scenario)


async def test_warm_raises_the_error_of_the_connection() -> None:
    async with scripted_server(ToggledServer()) as service:
        pass
    async with Client(service, pool=Pool(warm=1)) as client:
        with pytest.raises(ConnectionLostError):
            await client.warm(Paraformer())


# --- closing the client ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_s", [0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 50.5, 51.5])
def test_closing_the_client_at_any_time_leaves_no_task_and_no_connection(at_s: float) -> None:
    async def scenario() -> None:
        errors: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        async with serve(SCRIPT) as emulator:
            path = TcpProxy(int(emulator.address.rpartition(":")[2]), itertools.repeat(NetworkPath(delay_s=1.0)))
            async with path.serving():
                async with Client(service_at(path.port, Paraformer()), pool=Pool(warm=3)) as client:
                    warm_task = asyncio.create_task(client.warm(Paraformer()))
                    await asyncio.sleep(at_s)
                    warm_task.cancel()
                    await asyncio.wait([warm_task])
                assert [task for task in asyncio.all_tasks() if "_Warmer" in repr(task.get_coro())] == []
                await asyncio.sleep(10)
                assert path._handlers == set()
        assert errors == []

    run_virtual(scenario)


async def test_a_client_that_is_cancelled_while_it_closes_leaves_no_task() -> None:
    is_warm = asyncio.Event()

    async def warm_and_close(client: Client) -> None:
        async with client:
            await client.warm(Paraformer())
            is_warm.set()

    async with serve(SCRIPT) as emulator:
        task = asyncio.create_task(
            warm_and_close(Client(DashScope("key", endpoint=emulator.dashscope_url), pool=Pool(warm=3)))
        )
        await is_warm.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert [left for left in asyncio.all_tasks() if "_Warmer" in repr(left.get_coro())] == []


# --- refused arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [-1, 1.5, "2"])
def test_warm_must_be_a_whole_number(warm: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^Pool\(warm={warm!r}\): must be a whole number, 0 or more$"):
        Pool(warm=warm)


def test_warm_must_not_exceed_max_idle() -> None:
    with pytest.raises(ConfigurationError, match=r"^Pool\(warm=9, max_idle=8\): warm must not exceed max_idle"):
        Pool(warm=9)


async def test_warm_is_refused_if_the_pool_keeps_no_connections_ready() -> None:
    async with Client(DashScope("key")) as client:
        with pytest.raises(ConfigurationError, match=r"^warm\(\): this client keeps nothing warm; make it with pool="):
            await client.warm(Paraformer())


async def test_warm_is_refused_before_the_client_is_open() -> None:
    with pytest.raises(LocalProtocolError, match="the client is not open"):
        await Client(DashScope("key"), pool=Pool(warm=1)).warm(Paraformer())
