"""Sources that pause: what is sent meanwhile or not, and times that stay those of the source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import (
    AudioFormat,
    ConfigurationError,
    ContextMessage,
    DashScope,
    Fallback,
    FunASR,
    Gummy,
    GummyChat,
    Huawei,
    Paraformer,
    QwenRealtime,
    Rasr,
    Reconnected,
    Result,
    Retry,
    Session,
    connect,
)
from asr_async._connection.silence import Silence
from asr_async._session.policy import check_silence
from asr_async._session.timeline import Timeline
from asr_async.emulator import Emulator, Scripted, serve
from asr_async.emulator.faults import Cut
from asr_async.emulator.positions import position_audio, position_of

from ..support.numbered_audio import finals_of, numbered_millisecond
from ..support.scripted_server import scripted_server, send_event, send_final, send_interim, start_task
from ..support.virtual_time import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from asr_async.vendors.options import Options

FILL = Retry(silence="fill")
PCM16K = AudioFormat("pcm", 16_000)

# --- the rules -------------------------------------------------------------------------------------------------------


def test_times_behind_a_pause_are_less_by_its_silence_and_those_in_it_are_where_it_stands() -> None:
    silence = Silence(PCM16K)
    for _ in range(10):
        silence.put(2_000, 3_200)
    silence.put(5_000, 32_000)
    assert [silence.left_out(time) for time in (0, 1_999, 2_000, 2_500, 3_000, 3_001)] == [
        0, 1_999, 2_000, 2_000, 2_000, 2_001,
    ]  # fmt: skip
    assert [silence.left_out(time) for time in (5_999, 6_000, 6_700, 7_000, 9_000)] == [
        4_999,
        5_000,
        5_000,
        5_000,
        7_000,
    ]
    assert repr(silence) == "<Silence 64000 bytes, 2 pauses>"


def test_a_frame_that_is_no_whole_number_of_milliseconds_adds_nothing_up() -> None:
    audio_format = AudioFormat("pcm", 11_025)
    frame_bytes = audio_format.frame_bytes()
    silence = Silence(audio_format)
    for _ in range(36_000):
        silence.put(1_000, frame_bytes)
    hour_ms = audio_format.to_ms(36_000 * frame_bytes)
    assert hour_ms == 3_598_367, "each frame lacks some samples"
    assert silence.left_out(1_000 + hour_ms + 500) == 1_500


def test_pauses_long_ago_are_forgotten_but_not_how_much_silence_there_was() -> None:
    silence = Silence(PCM16K)
    for second in range(3_000):
        silence.put(second * 1_000, 32_000)
    assert silence.left_out(2_999_000 + 3_000_000) == 2_999_000
    assert silence.left_out(10) == 10 - 2_000_000, "as far off as it gets: nothing is told so late"


def test_a_segment_around_a_pause_is_as_long_as_its_audio() -> None:
    silence = Silence(PCM16K)
    silence.put(2_000, 320_000)
    stretch = Timeline().stretch(1_000, silence)
    told = Result(text="x", is_final=True, segment_id=0, start_ms=500, end_ms=12_500)
    placed = stretch.place(told)
    assert isinstance(placed, Result)
    assert (placed.start_ms, placed.end_ms) == (1_500, 3_500)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (Paraformer(format="mp3"), "silence cannot be put into mp3; send pcm"),
        (QwenRealtime(manual_commit=True), "with manual_commit=True silence would be part of the utterance"),
        (Rasr(mode="sentence"), "huawei/sentence takes 60 s at most, and silence counts"),
        (GummyChat(), "gummy-chat-v1 takes 60 s at most, and silence counts"),
        (Gummy(), "gummy-realtime-v1 ends after 60 s of silence even so; leave silence='resume'"),
        (
            Paraformer(model="paraformer-realtime-v1"),
            "paraformer-realtime-v1 ends after 60 s of silence even so; leave silence='resume'",
        ),
        (FunASR(), "fun-asr-realtime ends after 60 s of silence even so, without heartbeat=True"),
    ],
    ids=lambda value: value.model if not isinstance(value, str) else "",
)
async def test_pauses_that_cannot_be_filled_are_refused_before_connecting(options: Options, text: str) -> None:
    service = Huawei() if isinstance(options, Rasr) else DashScope("key", endpoint="ws://127.0.0.1:9/")
    with pytest.raises(ConfigurationError) as caught:
        async with connect(options, service, retry=FILL):
            pass
    assert str(caught.value) == f"Retry(silence='fill'): {text}"


@pytest.mark.parametrize("options", [Paraformer(heartbeat=True), Rasr(), QwenRealtime()], ids=lambda value: value.model)
def test_pauses_that_can_be_filled_are_not_refused(options: Options) -> None:
    check_silence(FILL, options, takes_commits=False)


def test_a_policy_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Retry\(silence='pad'\): must be 'resume' or 'fill'"):
        Retry(silence="pad")  # type: ignore[arg-type]


def run_long(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """As `run_virtual`, for thousands of frames: what is sent on loopback is there at once."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(quiet_polls=0)) as runner:
        runner.run(scenario())


# --- sessions --------------------------------------------------------------------------------------------------------

