"""Batches on a Ray cluster, which the test starts: outcomes, a killed worker, keys, a data set; and errors."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import pickle
import signal
import sqlite3
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    ASRError,
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    Limits,
    Paraformer,
    Retry,
    Timeouts,
)
from asr_async.batch import Batch, Ray, Work, ray_engine
from asr_async.batch.ray_worker import RayWorker
from asr_async.emulator import Scripted, serve
from ray_cluster import WITHOUT_TOKENS, ray_cluster

from ..support.child_processes import child_environment
from ..support.paths import EXAMPLES
from ..support.waiting import wait_until
from ..support.wav_files import write_wav

if TYPE_CHECKING:
    from collections.abc import Iterator

if importlib.util.find_spec("ray") is None and not os.environ.get("CI"):
    pytest.skip("Ray is not installed: nox -s integrations does that", allow_module_level=True)

KEY = "sk-this-key-is-in-the-environment-only"
SCRIPT = Scripted([("go forward", 100, 900)])


def make_calls(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        write_wav(folder / f"{number:02}.wav", 1)
    return folder


def leased_process(manifest: Path) -> int | None:
    """Return the process of a worker that has a source now."""
    with sqlite3.connect(manifest) as database:
        row = database.execute("SELECT worker FROM sources WHERE state = 'leased'").fetchone()
    return None if row is None else int(row[0].split(":")[-2])


def stored_objects() -> Iterator[bytes]:
    """Yield the beginning of the shared memory of each object store of this machine; its file has no name any more."""
    seen: set[int] = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if "/plasma" in str(link.readlink()) and (inode := link.stat().st_ino) not in seen:
                seen.add(inode)
                with link.open("rb") as store:
                    yield store.read(16 * 1024 * 1024)
        except OSError:
            continue  # the process has ended


async def run(*command: object, **environment: str) -> None:
    """Run a program, while this event loop serves the emulator."""
    env = child_environment() | WITHOUT_TOKENS | environment
    process = await asyncio.create_subprocess_exec(
        sys.executable, *map(str, command), env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


@pytest.mark.timeout(240)
async def test_a_cluster_transcribes_each_source_once_and_never_sees_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test, since a cluster starts for some seconds: a batch with a killed worker, and then a data set."""
    import ray

    calls, manifest = make_calls(tmp_path / "calls", 12), tmp_path / "run.sqlite"
    for name, value in WITHOUT_TOKENS.items():
        monkeypatch.setenv(name, value)
    async with serve(SCRIPT) as emulator:
        environment = {"DASHSCOPE_API_KEY": KEY, "DASHSCOPE_WEBSOCKET_BASE_URL": emulator.dashscope_url}
        with ray_cluster(child_environment() | environment) as (address, cluster):
            engine = Ray(workers=2, sessions_per_worker=2, address=address)
            batch = Batch(manifest, calls, Paraformer(), output=tmp_path / "texts", pace=1, retry=Retry(attempts=0))
            async with batch.on(engine):
                outcomes = [await anext(batch)]
                await wait_until(lambda: leased_process(manifest))
                process = leased_process(manifest)
                assert process is not None
                os.kill(process, signal.SIGKILL)
                marker = ray.put(b"this is in the store" + bytes(200_000))
                assert any(b"this is in the store" in memory for memory in stored_objects())
                assert not any(KEY.encode() in memory for memory in stored_objects())
                del marker
                outcomes += [outcome async for outcome in batch]
                progress = await batch.progress()
            assert (progress.done, progress.stopped) == (12, "finished")
            assert {outcome.state for outcome in outcomes} == {"done"}
            assert len({outcome.source for outcome in outcomes}) == len(outcomes)
            texts = [json.loads(path.read_text())["text"] for path in sorted((tmp_path / "texts").iterdir())]
            assert texts == 12 * ["go forward"]
            assert not any(KEY in path.read_text(errors="replace") for path in cluster.rglob("*") if path.is_file())

            await run(EXAMPLES / "ray_data.py", calls, tmp_path / "rows", RAY_ADDRESS=address)
            rows = [json.loads(row) for path in (tmp_path / "rows").iterdir() for row in path.read_text().splitlines()]
            assert sorted(row["path"] for row in rows) == sorted(map(str, calls.iterdir()))
            assert {(row["text"], row["error"]) for row in rows} == {("go forward", "")}


BATCH = """
import asyncio, sys
from asr_async import Paraformer
from asr_async.batch import Batch, Ray

async def main():
    batch = Batch("run.sqlite", sys.argv[1], Paraformer(), output="texts")
    async with batch.on(Ray(workers=1)):
        assert [outcome.state async for outcome in batch] == 3 * ["done"]

asyncio.run(main())
"""


@pytest.mark.timeout(240)
async def test_without_an_address_a_cluster_is_begun_for_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serve(SCRIPT) as emulator:
        url = emulator.dashscope_url
        calls = make_calls(tmp_path / "calls", 3)
        await run("-c", BATCH, calls, DASHSCOPE_API_KEY=KEY, DASHSCOPE_WEBSOCKET_BASE_URL=url)
    assert len(list((tmp_path / "texts").iterdir())) == 3


