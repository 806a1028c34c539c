"""Sessions against the emulator: what comes out, in which order, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asr_async import (
    Client,
    ConfigurationError,
    DashScope,
    DeadlineError,
    Event,
    Local,
    LocalProtocolError,
    Paraformer,
    Result,
    Session,
    SpeechEnded,
    SpeechStarted,
    Timeouts,
    connect,
    read_audio,
    transcribe,
)
from asr_async.emulator import Hypothesis, Request, Scripted, serve

from .support.virtual_time import VirtualLoop, now, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable

    from asr_async.emulator.engines.engine import Emit
    from asr_async.vendors.service import Service

pytestmark = pytest.mark.both_loops

SECOND = bytes(32_000)
SCRIPT = [("hello there my friend", 100, 900), ("and good bye", 1_200, 1_900)]
TEXTS = [text for text, _, _ in SCRIPT]
HELLO = Scripted(SCRIPT)


def session(timeouts: Timeouts | None = None, engine: Any = HELLO) -> connect:
    return connect(Paraformer(), Local(engine=engine), timeouts=timeouts)


def finals(results: Iterable[Event]) -> list[str]:
    return [result.text for result in results if isinstance(result, Result) and result.is_final]


async def collect(open_session: Session, source: Any, **options: Any) -> list[Result]:
    return [result async for result in open_session.stream(source, **options)]


# --- what comes out --------------------------------------------------------------------------------------------------


async def test_a_stream_gives_interims_and_finals_in_order_and_ends() -> None:
    async with session() as open_session:
        results = await collect(open_session, [SECOND, SECOND], pace=None)
    assert finals(results) == TEXTS
    assert [result.segment_id for result in results] == sorted(result.segment_id for result in results)
    first = [result for result in results if result.segment_id == 0]
    assert [result.is_final for result in first] == [False] * (len(first) - 1) + [True]
    assert first[0].text == "hello"
    for result in results:
        assert all(result.start_ms <= word.start_ms <= word.end_ms <= result.end_ms for word in result.words)


async def test_events_stand_around_their_segments() -> None:
    async with session() as open_session:
        events = [event async for event in open_session.events([SECOND, SECOND], pace=None)]
    assert events[0] == SpeechStarted(segment_id=0, start_ms=100)
    ends = [number for number, event in enumerate(events) if isinstance(event, SpeechEnded)]
    assert [events[number] for number in ends] == [
        SpeechEnded(segment_id=0, end_ms=900),
        SpeechEnded(segment_id=1, end_ms=1_900),
    ]
    before = [events[number - 1] for number in ends]
    assert all(isinstance(event, Result) and event.is_final for event in before)


def test_a_stream_is_paced_to_real_time_by_a_schedule_that_does_not_drift() -> None:
    async def scenario() -> None:
        async with session() as open_session:
            began_at = now()
            await collect(open_session, [SECOND] * 50)
            assert now() - began_at == pytest.approx(49.9, abs=0.1)
            assert open_session.stats.pacer_lateness_max_ms < 50

    run_virtual(scenario)


@pytest.mark.parametrize("pace", [0.5, 4, 30, 300])
def test_a_pace_is_how_much_faster_than_real_time_a_stream_is_sent(pace: float) -> None:
    async def scenario() -> None:
        async with session() as open_session:
            began_at = now()
            await collect(open_session, [SECOND] * 60, pace=pace)
            assert now() - began_at == pytest.approx(59.9 / pace, abs=0.1)

    run_virtual(scenario)


def test_a_live_source_is_passed_through_without_added_delay() -> None:
    class Watched(Scripted):
        async def open(self, request: Request, emit: Emit) -> Any:
            recognition = await super().open(request, emit)
            feed = recognition.feed

            async def watched_feed(samples: bytes) -> None:
                arrived.append(now())
                await feed(samples)

            recognition.feed = watched_feed  # type: ignore[method-assign]
            return recognition

    arrived: list[float] = []
    spoken: list[float] = []

    async def microphone() -> AsyncIterator[bytes]:
        for _ in range(30):
            await asyncio.sleep(0.1)
            spoken.append(now())
            yield bytes(3_200)

    async def scenario() -> None:
        async with session(engine=Watched(SCRIPT)) as open_session:
            await collect(open_session, microphone())

    run_virtual(scenario)
    assert len(arrived) == len(spoken) == 30
    assert max(there - here for here, there in zip(spoken, arrived, strict=True)) < 0.01


class Talkative:
    """An engine that speaks by the clock, not by the audio."""

    def __init__(self, every_s: float, count: int, burst: int = 1) -> None:
        self.every_s, self.count, self.burst = every_s, count, burst
        self.fed_bytes = 0
        self.silent_ms = 0
        self.has_speech = True
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Talkative:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def open(self, request: Request, emit: Emit) -> Talkative:
        self._task = asyncio.create_task(self._talk(emit))
        return self

    async def _talk(self, emit: Emit) -> None:
        for number in range(self.count):
            if number % self.burst == 0:
                await asyncio.sleep(self.every_s)
            start_ms = 100 * number
            await emit(Hypothesis(text=f"tick {number}", is_final=True, start_ms=start_ms, end_ms=start_ms + 50))

    async def feed(self, samples: bytes) -> None:
        self.fed_bytes += len(samples)

    async def finish(self) -> None:
        assert self._task is not None
        await self._task

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


def test_a_source_that_goes_silent_delays_no_result() -> None:
    async def pausing() -> AsyncIterator[bytes]:
        yield SECOND
        await asyncio.sleep(3)
        yield SECOND

    async def scenario() -> list[float]:
        began_at, seen = now(), []
        async with session(engine=Talkative(0.5, 5)) as open_session:
            async for _ in open_session.stream(pausing(), pace=None):
                seen.append(now() - began_at)
        return seen

    assert run_virtual(scenario) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5], abs=0.02)


async def test_stats_are_a_snapshot_of_the_session() -> None:
    async with session() as open_session:
        assert open_session.stats.first_result_ms is None
        await collect(open_session, [SECOND, SECOND], pace=20)
        stats = open_session.stats
    assert stats.request_id
    assert stats.audio_sent_ms == 2_000
    assert stats.usage_seconds == 2
    assert stats.first_result_ms is not None
    assert stats.first_result_ms > 0
    assert (stats.finals_received, stats.interims_conflated) == (2, 0)


async def test_a_file_is_transcribed_whole(tmp_path: Any) -> None:
    path = tmp_path / "a.pcm"
    path.write_bytes(SECOND * 2)
    transcript = await transcribe(path, Paraformer(), Local(engine=HELLO))
    assert transcript.text == "hello there my friend and good bye"
    assert [result.text for result in transcript.results] == TEXTS
    assert (transcript.duration_ms, transcript.usage_seconds) == (2_000, 2)
    assert transcript.request_id == transcript.stats.request_id


async def test_one_client_holds_many_sessions_at_once() -> None:
    async with Client(Local(engine=HELLO)) as client:
        transcripts = await asyncio.gather(*(client.transcribe([SECOND, SECOND], Paraformer()) for _ in range(20)))
    assert {transcript.text for transcript in transcripts} == {" ".join(TEXTS)}
    assert len({transcript.request_id for transcript in transcripts}) == 20


async def test_the_repr_shows_model_state_and_request() -> None:
    async with session() as open_session:
        assert repr(open_session) == f"<Session paraformer-realtime-v2 open request {open_session.stats.request_id}>"
        await collect(open_session, [SECOND], pace=None)
        assert " ended " in repr(open_session)
    assert " closed " in repr(open_session)


# --- the push form ---------------------------------------------------------------------------------------------------


async def test_pushed_audio_is_recognised_and_finish_waits_for_the_confirmation() -> None:
    async with session() as open_session:
        for _ in range(20):
            await open_session.send(bytes(3_200))
        await open_session.finish()
        await open_session.finish()
        results = [result async for result in open_session]
    assert finals(results) == TEXTS


async def test_results_can_be_taken_while_another_task_pushes() -> None:
    async def push(open_session: Session) -> None:
        for _ in range(20):
            await open_session.send(bytearray(3_200))
        await open_session.finish()

    async with session() as open_session, asyncio.TaskGroup() as group:
        group.create_task(push(open_session))
        assert finals([result async for result in open_session]) == TEXTS


async def test_a_pushed_buffer_may_be_reused_at_once() -> None:
    engine = Talkative(0, 1)
    async with session(engine=engine) as open_session:
        buffer = bytearray(3_200)
        for _ in range(5):
            await open_session.send(buffer)
            buffer[:] = bytes(3_200)
        await open_session.finish()
    assert engine.fed_bytes == 16_000


async def test_pushing_after_finish_or_beside_a_stream_is_refused_by_name() -> None:
    async with session() as open_session:
        await open_session.send(SECOND)
        await open_session.finish()
        with pytest.raises(LocalProtocolError, match="cannot send audio: the session has ended"):
            await open_session.send(SECOND)
        with pytest.raises(
            LocalProtocolError,
            match="while the session is ended: open it with 'async with', and use it once",
        ):
            await collect(open_session, [SECOND])
    async with session() as open_session:
        async for _ in open_session.stream([SECOND, SECOND], pace=None):
            with pytest.raises(
                LocalProtocolError,
                match=r"while .* is \w+: push only into an open session, without stream\(\)",
            ):
                await open_session.send(SECOND)
            break


async def test_a_pushed_chunk_that_is_not_bytes_is_refused() -> None:
    async with session() as open_session:
        with pytest.raises(ConfigurationError, match="must be bytes, bytearray or memoryview, not int"):
            await open_session.send(5)  # type: ignore[arg-type]


# --- wrong use -------------------------------------------------------------------------------------------------------


async def test_a_session_is_opened_once_and_streams_once() -> None:
    async with Client(Local(engine=HELLO)) as client:
        once = client.session(Paraformer())
        async with once:
            await collect(once, [SECOND], pace=None)
            with pytest.raises(LocalProtocolError, match="use it once"):
                await collect(once, [SECOND])
        with pytest.raises(LocalProtocolError, match="cannot open while the session is closed: it is opened once"):
            await once.__aenter__()
    with pytest.raises(LocalProtocolError, match="the client is not open"):
        client.session(Paraformer())


@pytest.mark.parametrize("pace", [0, -1.0])
async def test_a_pace_that_is_not_positive_is_refused(pace: float) -> None:
    async with session() as open_session:
        with pytest.raises(ConfigurationError, match=r"a positive number .* or None"):
            open_session.stream([SECOND], pace=pace)


@pytest.mark.parametrize("value", [0, -1, "10"])
def test_a_timeout_that_is_no_positive_number_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Timeouts\(start=.*must be a positive number of seconds"):
        Timeouts(start=value)


async def test_a_path_instead_of_a_source_is_refused_with_what_to_write() -> None:
    async with session() as open_session:
        with pytest.raises(ConfigurationError, match=r"not a path: use read_audio\('a.wav'\)"):
            await collect(open_session, "a.wav")


# --- the caller's trouble --------------------------------------------------------------------------------------------


class MicrophoneUnpluggedError(Exception):
    """The caller's own."""


