"""Acme's protocol from the server's side, for `Local()`, `asr-async serve` and tests; any recogniser is behind it."""

from __future__ import annotations

import enum
import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiohttp import web

from asr_async.emulator import Engine, Hypothesis, Recognition, Request
from asr_async.emulator.audio_decoder import PcmDecoder
from asr_async.emulator.connection import ClientConnection
from asr_async.emulator.faults import ConnectionFaults, FaultInjector
from asr_async.emulator.handler import FaultInjectingHandler
from asr_async.emulator.lifecycle import Lifecycle
from asr_async.emulator.session import EndConnection, VendorSession, engine_refusals

from .service import SUBPROTOCOL

ENGINE_CODES = {"unsupported": "unsupported", "capacity": "busy", "broken": "internal"}


class State(enum.Enum):
    """The state of a connection."""

    STREAMING = "streaming"
    FINISHING = "finishing"


class Step(enum.Enum):
    """A message of the client."""

    AUDIO = "audio"
    KEEPALIVE = "keepalive"
    FINISH = "finish"


TRANSITIONS = {
    (State.STREAMING, Step.AUDIO): State.STREAMING,
    (State.STREAMING, Step.KEEPALIVE): State.STREAMING,
    (State.STREAMING, Step.FINISH): State.FINISHING,
}


class AcmeError(EndConnection):
    """An error, which is sent to the client before the connection is closed."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text, close_code=1008)
        self.code = code


class AcmeSession(VendorSession[State, Step]):
    """The task of one connection."""

    engine_codes = ENGINE_CODES

    def __init__(
        self, connection: ClientConnection, faults: ConnectionFaults, engine: Engine, request: Request
    ) -> None:
        super().__init__(connection, faults, Lifecycle(State.STREAMING, TRANSITIONS, {State.STREAMING: 10.0}))
        self._engine = faults.engine_of(engine)
        self._request = request
        self._decoder = PcmDecoder()
        self._recognition: Recognition | None = None
        self._utterance = 0

    async def _on_text(self, text: str) -> None:
        try:
            step = Step(json.loads(text)["type"])
        except (ValueError, KeyError, TypeError):
            raise AcmeError("bad_message", "the message is not understood") from None
        self._advance(step)
        if step is Step.FINISH:
            await self._finish()

    async def _on_audio(self, data: bytes) -> None:
        self._advance(Step.AUDIO)
        samples = self._decoder.decode(data)
        recognition = await self._opened()
        with engine_refusals(ENGINE_CODES, AcmeError):
            await recognition.feed(samples)
        await self._inject_after_audio(len(samples), self._request.sample_rate)

    async def _opened(self) -> Recognition:
        if self._recognition is None:
            await self._inject_at("start")
            with engine_refusals(ENGINE_CODES, AcmeError):
                self._recognition = await self._engine.open(self._request, self._emit)
        return self._recognition

    async def _finish(self) -> None:
        await self._inject_at("finish")
        recognition = await self._opened()
        with engine_refusals(ENGINE_CODES, AcmeError):
            await recognition.finish()
        await self._inject_at("result")
        if not self._is_finish_muted:
            raise EndConnection("", close_code=1000)

    async def _emit(self, hypothesis: Hypothesis) -> None:
        if hypothesis.is_noise:
            return
        message = {
            "type": "text",
            "utterance": self._utterance,
            "start_ms": hypothesis.start_ms,
            "end_ms": hypothesis.end_ms,
            "text": hypothesis.text,
            "final": hypothesis.is_final,
        }
        self._utterance += hypothesis.is_final
        await self._connection.send(json.dumps(message).encode())
        self._faults.record_result()

    async def _close_recognition(self) -> None:
        if self._recognition is not None:
            await self._recognition.aclose()
            self._recognition = None

    async def _send_reason(self, end: EndConnection) -> None:
        if isinstance(end, AcmeError):
            message = {"type": "error", "code": end.code, "message": end.reason}
            await self._connection.send(json.dumps(message).encode())

    def _out_of_order(self, step: Step) -> AcmeError:
        return AcmeError("order", f"{step.value} was sent after finish")

    def _timed_out(self) -> AcmeError:
        return AcmeError("timeout", "nothing was sent for 10 s")

    def _failure(self, code: str, message: str) -> AcmeError:
        return AcmeError(code, message)


class AcmeHandler(FaultInjectingHandler):
    """The endpoint of recognition, with its tokens."""

    subprotocols = (SUBPROTOCOL,)

    def __init__(self, engine: Engine, api_keys: Collection[str] | None, faults: FaultInjector) -> None:
        super().__init__(faults)
        self._engine = engine
        self._api_keys = api_keys
        self._tokens: set[str] = set()

    async def issue_token(self, request: web.Request) -> web.Response:
        """Answer the request for a token."""
        key = request.headers.get("Authorization", "").removeprefix("Key ")
        if not key or (self._api_keys is not None and key not in self._api_keys):
            return web.json_response(self._error_body("bad_key", "the key is not valid"), status=401)
        token = uuid.uuid4().hex
        self._tokens.add(token)
        return web.json_response({"token": token, "expires_in": 300})

    def _reject(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self._tokens:
            return web.json_response(self._error_body("bad_token", "the token is not valid"), status=401)
        if SUBPROTOCOL not in request.headers.get("Sec-WebSocket-Protocol", ""):
            return web.json_response(self._error_body("bad_subprotocol", f"offer {SUBPROTOCOL}"), status=400)
        return None

    def _error_body(self, code: str, message: str) -> Any:
        return {"code": code, "message": message}

    def _create_session(
        self, request: web.Request, connection: ClientConnection, faults: ConnectionFaults
    ) -> AcmeSession:
        asked = Request(sample_rate=int(request.query["sample_rate"]), languages=(request.query["language"],))
        return AcmeSession(connection, faults, self._engine, asked)


def add_routes(
    application: web.Application,
    engine: Engine,
    *,
    api_keys: Collection[str] | Mapping[str, str] | None,
    faults: FaultInjector,
) -> Sequence[AcmeHandler]:
    """Add the routes, and return the handler of the connections."""
    handler = AcmeHandler(engine, api_keys, faults)
    application.router.add_post("/v1/token", handler.issue_token)
    application.router.add_get("/v1/listen", handler.handle)
    return [handler]
