"""The silence that is sent on a connection, and the times of the results after it."""

from __future__ import annotations

from asr_async import AudioFormat
from asr_async._connection.silence import Silence

PCM16K = AudioFormat("pcm", 16_000)


def test_times_after_a_pause_exclude_its_silence_and_times_in_it_are_its_start() -> None:
    silence = Silence(PCM16K)
    for _ in range(10):
        silence.put(2_000, 3_200)
    silence.put(5_000, 32_000)
    assert [silence.left_out(time) for time in (0, 1_999, 2_000, 2_500, 3_000, 3_001)] == [
        0, 1_999, 2_000, 2_000, 2_000, 2_001,
    ]  # fmt: skip
    assert [silence.left_out(time) for time in (5_999, 6_000, 6_700, 7_000, 9_000)] == [
        4_999,
        5_000,
        5_000,
        5_000,
        7_000,
    ]
    assert repr(silence) == "<Silence 64000 bytes, 2 pauses>"


def test_frames_of_fractional_milliseconds_do_not_accumulate_an_error() -> None:
    audio_format = AudioFormat("pcm", 11_025)
    frame_bytes = audio_format.frame_bytes()
    silence = Silence(audio_format)
    for _ in range(36_000):
        silence.put(1_000, frame_bytes)
    hour_ms = audio_format.to_ms(36_000 * frame_bytes)
    assert hour_ms == 3_598_367, "each frame lacks some samples"
    assert silence.left_out(1_000 + hour_ms + 500) == 1_500


def test_old_pauses_are_dropped_but_their_silence_still_counts() -> None:
    silence = Silence(PCM16K)
    for second in range(3_000):
        silence.put(second * 1_000, 32_000)
    assert silence.left_out(2_999_000 + 3_000_000) == 2_999_000
    assert silence.left_out(10) == 10 - 2_000_000, "inexact, but no result is so late"
