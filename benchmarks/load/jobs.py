"""What a child process is told to do, and what it says while it does."""

from __future__ import annotations

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True, tag_field="job"):
    """Something to be done with one peer, from an event loop of its own."""

    peer: str
    url: str = ""
    """Where the server is; the harness fills it in."""
    loop: str = "asyncio"


class Steady(Job, frozen=True, kw_only=True, tag="steady"):
    """Stream with all sessions side by side, and measure while all of them run."""

    sessions: int
    seconds: float
    gc_threshold: int | None = None
    """After how many new objects Python looks for garbage; None for its default."""


class Memory(Job, frozen=True, kw_only=True, tag="memory"):
    """Open sessions, then stream with them, and measure what one more of them takes."""

    sessions: int


class Connects(Job, frozen=True, kw_only=True, tag="connects"):
    """Open one session after the other, each ended properly, and measure how long each opening takes."""

    sessions: int
