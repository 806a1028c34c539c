"""Results after a reconnect whose sentences are other ones: each word is delivered once, in the order of the audio."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from websockets.asyncio.server import serve

from asr_async import (
    Gummy,
    Paraformer,
    QwenRealtime,
    Reconnected,
    Result,
    Retry,
    connect,
)

from ..support.numbered_audio import DASHSCOPE, HUAWEI, finals_of
from ..support.realtime_server import RealtimeConnection
from ..support.scripted_server import scripted_server, send_event, start_task
from ..support.segment_events import assert_framed
from ..support.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from websockets.asyncio.server import ServerConnection

    from asr_async import Event

CHUNK = bytes(3_200)


class Said(NamedTuple):
    """A message of the vendor: a final if it has an end."""

    text: str
    begin_ms: int
    end_ms: int | None = None
    is_final: bool = True
    number: int = 0


def uh(begin_ms: int, text: str = "uh", number: int = 0) -> Said:
    """Return an interim."""
    return Said(text, begin_ms, None, is_final=False, number=number)


class ParaformerServer:
    """A server that sends the messages of a script per connection after 2 s of audio, and cuts all but the last."""

    options: Any = Paraformer()

    def __init__(self, *scripts: Sequence[Said], bytes_per_connection: int = 64_000) -> None:
        self.scripts = list(scripts)
        self.bytes_per_connection = bytes_per_connection
        self.connections = 0

    async def __call__(self, connection: ServerConnection) -> None:
        """Serve one connection."""
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        is_last = self.connections >= len(self.scripts)
        task_id = await start_task(connection)
        received_bytes = 0
        is_said = False
        async for message in connection:
            is_end = isinstance(message, str)
            received_bytes += 0 if isinstance(message, str) else len(message)
            if not is_said and (is_end or received_bytes >= self.bytes_per_connection):
                is_said = True
                for said in script:
                    await self.say(connection, task_id, said)
                if not is_last:
                    connection.transport.abort()
                    return
            if is_end:
                await send_event(connection, "task-finished", task_id, {"output": {}})
                return

    async def say(self, connection: ServerConnection, task_id: str, said: Said) -> None:
        """Send one message."""
        sentence = {
            "sentence_id": said.number,
            "begin_time": said.begin_ms,
            "end_time": said.end_ms,
            "text": said.text,
            "sentence_end": said.is_final,
        }
        await send_event(connection, "result-generated", task_id, {"output": {"sentence": sentence}})


class GummyServer(ParaformerServer):
    """The same with Gummy's messages."""

    options = Gummy()

    async def say(self, connection: ServerConnection, task_id: str, said: Said) -> None:
        """Send one message."""
        transcription = {
            "sentence_id": said.number,
            "begin_time": said.begin_ms,
            "end_time": said.end_ms or said.begin_ms,
            "text": said.text,
            "sentence_end": said.is_final,
        }
        await send_event(connection, "result-generated", task_id, {"output": {"transcription": transcription}})


class HuaweiServer(ParaformerServer):
    """The same with Huawei's messages."""

    options = HUAWEI.options

    async def __call__(self, connection: ServerConnection) -> None:
        """Serve one connection."""
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        trace_id = await HUAWEI.start_task(connection)
        received_bytes = 0
        while received_bytes < self.bytes_per_connection and isinstance(message := await connection.recv(), bytes):
            received_bytes += len(message)
        for said in script:
            await self.say(connection, trace_id, said)
        if self.connections < len(self.scripts):
            connection.transport.abort()
            return
        while isinstance(await connection.recv(), bytes):
            pass
        await HUAWEI.finish_task(connection, trace_id)

    async def say(self, connection: ServerConnection, task_id: str, said: Said) -> None:
        """Send one message; the vendor's unknown end is -1."""
        end_ms = -1 if said.is_final and said.end_ms is None else said.end_ms
        await HUAWEI.send_result(connection, task_id, said.text, said.begin_ms, end_ms)


