"""The segments of the realtime codec: messages in, events out, for items as real servers send them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_async import QwenRealtime, Result, SpeechEnded, SpeechEnding, SpeechStarted, VendorError
from asr_async.vendors.codec import Failed, Finished, Unheard
from asr_async.vendors.dashscope.realtime import QwenRealtimeCodec
from asr_async.vendors.segments import MAX_REMEMBERED

from .test_realtime import CREATED, FINISHED, TRANSCRIPTION, UPDATED, server

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asr_async.vendors.codec import CodecEvent

MISSING = object()


# --- steps of the caller and messages of the server ------------------------------------------------------------------


class Audio:
    """Audio that the caller sends."""

    def __init__(self, ms: int) -> None:
        self.ms = ms


COMMIT, FINISH = object(), object()


def item_event(kind: str, item: Any, **members: Any) -> str:
    if item is not MISSING:
        members["item_id"] = item
    return server(kind, **{name: value for name, value in members.items() if value is not MISSING})


def speech(at: Any, item: Any = "a") -> str:
    return item_event("input_audio_buffer.speech_started", item, audio_start_ms=at)


def silence(at: Any, item: Any = "a") -> str:
    return item_event("input_audio_buffer.speech_stopped", item, audio_end_ms=at)


def committed(item: Any = "a", previous: Any = None) -> str:
    return item_event("input_audio_buffer.committed", item, previous_item_id=previous)


def created(item: Any = "a") -> str:
    return server("conversation.item.created", item={"id": item}, previous_item_id=None)


def text(fixed: str, item: Any = "a", stash: str = "") -> str:
    return item_event(f"{TRANSCRIPTION}.text", item, text=fixed, stash=stash)


def done(transcript: Any, item: Any = "a") -> str:
    return item_event(f"{TRANSCRIPTION}.completed", item, transcript=transcript)


def cough(item: Any, start_ms: int, end_ms: int) -> list[str]:
    """Return the messages of a noise, for which the server sends no text (client event page, 2026-03-15)."""
    return [speech(start_ms, item), silence(end_ms, item), committed(item)]


def utterance(item: Any, start_ms: int, end_ms: int) -> list[str]:
    """Return the messages of an utterance up to its final."""
    return [speech(start_ms, item), text("so far", item), silence(end_ms, item), committed(item)]


# --- events in short -------------------------------------------------------------------------------------------------


def brief(event: CodecEvent) -> tuple[Any, ...]:
    short: tuple[Any, ...]
    if isinstance(event, Result):
        assert event.start_ms <= event.end_ms
    match event:
        case SpeechStarted():
            short = "started", event.segment_id, event.start_ms
        case SpeechEnded(is_withdrawn=True):
            short = "withdrawn", event.segment_id, event.withdrawn_text
        case SpeechEnded():
            short = "ended", event.segment_id, event.end_ms
        case Result(is_final=False):
            short = "interim", event.segment_id, event.text
        case Result(is_confirmed=False):
            short = "unconfirmed", event.segment_id, event.text, event.start_ms, event.end_ms
        case Result():
            short = "final", event.segment_id, event.text, event.start_ms, event.end_ms
        case Unheard():
            short = "unheard", event.start_ms, event.end_ms
        case Failed():
            short = "failed", type(event.error), event.error.retryable
        case Finished():
            short = ("finished",)
        case _:
            short = (event,)
    return short


def new_codec(**options: Any) -> QwenRealtimeCodec:
    codec = QwenRealtimeCodec(QwenRealtime(**options), task_id="T")
    codec.start()
    codec.receive(CREATED)
    codec.receive(UPDATED)
    return codec


def played(codec: QwenRealtimeCodec, steps: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return the events of messages, in short, without `SpeechEnding`; steps of the caller are carried out."""
    events: list[tuple[Any, ...]] = []
    for step in steps:
        if isinstance(step, Audio):
            codec.audio(memoryview(bytes(step.ms * 32)))
        elif step is COMMIT:
            codec.commit()
        elif step is FINISH:
            codec.finish()
        else:
            events += [brief(event) for event in codec.receive(step) if not isinstance(event, SpeechEnding)]
    return events


# --- server VAD ------------------------------------------------------------------------------------------------------

