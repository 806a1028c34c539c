"""Recordings of every kind through whole sessions: passed through where the model takes them, else decoded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from asr_async import (
    AudioLostError,
    Client,
    DashScope,
    Fallback,
    Huawei,
    Paraformer,
    Rasr,
    connect,
    read_audio,
    transcribe,
)
from asr_async.emulator import Scripted, serve

from ..support.encoders import ENCODINGS, encode
from ..support.paths import RECORDINGS
from ..support.wav_files import write_wav
from .wav_bytes import chunk, fmt, riff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asr_async.emulator import Emulator

SPEECH = RECORDINGS / "office.wav"
SCRIPT = Scripted([("good morning", 500, 1_500), ("call the office", 2_500, 3_800)])
WORDS = "good morning call the office"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with serve(engine=SCRIPT) as running:
        yield running


def service(emulator: Emulator) -> DashScope:
    return DashScope("key", endpoint=emulator.dashscope_url)


PASSED = {"mp3": "mp3", "aac": "aac", "opus": "opus", "spx": "speex", "amr": "amr"}


@pytest.mark.parametrize("name", ENCODINGS)
async def test_every_kind_of_file_is_transcribed_and_what_is_done_is_logged(
    name: str, tmp_path: Path, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    path = encode(SPEECH, tmp_path / f"speech.{name}", *ENCODINGS[name])
    with caplog.at_level(logging.INFO, "asr_async"):
        transcript = await transcribe(path, Paraformer(), service(emulator))
    assert transcript.text == WORDS
    assert transcript.duration_ms == pytest.approx(4_385, abs=150)
    done = f"passed through as {PASSED[name]}" if name in PASSED else None
    assert any(f"{path}: " in record.getMessage() for record in caplog.records)
    assert done is None or any(record.getMessage().endswith(done) for record in caplog.records)
    decoded = await transcribe(path, Paraformer(format="pcm", sample_rate=16_000), service(emulator))
    assert decoded.text == WORDS


async def test_eight_kilohertz_stay_eight_kilohertz_where_the_model_takes_them(
    tmp_path: Path, emulator: Emulator
) -> None:
    path = write_wav(tmp_path / "call.wav", 4, rate=8_000)
    huawei = Huawei(ak="a", sk="s", project_id="p", region="r", endpoint=emulator.huawei_url)
    async with Client(service(emulator)) as client:
        for options in (Paraformer(), Paraformer(model="paraformer-realtime-8k-v2")):
            transcript = await client.transcribe(path, options)
            assert (transcript.text, transcript.duration_ms) == (WORDS, 4_000)
    assert (await transcribe(path, Rasr(), huawei)).duration_ms == 4_000


async def test_in_an_open_session_a_recording_is_given_the_rate_of_the_session(
    tmp_path: Path, emulator: Emulator
) -> None:
    path = write_wav(tmp_path / "call.wav", 4, rate=8_000)
    source = read_audio(path)
    async with connect(Paraformer(), service(emulator)) as session:
        texts = [result.text async for result in session.stream(source, pace=None) if result.is_final]
    assert texts == ["good morning", "call the office"]
    assert source.treatment == "16-bit WAV, 8000 Hz, mono: resampled to 16000 Hz"
    async with connect(await source.fit(Paraformer()), service(emulator)) as session:
        texts = [result.text async for result in session.stream(source, pace=None) if result.is_final]
    assert texts == ["good morning", "call the office"]
    assert source.treatment == "16-bit WAV, 8000 Hz, mono: sent as it is"


async def test_a_fallback_is_given_what_its_members_declare(tmp_path: Path, emulator: Emulator) -> None:
    path = write_wav(tmp_path / "call.wav", 4, rate=8_000)
    fallback = Fallback([(service(emulator), Paraformer()), (service(emulator), Paraformer())])
    assert (await transcribe(path, fallback.options, fallback)).text == WORDS


async def test_an_open_file_is_transcribed(tmp_path: Path, emulator: Emulator) -> None:
    with write_wav(tmp_path / "a.wav", 4).open("rb") as file:
        assert (await transcribe(file, Paraformer(), service(emulator))).text == WORDS


async def test_a_file_that_is_cut_off_keeps_what_was_recognised(tmp_path: Path, emulator: Emulator) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(riff(fmt(), chunk(b"data", bytes(2 * 32_000), size=10 * 32_000)))
    with pytest.raises(AudioLostError, match=r"ends after 2.0 s, but its header declares 10.0 s") as caught:
        await transcribe(path, Paraformer(), service(emulator))
    assert caught.value.transcript is not None
    assert caught.value.transcript.text == "good morning"
    assert caught.value.request_id is None, "the vendor has no part in it"
