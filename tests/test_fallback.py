"""A `Fallback`: the choice of a member, fail-over, fail-back, and members that are refused before connecting."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
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
    DeadlineError,
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
    Timeouts,
    VendorError,
    connect,
    transcribe,
)
from asr_async import emulator as emulators
from asr_async.emulator import Scripted
from asr_async.errors import ASRError
from asr_async.vendors.service import Endpoint, Service

from .support.numbered_audio import (
    HUAWEI,
    Fault,
    NumberedServer,
    NumberedSource,
    assert_seamless,
    cut,
    finals_of,
    finals_of_seconds,
)
from .support.scripted_server import read_until_finish, scripted_server, send_event, send_final, start_task
from .support.segment_events import assert_framed
from .support.streaming import emulator_service
from .support.virtual_time import now, run_virtual

pytestmark = pytest.mark.both_loops
LOST = ConnectionLostError("gone", retryable=True)
SECOND = bytes(32_000)


# --- the choice of a member and fail-over ----------------------------------------------------------------------------


class MemberServer(NumberedServer):
    """A `NumberedServer` that can refuse new connections, and records their handshakes."""

    def __init__(self, *faults: Fault | None, after_ms: int = 0) -> None:
        super().__init__(*faults, after_ms=after_ms)
        self.refusal: tuple[HTTPStatus, dict[str, str]] | None = None
        """The status and the body of the response to each handshake; None accepts it."""
        self.handshakes_at: list[float] = []

    @property
    def spans_ms(self) -> list[tuple[int, int]]:
        """The start and the duration of the audio of each connection."""
        return list(zip(self.started_at_ms, self.received_ms, strict=True))

    def go_down_after(self, received_ms: int, *, for_s: float | None = None) -> None:
        """Abort the first connection after so much audio, and refuse others from then on, or for so long."""

        async def go_down(connection: ServerConnection, task_id: str) -> None:
            self.refusal = DOWN
            if for_s is not None:
                asyncio.get_running_loop().call_later(for_s, setattr, self, "refusal", None)
            await cut(connection, task_id)

        self.faults, self.after_ms = [go_down], received_ms

    async def process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes_at.append(now())
        if self.refusal is None:
            return None
        status, body = self.refusal
        return Response(status.value, status.phrase, Headers(), json.dumps(body).encode())


class HuaweiMemberServer(MemberServer):
    """A `MemberServer` with Huawei's protocol."""

    protocol = HUAWEI


@asynccontextmanager
async def service_of(server: MemberServer) -> AsyncIterator[Service]:
    """Run a server, and yield a service whose endpoint it is."""
    async with server.serving() as port:
        yield server.protocol.service(port)


@asynccontextmanager
async def fallback_of(first: MemberServer, second: MemberServer, options: Any = None) -> AsyncIterator[Fallback]:
    """Run the servers of DashScope and Huawei, and yield a `Fallback` with these members."""
    async with service_of(first) as first_service, service_of(second) as second_service:
        yield Fallback([(first_service, options or first.protocol.options), (second_service, second.protocol.options)])


async def unreachable_service() -> Service:
    """Return a service whose server has stopped."""
    async with service_of(MemberServer()) as service:
        pass
    return service


async def stream_events(
    fallback: Fallback, source: Any, *, pace: float | None = 1.0, **options: Any
) -> tuple[list[Any], Any]:
    """Return all events of a session, and its statistics."""
    async with connect(fallback.options, service=fallback, **options) as session:
        events = [event async for event in session.events(source, pace=pace)]
        return events, session.stats


DOWN: tuple[HTTPStatus, dict[str, str]] = (HTTPStatus.SERVICE_UNAVAILABLE, {})
WRONG_KEY = (HTTPStatus.UNAUTHORIZED, {"code": "InvalidApiKey", "message": "no such key"})


def test_the_first_member_is_used_while_it_is_up() -> None:
    async def scenario() -> None:
        first, second = MemberServer(), HuaweiMemberServer()
        async with fallback_of(first, second) as fallback:
            events, stats = await stream_events(fallback, NumberedSource(3))
        assert finals_of(events) == finals_of_seconds(3)
        assert second.handshakes_at == []
        assert stats.member.startswith("<DashScope ws://127.0.0.1")
        assert stats.member.endswith(" paraformer-realtime-v2")

    run_virtual(scenario)


