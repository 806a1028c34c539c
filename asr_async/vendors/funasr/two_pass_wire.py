"""The messages of FunASR's 2pass protocol, defined once for client and server.

Only shapes: does not know their order. Audio is sent unchanged, as binary messages. Sources: FunASR's document
`runtime/docs/websocket_protocol.md` (2024), and its two servers, `runtime/websocket/bin/websocket-server-2pass.cpp` and
`runtime/python/websocket/funasr_wss_server.py` (2023 to 2026).
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..lenient import Milliseconds

__all__ = ["SUBPROTOCOL", "ClientEnd", "ClientStart", "ServerMessage", "WireSentence"]

SUBPROTOCOL = "binary"
"""The Python server refuses a client that does not offer it (HTTP 400); the C++ server ignores it."""

# --- client to server ------------------------------------------------------------------------------------------------


class ClientStart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options of a task. Members with the value None are not sent."""

    mode: str
    wav_name: str
    wav_format: str
    is_speaking: bool
    audio_fs: int
    chunk_size: tuple[int, ...]
    chunk_interval: int | None = None
    encoder_chunk_look_back: int | None = None
    decoder_chunk_look_back: int | None = None
    hotwords: str | None = None
    """A JSON object of words and weights as text, or words separated by spaces."""
    hotword: str | None = None
    """The same for some versions of the Python server, which look for this name."""
    itn: bool | None = None
    svs_lang: str | None = None
    svs_itn: bool | None = None


class ClientEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the audio; newer versions of the Python server answer `is_end`."""

    is_speaking: bool = False
    is_end: bool = True


# --- server to client ------------------------------------------------------------------------------------------------


class WireSentence(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A part of a result up to a punctuation mark, with the times of its words (`ts_list`)."""

    text_seg: str | None = None
    punc: str | None = None
    start: Milliseconds | None = None
    end: Milliseconds | None = None
    ts_list: tuple[tuple[Milliseconds, ...], ...] | None = None


class ServerMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Any message of a server.

    `is_final` has two meanings: with the C++ server, true is the answer to the end of the audio; with the Python
    server, it is true while audio is expected, and false in that answer.
    """

    mode: str | None = None
    wav_name: str | None = None
    text: str | None = None
    is_final: bool | None = None
    is_end: bool | None = None
    error: str | None = None
    timestamp: Any = None
    """The times of the words of a final, as text of a JSON array or as an array."""
    stamp_sents: Any = None
    """A list of `WireSentence`; an empty text if it could not be made."""
