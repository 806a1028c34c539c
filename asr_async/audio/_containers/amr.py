"""AMR and AMR-WB files (RFC 4867, section 5): a magic line, then frames of 20 ms, each with its type in the first byte.

The frames have no sync word. Behind a byte that begins no frame, a place counts as the start of one if others follow.
"""

from __future__ import annotations

from .packet import Block, Packet, Parser, Track

__all__ = ["AmrParser"]

# sizes with the first byte, by frame type: 0 to 7 or 8 speech, then comfort noise; 14 is lost speech, 15 no data
_NARROWBAND_BYTES = {0: 13, 1: 14, 2: 16, 3: 18, 4: 20, 5: 21, 6: 27, 7: 32, 8: 6, 15: 1}
_WIDEBAND_BYTES = {0: 18, 1: 24, 2: 33, 3: 37, 4: 41, 5: 47, 6: 51, 7: 59, 8: 61, 9: 6, 14: 1, 15: 1}

FRAME_MS = 20
FOLLOWING_AT_RESYNC = 8
"""The frames that must follow a place behind noise: one byte in six looks like the start of a frame."""

NOISE_BYTES = 1_024
"""The size of the blocks into which bytes between frames are split."""


class AmrParser(Parser):
    """The parser of one stream."""

    NARROWBAND = b"#!AMR\n"
    WIDEBAND = b"#!AMR-WB\n"

    def __init__(self, magic: bytes, rate: int, sizes: dict[int, int]) -> None:
        """Parse a stream that begins with the magic line and has frames of these sizes, by type."""
        super().__init__()
        self._track = Track(rate, header=magic)
        self._sizes = sizes
        self._samples = rate * FRAME_MS // 1000
        self._start = 0
        self._is_at_magic = True
        self._is_in_sync = True

    @classmethod
    def narrowband(cls) -> AmrParser:
        """Return a parser for AMR."""
        return cls(cls.NARROWBAND, 8_000, _NARROWBAND_BYTES)

    @classmethod
    def wideband(cls) -> AmrParser:
        """Return a parser for AMR-WB."""
        return cls(cls.WIDEBAND, 16_000, _WIDEBAND_BYTES)

    def __repr__(self) -> str:
        return f"<AmrParser {self._start} samples>"

    @property
    def track(self) -> Track:
        """The rules of the stream."""
        return self._track

    def finish(self) -> list[Block]:
        """Return the rest of the stream at its end: half a frame is a block without length."""
        blocks = self._parse(at_end=True)
        if self._data:
            blocks.append(self._take(len(self._data)))
        return blocks

    def _parse(self, *, at_end: bool) -> list[Block]:
        blocks: list[Block] = []
        if self._is_at_magic and len(self._data) >= len(self.track.header):
            self._is_at_magic = False
            blocks.append(self._take(len(self.track.header)))
        while self._data and not self._is_at_magic:
            block = self._next_block(at_end=at_end)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def _next_block(self, *, at_end: bool) -> Block | None:
        if self._is_in_sync:
            size = self._size_at(0)
            if size is not None:
                return self._take(size, self._samples) if len(self._data) >= size else None
            self._is_in_sync = False
        while self._noise_bytes < min(len(self._data), NOISE_BYTES):
            is_frame = self._is_frame(self._noise_bytes, at_end=at_end)
            if is_frame is None:
                return None
            if is_frame:
                self._is_in_sync = True
                break
            self._noise_bytes += 1
        if not self._is_in_sync and self._noise_bytes < NOISE_BYTES:
            return None
        size, self._noise_bytes = self._noise_bytes, 0
        return self._take(size) if size else self._next_block(at_end=at_end)

    def _is_frame(self, at: int, *, at_end: bool) -> bool | None:
        """Return True if a frame begins here and others follow it; None if more bytes are needed."""
        for count in range(FOLLOWING_AT_RESYNC + 1):
            if at >= len(self._data):
                return (count > 0 and at == len(self._data)) if at_end else None
            size = self._size_at(at)
            if size is None:
                return False
            at += size
        return True

    def _size_at(self, at: int) -> int | None:
        first = self._data[at]
        return None if first & 0x83 else self._sizes.get(first >> 3)

    def _take(self, size: int, samples: int = 0) -> Block:
        data = self._cut_off(size)
        packet = Packet(data, self._start, samples)
        self._start += samples
        return Block(data, (packet,))
