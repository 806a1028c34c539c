"""The emulated Huawei RASR protocol, tested with a plain WebSocket client and messages as plain dicts.

Handshakes are signed by the vendor's own signer (`huaweicloudsdkcore`), so that the emulator is checked against a
foreign implementation.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import warnings
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
import websockets
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from websockets.asyncio.client import ClientConnection

from asr_async.emulator import Emulator, Engine, Hypothesis, HypothesisWord, PocketSphinx, Request, Scripted, serve
from asr_async.emulator.audio_decoder import G711Decoder
from asr_async.emulator.faults import MuteFinish
from asr_async.emulator.huawei import rasr

from ...support.probe_engine import ProbeEngine
from ...support.virtual_time import now, run_virtual
from ...support.waiting import wait_until

HELLO = Scripted([("Hello, world.", 0, 1000)], interim_every_ms=500)
SECOND = bytes(32_000)
TOKEN = {"X-Auth-Token": "any"}
CONFIG = {"audio_format": "pcm16k16bit", "property": "chinese_16k_general"}
ALL: dict[str, Any] = {"interim_results": "yes", "need_word_info": "yes", "add_punc": "yes"}
MODES = ("continue", "sentence", "short")

# the default options that the official SDK 1.7/1.8 sends
SDK_START = (
    '{"command": "START", "config": {"audio_format": "pcm16k16bit", "property": "chinese_16k_general", '
    '"add_punc": "no", "digit_norm": "yes", "vad_head": 10000, "vad_tail": 500, "max_seconds": 30, '
    '"interim_results": "no", "vad_threshold": 0, "need_word_info": "no"}}'
)
SDK_END = '{"command": "END", "cancel": "false"}'


# --- a plain client ---------------------------------------------------------------------------------------------------


class Client:
    """A plain WebSocket client."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws

    async def send(self, message: Any) -> None:
        await self.ws.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    async def start(self, **config: Any) -> str:
        """Start a task and return its trace id; a member given as `...` is omitted."""
        members = {**CONFIG, **config}
        await self.send({"command": "START", "config": {k: v for k, v in members.items() if v is not ...}})
        message = await self.receive()
        assert message == {"resp_type": "START", "trace_id": message["trace_id"]}
        return str(message["trace_id"])

    async def end(self, **members: Any) -> None:
        await self.send({"command": "END", **members})

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(300):
            message: dict[str, Any] = json.loads(await self.ws.recv())
        assert message["trace_id"]
        return message

    async def rest(self, reason: str = "NORMAL") -> list[dict[str, Any]]:
        """Receive the messages until END, without their trace ids and with one segment each."""
        found = []
        while (message := await self.receive())["resp_type"] != "END":
            del message["trace_id"]
            found.append(message)
        assert message["reason"] == reason
        return found

    async def segments(self) -> list[dict[str, Any]]:
        """Receive the segments until END."""
        return [segment for message in await self.rest() for segment in message["segments"]]

    async def error(self, *, running: bool = False) -> tuple[str, str]:
        """Receive an ERROR, and an END after it if a task was running; return its code and text."""
        message = await self.receive()
        assert set(message) == {"resp_type", "trace_id", "error_code", "error_msg"}
        assert message["resp_type"] == "ERROR"
        if running:
            ended = {"resp_type": "END", "trace_id": message["trace_id"], "reason": "ERROR"}
            assert await self.receive() == ended
        return message["error_code"], message["error_msg"]

    async def receive_close(self) -> tuple[int, str]:
        """Receive the close frame; return its code and reason."""
        with pytest.raises(websockets.ConnectionClosed) as caught:
            raise AssertionError(await self.receive())
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code, caught.value.rcvd.reason


def path_of(mode: str, project_id: str = "p1") -> str:
    return f"/v1/{project_id}/rasr/{mode}-stream"


@contextlib.asynccontextmanager
async def connect_client(
    emulator: Emulator, mode: str = "continue", *, path: str = "", headers: Any = TOKEN
) -> AsyncIterator[Client]:
    url = emulator.huawei_url + (path or path_of(mode))
    async with websockets.connect(url, additional_headers=headers, proxy=None) as ws:
        yield Client(ws)


@contextlib.asynccontextmanager
async def connected(engine: Engine = HELLO, mode: str = "continue") -> AsyncIterator[Client]:
    async with serve(engine) as emulator, connect_client(emulator, mode) as client:
        yield client


def signed(
    emulator: Emulator,
    path: str = "/v1/p1/rasr/continue-stream",
    *,
    ak: str = "AK",
    sk: str = "secret",
    off: timedelta = timedelta(0),
    query: Any = (),
    **headers: str,
) -> dict[str, str]:
    """Return the headers of a handshake, signed by the vendor's own signer."""
    date = (datetime.now(UTC) + off).strftime("%Y%m%dT%H%M%SZ")
    request = SdkRequest(
        method="GET",
        schema="http",
        host=emulator.address,
        resource_path=path,
        query_params=list(query),
        header_params={"X-Sdk-Date": date, **{name.replace("_", "-"): value for name, value in headers.items()}},
    )
    signed_headers: dict[str, str] = Signer(BasicCredentials(ak, sk, "p1")).sign(request).header_params
    del signed_headers["Host"]  # the client adds its own
    return signed_headers


# --- credentials ------------------------------------------------------------------------------------------------------


async def rejection(emulator: Emulator, headers: Any, path: str = "/v1/p1/rasr/continue-stream") -> str:
    """Return the error text of a rejection, after a check of its status, code and headers."""
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(emulator.huawei_url + path, additional_headers=headers, proxy=None)
    response = caught.value.response
    body = json.loads(response.body or b"")
    assert response.status_code == 401
    assert body["error_code"] == "APIGW.0301"
    assert response.headers["X-Request-Id"]
    assert response.headers["Date"].endswith(" GMT")
    message = str(body["error_msg"])
    assert message.startswith("Incorrect IAM authentication information: ")
    return message.partition(": ")[2]


