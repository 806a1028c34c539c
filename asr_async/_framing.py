"""The two WebSocket messages that make up a stream (RFC 6455, section 5.2), written and read in one step.

The library's protocol does it too, in a dozen; audio goes out ten times a second, and was a third of a stream's cost,
results come in some times a second, and were a tenth. Everything else is the library's. So is the masking.
"""

from __future__ import annotations

import os
import struct

try:
    from websockets.speedups import apply_mask
except ImportError:  # not compiled for this system
    from websockets.utils import apply_mask

__all__ = ["binary_frame", "whole_text", "wire_bytes"]

FIN_AND_TEXT = 0x81
FIN_AND_BINARY = 0x82
MASKED = 0x80
_pack_short = struct.Struct("!BB").pack
_pack_medium = struct.Struct("!BBH").pack
_pack_long = struct.Struct("!BBQ").pack


def binary_frame(payload: bytes | memoryview) -> bytes:
    """Make the bytes that carry the payload as one whole message."""
    size = len(payload)
    if size < 126:
        header = _pack_short(FIN_AND_BINARY, MASKED | size)
    elif size < 65_536:
        header = _pack_medium(FIN_AND_BINARY, MASKED | 126, size)
    else:
        header = _pack_long(FIN_AND_BINARY, MASKED | 127, size)
    key = os.urandom(4)  # one that a proxy on the way cannot guess (section 10.3)
    return b"".join((header, key, apply_mask(payload, key)))


def whole_text(data: memoryview) -> str | None:
    """The text, if this is one text message in one frame, as a server sends it, and nothing else; None otherwise."""
    size = len(data)
    if size < 2 or data[0] != FIN_AND_TEXT:
        return None
    length, begins_at = data[1], 2
    if length == 126 and size >= 4:
        length, begins_at = data[2] << 8 | data[3], 4
    if length + begins_at != size:  # nor can it be where the length is longer, or says that there is a mask
        return None
    try:
        return str(data[begins_at:], "utf-8")
    except UnicodeDecodeError:
        return None


def wire_bytes(length: int) -> int:
    """How many bytes a server's frame takes with so long a payload."""
    if length < 126:
        return 2 + length
    return (4 if length < 65_536 else 10) + length
