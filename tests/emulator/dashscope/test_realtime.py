"""The emulated DashScope realtime protocol, tested with a plain WebSocket client and messages as plain dicts."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from asr_async.emulator import Emulator, Engine, Scripted, serve
from asr_async.emulator.dashscope.realtime import IDLE_TIMEOUT_S, PATH

from ...support.probe_engine import ProbeEngine
from ...support.virtual_time import run_virtual
from ...support.waiting import wait_until

MODEL = "qwen3-asr-flash-realtime"
KEY = {"Authorization": "Bearer key"}
SECOND = bytes(32_000)
HELLO = Scripted([("Hello, world.", 100, 900)], interim_every_ms=300)
TWO = Scripted([("one", 0, 500), ("two", 1_000, 1_500)], interim_every_ms=1_000)
TRANSCRIPTION = "conversation.item.input_audio_transcription"
MANUAL = {"turn_detection": None}


class Client:
    """A plain WebSocket client."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws

    async def send(self, kind: str, **members: Any) -> None:
        await self.ws.send(json.dumps({"event_id": f"my {kind}", "type": kind, **members}))

    async def append(self, audio: bytes = SECOND) -> None:
        await self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    async def update(self, **session: Any) -> dict[str, Any]:
        await self.send("session.update", session=session)
        return await self.receive()

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(300):
            message: dict[str, Any] = json.loads(await self.ws.recv())
        assert message.pop("event_id")
        return message

    async def fault(self) -> dict[str, Any]:
        """Receive an error that the client caused; return its members."""
        message = await self.receive()
        assert (message["type"], message["error"]["type"]) == ("error", "invalid_request_error")
        error: dict[str, Any] = message["error"]
        return error

    async def rest(self) -> list[dict[str, Any]]:
        """Receive all messages until session.finished, which is omitted."""
        messages = []
        while (message := await self.receive())["type"] != "session.finished":
            messages.append(message)
        return messages

    async def receive_close(self) -> tuple[int, str]:
        async with asyncio.timeout(300):
            with pytest.raises(ConnectionClosed) as caught:
                await self.ws.recv()
        close = caught.value.rcvd
        assert close is not None
        return close.code, close.reason


@contextlib.asynccontextmanager
async def session(engine: Engine = HELLO, *, model: str = MODEL) -> AsyncIterator[Client]:
    """Connect a client and wait for session.created."""
    async with serve(engine) as emulator, connected(emulator, f"{PATH}?model={model}") as client:
        assert (await client.receive())["type"] == "session.created"
        yield client


@contextlib.asynccontextmanager
async def connected(emulator: Emulator, path: str) -> AsyncIterator[Client]:
    async with websockets.connect(f"ws://{emulator.address}{path}", additional_headers=KEY, proxy=None) as ws:
        yield Client(ws)


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"].removeprefix(f"{TRANSCRIPTION}.") for message in messages]


def transcripts(messages: list[dict[str, Any]]) -> list[str]:
    return [message["transcript"] for message in messages if message["type"] == f"{TRANSCRIPTION}.completed"]


# --- the handshake ----------------------------------------------------------------------------------------------------


async def test_the_server_sends_its_defaults_first() -> None:
    async with serve(HELLO) as emulator, connected(emulator, f"{PATH}/?model={MODEL}") as client:
        message = await client.receive()
    assert message["session"].pop("id").startswith("sess_")
    assert message == {
        "type": "session.created",
        "session": {
            "object": "realtime.session",
            "model": MODEL,
            "modalities": ["text"],
            "input_audio_format": "pcm",
            "sample_rate": 16_000,
            "input_audio_transcription": {},
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.2,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 800,
            },
        },
    }


@pytest.mark.parametrize("query", ["?model=qwen3", "?model=paraformer-realtime-v2", ""])
async def test_an_unknown_model_closes_the_connection(query: str) -> None:
    async with serve(HELLO) as emulator, connected(emulator, f"{PATH}{query}") as client:
        assert await client.receive_close() == (1007, "Model not found")


