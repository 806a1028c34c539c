"""The emulated real-time server of FunASR (`funasr-realtime-server`).

Knows no engine. Each result repeats all sentences since START, as the server does; the engine alone decides where a
sentence ends, unless the client does: `?endpoint-mode=client` in the URL stands for the option of the server with that
name. An utterance that is committed is a recognition of its own, and one sentence. As in the server, audio before START
and unknown commands are ignored, options stay set for the next START, and there are no keys. An engine that cannot
recognise is reported as an error event, for which the server has no case. Source: `funasr/bin/realtime_ws.py` of PyPI
`funasr` 1.4.16 (2026-09-18).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from ...results import join_texts
from ...vendors.funasr import realtime_wire as wire
from ..audio_decoder import SAMPLE_BYTES, PcmDecoder, split_samples
from ..engines.engine import Request
from ..lifecycle import Lifecycle
from .session import FailedError, FunASRHandler, FunASRSession

if TYPE_CHECKING:
    from ..connection import ClientConnection
    from ..engines.engine import Engine, Hypothesis
    from ..faults import ConnectionFaults, FaultInjector
    from ..handler import WebSocketHandler
    from ..session import EndConnection, VendorSession

__all__ = ["PATH", "add_routes"]

PATH = "/funasr/realtime"
"""The server itself accepts every path."""

SAMPLE_RATE = 16_000

PIECE_MS = 100
"""The engine receives longer messages in pieces of this length."""


class State(enum.Enum):
    """The state of a session."""

    IDLE = "session not active"
    ACTIVE = "session active"


class Step(enum.Enum):
    """The client's steps, and a result."""

    START = "START"
    AUDIO = "audio"
    COMMIT = "COMMIT"
    STOP = "STOP"
    RESULT = "a result"


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.IDLE, Step.START): State.ACTIVE,
    (State.IDLE, Step.STOP): State.IDLE,
    (State.ACTIVE, Step.START): State.ACTIVE,
    (State.ACTIVE, Step.AUDIO): State.ACTIVE,
    (State.ACTIVE, Step.COMMIT): State.ACTIVE,
    (State.ACTIVE, Step.RESULT): State.ACTIVE,
    (State.ACTIVE, Step.STOP): State.IDLE,
}
"""The whole lifecycle of a connection, which has no timeouts: the server sends pings only."""


