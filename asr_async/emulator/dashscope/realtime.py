"""The emulated DashScope realtime protocol, Qwen-ASR-Realtime (`/api-ws/v1/realtime`).

Knows no engine. With server VAD, each utterance of the engine becomes an item of the conversation. In the manual mode
each commit creates an item: the audio since the last commit is a recognition of its own, without interims, since the
item begins only when its audio is complete. The module is as strict as the documents; where they are silent, a comment
gives the reason for a choice. Sources: the client event, server event and interaction pages of Qwen-ASR-Realtime
(2026-03-15), the error page, and what the official SDK 2.0.2 sends (`audio/qwen_omni`).
"""

from __future__ import annotations

import enum
import functools
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import msgspec
from aiohttp import WSCloseCode, web

from ...results import join_texts
from ...vendors.dashscope.realtime_models import REALTIME_MODEL_ROWS
from ...vendors.dashscope.realtime_wire import (
    CLIENT_EVENT_NAMES,
    Append,
    Clear,
    Cleared,
    ClientEvent,
    Commit,
    Committed,
    ErrorEvent,
    Finish,
    ItemCreated,
    ItemInfo,
    SessionConfig,
    SessionCreated,
    SessionFinished,
    SessionInfo,
    SessionUpdate,
    SessionUpdated,
    TranscriptionCompleted,
    TranscriptionText,
    WireError,
    WireSpeechStarted,
    WireSpeechStopped,
)
from ..audio_decoder import AudioDecodeError, PcmDecoder, WavDecoder, split_samples
from ..engines.engine import Request
from ..lifecycle import Lifecycle
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


