"""Lenient reading in every codec: a member that is not needed costs that member; a final's text always arrives."""

from __future__ import annotations

import copy
import json
import logging
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from asr_async import (
    ASRError,
    DashScope,
    FunASR2Pass,
    FunASRNano,
    Gummy,
    Huawei,
    OpenAIRealtime,
    Paraformer,
    QwenRealtime,
    Rasr,
    RemoteProtocolError,
    Result,
    Translation,
    VendorError,
    Word,
    connect,
    transcribe,
)
from asr_async.vendors.codec import Codec, CodecEvent, Failed, MembersLeftOut, Unrecognised, Usage
from asr_async.vendors.dashscope.codec import TaskCodec
from asr_async.vendors.dashscope.realtime import QwenRealtimeCodec
from asr_async.vendors.dashscope.realtime_wire import ServerEvent
from asr_async.vendors.dashscope.wire import ServerMessage as DashScopeMessage
from asr_async.vendors.funasr.realtime import RealtimeCodec as FunASRRealtimeCodec
from asr_async.vendors.funasr.two_pass import TwoPassCodec
from asr_async.vendors.huawei.codec import RasrCodec
from asr_async.vendors.huawei.wire import ServerMessage as HuaweiMessage
from asr_async.vendors.lenient import (
    MAX_DEPTH,
    MAX_VALUES,
    Identifier,
    LenientReader,
    Milliseconds,
    Name,
    Ratio,
    UnreadableError,
    parse_json,
    word_start_ms,
)
from asr_async.vendors.openai.codec import OpenAIRealtimeCodec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from asr_async.vendors.options import Options

Path = tuple[str | int, ...]
Json = dict[str, Any]

MISSING = object()
DEEP = "a thousand arrays"
"""Stands for arrays that are nested a thousand deep, which no JSON writer of Python's can produce."""
LONG_INTEGER = 10**399
TEXT = "good morning"
TASK = "conversation.item.input_audio_transcription"


# --- the protocols, each with a good interim and a good final --------------------------------------------------------


class Protocol:
    """A protocol: its codec, and its messages as plain values."""

    def __init__(
        self,
        options: Options,
        codec: Callable[[], Codec],
        *,
        opening: list[Json],
        interim: Json,
        final: Json,
        others: list[Json],
        end: Json,
        needed: list[Path],
    ) -> None:
        self.options = options
        self.codec = codec
        self.opening = opening
        self.interim = interim
        self.final = final
        self.others = others
        self.end = end
        self.needed = needed
        """The members of the final on which its text depends: the text, what makes it final, and the message's name."""

    def streaming(self) -> Codec:
        """Return a codec whose task is open and whose segment has an interim."""
        codec = self.codec()
        codec.start()
        for message in (*self.opening, self.interim):
            codec.receive(written(message))
        return codec


def task_message(event: str, payload: Json | None = None, **header: Any) -> Json:
    return {"header": {"task_id": "T", "event": event, "attributes": {}, **header}, "payload": payload or {}}


WORDS = [
    {"text": "good", "begin_time": 100, "end_time": 400, "punctuation": "", "fixed": True},
    {"text": "morning", "begin_time": 400, "end_time": 900, "punctuation": ".", "fixed": True},
]


def sentence(text: str, end_ms: int | None, **members: Any) -> Json:
    times = {"begin_time": 100, "end_time": end_ms}
    return {"sentence_id": 1, "text": text, "words": WORDS, "sentence_end": end_ms is not None, **times, **members}


def task_result(text: str, end_ms: int | None) -> Json:
    members = {"heartbeat": False, "sentence_begin": False, "emo_tag": "neutral", "emo_confidence": 0.9}
    output = {"sentence": sentence(text, end_ms, **members)}
    return task_message("result-generated", {"output": output, "usage": {"duration": 3}})


def gummy_result(text: str, end_ms: int | None) -> Json:
    transcription = sentence(text, end_ms, current_time=500, stash=None, vad_pre_end=False, pre_end_end_time=-1)
    translation = sentence("bonjour", end_ms, lang="fr", current_time=500)
    output = {"transcription": transcription, "translations": [translation]}
    return task_message("result-generated", {"output": output, "usage": {"duration": 3}})


def rasr_message(resp_type: str, **members: Any) -> Json:
    return {"resp_type": resp_type, "trace_id": "trace", **members}


def rasr_result(text: str, *, is_final: bool) -> Json:
    words = [
        {"word": "good", "start_time": 100, "end_time": 400},
        {"word": "morning", "start_time": 400, "end_time": 900},
    ]
    result = {"text": text, "score": 0.9, "word_info": words}
    segment = {"start_time": 100, "end_time": 900, "is_final": is_final, "result": result}
    return rasr_message("RESULT", segments=[segment])


def realtime_message(kind: str, **members: Any) -> Json:
    return {"event_id": "event_1", "type": kind, **members}


def utterance(kind: str, **members: Any) -> Json:
    return realtime_message(kind, item_id="item_1", **members)


