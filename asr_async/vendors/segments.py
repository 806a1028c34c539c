"""The segments of one vendor task: which one a message is about, what is a repeat, and when one ends.

This is the only place for these rules, for all vendors.

Theory of operation. A vendor's *key* of a segment (a sentence id, an item id) and its *place* (start and end in the
task's audio) are hints. Keys repeat, restart, lack, interleave; times jitter by up to a frame, lack, or grow while the
segment is open. `SegmentTracker.assign` weighs both:

- An **open** segment takes a message with its key (a vendor that names its segments: at a compatible place), or one
  without a key at an overlapping place, or one with neither if it is the newest.
- A **repeat** has the place *and* the text of a final that was returned; so has a late interim, whose text may be a
  part of that final's. The same key alone is no repeat: at another place or with another text it is a new segment.
  Nothing that was not returned before is ever dropped.
- A **stale** segment is withdrawn, with an event. A *sequential* vendor, which has one sentence open at a time, has
  closed each earlier segment when a later one opens or becomes final. With any other vendor, finals may be out of order
  and late: a segment without text (a cough) is withdrawn when a later one becomes final, one with text when a final
  ends `STALE_MS` behind it. The final of a withdrawn segment is returned under its number if it comes all the same.
- At the **end** that the vendor confirms, `close_at_end` returns the newest interim of each open segment as a final
  that is not confirmed, and reports speech that never got a text.

Every segment has one `SpeechStarted` and one `SpeechEnded`, and everything that is remembered is bounded.

Does not know messages, connections or clocks. Times are the task's own, in milliseconds.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from .._alignment.places import DOUBT_MS, JITTER_MS, SAME_MS, is_same_place
from .._alignment.words import letters_of, words_of_text
from ..results import Result, SpeechEnded, SpeechStarted, shown_text, with_times
from .codec import Unheard

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from .codec import CodecEvent

__all__ = ["MAX_REMEMBERED", "STALE_MS", "SegmentTracker", "TrackedSegment"]

STALE_MS = 15_000
"""The audio between an open segment and the end of a later final after which its own final is no longer expected;
finals out of order are late by a few seconds."""

OVERDUE = "the vendor did not answer a commit, but later ones"
"""The reason for `Unheard` if a commit is withdrawn before the end."""

PAUSES_MS = 1_500
LETTER_MS = 200
SYLLABLE_MS = 500
"""The longest pauses in the speech of a final, and the longest time of a letter, and of a character that may be a whole
syllable, as in Chinese. A longer final has an end that is not known: other words may lie before it."""

FEW_FINALS = 8
"""The finals that may end close to each other; the vendors divide speech into sentences of some seconds."""

MAX_REMEMBERED = 64
"""Segments of each state that are remembered. A repeat comes soon after its final; a task of hours has thousands."""

MAX_REMEMBERED_CHARS = 1024 * 1024
"""The size of the texts of the remembered finals, and of the messages of the open segments but for the newest."""

K = TypeVar("K", bound="Hashable")
S = TypeVar("S", bound="TrackedSegment[Any]")


def _longest_ms(text: str) -> int:
    """Return the longest time in which a final of this text may be spoken: if it is longer, its end is not known."""
    return PAUSES_MS + (LETTER_MS if text.isascii() else SYLLABLE_MS) * len(text)


class TrackedSegment(msgspec.Struct, Generic[K], eq=False, gc=False):
    """One segment: its number, its place, and its progress.

    Many are kept, so they are of a type that the garbage collector does not follow: a segment refers to no other one.
    """

    id: int
    key: K
    start_ms: int
    end_ms: int
    """The end so far; equal to the start while it is unknown."""
    is_placed: bool = True
    """False while the vendor has not reported its start."""
    is_owed: bool = False
    """True if the vendor owes it a text: the caller has committed it."""
    interim_result: Result | None = None
    """The newest interim result that was returned; None if there was none."""
    is_over: bool = False
    """True if the vendor's final arrived; ours may still wait for something."""
    has_ended: bool = False
    """True if its `SpeechEnded` was returned: the final precedes it, or it was withdrawn."""
    text: str = ""
    """The text of the final."""

    def __repr__(self) -> str:
        state = "open" if not self.has_ended else "closed" if self.is_over else "withdrawn"
        return f"<{type(self).__name__} {self.id} {state}>"

    def overlaps(self, start_ms: int, end_ms: int | None) -> bool:
        """Return True if a place begins where the segment does, but for the jitter of one, or is much the same.

        Two sentences in a row may overlap by the jitter of both, and an interim of one word may be as short as that.
        """
        if abs(start_ms - self.start_ms) <= JITTER_MS:
            return True
        length_ms = 0 if end_ms is None else end_ms - start_ms
        own_length_ms = self.end_ms - self.start_ms
        if length_ms <= 0 or own_length_ms <= 0:  # an end is not known
            first_ms, last_ms = (self.start_ms, self.end_ms) if length_ms <= 0 else (start_ms, start_ms + length_ms)
            place_ms = start_ms if length_ms <= 0 else self.start_ms
            return first_ms - SAME_MS <= place_ms <= max(first_ms + JITTER_MS, last_ms - SAME_MS)
        common_ms = min(self.end_ms, start_ms + length_ms) - max(self.start_ms, start_ms)
        return 3 * common_ms >= 2 * max(length_ms, own_length_ms)

    def goes_on_with(self, start_ms: int, end_ms: int | None, text: str) -> bool:
        """Return True if a text is that of the segment and more, and begins near it or has half of its place.

        A place near it need not overlap that of a segment of one short word: the times of both jitter. The same text is
        as long then, else it is said again.
        """
        interim = self.interim_result
        if interim is None:
            return False
        if abs(start_ms - self.start_ms) > SAME_MS:
            last_ms = start_ms if end_ms is None else end_ms
            common_ms = min(self.end_ms, last_ms) - max(self.start_ms, start_ms)
            if common_ms <= 0 or 2 * common_ms < max(last_ms - start_ms, self.end_ms - self.start_ms):
                return False
        letters, other_letters = letters_of(interim.text), letters_of(text)
        if not letters:
            return False
        if letters == other_letters and end_ms is not None and self.start_ms < self.end_ms <= start_ms < end_ms:
            return end_ms - start_ms == self.end_ms - self.start_ms
        return other_letters.startswith(letters)

    def has_place(self, start_ms: int, end_ms: int | None, key: K | None = None) -> bool:
        """Return True if a place is that of this final: the same but for the jitter of both, or inside it.

        Jitter can put a short word inside the equal one beside it. With another key, a place may be that of the same
        short word said again, unless it is just as long.
        """
        if end_ms is None or end_ms <= start_ms or self.end_ms <= self.start_ms:  # an end is not known
            return abs(start_ms - self.start_ms) <= SAME_MS
        if self._may_be_before(key, start_ms) and end_ms - start_ms != self.end_ms - self.start_ms:
            return False
        if self.start_ms <= start_ms and end_ms <= self.end_ms and end_ms - start_ms > SAME_MS:
            return True
        return is_same_place(start_ms, end_ms, self.start_ms, self.end_ms)

    def _may_be_before(self, key: K | None, start_ms: int) -> bool:
        """Return True if a message with another key begins where this final ends, but for the jitter of both."""
        return key is not None and self.key is not None and key != self.key and start_ms >= self.end_ms - SAME_MS

    def holds_interim(self, start_ms: int, end_ms: int | None, text: str, key: K | None = None) -> bool:
        """Return True if an interim at this place is a late one of this final."""
        if start_ms < self.start_ms - SAME_MS or self._may_be_before(key, start_ms):
            return False
        begins_together = start_ms <= self.start_ms + SAME_MS
        if begins_together and end_ms is not None and start_ms < end_ms <= self.end_ms:
            return True
        return (begins_together or start_ms < self.end_ms - JITTER_MS) and self.contains(text)

    def may_hold(self, interim: Result) -> bool:
        """Return True if an interim may be about words of this final, in other words too, or is a part of it near it.

        It lies inside, or more than half of the shorter one is common to both.
        """
        start_ms, end_ms = interim.start_ms, interim.end_ms
        if self.start_ms - JITTER_MS <= start_ms < end_ms <= self.end_ms + JITTER_MS:
            return True
        common_ms = min(self.end_ms, end_ms) - max(self.start_ms, start_ms)
        if common_ms > 0 and 2 * common_ms > min(self.end_ms - self.start_ms, end_ms - start_ms):
            return True
        return abs(self.start_ms - interim.start_ms) <= DOUBT_MS and self.contains(interim.text)

    def has_text(self, text: str) -> bool:
        """Return True if a text is that of this final, without regard to case, spaces and punctuation."""
        return text == self.text or letters_of(text) == letters_of(self.text)

    def contains(self, text: str) -> bool:
        """Return True if a text is a part of this final's, without regard to case, spaces and punctuation."""
        return text in self.text or letters_of(text) in letters_of(self.text)

    def is_continued_by(self, text: str) -> bool:
        """Return True if a text begins as the newest interim does, or the other way round."""
        if self.interim_result is None:
            return False
        interim_letters, letters = letters_of(self.interim_result.text), letters_of(text)
        return interim_letters.startswith(letters) or letters.startswith(interim_letters)

    def is_word_before(self, key: K, start_ms: int, text: str) -> bool:
        """Return True if a message without a key is about the next segment: this is one of a short word so far.

        It begins behind the middle of the word, though little behind its start, and has another text.
        """
        if key is not None or self.interim_result is None or self.is_over:
            return False
        return 2 * (start_ms - self.start_ms) > self.end_ms - self.start_ms > 0 and not self.is_continued_by(text)

    def may_end_at(self, end_ms: int | None) -> bool:
        """Return True unless this final and a message both have an end, and not the same."""
        return end_ms is None or self.end_ms <= self.start_ms or abs(end_ms - self.end_ms) <= SAME_MS


