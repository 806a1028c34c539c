"""One peer in a process of its own: `python -m load.child JOB`, with the job as JSON.

Prints JSON lines: `{"event": "measuring"}` when the measurement begins, `{"event": "measured", ...figures}` when it
ends, and `{"event": "done", ...}` when every session has ended. A failure is a traceback and an exit status.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from . import messages
from .jobs import AnyJob, ConnectTimes, MemoryUse, SteadyLoad
from .measurements import cpu_s, event_loop_factory, private_kib, quantiles_ms, threads
from .peers import PEERS, Peer

SPREAD_S = 0.5
"""Sessions begin evenly over the time between two results, so that the load is even."""

TAIL_S = 0.5
"""Time that all sessions go on after a measurement, so that none ends within it."""

OPENING_AT_ONCE = 50

SESSIONS_BEFORE = 10
"""Sessions opened before memory is measured: they pay for imports and for allocations that are made once."""

SETTLE_S = 1.0
"""Time between opening and reading the memory: the official SDK connects in the background."""


def print_event(event: str, **figures: Any) -> None:
    """Print one line for the harness."""
    print(json.dumps({"event": event, **figures}), flush=True)


class SessionGroup:
    """Sessions of one peer, side by side: all are opened, then all stream from a common instant on."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)
        self._begin_at = asyncio.get_running_loop().create_future()
        self.finals = 0
        self.delays_ms: list[float] = []

    @asynccontextmanager
    async def opened(self, sessions: int, seconds: float, *, fresh: bool = False) -> AsyncIterator[None]:
        """Open the sessions before the block, and wait for their end after it; call `begin` in the block.

        Args:
            sessions: Number of sessions.
            seconds: Length of the audio of each session.
            fresh: Give each frame memory of its own, as a microphone does.
        """
        all_open = asyncio.Barrier(sessions + 1)

        async def run_session(number: int) -> None:
            async with AsyncExitStack() as stack:
                async with self._opening:
                    session = await stack.enter_async_context(self._peer.session())
                await all_open.wait()
                begin_at = await self._begin_at + SPREAD_S * number / sessions
                await session.stream(_frames(seconds, fresh=fresh), begin_at, self._on_result)

        async with asyncio.TaskGroup() as tasks:
            for number in range(sessions):
                tasks.create_task(run_session(number))
            await all_open.wait()
            yield

    def begin(self) -> float:
        """Start streaming; return the instant at which the last session begins, on the loop's clock."""
        begin_at = asyncio.get_running_loop().time() + 0.1
        self._begin_at.set_result(begin_at)
        return begin_at + SPREAD_S

    def _on_result(self, text: str, is_final: bool) -> None:
        self.delays_ms.append((time.monotonic_ns() - messages.stamp_of(text)) / 1e6)
        self.finals += is_final


def _frames(seconds: float, *, fresh: bool) -> Iterable[bytes]:
    number = round(seconds / messages.FRAME_MS * 1_000)
    return (bytes(len(messages.FRAME)) for _ in range(number)) if fresh else itertools.repeat(messages.FRAME, number)


async def measure_steady_load(job: SteadyLoad) -> None:
    """Measure CPU time, threads and delivery delays while all sessions stream."""
    if job.gc_threshold is not None:
        gc.set_threshold(job.gc_threshold)
    async with PEERS[job.peer](job.url) as peer:
        threads_before = threads()
        group = SessionGroup(peer)
        clock = asyncio.get_running_loop().time
        audio_s = SPREAD_S + job.warm_up_s + job.seconds + TAIL_S
        async with group.opened(job.sessions, audio_s):
            await asyncio.sleep(group.begin() + job.warm_up_s - clock())
            print_event("measuring")
            group.delays_ms.clear()
            used_s, began_at = cpu_s(), clock()
            await asyncio.sleep(job.seconds)
            used_s, elapsed_s = cpu_s() - used_s, clock() - began_at
            print_event(
                "measured",
                cpu_s=used_s,
                elapsed_s=elapsed_s,
                threads_per_session=round((threads() - threads_before) / job.sessions, 2),
                delay=quantiles_ms(group.delays_ms),
            )
    print_event("done", finals=group.finals)


async def measure_memory(job: MemoryUse) -> None:
    """Measure the memory of idle sessions, then of streaming ones."""
    async with PEERS[job.peer](job.url) as peer:
        audio_s = SPREAD_S + job.seconds + 2 * TAIL_S
        before, group = SessionGroup(peer), SessionGroup(peer)
        async with before.opened(SESSIONS_BEFORE, TAIL_S):
            await asyncio.sleep(SETTLE_S)
            base_kib = private_kib()
            async with group.opened(job.sessions, audio_s, fresh=True):
                await asyncio.sleep(SETTLE_S)
                idle_kib = private_kib()
                await asyncio.sleep(group.begin() + job.seconds - asyncio.get_running_loop().time())
                active_kib = private_kib()
                print_event(
                    "measured",
                    idle_kib_per_session=round((idle_kib - base_kib) / job.sessions, 1),
                    active_kib_per_session=round((active_kib - base_kib) / job.sessions, 1),
                )
            before.begin()
    print_event("done")


async def measure_connect_times(job: ConnectTimes) -> None:
    """Measure how long each of the sessions takes to open."""
    durations_ms = []
    async with PEERS[job.peer](job.url) as peer:
        for _ in range(1 + job.sessions):  # the first session pays for objects that are made once
            began_at = time.perf_counter()
            async with peer.session() as session:
                durations_ms.append(1_000 * (time.perf_counter() - began_at))
                await session.stream([messages.FRAME], 0.0, lambda _text, _is_final: None)
        print_event("measured", ready=quantiles_ms(durations_ms[1:]))
    print_event("done")


async def run_job(job: AnyJob) -> None:
    """Run the job and print its events."""
    match job:
        case SteadyLoad():
            await measure_steady_load(job)
        case MemoryUse():
            await measure_memory(job)
        case ConnectTimes():
            await measure_connect_times(job)


def main() -> None:
    """Run the job of the command line."""
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    job = msgspec.json.decode(sys.argv[1], type=AnyJob)
    try:
        with asyncio.Runner(loop_factory=event_loop_factory(job.loop)) as runner:
            runner.run(run_job(job))
    except BaseExceptionGroup as group:  # thousands of sessions may have failed for the same reason
        raise group.exceptions[0] from None


if __name__ == "__main__":
    main()
