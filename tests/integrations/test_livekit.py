"""The adapter of LiveKit Agents: the framework's own streams and sessions over the emulator, without a room."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from livekit import rtc
from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError, stt
from livekit.agents.metrics import STTMetrics

from asr_async import Paraformer, QwenRealtime, Rasr, Timeouts
from asr_async.emulator.faults import Close, Cut, HalfOpen, MuteFinish, Refuse
from asr_async.integrations.livekit import STT

from ..support.streaming import emulator_service
from ..support.virtual_time import now, run_virtual
from .agent_audio import LENGTH_MS, SENTENCES, emulator, frames, words

if TYPE_CHECKING:
    from asr_async.emulator.faults import Fault
    from asr_async.vendors.options import Options

Kind = stt.SpeechEventType

MODELS: dict[str, Options] = {
    "paraformer": Paraformer(),
    "qwen realtime": QwenRealtime(),
    "rasr": Rasr(need_word_info=True),
}
TIMEOUTS = Timeouts(connect=3, start=3, idle=3, finish=4, close=1)


def frame_of(samples: bytes, rate: int = 16_000, channels: int = 1) -> rtc.AudioFrame:
    return rtc.AudioFrame(samples, rate, channels, len(samples) // 2 // channels)


class Heard:
    """The outcome of one stream."""

    def __init__(self) -> None:
        self.events: list[stt.SpeechEvent] = []
        self.errors: list[stt.STTError] = []
        self.metrics: list[STTMetrics] = []
        self.error: Exception | None = None
        self.ended_at = 0.0

    def of(self, kind: stt.SpeechEventType) -> list[stt.SpeechEvent]:
        return [event for event in self.events if event.type is kind]

    @property
    def finals(self) -> list[str]:
        return [event.alternatives[0].text for event in self.of(Kind.FINAL_TRANSCRIPT)]

    @property
    def speech(self) -> list[str]:
        """The order of starts, finals and ends."""
        order = {Kind.START_OF_SPEECH: "start", Kind.FINAL_TRANSCRIPT: "final", Kind.END_OF_SPEECH: "end"}
        return [order[event.type] for event in self.events if event.type in order]


async def push(stream: stt.RecognizeStream, rate: int = 16_000) -> None:
    async for samples in frames(rate=rate):
        stream.push_frame(frame_of(samples, rate))
    stream.end_input()


async def recognise(adapter: stt.STT[Any], *, rate: int = 16_000) -> Heard:
    """Return what a stream of the framework gives for the conversation."""
    heard = Heard()
    adapter.on("error", heard.errors.append)
    adapter.on("metrics_collected", heard.metrics.append)
    async with adapter.stream() as stream:
        pushing = asyncio.create_task(push(stream, rate))
        try:
            async for event in stream:
                heard.events.append(event)
        except Exception as error:  # noqa: BLE001 - what the stream raises is part of its outcome
            heard.error = error
        heard.ended_at = now()
        pushing.cancel()
        await asyncio.wait([pushing])
        if not pushing.cancelled() and heard.error is None:
            pushing.result()
    return heard


def heard_with(options: Options, *faults: Fault, rate: int = 16_000, follows_position: bool = True) -> Heard:
    async def scenario() -> Heard:
        async with emulator(*faults, follows_position=follows_position) as server:
            adapter = STT(options, emulator_service(server, options), timeouts=TIMEOUTS)
            async with adapter:
                return await recognise(adapter, rate=rate)

    return run_virtual(scenario)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_a_stream_has_finals_words_times_and_usage(options: Options) -> None:
    heard = heard_with(options)
    assert heard.error is None
    assert heard.errors == []
    assert words(heard.finals) == words(SENTENCES)
    assert heard.speech == ["start", "final", "end"] * 3
    assert heard.of(Kind.INTERIM_TRANSCRIPT)
    first = heard.of(Kind.FINAL_TRANSCRIPT)[0]
    assert first.request_id
    assert first.alternatives[0].start_time == pytest.approx(0.5, abs=0.2)
    assert first.alternatives[0].end_time == pytest.approx(1.6, abs=0.5)
    assert first.speech_end_time is not None
    if options.capabilities.words:
        timed = first.alternatives[0].words
        assert timed is not None
        assert words(timed) == ["good", "morning", "all"]
        assert timed[1].start_time == pytest.approx(0.87, abs=0.2)
    used_s = sum(event.recognition_usage.audio_duration for event in heard.events if event.recognition_usage)
    assert used_s == pytest.approx(LENGTH_MS / 1_000, abs=1.1)
    assert sum(each.audio_duration for each in heard.metrics) == pytest.approx(used_s)
    connections = [each for each in heard.metrics if not each.audio_duration]
    assert [each.connection_reused for each in connections] == [False]


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(
    "fault",
    [
        Cut(after_audio_ms=1_200, connection=1),
        Cut(after_audio_ms=3_000, connection=1),
        Close(code=1011, after_audio_ms=3_000, connection=1),
        HalfOpen(after_audio_ms=3_000, connection=1),
    ],
    ids=["cut at 1.2 s", "cut at 3 s", "close 1011", "half-open"],
)
def test_a_lost_connection_loses_no_word(options: Options, fault: Fault) -> None:
    heard = heard_with(options, fault)
    assert heard.error is None
    assert words(heard.finals) == words(SENTENCES)
    assert heard.speech == ["start", "final", "end"] * 3
    (reported,) = heard.errors
    assert reported.recoverable
    assert str(reported.error).startswith("the connection was lost and replaced, without loss of audio: ")
    assert len([each for each in heard.metrics if not each.audio_duration]) == 2


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_audio_at_48_khz_is_resampled(options: Options) -> None:
    heard = heard_with(options, rate=48_000, follows_position=False)
    assert words(heard.finals) == words(SENTENCES)
    assert heard.of(Kind.FINAL_TRANSCRIPT)[1].alternatives[0].start_time == pytest.approx(2.6, abs=0.2)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_an_end_that_is_never_confirmed_is_a_final_error(options: Options) -> None:
    heard = heard_with(options, MuteFinish())
    assert words(heard.finals)[:6] == words(SENTENCES)[:6]
    assert isinstance(heard.error, APITimeoutError)
    assert not heard.error.retryable
    assert "did not confirm the end within 4 s" in str(heard.error)
    (reported,) = heard.errors
    assert not reported.recoverable
    assert heard.ended_at == pytest.approx(LENGTH_MS / 1_000 + 4, abs=0.5)
    assert heard.speech.count("start") == heard.speech.count("end")


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_a_handshake_that_is_refused_for_good_is_not_retried(options: Options) -> None:
    heard = heard_with(options, Refuse(status=401))
    assert isinstance(heard.error, APIStatusError)
    assert heard.error.status_code == 401
    assert [error.recoverable for error in heard.errors] == [False]


def test_a_handshake_that_is_refused_for_a_while_is_retried_with_all_of_the_audio() -> None:
    heard = heard_with(Paraformer(), Refuse(status=503, times=2))
    assert heard.error is None
    assert words(heard.finals) == words(SENTENCES)
    assert [error.recoverable for error in heard.errors] == [True, True]
    assert isinstance(heard.errors[0].error, APIError)
    assert heard.errors[0].error.retryable


def test_an_error_behind_the_first_audio_is_not_retried() -> None:
    heard = heard_with(Paraformer(), Cut(after_audio_ms=1_200), Refuse(status=503, every=2))
    assert isinstance(heard.error, APIConnectionError | APIStatusError)
    assert not heard.error.retryable
    assert [error.recoverable for error in heard.errors][-1:] == [False]
    assert heard.speech.count("start") == heard.speech.count("end")
