"""The codec of FunASR's real-time server, by values: what it sends, and the events of growing lists of sentences."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asr_async import (
    ConfigurationError,
    FunASRNano,
    LocalProtocolError,
    RateLimitedError,
    RemoteProtocolError,
    Result,
    SpeechEnded,
    SpeechStarted,
    VendorError,
)
from asr_async.vendors.codec import CodecEvent, Failed, Finished, MembersLeftOut, Started, Unheard, Unrecognised
from asr_async.vendors.funasr.realtime import RealtimeCodec

STARTED, STOPPED = '{"event": "started"}', '{"event": "stopped"}'
FINDS_ENDS = '{"event": "error", "error": "COMMIT requires --endpoint-mode client"}'
NOT_ACTIVE = '{"event": "error", "error": "Session is not active; send START first"}'
"""The answers of funasr 1.4.16 to COMMIT."""


def sentence(text: str, start: int, end: int, **members: Any) -> dict[str, Any]:
    return {"text": text, "start": start, "end": end, **members}


def result(*sentences: dict[str, Any], partial: str = "", start: int = 0, heard: int = 0, final: bool = False) -> str:
    return json.dumps(
        {
            "sentences": sentences,
            "partial": partial,
            "partial_start_ms": start,
            "duration_ms": heard,
            "is_final": final,
        }
    )


def started(options: FunASRNano | None = None) -> RealtimeCodec:
    codec = RealtimeCodec(options or FunASRNano())
    codec.start()
    answer = NOT_ACTIVE if options is not None and options.manual_commit else FINDS_ENDS
    assert codec.receive(answer) == []
    assert codec.receive(STARTED) == [Started("")]
    return codec


def finals(events: list[CodecEvent]) -> list[tuple[str, int, int]]:
    return [(each.text, each.start_ms, each.end_ms) for each in events if isinstance(each, Result) and each.is_final]


def error_of(events: list[CodecEvent]) -> Exception:
    (failed,) = events
    assert isinstance(failed, Failed)
    return failed.error


A, B = sentence("good morning", 200, 1_000), sentence("how are you", 1_500, 2_400)


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_options_are_commands_before_start() -> None:
    options = FunASRNano(
        language="zh", hotwords=["通义", "Paraformer"], replacements={"tongyi": "通义"}, extra_commands=["NEW:1"]
    )
    assert RealtimeCodec(options).start() == [
        "NEW:1",
        "LANGUAGE:zh",
        "HOTWORDS:通义,Paraformer",
        "POSTPROCESS_HOTWORDS:tongyi=>通义",
        "COMMIT",
        "START",
    ]


def test_options_without_a_value_are_not_sent() -> None:
    assert RealtimeCodec(FunASRNano()).start() == ["COMMIT", "START"]


def test_audio_is_sent_as_it_is_and_the_end_is_stop() -> None:
    codec = started()
    frame = bytes(3_200)
    assert codec.audio(frame) is frame
    assert codec.finish() == ["STOP"]
    assert codec.receive(STOPPED) == [Finished()]


def test_audio_before_the_start_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="cannot audio while the task is idle"):
        RealtimeCodec(FunASRNano()).audio(b"")


# --- the start -------------------------------------------------------------------------------------------------------


def test_the_answers_to_options_are_no_events() -> None:
    codec = RealtimeCodec(FunASRNano())
    codec.start()
    for event in ("hotwords_set", "language_set", "postprocess_hotwords_set"):
        assert codec.receive(json.dumps({"event": event, "hotwords": []})) == []


def test_a_server_that_finds_no_ends_is_refused_at_the_start() -> None:
    codec = RealtimeCodec(FunASRNano())
    codec.start()
    error = error_of(codec.receive(NOT_ACTIVE))
    assert isinstance(error, VendorError)
    assert str(error) == (
        "Session is not active; send START first: this server was started with --endpoint-mode client and finds no "
        "ends of sentences: pass manual_commit=True and call commit(), or start it without that option"
    )


def test_a_server_that_takes_no_commits_is_refused_at_the_start() -> None:
    codec = RealtimeCodec(FunASRNano(manual_commit=True))
    codec.start()
    error = error_of(codec.receive(FINDS_ENDS))
    assert isinstance(error, VendorError)
    assert str(error) == (
        "COMMIT requires --endpoint-mode client: start the server with --endpoint-mode client, or leave "
        "manual_commit=True out"
    )


def test_a_server_that_does_not_know_commit_is_refused_at_the_start() -> None:
    codec = RealtimeCodec(FunASRNano(manual_commit=True))
    codec.start()
    error = error_of(codec.receive(STARTED))
    assert str(error) == (
        "manual_commit=True: the server does not know COMMIT, which funasr-realtime-server has from 1.3.16 on"
    )


def test_a_server_that_does_not_know_commit_serves_sessions_without_commits() -> None:
    codec = RealtimeCodec(FunASRNano())
    codec.start()
    assert codec.receive(STARTED) == [Started("")]


@pytest.mark.parametrize(
    ("text", "error_class", "retryable"),
    [
        ("too many sessions: the engine is full", RateLimitedError, True),
        ("internal error: CUDA out of memory", VendorError, True),
        ("something else", VendorError, False),
        ("", VendorError, False),
    ],
)
def test_an_error_event_ends_the_task(text: str, error_class: type[Exception], retryable: bool) -> None:
    error = error_of(started().receive(json.dumps({"event": "error", "error": text})))
    assert type(error) is error_class
    assert isinstance(error, VendorError | RateLimitedError)
    assert error.retryable == retryable
    assert str(error).startswith(text or "the server reported an error without a text")


# --- growing sentences -----------------------------------------------------------------------------------------------


def test_each_sentence_is_final_once() -> None:
    codec = started()
    assert finals(codec.receive(result(A, heard=1_500))) == [("good morning", 200, 1_000)]
    assert codec.receive(result(A, heard=2_000)) == []
    assert finals(codec.receive(result(A, B, heard=2_900))) == [("how are you", 1_500, 2_400)]
    codec.finish()
    assert codec.receive(result(A, B, heard=3_000, final=True)) == []
    assert codec.receive(STOPPED) == [Finished()]


def test_the_partial_is_the_interim_of_the_next_sentence() -> None:
    codec = started()
    events = codec.receive(result(partial="good", start=200, heard=700))
    first = Result(
        text="good",
        is_final=False,
        segment_id=0,
        start_ms=200,
        end_ms=700,
        raw='{"partial":"good","partial_start_ms":200,"duration_ms":700,"is_final":false}',
    )
    assert events == [SpeechStarted(segment_id=0, start_ms=200), first]
    final, ended, second, interim = codec.receive(result(A, partial="how", start=1_500, heard=1_900))
    assert isinstance(final, Result)
    assert (final.segment_id, final.is_final, final.raw) == (0, True, '{"text":"good morning","start":200,"end":1000}')
    assert ended == SpeechEnded(segment_id=0, end_ms=1_000)
    assert second == SpeechStarted(segment_id=1, start_ms=1_500)
    assert isinstance(interim, Result)
    assert (interim.segment_id, interim.text, interim.is_final) == (1, "how", False)


def test_the_raw_text_of_a_final_has_members_that_are_not_known() -> None:
    (_, final, _) = started().receive(result(sentence("good", 0, 400, spk=1, mood="calm")))
    assert isinstance(final, Result)
    assert json.loads(final.raw) == {"text": "good", "start": 0, "end": 400, "spk": 1, "mood": "calm"}


def test_a_partial_that_loses_its_beginning_stays_in_its_segment() -> None:
    """The server recognises the newest 8 s of a long sentence."""
    codec = started()
    starts = [1_000, 1_000, 1_960, 2_920, 3_880]
    heard = [5_000, 9_000, 9_960, 10_920, 11_880]
    for start, end in zip(starts, heard, strict=True):
        *_, interim = codec.receive(result(partial=f"words until {end}", start=start, heard=end))
        assert isinstance(interim, Result)
        assert (interim.segment_id, interim.start_ms, interim.end_ms) == (0, 1_000, end)
    events = codec.receive(result(sentence("all the words", 1_000, 12_000), heard=12_500))
    assert [type(event) for event in events] == [Result, SpeechEnded]


@pytest.mark.parametrize(
    ("window", "text"),
    [
        ("three four five", "one two three four five"),
        ("ree four five", "one two three four five"),  # the first word is cut in two
        ("four", "one two three four"),
        ("sees fore jive", "one two sees fore jive"),  # other words for the same audio
        ("三四五", "one two 三四五"),
    ],
)
def test_the_words_that_a_partial_has_lost_stay_in_the_interim(window: str, text: str) -> None:
    codec = started()
    codec.receive(result(partial="one two three four", start=1_000, heard=9_000))
    *_, interim = codec.receive(result(partial=window, start=5_000, heard=13_000))
    assert isinstance(interim, Result)
    assert (interim.text, interim.segment_id, interim.start_ms) == (text.replace("two 三", "two三"), 0, 1_000)


@pytest.mark.parametrize(
    ("window", "start_ms", "heard_ms", "text"),
    [
        # shorter than the partial before, of which it repeats the last words
        ("four five", 7_000, 9_600, "one two three four five"),
        # the first word was short: the start moves by less than it may move by itself
        ("two three four five", 1_060, 9_600, "one two three four five"),
        # the start moved by itself, and the words are others than before: a new reading, and no words that were lost
        ("won two three four", 1_060, 9_100, "won two three four"),
        ("two three four", 1_000, 9_100, "two three four"),
    ],
)
def test_a_partial_that_moves_a_little_or_becomes_shorter(window: str, start_ms: int, heard_ms: int, text: str) -> None:
    codec = started()
    codec.receive(result(partial="one two three four", start=1_000, heard=9_000))
    *_, interim = codec.receive(result(partial=window, start=start_ms, heard=heard_ms))
    assert isinstance(interim, Result)
    assert (interim.text, interim.segment_id, interim.start_ms) == (text, 0, 1_000)


def test_a_partial_that_vanished_does_not_lend_its_place_to_the_next_one() -> None:
    codec = started()
    codec.receive(result(partial="uh", start=1_000, heard=1_600))
    events = codec.receive(result(partial="good", start=5_000, heard=5_500))
    assert [type(event) for event in events] == [SpeechEnded, SpeechStarted, Result]
    assert events[0] == SpeechEnded(segment_id=0, end_ms=1_600, is_withdrawn=True, withdrawn_text="uh")
    assert events[1] == SpeechStarted(segment_id=1, start_ms=5_000)


def test_what_is_still_a_partial_at_the_end_is_a_final_that_is_not_confirmed() -> None:
    codec = started()
    codec.receive(result(partial="good", start=200, heard=700))
    codec.finish()
    final, _, finished = codec.receive(STOPPED)
    assert isinstance(final, Result)
    assert (final.text, final.is_final, final.is_confirmed) == ("good", True, False)
    assert finished == Finished()


@pytest.mark.parametrize(
    ("partials", "unheard"),
    [
        # the first partial of the sentence has only its newest words, as far as its text tells
        ([("three four five", 4_000, 5_200)], (1_000, 4_000)),
        ([("three four", 4_000, 4_900), ("four five six", 4_300, 5_500)], (1_000, 4_000)),
        # behind it, a window that has nothing of the one before
        ([("two", 1_800, 2_200), ("three four five", 4_000, 5_200)], (1_000, 4_000)),
        # the sentence was seen from its first word on
        ([("three", 4_000, 4_400), ("three four five", 4_050, 5_200)], None),
        ([("three", 4_000, 4_400), ("three four", 3_950, 4_800)], None),
        # no audio is between the final and the partial, but for the exactness of times
        ([("three four five", 1_080, 2_200)], None),
    ],
)
def test_words_that_no_partial_had_are_unheard_if_the_server_stops_without_a_final(
    partials: list[tuple[str, int, int]], unheard: tuple[int, int] | None
) -> None:
    codec = started()
    codec.receive(result(A))  # it ends at 1,000
    for text, start_ms, heard_ms in partials:
        codec.receive(result(A, partial=text, start=start_ms, heard=heard_ms))
    codec.finish()
    events = codec.receive(STOPPED)
    gaps = [(event.start_ms, event.end_ms) for event in events if isinstance(event, Unheard)]
    assert gaps == ([] if unheard is None else [unheard])
    assert not gaps or isinstance(events[0], Unheard)  # in the order of the audio


# --- sentences that are divided anew ---------------------------------------------------------------------------------


def test_a_partial_is_behind_the_sentences_of_its_message_whatever_their_times() -> None:
    """Its word is one of the sentence before it, and both times are off by up to 100 ms."""
    codec = started()
    codec.audio(bytes(64_000))
    said = sentence("good yes", 500, 1_000)
    codec.receive(result(said))
    (interim,) = [
        each for each in codec.receive(result(said, partial="yes", start=850, heard=1_500)) if isinstance(each, Result)
    ]
    assert (interim.text, interim.start_ms) == ("yes", 1_000)
    # an older message again
    assert not [
        each for each in codec.receive(result(partial="good yes", start=500, heard=900)) if isinstance(each, Result)
    ]


def test_words_that_were_final_are_not_repeated_when_speakers_divide_a_sentence() -> None:
    """With `--enable-spk`, the server divides sentences at the end by characters, in the middle of a word too."""
    codec = started()
    codec.receive(result(A, B))
    halves = [sentence("good mor", 200, 700, spk=0), sentence("ning", 700, 1_000, spk=1), {**B, "spk": 1}]
    events = codec.receive(result(*halves, sentence("fine", 2_500, 2_900)))
    assert finals(events) == [("fine", 2_500, 2_900)]
    assert not any(event.may_repeat for event in events if isinstance(event, Result))


def test_a_speaker_that_changes_is_no_new_sentence() -> None:
    codec = started()
    codec.receive(result({**A, "spk": 0}))
    assert codec.receive(result({**A, "spk": 1})) == []


def test_sentences_that_are_joined_are_marked_if_they_have_new_words() -> None:
    codec = started()
    codec.receive(result(A))
    events = codec.receive(result(sentence("good morning everyone", 200, 1_400)))
    final = next(event for event in events if isinstance(event, Result))
    assert (final.text, final.may_repeat) == ("good morning everyone", True)


def test_a_sentence_with_other_words_is_marked_and_the_ones_behind_it_are_not() -> None:
    codec = started()
    codec.receive(result(A, B))
    events = codec.receive(result(sentence("good evening", 200, 1_000), B, sentence("fine", 3_000, 3_400)))
    marks = {event.text: event.may_repeat for event in events if isinstance(event, Result)}
    assert marks == {"good evening": True, "fine": False}


def test_a_list_that_becomes_shorter_repeats_nothing() -> None:
    codec = started()
    codec.receive(result(A, B))
    assert codec.receive(result(A)) == []
    assert codec.receive(result()) == []
    assert codec.receive(result(A, B)) == []


# --- commits ---------------------------------------------------------------------------------------------------------


def test_a_commit_makes_the_utterance_final_and_the_list_begins_anew() -> None:
    codec = started(FunASRNano(manual_commit=True))
    assert codec.commit() == ["COMMIT"]
    assert finals(codec.receive(result(A, final=True))) == [("good morning", 200, 1_000)]
    codec.commit()
    assert finals(codec.receive(result(B, final=True))) == [("how are you", 1_500, 2_400)]
    codec.commit()
    again = sentence("how are you", 3_000, 3_900)
    assert finals(codec.receive(result(again, final=True))) == [("how are you", 3_000, 3_900)]


def test_an_utterance_without_a_text_ends_with_its_commit() -> None:
    codec = started(FunASRNano(manual_commit=True))
    codec.receive(result(partial="uh", start=200, heard=700))
    codec.commit()
    assert codec.receive(result(heard=900, final=True)) == [
        SpeechEnded(segment_id=0, end_ms=700, is_withdrawn=True, withdrawn_text="uh")
    ]


# --- messages that are not as they should be -------------------------------------------------------------------------


def test_members_of_another_type_are_left_out() -> None:
    events = started().receive(
        json.dumps({"sentences": [{"text": "good", "start": "200", "end": [1]}], "duration_ms": 1e300})
    )
    assert events[0] == MembersLeftOut(("duration_ms",))
    assert finals(events) == [("good", 200, 200)]


def test_a_sentence_without_a_text_is_nothing() -> None:
    assert started().receive(json.dumps({"sentences": [{"text": None, "start": 0, "end": 1}, {}]})) == []


def test_messages_that_are_not_known_are_reported() -> None:
    codec = started()
    assert codec.receive('{"event": "weather"}') == [Unrecognised("weather", '{"event": "weather"}')]
    assert codec.receive("{}") == [Unrecognised("message without an event or a result", "{}")]
    assert codec.receive(b"\x00") == [Unrecognised("binary message", "1 bytes")]
    assert codec.receive(STARTED) == [Unrecognised("second started", STARTED)]


@pytest.mark.parametrize("message", ["no JSON", "[1]", '{"event": 5}', "{"])
def test_an_unreadable_message_is_an_error(message: str) -> None:
    with pytest.raises(RemoteProtocolError, match="unreadable message from FunASR"):
        started().receive(message)


def test_an_end_before_stop_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="the vendor reported 'finished' while the task was streaming"):
        started().receive(STOPPED)


def test_nothing_comes_behind_the_end() -> None:
    codec = started()
    codec.finish()
    codec.receive(STOPPED)
    assert codec.receive(result(A)) == []


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"model": "funasr/other"},
            "model='funasr/other': the server is started with its model, which no message names: leave it out",
        ),
        ({"hotwords": ["a,b"]}, "hotwords: 'a,b' must not be empty nor contain a comma, which separates the words"),
        ({"hotwords": [" "]}, "hotwords: ' ' must not be empty nor contain a comma, which separates the words"),
        ({"hotwords": ["a\nSTOP"]}, "hotwords: 'a\\nSTOP' must be one line of text"),
        (
            {"replacements": {"a": "b,c"}},
            "replacements: 'b,c' must not be empty nor contain a comma, which separates the words",
        ),
        ({"language": "zh\n"}, "language: 'zh\\n' must be one line of text"),
        ({"hotwords": "word"}, "hotwords='word': expected array | null, got str"),
    ],
)
def test_an_option_that_cannot_be_sent_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        FunASRNano(**values)
    assert str(caught.value) == text


def test_the_spoken_language_is_a_code() -> None:
    assert FunASRNano(language="zh").spoken_language == "zh"
    assert FunASRNano(language="中文").spoken_language == ""
    assert FunASRNano().spoken_language == ""
