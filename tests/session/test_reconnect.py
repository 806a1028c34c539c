"""Reconnection and replay: no final is missing or repeated, and times remain those of the source."""

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
from ..support.virtual_time import now, run_virtual

pytestmark = pytest.mark.both_loops
SECOND = bytes(32_000)


# --- replacement of a lost connection --------------------------------------------------------------------------------


async def fail_temporarily(connection: ServerConnection, task_id: str) -> None:
    await send_event(connection, "task-failed", task_id, error_code="InternalError", error_message="oops")
    await connection.close()


async def fail_permanently(connection: ServerConnection, task_id: str) -> None:
    await send_event(
        connection, "task-failed", task_id, error_code="InvalidParameter", error_message="the value is invalid"
    )
    await connection.close()


@pytest.mark.parametrize("fault", [cut, fail_temporarily], ids=["cut", "vendor-error"])
@pytest.mark.parametrize("pace", [1.0, None])
def test_a_lost_connection_is_replaced_without_losing_or_repeating_a_final(fault: Any, pace: float | None) -> None:
    async def scenario() -> None:
        server = NumberedServer(fault, fault, after_ms=1_700)
        events, stats = await stream_events(server, NumberedSource(6), pace=pace)
        assert finals_of(events) == finals_of_seconds(6)
        reconnects = [event for event in events if isinstance(event, Reconnected)]
        assert [event.at_ms for event in reconnects] == server.started_at_ms[1:]
        assert stats.reconnects == len(reconnects) == 2
        assert server.started_at_ms[1] in {0, 1_000}, "the end of the last final that arrived"
        assert stats.audio_sent_ms == 6_000

    run_virtual(scenario)


def test_a_silent_connection_is_replaced_within_a_second_after_the_idle_timeout() -> None:
    async def scenario() -> None:
        server = NumberedServer(stop_answering, after_ms=1_500)
        reconnected_at: list[float] = []
        async with (
            scripted_server(server) as service,
            connect(Paraformer(), service, timeouts=Timeouts(idle=8)) as session,
        ):
            started_at, events = now(), []
            async for event in session.events(NumberedSource(30)):
                events.append(event)
                if isinstance(event, Reconnected):
                    reconnected_at.append(now() - started_at)
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


def test_a_segment_keeps_its_id_across_a_connection_without_results() -> None:
    async def scenario() -> None:
        class WithoutResultsOnce(NumberedServer):
            had_connection_without_results = False

            async def __call__(self, connection: ServerConnection) -> None:
                if self.started_at_ms and not self.had_connection_without_results:
                    self.had_connection_without_results = True
                    await start_task(connection)
                    connection.transport.abort()
                else:
                    await super().__call__(connection)

        events, stats = await stream_events(WithoutResultsOnce(cut, after_ms=1_700), NumberedSource(3))
        assert finals_of(events) == finals_of_seconds(3)
        assert stats.reconnects == 2

    run_virtual(scenario)


def test_replayed_audio_is_sent_at_four_times_the_pace_until_it_has_caught_up() -> None:
    async def scenario() -> None:
        times: list[tuple[float, int]] = []

        class RecordsTimes(NumberedServer):
            async def _send_whole_seconds(self, *args: Any) -> int:
                times.append((now(), len(self.started_at_ms)))
                return await super()._send_whole_seconds(*args)

        _, stats = await stream_events(RecordsTimes(cut, after_ms=900), NumberedSource(8))
        second = [at for at, connection in times if connection == 2]
        intervals_s = [round(later - earlier, 3) for earlier, later in itertools.pairwise(second)]
        assert 0.025 <= intervals_s[0] <= 0.025 + SOON_S
        assert intervals_s[-1] == 0.1
        assert min(intervals_s) >= 0.024
        assert stats.pacer_lateness_max_ms < 50, "the delay by a lost connection does not count as lateness"

    run_virtual(scenario)


def test_a_live_source_is_read_while_there_is_no_connection() -> None:
    async def scenario() -> None:
        source = NumberedSource(6, every_s=0.1)
        events, _ = await stream_events(NumberedServer(cut, cut, after_ms=1_250), source, pace=1.0)
        assert finals_of(events) == finals_of_seconds(6)

    run_virtual(scenario)


def test_pushed_audio_is_replayed_before_more_is_pushed() -> None:
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


def test_a_connection_that_is_lost_after_finish_is_replaced_and_finished_again() -> None:
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


def test_the_last_error_is_raised_after_the_results_when_no_attempts_are_left() -> None:
    async def scenario() -> None:
        class UpOnce(NumberedServer):
            async def __call__(self, connection: ServerConnection) -> None:
                if self.started_at_ms:
                    connection.transport.abort()
                else:
                    await super().__call__(connection)

        texts = []
        retry = Retry(attempts=3)
        async with (
            scripted_server(UpOnce(cut, after_ms=1_500)) as service,
            connect(Paraformer(), service, retry=retry) as session,
        ):
            with pytest.raises(ConnectionLostError):
                async for event in session.stream(NumberedSource(5)):
                    texts.append((event.text, event.is_final))
        assert ("to 1000", True) in texts

    run_virtual(scenario)


