"""The emulated Huawei RASR protocol (`/v1/{project_id}/rasr/...-stream`).

Knows no engine: it checks order, options and message sizes, decodes the audio, and converts an engine's hypotheses to
the messages of the three modes. It is as strict as the documents; where they are silent, a comment gives the reason for
a choice. Commands are decoded in `commands`, results are converted in `modes`, credentials are checked in `auth`, and
plain HTTP is answered in `rest`. Sources: the API reference of SIS (public documentation repository, 2021-10; live
pages sis_03_0029 to sis_03_0045, 2025/26) and messages of the official Python SDK (1.7/1.8 line).

The engine alone decides where a sentence ends: `vad_tail`, `max_seconds` and, in mode continue, `vad_head` are checked
and have no effect; the same is true of `vad_threshold`. Hot words are passed to the engine without
their weights.

A task extends from START to END. A failed task does not end its connection: the client receives ERROR, and everything
but a new START is ignored. A failure is raised as a `TaskError`, and reported by the code in which it occurs: the
reader, or the task beside it.

The vendor's own programs do not wait for the answers to START and END. So a message that arrives while the engine opens
or finishes waits until it has: what the client receives depends on the order of its messages, never on their times.
Only a cancel does not wait.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import logging
import re
import uuid
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
from aiohttp import WSCloseCode, web

from ...vendors.huawei.models import AUDIO_FORMATS, FRAME_LIMITS, MODES, Mode
from ...vendors.huawei.wire import ServerMessage
from ..audio_decoder import SAMPLE_BYTES, G711Decoder, PcmDecoder, split_samples
from ..engines.engine import Hypothesis, Request
from ..handler import FaultInjectingHandler
from ..lifecycle import Lifecycle
from ..session import EndConnection, VendorSession, engine_refusals
from . import rest as huawei_rest
from .auth import Authenticator
from .commands import TaskError, invalid_member, read_cancel, read_config, read_message, required_member
from .modes import MODE_OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ..connection import ClientConnection
    from ..engines.engine import Engine, Recognition
    from ..faults import ConnectionFaults, FaultInjector
    from ..handler import WebSocketHandler
    from .commands import Config

__all__ = ["add_routes"]

VOICE_TIMEOUT_S = 20
"""A connection is closed if the client is silent for this long: "wait voice timeout" (FATAL_ERROR page)."""

PIECE_MS = 100
"""The engine receives longer messages in pieces of this length, so that silence is judged alike for any framing."""

_logger = logging.getLogger("asr_async")
_PATHS = {mode.path: mode for mode in MODES.values()}


# --- lifecycle --------------------------------------------------------------------------------------------------------


class State(enum.Enum):
    """The state of a connection."""

    IDLE = "no task"
    STARTING = "task starting"
    STREAMING = "task open"
    SENTENCE_OVER = "task open, sentence over"
    FINISHING = "task finishing"
    FAILED = "task failed"


class Step(enum.Enum):
    """The steps of a connection: the first four are the client's, the rest the server's."""

    START = "START"
    AUDIO = "audio"
    END = "END"
    CANCEL = "END with cancel"
    STARTED = "START answered"
    RESULT = "RESULT"
    SENTENCE_END = "sentence over"
    FINISHED = "END answered"
    FAIL = "ERROR"


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.IDLE, Step.START): State.STARTING,
    (State.IDLE, Step.FAIL): State.FAILED,
    (State.STARTING, Step.STARTED): State.STREAMING,
    (State.STARTING, Step.CANCEL): State.IDLE,
    (State.STARTING, Step.FAIL): State.FAILED,
    (State.STREAMING, Step.AUDIO): State.STREAMING,
    (State.STREAMING, Step.RESULT): State.STREAMING,
    (State.STREAMING, Step.SENTENCE_END): State.SENTENCE_OVER,
    (State.STREAMING, Step.END): State.FINISHING,
    (State.STREAMING, Step.CANCEL): State.IDLE,
    (State.STREAMING, Step.FAIL): State.FAILED,
    (State.SENTENCE_OVER, Step.AUDIO): State.SENTENCE_OVER,
    (State.SENTENCE_OVER, Step.END): State.FINISHING,
    (State.SENTENCE_OVER, Step.CANCEL): State.IDLE,
    (State.SENTENCE_OVER, Step.FAIL): State.FAILED,
    (State.FINISHING, Step.RESULT): State.FINISHING,
    (State.FINISHING, Step.FINISHED): State.IDLE,
    (State.FINISHING, Step.CANCEL): State.IDLE,
    (State.FINISHING, Step.FAIL): State.FAILED,
    (State.FAILED, Step.START): State.STARTING,
    (State.FAILED, Step.AUDIO): State.FAILED,
    (State.FAILED, Step.END): State.FAILED,
    (State.FAILED, Step.CANCEL): State.FAILED,
    (State.FAILED, Step.FAIL): State.FAILED,
}
"""The whole lifecycle of a connection. After an ERROR, audio is ignored until the next START (error page), and so is an
END that was sent before the ERROR arrived. A cancel is accepted from START on, even before its answer."""

CLIENT_TIMEOUTS_S = dict.fromkeys((State.IDLE, State.STREAMING, State.SENTENCE_OVER, State.FAILED), VOICE_TIMEOUT_S)
"""The longest silence of the client, by state. In the other states the server waits for the engine."""

RUNNING = {State.STREAMING, State.SENTENCE_OVER, State.FINISHING}
"""The states after the answer to START; only in these does an END follow an ERROR (error page)."""

_OUT_OF_ORDER = {State.IDLE: "without START", State.FINISHING: "after END"}
"""In words, the states in which audio and END are errors. A message waits for the end of the state STARTING."""


class _VoiceTimeoutError(EndConnection):
    """The timeout of a silent client; it is reported before the connection closes.

    The documents give no close code for this. 1000 is used, since the message before it reports the error.
    """

    def __init__(self) -> None:
        super().__init__("wait voice timeout", close_code=WSCloseCode.OK)


_ENGINE_CODES = {"unsupported": "SIS.0031", "capacity": "SIS.0312", "broken": "SIS.0302"}
_engine_refusals = functools.partial(engine_refusals, _ENGINE_CODES, TaskError)


# --- task -------------------------------------------------------------------------------------------------------------


def _end_message(reason: Literal["NORMAL", "CANCEL", "ERROR"]) -> ServerMessage:
    return ServerMessage(resp_type="END", reason=reason)


class _Task:
    """One task, from START to END: its options, the amount of audio received, and the messages about it."""

    def __init__(self, mode: Mode, config: Config, hot_words: tuple[str, ...]) -> None:
        audio = AUDIO_FORMATS[config.audio_format]
        self.output = MODE_OUTPUTS[mode.name](config)
        self.recognition: Recognition | None = None
        """None until the engine has opened it."""
        self._mode = mode
        self._hot_words = hot_words
        self._sample_rate = audio.sample_rate
        encoding = cast("Literal['pcm', 'ulaw', 'alaw']", audio.encoding)
        self._decoder = PcmDecoder() if encoding == "pcm" else G711Decoder(encoding)
        self._short_message = b""
        """A message below the smallest size, which is accepted only as the last one before END."""
        self._audio_bytes = 0

    @property
    def request(self) -> Request:
        """The part of the options that the engine receives."""
        # The property's language is not passed on as a hint: a client with default options requests Chinese, and must
        # still receive the results of the embedded recogniser.
        return Request(sample_rate=self._sample_rate, hot_words=self._hot_words)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Decode a message and yield its samples in pieces for the engine; each piece is counted when it is yielded."""
        smallest, largest = FRAME_LIMITS[self._sample_rate]
        if self._short_message or not 0 < len(data) <= largest:
            raise self._wrong_size(self._short_message or data)
        if len(data) < smallest:
            self._short_message = data
        else:
            yield from self._decode(data)

    def last_pieces(self) -> Iterator[bytes]:
        """Yield the samples of the last message if it is below the smallest size; call this at END.

        The documents allow no exception, but the official SDK divides a file into messages of one size and sends the
        rest of it, whatever its size.
        """
        if self._short_message:
            _logger.warning("emulator: %s; accepted as the last one", self._wrong_size(self._short_message))
            yield from self._decode(self._short_message)

    def _wrong_size(self, data: bytes) -> TaskError:
        smallest, largest = FRAME_LIMITS[self._sample_rate]
        return TaskError(
            "SIS.0032",
            f"an audio message has {smallest} to {largest} bytes at {self._sample_rate} Hz, not {len(data)}",
        )

    def _decode(self, data: bytes) -> Iterator[bytes]:
        for piece in split_samples(self._decoder.decode(data), self._sample_rate, PIECE_MS):
            self._audio_bytes += len(piece)
            if self._audio_bytes > self._mode.max_audio_s * self._sample_rate * SAMPLE_BYTES:
                raise TaskError(
                    "SIS.0309", f"mode {self._mode.name} accepts at most {self._mode.max_audio_s} s of audio"
                )
            yield piece