SESSION = {"id": "sess_1", "object": "realtime.session", "model": "m", "turn_detection": {"type": "server_vad"}}
SENTENCE = ("payload", "output", "sentence")
TRANSCRIPTION = ("payload", "output", "transcription")
SEGMENT = ("segments", 0)
TASK_ERROR: Json = {"error_code": "InternalError", "error_message": "boom"}

PROTOCOLS = {
    "task": Protocol(
        Paraformer(),
        lambda: TaskCodec(Paraformer(), task_id="T"),
        opening=[task_message("task-started")],
        interim=task_result("good", None),
        final=task_result(TEXT, 900),
        others=[task_message("task-started"), task_message("task-failed", **TASK_ERROR)],
        end=task_message("task-finished"),
        needed=[("header", "event"), (*SENTENCE, "text"), (*SENTENCE, "sentence_end"), (*SENTENCE, "heartbeat")],
    ),
    "gummy": Protocol(
        Gummy(translation_target_languages=["fr"], strict=False),
        lambda: TaskCodec(Gummy(translation_target_languages=["fr"], strict=False), task_id="T"),
        opening=[task_message("task-started")],
        interim=gummy_result("good", None),
        final=gummy_result(TEXT, 900),
        others=[task_message("task-failed", **TASK_ERROR)],
        end=task_message("task-finished"),
        needed=[("header", "event"), (*TRANSCRIPTION, "text"), (*TRANSCRIPTION, "sentence_end")],
    ),
    "realtime": Protocol(
        QwenRealtime(),
        lambda: QwenRealtimeCodec(QwenRealtime(), task_id="T"),
        opening=[
            realtime_message("session.created", session=SESSION),
            realtime_message("session.updated", session=SESSION),
            utterance("input_audio_buffer.speech_started", audio_start_ms=100),
        ],
        interim=utterance(f"{TASK}.text", content_index=0, language="en", emotion="neutral", text="good", stash=""),
        final=utterance(f"{TASK}.completed", content_index=0, language="en", emotion="neutral", transcript=TEXT),
        others=[
            realtime_message("session.updated", session=SESSION),
            utterance("input_audio_buffer.speech_started", audio_start_ms=100),
            utterance("input_audio_buffer.speech_stopped", audio_end_ms=900),
            utterance("input_audio_buffer.committed", previous_item_id=None),
            realtime_message("conversation.item.created", item={"id": "item_1", "content": []}),
            realtime_message("error", error={"type": "invalid_request_error", "code": "x", "message": "m"}),
            utterance(f"{TASK}.failed", content_index=0, error={"code": "x", "message": "m", "param": "p"}),
        ],
        end=realtime_message("session.finished"),
        needed=[("type",), ("transcript",)],
    ),
    "rasr": Protocol(
        Rasr(need_word_info=True),
        lambda: RasrCodec(Rasr(need_word_info=True)),
        opening=[rasr_message("START")],
        interim=rasr_result("good", is_final=False),
        final=rasr_result(TEXT, is_final=True),
        others=[
            rasr_message("EVENT", event="VOICE_START", timestamp=100),
            rasr_message("ERROR", error_code="SIS.0305", error_msg="recognition failed."),
        ],
        end=rasr_message("END", reason="NORMAL"),
        needed=[("resp_type",), (*SEGMENT, "is_final"), (*SEGMENT, "result", "text")],
    ),
}


def short_id(value: Any) -> str:
    """Return the id of a parameter, which may be a long text or a long number."""
    return "missing" if value is MISSING else repr(value)[:40]


def written(message: Any) -> str:
    """Return the JSON text of a message."""
    return json.dumps(message).replace(f'"{DEEP}"', "[" * 1_000 + "]" * 1_000)


def changed(message: Json, path: Path, value: Any) -> Json:
    """Return a copy of a message in which one member has another value; with `MISSING`, it has none."""
    message = copy.deepcopy(message)
    parent: Any = message
    for step in path[:-1]:
        parent = parent[step]
    if value is MISSING:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return message


def paths(value: Any, path: Path = ()) -> list[Path]:
    """Return the places of all members and items of a message."""
    if isinstance(value, dict):
        inner = [found for name, member in value.items() for found in paths(member, (*path, name))]
    elif isinstance(value, list):
        inner = [found for index, item in enumerate(value) for found in paths(item, (*path, index))]
    else:
        inner = []
    return [path, *inner] if path else inner


def final_of(events: list[CodecEvent]) -> Result:
    (final,) = [event for event in events if isinstance(event, Result) and event.is_final]
    return final


def left_out_of(events: list[CodecEvent]) -> tuple[str, ...]:
    return next((event.names for event in events if isinstance(event, MembersLeftOut)), ())


# --- single members --------------------------------------------------------------------------------------------------

SENTENCE_NAME = "payload.output.sentence"

