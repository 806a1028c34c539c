"""Compressed audio that is made here, byte by byte, from the formats' documents: the reference for the parsers.

Each packet holds its own number where the audio would be, so a reader of what a session sends knows which packets came.
None of it is for a decoder: tests with a real one use files that ffmpeg makes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = [
    "MP3_FRAME_BYTES",
    "MP3_FRAME_MS",
    "OGG_SERIAL",
    "OPUS_PACKET_MS",
    "PRE_SKIP",
    "OggPage",
    "adts_frame",
    "amr_frame",
    "mp3_frame",
    "mp3_numbers",
    "ogg_page",
    "ogg_pages",
    "opus_file",
    "opus_head",
    "opus_numbers",
    "opus_packet",
    "opus_tags",
    "speex_file",
]

MP3_FRAME_BYTES = 144
MP3_FRAME_MS = 36
_MP3_SIDE_INFO = 9
_MP3_RATES = {16_000: 0x48, 22_050: 0x40, 24_000: 0x44}  # MPEG-2, 32 kbit/s

OPUS_PACKET_MS = 20
PRE_SKIP = 312
OGG_SERIAL = 0x1234


def mp3_frame(number: int, *, rate: int = 16_000, reservoir: int = 0) -> bytes:
    """Return a frame of MPEG-2 layer III, mono, 32 kbit/s: 36 ms at 16 kHz, whose data begins so many bytes before."""
    size = 72_000 * 32 // rate
    side_info = bytes([reservoir]) + b"\x55" * (_MP3_SIDE_INFO - 1)
    head = bytes([0xFF, 0xF3, _MP3_RATES[rate], 0xC0]) + side_info
    return (head + b"#%06d#" % number).ljust(size, b"m")


def mp3_numbers(data: bytes) -> Iterator[tuple[int, bool]]:
    """Yield the number of each frame, and True if it is audible: the side information of a silent one is empty."""
    for frame in re.finditer(rb"\xff\xf3\x48\xc0(.{9})#(\d{6})#m{123}", data, re.DOTALL):
        yield int(frame[2]), frame[1][1:] == b"\x55" * 8


def adts_frame(number: int, *, rate_index: int = 8, blocks: int = 1, channels: int = 1, size: int = 60) -> bytes:
    """Return an ADTS frame of AAC LC without a checksum; rate index 8 is 16 kHz."""
    head = bytes(
        [
            0xFF,
            0xF1,
            0x40 | rate_index << 2 | channels >> 2,
            (channels & 3) << 6 | size >> 11,
            size >> 3 & 0xFF,
            (size & 7) << 5 | 0x1F,
            0xFC | blocks - 1,
        ]
    )
    return (head + b"#%06d#" % number).ljust(size, b"a")


def amr_frame(number: int, *, kind: int = 7, size: int = 32) -> bytes:
    """Return a frame of AMR at 12.2 kbit/s."""
    return bytes([kind << 3 | 4]) + (b"#%06d#" % number).ljust(size - 1, b"\xaa")


def opus_packet(number: int, *, size: int = 40) -> bytes:
    """Return a packet of 20 ms: wideband SILK, one frame."""
    return bytes([9 << 3]) + (b"#%06d#" % number).ljust(size - 1, b"o")


def opus_head(pre_skip: int = PRE_SKIP) -> bytes:
    """Return an identification header: mono, 16 kHz before the encoder."""
    return b"OpusHead" + struct.pack("<BBHIhB", 1, 1, pre_skip, 16_000, 0, 0)


def opus_tags(comment: bytes = b"TITLE=x") -> bytes:
    """Return a comment header with one comment."""
    return b"OpusTags" + struct.pack("<I4sI", 4, b"test", 1) + struct.pack("<I", len(comment)) + comment


class OggPage(NamedTuple):
    """A page that was read; its checksum is right."""

    flags: int
    granule: int
    serial: int
    sequence: int
    packets: list[bytes]
    is_open: bool


def _remainder(value: int) -> int:
    for _ in range(8):
        value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    return value


_REMAINDERS = [_remainder(byte << 24) for byte in range(256)]


def ogg_checksum(data: bytes) -> int:
    """Return the checksum as RFC 3533 defines it."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _REMAINDERS[crc >> 24 ^ byte]
    return crc


