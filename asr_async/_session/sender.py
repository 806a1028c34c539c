"""The sending half of a session: what the ledger holds goes out when the pacer says so.

It has no task: it runs in the turns of the timer that all sessions of a loop share, and whoever has changed something
(brought audio, opened a connection, come to the end of the source) lets it go on. So a frame costs one turn, and audio
that is sent again takes the same way as audio that is new.

It does not know where the audio comes from, nor what becomes of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .._loop.event import LightEvent
from .._loop.shared_timer import SharedTimer
from ..errors import ASRError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.task import RecognitionTask
    from .pacer import Pacer
    from .replay_buffer import ReplayBuffer
    from .state import RunState
    from .stats import StatsRecorder

__all__ = ["Sender"]

SOON_S = 0.001
"""What is due so soon goes now: an event loop's timers are no finer, and a frame may be shorter at a high pace."""

SHORT_NAP_S = 0.03
"""A shorter one is not lengthened by a whole tick: a high pace, or audio that is made up for, would slow down, and what
comes live and a little early would wait."""

LONGEST_NAP_S = 0.1
"""A turn is not planned further ahead: so soon another connection is used, and a session that has ended forgotten."""


class Sender:
    """Sends a session's audio."""

    __slots__ = (
        "_has_rested",
        "_is_waiting",
        "_ledger",
        "_loop",
        "_meter",
        "_on_failure",
        "_on_finished",
        "_run",
        "_ticker",
    )

    def __init__(
        self,
        run: RunState,
        ledger: ReplayBuffer,
        meter: StatsRecorder,
        *,
        on_failure: Callable[[RecognitionTask, ASRError], None],
        on_finished: Callable[[], None],
    ) -> None:
        """Share what the session has.

        `on_failure` learns which connection could not be sent on, and why; `on_finished` is called when the vendor has
        been told that no more audio comes.
        """
        self._run = run
        self._ledger = ledger
        self._meter = meter
        self._on_failure = on_failure
        self._on_finished = on_finished
        self._loop = asyncio.get_running_loop()
        self._ticker = SharedTimer.of_running_loop()
        # a turn is planned, or will be when a connection has room again
        self._is_waiting = False
        self._has_rested = LightEvent()

    def __repr__(self) -> str:
        return f"<Sender {self._ledger!r}{' waiting' if self._is_waiting else ''}>"

    def go_on(self) -> None:
        """Send what is due, and see to the rest by and by; idempotent."""
        if not self._is_waiting:
            self._take_turn()

    async def rest(self) -> None:
        """Return when everything is sent, or there is nowhere to send it; never without a pause for others."""
        run, unsent = self._run, self._ledger.unsent
        if not (unsent and run.is_sending):
            await asyncio.sleep(0)
        while unsent and run.is_sending:
            self._has_rested.clear()
            await self._has_rested.wait()

    def _take_turn(self) -> None:
        """Send a frame if one is due, and plan the next turn: an unpaced source is not to keep the loop to itself."""
        self._is_waiting = False
        run, unsent = self._run, self._ledger.unsent
        link = run.link
        if unsent and run.is_sending and link is not None:
            now, pacer = self._loop.time(), run.pacer
            if pacer.next_at - now <= SOON_S:
                self._send_next(link, pacer, now)
                if self._is_waiting:
                    return
            if unsent and run.is_sending:
                self._is_waiting = True
                self._plan_turn(pacer.next_at, now)
                return
        self._has_rested.set()
        if run.source_ended and run.is_up and link is not None:
            self._finish(link)

    def _plan_turn(self, at: float, now: float) -> None:
        """Have the next turn at an instant, or as soon as others had theirs."""
        nap_s = at - now
        if nap_s > LONGEST_NAP_S:
            self._ticker.call_at(now + LONGEST_NAP_S, self._take_turn)
        elif nap_s > SHORT_NAP_S:
            self._ticker.call_at(at, self._take_turn)
        elif nap_s > SOON_S:
            self._ticker.call_at(at, self._take_turn, tick_s=SOON_S)
        else:
            self._loop.call_soon(self._take_turn)

    def _send_next(self, link: RecognitionTask, pacer: Pacer, now: float) -> None:
        """Send the ledger's next frame; what does not go through is the receiver's affair."""
        frame = self._ledger.take()
        try:
            has_room = link.send_audio(frame)
        except ASRError as error:
            self._on_failure(link, error)
            return
        run, meter = self._run, self._meter
        pacer.sent(now, len(frame))
        if run.is_watched:
            run.moved()
        if run.rotate_at_bytes is not None and self._ledger.cursor_bytes >= run.rotate_at_bytes:
            run.is_due.set()
        if meter.audio_started_at is None:
            meter.audio_started_at = now
        if not has_room:
            self._wait_for_room(link)

    def _wait_for_room(self, link: RecognitionTask) -> None:
        """Go on when the connection has caught up; one that takes nothing for too long has failed."""
        self._is_waiting = True
        link.call_when_writable(self._take_turn, lambda error: self._on_failure(link, error))

    def _finish(self, link: RecognitionTask) -> None:
        """Say that no more audio comes; idempotent."""
        if link.is_finishing:
            return
        try:
            link.finish()
        except ASRError as error:
            self._on_failure(link, error)
        else:
            self._meter.finished_at = self._loop.time()
            self._on_finished()
