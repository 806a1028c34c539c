"""The result queue: it keeps finals, conflates interims, delivers its end last, and is bounded."""

from __future__ import annotations

import asyncio

import pytest

from asr_async import (
    ASRError,
    DeadlineError,
    Event,
    LocalProtocolError,
    Result,
    SpeechEnded,
    SpeechStarted,
    Translation,
    TranslationArrived,
    Word,
)
from asr_async._session.result_queue import MAX_HELD, MAX_WAITING_BYTES, ConsumerWatch, ResultQueue, event_bytes

from ..support.virtual_time import now, run_virtual

WORD = Word(text="word", start_ms=0, end_ms=1)


def result(segment_id: int, text: str, *, final: bool = False) -> Result:
    return Result(text=text, is_final=final, segment_id=segment_id, start_ms=0, end_ms=1)


async def get_all(queue: ResultQueue) -> list[Event]:
    events = []
    while True:
        try:
            events.append(await queue.get())
        except StopAsyncIteration:
            return events


async def test_a_newer_interim_replaces_that_of_its_segment_and_a_final_removes_it() -> None:
    queue = ResultQueue()
    for event in (
        result(0, "a"),
        result(0, "ab"),
        result(0, "abc", final=True),
        SpeechEnded(segment_id=0, end_ms=1),
        result(1, "d"),
        result(1, "de"),
    ):
        queue.put(event)
    queue.close()
    events = await get_all(queue)
    assert [event.text if isinstance(event, Result) else "ended" for event in events] == ["abc", "ended", "de"]
    assert queue.conflated == 3


async def test_interims_of_different_segments_are_all_kept() -> None:
    queue = ResultQueue()
    queue.put(result(0, "a"))
    queue.put(result(1, "b"))
    queue.close()
    assert len(await get_all(queue)) == 2
    assert queue.conflated == 0


async def test_the_end_follows_all_events_and_only_the_first_end_counts() -> None:
    queue = ResultQueue()
    queue.put(result(0, "a", final=True))
    queue.close(ValueError("first"))
    queue.close(None)
    assert isinstance(await queue.get(), Result)
    for _ in range(2):
        with pytest.raises(ValueError, match="first"):
            await queue.get()


async def test_a_waiting_caller_receives_an_event_and_the_end() -> None:
    queue = ResultQueue()
    waiting_task = asyncio.create_task(get_all(queue))
    await asyncio.sleep(0)
    queue.put(result(0, "a"))
    await asyncio.sleep(0)
    queue.close()
    assert len(await waiting_task) == 1


async def test_a_caller_that_is_cancelled_while_it_waits_loses_no_event() -> None:
    queue = ResultQueue()
    waiting_task = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(result(0, "a", final=True))
    waiting_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting_task
    assert len(queue) == 1