def test_a_permanent_error_is_raised_at_once() -> None:
    async def scenario() -> None:
        with pytest.raises(VendorError, match="the value is invalid") as caught:
            await stream_events(NumberedServer(fail_permanently, after_ms=500), NumberedSource(5))
        assert caught.value.code == "InvalidParameter"

    run_virtual(scenario)


def test_without_attempts_the_error_is_raised_at_once() -> None:
    async def scenario() -> None:
        with pytest.raises(ConnectionLostError, match="lost the connection"):
            await stream_events(NumberedServer(cut, after_ms=500), NumberedSource(5), retry=Retry(attempts=0))

    run_virtual(scenario)


# --- audio that is lost ----------------------------------------------------------------------------------------------


def test_audio_without_a_final_beyond_the_buffer_is_lost_and_raises() -> None:
    async def scenario() -> None:
        with pytest.raises(AudioLostError) as caught:
            await stream_events(FinalAtEndServer(cut, after_ms=5_000), NumberedSource(8), retry=Retry(buffer_s=2.0))
        start_ms, end_ms = caught.value.start_ms, caught.value.end_ms
        assert start_ms == 0
        assert end_ms in {3_000, 3_100}, (
            "the audio that was sent before the loss was noticed, without the audio in the buffer"
        )
        assert f"audio is lost from 0 to {end_ms} ms, after: lost the connection" in str(caught.value)
        assert "the audio without a final result was longer than Retry.buffer_s holds" in str(caught.value)

    run_virtual(scenario)


def test_audio_without_a_final_beyond_the_buffer_is_an_exact_gap_if_the_session_may_continue() -> None:
    async def scenario() -> None:
        retry = Retry(buffer_s=2.0, on_gap="continue")
        server = FinalAtEndServer(cut, after_ms=5_000)
        events, stats = await stream_events(server, NumberedSource(8), retry=retry)
        _, replay_from_ms = server.started_at_ms
        assert [(event.start_ms, event.end_ms) for event in events if isinstance(event, Gap)] == [(0, replay_from_ms)]
        assert finals_of(events) == [(0, "to 8000", replay_from_ms, 8_000)]
        assert stats.lost_ms == replay_from_ms

    run_virtual(scenario)


def test_a_transcript_contains_its_gaps() -> None:
    async def scenario() -> None:
        server = FinalAtEndServer(cut, after_ms=5_000)
        async with scripted_server(server) as service:
            retry = Retry(buffer_s=2.0, on_gap="continue")
            transcript = await transcribe(NumberedSource(8), Paraformer(), service, pace=1.0, retry=retry)
        assert [(gap.start_ms, gap.end_ms) for gap in transcript.gaps] == [(0, server.started_at_ms[1])]

    run_virtual(scenario)


def test_compressed_audio_is_replayed_from_its_start_and_finals_are_delivered_once() -> None:
    async def scenario() -> None:
        server = NumberedServer(cut, after_ms=1_700)
        async with scripted_server(server) as service, connect(Paraformer(format="mp3"), service) as session:
            events = [event async for event in session.events(NumberedSource(4, every_s=0.1))]
        assert server.started_at_ms == [0, 0]
        assert [text for _, text, _, _ in finals_of(events)] == ["to 1000", "to 2000", "to 3000", "to 4000"]

    run_virtual(scenario)


def test_compressed_audio_beyond_the_buffer_is_lost_regardless_of_on_gap() -> None:
    async def scenario() -> None:
        retry = Retry(buffer_s=1.0, on_gap="continue")
        server = NumberedServer(cut, after_ms=1_700)
        async with (
            scripted_server(server) as service,
            connect(Paraformer(format="mp3"), service, retry=retry) as session,
        ):
            with pytest.raises(
                AudioLostError, match=r"from 1000 ms on.*compressed audio in this container can be replayed"
            ):
                async for _ in session.events(NumberedSource(4, every_s=0.1)):
                    pass

    run_virtual(scenario)


WEBM_START = b"\x1a\x45\xdf\xa3" + bytes(60)
"""Opus in a container that cannot be cut; raw packets are refused."""


@pytest.mark.parametrize("encoding", ["mp3", "opus", "aac", "amr"])
def test_a_session_with_compressed_audio_logs_once_that_it_cannot_be_cut(encoding: str, caplog: Any) -> None:
    async def scenario() -> None:
        async with (
            scripted_server(NumberedServer()) as service,
            connect(Paraformer(format=encoding), service) as session,
        ):
            await session.send(WEBM_START if encoding == "opus" else b"frame")
            await session.finish()

    with caplog.at_level(logging.INFO, "asr_async"):
        run_virtual(scenario)
    text = f"{encoding} cannot be cut: a lost connection is replaced while all of the audio fits into Retry.buffer_s=60"
    assert caplog.text.count(text) == 1


