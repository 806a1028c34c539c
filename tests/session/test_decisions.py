"""The decisions about the connections of a session after a loss, after a failed send and during a handover."""

from __future__ import annotations

import pytest

from asr_async import (
    ASRError,
    ConnectionLostError,
    DeadlineError,
    LocalProtocolError,
    RemoteProtocolError,
    Retry,
    VendorError,
)
from asr_async._session.policy import (
    QUIET_S,
    SEGMENT_PATIENCE_S,
    Handover,
    ReconnectPolicy,
    SendFailure,
    decide_handover,
    decide_send_failure,
    first_cause,
)

LOST = ConnectionLostError("gone", retryable=True)
IDLE_TIMEOUT = VendorError("no audio for 23 s", retryable=True)


# --- a loss ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "retry", "quiet_s", "source_has_ended", "is_idle"),
    [
        (LOST, Retry(), QUIET_S, False, True),
        (IDLE_TIMEOUT, Retry(), QUIET_S, False, True),
        (LOST, Retry(), QUIET_S - 0.1, False, False),
        (LOST, Retry(), QUIET_S, True, False),
        (ConnectionLostError("refused"), Retry(), QUIET_S, False, False),
        (LOST, Retry(attempts=0), QUIET_S, False, False),
        # if pauses are filled with silence, only an error of the vendor means an idle source
        (LOST, Retry(silence="fill"), QUIET_S, False, False),
        (IDLE_TIMEOUT, Retry(silence="fill"), QUIET_S, False, True),
    ],
)
def test_a_loss_in_a_pause_of_the_source_does_not_count_as_an_attempt(
    error: ASRError, retry: Retry, quiet_s: float, source_has_ended: bool, is_idle: bool
) -> None:
    policy = ReconnectPolicy(retry)
    assert policy.is_idle_loss(error, quiet_s=quiet_s, source_has_ended=source_has_ended) is is_idle
    assert policy.attempt == 0


def test_a_loss_while_a_call_waits_for_its_end_is_no_idle_loss() -> None:
    policy = ReconnectPolicy(Retry())
    assert not policy.is_idle_loss(IDLE_TIMEOUT, quiet_s=QUIET_S, source_has_ended=False, is_finalizing=True)


def test_a_fail_over_is_immediate_whatever_the_error_is_and_counts_as_an_attempt() -> None:
    policy = ReconnectPolicy(Retry(attempts=2))
    assert policy.next_delay_s(VendorError("wrong key"), 1.0, fail_over=True) == 0.0
    assert policy.attempt == 1
    assert policy.next_delay_s(LOST, 1.0) == 0.5
    assert policy.next_delay_s(LOST, 1.0, fail_over=True) is None
    assert repr(policy) == "<ReconnectPolicy 2 of 2 attempts>"


def test_there_is_no_reconnect_after_the_vendor_closed_the_input() -> None:
    policy = ReconnectPolicy(Retry())
    assert policy.next_delay_s(LOST, 1.0, fail_over=True, input_closed=True) is None
    assert policy.attempt == 0


@pytest.mark.parametrize("error", [LOST, IDLE_TIMEOUT])
def test_a_failed_send_is_the_cause_unless_the_vendor_sent_an_error(error: ASRError) -> None:
    send_error = DeadlineError("the connection took no audio")
    assert first_cause(error, None) is error
    assert first_cause(error, send_error) is (send_error if error is LOST else error)


# --- a failed send ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "is_in_use", "action"),
    [
        (LocalProtocolError("out of order"), True, SendFailure.END_SESSION),
        (LocalProtocolError("out of order"), False, SendFailure.END_SESSION),
        (LOST, False, SendFailure.IGNORE),
        (DeadlineError("blocked"), False, SendFailure.IGNORE),
        (DeadlineError("blocked"), True, SendFailure.ABORT),
        (LOST, True, SendFailure.READ_ON),
        (RemoteProtocolError("garbage"), True, SendFailure.READ_ON),
    ],
)
def test_the_action_after_a_failed_send_follows_from_the_error(
    error: ASRError, is_in_use: bool, action: SendFailure
) -> None:
    assert decide_send_failure(error, is_in_use=is_in_use) is action


# --- a handover ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_in_use", "has_successor", "segment_has_ended", "waited_s", "action"),
    [
        (True, False, False, 0.0, Handover.OPEN),
        (True, False, True, 0.0, Handover.OPEN),
        (True, True, False, 0.0, Handover.WAIT),
        (True, True, False, SEGMENT_PATIENCE_S - 0.1, Handover.WAIT),
        (True, True, True, 0.0, Handover.SWITCH),
        (True, True, False, SEGMENT_PATIENCE_S, Handover.SWITCH),
        (False, False, False, 0.0, Handover.CANCEL),
        (False, True, True, SEGMENT_PATIENCE_S, Handover.CANCEL),
    ],
)
def test_the_next_action_of_a_handover_follows_from_its_state(
    is_in_use: bool, has_successor: bool, segment_has_ended: bool, waited_s: float, action: Handover
) -> None:
    decision = decide_handover(
        is_in_use=is_in_use,
        has_successor=has_successor,
        segment_has_ended=segment_has_ended,
        waited_s=waited_s,
    )
    assert decision is action
