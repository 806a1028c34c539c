"""The commands of a DashScope task client: decoded, and checked against the documents.

Knows no connection: an invalid command raises the error that ends its connection, with the vendor's code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from aiohttp import WSCloseCode

from ...vendors.dashscope.wire import ClientHeader, InputPayload, RunPayload
from ..session import EndConnection
from .hotwords import HotWordTableError

if TYPE_CHECKING:
    from ...vendors.dashscope.models import ModelRow
    from .hotwords import HotWordTables

__all__ = [
    "InvalidPayloadError",
    "Parameters",
    "TaskFailedError",
    "is_message_model",
    "read_control",
    "read_hot_words",
    "read_parameters",
    "read_run",
]

_Shape = TypeVar("_Shape")


class InvalidPayloadError(EndConnection):
    """A message for which the documents demand that the connection is closed."""

    def __init__(self) -> None:
        super().__init__("Invalid payload data", close_code=WSCloseCode.INVALID_TEXT)


class TaskFailedError(EndConnection):
    """The failure of the task; `code` and `message` are sent before the connection closes.

    The documents give no close code for this. 1000 is used, since the message before it reports the error.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__("task failed", close_code=WSCloseCode.OK)
        self.code = code
        self.message = message


class Control(msgspec.Struct, frozen=True):
    """A text message of the client; the payload is checked later."""

    header: ClientHeader
    payload: dict[str, Any]


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """The documented parameters; null counts as not given. Unknown ones are ignored, as the models seem to do."""

    format: str
    sample_rate: Annotated[int, msgspec.Meta(gt=0)]
    language_hints: tuple[str, ...] | None = None
    vocabulary_id: str | None = None
    disfluency_removal_enabled: bool | None = None
    semantic_punctuation_enabled: bool | None = None
    max_sentence_silence: Annotated[int, msgspec.Meta(ge=200, le=6000)] | None = None
    multi_threshold_mode_enabled: bool | None = None
    punctuation_prediction_enabled: bool | None = None
    inverse_text_normalization_enabled: bool | None = None
    heartbeat: bool | None = None
    speech_noise_threshold: Annotated[float, msgspec.Meta(ge=-1.0, le=1.0)] | None = None
    special_word_filter: str | None = None
    # Qwen-Audio
    vocabulary: dict[str, int] | None = None
    keep_dialect: bool | None = None
    vad_model: str | None = None
    intermediate_result_enabled: bool | None = None
    # Gummy
    source_language: str | None = None
    transcription_enabled: bool | None = None
    translation_enabled: bool | None = None
    translation_target_languages: tuple[str, ...] | None = None
    max_end_silence: Annotated[int, msgspec.Meta(ge=200, le=6000)] | None = None

    @property
    def is_transcribed(self) -> bool:
        """True if transcriptions are sent."""
        return self.transcription_enabled is not False

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that may be spoken; empty means any."""
        source = () if self.source_language in {None, "auto"} else (str(self.source_language),)
        return self.language_hints or source

    @property
    def target_languages(self) -> tuple[str, ...]:
        """The languages to translate into."""
        return (self.translation_target_languages or ()) if self.translation_enabled else ()


_control_decoder = msgspec.json.Decoder(Control)


def read_control(text: str) -> Control:
    """Decode a text message; an error in a run-task's payload is detected later, when its task can fail.

    `streaming` may be missing, as it is in the continue-task of the official SDK 1.25.0, but it has no other value.
    """
    try:
        control = _control_decoder.decode(text)
        if control.header.action != "run-task":
            msgspec.convert(control.payload, InputPayload)
    except (msgspec.MsgspecError, RecursionError):
        raise InvalidPayloadError from None
    # "custom members such as end_of_stream cause Invalid payload data" (error page)
    custom_members = control.header.action != "run-task" and len(control.payload) > 1
    if control.header.streaming != "duplex" or custom_members:
        raise InvalidPayloadError
    return control


def read_run(payload: dict[str, Any]) -> RunPayload:
    """Check the payload of a run-task."""
    # The error page has both: 1007 for a malformed payload, and InvalidParameter "task can not be null" if `input` is
    # missing. So 1007 is used only for a message that cannot be decoded or that has a forbidden member.
    if payload.get("input") is None or payload.get("task") is None:
        raise TaskFailedError("InvalidParameter", "task can not be null")
    run = _convert(payload, RunPayload)
    if (run.task_group, run.task, run.function) != ("audio", "asr", "recognition"):
        raise TaskFailedError("InvalidParameter", f"no such task: {run.task_group}/{run.task}/{run.function}")
    return run


def read_parameters(given: dict[str, Any], capability: ModelRow) -> Parameters:
    """Check the parameters of a run-task for this model."""
    parameters = _convert(given, Parameters)
    _check_names(given, capability)
    if not capability.accepts_rate(parameters.sample_rate):
        raise TaskFailedError(
            "InvalidParameter",
            f"sample_rate {parameters.sample_rate}: {capability.model} accepts {capability.rates}",
        )
    if parameters.translation_enabled and not parameters.target_languages:
        raise TaskFailedError("InvalidParameter", "translation_target_languages can not be empty")
    # "at least one of the two" (Gummy WebSocket API page)
    if not parameters.is_transcribed and not parameters.translation_enabled:
        raise TaskFailedError("InvalidParameter", "neither transcription nor translation is enabled")
    return parameters


def _check_names(given: dict[str, Any], capability: ModelRow) -> None:
    """Refuse parameters that the model lacks. Only the message model is known to do so (reports of clients, 2026)."""
    if not is_message_model(capability.model):
        return
    # the official SDK up to 1.25 adds "stream" to the parameters of every model
    known = {"format", "sample_rate", "stream", *capability.options}
    for name, value in given.items():
        if value is not None and name not in known:
            raise TaskFailedError("InvalidParameter", f"{name} is not supported by {capability.model}")


def is_message_model(model: str) -> bool:
    """Return True for the message model of Qwen-Audio."""
    return model.endswith("-message")


def read_hot_words(run: RunPayload, parameters: Parameters, tables: HotWordTables) -> tuple[str, ...]:
    """Collect the hot words of the parameters, the vocabulary and the phrase lists.

    An unknown vocabulary fails with `NotFound`.
    """
    words = [*(parameters.vocabulary or ())]
    words += [word for resource in run.resources for word in tables.phrases(resource.resource_id)]
    if parameters.vocabulary_id is not None:
        languages = parameters.language_hints or ()
        try:
            words += tables.hot_words(parameters.vocabulary_id, model=run.model, languages=languages)
        except HotWordTableError as error:
            raise TaskFailedError(error.code, error.message) from None
    return tuple(words)


def _convert(given: dict[str, Any], shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.convert(given, shape)
    except msgspec.ValidationError as error:
        # "Expected `int`, got `str` - at `$.sample_rate`": names the member
        raise TaskFailedError("InvalidParameter", str(error)) from None
