"""The messages of FunASR's real-time server (`funasr-realtime-server`), defined once for client and server.

Only shapes: does not know their order. The client's messages are plain texts, such as START, and audio is sent
unchanged, as binary messages. Sources: the server in PyPI `funasr` 1.4.16 (`funasr/bin/realtime_ws.py`, 2026-09-18) and
FunASR's document on it (`fun_asr_nano/docs/realtime_demo.md`, 2026-07).
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..lenient import Milliseconds, Name

__all__ = ["COMMIT", "HOTWORDS", "LANGUAGE", "REPLACEMENTS", "START", "STOP", "ServerMessage", "WireSentence"]

# --- client to server ------------------------------------------------------------------------------------------------

START = "START"
STOP = "STOP"
COMMIT = "COMMIT"
"""The end of an utterance; only a server that was started with `--endpoint-mode client` accepts it."""

HOTWORDS = "HOTWORDS:"
LANGUAGE = "LANGUAGE:"
REPLACEMENTS = "POSTPROCESS_HOTWORDS:"
"""The beginnings of the messages with options. The items of the first and the last are separated by commas."""


# --- server to client ------------------------------------------------------------------------------------------------


class WireSentence(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One sentence, with its place in the audio since START. Speakers and later members are left to `Result.raw`."""

    text: str | None = None
    start: Milliseconds | None = None
    end: Milliseconds | None = None


class ServerMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Any message of the server: an answer to a command has `event`, a result has `sentences` and `partial`.

    `sentences` holds all sentences since START, or since the last COMMIT, and grows. `partial` is the text behind them
    so far: of the newest seconds of the speech only, where that is long (`--partial-window-sec`).
    """

    event: Name | None = None
    error: str | None = None
    sentences: tuple[dict[str, Any], ...] | None = None
    partial: str | None = None
    partial_start_ms: Milliseconds | None = None
    duration_ms: Milliseconds | None = None
    is_final: bool | None = None
