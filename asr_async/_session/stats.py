"""What `session.stats` shows, counted as it happens. Instants are arguments, in seconds of whatever clock."""

from __future__ import annotations

from ..audio import AudioFormat
from ..results import Result, SessionStats
from .pacer import Pacer

__all__ = ["StatsRecorder"]


class StatsRecorder:
    """The figures of one session, as they come about."""

    __slots__ = (
        "_finals",
        "_first_result_at",
        "_format",
        "_last_result_at",
        "_past_usage_seconds",
        "_reconnects",
        "_results",
        "_silence_bytes",
        "_task_usage_seconds",
        "audio_started_at",
        "finished_at",
        "lost_ms",
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
        self.audio_started_at: float | None = None
        self.finished_at: float | None = None
        self.lost_ms = 0
        self._silence_bytes = 0
        self.pacer: Pacer | None = None

    def sent_silence(self, size_bytes: int) -> None:
        """Silence was handed to the connection in place of audio."""
        self._silence_bytes += size_bytes

    def used(self, seconds: float) -> None:
        """The vendor says what it bills for the task of this connection so far."""
        self._task_usage_seconds = seconds

    def reconnected(self) -> None:
        """A lost connection was replaced."""
        self._reconnects += 1
        self.next_task()

    def next_task(self) -> None:
        """What the vendor bills from now on is for another task."""
        if self._task_usage_seconds is not None:
            self._past_usage_seconds += self._task_usage_seconds
            self._task_usage_seconds = None

    def received(self, result: Result, now: float) -> None:
        """A result came in."""
        self._results += 1
        self._finals += result.is_final
        self._last_result_at = now
        if self._first_result_at is None:
            self._first_result_at = now

    def snapshot(self, request_id: str, *, sent_bytes: int, conflated: int, member: str | None = None) -> SessionStats:
        """The figures as they stand, with what others count.

        `sent_bytes` is how much of the source was handed to the connection; what is sent again does not count again.
        """
        compressed = self._format.bytes_per_second is None
        return SessionStats(
            request_id=request_id,
            first_result_ms=_elapsed_ms(self.audio_started_at, self._first_result_at),
            last_result_ms=_elapsed_ms(self.finished_at, self._last_result_at),
            audio_sent_ms=None if compressed else self._format.to_ms(sent_bytes),
            usage_seconds=self._usage_seconds,
            pacer_lateness_max_ms=round(1000 * self.pacer.lateness_max_s, 3) if self.pacer else 0.0,
            interims_conflated=conflated,
            results_received=self._results,
            finals_received=self._finals,
            reconnects=self._reconnects,
            lost_ms=self.lost_ms,
            member=member,
            silence_sent_ms=0 if compressed else self._format.to_ms(self._silence_bytes),
        )

    @property
    def _usage_seconds(self) -> float | None:
        if self._task_usage_seconds is None:
            return self._past_usage_seconds or None
        return self._past_usage_seconds + self._task_usage_seconds


def _elapsed_ms(start: float | None, end: float | None) -> float | None:
    """None when either has not happened, or the end came first."""
    if start is None or end is None or end < start:
        return None
    return round(1000 * (end - start), 3)
