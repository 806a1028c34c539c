"""The segments of Gummy: messages in, events out, for sentences and translations as real servers send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_async import Gummy, GummyChat, Result, SpeechEnded, SpeechStarted, TranslationArrived, TranslationLost
from asr_async.vendors.codec import FinalPending, Finished, InputClosed, NoSpeech, Unrecognised
from asr_async.vendors.segments import MAX_REMEMBERED

from .test_codec import server
from .test_gummy import TO_ENGLISH, TRANSLATION_ONLY, TWO_TARGETS, message, started

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asr_async.vendors.codec import CodecEvent
    from asr_async.vendors.dashscope.codec import TaskCodec

SPOKEN = Gummy()
THE_END = server("task-finished", {"output": {}, "usage": None})
FINISH = object()


class Release:
    """The session's release of a pending final."""

    def __init__(self, segment_id: int) -> None:
        self.segment_id = segment_id


# --- sentences, a second apart ---------------------------------------------------------------------------------------


def transcribed(text: str | None, number: int = 0, *, end: bool = False, **members: Any) -> dict[str, Any]:
    """Return the sentence with this number, from 100 to 900 ms of its second, as far as it is known."""
    start_ms = 1_000 * number + 100
    times = {"begin_time": start_ms, "end_time": start_ms + 800 if end else None}
    return {"sentence_id": number, "text": text, "sentence_end": end, **times, **members}


def english(text: str | None, number: int = 0, *, end: bool = True, **members: Any) -> dict[str, Any]:
    """Return a translation of the sentence with this number."""
    return transcribed(text, number, end=end, lang="en", **members)


def french(text: str | None, number: int = 0, *, end: bool = True, **members: Any) -> dict[str, Any]:
    return transcribed(text, number, end=end, lang="fr", **members)


def brief(event: CodecEvent) -> tuple[Any, ...]:
    short: tuple[Any, ...]
    if isinstance(event, Result):
        assert event.start_ms <= event.end_ms
    match event:
        case SpeechStarted():
            short = "started", event.segment_id
        case SpeechEnded(is_withdrawn=True):
            short = "withdrawn", event.segment_id, event.withdrawn_text
        case SpeechEnded():
            short = "ended", event.segment_id
        case Result():
            kind = "interim" if not event.is_final else "final" if event.is_confirmed else "unconfirmed"
            texts = {language: translation.text for language, translation in event.translations.items()}
            short = (kind, event.segment_id, event.text, *([texts] if texts else []))
        case TranslationArrived():
            short = "arrived", event.segment_id, event.language, event.translation.text
        case TranslationLost():
            short = "lost", event.segment_id, event.language
        case FinalPending():
            short = "pending", event.segment_id
        case Unrecognised():
            short = "unrecognised", event.name
        case Finished():
            short = ("finished",)
        case _:
            short = (event,)
    return short


