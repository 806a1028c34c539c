"""A thread for the blocking calls of one live input, or of one recording behind a network.

A read from a pipe or a device may wait for ever, one from a network for long, and no thread can be interrupted. So each
of these inputs has a thread of its own, which does not keep the program from its end. Files share the threads of the
event loop instead.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ReaderThread"]

T = TypeVar("T")


class ReaderThread:
    """A thread that makes one call after another, for an event loop that awaits them."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"asr_async reads {name}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<ReaderThread {self._thread.name}{'' if self._thread.is_alive() else ' ended'}>"

    async def call(self, function: Callable[[], T]) -> T:
        """Call a function in the thread, and return its result or raise its exception.

        A call that is waited for no more goes on until it returns; its result is dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - raised to the coroutine that waits
                _call_in(loop, _set_exception, future, error)
            else:
                _call_in(loop, _set_result, future, result)

        self._calls.put(work)
        return await future

    def stop(self, last_call: Callable[[], None] | None = None) -> None:
        """End the thread behind a last call, when the present one has returned."""
        if last_call is not None:
            self._calls.put(last_call)
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: object) -> None:
    """Call a function in an event loop, if that still runs: the thread may outlive it."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        if not loop.is_closed():
            raise


def _set_result(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[T], error: BaseException) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):  # a future refuses it
        error = RuntimeError("the input raised StopIteration")
    future.set_exception(error)
