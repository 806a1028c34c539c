"""The same work for each of many sources, some at once: what comes of them as it comes, and never more than asked for.

Theory of operation. As many *workers* as there may be at once take turns at the iterable of sources, which is read no
further than they need it. What comes of a source waits for the caller, and a worker that finds no room there waits with
what it has; so a caller who takes nothing stops the reading of sources, with at most `concurrency` results that wait
and as many in the hands of workers.

It does not know what a source is, or what is done with it. A failure that belongs to one source is part of what `work`
returns; what it raises, and what the iterable raises, is raised to the caller.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Generic, Protocol, Self, TypeVar

import anyio
import msgspec

from .errors import ConfigurationError, LocalProtocolError
from .sources.source import close_iterator

__all__ = ["Closes", "TranscriptionBatch"]

S = TypeVar("S")
T = TypeVar("T")


class Closes(Protocol):
    """What can be closed, by whoever owns it."""

    async def aclose(self) -> None:
        """Stop what is under way, and wait until it has."""
        ...


class TranscriptionBatch(Generic[S, T]):
    """What comes of many sources, as an async iterator, in the order of completion.

    The first step begins the work; a loop that comes to its end leaves nothing behind. One that may be left earlier
    belongs into `async with`, which stops at once what is under way. Without that, what is under way goes on to its
    end, a caller who takes nothing more lets nothing new begin, and the owner of `open_ones` closes the rest.

    Args:
        work: called with the number of a source, from 0, and the source.
        sources: any (async) iterable; read in the event loop, one at a time.
        concurrency: how many at once.
        open_ones: where this stands from its first step until it is closed.

    Raises:
        ConfigurationError: not at least one at once.
    """

    def __init__(
        self,
        work: Callable[[int, S], Awaitable[T]],
        sources: Iterable[S] | AsyncIterable[S],
        *,
        concurrency: int,
        open_ones: set[Closes] | None = None,
    ) -> None:
        if not isinstance(concurrency, int) or concurrency < 1:
            raise ConfigurationError(f"concurrency={concurrency!r}: must be a whole number, 1 or more")
        self._work = work
        self._sources = _Sources(sources)
        self._concurrency = concurrency
        self._open_ones = set() if open_ones is None else open_ones
        self._phase = "new"
        # the workers; entered at the first step, left in `aclose`
        self._group = asyncio.TaskGroup()
        self._workers: set[asyncio.Task[None]] = set()
        # between them and the caller
        self._done: deque[T | _Raised] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Semaphore(concurrency)
        # what the end is, if not a normal one
        self._error: Exception | None = None

    def __repr__(self) -> str:
        return f"<TranscriptionBatch {self._phase}, {len(self._workers)} at work, {len(self._done)} to be taken>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._phase == "new":
            await self._begin()
        while not self._done:
            if not self._workers:
                await self.aclose()
                raise StopAsyncIteration if self._error is None else self._error
            self._arrived.clear()
            await self._arrived.wait()
        done = self._done.popleft()
        self._room.release()
        if isinstance(done, _Raised):
            raise done.error
        return done

    async def aclose(self) -> None:
        """Stop what is under way, and wait until it has. Idempotent; a loop that still waits gets an error."""
        was, self._phase = self._phase, "closed"
        if was == "closed":
            return
        if was == "new" or self._workers or self._done:
            self._error = LocalProtocolError("closed before everything was taken")
        self._done.clear()
        for worker in self._workers:
            worker.cancel()
        try:
            if was == "open":
                # Shielded: under a cancelled scope of the caller's, each wait for the workers would be cut off. Without
                # the caller's exception: the group would wrap it.
                with anyio.CancelScope(shield=True):
                    await self._group.__aexit__(None, None, None)
        finally:
            self._open_ones.discard(self)
            await self._sources.aclose()

    async def _begin(self) -> None:
        self._phase = "open"
        self._open_ones.add(self)
        await self._group.__aenter__()
        for _ in range(self._concurrency):
            worker = self._group.create_task(self._take_turns())
            self._workers.add(worker)
            worker.add_done_callback(self._leave)

    def _leave(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._arrived.set()

    async def _take_turns(self) -> None:
        try:
            while (numbered := await self._sources.next()) is not None:
                done = await self._try(*numbered)
                await self._room.acquire()
                self._done.append(done)
                self._arrived.set()
        except Exception as error:  # noqa: BLE001 - of the caller's own iterable, handed to the caller as it is
            self._error = error

    async def _try(self, number: int, source: S) -> T | _Raised:
        try:
            return await self._work(number, source)
        except Exception as error:  # noqa: BLE001 - handed to the caller as it is
            return _Raised(error)


class _Raised(msgspec.Struct, frozen=True):
    """What the work raised, to be raised where its result would be taken."""

    error: Exception


class _Sources(Generic[S]):
    """An iterable that several read in turns; it has ended when it says so or raises."""

    def __init__(self, sources: Iterable[S] | AsyncIterable[S]) -> None:
        self._iterator: AsyncIterator[S] | Iterator[S]
        self._iterator = aiter(sources) if isinstance(sources, AsyncIterable) else iter(sources)
        self._turn = asyncio.Lock()
        self._count = 0
        self._has_ended = False

    async def next(self) -> tuple[int, S] | None:
        """The next source and its number; None at the end, and behind an error."""
        async with self._turn:
            if self._has_ended:
                return None
            self._has_ended = True  # if it raises
            try:
                source = await self._step()
            except StopAsyncIteration:
                return None
            self._has_ended = False
            number, self._count = self._count, self._count + 1
            return number, source

    async def _step(self) -> S:
        if isinstance(self._iterator, AsyncIterator):
            return await anext(self._iterator)
        for source in self._iterator:
            return source
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Let an iterable that was not read to its end clean up."""
        await close_iterator(self._iterator)
