"""How many live sessions the embedded recogniser keeps up with, and what they do to each other and to the event loop.

Every session streams the same recording in real time through `Local()`. What is reported is how far behind its audio a
result comes (the instant of the result less the instant at which its last word had been sent), and how long the event
loop was held up.
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
    return asyncio.get_running_loop().time()


async def watch_loop(lags_ms: list[float]) -> None:
    """Note by how much a sleep of 10 ms is exceeded, for ever."""
    while True:
        began_at = now()
        await asyncio.sleep(0.01)
        lags_ms.append(1000 * (now() - began_at - 0.01))


async def one_session(client: Client, begin_s: float, delays_ms: list[float]) -> str:
    """Stream the recording; return its finals."""
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
    """Run the sessions, begun evenly over `spread_s`; return the figures."""
    delays_ms: list[float] = []
    lags_ms: list[float] = []
    async with Client(Local()) as client:
        watcher = asyncio.create_task(watch_loop(lags_ms))
        starts = (spread_s * number / sessions for number in range(sessions))
        texts = await asyncio.gather(*(one_session(client, start, delays_ms) for start in starts))
        watcher.cancel()
    delay_cuts, lag_cuts = statistics.quantiles(delays_ms, n=100), statistics.quantiles(lags_ms, n=100)
    return {
        "sessions": sessions,
        "cores": os.cpu_count(),
        "results": len(delays_ms),
        "different_transcripts": len(set(texts)),
        "behind_p50_ms": round(delay_cuts[49]),
        "behind_p95_ms": round(delay_cuts[94]),
        "behind_max_ms": round(max(delays_ms)),
        "loop_lag_p95_ms": round(lag_cuts[94], 1),
        "loop_lag_max_ms": round(max(lags_ms), 1),
        "versions": {name: metadata.version(name) for name in ("asr-async", "pocketsphinx")},
    }


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=20, help="side by side (default: %(default)s)")
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
