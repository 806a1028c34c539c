"""The segmenter: probabilities of speech in, segments of speech out.

Pure, and knows neither audio nor recognisers: it counts windows of 32 ms, the unit of the voice activity detector. A
segment begins with the first window of speech and ends with the last one before a pause. Speech without a pause is cut
at its least speech-like place.

Noise can look like speech for a moment, and a recogniser turns every noise into a word ("You"). So a segment exists
only once enough of its windows are speech.
"""

from __future__ import annotations

import msgspec

__all__ = ["LEAD_WINDOWS", "TAIL_WINDOWS", "WINDOW_MS", "WINDOW_SAMPLES", "Segment", "Segmenter"]

WINDOW_SAMPLES = 512
"""The window of the detector, at 16 kHz."""

WINDOW_MS = 32

SPEECH_FROM = 0.5
SPEECH_UNTIL = 0.35
"""Speech begins at the first probability and ends below the second: the figures of the detector's authors."""

PAUSE_WINDOWS = 16
"""The silence that ends a segment, 512 ms. With 300 ms sentences break into more segments, with more wrong words."""

CONFIRMING_WINDOWS = 6
"""The speech that a segment needs within twice that time, 192 ms: a short word has more, a click less."""

MAX_WINDOWS = 437
"""The longest segment, 14 s: the time and the memory of a decoder grow faster than the length."""

CUT_FROM_WINDOWS = 250
"""The earliest place of a cut, 8 s."""

CUT_BREADTH = 7
"""A cut is where the mean over this many windows, 224 ms, is lowest: in a gap between words rather than in a word."""

LEAD_WINDOWS = 6
TAIL_WINDOWS = 6
"""The audio before and behind a segment that is decoded with it, 192 ms."""


class Segment(msgspec.Struct, frozen=True):
    """A segment of speech, in windows from the start of the stream."""

    start: int
    speech: tuple[bool, ...]
    """One member for each window from `start` on: True for speech."""
    lead: int
    """The windows before the segment that can be decoded with it, at most `LEAD_WINDOWS`."""
    tail: int
    """The windows behind the segment that can be decoded with it, at most `TAIL_WINDOWS`."""

    @property
    def end(self) -> int:
        """The window behind the last one."""
        return self.start + len(self.speech)


class Segmenter:
    """The segments of one stream; at most one is open."""

    def __init__(self) -> None:
        self._windows = 0
        """The number of windows pushed."""
        self._free_from = 0
        """The end of the last segment: the lead of the next one begins there at the earliest."""
        self._start = 0
        self._probabilities: list[float] = []
        self._speech: list[bool] = []
        """Of the windows since the first speech; both are empty between segments."""
        self._silent = 0
        """The number of windows since the last speech."""
        self._is_confirmed = False

    def __repr__(self) -> str:
        state = f"open since window {self._start}" if self.open_segment else "no segment open"
        return f"<Segmenter: {self._windows} windows, {state}>"

    @property
    def silent_windows(self) -> int:
        """The windows since the last segment, or since the last speech of the open one."""
        segment = self.open_segment
        return self._windows - (segment.end if segment else self._free_from)

    @property
    def open_segment(self) -> Segment | None:
        """The present segment up to its last speech, None if none is open."""
        return self._segment(len(self._speech)) if self._is_confirmed else None

    @property
    def needed_from(self) -> int:
        """The first window of which the audio is still needed."""
        start = self._start if self._speech else self._windows
        return max(self._free_from, start - LEAD_WINDOWS)

    def push(self, probability: float) -> Segment | None:
        """Add a window; return the segment that ends with it, None if none does."""
        in_speech = bool(self._speech) and self._silent == 0
        is_speech = probability >= (SPEECH_UNTIL if in_speech else SPEECH_FROM)
        self._windows += 1
        self._silent = 0 if is_speech else self._silent + 1
        if not self._speech:
            if not is_speech:
                return None
            self._start = self._windows - 1
        self._probabilities.append(probability)
        self._speech.append(is_speech)
        self._confirm()
        if self._silent >= PAUSE_WINDOWS:
            return self.finish()
        return self._cut() if len(self._speech) >= MAX_WINDOWS else None

    def _confirm(self) -> None:
        """Confirm the segment once it has enough speech; what is too old to count is dropped."""
        if not self._is_confirmed:
            if len(self._speech) > 2 * CONFIRMING_WINDOWS:
                self._drop(1)
            self._is_confirmed = sum(self._speech) >= CONFIRMING_WINDOWS

    def finish(self) -> Segment | None:
        """End the open segment; return it, None if none is open."""
        segment = self.open_segment
        if segment is not None:
            self._free_from = segment.end
        self._drop(len(self._speech))
        self._is_confirmed = False
        return segment

    def _cut(self) -> Segment | None:
        """End the segment at its least speech-like place; what is behind it is the next segment."""
        half = CUT_BREADTH // 2
        places = range(CUT_FROM_WINDOWS, len(self._speech) - half)
        place = min(places, key=lambda at: (sum(self._probabilities[at - half : at + half + 1]), -at))
        segment = self._segment(place)
        self._free_from = self._start + place
        self._drop(place)
        self._is_confirmed = bool(self._speech)  # the rest continues speech, however short it is
        return segment

    def _segment(self, windows: int) -> Segment | None:
        """Return the segment from the first window to the last speech before this number of windows."""
        speech = self._speech[:windows]
        while speech and not speech[-1]:
            speech.pop()
        if not speech:
            return None
        return Segment(
            start=self._start,
            speech=tuple(speech),
            lead=min(LEAD_WINDOWS, self._start - self._free_from),
            tail=min(TAIL_WINDOWS, windows - len(speech)),
        )

    def _drop(self, windows: int) -> None:
        """Remove this many windows, and the silence behind them."""
        while windows < len(self._speech) and not self._speech[windows]:
            windows += 1
        self._start += windows
        del self._probabilities[:windows], self._speech[:windows]
