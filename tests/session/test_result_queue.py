"""The outbox: finals are kept, interims conflated, the end comes last, room is bounded."""

from __future__ import annotations

import asyncio

import pytest

from asr_async import Event, Result, SpeechEnded
from asr_async._session.result_queue import ResultQueue


def result(segment_id: int, text: str, *, final: bool = False) -> Result:
    return Result(text=text, is_final=final, segment_id=segment_id, start_ms=0, end_ms=1)


async def take_all(outbox: ResultQueue) -> list[Event]:
    taken = []
    while True:
        try:
            taken.append(await outbox.get())
        except StopAsyncIteration:
            return taken


async def test_a_newer_interim_replaces_the_one_of_its_segment_and_a_final_removes_it() -> None:
    outbox = ResultQueue()
    for item in (
        result(0, "a"),
        result(0, "ab"),
        result(0, "abc", final=True),
        SpeechEnded(segment_id=0, end_ms=1),
        result(1, "d"),
        result(1, "de"),
    ):
        outbox.put(item)
    outbox.close()
    taken = await take_all(outbox)
    assert [item.text if isinstance(item, Result) else "ended" for item in taken] == ["abc", "ended", "de"]
    assert outbox.conflated == 3


async def test_interims_of_different_segments_do_not_touch_each_other() -> None:
    outbox = ResultQueue()
    outbox.put(result(0, "a"))
    outbox.put(result(1, "b"))
    outbox.close()
    assert len(await take_all(outbox)) == 2
    assert outbox.conflated == 0


async def test_the_end_comes_behind_everything_and_the_first_end_counts() -> None:
    outbox = ResultQueue()
    outbox.put(result(0, "a", final=True))
    outbox.close(ValueError("first"))
    outbox.close(None)
    assert isinstance(await outbox.get(), Result)
    for _ in range(2):
        with pytest.raises(ValueError, match="first"):
            await outbox.get()


async def test_a_waiting_caller_is_woken_by_an_item_and_by_the_end() -> None:
    outbox = ResultQueue()
    waiting = asyncio.create_task(take_all(outbox))
    await asyncio.sleep(0)
    outbox.put(result(0, "a"))
    await asyncio.sleep(0)
    outbox.close()
    assert len(await waiting) == 1


async def test_a_caller_that_is_cancelled_while_it_waits_takes_nothing_along() -> None:
    outbox = ResultQueue()
    waiting = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    outbox.put(result(0, "a", final=True))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(outbox) == 1


async def test_there_is_room_until_the_bound_and_again_below_it() -> None:
    outbox = ResultQueue(max_waiting=2)
    room = []
    for number in range(2):
        outbox.put(result(number, "a", final=True))
        room.append(outbox.has_room)
    assert room == [True, False]
    waiting = asyncio.create_task(outbox.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await outbox.get()
    await asyncio.wait_for(waiting, 1)


async def test_nobody_waits_for_room_after_the_end() -> None:
    outbox = ResultQueue(max_waiting=1)
    outbox.put(result(0, "a", final=True))
    outbox.close()
    await outbox.wait_for_room()
