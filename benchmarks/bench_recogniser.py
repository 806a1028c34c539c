"""The number of live sessions that the embedded recogniser can serve, and their effect on the event loop.

Every session streams the same recording in real time through `Local()`. `behind_*` is the delay of a result behind its
audio: the instant of the result minus the instant at which its last word had been sent. `loop_lag_*` is the time by
which the event loop was blocked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
from importlib import metadata
from pathlib import Path
from typing import Any

from asr_async import Client, Local, Paraformer, read_audio

RECORDING = Path(__file__).parent.parent / "examples" / "audio" / "meeting.wav"


def now() -> float:
    """Return the present instant of the loop's clock."""
    return asyncio.get_running_loop().time()


async def watch_loop(lags_ms: list[float]) -> None:
    """Record by how much each sleep of 10 ms is exceeded, until cancelled."""
    while True:
        began_at = now()
        await asyncio.sleep(0.01)
        lags_ms.append(1000 * (now() - began_at - 0.01))


async def one_session(client: Client, begin_s: float, delays_ms: list[float]) -> str:
    """Stream the recording; return the text of its finals."""
    await asyncio.sleep(begin_s)
    finals = []
    async with client.session(Paraformer()) as session:
        began_at = now()
        async for result in session.stream(read_audio(RECORDING)):
            delays_ms.append(1000 * (now() - began_at) - result.end_ms)
            if result.is_final:
                finals.append(result.text)
    return " ".join(finals)


async def measure(sessions: int, spread_s: float) -> dict[str, Any]:
    """Run the sessions, which begin evenly over `spread_s`; return the figures."""
    delays_ms: list[float] = []
    lags_ms: list[float] = []
    async with Client(Local()) as client:
        watcher = asyncio.create_task(watch_loop(lags_ms))
        starts = (spread_s * number / sessions for number in range(sessions))
        texts = await asyncio.gather(*(one_session(client, start, delays_ms) for start in starts))
        watcher.cancel()
    delay_percentiles, lag_percentiles = statistics.quantiles(delays_ms, n=100), statistics.quantiles(lags_ms, n=100)
    return {
        "sessions": sessions,
        "cores": os.cpu_count(),
        "results": len(delays_ms),
        "different_transcripts": len(set(texts)),
        "behind_p50_ms": round(delay_percentiles[49]),
        "behind_p95_ms": round(delay_percentiles[94]),
        "behind_max_ms": round(max(delays_ms)),
        "loop_lag_p95_ms": round(lag_percentiles[94], 1),
        "loop_lag_max_ms": round(max(lags_ms), 1),
        "versions": {name: metadata.version(name) for name in ("asr-async", "pocketsphinx")},
    }


def main() -> None:
    """Parse the arguments, measure, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sessions", type=int, default=20, help="number of sessions side by side (default: %(default)s)"
    )
    parser.add_argument(
        "--spread", type=float, default=5.0, help="seconds over which they begin (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures = asyncio.run(measure(arguments.sessions, arguments.spread))
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
