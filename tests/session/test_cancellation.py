"""A caller may leave at any moment, and nothing of its session stays: no task, no socket, no warning.

A scenario runs once to be measured, then again for each moment at which it is cancelled:

* *at every await*: each point at which the caller's own task is suspended, in the two ways that asyncio knows: when the
  wait begins, and when what was waited for has just come (`is_late`). No point is left out.
* *at any turn of the loop*: whatever the session's tasks are at: connecting again, waiting before that, sending again.
  There are some hundred turns, of which every `STRIDE`th is taken.

The vendor lives in the same loop, so tasks are told apart by the context that they were made in.
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

_is_callers: contextvars.ContextVar[bool] = contextvars.ContextVar("is_callers", default=False)


# --- scenarios: most lose a connection and make another --------------------------------------------------------------


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


async def in_one_call(service: Service) -> None:
    await transcribe(NumberedSource(2.5), OPTIONS, service, timeouts=TIMEOUTS)


async def drop(service: Service) -> None:
    async with Client(service, timeouts=TIMEOUTS) as client, client.session(OPTIONS) as session:
        await session.send(bytes(32_000))
        await session.cancel()
        async for _ in session:
            pass


async def leave(service: Service) -> None:
    """In the middle, with audio on its way."""
    async with connect(OPTIONS, service, timeouts=TIMEOUTS) as session:
        async for _ in session.stream(NumberedSource(2.5)):
            break


async def paced(service: Service) -> None:
    """In real time, so that the wait before the next connection and the catching up take their turns."""
    async with connect(OPTIONS, service, timeouts=TIMEOUTS, retry=Retry(max_delay_s=1)) as session:
        async for _ in session.events(NumberedSource(2.5), pace=1.0):
            pass
        assert session.stats.reconnects == 1


async def rotate(service: Service) -> None:
    """The next connection is opened ahead, taken at the end of a segment, and the old one is read to its end."""
    retry = Retry(rotate_after=1)
    async with connect(OPTIONS, service, timeouts=TIMEOUTS, retry=retry) as session:
        first = session._task
        async for _ in session.stream(NumberedSource(3.5)):
            pass
        assert session._task is not first
        assert session.stats.reconnects == 0


async def come_back(service: Service) -> None:
    """The first member refuses once, another stands in, and the first is taken back."""
    assert isinstance(service, Fallback)
    async with connect(service.options, service, timeouts=TIMEOUTS) as session:
        assert session._task is not None
        assert session._task.is_substitute
        async for _ in session.stream(NumberedSource(4)):
            pass
        assert not session._task.is_substitute


async def pause(service: Service) -> None:
    """Silence is sent while nobody speaks."""
    options = Paraformer(heartbeat=True)
    async with connect(options, service, timeouts=TIMEOUTS, retry=Retry(silence="fill")) as session:
        await session.send(numbered_millisecond(1) * 500)
        await asyncio.sleep(7)
        await session.send(numbered_millisecond(1) * 500)
        await session.finish()
        async for _ in session:
            pass
        assert session.stats.silence_sent_ms > 1_500


async def rest(service: Service) -> None:
    """The vendor gives up a source that says nothing, and is asked again when it does."""
    async with connect(OPTIONS, service, timeouts=TIMEOUTS) as session:
        await session.send(numbered_millisecond(1) * 2_000)
        await asyncio.sleep(60)
        assert session.stats.reconnects == 0
        await session.send(numbered_millisecond(1) * 500)
        await session.finish()
        async for _ in session:
            pass
        assert session.stats.reconnects == 1


async def give_up(connection: ServerConnection, task_id: str) -> None:
    await asyncio.sleep(23)
    message = "request timeout after 23 seconds."
    await send_event(connection, "task-failed", task_id, error_code="CLIENT_ERROR", error_message=message)


class SlowToPart(NumberedServer):
    """Lets nobody in at once, and takes its time to finish: there are two connections for a while."""

    async def process_request(self, connection: ServerConnection, request: Request) -> None:
        await asyncio.sleep(0.3)

    async def _send_rest(self, *args: Any) -> None:
        await asyncio.sleep(0.5)
        await super()._send_rest(*args)


class RefusesOnce(SlowToPart):
    """Loses whoever comes with the first key, as long as there is a fate left."""

    async def process_request(self, connection: ServerConnection, request: Request) -> None:
        if self.faults and request.headers["Authorization"].endswith("sk-numbered"):
            await self.faults.pop(0)(connection, "")  # type: ignore[misc]
        await super().process_request(connection, request)


def with_another(port: int) -> Service:
    second = DashScope("sk-second", endpoint=f"ws://127.0.0.1:{port}/")
    return Fallback([(DASHSCOPE.service(port), OPTIONS), (second, OPTIONS)])


# --- moments ---------------------------------------------------------------------------------------------------------


class Suspensions:
    """Drives a coroutine as `await` does and counts where it is suspended; at one of these places it calls `act`."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], act: Callable[[], object], *, at: int | None, is_late: bool = False
    ) -> None:
        self._coroutine = coroutine
        self._act = act
        self._at = at
        self._is_late = is_late
        self.count = 0

    def __await__(self) -> Generator[Any, Any, None]:
        answer: BaseException | None = None
        while True:
            try:
                waited_for = self._coroutine.send(None) if answer is None else self._coroutine.throw(answer)
            except StopIteration:
                return
            if self.count == self._at:
                self._strike(waited_for)
            self.count += 1
            try:
                answer = yield waited_for
            except BaseException as error:  # noqa: BLE001 - handed on to whom it is for
                answer = error

    def _strike(self, waited_for: asyncio.Future[Any] | None) -> None:
        if self._is_late and waited_for is not None:  # it is None at `sleep(0)`
            waited_for.add_done_callback(lambda _: self._act())
        else:
            self._act()


