"""The sending half of a session: what the ledger holds goes out when the pacer says so.

It has no task: it runs in the turns of the timer that all sessions of a loop share, and whoever has changed something
(brought audio, opened a connection, come to the end of the source) lets it go on. So a frame costs one turn, and audio
that is sent again takes the same way as audio that is new.

It does not know where the audio comes from, nor what becomes of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ._signal import Signal
from ._ticker import EARLY_S, Ticker
from .errors import ASRError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._ledger import Ledger
    from ._link import Link
    from ._meter import Meter
    from ._run import Run

__all__ = ["Feed"]

LONGEST_NAP_S = 0.1
"""A turn is not planned further ahead: so soon another connection is used, and a session that has ended forgotten."""


class Feed:
    """Sends a session's audio."""

    def __init__(
        self,
        run: Run,
        ledger: Ledger,
        meter: Meter,
        *,
        on_failure: Callable[[Link, ASRError], None],
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
        self._now = asyncio.get_running_loop().time
        self._ticker = Ticker.of_running_loop()
        # a turn is planned, or will be when a connection has room again
        self._is_waiting = False
        self._has_rested = Signal()

    def __repr__(self) -> str:
        return f"<Feed {self._ledger!r}{' waiting' if self._is_waiting else ''}>"

    def go_on(self) -> None:
        """Send what is due, and see to the rest by and by; idempotent."""
        if not self._is_waiting:
            self._send_due()

    async def rest(self) -> None:
        """Return when everything is sent, or there is nowhere to send it; never without a pause for others."""
        if self._is_done:
            await asyncio.sleep(0)
        while not self._is_done:
            self._has_rested.clear()
            await self._has_rested.wait()

    @property
    def _is_done(self) -> bool:
        return self._ledger.is_drained or not self._run.is_sending

    def _take_turn(self) -> None:
        self._is_waiting = False
        self._send_due()

    def _send_due(self) -> None:
        """Send a frame if one is due, and plan the next: an unpaced source is not to keep the loop to itself."""
        run, now = self._run, self._now()
        has_sent = False
        while run.link is not None and not self._is_done:
            delay_s = run.pacer.delay_s(now)
            if delay_s > EARLY_S:
                self._is_waiting = True
                self._ticker.call_at(now + min(delay_s, LONGEST_NAP_S), self._take_turn)
                return
            if has_sent:
                self._is_waiting = True
                asyncio.get_running_loop().call_soon(self._take_turn)
                return
            sent_at = self._send_next(run.link)
            if sent_at is None:
                break
            if not run.link.has_room:
                self._wait_for_room(run.link)
                return
            now, has_sent = sent_at, True
        self._has_rested.set()
        if run.source_ended and run.is_up and run.link is not None:
            self._finish(run.link)

    def _send_next(self, link: Link) -> float | None:
        """Send the ledger's next frame; when that was, None if the connection did not take it."""
        frame = self._ledger.take()
        if frame is None:
            return None
        try:
            link.send_audio(frame)
        except ASRError as error:
            self._on_failure(link, error)
            return None
        run, now, until_bytes = self._run, self._now(), self._ledger.cursor_bytes
        run.pacer.sent(now, len(frame))
        run.moved.set()
        if run.rotate_at_bytes is not None and until_bytes >= run.rotate_at_bytes:
            run.is_due.set()
        self._meter.sent(until_bytes, now)
        return now

    def _wait_for_room(self, link: Link) -> None:
        """Go on when the connection has caught up; one that takes nothing for too long has failed."""
        self._is_waiting = True
        link.when_room(self._take_turn, lambda error: self._on_failure(link, error))

    def _finish(self, link: Link) -> None:
        """Say that no more audio comes; idempotent."""
        if link.is_finishing:
            return
        try:
            link.finish()
        except ASRError as error:
            self._on_failure(link, error)
        else:
            self._meter.finished_at = self._now()
            self._on_finished()
