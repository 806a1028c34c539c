"""What the tasks of one session share: how far it is, who is told and who is read, and how it ended.

Plain state and the tasks themselves. Whoever changes something here wakes those who wait for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .._loop.event import LightEvent
from .._loop.tasks import TaskSet
from .pacer import Pacer

if TYPE_CHECKING:
    from .._connection.task import RecognitionTask
    from ..errors import ASRError

__all__ = ["RunState"]


class RunState:
    """How far a session is."""

    __slots__ = (
        "_move",
        "ended",
        "error",
        "heard_enough",
        "is_confirmed",
        "is_due",
        "is_needed",
        "is_sending",
        "is_up",
        "is_watched",
        "link",
        "pacer",
        "phase",
        "pumping",
        "quiet_since",
        "retiring",
        "rotate_at_bytes",
        "send_error",
        "source_ended",
        "source_error",
        "tasks",
    )

    def __init__(self) -> None:
        self.phase = "new"
        self.tasks = TaskSet()
        # the connection that is told, once there is one, whether it can be, and whether audio goes there: who has heard
        # enough listens no more. One that retires is only read
        self.link: RecognitionTask | None = None
        self.is_up = False
        self.is_sending = False
        self.retiring: RecognitionTask | None = None
        # what sending failed with; the receiver may have heard more
        self.send_error: ASRError | None = None
        # when to send
        self.pacer = Pacer(None, None)
        # that something was sent, can be again, or never will, and whether anybody waits for it
        self._move = LightEvent()
        self.is_watched = False
        # the source: whether it has come to its end, and since when nothing has come from it
        self.source_ended = False
        self.source_error: Exception | None = None
        self.quiet_since: float | None = None
        # somebody has something to say, for which a connection that was given up is needed again
        self.is_needed = LightEvent()
        # whether the vendor listens no more, and how the reading of the source is told
        self.heard_enough = False
        self.pumping: asyncio.Timeout | None = None
        # the connection is so old that it should be replaced, or has so much audio
        self.is_due = LightEvent()
        self.rotate_at_bytes: int | None = None
        # the end, with what ended it, and whether the vendor itself said so
        self.ended = LightEvent()
        self.error: BaseException | None = None
        self.is_confirmed = False

    def __repr__(self) -> str:
        return f"<RunState {'ended' if self.ended.is_set() and self.phase != 'closed' else self.phase}>"

    @property
    def links(self) -> list[RecognitionTask]:
        """All connections that are open for this session."""
        return [link for link in (self.link, self.retiring) if link is not None]

    async def next_move(self) -> None:
        """Wait until something is sent, can be sent again, or never will be."""
        self.is_watched = True
        self._move.clear()
        await self._move.wait()

    def moved(self) -> None:
        """Tell those who wait for that; who sends asks first whether somebody does."""
        self.is_watched = False
        self._move.set()

    def go_up(self) -> None:
        """There is a connection that can be told."""
        self.is_up = True
        self.is_sending = not self.heard_enough
        self.moved()

    def go_down(self) -> None:
        """It cannot be told any more."""
        self.is_up = self.is_sending = False

    def hear_enough(self) -> None:
        """Let the reading of the source end where it stands. Idempotent."""
        self.heard_enough = True
        self.is_sending = False
        if self.pumping is not None and not self.pumping.expired():
            self.pumping.reschedule(asyncio.get_running_loop().time())

    def source_waits(self, now: float) -> None:
        """The source is asked for more."""
        if self.quiet_since is None:
            self.quiet_since = now

    def source_spoke(self) -> None:
        """The source brought audio, or its end."""
        self.quiet_since = None
        self.is_needed.set()

    def quiet_s(self, now: float) -> float:
        """How long the source has had nothing to say; 0 while it has."""
        return 0.0 if self.quiet_since is None else now - self.quiet_since
