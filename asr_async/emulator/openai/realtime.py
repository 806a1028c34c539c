"""The emulated realtime transcription of OpenAI (`/v1/realtime?intent=transcription`).

Knows no engine. With turn detection, each utterance of the engine becomes an item, which the server commits; a commit
of the client makes an item of the audio since the last one. Without, only the client commits. The texts of an item are
sent as deltas and completed; the models that show a text before the commit send deltas as the engine's interims grow.
The module is as strict as the documents; where they are silent, a comment gives the reason for a choice. Sources: PyPI
`openai` 3.57.0 (`types/realtime`), the vendor's guides to realtime transcription and voice activity detection
(2026-11), and third-party reports of its errors.
"""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import msgspec
from aiohttp import web

from ...results import join_texts
from ...vendors.openai.credentials import TEMPORARY_PREFIX
from ...vendors.openai.models import MODEL_ROWS
from ...vendors.openai.wire import (
    ClientEvent,
    ConfiguredSession,
    ItemAdded,
    LogProb,
    SessionUpdate,
    TranscriptionCompleted,
    TranscriptionDelta,
    WireUsage,
)
from ...vendors.realtime.wire import Append, Clear, Cleared, ClientMessage, Commit, SessionCreated, SessionUpdated
from ..api_keys import ApiKeys
from ..audio_decoder import SAMPLE_BYTES, G711Decoder, PcmDecoder, split_samples
from ..engines.engine import Request
from ..handler import FaultInjectingHandler
from ..lifecycle import Lifecycle
from ..realtime import ClientEventReader, RealtimeSession, RefusedError, new_id
from . import rest
from .vllm import VLLMSession

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ..connection import ClientConnection
    from ..engines.engine import Engine, Hypothesis, Recognition
    from ..faults import ConnectionFaults, FaultInjector
    from ..handler import WebSocketHandler
    from ..session import VendorSession

__all__ = ["PATH", "add_routes"]

PATH = "/v1/realtime"

MIN_COMMIT_MS = 100
"""A commit of less audio is refused: "buffer too small. Expected at least 100ms of audio"."""

FIRST_DELTA_S = 0.02
"""The time between the first delta of an utterance and the next: a model writes its text in some time."""

PIECE_MS = 1_000
"""The engine receives longer messages in pieces of this length."""

# --- lifecycle --------------------------------------------------------------------------------------------------------


class State(enum.Enum):
    """The state of a session."""

    READY = "session without audio"
    STREAMING = "session with audio"


class Step(enum.Enum):
    """The steps of a session: the first four are the client's, the last is the server's."""

    UPDATE = "session.update"
    AUDIO = "input_audio_buffer.append"
    COMMIT = "input_audio_buffer.commit"
    CLEAR = "input_audio_buffer.clear"
    RESULT = "a result"


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.READY, Step.UPDATE): State.READY,
    (State.READY, Step.AUDIO): State.STREAMING,
    (State.READY, Step.COMMIT): State.READY,
    (State.READY, Step.CLEAR): State.READY,
    (State.STREAMING, Step.AUDIO): State.STREAMING,
    (State.STREAMING, Step.COMMIT): State.STREAMING,
    (State.STREAMING, Step.CLEAR): State.STREAMING,
    (State.STREAMING, Step.RESULT): State.STREAMING,
}
"""The whole lifecycle of a session, which is that of its connection: the client ends it. The vendor accepts another
session.update behind audio; this server does not, since an engine cannot change its language."""

_ENGINE_CODES = {"unsupported": "invalid_value", "capacity": "rate_limit_exceeded", "broken": "server_error"}

# --- messages of the client -------------------------------------------------------------------------------------------


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An object with these members only: others are an error of the client."""


class _Format(_Strict, frozen=True, kw_only=True, omit_defaults=False):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: Literal[24000] | None = None

    @property
    def sample_rate(self) -> int:
        return 24_000 if self.type == "audio/pcm" else 8_000

    def create_decoder(self) -> PcmDecoder | G711Decoder:
        """Return a decoder of the client's audio."""
        if self.type == "audio/pcm":
            return PcmDecoder()
        return G711Decoder("ulaw" if self.type == "audio/pcmu" else "alaw")


