"""The state machine of an emulated connection, with a table of its own."""

from __future__ import annotations

import enum

from asr_async.emulator.lifecycle import Lifecycle


class State(enum.Enum):
    IDLE = "no task"
    OPEN = "task open"


class Step(enum.Enum):
    START = "start"
    FINISH = "finish"


TRANSITIONS = {(State.IDLE, Step.START): State.OPEN, (State.OPEN, Step.FINISH): State.IDLE}


def test_a_lifecycle_follows_its_table() -> None:
    lifecycle = Lifecycle(State.IDLE, TRANSITIONS, {State.IDLE: 60})
    assert [lifecycle.allows(step) for step in Step] == [True, False]
    assert repr(lifecycle) == "<Lifecycle no task>"
    lifecycle.advance(Step.START)
    assert lifecycle.state is State.OPEN
    assert [lifecycle.allows(step) for step in Step] == [False, True]
    assert repr(lifecycle) == "<Lifecycle task open>"


def test_a_state_without_a_timeout_does_not_wait_for_the_client() -> None:
    lifecycle = Lifecycle(State.IDLE, TRANSITIONS, {State.IDLE: 60})
    assert lifecycle.client_timeout_s == 60
    lifecycle.advance(Step.START)
    assert lifecycle.client_timeout_s is None