async def test_a_wrong_key_is_rejected_at_the_handshake() -> None:
    async with serve(HELLO, api_keys={"right"}) as emulator:
        with pytest.raises(InvalidStatus) as caught:
            async with connected(emulator, f"{PATH}?model={MODEL}"):
                pass
    assert caught.value.response.status_code == 401


# --- server VAD -------------------------------------------------------------------------------------------------------


async def test_an_utterance_is_reported_from_its_start_to_its_final_text() -> None:
    async with session() as client:
        await client.append()
        await client.send("session.finish")
        messages = await client.rest()
    item_id = messages[0]["item_id"]
    about = {"item_id": item_id, "content_index": 0, "language": None, "emotion": "neutral"}
    assert messages == [
        {"type": "input_audio_buffer.speech_started", "item_id": item_id, "audio_start_ms": 100},
        {"type": f"{TRANSCRIPTION}.text", **about, "text": "", "stash": "Hello,"},
        {"type": f"{TRANSCRIPTION}.text", **about, "text": "Hello,", "stash": " world."},
        {"type": "input_audio_buffer.speech_stopped", "item_id": item_id, "audio_end_ms": 900},
        {"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": None},
        {
            "type": "conversation.item.created",
            "previous_item_id": None,
            "item": {
                "id": item_id,
                "object": "realtime.item",
                "type": "message",
                "status": "completed",
                "role": "user",
                "content": [{"type": "input_audio", "transcript": None}],
            },
        },
        {"type": f"{TRANSCRIPTION}.completed", **about, "transcript": "Hello, world."},
    ]


async def test_each_utterance_is_an_item_that_follows_the_previous_one() -> None:
    async with session(TWO) as client:
        updated = await client.update(input_audio_transcription={"language": "en", "corpus": {"text": "x"}})
        assert updated["session"]["input_audio_transcription"] == {"language": "en", "corpus": {"text": "x"}}
        await client.append(SECOND + SECOND)
        await client.send("session.finish")
        messages = await client.rest()
    first, second = (message for message in messages if message["type"] == "input_audio_buffer.committed")
    assert second["previous_item_id"] == first["item_id"] != second["item_id"]
    assert transcripts(messages) == ["one", "two"]
    assert {message.get("language", "en") for message in messages} == {"en"}


async def test_text_that_an_engine_changes_is_no_longer_fixed() -> None:
    engine = ProbeEngine()
    async with session(engine) as client:
        await client.append()
        await wait_until(lambda: engine.received)
        for text in ("wreck a", "recognise"):
            await engine.emit_text(text, is_final=False)
        assert (await client.receive())["type"].endswith("speech_started")
        texts = [await client.receive(), await client.receive()]
    assert [(text["text"], text["stash"]) for text in texts] == [("", "wreck a"), ("", "recognise")]


async def test_silence_creates_no_items() -> None:
    async with session() as client:
        await client.append(bytes(1_600))
        await client.send("session.finish")
        assert await client.rest() == []


async def test_a_session_without_audio_may_be_finished() -> None:
    async with session() as client:
        await client.send("session.finish")
        assert await client.rest() == []


async def test_an_utterance_cut_off_by_the_end_is_recognised_up_to_there() -> None:
    async with session() as client:
        await client.append(SECOND[:19_200])
        await client.send("session.finish")
        assert transcripts(await client.rest()) == ["Hello, world."]


# --- the manual mode --------------------------------------------------------------------------------------------------


async def test_a_commit_creates_one_item_of_all_audio_since_the_last_commit() -> None:
    async with session(TWO) as client:
        assert (await client.update(**MANUAL))["session"]["turn_detection"] is None
        for seconds in (2, 1):
            for _ in range(seconds):
                await client.append()
            await client.send("input_audio_buffer.commit")
        await client.send("session.finish")
        messages = await client.rest()
    assert kinds(messages) == ["input_audio_buffer.committed", "conversation.item.created", "completed"] * 2
    assert transcripts(messages) == [
        "one two",
        "one",
    ]  # each commit starts a recognition, and so the script


