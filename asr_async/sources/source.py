"""The definition of a source, its check before a session connects, and the reader that turns it into frames.

A source is any async or plain iterable of bytes-like chunks of any size. It may also have the method
`async def preflight(expected: AudioFormat)`, which refuses audio of another format before any is sent, the method
`async def fit(options)`, which returns options that declare its own format where they leave it open, and the
attributes `live: bool` (True if its chunks arrive in real time, so that the pacer does not delay them) and
`duration_ms: int | None` (its length). Does not know sessions, connections or clocks.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar, cast, runtime_checkable

from .._loop.event import LightEvent
from ..audio import START_BYTES, AudioArray, AudioBytes, AudioFormat, FramerLike, byte_view, check_array, check_start
from ..errors import ASRError, ConfigurationError
from ..vendors.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "AHEAD_FRAMES",
    "AudioChunk",
    "AudioMark",
    "AudioSource",
    "DroppedAudio",
    "FrameReader",
    "SourceErrorAction",
    "TaskEnd",
    "UtteranceEnd",
    "check_length",
    "check_source",
    "check_source_type",
    "close_iterator",
    "prepare",
]

logger: logging.Logger = logging.getLogger("asr_async")
OptionsT = TypeVar("OptionsT", bound=Options)

AHEAD_FRAMES = 10
"""The most frames that are read ahead: one second, so that the task that reads wakes up once a second and not for each
frame."""

BLOCKED_S = 0.03
"""A plain iterable that needs this long for a frame, a third of its length, waits for its audio."""

COUNTED_AT_ONCE = 50
"""The chunks that `FrameReader.count` reads before other tasks run: some ten microseconds."""

AudioChunk = bytes | bytearray | memoryview | AudioArray
"""A chunk: the audio that a source yields at once, of any size; see `byte_view` for arrays."""

AudioSource = AsyncIterable[AudioChunk] | Iterable[AudioChunk]
"""A source: anything that yields chunks."""

SourceErrorAction = Literal["finish", "cancel"]
"""What a session does about the audio before an error of its source: see `Session.stream`."""


class AudioMark(bytes):
    """A position between two chunks, in the place of a chunk: it holds no audio."""


class UtteranceEnd(AudioMark):
    """The position at which an utterance ends."""


class TaskEnd(AudioMark):
    """The position up to which everything is to become final (`Session.finalize`), by a commit or the end of a task."""

    is_done: bool = False
    error: ASRError | None = None
    """The reason for which it cannot be done."""
    _done: LightEvent | None = None
    _deadline: asyncio.TimerHandle | None = None

    def complete(self, error: ASRError | None = None) -> None:
        """Record that it is done, or cannot be done; only the first call counts."""
        if self.is_done:
            return
        self.is_done, self.error = True, error
        if self._deadline is not None:
            self._deadline.cancel()
        if self._done is not None:
            self._done.set()

    def complete_by(self, delay_s: float, on_deadline: Callable[[], None]) -> None:
        """Call a function if it is not done after this time; the first call counts."""
        if self._deadline is None and not self.is_done:
            self._deadline = asyncio.get_running_loop().call_later(delay_s, on_deadline)

    async def wait(self) -> None:
        """Wait until it is done, or cannot be done."""
        if not self.is_done:
            self._done = self._done or LightEvent()
            await self._done.wait()


class DroppedAudio(AudioMark):
    """The position at which a source has dropped audio."""

    size_bytes: int
    """The size of the audio that was dropped; 0 once it has been reported."""
    reason: str
    """The cause, on one line."""

    @classmethod
    def of_size(cls, size_bytes: int, reason: str) -> Self:
        """Return the mark for audio of this size."""
        mark = cls()
        mark.size_bytes, mark.reason = size_bytes, reason
        return mark


@runtime_checkable
class CheckedSource(Protocol):
    """A source that can check its own format before it is read."""

    async def preflight(self, expected: AudioFormat) -> None:
        """Raise `ConfigurationError` if the audio does not have the expected format."""
        ...


def check_source_type(source: object) -> None:
    """Refuse what is no source, with the way to make one of it.

    Raises:
        ConfigurationError: the object cannot be iterated, or is a path.
    """
    kind = type(source).__name__
    if isinstance(source, str | os.PathLike):
        problem = f"not a path: use read_audio({os.fspath(source)!r})"
    elif isinstance(source, type):
        problem = f"not the class {source.__name__}: make an instance, {source.__name__}(...)"
    elif isinstance(source, AsyncIterable | Iterable):
        return
    elif inspect.isroutine(source) or isinstance(source, functools.partial):
        name = getattr(source, "__name__", kind)
        problem = f"not the function {name}: call it, {name}()"
    elif inspect.isawaitable(source):
        problem = f"not a {kind}: await it, or yield its chunks in an async generator"
    elif hasattr(source, "get") and hasattr(source, "put"):
        problem = f"not a {kind}: use PushSource(options) in its place, or yield its items in an async generator"
    else:
        problem = f"not {kind}"
    raise ConfigurationError(f"a source must be an iterable of bytes, {problem}")


@runtime_checkable
class FittedSource(Protocol):
    """A source that has a format of its own."""

    async def fit(self, options: OptionsT) -> OptionsT:
        """Return options that declare the source's own format, where they leave it open and the model takes it."""
        ...


