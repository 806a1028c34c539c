"""Sources that pause: what is sent meanwhile or not, and times that stay those of the source."""

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
SCRIPT = [("Before it.", 300, 1_500), ("Around it, in two halves.", 1_800, 3_200), ("Behind it.", 3_600, 4_700)]
PAUSE_MS = 2_500


async def speak(session: Session, start_ms: int, end_ms: int, chunk_ms: int = 100) -> None:
    for first in range(start_ms, end_ms, chunk_ms):
        await session.send(position_audio(first, min(first + chunk_ms, end_ms)))
        await asyncio.sleep(chunk_ms / 1000)


async def collect(session: Session, into: list[Any]) -> None:
    async for result in session:
        into.append(result)


def spans(results: list[Any]) -> list[tuple[str, int, int]]:
    return [(text, start_ms, end_ms) for _, text, start_ms, end_ms in finals_of(results)]


@pytest.mark.parametrize(
    "options",
    [Paraformer(heartbeat=True), FunASR(heartbeat=True), Rasr(add_punc=True), QwenRealtime()],
    ids=lambda o: o.model,
)
def test_a_pause_that_is_filled_costs_no_connection_and_moves_no_time(options: Options) -> None:
    async def scenario() -> None:
        results: list[Any] = []
        async with (
            serve(Scripted(SCRIPT, position=position_of)) as emulator,
            connect(options, emulator_service(emulator, options), retry=FILL) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(collect(session, results))
            link = session._task
            await speak(session, 0, PAUSE_MS)
            await asyncio.sleep(600)
            await speak(session, PAUSE_MS, 5_000)
            await session.finish()
            assert session._task is link
            assert session.stats.reconnects == 0
            assert session.stats.audio_sent_ms == 5_000
            assert session.stats.silence_sent_ms == pytest.approx(595_000, abs=200), "from the fifth second on"
            usage_s = session.stats.usage_seconds
            assert usage_s is None or usage_s == pytest.approx(600, abs=1), "silence is billed"
        assert spans(results) == [(text, start_ms, end_ms) for text, start_ms, end_ms in SCRIPT]

    run_virtual(scenario, quiet_polls=0)


@pytest.mark.parametrize(
    "options", [Paraformer(), Paraformer(heartbeat=True), Gummy(), Rasr(), QwenRealtime()], ids=lambda o: o.model
)
@pytest.mark.parametrize("pause_ms", [1_650, PAUSE_MS], ids=["between-segments", "within-one"])
def test_a_pause_that_is_not_filled_ends_the_task_and_the_next_word_begins_another(
    options: Options, pause_ms: int
) -> None:
    async def scenario() -> None:
        results: list[Any] = []
        async with (
            serve(Scripted(SCRIPT, position=position_of)) as emulator,
            connect(options, emulator_service(emulator, options)) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(collect(session, results))
            await speak(session, 0, pause_ms)
            await asyncio.sleep(600)
            assert session.stats.reconnects == 0, "not before there is something to say"
            await speak(session, pause_ms, 5_000)
            await session.finish()
            assert (session.stats.reconnects, session.stats.silence_sent_ms) == (1, 0)
        assert [start_ms for _, start_ms, _ in spans(results)] == [start_ms for _, start_ms, _ in SCRIPT]
        assert all(abs(end_ms - SCRIPT[n][2]) <= 1 for n, (_, _, end_ms) in enumerate(spans(results)))

    run_virtual(scenario, quiet_polls=0)


def test_somebody_who_presses_the_key_and_says_nothing_may_do_so_as_often_as_he_likes() -> None:
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
            await collect(session, results)
            assert session.stats.reconnects == 10, "more than attempts in a row"
        assert spans(results) == [("At last.", 8_200, 9_000)]

    run_virtual(scenario, quiet_polls=0)


def test_a_vendor_that_gives_up_a_quiet_source_is_not_taken_for_one_that_is_down() -> None:
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


def test_a_context_that_is_told_in_a_pause_does_not_wait_for_its_end() -> None:
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


def test_a_session_that_was_opened_long_before_anybody_speaks_is_kept_too() -> None:
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
            await collect(session, results)
        assert spans(results) == [(text, start_ms, end_ms) for text, start_ms, end_ms in SCRIPT]

    run_virtual(scenario, quiet_polls=0)


class Recorder:
    """Hears everything, ends a segment in each pause; the first connection is lost when it is told to."""

    def __init__(self) -> None:
        self.heard: list[bytearray] = []
        self.connections: list[ServerConnection] = []

    async def __call__(self, connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        heard = bytearray()
        self.heard.append(heard)
        self.connections.append(connection)
        async for message in connection:
            if isinstance(message, str):
                await send_final(connection, task_id, "rest", max(0, len(heard) // 32 - 100), len(heard) // 32)
                await send_event(connection, "task-finished", task_id, {"output": {}})
                return
            heard += message
            await send_interim(connection, task_id, "…", len(heard) // 32)


def said(start_ms: int, end_ms: int) -> bytes:
    """No sample of it is silence."""
    return b"".join(numbered_millisecond(1 + number) for number in range(start_ms, end_ms))


@pytest.mark.parametrize("chunk_ms", [100, 130, 7])
def test_silence_stands_behind_all_that_was_said_wherever_a_chunk_ends(chunk_ms: int) -> None:
    async def scenario() -> None:
        recorder = Recorder()
        async with (
            scripted_server(recorder) as service,
            connect(Paraformer(heartbeat=True), service, retry=FILL) as session,
        ):
            for first in range(0, 910, chunk_ms):
                await session.send(said(first, min(first + chunk_ms, 910)))
            await asyncio.sleep(20)
            await session.send(said(910, 1_000))
            await session.finish()
            silence = bytes(session.stats.silence_sent_ms * 32)
        assert len(silence) > 14 * 32_000
        assert bytes(recorder.heard[0]) == said(0, 910) + silence + said(910, 1_000)

    run_virtual(scenario, quiet_polls=0)


def test_half_a_sample_stays_with_its_other_half() -> None:
    async def scenario() -> None:
        recorder = Recorder()
        audio = said(0, 200)
        async with (
            scripted_server(recorder) as service,
            connect(Paraformer(heartbeat=True), service, retry=FILL) as session,
        ):
            await session.send(audio[:3_301])
            await asyncio.sleep(10)
            await session.send(audio[3_301:])
            await session.finish()
            silence = bytes(session.stats.silence_sent_ms * 32)
        assert bytes(recorder.heard[0]) == audio[:3_300] + silence + audio[3_300:]

    run_virtual(scenario, quiet_polls=0)


def test_what_is_sent_again_is_the_source_without_its_silence() -> None:
    async def scenario() -> None:
        recorder = Recorder()
        async with (
            scripted_server(recorder) as service,
            connect(Paraformer(heartbeat=True), service, retry=FILL) as session,
        ):
            await session.send(said(0, 500))
            await asyncio.sleep(10)
            await session.send(said(500, 1_000))
            await asyncio.sleep(1)
            recorder.connections[0].transport.abort()
            await asyncio.sleep(2)
            await session.send(said(1_000, 1_500))
            await session.finish()
            assert session.stats.reconnects == 1
        assert bytes(recorder.heard[1]) == said(0, 1_500)

    run_virtual(scenario, quiet_polls=0)


def test_a_wav_is_not_begun_with_silence_before_its_header() -> None:
    async def scenario() -> None:
        recorder = Recorder()
        options = Paraformer(format="wav", heartbeat=True)
        async with scripted_server(recorder) as service, connect(options, service, retry=FILL) as session:
            await asyncio.sleep(15)
            assert recorder.heard == [b""]
            await session.send(AudioFormat("wav", 16_000).header + said(0, 500))
            await asyncio.sleep(15)
            await session.finish()
            assert session.stats.silence_sent_ms > 9_000
        assert recorder.heard[0].startswith(b"RIFF")

    run_virtual(scenario, quiet_polls=0)


def test_a_connection_that_is_lost_in_a_pause_is_replaced_at_once_where_pauses_are_filled() -> None:
    async def scenario() -> None:
        options = Rasr(add_punc=True)
        results: list[Any] = []
        async with (
            serve(Scripted(SCRIPT, position=position_of), faults=[Cut(after_s=200)]) as emulator,
            connect(options, emulator_service(emulator, options), retry=FILL) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(collect(session, results))
            await speak(session, 0, PAUSE_MS)
            await asyncio.sleep(300)
            assert session.stats.reconnects == 1
            await speak(session, PAUSE_MS, 5_000)
            await session.finish()
            assert session.stats.reconnects == 1
        assert spans(results) == [(text, start_ms, end_ms) for text, start_ms, end_ms in SCRIPT]

    run_virtual(scenario, quiet_polls=0)


def test_pauses_and_rotations_together_move_no_time() -> None:
    async def scenario() -> None:
        options = Rasr()
        events: list[Any] = []
        script = [(f"Number {n}.", n * 2_000 + 200, n * 2_000 + 1_500) for n in range(8)]
        links = set()

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
                links.add(id(session._task))
            assert session.stats.reconnects == 0
        assert len(links) >= 3
        assert not [event for event in events if isinstance(event, Reconnected)]
        # a segment around the change of connections is told in two halves
        assert {start_ms for _, start_ms, _ in script} <= {start_ms for _, start_ms, _ in spans(events)}
        assert {end_ms for _, _, end_ms in script} <= {end_ms for _, _, end_ms in spans(events)}

    run_virtual(scenario, quiet_polls=0)


def test_silence_counts_for_the_limit_of_a_connections_audio() -> None:
    async def scenario() -> None:
        recorder = Recorder()
        retry = Retry(silence="fill", rotate_after=30)
        async with (
            scripted_server(recorder) as service,
            connect(Paraformer(heartbeat=True), service, retry=retry) as session,
        ):
            await session.send(said(0, 20_000))
            await asyncio.sleep(60)
            await session.cancel()
        assert len(recorder.heard) >= 2
        assert len(recorder.heard[0]) < (30 + 30 + 1) * 32_000, "30 s, and 30 s of patience for the end of a segment"

    run_virtual(scenario, quiet_polls=0)


def test_a_vendor_that_gave_up_a_quiet_source_is_asked_again_when_there_is_something_to_say() -> None:
    async def scenario() -> None:
        connections = 0

        async def impatient(connection: ServerConnection) -> None:
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

        async with scripted_server(impatient) as service, connect(Paraformer(), service) as session:
            await session.send(bytes(3_200))
            await asyncio.sleep(300)
            assert connections == 1
            await session.send(SILENT_SECOND)
            await session.finish()
            assert [event.text async for event in session if event.is_final] == ["there"]
        assert connections == 2

    run_virtual(scenario)
