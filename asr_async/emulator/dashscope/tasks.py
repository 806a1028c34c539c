"""The emulated DashScope task protocol (`/api-ws/v1/inference`).

Knows no engine: it checks keys, order, models and parameters, decodes the audio, and converts an engine's hypotheses to
the vendor's messages. It is as strict as the documents; where they are silent, a comment gives the reason for a choice.
Commands are decoded in `commands`. Sources: the WebSocket API pages of Fun-ASR and Gummy, the error page, and the
client and server event pages of the platform (2025-10 to 2026).

A client has to wait for task-started, and for task-finished before the next run-task. What a client that does not wait
receives depends on the order of the messages, never on their times: a message that arrives while the engine opens or
finishes is judged when it has; and a task has started, or finished, for a client only when it has read that message,
which the answer to a ping shows.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import logging
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import WSCloseCode, web

from ...sources.decoded import has_decoder
from ...vendors.dashscope.models import FORMATS, MODEL_ROWS, ModelRow
from ...vendors.dashscope.wire import (
    Output,
    Sentence,
    ServerHeader,
    ServerMessage,
    ServerPayload,
    WireUsage,
    WireWord,
)
from ..audio_decoder import SAMPLE_BYTES, AudioDecodeError, CompressedDecoder, PcmDecoder, WavDecoder, split_samples
from ..engines.engine import Request
from ..engines.words import spell_digits, without_punctuation
from ..handler import FaultInjectingHandler
from ..lifecycle import Lifecycle
from ..session import EndConnection, VendorSession, engine_refusals
from .commands import (
    InvalidPayloadError,
    Parameters,
    TaskFailedError,
    is_message_model,
    read_control,
    read_hot_words,
    read_parameters,
    read_run,
)
from .gummy import GummySentences
from .rest import refusal, reject_by_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..api_keys import ApiKeys
    from ..connection import ClientConnection
    from ..engines.engine import Engine, Hypothesis, Recognition
    from ..faults import ConnectionFaults, FaultInjector
    from ..handler import WebSocketHandler
    from .hotwords import HotWordTables

__all__ = ["PATH", "ApiKeyHandler", "add_routes"]

PATH = "/api-ws/v1/inference"

DATA_TIMEOUT_S = 23
"""An open task fails if nothing is sent for this long: "request timeout after 23 seconds." (error page)."""

IDLE_TIMEOUT_S = 60
"""A connection without a task is closed after this long (Fun-ASR WebSocket API page)."""

CHAT_LIMIT_MS = 60_000
"""The longest audio of the chat model: an error if its only sentence has not ended by then (one-sentence API page)."""

SILENCE_LIMIT_MS = 60_000
"""The silence that ends a task without `heartbeat`, in audio time (real-time recognition SDK page)."""

HEARTBEAT_EVERY_MS = 5_000
"""With `heartbeat`, the silence after which a heartbeat sentence is sent. The documents give no figure."""

ROUND_TRIPS = 3
"""The pings that a client has to answer before task-started is sent. The vendor takes longer to start a task than a
client that does not wait takes to send the next message; on this machine the emulator would not. A client behind a slow
network answers one."""

PIECE_MS = 1_000
"""The engine receives longer messages in pieces of this length, so that silence is judged alike for any framing."""

_logger = logging.getLogger("asr_async")


# --- lifecycle --------------------------------------------------------------------------------------------------------


class State(enum.Enum):
    """The state of a connection."""

    IDLE = "no task"
    STARTING = "task starting"
    STARTED = "task started, client not informed"
    STREAMING = "task open"
    FINISHING = "task finishing"
    FINISHED = "task finished, client not informed"
    FAILED = "task failed"


class Step(enum.Enum):
    """The steps of a connection: the first four are the client's, the rest the server's."""

    RUN = "run-task"
    AUDIO = "audio"
    CONTINUE = "continue-task"
    FINISH = "finish-task"
    STARTED = "task-started"
    STARTED_READ = "task-started read"
    RESULT = "result-generated"
    FINISHED = "task-finished"
    FINISHED_READ = "task-finished read"
    FAIL = "task-failed"


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.IDLE, Step.RUN): State.STARTING,
    (State.STARTING, Step.STARTED): State.STARTED,
    (State.STARTING, Step.FAIL): State.FAILED,
    (State.STARTED, Step.STARTED_READ): State.STREAMING,
    (State.STARTED, Step.RESULT): State.STARTED,
    (State.STARTED, Step.FAIL): State.FAILED,
    (State.STREAMING, Step.AUDIO): State.STREAMING,
    (State.STREAMING, Step.CONTINUE): State.STREAMING,
    (State.STREAMING, Step.RESULT): State.STREAMING,
    (State.STREAMING, Step.FINISH): State.FINISHING,
    (State.STREAMING, Step.FAIL): State.FAILED,
    (State.FINISHING, Step.RESULT): State.FINISHING,
    (State.FINISHING, Step.FINISHED): State.FINISHED,
    (State.FINISHING, Step.FAIL): State.FAILED,
    (State.FINISHED, Step.FINISHED_READ): State.IDLE,
}
"""The whole lifecycle of a connection. A failed task ends its connection (Fun-ASR WebSocket API page)."""

CLIENT_TIMEOUTS_S = {
    State.IDLE: IDLE_TIMEOUT_S,
    State.STARTED: DATA_TIMEOUT_S,
    State.STREAMING: DATA_TIMEOUT_S,
    State.FINISHED: IDLE_TIMEOUT_S,
}
"""The longest silence of the client, by state. In the other states the server waits for the engine."""


_ENGINE_CODES = {
    "unsupported": "InvalidParameter",
    "capacity": "Throttling.Concurrency",
    "broken": "InternalError",
}


# --- audio ------------------------------------------------------------------------------------------------------------


def _decoder(parameters: Parameters) -> PcmDecoder | WavDecoder | CompressedDecoder:
    if parameters.format == "pcm":
        return PcmDecoder()
    if parameters.format == "wav":
        return WavDecoder(parameters.sample_rate)
    if parameters.format not in FORMATS:
        raise TaskFailedError("UNSUPPORTED_FORMAT", f"the emulator does not decode {parameters.format}")
    if not has_decoder():
        text = f'to decode {parameters.format}, the emulator needs PyAV: pip install "asr-async[audio]"'
        raise TaskFailedError("UNSUPPORTED_FORMAT", text)
    return CompressedDecoder(parameters.format, parameters.sample_rate)


# --- messages of the server -------------------------------------------------------------------------------------------


class _EventMessage(msgspec.Struct, frozen=True):
    """A message with an empty payload: task-started or task-failed."""

    header: ServerHeader
    payload: dict[str, Any] = {}


def _header(task_id: str, step: Step) -> ServerHeader:
    return ServerHeader(task_id=task_id, event=step.value, attributes={})


def _failure(task_id: str, failed: TaskFailedError) -> _EventMessage:
    header = _header(task_id, Step.FAIL)
    return _EventMessage(msgspec.structs.replace(header, error_code=failed.code, error_message=failed.message))


def _wire_words(hypothesis: Hypothesis) -> tuple[WireWord, ...]:
    return tuple(
        WireWord(text=word.text, begin_time=word.start_ms, end_time=word.end_ms, punctuation=word.punctuation)
        for word in hypothesis.words
    )


class _Sentences:
    """The sentences of a task, numbered from 1."""

    def __init__(self, *, emotion: bool) -> None:
        self._emotion = emotion
        self._number = 1
        self._begun = False

    def outputs(self, hypothesis: Hypothesis) -> Iterator[Output]:
        yield Output(sentence=self._sentence(hypothesis))

    def _sentence(self, hypothesis: Hypothesis) -> Sentence:
        sentence = Sentence(
            sentence_id=self._number,
            begin_time=hypothesis.start_ms,
            end_time=hypothesis.end_ms if hypothesis.is_final else None,
            text=hypothesis.text,
            words=_wire_words(hypothesis),
            heartbeat=False,
            sentence_begin=not self._begun,
            sentence_end=hypothesis.is_final,
        )
        is_over = hypothesis.is_final or hypothesis.is_noise
        self._begun = not is_over
        self._number += is_over
        if self._emotion and hypothesis.is_final:
            return msgspec.structs.replace(sentence, emo_tag="neutral", emo_confidence=0.9)
        return sentence


# --- a task -----------------------------------------------------------------------------------------------------------


class _Task:
    """One task: its parameters, the amount of audio received, and the messages about it."""

    def __init__(self, task_id: str, payload: dict[str, Any], tables: HotWordTables) -> None:
        run = read_run(payload)
        capability = MODEL_ROWS.get(run.model)
        if capability is None:
            raise TaskFailedError("ModelNotFound", f"Model not found: {run.model}")
        self.id = task_id
        self.parameters = read_parameters(run.parameters, capability)
        self._hot_words = read_hot_words(run, self.parameters, tables)
        self.recognition: Recognition | None = None
        """None until the engine has opened it."""
        self._decoder = _decoder(self.parameters)
        self._sentences = _sentences(capability, self.parameters)
        self._changes_of_text = _changes_of_text(capability, self.parameters)
        # "only final results unless intermediate_result_enabled" (client event page)
        self._sends_interims = not is_message_model(run.model) or bool(self.parameters.intermediate_result_enabled)
        self._is_one_sentence = _is_chat(run.model)
        self._is_over = False
        self._audio_bytes = 0
        self._heartbeats = 0
        """The number of heartbeats sent during the present silence."""

    @property
    def request(self) -> Request:
        """The part of the parameters that the engine receives."""
        return Request(
            sample_rate=self.parameters.sample_rate,
            languages=self.parameters.languages,
            hot_words=self._hot_words,
            translate_to=self.parameters.target_languages,
        )

    @property
    def _audio_ms(self) -> int:
        return self._audio_bytes * 1000 // (self.parameters.sample_rate * SAMPLE_BYTES)

    @property
    def _usage(self) -> WireUsage:
        bytes_per_second = self.parameters.sample_rate * SAMPLE_BYTES
        return WireUsage(duration=-(-self._audio_bytes // bytes_per_second))

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Decode a message and yield its samples in pieces for the engine; each piece is counted when it is yielded."""
        try:
            samples = self._decoder.decode(data)
        except AudioDecodeError as error:
            raise TaskFailedError("DECODE_ERROR", f"Failed to decode audio: {error}") from None
        for piece in split_samples(samples, self.parameters.sample_rate, PIECE_MS):
            if self._is_over:
                return  # audio after the only sentence is not recognised
            self._audio_bytes += len(piece)
            self._check_length()
            yield piece

    def _check_length(self) -> None:
        if self._is_one_sentence and self._audio_ms > CHAT_LIMIT_MS:
            # the documents give no code
            raise TaskFailedError("InvalidParameter", f"the audio is longer than {CHAT_LIMIT_MS // 1000} seconds")

    def started_message(self) -> _EventMessage:
        return _EventMessage(_header(self.id, Step.STARTED))

    def result_messages(self, hypothesis: Hypothesis) -> Iterator[ServerMessage]:
        if self._is_over or not (hypothesis.is_final or self._sends_interims):
            return
        self._is_over = self._is_one_sentence and hypothesis.is_final
        for change in self._changes_of_text:
            hypothesis = change(hypothesis)
        for output in self._sentences.outputs(hypothesis):
            yield self._result(output, self._usage if hypothesis.is_final else None)

    def finished_message(self) -> ServerMessage:
        return ServerMessage(
            header=_header(self.id, Step.FINISHED),
            payload=ServerPayload(output=Output(), usage=self._usage),
        )

    def on_silence(self, silent_ms: int) -> ServerMessage | None:
        """Return a heartbeat if one is due; without `heartbeat`, fail once the silence reaches its limit."""
        if not self.parameters.heartbeat:
            if silent_ms >= SILENCE_LIMIT_MS:
                raise TaskFailedError("ResponseTimeout", "Response timeout!")
            return None
        sent, self._heartbeats = self._heartbeats, silent_ms // HEARTBEAT_EVERY_MS
        if self._heartbeats <= sent:
            return None
        # Without text: the vendor has sent such heartbeats, so clients must handle them.
        heartbeat = Sentence(begin_time=self._audio_ms, end_time=None, heartbeat=True, sentence_end=False)
        return self._result(Output(sentence=heartbeat), None)

    def _result(self, output: Output, usage: WireUsage | None) -> ServerMessage:
        return ServerMessage(
            header=_header(self.id, Step.RESULT),
            payload=ServerPayload(output=output, usage=usage),
        )


