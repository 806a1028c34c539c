"""Live sessions with an engine: when their results arrive, and what the engine costs."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asr_async import Client, Local, Paraformer, RateLimitedError
from load.measurements import quantiles_ms

from .material import RATE, Samples, plain

__all__ = ["Utterance", "children_cpu_s", "children_mib", "measure_live", "utterances_in"]

STEP_MS = 20
QUIET = 0.005
PAUSE_MS = 400


class Utterance(NamedTuple):
    """A stretch of speech between pauses, in milliseconds."""

    start_ms: int
    end_ms: int


class Arrival(NamedTuple):
    """A result and the time since the first sample was sent."""

    start_ms: int
    end_ms: int
    is_final: bool
    arrived_ms: float


def utterances_in(samples: Samples) -> list[Utterance]:
    """Return the utterances of clean speech, by its loudness."""
    step = RATE * STEP_MS // 1000
    loudness = np.abs(samples[: len(samples) // step * step]).reshape(-1, step).max(axis=1)
    utterances: list[Utterance] = []
    for number in np.flatnonzero(loudness > QUIET):
        start_ms = int(number) * STEP_MS
        if utterances and start_ms - utterances[-1].end_ms < PAUSE_MS:
            start_ms = utterances.pop().start_ms
        utterances.append(Utterance(start_ms, (int(number) + 1) * STEP_MS))
    return utterances


def delays_ms(arrivals: list[Arrival], utterances: list[Utterance]) -> Iterator[tuple[float, float]]:
    """Yield for each utterance the delay of its first result behind its start, and of its last final behind its end."""
    for utterance in utterances:
        results = [
            arrival
            for arrival in arrivals
            if arrival.start_ms < utterance.end_ms and arrival.end_ms > utterance.start_ms
        ]
        finals = [arrival for arrival in results if arrival.is_final]
        if finals:
            yield results[0].arrived_ms - utterance.start_ms, finals[-1].arrived_ms - utterance.end_ms


async def measure_live(service: Local, samples: Samples, sessions: int, spread_s: float) -> dict[str, Any]:
    """Stream speech in real time in several sessions that begin evenly over `spread_s`; return the figures."""
    utterances, sound = utterances_in(samples), plain(samples)
    lags_ms: list[float] = []
    cpu_s = children_cpu_s()
    async with Client(service) as client:
        await client.transcribe([sound.samples[: 4 * RATE]], Paraformer(), pace=None)  # the first worker has started
        watcher = asyncio.create_task(_watch_loop(lags_ms))
        starts = (spread_s * number / sessions for number in range(sessions))
        runs = await asyncio.gather(*(_one_session(client, sound.samples, start) for start in starts))
        watcher.cancel()
        memory_mib = children_mib()
    arrivals = [run for run in runs if run is not None]
    pairs = [pair for run in arrivals for pair in delays_ms(run, utterances)]
    spoken_s = len(samples) / RATE * len(arrivals)
    return {
        "sessions": sessions,
        "refused": sessions - len(arrivals),
        **{f"first_result_{name}": round(value) for name, value in quantiles_ms([first for first, _ in pairs]).items()},
        **{f"final_{name}": round(value) for name, value in quantiles_ms([final for _, final in pairs]).items()},
        "utterances_without_final": len(arrivals) * len(utterances) - len(pairs),
        "cores_per_session": round((children_cpu_s() - cpu_s) / spoken_s, 3) if spoken_s else None,
        "workers_mib": memory_mib,
        "loop_lag_p99_ms": round(quantiles_ms(lags_ms)["p99_ms"], 1),
    }


async def _watch_loop(lags_ms: list[float]) -> None:
    """Record by how much each sleep of 10 ms is exceeded, until cancelled."""
    while True:
        began_at = _now()
        await asyncio.sleep(0.01)
        lags_ms.append(1000 * (_now() - began_at - 0.01))


async def _one_session(client: Client, samples: bytes, begin_s: float) -> list[Arrival] | None:
    """Return the results of a session and when they arrived; None if it was refused."""
    await asyncio.sleep(begin_s)
    arrivals = []
    step = RATE // 10 * 2
    chunks = [samples[start : start + step] for start in range(0, len(samples), step)]
    with suppress(RateLimitedError):
        async with client.session(Paraformer()) as session:
            began_at = _now()
            async for result in session.stream(chunks):
                place = (result.start_ms, max(result.end_ms, result.start_ms + 1))
                arrivals.append(Arrival(*place, result.is_final, 1000 * (_now() - began_at)))
        return arrivals
    return None


def _now() -> float:
    return asyncio.get_running_loop().time()


def children_cpu_s() -> float:
    """Return the CPU time of the child processes that have ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def children_mib() -> int:
    """Return the memory of the child processes that run, shared libraries included."""
    children = [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]
    lines = [line for pid in children for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) // 1024
