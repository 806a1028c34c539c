"""How long a result takes from the server's send to the caller's `async for`, with many sessions in one event loop.

The emulator runs in a process of its own and puts the instant of sending into each result's text; both processes read
the same monotonic clock. Every session sends 100 ms frames of 16 kHz PCM in real time and gets a final every 500 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import resource
import statistics
import sys
import time
from importlib import metadata
from typing import Any

import aiohttp
import msgspec

import asr_async
from asr_async import Client, DashScope, Paraformer
from asr_async.emulator import Hypothesis, Request, serve
from asr_async.emulator.engine import Emit

RESULT_EVERY_BYTES = 16_000
"""A result every 500 ms of audio."""


class StampingEngine:
    """Answers every 500 ms of audio with the time of day it is."""

    async def __aenter__(self) -> StampingEngine:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def open(self, request: Request, emit: Emit) -> StampingRecognition:
        del request  # any will do
        return StampingRecognition(emit)


class StampingRecognition:
    """One stream of audio, of which only the length counts."""

    silent_ms = 0
    heard_speech = True

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._taken_bytes = 0

    async def feed(self, samples: bytes) -> None:
        before = self._taken_bytes // RESULT_EVERY_BYTES
        self._taken_bytes += len(samples)
        after = self._taken_bytes // RESULT_EVERY_BYTES
        for number in range(before, after):
            text = str(time.monotonic_ns())
            await self._emit(Hypothesis(text=text, is_final=True, start_ms=500 * number, end_ms=500 * number + 500))

    async def finish(self) -> None:
        return None

    async def aclose(self) -> None:
        return None


async def run_server() -> None:
    """Serve until standard input closes; the first line printed is the address."""
    async with serve(engine=StampingEngine()) as emulator:
        print(emulator.dashscope_url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def one_session(client: Client, seconds: int, start_at: float, delays_ms: list[float]) -> float:
    """Stream silence in real time; return the worst lateness of a frame, in ms."""
    async with client.session(Paraformer()) as session:
        await asyncio.sleep(start_at - asyncio.get_running_loop().time())
        second = bytes(32_000)
        async for result in session.stream(second for _ in range(seconds)):
            delays_ms.append((time.monotonic_ns() - int(result.text)) / 1e6)
        return session.stats.pacer_lateness_max_ms


async def run_clients(url: str, sessions: int, seconds: int) -> dict[str, Any]:
    """Run the sessions side by side, begun evenly over the 500 ms between two results; return the figures."""
    delays_ms: list[float] = []
    async with Client(DashScope("benchmark", endpoint=url)) as client:
        begin = asyncio.get_running_loop().time() + 1 + sessions / 200
        cpu_before = resource.getrusage(resource.RUSAGE_SELF)
        lateness_ms = await asyncio.gather(
            *(one_session(client, seconds, begin + 0.5 * n / sessions, delays_ms) for n in range(sessions))
        )
        cpu_after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = cpu_after.ru_utime + cpu_after.ru_stime - cpu_before.ru_utime - cpu_before.ru_stime
    cuts = statistics.quantiles(delays_ms, n=100)
    return {
        "sessions": sessions,
        "seconds": seconds,
        "results": len(delays_ms),
        "results_expected": sessions * seconds * 2,
        "delay_p50_ms": round(cuts[49], 3),
        "delay_p95_ms": round(cuts[94], 3),
        "delay_p99_ms": round(cuts[98], 3),
        "delay_max_ms": round(max(delays_ms), 3),
        "pacer_lateness_max_ms": round(max(lateness_ms), 3),
        "cpu_ms_per_session_second": round(1000 * cpu_s / (sessions * seconds), 3),
    }


def versions() -> dict[str, str]:
    """What was measured."""
    return {
        "asr_async": asr_async.__version__,
        "python": platform.python_version(),
        "websockets": metadata.version("websockets"),
        "msgspec": msgspec.__version__,
        "aiohttp": aiohttp.__version__,
    }


async def measure(sessions: int, seconds: int) -> dict[str, Any]:
    """Start the server, run the sessions, stop the server."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        url = (await server.stdout.readline()).decode().strip()
        return await run_clients(url, sessions, seconds)
    finally:
        server.stdin.close()
        await server.wait()


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=200, help="side by side (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=20, help="of audio each (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(run_server())
        return
    figures = {**asyncio.run(measure(arguments.sessions, arguments.seconds)), "versions": versions()}
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
