"""The emulated DashScope task protocol, tested with a plain WebSocket client and messages as plain dicts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame, Opcode

from asr_async.emulator import Emulator, Engine, Hypothesis, HypothesisWord, Request, Scripted, serve
from asr_async.emulator.connection import CLOSE_TIMEOUT_S, PONG_TIMEOUT_S
from asr_async.emulator.dashscope import tasks as task_protocol
from asr_async.vendors.dashscope.models import MODEL_ROWS

from ...support.probe_engine import ProbeEngine
from ...support.virtual_time import now, run_virtual
from ...support.waiting import wait_until

HELLO = Scripted([("Hello, world.", 0, 1000)], interim_every_ms=500)
SECOND = bytes(32_000)
KEY = {"Authorization": "Bearer key"}
INVALID_PAYLOAD = (1007, "Invalid payload data")


# --- a plain client ---------------------------------------------------------------------------------------------------


def run_task(
    task_id: str = "t1", *, parameters: dict[str, Any] | None = None, header: Any = None, **payload: Any
) -> dict[str, Any]:
    """Return a run-task message; a member given as `...` is omitted."""
    members = {
        "model": "paraformer-realtime-v2",
        "parameters": {"format": "pcm", "sample_rate": 16_000, **(parameters or {})},
        "input": {},
        "task": "asr",
        "task_group": "audio",
        "function": "recognition",
        **payload,
    }
    return {
        "header": {"action": "run-task", "task_id": task_id, "streaming": "duplex", **(header or {})},
        "payload": {name: value for name, value in members.items() if value is not ...},
    }


def input_message(action: str, task_id: str = "t1", **payload: Any) -> dict[str, Any]:
    """Return a finish-task or continue-task message; a member given as `...` is omitted."""
    members = {"input": {}, **payload}
    return {
        "header": {"action": action, "task_id": task_id, "streaming": "duplex"},
        "payload": {name: value for name, value in members.items() if value is not ...},
    }


class Client:
    """A plain WebSocket client."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws

    async def send(self, message: dict[str, Any] | str | bytes) -> None:
        await self.ws.send(json.dumps(message) if isinstance(message, dict) else message)

    async def start(self, task_id: str = "t1", **run: Any) -> None:
        await self.send(run_task(task_id, **run))
        assert (await self.receive())["header"]["event"] == "task-started"

    async def finish(self, task_id: str = "t1") -> None:
        await self.send(input_message("finish-task", task_id))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(300):
            message: dict[str, Any] = json.loads(await self.ws.recv())
        return message

    async def sentences(self) -> list[dict[str, Any]]:
        """Receive the sentences until task-finished."""
        found = []
        while (message := await self.receive())["header"]["event"] == "result-generated":
            found.append(message["payload"]["output"]["sentence"])
        assert message["header"]["event"] == "task-finished", message
        return found

    async def failure(self) -> tuple[str, str]:
        """Receive a failure and the close frame after it; return code and message of the failure."""
        message = await self.receive()
        header = message["header"]
        assert header["event"] == "task-failed"
        assert header["attributes"] == {}
        assert message["payload"] == {}
        assert await self.receive_close() == (1000, "task failed")
        return header["error_code"], header["error_message"]

    async def receive_close(self) -> tuple[int, str]:
        """Receive the close frame; return its code and reason."""
        with pytest.raises(websockets.ConnectionClosed) as caught:
            raise AssertionError(await self.receive())
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code, caught.value.rcvd.reason


@contextlib.asynccontextmanager
async def connect_client(emulator: Emulator) -> AsyncIterator[Client]:
    async with websockets.connect(emulator.dashscope_url, additional_headers=KEY, proxy=None) as ws:
        yield Client(ws)


@contextlib.asynccontextmanager
async def connected(engine: Engine = HELLO) -> AsyncIterator[Client]:
    async with serve(engine) as emulator, connect_client(emulator) as client:
        yield client


# --- credentials ------------------------------------------------------------------------------------------------------


async def refusal(emulator: Emulator, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(emulator.dashscope_url, additional_headers=headers, proxy=None)
    response = caught.value.response
    return response.status_code, json.loads(response.body or b"")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "key"}, {"Authorization": "Bearer "}])
async def test_a_client_without_a_key_is_rejected(headers: dict[str, str]) -> None:
    async with serve(HELLO) as emulator:
        status, body = await refusal(emulator, headers)
    assert status == 401
    assert body == {
        "code": "InvalidApiKey",
        "message": "No API-key provided.",
        "request_id": body["request_id"],
    }
    assert body["request_id"]


