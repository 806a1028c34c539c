"""The clock of the audio: the instants at which positions of the audio were sent, tested with values."""

from __future__ import annotations

import pytest

from asr_async._session.stats import MAX_SENDS, AudioClock


def clock_of(*sends: tuple[int, float]) -> AudioClock:
    clock = AudioClock()
    for end_bytes, now in sends:
        clock.record(end_bytes, now)
    return clock


@pytest.mark.parametrize(
    ("position_bytes", "sent_at"),
    [(0, None), (1, 1.0), (100, 1.0), (101, 2.0), (200, 2.0), (300, 3.0), (301, 3.0), (10_000, 3.0)],
)
def test_a_position_has_the_instant_of_its_frame_or_of_the_last_frame_before_it(
    position_bytes: int, sent_at: float | None
) -> None:
    assert clock_of((100, 1.0), (200, 2.0), (300, 3.0)).sent_at(position_bytes) == sent_at


def test_there_is_no_instant_before_the_first_frame() -> None:
    assert AudioClock().sent_at(1) is None
    assert repr(AudioClock()) == "<AudioClock 0 sends>"


def test_a_replay_replaces_the_instants_of_its_audio() -> None:
    clock = clock_of((100, 1.0), (200, 2.0), (300, 3.0), (200, 9.0))
    assert [clock.sent_at(position) for position in (100, 200, 300)] == [1.0, 9.0, 9.0]
    clock.record(300, 9.5)
    assert clock.sent_at(300) == 9.5


def test_the_instants_of_old_frames_are_dropped() -> None:
    clock = clock_of(*((100 * n, float(n)) for n in range(1, MAX_SENDS + 2)))
    assert clock.sent_at(100) is None
    assert clock.sent_at(100 * (MAX_SENDS // 2)) is None
    assert clock.sent_at(100 * (MAX_SENDS // 2) + 1) == MAX_SENDS // 2 + 1
    assert clock.sent_at(100 * MAX_SENDS) == MAX_SENDS
