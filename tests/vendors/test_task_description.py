"""The promises of a task's description: an unanswered start, subprotocols, unconfirmed ends, keepalive messages."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed

from asr_async import (
    ASRError,
    AudioFormat,
    Client,
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    Fallback,
    Gap,
    LocalProtocolError,
    RemoteProtocolError,
    Result,
    Retry,
    Timeouts,
    VendorError,
    connect,
)

from ..support.plain_vendor import PlainCodec, PlainOptions, PlainService, plain_server, say
from ..support.virtual_time import now, run_virtual

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

SECOND = bytes(32_000)
NO_RETRY = Retry(attempts=0)


async def transcribe(
    service: Any, seconds: int = 2, *, pace: float | None = None, **options: Any
) -> tuple[list[tuple[str, bool]], list[Gap], ASRError | None]:
    """Return the finals with `is_confirmed`, the gaps and the error."""
    finals: list[tuple[str, bool]] = []
    gaps: list[Gap] = []
    try:
        async with connect(PlainOptions(), service, **options) as session:
            async for event in session.events([SECOND] * seconds, pace=pace):
                match event:
                    case Result(is_final=True):
                        finals.append((event.text, event.is_confirmed))
                    case Gap():
                        gaps.append(event)
    except ASRError as error:
        return finals, gaps, error
    return finals, gaps, None


async def read_until_end(connection: ServerConnection) -> int:
    """Receive until the end of the audio; return its size."""
    size = 0
    async for message in connection:
        if message == "end":
            break
        size += len(message) if isinstance(message, bytes) else 0
    return size


# --- a start without an answer ----------------------------------------------------------------------------------------


async def test_audio_is_sent_at_once_where_the_start_is_not_answered() -> None:
    request_ids: list[str] = []

    async def script(connection: ServerConnection) -> None:
        assert await connection.recv() == "start"
        assert isinstance(await connection.recv(), bytes)
        await connection.send('{"started": "request-7"}')
        await read_until_end(connection)
        await say(connection, "hello", 0, 1_900, final=True)
        await connection.send('{"done": 1}')

    async with (
        plain_server(script, answers_start=False) as service,
        connect(PlainOptions(), service, timeouts=Timeouts(start=0.5)) as session,
    ):
        results = [result.text async for result in session.stream([SECOND] * 2, pace=None)]
        request_ids.append(session.stats.request_id)
    assert results == ["hello"]
    assert request_ids == ["request-7"]


async def test_an_error_that_answers_the_start_late_is_the_error_of_the_session() -> None:
    async def script(connection: ServerConnection) -> None:
        await connection.send('{"error": "no such model", "retryable": false}')
        await connection.wait_closed()

    async with plain_server(script, answers_start=False) as service:
        finals, gaps, error = await transcribe(service)
    assert (finals, gaps) == ([], [])
    assert isinstance(error, VendorError)
    assert error.message == "no such model"


async def test_another_member_takes_over_where_the_first_refuses_a_start_that_it_does_not_answer() -> None:
    async def refuse(connection: ServerConnection) -> None:
        await connection.send('{"error": "no such model", "retryable": false}')
        await connection.wait_closed()

    async def accept(connection: ServerConnection) -> None:
        await read_until_end(connection)
        await say(connection, "hello", 0, 1_900, final=True)
        await connection.send('{"done": 1}')

    async with plain_server(refuse, answers_start=False) as bad, plain_server(accept, answers_start=False) as good:
        fallback = Fallback([(bad, PlainOptions()), (good, PlainOptions(model="plain-2"))])
        async with connect(fallback.options, fallback) as session:
            texts = [result.text async for result in session.stream([SECOND] * 2, pace=None)]
    assert texts == ["hello"]


@pytest.mark.parametrize("answers_start", [True, False])
def test_an_idle_connection_that_was_lost_is_replaced_before_audio_is_sent(answers_start: bool) -> None:
    """The network no longer reaches the server; without retries the session would fail."""

    async def scenario() -> None:
        tasks: list[int] = []

        async def script(connection: ServerConnection) -> None:
            tasks.append(0)
            async for message in connection:
                if message == "start":
                    tasks[-1] += 1
                    if answers_start:
                        await connection.send('{"started": "r"}')
                elif message == "end":
                    await say(connection, "hello", 0, 900, final=True)
                    await connection.send('{"done": 1}')
                    if len(tasks) == 1:
                        connection.transport.pause_reading()

        async with plain_server(script, answers_start=answers_start) as service:
            service.endpoint["reuse_s"] = 50.0
            async with Client(service, retry=NO_RETRY) as client:
                for _ in range(2):
                    transcript = await client.transcribe([SECOND], PlainOptions(), pace=None)
                    assert transcript.text == "hello"
        assert tasks == [1, 1]

    run_virtual(scenario)


# --- subprotocols -----------------------------------------------------------------------------------------------------


async def echo_subprotocol(connection: ServerConnection) -> None:
    await read_until_end(connection)
    await say(connection, str(connection.subprotocol), 0, 900, final=True)
    await connection.send('{"done": 1}')


@pytest.mark.parametrize(("served", "chosen"), [(["binary", "text"], "binary"), (None, "None")])
async def test_the_server_chooses_one_of_the_offered_subprotocols_or_none(
    served: list[str] | None, chosen: str
) -> None:
    async with plain_server(echo_subprotocol, server={"subprotocols": served}, answers_start=False) as service:
        service.endpoint["subprotocols"] = ("binary", "base64")
        finals, _, error = await transcribe(service, 1)
    assert error is None
    assert finals == [(chosen, True)]


async def test_a_subprotocol_that_was_not_offered_is_refused() -> None:
    server = {"subprotocols": ["text"], "select_subprotocol": lambda *_: "text"}
    async with plain_server(echo_subprotocol, server=server, answers_start=False) as service:
        service.endpoint["subprotocols"] = ("binary",)
        _, _, error = await transcribe(service, 1)
    assert isinstance(error, RemoteProtocolError)
    host = service._url.removeprefix("ws://").removesuffix("/")
    expected = f"{host} chose a WebSocket subprotocol that was not offered: unsupported subprotocol: text"
    assert error.message == expected


async def test_a_server_that_demands_a_subprotocol_refuses_the_handshake_without_it() -> None:
    async with plain_server(echo_subprotocol, server={"subprotocols": ["binary"]}, answers_start=False) as service:
        _, _, error = await transcribe(service, 1)
    assert isinstance(error, VendorError)
    assert (error.message, error.status) == ("HTTP 400", 400)


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (
            {"subprotocols": ("two words",)},
            "not a WebSocket subprotocol: 'two words'; it is one word of ASCII characters",
        ),
        (
            {"headers": {"Sec-WebSocket-Protocol": "binary"}},
            (
                "the header Sec-WebSocket-Protocol belongs to the handshake: leave it out, and name subprotocols in "
                "Endpoint(subprotocols=...)"
            ),
        ),
    ],
)
async def test_a_malformed_offer_of_subprotocols_is_refused(endpoint: dict[str, Any], text: str) -> None:
    service = PlainService("ws://127.0.0.1:9/")
    service.endpoint = endpoint
    _, _, error = await transcribe(service, 1)
    assert isinstance(error, ConfigurationError)
    assert error.message == text


# --- an end by the server's close -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, None])
async def test_a_close_in_good_order_after_the_end_of_the_audio_confirms_the_end(code: int | None) -> None:
    """An interim without a final is one then, with a mark."""

    async def script(connection: ServerConnection) -> None:
        await read_until_end(connection)
        await say(connection, "good", 0, 700, final=True)
        await say(connection, "morn", 800, 1_100, number=1, final=False)
        if code is None:
            connection.transport.write(b"\x88\x00")
            await connection.wait_closed()
        else:
            await connection.close(code)

    async with plain_server(script, answers_start=False, ends_by_close=True) as service:
        outcome = await transcribe(service, retry=NO_RETRY)
    assert outcome == ([("good", True), ("morn", False)], [], None)


@pytest.mark.parametrize("code", [1001, 1011, 1006])
async def test_another_close_after_the_end_of_the_audio_is_a_lost_connection(code: int) -> None:
    async def script(connection: ServerConnection) -> None:
        await read_until_end(connection)
        await say(connection, "good", 0, 700, final=True)
        if code == 1006:
            connection.transport.abort()
        else:
            await connection.close(code)

    async with plain_server(script, answers_start=False, ends_by_close=True) as service:
        finals, _, error = await transcribe(service, retry=NO_RETRY)
    assert finals == [("good", True)]
    assert isinstance(error, ConnectionLostError)
    assert error.code == str(code)


async def test_a_close_before_the_end_of_the_audio_is_a_lost_connection() -> None:
    connections: list[int] = []

    async def script(connection: ServerConnection) -> None:
        connections.append(0)
        if len(connections) == 1:
            await connection.recv()
            await connection.recv()
            await connection.close(1000)
            return
        connections[-1] = await read_until_end(connection)
        await say(connection, "all of it", 0, 1_900, final=True)
        await connection.close(1000)

    async with plain_server(script, answers_start=False, ends_by_close=True) as service:
        outcome = await transcribe(service)
    assert outcome == ([("all of it", True)], [], None)
    assert connections == [0, 64_000]


async def test_a_close_that_crosses_with_the_end_of_the_audio_confirms_nothing() -> None:
    """The server closes while the last audio is on its way: it has read neither that nor the end."""
    texts = ["first", "all of it"]

    async def script(connection: ServerConnection) -> None:
        text = texts.pop(0)
        if text == "first":
            await connection.recv()
            connection.transport.pause_reading()  # everything else stays in the network
            await asyncio.sleep(0.3)
            connection.transport.write(b"\x88\x02\x03\xe8")
            connection.transport.write_eof()
            return
        assert await read_until_end(connection) == 64_000
        await say(connection, text, 0, 1_900, final=True)
        await connection.close(1000)

    async with plain_server(script, answers_start=False, ends_by_close=True) as service:
        outcome = await transcribe(service, timeouts=Timeouts(close=0.2))
    assert outcome == ([("all of it", True)], [], None)


async def test_without_ends_by_close_a_close_after_the_end_of_the_audio_is_a_lost_connection() -> None:
    async def script(connection: ServerConnection) -> None:
        await read_until_end(connection)
        await connection.close(1000)

    async with plain_server(script, answers_start=False) as service:
        _, _, error = await transcribe(service, retry=NO_RETRY)
    assert isinstance(error, ConnectionLostError)


class OwingCodec(PlainCodec):
    """A codec that knows that an answer is missing until it has come."""

    def end(self) -> Any:
        return super().end() if self.request_id else []


async def test_a_close_while_the_codec_misses_an_answer_is_a_lost_connection() -> None:
    async def script(connection: ServerConnection) -> None:
        await read_until_end(connection)
        await connection.close(1000)

    async with plain_server(script, codec=OwingCodec, answers_start=False, ends_by_close=True) as service:
        _, _, error = await transcribe(service, retry=NO_RETRY)
    assert isinstance(error, ConnectionLostError)


# --- an end by quiet --------------------------------------------------------------------------------------------------


def test_quiet_after_the_last_message_ends_the_task() -> None:
    async def scenario() -> None:
        finished_at: list[float] = []

        async def script(connection: ServerConnection) -> None:
            await read_until_end(connection)
            finished_at.append(now())
            for number in range(3):
                await asyncio.sleep(1.5)
                await say(connection, f"word {number}", 600 * number, 600 * number + 500, number=number, final=True)
            await say(connection, "and", 1_800, 1_950, number=3, final=False)
            await connection.wait_closed()

        async with plain_server(script, answers_start=False, quiet_end_s=2.0) as service:
            finals, gaps, error = await transcribe(service, retry=NO_RETRY, pace=1.0)
        assert (gaps, error) == ([], None)
        assert finals == [("word 0", True), ("word 1", True), ("word 2", True), ("and", False)]
        assert now() - finished_at[0] == pytest.approx(4.5 + 2.0, abs=0.1)

    run_virtual(scenario)


def test_audio_behind_the_last_result_of_a_quiet_vendor_is_a_gap() -> None:
    async def scenario() -> None:
        async def script(connection: ServerConnection) -> None:
            for _ in range(9):
                await connection.recv()
            await say(connection, "good", 0, 700, final=True)
            await read_until_end(connection)
            await connection.wait_closed()

        async with plain_server(script, answers_start=False, quiet_end_s=2.0) as service:
            finals, gaps, error = await transcribe(service, 4, pace=1.0)
        assert (finals, error) == ([("good", True)], None)
        reason = "the vendor does not confirm the end, and sent no more for 2 s behind the audio"
        assert gaps == [Gap(start_ms=700, end_ms=4_000, reason=reason)]

    run_virtual(scenario)


def test_a_quiet_vendor_gets_the_time_to_recognise_audio_that_was_sent_faster_than_it_was_spoken() -> None:
    async def scenario() -> None:
        async def script(connection: ServerConnection) -> None:
            await read_until_end(connection)
            await asyncio.sleep(7)  # longer than the quiet, shorter than the audio
            await say(connection, "ten seconds", 0, 9_500, final=True)
            await connection.wait_closed()

        async with plain_server(script, answers_start=False, quiet_end_s=2.0) as service:
            outcome = await transcribe(service, 10, pace=None)
        assert outcome == ([("ten seconds", True)], [], None)
        assert now() == pytest.approx(7 + 0.5 + 2, abs=0.2)

    run_virtual(scenario)


def test_a_silent_network_is_no_quiet_vendor() -> None:
    """The server answers no ping, since it is busy or cannot be reached: the deadline decides, with an error."""

    async def scenario() -> None:
        async def script(connection: ServerConnection) -> None:
            await read_until_end(connection)
            connection.transport.pause_reading()
            await asyncio.sleep(60)

        async with plain_server(script, answers_start=False, quiet_end_s=2.0) as service:
            _, _, error = await transcribe(service, pace=1.0, retry=NO_RETRY)
        assert isinstance(error, DeadlineError | ConnectionLostError)

    run_virtual(scenario)


def test_a_quiet_codec_that_misses_an_answer_waits_for_it() -> None:
    async def scenario() -> None:
        async def script(connection: ServerConnection) -> None:
            await read_until_end(connection)
            await asyncio.sleep(5)
            await connection.send('{"started": "now"}')
            await say(connection, "late", 0, 1_900, final=True)
            await connection.wait_closed()

        async with plain_server(script, codec=OwingCodec, answers_start=False, quiet_end_s=1.0) as service:
            outcome = await transcribe(service, pace=1.0)
        assert outcome == ([("late", True)], [], None)

    run_virtual(scenario)


def test_a_connection_that_ended_by_quiet_is_not_used_again() -> None:
    async def scenario() -> None:
        connections: list[int] = []

        async def script(connection: ServerConnection) -> None:
            connections.append(1)
            async for message in connection:
                if message == "end":
                    await say(connection, "hello", 0, 900, final=True)

        async with plain_server(script, answers_start=False, quiet_end_s=1.0) as service:
            service.endpoint["reuse_s"] = 50.0
            async with Client(service) as client:
                for _ in range(2):
                    assert (await client.transcribe([SECOND], PlainOptions(), pace=None)).text == "hello"
        assert len(connections) == 2

    run_virtual(scenario)


def test_finalize_ends_a_task_by_quiet_and_reports_audio_without_a_result() -> None:
    async def scenario() -> None:
        async def script(connection: ServerConnection) -> None:
            size = await read_until_end(connection)
            if size < 64_000:
                await say(connection, "short", 0, 900, final=True)
            await connection.wait_closed()

        async with (
            plain_server(script, answers_start=False, quiet_end_s=1.0) as service,
            connect(PlainOptions(), service) as session,
        ):
            await session.send(SECOND)
            await session.finalize()
            await session.send(SECOND * 3)
            await session.finish()
            assert [result.text async for result in session] == ["short"]
            assert [(gap.start_ms, gap.end_ms) for gap in session.gaps] == [(1_000, 4_000)]

    run_virtual(scenario)


def test_compressed_audio_of_no_known_length_behind_the_last_result_is_a_gap_without_a_length() -> None:
    class WebmOptions(PlainOptions, frozen=True, kw_only=True):
        audio = AudioFormat("webm", 16_000)

    async def scenario() -> None:
        async def script(connection: ServerConnection) -> None:
            await read_until_end(connection)
            await say(connection, "hello", 0, 700, final=True)
            await connection.wait_closed()

        description: dict[str, Any] = {"answers_start": False, "quiet_end_s": 1.0, "audio_format": WebmOptions.audio}
        async with (
            plain_server(script, **description) as service,
            connect(WebmOptions(), service) as session,
        ):
            assert [result.text async for result in session.stream([bytes(4_000)])] == ["hello"]
            reason = (
                "the vendor does not confirm the end, and sent no more for 1 s behind the audio; "
                "the length of the rest is not known"
            )
            assert session.gaps == (Gap(start_ms=700, end_ms=700, reason=reason),)

    run_virtual(scenario)


async def test_a_deadline_that_the_quiet_cannot_meet_is_refused() -> None:
    service = PlainService("ws://127.0.0.1:9/", quiet_end_s=3.0)
    _, _, error = await transcribe(service, timeouts=Timeouts(finish=2.0))
    assert isinstance(error, ConfigurationError)
    assert error.message == "Timeouts(finish=2): plain-1 ends 3 s after its last message, so allow more"


# --- keepalive messages -----------------------------------------------------------------------------------------------


def test_keepalive_messages_are_sent_while_no_audio_goes_out() -> None:
    async def scenario() -> None:
        received: list[tuple[float, str]] = []

        async def script(connection: ServerConnection) -> None:
            try:
                async for message in connection:
                    received.append((round(now(), 1), message if isinstance(message, str) else "audio"))
                    if message == "end":
                        await asyncio.sleep(9)
                        await connection.send('{"done": 1}')
            except ConnectionClosed:
                pass

        async with (
            plain_server(script, answers_start=False, keepalive_s=4.0) as service,
            connect(PlainOptions(), service) as session,
        ):
            await asyncio.sleep(9)
            for _ in range(6):
                await session.send(bytes(3_200))
                await asyncio.sleep(1)
            await asyncio.sleep(6)
            await session.finish()
        kinds = [(at, kind) for at, kind in received if kind != "audio"]
        assert kinds == [(0.0, "start"), (4.0, "alive"), (8.0, "alive"), (18.0, "alive"), (21.0, "end")]
        assert [at for at, kind in received if kind == "audio"] == [9.0, 10.0, 11.0, 12.0, 13.0, 14.0]

    run_virtual(scenario)


# --- codecs that lack what their description announces ----------------------------------------------------------------


class BareCodec:
    """A codec with the members that every codec has, and no other."""

    request_id = ""

    def start(self) -> Any:
        return ()

    def audio(self, frame: Any) -> Any:
        return frame

    def finish(self) -> Any:
        return ("end",)

    def receive(self, message: str | bytes) -> Any:
        return PlainCodec().receive(message)


@pytest.mark.parametrize(
    ("description", "text"),
    [
        ({"ends_by_close": True}, "must have end(), since its tasks end by the server's close"),
        ({"quiet_end_s": 1.0}, "must have end(), since its tasks end by quiet"),
        ({"keepalive_s": 1.0}, "must have keepalive(), since its tasks have a keepalive_s"),
        ({"takes_commits": True}, "must have commit(), since its tasks take commits"),
    ],
)
async def test_a_codec_must_have_what_its_description_announces(description: dict[str, Any], text: str) -> None:
    async with plain_server(read_until_end, codec=BareCodec, answers_start=False, **description) as service:
        _, _, error = await transcribe(service)
    assert isinstance(error, LocalProtocolError)
    assert error.message == f"the codec BareCodec of vendor 'plain' {text}"


async def test_what_is_no_codec_at_all_is_refused() -> None:
    async with plain_server(read_until_end, codec=dict, answers_start=False) as service:
        _, _, error = await transcribe(service)
    assert isinstance(error, LocalProtocolError)
    text = "the codec dict of vendor 'plain' must have request_id, start(), audio(), finish() and receive()"
    assert error.message == text


async def test_a_codec_without_optional_members_works() -> None:
    async def script(connection: ServerConnection) -> None:
        await read_until_end(connection)
        await say(connection, "hello", 0, 1_900, final=True)
        await connection.send(json.dumps({"done": 1}))

    async with (
        plain_server(script, codec=BareCodec, answers_start=False) as service,
        connect(PlainOptions(), service) as session,
    ):
        await session.send(SECOND)
        await session.finalize()
        await session.send(SECOND)
        with pytest.raises(ConfigurationError, match="the model takes no context"):
            await session.update_context([])
        with pytest.raises(ConfigurationError, match="finds the ends of utterances by itself"):
            await session.commit()
        await session.finish()
        assert [result.text async for result in session] == ["hello", "hello"]
        await session.cancel()
