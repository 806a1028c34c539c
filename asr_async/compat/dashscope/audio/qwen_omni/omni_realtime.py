"""`OmniRealtimeConversation` of the recognition models, with the parameters that describe a conversation."""

from __future__ import annotations

import base64
import binascii
import threading
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Any

from ....._text.secret import SecretText
from .....config import Timeouts
from .....errors import ConfigurationError
from .....results import Event, Result, SpeechEnded, SpeechEnding, SpeechStarted
from .....vendors.dashscope import QwenRealtime
from .....vendors.lenient import UnreadableError, parse_json
from ...._session import CallbackSession, SessionCallbacks
from ..._settings import make_service
from ...common.error import InvalidParameter, ModelRequired, UnsupportedModel, UnsupportedTask

__all__ = [
    "AudioFormat",
    "AudioFormatConfig",
    "AudioFormatType",
    "AudioSampleRate",
    "MultiModality",
    "OmniRealtimeCallback",
    "OmniRealtimeConversation",
    "TranscriptionParams",
    "TranslationParams",
]

DEFAULT_URL = "wss://dashscope.aliyuncs.com/api-ws/v1/realtime"

NOT_CONNECTED = (
    "WebSocket connection is not established or has been closed. Please call connect() first and ensure the connection "
    "is active."
)
"""The SDK's words."""

NORMAL_CLOSURE = 1000
ABNORMAL_CLOSURE = 1006


class OmniRealtimeCallback:
    """The callbacks of a conversation; derive from it. Each may block."""

    def on_open(self) -> None:
        """Act when the connection is open."""

    def on_close(self, close_status_code: int | None, close_msg: str | None) -> None:
        """Act when the conversation is over."""

    def on_event(self, message: dict[str, Any]) -> None:
        """Receive a message; its member `type` is its name."""


@dataclass
class TranslationParams:
    """The translation of the dialogue models; recognition models have none."""

    @dataclass
    class Corpus:
        """The terms of a translation."""

        phrases: dict[str, Any] | None = None

    language: str | None = None
    corpus: Corpus | None = None


@dataclass
class TranscriptionParams:
    """The language, the format of the audio, and a text about the subject of the speech."""

    language: str | None = None
    sample_rate: int = 16000
    input_audio_format: str = "pcm"
    corpus: dict[str, Any] | None = None
    corpus_text: str | None = None


@unique
class AudioFormat(Enum):
    """The formats of the dialogue models' older parameters."""

    PCM_16000HZ_MONO_16BIT = ("pcm", 16000, "mono", "16bit", "pcm16")
    PCM_24000HZ_MONO_16BIT = ("pcm", 24000, "mono", "16bit", "pcm16")

    def __init__(self, encoding: str, sample_rate: int, channels: str, bit_rate: str, format_str: str) -> None:
        self.format = encoding
        self.sample_rate = sample_rate
        self.channels = channels
        self.bit_rate = bit_rate
        self.format_str = format_str

    def __repr__(self) -> str:
        return self.format_str

    def __str__(self) -> str:
        return (
            f"{self.format.upper()} with {self.sample_rate}Hz sample rate, {self.channels} channel, "
            f"{self.bit_rate} bit rate:  {self.format_str}"
        )


@unique
class AudioFormatType(Enum):
    """The encodings of audio."""

    PCM = "pcm"
    WAV = "wav"

    def __str__(self) -> str:
        return self.value


@unique
class AudioSampleRate(Enum):
    """The sample rates of audio in Hz."""

    SAMPLE_RATE_8K = 8000
    SAMPLE_RATE_16K = 16000
    SAMPLE_RATE_24K = 24000
    SAMPLE_RATE_48K = 48000

    def __int__(self) -> int:
        return self.value


@dataclass
class AudioFormatConfig:
    """The encoding and the sample rate of audio."""

    type: str | AudioFormatType = "pcm"
    sample_rate: int | AudioSampleRate = 16000
    extra_params: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the members of the vendor's message."""
        encoding = self.type.value if isinstance(self.type, AudioFormatType) else self.type
        return {"type": encoding, "sample_rate": int(self.sample_rate), **self.extra_params}


class MultiModality(Enum):
    """The kinds of output; recognition models have text."""

    TEXT = "text"
    AUDIO = "audio"

    def __str__(self) -> str:
        return self.name


