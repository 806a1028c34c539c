"""The receiving half of a session: the events of all its connections become one sequence of events for the caller.

Each event is placed on the session's timeline and put into the result queue. A final result waits here for
translations that still belong to it. The rest of the session learns from here how far the results have covered the
audio, and how a task ended. All of it happens in the call stack of the received message.

Does not know sockets, audio or the caller.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar, cast

from .._loop.event import LightEvent
from ..audio import FRAME_MS
from ..errors import ASRError
from ..results import (
    Gap,
    Reconnected,
    Result,
    SpeechEnded,
    SpeechEnding,
    SpeechStarted,
    TranslationArrived,
    TranslationLost,
)
from ..vendors.codec import (
    ENDINGS,
    FinalPending,
    InputClosed,
    MembersLeftOut,
    Started,
    Unheard,
    Unrecognised,
    Usage,
)
from .stats import DroppedParts, LossMarks
from .timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._connection.task import RecognitionTask
    from ..results import Event
    from ..sources import DroppedAudio, TaskEnd
    from ..telemetry.session_log import SessionLogger
    from ..vendors.codec import CodecEvent, Ending
    from .policy import ReconnectPolicy
    from .replay_buffer import ReplayBuffer
    from .result_queue import ResultQueue
    from .state import SessionStatus
    from .stats import StatsRecorder

__all__ = ["Receiver"]

E = TypeVar("E", bound="Event")

MAX_REPORTED = 100
"""The names that are logged as unknown or left out in one session: each vendor message has a dozen members."""

MAX_NAME_CHARS = 100
"""The part of a name that is logged and remembered."""

UNLOGGED = frozenset({SpeechStarted, SpeechEnded})
"""The events that a caller of results does not miss."""

UNCONFIRMED_MS = 1_100
"""Audio behind the last result that is not reported where the vendor does not confirm the end: the silence that ends a
sentence, and the way from the speaker to the end of the source."""

KEPT_MS = 300
"""The audio behind which final results end and which is kept all the same: the next segment may begin a little before
the last one ends, since both times are off."""


class Receiver:
    """Takes the events of the codecs, and puts those for the caller into the result queue."""

    _loop: asyncio.AbstractEventLoop

    __slots__ = (
        "_awaited",
        "_buffer",
        "_dropped",
        "_finals_end_ms",
        "_log",
        "_loop",
        "_loss_marks",
        "_pending",
        "_policy",
        "_progress_ms",
        "_queue",
        "_reported",
        "_stats",
        "_status",
        "_task",
        "_task_timeline",
        "_timeline",
        "_translation_s",
        "_wants_events",
        "segment_ended",
        "speech_detected",
    )

    def __init__(
        self,
        status: SessionStatus,
        queue: ResultQueue,
        *,
        buffer: ReplayBuffer,
        stats: StatsRecorder,
        policy: ReconnectPolicy,
        translation_s: float,
        log: SessionLogger,
    ) -> None:
        self._status = status
        self._log = log
        self._queue = queue
        self._buffer = buffer
        self._stats = stats
        self._policy = policy
        self._translation_s = translation_s
        self._timeline = Timeline()
        self._task_timeline = self._timeline.connect(0)
        # the task that is read
        self._task: RecognitionTask | None = None
        self._loss_marks = LossMarks()
        # True if the caller iterates all events, not only results; None as long as it iterates nothing
        self._wants_events: bool | None = None
        # a segment has ended; the vendor has reported speech, for the first time in this session
        self.segment_ended = LightEvent()
        self.speech_detected = LightEvent()
        self._progress_ms = -1
        # the end of the last final, when the connection last made progress
        self._finals_end_ms = -FRAME_MS
        # finals that wait for a translation, by their task's segment id: the timer that ends the wait, and the task
        self._pending: dict[int, tuple[asyncio.TimerHandle, RecognitionTask]] = {}
        # the commits whose finals `finalize` waits for, with their places
        self._awaited: list[tuple[int, TaskEnd]] = []
        # the audio that the source has dropped; None if it has dropped none
        self._dropped: DroppedParts | None = None
        # the names that were logged
        self._reported: set[str] = set()

    def __repr__(self) -> str:
        return f"<Receiver {self._timeline!r}, {len(self._pending)} pending>"

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Receive in this event loop. Called once, before everything else."""
        self._loop = loop

    @property
    def progress_ms(self) -> int:
        """The end of the results so far, within the audio that was sent."""
        return max(0, self._progress_ms)

    @property
    def has_finals(self) -> bool:
        """True if any result is final."""
        return self._timeline.has_finals

    @property
    def covered_ms(self) -> int:
        """The place in the source up to which results or gaps reach."""
        gaps_end_ms = max([0, *(gap.end_ms for gap in self._stats.gaps[-1:])])
        if self._dropped is not None:
            gaps_end_ms = self._dropped.to_own(gaps_end_ms)
        return max(self._timeline.finals_end_ms, gaps_end_ms)

    def start_delivery(self, *, wants_events: bool) -> None:
        """Record that the caller iterates, and what: all events, or only results."""
        self._wants_events = wants_events
        for event in self._queue.settle(wants_events=wants_events):
            self._log_undelivered(event, self._task)

    def receive(self, task: RecognitionTask, event: CodecEvent) -> None:
        """Handle an event of the task that is read."""
        if type(event) is Result:  # most events are one of these two; matching a struct of another type is slow
            self.speech_detected.set()
            buffer = self._buffer
            sent_ms = buffer.cursor_ms if event.is_final and buffer.is_cuttable else None
            for placed in self._task_timeline.place_result(event, sent_ms):
                if type(placed) is Result:
                    self._deliver_result(placed)
                else:
                    self._deliver(placed, task)
            if event.is_final:
                self._record_final(task)
        elif type(event) is Usage:
            self._stats.record_usage(event.seconds)
        elif type(event) in ENDINGS:
            self._status.connection.record_ending(task, cast("Ending", event))
        else:
            self._receive_other(task, event)

    def _receive_other(self, task: RecognitionTask, event: CodecEvent) -> None:
        match event:
            case SpeechStarted() | SpeechEnded() | SpeechEnding() | TranslationArrived() | TranslationLost():
                self.speech_detected.set()
                for placed in self._task_timeline.place(event):
                    self._deliver(placed, task)
            case FinalPending():
                timer = self._loop.call_later(self._translation_s, self._release_late, event.segment_id)
                self._pending[event.segment_id] = timer, task
            case InputClosed():
                self._status.close_input()
            case Unheard():
                self._receive_unheard(event, task)
            case Unrecognised():
                self._log_unrecognised(event, task)
            case MembersLeftOut():
                self._log_left_out(event, task)
            case Started():  # of a vendor that does not answer the start at once, or answers twice
                pass
            case _:  # it may be the codec of another project
                raise TypeError(f"a value of type {type(event).__name__}, which is no event of a codec")

    def _receive_unheard(self, event: Unheard, task: RecognitionTask) -> None:
        """Report speech that the vendor found and sent no text for; without an end, up to the audio that was sent."""
        sent_ms = self._buffer.cursor_ms if self._buffer.is_cuttable else None
        place = self._task_timeline.place_unheard(event.start_ms, event.end_ms, sent_ms)
        if place is not None:
            self.record_gap(Gap(start_ms=place[0], end_ms=place[1], reason=event.reason), task)

    def _deliver(self, event: Event, task: RecognitionTask) -> None:
        """Deliver an event that has its place in the source."""
        if type(event) is Result:
            self._deliver_result(event)
            return
        if isinstance(event, SpeechEnded):
            if event.is_withdrawn:
                self._loss_marks.withdraw(event.segment_id)
            if self._timeline.is_between_segments:
                self.segment_ended.set()
            if self._awaited:
                self._complete_awaited()
        self._put(self._in_source(event), task)

    def _in_source(self, event: E) -> E:
        """Return an event with the times of the source, which count the audio that it has dropped."""
        return event if self._dropped is None else self._dropped.placed(event)

    def to_own_ms(self, source_ms: int) -> int:
        """Return the time in the audio that was sent for a time of the source."""
        return source_ms if self._dropped is None else self._dropped.to_own(source_ms)

    def _put(self, event: Event, task: RecognitionTask | None) -> None:
        """Deliver an event that is no result, if the caller wants it."""
        if self._wants_events:
            self._queue.put(event)
        elif self._wants_events is None:
            self._queue.hold(event)
        elif type(event) not in UNLOGGED:
            self._log_undelivered(event, task)

    def _log_undelivered(self, event: Event, task: RecognitionTask | None) -> None:
        """Log an event that a caller of results only should know of."""
        if isinstance(event, Gap):
            self._log.warning("%r: %r; session.gaps has it, session.events() delivers it", task, event)
        elif isinstance(event, TranslationArrived):
            self._log.warning("%r: a translation arrived after its final result; session.events() delivers it", task)
        elif isinstance(event, TranslationLost):
            self._log.warning("%r: no translation into %r: %s", task, event.language, event.reason)

    def _deliver_result(self, result: Result) -> None:
        own_end_ms = result.end_ms
        if self._dropped is not None:
            result = self._dropped.placed(result)
        if self._loss_marks.is_pending:
            result = self._loss_marks.apply(result)
        self._stats.record_result(result, self._loop.time(), own_end_ms)
        if own_end_ms > self._progress_ms:  # beyond the audio that was sent there is no progress
            self._record_progress(own_end_ms)
        self._queue.put(result)

    def _record_progress(self, end_ms: int) -> None:
        """Record that results cover more audio; beyond the audio that was sent there is none."""
        end_ms = min(end_ms, self._buffer.longest_sent_ms)
        if end_ms > self._progress_ms:
            self._progress_ms = end_ms
            self._queue.put_bytes = 0
            self._status.progress.set()

    def _record_final(self, task: RecognitionTask) -> None:
        """Let a replay begin behind a final; if it covers less than a frame more, there is no progress."""
        timeline, buffer = self._timeline, self._buffer
        covered_ms = timeline.covered_ms
        buffer.cover(covered_ms - KEPT_MS - timeline.longest_reach_ms)
        if buffer.is_cuttable:  # else each connection recognises all of the audio
            timeline.forget(min(covered_ms, buffer.cursor_ms))
        if timeline.finals_end_ms - self._finals_end_ms >= FRAME_MS:
            self._finals_end_ms = timeline.finals_end_ms
            self._policy.record_progress()
            task.record_final()
        if timeline.is_between_segments:
            self.segment_ended.set()
        if self._awaited:
            self._complete_awaited()

    # --- calls of `finalize` ----------------------------------------------------------------------------------------

    def await_final(self, mark: TaskEnd) -> None:
        """Complete a mark when everything up to the place that was sent is final; at once if it is."""
        self._awaited.append((self._buffer.cursor_ms, mark))
        self._complete_awaited()

    def _complete_awaited(self) -> None:
        for place_ms, mark in self._awaited:
            if self._timeline.is_final_until(place_ms):
                mark.complete()
        self._awaited = [(place_ms, mark) for place_ms, mark in self._awaited if not mark.is_done]

    @property
    def has_open_segment(self) -> bool:
        """True if a segment is without its final."""
        return not self._timeline.is_between_segments

    # --- names -------------------------------------------------------------------------------------------------------

    def _log_unrecognised(self, event: Unrecognised, task: RecognitionTask) -> None:
        for name in self._names_to_log((event.name,)):
            self._log.info("%r: unknown to this version: %s: %s", task, task.redacted(name), task.redacted(event.raw))

    def _log_left_out(self, event: MembersLeftOut, task: RecognitionTask) -> None:
        """Log the names of the members, each once; their values may hold what was said."""
        if new_names := self._names_to_log(event.names):
            names = task.redacted(", ".join(new_names))
            self._log.info("%r: left out of a message, since the value cannot be used: %s", task, names)

    def _names_to_log(self, names: Sequence[str]) -> list[str]:
        """Return the names that were not logged before, while there are not too many, and remember them."""
        reported = self._reported
        new_names: list[str] = []
        for name in names:
            if len(reported) >= MAX_REPORTED:
                break
            short_name = name[:MAX_NAME_CHARS]
            if short_name not in reported:
                reported.add(short_name)
                new_names.append(short_name)
        return new_names

    # --- pending finals ----------------------------------------------------------------------------------------------

    def _release_late(self, segment_id: int) -> None:
        """Deliver a final that has waited long enough for its translations."""
        self._release(segment_id)
        if self._status.codec_error is not None:
            self._status.end(self._status.codec_error)

    def _release(self, segment_id: int) -> None:
        """Deliver a pending final."""
        timer, task = self._pending.pop(segment_id)
        timer.cancel()
        self._receive_from(task, lambda: task.release_pending(segment_id))

    def release_all(self) -> None:
        """Deliver all pending finals: nothing more arrives that could belong to one."""
        for segment_id in list(self._pending):
            self._release(segment_id)
        self._report_lost_translations("the session ended before it arrived")

    def finish(self) -> None:
        """Withdraw the open segments of lost connections that were never recognised again."""
        for event in self._timeline.finish():
            self._put(self._in_source(event), self._task)

    def suspend(self) -> None:
        """Stop the timers of pending finals: the connection is lost, and the next one recognises them again.

        Finals that were delivered are not recognised again, so translations that they lack will not arrive.
        """
        for timer, _ in self._pending.values():
            timer.cancel()
        self._report_lost_translations("the connection was lost before it arrived")

    def _report_lost_translations(self, reason: str) -> None:
        task = self._task
        if task is not None:
            self._receive_from(task, lambda: task.lost_translations(reason))

    def _receive_from(self, task: RecognitionTask, events: Callable[[], list[CodecEvent]]) -> None:
        """Handle events that the codec returns outside of a message; if it fails, the session ends with its error."""
        try:
            for event in events():
                self.receive(task, event)
        except ASRError as error:
            self._status.codec_error = self._status.codec_error or error

    # --- from one connection to the next -----------------------------------------------------------------------------

    def begin(self, task: RecognitionTask, at_ms: int) -> None:
        """Receive from another task: its audio begins at `at_ms` in the source."""
        self.suspend()
        self._pending.clear()
        before, self._task = self._task, task
        is_from_untimed = before is not None and before.has_untimed_results and not task.has_untimed_results
        untimed_until_ms = self._buffer.longest_sent_ms if is_from_untimed else 0
        self._task_timeline = self._timeline.connect(at_ms, task.silence, untimed_until_ms=untimed_until_ms)
        self._status.progress.set()
        for event in task.opening_events:
            self.receive(task, event)

    def record_reconnect(self, at_ms: int, reason: str, task: RecognitionTask) -> None:
        """Record that a lost connection is replaced, from this place in the source on."""
        self._stats.record_reconnect()
        self._put(self._in_source(Reconnected(at_ms=at_ms, reason=reason)), task)

    def prepare_replay(self) -> int:
        """Let the replay that follows begin where final results end, or where a segment is open before that.

        Where audio can be cut, it begins a little earlier: the vendor's times may be off.

        Returns:
            The place up to which the source is covered: audio before it is not lost if it cannot be sent again.
        """
        covered_ms = self._timeline.covered_ms
        self._buffer.cover(self._timeline.replay_ms if self._buffer.is_cuttable else covered_ms)
        return covered_ms

    def limit(self, end_ms: int) -> None:
        """Record where the audio of the task that is read ends: its successor gets the rest."""
        self._task_timeline.limit_ms = end_ms

    def record_switch(self, at_ms: int, task: RecognitionTask) -> None:
        """Record that a drained task has delivered all results up to this place in the source."""
        self._buffer.cover(at_ms)
        for event in self._timeline.confirm(at_ms):
            self._deliver(event, task)
        self._stats.record_next_task()

    def extend_gap(self, gap: Gap | None, longer_gap: Gap) -> Gap:
        """Replace the gap at the end of the session, if there was one, by a longer one, unless the caller has it.

        Returns:
            The longer gap as it was reported.
        """
        longer_gap = self._in_source(longer_gap)
        self._stats.extend_gap(gap, longer_gap)
        if self._wants_events is not False:
            self._queue.replace(gap, longer_gap)
        return longer_gap

    def record_gap(self, gap: Gap, task: RecognitionTask) -> Gap:
        """Record audio that could not be kept for a replay, and return the gap as it was reported.

        `task` continues behind it. If the source has dropped audio in between, which is a gap already, there are
        several gaps, and the last one is returned.
        """
        gaps = [gap] if self._dropped is None else self._dropped.placed_gaps(gap)
        for placed in gaps:
            self._report_gap(placed, task)
        return gaps[-1]

    def _report_gap(self, gap: Gap, task: RecognitionTask) -> None:
        self._stats.record_gap(gap)
        self._loss_marks.add(gap)
        self._put(gap, task)

    def record_assumed_end(self, sent_ms: int | None, task: RecognitionTask) -> None:
        """Report the audio behind the last result of a task that the vendor ended by being quiet: it may hold words.

        Args:
            sent_ms: the place in the source up to which the task got audio; None if it is not known.
            task: the task.
        """
        covered_ms = self.covered_ms
        quiet_s = task.choice.description.quiet_end_s
        reason = f"the vendor does not confirm the end, and sent no more for {quiet_s:g} s behind the audio"
        if sent_ms is None:
            sent_ms, reason = covered_ms, f"{reason}; the length of the rest is not known"
        elif sent_ms - covered_ms <= UNCONFIRMED_MS:
            return
        self.record_gap(Gap(start_ms=covered_ms, end_ms=sent_ms, reason=reason), task)

    def record_dropped(self, dropped: DroppedAudio, task: RecognitionTask) -> None:
        """Record audio that the source has dropped behind the audio that was sent."""
        self._dropped = self._dropped or DroppedParts()
        start_ms, end_ms = self._dropped.add(self._buffer.cursor_ms, self._buffer.length_ms(dropped.size_bytes))
        self._report_gap(Gap(start_ms=start_ms, end_ms=end_ms, reason=dropped.reason), task)
