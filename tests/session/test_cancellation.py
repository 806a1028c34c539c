"""Cancellation of a session at any moment: it leaves no task, no socket and no warning behind.

A scenario runs once to count its moments, and again for each moment at which it is cancelled:

* *at every await*: each point at which the caller's own task is suspended, in the two ways that asyncio has: at the
  start of the wait, and when the awaited future is already done (`is_late`). No point is left out.
* *in any iteration of the loop*: whatever the tasks of the session do then, such as reconnect, wait for the backoff or
  replay. There are some hundred iterations, of which every `STRIDE`th is tested.

The server runs in the same loop, so tasks are distinguished by the context in which they were created.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request

from asr_async import Client, DashScope, Fallback, Paraformer, Retry, Timeouts, connect, transcribe

from ..support.numbered_audio import DASHSCOPE, NumberedServer, NumberedSource, cut, numbered_millisecond
from ..support.scripted_server import send_event
from ..support.virtual_time import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence

    from asr_async.vendors.service import Service

    Scenario = Callable[[Service], Coroutine[Any, Any, None]]
    Fault = Callable[[ServerConnection, str], Awaitable[None]]

STRIDE = 7
OPTIONS = DASHSCOPE.options
TIMEOUTS = Timeouts(connect=4, start=4, idle=4, finish=4, close=2)

_is_caller: contextvars.ContextVar[bool] = contextvars.ContextVar("is_caller", default=False)


# --- scenarios; most reconnect once ----------------------------------------------------------------------------------


async def stream(service: Service) -> None:
    async with connect(OPTIONS, service, timeouts=TIMEOUTS) as session:
        async for _ in session.stream(NumberedSource(2.5), pace=None):
            pass
        assert session.stats.reconnects == 1


async def push(service: Service) -> None:
    async with connect(OPTIONS, service, timeouts=TIMEOUTS) as session:
        async for chunk in NumberedSource(2.5, every_s=0.1):
            await session.send(chunk)
        await session.finish()
        async for _ in session:
            pass
        assert session.stats.reconnects == 1


async def call_transcribe(service: Service) -> None:
    await transcribe(NumberedSource(2.5), OPTIONS, service, timeouts=TIMEOUTS)


async def cancel_session(service: Service) -> None:
    async with Client(service, timeouts=TIMEOUTS) as client, client.session(OPTIONS) as session:
        await session.send(bytes(32_000))
        await session.cancel()
        async for _ in session:
            pass


async def leave_early(service: Service) -> None:
    """The session is left during the stream, with audio in transit."""
    async with connect(OPTIONS, service, timeouts=TIMEOUTS) as session:
        async for _ in session.stream(NumberedSource(2.5)):
            break


async def stream_paced(service: Service) -> None:
    """In real time, the session waits for the backoff before it reconnects, and then catches up."""
    async with connect(OPTIONS, service, timeouts=TIMEOUTS, retry=Retry(max_delay_s=1)) as session:
        async for _ in session.events(NumberedSource(2.5), pace=1.0):
            pass
        assert session.stats.reconnects == 1


async def rotate(service: Service) -> None:
    """The next connection is opened in advance and used from the end of a segment on; the old one is drained."""
    retry = Retry(rotate_after=1)
    async with connect(OPTIONS, service, timeouts=TIMEOUTS, retry=retry) as session:
        first = session._task
        async for _ in session.stream(NumberedSource(3.5)):
            pass
        assert session._task is not first
        assert session.stats.reconnects == 0


async def fail_back(service: Service) -> None:
    """The first member refuses once, the session fails over to another, and fails back."""
    assert isinstance(service, Fallback)
    async with connect(service.options, service, timeouts=TIMEOUTS) as session:
        assert session._task is not None
        assert session._task.is_substitute
        async for _ in session.stream(NumberedSource(4)):
            pass
        assert not session._task.is_substitute


async def fill_a_pause(service: Service) -> None:
    """The session sends silence while the source pauses."""
    options = Paraformer(heartbeat=True)
    async with connect(options, service, timeouts=TIMEOUTS, retry=Retry(silence="fill")) as session:
        await session.send(numbered_millisecond(1) * 500)
        await asyncio.sleep(7)
        await session.send(numbered_millisecond(1) * 500)
        await session.finish()
        async for _ in session:
            pass
        assert session.stats.silence_sent_ms > 1_500


async def resume_after_a_pause(service: Service) -> None:
    """The vendor ends the task in a pause, and the session reconnects when there is audio again."""
    async with connect(OPTIONS, service, timeouts=TIMEOUTS) as session:
        await session.send(numbered_millisecond(1) * 2_000)
        await asyncio.sleep(60)
        assert session.stats.reconnects == 0
        await session.send(numbered_millisecond(1) * 500)
        await session.finish()
        async for _ in session:
            pass
        assert session.stats.reconnects == 1


async def time_out(connection: ServerConnection, task_id: str) -> None:
    await asyncio.sleep(23)
    message = "request timeout after 23 seconds."
    await send_event(connection, "task-failed", task_id, error_code="CLIENT_ERROR", error_message=message)


class SlowServer(NumberedServer):
    """A server with slow handshakes and slow ends of tasks, so that a rotation has two connections for a while."""

    async def process_request(self, connection: ServerConnection, request: Request) -> None:
        await asyncio.sleep(0.3)

    async def _send_rest(self, *args: Any) -> None:
        await asyncio.sleep(0.5)
        await super()._send_rest(*args)


class RefusesOnceServer(SlowServer):
    """A server that injects its faults into the handshakes with the first key."""

    async def process_request(self, connection: ServerConnection, request: Request) -> None:
        if self.faults and request.headers["Authorization"].endswith("sk-numbered"):
            await self.faults.pop(0)(connection, "")  # type: ignore[misc]
        await super().process_request(connection, request)


def fallback_at(port: int) -> Service:
    second = DashScope("sk-second", endpoint=f"ws://127.0.0.1:{port}/")
    return Fallback([(DASHSCOPE.service(port), OPTIONS), (second, OPTIONS)])


# --- instrumented callers and loop -----------------------------------------------------------------------------------


class Suspensions:
    """An awaitable that drives a coroutine as `await` does, counts its suspensions, and calls `act` at one of them."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], act: Callable[[], object], *, at: int | None, is_late: bool = False
    ) -> None:
        self._coroutine = coroutine
        self._act = act
        self._at = at
        self._is_late = is_late
        self.count = 0
        self.has_acted = False

    def __await__(self) -> Generator[Any, Any, None]:
        thrown: BaseException | None = None
        while True:
            try:
                waited_for = self._coroutine.send(None) if thrown is None else self._coroutine.throw(thrown)
            except StopIteration:
                return
            if self.count == self._at:
                self._call_act(waited_for)
            self.count += 1
            try:
                thrown = yield waited_for
            except BaseException as error:  # noqa: BLE001 - thrown into the coroutine, as `await` does
                thrown = error

    def _call_act(self, waited_for: asyncio.Future[Any] | None) -> None:
        self.has_acted = True
        if self._is_late and waited_for is not None:  # None at `sleep(0)`
            waited_for.add_done_callback(lambda _: self._act())
        else:
            self._act()


