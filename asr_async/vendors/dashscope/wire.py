"""The messages of the DashScope task protocol (`/api-ws/v1/inference`), defined once for client and server.

Only shapes: does not know their order, which the codec checks on the client's side and the emulator on the server's.
Documented members that this library does not use are in `raw` only; the others are lenient wherever the documents and
recorded messages disagree. Sources: the WebSocket API pages of Fun-ASR and Gummy and the client/server event pages of
the platform (2025-10 to 2026), and messages of the official SDK 2.0.2 and 1.25.0 (`tests/vectors/`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..lenient import MAX_MS, Count, Identifier, Milliseconds, Name, Ratio

# --- client to server ------------------------------------------------------------------------------------------------


class ClientHeader(msgspec.Struct, frozen=True):
    """The action and its task."""

    action: Literal["run-task", "continue-task", "finish-task"]
    task_id: str
    streaming: str = "duplex"


class Resource(msgspec.Struct, frozen=True):
    """A hot-word list of the first generation; it is sent beside the parameters, not among them."""

    resource_id: str
    resource_type: str = "asr_phrase"


class RunPayload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The model and the parameters of a task. Without `input`, even if empty, the server closes with 1007."""

    model: str
    parameters: dict[str, Any]
    input: dict[str, Any]
    task_group: str
    task: str
    function: str
    resources: tuple[Resource, ...] = ()


class InputPayload(msgspec.Struct, frozen=True):
    """The payload of continue-task and finish-task: `input` alone; the server closes with 1007 for further members."""

    input: dict[str, Any]


class RunTask(msgspec.Struct, frozen=True):
    """Open a task."""

    header: ClientHeader
    payload: RunPayload


class ContinueTask(msgspec.Struct, frozen=True):
    """Replace the context of a running task."""

    header: ClientHeader
    payload: InputPayload


class FinishTask(msgspec.Struct, frozen=True):
    """The end of the audio; the server still sends its results."""

    header: ClientHeader
    payload: InputPayload


# --- server to client ------------------------------------------------------------------------------------------------

Seconds = Annotated[float, Meta(ge=0, le=MAX_MS / 1000)]
"""Billed seconds."""


class ServerHeader(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The event and its task; the error members are in task-failed only."""

    task_id: Identifier = ""
    event: Name = ""
    error_code: str | UnsetType | None = UNSET
    error_message: str | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType = UNSET


class WireWord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A word; `punctuation` stands behind it, but repeats the word in Gummy's samples."""

    text: str | None = None
    begin_time: Milliseconds | None = None
    end_time: Milliseconds | None = None
    punctuation: str | None = None
    fixed: bool | None = None
    """Gummy only: the word will not change any more."""


class Sentence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A sentence so far. Times in milliseconds from the start of the task's audio.

    `end_time` is null while interim. `sentence_end` and `sentence_id` are in the documents of 2026 but not in those of
    2025, so a sentence is final if `sentence_end` is true, or, without that member, if it has an `end_time`. A
    heartbeat sentence carries no result, and may lack its text.
    """

    sentence_id: Count | None = None
    begin_time: Milliseconds | None = None
    end_time: Milliseconds | UnsetType | None = UNSET
    text: str | None = None
    words: tuple[WireWord, ...] | None = None
    heartbeat: bool | None = None
    sentence_begin: bool | None = None
    sentence_end: bool | UnsetType | None = UNSET
    emo_tag: str | None = None
    emo_confidence: Ratio | None = None


class GummySentence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A sentence of Gummy so far, as it was spoken or, with `lang`, its translation.

    The two share a `sentence_id`, which counts from 0. While interim, `end_time` is null or missing, and `current_time`
    is the position that it has reached. `stash` is the beginning of the next sentence, if the vendor has cut by meaning
    and not begun to send that one; it has an id, times, text and words only. The `pre_end` members predict an end
    before the silence that confirms it has passed, or withdraw the prediction (`pre_end_failed`); no document explains
    them.
    """

    sentence_id: Count | None = None
    lang: str | None = None
    begin_time: Milliseconds | None = None
    end_time: Milliseconds | UnsetType | None = UNSET
    current_time: Milliseconds | None = None
    text: str | None = None
    words: tuple[WireWord, ...] | None = None
    sentence_end: bool | UnsetType | None = UNSET
    stash: GummySentence | None = None
    vad_pre_end: bool | None = None
    pre_end_failed: bool | None = None
    pre_end_start_time: Milliseconds | None = None
    pre_end_end_time: Milliseconds | None = None


class Output(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The results: `transcription`, `translations` or both from Gummy, `sentence` from all other models."""

    sentence: Sentence | None = None
    transcription: GummySentence | None = None
    translations: tuple[GummySentence, ...] | None = None


class WireUsage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The billed seconds of the whole task so far: the last value counts, values are not added."""

    duration: Seconds | None = None


class ServerPayload(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Empty for task-started and task-failed."""

    output: Output | None = None
    usage: WireUsage | None = None


class ServerMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Any message of the server."""

    header: ServerHeader
    payload: ServerPayload | None = None
