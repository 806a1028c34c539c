"""The conformance kit: the built-in vendors pass it, and broken codecs are refused, each for its own reason."""

from __future__ import annotations

import json
import os
import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from asr_async import (
    FunASR2Pass,
    FunASRNano,
    OpenAI,
    OpenAIRealtime,
    Paraformer,
    QwenRealtime,
    Rasr,
    Result,
    VLLMRealtime,
)
from asr_async.errors import LocalProtocolError
from asr_async.testing import BrokenContractError, Finding, Report, check_vendor
from asr_async.testing.checks import run_checks
from asr_async.testing.mutations import mutations, with_unknown_members
from asr_async.vendors import vendors
from asr_async.vendors.codec import Finished
from asr_async.vendors.openai.codec import OpenAIRealtimeCodec

from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    from asr_async.audio import AudioBytes
    from asr_async.vendors.codec import CodecEvent, Message, TaskDescription
    from asr_async.vendors.options import Options
    from asr_async.vendors.registry import Vendor

OPENAI = vendors()["openai"]


@pytest.mark.parametrize(
    "options",
    [
        Paraformer(),
        QwenRealtime(),
        QwenRealtime(manual_commit=True),
        Rasr(),
        OpenAIRealtime(),
        OpenAIRealtime(model="gpt-live-transcribe"),
        VLLMRealtime(),
        FunASRNano(),
        FunASR2Pass(),
    ],
    ids=lambda options: f"{options.model} {getattr(options, 'manual_commit', '')}",
)
def test_the_built_in_vendors_pass(options: Options) -> None:
    report = run_virtual(lambda: run_checks(vendors()[options.vendor], [options]))
    report.raise_for_failures()
    assert len(report.findings) >= 19


def test_the_kit_runs_an_event_loop_of_its_own() -> None:
    report = check_vendor(vendors()["huawei"], options=[])
    assert str(report) == "vendor 'huawei' passed 1 checks"


# --- broken codecs ---------------------------------------------------------------------------------------------------


class OneMessage(OpenAIRealtimeCodec):
    """Returns a message, not a sequence of messages."""

    def start(self) -> Any:
        return super().start()[0]


class NoOrder(OpenAIRealtimeCodec):
    """Sends audio in every state."""

    def audio(self, frame: AudioBytes) -> Message:
        try:
            return super().audio(frame)
        except LocalProtocolError:
            return b""


class RandomIds(OpenAIRealtimeCodec):
    """Draws its ids."""

    def _next_event_id(self) -> str:
        return str(random.random())


class Fragile(OpenAIRealtimeCodec):
    """Reads a member that a message may lack."""

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        json.loads(message)["type"]
        return super().receive(message)


class Nonsense(OpenAIRealtimeCodec):
    """Returns texts in place of events."""

    def receive(self, message: str | bytes) -> Any:
        return [event.text if isinstance(event, Result) else event for event in super().receive(message)]


class Silent(OpenAIRealtimeCodec):
    """Never reports that the vendor is ready."""

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        super().receive(message)
        return []


class Forgetful(OpenAIRealtimeCodec):
    """Keeps the last word of each final for itself."""

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        return [
            msgspec.structs.replace(event, text=event.text.rpartition(" ")[0])
            if isinstance(event, Result) and event.is_final
            else event
            for event in super().receive(message)
        ]


class Renumbering(OpenAIRealtimeCodec):
    """Gives every final the number of the first segment."""

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        return [
            msgspec.structs.replace(event, segment_id=0) if isinstance(event, Result) else event
            for event in super().receive(message)
        ]


class Endless(OpenAIRealtimeCodec):
    """Returns the ending again for each message behind it."""

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        events = super().receive(message)
        return events or ([Finished()] if self._lifecycle.state.value == "done" else [])


class Strict(OpenAIRealtimeCodec):
    """Refuses members that it does not know."""

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        if "unknown_to_all" in str(message):
            return []
        return super().receive(message)


class Backwards(OpenAIRealtimeCodec):
    """Mixes up start and end."""

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        return [
            msgspec.structs.replace(event, start_ms=event.end_ms + 1) if isinstance(event, Result) else event
            for event in super().receive(message)
        ]


class Copying(OpenAIRealtimeCodec):
    """Sends a memoryview in another way than bytes."""

    def audio(self, frame: AudioBytes) -> Message:
        return super().audio(frame) if isinstance(frame, bytes) else super().audio(frame[:-2])


