"""The part of a text that is new, where its audio overlaps that of texts which were delivered before.

After a reconnect, a vendor divides the replayed audio into other segments, so a segment may begin in the middle of one
that was final already, contain it, or lie inside it. `new_parts` finds the words that were not delivered:

- Where both texts have the times of their words, a word is a repeat if a delivered word has the same form at the same
  place, in the same order. A word of another form at such a place is a repeat too, if its neighbours on both sides are:
  the vendor has decided otherwise the second time. With other neighbours it is new, and uncertain. A word that was cut
  in two where the connection's audio begins may be recognised again or not. The word behind it tells, if that is
  another one; else such a word is new, and uncertain. So is one that has the form and the place of a delivered word,
  but another place in the order.
- Where one has no times, the texts are compared as a whole. If a delivered text is part of the new one, or continues
  beyond one of its ends, the words of both are the same wherever the two overlap; the estimated times decide between
  several such positions.
- Where neither gives an answer, all words count as new, and the answer as uncertain.

So no word is left out that was not delivered, and words that may be repeats are marked. Does not know results,
connections or clocks.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from .places import DOUBT_MS, JITTER_MS, SAME_MS
from .words import PlacedWord, Speech

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["DeliveredSpeech", "NewPart", "NewParts", "new_parts"]

SHORTEST_MS = 80
"""No word is as short as this: it is the rest of one that was cut in two."""

EXACT_MS = 10
"""Times that differ by no more have no jitter."""

MIN_MATCH = 0.6
"""The share of the words of a region that must be the same, if they are not all."""

MAX_ESTIMATE_ERROR_MS = 1_500
"""An estimated place is no further from the true one, or by half of the length of the text if that is more."""

RIVAL_MS = 500
"""Two positions whose estimated errors differ by less are both possible: the same words were said twice."""

SHORT_WORDS = 2
"""So few words may be the same by chance."""

MAX_NEAR = 100
"""The delivered texts that a new one is compared with; a minute of speech has twenty."""

MAX_SHARED = 10
"""The most words of a script without spaces that one spoken number has, at a seam between two texts."""


class DeliveredSpeech:
    """The words of one delivered text, and those of them that a connection has recognised again."""

    __slots__ = (
        "_distances_ms",
        "_last_repeated",
        "_last_start_ms",
        "follows_open",
        "has_end",
        "is_repeated",
        "latest_ms",
        "speech",
    )

    def __init__(self, speech: Speech, latest_ms: int = 0, *, follows_open: bool = False) -> None:
        """Keep a text.

        Args:
            speech: its words.
            latest_ms: the latest place at which it may have ended, if its end is an estimate; else 0.
            follows_open: True if speech of which no text was delivered may lie directly before it.
        """
        self.speech = speech
        self.follows_open = follows_open
        self.has_end: bool = latest_ms == 0
        self.latest_ms: int = max(latest_ms, speech.end_ms)
        self.is_repeated: bytearray = bytearray(len(speech.words))
        # repeated words that the vendor has placed elsewhere → the distance between both places
        self._distances_ms: dict[int, int] = {}
        # the last of the repeated words, and the start of those that have repeated it
        self._last_repeated = -1
        self._last_start_ms = 0

    def __repr__(self) -> str:
        speech = self.speech
        return f"<DeliveredSpeech {speech.start_ms} to {speech.end_ms} ms, {sum(self.is_repeated)} repeated>"

    def mark(self, indices: Iterable[int], start_ms: int) -> None:
        """Record that words were recognised again, from `start_ms` on: a later word is not a repeat of them."""
        for index in indices:
            self.is_repeated[index] = 1
            if index > self._last_repeated:
                self._last_repeated, self._last_start_ms = index, start_ms

    def mark_word(self, index: int, new: PlacedWord) -> None:
        """Record that a word was recognised again, at the place of `new`."""
        self._distances_ms[index] = _distance_ms(new, self.speech.words[index])
        self.mark([index], new.start_ms)

    def is_nearer(self, index: int, new: PlacedWord) -> bool:
        """Return True if `new` is nearer to a repeated word than the one that was taken for its repeat."""
        return _distance_ms(new, self.speech.words[index]) < self._distances_ms.get(index, 0)

    def is_passed(self, index: int, start_ms: int) -> bool:
        """Return True if words that begin before `start_ms` have repeated one behind this."""
        return index < self._last_repeated and self._last_start_ms < start_ms


class NewPart(msgspec.Struct, frozen=True):
    """A run of words that were not delivered before, from one index up to another, and its place."""

    first: int
    behind: int
    start_ms: int
    end_ms: int


class NewParts(msgspec.Struct, frozen=True):
    """The words of a text that were not delivered before."""

    parts: tuple[NewPart, ...]
    is_certain: bool
    """False if some of them may be repeats."""


_Candidate = tuple[DeliveredSpeech, int, PlacedWord]
"""A delivered word: its text, its index there, and the word."""


class _Block(msgspec.Struct, frozen=True):
    """A run of new words that repeats a run of delivered words."""

    new_from: int
    new_to: int
    delivered_from: int
    delivered_to: int
    error_ms: float = 0.0
    """The mean distance between the places of the words of both."""

    @property
    def size(self) -> int:
        return self.new_to - self.new_from


def new_parts(
    speech: Speech, delivered: Sequence[DeliveredSpeech], *, from_ms: int, latest_ms: int = 0, is_final: bool = True
) -> NewParts:
    """Return the words that were not delivered before, and record the others as repeated if the text is final.

    Args:
        speech: the new text.
        delivered: the texts that were delivered before this connection began, in the order of the audio.
        from_ms: the place at which the audio of the connection begins: words before it were not recognised again.
        latest_ms: the latest place at which the text may end, if its end is an estimate; else 0.
        is_final: False for an interim, of which nothing is recorded.
    """
    near = [
        item
        for item in delivered
        if _overlap_ms(item.speech, speech) > (-DOUBT_MS if speech.is_timed else -SAME_MS)
        or item.speech.start_ms < speech.start_ms < item.latest_ms
        or speech.start_ms < item.speech.start_ms < latest_ms
    ]
    is_complete = len(near) <= MAX_NEAR
    if not is_complete:
        near = sorted(near, key=lambda item: abs(_middle_ms(item.speech) - _middle_ms(speech)))[:MAX_NEAR]
        near.sort(key=lambda item: item.speech.start_ms)
    if speech.is_timed and near and all(item.speech.is_timed for item in near):
        found = _new_by_times(speech, near, from_ms, is_final=is_final)
    else:
        found = _new_by_text(speech, near, from_ms, latest_ms, is_final=is_final)
    if is_final and found.is_certain and speech.is_timed and _has_other_reading(speech, found.parts, near):
        found = NewParts(found.parts, is_certain=False)
    if near and (not is_complete or speech.has_more or any(item.speech.has_more for item in near)):
        found = NewParts(_with_rest(speech, found.parts), is_certain=False)
    return found


def _with_rest(speech: Speech, parts: tuple[NewPart, ...]) -> tuple[NewPart, ...]:
    """Return the new parts of a text of which not all words were compared: the others are new, behind the last one."""
    count = len(speech.words)
    if not speech.has_more or (parts and parts[-1].behind == count):
        return parts
    return (*parts, NewPart(count - 1, count, speech.words[-1].start_ms, speech.end_ms))


def _has_other_reading(speech: Speech, parts: Sequence[NewPart], near: Sequence[DeliveredSpeech]) -> bool:
    """Return True if a new word is at the place of a delivered one that this connection has not repeated.

    The vendor may have decided otherwise about the word: "25" and "twenty five".
    """
    new = [word for part in parts for word in speech.words[part.first : part.behind]]
    old = [
        word
        for item in near
        if item.speech.is_timed
        for word, is_repeated in zip(item.speech.words, item.is_repeated, strict=True)
        if not is_repeated
    ]
    return any(_has_same_place(one, other) for one in new for other in old)


def _has_same_place(one: PlacedWord, other: PlacedWord) -> bool:
    """Return True if two words have more than half of the shorter one in common."""
    common_ms = min(one.end_ms, other.end_ms) - max(one.start_ms, other.start_ms)
    return 2 * common_ms > min(one.end_ms - one.start_ms, other.end_ms - other.start_ms)


def _may_be_readings(some: Sequence[PlacedWord], others: Sequence[PlacedWord]) -> bool:
    """Return True if words in a row may be another reading of others: they are the same, or have the same place."""
    if [word.form for word in some] == [word.form for word in others]:
        return True
    one, other = (msgspec.structs.replace(words[0], end_ms=words[-1].end_ms) for words in (some, others))
    return _has_same_place(one, other)


def _distance_ms(one: PlacedWord, other: PlacedWord) -> int:
    return max(abs(one.start_ms - other.start_ms), abs(one.end_ms - other.end_ms))


def _middle_ms(speech: Speech) -> float:
    return (speech.start_ms + speech.end_ms) / 2


def _overlap_ms(one: Speech, other: Speech) -> int:
    return min(one.end_ms, other.end_ms) - max(one.start_ms, other.start_ms)


# --- by the times of the words ---------------------------------------------------------------------------------------


def _new_by_times(speech: Speech, near: Sequence[DeliveredSpeech], from_ms: int, *, is_final: bool) -> NewParts:
    # A text that begins before the audio of its connection is one that the vendor repeats.
    first_ms = from_ms if speech.start_ms >= from_ms - JITTER_MS else speech.start_ms
    candidates = [
        (item, index, word)
        for item, index, word in _in_order(near)
        if not item.is_repeated[index]
        and word.end_ms + JITTER_MS > first_ms
        and speech.start_ms - DOUBT_MS <= word.end_ms
        and word.start_ms <= speech.end_ms + DOUBT_MS
    ]
    old_words = [word for _, _, word in candidates]
    matches = _match_in_order(speech.words, old_words, first_ms)
    doubtful = _doubtful_match(speech.words, candidates, matches, first_ms)
    if doubtful is not None:
        del matches[doubtful]
    matches = [(new, old) for new, old in matches if not _is_passed(candidates[old], speech.words[new])]
    repeated: dict[int, int] = dict(matches)
    is_certain = True
    if matches and (cut := _cut_word(candidates, matches[0], first_ms)) is not None:
        if speech.words[0].form != speech.words[1].form:
            repeated[0] = cut
        else:  # the first may be the delivered word, and the second the next one
            is_certain = False
    elif 0 not in repeated and _may_be_cut(speech.words[0], near, first_ms):
        is_certain = False
    for (new_before, old_before), (new_behind, old_behind) in pairwise(matches):
        others, spare = speech.words[new_before + 1 : new_behind], old_words[old_before + 1 : old_behind]
        if others and len(others) <= len(spare) and _may_be_readings(others, spare):
            repeated.update((new, old_before + new - new_before) for new in range(new_before + 1, new_behind))
        elif spare:
            is_certain &= not others
    if is_certain and len(repeated) < len(speech.words):  # the same word at its place, but in another order
        used = set(repeated.values())
        is_certain = not any(
            _is_same(word, old_word, first_ms)
            for new, word in enumerate(speech.words)
            if new not in repeated
            for old, old_word in enumerate(old_words)
            if old not in used
        )
        is_certain = is_certain and not any(
            item.is_repeated[index] and _is_same(word, old_word, first_ms) and item.is_nearer(index, word)
            for new, word in enumerate(speech.words)
            if new not in repeated
            for item in near
            for index, old_word in enumerate(item.speech.words)
        )
    if is_final:
        for new, old in repeated.items():
            item, index, _ = candidates[old]
            item.mark_word(index, speech.words[new])
    return NewParts(tuple(_parts(speech, {new: old_words[old] for new, old in repeated.items()})), is_certain)


def _is_passed(candidate: _Candidate, new: PlacedWord) -> bool:
    item, index, _ = candidate
    return item.is_passed(index, new.start_ms)


def _in_order(near: Sequence[DeliveredSpeech]) -> list[_Candidate]:
    """Return the delivered words in the order of the audio.

    Two texts of which one ends where the other begins may overlap by the jitter of both; their words keep their order.
    """
    placed: list[tuple[int, _Candidate]] = []
    before: Speech | None = None
    for item in near:
        speech = item.speech
        earliest_ms = speech.start_ms
        if before is not None and before.end_ms - speech.start_ms <= 2 * JITTER_MS:
            earliest_ms = before.words[-1].start_ms
        placed += ((max(earliest_ms, word.start_ms), (item, at, word)) for at, word in enumerate(speech.words))
        if before is None or speech.end_ms > before.end_ms:
            before = speech
    placed.sort(key=lambda each: each[0])
    return [candidate for _, candidate in placed]


def _match_in_order(new: Sequence[PlacedWord], old: Sequence[PlacedWord], first_ms: int) -> list[tuple[int, int]]:
    """Return the longest common subsequence of words with the same form at the same place, the closest of them."""
    rows = [[0.0] * (len(old) + 1) for _ in range(len(new) + 1)]
    for i in range(len(new) - 1, -1, -1):
        for j in range(len(old) - 1, -1, -1):
            best = max(rows[i + 1][j], rows[i][j + 1])
            if _is_same(new[i], old[j], first_ms):
                closeness = 1 - min(_distance_ms(new[i], old[j]), DOUBT_MS) / (2 * DOUBT_MS)
                best = max(best, rows[i + 1][j + 1] + 1 + closeness)
            rows[i][j] = best
    matches: list[tuple[int, int]] = []
    i = j = 0
    while i < len(new) and j < len(old):
        if rows[i][j] == rows[i + 1][j]:
            i += 1
        elif rows[i][j] == rows[i][j + 1]:
            j += 1
        else:
            matches.append((i, j))
            i, j = i + 1, j + 1
    return matches


def _is_same(new: PlacedWord, old: PlacedWord, first_ms: int) -> bool:
    if new.form != old.form:
        return False
    if old.start_ms < first_ms:  # only its rest was recognised again, which ends where the word does
        return abs(new.end_ms - old.end_ms) <= SAME_MS
    return _distance_ms(new, old) <= DOUBT_MS


def _cut_word(candidates: Sequence[_Candidate], match: tuple[int, int], first_ms: int) -> int | None:
    """Return the delivered word that the first new one is another reading of, if the audio begins inside that word.

    The second new word repeats the delivered word directly behind it, so no other word is between them.
    """
    new, old = match
    if new != 1 or old == 0:
        return None
    before = candidates[old - 1]
    is_cut = before[2].start_ms - JITTER_MS < first_ms  # it may begin before the audio does
    return old - 1 if is_cut and _is_next(before, candidates[old]) else None


def _may_be_cut(new: PlacedWord, near: Sequence[DeliveredSpeech], first_ms: int) -> bool:
    """Return True if a word may be the rest of a delivered one in which the audio begins.

    The audio of the connection before may have ended there, in the middle of the word: then the places of both halves
    have nothing in common. Or it was recognised before and is cut now, and its times were off; a rest is no longer than
    the audio has of it. A number may have been written in digits once, and in words the other time.
    """
    behind_ms, length_ms = abs(new.start_ms - first_ms), new.end_ms - new.start_ms
    return behind_ms <= SAME_MS and any(
        abs(old.end_ms - first_ms) <= DOUBT_MS
        and (old.form == new.form or old.form.isdigit() != new.form.isdigit())
        and (behind_ms <= JITTER_MS or length_ms <= old.end_ms - first_ms + SAME_MS)
        for item in near
        for old in item.speech.words
    )


def _is_next(one: _Candidate, other: _Candidate) -> bool:
    """Return True if no word is between two delivered ones."""
    if one[0] is other[0] and one[1] + 1 == other[1]:
        return True
    return other[2].start_ms - one[2].end_ms <= JITTER_MS and not (other[0].follows_open and other[1] == 0)


def _doubtful_match(
    new: Sequence[PlacedWord], candidates: Sequence[_Candidate], matches: Sequence[tuple[int, int]], first_ms: int
) -> int | None:
    """Return the match that may be none, since its new word may be the next one of equal words in a row; or None.

    That is possible if the first delivered word was cut in two, so that it may have been recognised again or not, and
    all words directly behind it are equal to it: words behind those which differ show how many there are.
    """
    if not matches:
        return None
    first_new, first_old = new[matches[0][0]], matches[0][1]
    old = candidates[first_old][2]
    may_be_missed = old.middle_ms - JITTER_MS < first_ms
    if not may_be_missed or first_new.end_ms < old.end_ms or first_new.end_ms - first_new.start_ms <= SHORTEST_MS:
        return None
    for before, candidate in pairwise(candidates[first_old:]):
        if not _is_next(before, candidate):
            break
        if candidate[2].form != old.form:
            return None
    last = 0
    while last + 1 < len(matches) and new[matches[last + 1][0]].form == old.form:
        last += 1
    return last


# --- by the texts ----------------------------------------------------------------------------------------------------


def _new_by_text(
    speech: Speech, near: Sequence[DeliveredSpeech], from_ms: int, latest_ms: int, *, is_final: bool
) -> NewParts:
    forms = [word.form for word in speech.words]
    repeated: dict[int, PlacedWord] = {}
    is_certain = True
    first = 0
    for item in near:
        overlap_ms = _overlap_ms(item.speech, speech)
        if all(item.is_repeated):
            continue
        is_edge = 2 * overlap_ms < min(speech.length_ms, item.speech.length_ms)
        is_jitter = is_edge and overlap_ms <= SAME_MS
        # one of the two may be longer than its estimate
        is_behind = item.speech.start_ms - JITTER_MS <= speech.start_ms < item.latest_ms > item.speech.end_ms
        is_before = speech.start_ms - JITTER_MS <= item.speech.start_ms < latest_ms > speech.end_ms
        if is_jitter and (is_behind or is_before):
            block, is_sure = _find_rest(speech, forms, first, item, is_behind=is_behind)
        elif is_edge and overlap_ms <= JITTER_MS:  # too little for a whole word
            block, is_sure = None, not _may_share_words(speech, item.speech, from_ms)
        else:
            block, is_sure = _find_block(speech, forms, first, item, from_ms, is_jitter=is_jitter)
        is_certain &= is_sure
        if block is None:
            continue
        delivered_words = item.speech.words[block.delivered_from : block.delivered_to]
        if not item.has_end:  # the places in the new text are the better ones, but for the start and for pauses
            latest_end_ms = max(item.speech.end_ms, item.speech.start_ms + 1)
            delivered_words = tuple(
                msgspec.structs.replace(word, end_ms=min(max(word.end_ms, item.speech.start_ms + 1), latest_end_ms))
                for word in speech.words[block.new_from : block.new_to]
            )
        for index in range(block.new_from, block.new_to):
            repeated[index] = delivered_words[min(index - block.new_from, len(delivered_words) - 1)]
        repeated[block.new_to - 1] = delivered_words[-1]
        first = block.new_to
        if is_final:
            item.mark(range(block.delivered_from, block.delivered_to), speech.start_ms)
    parts = tuple(_parts(speech, repeated))
    if is_final and is_certain:
        is_certain = not _may_repeat_inside(speech, forms, parts, near, from_ms)
    return NewParts(parts, is_certain)


def _may_repeat_inside(
    speech: Speech, forms: Sequence[str], parts: Sequence[NewPart], near: Sequence[DeliveredSpeech], from_ms: int
) -> bool:
    """Return True if a new word equals one of a delivered text inside its own that it has not repeated."""
    new = {form for part in parts for form in forms[part.first : part.behind]}
    return any(
        word.form in new and not is_repeated
        for item in near
        if max(speech.start_ms, from_ms) - SAME_MS <= item.speech.start_ms
        and item.speech.end_ms <= speech.end_ms + SAME_MS
        for word, is_repeated in zip(item.speech.words, item.is_repeated, strict=True)
    )


def _may_share_words(new: Speech, old: Speech, from_ms: int) -> bool:
    """Return True if one text begins as the other ends: jitter hides that they overlap, or a word was cut in two.

    A number may have been written in digits once, and in words the other time.
    """
    if old.end_ms < from_ms - SAME_MS and new.end_ms > from_ms:  # none of its audio was sent again
        return False
    new_forms, old_forms = [word.form for word in new.words], [word.form for word in old.words]
    first, second = (old_forms, new_forms) if old.start_ms <= new.start_ms else (new_forms, old_forms)
    if first[-1].isdigit() != second[0].isdigit():
        return True
    most = min(len(first), len(second), MAX_SHARED)
    return any(first[-count:] == second[:count] for count in range(1, most + 1))


def _find_rest(
    speech: Speech, forms: Sequence[str], first: int, item: DeliveredSpeech, *, is_behind: bool
) -> tuple[_Block | None, bool]:
    """Return the words at which two texts meet, of which the first may be longer than its estimate.

    A few words are the same by chance: they are not left out, but not certain either.

    Args:
        speech: the new text.
        forms: its words.
        first: the first of them that no other text has repeated.
        item: the delivered text.
        is_behind: True if the new text begins behind the start of the delivered one.
    """
    old_from, _ = _open_range(item, speech)
    blocks = [
        block
        for block in _exact_blocks(speech, forms, first, item)
        if (block.new_from == first if is_behind else block.delivered_from == old_from)
    ]
    if not blocks:
        return None, _similar_block(speech, forms, first, item) is None
    longest = max(blocks, key=lambda block: block.size)
    return (longest, len(blocks) == 1) if longest.size > SHORT_WORDS else (None, False)


def _find_block(
    speech: Speech, forms: Sequence[str], first: int, item: DeliveredSpeech, from_ms: int, *, is_jitter: bool
) -> tuple[_Block | None, bool]:
    """Return the words, from `first` on, that repeat a delivered text, and True if that is certain.

    Args:
        speech: the new text.
        forms: its words.
        first: the first of them that no other text has repeated.
        item: the delivered text.
        from_ms: the place at which the audio of the connection begins.
        is_jitter: True if the two overlap by so little that the jitter of both explains it.
    """
    blocks = sorted(_exact_blocks(speech, forms, first, item), key=lambda block: block.error_ms)
    tolerance_ms = max(MAX_ESTIMATE_ERROR_MS, speech.length_ms / 2, item.speech.length_ms / 2)
    blocks = [block for block in blocks if block.error_ms <= tolerance_ms]
    if len(blocks) > 1:
        blocks = [block for block in blocks if _explains_edges(block, speech, first, item, from_ms)] or blocks
    if not blocks:
        if is_jitter:
            return None, not _may_share_words(speech, item.speech, from_ms)
        block = _similar_block(speech, forms, first, item)
        return block, block is not None
    best = blocks[0]
    if best.size <= SHORT_WORDS and (
        is_jitter or _is_far(best, speech, item.speech) or _may_be_behind(best, speech, item, from_ms)
    ):
        return None, False
    # estimates do not tell how many of several equal words at an edge are in both texts
    rivals = [block for block in blocks if block.size != best.size or block.error_ms - best.error_ms < RIVAL_MS]
    if len(rivals) > 1:
        return min(rivals, key=lambda block: block.size), False
    return best, True


def _is_far(block: _Block, new: Speech, old: Speech) -> bool:
    """Return True if the words of a block are so far from each other that they may be equal ones elsewhere.

    Pauses put the estimates off, but not those of words with which both texts begin or end, at one place.
    """
    begins_both = block.new_from == block.delivered_from == 0 and abs(new.start_ms - old.start_ms) <= SAME_MS
    ends = len(new.words), len(old.words)
    ends_both = (block.new_to, block.delivered_to) == ends and abs(new.end_ms - old.end_ms) <= SAME_MS
    return block.error_ms > RIVAL_MS and not begins_both and not ends_both


def _may_be_behind(block: _Block, speech: Speech, item: DeliveredSpeech, from_ms: int) -> bool:
    """Return True if the words of a block may be equal ones behind the delivered text.

    They may lie there but for the jitter of both, and the connection's audio begins too late for all of the delivered
    ones. What is too short for its words is the rest of delivered ones, and so is what lies exactly between that place
    and the end of them.
    """
    is_cut = item.speech.words[block.delivered_from].start_ms < from_ms
    has_room = speech.length_ms > SHORTEST_MS * len(speech.words)
    is_rest = max(abs(speech.start_ms - from_ms), abs(speech.end_ms - item.speech.end_ms)) <= EXACT_MS
    return is_cut and item.speech.end_ms - speech.start_ms <= SAME_MS and has_room and not is_rest


def _explains_edges(block: _Block, speech: Speech, first: int, item: DeliveredSpeech, from_ms: int) -> bool:
    """Return True unless a block leaves words of a text out whose place is inside that of the other.

    The first word of a delivered text in which the audio begins may not be recognised again.
    """
    new, old = speech, item.speech
    if old.start_ms - SAME_MS < new.start_ms and new.end_ms < old.end_ms + SAME_MS:  # else a short word is outside
        return block.new_from == first and block.new_to == len(speech.words)
    if max(new.start_ms - SAME_MS, from_ms - JITTER_MS) <= old.start_ms and old.end_ms <= new.end_ms + SAME_MS:
        return (block.delivered_from, block.delivered_to) == _open_range(item, speech)
    return True


def _exact_blocks(speech: Speech, forms: Sequence[str], first: int, item: DeliveredSpeech) -> Iterator[_Block]:
    """Yield the positions at which all words of both texts are the same, as far as the two overlap."""
    delivered = item.speech.words
    old_from, old_to = _open_range(item, speech)
    old_forms = [word.form for word in delivered]
    for shift in range(first - old_to + 1, len(forms) - old_from):
        new_from, new_to = max(first, shift + old_from), min(len(forms), shift + old_to)
        if new_from < new_to and forms[new_from:new_to] == old_forms[new_from - shift : new_to - shift]:
            errors_ms = [
                abs(speech.words[index].middle_ms - delivered[index - shift].middle_ms)
                for index in range(new_from, new_to)
            ]
            yield _Block(new_from, new_to, new_from - shift, new_to - shift, sum(errors_ms) / len(errors_ms))


def _open_range(item: DeliveredSpeech, speech: Speech) -> tuple[int, int]:
    """Return the range of the words that were not recognised again yet; of several, the nearest to the new text.

    The words of an earlier range may lie before the audio of the connection, or their final comes later.
    """
    words = item.speech.words
    middle_ms = (speech.start_ms + speech.end_ms) / 2
    return min(
        _open_ranges(item.is_repeated),
        key=lambda bounds: abs((words[bounds[0]].start_ms + words[bounds[1] - 1].end_ms) / 2 - middle_ms),
    )


def _open_ranges(is_repeated: bytearray) -> Iterator[tuple[int, int]]:
    """Yield the ranges of the words that were not recognised again yet."""
    first = is_repeated.find(0)
    while first >= 0:
        behind = is_repeated.find(1, first)
        yield first, len(is_repeated) if behind < 0 else behind
        first = is_repeated.find(0, behind) if behind >= 0 else -1


def _similar_block(speech: Speech, forms: Sequence[str], first: int, item: DeliveredSpeech) -> _Block | None:
    """Return the region in which most words of both texts are the same; None if there is none.

    Its first and its last words are the same in both, so its ends are certain. Beyond them, one of the two texts ends
    on each side: words that both have there would be other words for the same audio.
    """
    old_from, old_to = _open_range(item, speech)
    old_forms = [word.form for word in item.speech.words[old_from:old_to]]
    matcher = SequenceMatcher(None, forms[first:], old_forms, autojunk=False)
    blocks = [block for block in matcher.get_matching_blocks() if block.size]
    matched = sum(block.size for block in blocks)
    if matched < SHORT_WORDS:
        return None
    new_from, new_to = first + blocks[0].a, first + blocks[-1].a + blocks[-1].size
    begin, behind = blocks[0].b, blocks[-1].b + blocks[-1].size
    has_other_head = blocks[0].a > 0 and begin > 0
    has_other_tail = new_to < len(forms) and behind < len(old_forms)
    region = max(new_to - new_from, behind - begin)
    if has_other_head or has_other_tail or matched / region < MIN_MATCH:
        return None
    return _Block(new_from, new_to, old_from + begin, old_from + behind)


def _parts(speech: Speech, repeated: Mapping[int, PlacedWord]) -> Iterator[NewPart]:
    """Yield the runs of words that are not repeated; beside a repeat, one without times ends where that does."""
    words, first = speech.words, 0
    for index in (*sorted(repeated), len(words)):
        if index > first:
            start_ms, end_ms = words[first].start_ms, words[index - 1].end_ms
            if not speech.is_timed and first:
                start_ms = repeated[first - 1].end_ms
            if not speech.is_timed and index < len(words):
                end_ms = repeated[index].start_ms
            start_ms = min(max(start_ms, speech.start_ms), speech.end_ms)
            yield NewPart(first, index, start_ms, max(start_ms, min(end_ms, speech.end_ms)))
        first = index + 1
