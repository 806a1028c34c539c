"""One peer in a process of its own: `python -m load.child JOB`, the job as JSON.

Prints JSON lines: `{"say": "measuring"}` when it begins to measure, `{"say": "measured", ...figures}` when it has, and,
when every session has ended, `{"say": "done", ...}`. What goes wrong is a traceback and an exit status.
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
from .figures import cpu_s, new_event_loop, private_kib, quantiles_ms, threads
from .jobs import Connects, Memory, Steady
from .peers import PEERS, Peer

SPREAD_S = 0.5
"""The sessions begin evenly over the time between two results, so that the load is even."""

WARM_UP_S = 1.0
TAIL_S = 0.5
"""How long all sessions run before and after the measuring."""

OPENING_AT_ONCE = 50


def say(what: str, **figures: Any) -> None:
    print(json.dumps({"say": what, **figures}), flush=True)


class Crowd:
    """Sessions of one peer, side by side: opened, then streaming from a common instant on."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._gate = asyncio.Semaphore(OPENING_AT_ONCE)
        self._begin = asyncio.get_running_loop().create_future()
        self.finals = 0
        self.delays_ms: list[float] = []

    @asynccontextmanager
    async def opened(self, sessions: int, seconds: float, *, fresh: bool = False) -> AsyncIterator[None]:
        """All are open inside; leave after `begin`, and all will have ended.

        `fresh` gives each frame memory of its own, as a microphone does.
        """
        all_open = asyncio.Barrier(sessions + 1)

        async def one(number: int) -> None:
            async with AsyncExitStack() as stack:
                async with self._gate:
                    session = await stack.enter_async_context(self._peer.session())
                await all_open.wait()
                begin_at = await self._begin + SPREAD_S * number / sessions
                await session.stream(_frames(seconds, fresh=fresh), begin_at, self._take)

        async with asyncio.TaskGroup() as group:
            for number in range(sessions):
                group.create_task(one(number))
            await all_open.wait()
            yield

    def begin(self) -> float:
        """Have all stream; return the instant at which the last one has begun, on the loop's clock."""
        begin_at = asyncio.get_running_loop().time() + 0.1
        self._begin.set_result(begin_at)
        return begin_at + SPREAD_S

    def _take(self, text: str, is_final: bool) -> None:
        self.delays_ms.append((time.monotonic_ns() - messages.stamp_of(text)) / 1e6)
        self.finals += is_final


def _frames(seconds: float, *, fresh: bool) -> Iterable[bytes]:
    number = round(seconds / messages.FRAME_MS * 1_000)
    return (bytes(len(messages.FRAME)) for _ in range(number)) if fresh else itertools.repeat(messages.FRAME, number)


async def steady(job: Steady) -> None:
    if job.gc_threshold is not None:
        gc.set_threshold(job.gc_threshold)
    async with PEERS[job.peer](job.url) as peer:
        threads_before = threads()
        crowd = Crowd(peer)
        clock = asyncio.get_running_loop().time
        streamed_s = SPREAD_S + WARM_UP_S + job.seconds + TAIL_S
        async with crowd.opened(job.sessions, streamed_s):
            await asyncio.sleep(crowd.begin() + WARM_UP_S - clock())
            say("measuring")
            crowd.delays_ms.clear()
            used_s, began_at = cpu_s(), clock()
            await asyncio.sleep(job.seconds)
            used_s, elapsed_s = cpu_s() - used_s, clock() - began_at
            say(
                "measured",
                cpu_s=used_s,
                elapsed_s=elapsed_s,
                threads_per_session=round((threads() - threads_before) / job.sessions, 2),
                delay=quantiles_ms(crowd.delays_ms),
            )
    say("done", finals=crowd.finals)


SESSIONS_BEFORE = 10
"""They pay for what is imported and allocated once."""

SETTLE_S = 1.0
"""After opening: the official SDK connects behind the caller's back."""

ACTIVE_S = 4.0
"""So long a session streams before its memory is read: some finals have come."""


async def memory(job: Memory) -> None:
    async with PEERS[job.peer](job.url) as peer:
        streamed_s = SPREAD_S + ACTIVE_S + 2 * TAIL_S
        before, crowd = Crowd(peer), Crowd(peer)
        async with before.opened(SESSIONS_BEFORE, TAIL_S):
            await asyncio.sleep(SETTLE_S)
            base_kib = private_kib()
            async with crowd.opened(job.sessions, streamed_s, fresh=True):
                await asyncio.sleep(SETTLE_S)
                idle_kib = private_kib()
                await asyncio.sleep(crowd.begin() + ACTIVE_S - asyncio.get_running_loop().time())
                active_kib = private_kib()
                say(
                    "measured",
                    idle_kib_per_session=round((idle_kib - base_kib) / job.sessions, 1),
                    active_kib_per_session=round((active_kib - base_kib) / job.sessions, 1),
                )
            before.begin()
    say("done")


async def connects(job: Connects) -> None:
    took_ms = []
    async with PEERS[job.peer](job.url) as peer:
        for _ in range(1 + job.sessions):  # the first one pays for what is made once
            began_at = time.perf_counter()
            async with peer.session() as session:
                took_ms.append(1_000 * (time.perf_counter() - began_at))
                await session.stream([messages.FRAME], 0.0, lambda _text, _is_final: None)
        say("measured", ready=quantiles_ms(took_ms[1:]))
    say("done")


async def do(job: Steady | Memory | Connects) -> None:
    match job:
        case Steady():
            await steady(job)
        case Memory():
            await memory(job)
        case Connects():
            await connects(job)


def main() -> None:
    """Do the job."""
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    job = msgspec.json.decode(sys.argv[1], type=Steady | Memory | Connects)
    try:
        with asyncio.Runner(loop_factory=new_event_loop(job.loop)) as runner:
            runner.run(do(job))
    except BaseExceptionGroup as group:  # thousands may have failed for the same reason
        raise group.exceptions[0] from None


if __name__ == "__main__":
    main()