class _NoiseReduction(_Strict, frozen=True, kw_only=True):
    type: Literal["near_field", "far_field"]
    strength: float | None = None


class _Transcription(_Strict, frozen=True, kw_only=True):
    model: str
    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str | None = None
    keywords: tuple[str, ...] = ()
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class _ServerVad(_Strict, frozen=True, kw_only=True, tag_field="type", tag="server_vad"):
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, msgspec.Meta(ge=0)] = 300
    silence_duration_ms: Annotated[int, msgspec.Meta(ge=0)] = 500
    # accepted, and without an effect in a session that answers nothing
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: int | None = None


class _SemanticVad(_Strict, frozen=True, kw_only=True, tag_field="type", tag="semantic_vad"):
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool | None = None
    interrupt_response: bool | None = None


class _Input(_Strict, frozen=True, kw_only=True):
    transcription: _Transcription
    format: _Format = _Format()
    noise_reduction: _NoiseReduction | None = None
    turn_detection: _ServerVad | _SemanticVad | msgspec.UnsetType | None = msgspec.UNSET


class _Audio(_Strict, frozen=True, kw_only=True):
    input: _Input


class _Settings(_Strict, frozen=True, kw_only=True):
    """The configuration of a session."""

    type: Literal["transcription"]
    audio: _Audio
    include: tuple[Literal["item.input_audio_transcription.logprobs"], ...] = ()

    @property
    def detects_turns(self) -> bool:
        """True if the server commits; "models that support VAD default to server_vad" (guide to VAD)."""
        turn_detection = self.audio.input.turn_detection
        if turn_detection is msgspec.UNSET:
            return MODEL_ROWS[self.audio.input.transcription.model].detects_turns
        return turn_detection is not None

    @property
    def request(self) -> Request:
        """The part of the settings that the engine receives."""
        transcription = self.audio.input.transcription
        languages = transcription.languages or (transcription.language,)
        return Request(
            sample_rate=self.audio.input.format.sample_rate,
            languages=tuple(language for language in languages if language),
            hot_words=transcription.keywords,
        )


def _read_settings(session: dict[str, Any]) -> _Settings:
    try:
        settings = msgspec.convert(session, _Settings)
    except msgspec.ValidationError as error:
        # "Object contains unknown field `x` - at `$.audio.input`": names the member
        code = "unknown_parameter" if "unknown field" in str(error) else "invalid_value"
        raise RefusedError(code, str(error), "session") from None
    transcription = settings.audio.input.transcription
    row = MODEL_ROWS.get(transcription.model)
    if row is None:
        text = f"The model `{transcription.model}` does not exist or you do not have access to it."
        raise RefusedError("model_not_found", text, "session.audio.input.transcription.model")
    if not row.detects_turns and settings.detects_turns:
        text = "Turn detection is not supported for this transcription model."
        raise RefusedError("invalid_value", text, "session.audio.input.turn_detection")
    for name in ("prompt", "keywords", "languages", "delay"):
        if getattr(transcription, name) and name not in row.options:
            text = f"{name} is not supported for this transcription model."
            raise RefusedError("invalid_value", text, f"session.audio.input.transcription.{name}")
    return settings


# --- session ----------------------------------------------------------------------------------------------------------