VAD: dict[str, tuple[list[Any], list[tuple[Any, ...]]]] = {
    "a cough is over when a later utterance is completed": (
        [*cough("a", 100, 300), *utterance("b", 1_000, 1_900), done("one", "b")],
        [
            ("started", 0, 100),
            ("started", 1, 1_000),
            ("interim", 1, "so far"),
            ("withdrawn", 0, ""),
            ("final", 1, "one", 1_000, 1_900),
            ("ended", 1, 1_900),
        ],
    ),
    "the final of a cough that comes all the same is delivered": (
        [*cough("a", 100, 300), *utterance("b", 1_000, 1_900), done("two", "b"), done("one", "a"), done("one", "a")],
        [
            ("started", 0, 100),
            ("started", 1, 1_000),
            ("interim", 1, "so far"),
            ("withdrawn", 0, ""),
            ("final", 1, "two", 1_000, 1_900),
            ("ended", 1, 1_900),
            ("final", 0, "one", 100, 300),
        ],
    ),
    "the late answer to a cough may be empty": (
        [*cough("a", 100, 300), *cough("b", 1_000, 1_900), done("two", "b"), done("", "a")],
        [
            ("started", 0, 100),
            ("started", 1, 1_000),
            ("withdrawn", 0, ""),
            ("final", 1, "two", 1_000, 1_900),
            ("ended", 1, 1_900),
        ],
    ),
    "a cough behind the completed utterance stays open": (
        [*utterance("a", 100, 900), *cough("b", 1_000, 1_200), done("one", "a"), done("two", "b")],
        [
            ("started", 0, 100),
            ("interim", 0, "so far"),
            ("started", 1, 1_000),
            ("final", 0, "one", 100, 900),
            ("ended", 0, 900),
            ("final", 1, "two", 1_000, 1_200),
            ("ended", 1, 1_200),
        ],
    ),
    "an utterance with text waits for its own final, whatever comes before that": (
        [*utterance("a", 100, 900), *utterance("b", 1_000, 1_900), done("two", "b"), done("one", "a")],
        [
            ("started", 0, 100),
            ("interim", 0, "so far"),
            ("started", 1, 1_000),
            ("interim", 1, "so far"),
            ("final", 1, "two", 1_000, 1_900),
            ("ended", 1, 1_900),
            ("final", 0, "one", 100, 900),
            ("ended", 0, 900),
        ],
    ),
    "an utterance with text is withdrawn 15 s of audio before a later final's end": (
        [
            *utterance("a", 100, 900),
            *utterance("b", 14000, 15900),
            done("two", "b"),
            *utterance("c", 16000, 16001),
            done("three", "c"),
            done("one", "a"),
        ],
        [
            ("started", 0, 100),
            ("interim", 0, "so far"),
            ("started", 1, 14_000),
            ("interim", 1, "so far"),
            ("final", 1, "two", 14_000, 15_900),
            ("ended", 1, 15_900),
            ("started", 2, 16_000),
            ("interim", 2, "so far"),
            ("withdrawn", 0, "so far"),
            ("final", 2, "three", 16_000, 16_001),
            ("ended", 2, 16_001),
            ("final", 0, "one", 100, 900),
        ],
    ),
    "interims of several items keep their segments": (
        [speech(0, "a"), text("a1", "a"), speech(1_000, "b"), text("b1", "b"), text("a2", "a"), text("b2", "b")],
        [
            ("started", 0, 0),
            ("interim", 0, "a1"),
            ("started", 1, 1_000),
            ("interim", 1, "b1"),
            ("interim", 0, "a2"),
            ("interim", 1, "b2"),
        ],
    ),
    # --- repeats
    "each message of an item may come twice": (
        [message for message in (*utterance("a", 100, 900), done("one"), speech(100), silence(900)) for _ in range(2)],
        [
            ("started", 0, 100),
            ("interim", 0, "so far"),
            ("interim", 0, "so far"),
            ("final", 0, "one", 100, 900),
            ("ended", 0, 900),
        ],
    ),
    "a late interim of a completed item is none": (
        [*utterance("a", 100, 900), done("One, two."), text("one two"), text("ONE", stash=" t")],
        [
            ("started", 0, 100),
            ("interim", 0, "so far"),
            ("final", 0, "One, two.", 100, 900),
            ("ended", 0, 900),
        ],
    ),
    "another text under the id of a completed item is another utterance": (
        [done("one"), done("two"), done("two")],
        [
            ("started", 0, 0),
            ("final", 0, "one", 0, 0),
            ("ended", 0, 0),
            ("started", 1, 0),
            ("final", 1, "two", 0, 0),
            ("ended", 1, 0),
        ],
    ),
    "another place under the id of a completed item is another utterance, with the same words too": (
        [*utterance("a", 100, 900), done("yes"), *utterance("a", 1_100, 1_900), done("yes")],
        [
            ("started", 0, 100),
            ("interim", 0, "so far"),
            ("final", 0, "yes", 100, 900),
            ("ended", 0, 900),
            ("started", 1, 1_100),
            ("interim", 1, "so far"),
            ("final", 1, "yes", 1_100, 1_900),
            ("ended", 1, 1_900),
        ],
    ),
    "two utterances with one id may be open at once": (
        [*utterance("a", 100, 900), *utterance("a", 1_100, 1_900), done("one"), done("two")],
        [
            ("started", 0, 100),
            ("interim", 0, "so far"),
            ("started", 1, 1_100),
            ("interim", 1, "so far"),
            ("final", 0, "one", 100, 900),
            ("ended", 0, 900),
            ("final", 1, "two", 1_100, 1_900),
            ("ended", 1, 1_900),
        ],
    ),
    # --- missing ids
    "utterances without ids": (
        [*utterance(None, 100, 900), done("one", None), *utterance(MISSING, 1_100, 1_900), done("two", MISSING)],
        [
            ("started", 0, 100),
            ("interim", 0, "so far"),
            ("final", 0, "one", 100, 900),
            ("ended", 0, 900),
            ("started", 1, 1_100),
            ("interim", 1, "so far"),
            ("final", 1, "two", 1_100, 1_900),
            ("ended", 1, 1_900),
        ],
    ),
    "a final without an id, late, is that of the first utterance that waits": (
        [
            *utterance(None, 100, 900),
            speech(1100, None),
            text("tw", None),
            done("one", None),
            silence(1900, None),
            done("two", None),
            done("two", None),
        ],
        [
            ("started", 0, 100),
            ("interim", 0, "so far"),
            ("started", 1, 1_100),
            ("interim", 1, "tw"),
            ("final", 0, "one", 100, 900),
            ("ended", 0, 900),
            ("final", 1, "two", 1_100, 1_900),
            ("ended", 1, 1_900),
        ],
    ),
    "a cough without an id does not take the final of an utterance": (
        [*cough(None, 100, 300), *utterance(None, 1_100, 1_900), done("one", None)],
        [
            ("started", 0, 100),
            ("started", 1, 1_100),
            ("interim", 1, "so far"),
            ("withdrawn", 0, ""),
            ("final", 1, "one", 1_100, 1_900),
            ("ended", 1, 1_900),
        ],
    ),
    "an id that is missing at first": (
        [speech(100, None), text("on", "a"), silence(900, "a"), done("one", "a")],
        [
            ("started", 0, 100),
            ("interim", 0, "on"),
            ("final", 0, "one", 100, 900),
            ("ended", 0, 900),
        ],
    ),
    "an id that is missing at last": (
        [speech(100, "a"), text("on", "a"), silence(900, MISSING), done("one", None)],
        [
            ("started", 0, 100),
            ("interim", 0, "on"),
            ("final", 0, "one", 100, 900),
            ("ended", 0, 900),
        ],
    ),
    # --- times
    "an utterance without any sign of its speech begins where the last one ended": (
        [*utterance("a", 100, 900), done("one"), text("tw", "b"), done("two", "b")],
        [
            ("started", 0, 100),
            ("interim", 0, "so far"),
            ("final", 0, "one", 100, 900),
            ("ended", 0, 900),
            ("started", 1, 900),
            ("interim", 1, "tw"),
            ("final", 1, "two", 900, 900),
            ("ended", 1, 900),
        ],
    ),
    "the end of the speech is a sign of an item": (
        [silence(900), done("one")],
        [("started", 0, 0), ("final", 0, "one", 0, 900), ("ended", 0, 900)],
    ),
    "speech before the start of the audio keeps its place": (
        [speech(-200), text("on"), silence(900), done("one")],
        [("started", 0, -200), ("interim", 0, "on"), ("final", 0, "one", -200, 900), ("ended", 0, 900)],
    ),
    "an end before the start is none": (
        [speech(500), silence(300), done("one")],
        [("started", 0, 500), ("final", 0, "one", 500, 500), ("ended", 0, 500)],
    ),
    "a repeated start within a frame changes nothing": (
        [speech(500), speech(560), speech(440), silence(900), done("one")],
        [("started", 0, 500), ("final", 0, "one", 500, 900), ("ended", 0, 900)],
    ),
}


