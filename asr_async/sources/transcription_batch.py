"""A batch: the same work for each of many sources, some at once, with results in the order of completion.

Theory of operation. As many *workers* as may run at once share the iterable of sources and read it no further than they
need. A result waits until the caller reads it. A worker with one result too many keeps it and waits, so a
caller who reads nothing also stops the reading of sources: at most `concurrency` results wait, and each worker holds
one more.

Does not know what a source is, or what is done with it. A failure that belongs to one source is part of the result that
`work` returns. An exception that `work` or the iterable raises is raised to the caller.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Generic, Self, TypeVar

import anyio
import msgspec

from .._text.secret import tolerant_repr
from ..errors import ConfigurationError, LocalProtocolError
from .source import close_iterator

__all__ = ["TranscriptionBatch"]

S = TypeVar("S")
T = TypeVar("T")


class BatchState(enum.Enum):
    """The states of a batch, in their only order; the value is its name in `repr`."""

    NEW = "new"
    OPEN = "open"
    CLOSED = "closed"


class TranscriptionBatch(Generic[S, T]):
    """The results of many sources, as an async iterator in the order of completion.

    Reading the first result starts the work, and a loop that runs to its end leaves nothing behind. If the loop may be
    left earlier, use `async with`: leaving the block stops the work that has started. Without it, that work runs to its
    end, no further source is started while no result is read, and the owner of `open_batches` closes the batch.

    Args:
        work: a coroutine function that is called with the index of a source, from 0, and the source.
        sources: any (async) iterable. It is read in the event loop, one source at a time.
        concurrency: the maximum number of sources at once.
        open_batches: a set that holds this batch from its first step until it is closed. None, the default, if no owner
            closes it.

    Raises:
        ConfigurationError: `concurrency` is not a whole number of at least 1.
    """

    def __init__(
        self,
        work: Callable[[int, S], Awaitable[T]],
        sources: Iterable[S] | AsyncIterable[S],
        *,
        concurrency: int,
        open_batches: set[TranscriptionBatch[Any, Any]] | None = None,
    ) -> None:
        if not isinstance(concurrency, int) or concurrency < 1:
            raise ConfigurationError(f"concurrency={concurrency!r}: must be a whole number, 1 or more")
        self._work = work
        self._sources = _SharedIterator(sources)
        self._concurrency = concurrency
        self._open_batches = set() if open_batches is None else open_batches
        self._state = BatchState.NEW
        # entered at the first step, left in `aclose`
        self._task_group = asyncio.TaskGroup()
        self._workers: set[asyncio.Task[None]] = set()
        # the queue from the workers to the caller; the semaphore bounds it
        self._results: deque[T | _Raised] = deque()
        self._changed = asyncio.Event()
        self._free_slots = asyncio.Semaphore(concurrency)
        # the exception to raise at the end of the iteration; None ends it normally
        self._error: Exception | None = None

    @tolerant_repr
    def __repr__(self) -> str:
        return (
            f"<TranscriptionBatch {self._state.value}, {len(self._workers)} workers, "
            f"{len(self._results)} results waiting>"
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._state is BatchState.NEW:
            await self._start()
        while not self._results:
            if not self._workers:
                await self.aclose()
                raise StopAsyncIteration if self._error is None else self._error
            self._changed.clear()
            await self._changed.wait()
        result = self._results.popleft()
        self._free_slots.release()
        if isinstance(result, _Raised):
            raise result.error
        return result

    async def aclose(self) -> None:
        """Stop the work that has started, and wait until it has stopped. Idempotent.

        A loop that still waits for a result raises `LocalProtocolError`.
        """
        previous_state, self._state = self._state, BatchState.CLOSED
        if previous_state is BatchState.CLOSED:
            return
        if previous_state is BatchState.NEW or self._workers or self._results:
            self._error = LocalProtocolError("the batch was closed before all of its results were read")
        self._results.clear()
        for worker in self._workers:
            worker.cancel()
        try:
            if previous_state is BatchState.OPEN:
                # Shielded, since a cancelled scope of the caller's would interrupt each wait for the workers. Without
                # the caller's exception, since the group would wrap it.
                with anyio.CancelScope(shield=True):
                    await self._task_group.__aexit__(None, None, None)
        finally:
            self._open_batches.discard(self)
            await self._sources.aclose()

    async def _start(self) -> None:
        self._state = BatchState.OPEN
        self._open_batches.add(self)
        await self._task_group.__aenter__()
        for _ in range(self._concurrency):
            worker = self._task_group.create_task(self._run_worker())
            self._workers.add(worker)
            worker.add_done_callback(self._on_worker_done)

    def _on_worker_done(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._changed.set()

    async def _run_worker(self) -> None:
        try:
            while (indexed := await self._sources.next_indexed()) is not None:
                result = await self._process(*indexed)
                await self._free_slots.acquire()
                self._results.append(result)
                self._changed.set()
        except Exception as error:  # noqa: BLE001 - an exception of the caller's own iterable, raised to the caller
            self._error = error

    async def _process(self, index: int, source: S) -> T | _Raised:
        try:
            return await self._work(index, source)
        except Exception as error:  # noqa: BLE001 - an exception of the caller's own function, raised to the caller
            return _Raised(error)


class _Raised(msgspec.Struct, frozen=True):
    """An exception that `work` raised, in the place of its result."""

    error: Exception


class _SharedIterator(Generic[S]):
    """An iterator that several workers read, one at a time. It is exhausted when it ends or raises."""

    def __init__(self, sources: Iterable[S] | AsyncIterable[S]) -> None:
        self._iterator: AsyncIterator[S] | Iterator[S]
        self._iterator = aiter(sources) if isinstance(sources, AsyncIterable) else iter(sources)
        self._lock = asyncio.Lock()
        self._count = 0
        self._is_exhausted = False

    async def next_indexed(self) -> tuple[int, S] | None:
        """Return the index of the next source and the source; None after the end, and after an exception."""
        async with self._lock:
            if self._is_exhausted:
                return None
            self._is_exhausted = True  # stays True if the next line raises
            try:
                source = await self._next()
            except StopAsyncIteration:
                return None
            self._is_exhausted = False
            index, self._count = self._count, self._count + 1
            return index, source

    async def _next(self) -> S:
        if isinstance(self._iterator, AsyncIterator):
            return await anext(self._iterator)
        for source in self._iterator:
            return source
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the iterator, so that it can clean up if it was not read to its end."""
        await close_iterator(self._iterator)
