"""The commands of a RASR client: decoded, and checked against the documents.

Knows no connection: an invalid command raises a `TaskError` with the vendor's code.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ...vendors.huawei.models import AUDIO_FORMATS, rate_of
from ...vendors.huawei.wire import End as EndCommand
from ...vendors.huawei.wire import StartConfig

__all__ = ["Config", "TaskError", "invalid_member", "read_cancel", "read_config", "read_message", "required_member"]


class TaskError(Exception):
    """The failure of a task, or of its start; the connection continues."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Config(StartConfig, frozen=True, kw_only=True):
    """The options of START, with the documented ranges. Unknown members are ignored: the official SDK sends some."""

    vad_head: Annotated[int, msgspec.Meta(ge=0, le=60_000)] | None = None
    vad_tail: Annotated[int, msgspec.Meta(ge=0, le=3_000)] | None = None
    max_seconds: Annotated[int, msgspec.Meta(ge=1, le=60)] | None = None

    @property
    def sample_rate(self) -> int:
        """The sample rate of the declared audio format."""
        return AUDIO_FORMATS[self.audio_format].sample_rate


def read_message(text: str) -> dict[str, Any]:
    """Decode a text message."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise TaskError("SIS.0032", f"a text message must be a JSON object: {error}") from None


def required_member(message: dict[str, Any], name: str) -> Any:
    """Return a member of a message, which must be present."""
    if name not in message:
        raise TaskError("SIS.0012", f"'{name}' is missing")
    return message[name]


def read_config(message: dict[str, Any]) -> Config:
    """Decode and check the config of START."""
    given = required_member(message, "config")
    if not isinstance(given, dict):
        raise invalid_member("config", "must be an object")
    for name in ("audio_format", "property"):
        required_member(given, name)
    try:
        config = msgspec.convert(given, Config)
    except msgspec.ValidationError as error:
        # "Expected `int`, got `str` - at `$.vad_head`": names the member
        raise TaskError("SIS.0032", str(error)) from None
    if config.audio_format not in AUDIO_FORMATS:
        raise invalid_member("audio_format")
    if rate_of(config.property) not in {None, config.sample_rate}:
        raise TaskError("SIS.0301", "'audio_format' is not match model")
    return config


def read_cancel(message: dict[str, Any]) -> bool:
    """Return True if an END cancels the task."""
    try:
        return msgspec.convert(message, EndCommand).cancel in {True, "true"}
    except msgspec.ValidationError as error:
        raise invalid_member("cancel", str(error)) from None


def invalid_member(name: str, why: str = "") -> TaskError:
    """Return the error of a member with an invalid value."""
    return TaskError("SIS.0032", f"'{name}' is invalid" + (f": {why}" if why else ""))
