"""`transcribe --resume` and `batch`: a run that is begun, interrupted and continued, its state and its table."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from asr_async.batch import BatchProgress
from asr_async.cli.batch_run import BatchRow, budget_of
from asr_async.emulator.faults import Fail

from ..support.waiting import wait_until
from ..support.wav_files import write_wav
from .command_line import INTERRUPTIBLE, SCRIPT, invoke, on_terminal, process
from .engines import CountingEngine, emulator_thread

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result as Outcome

TEXT = "go forward ten meters\n今天天气不错。\n"


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    folder = tmp_path / "calls"
    folder.mkdir()
    for name in ("a", "b"):
        write_wav(folder / f"{name}.wav")
    return folder


def run(folder: Path, *arguments: object, url: str) -> Outcome:
    """Run or continue the batch of a folder's `calls`."""
    manifest, output = folder / "run.sqlite", f"{folder}/texts/"
    return invoke("transcribe", folder / "calls", "--resume", manifest, "-o", output, *arguments, url=url)


# --- a run -----------------------------------------------------------------------------------------------------------


def test_a_run_writes_a_file_for_each_input_and_the_same_command_sends_nothing_again(
    calls: Path, tmp_path: Path, engine: CountingEngine, url: str
) -> None:
    done = run(tmp_path, url=url)
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"2 of 2 files done · 0:06 of audio in 0:0\d\n", done.stderr)
    assert {path.name: path.read_text() for path in (tmp_path / "texts").iterdir()} == {"a.txt": TEXT, "b.txt": TEXT}
    opened = engine.opened
    assert run(tmp_path, url=url).exit_code == 0
    assert engine.opened == opened == 2


def test_a_file_that_fails_is_named_and_the_others_are_done(calls: Path, tmp_path: Path, url: str) -> None:
    (calls / "c.wav").write_bytes(b"RIFF")
    done = run(tmp_path, url=url)
    assert done.exit_code == 1
    name, summary, advice = done.stderr.splitlines()
    assert name == f"asr-async: {calls}/c.wav: is cut off: its header is not complete"
    assert summary.startswith("2 of 3 files done, 1 unreadable · 0:06 of audio in ")
    manifest = tmp_path / "run.sqlite"
    assert advice == f"asr-async: asr-async batch status {manifest} lists what failed, batch retry has it tried again"


def test_a_budget_ends_the_run_with_files_left(calls: Path, tmp_path: Path, url: str) -> None:
    done = run(tmp_path, "--budget", "3s", "-j", "1", url=url)
    assert done.exit_code == 1
    assert "1 of 2 files done" in done.stderr
    assert "the budget is used up, with 1 file left: continue with a larger one" in done.stderr
    assert run(tmp_path, "--budget", "1h", url=url).exit_code == 0


def test_a_wrong_key_stops_the_run_and_says_how_to_continue(calls: Path, tmp_path: Path) -> None:
    faults = [Fail(at="start", code="InvalidApiKey", connection=1)]
    with emulator_thread(CountingEngine(SCRIPT), faults=faults) as url:
        done = run(tmp_path, "-j", "1", url=url)
        assert done.exit_code == 1
        assert "stopped; the same command continues, with 0 of 2 files done" in done.stderr
        assert "check the key" in done.stderr
        assert run(tmp_path, url=url).exit_code == 0


def test_an_interrupted_run_is_continued(calls: Path, tmp_path: Path, url: str) -> None:
    arguments = ("transcribe", calls, "--resume", tmp_path / "run.sqlite", "-o", f"{tmp_path}/texts/")
    with process(*arguments, "--pace", "0.5", url=url, command=INTERRUPTIBLE) as running:
        asyncio.run(wait_until(lambda: has_begun(tmp_path / "run.sqlite"), timeout_s=60))
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted; the same command continues, with 0 of 2 files done" in err.decode()
    status = json.loads(invoke("batch", "status", tmp_path / "run.sqlite", "--json").output)
    assert (status["waiting"], status["running"]) == (2, 0)
    assert run(tmp_path, url=url).exit_code == 0


def has_begun(manifest: Path) -> bool:
    """Return True if a run has reserved the length of a file that it is about to send."""
    if not manifest.exists():
        return False
    with closing(sqlite3.connect(manifest, timeout=30)) as connection:
        try:
            return bool(connection.execute("SELECT reserved_s FROM totals").fetchone()[0])
        except sqlite3.OperationalError:  # it has no tables yet
            return False


def test_a_terminal_shows_the_progress(calls: Path, tmp_path: Path, url: str) -> None:
    arguments = ("transcribe", calls, "--resume", tmp_path / "run.sqlite", "-o", f"{tmp_path}/texts/")
    status, _, shown = on_terminal(*arguments, url=url)
    assert status == 0
    assert "0 of 2 files done · 0:00 of audio" in shown
    assert "2 of 2 files done · 0:06 of audio in " in shown