async def test_what_the_source_raises_comes_bare_after_everything_that_was_recognised() -> None:
    error = MicrophoneUnpluggedError("gone")

    async def failing() -> AsyncIterator[bytes]:
        yield SECOND
        raise error

    results = []
    async with session() as open_session:
        with pytest.raises(MicrophoneUnpluggedError) as caught:
            async for result in open_session.stream(failing(), pace=None):
                results.append(result)
    assert caught.value is error
    assert finals(results) == TEXTS[:1]


async def test_a_source_that_fails_before_its_first_audio_ends_the_stream_at_once(tmp_path: Any) -> None:
    async with session() as open_session:
        with pytest.raises(FileNotFoundError):
            await collect(open_session, read_audio(tmp_path / "none.wav"))


async def test_a_source_that_is_cancelled_from_outside_is_an_error_not_an_end() -> None:
    async def cancelled() -> AsyncIterator[bytes]:
        yield SECOND
        raise asyncio.CancelledError

    async with session() as open_session:
        with pytest.raises(LocalProtocolError, match="the audio source was cancelled before its end"):
            await collect(open_session, cancelled(), pace=None)


async def test_a_chunk_that_is_not_bytes_reaches_the_caller() -> None:
    async with session() as open_session:
        with pytest.raises(ConfigurationError, match="not str"):
            await collect(open_session, [SECOND, "text"], pace=None)


