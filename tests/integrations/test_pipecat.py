"""The adapter of Pipecat: whole pipelines, with the framework's VAD, aggregators and metrics, over the emulator."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams
from pipecat.frames.frames import (
    EagerTranscriptionFrame,
    EndFrame,
    ErrorFrame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    InterruptionFrame,
    LLMContextAssistantTurnFrame,
    LLMContextUserTurnFrame,
    MetricsFrame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    STTMetadataFrame,
    STTUpdateSettingsFrame,
    TranscriptionFrame,
    TranslationFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.metrics.metrics import STTUsageMetricsData, TTFBMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.settings import STTSettings
from pipecat.transcriptions.language import Language
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies
from pipecat.utils.errors import ErrorCategory
from pipecat.workers.runner import WorkerRunner

from asr_async import (
    ConfigurationError,
    Fallback,
    FunASR,
    Gummy,
    GummyChat,
    OpenAIRealtime,
    Paraformer,
    QwenRealtime,
    Rasr,
    Retry,
    Timeouts,
    VLLMRealtime,
)
from asr_async.emulator import Scripted, position_of, serve
from asr_async.emulator.faults import Cut, MuteFinish, Refuse
from asr_async.integrations.pipecat import AsrAsyncSTTService, AsrAsyncSTTSettings

from ..support.streaming import emulator_service
from ..support.virtual_time import run_virtual
from .agent_audio import FRAME_MS, LENGTH_MS, SCRIPT, SENTENCES, emulator, frames, words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from pipecat.frames.frames import Frame

    from asr_async.emulator.faults import Fault
    from asr_async.vendors.options import Options

MODELS: dict[str, Options] = {
    "paraformer": Paraformer(),
    "qwen realtime": QwenRealtime(),
    "qwen realtime with commits": QwenRealtime(manual_commit=True),
    "rasr": Rasr(),
    "openai": OpenAIRealtime(),
    "vllm": VLLMRealtime(),
}
PAUSE_MS = 350
"""The end of a segment of the script, in which the last word has been said: the silence that a vendor waits for."""

TIMEOUTS = Timeouts(connect=3, start=3, idle=3, finish=4, close=1)


class ScriptVAD(VADAnalyzer):
    """A detector that knows where the script has speech, by the position that the audio encodes.

    It finds the end before the vendor does, which waits for a longer silence.
    """

    def __init__(self) -> None:
        super().__init__(params=VADParams(confidence=0.5, start_secs=0.1, stop_secs=0.2, min_volume=0.0))

    def num_frames_required(self) -> int:
        return 512

    def voice_confidence(self, buffer: bytes) -> float:
        position = position_of(buffer)
        at_ms = -1 if position is None else position * 1_000 // self.sample_rate
        return float(any(start <= at_ms < end - PAUSE_MS for _, start, end in SCRIPT))


class Sink(FrameProcessor):
    """A place in the pipeline that keeps the frames of one direction."""

    def __init__(self, frames: list[Frame], direction: FrameDirection) -> None:
        super().__init__()
        self._frames = frames
        self._direction = direction

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction is self._direction:
            self._frames.append(frame)
        await self.push_frame(frame, direction)


class Heard:
    """What came out of a pipeline."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.upstream: list[Frame] = []

    def of(self, *kinds: type[Any]) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kinds)]

    @property
    def finals(self) -> list[str]:
        return [frame.text for frame in self.of(TranscriptionFrame)]

    @property
    def errors(self) -> list[ErrorFrame]:
        """The error frames, which travel upstream."""
        return [frame for frame in self.upstream if isinstance(frame, ErrorFrame)]

    def metrics(self, kind: type[Any]) -> list[Any]:
        all_data = [data for frame in self.of(MetricsFrame) for data in frame.data]
        return [data for data in all_data if isinstance(data, kind) and data.model]  # without the framework's first


async def run_pipeline(
    service: AsrAsyncSTTService,
    *,
    rate: int = 16_000,
    beside: Callable[[int, PipelineWorker], Awaitable[None]] | None = None,
    behind: Sequence[FrameProcessor] = (),
) -> Heard:
    """Run the conversation through a pipeline with a VAD, in real time; call something at each position."""
    heard = Heard()
    before = Sink(heard.upstream, FrameDirection.UPSTREAM)
    after = Sink(heard.frames, FrameDirection.DOWNSTREAM)
    pipeline = Pipeline([VADProcessor(vad_analyzer=ScriptVAD()), before, service, after, *behind])
    params = PipelineParams(enable_metrics=True, enable_usage_metrics=True, audio_in_sample_rate=rate)
    worker = PipelineWorker(pipeline, params=params, cancel_on_idle_timeout=False, enable_rtvi=False)
    started = asyncio.Event()

    worker.add_event_handler("on_pipeline_started", lambda *_: started.set())

    async def speak() -> None:
        await started.wait()
        at_ms = 0
        async for samples in frames(rate=rate):
            await worker.queue_frame(InputAudioRawFrame(samples, rate, 1))
            at_ms += len(samples) * 500 // rate
            if beside is not None:
                await beside(at_ms, worker)
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await asyncio.gather(runner.run(), speak())
    return heard


