"""Batches against the emulator: what is done, what is tried again, what stops the run, and what survives a crash."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import batch_kills
from asr_async import (
    AuthenticationError,
    ConfigurationError,
    DashScope,
    Fallback,
    Paraformer,
    Rasr,
    Retry,
    VendorError,
    from_json,
)
from asr_async.batch import Batch, BatchOutcome, Budget, InProcess, Manifest, StorageError, Work, Worker
from asr_async.batch import failures as failures_module
from asr_async.batch.outputs import OutputFolder
from asr_async.batch.records import Figures, Lease
from asr_async.batch.worker import MAX_LOSSES
from asr_async.emulator import serve
from asr_async.emulator.faults import Fail, Fault

from ..support.child_processes import child_environment
from ..support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class Site:
    """A folder with files of a second each, an emulator that counts what is sent, and the batch of them."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.calls = folder / "calls"
        self.texts = folder / "texts"
        self.manifest = str(folder / "run.sqlite")

    @property
    def sent(self) -> list[int]:
        """The numbers of the files whose audio the emulator received, in order."""
        return batch_kills.sent_numbers(self.folder / "sent.log")

    def batch(self, *, sessions: int = 1, **arguments: Any) -> Batch:
        service = DashScope("sk-of-this-test", endpoint=self.url)
        defaults: dict[str, Any] = {
            "manifest": self.manifest,
            "sources": self.calls,
            "options": Paraformer(),
            "service": service,
            "output": self.texts,
            "retry": Retry(attempts=0),
        }
        return Batch(**(defaults | arguments)).on(InProcess(sessions))

    async def run(self, **arguments: Any) -> list[BatchOutcome]:
        async with self.batch(**arguments) as batch:
            return [outcome async for outcome in batch]


@asynccontextmanager
async def site(folder: Path, count: int = 3, faults: Sequence[Fault] = (), delay_s: float = 0) -> AsyncIterator[Site]:
    (folder / "sent.log").touch()
    batch_kills.make_files(folder / "calls", count)
    async with serve(batch_kills.CountingEngine(folder / "sent.log", delay_s), faults=faults) as emulator:
        yield Site(folder, emulator.dashscope_url)


def names(outcomes: Sequence[BatchOutcome]) -> dict[str, str]:
    return {Path(outcome.source).name: outcome.state for outcome in outcomes}


def content_of(outcome: BatchOutcome) -> str:
    return Path(outcome.output).read_text(encoding="utf-8")


def text_of(path: Path) -> str:
    text: str = json.loads(path.read_bytes())["text"]
    return text


# --- a whole run -----------------------------------------------------------------------------------------------------


async def test_each_source_has_an_outcome_and_an_output_and_a_second_run_sends_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        outcomes = await here.run(sessions=2)
        assert names(outcomes) == {"0001.wav": "done", "0002.wav": "done", "0003.wav": "done"}
        first = min(outcomes, key=lambda outcome: outcome.source)
        assert (first.source, first.output) == (str(here.calls / "0001.wav"), str(here.texts / "0001.json"))
        assert (first.audio_s, first.billed_s, first.missing_s, first.error) == (1, 1, 0, None)
        assert [text_of(path) for path in sorted(here.texts.iterdir())] == ["file 1", "file 2", "file 3"]
        async with here.batch() as batch:
            assert [outcome async for outcome in batch] == []
            progress = await batch.progress()
        assert (progress.done, progress.total, progress.audio_s, progress.stopped) == (3, 3, 3, "finished")
        assert sorted(here.sent) == [1, 2, 3]


async def test_progress_counts_what_is_done_and_estimates_the_rest(tmp_path: Path) -> None:
    async with site(tmp_path, count=4) as here, here.batch() as batch:
        assert (await batch.progress()).remaining_s is None
        await anext(batch)
        progress = await batch.progress()
        assert (progress.waiting + progress.running, progress.done, progress.stopped) == (3, 1, None)
        assert progress.remaining_s is not None
        assert progress.remaining_s == pytest.approx(3 * progress.elapsed_s)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text", "file 1\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,000\nfile 1\n\n"),
        ("vtt", "WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.000\nfile 1\n"),
    ],
)
async def test_outputs_have_the_format_that_is_asked_for(name: str, content: str, tmp_path: Path) -> None:
    async with site(tmp_path, count=1) as here:
        [outcome] = await here.run(format=name)
    assert content_of(outcome).strip() == content.strip()


