"""Which audio no final result covers yet, so that it can be sent again: pure bookkeeping by position in the source.

Frames are kept as they came, never copied. There are three marks in the source, each behind the one before it or at it:

    kept_from            covered                 cursor                    end
       │ may be forgotten │ sent, not yet final    │ taken in, not yet sent  │

A final result moves `covered` on, sending moves the cursor, the source moves the end. A new connection moves the cursor
back to `covered` (`rewind`). What is kept is bounded in seconds: beyond that the oldest audio *that was sent* is
forgotten, and if a rewind would need it, it is lost (`LostAudio`). Audio that is to be sent is never forgotten; the
source has to wait (`has_room`). An empty frame marks a place between two others: the end of an utterance.

It does not know connections, results or clocks. The bytes of compressed audio say nothing about time: it is sent again
from the start of its container, as long as all of it is still here.
"""

from __future__ import annotations

import msgspec

from ..audio import AudioBytes, AudioFormat

__all__ = ["LostAudio", "ReplayBuffer"]

COMPRESSED_BYTES_PER_SECOND = 16_000
"""How much of compressed audio counts as a second for the bound: 128 kbit/s."""


class LostAudio(msgspec.Struct, frozen=True):
    """Audio that no final result covers and that cannot be sent again."""

    start_ms: int
    end_ms: int | None
    """None for compressed audio, of which nothing can be sent any more."""


class ReplayBuffer:
    """The audio of one source, from the last final result to its newest frame."""

    __slots__ = (
        "_begun_bytes",
        "_covered",
        "_covered_ms",
        "_cursor",
        "_end",
        "_format",
        "_is_compressed",
        "_kept_from",
        "_max_bytes",
        "_sent",
        "_sent_before",
        "unsent",
    )

    def __init__(self, audio_format: AudioFormat, *, max_s: float) -> None:
        """Keep at most so many seconds."""
        self._format = audio_format
        self._is_compressed = audio_format.bytes_per_second is None
        self._max_bytes = round(max_s * (audio_format.bytes_per_second or COMPRESSED_BYTES_PER_SECOND))
        self._sent: list[AudioBytes] = []
        self.unsent: list[AudioBytes] = []
        """What is to be sent, in order, the first perhaps from its middle on (`take`). Changed here only."""
        self._kept_from = 0
        self._covered = 0
        self._covered_ms = 0
        self._end = 0
        self._cursor = 0
        # how far the cursor stands inside the first frame that is to be sent
        self._begun_bytes = 0
        # where the cursor was when it was last moved back
        self._sent_before = 0

    def __repr__(self) -> str:
        return f"<ReplayBuffer {self.kept_bytes} bytes, {self._end - self._cursor} of them to be sent>"

    @property
    def kept_bytes(self) -> int:
        """How much audio is held."""
        return self._end - self._kept_from

    @property
    def cursor_bytes(self) -> int:
        """How much of the source has been sent to the present connection, or need not be."""
        return self._cursor

    @property
    def sent_bytes(self) -> int:
        """How much of the source has been sent at least once."""
        return max(self._sent_before, self._cursor)

    @property
    def cursor_ms(self) -> int:
        """Where in the source the next piece begins; 0 for compressed audio, which is begun anew each time."""
        return 0 if self._is_compressed else self._format.to_ms(self._cursor)

    @property
    def has_room(self) -> bool:
        """Whether the source may bring more: there is room, or all was sent, so that the oldest can be forgotten.

        What is to be sent again makes no room for what is new.
        """
        return self.kept_bytes < self._max_bytes or self.is_drained

    @property
    def is_drained(self) -> bool:
        """Whether everything taken in has been sent."""
        return not self.unsent

    def add(self, *frames: AudioBytes) -> None:
        """Take in the next frames of the source."""
        self.unsent += frames
        self._end += sum(map(len, frames))
        while self._sent and self._end - self._kept_from > self._max_bytes:
            self._kept_from += len(self._sent.pop(0))

    def take(self) -> AudioBytes:
        """The next of the unsent frames, or what is left of it behind the cursor.

        Raises:
            IndexError: all was sent.
        """
        frame = self.unsent.pop(0)
        self._sent.append(frame)
        if self._begun_bytes:
            frame, self._begun_bytes = frame[self._begun_bytes :], 0
        self._cursor += len(frame)
        return frame

    def cover(self, end_ms: int) -> None:
        """Final results cover the source up to here: what lies before need not be sent again."""
        self._covered_ms = max(self._covered_ms, end_ms)
        if self._is_compressed:
            return
        self._covered = max(self._covered, min(self._format.to_bytes(end_ms), self._cursor))
        covered, forgotten = self._covered, 0
        kept_from = end = self._kept_from
        for frame in self._sent:
            end += len(frame)
            if end > covered:
                break
            kept_from = end
            forgotten += 1
        self._kept_from = kept_from
        del self._sent[:forgotten]

    def rewind(self, *, min_bytes: int = 1) -> LostAudio | None:
        """Begin again behind the last final result.

        Args:
            min_bytes: the smallest piece that may be sent; a smaller rest of a frame is begun a little earlier.

        Returns:
            What is lost because it was forgotten.
        """
        self._sent_before = self.sent_bytes
        self.unsent[:0] = self._sent
        self._sent.clear()
        if self._is_compressed:
            self._cursor, self._begun_bytes = self._kept_from, 0
            return LostAudio(self._covered_ms, None) if self._kept_from > 0 else None
        self._cursor = max(self._covered, self._kept_from)
        if self.unsent:
            first_bytes = len(self.unsent[0])
            rest_bytes = self._kept_from + first_bytes - self._cursor
            self._cursor -= max(0, min(min_bytes, first_bytes) - rest_bytes)
        self._begun_bytes = self._cursor - self._kept_from
        if self._kept_from <= self._covered:
            return None
        lost = LostAudio(self._format.to_ms(self._covered), self._format.to_ms(self._kept_from))
        self._covered = self._kept_from
        return lost
