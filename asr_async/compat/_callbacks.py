"""The threads that run callbacks: the calls of a session one after the other, those of several sessions beside it.

Callbacks are the code of the caller and may block: they open a microphone, write to a database, or wait for another
session. They never run in the thread of an event loop. A callback that blocks delays its own session only: threads are
added while all of them are busy and a call waits for longer than `PATIENCE_S`. With `MAX_THREADS` callbacks that block
at once, the calls of further sessions wait for one of them.

Does not know sessions.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

__all__ = ["CallbackQueue", "CallbackRunner", "callback_runner", "forget_callbacks", "stop_callbacks"]

Call = Callable[[], object]

BASE_THREADS = 4
"""The threads that are started without a wait: callbacks that do not block keep no more than that busy."""

MAX_THREADS = 64
"""The most threads: as many callbacks may block at once without an effect on other sessions."""

PATIENCE_S = 0.1
"""The wait of a call behind which another thread is started: a callback that needs as long blocks."""

IDLE_S = 5.0
"""The time without a call behind which a thread ends, but for the last one: from CPython 3.12 on, none can be started
while the interpreter exits, and results that arrive then have callbacks too."""

BATCH = 16
"""The calls of one session that a thread runs before those of the next session that waits."""

MAX_WAITING = 64
"""The calls of one session that may wait: behind that, the session reads no more events, and interims are conflated."""

EXIT_S = 1.0
"""The time that the exit of the interpreter waits for callbacks that run."""


class CallbackRunner:
    """The threads of one event loop's sessions. They are daemons: a callback that blocks does not prevent the exit."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        """The loop whose timer adds threads."""
        self._condition = threading.Condition()  # reentrant, as a signal handler may stop a session
        # the queues that wait for a thread, each with the time since when
        self._waiting: deque[tuple[CallbackQueue, float]] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._is_watching = self._is_stopping = False

    def __repr__(self) -> str:
        return f"<CallbackRunner {len(self._threads)} threads, {self._idle} idle, {len(self._waiting)} queues waiting>"

    def submit(self, queue: CallbackQueue) -> None:
        """Run the calls of a queue in one of the threads; from any thread."""
        with self._condition:
            self._waiting.append((queue, time.monotonic()))
            if self._idle >= len(self._waiting):
                self._condition.notify()
            elif len(self._threads) < BASE_THREADS:
                self._start_thread()
            elif not self._is_watching:
                self._is_watching = True
                self._call_in_loop(self._watch)

    def start(self) -> None:
        """Start the first thread."""
        with self._condition:
            self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="asr_async callbacks", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the interpreter exits, or the system has no more threads: the others run the calls
            self._threads.discard(thread)

    def _call_in_loop(self, function: Callable[[], object]) -> None:
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed: the interpreter exits
            return

    def _watch(self) -> None:
        """Look again in `PATIENCE_S`."""
        self.loop.call_later(PATIENCE_S, self._grow)

    def _grow(self) -> None:
        """Add a thread if a queue has waited for too long."""
        with self._condition:
            if not self._waiting:
                self._is_watching = False
                return
            is_late = time.monotonic() - self._waiting[0][1] >= PATIENCE_S / 2
            if is_late and not self._idle and len(self._threads) < MAX_THREADS:
                self._start_thread()
            self._watch()

    def _work(self) -> None:
        """Run the calls of one queue after the other, until none has come for `IDLE_S`."""
        condition = self._condition
        while True:
            with condition:
                self._idle += 1
                try:
                    condition.wait_for(lambda: self._waiting or self._is_stopping, IDLE_S)
                finally:
                    self._idle -= 1
                if not self._waiting and not self._is_stopping and len(self._threads) == 1:
                    continue
                if not self._waiting or self._is_stopping:
                    self._threads.discard(threading.current_thread())
                    return
                queue, _ = self._waiting.popleft()
            queue.run()

    def stop(self) -> None:
        """End the threads; wait no longer than `EXIT_S` for the callbacks that run."""
        with self._condition:
            self._is_stopping = True
            threads = [*self._threads]
            self._condition.notify_all()
        deadline = time.monotonic() + EXIT_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


