"""Tests of `SharedTimer`: calls in the same tick are made together, never early, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from asr_async._loop.shared_timer import EARLY_S, TICK_S, SharedTimer

from ..support.virtual_time import VirtualLoop, now, run_virtual


async def sleep(delay_s: float, *, tick_s: float = TICK_S) -> float:
    """Wait for a call of the timer, and return its instant."""
    called = asyncio.Event()
    SharedTimer.of_running_loop().call_at(now() + delay_s, called.set, tick_s=tick_s)
    await called.wait()
    return now()


def test_calls_in_the_same_tick_are_made_together() -> None:
    async def scenario() -> list[float]:
        return await asyncio.gather(*(sleep(share * TICK_S) for share in (0.1, 0.5, 0.9, 1.5)))

    *together, later = run_virtual(scenario)
    assert together == [pytest.approx(TICK_S)] * 3
    assert len(set(together)) == 1, "the clock did not move between them"
    assert later == pytest.approx(2 * TICK_S)


def test_calls_in_the_same_tick_need_one_timer_of_the_loop() -> None:
    class CountingLoop(VirtualLoop):
        timers = 0

        def call_at(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:  # type: ignore[override]
            self.timers += 1
            return super().call_at(*args, **kwargs)

    async def scenario() -> None:
        await asyncio.gather(*(sleep(0.3 * TICK_S) for _ in range(1_000)))

    loop = CountingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scenario())
        assert loop.timers == 1


def test_a_call_with_a_shorter_tick_is_made_at_the_end_of_that_tick() -> None:
    async def scenario() -> list[float]:
        return await asyncio.gather(*(sleep(0.43 * TICK_S, tick_s=tick_s) for tick_s in (TICK_S / 10, TICK_S)))

    assert run_virtual(scenario) == [pytest.approx(0.5 * TICK_S), pytest.approx(TICK_S)]


@pytest.mark.parametrize("tick_s", [TICK_S, TICK_S / 10])
@pytest.mark.parametrize("start_s", [0.0, 0.0123, 1_000_000.0007])
def test_no_call_is_early_or_more_than_a_tick_late(start_s: float, tick_s: float) -> None:
    async def scenario() -> None:
        asyncio.get_running_loop().jump(start_s)  # type: ignore[attr-defined]
        for number in range(1, 200):
            delay_s = number * 0.00037
            began_at = now()
            late_s = await sleep(delay_s, tick_s=tick_s) - began_at - delay_s
            assert -2 * EARLY_S <= late_s <= tick_s + EARLY_S

    run_virtual(scenario)


def test_calls_at_whole_ticks_are_exact() -> None:
    async def scenario() -> None:
        for number in range(1, 500):
            await sleep(number * 0.1 - now())
            assert now() == pytest.approx(number * 0.1, abs=TICK_S / 100)

    run_virtual(scenario)


def test_a_callback_that_raises_does_not_stop_the_others() -> None:
    async def scenario() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
        SharedTimer.of_running_loop().call_at(TICK_S, lambda: 1 / 0)  # type: ignore[arg-type]
        assert await sleep(TICK_S) == pytest.approx(TICK_S)
        assert isinstance(reported[0]["exception"], ZeroDivisionError)

    run_virtual(scenario)


def test_nothing_is_left_after_the_last_call() -> None:
    async def scenario() -> None:
        timer = SharedTimer.of_running_loop()
        sleepers = [asyncio.create_task(sleep(number * TICK_S)) for number in range(1, 5)]
        await asyncio.sleep(0)
        assert len(timer._due) == 4
        assert repr(timer) == "<SharedTimer 4 due>"
        sleepers[3].cancel()
        await asyncio.sleep(1)
        assert not timer._due

    run_virtual(scenario)


def test_each_loop_has_its_own_timer() -> None:
    async def timer() -> SharedTimer:
        assert SharedTimer.of_running_loop() is SharedTimer.of_running_loop()
        return SharedTimer.of_running_loop()

    assert run_virtual(timer) is not run_virtual(timer)


def test_a_loop_that_ends_before_a_call_is_due_is_collected() -> None:
    async def leave_a_call() -> None:
        sleeper = asyncio.create_task(sleep(60))
        await asyncio.sleep(0)
        sleeper.cancel()

    def run() -> weakref.ref[VirtualLoop]:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(leave_a_call())
            loop = runner.get_loop()
            assert isinstance(loop, VirtualLoop)
            return weakref.ref(loop)

    loop = run()
    gc.collect()
    assert loop() is None
