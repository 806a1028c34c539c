"""The emulated Gummy models, tested with a plain WebSocket client and messages as plain dicts."""

from __future__ import annotations

from typing import Any

import pytest

from asr_async.emulator import HypothesisWord, Scripted
from asr_async.errors import ConfigurationError

from ...support.probe_engine import ProbeEngine
from .test_tasks import SECOND, Client, connected, run_task

SCRIPT = Scripted(
    [
        {"text": "一二三。", "start_ms": 0, "end_ms": 900, "translations": {"en": "One, two, three."}},
        {"text": "四。", "start_ms": 1_200, "end_ms": 1_900, "translations": {"en": "Four."}},
    ],
    interim_every_ms=300,
)
TRANSLATING: dict[str, Any] = {"translation_enabled": True, "translation_target_languages": ["en"]}


async def outputs(client: Client) -> list[dict[str, Any]]:
    """Receive the outputs until task-finished."""
    messages = []
    while (message := await client.receive())["header"]["event"] == "result-generated":
        messages.append(message["payload"]["output"])
    assert message["header"]["event"] == "task-finished", message
    return messages


async def recognise(
    audio: bytes = SECOND * 2, model: str = "gummy-realtime-v1", **parameters: Any
) -> list[dict[str, Any]]:
    async with connected(SCRIPT) as client:
        await client.start(model=model, parameters=parameters)
        await client.send(audio)
        await client.finish()
        return await outputs(client)


def brief(messages: list[dict[str, Any]]) -> list[tuple[str, int, str, bool]]:
    """Return the only sentence of each message: its stream, its number, its text, and True if it has ended."""
    lines = []
    for output in messages:
        (stream,) = output
        (sentence,) = output[stream] if stream == "translations" else [output[stream]]
        lines.append((stream, sentence["sentence_id"], sentence["text"], sentence["sentence_end"]))
    return lines


async def test_translations_lag_one_interim_and_agree_at_the_end() -> None:
    assert brief(await recognise(SECOND, **TRANSLATING)) == [
        ("transcription", 0, "一", False),
        ("transcription", 0, "一二", False),
        ("translations", 0, "One,", False),
        ("transcription", 0, "一二三。", True),
        ("translations", 0, "One, two, three.", True),
    ]


async def test_sentences_are_numbered_from_0_and_have_the_members_that_the_official_sdk_needs() -> None:
    messages = await recognise(**TRANSLATING)
    assert {number for _, number, _, _ in brief(messages)} == {0, 1}
    first = messages[0]["transcription"]
    words = [{"text": "一", "begin_time": 0, "end_time": 300, "punctuation": "", "fixed": False}]
    assert first == {
        "sentence_id": 0,
        "begin_time": 0,
        "end_time": None,
        "current_time": 300,
        "text": "一",
        "words": words,
        "sentence_end": False,
    }
    (last,) = messages[-1]["translations"]
    assert (last["lang"], last["begin_time"], last["end_time"], last["words"]) == ("en", 1_200, 1_900, [])


async def test_a_translation_alone_and_a_transcription_alone() -> None:
    translated = await recognise(transcription_enabled=False, **TRANSLATING)
    assert {stream for stream, _, _, _ in brief(translated)} == {"translations"}
    assert {stream for stream, _, _, _ in brief(await recognise(source_language=None))} == {"transcription"}


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"transcription_enabled": False}, "neither transcription nor translation is enabled"),
        ({"translation_enabled": True}, "translation_target_languages can not be empty"),
        ({"sample_rate": 8_000}, "sample_rate 8000: gummy-realtime-v1 accepts 16000 Hz or more"),
    ],
)
async def test_parameters_that_contradict_each_other_fail(parameters: dict[str, Any], text: str) -> None:
    async with connected(SCRIPT) as client:
        await client.send(run_task(model="gummy-realtime-v1", parameters=parameters))
        assert await client.failure() == ("InvalidParameter", text)


