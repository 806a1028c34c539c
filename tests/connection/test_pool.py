"""Idle connections: when they are kept for the next session, and when they are closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import (
    Client,
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    Gummy,
    GummyChat,
    Paraformer,
    Pool,
    QwenRealtime,
    Rasr,
    Retry,
    VendorError,
)
from asr_async.emulator import Scripted, serve
from asr_async.vendors.options import Options

from ..support.scripted_server import read_until_finish, scripted_server, send_event, send_final, start_task
from ..support.streaming import SILENT_SECOND, emulator_service
from ..support.virtual_time import run_virtual

pytestmark = pytest.mark.both_loops

SCRIPT = Scripted([("Good morning.", 100, 900)])


async def run_sessions(
    options: Options, count: int, *, pause_s: float = 0.0, pool: Pool | None = None
) -> tuple[Any, int]:
    """Run sessions one after another; return the finals of each and the number of connections."""
    texts, ports = [], set()
    async with serve(SCRIPT) as emulator, Client(emulator_service(emulator, options), pool=pool) as client:
        for _ in range(count):
            async with client.session(options) as session:
                assert session._task is not None
                ports.add(session._task._connection.local_address)
                texts.append(
                    [result.text async for result in session.stream([SILENT_SECOND], pace=None) if result.is_final]
                )
            if pause_s:
                await asyncio.sleep(pause_s)
    return texts, len(ports)


@pytest.mark.parametrize("options", [Paraformer(), Gummy(), Rasr(), Rasr(mode="short")], ids=lambda o: o.model)
async def test_the_next_session_uses_the_connection_of_the_last(options: Options) -> None:
    texts, connections = await run_sessions(options, 3)
    assert connections == 1
    assert [len(finals) for finals in texts] == [1, 1, 1]


@pytest.mark.parametrize("options", [GummyChat(), Rasr(mode="sentence")], ids=lambda o: o.model)
async def test_the_next_sentence_is_a_new_task_on_the_same_connection(options: Options) -> None:
    texts, connections = await run_sessions(options, 3)
    assert connections == 1
    assert [len(finals) for finals in texts] == [1, 1, 1]


async def test_each_session_has_its_own_connection_if_the_vendor_accepts_one_task_on_each() -> None:
    texts, connections = await run_sessions(QwenRealtime(), 2)
    assert connections == 2
    assert texts == [["Good morning."]] * 2


async def test_no_connection_is_kept_with_max_idle_0() -> None:
    _, connections = await run_sessions(Paraformer(), 3, pool=Pool(max_idle=0))
    assert connections == 3


@pytest.mark.parametrize(("options", "limit_s"), [(Paraformer(), 55), (Rasr(), 15)], ids=lambda value: str(value)[:5])
def test_an_idle_connection_is_closed_before_the_vendors_limit(options: Options, limit_s: int) -> None:
    async def scenario() -> None:
        _, connections = await run_sessions(options, 2, pause_s=limit_s - 1)
        assert connections == 1
        _, connections = await run_sessions(options, 2, pause_s=limit_s + 1)
        assert connections == 2

    run_virtual(scenario)


async def serve_one_task(connection: ServerConnection) -> None:
    task_id = await start_task(connection)
    await read_until_finish(connection)
    await send_final(connection, task_id, "there")
    await send_event(connection, "task-finished", task_id, {"output": {}})


async def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    async def close_after_a_task(connection: ServerConnection) -> None:
        await serve_one_task(connection)
        await connection.close(1001)

    async with scripted_server(close_after_a_task) as service, Client(service, retry=Retry(attempts=0)) as client:
        for _ in range(3):
            assert (await client.transcribe([SILENT_SECOND], Paraformer())).text == "there"


async def test_an_idle_connection_that_is_lost_at_the_next_start_is_replaced() -> None:
    connections = 0

    async def abort_at_the_second_start(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await serve_one_task(connection)
        await connection.recv()  # the next run-task
        connection.transport.abort()

    async with (
        scripted_server(abort_at_the_second_start) as service,
        Client(service, retry=Retry(attempts=0)) as client,
    ):
        for _ in range(3):
            assert (await client.transcribe([SILENT_SECOND], Paraformer())).text == "there"
    assert connections == 3


async def test_a_connection_is_not_kept_after_an_error() -> None:
    connections = 0

    async def refuse_the_task(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        task_id = await start_task(connection)
        await send_event(connection, "task-failed", task_id, error_code="InvalidParameter", error_message="no")
        await connection.wait_closed()

    async with scripted_server(refuse_the_task) as service, Client(service) as client:
        for _ in range(2):
            with pytest.raises(VendorError):
                await client.transcribe([SILENT_SECOND], Paraformer())
    assert connections == 2


async def test_a_connection_is_not_kept_if_its_session_is_left_early() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield SILENT_SECOND
            await asyncio.sleep(0)

    async with serve(SCRIPT) as emulator, Client(DashScope("key", endpoint=emulator.dashscope_url)) as client:
        async with client.session(Paraformer()) as session:
            async for _ in session.stream(endless(), pace=None):
                break
        assert client._connections is not None
        assert len(client._connections) == 0


async def test_at_most_max_idle_connections_are_kept() -> None:
    async with serve(SCRIPT) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        async with Client(service, pool=Pool(max_idle=2)) as client:
            await asyncio.gather(*(client.transcribe([SILENT_SECOND], Paraformer()) for _ in range(4)))
            assert client._connections is not None
            assert len(client._connections) == 2


async def test_closing_the_client_closes_idle_connections() -> None:
    closed = asyncio.Event()

    async def record_the_close(connection: ServerConnection) -> None:
        await serve_one_task(connection)
        await connection.wait_closed()
        closed.set()

    async with scripted_server(record_the_close) as service:
        async with Client(service) as client:
            await client.transcribe([SILENT_SECOND], Paraformer())
            assert not closed.is_set()
        async with asyncio.timeout(5):
            await closed.wait()


async def test_a_first_connection_that_fails_is_an_error() -> None:
    async with scripted_server(serve_one_task) as service:
        pass
    async with Client(service) as client:
        with pytest.raises(ConnectionLostError):
            await client.transcribe([SILENT_SECOND], Paraformer())


def test_a_negative_max_idle_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Pool\(max_idle=-1\): must be a whole number, 0 or more"):
        Pool(max_idle=-1)


def test_an_idle_connection_that_is_half_open_is_replaced_within_the_deadlines() -> None:
    async def scenario() -> None:
        async def become_half_open(connection: ServerConnection) -> None:
            await serve_one_task(connection)
            await connection.recv()  # the next run-task
            connection.transport.pause_reading()
            await asyncio.sleep(600)

        async with scripted_server(become_half_open) as service, Client(service, retry=Retry(attempts=0)) as client:
            for _ in range(2):
                assert (await client.transcribe([SILENT_SECOND], Paraformer())).text == "there"

    run_virtual(scenario)
