"""The transitions of a manifest, in sqlite and in Postgres: claims, leases, outcomes, totals and refusals."""

from __future__ import annotations

import asyncio
import os
import pickle
import re
import sqlite3
import sys
from asyncio.subprocess import PIPE
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from asr_async import ConfigurationError
from asr_async.batch import BatchProgress, Manifest, StorageError
from asr_async.batch.databases import SqliteDatabase, concealed
from asr_async.batch.manifest import LEASE_S
from asr_async.batch.processes import is_dead, worker_name
from asr_async.batch.records import Figures, Lease, Pause, RunRecord, SourceEntry, Stopped

from ..support.child_processes import child_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORD = RunRecord(options={"options": "Paraformer", "language_hints": ["zh"]}, output="/texts", format="json")
WORKER = worker_name()
OTHER = "elsewhere/1:7:ab"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def entries(count: int) -> list[SourceEntry]:
    return [
        SourceEntry(source=f"/calls/{n}.wav", output=f"{n}.json", size_bytes=100 * n, version="1") for n in range(count)
    ]


async def claimed(manifest: Manifest, worker: str = WORKER) -> Lease:
    lease = await manifest.claim(worker)
    assert isinstance(lease, Lease)
    return lease


@contextmanager
def as_user_without_rights(folder: Path) -> Iterator[None]:
    """Take the right to write in a folder; root, who always has it, becomes another user meanwhile."""
    paths = [folder, *folder.iterdir()]
    user = os.geteuid()
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    parents = {parent: parent.stat().st_mode for parent in folder.parents if user == 0 and parent.owner() == "root"}
    for parent, mode in parents.items():
        parent.chmod(mode | 0o111)
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path in [folder, *folder.iterdir()]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        for parent, mode in parents.items():
            parent.chmod(mode)


# --- claims and leases -----------------------------------------------------------------------------------------------


async def test_rows_are_claimed_once_in_their_order_until_all_are_settled(location: str) -> None:
    async with Manifest(location, create=True) as manifest:
        await manifest.begin(RECORD)
        added = await manifest.add(entries(3))
        assert (added.new, added.known, added.changed) == (3, 0, ())
        leases = [await claimed(manifest) for _ in range(3)]
        assert [lease.source for lease in leases] == ["/calls/0.wav", "/calls/1.wav", "/calls/2.wav"]
        pause = await manifest.claim(WORKER)
        assert isinstance(pause, Pause)
        assert LEASE_S - 10 < pause.seconds <= LEASE_S
        for lease in leases:
            assert await manifest.prepare(lease, "ab", Figures(audio_s=3, billed_s=4, missing_s=0.5))
            assert await manifest.finish(lease)
        assert await manifest.claim(WORKER) == Stopped("finished")
        assert await manifest.progress() == BatchProgress(done=3, audio_s=9, billed_s=12, missing_s=1.5)
        assert [row.state for row in [row async for row in manifest.rows()]] == ["done"] * 3


async def test_two_processes_never_claim_the_same_row(location: str) -> None:
    async with Manifest(location, create=True) as first, Manifest(location, create=True) as second:
        await first.add(entries(40))

        async def claim_all(manifest: Manifest) -> list[str]:
            sources = []
            while isinstance(lease := await manifest.claim(worker_name()), Lease):
                sources.append(lease.source)
            return sources

        by_process = await asyncio.gather(claim_all(first), claim_all(second))
        claims = sorted(source for sources in by_process for source in sources)
        assert claims == sorted(entry.source for entry in entries(40))
        assert (await first.progress()).running == 40


async def test_a_lease_that_is_not_renewed_returns_and_may_have_been_billed(location: str) -> None:
    clock = Clock()
    async with Manifest(location, create=True, clock=clock) as manifest:
        await manifest.add(entries(1))
        lost = await claimed(manifest, OTHER)
        assert await manifest.reserve(lost, 30.0)
        clock.now += LEASE_S - 1
        await manifest.renew([lost])
        clock.now += LEASE_S - 1
        assert await manifest.claim(WORKER) == Pause(1.0)
        clock.now += 1
        lease = await claimed(manifest)
        assert (lease.losses, lease.attempts) == (1, 0)
        progress = await manifest.progress()
        assert (progress.running, progress.billed_s, progress.wasted_s, progress.reserved_s) == (1, 30, 30, 0)
        # the worker was not dead but slow: nothing that it does has an effect any more
        await manifest.renew([lost])
        assert not await manifest.reserve(lost, 1.0)
        assert not await manifest.prepare(lost, "ab", Figures(billed_s=7))
        assert not await manifest.finish(lost)
        assert not await manifest.fail(lost, OSError("gone"), "failed")
        assert not await manifest.put_back(lost)
        await manifest.discard(lost)
        assert await manifest.progress() == progress
        assert await manifest.finish(lease)


