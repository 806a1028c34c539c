"""The parts that the recognition classes share: options from parameters, the life of a task, delays, errors.

Does not know results.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from ....._text.secret import SecretText
from .....config import Timeouts
from .....errors import ASRError, ConfigurationError, DeadlineError, VendorError
from .....errors import AuthenticationError as CredentialsError
from .....results import Event
from .....sync import connect
from .....vendors.dashscope import FunASR, Gummy, GummyChat, Paraformer, QwenAudio
from .....vendors.dashscope.models import TaskOptions
from .....vendors.lenient import UnreadableError, parse_json
from .....vendors.options import ContextMessage
from ...._session import CallbackSession, SessionCallbacks
from ..._settings import NO_KEY, make_service
from ...common.error import (
    AuthenticationError,
    InputDataRequired,
    InputRequired,
    InvalidParameter,
    ModelRequired,
    TimeoutException,
)

__all__ = ["Recogniser", "context_of", "describe_error", "output_of", "parameters_of"]

READ_BYTES = 12_800
"""The size of the parts in which a file is read, as in the SDK."""

TIMEOUTS = Timeouts(translation=0.001)
"""The text of a sentence does not wait for its translation: they are parts of different calls, as from the vendor."""

TASK_ERROR_STATUS = 44
"""The SDK's status of an error that the vendor reports in a running task."""

CONNECTION_ERROR_STATUS = -1

_FAMILIES: tuple[tuple[str, type[TaskOptions]], ...] = (
    ("fun-asr", FunASR),
    ("qwen-audio", QwenAudio),
    ("gummy-chat", GummyChat),
    ("gummy", Gummy),
    ("", Paraformer),
)
"""The beginning of a model's name → its options; unknown models have those of the last row."""

_NOT_PARAMETERS = {"model", "format", "sample_rate", "strict", "extra_parameters", "phrase_id", "context"}

_OF_REQUEST = ("api_key", "base_address", "headers", "request_timeout", "user_agent", "raw_input", "resources")
"""Keywords of the SDK that are no parameters of the model."""


_NAMED = (
    "disfluency_removal_enabled",
    "diarization_enabled",
    "speaker_count",
    "timestamp_alignment_enabled",
    "special_word_filter",
    "audio_event_detection_enabled",
)
"""The parameters that are arguments of their own in the SDK's signatures."""


