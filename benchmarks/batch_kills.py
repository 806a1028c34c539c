"""A batch that is killed at random: every file is in the output exactly once, and finished ones are not sent again.

Makes files of a second each, whose samples hold the number of the file, and transcribes them with `asr_async.batch`.
The processes of the run are killed (`kill -9`) at random instants, and started again. An emulator in a process of its
own logs the number of each file whose audio it receives.

    python benchmarks/batch_kills.py --files 500 --kills 10
    python benchmarks/batch_kills.py --files 500 --kills 10 --manifest postgresql://... --processes 4
    python benchmarks/batch_kills.py --files 500 --kills 10 --engine ray

On Ray, half of the kills hit a worker, and half the program that has started the run.

Exit status 1 if a file is missing, doubled or wrong in the output, if one was sent after it was done, or if the report
does not add up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import wave
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from asr_async import DashScope, Paraformer
from asr_async.batch import Batch, BatchProgress, InProcess, Manifest, Ray
from asr_async.emulator import Hypothesis, Request, serve
from asr_async.emulator.engines.engine import Emit
from ray_cluster import WITHOUT_TOKENS, processes_of, ray_cluster

SAMPLE_RATE = 16_000
LEASE_S = 3.0
"""Short, so that the files of a killed process on another machine would return soon; here they return at once."""

RAY_WORKERS = 2


# --- the emulator ----------------------------------------------------------------------------------------------------


class CountingEngine:
    """An engine that recognises the number of a file, and logs it when its audio arrives."""

    def __init__(self, log: Path, delay_s: float) -> None:
        self._log = log.open("ab", buffering=0)
        self._delay_s = delay_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._log.close()

    async def open(self, request: Request, emit: Emit) -> CountingRecognition:
        """Start a recognition of any request."""
        del request
        return CountingRecognition(self, emit)

    def record(self, number: int) -> None:
        """Log that the audio of a file arrives."""
        self._log.write(f"{number}\n".encode())

    async def pretend_to_work(self) -> None:
        """Take some time, in which kills strike."""
        await asyncio.sleep(self._delay_s)


class CountingRecognition:
    """The recognition of one file."""

    silent_ms = 0
    has_speech = True

    def __init__(self, engine: CountingEngine, emit: Emit) -> None:
        self._engine = engine
        self._emit = emit
        self._number: int | None = None
        self._samples = 0

    async def feed(self, samples: bytes) -> None:
        """Read the number in the first sample."""
        if self._number is None:
            self._number = int.from_bytes(samples[:2], "little")
            self._engine.record(self._number)
        self._samples += len(samples) // 2

    async def finish(self) -> None:
        """Send the number."""
        await self._engine.pretend_to_work()
        end_ms = self._samples * 1000 // SAMPLE_RATE
        await self._emit(Hypothesis(text=f"file {self._number}", is_final=True, start_ms=0, end_ms=end_ms))

    async def aclose(self) -> None:
        """Do nothing."""


async def serve_and_count(log: Path, delay_s: float) -> None:
    """Serve until the process is ended; print the URL."""
    async with serve(CountingEngine(log, delay_s)) as emulator:
        print(emulator.dashscope_url, flush=True)
        await asyncio.Event().wait()


# --- the run ---------------------------------------------------------------------------------------------------------


def batch_of(manifest: str, folder: Path, url: str, sessions: int, cluster: str) -> Batch:
    """Return the batch, the same in each process. A cluster has the key and the URL in its environment."""
    service = None if cluster else DashScope("sk-of-the-benchmark", endpoint=url)
    batch = Batch(manifest, folder / "calls", Paraformer(), service, output=folder / "texts", lease_s=LEASE_S)
    return batch.on(Ray(RAY_WORKERS, sessions, address=cluster) if cluster else InProcess(sessions))


async def run_to_the_end(manifest: str, folder: Path, url: str, sessions: int, cluster: str) -> None:
    """Run the batch, as the process does that is killed."""
    async with batch_of(manifest, folder, url, sessions, cluster) as batch:
        async for _ in batch:
            pass


@contextmanager
def child(*arguments: object, stdout: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run this script in another process, which is killed at the end."""
    command = [sys.executable, __file__, *map(str, arguments)]
    with subprocess.Popen(command, stdout=stdout, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def make_files(folder: Path, count: int) -> None:
    """Write the files."""
    folder.mkdir()
    for number in range(1, count + 1):
        with wave.open(str(folder / f"{number:04}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(number.to_bytes(2, "little") * SAMPLE_RATE)


class Killer:
    """The processes of a run, which are killed and started again.

    Args:
        start: the arguments of each process.
        processes: how many run at once.
    """

    def __init__(self, start: tuple[object, ...], processes: int) -> None:
        self._command = [sys.executable, __file__, *map(str, start)]
        self.running = [self._start() for _ in range(processes)]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command)

    def kill_one(self, chance: random.Random) -> None:
        """Kill a process, and start another."""
        index = chance.randrange(len(self.running))
        self.running[index].send_signal(signal.SIGKILL)
        self.running[index].wait()
        self.running[index] = self._start()

    def kill_worker(self, chance: random.Random) -> bool:
        """Kill a worker of Ray, which Ray starts again; return False if there is none now."""
        workers = processes_of("ray::RayWorker")
        if workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
        return bool(workers)

    def close(self) -> None:
        """Kill all processes."""
        for process in self.running:
            process.kill()
            process.wait()


async def kill_at_random(
    manifest: Manifest, killer: Killer, log: Path, options: argparse.Namespace
) -> list[tuple[set[int], int]]:
    """Kill processes at random instants until all files are settled.

    Returns:
        For each kill, the files that were done, and how many lines the log of the emulator had.
    """
    chance = random.Random(options.seed)
    instants = sorted(chance.randrange(options.files * 9 // 10) for _ in range(options.kills))
    seen: list[tuple[set[int], int]] = []
    deadline = time.monotonic() + options.deadline
    while (progress := await manifest.progress()).waiting + progress.running > 0 or progress.total == 0:
        if time.monotonic() > deadline:
            raise SystemExit(f"the run does not end: {progress}")
        while instants and progress.done >= instants[0]:
            instants.pop(0)
            await asyncio.sleep(chance.uniform(0, 0.2))
            if options.engine != "ray" or chance.random() < 0.5 or not killer.kill_worker(chance):
                killer.kill_one(chance)
            done = {number_of(row.source) async for row in manifest.rows(["done"])}
            seen.append((done, len(sent_numbers(log))))
        await asyncio.sleep(0.02)
    for process in killer.running:
        await asyncio.to_thread(process.wait)
    return seen


# --- the count -------------------------------------------------------------------------------------------------------


def number_of(path: str) -> int:
    """Return the number in the name of a file."""
    return int(Path(path).stem)


def sent_numbers(log: Path) -> list[int]:
    """Return the numbers of the files whose audio the emulator received, in order."""
    return [int(line) for line in log.read_text().splitlines()]


def wrong_outputs(texts: Path, count: int) -> list[str]:
    """Return the outputs that are missing, too many, or not those of their files."""
    found = {path.name: path for path in texts.iterdir()}
    wrong = [name for name in found if not name.endswith(".json") or not 1 <= int(name[:-5]) <= count]
    for number in range(1, count + 1):
        name = f"{number:04}.json"
        if name not in found or json.loads(found[name].read_bytes())["text"] != f"file {number}":
            wrong.append(name)
    return wrong


def sent_after_done(log: Path, seen: list[tuple[set[int], int]]) -> int:
    """Return how often a file was sent after it was done."""
    sent = sent_numbers(log)
    return sum(number in done for done, length in seen for number in sent[length:])


@contextmanager
def cluster_for(url: str) -> Iterator[str]:
    """Run a Ray cluster for the batch, and yield its address."""
    environment = {"DASHSCOPE_API_KEY": "sk-of-the-benchmark", "DASHSCOPE_WEBSOCKET_BASE_URL": url}
    os.environ.update(environment, PYTHONPATH=os.pathsep.join(path for path in sys.path if path), **WITHOUT_TOKENS)
    with ray_cluster(os.environ) as (address, _):
        yield address


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run, kill, and count."""
    log = folder / "sent.log"
    log.touch()
    manifest_path = options.manifest or str(folder / "run.sqlite")
    make_files(folder / "calls", options.files)
    with (
        child("--serve", log, options.work, stdout=subprocess.PIPE) as emulator,
        contextlib.ExitStack() as stack,
    ):
        assert emulator.stdout is not None
        url = emulator.stdout.readline().strip()
        cluster = stack.enter_context(cluster_for(url)) if options.engine == "ray" else ""
        async with Manifest(manifest_path, create=True) as manifest:
            killer = Killer(("--run", manifest_path, folder, url, options.sessions, cluster), options.processes)
            try:
                seen = await kill_at_random(manifest, killer, log, options)
            finally:
                killer.close()
            progress = await manifest.progress()
        # the same command once more: nothing is left
        begun = len(sent_numbers(log))
        async with batch_of(manifest_path, folder, url, options.sessions, cluster) as batch:
            outcomes = [outcome async for outcome in batch]
    sent = Counter(sent_numbers(log))
    wrong = wrong_outputs(folder / "texts", options.files)
    repeated = sum(sent.values()) - options.files
    adds_up = progress == BatchProgress(
        done=options.files,
        audio_s=options.files,
        billed_s=options.files + progress.wasted_s,
        wasted_s=progress.wasted_s,
    )
    figures = {
        "files": options.files,
        "kills": len(seen),
        "outputs_missing_doubled_or_wrong": len(wrong),
        "sent_after_they_were_done": sent_after_done(log, seen) + len(outcomes) + sum(sent.values()) - begun,
        "sent_twice_since_their_process_was_killed": repeated,
        "wasted_s": progress.wasted_s,
        "report": f"{progress.done} done, {progress.failed} failed, {progress.waiting} waiting of {progress.total}",
        "report_adds_up": adds_up and repeated <= options.kills * options.sessions * (RAY_WORKERS if cluster else 1),
    }
    is_good = not wrong and figures["sent_after_they_were_done"] == 0 and figures["report_adds_up"] is True
    return {**figures, "is_good": is_good and len(seen) == options.kills}


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500, help="number of files (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=10, help="number of kills (default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=8, help="sessions of each process (default: %(default)s)")
    parser.add_argument("--engine", choices=["process", "ray"], default="process", help="(default: %(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="processes at once; several need a Postgres")
    parser.add_argument("--manifest", help="URL of a manifest in Postgres that does not exist; without it sqlite")
    parser.add_argument(
        "--work", type=float, default=0.1, help="seconds that a recognition takes (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=7, help="of the instants of the kills (default: %(default)s)")
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        log, delay_s = options.serve
        asyncio.run(serve_and_count(Path(log), float(delay_s)))
        return 0
    if options.run:
        manifest, folder, url, sessions, cluster = options.run
        asyncio.run(run_to_the_end(manifest, Path(folder), url, int(sessions), cluster))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(options, Path(folder)))
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:42} {value}")
    return 0 if figures["is_good"] else 1


if __name__ == "__main__":
    sys.exit(main())
