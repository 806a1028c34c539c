"""Batches of sources: items in the order of completion, failures that stop no other source, and bounds."""

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

from ..support.virtual_time import now, run_virtual
from ..support.waiting import wait_until

pytestmark = pytest.mark.both_loops

SECOND = bytes(32_000)
SCRIPT = [("Good morning.", 100, 900), ("Good night.", 5_100, 5_900)]
BAD = b"\x07\x00"
"""A sample that the engine of these tests refuses."""


class CountingEngine(Scripted):
    """A scripted engine that counts its recognitions at once, and refuses audio that contains `BAD`."""

    def __init__(self) -> None:
        super().__init__(SCRIPT)
        self.open_count = 0
        self.max_open_count = 0
        self.opened = 0

    async def open(self, request: Request, emit: Emit) -> Any:
        self.opened += 1
        self.open_count += 1
        self.max_open_count = max(self.max_open_count, self.open_count)
        return _CountedRecognition(self, await super().open(request, emit))


class _CountedRecognition:
    def __init__(self, engine: CountingEngine, recognition: Recognition) -> None:
        self._engine = engine
        self._recognition = recognition
        self._is_open = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recognition, name)

    async def feed(self, samples: bytes) -> None:
        await self._recognition.feed(samples)
        if BAD in samples:
            raise EngineRefusedError("the engine failed", kind="unsupported")

    async def aclose(self) -> None:
        self._engine.open_count -= self._is_open
        self._is_open = False
        await self._recognition.aclose()


@asynccontextmanager
async def emulator_client(engine: CountingEngine | None = None) -> AsyncIterator[Client]:
    async with serve(engine or CountingEngine()) as emulator:
        service = DashScope("key", endpoint=emulator.dashscope_url)
        async with Client(service, retry=Retry(attempts=0), timeouts=Timeouts(close=2)) as client:
            yield client


def workers() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if "TranscriptionBatch" in repr(task.get_coro())}


def audio(seconds: float) -> list[bytes]:
    return [bytes(round(seconds * 32_000))]


class CountingSources:
    """An (async) iterable of sources that counts those it yielded and records that it was closed."""

    def __init__(self, source: list[bytes], count: int = 1_000_000) -> None:
        self.yielded = 0
        self.is_closed = False
        self._source = source
        self._count = count

    def __iter__(self) -> Iterator[list[bytes]]:
        try:
            for _ in range(self._count):
                self.yielded += 1
                yield self._source
        finally:
            self.is_closed = True

    async def __call__(self) -> AsyncIterator[list[bytes]]:
        for source in self:
            await asyncio.sleep(0)
            yield source


# --- items -----------------------------------------------------------------------------------------------------------


def test_items_arrive_in_the_order_of_completion_with_source_and_index() -> None:
    sources = [audio(3), audio(1), audio(2)]

    async def scenario() -> None:
        async with emulator_client() as client:
            items = [item async for item in client.transcribe_many(sources, Paraformer(), pace=1.0)]
            assert [item.index for item in items] == [1, 2, 0]
            assert all(item.source is sources[item.index] for item in items)
            assert all(item.error is None for item in items)
            assert [item.transcript.duration_ms for item in items if item.transcript] == [1_000, 2_000, 3_000]

    run_virtual(scenario)


async def test_a_failure_does_not_stop_other_sources_and_keeps_its_partial_transcript(tmp_path: Path) -> None:
    missing = tmp_path / "missing.wav"
    sources: list[Any] = [[SECOND], [SECOND, BAD + SECOND], missing, failing_source(), [SECOND], 7]
    async with emulator_client() as client:
        items = {item.index: item async for item in client.transcribe_many(sources, Paraformer(), concurrency=2)}
    assert len(items) == len(sources)
    texts = {index: item.transcript and item.transcript.text for index, item in items.items()}
    assert texts == {0: "Good morning.", 1: "Good morning.", 2: None, 3: None, 4: "Good morning.", 5: None}
    errors = {index: str(item.error) for index, item in items.items() if item.error is not None}
    assert set(errors) == {1, 2, 3, 5}
    assert "the engine failed" in errors[1]
    assert isinstance(items[1].error, ASRError)
    assert isinstance(items[2].error, FileNotFoundError)
    assert isinstance(items[3].error, ZeroDivisionError)
    assert errors[5] == "a source must be an iterable of bytes, not int"


async def test_a_source_that_raises_generator_exit_costs_only_its_own_item() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield SECOND
        raise GeneratorExit

    async with emulator_client() as client:
        sources: list[Any] = [failing(), [SECOND]]
        items = {item.index: item async for item in client.transcribe_many(sources, Paraformer(), concurrency=1)}
    assert repr(items[0].error) == "RuntimeError('the source raised GeneratorExit')"
    assert items[1].error is None


