"""Floods of `benchmarks/floods.py`: each session ends by itself, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys

from ..support.child_processes import child_environment
from ..support.paths import BENCHMARKS

FLOODS = [
    "pings",
    "finals",
    "interims",
    "growing-end",
    "huawei-interims",
    "large-finals",
    "translations",
    "unknown",
    "headers",
]


def test_floods_end_in_bounded_memory() -> None:
    program = str(BENCHMARKS / "floods.py")
    command = [sys.executable, program, "--json", "--seconds", "1", "--jobs", "4", "--floods", *FLOODS]
    completed = subprocess.run(command, stdout=subprocess.PIPE, env=child_environment(), timeout=200, check=False)
    rows = json.loads(completed.stdout)
    assert completed.returncode == 0, rows
    assert [row["flood"] for row in rows] == FLOODS
    assert all(0 < row["over_start_mib"] < 64 for row in rows)
    ends = {row["flood"]: row["end"] for row in rows}
    assert all(ends[name].startswith("DeadlineError: ") for name in ("pings", "finals", "interims", "growing-end"))
    assert "confirmed by the vendor" not in ends.values()
