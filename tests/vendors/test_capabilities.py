"""`options.capabilities` is true of sessions: each ability is compared with what a session with the options does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from asr_async import (
    AudioFormat,
    Capabilities,
    Client,
    ConfigurationError,
    ContextMessage,
    FunASR2Pass,
    Gummy,
    GummyChat,
    Local,
    ModelInfo,
    Paraformer,
    QwenAudio,
    QwenRealtime,
    Rasr,
    Result,
    models,
)
from asr_async.emulator import Scripted
from asr_async.vendors import options_for_model
from asr_async.vendors.options import Options

from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asr_async import Event, SessionStats

SPEECH = [
    {"text": "good morning to all", "start_ms": 300, "end_ms": 2_300, "translations": {"en": "a very good morning"}}
]
OF_SPEECH = ('"input_audio_buffer.speech_started"', '"VOICE_START"')
"""The vendors' own reports of speech, in the messages of a tape with escaped quotes removed."""

MANUAL = QwenRealtime(manual_commit=True)
WORDS = Rasr(need_word_info=True)
FINALS_ONLY = Rasr(interim_results=False)
MESSAGE = "qwen-audio-3.1-asr-flash-message"


def default_options(row: ModelInfo) -> Options:
    make: Any = options_for_model(row.model)
    if row.vendor != "dashscope" or row.sample_rates is None:
        return cast("Options", make(model=row.model))
    return cast("Options", make(model=row.model, sample_rate=row.sample_rates[0]))


ALL_OPTIONS: dict[str, Options] = {
    "commits": MANUAL,
    "words of huawei": WORDS,
    "finals of huawei": FINALS_ONLY,
    "finals of qwen audio": QwenAudio(model=MESSAGE),
    "interims of qwen audio": QwenAudio(model=MESSAGE, intermediate_result_enabled=True),
    "translation only": Gummy(transcription_enabled=False, translation_target_languages=["en"]),
    "translation": Gummy(translation_target_languages=["en"]),
    **{row.model: default_options(row) for row in models()},
}
"""The options of each model, and those that turn an ability on or off."""


async def session_with(options: Options, tape: Path) -> tuple[list[Event], SessionStats]:
    """Return the events and the statistics of a session in which one sentence is spoken."""
    frame = bytes(options.audio.frame_bytes())
    async with Client(Local(Scripted(SPEECH)), options=options, tape=tape) as client, client.session() as session:
        events = [event async for event in session.events([frame] * 35)]
        return events, session.stats


@pytest.mark.parametrize("options", ALL_OPTIONS.values(), ids=ALL_OPTIONS)
def test_the_results_of_a_session_are_as_its_capabilities_say(options: Options, tmp_path: Path) -> None:
    events, stats = run_virtual(lambda: session_with(options, tmp_path / "tape.jsonl"))
    capabilities = options.capabilities
    results = [event for event in events if isinstance(event, Result)]
    interims = [result for result in results if not result.is_final]
    assert results[-1].is_final
    assert bool(interims) == capabilities.interims
    timed = [result for result in results if result.is_final] if isinstance(options, FunASR2Pass) else results
    assert any(result.words for result in timed) == capabilities.words
    assert all(result.words for result in timed) == capabilities.words
    assert any(interim.stable_text is not None for interim in interims) == capabilities.stable_text
    assert (stats.usage_seconds is not None) == capabilities.usage
    messages = (tmp_path / "tape.jsonl").read_text(encoding="utf-8").replace("\\", "")
    assert any(name in messages for name in OF_SPEECH) == capabilities.speech_events


@pytest.mark.parametrize("options", ALL_OPTIONS.values(), ids=ALL_OPTIONS)
def test_the_calls_of_a_session_work_as_its_capabilities_say(options: Options) -> None:
    async def works(call: Any) -> bool:
        try:
            await call
        except ConfigurationError:
            return False
        return True

    async def scenario() -> tuple[bool, bool]:
        async with Client(Local(Scripted(SPEECH)), options=options) as client, client.session() as session:
            await session.send(bytes(options.audio.frame_bytes()))
            context = await works(session.update_context([ContextMessage("user", "Paraformer")]))
            return context, await works(session.commit())

    assert run_virtual(scenario) == (options.capabilities.context, options.capabilities.commit)


@pytest.mark.parametrize("options", ALL_OPTIONS.values(), ids=ALL_OPTIONS)
def test_finals_come_before_the_end_if_the_vendor_ends_utterances(options: Options) -> None:
    async def scenario() -> bool:
        async with Client(Local(Scripted(SPEECH)), options=options) as client, client.session() as session:
            is_before_end: list[bool] = []
            has_ended = False

            async def audio() -> AsyncIterator[bytes]:
                nonlocal has_ended
                for _ in range(35):
                    yield bytes(options.audio.frame_bytes())
                await asyncio.sleep(2)
                has_ended = True

            async for result in session.stream(audio()):
                if result.is_final:
                    is_before_end.append(not has_ended)
            return any(is_before_end)

    assert run_virtual(scenario) == options.capabilities.utterances


def test_what_an_option_turns_on_is_an_ability_only_while_it_is_on() -> None:
    assert (WORDS.capabilities.words, Rasr().capabilities.words) == (True, False)
    assert (FINALS_ONLY.capabilities.interims, Rasr().capabilities.interims) == (False, True)
    assert (MANUAL.capabilities.commit, QwenRealtime().capabilities.commit) == (True, False)
    assert (MANUAL.capabilities.speech_events, QwenRealtime().capabilities.speech_events) == (False, True)


def test_only_gummy_and_qwen_realtime_document_stable_text() -> None:
    stable = [options for options in ALL_OPTIONS.values() if options.capabilities.stable_text]
    assert {type(options) for options in stable} == {Gummy, GummyChat, QwenRealtime}


@pytest.mark.parametrize("row", models(), ids=lambda row: row.model)
def test_the_catalogue_has_what_the_options_say_and_what_they_can_turn_on(row: ModelInfo) -> None:
    own = ALL_OPTIONS[row.model]
    switched = [
        msgspec.structs.replace(own, **{name: True})
        for name in ("manual_commit", "need_word_info", "intermediate_result_enabled")
        if hasattr(own, name) and (name != "intermediate_result_enabled" or row.model == MESSAGE)
    ]
    variants = [options.capabilities for options in (own, *switched)]
    for name in Capabilities.__struct_fields__:
        values = [getattr(each, name) for each in variants]
        assert getattr(row, name) == next((value for value in values if value), values[0])


def test_capabilities_of_a_model_that_is_not_known_are_those_of_its_class() -> None:
    options = Paraformer(model="paraformer-realtime-v9", strict=False)
    assert options.capabilities.words
    assert options.capabilities.sample_rates is None
    assert QwenAudio(model="qwen-audio-9", strict=False).capabilities.interims


def test_options_of_another_package_have_the_capabilities_that_are_sure() -> None:
    class Other(Options, frozen=True, kw_only=True):
        model: str = "other"

        @property
        def audio(self) -> AudioFormat:
            return AudioFormat("ulaw", 8_000)

    sure = Capabilities(interims=True, words=False, sample_rates=(8_000,), formats=("ulaw",))
    assert Other().capabilities == sure
