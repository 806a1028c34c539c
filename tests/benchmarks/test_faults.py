"""No final result is lost under a hundred random faults; `benchmarks/faults.py` runs a thousand."""

from __future__ import annotations

import json
import runpy

import pytest

from ..support.paths import BENCHMARKS

PROGRAM = BENCHMARKS / "faults.py"


def test_no_final_is_lost_or_doubled_or_at_a_wrong_time(capsys: pytest.CaptureFixture[str]) -> None:
    status = runpy.run_path(str(PROGRAM))["main"](["--seed", "1", "--faults", "100", "--json"])
    outcome = json.loads(capsys.readouterr().out)
    assert status == 0, outcome
    assert sum(outcome["faults"].values()) >= 100
    assert outcome["reconnects"] > 0
    assert (outcome["lost"], outcome["doubled"], outcome["off_by_more_than_a_frame"], outcome["failed"]) == (0, 0, 0, 0)
