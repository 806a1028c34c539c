"""What may be streamed, and how a session takes it: one chunk at a time, closed whatever happens.

A source is any async or plain iterable of bytes-like chunks of any size. It may also have
`async def preflight(expected: AudioFormat)`, to refuse audio of another format before any is sent, and the attributes
`live: bool`, which tells the pacer whether the source sets the time itself, and `duration_ms: int | None`, its length.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from ..audio import AudioFormat
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..vendors.options import Options

__all__ = ["AudioChunk", "AudioSource", "ChunkReader", "UtteranceEnd", "close_iterator", "preflight"]

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


class ChunkReader:
    """Reads a source once, whatever its kind. A plain iterable runs in the event loop: it must not block."""

    def __init__(self, source: AudioSource) -> None:
        if isinstance(source, bytes | bytearray | memoryview):
            source = (source,)
        self.live: bool | None = getattr(source, "live", None)
        self.at_utterance_end = False
        self._iterator: AsyncIterator[AudioChunk] | Iterator[AudioChunk]
        self._iterator = aiter(source) if isinstance(source, AsyncIterable) else iter(source)
        self.never_waits = not isinstance(source, AsyncIterable)
        """Whether the next chunk is always there: a plain iterable that has to wait would stop the event loop."""

    async def next_chunk(self) -> AudioChunk | None:
        """The next chunk; None at the end. What the source raises comes through."""
        if self.never_waits:
            chunk = next(cast("Iterator[AudioChunk]", self._iterator), None)
        else:
            chunk = await anext(cast("AsyncIterator[AudioChunk]", self._iterator), None)
        self.at_utterance_end = isinstance(chunk, UtteranceEnd)
        return chunk

    async def aclose(self) -> None:
        """Let a source that was not read to its end clean up."""
        await close_iterator(self._iterator)


async def close_iterator(iterator: AsyncIterator[Any] | Iterator[Any]) -> None:
    """Let one that was not read to its end clean up; nothing where it has nothing to."""
    if isinstance(iterator, AsyncIterator):
        if hasattr(iterator, "aclose"):
            await iterator.aclose()
    elif hasattr(iterator, "close"):
        iterator.close()