@pytest.mark.parametrize("retry", [Retry(), Retry(rotate_after=3.0)], ids=["reconnect", "rotation"])
def test_each_connection_of_a_wav_source_starts_with_a_header(retry: Retry) -> None:
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
            abs(start_ms - script_start_ms) <= 2 and abs(end_ms - script_end_ms) <= 2
            for (_, _, start_ms, end_ms), (_, script_start_ms, script_end_ms) in zip(finals, script, strict=True)
        ), "the source's header counts as 1.4 ms of audio"

    run_virtual(scenario)


def test_the_finish_deadline_starts_again_with_the_repeated_finish() -> None:
    """The replay of fifty seconds takes longer than `Timeouts.finish`."""

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


def test_a_context_is_sent_on_the_next_connection_too() -> None:
    async def scenario() -> None:
        server = NumberedServer(cut, after_ms=1_500)
        async with scripted_server(server) as service, connect(FunASR(), service) as session:
            await session.update_context([ContextMessage("user", "names")])
            events = [event async for event in session.events(NumberedSource(3))]
        assert [connections for connections, _ in server.contexts] == [0, 1]
        assert finals_of(events) == finals_of_seconds(3)

    run_virtual(scenario)


# --- errors of the vendor about silence ------------------------------------------------------------------------------


class RefusesSilence(NumberedServer):
    """A server that ends a task without speech with an error, as DashScope does."""

    async def _send_rest(
        self, connection: ServerConnection, task_id: str, start_ms: int, final_ms: int, now_ms: int
    ) -> None:
        if final_ms == 0:
            text = "no valid audio was received"
            await send_event(connection, "task-failed", task_id, error_code="NO_VALID_AUDIO_ERROR", error_message=text)
            await connection.close()


@pytest.mark.parametrize("retry", [Retry(), Retry(rotate_after=1.95)], ids=["reconnect", "rotation"])
def test_silence_after_the_last_word_is_not_an_error(retry: Retry) -> None:
    async def scenario() -> None:
        faults = [] if retry.rotate_after else [cut]
        events, _ = await stream_events(RefusesSilence(*faults, after_ms=2_050), NumberedSource(2.9), retry=retry)
        # the rotated connection confirms its end behind an interim
        confirmed = [event for event in events if not isinstance(event, Result) or event.is_confirmed]
        assert finals_of(confirmed) == finals_of_seconds(2)

    run_virtual(scenario)


def test_a_source_of_silence_alone_is_an_error_after_a_reconnect_too() -> None:
    async def scenario() -> None:
        with pytest.raises(VendorError, match="no valid audio was received"):
            await stream_events(RefusesSilence(cut, after_ms=300), NumberedSource(0.9))

    run_virtual(scenario)


@pytest.mark.parametrize("live", [False, None, True])
def test_a_vendor_error_during_silence_does_not_block_the_source(live: bool | None) -> None:
    async def scenario() -> None:
        source = NumberedSource(4)
        source.live = live  # type: ignore[attr-defined]
        events, _ = await stream_events(NumberedServer(fail_temporarily, after_ms=1_000), source)
        assert finals_of(events) == finals_of_seconds(4)

    run_virtual(scenario)


def test_a_vendor_error_before_the_first_interim_of_pushed_audio_reconnects_at_once() -> None:
    async def scenario() -> None:
        async with (
            scripted_server(FinalAtEndServer(fail_temporarily, after_ms=900)) as service,
            connect(Paraformer(), service) as session,
        ):
            async for chunk in NumberedSource(1):
                await session.send(chunk)
            await asyncio.sleep(3)
            assert session.stats.reconnects == 1
            await session.finish()
            assert [event.text async for event in session if event.is_final] == ["to 1000"]

    run_virtual(scenario)


def test_a_vendor_that_is_down_for_longer_than_a_pause_is_tried_until_it_is_up() -> None:
    async def scenario() -> None:
        class DownUntil30s(NumberedServer):
            async def __call__(self, connection: ServerConnection) -> None:
                if self.started_at_ms and now() < 30:
                    await fail_temporarily(connection, await start_task(connection))
                else:
                    await super().__call__(connection)

        retry = Retry(attempts=50)
        async with (
            scripted_server(DownUntil30s(cut, after_ms=1_000)) as service,
            connect(Paraformer(), service, retry=retry) as session,
        ):
            async for chunk in NumberedSource(1.5):
                await session.send(chunk)
            await session.finish()
            assert [event.text async for event in session if event.is_final][-1] == "to 1500"

    run_virtual(scenario)
