"""The realtime client of the official DashScope SDK, unmodified: as a client of the emulator, and beside this package.

It completes conversations with the emulator, and this package sends the same messages as it does. It is synchronous and
reads in a thread of its own, so its calls run in threads.
"""

from __future__ import annotations

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

from ..support.threads import run_in_thread

MODEL = "qwen3-asr-flash-realtime"
FRAME = bytes(range(256)) * 12 + bytes(128)
SCRIPT = (("Hello, big world.", 100, 1000), ("Good bye.", 1400, 2000))
TEXTS = [text for text, _, _ in SCRIPT]
TRANSCRIPTION = "conversation.item.input_audio_transcription"


pytestmark = pytest.mark.usefixtures("no_proxy_for_loopback")


class CallbackLog(OmniRealtimeCallback):
    """A record of the SDK's calls."""

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
    """One conversation of the SDK. The server closes it: the SDK's `close()` waits for its reader for 10 s."""

    def __init__(self, script: Callable[[OmniRealtimeConversation], None]) -> None:
        self.log = CallbackLog()
        self._script = script
        self.sdk: Any = None
        self._socket: Any = None

    async def run(self, address: str) -> None:
        await run_in_thread(self._run, address)

    def _run(self, address: str) -> None:
        url = f"ws://{address}{PATH}"
        self.sdk = OmniRealtimeConversation(model=MODEL, callback=self.log, url=url, api_key="sk-test")
        self.sdk.connect()
        self._socket = self.sdk.ws.sock
        self._script(self.sdk)

    async def wait_ended(self) -> None:
        await run_in_thread(self.sdk.thread.join, 10)
        self._socket.shutdown()  # websocket-client (1.9.2) omits it if the server closes first


def configure(conversation: OmniRealtimeConversation, *, manual: bool = False) -> None:
    conversation.update_session(
        output_modalities=[MultiModality.TEXT],
        enable_turn_detection=not manual,
        turn_detection_threshold=0.0,
        prefix_padding_ms=200,
        turn_detection_silence_duration_ms=400,
        transcription_params=TranscriptionParams(language="en", corpus_text="greetings"),
    )


def append_frames(conversation: OmniRealtimeConversation, frames: int) -> None:
    for _ in range(frames):
        conversation.append_audio(base64.b64encode(FRAME).decode("ascii"))


# --- with the emulator -----------------------------------------------------------------------------------------------


async def converse_with_emulator(script: Callable[[OmniRealtimeConversation], None]) -> Conversation:
    conversation = Conversation(script)
    async with serve(Scripted(SCRIPT)) as emulator:
        await conversation.run(emulator.address)
    await conversation.wait_ended()
    return conversation


async def test_a_conversation_with_server_vad_completes() -> None:
    def script(sdk: OmniRealtimeConversation) -> None:
        configure(sdk)
        append_frames(sdk, 22)
        sdk.end_session()

    conversation = await converse_with_emulator(script)
    log = conversation.log
    assert log.calls == ["open", "close"]
    kinds = [event["type"] for event in log.events]
    assert kinds[:2] == ["session.created", "session.updated"]
    assert kinds[-1] == "session.finished"
    assert "error" not in kinds
    assert log.texts("completed", "transcript") == TEXTS
    assert log.texts("text", "stash")[0] == "Hello,"
    assert conversation.sdk.get_session_id() == log.events[0]["session"]["id"]


async def test_a_conversation_in_manual_mode_completes() -> None:
    def script(sdk: OmniRealtimeConversation) -> None:
        configure(sdk, manual=True)
        append_frames(sdk, 5)
        sdk.clear_appended_audio()
        for _ in range(2):
            append_frames(sdk, 22)
            sdk.commit()
        sdk.end_session()

    log = (await converse_with_emulator(script)).log
    assert log.texts("completed", "transcript") == [" ".join(TEXTS)] * 2
    assert log.events[-1]["type"] == "session.finished"


async def test_the_default_settings_of_the_sdk_are_accepted() -> None:
    def script(sdk: OmniRealtimeConversation) -> None:
        sdk.update_session(output_modalities=[MultiModality.TEXT])
        append_frames(sdk, 22)
        sdk.end_session()

    assert (await converse_with_emulator(script)).log.texts("completed", "transcript") == TEXTS


async def test_an_error_names_the_event_that_caused_it() -> None:
    def script(sdk: OmniRealtimeConversation) -> None:
        sdk.send_raw('{"event_id": "event_7", "type": "input_audio_buffer.commit"}')
        sdk.end_session_async()

    conversation = await converse_with_emulator(script)
    (error,) = [event["error"] for event in conversation.log.events if event["type"] == "error"]
    assert (error["type"], error["event_id"]) == ("invalid_request_error", "event_7")


# --- the same messages -----------------------------------------------------------------------------------------------


class Recorder:
    """A server that confirms each step and records the messages of the client."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
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
            message = json.loads(text)
            event_id = message.pop("event_id")
            assert isinstance(event_id, str)
            assert event_id
            self.messages.append(message)
            if answer := answers.get(message["type"]):
                await ws.send(json.dumps({"type": answer, "session": {"id": "sess_1"}}))


def sdk_script(manual: bool) -> Callable[[OmniRealtimeConversation], None]:
    def script(conversation: OmniRealtimeConversation) -> None:
        configure(conversation, manual=manual)
        append_frames(conversation, 3)
        if manual:
            conversation.commit()
            append_frames(conversation, 2)
            conversation.commit()
        conversation.end_session()

    return script


async def stream_same_audio(address: str, manual: bool) -> None:
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
async def test_this_package_sends_the_same_messages_as_the_sdk(manual: bool) -> None:
    sdk, ours = Recorder(), Recorder()
    conversation = Conversation(sdk_script(manual))
    async with websockets.serve(sdk, "127.0.0.1", 0, close_timeout=0.2) as server:
        await conversation.run(_address(server))
    await conversation.wait_ended()
    async with websockets.serve(ours, "127.0.0.1", 0, close_timeout=0.2) as server:
        await stream_same_audio(_address(server), manual)
    assert ours.paths == sdk.paths
    # the SDK also serves models that speak, and always sends these members
    for member in ("voice", "output_audio_format"):
        del sdk.messages[0]["session"][member]
    assert ours.messages == sdk.messages
    assert len(ours.messages) == (9 if manual else 5)


def _address(server: Server) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"{host}:{port}"
