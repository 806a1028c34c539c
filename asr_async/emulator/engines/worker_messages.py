"""The messages between an engine and its worker processes: length-prefixed msgpack on a pipe.

The parent process sends calls, the worker answers each call once, in any order between sessions, and sends hypotheses
whenever it has them. The hypotheses of a session that precede an answer in the pipe belong to the audio before it.
"""

from __future__ import annotations

import msgspec

from .engine import Hypothesis, Request

__all__ = [
    "LENGTH_BYTES",
    "Answer",
    "Call",
    "CloseCall",
    "Emitted",
    "FeedCall",
    "FinishCall",
    "Notice",
    "OpenCall",
    "ParentMessage",
    "Ready",
    "WorkerMessage",
    "pack",
]

LENGTH_BYTES = 4


class OpenCall(msgspec.Struct, frozen=True, tag=True):
    """The call that starts a session, with the recogniser in its initial state."""

    call: int
    session: int
    request: Request


class FeedCall(msgspec.Struct, frozen=True, tag=True):
    """The call that recognises more samples, at the sample rate of the session's request."""

    call: int
    session: int
    samples: bytes


class FinishCall(msgspec.Struct, frozen=True, tag=True):
    """The call that recognises to the end."""

    call: int
    session: int


class CloseCall(msgspec.Struct, frozen=True, tag=True):
    """The message that ends a session, if there is such a session. It has no answer."""

    session: int


Call = OpenCall | FeedCall | FinishCall
"""The messages that have an answer."""

ParentMessage = Call | CloseCall


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The first message of a worker: its model is loaded."""


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The result of a call, and the state of the session after it."""

    call: int
    silent_ms: int = 0
    has_speech: bool = False


class Emitted(msgspec.Struct, frozen=True, tag=True):
    """A hypothesis of a session."""

    session: int
    hypothesis: Hypothesis


class Notice(msgspec.Struct, frozen=True, tag=True):
    """A warning for the log of the parent process."""

    text: str


WorkerMessage = Ready | Answer | Emitted | Notice


def pack(message: ParentMessage | WorkerMessage) -> bytes:
    """Encode a message with its length in front."""
    payload = msgspec.msgpack.encode(message)
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload
