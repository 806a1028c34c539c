"""Sources that pause: silence that is sent or not, and times that remain those of the source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import (
    AudioFormat,
    ContextMessage,
    Fallback,
    FunASR,
    Gummy,
    Paraformer,
    QwenRealtime,
    Rasr,
    Reconnected,
    Retry,
    Session,
    connect,
)
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut
from asr_async.emulator.positions import position_audio, position_of

from ..support.numbered_audio import finals_of, numbered_millisecond
from ..support.scripted_server import (
    read_until_finish,
    scripted_server,
    send_event,
    send_final,
    send_interim,
    start_task,
)
from ..support.streaming import SILENT_SECOND, emulator_service
from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    from asr_async.vendors.options import Options

pytestmark = pytest.mark.both_loops

FILL = Retry(silence="fill")
SCRIPT = [
    ("Before the pause.", 300, 1_500),
    ("Around the pause, in two halves.", 1_800, 3_200),
    ("After the pause.", 3_600, 4_700),
]
PAUSE_MS = 2_500


async def speak(session: Session, start_ms: int, end_ms: int, chunk_ms: int = 100) -> None:
    for first in range(start_ms, end_ms, chunk_ms):
        await session.send(position_audio(first, min(first + chunk_ms, end_ms)))
        await asyncio.sleep(chunk_ms / 1000)


async def collect_results(session: Session, results: list[Any]) -> None:
    async for result in session:
        results.append(result)


def spans_of(results: list[Any]) -> list[tuple[str, int, int]]:
    return [(text, start_ms, end_ms) for _, text, start_ms, end_ms in finals_of(results)]


@pytest.mark.parametrize(
    "options",
    [Paraformer(heartbeat=True), FunASR(heartbeat=True), Rasr(add_punc=True), QwenRealtime()],
    ids=lambda o: o.model,
)
def test_a_filled_pause_needs_no_reconnect_and_shifts_no_times(options: Options) -> None:
    async def scenario() -> None:
        results: list[Any] = []
        async with (
            serve(Scripted(SCRIPT, position=position_of)) as emulator,
            connect(options, emulator_service(emulator, options), retry=FILL) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(collect_results(session, results))
            first_task = session._task
            await speak(session, 0, PAUSE_MS)
            await asyncio.sleep(600)
            await speak(session, PAUSE_MS, 5_000)
            await session.finish()
            assert session._task is first_task
            assert session.stats.reconnects == 0
            assert session.stats.audio_sent_ms == 5_000
            assert session.stats.silence_sent_ms == pytest.approx(595_000, abs=200), "from the fifth second on"
            usage_s = session.stats.usage_seconds
            assert usage_s is None or usage_s == pytest.approx(600, abs=1), "silence is billed"
        assert spans_of(results) == [(text, start_ms, end_ms) for text, start_ms, end_ms in SCRIPT]

    run_virtual(scenario, quiet_polls=0)


@pytest.mark.parametrize(
    "options", [Paraformer(), Paraformer(heartbeat=True), Gummy(), Rasr(), QwenRealtime()], ids=lambda o: o.model
)
@pytest.mark.parametrize("pause_ms", [1_650, PAUSE_MS], ids=["between-segments", "within-one"])
def test_an_unfilled_pause_ends_the_task_and_the_next_audio_starts_another(options: Options, pause_ms: int) -> None:
    async def scenario() -> None:
        results: list[Any] = []
        async with (
            serve(Scripted(SCRIPT, position=position_of)) as emulator,
            connect(options, emulator_service(emulator, options)) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(collect_results(session, results))
            await speak(session, 0, pause_ms)
            await asyncio.sleep(600)
            assert session.stats.reconnects == 0, "no reconnect before the source yields audio again"
            await speak(session, pause_ms, 5_000)
            await session.finish()
            assert (session.stats.reconnects, session.stats.silence_sent_ms) == (1, 0)
        assert [start_ms for _, start_ms, _ in spans_of(results)] == [start_ms for _, start_ms, _ in SCRIPT]
        assert all(abs(end_ms - SCRIPT[n][2]) <= 1 for n, (_, _, end_ms) in enumerate(spans_of(results)))

    run_virtual(scenario, quiet_polls=0)


def test_reconnects_after_pauses_do_not_use_up_the_attempts() -> None:
    async def scenario() -> None:
        results: list[Any] = []
        async with (
            serve(Scripted([("At last.", 8_200, 9_000)], position=position_of)) as emulator,
            connect(Paraformer(), emulator_service(emulator, Paraformer())) as session,
        ):
            for second in range(10):
                await speak(session, second * 1_000, second * 1_000 + 1_000)
                await asyncio.sleep(60)
            await session.finish()
            await collect_results(session, results)
            assert session.stats.reconnects == 10, "more than Retry.attempts"
        assert spans_of(results) == [("At last.", 8_200, 9_000)]

    run_virtual(scenario, quiet_polls=0)


def test_a_task_that_ends_in_a_pause_does_not_mark_the_member_as_down() -> None:
    async def scenario() -> None:
        async with serve(Scripted([])) as emulator:
            fallback = Fallback([(emulator_service(emulator, options), options) for options in (Paraformer(), Rasr())])
            async with connect(fallback.options, fallback) as session:
                members = []
                for _ in range(6):
                    await session.send(position_audio(0, 1_000))
                    await asyncio.sleep(60)
                    members.append(session.stats.member)
                assert session.stats.reconnects == 5
                assert set(members) == {fallback._members[0].name}
                await session.cancel()

    run_virtual(scenario, quiet_polls=0)


def test_a_context_is_sent_during_a_pause() -> None:
    async def scenario() -> None:
        async with (
            serve(Scripted(SCRIPT)) as emulator,
            connect(FunASR(), emulator_service(emulator, FunASR())) as session,
        ):
            await speak(session, 0, 1_000)
            await asyncio.sleep(60)
            assert session.stats.reconnects == 0
            async with asyncio.timeout(5):
                await session.update_context([ContextMessage("user", "names")])
            assert session.stats.reconnects == 1
            await session.cancel()

    run_virtual(scenario, quiet_polls=0)


def test_silence_keeps_a_session_open_before_its_first_audio() -> None:
    async def scenario() -> None:
        options = Paraformer(heartbeat=True)
        results: list[Any] = []
        async with (
            serve(Scripted(SCRIPT, position=position_of)) as emulator,
            connect(options, emulator_service(emulator, options), retry=FILL) as session,
        ):
            await asyncio.sleep(300)
            await speak(session, 0, 5_000)
            await session.finish()
            assert session.stats.reconnects == 0
            await collect_results(session, results)
        assert spans_of(results) == [(text, start_ms, end_ms) for text, start_ms, end_ms in SCRIPT]

    run_virtual(scenario, quiet_polls=0)


class RecordingServer:
    """A server that records the audio of each connection and sends its only final at the end of the task."""

    def __init__(self) -> None:
        self.audio: list[bytearray] = []
        self.connections: list[ServerConnection] = []

    async def __call__(self, connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        audio = bytearray()
        self.audio.append(audio)
        self.connections.append(connection)
        async for message in connection:
            if isinstance(message, str):
                await send_final(connection, task_id, "rest", max(0, len(audio) // 32 - 100), len(audio) // 32)
                await send_event(connection, "task-finished", task_id, {"output": {}})
                return
            audio += message
            await send_interim(connection, task_id, "…", len(audio) // 32)


def speech(start_ms: int, end_ms: int) -> bytes:
    """Return audio without a silent sample."""
    return b"".join(numbered_millisecond(1 + number) for number in range(start_ms, end_ms))


@pytest.mark.parametrize("chunk_ms", [100, 130, 7])
def test_silence_follows_all_audio_of_the_source_wherever_a_chunk_ends(chunk_ms: int) -> None:
    async def scenario() -> None:
        server = RecordingServer()
        async with (
            scripted_server(server) as service,
            connect(Paraformer(heartbeat=True), service, retry=FILL) as session,
        ):
            for first in range(0, 910, chunk_ms):
                await session.send(speech(first, min(first + chunk_ms, 910)))
            await asyncio.sleep(20)
            await session.send(speech(910, 1_000))
            await session.finish()
            silence = bytes(session.stats.silence_sent_ms * 32)
        assert len(silence) > 14 * 32_000
        assert bytes(server.audio[0]) == speech(0, 910) + silence + speech(910, 1_000)

    run_virtual(scenario, quiet_polls=0)


def test_silence_does_not_split_a_sample() -> None:
    async def scenario() -> None:
        server = RecordingServer()
        audio = speech(0, 200)
        async with (
            scripted_server(server) as service,
            connect(Paraformer(heartbeat=True), service, retry=FILL) as session,
        ):
            await session.send(audio[:3_301])
            await asyncio.sleep(10)
            await session.send(audio[3_301:])
            await session.finish()
            silence = bytes(session.stats.silence_sent_ms * 32)
        assert bytes(server.audio[0]) == audio[:3_300] + silence + audio[3_300:]

    run_virtual(scenario, quiet_polls=0)


def test_a_replay_contains_no_silence() -> None:
    async def scenario() -> None:
        server = RecordingServer()
        async with (
            scripted_server(server) as service,
            connect(Paraformer(heartbeat=True), service, retry=FILL) as session,
        ):
            await session.send(speech(0, 500))
            await asyncio.sleep(10)
            await session.send(speech(500, 1_000))
            await asyncio.sleep(1)
            server.connections[0].transport.abort()
            await asyncio.sleep(2)
            await session.send(speech(1_000, 1_500))
            await session.finish()
            assert session.stats.reconnects == 1
        assert bytes(server.audio[1]) == speech(0, 1_500)

    run_virtual(scenario, quiet_polls=0)


def test_no_silence_is_sent_before_the_header_of_a_wav() -> None:
    async def scenario() -> None:
        server = RecordingServer()
        options = Paraformer(format="wav", heartbeat=True)
        async with scripted_server(server) as service, connect(options, service, retry=FILL) as session:
            await asyncio.sleep(15)
            assert server.audio == [b""]
            await session.send(AudioFormat("wav", 16_000).header + speech(0, 500))
            await asyncio.sleep(15)
            await session.finish()
            assert session.stats.silence_sent_ms > 9_000
        assert server.audio[0].startswith(b"RIFF")

    run_virtual(scenario, quiet_polls=0)


def test_a_connection_that_is_lost_in_a_filled_pause_is_replaced_at_once() -> None:
    async def scenario() -> None:
        options = Rasr(add_punc=True)
        results: list[Any] = []
        async with (
            serve(Scripted(SCRIPT, position=position_of), faults=[Cut(after_s=200)]) as emulator,
            connect(options, emulator_service(emulator, options), retry=FILL) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(collect_results(session, results))
            await speak(session, 0, PAUSE_MS)
            await asyncio.sleep(300)
            assert session.stats.reconnects == 1
            await speak(session, PAUSE_MS, 5_000)
            await session.finish()
            assert session.stats.reconnects == 1
        assert spans_of(results) == [(text, start_ms, end_ms) for text, start_ms, end_ms in SCRIPT]

    run_virtual(scenario, quiet_polls=0)


def test_pauses_and_rotations_together_shift_no_times() -> None:
    async def scenario() -> None:
        options = Rasr()
        events: list[Any] = []
        script = [(f"Number {n}.", n * 2_000 + 200, n * 2_000 + 1_500) for n in range(8)]
        # the tasks themselves: the id() of one that is gone may be used again
        tasks: list[Any] = []

        async def source() -> Any:
            for first in range(0, 16_000, 100):
                yield position_audio(first, first + 100)
                await asyncio.sleep(30 if first % 3_000 == 1_000 else 0.1)

        async with (
            serve(Scripted(script, position=position_of)) as emulator,
            connect(
                options, emulator_service(emulator, options), retry=Retry(silence="fill", rotate_after=50)
            ) as session,
        ):
            async for event in session.events(source()):
                events.append(event)
                if session._task not in tasks:
                    tasks.append(session._task)
            assert session.stats.reconnects == 0
        assert len(tasks) >= 3
        assert not [event for event in events if isinstance(event, Reconnected)]
        # a segment around a rotation is delivered in two halves
        assert {start_ms for _, start_ms, _ in script} <= {start_ms for _, start_ms, _ in spans_of(events)}
        assert {end_ms for _, _, end_ms in script} <= {end_ms for _, _, end_ms in spans_of(events)}

    run_virtual(scenario, quiet_polls=0)


def test_silence_counts_towards_the_limit_of_a_connections_audio() -> None:
    async def scenario() -> None:
        server = RecordingServer()
        retry = Retry(silence="fill", rotate_after=30)
        async with (
            scripted_server(server) as service,
            connect(Paraformer(heartbeat=True), service, retry=retry) as session,
        ):
            await session.send(speech(0, 20_000))
            await asyncio.sleep(60)
            await session.cancel()
        assert len(server.audio) >= 2
        assert len(server.audio[0]) < (30 + 30 + 1) * 32_000, "30 s, and 30 s of waiting for the end of a segment"

    run_virtual(scenario, quiet_polls=0)


def test_a_task_that_timed_out_in_a_pause_is_replaced_when_the_source_yields_audio() -> None:
    async def scenario() -> None:
        connections = 0

        async def time_out_after_23_s(connection: ServerConnection) -> None:
            nonlocal connections
            connections += 1
            task_id = await start_task(connection)
            try:
                async with asyncio.timeout(23):
                    await read_until_finish(connection)
                await send_final(connection, task_id, "there", 0, 900)
                await send_event(connection, "task-finished", task_id, {"output": {}})
            except TimeoutError:
                text = "request timeout after 23 seconds."
                await send_event(connection, "task-failed", task_id, error_code="CLIENT_ERROR", error_message=text)

        async with scripted_server(time_out_after_23_s) as service, connect(Paraformer(), service) as session:
            await session.send(bytes(3_200))
            await asyncio.sleep(300)
            assert connections == 1
            await session.send(SILENT_SECOND)
            await session.finish()
            assert [event.text async for event in session if event.is_final] == ["there"]
        assert connections == 2

    run_virtual(scenario)
