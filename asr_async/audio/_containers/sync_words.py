"""The parser of streams of frames that begin with a sync word and contain their own size: MPEG audio, and ADTS.

A pattern that looks like a header occurs by chance, so a place counts as the start of a frame only if more frames
follow where its header says: two at the start of the stream, one behind bytes that are no frame. Bytes that are no
frame (tags, noise, half a frame) become blocks of their own without length.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from .packet import Block, Packet, Parser, Track

__all__ = ["Header", "SyncWordParser"]

MAX_LEADING_BYTES = 4_096
"""The bytes before the first frame, not counting ID3 tags; a stream that begins in the middle of a frame has less than
two frames there."""

NOISE_BYTES = 4_096
"""The size of the blocks into which bytes between frames are split."""

_FOLLOWING_AT_START = 2
"""Also where a stream seems to change its format."""
_FOLLOWING_AT_RESYNC = 1
_ID3_HEADER_BYTES = 10


class Header(NamedTuple):
    """The header of one frame."""

    size: int
    samples: int
    config: tuple[int, ...]
    """The values that no frame of a stream may change: the length of a frame in time depends on them."""


class SyncWordParser(Parser):
    """The parser of one stream."""

    header_bytes: int
    """The size of the fixed part of a header."""

    def __init__(self) -> None:
        super().__init__()
        self._config: tuple[int, ...] | None = None
        self._start = 0
        self._track: Track | None = None
        # the bytes of a tag that are still to come
        self._tag_bytes = 0
        self._is_in_sync = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._start} samples>"

    @property
    def track(self) -> Track:
        """The rules of the stream."""
        assert self._track is not None  # noqa: S101 - there is a packet, so there was a header
        return self._track

    @abstractmethod
    def _header_at(self, at: int) -> Header | None:
        """Return the header at this position of `_data`, which holds all of it; None if there is none."""

    @abstractmethod
    def _first_track(self, header: Header, frame: bytes) -> tuple[Track, int]:
        """Return the rules of the stream, and the number of samples of its first frame."""

    @abstractmethod
    def _change(self, config: tuple[int, ...]) -> str:
        """Return the change from the stream's configuration to this one, for an error text."""

    def finish(self) -> list[Block]:
        """Return the rest of the stream at its end."""
        blocks = self._parse(at_end=True)
        if self._data and self.error is None:
            if self._config is None:
                self.refusal = "no frame begins in the audio"
            else:
                blocks.append(self._take(len(self._data)))
        return blocks

    def _parse(self, *, at_end: bool) -> list[Block]:
        blocks: list[Block] = []
        while self._data and self.error is None and self.refusal is None:
            block = self._next_block(at_end=at_end)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def _next_block(self, *, at_end: bool) -> Block | None:
        """Return the next block; None if it is not complete, or cannot be placed."""
        if self._tag_bytes:
            return self._next_of_tag(at_end=at_end)
        if self._is_in_sync or not self._noise_bytes:
            if len(self._data) < _ID3_HEADER_BYTES and not at_end:
                return None
            if self._begins_tag():
                return self._next_of_tag(at_end=at_end)
        if self._is_in_sync:
            header = self._header_at(0) if len(self._data) >= self.header_bytes else None
            if header is not None and header.config == self._config:
                return self._take(header.size, header.samples) if len(self._data) >= header.size else None
            self._is_in_sync = False
        return self._search(at_end=at_end)

    def _begins_tag(self) -> bool:
        """Return True if an ID3v2 tag begins here. Its pictures may contain anything, so it is not searched."""
        data = self._data
        if not (len(data) >= _ID3_HEADER_BYTES and data.startswith(b"ID3") and all(byte < 0x80 for byte in data[6:10])):
            return False
        size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
        footer_bytes = _ID3_HEADER_BYTES if data[5] & 0x10 else 0
        self._tag_bytes = _ID3_HEADER_BYTES + size + footer_bytes
        return True

    def _next_of_tag(self, *, at_end: bool) -> Block | None:
        size = min(self._tag_bytes, NOISE_BYTES)
        if len(self._data) < size and not at_end:
            return None
        size = min(size, len(self._data))
        self._tag_bytes -= size
        return self._take(size)

    def _search(self, *, at_end: bool) -> Block | None:
        """Find the next frame: return the noise before it, or the frame; None if more bytes are needed."""
        is_first = self._config is None
        most_bytes = MAX_LEADING_BYTES if is_first else NOISE_BYTES
        while self._noise_bytes < len(self._data):
            at = self._data.find(b"\xff", self._noise_bytes, most_bytes)
            if at < 0:
                at = min(len(self._data), most_bytes)
            self._noise_bytes = at
            if at >= most_bytes:
                if is_first:
                    self.refusal = f"no frame begins in the first {MAX_LEADING_BYTES} bytes"
                    return None
                self._noise_bytes = 0
                return self._take(NOISE_BYTES)
            header = self._header_at(at) if at + self.header_bytes <= len(self._data) else None
            is_of_stream = header is not None and header.config == self._config
            following = _FOLLOWING_AT_RESYNC if is_of_stream else _FOLLOWING_AT_START
            is_frame = self._is_frame(at, following, at_end=at_end)
            if is_frame is None:
                return None
            if not is_frame or header is None:
                self._noise_bytes += 1
                continue
            self._noise_bytes = 0
            return self._take(at) if at else self._enter(header)
        return None

    def _is_frame(self, at: int, following: int, *, at_end: bool) -> bool | None:
        """Return True if a frame begins here, and as many of its kind follow; None if more bytes are needed."""
        config: tuple[int, ...] | None = None
        for _ in range(following + 1):
            if at + self.header_bytes > len(self._data):
                if not at_end:
                    return None if self._may_begin(at) else False
                return config is not None and at == len(self._data)
            header = self._header_at(at)
            if header is None or header.config != (config or header.config):
                return False
            config = header.config
            at += header.size
        return True

    def _may_begin(self, at: int) -> bool:
        """Return True if a header may begin here, as far as there are bytes."""
        return at >= len(self._data) or self._data[at] == 0xFF

    def _enter(self, header: Header) -> Block | None:
        """Begin to read frames at the start of the buffer."""
        if self._config is None:
            self._config = header.config
            # the frame is complete: more follow, or the stream ends with it
            self._track, samples = self._first_track(header, bytes(self._data[: header.size]))
            self._is_in_sync = True
            return self._take(header.size, samples)
        if header.config != self._config:
            self.error = f"the audio changes its format {self._change(header.config)}"
            return None
        self._is_in_sync = True
        return self._take(header.size, header.samples)

    def _take(self, size: int, samples: int = 0) -> Block:
        data = self._cut_off(size)
        packet = Packet(data, self._start, samples)
        self._start += samples
        return Block(data, (packet,))
