"""The bots of the examples, on every vendor's protocol: nothing is lost and nothing begins twice, whatever is cut."""

from __future__ import annotations

import asyncio
import importlib
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    FunASR,
    Gummy,
    Paraformer,
    QwenAudio,
    QwenRealtime,
    Rasr,
    Result,
    Retry,
    SpeechEnded,
    SpeechStarted,
    connect,
)
from asr_async.emulator import Faults, Scripted, position_audio, position_of, serve
from asr_async.emulator.faults import Cut, Redraw

from .support.segment_events import assert_framed
from .support.streaming import emulator_service
from .support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence

    from asr_async import Event, Session
    from asr_async.emulator import Fault
    from asr_async.vendors.options import Options

barge_in: Any = importlib.import_module("examples.barge_in")
push_to_talk: Any = importlib.import_module("examples.push_to_talk")

TEXTS = ["turn on the light", "and the radio in the kitchen", "what is the weather like", "good night"]
PLACES_MS = [(200, 1_400), (2_200, 4_200), (5_000, 6_600), (7_400, 8_400)]
SCRIPT = [
    {"text": text, "start_ms": start_ms, "end_ms": end_ms, "translations": {"zh": "好的好的"}}
    for text, (start_ms, end_ms) in zip(TEXTS, PLACES_MS, strict=True)
]
TURNS_MS = [0, 1_800, 4_600, 7_000, 9_000]
"""The places between the sentences, at which the key is released."""

MODELS: list[Options] = [
    Paraformer(),
    FunASR(),
    QwenAudio(),
    Gummy(),
    Gummy(translation_target_languages=["zh"]),
    QwenRealtime(),
    Rasr(),
    Rasr(interim_results=False),
]

RETRY = Retry(attempts=10, max_delay_s=0.2)

CUTS: list[Fault] = [Cut(after_audio_ms=900, times=2), Cut(after_audio_ms=2_500, times=2)]
REDRAWN: list[Fault] = [*CUTS, Redraw(max_words=4)]
REDRAWN_WITHOUT_NOISE: list[Fault] = [*CUTS, Redraw(max_words=4, noise=0)]

NOISES = {"uh", "um", "嗯"}
"""Those of the fault; a vendor that confirms the end of a task makes them final."""


def name_of(options: Options) -> str:
    suffix = "-manual" if getattr(options, "manual_commit", False) else ""
    suffix += "-translated" if getattr(options, "translation_target_languages", ()) else ""
    return options.model + suffix + ("" if getattr(options, "interim_results", True) else "-finals")


def words_of(texts: Iterable[str]) -> list[str]:
    return [word for word in " ".join(texts).split() if word not in NOISES]


def assert_all_words_once(finals: Sequence[Result]) -> None:
    """Assert that no word is missing, and that only results which say so repeat one."""
    remaining = iter(words_of(final.text for final in finals))
    assert all(word in remaining for word in words_of(TEXTS)), finals
    if not any(final.may_repeat for final in finals):
        assert words_of(final.text for final in finals) == words_of(TEXTS)


async def microphone(start_ms: int, end_ms: int) -> AsyncIterator[bytes]:
    """Yield the audio between two places of the script, in real time."""
    for first in range(start_ms, end_ms, 100):
        yield position_audio(first, min(first + 100, end_ms))
        await asyncio.sleep(0.1)


@asynccontextmanager
async def emulated(options: Options, faults: Sequence[Fault], seed: int) -> AsyncIterator[Session]:
    """Open a session with an emulator, and check at the end that connections were lost if they should be."""
    async with (
        serve(Scripted(SCRIPT, position=position_of), faults=Faults(faults, seed=seed)) as emulator,
        connect(options, emulator_service(emulator, options), retry=RETRY) as session,
    ):
        yield session
        assert bool(session.stats.reconnects) is bool(faults)
        assert session.gaps == ()


# --- push-to-talk ----------------------------------------------------------------------------------------------------


async def presses() -> AsyncIterator[AsyncIterator[bytes]]:
    for start_ms, end_ms in itertools.pairwise(TURNS_MS):
        yield microphone(start_ms, end_ms)


talking_models = pytest.mark.parametrize(
    "options", [*MODELS, QwenRealtime(manual_commit=True), Rasr(mode="short")], ids=name_of
)