class WatchedLoop(VirtualLoop):
    """A loop that calls `act` in one of its iterations, and records the caller's tasks and unhandled errors."""

    def __init__(self) -> None:
        super().__init__()
        self.iterations = 0
        self.caller_tasks: list[asyncio.Task[Any]] = []
        self.errors: list[dict[str, Any]] = []
        self._act: Callable[[], object] = lambda: None
        self._at: int | None = None
        self.set_task_factory(self._make_task)
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def count_iterations(self, act: Callable[[], object] = lambda: None, *, at: int | None = None) -> None:
        """Count iterations from 0 again, and call `act` in iteration `at`."""
        self.iterations, self._act, self._at = 0, act, at

    def open_sockets(self) -> int:
        """Return the number of sockets of the loop, including those that it does not read."""
        transports: Any = self._transports  # type: ignore[attr-defined]
        not_read = [number for number, transport in list(transports.items()) if not transport.is_closing()]
        return len({*self._selector.get_map(), *not_read})  # type: ignore[attr-defined]

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        if _is_caller.get():
            self.caller_tasks.append(task)
        return task

    def _run_once(self) -> None:
        if self.iterations == self._at:
            self._act()
        self.iterations += 1
        super()._run_once()  # type: ignore[misc]


class Harness:
    """A server and a watched loop, in which scenarios run and are interrupted."""

    def __init__(
        self, loop: WatchedLoop, server: NumberedServer, new_service: Callable[[], Service], faults: Sequence[Fault]
    ) -> None:
        self.loop = loop
        self._server = server
        self._new_service = new_service
        self._faults = faults

    async def run(
        self, scenario: Scenario, caller: Callable[[Coroutine[Any, Any, None]], Awaitable[None]]
    ) -> BaseException | None:
        """Run a scenario once, assert that it leaves nothing behind, and return its exception."""
        self._server.faults = list(self._faults)
        random.seed(1)  # for the jitter of the backoff
        sockets = self.loop.open_sockets()
        self.loop.caller_tasks.clear()
        (outcome,) = await asyncio.gather(self._call(caller, scenario), return_exceptions=True)
        assert [task for task in self.loop.caller_tasks if not task.done()] == []
        self.loop.caller_tasks.clear()
        await asyncio.sleep(3)  # the server may need a second to notice the end of a connection
        gc.collect()  # reports what was not closed, and exceptions that were never retrieved
        assert self.loop.open_sockets() == sockets
        assert self.loop.errors == []
        return outcome

    async def _call(self, caller: Callable[[Coroutine[Any, Any, None]], Awaitable[None]], scenario: Scenario) -> None:
        _is_caller.set(True)
        await caller(scenario(self._new_service()))


