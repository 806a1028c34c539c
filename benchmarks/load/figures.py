"""What is read off a process, and how figures are summed up."""

from __future__ import annotations

import asyncio
import gc
import resource
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def cpu_s() -> float:
    """User and system time of this process, all threads, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def threads() -> int:
    """Threads of this process, as the system counts them."""
    return len(list(Path("/proc/self/task").iterdir()))


def private_kib() -> int:
    """Memory of this process that it shares with nobody, in KiB, after a garbage collection."""
    gc.collect()
    fields = (line.split() for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines())
    return sum(int(field[1]) for field in fields if field[0] in {"Private_Clean:", "Private_Dirty:"})


def quantiles_ms(values_ms: Sequence[float]) -> dict[str, float]:
    """The median, the 99th percentile and the worst; empty if there are no values."""
    if not values_ms:
        return {}
    in_order = sorted(values_ms)
    places = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: round(in_order[int(place * (len(in_order) - 1))], 3) for name, place in places.items()}


def medians(rows: Sequence[dict[str, Any]], *, worst: Sequence[str] = ()) -> dict[str, Any]:
    """One row out of those of several runs: the median of each number, but the largest of those named in `worst`.

    If a run failed, its row: nothing can be said then.
    """
    for row in rows:
        if "failed" in row:
            return row
    return {name: _summed_up([row[name] for row in rows], name in worst) for name in rows[0]}


def _summed_up(values: Sequence[Any], is_worst: bool) -> Any:
    if isinstance(values[0], str):
        return values[0]
    if is_worst:
        return max(values)
    if isinstance(values[0], int):
        return statistics.median_low(values)
    return round(statistics.median(values), 4)


def new_event_loop(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """The maker of event loops of that name: `asyncio`, `uvloop`, or the `fastest` that is installed.

    Raises:
        ImportError: uvloop was asked for and is not installed.
    """
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        if name == "uvloop":
            raise
        return asyncio.new_event_loop
    maker: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return maker
