"""The figures of `session.stats`, counted as they come about, and reported to the observers of the session.

Does not know clocks: instants are arguments, in seconds of any clock.
"""

from __future__ import annotations

import bisect
import math
from array import array
from collections.abc import Mapping
from itertools import pairwise
from typing import TypeVar

import msgspec

from ..audio import AudioFormat
from ..results import Gap, Result, SessionStats, with_times
from ..telemetry.observer import Observer, SessionObservers
from .pacer import Pacer

__all__ = ["AudioClock", "DroppedParts", "LossMarks", "SpeechClock", "StatsRecorder"]

T = TypeVar("T", bound=msgspec.Struct)

MAX_SENDS = 6_000
"""The sends that an `AudioClock` keeps: ten minutes of frames; the vendors cut a segment at one."""

RECORDED_EVERY_S = 1.0
MAX_RECORDED = 240
"""The sends that a `SpeechClock` keeps: four minutes, in less than 4 KiB."""

MAX_PARTS = 1_000
"""The dropped parts that a session remembers; no result is further behind."""

MAX_GAPS = 10_000
"""The gaps that a session remembers; each one costs it a connection, or a vendor its answer to speech."""


class AudioClock:
    """The instants at which the audio of a source was sent, by position: kept only for a session with observers."""

    __slots__ = ("_known_from", "_positions", "_sent_at")

    def __init__(self) -> None:
        # positions behind each frame, ascending, and the instants of their sends
        self._positions: list[int] = []
        self._sent_at: list[float] = []
        # the position up to which the instants were dropped
        self._known_from = 0

    def __repr__(self) -> str:
        return f"<AudioClock {len(self._positions)} sends>"

    def record(self, end_bytes: int, now: float) -> None:
        """Record that the audio up to this position was sent; a replay replaces earlier instants."""
        if self._positions and self._positions[-1] >= end_bytes:
            self._drop_from(bisect.bisect_left(self._positions, end_bytes))
        self._positions.append(end_bytes)
        self._sent_at.append(now)
        if len(self._positions) > MAX_SENDS:
            self._known_from = self._positions[MAX_SENDS // 2 - 1]
            del self._positions[: MAX_SENDS // 2]
            del self._sent_at[: MAX_SENDS // 2]

    def sent_at(self, position_bytes: int) -> float | None:
        """Return the instant at which the audio before a position was completely sent; None if it is not known.

        A position beyond the last send counts as that: vendors' times jitter.
        """
        if not self._positions or position_bytes <= self._known_from:
            return None
        index = bisect.bisect_left(self._positions, position_bytes)
        return self._sent_at[min(index, len(self._positions) - 1)]

    def _drop_from(self, index: int) -> None:
        del self._positions[index:]
        del self._sent_at[index:]


class SpeechClock:
    """The instants at which the audio of a source was sent for the first time, of the last minutes, by position.

    For audio that waited for a connection, it is the instant at which it arrived.
    It keeps one send per second. The sends between two are computed: in real time, or faster if the audio came faster.
    """

    __slots__ = ("_frame_bytes", "_known_from", "_positions", "_rate", "_sent_at")

    def __init__(self, audio_format: AudioFormat, bytes_per_second: int) -> None:
        self._frame_bytes = audio_format.frame_bytes()
        self._rate = bytes_per_second
        # positions behind frames, ascending, and the instants of their sends
        self._positions = array("q")
        self._sent_at = array("d")
        # the position up to which the instants were dropped
        self._known_from = -1

    def __repr__(self) -> str:
        return f"<SpeechClock {len(self._positions)} sends>"

    def record(self, end_bytes: int, now: float) -> None:
        """Record that the audio up to this position was sent, if a second has passed."""
        if self._positions and (now < self._sent_at[-1] + RECORDED_EVERY_S or end_bytes <= self._positions[-1]):
            return
        self._append(end_bytes, now)

    def record_arrival(self, end_bytes: int, now: float) -> None:
        """Record that the audio up to this position has arrived, although there was no connection to send it to."""
        if self._positions and end_bytes > self._positions[-1]:
            self._append(end_bytes, now)

    def _append(self, end_bytes: int, now: float) -> None:
        self._positions.append(end_bytes)
        self._sent_at.append(now)
        if len(self._positions) > MAX_RECORDED:
            self._known_from = self._positions[MAX_RECORDED // 2 - 1]
            del self._positions[: MAX_RECORDED // 2]
            del self._sent_at[: MAX_RECORDED // 2]

    def sent_at(self, position_bytes: int) -> float | None:
        """Return the instant at which the audio at a position was sent; None if it is not known any more."""
        if not self._positions or position_bytes <= self._known_from:
            return None
        index = bisect.bisect_left(self._positions, position_bytes)
        if index == len(self._positions):
            return self._sent_at[-1] + (position_bytes - self._positions[-1]) / self._rate
        begin_bytes = self._positions[index] - self._frame_bytes
        if index == 0 or position_bytes > begin_bytes:
            return self._sent_at[index]
        before_bytes, before_at = self._positions[index - 1], self._sent_at[index - 1]
        length_bytes = begin_bytes - before_bytes
        length_s = min(self._sent_at[index] - before_at, length_bytes / self._rate)
        return before_at + length_s * (position_bytes - before_bytes) / length_bytes


class LossMarks:
    """The marks of lost audio on results: `Result.lost_before_ms`.

    The first segment behind a gap bears the mark, on its interims and on its final; of two open segments, the one that
    begins earlier. If the segment is withdrawn, the mark goes to the next one.
    """

    __slots__ = ("_lost_ms", "_segment", "_start_ms", "is_pending")

    def __init__(self) -> None:
        self.is_pending = False
        """True if lost audio is not on a final yet. Read for each result."""
        self._lost_ms = 0
        self._start_ms = 0
        # the newest result of the segment that bears the mark
        self._segment: Result | None = None

    def __repr__(self) -> str:
        return f"<LossMarks {self._lost_ms} ms>"

    def add(self, gap: Gap) -> None:
        """Mark the next segment: this audio is lost in front of it."""
        self._start_ms = min(self._start_ms, gap.start_ms) if self.is_pending else gap.start_ms
        self._lost_ms += gap.end_ms - gap.start_ms
        self.is_pending = self._lost_ms > 0

    def withdraw(self, segment_id: int) -> None:
        """Give the mark of a segment that gets no final to the next one."""
        if self._segment is not None and self._segment.segment_id == segment_id:
            self._segment = None

    def apply(self, result: Result) -> Result:
        """Return the result, with the mark if its segment bears it."""
        bearer = self._segment
        if bearer is None:
            bears_mark = result.start_ms >= self._start_ms
        else:
            is_earlier = self._start_ms <= result.start_ms < bearer.start_ms
            bears_mark = bearer.segment_id == result.segment_id or is_earlier
        if not bears_mark:
            return result
        marked = msgspec.structs.replace(result, lost_before_ms=self._lost_ms)
        self._segment = marked
        if result.is_final:
            self._segment, self._lost_ms, self.is_pending = None, 0, False
        return marked


class DroppedParts:
    """The parts of a source that were dropped before they were sent: the source's times count them.

    All other parts of a session count the audio that is sent: its *own* times.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        # the own place of each part, and the length of all parts up to it, without and with it
        self._parts: list[tuple[int, int, int]] = []

    def __repr__(self) -> str:
        return f"<DroppedParts {len(self._parts)}>"

    def add(self, own_ms: int, length_ms: int) -> tuple[int, int]:
        """Add a part behind all others, and return where it begins and ends in the source."""
        parts = self._parts
        begin_ms = before_ms = parts[-1][2] if parts else 0
        if parts and parts[-1][0] == own_ms:
            before_ms = parts.pop()[1]
        parts.append((own_ms, before_ms, begin_ms + length_ms))
        del parts[:-MAX_PARTS]
        return own_ms + begin_ms, own_ms + begin_ms + length_ms

    def to_source(self, own_ms: int, *, is_end: bool = False) -> int:
        """Return a time in the source; where a part was dropped, an end is in front of it and a start behind it."""
        for at_ms, _, behind_ms in reversed(self._parts):
            if own_ms > at_ms or (own_ms == at_ms and not is_end):
                return own_ms + behind_ms
        return own_ms + self._forgotten_ms

    def to_own(self, source_ms: int) -> int:
        """Return the own time for a time in the source; for one in a part that was dropped, its place."""
        for at_ms, before_ms, behind_ms in reversed(self._parts):
            if source_ms >= at_ms + behind_ms:
                return source_ms - behind_ms
            if source_ms >= at_ms + before_ms:
                return at_ms
        return source_ms - self._forgotten_ms

    @property
    def _forgotten_ms(self) -> int:
        """The length of all parts that are not kept any more."""
        return self._parts[0][1] if self._parts else 0

    def placed(self, event: T) -> T:
        """Return an event with times in the source."""
        return with_times(event, lambda time_ms, is_end: self.to_source(time_ms, is_end=is_end))

    def placed_gaps(self, gap: Gap) -> list[Gap]:
        """Return a gap with times in the source: its parts between dropped ones, which have gaps of their own."""
        cuts_ms = [at_ms for at_ms, _, _ in self._parts if gap.start_ms < at_ms < gap.end_ms]
        return [
            self.placed(msgspec.structs.replace(gap, start_ms=start_ms, end_ms=end_ms))
            for start_ms, end_ms in pairwise([gap.start_ms, *cuts_ms, gap.end_ms])
        ]


class StatsRecorder:
    """The figures of one session, and its gaps."""

    __slots__ = (
        "_finals",
        "_first_result_at",
        "_format",
        "_last_result_at",
        "_lost_ms",
        "_observed",
        "_past_usage_seconds",
        "_reconnects",
        "_replayed_ms",
        "_reports_frames",
        "_silence_bytes",
        "_speech_clock",
        "_task_usage_seconds",
        "audio_started_at",
        "finished_at",
        "gaps",
        "pacer",
        "record_at",
        "results_received",
    )

    def __init__(self, audio_format: AudioFormat, observers: SessionObservers | None = None) -> None:
        self._format = audio_format
        # the observers, with the clock that the delays of finals need; None if there are none
        self._observed = None if observers is None else (observers, AudioClock())
        self._reports_frames = observers is not None and observers.calls(Observer.on_audio_sent)
        # the clock of `sent_at`, from the first audio on; None for compressed audio
        self._speech_clock: SpeechClock | None = None
        self.record_at = -math.inf
        """The instant from which on the next send is to be recorded. Read for each frame."""
        self.results_received = 0
        self._finals = 0
        self._first_result_at: float | None = None
        self._last_result_at: float | None = None
        self._reconnects = 0
        self._replayed_ms = 0
        self._past_usage_seconds = 0.0
        self._task_usage_seconds: float | None = None
        self._lost_ms = 0
        self.gaps: list[Gap] = []
        """The newest `MAX_GAPS` gaps."""
        self._silence_bytes = 0
        # the instants of the first frame, and of the announcement that no more audio comes
        self.audio_started_at: float | None = None
        self.finished_at: float | None = None
        self.pacer: Pacer | None = None

    def __repr__(self) -> str:
        return f"<StatsRecorder {self.results_received} results, {self._finals} of them final>"

    def record_send(self, now: float, size_bytes: int, end_bytes: int, *, is_repeat: bool = False) -> None:
        """Record a frame that was sent: the audio up to `end_bytes` in the source.

        One frame in a second is recorded (`record_at`), and the first behind audio that is sent again (`is_repeat`);
        for observers, every one.
        """
        if self.audio_started_at is None:
            self.audio_started_at = now
            if (bytes_per_second := self._format.bytes_per_second) is not None:
                self._speech_clock = SpeechClock(self._format, bytes_per_second)
        if self._speech_clock is not None and not is_repeat:
            self._speech_clock.record(end_bytes, now)
        if self._observed is None and not is_repeat:
            self.record_at = now + RECORDED_EVERY_S
        if self._observed is not None:
            observers, audio_clock = self._observed
            audio_clock.record(end_bytes, now)
            if not self._reports_frames:
                return
            duration_ms = None if self._format.bytes_per_second is None else self._format.to_ms(size_bytes)
            observers.notify(Observer.on_audio_sent, size_bytes=size_bytes, duration_ms=duration_ms)

    def record_arrival(self, now: float, end_bytes: int) -> None:
        """Record the audio that has arrived while there was no connection to send it to."""
        if self._speech_clock is not None:
            self._speech_clock.record_arrival(end_bytes, now)

    def sent_at(self, own_ms: int) -> float | None:
        """Return the instant at which the audio at this place was sent; None if it is not known."""
        return None if self._speech_clock is None else self._speech_clock.sent_at(self._format.to_bytes(own_ms))

    def record_silence(self, size_bytes: int) -> None:
        """Record silence that was sent in place of audio."""
        self._silence_bytes += size_bytes

    def record_usage(self, seconds: float) -> None:
        """Record the usage that the vendor has reported for the present task so far."""
        self._task_usage_seconds = seconds

    def record_replay(self, length_ms: int) -> None:
        """Record audio that is to be sent again."""
        self._replayed_ms += length_ms

    def record_reconnect(self) -> None:
        """Record that a lost connection was replaced."""
        self._reconnects += 1
        self.record_next_task()

    def record_next_task(self) -> None:
        """Record that the usage reported from now on is for another task."""
        if self._task_usage_seconds is not None:
            self._past_usage_seconds += self._task_usage_seconds
            self._task_usage_seconds = None

    def record_result(self, result: Result, now: float, own_end_ms: int) -> None:
        """Record a result that was received; it ends at `own_end_ms` in the audio that was sent."""
        self.results_received += 1
        self._finals += result.is_final
        self._last_result_at = now
        if self._first_result_at is None:
            self._first_result_at = now
        if self._observed is not None:
            self._report_result(*self._observed, result, now, own_end_ms)

    def _report_result(
        self, observers: SessionObservers, audio_clock: AudioClock, result: Result, now: float, own_end_ms: int
    ) -> None:
        if self.results_received == 1:
            started_at = self.audio_started_at
            observers.notify(Observer.on_first_result, delay_s=None if started_at is None else now - started_at)
        if result.is_final:
            sent_at = None
            if self._format.bytes_per_second is not None:
                sent_at = audio_clock.sent_at(self._format.to_bytes(own_end_ms))
            observers.notify(Observer.on_final, result, delay_s=None if sent_at is None else now - sent_at)

    def record_gap(self, gap: Gap) -> None:
        """Record audio that is missing from the transcript."""
        self._lost_ms += gap.end_ms - gap.start_ms
        self.gaps.append(gap)
        del self.gaps[:-MAX_GAPS]
        if self._observed is not None:
            self._observed[0].notify(Observer.on_gap, gap)

    def extend_gap(self, gap: Gap | None, longer_gap: Gap) -> None:
        """Replace the last gap, if it is `gap`, by a longer one; observers have the first one."""
        if gap is not None and self.gaps and self.gaps[-1] is gap:
            self.gaps.pop()
            self._lost_ms -= gap.end_ms - gap.start_ms
        self.gaps.append(longer_gap)
        self._lost_ms += longer_gap.end_ms - longer_gap.start_ms

    def snapshot(
        self,
        request_id: str,
        *,
        sent_ms: int | None,
        conflated: int,
        member: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> SessionStats:
        """Return the figures as they stand.

        Args:
            request_id: the id of the present task.
            sent_ms: the audio of the source that was sent at least once; a replay does not count again. None if its
                length is not known.
            conflated: the interims that the caller did not get, because a newer one replaced them.
            member: the member that the present task is at.
            tags: the tags of the session.
        """
        is_compressed = self._format.bytes_per_second is None
        return SessionStats(
            request_id=request_id,
            first_result_ms=_elapsed_ms(self.audio_started_at, self._first_result_at),
            last_result_ms=_elapsed_ms(self.finished_at, self._last_result_at),
            audio_sent_ms=sent_ms,
            usage_seconds=self._usage_seconds,
            pacer_lateness_max_ms=round(1000 * self.pacer.lateness_max_s, 3) if self.pacer else 0.0,
            interims_conflated=conflated,
            results_received=self.results_received,
            finals_received=self._finals,
            reconnects=self._reconnects,
            lost_ms=self._lost_ms,
            replayed_ms=self._replayed_ms,
            member=member,
            silence_sent_ms=0 if is_compressed else self._format.to_ms(self._silence_bytes),
            tags=tags or {},
        )

    @property
    def _usage_seconds(self) -> float | None:
        if self._task_usage_seconds is None:
            return self._past_usage_seconds or None
        return self._past_usage_seconds + self._task_usage_seconds


def _elapsed_ms(start: float | None, end: float | None) -> float | None:
    """Return the milliseconds between two instants: 0 if the end came first, None if one has not come."""
    if start is None or end is None:
        return None
    return round(1000 * max(0.0, end - start), 3)