def parameters_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters among the arguments of a method; one without a value keeps that of an earlier call."""
    named = {name: arguments[name] for name in _NAMED if arguments[name] is not None}
    more: dict[str, Any] = arguments["kwargs"]
    if more.get("api_key") is not None:
        more["api_key"] = SecretText(more["api_key"])
    return {**more, **named}


def now_ms() -> float:
    """Return the time of day in milliseconds."""
    return time.time() * 1000


class Recogniser:
    """One recognition object: a task with callbacks by `start` and `stop`, or the recognition of a file.

    It can be started again when it was stopped.
    """

    SILENCE_TIMEOUT_S: float = 23
    """The time without audio behind which a task ends: the vendor would end it with an error."""

    _label: ClassVar[str] = "Speech recognition"
    _purpose: ClassVar[str] = "the speech recognition result"

    def __init__(
        self,
        model: str | None,
        callback: Any,
        audio_format: str | None,
        sample_rate: int | None,
        workspace: str | None,
        parameters: dict[str, Any],
    ) -> None:
        if model is None:
            raise ModelRequired("Model is required!")
        if audio_format is None:
            raise InputRequired("format is required!")
        if sample_rate is None:
            raise InputRequired("sample_rate is required!")
        self.model = model
        self.format = audio_format
        self.sample_rate = sample_rate
        self.last_request_id: str = uuid.uuid4().hex
        self.request_id_confirmed: bool = False
        self._callback = callback
        self._workspace = workspace
        self._kwargs = parameters
        self._session: CallbackSession | None = None
        self._is_called = False
        self._start_stream_timestamp = self._first_package_timestamp = -1.0
        self._stop_stream_timestamp = self._on_complete_timestamp = -1.0
        self._last_response: Any = None

    @property
    def _running(self) -> bool:
        return self._is_called or (self._session is not None and self._session.is_running)

    # --- callbacks ---------------------------------------------------------------------------------------------------

    def _callbacks(self) -> SessionCallbacks:
        raise NotImplementedError

    def _begin(self, parameters: dict[str, Any], phrase_id: str | None = None) -> None:
        """Start a task with callbacks."""
        if self._callback is None:
            raise AssertionError(f"Please set the callback to get {self._purpose}.")
        if self._running:
            raise InvalidParameter(f"{self._label} has started.")
        self._reset(parameters)
        self._start_stream_timestamp = -1.0
        settings = self._request(phrase_id)
        self._session = CallbackSession(self._callbacks(), silence_s=self.SILENCE_TIMEOUT_S, **settings)
        self._session.start()

    def stop(self) -> None:
        """End the audio, and return when all results and their callbacks are complete; in a callback, at once.

        Raises:
            InvalidParameter: it is not running.
            TimeoutException: a callback has not returned within 20 s.
        """
        session = self._running_session()
        self._stop_stream_timestamp = now_ms()
        try:
            session.stop()
        except DeadlineError as error:
            raise TimeoutException(str(error)) from None

    def _send(self, buffer: bytes) -> None:
        session = self._running_session()
        if self._start_stream_timestamp < 0:
            self._start_stream_timestamp = now_ms()
        try:
            session.send(buffer if isinstance(buffer, bytes) else bytes(memoryview(buffer)))
        except DeadlineError as error:
            raise TimeoutException(str(error)) from None

    def _running_session(self) -> CallbackSession:
        session = self._session
        if session is None or not session.is_running:
            raise InvalidParameter(f"{self._label} has stopped.")
        return session

    # --- a file ------------------------------------------------------------------------------------------------------

    def _recognise_file(
        self, file: str, parameters: dict[str, Any], phrase_id: str | None, on_event: Callable[[Event], None]
    ) -> ASRError | None:
        """Recognise a file and return the error that ended it, or None."""
        self._start_stream_timestamp = now_ms()
        if self._running:
            raise InvalidParameter(f"{self._label} has been called.")
        path = Path(file)
        if path.is_dir():
            raise IsADirectoryError(f"Is a directory: {file}")
        if not path.exists():
            raise FileNotFoundError(f"No such file or directory: {file}")
        self._reset(parameters)
        request = self._request(phrase_id)
        if not path.stat().st_size:
            raise InputDataRequired("The supplied file was empty (zero bytes long)")
        self._is_called = True
        try:
            with connect(request["options"], request["service"], **request["settings"]) as session:
                for event in session.events(self._read(path), pace=None):
                    on_event(event)
        except ASRError as error:
            if isinstance(error, CredentialsError) and error.status is None and error.code is None:
                raise AuthenticationError(NO_KEY) from None
            return error
        finally:
            self._is_called = False
            self._on_complete_timestamp = now_ms()
        return None

    def _read(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as opened:
            while chunk := opened.read(READ_BYTES):
                yield chunk
        self._stop_stream_timestamp = now_ms()

    # --- the request -------------------------------------------------------------------------------------------------

    def _reset(self, parameters: dict[str, Any]) -> None:
        self._first_package_timestamp = self._stop_stream_timestamp = self._on_complete_timestamp = -1.0
        self.request_id_confirmed = False
        self._kwargs.update(parameters)

    def _request(self, phrase_id: str | None) -> dict[str, Any]:
        """Return the service, the options and the settings of a session.

        Raises:
            InvalidParameter: a parameter has a value that cannot be sent.
        """
        given = {name: value for name, value in self._kwargs.items() if value is not None}
        request = {name: given.pop(name, None) for name in _OF_REQUEST}
        try:
            options = self._options(given, phrase_id, context_of(request["raw_input"]))
            timeout_s = request["request_timeout"]
            timeouts = TIMEOUTS if timeout_s is None else msgspec.structs.replace(TIMEOUTS, connect=timeout_s)
        except ConfigurationError as error:
            raise InvalidParameter(str(error)) from error
        service = make_service(
            api_key=request["api_key"],
            workspace=self._workspace,
            url=request["base_address"],
            headers=request["headers"],
        )
        return {"service": service, "options": options, "settings": {"timeouts": timeouts}}

    def _options(
        self, parameters: dict[str, Any], phrase_id: str | None, context: list[ContextMessage] | None
    ) -> TaskOptions:
        """Return the options, which send the parameters as they are.

        A parameter that the library knows is an option, since it may depend on it; if its value is none of the option,
        the vendor decides about it.
        """
        options_class = next(known for beginning, known in _FAMILIES if self.model.startswith(beginning))
        fields = {*options_class.__struct_fields__} - _NOT_PARAMETERS
        options: dict[str, Any] = {"model": self.model, "format": self.format, "sample_rate": self.sample_rate}
        options["strict"] = False
        if phrase_id and "phrase_id" in options_class.__struct_fields__:
            options["phrase_id"] = phrase_id
        if context is not None and "context" in options_class.__struct_fields__:
            options["context"] = context
        known = {name: value for name, value in parameters.items() if name in fields}
        extra = {name: value for name, value in parameters.items() if name not in fields}
        with contextlib.suppress(ConfigurationError):
            return options_class(**options, **known, extra_parameters=extra)
        return options_class(**options, extra_parameters=parameters)

    # --- figures -----------------------------------------------------------------------------------------------------

    def _record_result(self, request_id: str, *, has_text: bool) -> None:
        if has_text and self._first_package_timestamp < 0:
            self._first_package_timestamp = now_ms()
        if request_id and not self.request_id_confirmed:
            self.last_request_id, self.request_id_confirmed = request_id, True

    def _record_end(self) -> None:
        self._on_complete_timestamp = now_ms()

    def get_first_package_delay(self) -> float:
        """Return the time in milliseconds from the first audio to the first text, when the task is complete."""
        return self._first_package_timestamp - self._start_stream_timestamp

    def get_last_package_delay(self) -> float:
        """Return the time in milliseconds from `stop` to the end, when the task is complete."""
        return self._on_complete_timestamp - self._stop_stream_timestamp

    def get_last_request_id(self) -> str:
        """Return the id of the newest task."""
        return self.last_request_id

    def get_response(self) -> Any:
        """Return the newest response, such as that of an error; None if there is none.

        The documents of 2025-10 have this method, the SDK does not.
        """
        return self._last_response


def context_of(raw_input: Any) -> list[ContextMessage] | None:
    """Return the messages of `{"context": [{"role": ..., "content": [{"text": ...}]}]}`; None if there are none.

    Raises:
        InvalidParameter: the input has another form.
    """
    if raw_input is None:
        return None
    try:
        (context,) = [raw_input[name] for name in raw_input if name == "context" or _refuse(name)]
        return [
            ContextMessage(message["role"], "".join(part["text"] for part in message["content"])) for message in context
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidParameter(
            "Context must have the form {'context': [{'role': 'user', 'content': [{'type': 'input_text', "
            f"'text': '...'}}]}}]}}: {error!r}"
        ) from None


def _refuse(name: str) -> bool:
    raise KeyError(name)


def output_of(raw: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the output and the usage in the vendor's message of a result; empty and None if it has none."""
    payload = _member(_parsed(raw), "payload")
    return _member(payload, "output"), _member(payload, "usage") or None


def describe_error(error: BaseException) -> dict[str, Any]:
    """Return the status, the code, the text and the id of the request of an error, in the members of a response."""
    if not isinstance(error, ASRError):
        text = f"a callback raised {type(error).__name__}: {error}"
        return {"status_code": CONNECTION_ERROR_STATUS, "request_id": "", "code": type(error).__name__, "message": text}
    header = _member(_parsed(error.raw or ""), "header")
    is_of_task = "error_code" in header or isinstance(error, VendorError)
    default_status = TASK_ERROR_STATUS if is_of_task else CONNECTION_ERROR_STATUS
    return {
        "status_code": default_status if error.status is None else error.status,
        "request_id": error.request_id or "",
        "code": error.code or type(error).__name__,
        "message": header.get("error_message") or error.message,
    }


def _parsed(raw: str) -> Any:
    try:
        return parse_json(raw)
    except UnreadableError:
        return None


def _member(value: Any, name: str) -> dict[str, Any]:
    member = value.get(name) if isinstance(value, Mapping) else None
    return member if isinstance(member, dict) else {}
