"""Position audio: any part of it contains its place in the source."""

from __future__ import annotations

import pytest

from asr_async.emulator import position_audio, position_of


@pytest.mark.parametrize("first", [0, 1, 2, 3, 4, 5, 6, 7, 160_000, 5 * 3_600 * 16_000 + 3])
def test_any_seven_samples_contain_their_position(first: int) -> None:
    start_ms = first // 16
    audio = position_audio(start_ms, start_ms + 5)
    skipped = first % 16
    assert position_of(audio[2 * skipped :][:14]) == first


def test_position_audio_has_its_exact_length_and_continues_seamlessly() -> None:
    whole = position_audio(0, 1_000, 11_025)
    assert len(whole) == 22_050
    assert position_audio(0, 333, 11_025) + position_audio(333, 1_000, 11_025) == whole


@pytest.mark.parametrize("samples", [b"", bytes(3_200), b"\xff\xff" * 100, position_audio(0, 1)[2:12]])
def test_samples_without_a_position_yield_none(samples: bytes) -> None:
    assert position_of(samples) is None