def test_the_second_member_is_used_if_the_first_is_down_at_the_start() -> None:
    async def scenario() -> None:
        first, second = MemberServer(), HuaweiMemberServer()
        first.refusal = DOWN
        async with fallback_of(first, second) as fallback:
            events, stats = await stream_events(fallback, NumberedSource(3))
            assert repr(fallback).endswith("huawei/continue>")
            assert "paraformer-realtime-v2 (down), then " in repr(fallback)
        assert finals_of(events) == finals_of_seconds(3)
        assert not [event for event in events if isinstance(event, Reconnected)]
        assert stats.member.endswith(" huawei/continue")

    run_virtual(scenario)


async def test_the_second_member_is_used_if_the_first_cannot_be_reached() -> None:
    async with service_of(HuaweiMemberServer()) as second:
        fallback = Fallback([(await unreachable_service(), Paraformer()), (second, Rasr())])
        assert (await transcribe(NumberedSource(1), fallback.options, fallback)).text == "to 1000"


async def test_a_client_has_the_options_of_the_first_member() -> None:
    async with service_of(HuaweiMemberServer()) as second:
        fallback = Fallback([(await unreachable_service(), Paraformer()), (second, Rasr())])
        async with Client(fallback) as client:
            assert (await client.transcribe(NumberedSource(1))).text == "to 1000"
            (item,) = [item async for item in client.transcribe_many([NumberedSource(2)])]
            assert item.transcript is not None
            assert item.transcript.text == "to 1000 to 2000"
            async with client.session() as session:
                assert (session.stats.member or "").endswith("huawei/continue")
        with pytest.raises(ConfigurationError, match=r"make its sessions with fallback\.options"):
            Client(fallback, options=Rasr())


def test_a_member_with_a_wrong_key_is_logged_and_not_tried_for_300_s(caplog: Any) -> None:
    async def scenario() -> None:
        first, second = MemberServer(), HuaweiMemberServer()
        first.refusal = WRONG_KEY
        async with fallback_of(first, second) as fallback, Client(fallback) as client:
            started_at = now()
            for _ in range(3):
                assert (await client.transcribe(NumberedSource(1), fallback.options)).text == "to 1000"
            assert now() - started_at < 0.1
            assert len(first.handshakes_at) == 1
            await asyncio.sleep(301)
            await client.transcribe(NumberedSource(1), fallback.options)
            assert len(first.handshakes_at) == 2

    with caplog.at_level(logging.WARNING, "asr_async"):
        run_virtual(scenario)
    assert "paraformer-realtime-v2 is not tried for 300 s after: HTTP 401: no such key: check the key" in caplog.text


async def test_the_second_member_is_used_if_the_first_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    async with service_of(HuaweiMemberServer()) as second:
        fallback = Fallback([(DashScope(), Paraformer()), (second, Rasr())])
        assert (await transcribe(NumberedSource(1), fallback.options, fallback)).text == "to 1000"


def test_a_member_whose_key_never_arrives_leaves_time_for_the_next() -> None:
    async def wait_forever() -> str:
        await asyncio.sleep(3_600)
        return ""

    async def scenario() -> None:
        async with service_of(HuaweiMemberServer()) as second:
            fallback = Fallback([(DashScope(wait_forever), Paraformer()), (second, Rasr())])
            assert (await transcribe(NumberedSource(1), fallback.options, fallback)).text == "to 1000"

    run_virtual(scenario)


@pytest.mark.parametrize("pace", [1.0, None])
def test_a_fail_over_replays_the_open_segment_from_its_start(pace: float | None) -> None:
    async def scenario() -> None:
        first, second = MemberServer(), HuaweiMemberServer()
        first.go_down_after(1_700)
        async with fallback_of(first, second) as fallback:
            events, stats = await stream_events(fallback, NumberedSource(6), pace=pace)
        assert finals_of(events) == finals_of_seconds(6)
        (reconnected,) = [event for event in events if isinstance(event, Reconnected)]
        assert second.started_at_ms == [reconnected.at_ms]
        assert reconnected.at_ms in {0, 1_000}, "the end of the last final that arrived"
        assert (stats.reconnects, stats.audio_sent_ms) == (1, 6_000)
        assert stats.member.endswith(" huawei/continue")

    run_virtual(scenario)


