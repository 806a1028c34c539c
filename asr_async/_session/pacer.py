"""When the next frame of audio may be sent.

Pure rules: time is an argument, nothing here waits. All instants and lengths are seconds, sizes are bytes.

The rules:

1. *Schedule.* Each frame is due when the audio before it has passed at the chosen pace, counted from the moment the
   source was first asked; the first goes at once. The schedule counts bytes, so it does not drift, however long the
   stream.
2. *Catching up.* A frame whose time has passed goes as soon as it can, but never less than a quarter of its own length
   after the one before it (`CATCH_UP`): after a stall the stream runs at four times its pace until it is back on
   schedule, never in one burst.
3. *Live sources.* A source that sets the time itself (a microphone, a caller's audio) brings each frame when or after
   it is due, so rule 1 does not hold it back, nor does rule 2 beyond its spacing. Where its clock runs faster than
   ours, it is known by keeping us waiting for at least half of the time that was left: what it then brings is due at
   once, and the schedule with it. A source can say what it is with an attribute `live`: True passes everything through,
   False (a file) is always held to the schedule.

4. *Again.* What is sent a second time (`rewind`) is behind its schedule, so rule 2 holds for it: it goes at four times
   the pace. That is so for live sources too, which are otherwise passed through: nobody takes a minute in one burst.

Audio whose bytes say nothing about time (compressed formats) is not paced.
"""

from __future__ import annotations

import math

__all__ = ["CATCH_UP", "Pacer"]

CATCH_UP = 4.0
"""How much faster than its pace a stream that fell behind may run. Four keeps the frames of 100 ms at least 25 ms apart
and makes up a stall of three seconds within one."""


class Pacer:
    """The schedule of one stream of audio."""

    __slots__ = (
        "_again_bytes",
        "_again_rate",
        "_anchor_at",
        "_due_at",
        "_is_behind",
        "_live",
        "_rate",
        "_sent_bytes",
        "_spaced_at",
        "lateness_max_s",
        "next_at",
    )

    def __init__(self, bytes_per_second: int | None, pace: float | None, *, live: bool | None = None) -> None:
        """Set the pace: 1.0 is real time, None as fast as the connection takes it.

        `live` is what the source says of itself; None lets rule 3 find out.
        """
        self._rate = None if bytes_per_second is None or pace is None or live else bytes_per_second * pace
        self._live = live
        self._again_rate = bytes_per_second if live else None
        self._again_bytes = 0
        self._is_behind = False
        self._anchor_at: float | None = None
        self._sent_bytes = 0
        # the next frame by rule 1, once the schedule is anchored, and by rule 2
        self._due_at = -math.inf
        self._spaced_at = -math.inf
        self.next_at = -math.inf
        """From when on the next frame may be sent."""
        self.lateness_max_s = 0.0
        """How far the worst frame was sent behind its time; what a source brought late does not count."""

    def arrived(self, now: float, waited_s: float) -> None:
        """Take note of audio that came from the source after a wait."""
        if self._rate is None:
            return
        if self._anchor_at is None:
            self._anchor(now - waited_s)
        if self._live is None and self._sent_bytes and now < self._due_at:
            left_s = self._due_at - (now - waited_s)
            if waited_s >= left_s / 2 and self._anchor_at is not None:
                self._anchor(self._anchor_at - (self._due_at - now))
        self.next_at = max(self.next_at, now)

    def sent(self, now: float, size_bytes: int) -> None:
        """Take note of a frame that was sent."""
        rate = self._rate
        if rate is None:
            self._sent_bytes += size_bytes
            self._sent_again(now, size_bytes)
            return
        if self._anchor_at is None:
            self._anchor_at = self._due_at = self.next_at = now
        if self._is_behind:
            self._is_behind = self._due_at < now
        if not self._is_behind and now - self.next_at > self.lateness_max_s:
            self.lateness_max_s = now - self.next_at
        self._sent_bytes += size_bytes
        self._due_at = self._anchor_at + self._sent_bytes / rate
        self._spaced_at = now + size_bytes / rate / CATCH_UP
        self.next_at = max(self._due_at, self._spaced_at)

    def rewind(self, to_bytes: int, now: float) -> None:
        """The audio is sent again from here in the source on; being behind because of that is no lateness."""
        again_bytes = max(0, self._sent_bytes - to_bytes)
        self._sent_bytes = to_bytes
        self._is_behind = True
        if self._anchor_at is not None:
            self._anchor(self._anchor_at)
        if self._rate is None and self._again_rate is not None:
            self._again_bytes = again_bytes
            self.next_at = now

    def _anchor(self, at: float) -> None:
        """The schedule counts from here."""
        self._anchor_at = at
        self._due_at = at if self._rate is None else at + self._sent_bytes / self._rate
        self.next_at = max(self._due_at, self._spaced_at)

    def _sent_again(self, now: float, size_bytes: int) -> None:
        if self._again_rate is not None and self._again_bytes > 0:
            self._again_bytes -= size_bytes
            is_over = self._again_bytes <= 0
            self.next_at = -math.inf if is_over else now + size_bytes / self._again_rate / CATCH_UP
