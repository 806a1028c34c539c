"""Sessions with servers that send without end: memory stays bounded, and nothing is lost in silence.

`benchmarks/floods.py` measures the memory of such sessions; here the bounds are checked one by one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    ASRError,
    ConnectionLostError,
    DeadlineError,
    Paraformer,
    RemoteProtocolError,
    Retry,
    Timeouts,
    connect,
    transcribe,
)
from asr_async._session.receiver import MAX_NAME_CHARS, MAX_REPORTED
from asr_async._session.result_queue import MAX_WAITING, MAX_WAITING_BYTES
from asr_async.client import MAX_TRANSCRIPT_BYTES

from ..support.scripted_server import read_until_finish, scripted_server, send_event, send_final, start_task
from ..support.streaming import SILENT_SECOND, stream_once
from ..support.virtual_time import now, run_virtual

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

    from asr_async import Session

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


# --- a slow caller ---------------------------------------------------------------------------------------------------

TEXT = "x" * 20_000


class FinalsServer:
    """A server that sends finals of 20 ms of audio as fast as they are read, and confirms the end."""

    def __init__(self, count: float, *, text: str = "word", covers_audio: bool = True) -> None:
        self._count = count
        self._text = text
        self._covers_audio = covers_audio
        self.connections = 0
        self.sent = 0

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections += 1
        task_id = await start_task(connection)
        await read_until_finish(connection)
        while self.sent < self._count:
            begin = 20 * self.sent if self._covers_audio else 0
            await send_final(connection, task_id, f"{self.sent} {self._text}", begin, begin + 20)
            self.sent += 1
        await send_event(connection, "task-finished", task_id, {"output": {}})
        await connection.wait_closed()


async def iterate_slowly(session: Session, audio: Any, *, every_s: float) -> tuple[list[str], ASRError | None]:
    """Return the texts of all results, and the error behind them."""
    texts = []
    try:
        async for result in session.stream(audio, pace=None):
            texts.append(result.text)
            await asyncio.sleep(every_s)
    except ASRError as error:
        return texts, error
    return texts, None


def test_finals_that_flood_a_slow_caller_are_held_back_and_none_is_dropped() -> None:
    """The vendor would send 4 GB; the session ends, since no audio is covered, with an error that says so."""

    async def scenario() -> None:
        server = FinalsServer(200_000, text=TEXT, covers_audio=False)
        async with (
            scripted_server(server) as service,
            connect(Paraformer(), service, timeouts=Timeouts(idle=8, finish=30)) as session,
        ):
            texts, error = await iterate_slowly(session, [SILENT_SECOND], every_s=0.5)
        assert isinstance(error, DeadlineError)
        assert "the vendor sends results without end that cover no new audio" in str(error)
        assert len(texts) * len(TEXT) < 4 * MAX_WAITING_BYTES
        assert texts == [f"{number} {TEXT}" for number in range(len(texts))]
        assert server.sent < 2_000

    run_virtual(scenario)


def test_a_slow_caller_receives_a_long_backlog_and_the_connection_is_kept() -> None:
    """More finals than twice the bound, a second for each: pings are answered all the time, and no deadline passes."""
    count = 5 * MAX_WAITING // 2

    async def scenario() -> None:
        server = FinalsServer(count)
        async with (
            scripted_server(server, ping_interval=20, ping_timeout=20) as service,
            connect(Paraformer(), service, timeouts=Timeouts(idle=8, finish=8)) as session,
        ):
            texts, error = await iterate_slowly(session, [SILENT_SECOND] * (count // 50), every_s=1.0)
        assert error is None
        assert texts == [f"{number} word" for number in range(count)]
        assert server.connections == 1
        assert now() >= count

    run_virtual(scenario, quiet_polls=0)


def test_a_caller_that_takes_nothing_from_a_flood_gets_all_that_came_and_an_error() -> None:
    async def scenario() -> None:
        server = FinalsServer(200_000, text=TEXT)
        async with (
            scripted_server(server) as service,
            connect(Paraformer(), service, timeouts=Timeouts(idle=8, finish=30)) as session,
        ):
            results = session.stream([SILENT_SECOND] * 300, pace=None)
            first = await anext(results)
            assert first.text.startswith("0 ")
            await asyncio.sleep(600)
            held_back = server.sent
            numbers = [0]
            with pytest.raises(DeadlineError, match=r"results have not been read for 8 s \(Timeouts.idle\)"):
                async for result in results:
                    numbers.append(int(result.text.partition(" ")[0]))
            assert numbers == list(range(len(numbers)))
            assert len(numbers) * len(TEXT) < 4 * MAX_WAITING_BYTES
            assert server.sent == held_back < 2_000

    run_virtual(scenario)


def test_a_server_that_does_not_read_because_it_cannot_send_is_waited_for() -> None:
    """One task sends a final for each frame that it reads: while it is held back, it takes no audio."""

    async def alternate(connection: ServerConnection) -> None:
        connections.append(connection)
        task_id = await start_task(connection)
        sent = 0
        async for message in connection:
            if isinstance(message, str):
                break
            await send_final(connection, task_id, f"{sent} {TEXT}" + TEXT * 9, 100 * sent, 100 * (sent + 1))
            sent += 1
        await send_event(connection, "task-finished", task_id, {"output": {}})

    connections: list[ServerConnection] = []

    async def scenario() -> None:
        async with (
            scripted_server(alternate, ping_interval=None) as service,
            connect(Paraformer(), service, timeouts=Timeouts(idle=8)) as session,
        ):
            texts, error = await iterate_slowly(session, [SILENT_SECOND] * 40, every_s=5.0)
        assert error is None
        assert [text.partition(" ")[0] for text in texts] == [str(number) for number in range(400)]
        assert len(connections) == 1

    run_virtual(scenario)


def test_a_transcript_is_not_larger_than_speech_of_its_length_can_be() -> None:
    """`transcribe` takes everything at once, so nothing holds the vendor back."""

    async def scenario() -> None:
        server = FinalsServer(200_000, text=TEXT)
        async with scripted_server(server) as service:
            with pytest.raises(RemoteProtocolError, match="MiB of final results for 2 s of audio") as caught:
                await transcribe([SILENT_SECOND] * 2, Paraformer(), service)
        transcript = caught.value.transcript
        assert transcript is not None
        assert [result.text for result in transcript.results] == [
            f"{number} {TEXT}" for number in range(len(transcript.results))
        ]
        assert 0.9 * MAX_TRANSCRIPT_BYTES < len(transcript.text) < 1.1 * MAX_TRANSCRIPT_BYTES

    run_virtual(scenario)


# --- finals that cover nothing new -----------------------------------------------------------------------------------

ATTEMPTS = 3


class CutsBehindFinals:
    """A server that sends the same final on each connection, and aborts it."""

    def __init__(self, begin: int, end: int | None) -> None:
        self._begin = begin
        self._end = end
        self.connections = 0

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections += 1
        task_id = await start_task(connection)
        await connection.recv()
        sentence = {"begin_time": self._begin, "end_time": self._end, "text": "word", "sentence_end": True}
        await send_event(connection, "result-generated", task_id, {"output": {"sentence": sentence}})
        await asyncio.sleep(0.1)
        connection.transport.abort()


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        pytest.param(0, None, id="without-an-end"),
        pytest.param(0, 1_000, id="the-same-again"),
        pytest.param(0, 0, id="without-a-length"),
        pytest.param(0, 1, id="of-a-millisecond"),
        pytest.param(5_000, 6_000, id="beyond-the-audio"),
    ],
)
def test_finals_that_cover_nothing_new_do_not_reset_the_attempts(begin: int, end: int | None) -> None:
    """A final without a usable end covers the audio that was sent, so it may reset them once or twice, not for ever."""

    async def scenario() -> None:
        server = CutsBehindFinals(begin, end)
        async with (
            scripted_server(server) as service,
            connect(Paraformer(), service, retry=Retry(attempts=ATTEMPTS)) as session,
        ):
            with pytest.raises(ConnectionLostError):
                async for _ in session.stream([SILENT_SECOND] * 2, pace=None):
                    pass
        assert server.connections <= 3 * (1 + ATTEMPTS)

    run_virtual(scenario)
