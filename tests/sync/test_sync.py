"""The blocking face: the names of the async one, sessions in many threads, deadlines, and sources that block."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import asr_async
from asr_async import (
    ASRError,
    ConfigurationError,
    DashScope,
    DeadlineError,
    Gap,
    HotWord,
    LocalProtocolError,
    Paraformer,
    QwenRealtime,
    Reconnected,
    Result,
    SpeechEnded,
    SpeechStarted,
    sync,
)
from asr_async.emulator import Scripted, serve
from asr_async.sync._loop import ItemReader, background_loop
from asr_async.telemetry import Observer, SessionInfo
from asr_async.vendors import service as vendor_services

from ..support.numbered_audio import NumberedServer, cut
from ..support.paths import EXAMPLES
from ..support.scripted_server import scripted_server
from ..support.threaded_server import in_a_thread, numbered_chunks, numbered_chunks_async

SCRIPT = Scripted([("good morning", 0, 700), ("how are you", 900, 1_800)])


@pytest.fixture(scope="module")
def emulator() -> Iterator[asr_async.emulator.Emulator]:
    with in_a_thread(serve(SCRIPT)) as running:
        yield running


@pytest.fixture(scope="module")
def service(emulator: asr_async.emulator.Emulator) -> DashScope:
    return DashScope("sk-test", endpoint=emulator.dashscope_url)


@pytest.fixture
def client(service: DashScope) -> Iterator[sync.Client]:
    with sync.Client(service) as opened:
        yield opened


def texts_of(events: Any) -> list[str]:
    return [event.text for event in events if isinstance(event, Result) and event.is_final]


WHOLE = ["good morning", "how are you"]
TWO_SECONDS = [bytes(3_200)] * 20

# --- the same names --------------------------------------------------------------------------------------------------

PAIRS = [
    (asr_async.Client, sync.Client),
    (asr_async.Session, sync.Session),
    (asr_async.session.ResultStream, sync.ResultStream),
    (asr_async.TranscriptionBatch, sync.TranscriptionBatch),
    (vendor_services.Vocabularies, sync.Vocabularies),
    (asr_async.connect, sync.connect),
]

OTHER_NAMES = {"aclose": "close"}

INTERNAL = {"audio", "is_of_session", "is_replaced", "on_source_error", "pace", "wants_events"}
"""Attributes of `ResultStream` that its session uses."""


@pytest.mark.parametrize(("original", "blocking"), PAIRS, ids=lambda cls: cls.__module__)
def test_the_blocking_face_has_every_method_with_the_same_parameters(original: type, blocking: type) -> None:
    for name in {name for name in dir(original) if not name.startswith("_")} - INTERNAL:
        counterpart = getattr(blocking, OTHER_NAMES.get(name, name), None)
        assert counterpart is not None, f"asr_async.sync has no {blocking.__name__}.{name}"
        method = getattr(original, name)
        assert isinstance(method, property) == isinstance(counterpart, property), name
        if callable(method):
            parameters = {*inspect.signature(method).parameters}
            assert parameters <= {*inspect.signature(counterpart).parameters}, f"{blocking.__name__}.{name}"
            waits = inspect.iscoroutinefunction(method) and name not in {"aclose", "cancel"}
            assert not waits or "timeout" in inspect.signature(counterpart).parameters, f"{blocking.__name__}.{name}"


def test_the_functions_and_the_client_take_the_same_arguments() -> None:
    assert {*inspect.signature(asr_async.transcribe).parameters, "timeout"} == {
        *inspect.signature(sync.transcribe).parameters
    }
    for name in ("connect", "transcribe", "Client", "Session"):
        assert name in sync.__all__


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_source_is_streamed_and_its_results_are_iterated(client: sync.Client) -> None:
    with client.session(Paraformer(), tags={"call": "1"}) as session:
        assert texts_of(session.stream(TWO_SECONDS, pace=None)) == WHOLE
        assert session.stats.finals_received == 2
        assert session.gaps == ()
        assert "Session paraformer-realtime-v2" in repr(session)


def test_all_events_are_iterated(client: sync.Client) -> None:
    with client.session(Paraformer()) as session:
        events = list(session.events(TWO_SECONDS, pace=None))
    assert {SpeechStarted, Result, SpeechEnded} <= {type(event) for event in events}


def test_audio_is_pushed_in_one_thread_and_events_are_iterated_in_another(client: sync.Client) -> None:
    with client.session(Paraformer()) as session, ThreadPoolExecutor(1) as executor:
        events = executor.submit(lambda: list(session.events()))
        for chunk in TWO_SECONDS:
            session.send(chunk, timeout=10)
        session.finish(timeout=10)
        assert texts_of(events.result(10)) == WHOLE
        with pytest.raises(LocalProtocolError, match="the session has ended"):
            session.send(bytes(3_200))


def test_a_loop_over_the_session_has_the_results_of_pushed_audio(client: sync.Client) -> None:
    with client.session(Paraformer()) as session:
        for chunk in TWO_SECONDS:
            session.send(chunk)
        session.finish()
        finals = []
        for result in session:
            if result.is_final:
                finals.append(result.text)
                break
        finals += texts_of(session)
    assert finals == WHOLE


def test_utterances_are_committed(emulator: asr_async.emulator.Emulator) -> None:
    service = DashScope("sk-test", endpoint=emulator.dashscope_realtime_url)
    with sync.connect(QwenRealtime(manual_commit=True), service) as session:
        for chunk in TWO_SECONDS:
            session.send(chunk)
        session.commit()
        session.finish()
        assert " ".join(texts_of(session)) == "good morning how are you"


def test_a_context_is_refused_in_the_words_of_the_async_session(client: sync.Client) -> None:
    with client.session(Paraformer()) as session, pytest.raises(ConfigurationError, match="context"):
        session.update_context([])


def test_a_session_is_cancelled_or_closed_and_what_waits_ends(client: sync.Client) -> None:
    for close in ("cancel", "close"):
        with client.session(Paraformer()) as session, ThreadPoolExecutor(1) as executor:
            waiting = executor.submit(texts_of, session.events())
            session.send(bytes(3_200))
            getattr(session, close)()
            getattr(session, close)()
            with contextlib.suppress(LocalProtocolError):
                assert waiting.result(10) == []


def test_a_reconnect_loses_no_word() -> None:
    server = scripted_server(NumberedServer(cut, after_ms=1_500))
    with in_a_thread(server) as service, sync.connect(Paraformer(), service) as session:
        events = list(session.events(numbered_chunks(3), pace=None))
    assert texts_of(events) == ["to 1000", "to 2000", "to 3000"]
    assert Reconnected in {type(event) for event in events}
    assert Gap not in {type(event) for event in events}


# --- files -----------------------------------------------------------------------------------------------------------


def test_sources_of_every_kind_are_transcribed(client: sync.Client) -> None:
    sources: list[Any] = [TWO_SECONDS, b"".join(TWO_SECONDS), iter(TWO_SECONDS), EXAMPLES / "audio" / "demo.wav"]
    for source in sources:
        assert texts_of(client.transcribe(source, Paraformer()).results) == WHOLE
    with in_a_thread(scripted_server(NumberedServer())) as service:
        transcript = sync.transcribe(numbered_chunks_async(2), Paraformer(), service, timeout=30)
    assert transcript.text == "to 1000 to 2000"


def test_many_sources_keep_their_identity_whatever_reads_them(client: sync.Client) -> None:
    sources: list[Any] = [TWO_SECONDS, iter(TWO_SECONDS), Path("missing.wav")]
    with client.transcribe_many(iter(sources), Paraformer(), concurrency=2) as batch:
        items = sorted(batch, key=lambda item: item.index)
    assert all(item.source is source for item, source in zip(items, sources, strict=True))
    assert [texts_of(item.transcript.results) if item.transcript else None for item in items] == [WHOLE, WHOLE, None]
    assert isinstance(items[2].error, OSError | ASRError)
    assert "closed" in repr(batch)


def test_hot_word_tables_and_temporary_keys_are_managed(client: sync.Client) -> None:
    tables = client.vocabularies
    vocabulary_id = tables.create([HotWord("Paraformer")], name="terms", model="paraformer-realtime-v2", timeout=10)
    tables.update(vocabulary_id, ["SIS"])
    assert [word.text for word in tables.get(vocabulary_id).words or ()] == ["SIS"]
    assert vocabulary_id in {table.vocabulary_id for table in tables.list()}
    tables.delete(vocabulary_id)
    assert client.temporary_key(expires_in=60).value.startswith("st-")


def test_a_push_source_is_refused_while_it_is_open(client: sync.Client) -> None:
    source = asr_async.PushSource(Paraformer())
    source.send_nowait(b"".join(numbered_chunks(1)))
    with client.session(Paraformer()) as session:
        for call in (session.stream, session.events):
            with pytest.raises(ConfigurationError, match=r"call session\.send\(chunk\), or put chunks into a queue"):
                call(source)
        source.close()
        assert texts_of(session.stream(source))[0] == "good morning"


# --- threads ---------------------------------------------------------------------------------------------------------


def test_eight_threads_share_one_client_at_once() -> None:
    everyone_is_here = threading.Barrier(8)

    def work(client: sync.Client, number: int) -> list[str]:
        everyone_is_here.wait(30)
        with client.session(Paraformer(), tags={"thread": str(number)}) as session:
            return texts_of(session.stream(numbered_chunks(1 + number), pace=None))

    with (
        in_a_thread(scripted_server(NumberedServer())) as service,
        sync.Client(service, limits=asr_async.Limits(starts_per_second=None)) as client,
        ThreadPoolExecutor(8) as executor,
    ):
        transcripts = list(executor.map(work, [client] * 8, range(8)))
    assert transcripts == [[f"to {1_000 * second}" for second in range(1, 2 + number)] for number in range(8)]
    assert len({thread.name for thread in threading.enumerate() if thread.name == "asr_async.sync"}) == 1


def test_a_source_that_blocks_stops_no_other_session(client: sync.Client) -> None:
    is_reading, may_go_on = threading.Event(), threading.Event()

    def blocking() -> Iterator[bytes]:
        is_reading.set()
        assert may_go_on.wait(30)
        yield from TWO_SECONDS

    with client.session(Paraformer()) as session, ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(lambda: texts_of(session.stream(blocking(), pace=None)))
        assert is_reading.wait(10)
        assert texts_of(client.transcribe(TWO_SECONDS, Paraformer()).results) == WHOLE
        may_go_on.set()
        assert waiting.result(30) == WHOLE


def test_a_generator_is_closed_in_its_own_thread_when_the_session_ends_before_it(client: sync.Client) -> None:
    is_closed, threads = threading.Event(), set()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                threads.add(threading.current_thread().name)
                yield bytes(3_200)
        finally:
            threads.add(threading.current_thread().name)
            is_closed.set()

    with client.session(Paraformer()) as session:
        next(session.stream(endless(), pace=None))
    assert is_closed.wait(10)
    assert threads == {"asr_async source"}


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (OSError("the microphone is gone"), OSError, "the microphone is gone"),
        (KeyError("chunk"), KeyError, "chunk"),
        (SystemExit(3), RuntimeError, "the source raised SystemExit"),
        (KeyboardInterrupt(), RuntimeError, "the source raised KeyboardInterrupt"),
        (StopAsyncIteration(), RuntimeError, "the source raised StopAsyncIteration"),
    ],
)
def test_the_error_of_a_source_is_raised_behind_its_results_and_ends_nothing_else(
    client: sync.Client, error: BaseException, expected: type[Exception], text: str
) -> None:
    def failing() -> Iterator[bytes]:
        yield from TWO_SECONDS
        raise error

    finals = []
    with client.session(Paraformer()) as session, pytest.raises(expected, match=text):
        for result in session.stream(failing(), pace=None):
            finals += [result.text] if result.is_final else []
    assert finals == WHOLE
    assert texts_of(client.transcribe(TWO_SECONDS, Paraformer()).results) == WHOLE


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_a_step_of_a_loop_has_a_deadline_and_loses_nothing(client: sync.Client) -> None:
    with client.session(Paraformer()) as session:
        results = session.events()
        for _ in range(3):
            with pytest.raises(DeadlineError, match=r"not within 0.01 s \(timeout=\)"):
                results.next(timeout=0.01)
        for chunk in TWO_SECONDS:
            session.send(chunk)
        session.finish()
        finals = []
        with pytest.raises(StopIteration):
            while True:
                finals.append(results.next(timeout=10))
    assert texts_of(finals) == WHOLE


def test_a_second_thread_that_iterates_the_same_results_is_an_error() -> None:
    loop, begun = background_loop(), threading.Event()
    reader: ItemReader[str] = ItemReader(loop)
    gate = asyncio.Event()

    async def read_next() -> str:
        begun.set()
        await gate.wait()
        return "good morning"

    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(reader.read, read_next, None)
        assert begun.wait(10)
        with pytest.raises(LocalProtocolError, match="another thread iterates these results"):
            reader.read(read_next, None)
        loop.call_soon(gate.set)
        assert first.result(10) == "good morning"


def test_opening_and_transcribing_have_deadlines() -> None:
    async def never(_connection: Any) -> None:
        await _connection.wait_closed()

    with in_a_thread(scripted_server(never)) as service, sync.Client(service) as client:
        with pytest.raises(DeadlineError, match=r"not within 0\.05 s"):
            client.session(Paraformer()).open(timeout=0.05)
        with pytest.raises(DeadlineError, match=r"not within 0\.05 s"):
            client.transcribe(TWO_SECONDS, Paraformer(), timeout=0.05)


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_a_client_that_is_not_open_or_open_already_is_an_error(service: DashScope) -> None:
    client = sync.Client(service)
    with pytest.raises(LocalProtocolError, match=r"not open: use it with 'with Client\(...\) as client', or open\(\)"):
        client.session(Paraformer())
    with client, pytest.raises(LocalProtocolError, match="open already: open it once, and use it in all threads"):
        client.open()
    client.close()
    assert "closed" in repr(client)


def test_the_error_of_an_opening_is_raised_bare() -> None:
    with pytest.raises(asr_async.ConnectionLostError):
        sync.transcribe(TWO_SECONDS, Paraformer(), DashScope("sk-test", endpoint="ws://127.0.0.1:1/"))
    with (
        sync.Client(DashScope("sk-test")) as client,
        pytest.raises(ConfigurationError, match="needs an iterable of sources"),
    ):
        client.transcribe_many("calls.wav", Paraformer())


class CallingObserver(Observer):
    """An observer that makes a blocking call where that would wait for itself."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.session: sync.Session | None = None

    def on_final(self, session: SessionInfo, result: Result, **_: Any) -> None:
        assert self.session is not None
        try:
            self.session.send(b"")
        except LocalProtocolError as error:
            self.errors.append(error)


def test_a_blocking_call_in_the_loop_itself_is_an_error_and_no_deadlock(service: DashScope) -> None:
    observer = CallingObserver()
    with sync.Client(service, observers=[observer]) as client, client.session(Paraformer()) as session:
        observer.session = session
        assert texts_of(session.stream(TWO_SECONDS, pace=None)) == WHOLE
    assert len(observer.errors) == 2
    assert "would wait for itself: use the async names of asr_async there" in str(observer.errors[0])


async def test_a_call_in_a_thread_with_an_event_loop_of_its_own_works(client: sync.Client) -> None:
    assert texts_of(client.transcribe(TWO_SECONDS, Paraformer()).results) == WHOLE

    async def source() -> AsyncIterator[bytes]:
        for chunk in TWO_SECONDS:
            yield chunk

    assert texts_of(client.transcribe(source(), Paraformer()).results) == WHOLE
