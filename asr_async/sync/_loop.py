"""The event loop of the blocking face: one for the process, in a thread of its own, and the way to call into it.

Does not know sessions or clients.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import queue
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar, cast

import anyio
from anyio.from_thread import BlockingPortal

from ..errors import DeadlineError, LocalProtocolError

__all__ = ["BackgroundLoop", "Held", "ItemReader", "background_loop"]

T = TypeVar("T")

EXIT_S = 5.0
"""The time that the exit of the interpreter waits for open sessions to close: `Timeouts.close` of each is 2 s."""

_ENDED = "the interpreter is exiting: close sessions and clients before that"


class BackgroundLoop:
    """An event loop in a daemon thread, from its making until the interpreter exits.

    anyio's `start_blocking_portal` would do the same, but it waits for the thread without a bound when it is closed or
    collected: in a process that was forked, which has no such thread, for ever.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        portal: concurrent.futures.Future[BlockingPortal] = concurrent.futures.Future()
        self._thread = threading.Thread(target=anyio.run, args=(_run, portal), name="asr_async.sync", daemon=True)
        self._thread.start()
        self._portal = portal.result()
        self._loop = self._portal.call(asyncio.get_running_loop)

    def __repr__(self) -> str:
        return f"<BackgroundLoop of process {self._process}>"

    def run(self, function: Callable[..., Awaitable[T]], *args: object, timeout: float | None = None) -> T:
        """Await a coroutine function in the loop and return its result; an interrupt in this thread cancels it.

        Raises:
            BaseException: what the function raised.
            DeadlineError: it did not return within `timeout` seconds.
            LocalProtocolError: this is the thread of the loop, or another process, or the interpreter exits.
        """
        future: concurrent.futures.Future[_Outcome[T]] = self.start(_outcome, function, args, timeout)
        try:
            outcome = future.result()
        except concurrent.futures.CancelledError:
            raise LocalProtocolError(_ENDED) from None
        except BaseException:  # an interrupt of this thread, such as KeyboardInterrupt
            future.cancel()
            raise
        return outcome.get()

    def start(self, function: Callable[..., Awaitable[T]], *args: object) -> concurrent.futures.Future[T]:
        """Start a coroutine function as a task of the loop. Cancelling the future cancels the task.

        Raises:
            LocalProtocolError: see `run`.
        """
        self._check_thread()
        try:
            return self._portal.start_task_soon(function, *args)
        except RuntimeError:  # the portal is closed
            raise LocalProtocolError(_ENDED) from None

    def _check_thread(self) -> None:
        if self._process != os.getpid():
            raise LocalProtocolError(
                "this client or session is of the process that forked this one: make a client in each process, in "
                "Celery at worker_process_init, in gunicorn in post_fork"
            )
        if threading.current_thread() is self._thread:
            raise LocalProtocolError(
                "a call of asr_async.sync in its own event loop, from an observer or an async source, would wait for "
                "itself: use the async names of asr_async there"
            )

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        """Call a function in the loop, without waiting for it.

        Raises:
            LocalProtocolError: see `run`.
        """
        self._check_thread()
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed
            raise LocalProtocolError(_ENDED) from None

    def stop(self) -> None:
        """Close everything that is open, and end the thread; wait no longer than `EXIT_S` for it."""
        with contextlib.suppress(RuntimeError):
            self._portal.start_task_soon(self._portal.stop, True)
        self._thread.join(EXIT_S)


async def _run(ready: concurrent.futures.Future[BlockingPortal]) -> None:
    async with BlockingPortal() as portal:
        ready.set_result(portal)
        await portal.sleep_until_stopped()


class _Outcome(Generic[T]):
    """The result of a call, or the exception that it raised.

    An exception that is no `Exception`, of the caller's own source for instance, would end the loop if a task of it
    raised it.
    """

    __slots__ = ("error", "value")

    def __init__(self, value: T | None, error: BaseException | None = None) -> None:
        self.value: T = cast("T", value)
        self.error = error

    def get(self) -> T:
        """Return the result, or raise the exception."""
        if self.error is not None:
            raise self.error
        return self.value


async def _outcome(
    function: Callable[..., Awaitable[T]], args: tuple[object, ...], timeout: float | None
) -> _Outcome[T]:
    try:
        async with asyncio.timeout(timeout) as limit:
            return _Outcome(await function(*args))
    except asyncio.CancelledError:
        raise
    except TimeoutError as error:
        return _Outcome(None, _deadline_error(timeout) if limit.expired() else error)
    except BaseException as error:  # noqa: BLE001 - raised in the thread of the caller
        return _Outcome(None, error)


def _deadline_error(timeout: float | None) -> DeadlineError:
    assert timeout is not None  # noqa: S101 - it was over
    return DeadlineError(f"not within {timeout:g} s (timeout=)", retryable=True)


