"""Tests of `TaskSet`: tasks run beside a block, and can be cancelled before it ends."""

from __future__ import annotations

import asyncio

import pytest

from asr_async._loop.tasks import TaskSet


async def wait_forever() -> None:
    await asyncio.Event().wait()


async def test_a_task_runs_beside_the_block_and_the_block_waits_for_it() -> None:
    steps = list[str]()

    async def work() -> None:
        steps.append("started")
        await asyncio.sleep(0.001)
        steps.append("ended")

    tasks = TaskSet()
    async with tasks.group:
        tasks.start(work())
        assert steps == []
        await asyncio.sleep(0)
        assert steps == ["started"]
    assert steps == ["started", "ended"]


async def test_cancel_returns_when_all_tasks_have_ended() -> None:
    cleaned_up = list[int]()

    async def work(number: int) -> None:
        try:
            await wait_forever()
        finally:
            await asyncio.sleep(0)
            cleaned_up.append(number)

    tasks = TaskSet()
    async with tasks.group:
        for number in range(3):
            tasks.start(work(number))
        await asyncio.sleep(0)
        await tasks.cancel()
        assert sorted(cleaned_up) == [0, 1, 2]


async def test_cancel_leaves_the_current_task_alone() -> None:
    tasks = TaskSet()
    others_cancelled = went_on = False

    async def other() -> None:
        nonlocal others_cancelled
        try:
            await wait_forever()
        except asyncio.CancelledError:
            others_cancelled = True
            raise

    async def close_from_inside() -> None:
        nonlocal went_on
        await asyncio.sleep(0)
        await tasks.cancel()
        await asyncio.sleep(0)
        went_on = True

    async with tasks.group:
        tasks.start(other())
        tasks.start(close_from_inside())
    assert others_cancelled
    assert went_on


async def test_cancel_others_returns_them_without_waiting() -> None:
    tasks = TaskSet()
    async with tasks.group:
        tasks.start(wait_forever())
        await asyncio.sleep(0)
        (other,) = tasks.cancel_others()
        assert not other.done()
        await asyncio.wait([other])
        assert other.cancelled()


async def test_cancel_without_tasks_returns_at_once() -> None:
    tasks = TaskSet()
    async with tasks.group:
        await tasks.cancel()
    assert tasks.cancel_others() == []


async def test_tasks_that_have_ended_are_not_kept() -> None:
    async def work() -> None:
        pass

    tasks = TaskSet()
    async with tasks.group:
        for _ in range(100):
            tasks.start(work())
            await asyncio.sleep(0)
        assert len(tasks._tasks) == 1


async def test_a_task_that_fails_ends_the_block_and_the_other_tasks() -> None:
    async def fail() -> None:
        raise ValueError("no")

    tasks = TaskSet()
    with pytest.raises(ExceptionGroup) as failure:
        async with tasks.group:
            tasks.start(wait_forever())
            tasks.start(fail())
    assert [type(error) for error in failure.value.exceptions] == [ValueError]
    assert repr(tasks) == "<TaskSet 0 running>"


async def test_repr_counts_the_tasks_that_run() -> None:
    tasks = TaskSet()
    async with tasks.group:
        tasks.start(wait_forever())
        tasks.start(wait_forever())
        assert repr(tasks) == "<TaskSet 2 running>"
        await tasks.cancel()
        assert repr(tasks) == "<TaskSet 0 running>"
