"""Faults on demand in every protocol, tested with plain WebSocket clients on the virtual clock."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import msgspec
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from asr_async.emulator import Emulator, Fault, Faults, Scripted, position_audio, position_of, serve
from asr_async.emulator.connection import HALF_OPEN_S
from asr_async.emulator.faults import (
    Close,
    Cut,
    Delay,
    Fail,
    FaultInjector,
    Garbage,
    HalfOpen,
    MuteFinish,
    Redraw,
    Refuse,
    SlowReader,
    Throttle,
)
from asr_async.errors import ConfigurationError

from ..support.virtual_time import now, run_virtual

FRAME = bytes(3_200)
"""100 ms of audio."""


# --- clients of the three protocols -----------------------------------------------------------------------------------


class Peer:
    """A client of one protocol, which converts received messages to texts without vendor words."""

    path: str
    headers: ClassVar[dict[str, str]]
    internal_code: str
    capacity_code: str

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws

    async def send(self, message: dict[str, Any]) -> None:
        await self.ws.send(json.dumps(message))

    async def start(self) -> None:
        await self.send_start()
        assert await self.receive() == "started"

    async def send_start(self) -> None:
        raise NotImplementedError

    async def audio(self, frames: int = 1) -> None:
        for _ in range(frames):
            await self.ws.send(FRAME)

    async def finish(self) -> None:
        raise NotImplementedError

    def read(self, message: dict[str, Any]) -> str | None:
        """Convert a message to a text; None if the message has no counterpart in the other protocols."""
        raise NotImplementedError

    async def receive(self) -> str:
        while True:
            message = await self.ws.recv()
            try:
                text = self.read(json.loads(message))
            except ValueError:
                return f"unreadable {type(message).__name__}"
            if text is not None:
                return text

    async def rest(self) -> list[str]:
        """Receive everything until the end of the connection, then describe the end."""
        texts = []
        try:
            while True:
                texts.append(await self.receive())
        except websockets.ConnectionClosed as closed:
            rcvd = closed.rcvd
            return [*texts, f"closed {rcvd.code} {rcvd.reason}".strip() if rcvd else "cut"]

    async def receives_nothing_for(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.receive()
                return False
        return True


class TaskPeer(Peer):
    path = "/api-ws/v1/inference"
    headers: ClassVar = {"Authorization": "Bearer key"}
    internal_code = "InternalError"
    capacity_code = "Throttling.Concurrency"

    async def send_action(self, action: str, payload: dict[str, Any]) -> None:
        await self.send({"header": {"action": action, "task_id": "t", "streaming": "duplex"}, "payload": payload})

    async def send_start(self) -> None:
        task = {"task_group": "audio", "task": "asr", "function": "recognition"}
        parameters = {"format": "pcm", "sample_rate": 16_000}
        await self.send_action("run-task", {"model": "fun-asr-realtime", "parameters": parameters, "input": {}, **task})

    async def finish(self) -> None:
        await self.send_action("finish-task", {"input": {}})

    def read(self, message: dict[str, Any]) -> str | None:
        header = message["header"]
        match header["event"]:
            case "task-started":
                return "started"
            case "result-generated":
                sentence = message["payload"]["output"]["sentence"]
                return f"final {sentence['text']}" if sentence["sentence_end"] else None
            case "task-failed":
                return f"failed {header['error_code']} {header['error_message']}"
        return "finished"


class RealtimePeer(Peer):
    path = "/api-ws/v1/realtime?model=qwen3-asr-flash-realtime"
    headers: ClassVar = {"Authorization": "Bearer key"}
    internal_code = "InternalError"
    capacity_code = "Throttling.Concurrency"

    async def send_start(self) -> None:
        await self.send({"type": "session.update", "event_id": "e", "session": {}})

    async def audio(self, frames: int = 1) -> None:
        for _ in range(frames):
            await self.send({"type": "input_audio_buffer.append", "audio": base64.b64encode(FRAME).decode()})

    async def finish(self) -> None:
        await self.send({"type": "session.finish", "event_id": "e"})

    def read(self, message: dict[str, Any]) -> str | None:
        match message["type"]:
            case "session.updated":
                return "started"
            case "conversation.item.input_audio_transcription.completed":
                return f"final {message['transcript']}"
            case "error":
                return f"failed {message['error']['code']} {message['error']['message']}"
            case "session.finished":
                return "finished"
        return None


class HuaweiPeer(Peer):
    path = "/v1/p/rasr/continue-stream"
    headers: ClassVar = {"X-Auth-Token": "any"}
    internal_code = "SIS.0302"
    capacity_code = "SIS.0312"

    async def send_start(self) -> None:
        config = {"audio_format": "pcm16k16bit", "property": "chinese_16k_general"}
        await self.send({"command": "START", "config": config})

    async def finish(self) -> None:
        await self.send({"command": "END"})

    def read(self, message: dict[str, Any]) -> str | None:
        match message["resp_type"]:
            case "START":
                return "started"
            case "RESULT":
                return f"final {message['segments'][0]['result']['text']}"
            case "ERROR":
                return f"failed {message['error_code']} {message['error_msg']}"
        return "finished" if message["reason"] == "NORMAL" else None


PROTOCOLS = pytest.mark.parametrize("protocol", [TaskPeer, RealtimePeer, HuaweiPeer])
WORDS = Scripted([("one", 0, 300), ("two", 400, 700), ("three", 800, 1_100)], interim_every_ms=10_000)


@contextlib.asynccontextmanager
async def connect_client(emulator: Emulator, protocol: type[Peer] = TaskPeer) -> AsyncIterator[Peer]:
    url = f"ws://{emulator.address}{protocol.path}"
    options: Any = {"ping_interval": None, "close_timeout": 1, "open_timeout": 100, "proxy": None}
    async with websockets.connect(url, additional_headers=protocol.headers, **options) as ws:
        yield protocol(ws)


@contextlib.asynccontextmanager
async def serving(*faults: Fault, protocol: type[Peer] = TaskPeer) -> AsyncIterator[Peer]:
    """Connect one client to an emulator with these faults."""
    async with serve(engine=WORDS, faults=faults) as emulator, connect_client(emulator, protocol) as peer:
        yield peer


# --- triggers ---------------------------------------------------------------------------------------------------------


@PROTOCOLS
def test_without_faults_all_results_arrive(protocol: type[Peer]) -> None:
    async def scenario() -> None:
        async with serving(protocol=protocol) as peer:
            await peer.start()
            await peer.audio(12)
            await peer.finish()
            assert [await peer.receive() for _ in range(4)] == ["final one", "final two", "final three", "finished"]

    run_virtual(scenario)


@PROTOCOLS
@pytest.mark.parametrize(
    ("trigger", "received"),
    [
        ({"at": "audio"}, []),
        ({"at": "result"}, ["final one"]),
        ({"after_frames": 7}, ["final one", "final two"]),
        ({"after_audio_ms": 650}, ["final one", "final two"]),
        ({"after_audio_ms": 600}, ["final one"]),
        ({"after_s": 0.75}, ["final one"]),
        ({"at": "finish"}, ["final one", "final two", "final three"]),
    ],
)
def test_a_cut_happens_at_its_trigger(protocol: type[Peer], trigger: dict[str, Any], received: list[str]) -> None:
    async def scenario() -> None:
        async with serving(Cut(**trigger), protocol=protocol) as peer:
            await peer.start()
            with contextlib.suppress(websockets.ConnectionClosed):
                for _ in range(12):
                    await peer.audio()
                    await asyncio.sleep(0.15)
                await peer.finish()
            assert await peer.rest() == [*received, "cut"]

    run_virtual(scenario)


@PROTOCOLS
def test_a_cut_at_the_start_replaces_its_answer(protocol: type[Peer]) -> None:
    async def scenario() -> None:
        async with serving(Cut(at="start"), protocol=protocol) as peer:
            await peer.send_start()
            assert await peer.rest() == ["cut"]

    run_virtual(scenario)


def test_a_cut_at_the_handshake_replaces_its_answer() -> None:
    async def scenario() -> None:
        async with serve(engine=WORDS, faults=[Cut(at="handshake")]) as emulator:
            with pytest.raises((OSError, websockets.InvalidMessage)):
                async with connect_client(emulator):
                    pass

    run_virtual(scenario)


def test_a_result_of_the_finishing_triggers_a_fault_too() -> None:
    async def scenario() -> None:
        async with serving(Cut(at="result")) as peer:
            await peer.start()
            await peer.audio(2)
            await peer.finish()
            assert await peer.rest() == ["final one", "cut"]

    run_virtual(scenario)


# --- the kinds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "body"),
    [
        (TaskPeer, {"code": "Throttling.RateQuota", "message": "slow"}),
        (RealtimePeer, {"code": "Throttling.RateQuota", "message": "slow"}),
        (HuaweiPeer, {"error_code": "Throttling.RateQuota", "error_msg": "slow"}),
    ],
)
async def test_a_refused_handshake_has_status_code_and_retry_after(protocol: type[Peer], body: dict[str, str]) -> None:
    refuse = Refuse(status=429, code="Throttling.RateQuota", message="slow", retry_after_s=7)
    async with serve(engine=WORDS, faults=[refuse]) as emulator:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with connect_client(emulator, protocol):
                pass
    response = caught.value.response
    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
    assert json.loads(response.body or b"").items() >= body.items()


async def test_a_refusal_without_a_code_has_an_empty_body_as_from_a_gateway() -> None:
    async with serve(engine=WORDS, faults=[Refuse()]) as emulator:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with connect_client(emulator):
                pass
    response = caught.value.response
    assert (response.status_code, response.body, response.headers.get("Retry-After")) == (503, b"", None)


@PROTOCOLS
def test_a_delay_applies_to_the_handshake_and_every_message_but_not_to_the_rate(protocol: type[Peer]) -> None:
    async def scenario() -> None:
        async with serving(Delay(by_ms=2_000), protocol=protocol) as peer:
            assert 2 <= now() < 2.1
            started_at = now()
            await peer.start()
            assert 2 <= now() - started_at < 2.1
            sent_at, arrived = now(), []
            for _ in range(12):
                await peer.audio()
                await asyncio.sleep(0.1)
            for _ in range(3):
                await peer.receive()
                arrived.append(round(now() - sent_at, 1))
            assert arrived == [2.2, 2.6, 3.0]
            await peer.finish()
            assert await peer.receive() == "finished"

    run_virtual(scenario)


def test_a_delayed_failure_arrives_before_the_connection_closes() -> None:
    async def scenario() -> None:
        async with serving(Delay(by_ms=5_000, at="audio"), Fail(after_frames=4)) as peer:
            await peer.start()
            began_at = now()
            await peer.audio(4)
            assert await peer.rest() == [
                "final one",
                "failed InternalError failed on demand",
                "closed 1000 task failed",
            ]
            assert 5 <= now() - began_at < 5.1

    run_virtual(scenario)


@PROTOCOLS
@pytest.mark.parametrize("trigger", [{"at": "start"}, {"after_s": 1}, {"after_frames": 3}])
def test_a_half_open_connection_is_silent_but_not_closed(protocol: type[Peer], trigger: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with serving(HalfOpen(**trigger), protocol=protocol) as peer:
            await peer.send_start()
            if trigger != {"at": "start"}:
                assert await peer.receive() == "started"
            await asyncio.sleep(1)
            await peer.audio(3)
            pong = asyncio.ensure_future(await peer.ws.ping())
            await peer.finish()
            if "after_frames" in trigger:
                assert await peer.receive() == "final one"
            assert await peer.receives_nothing_for(HALF_OPEN_S - 10)
            assert not pong.done()
            assert await peer.rest() == ["cut"]

    run_virtual(scenario)


def test_a_half_open_connection_accepts_only_as_much_as_the_system_buffers() -> None:
    async def scenario() -> None:
        async with serving(HalfOpen(at="start")) as peer:
            await peer.send_start()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(60):
                    for _ in range(50):
                        await peer.ws.send(bytes(1_000_000))

    run_virtual(scenario)


def test_a_half_open_handshake_is_never_answered() -> None:
    async def scenario() -> None:
        async with serve(engine=WORDS, faults=[HalfOpen(at="handshake")]) as emulator:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(60), connect_client(emulator):
                    pass

    run_virtual(scenario)


def test_the_emulator_shuts_down_at_once_despite_half_open_connections() -> None:
    async def scenario() -> None:
        faults = [HalfOpen(connection=1, at="start"), HalfOpen(connection=2, at="handshake")]
        async with serve(engine=WORDS, faults=faults) as emulator, connect_client(emulator) as peer:
            await peer.send_start()
            stuck = asyncio.create_task(_fail_to_connect(emulator))
            await asyncio.sleep(1)
            began_at = now()
        await stuck
        assert now() - began_at < 3

    run_virtual(scenario)


async def _fail_to_connect(emulator: Emulator) -> None:
    with pytest.raises((OSError, websockets.InvalidMessage)):
        async with connect_client(emulator):
            pass


@PROTOCOLS
def test_a_close_has_its_code_and_reason_and_no_message_before_it(protocol: type[Peer]) -> None:
    async def scenario() -> None:
        async with serving(Close(code=4_321, reason="maintenance", after_frames=4), protocol=protocol) as peer:
            await peer.start()
            await peer.audio(4)
            assert await peer.rest() == ["final one", "closed 4321 maintenance"]

    run_virtual(scenario)


def test_a_close_at_the_handshake_follows_it_immediately() -> None:
    async def scenario() -> None:
        async with serving(Close(at="handshake")) as peer:
            assert await peer.rest() == ["closed 1011"]

    run_virtual(scenario)


@PROTOCOLS
@pytest.mark.parametrize(("binary", "kind"), [(False, "str"), (True, "bytes")])
def test_garbage_is_one_unreadable_message_among_the_others(protocol: type[Peer], binary: bool, kind: str) -> None:
    async def scenario() -> None:
        async with serving(Garbage(after_frames=5, binary=binary), protocol=protocol) as peer:
            await peer.start()
            await peer.audio(12)
            await peer.finish()
            texts = [await peer.receive() for _ in range(5)]
            assert texts == ["final one", f"unreadable {kind}", "final two", "final three", "finished"]

    run_virtual(scenario)


@PROTOCOLS
def test_a_slow_reader_needs_time_for_each_byte(protocol: type[Peer]) -> None:
    async def scenario() -> None:
        async with serving(SlowReader(bytes_per_second=320, at="audio"), protocol=protocol) as peer:
            await peer.start()
            began_at = now()
            await peer.audio(3)  # the first is read before the fault is injected
            assert await peer.receive() == "final one"
            took_s = now() - began_at
            text_share = 4 / 3 if protocol is RealtimePeer else 1
            assert 20 * text_share <= took_s < 20.5 * text_share

    run_virtual(scenario)


def test_a_slow_reader_makes_the_client_wait() -> None:
    async def scenario() -> None:
        async with serving(SlowReader(bytes_per_second=1_000)) as peer:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(60):
                    for _ in range(50):
                        await peer.ws.send(bytes(1_000_000))
            peer.ws.transport.abort()

    run_virtual(scenario)


@PROTOCOLS
@pytest.mark.parametrize("trigger", [{"at": "start"}, {"after_frames": 4}, {"after_s": 5}, {"at": "finish"}])
def test_a_failure_is_a_message_of_the_vendor(protocol: type[Peer], trigger: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with serving(Fail(code="X.1", message="as configured", **trigger), protocol=protocol) as peer:
            await peer.send_start()
            text = await peer.receive()
            if trigger != {"at": "start"}:
                assert text == "started"
                await peer.audio(4)
                if trigger == {"at": "finish"}:
                    await peer.finish()
                assert await peer.receive() == "final one"
                text = await peer.receive()
            assert text == "failed X.1 as configured"

    run_virtual(scenario)


@PROTOCOLS
def test_a_failure_without_a_code_has_the_vendors_code_for_internal_errors(protocol: type[Peer]) -> None:
    async def scenario() -> None:
        async with serving(Fail(at="audio"), protocol=protocol) as peer:
            await peer.start()
            await peer.audio()
            assert await peer.receive() == f"failed {protocol.internal_code} failed on demand"

    run_virtual(scenario)


def test_a_timed_failure_before_the_start_waits_for_it() -> None:
    async def scenario() -> None:
        async with serving(Fail(after_s=1)) as peer:
            await asyncio.sleep(10)
            await peer.send_start()
            assert "failed InternalError failed on demand" in await peer.rest()

    run_virtual(scenario)


def test_a_timed_failure_after_the_end_has_no_effect() -> None:
    async def scenario() -> None:
        async with serving(Fail(after_s=10)) as peer:
            await peer.start()
            await peer.audio(4)
            await peer.finish()
            assert [await peer.receive() for _ in range(2)] == ["final one", "finished"]
            assert await peer.rest() == ["closed 1000 idle"]

    run_virtual(scenario)


def test_a_huawei_connection_survives_a_failure_on_demand() -> None:
    async def scenario() -> None:
        async with serving(Fail(after_s=5), protocol=HuaweiPeer) as peer:
            await peer.start()
            assert await peer.receive() == "failed SIS.0302 failed on demand"
            await peer.start()
            await peer.audio(4)
            await peer.finish()
            assert [await peer.receive() for _ in range(2)] == ["final one", "finished"]

    run_virtual(scenario)


@PROTOCOLS
def test_a_mute_finish_is_never_answered(protocol: type[Peer]) -> None:
    async def scenario() -> None:
        async with serving(MuteFinish(), protocol=protocol) as peer:
            await peer.start()
            await peer.audio(5)
            assert await peer.receive() == "final one"
            await peer.finish()
            assert await peer.receives_nothing_for(1_000)
            assert await (await peer.ws.ping()) < 1

    run_virtual(scenario)


@PROTOCOLS
def test_a_throttled_start_has_the_vendors_code(protocol: type[Peer]) -> None:
    async def scenario() -> None:
        async with serving(Throttle(), protocol=protocol) as peer:
            await peer.send_start()
            assert await peer.receive() == f"failed {protocol.capacity_code} throttled on demand"

    run_virtual(scenario)


# --- sentences drawn anew ---------------------------------------------------------------------------------------------

COUNTED = Scripted([(f"n{n} m{n} k{n}", 1_000 * n + 100, 1_000 * n + 900) for n in range(12)], interim_every_ms=100)


async def redrawn_finals(emulator: Emulator, protocol: type[Peer]) -> list[str]:
    async with connect_client(emulator, protocol) as peer:
        await peer.start()
        await peer.audio(120)
        await peer.finish()
        finals = []
        while (text := await peer.receive()) != "finished":
            finals.append(text.removeprefix("final "))
        return finals


@PROTOCOLS
def test_redraw_gives_each_connection_other_sentences_of_the_same_words(protocol: type[Peer]) -> None:
    async def scenario() -> None:
        async with serve(engine=COUNTED, faults=[Redraw(max_words=5, noise=0.5)]) as emulator:
            drawn = [await redrawn_finals(emulator, protocol) for _ in range(3)]
            assert emulator.faults_struck == {"redraw": 3}
        assert len({tuple(finals) for finals in drawn}) == 3
        for finals in drawn:
            words = " ".join(finals).split()
            assert words == [word for n in range(12) for word in (f"n{n}", f"m{n}", f"k{n}")]
        async with serve(engine=COUNTED, faults=[Redraw(max_words=5, noise=0.5)]) as emulator:
            assert [await redrawn_finals(emulator, protocol) for _ in range(3)] == drawn

    run_virtual(scenario)


def test_redraw_strikes_the_connections_that_it_applies_to_and_combines_with_others() -> None:
    async def scenario() -> None:
        faults = [Redraw(connection=2, max_words=1, noise=0), Cut(connection=1, after_audio_ms=1_500)]
        async with serve(engine=COUNTED, faults=faults) as emulator:
            async with connect_client(emulator) as peer:
                await peer.start()
                await peer.audio(16)
                assert await peer.rest() == ["final n0 m0 k0", "cut"]
            assert (await redrawn_finals(emulator, TaskPeer))[:4] == ["n0", "m0", "k0", "n1"]
            assert (await redrawn_finals(emulator, TaskPeer))[:2] == ["n0 m0 k0", "n1 m1 k1"]
            assert emulator.faults_struck == {"cut": 1, "redraw": 1}

    run_virtual(scenario)


async def received_messages(peer: Peer) -> list[dict[str, Any]]:
    await peer.audio(30)
    await peer.finish()
    messages = []
    while True:
        message = json.loads(await peer.ws.recv())
        messages.append(message)
        if peer.read(message) == "finished":
            return messages


def test_a_noise_has_a_sentence_of_its_own_without_a_final() -> None:
    async def scenario() -> None:
        faults = [Redraw(max_words=1, noise=1, jitter_ms=0)]
        async with serve(engine=COUNTED, faults=faults) as emulator, connect_client(emulator) as peer:
            await peer.start()
            messages = await received_messages(peer)
        sentences = [message["payload"]["output"].get("sentence", {}) for message in messages]
        noise, interim, *_ = sentences
        assert (noise["sentence_id"], noise["text"], noise["begin_time"]) == (1, noise["words"][0]["text"], 0)
        assert (interim["sentence_id"], interim["text"], interim["sentence_begin"]) == (2, "n0", True)
        assert not noise["sentence_end"]
        assert {sentence["sentence_id"] for sentence in sentences if sentence.get("sentence_end")}.isdisjoint({1})

    run_virtual(scenario)


def test_a_noise_is_detected_speech_without_a_text_in_the_realtime_protocol() -> None:
    async def scenario() -> None:
        faults = [Redraw(max_words=1, noise=1, jitter_ms=0)]
        async with serve(engine=COUNTED, faults=faults) as emulator, connect_client(emulator, RealtimePeer) as peer:
            await peer.start()
            messages = await received_messages(peer)
        item = messages[0]["item_id"]
        assert [message["type"] for message in messages if message.get("item_id", item) == item][:4] == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.created",
        ]
        assert not [m for m in messages if m["type"].endswith("completed") and m["item_id"] == item]

    run_virtual(scenario)


# --- which connections, how often -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"connection": 2}, [2]),
        ({"every": 3}, [3, 6]),
        ({"times": 2}, [1, 2]),
        ({"every": 2, "times": 2}, [2, 4]),
        ({"probability": 0}, []),
    ],
)
async def test_a_fault_strikes_the_connections_that_it_applies_to(members: dict[str, Any], expected: list[int]) -> None:
    struck = []
    async with serve(engine=WORDS, faults=[Close(at="audio", **members)]) as emulator:
        for number in range(1, 7):
            async with connect_client(emulator) as peer:
                await peer.start()
                await peer.audio(3)
                if await _ended(peer):
                    struck.append(number)
        assert emulator.faults_struck == ({"close": len(expected)} if expected else {})
    assert struck == expected


async def _ended(peer: Peer) -> bool:
    """Return True if the connection is closed before its first result."""
    try:
        return await peer.receive() != "final one"
    except websockets.ConnectionClosed:
        return True


def struck(plan: Faults, connections: int) -> list[int]:
    injector = FaultInjector(plan)
    return [number for number in range(connections) if injector.next_connection().pop_at("start")]


def test_probability_depends_on_the_seed_alone() -> None:
    chance = {"kind": "throttle", "probability": 0.3}
    first = struck(Faults([chance], seed=1), 1_000)
    assert 240 < len(first) < 360
    assert struck(Faults([chance], seed=1), 1_000) == first
    assert struck(Faults([chance], seed=2), 1_000) != first
    # neither further faults nor a different number of connections change the selection
    assert struck(Faults([chance, Cut(at="audio")], seed=1), 500) == [number for number in first if number < 500]


def test_a_selected_fault_whose_trigger_was_not_reached_is_not_used_up() -> None:
    injector = FaultInjector(Faults([Cut(after_frames=2, times=1)]))
    first, second = injector.next_connection(), injector.next_connection()
    assert first.pop_after_audio(100) == []
    assert [fault.kind for _ in range(2) for fault in second.pop_after_audio(100)] == ["cut"]
    assert first.pop_after_audio(100) == []
    assert injector.struck == {"cut": 1}


def test_a_connection_is_struck_once_by_each_fault() -> None:
    faults = FaultInjector(Faults([Garbage(at="audio"), Garbage(after_frames=2)])).next_connection()
    assert [len(faults.pop_after_audio(100)) for _ in range(4)] == [1, 1, 0, 0]


def test_the_faults_of_a_connection_show_how_many_are_pending() -> None:
    faults = FaultInjector(Faults([Garbage(at="audio"), Throttle()])).next_connection()
    assert repr(faults) == "<ConnectionFaults of connection 1: 2 pending>"
    faults.pop_at("start")
    assert repr(faults) == "<ConnectionFaults of connection 1: 1 pending>"


def test_each_emulator_keeps_its_own_counts() -> None:
    plan = Faults([Throttle(connection=1)])
    assert [len(FaultInjector(plan).next_connection().pop_at("start")) for _ in range(2)] == [1, 1]


async def test_a_client_with_a_wrong_key_is_not_counted() -> None:
    faults = [Refuse(status=418, connection=1)]
    async with serve(engine=WORDS, api_keys={"key"}, faults=faults) as emulator:
        statuses = []
        for key in ("wrong", "key"):
            with pytest.raises(websockets.InvalidStatus) as caught:
                await websockets.connect(
                    emulator.dashscope_url, additional_headers={"Authorization": f"Bearer {key}"}, proxy=None
                )
            statuses.append(caught.value.response.status_code)
    assert statuses == [401, 418]


# --- a source over several connections --------------------------------------------------------------------------------


class _TimedPeer(TaskPeer):
    def read(self, message: dict[str, Any]) -> str | None:
        text = super().read(message)
        if text and text.startswith("final"):
            sentence = message["payload"]["output"]["sentence"]
            return f"{sentence['text']} {sentence['begin_time']}..{sentence['end_time']}"
        return text


async def test_after_a_cut_the_rest_of_the_source_is_recognised_on_the_next_connection() -> None:
    script = [("one", 0, 300), ("two", 400, 700), ("three", 800, 1_100)]
    engine = Scripted(script, interim_every_ms=10_000, position=position_of)
    async with serve(engine=engine, faults=[Cut(connection=1, after_audio_ms=600)]) as emulator:
        async with connect_client(emulator, _TimedPeer) as peer:
            await peer.start()
            for start_ms in range(0, 600, 100):
                await peer.ws.send(position_audio(start_ms, start_ms + 100))
            assert await peer.rest() == ["one 0..300", "cut"]
        async with connect_client(emulator, _TimedPeer) as peer:
            await peer.start()
            await peer.ws.send(position_audio(300, 1_200))
            await peer.finish()
            assert [await peer.receive() for _ in range(3)] == ["two 100..400", "three 500..800", "finished"]


# --- plans ------------------------------------------------------------------------------------------------------------


def test_a_plan_is_read_from_json(tmp_path: Any) -> None:
    path = tmp_path / "faults.json"
    path.write_text(
        '{"seed": 7, "faults": [{"kind": "refuse", "status": 429, "retry_after_s": 2, "connection": 1},'
        ' {"kind": "half_open", "after_s": 3, "probability": 0.5}, {"kind": "mute_finish", "every": 2},'
        ' {"kind": "redraw", "jitter_ms": 20}]}'
    )
    plan = Faults.from_file(path)
    assert plan.seed == 7
    assert plan.faults == (
        Refuse(status=429, retry_after_s=2, connection=1),
        HalfOpen(after_s=3, probability=0.5),
        MuteFinish(every=2),
        Redraw(jitter_ms=20),
    )
    assert repr(plan) == "<Faults refuse, half_open, mute_finish, redraw, seed 7>"


def test_a_fault_is_encoded_in_the_form_that_is_read() -> None:
    faults = [
        Cut(after_audio_ms=1_500, every=2),
        HalfOpen(after_s=0.5),
        Throttle(times=1),
        SlowReader(bytes_per_second=1),
    ]
    written = json.loads(msgspec.json.encode(faults))
    assert written[0] == {"kind": "cut", "every": 2, "after_audio_ms": 1_500}
    assert Faults(written).faults == tuple(faults)


def test_a_plan_may_be_a_bare_list(tmp_path: Any) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"kind": "cut", "after_audio_ms": 1500}]')
    assert Faults.from_file(path).faults == (Cut(after_audio_ms=1_500),)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "cutt", "at": "audio"}, "fault 1: kind='cutt': did you mean 'cut'?"),
        ({"at": "audio"}, 'fault 1: expected an object with a kind, such as {"kind": "cut", "after_frames": 10}'),
        ("cut", "fault 1: expected an object with a kind"),
        ({"kind": "cut", "after_frame": 3}, "fault 1: cut has no 'after_frame': did you mean 'after_frames'?"),
        ({"kind": "cut"}, "fault 1: cut: needs one of at, after_frames, after_audio_ms, after_s"),
        ({"kind": "cut", "at": "audio", "after_s": 1}, "fault 1: cut: at and after_s exclude each other"),
        ({"kind": "cut", "at": "noon"}, "fault 1: cut: at='noon': known are audio, finish, handshake, result, start"),
        ({"kind": "cut", "after_frames": 0}, "fault 1: cut: after_frames=0: expected int >= 1"),
        ({"kind": "cut", "after_s": "3"}, "fault 1: cut: after_s='3': expected float | null, got str"),
        ({"kind": "refuse", "status": 200}, "fault 1: refuse: status=200: expected int >= 400"),
        ({"kind": "refuse", "connection": 1, "every": 2}, "fault 1: refuse: connection and every exclude each other"),
        ({"kind": "refuse", "probability": 2}, "fault 1: refuse: probability=2: expected float <= 1.0"),
        ({"kind": "refuse", "at": "start"}, "fault 1: refuse has no 'at'"),
        ({"kind": "delay"}, "fault 1: delay needs by_ms"),
        (
            {"kind": "close", "at": "audio", "code": 1006},
            "close: code=1006: cannot be sent in a close frame; for 1006 use",
        ),
        ({"kind": "close", "at": "audio", "reason": "x" * 124}, "close: reason: a close frame has room for 123 bytes"),
        ({"kind": "fail", "at": "handshake"}, 'nothing is running yet that could fail; use refuse, or at="start"'),
    ],
)
def test_an_invalid_fault_is_refused_in_one_line(fault: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        serve(engine=WORDS, faults=[fault])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "not JSON"),
        ('{"fault": []}', 'must be a list of faults or {"seed": ..., "faults": [...]}'),
        ('{"faults": [], "sead": 1}', 'must be a list of faults or {"seed": ..., "faults": [...]}'),
        ('{"faults": [], "seed": "x"}', "seed='x': expected a whole number"),
        ('[{"kind": "cut"}]', "fault 1: cut: needs one of"),
    ],
)
def test_a_file_without_a_valid_plan_is_named(content: str, message: str, tmp_path: Any) -> None:
    path = tmp_path / "faults.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        Faults.from_file(path)
    assert str(caught.value).startswith(f"faults {path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.json: No such file or directory"):
        Faults.from_file(tmp_path / "missing.json")
