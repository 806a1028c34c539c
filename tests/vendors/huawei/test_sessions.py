"""Whole sessions with Huawei's emulator: the three modes, all credentials, and errors."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket

from asr_async import (
    ASRError,
    AuthenticationError,
    Client,
    Event,
    HotWord,
    Huawei,
    Local,
    Paraformer,
    Rasr,
    RateLimitedError,
    Result,
    Retry,
    SpeechEnded,
    SpeechStarted,
    VendorError,
    connect,
    transcribe,
)
from asr_async.emulator import Emulator, EngineRefusedError, Scripted, serve
from asr_async.vendors.huawei import service as huawei_service
from asr_async.vendors.huawei.models import MODES

from ...support.paths import RECORDINGS
from ...support.virtual_time import run_virtual

pytestmark = pytest.mark.both_loops

TWO_SENTENCES = Scripted([("Good morning.", 200, 1_000), ("How are you?", 1_500, 2_400)], interim_every_ms=200)
THREE_SECONDS = bytes(3 * 32_000)
USER = {"username": "user", "password": "secret", "domain": "account"}


def huawei(emulator: Emulator, **arguments: Any) -> Huawei:
    """Return a service of the emulator, by default with access keys."""
    credentials = arguments or {"ak": "AK", "sk": "SK"}
    return Huawei(
        project_id="p", region="cn-north-4", endpoint=emulator.huawei_url, iam_endpoint=emulator.url, **credentials
    )


async def texts(options: Rasr, audio: bytes = THREE_SECONDS) -> list[str]:
    transcript = await transcribe([audio], options, Local(TWO_SENTENCES))
    return [result.text for result in transcript.results]


# --- modes -----------------------------------------------------------------------------------------------------------


async def test_continue_returns_every_sentence() -> None:
    assert await texts(Rasr(add_punc=True)) == ["Good morning.", "How are you?"]


async def test_sentence_returns_the_first_sentence_and_ends_by_itself() -> None:
    assert await texts(Rasr(mode="sentence", add_punc=True)) == ["Good morning."]


async def test_short_returns_one_final_at_the_end() -> None:
    assert await texts(Rasr(mode="short", add_punc=True)) == ["Good morning. How are you?"]


async def test_events_frame_each_sentence() -> None:
    async with connect(Rasr(need_word_info=True), Local(TWO_SENTENCES)) as session:
        events = [event async for event in session.events([THREE_SECONDS], pace=None)]
    kept = [event for event in events if not (isinstance(event, Result) and not event.is_final)]
    assert [_outline(event) for event in kept] == [
        ("started", 0, 200),
        ("final", 0, "Good morning"),
        ("ended", 0, 1_000),
        ("started", 1, 1_500),
        ("final", 1, "How are you"),
        ("ended", 1, 2_400),
    ]
    final = kept[1]
    assert isinstance(final, Result)
    assert [(word.text, word.start_ms, word.end_ms) for word in final.words] == [
        ("Good", 200, 600),
        ("morning", 600, 1_000),
    ]


def _outline(event: Event) -> tuple[str, int, object]:
    match event:
        case Result():
            return "final", event.segment_id, event.text
        case SpeechStarted():
            return "started", event.segment_id, event.start_ms
        case SpeechEnded():
            return "ended", event.segment_id, event.end_ms
        case _:
            raise AssertionError(event)


@pytest.mark.parametrize("interim_results", [True, False])
async def test_interims_are_there_unless_they_are_switched_off(interim_results: bool) -> None:
    async with connect(Rasr(interim_results=interim_results), Local(TWO_SENTENCES)) as session:
        results = [result async for result in session.stream([THREE_SECONDS], pace=None)]
    assert any(not result.is_final for result in results) == interim_results


async def test_sentence_leaves_the_rest_of_an_endless_source_unread() -> None:
    given = 0

    async def microphone() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield bytes(3_200)

    async with connect(Rasr(mode="sentence"), Local(TWO_SENTENCES)) as session:
        results = [result async for result in session.stream(microphone(), pace=None) if result.is_final]
    assert [result.text for result in results] == ["Good morning"]
    assert given < 600, "no more than is on its way when the sentence ends"


def test_sentence_without_speech_ends_after_the_silence_before_it() -> None:
    async def scenario() -> None:
        async with connect(Rasr(mode="sentence", vad_head=2_000), Local(Scripted([("late", 9_000, 9_500)]))) as session:
            with pytest.raises(VendorError, match="no speech was recognised: only silence was sent"):
                assert [result async for result in session.stream([bytes(10 * 32_000)])] == []
            assert session.stats.audio_sent_ms in range(2_000, 2_400)

    run_virtual(scenario)


@pytest.mark.parametrize(
    ("audio_format", "prop", "bytes_per_second"),
    [
        ("pcm16k16bit", "chinese_16k_general", 32_000),
        ("pcm8k16bit", "chinese_8k_general", 16_000),
        ("ulaw16k8bit", "english_16k_common", 16_000),
        ("ulaw8k8bit", "chinese_8k_common", 8_000),
        ("alaw16k8bit", "x_16k_y", 16_000),
        ("alaw8k8bit", "something new", 8_000),
    ],
)
async def test_every_audio_format_has_correct_times_and_no_piece_is_too_small(
    audio_format: str, prop: str, bytes_per_second: int
) -> None:
    audio = bytes(3 * bytes_per_second + 2)  # the last piece alone would be below the vendor's limit
    options = Rasr(audio_format=audio_format, property=prop)
    transcript = await transcribe([audio], options, Local(TWO_SENTENCES))
    assert [(result.text, result.start_ms, result.end_ms) for result in transcript.results] == [
        ("Good morning", 200, 1_000),
        ("How are you", 1_500, 2_400),
    ]


async def test_cancel_ends_the_stream_behind_the_results_so_far() -> None:
    async with connect(Rasr(), Local(TWO_SENTENCES)) as session:
        await session.send(bytes(2 * 32_000))
        stream = aiter(session)
        while not (await anext(stream)).is_final:
            pass
        await session.cancel()
        assert [result.is_final async for result in stream] in ([], [False])


async def test_the_embedded_recogniser_hears_the_same_words_over_either_protocol() -> None:
    recording = RECORDINGS / "demo.wav"
    async with Client(Local("moonshine")) as client:
        words = (await client.transcribe(recording, Paraformer())).text
        options = [Rasr(mode=mode, add_punc=True) for mode in MODES]
        by_mode = {option.mode: (await client.transcribe(recording, option)).text for option in options}
    assert by_mode == {"continue": words, "short": words, "sentence": words[: len(by_mode["sentence"])]}
    assert by_mode["sentence"].endswith("nine o'clock.")


# --- credentials -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "credentials", [{"ak": "AK", "sk": "SK"}, {"ak": "AK", "sk": "SK", "security_token": "t"}, USER]
)
async def test_access_keys_temporary_keys_and_users_are_accepted(credentials: dict[str, str]) -> None:
    async with serve(TWO_SENTENCES, api_keys={"AK": "SK", "user": "secret"}) as emulator:
        transcript = await transcribe([THREE_SECONDS], Rasr(), huawei(emulator, **credentials))
    assert transcript.text == "Good morning How are you"


async def test_a_token_that_the_caller_requested_is_accepted() -> None:
    async with serve(TWO_SENTENCES, api_keys={"user": "secret"}) as emulator:
        bought = await huawei(emulator, **USER).resolve(Rasr())
        service = huawei(emulator, token=bought.headers["X-Auth-Token"])
        assert (await transcribe([THREE_SECONDS], Rasr(), service)).text == "Good morning How are you"


@pytest.mark.parametrize(
    ("credentials", "text"),
    [
        ({"ak": "AK", "sk": "wrong"}, "HTTP 401: Incorrect IAM authentication information: verify aksk signature fail"),
        ({"ak": "unknown", "sk": "SK"}, "HTTP 401: Incorrect IAM authentication information: verify ak fail"),
        ({"token": "unknown"}, "HTTP 401: Incorrect IAM authentication information: decrypt token fail"),
        ({**USER, "password": "wrong"}, "HTTP 401 from IAM: The username or password is wrong: check username"),
    ],
)
async def test_unknown_credentials_are_refused_with_the_reason(credentials: dict[str, str], text: str) -> None:
    async with serve(TWO_SENTENCES, api_keys={"AK": "SK", "user": "secret"}) as emulator:
        with pytest.raises(AuthenticationError, match=re.escape(text)):
            await transcribe([THREE_SECONDS], Rasr(), huawei(emulator, **credentials))


async def test_a_signature_of_a_clock_that_is_off_is_refused_and_the_clock_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huawei_service, "utc_now", lambda: datetime.now(UTC) - timedelta(hours=1, seconds=30))
    async with serve(TWO_SENTENCES, api_keys={"AK": "SK"}) as emulator:
        with pytest.raises(AuthenticationError, match=r"60 minutes behind .*: the likely cause is this"):
            await transcribe([THREE_SECONDS], Rasr(), huawei(emulator))


def test_a_token_that_the_vendor_forgot_is_replaced_within_the_session_that_finds_out() -> None:
    async def scenario() -> None:
        async with serve(TWO_SENTENCES, api_keys={"user": "secret"}) as first:
            port = int(first.address.rpartition(":")[2])
            service = huawei(first, **USER)
            await transcribe([THREE_SECONDS], Rasr(), service)
        async with serve(TWO_SENTENCES, api_keys={"user": "secret"}, port=port), Client(service) as client:
            transcript = await client.transcribe([THREE_SECONDS], Rasr())
        assert transcript.text == "Good morning How are you"

    run_virtual(scenario)


# --- errors ----------------------------------------------------------------------------------------------------------


class BreaksAfter:
    """An engine that plays the script above and fails after a second of audio, or refuses at once."""

    def __init__(self, kind: Any, *, at_once: bool) -> None:
        self._kind = kind
        self._at_once = at_once

    async def __aenter__(self) -> BreaksAfter:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def open(self, request: Any, emit: Callable[..., Any]) -> Any:
        if self._at_once:
            raise EngineRefusedError("not now", kind=self._kind)
        recognition = await TWO_SENTENCES.open(request, emit)
        feed, fed = recognition.feed, 0

        async def breaking_feed(samples: bytes) -> None:
            nonlocal fed
            fed += len(samples)
            await feed(samples)
            if fed >= 40_000:
                raise EngineRefusedError("the engine broke down", kind=self._kind)

        recognition.feed = breaking_feed  # type: ignore[method-assign]
        return recognition


async def test_an_error_in_mid_stream_is_typed_and_stands_behind_the_results() -> None:
    with pytest.raises(VendorError, match="the engine broke down: an error of the vendor; try again") as caught:
        await transcribe([THREE_SECONDS], Rasr(), Local(BreaksAfter("broken", at_once=False)), retry=Retry(attempts=0))
    error = caught.value
    assert (error.code, error.vendor, error.retryable) == ("SIS.0302", "huawei", True)
    assert re.fullmatch(r"[0-9a-f-]{32,36}", error.request_id or "")
    assert error.transcript is not None
    assert [result.text for result in error.transcript.results] == ["Good morning"]


async def test_too_many_sessions_is_a_rate_limit() -> None:
    with pytest.raises(RateLimitedError, match="try again after 2 to 5 seconds") as caught:
        await transcribe([THREE_SECONDS], Rasr(), Local(BreaksAfter("capacity", at_once=True)))
    assert caught.value.code == "SIS.0312"


@pytest.mark.parametrize("mode", ["short", "sentence"])
async def test_a_source_of_unknown_length_that_is_too_long_is_an_error_with_the_results_so_far(mode: str) -> None:
    script = Scripted([("a long word", 58_000, 90_000)])
    options = Rasr(mode=mode, vad_head=60_000) if mode == "sentence" else Rasr(mode=mode)
    with pytest.raises(ASRError, match="longer than the mode allows: send the rest in a new session") as caught:
        async with connect(options, Local(script)) as session:
            results = [result async for result in session.stream((bytes(32_000) for _ in range(80)), pace=None)]
            raise AssertionError(results)
    assert caught.value.code == "SIS.0309"


PLACES = Scripted(
    [{"text": "去WULA和台北", "start_ms": 0, "end_ms": 900, "variants": {"WULA": "呜啦", "台北": "太背"}}]
)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "去呜啦和太背"),
        (["台北"], "去呜啦和台北"),
        ([HotWord("WULA", weight=5)], "去WULA和太背"),
        ([HotWord("WULA", heard_as="呜啦"), "台北"], "去WULA和台北"),
        ([HotWord("台背", heard_as="台北")], "去呜啦和太背"),
    ],
    ids=["none", "plain", "weight", "replacement", "another"],
)
async def test_the_words_of_a_table_are_recognised_in_their_spelling(words: list[Any], text: str) -> None:
    async with serve(PLACES) as emulator, Client(huawei(emulator)) as client:
        table = await client.vocabularies.create(words, name="places") if words else None
        assert (await client.transcribe([THREE_SECONDS], Rasr(vocabulary_id=table))).text == text


async def test_words_in_the_options_are_recognised_beside_those_of_a_table() -> None:
    async with serve(PLACES) as emulator, Client(huawei(emulator)) as client:
        table = await client.vocabularies.create(["台北"], name="places")
        for vocabulary_id, text in ((None, "去WULA和太背"), (table, "去WULA和台北")):
            options = Rasr(vocabulary_id=vocabulary_id, user_words=["WULA"])
            assert (await client.transcribe([THREE_SECONDS], options)).text == text


async def test_an_unknown_hot_word_table_is_refused_at_the_start() -> None:
    with pytest.raises(VendorError, match="check vocabulary_id: a table belongs to one region and project") as caught:
        await transcribe([THREE_SECONDS], Rasr(vocabulary_id="none"), Local(TWO_SENTENCES))
    assert caught.value.code == "SIS.0201"


def test_a_source_that_falls_silent_for_20_seconds_is_a_retryable_error() -> None:
    async def scenario() -> None:
        async with connect(Rasr(), Local(TWO_SENTENCES), retry=Retry(attempts=0)) as session:
            await session.send(bytes(2 * 32_000))
            with pytest.raises(VendorError, match="no audio was sent for 20 s: keep sending") as caught:
                async for _ in session:
                    pass
            assert (caught.value.code, caught.value.retryable) == ("SIS.0304", True)

    run_virtual(scenario)


# --- a connection with several tasks ---------------------------------------------------------------------------------


def message(kind: str, trace_id: str | None, **members: Any) -> str:
    trace = {} if trace_id is None else {"trace_id": trace_id}
    return json.dumps({"resp_type": kind, **trace, **members})


def final(text: str, trace_id: str | None, start_ms: int = 0) -> str:
    segment = {"start_time": start_ms, "end_time": start_ms + 900, "is_final": True, "result": {"text": text}}
    return message("RESULT", trace_id, segments=[segment])


class LateServer:
    """A server that sends messages of the task before once more in each place of the next task."""

    def __init__(self) -> None:
        self.connections = 0
        self.tasks = 0

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections += 1
        async for received in connection:
            if isinstance(received, bytes):
                continue
            if json.loads(received)["command"] == "START":
                self.tasks += 1
                await self._send_late(connection, "RESULT", "END")
                await connection.send(message("START", f"task {self.tasks}"))
                await self._send_late(connection, "RESULT", "EVENT", "END", "ERROR")
            else:
                await connection.send(final(f"words {self.tasks}", f"task {self.tasks}"))
                await connection.send(final(f"more {self.tasks}", None, 1_000))
                await self._send_late(connection, "RESULT", "END", "ERROR")
                await connection.send(message("END", f"task {self.tasks}", reason="NORMAL"))

    async def _send_late(self, connection: ServerConnection, *kinds: str) -> None:
        if self.tasks == 1:
            return
        before = f"task {self.tasks - 1}"
        late = {
            "RESULT": final(f"words {self.tasks - 1}", before),
            "EVENT": message("EVENT", before, event="EXCEEDED_AUDIO"),
            "END": message("END", before, reason="NORMAL"),
            "ERROR": message("ERROR", before, error_code="SIS.0305", error_msg="recognition failed"),
        }
        for kind in kinds:
            await connection.send(late[kind])


@pytest.mark.parametrize("mode", MODES)
async def test_late_messages_of_a_task_are_not_in_the_next_session_on_its_connection(mode: str) -> None:
    server = LateServer()
    async with serve_websocket(server, "127.0.0.1", 0, compression=None) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        service = Huawei(ak="AK", sk="SK", project_id="p", region="cn-north-4", endpoint=f"ws://127.0.0.1:{port}")
        async with Client(service) as client:
            for number in range(1, 4):
                transcript = await client.transcribe([bytes(6_400)], Rasr(mode=mode))
                texts = [result.text for result in transcript.results]
                assert texts == [f"words {number}", f"more {number}"]
                assert transcript.request_id == f"task {number}"
    assert (server.connections, server.tasks) == (1, 3)
