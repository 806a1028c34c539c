"""The format of audio, and the framer that cuts a stream of chunks into frames of 100 ms.

Arithmetic only. Does not know files, vendors or clocks.
"""

from __future__ import annotations

import struct

import msgspec

from .errors import ConfigurationError

__all__ = ["AudioBytes", "AudioFormat", "Framer"]

AudioBytes = bytes | memoryview
"""A piece of audio that is immutable: a frame, or a part of one."""

FRAME_MS = 100
"""The frame length that all vendors recommend: DashScope "about 100 ms per frame, 1-16 KB" (real-time recognition SDK
pages, 2025-10), Huawei "100 ms when live" (RASR WebSocket pages, 2021-10)."""

MAX_COMPRESSED_FRAME_BYTES = 16_384
"""The frame size of compressed audio, since its bytes have no fixed length in time: the upper end of the recommended
1-16 KB."""

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


class Framer:
    """A converter from a stream of chunks of any size to frames of one size.

    Every byte is copied at most once: a frame inside an immutable chunk is a view of it; the bytes of a mutable chunk
    are copied when they arrive, since its owner may change it after `push`. Frames are never empty and never end inside
    a sample.
    """

    __slots__ = ("_filled_bytes", "_format", "_frame_bytes", "_min_bytes", "_pending")

    def __init__(self, audio_format: AudioFormat, frame_ms: int = FRAME_MS, *, min_bytes: int = 1) -> None:
        """Create a framer that pads a last frame of fewer than `min_bytes` bytes with silence."""
        self._format = audio_format
        self._min_bytes = min_bytes
        self._frame_bytes = audio_format.frame_bytes(frame_ms)
        # The start of an incomplete frame. The buffer is allocated when the first byte arrives.
        self._pending = bytearray()
        self._filled_bytes = 0

    def push(self, chunk: bytes | bytearray | memoryview) -> list[AudioBytes]:
        """Add a chunk and return the frames that are complete; compressed audio is returned without waiting for more.

        Raises:
            ConfigurationError: the chunk is not bytes-like.
        """
        if not self._filled_bytes and isinstance(chunk, bytes) and len(chunk) == self._frame_bytes:
            return [chunk]  # the common case: a source that yields whole frames
        view = self._byte_view(chunk)
        if self._format.bytes_per_second is None:
            return self._split(view, isinstance(chunk, bytes))
        frames: list[AudioBytes] = []
        if self._filled_bytes:
            view = self._fill(view)
            if self._filled_bytes < self._frame_bytes:
                return frames
            frames.append(self._pop_pending())
        whole_bytes = len(view) - len(view) % self._frame_bytes
        frames += self._split(view[:whole_bytes], isinstance(chunk, bytes))
        self._fill(view[whole_bytes:])
        return frames

    def flush(self) -> AudioBytes | None:
        """Return the pending whole samples at the end of the stream; None if there are none.

        An odd last byte is half a sample and is dropped.
        """
        sample_bytes = self._format.sample_bytes
        size = self._filled_bytes - self._filled_bytes % sample_bytes
        if not size:
            return None
        tail = self._pop_pending()[:size]
        missing = self._min_bytes - size
        if missing <= 0 or self._format.bytes_per_second is None:
            return tail
        return bytes(tail) + self._format.silence(missing)

    def cut(self) -> memoryview | None:
        """Return the pending whole samples because the source pauses; None if they are too few to send.

        Part of a sample stays pending.
        """
        size = self._filled_bytes - self._filled_bytes % self._format.sample_bytes
        if not size or size < self._min_bytes:
            return None
        pending = self._pop_pending()
        self._fill(pending[size:])
        return pending[:size]

    def _split(self, view: memoryview, immutable: bool) -> list[AudioBytes]:
        step = self._frame_bytes
        starts = range(0, len(view), step)
        if immutable:
            return [view[start : start + step] for start in starts]
        return [bytes(view[start : start + step]) for start in starts]

    def _fill(self, view: memoryview) -> memoryview:
        """Copy as much as fits into the pending frame; return the rest."""
        size = min(len(view), self._frame_bytes - self._filled_bytes)
        if size and not self._pending:
            self._pending = bytearray(self._frame_bytes)
        self._pending[self._filled_bytes : self._filled_bytes + size] = view[:size]
        self._filled_bytes += size
        return view[size:]

    def _pop_pending(self) -> memoryview:
        frame = memoryview(self._pending)[: self._filled_bytes].toreadonly()
        self._pending = bytearray()
        self._filled_bytes = 0
        return frame

    @staticmethod
    def _byte_view(chunk: bytes | bytearray | memoryview) -> memoryview:
        try:
            view = memoryview(chunk)
        except TypeError:
            raise ConfigurationError(
                f"audio chunks must be bytes, bytearray or memoryview, not {type(chunk).__name__}"
            ) from None
        if view.contiguous:
            return view.cast("B")
        return memoryview(view.tobytes())
