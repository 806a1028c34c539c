"""Tests of `LocalRateLimiter` in virtual time: order, cancellation, and limiters that are no longer needed."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from asr_async._limits.local import LocalRateLimiter, get_or_create, local_rate_limiter
from asr_async._limits.window import WINDOW_S

from ..support.virtual_time import run_virtual


def test_permits_are_granted_in_the_order_of_the_requests_also_if_some_are_cancelled() -> None:
    async def scenario() -> None:
        limiter, order = LocalRateLimiter(), list[int]()

        async def request(number: int) -> None:
            await limiter.wait_for_permit("start", 2)
            order.append(number)

        tasks = [asyncio.create_task(request(number)) for number in range(12)]
        await asyncio.sleep(0.5)
        for number in (2, 5, 6, 11):  # number 2 is the next one
            tasks[number].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [0, 1, 3, 4, 7, 8, 9, 10]
        assert asyncio.get_running_loop().time() == pytest.approx(3 * WINDOW_S, abs=0.05)
        assert limiter.waiting_count == 0

    run_virtual(scenario)


async def test_a_permit_within_the_limit_does_not_yield_to_the_event_loop() -> None:
    limiter, others_ran = LocalRateLimiter(), False

    def note() -> None:
        nonlocal others_ran
        others_ran = True

    asyncio.get_running_loop().call_soon(note)
    release = await limiter.acquire_session(2)
    await limiter.wait_for_permit("connect", 2)
    await limiter.wait_for_permit("start", 2)
    release()
    assert not others_ran


def test_a_released_session_goes_to_the_request_that_has_waited_longest() -> None:
    async def scenario() -> None:
        limiter, order = LocalRateLimiter(), list[int]()

        async def hold(number: int) -> None:
            release = await limiter.acquire_session(2)
            order.append(number)
            await asyncio.sleep(1)
            release()

        tasks = [asyncio.create_task(hold(number)) for number in range(7)]
        await asyncio.sleep(0.5)
        tasks[2].cancel()
        tasks[4].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [0, 1, 3, 5, 6]
        assert asyncio.get_running_loop().time() == 3.0

    run_virtual(scenario)


def test_a_request_with_a_higher_limit_or_none_does_not_wait_behind_lower_ones() -> None:
    async def scenario() -> None:
        limiter = LocalRateLimiter()
        release_first = await limiter.acquire_session(1)
        waiting = asyncio.create_task(limiter.acquire_session(1))
        await limiter.wait_for_permit("start", 1)
        waiting_start = asyncio.create_task(limiter.wait_for_permit("start", 1))
        await asyncio.sleep(0.1)
        release_second = await limiter.acquire_session(2)
        await limiter.acquire_session(None)
        await limiter.wait_for_permit("start", 5)
        await limiter.wait_for_permit("start", None)
        assert asyncio.get_running_loop().time() == 0.1
        assert limiter.waiting_count == 2
        assert repr(limiter) == "<LocalRateLimiter 2 waiting>"
        release_first()
        release_second()
        await asyncio.sleep(0.1)
        assert not waiting.done()  # the third session is still open
        waiting.cancel()
        await waiting_start

    run_virtual(scenario)


def test_limiters_without_state_are_removed_when_another_is_created() -> None:
    async def scenario() -> None:
        limiters: dict[str, LocalRateLimiter] = {}
        release = await get_or_create(limiters, "open", LocalRateLimiter).acquire_session(None)
        await get_or_create(limiters, "starting", LocalRateLimiter).wait_for_permit("start", 5)
        get_or_create(limiters, "backing off", LocalRateLimiter).record_refusal(began_at=0.0, requested_s=20.0)
        for number in range(100):
            get_or_create(limiters, f"key {number}", LocalRateLimiter)
        assert len(limiters) == 4
        release()
        await asyncio.sleep(30)
        get_or_create(limiters, "last", LocalRateLimiter)
        assert list(limiters) == ["last"]

    run_virtual(scenario)


def test_the_limiters_do_not_keep_an_event_loop_alive_that_has_ended() -> None:
    async def scenario() -> weakref.ref[asyncio.AbstractEventLoop]:
        limiter = local_rate_limiter("key")
        release = await limiter.acquire_session(1)
        asyncio.get_running_loop().call_later(0.01, release)
        await limiter.acquire_session(1)
        await asyncio.gather(*(limiter.wait_for_permit("start", 2) for _ in range(3)))
        return weakref.ref(asyncio.get_running_loop())

    loop = run_virtual(scenario)
    gc.collect()
    assert loop() is None