async def test_an_unknown_key_is_rejected_and_a_known_one_is_accepted() -> None:
    async with serve(HELLO, api_keys={"key", "other"}) as emulator:
        status, body = await refusal(emulator, {"Authorization": "Bearer wrong"})
        assert (status, body["code"], body["message"]) == (401, "InvalidApiKey", "Invalid API-key provided.")
        async with connect_client(emulator) as client:
            await client.start()


@pytest.mark.parametrize("end", ["", "/"])
async def test_the_case_of_the_scheme_and_a_trailing_slash_make_no_difference(end: str) -> None:
    headers = {"Authorization": "bearer any"}
    async with (
        serve(HELLO) as emulator,
        websockets.connect(emulator.dashscope_url + end, additional_headers=headers, proxy=None) as ws,
    ):
        await Client(ws).start()


async def test_compression_is_not_negotiated() -> None:
    async with connected() as client:
        assert client.ws.response is not None
        assert "Sec-WebSocket-Extensions" not in client.ws.response.headers


async def test_plain_http_is_a_bad_request() -> None:
    async with serve(HELLO) as emulator, aiohttp.ClientSession() as http:
        url = emulator.dashscope_url.replace("ws:", "http:")
        async with http.get(url, headers=KEY) as response:
            assert response.status == 400
        async with http.get(emulator.url + "/elsewhere") as response:
            assert response.status == 404


# --- messages that cannot be read -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        b"\0\0",
        "not json",
        "[]",
        "{}",
        '{"header":' + "[" * 100_000,
        {"payload": {}},
        {"header": {"action": "run-task", "task_id": "t1", "streaming": "duplex"}},
        {"header": {"action": "run-task", "streaming": "duplex"}, "payload": {}},
        {"header": {"action": "run-task", "task_id": "t1", "streaming": "duplex"}, "payload": []},
        run_task(header={"action": "stop-task"}),
        run_task(header={"streaming": "out"}),
        run_task(header={"streaming": None}),
        input_message("finish-task"),
        input_message("continue-task"),
    ],
    ids=lambda first: str(first)[:60],
)
async def test_a_first_message_other_than_run_task_closes_with_1007(first: Any) -> None:
    async with connected() as client:
        await client.send(first)
        assert await client.receive_close() == INVALID_PAYLOAD


@pytest.mark.parametrize(
    "message",
    [
        "not json",
        input_message("finish-task", end_of_stream=True),
        input_message("finish-task", input=...),
        input_message("finish-task", input=[]),
        input_message("continue-task", context=[]),
        run_task("t2", header={"streaming": "out"}),
    ],
    ids=lambda message: str(message)[:90],
)
async def test_a_malformed_message_closes_an_open_task_with_1007(message: Any) -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start()
        await client.send(message)
        assert await client.receive_close() == INVALID_PAYLOAD
        assert engine.released.is_set()


async def test_a_continue_task_without_streaming_is_accepted_as_the_old_sdk_sends_it() -> None:
    async with connected() as client:
        await client.start()
        message = input_message("continue-task", input={"context": []})
        del message["header"]["streaming"]
        await client.send(message)
        await client.send(SECOND)
        await client.finish()
        assert [sentence["text"] for sentence in await client.sentences()] == ["Hello,", "Hello, world."]


# --- tasks that cannot be accepted ------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [{"input": ...}, {"input": None}, {"task": ...}])
async def test_a_run_task_without_input_or_task_fails(missing: dict[str, Any]) -> None:
    async with connected() as client:
        await client.send(run_task(**missing))
        assert await client.failure() == ("InvalidParameter", "task can not be null")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"model": ...}, "model"),
        ({"model": 7}, "model"),
        ({"parameters": ...}, "parameters"),
        ({"input": []}, "input"),
        ({"task": "tts"}, "audio/tts/recognition"),
        ({"task_group": "text"}, "text/asr/recognition"),
        ({"function": "translation"}, "audio/asr/translation"),
    ],
)
async def test_a_wrong_member_of_the_payload_is_named(wrong: dict[str, Any], named: str) -> None:
    message = run_task()
    message["payload"] = {k: v for k, v in {**message["payload"], **wrong}.items() if v is not ...}
    async with connected() as client:
        await client.send(message)
        code, text = await client.failure()
        assert code == "InvalidParameter"
        assert named in text


@pytest.mark.parametrize("model", ["whisper-1", "", "Paraformer-Realtime-V2"])
async def test_a_model_that_is_not_in_the_table_is_not_found(model: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "asr_async")
    async with connected() as client:
        await client.send(run_task(model=model))
        assert await client.failure() == ("ModelNotFound", f"Model not found: {model}")
    assert caplog.messages == [f"emulator: task t1 failed: ModelNotFound Model not found: {model}"]


async def test_every_model_of_the_table_is_supported_with_its_rates() -> None:
    async with serve(HELLO) as emulator:
        for row in MODEL_ROWS.values():
            async with connect_client(emulator) as client:
                rate = (row.sample_rates or (44_100,))[0]
                await client.start(model=row.model, parameters={"sample_rate": rate})