async def test_there_is_room_below_the_bound_only() -> None:
    queue = ResultQueue(max_waiting=2)
    room = []
    for number in range(2):
        queue.put(result(number, "a", final=True))
        room.append(queue.has_room)
    assert room == [True, False]
    waiting_task = asyncio.create_task(queue.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting_task.done()
    await queue.get()
    await asyncio.wait_for(waiting_task, 1)


async def test_there_is_no_wait_for_room_after_the_end() -> None:
    queue = ResultQueue(max_waiting=1)
    queue.put(result(0, "a", final=True))
    queue.close()
    await queue.wait_for_room()


# --- bytes -----------------------------------------------------------------------------------------------------------


def translated(text: str) -> Translation:
    return Translation(text=text, is_final=True, start_ms=0, end_ms=1, words=(WORD,) * 10)


@pytest.mark.parametrize(
    ("event", "least", "most"),
    [
        (result(0, "x" * 10_000), 10_000, 11_000),
        (result(0, "你" * 10_000), 20_000, 21_000),
        (result(0, "x" * 9_999 + "😀"), 40_000, 41_000),
        (Result(text="a", is_final=True, segment_id=0, start_ms=0, end_ms=1, raw="x" * 10_000), 10_000, 11_000),
        (Result(text="", is_final=True, segment_id=0, start_ms=0, end_ms=1, words=(WORD,) * 1_000), 100_000, 200_000),
        (
            Result(
                text="",
                is_final=True,
                segment_id=0,
                start_ms=0,
                end_ms=1,
                translations={language: translated("x" * 5_000) for language in ("en", "ja")},
            ),
            10_000,
            15_000,
        ),
        (TranslationArrived(segment_id=0, language="en", translation=translated("x" * 10_000)), 10_000, 13_000),
        (SpeechEnded(segment_id=0, end_ms=1, is_withdrawn=True, withdrawn_text="x" * 10_000), 10_000, 11_000),
        (SpeechStarted(segment_id=0, start_ms=1), 32, 1_000),
    ],
)
def test_the_size_of_an_event_contains_its_texts_words_and_translations(event: Event, least: int, most: int) -> None:
    assert least <= event_bytes(event) <= most


async def test_there_is_no_room_for_few_large_events() -> None:
    queue = ResultQueue(max_bytes=100_000)
    numbers = iter(range(1_000))
    while queue.has_room:
        queue.put(result(next(numbers), "x" * 20_000, final=True))
    assert len(queue) == 5
    await queue.get()
    assert queue.has_room


async def test_the_size_of_conflated_interims_is_that_of_the_newest() -> None:
    queue = ResultQueue(max_bytes=100_000)
    for size in (90_000, 80_000, 70_000, 10):
        queue.put(result(0, "x" * size))
    assert queue.has_room
    queue.put(result(0, "x" * 90_000, final=True))
    assert queue.has_room
    await queue.get()
    assert queue.fullness == 0


# --- a slow caller ---------------------------------------------------------------------------------------------------

IDLE_S = 8.0
FULL = 4


class WatchedQueue:
    """A queue with room for four events, and a record of what its watch does."""

    def __init__(self) -> None:
        self.queue = ResultQueue(max_waiting=FULL)
        self.is_paused = False
        self.resumed_at: list[float] = []
        self.error: ASRError | None = None
        self.ended_at = 0.0
        self.watch = ConsumerWatch(
            self.queue, idle_s=IDLE_S, pause_reading=self._pause, resume_reading=self._resume, end=self._end
        )
        self._next_id = 0

    def put(self, count: int, *, text: str = "a") -> None:
        for _ in range(count):
            self.queue.put(result(self._next_id, text, final=True))
            self._next_id += 1

    def _pause(self) -> None:
        self.is_paused = True

    def _resume(self) -> None:
        self.is_paused = False
        self.resumed_at.append(now())

    def _end(self, error: ASRError) -> None:
        self.error, self.ended_at = error, now()
        self.queue.close(error)


def test_reading_pauses_at_twice_the_bound_and_resumes_below_it() -> None:
    async def scenario() -> None:
        watched = WatchedQueue()
        states = []
        for _ in range(2 * FULL):
            watched.put(1)
            states.append(watched.is_paused)
        assert states == [False] * (2 * FULL - 1) + [True]
        await watched.queue.get()
        assert not watched.is_paused
        assert watched.watch.is_holding_back, "until there is room again"
        watched.watch.stop()

    run_virtual(scenario)


def test_a_caller_that_takes_nothing_ends_the_session_after_the_idle_timeout() -> None:
    async def scenario() -> None:
        watched = WatchedQueue()
        await asyncio.sleep(100)
        watched.put(2 * FULL)
        await asyncio.sleep(100)
        assert isinstance(watched.error, DeadlineError)
        assert "8 results have not been read for 8 s (Timeouts.idle): iterate" in str(watched.error)
        assert watched.ended_at == 100 + IDLE_S
        assert len(watched.queue) == 2 * FULL, "nothing is dropped"

    run_virtual(scenario)


def test_a_caller_that_takes_nothing_does_not_end_a_session_below_twice_the_bound() -> None:
    """Pushed audio may be finished first, and its results iterated later."""

    async def scenario() -> None:
        watched = WatchedQueue()
        watched.put(2 * FULL - 1)
        await asyncio.sleep(1_000)
        assert watched.error is None
        assert not watched.is_paused

    run_virtual(scenario)


def test_a_caller_that_is_slow_is_waited_for_and_the_connection_is_read_now_and_then() -> None:
    """Each time one message too many arrives: at three times the bound nothing more is read."""

    async def scenario() -> None:
        watched = WatchedQueue()
        watched.put(2 * FULL)
        for _ in range(100):
            await asyncio.sleep(IDLE_S / 4 + 0.1)
            if not watched.is_paused:
                watched.put(1)
        assert isinstance(watched.error, DeadlineError)
        most = len(watched.queue)
        assert watched.resumed_at == [2.0, 4.0, 6.0]
        assert most == 2 * FULL + 3

        watched = WatchedQueue()
        watched.put(2 * FULL)
        for _ in range(100):
            await asyncio.sleep(IDLE_S - 1)
            watched.put(0 if watched.is_paused else 2)
            await watched.queue.get()
            assert len(watched.queue) <= 3 * FULL + 1
        assert watched.error is None
        watched.watch.stop()

    run_virtual(scenario)


def test_a_vendor_whose_results_cover_no_new_audio_ends_the_session_although_the_caller_takes_some() -> None:
    async def scenario(*, is_covered: bool) -> WatchedQueue:
        watched = WatchedQueue()
        for _ in range(60):
            while not watched.is_paused:
                watched.put(1, text="x" * (MAX_WAITING_BYTES // FULL))
            if is_covered:
                watched.queue.put_bytes = 0
            await asyncio.sleep(1)
            if watched.error is None:
                await watched.queue.get()
        watched.watch.stop()
        return watched

    watched = run_virtual(lambda: scenario(is_covered=False))
    assert isinstance(watched.error, DeadlineError)
    assert "the vendor sends results without end that cover no new audio" in str(watched.error)
    assert watched.ended_at == IDLE_S
    assert run_virtual(lambda: scenario(is_covered=True)).error is None


def test_waiting_for_room_ends_with_the_first_event_that_is_taken_or_with_an_error() -> None:
    async def scenario() -> None:
        watched = WatchedQueue()
        watched.put(FULL)
        waiting = asyncio.create_task(watched.watch.wait_for_room())
        await asyncio.sleep(IDLE_S - 1)
        await watched.queue.get()
        await waiting
        watched.put(1)
        began_at = now()
        with pytest.raises(DeadlineError, match="4 results have not been read for 8 s"):
            await watched.watch.wait_for_room()
        assert now() - began_at == IDLE_S

    run_virtual(scenario)


def test_the_repr_of_a_watch_shows_whether_it_holds_the_vendor_back() -> None:
    async def scenario() -> None:
        watched = WatchedQueue()
        assert repr(watched.watch) == "<ConsumerWatch <ResultQueue 0 waiting>>"
        watched.put(2 * FULL)
        assert repr(watched.watch) == "<ConsumerWatch <ResultQueue 8 waiting> holding the vendor back>"
        watched.watch.stop()

    run_virtual(scenario)


# --- events that are held, and the second consumer -------------------------------------------------------------------

ENDED = SpeechEnded(segment_id=0, end_ms=1)


async def test_events_that_are_held_keep_their_place_if_the_caller_wants_them() -> None:
    queue = ResultQueue()
    queue.hold(ENDED)
    queue.put(result(0, "a"))
    queue.hold(ENDED)
    assert queue.settle(wants_events=True) == []
    queue.close()
    assert [type(event) for event in await get_all(queue)] == [SpeechEnded, Result, SpeechEnded]


async def test_events_that_are_held_are_removed_if_the_caller_wants_results() -> None:
    queue = ResultQueue()
    queue.hold(ENDED)
    queue.put(result(0, "a"))
    assert queue.settle(wants_events=False) == [ENDED]
    queue.put(result(0, "ab"))
    assert queue.conflated == 1
    queue.close()
    assert await get_all(queue) == [result(0, "ab")]


def test_events_that_are_held_do_not_use_the_room_of_results_and_have_a_bound_of_their_own() -> None:
    queue = ResultQueue(max_waiting=2)
    for _ in range(MAX_HELD - 1):
        queue.hold(ENDED)
    room = []
    for change in (
        lambda: queue.put(result(0, "a", final=True)),
        lambda: queue.hold(ENDED),
        lambda: queue.settle(wants_events=False),
        lambda: queue.put(result(1, "a", final=True)),
        lambda: queue.settle(wants_events=True),
    ):
        change()
        room.append(queue.has_room)
    assert room == [True, False, True, False, False]


async def test_an_event_behind_the_end_is_replaced_while_it_waits() -> None:
    longer = SpeechEnded(segment_id=0, end_ms=2)
    queue = ResultQueue()
    queue.put(ENDED)
    queue.close()
    queue.replace(ENDED, longer)
    assert await queue.get() == longer
    queue.replace(longer, ENDED)
    queue.replace(None, ENDED)
    assert await get_all(queue) == [ENDED]
    queue.replace(None, ENDED)
    assert len(queue) == 0


async def test_a_second_task_that_waits_gets_an_error_and_the_first_its_event() -> None:
    queue = ResultQueue()
    first = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="another task iterates the results of this session"):
            await queue.get()
    queue.put(ENDED)
    with pytest.raises(LocalProtocolError, match="another task"):
        await queue.get()  # the event is the first task's, which has not run yet
    assert await first == ENDED
    queue.put(ENDED)
    assert await queue.get() == ENDED


async def test_a_step_behind_the_normal_end_is_an_error() -> None:
    queue = ResultQueue()
    queue.close()
    assert await get_all(queue) == []
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="all results of this session have been iterated"):
            await queue.get()


async def test_the_texts_of_events_that_are_held_take_room() -> None:
    queue = ResultQueue(max_bytes=100_000)
    withdrawn = SpeechEnded(segment_id=0, end_ms=1, is_withdrawn=True, withdrawn_text="x" * 60_000)
    room = []
    for _ in range(2):
        queue.hold(withdrawn)
        room.append(queue.has_room)
    queue.settle(wants_events=True)
    room.append(queue.has_room)
    assert await queue.get() == withdrawn
    room.append(queue.has_room)
    assert room == [True, False, False, True]
    queue.settle(wants_events=False)
    assert queue.fullness == 0