async def test_leaving_the_loop_early_closes_the_source_and_everything_else() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield SECOND
        finally:
            closed.set()

    async with session() as open_session:
        async for _ in open_session.stream(endless(), pace=None):
            break
    assert closed.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_session_may_be_opened_in_one_task_and_left_in_another() -> None:
    # as the fixtures of test frameworks and the dependencies of web frameworks do
    opening = session()
    open_session = await asyncio.create_task(opening.__aenter__())
    assert finals(await collect(open_session, [SECOND, SECOND], pace=None)) == TEXTS
    await asyncio.create_task(opening.__aexit__())
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_the_body_raises_comes_bare() -> None:
    with pytest.raises(MicrophoneUnpluggedError):
        async with session() as open_session:
            async for _ in open_session.stream([SECOND] * 5, pace=None):
                raise MicrophoneUnpluggedError


def test_a_consumer_that_stops_reading_for_ten_seconds_loses_no_final_and_stops_nobody() -> None:
    script = [(f"segment number {n}", 1_000 * n, 1_000 * n + 900) for n in range(20)]

    async def scenario() -> None:
        async with session(engine=Scripted(script)) as open_session:
            stream = open_session.stream([SECOND] * 20)
            results = [await anext(stream)]
            await asyncio.sleep(10)
            sent_ms = open_session.stats.audio_sent_ms
            assert sent_ms is not None
            assert sent_ms >= 10_000  # sending went on meanwhile
            results += [result async for result in stream]
            assert finals(results) == [text for text, _, _ in script]
            assert open_session.stats.interims_conflated > 20
            assert len(results) + open_session.stats.interims_conflated == open_session.stats.results_received

    run_virtual(scenario)