# --- session ----------------------------------------------------------------------------------------------------------


class _RasrSession(VendorSession[State, Step]):
    """The session of one client, which runs one task after another."""

    engine_codes = _ENGINE_CODES

    def __init__(
        self,
        connection: ClientConnection,
        faults: ConnectionFaults,
        engine: Engine,
        mode: Mode,
        find_words: Callable[[str], tuple[str, ...] | None],
    ) -> None:
        super().__init__(connection, faults, Lifecycle(State.IDLE, TRANSITIONS, CLIENT_TIMEOUTS_S))
        self._engine = faults.engine_of(engine)
        self._mode = mode
        self._find_words = find_words
        """Returns the hot words of a table of the client's project; None if it has no such table."""
        self._trace_id = str(uuid.uuid4())
        self._task: _Task | None = None
        self._work: asyncio.Task[None] | None = None
        """The last engine work that was started beside the reader."""

    def _out_of_order(self, step: Step) -> TaskError:
        if step is Step.START:
            return TaskError("SIS.0032", "START was sent while a task was running: send END first")
        return TaskError("SIS.0032", f"{step.value} was sent {_OUT_OF_ORDER[self._lifecycle.state]}")

    def _timed_out(self) -> EndConnection:
        return _VoiceTimeoutError()

    def _failure(self, code: str, message: str) -> TaskError:
        return TaskError(code, message)

    async def _on_text(self, text: str) -> None:
        try:
            await self._on_command(read_message(text))
        except TaskError as error:
            await self._wait_for_engine()
            await self._report(error)

    async def _on_audio(self, data: bytes) -> None:
        await self._wait_for_engine()
        try:
            self._advance(Step.AUDIO)
            pieces = () if self._task is None else self._task.pieces(data)
            if self._lifecycle.state is State.STREAMING:
                await self._feed(pieces)
            for _ in pieces:  # not recognised behind the only sentence, but checked: the engine may end it any time
                pass
        except TaskError as error:
            await self._report(error)

    async def _on_command(self, message: dict[str, Any]) -> None:
        match required_member(message, "command"):
            case "START":
                await self._start(message)
            case "END":
                if read_cancel(message):
                    await self._cancel()
                else:
                    await self._end()
            case _:
                raise invalid_member("command")

    async def _wait_for_engine(self) -> None:
        """Wait until the task has opened, finished or failed; nothing more is read meanwhile."""
        if self._work is not None:
            await asyncio.wait({self._work})

    async def _start(self, message: dict[str, Any]) -> None:
        await self._wait_for_engine()
        if not self._lifecycle.allows(Step.START):
            raise self._out_of_order(Step.START)
        self._trace_id = str(uuid.uuid4())
        config = read_config(message)
        hot_words = self._hot_words(config)
        self._advance(Step.START)
        await self._inject_at("start")
        self._task = _Task(self._mode, config, hot_words)
        self._start_beside_reader(self._open)

    def _hot_words(self, config: Config) -> tuple[str, ...]:
        words = config.user_words or ()
        if config.vocabulary_id is None:
            return words
        table = self._find_words(config.vocabulary_id)
        if table is None:
            raise TaskError("SIS.0201", f"vocabulary {config.vocabulary_id} not found")
        return (*words, *table)

    async def _end(self) -> None:
        await self._wait_for_engine()
        if self._lifecycle.state is State.STREAMING:
            await self._feed(self._open_task[0].last_pieces())
        self._advance(Step.END)
        if self._lifecycle.state is State.FINISHING:
            await self._inject_at("finish")
            if not self._is_finish_muted:
                self._start_beside_reader(self._finish)

    async def _cancel(self) -> None:
        if self._lifecycle.state is State.IDLE and self._work is not None:
            return  # it has crossed the end of its task
        self._advance(Step.CANCEL)
        if self._lifecycle.state is State.IDLE:
            await self._abandon_task()
            await self._send_traced(_end_message("CANCEL"))

    async def _feed(self, pieces: Iterable[bytes]) -> None:
        task, recognition = self._open_task
        processed_bytes = 0
        for piece in pieces:
            processed_bytes += len(piece)
            with _engine_refusals():
                await recognition.feed(piece)
            if not recognition.has_speech:
                await self._send_output(task, task.output.on_silence(recognition.silent_ms))
            if task.output.is_over:
                break
        await self._inject_after_audio(processed_bytes, task.request.sample_rate)

    async def _open(self) -> None:
        task = self._task
        assert task is not None  # noqa: S101 - set by START
        with _engine_refusals():
            task.recognition = await self._engine.open(task.request, functools.partial(self._emit, task))
        self._advance(Step.STARTED)
        self._restart_client_timeout()
        await self._send_traced(ServerMessage(resp_type="START"))

    async def _finish(self) -> None:
        task, recognition = self._open_task
        if not task.output.is_over:
            with _engine_refusals():
                await recognition.finish()
            await self._inject_at("result")
        await self._close_recognition()
        self._advance(Step.FINISHED)
        self._restart_client_timeout()
        for message in (*task.output.on_finish(), _end_message("NORMAL")):
            await self._send_traced(message)

    async def _emit(self, task: _Task, hypothesis: Hypothesis) -> None:
        """Send a hypothesis to the client; one that arrives after the end of its task is dropped."""
        if self._task is task and self._lifecycle.allows(Step.RESULT):
            self._advance(Step.RESULT)
            await self._send_output(task, task.output.on_hypothesis(hypothesis))

    async def _send_output(self, task: _Task, messages: list[ServerMessage]) -> None:
        if task.output.is_over and self._lifecycle.allows(Step.SENTENCE_END):
            self._advance(Step.SENTENCE_END)
        for message in messages:
            await self._send_traced(message)
            if message.resp_type == "RESULT":
                self._faults.record_result()

    @property
    def _open_task(self) -> tuple[_Task, Recognition]:
        task = self._task
        # TRANSITIONS allows no step that gets here without a task
        assert task is not None and task.recognition is not None  # noqa: S101, PT018
        return task, task.recognition

    def _start_beside_reader(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = self._tasks.create_task(self._run_beside_reader(work))

    async def _run_beside_reader(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except TaskError as error:
            await self._report(error)

    async def _report(self, error: TaskError) -> None:
        """Send ERROR to the client, and END after it if a task was running."""
        await self._abandon_task()
        was_running = self._lifecycle.state in RUNNING
        self._advance(Step.FAIL)
        self._restart_client_timeout()
        _logger.debug("emulator: task %s failed: %s %s", self._trace_id, error.code, error)
        await self._send_traced(ServerMessage(resp_type="ERROR", error_code=error.code, error_msg=str(error)))
        if was_running:
            await self._send_traced(_end_message("ERROR"))

    async def _abandon_task(self) -> None:
        """Stop the engine at once, without its results."""
        if self._work is not None and self._work is not asyncio.current_task():
            self._work.cancel()
            await asyncio.wait({self._work})
        await self._close_recognition()

    async def _close_recognition(self) -> None:
        if self._task is not None and self._task.recognition is not None:
            await self._task.recognition.aclose()
        self._task = None

    async def _send_traced(self, message: ServerMessage) -> None:
        await self._send(msgspec.structs.replace(message, trace_id=self._trace_id))

    async def _send_reason(self, end: EndConnection) -> None:
        if isinstance(end, _VoiceTimeoutError):
            _logger.debug("emulator: %r: %s", self, end)
            await self._send_traced(ServerMessage(resp_type="FATAL_ERROR", error_code="SIS.0304", error_msg=end.reason))


# --- routes -----------------------------------------------------------------------------------------------------------


def add_routes(
    application: web.Application,
    engine: Engine,
    *,
    api_keys: Collection[str] | Mapping[str, str] | None,
    faults: FaultInjector,
) -> Sequence[WebSocketHandler]:
    """Add the routes of recognition, tokens and hot-word tables; return the handler of recognition."""
    authenticator = Authenticator(api_keys)
    vocabularies = huawei_rest.Vocabularies()
    huawei_rest.add_routes(application, authenticator, vocabularies)
    handler = _RasrHandler(engine, authenticator, vocabularies, faults)
    path = f"/v1/{{project_id}}/{{path:{'|'.join(map(re.escape, _PATHS))}}}"
    for end in ("", "/"):
        application.router.add_get(path + end, handler.handle)
    return [handler]


class _RasrHandler(FaultInjectingHandler):
    """The handler of recognition, which checks tokens and signatures."""

    def __init__(
        self,
        engine: Engine,
        authenticator: Authenticator,
        vocabularies: huawei_rest.Vocabularies,
        faults: FaultInjector,
    ) -> None:
        super().__init__(faults)
        self._engine = engine
        self._authenticator = authenticator
        self._vocabularies = vocabularies

    def _reject(self, request: web.Request) -> web.Response | None:
        return self._authenticator.reject(request)

    def _error_body(self, code: str, message: str) -> Any:
        return {"error_code": code, "error_msg": message}

    def _create_session(
        self, request: web.Request, connection: ClientConnection, faults: ConnectionFaults
    ) -> VendorSession[State, Step]:
        mode = _PATHS[request.match_info["path"]]
        find_words = functools.partial(self._vocabularies.words, request.match_info["project_id"])
        return _RasrSession(connection, faults, self._engine, mode, find_words)