# --- errors -----------------------------------------------------------------------------------------------------------


def work(**changes: Any) -> Work:
    fields: dict[str, Any] = {
        "manifest": "run.sqlite",
        "options": Paraformer(),
        "service": None,
        "output": "/texts",
        "format": "json",
        "attempts": 3,
        "budget_s": None,
        "limits": Limits(),
        "timeouts": Timeouts(),
        "retry": Retry(),
        "pace": None,
    }
    return Work(**(fields | changes))


def test_the_work_has_no_key_and_an_absolute_manifest() -> None:
    job = ray_engine._job(work(service=DashScope()), None)
    assert pickle.loads(job)[0].manifest == str(Path("run.sqlite").absolute())
    assert b"sk-" not in job


@pytest.mark.parametrize(
    "changes",
    [
        {"service": DashScope("sk-of-this-program")},
        {"manifest": "postgresql://me:password@host/database#run"},
        {"limits": Limits(shared="redis://:password@host")},
    ],
)
def test_work_that_holds_a_key_is_refused(changes: dict[str, Any]) -> None:
    if "manifest" in changes:
        from asr_async._text.secret import secret_url

        changes = {"manifest": secret_url(changes["manifest"])}
    with pytest.raises(
        ConfigurationError, match=r"cannot be sent to the workers of Ray: .*holds a (secret|password)"
    ) as caught:
        ray_engine._job(work(**changes), None)
    assert "password@" not in str(caught.value)


def test_a_service_with_a_key_is_replaced_by_a_function_that_makes_it() -> None:
    job = ray_engine._job(work(service=DashScope("sk-of-this-program")), DashScope)
    assert b"sk-" not in job
    with pytest.raises(ConfigurationError, match="cannot be sent to the workers of Ray"):
        ray_engine._job(work(), lambda: DashScope("sk-of-this-program"))


async def test_a_cluster_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    calls = make_calls(tmp_path / "calls", 1)
    batch = Batch(tmp_path / "run.sqlite", calls, Paraformer(), DashScope(), output=tmp_path)
    text = r"no Ray cluster at 127\.0\.0\.1:9 \(Connection refused\): start one with 'ray start --head', or leave"
    async with batch.on(Ray(address="127.0.0.1:9")):
        with pytest.raises(ConnectionLostError, match=text):
            await anext(batch)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no connection to the Ray cluster: Invalid address format: nonsense"):
        ray_engine._connect(ray_engine._ray(), "nonsense")


def test_a_file_as_the_manifest_of_several_machines_is_refused() -> None:
    nodes = [{"NodeManagerHostname": name, "Alive": True} for name in ("a", "b", "b")]
    cluster = types.ModuleType("ray")
    cluster.nodes = lambda: nodes  # type: ignore[attr-defined]
    text = r"the manifest is a file of this machine, and the cluster has 2 machines: name a database"
    with pytest.raises(ConfigurationError, match=text):
        ray_engine._check_machines(cluster, work())
    ray_engine._check_machines(cluster, work(manifest="postgresql://host/database#run"))


async def test_a_worker_with_another_version_of_the_package_ends_with_the_versions() -> None:
    found = await RayWorker("0.0.1", b"", 1).outcomes()
    assert isinstance(found.error, ConfigurationError)
    assert found.has_ended
    assert "and the program 0.0.1: install the same version on all machines" in str(found.error)


def test_a_machine_without_the_package_is_named() -> None:
    """The text is Ray's."""
    died = Exception(
        "The actor died because of an error raised in its creation task, ray::RayWorker.__init__() (pid=1)\n"
        "RuntimeError: The actor with name RayWorker failed to import on the worker.\n"
        "ModuleNotFoundError: No module named 'asr_async'\n"
    )
    error = ray_engine._final_error(died, 1)
    assert isinstance(error, ConfigurationError)
    assert "or has another version (ModuleNotFoundError: No module named 'asr_async'): install the same" in str(error)


def test_a_worker_that_dies_again_and_again_ends_the_run() -> None:
    died = Exception("The actor died unexpectedly")
    assert ray_engine._final_error(died, 1) is None
    assert isinstance(ray_engine._final_error(died, ray_engine.MAX_DEATHS), ASRError)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r'Ray is not installed: pip install "asr-async\[ray\]"'):
        ray_engine._ray()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"workers": 0}, "workers=0: must be a whole number, 1 or more"),
        ({"sessions_per_worker": 1.5}, "sessions_per_worker=1.5: must be a whole number"),
        ({"service": "dashscope"}, "service='dashscope': must be a function that returns a service"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Ray(**arguments)


def test_the_engine_shows_its_arguments() -> None:
    assert repr(Ray(4, 50, address="auto")) == "Ray(workers=4, sessions_per_worker=50, address='auto')"