async def test_json_lines_are_the_final_results_as_events(tmp_path: Path) -> None:
    async with site(tmp_path, count=1) as here:
        [outcome] = await here.run(format="jsonl")
    [event] = map(from_json, content_of(outcome).splitlines())
    assert getattr(event, "text", None) == "file 1"


async def test_the_members_of_a_fallback_declare_what_they_were_given(tmp_path: Path) -> None:
    async with site(tmp_path, count=1) as here:
        service = DashScope("sk-of-this-test", endpoint=here.url)
        [outcome] = await here.run(service=Fallback([(service, Paraformer())]))
    assert (outcome.state, content_of(outcome).count("file 1")) == ("done", 2)


class TwoWorkers:
    """An engine with two workers, each with a client of its own."""

    @asynccontextmanager
    async def run(self, work: Work) -> AsyncIterator[AsyncIterator[BatchOutcome]]:
        async with Worker(work, sessions=1) as first, Worker(work, sessions=1) as second:
            yield self.outcomes_of(first, second)

    async def outcomes_of(self, *workers: Worker) -> AsyncIterator[BatchOutcome]:
        async def read(worker: Worker) -> list[BatchOutcome]:
            return [outcome async for outcome in worker]

        for outcomes in await asyncio.gather(*map(read, workers)):
            for outcome in outcomes:
                yield outcome


async def test_the_workers_of_another_engine_claim_no_source_twice(tmp_path: Path) -> None:
    async with site(tmp_path, count=6) as here, here.batch().on(TwoWorkers()) as batch:
        outcomes = [outcome async for outcome in batch]
        assert len(names(outcomes)) == len(outcomes) == 6
        assert (await batch.progress()).stopped == "finished"
        assert sorted(here.sent) == [1, 2, 3, 4, 5, 6]


async def test_outputs_keep_the_folders_of_their_sources(tmp_path: Path) -> None:
    async with site(tmp_path, count=2) as here:
        (here.calls / "deep").mkdir()
        (here.calls / "0002.wav").rename(here.calls / "deep" / "0002.wav")
        (here.calls / "notes.txt").write_text("no audio")
        sources = {
            "a folder": here.calls,
            "a pattern": str(here.calls / "**" / "*.wav"),
            "a list": [here.calls / "0001.wav", str(here.calls / "deep" / "0002.wav")],
        }
        for name, source in sources.items():
            manifest, output = tmp_path / f"{name}.sqlite", tmp_path / name
            await here.run(sources=source, manifest=manifest, output=output)
            assert sorted(str(path.relative_to(output)) for path in output.rglob("*.json")) == [
                "0001.json",
                "deep/0002.json",
            ]


async def test_the_sources_of_the_manifest_are_continued_without_naming_them(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        async with here.batch() as batch:
            await anext(batch)
        assert len(await here.run(sources=None)) == 2


async def test_a_loop_that_is_left_early_returns_its_sources(tmp_path: Path) -> None:
    async with site(tmp_path, count=6, delay_s=0.02) as here:
        async with here.batch(sessions=3) as batch:
            async for _ in batch:
                break
        async with Manifest(here.manifest) as manifest:
            progress = await manifest.progress()
        assert progress.running == 0
        assert progress.reserved_s == 0
        assert progress.done + progress.waiting == 6
        await here.run(sessions=3)
        assert sorted(path.name for path in here.texts.iterdir()) == [f"000{n}.json" for n in range(1, 7)]


# --- failures --------------------------------------------------------------------------------------------------------


async def test_a_poison_file_among_good_ones_costs_only_itself_and_is_not_tried_again(tmp_path: Path) -> None:
    async with site(tmp_path, count=2) as here:
        (here.calls / "0000.wav").write_bytes(b"RIFF")
        sources = [*sorted(here.calls.iterdir()), tmp_path / "missing.wav"]
        outcomes = await here.run(sources=sources)
        assert names(outcomes) == {
            "0000.wav": "poison",
            "0001.wav": "done",
            "0002.wav": "done",
            "missing.wav": "poison",
        }
        errors = {Path(each.source).name: (each.error_class, each.error) for each in outcomes if each.error}
        assert errors["0000.wav"][0] == "ConfigurationError"
        assert "is cut off" in str(errors["0000.wav"][1])
        assert errors["missing.wav"][0] == "FileNotFoundError"
        assert await here.run(sources=sources) == []


async def test_a_failure_of_the_vendor_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures_module, "FIRST_DELAY_S", 0.0)
    faults = [Fail(at="result", code="InternalError", times=1)]
    async with site(tmp_path, faults=faults) as here:
        outcomes = await here.run()
        assert names(outcomes) == {"0001.wav": "done", "0002.wav": "done", "0003.wav": "done"}
        assert [outcome.attempts for outcome in outcomes] == [0, 0, 1]
        async with Manifest(here.manifest) as manifest:
            progress = await manifest.progress()
        assert progress.wasted_s > 0
        assert progress.billed_s == progress.audio_s + progress.wasted_s


