"""Copies of the emulator's values: fault plans, fault kinds, script segments and engine errors can be pickled."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from asr_async.emulator import EngineRefusedError, Faults, HypothesisWord
from asr_async.emulator import faults as fault_kinds
from asr_async.emulator.engines.scripted import ScriptedSegment

if TYPE_CHECKING:
    from collections.abc import Callable

FAULTS = (
    fault_kinds.Refuse(status=429, code="Throttling", retry_after_s=2, connection=1),
    fault_kinds.Delay(by_ms=200, probability=0.5),
    fault_kinds.Cut(after_audio_ms=1_500, every=2, times=10),
    fault_kinds.HalfOpen(after_s=3),
    fault_kinds.Close(after_frames=3, code=4_321, reason="maintenance"),
    fault_kinds.Garbage(at="result", binary=True),
    fault_kinds.SlowReader(bytes_per_second=320),
    fault_kinds.Fail(at="audio", code="X.1"),
    fault_kinds.MuteFinish(),
    fault_kinds.Throttle(),
    fault_kinds.Redraw(max_words=3, jitter_ms=40, noise=0.5, every=2),
)

SEGMENTS = (
    ScriptedSegment("Seediq Bale", 0, 900, variants={"Seediq Bale": "seat a bail"}, translations={"en": "true person"}),
    ScriptedSegment("one", 0, 900, words=(HypothesisWord(text="one", start_ms=0, end_ms=900),)),
)


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


COPIES = pytest.mark.parametrize("copied", [through_pickle, copy.copy, copy.deepcopy])


def test_the_examples_contain_every_kind_of_fault() -> None:
    assert {type(fault) for fault in FAULTS} == {
        kind
        for kind in vars(fault_kinds).values()
        if isinstance(kind, type) and issubclass(kind, fault_kinds.Fault) and kind.__name__ in fault_kinds.__all__
    } - {fault_kinds.Fault}


@COPIES
@pytest.mark.parametrize("value", [*FAULTS, *SEGMENTS, Faults(FAULTS, seed=7)], ids=lambda value: type(value).__name__)
def test_a_copy_is_equal_to_its_original(value: Any, copied: Callable[[Any], Any]) -> None:
    copy_ = copied(value)
    assert type(copy_) is type(value)
    assert copy_ == value
    assert repr(copy_) == repr(value)


@COPIES
def test_a_copied_engine_error_keeps_its_reason_and_kind(copied: Callable[[Any], Any]) -> None:
    error = copied(EngineRefusedError("all sessions are in use", kind="capacity"))
    assert (str(error), error.reason, error.kind) == ("all sessions are in use", "all sessions are in use", "capacity")


def test_plans_are_equal_if_their_faults_and_seeds_are() -> None:
    plan = Faults(FAULTS, seed=7)
    assert plan == Faults(FAULTS, seed=7)
    assert hash(plan) == hash(Faults(FAULTS, seed=7))
    assert plan != Faults(FAULTS, seed=8)
    assert plan != Faults(FAULTS[1:], seed=7)
    assert plan != FAULTS
