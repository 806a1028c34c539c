"""Pushed audio: a source of the chunks that a program sends to it, from before its session is open on.

Does not know sessions or frames.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, Self

from .._loop.event import LightEvent
from .._loop.owner import check_loop
from .._text.secret import tolerant_repr
from ..audio import COMPRESSED_BYTES_PER_SECOND, AudioFormat, byte_view, check_array
from ..errors import ConfigurationError, DeadlineError, LocalProtocolError
from ..vendors.options import Options, check_is_options
from .source import AudioChunk, DroppedAudio, UtteranceEnd

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PushSource", "WhenFull"]

UNREAD_S = 60.0
"""The longest wait for a session that reads the source: as long as a session may wait for a limit by default."""

DROP_REASON = "the PushSource was full, and has dropped its oldest audio (when_full='drop_oldest')"

WhenFull = Literal["wait", "drop_oldest", "raise"]


class PushSource:
    """A source of pushed audio: `session.stream(source)`, or `session.events(source)`.

    It takes audio before the session is open, so no word is lost while it connects:

        source = PushSource(options)
        microphone.start(source.send_nowait)
        async with client.session(options) as session:
            async for event in session.events(source):
                ...

    It is bounded: `max_s` seconds wait at most, and `when_full` is what happens to more. In an open session little
    waits here, since the session reads at once, and has a buffer of its own (`Retry.buffer_s`).

    One session reads it, once. When that session has ended, `send` raises its error, or a `LocalProtocolError` if it
    ended normally; it never waits for a session that is gone. All calls belong to one event loop; from another thread,
    call `loop.call_soon_threadsafe(source.send_nowait, chunk)`.

    Args:
        options: the options of the session, which declare the format of the audio. None, the default, is 16-bit mono
            samples at 16 kHz.
        max_s: the seconds of audio that may wait to be read. The default is longer than a handshake takes.
        when_full: "wait", the default, lets `send` wait, which slows the sender. "drop_oldest" discards the audio that
            waits longest, for microphones and calls, which cannot wait; the session reports it as a `Gap`, and times
            count it. "raise" refuses the chunk with a `LocalProtocolError`, and the sender decides.

    Raises:
        ConfigurationError: an argument is invalid, or the audio to be dropped has headers or packets.
    """

    live = True

    __slots__ = (
        "_added",
        "_bytes_per_second",
        "_chunks",
        "_dropped_bytes",
        "_end",
        "_format",
        "_is_closed",
        "_is_read",
        "_loop",
        "_max_bytes",
        "_queued_bytes",
        "_removed",
        "_source_error",
        "_total_dropped_bytes",
        "_traceback",
        "_when_full",
    )

    def __init__(self, options: Options | None = None, *, max_s: float = 2.0, when_full: WhenFull = "wait") -> None:
        if options is not None:
            check_is_options(options)
        audio_format = self._format = AudioFormat() if options is None else options.audio
        if isinstance(max_s, bool) or not isinstance(max_s, int | float) or not 0 < max_s < float("inf"):
            raise ConfigurationError(f"PushSource(max_s={max_s!r}): must be a positive number of seconds")
        if when_full not in {"wait", "drop_oldest", "raise"}:
            raise ConfigurationError(f"PushSource(when_full={when_full!r}): must be 'wait', 'drop_oldest' or 'raise'")
        if when_full == "drop_oldest" and (audio_format.bytes_per_second is None or audio_format.header):
            raise ConfigurationError(
                f"PushSource(when_full='drop_oldest'): {audio_format.encoding} cannot be read without a part of it; "
                "send pcm, or use 'wait' or 'raise'"
            )
        self._when_full = when_full
        self._bytes_per_second = audio_format.bytes_per_second or COMPRESSED_BYTES_PER_SECOND
        self._max_bytes = round(max_s * self._bytes_per_second)
        # a few chunks, and marks between them; each session has a source, and even an empty deque is large
        self._chunks: list[bytes] = []
        self._queued_bytes = 0
        # the audio that was dropped in front of the first chunk and is not reported yet, and all that was dropped
        self._dropped_bytes = self._total_dropped_bytes = 0
        self._added = LightEvent()
        self._removed = LightEvent()
        # the loop that uses it, known from the first call in a loop on
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_read = self._is_closed = False
        # the error with which `abort` ended it, and the one that `send` raises since its session has ended
        self._source_error: Exception | None = None
        self._end: BaseException | None = None
        # that of the error of the session at its end: each raise would lengthen it
        self._traceback: TracebackType | None = None

    @tolerant_repr
    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "open"
        return f"<PushSource {state}, {self._queued_bytes / self._bytes_per_second:.1f} s waiting>"

    @property
    def dropped_ms(self) -> int:
        """The length of all audio that was dropped so far (`when_full="drop_oldest"`)."""
        return self._total_dropped_bytes * 1000 // self._bytes_per_second

    @property
    def is_closed(self) -> bool:
        """True if no more audio can be pushed."""
        return self._is_closed

    @property
    def unread_bytes(self) -> int:
        """The size of the audio that was pushed and not read, but for dropped audio."""
        return self._queued_bytes

    async def send(self, chunk: AudioChunk) -> None:
        """Push a chunk; wait while there is no room for it, if `when_full` says so.

        Raises:
            ASRError: the session that read the source has failed with this error.
            ConfigurationError: the chunk is not bytes-like, or an array of another type.
            DeadlineError: no session reads the source, and it is full.
            LocalProtocolError: the source was closed, its session has ended, it is full (`when_full="raise"`), or it
                belongs to another event loop.
        """
        self._check_loop()
        data = _checked_chunk(chunk, self._format)
        while not self._has_room(data):
            await self._wait_for_room()
        self._add(data)

    async def _wait_for_room(self) -> None:
        self._removed.clear()
        try:
            async with asyncio.timeout(None if self._is_read else UNREAD_S):
                await self._removed.wait()
        except TimeoutError:
            if not self._is_read:
                raise DeadlineError(
                    f"no session has read this source for {UNREAD_S:g} s: iterate session.stream(source), or end the "
                    "source with abort(error) if its session cannot be opened"
                ) from None

    def send_nowait(self, chunk: AudioChunk) -> None:
        """Push a chunk at once, for callbacks; if there is no room and `when_full` is "wait", raise.

        Raises:
            ASRError: see `send`.
        """
        self._check_loop()
        data = _checked_chunk(chunk, self._format)
        if not self._has_room(data):
            raise self._full_error()
        self._add(data)

    async def commit(self) -> None:
        """End an utterance here; see `Session.commit`.

        Raises:
            ASRError: see `send`.
        """
        await self.send(UtteranceEnd())

    def close(self) -> None:
        """End the source behind the audio that waits. Idempotent."""
        self._is_closed = True
        self._added.set()
        self._removed.set()

    def abort(self, error: Exception) -> None:
        """End the source with an error, behind the audio that waits: the session raises it as that of its source.

        So the transcript is not taken for complete if a microphone fails or a caller is cut off; see also
        `Session.stream(..., on_source_error=...)`. Only the first end counts.
        """
        if not self._is_closed:
            self._source_error = error
            self.close()

    def end(self, error: BaseException | None) -> None:
        """Record that the session has ended: what is pushed from now on is refused with its error. Idempotent.

        Args:
            error: the error of the session; None if it has ended normally.
        """
        if self._end is None and error is not None:
            self._end, self._traceback = error, error.__traceback__
        self.close()

    # --- the queue ---------------------------------------------------------------------------------------------------

    def _has_room(self, data: bytes) -> bool:
        """Return True if a chunk can be added; make room for it if the oldest audio is to be dropped.

        Raises:
            ASRError: see `send`.
        """
        if self._is_closed:
            raise self._closed_error()
        if not data or not self._queued_bytes or self._queued_bytes + len(data) <= self._max_bytes:
            return True
        if self._when_full == "drop_oldest":
            self._drop(self._queued_bytes + len(data) - self._max_bytes)
            return True
        if self._when_full == "raise":
            raise self._full_error()
        return False

    def _add(self, data: bytes) -> None:
        self._chunks.append(data)
        self._queued_bytes += len(data)
        self._added.set()

    def _drop(self, size_bytes: int) -> None:
        """Drop at least so much of the oldest audio, in whole samples, and keep the marks."""
        sample_bytes = self._format.sample_bytes
        size_bytes = min(self._queued_bytes, size_bytes + -size_bytes % sample_bytes)
        self._queued_bytes -= size_bytes
        self._dropped_bytes += size_bytes
        self._total_dropped_bytes += size_bytes
        kept: list[bytes] = []
        for chunk in self._chunks:
            if size_bytes >= len(chunk) > 0:
                size_bytes -= len(chunk)
            else:
                kept.append(chunk[size_bytes:] if chunk else chunk)
                size_bytes = 0 if chunk else size_bytes
        self._chunks = kept

    def _full_error(self) -> LocalProtocolError:
        return LocalProtocolError(
            f"the source is full: {self._queued_bytes / self._bytes_per_second:.1f} s of audio wait to be read (max_s="
            f"{self._max_bytes / self._bytes_per_second:g}); send again later, open its session, or use when_full="
            "'drop_oldest'"
        )

    def _closed_error(self) -> BaseException:
        if self._end is not None:
            return self._end.with_traceback(self._traceback)
        error = LocalProtocolError("cannot send audio: the source was closed, or its session has ended")
        error.__cause__ = self._source_error
        return error

    def _check_loop(self) -> None:
        """Refuse a call in another event loop, or in another thread."""
        if self._loop is not None:
            check_loop(self._loop, "this source", "loop.call_soon_threadsafe(source.send_nowait, chunk)")
            return
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:  # audio from before there is a loop
            return

    # --- the iterator ------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        if self._is_read:
            raise LocalProtocolError("a PushSource is read by one session, once: make another one")
        self._check_loop()
        self._is_read = True
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._is_closed:
                raise self._source_error or StopAsyncIteration
            self._added.clear()
            await self._added.wait()
        if self._dropped_bytes:
            size_bytes, self._dropped_bytes = self._dropped_bytes, 0
            return DroppedAudio.of_size(size_bytes, DROP_REASON)
        chunk = self._chunks.pop(0)
        self._queued_bytes -= len(chunk)
        self._removed.set()
        return chunk

    async def preflight(self, expected: AudioFormat) -> None:
        """Refuse a session with options of another format than the source was made with.

        Raises:
            ConfigurationError: the formats differ.
        """
        if expected != self._format:
            raise ConfigurationError(
                f"the PushSource has {_described(self._format)}, and the session {_described(expected)}: make it with "
                "the options of the session, PushSource(options)"
            )


def _checked_chunk(chunk: AudioChunk, audio_format: AudioFormat) -> bytes:
    check_array(chunk, audio_format)
    # The owner of a mutable buffer may reuse it as soon as `send` returns.
    return chunk if isinstance(chunk, bytes) else bytes(byte_view(chunk))


def _described(audio_format: AudioFormat) -> str:
    return f"{audio_format.encoding} at {audio_format.sample_rate} Hz"
