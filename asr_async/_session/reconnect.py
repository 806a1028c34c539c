"""The next connection of a session: when one is lost, when one is old, and when a better one may be had.

Theory of operation. A connection that is *lost* is replaced after a wait (`_recovery` says whether and when), and what
no final result covers is sent again. One that is *old*, or *stands in* for a better member, is replaced before anything
happens to it: the next one is opened ahead, and at the end of a segment (`_hand_over`) the source is sent there; the
old one is finished and read to its end, and only then is the new one read (`follow`).

It does not read, send or know results: the session does the first two, and `_delivery` the third.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ASRError, AudioLostError, ConfigurationError, ConnectionLostError, DeadlineError, VendorError
from ..results import Gap
from .policy import rotation_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.connector import Connector
    from .._connection.task import RecognitionTask
    from .._loop.event import LightEvent
    from ..vendors.options import ContextMessage
    from .policy import RetryBudget
    from .receiver import Receiver
    from .replay_buffer import LostAudio, ReplayBuffer
    from .state import RunState

__all__ = ["Reconnector"]

logger = logging.getLogger("asr_async")

SEGMENT_PATIENCE_S = 30.0
"""How long an old connection is kept because somebody goes on speaking; the vendors cut a segment at 60 s."""

QUIET_S = 10.0
"""A source that brought nothing for so long has nothing to say. The vendors' own timers are 20 s and more."""

ROTATION_RETRY_S = 5.0
"""Between attempts to open the next connection ahead; the present one is still good."""


