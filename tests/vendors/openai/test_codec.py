"""The codec of OpenAI's realtime transcription, with values: its messages, its texts, and the end that it confirms."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest

from asr_async import (
    AuthenticationError,
    OpenAIRealtime,
    RateLimitedError,
    RemoteProtocolError,
    Result,
    SpeechEnded,
    SpeechStarted,
    VendorError,
)
from asr_async.vendors.codec import CodecEvent, Failed, Finished, Started, Unheard, Unrecognised, Usage
from asr_async.vendors.openai.codec import MAX_OWED_ITEMS, MAX_UTTERANCE_CHARS, OpenAIRealtimeCodec, describe_session

FRAME = bytes(4_800)
"""100 ms."""

LIVE = "gpt-live-transcribe"
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def message(kind: str, **members: Any) -> str:
    return json.dumps({"event_id": "event_1", "type": kind, **members})


def streaming(frames: int = 10, **options: Any) -> OpenAIRealtimeCodec:
    """Return the codec of a session that has sent 100 ms of audio in each frame."""
    codec = OpenAIRealtimeCodec(OpenAIRealtime(**options), task_id="T")
    codec.start()
    assert codec.receive(message("session.created", session={"id": "sess_1"})) == []
    assert codec.receive(message("session.updated", session={"id": "sess_1"})) == [Started("sess_1")]
    for _ in range(frames):
        codec.audio(FRAME)
    return codec


def received(codec: OpenAIRealtimeCodec, *messages: str) -> list[CodecEvent]:
    return [event for each in messages for event in codec.receive(each)]


def texts(events: list[CodecEvent]) -> list[tuple[str, bool, int, int]]:
    return [(each.text, each.is_final, each.start_ms, each.end_ms) for each in events if isinstance(each, Result)]


def decoded(message: Any) -> Any:
    """Return one message of the codec."""
    return json.loads(message)


def kinds(codec_messages: Any) -> list[str]:
    return [decoded(each)["type"] for each in codec_messages]


def speech(item: str, start_ms: int, end_ms: int) -> list[str]:
    """Return the server's messages of an utterance that it detected and committed."""
    return [
        message("input_audio_buffer.speech_started", item_id=item, audio_start_ms=start_ms),
        message("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=end_ms),
        *committed(item),
    ]


def committed(item: str) -> list[str]:
    return [
        message("input_audio_buffer.committed", item_id=item, previous_item_id=None),
        message("conversation.item.added", item={"id": item}, previous_item_id=None),
        message("conversation.item.done", item={"id": item}, previous_item_id=None),
    ]


def delta(item: str, text: str) -> str:
    return message(f"{TRANSCRIPTION}.delta", item_id=item, content_index=0, delta=text)


def completed(item: str, text: str, **members: Any) -> str:
    return message(f"{TRANSCRIPTION}.completed", item_id=item, content_index=0, transcript=text, **members)


def empty_commit(event_id: str | None, *, code: str | None = "input_audio_buffer_commit_empty") -> str:
    text = "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio."
    error = {"type": "invalid_request_error", "code": code, "message": text, "param": None, "event_id": event_id}
    return message("error", error=error)


# --- the client's messages -------------------------------------------------------------------------------------------


def test_the_session_is_configured_as_the_official_types_say() -> None:
    options = OpenAIRealtime(language="en", prompt="names of birds", noise_reduction="far_field", logprobs=True)
    (text,) = OpenAIRealtimeCodec(options, task_id="T").start()
    assert decoded(text) == {
        "type": "session.update",
        "event_id": "T_1",
        "session": {
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24_000},
                    "transcription": {"model": "gpt-4o-transcribe", "language": "en", "prompt": "names of birds"},
                    "noise_reduction": {"type": "far_field"},
                    "turn_detection": {"type": "server_vad"},
                }
            },
            "include": ["item.input_audio_transcription.logprobs"],
        },
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"turn_detection": "semantic_vad", "eagerness": "low"}, {"type": "semantic_vad", "eagerness": "low"}),
        (
            {"vad_threshold": 0.6, "prefix_padding_ms": 200, "silence_duration_ms": 700},
            {"type": "server_vad", "threshold": 0.6, "prefix_padding_ms": 200, "silence_duration_ms": 700},
        ),
        ({"manual_commit": True}, None),
        ({"model": LIVE}, None),
    ],
)
def test_turn_detection_is_sent_or_switched_off(options: dict[str, Any], expected: Any) -> None:
    (text,) = OpenAIRealtimeCodec(OpenAIRealtime(**options), task_id="T").start()
    assert decoded(text)["session"]["audio"]["input"]["turn_detection"] == expected


