"""The adapter of LiveKit Agents: the framework's own streams and sessions over the emulator, without a room."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any, Literal

import pytest
from livekit import rtc
from livekit.agents import (
    Agent,
    AgentSession,
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    StopResponse,
    llm,
    stt,
)
from livekit.agents.job import _JobContextVar
from livekit.agents.metrics import STTMetrics
from livekit.agents.voice.events import ConversationItemAddedEvent
from livekit.agents.voice.io import AudioInput

from asr_async import (
    ConfigurationError,
    Fallback,
    FunASR,
    Gummy,
    GummyChat,
    OpenAIRealtime,
    Paraformer,
    Pool,
    QwenAudio,
    QwenRealtime,
    Rasr,
    Retry,
    Timeouts,
    VLLMRealtime,
)
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Close, Cut, HalfOpen, MuteFinish, Refuse
from asr_async.integrations.livekit import STT

from ..support.streaming import emulator_service
from ..support.virtual_time import now, run_virtual
from ..support.waiting import wait_until
from .agent_audio import LENGTH_MS, SENTENCES, emulator, frames, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asr_async.emulator.faults import Fault
    from asr_async.vendors.options import Options

Kind = stt.SpeechEventType

MODELS: dict[str, Options] = {
    "paraformer": Paraformer(),
    "qwen realtime": QwenRealtime(),
    "rasr": Rasr(need_word_info=True),
    "openai": OpenAIRealtime(),
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


def heard_with(
    options: Options,
    *faults: Fault,
    rate: int | None = None,
    follows_position: bool = True,
    retry: Retry | None = None,
) -> Heard:
    async def scenario() -> Heard:
        async with emulator(*faults, follows_position=follows_position) as server:
            adapter = STT(options, emulator_service(server, options), timeouts=TIMEOUTS, retry=retry)
            async with adapter:
                return await recognise(adapter, rate=rate or options.audio.sample_rate)

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
    assert str(reported.error).startswith("the connection was lost, and another one has replaced it: ")
    assert len([each for each in heard.metrics if not each.audio_duration]) == 2


def test_a_model_that_detects_no_utterances_has_one_final_with_every_word() -> None:
    heard = heard_with(VLLMRealtime(), Cut(after_audio_ms=3_000, connection=1))
    assert heard.error is None
    assert words(heard.finals) == words(SENTENCES)
    assert heard.speech == ["start", "final", "end"]


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


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_a_caller_who_says_nothing_is_no_error(options: Options) -> None:
    async def scenario() -> Heard:
        async with serve(engine=Scripted([])) as server:
            adapter = STT(options, emulator_service(server, options), timeouts=TIMEOUTS)
            async with adapter:
                return await recognise(adapter)

    heard = run_virtual(scenario)
    assert heard.error is None
    assert heard.errors == []
    assert heard.finals == []


# --- inside the framework --------------------------------------------------------------------------------------------


def test_the_framework_s_fallback_takes_another_stt_when_this_one_cannot_start() -> None:
    async def scenario() -> Heard:
        async with emulator(Refuse(status=401)) as down, emulator() as up:
            first = STT(Paraformer(), emulator_service(down, Paraformer()), timeouts=TIMEOUTS)
            second = STT(Rasr(), emulator_service(up, Rasr()), timeouts=TIMEOUTS)
            adapter = stt.FallbackAdapter([first, second])
            async with adapter, first, second:
                heard = await recognise(adapter)
                assert adapter.model == second.model
            return heard

    heard = run_virtual(scenario)
    assert heard.error is None
    assert words(heard.finals) == words(SENTENCES)


class Microphone(AudioInput):
    """The conversation, as the audio of a room."""

    def __init__(self) -> None:
        super().__init__(label="conversation")
        self._frames = frames()

    async def __anext__(self) -> rtc.AudioFrame:
        return frame_of(await anext(self._frames))


class Listener(Agent):
    """An agent that writes the turns of the user down, and never answers."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(instructions="", **arguments)
        self.turns: list[str] = []

    async def on_user_turn_completed(self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage) -> None:
        self.turns.append(new_message.text_content or "")
        raise StopResponse


class NoAnswer(llm.LLM[Any]):
    """A model that is never asked: the agent stops before."""

    def chat(self, **_: Any) -> llm.LLMStream:
        raise AssertionError("the agent does not answer")


async def turns_of(adapter: stt.STT[Any], **arguments: Any) -> tuple[list[str], list[STTMetrics], list[Any]]:
    """Return the turns of a session of an agent without a room, the metrics and the errors."""
    metrics: list[STTMetrics] = []
    errors: list[Any] = []
    adapter.on("metrics_collected", metrics.append)
    agent = Listener()
    session: AgentSession[None] = AgentSession(stt=adapter, llm=NoAnswer(), vad=None, **arguments)
    session.on("error", errors.append)
    session.input.audio = Microphone()
    await session.start(agent)
    await asyncio.sleep(LENGTH_MS / 1_000 + 3)
    await session.aclose()
    return agent.turns, metrics, errors


