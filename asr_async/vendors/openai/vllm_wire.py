"""The messages of vLLM's realtime endpoint that differ from OpenAI's, defined once for client and server.

Source: the repository of vLLM (`realtime/protocol.py` and `realtime/connection.py`, read 2026-11).
"""

from __future__ import annotations

from typing import Any

from ..realtime.wire import Append, ClientMessage, ServerMessage

__all__ = [
    "VLLMClientEvent",
    "VLLMCommit",
    "VLLMDelta",
    "VLLMDone",
    "VLLMError",
    "VLLMServerEvent",
    "VLLMSessionCreated",
    "VLLMSessionUpdate",
]

# --- client to server ------------------------------------------------------------------------------------------------


class VLLMSessionUpdate(ClientMessage, frozen=True, kw_only=True, tag="session.update"):
    """Name the model; the server answers only if it does not have it."""

    model: str | None = None


class VLLMCommit(ClientMessage, frozen=True, kw_only=True, tag="input_audio_buffer.commit"):
    """Begin to recognise what is appended; with `final`, the end of the audio."""

    final: bool = False


VLLMClientEvent = VLLMSessionUpdate | Append | VLLMCommit

# --- server to client ------------------------------------------------------------------------------------------------
# Members without a value are omitted, since these messages have no ids.


class VLLMSessionCreated(ServerMessage, frozen=True, kw_only=True, omit_defaults=True, tag="session.created"):
    """The first message."""

    id: str = ""
    created: Any = 0


class VLLMDelta(ServerMessage, frozen=True, kw_only=True, omit_defaults=True, tag="transcription.delta"):
    """More text, behind that of the deltas before."""

    delta: str | None = None


class VLLMDone(ServerMessage, frozen=True, kw_only=True, omit_defaults=True, tag="transcription.done"):
    """The whole text; every result has been sent."""

    text: str | None = None
    usage: Any = None


class VLLMError(ServerMessage, frozen=True, kw_only=True, omit_defaults=True, tag="error"):
    """An error, whose text is no object as it is with OpenAI."""

    error: str | None = None
    code: str | None = None


VLLMServerEvent = VLLMSessionCreated | VLLMDelta | VLLMDone | VLLMError