FINALS: list[tuple[str, Path, Any, Json, tuple[str, ...]]] = [
    # the value is converted
    ("task", (*SENTENCE, "begin_time"), 100.0, {"start_ms": 100}, ()),
    ("task", (*SENTENCE, "begin_time"), 100.5, {"start_ms": 100}, ()),
    ("task", (*SENTENCE, "begin_time"), "100", {"start_ms": 100}, ()),
    ("task", (*SENTENCE, "end_time"), "900.0", {"end_ms": 900}, ()),
    ("task", (*SENTENCE, "sentence_end"), "true", {"is_final": True}, ()),
    ("task", (*SENTENCE, "sentence_end"), 1, {"is_final": True}, ()),
    ("task", (*SENTENCE, "sentence_id"), "1", {"segment_id": 0}, ()),
    ("task", (*SENTENCE, "emo_confidence"), "0.9", {"emotion_confidence": 0.9}, ()),
    ("task", (*SENTENCE, "text"), 500, {"text": "500"}, ()),
    ("task", (*SENTENCE, "text"), "a\ud800b", {"text": "a\N{REPLACEMENT CHARACTER}b"}, ()),
    ("rasr", (*SEGMENT, "start_time"), 100.0, {"start_ms": 100}, ()),
    ("rasr", (*SEGMENT, "result", "score"), "0.9", {"confidence": 0.9}, ()),
    ("rasr", (*SEGMENT, "is_final"), "true", {"is_final": True}, ()),
    ("realtime", ("item_id",), 5, {"text": TEXT}, ()),
    # the value is left out
    ("task", (*SENTENCE, "begin_time"), [100], {"start_ms": 100, "end_ms": 900}, (f"{SENTENCE_NAME}.begin_time",)),
    ("task", (*SENTENCE, "begin_time"), -(10**9) - 1, {"start_ms": 100}, (f"{SENTENCE_NAME}.begin_time",)),
    ("task", (*SENTENCE, "begin_time"), LONG_INTEGER, {"start_ms": 100}, (f"{SENTENCE_NAME}.begin_time",)),
    ("task", (*SENTENCE, "begin_time"), True, {"start_ms": 100}, (f"{SENTENCE_NAME}.begin_time",)),
    ("task", (*SENTENCE, "end_time"), LONG_INTEGER, {"end_ms": 900}, (f"{SENTENCE_NAME}.end_time",)),
    ("task", (*SENTENCE, "end_time"), math.nan, {"end_ms": 900}, (f"{SENTENCE_NAME}.end_time",)),
    ("task", (*SENTENCE, "sentence_id"), "one", {"segment_id": 0}, (f"{SENTENCE_NAME}.sentence_id",)),
    (
        "task",
        (*SENTENCE, "emo_confidence"),
        math.inf,
        {"emotion_confidence": None},
        (f"{SENTENCE_NAME}.emo_confidence",),
    ),
    ("task", (*SENTENCE, "emo_confidence"), 7.5, {"emotion_confidence": None}, (f"{SENTENCE_NAME}.emo_confidence",)),
    ("task", (*SENTENCE, "emo_tag"), {}, {"emotion": None}, (f"{SENTENCE_NAME}.emo_tag",)),
    ("task", (*SENTENCE, "words"), "good", {"words": ()}, (f"{SENTENCE_NAME}.words",)),
    ("task", (*SENTENCE, "sentence_end"), [], {"is_final": True}, (f"{SENTENCE_NAME}.sentence_end",)),
    ("task", ("header", "task_id"), 5, {"text": TEXT}, ("header.task_id",)),
    ("task", ("header", "task_id"), None, {"text": TEXT}, ("header.task_id",)),
    ("task", ("header", "attributes"), "none", {"text": TEXT}, ("header.attributes",)),
    ("task", ("payload", "usage"), 3, {"text": TEXT}, ("payload.usage",)),
    ("gummy", (*TRANSCRIPTION, "sentence_id"), None, {"segment_id": 0}, ()),
    ("gummy", (*TRANSCRIPTION, "sentence_id"), MISSING, {"segment_id": 0}, ()),
    ("gummy", (*TRANSCRIPTION, "sentence_id"), [], {"segment_id": 0}, ("payload.output.transcription.sentence_id",)),
    ("gummy", (*TRANSCRIPTION, "stash"), "x", {"text": TEXT}, ("payload.output.transcription.stash",)),
    ("realtime", ("item_id",), [], {"segment_id": 0, "start_ms": 100}, ("item_id",)),
    ("realtime", ("language",), {}, {"language": None}, ("language",)),
    ("rasr", (*SEGMENT, "start_time"), "soon", {"start_ms": 100, "segment_id": 0}, ("segments[].start_time",)),
    ("rasr", (*SEGMENT, "end_time"), LONG_INTEGER, {"end_ms": 900}, ("segments[].end_time",)),
    ("rasr", (*SEGMENT, "result", "score"), -0.1, {"confidence": None}, ("segments[].result.score",)),
    ("rasr", (*SEGMENT, "result", "word_info"), {}, {"words": ()}, ("segments[].result.word_info",)),
    ("rasr", ("trace_id",), [], {"request_id": "trace"}, ("trace_id",)),
    ("rasr", ("trace_id",), 5, {"request_id": "trace"}, ("trace_id",)),
    # a time that the vendor does not know
    ("task", (*SENTENCE, "begin_time"), -1, {"start_ms": 100}, ()),
    ("task", (*SENTENCE, "end_time"), -1, {"end_ms": 900}, ()),
    ("task", (*SENTENCE, "end_time"), 0, {"end_ms": 900}, ()),
    ("rasr", (*SEGMENT, "start_time"), -1, {"start_ms": 100}, ()),
    ("rasr", (*SEGMENT, "end_time"), -1, {"end_ms": 900}, ()),
    ("rasr", (*SEGMENT, "end_time"), -5, {"end_ms": 900}, ()),
    # jitter, before the start of the audio
    ("task", (*SENTENCE, "begin_time"), -40, {"start_ms": -40}, ()),
    ("rasr", (*SEGMENT, "start_time"), -40, {"start_ms": -40}, ()),
]


