"""Audio from a file: WAV, raw samples, or a compressed file as its vendor reads it.

Files are read in a worker thread, in large blocks, so that the event loop is not held up and thousands of sessions do
not each cross a thread boundary ten times a second. Nothing is decoded or converted here.
"""

from __future__ import annotations

import os
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Self

import anyio.to_thread
import msgspec

from ..audio import AudioFormat
from ..errors import ConfigurationError

__all__ = ["AudioFile", "read_audio"]

BLOCK_BYTES = 64 * 1024
"""Two seconds of 16 kHz audio at a time."""

RAW_SUFFIXES = frozenset({".pcm", ".raw"})


def read_audio(path: str | os.PathLike[str]) -> AudioFile:
    """A source that reads a file: `session.stream(read_audio("meeting.wav"))`.

    A WAV file gives its samples; a `.pcm` or `.raw` file its bytes. With options that declare another format
    (`format="wav"`, `"mp3"`, ...) the file's bytes go to the vendor as they are. Nothing is opened before it is
    iterated or checked with `preflight`.
    """
    return AudioFile(path)


class _Layout(msgspec.Struct, frozen=True):
    """Where the audio lies in the file."""

    skip_bytes: int
    size_bytes: int


class AudioFile:
    """A file as a source; see `read_audio`.

    Attributes:
        path: as given.
        duration_ms: length of the audio; None before `preflight`, and for compressed formats.
        live: False, the file does not set the time.
    """

    live = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)
        self.duration_ms: int | None = None
        self._expected: AudioFormat | None = None

    def __repr__(self) -> str:
        return f"<AudioFile {self.path}>"

    async def preflight(self, expected: AudioFormat) -> None:
        """Check that the file is what the options declare.

        Raises:
            ConfigurationError: empty, not audio, or of another format; with what to do.
            OSError: it cannot be opened.
        """
        self._expected = expected
        layout = await anyio.to_thread.run_sync(self._inspect)
        if expected.bytes_per_second is not None:
            self.duration_ms = expected.to_ms(layout.size_bytes)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Blocks(self)

    def _inspect(self) -> _Layout:
        with self.path.open("rb") as file:
            return self._layout(file)

    def _layout(self, file: BinaryIO) -> _Layout:
        """Find the audio, and refuse what is not as expected; leaves the position anywhere."""
        expected = self._expected or AudioFormat()
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size == 0:
            raise ConfigurationError(f"{self.path} is empty")
        is_riff = file.read(4) == b"RIFF"
        file.seek(0)
        if expected.encoding == "pcm" and not is_riff and self.path.suffix.lower() in RAW_SUFFIXES:
            return _Layout(0, size)
        if expected.encoding in {"pcm", "wav"}:
            samples = self._wav_samples(file, size)
            return samples if expected.encoding == "pcm" else _Layout(0, size)
        if is_riff:
            raise ConfigurationError(f"{self.path} is a WAV file, but format={expected.encoding!r} was declared")
        return _Layout(0, size)

    def _wav_samples(self, file: BinaryIO, file_bytes: int) -> _Layout:
        try:
            reader = wave.open(file, "rb")  # noqa: SIM115 - closing it would close the file, which is the caller's
        except (wave.Error, EOFError) as error:
            raise ConfigurationError(self._not_wav(str(error))) from None
        rate, width, channels = reader.getframerate(), reader.getsampwidth(), reader.getnchannels()
        problem = None
        if channels != 1:
            problem = f"has {channels} channels, one is needed"
        elif width != 2:
            problem = f"has {8 * width}-bit samples, 16-bit are needed"
        elif self._expected is not None and rate != self._expected.sample_rate:
            problem = f"is {rate} Hz, but sample_rate={self._expected.sample_rate} was declared"
        if problem is not None:
            raise ConfigurationError(f"{self.path} {problem}: {self._conversion()}")
        skip = file.tell()
        # a recorder that was not closed leaves a length of 0xFFFFFFFF: what is in the file counts
        size = min(reader.getnframes() * width, file_bytes - skip)
        if size <= 0:
            raise ConfigurationError(f"{self.path} holds no samples")
        return _Layout(skip, size)

    def _not_wav(self, reason: str) -> str:
        if reason == "unknown format: 3":
            return f"{self.path} holds floating-point samples, 16-bit are needed: {self._conversion()}"
        if reason == "unknown format: 65534":
            return f"{self.path} is an extensible WAV (deep samples or several channels): {self._conversion()}"
        if reason.startswith("unknown format"):
            return f"{self.path} is a compressed WAV ({reason}): {self._conversion()}"
        return f"{self.path} is not a WAV file: {self._conversion()}"

    def _conversion(self) -> str:
        rate = (self._expected or AudioFormat()).sample_rate
        return f"convert it with: ffmpeg -i {self.path.name} -ar {rate} -ac 1 -c:a pcm_s16le converted.wav"


class _Blocks:
    """One reading of a file, block by block."""

    def __init__(self, source: AudioFile) -> None:
        self._source = source
        self._file: BinaryIO | None = None
        self._left_bytes = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        block = await anyio.to_thread.run_sync(self._read)
        if not block:
            await self.aclose()
            raise StopAsyncIteration
        return block

    async def aclose(self) -> None:
        """Close the file; idempotent."""
        if self._file is not None:
            self._file.close()

    def _read(self) -> bytes:
        if self._file is None:
            self._file = self._source.path.open("rb")
            layout = self._source._layout(self._file)  # noqa: SLF001 - the two are one
            self._file.seek(layout.skip_bytes)
            self._left_bytes = layout.size_bytes
        block = self._file.read(min(BLOCK_BYTES, self._left_bytes)) if not self._file.closed else b""
        self._left_bytes -= len(block)
        return block
