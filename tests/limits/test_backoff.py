"""Tests of exponential backoff by values, with and without jitter and a delay that the vendor requests."""

from __future__ import annotations

import pytest

from asr_async import ConnectionLostError, RateLimitedError
from asr_async._limits.backoff import LONGEST_DELAY_S, RateLimitBackoff, backoff_delay_s, requested_delay_s

# --- the formula -----------------------------------------------------------------------------------------------------


def test_the_delay_doubles_up_to_the_longest_one() -> None:
    delays = [backoff_delay_s(attempt, first_s=0.25, longest_s=3.0) for attempt in range(6)]
    assert delays == [0.25, 0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_first_delay_above_the_longest_one_is_cut() -> None:
    assert backoff_delay_s(0, first_s=1.0, longest_s=0.5) == 0.5


@pytest.mark.parametrize(("jitter", "delay_s"), [(0.0, 0.0), (0.25, 0.5), (1.0, 2.0)])
def test_jitter_is_the_share_of_the_delay(jitter: float, delay_s: float) -> None:
    assert backoff_delay_s(1, first_s=1.0, longest_s=30.0, jitter=jitter) == delay_s


def test_jitter_applies_below_the_longest_delay_too() -> None:
    assert backoff_delay_s(10, first_s=1.0, longest_s=30.0, jitter=0.5) == 15.0


@pytest.mark.parametrize(
    ("requested_s", "delay_s"),
    [(None, 4.0), (0.0, 4.0), (3.0, 4.0), (7.0, 7.0), (90.0, 90.0)],
    ids=["none", "zero", "shorter", "longer", "above the longest"],
)
def test_a_requested_delay_is_a_lower_bound(requested_s: float | None, delay_s: float) -> None:
    assert backoff_delay_s(2, first_s=1.0, longest_s=30.0, requested_s=requested_s) == delay_s


def test_jitter_does_not_shorten_a_requested_delay() -> None:
    assert backoff_delay_s(2, first_s=1.0, longest_s=30.0, jitter=0.0, requested_s=3.0) == 3.0


def test_any_number_of_attempts_has_a_delay() -> None:
    assert backoff_delay_s(1_000_000, first_s=1.0, longest_s=30.0) == 30.0


def test_only_a_rate_limit_error_requests_a_delay() -> None:
    assert requested_delay_s(RateLimitedError("busy", retry_after=7.0)) == 7.0
    assert requested_delay_s(RateLimitedError("busy")) is None
    assert requested_delay_s(ConnectionLostError("gone", retryable=True)) is None


# --- after a refusal -------------------------------------------------------------------------------------------------


def test_a_refusal_without_a_requested_delay_backs_off_for_a_second_and_twice_as_long_when_it_is_repeated() -> None:
    backoff, now, delays = RateLimitBackoff(), 0.0, []
    for _ in range(7):
        delays.append(backoff.record_refusal(now, began_at=now - 0.1, requested_s=None))
        now += delays[-1] + 0.2
    assert delays == [1, 2, 4, 8, 16, LONGEST_DELAY_S, LONGEST_DELAY_S]


def test_refusals_of_starts_that_were_made_together_count_once() -> None:
    backoff = RateLimitBackoff()
    assert backoff.record_refusal(0.3, began_at=0.1, requested_s=None) == 1.0
    assert backoff.record_refusal(0.4, began_at=0.2, requested_s=None) == pytest.approx(0.9)
    assert backoff.record_refusal(1.5, began_at=0.25, requested_s=None) == 0.0


def test_a_requested_delay_is_respected_whenever_it_arrives() -> None:
    backoff = RateLimitBackoff()
    assert backoff.record_refusal(10.0, began_at=9.0, requested_s=4.0) == 4.0
    assert backoff.record_refusal(11.0, began_at=9.0, requested_s=8.0) == 8.0
    assert backoff.record_refusal(12.0, began_at=9.0, requested_s=1.0) == 7.0


def test_a_requested_delay_replaces_a_longer_one_of_the_backoff() -> None:
    backoff = RateLimitBackoff()
    assert backoff.record_refusal(0.0, began_at=-0.1, requested_s=None) == 1.0
    assert backoff.record_refusal(2.0, began_at=1.5, requested_s=0.5) == 0.5


def test_an_accepted_start_resets_the_delay_unless_it_was_made_before_the_refusal() -> None:
    backoff = RateLimitBackoff()
    backoff.record_refusal(1.0, began_at=0.9, requested_s=None)
    backoff.record_start(began_at=0.95)
    assert backoff.record_refusal(3.0, began_at=2.9, requested_s=None) == 2.0
    backoff.record_start(began_at=5.5)
    assert backoff.record_refusal(6.0, began_at=5.9, requested_s=None) == 1.0


def test_repr_shows_the_number_of_refusals() -> None:
    backoff = RateLimitBackoff()
    backoff.record_refusal(1.0, began_at=0.9, requested_s=None)
    assert repr(backoff) == "<RateLimitBackoff 1 refusals>"