async def test_what_was_recognised_of_a_source_that_failed_is_kept_apart(tmp_path: Path) -> None:
    faults = [Fail(at="finish", code="InternalError", times=1)]
    async with site(tmp_path, count=1, faults=faults) as here:
        [outcome] = await here.run(attempts=1)
        assert (outcome.state, outcome.error_class, outcome.attempts) == ("failed", "VendorError", 1)
        assert not list(here.texts.glob("0001.json"))
        async with Manifest(here.manifest) as manifest:
            assert await manifest.retry() == 1
        (here.texts).mkdir(exist_ok=True)
        (here.texts / "0001.partial.json").write_text("{}")
        [outcome] = await here.run()
        assert outcome.state == "done"
        assert [path.name for path in here.texts.iterdir()] == ["0001.json"]


@pytest.mark.parametrize(("code", "error_class"), [("InvalidApiKey", AuthenticationError), ("Arrearage", VendorError)])
async def test_a_failure_of_the_account_in_the_middle_stops_the_run_and_keeps_everything(
    code: str, error_class: type[Exception], tmp_path: Path
) -> None:
    faults = [Fail(after_frames=25, code=code, connection=1)]
    async with site(tmp_path, count=5, faults=faults) as here:
        outcomes = []
        async with here.batch() as batch:
            with pytest.raises(error_class):
                async for outcome in batch:
                    outcomes.append(outcome)
            progress = await batch.progress()
        assert names(outcomes) == {"0001.wav": "done", "0002.wav": "done"}
        assert (progress.done, progress.waiting, progress.failed, progress.stopped) == (2, 3, 0, "error")
        assert names(await here.run()) == {"0003.wav": "done", "0004.wav": "done", "0005.wav": "done"}
        assert sorted(here.sent) == [1, 2, 3, 3, 4, 5]


async def test_the_run_of_another_process_that_stopped_has_its_reason_here(tmp_path: Path) -> None:
    async with site(tmp_path) as here, here.batch() as batch:
        await anext(batch)
        async with Manifest(here.manifest) as manifest:
            await manifest.stop("the key is wrong")
        with pytest.raises(Exception, match=r"^the key is wrong$"):
            async for _ in batch:
                pass


async def test_a_source_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    async with site(tmp_path, count=1) as here:
        async with here.batch():
            pass
        clock_s = 0.0
        async with Manifest(here.manifest, clock=lambda: clock_s) as manifest:
            for _ in range(MAX_LOSSES):
                assert isinstance(await manifest.claim("elsewhere/1:7:ab"), Lease)
                clock_s += 100
        [outcome] = await here.run()
        assert (outcome.state, outcome.error) == (
            "failed",
            "5 workers died while they transcribed it: it may crash the decoder",
        )


