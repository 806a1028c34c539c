"""The events around segments: one start and one end, whatever the connections do; speech without a text is a gap."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    Gap,
    Paraformer,
    QwenRealtime,
    Result,
    Retry,
    Session,
    SpeechEnded,
    SpeechStarted,
    connect,
    transcribe,
)

from ..support.numbered_audio import (
    HUAWEI,
    FinalAtEndServer,
    HuaweiNumberedServer,
    NumberedServer,
    NumberedSource,
    cut,
    finals_of,
)
from ..support.realtime_server import RealtimeConnection
from ..support.scripted_server import read_until_finish, scripted_server, send_event, start_task
from ..support.segment_events import assert_framed
from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from websockets.asyncio.server import ServerConnection

    from asr_async import Event

CHUNK = bytes(3_200)


async def events_of_numbered(server: NumberedServer, source: Any, **options: Any) -> tuple[list[Event], Session]:
    """Run a session with a server of any vendor."""
    protocol = server.protocol
    async with server.serving() as port, connect(protocol.options, protocol.service(port), **options) as session:
        events = [event async for event in session.events(source)]
    return events, session


# --- the same segment on several connections -------------------------------------------------------------------------


@pytest.mark.parametrize("server_class", [NumberedServer, HuaweiNumberedServer])
@pytest.mark.parametrize("cuts", [1, 3])
@pytest.mark.parametrize("after_ms", [500, 1_500, 2_900])
def test_a_segment_starts_and_ends_once_across_reconnects(server_class: Any, cuts: int, after_ms: int) -> None:
    async def scenario() -> None:
        server = server_class(*[cut] * cuts, after_ms=after_ms)
        events, session = await events_of_numbered(server, NumberedSource(12))
        assert session.stats.reconnects == cuts
        assert_framed(events)
        assert [text for _, text, _, _ in finals_of(events)] == [f"to {1_000 * (n + 1)}" for n in range(12)]

    run_virtual(scenario)


@pytest.mark.parametrize("is_mid_segment", [True, False])
def test_a_segment_starts_and_ends_once_across_a_rotation(is_mid_segment: bool) -> None:
    async def scenario() -> None:
        server = FinalAtEndServer() if is_mid_segment else NumberedServer()
        events, _ = await events_of_numbered(server, NumberedSource(60), retry=Retry(rotate_after=10.0))
        assert len(server.started_at_ms) >= 2
        assert_framed(events)

    run_virtual(scenario)


def test_a_bot_that_pushes_sees_each_start_once() -> None:
    async def push(session: Session) -> None:
        async for chunk in NumberedSource(6):
            await session.send(chunk)
            await asyncio.sleep(0.1)
        await session.finish()

    async def scenario() -> None:
        server = HuaweiNumberedServer(cut, cut, after_ms=1_500)
        async with server.serving() as port, connect(HUAWEI.options, HUAWEI.service(port)) as session:
            pushing = asyncio.create_task(push(session))
            barge_ins, events = [], []
            async for event in session.events():
                events.append(event)
                if isinstance(event, SpeechStarted):
                    barge_ins.append(event.segment_id)
            await pushing
        assert barge_ins == list(range(6))
        assert_framed(events)

    run_virtual(scenario)


# --- ends that the vendor confirms while a segment is open -----------------------------------------------------------


async def serve_open_interim(connection: ServerConnection) -> None:
    """Send an interim that is never final, and confirm the end."""
    task_id = await start_task(connection)
    await read_until_finish(connection)
    for text in ("hello", "hello world how are you"):
        sentence = {"sentence_id": 1, "begin_time": 100, "end_time": None, "text": text, "sentence_end": False}
        await send_event(connection, "result-generated", task_id, {"output": {"sentence": sentence}})
    await send_event(connection, "task-finished", task_id)


def test_the_interim_that_is_open_at_the_confirmed_end_is_a_final_that_is_not_confirmed() -> None:
    async def scenario() -> None:
        async with scripted_server(serve_open_interim) as service:
            async with connect(Paraformer(), service) as session:
                events = [event async for event in session.events([CHUNK] * 30, pace=None)]
            transcript = await transcribe([CHUNK] * 30, Paraformer(), service)
        assert_framed(events)
        final = events[-2]
        assert isinstance(final, Result)
        assert (final.text, final.is_final, final.is_confirmed) == ("hello world how are you", True, False)
        assert transcript.text == "hello world how are you"
        assert [result.is_confirmed for result in transcript.results] == [False]
        assert transcript.gaps == ()

    run_virtual(scenario)


# --- speech that never got a text ------------------------------------------------------------------------------------


async def events_of_realtime(
    script: Callable[[RealtimeConnection], Awaitable[None]], *, commits: bool = False
) -> tuple[list[Event], Session]:
    """Run a session of 3 s of audio with a server that sends what the script says and confirms the end."""

    async def serve(connection: ServerConnection) -> None:
        server = RealtimeConnection(connection)
        await server.start()
        await script(server)
        await server.receive_until(None)
        await server.finish()

    async with (
        scripted_server(serve) as service,
        connect(QwenRealtime(manual_commit=commits), service, retry=Retry(attempts=0)) as session,
    ):
        for _ in range(30):
            await session.send(CHUNK)
            await asyncio.sleep(0.1)
        if commits:
            await session.commit()
        await session.finish()
        events = [event async for event in session.events()]
    return events, session


def gap_places(events: list[Event]) -> list[tuple[int, int]]:
    return [(event.start_ms, event.end_ms) for event in events if isinstance(event, Gap)]


@pytest.mark.parametrize("has_stopped", [True, False])
def test_speech_that_was_found_and_got_no_text_is_a_gap(has_stopped: bool) -> None:
    async def script(server: RealtimeConnection) -> None:
        await server.receive_until(1_000)
        await server.start_speech("item_1", 200)
        if has_stopped:
            await server.receive_until(1_800)
            await server.stop_speech("item_1", 1_700)

    async def scenario() -> None:
        events, session = await events_of_realtime(script)
        assert gap_places(events) == [(200, 1_700 if has_stopped else 3_000)]
        assert session.gaps == tuple(event for event in events if isinstance(event, Gap))
        assert session.stats.lost_ms == (1_500 if has_stopped else 2_800)
        assert_framed(events)
        ended = next(event for event in events if isinstance(event, SpeechEnded))
        assert (ended.is_withdrawn, ended.withdrawn_text) == (True, "")

    run_virtual(scenario)


def test_a_cough_before_a_final_is_no_gap() -> None:
    async def script(server: RealtimeConnection) -> None:
        await server.start_speech("item_1", 200)
        await server.stop_speech("item_1", 400)
        await server.receive_until(1_800)
        await server.start_speech("item_2", 600)
        await server.stop_speech("item_2", 1_700)
        await server.send_text("item_2", "hello", is_final=True)

    async def scenario() -> None:
        events, session = await events_of_realtime(script)
        assert not session.gaps
        assert_framed(events)
        assert [text for _, text, _, _ in finals_of(events)] == ["hello"]

    run_virtual(scenario)


def test_a_commit_that_got_no_text_is_a_gap() -> None:
    async def script(server: RealtimeConnection) -> None:
        await server.receive_until(3_000)
        while not server.commits:
            await server.receive_until(1_000_000)
        await server.commit("item_1")

    async def scenario() -> None:
        events, session = await events_of_realtime(script, commits=True)
        assert session.gaps == tuple(event for event in events if isinstance(event, Gap))
        assert gap_places(events) == [(0, 3_000)]

    run_virtual(scenario)


def test_a_transcript_has_the_gap_of_speech_without_a_text() -> None:
    async def serve(connection: ServerConnection) -> None:
        server = RealtimeConnection(connection)
        await server.start()
        await server.start_speech("item_1", 200)
        await server.stop_speech("item_1", 700)
        await server.send_text("item_1", "hello", is_final=True)
        await server.start_speech("item_2", 1_200)
        await server.receive_until(None)
        await server.stop_speech("item_2", 2_700)
        await server.finish()

    async def scenario() -> None:
        async with scripted_server(serve) as service:
            transcript = await transcribe([CHUNK] * 30, QwenRealtime(), service)
        assert transcript.text == "hello"
        assert [(gap.start_ms, gap.end_ms) for gap in transcript.gaps] == [(1_200, 2_700)]
        assert transcript.stats.lost_ms == 1_500

    run_virtual(scenario)