def heard_with(options: Options, *faults: Fault, **arguments: Any) -> Heard:
    async def scenario() -> Heard:
        async with emulator(*faults) as server:
            service = AsrAsyncSTTService(options, emulator_service(server, options), timeouts=TIMEOUTS, **arguments)
            return await run_pipeline(service, rate=options.audio.sample_rate)

    return run_virtual(scenario)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_a_pipeline_with_a_vad_has_turns_with_final_texts_and_metrics(options: Options) -> None:
    heard = heard_with(options)
    assert words(heard.finals) == words(SENTENCES)
    assert len(heard.of(VADUserStoppedSpeakingFrame)) == 3
    finals = heard.of(TranscriptionFrame)
    assert [frame.finalized for frame in finals] == [True] * len(finals)
    assert heard.errors == []
    assert len(heard.metrics(TTFBMetricsData)) == 3
    used_s = sum(data.value.audio_seconds for data in heard.metrics(STTUsageMetricsData))
    assert used_s == pytest.approx(LENGTH_MS / 1_000, abs=2.1)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_a_cut_loses_no_word(options: Options) -> None:
    heard = heard_with(options, Cut(after_audio_ms=3_000, connection=1))
    assert words(heard.finals) == words(SENTENCES)
    assert heard.errors == []


def test_an_interruption_loses_no_word() -> None:
    async def interrupt(at_ms: int, worker: PipelineWorker) -> None:
        if at_ms in {1_200, 3_000}:
            await worker.queue_frame(InterruptionFrame())

    async def scenario() -> Heard:
        async with emulator() as server:
            service = AsrAsyncSTTService(Paraformer(), emulator_service(server, Paraformer()), timeouts=TIMEOUTS)
            return await run_pipeline(service, beside=interrupt)

    heard = run_virtual(scenario)
    assert len(heard.of(InterruptionFrame)) == 2
    assert words(heard.finals) == words(SENTENCES)
    assert heard.of(InterimTranscriptionFrame)


# --- turns of the vendor ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [MODELS["paraformer"], MODELS["qwen realtime"], MODELS["rasr"]], ids=lambda o: o.model
)
def test_the_vendor_proposes_each_turn_once(options: Options) -> None:
    heard = heard_with(options, Cut(after_audio_ms=3_000, connection=1), turns=True)
    turns = heard.of(ProposedUserStartedSpeakingFrame, TranscriptionFrame, ProposedUserStoppedSpeakingFrame)
    kinds = [type(frame) for frame in turns]
    assert kinds == [ProposedUserStartedSpeakingFrame, TranscriptionFrame, ProposedUserStoppedSpeakingFrame] * 3
    assert words(heard.finals) == words(SENTENCES)
    assert all(frame.finalized for frame in heard.of(TranscriptionFrame))
    (metadata,) = heard.of(STTMetadataFrame)
    assert isinstance(metadata.user_turn_strategies, ExternalUserTurnStrategies)
    assert metadata.ttfs_p99_latency == 0


def test_a_predicted_end_of_the_turn_is_answered_early() -> None:
    heard = heard_with(QwenRealtime(), turns=True, enable_eager_end_of_turn=True)
    eager = heard.of(EagerTranscriptionFrame)
    assert eager
    assert words([eager[0].text])[:2] == words(SENTENCES)[:2]


def test_a_whole_conversation_reaches_the_context_of_the_llm() -> None:
    async def scenario() -> list[str]:
        async with emulator(Cut(after_audio_ms=3_000, connection=1)) as server:
            service = AsrAsyncSTTService(
                Paraformer(), emulator_service(server, Paraformer()), timeouts=TIMEOUTS, turns=True
            )
            context = LLMContext()
            await run_pipeline(service, behind=[LLMContextAggregatorPair(context).user()])
            return [str(message["content"]) for message in context.get_messages() if isinstance(message, dict)]

    turns = run_virtual(scenario)
    assert words(turns) == words(SENTENCES)


# --- a session that fails --------------------------------------------------------------------------------------------