class _RealtimeSession(FunASRSession[State, Step]):
    """The session of one client."""

    idle = State.IDLE

    def __init__(
        self, connection: ClientConnection, faults: ConnectionFaults, engine: Engine, *, takes_commits: bool
    ) -> None:
        super().__init__(connection, faults, Lifecycle(State.IDLE, TRANSITIONS, {}), engine)
        self._takes_commits = takes_commits
        self._hot_words: tuple[str, ...] = ()
        self._replacements: dict[str, str] = {}
        self._language = ""
        self._sentences: list[dict[str, Any]] = []
        """All since START, or the last COMMIT."""
        self._uttered: list[Hypothesis] = []
        """What the engine has made final since the last COMMIT, which makes one sentence of it."""
        self._audio_bytes = 0
        self._begin_ms = 0
        """The place of the recognition's audio in that since START."""

    async def _send_reason(self, end: EndConnection) -> None:
        if isinstance(end, FailedError):
            await self._send_event("error", error=end.reason)

    # --- the client's messages ----------------------------------------------------------------------------------------

    async def _on_text(self, text: str) -> None:
        command = text.strip()
        name, colon, options = command.partition(":")
        match name.upper() + colon:
            case wire.START:
                await self._start()
            case wire.STOP:
                await self._stop()
            case wire.COMMIT:
                await self._commit()
            case wire.HOTWORDS:
                self._hot_words = tuple(word.strip() for word in options.split(",") if word.strip())
                await self._send_event("hotwords_set", hotwords=self._hot_words)
            case wire.LANGUAGE:
                self._language = options.strip()
                await self._send_event("language_set", language=self._language)
            case wire.REPLACEMENTS:
                pairs = (pair.split("=>", 1) for pair in options.split(",") if "=>" in pair)
                self._replacements = {wrong.strip(): right.strip() for wrong, right in pairs}
                await self._send_event("postprocess_hotwords_set", postprocess_hotwords=self._replacements)

    async def _on_audio(self, data: bytes) -> None:
        if self._recognition is None:
            return
        self._advance(Step.AUDIO)
        samples = self._decoder.decode(data)
        for piece in split_samples(samples, SAMPLE_RATE, PIECE_MS):
            self._audio_bytes += len(piece)
            with self._engine_refusals():
                await self._recognition.feed(piece)
        await self._inject_after_audio(len(samples), SAMPLE_RATE)

    async def _start(self) -> None:
        self._advance(Step.START)
        await self._close_recognition()
        self._sentences, self._uttered = [], []
        self._audio_bytes = self._begin_ms = 0
        self._decoder = PcmDecoder()
        await self._inject_at("start")
        await self._open()
        await self._send_event("started")

    async def _open(self) -> None:
        languages = (self._language,) if self._language else ()
        request = Request(sample_rate=SAMPLE_RATE, languages=languages, hot_words=self._hot_words)
        self._begin_ms = self._audio_ms
        with self._engine_refusals():
            self._recognition = await self._engine.open(request, self._emit)

    async def _commit(self) -> None:
        if not self._takes_commits:
            await self._send_event("error", error="COMMIT requires --endpoint-mode client")
        elif self._recognition is None:
            await self._send_event("error", error="Session is not active; send START first")
        else:
            self._advance(Step.COMMIT)
            await self._complete()
            await self._open()

    async def _complete(self) -> None:
        """Send the result of all audio so far as final, and begin anew behind it."""
        recognition = self._recognition
        if recognition is not None:
            with self._engine_refusals():
                await recognition.finish()
            await self._inject_at("result")
        await self._close_recognition()
        if self._uttered:
            text = join_texts([hypothesis.text for hypothesis in self._uttered])
            self._add_sentence(text, self._begin_ms + self._uttered[0].start_ms, self._audio_ms)
            self._uttered = []
        await self._send_result("", 0, is_final=True)
        self._sentences = []

    async def _stop(self) -> None:
        await self._inject_at("finish")
        if self._is_finish_muted:
            return
        if self._recognition is not None and self._audio_bytes:
            await self._complete()
        await self._close_recognition()
        self._advance(Step.STOP)
        await self._send_event("stopped")

    # --- results ------------------------------------------------------------------------------------------------------

    @property
    def _audio_ms(self) -> int:
        return self._audio_bytes * 1000 // (SAMPLE_RATE * SAMPLE_BYTES)

    async def _emit(self, hypothesis: Hypothesis) -> None:
        """Send a hypothesis; one that arrives after the end of the session is dropped."""
        if not self._lifecycle.allows(Step.RESULT):
            return
        self._advance(Step.RESULT)
        self._faults.record_result()
        if not self._takes_commits:
            start_ms = self._begin_ms + hypothesis.start_ms
            if hypothesis.is_final:
                self._add_sentence(hypothesis.text, start_ms, self._begin_ms + hypothesis.end_ms)
            await self._send_result("" if hypothesis.is_final else hypothesis.text, start_ms)
            return
        said = [*self._uttered, hypothesis]
        if hypothesis.is_final:
            self._uttered = said
        await self._send_result(join_texts([each.text for each in said]), self._begin_ms + said[0].start_ms)

    def _add_sentence(self, text: str, start_ms: int, end_ms: int) -> None:
        for wrong, right in self._replacements.items():
            text = text.replace(wrong, right)
        self._sentences.append({"text": text, "start": start_ms, "end": end_ms})

    async def _send_result(self, partial: str, partial_start_ms: int, *, is_final: bool = False) -> None:
        result = {
            "sentences": self._sentences,
            "partial": partial,
            "partial_start_ms": partial_start_ms,
            "duration_ms": self._audio_ms,
            "is_final": is_final,
        }
        await self._connection.send(msgspec.json.encode(result))

    async def _send_event(self, event: str, **members: Any) -> None:
        await self._connection.send(msgspec.json.encode({"event": event, **members}))


# --- routes -----------------------------------------------------------------------------------------------------------


def add_routes(application: web.Application, engine: Engine, *, faults: FaultInjector) -> WebSocketHandler:
    """Add the route of the real-time server, and return its handler."""
    handler = _RealtimeHandler(engine, faults)
    application.router.add_get(PATH, handler.handle)
    return handler


class _RealtimeHandler(FunASRHandler):
    """The handler of the real-time server, which accepts everyone."""

    def _reject(self, request: web.Request) -> web.Response | None:  # noqa: ARG002 - there are no credentials
        return None

    def _create_session(
        self, request: web.Request, connection: ClientConnection, faults: ConnectionFaults
    ) -> VendorSession[State, Step]:
        takes_commits = request.query.get("endpoint-mode") == "client"
        return _RealtimeSession(connection, faults, self._engine, takes_commits=takes_commits)
