"""Sessions with a translation, one sentence, or a context, with the emulator and a script."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    Client,
    ConfigurationError,
    ConnectionLostError,
    ContextMessage,
    Event,
    FunASR,
    Gummy,
    GummyChat,
    Local,
    LocalProtocolError,
    Paraformer,
    QwenAudio,
    Reconnected,
    Result,
    SpeechEnded,
    SpeechEnding,
    Timeouts,
    TranslationArrived,
    TranslationLost,
    VendorError,
    connect,
    transcribe,
)
from asr_async.emulator import Request, Scripted
from asr_async.vendors.dashscope import DashScope

from ...support.virtual_time import now, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from websockets.asyncio.server import ServerConnection

    from asr_async.emulator.engines.engine import Emit
    from asr_async.vendors.options import Options

pytestmark = pytest.mark.both_loops

SECOND = bytes(32_000)
SCRIPT: list[dict[str, Any]] = [
    {
        "text": "你好世界。",
        "start_ms": 100,
        "end_ms": 900,
        "translations": {"en": "Hello big world.", "ja": "こんにちは"},
    },
    {"text": "再见。", "start_ms": 1_200, "end_ms": 1_900, "translations": {"en": "Good bye."}},
]
TO_ENGLISH = Gummy(source_language="zh", translation_target_languages=["en"])
CONTEXT = [ContextMessage("user", "阿里云")]


def local(script: Iterable[Any] = SCRIPT) -> Local:
    return Local(engine=Scripted(script))


async def events_of(options: Options, service: Any = None, audio: Any = (SECOND, SECOND)) -> list[Event]:
    async with connect(options, service or local()) as session:
        return [event async for event in session.events(audio, pace=None)]


def results(events: Iterable[Event], *, final: bool) -> list[tuple[str, dict[str, str]]]:
    """Return texts with their translations."""
    return [
        (event.text, {language: translation.text for language, translation in event.translations.items()})
        for event in events
        if isinstance(event, Result) and event.is_final == final
    ]


# --- with the emulator -----------------------------------------------------------------------------------------------


async def test_finals_carry_their_final_translations() -> None:
    events = await events_of(TO_ENGLISH)
    assert results(events, final=True) == [
        ("你好世界。", {"en": "Hello big world."}),
        ("再见。", {"en": "Good bye."}),
    ]
    finals = [event for event in events if isinstance(event, Result) and event.is_final]
    assert all(final.translations["en"].is_final for final in finals)
    assert [events[events.index(final) + 1] for final in finals] == [
        SpeechEnded(segment_id=0, end_ms=900),
        SpeechEnded(segment_id=1, end_ms=1_900),
    ]


def test_interims_show_a_translation_that_lags_behind() -> None:
    async def scenario() -> list[Event]:
        async with connect(TO_ENGLISH, local()) as session:
            return [event async for event in session.events([SECOND])]

    interims = results(run_virtual(scenario), final=False)
    # the newest interim after each 200 ms of audio; those in between may be conflated
    standing = [("你", {}), ("你好", {"en": "Hello"}), ("你好世", {"en": "Hello big"})]
    assert [interim for interim in interims if interim in standing] == standing


async def test_without_a_target_language_no_text_is_translated() -> None:
    assert results(await events_of(Gummy()), final=True) == [("你好世界。", {}), ("再见。", {})]


async def test_a_translation_alone_leaves_the_text_empty() -> None:
    options = Gummy(transcription_enabled=False, translation_target_languages=["en"])
    assert results(await events_of(options), final=True) == [
        ("", {"en": "Hello big world."}),
        ("", {"en": "Good bye."}),
    ]


async def test_words_that_will_not_change_any_more_say_so() -> None:
    async with connect(Gummy(), local()) as session:
        async for result in session.stream([SECOND]):
            fixed = [word.is_fixed for word in result.words]
            assert fixed == [True] * (len(fixed) - 1) + [result.is_final]
    events = await events_of(Paraformer())
    assert {word.is_fixed for event in events if isinstance(event, Result) for word in event.words} == {None}


async def test_a_transcript_holds_the_translations() -> None:
    transcript = await transcribe([SECOND, SECOND], TO_ENGLISH, local())
    assert [result.translations["en"].text for result in transcript.results] == ["Hello big world.", "Good bye."]
    assert transcript.usage_seconds == 2


def test_a_missing_translation_holds_its_final_until_the_timeout() -> None:
    async def scenario() -> float:
        ended = asyncio.Event()

        async def live() -> AsyncIterator[bytes]:
            yield SECOND
            await ended.wait()

        to_japanese = Gummy(translation_target_languages=["ko"])  # which the script does not have
        async with connect(to_japanese, local(), timeouts=Timeouts(translation=3)) as session:
            said_at = 0.0
            async for result in session.stream(live(), pace=None):
                if result.is_final:
                    assert (result.text, result.translations) == ("你好世界。", {})
                    waited_s = now() - said_at
                    ended.set()
                said_at = now()
        return waited_s

    assert run_virtual(scenario) == pytest.approx(3, abs=0.1)


def test_a_final_that_waits_is_not_held_beyond_the_end() -> None:
    async def scenario() -> float:
        began_at = now()
        events = await events_of(Gummy(translation_target_languages=["ko"]))
        assert results(events, final=True) == [("你好世界。", {}), ("再见。", {})]
        return now() - began_at

    assert run_virtual(scenario) < 1


# --- one sentence ----------------------------------------------------------------------------------------------------


async def test_chat_hears_one_sentence_and_leaves_the_rest_of_the_source() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(3_200)

    events = await events_of(GummyChat(translation_target_languages=["en"]), audio=endless())
    assert results(events, final=True) == [("你好世界。", {"en": "Hello big world."})]
    assert taken < 1_000


async def test_chat_ignores_audio_that_is_pushed_behind_its_sentence() -> None:
    async with connect(GummyChat(), local()) as session:
        for _ in range(20):
            await session.send(bytes(3_200))
        await session.finish()
        assert [result.text async for result in session if result.is_final] == ["你好世界。"]


# --- translations that are later than the emulator's -----------------------------------------------------------------


async def test_chat_says_that_the_end_is_near_before_it_comes() -> None:
    *_, ending, final, ended, _gap = await events_of(GummyChat())
    assert ending == SpeechEnding(segment_id=0, end_ms=900)
    assert isinstance(final, Result)
    assert final.text == "你好世界。"
    assert ended == SpeechEnded(segment_id=0, end_ms=900)


async def test_chat_with_more_than_60_seconds_of_speech_is_an_error_behind_the_results() -> None:
    script = [("一直说个不停", 58_000, 90_000)]
    heard: list[str] = []
    with pytest.raises(VendorError, match="the audio is longer than 60 seconds") as caught:
        async with connect(GummyChat(), local(script)) as session:
            async for result in session.stream((SECOND for _ in range(80)), pace=None):
                heard.append(result.text)
    assert (caught.value.code, caught.value.retryable) == ("InvalidParameter", False)
    assert heard[-1] == "一"


async def test_an_engine_that_cannot_translate_refuses_the_task() -> None:
    with pytest.raises(VendorError, match=r"moonshine cannot translate \(into zh\)") as caught:
        await transcribe([SECOND], Gummy(source_language="en", translation_target_languages=["zh"]), Local())
    assert caught.value.code == "InvalidParameter"


def gummy(sentence_id: int, text: str, *, lang: str | None = None, end: bool = True) -> dict[str, Any]:
    members = {"sentence_id": sentence_id, "begin_time": 0, "end_time": 900, "text": text, "words": []}
    sentence = {**members, "sentence_end": end, "lang": lang}
    return {"translations": [sentence]} if lang else {"transcription": sentence}


class Vendor:
    """A server that plays a list of outputs, events and waits in seconds, and then finishes the task or disconnects."""

    def __init__(self, *steps: dict[str, Any] | str | float, leaves: bool = False) -> None:
        self._steps = steps
        self._leaves = leaves
        self.said: list[dict[str, Any]] = []

    async def __call__(self, ws: ServerConnection) -> None:
        task_id = json.loads(await ws.recv())["header"]["task_id"]

        async def send(event: str, payload: dict[str, Any]) -> None:
            header = {"task_id": task_id, "event": event, "attributes": {}}
            await ws.send(json.dumps({"header": header, "payload": payload}))

        await send("task-started", {})
        for step in self._steps:
            if isinstance(step, dict):
                await send("result-generated", {"output": step})
            elif isinstance(step, str):
                await send(step, {"output": {}})
            else:
                await asyncio.sleep(step)
        if self._leaves:
            await ws.close(1011)
            return
        async for message in ws:
            if isinstance(message, str):
                self.said.append(json.loads(message))
                if self.said[-1]["header"]["action"] == "finish-task":
                    await send("task-finished", {"output": {}})


def run_against(vendor: Vendor, scenario: Any) -> Any:
    """Run a scenario with a service by a virtual clock."""

    async def run() -> Any:
        from websockets.asyncio.server import serve

        async with serve(vendor, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await scenario(DashScope("sk-test", endpoint=f"ws://127.0.0.1:{port}"))

    return run_virtual(run)


LATE = (gummy(0, "你好"), 6.0, gummy(0, "Hello", lang="en"), 1.0)


async def lasting(seconds: float) -> AsyncIterator[bytes]:
    yield SECOND
    await asyncio.sleep(seconds)


def test_chat_that_finishes_by_itself_is_at_its_end() -> None:
    async def scenario(service: DashScope) -> list[Event]:
        return await events_of(GummyChat(), service, lasting(9))

    vendor = Vendor(gummy(0, "你好"), "task-finished")
    assert results(run_against(vendor, scenario), final=True) == [("你好", {})]


def test_a_translation_behind_its_final_is_an_event() -> None:
    async def scenario(service: DashScope) -> list[Event]:
        return await events_of(TO_ENGLISH, service, lasting(9))

    events = run_against(Vendor(*LATE), scenario)
    assert results(events, final=True) == [("你好", {})]
    (late,) = (event for event in events if isinstance(event, TranslationArrived))
    assert (late.segment_id, late.language, late.translation.text) == (0, "en", "Hello")


def test_a_transcript_includes_a_late_translation() -> None:
    async def scenario(service: DashScope) -> Any:
        return await transcribe(lasting(9), TO_ENGLISH, service)

    transcript = run_against(Vendor(*LATE), scenario)
    (result,) = transcript.results
    assert (result.text, result.is_final, result.translations["en"].text) == ("你好", True, "Hello")


def test_a_stream_without_events_logs_a_translation_that_came_late(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(service: DashScope) -> list[Result]:
        async with connect(TO_ENGLISH, service) as session:
            return [result async for result in session.stream(lasting(9), pace=None)]

    with caplog.at_level(logging.WARNING, logger="asr_async"):
        assert results(run_against(Vendor(*LATE), scenario), final=True) == [("你好", {})]
    assert "a translation arrived after its final result; session.events() delivers it" in caplog.text


def test_a_pending_final_survives_the_loss_of_the_connection() -> None:
    async def scenario(service: DashScope) -> list[Result]:
        got: list[Result] = []
        async with connect(TO_ENGLISH, service) as session:
            with pytest.raises(ConnectionLostError):
                async for result in session.stream(lasting(9), pace=None):
                    got.append(result)
        return got

    vendor = Vendor(gummy(0, "你好"), gummy(1, "再见"), 0.5, leaves=True)
    assert results(run_against(vendor, scenario), final=True) == [("你好", {}), ("再见", {})]


class CutVendor(Vendor):
    """A server that cuts the first connection behind its steps; on the next ones it only waits for the end."""

    async def __call__(self, ws: ServerConnection) -> None:
        steps, self._steps = self._steps, ()
        await Vendor(*steps, leaves=bool(steps))(ws)


def test_a_translation_that_was_not_there_at_the_cut_is_lost() -> None:
    async def scenario(service: DashScope) -> list[Event]:
        async with connect(TO_ENGLISH, service, timeouts=Timeouts(translation=1)) as session:
            return [event async for event in session.events(lasting(9), pace=None)]

    vendor = CutVendor(gummy(0, "你好"), 0.5, gummy(0, "Hel", lang="en", end=False), 3.0)
    events = run_against(vendor, scenario)
    (lost,) = (event for event in events if isinstance(event, TranslationLost))
    assert (lost.segment_id, lost.language) == (0, "en")
    assert lost.reason == "the connection was lost before it arrived"
    assert [type(event) for event in events[-2:]] == [TranslationLost, Reconnected]
    assert results(events, final=True) == [("你好", {"en": "Hel"})]


def test_a_stream_without_events_logs_a_lost_translation(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(service: DashScope) -> list[Result]:
        async with connect(TO_ENGLISH, service) as session:
            return [result async for result in session.stream(lasting(1), pace=None)]

    with caplog.at_level(logging.WARNING, logger="asr_async"):
        assert results(run_against(Vendor(gummy(0, "你好")), scenario), final=True) == [("你好", {})]
    assert "no translation into 'en': the vendor ended the task without it" in caplog.text


def placed(start_ms: int, sentence_id: int, text: str, *, lang: str | None = None, end: bool = True) -> dict[str, Any]:
    """Return a sentence of 800 ms at a place of the source."""
    output = gummy(sentence_id, text, lang=lang, end=end)
    for part in (output.get("transcription"), *output.get("translations", ())):
        if part is not None:
            part |= {"begin_time": start_ms, "end_time": start_ms + 800 if end else None}
    return output


def test_an_interim_that_is_never_final_delays_no_final() -> None:
    async def scenario(service: DashScope) -> tuple[float, list[Event]]:
        events: list[Event] = []
        async with connect(Gummy(), service) as session:
            async for event in session.events(lasting(9), pace=None):
                events.append(event)
                if isinstance(event, Result) and event.text == "two":
                    arrived_at = now()
        return arrived_at, events

    vendor = Vendor(placed(0, 0, "uh", end=False), 0.5, placed(1_000, 1, "two"))
    arrived_at, events = run_against(vendor, scenario)
    assert arrived_at == pytest.approx(0.5, abs=0.1)
    assert results(events, final=True) == [("two", {})]
    ends = [(event.withdrawn_text, event.is_withdrawn) for event in events if isinstance(event, SpeechEnded)]
    assert ends == [("uh", True), ("", False)]


class RecutVendor(Vendor):
    """A server that plays the next list of steps on each connection, with times from the start of the connection."""

    def __init__(self, *connections: tuple[dict[str, Any] | str | float, ...]) -> None:
        super().__init__()
        self._connections = list(connections)

    async def __call__(self, ws: ServerConnection) -> None:
        steps = self._connections.pop(0)
        await Vendor(*steps, leaves=bool(self._connections))(ws)


def test_late_translations_and_cuts_lose_none_in_silence() -> None:
    async def audio() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield bytes(3_200)
            await asyncio.sleep(0.1)

    async def scenario(service: DashScope) -> list[Event]:
        async with connect(TO_ENGLISH, service, timeouts=Timeouts(translation=1)) as session:
            return [event async for event in session.events(audio(), pace=None)]

    first = (
        1.0,
        placed(0, 0, "一"),  # its translation never comes
        0.2,
        placed(900, 1, "二"),
        placed(900, 1, "two", lang="en"),  # the translator has passed the first sentence
        0.9,
        placed(1_800, 2, "三"),  # waits for its translation when the connection is cut
        0.1,
    )
    second = (1.0, placed(0, 0, "三"), 1.5, placed(0, 0, "three", lang="en"), placed(1_000, 1, "四"))
    third = (placed(0, 0, "四"),)
    events = run_against(RecutVendor(first, second, third), scenario)
    assert results(events, final=True) == [("一", {}), ("二", {"en": "two"}), ("三", {}), ("四", {})]
    numbers = [event.segment_id for event in events if isinstance(event, Result) and event.is_final]
    arrived = [event for event in events if isinstance(event, TranslationArrived)]
    lost = [event for event in events if isinstance(event, TranslationLost)]
    assert [(event.segment_id, event.translation.text) for event in arrived] == [(numbers[2], "three")]
    assert [event.segment_id for event in lost] == [numbers[0], numbers[3]]


def test_leaving_a_session_leaves_no_timer_behind() -> None:
    async def scenario(service: DashScope) -> None:
        async with connect(TO_ENGLISH, service) as session:
            async for result in session.stream(lasting(9), pace=None):
                assert result.text == "你好"
                break
            waiting = list(session._receiver._pending.values())
        assert [timer.cancelled() for timer, _ in waiting] == [True]

    run_against(Vendor(gummy(0, "你好")), scenario)


def test_a_waiting_time_that_is_no_positive_number_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Timeouts\(translation=0\): must be a positive number of seconds"):
        Timeouts(translation=0)


# --- context ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [FunASR(), QwenAudio(), QwenAudio(model="qwen-audio-3.1-asr-flash-message")])
def test_a_context_reaches_the_vendor_in_the_course_of_the_audio(options: Options) -> None:
    async def scenario(service: DashScope) -> None:
        async with connect(options, service) as session:
            await session.send(SECOND)
            await session.update_context(CONTEXT)
            await session.finish()

    vendor = Vendor()
    run_against(vendor, scenario)
    actions = [message["header"]["action"] for message in vendor.said]
    assert actions == ["continue-task", "finish-task"]
    assert vendor.said[0]["payload"]["input"]["context"] == [
        {"role": "user", "content": [{"type": "input_text", "text": "阿里云"}]}
    ]


async def test_the_emulator_accepts_a_context_and_returns_the_same_results() -> None:
    async with connect(QwenAudio(context=CONTEXT), local()) as session:
        await session.send(SECOND * 2)
        await session.update_context(CONTEXT)
        await session.finish()
        assert [result.text async for result in session if result.is_final] == ["你好世界。", "再见。"]


@pytest.mark.parametrize("options", [Paraformer(), Gummy(), GummyChat(), FunASR(model="fun-asr-realtime-2025-09-15")])
async def test_a_model_without_context_names_those_that_have_it(options: Options) -> None:
    able = r"fun-asr-realtime, fun-asr-realtime-2025-11-07, qwen-audio-3\.0-asr-flash-streaming, .* do\)"
    async with connect(options, local()) as session:
        with pytest.raises(ConfigurationError, match=f"context: {options.model} does not accept one \\({able}"):
            await session.update_context(CONTEXT)


async def test_a_context_that_is_too_long_is_refused() -> None:
    async with connect(FunASR(), local()) as session:
        with pytest.raises(ConfigurationError, match="6 messages of 'user', at most 5 are read"):
            await session.update_context(CONTEXT * 6)
        with pytest.raises(ConfigurationError, match="a message of 401 characters, at most 400 are read"):
            await session.update_context([ContextMessage("user", "x" * 401)])


async def test_a_context_before_the_session_is_open_or_after_its_end_is_refused() -> None:
    async with Client(local()) as client:
        session = client.session(FunASR())
        with pytest.raises(LocalProtocolError, match="the session is new: open it before you update its context"):
            await session.update_context(CONTEXT)
        async with session:
            await session.send(SECOND)
            await session.finish()
            with pytest.raises(LocalProtocolError, match="cannot update the context while the task is done"):
                await session.update_context(CONTEXT)
        with pytest.raises(LocalProtocolError):
            await session.update_context(CONTEXT)


# --- the other models ------------------------------------------------------------------------------------------------


async def test_the_message_model_returns_finals_only_by_default() -> None:
    model = "qwen-audio-3.1-asr-flash-message"
    events = await events_of(QwenAudio(model=model))
    assert results(events, final=True) == [("你好世界。", {}), ("再见。", {})]
    assert results(events, final=False) == []
    async with connect(QwenAudio(model=model, intermediate_result_enabled=True), local()) as session:
        assert not all([result.is_final async for result in session.stream([SECOND])])


async def test_the_spoken_language_reaches_the_engine() -> None:
    class Watched(Scripted):
        async def open(self, request: Request, emit: Emit) -> Any:
            asked.append(request.languages)
            return await super().open(request, emit)

    asked: list[tuple[str, ...]] = []
    for source in ("zh", "auto", None):
        await events_of(Gummy(source_language=source), Local(engine=Watched(SCRIPT)))
    assert asked == [("zh",), (), ()]
