"""The realtime client of the official OpenAI SDK, unmodified: as a client of the emulator, and beside this package.

It gets the same words from the emulator as this package does, and its types describe the messages of both sides.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.realtime import (
    ClientSecretCreateResponse,
    RealtimeServerEvent,
    RealtimeTranscriptionSessionCreateRequest,
)
from pydantic import BaseModel, TypeAdapter
from websockets.exceptions import InvalidStatus

from asr_async import OpenAI, OpenAIRealtime, transcribe
from asr_async.emulator import Emulator, Scripted, serve
from asr_async.vendors.openai.codec import OpenAIRealtimeCodec

SCRIPT = [("hello there my friend", 100, 900), ("and good bye", 1_200, 1_900)]
TEXTS = [text for text, _, _ in SCRIPT]
FRAMES = [bytes(4_800)] * 21
COMPLETED = "conversation.item.input_audio_transcription.completed"

SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
CLIENT_SECRET: TypeAdapter[Any] = TypeAdapter(ClientSecretCreateResponse)

pytestmark = pytest.mark.usefixtures("no_proxy_for_loopback")


async def conversation(emulator: Emulator, session: Any, *, items: int, key: str = "sk-test") -> list[Any]:
    """Return the server's events of a session of the SDK: it sends the audio, commits the rest, and awaits the items.

    Args:
        emulator: the server.
        session: the configuration.
        items: the number of items whose text is awaited; an error ends the conversation too.
        key: the API key.
    """
    client = AsyncOpenAI(api_key=key, base_url=f"{emulator.url}/v1")
    events: list[Any] = []
    async with (
        asyncio.timeout(30),
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        await connection.session.update(session=session)
        for frame in FRAMES:
            await connection.input_audio_buffer.append(audio=base64.b64encode(frame).decode())
        await connection.input_audio_buffer.commit()
        async for event in connection:
            events.append(event)
            if event.type == "error" or sum(each.type == COMPLETED for each in events) == items:
                break
    return events


def session_of(model: str, **members: Any) -> dict[str, Any]:
    audio_input = {"format": {"type": "audio/pcm", "rate": 24_000}, "transcription": {"model": model}, **members}
    return {"type": "transcription", "audio": {"input": audio_input}}


@pytest.mark.parametrize(("model", "items"), [("gpt-4o-transcribe", 3), ("whisper-1", 3), ("gpt-live-transcribe", 1)])
async def test_the_official_client_and_this_package_get_the_same_words(model: str, items: int) -> None:
    async with serve(Scripted(SCRIPT)) as emulator:
        events = await conversation(emulator, session_of(model), items=items)
        service = OpenAI("sk-test", endpoint=emulator.openai_url)
        ours = await transcribe(FRAMES, OpenAIRealtime(model=model), service)
    theirs = " ".join(event.transcript for event in events if event.type == COMPLETED).strip()
    assert theirs == ours.text == " ".join(TEXTS)


async def test_the_events_of_the_emulator_have_the_official_types() -> None:
    async with serve(Scripted(SCRIPT)) as emulator:
        session = {**session_of("gpt-4o-transcribe"), "include": ["item.input_audio_transcription.logprobs"]}
        events = await conversation(emulator, session, items=3)
    for event in events:
        SERVER_EVENT.validate_python(event.to_dict())
    assert {event.type.rpartition(".")[2] for event in events} == {
        *("created", "updated", "speech_started", "speech_stopped", "committed", "added", "delta", "completed"),
    }


async def test_temporary_keys_of_either_side_are_used_by_the_other() -> None:
    async with serve(Scripted(SCRIPT), api_keys={"sk-test"}) as emulator:
        async with AsyncOpenAI(api_key="sk-test", base_url=f"{emulator.url}/v1") as client:
            theirs = await client.realtime.client_secrets.create(
                session={"type": "transcription"}, expires_after={"anchor": "created_at", "seconds": 60}
            )
        CLIENT_SECRET.validate_python(theirs.to_dict())
        transcript = await transcribe(FRAMES, OpenAIRealtime(), OpenAI(theirs.value, endpoint=emulator.openai_url))
        ours = await OpenAI("sk-test", endpoint=emulator.openai_url).temporary_key()
        events = await conversation(emulator, session_of("gpt-4o-transcribe"), items=3, key=ours.value)
    assert transcript.text == " ".join(TEXTS)
    assert " ".join(event.transcript for event in events if event.type == COMPLETED).strip() == transcript.text


async def test_the_official_client_is_refused_without_a_valid_key_and_without_a_known_model() -> None:
    async with serve(Scripted(SCRIPT), api_keys={"right"}) as emulator:
        with pytest.raises(InvalidStatus, match="401"):
            await conversation(emulator, session_of("whisper-1"), items=1, key="wrong")
        events = await conversation(emulator, session_of("gpt-5"), items=1, key="right")
        assert (events[-1].type, events[-1].error.code) == ("error", "model_not_found")


@pytest.mark.parametrize(
    "options",
    [
        OpenAIRealtime(language="en", prompt="birds", vad_threshold=0.4, noise_reduction="near_field", logprobs=True),
        OpenAIRealtime(turn_detection="semantic_vad", eagerness="low", format="ulaw"),
        OpenAIRealtime(model="gpt-live-transcribe", languages=["en", "de"], keywords=["Paraformer"]),
        OpenAIRealtime(model="gpt-realtime-whisper", delay="low", format="alaw"),
    ],
    ids=lambda options: options.model,
)
def test_our_sessions_have_the_official_type(options: OpenAIRealtime) -> None:
    (message,) = OpenAIRealtimeCodec(options, task_id="T").start()
    session = RealtimeTranscriptionSessionCreateRequest.model_validate(json.loads(str(message))["session"], strict=True)
    assert unknown_members(session) == []


def unknown_members(model: BaseModel) -> list[str]:
    """Return the members that the type of an object does not have, in it and in its parts."""
    names = [*(model.model_extra or {})]
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            names += [f"{name}.{inner}" for inner in unknown_members(value)]
    return names
