"""Mutated conversations through whole sessions, against a server that sends what it is given.

The server runs in the same event loop and knows the protocols just enough to open a task. A session has up to three
conversations, one per connection; each connection ends in one of several ways behind it. The sockets are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from asr_async import ASRError, Retry, Timeouts, connect

from . import codecs
from .conversations import CONNECTION_ENDS, TASK_ID, Act, ExpectedFinal, Protocol, TaskReader, name_in_handshake, read
from .mutations import Step
from .rules import BrokenRuleError, SessionRules, check_error

__all__ = ["MAX_SESSION_S", "Vendor", "check_leaks", "plan_of", "run"]

RETRY = Retry(attempts=2, max_delay_s=0.02, on_gap="continue")

MAX_SESSION_S = 20.0
"""The most time of a session: its deadlines for three connections, several times over, for a busy machine."""

FINISH_WAIT_S = 3.0
"""The server waits so long for the end of the client's audio before it goes on as if that had come."""

SOURCE_MS = 2_000

RATES = (0.0, 0.02, 0.05, 0.2)
"""Shares of changed messages; with more, most sessions end before they have begun."""


def plan_of(protocol: Protocol, seed: int, foreign: list[dict[str, Any]]) -> list[Step]:
    """Return the conversations of a session's connections, each with its end; the same for the same seed."""
    rng = random.Random(seed)
    steps: list[Step] = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        steps += codecs.conversation(protocol, rng.randrange(2**48), foreign, rates=RATES)
        steps.append(rng.choice((Act.WAIT, *CONNECTION_ENDS)))
    return steps


def _connections(steps: list[Step]) -> Iterator[list[Step]]:
    """Yield the part of each connection, with its end."""
    part: list[Step] = []
    for step in steps:
        part.append(step)
        if step in CONNECTION_ENDS:
            yield part
            part = []
    if part:
        yield part


class Vendor:
    """The server of all sessions; each session has an endpoint of its own."""

    def __init__(self) -> None:
        self._plans: dict[str, Iterator[list[Step]]] = {}
        self._tasks: dict[str, list[TaskReader]] = {}
        self._protocols: dict[str, Protocol] = {}
        self._server: Server | None = None
        self.messages = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Vendor]:
        """Listen on a free port while the context lasts."""
        options: dict[str, Any] = {"compression": None, "max_size": None, "close_timeout": 0.3, "ping_interval": None}
        async with serve(self._on_connection, "127.0.0.1", 0, **options) as self._server:
            yield self

    def add(self, name: str, protocol: Protocol, steps: list[Step]) -> Any:
        """Return the service for a session with this plan."""
        assert self._server is not None
        self._plans[name], self._protocols[name], self._tasks[name] = _connections(steps), protocol, []
        port = next(iter(self._server.sockets)).getsockname()[1]
        return protocol.service(f"ws://127.0.0.1:{port}", name)

    def remove(self, name: str) -> list[ExpectedFinal]:
        """Forget a session; return the finals that it was sent."""
        del self._plans[name], self._protocols[name]
        return [final for task in self._tasks.pop(name) for final in task.finals]

    async def _on_connection(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        request = connection.request
        name = name_in_handshake(request.path, request.headers.get("Authorization", ""))
        steps = next(self._plans.get(name, iter(())), None)
        if steps is None:
            return
        protocol, tasks = self._protocols[name], self._tasks[name]
        with contextlib.suppress(ConnectionClosed, asyncio.CancelledError):
            task_id = _task_id(await connection.recv())
            tasks.append(TaskReader(protocol, task_id))
            await self._play(connection, steps, tasks[-1], task_id)

    async def _play(self, connection: ServerConnection, steps: list[Step], task: TaskReader, task_id: str) -> None:
        finished = asyncio.Event()
        reader = asyncio.create_task(_read(connection, finished, task.protocol.last_message))
        try:
            for step in steps:
                if isinstance(step, Act):
                    await _act(connection, step, finished)
                    continue
                message = step.replace(TASK_ID, task_id) if isinstance(step, str) else step
                self.messages += 1
                task.read(message)
                await connection.send(message)
            await reader
        finally:
            reader.cancel()


async def _act(connection: ServerConnection, act: Act, finished: asyncio.Event) -> None:
    match act:
        case Act.FINISH:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINISH_WAIT_S):
                    await finished.wait()
        case Act.CUT:
            connection.transport.abort()
        case Act.CLOSE:
            await connection.close(1011)
        case _:
            await asyncio.sleep(0)


async def _read(connection: ServerConnection, finished: asyncio.Event, last_message: str) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            if isinstance(message, str) and last_message in message:
                finished.set()
    finished.set()


def _task_id(message: str | bytes) -> str:
    match read(message):
        case {"header": {"task_id": str(task_id)}} | {"wav_name": str(task_id)}:
            return task_id
    return TASK_ID


class Ended(msgspec.Struct, frozen=True):
    """The end of a session."""

    seconds: float
    error: str
    """The class of the error; empty if there was none."""


async def run(vendor: Vendor, name: str, protocol: Protocol, steps: list[Step]) -> Ended:
    """Run one session to its end.

    Raises:
        BrokenRuleError: a rule is broken.
    """
    began_at, rules, error_name = time.monotonic(), SessionRules(), ""
    service = vendor.add(name, protocol, steps)
    try:
        async with asyncio.timeout(MAX_SESSION_S):
            await _stream(service, protocol, rules)
    except ASRError as error:
        check_error(error)
        error_name = type(error).__name__
    except TimeoutError:
        raise BrokenRuleError("sessions end", f"not within {MAX_SESSION_S} s") from None
    except BrokenRuleError:
        raise
    except (Exception, BaseExceptionGroup) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        rule = f"only ASRErrors leave a session ({type(error).__name__} in {place.name})"
        raise BrokenRuleError(rule, f"{error!r:.300}, line {place.lineno}") from error
    finally:
        sent = vendor.remove(name)
    if not error_name:
        rules.expect(sent)
        rules.check_end()
    return Ended(time.monotonic() - began_at, error_name)


def check_leaks(leaks: list[str]) -> None:
    """Check that no task or callback has left an error in the event loop; forget those that have.

    Raises:
        BrokenRuleError: there is one.
    """
    if leaks:
        detail = leaks.pop()
        leaks.clear()
        raise BrokenRuleError("no error is left in the event loop", detail)


def _is_pushed(protocol: Protocol) -> bool:
    return getattr(protocol.options, "manual_commit", False)


async def _stream(service: Any, protocol: Protocol, rules: SessionRules) -> None:
    timeouts = Timeouts(connect=2, start=1, idle=4, finish=protocol.finish_s, close=0.3, translation=0.1)
    async with connect(protocol.options, service, timeouts=timeouts, retry=RETRY) as session:
        if not _is_pushed(protocol):
            async for event in session.events(_source(), pace=None):
                rules.check(event)
            return
        pusher = asyncio.create_task(_push(session))
        try:
            async for event in session.events():
                rules.check(event)
        finally:
            pusher.cancel()
            await asyncio.wait([pusher])


async def _source() -> AsyncIterator[bytes]:
    for _ in range(SOURCE_MS // 100):
        yield bytes(3_200)
        await asyncio.sleep(0.001)


async def _push(session: Any) -> None:
    with contextlib.suppress(ASRError):  # the reader of the results raises it
        async for chunk in _source():
            await session.send(chunk)
            await session.commit()
        await session.finish()
