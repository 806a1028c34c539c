"""The actor of a Ray cluster that works on a batch.

Ray imports this module in each worker's process, in the version that is installed there. Does not know Ray.
"""

from __future__ import annotations

import asyncio
import pickle
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from .._net.user_agent import __version__
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .records import BatchOutcome

__all__ = ["Outcomes", "RayWorker"]

MAX_WAITING = 100
"""The outcomes that wait for the driver; with more than that, the worker waits."""


class Outcomes(msgspec.Struct, frozen=True):
    """Some outcomes of a worker."""

    outcomes: tuple[BatchOutcome, ...] = ()
    has_ended: bool = False
    """True if there are no more."""
    error: Exception | None = None
    """The error that stopped the worker."""


class RayWorker:
    """One worker of a batch; a restart by Ray calls the constructor again.

    Args:
        version: the version of this package that has made the job.
        job: the pickled work, and the function that makes its service.
        sessions: the most sessions at once.
    """

    def __init__(self, version: str, job: bytes, sessions: int) -> None:
        self._version = version
        self._job = job
        self._sessions = sessions
        self._waiting: deque[BatchOutcome] = deque()
        self._changed = asyncio.Event()
        self._free = asyncio.Semaphore(MAX_WAITING)
        self._task: asyncio.Task[None] | None = None

    async def outcomes(self) -> Outcomes:
        """Return the next outcomes. The first call begins the work."""
        if self._version != __version__:
            text = f"a worker has asr-async {__version__}, and the program {self._version}: install the same version"
            return Outcomes(has_ended=True, error=ConfigurationError(f"{text} on all machines of the cluster"))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
            self._task.add_done_callback(lambda _: self._changed.set())
        if not self._waiting and not self._task.done():
            self._changed.clear()
            await self._changed.wait()
        some = tuple(self._waiting)
        self._waiting.clear()
        for _ in some:
            self._free.release()
        if not self._task.done():
            return Outcomes(some)
        error = None if self._task.cancelled() else self._task.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        return Outcomes(some, has_ended=True, error=error)

    async def stop(self) -> None:
        """Stop the work, and wait until its sources are to do again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        from .work import Work  # noqa: PLC0415 - behind the check of the version
        from .worker import Worker  # noqa: PLC0415

        work, make_service = pickle.loads(self._job)  # noqa: S301 - from the program that has started this actor
        assert isinstance(work, Work)  # noqa: S101
        if make_service is not None:
            work = msgspec.structs.replace(work, service=make_service())
        async with Worker(work, sessions=self._sessions) as outcomes:
            async for outcome in outcomes:
                await self._free.acquire()
                self._waiting.append(outcome)
                self._changed.set()
