"""The RASR codec, by values: sent messages are those of the documents, received ones become events."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from asr_async import (
    ASRError,
    AuthenticationError,
    LocalProtocolError,
    RateLimitedError,
    RemoteProtocolError,
    Result,
    SpeechEnded,
    SpeechStarted,
    VendorError,
)
from asr_async.vendors.codec import (
    ContextCodec,
    DeferringCodec,
    Failed,
    Finished,
    InputClosed,
    Message,
    NoSpeech,
    Started,
    Unheard,
    Unrecognised,
)
from asr_async.vendors.huawei.codec import RasrCodec, describe_task
from asr_async.vendors.huawei.errors import CODES, STALE_TOKEN_CODES, error_from_code, error_from_response
from asr_async.vendors.huawei.models import AUDIO_FORMATS, MODES, Rasr
from asr_async.vendors.huawei.wire import ClientMessage, End, Start
from asr_async.vendors.segments import MAX_REMEMBERED

TRACE = "567e8537-a89c-13c3-a882-826321939651"

# START of the official Python SDK 1.7/1.8, all defaults sent, and its END
SDK_START = (
    '{"command": "START", "config": {"audio_format": "pcm16k16bit", "property": "chinese_16k_general", '
    '"add_punc": "no", "digit_norm": "yes", "vad_head": 10000, "vad_tail": 500, "max_seconds": 30, '
    '"interim_results": "no", "vad_threshold": 0, "need_word_info": "no"}}'
)
SDK_END = '{"command": "END", "cancel": "false"}'

SDK_DEFAULTS: dict[str, Any] = {
    "add_punc": False,
    "digit_norm": True,
    "vad_head": 10_000,
    "vad_tail": 500,
    "max_seconds": 30,
    "interim_results": False,
    "need_word_info": False,
}


def decoded(message: Message) -> Any:
    assert isinstance(message, str)
    return json.loads(message)


def server(resp_type: str, trace_id: str | None = TRACE, **members: Any) -> str:
    message = {"resp_type": resp_type, "trace_id": trace_id, **members}
    return json.dumps({name: value for name, value in message.items() if value is not None})


def segment(text: str | None, start: int | None = 100, end: int | None = 1_500, **members: Any) -> dict[str, Any]:
    times = {name: value for name, value in (("start_time", start), ("end_time", end)) if value is not None}
    score = 0.9 if members.get("is_final") else 0.0
    result = {} if text is None else {"result": {"text": text, "score": score, **members.pop("result", {})}}
    return {**times, "is_final": False, **members, **result}


def result(*segments: dict[str, Any], trace_id: str | None = TRACE) -> str:
    return server("RESULT", trace_id, segments=list(segments))


def event(name: str, timestamp: int | None = None) -> str:
    return server("EVENT", event=name, timestamp=timestamp)


def started(mode: str = "continue", **options: Any) -> RasrCodec:
    codec = RasrCodec(Rasr(mode=mode, **options))
    codec.start()
    assert codec.receive(server("START")) == [Started(TRACE)]
    return codec


def results(events: list[Any]) -> list[Result]:
    return [event for event in events if isinstance(event, Result)]


def failure(events: list[Any]) -> ASRError:
    (failed,) = events
    assert isinstance(failed, Failed)
    return failed.error


# --- sending ---------------------------------------------------------------------------------------------------------


def test_start_with_every_option_set_equals_that_of_the_official_sdk() -> None:
    (message,) = RasrCodec(Rasr(**SDK_DEFAULTS, vad_threshold=0)).start()
    assert decoded(message) == json.loads(SDK_START)
    assert list(decoded(message)["config"]) == list(json.loads(SDK_START)["config"])


def test_start_without_the_undocumented_threshold_leaves_only_that_out() -> None:
    (message,) = RasrCodec(Rasr(**SDK_DEFAULTS)).start()
    theirs = json.loads(SDK_START)
    del theirs["config"]["vad_threshold"]
    assert decoded(message) == theirs


@pytest.mark.parametrize("mode", MODES)
def test_start_of_every_mode_needs_only_the_required_members(mode: str) -> None:
    (message,) = RasrCodec(Rasr(mode=mode, interim_results=None)).start()
    assert decoded(message) == {
        "command": "START",
        "config": {"audio_format": "pcm16k16bit", "property": "chinese_16k_general"},
    }


def test_extra_parameters_are_members_of_config_and_replace_others() -> None:
    options = Rasr(interim_results=None, extra_parameters={"need_smooth": "yes", "vad_head": "off"}, vad_head=1)
    (message,) = RasrCodec(options).start()
    config = {"audio_format": "pcm16k16bit", "property": "chinese_16k_general"}
    assert decoded(message) == {"command": "START", "config": {**config, "vad_head": "off", "need_smooth": "yes"}}


def test_cancel_in_end_is_a_boolean() -> None:
    assert [decoded(message) for message in started().finish()] == [{"command": "END", "cancel": False}]
    assert [decoded(message) for message in started().cancel()] == [{"command": "END", "cancel": True}]


def test_messages_of_the_official_sdk_can_be_decoded_by_the_server() -> None:
    start = msgspec.json.decode(SDK_START, type=ClientMessage)
    assert isinstance(start, Start)
    assert start.config == Rasr(**SDK_DEFAULTS, vad_threshold=0).config()
    assert msgspec.json.decode(SDK_END, type=ClientMessage) == End(cancel="false")
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value 'on'"):
        msgspec.json.decode(SDK_START.replace('"no"', '"on"'), type=ClientMessage)


def test_audio_is_sent_unchanged_and_not_copied() -> None:
    frame = memoryview(bytes(3_200))
    assert started().audio(frame) is frame


def test_a_running_task_accepts_no_context_and_defers_no_final() -> None:
    refusal = describe_task(Rasr()).context_refusal
    assert refusal == "context: huawei/continue does not take one, nor does any other model of Huawei"
    assert not isinstance(started(), ContextCodec | DeferringCodec)


@pytest.mark.parametrize("audio_format", AUDIO_FORMATS)
def test_the_limits_of_a_piece_of_audio_follow_from_the_rate(audio_format: str) -> None:
    rate = AUDIO_FORMATS[audio_format].sample_rate
    description = describe_task(Rasr(audio_format=audio_format, property=f"chinese_{rate // 1000}k_general"))
    assert description.audio_format == AUDIO_FORMATS[audio_format]
    limits = description.min_frame_bytes, description.max_frame_bytes
    assert limits == {8_000: (160, 32_768), 16_000: (320, 65_536)}[rate]


# --- start and end ---------------------------------------------------------------------------------------------------


def test_the_request_id_is_the_trace_id_once_it_is_known() -> None:
    codec = RasrCodec(Rasr())
    assert codec.request_id == ""
    codec.start()
    codec.receive(server("START"))
    assert codec.request_id == TRACE


def test_a_start_without_a_trace_id_starts_all_the_same() -> None:
    codec = RasrCodec(Rasr())
    codec.start()
    assert codec.receive(server("START", trace_id=None)) == [Started("")]
    assert repr(codec) == "<RasrCodec huawei/continue without a trace id streaming>"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("members", [{"reason": "NORMAL"}, {}])
def test_the_servers_end_behind_the_clients_finishes_every_mode(mode: str, members: dict[str, str]) -> None:
    codec = started(mode)
    codec.finish()
    assert results(codec.receive(result(segment("a", is_final=True))))
    assert codec.receive(server("END", **members)) == [Finished()]


@pytest.mark.parametrize("mode", ["continue", "short"])
def test_an_end_before_the_clients_is_an_error_since_audio_was_cut_off(mode: str) -> None:
    with pytest.raises(RemoteProtocolError, match="reported 'finished' while the task was streaming"):
        started(mode).receive(server("END", reason="NORMAL"))


@pytest.mark.parametrize("reason", ["ERROR", "CANCEL", "SOMETHING"])
def test_an_end_with_another_reason_and_no_error_is_an_error(reason: str) -> None:
    codec = started()
    codec.finish()
    error = failure(codec.receive(server("END", reason=reason)))
    assert type(error) is VendorError
    assert str(error) == f"Huawei ended the task with reason {reason} and no error code (request {TRACE})"


def test_an_end_before_the_clients_with_a_reason_is_an_error_that_names_it() -> None:
    assert "reason ERROR" in str(failure(started().receive(server("END", reason="ERROR"))))


def test_messages_behind_a_cancellation_are_dropped() -> None:
    codec = started()
    codec.cancel()
    for message in (result(segment("a")), event("VOICE_END"), server("END", reason="CANCEL"), server("ERROR")):
        assert codec.receive(message) == []


def test_late_messages_of_the_task_before_do_not_disturb_the_next_task_on_a_connection() -> None:
    codec = RasrCodec(Rasr())
    codec.start()
    late = {
        "RESULT": result(segment("a", is_final=True)),
        "EVENT": event("VOICE_END"),
        "END": server("END", reason="CANCEL"),
    }
    for kind, message in late.items():
        assert codec.receive(message) == [Unrecognised(f"{kind} of an earlier task", message)]
    assert codec.receive(server("START", "another")) == [Started("another")]


def test_each_task_on_a_connection_counts_its_own_segments() -> None:
    for _ in range(2):
        codec = started()
        (final,) = results(codec.receive(result(segment("a", is_final=True))))
        assert final.segment_id == 0
        codec.finish()
        assert codec.receive(server("END", reason="NORMAL")) == [Finished()]


def test_steps_out_of_order_are_refused_by_name() -> None:
    codec = RasrCodec(Rasr())
    with pytest.raises(LocalProtocolError, match="cannot audio while the task is idle"):
        codec.audio(memoryview(b""))
    with pytest.raises(RemoteProtocolError, match="reported 'started' while the task was idle"):
        codec.receive(server("START"))
    codec.start()
    codec.receive(server("START"))
    codec.finish()
    with pytest.raises(LocalProtocolError, match="cannot finish while the task is finishing"):
        codec.finish()


def test_the_state_shows_in_the_repr() -> None:
    assert repr(started("sentence")) == f"<RasrCodec huawei/sentence {TRACE} streaming>"


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_sentence_is_interims_and_a_final_of_one_segment_between_speech_events(mode: str) -> None:
    codec = started(mode)
    words = [{"start_time": 100, "end_time": 800, "word": "第一"}, {"start_time": 800, "end_time": 1_000, "word": "句"}]
    began, interim = codec.receive(result(segment("第一句", end=1_000, result={"word_info": words})))
    assert began == SpeechStarted(segment_id=0, start_ms=100)
    assert isinstance(interim, Result)
    assert (interim.text, interim.is_final, interim.start_ms, interim.end_ms) == ("第一句", False, 100, 1_000)
    assert [(word.text, word.start_ms, word.end_ms) for word in interim.words] == [
        ("第一", 100, 800),
        ("句", 800, 1_000),
    ]
    assert interim.confidence is None
    final, ended = codec.receive(result(segment("第一句话", is_final=True)))
    assert isinstance(final, Result)
    assert (final.text, final.is_final, final.segment_id, final.end_ms) == ("第一句话", True, 0, 1_500)
    assert (final.confidence, final.request_id) == (0.9, TRACE)
    assert ended == SpeechEnded(segment_id=0, end_ms=1_500)


def test_one_message_may_carry_several_segments() -> None:
    codec = started()
    codec.receive(result(segment("a")))
    message = result(segment("ab", is_final=True), segment("c", 2_000, 2_400), segment("d", 3_000, 3_100))
    found = codec.receive(message)
    assert [(r.text, r.is_final, r.segment_id) for r in results(found)] == [
        ("ab", True, 0),
        ("c", False, 1),
        ("d", False, 2),
    ]
    assert [type(e) for e in found[:2]] == [Result, SpeechEnded]
    assert all(r.raw == message for r in results(found))


def test_interims_of_two_open_sentences_belong_to_their_segments() -> None:
    codec = started()
    codec.receive(result(segment("a", 0, 500), segment("b", 1_000, 1_500)))
    found = results(
        codec.receive(result(segment("bb", 1_000, 1_800, is_final=True), segment("aa", 0, 900, is_final=True)))
    )
    assert [(r.text, r.segment_id) for r in found] == [("bb", 1), ("aa", 0)]


def test_a_repeated_final_is_dropped_also_beside_the_next_sentence() -> None:
    codec = started()
    final = segment("a", is_final=True)
    assert len(results(codec.receive(result(final)))) == 1
    assert codec.receive(result(final)) == []
    assert [r.text for r in results(codec.receive(result(final, segment("b", 2_000, 2_500))))] == ["b"]


def test_an_interim_behind_its_final_is_dropped() -> None:
    codec = started()
    codec.receive(result(segment("ab", is_final=True)))
    assert codec.receive(result(segment("a", end=900))) == []


def test_a_later_sentence_with_the_same_start_is_not_a_repeat() -> None:
    codec = started()
    codec.receive(result(segment("a", 0, 1_000, is_final=True)))
    (second,) = results(codec.receive(result(segment("b", 0, 2_000, is_final=True))))
    assert (second.text, second.segment_id) == ("b", 1)


def test_the_memory_of_a_long_session_is_bounded() -> None:
    codec = started()
    for number in range(1_000):
        (final,) = results(codec.receive(result(segment("a", number * 10, number * 10 + 9, is_final=True))))
        assert final.segment_id == 2 * number
        start = 1_000_000 + number * 1_000
        codec.receive(result(segment("never closed", start, start + 900)))
    tracker = codec._sentences._tracker
    assert len(tracker._finals) == len(tracker._open) == len(tracker._withdrawn) == MAX_REMEMBERED


def test_a_segment_without_a_result_makes_no_event_unless_it_closes_an_open_one() -> None:
    codec = started()
    assert codec.receive(result(segment(None))) == []
    assert codec.receive(result(segment(None, is_final=True))) == []
    assert codec.receive(result(segment("", is_final=True))) == []
    codec.receive(result(segment("mm")))
    (final,) = results(codec.receive(result(segment(None, is_final=True))))
    assert (final.text, final.is_final, final.segment_id, final.confidence) == ("", True, 0, None)


def test_missing_times_are_those_of_the_words_or_the_open_sentence() -> None:
    codec = started()
    words = [{"start_time": 70, "word": "a"}, {"start_time": 200, "end_time": 300}, {}]
    (interim,) = results(codec.receive(result(segment("a", None, None, result={"word_info": words[:2]}))))
    assert (interim.start_ms, interim.end_ms) == (70, 300)
    assert [(word.text, word.start_ms, word.end_ms) for word in interim.words] == [("a", 70, 70), ("", 200, 300)]
    (final,) = results(codec.receive(result(segment("ab", None, 500, is_final=True))))
    assert (final.segment_id, final.start_ms, final.end_ms) == (0, 70, 500)
    (other,) = results(started().receive(result(segment("a", None, None))))
    assert (other.start_ms, other.end_ms) == (0, 0)


def test_a_result_without_a_trace_id_is_of_this_round() -> None:
    (found,) = results(started().receive(result(segment("a"), trace_id=None)))
    assert found.request_id == TRACE


def test_members_without_a_field_are_in_raw() -> None:
    message = result(segment("a", result={"speaker": 3}))
    (found,) = results(started().receive(message))
    assert json.loads(found.raw)["segments"][0]["result"]["speaker"] == 3


# --- sentences without a key -----------------------------------------------------------------------------------------


def brief(events: list[Any]) -> list[Any]:
    """Return results as (segment, text, is_final), and other events as the name of their kind."""
    return [
        (event.segment_id, event.text, event.is_final) if isinstance(event, Result) else type(event).__name__
        for event in events
    ]


@pytest.mark.parametrize("starts", [(100, 130, 120), (100, 100, 60), (100, 140, 200), (0, -40, 40)])
def test_a_sentence_whose_start_jitters_is_one_segment(starts: tuple[int, int, int]) -> None:
    codec = started()
    first, second, last = starts
    events = codec.receive(result(segment("a", first, 600)))
    events += codec.receive(result(segment("a b", second, 900)))
    events += codec.receive(result(segment("a b c", last, 1_500, is_final=True)))
    assert brief(events) == ["SpeechStarted", (0, "a", False), (0, "a b", False), (0, "a b c", True), "SpeechEnded"]
    assert codec.receive(result(segment("a b c", first, 1_520, is_final=True))) == []


@pytest.mark.parametrize("missing", [None, -1])
def test_a_sentence_without_a_start_is_the_open_one(missing: int | None) -> None:
    codec = started()
    codec.receive(result(segment("a", 700, 900)))
    (final,) = results(codec.receive(result(segment("a b", missing, 1_500, is_final=True))))
    assert (final.segment_id, final.start_ms, final.end_ms) == (0, 700, 1_500)


@pytest.mark.parametrize("end", [None, -1, -500, 0])
def test_a_final_without_a_usable_end_ends_with_its_last_word_or_where_it_begins(end: int | None) -> None:
    words = [{"start_time": 700, "end_time": 900, "word": "a"}, {"start_time": 900, "word": "b"}]
    message = segment("a b", 700, end, is_final=True, result={"word_info": words})
    (final,) = results(started().receive(result(message)))
    assert (final.start_ms, final.end_ms) == (700, 900)
    (final,) = results(started().receive(result(segment("a b", 700, end, is_final=True))))
    assert (final.start_ms, final.end_ms) == (700, 700)


def test_a_word_without_times_has_the_place_where_the_word_before_it_ends() -> None:
    words = [{"word": "a"}, {"start_time": 700, "end_time": 900, "word": "b"}, {"end_time": -1, "word": "c"}]
    (final,) = results(started().receive(result(segment("a b c", 500, is_final=True, result={"word_info": words}))))
    assert [(word.text, word.start_ms, word.end_ms) for word in final.words] == [
        ("a", 500, 500),
        ("b", 700, 900),
        ("c", 900, 900),
    ]


def test_finals_out_of_order_and_late_keep_their_segments() -> None:
    codec = started()
    for number in range(3):
        codec.receive(result(segment(f"s{number}", number * 1_000, number * 1_000 + 700)))
    events = [
        event
        for number in (2, 0, 1)
        for event in codec.receive(
            result(segment(f"s{number}!", number * 1_000 + 30, number * 1_000 + 900, is_final=True))
        )
    ]
    assert [(r.segment_id, r.text) for r in results(events)] == [(2, "s2!"), (0, "s0!"), (1, "s1!")]
    assert not any(isinstance(event, SpeechEnded) and event.is_withdrawn for event in events)


def test_open_sentences_are_finals_that_are_not_confirmed_at_the_end() -> None:
    codec = started()
    codec.receive(result(segment("a", 0, 900), segment("b", 1_000, 1_300)))
    codec.finish()
    events = codec.receive(server("END", reason="NORMAL"))
    assert brief(events) == [(0, "a", True), "SpeechEnded", (1, "b", True), "SpeechEnded", "Finished"]
    assert not any(r.is_confirmed for r in results(events))


def test_announced_speech_without_a_text_is_reported_at_the_end() -> None:
    codec = started("sentence")
    codec.receive(event("VOICE_START", 420))
    codec.receive(event("VOICE_END", 1_500))
    codec.finish()
    assert codec.receive(server("END", reason="NORMAL")) == [
        SpeechEnded(segment_id=0, end_ms=420, is_withdrawn=True),
        Unheard(420, None, "the vendor reported speech, and ended the task without a text for it"),
        Finished(),
    ]


# --- messages of another task ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "late",
    [
        result(segment("another", is_final=True), trace_id="another"),
        server("EVENT", "another", event="EXCEEDED_AUDIO"),
        server("END", "another", reason="NORMAL"),
        server("END", "another", reason="ERROR"),
        server("ERROR", "another", error_code="SIS.0305", error_msg="recognition failed"),
    ],
    ids=["RESULT", "EVENT", "END", "END with a reason", "ERROR"],
)
@pytest.mark.parametrize("is_finishing", [True, False])
def test_a_message_with_another_trace_id_changes_nothing(late: str, is_finishing: bool) -> None:
    codec = started("sentence")
    if is_finishing:
        codec.finish()
    name = f"{json.loads(late)['resp_type']} of another task"
    assert codec.receive(late) == [Unrecognised(name, late)]
    assert [r.text for r in results(codec.receive(result(segment("ours", is_final=True))))] == ["ours"]
    assert codec.receive(late) == [Unrecognised(name, late)]
    assert codec.receive(server("END", reason="NORMAL")) == [Finished()]


def test_without_a_trace_id_in_start_every_message_is_of_this_task() -> None:
    codec = RasrCodec(Rasr())
    codec.start()
    codec.receive(server("START", trace_id=None))
    assert [r.request_id for r in results(codec.receive(result(segment("a"), trace_id="any")))] == ["any"]


def test_a_fatal_error_is_about_the_connection_whatever_its_trace_id() -> None:
    message = server("FATAL_ERROR", "another", error_code="SIS.0304", error_msg="wait voice timeout")
    assert failure(started().receive(message)).code == "SIS.0304"


def test_a_repeated_start_changes_nothing() -> None:
    codec = started()
    assert codec.receive(server("START")) == [Unrecognised("second START", server("START"))]
    assert results(codec.receive(result(segment("a"))))


def test_of_two_starts_the_one_is_ours_whose_id_comes_next() -> None:
    codec = RasrCodec(Rasr())
    codec.start()
    assert codec.receive(server("START", "before")) == [Started("before")]
    codec.receive(server("START", "ours"))
    (found,) = results(codec.receive(result(segment("a"), trace_id="ours")))
    assert (found.request_id, codec.request_id) == ("ours", "ours")
    late = server("END", "before", reason="NORMAL")
    codec.finish()
    assert codec.receive(late) == [Unrecognised("END of another task", late)]
    assert codec.receive(server("START", "later")) == [Unrecognised("second START", server("START", "later"))]
    assert codec.receive(server("END", "later", reason="NORMAL"))[0] != Finished()
    assert codec.receive(server("END", "ours", reason="NORMAL"))[-1] == Finished()


# --- events ----------------------------------------------------------------------------------------------------------


def test_voice_start_announces_the_segment_that_follows() -> None:
    codec = started("sentence")
    assert codec.receive(event("VOICE_START", 420)) == [SpeechStarted(segment_id=0, start_ms=420)]
    assert codec.receive(event("VOICE_START")) == []
    (interim,) = codec.receive(result(segment("a", 400)))
    assert isinstance(interim, Result)
    assert interim.segment_id == 0
    assert codec.receive(event("VOICE_START")) == []


def test_the_end_of_the_sentence_closes_the_input_and_the_task_ends_as_in_every_mode() -> None:
    codec = started("sentence")
    codec.receive(result(segment("a")))
    assert codec.receive(event("VOICE_END", 1_500)) == [InputClosed()]
    codec.audio(memoryview(bytes(3_200)))  # under way when the event came; the server ignores it
    assert [decoded(message) for message in codec.finish()] == [{"command": "END", "cancel": False}]
    (final,) = results(codec.receive(result(segment("ab", is_final=True))))
    assert final.text == "ab"
    assert codec.receive(server("END", reason="NORMAL")) == [Finished()]


@pytest.mark.parametrize("name", ["EXCEEDED_SILENCE", "EXCEEDED_SILCENCE", "EXCEED_SLIENCE"])
@pytest.mark.parametrize("is_finishing", [True, False])
def test_nothing_but_silence_is_the_end_of_a_source_without_speech_in_every_spelling(
    name: str, is_finishing: bool
) -> None:
    codec = started("sentence")
    message = event(name)
    assert codec.receive(message) == [InputClosed()]
    if is_finishing:
        codec.finish()
    (ending,) = codec.receive(server("END", reason="NORMAL"))
    assert isinstance(ending, NoSpeech)
    error = ending.error
    assert type(error) is VendorError
    assert str(error) == (
        "no speech was recognised: only silence was sent, or audio of another format than declared; vad_head= sets how "
        f"long silence may last (code EXCEEDED_SILENCE, request {TRACE})"
    )
    assert (error.retryable, error.raw, error.vendor) == (False, message, "huawei")


def test_silence_in_the_short_mode_is_the_end_of_a_source_without_speech_too() -> None:
    codec = started("short")
    assert codec.receive(event("EXCEEDED_SILENCE"))
    codec.finish()
    (ending,) = codec.receive(server("END", reason="NORMAL"))
    assert isinstance(ending, NoSpeech)


@pytest.mark.parametrize("is_final", [True, False])
def test_silence_behind_a_text_is_a_normal_end(is_final: bool) -> None:
    codec = started("sentence")
    codec.receive(result(segment("a", is_final=is_final)))
    codec.receive(event("EXCEEDED_SILENCE"))
    codec.finish()
    events = codec.receive(server("END", reason="NORMAL"))
    assert events[-1] == Finished()
    assert [(r.text, r.is_confirmed) for r in results(events)] == [("a", False)] * (not is_final)


def test_speech_that_turns_out_to_be_silence_is_withdrawn() -> None:
    codec = started("sentence")
    codec.receive(event("VOICE_START", 420))
    withdrawn = SpeechEnded(segment_id=0, end_ms=420, is_withdrawn=True)
    assert codec.receive(event("EXCEEDED_SILENCE")) == [withdrawn, InputClosed()]
    codec.finish()
    (ending,) = codec.receive(server("END", reason="NORMAL"))
    assert isinstance(ending, NoSpeech)


def test_a_sentence_that_the_server_ends_by_itself_is_finished() -> None:
    codec = started("sentence")
    assert codec.receive(event("VOICE_END")) == [InputClosed()]
    assert codec.receive(server("END", reason="NORMAL")) == [Finished()]
    with pytest.raises(LocalProtocolError, match="cannot finish while the task is done"):
        codec.finish()


def test_the_input_is_not_closed_again_after_the_clients_end() -> None:
    codec = started("sentence")
    codec.finish()
    assert codec.receive(event("VOICE_END")) == []


@pytest.mark.parametrize("mode", MODES)
def test_audio_beyond_the_limit_is_an_error_after_the_results_that_are_still_to_come(mode: str) -> None:
    codec = started(mode)
    assert codec.receive(event("EXCEEDED_AUDIO")) == [InputClosed()]
    codec.finish()
    assert [r.text for r in results(codec.receive(result(segment("a", is_final=True))))] == ["a"]
    error = failure(codec.receive(server("END", reason="NORMAL")))
    assert (error.code, error.request_id, error.retryable) == ("SIS.0309", TRACE, False)
    assert str(error).startswith("EXCEEDED_AUDIO: the audio is longer than the mode allows")


@pytest.mark.parametrize("mode", ["continue", "short"])
@pytest.mark.parametrize("name", ["VOICE_END", "EXCEEDED_SILENCE"])
def test_events_of_the_sentence_mode_end_nothing_elsewhere(mode: str, name: str) -> None:
    codec = started(mode)
    message = event(name)
    assert codec.receive(message) == [Unrecognised(f"event {name!r} in mode {mode}", message)]
    codec.finish()


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (event("BRAND_NEW"), "event 'BRAND_NEW' in mode sentence"),
        (server("EVENT"), "event None in mode sentence"),
        (server("RESULT"), "RESULT without segments"),
        (server("BRAND_NEW"), "BRAND_NEW"),
        ("{}", "message without a resp_type"),
        (b"\x00\x01", "binary message"),
    ],
)
def test_an_unknown_message_is_reported_and_not_fatal(message: str | bytes, name: str) -> None:
    (unknown,) = started("sentence").receive(message)
    assert isinstance(unknown, Unrecognised)
    assert unknown.name == name


@pytest.mark.parametrize("message", ["{broken", "[]", '{"resp_type": 1}', '{"resp_type": []}', "7"])
def test_an_unreadable_message_is_a_remote_protocol_error_that_shows_it(message: str) -> None:
    with pytest.raises(RemoteProtocolError, match="unreadable message from Huawei") as caught:
        started().receive(message)
    assert repr(message) in str(caught.value)
    assert (caught.value.vendor, caught.value.request_id) == ("huawei", TRACE)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_an_error_in_mid_stream_is_reported_once_though_an_end_follows() -> None:
    codec = started()
    codec.receive(result(segment("a")))
    error = failure(codec.receive(server("ERROR", error_code="SIS.0305", error_msg="recognition failed.")))
    assert str(error) == (
        f"recognition failed: the recognition failed; try again in a new session (code SIS.0305, request {TRACE})"
    )
    assert error.retryable
    assert codec.receive(server("END", reason="ERROR")) == []
    assert codec.receive(server("ERROR", error_code="SIS.0305")) == []


def test_an_error_without_a_trace_id_has_that_of_the_round() -> None:
    error = failure(started().receive(server("ERROR", trace_id=None, error_code="SIS.0100", error_msg="x")))
    assert (error.code, error.request_id) == ("SIS.0100", TRACE)


def test_an_error_that_refuses_the_start_needs_no_trace_id() -> None:
    codec = RasrCodec(Rasr())
    codec.start()
    message = server("ERROR", trace_id=None, error_code="SIS.0301", error_msg="'audio_format' is not match model")
    error = failure(codec.receive(message))
    assert str(error) == (
        "'audio_format' is not match model: audio_format and property must have the same sample rate (code SIS.0301)"
    )
    assert error.request_id is None


@pytest.mark.parametrize("is_finishing", [False, True])
def test_a_fatal_error_ends_the_task(is_finishing: bool) -> None:
    codec = started()
    if is_finishing:
        codec.finish()
    message = server("FATAL_ERROR", error_code="SIS.0304", error_msg="wait voice timeout")
    error = failure(codec.receive(message))
    assert str(error).startswith("wait voice timeout: no audio was sent for 20 s")
    assert error.raw == message
    assert error.retryable


def test_an_error_of_an_old_gateway_has_no_resp_type() -> None:
    error = failure(started().receive('{"error_code": "SIS.0032", "error_msg": "\'audio_format\' is invalid"}'))
    assert (error.code, error.request_id) == ("SIS.0032", TRACE)


def test_an_error_without_code_and_text_still_ends_the_task() -> None:
    error = failure(started().receive(server("ERROR")))
    assert str(error) == f"Huawei ended the task with an error (request {TRACE})"
    assert not error.retryable


@pytest.mark.parametrize(
    ("code", "error_class", "retryable"),
    [
        ("SIS.0001", VendorError, True),
        ("SIS.0003", AuthenticationError, False),
        ("SIS.0012", VendorError, False),
        ("SIS.0022", VendorError, False),
        ("SIS.0031", VendorError, False),
        ("SIS.0032", VendorError, False),
        ("SIS.0033", VendorError, True),
        ("SIS.0100", VendorError, True),
        ("SIS.0101", AuthenticationError, False),
        ("SIS.0102", AuthenticationError, False),
        ("SIS.0103", AuthenticationError, False),
        ("SIS.0201", VendorError, False),
        ("SIS.0208", VendorError, False),
        ("SIS.0301", VendorError, False),
        ("SIS.0302", VendorError, True),
        ("SIS.0303", VendorError, True),
        ("SIS.0304", VendorError, True),
        ("SIS.0307", VendorError, True),
        ("SIS.0309", VendorError, False),
        ("SIS.0312", RateLimitedError, True),
        ("SIS.30006", VendorError, False),
        ("SIS.30007", VendorError, False),
        ("APIGW.0301", AuthenticationError, False),
        ("APIG.0301", AuthenticationError, False),
        ("APIGW.0307", AuthenticationError, False),
        ("APIGW.0308", RateLimitedError, True),
        ("APIG.0308", RateLimitedError, True),
        ("APIG.0201", VendorError, True),
        ("SIS.9999", VendorError, False),
    ],
)
def test_a_code_decides_the_class_and_whether_to_try_again(
    code: str, error_class: type[ASRError], retryable: bool
) -> None:
    error = error_from_code(code, "")
    assert type(error) is error_class
    assert error.retryable is retryable
    assert (error.code, error.vendor) == (code, "huawei")


def test_every_code_of_the_table_makes_a_one_line_error() -> None:
    for code in CODES:
        text = str(error_from_code(code, "first\nsecond line"))
        assert "\n" not in text
        assert code in text


def refusal(code: str, message: str, status: int = 401, **headers: str) -> ASRError:
    body = json.dumps({"error_msg": message, "error_code": code}).encode()
    return error_from_response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def test_a_wrong_signature_is_refused_with_status_code_and_text() -> None:
    text = "Incorrect IAM authentication information: verify aksk signature fail"
    error = refusal("APIGW.0301", text, X_Request_Id="r-9")
    assert isinstance(error, AuthenticationError)
    assert str(error).startswith(f"HTTP 401: {text}: check the keys or the token")
    assert str(error).endswith("(code APIGW.0301, request r-9)")
    assert "clock" not in str(error)


def test_an_expired_signature_names_the_clock_as_the_likely_cause() -> None:
    error = refusal("APIGW.0301", "Incorrect IAM authentication information: x-sdk-date or signature expired")
    assert isinstance(error, AuthenticationError)
    assert "the likely cause is this machine's clock, more than 15 minutes off" in str(error)


def test_an_expired_token_is_not_attributed_to_the_clock() -> None:
    error = refusal("APIGW.0301", "Incorrect IAM authentication information: token expires")
    assert "clock" not in str(error)
    assert "request a new token" in str(error)
    assert error.code in STALE_TOKEN_CODES


def test_a_throttled_handshake_says_how_long_to_wait_where_the_vendor_does() -> None:
    limited = refusal("APIGW.0308", "The throttling threshold has been reached", 429, Retry_After="3")
    assert isinstance(limited, RateLimitedError)
    assert limited.retry_after == 3.0
    bare = error_from_response(429, {}, b"")
    assert isinstance(bare, RateLimitedError)
    assert bare.retry_after is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[]", b'{"error_code": null}'])
def test_the_status_decides_for_a_refused_handshake_without_a_readable_body(body: bytes) -> None:
    assert isinstance(error_from_response(401, {}, body), AuthenticationError)
    assert isinstance(error_from_response(403, {}, body), AuthenticationError)
    assert error_from_response(503, {}, body).retryable
    missing = error_from_response(404, {}, body)
    assert not missing.retryable
    assert str(missing) == (
        "HTTP 404: the request was refused: check the endpoint, its path, the region and the project id (code 404)"
    )