async def test_a_source_that_changed_since_is_refused_and_one_that_was_done_is_reported(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        async with here.batch() as batch:
            await anext(batch)
        with (here.calls / "0003.wav").open("ab") as file:
            file.write(bytes(3_200))
        outcomes = await here.run(sources=None)
        assert names(outcomes) == {"0002.wav": "done", "0003.wav": "poison"}
        [error] = [outcome.error for outcome in outcomes if outcome.error]
        assert error == (
            "changed since the run was begun: its size was 32044, and is 35244 bytes; 'asr-async batch retry', then "
            "the same command again, transcribe it as it is now"
        )
        with (here.calls / "0001.wav").open("ab") as file:
            file.write(bytes(3_200))
        assert await here.run() == []
        async with Manifest(here.manifest) as manifest:
            errors = {Path(row.source).name: row.error_class async for row in manifest.rows(["failed", "poison"])}
            assert errors == {"0001.wav": "SourceChanged", "0003.wav": "ConfigurationError"}
            await manifest.retry()
        assert names(await here.run()) == {"0001.wav": "done", "0003.wav": "done"}


# --- the budget ------------------------------------------------------------------------------------------------------


async def test_a_budget_stops_the_run_within_one_file_and_a_larger_one_continues_it(tmp_path: Path) -> None:
    async with site(tmp_path, count=8, delay_s=0.02) as here:
        async with here.batch(budget=Budget(billed_s=3.5), sessions=4) as batch:
            outcomes = [outcome async for outcome in batch]
            progress = await batch.progress()
        assert len(outcomes) == 4
        assert (progress.done, progress.waiting, progress.billed_s, progress.stopped) == (4, 4, 4, "budget")
        assert await here.run(budget=Budget(billed_s=3.5)) == []
        assert len(await here.run(budget=Budget(billed_s=10))) == 4
        assert len(here.sent) == 8


async def test_a_budget_of_money_is_by_the_list_price_of_the_model(tmp_path: Path) -> None:
    async with site(tmp_path, count=4) as here:
        price = 0.00024  # of paraformer-realtime-v2, in yuan per second
        assert len(await here.run(budget=Budget(yuan=2 * price))) == 2
        with pytest.raises(ConfigurationError, match=r"the price of .* is not known; set billed_s instead$"):
            here.batch(budget=Budget(yuan=1), options=Rasr(), service=None)


def test_a_budget_is_one_positive_number() -> None:
    for values in ({}, {"billed_s": 1, "yuan": 1}, {"billed_s": 0}, {"yuan": "1"}):
        with pytest.raises(ConfigurationError, match=r"^Budget\(.*\): one of them must be a positive number$"):
            Budget(**values)


# --- crashes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crashed", ["before the name", "after the name", "before the file"])
async def test_an_output_without_its_row_is_adopted(crashed: str, tmp_path: Path) -> None:
    async with site(tmp_path, count=1) as here:
        async with here.batch():
            pass
        folder, output = OutputFolder(str(here.texts)), "0001.json"
        sha256 = folder.write_temporary(output, b'{"text": "as it was"}')
        async with Manifest(here.manifest) as manifest:
            lease = await manifest.claim("elsewhere/1:7:ab")
            assert isinstance(lease, Lease)
            await manifest.prepare(lease, sha256, Figures(audio_s=1, billed_s=2))
            if crashed == "after the name":
                folder.give_name(output, sha256)
            elif crashed == "before the file":
                [left] = here.texts.iterdir()
                left.unlink()
            await manifest.release("elsewhere/1:7:ab")
        [outcome] = await here.run()
        assert outcome.state == "done"
        is_sent = crashed == "before the file"
        assert here.sent == ([1] if is_sent else [])
        assert text_of(here.texts / output) == ("file 1" if is_sent else "as it was")
        assert [path.name for path in here.texts.iterdir()] == [output]
        async with Manifest(here.manifest) as manifest:
            progress = await manifest.progress()
        assert (progress.done, progress.audio_s, progress.billed_s) == (1, 1, 3 if is_sent else 2)


async def test_a_worker_that_was_slow_leaves_the_output_of_the_next_one(tmp_path: Path) -> None:
    async with site(tmp_path, count=1, delay_s=0.1) as here, here.batch() as batch:
        first = asyncio.ensure_future(anext(batch))
        await wait_until(lambda: here.sent)
        async with Manifest(here.manifest) as manifest:
            [row] = [row async for row in manifest.rows(["leased"])]
            rows = await manifest._call(lambda: manifest._fetch_all("SELECT worker FROM sources"))
            await manifest.release(rows[0][0])
            lease = await manifest.claim("elsewhere/1:7:ab")
            assert isinstance(lease, Lease)
            folder = OutputFolder(str(here.texts))
            sha256 = folder.write_temporary(row.output, b'{"text": "of the next one"}')
            assert await manifest.prepare(lease, sha256, Figures())
            assert folder.give_name(row.output, sha256)
            assert await manifest.finish(lease)
            with pytest.raises(StopAsyncIteration):
                await first
        assert text_of(here.texts / "0001.json") == "of the next one"
        assert [path.name for path in here.texts.iterdir()] == ["0001.json"]


async def test_runs_that_are_killed_have_each_file_once_and_send_no_finished_one_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", child_environment()["PYTHONPATH"])
    arguments = ["--files", "20", "--kills", "2", "--sessions", "4", "--work", "0.05", "--json"]
    status = await asyncio.to_thread(batch_kills.main, arguments)
    figures = json.loads(capsys.readouterr().out)
    assert status == 0, figures
    assert figures["kills"] == 2


# --- refusals --------------------------------------------------------------------------------------------------------


async def test_an_empty_list_and_a_folder_without_audio_are_refused(tmp_path: Path) -> None:
    async with site(tmp_path, count=1) as here:
        (tmp_path / "empty").mkdir()
        for sources, text in (
            ([], "the list of sources is empty: name files, folders or patterns"),
            (tmp_path / "empty", "no audio files in .*empty: files in a folder are found by their names"),
            (str(tmp_path / "*.mp3"), r"no audio files in .*\*\.mp3"),
            (None, "has no sources yet: name files, folders or patterns"),
        ):
            with pytest.raises(ConfigurationError, match=text):
                await here.run(sources=sources)


async def test_a_file_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path, count=1) as here:
        with pytest.raises(ConfigurationError, match=r"0001\.wav is named twice among the sources: leave one out$"):
            await here.run(sources=[here.calls, here.calls / "0001.wav"])