def run_with_harness(
    check: Callable[[Harness], Coroutine[Any, Any, None]],
    scenario: Scenario | None = None,
    *,
    server: NumberedServer | None = None,
) -> None:
    """Run a check with the server that a scenario needs; most servers abort the first connection."""
    faults = FAULTS.get(scenario, (cut,))
    service_at = fallback_at if scenario is fail_back else DASHSCOPE.service
    server = server or SERVERS.get(scenario, NumberedServer)(after_ms=1_700)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, WatchedLoop)
        async with server.serving() as port:
            await check(Harness(loop, server, lambda: service_at(port), faults))

    gc.collect()
    gc.freeze()  # keeps the present objects out of some hundred collections
    try:
        with asyncio.Runner(loop_factory=WatchedLoop) as runner:
            runner.run(main())
    finally:
        gc.unfreeze()


SERVERS: dict[Scenario | None, type[NumberedServer]] = {rotate: SlowServer, fail_back: RefusesOnceServer}
FAULTS: dict[Scenario | None, Sequence[Fault]] = {rotate: (), fill_a_pause: (), resume_after_a_pause: (time_out,)}


# --- cancellation at every await -------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_late", [False, True], ids=["before-the-wait", "after-the-wait"])
@pytest.mark.parametrize(
    "scenario",
    [stream, push, call_transcribe, cancel_session, leave_early, rotate, fail_back, fill_a_pause, resume_after_a_pause],
)
def test_a_session_that_is_cancelled_at_any_await_leaves_nothing_behind(scenario: Scenario, is_late: bool) -> None:
    async def check(harness: Harness) -> None:
        count = await count_suspensions(harness, scenario)
        assert count > 5
        for at in range(count):
            suspensions: list[Suspensions] = []

            async def caller(
                coroutine: Coroutine[Any, Any, None], at: int = at, suspensions: list[Suspensions] = suspensions
            ) -> None:
                suspensions.append(Suspensions(coroutine, current_task().cancel, at=at, is_late=is_late))
                await suspensions[0]

            outcome = await harness.run(scenario, caller)
            if not suspensions[0].has_acted:  # results that arrive together need fewer waits than in the first run
                assert outcome is None
                assert at > count // 2
                break
            assert isinstance(outcome, asyncio.CancelledError), f"suspension {at}: {outcome!r}"

    run_with_harness(check, scenario)


async def count_suspensions(harness: Harness, scenario: Scenario) -> int:
    suspensions: list[Suspensions] = []

    async def caller(coroutine: Coroutine[Any, Any, None]) -> None:
        suspensions.append(Suspensions(coroutine, lambda: None, at=None))
        await suspensions[0]

    assert await harness.run(scenario, caller) is None
    return suspensions[0].count


def current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


# --- cancellation in any iteration of the loop -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "scenario", [stream, push, stream_paced, rotate, fail_back, fill_a_pause, resume_after_a_pause]
)
def test_a_session_that_is_cancelled_in_any_iteration_leaves_nothing_behind(scenario: Scenario) -> None:
    async def check(harness: Harness) -> None:
        for iteration in await some_iterations(harness, scenario):

            async def caller(coroutine: Coroutine[Any, Any, None], iteration: int = iteration) -> None:
                harness.loop.count_iterations(current_task().cancel, at=iteration)
                await coroutine

            outcome = await harness.run(scenario, caller)
            assert isinstance(outcome, asyncio.CancelledError), f"iteration {iteration}: {outcome!r}"

    run_with_harness(check, scenario)


