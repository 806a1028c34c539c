"""The task codec, by values: sent messages equal those of the official SDK, received ones become events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asr_async import (
    ASRError,
    AuthenticationError,
    ContextMessage,
    FunASR,
    LocalProtocolError,
    Paraformer,
    QwenAudio,
    RateLimitedError,
    RemoteProtocolError,
    Result,
    SpeechEnded,
    SpeechStarted,
    VendorError,
)
from asr_async.vendors.codec import (
    TRANSITIONS,
    CancellingCodec,
    CodecEvent,
    Failed,
    Finished,
    Message,
    NoSpeech,
    Started,
    State,
    Unrecognised,
    Usage,
)
from asr_async.vendors.dashscope.codec import TaskCodec
from asr_async.vendors.dashscope.errors import CODES, error_from_code, error_from_response

from ...support import paths

VECTORS = paths.VECTORS / "dashscope_frames.jsonl"
CONTEXT = (ContextMessage("user", "abc"),)

ALL_PARAMETERS = Paraformer(
    vocabulary_id="vocab-abc",
    language_hints=["zh", "en"],
    semantic_punctuation_enabled=False,
    max_sentence_silence=800,
    multi_threshold_mode_enabled=True,
    punctuation_prediction_enabled=True,
    heartbeat=True,
    inverse_text_normalization_enabled=True,
    disfluency_removal_enabled=True,
    # the SDK sends these too, but no document has them for this model
    extra_parameters={
        "speech_noise_threshold": -0.5,
        "diarization_enabled": True,
        "speaker_count": 2,
        "timestamp_alignment_enabled": True,
        "special_word_filter": '{"x":1}',
        "audio_event_detection_enabled": True,
    },
)


def recorded(sdk: str, scenario: str) -> list[Any]:
    """Return the recorded messages of a scenario: texts decoded, audio as its size."""
    lines = [json.loads(line) for line in VECTORS.read_text().splitlines()]
    return [line["frame"] for line in lines if (line["sdk"], line["scenario"]) == (sdk, scenario)]


def decoded(message: Message) -> Any:
    assert isinstance(message, str)
    return json.loads(message)


def without_ids(messages: list[Any]) -> list[Any]:
    for message in messages:
        if isinstance(message, dict):
            message["header"]["task_id"] = "T"
    return messages


def run(options: Any, script: str) -> list[Any]:
    """Drive a codec by a script of r(un), a(udio), u(pdate), f(inish), and return the messages that it sends."""
    sent: list[Any] = []
    codec: TaskCodec | None = None
    for act in script:
        if act == "r":
            codec = TaskCodec(options, task_id="T")
            sent += map(decoded, codec.start())
            codec.receive(server("task-started"))
        assert codec is not None
        if act == "a":
            codec.audio(memoryview(b"\0" * 3_200))
        elif act == "u":
            sent += map(decoded, codec.update_context(CONTEXT))
        elif act == "f":
            sent += map(decoded, codec.finish())
    return sent


SCENARIOS = [
    ("2.0.2", "recognition.defaults", Paraformer(), "raaaf"),
    ("2.0.2", "recognition.all_params", ALL_PARAMETERS, "raaaf"),
    (
        "2.0.2",
        "recognition.v1_phrase_id",
        Paraformer(model="paraformer-realtime-8k-v1", sample_rate=8_000, format="wav", phrase_id="phrase-1"),
        "raaaf",
    ),
    ("2.0.2", "recognition.call_file", Paraformer(), "raaaf"),
    ("2.0.2", "recognition.update_context", FunASR(), "rauaf"),
    ("2.0.2", "recognition.raw_input_context", FunASR(context=CONTEXT), "raaaf"),
    ("2.0.2", "recognition.object_reuse", Paraformer(), "raaafraaaf"),
    ("2.0.2", "recognition.stop_without_audio", Paraformer(), "rf"),
    ("2.0.2", "recognition.empty_and_big_frame", Paraformer(), "raf"),
    ("2.0.2", "recognition.data_inspection_headers", Paraformer(), "raaaf"),
    ("1.25.0", "recognition.defaults", Paraformer(), "raaaf"),
    ("1.25.0", "recognition.all_params", ALL_PARAMETERS, "raaaf"),
    (
        "1.25.0",
        "recognition.v1_phrase_id",
        Paraformer(model="paraformer-realtime-8k-v1", sample_rate=8_000, format="wav", phrase_id="phrase-1"),
        "raaaf",
    ),
    ("1.25.0", "recognition.call_file", Paraformer(), "raaaf"),
    ("1.25.0", "recognition.object_reuse", Paraformer(), "raaafraaaf"),
    ("1.25.0", "recognition.stop_without_audio", Paraformer(), "rf"),
    ("2.0.2/v2", "v2.ws_connection.reuse_two_tasks", Paraformer(), "rafraf"),
]


@pytest.mark.parametrize(("sdk", "scenario", "options", "script"), SCENARIOS, ids=[f"{s[0]}-{s[1]}" for s in SCENARIOS])
def test_our_messages_equal_those_of_the_official_sdk(sdk: str, scenario: str, options: Any, script: str) -> None:
    theirs = [message for message in recorded(sdk, scenario) if isinstance(message, dict)]
    assert theirs, "no such recording"
    assert without_ids(run(options, script)) == without_ids(theirs)


def test_the_preview_clients_messages_equal_ours_except_for_a_resource_that_the_model_lacks() -> None:
    theirs = without_ids([message for message in recorded("2.0.2/v2", "v2.recognize.all") if isinstance(message, dict)])
    del theirs[0]["payload"]["resources"]  # a v1 hot-word list on a model without them: refused here
    theirs[0]["payload"]["input"] = {}  # an empty context is no context
    options = FunASR(heartbeat=True, vocabulary_id="v1")
    ours = without_ids(run(options, "rauf"))
    theirs[1]["payload"]["input"]["context"][0]["content"][0]["text"] = "abc"
    assert ours == theirs


def test_audio_is_sent_unchanged_and_not_copied() -> None:
    codec = started()
    frame = memoryview(b"\x01\x02")
    assert codec.audio(frame) is frame


def test_an_option_that_was_not_set_is_not_sent() -> None:
    message = run(Paraformer(heartbeat=None), "r")[0]
    assert message["payload"]["parameters"] == {"format": "pcm", "sample_rate": 16_000}
    assert "null" not in json.dumps(message)


# --- receiving -------------------------------------------------------------------------------------------------------


def server(event: str, payload: Any = None, task_id: str = "T", **header: Any) -> str:
    return json.dumps({"header": {"task_id": task_id, "event": event, **header}, "payload": payload or {}})


def sentence(text: str | None, usage: int | None = None, **members: Any) -> str:
    members = {"begin_time": 170, "text": text, **members}
    payload = {"output": {"sentence": members}, "usage": usage if usage is None else {"duration": usage}}
    return server("result-generated", payload)


def started(options: Any = None) -> TaskCodec:
    codec = TaskCodec(options or Paraformer(), task_id="T")
    codec.start()
    assert codec.receive(server("task-started")) == [Started("T")]
    return codec


def results(events: list[CodecEvent]) -> list[Result]:
    return [event for event in events if isinstance(event, Result)]


def test_a_sentence_is_interims_and_a_final_of_one_segment_between_speech_events() -> None:
    codec = started()
    words = [{"begin_time": 170, "end_time": 295, "text": "好", "punctuation": "，"}]
    events = codec.receive(sentence("好，", sentence_id=1, end_time=None, sentence_end=False, words=words))
    assert events[0] == SpeechStarted(segment_id=0, start_ms=170)
    (interim,) = results(events)
    assert (interim.text, interim.is_final, interim.start_ms, interim.end_ms) == ("好，", False, 170, 295)
    assert (interim.words[0].text, interim.words[0].punctuation) == ("好", "，")
    events = codec.receive(sentence("好，我知道", 3, sentence_id=1, end_time=920, sentence_end=True))
    final, ended, usage = events
    assert isinstance(final, Result)
    assert (final.is_final, final.segment_id, final.end_ms, final.request_id) == (True, 0, 920, "T")
    assert ended == SpeechEnded(segment_id=0, end_ms=920)
    assert usage == Usage(3)


def test_the_next_sentence_is_the_next_segment_with_and_without_sentence_ids() -> None:
    both: list[list[dict[str, Any]]] = [[{"sentence_id": 1}, {"sentence_id": 2}], [{}, {}]]
    for ids in both:
        codec = started()
        numbers = [
            result.segment_id
            for begin_time, member in zip((170, 1_170), ids, strict=True)
            for end_time in (None, begin_time + 700)
            for result in results(codec.receive(sentence("a", begin_time=begin_time, end_time=end_time, **member)))
        ]
        assert numbers == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("members", "is_final"),
    [
        ({"sentence_end": True, "end_time": None}, True),  # old samples of the documents
        ({"sentence_end": False, "end_time": 900}, False),
        ({"end_time": 900}, True),
        ({"end_time": None}, False),
        ({}, False),
        ({"sentence_end": None, "end_time": 900}, True),
    ],
)
def test_a_final_is_sentence_end_or_else_a_known_end(members: dict[str, Any], is_final: bool) -> None:
    (result,) = results(started().receive(sentence("a", **members)))
    assert result.is_final is is_final


def test_a_final_without_an_end_ends_with_its_last_word() -> None:
    words = [{"begin_time": 170, "end_time": 800, "text": "a"}]
    (result,) = results(started().receive(sentence("a", sentence_end=True, end_time=None, words=words)))
    assert result.end_ms == 800


def test_a_heartbeat_makes_no_event_even_without_a_text() -> None:
    codec = started()
    assert codec.receive(sentence(None, heartbeat=True, sentence_end=False)) == []
    assert codec.receive(sentence("", end_time=None)) == []


def test_an_empty_final_closes_its_segment() -> None:
    codec = started()
    codec.receive(sentence("mm", end_time=None))
    (final,) = results(codec.receive(sentence("", end_time=900, sentence_end=True)))
    assert (final.text, final.is_final, final.segment_id) == ("", True, 0)


def test_a_repeated_final_is_dropped() -> None:
    codec = started()
    message = sentence("a", sentence_id=4, end_time=900, sentence_end=True)
    assert len(results(codec.receive(message))) == 1
    assert results(codec.receive(message)) == []


def final(text: str, begin: int | None, end: int | None, sentence_id: int | None = None, **members: Any) -> str:
    return sentence(text, begin_time=begin, end_time=end, sentence_id=sentence_id, sentence_end=True, **members)


@pytest.mark.parametrize("ids", [(0, 0, 0), (1, 1, 1), (None, None, None), (2, 1, 0), (1, 2, 1), (1, None, 1)])
@pytest.mark.parametrize("model", [Paraformer(), FunASR(), QwenAudio()])
def test_sentences_at_places_of_their_own_are_segments_whatever_their_ids(
    model: Any, ids: tuple[int | None, ...]
) -> None:
    codec = started(model)
    found = [
        (result.segment_id, result.text)
        for number, sentence_id in enumerate(ids)
        for result in results(codec.receive(final("yes", number * 1_000, number * 1_000 + 900, sentence_id)))
    ]
    assert found == [(0, "yes"), (1, "yes"), (2, "yes")]


def test_a_final_without_an_id_that_comes_twice_is_dropped_also_with_other_punctuation_and_jitter() -> None:
    codec = started()
    assert len(results(codec.receive(final("Good morning.", 100, 900)))) == 1
    assert codec.receive(final("Good morning.", 100, 900)) == []
    assert codec.receive(final("good morning", 140, 880)) == []
    assert len(results(codec.receive(final("good evening", 140, 880)))) == 1


@pytest.mark.parametrize("ids", [(1, 2), (None, None), (None, 2), (1, None)])
def test_an_interim_that_the_vendor_drops_is_withdrawn_by_the_next_sentence(ids: tuple[int | None, ...]) -> None:
    codec = started()
    codec.receive(sentence("uh", begin_time=0, end_time=None, sentence_id=ids[0]))
    withdrawn, began, one, ended = codec.receive(final("one two", 500, 2_500, ids[1]))
    assert withdrawn == SpeechEnded(segment_id=0, end_ms=0, is_withdrawn=True, withdrawn_text="uh")
    assert (began, ended) == (SpeechStarted(segment_id=1, start_ms=500), SpeechEnded(segment_id=1, end_ms=2_500))
    assert isinstance(one, Result)
    codec.finish()
    assert codec.receive(server("task-finished")) == [Finished()]


@pytest.mark.parametrize("end", [None, -1, 0, 50])
def test_a_final_without_a_usable_end_ends_with_its_last_word_or_where_it_begins(end: int | None) -> None:
    words = [{"begin_time": 170, "end_time": 800, "text": "a"}, {"text": "b", "end_time": -1}]
    (result,) = results(started().receive(final("a b", 170, end, words=words)))
    assert (result.start_ms, result.end_ms) == (170, 800)
    (result,) = results(started().receive(final("a b", 170, end)))
    assert (result.start_ms, result.end_ms) == (170, 170)


@pytest.mark.parametrize("begin", [None, -1])
def test_a_sentence_without_a_start_begins_at_its_first_word_or_where_the_last_one_ended(begin: int | None) -> None:
    codec = started()
    codec.receive(final("one", 100, 900))
    words = [{"text": "two"}, {"begin_time": 1_500, "end_time": 1_900, "text": "three"}]
    (result,) = results(codec.receive(final("two three", begin, 2_000, words=words)))
    assert (result.start_ms, [word.start_ms for word in result.words]) == (1_500, [1_500, 1_500])
    (result,) = results(codec.receive(final("four", begin, 3_000, words=[{"text": "four"}])))
    assert (result.start_ms, result.end_ms, result.words[0].start_ms) == (2_000, 3_000, 2_000)


def test_jitter_does_not_put_a_sentence_before_the_one_before_it() -> None:
    codec = started()
    (first,) = results(codec.receive(final("The.", 267, 445, 1)))
    message = final("Cat sat on the mat.", 263, 3_615, 2)
    (second,) = results(codec.receive(message))
    assert [(result.start_ms, result.end_ms) for result in (first, second)] == [(267, 445), (267, 3_615)]
    assert codec.receive(message) == []
    (third,) = results(codec.receive(final("Far.", 20, 120, 3)))
    assert third.start_ms == 20


def test_an_end_that_is_not_known_is_no_end() -> None:
    (result,) = results(started().receive(sentence("a", end_time=-1)))
    assert not result.is_final


def test_emotion_is_in_the_final() -> None:
    codec = started(Paraformer(model="paraformer-realtime-8k-v2", sample_rate=8_000))
    message = sentence("a", end_time=900, sentence_end=True, emo_tag="positive", emo_confidence=0.75)
    (result,) = results(codec.receive(message))
    assert (result.emotion, result.emotion_confidence) == ("positive", 0.75)


def test_members_without_a_field_are_in_raw() -> None:
    message = sentence("a", end_time=900, stash={"text": "next"}, speaker_id=3)
    (result,) = results(started().receive(message))
    assert json.loads(result.raw)["payload"]["output"]["sentence"]["stash"] == {"text": "next"}


def test_the_end_is_the_finished_message_with_and_without_usage() -> None:
    payload: dict[str, Any]
    for payload in ({"output": {}, "usage": None}, {"output": {}}, {}):
        codec = started()
        codec.finish()
        assert codec.receive(server("task-finished", payload)) == [Finished()]


@pytest.mark.parametrize("model", [Paraformer(), FunASR(), QwenAudio()])
def test_an_open_interim_is_a_final_that_is_not_confirmed_at_the_end(model: Any) -> None:
    codec = started(model)
    message = sentence("hello world", sentence_id=1, end_time=None, words=[{"begin_time": 170, "end_time": 800}])
    (interim,) = results(codec.receive(message))
    codec.finish()
    final, ended, finished = codec.receive(server("task-finished"))
    assert isinstance(final, Result)
    assert (final.text, final.is_final, final.is_confirmed) == ("hello world", True, False)
    assert (final.segment_id, final.start_ms, final.end_ms, final.raw) == (0, 170, 800, message)
    assert final.words == interim.words
    assert (ended, finished) == (SpeechEnded(segment_id=0, end_ms=800), Finished())


def test_an_interim_is_withdrawn_if_the_vendor_finds_that_there_was_no_speech() -> None:
    codec = started()
    codec.receive(sentence("uh", end_time=None))
    codec.finish()
    withdrawn, ending = codec.receive(server("task-failed", error_code="NO_VALID_AUDIO_ERROR"))
    assert withdrawn == SpeechEnded(segment_id=0, end_ms=170, is_withdrawn=True, withdrawn_text="uh")
    assert isinstance(ending, NoSpeech)


def test_a_task_that_ends_before_it_was_finished_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="reported 'finished' while the task was streaming"):
        started().receive(server("task-finished"))


def test_task_failed_is_the_error_of_its_code_with_the_request_id() -> None:
    message = server("task-failed", error_code="ModelNotFound", error_message="Model not found.")
    (event,) = started().receive(message)
    assert isinstance(event, Failed)
    assert str(event.error) == (
        "Model not found: check the model's name and that the region has it (code ModelNotFound, request T)"
    )
    assert not event.error.retryable
    assert event.error.raw == message


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (server("result-generated", {"output": {}}), "result-generated without a sentence"),
        (server("brand-new-event"), "brand-new-event"),
        (server("task-finished", task_id="another"), "message of another task"),
        ("{}", "message without an event"),
        (b"\x00\x01", "binary message"),
    ],
)
def test_an_unknown_message_is_reported_and_not_fatal(message: str | bytes, name: str) -> None:
    if message == "{}":
        message = '{"header": {}}'
    (event,) = started().receive(message)
    assert isinstance(event, Unrecognised)
    assert event.name == name


@pytest.mark.parametrize("message", ["{broken", "[]", '{"header": 1}', '{"payload": {}}'])
def test_an_unreadable_message_is_a_remote_protocol_error_that_shows_it(message: str) -> None:
    with pytest.raises(RemoteProtocolError, match="unreadable message from DashScope") as caught:
        started().receive(message)
    assert repr(message) in str(caught.value)
    assert caught.value.raw == message


def test_steps_out_of_order_are_refused_by_name() -> None:
    codec = TaskCodec(Paraformer(), task_id="T")
    with pytest.raises(LocalProtocolError, match="cannot audio while the task is idle"):
        codec.audio(memoryview(b""))
    codec.start()
    with pytest.raises(RemoteProtocolError, match="reported 'result' while the task was starting"):
        codec.receive(sentence("a"))
    codec.receive(server("task-started"))
    assert not isinstance(codec, CancellingCodec)
    codec.finish()
    codec.receive(server("task-finished"))
    with pytest.raises(LocalProtocolError, match="cannot finish while the task is done"):
        codec.finish()


def test_every_state_can_be_reached_and_an_ended_task_stays_ended() -> None:
    reached = {State.IDLE} | set(TRANSITIONS.values())
    assert reached == set(State)
    assert not [state for state, _ in TRANSITIONS if state in {State.DONE, State.FAILED}]


def test_a_second_confirmation_of_the_start_changes_nothing() -> None:
    codec = started()
    message = server("task-started")
    assert codec.receive(message) == [Unrecognised("second task-started", message)]
    assert codec.finish()
    assert codec.receive(message) == [Unrecognised("second task-started", message)]
    assert codec.receive(server("task-finished"))[-1] == Finished()


def test_the_state_shows_in_the_repr() -> None:
    assert repr(started()) == "<TaskCodec paraformer-realtime-v2 T streaming>"


# --- error codes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message", "error_class", "retryable"),
    [
        ("InvalidApiKey", "", AuthenticationError, False),
        ("AccessDenied.Unpurchased", "", VendorError, False),
        ("Model.AccessDenied", "", AuthenticationError, False),
        ("Arrearage", "", VendorError, False),
        ("CommodityNotPurchased", "", VendorError, False),
        ("Throttling", "", RateLimitedError, True),
        ("Throttling.RateQuota", "", RateLimitedError, True),
        ("Throttling.BurstRate", "", RateLimitedError, True),
        ("InternalError.Algo", "", VendorError, True),
        ("CLIENT_ERROR", "request timeout after 23 seconds.", VendorError, True),
        ("CLIENT_ERROR", "task can not be null", VendorError, False),
        ("ResponseTimeout", "Response timeout!", VendorError, True),
        ("NO_VALID_AUDIO_ERROR", "", VendorError, False),
        ("SomethingNew", "", VendorError, False),
    ],
)
def test_a_code_decides_the_class_and_whether_to_try_again(
    code: str, message: str, error_class: type[ASRError], retryable: bool
) -> None:
    error = error_from_code(code, message)
    assert type(error) is error_class
    assert error.retryable is retryable
    assert (error.code, error.vendor) == (code, "dashscope")


def test_every_code_of_the_table_makes_a_one_line_error() -> None:
    for code in CODES:
        text = str(error_from_code(code, ""))
        assert "\n" not in text
        assert code in text


def test_a_refused_handshake_is_read_from_its_body() -> None:
    body = b'{"code":"InvalidApiKey","message":"Invalid API-key provided.","request_id":"r-9"}'
    error = error_from_response(401, {}, body)
    assert isinstance(error, AuthenticationError)
    assert "Invalid API-key provided: check the key" in str(error)
    assert error.request_id == "r-9"


def test_the_status_decides_for_a_refused_handshake_without_a_body() -> None:
    assert isinstance(error_from_response(403, {}, b"<html>"), AuthenticationError)
    limited = error_from_response(429, {"Retry-After": "3"}, b"")
    assert isinstance(limited, RateLimitedError)
    assert limited.retry_after == 3.0
    assert error_from_response(503, {}, b"").retryable
    assert not error_from_response(404, {}, b"").retryable


def test_the_status_decides_for_a_refused_handshake_with_a_binary_body() -> None:
    assert error_from_response(503, {}, b'{"message": "\xff"}').code == "503"


def test_an_error_without_a_code_has_none_and_its_text_stays_one_line() -> None:
    error = error_from_code("", "first\nsecond")
    assert (error.code, str(error)) == (None, "first second")


def test_a_billing_error_with_status_429_is_not_retryable() -> None:
    body = b'{"code":"CommodityNotPurchased","message":"buy it","request_id":"r"}'
    error = error_from_response(429, {}, body)
    assert not error.retryable
    assert not isinstance(error, RateLimitedError)
