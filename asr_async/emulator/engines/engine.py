"""What stands behind the emulator: an engine turns audio into hypotheses and knows no protocol.

The protocol rooms of the emulator check order, keys and parameters, decode the container, and dress an engine's
hypotheses in a vendor's messages. An engine sees 16-bit mono samples only.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol, Self

import msgspec

__all__ = ["Emit", "Engine", "EngineRefusedError", "Hypothesis", "HypothesisWord", "Recognition", "Request"]


class HypothesisWord(msgspec.Struct, frozen=True, kw_only=True):
    """A word with its place in the audio, in milliseconds from the first sample of the recognition."""

    text: str
    start_ms: int
    end_ms: int
    punctuation: str = ""


class Hypothesis(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's present reading of one utterance; each replaces the one before it, until one is final.

    Utterances follow each other: the first hypothesis after a final one opens the next utterance.
    """

    text: str
    is_final: bool
    start_ms: int
    end_ms: int
    words: tuple[HypothesisWord, ...] = ()
    translations: Mapping[str, str] = {}  # msgspec copies an empty default for each instance
    """Language → the text in that language, as far as it goes; of engines that translate."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for, as far as it concerns an engine."""

    sample_rate: int
    languages: tuple[str, ...] = ()
    """Language hints as the client gave them; empty means any."""
    hot_words: tuple[str, ...] = ()
    """Terms to expect, as they are to be written."""
    translate_to: tuple[str, ...] = ()
    """Languages to translate into."""


Emit = Callable[[Hypothesis], Awaitable[None]]
"""Hands a hypothesis to the client; returns when the connection has taken it."""


class Recognition(Protocol):
    """One stream of audio being recognised. Calls are made one after the other, never at the same time."""

    @property
    def silent_ms(self) -> int:
        """Audio since anything was last heard (since the start, if nothing was)."""
        ...

    @property
    def has_speech(self) -> bool:
        """Whether anything was heard at all."""
        ...

    async def feed(self, samples: bytes) -> None:
        """Take in samples (signed 16-bit little-endian mono, any length, whole samples).

        Returns when the engine is ready for more, so that a busy engine slows its client down.

        Raises:
            EngineRefusedError: the engine broke down; the recognition is over.
        """
        ...

    async def finish(self) -> None:
        """Recognise to the end; when this returns, every hypothesis has been emitted."""
        ...

    async def aclose(self) -> None:
        """Give everything back, at any time; idempotent."""
        ...


class Engine(Protocol):
    """Makes recognitions; an async context manager that owns whatever they share."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def open(self, request: Request, emit: Emit) -> Recognition:
        """Begin a recognition.

        Raises:
            EngineRefusedError: this engine cannot serve the request, with the reason.
        """
        ...


class EngineRefusedError(Exception):
    """An engine cannot do what it is asked for.

    Attributes:
        reason: one line for the client.
        kind: `unsupported` (never), `capacity` (not now) or `broken` (the engine's own fault).
    """

    def __init__(self, reason: str, *, kind: Literal["unsupported", "capacity", "broken"]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        # The default calls the class with `args` alone, without the kind that it requires.
        return functools.partial(type(self), kind=self.kind), self.args, self.__dict__
