"""The emulated DashScope realtime protocol, Qwen-ASR-Realtime (`/api-ws/v1/realtime`).

Knows no engine. With server VAD, each utterance of the engine becomes an item of the conversation. In the manual mode
each commit creates an item: the audio since the last commit is a recognition of its own, without interims, since the
item begins only when its audio is complete. The module is as strict as the documents; where they are silent, a comment
gives the reason for a choice. Sources: the client event, server event and interaction pages of Qwen-ASR-Realtime
(2026-03-15), the error page, and what the official SDK 2.0.2 sends (`audio/qwen_omni`).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import msgspec
from aiohttp import WSCloseCode, web

from ...results import join_texts
from ...vendors.dashscope.realtime_models import REALTIME_MODEL_ROWS
from ...vendors.dashscope.realtime_wire import (
    ClientEvent,
    ConfiguredSession,
    Finish,
    SessionConfig,
    SessionFinished,
    SessionUpdate,
    TranscriptionCompleted,
    TranscriptionText,
)
from ...vendors.realtime.wire import Append, Clear, Cleared, ClientMessage, Commit, SessionCreated, SessionUpdated
from ..audio_decoder import AudioDecodeError, PcmDecoder, WavDecoder, split_samples
from ..engines.engine import Request
from ..lifecycle import Lifecycle
from ..realtime import ClientEventReader, RealtimeSession, RefusedError, ServerError, new_id
from ..session import EndConnection, VendorSession, engine_refusals
from .tasks import ApiKeyHandler

if TYPE_CHECKING:
    from ..api_keys import ApiKeys
    from ..connection import ClientConnection
    from ..engines.engine import Engine, Hypothesis, Recognition
    from ..faults import ConnectionFaults, FaultInjector
    from ..handler import WebSocketHandler

__all__ = ["PATH", "add_routes"]

PATH = "/api-ws/v1/realtime"

IDLE_TIMEOUT_S = 60
"""A connection is closed if the client is silent for this long. No page of this protocol names a limit; this is the
limit of the task protocol."""

PIECE_MS = 1_000
"""The engine receives longer messages in pieces of this length."""


# --- lifecycle --------------------------------------------------------------------------------------------------------


class State(enum.Enum):
    """The state of a session."""

    READY = "session without audio"
    STREAMING = "session with audio"
    FINISHING = "session finishing"
    FINISHED = "session finished"


class Step(enum.Enum):
    """The steps of a session: the first five are the client's, the rest the server's."""

    UPDATE = "session.update"
    AUDIO = "input_audio_buffer.append"
    COMMIT = "input_audio_buffer.commit"
    CLEAR = "input_audio_buffer.clear"
    FINISH = "session.finish"
    RESULT = "a result"
    FINISHED = "session.finished"


TRANSITIONS: dict[tuple[State, Step], State] = {
    # "if it is not sent, the defaults are used" (client event page): audio may be sent at once
    (State.READY, Step.UPDATE): State.READY,
    (State.READY, Step.AUDIO): State.STREAMING,
    (State.READY, Step.COMMIT): State.READY,
    (State.READY, Step.CLEAR): State.READY,
    (State.READY, Step.FINISH): State.FINISHING,
    (State.STREAMING, Step.AUDIO): State.STREAMING,
    (State.STREAMING, Step.COMMIT): State.STREAMING,
    (State.STREAMING, Step.CLEAR): State.STREAMING,
    (State.STREAMING, Step.RESULT): State.STREAMING,
    (State.STREAMING, Step.FINISH): State.FINISHING,
    (State.FINISHING, Step.RESULT): State.FINISHING,
    (State.FINISHING, Step.FINISHED): State.FINISHED,
}
"""The whole lifecycle of a session, which is that of its connection. The client leaves after session.finished."""

CLIENT_TIMEOUTS_S = dict.fromkeys((State.READY, State.STREAMING, State.FINISHED), IDLE_TIMEOUT_S)


_ENGINE_CODES = {
    "unsupported": "invalid_value",
    "capacity": "Throttling.Concurrency",
    "broken": "InternalError",
}


# --- messages of the client -------------------------------------------------------------------------------------------


class _Transcription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    language: str | None = None
    corpus: dict[str, Any] | None = None


class _TurnDetection(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of server VAD, with the documented ranges and defaults."""

    type: Literal["server_vad"]
    threshold: Annotated[float, msgspec.Meta(ge=-1.0, le=1.0)] = 0.2
    prefix_padding_ms: Annotated[int, msgspec.Meta(ge=0)] = 300
    silence_duration_ms: Annotated[int, msgspec.Meta(ge=200, le=6000)] = 800


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a session; null counts as not given, except in `turn_detection`, where it is the manual mode."""

    # "pcm16" is what the samples of session.created show, and what the SDK sends by default; "wav" is in no page, but a
    # preset of the SDK 2.0.2
    input_audio_format: Literal["pcm", "pcm16", "wav", "opus"] = "pcm"
    sample_rate: Literal[8000, 16000] = 16_000
    input_audio_transcription: _Transcription = _Transcription()
    turn_detection: _TurnDetection | None = _TurnDetection(type="server_vad")

    @property
    def is_manual(self) -> bool:
        return self.turn_detection is None

    def create_decoder(self) -> PcmDecoder | WavDecoder:
        """Return a decoder of the client's audio."""
        return WavDecoder(self.sample_rate) if self.input_audio_format == "wav" else PcmDecoder()

    @property
    def request(self) -> Request:
        """The part of the settings that the engine receives."""
        language = self.input_audio_transcription.language
        return Request(sample_rate=self.sample_rate, languages=(language,) if language else ())