def test_results_that_nobody_takes_stop_the_source_at_a_bound_and_none_is_lost() -> None:
    async def scenario() -> None:
        engine = Talkative(0.05, 1_500, burst=50)
        async with session(engine=engine) as open_session:
            stream = open_session.stream((bytes(3_200) for _ in range(300)), pace=10)
            results = [await anext(stream)]
            await asyncio.sleep(5)
            stopped_at = engine.fed_bytes
            await asyncio.sleep(5)
            assert engine.fed_bytes == stopped_at
            assert stopped_at < 150 * 3_200
            results += [result async for result in stream]
            assert engine.fed_bytes == 300 * 3_200
            assert len(finals(results)) == 1_500

    run_virtual(scenario)


def test_results_that_are_never_taken_end_the_session_with_the_reason() -> None:
    async def scenario() -> None:
        async with session(engine=Talkative(0.05, 1_200, burst=100)) as open_session:
            with pytest.raises(DeadlineError, match=r"results wait to be taken, for 20 s now .*while sending"):
                for _ in range(1_000):
                    await open_session.send(bytes(3_200))
                    await asyncio.sleep(0.05)
            assert len([result async for result in _until_error(open_session)]) >= 1_000

    run_virtual(scenario)


async def _until_error(open_session: Session) -> AsyncIterator[Result]:
    try:
        async for result in open_session:
            yield result
    except DeadlineError:
        return