class _TranscriptionSession(RealtimeSession[State, Step]):
    """The session of one client."""

    engine_codes = _ENGINE_CODES
    events = ClientEventReader(ClientEvent)
    item_created = ItemAdded

    def __init__(
        self, connection: ClientConnection, faults: ConnectionFaults, engine: Engine, *, is_transcription: bool
    ) -> None:
        super().__init__(connection, faults, Lifecycle(State.READY, TRANSITIONS, {}), engine)
        self._is_transcription = is_transcription
        self._settings: _Settings | None = None
        self._decoder: PcmDecoder | G711Decoder = PcmDecoder()
        self._received_ms = 0.0
        """The audio of the session."""
        self._begin_ms = 0.0
        """The place in it at which the present recognition begins."""
        self._committed_ms = 0.0
        """The place in it up to which it is committed."""
        self._is_committing = False
        """True while the recognition finishes for a commit of the client."""
        self._shown = ""
        """The deltas of the open item."""

    async def _read(self) -> NoReturn:
        await self._send(SessionCreated(event_id=new_id("event"), session=self._session))
        await super()._read()

    async def _on_event(self, event: ClientMessage) -> None:
        match event:
            case SessionUpdate():
                await self._on_update(event)
            case Append():
                await self._on_append(bytes(event.audio))
            case Commit():
                await self._on_commit()
            case Clear():
                self._advance(Step.CLEAR)
                await self._close_recognition()
                self._items.open_id = None
                await self._send(Cleared(event_id=new_id("event")))

    async def _on_update(self, event: SessionUpdate) -> None:
        self._advance(Step.UPDATE)
        await self._inject_at("start")
        if not self._is_transcription:
            text = "Passing a transcription session update event to a realtime session is not allowed."
            raise RefusedError("invalid_session_type", text, "session.type")
        settings = _read_settings(event.session)
        await self._close_recognition()
        # Before the confirmation: what the engine does not support is refused here, not while audio is being sent.
        self._recognition = await self._open(settings)
        self._settings = settings
        self._decoder = settings.audio.input.format.create_decoder()
        await self._send(SessionUpdated(event_id=new_id("event"), session=self._session))

    async def _on_append(self, data: bytes) -> None:
        settings = self._settings
        if settings is None:
            raise RefusedError("invalid_value", "No transcription model is set: send session.update first.")
        self._advance(Step.AUDIO)
        recognition = self._recognition = self._recognition or await self._open(settings)
        sample_rate = settings.audio.input.format.sample_rate
        samples = self._decoder.decode(data)
        self._received_ms += len(samples) * 1_000 / (sample_rate * SAMPLE_BYTES)
        for piece in split_samples(samples, sample_rate, PIECE_MS):
            with self._engine_refusals():
                await recognition.feed(piece)
        await self._inject_after_audio(len(samples), sample_rate)

    async def _on_commit(self) -> None:
        self._advance(Step.COMMIT)
        # no message says that it is the last one, so each may be
        await self._inject_at("finish")
        if self._is_finish_muted:
            return
        buffered_ms = self._received_ms - self._committed_ms
        if self._recognition is None or buffered_ms < MIN_COMMIT_MS:
            raise RefusedError(
                "input_audio_buffer_commit_empty",
                f"Error committing input audio buffer: buffer too small. Expected at least {MIN_COMMIT_MS}ms of audio, "
                f"but buffer only has {buffered_ms:.2f}ms of audio.",
            )
        self._is_committing = True
        with self._engine_refusals():
            await self._recognition.finish()
        self._is_committing = False
        await self._inject_at("result")
        transcript = join_texts(self._uncommitted)
        await self._close_recognition()
        await self._complete(transcript, self._received_ms)

    async def _open(self, settings: _Settings) -> Recognition:
        self._begin_ms = self._received_ms
        with self._engine_refusals():
            return await self._engine.open(settings.request, self._emit)

    async def _emit(self, hypothesis: Hypothesis) -> None:
        """Process a hypothesis; one that arrives after the end of the session is dropped."""
        if self._settings is None or not self._lifecycle.allows(Step.RESULT):
            return
        self._advance(Step.RESULT)
        self._faults.record_result()
        if self._settings.detects_turns and not self._is_committing:
            await self._send_turn(hypothesis)
        elif hypothesis.is_final:
            self._uncommitted.append(hypothesis.text)
        if not self._settings.detects_turns:
            await self._send_live_delta(hypothesis)

    async def _send_turn(self, hypothesis: Hypothesis) -> None:
        """Report an utterance that the server has detected; its text is shown after its commit only."""
        if self._items.open_id is None:
            await self._start_speech(round(self._begin_ms) + hypothesis.start_ms)
        if not (hypothesis.is_final or hypothesis.is_noise):
            return
        end_ms = round(self._begin_ms) + hypothesis.end_ms
        await self._stop_speech(end_ms)
        await self._complete(hypothesis.text if hypothesis.is_final else "", end_ms)

    async def _send_live_delta(self, hypothesis: Hypothesis) -> None:
        """Show what an interim has more than the deltas so far; nothing if the engine has changed what was shown."""
        text = join_texts([*self._uncommitted, *([] if hypothesis.is_final else [hypothesis.text])])
        if text.startswith(self._shown):
            await self._send_delta(self._items.open_id or self._items.begin(), text)

    async def _complete(self, transcript: str, until_ms: float) -> None:
        """Make an item of the audio since the last one, up to this place, and send its text."""
        settings = self._settings
        assert settings is not None  # noqa: S101 - no audio is accepted before
        length_ms, self._committed_ms = until_ms - self._committed_ms, until_ms
        item_id = await self._create_item()
        if not self._shown and (first_word := transcript.partition(" ")[0]):
            await self._send_delta(item_id, first_word)
            await asyncio.sleep(FIRST_DELTA_S)
        if transcript.startswith(self._shown):
            await self._send_delta(item_id, transcript)
        self._shown = ""
        await self._send(
            TranscriptionCompleted(
                event_id=new_id("event"),
                item_id=item_id,
                content_index=0,
                transcript=transcript,
                usage=_usage(settings.audio.input.transcription.model, transcript, length_ms),
                logprobs=_logprobs(transcript) if settings.include else None,
            )
        )

    async def _send_delta(self, item_id: str, text: str) -> None:
        delta, self._shown = text[len(self._shown) :], text
        if delta:
            await self._send(
                TranscriptionDelta(event_id=new_id("event"), item_id=item_id, content_index=0, delta=delta)
            )

    @property
    def _session(self) -> ConfiguredSession:
        settings = self._settings
        if settings is None:
            return ConfiguredSession(id=self._session_id)
        return ConfiguredSession(id=self._session_id, audio=settings.audio, include=settings.include)

    def _out_of_order(self, step: Step) -> Exception:
        return RefusedError("invalid_value", f"{step.value} was sent behind audio: this server does not change then")