def _read_settings(config: SessionConfig) -> _Settings:
    given = msgspec.to_builtins(config)
    audio = given.pop("audio", None) or {}
    declared = (audio.get("input") or {}).get("format") or {}
    given["input_audio_format"] = declared.get("type") or given["input_audio_format"]
    given["sample_rate"] = declared.get("sample_rate") or given["sample_rate"]
    given = {name: value for name, value in given.items() if value is not None or name == "turn_detection"}
    try:
        settings = msgspec.convert(given, _Settings)
    except msgspec.ValidationError as error:
        # "Expected `int` >= 200 - at `$.turn_detection.silence_duration_ms`": names the member
        raise RefusedError("invalid_value", str(error), "session") from None
    if settings.input_audio_format == "opus":
        raise RefusedError(
            "invalid_value", "the emulator decodes pcm and wav only, not opus", "session.input_audio_format"
        )
    return settings


# --- session ----------------------------------------------------------------------------------------------------------


class _RealtimeSession(RealtimeSession[State, Step]):
    """The session of one client."""

    engine_codes = _ENGINE_CODES
    events = ClientEventReader(ClientEvent)

    def __init__(self, connection: ClientConnection, faults: ConnectionFaults, engine: Engine, model: str) -> None:
        super().__init__(connection, faults, Lifecycle(State.READY, TRANSITIONS, CLIENT_TIMEOUTS_S), engine)
        self._model = model
        self._settings = _Settings()
        self._decoder = self._settings.create_decoder()
        self._interim = _Interim()

    async def _read(self) -> NoReturn:
        # not at the handshake: "Model not found" is a close code (error page)
        if self._model not in REALTIME_MODEL_ROWS:
            raise EndConnection("Model not found", close_code=WSCloseCode.INVALID_TEXT)
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
            case Finish():
                self._advance(Step.FINISH)
                await self._inject_at("finish")
                if not self._is_finish_muted:
                    self._tasks.create_task(self._finish())

    async def _on_update(self, event: SessionUpdate) -> None:
        self._advance(Step.UPDATE)
        await self._inject_at("start")
        settings = _read_settings(event.session)
        await self._close_recognition()
        # Before the confirmation: what the engine does not support is refused here, not while audio is being sent.
        self._recognition = await self._open(settings)
        self._settings = settings
        self._decoder = settings.create_decoder()
        await self._send(SessionUpdated(event_id=new_id("event"), session=self._session))

    async def _on_append(self, data: bytes) -> None:
        self._advance(Step.AUDIO)
        if self._recognition is None:
            self._recognition = await self._open(self._settings)
        samples = self._decode(data)
        for piece in split_samples(samples, self._settings.sample_rate, PIECE_MS):
            with self._engine_refusals():
                await self._recognition.feed(piece)
        await self._inject_after_audio(len(samples), self._settings.sample_rate)

    def _decode(self, data: bytes) -> bytes:
        try:
            return self._decoder.decode(data)
        except AudioDecodeError as error:
            raise RefusedError("invalid_value", f"Failed to decode audio: {error}", "audio") from None

    async def _on_commit(self) -> None:
        self._advance(Step.COMMIT)
        if not self._settings.is_manual:
            raise RefusedError("invalid_value", "input_audio_buffer.commit is for turn_detection null only")
        if self._lifecycle.state is State.READY or self._recognition is None:
            raise RefusedError("invalid_value", "the input audio buffer is empty")
        with self._engine_refusals():
            await self._recognition.finish()
        transcript = join_texts(self._uncommitted)
        await self._close_recognition()
        item_id = await self._create_item()
        await self._complete(item_id, transcript)

    async def _finish(self) -> None:
        # Audio that was not committed is dropped, so that a client that forgets to commit notices.
        if self._recognition is not None and not self._settings.is_manual:
            with engine_refusals(_ENGINE_CODES, ServerError):
                await self._recognition.finish()
            await self._inject_at("result")
        await self._close_recognition()
        self._advance(Step.FINISHED)
        self._restart_client_timeout()
        await self._send(SessionFinished(event_id=new_id("event")))

    async def _open(self, settings: _Settings) -> Recognition:
        with self._engine_refusals():
            return await self._engine.open(settings.request, self._emit)

    async def _emit(self, hypothesis: Hypothesis) -> None:
        """Process a hypothesis; one that arrives after the end of the session is dropped."""
        if not self._lifecycle.allows(Step.RESULT):
            return
        self._advance(Step.RESULT)
        if not self._settings.is_manual:
            await self._send_hypothesis(hypothesis)
        elif hypothesis.is_final:
            self._uncommitted.append(hypothesis.text)

    async def _send_hypothesis(self, hypothesis: Hypothesis) -> None:
        self._faults.record_result()
        if self._items.open_id is None:
            self._interim.begin()
            await self._start_speech(hypothesis.start_ms)
        if not (hypothesis.is_final or hypothesis.is_noise):
            await self._send_interim(hypothesis)
            return
        await self._stop_speech(hypothesis.end_ms)
        item_id = await self._create_item()
        if hypothesis.is_final:  # an utterance in which no speech was recognised gets no text (client event page)
            await self._complete(item_id, hypothesis.text)

    async def _send_interim(self, hypothesis: Hypothesis) -> None:
        fixed, stash = self._interim.split(hypothesis.text)
        await self._send(
            TranscriptionText(
                event_id=new_id("event"),
                item_id=self._items.open_id,
                content_index=0,
                language=self._language,
                emotion="neutral",
                text=fixed,
                stash=stash,
            )
        )

    async def _complete(self, item_id: str, transcript: str) -> None:
        await self._send(
            TranscriptionCompleted(
                event_id=new_id("event"),
                item_id=item_id,
                content_index=0,
                language=self._language,
                emotion="neutral",
                transcript=transcript,
            )
        )

    @property
    def _language(self) -> str | None:
        return self._settings.input_audio_transcription.language

    @property
    def _session(self) -> ConfiguredSession:
        settings = self._settings
        return ConfiguredSession(
            id=self._session_id,
            model=self._model,
            input_audio_format=settings.input_audio_format,
            sample_rate=settings.sample_rate,
            input_audio_transcription=settings.input_audio_transcription,
            turn_detection=settings.turn_detection,
        )

    def _out_of_order(self, step: Step) -> Exception:
        if self._lifecycle.state is State.STREAMING:
            return RefusedError("invalid_value", f"{step.value} was sent after audio")
        return RefusedError("invalid_value", f"{step.value} was sent after session.finish")


