"""Sessions with the emulator: their results and order, wrong use, errors of the caller, and a clean end."""

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

from .support.streaming import endless_silence
from .support.virtual_time import VirtualLoop, now, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator

    from asr_async.emulator.engines.engine import Emit
    from asr_async.vendors.service import Service

pytestmark = pytest.mark.both_loops

SECOND = bytes(32_000)
SCRIPT = [("hello there my friend", 100, 900), ("and good bye", 1_200, 1_900)]
TEXTS = [text for text, _, _ in SCRIPT]
HELLO = Scripted(SCRIPT)


def local_session(timeouts: Timeouts | None = None, engine: Any = HELLO) -> connect:
    return connect(Paraformer(), Local(engine=engine), timeouts=timeouts)


def texts_of_finals(results: Iterable[Event]) -> list[str]:
    return [result.text for result in results if isinstance(result, Result) and result.is_final]


async def collect_results(session: Session, source: Any, **options: Any) -> list[Result]:
    return [result async for result in session.stream(source, **options)]


# --- results and events ----------------------------------------------------------------------------------------------


async def test_a_stream_yields_interims_and_finals_in_order_and_ends() -> None:
    async with local_session() as session:
        results = await collect_results(session, [SECOND, SECOND], pace=None)
    assert texts_of_finals(results) == TEXTS
    assert [result.segment_id for result in results] == sorted(result.segment_id for result in results)
    first = [result for result in results if result.segment_id == 0]
    assert [result.is_final for result in first] == [False] * (len(first) - 1) + [True]
    assert first[0].text == "hello"
    for result in results:
        assert all(result.start_ms <= word.start_ms <= word.end_ms <= result.end_ms for word in result.words)


async def test_events_mark_the_start_and_the_end_of_segments() -> None:
    async with local_session() as session:
        events = [event async for event in session.events([SECOND, SECOND], pace=None)]
    assert events[0] == SpeechStarted(segment_id=0, start_ms=100)
    end_indices = [index for index, event in enumerate(events) if isinstance(event, SpeechEnded)]
    assert [events[index] for index in end_indices] == [
        SpeechEnded(segment_id=0, end_ms=900),
        SpeechEnded(segment_id=1, end_ms=1_900),
    ]
    preceding = [events[index - 1] for index in end_indices]
    assert all(isinstance(event, Result) and event.is_final for event in preceding)


def test_a_stream_is_sent_in_real_time_without_drift() -> None:
    async def scenario() -> None:
        async with local_session() as session:
            started_at = now()
            await collect_results(session, [SECOND] * 50)
            assert now() - started_at == pytest.approx(49.9, abs=0.1)
            assert session.stats.pacer_lateness_max_ms < 50

    run_virtual(scenario)


@pytest.mark.parametrize("pace", [0.5, 4, 30, 300])
def test_the_pace_is_a_multiple_of_real_time(pace: float) -> None:
    async def scenario() -> None:
        async with local_session() as session:
            started_at = now()
            await collect_results(session, [SECOND] * 60, pace=pace)
            assert now() - started_at == pytest.approx(59.9 / pace, abs=0.1)

    run_virtual(scenario)


def test_a_live_source_is_sent_without_delay() -> None:
    class RecordingEngine(Scripted):
        async def open(self, request: Request, emit: Emit) -> Any:
            recognition = await super().open(request, emit)
            feed = recognition.feed

            async def record_and_feed(samples: bytes) -> None:
                received_at.append(now())
                await feed(samples)

            recognition.feed = record_and_feed  # type: ignore[method-assign]
            return recognition

    received_at: list[float] = []
    yielded_at: list[float] = []

    async def microphone() -> AsyncIterator[bytes]:
        for _ in range(30):
            await asyncio.sleep(0.1)
            yielded_at.append(now())
            yield bytes(3_200)

    async def scenario() -> None:
        async with local_session(engine=RecordingEngine(SCRIPT)) as session:
            await collect_results(session, microphone())

    run_virtual(scenario)
    assert len(received_at) == len(yielded_at) == 30
    assert max(later - earlier for earlier, later in zip(yielded_at, received_at, strict=True)) < 0.01


