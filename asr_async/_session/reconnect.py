"""The connections of a session, one after another: the first, the next after a loss, and successors opened ahead.

Theory of operation. A connection that is *lost* is replaced after a delay (`ReconnectPolicy` decides if and when), and
the audio that no final result covers is replayed. A connection that is *old*, or goes to a *substitute* of a preferred
member, is replaced before anything happens to it: its successor is opened ahead, and at the end of a segment
(`decide_handover`) the source is sent there, from that end on (`_begin_behind_segment`). The old connection drains: it
is finished and read to its end, and only then is the successor read (`follow`). A task *ends where the caller
finalizes*: it drains without a successor, and the next one begins when there is more audio, on the same connection if
the vendor takes several tasks on one.

`_begin_sending` is the one place where a connection begins to carry audio, and `Receiver.begin` the one where it begins
to be read.

Does not read, send or place results: the session and its two halves do.
"""

from __future__ import annotations

import asyncio
import functools
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ASRError, AudioLostError, ConfigurationError, ConnectionLostError, DeadlineError
from ..results import Gap
from ..sources import DroppedAudio, TaskEnd, UtteranceEnd
from ..telemetry.observer import Observer
from .policy import (
    SEGMENT_PATIENCE_S,
    Handover,
    commit_refusal,
    decide_handover,
    first_cause,
    longest_finish_s,
    rotation_s,
)
from .replay_buffer import LostAudio
from .state import ConnectionStep

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._connection.connector import Connector
    from .._connection.task import RecognitionTask
    from .._loop.event import LightEvent
    from ..sources import AudioMark
    from ..telemetry.session_log import SessionLogger
    from ..vendors.options import ContextMessage
    from .policy import ReconnectPolicy
    from .receiver import Receiver
    from .replay_buffer import ReplayBuffer
    from .sender import Sender
    from .state import SessionStatus

__all__ = ["Reconnector"]

ROTATION_RETRY_S = 5.0
"""The pause between attempts to open a successor ahead; the present connection is still good."""

WORD_MS = 1_000
"""The audio before a change of connections in which a word may have begun that has not ended."""

MAX_OVERLAP_MS = 4_000
"""The longest audio that an old connection and its successor both get. The final that ends a segment follows its speech
by a second or two."""


