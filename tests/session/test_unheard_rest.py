"""The rest of a source behind the only sentence that a model recognises: how much of it was left unheard."""

from __future__ import annotations

import asyncio
import itertools
import wave
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import Gap, GummyChat, Local, Rasr, Result, connect, transcribe
from asr_async.emulator import Scripted

from ..support.numbered_audio import DASHSCOPE
from ..support.scripted_server import read_until_finish, scripted_server, send_event, start_task
from ..support.virtual_time import now, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from websockets.asyncio.server import ServerConnection

    from asr_async import Event, Session
    from asr_async.vendors.options import Options

SCRIPT = [("good morning", 100, 1_100), ("how are you", 2_200, 3_900)]
CHUNK = bytes(3_200)
CHUNKS = [CHUNK] * 45
"""4.5 s, of which 3.4 s are behind the first sentence."""

REST = (1_100, 4_500)
SENTENCE_MODELS = [GummyChat(), Rasr(mode="sentence")]

one_sentence = pytest.mark.parametrize("options", SENTENCE_MODELS, ids=lambda options: options.model)


def local() -> Local:
    return Local(engine=Scripted(SCRIPT))


async def events_of(options: Options, source: Any, *, pace: float | None = 1.0) -> tuple[list[Event], Any]:
    async with connect(options, local()) as session:
        events = [event async for event in session.events(source, pace=pace)]
    assert session.gaps == tuple(event for event in events if isinstance(event, Gap))
    assert session.stats.lost_ms == sum(gap.end_ms - gap.start_ms for gap in session.gaps)
    return events, session


def places(events: list[Event]) -> list[tuple[int, int]]:
    return [(event.start_ms, event.end_ms) for event in events if isinstance(event, Gap)]


