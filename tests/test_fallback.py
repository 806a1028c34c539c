"""Several services as one: who is asked, who stands in, the way back, and what is refused before anything is sent."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError
from websockets.http11 import Request, Response

from asr_async import (
    AuthenticationError,
    Client,
    ConfigurationError,
    ConnectionLostError,
    ContextMessage,
    DashScope,
    Difference,
    Fallback,
    FunASR,
    Gummy,
    GummyChat,
    Huawei,
    Local,
    Paraformer,
    QwenRealtime,
    Rasr,
    Reconnected,
    Retry,
    VendorError,
    connect,
    transcribe,
)
from asr_async import emulator as emulators
from asr_async.emulator import Scripted
from asr_async.errors import ASRError
from asr_async.vendors.service import Endpoint

from .support.numbered_audio import BYTES_PER_MS, NumberedSource, assert_seamless, cut, finals_of, finals_of_seconds
from .support.scripted_server import send_event, send_final, send_interim, start_task
from .support.virtual_time import run_virtual

pytestmark = pytest.mark.both_loops
LOST = ConnectionLostError("gone", retryable=True)
SECOND = bytes(32_000)


# --- two vendors -----------------------------------------------------------------------------------------------------


class Vendor:
    """Finalises each second of the numbered audio, in DashScope's words; can be switched off for newcomers."""

    def __init__(self, *faults: Callable[[ServerConnection], Awaitable[None]] | None, after_ms: int = 0) -> None:
        self.faults = list(faults)
        self.after_ms = after_ms
        self.refusal: tuple[HTTPStatus, dict[str, str]] | None = None
        self.asked_at: list[float] = []
        # where in the source each connection began, and how much it heard
        self.heard: list[list[int]] = []
        self.contexts: list[str] = []
        self.last_piece_bytes = 0

    def go_down_after(self, received_ms: int, *, for_s: float | None = None) -> None:
        """Cut the first connection when it has heard so much, and let nobody in any more, or for so long."""

        async def go_down(connection: ServerConnection) -> None:
            self.refusal = DOWN
            if for_s is not None:
                asyncio.get_running_loop().call_later(for_s, setattr, self, "refusal", None)
            await cut(connection, "")

        self.faults, self.after_ms = [go_down], received_ms

    def door(self, _connection: ServerConnection, _request: Request) -> Response | None:
        self.asked_at.append(asyncio.get_running_loop().time())
        if self.refusal is None:
            return None
        status, body = self.refusal
        return Response(status.value, status.phrase, Headers(), json.dumps(body).encode())

    async def __call__(self, connection: ServerConnection) -> None:
        task_id = await self.start(connection)
        fate = self.faults.pop(0) if self.faults else None
        heard, told_ms = [0, 0], 0
        async for message in connection:
            if isinstance(message, str):
                if self.is_context(message):
                    continue
                if heard[1] > told_ms:
                    await self.final(connection, task_id, f"to {sum(heard)}", told_ms, heard[1])
                await self.finished(connection, task_id)
                return
            if not heard[1]:
                heard[0] = int.from_bytes(message[:2], "little")
                self.heard.append(heard)
            heard[1] += len(message) // BYTES_PER_MS
            self.last_piece_bytes = len(message)
            while (end_ms := (heard[0] + told_ms) // 1_000 * 1_000 + 1_000 - heard[0]) <= heard[1]:
                await self.final(connection, task_id, f"to {heard[0] + end_ms}", told_ms, end_ms)
                told_ms = end_ms
            if heard[1] > told_ms:
                await self.interim(connection, task_id, told_ms)
            if fate is not None and heard[1] >= self.after_ms:
                await fate(connection)
                return

    def is_context(self, message: str) -> bool:
        if "continue-task" not in message:
            return False
        self.contexts.append(message)
        return True

    async def start(self, connection: ServerConnection) -> str:
        return await start_task(connection)

    async def final(self, connection: ServerConnection, task_id: str, text: str, begin: int, end: int) -> None:
        await send_final(connection, task_id, text, begin, end)

    async def interim(self, connection: ServerConnection, task_id: str, begin: int) -> None:
        await send_interim(connection, task_id, "…", begin)

    async def finished(self, connection: ServerConnection, task_id: str) -> None:
        await send_event(connection, "task-finished", task_id, {"output": {}})


class HuaweiVendor(Vendor):
    """The same in Huawei's words."""

    async def start(self, connection: ServerConnection) -> str:
        assert json.loads(await connection.recv())["command"] == "START"
        await connection.send(json.dumps({"resp_type": "START", "trace_id": "trace"}))
        return "trace"

    async def final(self, connection: ServerConnection, task_id: str, text: str, begin: int, end: int) -> None:
        segment = {"start_time": begin, "end_time": end, "is_final": True, "result": {"text": text, "score": 0.9}}
        await connection.send(json.dumps({"resp_type": "RESULT", "trace_id": task_id, "segments": [segment]}))

    async def interim(self, connection: ServerConnection, task_id: str, begin: int) -> None:
        segment = {"start_time": begin, "end_time": begin + 10, "is_final": False, "result": {"text": "…"}}
        await connection.send(json.dumps({"resp_type": "RESULT", "trace_id": task_id, "segments": [segment]}))

    async def finished(self, connection: ServerConnection, task_id: str) -> None:
        await connection.send(json.dumps({"resp_type": "END", "trace_id": task_id, "reason": "NORMAL"}))


@asynccontextmanager
async def at(vendor: Vendor) -> AsyncIterator[str]:
    """Run a vendor; yields host and port."""
    async with serve(
        vendor, "127.0.0.1", 0, process_request=vendor.door, compression=None, max_size=None, close_timeout=1
    ) as server:
        yield f"127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@asynccontextmanager
async def both(first: Vendor, second: Vendor, options: Any = None) -> AsyncIterator[Fallback]:
    """DashScope, then Huawei."""
    async with at(first) as here, at(second) as there:
        yield Fallback([(dashscope(here), options or Paraformer()), (huawei(there), Rasr())])


def dashscope(host: str, key: str = "key") -> DashScope:
    return DashScope(key, endpoint=f"ws://{host}/")


def huawei(host: str) -> Huawei:
    return Huawei(ak="a", sk="s", project_id="p", region="r", endpoint=f"ws://{host}")


async def run(fallback: Fallback, source: Any, *, pace: float | None = 1.0, **options: Any) -> tuple[list[Any], Any]:
    """All events of a session, and its statistics."""
    async with connect(fallback.options, service=fallback, **options) as session:
        events = [event async for event in session.events(source, pace=pace)]
        return events, session.stats


DOWN: tuple[HTTPStatus, dict[str, str]] = (HTTPStatus.SERVICE_UNAVAILABLE, {})
WRONG_KEY = (HTTPStatus.UNAUTHORIZED, {"code": "InvalidApiKey", "message": "no such key"})


def test_the_first_recognises_while_it_answers() -> None:
    async def scenario() -> None:
        first, second = Vendor(), HuaweiVendor()
        async with both(first, second) as fallback:
            events, stats = await run(fallback, NumberedSource(3))
        assert finals_of(events) == finals_of_seconds(3)
        assert second.asked_at == []
        assert stats.member.startswith("<DashScope ws://127.0.0.1")
        assert stats.member.endswith(" paraformer-realtime-v2")

    run_virtual(scenario)


def test_the_second_answers_when_the_first_is_down_at_the_start() -> None:
    async def scenario() -> None:
        first, second = Vendor(), HuaweiVendor()
        first.refusal = DOWN
        async with both(first, second) as fallback:
            events, stats = await run(fallback, NumberedSource(3))
            assert repr(fallback).endswith("huawei/continue>")
            assert "paraformer-realtime-v2 (down), then " in repr(fallback)
        assert finals_of(events) == finals_of_seconds(3)
        assert not [event for event in events if isinstance(event, Reconnected)]
        assert stats.member.endswith(" huawei/continue")

    run_virtual(scenario)


async def test_nor_is_anybody_there() -> None:
    async with at(Vendor()) as nobody:
        pass
    async with at(HuaweiVendor()) as there:
        fallback = Fallback([(dashscope(nobody), Paraformer()), (huawei(there), Rasr())])
        assert (await transcribe(NumberedSource(1), fallback.options, fallback)).text == "to 1000"


def test_a_wrong_key_of_the_first_is_no_reason_to_wait_and_is_told_and_not_tried_again(caplog: Any) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        first, second = Vendor(), HuaweiVendor()
        first.refusal = WRONG_KEY
        async with both(first, second) as fallback, Client(fallback) as client:
            began_at = loop.time()
            for _ in range(3):
                assert (await client.transcribe(NumberedSource(1), fallback.options)).text == "to 1000"
            assert loop.time() - began_at < 0.1
            assert len(first.asked_at) == 1
            await asyncio.sleep(301)
            await client.transcribe(NumberedSource(1), fallback.options)
            assert len(first.asked_at) == 2

    with caplog.at_level(logging.WARNING, "asr_async"):
        run_virtual(scenario)
    assert "paraformer-realtime-v2 is not tried for 300 s after: no such key: check the key" in caplog.text


async def test_without_a_key_in_the_environment_the_second_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    async with at(HuaweiVendor()) as there:
        fallback = Fallback([(DashScope(), Paraformer()), (huawei(there), Rasr())])
        assert (await transcribe(NumberedSource(1), fallback.options, fallback)).text == "to 1000"


def test_a_member_that_never_finds_its_key_leaves_time_for_the_next() -> None:
    async def never() -> str:
        await asyncio.sleep(3_600)
        return ""

    async def scenario() -> None:
        async with at(HuaweiVendor()) as there:
            fallback = Fallback([(DashScope(never), Paraformer()), (huawei(there), Rasr())])
            assert (await transcribe(NumberedSource(1), fallback.options, fallback)).text == "to 1000"

    run_virtual(scenario)


@pytest.mark.parametrize("pace", [1.0, None])
def test_when_the_first_is_lost_and_down_the_second_hears_the_open_segment_from_its_start(pace: float | None) -> None:
    async def scenario() -> None:
        first, second = Vendor(), HuaweiVendor()
        first.go_down_after(1_700)
        async with both(first, second) as fallback:
            events, stats = await run(fallback, NumberedSource(6), pace=pace)
        assert finals_of(events) == finals_of_seconds(6)
        (reconnected,) = [event for event in events if isinstance(event, Reconnected)]
        assert [began for began, _ in second.heard] == [reconnected.at_ms]
        assert reconnected.at_ms in {0, 1_000}, "behind the last final result that arrived"
        assert (stats.reconnects, stats.audio_sent_ms) == (1, 6_000)
        assert stats.member.endswith(" huawei/continue")

    run_virtual(scenario)


def test_compressed_audio_is_heard_by_the_second_from_its_start() -> None:
    async def scenario() -> None:
        first, second = Vendor(), Vendor()
        first.go_down_after(1_700)
        async with at(first) as here, at(second) as there:
            fallback = Fallback([(dashscope(here), Paraformer(format="mp3")), (dashscope(there), FunASR(format="mp3"))])
            events, _ = await run(fallback, NumberedSource(4, every_s=0.1))
        assert second.heard == [[0, 4_000]]
        assert [text for _, text, _, _ in finals_of(events)] == ["to 1000", "to 2000", "to 3000", "to 4000"]

    run_virtual(scenario)


def test_a_connection_that_is_cut_is_made_again_to_the_same() -> None:
    async def scenario() -> None:
        first, second = Vendor(lambda c: cut(c, ""), lambda c: cut(c, ""), after_ms=1_700), HuaweiVendor()
        async with both(first, second) as fallback:
            events, stats = await run(fallback, NumberedSource(6))
        assert finals_of(events) == finals_of_seconds(6)
        assert second.heard == []
        assert stats.reconnects == 2

    run_virtual(scenario)


def test_but_the_third_in_a_row_without_a_final_result_is_no_accident() -> None:
    async def scenario() -> None:
        first, second = Vendor(*[lambda c: cut(c, "")] * 3, after_ms=500), HuaweiVendor()
        async with both(first, second) as fallback:
            events, _ = await run(fallback, NumberedSource(3))
        assert finals_of(events) == finals_of_seconds(3)
        assert [began for began, _ in first.heard[:3]] == [0, 0, 0]
        assert second.heard[0][0] == 0

    run_virtual(scenario)


def test_an_error_about_what_was_sent_is_raised_and_not_asked_of_another() -> None:
    async def refuse_the_audio(connection: ServerConnection) -> None:
        await send_event(connection, "task-failed", "", error_code="DECODE_ERROR", error_message="no audio")
        await connection.close()

    async def scenario() -> None:
        first, second = Vendor(refuse_the_audio, after_ms=500), HuaweiVendor()
        async with both(first, second) as fallback:
            with pytest.raises(VendorError, match="no audio"):
                await run(fallback, NumberedSource(3))
            assert "(down)" not in repr(fallback)
        assert second.asked_at == []

    run_virtual(scenario)


def test_when_all_are_down_at_the_start_one_line_names_them() -> None:
    async def scenario() -> None:
        first, second = Vendor(), HuaweiVendor()
        first.refusal, second.refusal = WRONG_KEY, DOWN
        async with both(first, second) as fallback:
            for _ in range(2):
                with pytest.raises(VendorError) as caught:
                    await run(fallback, NumberedSource(3))
                text = str(caught.value)
                assert "paraformer-realtime-v2: no such key: check the key" in text
                assert " huawei/continue: HTTP 503: " in text
                assert "\n" not in text
                assert caught.value.retryable, "the second may come back"
        assert (len(first.asked_at), len(second.asked_at)) == (2, 2)

    run_virtual(scenario)


def test_when_all_are_lost_the_attempts_run_out_with_the_words_of_all_behind_what_was_recognised() -> None:
    async def scenario() -> None:
        first, second = Vendor(), HuaweiVendor()
        second.refusal = DOWN

        first.go_down_after(1_700)
        texts = []
        async with both(first, second) as fallback, connect(fallback.options, fallback) as session:
            with pytest.raises(VendorError, match=r"paraformer-realtime-v2: .*; .* huawei/continue: |; .*paraformer"):
                async for result in session.stream(NumberedSource(6)):
                    texts += [result.text] if result.is_final else []
        assert texts == ["to 1000"]
        assert len(second.asked_at) == 5

    run_virtual(scenario)


def test_no_attempts_is_no_other_member_in_mid_stream() -> None:
    async def scenario() -> None:
        first, second = Vendor(lambda c: cut(c, ""), after_ms=1_700), HuaweiVendor()
        async with both(first, second) as fallback:
            with pytest.raises(ConnectionLostError):
                await run(fallback, NumberedSource(3), retry=Retry(attempts=0))
        assert second.asked_at == []

    run_virtual(scenario)


# --- back to the first -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pace", [1.0, 4.0])
def test_when_the_first_answers_again_it_goes_on_at_a_segments_end_and_no_audio_is_lost_or_sent_twice(
    pace: float,
) -> None:
    async def scenario() -> None:
        first, second = Vendor(), HuaweiVendor()
        first.refusal = DOWN
        async with both(first, second) as fallback:
            asyncio.get_running_loop().call_later(5.0, setattr, first, "refusal", None)
            events, stats = await run(fallback, NumberedSource(60), pace=pace)
        assert_seamless(finals_of(events), 60_000)
        ((began_ms, received_ms),) = second.heard
        assert first.heard == [[received_ms, 60_000 - received_ms]]
        assert began_ms == 0
        assert received_ms % 1_000 <= 400, "behind the end of a segment"
        assert 5_000 <= received_ms / pace <= 15_000, "found at one of the attempts after 1, 2, 4 and 8 s"
        assert not [event for event in events if isinstance(event, Reconnected)]
        assert (stats.reconnects, stats.audio_sent_ms) == (0, 60_000)
        assert stats.member.endswith(" paraformer-realtime-v2")

    run_virtual(scenario)


def test_a_first_that_stays_down_is_asked_less_and_less_and_by_one_session_of_many() -> None:
    async def scenario() -> None:
        first, second = Vendor(), HuaweiVendor()
        first.refusal = DOWN
        async with both(first, second) as fallback, Client(fallback) as client:
            transcripts = await asyncio.gather(
                *(client.transcribe(NumberedSource(200), fallback.options, pace=1.0) for _ in range(5))
            )
        assert all(transcript.results[-1].end_ms == 200_000 for transcript in transcripts)
        at_the_start = [asked for asked in first.asked_at if asked < 0.5]
        later = first.asked_at[len(at_the_start) :]
        assert len(at_the_start) <= 5, "each that began before the first had refused"
        assert len(later) <= 10
        assert max(later) > 100
        assert [began for began, _ in second.heard] == [0] * 5, "nobody changed over for nothing"

    run_virtual(scenario)


def test_a_session_returns_after_a_loss_in_mid_stream_too() -> None:
    async def scenario() -> None:
        first, second = Vendor(), HuaweiVendor()
        first.go_down_after(1_700, for_s=3.0)
        async with both(first, second) as fallback:
            events, stats = await run(fallback, NumberedSource(40, every_s=0.1))
        assert_seamless(finals_of(events), 40_000)
        assert [began for began, _ in second.heard] == [1_000]
        assert first.heard[1][0] == 1_000 + second.heard[0][1]
        assert stats.reconnects == 1

    run_virtual(scenario)


def test_a_session_that_ends_while_it_is_about_to_return_leaves_no_connection_behind() -> None:
    async def scenario() -> None:
        gone = asyncio.Event()

        class Watched(Vendor):
            async def __call__(self, connection: ServerConnection) -> None:
                try:
                    await super().__call__(connection)
                except ConnectionClosedError:
                    gone.set()

        class NeverFinal(HuaweiVendor):
            async def final(self, *_args: Any) -> None:
                """Somebody speaks without a pause."""

        first = Watched()
        first.refusal = DOWN
        async with both(first, NeverFinal()) as fallback, Client(fallback) as client:
            async with client.session(fallback.options) as session:
                first.refusal = None
                async for result in session.stream(NumberedSource(60)):
                    if result.end_ms > 0 and len(first.asked_at) == 2:
                        break
                await asyncio.sleep(5)
                assert not gone.is_set()
            async with asyncio.timeout(5):
                await gone.wait()

    run_virtual(scenario)


def test_a_context_waits_for_the_member_that_takes_one() -> None:
    async def scenario() -> None:
        first, second = Vendor(), HuaweiVendor()
        first.refusal = DOWN
        async with (
            both(first, second, FunASR()) as fallback,
            connect(fallback.options, fallback) as session,
        ):
            await session.update_context([ContextMessage("user", "names")])
            first.refusal = None
            events = [event async for event in session.events(NumberedSource(20))]
        assert_seamless(finals_of(events), 20_000)
        assert len(first.contexts) == 1
        assert "names" in first.contexts[0]

    run_virtual(scenario)


def test_a_context_is_left_out_where_it_is_not_taken_and_refused_where_the_best_takes_none() -> None:
    async def scenario() -> None:
        first, second = Vendor(), HuaweiVendor()
        first.go_down_after(1_700)
        async with both(first, second, FunASR()) as fallback, connect(fallback.options, fallback) as session:
            await session.update_context([ContextMessage("user", "names")])
            assert finals_of([event async for event in session.events(NumberedSource(3))]) == finals_of_seconds(3)
        async with both(Vendor(), HuaweiVendor()) as fallback, connect(fallback.options, fallback) as session:
            with pytest.raises(ConfigurationError, match="context"):
                await session.update_context([ContextMessage("user", "names")])

    run_virtual(scenario)


# --- what members share ----------------------------------------------------------------------------------------------


async def test_a_last_piece_is_as_long_as_all_members_need_it() -> None:
    first = Vendor()
    async with both(first, HuaweiVendor()) as fallback:
        await transcribe([bytes(3_200), bytes(2)], fallback.options, fallback)
    assert first.last_piece_bytes == 320, "Huawei's smallest"


async def test_a_connection_that_waits_is_used_by_its_own_member_only() -> None:
    ports = []
    async with emulators.serve(engine=Scripted([("Good morning.", 200, 900)])) as emulator:
        fallback = Fallback([(DashScope(key, endpoint=emulator.dashscope_url), Paraformer()) for key in ("one", "two")])
        async with Client(fallback) as client:
            for _ in range(3):
                async with client.session(fallback.options) as session:
                    assert session._task is not None
                    ports.append(session._task._connection.local_address)
                    assert [r.text async for r in session.stream([SECOND], pace=None) if r.is_final] == [
                        "Good morning."
                    ]
                if len(ports) == 2:
                    choice = await fallback.choose(fallback.options)
                    choice.record_refusal(AuthenticationError("no"))
    assert ports[0] == ports[1]
    assert ports[2] != ports[0], "that one was opened with the first member's key"


async def test_a_member_has_the_age_limit_of_its_own_model() -> None:
    async with at(HuaweiVendor()) as there:
        fallback = Fallback([(DashScope("key", endpoint="ws://127.0.0.1:1/"), Paraformer()), (huawei(there), Rasr())])
        choice = await fallback.choose(fallback.options)
        assert choice.rotation_s is None
        choice.record_refusal(LOST)
        assert (await choice.next_member()).rotation_s == 5 * 3_600 - 300


async def test_the_embedded_recogniser_can_stand_in_and_is_started_once_for_all_its_members() -> None:
    starts = 0

    class Counted(Local):
        async def __aenter__(self) -> Any:
            nonlocal starts
            starts += 1
            return await super().__aenter__()

    local = Counted(Scripted([("Good morning.", 200, 900)]))
    async with at(Vendor()) as nobody:
        pass
    fallback = Fallback([(dashscope(nobody), Paraformer()), (local, FunASR()), (local, Rasr())])
    assert (await transcribe([SECOND], fallback.options, fallback)).text == "Good morning."
    assert starts == 1


async def test_several_clients_may_use_it_at_once() -> None:
    async with emulators.serve(engine=Scripted([("Good morning.", 200, 900)])) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        fallback = Fallback([(service, Paraformer()), (service, FunASR())])
        transcripts = await asyncio.gather(*(transcribe([SECOND], fallback.options, fallback) for _ in range(3)))
    assert [transcript.text for transcript in transcripts] == ["Good morning."] * 3


async def test_one_sentence_is_heard_by_the_next_too() -> None:
    async with emulators.serve(engine=Scripted([("Good morning.", 200, 900), ("More.", 1_500, 1_900)])) as emulator:
        async with at(Vendor()) as nobody:
            pass
        fallback = Fallback(
            [
                (dashscope(nobody), GummyChat()),
                (huawei(emulator.huawei_url.removeprefix("ws://")), Rasr(mode="sentence", add_punc=True)),
            ]
        )
        assert (await transcribe([bytes(96_000)], fallback.options, fallback)).text == "Good morning."


# --- known before the start ------------------------------------------------------------------------------------------


async def test_what_the_first_can_do_and_a_later_one_cannot_is_data_and_a_line_in_the_log(caplog: Any) -> None:
    service = DashScope("key")
    fallback = Fallback([(service, Gummy()), (service, Paraformer(model="paraformer-realtime-v2")), (Huawei(), Rasr())])
    name = "<DashScope cn-beijing> paraformer-realtime-v2"
    found = {(one.member, one.feature): one.values for one in fallback.differences}
    assert found[name, "translation"] == ("en", "ja", "ko", "zh")
    assert "pt" in found[name, "languages"]
    assert (name, "max_audio_s") not in found
    assert found["<Huawei of the environment> huawei/continue", "max_audio_s"] == (18_000,)
    with caplog.at_level(logging.INFO, "asr_async"):
        for _ in range(2):
            async with fallback:
                pass
    assert caplog.text.count(f"a later member lacks a feature of the first: {name}: translation en, ja, ko, zh") == 1


def test_what_a_model_has_or_has_not_is_named_without_values() -> None:
    fallback = Fallback([(DashScope(), FunASR()), (Huawei(), Rasr(vocabulary_id="v"))])
    context = Difference(member="<Huawei of the environment> huawei/continue", feature="context")
    assert context in fallback.differences
    assert str(context) == "<Huawei of the environment> huawei/continue: context"
    assert "hot_words" not in {one.feature for one in fallback.differences}


def test_members_that_are_the_same_differ_in_nothing() -> None:
    assert Fallback([(DashScope("a"), Paraformer()), (DashScope("b"), Paraformer())]).differences == ()


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([], r"Fallback: give a list of \(service, options\), such as \[\(DashScope\(\), Paraformer\(\)\)\]"),
        (DashScope(), r"Fallback: give a list of \(service, options\)"),
        ([DashScope()], r"Fallback: member 1 is not a pair of a service and options"),
        ([(DashScope(), Paraformer()), (Paraformer(), DashScope())], r"Fallback: member 2 is not a pair"),
        ([(DashScope(), "paraformer-realtime-v2")], r"Fallback: member 1 is not a pair"),
        ([("dashscope", Paraformer())], r"Fallback: member 1 is not a pair"),
        ([(Fallback([(DashScope(), Paraformer())]), Paraformer())], r"member 1 is a Fallback: list its members here"),
        (
            [(DashScope(), Paraformer()), (DashScope(), Rasr())],
            r"Fallback: member 2: Rasr does not belong to DashScope: change the options or the service",
        ),
        (
            [(DashScope(), Paraformer()), (Huawei(), Rasr(audio_format="ulaw16k8bit"))],
            r"paraformer-realtime-v2 declares pcm at 16000 Hz, <Huawei .*> huawei/continue ulaw at 16000 Hz: both",
        ),
        (
            [(DashScope(), Paraformer()), (DashScope(), Paraformer(sample_rate=8_000))],
            r"pcm at 16000 Hz, .* pcm at 8000 Hz: both get the same source, so declare the same",
        ),
        (
            [(DashScope(), QwenRealtime(manual_commit=True)), (DashScope(), QwenRealtime())],
            r"manual_commit differs between .*: set it for all or none",
        ),
        (
            [(DashScope(), Paraformer()), (Huawei(), Rasr(mode="sentence"))],
            r"huawei/sentence stops after one sentence, <DashScope .*v2 does not: the rest would be missing",
        ),
    ],
    ids=lambda value: "",
)
def test_members_that_cannot_stand_in_for_each_other_are_refused_before_anything_is_sent(
    members: Any, text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        Fallback(members)
    assert "\n" not in str(caught.value)


def test_a_rest_of_no_time_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Fallback\(cooldown_s=0\): must be a positive number of seconds"):
        Fallback([(DashScope(), Paraformer())], cooldown_s=0)


async def test_other_options_than_its_own_are_refused() -> None:
    fallback = Fallback([(DashScope("key"), Paraformer())])
    async with Client(fallback) as client:
        client.session(Paraformer())
        with pytest.raises(ConfigurationError, match=r"FunASR: .* make its sessions with fallback.options"):
            client.session(FunASR())


async def test_it_keeps_no_tables() -> None:
    async with Client(Fallback([(DashScope("key"), Paraformer())])) as client:
        with pytest.raises(ConfigurationError, match="Fallback keeps no hot-word tables: use the vendor's own service"):
            _ = client.vocabularies


async def test_a_service_of_somebody_else_needs_nothing_new() -> None:
    class TheirOwn:
        def __init__(self, endpoint: str) -> None:
            self._service = dashscope(endpoint)

        async def __aenter__(self) -> TheirOwn:
            return self

        async def __aexit__(self, *exc_info: object) -> None:
            return None

        def describe(self, options: Any) -> Any:
            return self._service.describe(options)

        def codec(self, options: Any, *, task_id: str) -> Any:
            return self._service.codec(options, task_id=task_id)

        @property
        def vocabularies(self) -> Any:
            raise ConfigurationError("none")

        async def resolve(self, options: Any) -> Endpoint:
            target = await self._service.resolve(options)
            return Endpoint(url=target.url, headers=target.headers, handshake_error=lambda *_: ASRError("closed"))

    first, second = Vendor(), Vendor()
    first.refusal = DOWN
    async with at(first) as here, at(second) as there:
        fallback = Fallback([(TheirOwn(here), Paraformer()), (TheirOwn(there), Paraformer())])
        assert (await transcribe(NumberedSource(1), fallback.options, fallback)).text == "to 1000"