SCRIPT = [("Before it.", 300, 1_500), ("Around it, in two halves.", 1_800, 3_200), ("Behind it.", 3_600, 4_700)]
PAUSE_MS = 2_500


def service_at(emulator: Emulator, options: Options) -> Any:
    if isinstance(options, Rasr):
        return Huawei(ak="a", sk="s", project_id="p", region="r", endpoint=emulator.huawei_url)
    return DashScope("key", endpoint=emulator.dashscope_url)


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
            connect(options, service_at(emulator, options), retry=FILL) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(collect(session, results))
            link = session._link
            await speak(session, 0, PAUSE_MS)
            await asyncio.sleep(600)
            await speak(session, PAUSE_MS, 5_000)
            await session.finish()
            assert session._link is link
            assert session.stats.reconnects == 0
            assert session.stats.audio_sent_ms == 5_000
            assert session.stats.silence_sent_ms == pytest.approx(595_000, abs=200), "from the fifth second on"
            usage_s = session.stats.usage_seconds
            assert usage_s is None or usage_s == pytest.approx(600, abs=1), "silence is billed"
        assert spans(results) == [(text, start_ms, end_ms) for text, start_ms, end_ms in SCRIPT]

    run_long(scenario)


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
            connect(options, service_at(emulator, options)) as session,
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

    run_long(scenario)


def test_somebody_who_presses_the_key_and_says_nothing_may_do_so_as_often_as_he_likes() -> None:
    async def scenario() -> None:
        results: list[Any] = []
        async with (
            serve(Scripted([("At last.", 8_200, 9_000)], position=position_of)) as emulator,
            connect(Paraformer(), service_at(emulator, Paraformer())) as session,
        ):
            for second in range(10):
                await speak(session, second * 1_000, second * 1_000 + 1_000)
                await asyncio.sleep(60)
            await session.finish()
            await collect(session, results)
            assert session.stats.reconnects == 10, "more than attempts in a row"
        assert spans(results) == [("At last.", 8_200, 9_000)]

    run_long(scenario)


def test_a_vendor_that_gives_up_a_quiet_source_is_not_taken_for_one_that_is_down() -> None:
    async def scenario() -> None:
        async with serve(Scripted([])) as emulator:
            fallback = Fallback([(service_at(emulator, options), options) for options in (Paraformer(), Rasr())])
            async with connect(fallback.options, fallback) as session:
                members = []
                for _ in range(6):
                    await session.send(position_audio(0, 1_000))
                    await asyncio.sleep(60)
                    members.append(session.stats.member)
                assert session.stats.reconnects == 5
                assert set(members) == {fallback._members[0].name}
                await session.cancel()

    run_long(scenario)


def test_a_context_that_is_told_in_a_pause_does_not_wait_for_its_end() -> None:
    async def scenario() -> None:
        async with (
            serve(Scripted(SCRIPT)) as emulator,
            connect(FunASR(), service_at(emulator, FunASR())) as session,
        ):
            await speak(session, 0, 1_000)
            await asyncio.sleep(60)
            assert session.stats.reconnects == 0
            async with asyncio.timeout(5):
                await session.update_context([ContextMessage("user", "names")])
            assert session.stats.reconnects == 1
            await session.cancel()

    run_long(scenario)


def test_a_session_that_was_opened_long_before_anybody_speaks_is_kept_too() -> None:
    async def scenario() -> None:
        options = Paraformer(heartbeat=True)
        results: list[Any] = []
        async with (
            serve(Scripted(SCRIPT, position=position_of)) as emulator,
            connect(options, service_at(emulator, options), retry=FILL) as session,
        ):
            await asyncio.sleep(300)
            await speak(session, 0, 5_000)
            await session.finish()
            assert session.stats.reconnects == 0
            await collect(session, results)
        assert spans(results) == [(text, start_ms, end_ms) for text, start_ms, end_ms in SCRIPT]

    run_long(scenario)


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

    run_long(scenario)


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

    run_long(scenario)


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

    run_long(scenario)


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

    run_long(scenario)


def test_a_connection_that_is_lost_in_a_pause_is_replaced_at_once_where_pauses_are_filled() -> None:
    async def scenario() -> None:
        options = Rasr(add_punc=True)
        results: list[Any] = []
        async with (
            serve(Scripted(SCRIPT, position=position_of), faults=[Cut(after_s=200)]) as emulator,
            connect(options, service_at(emulator, options), retry=FILL) as session,
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

    run_long(scenario)


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
            connect(options, service_at(emulator, options), retry=Retry(silence="fill", rotate_after=50)) as session,
        ):
            async for event in session.events(source()):
                events.append(event)
                links.add(id(session._link))
            assert session.stats.reconnects == 0
        assert len(links) >= 3
        assert not [event for event in events if isinstance(event, Reconnected)]
        # a segment around the change of connections is told in two halves
        assert {start_ms for _, start_ms, _ in script} <= {start_ms for _, start_ms, _ in spans(events)}
        assert {end_ms for _, _, end_ms in script} <= {end_ms for _, _, end_ms in spans(events)}

    run_long(scenario)


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

    run_long(scenario)
