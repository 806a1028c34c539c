"""The command line as a process: exit status, streams, Ctrl-C, closed pipes, and the missing extra."""

from __future__ import annotations

import asyncio
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from asr_async import __version__
from asr_async.cli import main
from asr_async.cli.exit_status import ExitStatus, run
from asr_async.emulator import Scripted
from asr_async.emulator.faults import MuteFinish

from ..support.paths import ROOT
from ..support.terminal import Terminal
from ..support.wav_files import write_wav
from .command_line import (
    COMMAND,
    FINALS,
    INTERRUPTIBLE,
    SCRIPT,
    SUMMARY,
    WITHOUT_UVLOOP,
    environment,
    finished,
    process,
)
from .engines import CountingEngine, FailingOnceEngine, emulator_thread


def test_the_transcript_and_the_summary_are_on_separate_streams(clip: Path, url: str) -> None:
    status, out, err = finished("transcribe", clip, "--pace", "max", url=url)
    assert (status, out) == (0, FINALS)
    assert SUMMARY.search(err)


def test_a_failure_has_status_1_and_one_line(clip: Path) -> None:
    with emulator_thread(FailingOnceEngine(SCRIPT)) as url:
        status, out, err = finished("transcribe", clip, "--pace", "max", "--format", "srt", url=url)
    assert status == 1
    assert out == "1\n00:00:00,200 --> 00:00:01,400\ngo forward ten meters\n\n"
    assert err.startswith(f"asr-async: {clip}: ")
    assert err.count("\n") == 1


def test_wrong_use_has_status_2_and_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "missing.wav"
    expected = f"asr-async: {missing}: No such file or directory\n"
    assert finished("transcribe", missing) == (2, "", expected)


NOTE = "asr-async: ending the audio; its last words follow. Press Ctrl-C again to leave now"


def test_ctrl_c_ends_without_a_traceback(tmp_path: Path, url: str) -> None:
    long = write_wav(tmp_path / "long.wav", 60)
    with process("transcribe", long, "--pace", "4", url=url, command=INTERRUPTIBLE) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        rest, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert FINALS.startswith((first + rest).decode())
    note, summary = err.decode().splitlines()
    assert note == NOTE
    assert " words · " in summary


def test_ctrl_c_ends_several_files(tmp_path: Path, url: str) -> None:
    files = [write_wav(tmp_path / f"{number}.wav", 60) for number in range(3)]
    with process("transcribe", *files, "--pace", "4", url=url, command=INTERRUPTIBLE) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        rest, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert NOTE in err.decode().splitlines()
    assert set((first + rest).decode().splitlines()) <= set(FINALS.splitlines())


@pytest.mark.parametrize("has_uvloop", [True, False])
def test_ctrl_c_ends_a_pending_connect(clip: Path, has_uvloop: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        command = INTERRUPTIBLE if has_uvloop else WITHOUT_UVLOOP
        with process("transcribe", clip, url=url, command=command) as running:
            connection, _ = silent.accept()
            connection.recv(1)  # wait until the client is connected: asyncio reports a signal that arrives before
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=60)
            connection.close()
    assert (running.returncode, out, err) == (130, b"", b"")


def test_the_first_ctrl_c_finishes_the_sentence(tmp_path: Path, url: str) -> None:
    """The signal comes with the first interim; the script's sentence ends at 1.4 s."""
    long = write_wav(tmp_path / "long.wav", 60)
    output = tmp_path / "out.txt"
    terminal = Terminal(100)
    interrupted: list[bool] = []

    def interrupt(running: subprocess.Popen[bytes], lines: list[str]) -> None:
        if not interrupted and any(line.startswith("… go") for line in lines):
            interrupted.append(True)
            running.send_signal(signal.SIGINT)

    command = [*INTERRUPTIBLE, "transcribe", str(long), "-o", str(output), "--pace", "1"]
    status = terminal.run(command, environment(url, columns=None), on_output=interrupt)
    assert (status, interrupted) == (130, [True])
    assert NOTE in terminal.lines
    written = output.read_text(encoding="utf-8")
    assert written.startswith("go")
    assert "go forward ten meters\n".startswith(written.rstrip())


def test_the_second_ctrl_c_leaves(tmp_path: Path) -> None:
    """The first one ends the audio, and a server that never confirms the end is not waited for."""
    long = write_wav(tmp_path / "long.wav", 60)
    with (
        emulator_thread(Scripted(SCRIPT), faults=[MuteFinish()]) as url,
        process("transcribe", long, url=url, command=INTERRUPTIBLE) as running,
    ):
        assert running.stdout is not None
        assert running.stderr is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        note = running.stderr.readline()
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    assert (first, note.decode()) == (b"go forward ten meters\n", f"{NOTE}\n")
    assert running.returncode == 130


