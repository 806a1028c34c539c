"""WAV files of any format, written with the standard library."""

from __future__ import annotations

import wave
from pathlib import Path

__all__ = ["write_wav"]


def write_wav(
    path: Path,
    seconds: float = 3.0,
    *,
    samples: bytes | None = None,
    rate: int = 16_000,
    channels: int = 1,
    width: int = 2,
) -> Path:
    """Write a file of silence, or of the given samples, and return its path.

    Args:
        path: the path of the file.
        seconds: the length of the silence.
        samples: the content instead of silence.
        rate: sample rate in Hz.
        channels: number of channels.
        width: bytes per sample.
    """
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(bytes(int(seconds * rate) * channels * width) if samples is None else samples)
    return path
