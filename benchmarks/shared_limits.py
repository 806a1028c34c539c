"""Processes that share limits through Redis: starts stay within the limit, and a killed process's permits return.

Two processes (or more) start sessions as often as the limits allow; a server of this script records when each task
starts. Then one process acquires every session permit and is killed, and another one waits for the permits.

    python benchmarks/shared_limits.py --seconds 60 --starts-per-second 20

Needs the extra `redis`, and `redis-server` on the path or `--redis URL`. Exit status 1 if any second has more starts
than the limit, or if the permits do not return.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

import asr_async
from asr_async import Client, DashScope, FunASR, Limits, Paraformer, Pool

SESSIONS = 40
"""Sessions that each process starts side by side, again and again."""

PERMITS = 10
"""Session permits; the process that is killed holds them all."""

PERMIT_WAIT_S = 60.0
"""Time that the other process waits for a permit."""


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis server that writes nothing to the disk; yield its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is not installed: apt-get install redis-server, or pass --redis")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", folder]
        with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as server:
            try:
                deadline = time.monotonic() + 10
                while not path.exists():
                    if server.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit("redis-server does not start")
                    time.sleep(0.01)
                yield f"unix://{path}"
            finally:
                server.terminate()


# --- the server ------------------------------------------------------------------------------------------------------


class TaskServer:
    """A server that accepts every task and records when it started."""

    def __init__(self) -> None:
        self.started_at: list[float] = []

    async def serve_one(self, connection: ServerConnection) -> None:
        """Respond to run-task and finish-task; ignore audio."""
        with suppress(ConnectionClosed):
            async for message in connection:
                if isinstance(message, str):
                    await connection.send(self.respond(json.loads(message)["header"]))

    def respond(self, header: dict[str, str]) -> str:
        """Return the response to run-task or finish-task; record the start for run-task."""
        if header["action"] == "run-task":
            self.started_at.append(time.time())
        event = {"run-task": "task-started", "finish-task": "task-finished"}[header["action"]]
        return json.dumps({"header": {"task_id": header["task_id"], "event": event}, "payload": {"output": {}}})


class StampRecorder:
    """A record of the stamps of all starts by Redis' own clock.

    The limit is judged by these stamps: a busy machine may stall a process between the stamp and the start.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._stamps: dict[str, float] = {}

    @property
    def stamped_at(self) -> list[float]:
        """The instants of all stamps, in seconds."""
        return [stamp / 1e6 for stamp in self._stamps.values()]

    async def record(self) -> None:
        """Record new stamps five times a second, until cancelled; Redis keeps each stamp for longer than a second."""
        from redis.asyncio import Redis  # noqa: PLC0415 - an optional dependency, which --help does not need

        async with Redis.from_url(self._url, decode_responses=True) as client:
            while True:
                for name in await client.keys("asr_async:*:starts"):
                    stamps: Any = await client.zrange(name, 0, -1, withscores=True)
                    self._stamps.update(stamps)
                await asyncio.sleep(0.2)


def most_in_any_second(instants: list[float]) -> int:
    """Return the largest number of instants within one second, wherever that second begins."""
    ordered = sorted(instants)
    return max(bisect.bisect_left(ordered, at + 1.0) - number for number, at in enumerate(ordered))


# --- the processes ---------------------------------------------------------------------------------------------------


async def start_sessions(url: str, redis: str, per_second: int, seconds: float) -> int:
    """Start as many sessions as the limits allow, on new and on pooled connections; return their number."""
    count = 0
    limits = Limits(starts_per_second=per_second, shared=redis)
    deadline = time.monotonic() + seconds

    async def transcribe_repeatedly(client: Client) -> None:
        nonlocal count
        while time.monotonic() < deadline:
            await client.transcribe([bytes(3_200)], Paraformer())
            count += 1

    async with AsyncExitStack() as stack:
        for pool in (Pool(), Pool(max_idle=0)):
            client = await stack.enter_async_context(Client(DashScope("key", endpoint=url), limits=limits, pool=pool))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            for _ in range(SESSIONS // 2):
                tasks.create_task(transcribe_repeatedly(client))
    return count


async def hold_permits(url: str, redis: str) -> None:
    """Acquire every permit, print a line, and wait to be killed."""
    async with AsyncExitStack() as stack:
        limits = Limits(max_sessions=PERMITS, shared=redis)
        client = await stack.enter_async_context(Client(DashScope("key", endpoint=url), limits=limits))
        for _ in range(PERMITS):
            await stack.enter_async_context(client.session(FunASR()))
        print("all permits acquired", flush=True)
        await asyncio.Event().wait()


async def start_worker(*arguments: str) -> asyncio.subprocess.Process:
    """Start another process of this program."""
    return await asyncio.create_subprocess_exec(sys.executable, __file__, *arguments, stdout=asyncio.subprocess.PIPE)


async def output_of(process: asyncio.subprocess.Process) -> bytes:
    """Wait for the end of a worker; return its standard output. Its standard error goes to the terminal."""
    output, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"a worker ended with status {process.returncode}")
    return output