class ClockEngine:
    """An engine that emits finals by the clock, whatever the audio."""

    def __init__(self, every_s: float, count: int, burst: int = 1) -> None:
        self.every_s, self.count, self.burst = every_s, count, burst
        self.fed_bytes = 0
        self.silent_ms = 0
        self.has_speech = True
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ClockEngine:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def open(self, request: Request, emit: Emit) -> ClockEngine:
        self._task = asyncio.create_task(self._emit_finals(emit))
        return self

    async def _emit_finals(self, emit: Emit) -> None:
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


def test_a_source_that_pauses_does_not_delay_results() -> None:
    async def pausing() -> AsyncIterator[bytes]:
        yield SECOND
        await asyncio.sleep(3)
        yield SECOND

    async def scenario() -> list[float]:
        started_at, results_at = now(), []
        async with local_session(engine=ClockEngine(0.5, 5)) as session:
            async for _ in session.stream(pausing(), pace=None):
                results_at.append(now() - started_at)
        return results_at

    assert run_virtual(scenario) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5], abs=0.02)


async def test_stats_are_a_snapshot_of_the_session() -> None:
    async with local_session() as session:
        assert session.stats.first_result_ms is None
        await collect_results(session, [SECOND, SECOND], pace=20)
        stats = session.stats
    assert stats.request_id
    assert stats.audio_sent_ms == 2_000
    assert stats.usage_seconds == 2
    assert stats.first_result_ms is not None
    assert stats.first_result_ms > 0
    assert (stats.finals_received, stats.interims_conflated) == (2, 0)


async def test_a_file_is_transcribed_completely(tmp_path: Any) -> None:
    path = tmp_path / "a.pcm"
    path.write_bytes(SECOND * 2)
    transcript = await transcribe(path, Paraformer(), Local(engine=HELLO))
    assert transcript.text == "hello there my friend and good bye"
    assert [result.text for result in transcript.results] == TEXTS
    assert (transcript.duration_ms, transcript.usage_seconds) == (2_000, 2)
    assert transcript.request_id == transcript.stats.request_id


async def test_a_client_runs_many_sessions_at_once() -> None:
    async with Client(Local(engine=HELLO)) as client:
        transcripts = await asyncio.gather(*(client.transcribe([SECOND, SECOND], Paraformer()) for _ in range(20)))
    assert {transcript.text for transcript in transcripts} == {" ".join(TEXTS)}
    assert len({transcript.request_id for transcript in transcripts}) == 20


async def test_the_repr_shows_model_state_and_request() -> None:
    async with local_session() as session:
        assert repr(session) == f"<Session paraformer-realtime-v2 open request {session.stats.request_id}>"
        await collect_results(session, [SECOND], pace=None)
        assert " ended " in repr(session)
    assert " closed " in repr(session)


# --- pushed audio ----------------------------------------------------------------------------------------------------


async def test_pushed_audio_is_recognised_and_finish_waits_for_the_confirmation() -> None:
    async with local_session() as session:
        for _ in range(20):
            await session.send(bytes(3_200))
        await session.finish()
        await session.finish()
        results = [result async for result in session]
    assert texts_of_finals(results) == TEXTS


async def test_results_can_be_read_while_another_task_pushes() -> None:
    async def push(session: Session) -> None:
        for _ in range(20):
            await session.send(bytearray(3_200))
        await session.finish()

    async with local_session() as session, asyncio.TaskGroup() as group:
        group.create_task(push(session))
        assert texts_of_finals([result async for result in session]) == TEXTS


async def test_a_pushed_buffer_may_be_reused_at_once() -> None:
    engine = ClockEngine(0, 1)
    async with local_session(engine=engine) as session:
        buffer = bytearray(3_200)
        for _ in range(5):
            await session.send(buffer)
            buffer[:] = bytes(3_200)
        await session.finish()
    assert engine.fed_bytes == 16_000


