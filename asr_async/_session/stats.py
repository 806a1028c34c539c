"""The figures of `session.stats`, counted as they come about.

Does not know clocks: instants are arguments, in seconds of any clock.
"""

from __future__ import annotations

from ..audio import AudioFormat
from ..results import Gap, Result, SessionStats
from .pacer import Pacer

__all__ = ["StatsRecorder"]


class StatsRecorder:
    """The figures of one session."""

    __slots__ = (
        "_finals",
        "_first_result_at",
        "_format",
        "_last_result_at",
        "_lost_ms",
        "_past_usage_seconds",
        "_reconnects",
        "_results",
        "_silence_bytes",
        "_task_usage_seconds",
        "audio_started_at",
        "finished_at",
        "pacer",
    )

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self._results = 0
        self._finals = 0
        self._first_result_at: float | None = None
        self._last_result_at: float | None = None
        self._reconnects = 0
        self._past_usage_seconds = 0.0
        self._task_usage_seconds: float | None = None
        self._lost_ms = 0
        self._silence_bytes = 0
        # the instants of the first frame, and of the announcement that no more audio comes
        self.audio_started_at: float | None = None
        self.finished_at: float | None = None
        self.pacer: Pacer | None = None

    def __repr__(self) -> str:
        return f"<StatsRecorder {self._results} results, {self._finals} of them final>"

    def record_silence(self, size_bytes: int) -> None:
        """Record silence that was sent in place of audio."""
        self._silence_bytes += size_bytes

    def record_usage(self, seconds: float) -> None:
        """Record the usage that the vendor has reported for the present task so far."""
        self._task_usage_seconds = seconds

    def record_reconnect(self) -> None:
        """Record that a lost connection was replaced."""
        self._reconnects += 1
        self.record_next_task()

    def record_next_task(self) -> None:
        """Record that the usage reported from now on is for another task."""
        if self._task_usage_seconds is not None:
            self._past_usage_seconds += self._task_usage_seconds
            self._task_usage_seconds = None

    def record_result(self, result: Result, now: float) -> None:
        """Record a result that was received."""
        self._results += 1
        self._finals += result.is_final
        self._last_result_at = now
        if self._first_result_at is None:
            self._first_result_at = now

    def record_gap(self, gap: Gap) -> None:
        """Record audio that is missing from the transcript."""
        self._lost_ms += gap.end_ms - gap.start_ms

    def snapshot(self, request_id: str, *, sent_bytes: int, conflated: int, member: str | None = None) -> SessionStats:
        """Return the figures as they stand.

        Args:
            request_id: the id of the present task.
            sent_bytes: the audio of the source that was sent at least once; a replay does not count again.
            conflated: the interims that the caller did not get, because a newer one replaced them.
            member: the member that the present task is at.
        """
        is_compressed = self._format.bytes_per_second is None
        return SessionStats(
            request_id=request_id,
            first_result_ms=_elapsed_ms(self.audio_started_at, self._first_result_at),
            last_result_ms=_elapsed_ms(self.finished_at, self._last_result_at),
            audio_sent_ms=None if is_compressed else self._format.to_ms(sent_bytes),
            usage_seconds=self._usage_seconds,
            pacer_lateness_max_ms=round(1000 * self.pacer.lateness_max_s, 3) if self.pacer else 0.0,
            interims_conflated=conflated,
            results_received=self._results,
            finals_received=self._finals,
            reconnects=self._reconnects,
            lost_ms=self._lost_ms,
            member=member,
            silence_sent_ms=0 if is_compressed else self._format.to_ms(self._silence_bytes),
        )

    @property
    def _usage_seconds(self) -> float | None:
        if self._task_usage_seconds is None:
            return self._past_usage_seconds or None
        return self._past_usage_seconds + self._task_usage_seconds


def _elapsed_ms(start: float | None, end: float | None) -> float | None:
    """Return the milliseconds between two instants; None if one has not come, or the end came first."""
    if start is None or end is None or end < start:
        return None
    return round(1000 * (end - start), 3)
