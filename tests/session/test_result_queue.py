"""The result queue: it keeps finals, conflates interims, delivers its end last, and is bounded."""

from __future__ import annotations

import asyncio

import pytest

from asr_async import Event, LocalProtocolError, Result, SpeechEnded
from asr_async._session.result_queue import MAX_HELD, ResultQueue


def result(segment_id: int, text: str, *, final: bool = False) -> Result:
    return Result(text=text, is_final=final, segment_id=segment_id, start_ms=0, end_ms=1)


async def get_all(queue: ResultQueue) -> list[Event]:
    events = []
    while True:
        try:
            events.append(await queue.get())
        except StopAsyncIteration:
            return events


async def test_a_newer_interim_replaces_that_of_its_segment_and_a_final_removes_it() -> None:
    queue = ResultQueue()
    for event in (
        result(0, "a"),
        result(0, "ab"),
        result(0, "abc", final=True),
        SpeechEnded(segment_id=0, end_ms=1),
        result(1, "d"),
        result(1, "de"),
    ):
        queue.put(event)
    queue.close()
    events = await get_all(queue)
    assert [event.text if isinstance(event, Result) else "ended" for event in events] == ["abc", "ended", "de"]
    assert queue.conflated == 3


async def test_interims_of_different_segments_are_all_kept() -> None:
    queue = ResultQueue()
    queue.put(result(0, "a"))
    queue.put(result(1, "b"))
    queue.close()
    assert len(await get_all(queue)) == 2
    assert queue.conflated == 0


async def test_the_end_follows_all_events_and_only_the_first_end_counts() -> None:
    queue = ResultQueue()
    queue.put(result(0, "a", final=True))
    queue.close(ValueError("first"))
    queue.close(None)
    assert isinstance(await queue.get(), Result)
    for _ in range(2):
        with pytest.raises(ValueError, match="first"):
            await queue.get()


async def test_a_waiting_caller_receives_an_event_and_the_end() -> None:
    queue = ResultQueue()
    waiting_task = asyncio.create_task(get_all(queue))
    await asyncio.sleep(0)
    queue.put(result(0, "a"))
    await asyncio.sleep(0)
    queue.close()
    assert len(await waiting_task) == 1


async def test_a_caller_that_is_cancelled_while_it_waits_loses_no_event() -> None:
    queue = ResultQueue()
    waiting_task = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(result(0, "a", final=True))
    waiting_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting_task
    assert len(queue) == 1


async def test_there_is_room_below_the_bound_only() -> None:
    queue = ResultQueue(max_waiting=2)
    room = []
    for number in range(2):
        queue.put(result(number, "a", final=True))
        room.append(queue.has_room)
    assert room == [True, False]
    waiting_task = asyncio.create_task(queue.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting_task.done()
    await queue.get()
    await asyncio.wait_for(waiting_task, 1)


async def test_there_is_no_wait_for_room_after_the_end() -> None:
    queue = ResultQueue(max_waiting=1)
    queue.put(result(0, "a", final=True))
    queue.close()
    await queue.wait_for_room()


# --- events that are held, and the second consumer -------------------------------------------------------------------

ENDED = SpeechEnded(segment_id=0, end_ms=1)


async def test_events_that_are_held_keep_their_place_if_the_caller_wants_them() -> None:
    queue = ResultQueue()
    queue.hold(ENDED)
    queue.put(result(0, "a"))
    queue.hold(ENDED)
    assert queue.settle(wants_events=True) == []
    queue.close()
    assert [type(event) for event in await get_all(queue)] == [SpeechEnded, Result, SpeechEnded]


async def test_events_that_are_held_are_removed_if_the_caller_wants_results() -> None:
    queue = ResultQueue()
    queue.hold(ENDED)
    queue.put(result(0, "a"))
    assert queue.settle(wants_events=False) == [ENDED]
    queue.put(result(0, "ab"))
    assert queue.conflated == 1
    queue.close()
    assert await get_all(queue) == [result(0, "ab")]


def test_events_that_are_held_do_not_use_the_room_of_results_and_have_a_bound_of_their_own() -> None:
    queue = ResultQueue(max_waiting=2)
    for _ in range(MAX_HELD - 1):
        queue.hold(ENDED)
    room = []
    for change in (
        lambda: queue.put(result(0, "a", final=True)),
        lambda: queue.hold(ENDED),
        lambda: queue.settle(wants_events=False),
        lambda: queue.put(result(1, "a", final=True)),
        lambda: queue.settle(wants_events=True),
    ):
        change()
        room.append(queue.has_room)
    assert room == [True, False, True, False, False]


async def test_a_second_task_that_waits_gets_an_error_and_the_first_its_event() -> None:
    queue = ResultQueue()
    first = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="another task iterates the results of this session"):
            await queue.get()
    queue.put(ENDED)
    with pytest.raises(LocalProtocolError, match="another task"):
        await queue.get()  # the event is the first task's, which has not run yet
    assert await first == ENDED
    queue.put(ENDED)
    assert await queue.get() == ENDED


async def test_a_step_behind_the_normal_end_is_an_error() -> None:
    queue = ResultQueue()
    queue.close()
    assert await get_all(queue) == []
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="all results of this session have been iterated"):
            await queue.get()