async def test_pushing_after_finish_or_during_a_stream_is_refused() -> None:
    async with local_session() as session:
        await session.send(SECOND)
        await session.finish()
        with pytest.raises(LocalProtocolError, match="cannot send audio: the session has ended"):
            await session.send(SECOND)
        with pytest.raises(
            LocalProtocolError,
            match="while the session is ended: open it with 'async with', and use it once",
        ):
            await collect_results(session, [SECOND])
    async with local_session() as session:
        async for _ in session.stream([SECOND, SECOND], pace=None):
            with pytest.raises(
                LocalProtocolError,
                match=r"while .* is \w+: push only into an open session, without stream\(\)",
            ):
                await session.send(SECOND)
            break


async def test_a_pushed_chunk_that_is_not_bytes_is_refused() -> None:
    async with local_session() as session:
        with pytest.raises(ConfigurationError, match=r"must be bytes, .* or an array of 16-bit samples, not int"):
            await session.send(5)  # type: ignore[arg-type]


# --- wrong use -------------------------------------------------------------------------------------------------------


async def test_a_session_can_be_opened_and_streamed_only_once() -> None:
    async with Client(Local(engine=HELLO)) as client:
        session = client.session(Paraformer())
        async with session:
            await collect_results(session, [SECOND], pace=None)
            with pytest.raises(LocalProtocolError, match="use it once"):
                await collect_results(session, [SECOND])
        with pytest.raises(LocalProtocolError, match="cannot open while the session is closed: it is opened once"):
            await session.__aenter__()
    with pytest.raises(LocalProtocolError, match="the client is not open"):
        client.session(Paraformer())


@pytest.mark.parametrize("pace", [0, -1.0])
async def test_a_pace_that_is_not_positive_is_refused(pace: float) -> None:
    async with local_session() as session:
        with pytest.raises(ConfigurationError, match=r"a positive number .* or None"):
            session.stream([SECOND], pace=pace)