async def failing_source() -> AsyncIterator[bytes]:
    yield SECOND
    raise ZeroDivisionError


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_sources_may_be_paths_and_their_iterable_asynchronous(concurrency: int, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.pcm").write_bytes(SECOND)

    async def paths() -> AsyncIterator[Path | str]:
        for number in range(5):
            await asyncio.sleep(0)
            yield tmp_path / f"{number}.pcm" if number % 2 else str(tmp_path / f"{number}.pcm")

    async with emulator_client() as client:
        items = [item async for item in client.transcribe_many(paths(), Paraformer(), concurrency=concurrency)]
    assert sorted(Path(item.source).name for item in items) == [f"{number}.pcm" for number in range(5)]
    assert {item.transcript and item.transcript.text for item in items} == {"Good morning."}


async def test_a_batch_without_sources_is_empty() -> None:
    engine = CountingEngine()
    async with emulator_client(engine) as client:
        nothing: list[Path] = []
        assert [item async for item in client.transcribe_many(nothing, Paraformer())] == []
        assert workers() == set()
    assert engine.opened == 0


async def test_an_exhausted_batch_stays_exhausted() -> None:
    async with emulator_client() as client:
        batch = client.transcribe_many([[SECOND]], Paraformer())
        assert repr(batch) == "<TranscriptionBatch new, 0 workers, 0 results waiting>"
        assert len([item async for item in batch]) == 1
        assert [item async for item in batch] == []
        assert repr(batch) == "<TranscriptionBatch closed, 0 workers, 0 results waiting>"


class DiskError(Exception):
    pass


@pytest.mark.parametrize("kind", [list, aiter], ids=["plain", "async"])
async def test_an_exception_of_the_iterable_is_raised_unchanged_after_the_items_before_it(kind: Any) -> None:
    def listing() -> Iterator[list[bytes]]:
        yield [SECOND]
        yield [SECOND]
        raise DiskError("the directory is gone")

    async def async_listing() -> AsyncIterator[list[bytes]]:
        for source in listing():
            yield source

    sources: Any = listing() if kind is list else async_listing()
    texts = []
    async with emulator_client() as client:
        batch = client.transcribe_many(sources, Paraformer())
        with pytest.raises(DiskError, match="the directory is gone"):
            async for item in batch:
                texts.append(item.transcript and item.transcript.text)
        assert texts == ["Good morning."] * 2
        assert workers() == set()


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_concurrency_is_the_number_of_sessions_at_once(concurrency: int) -> None:
    async def scenario() -> None:
        engine = CountingEngine()
        async with emulator_client(engine) as client:
            started_at = now()
            sources = [audio(2)] * 24
            async for item in client.transcribe_many(sources, Paraformer(), concurrency=concurrency, pace=1.0):
                assert item.error is None
            took_s = now() - started_at
        assert engine.max_open_count == concurrency
        assert took_s == pytest.approx(24 / concurrency * 2, rel=0.2)

    run_virtual(scenario)


def test_no_further_source_is_read_while_no_item_is_read() -> None:
    async def scenario() -> None:
        engine, sources = CountingEngine(), CountingSources(audio(1))
        async with (
            emulator_client(engine) as client,
            client.transcribe_many(sources(), Paraformer(), concurrency=3, pace=1.0) as batch,
        ):
            await anext(batch)
            await asyncio.sleep(600)
            assert sources.yielded == 7  # one item read, three waiting, three held by workers
            assert engine.open_count == 0
            for _ in range(4):
                await anext(batch)
            await asyncio.sleep(600)
            assert sources.yielded == 11

    run_virtual(scenario)


def test_a_slow_iterable_does_not_delay_items() -> None:
    async def scenario() -> None:
        async def slow_sources() -> AsyncIterator[list[bytes]]:
            for _ in range(3):
                yield audio(1)
                await asyncio.sleep(60)

        async with emulator_client() as client:
            items_at = [round(now()) async for _ in client.transcribe_many(slow_sources(), Paraformer(), pace=1.0)]
            assert items_at == [1, 61, 121]

    run_virtual(scenario)


async def test_hundreds_of_sources_use_as_many_connections_as_sessions_at_once() -> None:
    engine = CountingEngine()
    async with emulator_client(engine) as client:
        count = 0
        async for item in client.transcribe_many(CountingSources([SECOND], 300), Paraformer()):
            assert item.error is None
            count += 1
        assert client._connections is not None
        assert len(client._connections) <= CONCURRENCY
    assert (count, engine.max_open_count) == (300, CONCURRENCY)


# --- early exits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_leaving_the_block_stops_the_sessions_that_have_started(is_async: bool) -> None:
    engine, sources = CountingEngine(), CountingSources(audio(1))
    async with emulator_client(engine) as client:
        iterable = sources() if is_async else iter(sources)
        async with client.transcribe_many(iterable, Paraformer(), concurrency=3) as batch:
            async for _ in batch:
                break
        assert workers() == set()
        assert sources.is_closed or is_async  # an async generator does not close what it iterates
        with pytest.raises(LocalProtocolError, match="the batch was closed before all of its results were read"):
            await anext(batch)
        await wait_until(lambda: engine.open_count == 0)


async def test_an_abandoned_batch_ends_with_its_client() -> None:
    engine, sources = CountingEngine(), CountingSources(audio(1))
    async with emulator_client(engine) as client:
        async for _ in client.transcribe_many(sources, Paraformer(), concurrency=3):
            break
        assert len(workers()) == 3
        await wait_until(lambda: sources.yielded == 7 and engine.open_count == 0)
        was_closed = [sources.is_closed]
    assert sources.yielded == 7
    assert [*was_closed, sources.is_closed] == [False, True]
    assert workers() == set()


async def test_a_batch_that_never_started_reads_no_source() -> None:
    sources = CountingSources(audio(1))
    async with emulator_client() as client:
        async with client.transcribe_many(sources, Paraformer()) as batch:
            pass
        with pytest.raises(LocalProtocolError, match="the batch was closed before all of its results were read"):
            await anext(batch)
    assert sources.yielded == 0


async def test_closing_a_batch_ends_a_loop_that_waits_in_another_task() -> None:
    async def no_sources() -> AsyncIterator[list[bytes]]:
        await asyncio.Event().wait()
        yield []

    async def read_all(batch: Any) -> None:
        async for _ in batch:
            pass

    async with emulator_client() as client:
        batch = client.transcribe_many(no_sources(), Paraformer())
        consumer = asyncio.create_task(read_all(batch))
        await asyncio.sleep(0.01)
        await batch.aclose()
        with pytest.raises(LocalProtocolError, match="the batch was closed before all of its results were read"):
            await consumer


@pytest.mark.parametrize("how", ["cancel", "scope", "timeout"])
@pytest.mark.parametrize("at_s", [0.0, 0.5, 1.0, 1.3, 4.0])
def test_a_batch_that_is_cancelled_at_any_time_leaves_no_task_and_no_session(how: str, at_s: float) -> None:
    async def read_slowly(client: Client, sources: Iterable[list[bytes]]) -> None:
        async with client.transcribe_many(sources, Paraformer(), concurrency=3, pace=1.0) as batch:
            async for _ in batch:
                await asyncio.sleep(0.7)

    async def run_and_stop(work: Coroutine[Any, Any, None]) -> None:
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
        errors_of_loop: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors_of_loop.append(context))
        async with emulator_client(engine) as client:
            await run_and_stop(read_slowly(client, iter(CountingSources(audio(1.2)))))
            assert workers() == set()
            assert client._open_batches == set()
            await asyncio.sleep(3)
            assert engine.open_count == 0
        assert errors_of_loop == []

    run_virtual(scenario)


