"""The microphone as a live source, by sounddevice (PortAudio); needs the extra `mic`.

PortAudio calls back in a thread of its own, and never waits. Between it and the event loop is a bounded buffer with a
stated policy: see `microphone`. Does not know sessions.
"""

from __future__ import annotations

import asyncio
import collections
import errno
import threading
from array import array
from typing import TYPE_CHECKING, Any, Self

import anyio.to_thread

from .._loop.event import LightEvent
from .._text.lines import one_line
from .._text.secret import tolerant_repr
from ..audio import AudioFormat
from ..audio.samples import SAMPLE_BYTES
from ..errors import ConfigurationError
from .source import DroppedAudio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

__all__ = ["Microphone", "SoundBuffer", "microphone"]

BLOCKS_PER_SECOND = 20
"""Blocks of 50 ms: half a frame, so that a frame waits no longer for its end."""

GONE_AFTER_S = 5.0
"""A device that brings nothing for so long is gone: a silent one brings zeros, 20 times a second."""


def microphone(device: int | str | None = None, *, buffer_s: float = 30.0) -> Microphone:
    """Return a source that records from a microphone: `session.stream(microphone())`.

    It records one channel at the sample rate that the options of the session declare, until the session is closed or
    the loop is left. While the session takes no audio (it connects again, say), the audio waits in a buffer. When the
    buffer is full, the newest audio is dropped and not the oldest, since what is in the buffer belongs together. The
    session reports it as a `Gap`, and times count it; `Microphone.dropped_ms` is the sum.

    Args:
        device: the number or a part of the name of a device, as `python -m sounddevice` lists them. None, the default,
            is the system's default input.
        buffer_s: the longest audio in the buffer in seconds. The default is longer than a connection needs to be
            replaced, and takes 1 MB at 16 kHz.

    Raises:
        ConfigurationError: `buffer_s` is not positive.
    """
    return Microphone(device, buffer_s=buffer_s)


