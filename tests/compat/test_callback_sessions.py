"""Sessions with callbacks: their order, their threads, and callbacks that block, raise, or end their own session."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asr_async import AuthenticationError, DashScope, DeadlineError, Paraformer, Result
from asr_async.compat import _callbacks, _session
from asr_async.compat._callbacks import MAX_WAITING, CallbackRunner
from asr_async.compat._session import CallbackSession, SessionCallbacks
from asr_async.emulator import Emulator, Scripted, serve
from asr_async.results import Event, SpeechEnded

from ..support.threaded_server import in_a_thread

FRAME = bytes(3_200)
TEXTS = ["good morning", "how are you"]
SCRIPT = Scripted([(TEXTS[0], 0, 700), (TEXTS[1], 900, 1_800)])
WAIT_S = 20

Hook = Callable[["Log"], object]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with in_a_thread(serve(SCRIPT, api_keys={"sk-test"})) as running:
        yield running


class Log(SessionCallbacks):
    """A record of the calls and of their threads, with code of the test in some of them."""

    def __init__(
        self,
        emulator: Emulator,
        *,
        key: str = "sk-test",
        silence_s: float | None = None,
        hooks: dict[str, Hook] | None = None,
    ) -> None:
        self.calls: list[str] = []
        self.threads: dict[str, str] = {}
        self.errors: list[BaseException] = []
        self.texts: list[str] = []
        self.closed = threading.Event()
        self.hooks = hooks or {}
        service = DashScope(key, endpoint=emulator.dashscope_url)
        self.session = CallbackSession(self, service, Paraformer(), silence_s=silence_s)

    def _record(self, name: str) -> None:
        if not self.calls or self.calls[-1] != name:
            self.calls.append(name)
        self.threads[name] = threading.current_thread().name
        if name in self.hooks:
            self.hooks[name](self)

    def on_open(self) -> None:
        self._record("open")

    def on_event(self, event: Event) -> None:
        if isinstance(event, Result) and event.is_final:
            self.texts.append(event.text)
        self._record("event")

    def on_complete(self) -> None:
        self._record("complete")

    def on_error(self, error: BaseException) -> None:
        self.errors.append(error)
        self._record("error")

    def on_close(self) -> None:
        self.closed.set()
        self._record("close")

    def send_all(self) -> None:
        for _ in range(20):
            self.session.send(FRAME)

    def wait_until_closed(self) -> None:
        assert self.closed.wait(WAIT_S)


def test_callbacks_come_in_order_and_never_in_the_thread_of_the_loop(emulator: Emulator) -> None:
    log = Log(emulator)
    log.session.start()
    assert log.calls == ["open"]
    assert "running" in repr(log.session)
    log.send_all()
    log.session.stop()
    assert (log.calls, log.texts) == (["open", "event", "complete", "close"], TEXTS)
    here, callbacks = threading.current_thread().name, "asr_async callbacks"
    assert log.threads == {"open": here, "event": callbacks, "complete": callbacks, "close": here}
    assert not log.session.is_running
    assert repr(log.session) == "<CallbackSession paraformer-realtime-v2 ended>"


def test_a_session_that_cannot_be_opened_reports_an_error_and_is_closed(emulator: Emulator) -> None:
    log = Log(emulator, key="sk-wrong")
    log.session.start()
    log.wait_until_closed()
    assert log.calls == ["error", "close"]
    assert isinstance(log.errors[0], AuthenticationError)
    assert not log.session.is_running


def test_a_callback_that_raises_ends_its_session_with_its_error(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(log: Log) -> None:
        raise ValueError("a mistake of the program")

    log, other = Log(emulator, hooks={"event": fail}), Log(emulator)
    for each in (log, other):
        each.session.start()
        each.send_all()
    log.wait_until_closed()
    assert log.calls == ["open", "event", "error", "close"]
    assert str(log.errors[0]) == "a mistake of the program"
    assert "a callback raised an exception, which ends its session" in caplog.text
    other.session.stop()
    assert other.texts == TEXTS


@pytest.mark.parametrize("name", ["error", "close"])
def test_an_error_of_the_last_callbacks_is_logged(
    emulator: Emulator, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    def fail(log: Log) -> None:
        raise ValueError(name)

    log = Log(emulator, key="sk-wrong", hooks={name: fail})
    log.session.start()
    log.wait_until_closed()
    log.session.stop()
    assert log.calls == ["error", "close"]
    assert "which is not reported elsewhere" in caplog.text


def test_sys_exit_in_a_callback_ends_its_session_without_an_error(emulator: Emulator) -> None:
    def leave(log: Log) -> None:
        raise SystemExit(1)

    log = Log(emulator, hooks={"event": leave})
    log.session.start()
    log.send_all()
    log.wait_until_closed()
    assert log.calls == ["open", "event", "close"]


@pytest.mark.parametrize("name", ["open", "event", "complete"])
def test_a_session_can_be_stopped_in_its_own_callback(emulator: Emulator, name: str) -> None:
    log = Log(emulator, hooks={name: lambda log: log.session.stop()})
    log.session.start()
    log.send_all()
    if name == "complete":
        log.session.stop()
    log.wait_until_closed()
    assert log.calls in (
        ["open", "event", "complete", "close"],
        ["open", "complete", "close"],
        ["open", "error", "close"],
    )
    assert log.calls.count("close") == 1


def test_an_error_in_on_open_reaches_the_caller_of_start(emulator: Emulator) -> None:
    def fail(log: Log) -> None:
        raise OSError("no microphone")

    log = Log(emulator, hooks={"open": fail})
    with pytest.raises(OSError, match="no microphone"):
        log.session.start()
    log.wait_until_closed()
    assert log.calls == ["open", "close"]


async def test_in_a_thread_with_an_event_loop_on_open_follows_later(emulator: Emulator) -> None:
    loop, opened = asyncio.get_running_loop(), asyncio.Event()
    log = Log(emulator, hooks={"open": lambda _: loop.call_soon_threadsafe(opened.set)})
    log.session.start()
    log.send_all()
    async with asyncio.timeout(WAIT_S):
        await opened.wait()
    log.session.stop()
    assert (log.calls, log.texts) == (["open", "event", "complete", "close"], TEXTS)
    assert log.threads["open"] == "asr_async callbacks"


def test_a_session_without_audio_finishes_by_itself(emulator: Emulator) -> None:
    log = Log(emulator, silence_s=0.01)
    log.session.start()
    log.wait_until_closed()
    assert log.calls[-1] == "close"
    assert not log.session.is_running


def test_a_session_that_is_cancelled_is_closed_without_an_error(emulator: Emulator) -> None:
    log = Log(emulator)
    log.session.start()
    log.session.cancel()
    log.wait_until_closed()
    log.session.send(FRAME)  # discarded
    assert log.calls == ["open", "close"]


def test_other_events_than_results_are_delivered_on_request(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    log = Log(emulator)
    log.event_types = (SpeechEnded,)
    monkeypatch.setattr(log, "on_event", events.append)
    log.session.start()
    log.send_all()
    log.session.stop()
    assert {type(event) for event in events} == {SpeechEnded}


def test_an_error_of_a_call_in_the_loop_ends_the_session(emulator: Emulator) -> None:
    log = Log(emulator)
    log.session.start()
    log.session.call(lambda session: session.update_context([]))
    log.wait_until_closed()
    assert "context: paraformer-realtime-v2 does not accept one" in str(log.errors[0])


# --- callbacks that block --------------------------------------------------------------------------------------------


def test_callbacks_that_block_do_not_delay_other_sessions(emulator: Emulator) -> None:
    release = threading.Event()
    hooks: dict[str, Hook] = {"event": lambda _: release.wait(WAIT_S)}
    blocked = [Log(emulator, hooks=hooks) for _ in range(_callbacks.BASE_THREADS + 2)]
    for log in blocked:
        log.session.start()
        log.send_all()
    other = Log(emulator)
    other.session.start()
    other.send_all()
    other.session.stop()
    assert other.texts == TEXTS
    release.set()
    for log in blocked:
        log.session.stop()
        assert log.texts == TEXTS


@pytest.mark.parametrize("most_waiting", [1, MAX_WAITING])
def test_stop_has_a_deadline_while_a_callback_blocks(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, most_waiting: int
) -> None:
    monkeypatch.setattr(_callbacks, "MAX_WAITING", most_waiting)
    monkeypatch.setattr(_session, "CALLBACK_S", 0.05)
    release = threading.Event()
    log = Log(emulator, hooks={"event": lambda _: release.wait(WAIT_S)})
    log.session.start()
    log.send_all()
    with pytest.raises(DeadlineError, match=r"a callback has not returned within 0\.05 s"):
        log.session.stop()
    release.set()
    log.session.stop()
    assert log.calls == ["open", "event", "complete", "close"]


def test_audio_that_cannot_be_sent_is_bounded(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_session, "MAX_INBOX_BYTES", 10_000)
    monkeypatch.setattr(_session, "CALLBACK_S", 0.05)
    log = Log(emulator)
    with pytest.raises(DeadlineError, match="bytes of audio wait to be sent"):
        for _ in range(5):
            log.session.send(FRAME)


# --- the queue and the threads ---------------------------------------------------------------------------------------


async def test_a_full_queue_makes_its_session_wait() -> None:
    runner = CallbackRunner(asyncio.get_running_loop())
    queue = _callbacks.CallbackQueue(runner, lambda error: None)
    ran: list[int] = []
    put = [queue.put(lambda number=number: ran.append(number)) for number in range(MAX_WAITING)]  # type: ignore[misc]
    assert put == [True] * (MAX_WAITING - 1) + [False]
    queue.release()
    async with asyncio.timeout(WAIT_S):
        await queue.room()
        await queue.room()  # at once
    runner.stop()
    assert ran == list(range(len(ran)))
    assert "callbacks" not in repr(runner)


async def test_the_number_of_threads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_callbacks, "MAX_THREADS", 6)
    monkeypatch.setattr(_callbacks, "PATIENCE_S", 0.002)
    monkeypatch.setattr(_callbacks, "IDLE_S", 0.01)
    runner = CallbackRunner(asyncio.get_running_loop())
    release, done, blocked = threading.Event(), threading.Semaphore(0), threading.Semaphore(0)
    counts: list[int] = []

    def block() -> None:
        counts.append(len(runner._threads))
        blocked.release()
        release.wait(WAIT_S)
        done.release()

    for _ in range(10):
        queue: Any = _callbacks.CallbackQueue(runner, lambda error: None)
        queue.put(block)
        queue.release()
    async with asyncio.timeout(WAIT_S):
        for _ in range(6):
            await asyncio.to_thread(blocked.acquire)
        threads = [*runner._threads]  # all of them: none ends before its call returns
        release.set()
        for _ in range(10):
            await asyncio.to_thread(done.acquire)
        ends = asyncio.as_completed([asyncio.to_thread(thread.join) for thread in threads])
        for _ in range(5):  # a thread without work ends, but for the last one
            await next(ends)
        assert len(runner._threads) == 1
        runner.stop()
        await next(ends)
    assert max(counts) == 6


def test_two_hundred_sessions_need_few_threads(emulator: Emulator) -> None:
    before = threading.active_count()
    logs = [Log(emulator) for _ in range(200)]
    for log in logs:
        log.session.start()
    for _ in range(10):
        for log in logs:
            log.session.send(FRAME)
    # beside the main thread and the one of the loop, which may have begun before
    assert threading.active_count() - before <= 8
    for log in logs:
        log.session.cancel()
    for log in logs:
        log.wait_until_closed()