@pytest.mark.parametrize("api_keys", [None, {"AK"}, {"AK": "secret"}])
async def test_a_client_without_credentials_is_rejected(api_keys: Any) -> None:
    async with serve(HELLO, api_keys=api_keys) as emulator:
        assert await rejection(emulator, {}) == "neither X-Auth-Token nor Authorization was found"


async def test_only_a_signature_with_the_right_secret_is_accepted() -> None:
    async with serve(HELLO, api_keys={"AK": "secret"}) as emulator:
        async with connect_client(emulator, headers=signed(emulator)) as client:
            await client.start()
        assert await rejection(emulator, signed(emulator, sk="other")) == "verify aksk signature fail"
        assert await rejection(emulator, signed(emulator, ak="BK")) == "verify ak fail, no such access key"
        elsewhere = signed(emulator, "/v1/p2/rasr/continue-stream")
        assert await rejection(emulator, elsewhere) == "verify aksk signature fail"


@pytest.mark.parametrize(
    "path",
    ["/v1/p1/rasr/short-stream/", "/v1/a%20b%2F%E4%BD%A0/rasr/continue-stream", "/v1/~p-1_2.x/rasr/short-stream"],
)
async def test_the_signature_covers_the_path_as_it_was_sent(path: str) -> None:
    async with (
        serve(HELLO, api_keys={"AK": "secret"}) as emulator,
        connect_client(emulator, path=path, headers=signed(emulator, path)) as client,
    ):
        await client.start()


async def test_the_signature_covers_the_query_and_all_headers_it_names() -> None:
    path = "/v1/p1/rasr/continue-stream"
    async with serve(HELLO, api_keys={"AK": "secret"}) as emulator:
        headers = signed(emulator, query=[("b", "2 x"), ("a", "你")], X_Project_Id="p1", X_Security_Token="st")
        async with connect_client(emulator, path=f"{path}?b=2%20x&a=%E4%BD%A0", headers=headers) as client:
            await client.start()
        for wrong_path in (path, f"{path}?b=3&a=%E4%BD%A0"):
            assert await rejection(emulator, headers, wrong_path) == "verify aksk signature fail"
        tampered = {**headers, "X-Project-Id": "p2"}
        assert await rejection(emulator, tampered, f"{path}?b=2%20x&a=%E4%BD%A0") == "verify aksk signature fail"


async def test_a_collection_of_keys_has_no_secrets_to_check() -> None:
    async with serve(HELLO, api_keys={"AK"}) as emulator:
        async with connect_client(emulator, headers=signed(emulator, sk="whatever")) as client:
            await client.start()
        assert await rejection(emulator, signed(emulator, ak="BK")) == "verify ak fail, no such access key"


@pytest.mark.parametrize("api_keys", [None, {"AK": "secret"}])
@pytest.mark.parametrize("minutes", [-16, 16])
async def test_a_date_that_is_more_than_15_minutes_off_is_expired(api_keys: Any, minutes: int) -> None:
    async with serve(HELLO, api_keys=api_keys) as emulator:
        assert await rejection(emulator, signed(emulator, off=timedelta(minutes=minutes))) == "signature expired"
        nearly = timedelta(minutes=minutes - 2 if minutes > 0 else minutes + 2)
        async with connect_client(emulator, headers=signed(emulator, off=nearly)) as client:
            await client.start()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("SDK-HMAC-SHA256", "Bearer", "Authorization is not of the form"),
        ("Access=AK, ", "", "Authorization is not of the form"),
        ("Signature=", "Signature=x", "Authorization is not of the form"),
        ("host;", "", "SignedHeaders must name host"),
        (";x-sdk-date", "", "SignedHeaders must name x-sdk-date"),
        ("host;", "host;x-absent;", "the signed header x-absent appears 0 times"),
    ],
)
async def test_the_form_of_a_signature_is_checked_even_if_every_key_is_accepted(
    old: str, new: str, reason: str
) -> None:
    async with serve(HELLO) as emulator:
        headers = signed(emulator)
        broken = headers["Authorization"].replace(old, new)
        assert broken != headers["Authorization"]
        assert (await rejection(emulator, {**headers, "Authorization": broken})).startswith(reason)


async def test_a_date_in_another_form_is_rejected() -> None:
    async with serve(HELLO) as emulator:
        headers = {**signed(emulator), "X-Sdk-Date": "2026-01-02T03:04:05Z"}
        assert await rejection(emulator, headers) == "X-Sdk-Date is not of the form YYYYMMDDTHHMMSSZ"


async def test_a_repeated_signed_header_is_rejected() -> None:
    async with serve(HELLO) as emulator:
        headers = [*signed(emulator, X_Project_Id="p1").items(), ("X-Project-Id", "p2")]
        assert await rejection(emulator, headers) == "the signed header x-project-id appears 2 times"


async def test_two_host_headers_are_rejected() -> None:
    async with serve(HELLO) as emulator:
        host, port = emulator.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        headers = "".join(f"{name}: {value}\r\n" for name, value in signed(emulator).items())
        writer.write(
            f"GET {path_of('continue')} HTTP/1.1\r\nHost: {emulator.address}\r\nHost: x\r\n{headers}"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        # aiohttp's parser refuses the second one with 400, older versions leave it to the handler
        assert (await reader.readline()).split()[1] in {b"400", b"401"}
        writer.close()


async def test_with_both_kinds_of_credentials_the_token_is_checked() -> None:
    async with serve(HELLO, api_keys={"AK": "secret"}) as emulator:
        headers = {**signed(emulator), **TOKEN}
        assert await rejection(emulator, headers) == "decrypt token fail"
    async with (
        serve(HELLO) as emulator,
        connect_client(emulator, headers={"Authorization": "nonsense", **TOKEN}) as client,
    ):
        await client.start()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ["", "/"])
