"""The interface of a recognition engine: it converts audio to hypotheses and knows no protocol.

The emulated protocols check order, keys and parameters, decode the audio, and convert an engine's hypotheses to a
vendor's messages. An engine receives 16-bit mono samples only.
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
    """The present text of one utterance; each hypothesis replaces the one before it, until one is final.

    Utterances follow one another: the first hypothesis after a final one begins the next utterance.
    """

    text: str
    is_final: bool
    start_ms: int
    end_ms: int
    words: tuple[HypothesisWord, ...] = ()
    translations: Mapping[str, str] = {}  # msgspec copies an empty default for each instance
    """Language → the text in that language so far, from engines that translate."""
    is_noise: bool = False
    """True for the only hypothesis of a noise: it is never final, and the next hypothesis begins another utterance."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a client's request that an engine receives."""

    sample_rate: int
    languages: tuple[str, ...] = ()
    """Language hints as the client gave them; empty means any."""
    hot_words: tuple[str, ...] = ()
    """Terms to expect, in the spelling of the results."""
    translate_to: tuple[str, ...] = ()
    """Languages to translate into."""
    includes_half_words: bool = False
    """True to recognise each word of which the middle is in the audio, as recognisers of real audio roughly do; False
    to recognise the words that begin in it. Only engines that follow a script use it."""


Emit = Callable[[Hypothesis], Awaitable[None]]
"""Sends a hypothesis to the client; returns when the connection has accepted it."""


class Recognition(Protocol):
    """The recognition of one stream of audio. Calls are made one after the other, never concurrently."""

    @property
    def silent_ms(self) -> int:
        """The audio since speech was last recognised (since the start if there was none), in milliseconds."""
        ...

    @property
    def has_speech(self) -> bool:
        """True if any speech was recognised."""
        ...

    async def feed(self, samples: bytes) -> None:
        """Recognise samples (signed 16-bit little-endian mono, any length, whole samples).

        Returns when the engine is ready for more, so that a busy engine slows its client down.

        Raises:
            EngineRefusedError: the engine failed; the recognition is over.
        """
        ...

    async def finish(self) -> None:
        """Recognise to the end; when this returns, every hypothesis has been emitted."""
        ...

    async def aclose(self) -> None:
        """Release all resources, at any time; idempotent."""
        ...


class Engine(Protocol):
    """A factory of recognitions; an async context manager that owns the resources they share."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def open(self, request: Request, emit: Emit) -> Recognition:
        """Start a recognition.

        Raises:
            EngineRefusedError: this engine cannot serve the request; the text gives the reason.
        """
        ...


class EngineRefusedError(Exception):
    """An engine cannot serve a request.

    Attributes:
        reason: one line, sent to the client.
        kind: `unsupported` (never), `capacity` (not now) or `broken` (the engine's own fault).
    """

    def __init__(self, reason: str, *, kind: Literal["unsupported", "capacity", "broken"]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        # The default calls the class with `args` alone, without the kind that it requires.
        return functools.partial(type(self), kind=self.kind), self.args, self.__dict__
