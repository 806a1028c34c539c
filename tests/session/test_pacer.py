"""The pacer's rules, by values: time is an argument, nothing waits."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from asr_async._session.pacer import CATCH_UP, Pacer

RATE = 32_000
FRAME = 3_200
FRAME_S = 0.1


def delay_s(pacer: Pacer, now: float) -> float:
    """How long the next frame has to wait."""
    return max(0.0, pacer.next_at - now)


def play(pacer: Pacer, arrivals: list[tuple[float, int]], start: float = 0.0) -> list[float]:
    """Send chunks that become available at the given instants, frame by frame; return when each frame went."""
    now, sent_at = start, []
    for available_at, size in arrivals:
        asked_at = now
        now = max(now, available_at)
        pacer.record_arrival(now, now - asked_at)
        for _ in range(size // FRAME):
            now += delay_s(pacer, now)
            pacer.record_sent(now, FRAME)
            sent_at.append(now)
    return sent_at


def test_a_file_is_sent_in_real_time() -> None:
    sent_at = play(Pacer(RATE, 1.0, live=False), [(0.0, 10 * FRAME)])
    assert sent_at == pytest.approx([n * FRAME_S for n in range(10)])


@pytest.mark.parametrize("pace", [0.5, 4.0, 100.0])
def test_the_pace_scales_the_schedule(pace: float) -> None:
    sent_at = play(Pacer(RATE, pace), [(0.0, 50 * FRAME)])
    assert sent_at[-1] == pytest.approx(49 * FRAME_S / pace)


@pytest.mark.parametrize(("rate", "pace"), [(RATE, None), (None, 1.0), (None, None)])
def test_no_pace_or_compressed_audio_never_waits(rate: int | None, pace: float | None) -> None:
    assert play(Pacer(rate, pace), [(0.0, 50 * FRAME)]) == [0.0] * 50


def test_an_hour_does_not_drift_whatever_the_lateness_of_each_frame() -> None:
    rng = random.Random(7)
    pacer, now = Pacer(RATE, 1.0, live=False), 1_000_000.0
    frames = 36_000
    for _ in range(frames):
        now += delay_s(pacer, now) + rng.uniform(0, 0.02)  # the loop wakes late each time
        pacer.record_sent(now, FRAME)
    assert now - 1_000_000.0 == pytest.approx((frames - 1) * FRAME_S, abs=FRAME_S)


def test_frames_that_are_no_whole_milliseconds_do_not_drift_either() -> None:
    pacer, now = Pacer(22_050, 1.0), 0.0
    for _ in range(10_000):
        now += delay_s(pacer, now)
        pacer.record_sent(now, 2_204)
    assert now == pytest.approx(9_999 * 2_204 / 22_050)


def test_after_a_stall_the_backlog_goes_at_four_times_the_pace_and_then_in_step_again() -> None:
    pacer = Pacer(RATE, 1.0, live=False)
    before = play(pacer, [(0.0, 10 * FRAME)])
    after = play(pacer, [(0.0, 60 * FRAME)], start=before[-1] + 3.0)  # three seconds in which nothing could be sent
    gaps = [later - earlier for earlier, later in pairwise(after)]
    assert min(gaps) >= FRAME_S / CATCH_UP - 1e-9
    caught_up = next(i for i, at in enumerate(after) if at == pytest.approx((10 + i) * FRAME_S))
    assert after[caught_up] - after[0] == pytest.approx(1.0, abs=FRAME_S)
    assert after[-1] == pytest.approx(69 * FRAME_S)


def test_lateness_counts_what_the_sender_did_not_what_the_source_did() -> None:
    pacer = Pacer(RATE, 1.0)
    play(pacer, [(0.0, FRAME), (5.0, FRAME)])  # the source brought the second frame late
    assert pacer.lateness_max_s == 0.0
    now = 5.0 + delay_s(pacer, 5.0) + 0.03
    pacer.record_sent(now, FRAME)
    assert pacer.lateness_max_s == pytest.approx(0.03)


def test_a_live_source_with_jitter_is_passed_through_without_delay() -> None:
    rng = random.Random(3)
    arrivals = [(n * FRAME_S + rng.uniform(0, 0.04), FRAME) for n in range(200)]
    arrivals[0] = (0.09, FRAME)  # a late first frame must not hold back the later ones
    sent_at = play(Pacer(RATE, 1.0), arrivals)
    for n in range(1, len(arrivals)):
        earliest = max(arrivals[n][0], sent_at[n - 1] + FRAME_S / CATCH_UP)
        assert sent_at[n] == pytest.approx(earliest)


def test_a_live_source_that_brings_a_second_at_a_time_is_sent_at_the_catch_up_rate() -> None:
    sent_at = play(Pacer(RATE, 1.0), [(float(n), 10 * FRAME) for n in range(1, 6)])
    for second in range(5):
        burst = sent_at[10 * second : 10 * second + 10]
        assert burst[-1] - (second + 1) <= 10 * FRAME_S / CATCH_UP + 1e-9
        assert all(b - a >= FRAME_S / CATCH_UP - 1e-9 for a, b in pairwise(burst))


def test_a_live_source_that_was_away_is_not_sent_in_one_burst() -> None:
    arrivals = [(0.0, FRAME), (10.0, 50 * FRAME)]  # five seconds of audio after ten seconds of nothing
    sent_at = play(Pacer(RATE, 1.0), arrivals)[1:]
    assert sent_at[0] == 10.0
    assert sent_at[-1] == pytest.approx(10.0 + 49 * FRAME_S / CATCH_UP)


def test_a_live_source_whose_clock_runs_fast_is_never_held_back_for_more_than_half_a_frame() -> None:
    arrivals = [(n * FRAME_S * 0.999, FRAME) for n in range(5_000)]
    sent_at = play(Pacer(RATE, 1.0), arrivals)
    assert max(at - arrival for at, (arrival, _) in zip(sent_at, arrivals, strict=True)) <= FRAME_S / 2 + 1e-9


def test_a_download_that_is_faster_than_real_time_is_held_to_real_time() -> None:
    pacer, now, sent_at = Pacer(RATE, 1.0), 0.0, []
    for _ in range(100):
        now += 0.02  # each chunk takes 20 ms to come
        pacer.record_arrival(now, 0.02)
        now += delay_s(pacer, now)
        pacer.record_sent(now, FRAME)
        sent_at.append(now)
    assert sent_at[-1] == pytest.approx(99 * FRAME_S)


def test_a_source_that_says_it_is_live_is_never_held_back() -> None:
    assert play(Pacer(RATE, 1.0, live=True), [(0.0, 20 * FRAME)]) == [0.0] * 20


def test_a_file_whose_blocks_take_a_moment_keeps_the_schedule() -> None:
    block = 20 * FRAME
    arrivals = [
        (0.0, block),
        *((n * 2.0 - 0.1 + 0.004, block) for n in range(1, 30)),
    ]  # read 4 ms after it was asked for
    sent_at = play(Pacer(RATE, 1.0), arrivals)
    assert sent_at[-1] == pytest.approx((len(sent_at) - 1) * FRAME_S)


# --- again -----------------------------------------------------------------------------------------------------------


def test_what_is_sent_again_goes_at_four_times_the_pace_until_it_is_on_schedule() -> None:
    pacer = Pacer(32_000, 1.0, live=False)
    pacer.record_arrival(0.0, 0.0)
    now = 0.0
    for _ in range(20):
        now += delay_s(pacer, now)
        pacer.record_sent(now, 3_200)
    pacer.rewind(32_000, now)
    delays = []
    for _ in range(20):
        delay = delay_s(pacer, now)
        delays.append(round(delay, 3))
        now += delay
        pacer.record_sent(now, 3_200)
    assert delays[:12] == [0.025] * 12
    assert delays[-1] == 0.1
    assert pacer.lateness_max_s == 0.0


def test_a_live_source_is_spaced_only_while_it_is_sent_again() -> None:
    pacer = Pacer(32_000, None, live=True)
    for now in (0.0, 0.1, 0.2):
        pacer.record_sent(now, 3_200)
    pacer.rewind(3_200, 0.25)
    assert delay_s(pacer, 0.25) == 0.0
    pacer.record_sent(0.25, 3_200)
    assert round(delay_s(pacer, 0.25), 3) == 0.025
    pacer.record_sent(0.275, 3_200)
    assert delay_s(pacer, 0.275) == 0.0
