"""The emulator's second DashScope room: Qwen-ASR-Realtime (`/api-ws/v1/realtime`) from the server's side.

Knows no engine. With server VAD each utterance of the engine becomes an item of the conversation. In the manual mode
each commit does: what came since the last one is a recognition of its own, and there are no interims, since the item
begins only when its audio is complete. It is as strict as the documents; where they are silent the reason for a choice
stands beside it. Sources: the client event, server event and interaction pages of Qwen-ASR-Realtime (2026-03-15), the
error page, and what the official SDK 2.0.2 sends (`audio/qwen_omni`).
"""

from __future__ import annotations

import enum
import functools
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import msgspec
from aiohttp import WSCloseCode, web

from ...results import join_texts
from ...vendors.dashscope.realtime_models import REALTIME_CAPABILITIES
from ...vendors.dashscope.realtime_wire import (
    CLIENT_EVENT_NAMES,
    Append,
    Clear,
    Cleared,
    ClientEvent,
    Commit,
    Committed,
    ErrorEvent,
    Fault,
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
    WireSpeechStarted,
    WireSpeechStopped,
)
from ..audio_decoder import PcmDecoder, split_samples
from ..engines.engine import Request
from ..session import EndConnection, VendorSession, engine_refusals
from .tasks import ApiKeyHandler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..api_keys import ApiKeys
    from ..engines.engine import Engine, Hypothesis, Recognition
    from ..faults import FaultInjector
    from ..session import Link

__all__ = ["PATH", "add_routes"]

PATH = "/api-ws/v1/realtime"

IDLE_TIMEOUT_S = 60
"""A client that says nothing for so long is sent away. No page of this protocol names a limit; it is the other's."""

PIECE_MS = 1_000
"""The engine gets longer pieces of audio in portions of this length."""


# --- the order of a conversation -------------------------------------------------------------------------------------


class State(enum.Enum):
    """Where a session stands."""

    READY = "session without audio"
    STREAMING = "session with audio"
    FINISHING = "session finishing"
    FINISHED = "session finished"


class Step(enum.Enum):
    """What moves a session on: the first five are the client's, the rest ours."""

    UPDATE = "session.update"
    AUDIO = "input_audio_buffer.append"
    COMMIT = "input_audio_buffer.commit"
    CLEAR = "input_audio_buffer.clear"
    FINISH = "session.finish"
    RESULT = "a result"
    FINISHED = "session.finished"


