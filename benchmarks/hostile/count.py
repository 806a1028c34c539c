"""The count of what became of each word of a session: delivered, doubled, marked, behind a gap, or lost.

Each word that a final result holds is matched with a word of the script: with one of the same text, the nearest to the
place of the result. What is left over of the script is missing, what is left over of the results is doubled.

- A missing word inside a `Gap` is counted as that (`behind_gap`), and its gap is *explained* if the server of the last
  connection really left the speech there without an answer. A missing word of a session that raised an error is counted
  as behind that error. Every other missing word is lost, also if an event withdrew it.
- A doubled word is marked if the result of the copy says `may_repeat`.
- Noise must not become final, unless it is marked as not confirmed: it was the vendor's last result for its place.
- The order of a transcript is that of the audio. Two words that are less than a quarter of a second apart may change
  places, since the times of the vendors are off by up to 100 ms each. A marked result is left out: it may hold words of
  before and behind a result that was delivered first.

Does not know sessions or servers, only their outcome.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from asr_async import (
    Event,
    Gap,
    Result,
    SpeechEnded,
    SpeechStarted,
    TranslationArrived,
    TranslationLost,
)

from .script import NOISES, Script, Word, texts_of, translated

__all__ = ["MOST_JITTER_MS", "Counts", "Outcome", "count"]

SWAP_MS = 250
"""Words that are nearer to each other than this may change places, where times are off by up to `MOST_JITTER_MS`."""

LEFT_OUT_MS = 60_000
"""The distance for which a word is left out where equal words are paired: more than any source is long."""

PLACE_MS = 500
"""A result whose word is farther away from its place than this is at a wrong time."""

MOST_JITTER_MS = 100
"""The most by which the servers' times are off."""


BROKEN = (
    "lost",
    "false_gap",
    "doubled",
    "invented",
    "unordered",
    "ids",
    "translations_lost",
    "translations_wrong",
    "starts",
    "interims",
    "errors",
    "exceptions",
    "wrong_ends",
)
"""The counts that have to be 0."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """The sums over all sessions."""

    sessions: int = 0
    cuts: int = 0
    connections: int = 0
    words: int = 0
    finals: int = 0
    lost: int = 0
    """Missing without a word about it."""
    withdrawn: int = 0
    """Those of the lost words that an event withdrew."""
    behind_gap: int = 0
    false_gap: int = 0
    """Those behind a gap that no server explains."""
    behind_error: int = 0
    doubled: int = 0
    doubled_marked: int = 0
    invented: int = 0
    """Confirmed words that no vendor made final: noise."""
    unordered: int = 0
    """Neighbours in a transcript that are not in the order of the audio."""
    delivered_unordered: int = 0
    """The same, in the order of delivery."""
    misplaced: int = 0
    ids: int = 0
    """Finals with the segment id of another final."""
    translations_lost: int = 0
    translations_wrong: int = 0
    starts: int = 0
    """Segments that started twice, or have no end, or more than one."""
    interims: int = 0
    """Segments with interims that neither became final nor were withdrawn."""
    errors: int = 0
    """Sessions that failed."""
    exceptions: int = 0
    """Exceptions that reached the event loop."""
    wrong_ends: int = 0
    """Sessions that ended normally with lost words."""
    marked: int = 0
    """Finals with `may_repeat`."""
    unconfirmed: int = 0
    """Finals with `is_confirmed=False`."""

    @property
    def broken(self) -> dict[str, int]:
        """The promises that are broken, by how much."""
        return {name: value for name in BROKEN if (value := getattr(self, name))}

    def add(self, other: Counts) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The events and results of one session, and the facts about its servers that explain them."""

    script: Script
    events: list[Event] = field(default_factory=list)
    """All events, in the order of delivery; empty if the session was a transcription."""
    results: Sequence[Result] = ()
    """The results of a transcript, if there is one."""
    transcript_text: str | None = None
    gaps: Sequence[Gap] = ()
    error: Exception | None = None
    unanswered: Sequence[Word] = ()
    """Words that a server left without an answer at the end of a task."""
    wants_translation: str = ""
    jitter_ms: int = MOST_JITTER_MS
    """The most by which the times of the servers' finals are off."""
    has_times: bool = True
    """False for a server without times: places tell nothing then, and the first delivered copy is the original."""


@dataclass(slots=True)
class _Delivered:
    """One word of a final result."""

    text: str
    result: Result
    order: int
    word: int = -1
    """The index of the word in the script."""


