"""The replay of recorded sessions to clients with other ids and another division of the audio."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from asr_async import DashScope, Huawei, Paraformer, QwenRealtime, Rasr, connect
from asr_async.emulator import Replay, replay
from asr_async.errors import ConfigurationError, LocalProtocolError

from ..support.virtual_time import now, run_virtual

SECOND = bytes(32_000)


# --- handwritten tapes ------------------------------------------------------------------------------------------------


class Tape:
    """A builder of tapes: records of one connection after another, with their times."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.connection = 0
        self.ms = 0

    def add(self, what: str, **members: Any) -> Tape:
        self.records.append({"what": what, "connection": self.connection, "ms": self.ms, **members})
        return self

    def connect(self) -> Tape:
        self.connection += 1
        self.ms = 0
        return self.add("connect", host="example.com", path="/", headers=["Authorization"])

    def after(self, ms: int) -> Tape:
        self.ms += ms
        return self

    def text(self, direction: str, message: Any) -> Tape:
        return self.add("frame", direction=direction, kind="text", text=json.dumps(message))

    def audio(self, *, frames: int, size: int = 3_200) -> Tape:
        for _ in range(frames):
            self.after(100).add("frame", direction="sent", kind="binary", binary={"bytes": size})
        return self

    def close(self, code: int, reason: str = "", *, by: str) -> Tape:
        return self.add("closed", code=code, reason=reason, by=by)

    def write(self, folder: Path) -> Path:
        path = folder / "tape.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in self.records))
        return path


def task(action: str) -> dict[str, Any]:
    return {"header": {"action": action, "task_id": "recorded-id", "streaming": "duplex"}, "payload": {"input": {}}}


def event(name: str, payload: Any = None, **header: Any) -> dict[str, Any]:
    header = {"task_id": "recorded-id", "event": name, "attributes": {}, **header}
    return {"header": header, "payload": payload or {}}


def sentence(text: str, begin: int, end: int) -> dict[str, Any]:
    members = {"begin_time": begin, "end_time": end, "text": text, "words": [], "sentence_end": True}
    return event("result-generated", {"output": {"sentence": members}, "usage": {"duration": 1}})


def dashscope_tape() -> Tape:
    tape = Tape().connect().after(30).text("sent", task("run-task")).after(50)
    tape.text("received", event("task-started")).audio(frames=10)
    tape.after(40).text("received", sentence("one", 100, 900)).after(60).audio(frames=10)
    tape.text("sent", task("finish-task")).after(300).text("received", sentence("two", 1_100, 1_900))
    return tape.after(10).text("received", event("task-finished", {"output": {}})).close(1000, by="client")


def huawei_tape() -> Tape:
    segment = {"start_time": 100, "end_time": 900, "is_final": True, "result": {"text": "one", "score": 0.9}}
    config = {"audio_format": "pcm16k16bit", "property": "chinese_16k_general"}
    tape = Tape().connect().text("sent", {"command": "START", "config": config})
    tape.after(20).text("received", {"resp_type": "START", "trace_id": "t"}).audio(frames=10)
    tape.after(20).text("received", {"resp_type": "RESULT", "trace_id": "t", "segments": [segment]})
    tape.text("sent", {"command": "END"}).after(20)
    return tape.text("received", {"resp_type": "END", "trace_id": "t", "reason": "NORMAL"}).close(1000, by="client")