@pytest.mark.parametrize(
    ("model", "rate", "allowed"),
    [("paraformer-realtime-8k-v2", 16_000, "8000"), ("fun-asr-realtime", 8_000, "16000")],
)
async def test_a_sample_rate_that_the_model_does_not_support_fails(model: str, rate: int, allowed: str) -> None:
    async with connected() as client:
        await client.send(run_task(model=model, parameters={"sample_rate": rate}))
        code, text = await client.failure()
        assert (code, text) == ("InvalidParameter", f"sample_rate {rate}: {model} accepts {allowed} Hz only")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", None),
        ("sample_rate", "16000"),
        ("sample_rate", 16_000.5),
        ("sample_rate", 0),
        ("language_hints", "zh"),
        ("language_hints", [1]),
        ("heartbeat", "true"),
        ("max_sentence_silence", 100),
        ("speech_noise_threshold", 2),
        ("semantic_punctuation_enabled", 1),
        ("vocabulary_id", 5),
        ("special_word_filter", {}),
    ],
)
async def test_a_parameter_of_the_wrong_type_or_range_is_named(name: str, value: Any) -> None:
    async with connected() as client:
        await client.send(run_task(parameters={name: value}))
        code, text = await client.failure()
        assert code == "InvalidParameter"
        assert name in text


async def test_unknown_parameters_nulls_and_resources_are_accepted() -> None:
    resources = [{"resource_id": "phrase-1", "resource_type": "asr_phrase"}]
    async with connected() as client:
        await client.start("t0", resources=resources)
    async with connected() as client:
        await client.start(parameters={"speaker_count": 2, "vocabulary_id": None, "speech_noise_threshold": 0})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("language_hints", ["zh"]),
        ("semantic_punctuation_enabled", False),
        ("special_word_filter", "{}"),
        ("speaker_count", 2),
    ],
)
async def test_the_message_model_refuses_parameters_that_it_lacks(name: str, value: Any) -> None:
    model = "qwen-audio-3.1-asr-flash-message"
    async with connected() as client:
        await client.send(run_task(model=model, parameters={name: value, "heartbeat": True}))
        assert await client.failure() == ("InvalidParameter", f"{name} is not supported by {model}")
    async with connected() as client:
        known = {"vad_model": "near_meeting_16k", "disfluency_removal_enabled": True, "vocabulary": {"云": 5}}
        await client.start(model=model, parameters={**known, name: None})


@pytest.mark.parametrize("model", ["paraformer-realtime-v2", "qwen-audio-3.1-asr-flash-message"])
async def test_the_parameter_stream_of_the_official_sdk_until_1_25_is_accepted(model: str) -> None:
    async with connected() as client:
        await client.start(model=model, parameters={"stream": True})


@pytest.mark.parametrize(
    ("model", "parameters", "text", "words"),
    [
        (
            "paraformer-realtime-v2",
            {"punctuation_prediction_enabled": False},
            "Hello 25 worlds",
            [("Hello", ""), ("25", ""), ("worlds", "")],
        ),
        (
            "paraformer-realtime-v2",
            {"inverse_text_normalization_enabled": False},
            "Hello, two-five worlds.",
            [("Hello", ","), ("two-five", ""), ("worlds", ".")],
        ),
        (
            "paraformer-realtime-v2",
            {"punctuation_prediction_enabled": False, "inverse_text_normalization_enabled": False},
            "Hello two-five worlds",
            [("Hello", ""), ("two-five", ""), ("worlds", "")],
        ),
        (
            "paraformer-realtime-v2",
            {"punctuation_prediction_enabled": True, "inverse_text_normalization_enabled": True},
            "Hello, 25 worlds.",
            [("Hello", ","), ("25", ""), ("worlds", ".")],
        ),
        # "always on" (SDK page, 2025-10-30)
        (
            "fun-asr-realtime",
            {"punctuation_prediction_enabled": False},
            "Hello, 25 worlds.",
            [("Hello", ","), ("25", ""), ("worlds", ".")],
        ),
    ],
)
async def test_paraformer_v2_leaves_out_punctuation_and_digits_on_request(
    model: str, parameters: dict[str, Any], text: str, words: list[tuple[str, str]]
) -> None:
    async with connected(Scripted([("Hello, 25 worlds.", 0, 1000)])) as client:
        await client.start(model=model, parameters=parameters)
        await client.send(SECOND)
        await client.finish()
        (sentence,) = [sentence for sentence in await client.sentences() if sentence["sentence_end"]]
        assert sentence["text"] == text
        assert [(word["text"], word["punctuation"]) for word in sentence["words"]] == words


