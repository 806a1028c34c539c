"""The audio that no final result covers yet, so that it can be sent again after a reconnect.

Frames are kept as they came, never copied. There are three marks in the source, each at the one before it or behind it:

    kept_from            covered                 cursor                    end
       │ may be dropped   │ sent, not yet final    │ buffered, not yet sent  │

A final result moves `covered`, sending moves the cursor, the source moves the end. A new connection moves the cursor
back to `covered` (`rewind`). The buffer is bounded in seconds: beyond that the oldest audio *that was sent* is dropped,
and if a rewind needs it, it is lost (`LostAudio`). Audio that is still to be sent is never dropped; the source has to
wait (`has_room`). An empty frame marks a place between two others: the end of an utterance.

The bytes of compressed audio do not correspond to time: it is sent again from the start of its container, as long as
all of it is in the buffer.

Does not know connections, results or clocks.
"""

from __future__ import annotations

import msgspec

from ..audio import AudioBytes, AudioFormat

__all__ = ["LostAudio", "ReplayBuffer"]

COMPRESSED_BYTES_PER_SECOND = 16_000
"""The size of compressed audio that counts as one second for the bound: 128 kbit/s."""

SPARSEST_BYTES_PER_SECOND = 250
"""The least size of a second of compressed audio: 2 kbit/s, where the lowest rate of any codec in use, of Speex, is
2.15 kbit/s."""


class LostAudio(msgspec.Struct, frozen=True):
    """Audio that no final result covers and that cannot be sent again."""

    start_ms: int
    end_ms: int | None
    """None for compressed audio, of which nothing more can be sent."""


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
        """Keep `max_s` seconds at most."""
        self._format = audio_format
        self._is_compressed = audio_format.bytes_per_second is None
        self._max_bytes = round(max_s * (audio_format.bytes_per_second or COMPRESSED_BYTES_PER_SECOND))
        self._sent: list[AudioBytes] = []
        self.unsent: list[AudioBytes] = []
        """The frames that are to be sent, in order; the first perhaps from its middle on (`pop`). Changed here only."""
        self._kept_from = 0
        self._covered = 0
        self._covered_ms = 0
        self._end = 0
        self._cursor = 0
        # the position of the cursor inside the first frame that is to be sent
        self._begun_bytes = 0
        # the position of the cursor before it was last moved back
        self._sent_before = 0

    def __repr__(self) -> str:
        return f"<ReplayBuffer {self.kept_bytes} bytes, {self._end - self._cursor} of them to be sent>"

    @property
    def kept_bytes(self) -> int:
        """The size of the audio in the buffer."""
        return self._end - self._kept_from

    @property
    def cursor_bytes(self) -> int:
        """The position in the source up to which audio was sent to the present connection, or need not be."""
        return self._cursor

    @property
    def sent_bytes(self) -> int:
        """The size of the audio that was sent at least once."""
        return max(self._sent_before, self._cursor)

    @property
    def longest_sent_ms(self) -> int:
        """The length of the audio that was sent at least once; of compressed audio, the longest that it can have."""
        if self._is_compressed:
            return self.sent_bytes * 1000 // SPARSEST_BYTES_PER_SECOND
        return self._format.to_ms(self.sent_bytes)

    @property
    def cursor_ms(self) -> int:
        """The place in the source of the next frame; 0 for compressed audio, which is sent again from its start."""
        return 0 if self._is_compressed else self._format.to_ms(self._cursor)

    @property
    def has_room(self) -> bool:
        """True if the source may bring more: there is room, or all was sent, so that the oldest can be dropped.

        Audio that is to be sent again is not dropped for new audio.
        """
        return self.kept_bytes < self._max_bytes or self.is_drained

    @property
    def is_drained(self) -> bool:
        """True if everything in the buffer has been sent."""
        return not self.unsent

    def add(self, *frames: AudioBytes) -> None:
        """Append the next frames of the source."""
        self.unsent += frames
        self._end += sum(map(len, frames))
        while self._sent and self._end - self._kept_from > self._max_bytes:
            self._kept_from += len(self._sent.pop(0))

    def pop(self) -> AudioBytes:
        """Return the next unsent frame, or its part behind the cursor, and move the cursor behind it.

        Raises:
            IndexError: everything was sent.
        """
        frame = self.unsent.pop(0)
        self._sent.append(frame)
        if self._begun_bytes:
            frame, self._begun_bytes = frame[self._begun_bytes :], 0
        self._cursor += len(frame)
        return frame

    def cover(self, end_ms: int) -> None:
        """Record that final results cover the source up to this place: the audio before it is not needed again."""
        self._covered_ms = max(self._covered_ms, end_ms)
        if self._is_compressed:
            return
        self._covered = max(self._covered, min(self._format.to_bytes(end_ms), self._cursor))
        covered, dropped = self._covered, 0
        kept_from = end = self._kept_from
        for frame in self._sent:
            end += len(frame)
            if end > covered:
                break
            kept_from = end
            dropped += 1
        self._kept_from = kept_from
        del self._sent[:dropped]

    def rewind(self, *, min_bytes: int = 1) -> LostAudio | None:
        """Move the cursor back to the end of the last final result.

        Args:
            min_bytes: the smallest message of audio that may be sent; a smaller rest of a frame begins earlier.

        Returns:
            The audio that is lost because it was dropped; None if none is.
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