@pytest.mark.parametrize(("steps", "events"), VAD.values(), ids=VAD)
def test_utterances_of_server_vad(steps: list[Any], events: list[tuple[Any, ...]]) -> None:
    assert played(new_codec(), steps) == events


ENDINGS: dict[str, tuple[list[Any], list[SpeechEnding]]] = {
    "once, before the final": (
        [*utterance("a", 100, 900), silence(900), done("one")],
        [SpeechEnding(segment_id=0, end_ms=900)],
    ),
    "of a cough": (cough("a", 100, 300), [SpeechEnding(segment_id=0, end_ms=300)]),
    "of a segment without another sign": ([silence(900)], [SpeechEnding(segment_id=0, end_ms=900)]),
    "without a time": ([speech(100), silence(MISSING)], [SpeechEnding(segment_id=0)]),
    "not behind the final": ([speech(100), text("one"), done("one"), silence(900)], []),
    "not at a commit alone": ([speech(100), text("one"), committed(), done("one")], []),
}


@pytest.mark.parametrize(("steps", "endings"), ENDINGS.values(), ids=ENDINGS)
def test_the_end_of_speech_is_reported(steps: list[str], endings: list[SpeechEnding]) -> None:
    codec = new_codec()
    events = [event for step in steps for event in codec.receive(step)]
    assert [event for event in events if isinstance(event, SpeechEnding)] == endings


