"""The same scenario against a scripted server of each protocol, and the same outcome: no word is lost or doubled.

The servers send sentences as real recognisers do: an interim that is still open at the end, a final that comes again,
sentence ids that repeat, an interim that is never final, finals out of order, and no speech at all.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from websockets.asyncio.server import serve

from asr_async import (
    Client,
    FunASR,
    Gummy,
    GummyChat,
    Local,
    Paraformer,
    QwenAudio,
    QwenRealtime,
    Rasr,
    Result,
    SpeechEnded,
    VendorError,
    connect,
    transcribe,
)
from asr_async.emulator import Scripted

from ..support.numbered_audio import HUAWEI
from ..support.realtime_server import RealtimeConnection
from ..support.scripted_server import read_until_finish, scripted_server, send_event, start_task
from ..support.segment_events import assert_framed
from ..support.virtual_time import now, run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.server import ServerConnection

    from asr_async import Event, Transcript
    from asr_async.vendors.options import Options
    from asr_async.vendors.service import Service

AUDIO = [bytes(3_200)] * 30
"""3 s."""

SEQUENTIAL: list[Options] = [Paraformer(), FunASR(), QwenAudio(), Gummy(), Gummy(translation_target_languages=["en"])]
"""The models that have one sentence open at a time."""

CONCURRENT: list[Options] = [QwenRealtime(), Rasr()]
ONE_SENTENCE: list[Options] = [GummyChat(), Rasr(mode="sentence"), Rasr(mode="short")]


def model_ids(options: Options) -> str:
    return f"{options.model} translated" if getattr(options, "translation_target_languages", None) else options.model


every_model = pytest.mark.parametrize("options", SEQUENTIAL + CONCURRENT + ONE_SENTENCE, ids=model_ids)
models_of_many_sentences = pytest.mark.parametrize("options", SEQUENTIAL + CONCURRENT, ids=model_ids)


class Step(NamedTuple):
    """A result that the server sends; without an end, an interim."""

    text: str
    start_ms: int
    end_ms: int | None = None
    number: int = 1


class ScriptedVendor:
    """A server that sends steps behind the audio, with a second between them and before it confirms the end."""

    def __init__(self, options: Options, *steps: Step) -> None:
        self._options = options
        self._steps = steps

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Service]:
        """Listen while the context lasts."""
        if isinstance(self._options, Rasr):
            async with serve(self._serve_huawei, "127.0.0.1", 0, compression=None) as server:
                yield HUAWEI.service(next(iter(server.sockets)).getsockname()[1])
            return
        script = self._serve_realtime if isinstance(self._options, QwenRealtime) else self._serve_task
        async with scripted_server(script) as service:
            yield service

    async def _paced(self) -> AsyncIterator[Step]:
        for step in self._steps:
            yield step
            await asyncio.sleep(1)

    async def _serve_task(self, connection: ServerConnection) -> None:
        task_id = await start_task(connection)
        await read_until_finish(connection)
        async for step in self._paced():
            sentence = {
                "sentence_id": step.number,
                "begin_time": step.start_ms,
                "end_time": step.end_ms,
                "text": step.text,
                "sentence_end": step.end_ms is not None,
            }
            name = "transcription" if isinstance(self._options, Gummy | GummyChat) else "sentence"
            await send_event(connection, "result-generated", task_id, {"output": {name: sentence}})
        await send_event(connection, "task-finished", task_id)
        await connection.wait_closed()

    async def _serve_realtime(self, connection: ServerConnection) -> None:
        server = RealtimeConnection(connection)
        await server.start()
        await server.receive_until(None)
        started: set[tuple[int, int]] = set()
        async for step in self._paced():
            item = f"item_{step.number}"
            if (step.number, step.start_ms) not in started:
                started.add((step.number, step.start_ms))
                await server.start_speech(item, step.start_ms)
                if step.end_ms is not None:
                    await server.stop_speech(item, step.end_ms)
            await server.send_text(item, step.text, is_final=step.end_ms is not None)
        await server.finish()

    async def _serve_huawei(self, connection: ServerConnection) -> None:
        async def send(kind: str, **members: Any) -> None:
            await connection.send(json.dumps({"resp_type": kind, "trace_id": "t", **members}))

        await connection.recv()
        await send("START")
        await read_until_finish(connection)
        async for step in self._paced():
            segment: dict[str, Any] = {"start_time": step.start_ms, "is_final": step.end_ms is not None}
            if step.end_ms is not None:
                segment["end_time"] = step.end_ms
            await send("RESULT", segments=[{**segment, "result": {"text": step.text}}])
        await send("END", reason="NORMAL")
        await connection.wait_closed()


async def events_of(options: Options, *steps: Step) -> list[tuple[float, Event]]:
    """Return the events of a session, each with the instant at which it arrived."""
    async with ScriptedVendor(options, *steps).serving() as service, connect(options, service) as session:
        return [(now(), event) async for event in session.events(AUDIO, pace=None)]


async def transcript_of(options: Options, *steps: Step) -> Transcript:
    async with ScriptedVendor(options, *steps).serving() as service:
        return await transcribe(AUDIO, options, service)


def finals_of(events: list[tuple[float, Event]]) -> list[str]:
    return [event.text for _, event in events if isinstance(event, Result) and event.is_final]


@every_model
def test_an_interim_that_is_open_at_the_confirmed_end_is_a_final_that_is_not_confirmed(options: Options) -> None:
    steps = (Step("hello", 100), Step("hello world how are you", 100))

    async def scenario() -> None:
        events = await events_of(options, *steps)
        assert finals_of(events) == ["hello world how are you"]
        assert_framed([event for _, event in events])
        (result,) = (await transcript_of(options, *steps)).results
        assert (result.text, result.is_confirmed, result.start_ms) == ("hello world how are you", False, 100)

    run_virtual(scenario)


@every_model
def test_a_final_that_comes_again_is_delivered_once(options: Options) -> None:
    final = Step("good morning", 100, 1_000)

    async def scenario() -> None:
        events = await events_of(options, Step("good", 100), final, final)
        assert finals_of(events) == ["good morning"]
        assert_framed([event for _, event in events])

    run_virtual(scenario)


@pytest.mark.parametrize("numbers", [(0, 0, 0), (1, 1, 1), (2, 1, 0)])
@models_of_many_sentences
def test_three_sentences_are_three_finals_whatever_their_ids(options: Options, numbers: tuple[int, ...]) -> None:
    steps = [Step("yes", 1_000 * index, 1_000 * index + 900, number) for index, number in enumerate(numbers)]

    async def scenario() -> None:
        events = await events_of(options, *steps)
        assert finals_of(events) == ["yes"] * 3
        assert_framed([event for _, event in events])

    run_virtual(scenario)


@models_of_many_sentences
def test_an_interim_that_is_never_final_delays_no_final_and_has_an_end(options: Options) -> None:
    """A vendor of one sentence at a time has dropped it; another one may still send its final until the end."""
    steps = (Step("uh", 100, None, 1), Step("one two", 1_000, 1_900, 2), Step("three", 2_000, 2_900, 3))

    async def scenario() -> None:
        events = await events_of(options, *steps)
        assert_framed([event for _, event in events])
        finals = [(at, event) for at, event in events if isinstance(event, Result) and event.is_final]
        confirmed = [(at, event.text) for at, event in finals if event.is_confirmed]
        assert [text for _, text in confirmed] == ["one two", "three"]
        if not getattr(options, "translation_target_languages", None):  # no wait for a translation
            arrived_at = [at for at, _ in confirmed]
            assert all(0.5 < later - earlier < 1.5 for earlier, later in itertools.pairwise(arrived_at))
        unconfirmed = [event.text for _, event in finals if not event.is_confirmed]
        withdrawn = [
            event.withdrawn_text for _, event in events if isinstance(event, SpeechEnded) and event.is_withdrawn
        ]
        assert (unconfirmed, withdrawn) == (([], ["uh"]) if options in SEQUENTIAL else (["uh"], []))

    run_virtual(scenario)


@models_of_many_sentences
def test_a_transcript_of_finals_out_of_order_is_in_the_order_of_the_audio(options: Options) -> None:
    steps = (
        Step("one", 100, None, 1),
        Step("three", 1_200, None, 2),
        Step("three four", 1_200, 2_000, 2),
        Step("one two", 100, 1_000, 1),
    )

    async def scenario() -> None:
        finals = finals_of(await events_of(options, *steps))
        if getattr(options, "translation_target_languages", None):  # both wait for translations, until the end
            finals.reverse()
        assert finals == ["three four", "one two"]
        transcript = await transcript_of(options, *steps)
        assert transcript.text == "one two three four"
        assert all(result.is_confirmed and not result.may_repeat for result in transcript.results)

    run_virtual(scenario)


@every_model
async def test_a_source_without_speech_is_an_error_with_a_code_or_an_empty_transcript(options: Options) -> None:
    """An error with a code in every mode that ends with the first sentence; its input was closed without one."""
    try:
        transcript = await transcribe([bytes(32_000)] * 12, options, Local(Scripted([])))
    except VendorError as error:
        assert error.code in {"NO_VALID_AUDIO_ERROR", "EXCEEDED_SILENCE"}
    else:
        assert (transcript.text, transcript.gaps) == ("", ())
        assert options not in (GummyChat(), Rasr(mode="sentence"))


# --- a connection with several tasks (Huawei: see `huawei/test_sessions.py`) ------------------------------------------


class SeveralTasks:
    """A server that sends messages of the task before once more in each place of the next task on the connection."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.connections = 0
        self.task_ids: list[str] = []

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections += 1
        async for message in connection:
            if isinstance(message, bytes):
                continue
            header = json.loads(message)["header"]
            if header["action"] == "run-task":
                self.task_ids.append(header["task_id"])
                await self._send_late(connection)
                await send_event(connection, "task-started", header["task_id"])
            else:
                await self._send_final(connection, f"words {len(self.task_ids)}", header["task_id"])
                await self._send_late(connection)
                await send_event(connection, "task-finished", header["task_id"])

    async def _send_final(self, connection: ServerConnection, text: str, task_id: str) -> None:
        sentence = {"sentence_id": 1, "begin_time": 100, "end_time": 900, "text": text, "sentence_end": True}
        await send_event(connection, "result-generated", task_id, {"output": {self._name: sentence}})

    async def _send_late(self, connection: ServerConnection) -> None:
        for task_id in self.task_ids[-2:-1]:
            await self._send_final(connection, "late", task_id)
            await send_event(connection, "task-failed", task_id, error_code="InternalError", error_message="late")
            await send_event(connection, "task-finished", task_id)


@pytest.mark.parametrize("options", [*SEQUENTIAL, GummyChat()], ids=model_ids)
async def test_late_messages_of_a_task_are_not_in_the_next_session_on_its_connection(options: Options) -> None:
    server = SeveralTasks("transcription" if isinstance(options, Gummy | GummyChat) else "sentence")
    async with scripted_server(server) as service, Client(service) as client:
        for number in range(1, 4):
            transcript = await client.transcribe([bytes(6_400)], options)
            assert [(result.text, result.is_confirmed) for result in transcript.results] == [(f"words {number}", True)]
            assert transcript.request_id == server.task_ids[-1]
    assert (server.connections, len(server.task_ids)) == (1, 3)