def ogg_page(
    packets: Sequence[bytes],
    granule: int,
    sequence: int,
    *,
    flags: int = 0,
    serial: int = OGG_SERIAL,
    is_open: bool = False,
) -> bytes:
    """Return a page; with `is_open` its last packet continues on the next one."""
    laces = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    if is_open:
        laces = laces[:-1]
    page = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, sequence, 0, len(laces))
    page += laces + b"".join(packets)
    return page[:22] + struct.pack("<I", ogg_checksum(page)) + page[26:]


def ogg_pages(data: bytes) -> Iterator[OggPage]:
    """Yield the pages of a stream that has nothing else in it."""
    while data:
        capture, _, flags, granule, serial, sequence, checksum, segments = struct.unpack_from("<4sBBqIIIB", data)
        assert capture == b"OggS"
        laces = data[27 : 27 + segments]
        size = 27 + segments + sum(laces)
        page, data = data[:size], data[size:]
        assert ogg_checksum(page[:22] + bytes(4) + page[26:]) == checksum
        packets, at, begin = [], 27 + segments, 27 + segments
        for lace in laces:
            at += lace
            if lace < 255:
                packets.append(page[begin:at])
                begin = at
        if begin < at:
            packets.append(page[begin:at])
        yield OggPage(flags, granule, serial, sequence, packets, bool(laces) and laces[-1] == 255)


def opus_file(
    numbers: Sequence[int],
    *,
    in_page: int = 1,
    size: int = 40,
    serial: int = OGG_SERIAL,
    pre_skip: int = PRE_SKIP,
    tags: bytes = b"",
) -> bytes:
    """Return an Ogg Opus file with so many packets on each page."""
    pages = [ogg_page([opus_head(pre_skip)], 0, 0, flags=2, serial=serial)]
    pages.append(ogg_page([tags or opus_tags()], 0, 1, serial=serial))
    for first in range(0, len(numbers), in_page):
        group = numbers[first : first + in_page]
        end = first + len(group)
        is_last = end == len(numbers)
        page = ogg_page(
            [opus_packet(number, size=size) for number in group],
            end * 960,
            len(pages),
            flags=4 * is_last,
            serial=serial,
        )
        pages.append(page)
    return b"".join(pages)


def opus_numbers(data: bytes) -> list[int]:
    """Return the numbers of the packets of a stream, whose pages must be right; half a page at its end is ignored."""
    whole = data[: data.rfind(b"OggS")]
    numbers: list[int] = []
    for sequence, page in enumerate(ogg_pages(whole)):
        assert page.sequence == sequence
        found = [int(packet[2:8]) for packet in page.packets if packet[1:2] == b"#"]
        numbers += found
        if found:
            assert page.granule == len(numbers) * 960
    return numbers


def speex_file(numbers: Sequence[int], *, in_page: int = 1) -> bytes:
    """Return an Ogg Speex file: wideband, 20 ms in a packet."""
    head = struct.pack("<8s20s13i", b"Speex   ", b"1.2", 1, 80, 16_000, 1, 4, 1, -1, 320, 0, 1, 0, 0, 0)
    pages = [ogg_page([head], 0, 0, flags=2), ogg_page([struct.pack("<I4sI", 4, b"test", 0)], 0, 1)]
    for first in range(0, len(numbers), in_page):
        group = numbers[first : first + in_page]
        packets = [(b"#%06d#" % number).ljust(42, b"s") for number in group]
        pages.append(ogg_page(packets, (first + len(group)) * 320, len(pages)))
    return b"".join(pages)
