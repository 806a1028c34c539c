"""The realtime codec, by values: the messages for each option, and the events of the server's messages."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from asr_async import (
    ASRError,
    AuthenticationError,
    LocalProtocolError,
    Paraformer,
    QwenRealtime,
    RateLimitedError,
    RemoteProtocolError,
    Result,
    SpeechEnded,
    SpeechEnding,
    SpeechStarted,
    VendorError,
)
from asr_async.vendors.codec import (
    CancellingCodec,
    CodecEvent,
    CommittingCodec,
    ContextCodec,
    Failed,
    Finished,
    Message,
    Started,
    Unheard,
    Unrecognised,
)
from asr_async.vendors.dashscope.codec import TaskCodec
from asr_async.vendors.dashscope.models import TaskOptions
from asr_async.vendors.dashscope.realtime import QwenRealtimeCodec, describe_session
from asr_async.vendors.segments import MAX_REMEMBERED

TRANSCRIPTION = "conversation.item.input_audio_transcription"
HALF_SECOND = memoryview(bytes(16_000))
VAD_DEFAULTS = {
    "modalities": ["text"],
    "input_audio_format": "pcm",
    "sample_rate": 16_000,
    "input_audio_transcription": {},
    "turn_detection": {"type": "server_vad"},
}


def server(kind: str, **members: Any) -> str:
    return json.dumps({"event_id": "event_x", "type": kind, **members})


def error(kind: str = "invalid_request_error", **members: Any) -> str:
    return server("error", error={"type": kind, "code": "invalid_value", "message": "Not so.", **members})


def interim(text: str, stash: str = "", item: str | None = "item_1", **members: Any) -> str:
    return server(f"{TRANSCRIPTION}.text", item_id=item, content_index=0, text=text, stash=stash, **members)


def completed(transcript: str, item: str | None = "item_1", **members: Any) -> str:
    return server(f"{TRANSCRIPTION}.completed", item_id=item, content_index=0, transcript=transcript, **members)


def speech_started(at_ms: int, item: str = "item_1") -> str:
    return server("input_audio_buffer.speech_started", item_id=item, audio_start_ms=at_ms)


def speech_stopped(at_ms: int, item: str = "item_1") -> str:
    return server("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=at_ms)


def committed(item: str = "item_1") -> str:
    return server("input_audio_buffer.committed", item_id=item, previous_item_id=None)


CREATED = server("session.created", session={"id": "sess_1", "object": "realtime.session"})
UPDATED = server("session.updated", session={"id": "sess_1", "object": "realtime.session"})
FINISHED = server("session.finished")


def decoded(message: Message) -> Any:
    assert isinstance(message, str)
    return json.loads(message)


def kinds(messages: list[Message]) -> list[str]:
    return [decoded(message)["type"] for message in messages]


def streaming(**options: Any) -> QwenRealtimeCodec:
    codec = QwenRealtimeCodec(QwenRealtime(**options), task_id="T")
    codec.start()
    codec.receive(CREATED)
    assert codec.receive(UPDATED) == [Started("sess_1")]
    return codec


def received(codec: QwenRealtimeCodec, *messages: str) -> list[CodecEvent]:
    return [event for message in messages for event in codec.receive(message)]


def results(events: list[CodecEvent]) -> list[tuple[int, str, bool, int, int]]:
    return [
        (event.segment_id, event.text, event.is_final, event.start_ms, event.end_ms)
        for event in events
        if isinstance(event, Result)
    ]


# --- sending ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {}),
        (
            {"format": "opus", "sample_rate": 8_000, "language": "zh", "corpus_text": "Bulge Bracket"},
            {
                "input_audio_format": "opus",
                "sample_rate": 8_000,
                "input_audio_transcription": {"language": "zh", "corpus": {"text": "Bulge Bracket"}},
            },
        ),
        (
            {"vad_threshold": 0.0, "prefix_padding_ms": 300, "silence_duration_ms": 400},
            {
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.0,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 400,
                }
            },
        ),
        ({"manual_commit": True}, {"turn_detection": None}),
    ],
    ids=["defaults", "audio and words", "server VAD", "manual"],
)
def test_the_session_is_configured_with_exactly_the_options(options: dict[str, Any], changes: dict[str, Any]) -> None:
    (message,) = QwenRealtimeCodec(QwenRealtime(**options), task_id="T").start()
    assert decoded(message) == {"type": "session.update", "event_id": "T_1", "session": VAD_DEFAULTS | changes}


def test_extra_parameters_are_members_of_the_session_and_replace_others() -> None:
    options = QwenRealtime(extra_parameters={"modalities": ["text", "audio"], "enable_words": True})
    (message,) = QwenRealtimeCodec(options, task_id="T").start()
    changes = {"modalities": ["text", "audio"], "enable_words": True}
    assert decoded(message)["session"] == VAD_DEFAULTS | changes


def test_audio_is_base64_text_and_session_finish_ends_the_session() -> None:
    codec = streaming()
    assert decoded(codec.audio(memoryview(b"\x00\xff\x10"))) == {
        "type": "input_audio_buffer.append",
        "event_id": "T_2",
        "audio": base64.b64encode(b"\x00\xff\x10").decode(),
    }
    assert [decoded(message) for message in codec.finish()] == [{"type": "session.finish", "event_id": "T_3"}]


def test_in_manual_mode_audio_is_committed_once() -> None:
    codec = streaming(manual_commit=True)
    assert codec.commit() == []
    codec.audio(HALF_SECOND)
    assert kinds(codec.commit()) == ["input_audio_buffer.commit"]
    assert codec.commit() == []


@pytest.mark.parametrize("sent", [True, False])
def test_in_manual_mode_finish_commits_the_rest(sent: bool) -> None:
    codec = streaming(manual_commit=True)
    if sent:
        codec.audio(HALF_SECOND)
    assert kinds(codec.finish()) == ["input_audio_buffer.commit"] * sent + ["session.finish"]


def test_the_options_decide_whether_the_caller_commits() -> None:
    assert describe_session(QwenRealtime(manual_commit=True)).takes_commits
    assert not describe_session(QwenRealtime()).takes_commits
    assert isinstance(streaming(), CommittingCodec)
    options: TaskOptions = Paraformer()
    assert not isinstance(TaskCodec(options, task_id="T"), CommittingCodec)


def test_there_is_no_cancel_message_and_steps_out_of_order_are_refused() -> None:
    codec = QwenRealtimeCodec(QwenRealtime(), task_id="T")
    with pytest.raises(LocalProtocolError, match="cannot audio while the task is idle"):
        codec.audio(HALF_SECOND)
    codec.start()
    with pytest.raises(LocalProtocolError, match="cannot commit while the task is starting"):
        codec.commit()
    assert not isinstance(codec, CancellingCodec)
    assert repr(codec) == "<QwenRealtimeCodec qwen3-asr-flash-realtime T starting>"


def test_a_piece_of_audio_is_limited_by_the_size_of_a_message() -> None:
    description = describe_session(QwenRealtime())
    smallest, largest = description.min_frame_bytes, description.max_frame_bytes
    assert (smallest, len(base64.b64encode(bytes(largest)))) == (1, 15 * 1024 * 1024)


# --- start and end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("created_first", [True, False])
def test_the_session_starts_when_the_server_accepts_our_settings_in_either_order(created_first: bool) -> None:
    codec = QwenRealtimeCodec(QwenRealtime(), task_id="T")
    assert codec.request_id == ""
    if created_first:
        assert codec.receive(CREATED) == []
        codec.start()
    else:
        codec.start()
        assert codec.receive(CREATED) == []
    assert codec.request_id == "sess_1"
    assert codec.receive(UPDATED) == [Started("sess_1")]
    assert codec.receive(UPDATED) == []


def test_the_end_is_confirmed_after_finish_only() -> None:
    codec = streaming()
    with pytest.raises(RemoteProtocolError, match="reported 'finished' while the task was streaming"):
        codec.receive(FINISHED)
    codec.finish()
    assert codec.receive(FINISHED) == [Finished()]
    assert codec.receive(completed("late")) == []


# --- segments --------------------------------------------------------------------------------------------------------


def test_an_utterance_is_a_segment_from_its_first_sign_to_its_final_text() -> None:
    codec = streaming()
    last = completed("Hello, world.", language="en", emotion="neutral")
    events = received(
        codec,
        speech_started(120),
        interim("", "Hel"),
        interim("Hello,", " wor", language="en", emotion="happy"),
        speech_stopped(1_480),
        committed(),
        server("conversation.item.created", item={"id": "item_1"}, previous_item_id=None),
        last,
    )
    assert events == [
        SpeechStarted(segment_id=0, start_ms=120),
        Result(
            text="Hel",
            is_final=False,
            segment_id=0,
            start_ms=120,
            end_ms=120,
            request_id="sess_1",
            raw=interim("", "Hel"),
            stable_text="",
        ),
        Result(
            text="Hello, wor",
            is_final=False,
            segment_id=0,
            start_ms=120,
            end_ms=120,
            language="en",
            request_id="sess_1",
            raw=interim("Hello,", " wor", language="en", emotion="happy"),
            stable_text="Hello,",
        ),
        SpeechEnding(segment_id=0, end_ms=1_480),
        Result(
            text="Hello, world.",
            is_final=True,
            segment_id=0,
            start_ms=120,
            end_ms=1_480,
            language="en",
            emotion="neutral",
            request_id="sess_1",
            raw=last,
            stable_text="Hello, world.",
        ),
        SpeechEnded(segment_id=0, end_ms=1_480),
    ]


def test_segments_are_numbered_by_their_first_sign_though_a_later_one_is_final_first() -> None:
    events = received(
        streaming(),
        speech_started(0, "a"),
        speech_stopped(900, "a"),
        speech_started(1_000, "b"),
        speech_stopped(1_900, "b"),
        completed("second", "b"),
        completed("first", "a"),
    )
    assert results(events) == [(1, "second", True, 1_000, 1_900), (0, "first", True, 0, 900)]


def test_an_utterance_has_the_times_of_its_committed_audio() -> None:
    codec = streaming(manual_commit=True)
    for size in (1, 3):
        for _ in range(size):
            codec.audio(HALF_SECOND)
        codec.commit()
    codec.audio(HALF_SECOND)
    codec.finish()
    events = received(codec, *(committed(item) for item in "abc"), *(completed(item, item) for item in "abc"))
    assert results(events) == [
        (0, "a", True, 0, 500),
        (1, "b", True, 500, 2_000),
        (2, "c", True, 2_000, 2_500),
    ]


def test_segments_of_compressed_audio_have_no_times() -> None:
    codec = streaming(manual_commit=True, format="opus")
    codec.audio(HALF_SECOND)
    codec.commit()
    assert results(received(codec, committed(), completed("x"))) == [(0, "x", True, 0, 0)]


def test_a_repeated_or_late_message_about_an_item_is_not_a_new_segment() -> None:
    codec = streaming()
    received(codec, speech_started(0), completed("one"))
    assert received(codec, completed("one"), interim("on"), speech_started(0), speech_stopped(9), committed()) == []
    assert results(received(codec, interim("two", item="item_2")))[0][0] == 1


def test_an_utterance_without_words_has_an_empty_final_and_silence_makes_no_event() -> None:
    codec = streaming()
    assert results(received(codec, speech_started(0), speech_stopped(300), completed(""))) == [(0, "", True, 0, 300)]
    assert received(codec, completed("", "item_2"), interim("", "", "item_3")) == []


def test_messages_without_an_item_belong_to_the_newest_one() -> None:
    codec = streaming()
    for number in range(2):
        events = received(codec, interim("a", item=None), interim("a b", item=None), completed("a b c", None))
        assert [text for _, text, _, _, _ in results(events)] == ["a", "a b", "a b c"]
        assert {segment for segment, *_ in results(events)} == {number}


def test_a_segment_without_a_start_begins_where_the_last_one_ended() -> None:
    codec = streaming()
    received(codec, speech_started(100), speech_stopped(700), completed("one"))
    assert results(received(codec, interim("two", item="b"))) == [(1, "two", False, 700, 700)]


def test_items_that_are_never_completed_are_bounded() -> None:
    codec = streaming()
    received(codec, *(speech_started(number, f"item_{number}") for number in range(3 * MAX_REMEMBERED)))
    assert len(codec._utterances._tracker.open_segments) == MAX_REMEMBERED
    codec.finish()
    *_, ending = codec.receive(FINISHED)
    assert ending == Finished()


# --- errors ----------------------------------------------------------------------------------------------------------


def failure(events: list[CodecEvent]) -> Any:
    (event,) = events
    assert isinstance(event, Failed)
    return event.error


def test_an_utterance_that_fails_ends_the_session_with_the_vendors_error() -> None:
    codec = streaming()
    failed = server(f"{TRANSCRIPTION}.failed", item_id="item_1", error={"code": "InternalError", "message": "Oh dear."})
    caught = failure(received(codec, failed))
    assert (type(caught), caught.code, caught.retryable, caught.request_id) == (
        VendorError,
        "InternalError",
        True,
        "sess_1",
    )
    assert codec.receive(completed("late")) == []


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_an_end_before_the_final_of_an_interim_loses_no_text(is_forgotten: bool) -> None:
    codec = streaming()
    events = received(codec, interim("Hello", item="first"))
    if is_forgotten:
        events += received(codec, *(speech_started(number, f"item_{number}") for number in range(MAX_REMEMBERED)))
    codec.finish()
    events += codec.receive(FINISHED)
    finals = [(event.text, event.is_confirmed) for event in events if isinstance(event, Result) and event.is_final]
    withdrawn = [event.withdrawn_text for event in events if isinstance(event, SpeechEnded) and event.withdrawn_text]
    assert (finals, withdrawn) == (([], ["Hello"]) if is_forgotten else ([("Hello", False)], []))


def test_an_end_before_the_answer_to_a_commit_is_an_error() -> None:
    codec = streaming(manual_commit=True)
    codec.audio(HALF_SECOND)
    codec.finish()
    assert "without the final text" in str(failure(codec.receive(FINISHED)))


def test_a_commit_that_is_never_completed_is_unheard() -> None:
    codec = streaming(manual_commit=True)
    codec.audio(HALF_SECOND)
    codec.finish()
    started, withdrawn, unheard, ending = received(codec, committed(), FINISHED)
    assert started == SpeechStarted(segment_id=0, start_ms=0)
    assert withdrawn == SpeechEnded(segment_id=0, end_ms=500, is_withdrawn=True)
    assert isinstance(unheard, Unheard)
    assert (unheard.start_ms, unheard.end_ms) == (0, 500)
    assert ending == Finished()


def test_an_error_while_the_session_opens_ends_it() -> None:
    codec = QwenRealtimeCodec(QwenRealtime(), task_id="T")
    codec.start()
    caught = failure(received(codec, CREATED, error(param="session.sample_rate")))
    assert str(caught) == "Not so. (session.sample_rate) (code invalid_value, request sess_1)"
    assert not caught.retryable


@pytest.mark.parametrize(
    ("kind", "members", "error_class", "retryable"),
    [
        ("server_error", {"code": "unheard_of"}, VendorError, True),
        ("server_error", {"code": "Throttling.RateQuota"}, RateLimitedError, True),
        ("invalid_request_error", {"event_id": "T_1"}, VendorError, False),
        ("invalid_request_error", {"event_id": "T_2"}, VendorError, False),
    ],
    ids=["server", "quota", "about our settings", "about our audio"],
)
def test_an_error_that_ends_the_session_or_costs_audio_is_raised(
    kind: str, members: dict[str, Any], error_class: type[VendorError], retryable: bool
) -> None:
    codec = streaming()
    codec.audio(HALF_SECOND)
    caught = failure(codec.receive(error(kind, **members)))
    assert (type(caught), caught.retryable) == (error_class, retryable)


@pytest.mark.parametrize(
    ("members", "error_class", "retryable"),
    [
        ({"code": "limit_burst_rate"}, RateLimitedError, True),
        ({"code": None, "message": "Requests rate limit exceeded, please try again later."}, RateLimitedError, True),
        ({"code": "invalid_api_key"}, AuthenticationError, False),
        ({"code": None, "message": "Access denied."}, AuthenticationError, False),
        ({"code": "internal_error"}, VendorError, True),
    ],
)
def test_a_limit_and_a_refused_key_are_raised_whatever_the_type_of_the_error(
    members: dict[str, Any], error_class: type[ASRError], retryable: bool
) -> None:
    message = error(**members)
    caught = failure(streaming().receive(message))
    assert (type(caught), caught.retryable) == (error_class, retryable)
    assert caught.raw == message


@pytest.mark.parametrize(
    ("kind", "members", "error_class", "retryable"),
    [
        ("server_error", {"code": "limit_burst_rate"}, RateLimitedError, True),
        ("insufficient_quota", {"code": None}, RateLimitedError, True),
        ("insufficient_quota", {"code": None, "message": "Free allocated quota exceeded."}, VendorError, False),
        ("server_error", {"code": "unheard_of", "message": "Free allocated quota exceeded."}, VendorError, False),
    ],
)
def test_the_type_of_an_error_counts_where_its_code_says_nothing(
    kind: str, members: dict[str, Any], error_class: type[ASRError], retryable: bool
) -> None:
    caught = failure(streaming().receive(error(kind, **members)))
    assert (type(caught), caught.retryable) == (error_class, retryable)


@pytest.mark.parametrize("event_id", [None, "", "event_of_nobody"])
def test_an_error_about_no_message_of_ours_is_reported_and_changes_nothing(event_id: str | None) -> None:
    codec = streaming()
    message = error(event_id=event_id)
    assert codec.receive(message) == [Unrecognised("error invalid_value", message)]
    assert codec.finish()


def test_the_name_of_an_unknown_event_can_be_printed_whatever_it_is() -> None:
    message = r'{"type": "\ud800 x"}'
    assert streaming().receive(message) == [Unrecognised("\N{REPLACEMENT CHARACTER} x", message)]


def test_the_audio_of_a_refused_commit_belongs_to_the_next_one() -> None:
    codec = streaming(manual_commit=True)
    codec.audio(HALF_SECOND)
    (commit,) = codec.commit()
    message = error(event_id=decoded(commit)["event_id"])
    assert codec.receive(message) == [Unrecognised("error invalid_value", message)]
    codec.audio(HALF_SECOND)
    assert kinds(codec.commit()) == ["input_audio_buffer.commit"]
    assert results(received(codec, committed(), completed("x"))) == [(0, "x", True, 0, 1_000)]


def test_a_refused_commit_at_the_end_is_an_error_since_no_other_follows() -> None:
    codec = streaming(manual_commit=True)
    codec.audio(HALF_SECOND)
    commit, _ = codec.finish()
    assert isinstance(failure(codec.receive(error(event_id=decoded(commit)["event_id"]))), VendorError)


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (server("response.created"), "response.created"),
        (json.dumps({"event_id": "x"}), "message without a type"),
        (b"\x00", "binary message"),
    ],
)
def test_an_unknown_message_is_kept_and_reported(message: str | bytes, name: str) -> None:
    (event,) = streaming().receive(message)
    assert isinstance(event, Unrecognised)
    assert event.name == name


@pytest.mark.parametrize("message", ["", "{", "[]", '{"type": 1}', '{"type": null}', "7"])
def test_a_message_that_cannot_be_read_is_an_error_with_its_beginning(message: str) -> None:
    with pytest.raises(RemoteProtocolError, match="unreadable message from DashScope") as caught:
        streaming().receive(message)
    assert repr(message[:80]) in str(caught.value)


def test_results_before_the_session_has_started_are_out_of_order() -> None:
    codec = QwenRealtimeCodec(QwenRealtime(), task_id="T")
    codec.start()
    with pytest.raises(RemoteProtocolError, match="while the task was starting"):
        codec.receive(interim("early"))


def test_a_context_is_accepted_at_the_start_only() -> None:
    refusal = describe_session(QwenRealtime()).context_refusal
    assert refusal == "context: qwen3-asr-flash-realtime accepts it as corpus_text, at the start only"
    assert not isinstance(streaming(), ContextCodec)
