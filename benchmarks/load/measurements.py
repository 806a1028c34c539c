"""Readings of a process, and summaries of numbers: quantiles and medians."""

from __future__ import annotations

import asyncio
import gc
import resource
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def cpu_s() -> float:
    """Return the user and system time of this process, all threads included, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def threads() -> int:
    """Return the number of threads of this process, as the operating system counts them."""
    return len(list(Path("/proc/self/task").iterdir()))


def private_kib() -> int:
    """Collect garbage, then return the memory in KiB that this process shares with no other process."""
    gc.collect()
    fields = (line.split() for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines())
    return sum(int(field[1]) for field in fields if field[0] in {"Private_Clean:", "Private_Dirty:"})


def quantiles_ms(values_ms: Sequence[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the maximum; an empty dict if there are no values."""
    if not values_ms:
        return {}
    ordered = sorted(values_ms)
    fractions = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: round(ordered[int(fraction * (len(ordered) - 1))], 3) for name, fraction in fractions.items()}


def medians(rows: Sequence[dict[str, Any]], *, worst: Sequence[str] = ()) -> dict[str, Any]:
    """Merge the rows of several runs into one: the median of each number, but the maximum of those named in `worst`.

    If a run failed, its row is returned as it is, since a median over the other runs would hide the failure.
    """
    for row in rows:
        if "failed" in row:
            return row
    return {name: _summary([row[name] for row in rows], is_worst=name in worst) for name in rows[0]}


def _summary(values: Sequence[Any], *, is_worst: bool) -> Any:
    if isinstance(values[0], str):
        return values[0]
    if is_worst:
        return max(values)
    if isinstance(values[0], int):
        return statistics.median_low(values)
    return round(statistics.median(values), 4)


def event_loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the factory of event loops named `asyncio` or `uvloop`, or of the `fastest` kind that is installed.

    Raises:
        ImportError: `uvloop` is requested and is not installed.
    """
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop  # noqa: PLC0415 - an optional dependency
    except ImportError:
        if name == "uvloop":
            raise
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