@pytest.mark.parametrize("task_id", ["", "t1"])
async def test_a_task_id_must_be_new(task_id: str) -> None:
    async with connected() as client:
        await client.start()
        await client.send(SECOND)
        await client.finish()
        await client.sentences()
        await client.send(run_task(task_id))
        code, text = await client.failure()
        assert (code, text.split()[0]) == ("InvalidParameter", "task_id")


async def test_a_second_run_task_fails_the_open_task() -> None:
    async with connected() as client:
        await client.start("t1")
        await client.send(run_task("t2"))
        message = await client.receive()
        assert message["header"]["task_id"] == "t1"
        assert message["header"]["error_code"] == "InvalidParameter"
        assert await client.receive_close() == (1000, "task failed")


@pytest.mark.parametrize("action", ["finish-task", "continue-task"])
async def test_a_foreign_task_id_fails_the_open_task(action: str) -> None:
    async with connected() as client:
        await client.start()
        await client.send(input_message(action, "other"))
        assert await client.failure() == ("InvalidParameter", "task_id other is not that of the open task")


async def test_an_unsupported_audio_format_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as client:
        await client.send(run_task(parameters={"format": "nonsense"}))
        assert await client.failure() == ("UNSUPPORTED_FORMAT", "the emulator does not decode nonsense")
    monkeypatch.setattr("asr_async.emulator.dashscope.tasks.has_decoder", lambda: False)
    text = 'to decode mp3, the emulator needs PyAV: pip install "asr-async[audio]"'
    async with connected() as client:
        await client.send(run_task(parameters={"format": "mp3"}))
        assert await client.failure() == ("UNSUPPORTED_FORMAT", text)


@pytest.mark.parametrize("early", [b"\0\0", input_message("finish-task"), input_message("continue-task")])
@pytest.mark.parametrize("is_slow", [False, True], ids=["fast engine", "slow engine"])
async def test_a_message_before_task_started_fails_the_task(early: Any, is_slow: bool) -> None:
    engine = ProbeEngine()
    if is_slow:
        engine.gates["open"].clear()
    async with connected(engine) as client:
        await client.send(run_task())
        await client.send(early)
        await client.ws.ping()
        engine.gates["open"].set()
        code, text = await client.failure()
        assert code == "CLIENT_ERROR"
        assert text.endswith(" was sent before task-started was received")


async def test_an_engine_that_refuses_precedes_the_error_of_a_message_before_task_started() -> None:
    engine = ProbeEngine(refuse_at="open")
    engine.gates["open"].clear()
    async with connected(engine) as client:
        await client.send(run_task())
        await client.send(SECOND)
        engine.gates["open"].set()
        assert await client.failure() == ("InternalError", "cannot open")