class CallbackQueue:
    """The calls of one session, in their order. It is held until `release`, so that a caller can act before the first.

    Args:
        runner: the threads.
        on_raise: is called with the exception that a call raised, in the thread of the call.
    """

    def __init__(self, runner: CallbackRunner, on_raise: Callable[[BaseException], object]) -> None:
        self._runner = runner
        self._on_raise = on_raise
        self._lock = threading.RLock()
        self._calls: deque[Call] = deque()
        # the last calls were added: no more are accepted
        self._is_closed = False
        # it is held, waits for a thread, or runs in one
        self._is_busy = True
        self._thread_id: int | None = None
        self._room: asyncio.Event | None = None
        self.completed_count: int = 0
        """The calls that have returned."""

    def __repr__(self) -> str:
        return f"<CallbackQueue {len(self._calls)} waiting, {self.completed_count} completed>"

    @property
    def is_current(self) -> bool:
        """True in a call of this queue, and in the caller's own code between `with queue`."""
        return self._thread_id == threading.get_ident()

    @property
    def is_busy(self) -> bool:
        """True if a call runs, or waits for a thread."""
        return self._is_busy

    def put(self, call: Call) -> bool:
        """Add a call, and return False if the next one has to wait for `room`; in the loop of the runner only."""
        with self._lock:
            if self._is_closed:
                return True
            self._add(call)
            if len(self._calls) < MAX_WAITING:
                return True
            self._room = asyncio.Event()
            return False

    def close(self, calls: Iterable[Call], *, drop_waiting: bool = False) -> bool:
        """Add the last calls, and return True; return False if there are last ones already. From any thread.

        Args:
            calls: the last calls.
            drop_waiting: True runs them in place of the calls that wait.
        """
        with self._lock:
            if self._is_closed:
                return False
            self._is_closed = True
            if drop_waiting:
                self._calls.clear()
            for call in calls:
                self._add(call)
            return True

    def _add(self, call: Call) -> None:
        self._calls.append(call)
        if not self._is_busy:
            self._is_busy = True
            self._runner.submit(self)

    async def room(self) -> None:
        """Wait until half of the calls that may wait have run."""
        room = self._room
        if room is not None:
            await room.wait()

    def release(self) -> None:
        """Run the calls from now on."""
        with self._lock:
            self._is_busy = bool(self._calls)
            if self._is_busy:
                self._runner.submit(self)

    def __enter__(self) -> Self:
        self._thread_id = threading.get_ident()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread_id = None

    def run(self) -> None:
        """Run the calls that wait, or the first of them, and let the next queue run; in a thread of the runner."""
        for _ in range(BATCH):
            with self._lock:
                if not self._calls:
                    self._is_busy = False
                    return
                call = self._calls.popleft()
                self._wake_if_room()
            try:
                with self:
                    call()
            except BaseException as error:  # noqa: BLE001 - of the caller's code, which ends its own session only
                self._on_raise(error)
            self.completed_count += 1
        self._runner.submit(self)

    def _wake_if_room(self) -> None:
        if self._room is not None and len(self._calls) <= MAX_WAITING // 2:
            room, self._room = self._room, None
            self._runner._call_in_loop(room.set)  # noqa: SLF001 - the two are one


_runner: CallbackRunner | None = None
"""One for the process."""


def callback_runner() -> CallbackRunner:
    """Return the threads for the callbacks of the running event loop."""
    global _runner  # noqa: PLW0603
    loop = asyncio.get_running_loop()
    if _runner is None or _runner.loop is not loop:
        _runner = CallbackRunner(loop)
        _runner.start()
    return _runner


def stop_callbacks() -> None:
    """End the threads of the process, if there are any."""
    if _runner is not None:
        _runner.stop()


def forget_callbacks() -> None:
    """Begin anew in a process that was forked: its parent's threads are not there."""
    global _runner  # noqa: PLW0603
    _runner = None
