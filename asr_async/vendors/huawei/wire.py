"""Every message of Huawei's RASR WebSocket interface, spelled once for both sides.

Only shapes: which message may follow which is the codec's business here and the emulator's on the other side. Audio
goes as binary messages, as it is. Members that are read are lenient wherever the documents leave them out in some case.
Sources: the API reference of SIS (public documentation repository, 2021-10; live pages sis_03_0029 to sis_03_0045,
2025/26) and frames of the official Python SDK (1.7/1.8 line).
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

# --- client to server ------------------------------------------------------------------------------------------------

YesNo = Literal["yes", "no"]
"""All flags of START are these strings, never booleans."""


class StartConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to recognise; the order of the members is that of the official SDK. None is left out."""

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
    """Open a round; audio may follow once the server has answered with START."""

    config: StartConfig


class End(msgspec.Struct, frozen=True, tag_field="command", tag="END"):
    """No more audio. `cancel` true: what is not recognised yet is not wanted either.

    The official SDK sends the string "false", the documents say boolean; a server takes both.
    """

    cancel: bool | Literal["true", "false"] = False


ClientMessage = Start | End


# --- server to client ------------------------------------------------------------------------------------------------


class WireWord(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A word; each member is optional by the documents."""

    start_time: int | None = None
    end_time: int | None = None
    word: str | None = None


class WireResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The text of a segment. `score` is 0.0 in interims and 0..1 in finals; `word_info` comes with need_word_info."""

    text: str | None = None
    score: float | None = None
    word_info: tuple[WireWord, ...] | UnsetType | None = UNSET


class WireSegment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A sentence so far. Times in milliseconds from the start of the round's audio; interims keep their start_time.

    `result` may be missing when nothing could be recognised.
    """

    start_time: int | None = None
    end_time: int | None = None
    is_final: bool | None = None
    result: WireResult | UnsetType | None = UNSET


class ServerMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Any message of the server; which members it has depends on `resp_type`.

    START none · RESULT segments · EVENT event, timestamp · END reason · ERROR and FATAL_ERROR error_code, error_msg.
    An error may lack its trace_id, and old gateways send error_code and error_msg without a resp_type.
    """

    resp_type: str | None = None
    trace_id: str | None = None
    segments: tuple[WireSegment, ...] | None = None
    event: str | None = None
    timestamp: int | None = None
    reason: str | None = None
    error_code: str | None = None
    error_msg: str | None = None