def _usage(model: str, transcript: str, length_ms: float) -> WireUsage:
    """Return the usage of one utterance; its tokens are those of no real model."""
    if MODEL_ROWS[model].reports_seconds:
        return WireUsage(type="duration", seconds=length_ms / 1_000)
    audio_tokens, text_tokens = round(length_ms / 100), len(transcript.split())
    total_tokens = audio_tokens + text_tokens
    return WireUsage(type="tokens", input_tokens=audio_tokens, output_tokens=text_tokens, total_tokens=total_tokens)


def _logprobs(transcript: str) -> tuple[LogProb, ...]:
    """Return the same probability for each word: the engines do not report how sure they are."""
    return tuple(LogProb(token=word, bytes=[*word.encode()], logprob=-0.1) for word in transcript.split())


# --- routes -----------------------------------------------------------------------------------------------------------


def add_routes(
    application: web.Application,
    engine: Engine,
    *,
    api_keys: Collection[str] | Mapping[str, str] | None,
    faults: FaultInjector,
) -> Sequence[WebSocketHandler]:
    """Add the routes of realtime transcription and of its temporary keys, and return the handler of the first."""
    keys = ApiKeys(api_keys, issued_prefix=TEMPORARY_PREFIX)
    rest.add_routes(application, PATH, keys=keys)
    handler = _TranscriptionHandler(engine, keys, faults)
    application.router.add_get(PATH, handler.handle)
    return [handler]


class _TranscriptionHandler(FaultInjectingHandler):
    """The handler of realtime transcription."""

    def __init__(self, engine: Engine, keys: ApiKeys, faults: FaultInjector) -> None:
        super().__init__(faults)
        self._engine = engine
        self._keys = keys

    def _reject(self, request: web.Request) -> web.Response | None:
        # a vLLM server that was started without a key asks for none
        if _is_vllm(request) and not self._keys.are_configured:
            return None
        return rest.reject_by_key(request, self._keys)

    def _error_body(self, code: str, message: str) -> Any:
        return rest.error_body(code, message)

    def _create_session(
        self, request: web.Request, connection: ClientConnection, faults: ConnectionFaults
    ) -> VendorSession[Any, Any]:
        if _is_vllm(request):
            return VLLMSession(connection, faults, self._engine)
        is_transcription = request.query.get("intent") == "transcription"
        return _TranscriptionSession(connection, faults, self._engine, is_transcription=is_transcription)


def _is_vllm(request: web.Request) -> bool:
    """Return True for the endpoint of vLLM: it has the same path, and no query, since a server has one model."""
    return not request.query
