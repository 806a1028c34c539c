"""`Session.finalize`: everything that was said becomes final, and the session goes on with the same times."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    Client,
    ConfigurationError,
    DeadlineError,
    Event,
    FunASR,
    Gummy,
    GummyChat,
    LocalProtocolError,
    Paraformer,
    QwenAudio,
    QwenRealtime,
    Rasr,
    Retry,
    Session,
    SpeechStarted,
    Timeouts,
    connect,
)
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut, MuteFinish
from asr_async.emulator.positions import position_audio, position_of

from ..support.numbered_audio import finals_of
from ..support.realtime_server import RealtimeConnection
from ..support.scripted_server import read_until_finish, scripted_server, send_event, send_final, start_task
from ..support.segment_events import assert_framed
from ..support.streaming import SILENT_SECOND, emulator_service
from ..support.virtual_time import now, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.server import ServerConnection

    from asr_async.vendors.options import Options

SCRIPT = [
    ("turn on the light", 200, 1_400),
    ("and the radio", 2_200, 3_600),
    ("good night", 4_300, 5_600),
]
TURNS_MS = [0, 1_800, 4_000, 6_000]

MODELS: list[Options] = [
    Paraformer(),
    FunASR(),
    QwenAudio(),
    Gummy(),
    Gummy(translation_target_languages=["en"]),
    QwenRealtime(),
    QwenRealtime(manual_commit=True),
    Rasr(),
    Rasr(mode="short"),
]


def name_of(options: Options) -> str:
    suffix = "-manual" if getattr(options, "manual_commit", False) else ""
    return options.model + suffix + ("-translated" if getattr(options, "translation_target_languages", ()) else "")


every_protocol = pytest.mark.parametrize("options", MODELS, ids=name_of)


async def speak(session: Session, start_ms: int, end_ms: int) -> None:
    """Push audio in real time."""
    for first in range(start_ms, end_ms, 100):
        await session.send(position_audio(first, min(first + 100, end_ms)))
        await asyncio.sleep(0.1)


async def collect(session: Session, events: list[Event]) -> None:
    async for event in session.events():
        events.append(event)


def texts_of(events: list[Any]) -> list[str]:
    return [text for _, text, _, _ in finals_of(events)]


@every_protocol
@pytest.mark.parametrize("pause_s", [0, 120], ids=["at-once", "after-a-pause"])
def test_each_turn_is_final_when_finalize_returns_and_times_go_on(options: Options, pause_s: float) -> None:
    """The vendor finds no end of an utterance by itself: only the call ends one."""
    words = [f"word{number}" for number in range(12)]

    async def scenario() -> None:
        events: list[Event] = []
        async with (
            serve(Scripted([(" ".join(words), 0, 6_000)], position=position_of)) as emulator,
            connect(options, emulator_service(emulator, options)) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(collect(session, events))
            for turn in range(3):
                await speak(session, 2_000 * turn, 2_000 * turn + 2_000)
                assert turn == 2 or len(texts_of(events)) == turn, "the script ends with the third turn"
                began_at = now()
                await session.finalize()
                assert now() - began_at < 0.5, "the delay is the vendor's"
                assert texts_of(events)[turn:] == [" ".join(words[4 * turn : 4 * turn + 4])]
                await asyncio.sleep(pause_s)
            await session.finish()
            # a pause ends a connection that stays open
            reconnects = 3 if pause_s and getattr(options, "manual_commit", False) else 0
            assert (session.stats.reconnects, session.stats.audio_sent_ms) == (reconnects, 6_000)
        assert_framed(events)
        assert [(start_ms, end_ms) for _, _, start_ms, end_ms in finals_of(events)] == [
            (0, 2_000),
            (2_000, 4_000),
            (4_000, 6_000),
        ]

    run_virtual(scenario, quiet_polls=0)


@every_protocol
def test_a_cut_loses_nothing_and_starts_nothing_twice(options: Options) -> None:
    async def scenario() -> None:
        events: list[Event] = []
        async with (
            serve(Scripted(SCRIPT, position=position_of), faults=[Cut(after_audio_ms=900, times=3)]) as emulator,
            connect(options, emulator_service(emulator, options)) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(collect(session, events))
            for start_ms, end_ms in itertools.pairwise(TURNS_MS):
                await speak(session, start_ms, end_ms)
                await session.finalize()
            await session.finish()
            assert session.stats.reconnects == 3
            assert session.gaps == ()
        assert texts_of(events) == [text for text, _, _ in SCRIPT]
        assert len([event for event in events if isinstance(event, SpeechStarted)]) == 3
        assert_framed(events)

    run_virtual(scenario, quiet_polls=0)


@every_protocol
def test_nothing_said_is_harmless(options: Options) -> None:
    async def scenario() -> None:
        events: list[Event] = []
        async with (
            serve(Scripted([("at last", 3_200, 3_900)], position=position_of)) as emulator,
            connect(options, emulator_service(emulator, options)) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(collect(session, events))
            began_at = now()
            await session.finalize()
            await session.finalize()
            assert now() - began_at < 0.1
            await speak(session, 0, 1_500)
            began_at = now()
            await session.finalize()
            await session.finalize()
            assert now() - began_at < 0.1
            assert options.capabilities.commit or events == []
            await speak(session, 1_500, 4_000)
            await asyncio.gather(session.finalize(), session.finalize())
            await session.finish()
        assert [text for text in texts_of(events) if text] == ["at last"]

    run_virtual(scenario, quiet_polls=0)


@every_protocol
def test_audio_that_arrives_while_a_task_ends_is_kept(options: Options) -> None:
    async def scenario() -> None:
        events: list[Event] = []
        async with (
            serve(Scripted(SCRIPT, position=position_of)) as emulator,
            connect(options, emulator_service(emulator, options)) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(collect(session, events))
            for start_ms in range(0, 6_000, 100):
                await session.send(position_audio(start_ms, start_ms + 100))
                if start_ms + 100 in TURNS_MS:
                    tasks.create_task(session.finalize())
                await asyncio.sleep(0.1)
            await session.finish()
        assert texts_of(events) == [text for text, _, _ in SCRIPT]
        assert_framed(events)

    run_virtual(scenario, quiet_polls=0)


@pytest.mark.parametrize("options", [Paraformer(), Rasr()], ids=name_of)
def test_the_tasks_use_one_connection(options: Options) -> None:
    async def scenario() -> None:
        async with serve(Scripted(SCRIPT, position=position_of)) as emulator:
            service = emulator_service(emulator, options)
            async with Client(service) as client, client.session(options) as session:
                connection = session._task._connection  # type: ignore[union-attr]
                for turn in range(3):
                    await speak(session, 1_000 * turn, 1_000 * turn + 1_000)
                    await session.finalize()
                    assert session._task._connection is connection  # type: ignore[union-attr]
                await session.finish()

    run_virtual(scenario, quiet_polls=0)


def test_before_the_first_audio_it_leaves_open_where_the_audio_comes_from() -> None:
    async def scenario() -> None:
        async with (
            serve(Scripted(SCRIPT, position=position_of)) as emulator,
            connect(Paraformer(), emulator_service(emulator, Paraformer())) as session,
        ):
            await session.finalize()
            results = [result async for result in session.stream([position_audio(0, 2_000)], pace=None)]
            assert [result.text for result in results if result.is_final] == ["turn on the light"]

    run_virtual(scenario, quiet_polls=0)


@pytest.mark.parametrize("options", [Paraformer(), Rasr(), QwenRealtime()], ids=name_of)
def test_a_source_that_is_streamed_can_be_finalized(options: Options) -> None:
    script = [("turn on the light", 200, 9_000)]

    async def source() -> AsyncIterator[bytes]:
        for first in range(0, 4_000, 100):
            await asyncio.sleep(0.1)
            yield position_audio(first, first + 100)

    async def scenario() -> None:
        events: list[Event] = []
        async with (
            serve(Scripted(script, position=position_of)) as emulator,
            connect(options, emulator_service(emulator, options)) as session,
            asyncio.TaskGroup() as tasks,
        ):

            async def finalize_later() -> None:
                await asyncio.sleep(2.05)
                await session.finalize()
                assert len(texts_of(events)) == 1

            tasks.create_task(finalize_later())
            async for event in session.events(source()):
                events.append(event)
        assert [end_ms for _, _, _, end_ms in finals_of(events)] == [2_000, 4_000]

    run_virtual(scenario, quiet_polls=0)


def test_audio_that_cannot_be_cut_is_refused_and_the_session_goes_on() -> None:
    async def serve_one(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        assert await read_until_finish(connection) == 8_004
        await send_final(connection, task_id, "hello")
        await send_event(connection, "task-finished", task_id)

    async def scenario() -> None:
        async with scripted_server(serve_one) as service, connect(Paraformer(format="opus"), service) as session:
            await session.send(b"\x1a\x45\xdf\xa3" + bytes(4_000))
            with pytest.raises(ConfigurationError, match=r"finalize\(\): this opus cannot be cut"):
                await session.finalize()
            await session.send(bytes(4_000))
            await session.finish()
            assert [result.text async for result in session] == ["hello"]

    run_virtual(scenario)


@pytest.mark.parametrize("options", [GummyChat(), Rasr(mode="sentence")], ids=name_of)
def test_a_model_of_one_sentence_is_refused(options: Options) -> None:
    async def scenario() -> None:
        async with (
            serve(Scripted([])) as emulator,
            connect(options, emulator_service(emulator, options)) as session,
        ):
            with pytest.raises(ConfigurationError, match="recognises one sentence in a session; use finish"):
                await session.finalize()

    run_virtual(scenario, quiet_polls=0)


def test_before_and_after_the_session_it_is_refused() -> None:
    async def scenario() -> None:
        async with serve(Scripted([])) as emulator, Client(emulator_service(emulator, Paraformer())) as client:
            session = client.session(Paraformer())
            with pytest.raises(LocalProtocolError, match="cannot push audio while the session is new"):
                await session.finalize()
            async with session:
                await session.send(SILENT_SECOND)
                await session.cancel()
                with pytest.raises(LocalProtocolError, match="cannot finalize: the session has ended"):
                    await session.finalize()

    run_virtual(scenario, quiet_polls=0)


def test_behind_finish_it_waits_for_the_end() -> None:
    async def scenario() -> None:
        async with (
            serve(Scripted([("one", 100, 900)])) as emulator,
            connect(Paraformer(), emulator_service(emulator, Paraformer())) as session,
        ):
            await session.send(SILENT_SECOND)
            await asyncio.gather(session.finish(), session.finalize())
            assert [result.text async for result in session if result.is_final] == ["one"]

    run_virtual(scenario, quiet_polls=0)


@pytest.mark.parametrize("options", [Paraformer(), Rasr()], ids=name_of)
def test_a_vendor_that_does_not_confirm_the_end_of_a_task_is_left(options: Options) -> None:
    async def scenario() -> None:
        async with (
            serve(Scripted([("one", 100, 900)], position=position_of), faults=[MuteFinish(times=1)]) as emulator,
            connect(options, emulator_service(emulator, options), timeouts=Timeouts(finish=2)) as session,
        ):
            began_at = now()
            await session.send(position_audio(0, 1_000))
            await session.finalize()
            assert 2 <= now() - began_at < 15
            assert session.stats.reconnects == 1
            await session.finish()
            assert [result.text async for result in session if result.is_final] == ["one"]

    run_virtual(scenario, quiet_polls=0)


@pytest.mark.parametrize("finish_s", [2, 10, 30])
@pytest.mark.parametrize("options", [Paraformer(), Rasr()], ids=name_of)
def test_a_vendor_that_never_confirms_ends_the_session_within_its_attempts(options: Options, finish_s: float) -> None:
    """Also where the vendor is waited for so long that the source seems to pause: `finalize` waits for no audio."""

    async def scenario() -> None:
        async with (
            serve(Scripted([("one", 100, 900)], position=position_of), faults=[MuteFinish()]) as emulator,
            connect(
                options,
                emulator_service(emulator, options),
                timeouts=Timeouts(finish=finish_s),
                retry=Retry(attempts=1),
            ) as session,
        ):
            await session.send(position_audio(0, 1_000))
            with pytest.raises(DeadlineError, match="did not confirm the end of a task within"):
                await session.finalize()
            with pytest.raises(DeadlineError, match="did not confirm the end of a task within"):
                await session.send(bytes(3_200))

    run_virtual(scenario, quiet_polls=0)


def test_a_commit_without_an_answer_is_waited_for_and_the_session_goes_on() -> None:
    async def serve_one(connection: ServerConnection) -> None:
        server = RealtimeConnection(connection)
        await server.start()
        await server.receive_until(1_000)
        await server.commit("item_1")
        await server.send_text("item_1", "hello")
        await server.receive_until(None)
        await server.send_text("item_1", "hello", is_final=True)
        await server.finish()

    async def scenario() -> None:
        options = QwenRealtime(manual_commit=True)
        async with scripted_server(serve_one) as service, connect(options, service) as session:
            await session.send(SILENT_SECOND)
            began_at = now()
            with pytest.raises(DeadlineError, match=r"sent no final within 10 s .*; the session goes on"):
                await session.finalize()
            assert now() - began_at == pytest.approx(10, abs=0.1)
            await session.finish()
            assert [result.text async for result in session if result.is_final] == ["hello"]

    run_virtual(scenario)


def test_a_rotation_at_the_same_time_loses_nothing() -> None:
    script = [(f"word {n}", 1_000 * n + 100, 1_000 * n + 800) for n in range(30)]

    async def scenario() -> None:
        events: list[Event] = []
        async with (
            serve(Scripted(script, position=position_of)) as emulator,
            connect(Paraformer(), emulator_service(emulator, Paraformer()), retry=Retry(rotate_after=2.0)) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(collect(session, events))
            for first in range(0, 30_000, 100):
                await session.send(position_audio(first, first + 100))
                if first % 3_000 == 2_900:
                    tasks.create_task(session.finalize())
                await asyncio.sleep(0.1)
            await session.finish()
            assert len(session._status.tasks._tasks) < 10, "rotations of earlier tasks do not stay"
        assert texts_of(events) == [text for text, _, _ in script]
        assert_framed(events)

    run_virtual(scenario, quiet_polls=0)