def test_extra_parameters_are_merged_into_the_session() -> None:
    extra = {"audio": {"input": {"transcription": {"temperature": 0}}}, "tracing": None}
    (text,) = OpenAIRealtimeCodec(OpenAIRealtime(extra_parameters=extra), task_id="T").start()
    session = decoded(text)["session"]
    assert session["audio"]["input"]["transcription"] == {"model": "gpt-4o-transcribe", "temperature": 0}
    assert session["tracing"] is None


def test_audio_is_sent_as_base64() -> None:
    codec = streaming(0)
    append = decoded(codec.audio(b"\x01\x02\x03\x04"))
    assert append["type"] == "input_audio_buffer.append"
    assert base64.b64decode(append["audio"]) == b"\x01\x02\x03\x04"


@pytest.mark.parametrize(("encoding", "wire"), [("ulaw", "audio/pcmu"), ("alaw", "audio/pcma")])
def test_g711_has_a_format_of_its_own(encoding: Any, wire: str) -> None:
    options = OpenAIRealtime(format=encoding)
    (text,) = OpenAIRealtimeCodec(options, task_id="T").start()
    assert decoded(text)["session"]["audio"]["input"]["format"] == {"type": wire}
    assert describe_session(options).audio_format.sample_rate == 8_000


# --- texts -----------------------------------------------------------------------------------------------------------


def test_deltas_grow_into_an_interim_and_the_final_has_the_place_of_the_speech() -> None:
    codec = streaming(30)
    events = received(
        codec,
        *speech("item_1", 300, 900),
        delta("item_1", "good"),
        delta("item_1", " day"),
        completed("item_1", "Good day."),
    )
    assert texts(events) == [("good", False, 300, 900), ("good day", False, 300, 900), ("Good day.", True, 300, 900)]


def test_a_late_delta_behind_its_final_brings_nothing() -> None:
    codec = streaming(30)
    received(codec, *speech("item_1", 300, 900), completed("item_1", "good day"))
    assert received(codec, delta("item_1", " day")) == []


def test_the_confidence_is_the_geometric_mean_of_the_probabilities() -> None:
    codec = streaming(30)
    logprobs = [{"token": "a", "bytes": [97], "logprob": math.log(0.5)}, {"token": "b", "logprob": math.log(0.98)}]
    events = received(codec, *speech("item_1", 0, 900), completed("item_1", "ab", logprobs=logprobs))
    (result,) = [event for event in events if isinstance(event, Result)]
    assert result.confidence == pytest.approx(0.7)


def test_a_detected_language_is_that_of_the_result() -> None:
    events = received(streaming(), *speech("i", 0, 900), completed("i", "hallo", languages=[{"code": "de"}]))
    assert [event.language for event in events if isinstance(event, Result)] == ["de"]


def test_billed_seconds_are_added_up() -> None:
    codec = streaming(30)
    usage = {"type": "duration", "seconds": 1.5}
    events = received(codec, *speech("a", 0, 900), completed("a", "one", usage=usage))
    events += received(codec, *speech("b", 1_000, 1_900), completed("b", "two", usage=usage))
    events += received(
        codec, *speech("c", 2_000, 2_900), completed("c", "x", usage={"type": "tokens", "input_tokens": 9})
    )
    assert [event for event in events if isinstance(event, Usage)] == [Usage(1.5), Usage(3.0)]


