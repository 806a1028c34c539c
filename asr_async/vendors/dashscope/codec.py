"""The task protocol of DashScope: run-task, audio, finish-task, and what the server says to it.

One codec is one task. It does not know whether its connection carried other tasks before, nor how sentences become
segments: `segments` does, and `gummy` where they are translated.

Gummy's chat model listens to one sentence. No document says that its task then finishes without being asked, so the
codec says `InputClosed` and the task goes on to its end as always; a task that finishes by itself is as good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...audio import AudioBytes
from ...results import Result
from ..codec import (
    CodecEvent,
    Failed,
    FinalPending,
    Finished,
    InputClosed,
    Message,
    NoSpeech,
    Started,
    State,
    Step,
    TaskDescription,
    TaskLifecycle,
    Unrecognised,
    Usage,
    read_message,
)
from ..options import ContextMessage
from .errors import NO_SPEECH_CODES, VENDOR, error_from_code
from .gummy import TranslatedSegments
from .models import FunASR, Paraformer, QwenAudio, TaskOptions, TranslationOptions
from .segments import PlainSegments, Segments
from .wire import (
    ClientHeader,
    ContinueTask,
    FinishTask,
    InputPayload,
    Output,
    Resource,
    RunPayload,
    RunTask,
    ServerMessage,
)

__all__ = ["TaskCodec", "describe_task"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ServerMessage).decode


class TaskCodec:
    """One recognition task; see `Codec` for the methods' contract."""

    __slots__ = ("_lifecycle", "_options", "_segments", "_task_id")

    def __init__(self, options: TaskOptions, *, task_id: str) -> None:
        """Take the options and an id: 32 hex characters, used by no other task on the connection."""
        self._options = options
        self._task_id = task_id
        self._lifecycle = TaskLifecycle()
        self._segments = _segments(options, task_id)

    def __repr__(self) -> str:
        return f"<TaskCodec {self._options.model} {self._task_id} {self._lifecycle.state.value}>"

    @property
    def request_id(self) -> str:
        """The task id: what the vendor's support asks for."""
        return self._task_id

    def start(self) -> list[Message]:
        """Open the task."""
        self._lifecycle.advance(Step.START)
        options = self._options
        phrase_id = options.phrase_id if isinstance(options, Paraformer) else None
        context = options.context if isinstance(options, FunASR | QwenAudio) else None
        payload = RunPayload(
            model=options.model,
            parameters=options.parameters(),
            input=_context_input(context) if context else {},
            task_group="audio",
            task="asr",
            function="recognition",
            resources=(Resource(phrase_id),) if phrase_id else (),
        )
        return [_text(RunTask(ClientHeader("run-task", self._task_id), payload))]

    def audio(self, frame: AudioBytes) -> Message:
        """Audio goes as it is."""
        self._lifecycle.advance(Step.AUDIO)
        return frame

    def update_context(self, context: Sequence[ContextMessage]) -> list[Message]:
        """Give the running task a new context.

        Raises:
            ConfigurationError: the model takes none, or more than the server reads.
        """
        self._options.check_context(context)
        self._lifecycle.advance(Step.UPDATE)
        header = ClientHeader("continue-task", self._task_id)
        return [_text(ContinueTask(header, InputPayload(_context_input(context))))]

    def finish(self) -> list[Message]:
        """Say that no more audio comes."""
        self._lifecycle.advance(Step.FINISH)
        return [_text(FinishTask(ClientHeader("finish-task", self._task_id), InputPayload({})))]

    def receive(self, frame: str | bytes) -> list[CodecEvent]:
        """Read one message.

        Raises:
            RemoteProtocolError: it is not JSON, not of the documented shape, or comes out of order.
        """
        message = read_message(frame, _decode, of="DashScope", vendor=VENDOR, request_id=self._task_id)
        if isinstance(message, Unrecognised):
            return [message]
        frame = str(frame)  # the other kind is told above
        task_id = message.header.task_id
        if task_id and task_id != self._task_id:
            return [Unrecognised("message of another task", frame)]
        return self._read(message, frame)

    def _read(self, message: ServerMessage, frame: str) -> list[CodecEvent]:
        match message.header.event:
            case "result-generated":
                return self._read_result(message, frame)
            case "task-started":
                return self._read_started()
            case "task-finished":
                return self._read_finished(message)
            case "task-failed":
                return self._read_failed(message)
            case event:
                return [Unrecognised(event or "message without an event", frame)]

    def release_pending(self, segment_id: int) -> list[CodecEvent]:
        """Give out a final whose translations have not come in time."""
        return self._segments.release_pending(segment_id)

    def _read_started(self) -> list[CodecEvent]:
        self._lifecycle.advance(Step.STARTED)
        return [Started(self._task_id)]

    def _read_finished(self, message: ServerMessage) -> list[CodecEvent]:
        is_early = self._lifecycle.state is State.STREAMING and self._options.is_single_sentence
        self._lifecycle.advance(Step.FINISHED_EARLY if is_early else Step.FINISHED)
        return [*self._segments.close(), *_usage(message), Finished()]

    def _read_failed(self, message: ServerMessage) -> list[CodecEvent]:
        is_finishing = self._lifecycle.state is State.FINISHING
        self._lifecycle.advance(Step.FAIL)
        header = message.header
        error = error_from_code(
            header.error_code or "",
            header.error_message or "DashScope ended the task",
            request_id=self._task_id,
        )
        return [NoSpeech(error) if is_finishing and error.code in NO_SPEECH_CODES else Failed(error)]

    def _read_result(self, message: ServerMessage, raw: str) -> list[CodecEvent]:
        self._lifecycle.advance(Step.RESULT)
        output = message.payload.output if message.payload else None
        events = self._segments.receive(output or Output(), raw=raw)
        if self._options.is_single_sentence and self._has_heard_enough(events):
            events.append(InputClosed())
        events += _usage(message)
        return events

    def _has_heard_enough(self, events: list[CodecEvent]) -> bool:
        """Whether the one sentence is over: its final may already be there, or wait for a translation."""
        return self._lifecycle.state is State.STREAMING and any(
            isinstance(event, FinalPending) or (isinstance(event, Result) and event.is_final) for event in events
        )


def describe_task(options: TaskOptions) -> TaskDescription:
    """Return the facts about a task.

    No message of audio is too small; 16 KB is the upper end of the documents' advice (SDK pages, 2025-10).
    """
    return TaskDescription(audio_format=options.audio, max_frame_bytes=16_384)


def _segments(options: TaskOptions, request_id: str) -> Segments:
    if not isinstance(options, TranslationOptions):
        return PlainSegments(request_id)
    return TranslatedSegments(
        request_id,
        is_transcribed=options.transcription_enabled,
        languages=options.target_languages,
    )


def _usage(message: ServerMessage) -> list[Usage]:
    usage = message.payload.usage if message.payload else None
    return [Usage(usage.duration)] if usage is not None and usage.duration is not None else []


def _context_input(messages: Sequence[ContextMessage]) -> dict[str, Any]:
    kinds = {"user": "input_text", "assistant": "text"}
    return {
        "context": [
            {"role": message.role, "content": [{"type": kinds[message.role], "text": message.text}]}
            for message in messages
        ]
    }


def _text(message: RunTask | ContinueTask | FinishTask) -> str:
    return _encode(message).decode()