def test_a_failed_session_does_not_hold_the_pipeline_up() -> None:
    async def scenario() -> tuple[Heard, AsrAsyncSTTService, list[str]]:
        events: list[str] = []
        async with emulator(Refuse(status=401)) as server:
            service = AsrAsyncSTTService(Paraformer(), emulator_service(server, Paraformer()), timeouts=TIMEOUTS)
            for name in ("on_connected", "on_disconnected", "on_connection_error"):
                service.add_event_handler(name, lambda *_, name=name: events.append(name))
            return await run_pipeline(service), service, events

    heard, service, events = run_virtual(scenario)
    assert len(heard.of(InputAudioRawFrame)) == LENGTH_MS // FRAME_MS
    assert service.dropped_ms == LENGTH_MS
    assert not service.is_usable
    (error,) = heard.errors
    assert error.category is ErrorCategory.AUTHENTICATION
    assert "the handshake was refused with HTTP 401" in error.error
    assert events == ["on_connection_error", "on_disconnected"]


def test_after_an_error_that_may_pass_the_next_speech_begins_another_session() -> None:
    async def scenario() -> tuple[Heard, AsrAsyncSTTService]:
        async with emulator(Cut(after_audio_ms=1_200, connection=1), Refuse(status=503, connection=2)) as server:
            service = AsrAsyncSTTService(
                Paraformer(),
                emulator_service(server, Paraformer()),
                timeouts=TIMEOUTS,
                retry=Retry(attempts=1, max_delay_s=0.1),
            )
            return await run_pipeline(service), service

    heard, service = run_virtual(scenario)
    assert words(heard.finals)[-6:] == words(SENTENCES)[-6:]
    assert heard.errors[0].category in {ErrorCategory.SERVER, ErrorCategory.CONNECTIVITY}
    assert service.is_usable
    assert 0 < service.dropped_ms < 1_000


def test_an_end_that_is_never_confirmed_does_not_hold_the_pipeline_up() -> None:
    heard = heard_with(Paraformer(), MuteFinish(), turns=True)
    assert words(heard.finals) == words(SENTENCES)
    (error,) = heard.errors
    assert "did not confirm the end within 4 s" in error.error
    assert error.category is ErrorCategory.CONNECTIVITY


def test_translations_are_frames_of_their_own() -> None:
    options = Gummy(source_language="en", translation_target_languages=["zh"])

    async def scenario() -> Heard:
        script = [{"text": "good morning", "start_ms": 500, "end_ms": 1_600, "translations": {"zh": "早上好"}}]
        async with serve(engine=Scripted(script)) as server:
            service = AsrAsyncSTTService(options, emulator_service(server, options), timeouts=TIMEOUTS, turns=True)
            return await run_pipeline(service)

    heard = run_virtual(scenario)
    (text,), (translation,) = heard.of(TranscriptionFrame), heard.of(TranslationFrame)
    assert words([text.text]) == ["good", "morning"]
    assert text.language is Language.EN
    assert (translation.text, translation.language) == ("早上好", Language.ZH)


def test_a_caller_who_says_nothing_is_no_error() -> None:
    async def scenario() -> Heard:
        async with serve(engine=Scripted([])) as server:
            service = AsrAsyncSTTService(Paraformer(), emulator_service(server, Paraformer()), timeouts=TIMEOUTS)
            return await run_pipeline(service)

    heard = run_virtual(scenario)
    assert heard.finals == []
    assert heard.errors == []


# --- changes ---------------------------------------------------------------------------------------------------------


def test_settings_change_at_the_end_of_the_turn_without_a_lost_word() -> None:
    async def change(at_ms: int, worker: PipelineWorker) -> None:
        if at_ms == 3_000:  # in the second sentence
            await worker.queue_frame(STTUpdateSettingsFrame(delta=STTSettings(language="zh-CN")))
        if at_ms == 4_000:
            delta = AsrAsyncSTTSettings(options=FunASR())
            await worker.queue_frame(STTUpdateSettingsFrame(delta=delta))

    async def scenario() -> tuple[Heard, AsrAsyncSTTService]:
        async with emulator() as server:
            service = AsrAsyncSTTService(Paraformer(), emulator_service(server, Paraformer()), timeouts=TIMEOUTS)
            return await run_pipeline(service, beside=change), service

    heard, service = run_virtual(scenario)
    assert words(heard.finals) == words(SENTENCES)
    assert [frame.result.segment_id for frame in heard.of(TranscriptionFrame)] == [0, 1, 0]
    assert service.settings.model == "fun-asr-realtime"
    assert {data.model for data in heard.metrics(TTFBMetricsData)} == {"paraformer-realtime-v2", "fun-asr-realtime"}


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        (AsrAsyncSTTSettings(options=GummyChat()), "gummy-chat-v1 recognises one sentence in a session"),
        (AsrAsyncSTTSettings(options=Paraformer(sample_rate=8_000)), "keep the format and the rate"),
        (STTSettings(model="paraformer-realtime-v9000-8k"), "paraformer-realtime-v9000-8k"),
    ],
    ids=["one sentence", "another rate", "no such model"],
)
def test_settings_that_cannot_work_are_reported_and_not_used(delta: STTSettings, text: str) -> None:
    async def change(at_ms: int, worker: PipelineWorker) -> None:
        if at_ms == 2_000:
            await worker.queue_frame(STTUpdateSettingsFrame(delta=delta))

    async def scenario() -> tuple[Heard, AsrAsyncSTTService]:
        async with emulator() as server:
            service = AsrAsyncSTTService(Paraformer(), emulator_service(server, Paraformer()), timeouts=TIMEOUTS)
            return await run_pipeline(service, beside=change), service

    heard, service = run_virtual(scenario)
    assert words(heard.finals) == words(SENTENCES)
    assert text in heard.errors[0].error
    assert service.settings.model == "paraformer-realtime-v2"