async def prepare(source: AudioSource, options: OptionsT) -> OptionsT:
    """Return options for a source, before a session connects, and check the source; see `check_source`.

    Raises:
        ConfigurationError: the object is not a source, or its audio cannot be sent or is too long.
        OSError: the source cannot be read.
    """
    if isinstance(source, FittedSource):
        options = await source.fit(options)
    await check_source(source, options)
    return options


async def check_source(source: AudioSource, options: Options) -> None:
    """Check a source, as far as possible, against the format of the options and the limits of the model.

    Raises:
        ConfigurationError: the object is not a source, or its audio has another format or is too long.
        OSError: the source cannot be read.
    """
    check_source_type(source)
    if isinstance(source, CheckedSource):
        await source.preflight(options.audio)
    text = check_length(getattr(source, "duration_ms", None), options)
    if text is not None:
        raise ConfigurationError(f"{getattr(source, 'name', 'the source')} {text}")


def check_length(duration_ms: int | None, options: Options) -> str | None:
    """Return an error text if audio of this length is longer than the model accepts; None if it is not."""
    if duration_ms is None or options.max_audio_ms is None or duration_ms <= options.max_audio_ms:
        return None
    limit_s = options.max_audio_ms // 1000
    return f"is {duration_ms / 1000:.1f} s long: {options.model} accepts at most {limit_s} s"