# --- refused arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, "8"])
async def test_concurrency_must_be_a_whole_number_of_at_least_one(concurrency: Any) -> None:
    async with emulator_client() as client:
        text = f"concurrency={concurrency!r}: must be a whole number, 1 or more"
        with pytest.raises(ConfigurationError, match=f"^{re.escape(text)}$"):
            client.transcribe_many(["a.wav"], Paraformer(), concurrency=concurrency)


@pytest.mark.parametrize("source", ["a.wav", Path("a.wav"), read_audio("a.wav")], ids=["text", "path", "file"])
async def test_a_single_source_is_refused(source: Any) -> None:
    async with emulator_client() as client:
        with pytest.raises(
            ConfigurationError, match=r"^transcribe_many\(\) needs an iterable of sources, such as \[.*a\.wav.*\];"
        ):
            client.transcribe_many(source, Paraformer())


async def test_options_of_another_vendor_are_refused_at_once() -> None:
    async with emulator_client() as client:
        with pytest.raises(ConfigurationError, match="Rasr"):
            client.transcribe_many([[SECOND]], Rasr())


async def test_a_client_must_be_open() -> None:
    with pytest.raises(LocalProtocolError, match="the client is not open"):
        Client(DashScope("key")).transcribe_many([[SECOND]], Paraformer())
