"""Many sources: each is told as it is done, none keeps another from being tried, and all of it is bounded."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from asr_async import (
    ASRError,
    Client,
    ConfigurationError,
    DashScope,
    LocalProtocolError,
    Paraformer,
    Rasr,
    Retry,
    Timeouts,
    read_audio,
)
from asr_async.client import CONCURRENCY
from asr_async.emulator import EngineRefusedError, Scripted, serve
from asr_async.emulator.engines.engine import Emit, Recognition, Request

from .support.virtual_time import run_virtual
from .support.waiting import wait_until

pytestmark = pytest.mark.both_loops

SECOND = bytes(32_000)
SCRIPT = [("Good morning.", 100, 900), ("Good night.", 5_100, 5_900)]
BAD = b"\x07\x00"
"""A sample that the engine of these tests refuses."""


class CountingEngine(Scripted):
    """Follows the script; counts how many listen at once, and refuses audio that begins with `BAD`."""

    def __init__(self) -> None:
        super().__init__(SCRIPT)
        self.at_once = 0
        self.most_at_once = 0
        self.opened = 0

    async def open(self, request: Request, emit: Emit) -> Any:
        self.opened += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        return _Counted(self, await super().open(request, emit))


class _Counted:
    def __init__(self, engine: CountingEngine, recognition: Recognition) -> None:
        self._engine = engine
        self._recognition = recognition
        self._is_open = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recognition, name)

    async def feed(self, samples: bytes) -> None:
        await self._recognition.feed(samples)
        if BAD in samples:
            raise EngineRefusedError("the engine stumbled", kind="unsupported")

    async def aclose(self) -> None:
        self._engine.at_once -= self._is_open
        self._is_open = False
        await self._recognition.aclose()


@asynccontextmanager
async def running(engine: CountingEngine | None = None) -> AsyncIterator[Client]:
    async with serve(engine or CountingEngine()) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        async with Client(service, retry=Retry(attempts=0), timeouts=Timeouts(close=2)) as client:
            yield client


def workers() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if "TranscriptionBatch" in repr(task.get_coro())}


def audio(seconds: float) -> list[bytes]:
    return [bytes(round(seconds * 32_000))]


class Reading:
    """An endless iterable of sources that says how far it was read, and that it was closed."""

    def __init__(self, source: list[bytes], count: int = 1_000_000) -> None:
        self.read = 0
        self.is_closed = False
        self._source = source
        self._count = count

    def __iter__(self) -> Iterator[list[bytes]]:
        try:
            for _ in range(self._count):
                self.read += 1
                yield self._source
        finally:
            self.is_closed = True

    async def __call__(self) -> AsyncIterator[list[bytes]]:
        for source in self:
            await asyncio.sleep(0)
            yield source


# --- what comes out --------------------------------------------------------------------------------------------------


def test_transcripts_come_as_they_are_done_each_with_its_source_and_number() -> None:
    sources = [audio(3), audio(1), audio(2)]

    async def scenario() -> None:
        async with running() as client:
            items = [item async for item in client.transcribe_many(sources, Paraformer(), pace=1.0)]
            assert [item.index for item in items] == [1, 2, 0]
            assert all(item.source is sources[item.index] for item in items)
            assert all(item.error is None for item in items)
            assert [item.transcript.duration_ms for item in items if item.transcript] == [1_000, 2_000, 3_000]

    run_virtual(scenario)


async def test_one_failure_stops_no_other_and_what_was_recognised_is_with_it(tmp_path: Path) -> None:
    missing = tmp_path / "missing.wav"
    sources: list[Any] = [[SECOND], [SECOND, BAD + SECOND], missing, broken_source(), [SECOND], 7]
    async with running() as client:
        items = {item.index: item async for item in client.transcribe_many(sources, Paraformer(), concurrency=2)}
    assert len(items) == len(sources)
    texts = {index: item.transcript and item.transcript.text for index, item in items.items()}
    assert texts == {0: "Good morning.", 1: "Good morning.", 2: None, 3: None, 4: "Good morning.", 5: None}
    errors = {index: str(item.error) for index, item in items.items() if item.error is not None}
    assert set(errors) == {1, 2, 3, 5}
    assert "the engine stumbled" in errors[1]
    assert isinstance(items[1].error, ASRError)
    assert isinstance(items[2].error, FileNotFoundError)
    assert isinstance(items[3].error, ZeroDivisionError)
    assert errors[5] == "a source must be an iterable of bytes, not int"


async def broken_source() -> AsyncIterator[bytes]:
    yield SECOND
    raise ZeroDivisionError


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_paths_are_read_and_the_iterable_may_be_asynchronous(concurrency: int, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.pcm").write_bytes(SECOND)

    async def paths() -> AsyncIterator[Path | str]:
        for number in range(5):
            await asyncio.sleep(0)
            yield tmp_path / f"{number}.pcm" if number % 2 else str(tmp_path / f"{number}.pcm")

    async with running() as client:
        items = [item async for item in client.transcribe_many(paths(), Paraformer(), concurrency=concurrency)]
    assert sorted(Path(item.source).name for item in items) == [f"{number}.pcm" for number in range(5)]
    assert {item.transcript and item.transcript.text for item in items} == {"Good morning."}


async def test_of_no_sources_nothing_comes() -> None:
    engine = CountingEngine()
    async with running(engine) as client:
        nothing: list[Path] = []
        assert [item async for item in client.transcribe_many(nothing, Paraformer())] == []
        assert workers() == set()
    assert engine.opened == 0


async def test_after_its_end_a_loop_stays_at_its_end() -> None:
    async with running() as client:
        many = client.transcribe_many([[SECOND]], Paraformer())
        assert repr(many) == "<TranscriptionBatch new, 0 workers, 0 results waiting>"
        assert len([item async for item in many]) == 1
        assert [item async for item in many] == []
        assert repr(many) == "<TranscriptionBatch closed, 0 workers, 0 results waiting>"


class DiskError(Exception):
    pass


@pytest.mark.parametrize("kind", [list, aiter], ids=["plain", "async"])
async def test_what_the_iterable_raises_comes_bare_after_all_that_was_begun(kind: Any) -> None:
    def listing() -> Iterator[list[bytes]]:
        yield [SECOND]
        yield [SECOND]
        raise DiskError("the directory is gone")

    async def async_listing() -> AsyncIterator[list[bytes]]:
        for source in listing():
            yield source

    sources: Any = listing() if kind is list else async_listing()
    texts = []
    async with running() as client:
        many = client.transcribe_many(sources, Paraformer())
        with pytest.raises(DiskError, match="the directory is gone"):
            async for item in many:
                texts.append(item.transcript and item.transcript.text)
        assert texts == ["Good morning."] * 2
        assert workers() == set()


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_never_more_sessions_at_once_than_asked_for_and_never_fewer_without_need(concurrency: int) -> None:
    async def scenario() -> None:
        engine = CountingEngine()
        async with running(engine) as client:
            began_at = asyncio.get_running_loop().time()
            sources = [audio(2)] * 24
            async for item in client.transcribe_many(sources, Paraformer(), concurrency=concurrency, pace=1.0):
                assert item.error is None
            took_s = asyncio.get_running_loop().time() - began_at
        assert engine.most_at_once == concurrency
        assert took_s == pytest.approx(24 / concurrency * 2, rel=0.2)

    run_virtual(scenario)


def test_a_caller_who_takes_nothing_stops_the_reading_of_sources() -> None:
    async def scenario() -> None:
        engine, sources = CountingEngine(), Reading(audio(1))
        async with (
            running(engine) as client,
            client.transcribe_many(sources(), Paraformer(), concurrency=3, pace=1.0) as many,
        ):
            await anext(many)
            await asyncio.sleep(600)
            assert sources.read == 7  # one taken, three that wait, three in the hands of workers
            assert engine.at_once == 0
            for _ in range(4):
                await anext(many)
            await asyncio.sleep(600)
            assert sources.read == 11

    run_virtual(scenario)


def test_a_slow_iterable_keeps_no_result_waiting() -> None:
    async def scenario() -> None:
        async def slow() -> AsyncIterator[list[bytes]]:
            for _ in range(3):
                yield audio(1)
                await asyncio.sleep(60)

        async with running() as client:
            loop = asyncio.get_running_loop()
            came_at = [round(loop.time()) async for _ in client.transcribe_many(slow(), Paraformer(), pace=1.0)]
            assert came_at == [1, 61, 121]

    run_virtual(scenario)


async def test_hundreds_of_sources_are_worked_off_on_as_many_connections_as_are_at_work() -> None:
    engine = CountingEngine()
    async with running(engine) as client:
        done = 0
        async for item in client.transcribe_many(Reading([SECOND], 300), Paraformer()):
            assert item.error is None
            done += 1
        assert client._connections is not None
        assert len(client._connections) <= CONCURRENCY
    assert (done, engine.most_at_once) == (300, CONCURRENCY)


# --- leaving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_leaving_the_block_stops_all_that_is_under_way(is_async: bool) -> None:
    engine, sources = CountingEngine(), Reading(audio(1))
    async with running(engine) as client:
        iterable = sources() if is_async else iter(sources)
        async with client.transcribe_many(iterable, Paraformer(), concurrency=3) as many:
            async for _ in many:
                break
        assert workers() == set()
        assert sources.is_closed or is_async  # what an async generator iterates is its own affair
        with pytest.raises(LocalProtocolError, match="the batch was closed before all of its results were read"):
            await anext(many)
        await wait_until(lambda: engine.at_once == 0)


async def test_an_abandoned_loop_ends_with_its_client() -> None:
    engine, sources = CountingEngine(), Reading(audio(1))
    async with running(engine) as client:
        async for _ in client.transcribe_many(sources, Paraformer(), concurrency=3):
            break
        assert len(workers()) == 3
        await wait_until(lambda: sources.read == 7 and engine.at_once == 0)
        closings = [sources.is_closed]
    assert sources.read == 7
    assert [*closings, sources.is_closed] == [False, True]
    assert workers() == set()


async def test_one_that_was_never_begun_leaves_nothing() -> None:
    sources = Reading(audio(1))
    async with running() as client:
        async with client.transcribe_many(sources, Paraformer()) as many:
            pass
        with pytest.raises(LocalProtocolError, match="the batch was closed before all of its results were read"):
            await anext(many)
    assert sources.read == 0


async def test_closing_wakes_a_loop_that_waits_in_another_task() -> None:
    async def never() -> AsyncIterator[list[bytes]]:
        await asyncio.Event().wait()
        yield []

    async def consume(many: Any) -> None:
        async for _ in many:
            pass

    async with running() as client:
        many = client.transcribe_many(never(), Paraformer())
        consumer = asyncio.create_task(consume(many))
        await asyncio.sleep(0.01)
        await many.aclose()
        with pytest.raises(LocalProtocolError, match="the batch was closed before all of its results were read"):
            await consumer


@pytest.mark.parametrize("how", ["cancel", "scope", "timeout"])
@pytest.mark.parametrize("at_s", [0.0, 0.5, 1.0, 1.3, 4.0])
def test_cancelled_at_any_time_no_task_and_no_session_is_left(how: str, at_s: float) -> None:
    async def consume(client: Client, sources: Iterable[list[bytes]]) -> None:
        async with client.transcribe_many(sources, Paraformer(), concurrency=3, pace=1.0) as many:
            async for _ in many:
                await asyncio.sleep(0.7)

    async def stopped(work: Coroutine[Any, Any, None]) -> None:
        if how == "cancel":
            task = asyncio.create_task(work)
            await asyncio.sleep(at_s)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or at_s == 0
        elif how == "scope":
            with anyio.move_on_after(at_s) as scope:
                await work
            assert scope.cancelled_caught
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(at_s):
                    await work

    async def scenario() -> None:
        engine = CountingEngine()
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
        async with running(engine) as client:
            await stopped(consume(client, iter(Reading(audio(1.2)))))
            assert workers() == set()
            assert client._open_batches == set()
            await asyncio.sleep(3)
            assert engine.at_once == 0
        assert complaints == []

    run_virtual(scenario)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, "8"])
async def test_a_concurrency_of_less_than_one_is_refused(concurrency: Any) -> None:
    async with running() as client:
        text = f"concurrency={concurrency!r}: must be a whole number, 1 or more"
        with pytest.raises(ConfigurationError, match=f"^{re.escape(text)}$"):
            client.transcribe_many(["a.wav"], Paraformer(), concurrency=concurrency)


@pytest.mark.parametrize("source", ["a.wav", Path("a.wav"), read_audio("a.wav")], ids=["text", "path", "file"])
async def test_one_source_where_many_are_expected_is_refused(source: Any) -> None:
    async with running() as client:
        with pytest.raises(
            ConfigurationError, match=r"^transcribe_many\(\) needs an iterable of sources, such as \[.*a\.wav.*\];"
        ):
            client.transcribe_many(source, Paraformer())


async def test_options_of_another_vendor_are_refused_once_and_at_once() -> None:
    async with running() as client:
        with pytest.raises(ConfigurationError, match="Rasr"):
            client.transcribe_many([[SECOND]], Rasr())


async def test_a_client_that_is_not_open_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="the client is not open"):
        Client(DashScope("key")).transcribe_many([[SECOND]], Paraformer())
