"""Recordings of `benchmarks/recordings.py`: the table of WAV files, and long ones in flat memory."""

from __future__ import annotations

import subprocess
import sys

from ..support.child_processes import child_environment
from ..support.encoders import require_ffmpeg
from ..support.paths import ROOT


def run(*arguments: str) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.recordings", *arguments]
    completed = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=child_environment(), cwd=ROOT, timeout=100, check=False
    )
    assert completed.returncode == 0, completed.stdout
    return completed.stdout.splitlines()


def test_wav_files_of_other_programs_are_read_or_refused_in_one_line() -> None:
    lines = run("wavs")
    assert any(line.startswith("data size 0xFFFFFFFF") and "500 ms" in line for line in lines)
    assert any(line.endswith("it is cut off: its header is not complete") for line in lines)


def test_the_memory_of_a_long_recording_is_flat() -> None:
    require_ffmpeg()
    lines = run("long", "--hours", "0.05")
    assert [line.partition(", 0.05 h")[0] for line in lines if "MiB" in line] == [
        "WAV",
        "mp3, decoded",
        "mp3, passed through",
    ]
    assert sum("; 18 of 18 finals" in line for line in lines) == 3
