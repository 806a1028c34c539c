"""Lost connections that a caller does not notice: nothing missing, nothing twice, times of the source."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import (
    ASRError,
    AudioFormat,
    AudioLostError,
    AuthenticationError,
    Client,
    ConfigurationError,
    ConnectionLostError,
    ContextMessage,
    DashScope,
    Event,
    FunASR,
    Gap,
    Huawei,
    Paraformer,
    Rasr,
    RateLimitedError,
    Reconnected,
    Result,
    Retry,
    Timeouts,
    VendorError,
    connect,
    transcribe,
)
from asr_async._session.policy import RetryBudget, rotation_s
from asr_async._session.sender import SOON_S
from asr_async._session.timeline import Timeline
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut
from asr_async.emulator.positions import position_audio, position_of
from asr_async.results import SpeechEnded, SpeechStarted, Translation, TranslationArrived, Word

from ..support.numbered_audio import NumberedServer, NumberedSource, cut, finals_of, finals_of_seconds, stop_answering
from ..support.scripted_server import read_until_finish, scripted_server, send_event, send_final, start_task
from ..support.virtual_time import run_virtual

pytestmark = pytest.mark.both_loops

SECOND = bytes(32_000)

# --- whether and when ------------------------------------------------------------------------------------------------

LOST = ConnectionLostError("gone", retryable=True)


def test_waits_grow_twofold_and_are_a_random_part_of_it() -> None:
    recovery = RetryBudget(Retry(attempts=8, max_delay_s=4.0))
    assert [recovery.delay_s(LOST, 1.0) for _ in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert recovery.delay_s(LOST, 0.5) == 2.0
    assert recovery.delay_s(LOST, 0.0) is None, "eight attempts were made"


def test_progress_counts_the_attempts_anew() -> None:
    recovery = RetryBudget(Retry(attempts=1))
    assert recovery.delay_s(LOST, 1.0) == 0.25
    assert recovery.delay_s(LOST, 1.0) is None
    recovery.made_progress()
    assert recovery.delay_s(LOST, 1.0) == 0.25


def test_what_the_vendor_asks_for_is_waited_for_if_it_is_bearable() -> None:
    assert RetryBudget(Retry()).delay_s(RateLimitedError("busy", retry_after=7.0), 1.0) == 7.0
    assert RetryBudget(Retry()).delay_s(RateLimitedError("busy", retry_after=3_600.0), 1.0) is None


@pytest.mark.parametrize("error", [AuthenticationError("no"), VendorError("no"), ConnectionLostError("no")])
def test_what_cannot_be_mended_is_not_tried_again(error: ASRError) -> None:
    assert RetryBudget(Retry()).delay_s(error, 0.0) is None


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"attempts": -1}, r"Retry\(attempts=-1\): must be a whole number, 0 or more"),
        ({"attempts": 1.5}, r"Retry\(attempts=1.5\): must be a whole number"),
        ({"max_delay_s": 0}, r"Retry\(max_delay_s=0\): must be a positive number of seconds"),
        ({"buffer_s": "long"}, r"Retry\(buffer_s='long'\): must be a positive number of seconds"),
        ({"on_gap": "ignore"}, r"Retry\(on_gap='ignore'\): must be 'raise' or 'continue'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Retry(**values)


# --- one line of results ---------------------------------------------------------------------------------------------


def result(segment_id: int, start_ms: int, end_ms: int, *, is_final: bool, text: str = "x") -> Result:
    return Result(text=text, is_final=is_final, segment_id=segment_id, start_ms=start_ms, end_ms=end_ms)


def place(stretch: Any, *events: Event) -> list[Any]:
    return [placed for event in events if (placed := stretch.place(event)) is not None]


def test_without_a_reconnect_results_come_through_as_they_are() -> None:
    stretch = Timeline().stretch(0)
    event = result(0, 10, 20, is_final=True)
    assert stretch.place(event) is event


def test_times_and_segments_go_on_where_the_connection_before_stopped() -> None:
    timeline = Timeline()
    place(timeline.stretch(0), result(0, 0, 900, is_final=True), result(1, 1_000, 1_400, is_final=False))
    assert timeline.covered_ms == 900
    second = timeline.stretch(900)
    words = (Word(text="a", start_ms=100, end_ms=200),)
    translations = {"en": Translation(text="A", is_final=True, start_ms=100, end_ms=200, words=words)}
    told = Result(
        text="a", is_final=True, segment_id=0, start_ms=100, end_ms=600, words=words, translations=translations
    )
    (moved,) = place(second, told)
    assert (moved.segment_id, moved.start_ms, moved.end_ms) == (1, 1_000, 1_500)
    assert (moved.words[0].start_ms, moved.translations["en"].start_ms) == (1_000, 1_000)
    assert moved.translations["en"].words[0].end_ms == 1_100
    assert timeline.covered_ms == 1_500
    (next_one,) = place(second, result(1, 800, 900, is_final=False))
    assert next_one.segment_id == 2


def test_events_around_a_segment_move_with_it() -> None:
    timeline = Timeline()
    stretch = timeline.stretch(5_000)
    late = TranslationArrived(
        segment_id=0, language="en", translation=Translation(text="A", is_final=True, start_ms=0, end_ms=400)
    )
    events = place(
        stretch, SpeechStarted(segment_id=0, start_ms=10), result(0, 10, 400, is_final=True),
        SpeechEnded(segment_id=0, end_ms=400), late,
    )  # fmt: skip
    assert events[0] == SpeechStarted(segment_id=0, start_ms=5_010)
    assert events[2] == SpeechEnded(segment_id=0, end_ms=5_400)
    assert (events[3].segment_id, events[3].translation.start_ms) == (0, 5_000)
    assert place(stretch, SpeechEnded(segment_id=9, end_ms=1)) == []


def test_nothing_is_covered_beyond_the_first_segment_that_is_open() -> None:
    timeline = Timeline()
    stretch = timeline.stretch(0)
    place(stretch, SpeechStarted(segment_id=0, start_ms=1_000), result(1, 3_000, 4_000, is_final=True))
    assert timeline.covered_ms == 1_000
    place(stretch, result(0, 1_000, 2_500, is_final=True))
    assert timeline.covered_ms == 4_000


def test_what_was_final_behind_an_open_segment_is_heard_again_but_told_once() -> None:
    timeline = Timeline()
    place(timeline.stretch(0), result(0, 1_000, 1_200, is_final=False), result(1, 3_000, 4_000, is_final=True))
    again = timeline.stretch(1_000)
    assert timeline.covered_ms == 1_000
    heard = place(
        again,
        result(0, 0, 1_500, is_final=True, text="first"),
        SpeechStarted(segment_id=1, start_ms=2_000),
        result(1, 2_000, 2_500, is_final=False),
        result(1, 2_010, 2_990, is_final=True),
        SpeechEnded(segment_id=1, end_ms=2_990),
        result(2, 3_100, 3_400, is_final=True, text="third"),
    )
    assert [(event.segment_id, event.text, event.start_ms) for event in heard] == [
        (0, "first", 1_000),
        (2, "third", 4_100),
    ]
    assert timeline.covered_ms == 4_400


# --- sessions --------------------------------------------------------------------------------------------------------


async def say_busy(connection: ServerConnection, task_id: str) -> None:
    await send_event(connection, "task-failed", task_id, error_code="InternalError", error_message="oops")
    await connection.close()


async def say_never(connection: ServerConnection, task_id: str) -> None:
    await send_event(connection, "task-failed", task_id, error_code="InvalidParameter", error_message="never")
    await connection.close()


async def run(
    listener: NumberedServer, source: Any, *, pace: float | None = 1.0, **options: Any
) -> tuple[list[Any], Any]:
    """All events of a session, and its statistics."""
    async with scripted_server(listener) as service, connect(Paraformer(), service, **options) as session:
        events = [event async for event in session.events(source, pace=pace)]
    return events, session.stats


@pytest.mark.parametrize("fate", [cut, say_busy], ids=["cut", "busy"])
@pytest.mark.parametrize("pace", [1.0, None])
def test_a_lost_connection_is_replaced_and_nothing_is_missing_or_said_twice(fate: Any, pace: float | None) -> None:
    async def scenario() -> None:
        listener = NumberedServer(fate, fate, after_ms=1_700)
        events, stats = await run(listener, NumberedSource(6), pace=pace)
        assert finals_of(events) == finals_of_seconds(6)
        reconnects = [event for event in events if isinstance(event, Reconnected)]
        assert [event.at_ms for event in reconnects] == listener.started_at_ms[1:]
        assert stats.reconnects == len(reconnects) == 2
        assert listener.started_at_ms[1] in {0, 1_000}, "behind the last final result that arrived"
        assert stats.audio_sent_ms == 6_000

    run_virtual(scenario)


def test_a_connection_without_a_sign_of_life_is_noticed_within_the_idle_deadline_and_a_second() -> None:
    async def scenario() -> None:
        listener = NumberedServer(stop_answering, after_ms=1_500)
        loop = asyncio.get_running_loop()
        reconnected_at: list[float] = []
        async with (
            scripted_server(listener) as service,
            connect(Paraformer(), service, timeouts=Timeouts(idle=8)) as session,
        ):
            began_at, events = loop.time(), []
            async for event in session.events(NumberedSource(30)):
                events.append(event)
                if isinstance(event, Reconnected):
                    reconnected_at.append(loop.time() - began_at)
        assert finals_of(events) == finals_of_seconds(30)
        (noticed_after_s,) = reconnected_at
        assert noticed_after_s < 1.5 + 8 + 1

    run_virtual(scenario)


def test_an_interim_of_the_lost_connection_is_replaced_by_results_of_the_same_segment() -> None:
    async def scenario() -> None:
        events, _ = await run(NumberedServer(cut, after_ms=1_700), NumberedSource(3))
        at = next(number for number, event in enumerate(events) if isinstance(event, Reconnected))
        before = [event for event in events[:at] if isinstance(event, Result) and not event.is_final]
        assert before[-1].segment_id == 1
        assert finals_of(events)[1][0] == 1

    run_virtual(scenario)


def test_a_segment_keeps_its_id_over_a_connection_that_heard_nothing() -> None:
    async def scenario() -> None:
        class DeafOnce(NumberedServer):
            is_deaf = True

            async def __call__(self, connection: ServerConnection) -> None:
                if self.started_at_ms and self.is_deaf:
                    self.is_deaf = False
                    await start_task(connection)
                    connection.transport.abort()
                else:
                    await super().__call__(connection)

        events, stats = await run(DeafOnce(cut, after_ms=1_700), NumberedSource(3))
        assert finals_of(events) == finals_of_seconds(3)
        assert stats.reconnects == 2

    run_virtual(scenario)


def test_what_is_sent_again_goes_at_four_times_the_pace_and_catches_up() -> None:
    async def scenario() -> None:
        times: list[tuple[float, int]] = []

        class Clocked(NumberedServer):
            async def _send_whole_seconds(self, *args: Any) -> int:
                times.append((asyncio.get_running_loop().time(), len(self.started_at_ms)))
                return await super()._send_whole_seconds(*args)

        _, stats = await run(Clocked(cut, after_ms=900), NumberedSource(8))
        second = [at for at, connection in times if connection == 2]
        gaps = [round(later - earlier, 3) for earlier, later in itertools.pairwise(second)]
        assert 0.025 <= gaps[0] <= 0.025 + SOON_S
        assert gaps[-1] == 0.1
        assert min(gaps) >= 0.024
        assert stats.pacer_lateness_max_ms < 50, "being behind because of a lost connection is no lateness"

    run_virtual(scenario)


def test_a_live_source_is_read_on_while_there_is_no_connection() -> None:
    async def scenario() -> None:
        source = NumberedSource(6, every_s=0.1)
        events, _ = await run(NumberedServer(cut, cut, after_ms=1_250), source, pace=1.0)
        assert finals_of(events) == finals_of_seconds(6)

    run_virtual(scenario)


def test_pushed_audio_is_sent_again_although_nothing_new_is_pushed() -> None:
    async def scenario() -> None:
        async with (
            scripted_server(NumberedServer(cut, after_ms=2_500)) as service,
            connect(Paraformer(), service) as session,
        ):
            async for chunk in NumberedSource(2.5):
                await session.send(chunk)
            texts = []
            async for event in session:
                if event.is_final:
                    texts.append(event.text)
                if event.text == "to 2000":
                    break
            await session.finish()
            texts += [event.text async for event in session if event.is_final]
        assert texts == ["to 1000", "to 2000", "to 2500"]

    run_virtual(scenario)


def test_a_connection_lost_after_finish_is_replaced_and_finished_again() -> None:
    async def scenario() -> None:
        class LostAtTheEnd(NumberedServer):
            async def _send_rest(self, connection: ServerConnection, *args: Any) -> None:
                if len(self.started_at_ms) == 1:
                    connection.transport.abort()
                else:
                    await super()._send_rest(connection, *args)

        events, _ = await run(LostAtTheEnd(), NumberedSource(2.5))
        assert [text for _, text, _, _ in finals_of(events)] == ["to 1000", "to 2000", "to 2500"]

    run_virtual(scenario)


def test_attempts_run_out_with_the_last_error_behind_what_was_recognised() -> None:
    async def scenario() -> None:
        class Useless(NumberedServer):
            async def __call__(self, connection: ServerConnection) -> None:
                if self.started_at_ms:
                    connection.transport.abort()
                else:
                    await super().__call__(connection)

        texts = []
        retry = Retry(attempts=3)
        async with (
            scripted_server(Useless(cut, after_ms=1_500)) as service,
            connect(Paraformer(), service, retry=retry) as session,
        ):
            with pytest.raises(ConnectionLostError):
                async for event in session.stream(NumberedSource(5)):
                    texts.append((event.text, event.is_final))
        assert ("to 1000", True) in texts

    run_virtual(scenario)


def test_an_error_that_means_never_is_raised_at_once() -> None:
    async def scenario() -> None:
        with pytest.raises(VendorError, match="never") as caught:
            await run(NumberedServer(say_never, after_ms=500), NumberedSource(5))
        assert caught.value.code == "InvalidParameter"

    run_virtual(scenario)


def test_no_attempts_is_the_error_at_once() -> None:
    async def scenario() -> None:
        with pytest.raises(ConnectionLostError, match="lost the connection"):
            await run(NumberedServer(cut, after_ms=500), NumberedSource(5), retry=Retry(attempts=0))

    run_virtual(scenario)


# --- what cannot be kept ---------------------------------------------------------------------------------------------


class NeverFinal(NumberedServer):
    """Hears everything and finalises nothing before the end of a connection that lives."""

    async def _send_whole_seconds(self, *_args: Any) -> int:
        return 0


def test_more_audio_without_a_final_result_than_is_kept_is_a_loss_that_is_raised() -> None:
    async def scenario() -> None:
        with pytest.raises(AudioLostError) as caught:
            await run(NeverFinal(cut, after_ms=5_000), NumberedSource(8), retry=Retry(buffer_s=2.0))
        start_ms, end_ms = caught.value.start_ms, caught.value.end_ms
        assert start_ms == 0
        assert end_ms in {3_000, 3_100}, "what was sent until the loss was noticed, less what was kept"
        assert f"audio is lost from 0 to {end_ms} ms, after: lost the connection" in str(caught.value)
        assert "the audio without a final result was longer than Retry.buffer_s holds" in str(caught.value)

    run_virtual(scenario)


def test_or_a_gap_that_is_told_exactly() -> None:
    async def scenario() -> None:
        retry = Retry(buffer_s=2.0, on_gap="continue")
        listener = NeverFinal(cut, after_ms=5_000)
        events, stats = await run(listener, NumberedSource(8), retry=retry)
        _, again_ms = listener.started_at_ms
        assert [(event.start_ms, event.end_ms) for event in events if isinstance(event, Gap)] == [(0, again_ms)]
        assert finals_of(events) == [(0, "to 8000", again_ms, 8_000)]
        assert stats.lost_ms == again_ms

    run_virtual(scenario)


def test_a_transcript_holds_its_gaps() -> None:
    async def scenario() -> None:
        listener = NeverFinal(cut, after_ms=5_000)
        async with scripted_server(listener) as service:
            retry = Retry(buffer_s=2.0, on_gap="continue")
            transcript = await transcribe(NumberedSource(8), Paraformer(), service, pace=1.0, retry=retry)
        assert [(gap.start_ms, gap.end_ms) for gap in transcript.gaps] == [(0, listener.started_at_ms[1])]

    run_virtual(scenario)


def test_compressed_audio_is_sent_again_from_its_start_and_what_was_final_is_told_once() -> None:
    async def scenario() -> None:
        listener = NumberedServer(cut, after_ms=1_700)
        async with scripted_server(listener) as service, connect(Paraformer(format="mp3"), service) as session:
            events = [event async for event in session.events(NumberedSource(4, every_s=0.1))]
        assert listener.started_at_ms == [0, 0]
        assert [text for _, text, _, _ in finals_of(events)] == ["to 1000", "to 2000", "to 3000", "to 4000"]

    run_virtual(scenario)


def test_compressed_audio_that_does_not_fit_is_a_loss_whatever_is_wanted() -> None:
    async def scenario() -> None:
        retry = Retry(buffer_s=1.0, on_gap="continue")
        listener = NumberedServer(cut, after_ms=1_700)
        async with (
            scripted_server(listener) as service,
            connect(Paraformer(format="mp3"), service, retry=retry) as session,
        ):
            with pytest.raises(AudioLostError, match=r"from 1000 ms on.*compressed audio can be replayed"):
                async for _ in session.events(NumberedSource(4, every_s=0.1)):
                    pass

    run_virtual(scenario)


@pytest.mark.parametrize("encoding", ["mp3", "opus", "speex", "aac", "amr"])
def test_that_compressed_audio_cannot_be_cut_is_said_when_its_session_begins(encoding: str, caplog: Any) -> None:
    async def scenario() -> None:
        async with (
            scripted_server(NumberedServer()) as service,
            connect(Paraformer(format=encoding), service) as session,
        ):
            await session.send(b"frame")
            await session.finish()

    with caplog.at_level(logging.INFO, "asr_async"):
        run_virtual(scenario)
    text = f"{encoding} cannot be cut: a lost connection is mended while all of the audio fits into Retry.buffer_s=60"
    assert caplog.text.count(text) == 1


@pytest.mark.parametrize("retry", [Retry(), Retry(rotate_after=3.0)], ids=["reconnect", "rotation"])
def test_a_wav_goes_on_behind_a_header_of_its_own(retry: Retry) -> None:
    async def scenario() -> None:
        script = [("One.", 200, 1_500), ("Two.", 2_200, 3_500), ("Three.", 4_200, 5_500), ("Four.", 6_200, 7_500)]
        faults = [] if retry.rotate_after else [Cut(after_audio_ms=2_600, connection=1)]
        wav = AudioFormat("wav", 16_000).header + position_audio(0, 8_000)
        async with serve(Scripted(script, position=position_of), faults=faults) as emulator:
            service = DashScope("key", endpoint=emulator.dashscope_url)
            async with connect(Paraformer(format="wav"), service, retry=retry) as session:
                first = session._link
                events = [event async for event in session.events([wav])]
                assert session._link is not first
        finals = finals_of(events)
        assert [text for _, text, _, _ in finals] == [text for text, _, _ in script]
        assert all(
            abs(start_ms - start_task) <= 2 and abs(end_ms - end) <= 2
            for (_, _, start_ms, end_ms), (_, start_task, end) in zip(finals, script, strict=True)
        ), "the header of the source counts as 1.4 ms"

    run_virtual(scenario)


def test_finish_is_waited_for_from_when_it_was_said_again() -> None:
    """Fifty seconds without a final result take longer to be sent again than the deadline of `finish`."""

    async def scenario() -> None:
        class LostAtTheEnd(NeverFinal):
            async def _send_rest(self, connection: ServerConnection, *args: Any) -> None:
                if len(self.started_at_ms) == 1:
                    connection.transport.abort()
                else:
                    await super()._send_rest(connection, *args)

        events, _ = await run(LostAtTheEnd(), NumberedSource(50), timeouts=Timeouts(finish=10))
        assert finals_of(events) == [(0, "to 50000", 0, 50_000)]

    run_virtual(scenario)


# --- silence ---------------------------------------------------------------------------------------------------------


def test_a_vendor_that_gave_up_a_quiet_source_is_asked_again_when_there_is_something_to_say() -> None:
    async def scenario() -> None:
        connections = 0

        async def impatient(connection: ServerConnection) -> None:
            nonlocal connections
            connections += 1
            task_id = await start_task(connection)
            try:
                async with asyncio.timeout(23):
                    await read_until_finish(connection)
                await send_final(connection, task_id, "there", 0, 900)
                await send_event(connection, "task-finished", task_id, {"output": {}})
            except TimeoutError:
                text = "request timeout after 23 seconds."
                await send_event(connection, "task-failed", task_id, error_code="CLIENT_ERROR", error_message=text)

        async with scripted_server(impatient) as service, connect(Paraformer(), service) as session:
            await session.send(bytes(3_200))
            await asyncio.sleep(300)
            assert connections == 1
            await session.send(SECOND)
            await session.finish()
            assert [event.text async for event in session if event.is_final] == ["there"]
        assert connections == 2

    run_virtual(scenario)


# --- rotation --------------------------------------------------------------------------------------------------------


def assert_seamless(finals: list[tuple[int, str, int, int]], total_ms: int) -> None:
    """Each segment begins where the one before it ended."""
    assert [start_task for _, _, start_task, _ in finals] == [0, *(end for _, _, _, end in finals[:-1])]
    assert finals[-1][3] == total_ms
    assert [number for number, _, _, _ in finals] == list(range(len(finals)))
    assert all(text == f"to {end}" for _, text, _, end in finals)


@pytest.mark.parametrize("pace", [1.0, 4.0])
def test_an_old_connection_is_replaced_at_a_segments_end_and_no_audio_is_lost_or_sent_twice(pace: float) -> None:
    async def scenario() -> None:
        listener = NumberedServer()
        events, stats = await run(listener, NumberedSource(12), pace=pace, retry=Retry(rotate_after=2.0))
        assert_seamless(finals_of(events), 12_000)
        assert len(listener.started_at_ms) >= 4
        ends = [began + heard for began, heard in zip(listener.started_at_ms, listener.received_ms, strict=True)]
        assert listener.started_at_ms == [0, *ends[:-1]]
        assert all(began % 1_000 <= 200 for began in listener.started_at_ms), "behind the end of a segment"
        assert not [event for event in events if isinstance(event, Reconnected)]
        assert (stats.reconnects, stats.audio_sent_ms) == (0, 12_000)

    run_virtual(scenario)


def test_results_of_the_old_connection_come_before_those_of_the_next() -> None:
    async def scenario() -> None:
        class SlowToFinish(NumberedServer):
            async def _send_rest(self, *args: Any) -> None:
                await asyncio.sleep(3)
                await super()._send_rest(*args)

        events, _ = await run(SlowToFinish(), NumberedSource(8), retry=Retry(rotate_after=2.0))
        assert_seamless(finals_of(events), 8_000)

    run_virtual(scenario)


@pytest.mark.parametrize("fails", ["cut", "mute"])
def test_an_old_connection_that_is_lost_while_it_retires_loses_nothing(fails: str) -> None:
    async def scenario() -> None:
        class Fails(NumberedServer):
            async def _send_rest(self, connection: ServerConnection, *args: Any) -> None:
                if len(self.started_at_ms) == 1:
                    if fails == "mute":
                        await asyncio.sleep(60)
                    connection.transport.abort()
                    raise asyncio.CancelledError
                await super()._send_rest(connection, *args)

        events, stats = await run(Fails(), NumberedSource(40), retry=Retry(rotate_after=5.0))
        assert_seamless(finals_of(events), 40_000)
        assert stats.reconnects == 1

    run_virtual(scenario)


def test_somebody_who_never_pauses_is_cut_in_the_end() -> None:
    async def scenario() -> None:
        listener = NeverFinal()
        events, _ = await run(listener, NumberedSource(60), retry=Retry(rotate_after=10.0))
        assert_seamless(finals_of(events), 60_000)
        assert listener.started_at_ms[1] in range(40_000, 40_400), "after 10 s, and 30 s of patience"

    run_virtual(scenario)


def test_a_model_with_a_limit_of_hours_is_rotated_before_it() -> None:
    assert rotation_s(Retry(), Rasr()) == 5 * 3_600 - 300
    assert rotation_s(Retry(), Rasr(mode="short")) is None
    assert rotation_s(Retry(), Paraformer()) is None
    assert rotation_s(Retry(rotate_after=50), Rasr(mode="short")) == 50


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (Rasr(), r"Retry\(rotate_after=20000\): huawei/continue takes 18000 s at most"),
        (Paraformer(format="mp3"), r"Retry\(rotate_after=20000\): mp3 cannot be cut; send pcm"),
    ],
    ids=lambda value: "",
)
async def test_a_rotation_that_cannot_be_is_refused_before_connecting(options: Any, text: str) -> None:
    async with Client(
        DashScope("key") if isinstance(options, Paraformer) else Huawei(), retry=Retry(rotate_after=20_000)
    ) as client:
        with pytest.raises(ConfigurationError, match=text):
            client.session(options)


def test_a_context_is_known_to_the_next_connection_too() -> None:
    async def scenario() -> None:
        contexts: list[int] = []

        class Reads(NumberedServer):
            async def __call__(self, connection: ServerConnection) -> None:
                receive = connection.recv

                async def counting(*args: Any, **options: Any) -> Any:
                    message = await receive(*args, **options)
                    if isinstance(message, str) and "continue-task" in message:
                        contexts.append(len(self.started_at_ms))
                        return await counting()
                    return message

                connection.recv = counting  # type: ignore[method-assign]
                await super().__call__(connection)

        async with scripted_server(Reads(cut, after_ms=1_500)) as service, connect(FunASR(), service) as session:
            await session.update_context([ContextMessage("user", "names")])
            events = [event async for event in session.events(NumberedSource(3))]
        assert contexts == [0, 1]
        assert finals_of(events) == finals_of_seconds(3)

    run_virtual(scenario)


# --- nobody speaks any more ------------------------------------------------------------------------------------------


class HearsNobodyAtTheEnd(NumberedServer):
    """Has the vendor's way with silence: a task that heard nothing ends with an error."""

    async def _send_rest(self, connection: ServerConnection, task_id: str, began: int, told: int, now: int) -> None:
        if told == 0:
            text = "no valid audio was received"
            await send_event(connection, "task-failed", task_id, error_code="NO_VALID_AUDIO_ERROR", error_message=text)
            await connection.close()


