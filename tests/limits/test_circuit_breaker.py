"""Tests of `CircuitBreaker` by values: when it opens, for how long, and when it closes."""

from __future__ import annotations

from asr_async import AuthenticationError, ConnectionLostError, RateLimitedError
from asr_async._limits.circuit_breaker import CircuitBreaker

LOST = ConnectionLostError("gone", retryable=True)


def test_the_open_period_doubles_with_each_refusal_up_to_the_cooldown() -> None:
    breaker = CircuitBreaker(cooldown_s=5.0)
    delays = []
    for _ in range(5):
        breaker.record_failure(100.0, LOST, task_was_open=False)
        delays.append(breaker.retry_in_s(100.0))
    assert delays == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_lost_connection_may_be_an_accident_but_not_the_third_in_a_row() -> None:
    breaker = CircuitBreaker(cooldown_s=30.0)
    delays = []
    for _ in range(3):
        breaker.record_failure(0.0, LOST, task_was_open=True)
        delays.append(breaker.retry_in_s(0.0))
    assert delays == [0.0, 0.0, 4.0]


def test_a_half_open_breaker_allows_one_trial_and_the_next_one_as_long_again_later() -> None:
    breaker = CircuitBreaker(cooldown_s=30.0)
    breaker.record_failure(0.0, LOST, task_was_open=False)
    assert [breaker.allow(0.9), breaker.allow(1.0), breaker.allow(1.9), breaker.allow(2.0)] == [
        False, True, False, True,
    ]  # fmt: skip


def test_a_half_open_breaker_is_neither_open_nor_closed() -> None:
    breaker = CircuitBreaker(cooldown_s=30.0)
    breaker.record_failure(0.0, LOST, task_was_open=False)
    assert breaker.is_open(0.9)
    assert not breaker.is_open(1.0)
    assert not breaker.is_closed


def test_a_final_result_closes_the_breaker_and_resets_the_count() -> None:
    breaker = CircuitBreaker(cooldown_s=30.0)
    for _ in range(4):
        breaker.record_failure(0.0, LOST, task_was_open=False)
    breaker.record_success()
    assert breaker.is_closed
    assert breaker.allow(0.0)
    breaker.record_failure(0.0, LOST, task_was_open=False)
    assert breaker.retry_in_s(0.0) == 1.0


def test_a_trial_that_is_lost_opens_the_breaker_again_at_once() -> None:
    breaker = CircuitBreaker(cooldown_s=30.0)
    breaker.record_failure(0.0, LOST, task_was_open=False)
    assert breaker.allow(1.0)
    breaker.record_failure(1.5, LOST, task_was_open=True)
    assert breaker.retry_in_s(1.5) == 2.0


def test_a_permanent_error_and_a_delay_that_the_vendor_requests_exceed_the_cooldown() -> None:
    breaker = CircuitBreaker(cooldown_s=30.0)
    breaker.record_failure(0.0, AuthenticationError("no"), task_was_open=True)
    assert breaker.retry_in_s(0.0) == 300.0
    breaker.record_failure(0.0, RateLimitedError("busy", retry_after=90.0), task_was_open=False)
    assert breaker.retry_in_s(0.0) == 90.0


def test_thousands_of_failures_keep_the_longest_period() -> None:
    breaker = CircuitBreaker(cooldown_s=30.0)
    for _ in range(2_000):
        breaker.record_failure(0.0, LOST, task_was_open=False)
    assert breaker.retry_in_s(0.0) == 30.0


def test_repr_shows_the_state() -> None:
    breaker = CircuitBreaker(cooldown_s=30.0)
    assert repr(breaker) == "<CircuitBreaker closed>"
    breaker.record_failure(0.0, LOST, task_was_open=False)
    assert repr(breaker) == "<CircuitBreaker open for 1 s>"
    breaker.record_success()
    assert repr(breaker) == "<CircuitBreaker closed>"