def test_the_stable_part_of_an_interim_and_the_whole_final_are_stable() -> None:
    codec = new_codec()
    steps = [speech(100), text("", stash="hel"), text("hello", stash=" wor"), done("hello, world")]
    events = [event for step in steps for event in codec.receive(step)]
    results = [(event.text, event.stable_text) for event in events if isinstance(event, Result)]
    assert results == [("hel", ""), ("hello wor", "hello"), ("hello, world", "hello, world")]


@pytest.mark.parametrize("at", [-1, None, MISSING, "x", 10**400, [], -(10**12)], ids=lambda at: str(at)[:12])
def test_a_start_that_is_unknown_is_the_end_of_the_last_utterance(at: Any) -> None:
    codec = new_codec()
    played(codec, [*utterance("a", 100, 900), done("one")])
    written = speech(at, "b") if at != 10**400 else speech(0, "b").replace('_ms": 0', f'_ms": {"9" * 400}')
    events = played(codec, [written, silence(1_900, "b"), done("two", "b")])
    events = [event for event in events if len(event) > 1]  # a member that is left out is reported
    assert events[0] == ("started", 1, 900)
    assert events[-2:] == [("final", 1, "two", 900, 1_900), ("ended", 1, 1_900)]


@pytest.mark.parametrize("at", [-1, None, MISSING, "x", [], -(10**12)], ids=lambda at: str(at)[:12])
def test_an_end_that_is_unknown_is_the_start(at: Any) -> None:
    events = played(new_codec(), [speech(100), silence(at), done("one")])
    assert events[-2:] == [("final", 0, "one", 100, 100), ("ended", 0, 100)]


def test_an_absurd_end_makes_nothing_stale() -> None:
    steps = [Audio(5_000), *utterance("a", 100, 900), speech(1_000, "b"), silence(900_000_000, "b"), done("two", "b")]
    events = played(new_codec(), [*steps, text("more", "c"), done("one", "a")])
    assert ("final", 0, "one", 100, 900) in events
    assert ("withdrawn", 0, "so far") not in events
    assert ("started", 2, 5_000) in events


# --- the end ---------------------------------------------------------------------------------------------------------