async def test_the_rows_of_dead_processes_of_this_machine_return_when_a_run_begins(location: str) -> None:
    code = "from asr_async.batch.processes import worker_name; print(worker_name())"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE, env=child_environment())
    dead = (await child.communicate())[0].decode().strip()
    assert [is_dead(worker) for worker in (dead, WORKER, OTHER)] == [True, False, False]
    async with Manifest(location, create=True) as manifest:
        await manifest.add(entries(3))
        for worker in (dead, OTHER, WORKER):
            await claimed(manifest, worker)
        await manifest.begin(RECORD)
        lease = await claimed(manifest)
        assert (lease.source, lease.losses) == ("/calls/0.wav", 1)
        assert isinstance(await manifest.claim(WORKER), Pause)


async def test_a_failed_attempt_waits_and_counts(location: str) -> None:
    clock = Clock()
    async with Manifest(location, create=True, clock=clock) as manifest:
        await manifest.add(entries(1))
        lease = await claimed(manifest)
        assert await manifest.reserve(lease, 30.0)
        reason = ConnectionError("the line\nis down")
        assert await manifest.put_back(lease, reason, delay_s=5, billed_s=2, is_attempt=True)
        assert (await manifest.progress()).reserved_s == 0
        [row] = [row async for row in manifest.rows()]
        assert (row.state, row.error_class, row.error) == ("todo", "ConnectionError", "the line is down")
        assert await manifest.claim(WORKER) == Pause(5.0)
        clock.now += 5
        lease = await claimed(manifest)
        assert lease.attempts == 1
        assert await manifest.fail(lease, ValueError(), "poison", billed_s=1)
        [row] = [row async for row in manifest.rows()]
        assert (row.state, row.attempts, row.error_class, row.error) == ("poison", 2, "ValueError", "ValueError")
        progress = await manifest.progress()
        assert progress == BatchProgress(poison=1, billed_s=3, wasted_s=3)
        assert await manifest.retry() == 1
        assert (await manifest.progress()).waiting == 1
        assert (await claimed(manifest)).attempts == 0


async def test_what_was_reserved_counts_where_the_billed_seconds_are_not_known(location: str) -> None:
    async with Manifest(location, create=True) as manifest:
        await manifest.add(entries(2))
        for _ in range(2):
            lease = await claimed(manifest)
            await manifest.reserve(lease, 30.0)
            await manifest.fail(lease, OSError("the decoder"), "failed")
        assert await manifest.progress() == BatchProgress(failed=2, billed_s=60, wasted_s=60)


async def test_a_worker_that_ends_returns_its_rows(location: str) -> None:
    async with Manifest(location, create=True) as manifest:
        await manifest.add(entries(3))
        first, _, other = await claimed(manifest), await claimed(manifest), await claimed(manifest, OTHER)
        await manifest.reserve(first, 30.0)
        await manifest.reserve(other, 10.0)
        await manifest.release(WORKER)
        await manifest.release(WORKER)
        assert await manifest.progress() == BatchProgress(running=1, waiting=2, billed_s=30, wasted_s=30, reserved_s=10)
        assert (await claimed(manifest)).losses == 0


async def test_an_output_without_its_row_keeps_its_hash_for_the_next_lease(location: str) -> None:
    clock = Clock()
    async with Manifest(location, create=True, clock=clock) as manifest:
        await manifest.add(entries(1))
        figures = Figures(audio_s=3, billed_s=4, missing_s=1)
        await manifest.prepare(await claimed(manifest), "ab", figures)
        clock.now += LEASE_S
        lease = await claimed(manifest)
        assert (lease.sha256, lease.figures) == ("ab", figures)
        await manifest.discard(lease)
        await manifest.put_back(lease)
        lease = await claimed(manifest)
        assert (lease.sha256, lease.figures.audio_s) == (None, 0)
        assert (await manifest.progress()).billed_s == 4


# --- the budget ------------------------------------------------------------------------------------------------------


async def test_a_budget_is_exceeded_by_less_than_one_source_though_several_are_sent_at_once(location: str) -> None:
    async with Manifest(location, create=True) as manifest:
        await manifest.add(entries(10))
        leases = [await claimed(manifest) for _ in range(6)]
        reserved = [await manifest.reserve(lease, 30, budget_s=100) for lease in leases]
        assert reserved == [True, True, True, True, False, False]
        assert await manifest.claim(WORKER, budget_s=100) == Stopped("budget")
        # the first one was shorter than its header says
        await manifest.prepare(leases[0], "ab", Figures(billed_s=5))
        assert await manifest.reserve(leases[4], 30, budget_s=100)
        assert (await manifest.progress()).reserved_s == 120
        assert isinstance(await manifest.claim(WORKER, budget_s=130), Lease)


