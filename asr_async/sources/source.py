"""What may be streamed, and how a session takes it: in frames, closed whatever happens.

A source is any async or plain iterable of bytes-like chunks of any size. It may also have
`async def preflight(expected: AudioFormat)`, to refuse audio of another format before any is sent, and the attributes
`live: bool`, which tells the pacer whether the source sets the time itself, and `duration_ms: int | None`, its length.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..audio import AudioBytes, AudioFormat, Framer
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..vendors.options import Options

__all__ = [
    "AHEAD_FRAMES",
    "AudioChunk",
    "AudioSource",
    "FrameReader",
    "UtteranceEnd",
    "close_iterator",
    "preflight",
]

AHEAD_FRAMES = 10
"""So much is taken ahead of its sending, a second, where the source has it: so its task is woken once a second and not
with each frame."""

AudioChunk = bytes | bytearray | memoryview
AudioSource = AsyncIterable[AudioChunk] | Iterable[AudioChunk]


class UtteranceEnd(bytes):
    """No audio, but the place between two chunks at which an utterance ends."""


@runtime_checkable
class ChecksItself(Protocol):
    """A source that can be held against the declared format before it is read."""

    async def preflight(self, expected: AudioFormat) -> None:
        """Raise `ConfigurationError` where the audio is not what was declared."""
        ...


async def preflight(source: AudioSource, options: Options) -> None:
    """Check a source, as far as it can be, against what the options declare and the model takes.

    Raises:
        ConfigurationError: it is no source, or its audio is of another format or too long.
        OSError: it cannot be read.
    """
    if isinstance(source, str):
        raise ConfigurationError(f"a source is an iterable of bytes: read_audio({source!r}) makes one from a file")
    if not isinstance(source, AsyncIterable | Iterable):
        raise ConfigurationError(f"a source is an iterable of bytes, not {type(source).__name__}")
    if isinstance(source, ChecksItself):
        await source.preflight(options.audio)
    duration_ms: int | None = getattr(source, "duration_ms", None)
    if duration_ms is not None and options.max_audio_ms is not None and duration_ms > options.max_audio_ms:
        name = getattr(source, "path", "the source")
        raise ConfigurationError(
            f"{name} is {duration_ms / 1000:.1f} s long: {options.model} takes {options.max_audio_ms // 1000} s at most"
        )


class FrameReader:
    """Reads a source once, whatever its kind, in frames. A plain iterable runs in the event loop: it must not block."""

    __slots__ = ("_ahead_frames", "_awaited", "_end", "_error", "_framer", "_is_over", "_plain", "live")

    def __init__(self, source: AudioSource, framer: Framer) -> None:
        if isinstance(source, bytes | bytearray | memoryview):
            source = (source,)
        self.live: bool | None = getattr(source, "live", None)
        self._framer = framer
        # one of the two; a plain one has its next chunk at once: to wait for it would stop the event loop
        self._awaited: AsyncIterator[AudioChunk] | None = None
        self._plain: Iterator[AudioChunk] = iter(())
        # how it says that this was all
        self._end: type[Exception] = StopIteration
        if isinstance(source, AsyncIterable):
            self._awaited, self._end = aiter(source), StopAsyncIteration
        else:
            self._plain = iter(source)
        # how much is enough for once: of what comes first, whatever is there, so that it can be sent
        self._ahead_frames = 1
        # what the source raised, told when what came before is taken
        self._error: Exception | None = None
        self._is_over = False

    async def next_frames(self) -> list[AudioBytes] | None:
        """What comes next: `AHEAD_FRAMES` of a source that never waits (but for the first), else what a chunk brings.

        That may be nothing yet. At the end, good or bad, it is the rest that fills no frame; behind it comes None, or
        what the source raised.

        Raises:
            ConfigurationError: a chunk is not bytes-like.
        """
        if self._is_over:
            if self._error is not None:
                raise self._error
            return None
        frames: list[AudioBytes] = []
        try:
            if self._awaited is not None:
                frames = self._frames_of(await anext(self._awaited))
            else:
                while len(frames) < self._ahead_frames:
                    frames += self._frames_of(next(self._plain))
        except self._end:
            pass
        except (StopIteration, StopAsyncIteration) as error:  # as the language does: else a loop over results ended
            self._error = RuntimeError(f"the source raised {type(error).__name__}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's own, and handed on
            self._error = error
        else:
            self._ahead_frames = AHEAD_FRAMES
            return frames
        self._is_over = True
        return frames + self._rest()

    def _frames_of(self, chunk: AudioChunk) -> list[AudioBytes]:
        if isinstance(chunk, UtteranceEnd):
            return [*self._rest(), b""]
        return self._framer.push(chunk)

    def _rest(self) -> list[AudioBytes]:
        """What fills no frame, if anything."""
        tail = self._framer.flush()
        return [] if tail is None else [tail]

    async def aclose(self) -> None:
        """Let a source that was not read to its end clean up."""
        await close_iterator(self._plain if self._awaited is None else self._awaited)


async def close_iterator(iterator: AsyncIterator[Any] | Iterator[Any]) -> None:
    """Let one that was not read to its end clean up; nothing where it has nothing to."""
    if isinstance(iterator, AsyncIterator):
        if hasattr(iterator, "aclose"):
            await iterator.aclose()
    elif hasattr(iterator, "close"):
        iterator.close()
