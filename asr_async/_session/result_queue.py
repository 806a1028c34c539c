"""The queue between the receiving of results and the caller, and the watch over a caller that is slow.

The queue keeps every final, and conflates interims. Putting an event never waits and drops nothing. It is bounded in
count and in bytes, in three steps, by what the session does about a queue that fills up (`ConsumerWatch`):

    full              no more audio is sent: a caller that stops iterating stops the source
    twice as full     the connection is not read, which holds the vendor back; only a little now and then, so that pings
                      are answered and the vendor keeps the connection
    thrice as full    the connection is not read at all

Events that are no results may arrive before it is known whether the caller wants them. They are held in their place
until `settle` decides. Until then they do not take the room of results; their texts count.

A vendor that sends no more results than speech needs never gets beyond the first step, since it has no more audio.

Does not know what fills or empties the queue, nor connections: reading is paused and resumed by functions.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from .._loop.event import LightEvent
from ..errors import DeadlineError, LocalProtocolError
from ..results import Event, Result, SpeechEnded, TranslationArrived

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from ..errors import ASRError
    from ..results import Translation

__all__ = ["ConsumerWatch", "ResultQueue", "event_bytes"]

MAX_WAITING = 1_000
"""The finals and events that may wait for the caller before the source is stopped: well over an hour of speech."""

MAX_WAITING_BYTES = 2 * 1024 * 1024
"""Their size, by `event_bytes`; a thousand finals of ten words with times have 1 to 2 MiB."""

MAX_HELD = 4_000
"""The events that may be held beside them: a start and an end for each of the finals, and as many again."""

READING_PAUSES_AT = 2.0
READING_STOPS_AT = 3.0
"""The `fullness` from which on the connection is read rarely, and from which on it is not read at all."""

CHECKS_PER_DEADLINE = 4
"""The number of times in `Timeouts.idle` at which the connection is read although the queue is too full. The vendors'
servers wait longer for the answer to a ping than a quarter of the default, 5 s."""

EVENT_BYTES = 256
WORD_BYTES = 160
"""The size of an event, and of a word with its times, besides the texts that are counted."""


def event_bytes(event: Event) -> int:
    """Return the size of an event in memory, as far as the vendor decides it."""
    if type(event) is Result:
        size = EVENT_BYTES + sys.getsizeof(event.raw or event.text) + WORD_BYTES * len(event.words)
        return size + _translation_bytes(event.translations.values()) if event.translations else size
    if isinstance(event, TranslationArrived):
        return EVENT_BYTES + _translation_bytes((event.translation,))
    if isinstance(event, SpeechEnded):
        return EVENT_BYTES + len(event.withdrawn_text)
    return EVENT_BYTES


def _translation_bytes(translations: Iterable[Translation]) -> int:
    return sum(
        EVENT_BYTES + sys.getsizeof(translation.text) + WORD_BYTES * len(translation.words)
        for translation in translations
    )


class ResultQueue:
    """A bounded queue of events that keeps only the newest interim of each segment.

    It has one end, which is delivered behind the last event.
    """

    __slots__ = (
        "_error",
        "_held",
        "_is_awaited",
        "_is_closed",
        "_is_exhausted",
        "_max_bytes",
        "_max_waiting",
        "_next_key",
        "_not_empty",
        "_traceback",
        "_waiting",
        "_waiting_bytes",
        "conflated",
        "is_overfull",
        "on_overfull",
        "on_relief",
        "put_bytes",
        "room",
        "taken",
    )

    def __init__(self, max_waiting: int = MAX_WAITING, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        # in order; an interim by the id of its segment, all other events by negative numbers, which are never looked up
        self._waiting: dict[int, Event] = {}
        self._waiting_bytes = 0
        self._next_key = -1
        # the number of the events that are held
        self._held = 0
        self._not_empty = LightEvent()
        self.room = LightEvent()
        """Set while there is room for the results of new audio."""
        self.room.set()
        self._is_closed = False
        self._error: BaseException | None = None
        # that of the error when it was set: each raise would lengthen it
        self._traceback: TracebackType | None = None
        # a task waits for an event; the caller has received the normal end
        self._is_awaited = False
        self._is_exhausted = False
        self.conflated = 0
        """The interims that a newer result replaced before the caller took them."""
        self.taken = 0
        """The number of events that the caller took."""
        self.put_bytes = 0
        """The size of all events that were put since this was last set to 0."""
        self.is_overfull = False
        """True if the connection should not be read."""
        self.on_overfull: Callable[[], None] | None = None
        """Called at each event that is put while the queue is overfull."""
        self.on_relief: Callable[[], None] | None = None
        """Called when the queue is no longer overfull."""

    def __repr__(self) -> str:
        return f"<ResultQueue {len(self)} waiting{', closed' if self._is_closed else ''}>"

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def fullness(self) -> float:
        """The part of the bounds that is used: from 1.0 on there is no room for the results of new audio."""
        held = self._held
        return max(
            (len(self._waiting) - held) / self._max_waiting, held / MAX_HELD, self._waiting_bytes / self._max_bytes
        )

    def put(self, event: Event) -> None:
        """Add an event; an interim replaces the one of its segment, a final removes it."""
        waiting = self._waiting
        size = event_bytes(event)
        if type(event) is Result:
            if waiting and (replaced := waiting.pop(event.segment_id, None)) is not None:
                self.conflated += 1
                self._waiting_bytes -= event_bytes(replaced)
            key = self._next_key if event.is_final else event.segment_id
        else:
            key = self._next_key
        waiting[key] = event
        if key < 0:
            self._next_key -= 1
        self._waiting_bytes += size
        self.put_bytes += size
        if len(waiting) - self._held >= self._max_waiting or self._waiting_bytes >= self._max_bytes:
            self._fill()
        self._not_empty.set()

    def hold(self, event: Event) -> None:
        """Add an event that is no result, before it is known whether the caller wants it."""
        size = event_bytes(event)
        self._waiting[self._next_key] = event
        self._next_key -= 1
        self._held += 1
        self._waiting_bytes += size - EVENT_BYTES
        self.put_bytes += size
        if self._held >= MAX_HELD or self._waiting_bytes >= self._max_bytes:
            self._fill()

    def replace(self, event: Event | None, newer_event: Event) -> None:
        """Replace an event that waits behind the end of the session; without one, add the newer one there.

        Nothing happens if the caller has received the event, or the end.
        """
        if self._is_exhausted:
            return
        if event is None:
            self.put(newer_event)
            return
        for key, waiting in self._waiting.items():
            if waiting is event:
                self._waiting[key] = newer_event
                return

    def settle(self, *, wants_events: bool) -> list[Event]:
        """Decide about the events that are held: remove and return them if the caller does not want them."""
        self._held = 0
        removed: list[Event] = []
        if not wants_events:
            removed = [event for event in self._waiting.values() if not isinstance(event, Result)]
            self._waiting = {key: event for key, event in self._waiting.items() if isinstance(event, Result)}
        self._waiting_bytes = sum(map(event_bytes, self._waiting.values()))
        if self.fullness >= 1:
            self._fill()
        else:
            self._make_room()
        return removed

    def _fill(self) -> None:
        if self._is_closed:
            return
        self.room.clear()
        if self.fullness >= READING_PAUSES_AT:
            self.is_overfull = True
            if self.on_overfull is not None:
                self.on_overfull()

    def close(self, error: BaseException | None = None) -> None:
        """Set the end, normal or an error that is raised behind the last event. Only the first call counts."""
        if not self._is_closed:
            self._is_closed = True
            self._error = error
            self._traceback = None if error is None else error.__traceback__
            self._not_empty.set()
            self.room.set()

    async def get(self) -> Event:
        """Remove the oldest event and return it.

        Raises:
            StopAsyncIteration: the queue is empty and its end is normal.
            LocalProtocolError: another task waits for an event already, or the normal end was raised before.
            BaseException: the queue is empty and this error is its end; again at every further call.
        """
        if self._is_awaited:
            self.check_not_awaited()
        while not self._waiting:
            if self._is_closed:
                raise self._end()
            self._not_empty.clear()
            self._is_awaited = True
            try:
                await self._not_empty.wait()
            finally:
                self._is_awaited = False
        waiting = self._waiting
        event = waiting.pop(next(iter(waiting)))
        self._waiting_bytes = self._waiting_bytes - event_bytes(event) if waiting else 0
        self.taken += 1
        if not self.room.is_set():
            self._make_room()
        return event

    def _make_room(self) -> None:
        fullness = self.fullness
        if fullness < 1:
            self.room.set()
        if self.is_overfull and fullness < READING_PAUSES_AT:
            self.is_overfull = False
            if self.on_relief is not None:
                self.on_relief()

    def check_not_awaited(self) -> None:
        """Refuse a second consumer.

        Raises:
            LocalProtocolError: a task waits for an event.
        """
        if self._is_awaited:
            raise LocalProtocolError(
                "another task iterates the results of this session, and each result goes to one of them only: iterate "
                "in one task, and pass the results on from there"
            )

    def _end(self) -> BaseException:
        """Return the exception that ends the caller's loop."""
        if self._error is not None:
            return self._error.with_traceback(self._traceback)
        if self._is_exhausted:
            return LocalProtocolError(
                "all results of this session have been iterated: keep them, [result async for result in ...], or make "
                "another session with client.session(...)"
            )
        self._is_exhausted = True
        return StopAsyncIteration()

    async def wait_for_room(self) -> None:
        """Return when there is room for the results of new audio; at once if there is."""
        await self.room.wait()

    @property
    def has_room(self) -> bool:
        """True if `wait_for_room` would return at once."""
        return self.room.is_set()


