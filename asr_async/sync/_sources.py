"""Plain iterables of the caller as async ones: read in a thread of their own, so that they may block.

Does not know sessions.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import queue
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, Generic, TypeVar

from ..errors import ConfigurationError
from ..sources import PushSource

__all__ = ["ThreadedIterable", "nonblocking"]

logger: logging.Logger = logging.getLogger("asr_async")

T = TypeVar("T")


def nonblocking(source: Any) -> Any:
    """Return the source, or a `ThreadedIterable` in its place if it is a plain iterable that may block.

    A list or a tuple does not block, and neither do bytes, which are one chunk.

    Raises:
        ConfigurationError: the source is a `PushSource` that is still open: nothing could be pushed to it.
    """
    if isinstance(source, PushSource) and not source.is_closed:
        raise ConfigurationError(
            "a PushSource belongs to an event loop: with asr_async.sync, call session.send(chunk), or put chunks into "
            "a queue.Queue and stream iter(queue.get, None)"
        )
    is_plain = isinstance(source, Iterable) and not isinstance(source, AsyncIterable)
    if not is_plain or isinstance(source, str | list | tuple | os.PathLike) or _is_buffer(source):
        return source
    return ThreadedIterable(source)


def _is_buffer(source: object) -> bool:
    try:
        memoryview(source)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


class ThreadedIterable(Generic[T]):
    """A plain iterable as an async one. Each iteration has a daemon thread, which reads an item when it is needed.

    The iterable runs in the context variables of the thread that made this object, such as Flask's request. A source
    keeps its attributes `live` and `duration_ms`, see `asr_async.sources`.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self.items: Iterable[T] = items
        """The iterable."""
        self.live: bool | None = getattr(items, "live", None)
        self.duration_ms: int | None = getattr(items, "duration_ms", None)
        self._context = contextvars.copy_context()

    def __repr__(self) -> str:
        return f"<ThreadedIterable {self.items!r}>"

    async def __aiter__(self) -> AsyncIterator[T]:
        requests: queue.SimpleQueue[asyncio.Future[tuple[T] | None] | None] = queue.SimpleQueue()
        arguments = (self._read, self.items, requests, asyncio.get_running_loop())
        threading.Thread(target=self._context.copy().run, args=arguments, name="asr_async source", daemon=True).start()
        try:
            while True:
                request: asyncio.Future[tuple[T] | None] = asyncio.get_running_loop().create_future()
                requests.put(request)
                item = await request
                if item is None:
                    return
                yield item[0]
        finally:
            requests.put(None)

    @staticmethod
    def _read(
        items: Iterable[T],
        requests: queue.SimpleQueue[asyncio.Future[tuple[T] | None] | None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Answer each request with the next item in a tuple, or with None at the end, until a request is None."""
        iterator: Iterator[T] | None = None
        while (request := requests.get()) is not None:
            item, error = None, None
            try:
                iterator = iter(items) if iterator is None else iterator
                for value in iterator:
                    item = (value,)
                    break
            except BaseException as raised:  # noqa: BLE001 - raised to the caller of the session
                error = raised
            try:
                loop.call_soon_threadsafe(_answer, request, item, error)
            except RuntimeError:  # the loop is closed: the interpreter exits
                return
        if iterator is not None and hasattr(iterator, "close"):
            try:
                iterator.close()
            except Exception:  # the session has ended, and nothing waits for it
                logger.warning("the source raised an error when it was closed", exc_info=True)


def _answer(request: asyncio.Future[Any], item: tuple[Any] | None, error: BaseException | None) -> None:
    if request.done():  # cancelled: the session has ended
        return
    if error is None:
        request.set_result(item)
    elif isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration):
        request.set_exception(error)
    else:  # one that ends a loop over results, or the event loop of all sessions
        reason = RuntimeError(f"the source raised {type(error).__name__}")
        reason.__cause__ = error
        request.set_exception(reason)
