"""Numbered audio: sources in which every part holds its own number, and the readers that find its place.

- pcm, pcm24k: each sample is the number of its millisecond, so that a place is known to the sample;
- mp3: MPEG-2 layer III frames of 36 ms without a bit reservoir, each with its number in the payload;
- opus: Ogg pages with one to fifty packets of 20 ms, each with its number.

An `AudioReader` reads the audio of a connection, and raises `Undecodable` where a decoder would refuse it. It records
where the audio does not continue: a part left out or sent twice. Does not know words or protocols.
"""

from __future__ import annotations

import random
import struct
from array import array

__all__ = ["AudioReader", "Mp3Reader", "OpusReader", "PcmReader", "Undecodable", "numbered_audio", "reader_for"]

RATE = 16_000
PER_MS = {"pcm": RATE // 1000, "pcm24k": 24}
"""The samples of a millisecond."""
MAX_MS = 32_000
"""The longest source: the number of a millisecond has to fit into a sample."""

MP3_FRAME_MS, MP3_FRAME_BYTES = 36, 144
_MP3_HEADER = b"\xff\xf3\x48\xc0"  # MPEG-2 layer III without checksum, 32 kbit/s, 16 kHz, mono
_MP3_SIDE_BYTES = 9

OPUS_PACKET_MS = 20
_OPUS_TOC = bytes([9 << 3])  # SILK, wide band, 20 ms, one frame
_OPUS_PACKET_BYTES = 40
_OPUS_SERIAL = 0x1234

_pcm: dict[str, bytes] = {}


class Undecodable(Exception):  # noqa: N818 - the word that a vendor uses
    """Audio that a decoder would refuse."""


def numbered_audio(audio_format: str, length_ms: int, rng: random.Random) -> bytes:
    """Return a source of this length: pcm, pcm24k, mp3 or opus."""
    match audio_format:
        case "mp3":
            return _mp3(length_ms, rng)
        case "opus":
            return _opus(length_ms, rng)
    per_ms = PER_MS[audio_format]
    if audio_format not in _pcm:
        _pcm[audio_format] = array("h", (ms + 1 for ms in range(MAX_MS) for _ in range(per_ms))).tobytes()
    return _pcm[audio_format][: length_ms * per_ms * 2]


def _mp3(length_ms: int, rng: random.Random) -> bytes:
    tag = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128) if rng.random() < 0.5 else b""
    body = bytes(MP3_FRAME_BYTES - len(_MP3_HEADER) - _MP3_SIDE_BYTES - 4)
    side = bytes(_MP3_SIDE_BYTES)
    count = -(-length_ms // MP3_FRAME_MS)
    return tag + b"".join(_MP3_HEADER + side + struct.pack(">I", number) + body for number in range(count))


def _opus(length_ms: int, rng: random.Random) -> bytes:
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 312, RATE, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 4) + b"test" + struct.pack("<I", 0)
    pages = [_ogg_page([head], 0, 0, flags=2), _ogg_page([tags], 0, 1)]
    count = -(-length_ms // OPUS_PACKET_MS)
    per_page = rng.choice((1, 5, 10, 50))
    body = bytes(_OPUS_PACKET_BYTES - 5)
    for begin in range(0, count, per_page):
        end = min(begin + per_page, count)
        packets = [_OPUS_TOC + struct.pack(">I", number) + body for number in range(begin, end)]
        pages.append(_ogg_page(packets, 312 + end * 960, len(pages), flags=4 if end == count else 0))
    return b"".join(pages)


def _ogg_page(packets: list[bytes], granule: int, number: int, *, flags: int = 0) -> bytes:
    head = struct.pack("<4sBBqII", b"OggS", 0, flags, granule, _OPUS_SERIAL, number)
    sizes = bytes(len(packet) for packet in packets)
    rest = bytes([len(sizes)]) + sizes + b"".join(packets)
    return head + struct.pack("<I", _ogg_checksum(head + bytes(4) + rest)) + rest


def _checksum_table() -> tuple[int, ...]:
    table = []
    for index in range(256):
        value = index << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7) if value & 0x80000000 else value << 1
        table.append(value & 0xFFFFFFFF)
    return tuple(table)


_CHECKSUM_TABLE = _checksum_table()


def _ogg_checksum(page: bytes) -> int:
    value = 0
    for byte in page:
        value = value << 8 & 0xFFFFFFFF ^ _CHECKSUM_TABLE[value >> 24 ^ byte]
    return value