@pytest.mark.parametrize("scenario", [stream, stream_paced, rotate])
def test_a_session_in_a_cancelled_anyio_scope_leaves_nothing_behind(scenario: Scenario) -> None:
    """Such a scope cancels in each iteration until it is left. The closing handshake is shielded, and may complete."""

    async def check(harness: Harness) -> None:
        for iteration in await some_iterations(harness, scenario):

            async def caller(coroutine: Coroutine[Any, Any, None], iteration: int = iteration) -> None:
                with anyio.move_on_after(3_600) as scope:
                    harness.loop.count_iterations(scope.cancel, at=iteration)
                    await coroutine
                assert scope.cancel_called

            assert await harness.run(scenario, caller) is None

    run_with_harness(check, scenario)


@pytest.mark.parametrize("scenario", [stream, stream_paced])
def test_a_session_in_an_expired_timeout_leaves_nothing_behind(scenario: Scenario) -> None:
    async def check(harness: Harness) -> None:
        for iteration in await some_iterations(harness, scenario):

            async def caller(coroutine: Coroutine[Any, Any, None], iteration: int = iteration) -> None:
                async with asyncio.timeout(None) as limit:
                    harness.loop.count_iterations(lambda: limit.reschedule(harness.loop.time()), at=iteration)
                    await coroutine

            outcome = await harness.run(scenario, caller)
            assert type(outcome) is TimeoutError, f"iteration {iteration}: {outcome!r}"

    run_with_harness(check)


async def some_iterations(harness: Harness, scenario: Scenario) -> range:
    """Return every `STRIDE`th iteration of a scenario without the last ones: their number varies with the sockets."""
    counts: list[int] = []

    async def caller(coroutine: Coroutine[Any, Any, None]) -> None:
        harness.loop.count_iterations()
        await coroutine
        counts.append(harness.loop.iterations)

    assert await harness.run(scenario, caller) is None
    return range(len(scenario.__name__) % STRIDE, counts[0] - 10, STRIDE)


# --- cancellation during a reconnect ---------------------------------------------------------------------------------


class StoppingServer(NumberedServer):
    """A server that aborts the first connection, stops at one step of the next one, and calls `on_stop` there."""

    def __init__(self, step: str) -> None:
        super().__init__(after_ms=1_700)
        self._step = step
        self.on_stop: Callable[[], object] = lambda: None

    async def process_request(self, connection: ServerConnection, request: Request) -> None:
        await self._stop_at("handshake")

    async def __call__(self, connection: ServerConnection) -> None:
        await self._stop_at("start")
        await super().__call__(connection)

    async def _send_whole_seconds(
        self, connection: ServerConnection, task_id: str, start_ms: int, final_ms: int, now_ms: int
    ) -> int:
        if len(self.started_at_ms) == 2:
            await self._stop_at("replay")
        elif now_ms >= self.after_ms and self._step == "backoff":
            asyncio.get_running_loop().call_later(0.01, self.on_stop)
        return await super()._send_whole_seconds(connection, task_id, start_ms, final_ms, now_ms)

    async def _stop_at(self, step: str) -> None:
        if self.started_at_ms and self._step == step:
            self.on_stop()
            await asyncio.sleep(600)


@pytest.mark.parametrize("step", ["backoff", "handshake", "start", "replay"])
def test_a_session_that_is_cancelled_during_a_reconnect_ends_within_the_close_deadline(step: str) -> None:
    server = StoppingServer(step)
    cancelled_at: list[float] = []

    async def check(harness: Harness) -> None:
        async def caller(coroutine: Coroutine[Any, Any, None]) -> None:
            task = current_task()

            def cancel() -> None:
                cancelled_at.append(harness.loop.time())
                task.cancel()

            server.on_stop = cancel
            try:
                await coroutine
            finally:
                assert harness.loop.time() - cancelled_at[0] < TIMEOUTS.close + 0.1

        assert isinstance(await harness.run(stream_paced, caller), asyncio.CancelledError)
        assert len(server.started_at_ms) == (2 if step == "replay" else 1)

    run_with_harness(check, server=server)