class PausedPongs:
    """A client that reads messages, but answers no ping before `release` is called."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._send_frame = client.ws.protocol.send_frame
        self._pongs: list[Frame] = []
        client.ws.protocol.send_frame = self._hold_pongs  # type: ignore[method-assign]

    def _hold_pongs(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self._pongs.append(frame)
        else:
            self._send_frame(frame)

    async def release(self) -> None:
        self._client.ws.protocol.send_frame = self._send_frame  # type: ignore[method-assign]
        await self._client.ws.pong(self._pongs[-1].data)


def test_audio_is_early_until_the_client_has_read_task_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """task-started is on its way when the client sends the audio: the verdict is the same as before it was sent."""
    monkeypatch.setattr(task_protocol, "ROUND_TRIPS", 0)

    async def scenario() -> None:
        async with connected() as client:
            pongs = PausedPongs(client)
            await client.start()
            await client.send(SECOND)
            await pongs.release()
            code, text = await client.failure()
            assert (code, text) == ("CLIENT_ERROR", "audio was sent before task-started was received")

    run_virtual(scenario)


def test_a_client_that_answers_no_ping_may_send_audio_a_second_later() -> None:
    async def scenario() -> None:
        async with connected() as client:
            PausedPongs(client)
            await client.start()
            assert now() == pytest.approx(PONG_TIMEOUT_S, abs=0.1)  # one ping, since more would show nothing
            await asyncio.sleep(PONG_TIMEOUT_S)
            await client.send(SECOND)
            await client.finish()
            assert [sentence["text"] for sentence in await client.sentences()] == ["Hello,", "Hello, world."]

    run_virtual(scenario)


async def test_pongs_of_the_clients_own_are_ignored() -> None:
    async with connected() as client:
        await client.ws.pong(b"999")
        await client.ws.pong(b"alive")
        await client.start()
        await client.ws.pong(b"")
        await client.send(SECOND)
        await client.finish()
        assert await client.sentences()


@pytest.mark.parametrize("late", [b"\0\0", input_message("finish-task"), input_message("continue-task"), "not json"])
@pytest.mark.parametrize("reads_first", [False, True], ids=["sent at once", "sent behind task-finished"])
async def test_a_message_after_finish_task_closes_with_1007_behind_the_results(late: Any, reads_first: bool) -> None:
    async with connected() as client:
        await client.start()
        await client.send(SECOND)
        await client.finish()
        if not reads_first:
            await client.send(late)
        assert [sentence["text"] for sentence in await client.sentences()] == ["Hello,", "Hello, world."]
        if reads_first:
            await client.send(late)
        assert await client.receive_close() == INVALID_PAYLOAD


async def test_the_next_task_may_start_when_task_finished_is_read() -> None:
    async with connected() as client:
        await client.start()
        await client.send(SECOND)
        await client.finish()
        await client.sentences()
        await client.start("t2")


async def test_a_task_that_starts_before_task_finished_is_read_fails() -> None:
    async with connected() as client:
        await client.start()
        await client.send(SECOND)
        await client.finish()
        await client.send(run_task("t2"))
        assert len(await client.sentences()) == 2
        assert await client.failure() == ("InvalidParameter", "a task is still open on this connection")


# --- results ----------------------------------------------------------------------------------------------------------


async def test_a_task_from_start_to_end_in_full() -> None:
    def message(event: str, payload: dict[str, Any]) -> dict[str, Any]:
        return {"header": {"task_id": "t1", "event": event, "attributes": {}}, "payload": payload}

    def result(usage: Any, **sentence: Any) -> dict[str, Any]:
        return message("result-generated", {"output": {"sentence": sentence}, "usage": usage})

    def word(text: str, begin_time: int, end_time: int, punctuation: str) -> dict[str, Any]:
        return {"text": text, "begin_time": begin_time, "end_time": end_time, "punctuation": punctuation}

    async with connected() as client:
        await client.send(run_task())
        assert await client.receive() == message("task-started", {})
        await client.send(SECOND + bytes(3200))
        assert await client.receive() == result(
            None,
            sentence_id=1,
            begin_time=0,
            end_time=None,
            text="Hello,",
            words=[word("Hello", 0, 500, ",")],
            heartbeat=False,
            sentence_begin=True,
            sentence_end=False,
        )
        assert await client.receive() == result(
            {"duration": 1},
            sentence_id=1,
            begin_time=0,
            end_time=1000,
            text="Hello, world.",
            words=[word("Hello", 0, 500, ","), word("world", 500, 1000, ".")],
            heartbeat=False,
            sentence_begin=False,
            sentence_end=True,
        )
        await client.finish()
        assert await client.receive() == message("task-finished", {"output": {}, "usage": {"duration": 2}})


async def test_sentences_are_numbered_and_usage_is_cumulative() -> None:
    engine = Scripted([("one", 0, 500), ("two", 600, 1500)], interim_every_ms=400)
    async with connected(engine) as client:
        await client.start()
        await client.send(SECOND)
        await client.send(SECOND)
        await client.finish()
        seen = []
        while (message := await client.receive())["header"]["event"] == "result-generated":
            sentence, usage = message["payload"]["output"]["sentence"], message["payload"]["usage"]
            seen.append(
                (
                    sentence["sentence_id"],
                    sentence["sentence_begin"],
                    sentence["sentence_end"],
                    usage and usage["duration"],
                )
            )
        assert seen == [
            (1, True, False, None),
            (1, False, True, 1),
            (2, True, False, None),
            (2, False, False, None),
            (2, False, True, 2),
        ]


@pytest.mark.parametrize(
    ("model", "parameters", "emotion"),
    [
        ("paraformer-realtime-8k-v2", {}, "neutral"),
        ("paraformer-realtime-8k-v2", {"semantic_punctuation_enabled": True}, None),
        ("paraformer-realtime-v2", {}, None),
    ],
)
async def test_finals_of_the_8k_model_have_an_emotion_if_it_segments_by_silence(
    model: str, parameters: dict[str, Any], emotion: str | None
) -> None:
    async with connected() as client:
        await client.start(model=model, parameters={"sample_rate": 8_000, **parameters})
        await client.send(bytes(16_000))
        await client.finish()
        interim, final = await client.sentences()
        assert "emo_tag" not in interim
        assert final.get("emo_tag") == emotion
        assert ("emo_confidence" in final) == (emotion is not None)


async def test_the_engine_receives_rate_and_languages() -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start(parameters={"language_hints": ["zh", "en"], "sample_rate": 8_000})
        assert engine.request == Request(sample_rate=8_000, languages=("zh", "en"))


async def test_several_tasks_run_one_after_another_on_one_connection() -> None:
    async with connected() as client:
        for task_id in ("t1", "t2", "t3"):
            await client.start(task_id)
            await client.send(SECOND)
            await client.finish(task_id)
            sentences = await client.sentences()
            assert [sentence["sentence_id"] for sentence in sentences] == [1, 1]


@pytest.mark.parametrize("audio", [[], [b""], [SECOND]])
async def test_a_task_without_speech_fails(audio: list[bytes]) -> None:
    async with connected(Scripted([("later", 5000, 6000)])) as client:
        await client.start()
        for frame in audio:
            await client.send(frame)
        await client.finish()
        assert await client.failure() == ("NO_VALID_AUDIO_ERROR", "no valid audio was received")


@pytest.mark.parametrize(
    ("kind", "code"),
    [("unsupported", "InvalidParameter"), ("capacity", "Throttling.Concurrency"), ("broken", "InternalError")],
)
@pytest.mark.parametrize("step", ["open", "feed", "finish"])
async def test_an_engine_that_refuses_fails_the_task_with_its_reason(kind: Any, code: str, step: str) -> None:
    engine = ProbeEngine(refuse_at=step, kind=kind)
    async with connected(engine) as client:
        await client.send(run_task())
        if step != "open":
            assert (await client.receive())["header"]["event"] == "task-started"
            await client.send(SECOND)
            await client.finish()
        assert await client.failure() == (code, f"cannot {step}")
        assert engine.released.is_set() == (step != "open")


async def test_an_engine_may_emit_while_no_audio_arrives() -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start()
        await engine.emit_text("by itself")
        assert (await client.receive())["payload"]["output"]["sentence"]["text"] == "by itself"


async def test_hypotheses_outside_their_task_are_dropped() -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start("t1")
        await client.finish("t1")
        assert await client.sentences() == []
        stale = engine.emit
        await engine.emit_text("too late")
        await client.start("t2")
        assert stale is not None
        await stale(Hypothesis(text="much too late", is_final=True, start_ms=0, end_ms=1))
        await client.finish("t2")
        assert await client.sentences() == []


# --- audio ------------------------------------------------------------------------------------------------------------


async def decoded(frames: list[bytes], **parameters: Any) -> bytes:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start(parameters=parameters)
        for frame in frames:
            await client.send(frame)
        await client.finish()
        await client.sentences()
    return bytes(engine.received)


async def test_half_a_sample_is_completed_by_the_next_message() -> None:
    assert await decoded([b"\1", b"", b"\2\3", b"\4\5"]) == b"\1\2\3\4"


async def test_a_long_message_reaches_the_engine_in_pieces() -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start()
        await client.send(bytes(range(256)) * 625)
        await wait_until(lambda: len(engine.received) == 160_000)
        assert engine.frames == 5
        assert bytes(engine.received) == bytes(range(256)) * 625


def wav(
    audio: bytes,
    *,
    rate: int = 16_000,
    channels: int = 1,
    bits: int = 16,
    encoding: int = 1,
    extra: bytes = b"",
    before: bytes = b"",
    size: int | None = None,
) -> bytes:
    layout = struct.pack("<HHIIHH", encoding, channels, rate, rate * 2, 2, bits) + extra
    fmt = b"fmt " + struct.pack("<I", len(layout)) + layout
    data = b"data" + struct.pack("<I", len(audio) if size is None else size) + audio
    return b"RIFF\0\0\0\0WAVE" + fmt + before + data


LIST_CHUNK = b"LIST" + struct.pack("<I", 3) + b"abc\0"
EXTENSIBLE = struct.pack("<HHI", 22, 16, 4) + struct.pack("<H", 1) + bytes(14)
SOUND = bytes(range(200))


@pytest.mark.parametrize(
    "file",
    [
        wav(SOUND),
        wav(SOUND, before=LIST_CHUNK),
        wav(SOUND, size=0),
        wav(SOUND, size=0xFFFFFFFF),
        wav(SOUND) + LIST_CHUNK,
        wav(SOUND, encoding=0xFFFE, extra=EXTENSIBLE),
    ],
    ids=["plain", "chunk before", "size 0", "size unknown", "chunk after", "extensible"],
)
@pytest.mark.parametrize("step", [1, 7, 44, 10_000])
async def test_wav_is_decoded_for_any_division_into_messages(file: bytes, step: int) -> None:
    frames = [file[start : start + step] for start in range(0, len(file), step)]
    assert await decoded(frames, format="wav") == SOUND


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"OggS" + bytes(20), "no RIFF/WAVE header"),
        (wav(SOUND, channels=2), "mono, not 2 channels"),
        (wav(SOUND, bits=8), "encoding 1 with 8 bits"),
        (wav(SOUND, encoding=7), "encoding 7"),
        (wav(SOUND, rate=8_000), "8000 Hz, but 16000 Hz were declared"),
        (wav(SOUND, encoding=0xFFFE), "encoding 65534"),
        (b"RIFF\0\0\0\0WAVEdata\4\0\0\0", "no fmt chunk"),
        (b"RIFF\0\0\0\0WAVEfmt \4\0\0\0\1\0\1\0", "too short"),
        (b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\xff", "a chunk of 4294967295 bytes"),
    ],
)
async def test_a_wav_that_cannot_be_decoded_fails_with_the_reason(file: bytes, reason: str) -> None:
    async with connected() as client:
        await client.start(parameters={"format": "wav"})
        await client.send(file)
        code, text = await client.failure()
        assert code == "DECODE_ERROR"
        assert reason in text


async def test_a_wav_header_alone_is_no_audio() -> None:
    async with connected() as client:
        await client.start(parameters={"format": "wav"})
        await client.send(wav(b"")[:30])
        await client.finish()
        assert (await client.failure())[0] == "NO_VALID_AUDIO_ERROR"


# --- backpressure and disconnects -------------------------------------------------------------------------------------


async def test_a_busy_engine_slows_its_client_down() -> None:
    engine = ProbeEngine()
    engine.gates["feed"].clear()
    async with connected(engine) as client:
        await client.start()
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                while sent < 100:
                    await client.send(bytes(1_000_000))
                    sent += 1
        assert sent < 50
        assert engine.frames == 1
        engine.gates["feed"].set()


async def test_a_client_that_does_not_read_blocks_the_engine_and_memory_stays_bounded() -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start()
        emitted = 0

        async def emit_many() -> None:
            nonlocal emitted
            while emitted < 100:
                await engine.emit_text("x" * 500_000)
                emitted += 1

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(emit_many())
            await asyncio.sleep(0.3)
            assert emitted < 60
            numbers = [(await client.receive())["payload"]["output"]["sentence"]["sentence_id"] for _ in range(100)]
        assert numbers == list(range(1, 101))


@pytest.mark.parametrize("hold", ["open", "finish", ""])
async def test_a_client_that_leaves_closes_its_recognition(hold: str) -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        if hold:
            engine.gates[hold].clear()
        await client.send(run_task())
        await wait_until(lambda: engine.request)
        if hold != "open":
            await client.receive()
        if hold == "finish":
            await client.finish()
            await wait_until(lambda: engine.finishing)
        await client.ws.close()
        async with asyncio.timeout(5):
            await engine.released.wait()
        await engine.emit_text("after the end")


async def test_a_lost_client_closes_its_recognition() -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start()
        client.ws.transport.abort()
        async with asyncio.timeout(5):
            await engine.released.wait()
        await engine.emit_text("after the end")


async def test_a_shutdown_closes_all_connections_with_1001() -> None:
    engine = ProbeEngine()
    tasks_before = asyncio.all_tasks()
    async with contextlib.AsyncExitStack() as clients:
        async with serve(engine) as emulator:
            busy = await clients.enter_async_context(connect_client(emulator))
            idle = await clients.enter_async_context(connect_client(emulator))
            await busy.start()
            engine.gates["feed"].clear()
            await busy.send(SECOND)
            await wait_until(lambda: engine.frames)
            started_at = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started_at < 0.5
        assert engine.released.is_set()
        assert engine.running == 0
        for client in (busy, idle):
            assert await client.receive_close() == (1001, "the emulator is shutting down")
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == tasks_before


async def test_a_shutdown_does_not_wait_for_a_client_that_does_not_answer() -> None:
    engine = ProbeEngine()
    async with serve(engine) as emulator:
        host, port = emulator.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"GET /api-ws/v1/inference HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        started_at = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started_at < CLOSE_TIMEOUT_S + 0.5
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()


async def test_a_shutdown_does_not_wait_for_a_client_that_does_not_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "asr_async")
    engine = ProbeEngine()

    async def emit_many() -> None:
        for _ in range(100):
            await engine.emit_text("x" * 500_000)

    async with asyncio.TaskGroup() as tasks:
        async with serve(engine) as emulator:
            client = Client(await websockets.connect(emulator.dashscope_url, additional_headers=KEY, proxy=None))
            await client.start()
            tasks.create_task(emit_many())
            await asyncio.sleep(0.2)
            started_at = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started_at < CLOSE_TIMEOUT_S + 0.5
    assert "the client does not read" in caplog.text
    client.ws.transport.abort()


# --- timeouts ---------------------------------------------------------------------------------------------------------


def test_an_open_task_without_data_times_out_after_23_seconds() -> None:
    async def scenario() -> None:
        async with connected() as client:
            await client.start()
            await asyncio.sleep(22)
            await client.send(bytes(2))
            since = now()
            assert await client.failure() == ("CLIENT_ERROR", "request timeout after 23 seconds.")
            assert 23 <= now() - since < 23.1

    run_virtual(scenario)


def test_pings_do_not_restart_the_data_timeout() -> None:
    async def scenario() -> None:
        async with connected() as client:
            await client.start()
            since = now()
            for _ in range(4):
                await asyncio.sleep(5)
                await (await client.ws.ping())
            assert (await client.failure())[0] == "CLIENT_ERROR"
            assert 23 <= now() - since < 23.1

    run_virtual(scenario)


def test_no_client_timeout_while_the_engine_opens_or_finishes() -> None:
    async def scenario() -> None:
        engine = ProbeEngine()
        async with connected(engine) as client:
            engine.gates["open"].clear()
            engine.gates["finish"].clear()
            await client.send(run_task())
            await asyncio.sleep(100)
            engine.gates["open"].set()
            assert (await client.receive())["header"]["event"] == "task-started"
            await asyncio.sleep(20)
            await client.finish()
            await asyncio.sleep(100)
            engine.gates["finish"].set()
            assert await client.sentences() == []

    run_virtual(scenario)


def test_a_connection_without_a_task_is_closed_after_60_seconds() -> None:
    async def scenario() -> None:
        async with connected() as client:
            since = now()
            assert await client.receive_close() == (1000, "idle")
            assert 60 <= now() - since < 60.1

    run_virtual(scenario)


def test_a_connection_between_two_tasks_is_closed_after_60_seconds() -> None:
    async def scenario() -> None:
        async with connected() as client:
            await asyncio.sleep(50)
            await client.start("t1")
            await client.send(SECOND)
            await asyncio.sleep(20)
            await client.finish("t1")
            await client.sentences()
            await asyncio.sleep(59)
            await client.start("t2")
            await client.send(SECOND)
            await client.finish("t2")
            await client.sentences()
            since = now()
            assert await client.receive_close() == (1000, "idle")
            assert 60 <= now() - since < 60.1

    run_virtual(scenario)


@pytest.mark.parametrize("frame_s", [1, 100])
async def test_60_seconds_of_silent_audio_end_a_task(frame_s: int) -> None:
    async with connected(Scripted([("Hello.", 1000, 2000), ("Too late.", 90_000, 91_000)])) as client:
        await client.start()
        with contextlib.suppress(websockets.ConnectionClosed):
            for _ in range(100 // frame_s):
                await client.send(SECOND * frame_s)
        texts = set()
        while (message := await client.receive())["header"]["event"] == "result-generated":
            texts.add(message["payload"]["output"]["sentence"]["text"])
        assert texts == {"Hello."}
        header = message["header"]
        assert (header["error_code"], header["error_message"]) == ("ResponseTimeout", "Response timeout!")
        assert await client.receive_close() == (1000, "task failed")


async def test_with_heartbeat_silence_is_allowed_and_yields_a_heartbeat_every_5_seconds() -> None:
    engine = Scripted([("Hello.", 2000, 3000), ("Still here.", 100_000, 101_000)], interim_every_ms=5000)
    async with connected(engine) as client:
        await client.start(parameters={"heartbeat": True})
        for _ in range(120):
            await client.send(SECOND)
        await client.finish()
        first, *beats, last, end_1, end_2, end_3 = await client.sentences()
        assert first["text"] == "Hello."
        assert last["text"] == "Still here."
        assert [beat["begin_time"] for beat in beats] == list(range(8_000, 100_000, 5_000))
        assert beats[0] == {"begin_time": 8_000, "end_time": None, "heartbeat": True, "sentence_end": False}
        assert [beat["heartbeat"] for beat in (end_1, end_2, end_3)] == [True, True, True]
        assert (first["sentence_id"], last["sentence_id"]) == (1, 2)


# --- the lifecycle ----------------------------------------------------------------------------------------------------


def test_the_transitions_reach_every_state_and_a_failed_task_is_final() -> None:
    reached = {task_protocol.State.IDLE} | set(task_protocol.TRANSITIONS.values())
    assert reached == set(task_protocol.State)
    assert not any(state is task_protocol.State.FAILED for state, _ in task_protocol.TRANSITIONS)
    assert {step for _, step in task_protocol.TRANSITIONS} == set(task_protocol.Step)


def test_words_and_their_punctuation_are_separate() -> None:
    async def scenario() -> None:
        word = HypothesisWord(text="好", start_ms=170, end_ms=295, punctuation="，")
        engine = Scripted([{"text": "好，", "start_ms": 0, "end_ms": 500, "words": [word]}])
        async with connected(engine) as client:
            await client.start()
            await client.send(SECOND)
            await client.finish()
            assert (await client.sentences())[-1]["words"] == [
                {"begin_time": 170, "end_time": 295, "text": "好", "punctuation": "，"}
            ]

    run_virtual(scenario)