def test_the_rows_have_the_counts_the_speed_and_the_end() -> None:
    row = BatchRow(BatchProgress(done=100, waiting=900, audio_s=1_000))
    row.progress = BatchProgress(
        done=1_100,
        failed=2,
        poison=1,
        running=8,
        waiting=8_889,
        audio_s=37_000,
        billed_s=38_000,
        elapsed_s=600,
        remaining_s=5_400,
    )
    counts, left, *others = row.parts()
    assert counts == "1,100 of 10,000 files done, 2 failed, 1 unreadable"
    assert re.fullmatch(r"1:30:00 left, until \d\d:\d\d", left)
    assert others == ["10:16:40 of audio", "60.0 times real time", "10:33:20 billed", "8 running"]
    assert len(row.lines(100)) == len(row.lines(30)) == 2


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out.txt"], "--resume writes a file for each input: name a folder, such as --output texts/"),
        ([], "--resume writes a file for each input: name a folder, such as --output texts/"),
        (["-", "-o", "texts/"], "--resume cannot continue standard input: name files, folders or patterns"),
        (["-o", "texts/", "--tape", "t"], "--tape records the sessions of one call: leave it out, or --resume"),
        (["-o", "texts/", "--times"], "--resume writes text without times: -f srt and -f json have them"),
        (["-o", "texts/", "--budget", "5 euro"], "'5 euro' is neither a length of audio, such as 3600, 90m and 12h"),
    ],
)
def test_what_a_batch_cannot_do_is_refused(arguments: list[str], message: str, calls: Path, url: str) -> None:
    done = invoke("transcribe", calls, "--resume", calls / "run.sqlite", *arguments, url=url)
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize("option", ["--budget", "--attempts"])
def test_an_option_of_batches_needs_a_manifest(option: str, calls: Path, url: str) -> None:
    done = invoke("transcribe", calls, option, "3", url=url)
    assert done.exit_code == 2
    assert f"{option} is of --resume: name a manifest, such as --resume run.sqlite" in done.stderr


def test_a_manifest_of_another_run_is_refused(calls: Path, tmp_path: Path, url: str) -> None:
    run(tmp_path, url=url)
    done = run(tmp_path, "-f", "srt", url=url)
    assert done.exit_code == 2
    assert "belongs to a run with other options: format was 'text', is 'srt'" in done.stderr


def test_a_budget_is_a_length_or_money() -> None:
    values = {value: budget_of(None, None, value) for value in ("90", "90s", "90m", "1.5h", "50yuan")}  # type: ignore[arg-type]
    assert {value: budget and (budget.billed_s, budget.yuan) for value, budget in values.items()} == {
        "90": (90, None),
        "90s": (90, None),
        "90m": (5_400, None),
        "1.5h": (5_400, None),
        "50yuan": (None, 50),
    }


# --- batch -----------------------------------------------------------------------------------------------------------


def test_status_lists_what_failed(calls: Path, tmp_path: Path, url: str) -> None:
    (calls / "c.wav").write_bytes(b"RIFF")
    run(tmp_path, url=url)
    done = invoke("batch", "status", tmp_path / "run.sqlite")
    assert done.exit_code == 1
    assert done.output.splitlines() == [
        "2 of 3 files done, 1 unreadable",
        "0:06 of audio, 0:06 billed",
        f"  {calls}/c.wav: is cut off: its header is not complete",
    ]
    numbers = json.loads(invoke("batch", "status", tmp_path / "run.sqlite", "--json").output)
    assert (numbers["total"], numbers["done"], numbers["poison"], numbers["audio_s"]) == (3, 2, 1, 6)


def test_retry_has_what_failed_transcribed_again(calls: Path, tmp_path: Path, url: str) -> None:
    (calls / "c.wav").write_bytes(b"RIFF")
    run(tmp_path, url=url)
    write_wav(calls / "c.wav")
    manifest = tmp_path / "run.sqlite"
    assert invoke("batch", "retry", manifest, "--failed").output.startswith("0 files to transcribe again")
    done = invoke("batch", "retry", manifest)
    assert (done.exit_code, done.output) == (0, "1 file to transcribe again; run the same command as before\n")
    assert run(tmp_path, url=url).exit_code == 0
    assert invoke("batch", "status", manifest).exit_code == 0


def test_export_writes_a_table(calls: Path, tmp_path: Path, url: str) -> None:
    run(tmp_path, url=url)
    manifest, table = tmp_path / "run.sqlite", tmp_path / "table.csv"
    rows = json.loads(invoke("batch", "export", manifest).stdout)
    assert [(row["source"], row["state"], row["text"]) for row in rows] == [
        (f"{calls}/{name}.wav", "done", TEXT.strip()) for name in ("a", "b")
    ]
    done = invoke("batch", "export", manifest, "-o", table, "--done")
    assert (done.exit_code, done.stderr) == (0, f"2 rows in {table}\n")
    assert [row["state"] for row in csv.DictReader(io.StringIO(table.read_text()))] == ["done", "done"]
    done = invoke("batch", "export", manifest, "-o", tmp_path / "missing" / "table.csv")
    assert (done.exit_code, done.stderr) == (
        1,
        f"asr-async: {tmp_path}/missing/table.csv cannot be written: No such file or directory\n",
    )


@pytest.mark.parametrize("command", ["status", "retry", "export"])
def test_a_manifest_that_is_not_there_is_reported(command: str, tmp_path: Path) -> None:
    done = invoke("batch", command, tmp_path / "run.sqlite")
    assert done.exit_code == 2
    reason = "there is no manifest; asr-async transcribe --resume makes one"
    assert done.stderr == f"asr-async: {tmp_path}/run.sqlite: {reason}\n"
    assert list(tmp_path.iterdir()) == []