class ItemReader(Generic[T]):
    """Reads the items of an async iterator from another thread, and loses none.

    The iterator has given an item away before this thread has it. If the wait is interrupted then, or its time is over,
    the next call returns the item.

    An interrupt, such as `KeyboardInterrupt`, is raised behind any call of a function, also one of the standard library
    that has acquired a lock: `threading.Condition`, and so a future, would keep it, and the loop would wait for it for
    ever. So the two threads share attributes, and a queue that is written in C.
    """

    def __init__(self, loop: BackgroundLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        # what was read and is not returned yet
        self._outcome: _Outcome[T] | None = None
        # gets an item when there is an outcome
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._is_waiting = False

    def __repr__(self) -> str:
        return f"<ItemReader{' waiting' if self._is_waiting else ''}>"

    def read(self, read_next: Callable[[], Awaitable[T]], timeout: float | None) -> T:
        """Return the next item.

        Raises:
            BaseException: what `read_next` raised.
            DeadlineError: there was no item within `timeout` seconds.
            LocalProtocolError: another thread waits for an item; else see `BackgroundLoop.run`.
        """
        if self._is_waiting:
            raise LocalProtocolError(
                "another thread iterates these results, and each goes to one of them only: iterate in one thread, and "
                "pass the results on from there"
            )
        try:
            self._is_waiting = True
            outcome = self._wait(read_next, timeout)
        finally:
            self._is_waiting = False
        # no call from here on, so that no interrupt comes between this and the caller
        self._outcome = None
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def _wait(self, read_next: Callable[[], Awaitable[T]], timeout: float | None) -> _Outcome[T]:
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._outcome is None:
            # also if a wait is continued: an interrupted call may have ended before it had started anything
            self._loop.call_soon(self._start, read_next)
        while self._outcome is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                self._wake.get(timeout=left)
            except queue.Empty:
                raise _deadline_error(timeout) from None
        return self._outcome

    def _start(self, read_next: Callable[[], Awaitable[T]]) -> None:
        if self._task is None and self._outcome is None:
            self._task = asyncio.get_running_loop().create_task(self._read(read_next))

    async def _read(self, read_next: Callable[[], Awaitable[T]]) -> None:
        outcome: _Outcome[T] = _Outcome(None, LocalProtocolError(_ENDED))
        try:
            outcome = await _outcome(read_next, (), None)
        finally:
            self._outcome, self._task = outcome, None
            self._wake.put(None)


class Held(Generic[T]):
    """An async context manager that one task of the loop enters and leaves, as cancel scopes and task groups need."""

    def __init__(self, loop: BackgroundLoop, manager: AbstractAsyncContextManager[T]) -> None:
        self._loop = loop
        self._manager = manager
        self._leaving: asyncio.Event | None = None
        self._entered: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._left: concurrent.futures.Future[_Outcome[None]] | None = None

    def __repr__(self) -> str:
        return f"<Held {self._manager!r}>"

    def enter(self, timeout: float | None) -> T:
        """Enter the manager and return its value.

        Raises:
            BaseException: what the manager raised.
            DeadlineError: it was not entered within `timeout` seconds.
            LocalProtocolError: see `BackgroundLoop.run`.
        """
        self._left = left = self._loop.start(_outcome, self._hold, (timeout,), None)
        left.add_done_callback(self._on_left)
        try:
            return self._entered.result()
        except concurrent.futures.CancelledError:
            raise LocalProtocolError(_ENDED) from None
        except BaseException:
            left.cancel()  # nothing is done if the manager itself raised
            raise

    def leave(self) -> None:
        """Leave the manager. Idempotent.

        Raises:
            BaseException: what the manager raised.
            LocalProtocolError: see `BackgroundLoop.run`.
        """
        if self._left is None or self._leaving is None:
            return
        self._loop.run(self._set_leaving)
        try:
            outcome = self._left.result()
        except concurrent.futures.CancelledError:
            return  # the interpreter exits, and the task has left the manager
        outcome.get()

    async def _hold(self, timeout: float | None) -> None:
        self._leaving = asyncio.Event()
        try:
            async with asyncio.timeout(timeout) as limit, self._manager as value:
                limit.reschedule(None)
                self._entered.set_result(value)
                await self._leaving.wait()
        except TimeoutError as error:
            raise (_deadline_error(timeout) if limit.expired() else error) from None

    async def _set_leaving(self) -> None:
        assert self._leaving is not None  # noqa: S101 - entered
        self._leaving.set()

    def _on_left(self, left: concurrent.futures.Future[_Outcome[None]]) -> None:
        """Give the error of the entering to the thread that waits for it."""
        if self._entered.done():
            return
        if left.cancelled():
            self._entered.cancel()
        else:
            self._entered.set_exception(left.result().error)


# --- the loop of this process ----------------------------------------------------------------------------------------

_lock = threading.Lock()
_current: BackgroundLoop | None = None


def background_loop() -> BackgroundLoop:
    """Return the loop of this process, and start it if there is none."""
    global _current  # noqa: PLW0603 - one for the process
    with _lock:
        if _current is None:
            _current = BackgroundLoop()
            atexit.register(_current.stop)
        return _current


def _forget() -> None:
    """Begin anew in a process that was forked: its parent's threads and locks are not there."""
    global _current, _lock
    if _current is not None:
        atexit.unregister(_current.stop)
    _current, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