async def test_an_output_that_is_there_is_adopted_without_a_budget(location: str) -> None:
    async with Manifest(location, create=True) as manifest:
        await manifest.add(entries(1))
        lease = await claimed(manifest)
        await manifest.prepare(lease, "ab", Figures(billed_s=100))
        await manifest.put_back(lease)
        assert isinstance(await manifest.claim(WORKER, budget_s=50), Lease)


# --- runs and sources ------------------------------------------------------------------------------------------------


async def test_a_stopped_run_hands_out_no_rows_until_it_is_begun_again(location: str) -> None:
    async with Manifest(location, create=True) as manifest:
        await manifest.add(entries(1))
        await manifest.stop("the key is\nwrong")
        assert await manifest.claim(WORKER) == Stopped("error")
        assert await manifest.stop_reason() == "the key is wrong"
        await manifest.begin(RECORD)
        assert await manifest.stop_reason() is None
        await claimed(manifest)


async def test_a_manifest_of_another_runs_options_is_refused_with_the_differences(location: str) -> None:
    async with Manifest(location, create=True) as manifest:
        assert await manifest.record() is None
        await manifest.begin(RECORD)
    other = RunRecord(options={"options": "Paraformer", "language_hints": ["en"]}, output="/other", format="json")
    async with Manifest(location) as manifest:
        with pytest.raises(ConfigurationError) as caught:
            await manifest.begin(other)
        assert str(caught.value) == (
            f"{manifest.name} belongs to a run with other options: language_hints was ['zh'], is ['en']; "
            "output was '/texts', is '/other'. Use the same, or another manifest"
        )
        assert await manifest.record() == RECORD
        await manifest.begin(RECORD)


async def test_a_source_that_is_named_twice_is_refused(location: str) -> None:
    async with Manifest(location, create=True) as manifest:
        with pytest.raises(
            ConfigurationError, match=r"^/calls/0\.wav is named twice among the sources: leave one out$"
        ):
            await manifest.add([*entries(2), *entries(1)])
        assert (await manifest.progress()).total == 0


async def test_two_sources_with_the_same_output_are_refused_in_one_list_and_in_two(location: str) -> None:
    mp3 = SourceEntry(source="/calls/0.mp3", output="0.json", size_bytes=1, version="1")
    async with Manifest(location, create=True) as manifest:
        text = r"^/calls/0\.wav and /calls/0\.mp3 have the same output, 0\.json: rename one"
        with pytest.raises(ConfigurationError, match=text):
            await manifest.add([*entries(1), mp3])
        await manifest.add(entries(1))
        with pytest.raises(ConfigurationError, match=text):
            await manifest.add([mp3])
        assert (await manifest.progress()).total == 1


async def test_known_sources_keep_their_rows_and_changed_ones_are_reported(location: str) -> None:
    async with Manifest(location, create=True) as manifest:
        await manifest.add(entries(2))
        lease = await claimed(manifest)
        await manifest.prepare(lease, "ab", Figures(audio_s=3, billed_s=3))
        await manifest.finish(lease)
        changed = [
            SourceEntry(source=f"/calls/{n}.wav", output=f"{n}.json", size_bytes=100 * n, version="2") for n in range(3)
        ]
        added = await manifest.add(changed)
        assert (added.new, added.known, added.changed) == (1, 2, ("/calls/0.wav",))
        rows = [row async for row in manifest.rows()]
        assert [(row.state, row.version) for row in rows] == [("failed", "2"), ("todo", "2"), ("todo", "2")]
        assert rows[0].error == (
            "changed since it was transcribed, and the output is of its earlier content; 'asr-async batch retry' has "
            "it transcribed again"
        )
        assert await manifest.progress() == BatchProgress(failed=1, waiting=2, billed_s=3)
        assert (await manifest.add(changed)).changed == ()


# --- refusals of the database ----------------------------------------------------------------------------------------


async def test_a_manifest_that_is_not_there_is_not_made_where_it_must_exist(location: str) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no manifest; asr-async transcribe --resume makes one$"):
        async with Manifest(location):
            pass


async def test_two_runs_on_one_file_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "run.sqlite")
    async with Manifest(path, create=True) as first:
        await first.begin(RECORD)
        async with Manifest(path) as second:
            expected = f"{path}: process {os.getpid()} on "
            with pytest.raises(
                ConfigurationError, match=f"^{re.escape(expected)}.* works on this manifest; wait until"
            ):
                await second.begin(RECORD)
    async with Manifest(path) as second:
        await second.begin(RECORD)