async def test_uncommitted_audio_is_dropped() -> None:
    async with session() as client:
        await client.update(**MANUAL)
        await client.append()
        await client.send("session.finish")
        assert await client.rest() == []


async def test_a_cleared_buffer_is_empty() -> None:
    async with session() as client:
        await client.update(**MANUAL)
        await client.append()
        await client.send("input_audio_buffer.clear")
        assert (await client.receive())["type"] == "input_audio_buffer.cleared"
        await client.send("input_audio_buffer.commit")
        assert (await client.fault())["message"] == "the input audio buffer is empty"


async def test_a_commit_is_refused_with_server_vad_and_for_an_empty_buffer() -> None:
    async with session() as client:
        await client.send("input_audio_buffer.commit")
        assert (await client.fault())["message"] == "input_audio_buffer.commit is for turn_detection null only"
        await client.update(**MANUAL)
        await client.send("input_audio_buffer.commit")
        assert await client.fault() == {
            "type": "invalid_request_error",
            "code": "invalid_value",
            "message": "the input audio buffer is empty",
            "param": None,
            "event_id": "my input_audio_buffer.commit",
        }


# --- the form of the audio in the official SDK 2.0.2 ------------------------------------------------------------------


async def test_the_declared_format_of_the_input_is_read() -> None:
    engine = ProbeEngine()
    async with session(engine) as client:
        # as `update_session(input_audio_config=AudioFormatConfig(AudioFormatType.WAV, 8000))` sends it
        audio = {"input": {"format": {"type": "wav", "sample_rate": 8_000}}}
        settings = (await client.update(audio=audio, turn_detection=None))["session"]
        assert (settings["input_audio_format"], settings["sample_rate"]) == ("wav", 8_000)
        header = struct.pack(
            "<4sI4s4sIHHIIHH4sI", b"RIFF", 0, b"WAVE", b"fmt ", 16, 1, 1, 8_000, 16_000, 2, 16, b"data", 0
        )
        file = header + SECOND
        for piece in (file[:30], file[30:]):
            await client.append(piece)
        await client.send("input_audio_buffer.commit")
        await client.send("session.finish")
        await client.rest()
        assert engine.received == SECOND
        assert engine.request is not None
        assert engine.request.sample_rate == 8_000


@pytest.mark.parametrize("audio", [None, {}, {"input": None}, {"input": {"format": None}}, {"input": {"format": {}}}])
async def test_an_empty_declaration_of_the_audio_changes_nothing(audio: Any) -> None:
    async with session() as client:
        settings = (await client.update(audio=audio, sample_rate=8_000, input_audio_format="pcm16"))["session"]
        assert (settings["input_audio_format"], settings["sample_rate"]) == ("pcm16", 8_000)