def test_an_agent_gets_the_turns_of_a_conversation_whose_connection_is_cut() -> None:
    async def scenario() -> tuple[list[str], list[STTMetrics], list[Any]]:
        async with emulator(Cut(after_audio_ms=3_000, connection=1)) as server:
            adapter = STT(Paraformer(), emulator_service(server, Paraformer()), timeouts=TIMEOUTS)
            async with adapter:
                return await turns_of(adapter, turn_handling={"turn_detection": "stt"})

    turns, metrics, errors = run_virtual(scenario)
    assert [words([turn]) for turn in turns] == [words([sentence]) for sentence in SENTENCES]
    assert len([each for each in metrics if each.audio_duration]) >= 3
    assert [event.error.recoverable for event in errors] == [True]


def test_a_turn_that_the_program_commits_is_final_at_once() -> None:
    async def scenario() -> str:
        async with emulator() as server:
            adapter = STT(Paraformer(), emulator_service(server, Paraformer()), timeouts=TIMEOUTS)
            async with adapter:
                session: AgentSession[None] = AgentSession(
                    stt=adapter, llm=NoAnswer(), vad=None, turn_handling={"turn_detection": "manual"}
                )
                session.input.audio = Microphone()
                await session.start(Listener())
                await asyncio.sleep(1.4)  # in the last word
                text = await session.commit_user_turn()
                await session.aclose()
        return text

    assert words([run_virtual(scenario)]) == words(SENTENCES[:1])


# --- flush, early ends, changes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [*MODELS.values(), QwenRealtime(manual_commit=True), VLLMRealtime()],
    ids=[*MODELS, "qwen realtime with commits", "vllm"],
)
def test_a_flush_makes_the_text_final_at_once(options: Options) -> None:
    async def scenario() -> tuple[Heard, list[float]]:
        finals_at: list[float] = []
        rate = options.audio.sample_rate
        async with emulator() as server:
            adapter = STT(options, emulator_service(server, options), timeouts=TIMEOUTS)
            assert adapter.capabilities.manual_flush
            heard = Heard()
            async with adapter, adapter.stream() as stream:

                async def speak() -> None:
                    async for samples in frames(end_ms=1_300, rate=rate):
                        stream.push_frame(frame_of(samples, rate))
                    stream.flush()
                    await asyncio.sleep(2)
                    async for samples in frames(start_ms=1_300, rate=rate):
                        stream.push_frame(frame_of(samples, rate))
                    stream.end_input()

                speaking = asyncio.create_task(speak())
                async for event in stream:
                    heard.events.append(event)
                    if event.type is Kind.FINAL_TRANSCRIPT:
                        finals_at.append(now())
                await speaking
            return heard, finals_at

    heard, finals_at = run_virtual(scenario)
    assert 1.2 < finals_at[0] < 3.3
    assert words(heard.finals) == words(SENTENCES)
    assert heard.speech.count("start") == heard.speech.count("end")


def test_a_predicted_end_of_speech_is_a_preflight_transcript() -> None:
    heard = heard_with(QwenRealtime())
    preflights = heard.of(Kind.PREFLIGHT_TRANSCRIPT)
    assert [event.alternatives[0].text for event in preflights]
    for event in preflights:
        later = heard.events[heard.events.index(event) :]
        final = next(each for each in later if each.type is Kind.FINAL_TRANSCRIPT)
        assert words([final.alternatives[0].text])[:1] == words([event.alternatives[0].text])[:1]


def test_frames_may_change_their_rate_and_have_two_channels() -> None:
    async def scenario() -> Heard:
        heard = Heard()
        async with emulator(follows_position=False) as server:
            adapter = STT(Paraformer(), emulator_service(server, Paraformer()), timeouts=TIMEOUTS)
            async with adapter, adapter.stream() as stream:

                async def speak() -> None:
                    for rate, start_ms, end_ms in [(16_000, 0, 2_000), (48_000, 2_000, 4_000), (8_000, 4_000, 5_000)]:
                        async for samples in frames(rate=rate, start_ms=start_ms, end_ms=end_ms):
                            stream.push_frame(frame_of(samples, rate))
                    async for samples in frames(start_ms=5_000):
                        stereo = b"".join(samples[at : at + 2] * 2 for at in range(0, len(samples), 2))
                        stream.push_frame(frame_of(stereo, channels=2))
                    stream.end_input()

                speaking = asyncio.create_task(speak())
                heard.events += [event async for event in stream]
                await speaking
        return heard

    heard = run_virtual(scenario)
    assert words(heard.finals) == words(SENTENCES)
    assert heard.of(Kind.FINAL_TRANSCRIPT)[2].alternatives[0].end_time == pytest.approx(5.2, abs=0.3)


