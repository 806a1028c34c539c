"""The codec of DashScope's task protocol: run-task, audio, finish-task, and the server's messages.

One codec is one task. It does not know whether its connection carried other tasks before, nor how sentences become
segments: that is in `segments`, and in `gummy` for translations.

Gummy's chat model recognises one sentence. No document says that its task then finishes without a request, so the codec
returns `InputClosed` and the task ends like any other; a task that finishes by itself is accepted as well.
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
    Reread,
    Started,
    State,
    Step,
    TaskDescription,
    TaskLifecycle,
    Unrecognised,
    Usage,
    read_message,
    reread_events,
)
from ..lenient import LenientReader
from ..options import ContextMessage
from .errors import VENDOR, error_from_code, is_no_speech
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

# bound here, since an access to a member of an enum is a function call in CPython 3.11
_AUDIO = Step.AUDIO
_STREAMING = State.STREAMING
_RESULT = Step.RESULT

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ServerMessage).decode
_reader: LenientReader[ServerMessage] = LenientReader(ServerMessage)


class TaskCodec:
    """One recognition task; see `Codec` for the methods' contract."""

    __slots__ = ("_lifecycle", "_options", "_segments", "_task_id")

    def __init__(self, options: TaskOptions, *, task_id: str) -> None:
        """Make the codec of a task.

        Args:
            options: the options of the model.
            task_id: 32 hexadecimal characters that no other task on the connection uses.
        """
        self._options = options
        self._task_id = task_id
        self._lifecycle = TaskLifecycle()
        self._segments = _segments(options, task_id)

    def __repr__(self) -> str:
        return f"<TaskCodec {self._options.model} {self._task_id} {self._lifecycle.state.value}>"

    @property
    def request_id(self) -> str:
        """The task id, which the vendor's support requests."""
        return self._task_id

    def start(self) -> list[Message]:
        """Return run-task, which opens the task."""
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
        """Return the audio itself: it is sent as a binary message."""
        if self._lifecycle.state is not _STREAMING:  # else it stays so; a call for each frame costs as much as the rest
            self._lifecycle.advance(_AUDIO)
        return frame

    def update_context(self, context: Sequence[ContextMessage]) -> list[Message]:
        """Return continue-task, which gives the running task a new context.

        Raises:
            ConfigurationError: the model has no context, or the context is longer than the server reads.
        """
        self._options.check_context(context)
        self._lifecycle.advance(Step.UPDATE)
        header = ClientHeader("continue-task", self._task_id)
        return [_text(ContinueTask(header, InputPayload(_context_input(context))))]

    def finish(self) -> list[Message]:
        """Return finish-task, behind which no audio comes."""
        self._lifecycle.advance(Step.FINISH)
        return [_text(FinishTask(ClientHeader("finish-task", self._task_id), InputPayload({})))]

    def receive(self, message: str | bytes) -> list[CodecEvent]:
        """Return the events of one message.

        Raises:
            RemoteProtocolError: the message is not JSON, has no header, or is out of order.
        """
        decoded = read_message(message, _decode, _reader, of="DashScope", vendor=VENDOR, request_id=self._task_id)
        if isinstance(decoded, Reread):
            return reread_events(decoded, self._dispatch, message)
        return self._dispatch(decoded, str(message))  # text: `read_message` decodes no other

    def _dispatch(self, message: ServerMessage, raw: str) -> list[CodecEvent]:
        task_id = message.header.task_id
        if task_id and task_id != self._task_id:
            return [Unrecognised("message of another task", raw)]
        match message.header.event:
            case "result-generated":
                return self._on_result(message, raw)
            case "task-started":
                return self._on_started(raw)
            case "task-finished":
                return self._on_finished(message)
            case "task-failed":
                return self._on_failed(message, raw)
            case event:
                return [Unrecognised(event or "message without an event", raw)]

    def release_pending(self, segment_id: int) -> list[CodecEvent]:
        """Return a final without the translations that have not arrived in time."""
        return self._segments.release_pending(segment_id)

    def lost_translations(self, reason: str) -> list[CodecEvent]:
        """Return an event for each translation that a returned final lacks, and that will not come."""
        return self._segments.lost_translations(reason)

    def _on_started(self, raw: str) -> list[CodecEvent]:
        if self._lifecycle.state in {State.STREAMING, State.FINISHING}:
            return [Unrecognised("second task-started", raw)]
        self._lifecycle.advance(Step.STARTED)
        return [Started(self._task_id)]

    def _on_finished(self, message: ServerMessage) -> list[CodecEvent]:
        is_early = self._lifecycle.state is State.STREAMING and self._options.is_single_sentence
        self._lifecycle.advance(Step.FINISHED_EARLY if is_early else Step.FINISHED)
        return [*self._segments.close(), *_usage(message), Finished()]

    def _on_failed(self, message: ServerMessage, raw: str) -> list[CodecEvent]:
        is_finishing = self._lifecycle.state is State.FINISHING
        self._lifecycle.advance(Step.FAIL)
        header = message.header
        error = error_from_code(
            header.error_code or "",
            header.error_message or "DashScope ended the task",
            request_id=self._task_id,
            raw=raw,
        )
        if is_finishing and is_no_speech(error):
            return [*self._segments.withdraw(), NoSpeech(error)]
        return [Failed(error)]

    def _on_result(self, message: ServerMessage, raw: str) -> list[CodecEvent]:
        if self._lifecycle.state is not _STREAMING:
            self._lifecycle.advance(_RESULT)
        output = message.payload.output if message.payload else None
        events = self._segments.receive(output or Output(), raw=raw)
        if self._options.is_single_sentence and self._is_sentence_over(events):
            events.append(InputClosed())
        events += _usage(message)
        return events

    def _is_sentence_over(self, events: list[CodecEvent]) -> bool:
        """Return True if the one sentence is over: its final is among the events, or waits for a translation."""
        return self._lifecycle.state is State.STREAMING and any(
            isinstance(event, FinalPending) or (isinstance(event, Result) and event.is_final) for event in events
        )


def describe_task(options: TaskOptions) -> TaskDescription:
    """Return the facts about a task.

    A message of audio may be as small as wanted; 16 KB is the upper end of the documents' advice (SDK pages, 2025-10).
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