class Recording:
    """A source of a given kind; it records what was read and if it was closed."""

    def __init__(self, chunks: Any = CHUNKS) -> None:
        self.chunks = iter(chunks)
        self.read = 0
        self.is_closed = False

    def plain(self) -> Iterator[bytes]:
        try:
            for chunk in self.chunks:
                self.read += 1
                yield chunk
        finally:
            self.is_closed = True

    async def asynchronous(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self.chunks:
                self.read += 1
                yield chunk
        finally:
            self.is_closed = True

    async def microphone(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self.chunks:
                await asyncio.sleep(0.1)
                self.read += 1
                yield chunk
        finally:
            self.is_closed = True


class Declared:
    """An async source with a declared `live`."""

    def __init__(self, chunks: AsyncIterator[bytes], *, live: bool) -> None:
        self.live = live
        self.duration_ms: int | None = None
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks


# --- finite sources --------------------------------------------------------------------------------------------------


@one_sentence
@pytest.mark.parametrize("pace", [1.0, None])
@pytest.mark.parametrize("kind", ["list", "generator", "declared", "bytes"])
def test_the_whole_rest_of_a_finite_source_is_a_gap_behind_the_last_result(
    options: Options, kind: str, pace: float | None
) -> None:
    async def scenario() -> None:
        recording = Recording()
        source: Any = {
            "list": CHUNKS,
            "generator": recording.plain(),
            "declared": Declared(recording.asynchronous(), live=False),
            "bytes": b"".join(CHUNKS),
        }[kind]
        events, session = await events_of(options, source, pace=pace)
        assert places(events) == [REST]
        gap = events[-1]
        assert isinstance(gap, Gap)
        assert gap.reason == f"{options.model} recognises one sentence, and nothing behind it"
        if pace is not None:  # the rest was counted, and not sent
            assert session.stats.audio_sent_ms < 2_500
        if kind in {"generator", "declared"}:
            assert (recording.read, recording.is_closed) == (45, True)

    run_virtual(scenario)


@one_sentence
@pytest.mark.parametrize("pace", [1.0, None])
def test_the_rest_of_a_file_is_known_by_its_length(options: Options, pace: float | None, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"".join(CHUNKS))

    async def scenario() -> None:
        transcript = await transcribe(path, options, local(), pace=pace)
        assert [(gap.start_ms, gap.end_ms) for gap in transcript.gaps] == [REST]
        assert transcript.stats.lost_ms == 3_400
        assert [result.text.lower() for result in transcript.results] == ["good morning"]

    run_virtual(scenario)


@one_sentence
def test_a_source_with_a_declared_length_is_not_read_for_it(options: Options) -> None:
    async def scenario() -> None:
        recording = Recording([CHUNK] * 500)
        source = Declared(recording.asynchronous(), live=False)
        source.duration_ms = 50_000
        events, _ = await events_of(options, source)
        assert places(events) == [(1_100, 50_000)]
        assert recording.read < 25
        assert recording.is_closed

    run_virtual(scenario)


@one_sentence
@pytest.mark.parametrize(("rest_ms", "is_reported"), [(0, False), (500, False), (900, True)])
def test_the_silence_that_ends_the_sentence_is_no_gap(options: Options, rest_ms: int, is_reported: bool) -> None:
    # the defaults are 700 ms for Gummy, and 500 ms for Huawei
    async def scenario() -> None:
        events, _ = await events_of(options, [bytes(32 * (1_100 + rest_ms))], pace=None)
        assert places(events) == ([(1_100, 1_100 + rest_ms)] if is_reported else [])

    run_virtual(scenario)


@pytest.mark.parametrize("options", [GummyChat(max_end_silence=3_000), Rasr(mode="sentence", vad_tail=3_000)])
def test_the_silence_that_ends_the_sentence_is_that_of_the_options(options: Options) -> None:
    async def scenario() -> None:
        events, _ = await events_of(options, CHUNKS[:41], pace=None)
        assert places(events) == []
        events, _ = await events_of(options, CHUNKS[:43], pace=None)
        assert places(events) == [(1_100, 4_300)]

    run_virtual(scenario)


@one_sentence
@pytest.mark.parametrize("pace", [1.0, None])
def test_a_plain_iterable_without_end_is_counted_for_a_limited_time(options: Options, pace: float | None) -> None:
    async def scenario() -> None:
        began_at = now()
        events, _ = await events_of(options, itertools.repeat(bytes(320_000)), pace=pace)
        ((start_ms, end_ms),) = places(events)
        assert start_ms == 1_100
        assert end_ms >= 6 * 3_600_000
        gap = events[-1]
        assert isinstance(gap, Gap)
        assert gap.reason.endswith("; the source was not read to its end")
        assert now() - began_at < 5

    run_virtual(scenario)


@one_sentence
def test_a_source_that_fails_in_the_rest_ends_there(options: Options) -> None:
    def failing() -> Iterator[bytes]:
        yield from CHUNKS
        raise RuntimeError("unreadable")

    async def scenario() -> None:
        events, _ = await events_of(options, failing())
        assert places(events) == [REST]

    run_virtual(scenario)


# --- sources that are left -------------------------------------------------------------------------------------------


@one_sentence
def test_an_async_source_that_may_be_endless_is_left_and_closed(options: Options) -> None:
    async def scenario() -> None:
        recording = Recording()
        events, session = await events_of(options, recording.asynchronous())
        ((start_ms, end_ms),) = places(events)
        assert start_ms == 1_100
        assert session.stats.audio_sent_ms <= end_ms <= session.stats.audio_sent_ms + 200
        gap = events[-1]
        assert isinstance(gap, Gap)
        assert gap.reason.endswith("; the source was not read to its end")
        assert recording.is_closed
        assert recording.read < 25

    run_virtual(scenario)


@one_sentence
@pytest.mark.parametrize("live", [False, None])
def test_an_async_source_that_is_cancelled_while_it_reads_has_an_unread_rest(
    options: Options, live: bool | None
) -> None:
    async def slow_reads() -> AsyncIterator[bytes]:
        for chunk in CHUNKS:
            await asyncio.sleep(0.02)
            yield chunk

    async def scenario() -> None:
        # the sentence is over while the source is waited for, sooner or later
        for pace in (1.0, 1.01, 1.02, 1.03, 1.04, 1.05, None):
            source: Any = slow_reads() if live is None else Declared(slow_reads(), live=live)
            events, _ = await events_of(options, source, pace=pace)
            gap = events[-1]
            assert isinstance(gap, Gap)
            assert gap.start_ms == 1_100
            assert gap.end_ms == 4_500 or gap.reason.endswith("; the source was not read to its end")

    run_virtual(scenario)


@one_sentence
def test_an_async_source_that_ends_with_the_sentence_has_no_rest(options: Options) -> None:
    async def scenario() -> None:
        recording = Recording(CHUNKS[:15])
        events, _ = await events_of(options, recording.asynchronous(), pace=None)
        assert places(events) == []
        assert recording.is_closed

    run_virtual(scenario)


@one_sentence
@pytest.mark.parametrize("kind", ["declared", "detected"])
def test_a_live_source_is_left_and_closed_and_its_delay_is_no_gap(options: Options, kind: str) -> None:
    async def scenario() -> None:
        recording = Recording()
        microphone = recording.microphone()
        events, _ = await events_of(options, Declared(microphone, live=True) if kind == "declared" else microphone)
        assert places(events) == []
        assert recording.is_closed
        assert recording.read < 25

    run_virtual(scenario)


@one_sentence
def test_pushed_audio_that_was_not_recognised_is_a_gap(options: Options) -> None:
    async def scenario() -> None:
        async with connect(options, local()) as session:
            for chunk in CHUNKS:
                await session.send(chunk)
            await session.finish()
            events = [event async for event in session.events()]
        assert places(events) == [REST]
        assert session.gaps == (events[-1],)

    run_virtual(scenario)


@one_sentence
@pytest.mark.parametrize("is_late", [True, False])
def test_audio_that_is_pushed_behind_the_end_of_the_session_extends_the_gap(options: Options, is_late: bool) -> None:
    async def push(session: Session) -> None:
        for chunk in CHUNKS:
            await session.send(chunk)
            await asyncio.sleep(0.1)
        await session.finish()

    async def scenario() -> None:
        async with connect(options, local()) as session:
            pushing = asyncio.create_task(push(session))
            if is_late:
                await pushing
            events = [event async for event in session.events()]
            await pushing
        # the session ends at two seconds, when a second of the rest was pushed: less than live audio has as its delay
        assert places(events) == ([REST] if is_late else [])
        assert [(gap.start_ms, gap.end_ms) for gap in session.gaps] == [REST]
        assert session.stats.lost_ms == 3_400

    run_virtual(scenario)


@one_sentence
def test_pushed_audio_of_results_alone_leaves_its_gap_in_the_session(options: Options, caplog: Any) -> None:
    async def scenario() -> None:
        async with connect(options, local()) as session:
            for chunk in CHUNKS:
                await session.send(chunk)
            await session.finish()
            assert {type(result) async for result in session} == {Result}
        assert [(gap.start_ms, gap.end_ms) for gap in session.gaps] == [REST]

    run_virtual(scenario)
    assert caplog.text.count("session.gaps has it") == 1


# --- a sentence that is over only when all audio was sent ------------------------------------------------------------


async def serve_after_finish(connection: ServerConnection) -> None:
    """Send the only final when the client has finished."""
    task_id = await start_task(connection)
    await read_until_finish(connection)
    sentence = {"sentence_id": 0, "begin_time": 100, "end_time": 1_100, "text": "good morning", "sentence_end": True}
    await send_event(connection, "result-generated", task_id, {"output": {"transcription": sentence}})
    await DASHSCOPE.finish_task(connection, task_id)


@pytest.mark.parametrize("is_pushed", [True, False])
def test_the_rest_is_a_gap_too_if_the_source_ended_before_the_sentence_was_over(is_pushed: bool) -> None:
    async def scenario() -> None:
        async with scripted_server(serve_after_finish) as service, connect(GummyChat(), service) as session:
            if is_pushed:
                for chunk in CHUNKS:
                    await session.send(chunk)
                await session.finish()
            stream = session.events() if is_pushed else session.events(CHUNKS, pace=None)
            events = [event async for event in stream]
        assert places(events) == [REST]

    run_virtual(scenario)


async def serve_no_sentence(connection: ServerConnection) -> None:
    """Confirm the end without a word."""
    task_id = await start_task(connection)
    await read_until_finish(connection)
    await DASHSCOPE.finish_task(connection, task_id)


@pytest.mark.parametrize("pace", [1.0, None])
def test_a_source_without_a_sentence_was_recognised_to_its_end(pace: float | None) -> None:
    async def scenario() -> None:
        async with scripted_server(serve_no_sentence) as service, connect(GummyChat(), service) as session:
            assert [event async for event in session.events(CHUNKS, pace=pace)] == []
        assert session.gaps == ()

    run_virtual(scenario)


# --- compressed audio ------------------------------------------------------------------------------------------------

MP3_FRAME = b"\xff\xf3\x88\xc0" + bytes(284)
"""36 ms at 16 kHz: MPEG-2 layer III, 64 kbit/s, mono."""


async def serve_after_a_second(connection: ServerConnection) -> None:
    """Send the only final after 16 KB of audio, and end the task as the client has finished."""
    task_id = await start_task(connection)
    received_bytes = 0
    while received_bytes < 16_000:
        received_bytes += len(await connection.recv())
    sentence = {"sentence_id": 0, "begin_time": 100, "end_time": 1_100, "text": "good morning", "sentence_end": True}
    await send_event(connection, "result-generated", task_id, {"output": {"transcription": sentence}})
    await read_until_finish(connection)
    await DASHSCOPE.finish_task(connection, task_id)


async def gaps_of_compressed(source: Any, serve: Any) -> tuple[Gap, ...]:
    options = GummyChat(format="mp3")
    async with scripted_server(serve) as service, connect(options, service) as session:
        async for _ in session.stream(source, pace=None):
            pass
    return session.gaps


@pytest.mark.parametrize("serve", [serve_after_finish, serve_after_a_second])
def test_the_rest_of_compressed_audio_is_measured_by_its_packets(serve: Any) -> None:
    async def scenario() -> None:
        source = (MP3_FRAME for _ in range(125))
        gaps = await gaps_of_compressed(source, serve)
        assert [(gap.start_ms, gap.end_ms) for gap in gaps] == [REST]

    run_virtual(scenario)


def test_the_rest_of_compressed_audio_of_unknown_length_is_a_gap_without_a_length() -> None:
    async def scenario() -> None:
        (gap,) = await gaps_of_compressed([b"\x01" * 16_000] * 40, serve_after_a_second)
        assert (gap.start_ms, gap.end_ms) == (1_100, 1_100)
        assert gap.reason.endswith("; the length of the rest is not known, since it is mp3")
        assert await gaps_of_compressed([b"\x01" * 16_000], serve_after_finish) == ()

    run_virtual(scenario)


# --- vendors that end the task by themselves -------------------------------------------------------------------------


async def serve_one_sentence(connection: ServerConnection) -> None:
    """Send a final after 1.5 s of audio, and end the task without a request."""
    task_id = await start_task(connection)
    received_bytes = 0
    while received_bytes < 48_000:
        received_bytes += len(await connection.recv())
    await DASHSCOPE.finish_task(connection, task_id)


def test_a_task_that_finishes_by_itself_without_a_word_leaves_the_whole_source() -> None:
    async def scenario() -> None:
        recording = Recording()
        async with scripted_server(serve_one_sentence) as service, connect(GummyChat(), service) as session:
            events = [event async for event in session.events(recording.plain())]
        assert places(events) == [(0, 4_500)]
        assert recording.is_closed

    run_virtual(scenario)