THE_END: dict[str, tuple[list[Any], list[tuple[Any, ...]]]] = {
    "an interim whose final did not come is the final": (
        utterance("a", 100, 900),
        [("unconfirmed", 0, "so far", 100, 900), ("ended", 0, 900), ("finished",)],
    ),
    "speech that goes on at the end": (
        [speech(100), text("so", stash=" far")],
        [("unconfirmed", 0, "so far", 100, 100), ("ended", 0, 100), ("finished",)],
    ),
    "speech without a text is unheard": (
        cough("a", 100, 900),
        [("withdrawn", 0, ""), ("unheard", 100, 900), ("finished",)],
    ),
    "texts first, then the rest": (
        [*cough("a", 100, 900), *utterance("b", 1_100, 1_900), *cough("c", 2_000, 2_100), text("more", "d")],
        [
            ("unconfirmed", 1, "so far", 1_100, 1_900),
            ("ended", 1, 1_900),
            ("unconfirmed", 3, "more", 2_100, 2_100),
            ("ended", 3, 2_100),
            ("withdrawn", 0, ""),
            ("unheard", 100, 900),
            ("withdrawn", 2, ""),
            ("unheard", 2_000, 2_100),
            ("finished",),
        ],
    ),
    "a cough before a final is not unheard": (
        [*cough("a", 100, 300), *utterance("b", 1_000, 1_900), done("one", "b")],
        [("finished",)],
    ),
    "a cough that was answered is not unheard": ([*cough("a", 100, 300), done("")], [("finished",)]),
    "nothing": ([], [("finished",)]),
}


@pytest.mark.parametrize(("steps", "events"), THE_END.values(), ids=THE_END)
def test_the_end_that_the_server_confirms(steps: list[Any], events: list[tuple[Any, ...]]) -> None:
    codec = new_codec()
    played(codec, steps)
    assert played(codec, [FINISH, FINISHED]) == events


# --- manual commits --------------------------------------------------------------------------------------------------

HALF, SECOND = Audio(500), Audio(1_000)
TWO_COMMITS = [HALF, COMMIT, SECOND, COMMIT]
THREE_COMMITS = [*TWO_COMMITS, HALF, COMMIT]