def test_options_are_replaced_between_two_segments_without_a_lost_word() -> None:
    async def scenario() -> tuple[Heard, str]:
        heard = Heard()
        async with emulator() as server:
            adapter = STT(Paraformer(), emulator_service(server, Paraformer()), timeouts=TIMEOUTS)
            adapter.on("metrics_collected", heard.metrics.append)
            async with adapter, adapter.stream() as stream:
                pushing = asyncio.create_task(push(stream))
                async for event in stream:
                    heard.events.append(event)
                    if event.type is Kind.START_OF_SPEECH and len(heard.of(Kind.START_OF_SPEECH)) == 2:
                        adapter.update_options(FunASR(language_hints=["en"]))  # waits for the end of the segment
                await pushing
            return heard, adapter.model

    heard, model = run_virtual(scenario)
    assert model == "fun-asr-realtime"
    assert words(heard.finals) == words(SENTENCES)
    assert heard.speech == ["start", "final", "end"] * 3
    last = heard.of(Kind.FINAL_TRANSCRIPT)[2].alternatives[0]
    assert last.start_time == pytest.approx(4.2, abs=0.2)
    assert len([each for each in heard.metrics if not each.audio_duration]) == 2


async def messages_of(
    tape: Path, options: Options, use: Callable[[STT], None], *, during: bool = False
) -> list[dict[str, Any]]:
    """Return the messages that a stream sends, if something is done before it, or while it runs."""
    async with emulator() as server:
        adapter = STT(options, emulator_service(server, options), timeouts=TIMEOUTS, tape=tape)
        async with adapter:
            if not during:
                use(adapter)
            async with adapter.stream() as stream:
                pushing = asyncio.create_task(push(stream))
                async for event in stream:
                    if during and event.type is Kind.START_OF_SPEECH:
                        use(adapter)
                        during = False
                await pushing
    with tape.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [json.loads(line["text"]) for line in lines if line.get("direction") == "sent" and "text" in line]


def conversation_item(role: Literal["user", "assistant"], text: str) -> ConversationItemAddedEvent:
    return ConversationItemAddedEvent(item=llm.ChatMessage(role=role, content=[text]))


@pytest.mark.parametrize("during", [False, True], ids=["before the stream", "in the stream"])
def test_turns_of_the_conversation_are_context(tmp_path: Path, during: bool) -> None:
    def talk(adapter: STT) -> None:
        assert adapter.capabilities.chat_context
        adapter._push_conversation_item(conversation_item("assistant", "Which Shakespeare play?"))
        adapter._push_conversation_item(conversation_item("user", "Hamlet."))

    messages = run_virtual(lambda: messages_of(tmp_path / "tape.jsonl", FunASR(), talk, during=during))
    texts = json.dumps(messages)
    assert "Which Shakespeare play?" in texts
    assert "Hamlet." in texts


@pytest.mark.parametrize("during", [False, True], ids=["before the stream", "in the stream"])
def test_key_terms_of_the_agent_are_hot_words(tmp_path: Path, during: bool, caplog: pytest.LogCaptureFixture) -> None:
    def name_terms(adapter: STT) -> None:
        assert adapter.capabilities.keyterms
        adapter._update_session_keyterms(["LiveKit", "一二三四五六七八九十一二三四五六七"])

    options = QwenAudio(vocabulary={"Huawei": 5})
    messages = run_virtual(lambda: messages_of(tmp_path / "tape.jsonl", options, name_terms, during=during))
    starts = [message["payload"]["parameters"] for message in messages if message["header"]["action"] == "run-task"]
    assert len(starts) == 1 + during
    assert starts[-1]["vocabulary"] == {"Huawei": 5, "LiveKit": 4}
    assert "a key term is not used: vocabulary: '一二三四五六七八九十一二三四五六七' has 17 characters" in caplog.text


# --- other ways to use it --------------------------------------------------------------------------------------------


