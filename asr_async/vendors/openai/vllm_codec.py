"""The codec of vLLM's realtime endpoint.

The first commit begins the recognition, the one with `final` ends the audio, and transcription.done confirms the end.
session.update has no answer, so a task is ready with session.created, and a wrong model is an error behind it. The
whole session is one segment: the server reports neither utterances nor times. Does not know sockets or clocks.
"""

from __future__ import annotations

from ...errors import ASRError, RemoteProtocolError, VendorError
from ..codec import (
    Failed,
    Finished,
    Message,
    Started,
    State,
    Step,
    TaskDescription,
)
from ..realtime.codec import MAX_APPEND_BYTES, BasicRealtimeCodec, Events, RealtimeReader, encoded
from ..realtime.wire import WireError
from .errors import VENDOR, error_from_event
from .vllm_models import VLLMRealtime
from .vllm_wire import (
    VLLMCommit,
    VLLMDelta,
    VLLMDone,
    VLLMError,
    VLLMServerEvent,
    VLLMSessionCreated,
    VLLMSessionUpdate,
)

__all__ = ["VLLMCodec", "describe_vllm_task"]

MAX_TEXT_CHARS = 1_000_000
"""The longest text of a session."""

_reader: RealtimeReader[VLLMServerEvent] = RealtimeReader(VLLMServerEvent, of="vLLM", vendor=VENDOR)


def describe_vllm_task(options: VLLMRealtime) -> TaskDescription:
    """Return the facts about a task."""
    return TaskDescription(
        audio_format=options.audio,
        max_frame_bytes=MAX_APPEND_BYTES,
        context_refusal=f"context: {options.model} on vLLM accepts none",
    )


class VLLMCodec(BasicRealtimeCodec[VLLMServerEvent]):
    """One task of the server; see `Codec` for the methods' contract."""

    def __init__(self, options: VLLMRealtime, *, task_id: str) -> None:
        """Make the codec of a task.

        Args:
            options: the options of the model.
            task_id: the beginning of our events' ids.
        """
        super().__init__(options.model, options.audio, _reader, task_id=task_id)
        self._text = ""

    def start(self) -> list[Message]:
        """Return session.update, which names the model, and the commit that begins the recognition."""
        self._lifecycle.advance(Step.START)
        update = VLLMSessionUpdate(event_id=self._next_event_id(), model=self._model)
        return [encoded(update), encoded(VLLMCommit(event_id=self._next_event_id()))]

    def finish(self) -> list[Message]:
        """Return the commit that ends the audio."""
        self._lifecycle.advance(Step.FINISH)
        return [encoded(VLLMCommit(event_id=self._next_event_id(), final=True))]

    def _on_event(self, event: VLLMServerEvent, raw: str) -> Events:
        match event:
            case VLLMSessionCreated():
                return self._on_created(event)
            case VLLMDelta():
                return self._on_delta(event, raw)
            case VLLMDone():
                return self._on_done(event, raw)
            case VLLMError():
                return self._on_error(event, raw)

    def _on_created(self, event: VLLMSessionCreated) -> Events:
        if self._lifecycle.state is not State.STARTING:
            return []  # a repeat
        self._lifecycle.advance(Step.STARTED)
        self._session_id = event.id
        return [Started(event.id)]

    def _on_delta(self, event: VLLMDelta, raw: str) -> Events:
        self._lifecycle.advance(Step.RESULT)
        self._text += event.delta or ""
        if len(self._text) > MAX_TEXT_CHARS:
            text = f"vLLM sent a text of more than {MAX_TEXT_CHARS} characters"
            raise RemoteProtocolError(text, request_id=self._session_id or None, vendor=VENDOR)
        events = self._begin(self._text)
        return [*events, *self._utterances.interim(None, self._text, request_id=self._session_id, raw=raw)]

    def _begin(self, text: str) -> Events:
        return self._utterances.start(None, 0) if text else []

    def _on_done(self, event: VLLMDone, raw: str) -> Events:
        self._lifecycle.advance(Step.RESULT)
        if self._lifecycle.state is not State.FINISHING:
            text = "vLLM ended the transcription before the audio: divide it with finalize() or Retry(rotate_after=...)"
            return self._fail(VendorError(text, request_id=self._session_id or None, vendor=VENDOR, raw=raw))
        text = event.text or self._text
        events = self._begin(text)
        events += self._utterances.stop(None, self._audio_format.to_ms(self._sent_bytes), is_reported=False)
        events += self._utterances.final(None, text, request_id=self._session_id, raw=raw)
        self._lifecycle.advance(Step.FINISHED)
        return [*events, *self._utterances.close(), Finished()]

    def _on_error(self, event: VLLMError, raw: str) -> Events:
        wire_error = WireError(code=event.code, message=event.error)
        return self._fail(error_from_event(wire_error, request_id=self._session_id or None, raw=raw))

    def _fail(self, error: ASRError) -> Events:
        self._lifecycle.advance(Step.FAIL)
        return [Failed(error)]