class Reconnector:
    """Opens and replaces the connections of one session."""

    __slots__ = (
        "_began_ms",
        "_begun_at",
        "_boundary_ms",
        "_buffer",
        "_connection",
        "_connector",
        "_drain_timer",
        "_log",
        "_lost_audio",
        "_policy",
        "_receiver",
        "_rotation_s",
        "_sender",
        "_status",
        "_successor_begin_ms",
        "context",
    )

    def __init__(
        self,
        status: SessionStatus,
        connector: Connector,
        *,
        sender: Sender,
        receiver: Receiver,
        buffer: ReplayBuffer,
        policy: ReconnectPolicy,
        log: SessionLogger,
    ) -> None:
        """Share the parts of the session.

        Raises:
            ConfigurationError: `Retry` asks for a rotation that is not possible.
        """
        self._status = status
        self._connection = status.connection
        self._connector = connector
        self._sender = sender
        self._receiver = receiver
        self._buffer = buffer
        self._policy = policy
        self._log = log
        self._rotation_s = rotation_s(policy.retry, connector.options)
        # the place in the source up to which a draining task got the audio, and that from which on its successor does
        self._boundary_ms = self._successor_begin_ms = 0
        # the `position` of the buffer from which on audio was sent to the present task
        self._begun_at = 0
        # the place in the source where the audio of the present task begins
        self._began_ms = 0
        # aborts a draining connection that takes too long
        self._drain_timer: asyncio.TimerHandle | None = None
        # audio that could not be kept, and is not reported yet
        self._lost_audio: list[LostAudio] = []
        sender.on_mark = self._on_mark
        self.context: tuple[ContextMessage, ...] | None = None
        """The context that every later connection starts with."""

    def __repr__(self) -> str:
        return f"<Reconnector {self._connector.options.model} {self._policy!r}>"

    def stop(self) -> None:
        """Stop the timer of a draining connection: the session has ended."""
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None

    # --- a connection begins -----------------------------------------------------------------------------------------

    async def open_first(self) -> RecognitionTask:
        """Open the first connection.

        Raises:
            ASRError: it could not be opened. The first connection is not tried again.
        """
        self._connection.advance(ConnectionStep.CONNECT)
        task = await self._connector.open()
        self._receiver.begin(task, 0)
        self._begin_sending(task, ConnectionStep.CONNECTED)
        return task

    def _begin_sending(self, task: RecognitionTask, step: ConnectionStep) -> None:
        """Send audio to this task from now on, and plan its replacement."""
        self._notify_member(task)
        self._begun_at = max(self._begun_at, self._buffer.position)
        self._began_ms = self._buffer.cursor_ms
        self._status.source.is_connection_needed = False
        self._connection.use(task, step)
        if task.choice.description.quiet_end_s is not None:
            task.owed_s = functools.partial(self._owed_s, _now(), self._buffer.cursor_ms)
        self._sender.rotation_due.set()  # wakes the rotation of the task before, which has nothing to do any more
        self._plan_replacement(task)
        first_result_s = self._connector.timeouts.first_result
        if first_result_s is not None:
            self._status.tasks.start(self._watch_first_result(task, first_result_s))
        self._sender.resume()

    def _notify_member(self, task: RecognitionTask) -> None:
        previous, observers = self._connection.task, self._status.observers
        if observers is not None and previous is not None and previous.member != task.member:
            observers.notify(Observer.on_fail_over, from_member=previous.member, to_member=task.member)

    def _plan_replacement(self, task: RecognitionTask) -> None:
        tasks = self._status.tasks
        if task.choice.preferred_in_s() is not None:
            tasks.start(self._fail_back(task))
        limits_s = [limit_s for limit_s in (self._rotation_s, task.choice.rotation_s) if limit_s is not None]
        self._sender.rotate_at = None
        if limits_s:
            self._sender.rotate_at = self._buffer.position_after(round(min(limits_s) * 1000))
            tasks.start(self._rotate(task, min(limits_s)))

    def _owed_s(self, began_at: float, begin_ms: int) -> float:
        """Return the time that a recogniser in real time still needs for the audio that was sent to a task.

        Args:
            began_at: the instant from which on audio was sent to it.
            begin_ms: the place in the source of that audio.
        """
        sent_ms = self._buffer.sent_ms
        if sent_ms is None:  # of compressed audio whose length is not known
            return 0.0
        audio_began_at = max(began_at, self._sender.audio_began_at or began_at)
        rest_s = max(0, sent_ms - self._receiver.progress_ms) / 1000
        return max(0.0, min(rest_s, (sent_ms - begin_ms) / 1000 - (_now() - audio_began_at)))

    def _send_header(self, task: RecognitionTask) -> None:
        """Send the header that stands in front of the samples, if the audio begins in the middle of the source."""
        header = self._connector.description.audio_format.header
        if header and self._buffer.cursor_bytes > 0:
            task.send_audio(header)

    async def _send_context(self, task: RecognitionTask) -> None:
        """Send the context of the connections before; the connection is aborted if that fails."""
        if self.context is None:
            return
        try:
            await task.update_context(self.context)
        except ConfigurationError as error:  # an earlier connection took it, so this one is to another member
            self._log.info("%r: continues without its context: %s", task, error)
        except BaseException:
            task.abort()
            raise

    async def _watch_first_result(self, task: RecognitionTask, timeout_s: float) -> None:
        """Give up a connection that takes audio and reports nothing, until the session has its first result."""
        began_at_bytes = self._buffer.cursor_bytes
        while self._connection.task is task and self._buffer.cursor_bytes == began_at_bytes:
            await self._connection.next_change()
        try:
            async with asyncio.timeout(timeout_s):
                await self._receiver.speech_detected.wait()
        except TimeoutError:
            if not task.is_finishing:  # else `Timeouts.finish` holds
                text = f"no result within {timeout_s:g} s of the first audio (Timeouts.first_result)"
                self._sender.handle_failure(task, DeadlineError(text, retryable=True))

    # --- a connection was lost ---------------------------------------------------------------------------------------

    async def replace(self, task: RecognitionTask, error: ASRError) -> RecognitionTask:
        """Open the next connection, which begins where the last final result ended, and return its task.

        Raises:
            ASRError: another connection does not help, or no attempt is left.
        """
        status, policy = self._status, self._policy
        error = self._record_loss(error)
        if policy.is_idle_loss(
            error,
            quiet_s=status.source.quiet_s(_now()),
            source_has_ended=status.source_has_ended,
            is_finalizing=any(isinstance(frame, TaskEnd) and not frame.is_done for frame in self._buffer.unsent),
        ):
            fail_over = False
            task.abort()
            await self._wait_for_audio()
        else:
            fail_over = task.record_loss(error)
        return await self._open_next(task, error, fail_over=fail_over)

    async def _open_next(
        self, task: RecognitionTask, error: ASRError | None, *, fail_over: bool = False
    ) -> RecognitionTask:
        """Open a task and continue the session there, as often and as late as the policy allows after errors.

        Args:
            task: the task before.
            error: the error that ended it; None if the vendor has completed it.
            fail_over: another member takes over.

        Raises:
            ASRError: another connection does not help, or no attempt is left.
        """
        connection, status, policy = self._connection, self._status, self._policy
        delay_s: float | None = None
        while error is None or (delay_s := self._next_delay_s(error, fail_over=fail_over)) is not None:
            if error is not None:
                if status.observers is not None:
                    status.observers.notify(Observer.on_reconnect, attempt=policy.attempt, error=error)
                self._log.info("%r: attempt %d in %.2f s after: %s", task, policy.attempt, delay_s, error)
                task.abort()
                await asyncio.sleep(delay_s or 0.0)
            connection.advance(ConnectionStep.CONNECT)
            try:
                task = await self._connector.open()
            except ASRError as refusal:
                error, fail_over = refusal, False
                connection.advance(ConnectionStep.LOSE)
                continue
            if error is not None:
                task.expect_repeats()
            try:
                await self._resume(task, error)
            except (ConnectionLostError, DeadlineError) as lost:
                error, fail_over = lost, task.record_loss(lost)
                connection.advance(ConnectionStep.LOSE)
                continue
            except BaseException:
                await task.close()
                raise
            return task
        raise error

    def _record_loss(self, error: ASRError) -> ASRError:
        """Prepare the replay of all audio that no final result covers, and return the error to act on."""
        connection = self._connection
        send_error = connection.send_error
        connection.advance(ConnectionStep.LOSE)
        if connection.draining is not None and connection.task is not None:
            connection.task.abort()  # its audio came behind the audio that is now replayed
            self._end_draining()
        covered_ms = self._receiver.prepare_replay()
        sent_ms = self._buffer.cursor_ms
        lost = self._buffer.rewind(min_bytes=self._connector.description.min_frame_bytes)
        self._sender.record_replay(sent_ms - self._buffer.cursor_ms)
        if lost is not None and (lost.end_ms is None or lost.end_ms > covered_ms):
            self._lost_audio.append(LostAudio(max(lost.start_ms, covered_ms), lost.end_ms))
        self._sender.pacer.rewind(self._buffer.cursor_bytes, _now())
        self._receiver.suspend()
        self._complete_task_ends(is_sent_again=True)
        connection.send_error = None
        return first_cause(error, send_error)

    def _next_delay_s(self, error: ASRError, *, fail_over: bool) -> float | None:
        jitter = random.random()  # noqa: S311 - no secret
        return self._policy.next_delay_s(error, jitter, fail_over=fail_over, input_closed=self._status.input_closed)

    async def _wait_for_audio(self) -> None:
        """Wait until the source has audio again: no connection is needed before."""
        audio_arrived = self._status.source.audio_arrived
        self._connection.advance(ConnectionStep.REST)
        audio_arrived.clear()
        await audio_arrived.wait()
        self._policy.record_progress()  # nothing went wrong so far

    async def _resume(self, task: RecognitionTask, error: ASRError | None) -> None:
        """Continue the session with a new task, after `error`, if there was one.

        Raises:
            AudioLostError: audio could not be kept for the replay.
            ConnectionLostError: the new connection was lost already.
        """
        while error is not None and self._lost_audio:
            self._report_lost_audio(self._lost_audio.pop(0), error, task)
        await self._send_context(task)
        if error is not None:
            self._receiver.record_reconnect(self._buffer.cursor_ms, str(error), task)
        self._receiver.begin(task, self._buffer.cursor_ms)
        self._send_header(task)
        self._sender.record_arrival()
        self._begin_sending(task, ConnectionStep.CONNECTED)

    def _report_lost_audio(self, lost: LostAudio, error: ASRError, task: RecognitionTask) -> None:
        """Report audio that is missing from the transcript, as an error or a `Gap`.

        Raises:
            AudioLostError: `Retry.on_gap` says so, or nothing can be replayed.
        """
        if lost.end_ms is None or self._policy.retry.on_gap == "raise":
            raise AudioLostError.between(lost.start_ms, lost.end_ms, error)
        self._receiver.record_gap(Gap(start_ms=lost.start_ms, end_ms=lost.end_ms, reason=str(error)), task)

    # --- a connection is replaced before it is lost ------------------------------------------------------------------

    async def _rotate(self, task: RecognitionTask, after_s: float) -> None:
        """Replace an old connection: open its successor, and send to that from the end of a segment on."""
        self._sender.rotation_due.clear()
        await _wait(self._sender.rotation_due, after_s)
        await self._hand_over(task, self._open_successor)

    async def _fail_back(self, task: RecognitionTask) -> None:
        """Return from a substitute to a preferred member when that answers again."""
        while self._is_in_use(task) and (wait_s := task.choice.preferred_in_s()) is not None:
            await asyncio.sleep(wait_s)
            await self._hand_over(task, self._open_preferred)

    def _is_in_use(self, task: RecognitionTask) -> bool:
        """Return True if more audio will be sent to this task."""
        connection = self._connection
        is_needed = connection.task is task and connection.is_up and not self._status.source_has_ended
        return is_needed and self._buffer.is_cuttable

    async def _hand_over(
        self,
        task: RecognitionTask,
        open_successor: Callable[[RecognitionTask], Awaitable[RecognitionTask | None]],
    ) -> None:
        """Change over to a successor at the end of a segment, as `decide_handover` says."""
        segment_ended = self._receiver.segment_ended
        successor: RecognitionTask | None = None
        context = self.context
        waited_s = 0.0
        try:
            while True:
                match decide_handover(
                    is_in_use=self._is_in_use(task),
                    has_successor=successor is not None,
                    segment_has_ended=segment_ended.is_set(),
                    waited_s=waited_s,
                ):
                    case Handover.OPEN:
                        context = self.context
                        successor = await open_successor(task)
                        if successor is None:
                            return
                        segment_ended.clear()
                    case Handover.WAIT:
                        await _wait(segment_ended, SEGMENT_PATIENCE_S)
                        waited_s = SEGMENT_PATIENCE_S
                    case Handover.SWITCH if successor is not None and self.context is not context:
                        context = self.context  # updated while the successor waited
                        if not await self._update_successor(successor):
                            successor = None
                    case Handover.SWITCH if successor is not None:
                        self._switch(task, successor)
                        return
                    case _:
                        if successor is not None:
                            await successor.close()
                        return
        finally:
            if successor is not None and self._connection.task is not successor:
                successor.abort()

    async def _update_successor(self, successor: RecognitionTask) -> bool:
        """Send the present context to a successor that waits; False if it could not be sent: it is aborted then."""
        try:
            await self._send_context(successor)
        except ASRError as error:
            self._log.warning("%r: the next connection was lost while it waited: %s", successor, error)
            return False
        return True

    def _switch(self, task: RecognitionTask, successor: RecognitionTask) -> None:
        """Send to the successor from here on, and let the old task drain."""
        if successor.choice.rank < task.choice.rank:
            self._log.info("%r: fails back from %s to %s", successor, task.member, successor.member)
        self._drain(task)
        self._successor_begin_ms = self._begin_behind_segment(task, successor)
        try:
            task.finish()
        except ConnectionLostError:
            task.abort()
        except ASRError as error:  # a defect of the codec
            self._status.end(error)
        with suppress(ConnectionLostError):  # found by the receiver
            self._send_header(successor)
        self._begin_sending(successor, ConnectionStep.SWITCH)

    def _begin_behind_segment(self, task: RecognitionTask, successor: RecognitionTask) -> int:
        """Prepare to send what follows the last final to the successor, and return the place of its time 0.

        The final follows its speech by a second or so, and the next word may have begun since: it would be cut in two
        and recognised by neither task. Words that both recognise are delivered once, as after a loss. If most of the
        old task's audio would be sent again, only its last second is, in which such a word has begun. Where results of
        one have no times, the successor begins where the audio of the old task ends. The same member is taken to report
        times again.
        """
        buffer, sent_ms = self._buffer, self._boundary_ms - self._began_ms
        covered_ms = self._receiver.prepare_replay()
        if (
            task.has_untimed_results
            or (successor.has_untimed_results and successor.member != task.member)
            or task.choice.description.takes_commits  # the caller divides the audio
        ):
            return buffer.begin_anew()
        successor.expect_repeats()
        if self._boundary_ms - covered_ms > min(MAX_OVERLAP_MS, sent_ms // 2):
            buffer.begin_anew(min(WORD_MS, sent_ms // 2))
        else:
            buffer.rewind(min_bytes=self._connector.description.min_frame_bytes)
        self._sender.record_replay(self._boundary_ms - buffer.cursor_ms)
        self._sender.pacer.rewind(buffer.cursor_bytes, _now())
        return buffer.cursor_ms

    async def _open_successor(self, task: RecognitionTask) -> RecognitionTask | None:
        """Open the next connection; None if there is none to be had, or none is needed any more."""
        while self._is_in_use(task):
            try:
                successor = await self._connector.open()
                await self._send_context(successor)
            except ASRError as error:
                self._log.warning("%r: the next connection could not be opened ahead: %s", task, error)
                if not error.retryable:
                    return None
                await asyncio.sleep(ROTATION_RETRY_S)
            else:
                return successor
        return None

    async def _open_preferred(self, task: RecognitionTask) -> RecognitionTask | None:
        """Open a connection to a member that is preferred to the task's; None if none answers."""
        preferred = await self._connector.open_preferred(task)
        if preferred is not None:
            try:
                await self._send_context(preferred)
            except (ConnectionLostError, DeadlineError):
                return None
        return preferred

    def _drain(self, task: RecognitionTask) -> None:
        """Read a task to its end: nothing more is sent to it."""
        self._connection.draining = task
        self._boundary_ms = self._buffer.cursor_ms
        self._receiver.limit(self._boundary_ms)
        rest_ms = max(0, self._boundary_ms - self._receiver.progress_ms)
        finish_s = longest_finish_s(self._connector.timeouts.finish, rest_ms)
        loop = asyncio.get_running_loop()
        self._drain_timer = loop.call_later(finish_s, self._give_up_draining, task, finish_s)

    def _give_up_draining(self, task: RecognitionTask, finish_s: float) -> None:
        text = f"the vendor did not confirm the end of a task within {finish_s:g} s (Timeouts.finish)"
        self._connection.send_error = DeadlineError(text, retryable=True, request_id=task.codec.request_id or None)
        task.abort()

    def _end_draining(self) -> None:
        self.stop()
        self._connection.draining = None

    async def follow(self, drained: RecognitionTask) -> RecognitionTask:
        """Continue to read at the successor of a task that has drained, and return the successor.

        Raises:
            ASRError: there was none yet, and it could not be opened.
        """
        self._end_draining()
        if drained.is_end_assumed:
            self._receiver.record_assumed_end(self._boundary_ms, drained)
        successor = self._connection.task
        if successor is None or successor is drained:
            self._receiver.record_switch(self._boundary_ms, drained)
            return await self._begin_next(drained)
        self._receiver.record_switch(self._successor_begin_ms, drained)
        self._receiver.begin(successor, self._successor_begin_ms)
        if self._connection.is_up:
            self._complete_task_ends()
        elif successor.is_finishing:
            self._drain(successor)
        await drained.close()
        return successor

    # --- a task ends where the caller finalizes -----------------------------------------------------------------------

    def _on_mark(self, task: RecognitionTask, mark: AudioMark) -> None:
        """Act on a mark when the audio in front of it was sent."""
        if isinstance(mark, TaskEnd):
            self._finalize(task, mark)
        elif isinstance(mark, UtteranceEnd):
            self._commit(task)
        elif isinstance(mark, DroppedAudio) and mark.size_bytes:
            self._receiver.record_dropped(mark, task)
            mark.size_bytes = 0  # it may be sent again

    def _commit(self, task: RecognitionTask) -> None:
        if self._connector.description.takes_commits:
            task.commit()
        else:
            self._status.end(ConfigurationError(commit_refusal(self._connector.options)))

    def _finalize(self, task: RecognitionTask, mark: TaskEnd) -> None:
        """Make everything final that was sent: commit it, or finish the task; `follow` begins the next one."""
        connection, buffer = self._connection, self._buffer
        if not buffer.is_cuttable:
            encoding = self._connector.options.audio.encoding
            mark.complete(
                ConfigurationError(
                    f"finalize(): this {encoding} cannot be cut, since its packets are not known; send pcm, or mp3, "
                    "ADTS, AMR, or Opus or Speex in Ogg"
                )
            )
        elif task.choice.description.takes_commits:
            task.commit()
            self._receiver.await_final(mark)
            finish_s = self._connector.timeouts.finish
            mark.complete_by(finish_s, functools.partial(self._give_up_final, mark, finish_s))
        elif buffer.position > self._begun_at:
            connection.task_ends.append(mark)
            connection.stop_sending()
            task.finish()
            if connection.draining is None:
                self._drain(task)
        elif connection.draining is not None:
            connection.task_ends.append(mark)
        else:
            mark.complete()

    def _give_up_final(self, mark: TaskEnd, finish_s: float) -> None:
        """Stop waiting for the final of a commit; if no speech was reported, none is missing."""
        error = None
        if self._receiver.has_open_segment:
            text = f"finalize(): the vendor sent no final within {finish_s:g} s (Timeouts.finish); the session goes on"
            error = DeadlineError(text, retryable=True)
        mark.complete(error)

    def _complete_task_ends(self, *, is_sent_again: bool = False) -> None:
        """Complete the calls of `finalize` for the audio that was sent; with True, only those whose audio is final."""
        task_ends, self._connection.task_ends = self._connection.task_ends, []
        unsent = {id(frame) for frame in self._buffer.unsent if not frame} if is_sent_again else set()
        for mark in task_ends:
            if id(mark) not in unsent:
                mark.complete()

    async def _begin_next(self, drained: RecognitionTask) -> RecognitionTask:
        """Begin the next task, on the same connection if the vendor takes several, when there is audio for it.

        If the source ends without more audio, the session ends, and its last task is returned.

        Raises:
            ASRError: it could not be opened.
        """
        self._connection.advance(ConnectionStep.COMPLETE)
        self._begun_at = self._buffer.position
        self._complete_task_ends()
        self._connector.release(drained)
        self._status.tasks.start(drained.close())
        if not await self._wait_for_more(drained):
            self._status.confirm()
            return drained
        self._buffer.begin_anew()
        return await self._open_next(drained, None)

    async def _wait_for_more(self, drained: RecognitionTask) -> bool:
        """Wait until a connection is needed, and return True; False if no more audio comes."""
        status, source = self._status, self._status.source
        while True:
            self._sender.pass_marks(drained)
            if status.input_closed or (status.source_has_ended and self._buffer.is_drained):
                return False
            if source.quiet_since is None or source.is_connection_needed or not self._buffer.is_drained:
                return True
            source.audio_arrived.clear()
            await source.audio_arrived.wait()


async def _wait(event: LightEvent, timeout_s: float) -> None:
    """Wait for an event, for a limited time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
