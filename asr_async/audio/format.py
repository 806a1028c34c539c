"""The format of audio: encoding and sample rate, and the arithmetic of bytes and milliseconds.

Does not know files, vendors or clocks.
"""

from __future__ import annotations

import struct

import msgspec

from ..errors import ConfigurationError

__all__ = ["COMPRESSED_BYTES_PER_SECOND", "FRAME_MS", "MAX_COMPRESSED_FRAME_BYTES", "AudioBytes", "AudioFormat"]

AudioBytes = bytes | memoryview
"""A piece of audio that is immutable: a frame, or a part of one."""

FRAME_MS = 100
"""The frame length that all vendors recommend: DashScope "about 100 ms per frame, 1-16 KB" (real-time recognition SDK
pages, 2025-10), Huawei "100 ms when live" (RASR WebSocket pages, 2021-10)."""

MAX_COMPRESSED_FRAME_BYTES = 16_384
"""The frame size of compressed audio, since its bytes have no fixed length in time: the upper end of the recommended
1-16 KB."""

COMPRESSED_BYTES_PER_SECOND = 16_000
"""The size of compressed audio in an unknown container that counts as one second for a bound: 128 kbit/s."""

_RAW_SAMPLE_BYTES = {"pcm": 2, "wav": 2, "ulaw": 1, "alaw": 1}
_SILENCE = {"ulaw": b"\xff", "alaw": b"\xd5"}
_UNKNOWN_LENGTH = 0xFFFFFFFF


class AudioFormat(msgspec.Struct, frozen=True):
    """The format of a mono audio stream.

    `encoding` is `pcm` (signed 16-bit little-endian samples), `wav` (the same samples after a RIFF header), `ulaw` or
    `alaw` (8-bit samples, G.711), or the name of a compressed format (`mp3`, `opus`, ...), which has no fixed
    relation of bytes to time.
    """

    encoding: str = "pcm"
    sample_rate: int = 16_000

    @property
    def sample_bytes(self) -> int:
        """Size of one sample, which is never split: 2 for 16-bit samples, else 1."""
        return _RAW_SAMPLE_BYTES.get(self.encoding, 1)

    @property
    def bytes_per_second(self) -> int | None:
        """Data rate; None for compressed formats."""
        sample_bytes = _RAW_SAMPLE_BYTES.get(self.encoding)
        return None if sample_bytes is None else self.sample_rate * sample_bytes

    def frame_bytes(self, frame_ms: int = FRAME_MS) -> int:
        """Return the size of one frame: at least one whole sample; a fixed size for compressed formats."""
        if self.bytes_per_second is None:
            return MAX_COMPRESSED_FRAME_BYTES
        return max(1, self.sample_rate * frame_ms // 1000) * self.sample_bytes

    def silence(self, size_bytes: int) -> bytes:
        """Return digital silence of a size in bytes.

        Raises:
            ConfigurationError: the format is compressed.
        """
        if self.bytes_per_second is None:
            raise ConfigurationError(f"{self.encoding} is compressed: silence cannot be added to its bytes")
        return _SILENCE.get(self.encoding, b"\0") * size_bytes

    @property
    def header(self) -> bytes:
        """The header that samples from the middle of a stream need: a RIFF header for `wav`, else empty."""
        if self.encoding != "wav":
            return b""
        rate, size = self.sample_rate, self.sample_bytes
        # The lengths are unknown. Live sources write the largest value.
        return struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            *(b"RIFF", _UNKNOWN_LENGTH, b"WAVE", b"fmt ", 16, 1, 1, rate, rate * size, size, 8 * size),
            *(b"data", _UNKNOWN_LENGTH),
        )

    def to_ms(self, size_bytes: int) -> int:
        """Return the length of `size_bytes` of audio in whole milliseconds, rounded down.

        Raises:
            ConfigurationError: the format is compressed.
        """
        if self.bytes_per_second is None:
            raise ConfigurationError(f"{self.encoding} is compressed: its bytes have no fixed length in time")
        return size_bytes * 1000 // self.bytes_per_second

    def to_bytes(self, length_ms: int) -> int:
        """Return the size of `length_ms` of audio in bytes: whole samples, rounded down.

        Raises:
            ConfigurationError: the format is compressed.
        """
        if self.bytes_per_second is None:
            raise ConfigurationError(f"{self.encoding} is compressed: a length in time has no fixed size in bytes")
        return self.sample_rate * length_ms // 1000 * self.sample_bytes