def played(codec: TaskCodec, steps: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return the events of messages, in short: a dict is a message of one sentence, a list one of several."""
    events: list[CodecEvent] = []
    for step in steps:
        if step is FINISH:
            codec.finish()
        elif isinstance(step, Release):
            events += codec.release_pending(step.segment_id)
        elif isinstance(step, str):
            events += codec.receive(step)
        else:
            parts = step if isinstance(step, list) else [step]
            spoken = [part for part in parts if "lang" not in part]
            translated = [part for part in parts if "lang" in part]
            events += codec.receive(message(spoken[0] if spoken else None, *translated))
    return [brief(event) for event in events]


Table = dict[str, tuple[Any, list[Any], list[tuple[Any, ...]]]]

SENTENCES: Table = {
    "an interim that is never final does not hold back the next final": (
        SPOKEN,
        [transcribed("uh", 0), transcribed("one two", 1, end=True)],
        [
            ("started", 0),
            ("interim", 0, "uh"),
            ("withdrawn", 0, "uh"),
            ("started", 1),
            ("final", 1, "one two"),
            ("ended", 1),
        ],
    ),
    "nor one that waits for its translation": (
        TO_ENGLISH,
        [transcribed("uh", 0), transcribed("一", 1, end=True), english("one", 1)],
        [
            ("started", 0),
            ("interim", 0, "uh"),
            ("withdrawn", 0, "uh"),
            ("started", 1),
            ("interim", 1, "一"),
            ("pending", 1),
            ("final", 1, "一", {"en": "one"}),
            ("ended", 1),
        ],
    ),
    "the final of a sentence that was withdrawn is delivered": (
        SPOKEN,
        [
            transcribed("on", 0),
            transcribed("two", 1, end=True),
            transcribed("one", 0, end=True),
            transcribed("one", 0, end=True),
        ],
        [
            ("started", 0),
            ("interim", 0, "on"),
            ("withdrawn", 0, "on"),
            ("started", 1),
            ("final", 1, "two"),
            ("ended", 1),
            ("final", 0, "one"),
        ],
    ),
    "and may wait for its translation": (
        TO_ENGLISH,
        [
            transcribed("一", 0),
            transcribed("二", 1, end=True),
            transcribed("一", 0, end=True),
            english("one", 0),
            english("two", 1),
        ],
        [
            ("started", 0),
            ("interim", 0, "一"),
            ("withdrawn", 0, "一"),
            ("started", 1),
            ("interim", 1, "二"),
            ("pending", 1),
            ("interim", 0, "一"),
            ("pending", 0),
            ("final", 0, "一", {"en": "one"}),
            ("final", 1, "二", {"en": "two"}),
            ("ended", 1),
        ],
    ),
    "a sentence under another number that lies where the open one does is the same": (
        SPOKEN,
        [transcribed("on", 0), transcribed("one", 1, end=True, begin_time=140, end_time=900)],
        [("started", 0), ("interim", 0, "on"), ("final", 0, "one"), ("ended", 0)],
    ),
    "all sentences have one number": (
        SPOKEN,
        [transcribed(f"s{number}", number, end=True, sentence_id=0) for number in range(3)],
        [
            event
            for number in range(3)
            for event in (("started", number), ("final", number, f"s{number}"), ("ended", number))
        ],
    ),
    "all sentences have one number, and interims": (
        SPOKEN,
        [transcribed(f"s{number}", number, end=end, sentence_id=0) for number in range(2) for end in (False, True)],
        [
            ("started", 0),
            ("interim", 0, "s0"),
            ("final", 0, "s0"),
            ("ended", 0),
            ("started", 1),
            ("interim", 1, "s1"),
            ("final", 1, "s1"),
            ("ended", 1),
        ],
    ),
    "sentences without numbers": (
        SPOKEN,
        [
            transcribed(f"s{number}", number, end=end, sentence_id=None)
            for number in range(2)
            for end in (False, True, True)
        ],
        [
            ("started", 0),
            ("interim", 0, "s0"),
            ("final", 0, "s0"),
            ("ended", 0),
            ("started", 1),
            ("interim", 1, "s1"),
            ("final", 1, "s1"),
            ("ended", 1),
        ],
    ),
    "a repeated final with jitter, under another number": (
        SPOKEN,
        [transcribed("One.", 0, end=True), transcribed("one", 1, end=True, begin_time=60, end_time=980)],
        [("started", 0), ("final", 0, "One."), ("ended", 0)],
    ),
    "a late interim": (
        SPOKEN,
        [transcribed("One, two.", 0, end=True), transcribed("one", 0), transcribed("one tw", 0, sentence_id=None)],
        [("started", 0), ("final", 0, "One, two."), ("ended", 0)],
    ),
    "the stash of a sentence that goes on does not end it": (
        SPOKEN,
        [
            transcribed("one", 0, stash=transcribed("tw", 1)),
            transcribed("one.", 0, end=True, stash=transcribed("two", 1)),
            transcribed("two", 1, end=True),
        ],
        [
            ("started", 0),
            ("interim", 0, "one"),
            ("started", 1),
            ("interim", 1, "tw"),
            ("final", 0, "one."),
            ("ended", 0),
            ("interim", 1, "two"),
            ("final", 1, "two"),
            ("ended", 1),
        ],
    ),
}

TRANSLATIONS: Table = {
    "a late translation of a sentence whose number is used again": (
        TO_ENGLISH,
        [
            transcribed("一", 0, end=True, sentence_id=0),
            Release(0),
            transcribed("二", 1, end=True, sentence_id=0),
            Release(1),
            english("two", 1, sentence_id=0),
            english("one", 0, sentence_id=0),
        ],
        [
            ("started", 0),
            ("interim", 0, "一"),
            ("pending", 0),
            ("final", 0, "一"),
            ("ended", 0),
            ("started", 1),
            ("interim", 1, "二"),
            ("pending", 1),
            ("final", 1, "二"),
            ("ended", 1),
            ("arrived", 1, "en", "two"),
            ("arrived", 0, "en", "one"),
        ],
    ),
    "the number of a sentence that was withdrawn, in a translation that comes before its text": (
        TO_ENGLISH,
        [
            transcribed("嗯", 0, sentence_id=0),
            transcribed("二", 1, end=True, sentence_id=1),
            english("two", 1, sentence_id=1),
            english("three", 2, sentence_id=0),
            transcribed("三", 2, end=True, sentence_id=0),
        ],
        [
            ("started", 0),
            ("interim", 0, "嗯"),
            ("withdrawn", 0, "嗯"),
            ("started", 1),
            ("interim", 1, "二"),
            ("pending", 1),
            ("final", 1, "二", {"en": "two"}),
            ("ended", 1),
            ("started", 2),
            ("interim", 2, "", {"en": "three"}),
            ("final", 2, "三", {"en": "three"}),
            ("ended", 2),
        ],
    ),
    "translations without numbers belong where they lie": (
        TO_ENGLISH,
        [
            transcribed("一", 0, end=True),
            Release(0),
            transcribed("二", 1, end=True),
            transcribed("三", 2),
            english("one", 0, sentence_id=None),
            english("th", 2, sentence_id=None, end=False),
            english("two", 1, sentence_id=None),
        ],
        [
            ("started", 0),
            ("interim", 0, "一"),
            ("pending", 0),
            ("final", 0, "一"),
            ("ended", 0),
            ("started", 1),
            ("interim", 1, "二"),
            ("pending", 1),
            ("started", 2),
            ("interim", 2, "三"),
            ("arrived", 0, "en", "one"),
            ("interim", 2, "三", {"en": "th"}),
            ("final", 1, "二", {"en": "two"}),
            ("ended", 1),
        ],
    ),
    "translations without numbers and times come in their order": (
        TO_ENGLISH,
        [
            transcribed("一", 0, end=True),
            transcribed("二", 1, end=True),
            english("one", 0, sentence_id=None, begin_time=None, end_time=None),
            english("two", 0, sentence_id=None, begin_time=None, end_time=None),
        ],
        [
            ("started", 0),
            ("interim", 0, "一"),
            ("pending", 0),
            ("started", 1),
            ("interim", 1, "二"),
            ("pending", 1),
            ("final", 0, "一", {"en": "one"}),
            ("ended", 0),
            ("final", 1, "二", {"en": "two"}),
            ("ended", 1),
        ],
    ),
    "a translation before its text, while the number of an older sentence is used again": (
        TO_ENGLISH,
        [
            [transcribed("一", 0, end=True, sentence_id=0), english("one", 0, sentence_id=0)],
            english("tw", 1, sentence_id=0, end=False),
            [transcribed("二", 1, end=True, sentence_id=0), english("two", 1, sentence_id=0)],
        ],
        [
            ("started", 0),
            ("final", 0, "一", {"en": "one"}),
            ("ended", 0),
            ("started", 1),
            ("interim", 1, "", {"en": "tw"}),
            ("final", 1, "二", {"en": "two"}),
            ("ended", 1),
        ],
    ),
    "a noise with a translation": (
        TO_ENGLISH,
        [
            [transcribed("嗯", 0), english("Uh", 0, end=False)],
            transcribed("一", 1, end=True),
            english("Uh.", 0),
            english("one", 1),
        ],
        [
            ("started", 0),
            ("interim", 0, "嗯", {"en": "Uh"}),
            ("withdrawn", 0, "嗯"),
            ("started", 1),
            ("interim", 1, "一"),
            ("pending", 1),
            ("final", 1, "一", {"en": "one"}),
            ("ended", 1),
        ],
    ),
    "an empty sentence waits for no translation": (
        TO_ENGLISH,
        [transcribed("嗯", 0), transcribed("", 0, end=True), FINISH, THE_END],
        [("started", 0), ("interim", 0, "嗯"), ("final", 0, ""), ("ended", 0), ("finished",)],
    ),
    "a final translation in other words replaces the one before": (
        TO_ENGLISH,
        [[transcribed("一", 0, end=True), english("one")], english("one"), english("first"), english("fir", end=False)],
        [
            ("started", 0),
            ("final", 0, "一", {"en": "one"}),
            ("ended", 0),
            ("arrived", 0, "en", "first"),
        ],
    ),
    "two languages, each with its own delay": (
        TWO_TARGETS,
        [
            transcribed("一", 0, end=True),
            english("one", 0),
            transcribed("二", 1, end=True),
            english("two", 1),
            french("un", 0),
            french("deux", 1),
        ],
        [
            ("started", 0),
            ("interim", 0, "一"),
            ("pending", 0),
            ("interim", 0, "一", {"en": "one"}),
            ("started", 1),
            ("interim", 1, "二"),
            ("pending", 1),
            ("interim", 1, "二", {"en": "two"}),
            ("final", 0, "一", {"en": "one", "fr": "un"}),
            ("ended", 0),
            ("final", 1, "二", {"en": "two", "fr": "deux"}),
            ("ended", 1),
        ],
    ),
    "without transcription, a translation that is never final does not hold back the next": (
        TRANSLATION_ONLY,
        [english("uh", 0, end=False), english("one", 1)],
        [
            ("started", 0),
            ("interim", 0, "", {"en": "uh"}),
            ("withdrawn", 0, "uh"),
            ("started", 1),
            ("final", 1, "", {"en": "one"}),
            ("ended", 1),
        ],
    ),
    "without transcription, all sentences have one number": (
        TRANSLATION_ONLY,
        [english("one", 0, sentence_id=0), english("two", 1, sentence_id=0), english("two", 1, sentence_id=0)],
        [
            ("started", 0),
            ("final", 0, "", {"en": "one"}),
            ("ended", 0),
            ("started", 1),
            ("final", 1, "", {"en": "two"}),
            ("ended", 1),
        ],
    ),
}

ENDS: Table = {
    "an interim whose final did not come is the final": (
        SPOKEN,
        [transcribed("so far"), FINISH, THE_END],
        [("started", 0), ("interim", 0, "so far"), ("unconfirmed", 0, "so far"), ("ended", 0), ("finished",)],
    ),
    "a final that waits is a confirmed one": (
        TO_ENGLISH,
        [transcribed("一", 0, end=True), transcribed("二", 1), FINISH, THE_END],
        [
            ("started", 0),
            ("interim", 0, "一"),
            ("pending", 0),
            ("started", 1),
            ("interim", 1, "二"),
            ("final", 0, "一"),
            ("ended", 0),
            ("unconfirmed", 1, "二"),
            ("ended", 1),
            ("lost", 0, "en"),
            ("lost", 1, "en"),
            ("finished",),
        ],
    ),
    "translations that did not come are lost, those of empty sentences and noises are not": (
        TWO_TARGETS,
        [
            [transcribed("一", 0, end=True), english("one", 0)],
            transcribed("嗯", 1),
            [transcribed("二", 2, end=True), english("two", 2, end=False), french("deux", 2)],
            FINISH,
            THE_END,
        ],
        [
            ("started", 0),
            ("interim", 0, "一", {"en": "one"}),
            ("pending", 0),
            ("started", 1),
            ("interim", 1, "嗯"),
            ("withdrawn", 1, "嗯"),
            ("final", 0, "一", {"en": "one"}),
            ("ended", 0),
            ("started", 2),
            ("interim", 2, "二", {"en": "two", "fr": "deux"}),
            ("pending", 2),
            ("final", 2, "二", {"en": "two", "fr": "deux"}),
            ("ended", 2),
            ("lost", 0, "fr"),
            ("lost", 2, "en"),
            ("finished",),
        ],
    ),
    "a translation alone": (
        TRANSLATION_ONLY,
        [english("so far", end=False), FINISH, THE_END],
        [
            ("started", 0),
            ("interim", 0, "", {"en": "so far"}),
            ("unconfirmed", 0, "", {"en": "so far"}),
            ("ended", 0),
            ("lost", 0, "en"),
            ("finished",),
        ],
    ),
    "chat that finishes by itself": (
        GummyChat(),
        [transcribed("so far"), THE_END],
        [("started", 0), ("interim", 0, "so far"), ("unconfirmed", 0, "so far"), ("ended", 0), ("finished",)],
    ),
    "chat with a noise before its sentence": (
        GummyChat(),
        [transcribed("uh", 0), transcribed("one", 1, end=True), FINISH, THE_END],
        [
            ("started", 0),
            ("interim", 0, "uh"),
            ("withdrawn", 0, "uh"),
            ("started", 1),
            ("final", 1, "one"),
            ("ended", 1),
            (InputClosed(),),
            ("finished",),
        ],
    ),
}


@pytest.mark.parametrize(("options", "steps", "events"), SENTENCES.values(), ids=SENTENCES)
def test_sentences(options: Any, steps: list[Any], events: list[tuple[Any, ...]]) -> None:
    assert played(started(options), steps) == events


@pytest.mark.parametrize(("options", "steps", "events"), TRANSLATIONS.values(), ids=TRANSLATIONS)
def test_translations(options: Any, steps: list[Any], events: list[tuple[Any, ...]]) -> None:
    assert played(started(options), steps) == events


@pytest.mark.parametrize(("options", "steps", "events"), ENDS.values(), ids=ENDS)
def test_the_end_that_the_vendor_confirms(options: Any, steps: list[Any], events: list[tuple[Any, ...]]) -> None:
    assert played(started(options), steps) == events


def test_an_end_without_speech_withdraws_what_is_not_final() -> None:
    codec = started(TO_ENGLISH)
    failure = server("task-failed", error_code="NO_VALID_AUDIO_ERROR", error_message="no valid audio")
    *events, ending = played(codec, [transcribed("一", 0, end=True), transcribed("嗯", 1), FINISH, failure])
    assert events[5:] == [("final", 0, "一"), ("ended", 0), ("withdrawn", 1, "嗯"), ("lost", 0, "en")]
    assert isinstance(ending[0], NoSpeech)


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_translations_that_are_awaited_are_bounded_and_each_is_accounted_for() -> None:
    codec = started(TO_ENGLISH)
    count = 5 * MAX_REMEMBERED
    events = played(
        codec,
        (step for number in range(count) for step in (transcribed(f"s{number}", number, end=True), Release(number))),
    )
    assert len(codec._segments.__dict__["_incomplete"]) <= 2 * MAX_REMEMBERED
    events += played(codec, [FINISH, THE_END])
    assert [event for event in events if event[0] == "lost"] == [("lost", number, "en") for number in range(count)]


# --- every interleaving ----------------------------------------------------------------------------------------------


class Talk:
    """A generated talk: which sentences are noises, which translations are missing, and what the numbers look like."""

    def __init__(self, data: st.DataObject, languages: tuple[str, ...]) -> None:
        self._draw = data.draw
        self.languages = languages
        self.count = self._draw(st.integers(1, 7))
        self._has_one_number, self._lacks_numbers = self._draw(st.booleans()), self._draw(st.booleans())
        self.noises = {number for number in range(self.count) if self._one_in(5)}
        self.missing = {(number, lang) for number in range(self.count) for lang in languages if self._one_in(5)}

    def _one_in(self, count: int) -> bool:
        return bool(self._draw(st.integers(0, count - 1)) == 0)

    @property
    def sentences(self) -> list[int]:
        return [number for number in range(self.count) if number not in self.noises]

    def _numbered(self, part: dict[str, Any]) -> dict[str, Any]:
        if self._has_one_number:
            part["sentence_id"] = 0
        if self._lacks_numbers and self._draw(st.booleans()):
            part["sentence_id"] = None
        return part

    def spoken(self) -> list[dict[str, Any]]:
        """Return the transcriptions, some of them twice."""
        parts = []
        for number in range(self.count):
            if number in self.noises or self._draw(st.booleans()):
                parts.append(self._numbered(transcribed("w", number)))
            if number not in self.noises:
                repeats = self._draw(st.integers(1, 2))
                parts += [self._numbered(transcribed(f"w{number}", number, end=True)) for _ in range(repeats)]
        return parts

    def translated(self, lang: str) -> list[dict[str, Any]]:
        """Return the translations into a language, some of them twice."""
        parts = []
        for number in self.sentences:
            if (number, lang) not in self.missing:
                text, repeats = f"{lang}{number}", self._draw(st.integers(1, 2))
                ends = (False, *[True] * repeats)
                parts += [self._numbered(transcribed(text, number, end=end, lang=lang)) for end in ends]
        return parts

    def play(self, codec: TaskCodec) -> list[tuple[Any, ...]]:
        """Send everything, in some order in which no translation runs ahead of its text; release finals in between."""
        events: list[tuple[Any, ...]] = []
        pending: list[int] = []
        texts = self.spoken()
        queues = [texts, *(self.translated(lang) for lang in self.languages)]
        begun_ms = -1
        while waiting := [queue for queue in queues if queue and (queue is texts or _start(queue) <= begun_ms)]:
            if pending and self._one_in(4):
                events += played(codec, [Release(pending.pop(0))])
            queue = self._draw(st.sampled_from(waiting))
            begun_ms = max(begun_ms, _start(queue))
            new = played(codec, [queue.pop(0)])
            pending += [event[1] for event in new if event[0] == "pending"]
            events += new
        return [*events, *played(codec, [FINISH, THE_END])]


def _start(queue: list[dict[str, Any]]) -> int:
    return int(queue[0]["begin_time"])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_each_sentence_and_translation_arrives_once_and_at_its_place(data: st.DataObject) -> None:
    languages = data.draw(st.sampled_from([(), ("en",), ("en", "fr")]))
    talk = Talk(data, languages)
    options = Gummy(strict=False, translation_target_languages=list(languages)) if languages else Gummy()
    events = talk.play(started(options))

    check_starts_and_ends(events)
    finals = [event for event in events if event[0] == "final"]
    assert [event[2] for event in finals] == [f"w{number}" for number in talk.sentences]
    number_of = {event[1]: int(event[2][1:]) for event in finals}
    translations = {(event[1], lang): text for event in finals for lang, text in (*event[3:], {})[0].items()}
    translations |= {event[1:3]: event[3] for event in events if event[0] == "arrived"}
    assert translations == {
        (segment, lang): f"{lang}{number}"
        for segment, number in number_of.items()
        for lang in languages
        if (number, lang) not in talk.missing
    }
    lost = [event[1:] for event in events if event[0] == "lost" and event[1] in number_of]
    assert len(set(lost)) == len(lost)
    assert {(number_of[segment], lang) for segment, lang in lost} == {
        (number, lang) for number, lang in talk.missing if number not in talk.noises
    }


def check_starts_and_ends(events: list[tuple[Any, ...]]) -> None:
    begun = [event[1] for event in events if event[0] == "started"]
    ended = [event[1] for event in events if event[0] in {"ended", "withdrawn"}]
    assert len(set(begun)) == len(begun)
    assert sorted(begun) == sorted(ended)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_sentence_is_lost_whatever_numbers_and_times_the_vendor_sends(data: st.DataObject) -> None:
    draw = data.draw
    numbers = st.sampled_from([None, 0, 0, 1, 2, -1, "x", 10**10])
    times = st.sampled_from([None, -1, -500, 0, 300, 1_000, 1_090, 5_000, 10**9, 10**12, "9", "x"])
    codec = started(draw(st.sampled_from([SPOKEN, TO_ENGLISH, TWO_TARGETS])))
    steps: list[Any] = []
    final_texts: list[str] = []
    for step in range(draw(st.integers(0, 25))):
        end = draw(st.booleans())
        part: dict[str, Any] = {"text": f"word{step}x", "sentence_end": end, "sentence_id": draw(numbers)}
        part |= {"begin_time": draw(times), "end_time": draw(times)}
        if draw(st.booleans()):
            part["lang"] = draw(st.sampled_from(["en", "fr", "de"]))
        elif end:
            final_texts.append(part["text"])
        steps.append(part)
    events = played(codec, [*steps, FINISH, THE_END])
    assert sorted(event[2] for event in events if event[0] == "final" and event[2]) == sorted(final_texts)
    check_starts_and_ends([event for event in events if len(event) > 1])
