"""`asr-async mic` with a stand-in for the microphone: live captions, level, Ctrl-C, and a machine without one."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pysubs2
import pytest

from ..support.child_processes import child_environment
from ..support.sound_device import COMMAND
from ..support.terminal import Terminal
from ..support.wav_files import write_wav
from .command_line import environment, invoke

if TYPE_CHECKING:
    from pathlib import Path


class Listener:
    """A run of `mic` on a terminal, which gets Ctrl-C when a text is shown, or never."""

    def __init__(self, columns: int, clip: Path, url: str, *, until: str) -> None:
        self.terminal = Terminal(columns)
        self._until = until
        self._is_interrupted = False
        self._environment = environment(url, columns=None) | {"MICROPHONE": str(clip)}
        self._environment["PYTHONPATH"] = child_environment()["PYTHONPATH"]

    def run(self, *arguments: str) -> int:
        return self.terminal.run([*COMMAND, "mic", *arguments], self._environment, on_output=self._watch)

    def _watch(self, running: subprocess.Popen[bytes], lines: list[str]) -> None:
        if not self._is_interrupted and any(self._until in line for line in lines):
            self._is_interrupted = True
            running.send_signal(signal.SIGINT)


@pytest.fixture
def long_clip(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "long.wav", 6)


@pytest.mark.parametrize("columns", [40, 100])
def test_words_and_the_level_are_shown_until_ctrl_c(columns: int, long_clip: Path, url: str) -> None:
    listener = Listener(columns, long_clip, url, until="今天天气不错。")
    assert listener.run() == 0
    frames, lines = listener.terminal.frames, listener.terminal.lines
    assert lines[0] == "Listening; Ctrl-C ends."
    assert any(line.startswith("● 0:0") for frame in frames for line in frame)
    assert any(line == "go forward" for frame in frames for line in frame)
    assert all(len(line) < columns for frame in frames for line in frame if "●" in line)
    assert "[00:00.2 → 00:01.4] go forward ten" in lines[1]
    assert any(line.startswith("The recording has ended; its last words") for line in lines)
    assert any(line.startswith("10 words · first result after") for line in lines)
    assert not any(line.startswith("●") for line in lines)


def test_captions_are_written_into_a_file(long_clip: Path, tmp_path: Path, url: str) -> None:
    listener = Listener(100, long_clip, url, until="今天天气")
    assert listener.run("-o", str(tmp_path / "talk.vtt")) == 0
    first, *_ = pysubs2.load(str(tmp_path / "talk.vtt"))
    assert (first.start, first.plaintext) == (200, "go forward ten meters")


def test_a_machine_without_a_microphone_has_one_line(url: str) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "MICROPHONE"}
    done = subprocess.run(
        [*COMMAND, "mic"],
        env=variables | environment(url) | {"PYTHONPATH": child_environment()["PYTHONPATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("asr-async: the microphone was not found (Error querying device -1)")
    assert done.stderr.count("\n") == 1


def test_the_service_is_checked_first() -> None:
    outcome = invoke("mic", "--service", "dashscope")
    assert outcome.exit_code == 2
    assert "--service dashscope needs a key" in outcome.stderr