async def test_each_mode_has_a_path_with_or_without_a_trailing_slash(mode: str, end: str) -> None:
    async with serve(HELLO) as emulator, connect_client(emulator, path=path_of(mode) + end) as client:
        await client.start()
        assert client.ws.response is not None
        assert "Sec-WebSocket-Extensions" not in client.ws.response.headers


async def test_another_mode_is_not_found() -> None:
    async with serve(HELLO) as emulator:
        with pytest.raises(websockets.InvalidStatus) as caught:
            await websockets.connect(emulator.huawei_url + path_of("long"), additional_headers=TOKEN, proxy=None)
        assert caught.value.response.status_code == 404


async def test_a_mapping_of_keys_applies_to_dashscope_too() -> None:
    async with serve(HELLO, api_keys={"AK": "secret"}) as emulator:
        for key, status in (("AK", 101), ("secret", 401)):
            headers = {"Authorization": f"Bearer {key}"}
            try:
                async with websockets.connect(emulator.dashscope_url, additional_headers=headers, proxy=None) as ws:
                    assert ws.response is not None
                    assert ws.response.status_code == status
            except websockets.InvalidStatus as error:
                assert error.response.status_code == status


def test_the_address_is_scheme_host_and_port() -> None:
    async def scenario() -> None:
        async with serve(HELLO) as emulator:
            assert emulator.huawei_url == f"ws://{emulator.address}"

    run_virtual(scenario)


# --- START ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
async def test_the_default_options_of_the_official_sdk_are_accepted_in_every_mode(mode: str) -> None:
    async with connected(mode=mode) as client:
        await client.send(SDK_START)
        assert (await client.receive())["resp_type"] == "START"
        await client.send(SECOND)
        await client.send(SDK_END)
        texts = [
            message["segments"][0]["result"]["text"]
            for message in await client.rest()
            if message["resp_type"] == "RESULT"
        ]
        assert texts == ["Hello world"]