@pytest.mark.parametrize(("protocol", "path", "value", "expected", "left_out"), FINALS, ids=short_id)
def test_a_final_arrives_whatever_one_of_its_members_holds(
    protocol: str, path: Path, value: Any, expected: Json, left_out: tuple[str, ...]
) -> None:
    codec = PROTOCOLS[protocol].streaming()
    message = written(changed(PROTOCOLS[protocol].final, path, value))
    events = codec.receive(message)
    final = final_of(events)
    assert {name: getattr(final, name) for name in expected} == expected
    assert path[-1] == "text" or final.text == TEXT
    assert final.raw == message
    assert left_out_of(events) == left_out


@pytest.mark.parametrize(
    "value", [DEEP, LONG_INTEGER, math.nan, -math.inf, ["x" * 500_000, DEEP], [{}], {"": None}, "\ud83d"], ids=short_id
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_unknown_member_may_hold_anything(protocol: str, value: Any) -> None:
    final = final_of(PROTOCOLS[protocol].streaming().receive(written(PROTOCOLS[protocol].final | {"new": value})))
    assert final.text == TEXT


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (None, None),
        ("good", None),
        ({"text": None, "begin_time": 100, "end_time": 400}, Word(text="", start_ms=100, end_ms=400)),
        ({"text": "good", "begin_time": {}, "end_time": "400"}, Word(text="good", start_ms=100, end_ms=400)),
        ({"text": "good", "fixed": "true", "end_time": -1}, Word(text="good", start_ms=100, end_ms=100, is_fixed=True)),
        ({"text": "good", "punctuation": []}, Word(text="good", start_ms=100, end_ms=100)),
        (
            {"text": "good", "begin_time": -1, "end_time": -1},
            Word(text="good", start_ms=100, end_ms=100),
        ),
    ],
)
def test_a_word_that_cannot_be_used_costs_the_word_or_its_member(word: Any, expected: Word | None) -> None:
    message = changed(PROTOCOLS["task"].final, (*SENTENCE, "words", 0), word)
    final = final_of(PROTOCOLS["task"].streaming().receive(written(message)))
    assert final.words[:-1] == (() if expected is None else (expected,))
    assert final.words[-1] == Word(text="morning", start_ms=400, end_ms=900, punctuation=".", is_fixed=True)


def test_a_word_of_huawei_degrades_likewise() -> None:
    message = changed(PROTOCOLS["rasr"].final, (*SEGMENT, "result", "word_info", 0), {"word": 7, "start_time": "100"})
    final = final_of(PROTOCOLS["rasr"].streaming().receive(written(message)))
    assert final.words[0] == Word(text="7", start_ms=100, end_ms=100)


def test_a_segment_of_huawei_that_is_none_costs_only_itself() -> None:
    message = PROTOCOLS["rasr"].final | {"segments": [None, 5, *PROTOCOLS["rasr"].final["segments"]]}
    events = PROTOCOLS["rasr"].streaming().receive(written(message))
    assert final_of(events).text == TEXT
    assert left_out_of(events) == ("segments[]",)


@pytest.mark.parametrize("value", [[], "one", LONG_INTEGER, None], ids=short_id)
def test_a_translation_without_a_usable_id_belongs_to_the_open_sentence(value: Any) -> None:
    message = changed(PROTOCOLS["gummy"].final, ("payload", "output", "translations", 0, "sentence_id"), value)
    final = final_of(PROTOCOLS["gummy"].streaming().receive(written(message)))
    translation = final.translations["fr"]
    assert isinstance(translation, Translation)
    assert (translation.text, translation.is_final) == ("bonjour", True)