def test_an_utterance_without_end_is_refused() -> None:
    codec = streaming()
    received(codec, delta("item_1", "a" * (MAX_UTTERANCE_CHARS // 2)))
    with pytest.raises(RemoteProtocolError, match="an utterance of more than 1000000 characters"):
        received(codec, delta("item_1", "a" * (MAX_UTTERANCE_CHARS // 2 + 1)))


def test_commits_that_are_never_completed_are_refused_in_the_end() -> None:
    codec = streaming()
    with pytest.raises(RemoteProtocolError, match="has committed 1000 utterances, and completed none"):
        for number in range(MAX_OWED_ITEMS + 1):
            received(codec, message("input_audio_buffer.committed", item_id=f"item_{number}"))


def test_messages_that_bring_nothing_and_unknown_ones_end_no_session() -> None:
    codec = streaming()
    assert received(codec, message("input_audio_buffer.cleared")) == []
    (event,) = received(codec, message("rate_limits.updated", rate_limits=[]))
    assert isinstance(event, Unrecognised)
    assert event.name == "rate_limits.updated"


# --- the end ---------------------------------------------------------------------------------------------------------


def test_the_end_is_confirmed_by_the_refusal_to_commit_nothing() -> None:
    codec = streaming(30)
    received(codec, *speech("item_1", 300, 900), completed("item_1", "good day"))
    (commit,) = codec.finish()
    assert received(codec, empty_commit(decoded(commit)["event_id"])) == [Finished()]


@pytest.mark.parametrize("code", ["input_audio_buffer_commit_empty", None])
def test_a_refusal_without_the_id_of_its_commit_confirms_the_end_too(code: str | None) -> None:
    codec = streaming(30)
    codec.finish()
    assert received(codec, empty_commit(None, code=code)) == [Finished()]


def test_the_end_waits_for_the_items_that_the_server_has_committed() -> None:
    codec = streaming(30)
    received(codec, *speech("item_1", 300, 900), delta("item_1", "good"))
    (commit,) = codec.finish()
    assert received(codec, empty_commit(decoded(commit)["event_id"])) == []
    events = received(codec, completed("item_1", "good day"))
    assert texts(events) == [("good day", True, 300, 900)]
    assert events[-1] == Finished()


def test_a_commit_of_the_server_that_crosses_ours_does_not_answer_it() -> None:
    codec = streaming(30)
    received(codec, message("input_audio_buffer.speech_started", item_id="item_1", audio_start_ms=300))
    (commit,) = codec.finish()
    stopped = message("input_audio_buffer.speech_stopped", item_id="item_1", audio_end_ms=900)
    events = received(codec, stopped, *committed("item_1"), completed("item_1", "good day"))
    assert Finished() not in events
    assert received(codec, empty_commit(decoded(commit)["event_id"])) == [Finished()]


def test_the_rest_of_the_audio_is_the_open_utterance() -> None:
    codec = streaming(30)
    received(codec, message("input_audio_buffer.speech_started", item_id="item_1", audio_start_ms=300))
    codec.finish()
    events = received(codec, *committed("item_1"), delta("item_1", "good"))
    events += received(codec, completed("item_1", "good day"))
    assert texts(events) == [("good", False, 300, 3_000), ("good day", True, 300, 3_000)]
    assert events[-1] == Finished()


def test_a_rest_without_speech_is_no_utterance() -> None:
    codec = streaming(30)
    received(codec, *speech("item_1", 300, 900), completed("item_1", "good day"))
    codec.finish()
    assert received(codec, *committed("item_2"), completed("item_2", "")) == [Finished()]


def test_a_rest_with_speech_that_was_not_detected_begins_behind_the_last_speech() -> None:
    codec = streaming(30)
    received(codec, *speech("item_1", 300, 900), completed("item_1", "good day"))
    codec.finish()
    events = received(codec, *committed("item_2"), delta("item_2", "bye"), completed("item_2", "bye bye"))
    assert texts(events) == [("bye", False, 900, 3_000), ("bye bye", True, 900, 3_000)]
    assert events[-1] == Finished()


def test_detected_speech_without_a_text_is_reported_at_the_end() -> None:
    codec = streaming(30)
    received(codec, message("input_audio_buffer.speech_started", item_id="item_1", audio_start_ms=300))
    (commit,) = codec.finish()
    events = received(codec, empty_commit(decoded(commit)["event_id"]))
    assert [type(event) for event in events] == [SpeechEnded, Unheard, Finished]


def test_an_error_while_the_session_finishes_ends_it() -> None:
    codec = streaming(30)
    codec.finish()
    (event,) = received(codec, message("error", error={"type": "server_error", "message": "The server had an error."}))
    assert isinstance(event, Failed)
    assert event.error.retryable


# --- commits of the caller -------------------------------------------------------------------------------------------


def test_a_commit_is_an_utterance_at_the_place_of_its_audio() -> None:
    codec = streaming(10, model=LIVE)
    received(codec, delta("item_1", "good"))
    assert kinds(codec.commit()) == ["input_audio_buffer.commit"]
    events = received(codec, *committed("item_1"), completed("item_1", "good day"))
    assert texts(events) == [("good day", True, 0, 1_000)]
    codec.audio(FRAME)
    codec.finish()
    events = received(codec, *committed("item_2"), completed("item_2", "bye"))
    assert texts(events) == [("bye", True, 1_000, 1_100)]
    assert events[-1] == Finished()


def test_a_short_rest_is_filled_up_with_silence() -> None:
    codec = streaming(10, model=LIVE)
    codec.commit()
    received(codec, *committed("item_1"), completed("item_1", "good day"))
    codec.audio(bytes(480))
    append, commit = map(decoded, codec.finish())
    assert len(base64.b64decode(append["audio"])) == 4_800 - 480
    assert commit["type"] == "input_audio_buffer.commit"
    events = received(codec, *committed("item_2"), completed("item_2", "bye"))
    assert texts(events) == [("bye", True, 1_000, 1_010)]


def test_a_commit_without_audio_sends_nothing_but_the_last_one_is_always_sent() -> None:
    codec = streaming(10, manual_commit=True)
    assert kinds(codec.commit()) == ["input_audio_buffer.commit"]
    assert codec.commit() == []
    received(codec, *committed("item_1"))
    (commit,) = codec.finish()
    assert received(codec, completed("item_1", "good day"))[-1] != Finished()
    assert received(codec, empty_commit(decoded(commit)["event_id"])) == [Finished()]


def test_an_end_without_the_callers_last_audio_is_an_error() -> None:
    codec = streaming(10, manual_commit=True)
    (commit,) = codec.finish()
    (event,) = received(codec, empty_commit(decoded(commit)["event_id"]))
    assert isinstance(event, Failed)
    assert "buffer too small" in str(event.error)


def test_finals_may_come_in_another_order() -> None:
    codec = streaming(10, manual_commit=True)
    codec.commit()
    codec.audio(FRAME)
    codec.finish()
    received(codec, *committed("item_1"), *committed("item_2"))
    events = received(codec, completed("item_2", "two"), completed("item_1", "one"))
    assert [(each.text, each.segment_id) for each in events if isinstance(each, Result)] == [("two", 1), ("one", 0)]
    assert events[-1] == Finished()


# --- errors ----------------------------------------------------------------------------------------------------------


def test_an_item_that_fails_ends_the_session_with_the_vendors_error() -> None:
    codec = streaming()
    error = {"type": "transcription_error", "code": "audio_unintelligible", "message": "The audio is unclear."}
    events = received(
        codec, *speech("item_1", 0, 900), message(f"{TRANSCRIPTION}.failed", item_id="item_1", error=error)
    )
    assert isinstance(events[-1], Failed)
    assert str(events[-1].error) == (
        "The audio is unclear: check that the audio has the declared format (code audio_unintelligible, request sess_1)"
    )
    assert received(codec, completed("item_1", "late")) == []


@pytest.mark.parametrize(
    ("error", "error_class", "retryable"),
    [
        ({"code": "session_expired", "message": "Your session hit the maximum duration."}, VendorError, True),
        ({"code": "rate_limit_exceeded", "message": "Rate limit reached."}, RateLimitedError, True),
        (
            {"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded your current quota."},
            VendorError,
            False,
        ),
        ({"code": "invalid_api_key", "message": "Incorrect API key provided."}, AuthenticationError, False),
        ({"code": None, "type": "server_error", "message": "oh"}, VendorError, True),
    ],
)
def test_errors_that_end_a_session(error: dict[str, Any], error_class: type, retryable: bool) -> None:
    codec = streaming()
    (event,) = received(codec, message("error", error={"type": "invalid_request_error", **error}))
    assert isinstance(event, Failed)
    assert (type(event.error), event.error.retryable) == (error_class, retryable)


def test_an_error_about_no_message_of_ours_changes_nothing() -> None:
    codec = streaming()
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": "odd", "event_id": None}
    (event,) = received(codec, message("error", error=error))
    assert isinstance(event, Unrecognised)


def test_speech_starts_once() -> None:
    events = received(streaming(30), *speech("a", 300, 900), completed("a", "one"))
    assert [event for event in events if isinstance(event, SpeechStarted)] == [
        SpeechStarted(segment_id=0, start_ms=300)
    ]
