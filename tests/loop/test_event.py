"""The flag that can be waited for: what `asyncio.Event` promises, and nothing held while nobody waits."""

from __future__ import annotations

import asyncio

import pytest

from asr_async._loop.event import LightEvent


async def waits(signal: LightEvent) -> None:
    await signal.wait()


async def test_waiting_ends_when_it_is_set_for_all_that_wait() -> None:
    signal = LightEvent()
    waiting = [asyncio.create_task(waits(signal)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    signal.set()
    await asyncio.gather(*waiting)


async def test_waiting_for_one_that_is_set_does_not_wait() -> None:
    signal = LightEvent()
    signal.set()
    assert signal.is_set()
    with pytest.raises(StopIteration):  # at its end without a single pause
        next(iter(signal.wait()))


async def test_set_and_cleared_at_once_still_wakes_those_who_waited() -> None:
    signal = LightEvent()
    waiting = asyncio.create_task(waits(signal))
    await asyncio.sleep(0)
    signal.set()
    signal.clear()
    await waiting
    assert not signal.is_set()


async def test_one_that_gave_up_is_forgotten_and_keeps_no_other_from_going_on() -> None:
    signal = LightEvent()
    gives_up = [asyncio.create_task(waits(signal)) for _ in range(100)]
    await asyncio.sleep(0)
    for task in gives_up:
        task.cancel()
    await asyncio.wait(gives_up)
    stays = asyncio.create_task(waits(signal))
    await asyncio.sleep(0)
    assert len(signal._waiters or ()) == 1
    signal.set()
    await stays
    assert all(task.cancelled() for task in gives_up)
    assert signal._waiters is None


async def test_one_that_is_cancelled_in_the_turn_of_the_setting_is_cancelled() -> None:
    signal = LightEvent()
    waiting = asyncio.create_task(waits(signal))
    await asyncio.sleep(0)
    signal.set()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
