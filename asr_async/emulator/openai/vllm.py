"""The emulated realtime endpoint of vLLM (`/v1/realtime`).

Knows no engine. The first commit begins the recognition of what was and will be appended; the whole session is one
text, whose words are sent as deltas. Source: the repository of vLLM (`realtime/connection.py`, read 2026-11).
"""

from __future__ import annotations

import enum
import time
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import msgspec

from ...results import join_texts
from ...vendors.openai.vllm_models import VLLM_MODELS
from ...vendors.openai.vllm_wire import (
    VLLMClientEvent,
    VLLMCommit,
    VLLMDelta,
    VLLMDone,
    VLLMError,
    VLLMSessionCreated,
    VLLMSessionUpdate,
)
from ...vendors.realtime.wire import Append, ClientMessage
from ..audio_decoder import SAMPLE_BYTES, PcmDecoder, split_samples
from ..engines.engine import Request
from ..lifecycle import Lifecycle
from ..realtime import ClientEventReader, EventHeader, RealtimeSession, RefusedError
from ..session import EndConnection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...vendors.realtime.wire import WireError
    from ..connection import ClientConnection
    from ..engines.engine import Engine, Hypothesis
    from ..faults import ConnectionFaults

__all__ = ["VLLMSession"]

SAMPLE_RATE = 16_000

MAX_WAITING_BYTES = 60 * SAMPLE_RATE * SAMPLE_BYTES
"""The audio that may wait for the first commit."""

PIECE_MS = 1_000
"""The engine receives longer messages in pieces of this length."""


class State(enum.Enum):
    """The state of a session."""

    READY = "session without a recognition"
    STREAMING = "session with a recognition"


class Step(enum.Enum):
    """The steps of a session: the first two are the client's, the last is the server's."""

    AUDIO = "input_audio_buffer.append"
    COMMIT = "input_audio_buffer.commit"
    RESULT = "a result"


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.READY, Step.AUDIO): State.READY,
    (State.READY, Step.COMMIT): State.STREAMING,
    (State.STREAMING, Step.AUDIO): State.STREAMING,
    (State.STREAMING, Step.COMMIT): State.STREAMING,
    (State.STREAMING, Step.RESULT): State.STREAMING,
}

_ENGINE_CODES = {"unsupported": "invalid_audio", "capacity": "rate_limit_exceeded", "broken": "processing_error"}


class _EventReader(ClientEventReader):
    """The decoder of the client's events, with the codes of vLLM; a text that is no JSON ends no connection."""

    def read_header(self, text: str) -> EventHeader:
        """Return the members that an error refers to, empty ones for a text that is no event."""
        try:
            return super().read_header(text)
        except EndConnection:
            return EventHeader()

    def read(self, text: str, header: EventHeader) -> Any:
        """Return the event.

        Raises:
            RefusedError: the text is no JSON, there is no such event, or a member of it has the wrong type.
        """
        try:
            return self._decoder.decode(text)
        except msgspec.ValidationError as error:
            if header.type in self._names:
                raise RefusedError("processing_error", str(error)) from None
            raise RefusedError("unknown_event", f"Unknown event type: {header.type}") from None
        except (msgspec.DecodeError, RecursionError):
            raise RefusedError("invalid_json", "Invalid JSON") from None


class VLLMSession(RealtimeSession[State, Step]):
    """The session of one client."""

    engine_codes: ClassVar[Mapping[str, str]] = _ENGINE_CODES
    events: ClassVar[ClientEventReader] = _EventReader(VLLMClientEvent)

    def __init__(self, connection: ClientConnection, faults: ConnectionFaults, engine: Engine) -> None:
        super().__init__(connection, faults, Lifecycle(State.READY, TRANSITIONS, {}), engine)
        self._has_model = False
        self._decoder = PcmDecoder()
        self._waiting = b""
        """The audio before the first commit."""
        self._interim = ""
        self._shown = ""

    async def _read(self) -> NoReturn:
        await self._send(VLLMSessionCreated(id=self._session_id, created=int(time.time())))
        await super()._read()

    async def _on_event(self, event: ClientMessage) -> None:
        match event:
            case VLLMSessionUpdate():
                await self._on_update(event)
            case Append():
                self._advance(Step.AUDIO)
                await self._on_append(self._decoder.decode(bytes(event.audio)))
            case VLLMCommit(final=False):
                await self._begin()
            case VLLMCommit():
                await self._finish()

    async def _on_update(self, event: VLLMSessionUpdate) -> None:
        await self._inject_at("start")
        if event.model is None:
            raise RefusedError("invalid_event", "Missing required field: model")
        if event.model not in VLLM_MODELS:
            raise RefusedError("model_not_found", f"The model `{event.model}` does not exist.")
        self._has_model = True

    async def _begin(self) -> None:
        if not self._has_model:
            text = "Model not validated. Make sure to validate the model by sending a session.update event."
            raise RefusedError("model_not_validated", text)
        self._advance(Step.COMMIT)
        if self._recognition is None:
            with self._engine_refusals():
                self._recognition = await self._engine.open(Request(sample_rate=SAMPLE_RATE), self._emit)
            waiting, self._waiting = self._waiting, b""
            await self._on_append(waiting)

    async def _on_append(self, samples: bytes) -> None:
        if self._recognition is None:
            self._waiting = (self._waiting + samples)[-MAX_WAITING_BYTES:]
            return
        for piece in split_samples(samples, SAMPLE_RATE, PIECE_MS):
            with self._engine_refusals():
                await self._recognition.feed(piece)
        await self._inject_after_audio(len(samples), SAMPLE_RATE)

    async def _finish(self) -> None:
        await self._inject_at("finish")
        if self._recognition is None or self._is_finish_muted:
            return
        with self._engine_refusals():
            await self._recognition.finish()
        await self._inject_at("result")
        text = join_texts(self._uncommitted)
        await self._close_recognition()
        self._shown = ""
        count = len(text.split())
        usage = {"prompt_tokens": 0, "completion_tokens": count, "total_tokens": count}
        await self._send(VLLMDone(text=text, usage=usage))

    async def _emit(self, hypothesis: Hypothesis) -> None:
        """Show what a hypothesis adds; nothing if the engine has changed what was shown."""
        if not self._lifecycle.allows(Step.RESULT):
            return
        self._advance(Step.RESULT)
        self._faults.record_result()
        if hypothesis.is_final:
            self._uncommitted.append(hypothesis.text)
        text = join_texts([*self._uncommitted, *([] if hypothesis.is_final else [hypothesis.text])])
        if text.startswith(self._shown) and text != self._shown:
            delta, self._shown = text[len(self._shown) :], text
            await self._send(VLLMDelta(delta=delta))

    def _out_of_order(self, step: Step) -> Exception:
        return RefusedError("processing_error", f"{step.value} is not expected now")

    async def _send_fault(self, fault: WireError) -> None:
        await self._send(VLLMError(error=fault.message, code=fault.code))