class Reconnector:
    """Makes the connections of a session behind its first one."""

    __slots__ = (
        "_boundary_ms",
        "_delivery",
        "_dialer",
        "_ledger",
        "_lost",
        "_on_up",
        "_patience",
        "_recovery",
        "_rotation_s",
        "_run",
        "context",
    )

    def __init__(
        self,
        run: RunState,
        dialer: Connector,
        delivery: Receiver,
        ledger: ReplayBuffer,
        recovery: RetryBudget,
        *,
        on_up: Callable[[RecognitionTask], None],
    ) -> None:
        """Share what the session has; `on_up` is called when there is a connection to send on again.

        Raises:
            ConfigurationError: `Retry` asks for a rotation that cannot be.
        """
        self._run = run
        self._dialer = dialer
        self._delivery = delivery
        self._ledger = ledger
        self._recovery = recovery
        self._on_up = on_up
        self._rotation_s = rotation_s(recovery.retry, dialer.options)
        # where in the source the connection took over that a retiring one made room for, and until when that is heard
        self._boundary_ms = 0
        self._patience: asyncio.TimerHandle | None = None
        # audio that is not to be had any more, not told yet
        self._lost: list[LostAudio] = []
        self.context: tuple[ContextMessage, ...] | None = None
        """What every later connection has to know of what was said elsewhere."""

    def __repr__(self) -> str:
        return f"<Reconnector {self._dialer.options.model} {self._recovery!r}>"

    def attend(self, link: RecognitionTask) -> None:
        """Plan for the time after this connection."""
        tasks = self._run.tasks
        if link.choice.preferred_in_s() is not None:
            tasks.start(self._return(link))
        rotation_s = min((s for s in (self._rotation_s, link.choice.rotation_s) if s is not None), default=None)
        self._run.rotate_at_bytes = None
        if rotation_s is not None:
            limit_bytes = self._dialer.description.audio_format.to_bytes(round(rotation_s * 1000))
            self._run.rotate_at_bytes = self._ledger.cursor_bytes + limit_bytes
            tasks.start(self._rotate(link, rotation_s))

    def stop(self) -> None:
        """The session has ended: nobody waits for what a retiring connection may still tell."""
        self._stop_patience()

    # --- a connection that was lost ----------------------------------------------------------------------------------

    async def replace(self, link: RecognitionTask, error: ASRError) -> RecognitionTask:
        """Make the next connection, which begins where the last final result ended.

        Raises:
            ASRError: it is not to be mended, or not any more.
        """
        error = self._go_down(error)
        if self._was_idle(error):
            link.abort()
            await self._wait_until_needed()
            elsewhere = False
        else:
            elsewhere = link.record_loss(error)
        # who has heard one sentence to its end is not asked for another
        while not self._run.heard_enough:
            delay_s = self._recovery.delay_s(error, random.random(), elsewhere=elsewhere)  # noqa: S311
            if delay_s is None:
                break
            logger.info("%r: attempt %d in %.2f s after: %s", link, self._recovery.attempt, delay_s, error)
            link.abort()
            await asyncio.sleep(delay_s)
            try:
                link = await self._dialer.open()
            except ASRError as refusal:
                error, elsewhere = refusal, False
                continue
            try:
                await self._resume(link, error)
            except (ConnectionLostError, DeadlineError) as lost:
                error, elsewhere = lost, link.record_loss(lost)
                continue
            except BaseException:
                await link.close()
                raise
            return link
        raise error

    def _go_down(self, error: ASRError) -> ASRError:
        """What no final result covers is to be sent again."""
        run = self._run
        run.go_down()
        if run.retiring is not None and run.link is not None:
            run.link.abort()  # what it heard came behind what is now to be heard again
            self._retire(None)
        if (lost := self._ledger.rewind(min_bytes=self._dialer.description.min_frame_bytes)) is not None:
            self._lost.append(lost)
        run.pacer.rewind(self._ledger.cursor_bytes, _now())
        self._delivery.suspend()
        # where sending failed first, and the receiver had nothing better to say than that it was cut off
        first, run.send_error = run.send_error, None
        return first if first is not None and isinstance(error, ConnectionLostError) else error

    def _was_idle(self, error: ASRError) -> bool:
        """Whether it was lost while nobody had anything to say, which is no fault of the vendor's.

        Where pauses are filled it would be, unless the vendor itself has ended the task, and would again.
        """
        run, retry = self._run, self._recovery.retry
        is_usual = retry.silence == "resume" or isinstance(error, VendorError)
        may_try_again = error.retryable and retry.attempts > 0
        return may_try_again and is_usual and not run.source_ended and run.quiet_s(_now()) >= QUIET_S

    async def _wait_until_needed(self) -> None:
        """Who has nothing to say needs no connection: the next one is asked for when there is something."""
        self._run.is_needed.clear()
        await self._run.is_needed.wait()
        self._recovery.made_progress()  # nothing went wrong so far

    async def _resume(self, link: RecognitionTask, error: ASRError) -> None:
        while self._lost:
            self._report_loss(self._lost.pop(0), error, link)
        self._run.link = link
        self._delivery.begin_again(link, self._ledger.cursor_ms, str(error))
        await self._pass_on_context(link)
        self._begin_in_the_middle(link)
        self._on_up(link)

    def _begin_in_the_middle(self, link: RecognitionTask) -> None:
        """What stood in front of the samples stands in front of the first that this connection hears."""
        header = self._dialer.description.audio_format.header
        if header and self._ledger.cursor_bytes > 0:
            link.send_audio(header)

    def _report_loss(self, lost: LostAudio, error: ASRError, link: RecognitionTask) -> None:
        """Say which audio is given up, by an error or an event.

        Raises:
            AudioLostError: the caller wants no transcript with a gap, or nothing more can be sent.
        """
        if lost.end_ms is None or self._recovery.retry.on_gap == "raise":
            raise AudioLostError.between(lost.start_ms, lost.end_ms, error)
        self._delivery.tell_gap(Gap(start_ms=lost.start_ms, end_ms=lost.end_ms, reason=str(error)), link)

    async def _pass_on_context(self, link: RecognitionTask) -> None:
        """Tell a new connection what the ones before were told; it is dropped if that fails."""
        if self.context is None:
            return
        try:
            await link.update_context(self.context)
        except ConfigurationError as error:  # it was taken before, so this is another member
            logger.info("%r: goes on without its context: %s", link, error)
        except BaseException:
            link.abort()
            raise

    # --- a connection that is replaced before it is lost -------------------------------------------------------------

    async def _rotate(self, link: RecognitionTask, after_s: float) -> None:
        """When the connection is old, open the next one, and send on that from the end of a segment on."""
        self._run.is_due.clear()
        await _wait(self._run.is_due, after_s)
        following = await self._open_following(link)
        if following is not None:
            await self._hand_over(link, following)

    async def _return(self, link: RecognitionTask) -> None:
        """While another member stands in: when a better one answers again, go on there from the end of a segment on."""
        while self._is_in_use(link) and (wait_s := link.choice.preferred_in_s()) is not None:
            await asyncio.sleep(wait_s)
            better = await self._open_better(link)
            if better is not None:
                logger.info("%r: %s answers again, %s has stood in", better, better.member, link.member)
                await self._hand_over(link, better)

    def _is_in_use(self, link: RecognitionTask) -> bool:
        """Whether more audio will go there."""
        run = self._run
        return run.link is link and run.is_up and not run.source_ended

    async def _open_following(self, link: RecognitionTask) -> RecognitionTask | None:
        """The next connection; None when there is none to be had, or none needed any more."""
        while self._is_in_use(link):
            try:
                following = await self._dialer.open()
                await self._pass_on_context(following)
            except ASRError as error:
                logger.warning("%r: the next connection could not be opened ahead: %s", link, error)
                if not error.retryable:
                    return None
                await asyncio.sleep(ROTATION_RETRY_S)
            else:
                return following
        return None

    async def _open_better(self, link: RecognitionTask) -> RecognitionTask | None:
        """A connection to a better member than the one that stands in; None when there is none yet, or none needed."""
        if not self._is_in_use(link):
            return None
        better = await self._dialer.open_preferred(link)
        if better is not None:
            try:
                await self._pass_on_context(better)
            except (ConnectionLostError, DeadlineError):
                return None
        return better

    async def _hand_over(self, link: RecognitionTask, following: RecognitionTask) -> None:
        """Send on the next connection from the end of a segment on, if the present one still lives by then."""
        try:
            await self._hand_over_at_segment_end(link, following)
        finally:
            if self._run.link is not following:
                following.abort()

    async def _hand_over_at_segment_end(self, link: RecognitionTask, following: RecognitionTask) -> None:
        run, segment_ended = self._run, self._delivery.segment_ended
        segment_ended.clear()
        await _wait(segment_ended, SEGMENT_PATIENCE_S)
        if not self._is_in_use(link):
            await following.close()
            return
        run.link = following
        self._retire(link)
        self._boundary_ms = self._ledger.cursor_ms
        try:
            link.finish()
        except ConnectionLostError:
            link.abort()
        with suppress(ConnectionLostError):  # whoever reads it finds out
            self._begin_in_the_middle(following)
        self.attend(following)

    def _retire(self, link: RecognitionTask | None) -> None:
        """This connection has got its last audio, and so long to tell the rest; None when it has."""
        self._stop_patience()
        if link is not None:
            self._patience = asyncio.get_running_loop().call_later(self._dialer.timeouts.finish, link.abort)
        self._run.retiring = link

    def _stop_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    async def follow(self, retired: RecognitionTask, link: RecognitionTask) -> RecognitionTask:
        """The retired connection has told everything: what comes next is the other one's."""
        self._retire(None)
        self._delivery.go_on(link, self._boundary_ms)
        await retired.close()
        return link


async def _wait(event: LightEvent, at_most_s: float) -> None:
    """Wait for an event, but not for ever."""
    with suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await event.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