TRANSITIONS: dict[tuple[State, Step], State] = {
    # "if it is not sent, the defaults are used" (client event page): audio may come at once
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
"""The whole life of a session, which is that of its connection. After session.finished the client is to leave."""

PATIENCE_S = dict.fromkeys((State.READY, State.STREAMING, State.FINISHED), IDLE_TIMEOUT_S)


class _RefusedError(Exception):
    """Something the client did wrong: it is told so, and the connection goes on."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.fault = Fault(type="invalid_request_error", code=code, message=message, param=param)


class _ServerError(EndConnection):
    """Something went wrong on this side: the client is told, then the connection closes.

    The documents give no close code for this; 1011 was seen (a third party's log, 2026-04).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__("Internal server error", close_code=WSCloseCode.INTERNAL_ERROR)
        self.fault = Fault(type="server_error", code=code, message=message)


_ENGINE_CODES = {
    "unsupported": "invalid_value",
    "capacity": "Throttling.Concurrency",
    "broken": "InternalError",
}


def _engine_failure(code: str, reason: str) -> Exception:
    return _RefusedError(code, reason) if code == _ENGINE_CODES["unsupported"] else _ServerError(code, reason)


_engine_refusals = functools.partial(engine_refusals, _ENGINE_CODES, _engine_failure)


# --- what the client says --------------------------------------------------------------------------------------------


class _Transcription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    language: str | None = None
    corpus: dict[str, Any] | None = None


class _TurnDetection(msgspec.Struct, frozen=True, kw_only=True):
    """With the documented ranges and defaults."""

    type: Literal["server_vad"]
    threshold: Annotated[float, msgspec.Meta(ge=-1.0, le=1.0)] = 0.2
    prefix_padding_ms: Annotated[int, msgspec.Meta(ge=0)] = 300
    silence_duration_ms: Annotated[int, msgspec.Meta(ge=200, le=6000)] = 800


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is set to; null counts as not given, but for `turn_detection`, where it is the manual mode."""

    # "pcm16" is what the samples of session.created show, and what the SDK sends when it is told nothing
    input_audio_format: Literal["pcm", "pcm16", "opus"] = "pcm"
    sample_rate: Literal[8000, 16000] = 16_000
    input_audio_transcription: _Transcription = _Transcription()
    turn_detection: _TurnDetection | None = _TurnDetection(type="server_vad")

    @property
    def is_manual(self) -> bool:
        return self.turn_detection is None

    @property
    def request(self) -> Request:
        """The part that concerns the engine."""
        language = self.input_audio_transcription.language
        return Request(sample_rate=self.sample_rate, languages=(language,) if language else ())


_client_decoder = msgspec.json.Decoder(ClientEvent)


class _Said(msgspec.Struct, frozen=True):
    type: str = ""
    event_id: str | None = None


def _read(text: str, said: _Said) -> ClientEvent:
    if said.type not in CLIENT_EVENT_NAMES:
        raise _RefusedError("invalid_value", f"Invalid value: {said.type!r}. There is no such event.", "type")
    try:
        event: ClientEvent = _client_decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _RefusedError("invalid_value", str(error)) from None
    return event


def _read_said(text: str) -> _Said:
    try:
        return msgspec.json.decode(text, type=_Said)
    except (msgspec.MsgspecError, RecursionError):
        # "1007: bad JSON" (error page)
        raise EndConnection("Invalid payload data", close_code=WSCloseCode.INVALID_TEXT) from None


def _read_settings(config: SessionConfig) -> _Settings:
    given = msgspec.to_builtins(config)
    given = {name: value for name, value in given.items() if value is not None or name == "turn_detection"}
    try:
        settings = msgspec.convert(given, _Settings)
    except msgspec.ValidationError as error:
        # "Expected `int` >= 200 - at `$.turn_detection.silence_duration_ms`": names the member
        raise _RefusedError("invalid_value", str(error), "session") from None
    if settings.input_audio_format == "opus":
        raise _RefusedError("invalid_value", "the emulator decodes pcm only, not opus", "session.input_audio_format")
    return settings


# --- a connection ----------------------------------------------------------------------------------------------------


class _Connection(VendorSession[State, Step]):
    """One client, one session."""

    engine_codes = _ENGINE_CODES

    def __init__(self, link: Link, engine: Engine, model: str) -> None:
        super().__init__(link, state=State.READY, transitions=TRANSITIONS, patience_s=PATIENCE_S)
        self._engine = engine
        self._model = model
        self._session_id = _new_id("sess")
        self._settings = _Settings()
        self._recognition: Recognition | None = None
        self._samples = PcmDecoder()
        self._items = _Items()
        self._uncommitted: list[str] = []
        """The manual mode: what was heard since the last commit."""

    async def _read(self) -> NoReturn:
        # not at the handshake: "Model not found" is a close code (error page)
        if self._model not in REALTIME_CAPABILITIES:
            raise EndConnection("Model not found", close_code=WSCloseCode.INVALID_TEXT)
        await self._send(SessionCreated(event_id=_new_id("event"), session=self._session))
        await super()._read()

    async def _on_text(self, text: str) -> None:
        said = _read_said(text)
        try:
            await self._on_event(_read(text, said))
        except _RefusedError as refused:
            await self._send_fault(msgspec.structs.replace(refused.fault, event_id=said.event_id))

    async def _on_audio(self, _data: bytes) -> None:
        fault = _RefusedError("invalid_value", "audio goes as base64 in input_audio_buffer.append").fault
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
                self._take(Step.CLEAR)
                await self._release()
                self._items.open_id = None
                await self._send(Cleared(event_id=_new_id("event")))
            case Finish():
                self._take(Step.FINISH)
                await self._reach("finish")
                if not self._is_mute:
                    self._beside.create_task(self._finish())

    async def _on_update(self, event: SessionUpdate) -> None:
        self._take(Step.UPDATE)
        await self._reach("start")
        settings = _read_settings(event.session)
        await self._release()
        # Before it is confirmed: what the engine cannot do is refused here, not when audio is on its way.
        self._recognition = await self._open(settings)
        self._settings = settings
        await self._send(SessionUpdated(event_id=_new_id("event"), session=self._session))

    async def _on_append(self, data: bytes) -> None:
        self._take(Step.AUDIO)
        if self._recognition is None:
            self._recognition = await self._open(self._settings)
        samples = self._samples.decode(data)
        for piece in split_samples(samples, self._settings.sample_rate, PIECE_MS):
            with _engine_refusals():
                await self._recognition.feed(piece)
        await self._reach_after_audio(len(samples), self._settings.sample_rate)

    async def _on_commit(self) -> None:
        self._take(Step.COMMIT)
        if not self._settings.is_manual:
            raise _RefusedError("invalid_value", "input_audio_buffer.commit is for turn_detection null only")
        if self._state is State.READY or self._recognition is None:
            raise _RefusedError("invalid_value", "the input audio buffer is empty")
        with _engine_refusals():
            await self._recognition.finish()
        transcript = join_texts(self._uncommitted)
        await self._release()
        item_id = await self._create_item()
        await self._complete(item_id, transcript)

    async def _finish(self) -> None:
        # What was not committed is dropped: a client that forgets to commit had better notice.
        if self._recognition is not None and not self._settings.is_manual:
            with engine_refusals(_ENGINE_CODES, _ServerError):
                await self._recognition.finish()
            await self._reach("result")
        await self._release()
        self._take(Step.FINISHED)
        self._rearm()
        await self._send(SessionFinished(event_id=_new_id("event")))

    async def _open(self, settings: _Settings) -> Recognition:
        with _engine_refusals():
            return await self._engine.open(settings.request, self._emit)

    async def _emit(self, hypothesis: Hypothesis) -> None:
        """Tell the client what an engine has heard; an engine that speaks after the end is not heard."""
        if not self._may(Step.RESULT):
            return
        self._take(Step.RESULT)
        if not self._settings.is_manual:
            await self._tell(hypothesis)
        elif hypothesis.is_final:
            self._uncommitted.append(hypothesis.text)

    async def _tell(self, hypothesis: Hypothesis) -> None:
        self._script.hear_of_result()
        items = self._items
        if items.open_id is None:
            items.begin()
            await self._send(
                WireSpeechStarted(event_id=_new_id("event"), item_id=items.open_id, audio_start_ms=hypothesis.start_ms)
            )
        if not hypothesis.is_final:
            await self._send_interim(hypothesis)
            return
        await self._send(
            WireSpeechStopped(event_id=_new_id("event"), item_id=items.open_id, audio_end_ms=hypothesis.end_ms)
        )
        await self._complete(await self._create_item(), hypothesis.text)

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
        """Make the audio that came an item of the conversation."""
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

    def _refusal(self, step: Step) -> Exception:
        if self._state is State.STREAMING:
            return _RefusedError("invalid_value", f"{step.value} came after audio")
        return _RefusedError("invalid_value", f"{step.value} came after session.finish")

    def _impatience(self) -> EndConnection:
        return EndConnection("idle", close_code=WSCloseCode.OK)

    def _failure(self, code: str, message: str) -> EndConnection:
        return _ServerError(code, message)

    async def _release(self) -> None:
        """Give the recognition back, with what it heard; again, if that was interrupted."""
        if self._recognition is not None:
            await self._recognition.aclose()
        self._recognition = None
        self._samples = PcmDecoder()
        self._uncommitted.clear()

    async def _say_why(self, end: EndConnection) -> None:
        if isinstance(end, _ServerError):
            await self._send_fault(end.fault)

    async def _send_fault(self, fault: Fault) -> None:
        await self._send(ErrorEvent(event_id=_new_id("event"), error=fault))


class _Items:
    """Names the items of a conversation, and remembers what was said of the present one."""

    def __init__(self) -> None:
        self.open_id: str | None = None
        self._last_id: str | None = None
        self._interim = ""

    def begin(self) -> None:
        self.open_id = _new_id("item")
        self._interim = ""

    def split(self, text: str) -> tuple[str, str]:
        """What the last interim said too, which counts as fixed until the engine changes its mind, and the rest."""
        fixed = self._interim if text.startswith(self._interim) else ""
        self._interim = text
        return fixed, text[len(fixed) :]

    def end(self) -> tuple[str, str | None]:
        """The id of the item that is complete, and of the one before it."""
        item_id, previous_id = self.open_id or _new_id("item"), self._last_id
        self.open_id, self._last_id = None, item_id
        return item_id, previous_id


def _new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"


# --- the door --------------------------------------------------------------------------------------------------------


def add_routes(
    application: web.Application, engine: Engine, *, keys: ApiKeys, faults: FaultInjector
) -> Callable[[], Awaitable[None]]:
    """Add the routes of the realtime protocol; return what ends its connections."""
    door = _Handler(engine, keys, faults)
    for path in (PATH, f"{PATH}/"):
        application.router.add_get(path, door.enter)
    return door.shut


class _Handler(ApiKeyHandler):
    def _welcome(self, request: web.Request, link: Link) -> VendorSession[State, Step]:
        return _Connection(link, self._engine, request.query.get("model", ""))
