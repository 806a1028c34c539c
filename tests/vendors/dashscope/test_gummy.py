"""Gummy by values: sent messages equal those of the official SDK, and text and translations become segments."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asr_async import (
    Gummy,
    GummyChat,
    RemoteProtocolError,
    Result,
    SpeechEnded,
    SpeechEnding,
    SpeechStarted,
    Translation,
    TranslationArrived,
    TranslationLost,
)
from asr_async.vendors.codec import (
    CodecEvent,
    Failed,
    FinalPending,
    Finished,
    InputClosed,
    MembersLeftOut,
    Unrecognised,
    Usage,
)
from asr_async.vendors.dashscope.codec import TaskCodec
from asr_async.vendors.dashscope.gummy import MAX_OPEN
from asr_async.vendors.segments import MAX_REMEMBERED

from .test_codec import recorded, run, server, without_ids

TO_ENGLISH = Gummy(translation_target_languages=["en"])
TWO_TARGETS = Gummy(strict=False, translation_target_languages=["en", "fr"])
TRANSLATION_ONLY = Gummy(transcription_enabled=False, translation_target_languages=["en"])


# --- sending ---------------------------------------------------------------------------------------------------------

ALL_REALTIME = Gummy(
    strict=False,  # two targets, one of which the table of pairs does not have, and an option of the chat model
    source_language="zh",
    translation_target_languages=["en", "fr"],
    vocabulary_id="vocab-g",
    extra_parameters={"max_end_silence": 700},
)
ALL_CHAT = GummyChat(
    format="wav",
    source_language="auto",
    translation_target_languages=["en"],
    max_end_silence=500,
    vocabulary_id="vocab-g",
)
SCENARIOS = [
    ("translation_realtime.defaults", Gummy()),
    ("translation_realtime.all_params", ALL_REALTIME),
    ("translation_realtime.call_file", TO_ENGLISH),
    ("chat.defaults", GummyChat()),
    ("chat.all_params", ALL_CHAT),
]


@pytest.mark.parametrize("sdk", ["2.0.2", "1.25.0"])
@pytest.mark.parametrize(("scenario", "options"), SCENARIOS, ids=[name for name, _ in SCENARIOS])
def test_our_messages_equal_those_of_the_official_sdk_except_for_its_null(
    sdk: str, scenario: str, options: Gummy
) -> None:
    theirs = without_ids([line for line in recorded(sdk, scenario) if isinstance(line, dict)])
    assert theirs, "no such recording"
    parameters = theirs[0]["payload"]["parameters"]
    if parameters["source_language"] is None:  # an option that was not set is not sent here
        del parameters["source_language"]
    assert without_ids(run(options, "raaaf")) == theirs


# --- receiving -------------------------------------------------------------------------------------------------------


def part(text: str | None, sentence_id: int | None = 0, *, end: bool = False, **members: Any) -> dict[str, Any]:
    """Return a sentence as it is spoken, or a translation of it."""
    times = {"begin_time": 100, "end_time": 900 if end else None, "current_time": 500}
    return {"sentence_id": sentence_id, "text": text, "sentence_end": end, **times, **members}


def translated(text: str, sentence_id: int = 0, *, lang: str = "en", **members: Any) -> dict[str, Any]:
    return part(text, sentence_id, lang=lang, **members)


def message(
    transcription: dict[str, Any] | None = None, *translations: dict[str, Any], usage: int | None = None
) -> str:
    output: dict[str, Any] = {}
    if transcription is not None:
        output["transcription"] = transcription
    if translations:
        output["translations"] = translations
    return server("result-generated", {"output": output, "usage": None if usage is None else {"duration": usage}})


def started(options: Any = TO_ENGLISH) -> TaskCodec:
    codec = TaskCodec(options, task_id="T")
    codec.start()
    codec.receive(server("task-started"))
    return codec


def receive(codec: TaskCodec, transcription: dict[str, Any] | None = None, *translations: dict[str, Any]) -> list[Any]:
    return codec.receive(message(transcription, *translations))


def brief(events: list[CodecEvent]) -> list[Any]:
    """Return results as (segment, text, "final" or "interim", translations), and other events unchanged."""
    return [
        (
            event.segment_id,
            event.text,
            "final" if event.is_final else "interim",
            {language: translation.text for language, translation in event.translations.items()},
        )
        if isinstance(event, Result)
        else event
        for event in events
    ]


def only_results(events: list[CodecEvent]) -> list[Any]:
    return [event for event in brief(events) if isinstance(event, tuple)]


def test_a_message_with_both_is_one_result_with_its_translation() -> None:
    events = started().receive(message(part("你好", end=True), translated("Hello", end=True), usage=3))
    assert brief(events) == [
        SpeechStarted(segment_id=0, start_ms=100),
        (0, "你好", "final", {"en": "Hello"}),
        SpeechEnded(segment_id=0, end_ms=900),
        Usage(3),
    ]
    (result,) = (event for event in events if isinstance(event, Result))
    assert result.translations["en"] == Translation(text="Hello", is_final=True, start_ms=100, end_ms=900)
    assert (result.start_ms, result.end_ms, result.request_id) == (100, 900, "T")
    assert json.loads(result.raw)["payload"]["output"]["transcription"]["text"] == "你好"


def test_without_a_target_language_nothing_waits() -> None:
    assert only_results(receive(started(Gummy()), part("hi", end=True))) == [(0, "hi", "final", {})]


def test_an_interim_carries_the_newest_translation_known() -> None:
    codec = started()
    assert only_results(receive(codec, part("你"))) == [(0, "你", "interim", {})]
    assert only_results(receive(codec, None, translated("Hel"))) == [(0, "你", "interim", {"en": "Hel"})]
    assert only_results(receive(codec, part("你好"))) == [(0, "你好", "interim", {"en": "Hel"})]
    assert only_results(receive(codec, None, translated("Hello"))) == [(0, "你好", "interim", {"en": "Hello"})]


def test_a_translation_may_arrive_before_its_text() -> None:
    codec = started()
    first = receive(codec, None, translated("Hel", begin_time=150))
    assert brief(first) == [SpeechStarted(segment_id=0, start_ms=150), (0, "", "interim", {"en": "Hel"})]
    assert brief(receive(codec, part("你"))) == [(0, "你", "interim", {"en": "Hel"})]


def test_a_final_waits_for_the_final_translation_and_is_an_interim_until_then() -> None:
    codec = started()
    waits = receive(codec, part("你好", end=True), translated("Hel"))
    assert brief(waits)[1:] == [(0, "你好", "interim", {"en": "Hel"}), FinalPending(0)]
    # reported once, and messages in between make interims
    assert brief(receive(codec, None, translated("Hell"))) == [(0, "你好", "interim", {"en": "Hell"})]
    final = receive(codec, None, translated("Hello", end=True))
    assert brief(final) == [(0, "你好", "final", {"en": "Hello"}), SpeechEnded(segment_id=0, end_ms=900)]
    assert codec.release_pending(0) == []


def test_a_translation_that_is_final_first_waits_for_the_final_text() -> None:
    codec = started()
    assert only_results(receive(codec, part("你"), translated("Hello", end=True))) == [
        (0, "你", "interim", {"en": "Hello"})
    ]
    assert only_results(receive(codec, part("你好", end=True))) == [(0, "你好", "final", {"en": "Hello"})]


def test_every_target_language_is_waited_for() -> None:
    codec = started(TWO_TARGETS)
    assert FinalPending(0) in receive(codec, part("你好", end=True), translated("Hello", end=True))
    final = receive(codec, None, translated("Salut", lang="fr", end=True))
    assert only_results(final) == [(0, "你好", "final", {"en": "Hello", "fr": "Salut"})]


def test_a_released_final_carries_the_translations_that_have_arrived() -> None:
    codec = started()
    receive(codec, part("你好", end=True), translated("Hel"))
    events = codec.release_pending(0)
    assert brief(events) == [(0, "你好", "final", {"en": "Hel"}), SpeechEnded(segment_id=0, end_ms=900)]
    (final,) = (event for event in events if isinstance(event, Result))
    assert not final.translations["en"].is_final
    assert codec.release_pending(0) == []


def test_a_later_sentences_final_translation_ends_the_wait() -> None:
    codec = started()
    receive(codec, part("a", 0, end=True))
    receive(codec, part("b", 1, end=True))
    events = receive(codec, None, translated("B", 1, end=True))
    assert only_results(events) == [(0, "a", "final", {}), (1, "b", "final", {"en": "B"})]


def test_each_language_has_a_translator_of_its_own() -> None:
    codec = started(TWO_TARGETS)
    receive(codec, part("a", 0, end=True))
    assert only_results(receive(codec, part("b", 1), translated("B", 1, end=True))) == [
        (1, "b", "interim", {"en": "B"})
    ]
    final = receive(codec, None, translated("A", 0, lang="fr", end=True))
    assert only_results(final) == [(0, "a", "final", {"fr": "A"})]


def test_finals_stay_in_order_and_interims_of_later_sentences_are_not_delayed() -> None:
    codec = started(TWO_TARGETS)
    receive(codec, part("a", 0, end=True), translated("A", 0, end=True))
    assert only_results(receive(codec, part("b", 1))) == [(1, "b", "interim", {})]
    held = receive(codec, part("b", 1, end=True), translated("B", 1, end=True))
    assert only_results(held) == [(1, "b", "interim", {"en": "B"})]
    assert FinalPending(1) in held
    both = codec.release_pending(1)
    assert only_results(both) == [(0, "a", "final", {"en": "A"}), (1, "b", "final", {"en": "B"})]


def test_an_unfinished_sentence_does_not_hold_a_later_final() -> None:
    codec = started(Gummy())
    receive(codec, part("a", 0))
    assert brief(receive(codec, part("b", 1, end=True, begin_time=1_000, end_time=1_900))) == [
        SpeechEnded(segment_id=0, end_ms=100, is_withdrawn=True, withdrawn_text="a"),
        SpeechStarted(segment_id=1, start_ms=1_000),
        (1, "b", "final", {}),
        SpeechEnded(segment_id=1, end_ms=1_900),
    ]
    assert codec.release_pending(1) == []


def test_a_translation_after_its_final_is_an_event_of_its_own() -> None:
    codec = started()
    receive(codec, part("你好", end=True))
    codec.release_pending(0)
    for text, is_final in (("Hel", False), ("Hello", True)):
        (event,) = receive(codec, None, translated(text, end=is_final))
        assert isinstance(event, TranslationArrived)
        assert (event.segment_id, event.language) == (0, "en")
        assert (event.translation.text, event.translation.is_final) == (text, is_final)
    assert receive(codec, None, translated("Hello", end=True)) == []


def test_a_late_translation_may_share_its_message_with_the_next_sentence() -> None:
    codec = started()
    receive(codec, part("a", 0, end=True))
    codec.release_pending(0)
    events = receive(codec, part("b", 1), translated("A", 0, end=True))
    assert isinstance(events[0], TranslationArrived)
    assert only_results(events) == [(1, "b", "interim", {})]


def test_repeats_are_dropped() -> None:
    codec = started()
    final = message(part("a", end=True), translated("A", end=True))
    assert len(only_results(codec.receive(final))) == 1
    assert codec.receive(final) == []


def test_an_interim_behind_the_final_changes_nothing() -> None:
    codec = started()
    receive(codec, part("你好", end=True))
    assert only_results(receive(codec, part("你"))) == [(0, "你好", "interim", {})]
    receive(codec, part("b", 1), translated("B", 1, end=True))
    assert only_results(receive(codec, None, translated("?", 1))) == [(1, "b", "interim", {"en": "B"})]


def test_another_text_under_the_number_of_a_final_is_another_sentence() -> None:
    codec = started(Gummy())
    receive(codec, part("a", 0, end=True))
    assert only_results(receive(codec, part("a more", 0, end=True))) == [(1, "a more", "final", {})]


def test_a_stash_is_the_beginning_of_the_next_segment() -> None:
    codec = started()
    stash = {"sentence_id": 1, "begin_time": 2_720, "current_time": 2_900, "text": "今天", "words": []}
    events = receive(codec, part("你好", end=True, stash=stash), translated("Hello", end=True))
    assert brief(events) == [
        SpeechStarted(segment_id=0, start_ms=100),
        (0, "你好", "final", {"en": "Hello"}),
        SpeechEnded(segment_id=0, end_ms=900),
        SpeechStarted(segment_id=1, start_ms=2_720),
        (1, "今天", "interim", {}),
    ]
    assert only_results(receive(codec, part("今天好", 1))) == [(1, "今天好", "interim", {})]


def test_a_stash_is_never_final_and_an_empty_one_makes_no_event() -> None:
    codec = started(Gummy())
    ended = {"sentence_id": 1, "begin_time": 0, "end_time": 5, "text": "b"}
    assert only_results(receive(codec, part("a", stash=ended))) == [(0, "a", "interim", {}), (1, "b", "interim", {})]
    empty = {"sentence_id": 2, "text": ""}
    assert only_results(receive(codec, part("a", stash=empty))) == [(0, "a", "interim", {})]


def test_a_stash_of_the_translation_belongs_to_the_next_segment_too() -> None:
    codec = started()
    stash = {"sentence_id": 1, "begin_time": 2_720, "text": "Today"}
    events = receive(codec, part("你好"), translated("Hello", stash=stash))
    assert only_results(events) == [(0, "你好", "interim", {"en": "Hello"}), (1, "", "interim", {"en": "Today"})]


def test_words_say_whether_they_are_fixed_and_the_words_repeated_as_punctuation_are_none() -> None:
    words = [
        {"begin_time": 100, "end_time": 400, "text": "你", "punctuation": "你", "fixed": True},
        {"begin_time": 400, "end_time": 500, "text": "好", "punctuation": "，", "fixed": False},
        {"begin_time": 500, "text": "吗"},
    ]
    events = receive(started(), part("你好，吗", words=words), translated("How", words=words[:1]))
    (result,) = (event for event in events if isinstance(event, Result))
    assert [(word.text, word.punctuation, word.is_fixed) for word in result.words] == [
        ("你", "", True),
        ("好", "，", False),
        ("吗", "", None),
    ]
    assert result.end_ms == 500
    assert result.translations["en"].words[0].is_fixed


def results_of(events: list[CodecEvent]) -> list[Result]:
    return [event for event in events if isinstance(event, Result)]


def fixed_words(*words: tuple[str, str, bool]) -> list[dict[str, Any]]:
    return [
        {"begin_time": 100 * n, "end_time": 100 * n + 90, "text": text, "punctuation": punctuation, "fixed": is_fixed}
        for n, (text, punctuation, is_fixed) in enumerate(words)
    ]


@pytest.mark.parametrize(
    ("text", "words", "stable_text"),
    [
        ("Hello, world", [("Hello", ",", True), ("world", "", False)], "Hello,"),
        ("你好世界", [("你", "你", True), ("好", "好", True), ("世", "世", False), ("界", "界", True)], "你好"),
        ("one two", [("one", "", False), ("two", "", True)], ""),
        ("at 3 o'clock", [("at", "", True), ("three", "", True), ("o'clock", "", True)], "at"),
        ("the other one", [("the", "", True), ("one", "", True)], "the"),
        ("one two", [("one", "", True), ("two", "", True)], "one two"),
    ],
)
def test_the_text_of_the_first_words_that_are_fixed_is_stable(text: str, words: Any, stable_text: str) -> None:
    codec = started(Gummy())
    (result,) = results_of(receive(codec, part(text, words=fixed_words(*words))))
    assert result.stable_text == stable_text
    (final,) = results_of(receive(codec, part(text, words=fixed_words(*words), end=True)))
    assert final.stable_text == text


def test_without_words_nothing_says_what_is_stable() -> None:
    codec = started(Gummy())
    (result,) = results_of(receive(codec, part("one two")))
    assert result.stable_text is None


@pytest.mark.parametrize("missing", ["begin_time", "end_time", "current_time", "words", "sentence_end", "lang"])
def test_a_member_that_is_missing_is_not_fatal(missing: str) -> None:
    parts = [part("a", words=[]), translated("A", words=[])]
    for members in parts:
        members.pop(missing, None)
    events = receive(started(), *parts)
    assert only_results(events) == [(0, "a", "interim", {"en": "A"})]


@pytest.mark.parametrize("members", [part("a", None), {"text": "a"}])
def test_a_sentence_without_an_id_is_the_open_one(members: dict[str, Any]) -> None:
    codec = started(Gummy())
    assert only_results(receive(codec, members)) == [(0, "a", "interim", {})]
    assert only_results(receive(codec, members)) == [(0, "a", "interim", {})]


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"lang": "en", "text": "A"}, "translation without a number or a place"),
        ({"sentence_id": 0, "text": "A"}, "translation without a language"),
    ],
)
def test_a_translation_that_belongs_nowhere_is_reported(members: dict[str, Any], name: str) -> None:
    (event,) = receive(started(TWO_TARGETS), None, members)
    assert isinstance(event, Unrecognised)
    assert event.name == name


@pytest.mark.parametrize("output", [{}, {"translations": []}, {"transcription": None, "translations": None}])
def test_a_result_without_any_sentence_is_reported(output: dict[str, Any]) -> None:
    (event,) = started().receive(server("result-generated", {"output": output}))
    assert isinstance(event, Unrecognised)
    assert event.name == "result-generated without a sentence"


def test_a_translation_that_is_no_sentence_is_left_out_and_reported() -> None:
    left_out, unknown = started().receive(server("result-generated", {"output": {"translations": ["Hello"]}}))
    assert left_out == MembersLeftOut(("payload.output.translations[]",))
    assert isinstance(unknown, Unrecognised)
    assert unknown.name == "result-generated without a sentence"


def test_an_empty_sentence_opens_no_segment_and_an_empty_final_closes_one() -> None:
    codec = started(Gummy())
    assert receive(codec, part("")) == []
    assert receive(codec, part(None, end=True)) == []
    receive(codec, part("mm"))
    assert only_results(receive(codec, part("", end=True))) == [(0, "", "final", {})]


# --- translation only ------------------------------------------------------------------------------------------------


def test_without_transcription_the_translation_makes_the_segments_and_the_text_is_empty() -> None:
    codec = started(TRANSLATION_ONLY)
    assert brief(receive(codec, None, translated("Hel"))) == [
        SpeechStarted(segment_id=0, start_ms=100),
        (0, "", "interim", {"en": "Hel"}),
    ]
    events = receive(codec, None, translated("Hello", end=True))
    assert brief(events) == [(0, "", "final", {"en": "Hello"}), SpeechEnded(segment_id=0, end_ms=900)]


def test_without_transcription_a_sentence_waits_for_its_other_languages() -> None:
    codec = started(Gummy(strict=False, transcription_enabled=False, translation_target_languages=["en", "fr"]))
    assert FinalPending(0) in receive(codec, None, translated("Hello", end=True))
    assert only_results(codec.release_pending(0)) == [(0, "", "final", {"en": "Hello"})]


# --- the end of a task -----------------------------------------------------------------------------------------------


def test_all_open_sentences_are_final_at_the_end() -> None:
    codec = started()
    receive(codec, part("a", 0, end=True, stash={"sentence_id": 1, "text": "b"}))
    codec.finish()
    events = codec.receive(server("task-finished", {"output": {}, "usage": {"duration": 3}}))
    assert brief(events) == [
        (0, "a", "final", {}),
        SpeechEnded(segment_id=0, end_ms=900),
        (1, "b", "final", {}),
        SpeechEnded(segment_id=1, end_ms=900),
        TranslationLost(segment_id=0, language="en", reason="the vendor ended the task without it"),
        TranslationLost(segment_id=1, language="en", reason="the vendor ended the task without it"),
        Usage(3),
        Finished(),
    ]


def test_a_translation_that_a_returned_final_lacks_is_lost_once() -> None:
    codec = started(TWO_TARGETS)
    receive(codec, part("a", 0, end=True), translated("A", 0, end=True))
    assert codec.lost_translations("cut") == []  # the final was not returned
    codec.release_pending(0)
    receive(codec, part("b", 1, end=True), translated("B", 1, end=True), translated("B", 1, lang="fr", end=True))
    assert codec.lost_translations("cut") == [TranslationLost(segment_id=0, language="fr", reason="cut")]
    assert codec.lost_translations("cut") == []


def test_a_translation_that_arrived_late_is_not_lost() -> None:
    codec = started()
    receive(codec, part("a", 0, end=True))
    codec.release_pending(0)
    receive(codec, None, translated("A", 0, end=True))
    assert codec.lost_translations("cut") == []


def test_a_pending_final_can_be_released_after_the_task_failed() -> None:
    codec = started()
    receive(codec, part("a", end=True))
    (event,) = codec.receive(server("task-failed", error_code="InternalError"))
    assert isinstance(event, Failed)
    assert only_results(codec.release_pending(0)) == [(0, "a", "final", {})]


def test_pending_sentences_are_bounded() -> None:
    codec = started()
    finals = [
        result
        for number in range(MAX_OPEN + 2)
        for result in only_results(receive(codec, part(f"s{number}", number, end=True)))
        if result[2] == "final"
    ]
    assert finals == [(0, "s0", "final", {}), (1, "s1", "final", {})]


def test_closed_sentences_are_remembered_for_a_while() -> None:
    codec = started(Gummy())
    for number in range(MAX_REMEMBERED + 1):
        receive(codec, part("a", number, end=True, begin_time=1_000 * number, end_time=1_000 * number + 900))
    late = translated("A", 1, begin_time=1_000)
    assert isinstance(receive(codec, None, late)[0], TranslationArrived)
    (event,) = receive(codec, None, translated("A", 0, begin_time=0))
    assert isinstance(event, Unrecognised)
    assert event.name == "translation of a sentence that was over long ago"


# --- one sentence ----------------------------------------------------------------------------------------------------


def test_chat_closes_the_input_at_the_end_of_its_sentence() -> None:
    codec = started(GummyChat())
    assert InputClosed() not in receive(codec, part("he"))
    assert receive(codec, part("hey", end=True))[-1] == InputClosed()
    codec.finish()
    assert codec.receive(server("task-finished")) == [Finished()]


def test_chat_closes_the_input_while_its_final_waits_for_the_translation() -> None:
    codec = started(GummyChat(translation_target_languages=["en"]))
    assert receive(codec, part("hey", end=True))[-2:] == [FinalPending(0), InputClosed()]
    codec.finish()
    assert InputClosed() not in receive(codec, None, translated("Hey", end=True))


def test_chat_may_finish_by_itself_and_other_models_may_not() -> None:
    codec = started(GummyChat())
    receive(codec, part("hey", end=True))
    assert codec.receive(server("task-finished")) == [Finished()]
    with pytest.raises(RemoteProtocolError, match="reported 'finished' while the task was streaming"):
        started(Gummy()).receive(server("task-finished"))


def test_a_predicted_end_is_reported_once_and_withdrawn() -> None:
    codec = started(GummyChat())
    guess = part("hey", vad_pre_end=True, pre_end_start_time=100, pre_end_end_time=480, pre_end_timemillis=-1)
    assert receive(codec, guess)[-1] == SpeechEnding(segment_id=0, end_ms=480)
    assert SpeechEnding not in map(type, receive(codec, guess))
    gone_on = part("hey you", vad_pre_end=False, pre_end_failed=True)
    assert receive(codec, gone_on)[-1] == SpeechEnding(segment_id=0, is_withdrawn=True)
    assert SpeechEnding not in map(type, receive(codec, gone_on))
    assert receive(codec, part("hey you", vad_pre_end=True, pre_end_end_time=-1))[-1] == SpeechEnding(segment_id=0)


def test_no_end_is_predicted_behind_the_end() -> None:
    events = receive(started(GummyChat()), part("hey", end=True, vad_pre_end=True, pre_end_end_time=480))
    assert SpeechEnding not in map(type, events)


@pytest.mark.parametrize(("start_ms", "may_repeat"), [(1_179, True), (1_201, False)])
def test_a_final_without_an_interim_may_repeat_the_one_before_it(start_ms: int, may_repeat: bool) -> None:
    codec = started()
    receive(codec, part("a", 1, end=True, begin_time=1_000, end_time=1_150))
    again = receive(codec, part("a", 1, end=True, begin_time=start_ms, end_time=start_ms + 150))
    (result,) = [event for event in again if isinstance(event, Result) and event.start_ms == start_ms]
    assert result.may_repeat is may_repeat