async def test_two_machines_may_run_one_manifest_in_postgres(postgres: str) -> None:
    location = f"{postgres}#together"
    async with Manifest(location, create=True) as first, Manifest(location, create=True) as second:
        await first.begin(RECORD)
        await second.begin(RECORD)
        await first.add(entries(2))
        assert (await second.add(entries(2))).known == 2


async def test_a_manifest_in_postgres_needs_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    text = r"^postgresql://host/calls: a manifest in Postgres needs psycopg: pip install 'asr-async\[postgres\]'$"
    with pytest.raises(ConfigurationError, match=text):
        async with Manifest("postgresql://host/calls"):
            pass


async def test_a_lost_connection_to_postgres_is_replaced(postgres: str, caplog: pytest.LogCaptureFixture) -> None:
    location = f"{postgres}#restarted"
    async with Manifest(location, create=True) as manifest, Manifest(location) as other:
        await manifest.add(entries(1))
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query <> ''"
        await other._call(lambda: other._fetch_all(query))
        await claimed(manifest)
        assert (await manifest.progress()).running == 1
    [record] = caplog.records
    assert "trying again in 0 s" in record.message


def test_a_location_can_be_sent_to_other_machines_unless_it_has_a_password() -> None:
    for location in ("run.sqlite", "postgresql://user@host/calls#nightly", "postgresql:///calls?host=/run"):
        assert pickle.loads(pickle.dumps(concealed(location))) == location
    for location in ("postgresql://user:secret@host/calls", "postgresql://host/calls?password=secret"):
        with pytest.raises(TypeError, match=r"leave the password out of the URL of the manifest: libpq reads PGPASS"):
            pickle.dumps(concealed(location))
        assert "secret" not in repr(Manifest(location)) + repr(concealed(location))


async def test_a_locked_manifest_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    async with Manifest(str(path), create=True):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        database = SqliteDatabase(str(path), busy_s=0.01)
        async with Manifest(str(path), database=database) as manifest:
            with pytest.raises(StorageError) as caught:
                await manifest.add(entries(1))
    text = "is locked: another program has been writing to it for 0.01 s; close that program"
    assert str(caught.value) == f"{path} {text}"


async def test_a_read_only_manifest_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    async with Manifest(str(path), create=True) as manifest:
        await manifest.add(entries(1))
    with as_user_without_rights(tmp_path), pytest.raises(StorageError) as caught:
        async with Manifest(str(path)) as manifest:
            await manifest.stop("a test")
    assert str(caught.value).startswith(f"{path} is read-only: a run writes to its manifest; give this user the right")


async def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at\n" * 50)
    with pytest.raises(ConfigurationError, match=r"notes\.txt is not a manifest \(file is not a database\): choose"):
        async with Manifest(str(path), create=True):
            pass
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    with pytest.raises(
        ConfigurationError, match=r"other\.sqlite is a database of another program: choose another name$"
    ):
        async with Manifest(str(other), create=True):
            pass


async def test_a_schema_of_another_program_is_refused(postgres: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"#public is a schema of another program: choose another name after #$"
    ):
        async with Manifest(f"{postgres}#public", create=True):
            pass


async def test_a_manifest_of_a_newer_format_is_refused(location: str) -> None:
    async with Manifest(location, create=True) as manifest:
        if location.startswith("postgresql"):
            await manifest._call(
                lambda: manifest._database.execute("UPDATE info SET value = '2' WHERE name = 'format'")
            )
        else:
            await manifest._call(lambda: manifest._database.execute("PRAGMA user_version=2"))
    text = "has format 2 of a manifest, and this version of asr_async knows 1: update the package$"
    with pytest.raises(ConfigurationError, match=text):
        async with Manifest(location):
            pass


async def test_a_folder_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"run\.sqlite cannot be opened: does its folder exist, and may this user"):
        async with Manifest(str(tmp_path / "missing" / "run.sqlite"), create=True):
            pass


@pytest.mark.parametrize("location", ["mysql://user:secret@host/calls", "redis://:secret@host"])
def test_a_url_of_another_database_is_refused_without_its_password(location: str) -> None:
    with pytest.raises(ConfigurationError, match=r"a manifest is a path \(sqlite\), or a URL of Postgres") as caught:
        Manifest(location)
    assert "secret" not in str(caught.value)


async def test_an_unreachable_postgres_is_reported_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^postgresql:///calls#nightly: connection .*No such file") as caught:
        async with Manifest(f"postgresql://user:secret@/calls?host={tmp_path}#nightly"):
            pass
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"the name of a run has letters, digits and _\.- only"):
        Manifest("postgresql://host/calls#two words")
