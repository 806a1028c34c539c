"""The vendor's own realtime client, unmodified: it completes against the emulator, and we say what it says.

It is synchronous and reads in a thread of its own, so all of it runs beside the loop that the other side lives in.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import websockets
from dashscope.audio.qwen_omni import MultiModality, OmniRealtimeCallback, OmniRealtimeConversation
from dashscope.audio.qwen_omni.omni_realtime import TranscriptionParams
from websockets.asyncio.server import Server, ServerConnection

from asr_async import DashScope, QwenRealtime, connect
from asr_async.emulator import Scripted, serve
from asr_async.emulator.dashscope.realtime import PATH

MODEL = "qwen3-asr-flash-realtime"
FRAME = bytes(range(256)) * 12 + bytes(128)
SCRIPT = (("Hello, big world.", 100, 1000), ("Good bye.", 1400, 2000))
TEXTS = [text for text, _, _ in SCRIPT]
TRANSCRIPTION = "conversation.item.input_audio_transcription"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    # the SDK asks the environment for a proxy, for loopback too
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class Log(OmniRealtimeCallback):
    """Writes down what the SDK calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.events: list[dict[str, Any]] = []

    def on_open(self) -> None:
        self.calls.append("open")

    def on_event(self, message: Any) -> None:
        self.events.append(message)

    def on_close(self, close_status_code: Any, close_msg: Any) -> None:
        self.calls.append("close")

    def texts(self, kind: str, member: str) -> list[str]:
        return [event[member] for event in self.events if event["type"] == f"{TRANSCRIPTION}.{kind}"]


class Conversation:
    """One conversation of the SDK. The other side hangs up: its own `close()` leaves its reader waiting for 10 s."""

    def __init__(self, act: Callable[[OmniRealtimeConversation], None]) -> None:
        self.log = Log()
        self._act = act
        self.sdk: Any = None
        self._socket: Any = None

    async def run(self, address: str) -> None:
        await beside(self._run, address)

    def _run(self, address: str) -> None:
        url = f"ws://{address}{PATH}"
        self.sdk = OmniRealtimeConversation(model=MODEL, callback=self.log, url=url, api_key="sk-test")
        self.sdk.connect()
        self._socket = self.sdk.ws.sock
        self._act(self.sdk)

    async def ended(self) -> None:
        await beside(self.sdk.thread.join, 10)
        self._socket.shutdown()  # which its WebSocket library forgets where the other side closes first (1.9.2)


def set_up(conversation: OmniRealtimeConversation, *, manual: bool = False) -> None:
    conversation.update_session(
        output_modalities=[MultiModality.TEXT],
        enable_turn_detection=not manual,
        turn_detection_threshold=0.0,
        prefix_padding_ms=200,
        turn_detection_silence_duration_ms=400,
        transcription_params=TranscriptionParams(language="en", corpus_text="greetings"),
    )


def append(conversation: OmniRealtimeConversation, frames: int) -> None:
    for _ in range(frames):
        conversation.append_audio(base64.b64encode(FRAME).decode("ascii"))


async def beside(blocking: Callable[..., Any], *args: Any) -> Any:
    async with asyncio.timeout(30):
        return await asyncio.to_thread(blocking, *args)


# --- against the emulator --------------------------------------------------------------------------------------------


async def against_emulator(act: Callable[[OmniRealtimeConversation], None]) -> Conversation:
    conversation = Conversation(act)
    async with serve(Scripted(SCRIPT)) as emulator:
        await conversation.run(emulator.address)
    await conversation.ended()
    return conversation


async def test_a_conversation_with_server_vad_completes() -> None:
    def act(sdk: OmniRealtimeConversation) -> None:
        set_up(sdk)
        append(sdk, 22)
        sdk.end_session()

    conversation = await against_emulator(act)
    log = conversation.log
    assert log.calls == ["open", "close"]
    kinds = [event["type"] for event in log.events]
    assert kinds[:2] == ["session.created", "session.updated"]
    assert kinds[-1] == "session.finished"
    assert "error" not in kinds
    assert log.texts("completed", "transcript") == TEXTS
    assert log.texts("text", "stash")[0] == "Hello,"
    assert conversation.sdk.get_session_id() == log.events[0]["session"]["id"]


