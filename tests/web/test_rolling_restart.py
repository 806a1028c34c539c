"""A restart of one of two processes behind a load balancer, while streams run: no word is lost or there twice."""

from __future__ import annotations

import pytest

from asr_async.emulator import Scripted, position_audio, position_of, serve
from restart import restart
from speaker import Speaker

SCRIPT = [(f"this is sentence number {number}", 1_200 * number, 1_200 * number + 1_000) for number in range(10)]
AUDIO = position_audio(0, 12_000)


async def test_no_word_is_lost_when_one_of_two_processes_is_restarted(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], no_proxy_for_loopback: None
) -> None:
    speakers = [Speaker(AUDIO, speed=4) for _ in range(4)]
    async with serve(Scripted(SCRIPT, position=position_of)) as emulator:
        monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-of-this-test")
        monkeypatch.setenv("DASHSCOPE_WEBSOCKET_BASE_URL", emulator.dashscope_url)
        await restart(speakers, after_s=1)
    assert [speaker.texts for speaker in speakers] == 4 * [[text for text, _, _ in SCRIPT]]
    assert sum(speaker.connections for speaker in speakers) == 6
    assert "hands over: <Handover not begun, 2 captions here>" in capfd.readouterr().out