class _Interim:
    """The last interim of the present item."""

    def __init__(self) -> None:
        self._interim = ""

    def begin(self) -> None:
        """Forget the interim of the item before."""
        self._interim = ""

    def split(self, text: str) -> tuple[str, str]:
        """Split a text into the part that repeats the last interim, which counts as fixed, and the rest.

        Nothing is fixed if the engine has changed the text of the last interim.
        """
        fixed = self._interim if text.startswith(self._interim) else ""
        self._interim = text
        return fixed, text[len(fixed) :]


# --- routes -----------------------------------------------------------------------------------------------------------


def add_routes(
    application: web.Application, engine: Engine, *, keys: ApiKeys, faults: FaultInjector
) -> WebSocketHandler:
    """Add the routes of the realtime protocol, and return their handler."""
    handler = _RealtimeHandler(engine, keys, faults)
    for path in (PATH, f"{PATH}/"):
        application.router.add_get(path, handler.handle)
    return handler


class _RealtimeHandler(ApiKeyHandler):
    """The handler of the realtime protocol."""

    def _create_session(
        self, request: web.Request, connection: ClientConnection, faults: ConnectionFaults
    ) -> VendorSession[State, Step]:
        return _RealtimeSession(connection, faults, self._engine, request.query.get("model", ""))