class _RefusedError(Exception):
    """An error of the client: it is reported, and the connection continues."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.fault = WireError(type="invalid_request_error", code=code, message=message, param=param)


class _ServerError(EndConnection):
    """An error of the server: it is reported, then the connection is closed.

    The documents give no close code for this; 1011 was seen (a third party's log, 2026-04).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__("Internal server error", close_code=WSCloseCode.INTERNAL_ERROR)
        self.fault = WireError(type="server_error", code=code, message=message)


_ENGINE_CODES = {
    "unsupported": "invalid_value",
    "capacity": "Throttling.Concurrency",
    "broken": "InternalError",
}


def _engine_failure(code: str, reason: str) -> Exception:
    return _RefusedError(code, reason) if code == _ENGINE_CODES["unsupported"] else _ServerError(code, reason)


_engine_refusals = functools.partial(engine_refusals, _ENGINE_CODES, _engine_failure)


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


_client_decoder = msgspec.json.Decoder(ClientEvent)


class _EventHeader(msgspec.Struct, frozen=True):
    """The members that an error refers to."""

    type: str = ""
    event_id: str | None = None


def _read_event(text: str, header: _EventHeader) -> ClientEvent:
    if header.type not in CLIENT_EVENT_NAMES:
        raise _RefusedError("invalid_value", f"Invalid value: {header.type!r}. There is no such event.", "type")
    try:
        event: ClientEvent = _client_decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _RefusedError("invalid_value", str(error)) from None
    return event


def _read_header(text: str) -> _EventHeader:
    try:
        return msgspec.json.decode(text, type=_EventHeader)
    except (msgspec.MsgspecError, RecursionError):
        # "1007: bad JSON" (error page)
        raise EndConnection("Invalid payload data", close_code=WSCloseCode.INVALID_TEXT) from None


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
        raise _RefusedError("invalid_value", str(error), "session") from None
    if settings.input_audio_format == "opus":
        raise _RefusedError(
            "invalid_value", "the emulator decodes pcm and wav only, not opus", "session.input_audio_format"
        )
    return settings


# --- session ----------------------------------------------------------------------------------------------------------


class _RealtimeSession(VendorSession[State, Step]):
    """The session of one client."""

    engine_codes = _ENGINE_CODES

    def __init__(self, connection: ClientConnection, faults: ConnectionFaults, engine: Engine, model: str) -> None:
        super().__init__(connection, faults, Lifecycle(State.READY, TRANSITIONS, CLIENT_TIMEOUTS_S))
        self._engine = faults.engine_of(engine)
        self._model = model
        self._session_id = _new_id("sess")
        self._settings = _Settings()
        self._recognition: Recognition | None = None
        self._decoder = self._settings.create_decoder()
        self._items = _Items()
        self._uncommitted: list[str] = []
        """In the manual mode, the texts recognised since the last commit."""

    async def _read(self) -> NoReturn:
        # not at the handshake: "Model not found" is a close code (error page)
        if self._model not in REALTIME_MODEL_ROWS:
            raise EndConnection("Model not found", close_code=WSCloseCode.INVALID_TEXT)
        await self._send(SessionCreated(event_id=_new_id("event"), session=self._session))
        await super()._read()

    async def _on_text(self, text: str) -> None:
        header = _read_header(text)
        try:
            await self._on_event(_read_event(text, header))
        except _RefusedError as refused:
            await self._send_fault(msgspec.structs.replace(refused.fault, event_id=header.event_id))

    async def _on_audio(self, _data: bytes) -> None:
        fault = _RefusedError("invalid_value", "audio must be sent as base64 in input_audio_buffer.append").fault
        await self._send_fault(fault)

    async def _on_event(self, event: ClientEvent) -> None:
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
                await self._send(Cleared(event_id=_new_id("event")))
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
        await self._send(SessionUpdated(event_id=_new_id("event"), session=self._session))

    async def _on_append(self, data: bytes) -> None:
        self._advance(Step.AUDIO)
        if self._recognition is None:
            self._recognition = await self._open(self._settings)
        samples = self._decode(data)
        for piece in split_samples(samples, self._settings.sample_rate, PIECE_MS):
            with _engine_refusals():
                await self._recognition.feed(piece)
        await self._inject_after_audio(len(samples), self._settings.sample_rate)

    def _decode(self, data: bytes) -> bytes:
        try:
            return self._decoder.decode(data)
        except AudioDecodeError as error:
            raise _RefusedError("invalid_value", f"Failed to decode audio: {error}", "audio") from None

    async def _on_commit(self) -> None:
        self._advance(Step.COMMIT)
        if not self._settings.is_manual:
            raise _RefusedError("invalid_value", "input_audio_buffer.commit is for turn_detection null only")
        if self._lifecycle.state is State.READY or self._recognition is None:
            raise _RefusedError("invalid_value", "the input audio buffer is empty")
        with _engine_refusals():
            await self._recognition.finish()
        transcript = join_texts(self._uncommitted)
        await self._close_recognition()
        item_id = await self._create_item()
        await self._complete(item_id, transcript)

    async def _finish(self) -> None:
        # Audio that was not committed is dropped, so that a client that forgets to commit notices.
        if self._recognition is not None and not self._settings.is_manual:
            with engine_refusals(_ENGINE_CODES, _ServerError):
                await self._recognition.finish()
            await self._inject_at("result")
        await self._close_recognition()
        self._advance(Step.FINISHED)
        self._restart_client_timeout()
        await self._send(SessionFinished(event_id=_new_id("event")))

    async def _open(self, settings: _Settings) -> Recognition:
        with _engine_refusals():
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
        items = self._items
        if items.open_id is None:
            items.begin()
            await self._send(
                WireSpeechStarted(event_id=_new_id("event"), item_id=items.open_id, audio_start_ms=hypothesis.start_ms)
            )
        if not (hypothesis.is_final or hypothesis.is_noise):
            await self._send_interim(hypothesis)
            return
        await self._send(
            WireSpeechStopped(event_id=_new_id("event"), item_id=items.open_id, audio_end_ms=hypothesis.end_ms)
        )
        item_id = await self._create_item()
        if hypothesis.is_final:  # an utterance in which no speech was recognised gets no text (client event page)
            await self._complete(item_id, hypothesis.text)

    async def _send_interim(self, hypothesis: Hypothesis) -> None:
        fixed, stash = self._items.split(hypothesis.text)
        await self._send(
            TranscriptionText(
                event_id=_new_id("event"),
                item_id=self._items.open_id,
                content_index=0,
                language=self._language,
                emotion="neutral",
                text=fixed,
                stash=stash,
            )
        )

    async def _create_item(self) -> str:
        """Turn the audio received since the last item into an item of the conversation; return its id."""
        item_id, previous_id = self._items.end()
        await self._send(Committed(event_id=_new_id("event"), item_id=item_id, previous_item_id=previous_id))
        item = ItemInfo(id=item_id, content=({"type": "input_audio", "transcript": None},))
        await self._send(ItemCreated(event_id=_new_id("event"), previous_item_id=previous_id, item=item))
        return item_id

    async def _complete(self, item_id: str, transcript: str) -> None:
        await self._send(
            TranscriptionCompleted(
                event_id=_new_id("event"),
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
    def _session(self) -> SessionInfo:
        settings = self._settings
        return SessionInfo(
            id=self._session_id,
            model=self._model,
            input_audio_format=settings.input_audio_format,
            sample_rate=settings.sample_rate,
            input_audio_transcription=settings.input_audio_transcription,
            turn_detection=settings.turn_detection,
        )

    def _out_of_order(self, step: Step) -> Exception:
        if self._lifecycle.state is State.STREAMING:
            return _RefusedError("invalid_value", f"{step.value} was sent after audio")
        return _RefusedError("invalid_value", f"{step.value} was sent after session.finish")

    def _timed_out(self) -> EndConnection:
        return EndConnection("idle", close_code=WSCloseCode.OK)

    def _failure(self, code: str, message: str) -> EndConnection:
        return _ServerError(code, message)

    async def _close_recognition(self) -> None:
        """Close the recognition and forget its texts."""
        if self._recognition is not None:
            await self._recognition.aclose()
        self._recognition = None
        self._uncommitted.clear()

    async def _send_reason(self, end: EndConnection) -> None:
        if isinstance(end, _ServerError):
            await self._send_fault(end.fault)

    async def _send_fault(self, fault: WireError) -> None:
        await self._send(ErrorEvent(event_id=_new_id("event"), error=fault))


class _Items:
    """The ids of the conversation's items, and the last interim of the present item."""

    def __init__(self) -> None:
        self.open_id: str | None = None
        self._last_id: str | None = None
        self._interim = ""

    def begin(self) -> None:
        self.open_id = _new_id("item")
        self._interim = ""

    def split(self, text: str) -> tuple[str, str]:
        """Split a text into the part that repeats the last interim, which counts as fixed, and the rest.

        Nothing is fixed if the engine has changed the text of the last interim.
        """
        fixed = self._interim if text.startswith(self._interim) else ""
        self._interim = text
        return fixed, text[len(fixed) :]

    def end(self) -> tuple[str, str | None]:
        """Complete the present item; return its id and the id of the item before it."""
        item_id, previous_id = self.open_id or _new_id("item"), self._last_id
        self.open_id, self._last_id = None, item_id
        return item_id, previous_id


def _new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"


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