def _is_chat(model: str) -> bool:
    return model.startswith("gummy-chat-")


def _sentences(capability: ModelRow, parameters: Parameters) -> _Sentences | GummySentences:
    """Return the converter from hypotheses to the model's sentences."""
    if "translation_enabled" in capability.options:
        return GummySentences(
            is_transcribed=parameters.is_transcribed,
            languages=parameters.target_languages,
            predicts_end=_is_chat(capability.model),
        )
    # "VAD mode, final only" (Paraformer SDK page)
    return _Sentences(emotion=capability.emotion and not parameters.semantic_punctuation_enabled)


def _changes_of_text(capability: ModelRow, parameters: Parameters) -> tuple[Callable[[Hypothesis], Hypothesis], ...]:
    """Return the changes that the parameters demand of every text.

    Only Paraformer v2 can do without punctuation and digits: the other models always write both (SDK pages, 2025-10).
    """
    if "inverse_text_normalization_enabled" not in capability.options:
        return ()
    punctuation = () if parameters.punctuation_prediction_enabled is not False else (without_punctuation,)
    digits = () if parameters.inverse_text_normalization_enabled is not False else (spell_digits,)
    return (*digits, *punctuation)


# --- session ----------------------------------------------------------------------------------------------------------


class _TaskProtocolSession(VendorSession[State, Step]):
    """The session of one client, which runs one task after another."""

    engine_codes = _ENGINE_CODES

    def __init__(
        self, connection: ClientConnection, faults: ConnectionFaults, engine: Engine, tables: HotWordTables
    ) -> None:
        super().__init__(connection, faults, Lifecycle(State.IDLE, TRANSITIONS, CLIENT_TIMEOUTS_S))
        self._engine = faults.engine_of(engine)
        self._tables = tables
        self._task: _Task | None = None
        self._task_id = ""
        """The task that a failure is reported for, which may be one that was not accepted."""
        self._used_ids: set[str] = set()
        self._work: asyncio.Task[None] | None = None
        """The last engine work that was started beside the reader."""

    def _timed_out(self) -> EndConnection:
        if self._lifecycle.state in {State.IDLE, State.FINISHED}:
            return EndConnection("idle", close_code=WSCloseCode.OK)
        return TaskFailedError("CLIENT_ERROR", f"request timeout after {DATA_TIMEOUT_S} seconds.")

    def _out_of_order(self, step: Step) -> EndConnection:
        if step is Step.RUN:
            return TaskFailedError("InvalidParameter", "a task is still open on this connection")
        if self._lifecycle.state in {State.STARTING, State.STARTED}:
            return TaskFailedError("CLIENT_ERROR", f"{step.value} was sent before task-started was received")
        return InvalidPayloadError()

    def _failure(self, code: str, message: str) -> EndConnection | None:
        return TaskFailedError(code, message) if self._lifecycle.allows(Step.FAIL) else None

    async def _on_text(self, text: str) -> None:
        await self._wait_for_engine()
        control = read_control(text)
        task_id = control.header.task_id
        match control.header.action:
            case "run-task":
                await self._on_run(task_id, control.payload)
            case "continue-task":  # its context is not passed on: engines have no use for it
                self._advance(Step.CONTINUE)
                self._check_id(task_id)
            case "finish-task":
                self._advance(Step.FINISH)
                self._check_id(task_id)
                await self._inject_at("finish")
                if not self._is_finish_muted:
                    self._work = self._tasks.create_task(self._finish())

    async def _wait_for_engine(self) -> None:
        """Wait until the task has opened, finished or failed; nothing more is read meanwhile."""
        if self._work is not None:
            await asyncio.wait({self._work})

    async def _on_run(self, task_id: str, payload: dict[str, Any]) -> None:
        self._advance(Step.RUN)
        self._task_id = task_id
        if not task_id or task_id in self._used_ids:
            reason = "has been used on this connection" if task_id else "can not be empty"
            raise TaskFailedError("InvalidParameter", f"task_id {reason}")
        self._used_ids.add(task_id)
        self._task = _Task(task_id, payload, self._tables)
        await self._inject_at("start")
        self._work = self._tasks.create_task(self._open(self._task))

    def _check_id(self, task_id: str) -> None:
        if task_id != self._task_id:
            raise TaskFailedError("InvalidParameter", f"task_id {task_id} is not that of the open task")

    async def _on_audio(self, data: bytes) -> None:
        await self._wait_for_engine()
        self._advance(Step.AUDIO)
        task, recognition = self._open_task
        processed_bytes = 0
        for piece in task.pieces(data):
            processed_bytes += len(piece)
            with engine_refusals(_ENGINE_CODES, TaskFailedError):
                await recognition.feed(piece)
            if heartbeat := task.on_silence(recognition.silent_ms):
                await self._send(heartbeat)
        await self._inject_after_audio(processed_bytes, task.parameters.sample_rate)

    async def _open(self, task: _Task) -> None:
        with engine_refusals(_ENGINE_CODES, TaskFailedError):
            task.recognition = await self._engine.open(task.request, functools.partial(self._emit, task))
        self._tasks.create_task(self._start(task))

    async def _start(self, task: _Task) -> None:
        await self._connection.wait_round_trips(ROUND_TRIPS)
        self._advance(Step.STARTED)
        self._restart_client_timeout()
        await self._send_awaited(task.started_message(), functools.partial(self._on_read, Step.STARTED_READ))

    def _on_read(self, step: Step) -> None:
        if self._lifecycle.allows(step):  # not if the task has failed
            self._advance(step)
            self._restart_client_timeout()

    async def _finish(self) -> None:
        task, recognition = self._open_task
        with engine_refusals(_ENGINE_CODES, TaskFailedError):
            await recognition.finish()
        await self._inject_at("result")
        has_speech = recognition.has_speech
        await self._close_recognition()
        if not has_speech:
            raise TaskFailedError("NO_VALID_AUDIO_ERROR", "no valid audio was received")
        self._advance(Step.FINISHED)
        self._restart_client_timeout()
        await self._send_awaited(task.finished_message(), functools.partial(self._on_read, Step.FINISHED_READ))

    async def _emit(self, task: _Task, hypothesis: Hypothesis) -> None:
        """Send a hypothesis to the client; one that arrives after the end of its task is dropped."""
        for message in task.result_messages(hypothesis):
            if self._task is task and self._lifecycle.allows(Step.RESULT):
                self._advance(Step.RESULT)
                await self._send(message)
                self._faults.record_result()

    @property
    def _open_task(self) -> tuple[_Task, Recognition]:
        task = self._task
        # TRANSITIONS allows no step that gets here without a task
        assert task is not None and task.recognition is not None  # noqa: S101, PT018
        return task, task.recognition

    async def _close_recognition(self) -> None:
        """Close the recognition and forget the task."""
        if self._task is not None and self._task.recognition is not None:
            await self._task.recognition.aclose()
        self._task = None

    async def _send_reason(self, end: EndConnection) -> None:
        if isinstance(end, TaskFailedError):
            if self._lifecycle.allows(Step.FAIL):  # not if the client has started the next task too early
                self._advance(Step.FAIL)
            _logger.debug("emulator: task %s failed: %s %s", self._task_id, end.code, end.message)
            await self._send(_failure(self._task_id, end))


