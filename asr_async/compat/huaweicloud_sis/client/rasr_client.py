"""The client of real-time recognition."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from ...._text.secret import SecretText
from ....config import Timeouts
from ....errors import ASRError, DeadlineError
from ....results import Event, Result, SpeechEnded, SpeechStarted
from ....vendors.huawei import Huawei, Rasr
from ....vendors.lenient import UnreadableError, parse_json
from ..._session import CallbackSession, SessionCallbacks
from ..bean.callback import RasrCallBack
from ..bean.rasr_request import RasrRequest
from ..bean.sis_config import SisConfig
from ..bean.sis_enum import WebsocketStatus
from ..exception.exceptions import ClientException

__all__ = ["RasrClient"]

logger: logging.Logger = logging.getLogger("asr_async")

PATHS = {"continue": "continue-stream", "sentence": "sentence-stream", "short": "short-stream"}

_STARTABLE = {WebsocketStatus.STATE_CONNECTED, WebsocketStatus.STATE_END}
_CONNECTABLE = {WebsocketStatus.STATE_INIT, WebsocketStatus.STATE_CLOSE, WebsocketStatus.STATE_ERROR}
_SILENCE = "EXCEEDED_SILENCE"


class RasrClient:
    """A connection for one task after another: connect, then `send_start`, `send_audio`, `send_end`, and `close`.

    Args:
        user_name: an IAM user, with `use_aksk=False`.
        password: the user's password.
        domain_name: the account that the user belongs to.
        region: the region, such as cn-north-4.
        project_id: the project's id in the region.
        callback: the callbacks; they run one at a time, in threads of this library, and may block.
        config: timeouts.
        service_endpoint: scheme and host, `wss://host`, in place of the region's own.
        token_url: the URL of token requests, in place of the region's own.
        retry_sleep_time: has no effect.
        ak: the access key, with `use_aksk=True`.
        sk: the secret of the access key.
        use_aksk: True signs with the access key, False requests a token.

    Raises:
        ClientException: an argument is missing or has a wrong type.
    """

    def __init__(  # noqa: PLR0917 - the SDK's signature
        self,
        user_name: str | None = None,
        password: str | None = None,
        domain_name: str | None = None,
        region: str | None = None,
        project_id: str | None = None,
        callback: RasrCallBack | None = None,
        config: SisConfig | None = None,
        service_endpoint: str | None = None,
        token_url: str | None = None,
        retry_sleep_time: float = 1,  # noqa: ARG002 - the SDK's signature
        ak: str | None = None,
        sk: str | None = None,
        use_aksk: bool = False,
    ) -> None:
        # first, so that no local variable in a traceback shows a secret
        password, sk = password and SecretText(password), sk and SecretText(sk)
        if not isinstance(callback, RasrCallBack):
            raise ClientException("The parameter callback must be RasrCallBack class")
        if config is not None and not isinstance(config, SisConfig):
            raise ClientException("The parameter config must by SisConfig class")
        if use_aksk and (ak is None or sk is None):
            raise ClientException("ak or sk is empty, please fill in it")
        if not use_aksk and (user_name is None or password is None or domain_name is None):
            raise ClientException("username or password or domain name is empty, please fill in it")
        if region is None and service_endpoint is None:
            raise ClientException("region is empty, please fill in it, or service_endpoint")
        credentials: dict[str, Any] = {"ak": ak, "sk": sk}
        if not use_aksk:
            credentials = {"username": user_name, "password": password, "domain": domain_name}
        try:
            self._service = Huawei(
                project_id=project_id,
                region=region,
                endpoint=service_endpoint,
                iam_endpoint=None if token_url is None else "{0.scheme}://{0.netloc}".format(urlsplit(token_url)),
                **credentials,
            )
        except ASRError as error:
            raise ClientException(str(error)) from None
        self._state = _State(callback)
        self._config = config or SisConfig()
        self._address = service_endpoint or f"wss://sis-ext.{region}.myhuaweicloud.com"
        self._project_id = project_id
        self._mode = ""
        self._request: RasrRequest | None = None
        self._sent_config: dict[str, Any] = {}
        self._session: CallbackSession | None = None

    def __repr__(self) -> str:
        return f"<RasrClient {self._service!r} {self._state.status.name}>"

    # --- connect -----------------------------------------------------------------------------------------------------

    def continue_stream_connect(self, request: RasrRequest) -> None:
        """Connect in the mode of many sentences.

        Raises:
            ClientException: the request is none, or the connection cannot be opened.
        """
        self._connect("continue", request)

    def sentence_stream_connect(self, request: RasrRequest) -> None:
        """Connect in the mode of one sentence; as `continue_stream_connect`."""
        self._connect("sentence", request)

    def short_stream_connect(self, request: RasrRequest) -> None:
        """Connect in the mode of one recording of up to a minute; as `continue_stream_connect`."""
        self._connect("short", request)

    def _connect(self, mode: str, request: RasrRequest) -> None:
        if not isinstance(request, RasrRequest):
            raise ClientException("The parameter of request in RasrClient should be RasrRequest class")
        if self._state.status not in _CONNECTABLE:
            logger.warning("status %s can't connect,it will not execute connect", self._state.status)
            return
        if self._state.status is WebsocketStatus.STATE_ERROR:
            self.close()
        self._mode, self._request = mode, request
        self._state.status = WebsocketStatus.STATE_CONNECT_WAITING
        self._start_session(request)
        if self._state.status is WebsocketStatus.STATE_ERROR:
            url = f"{self._address}/v1/{self._project_id}/rasr/{PATHS[mode]}"
            # the words of the original, with its comma
            raise ClientException(f"websocket connect failed， url is {url}, status is {self._state.status}")  # noqa: RUF001

    def _start_session(self, request: RasrRequest) -> None:
        self._sent_config = request.construct_params()["config"]
        lost_s, connect_s = self._config.get_connect_lost_timeout(), self._config.get_connect_timeout()
        try:
            options = _options(self._mode, self._sent_config)
            timeouts = Timeouts(connect=connect_s, start=connect_s, idle=max(lost_s, Timeouts().idle))
        except ASRError as error:
            raise ClientException(str(error)) from None
        self._state.current = callbacks = _Callbacks(self._state, reports_speech=self._mode == "sentence")
        session = CallbackSession(callbacks, self._service, options, settings={"timeouts": timeouts})
        self._session = session
        _start(session)
        if not session.is_running:
            session.stop()  # waits for `on_error`

    # --- the task ----------------------------------------------------------------------------------------------------

    def send_start(self) -> None:
        """Start a task; `on_start` is called before the return.

        Raises:
            ClientException: there is no connection, or a task is running.
        """
        if self._state.status not in _STARTABLE:
            raise ClientException(f"status {self._state.status} can't send start")
        request = self._request
        if request is None:  # unreachable: every connection has a request
            return
        session = self._session
        is_fresh = session is not None and session.is_running and self._state.status is WebsocketStatus.STATE_CONNECTED
        if not is_fresh or request.construct_params()["config"] != self._sent_config:
            if session is not None and session.is_running:
                session.cancel()
            self._state.status = WebsocketStatus.STATE_START_WAITING
            self._start_session(request)
            if self._state.status is WebsocketStatus.STATE_ERROR:
                return  # only `on_error` tells, as in the original
        self._state.status = WebsocketStatus.STATE_START
        self._state.trace_id = "" if self._session is None else self._session.request_id
        self._state.callback.on_start(f"trace id is {self._state.trace_id}")

    def send_audio(self, data: bytes, byte_len: int = 4000, sleep_time: float = 0.06) -> None:
        """Send audio in pieces of `byte_len` bytes, with `sleep_time` seconds behind each.

        Raises:
            ClientException: no task is running, or half an hour of audio waits to be sent.
        """
        session = self._running("send binary data")
        if session is None:
            return
        view = memoryview(data)
        for start in range(0, len(view), byte_len):
            if self._state.status is not WebsocketStatus.STATE_START:
                return  # an error, or the end of the only sentence, while this call sleeps
            try:
                session.send(bytes(view[start : start + byte_len]))
            except DeadlineError as error:
                raise ClientException(str(error)) from None
            time.sleep(sleep_time)

    def send_end(self) -> None:
        """End the audio, and return when all results and their callbacks are complete; in a callback, at once.

        Raises:
            ClientException: no task is running, or a callback blocks.
        """
        session = self._running("send end")
        if session is None:
            return
        self._state.status = WebsocketStatus.STATE_END_WAITING
        try:
            session.stop()
        except DeadlineError as error:
            raise ClientException(str(error)) from None

    def _running(self, action: str) -> CallbackSession | None:
        """Return the session of the running task; None if the task has ended, which is no error."""
        if self._state.status is WebsocketStatus.STATE_END:
            logger.warning("status %s can't %s", self._state.status, action)
            return None
        if self._state.status is not WebsocketStatus.STATE_START:
            raise ClientException(f"status {self._state.status} can't {action}")
        return self._session

    def close(self) -> None:
        """Leave the connection; results that have not come are dropped. Idempotent, and callable from a callback."""
        self._state.status = WebsocketStatus.STATE_CLOSE
        self._state.current = None
        session, self._session = self._session, None
        if session is not None and session.is_running:
            session.cancel()
        self._state.leave()


class _State:
    """The state of a client, which its methods and the callbacks of its sessions share."""

    def __init__(self, callback: RasrCallBack) -> None:
        self.callback = callback
        self.status = WebsocketStatus.STATE_INIT
        self.trace_id = ""
        self.is_open = False
        """True between `on_open` and `on_close`."""
        self.current: _Callbacks | None = None
        """The callbacks of the present session; those of a session that was left are dropped."""

    def leave(self) -> None:
        """Call `on_close`, once for each connection."""
        is_open, self.is_open = self.is_open, False
        if is_open:
            self.callback.on_close()


class _Callbacks(SessionCallbacks):
    """The callbacks of one session, translated to those of the SDK."""

    event_types = (Result, SpeechStarted, SpeechEnded)

    def __init__(self, state: _State, *, reports_speech: bool) -> None:
        self._state = state
        self._reports_speech = reports_speech

    def on_open(self) -> None:
        """Report the connection; a task on it starts without a report."""
        state = self._state
        if state.status is WebsocketStatus.STATE_CONNECT_WAITING:
            state.status = WebsocketStatus.STATE_CONNECTED
            state.is_open = True
            state.callback.on_open()

    def on_event(self, event: Event) -> None:
        """Report a result, and in the mode of one sentence the speech."""
        if self._state.current is not self:
            return
        try:
            if isinstance(event, Result):
                self._state.callback.on_response(_message_of(event))
            elif self._reports_speech:
                self._state.callback.on_event("VOICE_START" if isinstance(event, SpeechStarted) else "VOICE_END")
        except Exception as error:
            self.on_error(error)  # here, since the session may be complete already
            raise

    def on_complete(self) -> None:
        """Report the end of the task."""
        if self._state.current is self:
            self._state.status = WebsocketStatus.STATE_END
            self._state.callback.on_end(f"trace id is {self._state.trace_id}")

    def on_error(self, error: BaseException) -> None:
        """Report the text of the vendor's message, or the exception, which ends the connection."""
        state = self._state
        if state.current is not self:
            return
        if isinstance(error, ASRError) and error.code == _SILENCE:  # an event in the original, and END behind it
            state.callback.on_event(_SILENCE)
            self.on_complete()
            return
        state.status, state.current = WebsocketStatus.STATE_ERROR, None
        raw = error.raw if isinstance(error, ASRError) and error.status is None else None
        state.callback.on_error(error if raw is None else raw)
        if raw is None:
            state.leave()


