"""The messages of Huawei's RASR WebSocket interface, defined once for client and server.

Only shapes: does not know their order, which the codec checks on the client's side and the emulator on the server's.
Audio is sent unchanged, as binary messages. Members are lenient wherever the documents omit them in some case. Sources:
the API reference of SIS (public documentation repository, 2021-10; live pages sis_03_0029 to sis_03_0045, 2025/26) and
messages of the official Python SDK (1.7/1.8 line).
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from ..lenient import Identifier, Milliseconds, Name, Ratio

# --- client to server ------------------------------------------------------------------------------------------------

YesNo = Literal["yes", "no"]
"""The type of all flags of START, which are never booleans."""


class StartConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options of a task, in the order of the official SDK. Members with the value None are not sent."""

    audio_format: str
    property: str
    add_punc: YesNo | None = None
    digit_norm: YesNo | None = None
    vad_head: int | None = None
    vad_tail: int | None = None
    max_seconds: int | None = None
    interim_results: YesNo | None = None
    vad_threshold: int | None = None
    need_word_info: YesNo | None = None
    user_words: tuple[str, ...] | None = None
    vocabulary_id: str | None = None


class Start(msgspec.Struct, frozen=True, tag_field="command", tag="START"):
    """Open a task; audio may follow after the server's START."""

    config: StartConfig


class End(msgspec.Struct, frozen=True, tag_field="command", tag="END"):
    """The end of the audio. With `cancel` true, the server drops the audio that is not recognised yet.

    The official SDK sends the string "false", the documents have a boolean; servers accept both.
    """

    cancel: bool | Literal["true", "false"] = False


ClientMessage = Start | End


# --- server to client ------------------------------------------------------------------------------------------------


class WireWord(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A word; by the documents, each member is optional."""

    start_time: Milliseconds | None = None
    end_time: Milliseconds | None = None
    word: str | None = None


class WireResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The text of a segment. `score` is 0.0 in interims and 0..1 in finals; `word_info` comes with need_word_info."""

    text: str | None = None
    score: Ratio | None = None
    word_info: tuple[WireWord, ...] | UnsetType | None = UNSET


class WireSegment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A sentence so far. Times in milliseconds from the start of the task's audio; interims keep their start_time.

    `result` may be missing if no text was recognised.
    """

    start_time: Milliseconds | None = None
    end_time: Milliseconds | None = None
    is_final: bool | None = None
    result: WireResult | UnsetType | None = UNSET


class ServerMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Any message of the server; its members depend on `resp_type`.

    START: none; RESULT: segments; EVENT: event, timestamp; END: reason; ERROR and FATAL_ERROR: error_code, error_msg.
    An error may lack its trace_id, and old gateways send error_code and error_msg without a resp_type.
    """

    resp_type: Name | None = None
    trace_id: Identifier | None = None
    segments: tuple[WireSegment, ...] | None = None
    event: str | None = None
    timestamp: Milliseconds | None = None
    reason: str | None = None
    error_code: str | None = None
    error_msg: str | None = None