def test_a_final_of_gummy_without_an_id_is_a_segment_of_its_own_if_none_is_open() -> None:
    codec = PROTOCOLS["gummy"].streaming()
    codec.receive(written(PROTOCOLS["gummy"].final))
    second = sentence("how are you", 1_900)
    del second["sentence_id"]
    events = codec.receive(written(task_message("result-generated", {"output": {"transcription": second}})))
    assert [(e.segment_id, e.text) for e in events if isinstance(e, Result)] == [(1, "how are you")]
    codec.finish()
    final = final_of(codec.receive(written(PROTOCOLS["gummy"].end)))
    assert (final.segment_id, final.text) == (1, "how are you")


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("3", [3.0]), (3.5, [3.5]), (LONG_INTEGER, []), (-1, []), (math.nan, []), ({}, [])],
    ids=short_id,
)
def test_billed_seconds_are_converted_or_left_out(duration: Any, seconds: list[float]) -> None:
    message = changed(PROTOCOLS["task"].final, ("payload", "usage", "duration"), duration)
    events = PROTOCOLS["task"].streaming().receive(written(message))
    assert [event.seconds for event in events if isinstance(event, Usage)] == seconds
    assert final_of(events).text == TEXT


def test_a_numeric_error_code_of_the_realtime_protocol_is_an_error_of_the_server() -> None:
    message = realtime_message("error", error={"type": "server_error", "code": 500, "message": "overloaded"})
    (failed,) = PROTOCOLS["realtime"].streaming().receive(written(message))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, VendorError)
    assert (failed.error.code, failed.error.retryable) == ("500", True)


@pytest.mark.parametrize("session", [7, None, [], {"id": 5}, {"id": None}, {"id": "sess_1", "turn_detection": DEEP}])
def test_a_realtime_session_starts_whatever_its_description_holds(session: Any) -> None:
    codec = QwenRealtimeCodec(QwenRealtime(), task_id="T")
    codec.start()
    codec.receive(written(realtime_message("session.created", session=SESSION)))
    events = codec.receive(written(realtime_message("session.updated", session=session)))
    assert [type(event).__name__ for event in events if not isinstance(event, MembersLeftOut)] == ["Started"]


@pytest.mark.parametrize(
    ("protocol", "message", "name"),
    [
        ("realtime", {"type": "response.created", "x": DEEP}, "response.created"),
        ("realtime", {"type": "response.created", "x": math.nan}, "response.created"),
        ("realtime", {"x": DEEP}, "message without a type"),
        ("task", {"header": {"event": "new", "x": DEEP}}, "new"),
        ("task", {"header": {}, "x": DEEP}, "message without an event"),
        ("task", {"header": {"event": "result-generated"}, "payload": 5}, "result-generated without a sentence"),
        ("rasr", {"resp_type": "NEW", "x": DEEP}, "NEW"),
        ("rasr", {"segments": [1]}, "message without a resp_type"),
        ("rasr", {"resp_type": "RESULT", "segments": 1}, "RESULT without segments"),
    ],
)
def test_an_unknown_message_is_reported_whatever_its_members_hold(protocol: str, message: Json, name: str) -> None:
    events = PROTOCOLS[protocol].streaming().receive(written(message))
    assert [event.name for event in events if isinstance(event, Unrecognised)] == [name]
    assert all(isinstance(event, Unrecognised | MembersLeftOut) for event in events)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("task", '{"header": 5}'),
        ("task", '{"header": {"event": 5}}'),
        ("task", '{"header": {"event": null}}'),
        ("realtime", '{"type": [], "x": NaN}'),
        ("rasr", '{"resp_type": {}}'),
        *((name, "[" * 2_000) for name in PROTOCOLS),
        *((name, "[" * 2_000 + "]" * 2_000) for name in PROTOCOLS),
        *((name, "9" * 5_000) for name in PROTOCOLS),
        *((name, "NaN") for name in PROTOCOLS),
        *((name, '{"type": "error"') for name in PROTOCOLS),
    ],
    ids=short_id,
)
def test_what_cannot_be_read_at_all_is_a_remote_protocol_error(protocol: str, message: str) -> None:
    with pytest.raises(RemoteProtocolError, match="unreadable message from ") as caught:
        PROTOCOLS[protocol].streaming().receive(message)
    assert repr(message[:80]) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- messages in another envelope ------------------------------------------------------------------------------------


