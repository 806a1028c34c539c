"""Sentences drawn anew: other boundaries, times and noises over the same words."""

from __future__ import annotations

import itertools
from typing import Any

from asr_async.emulator import Hypothesis, HypothesisWord, Request, Scripted, position_audio, position_of
from asr_async.emulator.engines.engine import Emit
from asr_async.emulator.engines.redrawn import MIN_NOISE_MS, NOISE_MS, NOISES, RedrawnEngine

SCRIPT = [
    {"text": "One, two three four.", "start_ms": 100, "end_ms": 1_300, "translations": {"de": "Eins zwei drei vier."}},
    {"text": "你好，世界。", "start_ms": 1_400, "end_ms": 2_400, "translations": {"de": "Hallo Welt."}},
    {"text": "Five six seven eight nine ten.", "start_ms": 2_800, "end_ms": 4_400},
    {"text": "Eleven?", "start_ms": 5_000, "end_ms": 5_500},
]
WORDS = [*["one", "two", "three", "four"], *"你好世界", *["five", "six", "seven", "eight", "nine", "ten", "eleven"]]
AUDIO_MS = 6_000
SEEDS = range(40)


async def recognise(
    engine: RedrawnEngine, *, from_ms: int = 0, to_ms: int = AUDIO_MS, piece_ms: int = 100
) -> list[Hypothesis]:
    """Return everything that a new recognition emits over a part of the source."""
    emitted: list[Hypothesis] = []

    async def emit(hypothesis: Hypothesis) -> None:
        emitted.append(hypothesis)

    recognition = await engine.open(Request(sample_rate=16_000), emit)
    for at_ms in range(from_ms, to_ms, piece_ms):
        await recognition.feed(position_audio(at_ms, min(at_ms + piece_ms, to_ms)))
    await recognition.finish()
    await recognition.aclose()
    return emitted


def redrawn(seed: int = 0, *, max_words: int = 4, jitter_ms: int = 0, noise: float = 0.0) -> RedrawnEngine:
    engine = Scripted(SCRIPT, position=position_of)
    return RedrawnEngine(engine, max_words=max_words, jitter_ms=jitter_ms, noise=noise, seed=str(seed))


def finals_of(emitted: list[Hypothesis]) -> list[str]:
    return [hypothesis.text for hypothesis in emitted if hypothesis.is_final]


def words_of(emitted: list[Hypothesis]) -> list[str]:
    return [word.text.lower() for hypothesis in emitted if hypothesis.is_final for word in hypothesis.words]


def text_without_spaces(texts: list[str]) -> str:
    return "".join("".join(texts).split())


async def test_the_words_and_the_text_stay_and_the_sentences_differ() -> None:
    drawn = set()
    for seed in SEEDS:
        emitted = await recognise(redrawn(seed, jitter_ms=100, noise=0.5))
        assert words_of(emitted) == WORDS
        assert text_without_spaces(finals_of(emitted)) == text_without_spaces(
            [str(segment["text"]) for segment in SCRIPT]
        )
        assert max(len(hypothesis.words) for hypothesis in emitted if hypothesis.is_final) <= 4
        drawn.add(tuple(finals_of(emitted)))
    assert len(drawn) == len(SEEDS)


async def test_a_sentence_may_reach_over_a_pause_and_may_be_cut_within_an_utterance() -> None:
    texts = [text for seed in SEEDS for text in finals_of(await recognise(redrawn(seed)))]
    assert "One, two" in texts
    assert any(text.startswith("four.你") for text in texts)
    assert any(text.endswith("界。Five") for text in texts)


async def test_the_same_seed_draws_the_same_for_any_division_of_the_audio() -> None:
    first = await recognise(redrawn(5, jitter_ms=50, noise=0.5))
    assert await recognise(redrawn(5, jitter_ms=50, noise=0.5), piece_ms=330) == first
    assert await recognise(redrawn(6, jitter_ms=50, noise=0.5)) != first


async def test_each_recognition_of_a_connection_draws_its_own_sentences() -> None:
    engine = redrawn(5)
    assert finals_of(await recognise(engine)) != finals_of(await recognise(engine))