async def test_a_second_run_of_the_same_manifest_is_refused_while_the_first_works(tmp_path: Path) -> None:
    async with site(tmp_path, count=1) as here, here.batch():
        with pytest.raises(ConfigurationError, match="works on this manifest; wait until it ends, or stop it"):
            await here.run()


async def test_another_format_is_another_run(tmp_path: Path) -> None:
    async with site(tmp_path, count=1) as here:
        await here.run()
        text = "belongs to a run with other options: format was 'json', is 'srt'. Use the same, or another manifest"
        with pytest.raises(ConfigurationError, match=text):
            await here.run(format="srt")
        with pytest.raises(ConfigurationError, match=r"language_hints was None, is \['en'\]"):
            await here.run(options=Paraformer(language_hints=["en"]))


async def test_an_output_folder_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.texts.write_text("a file in the place of the folder")
        async with here.batch() as batch:
            with pytest.raises(StorageError, match=r"texts/0001\.json cannot be written: .*\. Make room or give this"):
                await anext(batch)
            assert (await batch.progress()).waiting == 3
        here.texts.unlink()
        assert len(await here.run()) == 3


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from asr_async.batch import StorageError
from asr_async.batch.outputs import OutputFolder

folder = OutputFolder(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
try:
    folder.write_temporary("1.json", bytes(2_000))
except StorageError as error:
    print(error)
print(list(Path(sys.argv[1]).iterdir()))

async def fill():
    from asr_async.batch import Manifest
    from asr_async.batch.records import SourceEntry
    async with Manifest(sys.argv[1] + "/run.sqlite", create=True):
        pass

try:
    asyncio.run(fill())
except StorageError as error:
    print(error)
"""


def test_a_full_disk_is_reported_and_leaves_no_half_output(tmp_path: Path) -> None:
    """The size of files is limited: no test can fill a disk."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    of_output, left, of_manifest = done.stdout.splitlines()
    assert of_output == (
        f"{tmp_path}/1.json cannot be written: File too large. Make room or give this user the right to, and run the "
        "same command again: finished sources stay finished"
    )
    assert left == "[]"
    assert of_manifest.startswith(f"{tmp_path}/run.sqlite cannot be written: ")
    assert of_manifest.endswith("Is the disk full? Make room, and run the same command again")


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    def refused(**arguments: Any) -> str:
        given: dict[str, Any] = {
            "manifest": "run.sqlite",
            "sources": [],
            "options": Paraformer(),
            "output": tmp_path,
        } | arguments
        with pytest.raises(ConfigurationError) as caught:
            Batch(**given)
        return str(caught.value)

    assert refused(format="doc") == "format='doc': must be one of text, json, jsonl, srt, vtt"
    assert refused(attempts=0) == "attempts=0: must be a whole number, 1 or more"
    assert refused(lease_s=0) == "lease_s=0: must be a positive number of seconds"
    assert refused(options=Paraformer).startswith("Paraformer is a class")
    with pytest.raises(ConfigurationError, match="sessions=0: must be a whole number, 1 or more"):
        InProcess(0)