@pytest.mark.parametrize("value", [0, -1, "10"])
def test_a_timeout_must_be_a_positive_number(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Timeouts\(start=.*must be a positive number of seconds"):
        Timeouts(start=value)


async def test_the_error_about_a_path_as_source_says_what_to_write() -> None:
    async with local_session() as session:
        with pytest.raises(ConfigurationError, match=r"not a path: use read_audio\('a.wav'\)"):
            await collect_results(session, "a.wav")


# --- errors and exits of the caller ----------------------------------------------------------------------------------


class MicrophoneUnpluggedError(Exception):
    """An exception of the caller's own code."""


async def test_an_exception_of_the_source_is_raised_unchanged_after_the_results() -> None:
    error = MicrophoneUnpluggedError("gone")

    async def failing() -> AsyncIterator[bytes]:
        yield SECOND
        raise error

    results = []
    async with local_session() as session:
        with pytest.raises(MicrophoneUnpluggedError) as caught:
            async for result in session.stream(failing(), pace=None):
                results.append(result)
    assert caught.value is error
    assert texts_of_finals(results) == TEXTS[:1]


async def test_a_source_that_fails_before_its_first_audio_ends_the_stream_at_once(tmp_path: Any) -> None:
    async with local_session() as session:
        with pytest.raises(FileNotFoundError):
            await collect_results(session, read_audio(tmp_path / "none.wav"))


async def test_a_cancelled_source_is_an_error_and_not_an_end() -> None:
    async def cancelled() -> AsyncIterator[bytes]:
        yield SECOND
        raise asyncio.CancelledError

    async with local_session() as session:
        with pytest.raises(LocalProtocolError, match="the audio source was cancelled before its end"):
            await collect_results(session, cancelled(), pace=None)


class Interrupted(BaseException):
    """An exception that is none of `Exception`, as test frameworks and other event loops have."""


@pytest.mark.parametrize("error_class", [GeneratorExit, Interrupted])
@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("after_chunks", [0, 1])
async def test_a_base_exception_of_the_source_is_raised_bare(
    error_class: type[BaseException], is_async: bool, after_chunks: int
) -> None:
    error = error_class("gone")

    def failing() -> Iterator[bytes]:
        for _ in range(after_chunks):
            yield SECOND
        raise error

    async def async_failing() -> AsyncIterator[bytes]:
        for _ in range(after_chunks):
            yield SECOND
        raise error

    with pytest.raises(error_class) as caught:
        async with local_session() as session:
            await collect_results(session, async_failing() if is_async else failing(), pace=None)
    assert caught.value is error


async def test_the_results_before_a_base_exception_of_the_source_are_delivered() -> None:
    recognised = asyncio.Event()

    async def failing() -> AsyncIterator[bytes]:
        yield SECOND
        yield SECOND
        await recognised.wait()
        raise GeneratorExit

    results = []
    async with local_session() as session:
        with pytest.raises(GeneratorExit):
            async for result in session.stream(failing(), pace=None):
                results.append(result)
                if result.is_final:
                    recognised.set()
    assert texts_of_finals(results)[:1] == TEXTS[:1]


class SourceThatFailsToClose:
    """A source with a given number of seconds."""

    def __init__(self, seconds: int) -> None:
        self._chunks = iter([SECOND] * seconds)

    def __iter__(self) -> SourceThatFailsToClose:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        raise MicrophoneUnpluggedError("not closed")


async def test_an_error_that_the_closing_of_the_source_raises_is_raised_bare() -> None:
    with pytest.raises(MicrophoneUnpluggedError, match="not closed"):
        async with local_session() as session:
            await collect_results(session, SourceThatFailsToClose(1), pace=None)


async def test_an_error_of_the_closing_behind_the_end_of_the_session_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with local_session() as session:
        async for _ in session.stream(SourceThatFailsToClose(1_000)):
            break
    assert "the source raised an error after the end of the session" in caplog.text
    assert "MicrophoneUnpluggedError: not closed" in caplog.text


async def test_a_chunk_that_is_not_bytes_is_refused() -> None:
    async with local_session() as session:
        with pytest.raises(ConfigurationError, match="not str"):
            await collect_results(session, [SECOND, "text"], pace=None)


async def test_leaving_the_loop_early_closes_the_source_and_ends_all_tasks() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield SECOND
        finally:
            closed.set()

    async with local_session() as session:
        async for _ in session.stream(endless(), pace=None):
            break
    assert closed.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_session_may_be_opened_in_one_task_and_closed_in_another() -> None:
    # fixtures of test frameworks and dependencies of web frameworks do this
    context = local_session()
    session = await asyncio.create_task(context.__aenter__())
    assert texts_of_finals(await collect_results(session, [SECOND, SECOND], pace=None)) == TEXTS
    await asyncio.create_task(context.__aexit__())
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_exception_of_the_body_is_raised_unchanged() -> None:
    with pytest.raises(MicrophoneUnpluggedError):
        async with local_session() as session:
            async for _ in session.stream([SECOND] * 5, pace=None):
                raise MicrophoneUnpluggedError


def test_a_caller_that_reads_nothing_for_ten_seconds_loses_no_final_and_does_not_stop_sending() -> None:
    script = [(f"segment number {n}", 1_000 * n, 1_000 * n + 900) for n in range(20)]

    async def scenario() -> None:
        async with local_session(engine=Scripted(script)) as session:
            stream = session.stream([SECOND] * 20)
            results = [await anext(stream)]
            await asyncio.sleep(10)
            sent_ms = session.stats.audio_sent_ms
            assert sent_ms is not None
            assert sent_ms >= 10_000  # sending continued
            results += [result async for result in stream]
            assert texts_of_finals(results) == [text for text, _, _ in script]
            assert session.stats.interims_conflated > 20
            assert len(results) + session.stats.interims_conflated == session.stats.results_received

    run_virtual(scenario)


def test_unread_results_stop_the_source_at_a_bound_and_none_is_lost() -> None:
    async def scenario() -> None:
        engine = ClockEngine(0.05, 1_500, burst=50)
        async with local_session(engine=engine) as session:
            stream = session.stream((bytes(3_200) for _ in range(300)), pace=10)
            results = [await anext(stream)]
            await asyncio.sleep(5)
            fed_bytes = engine.fed_bytes
            await asyncio.sleep(5)
            assert engine.fed_bytes == fed_bytes
            assert fed_bytes < 150 * 3_200
            results += [result async for result in stream]
            assert engine.fed_bytes == 300 * 3_200
            assert len(texts_of_finals(results)) == 1_500

    run_virtual(scenario)


def test_results_that_are_never_read_end_the_session_with_the_reason() -> None:
    async def scenario() -> None:
        async with local_session(engine=ClockEngine(0.05, 1_200, burst=100)) as session:
            with pytest.raises(DeadlineError, match=r"results have not been read for 20 s .*while sending"):
                for _ in range(1_000):
                    await session.send(bytes(3_200))
                    await asyncio.sleep(0.05)
            assert len([result async for result in read_until_deadline(session)]) >= 1_000

    run_virtual(scenario)


async def read_until_deadline(session: Session) -> AsyncIterator[Result]:
    try:
        async for result in session:
            yield result
    except DeadlineError:
        return


# --- cancel and aclose -----------------------------------------------------------------------------------------------


async def test_cancel_ends_the_loop_normally_after_the_results() -> None:
    async with local_session() as session:
        results = []
        async for result in session.stream(endless_silence(), pace=None):
            results.append(result)
            if result.is_final:
                await session.cancel()
                await session.cancel()
    assert texts_of_finals(results)[:1] == TEXTS[:1]


async def test_aclose_in_another_task_is_an_error_for_a_loop_that_waits() -> None:
    async def consume(session: Session) -> None:
        async for _ in session.stream(endless_silence(), pace=None):
            pass

    async with local_session() as session:
        consumer = asyncio.create_task(consume(session))
        await asyncio.sleep(0)
        await session.aclose()
        await session.aclose()
        with pytest.raises(LocalProtocolError, match="closed before the vendor confirmed the end"):
            await consumer


async def test_a_source_may_close_its_own_session() -> None:
    async with local_session() as session:

        async def close_own_session() -> AsyncIterator[bytes]:
            yield SECOND
            await session.aclose()

        with pytest.raises(LocalProtocolError, match="closed before"):
            await collect_results(session, close_own_session(), pace=None)


# --- cancellation in any iteration of the loop -----------------------------------------------------------------------


def run_checked(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run in virtual time, and assert that no task, unretrieved exception or unclosed resource remains."""
    errors: list[dict[str, Any]] = []

    async def checked() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        await scenario()
        remaining = asyncio.all_tasks() - {asyncio.current_task()}
        assert not remaining, remaining

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(checked())
        gc.collect()
    assert errors == []


async def cancel_after_steps(work: Coroutine[Any, Any, None], steps: int) -> bool:
    """Cancel a coroutine after so many iterations of the loop, and return True if it was still running."""
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


async def run_session(service: Service, pushing: bool) -> None:
    async with connect(Paraformer(), service) as session:
        if pushing:
            for _ in range(10):
                await session.send(bytes(3_200))
            await session.finish()
            assert texts_of_finals([result async for result in session])
        else:
            await collect_results(session, [bytes(3_200)] * 10, pace=None)


@pytest.mark.parametrize(("pushing", "local"), [(False, False), (True, False), (True, True)])
def test_a_session_that_is_cancelled_in_any_iteration_leaves_nothing_behind(pushing: bool, local: bool) -> None:
    steps, was_running = 0, True
    while was_running and steps < 2_000:

        async def scenario(steps: int = steps) -> None:
            nonlocal was_running
            async with serve(engine=HELLO) as emulator:
                remote = DashScope("sk-test", endpoint=emulator.dashscope_url)
                service = Local(engine=HELLO) if local else remote
                was_running = await cancel_after_steps(run_session(service, pushing), steps)

        run_checked(scenario)
        steps += 1 if steps < 60 else 7
    assert steps > 25


def test_a_cancelled_anyio_scope_ends_its_session_at_once_and_cleanly() -> None:
    async def scenario() -> None:
        started_at = now()
        with anyio.move_on_after(1.0) as scope:
            async with local_session() as session:
                await collect_results(session, [SECOND] * 60)
        assert scope.cancelled_caught
        assert now() - started_at == pytest.approx(1.0, abs=0.05)

    run_checked(scenario)
