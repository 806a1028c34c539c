"""Audio that a caller pushes, chunk by chunk, as a source for the one who sends it."""

from __future__ import annotations

from typing import Self

from .._loop.event import LightEvent
from ..errors import ConfigurationError, LocalProtocolError
from .source import AudioChunk

__all__ = ["PushedAudio"]

AHEAD_BYTES = 64_000
"""What may wait to be sent: two seconds at 16 kHz."""


class PushedAudio:
    """A source that is filled by pushing; bounded, so that a slow connection slows the one who pushes."""

    live = True

    def __init__(self, max_bytes: int = AHEAD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []  # few; every session has one of these, and a deque is never small
        self._waiting_bytes = 0
        self._arrived = LightEvent()
        self._taken = LightEvent()
        self._is_closed = False

    async def put(self, chunk: AudioChunk) -> None:
        """Take in a chunk; waits while too much is ahead.

        Raises:
            ConfigurationError: it is not bytes-like.
            LocalProtocolError: the source was closed.
        """
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise ConfigurationError(f"audio chunks must be bytes, bytearray or memoryview, not {type(chunk).__name__}")
        # its owner may reuse the buffer as soon as `send` returns
        owned = chunk if isinstance(chunk, bytes) else bytes(chunk)
        while not self._is_closed and self._chunks and self._waiting_bytes + len(owned) > self._max_bytes:
            self._taken.clear()
            await self._taken.wait()
        if self._is_closed:
            raise LocalProtocolError("no audio can be sent any more: finish() was called, or the session has ended")
        self._chunks.append(owned)
        self._waiting_bytes += len(owned)
        self._arrived.set()

    def close(self) -> None:
        """Set the end, behind what is already here. Idempotent."""
        self._is_closed = True
        self._arrived.set()
        self._taken.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._is_closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        chunk = self._chunks.pop(0)
        self._waiting_bytes -= len(chunk)
        self._taken.set()
        return chunk
