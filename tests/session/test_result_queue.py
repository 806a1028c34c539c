"""The result queue: it keeps finals, conflates interims, delivers its end last, and is bounded."""

from __future__ import annotations

import asyncio

import pytest

from asr_async import Event, Result, SpeechEnded
from asr_async._session.result_queue import ResultQueue


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
