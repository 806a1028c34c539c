"""Audio files as sources: WAV, raw samples, and compressed files, which the vendor decodes.

Files are read in a worker thread, so the event loop does not block, and in large blocks, so thousands of sessions do
not each cross a thread boundary ten times a second. Does not decode or convert audio.
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
"""The size of one read: two seconds of audio at 16 kHz."""

RAW_SUFFIXES = frozenset({".pcm", ".raw"})


def read_audio(path: str | os.PathLike[str]) -> AudioFile:
    """Return a source that reads a file: `session.stream(read_audio("meeting.wav"))`.

    A WAV file yields its samples, a `.pcm` or `.raw` file its bytes. With options that declare another format
    (`format="wav"`, `"mp3"`, ...) the bytes of the file are sent to the vendor unchanged. The file is not opened before
    it is iterated or checked by `preflight`.
    """
    return AudioFile(path)


class _Layout(msgspec.Struct, frozen=True):
    """The position of the audio in a file."""

    skip_bytes: int
    size_bytes: int


class AudioFile:
    """A file as a source; see `read_audio`.

    Attributes:
        path: the path of the file, as the caller passed it.
        duration_ms: the length of the audio; None before `preflight`, and for compressed formats.
        live: False, since a file does not arrive in real time.
    """

    live = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)
        self.duration_ms: int | None = None
        self._expected: AudioFormat | None = None

    def __repr__(self) -> str:
        return f"<AudioFile {self.path}>"

    async def preflight(self, expected: AudioFormat) -> None:
        """Check that the file has the format that the options declare.

        Raises:
            ConfigurationError: the file is empty, not audio, or of another format. The text says what to do.
            OSError: the file cannot be opened.
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
        """Find the audio and check its format; the file position is undefined afterwards."""
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
            raise ConfigurationError(f"{self.path} is a WAV file, but the options declare format={expected.encoding!r}")
        return _Layout(0, size)

    def _wav_samples(self, file: BinaryIO, file_bytes: int) -> _Layout:
        try:
            reader = wave.open(file, "rb")  # noqa: SIM115 - closing it would close the file of the caller
        except (wave.Error, EOFError) as error:
            raise ConfigurationError(self._not_wav(str(error))) from None
        rate, width, channels = reader.getframerate(), reader.getsampwidth(), reader.getnchannels()
        problem = None
        if channels != 1:
            problem = f"has {channels} channels, but only mono is supported"
        elif width != 2:
            problem = f"has {8 * width}-bit samples, but only 16-bit samples are supported"
        elif self._expected is not None and rate != self._expected.sample_rate:
            problem = (
                f"has a sample rate of {rate} Hz, but the options declare sample_rate={self._expected.sample_rate}"
            )
        if problem is not None:
            raise ConfigurationError(f"{self.path} {problem}: {self._advice()}")
        skip = file.tell()
        # A recorder that was interrupted leaves a length of 0xFFFFFFFF. Then the size of the file counts.
        size = min(reader.getnframes() * width, file_bytes - skip)
        if size <= 0:
            raise ConfigurationError(f"{self.path} has no samples")
        return _Layout(skip, size)

    def _not_wav(self, reason: str) -> str:
        if reason == "unknown format: 3":
            return f"{self.path} has floating-point samples, but only 16-bit samples are supported: {self._advice()}"
        # the second text is that of CPython 3.12 and newer, which read extensible files with plain samples
        if reason == "unknown format: 65534" or reason.startswith("unknown extended format"):
            return f"{self.path} is an extensible WAV (more than 16 bits or several channels): {self._advice()}"
        if reason.startswith("unknown format"):
            return f"{self.path} is a compressed WAV ({reason}): {self._advice()}"
        return f"{self.path} is not a WAV file: {self._advice()}"

    def _advice(self) -> str:
        rate = (self._expected or AudioFormat()).sample_rate
        return f"convert it with: ffmpeg -i {self.path.name} -ar {rate} -ac 1 -c:a pcm_s16le converted.wav"


class _Blocks:
    """An iterator over the blocks of a file."""

    def __init__(self, source: AudioFile) -> None:
        self._source = source
        self._file: BinaryIO | None = None
        self._remaining_bytes = 0

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
            layout = self._source._layout(self._file)  # noqa: SLF001 - this is the iterator of that class
            self._file.seek(layout.skip_bytes)
            self._remaining_bytes = layout.size_bytes
        block = self._file.read(min(BLOCK_BYTES, self._remaining_bytes)) if not self._file.closed else b""
        self._remaining_bytes -= len(block)
        return block