def test_a_fail_over_replays_compressed_audio_from_its_start() -> None:
    async def scenario() -> None:
        first, second = MemberServer(), MemberServer()
        first.go_down_after(1_700)
        async with service_of(first) as first_service, service_of(second) as second_service:
            members = [(first_service, Paraformer(format="mp3")), (second_service, FunASR(format="mp3"))]
            fallback = Fallback(members)
            events, _ = await stream_events(fallback, NumberedSource(4, every_s=0.1))
        assert second.spans_ms == [(0, 4_000)]
        assert [text for _, text, _, _ in finals_of(events)] == ["to 1000", "to 2000", "to 3000", "to 4000"]

    run_virtual(scenario)


def test_an_aborted_connection_is_replaced_by_one_to_the_same_member() -> None:
    async def scenario() -> None:
        first, second = MemberServer(cut, cut, after_ms=1_700), HuaweiMemberServer()
        async with fallback_of(first, second) as fallback:
            events, stats = await stream_events(fallback, NumberedSource(6))
        assert finals_of(events) == finals_of_seconds(6)
        assert second.started_at_ms == []
        assert stats.reconnects == 2

    run_virtual(scenario)


def test_a_third_aborted_connection_without_a_final_fails_over() -> None:
    async def scenario() -> None:
        first, second = MemberServer(cut, cut, cut, after_ms=500), HuaweiMemberServer()
        async with fallback_of(first, second) as fallback:
            events, _ = await stream_events(fallback, NumberedSource(3))
        assert finals_of(events) == finals_of_seconds(3)
        assert first.started_at_ms[:3] == [0, 0, 0]
        assert second.started_at_ms[0] == 0

    run_virtual(scenario)


def test_an_error_about_the_audio_is_raised_without_a_fail_over() -> None:
    async def refuse_the_audio(connection: ServerConnection, _task_id: str) -> None:
        await send_event(connection, "task-failed", "", error_code="DECODE_ERROR", error_message="no audio")
        await connection.close()

    async def scenario() -> None:
        first, second = MemberServer(refuse_the_audio, after_ms=500), HuaweiMemberServer()
        async with fallback_of(first, second) as fallback:
            with pytest.raises(VendorError, match="no audio"):
                await stream_events(fallback, NumberedSource(3))
            assert "(down)" not in repr(fallback)
        assert second.handshakes_at == []

    run_virtual(scenario)


def test_the_error_names_all_members_if_all_are_down_at_the_start() -> None:
    async def scenario() -> None:
        first, second = MemberServer(), HuaweiMemberServer()
        first.refusal, second.refusal = WRONG_KEY, DOWN
        async with fallback_of(first, second) as fallback:
            for _ in range(2):
                with pytest.raises(VendorError) as caught:
                    await stream_events(fallback, NumberedSource(3))
                text = str(caught.value)
                assert "paraformer-realtime-v2: HTTP 401: no such key: check the key" in text
                assert " huawei/continue: HTTP 503: " in text
                assert "\n" not in text
                assert caught.value.retryable, "the second member may be up later"
        assert (len(first.handshakes_at), len(second.handshakes_at)) == (2, 2)

    run_virtual(scenario)


def test_the_error_names_all_members_if_all_are_lost_and_follows_the_results() -> None:
    async def scenario() -> None:
        first, second = MemberServer(), HuaweiMemberServer()
        second.refusal = DOWN

        first.go_down_after(1_700)
        texts = []
        async with fallback_of(first, second) as fallback, connect(fallback.options, fallback) as session:
            with pytest.raises(VendorError, match=r"paraformer-realtime-v2: .*; .* huawei/continue: |; .*paraformer"):
                async for result in session.stream(NumberedSource(6)):
                    texts += [result.text] if result.is_final else []
        assert texts == ["to 1000"]
        assert len(second.handshakes_at) == 5

    run_virtual(scenario)


def test_without_attempts_a_lost_connection_does_not_fail_over() -> None:
    async def scenario() -> None:
        first, second = MemberServer(cut, after_ms=1_700), HuaweiMemberServer()
        async with fallback_of(first, second) as fallback:
            with pytest.raises(ConnectionLostError):
                await stream_events(fallback, NumberedSource(3), retry=Retry(attempts=0))
        assert second.handshakes_at == []

    run_virtual(scenario)


