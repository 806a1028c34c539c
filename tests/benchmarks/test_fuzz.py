"""Mutated vendor messages break no rule: a part of `benchmarks/fuzz.py` with a fixed seed; a faulty codec is found."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

import fuzz
from asr_async import Result
from asr_async.errors import RemoteProtocolError
from asr_async.vendors.codec import CodecEvent
from fuzzing import codecs, sessions
from fuzzing.conversations import PROTOCOLS, Act, Protocol, foreign_messages, read
from fuzzing.rules import BrokenRuleError
from fuzzing.shrinking import from_text, to_text

PARAFORMER = next(protocol for protocol in PROTOCOLS if protocol.name == "paraformer")


def outcome_of(arguments: str, capsys: pytest.CaptureFixture[str], *protocols: Protocol) -> tuple[int, dict[str, Any]]:
    status = fuzz.main([*arguments.split(), "--json"], protocols or PROTOCOLS)
    outcome: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, outcome


def test_no_codec_breaks_a_rule(capsys: pytest.CaptureFixture[str]) -> None:
    status, outcome = outcome_of("--messages 50000 --session-messages 0", capsys)
    assert (status, outcome["broken"], outcome["findings"]) == (0, {}, [])
    assert outcome["messages"] >= 50_000 - len(PROTOCOLS)


def test_no_session_breaks_a_rule(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fuzz.RUNNERS, "session", (fuzz.run_session, 10))
    status, outcome = outcome_of("--messages 0 --session-messages 1000", capsys)
    assert (status, outcome["broken"], outcome["findings"]) == (0, {}, [])
    assert outcome["session_errors"]["none"] >= outcome["sessions"] / 4
    assert len(outcome["session_errors"]) >= 3


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_a_conversation_that_is_not_mutated_breaks_no_rule_and_ends(protocol: Protocol) -> None:
    for seed in range(100):
        drafts = protocol.draft(random.Random(seed))
        steps = [draft if isinstance(draft, Act) else json.dumps(draft) for draft in drafts]
        messages = [step for step in steps if isinstance(step, str)]
        assert codecs.run(protocol, steps) == len(messages)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_the_same_seed_gives_the_same_conversation(protocol: Protocol) -> None:
    foreign = foreign_messages()
    assert [codecs.conversation(protocol, seed, foreign) for seed in range(50)] == [
        codecs.conversation(protocol, seed, foreign) for seed in range(50)
    ]
    assert sessions.plan_of(protocol, 7, foreign) == sessions.plan_of(protocol, 7, foreign)


# --- the fuzzer finds faults -----------------------------------------------------------------------------------------


class DoctoredCodec:
    """The codec of a protocol, with a fault."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        events: list[CodecEvent] = self._codec.receive(message)
        return events


class RaisesKeyError(DoctoredCodec):
    def receive(self, message: str | bytes) -> list[CodecEvent]:
        events = super().receive(message)
        if "sentence" in (read(message) or {}).get("payload", {}).get("output", {}):
            _ = json.loads(message)["payload"]["output"]["sentence"]["text"]
        return events


class DropsFinalsWithTheIdOne(DoctoredCodec):
    def receive(self, message: str | bytes) -> list[CodecEvent]:
        events = super().receive(message)
        is_dropped = '"sentence_id":1,' in str(message)
        return [event for event in events if not (is_dropped and isinstance(event, Result) and event.is_final)]


class IsSlow(DoctoredCodec):
    def receive(self, message: str | bytes) -> list[CodecEvent]:
        if '"heartbeat":true' in str(message):
            began_at = time.thread_time()
            while time.thread_time() < began_at + codecs.MAX_CALL_S * 1.2:
                pass
        return super().receive(message)


class Keeps(DoctoredCodec):
    def __init__(self, codec: Any) -> None:
        super().__init__(codec)
        self.kept: list[str] = []

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        self.kept.append(str(message) * 100)
        return super().receive(message)


def doctored(codec_class: type[DoctoredCodec]) -> Protocol:
    class Service:
        def __init__(self, service: Any) -> None:
            self._service = service

        def codec(self, options: Any, *, task_id: str) -> DoctoredCodec:
            return codec_class(self._service.codec(options, task_id=task_id))

    return PARAFORMER._replace(service=lambda endpoint, name: Service(PARAFORMER.service(endpoint, name)))


@pytest.mark.parametrize(
    ("codec_class", "rule"),
    [
        (RaisesKeyError, "only ASRErrors are raised (KeyError in receive)"),
        (DropsFinalsWithTheIdOne, "well-formed finals arrive"),
        (IsSlow, "a call is fast"),
        (Keeps, "a codec's memory is bounded"),
    ],
)
def test_a_faulty_codec_is_found_and_shrunk(
    codec_class: type[DoctoredCodec],
    rule: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(codecs, "MAX_CALL_S", 0.01)
    monkeypatch.setitem(fuzz.RUNNERS, "codec", (fuzz.run_codec, 200))
    monkeypatch.setitem(fuzz.RUNNERS, "long task", (fuzz.run_long_task, 20))
    protocol = doctored(codec_class)
    status, outcome = outcome_of("--messages 4000 --session-messages 0", capsys, protocol)
    assert status == 1
    finding = next(finding for finding in outcome["findings"] if finding["rule"] == rule)
    steps = from_text(finding["conversation"])
    if codec_class is not Keeps:  # that takes many messages
        assert len(steps) <= 4
        with pytest.raises(BrokenRuleError) as broken:
            codecs.run(protocol, steps)
        assert broken.value.rule == rule
    kept = tmp_path / "conversation.txt"
    kept.write_text(finding["conversation"])
    assert fuzz.main(["--replay", "paraformer", str(kept)]) == 0  # the codec itself is good


def test_an_error_that_is_no_asr_error_is_found_in_a_session(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def place(*_args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("asr_async._session.timeline.ConnectionTimeline.place", place)
    monkeypatch.setitem(fuzz.RUNNERS, "session", (fuzz.run_session, 10))
    status, outcome = outcome_of("--messages 0 --session-messages 100", capsys, PARAFORMER)
    assert status == 1
    assert set(outcome["broken"]) == {"paraformer: only ASRErrors leave a session (ZeroDivisionError in place)"}


@pytest.mark.parametrize("method", ["receive", "audio"])
def test_an_error_of_a_codec_that_a_session_wraps_is_found(
    method: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(f"asr_async.vendors.dashscope.codec.TaskCodec.{method}", fail)
    monkeypatch.setitem(fuzz.RUNNERS, "session", (fuzz.run_session, 5))
    status, outcome = outcome_of("--messages 0 --session-messages 20", capsys, PARAFORMER)
    assert status == 1
    assert "paraformer: only ASRErrors leave a session (ZeroDivisionError in fail)" in outcome["broken"]


def test_a_conversation_is_written_and_read_as_lines() -> None:
    steps = ['{"a": 1}', "<not an act", "two\nlines", "", b"\x00\xff", *Act, "\ufeff{}"]
    assert from_text(to_text(steps)) == steps


def test_a_refused_message_is_no_broken_rule() -> None:
    with pytest.raises(RemoteProtocolError):
        PARAFORMER.codec().receive("{")
    assert codecs.run(PARAFORMER, ["{"]) == 1
