"""WebSocket frames (RFC 6455, section 5.2) as bytes: a fast writer, a fast reader, and messages made of frames.

Does not know sockets. The library's protocol reads and writes frames too, in a dozen steps. Two kinds make up a session
and are handled here in one step: audio goes out ten times a second and was a third of a session's cost, results come in
a few times a second and were a tenth. Everything else is left to the library.
"""

from __future__ import annotations

import functools
import math
import os
import struct
from typing import TYPE_CHECKING

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.client import ClientProtocol
    from websockets.protocol import Event

__all__ = ["FIN_AND_PONG", "MessageReader", "binary_frame", "text_of", "wire_bytes"]

FIN_AND_TEXT = 0x81
FIN_AND_BINARY = 0x82
FIN_AND_PONG = 0x8A
MASKED = 0x80
_pack_short = struct.Struct("!BB").pack
_pack_medium = struct.Struct("!BBH").pack
_pack_long = struct.Struct("!BBQ").pack

KEYS_AT_ONCE = 1024
"""With many sessions a system call for each frame's key shows in the CPU time."""

_keys: Iterator[tuple[bytes]] = iter(())
"""Masking keys that are not used yet."""


# --- writing ---------------------------------------------------------------------------------------------------------


def _mask(payload: bytes | memoryview, key: bytes) -> bytes:
    """Mask a payload (RFC 6455, section 5.3), all bytes in one operation on long integers."""
    size = len(payload)
    keys = int.from_bytes((key * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(payload, "little") ^ keys).to_bytes(size, "little")


def _find_mask() -> Callable[[bytes | memoryview, bytes], bytes]:
    """Return the compiled masking of `websockets`, which its documentation does not name; else the one above."""
    try:
        from websockets.speedups import apply_mask  # noqa: PLC0415
    except ImportError:  # not compiled for this system, or no longer there
        return _mask
    return apply_mask


_apply_mask = _find_mask()


def binary_frame(payload: bytes | memoryview) -> bytes:
    """Return the bytes that carry a payload as one whole message."""
    key = next(_keys, None) or _new_key()
    return b"".join((_binary_header(len(payload)), key[0], _apply_mask(payload, key[0])))


@functools.lru_cache(maxsize=64)  # the frames of a session are all of one length, except for the last
def _binary_header(size: int) -> bytes:
    if size < 126:
        return _pack_short(FIN_AND_BINARY, MASKED | size)
    if size < 65_536:
        return _pack_medium(FIN_AND_BINARY, MASKED | 126, size)
    return _pack_long(FIN_AND_BINARY, MASKED | 127, size)


def _new_key() -> tuple[bytes]:
    """Return the first of a new lot of keys; the system makes them, so a proxy cannot guess one (section 10.3)."""
    global _keys  # noqa: PLW0603 - the keys are shared by all connections
    keys = _keys = struct.iter_unpack("4s", os.urandom(4 * KEYS_AT_ONCE))
    return next(keys)


# --- reading ---------------------------------------------------------------------------------------------------------


def text_of(data: memoryview) -> str | None:
    """Return the text if the bytes are one text message in one frame, as servers send it; None for anything else."""
    size = len(data)
    if size < 2 or data[0] != FIN_AND_TEXT:
        return None
    length, begins_at = data[1], 2
    if length == 126 and size >= 4:
        length, begins_at = data[2] << 8 | data[3], 4
    if length + begins_at != size:  # a longer length and the bit of a mask do not pass this either
        return None
    try:
        return str(data[begins_at:], "utf-8")
    except UnicodeDecodeError:
        return None


def wire_bytes(length: int) -> int:
    """Return the size of a server's frame with a payload of this length."""
    if length < 126:
        return 2 + length
    return (4 if length < 65_536 else 10) + length


class MessageReader:
    """The reading side of one connection: received bytes in, whole messages out."""

    __slots__ = (
        "_fragments",
        "_is_text",
        "_protocol",
        "_unparsed_bytes",
        "frame_count",
        "is_between_messages",
        "last_pong",
    )

    def __init__(self, protocol: ClientProtocol) -> None:
        self._protocol = protocol
        # the beginning of a message that is not complete; None between messages
        self._fragments: bytearray | None = None
        self._is_text = False
        # how much of a frame the protocol holds while it waits for the rest; infinite before the handshake is complete
        self._unparsed_bytes: float = math.inf
        self.is_between_messages: bool = False
        """True if the next byte begins a new message, so that `text_of` may read it. Read for each message."""
        self.frame_count: int = 0
        """The number of ws frames that the last bytes completed."""
        self.last_pong: bytes | None = None
        """The payload of the newest pong."""

    def receive(self, data: bytes) -> list[str | bytes]:
        """Parse bytes of any kind; return the messages that are complete now, up to the first invalid one.

        The protocol then has its answers to send, and knows what the server broke, if it did.
        """
        is_handshake = self._protocol.state is State.CONNECTING
        self._protocol.receive_data(data)
        events = self._protocol.events_received()
        self.frame_count = len(events)
        if is_handshake and self._protocol.state is State.OPEN:
            self._release_headers(events)
        messages: list[str | bytes] = []
        try:
            for event in events:
                if not isinstance(event, Frame):
                    continue
                if event.opcode < Opcode.CLOSE:  # from there on: control frames
                    message = self._join(event)
                    if message is not None:
                        messages.append(message)
                elif event.opcode is Opcode.PONG:
                    self.last_pong = bytes(event.data)
        except UnicodeDecodeError as error:
            self._protocol.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
        self._count_unparsed(data, events, is_handshake=is_handshake)
        self.is_between_messages = not self._unparsed_bytes and self._fragments is None
        return messages

    @staticmethod
    def _release_headers(events: list[Event]) -> None:
        """Empty the headers of an accepted handshake, which the protocol would keep as long as the connection: 1 KB."""
        for event in events:
            if isinstance(event, Response):
                event.headers.clear()

    def _join(self, frame: Frame) -> str | bytes | None:
        """Join the fragments of a message; None while it is not complete."""
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        data = frame.data
        if self._fragments is not None or not frame.fin:
            fragments = self._fragments = self._fragments or bytearray()
            fragments += data
            if not frame.fin:
                return None
            data, self._fragments = fragments, None
        return str(data, "utf-8") if self._is_text else bytes(data)

    def _count_unparsed(self, data: bytes, events: list[Event], *, is_handshake: bool) -> None:
        """Find out whether the protocol waits for the rest of a frame."""
        if is_handshake:
            _, blank_line, behind = data.partition(b"\r\n\r\n")
            self._unparsed_bytes = len(behind) if blank_line else math.inf
        else:
            self._unparsed_bytes += len(data)
        for event in events:
            if isinstance(event, Frame):
                self._unparsed_bytes -= wire_bytes(len(event.data))