def test_a_fallback_loses_no_word_and_keeps_its_options() -> None:
    async def change(at_ms: int, worker: PipelineWorker) -> None:
        if at_ms == 2_000:
            await worker.queue_frame(STTUpdateSettingsFrame(delta=STTSettings(language="en")))

    async def scenario() -> Heard:
        faults = Cut(after_audio_ms=3_000, connection=1), *(Refuse(status=503, connection=n) for n in range(2, 9))
        async with emulator(*faults) as down, emulator() as up:
            members = [(emulator_service(down, Paraformer()), Paraformer()), (emulator_service(up, Rasr()), Rasr())]
            fallback = Fallback(members)
            service = AsrAsyncSTTService(fallback.options, fallback, timeouts=TIMEOUTS, turns=True)
            return await run_pipeline(service, beside=change)

    heard = run_virtual(scenario)
    assert words(heard.finals) == words(SENTENCES)
    assert ["the options are those of the Fallback" in error.error for error in heard.errors] == [True]


def test_lost_audio_is_an_error_frame_and_the_stream_goes_on() -> None:
    retry = Retry(buffer_s=0.3, on_gap="continue")
    heard = heard_with(Paraformer(), Cut(after_audio_ms=1_200, connection=1), retry=retry, turns=True)
    assert words(heard.finals)[-6:] == words(SENTENCES)[-6:]
    (error,) = heard.errors
    assert "audio is lost from 0 to" in error.error


def test_turns_of_the_conversation_are_context(tmp_path: Path) -> None:
    async def talk(at_ms: int, worker: PipelineWorker) -> None:
        if at_ms == 2_000:
            await worker.queue_frame(LLMContextAssistantTurnFrame("Which Shakespeare play?", "2026-11-30T09:00:00Z"))
            await worker.queue_frame(LLMContextUserTurnFrame("Hamlet.", "2026-11-30T09:00:01Z"))

    async def scenario() -> None:
        async with emulator() as server:
            service = AsrAsyncSTTService(
                FunASR(), emulator_service(server, FunASR()), timeouts=TIMEOUTS, tape=tmp_path / "tape.jsonl"
            )
            await run_pipeline(service, beside=talk)

    run_virtual(scenario)
    tape = (tmp_path / "tape.jsonl").read_text(encoding="utf-8")
    assert "Which Shakespeare play?" in tape
    assert "Hamlet." in tape


def test_audio_at_48_khz_is_resampled() -> None:
    async def scenario() -> Heard:
        async with emulator(follows_position=False) as server:
            service = AsrAsyncSTTService(
                Paraformer(), emulator_service(server, Paraformer()), timeouts=TIMEOUTS, turns=True
            )
            return await run_pipeline(service, rate=48_000)

    heard = run_virtual(scenario)
    assert words(heard.finals) == words(SENTENCES)
    used_s = sum(data.value.audio_seconds for data in heard.metrics(STTUsageMetricsData))
    assert used_s == pytest.approx(LENGTH_MS / 1_000, abs=2.1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (Paraformer(format="mp3"), "the options declare mp3, but the audio of Pipecat is 16-bit samples: declare pcm"),
        (GummyChat(), "gummy-chat-v1 recognises one sentence in a session, and a pipeline needs more"),
    ],
    ids=["compressed", "one sentence"],
)
def test_options_that_cannot_follow_a_conversation_are_refused(options: Options, text: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(text)):
        AsrAsyncSTTService(options)


@pytest.mark.parametrize("options", [QwenRealtime(manual_commit=True), VLLMRealtime()], ids=lambda o: o.model)
def test_turns_of_the_vendor_need_a_vendor_that_ends_them(options: Options) -> None:
    text = f"{options.model} ends no utterances with these options: leave the turns to a VAD of the pipeline"
    with pytest.raises(ConfigurationError, match=re.escape(text)):
        AsrAsyncSTTService(options, turns=True)