class FrameReader:
    """A reader that yields the frames of a source of any kind, once.

    A plain iterable is iterated in the event loop and must not block. One that does is logged, and from then on other
    tasks run between its chunks.
    """

    __slots__ = (
        "_ahead_frames",
        "_async_iterator",
        "_end",
        "_error",
        "_format",
        "_framer",
        "_has_blocked",
        "_iterator",
        "_log",
        "_may_block",
        "_plain_type",
        "_start",
        "counted_bytes",
        "counted_frame",
        "is_exhausted",
        "live",
    )

    def __init__(
        self,
        source: AudioSource,
        framer: FramerLike,
        audio_format: AudioFormat | None = None,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger] = logger,
    ) -> None:
        """Keep the source. With the declared format, the start of the audio is checked against it."""
        self._log = log
        if _is_chunk(source):
            source = (cast("AudioChunk", source),)
        self.live: bool | None = getattr(source, "live", None)
        self._framer = framer
        self._format = audio_format
        # The first bytes, until they are checked; and the type of the chunks that then go to the framer at once.
        self._start: bytes | None = None if audio_format is None else b""
        self._plain_type: type | None = bytes if audio_format is None else None
        # True for an iterable that computes or waits for its chunks, and True if it has
        self._may_block = not isinstance(source, list | tuple)
        self._has_blocked = False
        # One of the two is used. A plain iterator has its next chunk at once, since waiting would block the event loop.
        self._async_iterator: AsyncIterator[AudioChunk] | None = None
        self._iterator: Iterator[AudioChunk] = iter(())
        # the exception with which the iterator ends
        self._end: type[Exception] = StopIteration
        if isinstance(source, AsyncIterable):
            self._async_iterator, self._end = aiter(source), StopAsyncIteration
        else:
            self._iterator = iter(source)
        # The number of frames to read at once. The first read returns after one frame, so that sending can begin.
        self._ahead_frames = 1
        # the exception of the source, raised after the frames before it were returned
        self._error: Exception | None = None
        self.is_exhausted: bool = False
        """True if the source has ended, normally or not."""
        self.counted_bytes: int = 0
        """The size of the audio that `count` has read."""
        self.counted_frame: AudioBytes = b""
        """The newest frame that `count` has found."""

    async def next_frames(self) -> list[AudioBytes] | None:
        """Return the next frames; None after the end of the source.

        A plain iterable yields `AHEAD_FRAMES` at a time, except for the first frame; an async one yields the frames
        that its next chunk completes, which may be none. The last list holds the incomplete frame, if there is one.

        Raises:
            ConfigurationError: a chunk is not audio, or the audio does not have the declared format.
            Exception: the exception that the source raised, after the frames before it.
        """
        if self.is_exhausted:
            if self._error is not None:
                raise self._error
            return None
        frames: list[AudioBytes] = []
        try:
            if self._async_iterator is not None:
                chunk = await anext(self._async_iterator)
                frames = self._framer.push(chunk) if type(chunk) is self._plain_type else self._push(chunk)
            elif self._may_block:
                if self._has_blocked:
                    await asyncio.sleep(0)
                self._read_watched(frames)
            else:
                while len(frames) < self._ahead_frames:
                    chunk = next(self._iterator)
                    frames += self._framer.push(chunk) if type(chunk) is self._plain_type else self._push(chunk)
        except self._end:
            pass
        except (StopIteration, StopAsyncIteration) as error:
            # Raised unchanged, it would end the caller's loop over results. Python converts it in a generator, too.
            self._error = RuntimeError(f"the source raised {type(error).__name__}")
        except Exception as error:  # noqa: BLE001 - an exception of the caller's own code, raised to the caller later
            self._error = error
        else:
            self._ahead_frames = AHEAD_FRAMES
            return frames
        self.is_exhausted = True
        return frames + self._finish()

    def _read_watched(self, frames: list[AudioBytes]) -> None:
        """Add the next frames of an iterable that may block; if it does, those of the chunks until then."""
        clock, push, plain_type, ahead_frames = time.monotonic, self._framer.push, self._plain_type, self._ahead_frames
        began_at = clock()
        blocks_from = began_at + BLOCKED_S
        for chunk in self._iterator:
            if type(chunk) is plain_type:
                frames += push(chunk)
            else:
                frames += self._push(chunk)
                plain_type = self._plain_type
            if clock() >= blocks_from:  # read once for each chunk, of which there is one for each frame
                self._record_block(clock() - began_at, len(frames))
                return
            if len(frames) >= ahead_frames:
                return
        raise StopIteration

    def _record_block(self, blocked_s: float, frame_count: int) -> None:
        """Record that other tasks have waited for so many frames; to compute many takes a while, too."""
        if not self._has_blocked and blocked_s >= BLOCKED_S * min(max(1, frame_count), AHEAD_FRAMES):
            self._has_blocked = True
            self._log.warning(
                "the source has blocked the event loop for %.2f s, in which no session moves: yield its chunks in an "
                "async generator, or read them with asyncio.to_thread",
                blocked_s,
            )

    def _push(self, chunk: AudioChunk) -> list[AudioBytes]:
        """Return the frames that a chunk completes; a mark is a frame of its own, which is empty."""
        if isinstance(chunk, AudioMark):
            tail = self._framer.flush() if isinstance(chunk, UtteranceEnd) else self._framer.cut()
            return [chunk] if tail is None else [tail, chunk]
        if self._format is not None:
            if self._start is not None:
                self._check_start(chunk, self._format)
            check_array(chunk, self._format)
        return self._framer.push(chunk)

    def _check_start(self, chunk: AudioChunk, audio_format: AudioFormat) -> None:
        """Check the first bytes of the audio, in one chunk or several.

        Raises:
            ConfigurationError: they are not of the declared format.
        """
        assert self._start is not None  # noqa: S101 - the caller has looked
        self._start += bytes(byte_view(chunk)[:START_BYTES])
        is_enough = len(self._start) >= START_BYTES
        check_start(self._start, audio_format, is_whole=is_enough)
        if is_enough:
            self._start, self._plain_type = None, bytes

    @property
    def is_async(self) -> bool:
        """True if the source is an async iterable, which may wait for its audio."""
        return self._async_iterator is not None

    async def count(self, max_bytes: int, *, in_frames: bool) -> None:
        """Read the source without using its audio, to its end or until it has brought `max_bytes` more.

        An exception of the source is its end. Other tasks run in between, so the caller can set a time limit.

        Args:
            max_bytes: the most audio to read.
            in_frames: True finds the frames of the audio, as is needed to know the length of compressed audio.
        """
        while not self.is_exhausted and self.counted_bytes < max_bytes:
            await asyncio.sleep(0)
            try:
                for _ in range(COUNTED_AT_ONCE):
                    chunk = next(self._iterator) if self._async_iterator is None else await anext(self._async_iterator)
                    self.counted_bytes += byte_view(chunk).nbytes
                    if in_frames and (frames := self._push(chunk)):
                        self.counted_frame = frames[-1]
                    if self.counted_bytes >= max_bytes:
                        break
            except Exception:  # noqa: BLE001 - the audio before it is counted, and none of it is used
                self.is_exhausted = True
                if frames := self._finish():
                    self.counted_frame = frames[-1]

    def _finish(self) -> list[AudioBytes]:
        """Return the rest of the source; an error of the framer is raised behind it."""
        frames: list[AudioBytes] = []
        try:
            if self._start and self._format is not None and self._error is None:
                check_start(self._start, self._format)
            while rest := self._framer.finish():
                frames += rest
        except ASRError as error:
            self._error = self._error or error
        return frames

    async def aclose(self) -> None:
        """Close the source, so that it can clean up if it was not read to its end."""
        await close_iterator(self._iterator if self._async_iterator is None else self._async_iterator)


def _is_chunk(source: Any) -> bool:
    """Return True for audio in one piece: bytes-like objects and arrays. Iterated, they would be numbers."""
    try:
        memoryview(source)
    except TypeError:
        return False
    return True


async def close_iterator(iterator: AsyncIterator[Any] | Iterator[Any]) -> None:
    """Close an iterator that may not have been read to its end; do nothing if it has no method for that."""
    if isinstance(iterator, AsyncIterator):
        if hasattr(iterator, "aclose"):
            await iterator.aclose()
    elif hasattr(iterator, "close"):
        iterator.close()
