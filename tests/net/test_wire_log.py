"""The wire log: all messages of the connections, no secrets, whole after a crash."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asr_async import ASRError, AuthenticationError, Client, ConfigurationError, DashScope, Paraformer, transcribe
from asr_async._net.wire_log import CloseRecord, WireLog, count_audio_bytes, read_tape
from asr_async._text.redaction import secrets_of
from asr_async.emulator import Scripted, replay, serve
from asr_async.emulator.faults import Cut, Fault
from asr_async.vendors.service import Endpoint

from ..support.child_processes import child_environment
from ..support.virtual_time import run_virtual

pytestmark = pytest.mark.both_loops

KEY = "sk-0123456789abcdef"


def endpoint(url: str = "wss://example.com/api-ws/v1/inference?model=m", **headers: str) -> Endpoint:
    headers = headers or {"Authorization": f"Bearer {KEY}", "User-Agent": "asr-async"}
    return Endpoint(url=url, headers=headers, handshake_error=lambda *_: ASRError("no"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_connection_is_recorded_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"

    async def scenario() -> None:
        with WireLog(path) as wire_log:
            log = wire_log.record_connect(endpoint())
            await asyncio.sleep(0.25)
            log.record_sent('{"header": {}}')
            log.record_sent(memoryview(bytes(3_200)))
            await asyncio.sleep(1)
            log.record_received("{}")
            log.record_received(b"1234")
            log.record_close(1011, "overload", by="server")

    run_virtual(scenario)
    head = {"what": "frame", "connection": 1}
    assert lines(path) == [
        {
            "what": "connect",
            "connection": 1,
            "ms": 0,
            "host": "example.com",
            "path": "/api-ws/v1/inference",
            "headers": ["Authorization", "User-Agent"],
        },
        {**head, "ms": 250, "direction": "sent", "kind": "text", "text": '{"header": {}}'},
        {**head, "ms": 250, "direction": "sent", "kind": "binary", "binary": {"bytes": 3_200}},
        {**head, "ms": 1_250, "direction": "received", "kind": "text", "text": "{}"},
        {**head, "ms": 1_250, "direction": "received", "kind": "binary", "binary": {"bytes": 4}},
        {"what": "closed", "connection": 1, "ms": 1_250, "code": 1011, "reason": "overload", "by": "server"},
    ]


def test_connections_have_numbers_and_clocks_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"

    async def scenario() -> None:
        with WireLog(path) as wire_log:
            first = wire_log.record_connect(endpoint())
            await asyncio.sleep(2)
            second = wire_log.record_connect(endpoint())
            first.record_sent("a")
            second.record_sent("b")

    run_virtual(scenario)
    assert [(line["connection"], line["ms"]) for line in lines(path)] == [(1, 0), (2, 0), (1, 2_000), (2, 0)]


async def test_a_refusal_is_recorded_with_its_retry_after(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    with WireLog(path) as wire_log:
        wire_log.record_connect(endpoint()).record_refusal(
            429, {"retry-after": "7", "Set-Cookie": "c=1"}, b'{"code": "Throttling"}'
        )
    assert lines(path)[1] == {
        "what": "refused",
        "connection": 1,
        "ms": lines(path)[1]["ms"],
        "status": 429,
        "headers": ["retry-after", "Set-Cookie"],
        "retry_after": "7",
        "body": '{"code": "Throttling"}',
    }


async def test_the_first_end_of_a_connection_counts(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    with WireLog(path) as wire_log:
        log = wire_log.record_connect(endpoint())
        assert repr(log) == "<ConnectionLog of connection 1 open>"
        log.record_close(1011, "overload", by="server")
        log.record_close(1000, "", by="client")
        assert repr(log) == "<ConnectionLog of connection 1 closed>"
    assert [line["code"] for line in lines(path)[1:]] == [1011]


# --- secrets and audio -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "headers", "secrets"),
    [
        ("wss://h/", {"Authorization": f"bearer {KEY}"}, {KEY, f"bearer {KEY}"}),
        ("wss://h/", {"X-Auth-Token": "MIIabcdefg=="}, {"MIIabcdefg=="}),
        ("wss://user:password1@h/?token=abcdefgh&model=long-model-name", {}, {"password1", "abcdefgh"}),
        ("wss://h/", {"User-Agent": "asr-async/1.0", "X-DashScope-DataInspection": "enable"}, set()),
        ("wss://h/", {"Authorization": "Bearer k"}, {"Bearer k"}),
    ],
)
def test_credentials_in_urls_and_headers_are_secrets(url: str, headers: dict[str, str], secrets: set[str]) -> None:
    assert secrets_of(url, headers) == secrets


def test_the_parts_of_a_signature_are_secrets_and_its_scheme_is_not() -> None:
    value = "SDK-HMAC-SHA256 Access=AKAKAKAK, SignedHeaders=host;x-sdk-date, Signature=0123456789abcdef"
    found = secrets_of("wss://h/", {"Authorization": value})
    assert {"AKAKAKAK", "0123456789abcdef"} <= found
    assert "SDK-HMAC-SHA256" not in found


async def test_no_record_holds_a_credential(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    with WireLog(path, with_audio=True) as wire_log:
        log = wire_log.record_connect(endpoint(f"wss://user:{KEY}@example.com/path?api_key={KEY}"))
        log.record_sent(f'{{"echo": "{KEY}"}}')
        log.record_received(f'{{"message": "the key {KEY} is wrong, {KEY}!"}}')
        log.record_refusal(401, {"WWW-Authenticate": f"Bearer {KEY}"}, f"Invalid key {KEY}".encode())
        log.record_close(1008, f"no {KEY}", by="server")
    assert KEY not in path.read_text()
    texts = [line.get("text") or line.get("body") or line.get("reason") for line in lines(path)[1:]]
    assert texts == ['{"echo": "***"}', '{"message": "the key *** is wrong, ***!"}', "Invalid key ***", "no ***"]
    assert lines(path)[0]["host"] == "example.com"
    assert lines(path)[0]["path"] == "/path"


async def test_audio_is_recorded_only_on_request(tmp_path: Path) -> None:
    audio = bytes(range(256)) * 4
    encoded = base64.b64encode(audio).decode()
    append = f'{{"type":"input_audio_buffer.append","audio":"{encoded}"}}'
    recorded = {}
    for with_audio in (False, True):
        path = tmp_path / f"{with_audio}.jsonl"
        with WireLog(path, with_audio=with_audio) as wire_log:
            log = wire_log.record_connect(endpoint())
            log.record_sent(audio)
            log.record_sent(append)
        recorded[with_audio] = lines(path)[1:]
    assert recorded[False][0]["binary"] == {"bytes": 1_024}
    assert recorded[False][1]["text"] == '{"type":"input_audio_buffer.append","audio":"<1024 bytes in base64>"}'
    assert recorded[True][0]["binary"] == {"bytes": 1_024, "base64": encoded}
    assert recorded[True][1]["text"] == append
    assert [count_audio_bytes(record[1]["text"]) for record in recorded.values()] == [1_024, 1_024]


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    WireLog(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "reason"), [("none/tape.jsonl", "No such file or directory"), ("", "Is a directory")])
def test_a_path_that_cannot_be_written_is_refused_at_once(name: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(ConfigurationError) as caught:
        WireLog(path)
    assert str(caught.value) == f"tape='{path}': cannot be written: {reason}"


async def test_a_client_with_a_path_that_cannot_be_written_does_not_open(tmp_path: Path) -> None:
    path = tmp_path / "none" / "tape.jsonl"
    with pytest.raises(ConfigurationError, match=f"^tape='{path}': cannot be written: No such file or directory$"):
        async with Client(DashScope("key", endpoint="ws://127.0.0.1:9/"), tape=path):
            pass


def test_all_records_survive_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    code = (
        "import asyncio, os\n"
        "from asr_async import ASRError\n"
        "from asr_async._net.wire_log import WireLog\n"
        "from asr_async.vendors.service import Endpoint\n"
        "async def main():\n"
        "    endpoint = Endpoint(url='ws://h/', headers={}, handshake_error=ASRError)\n"
        f"    log = WireLog({str(path)!r}).record_connect(endpoint)\n"
        "    for number in range(1000): log.record_sent(str(number))\n"
        "    os._exit(7)\n"
        "asyncio.run(main())"
    )
    run = subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, check=False)
    assert run.returncode == 7, run.stderr.decode()
    assert [line["text"] for line in lines(path)[1:]] == [str(number) for number in range(1_000)]


async def test_a_full_disk_ends_the_log_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A limit of the size of files stands for the disk: a full one cannot be had without mounting one."""
    path = tmp_path / "tape.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with caplog.at_level(logging.WARNING, "asr_async"):
        wire_log = WireLog(path)
        log = wire_log.record_connect(endpoint())
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
        try:
            log.record_sent("one")
            log.record_sent("two")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert repr(wire_log) == f"<WireLog {path} closed, connections: 1>"
    assert [record.getMessage() for record in caplog.records] == [
        f"tape {path}: nothing more is recorded: File too large"
    ]


