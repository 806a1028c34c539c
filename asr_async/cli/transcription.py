"""The transcription of one source, as `transcribe` and `mic` show it: its text, its notes and its summary.

Does not know files, sessions or terminals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._text.lines import one_line
from ..results import Gap, Result, SpeechEnded, shown_text
from .transcript_formats import clock_tenths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..results import Event, SessionStats
    from .display import FileDisplay
    from .transcript_formats import Writer

__all__ = ["Transcription", "count_of", "summary_line"]

MAX_NOTES = 5
"""The gaps of one source that have a line of their own on standard error."""


class Transcription:
    """The transcription of one source: its text, the interim that is shown, and the notes about what is uncertain."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.words: int = 0
        self.gaps: list[Gap] = []
        self._unconfirmed = 0
        self._repeating = 0
        # the segment of the interim that is shown
        self._shown_segment: int | None = None

    def show(self, event: Event, display: FileDisplay) -> None:
        """Write what an event adds to the transcript, and show or remove an interim."""
        match event:
            case Result(is_final=True):
                self._count(event)
                self._shown_segment = None
                display.show(self.writer.final(event), "")
            case Result():
                self._shown_segment = event.segment_id
                display.show(self.writer.interim(event), one_line(shown_text(event)))
            case SpeechEnded(is_withdrawn=True, segment_id=self._shown_segment):
                display.show("", "")
            case Gap():
                self.gaps.append(event)
                if text := self.writer.gap(event):
                    display.show(text, "")

    def _count(self, final: Result) -> None:
        self.words += len(final.words) or len(shown_text(final).split())
        self._unconfirmed += not final.is_confirmed
        self._repeating += final.may_repeat

    def notes(self) -> Iterator[str]:
        """Yield a line for each gap, and one for each kind of uncertain results."""
        for gap in self.gaps[:MAX_NOTES]:
            lost = f"{(gap.end_ms - gap.start_ms) / 1000:.1f} s of audio" if gap.end_ms > gap.start_ms else "audio"
            yield f"{lost} missing from {clock_tenths(gap.start_ms)} on: {one_line(gap.reason)}"
        if more := self.gaps[MAX_NOTES:]:
            yield f"{sum(gap.end_ms - gap.start_ms for gap in more) / 1000:.1f} s missing in {len(more)} further gaps"
        if self._unconfirmed:
            yield f"results that the vendor showed and did not confirm as final: {self._unconfirmed}"
        if self._repeating:
            yield f"results that may repeat words of the result before them: {self._repeating}"


def summary_line(words: int, stats: SessionStats, seconds: float) -> str:
    """Return the summary of a finished session on one line.

    Args:
        words: the number of recognised words.
        stats: the statistics of the finished session.
        seconds: the time from the start of the stream to the last result.
    """
    parts = [count_of(words, "word")]
    if stats.first_result_ms is not None:
        parts.append(f"first result after {stats.first_result_ms:.0f} ms")
    audio = "" if stats.audio_sent_ms is None else f"{stats.audio_sent_ms / 1000:.1f} s of audio in "
    return " · ".join([*parts, f"{audio}{seconds:.1f} s"])


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 word" and "2 words"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