# --- fail-back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pace", [1.0, 4.0])
def test_a_fail_back_at_the_end_of_a_segment_loses_no_audio_and_repeats_no_result(
    pace: float,
) -> None:
    async def scenario() -> None:
        first, second = MemberServer(), HuaweiMemberServer()
        first.refusal = DOWN
        async with fallback_of(first, second) as fallback:
            asyncio.get_running_loop().call_later(5.0, setattr, first, "refusal", None)
            events, stats = await stream_events(fallback, NumberedSource(60), pace=pace)
        assert_seamless(finals_of(events), 60_000)
        ((start_ms, received_ms),) = second.spans_ms
        ((back_ms, rest_ms),) = first.spans_ms
        assert (start_ms, back_ms + rest_ms) == (0, 60_000)
        assert received_ms - 500 <= back_ms <= received_ms, "what was sent behind the segment is sent again"
        assert received_ms % 1_000 <= 400, "after the end of a segment"
        assert 5_000 <= received_ms / pace <= 15_000, "by one of the attempts after 1, 2, 4 and 8 s"
        assert not [event for event in events if isinstance(event, Reconnected)]
        assert (stats.reconnects, stats.audio_sent_ms) == (0, 60_000)
        assert stats.member.endswith(" paraformer-realtime-v2")

    run_virtual(scenario)


def test_attempts_at_a_member_that_stays_down_back_off_and_are_shared_by_all_sessions() -> None:
    async def scenario() -> None:
        first, second = MemberServer(), HuaweiMemberServer()
        first.refusal = DOWN
        async with fallback_of(first, second) as fallback, Client(fallback) as client:
            transcripts = await asyncio.gather(
                *(client.transcribe(NumberedSource(200), fallback.options, pace=1.0) for _ in range(5))
            )
        assert all(transcript.results[-1].end_ms == 200_000 for transcript in transcripts)
        at_the_start = [at for at in first.handshakes_at if at < 0.5]
        later = first.handshakes_at[len(at_the_start) :]
        assert len(at_the_start) <= 5, "one of each session that started before the first refusal"
        assert len(later) <= 10
        assert max(later) > 100
        assert second.started_at_ms == [0] * 5, "no session changed its member without need"

    run_virtual(scenario)


def test_a_session_fails_back_after_a_loss_during_the_stream_too() -> None:
    async def scenario() -> None:
        first, second = MemberServer(), HuaweiMemberServer()
        first.go_down_after(1_700, for_s=3.0)
        async with fallback_of(first, second) as fallback:
            events, stats = await stream_events(fallback, NumberedSource(40, every_s=0.1))
        assert_seamless(finals_of(events), 40_000)
        assert second.started_at_ms == [1_000]
        assert 1_000 + second.received_ms[0] - 500 <= first.started_at_ms[1] <= 1_000 + second.received_ms[0]
        assert stats.reconnects == 1

    run_virtual(scenario)


@pytest.mark.parametrize("after_ms", [1_300, 1_700])
def test_a_segment_starts_and_ends_once_across_a_fail_over_and_a_fail_back(after_ms: int) -> None:
    async def scenario() -> None:
        first, second = MemberServer(), HuaweiMemberServer()
        first.go_down_after(after_ms, for_s=3.0)
        async with fallback_of(first, second) as fallback:
            events, _ = await stream_events(fallback, NumberedSource(20, every_s=0.1))
        assert len(first.started_at_ms) == 2
        assert len(second.started_at_ms) == 1
        assert_framed(events)

    run_virtual(scenario)


