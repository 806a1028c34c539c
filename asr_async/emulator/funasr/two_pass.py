"""The emulated 2pass protocol of FunASR's older servers: the C++ one, which has times and confirms the end.

Knows no engine. The engine alone decides where a sentence ends; the members of the first message that change the
recognition itself (`chunk_size`, `itn`, `svs_lang` ...) have no effect, but for the hot words. A client that does not
offer the subprotocol is refused, as by the Python server. Audio before the first message is ignored. Sources: FunASR's
`runtime/docs/websocket_protocol.md` (2024) and `runtime/websocket/bin/websocket-server-2pass.cpp` (2025).
"""

from __future__ import annotations

import enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from aiohttp import web

from ...vendors.funasr.two_pass_wire import SUBPROTOCOL
from ..audio_decoder import PcmDecoder, split_samples
from ..engines.engine import Request
from ..lifecycle import Lifecycle
from .session import FunASRHandler, FunASRSession

if TYPE_CHECKING:
    from ..connection import ClientConnection
    from ..engines.engine import Engine, Hypothesis, Recognition
    from ..faults import ConnectionFaults, FaultInjector
    from ..handler import WebSocketHandler
    from ..session import EndConnection, VendorSession

__all__ = ["PATH", "add_routes"]

PATH = "/funasr/2pass"
"""The servers themselves accept every path."""

PIECE_MS = 100
"""The engine receives longer messages in pieces of this length."""


class State(enum.Enum):
    """The state of a task."""

    IDLE = "no task"
    SPEAKING = "task open"


class Step(enum.Enum):
    """The client's steps, and a result."""

    START = "is_speaking true"
    AUDIO = "audio"
    END = "is_speaking false"
    RESULT = "a result"


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.IDLE, Step.START): State.SPEAKING,
    (State.SPEAKING, Step.START): State.SPEAKING,
    (State.SPEAKING, Step.AUDIO): State.SPEAKING,
    (State.SPEAKING, Step.RESULT): State.SPEAKING,
    (State.SPEAKING, Step.END): State.IDLE,
}
"""The whole lifecycle of a connection, which has no timeouts."""


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The members of the first message that have an effect here."""

    mode: str = "2pass"
    wav_name: str = "wav-default-id"
    audio_fs: int = 16_000
    is_speaking: bool = True
    hotwords: str = ""

    @property
    def hot_words(self) -> tuple[str, ...]:
        """The terms, whose weights are left out."""
        try:
            return tuple(msgspec.json.decode(self.hotwords, type=dict[str, float]))
        except msgspec.MsgspecError:
            return tuple(self.hotwords.split())


class _TwoPassSession(FunASRSession[State, Step]):
    """The session of one client, which runs one task after another."""

    idle = State.IDLE

    def __init__(self, connection: ClientConnection, faults: ConnectionFaults, engine: Engine) -> None:
        super().__init__(connection, faults, Lifecycle(State.IDLE, TRANSITIONS, {}), engine)
        self._settings = _Settings()
        self._shown = ""
        """The online results of the present sentence."""

    async def _send_reason(self, end: EndConnection) -> None:
        """Do nothing: the protocol has no message for errors."""

    # --- the client's messages ----------------------------------------------------------------------------------------

    async def _on_text(self, text: str) -> None:
        try:
            settings = msgspec.json.decode(text, type=_Settings)
        except msgspec.MsgspecError:
            return  # as the server, which only logs it
        if settings.is_speaking:
            await self._start(settings)
        elif self._recognition is not None:
            await self._finish(self._recognition)

    async def _on_audio(self, data: bytes) -> None:
        if self._recognition is None:
            return
        self._advance(Step.AUDIO)
        samples, rate = self._decoder.decode(data), self._settings.audio_fs
        for piece in split_samples(samples, rate, PIECE_MS):
            with self._engine_refusals():
                await self._recognition.feed(piece)
        await self._inject_after_audio(len(samples), rate)

    async def _start(self, settings: _Settings) -> None:
        self._advance(Step.START)
        await self._close_recognition()
        self._settings, self._shown, self._decoder = settings, "", PcmDecoder()
        await self._inject_at("start")
        request = Request(sample_rate=settings.audio_fs, hot_words=settings.hot_words)
        with self._engine_refusals():
            self._recognition = await self._engine.open(request, self._emit)

    async def _finish(self, recognition: Recognition) -> None:
        await self._inject_at("finish")
        if self._is_finish_muted:
            return
        with self._engine_refusals():
            await recognition.finish()
        await self._inject_at("result")
        await self._close_recognition()
        self._advance(Step.END)
        await self._send_message(text="", is_final=True)

    # --- results ------------------------------------------------------------------------------------------------------

    async def _emit(self, hypothesis: Hypothesis) -> None:
        """Send a hypothesis; one that arrives after the end of its task is dropped."""
        if not self._lifecycle.allows(Step.RESULT):
            return
        self._advance(Step.RESULT)
        self._faults.record_result()
        if not hypothesis.is_final:
            await self._send_online(hypothesis.text)
            return
        self._shown = ""
        places = [[word.start_ms, word.end_ms] for word in hypothesis.words]
        members: dict[str, Any] = {}
        if places and self._settings.mode != "online":  # the first model has no times
            sentence = {
                "text_seg": " ".join(word.text for word in hypothesis.words),
                "punc": hypothesis.words[-1].punctuation,
                "start": hypothesis.start_ms,
                "end": hypothesis.end_ms,
                "ts_list": places,
            }
            members = {"timestamp": msgspec.json.encode(places).decode(), "stamp_sents": [sentence]}
        await self._send_message(mode="2pass-offline", text=hypothesis.text, is_final=False, **members)

    async def _send_online(self, text: str) -> None:
        """Send the next words of a sentence; online results are never taken back."""
        if self._settings.mode == "offline" or not text.startswith(self._shown) or text == self._shown:
            return
        more, self._shown = text[len(self._shown) :], text
        await self._send_message(mode="2pass-online", text=more, is_final=False)

    async def _send_message(self, **members: Any) -> None:
        message = {**members, "wav_name": self._settings.wav_name}
        await self._connection.send(msgspec.json.encode(message))


# --- routes -----------------------------------------------------------------------------------------------------------


def add_routes(application: web.Application, engine: Engine, *, faults: FaultInjector) -> WebSocketHandler:
    """Add the route of the 2pass protocol, and return its handler."""
    handler = _TwoPassHandler(engine, faults)
    application.router.add_get(PATH, handler.handle)
    return handler


class _TwoPassHandler(FunASRHandler):
    """The handler of the 2pass protocol, which accepts everyone who offers its subprotocol."""

    subprotocols: ClassVar[tuple[str, ...]] = (SUBPROTOCOL,)

    def _reject(self, request: web.Request) -> web.Response | None:
        offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if SUBPROTOCOL in offered:
            return None
        text = "Failed to open a WebSocket connection: missing subprotocol.\n"
        return web.Response(status=HTTPStatus.BAD_REQUEST, text=text)

    def _create_session(
        self,
        request: web.Request,  # noqa: ARG002 - it holds nothing more
        connection: ClientConnection,
        faults: ConnectionFaults,
    ) -> VendorSession[State, Step]:
        return _TwoPassSession(connection, faults, self._engine)
