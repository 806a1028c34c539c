"""A stand-in for the library sounddevice, with a microphone that plays a recording.

The recording is named in the variable `MICROPHONE`; behind it comes silence, until the stream is closed, or for the
seconds in `UNPLUGGED_AFTER_S`. `COMMAND` runs the command line with it.
"""

from __future__ import annotations

import os
import sys
import threading
import wave
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COMMAND", "PortAudioError", "RawInputStream", "check_input_settings", "query_devices"]

COMMAND = (
    sys.executable,
    "-c",
    (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tests.support import sound_device; sys.modules['sounddevice'] = sound_device\n"
        "from asr_async.cli import main; main()"
    ),
)

SPEED = 4.0
"""The recording is played faster than a microphone records."""


class PortAudioError(Exception):
    """The error of the library."""


class RawInputStream:
    """The stream of the device, which calls back in a thread of its own."""

    def __init__(
        self,
        *,
        samplerate: int,
        blocksize: int,
        callback: Callable[..., None],
        finished_callback: Callable[[], None],
        **_settings: Any,
    ) -> None:
        with wave.open(os.environ["MICROPHONE"], "rb") as recording:
            self._audio = recording.readframes(recording.getnframes())
        self._block_bytes = 2 * blocksize
        self._block_seconds = blocksize / samplerate / SPEED
        self._callback = callback
        self._finished_callback = finished_callback
        self._end_bytes = 2 * samplerate * float(os.environ.get("UNPLUGGED_AFTER_S", "inf"))
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _play(self) -> None:
        position = 0
        while not self._closed.wait(self._block_seconds):
            block = self._audio[position : position + self._block_bytes].ljust(self._block_bytes, b"\0")
            position += self._block_bytes
            self._callback(block, len(block) // 2, None, None)
            if position >= self._end_bytes:
                self._finished_callback()
                return


def query_devices(_device: object = None, kind: str | None = None) -> Any:
    devices = [{"name": "Recording", "max_input_channels": 1}] if "MICROPHONE" in os.environ else []
    if kind is not None and not devices:
        raise PortAudioError("Error querying device -1")
    return devices if kind is None else devices[0]


def check_input_settings(_device: object, **_settings: object) -> None:
    """Accept every setting."""
