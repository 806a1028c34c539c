"""Recordings and live inputs as sources: files of any kind, URLs, bytes, pipes, and standard input.

Files are read and decoded in worker threads, so the event loop does not block, and in large blocks, so thousands of
sessions do not each cross a thread boundary ten times a second. Does not know formats of files: `contents` does.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar

import anyio.to_thread

from .._text.lines import printable
from .._text.secret import tolerant_repr
from ..audio import AudioFormat
from ..errors import ConfigurationError
from ..vendors.options import Options
from .byte_reader import AudioInput, BinaryFile, PathInput, input_for
from .contents import Facts, ReadOptions
from .reader_thread import ReaderThread
from .recording import Recording
from .remote import RemoteInput
from .source import AudioMark
from .stored_object import is_url

__all__ = ["AudioFile", "read_audio"]

logger: logging.Logger = logging.getLogger("asr_async")

T = TypeVar("T")


class CallInThread(Protocol):
    """The function that calls a blocking function in a thread, and returns its result."""

    async def __call__(self, function: Callable[[], T], /) -> T:
        """Call the function."""
        ...


OptionsT = TypeVar("OptionsT", bound=Options)

_CHANNELS = {"left": 0, "right": 1}
_NAMED_CHANNELS = ("mix", *_CHANNELS)


def read_audio(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile,
    *,
    channel: Literal["mix", "left", "right"] | int = "mix",
    track: int | None = None,
    raw: AudioFormat | None = None,
) -> AudioFile:
    """Return a source that reads a recording or a live input: `session.stream(read_audio("meeting.mp3"))`.

    WAV in all its forms and bare samples are read by this package; everything else that FFmpeg reads (mp3, m4a, Ogg,
    WebM, flac, amr, wma, the sound of a video) by PyAV, in the extra `audio`. The sound is mixed to one channel and
    resampled as the session needs it; resampling needs the extra too. What is done is logged, and is in `treatment`.

    A URL is read in blocks as its audio is needed, with retries at the place where a read broke: `https://` by this
    package; `s3://`, `oss://`, `obs://` and others with the extra `storage` and the store's filesystem for fsspec,
    which has its credentials and addresses from the environment.

    Compressed audio of one channel is passed through as it is, if the options declare its encoding; `transcribe` makes
    the options declare it where the model takes it (`AudioFile.fit`). The file is not opened before it is iterated,
    checked or fitted.

    Args:
        source: a path; a URL; "-", which is standard input; the bytes of a file; or a binary file, which is read from
            where it stands and stays open. Standard input, FIFOs, devices and files that cannot seek are live: they are
            read as their audio comes, once. What they bring without a header that is known is taken for bare samples in
            the format of the options.
        channel: the channel that is recognised: the mean of all ("mix", the default), "left", "right", or a number from
            0 on. In a stereo call, each side is a session of its own.
        track: the sound track of a file with several, from 0 on. None, the default, is the first one, and a warning is
            logged.
        raw: the format of samples without a header, such as `AudioFormat("ulaw", 8_000)`. None, the default, looks for
            a header; a file named .pcm or .raw then has the format of the options, one named .ulaw or .alaw is G.711 at
            8 kHz.

    Raises:
        ConfigurationError: an argument has a wrong type or value, or standard input is closed or a terminal.
    """
    return AudioFile(source, channel=channel, track=track, raw=raw)


class AudioFile:
    """A recording or a live input as a source; see `read_audio`.

    Attributes:
        name: its name in texts: the path, the URL without what may be a secret, or what it is.
        path: the path, as the caller passed it; None for other inputs.
        duration_ms: the length of the audio; None before the file was checked, and where it is not known.
        live: False for a file, which brings its audio at once; None for a pipe or a device, which may.
        treatment: what the file is, and what is done to its audio, in words; None before it was checked.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile,
        *,
        channel: Literal["mix", "left", "right"] | int = "mix",
        track: int | None = None,
        raw: AudioFormat | None = None,
    ) -> None:
        self._input: AudioInput = _input_for(source)
        self._read_options = ReadOptions(_channel(channel), _track(track), _raw(raw))
        self.name: str = printable(self._input.name)
        self.path: Path | None = Path(self._input.path) if isinstance(self._input, PathInput) else None
        self.duration_ms: int | None = None
        self.live: bool | None = None if self._input.is_live else False
        self.treatment: str | None = None
        self._expected = AudioFormat()
        # of a live input: its thread, and what was opened and is still to be read
        self._thread: ReaderThread | None = None
        self._opened: Recording | None = None

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<AudioFile {self.name}>"

    async def fit(self, options: OptionsT) -> OptionsT:
        """Return options that declare the file's own format, where they leave it open and the model takes it.

            audio = read_audio("call.mp3")
            async with connect(await audio.fit(Paraformer())) as session:
                async for result in session.stream(audio):

        A live input is waited for until its header has come.

        Raises:
            ConfigurationError: the file is empty, not audio, or cannot be decoded here. The text says what to do.
            OSError: the file cannot be opened.
        """
        formats = await self._look(lambda recording: recording.formats, options.audio)
        return options.with_audio(formats)

    async def preflight(self, expected: AudioFormat) -> None:
        """Check that the file can be sent in the format that the options declare, without reading its audio.

        Raises:
            ConfigurationError: the file is empty, not audio, or cannot be sent in this format.
            OSError: the file cannot be opened.
        """
        self._expected = expected
        facts, treatment = await self._look(
            lambda recording: (recording.facts, recording.treatment(expected)), expected
        )
        self.duration_ms = facts.duration_ms
        if treatment != self.treatment:
            self.treatment = treatment
            logger.info("%s: %s", self.name, treatment)

    async def facts(self) -> Facts:
        """Return the facts in the header of the file.

        Raises:
            ConfigurationError: the file is empty, not audio, or cannot be decoded here.
            OSError: the file cannot be opened.
        """
        return await self._look(lambda recording: recording.facts, self._expected)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Blocks(self)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Iterator[bytes], CallInThread]]:
        """Open a recording, and return its 16-bit samples of all channels with the function that calls in a thread.

        The iterator blocks: call it in that thread.
        """
        thread = self._new_thread()
        call: CallInThread = self._call if thread is None else thread.call
        opened: list[Recording] = []

        def open_recording() -> Recording:
            opened.append(self._open(self._expected))
            return opened[0]

        def close() -> None:
            for recording in opened:
                recording.close()

        try:
            yield (await call(open_recording)).all_channels(), call
        finally:
            if thread is None:
                close()
            else:
                thread.stop(close)

    async def _look(self, look: Callable[[Recording], T], expected: AudioFormat) -> T:
        """Return what a function finds in the opened file. A live input stays open, since it cannot be opened again."""
        if self._input.is_live:
            return await self._call(lambda: look(self._open(expected)))

        def open_and_look() -> T:
            recording = Recording(self._input, self._read_options, expected)
            try:
                return look(recording)
            finally:
                recording.close()

        thread = self._new_thread()
        if thread is None:
            return await anyio.to_thread.run_sync(open_and_look)
        try:
            return await thread.call(open_and_look)
        finally:
            thread.stop()

    async def _call(self, function: Callable[[], T]) -> T:
        """Call a blocking function in a thread."""
        if not self._input.is_live:
            return await anyio.to_thread.run_sync(function)
        if self._thread is None:
            self._thread = ReaderThread(self.name)
        return await self._thread.call(function)

    def _new_thread(self) -> ReaderThread | None:
        """Return a thread for a recording behind a network, whose reads may stall; None for other inputs."""
        return ReaderThread(self.name) if self._input.may_stall and not self._input.is_live else None

    def _open(self, expected: AudioFormat) -> Recording:
        """Return the opened file; blocks."""
        recording = self._opened or Recording(self._input, self._read_options, expected)
        if self._input.is_live:
            self._opened = recording
        return recording

    def _note_tracks(self, facts: Facts) -> None:
        if facts.tracks > 1 and self._read_options.track is None:
            logger.warning(
                "%s: it has %d sound tracks, and the first is read: choose one by its number (track)",
                self.name,
                facts.tracks,
            )

    def _stop(self, close: Callable[[], None]) -> None:
        """Close what was opened, and end the thread of a live input, without waiting for it."""
        self._opened = None
        if self._thread is not None:
            self._thread.stop(close)
            self._thread = None