class WatchedLoop(VirtualLoop):
    """Acts at one of its turns; knows the tasks of the caller, and what went wrong unseen."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.callers: list[asyncio.Task[Any]] = []
        self.complaints: list[dict[str, Any]] = []
        self._act: Callable[[], object] = lambda: None
        self._at: int | None = None
        self.set_task_factory(self._make_task)
        self.set_exception_handler(lambda _, complaint: self.complaints.append(complaint))

    def count_turns(self, act: Callable[[], object] = lambda: None, *, at: int | None = None) -> None:
        """Count from now on, and act at this turn."""
        self.turns, self._act, self._at = 0, act, at

    def open_sockets(self) -> int:
        """How many the loop knows, whether it reads them or not."""
        transports: Any = self._transports  # type: ignore[attr-defined]
        unread = [number for number, transport in list(transports.items()) if not transport.is_closing()]
        return len({*self._selector.get_map(), *unread})  # type: ignore[attr-defined]

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        if _is_callers.get():
            self.callers.append(task)
        return task

    def _run_once(self) -> None:
        if self.turns == self._at:
            self._act()
        self.turns += 1
        super()._run_once()  # type: ignore[misc]


class Rig:
    """A vendor, a loop that watches, and callers to be stopped."""

    def __init__(
        self, loop: WatchedLoop, vendor: NumberedServer, new_service: Callable[[], Service], faults: Sequence[Fault]
    ) -> None:
        self.loop = loop
        self._vendor = vendor
        self._new_service = new_service
        self._faults = faults

    async def run(
        self, scenario: Scenario, caller: Callable[[Coroutine[Any, Any, None]], Awaitable[None]]
    ) -> BaseException | None:
        """Have a scenario called once and hold what is left against what was there; what came out of it."""
        self._vendor.faults = list(self._faults)
        random.seed(1)  # how long the session waits before it connects again
        sockets = self.loop.open_sockets()
        self.loop.callers.clear()
        (outcome,) = await asyncio.gather(self._call(caller, scenario), return_exceptions=True)
        assert [task for task in self.loop.callers if not task.done()] == []
        self.loop.callers.clear()
        await asyncio.sleep(3)  # the vendor may need a second to see that a connection has ended
        gc.collect()  # what was not closed, or an error that nobody asked for, complains now
        assert self.loop.open_sockets() == sockets
        assert self.loop.complaints == []
        return outcome

    async def _call(self, caller: Callable[[Coroutine[Any, Any, None]], Awaitable[None]], scenario: Scenario) -> None:
        _is_callers.set(True)
        await caller(scenario(self._new_service()))


def with_rig(
    prove: Callable[[Rig], Coroutine[Any, Any, None]],
    scenario: Scenario | None = None,
    *,
    vendor: NumberedServer | None = None,
) -> None:
    """Prove it with the vendor that a scenario needs; most lose the first connection."""
    faults = FATES.get(scenario, (cut,))
    service_at = with_another if scenario is come_back else DASHSCOPE.service
    vendor = vendor or VENDORS.get(scenario, NumberedServer)(after_ms=1_700)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, WatchedLoop)
        async with vendor.serving() as port:
            await prove(Rig(loop, vendor, lambda: service_at(port), faults))

    gc.collect()
    gc.freeze()  # what is there stays out of the way of the collector, which is asked some hundred times
    try:
        with asyncio.Runner(loop_factory=WatchedLoop) as runner:
            runner.run(main())
    finally:
        gc.unfreeze()


VENDORS: dict[Scenario | None, type[NumberedServer]] = {rotate: SlowToPart, come_back: RefusesOnce}
FATES: dict[Scenario | None, Sequence[Fault]] = {rotate: (), pause: (), rest: (give_up,)}


# --- at every await --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_late", [False, True], ids=["as-the-wait-begins", "as-it-ends"])
@pytest.mark.parametrize("scenario", [stream, push, in_one_call, drop, leave, rotate, come_back, pause, rest])
def test_cancelled_at_any_await_a_session_leaves_nothing_behind(scenario: Scenario, is_late: bool) -> None:
    async def prove(rig: Rig) -> None:
        count = await count_suspensions(rig, scenario)
        assert count > 5
        for at in range(count):

            async def caller(coroutine: Coroutine[Any, Any, None], at: int = at) -> None:
                await Suspensions(coroutine, current_task().cancel, at=at, is_late=is_late)

            outcome = await rig.run(scenario, caller)
            assert isinstance(outcome, asyncio.CancelledError), f"suspension {at}: {outcome!r}"

    with_rig(prove, scenario)


async def count_suspensions(rig: Rig, scenario: Scenario) -> int:
    measured: list[Suspensions] = []

    async def caller(coroutine: Coroutine[Any, Any, None]) -> None:
        measured.append(Suspensions(coroutine, lambda: None, at=None))
        await measured[0]

    assert await rig.run(scenario, caller) is None
    return measured[0].count


def current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


# --- at any turn of the loop -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", [stream, push, paced, rotate, come_back, pause, rest])
def test_cancelled_whatever_its_tasks_are_at_a_session_leaves_nothing_behind(scenario: Scenario) -> None:
    async def prove(rig: Rig) -> None:
        for turn in await some_turns(rig, scenario):

            async def caller(coroutine: Coroutine[Any, Any, None], turn: int = turn) -> None:
                rig.loop.count_turns(current_task().cancel, at=turn)
                await coroutine

            outcome = await rig.run(scenario, caller)
            assert isinstance(outcome, asyncio.CancelledError), f"turn {turn}: {outcome!r}"

    with_rig(prove, scenario)


@pytest.mark.parametrize("scenario", [stream, paced, rotate])
def test_left_by_a_scope_of_anyio_a_session_leaves_nothing_behind(scenario: Scenario) -> None:
    """Such a scope cancels at each turn anew until it is left; the goodbye is shielded, and may come to its end."""

    async def prove(rig: Rig) -> None:
        for turn in await some_turns(rig, scenario):

            async def caller(coroutine: Coroutine[Any, Any, None], turn: int = turn) -> None:
                with anyio.move_on_after(3_600) as scope:
                    rig.loop.count_turns(scope.cancel, at=turn)
                    await coroutine
                assert scope.cancel_called

            assert await rig.run(scenario, caller) is None

    with_rig(prove, scenario)


@pytest.mark.parametrize("scenario", [stream, paced])
def test_left_by_a_timeout_a_session_leaves_nothing_behind(scenario: Scenario) -> None:
    async def prove(rig: Rig) -> None:
        for turn in await some_turns(rig, scenario):

            async def caller(coroutine: Coroutine[Any, Any, None], turn: int = turn) -> None:
                async with asyncio.timeout(None) as limit:
                    rig.loop.count_turns(lambda: limit.reschedule(rig.loop.time()), at=turn)
                    await coroutine

            outcome = await rig.run(scenario, caller)
            assert type(outcome) is TimeoutError, f"turn {turn}: {outcome!r}"

    with_rig(prove)


async def some_turns(rig: Rig, scenario: Scenario) -> range:
    """Every `STRIDE`th turn of a scenario, but the last ones: sockets bring not quite the same number each time."""
    measured: list[int] = []

    async def caller(coroutine: Coroutine[Any, Any, None]) -> None:
        rig.loop.count_turns()
        await coroutine
        measured.append(rig.loop.turns)

    assert await rig.run(scenario, caller) is None
    return range(len(scenario.__name__) % STRIDE, measured[0] - 10, STRIDE)


# --- while it connects again -----------------------------------------------------------------------------------------


class Halting(NumberedServer):
    """Loses the first connection, and stops answering at some place of the next one, where the caller is told."""

    def __init__(self, where: str) -> None:
        super().__init__(after_ms=1_700)
        self._where = where
        self.tell: Callable[[], object] = lambda: None

    async def process_request(self, connection: ServerConnection, request: Request) -> None:
        await self._halt_at("the handshake")

    async def __call__(self, connection: ServerConnection) -> None:
        await self._halt_at("the opening")
        await super().__call__(connection)

    async def _send_whole_seconds(
        self, connection: ServerConnection, task_id: str, began: int, told: int, now: int
    ) -> int:
        if len(self.started_at_ms) == 2:
            await self._halt_at("the replay")
        elif now >= self.after_ms and self._where == "the wait":
            asyncio.get_running_loop().call_later(0.01, self.tell)
        return await super()._send_whole_seconds(connection, task_id, began, told, now)

    async def _halt_at(self, where: str) -> None:
        if self.started_at_ms and self._where == where:
            self.tell()
            await asyncio.sleep(600)


@pytest.mark.parametrize("where", ["the wait", "the handshake", "the opening", "the replay"])
def test_cancelled_while_it_connects_again_a_session_ends_within_the_closing_deadline(where: str) -> None:
    vendor = Halting(where)
    cancelled_at: list[float] = []

    async def prove(rig: Rig) -> None:
        async def caller(coroutine: Coroutine[Any, Any, None]) -> None:
            task = current_task()

            def stop() -> None:
                cancelled_at.append(rig.loop.time())
                task.cancel()

            vendor.tell = stop
            try:
                await coroutine
            finally:
                assert rig.loop.time() - cancelled_at[0] < TIMEOUTS.close + 0.1

        assert isinstance(await rig.run(paced, caller), asyncio.CancelledError)
        assert len(vendor.started_at_ms) == (2 if where == "the replay" else 1)

    with_rig(prove, vendor=vendor)
