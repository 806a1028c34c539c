"""Pushed audio as a source: its bound and what happens beyond it, its ends, and its session's end."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    Event,
    Gap,
    Local,
    LocalProtocolError,
    Paraformer,
    PushSource,
    QwenRealtime,
    Rasr,
    Result,
    Retry,
    connect,
)
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut, Refuse
from asr_async.emulator.positions import position_audio, position_of

from ..support.numbered_audio import finals_of
from ..support.streaming import emulator_service
from ..support.virtual_time import now, run_virtual

if TYPE_CHECKING:
    from asr_async.vendors.options import Options

SCRIPT = [("one", 200, 900), ("two", 1_200, 1_900), ("three", 4_200, 4_900)]


async def events_of(options: Options, source: PushSource, **arguments: Any) -> tuple[list[Event], Any]:
    async with (
        serve(Scripted(SCRIPT, position=position_of)) as emulator,
        connect(options, emulator_service(emulator, options)) as session,
    ):
        return [event async for event in session.events(source, **arguments)], session


@pytest.mark.parametrize("options", [Paraformer(), Rasr(), QwenRealtime()], ids=lambda options: options.model)
def test_audio_from_before_the_session_is_recognised(options: Options) -> None:
    async def scenario() -> None:
        source = PushSource(options, max_s=10)
        for first in range(0, 5_000, 100):
            await source.send(position_audio(first, first + 100))
        source.close()
        events, _ = await events_of(options, source)
        assert [(text, start, end) for _, text, start, end in finals_of(events)] == SCRIPT

    run_virtual(scenario, quiet_polls=0)


@pytest.mark.parametrize("options", [Paraformer(), Rasr(), QwenRealtime()], ids=lambda options: options.model)
def test_the_oldest_audio_is_dropped_and_reported_and_times_count_it(options: Options) -> None:
    async def scenario() -> None:
        source = PushSource(options, max_s=1, when_full="drop_oldest")
        for first in range(0, 5_000, 100):
            source.send_nowait(position_audio(first, first + 100))
        source.close()
        assert source.dropped_ms == 4_000
        events, session = await events_of(options, source)
        assert [(gap.start_ms, gap.end_ms) for gap in events if isinstance(gap, Gap)] == [(0, 4_000)]
        assert [(gap.start_ms, gap.end_ms) for gap in session.gaps] == [(0, 4_000)]
        (final,) = [event for event in events if isinstance(event, Result) and event.is_final]
        assert (final.text, final.start_ms, final.end_ms, final.lost_before_ms) == ("three", 4_200, 4_900, 4_000)
        assert (session.stats.lost_ms, session.stats.audio_sent_ms) == (4_000, 1_000)

    run_virtual(scenario, quiet_polls=0)


def test_whole_samples_are_dropped_whatever_the_chunks() -> None:
    source = PushSource(max_s=0.001, when_full="drop_oldest")
    for _ in range(3):
        source.send_nowait(bytes(31))
    assert source.unread_bytes % 2 == 1
    assert source.unread_bytes <= 32


def test_a_full_source_that_raises_says_what_to_do() -> None:
    source = PushSource(max_s=1, when_full="raise")
    source.send_nowait(bytes(32_000))
    with pytest.raises(LocalProtocolError, match=r"the source is full: 1.0 s of audio wait to be read \(max_s=1\)"):
        source.send_nowait(b"12")


def test_a_full_source_that_waits_has_a_deadline_without_a_session() -> None:
    async def scenario() -> None:
        source = PushSource(max_s=1)
        await source.send(bytes(32_000))
        with pytest.raises(LocalProtocolError, match="the source is full"):
            source.send_nowait(b"12")
        with pytest.raises(DeadlineError, match="no session has read this source for 60 s"):
            await source.send(b"12")
        assert now() == pytest.approx(60, abs=0.1)

    run_virtual(scenario)


def test_a_source_that_waits_loses_nothing() -> None:
    async def scenario() -> None:
        source = PushSource(max_s=0.5)

        async def push() -> None:
            for first in range(0, 5_000, 100):
                await source.send(position_audio(first, first + 100))
            source.close()

        pushing = asyncio.create_task(push())
        await asyncio.sleep(1)
        events, session = await events_of(Paraformer(), source)
        await pushing
        assert [text for _, text, _, _ in finals_of(events)] == ["one", "two", "three"]
        assert session.gaps == ()

    run_virtual(scenario, quiet_polls=0)


def test_send_raises_the_error_of_its_session_and_never_waits() -> None:
    async def scenario() -> None:
        source = PushSource(max_s=1)
        async with (
            serve(Scripted(SCRIPT, position=position_of), faults=[Cut(after_audio_ms=500)]) as emulator,
            connect(Paraformer(), emulator_service(emulator, Paraformer()), retry=Retry(attempts=0)) as session,
        ):
            await source.send(bytes(32_000))
            with pytest.raises(ConnectionLostError):
                async for _ in session.stream(source):
                    pass
            for _ in range(2):
                with pytest.raises(ConnectionLostError):
                    await source.send(bytes(32_000))
            with pytest.raises(ConnectionLostError):
                source.send_nowait(b"12")

    run_virtual(scenario, quiet_polls=0)


@pytest.mark.parametrize("on_source_error", ["finish", "cancel"])
def test_an_aborted_source_ends_the_session_with_its_error(on_source_error: Any) -> None:
    async def scenario() -> None:
        source = PushSource(max_s=10)
        error = OSError("the microphone is gone")
        for first in range(0, 1_600, 100):
            await source.send(position_audio(first, first + 100))
        source.abort(error)
        source.abort(OSError("another"))
        texts = []
        with pytest.raises(OSError, match="the microphone is gone") as caught:
            async with (
                serve(Scripted(SCRIPT, position=position_of)) as emulator,
                connect(Paraformer(), emulator_service(emulator, Paraformer())) as session,
            ):
                async for result in session.stream(source, on_source_error=on_source_error):
                    texts.append(result.text)
        assert caught.value is error
        assert ("two" in texts) is (on_source_error == "finish")
        with pytest.raises(OSError, match="the microphone is gone"):
            await source.send(bytes(2))

    run_virtual(scenario, quiet_polls=0)


async def test_a_source_is_read_once_and_of_one_format() -> None:
    source = PushSource()
    aiter(source)
    with pytest.raises(LocalProtocolError, match="is read by one session, once"):
        aiter(source)
    async with connect(Paraformer(), Local(engine=Scripted([]))) as session:
        with pytest.raises(ConfigurationError, match="the PushSource has pcm at 8000 Hz, and the session pcm at 16000"):
            await anext(session.stream(PushSource(Paraformer(sample_rate=8_000))))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"options": Paraformer}, r"Paraformer is a class: make options of it, Paraformer\(\)"),
        ({"options": 16_000}, r"int is not the options of a model, such as Paraformer\(\)"),
        ({"max_s": 0}, r"PushSource\(max_s=0\): must be a positive number of seconds"),
        ({"max_s": "2"}, r"PushSource\(max_s='2'\): must be"),
        ({"when_full": "block"}, r"when_full='block'\): must be 'wait', 'drop_oldest' or 'raise'"),
        ({"options": Paraformer(format="mp3"), "when_full": "drop_oldest"}, "mp3 cannot be read without a part of it"),
        ({"options": Paraformer(format="wav"), "when_full": "drop_oldest"}, "wav cannot be read without a part of it"),
    ],
)
def test_wrong_arguments_are_refused(arguments: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        PushSource(**arguments)


async def test_another_thread_is_refused_and_learns_how_to_push() -> None:
    source, errors = PushSource(), []
    await source.send(b"12")

    def push() -> None:
        try:
            source.send_nowait(b"34")
        except LocalProtocolError as error:
            errors.append(str(error))

    thread = threading.Thread(target=push)
    thread.start()
    thread.join()
    assert "call loop.call_soon_threadsafe(source.send_nowait, chunk)" in errors[0]


def test_a_commit_that_the_model_does_not_take_ends_the_session() -> None:
    async def scenario() -> None:
        source = PushSource()
        await source.send(bytes(3_200))
        await source.commit()
        with pytest.raises(ConfigurationError, match=r"commit\(\): paraformer-realtime-v2 finds the ends"):
            await events_of(Paraformer(), source)

    run_virtual(scenario)


def test_the_wall_time_of_speech_is_the_time_at_which_it_was_sent_first() -> None:
    async def scenario() -> None:
        async with (
            serve(Scripted(SCRIPT, position=position_of), faults=[Cut(after_audio_ms=1_500, times=1)]) as emulator,
            connect(Paraformer(), emulator_service(emulator, Paraformer())) as session,
        ):
            assert session.wall_time(0) is None
            began_at = now()
            for first in range(0, 2_000, 100):
                await session.send(position_audio(first, first + 100))
                await asyncio.sleep(0.1)
            await asyncio.sleep(30)
            resumed_at = now()
            for first in range(2_000, 5_000, 100):
                await session.send(position_audio(first, first + 100))
                await asyncio.sleep(0.1)
            for source_ms, spoken_at in ((500, began_at + 0.5), (1_900, began_at + 1.9), (3_000, resumed_at + 1)):
                wall_time = session.wall_time(source_ms)
                assert wall_time is not None
                assert wall_time == pytest.approx(time.time() - (now() - spoken_at), abs=0.25)
            await session.finish()

    run_virtual(scenario, quiet_polls=0)


def test_the_wall_time_of_speech_during_an_outage_is_the_time_of_its_arrival() -> None:
    refused = [Refuse(status=503, connection=number) for number in (2, 3, 4)]

    async def scenario() -> None:
        async with (
            serve(
                Scripted(SCRIPT, position=position_of), faults=[Cut(after_audio_ms=1_000, connection=1), *refused]
            ) as emulator,
            connect(Paraformer(), emulator_service(emulator, Paraformer()), retry=Retry(attempts=9)) as session,
        ):
            began_at = now()
            for first in range(0, 9_000, 100):
                await session.send(position_audio(first, first + 100))
                await asyncio.sleep(0.1)
            assert session.stats.reconnects == 1
            for source_ms in range(500, 9_000, 500):
                wall_time = session.wall_time(source_ms)
                assert wall_time is not None
                spoken_at = began_at + source_ms / 1000
                assert wall_time == pytest.approx(time.time() - (now() - spoken_at), abs=0.25), source_ms
            await session.finish()

    run_virtual(scenario, quiet_polls=0)