def _start(session: CallbackSession) -> None:
    """Start a session and return when it is open; as in the original, also in a thread that runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        session.start()
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(session.start).result()


def _options(mode: str, config: dict[str, Any]) -> Rasr:
    """Return the options that send this `config` as it is."""
    audio_format, model_property = config["audio_format"], config["property"]
    more = {name: value for name, value in config.items() if name not in {"audio_format", "property"}}
    return Rasr(
        mode=mode,
        audio_format=audio_format,
        property=model_property,
        interim_results=None,
        strict=False,
        extra_parameters=more,
    )


def _message_of(result: Result) -> dict[str, Any]:
    """Return the RESULT message with this result as its only segment, and times that count across reconnects."""
    message = _parsed(result.raw)
    segments = [each for each in message.get("segments") or [] if isinstance(each, dict)]
    segment = next((each for each in segments if _text_of(each) == result.text), segments[0] if segments else {})
    inner = segment.get("result")
    content: dict[str, Any] = {**(inner if isinstance(inner, dict) else {}), "text": result.text}
    if result.words:
        content["word_info"] = [
            {"word": word.text, "start_time": word.start_ms, "end_time": word.end_ms} for word in result.words
        ]
    segment = {
        **segment,
        "start_time": result.start_ms,
        "end_time": result.end_ms,
        "is_final": result.is_final,
        "result": content,
    }
    return {"resp_type": "RESULT", "trace_id": result.request_id, **message, "segments": [segment]}


def _text_of(segment: dict[str, Any]) -> object:
    inner = segment.get("result")
    return inner.get("text") if isinstance(inner, dict) else None


def _parsed(raw: str | None) -> dict[str, Any]:
    try:
        message = parse_json(raw) if raw else None
    except UnreadableError:
        return {}
    return message if isinstance(message, dict) else {}
