"""The rules of the pacer, tested with values: time is an argument, and nothing waits."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from asr_async._session.pacer import CATCH_UP, Pacer

RATE = 32_000
FRAME = 3_200
FRAME_S = 0.1


def delay_s(pacer: Pacer, now: float) -> float:
    """Return the delay before the next frame."""
    return max(0.0, pacer.next_at - now)


def send_all(pacer: Pacer, arrivals: list[tuple[float, int]], start: float = 0.0) -> list[float]:
    """Send chunks that become available at the given instants, frame by frame; return the instant of each frame."""
    now, sent_at = start, []
    for available_at, size in arrivals:
        read_at = now
        now = max(now, available_at)
        pacer.record_arrival(now, now - read_at)
        for _ in range(size // FRAME):
            now += delay_s(pacer, now)
            pacer.record_sent(now, FRAME)
            sent_at.append(now)
    return sent_at


def test_a_file_is_sent_in_real_time() -> None:
    sent_at = send_all(Pacer(RATE, 1.0, live=False), [(0.0, 10 * FRAME)])
    assert sent_at == pytest.approx([n * FRAME_S for n in range(10)])


@pytest.mark.parametrize("pace", [0.5, 4.0, 100.0])
def test_the_pace_scales_the_schedule(pace: float) -> None:
    sent_at = send_all(Pacer(RATE, pace), [(0.0, 50 * FRAME)])
    assert sent_at[-1] == pytest.approx(49 * FRAME_S / pace)


@pytest.mark.parametrize(("rate", "pace"), [(RATE, None), (None, 1.0), (None, None)])
def test_without_a_pace_and_for_compressed_audio_there_is_no_delay(rate: int | None, pace: float | None) -> None:
    assert send_all(Pacer(rate, pace), [(0.0, 50 * FRAME)]) == [0.0] * 50


def test_an_hour_of_late_frames_does_not_drift() -> None:
    rng = random.Random(7)
    pacer, now = Pacer(RATE, 1.0, live=False), 1_000_000.0
    frames = 36_000
    for _ in range(frames):
        now += delay_s(pacer, now) + rng.uniform(0, 0.02)  # the loop wakes late each time
        pacer.record_sent(now, FRAME)
    assert now - 1_000_000.0 == pytest.approx((frames - 1) * FRAME_S, abs=FRAME_S)


def test_frames_of_fractional_milliseconds_do_not_drift() -> None:
    pacer, now = Pacer(22_050, 1.0), 0.0
    for _ in range(10_000):
        now += delay_s(pacer, now)
        pacer.record_sent(now, 2_204)
    assert now == pytest.approx(9_999 * 2_204 / 22_050)


def test_a_backlog_is_sent_at_four_times_the_pace_until_it_is_on_schedule() -> None:
    pacer = Pacer(RATE, 1.0, live=False)
    before = send_all(pacer, [(0.0, 10 * FRAME)])
    after = send_all(pacer, [(0.0, 60 * FRAME)], start=before[-1] + 3.0)  # nothing could be sent for three seconds
    intervals_s = [later - earlier for earlier, later in pairwise(after)]
    assert min(intervals_s) >= FRAME_S / CATCH_UP - 1e-9
    caught_up = next(i for i, at in enumerate(after) if at == pytest.approx((10 + i) * FRAME_S))
    assert after[caught_up] - after[0] == pytest.approx(1.0, abs=FRAME_S)
    assert after[-1] == pytest.approx(69 * FRAME_S)


def test_lateness_counts_delays_of_the_sender_and_not_of_the_source() -> None:
    pacer = Pacer(RATE, 1.0)
    send_all(pacer, [(0.0, FRAME), (5.0, FRAME)])  # the source yielded the second frame late
    assert pacer.lateness_max_s == 0.0
    now = 5.0 + delay_s(pacer, 5.0) + 0.03
    pacer.record_sent(now, FRAME)
    assert pacer.lateness_max_s == pytest.approx(0.03)


def test_a_live_source_with_jitter_is_sent_without_delay() -> None:
    rng = random.Random(3)
    arrivals = [(n * FRAME_S + rng.uniform(0, 0.04), FRAME) for n in range(200)]
    arrivals[0] = (0.09, FRAME)  # a late first frame must not hold back the later ones
    sent_at = send_all(Pacer(RATE, 1.0), arrivals)
    for n in range(1, len(arrivals)):
        earliest = max(arrivals[n][0], sent_at[n - 1] + FRAME_S / CATCH_UP)
        assert sent_at[n] == pytest.approx(earliest)


def test_a_live_source_with_chunks_of_a_second_is_sent_at_the_catch_up_rate() -> None:
    sent_at = send_all(Pacer(RATE, 1.0), [(float(n), 10 * FRAME) for n in range(1, 6)])
    for second in range(5):
        burst = sent_at[10 * second : 10 * second + 10]
        assert burst[-1] - (second + 1) <= 10 * FRAME_S / CATCH_UP + 1e-9
        assert all(b - a >= FRAME_S / CATCH_UP - 1e-9 for a, b in pairwise(burst))


def test_a_live_source_that_stalled_is_not_sent_in_one_burst() -> None:
    arrivals = [(0.0, FRAME), (10.0, 50 * FRAME)]  # five seconds of audio after ten seconds of nothing
    sent_at = send_all(Pacer(RATE, 1.0), arrivals)[1:]
    assert sent_at[0] == 10.0
    assert sent_at[-1] == pytest.approx(10.0 + 49 * FRAME_S / CATCH_UP)


def test_a_live_source_with_a_fast_clock_is_delayed_by_at_most_half_a_frame() -> None:
    arrivals = [(n * FRAME_S * 0.999, FRAME) for n in range(5_000)]
    sent_at = send_all(Pacer(RATE, 1.0), arrivals)
    assert max(at - arrival for at, (arrival, _) in zip(sent_at, arrivals, strict=True)) <= FRAME_S / 2 + 1e-9


def test_a_download_that_is_faster_than_real_time_is_sent_in_real_time() -> None:
    pacer, now, sent_at = Pacer(RATE, 1.0), 0.0, []
    for _ in range(100):
        now += 0.02  # each chunk arrives after 20 ms
        pacer.record_arrival(now, 0.02)
        now += delay_s(pacer, now)
        pacer.record_sent(now, FRAME)
        sent_at.append(now)
    assert sent_at[-1] == pytest.approx(99 * FRAME_S)


def test_a_source_that_is_declared_live_is_never_delayed() -> None:
    assert send_all(Pacer(RATE, 1.0, live=True), [(0.0, 20 * FRAME)]) == [0.0] * 20


def test_a_file_whose_blocks_are_read_slowly_is_on_schedule() -> None:
    block = 20 * FRAME
    arrivals = [
        (0.0, block),
        *((n * 2.0 - 0.1 + 0.004, block) for n in range(1, 30)),
    ]  # each read takes 4 ms
    sent_at = send_all(Pacer(RATE, 1.0), arrivals)
    assert sent_at[-1] == pytest.approx((len(sent_at) - 1) * FRAME_S)


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_replay_is_sent_at_four_times_the_pace_until_it_is_on_schedule() -> None:
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


def test_a_live_source_is_paced_only_while_it_is_replayed() -> None:
    pacer = Pacer(32_000, None, live=True)
    for now in (0.0, 0.1, 0.2):
        pacer.record_sent(now, 3_200)
    pacer.rewind(3_200, 0.25)
    assert delay_s(pacer, 0.25) == 0.0
    pacer.record_sent(0.25, 3_200)
    assert round(delay_s(pacer, 0.25), 3) == 0.025
    pacer.record_sent(0.275, 3_200)
    assert delay_s(pacer, 0.275) == 0.0