def count(outcome: Outcome) -> tuple[Counts, list[str]]:
    """Return the counts of one session, and a line for each thing that is not as it should be."""
    counts, notes = Counts(sessions=1, words=len(outcome.script.words)), list[str]()
    finals = list(outcome.results) or [
        event for event in outcome.events if isinstance(event, Result) and event.is_final
    ]
    counts.finals = len(finals)
    counts.marked = sum(final.may_repeat for final in finals)
    counts.unconfirmed = sum(not final.is_confirmed for final in finals)
    delivered = [
        _Delivered(text, final, order)
        for order, (final, text) in enumerate(
            (final, text) for final in finals for text in outcome.script.texts_of(final.text)
        )
    ]
    if outcome.has_times:
        _match(delivered, outcome)
    else:
        _match_without_times(delivered, outcome.script)
    _count_extra(delivered, outcome, counts, notes)
    _count_missing(delivered, outcome, counts, notes)
    _count_order(delivered, outcome, counts, notes)
    _count_ids(finals, counts, notes)
    if outcome.events:
        _count_segments(outcome, counts, notes)
    if outcome.wants_translation:
        _count_translations(finals, outcome, counts, notes)
    if outcome.error is not None:
        counts.errors = 1
        notes.append(f"error: {outcome.error!r}")
    elif counts.lost:
        counts.wrong_ends = 1
    return counts, notes


def _distance_ms(word: Word, result: Result) -> int:
    """Return how far the middle of a word is from the place of a result."""
    return max(result.start_ms - word.middle_ms, word.middle_ms - max(result.end_ms, result.start_ms), 0)


def _error_ms(word: Word, result: Result, jitter_ms: int) -> int:
    """Return the distance that the jitter of the servers does not explain."""
    return max(0, _distance_ms(word, result) - jitter_ms)


def _match(delivered: list[_Delivered], outcome: Outcome) -> None:
    """Give each word of the script to the delivered word of its text that is nearest, the first delivered of equals."""
    by_text: dict[str, list[int]] = {}
    for index, word in enumerate(outcome.script.words):
        by_text.setdefault(word.text, []).append(index)
    by_delivered: dict[str, list[_Delivered]] = {}
    for each in delivered:
        by_delivered.setdefault(each.text, []).append(each)
    for text, copies in by_delivered.items():
        indices = by_text.get(text, [])
        for copy, index in _cheapest_pairs(copies, indices, outcome):
            copy.word = index
        for copy in copies:
            if copy.word < 0 and indices:
                _let_the_first_be_the_original(copy, copies, outcome)


def _match_without_times(delivered: list[_Delivered], script: Script) -> None:
    """Give the words of each text to the delivered ones in their order, those without a mark first."""
    places: dict[str, list[int]] = {}
    for index, word in enumerate(script.words):
        places.setdefault(word.text, []).append(index)
    for each in sorted(delivered, key=lambda each: (each.result.may_repeat, each.order)):
        if places.get(each.text):
            each.word = places[each.text].pop(0)


def _cheapest_pairs(copies: list[_Delivered], indices: list[int], outcome: Outcome) -> list[tuple[_Delivered, int]]:
    """Return pairs of delivered words and words of the script, both in their order, with the least distance in all.

    As many words as possible are in a pair, whatever the distance. A distance within the jitter of the servers tells
    nothing: of two copies that may each be the word, a marked one is left over, since the reader leaves it out too.
    """
    in_place = sorted(copies, key=lambda copy: (copy.result.start_ms, copy.order))
    # for each number of words of the script so far: the least distance, and its pairs
    best: list[tuple[int, tuple[tuple[_Delivered, int], ...]]]
    best = [(LEFT_OUT_MS * number, ()) for number in range(len(indices) + 1)]
    for copy in in_place:
        left_out_ms = LEFT_OUT_MS - copy.result.may_repeat
        row = [(best[0][0] + left_out_ms, best[0][1])]
        for column, index in enumerate(indices):
            distance_ms = _error_ms(outcome.script.words[index], copy.result, outcome.jitter_ms)
            options = (
                (best[column][0] + distance_ms, (*best[column][1], (copy, index))),
                (best[column + 1][0] + left_out_ms, best[column + 1][1]),
                (row[column][0] + LEFT_OUT_MS, row[column][1]),
            )
            row.append(min(options, key=lambda option: option[0]))
        best = row
    return list(best[-1][1])


