"""The schedule of a stream of audio: the instant from which the next frame may be sent.

All instants and lengths are seconds, sizes are bytes.

The rules:

1. *Schedule.* Each frame is due when the audio before it has passed at the chosen pace, counted from the first request
   to the source; the first frame is due at once. The schedule counts bytes, so it does not drift, however long the
   stream.
2. *Catching up.* A frame that is overdue is sent as soon as possible, but never less than a quarter of its own
   length after the one before it (`CATCH_UP`): after a stall the stream runs at four times its pace until it is back on
   schedule, never in one burst.
3. *Live sources.* A source with a clock of its own (a microphone, audio that a caller pushes) brings each frame when it
   is due or later, so rule 1 does not delay it, nor does rule 2 beyond its spacing. If its clock is faster than ours,
   it is recognised by a wait for at least half of the time that was left: the audio that it then brings is due at once,
   and the schedule moves with it. A source can declare itself with an attribute `live`: True passes everything through,
   False (a file) always follows the schedule.
4. *Replay.* Audio that is sent a second time (`rewind`) is behind its schedule, so rule 2 holds for it: it is sent at
   four times the pace. That includes live sources, which are otherwise passed through: a minute of audio must not
   arrive in one burst.

The bytes of compressed audio do not correspond to time, so `MediaTimePacer` counts the milliseconds of its packets.
Audio in a container whose packets are not known is not paced.

Does not know clocks, sources or connections: instants are arguments, and nothing here waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["CATCH_UP", "MediaTimePacer", "Pacer"]

CATCH_UP = 4.0
"""The factor by which a stream that fell behind may exceed its pace. Four keeps frames of 100 ms at least 25 ms apart,
and makes up for a stall of three seconds within one."""


class Pacer:
    """The schedule of one stream of audio."""

    __slots__ = (
        "_anchor_at",
        "_due_at",
        "_is_behind",
        "_live",
        "_rate",
        "_replay_bytes",
        "_replay_rate",
        "_sent_bytes",
        "_spaced_at",
        "lateness_max_s",
        "next_at",
    )

    def __init__(self, bytes_per_second: int | None, pace: float | None, *, live: bool | None = None) -> None:
        """Begin a schedule.

        Args:
            bytes_per_second: the rate of the audio; None for compressed formats.
            pace: 1.0 is real time, None as fast as the connection accepts the audio.
            live: the attribute of the source; None applies rule 3.
        """
        self._rate = None if bytes_per_second is None or pace is None or live else bytes_per_second * pace
        self._live = live
        self._replay_rate = bytes_per_second if live else None
        self._replay_bytes = 0
        self._is_behind = False
        self._anchor_at: float | None = None
        self._sent_bytes = 0
        # the instant of the next frame by rule 1, once the schedule is anchored, and by rule 2
        self._due_at = -math.inf
        self._spaced_at = -math.inf
        self.next_at = -math.inf
        """The instant from which the next frame may be sent."""
        self.lateness_max_s = 0.0
        """The delay of the latest frame; audio that the source brought late does not count."""

    def record_arrival(self, now: float, waited_s: float) -> None:
        """Record audio that the source brought after a wait."""
        if self._rate is None:
            return
        if self._anchor_at is None:
            self._anchor(now - waited_s)
        if self._live is None and self._sent_bytes and now < self._due_at:
            left_s = self._due_at - (now - waited_s)
            if waited_s >= left_s / 2 and self._anchor_at is not None:
                self._anchor(self._anchor_at - (self._due_at - now))
        self.next_at = max(self.next_at, now)

    def record_sent(self, now: float, size_bytes: int) -> None:
        """Record a frame that was sent."""
        rate = self._rate
        if rate is None:
            self._sent_bytes += size_bytes
            if self._replay_bytes > 0:
                self._record_replayed(now, size_bytes)
            return
        if self._anchor_at is None:
            self._anchor_at = self._due_at = self.next_at = now
        if self._is_behind:
            self._is_behind = self._due_at < now
        elif (lateness_s := now - self.next_at) > self.lateness_max_s:
            self.lateness_max_s = lateness_s
        self._sent_bytes = sent_bytes = self._sent_bytes + size_bytes
        self._due_at = due_at = self._anchor_at + sent_bytes / rate
        self._spaced_at = spaced_at = now + size_bytes / rate / CATCH_UP
        self.next_at = due_at if due_at > spaced_at else spaced_at  # noqa: FURB136 - `max` costs a third of this method

    def rewind(self, to_bytes: int, now: float) -> None:
        """Send the audio again from this position in the source on; the delay that this causes is no lateness."""
        replay_bytes = max(0, self._sent_bytes - to_bytes)
        self._sent_bytes = to_bytes
        self._is_behind = True
        if self._anchor_at is not None:
            self._anchor(self._anchor_at)
        if self._rate is None and self._replay_rate is not None:
            self._replay_bytes = replay_bytes
            self.next_at = now

    def _anchor(self, at: float) -> None:
        """Count the schedule from this instant."""
        self._anchor_at = at
        self._due_at = at if self._rate is None else at + self._sent_bytes / self._rate
        self.next_at = max(self._due_at, self._spaced_at)

    def _record_replayed(self, now: float, size_bytes: int) -> None:
        if self._replay_rate is not None:
            self._replay_bytes -= size_bytes
            is_over = self._replay_bytes <= 0
            self.next_at = -math.inf if is_over else now + size_bytes / self._replay_rate / CATCH_UP


class MediaTimePacer(Pacer):
    """The schedule of a stream of compressed audio, by the place of its packets in the source."""

    __slots__ = ("_place_ms", "_sent_to_ms")

    def __init__(self, place_ms: Callable[[], int], pace: float | None, *, live: bool | None = None) -> None:
        """Begin a schedule.

        Args:
            place_ms: returns the place in the source up to which audio was sent; it stays where it is while the packets
                are not known.
            pace: see `Pacer`.
            live: see `Pacer`.
        """
        super().__init__(1_000, pace, live=live)
        self._place_ms = place_ms
        self._sent_to_ms = 0

    def record_sent(self, now: float, size_bytes: int) -> None:  # noqa: ARG002 - of no use here
        """Record a frame that was sent."""
        place_ms = self._place_ms()
        super().record_sent(now, max(0, place_ms - self._sent_to_ms))
        self._sent_to_ms = place_ms

    def rewind(self, to_bytes: int, now: float) -> None:  # noqa: ARG002
        """Send the audio again from where the buffer stands now."""
        self._sent_to_ms = self._place_ms()
        super().rewind(self._sent_to_ms, now)