# --- routes -----------------------------------------------------------------------------------------------------------


def add_routes(
    application: web.Application, engine: Engine, *, keys: ApiKeys, tables: HotWordTables, faults: FaultInjector
) -> WebSocketHandler:
    """Add the routes of the task protocol, and return their handler."""
    handler = _TaskHandler(engine, keys, faults, tables)
    for path in (PATH, f"{PATH}/"):
        application.router.add_get(path, handler.handle)
    return handler


class ApiKeyHandler(FaultInjectingHandler):
    """The handler of an endpoint that checks DashScope API keys."""

    def __init__(self, engine: Engine, keys: ApiKeys, faults: FaultInjector) -> None:
        super().__init__(faults)
        self._engine = engine
        self._keys = keys

    def _reject(self, request: web.Request) -> web.Response | None:
        return reject_by_key(request, self._keys)

    def _error_body(self, code: str, message: str) -> Any:
        return refusal(code, message)


class _TaskHandler(ApiKeyHandler):
    """The handler of the task protocol."""

    def __init__(self, engine: Engine, keys: ApiKeys, faults: FaultInjector, tables: HotWordTables) -> None:
        super().__init__(engine, keys, faults)
        self._tables = tables

    def _create_session(
        self, _request: web.Request, connection: ClientConnection, faults: ConnectionFaults
    ) -> VendorSession[State, Step]:
        return _TaskProtocolSession(connection, faults, self._engine, self._tables)