def _let_the_first_be_the_original(extra: _Delivered, copies: list[_Delivered], outcome: Outcome) -> None:
    """Exchange a copy that is left over with one of the same word that was delivered later.

    A transcript does not show which was: there, a marked copy was.
    """
    words, jitter_ms, is_delivered_order = outcome.script.words, outcome.jitter_ms, not outcome.results
    later = [
        (_error_ms(words[copy.word], extra.result, jitter_ms), not copy.result.may_repeat, copy.order)
        for copy in copies
        if copy.word >= 0 and (copy.order > extra.order if is_delivered_order else copy.result.may_repeat)
    ]
    earlier_ms = [
        _error_ms(words[copy.word], extra.result, jitter_ms)
        for copy in copies
        if copy.word >= 0 and copy.order < extra.order and copy.result is not extra.result and is_delivered_order
    ]
    error_ms, is_unmarked, order = min(later, default=(PLACE_MS, True, 0))
    nearest_ms = min(earlier_ms, default=PLACE_MS)
    is_marked_instead = not is_unmarked and not extra.result.may_repeat
    # else it is far from all of them, or may be a copy of what was delivered before
    if error_ms < PLACE_MS - jitter_ms and error_ms < nearest_ms + is_marked_instead:
        other = next(copy for copy in copies if copy.order == order)
        extra.word, other.word = other.word, -1


def _count_extra(delivered: list[_Delivered], outcome: Outcome, counts: Counts, notes: list[str]) -> None:
    """Count what is not in the script, or more often than there."""
    known = {word.text for word in outcome.script.words}
    for each in delivered:
        place = f"{each.text!r} in {_brief(each.result)}"
        if each.word >= 0:
            distance_ms = _distance_ms(outcome.script.words[each.word], each.result)
            if distance_ms > PLACE_MS:
                counts.misplaced += 1
        elif each.text in NOISES:
            if each.result.is_confirmed:
                counts.invented += 1
                notes.append(f"invented: {place}")
        elif each.text not in known and not (outcome.script.forms and each.result.may_repeat):  # a part of a form
            counts.invented += 1
            notes.append(f"no word of the script: {place}")
        elif each.result.may_repeat:
            counts.doubled_marked += 1
        else:
            counts.doubled += 1
            notes.append(f"doubled: {place}")


def _count_missing(delivered: list[_Delivered], outcome: Outcome, counts: Counts, notes: list[str]) -> None:
    """Count the words that no result has."""
    gaps = [*outcome.gaps, *(event for event in outcome.events if isinstance(event, Gap))]
    withdrawn = Counter(
        text
        for event in outcome.events
        if isinstance(event, SpeechEnded) and event.is_withdrawn
        for text in outcome.script.texts_of(event.withdrawn_text)
    )
    explained = {word.middle_ms for word in outcome.unanswered}
    found = {each.word for each in delivered}
    for index, word in enumerate(outcome.script.words):
        if index in found:
            continue
        is_explained = word.middle_ms in explained
        # the gap has the times at which the server reported the speech
        jitter_ms = MOST_JITTER_MS if is_explained else 0
        if any(gap.start_ms - jitter_ms <= word.middle_ms <= gap.end_ms + jitter_ms for gap in gaps):
            counts.behind_gap += 1
            if not is_explained:
                counts.false_gap += 1
                notes.append(f"behind a gap that nothing explains: {word}")
        elif outcome.error is not None:
            counts.behind_error += 1
        else:
            counts.lost += 1
            counts.withdrawn += withdrawn[word.text] > 0
            notes.append(f"lost: {word}" + (", withdrawn" if withdrawn[word.text] else ""))


def _count_order(delivered: list[_Delivered], outcome: Outcome, counts: Counts, notes: list[str]) -> None:
    """Count neighbours that are in the wrong order: as delivered, and in the transcript."""
    words = outcome.script.words
    times = Counter(word.text for word in words)
    # of a text that occurs several times, another word may be meant
    originals = [each for each in delivered if each.word >= 0 and times[each.text] == 1]
    in_order = originals
    if not outcome.results:
        in_order = sorted(originals, key=lambda each: (each.result.start_ms, each.result.segment_id))
        counts.delivered_unordered = len(_swapped(outcome, originals))
    for before, after in _swapped(outcome, [each for each in in_order if not each.result.may_repeat]):
        counts.unordered += 1
        notes.append(f"out of order: {before.text} ({_brief(before.result)}), {after.text} ({_brief(after.result)})")
    if outcome.transcript_text is not None:
        shown = outcome.script.texts_of(outcome.transcript_text)
        if shown != [each.text for each in delivered]:
            counts.unordered += 1
            notes.append(f"the text of the transcript is not that of its results: {outcome.transcript_text!r}")


