"""The task protocol of DashScope: run-task, audio, finish-task, and what the server says to it.

One codec is one task. It does not know whether its connection carried other tasks before. Segments are counted here,
because the vendor's `sentence_id` is missing from the documents of 2025 and not promised to start anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ...audio import AudioFormat
from ...errors import RemoteProtocolError
from ...results import Result, SpeechEnded, SpeechStarted, Word
from ..codec import CodecEvent, Failed, Finished, Frame, Lifecycle, Started, Step, Unrecognised, Usage
from .errors import VENDOR, error_from_code
from .models import ContextMessage, FunASR, Paraformer, TaskOptions, check_context
from .wire import (
    ClientHeader,
    ContinueTask,
    FinishTask,
    InputPayload,
    Resource,
    RunPayload,
    RunTask,
    Sentence,
    ServerMessage,
)

__all__ = ["TaskCodec"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ServerMessage).decode


class TaskCodec:
    """One recognition task; see `Codec` for the methods' contract."""

    def __init__(self, options: TaskOptions, *, task_id: str) -> None:
        """Take the options and an id: 32 hex characters, used by no other task on the connection."""
        self._options = options
        self._task_id = task_id
        self._lifecycle = Lifecycle()
        self._segment = _Segment()
        self._readers: dict[str, Callable[[ServerMessage, str], list[CodecEvent]]] = {
            "task-started": self._read_started,
            "result-generated": self._read_result,
            "task-finished": self._read_finished,
            "task-failed": self._read_failed,
        }

    def __repr__(self) -> str:
        return f"<TaskCodec {self._options.model} {self._task_id} {self._lifecycle.state.value}>"

    @property
    def audio_format(self) -> AudioFormat:
        """What the vendor is told that the audio is."""
        return self._options.audio

    @property
    def frame_limits(self) -> tuple[int, int]:
        """Nothing is too small; 16 KB is the upper end of what is advised (SDK pages, 2025-10)."""
        return 1, 16_384

    @property
    def request_id(self) -> str:
        """The task id: what the vendor's support asks for."""
        return self._task_id

    def start(self) -> list[Frame]:
        """Open the task."""
        self._lifecycle.take(Step.START)
        options = self._options
        phrase_id = options.phrase_id if isinstance(options, Paraformer) else None
        context = options.context if isinstance(options, FunASR) else None
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

    def audio(self, frame: memoryview) -> Frame:
        """Audio goes as it is."""
        self._lifecycle.take(Step.AUDIO)
        return frame

    def update(self, context: Sequence[ContextMessage]) -> list[Frame]:
        """Give the running task a new context.

        Raises:
            ConfigurationError: more than the server reads.
        """
        check_context(context)
        self._lifecycle.take(Step.UPDATE)
        header = ClientHeader("continue-task", self._task_id)
        return [_text(ContinueTask(header, InputPayload(_context_input(context))))]

    def finish(self) -> list[Frame]:
        """Say that no more audio comes."""
        self._lifecycle.take(Step.FINISH)
        return [_text(FinishTask(ClientHeader("finish-task", self._task_id), InputPayload({})))]

    def cancel(self) -> list[Frame]:
        """Nothing to send: the protocol drops a task only with its connection."""
        self._lifecycle.take(Step.CANCEL)
        return []

    def receive(self, frame: str | bytes) -> list[CodecEvent]:
        """Read one message.

        Raises:
            RemoteProtocolError: it is not JSON, not of the documented shape, or comes out of order.
        """
        if isinstance(frame, bytes):
            return [Unrecognised("binary message", f"{len(frame)} bytes")]
        try:
            message = _decode(frame)
        except msgspec.DecodeError as error:
            raise RemoteProtocolError(
                f"unreadable message from DashScope ({error}): {frame[:80]!r}",
                request_id=self._task_id,
                vendor=VENDOR,
            ) from None
        if message.header.task_id not in {self._task_id, ""}:
            return [Unrecognised("message of another task", frame)]
        reader = self._readers.get(message.header.event)
        if reader is None:
            return [Unrecognised(message.header.event or "message without an event", frame)]
        return reader(message, frame)

    def _read_started(self, _message: ServerMessage, _raw: str) -> list[CodecEvent]:
        self._lifecycle.take(Step.STARTED)
        return [Started(self._task_id)]

    def _read_finished(self, message: ServerMessage, _raw: str) -> list[CodecEvent]:
        self._lifecycle.take(Step.FINISHED)
        return [*_usage(message), Finished()]

    def _read_failed(self, message: ServerMessage, _raw: str) -> list[CodecEvent]:
        self._lifecycle.take(Step.FAIL)
        header = message.header
        error = error_from_code(
            header.error_code or "",
            header.error_message or "DashScope ended the task",
            request_id=self._task_id,
        )
        return [Failed(error)]

    def _read_result(self, message: ServerMessage, raw: str) -> list[CodecEvent]:
        self._lifecycle.take(Step.RESULT)
        sentence = message.payload.output.sentence if message.payload and message.payload.output else None
        if sentence is None:
            return [Unrecognised("result-generated without a sentence", raw)]
        if sentence.heartbeat:
            return []
        return [*self._segment.take(sentence, request_id=self._task_id, raw=raw), *_usage(message)]