def test_a_fallback_loses_no_word_when_its_first_service_goes_down() -> None:
    async def scenario() -> tuple[Heard, STT]:
        faults = Cut(after_audio_ms=3_000, connection=1), *(Refuse(status=503, connection=n) for n in range(2, 9))
        async with emulator(*faults) as down, emulator() as up:
            options = Rasr(need_word_info=True)
            fallback = Fallback(
                [(emulator_service(down, Paraformer()), Paraformer()), (emulator_service(up, options), options)]
            )
            adapter = STT.with_fallback(fallback, timeouts=TIMEOUTS)
            async with adapter:
                return await recognise(adapter), adapter

    heard, adapter = run_virtual(scenario)
    assert heard.error is None
    assert words(heard.finals) == words(SENTENCES)
    with pytest.raises(ConfigurationError, match=re.escape("update_options(): the options are those of the Fallback")):
        adapter.update_options(Paraformer())


@pytest.mark.parametrize("options", [Paraformer(), GummyChat()], ids=["a stream", "one sentence"])
def test_a_whole_recording_is_recognised(options: Options) -> None:
    async def scenario() -> stt.SpeechEvent:
        async with emulator(follows_position=False) as server:
            adapter = STT(options, emulator_service(server, options), timeouts=TIMEOUTS)
            async with adapter:
                recording = [frame_of(samples, 48_000) async for samples in frames(rate=48_000, end_ms=2_500)]
                return await adapter.recognize(recording)

    event = run_virtual(scenario)
    assert event.type is Kind.FINAL_TRANSCRIPT
    assert words([event.alternatives[0].text]) == words(SENTENCES[:1])


def test_prewarm_opens_a_connection_that_the_stream_takes() -> None:
    async def scenario() -> Heard:
        async with emulator() as server:
            adapter = STT(Paraformer(), emulator_service(server, Paraformer()), timeouts=TIMEOUTS, pool=Pool(warm=1))
            async with adapter:
                adapter.prewarm()
                await asyncio.sleep(1)
                return await recognise(adapter)

    heard = run_virtual(scenario)
    assert [each.connection_reused for each in heard.metrics if not each.audio_duration] == [True]


async def test_an_stt_is_closed_with_its_job() -> None:
    callbacks: list[Any] = []

    class Job:
        def add_shutdown_callback(self, callback: Any) -> None:
            callbacks.append(callback)

    async with emulator() as server:
        adapter = STT(Paraformer(), emulator_service(server, Paraformer()))
        token = _JobContextVar.set(Job())  # type: ignore[arg-type]
        try:
            stream = adapter.stream()
            await wait_until(lambda: callbacks)
            adapter.prewarm()
        finally:
            _JobContextVar.reset(token)
        (close,) = callbacks
        await close()
        assert [event async for event in stream] == []


def test_translations_are_beside_the_text_or_in_place_of_it() -> None:
    def speech_data(options: Options) -> stt.SpeechData:
        async def scenario() -> Heard:
            script = [{"text": "good morning", "start_ms": 500, "end_ms": 1_600, "translations": {"zh": "早上好"}}]
            async with serve(engine=Scripted(script)) as server:
                adapter = STT(options, emulator_service(server, options), timeouts=TIMEOUTS)
                async with adapter:
                    return await recognise(adapter)

        return run_virtual(scenario).of(Kind.FINAL_TRANSCRIPT)[0].alternatives[0]

    both = speech_data(Gummy(source_language="en", translation_target_languages=["zh"]))
    assert (both.language, both.target_languages) == ("en", ["zh"])
    assert words([both.text]) == ["good", "morning"]
    assert both.target_texts == ["早上好"]
    alone = speech_data(Gummy(transcription_enabled=False, translation_target_languages=["zh"]))
    assert (alone.language, alone.text, alone.target_texts) == ("zh", "早上好", None)


def test_lost_audio_is_a_gap_beside_the_next_final() -> None:
    heard = heard_with(
        Paraformer(), Cut(after_audio_ms=1_200, connection=1), retry=Retry(buffer_s=0.3, on_gap="continue")
    )
    assert heard.error is None
    (gap,) = [event for event in heard.errors if str(event.error).startswith("audio is lost from 0 to ")]
    assert gap.recoverable
    metadata = heard.of(Kind.FINAL_TRANSCRIPT)[0].alternatives[0].metadata
    assert metadata is not None
    assert metadata["gaps"][0]["start_ms"] == 0


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (lambda: STT(Paraformer(format="mp3")), "the options declare mp3, but the audio of LiveKit is 16-bit samples"),
        (lambda: STT(GummyChat()).stream(), "stream(): gummy-chat-v1 recognises one sentence in a session"),
        (
            lambda: STT(Rasr()).stream(language="fr"),
            "language='fr': the options of huawei/continue have no field for it",
        ),
        (lambda: STT(Paraformer()).update_options(Paraformer(sample_rate=8_000)), "keep the format and the rate"),
    ],
    ids=["compressed", "one sentence", "no language", "another rate"],
)
async def test_what_cannot_work_is_refused_at_once(attempt: Callable[[], object], text: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(text)):
        attempt()