@pytest.mark.parametrize("faults", [[], CUTS], ids=["whole", "cut"])
@talking_models
def test_the_push_to_talk_bot_answers_each_utterance_with_its_text(options: Options, faults: list[Fault]) -> None:
    answers: list[str] = []

    async def scenario() -> None:
        async with emulated(options, faults, 0) as session:
            await push_to_talk.converse(session, presses(), answers.append)

    run_virtual(scenario, quiet_polls=0)
    assert answers == TEXTS


@talking_models
@pytest.mark.parametrize("seed", range(2))
def test_the_push_to_talk_bot_has_every_word_in_its_utterance_wherever_sentences_end(
    options: Options, seed: int
) -> None:
    """The vendor draws other sentences on each connection."""
    answers: list[str] = []

    async def scenario() -> None:
        async with emulated(options, REDRAWN, seed) as session:
            await push_to_talk.converse(session, presses(), answers.append)

    run_virtual(scenario, quiet_polls=0)
    assert len(answers) == len(TEXTS)
    for answer, text in zip(answers, TEXTS, strict=True):
        remaining = iter(words_of([answer]))
        assert all(word in remaining for word in text.split()), answers
        assert set(words_of([answer])) == set(text.split())


# --- barge-in --------------------------------------------------------------------------------------------------------


class Voice:
    """A voice that needs a second for each word."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.interrupted = 0

    async def speak(self, text: str) -> None:
        self.answers.append(text)
        try:
            await asyncio.sleep(len(text.split()))
        except asyncio.CancelledError:
            self.interrupted += 1
            raise


async def recorded(events: AsyncIterable[Event], record: list[Event]) -> AsyncIterator[Event]:
    async for event in events:
        record.append(event)
        yield event


def run_barge_in(options: Options, faults: Sequence[Fault], seed: int = 0) -> tuple[Voice, list[Event]]:
    voice = Voice()
    events: list[Event] = []

    async def scenario() -> None:
        async with emulated(options, faults, seed) as session:
            await barge_in.converse(recorded(session.events(microphone(0, TURNS_MS[-1])), events), voice.speak)

    run_virtual(scenario, quiet_polls=0)
    assert_framed(events)
    return voice, events


def finals_of(events: list[Event]) -> list[Result]:
    return [event for event in events if isinstance(event, Result) and event.is_final]


@pytest.mark.parametrize("faults", [[], CUTS], ids=["whole", "cut"])
@pytest.mark.parametrize("options", MODELS, ids=name_of)
def test_each_utterance_starts_once_interrupts_the_bot_and_is_answered(options: Options, faults: list[Fault]) -> None:
    voice, events = run_barge_in(options, faults)
    assert [event.segment_id for event in events if isinstance(event, SpeechStarted)] == [0, 1, 2, 3]
    assert [final.text for final in finals_of(events)] == TEXTS
    assert voice.answers == [f"You said: {text}" for text in TEXTS]
    assert voice.interrupted == len(TEXTS) - 1


@pytest.mark.parametrize("options", MODELS, ids=name_of)
@pytest.mark.parametrize("seed", range(2))
def test_the_bot_has_every_word_and_each_segment_starts_once_wherever_sentences_end(
    options: Options, seed: int
) -> None:
    voice, events = run_barge_in(options, REDRAWN, seed)
    assert_all_words_once(finals_of(events))
    assert words_of(voice.answers)[-1] == "night"


@pytest.mark.parametrize(
    "options", [model for model in MODELS if not isinstance(model, QwenRealtime | Rasr)], ids=name_of
)
@pytest.mark.parametrize("seed", range(3))
def test_no_speech_starts_a_second_time_under_another_segment_where_words_have_times(
    options: Options, seed: int
) -> None:
    """A segment that is open when its connection is lost is not withdrawn: the next connection continues it."""
    _, events = run_barge_in(options, REDRAWN_WITHOUT_NOISE, seed)
    assert not [event for event in events if isinstance(event, SpeechEnded) and event.is_withdrawn]
    starts = [event for event in events if isinstance(event, SpeechStarted)]
    assert len(starts) == len(finals_of(events))
    assert_all_words_once(finals_of(events))
