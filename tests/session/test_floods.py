"""Sessions with servers that send without end: memory stays bounded, and nothing is lost in silence.

`benchmarks/floods.py` measures the memory of such sessions; here the bounds are checked one by one.
"""

from __future__ import annotations

import itertools
import json
import logging
from typing import TYPE_CHECKING

import pytest

from asr_async import Paraformer, RemoteProtocolError, Retry, connect
from asr_async._session.receiver import MAX_NAME_CHARS, MAX_REPORTED

from ..support.scripted_server import read_until_finish, scripted_server, send_event, start_task
from ..support.streaming import SILENT_SECOND, stream_once
from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

pytestmark = pytest.mark.both_loops


def test_a_server_that_sends_and_never_opens_the_task_is_refused() -> None:
    async def never_open(connection: ServerConnection) -> None:
        task_id = json.loads(await connection.recv())["header"]["task_id"]
        for number in itertools.count():
            await send_event(connection, f"event {number}", task_id)

    async def scenario() -> None:
        async with scripted_server(never_open) as service:
            texts, error = await stream_once(service)
            assert texts == []
            assert isinstance(error, RemoteProtocolError)
            assert "sends messages without end and does not open the task" in str(error)

    run_virtual(scenario)


def test_a_limited_number_of_unknown_names_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def send_unknown_events(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        for number in range(2 * MAX_REPORTED):
            await send_event(connection, f"event {number} {'x' * 5_000}", task_id)
        await read_until_finish(connection)
        await send_event(connection, "task-finished", task_id)

    async def scenario() -> None:
        async with (
            scripted_server(send_unknown_events) as service,
            connect(Paraformer(), service, retry=Retry(attempts=0)) as session,
        ):
            async for _ in session.stream([SILENT_SECOND], pace=None):
                pass
            reported = session._receiver._reported
            assert len(reported) == MAX_REPORTED
            assert {len(name) for name in reported} == {MAX_NAME_CHARS}

    with caplog.at_level(logging.INFO, "asr_async"):
        run_virtual(scenario)
    lines = [record.getMessage() for record in caplog.records if "unknown to this version" in record.getMessage()]
    assert len(lines) == MAX_REPORTED
    assert max(map(len, lines)) < 1_000
