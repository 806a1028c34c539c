"""The emulated realtime transcription of OpenAI: its order, its refusals, and the messages of an utterance."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from asr_async.emulator import Scripted, serve
from asr_async.vendors.openai.vllm_models import VLLM_MODELS

from ...support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT = [("hello there", 100, 900)]
FRAME = {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(4_800)).decode()}
COMMIT = {"type": "input_audio_buffer.commit", "event_id": "mine"}


def update(model: str = "gpt-4o-transcribe", **members: Any) -> dict[str, Any]:
    audio_input = {"transcription": {"model": model}, **members}
    return {"type": "session.update", "session": {"type": "transcription", "audio": {"input": audio_input}}}


def conversation(*messages: Any, replies: int, query: str = "?intent=transcription") -> list[dict[str, Any]]:
    """Return the first messages of the server, session.created left out."""

    async def run() -> list[dict[str, Any]]:
        async with serve(Scripted(SCRIPT)) as emulator:
            url, headers = f"{emulator.openai_url}{query}", {"Authorization": "Bearer key"}
            async with connect(url, additional_headers=headers, compression=None, proxy=None) as connection:
                await connection.recv()
                for message in messages:
                    await connection.send(json.dumps(message))
                return [json.loads(await connection.recv()) for _ in range(replies)]

    return run_virtual(run)


def kinds(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"].rpartition(".")[2] for event in events]


def test_an_utterance_is_detected_committed_and_completed() -> None:
    events = conversation(update(), *[FRAME] * 20, replies=8)
    assert kinds(events) == [
        "updated",
        "speech_started",
        "speech_stopped",
        "committed",
        "added",
        "delta",
        "delta",
        "completed",
    ]
    assert (events[1]["audio_start_ms"], events[2]["audio_end_ms"]) == (100, 900)
    assert events[-1]["transcript"] == events[5]["delta"] + events[6]["delta"] == "hello there"
    assert len({event["item_id"] for event in events if "item_id" in event}) == 1
    assert events[-1]["usage"]["type"] == "tokens"


def test_a_commit_of_the_client_ends_the_open_utterance() -> None:
    events = conversation(update(), *[FRAME] * 5, COMMIT, replies=6)
    assert kinds(events) == ["updated", "speech_started", "committed", "added", "delta", "completed"]
    assert len({event["item_id"] for event in events if "item_id" in event}) == 1


def test_a_model_without_turn_detection_shows_its_text_before_the_commit() -> None:
    events = conversation(update("gpt-live-transcribe"), *[FRAME] * 10, COMMIT, replies=6)
    assert kinds(events) == ["updated", "delta", "delta", "committed", "added", "completed"]


def test_audio_that_is_cleared_is_not_recognised() -> None:
    clear = {"type": "input_audio_buffer.clear"}
    events = conversation(update("gpt-transcribe"), clear, COMMIT, replies=3)
    assert kinds(events) == ["updated", "cleared", "error"]


@pytest.mark.parametrize(
    ("messages", "code", "text"),
    [
        ([update(), COMMIT], "input_audio_buffer_commit_empty", "buffer only has 0.00ms of audio"),
        ([{**FRAME}], "invalid_value", "No transcription model is set"),
        ([update("gpt-5")], "model_not_found", "The model `gpt-5` does not exist"),
        ([update("gpt-transcribe", turn_detection={"type": "server_vad"})], "invalid_value", "Turn detection is not"),
        ([update(unknown=1)], "unknown_parameter", "Object contains unknown field `unknown`"),
        ([update(format={"type": "audio/pcm", "rate": 16_000})], "invalid_value", "Invalid enum value 16000"),
        ([update(noise_reduction={"type": "loud"})], "invalid_value", "Invalid enum value 'loud'"),
        ([update("whisper-1", transcription={"model": "whisper-1", "delay": "low"})], "invalid_value", "delay is not"),
        ([{"type": "response.create"}], "invalid_value", "There is no such event"),
        ([update(), FRAME, update()], "invalid_value", "session.update was sent behind audio"),
    ],
)
def test_what_the_server_refuses_is_an_error_and_the_connection_continues(
    messages: list[Any], code: str, text: str
) -> None:
    last = messages[-1]
    events = conversation(*messages, {**last, "event_id": "again"}, replies=sum(m is not FRAME for m in messages) + 1)
    errors = [event["error"] for event in events if event["type"] == "error"]
    assert {error["code"] for error in errors} == {code}
    assert all(text in error["message"] for error in errors)
    assert errors[-1]["event_id"] == "again"


def test_vllm_asks_for_no_key_and_runs_one_transcription_after_another() -> None:
    """The conversation of the example client in vLLM's repository (`openai_realtime_client.py`), twice."""
    commit = {"type": "input_audio_buffer.commit"}
    audio = {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(32_000)).decode()}

    async def run() -> list[dict[str, Any]]:
        async with serve(Scripted(SCRIPT)) as emulator, connect(emulator.openai_url, proxy=None) as connection:
            await connection.send(json.dumps({"type": "session.update", "model": VLLM_MODELS[0]}))
            events = [json.loads(await connection.recv())]
            for _ in range(2):
                for message in (commit, audio, {**commit, "final": True}):
                    await connection.send(json.dumps(message))
                while events[-1]["type"] != "transcription.done" or len(events) < 2:
                    events.append(json.loads(await connection.recv()))
                events.append({"type": "next"})
            return events

    created, *events = run_virtual(run)
    assert (created["type"], created["created"] > 1_700_000_000) == ("session.created", True)
    usage = {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2}
    assert [event for event in events if event["type"] == "transcription.done"] == 2 * [
        {"type": "transcription.done", "text": "hello there", "usage": usage}
    ]
    deltas = "".join(event["delta"] for event in events if event["type"] == "transcription.delta")
    assert deltas == 2 * "hello there"


@pytest.mark.parametrize(
    ("text", "code", "error"),
    [
        ('{"type"', "invalid_json", "Invalid JSON"),
        ('{"type": "nonsense"}', "unknown_event", "Unknown event type: nonsense"),
        ('{"type": "input_audio_buffer.append", "audio": 5}', "processing_error", "Expected `bytes`"),
        ('{"type": "session.update", "model": null}', "invalid_event", "Missing required field: model"),
        ('{"type": "input_audio_buffer.commit"}', "model_not_validated", "Model not validated."),
    ],
)
def test_vllm_reports_errors_and_the_connection_continues(text: str, code: str, error: str) -> None:
    async def run() -> list[dict[str, Any]]:
        async with serve(Scripted(SCRIPT)) as emulator, connect(emulator.openai_url, proxy=None) as connection:
            await connection.recv()
            for _ in range(2):
                await connection.send(text)
            return [json.loads(await connection.recv()) for _ in range(2)]

    first, second = run_virtual(run)
    assert first == second == {"type": "error", "error": first["error"], "code": code}
    assert first["error"].startswith(error)


def test_a_vllm_server_with_a_key_asks_for_it() -> None:
    async def run() -> None:
        async with serve(Scripted(SCRIPT), api_keys={"sk"}) as emulator:
            await connect(emulator.openai_url, proxy=None)

    with pytest.raises(InvalidStatus, match="HTTP 401"):
        run_virtual(run)


def test_a_session_for_conversations_accepts_no_transcription() -> None:
    (event,) = conversation(update(), replies=1, query="?model=gpt-realtime")
    assert event["error"]["code"] == "invalid_session_type"