class _Segment:
    """The one sentence that is open, numbered; sentences follow each other."""

    def __init__(self) -> None:
        self._id = -1
        self._is_open = False
        self._sentence_id: int | None = None
        self._start_ms = 0

    def take(self, sentence: Sentence, *, request_id: str, raw: str) -> list[CodecEvent]:
        """Turn a sentence message into events; empty for one that says nothing."""
        is_final = _is_final(sentence)
        if not sentence.text and not (is_final and self._is_open):
            return []
        if not self._is_open and sentence.sentence_id is not None and sentence.sentence_id == self._sentence_id:
            return []  # a final said twice
        events: list[CodecEvent] = []
        if not self._is_open or sentence.sentence_id != self._sentence_id:
            events.append(self._open(sentence))
        words = _words(sentence)
        start_ms = self._start_ms if sentence.begin_time is None else sentence.begin_time
        end_ms = _end_ms(sentence, words, start_ms)
        result = Result(
            text=sentence.text or "",
            is_final=is_final,
            segment_id=self._id,
            start_ms=start_ms,
            end_ms=end_ms,
            words=words,
            emotion=sentence.emo_tag,
            emotion_confidence=sentence.emo_confidence,
            request_id=request_id,
            raw=raw,
        )
        events.append(result)
        if is_final:
            self._is_open = False
            events.append(SpeechEnded(segment_id=self._id, end_ms=end_ms))
        return events

    def _open(self, sentence: Sentence) -> SpeechStarted:
        self._id += 1
        self._is_open = True
        self._sentence_id = sentence.sentence_id
        self._start_ms = sentence.begin_time or 0
        return SpeechStarted(segment_id=self._id, start_ms=self._start_ms)


def _words(sentence: Sentence) -> tuple[Word, ...]:
    return tuple(
        Word(
            text=word.text or "",
            start_ms=word.begin_time or 0,
            end_ms=word.end_time or word.begin_time or 0,
            punctuation=word.punctuation or "",
        )
        for word in sentence.words or ()
    )


def _is_final(sentence: Sentence) -> bool:
    """`sentence_end` where there is one; else whether the end is known (documents before 2026 have no such member)."""
    if isinstance(sentence.sentence_end, bool):
        return sentence.sentence_end
    return isinstance(sentence.end_time, int)


def _end_ms(sentence: Sentence, words: tuple[Word, ...], start_ms: int) -> int:
    if isinstance(sentence.end_time, int):
        return sentence.end_time
    return words[-1].end_ms if words else start_ms


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
