"""As much of WebSocket as the load server and the bare client need: whole, short messages on a trusted path.

Not a WebSocket library: no fragments, no extensions, no checks. It is here because the floor of a comparison must not
stand on somebody's library, and because the server must cost less than any client.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MASK = b"\x5a\xa5\x3c\xc3"
"""Any will do where nothing stands between that could be confused by what it reads."""


def handshake_request(host: str, path: str) -> bytes:
    """The client's first bytes."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def handshake_response(request: bytes) -> bytes:
    """The server's answer to a request that is complete."""
    key = next(
        value.strip()
        for name, _, value in (line.partition(b":") for line in request.split(b"\r\n"))
        if name.lower() == b"sec-websocket-key"
    )
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def frame(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """One whole message of up to 64 KiB; a client's is masked."""
    size, mask_bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = bytes((0x80 | opcode, mask_bit | size))
    else:
        head = bytes((0x80 | opcode, mask_bit | 126)) + size.to_bytes(2, "big")
    return head + _MASK + unmasked(payload, _MASK) if masked else head + payload


def unmasked(payload: bytes, mask: bytes) -> bytes:
    """Take the mask off, or put it on."""
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")


class FrameReader:
    """Cuts the bytes of a client into messages; a payload is unmasked only for who asks."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_between_frames(self) -> bool:
        """Whether what comes next begins a frame."""
        return not self._buffer

    def read(self, data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        """Take bytes; yield opcode, mask and masked payload of each message that is complete."""
        self._buffer += data
        while (found := self._next()) is not None:
            yield found

    def _next(self) -> tuple[int, bytes, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 6:
            return None
        size, at = buffer[1] & 0x7F, 2
        if size >= 126:
            at = 4 if size == 126 else 10
            if len(buffer) < at:
                return None
            size = int.from_bytes(buffer[2:at], "big")
        end = at + 4 + size
        if len(buffer) < end:
            return None
        found = buffer[0] & 0x0F, bytes(buffer[at : at + 4]), bytes(buffer[at + 4 : end])
        del buffer[:end]
        return found