@asynccontextmanager
async def listening(server: ParaformerServer) -> AsyncIterator[Any]:
    """Listen while the context lasts, and yield a service for the server."""
    async with serve(server, "127.0.0.1", 0, compression=None, close_timeout=1) as sockets:
        port = next(iter(sockets.sockets)).getsockname()[1]
        yield (HUAWEI if isinstance(server, HuaweiServer) else DASHSCOPE).service(port)


async def events_of(
    server: ParaformerServer, seconds: float = 6, *, options: Any = None, audio: Sequence[bytes] = (), **more: Any
) -> tuple[list[Event], list[str]]:
    """Return the events of a session, and the texts of its finals as delivered."""
    source = list(audio) or [CHUNK] * round(10 * seconds)
    async with listening(server) as service, connect(options or server.options, service, **more) as session:
        events = [event async for event in session.events(source, pace=None)]
    assert_framed(events)
    return events, [text for _, text, _, _ in finals_of(events)]


def transcript_text(events: list[Event]) -> str:
    finals = sorted(finals_of(events), key=lambda final: final[2])
    return " ".join(text for _, text, _, _ in finals)


each_model_with_places = pytest.mark.parametrize("server_class", [ParaformerServer, GummyServer, HuaweiServer])
each_sequential_model = pytest.mark.parametrize("server_class", [ParaformerServer, GummyServer])


# --- one sentence at a time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replayed", "expected"),
    [
        ([Said("one two three", 0, 3_000), Said("four five", 3_000, 5_000)], ["one two", "three", "four five"]),
        ([Said("two three four five", 1_000, 5_000)], ["one two", "three four five"]),
        ([Said("one", 0, 900), Said("two three", 1_000, 3_000)], ["one two", "three"]),
        ([Said("one two", 0, 2_000), Said("three", 2_000, 3_000)], ["one two", "three"]),
    ],
    ids=["longer", "from its middle", "divided", "the same"],
)
@pytest.mark.parametrize("format_name", ["aac", "mp3"])
def test_compressed_audio_that_cannot_be_cut_keeps_the_new_words_of_sentences_drawn_anew(
    format_name: str, replayed: list[Said], expected: list[str]
) -> None:
    async def scenario() -> None:
        server = ParaformerServer([Said("one two", 0, 2_000)], replayed, bytes_per_connection=20_000)
        events, texts = await events_of(
            server, options=Paraformer(format=format_name), audio=[b"x" * 1_000 for _ in range(40)]
        )
        assert texts == expected
        assert transcript_text(events) == " ".join(expected)
        assert not [event for event in events if isinstance(event, Result) and event.may_repeat]

    run_virtual(scenario)


@each_sequential_model
def test_an_interim_that_the_vendor_drops_does_not_hold_the_replay_back(server_class: type[ParaformerServer]) -> None:
    async def scenario() -> None:
        server = server_class(
            [uh(0), Said("one two", 500, 1_200, number=1), Said("three", 1_300, 1_900, number=2)],
            [Said("four", 100, 900), Said("five", 1_000, 1_900, number=1)],
        )
        events, texts = await events_of(server)
        assert texts == ["one two", "three", "four", "five"]
        (reconnected,) = [event for event in events if isinstance(event, Reconnected)]
        assert reconnected.at_ms in range(1_700, 1_901)

    run_virtual(scenario)


@each_sequential_model
def test_a_dropped_interim_and_sentences_drawn_anew_lose_no_word(server_class: type[ParaformerServer]) -> None:
    async def scenario() -> None:
        server = server_class(
            [uh(0), Said("one two", 500, 1_200, number=1), uh(1_250, "three", number=2)],
            [Said("three four", 50, 1_500), Said("five", 1_600, 2_000, number=1)],
        )
        events, texts = await events_of(server)
        assert texts == ["one two", "three four", "five"]
        assert transcript_text(events) == "one two three four five"

    run_virtual(scenario)