MANUAL: dict[str, tuple[list[Any], list[tuple[Any, ...]]]] = {
    "each commit is an item": (
        [
            *TWO_COMMITS,
            committed("a"),
            created("a"),
            committed("b", "a"),
            created("b"),
            done("one", "a"),
            done("two", "b"),
            FINISH,
            FINISHED,
        ],
        [
            ("started", 0, 0),
            ("started", 1, 500),
            ("final", 0, "one", 0, 500),
            ("ended", 0, 500),
            ("final", 1, "two", 500, 1_500),
            ("ended", 1, 1_500),
            ("finished",),
        ],
    ),
    "a commit waits for its final, though a later one is completed": (
        [*TWO_COMMITS, committed("a"), committed("b", "a"), done("two", "b"), done("one", "a"), FINISH, FINISHED],
        [
            ("started", 0, 0),
            ("started", 1, 500),
            ("final", 1, "two", 500, 1_500),
            ("ended", 1, 1_500),
            ("final", 0, "one", 0, 500),
            ("ended", 0, 500),
            ("finished",),
        ],
    ),
    "commits are answered in another order": (
        [*TWO_COMMITS, committed("b", "a"), committed("a"), done("one", "a"), done("two", "b"), FINISH, FINISHED],
        [
            ("started", 0, 500),
            ("started", 1, 0),
            ("final", 1, "one", 0, 500),
            ("ended", 1, 500),
            ("final", 0, "two", 500, 1_500),
            ("ended", 0, 1_500),
            ("finished",),
        ],
    ),
    "the items have no ids": (
        [*TWO_COMMITS, committed(None), committed(MISSING), done("one", None), done("two", None), FINISH, FINISHED],
        [
            ("started", 0, 0),
            ("started", 1, 500),
            ("final", 0, "one", 0, 500),
            ("ended", 0, 500),
            ("final", 1, "two", 500, 1_500),
            ("ended", 1, 1_500),
            ("finished",),
        ],
    ),
    "all items have one id": (
        [*TWO_COMMITS, committed("a"), done("yes", "a"), committed("a", "a"), done("yes", "a"), FINISH, FINISHED],
        [
            ("started", 0, 0),
            ("final", 0, "yes", 0, 500),
            ("ended", 0, 500),
            ("started", 1, 500),
            ("final", 1, "yes", 500, 1_500),
            ("ended", 1, 1_500),
            ("finished",),
        ],
    ),
    "all items have one id, and are open at once": (
        [*TWO_COMMITS, committed("a"), committed("a", "a"), done("one", "a"), done("two", "a"), FINISH, FINISHED],
        [
            ("started", 0, 0),
            ("started", 1, 500),
            ("final", 0, "one", 0, 500),
            ("ended", 0, 500),
            ("final", 1, "two", 500, 1_500),
            ("ended", 1, 1_500),
            ("finished",),
        ],
    ),
    "the item is created before its commit is confirmed": (
        [
            HALF,
            COMMIT,
            created("a"),
            committed("a"),
            SECOND,
            COMMIT,
            created("b"),
            committed("b", "a"),
            done("one", "a"),
            done("two", "b"),
            FINISH,
            FINISHED,
        ],
        [
            ("started", 0, 0),
            ("started", 1, 500),
            ("final", 0, "one", 0, 500),
            ("ended", 0, 500),
            ("final", 1, "two", 500, 1_500),
            ("ended", 1, 1_500),
            ("finished",),
        ],
    ),
    "a commit is confirmed behind its final": (
        [*TWO_COMMITS, done("one", "a"), committed("a"), committed("b", "a"), done("two", "b"), FINISH, FINISHED],
        [
            ("started", 0, 0),
            ("final", 0, "one", 0, 500),
            ("ended", 0, 500),
            ("started", 1, 500),
            ("final", 1, "two", 500, 1_500),
            ("ended", 1, 1_500),
            ("finished",),
        ],
    ),
    "silence has an empty final": (
        [HALF, COMMIT, committed("a"), done("", "a"), FINISH, FINISHED],
        [("started", 0, 0), ("final", 0, "", 0, 500), ("ended", 0, 500), ("finished",)],
    ),
    "a commit that is never completed is unheard": (
        [
            *THREE_COMMITS,
            committed("a"),
            committed("b", "a"),
            committed("c", "b"),
            done("three", "c"),
            done("one", "a"),
            FINISH,
            FINISHED,
        ],
        [
            ("started", 0, 0),
            ("started", 1, 500),
            ("started", 2, 1_500),
            ("final", 2, "three", 1_500, 2_000),
            ("ended", 2, 2_000),
            ("final", 0, "one", 0, 500),
            ("ended", 0, 500),
            ("withdrawn", 1, ""),
            ("unheard", 500, 1_500),
            ("finished",),
        ],
    ),
    "a commit with an interim that is never completed": (
        [HALF, COMMIT, committed("a"), text("on", "a"), FINISH, FINISHED],
        [
            ("started", 0, 0),
            ("interim", 0, "on"),
            ("unconfirmed", 0, "on", 0, 500),
            ("ended", 0, 500),
            ("finished",),
        ],
    ),
    "a commit that is never confirmed is an error, and its audio stays uncovered": (
        [*TWO_COMMITS, committed("a"), text("on", "a"), FINISH, FINISHED],
        [("started", 0, 0), ("interim", 0, "on"), ("failed", VendorError, True)],
    ),
}


@pytest.mark.parametrize(("steps", "events"), MANUAL.values(), ids=MANUAL)
def test_utterances_of_manual_commits(steps: list[Any], events: list[tuple[Any, ...]]) -> None:
    assert played(new_codec(manual_commit=True), steps) == events


def test_a_commit_that_waits_for_too_long_is_withdrawn_and_unheard() -> None:
    codec = new_codec(manual_commit=True)
    played(codec, [HALF, COMMIT, Audio(16_000), COMMIT, HALF, COMMIT, committed("a"), committed("b", "a")])
    played(codec, [committed("c", "b"), done("two", "b")])
    assert played(codec, [done("three", "c")])[:2] == [("withdrawn", 0, ""), ("unheard", 0, 500)]
    assert played(codec, [done("one", "a")]) == [("final", 0, "one", 0, 500)]
    assert played(codec, [FINISH, FINISHED]) == [("finished",)]


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_each_segment_that_starts_ends_though_more_are_open_than_are_remembered() -> None:
    codec = new_codec()
    items = [f"item {number}" for number in range(3 * MAX_REMEMBERED)]
    events = played(codec, (message for item in items for message in (speech(0, item), text(item, item))))
    events += played(codec, [FINISH, FINISHED])
    started = [event[1] for event in events if event[0] == "started"]
    ended = [event[1] for event in events if event[0] in {"ended", "withdrawn"}]
    assert sorted(started) == sorted(ended) == list(range(len(items)))
    kept = [event[2] for event in events if event[0] in {"withdrawn", "unconfirmed"}]
    assert sorted(kept) == sorted(items)