async def test_chat_recognises_one_sentence_ignores_later_audio_and_finishes_on_request() -> None:
    messages = await recognise(SECOND * 5, model="gummy-chat-v1", **TRANSLATING)
    assert brief(messages)[-2:] == [
        ("transcription", 0, "一二三。", True),
        ("translations", 0, "One, two, three.", True),
    ]
    assert {number for _, number, _, _ in brief(messages)} == {0}


async def transcriptions(script: Scripted, model: str = "gummy-chat-v1") -> list[dict[str, Any]]:
    async with connected(script) as client:
        await client.start(model=model)
        await client.send(SECOND * 2)
        await client.finish()
        return [output["transcription"] for output in await outputs(client)]


def predictions(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the members of each message that concern the end, with its text and its finality."""
    names = ("vad_pre_end", "pre_end_failed", "pre_end_start_time", "pre_end_end_time", "text", "sentence_end")
    return [{name: sentence[name] for name in names if name in sentence} for sentence in messages]


async def test_chat_predicts_the_end_of_its_sentence() -> None:
    *_, prediction, final = predictions(await transcriptions(SCRIPT))
    assert prediction == {
        "vad_pre_end": True,
        "pre_end_start_time": 0,
        "pre_end_end_time": 900,
        "text": "一二三。",
        "sentence_end": False,
    }
    assert final == {"text": "一二三。", "sentence_end": True}
    assert not any("vad_pre_end" in sentence for sentence in await transcriptions(SCRIPT, "gummy-realtime-v1"))


async def test_chat_withdraws_the_predicted_end_if_speech_continues_after_a_pause() -> None:
    words = (
        HypothesisWord(text="一", start_ms=0, end_ms=200),
        HypothesisWord(text="二", start_ms=700, end_ms=900),
    )
    script = Scripted([{"text": "一二", "start_ms": 0, "end_ms": 1_000, "words": words}], interim_every_ms=250)
    assert predictions(await transcriptions(script)) == [
        {"text": "一", "sentence_end": False},
        {
            "vad_pre_end": True,
            "pre_end_start_time": 0,
            "pre_end_end_time": 200,
            "text": "一",
            "sentence_end": False,
        },
        {"pre_end_failed": True, "text": "一二", "sentence_end": False},
        {
            "vad_pre_end": True,
            "pre_end_start_time": 0,
            "pre_end_end_time": 900,
            "text": "一二",
            "sentence_end": False,
        },
        {"text": "一二", "sentence_end": True},
    ]


async def test_chat_fails_when_its_sentence_does_not_end_within_60_seconds() -> None:
    async with connected(Scripted([("一直说", 0, 70_000)], interim_every_ms=50_000)) as client:
        await client.start(model="gummy-chat-v1")
        await client.send(SECOND * 60)
        assert (await client.receive())["payload"]["output"]["transcription"]["text"] == "一直说"
        await client.send(SECOND)
        assert await client.failure() == ("InvalidParameter", "the audio is longer than 60 seconds")


async def test_after_the_sentence_of_chat_the_length_of_audio_is_not_limited() -> None:
    assert brief(await recognise(SECOND * 65, model="gummy-chat-v1"))[-1] == ("transcription", 0, "一二三。", True)


@pytest.mark.parametrize(("parameters", "languages"), [(TRANSLATING, ("en",)), ({}, ())])
async def test_the_engine_receives_the_target_languages(parameters: dict[str, Any], languages: tuple[str, ...]) -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start(model="gummy-realtime-v1", parameters=parameters)
    assert engine.request is not None
    assert engine.request.translate_to == languages


@pytest.mark.parametrize("translations", ["en", {"en": 1}, ["en"]])
def test_a_script_with_translations_that_are_not_text_is_refused(translations: Any) -> None:
    segment = {"text": "a", "start_ms": 0, "end_ms": 1, "translations": translations}
    with pytest.raises(ConfigurationError, match=r"segment 1: Expected .*\$\.translations"):
        Scripted([segment])