@pytest.mark.parametrize("retry", [Retry(), Retry(rotate_after=1.95)], ids=["reconnect", "rotation"])
def test_silence_behind_the_last_word_is_an_end_like_any_other(retry: Retry) -> None:
    async def scenario() -> None:
        fates = [] if retry.rotate_after else [cut]
        events, _ = await run(HearsNobodyAtTheEnd(*fates, after_ms=2_050), NumberedSource(2.9), retry=retry)
        assert finals_of(events) == finals_of_seconds(2)

    run_virtual(scenario)


def test_nothing_but_silence_is_still_an_error_on_whichever_connection() -> None:
    async def scenario() -> None:
        with pytest.raises(VendorError, match="no valid audio was received"):
            await run(HearsNobodyAtTheEnd(cut, after_ms=300), NumberedSource(0.9))

    run_virtual(scenario)


@pytest.mark.parametrize("live", [False, None, True])
def test_a_vendors_error_while_nobody_speaks_keeps_no_source_waiting(live: bool | None) -> None:
    async def scenario() -> None:
        source = NumberedSource(4)
        source.live = live  # type: ignore[attr-defined]
        events, _ = await run(NumberedServer(say_busy, after_ms=1_000), source)
        assert finals_of(events) == finals_of_seconds(4)

    run_virtual(scenario)