async def test_times_are_off_by_the_jitter_at_most_and_words_follow_one_another() -> None:
    exact = {word.text: word for hypothesis in await recognise(redrawn()) for word in hypothesis.words}
    offsets = set()
    for seed in SEEDS:
        for hypothesis in await recognise(redrawn(seed, jitter_ms=60)):
            words = hypothesis.words
            assert (hypothesis.start_ms, hypothesis.end_ms) == (words[0].start_ms, words[-1].end_ms)
            times = [time_ms for word in words for time_ms in (word.start_ms, word.end_ms)]
            assert times == sorted(times)
            assert times[0] >= 0
            if hypothesis.is_final:
                offsets |= {word.start_ms - exact[word.text].start_ms for word in words}
                offsets |= {word.end_ms - exact[word.text].end_ms for word in words}
    assert min(offsets) == -60
    assert max(offsets) == 60


async def test_a_noise_precedes_a_sentence_and_is_never_final() -> None:
    emitted = await recognise(redrawn(noise=1.0, max_words=30))
    noises = [(before, after) for before, after in itertools.pairwise(emitted) if before.is_noise]
    assert noises
    for noise, sentence in noises:
        assert noise.text in NOISES
        assert not noise.is_final
        assert not sentence.is_noise
        assert noise.end_ms == sentence.start_ms
        assert MIN_NOISE_MS <= noise.end_ms - noise.start_ms <= NOISE_MS
    assert not any(hypothesis.is_noise for hypothesis in await recognise(redrawn(noise=0.0)))


async def test_a_sentence_is_interim_before_it_is_final() -> None:
    interims = [hypothesis.text for hypothesis in await recognise(redrawn(noise=0)) if not hypothesis.is_final]
    assert "One, two three" in interims


async def test_translations_are_divided_among_the_sentences() -> None:
    for seed in SEEDS:
        emitted = await recognise(redrawn(seed))
        translations = [hypothesis.translations.get("de", "") for hypothesis in emitted if hypothesis.is_final]
        assert " ".join(filter(None, translations)) == "Eins zwei drei vier. Hallo Welt."


async def test_a_word_whose_second_half_is_sent_again_is_recognised_again() -> None:
    # the first utterance has four words of 300 ms, from 100 ms on
    for from_ms, first in ((100, "one"), (249, "one"), (251, "two"), (700, "three"), (860, "four"), (1_149, "four")):
        assert words_of(await recognise(redrawn(), from_ms=from_ms))[0] == first


async def test_of_a_word_whose_first_half_is_missing_at_the_end_nothing_is_said() -> None:
    assert words_of(await recognise(redrawn(), to_ms=540)) == ["one"]
    assert words_of(await recognise(redrawn(), to_ms=560)) == ["one", "two"]


async def test_hypotheses_without_words_pass() -> None:
    class Wordless:
        """An engine without the times of words."""

        async def __aenter__(self) -> Wordless:
            return self

        async def __aexit__(self, *exc_info: object) -> None:
            pass

        async def open(self, _request: Request, emit: Emit) -> Wordless:
            self.emit = emit
            return self

        silent_ms = 7
        has_speech = True

        async def feed(self, samples: bytes) -> None:
            await self.emit(HEARD)

        async def finish(self) -> None:
            pass

        async def aclose(self) -> None:
            pass

    engine = RedrawnEngine(Wordless(), max_words=1, jitter_ms=50, noise=1, seed="")
    emitted: list[Hypothesis] = []

    async def emit(hypothesis: Hypothesis) -> None:
        emitted.append(hypothesis)

    async with engine:
        recognition = await engine.open(Request(sample_rate=16_000), emit)
        await recognition.feed(b"")
        await recognition.finish()
    assert emitted == [HEARD]
    assert (recognition.silent_ms, recognition.has_speech) == (7, True)


HEARD = Hypothesis(text="one two", is_final=True, start_ms=0, end_ms=900)


async def test_a_text_without_its_words_is_made_of_the_words() -> None:
    words = (
        HypothesisWord(text="ONE", start_ms=0, end_ms=300, punctuation=","),
        HypothesisWord(text="TWO", start_ms=300, end_ms=600),
    )

    class Spelled(Scripted):
        async def open(self, request: Request, emit: Emit) -> Any:
            await emit(Hypothesis(text="one, two", is_final=True, start_ms=0, end_ms=600, words=words))
            return await super().open(request, emit)

    engine = RedrawnEngine(Spelled([]), max_words=30, jitter_ms=0, noise=0, seed="")
    assert " ".join(finals_of(await recognise(engine, to_ms=100))) == "ONE, TWO"