@each_model_with_places
def test_a_final_beyond_the_audio_that_was_sent_does_not_swallow_the_next_one(
    server_class: type[ParaformerServer],
) -> None:
    async def scenario() -> None:
        # the second connection begins where the first final does: its end is unknown, and no word behind it is left out
        server = server_class([Said("one two", 0, 3_000)], [Said("one two", 0, 900), Said("three", 1_200, 2_000)])
        events, texts = await events_of(server)
        assert texts == ["one two", "three"]
        assert not [event for event in events if isinstance(event, Result) and event.may_repeat]

    run_virtual(scenario)


@each_model_with_places
def test_finals_without_an_end_are_no_progress(server_class: type[ParaformerServer]) -> None:
    async def scenario() -> None:
        scripts = [[Said("one two", 0, None)] for _ in range(60)]
        server = server_class(*scripts)
        texts: list[str] = []
        errors: list[OSError] = []
        async with (
            listening(server) as service,
            connect(server.options, service, retry=Retry(attempts=5)) as session,
        ):
            try:
                async for result in session.stream([CHUNK] * 60, pace=None):
                    texts += [result.text] * result.is_final
            except OSError as error:
                errors.append(error)
        assert texts == ["one two"]
        assert errors
        assert server.connections <= 7

    run_virtual(scenario)


# --- several sentences at a time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("jitter_ms", [-40, 40, 100])
def test_a_huawei_final_whose_start_is_off_closes_its_interims(jitter_ms: int) -> None:
    async def scenario() -> None:
        server = HuaweiServer(
            [uh(100, "one"), Said("one two", 100 + jitter_ms, 1_000), uh(1_200, "three")],
            [Said("three four", 100, 1_100), Said("five", 1_200, 1_900)],
        )
        events, texts = await events_of(server)
        assert texts == ["one two", "three four", "five"]
        (reconnected,) = [event for event in events if isinstance(event, Reconnected)]
        assert reconnected.at_ms in range(700, 1_001)

    run_virtual(scenario)


def test_huawei_finals_that_are_late_and_lost_are_recognised_again() -> None:
    async def scenario() -> None:
        server = HuaweiServer(
            [uh(100, "one"), Said("three four", 1_000, 1_900)],
            [Said("three four five", 900, 2_400), Said("one two", 0, 800)],
        )
        events, texts = await events_of(server)
        assert sorted(texts) == ["five", "one two", "three four"]
        assert transcript_text(events) == "one two three four five"

    run_virtual(scenario)


def test_qwen_items_that_are_completed_out_of_order_or_never_lose_no_word_by_a_cut() -> None:
    connections = 0

    async def serve_items(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        server = RealtimeConnection(connection)
        await server.start()
        await server.receive_until(2_000)
        if connections == 1:
            for item, start_ms, end_ms in (("cough", 0, 100), ("one", 300, 900), ("two", 1_000, 1_900)):
                await server.start_speech(item, start_ms)
                await server.stop_speech(item, end_ms)
            await server.send_text("two", "three four", is_final=True)
            connection.transport.abort()
            return
        for item, text, start_ms, end_ms in (("x", "one two three", 200, 1_400), ("y", "four five", 1_450, 2_000)):
            await server.start_speech(item, start_ms)
            await server.stop_speech(item, end_ms)
            await server.send_text(item, text, is_final=True)
        await server.receive_until(None)
        await server.finish()

    async def scenario() -> None:
        async with scripted_server(serve_items) as service, connect(QwenRealtime(), service) as session:
            events = [event async for event in session.events([CHUNK] * 40, pace=None)]
        assert_framed(events)
        (reconnected,) = [event for event in events if isinstance(event, Reconnected)]
        assert reconnected.at_ms <= 100
        words = transcript_text(events).split()
        is_marked = any(event.may_repeat for event in events if isinstance(event, Result))
        assert {"one", "two", "three", "four", "five"} == set(words)
        assert is_marked or words == ["one", "two", "three", "four", "five"]

    run_virtual(scenario)
