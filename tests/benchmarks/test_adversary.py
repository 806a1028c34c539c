"""The adversary: its count can fail, its audio is what it says, and the promises hold against it with fixed seeds.

`benchmarks/adversary.py --cuts 1000` runs what takes minutes.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

import adversary
from asr_async import (
    ConnectionLostError,
    Event,
    Gap,
    Result,
    SpeechEnded,
    SpeechStarted,
    Translation,
    TranslationArrived,
    TranslationLost,
)
from hostile.audio import AudioReader, Undecodable, numbered_audio, reader_for
from hostile.count import Counts, Outcome, count
from hostile.recogniser import Habits, StepKind, plan_of
from hostile.script import Script, Word, draw_script, draw_spoken_script, texts_of, translated

SCRIPT = Script((Word("alpha", 0, 400), Word("beta", 500, 900), Word("no", 1500, 1800), Word("no", 1800, 2100)), 3_000)


def final(number: int, text: str, start_ms: int, end_ms: int, **members: Any) -> list[Event]:
    """Return the events of a segment that is as it should be."""
    result = Result(
        text=text, is_final=True, segment_id=number, start_ms=start_ms, end_ms=end_ms, translations={}, **members
    )
    return [
        SpeechStarted(segment_id=number, start_ms=start_ms),
        result,
        SpeechEnded(segment_id=number, end_ms=end_ms),
    ]


ALPHA_BETA, NO_NO = final(0, "Alpha beta.", 0, 900), final(1, "no no", 1500, 2100)


def broken(*events: Event, **outcome: Any) -> dict[str, int]:
    """Return the promises that these events break."""
    return counts_of(*events, **outcome).broken


def counts_of(*events: Event, **outcome: Any) -> Counts:
    return count(Outcome(script=SCRIPT, events=list(events), **outcome))[0]


# --- the count -------------------------------------------------------------------------------------------------------


def test_a_whole_session_breaks_no_promise() -> None:
    assert broken(*ALPHA_BETA, *NO_NO) == {}


def test_a_missing_word_is_lost() -> None:
    assert broken(*final(0, "alpha", 0, 400), *NO_NO) == {"lost": 1, "wrong_ends": 1}


def test_a_repeated_word_that_is_missing_once_is_lost() -> None:
    assert broken(*ALPHA_BETA, *final(1, "no", 1500, 2100)) == {"lost": 1, "wrong_ends": 1}


def test_a_word_that_is_lost_and_withdrawn_is_lost() -> None:
    withdrawn = SpeechEnded(segment_id=1, end_ms=1800, is_withdrawn=True, withdrawn_text="no no")
    counts = counts_of(*ALPHA_BETA, SpeechStarted(segment_id=1, start_ms=1500), withdrawn)
    assert (counts.lost, counts.withdrawn) == (2, 2)
    assert counts.broken == {"lost": 2, "wrong_ends": 1}


def test_a_word_behind_a_gap_needs_an_explanation() -> None:
    gap = Gap(start_ms=1000, end_ms=3000, reason="unanswered")
    assert broken(*ALPHA_BETA, gap) == {"false_gap": 2}
    counts = counts_of(*ALPHA_BETA, gap, unanswered=SCRIPT.words[2:])
    assert (counts.broken, counts.behind_gap) == ({}, 2)


def test_a_word_behind_an_error_is_not_lost_but_the_session_has_failed() -> None:
    counts = counts_of(*ALPHA_BETA, error=ConnectionLostError("cut"))
    assert (counts.broken, counts.behind_error) == ({"errors": 1}, 2)


def test_a_doubled_word_may_be_marked() -> None:
    again = final(2, "beta", 500, 900)
    marked = final(2, "beta", 500, 900, may_repeat=True)
    assert broken(*ALPHA_BETA, *again, *NO_NO) == {"doubled": 1}
    counts = counts_of(*ALPHA_BETA, *marked, *NO_NO)
    assert (counts.broken, counts.doubled_marked, counts.marked) == ({}, 1, 1)


def test_the_first_of_two_equal_results_is_the_original() -> None:
    """A mark at the first does not mark the second."""
    marked = final(2, "beta", 500, 900, may_repeat=True)
    assert broken(*final(0, "alpha", 0, 400), *marked, *final(3, "beta", 500, 900), *NO_NO) == {"doubled": 1}


def test_the_copy_of_one_word_does_not_take_the_place_of_the_next_one() -> None:
    marked = final(2, "no", 1_500, 1_780, may_repeat=True)
    counts = counts_of(*ALPHA_BETA, *final(1, "no", 1_500, 1_800), *marked, *final(3, "no", 1_800, 2_100))
    assert (counts.broken, counts.doubled_marked) == ({}, 1)


@pytest.mark.parametrize(("jitter_ms", "expected"), [(100, {"doubled": 1}), (200, {})])
def test_the_copy_of_the_word_before_is_not_the_original_of_the_next_one(
    jitter_ms: int, expected: dict[str, int]
) -> None:
    """Within the jitter of the servers, a marked result may hold either."""
    first, second = final(1, "no", 1_500, 1_800), final(3, "no", 1_800, 2_100)
    marked = final(2, "no", 1_800, 2_000, may_repeat=True)
    counts = counts_of(*ALPHA_BETA, *first, *marked, *second, jitter_ms=jitter_ms)
    assert counts.broken == expected


def test_a_marked_copy_is_left_over_where_the_one_before_it_may_be_either_word() -> None:
    before, both = final(2, "no", 1_500, 2_000, may_repeat=True), final(3, "no", 1_800, 2_100)
    after = final(4, "no", 1_900, 2_100, may_repeat=True)
    counts = counts_of(*ALPHA_BETA, *before, *both, *after, jitter_ms=200)
    assert (counts.broken, counts.doubled_marked) == ({}, 1)


def test_two_words_of_one_result_are_no_copies_of_each_other() -> None:
    counts = counts_of(*ALPHA_BETA, *final(1, "no no", 2_050, 2_500), *final(2, "no no", 1_500, 2_100, may_repeat=True))
    assert (counts.broken, counts.doubled_marked) == ({}, 2)


def test_a_transcript_does_not_show_which_of_two_results_was_delivered_first() -> None:
    results = [
        event
        for event in (*ALPHA_BETA, *final(2, "beta", 500, 900, may_repeat=True), *NO_NO)
        if isinstance(event, Result)
    ]
    assert broken(results=results) == {}
    results[0] = msgspec.structs.replace(results[0], may_repeat=True)
    results[1] = msgspec.structs.replace(results[1], may_repeat=False)
    assert broken(results=results) == {}


def test_without_times_the_copies_without_a_mark_are_the_originals() -> None:
    """A server without times is recognised again from too early a place, and the places of its results are wrong."""
    again = final(3, "beta", 500, 900, may_repeat=True)
    early = [*final(0, "alpha", 0, 10), *final(2, "beta", 10, 20)]
    counts = counts_of(*early, *again, *NO_NO, has_times=False)
    assert (counts.broken, counts.doubled_marked) == ({}, 1)
    assert broken(*early, *final(3, "beta", 500, 900), *NO_NO, has_times=False) == {"doubled": 1}
    assert broken(*early, has_times=False) == {"lost": 2, "wrong_ends": 1}


def test_a_marked_result_may_hold_words_on_both_sides_of_another() -> None:
    around = final(2, "alpha beta no no", 0, 2100, may_repeat=True)
    assert broken(*final(0, "beta", 500, 900), *around) == {}


def test_noise_must_not_become_a_confirmed_final() -> None:
    assert broken(*ALPHA_BETA, *NO_NO, *final(2, "uh", 2500, 2600)) == {"invented": 1}
    assert broken(*ALPHA_BETA, *NO_NO, *final(2, "uh", 2500, 2600, is_confirmed=False)) == {}


def test_a_transcript_is_in_the_order_of_the_audio() -> None:
    words = (*SCRIPT.words[:2], Word("gamma", 1500, 1800), Word("delta", 1800, 2100))
    script = Script(words, 3_000)

    def of(*events: Event, **outcome: Any) -> Counts:
        return count(Outcome(script=script, events=list(events), **outcome))[0]

    gamma_delta = final(1, "gamma delta", 1500, 2100)
    counts = of(*gamma_delta, *ALPHA_BETA)  # as delivered; a transcript puts it in order
    assert (counts.broken, counts.delivered_unordered) == ({}, 1)
    results = [event for event in (*gamma_delta, *ALPHA_BETA) if isinstance(event, Result)]
    assert of(results=results, transcript_text="gamma delta Alpha beta.").broken == {"unordered": 1}
    assert of(results=results[::-1], transcript_text="Alpha beta. gamma delta").broken == {}
    assert of(results=results[::-1], transcript_text="Alpha beta.").broken == {"unordered": 1}
    assert of(*final(0, "Alpha beta.", 1000, 1900), *final(1, "gamma delta", 0, 900)).broken == {"unordered": 1}
    assert of(*ALPHA_BETA, *final(1, "delta gamma", 1500, 2100)).broken == {"unordered": 1}


def test_words_that_are_near_to_each_other_may_change_places() -> None:
    script = Script((Word("alpha", 0, 150), Word("beta", 150, 300)), 1_000)
    events = [*final(0, "beta", 50, 200), *final(1, "alpha", 100, 250)]
    assert count(Outcome(script=script, events=events))[0].broken == {}


def test_a_segment_starts_once_and_ends_once() -> None:
    start, result, end = ALPHA_BETA
    assert broken(start, start, result, end, *NO_NO) == {"starts": 1}
    assert broken(result, end, *NO_NO) == {"starts": 1}
    assert broken(start, result, *NO_NO) == {"starts": 1}
    assert broken(start, result, end, end, *NO_NO) == {"starts": 1}
    assert broken(start, result, end, *NO_NO, *final(0, "uh", 2500, 2600, is_confirmed=False)) == {
        "starts": 1,
        "ids": 1,
    }


def test_an_interim_becomes_final_or_is_withdrawn() -> None:
    noise: list[Event] = [
        SpeechStarted(segment_id=2, start_ms=2500),
        Result(text="uh", is_final=False, segment_id=2, start_ms=2500, end_ms=2600),
    ]
    withdrawn = SpeechEnded(segment_id=2, end_ms=2600, is_withdrawn=True, withdrawn_text="uh")
    assert broken(*ALPHA_BETA, *noise, withdrawn, *NO_NO) == {}
    assert broken(*ALPHA_BETA, *noise, SpeechEnded(segment_id=2, end_ms=2600), *NO_NO) == {"interims": 1}


def test_a_translation_belongs_to_its_segment_or_is_reported_lost() -> None:
    def arrived(number: int, text: str) -> Event:
        translation = Translation(text=text, is_final=True, start_ms=0, end_ms=0)
        return TranslationArrived(segment_id=number, language="en", translation=translation)

    alpha_beta, no_no = arrived(0, "tralpha trbeta"), arrived(1, "trno trno")
    finals = [*ALPHA_BETA, *NO_NO]
    wants: dict[str, Any] = {"wants_translation": "en"}
    assert broken(*finals, alpha_beta, no_no, **wants) == {}
    assert broken(*finals, alpha_beta, **wants) == {"translations_lost": 1}
    lost = TranslationLost(segment_id=1, language="en", reason="cut")
    assert broken(*finals, alpha_beta, lost, **wants) == {}
    assert broken(*finals, alpha_beta, arrived(1, "tralpha"), **wants) == {"translations_wrong": 1}
    assert broken(*finals, arrived(0, "tralpha"), no_no, **wants) == {"translations_lost": 1}


# --- the audio -------------------------------------------------------------------------------------------------------


def read_audio_in_parts(audio_format: str, audio: bytes, rng: random.Random) -> AudioReader:
    reader, at = reader_for(audio_format), 0
    while at < len(audio):
        size = rng.choice((1, 17, 999, 3_200))
        reader.read(audio[at : at + size])
        at += size
    return reader


@pytest.mark.parametrize("audio_format", ["pcm", "mp3", "opus"])
def test_a_reader_finds_the_place_of_the_audio(audio_format: str) -> None:
    for seed in range(4):
        rng = random.Random(seed)
        reader = read_audio_in_parts(audio_format, numbered_audio(audio_format, 3_000, rng), rng)
        assert (reader.begin_ms, reader.breaks) == (0, [])
        assert 3_000 <= reader.end_ms < 3_050


def test_a_reader_finds_a_place_inside_a_millisecond_and_records_a_hole() -> None:
    audio = numbered_audio("pcm", 3_000, random.Random(1))
    reader = reader_for("pcm")
    reader.read(audio[1000 * 32 + 10 : 1500 * 32])
    assert (reader.begin_ms, reader.end_ms, reader.breaks) == (1000, 1500, [])
    reader.read(audio[1600 * 32 : 1700 * 32])
    assert (reader.end_ms, reader.breaks) == (1700, ["1600 ms follows 1500 ms"])


@pytest.mark.parametrize("audio_format", ["mp3", "opus"])
def test_a_reader_refuses_audio_that_a_decoder_refuses(audio_format: str) -> None:
    rng = random.Random(3)
    audio = numbered_audio(audio_format, 3_000, rng)
    with pytest.raises(Undecodable):
        read_audio_in_parts(audio_format, audio[len(audio) // 2 + 5 :], rng)


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe")
@pytest.mark.parametrize("audio_format", ["mp3", "opus"])
def test_other_programs_accept_the_packets(audio_format: str, tmp_path: Path) -> None:
    path = tmp_path / f"source.{audio_format}"
    path.write_bytes(numbered_audio(audio_format, 3_600, random.Random(5)))
    arguments = ["ffprobe", "-v", "error", "-show_entries", "packet=pts_time,duration_time", "-of", "json", str(path)]
    packets = json.loads(subprocess.run(arguments, check=True, capture_output=True).stdout)["packets"]
    assert sum(float(packet["duration_time"]) for packet in packets) == pytest.approx(3.6, abs=0.05)


# --- the recognisers -------------------------------------------------------------------------------------------------


def test_a_plan_has_each_recognised_word_in_one_final() -> None:
    for seed in range(50):
        rng = random.Random(seed)
        script = draw_script(rng, 12_000)
        habits = Habits(late=0.3, repeats=0.3, noise=0.3, coughs=0.2, drops=0.1, is_sequential=seed % 2 == 0)
        begin_ms = rng.randrange(9_000)
        finals = [step.sentence for step in plan_of(script, habits, rng, begin_ms) if step.kind is StepKind.FINAL]
        texts = Counter(word.text for each in finals if each.kind == "speech" for word in each.words)
        due = Counter(word.text for word in script.words if word.middle_ms >= begin_ms)
        assert due <= texts
        assert (texts - due).total() <= 1  # a word of which less than half was sent


def test_a_text_is_read_word_by_word() -> None:
    assert texts_of("Bago rimu, 好的是。 No.") == ["bago", "rimu", "好", "的", "是", "no"]
    assert texts_of(f"{translated('no')} {translated('好')}") == ["trno", "tr597d"]


def test_a_number_is_read_in_all_of_its_forms() -> None:
    script = Script(
        (Word("25", 0, 400), Word("47", 500, 900)), 1_000, {"25": ("25", "twenty five"), "47": ("47", "四十七")}
    )
    assert script.texts_of("Twenty five, 四十七 twenty") == ["25", "47", "twenty"]
    assert script.texts_of("25四十七") == ["25", "47"]
    events = [*final(0, "Twenty five.", 0, 400), *final(1, "四十七", 500, 900)]
    assert count(Outcome(script=script, events=events))[0].broken == {}
    halves = [*final(0, "twenty", 0, 200), *final(1, "five", 200, 400), *final(2, "47", 500, 900)]
    assert count(Outcome(script=script, events=halves))[0].broken == {"invented": 2, "lost": 1, "wrong_ends": 1}


def test_a_spoken_script_has_few_texts_and_each_number_once() -> None:
    for seed in range(20):
        script = draw_spoken_script(random.Random(seed), 15_000)
        times = Counter(word.text for word in script.words)
        assert all(times[number] == 1 for number in script.forms if number in times)
        assert times.total() > len(times)
        assert all(script.texts_of(form) == [number] for number, forms in script.forms.items() for form in forms)


@pytest.mark.parametrize("vendor", ["dashscope", "huawei", "qwen", "funasr-realtime", "funasr-2pass"])
async def test_a_recogniser_without_bad_habits_and_cuts_breaks_no_promise(vendor: str) -> None:
    scenario = replace(adversary.SCENARIOS["paraformer"], habits=lambda _: Habits(), vendor=vendor, breaks=0)
    async with adversary.running_servers() as servers:
        for seed in range(5):
            session = adversary.OneSession(servers, scenario, seed)
            await session.run()
            assert session.counts.broken == {}, session.report()
            assert session.counts.words > 10


# --- the library -----------------------------------------------------------------------------------------------------


def test_what_went_wrong_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts of a session whose script has one word more than its audio."""
    draw = draw_script

    def with_another_word(rng: random.Random, length_ms: int, *, repeated: float = 0.15) -> Script:
        script = draw(rng, length_ms, repeated=repeated)
        return Script((*script.words, Word("unheard", length_ms + 100, length_ms + 300)), length_ms)

    monkeypatch.setattr(adversary, "draw_script", with_another_word)
    status = adversary.main(["--scenario", "qwen-commits", "--session", "5", "--show", "1"])
    printed = capsys.readouterr().out
    assert status == 1
    assert "=== seed 5: {'lost': 1, 'wrong_ends': 1}" in printed
    assert "lost: Word(text='unheard'" in printed


@pytest.mark.parametrize("name", adversary.SCENARIOS)
async def test_no_promise_is_broken(name: str) -> None:
    """Eight sessions of each scenario; which connection gets which audio depends on the scheduling a little."""
    async with adversary.running_servers() as servers:
        sessions = [adversary.OneSession(servers, adversary.SCENARIOS[name], seed) for seed in range(1, 9)]
        await asyncio.gather(*(session.run() for session in sessions))
    assert sum(session.counts.cuts for session in sessions) > 5
    for session in sessions:
        assert session.counts.broken == {}, session.report()