class OmniRealtimeConversation:
    """A recognition with callbacks: `connect`, `update_session`, `append_audio`, `end_session`, `close`.

    Args:
        model: the name of the model: qwen3-asr-flash-realtime and its dated versions.
        callback: receives the messages.
        headers: further headers of the connection.
        workspace: the id of a workspace.
        url: the URL of the realtime interface; None is that of Beijing.
        api_key: the key; None is the one of the settings.
        additional_params: not used, as in the SDK.

    Raises:
        ModelRequired: there is no model, or no callback.
        UnsupportedModel: the model is one for dialogues.
    """

    def __init__(
        self,
        model: str,
        callback: OmniRealtimeCallback,
        headers: dict[str, str] | None = None,
        workspace: str | None = None,
        url: str | None = None,
        api_key: str | None = None,
        additional_params: Any = None,  # noqa: ARG002 - the SDK's
    ) -> None:
        # first, so that no local variable in a traceback shows a key
        api_key = None if api_key is None else SecretText(api_key)
        if model is None:
            raise ModelRequired("Model is required!")
        if callback is None:
            raise ModelRequired("Callback is required!")
        if "asr" not in model:
            raise UnsupportedModel(
                f"{model} is no recognition model: use OmniRealtimeConversation of the official package for it"
            )
        self.model = model
        self.callback = callback
        self.url: str = f"{DEFAULT_URL if url is None else url}?model={model}"
        self.config: dict[str, Any] = {}
        self.session_id: str | None = None
        self.last_message: dict[str, Any] | None = None
        self._request: dict[str, Any] = {
            "api_key": api_key,
            "workspace": workspace,
            "headers": headers,
            "url": url or DEFAULT_URL,
        }
        self._lock = threading.RLock()
        self._session: CallbackSession | None = None
        self._callbacks: _Callbacks | None = None
        self._has_audio = self._is_ending = False

    def connect(self) -> None:
        """Open the connection, and return when `on_open` has returned.

        In a thread that runs an event loop, return at once.

        Raises:
            InvalidParameter: an argument is malformed.
            TimeoutError: the connection cannot be opened; the text has the reason.
        """
        self._has_audio = self._is_ending = False
        self._open(QwenRealtime(model=self.model, strict=False), is_first=True)

    def update_session(
        self,
        output_modalities: list[MultiModality],
        voice: str | None = None,
        input_audio_format: AudioFormat = AudioFormat.PCM_16000HZ_MONO_16BIT,
        output_audio_format: AudioFormat = AudioFormat.PCM_24000HZ_MONO_16BIT,
        enable_input_audio_transcription: bool = True,
        input_audio_transcription_model: str | None = None,
        enable_turn_detection: bool = True,
        turn_detection_type: str = "server_vad",
        prefix_padding_ms: int = 300,
        turn_detection_threshold: float = 0.2,
        turn_detection_silence_duration_ms: int = 800,
        turn_detection_param: dict[str, Any] | None = None,
        translation_params: TranslationParams | None = None,
        transcription_params: TranscriptionParams | None = None,
        input_audio_config: AudioFormatConfig | None = None,
        output_audio_config: AudioFormatConfig | None = None,
        input_video_representation_compact: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Set the options of the conversation, before audio is sent.

        Args:
            output_modalities: text, for recognition models.
            voice: not used, like the other parameters of answers by voice and of video.
            input_audio_format: the format of the audio, unless one of the next two describes it.
            output_audio_format: not used.
            enable_input_audio_transcription: not used: recognition models always transcribe.
            input_audio_transcription_model: not used.
            enable_turn_detection: True ends an utterance by silence, False by `commit`.
            turn_detection_type: sent as it is, with the next three and `turn_detection_param`.
            prefix_padding_ms: the audio before detected speech, in milliseconds.
            turn_detection_threshold: -1..1.
            turn_detection_silence_duration_ms: the silence that ends an utterance.
            turn_detection_param: further members of `turn_detection`.
            translation_params: not used.
            transcription_params: the language, the format of the audio, and a text about the subject.
            input_audio_config: the format of the audio.
            output_audio_config: not used.
            input_video_representation_compact: not used.
            kwargs: further members of the vendor's `session`, sent as they are.

        Raises:
            ConnectionError: it is not connected.
            InvalidParameter: audio was sent, or a value cannot be sent.
            TimeoutError: the connection cannot be opened; the text has the reason.
        """
        del voice, output_audio_format, enable_input_audio_transcription, input_audio_transcription_model
        del translation_params, output_audio_config, input_video_representation_compact
        self._open_session()
        if self._has_audio:
            raise InvalidParameter("update_session() must come before the audio: begin another conversation")
        params = transcription_params
        audio: dict[str, Any] = {"type": input_audio_format.format, "sample_rate": input_audio_format.sample_rate}
        if params is not None:
            audio = {"type": params.input_audio_format, "sample_rate": params.sample_rate}
        if input_audio_config is not None:
            audio = input_audio_config.to_dict()
        detection = {
            "type": turn_detection_type,
            "threshold": turn_detection_threshold,
            "prefix_padding_ms": prefix_padding_ms,
            "silence_duration_ms": turn_detection_silence_duration_ms,
            **(turn_detection_param or {}),
        }
        self.config = {
            "modalities": [modality.value for modality in output_modalities],
            "input_audio_format": audio["type"],
            "sample_rate": audio["sample_rate"],
            "input_audio_transcription": {} if params is None else _transcription(params),
            "turn_detection": detection if enable_turn_detection else None,
            **kwargs,
        }
        extra = {name: value for name, value in self.config.items() if name not in _OPTIONS}
        if enable_turn_detection:
            extra["turn_detection"] = detection
        transcription = self.config["input_audio_transcription"]
        if transcription.get("corpus"):
            extra["input_audio_transcription"] = transcription
        try:
            options = QwenRealtime(
                model=self.model,
                format=audio["type"],
                sample_rate=audio["sample_rate"],
                language=transcription.get("language"),
                manual_commit=not enable_turn_detection,
                strict=False,
                extra_parameters=extra,
            )
        except ConfigurationError as error:
            raise InvalidParameter(str(error)) from error
        self._open(options, is_first=False)

    def _open(self, options: QwenRealtime, *, is_first: bool) -> None:
        """Open a session, in the place of one without audio."""
        service = make_service(**self._request)
        with self._lock:
            replaced, self._callbacks = self._callbacks, _Callbacks(self, calls_on_open=is_first)
            callbacks = self._callbacks
            session = CallbackSession(callbacks, service, options, settings={"timeouts": Timeouts(translation=0.001)})
            if replaced is not None:
                replaced.is_replaced = True
            previous, self._session = self._session, session
        if previous is not None:
            previous.cancel()
        session.start()
        if session.open_error is not None:
            raise TimeoutError(f"websocket connection could not established: {session.open_error}")

    def _open_session(self) -> CallbackSession:
        session = self._session
        if session is None or not session.is_running:
            raise ConnectionError(NOT_CONNECTED)
        return session

    # --- audio -------------------------------------------------------------------------------------------------------

    def append_audio(self, audio_b64: str) -> None:
        """Send audio, as the text of its base64 form; return at once.

        Raises:
            ConnectionError: it is not connected.
            InvalidParameter: the text is no base64.
        """
        session = self._open_session()
        try:
            audio = base64.b64decode(audio_b64, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise InvalidParameter(f"append_audio() takes audio as base64 text: {error}") from None
        self._has_audio = True
        session.send(audio)

    def commit(self) -> None:
        """End an utterance (`enable_turn_detection=False`); return at once.

        Raises:
            ConnectionError: it is not connected.
        """
        self._open_session().commit()

    def end_session(self, timeout: float = 20) -> None:
        """End the audio, and return when all results have arrived; in a callback, at once.

        Raises:
            ConnectionError: it is not connected.
            RuntimeError: the vendor reported an error.
            TimeoutError: the results have not arrived within `timeout` seconds; the connection is closed.
        """
        if self._is_ending:
            return
        session, callbacks = self._open_session(), self._callbacks
        self._is_ending = True
        if not session.finish(timeout):
            self.close()
            raise TimeoutError(f"Session end timeout after {timeout} seconds")
        if callbacks is not None and callbacks.error is not None:
            raise RuntimeError(f"Session ended with error: {callbacks.error}")

    def end_session_async(self) -> None:
        """End the audio, and return at once.

        Raises:
            ConnectionError: it is not connected.
        """
        session = self._open_session()
        self._is_ending = True
        session.finish(None)

    def close(self) -> None:
        """Close the connection at once, without further results. Idempotent."""
        if self._session is not None:
            self._session.cancel()

    # --- the parts of dialogues --------------------------------------------------------------------------------------

    def append_video(self, video_b64: str) -> None:
        """Raise an error: recognition models have no video."""
        self._refuse("append_video", video_b64)

    def clear_appended_audio(self) -> None:
        """Raise an error: audio is recognised as soon as it arrives."""
        self._refuse("clear_appended_audio")

    def create_item(self, item: dict[str, Any]) -> None:
        """Raise an error: recognition models have no items of the client."""
        self._refuse("create_item", item)

    def create_response(
        self, instructions: str | None = None, output_modalities: list[MultiModality] | None = None
    ) -> None:
        """Raise an error: recognition models do not answer."""
        self._refuse("create_response", instructions, output_modalities)

    def cancel_response(self) -> None:
        """Raise an error: recognition models do not answer."""
        self._refuse("cancel_response")

    def send_raw(self, raw_data: str) -> None:
        """Raise an error: a message that the library does not know would be lost with its connection."""
        self._refuse("send_raw", raw_data)

    def _refuse(self, name: str, *_: Any) -> None:
        raise UnsupportedTask(f"{name}() is not available for the recognition model {self.model}")

    # --- figures -----------------------------------------------------------------------------------------------------

    def get_session_id(self) -> str | None:
        """Return the vendor's id of the session."""
        return self.session_id

    def get_last_message(self) -> dict[str, Any] | None:
        """Return the newest message."""
        return self.last_message

    def get_last_response_id(self) -> None:
        """Return None: recognition models do not answer."""

    def get_last_first_text_delay(self) -> None:
        """Return None: recognition models do not answer."""

    def get_last_first_audio_delay(self) -> None:
        """Return None: recognition models do not answer."""


_OPTIONS = {"modalities", "input_audio_format", "sample_rate", "input_audio_transcription", "turn_detection"}
"""The members of the vendor's `session` that options set."""


def _transcription(params: TranscriptionParams) -> dict[str, Any]:
    corpus = params.corpus if params.corpus_text is None else {"text": params.corpus_text}
    members = {"language": params.language, "corpus": corpus}
    return {name: value for name, value in members.items() if value is not None}


class _Callbacks(SessionCallbacks):
    """The callbacks of a session, as the vendor's messages."""

    event_types = (Result, SpeechStarted, SpeechEnding, SpeechEnded)

    def __init__(self, conversation: OmniRealtimeConversation, *, calls_on_open: bool) -> None:
        self._conversation = conversation
        self._calls_on_open = calls_on_open
        # the session was replaced by one with other options: the program receives nothing of this one
        self.is_replaced = False
        self.error: dict[str, Any] | None = None

    def on_open(self) -> None:
        conversation = self._conversation
        session = conversation._session  # noqa: SLF001 - of this module
        conversation.session_id = None if session is None else session.request_id
        if self._calls_on_open:
            conversation.callback.on_open()
            self._send({"type": "session.created", "session": {"id": conversation.session_id}})
        else:
            self._send({"type": "session.updated", "session": {"id": conversation.session_id, **conversation.config}})

    def on_event(self, event: Event) -> None:
        for message in self._messages_of(event):
            self._send(message)

    def on_complete(self) -> None:
        self._send({"type": "session.finished"})

    def on_error(self, error: BaseException) -> None:
        code = getattr(error, "code", None) or type(error).__name__
        self.error = {"type": "server_error", "code": code, "message": getattr(error, "message", str(error))}
        self._send({"type": "error", "error": self.error})

    def on_close(self) -> None:
        if not self.is_replaced:
            code = NORMAL_CLOSURE if self.error is None else ABNORMAL_CLOSURE
            text = "" if self.error is None else str(self.error["message"])
            self._conversation.callback.on_close(code, text)

    def _send(self, message: dict[str, Any]) -> None:
        if not self.is_replaced:
            self._conversation.last_message = message
            self._conversation.callback.on_event(message)

    def _messages_of(self, event: Event) -> list[dict[str, Any]]:
        time_ms: dict[str, int | None]
        match event:
            case SpeechStarted():
                name, time_ms = "input_audio_buffer.speech_started", {"audio_start_ms": event.start_ms}
            case SpeechEnding():
                name, time_ms = "input_audio_buffer.speech_stopped", {"audio_end_ms": event.end_ms}
            case Result():
                return [self._of_result(event)]
            case _:
                return []
        return [{"type": name, "item_id": _item_id(event.segment_id), **time_ms}]

    def _of_result(self, result: Result) -> dict[str, Any]:
        try:
            raw = parse_json(result.raw)
        except UnreadableError:
            raw = None
        message: dict[str, Any] = {**raw} if isinstance(raw, dict) else {}
        name = "conversation.item.input_audio_transcription"
        message["item_id"] = _item_id(result.segment_id)
        if result.is_final:
            message |= {"type": f"{name}.completed", "transcript": result.text}
        else:
            stable = result.stable_text or ""
            message |= {"type": f"{name}.text", "text": stable, "stash": result.text.removeprefix(stable)}
        return message


def _item_id(segment_id: int) -> str:
    """Return the id of an utterance, which goes on behind a reconnect."""
    return f"item_{segment_id}"
