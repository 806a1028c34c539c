"""Processes that share limits through Redis: is any second ever too full, and do a killed process's places return?

Two processes (or more) keep as many sessions wanting to start as they can; a server of its own notes when each task
starts. Then one process takes every place there is and is killed, and another waits for them.

    python benchmarks/shared_limits.py --seconds 60 --starts-per-second 20

Needs the extra `redis`, and `redis-server` on the path or `--redis URL`. Exit status 1 if any second held more starts
than the limit, or the places did not return.
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

WANTING = 40
"""Sessions of each process that want to start, again and again."""

PLACES = 10
"""Sessions at once, of the process that is killed."""

PATIENCE_S = 60.0
"""For those places, of the one that waits."""


@contextmanager
def redis_server() -> Iterator[str]:
    """A Redis of our own, which writes nothing to the disk; its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is not installed: apt-get install redis-server, or give --redis")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", folder]
        with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as server:
            try:
                until = time.monotonic() + 10
                while not path.exists():
                    if server.poll() is not None or time.monotonic() > until:
                        raise SystemExit("redis-server does not start")
                    time.sleep(0.01)
                yield f"unix://{path}"
            finally:
                server.terminate()


# --- the server ------------------------------------------------------------------------------------------------------


class Door:
    """Takes any task and notes when it came."""

    def __init__(self) -> None:
        self.started_at: list[float] = []

    async def serve_one(self, connection: ServerConnection) -> None:
        """Answer run-task and finish-task; audio is not listened to."""
        with suppress(ConnectionClosed):
            async for message in connection:
                if isinstance(message, str):
                    await connection.send(self.answer(json.loads(message)["header"]))

    def answer(self, header: dict[str, str]) -> str:
        """What is said to run-task, which is a start, and to finish-task."""
        if header["action"] == "run-task":
            self.started_at.append(time.time())
        event = {"run-task": "task-started", "finish-task": "task-finished"}[header["action"]]
        return json.dumps({"header": {"task_id": header["task_id"], "event": event}, "payload": {"output": {}}})


