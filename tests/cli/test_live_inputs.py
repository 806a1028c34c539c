"""Standard input and FIFOs: results come while the writer still writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import IO, TYPE_CHECKING

import pytest

from ..support.paths import RECORDINGS, ROOT
from .command_line import COMMAND, FINALS, environment, finished, process

if TYPE_CHECKING:
    from pathlib import Path


def read_interim(lines: IO[bytes]) -> str:
    """Read lines of JSON up to the first interim; return its text."""
    while line := lines.readline():
        record = json.loads(line)
        if not record["is_final"]:
            text: str = record["text"]
            return text
    return ""


def samples(clip: Path) -> bytes:
    return clip.read_bytes()[44:]


def test_the_first_interim_comes_before_a_fifo_ends(clip: Path, tmp_path: Path, url: str) -> None:
    """Bare samples, as `arecord -t raw` writes them, at a rate that is declared."""
    fifo = tmp_path / "microphone"
    os.mkfifo(fifo)
    arguments = ("transcribe", fifo, "-f", "jsonl", "--option", "sample_rate=16000")
    with process(*arguments, url=url) as running, fifo.open("wb", buffering=0) as writer:
        assert running.stdout is not None
        audio = samples(clip)
        writer.write(audio[: len(audio) // 2])
        assert read_interim(running.stdout).startswith("go")
        writer.write(audio[len(audio) // 2 :])
        writer.close()
        out, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    finals = [record["text"] for record in map(json.loads, out.splitlines()) if record["is_final"]]
    assert finals == FINALS.splitlines()


def test_standard_input_is_read_live(clip: Path, url: str) -> None:
    command = [*COMMAND, "transcribe", "-", "-f", "jsonl"]
    with subprocess.Popen(
        command, env=environment(url), cwd=ROOT, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        data = clip.read_bytes()
        running.stdin.write(data[: len(data) // 2])
        assert read_interim(running.stdout).startswith("go")
        out, _ = running.communicate(data[len(data) // 2 :], timeout=60)
    assert running.returncode == 0
    assert json.loads(out.splitlines()[-1])["file"] == "standard input"


@pytest.mark.skipif(shutil.which("ffmpeg") is None and "CI" not in os.environ, reason="ffmpeg is not installed")
def test_ffmpeg_is_read_live() -> None:
    """`-re` makes ffmpeg write as slowly as a microphone, so the recording of 37 s would last that long."""
    ffmpeg = ["ffmpeg", "-v", "error", "-re", "-i", str(RECORDINGS / "meeting.wav"), "-f", "wav", "-"]
    command = [*COMMAND, "transcribe", "-", "-f", "jsonl", "--service", "local"]
    with (
        subprocess.Popen(ffmpeg, stdout=subprocess.PIPE) as writer,
        subprocess.Popen(
            command, env=environment(None), cwd=ROOT, bufsize=0, stdin=writer.stdout, stdout=subprocess.PIPE
        ) as running,
    ):
        assert running.stdout is not None
        interim = read_interim(running.stdout)
        still_writes = writer.poll() is None
        writer.kill()  # a pipe ends like that too: what was recognised is kept
        running.communicate(timeout=60)
    assert interim.lower().startswith("go")
    assert still_writes
    assert running.returncode == 0


@pytest.mark.parametrize("name", ["srt", "text"])
def test_a_writer_that_dies_leaves_what_was_recognised(name: str, clip: Path, url: str) -> None:
    """The length in the header of a stream says nothing, so an end like that cannot be told from any other."""
    header = clip.read_bytes()[:40] + b"\xff\xff\xff\xff"
    with subprocess.Popen(
        [*COMMAND, "transcribe", "-", "-f", name, "--pace", "max"],
        env=environment(url),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        out, _ = running.communicate(header + samples(clip)[:51_200], timeout=60)
    assert running.returncode == 0
    assert "go forward ten meters" in out.decode()


def test_a_terminal_as_standard_input_is_refused(url: str) -> None:
    terminal, child_end = os.openpty()
    with subprocess.Popen(
        [*COMMAND, "transcribe", "-"], env=environment(url), cwd=ROOT, stdin=child_end, stderr=subprocess.PIPE
    ) as running:
        _, err = running.communicate(timeout=60)
    os.close(terminal)
    os.close(child_end)
    assert running.returncode == 2
    assert err.decode() == ("asr-async: standard input: is a terminal: give a file, or pipe audio into the program\n")


def test_a_pipe_without_audio_is_named(url: str) -> None:
    status, out, err = finished("transcribe", "/dev/null", url=url)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("asr-async: /dev/null: ")
