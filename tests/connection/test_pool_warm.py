"""Connections that are opened before anybody needs them: there when a session begins, replaced before they are too old.

Time is virtual. The way to the emulator takes a second in each direction, so a session that has to connect first begins
four seconds after it was asked for, and one that finds a connection begins after two.
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


class Far:
    """An emulator at the end of a long way."""

    def __init__(self, proxy: TcpProxy, client: Client, options: Options) -> None:
        self.proxy = proxy
        self.client = client
        self.options = options

    @property
    def waiting(self) -> int:
        assert self.client._connections is not None
        return len(self.client._connections)

    async def begin_and_end_s(self) -> float:
        """How long a session took to begin."""
        asked_at = now()
        async with self.client.session(self.options) as session:
            took_s = now() - asked_at
            texts = [result.text async for result in session.stream([SECOND], pace=None) if result.is_final]
            assert texts[0].startswith("Good morning")
        return took_s


@asynccontextmanager
async def far(options: Options, pool: Pool) -> AsyncIterator[Far]:
    async with serve(SCRIPT) as emulator:
        way = TcpProxy(int(emulator.address.rpartition(":")[2]), itertools.repeat(NetworkPath(delay_s=1.0)))
        async with way.serving(), Client(service_at(way.port, options), pool=pool, retry=Retry(attempts=0)) as client:
            yield Far(way, client, options)


def service_at(port: int, options: Options) -> Service:
    if isinstance(options, Rasr):
        return Huawei(ak="a", sk="s", project_id="p", region="r", endpoint=f"ws://127.0.0.1:{port}")
    return DashScope("key", endpoint=f"ws://127.0.0.1:{port}/api-ws/v1/inference")


def roughly(seconds: float) -> Any:
    return pytest.approx(seconds, abs=0.2)


# --- ready when needed -----------------------------------------------------------------------------------------------


@BOTH
def test_the_first_session_connects_and_those_beside_it_find_a_connection(options: Options) -> None:
    async def scenario() -> None:
        async with far(options, Pool(warm=2)) as vendor, vendor.client.session(options):
            await asyncio.sleep(10)
            assert vendor.waiting == 2
            began_s = await asyncio.gather(*(vendor.begin_and_end_s() for _ in range(3)))
            assert sorted(began_s) == [roughly(POOLED_S), roughly(POOLED_S), roughly(COLD_S)]

    run_virtual(scenario)


@BOTH
def test_warmed_ahead_the_first_session_needs_no_handshake(options: Options) -> None:
    async def scenario() -> None:
        async with far(options, Pool(warm=2)) as vendor:
            await vendor.client.warm(options)
            assert vendor.proxy.connections == 1
            assert await vendor.begin_and_end_s() == roughly(POOLED_S)

    run_virtual(scenario)


def test_what_is_taken_is_replaced_and_what_comes_back_is_counted() -> None:
    async def scenario() -> None:
        async with far(Paraformer(), Pool(warm=1)) as vendor:
            await vendor.client.warm(vendor.options)
            async with vendor.client.session(vendor.options) as session:
                await asyncio.sleep(5)
                assert vendor.waiting == 1
                assert vendor.proxy.connections == 2
                await session.send(SECOND)
                await session.finish()
            await asyncio.sleep(20)
            assert vendor.waiting == 2
            assert vendor.proxy.connections == 2

    run_virtual(scenario)


def test_nothing_is_opened_ahead_unless_that_is_wanted() -> None:
    async def scenario() -> None:
        async with far(Paraformer(), Pool()) as vendor:
            await vendor.begin_and_end_s()
            await asyncio.sleep(30)
            assert vendor.proxy.connections == 1

    run_virtual(scenario)


def test_where_a_connection_carries_one_session_none_is_opened_ahead() -> None:
    async def scenario() -> None:
        async with far(QwenRealtime(), Pool(warm=2)) as vendor:
            await vendor.begin_and_end_s()
            await asyncio.sleep(30)
            assert vendor.proxy.connections == 1
            with pytest.raises(ConfigurationError, match=r"^warm\(\): 127\.0\.0\.1:\d+ takes one session of this"):
                await vendor.client.warm(vendor.options)

    run_virtual(scenario)


def test_places_share_what_may_wait_and_do_not_drive_each_other_out() -> None:
    async def scenario() -> None:
        async with far(Rasr(), Pool(warm=2, max_idle=3)) as vendor:
            for mode in ("continue", "short"):
                await vendor.client.warm(Rasr(mode=mode))
            await asyncio.sleep(20)
            before = vendor.proxy.connections
            for _ in range(60):
                await asyncio.sleep(1)
                assert 1 <= vendor.waiting <= 3
            assert vendor.proxy.connections - before <= 3 * 60 / 10 + 3

    run_virtual(scenario)


def test_a_member_is_kept_warm_as_itself() -> None:
    async def scenario() -> None:
        async with serve(SCRIPT) as emulator:
            there = DashScope("key", endpoint=emulator.dashscope_url)
            fallback = Fallback([(DashScope("key", endpoint="ws://127.0.0.1:9/"), Paraformer()), (there, FunASR())])
            async with Client(fallback, pool=Pool(warm=1)) as client:
                await client.transcribe([SECOND], fallback.options)
                async with client.session(fallback.options) as session:
                    await asyncio.sleep(5)
                    assert client._connections is not None
                    assert len(client._connections) == 1
                    assert session.stats.member is not None
                    assert "fun-asr" in session.stats.member

    run_virtual(scenario)


# --- never too old ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "renewed_after_s"), [(Paraformer(), 50), (Rasr(), 10)], ids=["dashscope", "huawei"]
)
def test_over_ten_minutes_there_is_always_one_ready(options: Options, renewed_after_s: int) -> None:
    async def scenario() -> None:
        async with far(options, Pool(warm=1)) as vendor:
            await vendor.client.warm(options)
            for _ in range(600):
                await asyncio.sleep(1)
                assert vendor.waiting >= 1
            assert vendor.proxy.connections == pytest.approx(600 / renewed_after_s, rel=0.3)

    run_virtual(scenario)


@BOTH
def test_over_ten_minutes_no_session_finds_a_connection_that_the_vendor_has_given_up(options: Options) -> None:
    """The emulator closes what waits for longer than the vendor lets it; a session would have to connect once more."""

    async def scenario() -> None:
        async with far(options, Pool(warm=1)) as vendor:
            await vendor.client.warm(options)
            for pause_s in itertools.takewhile(lambda _: now() < 600, itertools.cycle([7.3, 16.4, 61.7])):
                await asyncio.sleep(pause_s)
                assert await vendor.begin_and_end_s() == roughly(POOLED_S)

    run_virtual(scenario)


def test_what_was_closed_while_it_waited_is_replaced_before_anybody_needs_it() -> None:
    connections: list[ServerConnection] = []

    async def lets_wait(connection: ServerConnection) -> None:
        connections.append(connection)
        await connection.wait_closed()

    async def scenario() -> None:
        async with scripted_server(lets_wait) as service, Client(service, pool=Pool(warm=2)) as client:
            await client.warm(Paraformer())
            await asyncio.sleep(1)
            assert len(connections) == 2
            for connection in connections:
                await connection.close(1001)
            await asyncio.sleep(6)
            assert len(connections) == 4

    run_virtual(scenario)


# --- when it fails ---------------------------------------------------------------------------------------------------


class Moody:
    """A vendor that lets in who may come in at the moment; each connection carries one task and then another."""

    def __init__(self) -> None:
        self.mood = HTTPStatus.SWITCHING_PROTOCOLS
        self.asked_at: list[float] = []

    async def let_in(self, connection: ServerConnection, request: Request) -> Response | None:
        self.asked_at.append(now())
        if self.mood is HTTPStatus.SWITCHING_PROTOCOLS:
            return None
        code = "InvalidApiKey" if self.mood is HTTPStatus.UNAUTHORIZED else "ServiceUnavailable"
        return connection.respond(self.mood, json.dumps({"code": code, "message": "no"}))

    async def __call__(self, connection: ServerConnection) -> None:
        while True:
            task_id = await start_task(connection)
            await read_until_finish(connection)
            await send_final(connection, task_id, "there")
            await send_event(connection, "task-finished", task_id, {"output": {}})

    @asynccontextmanager
    async def calling(self, pool: Pool, **of_service: Any) -> AsyncIterator[Client]:
        async with scripted_server(self, process_request=self.let_in) as simple:
            service = DashScope(**of_service, endpoint=simple._endpoint) if of_service else simple
            async with Client(service, pool=pool, retry=Retry(attempts=0)) as client:
                yield client


def test_a_vendor_that_is_down_is_asked_ever_more_rarely_and_found_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        vendor = Moody()
        async with vendor.calling(Pool(warm=1)) as client:
            await client.warm(Paraformer())
            vendor.mood = HTTPStatus.SERVICE_UNAVAILABLE
            await asyncio.sleep(200)
            asked_at = vendor.asked_at[1:]
            pauses = [later - earlier for earlier, later in itertools.pairwise(asked_at)]
            assert pauses[:5] == [roughly(1), roughly(2), roughly(4), roughly(8), roughly(16)]
            assert pauses[5:] == [roughly(30)] * len(pauses[5:])
            vendor.mood = HTTPStatus.SWITCHING_PROTOCOLS
            await asyncio.sleep(31)
            assert client._connections is not None
            assert len(client._connections) == 1

    with caplog.at_level(logging.WARNING, "asr_async"):
        run_virtual(scenario)
    assert re.match(r"no connection could be opened ahead, the next attempt waits for 1 s: ", caplog.messages[0])
    assert "sk-scripted" not in caplog.text


def test_a_refused_key_stops_the_warming_until_a_session_gets_in() -> None:
    async def scenario() -> None:
        vendor = Moody()
        async with vendor.calling(Pool(warm=1)) as client:
            await client.warm(Paraformer())
            vendor.mood = HTTPStatus.UNAUTHORIZED
            await asyncio.sleep(3_600)
            assert len(vendor.asked_at) == 2
            with pytest.raises(AuthenticationError):
                await client.transcribe([SECOND], Paraformer())
            await asyncio.sleep(3_600)
            assert len(vendor.asked_at) == 3
            vendor.mood = HTTPStatus.SWITCHING_PROTOCOLS
            assert (await client.transcribe([SECOND], Paraformer())).text == "there"
            await asyncio.sleep(60)
            assert client._connections is not None
            assert len(client._connections) == 1

    run_virtual(scenario)


def test_a_key_that_is_refused_is_asked_for_again_where_a_function_gives_it() -> None:
    async def scenario() -> None:
        asked = 0

        def key() -> str:
            nonlocal asked
            asked += 1
            vendor.mood = HTTPStatus.UNAUTHORIZED if asked == 2 else HTTPStatus.SWITCHING_PROTOCOLS
            return f"sk-{asked}"

        vendor = Moody()
        async with vendor.calling(Pool(warm=1), api_key=key) as client:
            await client.warm(Paraformer())
            assert asked == 3
            assert client._connections is not None
            assert len(client._connections) == 1

    run_virtual(scenario)


def test_a_function_for_the_key_that_raises_harms_no_client(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        asked = 0

        def key() -> str:
            nonlocal asked
            asked += 1
            if 2 < asked < 5:
                raise RuntimeError("sk-secret of the keeper")
            return "sk-good"

        vendor = Moody()
        async with vendor.calling(Pool(warm=1), api_key=key) as client:
            await client.warm(Paraformer())
            await asyncio.sleep(60)
            assert asked == 5
            assert client._connections is not None
            assert len(client._connections) == 1

    with caplog.at_level(logging.WARNING, "asr_async"):
        run_virtual(scenario)
    assert "there was no key: RuntimeError" in caplog.text
    assert "sk-secret" not in caplog.text


def test_a_connection_is_not_kept_after_its_session_failed() -> None:
    async def scenario() -> None:
        carried = []

        async def fails(connection: ServerConnection) -> None:
            task_id = await start_task(connection)
            carried.append(connection)
            await send_event(connection, "task-failed", task_id, error_code="InvalidParameter", error_message="no")
            await connection.wait_closed()

        async with scripted_server(fails) as service, Client(service, pool=Pool(warm=1)) as client:
            await client.warm(Paraformer())
            for _ in range(3):
                await asyncio.sleep(1)
                with pytest.raises(VendorError):
                    await client.transcribe([SECOND], Paraformer())
            assert len(set(carried)) == 3

    run_virtual(scenario)


async def test_what_cannot_be_opened_is_told_to_who_warms() -> None:
    async with scripted_server(Moody()) as service:
        pass
    async with Client(service, pool=Pool(warm=1)) as client:
        with pytest.raises(ConnectionLostError):
            await client.warm(Paraformer())


# --- leaving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_s", [0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 50.5, 51.5])
def test_closing_the_client_at_any_time_leaves_no_task_and_no_connection(at_s: float) -> None:
    async def scenario() -> None:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
        async with serve(SCRIPT) as emulator:
            way = TcpProxy(int(emulator.address.rpartition(":")[2]), itertools.repeat(NetworkPath(delay_s=1.0)))
            async with way.serving():
                async with Client(service_at(way.port, Paraformer()), pool=Pool(warm=3)) as client:
                    warming = asyncio.create_task(client.warm(Paraformer()))
                    await asyncio.sleep(at_s)
                    warming.cancel()
                    await asyncio.wait([warming])
                assert [task for task in asyncio.all_tasks() if "_Warmer" in repr(task.get_coro())] == []
                await asyncio.sleep(10)
                assert way._handlers == set()
        assert complaints == []

    run_virtual(scenario)


async def test_cancelled_while_it_closes_a_client_leaves_no_task() -> None:
    leaves = asyncio.Event()

    async def run(client: Client) -> None:
        async with client:
            await client.warm(Paraformer())
            leaves.set()

    async with serve(SCRIPT) as emulator:
        task = asyncio.create_task(run(Client(DashScope("key", endpoint=emulator.dashscope_url), pool=Pool(warm=3))))
        await leaves.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert [left for left in asyncio.all_tasks() if "_Warmer" in repr(left.get_coro())] == []


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [-1, 1.5, "2"])
def test_a_warmth_that_is_no_number_is_refused(warm: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^Pool\(warm={warm!r}\): must be a whole number, 0 or more$"):
        Pool(warm=warm)


def test_more_warm_connections_than_may_wait_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^Pool\(warm=9, max_idle=8\): warm must not exceed max_idle"):
        Pool(warm=9)


async def test_warming_where_nothing_is_to_be_warm_is_refused() -> None:
    async with Client(DashScope("key")) as client:
        with pytest.raises(ConfigurationError, match=r"^warm\(\): this client keeps nothing warm; make it with pool="):
            await client.warm(Paraformer())


async def test_warming_before_the_client_is_open_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="the client is not open"):
        await Client(DashScope("key"), pool=Pool(warm=1)).warm(Paraformer())
