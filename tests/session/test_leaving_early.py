"""Sessions that are left early: the vendor's task is ended by a message before the connection is closed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from asr_async import (
    Client,
    FunASR,
    Gummy,
    GummyChat,
    Local,
    Paraformer,
    QwenAudio,
    QwenRealtime,
    Rasr,
    Session,
    Timeouts,
)
from asr_async._net.wire_log import CloseRecord, MessageRecord, read_tape
from asr_async.emulator import Scripted
from asr_async.vendors.options import Options

SECOND = bytes(32_000)
FINISH_TASK, FINISH_SESSION, DROP = "finish-task", "session.finish", "END"

END_MESSAGES: dict[Options, str] = {
    Paraformer(): FINISH_TASK,
    FunASR(): FINISH_TASK,
    QwenAudio(): FINISH_TASK,
    Gummy(): FINISH_TASK,
    GummyChat(): FINISH_TASK,
    QwenRealtime(): FINISH_SESSION,
    Rasr(): DROP,
    Rasr(mode="sentence"): DROP,
    Rasr(mode="short"): DROP,
}


async def leave_the_loop(session: Session) -> None:
    async for _ in session.stream(endless()):
        break


async def leave_the_block(_session: Session) -> None:
    pass


async def cancel(session: Session) -> None:
    await session.cancel()


async def fail(_session: Session) -> None:
    raise KeyError


async def wait_for_ever(_session: Session) -> None:
    await asyncio.Event().wait()


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield SECOND[:3_200]
        await asyncio.sleep(0)


@pytest.mark.parametrize("leave", [leave_the_block, cancel, fail, wait_for_ever])
@pytest.mark.parametrize("options", END_MESSAGES, ids=lambda options: f"{options.model}-{type(options).__name__}")
async def test_the_task_of_a_session_that_is_left_early_is_ended_once_before_the_connection(
    options: Options, leave: Callable[[Session], Awaitable[None]], tmp_path: Path
) -> None:
    service, tape = Local(Scripted([("Good morning.", 100, 9_000)])), tmp_path / "tape.jsonl"
    async with Client(service, tape=tape, timeouts=Timeouts(close=60)) as client:
        left = asyncio.Event()

        async def use() -> None:
            async with client.session(options) as session:
                await leave_the_loop(session)
                left.set()
                await leave(session)

        task = asyncio.create_task(use())
        async with asyncio.timeout(30):  # the closing handshake is answered: this is half of its deadline
            await left.wait()
            if leave is wait_for_ever:
                task.cancel()
            with suppress(KeyError, asyncio.CancelledError):
                await task
    records = read_tape(tape)
    sent = [
        (place, name_of(json.loads(record.text or "{}")))
        for place, record in enumerate(records)
        if isinstance(record, MessageRecord) and record.direction == "sent" and record.kind == "text"
    ]
    ends = [(place, name) for place, name in sent if name == END_MESSAGES[options]]
    assert ends == sent[-1:]
    closed = [(place, record.by) for place, record in enumerate(records) if isinstance(record, CloseRecord)]
    assert closed[0] > (ends[0][0], "")
    assert closed[0][1] == "client"


def name_of(message: dict[str, object]) -> object:
    """Return the name of a client's message, of any vendor."""
    header = message.get("header")
    return header["action"] if isinstance(header, dict) else message.get("type") or message.get("command")