def _swapped(outcome: Outcome, in_order: list[_Delivered]) -> list[tuple[_Delivered, _Delivered]]:
    """Return the neighbours that are in the wrong order: the words of a result, and the first words of two results."""
    first_words = [next(group) for _, group in itertools.groupby(in_order, key=lambda each: id(each.result))]
    of_one_result = [pair for pair in itertools.pairwise(in_order) if pair[0].result is pair[1].result]
    pairs = [*of_one_result, *itertools.pairwise(first_words)]
    return [pair for pair in pairs if _is_swapped(outcome, *pair)]


def _is_swapped(outcome: Outcome, before: _Delivered, after: _Delivered) -> bool:
    words, swap_ms = outcome.script.words, SWAP_MS + 2 * (outcome.jitter_ms - MOST_JITTER_MS)
    return words[after.word].start_ms + swap_ms < words[before.word].start_ms


def _count_ids(finals: Sequence[Result], counts: Counts, notes: list[str]) -> None:
    for segment_id, number in Counter(final.segment_id for final in finals).items():
        if number > 1:
            counts.ids += number - 1
            notes.append(f"{number} finals of segment {segment_id}")


def _count_segments(outcome: Outcome, counts: Counts, notes: list[str]) -> None:
    """Count the segments whose events do not belong together; only the end of a session completes them."""
    starts = Counter(event.segment_id for event in outcome.events if isinstance(event, SpeechStarted))
    endings = [event for event in outcome.events if isinstance(event, SpeechEnded)]
    ends = Counter(event.segment_id for event in endings)
    withdrawn = {event.segment_id for event in endings if event.is_withdrawn}
    interims = {event.segment_id for event in outcome.events if isinstance(event, Result) and not event.is_final}
    finals = {event.segment_id for event in outcome.events if isinstance(event, Result) and event.is_final}
    for segment_id in sorted(starts.keys() | ends.keys() | finals):
        allowed = 2 if segment_id in withdrawn & finals else 1  # the final of a withdrawn segment may come later
        is_over = outcome.error is not None or 1 <= ends[segment_id] <= allowed
        if starts[segment_id] != 1 or not is_over:
            counts.starts += 1
            notes.append(f"segment {segment_id}: {starts[segment_id]} starts, {ends[segment_id]} ends")
    if outcome.error is None:
        for segment_id in sorted(interims - finals - withdrawn):
            counts.interims += 1
            notes.append(f"segment {segment_id} has interims, no final, and is not withdrawn")


def _count_translations(finals: Sequence[Result], outcome: Outcome, counts: Counts, notes: list[str]) -> None:
    """Compare the translation of each final with its text."""
    language = outcome.wants_translation
    late: dict[int, str] = {}
    lost: set[int] = set()
    for event in outcome.events:
        if isinstance(event, TranslationArrived) and event.translation.is_final and event.language == language:
            late[event.segment_id] = event.translation.text
        elif isinstance(event, TranslationLost):
            lost.add(event.segment_id)
    known = {word.text for word in outcome.script.words}
    for final in finals:
        wanted = [translated(text) for text in texts_of(final.text) if text in known]
        own = final.translations.get(language)
        text = late.get(final.segment_id, own.text if own is not None and own.is_final else None)
        if text is None:
            if wanted and final.segment_id not in lost and outcome.error is None:
                counts.translations_lost += 1
                notes.append(f"no translation, no event: {_brief(final)}")
            continue
        arrived = texts_of(text)
        if wanted and not set(wanted) & set(arrived):
            counts.translations_wrong += 1
            notes.append(f"translation {text!r} at {_brief(final)}")
        elif set(wanted) - set(arrived) and final.segment_id not in lost:
            counts.translations_lost += 1
            notes.append(f"translation {text!r} is short of {_brief(final)}")


def _brief(result: Result) -> str:
    marks = "".join(
        mark
        for mark, is_set in ((" may_repeat", result.may_repeat), (" unconfirmed", not result.is_confirmed))
        if is_set
    )
    return f"#{result.segment_id} {result.start_ms}-{result.end_ms} {result.text!r}{marks}"