class AudioReader:
    """The audio of one connection: the part of the source from `begin_ms` to `end_ms`."""

    def __init__(self) -> None:
        self.begin_ms: int | None = None
        self.end_ms = 0
        self.breaks: list[str] = []
        """The places where the audio does not continue."""
        self._rest = b""

    def read(self, data: bytes) -> None:
        """Read the next bytes.

        Raises:
            Undecodable: they are not this kind of audio.
        """
        raise NotImplementedError

    def _note(self, begin_ms: int, end_ms: int) -> None:
        if self.begin_ms is None:
            self.begin_ms = begin_ms
        elif begin_ms != self.end_ms:
            self.breaks.append(f"{begin_ms} ms follows {self.end_ms} ms")
        self.end_ms = end_ms


class PcmReader(AudioReader):
    """The reader of 16-bit samples; the first sample of a connection may be inside a millisecond."""

    def __init__(self, audio_format: str = "pcm") -> None:
        super().__init__()
        self._per_ms = PER_MS[audio_format]
        self._next_sample = -1

    def read(self, data: bytes) -> None:
        per_ms = self._per_ms
        data = self._rest + data
        whole = len(data) & ~1
        self._rest = data[whole:]
        samples = array("h")
        samples.frombytes(data[:whole])
        if not samples:
            return
        first, last = samples[0] - 1, samples[-1] - 1
        if self._next_sample < 0:
            inside = per_ms - next((n for n, value in enumerate(samples[:per_ms]) if value != samples[0]), per_ms)
            self._next_sample = first * per_ms + inside
            self.begin_ms = first
        elif self._next_sample // per_ms != first:
            self.breaks.append(f"{first} ms follows {self._next_sample // per_ms} ms")
            self._next_sample = first * per_ms
        self._next_sample += len(samples)
        if (self._next_sample - 1) // per_ms != last:
            self.breaks.append(f"a message from {first} ms ends at {last} ms")
            self._next_sample = (last + 1) * per_ms
        self.end_ms = self._next_sample // per_ms


class Mp3Reader(AudioReader):
    """The reader of mp3 frames, with or without a tag before them."""

    def read(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        if self.begin_ms is None and data[:3] == b"ID3"[: len(data)]:
            if len(data) < 10 or len(data) < (size := 10 + _syncsafe(data[6:10])):
                self._rest = data
                return
            at = size
        while len(data) - at >= MP3_FRAME_BYTES:
            if data[at : at + 4] != _MP3_HEADER:
                raise Undecodable(f"no frame begins with {data[at : at + 4]!r}")
            (number,) = struct.unpack_from(">I", data, at + 4 + _MP3_SIDE_BYTES)
            self._note(number * MP3_FRAME_MS, (number + 1) * MP3_FRAME_MS)
            at += MP3_FRAME_BYTES
        self._rest = data[at:]


def _syncsafe(size: bytes) -> int:
    return size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3]


class OpusReader(AudioReader):
    """The reader of Ogg pages: header pages first, every checksum right."""

    def __init__(self) -> None:
        super().__init__()
        self._pages = 0

    def read(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while len(data) - at >= 27 and len(data) - at >= (size := _page_bytes(data, at)):
            self._hear_page(data[at : at + size])
            at += size
        self._rest = data[at:]

    def _hear_page(self, page: bytes) -> None:
        if page[:4] != b"OggS":
            raise Undecodable(f"no page begins with {page[:4]!r}")
        (checksum,) = struct.unpack_from("<I", page, 22)
        if _ogg_checksum(page[:22] + bytes(4) + page[26:]) != checksum:
            raise Undecodable("a page has a wrong checksum")
        at = 27 + page[26]
        for size in page[27:at]:
            packet, at = page[at : at + size], at + size
            expected = (b"OpusHead", b"OpusTags")[self._pages] if self._pages < 2 else _OPUS_TOC
            if not packet.startswith(expected):
                raise Undecodable(f"a packet on page {self._pages} begins with {packet[:8]!r}")
            if self._pages >= 2:
                (number,) = struct.unpack_from(">I", packet, 1)
                self._note(number * OPUS_PACKET_MS, (number + 1) * OPUS_PACKET_MS)
        self._pages += 1


def _page_bytes(data: bytes, at: int) -> int:
    count = data[at + 26]
    return 27 + count + (sum(data[at + 27 : at + 27 + count]) if len(data) >= at + 27 + count else len(data))


def reader_for(audio_format: str) -> AudioReader:
    """Return the reader of a format that a client has named."""
    if audio_format in PER_MS:
        return PcmReader(audio_format)
    readers = {"mp3": Mp3Reader, "opus": OpusReader, "pcm16k16bit": PcmReader}
    return readers[audio_format]()