@pytest.mark.parametrize(
    ("message", "code", "named"),
    [
        ("not json", "SIS.0032", "must be a JSON object"),
        ("[]", "SIS.0032", "must be a JSON object"),
        ('{"command":' + "[" * 100_000, "SIS.0032", "must be a JSON object"),
        ("AAAA", "SIS.0032", "must be a JSON object"),
        ({}, "SIS.0012", "'command' is missing"),
        ({"command": "STOP"}, "SIS.0032", "'command' is invalid"),
        ({"command": ["START"]}, "SIS.0032", "'command' is invalid"),
        ({"command": "START"}, "SIS.0012", "'config' is missing"),
        ({"command": "START", "config": []}, "SIS.0032", "'config' is invalid: must be an object"),
        ({"command": "END", "cancel": "yes"}, "SIS.0032", "'cancel' is invalid"),
        ({"command": "END"}, "SIS.0032", "END was sent without START"),
        ({"command": "END", "cancel": True}, "SIS.0032", "END with cancel was sent without START"),
        (SECOND, "SIS.0032", "audio was sent without START"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_message_that_cannot_start_a_task_is_an_error_and_the_next_start_is_accepted(
    message: Any, code: str, named: str
) -> None:
    async with connected() as client:
        await client.send(message)
        got = await client.error()
        assert got[0] == code
        assert named in got[1]
        await client.start()


@pytest.mark.parametrize(
    ("config", "code", "named"),
    [
        ({"audio_format": ...}, "SIS.0012", "'audio_format' is missing"),
        ({"property": ...}, "SIS.0012", "'property' is missing"),
        ({"audio_format": "mp3"}, "SIS.0032", "'audio_format' is invalid"),
        ({"audio_format": 16}, "SIS.0032", "audio_format"),
        ({"property": None}, "SIS.0032", "property"),
        ({"audio_format": "pcm8k16bit"}, "SIS.0301", "'audio_format' is not match model"),
        ({"property": "chinese_8k_common"}, "SIS.0301", "'audio_format' is not match model"),
        ({"add_punc": True}, "SIS.0032", "add_punc"),
        ({"digit_norm": "true"}, "SIS.0032", "digit_norm"),
        ({"interim_results": 1}, "SIS.0032", "interim_results"),
        ({"need_word_info": "YES"}, "SIS.0032", "need_word_info"),
        ({"vad_head": "500"}, "SIS.0032", "vad_head"),
        ({"vad_head": -1}, "SIS.0032", "vad_head"),
        ({"vad_head": 60_001}, "SIS.0032", "vad_head"),
        ({"vad_tail": 3_001}, "SIS.0032", "vad_tail"),
        ({"max_seconds": 0}, "SIS.0032", "max_seconds"),
        ({"max_seconds": 61}, "SIS.0032", "max_seconds"),
        ({"user_words": "word"}, "SIS.0032", "user_words"),
        ({"vocabulary_id": 5}, "SIS.0032", "vocabulary_id"),
        ({"vocabulary_id": "nowhere"}, "SIS.0201", "vocabulary nowhere not found"),
    ],
)
async def test_a_wrong_member_of_config_is_named(config: dict[str, Any], code: str, named: str) -> None:
    members = {k: v for k, v in {**CONFIG, **config}.items() if v is not ...}
    async with connected() as client:
        await client.send({"command": "START", "config": members})
        got = await client.error()
        assert got[0] == code
        assert named in got[1]
        await client.start()


@pytest.mark.parametrize(
    "config",
    [
        {"vad_head": 0, "vad_tail": 0, "max_seconds": 1},
        {"vad_head": 60_000, "vad_tail": 3_000, "max_seconds": 60},
        {"max_second": 5, "speaker": {}, "user_words": ["a"], "vad_threshold": 3},
        {"vad_head": None, "vocabulary_id": None},
        {"property": "english_16k_common"},
        {"property": "of_tomorrow"},
        {"audio_format": "pcm8k16bit", "property": "chinese_8k_general"},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", MODES)
async def test_limits_unknown_members_nulls_and_properties_are_accepted(mode: str, config: dict[str, Any]) -> None:
    async with connected(mode=mode) as client:
        await client.start(**config)


@pytest.mark.parametrize(("config", "rate"), [({}, 16_000), ({"property": "arabic_8k_general"}, 8_000)])
async def test_the_engine_receives_the_rate_and_no_language(config: dict[str, Any], rate: int) -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start(audio_format=f"pcm{rate // 1000}k16bit", **config)
        assert engine.request == Request(sample_rate=rate, languages=())


# --- order ------------------------------------------------------------------------------------------------------------


async def test_several_tasks_run_one_after_another_on_one_connection() -> None:
    async with connected() as client:
        trace_ids = set()
        for _ in range(3):
            trace_ids.add(await client.start())
            await client.send(SECOND)
            await client.end()
            assert [segment["is_final"] for segment in await client.segments()] == [True]
        assert len(trace_ids) == 3


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"command": "START", "config": CONFIG}, "START was sent while a task was running: send END first"),
        ("not json", "a text message must be a JSON object"),
        ({"command": "STOP"}, "'command' is invalid"),
        (b"", "an audio message has 320 to 65536 bytes at 16000 Hz, not 0"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_wrong_message_ends_a_running_task_with_an_error_and_an_end(message: Any, text: str) -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start()
        await client.send(message)
        code, got = await client.error(running=True)
        assert code == "SIS.0032"
        assert text in got
        assert engine.released.is_set()
        assert engine.received == b""


async def test_after_an_error_audio_and_a_crossing_end_are_ignored_until_the_next_start() -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start()
        await client.send(b"")
        for message in (SECOND, bytes(1), SDK_END, {"command": "END", "cancel": True}):
            await client.send(message)
        assert (await client.error(running=True))[0] == "SIS.0032"
        assert engine.received == b""
        await client.start()
        await client.send(SECOND)
        await client.end()
        assert await client.rest() == []
        assert engine.received == SECOND


async def test_each_error_after_a_failed_task_is_reported_without_an_end() -> None:
    async with connected() as client:
        for _ in range(2):
            await client.send("not json")
            assert (await client.error())[0] == "SIS.0032"
        await client.start()


async def test_audio_and_end_that_do_not_wait_for_the_answer_to_start_are_processed_behind_it() -> None:
    engine = ProbeEngine()
    engine.gates["open"].clear()
    async with connected(engine) as client:
        await client.send({"command": "START", "config": CONFIG})
        await wait_until(lambda: engine.request)
        await client.send(SECOND)
        await client.end()
        engine.gates["open"].set()
        assert (await client.receive())["resp_type"] == "START"
        assert await client.rest() == []
        assert engine.received == SECOND


async def test_messages_in_one_batch_have_the_results_of_messages_that_wait_for_their_answers() -> None:
    async with connected() as client:
        for _ in range(50):
            # as the vendor's sample program of 2020 sends them; the batch has two tasks
            for message in (SDK_START, SECOND, SDK_END, SDK_START, SECOND, SDK_END):
                await client.send(message)
            for _ in range(2):
                assert (await client.receive())["resp_type"] == "START"
                assert [segment["result"]["text"] for segment in await client.segments()] == ["Hello world"]


@pytest.mark.parametrize(
    ("early", "text"),
    [
        (json.dumps({"command": "START", "config": CONFIG}), "START was sent while a task was running"),
        ("not json", "a text message must be a JSON object"),
        (bytes(0), "an audio message has 320 to 65536 bytes at 16000 Hz, not 0"),
    ],
)
async def test_a_wrong_message_before_the_answer_to_start_is_an_error_behind_it(early: Any, text: str) -> None:
    engine = ProbeEngine()
    engine.gates["open"].clear()
    async with connected(engine) as client:
        await client.send({"command": "START", "config": CONFIG})
        await wait_until(lambda: engine.request)
        await client.send(early)
        engine.gates["open"].set()
        assert (await client.receive())["resp_type"] == "START"
        code, got = await client.error(running=True)
        assert code == "SIS.0032"
        assert text in got
        assert engine.released.is_set()
        await client.start()


async def test_audio_behind_a_start_that_fails_is_ignored() -> None:
    engine = ProbeEngine(refuse_at="open")
    async with connected(engine) as client:
        for message in (SDK_START, SECOND, SDK_END):
            await client.send(message)
        assert await client.error() == ("SIS.0302", "cannot open")
        engine.refuse_at = ""
        await client.start()
        assert engine.received == b""


@pytest.mark.parametrize(
    ("late", "text"),
    [(SECOND, "audio was sent without START"), ({"command": "END"}, "END was sent without START")],
)
async def test_a_wrong_message_before_the_answer_to_end_is_an_error_behind_it(late: Any, text: str) -> None:
    engine = ProbeEngine()
    engine.gates["finish"].clear()
    async with connected(engine) as client:
        await client.start()
        await client.end()
        await wait_until(lambda: engine.finishing)
        await client.send(late)
        engine.gates["finish"].set()
        assert await client.rest() == []
        assert await client.error() == ("SIS.0032", text)
        await client.start()


async def test_audio_behind_an_end_whose_answer_is_suppressed_is_an_error() -> None:
    async with serve(HELLO, faults=[MuteFinish()]) as emulator, connect_client(emulator) as client:
        await client.start()
        await client.end()
        await client.send(SECOND)
        assert await client.error(running=True) == ("SIS.0032", "audio was sent after END")


async def test_a_cancel_that_crosses_the_end_of_its_task_is_ignored() -> None:
    async with connected() as client:
        await client.start()
        await client.end()
        await client.rest()
        await client.end(cancel=True)
        await client.start()
        await client.send(SECOND)


async def test_a_cancel_without_a_task_is_an_error() -> None:
    async with connected() as client:
        await client.end(cancel=True)
        assert await client.error() == ("SIS.0032", "END with cancel was sent without START")


@pytest.mark.parametrize("is_over", [False, True], ids=["within the sentence", "behind the sentence"])
async def test_a_wrong_size_is_an_error_whether_or_not_the_only_sentence_has_ended(is_over: bool) -> None:
    engine = ProbeEngine()
    async with connected(engine, "sentence") as client:
        await client.start()
        if is_over:
            await engine.emit_text("That is all.")
        await client.send(bytes(100_000))
        while (message := await client.receive())["resp_type"] != "ERROR":
            pass
        assert message["error_code"] == "SIS.0032"


async def test_audio_after_a_finished_task_is_an_error() -> None:
    async with connected() as client:
        await client.start()
        await client.end()
        await client.rest()
        await client.send(SECOND)
        assert await client.error() == ("SIS.0032", "audio was sent without START")


@pytest.mark.parametrize("cancel", [True, "true"])
async def test_cancel_drops_unrecognised_audio(cancel: Any) -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start()
        await client.send(SECOND)
        await client.end(cancel=cancel)
        assert await client.rest("CANCEL") == []
        assert not engine.finishing
        assert engine.released.is_set()
        await engine.emit_text("too late")
        await client.start()


@pytest.mark.parametrize("cancel", [False, "false", ...])
async def test_an_end_without_cancel_yields_the_remaining_results(cancel: Any) -> None:
    async with connected(Scripted([("left over", 0, 5000)])) as client:
        await client.start()
        await client.send(SECOND)
        await client.end(**({} if cancel is ... else {"cancel": cancel}))
        assert [segment["result"]["text"] for segment in await client.segments()] == ["left"]


@pytest.mark.parametrize("hold", ["open", "finish"])
async def test_cancel_stops_an_engine_that_opens_or_finishes(hold: str) -> None:
    engine = ProbeEngine()
    engine.gates[hold].clear()
    async with connected(engine) as client:
        await client.send({"command": "START", "config": CONFIG})
        await wait_until(lambda: engine.request)
        if hold == "finish":
            assert (await client.receive())["resp_type"] == "START"
            await client.end()
            await wait_until(lambda: engine.finishing)
        await client.end(cancel=True)
        assert await client.rest("CANCEL") == []
        assert engine.released.is_set()


@pytest.mark.parametrize(
    ("kind", "code"), [("unsupported", "SIS.0031"), ("capacity", "SIS.0312"), ("broken", "SIS.0302")]
)
@pytest.mark.parametrize("step", ["open", "feed", "finish"])
async def test_an_engine_that_refuses_fails_the_task_with_its_reason(
    kind: Literal["unsupported", "capacity", "broken"], code: str, step: str
) -> None:
    engine = ProbeEngine(refuse_at=step, kind=kind)
    async with connected(engine) as client:
        await client.send({"command": "START", "config": CONFIG})
        if step != "open":
            assert (await client.receive())["resp_type"] == "START"
            await client.send(SECOND)
            await client.end()
        assert await client.error(running=step != "open") == (code, f"cannot {step}")
        assert engine.released.is_set() == (step != "open")
        engine.refuse_at = ""
        await client.start()


async def test_hypotheses_outside_their_task_are_dropped() -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start()
        await client.end()
        await client.rest()
        stale = engine.emit
        await engine.emit_text("too late")
        await client.start()
        assert stale is not None
        await stale(Hypothesis(text="much too late", is_final=True, start_ms=0, end_ms=1))
        await client.end()
        assert await client.rest() == []


@pytest.mark.parametrize("hold", ["open", "finish", ""])
async def test_a_client_that_leaves_closes_its_recognition(hold: str) -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        if hold:
            engine.gates[hold].clear()
        await client.send({"command": "START", "config": CONFIG})
        await wait_until(lambda: engine.request)
        if hold != "open":
            await client.receive()
        if hold == "finish":
            await client.end()
            await wait_until(lambda: engine.finishing)
        await client.ws.close()
        async with asyncio.timeout(5):
            await engine.released.wait()


async def test_a_shutdown_closes_the_connections_of_both_vendors() -> None:
    engine = ProbeEngine()
    async with contextlib.AsyncExitStack() as clients:
        async with serve(engine) as emulator:
            client = await clients.enter_async_context(connect_client(emulator))
            await client.start()
            other = await websockets.connect(
                emulator.dashscope_url, additional_headers={"Authorization": "Bearer k"}, proxy=None
            )
        assert engine.released.is_set()
        for one in (client, Client(other)):
            assert await one.receive_close() == (1001, "the emulator is shutting down")


def test_the_transitions_reach_every_state_and_start_leaves_a_failed_task() -> None:
    assert {rasr.State.IDLE} | set(rasr.TRANSITIONS.values()) == set(rasr.State)
    assert {step for _, step in rasr.TRANSITIONS} == set(rasr.Step)
    for (state, step), after in rasr.TRANSITIONS.items():
        assert (state is rasr.State.FAILED and after is not state) == (
            (state, step) == (rasr.State.FAILED, rasr.Step.START)
        )


# --- audio ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audio_format", "least", "most"),
    [
        ("pcm16k16bit", 320, 65_536),
        ("pcm8k16bit", 160, 32_768),
        ("ulaw16k8bit", 320, 65_536),
        ("alaw8k8bit", 160, 32_768),
    ],
)
async def test_the_size_of_an_audio_message_is_limited_at_both_ends(audio_format: str, least: int, most: int) -> None:
    rate_khz = 8 if "8k8" in audio_format or "8k16" in audio_format else 16
    options = {"audio_format": audio_format, "property": f"chinese_{rate_khz}k_common"}
    async with connected() as client:
        for size in (0, least - 1, most + 1):
            await client.start(**options)
            await client.send(bytes(size))
            await client.send(bytes(least))
            text = f"an audio message has {least} to {most} bytes at {rate_khz}000 Hz, not {size}"
            assert await client.error(running=True) == ("SIS.0032", text)
        await client.start(**options)
        for size in (least, most):
            await client.send(bytes(size))
        await client.end()
        await client.rest()


@pytest.mark.parametrize("last_bytes", [1, 2, 319])
async def test_the_last_message_may_be_smaller_with_a_warning(
    last_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    sound = bytes(range(256)) * 20
    assert await decoded([sound, sound[:last_bytes]]) == sound + sound[: last_bytes // 2 * 2]
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"emulator: an audio message has 320 to 65536 bytes at 16000 Hz, not {last_bytes}; accepted as the last one"
    ]


async def decoded(audio: list[bytes], **config: Any) -> bytes:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start(**config)
        for message in audio:
            await client.send(message)
        await client.end()
        await client.rest()
    return bytes(engine.received)


async def test_pcm_reaches_the_engine_unchanged_and_half_a_sample_is_completed() -> None:
    sound = bytes(range(256)) * 30
    assert await decoded([sound[:1001], sound[1001:]]) == sound


async def test_a_long_message_reaches_the_engine_in_pieces_of_100_ms() -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start()
        await client.send(SECOND)
        await client.end()
        await client.rest()
    assert (engine.frames, bytes(engine.received)) == (10, SECOND)


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
@pytest.mark.parametrize("rate_khz", [8, 16])
async def test_companded_audio_reaches_the_engine_as_16_bit_samples(
    law: Literal["ulaw", "alaw"], rate_khz: int
) -> None:
    codes = bytes(range(256)) * 2
    config = {"audio_format": f"{law}{rate_khz}k8bit", "property": f"chinese_{rate_khz}k_general"}
    assert await decoded([codes], **config) == G711Decoder(law).decode(codes)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="audioop, the witness, has left the standard library")
@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_all_256_codes_are_expanded_as_the_standard_library_does(law: Literal["ulaw", "alaw"]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import audioop
    codes = bytes(range(256))
    expand = {"ulaw": audioop.ulaw2lin, "alaw": audioop.alaw2lin}[law]
    assert G711Decoder(law).decode(codes) == expand(codes, 2)


@pytest.mark.parametrize(
    ("law", "code", "sample"),
    [("ulaw", 0x00, -32_124), ("ulaw", 0x80, 32_124), ("ulaw", 0xFF, 0), ("alaw", 0xD5, 8), ("alaw", 0x2A, -32_256)],
)
def test_the_extreme_codes_of_the_companding_laws(law: Literal["ulaw", "alaw"], code: int, sample: int) -> None:
    assert int.from_bytes(G711Decoder(law).decode(bytes([code])), "little", signed=True) == sample


@pytest.mark.parametrize(("mode", "most_s"), [("short", 60), ("sentence", 60)])
async def test_audio_beyond_the_length_of_the_mode_is_an_error(mode: str, most_s: int) -> None:
    engine = ProbeEngine()
    async with connected(engine, mode) as client:
        await client.start()
        for _ in range(most_s):
            await client.send(SECOND)
        await client.send(bytes(320))
        assert await client.error(running=True) == ("SIS.0309", f"mode {mode} accepts at most {most_s} s of audio")
        assert len(engine.received) == most_s * 32_000


async def test_mode_continue_accepts_more_than_a_minute() -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start()
        for _ in range(61):
            await client.send(SECOND)
        await client.end()
        assert await client.rest() == []


async def test_a_busy_engine_slows_its_client_down() -> None:
    engine = ProbeEngine()
    engine.gates["feed"].clear()
    async with connected(engine) as client:
        await client.start()
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                while sent < 2_000:
                    await client.send(bytes(65_536))
                    sent += 1
        assert sent < 1_000
        assert engine.frames == 1
        engine.gates["feed"].set()


# --- results ----------------------------------------------------------------------------------------------------------


def result(start: int, end: int, text: str, *words: tuple[int, int, str], final: bool = True) -> dict[str, Any]:
    """Return a RESULT with one segment; it has `word_info` only if words are given."""
    inner: dict[str, Any] = {"text": text, "score": 0.9 if final else 0.0}
    if words:
        inner["word_info"] = [{"start_time": begin, "end_time": stop, "word": word} for begin, stop, word in words]
    return {
        "resp_type": "RESULT",
        "segments": [{"start_time": start, "end_time": end, "is_final": final, "result": inner}],
    }


def event(name: str, timestamp: int) -> dict[str, Any]:
    return {"resp_type": "EVENT", "event": name, "timestamp": timestamp}


async def messages_of(mode: str, engine: Engine, seconds: int = 3, **config: Any) -> list[dict[str, Any]]:
    """Return all messages between the answers to START and END."""
    async with connected(engine, mode) as client:
        await client.start(**config)
        for _ in range(seconds):
            await client.send(SECOND)
        await client.end()
        return await client.rest()


TWO = Scripted([("Hello, world.", 200, 1000), ("Good bye.", 1400, 2200)], interim_every_ms=500)
HELLO_WORDS = (200, 600, "Hello"), (600, 1000, "world")
BYE_WORDS = (1400, 1800, "Good"), (1800, 2200, "bye")


async def test_continue_returns_finals_without_punctuation_and_words_by_default() -> None:
    assert await messages_of("continue", TWO) == [result(200, 1000, "Hello world"), result(1400, 2200, "Good bye")]


@pytest.mark.parametrize(
    ("said", "text"),
    [("It is 10 past 9.", "It is one-zero past nine"), ("现在9点10分。", "现在九点一零分")],
)
async def test_without_digit_norm_numbers_are_spelled(said: str, text: str) -> None:
    async with connected(Scripted([(said, 0, 1000)])) as client:
        await client.start(digit_norm="no")
        await client.send(SECOND)
        await client.end()
        assert [segment["result"]["text"] for segment in await client.segments()] == [text]


async def test_continue_with_all_options() -> None:
    assert await messages_of("continue", TWO, **ALL) == [
        result(200, 700, "Hello, world.", HELLO_WORDS[0], (600, 700, "world"), final=False),
        result(200, 1000, "Hello, world.", *HELLO_WORDS),
        result(1400, 1900, "Good bye.", BYE_WORDS[0], (1800, 1900, "bye"), final=False),
        result(1400, 2200, "Good bye.", *BYE_WORDS),
    ]


async def test_interims_of_a_sentence_keep_its_start() -> None:
    engine = ProbeEngine()
    async with connected(engine) as client:
        await client.start(interim_results="yes")
        assert engine.emit is not None
        for start, final in ((100, False), (90, False), (110, True), (400, True)):
            await engine.emit(Hypothesis(text="a", is_final=final, start_ms=start, end_ms=500))
        await client.end()
        assert [segment["start_time"] for segment in await client.segments()] == [100, 100, 100, 400]


async def test_sentence_returns_one_sentence_between_two_events_and_nothing_more() -> None:
    assert await messages_of("sentence", TWO, interim_results="yes") == [
        event("VOICE_START", 200),
        result(200, 700, "Hello world", final=False),
        result(200, 1000, "Hello world"),
        event("VOICE_END", 1000),
    ]


async def test_after_its_sentence_the_engine_receives_no_audio_until_the_next_start() -> None:
    engine = ProbeEngine()
    async with connected(engine, "sentence") as client:
        for _ in range(2):
            engine.received.clear()
            await client.start()
            await client.send(SECOND)
            await wait_until(lambda: len(engine.received) == len(SECOND))
            await engine.emit_text("That is all.")
            await engine.emit_text("Or not.")
            await client.send(SECOND)
            await client.send(bytes(1))
            await client.end()
            assert [message["resp_type"] for message in await client.rest()] == ["EVENT", "RESULT", "EVENT"]
            assert bytes(engine.received) == SECOND
            assert not engine.finishing


@pytest.mark.parametrize("cancel", [True, False])
async def test_a_completed_sentence_ends_with_end_or_cancel(cancel: bool) -> None:
    async with connected(HELLO, "sentence") as client:
        await client.start()
        await client.send(SECOND)
        kinds = [(await client.receive())["resp_type"] for _ in range(3)]
        assert kinds == ["EVENT", "RESULT", "EVENT"]
        await client.end(cancel=cancel)
        assert await client.rest("CANCEL" if cancel else "NORMAL") == []


async def test_a_sentence_cut_off_by_end_is_the_only_one() -> None:
    assert await messages_of("sentence", Scripted([("Hello, world.", 0, 5000)]), seconds=1) == [
        event("VOICE_START", 0),
        result(0, 1000, "Hello"),
        event("VOICE_END", 1000),
    ]


async def test_hypotheses_after_the_sentence_are_dropped_while_the_engine_finishes() -> None:
    engine = ProbeEngine()
    engine.gates["finish"].clear()
    async with connected(engine, "sentence") as client:
        await client.start()
        await client.end()
        await wait_until(lambda: engine.finishing)
        await engine.emit_text("That is all.")
        await engine.emit_text("Or not.")
        engine.gates["finish"].set()
        assert await client.rest() == [
            event("VOICE_START", 0),
            result(0, 500, "That is all."),
            event("VOICE_END", 500),
        ]


LATE = Scripted([("Late.", 12_000, 13_000)])


@pytest.mark.parametrize(
    ("config", "silent_ms"), [({}, 10_000), ({"vad_head": 3_000}, 3_000), ({"vad_head": 10_500}, 10_500)]
)
@pytest.mark.parametrize("frame_bytes", [3_200, 64_000])
async def test_sentence_ends_after_vad_head_of_silence(
    config: dict[str, Any], silent_ms: int, frame_bytes: int
) -> None:
    async with connected(LATE, "sentence") as client:
        await client.start(**config)
        for _ in range(15 * 32_000 // frame_bytes):
            await client.send(bytes(frame_bytes))
        await client.end()
        assert await client.rest() == [event("EXCEEDED_SILENCE", silent_ms)]


@pytest.mark.parametrize("vad_head", [0, 15_000])
async def test_sentence_waits_longer_with_a_longer_vad_head(vad_head: int) -> None:
    messages = await messages_of("sentence", LATE, seconds=14, vad_head=vad_head)
    assert messages == [event("VOICE_START", 12_000), result(12_000, 13_000, "Late"), event("VOICE_END", 13_000)]


@pytest.mark.parametrize("mode", ["continue", "short"])
async def test_vad_head_has_no_effect_in_the_other_modes(mode: str) -> None:
    assert await messages_of(mode, LATE, seconds=14, vad_head=1_000) == [result(12_000, 13_000, "Late")]


async def test_short_returns_one_segment_that_grows_and_is_final_at_the_end() -> None:
    both = (*HELLO_WORDS, *BYE_WORDS)
    assert await messages_of("short", TWO, **ALL) == [
        result(200, 700, "Hello, world.", HELLO_WORDS[0], (600, 700, "world"), final=False),
        result(200, 1000, "Hello, world.", *HELLO_WORDS, final=False),
        result(200, 1900, "Hello, world. Good bye.", *HELLO_WORDS, BYE_WORDS[0], (1800, 1900, "bye"), final=False),
        result(200, 2200, "Hello, world. Good bye.", *both, final=False),
        result(200, 2200, "Hello, world. Good bye.", *both),
    ]


async def test_short_returns_only_the_final_by_default() -> None:
    assert await messages_of("short", TWO) == [result(200, 2200, "Hello world Good bye")]


async def test_short_joins_chinese_without_spaces() -> None:
    chinese = Scripted([("你好，", 0, 500), ("世界。", 600, 1000)])
    assert await messages_of("short", chinese) == [result(0, 1000, "你好世界")]
    assert await messages_of("short", chinese, add_punc="yes") == [result(0, 1000, "你好，世界。")]


@pytest.mark.parametrize("mode", MODES)
async def test_without_speech_there_are_no_results(mode: str) -> None:
    assert await messages_of(mode, Scripted([]), seconds=1) == []


@pytest.mark.parametrize(
    ("text", "words", "plain"),
    [
        ("Well, yes!", (("Well", ","), ("yes", "!")), "Well yes"),
        ("你好，世界。", (("你", ""), ("好", "，"), ("世", ""), ("界", "。")), "你好世界"),
        ("U.S. dollars.", (("U.S.", ""), ("dollars", ".")), "U.S. dollars"),
        ("no words.", (), "no words."),
        ("other words.", (("strange", "."), ("words", ".")), "other words"),
    ],
)
async def test_without_add_punc_the_punctuation_behind_words_is_omitted(
    text: str, words: tuple[tuple[str, str], ...], plain: str
) -> None:
    heard_words = tuple(HypothesisWord(text=w, punctuation=p, start_ms=0, end_ms=1) for w, p in words)
    hypothesis = Hypothesis(text=text, is_final=True, start_ms=0, end_ms=1, words=heard_words)
    engine = ProbeEngine()
    async with connected(engine) as client:
        for add_punc, expected in (("no", plain), ("yes", text)):
            await client.start(add_punc=add_punc)
            assert engine.emit is not None
            await engine.emit(hypothesis)
            await client.end()
            assert (await client.segments())[0]["result"]["text"] == expected


# --- timeouts ---------------------------------------------------------------------------------------------------------


async def timed_out(client: Client) -> None:
    message = await client.receive()
    del message["trace_id"]
    assert message == {"resp_type": "FATAL_ERROR", "error_code": "SIS.0304", "error_msg": "wait voice timeout"}
    assert await client.receive_close() == (1000, "wait voice timeout")


def test_a_task_without_audio_times_out_after_20_seconds() -> None:
    async def scenario() -> None:
        engine = ProbeEngine()
        async with connected(engine) as client:
            await client.start()
            for _ in range(3):
                await asyncio.sleep(19)
                await client.send(bytes(320))
            since = now()
            await timed_out(client)
            assert 20 <= now() - since < 20.1
            assert engine.released.is_set()

    run_virtual(scenario)


def test_pings_and_results_do_not_restart_the_timeout() -> None:
    async def scenario() -> None:
        engine = ProbeEngine()
        async with connected(engine) as client:
            await client.start(interim_results="yes")
            since = now()
            for _ in range(3):
                await asyncio.sleep(5)
                await (await client.ws.ping())
                await engine.emit_text("still there?", is_final=False)
                await client.receive()
            await timed_out(client)
            assert 20 <= now() - since < 20.1

    run_virtual(scenario)


@pytest.mark.parametrize("stage", ["never started", "ended", "failed", "sentence over"])
def test_the_timeout_applies_whenever_the_server_waits_for_the_client(stage: str) -> None:
    async def scenario() -> None:
        async with connected(HELLO, "sentence") as client:
            if stage != "never started":
                await client.start()
                await client.send(b"" if stage == "failed" else SECOND)
                for _ in range(2 if stage == "failed" else 3):
                    await client.receive()
            if stage == "ended":
                await client.end()
                await client.rest()
            since = now()
            await timed_out(client)
            assert 20 <= now() - since < 20.1

    run_virtual(scenario)


def test_no_client_timeout_while_the_engine_opens_or_finishes() -> None:
    async def scenario() -> None:
        engine = ProbeEngine()
        async with connected(engine) as client:
            engine.gates["open"].clear()
            engine.gates["finish"].clear()
            await client.send({"command": "START", "config": CONFIG})
            await asyncio.sleep(100)
            engine.gates["open"].set()
            assert (await client.receive())["resp_type"] == "START"
            await asyncio.sleep(19)
            await client.end()
            await asyncio.sleep(100)
            engine.gates["finish"].set()
            assert await client.rest() == []
            since = now()
            await timed_out(client)
            assert 20 <= now() - since < 20.1

    run_virtual(scenario)


def test_the_timeout_restarts_when_an_engine_refuses() -> None:
    async def scenario() -> None:
        engine = ProbeEngine(refuse_at="open")
        engine.gates["open"].clear()
        async with connected(engine) as client:
            await client.send({"command": "START", "config": CONFIG})
            await asyncio.sleep(100)
            engine.gates["open"].set()
            assert (await client.error())[0] == "SIS.0302"
            since = now()
            await timed_out(client)
            assert 20 <= now() - since < 20.1

    run_virtual(scenario)


async def test_the_embedded_recogniser_works_with_default_options() -> None:
    async with connected(PocketSphinx(workers=1)) as client:
        await client.start()
        await client.send(bytes(3_200))
        await client.end()
        assert await client.rest() == []
