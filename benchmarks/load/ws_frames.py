"""The part of WebSocket that the load server and the floor peer need: whole, short messages on a trusted path.

Not a WebSocket library: it has no fragments, no extensions and no checks. It exists because the floor of a comparison
must not depend on a library, and because the load server must cost less than any client.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MASK = b"\x5a\xa5\x3c\xc3"
"""A constant: masks protect intermediaries (RFC 6455, section 10.3), and there are none between two local processes."""


def handshake_request(host: str, path: str) -> bytes:
    """Return the first bytes that a client sends."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def handshake_response(request: bytes) -> bytes:
    """Return the server's response to a complete request."""
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


def encode(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """Return one whole message of up to 64 KiB as a ws frame; a client masks its ws frames."""
    size, mask_bit = len(payload), 0x80 if masked else 0
    if size < 126:
        header = bytes((0x80 | opcode, mask_bit | size))
    else:
        header = bytes((0x80 | opcode, mask_bit | 126)) + size.to_bytes(2, "big")
    return header + _MASK + apply_mask(payload, _MASK) if masked else header + payload


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask a payload: the operation is its own inverse."""
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")


class WsFrameReader:
    """A parser of a client's ws frames. It leaves unmasking to its caller, since most payloads are never read."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_between_frames(self) -> bool:
        """True if no part of a ws frame is buffered."""
        return not self._buffer

    def read(self, data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        """Buffer the bytes; yield opcode, mask and masked payload of each complete ws frame."""
        self._buffer += data
        while (ws_frame := self._next()) is not None:
            yield ws_frame

    def _next(self) -> tuple[int, bytes, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 6:
            return None
        size, mask_at = buffer[1] & 0x7F, 2
        if size >= 126:
            mask_at = 4 if size == 126 else 10
            if len(buffer) < mask_at:
                return None
            size = int.from_bytes(buffer[2:mask_at], "big")
        payload_at = mask_at + 4
        end = payload_at + size
        if len(buffer) < end:
            return None
        ws_frame = buffer[0] & 0x0F, bytes(buffer[mask_at:payload_at]), bytes(buffer[payload_at:end])
        del buffer[:end]
        return ws_frame
