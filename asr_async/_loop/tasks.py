"""A set of background tasks with one owner.

Does not know what the tasks do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["TaskSet"]


class TaskSet:
    """The tasks that run beside an `async with` block, which enters and exits `group`.

    Unlike a bare `asyncio.TaskGroup`, a task set can cancel its tasks before the block ends, also from inside one of
    them.
    """

    __slots__ = ("_tasks", "group")

    def __init__(self) -> None:
        self.group = asyncio.TaskGroup()
        """The task group that the owner enters before the first `start` and exits at the end."""
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<TaskSet {sum(not task.done() for task in self._tasks)} running>"

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the background until it returns or the tasks are cancelled."""
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(self.group.create_task(coroutine))

    def cancel_others(self) -> list[asyncio.Task[None]]:
        """Cancel all tasks but the current one, and return them."""
        others = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        return others

    async def cancel(self) -> None:
        """Cancel all tasks and wait until they have ended.

        The current task is left alone if it is one of them: an audio source may close its own session.
        """
        if others := self.cancel_others():
            await asyncio.wait(others)
