"""Lost connections that a caller does not notice: nothing missing, nothing twice, times of the source."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from asr_async import (
    AudioFormat,
    AudioLostError,
    ConnectionLostError,
    ContextMessage,
    DashScope,
    FunASR,
    Gap,
    Paraformer,
    Reconnected,
    Result,
    Retry,
    Timeouts,
    VendorError,
    connect,
    transcribe,
)
from asr_async._session.sender import SOON_S
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut
from asr_async.emulator.positions import position_audio, position_of

from ..support.numbered_audio import (
    FinalAtEndServer,
    NumberedServer,
    NumberedSource,
    cut,
    finals_of,
    finals_of_seconds,
    stop_answering,
    stream_events,
)
from ..support.scripted_server import scripted_server, send_event, start_task
from ..support.virtual_time import run_virtual

pytestmark = pytest.mark.both_loops
SECOND = bytes(32_000)


# --- sessions --------------------------------------------------------------------------------------------------------


async def say_busy(connection: ServerConnection, task_id: str) -> None:
    await send_event(connection, "task-failed", task_id, error_code="InternalError", error_message="oops")
    await connection.close()


async def say_never(connection: ServerConnection, task_id: str) -> None:
    await send_event(connection, "task-failed", task_id, error_code="InvalidParameter", error_message="never")
    await connection.close()


@pytest.mark.parametrize("fate", [cut, say_busy], ids=["cut", "busy"])
@pytest.mark.parametrize("pace", [1.0, None])
def test_a_lost_connection_is_replaced_and_nothing_is_missing_or_said_twice(fate: Any, pace: float | None) -> None:
    async def scenario() -> None:
        listener = NumberedServer(fate, fate, after_ms=1_700)
        events, stats = await stream_events(listener, NumberedSource(6), pace=pace)
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
        events, _ = await stream_events(NumberedServer(cut, after_ms=1_700), NumberedSource(3))
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

        events, stats = await stream_events(DeafOnce(cut, after_ms=1_700), NumberedSource(3))
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

        _, stats = await stream_events(Clocked(cut, after_ms=900), NumberedSource(8))
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
        events, _ = await stream_events(NumberedServer(cut, cut, after_ms=1_250), source, pace=1.0)
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

        events, _ = await stream_events(LostAtTheEnd(), NumberedSource(2.5))
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
            await stream_events(NumberedServer(say_never, after_ms=500), NumberedSource(5))
        assert caught.value.code == "InvalidParameter"

    run_virtual(scenario)


def test_no_attempts_is_the_error_at_once() -> None:
    async def scenario() -> None:
        with pytest.raises(ConnectionLostError, match="lost the connection"):
            await stream_events(NumberedServer(cut, after_ms=500), NumberedSource(5), retry=Retry(attempts=0))

    run_virtual(scenario)


# --- what cannot be kept ---------------------------------------------------------------------------------------------


def test_more_audio_without_a_final_result_than_is_kept_is_a_loss_that_is_raised() -> None:
    async def scenario() -> None:
        with pytest.raises(AudioLostError) as caught:
            await stream_events(FinalAtEndServer(cut, after_ms=5_000), NumberedSource(8), retry=Retry(buffer_s=2.0))
        start_ms, end_ms = caught.value.start_ms, caught.value.end_ms
        assert start_ms == 0
        assert end_ms in {3_000, 3_100}, "what was sent until the loss was noticed, less what was kept"
        assert f"audio is lost from 0 to {end_ms} ms, after: lost the connection" in str(caught.value)
        assert "the audio without a final result was longer than Retry.buffer_s holds" in str(caught.value)

    run_virtual(scenario)


def test_or_a_gap_that_is_told_exactly() -> None:
    async def scenario() -> None:
        retry = Retry(buffer_s=2.0, on_gap="continue")
        listener = FinalAtEndServer(cut, after_ms=5_000)
        events, stats = await stream_events(listener, NumberedSource(8), retry=retry)
        _, again_ms = listener.started_at_ms
        assert [(event.start_ms, event.end_ms) for event in events if isinstance(event, Gap)] == [(0, again_ms)]
        assert finals_of(events) == [(0, "to 8000", again_ms, 8_000)]
        assert stats.lost_ms == again_ms

    run_virtual(scenario)


def test_a_transcript_holds_its_gaps() -> None:
    async def scenario() -> None:
        listener = FinalAtEndServer(cut, after_ms=5_000)
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
    text = f"{encoding} cannot be cut: a lost connection is replaced while all of the audio fits into Retry.buffer_s=60"
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
                first = session._task
                events = [event async for event in session.events([wav])]
                assert session._task is not first
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
        class LostAtTheEnd(FinalAtEndServer):
            async def _send_rest(self, connection: ServerConnection, *args: Any) -> None:
                if len(self.started_at_ms) == 1:
                    connection.transport.abort()
                else:
                    await super()._send_rest(connection, *args)

        events, _ = await stream_events(LostAtTheEnd(), NumberedSource(50), timeouts=Timeouts(finish=10))
        assert finals_of(events) == [(0, "to 50000", 0, 50_000)]

    run_virtual(scenario)


# --- rotation --------------------------------------------------------------------------------------------------------


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
        events, _ = await stream_events(HearsNobodyAtTheEnd(*fates, after_ms=2_050), NumberedSource(2.9), retry=retry)
        assert finals_of(events) == finals_of_seconds(2)

    run_virtual(scenario)


def test_nothing_but_silence_is_still_an_error_on_whichever_connection() -> None:
    async def scenario() -> None:
        with pytest.raises(VendorError, match="no valid audio was received"):
            await stream_events(HearsNobodyAtTheEnd(cut, after_ms=300), NumberedSource(0.9))

    run_virtual(scenario)


@pytest.mark.parametrize("live", [False, None, True])
def test_a_vendors_error_while_nobody_speaks_keeps_no_source_waiting(live: bool | None) -> None:
    async def scenario() -> None:
        source = NumberedSource(4)
        source.live = live  # type: ignore[attr-defined]
        events, _ = await stream_events(NumberedServer(say_busy, after_ms=1_000), source)
        assert finals_of(events) == finals_of_seconds(4)

    run_virtual(scenario)


def test_a_vendors_error_before_the_first_interim_of_what_was_pushed_is_mended_at_once() -> None:
    async def scenario() -> None:
        async with (
            scripted_server(FinalAtEndServer(say_busy, after_ms=900)) as service,
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