async def test_a_conversation_in_the_manual_mode_completes() -> None:
    def act(sdk: OmniRealtimeConversation) -> None:
        set_up(sdk, manual=True)
        append(sdk, 5)
        sdk.clear_appended_audio()
        for _ in range(2):
            append(sdk, 22)
            sdk.commit()
        sdk.end_session()

    log = (await against_emulator(act)).log
    assert log.texts("completed", "transcript") == [" ".join(TEXTS)] * 2
    assert log.events[-1]["type"] == "session.finished"


async def test_the_settings_of_the_sdk_by_default_are_taken() -> None:
    def act(sdk: OmniRealtimeConversation) -> None:
        sdk.update_session(output_modalities=[MultiModality.TEXT])
        append(sdk, 22)
        sdk.end_session()

    assert (await against_emulator(act)).log.texts("completed", "transcript") == TEXTS


async def test_an_error_names_the_event_of_the_sdk_that_it_is_about() -> None:
    def act(sdk: OmniRealtimeConversation) -> None:
        sdk.send_raw('{"event_id": "event_7", "type": "input_audio_buffer.commit"}')
        sdk.end_session_async()

    conversation = await against_emulator(act)
    (error,) = [event["error"] for event in conversation.log.events if event["type"] == "error"]
    assert (error["type"], error["event_id"]) == ("invalid_request_error", "event_7")


# --- member for member -----------------------------------------------------------------------------------------------


class Recorder:
    """A server that does what is needed to go on, and keeps what a client sends."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.paths: list[str] = []

    async def __call__(self, ws: ServerConnection) -> None:
        assert ws.request is not None
        self.paths.append(ws.request.path)
        answers = {
            "session.update": "session.updated",
            "input_audio_buffer.commit": "input_audio_buffer.committed",
            "session.finish": "session.finished",
        }
        await ws.send(json.dumps({"type": "session.created", "session": {"id": "sess_1"}}))
        async for text in ws:
            frame = json.loads(text)
            event_id = frame.pop("event_id")
            assert isinstance(event_id, str)
            assert event_id
            self.frames.append(frame)
            if answer := answers.get(frame["type"]):
                await ws.send(json.dumps({"type": answer, "session": {"id": "sess_1"}}))


def theirs(manual: bool) -> Callable[[OmniRealtimeConversation], None]:
    def act(conversation: OmniRealtimeConversation) -> None:
        set_up(conversation, manual=manual)
        append(conversation, 3)
        if manual:
            conversation.commit()
            append(conversation, 2)
            conversation.commit()
        conversation.end_session()

    return act


async def ours(address: str, manual: bool) -> None:
    vad: dict[str, Any] = {"vad_threshold": 0.0, "prefix_padding_ms": 200, "silence_duration_ms": 400}
    options = QwenRealtime(language="en", corpus_text="greetings", manual_commit=manual, **({} if manual else vad))
    service = DashScope("sk-test", endpoint=f"ws://{address}{PATH}")
    async with connect(options, service) as session:
        await session.send(FRAME * 3)
        if manual:
            await session.commit()
            await session.send(FRAME * 2)
        await session.finish()


@pytest.mark.parametrize("manual", [False, True], ids=["server VAD", "manual"])
async def test_we_send_what_the_sdk_sends(manual: bool) -> None:
    sdk, mine = Recorder(), Recorder()
    conversation = Conversation(theirs(manual))
    async with websockets.serve(sdk, "127.0.0.1", 0, close_timeout=0.2) as server:
        await conversation.run(_address(server))
    await conversation.ended()
    async with websockets.serve(mine, "127.0.0.1", 0, close_timeout=0.2) as server:
        await ours(_address(server), manual)
    assert mine.paths == sdk.paths
    # the SDK is that of the speaking models too, and tells these members in any case
    for member in ("voice", "output_audio_format"):
        del sdk.frames[0]["session"][member]
    assert mine.frames == sdk.frames
    assert len(mine.frames) == (9 if manual else 5)


def _address(server: Server) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"{host}:{port}"
