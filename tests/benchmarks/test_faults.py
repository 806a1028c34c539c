"""No final result is lost under a hundred random faults; words are counted; `benchmarks/faults.py` runs a thousand."""

from __future__ import annotations

import json
import runpy

import pytest

from asr_async import Result, Word

from ..support.paths import BENCHMARKS

PROGRAM = BENCHMARKS / "faults.py"


def test_no_final_is_lost_or_doubled_or_at_a_wrong_time(capsys: pytest.CaptureFixture[str]) -> None:
    status = runpy.run_path(str(PROGRAM))["main"](["--seed", "1", "--faults", "100", "--json"])
    outcome = json.loads(capsys.readouterr().out)
    assert status == 0, outcome
    assert sum(outcome["faults"].values()) >= 100
    assert outcome["reconnects"] > 0
    assert (outcome["lost"], outcome["doubled"], outcome["off_by_more_than_a_frame"], outcome["failed"]) == (0, 0, 0, 0)


def test_words_are_counted_where_each_connection_draws_its_own_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    status = runpy.run_path(str(PROGRAM))["main"](["--seed", "1", "--faults", "120", "--redraw", "--json"])
    outcome = json.loads(capsys.readouterr().out)
    assert status == 0, outcome
    assert outcome["words"] > 300
    assert outcome["finals"] > 100
    assert outcome["reconnects"] > 0
    assert "redraw" not in outcome["faults"]
    assert (outcome["lost"], outcome["doubled"], outcome["out_of_order"]) == (0, 0, 0)
    # where two times of one word are more than a frame apart, it may also be the same word said again: it has the mark
    assert outcome["marked"] <= outcome["words"] / 100


Finals = list[tuple[str, bool]]


@pytest.mark.parametrize(
    ("finals", "counts"),
    [
        ([("a b", False), ("c d", False)], (0, 0, 0, 0)),
        ([("a", False), ("b c", False), ("d", False)], (0, 0, 0, 0)),
        ([("a b", False), ("d", False)], (1, 0, 0, 0)),
        ([("a b", False), ("b c d", False)], (0, 1, 0, 0)),
        ([("a b", False), ("b c d", True)], (0, 0, 1, 0)),
        ([("a c", False), ("uh b", False), ("d", False)], (0, 0, 0, 1)),
    ],
)
def test_each_word_is_lost_doubled_marked_or_out_of_order(finals: Finals, counts: tuple[int, int, int, int]) -> None:
    program = runpy.run_path(str(PROGRAM))
    outcome = program["Outcome"]()
    results = [
        Result(text=text, is_final=True, segment_id=number, start_ms=0, end_ms=0, may_repeat=may_repeat)
        for number, (text, may_repeat) in enumerate(finals)
    ]
    program["compare_words"]([("a b", 0, 600), ("c d", 700, 1_300)], results, outcome)
    assert (outcome.lost, outcome.doubled, outcome.marked, outcome.out_of_order) == counts
    assert outcome.is_good == (counts[0] == counts[1] == counts[3] == 0)


def test_a_word_at_a_wrong_time_is_counted() -> None:
    program = runpy.run_path(str(PROGRAM))
    outcome = program["Outcome"]()
    words = (Word(text="a", start_ms=200, end_ms=500), Word(text="b", start_ms=501, end_ms=600))
    result = Result(text="a b", is_final=True, segment_id=0, start_ms=0, end_ms=600, words=words)
    program["compare_words"]([("a b", 0, 600)], [result], outcome)
    assert outcome.off_by_more_than_a_frame == 1
