"""The memory of long sessions, which must not grow.

A day of virtual time takes minutes, so three hours stand for it. In their first half everything that is bounded fills
up: the last is the thousand segments of the timeline, after 83 minutes. In the second half nothing may grow.
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
from ..support.virtual_time import now, run_virtual

WARM_UP_S = 5_400
QUARTER_S = (float(os.environ.get("ASR_ASYNC_SOAK_HOURS", "3")) * 3_600 - WARM_UP_S) / 4
"""1,350 s in the usual run; `nox -s soak` sets a day."""
RECONNECT_MS = 231_300
"""The audio after which a connection is aborted: not a multiple of any other number here."""


class EndlessSpeechServer:
    """A server that sends an interim each half second and a final each five seconds, and aborts its connections."""

    def __init__(self) -> None:
        self.connections = 0

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections += 1
        task_id = await start_task(connection)
        now_ms = final_ms = interim_ms = 0
        async for audio in connection:
            now_ms += len(audio) // 32
            if now_ms - final_ms >= 5_000:
                await send_final(connection, task_id, "five seconds of talk", final_ms, now_ms)
                final_ms = interim_ms = now_ms
            elif now_ms - interim_ms >= 500:
                await send_interim(connection, task_id, "some talk", final_ms)
                interim_ms = now_ms
            if now_ms >= RECONNECT_MS:
                connection.transport.abort()
                return


def containers(value: Any, path: str = "session", seen: set[int] | None = None) -> Iterator[tuple[str, int]]:
    """Yield the path and length of each container inside a live object of the library, each object once."""
    seen = set() if seen is None else seen
    if isinstance(value, dict | list | set | deque):
        yield path, len(value)
    elif type(value).__module__.startswith("asr_async") and id(value) not in seen:
        seen.add(id(value))
        for name in attributes_of(value):
            yield from containers(getattr(value, name), f"{path}.{name}", seen)


def attributes_of(value: Any) -> Iterator[str]:
    """Yield the names of the attributes of an object: fields of a struct, `__dict__` and `__slots__`."""
    if isinstance(value, msgspec.Struct):
        yield from value.__struct_fields__
        return
    yield from getattr(value, "__dict__", {})
    for kind in type(value).__mro__:
        yield from (name for name in getattr(kind, "__slots__", ()) if hasattr(value, name))


class Census:
    """The sizes of a session in each quarter of its second half: the longest of each container, the fewest blocks."""

    def __init__(self) -> None:
        # One dict by path instead of one for each quarter: the blocks of the census are counted too, and must not grow.
        self.longest: dict[str, list[int]] = {}
        self.blocks: list[int] = [sys.maxsize] * 4

    def count_containers(self, session: Session, quarter: int) -> None:
        for path, length in containers(session):
            lengths = self.longest.setdefault(path, [0] * 4)
            lengths[quarter] = max(lengths[quarter], length)

    def count_blocks(self, quarter: int) -> None:
        gc.collect()
        self.blocks[quarter] = min(self.blocks[quarter], sys.getallocatedblocks())


@pytest.mark.soak
def test_memory_does_not_grow_over_hours_of_reconnects_with_a_slow_caller() -> None:
    """In the second half of three hours, neither the containers of the session nor the memory of the process grow.

    The memory is counted in blocks of Python's allocator for small objects: everything that could be kept too long (a
    result, a view of a frame, a task, a timer, a connection) consists of them.
    """
    census = Census()

    async def scenario() -> None:
        server = EndlessSpeechServer()
        async with scripted_server(server) as service, connect(Paraformer(), service) as session:
            started_at = now() + WARM_UP_S
            results = 0
            async for _ in session.stream(SilentMicrophone()):
                await asyncio.sleep(2)
                quarter = math.floor((now() - started_at) / QUARTER_S)
                if quarter == 4:
                    break
                if quarter >= 0:
                    census.count_containers(session, quarter)
                    results += 1
                    if results % 75 == 0:
                        census.count_blocks(quarter)
            assert session.stats.reconnects == server.connections - 1 > 40
            assert session.stats.interims_conflated > 10_000

    run_virtual(scenario, quiet_polls=0)
    assert census.longest["session._queue._waiting"][0] <= 3
    most_frames = census.longest["session._buffer._sent"][0] + census.longest["session._buffer.unsent"][0]
    assert most_frames <= 60, "five seconds without a final, and the audio that arrives during a reconnect"
    assert {path: lengths for path, lengths in census.longest.items() if lengths[3] > lengths[0] + 1} == {}
    assert max(census.blocks) - min(census.blocks) < 400, "less than one block for every second final"