def test_a_vendors_error_before_the_first_interim_of_what_was_pushed_is_mended_at_once() -> None:
    async def scenario() -> None:
        async with (
            scripted_server(NeverFinal(say_busy, after_ms=900)) as service,
            connect(Paraformer(), service) as session,
        ):
            async for chunk in NumberedSource(1):
                await session.send(chunk)
            await asyncio.sleep(3)
            assert session.stats.reconnects == 1
            await session.finish()
            assert [event.text async for event in session if event.is_final] == ["to 1000"]

    run_virtual(scenario)


def test_a_vendor_that_stays_away_for_longer_than_anybody_is_quiet_is_asked_until_it_is_back() -> None:
    async def scenario() -> None:
        class Away(NumberedServer):
            async def __call__(self, connection: ServerConnection) -> None:
                if self.started_at_ms and asyncio.get_running_loop().time() < 30:
                    await say_busy(connection, await start_task(connection))
                else:
                    await super().__call__(connection)

        retry = Retry(attempts=50)
        async with (
            scripted_server(Away(cut, after_ms=1_000)) as service,
            connect(Paraformer(), service, retry=retry) as session,
        ):
            async for chunk in NumberedSource(1.5):
                await session.send(chunk)
            await session.finish()
            assert [event.text async for event in session if event.is_final][-1] == "to 1500"

    run_virtual(scenario)
