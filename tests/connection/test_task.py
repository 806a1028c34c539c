"""A vendor task on a connection whose network takes no audio."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from asr_async import DeadlineError, Paraformer, Timeouts
from asr_async._connection.task import RecognitionTask
from asr_async.vendors.codec import TaskDescription
from asr_async.vendors.dashscope.codec import TaskCodec

from ..support.virtual_time import now, run_virtual

IDLE_S = 8.0


class BlockedConnection:
    """A connection that is never writable."""

    def __init__(self) -> None:
        self.is_paused = False

    def call_when_writable(self, _callback: Any) -> None:
        pass

    def send(self, _message: Any) -> bool:
        return False

    async def drain(self) -> None:
        await asyncio.sleep(3_600)


def task_on(connection: BlockedConnection) -> RecognitionTask:
    description = TaskDescription(audio_format=Paraformer().audio, max_frame_bytes=3_200)
    choice: Any = SimpleNamespace(options=Paraformer(), description=description)
    codec = TaskCodec(Paraformer(), task_id="t")
    permit: Any = SimpleNamespace()
    log: Any = SimpleNamespace()
    timeouts = Timeouts(idle=IDLE_S)
    return RecognitionTask(codec, cast("Any", connection), choice, timeouts=timeouts, permit=permit, log=log)


def test_a_blocked_connection_fails_after_the_idle_timeout_of_which_pauses_of_reading_are_no_part() -> None:
    """A server that cannot send, since nothing is read, may not read either."""

    async def scenario() -> None:
        connection = BlockedConnection()
        connection.is_paused = True
        failed_at: list[float] = []
        task_on(connection).call_when_writable(lambda: None, lambda _error: failed_at.append(now()))
        await asyncio.sleep(10 * IDLE_S + 1)
        assert failed_at == []
        connection.is_paused = False
        await asyncio.sleep(2 * IDLE_S)
        assert failed_at == [11 * IDLE_S]

    run_virtual(scenario)


def test_draining_a_blocked_connection_fails_after_the_idle_timeout_of_which_pauses_of_reading_are_no_part() -> None:
    async def scenario() -> None:
        connection = BlockedConnection()
        connection.is_paused = True

        async def resume_later() -> None:
            await asyncio.sleep(10 * IDLE_S + 1)
            connection.is_paused = False

        resuming = asyncio.create_task(resume_later())
        with pytest.raises(DeadlineError, match=r"took no audio for 8 s \(Timeouts.idle\)"):
            await task_on(connection).drain()
        assert now() == 11 * IDLE_S
        await resuming

    run_virtual(scenario)
