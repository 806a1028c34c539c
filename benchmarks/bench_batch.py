"""The manifest of a batch: how long a claim, and a claim with its outcome, take, by the number of rows.

Settles some rows at each fill level, as one worker does: claim, reserve, prepare, finish. Each is a transaction that is
on the disk when it returns, so the times are those of the disk; what matters is that they do not grow.

    python benchmarks/bench_batch.py --rows 100000
    python benchmarks/bench_batch.py --rows 100000 --manifest postgresql://localhost/calls#bench
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asr_async
from asr_async.batch import Manifest
from asr_async.batch.records import Figures, Lease, SourceEntry

PARTS = 10
"""The parts of the rows after which a sample is measured."""


def entries(count: int) -> list[SourceEntry]:
    """Return sources that are nowhere."""
    return [
        SourceEntry(source=f"/calls/2026/{n:08}.wav", output=f"2026/{n:08}.json", size_bytes=n, version="1")
        for n in range(count)
    ]


async def settle(manifest: Manifest, count: int) -> dict[str, list[float]]:
    """Claim and finish so many rows; return the milliseconds of each step."""
    times_ms: dict[str, list[float]] = {"claim": [], "reserve": [], "prepare": [], "finish": []}
    for _ in range(count):
        began_at = time.perf_counter()
        lease = await manifest.claim("elsewhere/1:7:ab", budget_s=1e12)
        times_ms["claim"].append(time.perf_counter() - began_at)
        assert isinstance(lease, Lease)
        steps = {
            "reserve": manifest.reserve(lease, 60.0, budget_s=1e12),
            "prepare": manifest.prepare(lease, "0" * 64, Figures(audio_s=60, billed_s=60)),
            "finish": manifest.finish(lease),
        }
        for name, step in steps.items():
            began_at = time.perf_counter()
            await step
            times_ms[name].append(time.perf_counter() - began_at)
    return {name: [1000 * each for each in values] for name, values in times_ms.items()}


async def skip(manifest: Manifest, count: int) -> None:
    """Settle rows without measuring, in one statement: what is done by then must not cost anything."""

    def mark() -> None:
        database = manifest._database  # noqa: SLF001 - a run of hours is prepared in seconds
        with database.transaction():
            database.execute(
                "UPDATE sources SET state = 'done', due_at = NULL WHERE row_id IN "
                "(SELECT row_id FROM sources WHERE due_at IS NOT NULL ORDER BY due_at, row_id LIMIT ?)",
                count,
            )
            database.execute("UPDATE totals SET todo = todo - ?, done = done + ?", count, count)

    await manifest._call(mark)  # noqa: SLF001


async def measure(options: argparse.Namespace, location: str) -> dict[str, Any]:
    """Fill a manifest, and measure at each fill level."""
    async with Manifest(location, create=True) as manifest:
        began_at = time.perf_counter()
        await manifest.add(entries(options.rows))
        added_s = time.perf_counter() - began_at
        began_at = time.perf_counter()
        await manifest.add(entries(options.rows))
        known_s = time.perf_counter() - began_at
        levels = []
        for part in range(PARTS):
            times = await settle(manifest, options.sample)
            medians = {name: round(statistics.median(values), 3) for name, values in times.items()}
            levels.append({"done": part * options.rows // PARTS, **medians})
            await skip(manifest, options.rows // PARTS - options.sample)
        progress = await manifest.progress()
    assert progress.waiting == options.rows - PARTS * (options.rows // PARTS)
    return {"rows": options.rows, "add_s": round(added_s, 2), "add_again_s": round(known_s, 2), "median_ms": levels}


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, measure, print the figures; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the manifest (default: %(default)s)")
    parser.add_argument("--sample", type=int, default=200, help="rows at each fill level (default: %(default)s)")
    parser.add_argument("--manifest", help="URL of a manifest in Postgres that does not exist; without it sqlite")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(options, options.manifest or str(Path(folder) / "run.sqlite")))
    versions = {
        "asr_async": asr_async.__version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    if options.json:
        print(json.dumps(figures | {"versions": versions}))
        return 0
    print(f"{figures['rows']} rows added in {figures['add_s']} s, looked up in {figures['add_again_s']} s; {versions}")
    names = ("claim", "reserve", "prepare", "finish")
    print(f"{'done before':>12} {' '.join(f'{name:>8}' for name in names)}   ms, medians of {options.sample}")
    for level in figures["median_ms"]:
        cells = [f"{level[name]:8.2f}" for name in names]
        print(f"{level['done']:12} {' '.join(cells)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
