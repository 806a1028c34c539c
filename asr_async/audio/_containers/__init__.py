"""The containers of compressed audio that can be cut: parsers of their packets, and the rules of a stream that is cut.

A parser turns bytes, in chunks of any size, into `Block`s, which hold the bytes as they came and the packets in them,
each with its place in time. Its `track` has the rules for a decoder that begins in the middle: the headers and the
packets before the place that it needs, and the place of its time 0 in the source. Pure: no module here knows files,
frames or clocks.
"""

from __future__ import annotations

from .adts import AdtsParser
from .amr import AmrParser
from .mpeg import MpegParser
from .ogg import OggParser
from .packet import Block, Cut, NotCuttableError, Packet, Parser, Track, Writer

__all__ = ["Block", "Cut", "NotCuttableError", "Packet", "Parser", "Track", "Writer", "find_parser"]


def find_parser(encoding: str, start: bytes) -> Parser | None:
    """Return the parser for a stream that begins with `start`; None if more than these bytes are needed.

    Raises:
        NotCuttableError: no container of this encoding that can be cut begins so.
    """
    for magic, parser in (
        (b"OggS", OggParser),
        (AmrParser.NARROWBAND, AmrParser.narrowband),
        (AmrParser.WIDEBAND, AmrParser.wideband),
    ):
        if start.startswith(magic):
            return parser()
        if magic.startswith(start):
            return None
    match encoding:
        case "mp3":
            return MpegParser()
        case "aac":
            return AdtsParser()
        case _:
            raise NotCuttableError(f"{encoding} does not begin like a container that can be cut")