def realtime_tape() -> Tape:
    def server_event(kind: str, **members: Any) -> dict[str, Any]:
        return {"type": kind, "event_id": "s", **members}

    completed = "conversation.item.input_audio_transcription.completed"
    tape = Tape().connect().after(10).text("received", server_event("session.created", session={"id": "s1"}))
    tape.text("sent", {"type": "session.update", "event_id": "e", "session": {}})
    tape.after(10).text("received", server_event("session.updated", session={"id": "s1"}))
    for _ in range(10):
        tape.after(100).text("sent", {"type": "input_audio_buffer.append", "audio": "<3200 bytes in base64>"})
    tape.text("received", server_event("input_audio_buffer.speech_started", item_id="i", audio_start_ms=100))
    tape.text("received", server_event("input_audio_buffer.speech_stopped", item_id="i", audio_end_ms=900))
    tape.text("received", server_event("input_audio_buffer.committed", item_id="i", previous_item_id=None))
    tape.text("received", server_event(completed, item_id="i", content_index=0, transcript="one"))
    tape.text("sent", {"type": "session.finish", "event_id": "e2"}).after(20)
    return tape.text("received", server_event("session.finished")).close(1000, by="client")


# --- with the client of this library ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pace", [1.0, 2.0, None])
def test_a_dashscope_session_replays_its_tape(pace: float | None, tmp_path: Path) -> None:
    path = dashscope_tape().write(tmp_path)

    async def scenario() -> None:
        async with replay(path) as replayed:
            service = DashScope("k", endpoint=replayed.dashscope_url)
            async with connect(Paraformer(), service) as session:
                results = [result async for result in session.stream([SECOND, SECOND], pace=pace)]
        assert [(result.text, result.start_ms, result.end_ms) for result in results] == [
            ("one", 100, 900),
            ("two", 1_100, 1_900),
        ]

    run_virtual(scenario)


def test_a_huawei_session_replays_its_tape(tmp_path: Path) -> None:
    path = huawei_tape().write(tmp_path)

    async def scenario() -> None:
        async with replay(path) as replayed:
            service = Huawei(ak="any", sk="key", project_id="p", region="r", endpoint=replayed.huawei_url)
            async with connect(Rasr(), service) as session:
                results = [result async for result in session.stream([SECOND])]
        assert [(result.text, result.end_ms) for result in results] == [("one", 900)]

    run_virtual(scenario)


def test_a_realtime_session_replays_its_tape_with_audio_in_texts(tmp_path: Path) -> None:
    path = realtime_tape().write(tmp_path)

    async def scenario() -> None:
        async with replay(path) as replayed:
            service = DashScope("k", endpoint=replayed.dashscope_realtime_url)
            async with connect(QwenRealtime(), service) as session:
                results = [result async for result in session.stream([SECOND])]
        assert [result.text for result in results] == ["one"]

    run_virtual(scenario)


# --- with a plain client ----------------------------------------------------------------------------------------------


async def connect_client(replayed: Replay) -> ClientConnection:
    return await websockets.connect(replayed.dashscope_url, proxy=None, ping_interval=None, close_timeout=1)


async def send_action(ws: ClientConnection, action: str, task_id: str = "mine") -> None:
    await ws.send(json.dumps({"header": {"action": action, "task_id": task_id}, "payload": {}}))


async def receive_event(ws: ClientConnection) -> tuple[str, str]:
    header = json.loads(await ws.recv())["header"]
    return header["event"], header["task_id"]


def test_messages_follow_as_much_audio_and_as_much_time_as_on_the_tape(tmp_path: Path) -> None:
    path = dashscope_tape().write(tmp_path)

    async def scenario() -> None:
        async with replay(path) as replayed, await connect_client(replayed) as ws:
            await send_action(ws, "run-task")
            asked_at = now()
            assert await receive_event(ws) == ("task-started", "mine")
            assert 0.05 <= now() - asked_at < 0.06
            await ws.send(bytes(31_999))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(100):
                    await ws.recv()
            await ws.send(bytes(1))
            sent_at = now()
            assert await receive_event(ws) == ("result-generated", "mine")
            assert 0.04 <= now() - sent_at < 0.05
            await ws.send(SECOND)
            await send_action(ws, "finish-task")
            finished_at = now()
            assert [await receive_event(ws) for _ in range(2)] == [
                ("result-generated", "mine"),
                ("task-finished", "mine"),
            ]
            assert 0.31 <= now() - finished_at < 0.33

    run_virtual(scenario)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (["finish-task"], "the tape has run-task, not finish-task"),
        (["run-task", SECOND, "continue-task"], "the tape has finish-task, not continue-task"),
        (["run-task", SECOND, "finish-task"], "the tape has 64000 bytes of audio before finish-task, not 32000"),
    ],
)
async def test_a_deviation_from_the_tape_is_reported_and_ends_the_connection(
    messages: list[Any], reason: str, tmp_path: Path
) -> None:
    async with replay(dashscope_tape().write(tmp_path)) as replayed, await connect_client(replayed) as ws:
        with pytest.raises(websockets.ConnectionClosed) as caught:
            for message in messages:
                await (ws.send(message) if isinstance(message, bytes) else send_action(ws, message))
            while True:
                await ws.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, reason)


