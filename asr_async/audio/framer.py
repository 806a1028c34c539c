"""The framers: converters from a stream of chunks of any size to frames.

Samples become frames of 100 ms, compressed audio becomes frames of whole packets. Do not know files, vendors or clocks.
"""

from __future__ import annotations

from typing import Protocol

from ..errors import ConfigurationError
from ._containers import Block, NotCuttableError, Packet, Parser, Track, find_parser
from .chunks import AudioArray, byte_view
from .format import FRAME_MS, MAX_COMPRESSED_FRAME_BYTES, AudioBytes, AudioFormat

__all__ = ["CompressedFrame", "CompressedFramer", "Framer", "FramerLike", "framer_for"]

MIN_COMPRESSED_FRAME_BYTES = 1_024
"""The size from which on a frame of compressed audio is long enough, if it is `FRAME_MS` long: the lower end of the
recommended 1-16 KB."""

MAX_COMPRESSED_FRAME_MS = 400
"""The length from which on a frame of compressed audio is long enough, whatever its size."""


class FramerLike(Protocol):
    """A converter from a stream of chunks of any size to frames."""

    def push(self, chunk: bytes | bytearray | memoryview | AudioArray) -> list[AudioBytes]:
        """Add a chunk and return the frames that are complete."""
        ...

    def flush(self) -> AudioBytes | None:
        """Return the rest at the end of an utterance; None if there is none, or it cannot be sent on its own."""
        ...

    def finish(self) -> list[AudioBytes]:
        """Return the rest at the end of the stream."""
        ...

    def cut(self) -> AudioBytes | None:
        """Return the rest because the source pauses; None if there is none, or it cannot be sent yet."""
        ...

    @property
    def pending_bytes(self) -> int:
        """The size of the rest, which is in no frame yet; 0 for compressed audio."""
        ...


def framer_for(audio_format: AudioFormat, *, min_bytes: int = 1) -> FramerLike:
    """Return the framer for audio of this format; a last frame of samples has at least `min_bytes` bytes."""
    if audio_format.bytes_per_second is None:
        return CompressedFramer(audio_format)
    return Framer(audio_format, min_bytes=min_bytes)


