"""Recognisers that behave as real ones at their worst: the steps of one connection, for each word that it receives.

A *plan* belongs to one connection. It draws new sentence boundaries over the words from the place where the
connection's audio begins, and lists the steps of each sentence: its start, its interims that grow word by word, its
final, its repeats and translations, each due when the connection has received the audio up to a place of the source. No
step depends on a clock.

A connection recognises each word of which it has received the middle, in the sentence of its place. If its audio begins
inside the second half of a word, and more than a quarter of the word is left, it recognises that word as often as not:
so do real recognisers. `Habits` are the same on all connections of a session, as they belong to the
vendor.

Does not know messages, connections or results.
"""

from __future__ import annotations

import enum
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from .script import NOISES, Script, Word

__all__ = ["Habits", "Sentence", "Step", "StepKind", "plan_of", "sentence_steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """The habits of one vendor, drawn for a session."""

    is_sequential: bool = True
    """One sentence at a time: no message is about the next one before the final."""
    jitter_ms: int = 0
    """The most that times are off, in both directions."""
    jitters_each_message: bool = False
    """The times of each message are off by another value; else those of each sentence."""
    ids: str = "count"
    """count, zero (from 0), same, sticky (some repeat), restart, missing."""
    word_times: str = "always"
    """always, finals, never."""
    missing_ends: float = 0.0
    """The share of finals without an end."""
    far_ends: float = 0.0
    """The share of finals with an end far beyond the audio."""
    missing_starts: float = 0.0
    """The share of messages without a start, where the times of words or the order imply it."""
    stale: bool = False
    """The last messages of a task come in the next one on the same connection."""
    late: float = 0.0
    """The share of finals that come up to `late_ms` later than need be."""
    late_ms: int = 4_000
    repeats: float = 0.0
    """The share of finals that come again."""
    repeats_exactly: bool = True
    """A repeat is the same message; else its times are off by another value."""
    noise: float = 0.0
    """The share of pauses in which noise is taken for a word: an interim that is never final."""
    coughs: float = 0.0
    """The share of pauses in which speech is detected and no text follows."""
    drops: float = 0.0
    """The share of sentences of which the interims are dropped, because the next sentence begins with their words."""
    never_final: float = 0.0
    """The share of tasks in which the last sentence is still an interim when the end is confirmed."""
    unanswered: float = 0.0
    """The share of tasks that end with speech that was detected and never got a text."""
    translates: bool = False
    rewrites: float = 0.0
    """The share of words for which another connection, or the final, has another of their forms."""
    final_shift_ms: int = 0
    """The most that the times of a final are off beside its jitter."""
    resends: float = 0.0
    """The share of connections that begin with the last final of the one before, in other words."""
    punctuates: bool = False
    redivides: float = 0.0
    """The share of messages in which a sentence that was final is divided in two, between any two characters."""
    window_words: int = 0
    """The most words of an interim, which are its last ones; 0 has no limit."""
    splits_less: bool = False
    """Long sentences over several pauses."""


class StepKind(enum.Enum):
    """The kinds of steps."""

    START = "start"
    INTERIM = "interim"
    STOP = "stop"
    FINAL = "final"
    REPEAT = "repeat"
    TRANSLATION = "translation"
    TRANSLATION_FINAL = "translation final"


@dataclass(slots=True, kw_only=True)
class Sentence:
    """A sentence as one connection recognises it."""

    number: int
    words: list[Word]
    kind: str = "speech"
    """speech, noise, cough, dropped (its words are in the next sentence too)."""
    shift_ms: int = 0
    """The times of this sentence are off by this."""
    is_final: bool = False
    has_far_end: bool = False
    shown_counts: set[int] = field(default_factory=set)
    """The numbers of words of its interims so far."""

    @property
    def start_ms(self) -> int:
        return self.words[0].start_ms

    @property
    def end_ms(self) -> int:
        return self.words[-1].end_ms

    def text(self, words: list[Word], *, punctuates: bool = False) -> str:
        """Return the text of some of the words."""
        text = ""
        for word in words:
            is_spaced = text and (word.shown.isascii() or text[-1].isascii())
            text += f" {word.shown}" if is_spaced else word.shown
        return f"{text[:1].upper()}{text[1:]}{'.' if text.isascii() else '。'}" if punctuates else text


@dataclass(slots=True, kw_only=True)
class Step:
    """One message of a recogniser, before a vendor's protocol gives it its form."""

    at_ms: int
    """It is due when the connection has received the source up to this place."""
    kind: StepKind
    sentence: Sentence
    count: int = 0
    """The number of words of an interim."""


def plan_of(script: Script, habits: Habits, rng: random.Random, begin_ms: int) -> list[Step]:
    """Return the steps of a connection with audio from this place on, in the order of their places."""
    sentences = list(_with_noise(_sentences(script, habits, rng, begin_ms), habits, rng, begin_ms, script.length_ms))
    steps: list[Step] = []
    busy_until_ms = 0
    for number, sentence in enumerate(sentences):
        sentence.number = number
        sentence.shift_ms = rng.randint(-habits.jitter_ms, habits.jitter_ms)
        own = sentence_steps(sentence, habits, rng)
        if habits.is_sequential:
            for step in own:
                if step.kind not in _TRANSLATIONS:
                    step.at_ms = busy_until_ms = max(step.at_ms, busy_until_ms)
            _put_behind(own)
        steps += own
    steps.sort(key=lambda step: step.at_ms)
    return steps


_TRANSLATIONS = {StepKind.TRANSLATION, StepKind.TRANSLATION_FINAL}


def _put_behind(steps: list[Step]) -> None:
    """Put translations behind what they translate."""
    first_ms = next((step.at_ms for step in steps if step.kind is StepKind.INTERIM), 0)
    final_ms = next((step.at_ms for step in steps if step.kind is StepKind.FINAL), first_ms)
    for step in steps:
        if step.kind is StepKind.TRANSLATION:
            step.at_ms = max(step.at_ms, first_ms)
        elif step.kind is StepKind.TRANSLATION_FINAL:
            step.at_ms = max(step.at_ms, final_ms)


def _recognised_words(script: Script, rng: random.Random, begin_ms: int) -> list[Word]:
    words = []
    for word in script.words:
        if word.middle_ms >= begin_ms:
            words.append(Word(word.text, max(word.start_ms, begin_ms), word.end_ms))
        elif word.end_ms - begin_ms > (word.end_ms - word.start_ms) / 4 and rng.random() < 0.5:
            words.append(Word(word.text, begin_ms, word.end_ms))
    return words


def _sentences(script: Script, habits: Habits, rng: random.Random, begin_ms: int) -> list[Sentence]:
    pause_splits = 0.5 if habits.splits_less else 0.9
    sentences: list[Sentence] = []
    words: list[Word] = []
    for word in _recognised_words(script, rng, begin_ms):
        if words:
            pause_ms = word.start_ms - words[-1].end_ms
            if rng.random() < (pause_splits if pause_ms >= 250 else 0.12) or len(words) >= 15:
                sentences.append(Sentence(number=0, words=words))
                words = []
        words = [*words, word]
    if words:
        sentences.append(Sentence(number=0, words=words))
    for sentence, following in itertools.pairwise(sentences):
        if rng.random() < habits.drops and sentence.kind == "speech" and len(sentence.words) < 8:
            sentence.kind = "dropped"
            following.words = [*sentence.words, *following.words]
    return sentences


def _with_noise(
    sentences: list[Sentence], habits: Habits, rng: random.Random, begin_ms: int, length_ms: int
) -> Iterator[Sentence]:
    """Yield the sentences with noise and coughs in some of the pauses between them."""
    at_ms, is_after_dropped = begin_ms, False
    for sentence in [*sentences, None]:
        until_ms = length_ms if sentence is None else sentence.start_ms
        if until_ms - at_ms >= 300 and not is_after_dropped:
            noise_ms = rng.randrange(at_ms + 40, until_ms - 200)
            word = Word(rng.choice(NOISES), noise_ms, noise_ms + rng.randrange(100, 190))
            draw = rng.random()
            if draw < habits.noise:
                yield Sentence(number=0, words=[word], kind="noise")
            elif draw < habits.noise + habits.coughs:
                yield Sentence(number=0, words=[word], kind="cough")
        if sentence is not None:
            yield sentence
            at_ms, is_after_dropped = sentence.end_ms, sentence.kind == "dropped"


def sentence_steps(sentence: Sentence, habits: Habits, rng: random.Random) -> list[Step]:
    """Return the steps of one sentence, each at its place."""
    words = sentence.words
    steps = [Step(at_ms=words[0].start_ms + rng.randrange(20, 140), kind=StepKind.START, sentence=sentence)]

    def add(at_ms: int, kind: StepKind, count: int = 0) -> None:
        steps.append(Step(at_ms=at_ms, kind=kind, sentence=sentence, count=count))

    if sentence.kind != "cough":
        shown_ms = 0
        for count, word in enumerate(words, 1):
            if count == 1 or rng.random() < 0.7 or sentence.kind == "noise":
                shown_ms = max(shown_ms, word.end_ms + rng.randrange(10, 150))  # no interim overtakes another one
                add(shown_ms, StepKind.INTERIM, count)
            if habits.translates and rng.random() < 0.3:
                add(word.end_ms + rng.randrange(10, 1_500), StepKind.TRANSLATION, count)
    over_ms = words[-1].end_ms + rng.randrange(150, 600)
    add(over_ms, StepKind.STOP)
    if sentence.kind == "speech":
        final_ms = over_ms + (rng.randrange(habits.late_ms) if rng.random() < habits.late else rng.randrange(80))
        add(final_ms, StepKind.FINAL, len(words))
        if rng.random() < habits.repeats:
            add(final_ms + rng.randrange(600), StepKind.REPEAT, len(words))
    elif sentence.kind in {"cough", "noise"}:
        add(over_ms + rng.randrange(2_000), StepKind.FINAL)
    if habits.translates and (sentence.kind == "speech" or (sentence.kind == "noise" and rng.random() < 0.5)):
        late_ms = rng.randrange(habits.late_ms) if rng.random() < 0.5 else 0
        add(over_ms + late_ms, StepKind.TRANSLATION_FINAL, len(words))
    steps.sort(key=lambda step: step.at_ms)
    return steps
