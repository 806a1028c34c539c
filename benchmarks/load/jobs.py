"""Jobs for a child process, as JSON on its command line."""

from __future__ import annotations

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True, tag_field="job"):
    """A measurement of one peer, made in an event loop of its own."""

    peer: str
    url: str = ""
    """URL of the load server; the harness sets it."""
    loop: str = "asyncio"


class SteadyLoad(Job, frozen=True, kw_only=True, tag="steady"):
    """Stream with all sessions side by side, and measure while all of them are running."""

    sessions: int
    seconds: float
    warm_up_s: float = 1.0
    """Time that all sessions run before the measurement begins."""
    gc_threshold: int | None = None
    """Number of new objects after which Python collects garbage; None for Python's default."""


class MemoryUse(Job, frozen=True, kw_only=True, tag="memory"):
    """Open sessions, then stream with them, and measure the memory that each one adds."""

    sessions: int
    seconds: float = 4.0
    """Time that each session streams before the memory is read."""


class ConnectTimes(Job, frozen=True, kw_only=True, tag="connects"):
    """Open one session after the other, finish each one properly, and measure how long each opening takes."""

    sessions: int


AnyJob = SteadyLoad | MemoryUse | ConnectTimes