OTHER_CODECS: dict[str, tuple[Callable[[], Codec], list[Json], Json]] = {
    "openai": (
        lambda: OpenAIRealtimeCodec(OpenAIRealtime(), task_id="T"),
        [realtime_message("session.created", session=SESSION), realtime_message("session.updated", session=SESSION)],
        utterance(f"{TASK}.completed", transcript=TEXT),
    ),
    "funasr": (
        lambda: FunASRRealtimeCodec(FunASRNano()),
        [{"event": "started"}],
        {"sentences": [{"text": TEXT, "start": 100, "end": 900}], "partial": "", "is_final": False},
    ),
    "2pass": (
        lambda: TwoPassCodec(FunASR2Pass(), task_id="T"),
        [],
        {"mode": "2pass-offline", "text": TEXT, "timestamp": "[[100, 900]]"},
    ),
}


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(str.encode, id="binary"),
        pytest.param(lambda text: f"\ufeff{text}", id="a byte order mark"),
        pytest.param(lambda text: f"\ufeff{text}".encode(), id="both"),
    ],
)
@pytest.mark.parametrize("name", [*PROTOCOLS, *OTHER_CODECS])
def test_a_binary_message_or_one_with_a_byte_order_mark_is_read_like_another(
    name: str, wrap: Callable[[str], str | bytes]
) -> None:
    if name in PROTOCOLS:
        protocol = PROTOCOLS[name]
        make, opening, final = protocol.codec, [*protocol.opening, protocol.interim], protocol.final
    else:
        make, opening, final = OTHER_CODECS[name]
    codec = make()
    codec.start()
    results: list[Result] = []
    for message in (*opening, final):
        wrapped = wrap(written(message))
        results += [event for event in codec.receive(wrapped) if isinstance(event, Result)]
    assert (results[-1].text, results[-1].is_final) == (TEXT, True)
    assert TEXT in results[-1].raw
    assert results[-1].raw.startswith(("{", "\ufeff{"))


def test_a_binary_message_that_is_no_message_is_reported() -> None:
    for binary in (b"\x00\xff", b"{broken", b"[]"):
        (unknown,) = PROTOCOLS["task"].streaming().receive(binary)
        assert unknown == Unrecognised("binary message", f"{len(binary)} bytes")


# --- messages of any structure ---------------------------------------------------------------------------------------

ANY_VALUE = st.sampled_from(
    [
        *(MISSING, None, True, False, 0, -1, 7, 1.5, 1e300, math.nan, math.inf, LONG_INTEGER, 10**4_000, DEEP),
        *("", "3", "-1", "true", "x", "9" * 400, "\ud800", [], [None], [[]], ["x"], {}, {"text": DEEP}, {"id": []}),
    ]
)
FUZZ = settings(
    max_examples=250,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def is_needed(protocol: Protocol, path: Path, value: Any) -> bool:
    """Return True if the text of the final may depend on this member."""
    is_id = path in {("header", "task_id"), ("trace_id",)}
    if is_id and isinstance(value, str) and value:  # then it is a message of another task
        return True
    return any(needed[: len(path)] == path for needed in protocol.needed)


@pytest.mark.parametrize("name", PROTOCOLS)
@FUZZ
@given(data=st.data())
def test_a_changed_member_of_a_final_never_costs_its_text(name: str, data: st.DataObject) -> None:
    protocol = PROTOCOLS[name]
    path, value = data.draw(st.sampled_from(paths(protocol.final))), data.draw(ANY_VALUE)
    codec = protocol.streaming()
    events: list[CodecEvent] = []
    try:
        for message in (changed(protocol.final, path, value), protocol.end):
            if message is protocol.end:
                codec.finish()
            events += codec.receive(written(message))
    except ASRError:
        assert is_needed(protocol, path, value)
    else:
        texts = [event.text for event in events if isinstance(event, Result) and event.is_final]
        assert TEXT in texts or is_needed(protocol, path, value)


@pytest.mark.parametrize("name", PROTOCOLS)
@FUZZ
@given(data=st.data())
def test_a_changed_member_of_another_message_never_costs_the_next_final(name: str, data: st.DataObject) -> None:
    protocol = PROTOCOLS[name]
    original = data.draw(st.sampled_from([*protocol.opening, protocol.interim, *protocol.others, protocol.end]))
    path, value = data.draw(st.sampled_from(paths(original))), data.draw(ANY_VALUE)
    codec = protocol.streaming()
    try:
        events = codec.receive(written(changed(original, path, value)))
        if any(isinstance(event, Failed) for event in events):
            return
        events = codec.receive(written(protocol.final))
    except ASRError as error:
        is_name = path[0] in {"header", "type", "resp_type"}
        assert is_name if str(error).startswith("unreadable") else "the vendor reported" in str(error)
    else:
        ends_early = original is protocol.interim and is_needed(protocol, path, value)  # a final that is repeated
        assert TEXT in [event.text for event in events if isinstance(event, Result)] or ends_early


# --- the reader ------------------------------------------------------------------------------------------------------


class Item(msgspec.Struct, kw_only=True):
    number: int
    at_ms: Milliseconds | None = None


class Message(msgspec.Struct, kw_only=True):
    name: Name = ""
    id: Identifier = ""
    ratio: Ratio | None = None
    is_on: bool = False
    count: int | None = None
    items: tuple[Item, ...] | None = None
    inner: Message | None = None
    rest: dict[str, Any] | None = None
    anything: Any = None


def read(message: Json) -> tuple[Message, tuple[str, ...]]:
    reader: LenientReader[Message] = LenientReader(Message)
    return reader.read(json.dumps(message))


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ({"count": "3"}, Message(count=3)),
        ({"count": " -3 "}, Message(count=-3)),
        ({"count": 3.9}, Message(count=3)),
        ({"count": "1e2"}, Message(count=100)),
        ({"ratio": "0.5"}, Message(ratio=0.5)),
        ({"ratio": 1}, Message(ratio=1.0)),
        ({"is_on": "True"}, Message(is_on=True)),
        ({"is_on": 1}, Message(is_on=True)),
        ({"is_on": "no"}, Message()),
        ({"rest": {"a": [1]}}, Message(rest={"a": [1]})),
        ({"anything": [1, "a"]}, Message(anything=[1, "a"])),
        (
            {"items": [{"number": 1}, {"number": "2", "at_ms": "5"}]},
            Message(items=(Item(number=1), Item(number=2, at_ms=5))),
        ),
        ({"inner": {"inner": {"count": "1"}}}, Message(inner=Message(inner=Message(count=1)))),
    ],
)
def test_a_value_of_another_type_is_converted_where_its_meaning_is_plain(member: Json, expected: Message) -> None:
    message, left_out = read(member)
    assert message == expected
    assert left_out == ()


