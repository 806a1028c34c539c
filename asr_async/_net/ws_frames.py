"""The two WebSocket messages that make up a stream (RFC 6455, section 5.2), written and read in one step.

The library's protocol does it too, in a dozen; audio goes out ten times a second, and was a third of a stream's cost,
results come in some times a second, and were a tenth. Everything else is the library's. So is the masking.
"""

from __future__ import annotations

import functools
import os
import struct
from typing import TYPE_CHECKING

try:
    from websockets.speedups import apply_mask
except ImportError:  # not compiled for this system
    from websockets.utils import apply_mask

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["binary_frame", "whole_text", "wire_bytes"]

FIN_AND_TEXT = 0x81
FIN_AND_BINARY = 0x82
MASKED = 0x80
_pack_short = struct.Struct("!BB").pack
_pack_medium = struct.Struct("!BBH").pack
_pack_long = struct.Struct("!BBQ").pack

KEYS_AT_ONCE = 1024
"""A call of the system for each frame is a cost that many sessions feel."""

_keys: Iterator[tuple[bytes]] = iter(())
"""Masking keys that nobody has used."""


def binary_frame(payload: bytes | memoryview) -> bytes:
    """Make the bytes that carry the payload as one whole message."""
    key = next(_keys, None) or _new_key()
    return b"".join((_binary_header(len(payload)), key[0], apply_mask(payload, key[0])))


@functools.lru_cache(maxsize=64)  # a stream's frames are all of one length but for the last
def _binary_header(size: int) -> bytes:
    if size < 126:
        return _pack_short(FIN_AND_BINARY, MASKED | size)
    if size < 65_536:
        return _pack_medium(FIN_AND_BINARY, MASKED | 126, size)
    return _pack_long(FIN_AND_BINARY, MASKED | 127, size)


def _new_key() -> tuple[bytes]:
    """Of the next lot of keys, the first. The system makes them: a proxy on the way cannot guess one (section 10.3)."""
    global _keys  # noqa: PLW0603 - what is drawn ahead is everybody's
    keys = _keys = struct.iter_unpack("4s", os.urandom(4 * KEYS_AT_ONCE))
    return next(keys)


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
