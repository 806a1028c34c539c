"""The description of the work of a batch, which an engine gives to its workers."""

from __future__ import annotations

from typing import Literal

from .._text.secret import ShownByRepr
from ..config import Limits, Retry, Timeouts
from ..vendors.options import Options
from ..vendors.service import Service
from .manifest import LEASE_S

__all__ = ["Work"]


class Work(ShownByRepr, frozen=True, kw_only=True):
    """All that a worker needs to know; it finds the sources in the manifest.

    It can be pickled if the service and the URL of the manifest hold no secret: then a process on another machine reads
    the keys from its own environment.
    """

    manifest: str
    """The path or the URL of the manifest."""
    options: Options
    service: Service | None
    """None is the service of the options' vendor."""
    output: str
    """The folder of the outputs."""
    format: str
    attempts: int
    """The most attempts for one source."""
    budget_s: float | None
    """The most seconds that the run may bill."""
    limits: Limits
    timeouts: Timeouts
    retry: Retry
    pace: float | None
    channel: Literal["mix", "left", "right"] | int = "mix"
    """The channel that is recognised, and the sound track of files with several; see `read_audio`."""
    track: int | None = None
    lease_s: float = LEASE_S
    """The time for which a source belongs to its worker without a renewal."""

    def __repr__(self) -> str:
        return f"<Work {self.options.model} for {self.output}>"