@pytest.mark.parametrize(
    ("member", "left_out"),
    [
        ({"id": 5}, "id"),
        ({"ratio": 1.01}, "ratio"),
        ({"ratio": "nan"}, "ratio"),
        ({"ratio": True}, "ratio"),
        ({"is_on": 2}, "is_on"),
        ({"is_on": None}, "is_on"),
        ({"is_on": "x" * 100_000}, "is_on"),
        ({"count": "0x10"}, "count"),
        ({"count": "1_000"}, "count"),
        ({"count": "９"}, "count"),
        ({"count": ""}, "count"),
        ({"count": "9" * 5_000}, "count"),
        ({"count": 1e300}, "count"),
        ({"count": LONG_INTEGER}, "count"),
        ({"rest": []}, "rest"),
        ({"inner": []}, "inner"),
    ],
    ids=short_id,
)
def test_a_value_that_does_not_fit_is_left_out_and_named(member: Json, left_out: str) -> None:
    assert read(member) == (Message(), (left_out,))


def test_an_item_without_its_required_member_is_left_out_and_named_once() -> None:
    message, left_out = read({"items": [{"at_ms": 1}, {"number": 2, "at_ms": -(10**9) - 1}, {"number": []}, 3]})
    assert message == Message(items=(Item(number=2),))
    assert left_out == ("items[]", "items[].at_ms")


@pytest.mark.parametrize("name", [5, None, [], {}])
def test_a_message_whose_name_is_no_text_is_unreadable(name: Any) -> None:
    with pytest.raises(UnreadableError):
        read({"name": name})


def test_depth_is_bounded_and_what_lies_deeper_is_null() -> None:
    allowed = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_json(allowed) == json.loads(allowed)
    value = parse_json('{"a": "]]}", "deep": ' + "[" * 5_000 + '"}"' + "]" * 5_000 + ', "b": [1]}')
    assert (value["a"], value["b"]) == ("]]}", [1])
    depth = 0
    inner = value["deep"]
    while inner is not None:
        (inner,) = inner
        depth += 1
    assert depth == MAX_DEPTH - 1


@pytest.mark.parametrize(
    "text", ["[" * 5_000, "]" * 5_000, "[" * 5_000 + "}" * 4_000, "{}" * 40, '"', "", "01"], ids=short_id
)
def test_a_text_that_is_no_json_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableError):
        parse_json(text)


def test_the_number_of_values_is_bounded() -> None:
    assert len(parse_json("[" + "1," * (MAX_VALUES - 1) + "1]")) == MAX_VALUES
    with pytest.raises(UnreadableError, match="more than 100000 values"):
        parse_json("[" + "1," * MAX_VALUES + "1]")


def test_the_length_of_a_text_is_not_bounded() -> None:
    message = changed(PROTOCOLS["task"].final, (*SENTENCE, "emo_confidence"), "x" * 2_000_000)
    assert final_of(PROTOCOLS["task"].streaming().receive(written(message))).text == TEXT


@pytest.mark.parametrize(
    "text", ["9" * 400, "9" * 10_000, "0." + "1" * 100_000, "1" + "0" * 10_000 + ".5"], ids=short_id
)
def test_digits_are_bounded(text: str) -> None:
    assert math.isnan(parse_json(text))


@pytest.mark.parametrize("message_type", [DashScopeMessage, HuaweiMessage, ServerEvent])
def test_good_messages_read_leniently_equal_those_read_strictly(message_type: Any) -> None:
    decoder = msgspec.json.Decoder(message_type)
    reader: LenientReader[Any] = LenientReader(message_type)
    compared = 0
    for protocol in PROTOCOLS.values():
        for message in (*protocol.opening, protocol.interim, protocol.final, *protocol.others, protocol.end):
            try:
                strict = decoder.decode(written(message))
            except msgspec.ValidationError:  # a message of another protocol
                continue
            assert reader.read(written(message)) == (strict, ())
            compared += 1
    assert compared >= 6


