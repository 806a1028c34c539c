"""Clients and sessions belong to one event loop; whatever else a caller does with them is an error of one line."""

from __future__ import annotations

import asyncio
import itertools
import queue
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    Client,
    ConfigurationError,
    DashScope,
    Limits,
    Local,
    LocalProtocolError,
    Paraformer,
    Pool,
    PushSource,
    Rasr,
    Retry,
    Session,
    Timeouts,
    connect,
    transcribe,
)
from asr_async.emulator import Scripted, serve

from ..support.streaming import emulator_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from asr_async.vendors.options import Options

HELLO = Scripted([("hello there my friend", 100, 900)])
SECOND = bytes(32_000)


def error_elsewhere(function: Callable[[], Coroutine[Any, Any, Any]]) -> BaseException | None:
    """Return the error of a coroutine in the event loop of another thread."""
    errors: list[BaseException | None] = []

    async def bounded() -> None:
        async with asyncio.timeout(5):
            await function()

    def run() -> None:
        try:
            asyncio.run(bounded())
        except Exception as error:  # noqa: BLE001 - the outcome
            errors.append(error)
        else:
            errors.append(None)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return errors[0]


def assert_refused(error: BaseException | None, subject: str, advice: str = "asyncio.run_coroutine_threadsafe") -> None:
    assert isinstance(error, LocalProtocolError), error
    text = f"{subject} belongs to an event loop that runs elsewhere: use it in that loop only; from another thread"
    assert str(error).startswith(text), error
    assert advice in str(error)
    assert "\n" not in str(error)


# --- another loop ----------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Session], Coroutine[Any, Any, Any]]] = {
    "send": lambda session: session.send(SECOND),
    "finalize": lambda session: session.finalize(),
    "finish": lambda session: session.finish(),
    "update_context": lambda session: session.update_context([]),
    "cancel": lambda session: session.cancel(),
    "aclose": lambda session: session.aclose(),
    "iterate": lambda session: anext_of(aiter(session)),
    "stream": lambda session: anext_of(session.stream([SECOND])),
    "open": lambda session: session.__aenter__(),
}


async def anext_of(iterator: Any) -> None:
    await anext(iterator)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_session_in_another_loop_raises_at_once(call: Callable[[Session], Coroutine[Any, Any, Any]]) -> None:
    async with connect(Paraformer(), Local(engine=HELLO)) as session:
        assert_refused(error_elsewhere(lambda: call(session)), "this session")
        await session.send(SECOND)
        await session.finish()
        assert [result.text async for result in session if result.is_final] == ["hello there my friend"]


async def test_an_iterator_that_is_continued_in_another_loop_raises_at_once() -> None:
    async with connect(Paraformer(), Local(engine=HELLO)) as session:
        results = session.stream([SECOND], pace=None)
        await anext(results)
        assert_refused(error_elsewhere(lambda: anext_of(results)), "this session")
        assert [result.is_final async for result in results][-1:] == [True]


async def test_a_client_in_another_loop_raises_at_once() -> None:
    async with Client(Local(engine=HELLO)) as client:

        async def make_session() -> None:
            client.session(Paraformer())

        assert_refused(error_elsewhere(make_session), "this client")
        assert_refused(error_elsewhere(lambda: client.transcribe([SECOND], Paraformer())), "this client")


async def test_a_client_is_not_closed_in_another_loop() -> None:
    async with Client(Local(engine=HELLO)) as client:
        assert_refused(error_elsewhere(lambda: client.__aexit__(None, None, None)), "this client")
        assert (await client.transcribe([SECOND], Paraformer())).text == "hello there my friend"


async def test_a_client_cannot_be_opened_twice_at_once() -> None:
    client = Client(Local(engine=HELLO))
    async with client:
        with pytest.raises(LocalProtocolError, match="is open already: enter it once"):
            await client.__aenter__()
        assert (await client.transcribe([SECOND], Paraformer())).text == "hello there my friend"