@pytest.mark.parametrize(("code", "expected"), [(1011, (1011, "overload")), (1005, (1000, "overload")), (1006, None)])
async def test_a_connection_that_the_vendor_ended_ends_again(
    code: int, expected: tuple[int, str] | None, tmp_path: Path
) -> None:
    tape = Tape().connect().text("sent", task("run-task")).text("received", event("task-started")).audio(frames=2)
    path = tape.close(code, "overload", by="server").write(tmp_path)
    async with replay(path) as replayed, await connect_client(replayed) as ws:
        await send_action(ws, "run-task")
        assert await receive_event(ws) == ("task-started", "mine")
        await ws.send(bytes(6_400))
        with pytest.raises(websockets.ConnectionClosed) as caught:
            await ws.recv()
    rcvd = caught.value.rcvd
    assert (rcvd and (rcvd.code, rcvd.reason)) == expected


async def test_connections_are_replayed_in_order_refusals_included(tmp_path: Path) -> None:
    tape = Tape().connect().add("refused", status=429, headers=[], retry_after="7", body='{"code": "Throttling"}')
    tape.connect().text("sent", task("run-task")).text("received", event("task-started"))
    async with replay(tape.write(tmp_path)) as replayed:
        assert repr(replayed) == f"<Replay {replayed.address} of 2 connections>"
        with pytest.raises(websockets.InvalidStatus) as refused:
            await connect_client(replayed)
        assert (refused.value.response.status_code, refused.value.response.headers["Retry-After"]) == (429, "7")
        assert refused.value.response.body == b'{"code": "Throttling"}'
        async with await connect_client(replayed) as ws:
            await send_action(ws, "run-task")
            assert await receive_event(ws) == ("task-started", "mine")
        with pytest.raises(websockets.InvalidStatus) as exhausted:
            await connect_client(replayed)
    assert exhausted.value.response.body == b"the tape has 2 connections, no more"


async def test_binary_messages_are_replayed_or_replaced_by_zeros_of_the_same_length(tmp_path: Path) -> None:
    tape = Tape().connect().add("frame", direction="received", kind="binary", binary={"bytes": 3, "base64": "AQID"})
    tape.add("frame", direction="received", kind="binary", binary={"bytes": 2})
    async with replay(tape.write(tmp_path)) as replayed, await connect_client(replayed) as ws:
        assert [await ws.recv(), await ws.recv()] == [b"\x01\x02\x03", b"\0\0"]


async def test_a_shutdown_ends_a_waiting_connection(tmp_path: Path) -> None:
    async with replay(dashscope_tape().write(tmp_path)) as replayed:
        ws = await connect_client(replayed)
    with pytest.raises(websockets.ConnectionClosed) as caught:
        await ws.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1001


def test_a_file_that_is_no_tape_is_refused_before_the_server_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.jsonl: No such file or directory"):
        replay(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(ConfigurationError, match=r"empty\.jsonl: no connection is recorded there"):
        replay(tmp_path / "empty.jsonl")


def test_a_replay_has_an_address_only_while_it_runs(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError, match="the replay has no address: it runs only inside `async with`"):
        _ = replay(dashscope_tape().write(tmp_path)).huawei_url