class Spy:
    """Notes when each start was stamped, by Redis' own clock: what counts, where processes stall between two clocks."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stamps: dict[str, float] = {}

    @property
    def stamped_at(self) -> list[float]:
        """All of them, in seconds."""
        return [stamp / 1e6 for stamp in self._stamps.values()]

    async def watch(self) -> None:
        """Look five times a second: a stamp is there for longer than a second."""
        from redis.asyncio import Redis  # noqa: PLC0415 - the extra; who only asks for help needs none

        async with Redis.from_url(self._url, decode_responses=True) as client:
            while True:
                for name in await client.keys("asr_async:*:starts"):
                    stamps: Any = await client.zrange(name, 0, -1, withscores=True)
                    self._stamps.update(stamps)
                await asyncio.sleep(0.2)


def most_in_any_second(instants: list[float]) -> int:
    """How many there are in the fullest second, wherever it begins."""
    ordered = sorted(instants)
    return max(bisect.bisect_left(ordered, at + 1.0) - number for number, at in enumerate(ordered))


# --- the processes ---------------------------------------------------------------------------------------------------


async def press(url: str, redis: str, per_second: int, seconds: float) -> int:
    """Start as many sessions as the limits allow, on new connections and on kept ones; how many that were."""
    count = 0
    limits = Limits(starts_per_second=per_second, shared=redis)
    until = time.monotonic() + seconds

    async def want(client: Client) -> None:
        nonlocal count
        while time.monotonic() < until:
            await client.transcribe([bytes(3_200)], Paraformer())
            count += 1

    async with AsyncExitStack() as stack:
        for pool in (Pool(), Pool(max_idle=0)):
            client = await stack.enter_async_context(Client(DashScope("key", endpoint=url), limits=limits, pool=pool))
            group = await stack.enter_async_context(asyncio.TaskGroup())
            for _ in range(WANTING // 2):
                group.create_task(want(client))
    return count


async def hold(url: str, redis: str) -> None:
    """Take every place, say so, and stay until killed."""
    async with AsyncExitStack() as stack:
        limits = Limits(max_sessions=PLACES, shared=redis)
        client = await stack.enter_async_context(Client(DashScope("key", endpoint=url), limits=limits))
        for _ in range(PLACES):
            await stack.enter_async_context(client.session(FunASR()))
        print("all taken", flush=True)
        await asyncio.Event().wait()


async def worker(*arguments: str) -> asyncio.subprocess.Process:
    """Another process of this program."""
    return await asyncio.create_subprocess_exec(sys.executable, __file__, *arguments, stdout=asyncio.subprocess.PIPE)


async def said_by(process: asyncio.subprocess.Process) -> bytes:
    """What a worker says until it ends; what it complains of is on the terminal."""
    said, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"a worker ended with status {process.returncode}")
    return said


# --- what is measured ------------------------------------------------------------------------------------------------


async def measure_starts(redis: str, processes: int, per_second: int, seconds: float) -> dict[str, Any]:
    """Let the processes press, and count at the server."""
    door, spy = Door(), Spy(redis)
    async with serve(door.serve_one, "127.0.0.1", 0, compression=None) as server, asyncio.TaskGroup() as group:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"
        watching = group.create_task(spy.watch())
        numbers = (str(per_second), str(seconds))
        workers = [await worker("--press", url, redis, *numbers) for _ in range(processes)]
        with suppress(PermissionError):  # who looks at the clock must not be kept from it by those who press
            os.setpriority(os.PRIO_PROCESS, 0, -10)
        counts = [int(await said_by(each)) for each in workers]
        watching.cancel()
    # on one machine the two clocks are one
    ways_s = sorted(at - stamp for at, stamp in zip(sorted(door.started_at), sorted(spy.stamped_at), strict=False))
    return {
        "processes": processes,
        "limit_per_second": per_second,
        "seconds": seconds,
        "starts": len(door.started_at),
        "starts_per_second": round(len(door.started_at) / (door.started_at[-1] - door.started_at[0]), 2),
        "starts_by_process": counts,
        "most_in_any_second_by_redis": most_in_any_second(spy.stamped_at),
        "most_in_any_second_at_server": most_in_any_second(door.started_at),
        "stamp_to_server_p99_ms": round(1000 * ways_s[round(0.99 * (len(ways_s) - 1))], 1),
        "stamp_to_server_max_ms": round(1000 * ways_s[-1], 1),
    }


async def measure_return(redis: str) -> dict[str, Any]:
    """Kill a process that has every place; how long until the first and the last of them are to be had again."""
    door = Door()
    async with serve(door.serve_one, "127.0.0.1", 0, compression=None) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"
        holder = await worker("--hold", url, redis)
        assert holder.stdout is not None
        if not await holder.stdout.readline():
            raise SystemExit("the worker that was to take all places ended before it had them")
        holder.kill()
        killed_at = time.monotonic()
        await holder.wait()
        limits = Limits(max_sessions=PLACES, wait=PATIENCE_S, shared=redis)
        async with Client(DashScope("key", endpoint=url), limits=limits) as client, AsyncExitStack() as stack:
            returned_after = list[float]()
            with suppress(asr_async.DeadlineError):
                for _ in range(PLACES):
                    await stack.enter_async_context(client.session(FunASR()))
                    returned_after.append(round(time.monotonic() - killed_at, 2))
    return {"places": PLACES, "places_returned": len(returned_after), "returned_after_s": returned_after[-1:]}


def versions(redis: str) -> dict[str, str]:
    """What was measured."""
    from redis import Redis  # noqa: PLC0415 - the extra; who only asks for help needs none

    with Redis.from_url(redis) as client:
        server = str(client.info()["redis_version"])
    return {
        "asr_async": asr_async.__version__,
        "python": platform.python_version(),
        "redis-py": metadata.version("redis"),
        "redis-server": server,
    }


def run(redis: str, given: argparse.Namespace) -> int:
    """Measure, print, judge."""
    figures = asyncio.run(measure_starts(redis, given.processes, given.starts_per_second, given.seconds))
    fullest = max(figures["most_in_any_second_by_redis"], figures["most_in_any_second_at_server"])
    is_good = fullest <= given.starts_per_second and all(figures["starts_by_process"])
    if not given.no_kill:
        figures |= asyncio.run(measure_return(redis))
        is_good = is_good and figures["places_returned"] == PLACES
    figures |= {"is_good": is_good, "versions": versions(redis)}
    if given.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:30} {value}")
    return 0 if is_good else 1


def main(arguments: list[str] | None = None) -> int:
    """Read the arguments and do what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of pressure (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--starts-per-second", type=int, default=20, help="the limit (default: %(default)s)")
    parser.add_argument("--redis", help="URL of a Redis to use in place of one of our own")
    parser.add_argument("--no-kill", action="store_true", help="leave out the process that is killed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--press", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--hold", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.press:
        url, redis, per_second, seconds = given.press
        print(asyncio.run(press(url, redis, int(per_second), float(seconds))))
        return 0
    if given.hold:
        asyncio.run(hold(*given.hold))
        return 0
    if importlib.util.find_spec("redis") is None:
        parser.error("the client is missing: pip install 'asr-async[redis]'")
    if given.redis:
        return run(given.redis, given)
    with redis_server() as redis:
        return run(redis, given)


if __name__ == "__main__":
    sys.exit(main())