@pytest.mark.parametrize("options", [Paraformer(), Rasr()], ids=lambda options: options.model)
@pytest.mark.parametrize("is_local", [True, False])
def test_a_client_can_be_opened_anew_in_each_loop(options: Options, is_local: bool) -> None:
    service: Any = Local(engine=HELLO) if is_local else None
    client: Client | None = None

    async def run() -> str:
        nonlocal client
        async with serve(HELLO, port=port) as emulator:
            client = client or Client(service or emulator_service(emulator, options))
            async with client:
                return (await client.transcribe([SECOND], options)).text

    async def free_port() -> int:
        async with serve(HELLO) as emulator:
            return int(emulator.dashscope_url.rpartition(":")[2].split("/")[0])

    port = asyncio.run(free_port())
    assert [asyncio.run(run()) for _ in range(3)] == ["hello there my friend"] * 3


def test_a_client_of_a_loop_that_has_ended_says_so_and_can_be_opened_anew() -> None:
    client = Client(DashScope("key"))

    async def leave_open() -> None:
        await client.__aenter__()

    async def use() -> None:
        client.session(Paraformer())

    async def open_anew() -> Session:
        async with client:
            return client.session(Paraformer())

    asyncio.run(leave_open())
    with pytest.raises(LocalProtocolError, match="this client belongs to an event loop that has ended"):
        asyncio.run(use())
    assert repr(asyncio.run(open_anew())) == "<Session paraformer-realtime-v2 new>"


async def test_a_session_is_made_without_a_running_loop() -> None:
    sessions: list[Session] = []
    async with Client(Local(engine=HELLO)) as client:
        thread = threading.Thread(target=lambda: sessions.append(client.session(Paraformer())))
        thread.start()
        thread.join()
        assert repr(sessions[0]) == "<Session paraformer-realtime-v2 new>"
        assert sessions[0].stats.results_received == 0
        async with sessions[0] as session:
            assert [result.text async for result in session.stream([SECOND], pace=None) if result.is_final]


# --- what is no source -----------------------------------------------------------------------------------------------


def microphone() -> Iterator[bytes]:
    yield SECOND


async def async_microphone() -> AsyncIterator[bytes]:
    yield SECOND


async def read() -> bytes:
    return SECOND


NO_SOURCES: dict[str, tuple[Any, str]] = {
    "a path": (Path("a b.wav"), "not a path: use read_audio('a b.wav')"),
    "a path as text": ("a.wav", "not a path: use read_audio('a.wav')"),
    "a queue": (queue.Queue(), "not a Queue: use PushSource(options) in its place, or yield its items"),
    "a queue of asyncio": (asyncio.Queue(), "not a Queue: use PushSource(options) in its place"),
    "a generator function": (microphone, "not the function microphone: call it, microphone()"),
    "an async generator function": (async_microphone, "not the function async_microphone: call it"),
    "a class": (PushSource, "not the class PushSource: make an instance, PushSource(...)"),
    "a number": (5, "not int"),
}


@pytest.mark.parametrize(("source", "text"), NO_SOURCES.values(), ids=NO_SOURCES)
async def test_what_is_no_source_is_named_at_once(source: Any, text: str) -> None:
    async with connect(Paraformer(), Local(engine=HELLO)) as session:
        for call in (session.stream, session.events):
            with pytest.raises(ConfigurationError, match=re.escape(text)) as caught:
                call(source)
            assert "\n" not in str(caught.value)


async def test_a_coroutine_is_no_source() -> None:
    coroutine = read()
    async with connect(Paraformer(), Local(engine=HELLO)) as session:
        with pytest.raises(ConfigurationError, match="not a coroutine: await it, or yield its chunks in an async gen"):
            session.stream(coroutine)  # type: ignore[arg-type]
    coroutine.close()


