"""Recordings in other formats, encoded by ffmpeg, and AMR by PyAV, which has an encoder for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import av
import pytest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ENCODINGS", "encode", "require_ffmpeg", "run_ffmpeg"]

ENCODINGS: dict[str, tuple[str, ...]] = {
    "mp3": ("-c:a", "libmp3lame"),
    "stereo.mp3": ("-c:a", "libmp3lame", "-ac", "2", "-ar", "44100"),
    "m4a": ("-c:a", "aac"),
    "aac": ("-c:a", "aac"),
    "opus": ("-c:a", "libopus"),
    "webm": ("-c:a", "libopus"),
    "spx": ("-c:a", "libspeex"),
    "vorbis.ogg": ("-c:a", "libvorbis"),
    "amr": (),
    "flac": ("-c:a", "flac"),
    "wma": ("-c:a", "wmav2"),
    "mp4": ("-f", "lavfi", "-i", "color=size=32x32", "-c:v", "mpeg4", "-c:a", "aac", "-shortest"),
    "aiff": (),
    "s24.wav": ("-c:a", "pcm_s24le", "-ac", "2", "-ar", "48000"),
    "float.wav": ("-c:a", "pcm_f32le"),
    "alaw.wav": ("-c:a", "pcm_alaw", "-ar", "8000"),
    "ulaw.wav": ("-c:a", "pcm_mulaw", "-ar", "8000"),
    "adpcm.wav": ("-c:a", "adpcm_ima_wav"),
}
"""The end of a file's name → the arguments of ffmpeg that make it."""


def run_ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg."""
    require_ffmpeg()
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True, timeout=60)


def require_ffmpeg() -> None:
    """Skip the test where there is no ffmpeg, but not in CI."""
    if shutil.which("ffmpeg") is None:
        if os.environ.get("CI"):
            pytest.fail("ffmpeg is not installed: .ci/run does that")
        pytest.skip("ffmpeg is not installed: apt-get install ffmpeg")


def encode(source: Path, path: Path, *arguments: str) -> Path:
    """Encode a WAV file into another file, by the arguments of ffmpeg, and return the path."""
    if path.suffix == ".amr":
        return _encode_amr(source, path)
    run_ffmpeg("-i", source, *arguments, path)
    return path


def _encode_amr(source: Path, path: Path) -> Path:
    with av.open(str(source)) as recording, av.open(str(path), "w", format="amr") as output:
        stream = output.add_stream("libopencore_amrnb", rate=8_000, layout="mono")
        stream.bit_rate = 12_200
        resampler = av.AudioResampler(format="s16", layout="mono", rate=8_000, frame_size=160)
        for frame in [*recording.decode(audio=0), None]:
            for resampled in resampler.resample(frame):
                output.mux(stream.encode(resampled))
        output.mux(stream.encode(None))
    return path
