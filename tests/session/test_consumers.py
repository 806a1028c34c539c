"""The loops over a session: one of them receives its results, and no event of pushed audio is missing in it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    Client,
    ConfigurationError,
    Event,
    Gap,
    Local,
    LocalProtocolError,
    Paraformer,
    Reconnected,
    Result,
    Retry,
    Session,
    SpeechEnded,
    SpeechStarted,
    connect,
)
from asr_async.emulator import Scripted

from ..support.numbered_audio import FinalAtEndServer, NumberedSource, cut
from ..support.scripted_server import scripted_server
from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECOND = bytes(32_000)
SCRIPT = [("hello there my friend", 100, 900), ("and good bye", 1_200, 1_900)]
TEXTS = [text for text, _, _ in SCRIPT]

ONE_LOOP = "the results of a session go to one loop, and another one has them: keep the iterator"
ITERATED = "all results of this session have been iterated: keep them"
ANOTHER_TASK = "another task iterates the results of this session"


def local_session() -> connect:
    return connect(Paraformer(), Local(engine=Scripted(SCRIPT)))


def texts(events: list[Any]) -> list[str]:
    return [event.text for event in events if isinstance(event, Result) and event.is_final]


async def push_all(session: Session) -> None:
    for _ in range(2):
        await session.send(SECOND)
    await session.finish()


# --- one loop --------------------------------------------------------------------------------------------------------


async def test_a_second_stream_is_an_error_at_its_first_step() -> None:
    async with local_session() as session:
        results = session.stream([SECOND, SECOND], pace=None)
        second = session.stream([SECOND], pace=None)
        await anext(results)
        with pytest.raises(LocalProtocolError, match="use it once"):
            await anext(second)
        assert texts([result async for result in results]) == TEXTS


async def test_events_or_the_session_beside_a_stream_are_an_error() -> None:
    async with local_session() as session:
        results = session.stream([SECOND, SECOND], pace=None)
        await anext(results)
        for second in (session.events(), aiter(session)):
            with pytest.raises(LocalProtocolError, match=ONE_LOOP):
                await anext(second)
        assert texts([result async for result in results]) == TEXTS


@pytest.mark.parametrize("is_events", [True, False])
async def test_a_stream_beside_a_loop_over_pushed_audio_is_an_error(is_events: bool) -> None:
    async with local_session() as session:
        await session.send(SECOND)
        first: Any = session.events() if is_events else aiter(session)
        await anext(first)
        with pytest.raises(LocalProtocolError, match="use it once"):
            await anext(session.stream([SECOND]))
        with pytest.raises(LocalProtocolError, match=ONE_LOOP):
            await anext(session.events())
        await session.finish()
        assert texts([event async for event in first]) == TEXTS[:1]


async def test_a_stream_after_a_loop_that_waits_for_pushed_audio_sends_nothing() -> None:
    async with local_session() as session:
        waiting = asyncio.ensure_future(anext(aiter(session)))
        await asyncio.sleep(0)
        with pytest.raises(LocalProtocolError, match=ONE_LOOP):
            await anext(session.stream([SECOND]))
        await session.send(SECOND)
        assert isinstance(await waiting, Result)


async def test_a_stream_is_continued_after_a_break() -> None:
    async with local_session() as session:
        stream = session.stream([SECOND, SECOND], pace=None)
        results = []
        for _ in range(2):
            async for result in stream:
                results.append(result)
                if result.is_final:
                    break
        assert texts(results) == TEXTS


async def test_a_loop_over_the_session_continues_after_a_break_where_it_was_left() -> None:
    async with local_session() as session:
        await push_all(session)
        results = []
        for _ in range(2):
            async for result in session:
                results.append(result)
                if result.is_final:
                    break
        assert texts(results) == TEXTS
        assert [result async for result in session] == []  # the end, for the first time
        with pytest.raises(LocalProtocolError, match=ITERATED):
            [result async for result in session]


async def test_an_iterator_of_the_session_ends_when_a_later_one_has_taken_a_step() -> None:
    async with local_session() as session:
        await push_all(session)
        earlier, later = aiter(session), aiter(session)
        assert texts([await anext(earlier), await anext(later)]) == TEXTS
        with pytest.raises(LocalProtocolError, match=ONE_LOOP):
            await anext(earlier)
        assert [result async for result in later] == []


async def test_two_tasks_that_iterate_a_session_are_an_error_in_the_second() -> None:
    async def collect(session: Session) -> list[Result]:
        return [result async for result in session]

    async with local_session() as session:
        first = asyncio.create_task(collect(session))
        await asyncio.sleep(0)
        with pytest.raises(LocalProtocolError, match=ANOTHER_TASK):
            await collect(session)
        await push_all(session)
        assert texts(await first) == TEXTS


async def test_two_tasks_that_share_an_iterator_are_an_error_in_the_second() -> None:
    async def collect(iterator: AsyncIterator[Result]) -> list[Result]:
        return [result async for result in iterator]

    async with local_session() as session:
        iterator = session.stream([SECOND, SECOND], pace=None)
        first, second = (asyncio.create_task(collect(iterator)) for _ in range(2))
        with pytest.raises(LocalProtocolError, match=ANOTHER_TASK):
            await second
        assert texts(await first) == TEXTS


async def test_a_step_that_was_cancelled_does_not_count_as_a_second_task() -> None:
    async with local_session() as session:
        results = aiter(session)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(results), 0.001)
        await push_all(session)
        assert texts([result async for result in results]) == TEXTS


@pytest.mark.parametrize("is_pushed", [True, False])
async def test_a_loop_behind_the_end_is_an_error(is_pushed: bool) -> None:
    async with local_session() as session:
        iterator: Any = session
        if is_pushed:
            await push_all(session)
        else:
            iterator = session.stream([SECOND, SECOND], pace=None)
        assert texts([result async for result in iterator]) == TEXTS
        for _ in range(2):
            with pytest.raises(LocalProtocolError, match=ITERATED):
                [result async for result in iterator]


async def test_an_error_at_the_end_is_raised_again_at_each_further_step() -> None:
    async with local_session() as session:
        results = session.stream([SECOND, 5], pace=None)  # type: ignore[list-item]
        for _ in range(3):
            with pytest.raises(ConfigurationError, match="not int"):
                [result async for result in results]


async def test_a_session_that_is_not_open_cannot_be_iterated() -> None:
    async with Client(Local(engine=Scripted(SCRIPT))) as client:
        new_session = client.session(Paraformer())
        for iterator in (aiter(new_session), new_session.events()):
            with pytest.raises(LocalProtocolError, match="while the session is new: open it with 'async with'"):
                await anext(iterator)


async def test_a_stream_without_a_source_is_refused() -> None:
    async with local_session() as session:
        with pytest.raises(ConfigurationError, match=r"stream\(\) needs a source; .* iterate the session"):
            session.stream(None)  # type: ignore[arg-type]


# --- the events of pushed audio --------------------------------------------------------------------------------------


def outline(events: list[Event]) -> list[Any]:
    """Return the finals, starts and ends among the events."""
    kept = [event for event in events if not isinstance(event, Result) or event.is_final]
    return [event.text if isinstance(event, Result) else type(event) for event in kept]


WHOLE = [SpeechStarted, TEXTS[0], SpeechEnded, SpeechStarted, TEXTS[1], SpeechEnded]


async def test_the_events_of_pushed_audio_can_be_iterated_after_finish() -> None:
    async with local_session() as session:
        await push_all(session)
        assert outline([event async for event in session.events()]) == WHOLE


async def test_the_events_of_pushed_audio_can_be_iterated_while_another_task_pushes() -> None:
    async with local_session() as session, asyncio.TaskGroup() as group:
        group.create_task(push_all(session))
        assert outline([event async for event in session.events()]) == WHOLE


async def test_the_events_can_be_iterated_before_another_task_begins_to_push() -> None:
    async def push_later(session: Session) -> None:
        await asyncio.sleep(0.05)
        await push_all(session)

    async with local_session() as session, asyncio.TaskGroup() as group:
        group.create_task(push_later(session))
        assert outline([event async for event in session.events()]) == WHOLE


async def test_events_are_iterated_from_the_first_on_if_the_loop_begins_in_the_middle() -> None:
    async with local_session() as session:
        await session.send(SECOND)
        while not session.stats.finals_received:  # noqa: ASYNC110 - no event is to be iterated yet
            await asyncio.sleep(0.001)
        events = session.events()
        first = await anext(events)
        assert first == SpeechStarted(segment_id=0, start_ms=100)
        await session.send(SECOND)
        await session.finish()
        assert outline([first, *[event async for event in events]]) == WHOLE


async def test_a_loop_over_the_results_gets_no_events_that_were_held_before_it() -> None:
    async with local_session() as session:
        await push_all(session)
        results: list[Any] = [result async for result in session]
    assert {type(result) for result in results} == {Result}
    assert texts(results) == TEXTS


# --- gaps ------------------------------------------------------------------------------------------------------------

RETRY = Retry(buffer_s=2.0, on_gap="continue")


async def push_numbered(session: Session, seconds: int) -> None:
    """Push the audio in real time."""
    async for chunk in NumberedSource(seconds):
        await session.send(chunk)
        await asyncio.sleep(0.1)
    await session.finish()


@pytest.mark.parametrize("is_late", [True, False])
def test_a_pushed_session_sees_its_gap_in_its_events(is_late: bool) -> None:
    async def scenario() -> None:
        server = FinalAtEndServer(cut, after_ms=5_000)
        async with scripted_server(server) as service, connect(Paraformer(), service, retry=RETRY) as session:
            assert not list(session.gaps)
            pushing = asyncio.create_task(push_numbered(session, 8))
            if is_late:
                await pushing
            events = [event async for event in session.events()]
            await pushing
        lost_ms = server.started_at_ms[1]
        gap, reconnected, *_ = [event for event in events if isinstance(event, Gap | Reconnected)]
        assert isinstance(gap, Gap)
        assert (gap.start_ms, gap.end_ms) == (0, lost_ms)
        assert isinstance(reconnected, Reconnected)
        assert session.gaps == (gap,)
        assert session.stats.lost_ms == lost_ms
        results = [event for event in events if isinstance(event, Result) and event.start_ms >= lost_ms]
        assert {result.lost_before_ms for result in results} == {lost_ms}

    run_virtual(scenario)


@pytest.mark.parametrize("is_pushed", [True, False])
def test_a_loop_over_results_sees_a_gap_on_the_next_final_and_its_interims(is_pushed: bool, caplog: Any) -> None:
    async def scenario() -> None:
        server = FinalAtEndServer(cut, after_ms=5_000)
        async with scripted_server(server) as service, connect(Paraformer(), service, retry=RETRY) as session:
            if is_pushed:
                await push_numbered(session, 8)
            iterator: Any = session if is_pushed else session.stream(NumberedSource(8, every_s=0.1))
            results = [result async for result in iterator]
        lost_ms = server.started_at_ms[1]
        final = results[-1]
        assert final.is_final
        assert (final.start_ms, final.lost_before_ms) == (lost_ms, lost_ms)
        assert [(gap.start_ms, gap.end_ms) for gap in session.gaps] == [(0, lost_ms)]

    run_virtual(scenario)
    assert caplog.text.count("session.gaps has it") == 1


def test_a_session_that_is_pushed_for_long_before_it_is_iterated_keeps_room_for_finals() -> None:
    # a start and an end for each final do not count while the caller iterates nothing
    script = [(f"segment {n}", 1_000 * n, 1_000 * n + 900) for n in range(900)]

    async def scenario() -> None:
        async with connect(Paraformer(), Local(engine=Scripted(script))) as session:
            for _ in range(900):
                await session.send(SECOND)
            await session.finish()
            events = [event async for event in session.events()]
            assert texts(events) == [text for text, _, _ in script]
            assert len(outline(events)) == 3 * 900

    run_virtual(scenario, quiet_polls=0)
