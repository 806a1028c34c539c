"""The errors of a session when the vendor or the network fails: typed, one line, after everything recognised."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
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
    RateLimitedError,
    RemoteProtocolError,
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


async def test_a_wrong_key_is_refused_with_the_vendors_words_and_not_shown() -> None:
    async with serve(engine=Scripted([]), api_keys={"sk-right"}) as emulator:
        _, error = await stream_once(DashScope(KEY, endpoint=emulator.dashscope_url))
    assert isinstance(error, AuthenticationError)
    assert str(error).startswith(
        "Invalid API-key provided: check the key and that it is of the endpoint's region (code InvalidApiKey, request "
    )
    assert KEY not in str(error)
    assert not error.retryable


async def test_no_key_is_refused_before_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_nobody_listening_is_a_lost_connection_that_can_be_tried_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, error = await stream_once(DashScope(KEY, endpoint=f"ws://127.0.0.1:{port}/"))
    assert isinstance(error, ConnectionLostError)
    assert f"cannot reach 127.0.0.1:{port}: Connection refused" in str(error)
    assert error.retryable


async def test_a_host_that_does_not_exist_is_named() -> None:
    _, error = await stream_once(DashScope(KEY, endpoint="wss://no-such-host.invalid/"))
    assert isinstance(error, ConnectionLostError)
    assert "cannot find the host no-such-host.invalid: check the endpoint and the network" in str(error)


async def test_a_server_that_is_no_websocket_server_is_named() -> None:
    async def talk_smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(talk_smtp, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        _, error = await stream_once(DashScope(KEY, endpoint=f"ws://127.0.0.1:{port}/"))
    assert isinstance(error, RemoteProtocolError)
    assert f"127.0.0.1:{port} does not speak WebSocket" in str(error)


# --- in mid-stream ---------------------------------------------------------------------------------------------------


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


async def test_a_cut_connection_is_never_the_end_of_the_transcript() -> None:
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


async def test_an_error_of_the_vendor_is_told_even_when_the_connection_closes_behind_it() -> None:
    async def fail(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await send_final(connection, task_id, "one")
        await send_event(connection, "task-failed", task_id, error_code="InternalError.Algo", error_message="boom")
        await connection.close()

    async with scripted_server(fail) as service:
        texts, error = await stream_once(service, audio=endless_silence())
    assert texts == ["one"]
    assert isinstance(error, VendorError)
    assert str(error).startswith("boom: the vendor's side; try again (code InternalError.Algo, request ")


async def test_broken_json_is_a_remote_protocol_error_that_shows_it() -> None:
    async def babble(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await send_final(connection, task_id, "one")
        await connection.send('{"header": {"event"')
        await connection.wait_closed()

    async with scripted_server(babble) as service:
        texts, error = await stream_once(service, audio=endless_silence())
    assert texts == ["one"]
    assert isinstance(error, RemoteProtocolError)
    assert "unreadable message from DashScope" in str(error)
    assert '{"header": {"event"' in str(error)


async def test_an_unknown_event_is_logged_once_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def novel(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        for _ in range(3):
            await send_event(connection, "weather-report", task_id)
        await send_final(connection, task_id, "one")
        await send_event(connection, "task-finished", task_id, {"output": {}})

    with caplog.at_level(logging.INFO, "asr_async"):
        async with scripted_server(novel) as service:
            assert await stream_once(service) == (["one"], None)
    assert [record.getMessage().count("weather-report") > 0 for record in caplog.records].count(True) == 1


async def test_a_message_of_five_megabytes_is_read() -> None:
    async def verbose(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        await send_final(connection, task_id, "x" * 5_000_000)
        await send_event(connection, "task-finished", task_id, {"output": {}})

    async with scripted_server(verbose) as service:
        texts, error = await stream_once(service)
    assert error is None
    assert [len(text) for text in texts] == [5_000_000]


async def test_a_message_beyond_every_bound_is_a_remote_protocol_error() -> None:
    async def flood(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await send_final(connection, task_id, "one")
        await connection.send("x" * (17 * 1024 * 1024))

    async with scripted_server(flood) as service:
        texts, error = await stream_once(service, audio=endless_silence())
    assert texts == ["one"]
    assert isinstance(error, RemoteProtocolError)
    assert "a message of more than 16 MiB" in str(error)


async def test_a_task_that_ends_by_itself_is_an_error_since_audio_was_cut_off() -> None:
    async def early(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await send_final(connection, task_id, "one")
        await send_event(connection, "task-finished", task_id, {"output": {}})
        await connection.wait_closed()

    async with scripted_server(early) as service:
        texts, error = await stream_once(service, audio=endless_silence())
    assert texts == ["one"]
    assert isinstance(error, RemoteProtocolError)


async def test_the_same_error_is_raised_again_not_an_end() -> None:
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


async def test_a_transcription_that_breaks_off_hands_over_what_it_has() -> None:
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


async def test_a_file_is_checked_before_anything_is_connected(tmp_path: Any) -> None:
    with pytest.raises(FileNotFoundError):
        await transcribe(tmp_path / "none.wav", Paraformer(), DashScope(KEY, endpoint="ws://127.0.0.1:9/"))


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "asr_async"):
        yield caplog


async def test_no_key_and_no_audio_stands_in_any_log_or_repr(everything_logged: pytest.LogCaptureFixture) -> None:
    audio = b"\xab\xcd" * 16_000
    async with serve(engine=Scripted([("one", 0, 500)])) as emulator:
        service = DashScope(KEY, endpoint=emulator.dashscope_url)
        async with Client(service) as client, client.session(Paraformer()) as session:
            texts = [result.text async for result in session.stream([audio], pace=None)]
            seen = f"{client!r} {session!r} {service!r} {session._task!r}"
    assert texts[-1] == "one"
    logged = "\n".join(record.getMessage() for record in everything_logged.records)
    for text in (logged, seen):
        assert KEY not in text
        assert "ab cd ab cd" not in text


# --- the embedded service --------------------------------------------------------------------------------------------


async def test_silence_is_a_vendor_error_that_says_what_it_may_be() -> None:
    with pytest.raises(VendorError, match="only silence was sent, or audio of another format") as caught:
        await transcribe([SILENT_SECOND], Paraformer(), Local(engine=Scripted([])))
    assert caught.value.code == "NO_VALID_AUDIO_ERROR"


async def test_a_format_that_the_emulator_cannot_decode_is_named() -> None:
    with pytest.raises(VendorError, match="decodes pcm and wav only, not mp3") as caught:
        await transcribe([SILENT_SECOND], Paraformer(format="mp3"), Local(engine=Scripted([])))
    assert caught.value.code == "UNSUPPORTED_FORMAT"


async def test_the_embedded_recogniser_refuses_eight_kilohertz_with_the_reason() -> None:
    options = Paraformer(model="paraformer-realtime-8k-v2", sample_rate=8_000)
    with pytest.raises(VendorError, match="16000 Hz only, not 8000 Hz") as caught:
        await transcribe([SILENT_SECOND], options, Local())
    assert not caught.value.retryable


async def test_the_embedded_recogniser_refuses_other_languages_than_english() -> None:
    with pytest.raises(VendorError, match="English only"):
        await transcribe([SILENT_SECOND], Paraformer(language_hints=["zh"]), Local())


async def test_no_room_for_another_session_is_a_rate_limit_that_can_be_tried_again() -> None:
    class Full(Scripted):
        async def open(self, request: Any, emit: Any) -> Any:
            raise EngineRefusedError("all 20 sessions are taken", kind="capacity")

    with pytest.raises(RateLimitedError, match="all 20 sessions are taken: slow down") as caught:
        await transcribe([SILENT_SECOND], Paraformer(), Local(engine=Full([])))
    assert (caught.value.code, caught.value.retryable) == ("Throttling.Concurrency", True)


async def test_an_unknown_engine_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="engine='sphinx': the only engine with a name is 'pocketsphinx'"):
        await transcribe([SILENT_SECOND], Paraformer(), Local("sphinx"))


async def test_the_local_service_works_only_while_it_is_started() -> None:
    with pytest.raises(LocalProtocolError, match="is not running: pass it to connect"):
        await Local().resolve(Paraformer())
