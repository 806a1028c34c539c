"""Pushed audio: a source of the chunks that the caller passes to `Session.send`.

Does not know sessions or frames.
"""

from __future__ import annotations

from typing import Self

from .._loop.event import LightEvent
from ..audio import byte_view
from ..errors import LocalProtocolError
from .source import AudioChunk

__all__ = ["PushedAudio"]

AHEAD_BYTES = 64_000
"""The most audio that may wait to be sent: two seconds at 16 kHz."""


class PushedAudio:
    """A bounded queue of chunks as a source: while it is full, `put` waits, so a slow connection slows the caller."""

    live = True

    def __init__(self, max_bytes: int = AHEAD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []  # a few chunks; each session has a queue, and even an empty deque is large
        self._queued_bytes = 0
        self._discarded_bytes = 0
        self._added = LightEvent()
        self._removed = LightEvent()
        self._is_closed = False

    async def put(self, chunk: AudioChunk) -> None:
        """Add a chunk; wait while the queue is full.

        Raises:
            ConfigurationError: the chunk is not bytes-like.
            LocalProtocolError: the source was closed.
        """
        # The owner of a mutable buffer may reuse it as soon as `send` returns.
        data = chunk if isinstance(chunk, bytes) else bytes(byte_view(chunk))
        while not self._is_closed and self._chunks and self._queued_bytes + len(data) > self._max_bytes:
            self._removed.clear()
            await self._removed.wait()
        if self._is_closed:
            raise LocalProtocolError("cannot send audio: finish() was called, or the session has ended")
        self._chunks.append(data)
        self._queued_bytes += len(data)
        self._added.set()

    def discard(self, chunk: AudioChunk) -> None:
        """Count a chunk that is not to be sent any more."""
        self._discarded_bytes += byte_view(chunk).nbytes

    @property
    def unread_bytes(self) -> int:
        """The size of the audio that was pushed and is still in the queue, or was discarded."""
        return self._queued_bytes + self._discarded_bytes

    def close(self) -> None:
        """End the source after the chunks that are already queued. Idempotent."""
        self._is_closed = True
        self._added.set()
        self._removed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._is_closed:
                raise StopAsyncIteration
            self._added.clear()
            await self._added.wait()
        chunk = self._chunks.pop(0)
        self._queued_bytes -= len(chunk)
        self._removed.set()
        return chunk
