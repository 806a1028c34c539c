"""The errors of a session when the vendor or the network fails: typed, one line, after all results."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from asr_async import (
    ASRError,
    AuthenticationError,
    Client,
    ConfigurationError,
    ConnectionLostError,
    DashScope,
    Local,
    LocalProtocolError,
    Paraformer,
    PushSource,
    RateLimitedError,
    RemoteProtocolError,
    Retry,
    VendorError,
    connect,
    transcribe,
)
from asr_async.emulator import EngineRefusedError, Scripted, serve

from ..support.scripted_server import (
    read_until_finish,
    scripted_server,
    send_event,
    send_final,
    send_interim,
    start_task,
)
from ..support.streaming import SILENT_SECOND, endless_silence, stream_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.asyncio.server import ServerConnection

pytestmark = pytest.mark.both_loops

KEY = "sk-0123456789abcdef"


# --- the handshake ---------------------------------------------------------------------------------------------------


async def test_a_wrong_key_raises_the_vendors_text_without_the_key() -> None:
    async with serve(engine=Scripted([]), api_keys={"sk-right"}) as emulator:
        _, error = await stream_once(DashScope(KEY, endpoint=emulator.dashscope_url))
    assert isinstance(error, AuthenticationError)
    assert str(error).startswith(
        "HTTP 401: Invalid API-key provided: check the key, and that it belongs to the endpoint's region "
        "(code InvalidApiKey, request "
    )
    assert KEY not in str(error)
    assert not error.retryable


async def test_a_missing_key_is_refused_before_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    _, error = await stream_once(DashScope(endpoint="ws://127.0.0.1:9/"))
    assert isinstance(error, AuthenticationError)
    assert "set DASHSCOPE_API_KEY or pass DashScope(api_key=...); service=Local() needs none" in str(error)


@pytest.mark.parametrize(
    ("status", "headers", "body", "error_class", "retryable"),
    [
        (429, {"Retry-After": "7"}, {"code": "Throttling.RateQuota", "message": "slow"}, RateLimitedError, True),
        (429, {}, {"code": "Arrearage", "message": "pay"}, VendorError, False),
        (503, {}, {}, VendorError, True),
        (403, {}, {"code": "AccessDenied", "message": "no"}, AuthenticationError, False),
    ],
)
async def test_a_refused_handshake_becomes_the_error_of_its_code(
    status: int, headers: dict[str, str], body: Any, error_class: type[ASRError], retryable: bool
) -> None:
    def refuse(_connection: ServerConnection, _request: Request) -> Response:
        content = json.dumps(body).encode()
        return Response(status, HTTPStatus(status).phrase, Headers(headers), content)

    async with scripted_server(_unreachable, process_request=refuse) as service:
        _, error = await stream_once(service)
    assert type(error) is error_class
    assert error.retryable is retryable
    if isinstance(error, RateLimitedError):
        assert error.retry_after == 7.0


async def _unreachable(_connection: ServerConnection) -> None:
    raise AssertionError


async def test_a_refused_connection_is_a_retryable_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, error = await stream_once(DashScope(KEY, endpoint=f"ws://127.0.0.1:{port}/"))
    assert isinstance(error, ConnectionLostError)
    assert f"cannot reach 127.0.0.1:{port}: Connection refused" in str(error)
    assert error.retryable


async def test_the_error_names_a_host_that_does_not_exist() -> None:
    _, error = await stream_once(DashScope(KEY, endpoint="wss://no-such-host.invalid/"))
    assert isinstance(error, ConnectionLostError)
    assert "cannot find the host no-such-host.invalid: check the endpoint and the network" in str(error)


async def test_the_error_names_a_server_that_does_not_speak_websocket() -> None:
    async def speak_smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(speak_smtp, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        _, error = await stream_once(DashScope(KEY, endpoint=f"ws://127.0.0.1:{port}/"))
    assert isinstance(error, RemoteProtocolError)
    assert f"127.0.0.1:{port} does not speak WebSocket" in str(error)


# --- during the stream -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "text", "retryable"),
    [
        (1000, "", "closed the connection before the end of the transcript", True),
        (1001, "", "closed the connection before the end of the transcript", True),
        (1011, "restarting", "closed the connection before the end of the transcript: restarting", True),
        (1007, "Invalid payload data", "before the end of the transcript: Invalid payload data", False),
    ],
)
async def test_a_close_is_never_the_end_of_the_transcript(code: int, reason: str, text: str, retryable: bool) -> None:
    async def close(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await send_final(connection, task_id, "one")
        await send_interim(connection, task_id, "tw", 900)
        await connection.close(code, reason)

    async with scripted_server(close) as service:
        texts, error = await stream_once(service, audio=endless_silence())
    assert texts[0] == "one"
    assert isinstance(error, ConnectionLostError)
    assert text in str(error)
    assert (error.code, error.retryable) == (str(code), retryable)
    assert error.request_id


async def test_an_aborted_connection_is_never_the_end_of_the_transcript() -> None:
    async def cut(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await send_final(connection, task_id, "one")
        await connection.recv()
        connection.transport.abort()

    async with scripted_server(cut) as service:
        texts, error = await stream_once(service, audio=endless_silence())
    assert texts == ["one"]
    assert isinstance(error, ConnectionLostError)
    assert "without a closing message" in str(error)
    assert error.retryable


async def test_a_vendor_error_is_raised_even_if_the_connection_closes_after_it() -> None:
    async def fail(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await send_final(connection, task_id, "one")
        await send_event(connection, "task-failed", task_id, error_code="InternalError.Algo", error_message="boom")
        await connection.close()

    async with scripted_server(fail) as service:
        texts, error = await stream_once(service, audio=endless_silence())
    assert texts == ["one"]
    assert isinstance(error, VendorError)
    assert str(error).startswith("boom: an error of the vendor; try again (code InternalError.Algo, request ")


async def test_broken_json_is_a_remote_protocol_error_that_quotes_it() -> None:
    async def send_broken_json(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await send_final(connection, task_id, "one")
        await connection.send('{"header": {"event"')
        await connection.wait_closed()

    async with scripted_server(send_broken_json) as service:
        texts, error = await stream_once(service, audio=endless_silence())
    assert texts == ["one"]
    assert isinstance(error, RemoteProtocolError)
    assert "unreadable message from DashScope" in str(error)
    assert '{"header": {"event"' in str(error)


async def test_an_unknown_event_is_logged_once_and_otherwise_ignored(caplog: pytest.LogCaptureFixture) -> None:
    async def send_unknown_events(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        for _ in range(3):
            await send_event(connection, "weather-report", task_id)
        await send_final(connection, task_id, "one")
        await send_event(connection, "task-finished", task_id, {"output": {}})

    with caplog.at_level(logging.INFO, "asr_async"):
        async with scripted_server(send_unknown_events) as service:
            assert await stream_once(service) == (["one"], None)
    assert [record.getMessage().count("weather-report") > 0 for record in caplog.records].count(True) == 1


async def test_a_message_of_five_megabytes_is_accepted() -> None:
    async def send_long_text(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        await send_final(connection, task_id, "x" * 5_000_000)
        await send_event(connection, "task-finished", task_id, {"output": {}})

    async with scripted_server(send_long_text) as service:
        texts, error = await stream_once(service)
    assert error is None
    assert [len(text) for text in texts] == [5_000_000]


async def test_a_message_of_more_than_16_mib_is_a_remote_protocol_error() -> None:
    async def send_17_mib(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await send_final(connection, task_id, "one")
        await connection.send("x" * (17 * 1024 * 1024))

    async with scripted_server(send_17_mib) as service:
        texts, error = await stream_once(service, audio=endless_silence())
    assert texts == ["one"]
    assert isinstance(error, RemoteProtocolError)
    assert "a message of more than 16 MiB" in str(error)


async def test_a_task_that_ends_before_finish_is_an_error() -> None:
    async def finish_early(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await send_final(connection, task_id, "one")
        await send_event(connection, "task-finished", task_id, {"output": {}})
        await connection.wait_closed()

    async with scripted_server(finish_early) as service:
        texts, error = await stream_once(service, audio=endless_silence())
    assert texts == ["one"]
    assert isinstance(error, RemoteProtocolError)


async def test_the_error_is_raised_by_each_later_read_of_results() -> None:
    async def cut(connection: ServerConnection) -> None:
        await start_task(connection)
        await connection.close(1011)

    async with scripted_server(cut) as service, connect(Paraformer(), service) as session:
        results = session.stream(endless_silence(), pace=None)
        for _ in range(2):
            with pytest.raises(ConnectionLostError):
                await anext(results)
        with pytest.raises(ConnectionLostError):
            await anext(session.__aiter__())


async def test_the_traceback_of_an_error_that_is_raised_again_and_again_does_not_grow() -> None:
    """Its frames keep their local variables: the audio of a program that goes on sending."""

    async def cut(connection: ServerConnection) -> None:
        await start_task(connection)
        await connection.close(1011)

    def length_of(error: BaseException) -> int:
        return len(traceback.extract_tb(error.__traceback__))

    source = PushSource()
    lengths: dict[str, list[int]] = {}
    async with scripted_server(cut) as service, connect(Paraformer(), service, retry=Retry(attempts=0)) as session:
        results = session.events()
        with pytest.raises(ConnectionLostError):
            await anext(results)
        source.end(session._status.error)
        calls: dict[str, Any] = {"send": session.send, "source": source.send, "iterate": lambda _: anext(results)}
        for name, call in calls.items():
            for _ in range(10):
                with pytest.raises(ConnectionLostError) as caught:
                    await call(bytes(3_200))
                lengths.setdefault(name, []).append(length_of(caught.value))
    assert all(len(set(each)) == 1 for each in lengths.values()), lengths


async def test_the_error_of_a_lost_transcription_contains_the_transcript_until_then() -> None:
    async def cut(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await send_final(connection, task_id, "one")
        await send_final(connection, task_id, "two", 900, 1_500)
        await connection.close(1011)

    async with scripted_server(cut) as service:
        with pytest.raises(ConnectionLostError) as caught:
            await transcribe(endless_silence(), Paraformer(), service)
    assert caught.value.transcript is not None
    assert caught.value.transcript.text == "one two"


async def test_a_file_is_checked_before_connecting(tmp_path: Any) -> None:
    with pytest.raises(FileNotFoundError):
        await transcribe(tmp_path / "none.wav", Paraformer(), DashScope(KEY, endpoint="ws://127.0.0.1:9/"))


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def debug_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "asr_async"):
        yield caplog


async def test_no_log_and_no_repr_contains_a_key_or_audio(debug_log: pytest.LogCaptureFixture) -> None:
    audio = b"\xab\xcd" * 16_000
    async with serve(engine=Scripted([("one", 0, 500)])) as emulator:
        service = DashScope(KEY, endpoint=emulator.dashscope_url)
        async with Client(service) as client, client.session(Paraformer()) as session:
            texts = [result.text async for result in session.stream([audio], pace=None)]
            reprs = f"{client!r} {session!r} {service!r} {session._task!r}"
    assert texts[-1] == "one"
    logged = "\n".join(record.getMessage() for record in debug_log.records)
    for text in (logged, reprs):
        assert KEY not in text
        assert "ab cd ab cd" not in text


# --- the local service -----------------------------------------------------------------------------------------------


async def test_silence_alone_is_a_vendor_error_that_names_the_likely_cause() -> None:
    with pytest.raises(VendorError, match="only silence was sent, or audio of another format") as caught:
        await transcribe([SILENT_SECOND], Paraformer(), Local(engine=Scripted([])))
    assert caught.value.code == "NO_VALID_AUDIO_ERROR"


async def test_the_error_names_a_format_that_the_emulator_cannot_decode() -> None:
    options = Paraformer(format="flac", strict=False)
    with pytest.raises(VendorError, match="the emulator does not decode flac") as caught:
        await transcribe([SILENT_SECOND], options, Local(engine=Scripted([])))
    assert caught.value.code == "UNSUPPORTED_FORMAT"


async def test_pocketsphinx_refuses_eight_kilohertz() -> None:
    options = Paraformer(model="paraformer-realtime-8k-v2", sample_rate=8_000)
    with pytest.raises(VendorError, match="16000 Hz only, not 8000 Hz") as caught:
        await transcribe([SILENT_SECOND], options, Local("pocketsphinx"))
    assert not caught.value.retryable


async def test_the_embedded_recogniser_refuses_languages_other_than_english() -> None:
    with pytest.raises(VendorError, match="English only"):
        await transcribe([SILENT_SECOND], Paraformer(language_hints=["zh"]), Local())


async def test_an_engine_without_capacity_is_a_retryable_rate_limit() -> None:
    class Full(Scripted):
        async def open(self, request: Any, emit: Any) -> Any:
            raise EngineRefusedError("all 20 sessions are taken", kind="capacity")

    with pytest.raises(RateLimitedError, match="all 20 sessions are taken: slow down") as caught:
        await transcribe([SILENT_SECOND], Paraformer(), Local(engine=Full([])))
    assert (caught.value.code, caught.value.retryable) == ("Throttling.Concurrency", True)


async def test_the_error_names_an_unknown_engine() -> None:
    with pytest.raises(
        ConfigurationError,
        match="engine='sphinx': there is no such engine: choose moonshine, pocketsphinx or sherpa:FOLDER",
    ):
        await transcribe([SILENT_SECOND], Paraformer(), Local("sphinx"))


async def test_the_local_service_must_be_entered_before_use() -> None:
    with pytest.raises(LocalProtocolError, match="is not running: pass it to connect"):
        await Local().resolve(Paraformer())
