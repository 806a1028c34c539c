"""The pages of Ogg (RFC 3533): reading and writing one, with its checksum."""

from __future__ import annotations

import struct
import zlib

import msgspec

__all__ = ["MAX_PAGE_BYTES", "NO_GRANULE", "Page", "checksum", "page_size", "parse_page", "write_page"]

HEADER_BYTES = 27
MAX_PAGE_BYTES = HEADER_BYTES + 255 + 255 * 255

NO_GRANULE = -1
"""The granule position of a page on which no packet ends."""

_HEADER = struct.Struct("<4sBBqIIIB")
_CHECKSUM_AT = 22
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_SEGMENT_BYTES = 255

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(msgspec.Struct, frozen=True, gc=False):
    """The content of one page."""

    serial: int
    granule: int
    """The samples of the stream up to the end of the last packet that ends on the page."""
    parts: tuple[bytes, ...]
    """The packets and parts of packets on the page."""
    is_continued: bool = False
    """True if the first part continues a packet of the page before."""
    is_first: bool = False
    is_last: bool = False
    ends_in_packet: bool = False
    """True if the last part continues on the next page."""


def checksum(data: bytes) -> int:
    """Return the CRC of a page whose checksum is 0: the polynomial of zlib's, but with the bits in the other order."""
    crc = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "big").translate(_REVERSED), "little")


def page_size(data: bytes | bytearray) -> int | None:
    """Return the size of the page at the start of the data; None if its header is not complete."""
    if len(data) < HEADER_BYTES:
        return None
    segments = data[HEADER_BYTES - 1]
    if len(data) < HEADER_BYTES + segments:
        return None
    return HEADER_BYTES + segments + sum(data[HEADER_BYTES : HEADER_BYTES + segments])


def parse_page(data: bytes) -> Page | None:
    """Return the content of a page; None if it is damaged."""
    capture, version, flags, granule, serial, _, expected, segments = _HEADER.unpack_from(data)
    if capture != b"OggS" or version != 0:
        return None
    if checksum(data[:_CHECKSUM_AT] + b"\0\0\0\0" + data[_CHECKSUM_AT + 4 :]) != expected:
        return None
    parts: list[bytes] = []
    begin = end = HEADER_BYTES + segments
    laces = data[HEADER_BYTES:begin]
    for lace in laces:
        end += lace
        if lace < _SEGMENT_BYTES:
            parts.append(data[begin:end])
            begin = end
    ends_in_packet = bool(laces) and laces[-1] == _SEGMENT_BYTES
    if ends_in_packet:
        parts.append(data[begin:end])
    return Page(
        serial=serial,
        granule=granule,
        parts=tuple(parts),
        is_continued=bool(flags & _CONTINUED),
        is_first=bool(flags & _FIRST),
        is_last=bool(flags & _LAST),
        ends_in_packet=ends_in_packet,
    )


def write_page(page: Page, sequence: int) -> bytes:
    """Return the bytes of a page.

    Raises:
        ValueError: the parts need more than the 255 segments of a page.
    """
    laces = bytearray()
    for index, part in enumerate(page.parts):
        laces += b"\xff" * (len(part) // _SEGMENT_BYTES)
        if not (page.ends_in_packet and index == len(page.parts) - 1):
            laces.append(len(part) % _SEGMENT_BYTES)
    flags = _CONTINUED * page.is_continued | _FIRST * page.is_first | _LAST * page.is_last
    header = _HEADER.pack(b"OggS", 0, flags, page.granule, page.serial, sequence & 0xFFFFFFFF, 0, 0)
    data = b"".join([header[:-1], bytes((len(laces),)), laces, *page.parts])
    return data[:_CHECKSUM_AT] + checksum(data).to_bytes(4, "little") + data[_CHECKSUM_AT + 4 :]