# --- the measurements ------------------------------------------------------------------------------------------------


async def measure_starts(redis: str, processes: int, per_second: int, seconds: float) -> dict[str, Any]:
    """Let the processes start sessions; return the counts of the server and of Redis."""
    task_server, recorder = TaskServer(), StampRecorder(redis)
    async with serve(task_server.serve_one, "127.0.0.1", 0, compression=None) as server, asyncio.TaskGroup() as tasks:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"
        recording_task = tasks.create_task(recorder.record())
        numbers = (str(per_second), str(seconds))
        workers = [await start_worker("--start-sessions", url, redis, *numbers) for _ in range(processes)]
        with suppress(PermissionError):  # the busy workers must not delay the reading of the clock
            os.setpriority(os.PRIO_PROCESS, 0, -10)
        counts = [int(await output_of(process)) for process in workers]
        recording_task.cancel()
    started_at, stamped_at = sorted(task_server.started_at), sorted(recorder.stamped_at)
    # on one machine Redis and the server read the same clock
    delays_s = sorted(at - stamp for at, stamp in zip(started_at, stamped_at, strict=False))
    return {
        "processes": processes,
        "limit_per_second": per_second,
        "seconds": seconds,
        "starts": len(started_at),
        "starts_per_second": round(len(started_at) / (started_at[-1] - started_at[0]), 2),
        "starts_by_process": counts,
        "most_in_any_second_by_redis": most_in_any_second(stamped_at),
        "most_in_any_second_at_server": most_in_any_second(started_at),
        "stamp_to_server_p99_ms": round(1000 * delays_s[round(0.99 * (len(delays_s) - 1))], 1),
        "stamp_to_server_max_ms": round(1000 * delays_s[-1], 1),
    }


async def measure_return(redis: str) -> dict[str, Any]:
    """Kill the process that holds every permit; return how many permits another process gets, and after which time."""
    task_server = TaskServer()
    async with serve(task_server.serve_one, "127.0.0.1", 0, compression=None) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"
        holder = await start_worker("--hold-permits", url, redis)
        assert holder.stdout is not None
        if not await holder.stdout.readline():
            raise SystemExit("the worker ended before it had acquired all permits")
        holder.kill()
        killed_at = time.monotonic()
        await holder.wait()
        limits = Limits(max_sessions=PERMITS, wait=PERMIT_WAIT_S, shared=redis)
        async with Client(DashScope("key", endpoint=url), limits=limits) as client, AsyncExitStack() as stack:
            returned_after = list[float]()
            with suppress(asr_async.DeadlineError):
                for _ in range(PERMITS):
                    await stack.enter_async_context(client.session(FunASR()))
                    returned_after.append(round(time.monotonic() - killed_at, 2))
    return {"places": PERMITS, "places_returned": len(returned_after), "returned_after_s": returned_after[-1:]}


def versions(redis: str) -> dict[str, str]:
    """Return the versions of everything that is measured."""
    from redis import Redis  # noqa: PLC0415 - an optional dependency, which --help does not need

    with Redis.from_url(redis) as client:
        server = str(client.info()["redis_version"])
    return {
        "asr_async": asr_async.__version__,
        "python": platform.python_version(),
        "redis-py": metadata.version("redis"),
        "redis-server": server,
    }


def run(redis: str, options: argparse.Namespace) -> int:
    """Measure, print the figures; return the exit status."""
    figures = asyncio.run(measure_starts(redis, options.processes, options.starts_per_second, options.seconds))
    most = max(figures["most_in_any_second_by_redis"], figures["most_in_any_second_at_server"])
    is_good = most <= options.starts_per_second and all(figures["starts_by_process"])
    if not options.no_kill:
        figures |= asyncio.run(measure_return(redis))
        is_good = is_good and figures["places_returned"] == PERMITS
    figures |= {"is_good": is_good, "versions": versions(redis)}
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:30} {value}")
    return 0 if is_good else 1


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="length of the first measurement (default: %(default)s)"
    )
    parser.add_argument("--processes", type=int, default=2, help="number of processes (default: %(default)s)")
    parser.add_argument("--starts-per-second", type=int, default=20, help="the shared limit (default: %(default)s)")
    parser.add_argument("--redis", help="URL of a running Redis; without it the script starts one")
    parser.add_argument("--no-kill", action="store_true", help="leave out the second measurement")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--start-sessions", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--hold-permits", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.start_sessions:
        url, redis, per_second, seconds = options.start_sessions
        print(asyncio.run(start_sessions(url, redis, int(per_second), float(seconds))))
        return 0
    if options.hold_permits:
        asyncio.run(hold_permits(*options.hold_permits))
        return 0
    if importlib.util.find_spec("redis") is None:
        parser.error("the Redis client is not installed: pip install 'asr-async[redis]'")
    if options.redis:
        return run(options.redis, options)
    with redis_server() as redis:
        return run(redis, options)


if __name__ == "__main__":
    sys.exit(main())