@pytest.mark.parametrize(
    ("codec", "check", "reason"),
    [
        (OneMessage, "the messages of start()", "start() returned a value of type str, not a sequence of messages"),
        (NoOrder, "the order of steps", "audio() before start() must raise LocalProtocolError"),
        (RandomIds, "the same calls again", "start(), returns something else the second time"),
        (Fragile, "damaged messages", "an empty message raises JSONDecodeError, not an ASRError"),
        (Nonsense, "a session, word for word", "the codec Nonsense|a value of type str, which is no event of a codec"),
        (Silent, "a session, word for word", "DeadlineError: |did not open the task within 5 s"),
        (Forgetful, "a session, word for word", "words are lost: charlie foxtrot india lima"),
        (Renumbering, "segments, times and the ending", "segment 0 has an interim behind its final"),
        (Endless, "messages behind the ending", "Finished follows the ending, for a message that comes late"),
        (Strict, "members that are not known", "a member that is not known changes the events of"),
        (Backwards, "segments, times and the ending", "segment 0 lasts from 1501 to 1500 ms"),
        (Copying, "messages of audio", "audio() returns another message for a memoryview"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_broken_codec_is_refused_with_its_reason(codec: type[OpenAIRealtimeCodec], check: str, reason: str) -> None:
    report = run_virtual(lambda: run_checks(vendor_with(codec), [OpenAIRealtime()]))
    reasons = {finding.check: finding.reason or "" for finding in report.failures}
    assert all(part in reasons.get(check, "") for part in reason.split("|")), reasons
    with pytest.raises(BrokenContractError, match="vendor 'openai' failed"):
        report.raise_for_failures()


def vendor_with(codec: type[OpenAIRealtimeCodec]) -> Vendor:
    """Return OpenAI with another codec."""

    class Service(OpenAI):
        def codec(self, options: Options, *, task_id: str) -> OpenAIRealtimeCodec:
            assert isinstance(options, OpenAIRealtime)
            return codec(options, task_id=task_id)

    return msgspec.structs.replace(
        OPENAI, local_service=lambda address: Service("local", endpoint=f"ws://{address}/v1/realtime"), service=Service
    )


# --- the parts -------------------------------------------------------------------------------------------------------


def test_a_report_names_each_failure() -> None:
    passed = Finding(check="pickling", options="Tiny('t')")
    failed = Finding(check="cancellation", options="Tiny('t')", reason="tasks are left")
    report = Report(vendor="tiny", findings=(passed, failed))
    assert not report.is_passed
    assert report.failures == (failed,)
    assert str(report) == "vendor 'tiny' failed 1 of 2 checks\n  Tiny('t'): cancellation: tasks are left"
    assert str(passed) == "Tiny('t'): pickling: passed"


def test_the_entry_of_a_vendor_is_checked_too() -> None:
    vendor = msgspec.structs.replace(OPENAI, default_model="gpt-9")
    (finding,) = check_vendor(vendor, options=[]).failures
    assert str(finding) == "the entry of the vendor: default_model='gpt-9' is not in the catalogue"


def test_a_key_in_a_repr_is_found() -> None:
    class Talkative(OpenAI):
        def __init__(self, api_key: str | None = None, **arguments: Any) -> None:
            super().__init__(api_key, **arguments)
            self._shown = api_key or os.environ.get("OPENAI_API_KEY")

        def __repr__(self) -> str:
            return f"<Talkative {self._shown}>"

    vendor = msgspec.structs.replace(OPENAI, service=Talkative)
    report = run_virtual(lambda: run_checks(vendor, [OpenAIRealtime()]))
    assert [finding.reason for finding in report.failures] == ["repr() of the service shows the key"]


def test_capabilities_that_the_description_does_not_keep_are_found() -> None:
    class Other(OpenAI):
        def describe(self, options: Options) -> TaskDescription:
            return msgspec.structs.replace(super().describe(options), takes_commits=True, max_frame_bytes=100)

    def other(address: str) -> Other:
        return Other("local", endpoint=f"ws://{address}/v1/realtime")

    vendor = msgspec.structs.replace(OPENAI, local_service=other)
    report = run_virtual(lambda: run_checks(vendor, [OpenAIRealtime()]))
    assert report.failures[0].check == "the description of a task"
    assert report.failures[0].reason == "a frame of 100 ms has 4800 bytes, and the description allows 1 to 100"


def test_options_whose_audio_the_script_does_not_have_are_named() -> None:
    report = run_virtual(lambda: run_checks(OPENAI, [OpenAIRealtime(format="ulaw")]))
    assert "the options declare ulaw: check options that declare pcm" in str(report)


def test_every_member_of_a_message_is_changed() -> None:
    changed = dict(mutations('{"a": {"b": [1]}}'))
    assert {"a message without a", "a message without a.b", "a message with a.b.0=None"} <= changed.keys()
    assert changed["a message without a.b"] == '{"a": {}}'
    assert json.loads(str(with_unknown_members('{"a": {}}')))["a"].keys() == {"unknown_to_all"}
    assert with_unknown_members(b"\x00") == b"\x00"