def test_a_file_that_exists_is_emptied_and_from_then_on_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    path.write_text("an older tape")
    path.chmod(0o644)
    WireLog(path).close()
    assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (0o600, b"")


@pytest.mark.parametrize("name", ["other.txt", "none.txt"])
def test_a_link_is_not_followed(name: str, tmp_path: Path) -> None:
    other, path = tmp_path / name, tmp_path / "tape.jsonl"
    (tmp_path / "other.txt").write_text("not a tape")
    path.symlink_to(other)
    with pytest.raises(ConfigurationError, match=f"^tape='{path}': is a link: name the file that it leads to"):
        WireLog(path)
    assert (tmp_path / "other.txt").read_text() == "not a tape"
    assert not (tmp_path / "none.txt").exists()


async def test_a_fifo_is_refused_and_does_not_block_the_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match=f"^tape='{path}': cannot be written: it is not a regular file$"):
        async with Client(DashScope("key", endpoint="ws://127.0.0.1:9/"), tape=path):
            pass


async def test_a_log_is_read_as_it_was_written_without_an_incomplete_last_line(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    with WireLog(path) as wire_log:
        log = wire_log.record_connect(endpoint())
        log.record_sent("one\ntwo")
    whole = read_tape(path)
    assert [type(record).__name__ for record in whole] == ["ConnectRecord", "MessageRecord"]
    path.write_bytes(path.read_bytes() + b'{"what":"frame","conn')
    assert read_tape(path) == whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense\n", "line 1: JSON is malformed"),
        ('{"what":"frame","connection":1,"ms":0,"direction":"sent","kind":"text"}\n{}\n', "line 2: "),
        ('{"what":"song"}\n', "line 1: Invalid value 'song'"),
    ],
)
def test_an_invalid_line_is_reported_with_its_number(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        read_tape(path)
    assert str(caught.value).startswith(f"tape {path}: {message}")
    assert "\n" not in str(caught.value)


# --- a session and its replay ----------------------------------------------------------------------------------------

HELLO = Scripted([("Good morning.", 100, 900)])


async def test_a_replayed_log_gives_the_same_transcript(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    async with serve(HELLO, api_keys={KEY}) as emulator:
        service = DashScope(KEY, endpoint=emulator.dashscope_url)
        async with Client(service, tape=path) as client:
            recorded = await client.transcribe([bytes(64_000)], Paraformer())
    assert KEY not in path.read_text()
    assert [type(record).__name__ for record in read_tape(path)][:2] == ["ConnectRecord", "MessageRecord"]
    async with replay(path) as replayed:
        again = await transcribe([bytes(64_000)], Paraformer(), DashScope("other", endpoint=replayed.dashscope_url))
    assert again.text == recorded.text == "Good morning."


async def test_a_refused_handshake_and_a_lost_connection_are_recorded(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    faults: list[Fault] = [Cut(after_audio_ms=500, connection=1)]
    async with serve(HELLO, api_keys={KEY}, faults=faults) as emulator:
        async with Client(DashScope("wrong", endpoint=emulator.dashscope_url), tape=path) as client:
            with pytest.raises(AuthenticationError):
                await client.transcribe([bytes(64_000)], Paraformer())
        assert [type(record).__name__ for record in read_tape(path)] == ["ConnectRecord", "RefusalRecord"]
        async with Client(DashScope(KEY, endpoint=emulator.dashscope_url), tape=path) as client:
            await client.transcribe([bytes(64_000)], Paraformer())
    ends = [record for record in read_tape(path) if isinstance(record, CloseRecord)]
    assert [(end.connection, end.code, end.by) for end in ends] == [(1, 1006, "server"), (2, 1000, "client")]


async def test_a_log_that_cannot_be_written_is_refused_before_connecting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written: No such file or directory"):
        async with Client(DashScope(KEY, endpoint="ws://127.0.0.1:9/"), tape=tmp_path / "none" / "tape.jsonl"):
            pass
