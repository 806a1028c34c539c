"""The scripted engine: the same audio gives the same hypotheses for any division into pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asr_async.emulator import Hypothesis, HypothesisWord, Recognition, Request, Scripted, position_audio, position_of
from asr_async.emulator.engines.scripted import ScriptedSegment
from asr_async.errors import ConfigurationError

TWO = (
    ScriptedSegment("Hello, big world.", 100, 1000),
    ScriptedSegment("Bye.", 1500, 1800),
)


async def recognise(
    engine: Scripted,
    audio_ms: int,
    *,
    sample_rate: int = 16_000,
    piece_bytes: int = 3_200,
    hot_words: tuple[str, ...] = (),
) -> tuple[list[Hypothesis], Recognition]:
    """Return everything emitted over this much audio, and the recognition after it."""
    emitted: list[Hypothesis] = []

    async def emit(hypothesis: Hypothesis) -> None:
        emitted.append(hypothesis)

    async with engine:
        recognition = await engine.open(Request(sample_rate=sample_rate, hot_words=hot_words), emit)
        left = sample_rate * audio_ms // 1000 * 2
        while left > 0:
            await recognition.feed(bytes(min(piece_bytes, left)))
            left -= piece_bytes
        await recognition.finish()
        await recognition.aclose()
    return emitted, recognition


def brief(hypotheses: list[Hypothesis]) -> list[tuple[int, str, bool]]:
    return [(hypothesis.end_ms, hypothesis.text, hypothesis.is_final) for hypothesis in hypotheses]


async def test_interims_grow_word_by_word_and_the_final_follows_at_the_end() -> None:
    emitted, _ = await recognise(Scripted(TWO), 2000)
    assert brief(emitted) == [
        (300, "Hello,", False),
        (500, "Hello, big", False),
        (700, "Hello, big", False),
        (900, "Hello, big world.", False),
        (1000, "Hello, big world.", True),
        (1700, "Bye.", False),
        (1800, "Bye.", True),
    ]
    assert {hypothesis.start_ms for hypothesis in emitted} == {100, 1500}
    assert emitted[4].words == (
        HypothesisWord(text="Hello", start_ms=100, end_ms=400, punctuation=","),
        HypothesisWord(text="big", start_ms=400, end_ms=700),
        HypothesisWord(text="world", start_ms=700, end_ms=1000, punctuation="."),
    )
    assert emitted[1].words[-1] == HypothesisWord(text="big", start_ms=400, end_ms=500)


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 48_000])
@pytest.mark.parametrize("piece_bytes", [2, 100, 7_778, 1_000_000])
async def test_neither_pieces_nor_rate_change_the_hypotheses(sample_rate: int, piece_bytes: int) -> None:
    reference, _ = await recognise(Scripted(TWO), 2000)
    emitted, _ = await recognise(Scripted(TWO), 2000, sample_rate=sample_rate, piece_bytes=piece_bytes)
    assert emitted == reference


async def test_one_engine_serves_many_recognitions() -> None:
    engine = Scripted(TWO)
    first, _ = await recognise(engine, 2000)
    second, _ = await recognise(engine, 2000)
    assert first == second
    assert repr(engine) == "<Scripted 2 segments>"


async def test_audio_that_ends_inside_a_segment_finalises_the_words_so_far() -> None:
    emitted, recognition = await recognise(Scripted(TWO), 550)
    final = emitted[-1]
    assert brief([final]) == [(550, "Hello, big", True)]
    assert final.words[-1] == HypothesisWord(text="big", start_ms=400, end_ms=550)
    assert repr(recognition) == "<_ScriptedRecognition at 550 ms, 1 of 2 segments done>"


@pytest.mark.parametrize(("audio_ms", "finals"), [(0, 0), (100, 0), (101, 1), (1500, 1), (1501, 2)])
async def test_a_segment_that_was_not_reached_is_not_emitted(audio_ms: int, finals: int) -> None:
    emitted, recognition = await recognise(Scripted(TWO), audio_ms)
    assert sum(hypothesis.is_final for hypothesis in emitted) == finals
    assert recognition.has_speech == (finals > 0)


async def test_a_segment_of_which_no_word_has_begun_is_not_emitted() -> None:
    late = ScriptedSegment("Well", 0, 1000, (HypothesisWord(text="Well", start_ms=900, end_ms=1000),))
    emitted, _ = await recognise(Scripted([late]), 850)
    assert emitted == []


@pytest.mark.parametrize(
    ("audio_ms", "silent_ms"), [(0, 0), (100, 100), (500, 0), (1000, 0), (1400, 400), (1700, 0), (9000, 7200)]
)
async def test_silence_is_counted_from_the_end_of_the_last_segment(audio_ms: int, silent_ms: int) -> None:
    _, recognition = await recognise(Scripted(TWO), audio_ms)
    assert recognition.silent_ms == silent_ms


async def test_nothing_is_emitted_after_the_recognition_is_closed() -> None:
    emitted: list[Hypothesis] = []

    async def emit(hypothesis: Hypothesis) -> None:
        emitted.append(hypothesis)

    recognition = await Scripted(TWO).open(Request(sample_rate=8_000), emit)
    await recognition.aclose()
    await recognition.feed(bytes(32_000))
    assert emitted == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one two", [("one", ""), ("two", "")]),
        ("Well... it's 3.5, no?", [("Well", "..."), ("it's", ""), ("3.5", ","), ("no", "?")]),
        ("好，我知道。", [("好", "，"), ("我", ""), ("知", ""), ("道", "。")]),
        ("用Python写", [("用", ""), ("Python", ""), ("写", "")]),
        ("안녕하세요 여러분", [("안녕하세요", ""), ("여러분", "")]),
    ],
)
async def test_words_are_split_at_spaces_or_by_character(text: str, words: list[tuple[str, str]]) -> None:
    emitted, _ = await recognise(Scripted([(text, 0, 1000)], interim_every_ms=50), 1000)
    assert [(word.text, word.punctuation) for word in emitted[-1].words] == words
    assert emitted[-1].text == text
    assert all(text.startswith(hypothesis.text) for hypothesis in emitted)


async def test_given_words_keep_their_times() -> None:
    script = {
        "text": "yes, no",
        "start_ms": 0,
        "end_ms": 1000,
        "words": [
            {"text": "yes", "start_ms": 100, "end_ms": 150, "punctuation": ","},
            {"text": "no", "start_ms": 800, "end_ms": 900},
        ],
    }
    emitted, _ = await recognise(Scripted([script], interim_every_ms=400), 1000)
    assert brief(emitted) == [(400, "yes,", False), (800, "yes,", False), (1000, "yes, no", True)]
    assert [(word.start_ms, word.end_ms) for word in emitted[-1].words] == [(100, 150), (800, 900)]


@pytest.mark.parametrize(
    ("hot_words", "text"),
    [
        ((), "seat a bail in the old york times"),
        (("York",), "seat a bail in the old york times"),
        (("New York",), "seat a bail in the New York times"),
        (("Seediq Bale", "New York", "other"), "Seediq Bale in the New York times"),
    ],
)
async def test_a_term_is_recognised_if_it_is_a_hot_word(hot_words: tuple[str, ...], text: str) -> None:
    segment = {
        "text": "Seediq Bale in the New York times",
        "start_ms": 0,
        "end_ms": 800,
        "variants": {"York": "yorck", "Seediq Bale": "seat a bail", "New York": "old york"},
    }
    emitted, _ = await recognise(Scripted([segment], interim_every_ms=1000), 800, hot_words=hot_words)
    assert brief(emitted) == [(800, text, True)]
    assert " ".join(word.text for word in emitted[0].words) == text


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_script_is_read_from_a_file(tmp_path: Path, wrapped: bool) -> None:
    segments = [{"text": "one", "start_ms": 0, "end_ms": 300}, ["two", 300, 600]]
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"segments": segments} if wrapped else segments), encoding="utf-8")
    emitted, _ = await recognise(Scripted.from_file(path, interim_every_ms=1000), 600)
    assert brief(emitted) == [(300, "one", True), (600, "two", True)]


@pytest.mark.parametrize(
    ("segments", "fault"),
    [
        ([("a", 0, 500), ("b", 400, 900)], "segment 2: starts at 400 ms, before the previous segment ends (500 ms)"),
        ([("a", 500, 500)], "segment 1: must start at 0 ms or later and before it ends, not 500..500"),
        ([("a", -1, 500)], "segment 1: must start at 0 ms"),
        ([("", 0, 500)], "segment 1: has no words"),
        ([("a", 0)], "segment 1: Object missing required field `end_ms`"),
        ([("a", 0, 1, None, 5)], "segment 1: has 5 members"),
        ([{"text": "a", "start_ms": "0", "end_ms": 1}], "segment 1: Expected `int`, got `str`"),
        ([7], "segment 1: Expected `object`, got `int`"),
        ([("a b", 0, 9, (HypothesisWord(text="c", start_ms=0, end_ms=9),))], "segment 1: the word 'c' is not"),
        ([("a", 0, 9, (HypothesisWord(text="a", start_ms=0, end_ms=10),))], "segment 1: the times of 'a'"),
        ([("a", 0, 9, ())], "segment 1: has no words"),
        (
            [{"text": "a", "start_ms": 0, "end_ms": 9, "variants": {"b": "c"}}],
            "segment 1: variants: 'b' is not in its text",
        ),
        (
            [{"text": "a", "start_ms": 0, "end_ms": 9, "variants": {"a": " "}}],
            "segment 1: variants: ' ' for 'a' contains no word",
        ),
        (
            [ScriptedSegment("a", 0, 9, (HypothesisWord(text="a", start_ms=0, end_ms=9),), {"a": "b"})],
            "segment 1: has both words and variants: omit words, which follow from the text",
        ),
    ],
)
def test_a_faulty_script_is_refused_by_the_number_of_its_segment(segments: list[Any], fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Scripted(segments)
    assert str(caught.value).startswith(fault)


def test_the_interval_of_interims_must_be_positive() -> None:
    with pytest.raises(ConfigurationError, match="interim_every_ms=0"):
        Scripted(TWO, interim_every_ms=0)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "No such file"),
        (b"[", "not JSON"),
        (b"\xff", "not JSON"),
        (b"{}", "must be a list of segments"),
        (b'{"segments": 7}', "must be a list of segments"),
        (b'[{"text": "a", "start_ms": 5, "end_ms": 1}]', "segment 1: must start"),
    ],
)
def test_a_faulty_file_is_named_with_its_fault_in_one_line(tmp_path: Path, content: bytes | None, fault: str) -> None:
    path = tmp_path / "script.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        Scripted.from_file(path)
    assert str(caught.value).startswith(f"script {path}: {fault}")
    assert "\n" not in str(caught.value)


# --- one source in several recognitions -------------------------------------------------------------------------------

PLACED = Scripted(TWO, position=position_of)


async def recognise_source(
    *audio: bytes, engine: Scripted = PLACED, sample_rate: int = 16_000
) -> list[tuple[int, int, str, bool]]:
    """Return the finals of one recognition of this audio, with their times."""
    emitted: list[Hypothesis] = []

    async def emit(hypothesis: Hypothesis) -> None:
        emitted.append(hypothesis)

    recognition = await engine.open(Request(sample_rate=sample_rate), emit)
    frame_bytes = sample_rate // 10 * 2
    for part in audio:
        for start in range(0, len(part), frame_bytes):
            await recognition.feed(part[start : start + frame_bytes])
    await recognition.finish()
    return [(one.start_ms, one.end_ms, one.text, one.is_final) for one in emitted]


async def finals_in(*audio: bytes, **options: Any) -> list[tuple[int, int, str]]:
    return [found[:3] for found in await recognise_source(*audio, **options) if found[3]]


async def test_audio_from_the_beginning_gives_the_whole_script() -> None:
    emitted, _ = await recognise(Scripted(TWO), 2_000)
    plain = [(one.start_ms, one.end_ms, one.text, one.is_final) for one in emitted]
    assert await recognise_source(position_audio(0, 2_000)) == plain


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 16_000, 48_000])
async def test_audio_from_the_middle_gives_the_script_from_there_with_its_own_times(sample_rate: int) -> None:
    audio = position_audio(1_200, 2_000, sample_rate)
    assert await finals_in(audio, sample_rate=sample_rate) == [(300, 600, "Bye.")]


async def test_a_repeated_part_is_recognised_again() -> None:
    parts = [position_audio(0, 700), position_audio(0, 1_200), position_audio(1_000, 2_000)]
    assert [await finals_in(part) for part in parts] == [
        [(100, 700, "Hello, big")],
        [(100, 1_000, "Hello, big world.")],
        [(500, 800, "Bye.")],
    ]


async def test_a_segment_that_began_before_the_audio_starts_at_its_first_whole_word() -> None:
    assert await finals_in(position_audio(300, 1_200)) == [(100, 700, "big world.")]
    assert await finals_in(position_audio(400, 1_200)) == [(0, 600, "big world.")]
    assert await finals_in(position_audio(401, 1_200)) == [(299, 599, "world.")]
    assert await finals_in(position_audio(701, 1_200)) == []


async def test_a_translation_loses_the_words_before_the_audio() -> None:
    segment = ScriptedSegment("one two three", 0, 900, translations={"de": "eins zwei drei"})
    engine = Scripted([segment], position=position_of)
    emitted: list[Hypothesis] = []

    async def emit(hypothesis: Hypothesis) -> None:
        emitted.append(hypothesis)

    recognition = await engine.open(Request(sample_rate=16_000), emit)
    await recognition.feed(position_audio(300, 900))
    assert (emitted[-1].text, emitted[-1].translations) == ("two three", {"de": "zwei drei"})


async def test_a_jump_ends_the_present_segment_and_continues_elsewhere() -> None:
    audio = (position_audio(0, 500), position_audio(1_400, 2_000))
    assert await finals_in(*audio) == [(100, 500, "Hello, big"), (600, 900, "Bye.")]


async def test_a_jump_back_repeats_the_script() -> None:
    audio = (position_audio(0, 1_000), position_audio(0, 1_000))
    assert await finals_in(*audio) == [(100, 1_000, "Hello, big world."), (1_100, 2_000, "Hello, big world.")]


async def test_inserted_silence_advances_the_time_without_hypotheses() -> None:
    silence = bytes(2 * 16_000 * 5)
    found = await recognise_source(position_audio(0, 1_200), silence, position_audio(1_200, 2_000))
    assert [one[:3] for one in found if one[3]] == [(100, 1_000, "Hello, big world."), (6_500, 6_800, "Bye.")]


async def test_silence_inside_a_segment_moves_the_words_behind_it() -> None:
    emitted: list[Hypothesis] = []

    async def emit(hypothesis: Hypothesis) -> None:
        emitted.append(hypothesis)

    recognition = await PLACED.open(Request(sample_rate=16_000), emit)
    for part in (position_audio(0, 700), bytes(32_000), position_audio(700, 1_000)):
        await recognition.feed(part)
    assert [(word.text, word.start_ms, word.end_ms) for word in emitted[-1].words] == [
        ("Hello", 100, 400),
        ("big", 400, 700),
        ("world", 1_700, 2_000),
    ]
    assert (emitted[-1].start_ms, emitted[-1].end_ms) == (100, 2_000)


async def test_silence_is_counted_in_the_recognitions_own_audio() -> None:
    async def emit(_hypothesis: Hypothesis) -> None:
        pass

    recognition = await PLACED.open(Request(sample_rate=16_000), emit)
    assert not recognition.has_speech
    await recognition.feed(position_audio(1_400, 2_000))
    assert (recognition.silent_ms, recognition.has_speech) == (200, True)
    await recognition.feed(bytes(32_000))
    assert recognition.silent_ms == 1_200
    await recognition.feed(position_audio(0, 50))
    assert recognition.has_speech


async def test_audio_without_positions_is_silence_to_an_engine_that_reads_them() -> None:
    assert await recognise_source(bytes(64_000)) == []