# --- cancel and aclose -----------------------------------------------------------------------------------------------


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(3_200)
        await asyncio.sleep(0.01)


async def test_cancel_ends_the_loop_normally_with_what_is_there() -> None:
    async with session() as open_session:
        results = []
        async for result in open_session.stream(endless(), pace=None):
            results.append(result)
            if result.is_final:
                await open_session.cancel()
                await open_session.cancel()
    assert finals(results)[:1] == TEXTS[:1]


async def test_aclose_from_another_task_is_an_error_for_a_loop_that_still_waits() -> None:
    async def consume(open_session: Session) -> None:
        async for _ in open_session.stream(endless(), pace=None):
            pass

    async with session() as open_session:
        consumer = asyncio.create_task(consume(open_session))
        await asyncio.sleep(0)
        await open_session.aclose()
        await open_session.aclose()
        with pytest.raises(LocalProtocolError, match="closed before the vendor confirmed the end"):
            await consumer


async def test_a_source_may_close_its_own_session() -> None:
    async with session() as open_session:

        async def suicidal() -> AsyncIterator[bytes]:
            yield SECOND
            await open_session.aclose()

        with pytest.raises(LocalProtocolError, match="closed before"):
            await collect(open_session, suicidal(), pace=None)


# --- cancellation at any await ---------------------------------------------------------------------------------------


def run_checked(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run under a virtual clock; fail on any task left, any unretrieved exception, any unclosed resource."""
    complaints: list[dict[str, Any]] = []

    async def checked() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        await scenario()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(checked())
        gc.collect()
    assert complaints == []


async def cancel_after_steps(work: Coroutine[Any, Any, None], steps: int) -> bool:
    """Cancel a coroutine after so many turns of the loop; whether it was still running."""
    task = asyncio.create_task(work)
    for _ in range(steps):
        await asyncio.sleep(0)
        if task.done():
            break
    was_running = task.cancel()
    await asyncio.wait([task])
    if was_running:
        assert task.cancelled(), "a cancellation was swallowed"
    elif not task.cancelled():
        task.result()
    return was_running


async def whole_session(service: Service, pushing: bool) -> None:
    async with connect(Paraformer(), service) as open_session:
        if pushing:
            for _ in range(10):
                await open_session.send(bytes(3_200))
            await open_session.finish()
            assert finals([result async for result in open_session])
        else:
            await collect(open_session, [bytes(3_200)] * 10, pace=None)


@pytest.mark.parametrize(("pushing", "local"), [(False, False), (True, False), (True, True)])
def test_cancelled_at_any_turn_of_the_loop_a_session_leaves_nothing_behind(pushing: bool, local: bool) -> None:
    steps, was_running = 0, True
    while was_running and steps < 2_000:

        async def scenario(steps: int = steps) -> None:
            nonlocal was_running
            async with serve(engine=HELLO) as emulator:
                remote = DashScope("sk-test", endpoint=emulator.dashscope_url)
                service = Local(engine=HELLO) if local else remote
                was_running = await cancel_after_steps(whole_session(service, pushing), steps)

        run_checked(scenario)
        steps += 1 if steps < 60 else 7
    assert steps > 25


def test_a_cancelled_scope_around_a_session_is_left_in_time_and_clean() -> None:
    async def scenario() -> None:
        began_at = now()
        with anyio.move_on_after(1.0) as scope:
            async with session() as open_session:
                await collect(open_session, [SECOND] * 60)
        assert scope.cancelled_caught
        assert now() - began_at == pytest.approx(1.0, abs=0.05)

    run_checked(scenario)
