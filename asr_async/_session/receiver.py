"""From what the connections of a session say to the one line of events that its caller sees.

Each event is placed on the session's time line, a final result waits here for translations that still belong to it, and
the rest of the session learns from here how far the results have got. It does not know sockets, audio or the caller.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from .._loop.event import LightEvent
from ..results import Gap, Reconnected, Result, SpeechEnded, SpeechEnding, SpeechStarted, TranslationArrived
from ..vendors.codec import DeferringCodec, FinalPending, Unrecognised, Usage
from .timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._connection.task import RecognitionTask
    from ..vendors.codec import CodecEvent
    from .policy import RetryBudget
    from .replay_buffer import ReplayBuffer
    from .result_queue import ResultQueue
    from .stats import StatsRecorder

__all__ = ["Receiver"]

logger = logging.getLogger("asr_async")


class Receiver:
    """Takes in what the codecs say, puts into the outbox what the caller should have."""

    __slots__ = (
        "_ledger",
        "_loop",
        "_meter",
        "_on_other",
        "_outbox",
        "_progress_ms",
        "_recovery",
        "_reported",
        "_stretch",
        "_timeline",
        "_translation_s",
        "_waiting",
        "progress",
        "segment_ended",
        "something_heard",
        "wants_events",
    )

    def __init__(
        self,
        outbox: ResultQueue,
        meter: StatsRecorder,
        ledger: ReplayBuffer,
        recovery: RetryBudget,
        *,
        translation_s: float,
        on_other: Callable[[RecognitionTask, CodecEvent], None],
    ) -> None:
        """Share what the session has; `on_other` learns what is no affair of the caller's, but of the task."""
        self._outbox = outbox
        self._meter = meter
        self._ledger = ledger
        self._recovery = recovery
        self._translation_s = translation_s
        self._on_other = on_other
        self._loop = asyncio.get_running_loop()
        self._timeline = Timeline()
        self._stretch = self._timeline.stretch(0)
        self.wants_events = False
        # results have got further in the audio, or might now; a segment has ended
        self.progress = LightEvent()
        self.segment_ended = LightEvent()
        # the vendor heard something, for the first time in this session
        self.something_heard = LightEvent()
        self._progress_ms = -1
        # finals that wait for a translation, by segment: until when, and who has them
        self._waiting: dict[int, tuple[asyncio.TimerHandle, RecognitionTask]] = {}
        self._reported: set[str] = set()

    def __repr__(self) -> str:
        return f"<Receiver {self._timeline!r}, {len(self._waiting)} waiting>"

    @property
    def has_finals(self) -> bool:
        """Whether anything is final."""
        return self._timeline.has_finals

    def take(self, link: RecognitionTask, event: CodecEvent) -> None:
        """Take in what the link says."""
        if type(event) is Result:  # most are one of these two; to match a struct of another kind is dear
            self.something_heard.set()
            if (placed := self._stretch.place(event)) is not None:
                self._deliver(placed, link)
        elif type(event) is Usage:
            self._meter.used(event.seconds)
        else:
            self._take_other(link, event)

    def _take_other(self, link: RecognitionTask, event: CodecEvent) -> None:
        match event:
            case SpeechStarted() | SpeechEnded() | SpeechEnding() | TranslationArrived():
                self.something_heard.set()
                placed = self._stretch.place(event)
                if placed is not None and self.wants_events:
                    self._outbox.put(placed)
                elif isinstance(placed, TranslationArrived):
                    logger.warning("%r: a translation came after its final, which session.events() would show", link)
            case FinalPending():
                timer = self._loop.call_later(self._translation_s, self._give_out, event.segment_id)
                self._waiting[event.segment_id] = timer, link
            case Unrecognised():
                self._report_once(event, link)
            case _:
                self._on_other(link, event)

    def _deliver(self, result: Result, link: RecognitionTask) -> None:
        self._meter.received(result, self._loop.time())
        if result.is_final:
            self._note_final(link)
        if result.end_ms > self._progress_ms:
            self._progress_ms = result.end_ms
            self.progress.set()
        self._outbox.put(result)

    def _note_final(self, link: RecognitionTask) -> None:
        self._ledger.cover(self._timeline.covered_ms)
        self._recovery.made_progress()
        link.record_final()
        if self._timeline.is_between_segments:
            self.segment_ended.set()

    def _report_once(self, event: Unrecognised, link: RecognitionTask) -> None:
        if event.name not in self._reported:
            self._reported.add(event.name)
            logger.info("%r: unknown to this version: %s: %.200s", link, event.name, event.raw)

    # --- finals that wait --------------------------------------------------------------------------------------------

    def _give_out(self, segment_id: int) -> None:
        """A final has waited long enough for what may still belong to it."""
        timer, link = self._waiting.pop(segment_id)
        timer.cancel()
        if isinstance(link.codec, DeferringCodec):
            for event in link.codec.release_pending(segment_id):
                self.take(link, event)

    def give_out_all(self) -> None:
        """Nothing more comes that could belong to a final."""
        for segment_id in list(self._waiting):
            self._give_out(segment_id)

    def suspend(self) -> None:
        """The connection is lost: what waits goes on waiting, for one on which it will be heard again, or the end."""
        for timer, _ in self._waiting.values():
            timer.cancel()

    # --- from one connection to the next -----------------------------------------------------------------------------

    def begin(self, link: RecognitionTask, at_ms: int = 0) -> None:
        """What is taken in from now on is of a connection that hears the source from here on."""
        self._stretch = self._timeline.stretch(at_ms, link.silence)
        self.suspend()
        self._waiting.clear()
        self.progress.set()

    def begin_again(self, link: RecognitionTask, at_ms: int, reason: str) -> None:
        """This connection takes the place of one that was lost."""
        self.begin(link, at_ms)
        self._meter.reconnected()
        if self.wants_events:
            self._outbox.put(Reconnected(at_ms=at_ms, reason=reason))

    def go_on(self, link: RecognitionTask, at_ms: int) -> None:
        """The connection before this one has told everything up to here."""
        self.begin(link, at_ms)
        self._ledger.cover(at_ms)
        self._meter.next_task()

    def tell_gap(self, gap: Gap, link: RecognitionTask) -> None:
        """Audio had to be given up before this connection, which goes on behind it."""
        self._meter.lost_ms += gap.end_ms - gap.start_ms
        if self.wants_events:
            self._outbox.put(gap)
        else:
            logger.warning("%r: %r, which session.events() would show", link, gap)
