"""The interface of engines, which run the work of a batch, and the engine of this process.

An engine starts workers, in this process or elsewhere, and collects their outcomes. All that workers share is the
manifest and the folder of the outputs: each claims its sources itself. So an engine hands out no sources, and may lose
a worker at any instant. Does not know sessions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ..errors import ConfigurationError
from .records import BatchOutcome
from .work import Work
from .worker import Worker

__all__ = ["Engine", "InProcess"]

SESSIONS = 8
"""As many sessions as `Client.transcribe_many` has at once."""


class Engine(Protocol):
    """A place where workers run."""

    def run(self, work: Work) -> AbstractAsyncContextManager[AsyncIterator[BatchOutcome]]:
        """Return a context whose iterator yields the outcome of each source that its workers settle.

            async with engine.run(work) as outcomes:
                async for outcome in outcomes:
                    ...

        Workers start when it is entered. The iterator ends when no worker finds work any more: all sources are settled,
        the budget is used up, or the run was stopped (`Manifest.stop`). It raises the error that stopped the run behind
        the outcomes before it. Leaving the context early stops all workers, whose sources are to do again.

        The outcomes of a worker that dies may be missing here; they are in the manifest.
        """
        ...


class InProcess:
    """The engine of this process: one client, and some sessions at once.

    Args:
        sessions: the most sessions at once.

    Raises:
        ConfigurationError: `sessions` is not a whole number of at least 1.
    """

    def __init__(self, sessions: int = SESSIONS) -> None:
        if not isinstance(sessions, int) or sessions < 1:
            raise ConfigurationError(f"sessions={sessions!r}: must be a whole number, 1 or more")
        self._sessions = sessions

    def __repr__(self) -> str:
        return f"InProcess(sessions={self._sessions})"

    def run(self, work: Work) -> AbstractAsyncContextManager[AsyncIterator[BatchOutcome]]:
        """See `Engine.run`."""
        return Worker(work, sessions=self._sessions)