class Framer:
    """A converter from a stream of chunks of any size to frames of one size, for samples.

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

    def push(self, chunk: bytes | bytearray | memoryview | AudioArray) -> list[AudioBytes]:
        """Add a chunk and return the frames that are complete.

        Raises:
            ConfigurationError: the chunk is not bytes-like, nor an array of 16-bit samples.
        """
        if not self._filled_bytes and isinstance(chunk, bytes) and len(chunk) == self._frame_bytes:
            return [chunk]  # the common case: a source that yields whole frames
        view = byte_view(chunk)
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
        """Return the pending whole samples at the end of an utterance or of the stream; None if there are none.

        An odd last byte is half a sample and is dropped.
        """
        sample_bytes = self._format.sample_bytes
        size = self._filled_bytes - self._filled_bytes % sample_bytes
        if not size:
            return None
        tail = self._pop_pending()[:size]
        missing = self._min_bytes - size
        if missing <= 0:
            return tail
        return bytes(tail) + self._format.silence(missing)

    def finish(self) -> list[AudioBytes]:
        """Return the pending whole samples at the end of the stream."""
        tail = self.flush()
        return [] if tail is None else [tail]

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

    @property
    def pending_bytes(self) -> int:
        """The size of the audio that is in no frame yet."""
        return self._filled_bytes

    def _split(self, view: memoryview, immutable: bool) -> list[AudioBytes]:
        return _pieces(view, self._frame_bytes, immutable=immutable)

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


class CompressedFrame(bytes):
    """A frame of compressed audio that can be cut.

    Attributes:
        packets: the packets that end in the frame, in order.
        track: the rules of their stream.
        end_ms: the place in the source at which the frame ends.
    """

    packets: tuple[Packet, ...]
    track: Track | None
    end_ms: float

    def __new__(  # noqa: PYI034 - it is never derived from
        cls, data: bytes, packets: tuple[Packet, ...] = (), *, track: Track | None = None, end_ms: float = 0.0
    ) -> CompressedFrame:
        """Create a frame of these bytes."""
        frame = super().__new__(cls, data)
        frame.packets = packets
        frame.track = track
        frame.end_ms = end_ms
        return frame


class CompressedFramer:
    """A converter from a stream of chunks of any size to frames of whole packets, for compressed audio.

    Complete packets are returned at once, some hundred milliseconds in a frame. Audio in a container that cannot be cut
    (`_containers`) is returned as plain bytes, which have no place in time.
    """

    __slots__ = ("_begin_ms", "_encoding", "_end_ms", "_error", "_is_cuttable", "_parser", "_start")

    def __init__(self, audio_format: AudioFormat) -> None:
        self._encoding = audio_format.encoding
        # the first bytes, until the container is known
        self._start = b""
        self._parser: Parser | None = None
        self._is_cuttable = True
        # the places at which the present frame begins and ends
        self._begin_ms = 0.0
        self._end_ms = 0.0
        # raised at the next call, behind the frames before it
        self._error: ConfigurationError | None = None

    def push(self, chunk: bytes | bytearray | memoryview | AudioArray) -> list[AudioBytes]:
        """Add a chunk and return the packets that are complete, in frames.

        Raises:
            ConfigurationError: the chunk is not bytes-like, nor an array of 16-bit samples, or the audio in the chunk
                before cannot be placed in time.
        """
        view = byte_view(chunk)
        self._raise_error()
        if not self._is_cuttable:
            return _pieces(view, MAX_COMPRESSED_FRAME_BYTES, immutable=isinstance(chunk, bytes))
        data = self._start + bytes(view)
        self._start = b""
        parser = self._parser or self._find_parser(data)
        if parser is not None:
            return self._frames(parser.feed(data), parser)
        return [] if self._is_cuttable else self._give_up(data)

    def flush(self) -> None:
        """Return nothing: complete packets were returned, and half a packet cannot be sent on its own."""

    def finish(self) -> list[AudioBytes]:
        """Return the rest at the end of the stream.

        Raises:
            ConfigurationError: it cannot be placed in time.
        """
        self._raise_error()
        parser = self._parser
        if parser is None or not self._is_cuttable:
            return self._give_up(self._start)
        frames = self._frames(parser.finish(), parser)
        if not frames:
            self._raise_error()
        return frames

    def cut(self) -> None:
        """Return nothing: silence is never added to compressed audio."""

    @property
    def pending_bytes(self) -> int:
        """The size of the rest; 0, since part of a packet has no length in time."""
        return 0

    def _find_parser(self, data: bytes) -> Parser | None:
        """Return the parser of the stream that begins so; None if it cannot be cut, or more bytes are needed."""
        try:
            self._parser = find_parser(self._encoding, data)
        except NotCuttableError:
            self._is_cuttable = False
        else:
            self._start = b"" if self._parser is not None else data
        return self._parser

    def _give_up(self, data: bytes) -> list[AudioBytes]:
        """Return these bytes without a place in time, and all that follow."""
        self._is_cuttable, self._start = False, b""
        return _pieces(memoryview(data), MAX_COMPRESSED_FRAME_BYTES, immutable=True)

    def _frames(self, blocks: list[Block], parser: Parser) -> list[AudioBytes]:
        """Return the blocks in frames."""
        frames: list[AudioBytes] = []
        group: list[Block] = []
        size_bytes = 0
        for block in blocks:
            if group and size_bytes + len(block.data) > MAX_COMPRESSED_FRAME_BYTES:
                frames += self._join(group, parser)
                group, size_bytes = [], 0
            group.append(block)
            size_bytes += len(block.data)
            if block.packets and block.packets[-1].samples:
                self._end_ms = max(self._end_ms, parser.track.end_ms(block.packets[-1]))
            length_ms = self._end_ms - self._begin_ms
            is_long = length_ms >= FRAME_MS and size_bytes >= MIN_COMPRESSED_FRAME_BYTES
            if is_long or length_ms >= MAX_COMPRESSED_FRAME_MS:
                frames += self._join(group, parser)
                group, size_bytes = [], 0
        if group:
            frames += self._join(group, parser)
        if parser.refusal is not None:
            frames += self._give_up(parser.rest())
        elif parser.error is not None:
            self._error = ConfigurationError(f"at {round(self._end_ms)} ms {parser.error}")
        return frames

    def _join(self, group: list[Block], parser: Parser) -> list[AudioBytes]:
        """Return the frame of these blocks; a block that is longer than a message becomes several frames."""
        data = b"".join([block.data for block in group])
        packets = tuple([packet for block in group for packet in block.packets])
        last_at = (len(data) - 1) // MAX_COMPRESSED_FRAME_BYTES * MAX_COMPRESSED_FRAME_BYTES
        starts = range(0, last_at, MAX_COMPRESSED_FRAME_BYTES)
        # the packets end in the last of these frames
        frames: list[AudioBytes] = [
            CompressedFrame(data[start : start + MAX_COMPRESSED_FRAME_BYTES], end_ms=self._begin_ms) for start in starts
        ]
        self._begin_ms = self._end_ms
        track = parser.track if any(packet.samples for packet in packets) else None
        return [*frames, CompressedFrame(data[last_at:], packets, track=track, end_ms=self._end_ms)]

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _pieces(view: memoryview, size_bytes: int, *, immutable: bool) -> list[AudioBytes]:
    """Return a view in pieces of this size; copies if the bytes behind it may change."""
    starts = range(0, len(view), size_bytes)
    if immutable:
        return [view[start : start + size_bytes] for start in starts]
    return [bytes(view[start : start + size_bytes]) for start in starts]
