"""The kind of audio that an input holds, by its first bytes, as far as a vendor may take it as it is.

Reads no further than the first packet of the audio. Does not decode.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec

from ..audio._containers import NotCuttableError, find_parser

if TYPE_CHECKING:
    from ..audio._containers import Block, Track
    from .byte_reader import ByteReader

__all__ = ["CompressedAudio", "find_compressed", "is_text"]

MAX_START_BYTES = 256 * 1024
"""The most that is looked at: an mp3 begins with a tag, which may hold a picture."""

_ID3_BYTES = 10
_TEXT = frozenset({9, 10, 12, 13, *range(0x20, 0x7F)})
_PAGE_HEADER_BYTES = 27
_MONO = 3


class CompressedAudio(msgspec.Struct, frozen=True):
    """Compressed audio in one of the containers that vendors take.

    Attributes:
        encoding: the name of it as `AudioFormat.encoding`.
        sample_rate: in Hz; for Opus, that of the sound before it was encoded.
        channels: the number of channels.
        declared_ms: the length that a table of contents declares (the Xing or Info frame of an mp3); None without one.
        declared_bytes: the size of the audio that it declares.
    """

    encoding: str
    sample_rate: int
    channels: int
    declared_ms: int | None = None
    declared_bytes: int | None = None


def find_compressed(reader: ByteReader) -> CompressedAudio | None:
    """Return what begins here, without reading it; None if it is something else."""
    start = reader.peek(64)
    if start.startswith(b"OggS"):
        return _ogg(reader.peek(512))
    if start.startswith(b"#!AMR\n"):
        return CompressedAudio("amr", 8_000, 1)
    skipped = _id3_bytes(start)
    if skipped + 4_096 > MAX_START_BYTES:
        return None
    start = reader.peek(skipped + 2)[skipped:]
    if len(start) < 2 or start[0] != 0xFF or start[1] & 0xE0 != 0xE0:
        return None
    data = reader.peek(skipped + 4 * 4_096)[skipped:]
    is_adts = start[1] & 0xF6 == 0xF0
    return _sync_words("aac" if is_adts else "mp3", data)


def is_text(start: bytes) -> bool:
    """Return True if this is text in ASCII: no audio begins so."""
    return len(start) >= 4 and all(byte in _TEXT for byte in start)


def _id3_bytes(start: bytes) -> int:
    if not start.startswith(b"ID3") or len(start) < _ID3_BYTES:
        return 0
    size = start[6] << 21 | start[7] << 14 | start[8] << 7 | start[9]
    return _ID3_BYTES + size + (_ID3_BYTES if start[5] & 0x10 else 0)


def _sync_words(encoding: str, data: bytes) -> CompressedAudio | None:
    """Return the facts of the first frame, if two more follow it."""
    try:
        parser = find_parser(encoding, data)
    except NotCuttableError:
        return None
    blocks = [] if parser is None else parser.feed(data)
    packet = next((packet for block in blocks for packet in block.packets if len(packet.data) >= 4), None)
    if parser is None or packet is None or not any(packet.samples for block in blocks for packet in block.packets):
        return None
    header = packet.data
    if encoding == "aac":
        return CompressedAudio(encoding, parser.track.rate, (header[2] & 1) << 2 | header[3] >> 6)
    declared_ms, declared_bytes = _table_of_contents(parser.track, blocks)
    channels = 1 if header[3] >> 6 == _MONO else 2
    return CompressedAudio(encoding, parser.track.rate, channels, declared_ms, declared_bytes)


def _table_of_contents(track: Track, blocks: list[Block]) -> tuple[int | None, int | None]:
    """Return the length in milliseconds and the size in bytes that the first frame of an mp3 declares."""
    at = max(track.header.find(b"Xing"), track.header.find(b"Info"))
    tag = track.header[at : at + 16]
    if at < 0 or len(tag) < 16 or tag[7] & 3 != 3:  # it has both numbers
        return None, None
    frames, size = struct.unpack_from(">II", tag, 8)
    samples = next(packet.samples for block in blocks for packet in block.packets if packet.samples)
    return frames * samples * 1000 // track.rate, size


def _ogg(page: bytes) -> CompressedAudio | None:
    if len(page) < _PAGE_HEADER_BYTES:
        return None
    head = page[_PAGE_HEADER_BYTES + page[_PAGE_HEADER_BYTES - 1] :]
    if head.startswith(b"OpusHead") and len(head) >= 19:
        return CompressedAudio("opus", struct.unpack_from("<I", head, 12)[0] or 48_000, head[9])
    if head.startswith(b"Speex   ") and len(head) >= 52:
        rate, channels = struct.unpack_from("<i", head, 36)[0], struct.unpack_from("<i", head, 48)[0]
        return CompressedAudio("speex", rate, channels)
    return None