# --- every interleaving ----------------------------------------------------------------------------------------------


class Spoken:
    """One utterance of a generated conversation."""

    def __init__(self, number: int, data: st.DataObject) -> None:
        self.start_ms, self.end_ms = 1_000 * number + 200, 1_000 * number + 900
        self.words = f"w{number}"
        self.is_cough = data.draw(st.booleans())
        self.has_interim = data.draw(st.booleans()) and not self.is_cough
        self.item = f"item_{number}"

    def messages(self, data: st.DataObject) -> list[str]:
        jitter_ms = data.draw(st.integers(-90, 90))
        messages = [speech(self.start_ms, self.item)]
        if self.has_interim:
            messages.append(text(self.words[:1], self.item))
        messages += [silence(self.end_ms + jitter_ms, self.item), committed(self.item)]
        if data.draw(st.booleans()):
            messages.append(created(self.item))
        if not self.is_cough:
            messages.append(done(self.words, self.item))
        return [message for message in messages for _ in range(data.draw(st.sampled_from([1, 1, 1, 2])))]


def merged(queues: list[list[str]], data: st.DataObject) -> list[str]:
    """Return the messages of all items in some order in which each item keeps its own."""
    order: list[str] = []
    while waiting := [queue for queue in queues if queue]:
        # items begin one after the other, and at most five are under way: finals come some seconds late
        order.append(data.draw(st.sampled_from(waiting[:5])).pop(0))
    return order


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_word_is_lost_or_doubled_in_any_order_of_the_messages(data: st.DataObject) -> None:
    conversation = [Spoken(number, data) for number in range(data.draw(st.integers(1, 8)))]
    order = merged([spoken.messages(data) for spoken in conversation], data)
    events = played(new_codec(), [*order, FINISH, FINISHED])
    finals = [event[2] for event in events if event[0] == "final"]
    assert sorted(finals) == sorted(spoken.words for spoken in conversation if not spoken.is_cough)
    place_of = {event[2]: event[3] for event in events if event[0] == "final"}
    assert place_of == {spoken.words: spoken.start_ms for spoken in conversation if not spoken.is_cough}
    check_starts_and_ends(events)


def check_starts_and_ends(events: list[tuple[Any, ...]]) -> None:
    started = [event[1] for event in events if event[0] == "started"]
    ended = [event[1] for event in events if event[0] in {"ended", "withdrawn"}]
    assert len(set(started)) == len(started)
    assert sorted(started) == sorted(ended)
    assert {event[1] for event in events if event[0] in {"interim", "final", "unconfirmed"}} <= set(started)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_word_is_lost_whatever_ids_and_times_the_server_sends(data: st.DataObject) -> None:
    items = st.sampled_from([None, MISSING, "a", "b", "c", "", 7])
    times = st.sampled_from([None, MISSING, -1, -500, 0, 300, 1_000, 1_090, 5_000, 10**9, 10**12, "9", "x"])
    words = (f"word{number}x" for number in range(10_000))
    steps: list[Any] = [Audio(6_000)]
    said: list[str] = []
    for _ in range(data.draw(st.integers(0, 25))):
        item = data.draw(items)
        match data.draw(st.sampled_from(["start", "stop", "commit", "create", "text", "done"])):
            case "start":
                steps.append(speech(data.draw(times), item))
            case "stop":
                steps.append(silence(data.draw(times), item))
            case "commit":
                steps.append(committed(item, data.draw(items)))
            case "create":
                steps.append(created("a" if item is MISSING else item))
            case "text":
                steps.append(text(next(words), item))
            case "done":
                said.append(next(words))
                steps.append(done(said[-1], item))
    events = played(new_codec(manual_commit=data.draw(st.booleans())), [*steps, FINISH, FINISHED])
    assert [event[2] for event in events if event[0] == "final"] == said
    if events[-1] == ("finished",):
        check_starts_and_ends([event for event in events if len(event) > 1])


def test_messages_are_json_objects_with_the_members_that_were_given() -> None:
    assert "item_id" not in json.loads(done("x", MISSING))
    assert json.loads(done("x", None))["item_id"] is None
