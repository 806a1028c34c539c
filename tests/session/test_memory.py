"""Sessions that last: memory that does not grow, deadlines that hold at every moment.

A day of virtual time takes minutes, so three hours stand for it: of these, the first half fills what is bounded (the
thousand segments of the time line are there after 83 minutes), and in the second half nothing may grow any more.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import Paraformer, Session, connect

from ..support.scripted_server import scripted_server, send_final, send_interim, start_task
from ..support.streaming import SilentMicrophone
from ..support.virtual_time import run_virtual

# --- memory ----------------------------------------------------------------------------------------------------------

WARM_UP_S = 5_400
QUARTER_S = (float(os.environ.get("ASR_ASYNC_SOAK_HOURS", "3")) * 3_600 - WARM_UP_S) / 4
"""1,350 s in the usual run; `nox -s soak` sets a day."""
RECONNECT_MS = 231_300
"""How much audio a connection lasts: no multiple of anything else here."""


class Talker:
    """A vendor that hears half a minute's talk over and over: interims each half second, a final each five seconds."""

    def __init__(self) -> None:
        self.connections = 0

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections += 1
        task_id = await start_task(connection)
        now_ms = begin_ms = told_ms = 0
        async for audio in connection:
            now_ms += len(audio) // 32
            if now_ms - begin_ms >= 5_000:
                await send_final(connection, task_id, "five seconds of talk", begin_ms, now_ms)
                begin_ms = told_ms = now_ms
            elif now_ms - told_ms >= 500:
                await send_interim(connection, task_id, "some talk", begin_ms)
                told_ms = now_ms
            if now_ms >= RECONNECT_MS:
                connection.transport.abort()
                return


def containers(thing: Any, path: str = "session", seen: set[int] | None = None) -> Iterator[tuple[str, int]]:
    """Yield the path and length of each container inside a live object of the library, each object once."""
    seen = set() if seen is None else seen
    if isinstance(thing, dict | list | set | deque):
        yield path, len(thing)
    elif type(thing).__module__.startswith("asr_async") and id(thing) not in seen:
        seen.add(id(thing))
        for name in attributes_of(thing):
            yield from containers(getattr(thing, name), f"{path}.{name}", seen)


def attributes_of(thing: Any) -> Iterator[str]:
    """The names of what an object holds, wherever it holds it."""
    if isinstance(thing, msgspec.Struct):
        yield from thing.__struct_fields__
        return
    yield from getattr(thing, "__dict__", {})
    for kind in type(thing).__mro__:
        yield from (name for name in getattr(kind, "__slots__", ()) if hasattr(thing, name))


class Census:
    """What a session holds in each quarter of its second half: the most of each container, the fewest blocks."""

    def __init__(self) -> None:
        # by path, and not a dict for each quarter: the census itself must not grow, its blocks are counted too
        self.longest: dict[str, list[int]] = {}
        self.blocks: list[int] = [sys.maxsize] * 4

    def take(self, session: Session, quarter: int) -> None:
        for path, length in containers(session):
            most = self.longest.setdefault(path, [0] * 4)
            most[quarter] = max(most[quarter], length)

    def take_blocks(self, quarter: int) -> None:
        gc.collect()
        self.blocks[quarter] = min(self.blocks[quarter], sys.getallocatedblocks())


@pytest.mark.soak
def test_the_memory_of_a_stream_of_hours_with_reconnects_and_a_slow_caller_is_flat() -> None:
    """A day would add eight times what three hours do, and the second half of these adds nothing.

    Counted are each container of the session, and Python's small objects in the whole process: whatever is kept too
    long, be it a result, a frame's view, a task, a timer or a connection, is made of them.
    """
    census = Census()

    async def scenario() -> None:
        talker = Talker()
        loop = asyncio.get_running_loop()
        async with scripted_server(talker) as service, connect(Paraformer(), service) as session:
            begin_at = loop.time() + WARM_UP_S
            results = 0
            async for _ in session.stream(SilentMicrophone()):
                await asyncio.sleep(2)
                quarter = math.floor((loop.time() - begin_at) / QUARTER_S)
                if quarter == 4:
                    break
                if quarter >= 0:
                    census.take(session, quarter)
                    results += 1
                    if results % 75 == 0:
                        census.take_blocks(quarter)
            assert session.stats.reconnects == talker.connections - 1 > 40
            assert session.stats.interims_conflated > 10_000

    run_virtual(scenario, quiet_polls=0)
    assert census.longest["session._queue._waiting"][0] <= 3
    most_frames = census.longest["session._buffer._sent"][0] + census.longest["session._buffer.unsent"][0]
    assert most_frames <= 60, "five seconds without a final result, and what a reconnect holds up"
    assert {path: most for path, most in census.longest.items() if most[3] > most[0] + 1} == {}
    assert max(census.blocks) - min(census.blocks) < 400, "less than one for every other final result"