class SoundBuffer:
    """A bounded queue of audio between two threads; its size takes the place of audio that finds it full."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        # audio, and in between the sizes of what was dropped
        self._blocks: collections.deque[bytes | int] = collections.deque()
        self._size_bytes = 0
        self.dropped_bytes: int = 0
        """The size of all audio that was dropped."""

    def __repr__(self) -> str:
        return f"<SoundBuffer {self._size_bytes} bytes>"

    def put(self, block: bytes) -> None:
        """Append audio, or drop it if the buffer is full."""
        with self._lock:
            if self._size_bytes + len(block) <= self._max_bytes:
                self._blocks.append(block)
                self._size_bytes += len(block)
                return
            self.dropped_bytes += len(block)
            last = self._blocks[-1] if self._blocks else None
            if isinstance(last, int):
                self._blocks[-1] = last + len(block)
            else:
                self._blocks.append(len(block))

    def pop(self) -> bytes | int | None:
        """Return the next audio, or the size of audio that was dropped there; None if the buffer is empty."""
        with self._lock:
            if not self._blocks:
                return None
            block = self._blocks.popleft()
            if isinstance(block, bytes):
                self._size_bytes -= len(block)
            return block


class Microphone:
    """A microphone as a source; see `microphone`.

    Attributes:
        name: its name in texts.
        live: True: the audio comes in real time.
        dropped_ms: the length of the audio that found the buffer full.
    """

    live = True

    def __init__(self, device: int | str | None = None, *, buffer_s: float = 30.0) -> None:
        if not isinstance(buffer_s, int | float) or not buffer_s > 0:
            raise ConfigurationError(f"buffer_s={buffer_s!r}: must be a positive number of seconds")
        self.device = device
        self.buffer_s = buffer_s
        self.name: str = "the microphone" if device is None else f"the microphone {device!r}"
        self.dropped_ms = 0
        self._newest = b""
        self._expected = AudioFormat()

    @tolerant_repr
    def __repr__(self) -> str:
        return f"<Microphone {self.device!r}>"

    @property
    def level(self) -> float:
        """The peak of the newest 50 ms, from 0.0 to 1.0; 0.0 before the first."""
        samples = array("h", self._newest)
        return max(map(abs, samples), default=0) / 32_768

    async def preflight(self, expected: AudioFormat) -> None:
        """Check that the device can record in the format that the options declare.

        Raises:
            ConfigurationError: sounddevice, PortAudio or the device is missing, or it cannot record so.
        """
        if expected.encoding not in {"pcm", "wav"}:
            raise ConfigurationError(f"a microphone records pcm, but the options declare {expected.encoding}")
        self._expected = expected
        await anyio.to_thread.run_sync(self._check)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Capture(self)

    def _check(self) -> None:
        sounddevice = _sounddevice()
        try:
            sounddevice.query_devices(self.device, "input")
        except (ValueError, sounddevice.PortAudioError) as error:
            raise ConfigurationError(self._no_device(sounddevice, error)) from None
        rate = self._expected.sample_rate
        try:
            sounddevice.check_input_settings(self.device, channels=1, dtype="int16", samplerate=rate)
        except (ValueError, sounddevice.PortAudioError) as error:
            raise ConfigurationError(
                f"{self.name} does not record one channel at {rate} Hz ({one_line(str(error))}): choose another device "
                "or sample rate"
            ) from None

    def _no_device(self, sounddevice: ModuleType, error: Exception) -> str:
        names = [info["name"] for info in sounddevice.query_devices() if info["max_input_channels"] > 0]
        known = f"there are {', '.join(map(repr, names))}" if names else "the system has none"
        return f"{self.name} was not found ({one_line(str(error))}): {known}"

    def _open(self, capture: _Capture) -> Any:
        """Open and start the stream of the device; blocks."""
        sounddevice, rate = _sounddevice(), self._expected.sample_rate
        try:
            stream = sounddevice.RawInputStream(
                samplerate=rate,
                blocksize=rate // BLOCKS_PER_SECOND,
                device=self.device,
                channels=1,
                dtype="int16",
                callback=capture.on_audio,
                finished_callback=capture.on_end,
            )
            stream.start()
        except sounddevice.PortAudioError as error:
            raise OSError(errno.EIO, f"{self.name} cannot be opened: {one_line(str(error))}") from None
        return stream


class _Capture:
    """One recording: the iterator of a microphone."""

    def __init__(self, source: Microphone) -> None:
        self._source = source
        self._bytes_per_second = source._expected.sample_rate * SAMPLE_BYTES  # noqa: SLF001 - the iterator of that class
        self._buffer = SoundBuffer(round(source.buffer_s * self._bytes_per_second))
        self._loop = asyncio.get_running_loop()
        self._stream: Any = None
        self._header = source._expected.header  # noqa: SLF001
        self._arrived = LightEvent()
        self._has_ended = False
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._is_closed:
            raise StopAsyncIteration
        if self._stream is None:
            self._stream = await anyio.to_thread.run_sync(self._source._open, self)  # noqa: SLF001
        if self._header:
            header, self._header = self._header, b""
            return header
        while (block := self._next()) is None:
            await self._wait()
        return block

    async def aclose(self) -> None:
        """Stop recording; idempotent."""
        self._is_closed = True
        stream, self._stream = self._stream, None
        if stream is not None:
            await anyio.to_thread.run_sync(stream.close)

    # --- in PortAudio's thread ---------------------------------------------------------------------------------------

    def on_audio(self, data: Any, _frames: int, _time: Any, _status: Any) -> None:
        """Put a block into the buffer."""
        block = bytes(data)
        self._buffer.put(block)
        self._source._newest = block  # noqa: SLF001
        self._wake()

    def on_end(self) -> None:
        """Record that the device records no more."""
        self._has_ended = True
        self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the event loop was closed while the device was still open
            if not self._loop.is_closed():
                raise

    # --- in the event loop -------------------------------------------------------------------------------------------

    def _next(self) -> bytes | None:
        """Return the next audio, or the mark of audio that was dropped there; None if there is none."""
        self._arrived.clear()
        block = self._buffer.pop()
        if not isinstance(block, int):
            return block
        source = self._source
        source.dropped_ms += block * 1000 // self._bytes_per_second
        reason = f"{source.name}: the session took no audio, and the buffer was full (buffer_s={source.buffer_s:g})"
        return DroppedAudio.of_size(block, reason)

    async def _wait(self) -> None:
        """Wait for audio.

        Raises:
            OSError: the device brings no more.
        """
        if not self._has_ended:
            try:
                async with asyncio.timeout(GONE_AFTER_S):
                    await self._arrived.wait()
            except TimeoutError:
                pass
            else:
                return
        raise OSError(errno.ENODEV, f"{self._source.name} brings no more audio: was it unplugged?")


def _sounddevice() -> ModuleType:
    try:
        import sounddevice  # noqa: PLC0415 - loaded only when it is used
    except ImportError:
        raise ConfigurationError('microphone() needs sounddevice: pip install "asr-async[mic]"') from None
    except OSError:  # its library was not found
        raise ConfigurationError(
            "microphone() needs the PortAudio library: apt-get install libportaudio2, dnf install portaudio, "
            "or brew install portaudio"
        ) from None
    module: ModuleType = sounddevice
    return module
