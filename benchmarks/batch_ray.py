"""A batch on Ray with 1, 2 and 4 workers beside one process: files per second, CPU, and the limit in Redis.

All do the same work: files of a second each, sent as fast as they are accepted to an emulator in a process of its own,
which takes some time for each file. Then four workers share a limit of sessions in Redis, and the emulator counts the
most sessions at once.

    python benchmarks/batch_ray.py --files 400

Exit status 1 if a file is missing, or if there were more sessions at once than the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from asr_async import Limits, Paraformer
from asr_async.batch import Batch, Engine, InProcess, Ray
from asr_async.emulator import Request, serve
from asr_async.emulator.engines.engine import Emit
from batch_kills import CountingEngine, CountingRecognition, make_files
from ray_cluster import WITHOUT_TOKENS, processes_of, ray_cluster
from shared_limits import redis_server

SESSIONS = 16
LIMIT = 10


class MostAtOnce(CountingEngine):
    """An engine that logs the most recognitions at once."""

    def __init__(self, log: Path, delay_s: float) -> None:
        super().__init__(log, delay_s)
        self._path = log
        self._open = 0
        self._most = 0

    async def open(self, request: Request, emit: Emit) -> CountingRecognition:
        """Count a recognition."""
        del request
        self._open += 1
        if self._open > self._most:
            self._most = self._open
            self._path.with_suffix(".most").write_text(str(self._most))
        return _Counted(self, emit)

    def close_one(self) -> None:
        """Count the end of a recognition."""
        self._open -= 1


class _Counted(CountingRecognition):
    def __init__(self, engine: MostAtOnce, emit: Emit) -> None:
        super().__init__(engine, emit)
        self._counter: MostAtOnce | None = engine

    async def aclose(self) -> None:
        """Count the end, once."""
        counter, self._counter = self._counter, None
        if counter is not None:
            counter.close_one()


async def serve_and_count(log: Path, delay_s: float) -> None:
    """Serve until the process is ended; print the URL."""
    async with serve(MostAtOnce(log, delay_s)) as emulator:
        print(emulator.dashscope_url, flush=True)
        await asyncio.Event().wait()


class Emulator:
    """The emulator in a process of its own."""

    def __init__(self, log: Path, delay_s: float) -> None:
        command = [sys.executable, __file__, "--serve", str(log), str(delay_s)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._most = log.with_suffix(".most")
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def most_sessions(self) -> int:
        """The most sessions at once."""
        return int(self._most.read_text())


def cpu_s(processes: list[int]) -> float:
    """Return the CPU time of some processes."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def measure(engine: Engine, folder: Path, name: str, limits: Limits | None = None) -> dict[str, Any]:
    """Run the batch on an engine. The time begins with the first outcome, behind the start of processes."""
    batch = Batch(folder / f"{name}.sqlite", folder / "calls", Paraformer(), output=folder / name, limits=limits)
    async with batch.on(engine):
        await anext(batch)
        workers = processes_of("ray::RayWorker") or [os.getpid()]
        started_at, cpu_before_s = time.perf_counter(), cpu_s(workers)
        cpu_after_s, count = cpu_before_s, 1
        async for _ in batch:
            count += 1
            cpu_after_s = cpu_s(workers)
        seconds = time.perf_counter() - started_at
    return {
        "engine": name,
        "files": len(list((folder / name).glob("*.json"))),
        "outcomes": count,
        "files_per_s": round((count - 1) / seconds, 1),
        "cpu_of_workers_s": round(cpu_after_s - cpu_before_s, 2),
        "cpu_ms_per_file": round((cpu_after_s - cpu_before_s) * 1000 / (count - 1), 2),
    }


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure all engines."""
    make_files(folder / "calls", options.files)
    log = folder / "sent.log"
    with Emulator(log, options.work) as emulator:
        environment = {"DASHSCOPE_API_KEY": "sk-of-the-benchmark", "DASHSCOPE_WEBSOCKET_BASE_URL": emulator.url}
        os.environ.update(environment, **WITHOUT_TOKENS)
        paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with ray_cluster({**os.environ, **paths}) as (address, _):
            rows = [await measure(InProcess(SESSIONS), folder, "one process")]
            for workers in options.workers:
                engine = Ray(workers, SESSIONS, address=address)
                rows.append(await measure(engine, folder, f"Ray, {workers} workers"))
    with Emulator(log, options.work) as limited, redis_server() as redis:
        os.environ["DASHSCOPE_WEBSOCKET_BASE_URL"] = limited.url
        with ray_cluster({**os.environ, **paths}) as (address, _):
            limits = Limits(max_sessions=LIMIT, shared=redis)
            name = f"Ray, 4 workers, {LIMIT} sessions in Redis"
            rows.append(await measure(Ray(4, SESSIONS, address=address), folder, name, limits))
        most = limited.most_sessions
    is_good = most <= LIMIT and all(row["files"] == options.files for row in rows)
    return {"rows": rows, "limit": LIMIT, "most_sessions_at_once": most, "is_good": is_good}


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=400, help="number of files (default: %(default)s)")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4], help="(default: %(default)s)")
    parser.add_argument(
        "--work", type=float, default=0.5, help="seconds that a recognition takes (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        log, delay_s = options.serve
        asyncio.run(serve_and_count(Path(log), float(delay_s)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(run(options, Path(folder)))
    if options.json:
        print(json.dumps(figures))
    else:
        print(f"{'engine':38} {'files':>6} {'files/s':>8} {'CPU s':>7} {'ms/file':>8}")
        for row in figures["rows"]:
            times = f"{row['files_per_s']:8} {row['cpu_of_workers_s']:7} {row['cpu_ms_per_file']:8}"
            print(f"{row['engine']:38} {row['files']:6} {times}")
        print(f"most sessions at once with the limit of {LIMIT}: {figures['most_sessions_at_once']}")
    return 0 if figures["is_good"] else 1


if __name__ == "__main__":
    sys.exit(main())