async def test_audio_that_is_no_wav_is_refused_and_the_connection_continues() -> None:
    async with session() as client:
        await client.update(input_audio_format="wav")
        await client.append(SECOND)
        assert (await client.fault())["message"] == "Failed to decode audio: not a wav file: it has no RIFF/WAVE header"
        await client.send("session.finish")
        assert await client.rest() == []


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("session_members", "text"),
    [
        ({"sample_rate": 44_100}, "Invalid enum value 44100 - at `$.sample_rate`"),
        ({"input_audio_format": "mp3"}, "Invalid enum value 'mp3' - at `$.input_audio_format`"),
        ({"input_audio_format": "opus"}, "the emulator decodes pcm and wav only, not opus"),
        ({"audio": {"input": {"format": {"type": "mp3"}}}}, "Invalid enum value 'mp3' - at `$.input_audio_format`"),
        ({"audio": {"input": {"format": {"sample_rate": 24_000}}}}, "Invalid enum value 24000 - at `$.sample_rate`"),
        ({"audio": {"input": 1}}, "Expected `object | null`, got `int` - at `$.session.audio.input`"),
        (
            {"turn_detection": {"type": "other"}},
            "Invalid enum value 'other' - at `$.turn_detection.type`",
        ),
        ({"turn_detection": {"type": "server_vad", "threshold": 2}}, "<= 1.0 - at `$.turn_detection.threshold`"),
        (
            {"turn_detection": {"type": "server_vad", "silence_duration_ms": 100}},
            ">= 200 - at `$.turn_detection.silence_duration_ms`",
        ),
        ({"input_audio_transcription": {"language": 1}}, "Expected `str | null`, got `int`"),
    ],
)
async def test_invalid_settings_are_refused_and_the_connection_stays(
    session_members: dict[str, Any], text: str
) -> None:
    async with session() as client:
        await client.send("session.update", session=session_members)
        fault = await client.fault()
        assert text in fault["message"]
        assert fault["event_id"] == "my session.update"
        assert (await client.update())["type"] == "session.updated"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"type": "response.create"}, "There is no such event."),
        ({}, "There is no such event."),
        ({"type": "input_audio_buffer.append"}, "Object missing required field `audio`"),
        ({"type": "input_audio_buffer.append", "audio": "a"}, "Invalid base64 encoded string"),
        (b"\0\0", "audio must be sent as base64 in input_audio_buffer.append"),
    ],
)
async def test_an_invalid_message_is_refused_and_the_connection_continues(message: Any, text: str) -> None:
    async with session() as client:
        await client.ws.send(message if isinstance(message, bytes) else json.dumps(message))
        assert text in (await client.fault())["message"]
        await client.send("session.finish")
        assert await client.rest() == []


async def test_a_message_that_is_not_json_closes_the_connection() -> None:
    async with session() as client:
        await client.ws.send("{")
        assert await client.receive_close() == (1007, "Invalid payload data")


async def test_settings_after_audio_and_any_message_after_the_end_are_refused() -> None:
    async with session() as client:
        await client.append(bytes(2))
        await client.send("session.update", session={})
        assert (await client.fault())["message"] == "session.update was sent after audio"
        await client.send("session.finish")
        await client.rest()
        await client.append()
        assert (await client.fault())["message"] == "input_audio_buffer.append was sent after session.finish"


# --- engine failures and timeouts -------------------------------------------------------------------------------------


async def test_unsupported_settings_are_refused_before_they_are_confirmed() -> None:
    async with session(ProbeEngine(refuse_at="open", kind="unsupported")) as client:
        await client.send("session.update", session={"input_audio_transcription": {"language": "zh"}})
        assert (await client.fault())["message"] == "cannot open"


@pytest.mark.parametrize(
    ("step", "kind", "code"), [("open", "capacity", "Throttling.Concurrency"), ("finish", "broken", "InternalError")]
)
async def test_an_engine_failure_is_a_server_error_and_ends_the_connection(step: str, kind: Any, code: str) -> None:
    engine = ProbeEngine(refuse_at=step, kind=kind)
    async with session(engine) as client:
        await client.append()
        await client.send("session.finish")
        error = (await client.receive())["error"]
        assert (error["type"], error["code"], error["message"]) == ("server_error", code, f"cannot {step}")
        assert await client.receive_close() == (1011, "Internal server error")
    assert engine.released.is_set() == (step == "finish")


async def test_the_recognition_is_closed_when_the_client_leaves() -> None:
    engine = ProbeEngine()
    async with session(engine) as client:
        await client.append()
        await wait_until(lambda: engine.received)
        assert engine.request is not None
        assert engine.request.sample_rate == 16_000
    async with asyncio.timeout(5):
        await engine.released.wait()


def test_the_connection_of_a_silent_client_is_closed() -> None:
    async def scenario() -> None:
        async with session() as client:
            began_at = asyncio.get_running_loop().time()
            assert await client.receive_close() == (1000, "idle")
            assert asyncio.get_running_loop().time() - began_at == pytest.approx(IDLE_TIMEOUT_S, abs=0.5)

    run_virtual(scenario)