class SegmentTracker(Generic[K, S]):
    """The segments of a task, numbered from 0 in the order of their first sign.

    The events that follow from a message go into the list that the caller passes or extends: those of stale segments
    precede those of the message's own.
    """

    __slots__ = (
        "_by_key",
        "_finals",
        "_finals_chars",
        "_finals_end_ms",
        "_forgotten_until",
        "_is_sequential",
        "_last_end_ms",
        "_last_final",
        "_last_start_ms",
        "_make",
        "_max_open",
        "_newest",
        "_next_id",
        "_open",
        "_withdrawn",
    )

    def __init__(
        self, make: Callable[[int, K, int, int], S], *, is_sequential: bool = False, max_open: int = MAX_REMEMBERED
    ) -> None:
        """Track no segment yet.

        Args:
            make: the class of the segments; called with the number, the key, and the start as both ends of the place.
            is_sequential: True if the vendor has one segment open at a time.
            max_open: the number of open segments beyond which the oldest is withdrawn.
        """
        self._make = make
        self._is_sequential = is_sequential
        self._max_open = max_open
        self._next_id = 0
        # each by number, the oldest first
        self._open: dict[int, S] = {}
        self._withdrawn: dict[int, S] = {}
        self._finals: dict[int, S] = {}
        # the newest open segment with each key
        self._by_key: dict[K, S] = {}
        # the newest segment that the vendor has open
        self._newest: S | None = None
        # the final that no other segment's message has followed
        self._last_final: S | None = None
        self._last_end_ms = 0
        self._finals_end_ms = 0
        # the last start of a final
        self._last_start_ms = 0
        self._finals_chars = 0
        self._forgotten_until = -1

    def __repr__(self) -> str:
        return f"<SegmentTracker {len(self._open)} open of {self._next_id}>"

    # --- which segment -----------------------------------------------------------------------------------------------

    def assign(
        self,
        key: K,
        start_ms: int | None,
        end_ms: int | None,
        text: str,
        *,
        is_final: bool,
        events: list[CodecEvent],
    ) -> S | None:
        """Return the segment of a message; a new one if it is about none that is known.

        Args:
            key: the vendor's key; None if the message has none.
            start_ms: the start of the segment; None if the message has none.
            end_ms: its end, or its end so far; None if the message has none.
            text: its text. Without text, no new segment is opened.
            is_final: True if the message is the vendor's final.
            events: receives the events of a segment that opens.

        Returns:
            The open segment, or None if the message is a repeat, or has no text and is about no open segment.
        """
        usual_segment = (
            self._assign_usual_final(key, start_ms, end_ms)
            if is_final
            else self._assign_usual_interim(key, start_ms, end_ms, text, events)
        )
        if usual_segment is not None:
            return usual_segment
        if len(self._open) > 1:
            self._bound_messages(events)
        segment = self._find_named(key, start_ms, end_ms)
        if (segment is None or start_ms is not None) and self.is_repeat(key, start_ms, end_ms, text, is_final=is_final):
            return None
        segment = segment or self._find_by_place(key, start_ms, end_ms, text)
        if segment is not None and start_ms is not None and self._is_behind(segment, key, start_ms, text):
            segment = None
        if segment is not None and is_final and self._belongs_to_final(segment, start_ms, text):
            segment = None
        if segment is not None and is_final and key is None and not self._is_sequential:
            self._split(segment, key, end_ms, text, events)
        if segment is None and is_final:
            segment = self.revive(key, start_ms, end_ms)
        if segment is None:
            if not text:
                return None
            segment = self.open(key, start_ms, events)
        self._last_final = None
        self.learn(segment, key, start_ms, end_ms)
        return segment

    def _assign_usual_interim(
        self, key: K, start_ms: int | None, end_ms: int | None, text: str, events: list[CodecEvent]
    ) -> S | None:
        """Return the segment of an interim for which nothing has to be searched, as `assign` would; None for others.

        It is at the place of the newest segment, or is the first one behind all finals.
        """
        segment = self._newest
        if segment is None:
            if not text or start_ms is None or self._open or not self._is_behind_repeats(start_ms, end_ms):
                return None
            segment = self.open(key, start_ms, events)
        elif segment.key != key or not (
            start_ms is None or start_ms == segment.start_ms or self._begins_with(segment, key, start_ms, text)
        ):
            return None
        if end_ms is not None and end_ms > segment.end_ms:
            segment.end_ms = end_ms
        return segment

    def _begins_with(self, segment: S, key: K, start_ms: int, text: str) -> bool:
        """Return True if an interim begins where the newest segment does, but for the jitter of one."""
        is_near = -JITTER_MS <= start_ms - segment.start_ms <= JITTER_MS
        return is_near and not self._is_behind(segment, key, start_ms, text)

    def _is_behind(self, segment: S, key: K, start_ms: int, text: str) -> bool:
        """Return True if a vendor that has several segments open reports the next one, though at much the same place.

        Else it would replace the interim of a word whose own final may be late, and no replay would begin there.
        """
        return not self._is_sequential and segment.is_word_before(key, start_ms, text)

    def _assign_usual_final(self, key: K, start_ms: int | None, end_ms: int | None) -> S | None:
        """Return the segment of a final for which nothing has to be searched, as `assign` would; None for others.

        It is at the place of the only open segment, and behind all finals.
        """
        segment = self._newest
        if (
            segment is None
            or start_ms is None
            or end_ms is None
            or segment.key != key
            or not -JITTER_MS <= start_ms - segment.start_ms <= JITTER_MS
            or end_ms < segment.end_ms
            or start_ms <= self._last_start_ms + SAME_MS
            or len(self._open) > 1
            or not (self._is_sequential or key is not None)
            or not self._is_behind_repeats(start_ms, end_ms)
        ):
            return None
        segment.start_ms, segment.end_ms, segment.is_placed = start_ms, end_ms, True
        self._last_final = None
        return segment

    def detect(self, key: K, start_ms: int | None, events: list[CodecEvent]) -> S | None:
        """Return the segment of a sign of speech that has no text; a new one if it is about none that is known.

        Args:
            key: the vendor's key; None if the message has none.
            start_ms: the start of the speech; None if the message has none.
            events: receives the events of a segment that opens.

        Returns:
            The open segment, or None if the sign is about one that has ended.
        """
        segment = self._find_named(key, start_ms, None) or self._find_by_place(key, start_ms, None, "")
        if segment is not None:
            self.learn(segment, key, start_ms, None)
            return segment
        if key is not None:
            for ended in (*self._finals.values(), *self._withdrawn.values()):
                if ended.key == key and (start_ms is None or ended.overlaps(start_ms, None)):
                    return None
        return self.open(key, start_ms, events)

    def find_open(self, key: K) -> S | None:
        """Return the newest open segment with this key, also if the vendor's final of it has arrived."""
        return self._by_key.get(key)

    def find_closed(self, key: K) -> S | None:
        """Return the newest closed segment with this key, if it is still remembered."""
        if key is None:
            return None
        return next((final for final in reversed(self._finals.values()) if final.key == key and final.has_ended), None)

    def find_withdrawn(self, key: K) -> S | None:
        """Return the newest withdrawn segment with this key, if it is still remembered."""
        if key is None:
            return None
        return next((segment for segment in reversed(self._withdrawn.values()) if segment.key == key), None)

    def is_forgotten(self, key: int) -> bool:
        """Return True if a vendor that counts its segments has sent a key that is too old to be remembered."""
        return key <= self._forgotten_until

    @property
    def open_segments(self) -> list[S]:
        """The open segments, oldest first, also those of which the vendor's final has arrived."""
        return list(self._open.values())

    @property
    def known_segments(self) -> list[S]:
        """The open, withdrawn and final segments that are remembered, in the order of their first sign."""
        segments = {**self._withdrawn, **self._finals, **self._open}
        return [segments[number] for number in sorted(segments)]

    def is_behind_finals(self, start_ms: int | None) -> bool:
        """Return True if a place begins behind all final segments."""
        return start_ms is not None and start_ms >= self._finals_end_ms

    @property
    def has_open(self) -> bool:
        """True if any segment is open."""
        return bool(self._open)

    def _find_named(self, key: K, start_ms: int | None, end_ms: int | None) -> S | None:
        """Return the open segment with the key; without key and start, the newest that begins before the end."""
        if key is None:
            return self._find_newest(end_ms) if start_ms is None else None
        segment = self._by_key.get(key)
        if segment is None or segment.is_over:
            return None
        if self._is_sequential or start_ms is None or not segment.is_placed or segment.overlaps(start_ms, end_ms):
            return segment
        return None

    def _find_by_place(self, key: K, start_ms: int | None, end_ms: int | None, text: str = "") -> S | None:
        """Return an open segment that no other key names, at the place of a message, or without a place.

        Of several, it is the one that the text continues, else the closest.
        """
        newest = self._newest if start_ms is not None else self._find_newest(end_ms)
        if newest is None:
            return None
        if start_ms is not None:
            candidates = [
                segment
                for segment in self._open.values()
                if (self._is_sequential or key is None or segment.key is None)
                and not segment.is_over
                and segment.is_placed
                and (segment.overlaps(start_ms, end_ms) or segment.goes_on_with(start_ms, end_ms, text))
            ]
            if len(candidates) == 1:
                return candidates[0]
            if candidates:
                return min(
                    candidates,
                    key=lambda segment: (not segment.is_continued_by(text), abs(segment.start_ms - start_ms)),
                )
            if newest.is_placed or newest.start_ms < newest.end_ms < start_ms - SAME_MS:
                return None
        return newest if key is None or newest.key is None else None

    def _belongs_to_final(self, segment: S, start_ms: int | None, text: str) -> bool:
        """Return True if a final has nothing of an open segment's text, but all of that of a final beside it.

        It is that final again, with other times, or the same words said again.
        """
        if start_ms is None or segment.interim_result is None or segment.is_continued_by(text):
            return False
        return self.resembles_final(start_ms, text)

    def resembles_final(self, start_ms: int, text: str) -> bool:
        """Return True if a text may be that of a final which was returned, with other times; or it was said again."""
        if start_ms > self._last_start_ms + SAME_MS:
            return False
        finals = islice(reversed(self._finals.values()), FEW_FINALS)
        return any(abs(final.start_ms - start_ms) <= SAME_MS and final.has_text(text) for final in finals)

    def _split(self, segment: S, key: K, end_ms: int | None, text: str, events: list[CodecEvent]) -> None:
        """Give the newest interim of a segment one of its own if it is about the speech behind the final.

        Two short sentences in a row, of which the times are off, may begin at one place. The one behind has other words
        and a later end. If it is a part of a final that was returned, nothing is left of it.
        """
        interim = segment.interim_result
        if interim is None or end_ms is None or interim.end_ms <= end_ms + JITTER_MS // 2:
            return
        if {form for form, _, _ in words_of_text(interim.text)} & {form for form, _, _ in words_of_text(text)}:
            return
        segment.interim_result = None
        if self.is_repeat(key, interim.start_ms, interim.end_ms, interim.text, is_final=False):
            return
        other = self.open(key, interim.start_ms, events)
        other.end_ms = interim.end_ms
        other.interim_result = replace(interim, segment_id=other.id)
        events.append(other.interim_result)

    def revive(self, key: K, start_ms: int | None, end_ms: int | None) -> S | None:
        """Return the withdrawn segment of a final, open again; its end is not reported another time."""
        for segment in reversed(self._withdrawn.values()):
            if key is not None and segment.key is not None and key != segment.key:
                continue
            if key is None and start_ms is None:
                continue
            if start_ms is None or not segment.is_placed or segment.overlaps(start_ms, end_ms):
                del self._withdrawn[segment.id]
                self._add(segment)
                return segment
        return None

    def is_repeat(self, key: K, start_ms: int | None, end_ms: int | None, text: str, *, is_final: bool) -> bool:
        """Return True if a message repeats a final that was returned; see `assign` for the arguments."""
        finals = self._finals
        if not finals:
            return False
        if start_ms is None:
            return self._repeats_by_name(key, end_ms, text, is_final=is_final)
        if self._is_behind_repeats(start_ms, end_ms):
            return False
        last_finals: Iterable[S] = reversed(finals.values())
        if start_ms > self._finals_end_ms - SAME_MS:  # where only the last ones end
            last_finals = islice(last_finals, FEW_FINALS)
        if is_final:
            if end_ms is not None and end_ms - start_ms > _longest_ms(text):
                end_ms = None
            return any(final.has_place(start_ms, end_ms, key) and final.has_text(text) for final in last_finals)
        return any(final.holds_interim(start_ms, end_ms, text, key) for final in last_finals)

    def _is_behind_repeats(self, start_ms: int, end_ms: int | None) -> bool:
        """Return True if a place is too far behind all finals for a repeat: but for the jitter, it ends behind them."""
        finals_end_ms = self._finals_end_ms
        return start_ms > finals_end_ms + JITTER_MS or (
            start_ms > self._last_start_ms + SAME_MS
            and start_ms >= finals_end_ms - JITTER_MS
            and (end_ms is None or end_ms > finals_end_ms)
        )

    def _repeats_by_name(self, key: K, end_ms: int | None, text: str, *, is_final: bool) -> bool:
        """Return True if a message without a start repeats a final with the same key, or the one directly before it."""
        if key is None:
            if not is_final:
                return False
            if end_ms is not None and any(
                final.start_ms < final.end_ms and final.may_end_at(end_ms) and final.has_text(text)
                for final in self._finals.values()
            ):
                return True
            final = self._last_final
            return final is not None and final.may_end_at(end_ms) and final.has_text(text)
        named = [final for final in self._finals.values() if final.key == key]
        if is_final:
            return any(final.may_end_at(end_ms) and final.has_text(text) for final in named)
        return any(final.contains(text) for final in named)

    def learn(self, segment: S, key: K, start_ms: int | None = None, end_ms: int | None = None) -> None:
        """Update a segment with the key and the place in a message."""
        if key is not None and segment.key != key:
            self._forget_key(segment)
            segment.key = key
            self._by_key[key] = segment
        if start_ms is not None:
            segment.is_placed = True
            has_end = segment.end_ms > segment.start_ms
            segment.start_ms = start_ms
            segment.end_ms = max(segment.end_ms, start_ms) if has_end else start_ms
        if end_ms is not None and end_ms > segment.end_ms:
            segment.end_ms = end_ms

    # --- changes -----------------------------------------------------------------------------------------------------

    def open(self, key: K, start_ms: int | None, events: list[CodecEvent], *, is_ahead: bool = False) -> S:
        """Open a segment.

        Args:
            key: the vendor's key.
            start_ms: its start; without one, it begins where the last segment of the task ended.
            events: receives the events of the segment, and those of the ones that it makes stale.
            is_ahead: True if the segment before it goes on, though the vendor has one open at a time.
        """
        place_ms = start_ms
        if place_ms is None:
            place_ms = max([self._last_end_ms, *(segment.end_ms for segment in self._open.values())])
        if self._is_sequential and not is_ahead and self._open:
            events += self._withdraw_all(
                segment for segment in self._open.values() if not segment.is_over and segment.start_ms <= place_ms
            )
        segment = self._make(self._next_id, key, place_ms, place_ms)
        segment.is_placed = start_ms is not None
        self._next_id += 1
        self._last_final = None
        self._add(segment)
        if len(self._open) > self._max_open:
            events += self._withdraw_all([oldest for oldest in self._open.values() if not oldest.is_over][:1])
        events.append(SpeechStarted(segment_id=segment.id, start_ms=place_ms))
        return segment

    def end(self, segment: S, result: Result) -> list[CodecEvent]:
        """Record the vendor's final of an open segment, and return the events of the segments that it makes stale."""
        start_ms, end_ms, text = result.start_ms, result.end_ms, result.text
        segment.is_over = True
        segment.start_ms, segment.end_ms, segment.text = start_ms, end_ms, text
        if end_ms - start_ms > (longest_ms := _longest_ms(text)):
            last_ms = result.words[-1].end_ms if result.words else start_ms
            segment.end_ms = last_ms if 0 < last_ms - start_ms <= longest_ms else start_ms
        segment.interim_result = None
        if segment.has_ended:  # it was withdrawn, and gets its final all the same: once
            self._withdrawn.pop(segment.id, None)
        if segment is self._newest:
            self._newest = self._find_newest() if len(self._open) > 1 else None
        self._finals[segment.id] = self._last_final = segment
        self._finals_chars += len(text)
        while len(self._finals) > MAX_REMEMBERED or (
            self._finals_chars > MAX_REMEMBERED_CHARS and len(self._finals) > 1
        ):
            self._forget_oldest()
        self._last_start_ms = max(self._last_start_ms, start_ms)
        self._last_end_ms = max(self._last_end_ms, end_ms)
        self._finals_end_ms = max(self._finals_end_ms, start_ms, end_ms)
        return self._withdraw_stale(segment) if len(self._open) > 1 else []

    def in_order(self, segment: S, result: Result) -> Result:
        """Return the final of a sequential vendor's segment with a start that keeps the order of the segments.

        The jitter of two sentences, of which one is a short word, can put the later one before the other. The numbers
        of another vendor's segments are not in the order of the audio: the first sign of one may be its late final.
        """
        start_ms = result.start_ms
        if start_ms >= self._last_start_ms:
            return result
        for final in islice(reversed(self._finals.values()), FEW_FINALS):
            if final.id < segment.id and start_ms < final.start_ms <= start_ms + SAME_MS:
                start_ms = final.start_ms
        if start_ms == result.start_ms:
            return result
        if result.start_ms < 0:  # behind this, the start no longer shows that words may be before the source
            result = with_times(result, lambda time_ms, _: max(0, time_ms))
        return replace(result, start_ms=start_ms, end_ms=max(start_ms, result.end_ms))

    def close(self, segment: S) -> list[CodecEvent]:
        """Close an open segment, and return the event of its end; its final result precedes that event."""
        self._remove(segment)
        if segment.has_ended:  # it was withdrawn before
            return []
        segment.has_ended = True
        return [SpeechEnded(segment_id=segment.id, end_ms=segment.end_ms)]

    def withdraw(self, segment: S) -> list[CodecEvent]:
        """End an open segment without a final, and return the event of its end."""
        return self._withdraw_all([segment])

    def withdraw_open(self) -> list[CodecEvent]:
        """End all segments that the vendor has open, without finals: it has found that there was no speech."""
        return self._withdraw_all(segment for segment in self._open.values() if not segment.is_over)

    def close_at_end(self, reason: str) -> list[CodecEvent]:
        """Return the events of all open segments at the end that the vendor confirms, in the order of the audio.

        Args:
            reason: the reason for `Unheard`: speech that was reported without any text.
        """
        segments = sorted(self._open.values(), key=lambda segment: (segment.start_ms, segment.id))
        events: list[CodecEvent] = []
        finals = list(self._finals.values())
        for segment in segments:
            if (interim := segment.interim_result) is not None:
                end_ms = interim.end_ms
                if segment.end_ms > segment.start_ms:  # the end of the speech is reported behind the interim
                    end_ms = max(end_ms, segment.end_ms)
                # it may be another reading of words that a final has
                may_repeat = interim.may_repeat or any(each.may_hold(interim) for each in finals)
                finals.append(segment)
                final = replace(interim, is_final=True, is_confirmed=False, end_ms=end_ms, may_repeat=may_repeat)
                self.end_unconfirmed(segment, final)
                events += [final, *self.close(segment)]
        for segment in segments:
            if not segment.has_ended and not segment.is_over:
                events += self._withdraw(segment, reason)
        return events

    def end_unconfirmed(self, segment: S, final: Result) -> None:
        """Record the final that is made of the newest interim of an open segment, at the end of the task."""
        segment.is_over = True
        segment.end_ms, segment.text = final.end_ms, final.text
        segment.interim_result = None

    def _add(self, segment: S) -> None:
        self._open[segment.id] = self._newest = segment
        if segment.key is not None:
            self._by_key[segment.key] = segment

    def _remove(self, segment: S) -> None:
        self._open.pop(segment.id, None)  # a withdrawn one is closed too, if its final comes all the same
        if segment.key is not None:
            self._forget_key(segment)
        if segment is self._newest:
            self._newest = self._find_newest()

    def _forget_key(self, segment: S) -> None:
        key = segment.key
        if self._by_key.get(key) is segment:
            del self._by_key[key]
            for other in self._open.values():
                if other.key == key and other is not segment:
                    self._by_key[key] = other

    def _find_newest(self, before_ms: int | None = None) -> S | None:
        """Return the newest segment that the vendor has open; before a place, of those that may begin before it."""
        return next(
            (
                segment
                for segment in reversed(self._open.values())
                if not segment.is_over
                and (before_ms is None or not segment.is_placed or segment.start_ms - JITTER_MS < before_ms)
            ),
            None,
        )

    def _withdraw_stale(self, final: S) -> list[CodecEvent]:
        """Withdraw the open segments that get no final any more, since a later one has become final."""
        return self._withdraw_all(
            segment for segment in self._open.values() if not segment.is_over and self._is_stale(segment, final)
        )

    def _is_stale(self, segment: S, final: S) -> bool:
        if segment.has_ended:  # it was withdrawn before, and the vendor has returned to it
            return False
        if self._is_sequential:
            if not segment.is_placed and segment.id > final.id:
                return False
            return segment.start_ms <= final.start_ms or segment.start_ms < final.end_ms - JITTER_MS
        interim = segment.interim_result
        if interim is None and not segment.is_owed:
            return (segment.start_ms, segment.id) < (final.start_ms, final.id)
        if interim is not None and self._is_part(segment, final, interim):
            return True
        return final.end_ms - segment.end_ms > STALE_MS

    def _is_part(self, segment: S, final: S, interim: Result) -> bool:
        """Return True if the newest interim of an open segment is a part of a final: jitter has made two of one."""
        may_be_one = segment.is_placed and (segment.key is None or segment.key == final.key)
        start_ms, end_ms, text = interim.start_ms, interim.end_ms, interim.text
        is_before = start_ms < end_ms and 2 * final.start_ms >= start_ms + end_ms
        return may_be_one and not is_before and final.contains(text) and final.holds_interim(start_ms, end_ms, text)

    def _withdraw_all(self, segments: Iterable[S]) -> list[CodecEvent]:
        return [event for segment in list(segments) for event in self._withdraw(segment)]

    def _withdraw(self, segment: S, reason: str | None = None) -> list[CodecEvent]:
        interim, segment.interim_result = segment.interim_result, None
        had_ended, segment.has_ended = segment.has_ended, True
        self._remove(segment)
        self._withdrawn[segment.id] = segment
        if len(self._withdrawn) > MAX_REMEMBERED:
            del self._withdrawn[next(iter(self._withdrawn))]
        self._last_end_ms = max(self._last_end_ms, segment.end_ms)
        if had_ended:
            return []
        withdrawn_text = "" if interim is None else shown_text(interim)
        ended = SpeechEnded(
            segment_id=segment.id, end_ms=segment.end_ms, is_withdrawn=True, withdrawn_text=withdrawn_text
        )
        if interim is None and (segment.is_owed or reason is not None):
            end_ms = segment.end_ms if segment.end_ms > segment.start_ms else None
            return [ended, Unheard(segment.start_ms, end_ms, reason or OVERDUE)]
        return [ended]

    def _bound_messages(self, events: list[CodecEvent]) -> None:
        """Withdraw the oldest open segments while the messages of all but the newest are too large."""
        kept_chars = 0
        for segment in reversed(list(self._open.values())):
            if segment is self._newest or segment.interim_result is None:
                continue
            kept_chars += len(segment.interim_result.raw)
            if kept_chars > MAX_REMEMBERED_CHARS:
                events += self._withdraw(segment)

    def _forget_oldest(self) -> None:
        oldest = self._finals.pop(next(iter(self._finals)))
        self._finals_chars -= len(oldest.text)
        if isinstance(oldest.key, int) and oldest.key > self._forgotten_until:
            self._forgotten_until = oldest.key
