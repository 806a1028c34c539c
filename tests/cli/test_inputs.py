"""The inputs of the command line: files, folders, patterns and odd names."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePath

import pytest

from asr_async.cli.inputs import Input, find_inputs, shown_name

from ..support.recording_server import recording_server
from ..support.wav_files import write_wav
from .command_line import FINALS, transcribe


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Return a folder with audio files, other files, and a folder in it."""
    folder = tmp_path / "calls"
    (folder / "late").mkdir(parents=True)
    for name in ("b.wav", "a.WAV", "late/c.wav"):
        write_wav(folder / name)
    (folder / "notes.txt").write_text("no audio", encoding="utf-8")
    return folder


def names(inputs: list[Input]) -> list[str]:
    return [Path(one.source).name for one in inputs]


class TestFolders:
    def test_all_audio_files_are_found_in_order(self, calls: Path) -> None:
        inputs, problems = find_inputs([str(calls)])
        assert (names(inputs), problems) == (["a.WAV", "b.wav", "c.wav"], [])

    def test_transcripts_keep_the_folders(self, calls: Path, tmp_path: Path, url: str) -> None:
        assert transcribe(calls, "-o", f"{tmp_path}/texts/", "-f", "srt", url=url).exit_code == 0
        written = sorted(str(path.relative_to(tmp_path / "texts")) for path in (tmp_path / "texts").rglob("*.srt"))
        assert written == ["a.srt", "b.srt", "late/c.srt"]

    def test_a_folder_that_cannot_be_read_is_named_and_the_others_are_done(
        self, calls: Path, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`os.scandir` refuses, since tests may run as root, which no permission stops."""
        scandir = os.scandir

        def refusing(path: str) -> object:
            if Path(path).name == "late":
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refusing)
        outcome = transcribe(calls, url=url)
        assert (outcome.exit_code, outcome.stdout) == (1, 2 * FINALS)
        assert outcome.stderr.startswith(f"asr-async: {calls / 'late'}: Permission denied\n")


class TestPatterns:
    def test_a_pattern_that_no_shell_has_expanded_is_expanded(self, calls: Path) -> None:
        assert names(find_inputs([f"{calls}/*.wav"])[0]) == ["b.wav"]
        assert sorted(names(find_inputs([f"{calls}/**/*.wav"])[0])) == ["b.wav", "c.wav"]

    def test_a_pattern_without_a_match_is_named(self, calls: Path) -> None:
        (problem,) = find_inputs([f"{calls}/*.ogg"])[1]
        assert (problem.name, problem.reason) == (f"{calls}/*.ogg", "no file matches")

    def test_a_file_with_brackets_in_its_name_is_no_pattern(self, tmp_path: Path) -> None:
        path = write_wav(tmp_path / "call [1].wav")
        assert names(find_inputs([str(path)])[0]) == ["call [1].wav"]


class TestUrls:
    def test_a_recording_on_another_machine_is_transcribed(self, clip: Path, tmp_path: Path, url: str) -> None:
        with recording_server() as server:
            clip_url = server.add("/calls/clip.wav", clip.read_bytes())
            outcome = transcribe(clip_url, "-o", f"{tmp_path}/texts/", "-f", "text", url=url)
        assert (outcome.exit_code, (tmp_path / "texts" / "clip.txt").read_text(encoding="utf-8")) == (0, FINALS)

    def test_errors_name_it_without_what_is_secret(self, url: str) -> None:
        with recording_server() as server:
            outcome = transcribe(f"{server.url}/missing.wav?Signature=abcdefgh", url=url)
        assert outcome.stderr == (f"asr-async: {server.url}/missing.wav: No such file or directory (HTTP status 404)\n")

    def test_a_store_that_cannot_be_read_is_named(self, url: str) -> None:
        outcome = transcribe("nothing://calls/*.wav", url=url)
        assert outcome.exit_code == 2
        assert outcome.stderr.startswith("asr-async: nothing://calls/*.wav: cannot be read: no filesystem of fsspec")


class TestLiveInputs:
    def test_standard_input_and_fifos_are_live(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        stdin, fifo = find_inputs(["-", str(tmp_path / "pipe")])[0]
        assert (stdin.name, stdin.stem, stdin.is_live, fifo.is_live) == (
            "standard input",
            PurePath("stdin"),
            True,
            True,
        )

    def test_standard_input_is_read_once(self) -> None:
        inputs, (problem,) = find_inputs(["-", "-"])
        assert (len(inputs), problem.reason) == (1, "can be read once, and is named twice")

    def test_a_pipe_that_cannot_be_read_does_not_hold_up_the_others(self, calls: Path, url: str) -> None:
        outcome = transcribe("/dev/null", calls / "b.wav", url=url)
        assert (outcome.exit_code, outcome.stdout) == (1, FINALS)
        assert outcome.stderr.startswith("asr-async: /dev/null: ")


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems have no names that are no UTF-8")
def test_odd_names_are_transcribed_and_shown_on_one_line(tmp_path: Path, url: str) -> None:
    odd = [b"two words.wav", b'it\'s "it".wav', b"two\nlines.wav", b"caf\xe9.wav", b"-o.wav", b"$(x);&.wav"]
    for name in odd:
        write_wav(tmp_path / os.fsdecode(name), 1.5)
    outcome = transcribe(tmp_path, "-o", f"{tmp_path}/texts/", url=url)
    assert outcome.exit_code == 0
    assert len(outcome.stderr.splitlines()) == len(odd) + 1
    assert sorted(path.name for path in (tmp_path / "texts").iterdir()) == sorted(
        os.fsdecode(name.replace(b".wav", b".txt")) for name in odd
    )


def test_a_name_is_shown_on_one_line() -> None:
    assert shown_name(os.fsdecode(b"a\nb\xff\x1b[2J.wav")) == "a b\ufffd [2J.wav"