class _Blocks:
    """An iterator over the audio of a file."""

    def __init__(self, source: AudioFile) -> None:
        self._source = source
        # of a recording behind a network
        self._thread = source._new_thread()  # noqa: SLF001 - this is the iterator of that class
        self._call: CallInThread = source._call if self._thread is None else self._thread.call  # noqa: SLF001
        self._recording: Recording | None = None
        self._pieces: Iterator[bytes] | None = None
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._is_closed:
            raise StopAsyncIteration
        try:
            block = await self._call(self._next)
        except BaseException:
            await self.aclose()
            raise
        if block is None:
            await self.aclose()
            raise StopAsyncIteration
        return block

    async def aclose(self) -> None:
        """Close the file; idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._thread is not None:
            self._thread.stop(self._close)
        elif self._source._input.is_live:  # noqa: SLF001
            self._source._stop(self._close)  # noqa: SLF001
        else:
            self._close()

    def _close(self) -> None:
        if self._recording is not None:
            self._recording.close()

    def _next(self) -> bytes | None:
        """Return the next block that is not empty, or the next mark; None at the end. Blocks."""
        if self._pieces is None:
            source = self._source
            self._recording = source._open(source._expected)  # noqa: SLF001
            self._pieces = self._recording.pieces(source._expected)  # noqa: SLF001
            source._note_tracks(self._recording.facts)  # noqa: SLF001
        return next((piece for piece in self._pieces if piece or isinstance(piece, AudioMark)), None)


def _input_for(source: Any) -> AudioInput:
    return RemoteInput(source) if isinstance(source, str) and is_url(source) else input_for(source)


def _channel(channel: object) -> int | Literal["mix"]:
    if channel == "mix":
        return "mix"
    if isinstance(channel, str) and channel in _CHANNELS:
        return _CHANNELS[channel]
    if isinstance(channel, int) and not isinstance(channel, bool) and channel >= 0:
        return channel
    raise ConfigurationError(f"channel={channel!r}: must be {', '.join(map(repr, _NAMED_CHANNELS))}, or 0, 1, ...")


def _track(track: object) -> int | None:
    if track is None or (isinstance(track, int) and not isinstance(track, bool) and track >= 0):
        return track
    raise ConfigurationError(f"track={track!r}: must be the number of a sound track, from 0 on")


def _raw(raw: object) -> AudioFormat | None:
    if raw is None or (isinstance(raw, AudioFormat) and raw.encoding in {"pcm", "ulaw", "alaw"}):
        return raw
    raise ConfigurationError(f"raw={raw!r}: must be the AudioFormat of pcm, ulaw or alaw samples, or None")