def test_a_background_job_ignores_ctrl_c(clip: Path, url: str) -> None:
    ignoring = (sys.executable, "-c", INTERRUPTIBLE[2].replace("default_int_handler", "SIG_IGN"))
    with process("transcribe", clip, "--pace", "4", url=url, command=ignoring) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=60)
    assert (running.returncode, (first + rest).decode()) == (0, FINALS)


class TestClosedStreams:
    """Standard output or error that is closed, as by `>&-`."""

    def run(self, redirection: str, *arguments: object, url: str) -> subprocess.CompletedProcess[str]:
        line = shlex.join([*COMMAND, "transcribe", "--pace", "max", *map(str, arguments)])
        command = ["sh", "-c", f"{line} {redirection}"]
        return subprocess.run(
            command, env=environment(url), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )

    def test_a_closed_standard_output_is_refused_before_connecting(
        self, clip: Path, engine: CountingEngine, url: str
    ) -> None:
        done = self.run(">&-", clip, url=url)
        assert done.returncode == 2
        assert done.stderr == "asr-async: standard output is closed: name a file, such as --output transcript.txt\n"
        assert engine.opened == 0

    def test_with_a_file_it_is_not_needed(self, clip: Path, tmp_path: Path, url: str) -> None:
        done = self.run(">&-", clip, "-o", tmp_path / "out.txt", url=url)
        assert done.returncode == 0
        assert (tmp_path / "out.txt").read_text(encoding="utf-8") == FINALS

    def test_a_closed_standard_error_is_no_failure(self, clip: Path, url: str) -> None:
        done = self.run("2>&-", clip, url=url)
        assert (done.returncode, done.stdout, done.stderr) == (0, FINALS, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
class TestFullDisk:
    def test_standard_output(self, clip: Path, url: str) -> None:
        with (
            Path("/dev/full").open("wb") as full,
            process("transcribe", clip, "--pace", "max", url=url, stdout=full.fileno()) as running,
        ):
            _, err = running.communicate(timeout=60)
        assert running.returncode == 1
        assert err.decode() == "asr-async: standard output: No space left on device\n"

    def test_a_file_ends_the_run_and_finished_files_stay(self, clip: Path, tmp_path: Path, url: str) -> None:
        files = [write_wav(tmp_path / f"{number}.wav", 1.5) for number in range(3)]
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "1.txt").symlink_to("/dev/full")
        status, _, err = finished(
            "transcribe", *files, "-o", tmp_path / "out", "-j", "1", "--pace", "max", "-q", url=url
        )
        assert status == 1
        assert err == (f"asr-async: {tmp_path}/out/1.txt: No space left on device; stopped, with 1 of 3 files done\n")
        assert (tmp_path / "out" / "0.txt").read_text(encoding="utf-8") == "go forward ten meters\n"


@pytest.mark.parametrize("name", ["text", "jsonl", "srt", "vtt"])
def test_a_closed_pipe_ends_without_a_traceback(name: str, clip: Path, url: str) -> None:
    arguments = ("transcribe", clip, "--pace", "max", "--format", name)
    with process(*arguments, url=url) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        err = running.stderr.read().decode()
    assert (running.returncode, err) == (141, "")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop for Windows")
def test_the_loop_is_uvloop_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    loops = []

    async def record_loop() -> ExitStatus:
        loops.append(type(asyncio.get_running_loop()).__module__)
        return ExitStatus.DONE

    assert run(record_loop()) is ExitStatus.DONE
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert run(record_loop()) is ExitStatus.DONE
    assert loops == ["uvloop", "asyncio.unix_events"]


def test_text_is_utf8_in_every_locale(clip: Path, url: str) -> None:
    env = environment(url) | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    arguments = [*COMMAND, "transcribe", str(clip), "--pace", "max", "--times"]
    done = subprocess.run(arguments, env=env, cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert "今天天气不错。" in done.stdout.decode()


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_is_reported(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from asr_async.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(None), capture_output=True, timeout=60, check=False
    )
    message = b"asr-async: the command line needs an extra: pip install 'asr-async[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", message)


def test_the_import_loads_no_extra() -> None:
    code = "import sys, asr_async.cli; print({'click', 'rich'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(None), capture_output=True, timeout=60, check=True
    )
    assert done.stdout == b"set()\n"


def test_main_runs_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["asr-async", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"asr-async, version {__version__}\n"


def test_help_lists_the_commands() -> None:
    status, out, err = finished("--help")
    assert (status, err) == (0, "")
    assert "transcribe" in out
    assert "serve" in out