def test_a_session_that_ends_before_its_fail_back_leaves_no_connection_behind() -> None:
    async def scenario() -> None:
        is_closed = asyncio.Event()

        class RecordsTheClose(MemberServer):
            async def __call__(self, connection: ServerConnection) -> None:
                try:
                    await super().__call__(connection)
                except ConnectionClosedError:
                    is_closed.set()

        class WithoutFinals(HuaweiMemberServer):
            """A server that sends interims only, as for a speaker who makes no pause."""

            async def _send_whole_seconds(
                self, connection: ServerConnection, task_id: str, start_ms: int, final_ms: int, now_ms: int
            ) -> int:
                await self.protocol.send_result(connection, task_id, "…", now_ms // 1_000 * 1_000, None)
                return 0

        first = RecordsTheClose()
        first.refusal = DOWN
        async with fallback_of(first, WithoutFinals()) as fallback, Client(fallback) as client:
            async with client.session(fallback.options) as session:
                first.refusal = None
                async for result in session.stream(NumberedSource(60)):
                    if result.end_ms > 0 and len(first.handshakes_at) == 2:
                        break
                await asyncio.sleep(5)
                assert not is_closed.is_set()
            async with asyncio.timeout(5):
                await is_closed.wait()

    run_virtual(scenario)


def test_the_deadline_of_the_first_result_holds_after_a_fail_back_too() -> None:
    class WithoutResults(MemberServer):
        async def __call__(self, connection: ServerConnection) -> None:
            task_id = await self.protocol.start_task(connection)
            self.started_at_ms.append(0)
            async for message in connection:
                if isinstance(message, str):
                    await self.protocol.finish_task(connection, task_id)
                    return

    class HuaweiWithoutResults(WithoutResults):
        protocol = HUAWEI

    async def scenario() -> None:
        first, second = WithoutResults(), HuaweiWithoutResults()
        first.refusal = DOWN
        asyncio.get_running_loop().call_later(3, setattr, first, "refusal", None)
        async with fallback_of(first, second) as fallback:
            timeouts = Timeouts(first_result=50)
            with pytest.raises(DeadlineError, match="no result within 50 s of the first audio"):
                await stream_events(fallback, NumberedSource(300), retry=Retry(attempts=0), timeouts=timeouts)
        # the first member is back after some seconds, and without results the change waits 30 s
        assert (len(first.started_at_ms), len(second.started_at_ms)) == (1, 1)
        assert 80 < now() < 95

    run_virtual(scenario)


def test_a_context_is_sent_after_the_fail_back_to_the_member_that_accepts_it() -> None:
    async def scenario() -> None:
        first, second = MemberServer(), HuaweiMemberServer()
        first.refusal = DOWN
        async with (
            fallback_of(first, second, FunASR()) as fallback,
            connect(fallback.options, fallback) as session,
        ):
            await session.update_context([ContextMessage("user", "names")])
            first.refusal = None
            events = [event async for event in session.events(NumberedSource(20))]
        assert_seamless(finals_of(events), 20_000)
        assert len(first.contexts) == 1
        assert "names" in first.contexts[0][1]

    run_virtual(scenario)


def test_a_context_is_skipped_for_later_members_and_refused_if_the_first_accepts_none() -> None:
    async def scenario() -> None:
        first, second = MemberServer(), HuaweiMemberServer()
        first.go_down_after(1_700)
        async with fallback_of(first, second, FunASR()) as fallback, connect(fallback.options, fallback) as session:
            await session.update_context([ContextMessage("user", "names")])
            assert finals_of([event async for event in session.events(NumberedSource(3))]) == finals_of_seconds(3)
        async with (
            fallback_of(MemberServer(), HuaweiMemberServer()) as fallback,
            connect(fallback.options, fallback) as session,
        ):
            with pytest.raises(ConfigurationError, match="context"):
                await session.update_context([ContextMessage("user", "names")])

    run_virtual(scenario)


# --- properties that members share -----------------------------------------------------------------------------------


async def test_the_last_frame_has_the_size_that_all_members_accept() -> None:
    first = MemberServer()
    async with fallback_of(first, HuaweiMemberServer()) as fallback:
        await transcribe([bytes(3_200), bytes(2)], fallback.options, fallback)
    assert first.last_frame_bytes == 320, "the smallest frame of Huawei"


async def test_an_idle_connection_is_used_by_its_own_member_only() -> None:
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
    assert ports[2] != ports[0], "the idle connection has the first member's key"


async def test_a_member_has_the_rotation_age_of_its_own_model() -> None:
    async with service_of(HuaweiMemberServer()) as second:
        fallback = Fallback([(DashScope("key", endpoint="ws://127.0.0.1:1/"), Paraformer()), (second, Rasr())])
        choice = await fallback.choose(fallback.options)
        assert choice.rotation_s is None
        choice.record_refusal(LOST)
        assert (await choice.next_member()).rotation_s == 5 * 3_600 - 300


async def test_a_local_service_in_several_members_is_started_once() -> None:
    starts = 0

    class CountingLocal(Local):
        async def __aenter__(self) -> Any:
            nonlocal starts
            starts += 1
            return await super().__aenter__()

    local = CountingLocal(Scripted([("Good morning.", 200, 900)]))
    fallback = Fallback([(await unreachable_service(), Paraformer()), (local, FunASR()), (local, Rasr())])
    assert (await transcribe([SECOND], fallback.options, fallback)).text == "Good morning."
    assert starts == 1


async def test_several_clients_can_share_a_fallback() -> None:
    async with emulators.serve(engine=Scripted([("Good morning.", 200, 900)])) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        fallback = Fallback([(service, Paraformer()), (service, FunASR())])
        transcripts = await asyncio.gather(*(transcribe([SECOND], fallback.options, fallback) for _ in range(3)))
    assert [transcript.text for transcript in transcripts] == ["Good morning."] * 3


async def test_a_model_of_one_sentence_fails_over_to_another_of_one_sentence() -> None:
    async with emulators.serve(engine=Scripted([("Good morning.", 200, 900), ("More.", 1_500, 1_900)])) as emulator:
        huawei_options = Rasr(mode="sentence", add_punc=True)
        second = emulator_service(emulator, huawei_options)
        fallback = Fallback([(await unreachable_service(), GummyChat()), (second, huawei_options)])
        assert (await transcribe([bytes(96_000)], fallback.options, fallback)).text == "Good morning."


# --- differences and refused members ---------------------------------------------------------------------------------


async def test_features_that_a_later_member_lacks_are_listed_and_logged_once(caplog: Any) -> None:
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


def test_a_feature_without_values_is_listed_by_its_name() -> None:
    fallback = Fallback([(DashScope(), FunASR()), (Huawei(), Rasr(vocabulary_id="v"))])
    context = Difference(member="<Huawei of the environment> huawei/continue", feature="context")
    assert context in fallback.differences
    assert str(context) == "<Huawei of the environment> huawei/continue: context"
    assert "hot_words" not in {one.feature for one in fallback.differences}


def test_equal_members_have_no_differences() -> None:
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
def test_members_that_cannot_replace_each_other_are_refused(members: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        Fallback(members)
    assert "\n" not in str(caught.value)


def test_cooldown_must_be_positive() -> None:
    with pytest.raises(ConfigurationError, match=r"Fallback\(cooldown_s=0\): must be a positive number of seconds"):
        Fallback([(DashScope(), Paraformer())], cooldown_s=0)


async def test_options_that_are_not_of_the_fallback_are_refused() -> None:
    fallback = Fallback([(DashScope("key"), Paraformer())])
    async with Client(fallback) as client:
        client.session(Paraformer())
        with pytest.raises(ConfigurationError, match=r"FunASR: .* make its sessions with fallback.options"):
            client.session(FunASR())


async def test_a_fallback_has_no_hot_word_tables() -> None:
    async with Client(Fallback([(DashScope("key"), Paraformer())])) as client:
        with pytest.raises(ConfigurationError, match="Fallback keeps no hot-word tables: use the vendor's own service"):
            _ = client.vocabularies


async def test_a_service_of_the_caller_needs_only_the_methods_of_the_protocol() -> None:
    class CustomService:
        def __init__(self, service: Service) -> None:
            self._service = service

        async def __aenter__(self) -> CustomService:
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
            endpoint = await self._service.resolve(options)
            return Endpoint(url=endpoint.url, headers=endpoint.headers, handshake_error=lambda *_: ASRError("closed"))

    first, second = MemberServer(), MemberServer()
    first.refusal = DOWN
    async with service_of(first) as first_service, service_of(second) as second_service:
        members = [(CustomService(first_service), Paraformer()), (CustomService(second_service), Paraformer())]
        fallback = Fallback(members)
        assert (await transcribe(NumberedSource(1), fallback.options, fallback)).text == "to 1000"


def test_a_session_fails_over_from_a_member_that_only_repeats_a_final() -> None:
    async def repeat_a_final(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await connection.recv()
        sentence = {"sentence_id": 1, "begin_time": 0, "end_time": None, "text": "word", "sentence_end": True}
        await send_event(connection, "result-generated", task_id, {"output": {"sentence": sentence}})
        await asyncio.sleep(0.1)
        connection.transport.abort()

    async def recognise(connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        await send_final(connection, task_id, "word", 0, 800)
        await send_final(connection, task_id, "two", 1_000, 1_800)
        await send_event(connection, "task-finished", task_id)

    async def scenario() -> None:
        async with scripted_server(repeat_a_final) as first, scripted_server(recognise) as second:
            fallback = Fallback([(first, Paraformer()), (second, Paraformer())])
            async with connect(fallback.options, fallback) as session:
                texts = [result.text async for result in session.stream([bytes(3_200)] * 30) if result.is_final]
        assert texts == ["word", "two"]

    run_virtual(scenario)