class ConsumerWatch:
    """Holds the vendor back while too much waits for the caller, and ends a session if that does not help.

    A caller that is slow, but reads results, is waited for. One that reads none for `Timeouts.idle` ends the session,
    and so does a vendor that sends results without end which cover no new audio.
    """

    __slots__ = (
        "_checks",
        "_end",
        "_idle_s",
        "_pause_reading",
        "_queue",
        "_resume_reading",
        "_still_checks",
        "_taken",
        "_timer",
        "room",
    )

    def __init__(
        self,
        queue: ResultQueue,
        *,
        idle_s: float,
        pause_reading: Callable[[], None],
        resume_reading: Callable[[], None],
        end: Callable[[ASRError], None],
    ) -> None:
        """Watch a queue.

        Args:
            queue: the queue. The receiver sets its `put_bytes` to 0 at each result that covers new audio.
            idle_s: `Timeouts.idle`.
            pause_reading: leaves the vendor's messages in the network.
            resume_reading: reads them again.
            end: ends the session with an error.
        """
        self._queue = queue
        self.room = queue.room
        """Set while there is room for the results of new audio."""
        self._idle_s = idle_s
        self._pause_reading = pause_reading
        self._resume_reading = resume_reading
        self._end = end
        # the next check, from the instant on at which the queue is overfull until it has room again
        self._timer: asyncio.TimerHandle | None = None
        self._checks = 0
        # the checks in a row between which the caller took nothing, and what it had taken then
        self._still_checks = 0
        self._taken = 0
        queue.on_overfull = self._hold_back
        queue.on_relief = resume_reading

    def __repr__(self) -> str:
        return f"<ConsumerWatch {self._queue!r}{' holding the vendor back' if self.is_holding_back else ''}>"

    @property
    def is_holding_back(self) -> bool:
        """True if the vendor is, or was a moment ago, held back: what it has sent may not have been read."""
        return self._timer is not None

    @property
    def is_flooded(self) -> bool:
        """True if more results than may wait have arrived since the last one that covered new audio."""
        return self._queue.put_bytes > MAX_WAITING_BYTES

    def stop(self) -> None:
        """Stop watching: the session has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def wait_for_room(self) -> None:
        """Return when there is room for the results of new audio.

        Raises:
            DeadlineError: there is no use in waiting.
        """
        queue = self._queue
        while not queue.has_room:
            taken = queue.taken
            try:
                async with asyncio.timeout(self._idle_s):
                    await queue.wait_for_room()
            except TimeoutError:
                self._raise_if_useless(is_still=queue.taken == taken)

    def _raise_if_useless(self, *, is_still: bool) -> None:
        if is_still:
            raise DeadlineError(
                f"{len(self._queue)} results have not been read for {self._idle_s:g} s (Timeouts.idle): "
                "iterate the results while sending"
            )
        if self.is_flooded:
            raise DeadlineError(
                f"the vendor sends results without end that cover no new audio: {len(self._queue)} wait to be read, "
                f"and for {self._idle_s:g} s (Timeouts.idle) there was no room for others"
            )

    def _hold_back(self) -> None:
        self._pause_reading()
        if self._timer is None:
            self._checks = self._still_checks = 0
            self._taken = self._queue.taken
            self._plan_check()

    def _plan_check(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._idle_s / CHECKS_PER_DEADLINE, self._check)

    def _check(self) -> None:
        """End a useless wait, or read a little: a vendor's ping may be among its messages."""
        self._timer = None
        queue = self._queue
        if queue.has_room:
            return
        self._checks += 1
        self._still_checks = self._still_checks + 1 if queue.taken == self._taken else 0
        self._taken = queue.taken
        try:
            if self._checks >= CHECKS_PER_DEADLINE:
                self._raise_if_useless(is_still=self._still_checks >= CHECKS_PER_DEADLINE and queue.is_overfull)
        except DeadlineError as error:
            self._end(error)
            return
        self._plan_check()
        if queue.fullness < READING_STOPS_AT:
            self._resume_reading()
