"""Tests of `LightEvent`: the behaviour of `asyncio.Event`, and no memory while no task waits."""

from __future__ import annotations

import asyncio

import pytest

from asr_async._loop.event import LightEvent


async def wait_for(event: LightEvent) -> None:
    await event.wait()


async def test_set_wakes_all_tasks_that_wait() -> None:
    event = LightEvent()
    waiting = [asyncio.create_task(wait_for(event)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    event.set()
    await asyncio.gather(*waiting)


async def test_waiting_for_an_event_that_is_set_does_not_suspend() -> None:
    event = LightEvent()
    event.set()
    assert event.is_set()
    with pytest.raises(StopIteration):  # it ends at the first step
        next(iter(event.wait()))


async def test_set_followed_by_clear_wakes_the_tasks_that_waited() -> None:
    event = LightEvent()
    waiting = asyncio.create_task(wait_for(event))
    await asyncio.sleep(0)
    event.set()
    event.clear()
    await waiting
    assert not event.is_set()


async def test_cancelled_waiters_are_removed_and_do_not_block_the_others() -> None:
    event = LightEvent()
    cancelled = [asyncio.create_task(wait_for(event)) for _ in range(100)]
    await asyncio.sleep(0)
    for task in cancelled:
        task.cancel()
    await asyncio.wait(cancelled)
    waiting = asyncio.create_task(wait_for(event))
    await asyncio.sleep(0)
    assert len(event._waiters or ()) == 1
    event.set()
    await waiting
    assert all(task.cancelled() for task in cancelled)
    assert event._waiters is None


async def test_a_waiter_that_is_cancelled_right_after_set_is_cancelled() -> None:
    event = LightEvent()
    waiting = asyncio.create_task(wait_for(event))
    await asyncio.sleep(0)
    event.set()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()


def test_repr_shows_the_state() -> None:
    event = LightEvent()
    assert repr(event) == "<LightEvent not set>"
    event.set()
    assert repr(event) == "<LightEvent set>"