# --- sessions --------------------------------------------------------------------------------------------------------


async def play(connection: ServerConnection, protocol: Protocol, message: str) -> None:
    """Play the server of one task: a given message behind the interim, and the end behind the client's."""
    start = json.loads(await connection.recv())
    task_id = start.get("header", {}).get("task_id", "")

    async def send(text: str) -> None:
        await connection.send(text.replace('"task_id": "T"', f'"task_id": "{task_id}"'))

    for opening in (*protocol.opening, protocol.interim):
        await send(written(opening))
    await send(message)
    async for received in connection:
        name = json.loads(received) if isinstance(received, str) else {}
        if "finish" in str(name.get("type", "")) or name.get("command") == "END" or "header" in name:
            await send(written(protocol.end))


@asynccontextmanager
async def service_that_sends(protocol: Protocol, message: str) -> AsyncIterator[DashScope | Huawei]:
    async def script(connection: ServerConnection) -> None:
        await play(connection, protocol, message)

    async with serve(script, "127.0.0.1", 0, compression=None, close_timeout=1) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        if isinstance(protocol.options, Rasr):
            yield Huawei(ak="a", sk="s", project_id="p", region="r", endpoint=url)
        else:
            yield DashScope("key", endpoint=f"{url}/")


SPOILT = [
    ("task", (*SENTENCE, "begin_time"), {}),
    ("task", ("payload", "usage", "duration"), "3"),
    ("task", ("header", "attributes"), DEEP),
    ("gummy", (*TRANSCRIPTION, "sentence_id"), LONG_INTEGER),
    ("gummy", (*TRANSCRIPTION, "words", 0), None),
    ("realtime", ("item_id",), DEEP),
    ("realtime", ("content_index",), LONG_INTEGER),
    ("rasr", (*SEGMENT, "start_time"), 100.0),
    ("rasr", (*SEGMENT, "end_time"), LONG_INTEGER),
]


@pytest.mark.parametrize(("name", "path", "value"), SPOILT, ids=short_id)
async def test_a_session_delivers_a_final_with_a_member_that_cannot_be_used(name: str, path: Path, value: Any) -> None:
    protocol = PROTOCOLS[name]
    message = written(changed(protocol.final, path, value))
    async with service_that_sends(protocol, message) as service:
        transcript = await transcribe([bytes(3_200)], protocol.options, service)
    assert [result.text for result in transcript.results] == [TEXT]


async def test_the_names_of_the_left_out_members_are_logged_once_without_their_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    protocol = PROTOCOLS["task"]
    spoilt = changed(protocol.interim, (*SENTENCE, "emo_tag"), ["a secret"])
    spoilt = changed(spoilt, (*SENTENCE, "begin_time"), "soon")
    with caplog.at_level(logging.INFO, "asr_async"):
        async with service_that_sends(protocol, written(protocol.final)) as service:
            protocol.opening.append(spoilt)
            protocol.opening.append(spoilt)
            try:
                await transcribe([bytes(3_200)], protocol.options, service)
            finally:
                del protocol.opening[-2:]
    lines = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].endswith(": payload.output.sentence.begin_time, payload.output.sentence.emo_tag")
    assert "a secret" not in caplog.text
    assert "good" not in caplog.text


@pytest.mark.parametrize("error_class", [ValueError, RecursionError, OverflowError])
@pytest.mark.parametrize("fails_at", ["task-started", "result-generated"])
async def test_an_exception_in_a_codec_is_one_bare_error_of_the_session(
    monkeypatch: pytest.MonkeyPatch, error_class: type[Exception], fails_at: str
) -> None:
    receive = TaskCodec.receive

    def fail(codec: TaskCodec, message: str | bytes) -> list[CodecEvent]:
        if fails_at in str(message):
            raise error_class("no\nreason")
        return receive(codec, message)

    monkeypatch.setattr(TaskCodec, "receive", fail)
    protocol = PROTOCOLS["task"]
    async with service_that_sends(protocol, written(protocol.final)) as service:
        with pytest.raises(RemoteProtocolError) as caught:
            async with connect(protocol.options, service) as session:
                async for _ in session.stream([bytes(3_200)], pace=None):
                    pass
    assert caught.value.message == (
        "a message could not be handled by the codec TaskCodec of vendor 'dashscope': "
        f"{error_class.__name__}: no reason"
    )
    assert type(caught.value.__cause__) is error_class


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "expected"),
    [
        (100, 300, 100),
        (-1, 300, 0),
        (-1, 5_000, None),
        (-1, -1, None),
        (-1, None, None),
        (None, 300, None),
        (-50, 9, -50),
    ],
)
def test_a_word_at_the_start_of_the_audio_may_begin_at_minus_one(
    start_ms: int | None, end_ms: int | None, expected: int | None
) -> None:
    assert word_start_ms(start_ms, end_ms) == expected