async def test_no_source_is_refused_and_does_not_wait() -> None:
    async with connect(Paraformer(), Local(engine=HELLO)) as session:
        with pytest.raises(ConfigurationError, match=r"stream\(\) needs a source; to iterate the results of pushed"):
            session.stream(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("pace", ["max", 0, -1, True, float("nan"), [1]])
async def test_a_pace_that_is_no_positive_number_is_refused(pace: Any) -> None:
    async with connect(Paraformer(), Local(engine=HELLO)) as session:
        with pytest.raises(ConfigurationError, match=r"pace=.*: a positive number \(1.0 is real time\), or None"):
            session.stream([SECOND], pace=pace)


async def test_another_action_at_an_error_of_the_source_is_refused() -> None:
    async with connect(Paraformer(), Local(engine=HELLO)) as session:
        with pytest.raises(ConfigurationError, match="on_source_error='drop': must be 'finish' or 'cancel'"):
            session.stream([SECOND], on_source_error="drop")  # type: ignore[arg-type]


# --- arguments of clients --------------------------------------------------------------------------------------------

WRONG_ARGUMENTS: dict[str, tuple[Callable[[], Any], str]] = {
    "a key": (lambda: Client("sk-canary"), "str is not a service, such as DashScope(); a key belongs to its service"),  # type: ignore[arg-type]
    "a class of services": (lambda: Client(DashScope), "DashScope is a class: make a service of it, DashScope()"),  # type: ignore[arg-type]
    "a class of options": (lambda: connect(Paraformer), "Paraformer is a class: make options of it, Paraformer()"),  # type: ignore[arg-type]
    "an unknown option": (
        lambda: Paraformer(langage_hints=["zh"]),  # type: ignore[call-arg]
        "Paraformer(langage_hints=...): there is no such setting; did you mean 'language_hints'?",
    ),
    "an unknown option of another vendor": (
        lambda: Rasr(mod="short"),  # type: ignore[call-arg]
        "Rasr(mod=...): there is no such setting; did you mean 'mode'?",
    ),
    "an unknown deadline": (
        lambda: Timeouts(conect=3),  # type: ignore[call-arg]
        "Timeouts(conect=...): there is no such setting; did you mean 'connect'?",
    ),
    "an unknown limit": (
        lambda: Limits(max_session=3),  # type: ignore[call-arg]
        "Limits(max_session=...): there is no such setting; did you mean 'max_sessions'?",
    ),
    "nothing like it": (lambda: Pool(x=1), "Pool(x=...): there is no such setting; known are max_idle, warm"),  # type: ignore[call-arg]
    "by position": (lambda: Retry(3), "Retry: pass its settings by name, attempts=..."),  # type: ignore[call-arg]
}


@pytest.mark.parametrize(("call", "text"), WRONG_ARGUMENTS.values(), ids=WRONG_ARGUMENTS)
def test_a_wrong_argument_is_named_at_once(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(text)) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert "canary" not in str(caught.value)


# --- plain iterables that block --------------------------------------------------------------------------------------


async def test_an_iterable_that_blocks_is_logged_once_and_lets_other_tasks_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    turns = 0

    def blocking() -> Iterator[bytes]:
        for _ in range(6):
            began_with.append(turns)
            time.sleep(0.05)
            yield bytes(3_200)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    began_with: list[int] = []
    async with connect(Paraformer(), Local(engine=HELLO)) as session:
        counting = asyncio.create_task(count())
        async for _ in session.stream(blocking(), pace=None):
            pass
        counting.cancel()
    assert all(earlier < later for earlier, later in itertools.pairwise(began_with))
    warnings = [record.getMessage() for record in caplog.records if "blocked the event loop" in record.getMessage()]
    assert len(warnings) == 1
    assert re.match(r"the source has blocked the event loop for 0\.\d\d s, .* async generator", warnings[0])


async def test_a_list_of_chunks_does_not_block() -> None:
    transcript = await transcribe([bytes(3_200)] * 50, Paraformer(), Local(engine=HELLO))
    assert transcript.text == "hello there my friend"
