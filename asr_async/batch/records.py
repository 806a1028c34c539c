"""The values of a manifest: sources, leases, rows, totals and outcomes.

Does not know databases, files or sessions.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ..config import NamedSettings
from ..errors import ConfigurationError

__all__ = [
    "Added",
    "BatchOutcome",
    "BatchProgress",
    "Budget",
    "Figures",
    "FinalState",
    "Lease",
    "Pause",
    "Row",
    "RowState",
    "RunRecord",
    "SourceEntry",
    "Stopped",
]

RowState: TypeAlias = Literal["todo", "leased", "done", "failed", "poison"]
"""todo: to be transcribed; leased: a worker transcribes it; done: its output is written; failed: given up after some
attempts; poison: no attempt can succeed, such as a file that is no audio."""

FinalState: TypeAlias = Literal["done", "failed", "poison"]
"""The states that a row keeps."""


class Budget(msgspec.Struct, frozen=True, kw_only=True, metaclass=NamedSettings):
    """The most that a run may bill, in all of its processes and restarts together.

    A source is not begun once the billed seconds, and the lengths of the sources that are being transcribed, have
    reached the budget: so a run exceeds it by less than one source. What may have been billed for a killed worker's
    source counts too.

    Args:
        billed_s: seconds of audio; None sets no limit.
        yuan: money, by the list price of the model in mainland China (`ModelInfo.yuan_per_second`); None sets no limit.
            Where another price applies, set `billed_s`.

    Raises:
        ConfigurationError: not exactly one of the two is a positive number.
    """

    billed_s: float | None = None
    yuan: float | None = None

    def __post_init__(self) -> None:
        values = [value for value in (self.billed_s, self.yuan) if value is not None]
        if len(values) != 1 or not isinstance(values[0], int | float) or not values[0] > 0:
            raise ConfigurationError(
                f"Budget(billed_s={self.billed_s!r}, yuan={self.yuan!r}): one of them must be a positive number"
            )


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that all processes of a run share, and that stay the same when it is continued."""

    options: dict[str, object]
    """The name of the class of the options, and their fields."""
    output: str
    """The folder of the outputs."""
    format: str
    """The format of the outputs."""


class SourceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One source as it is found before the run."""

    source: str
    """A path, or a URL."""
    output: str
    """The path of its output, below the folder of the outputs."""
    size_bytes: int | None
    """None if it is not known."""
    version: str
    """The time of the last change, or the ETag; empty if it is not known."""


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """The result of adding sources to a manifest."""

    new: int
    known: int
    changed: tuple[str, ...]
    """The finished sources that have changed since; their rows are failed now, with their outputs kept."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The seconds of one attempt."""

    audio_s: float = 0.0
    """The audio that was sent, once."""
    billed_s: float = 0.0
    """The vendor's count, or what was sent, with silence and replayed audio."""
    missing_s: float = 0.0
    """The audio that the transcript lacks: its gaps."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A row that a worker has claimed. It belongs to the worker until it is settled, or not renewed in time."""

    row_id: int
    source: str
    output: str
    size_bytes: int | None
    version: str
    worker: str
    claims: int
    """The number of times that the row was claimed, which tells this lease from earlier ones."""
    attempts: int
    """The failed attempts before this lease."""
    losses: int
    """The workers that died, or stalled, while they had a lease of this row."""
    sha256: str | None
    """The hash of an output that an earlier lease wrote; None if there is none."""
    figures: Figures
    """The figures of that output."""


class Pause(msgspec.Struct, frozen=True):
    """The answer to a claim while no row is due."""

    seconds: float
    """The time until the next row is due, as far as it is known now."""


class Stopped(msgspec.Struct, frozen=True):
    """The answer to a claim when there is no more work."""

    reason: Literal["finished", "budget", "error"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a manifest."""

    source: str
    output: str
    state: RowState
    size_bytes: int | None
    version: str
    attempts: int
    losses: int
    audio_s: float
    billed_s: float
    missing_s: float
    sha256: str | None
    """The hash of the output."""
    error_class: str | None
    error: str | None


class BatchOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one source: its output is written, or the reason why not is known.

    A run yields one for each source that it settles; those of an earlier run are in the manifest.
    """

    source: str
    """A path, or a URL."""
    state: FinalState
    output: str
    """The path of the output. Nothing is there unless the state is done."""
    attempts: int = 0
    """The failed attempts."""
    audio_s: float = 0.0
    billed_s: float = 0.0
    """What this run billed for it, failed attempts included."""
    missing_s: float = 0.0
    """The audio that the transcript lacks: its gaps."""
    error_class: str | None = None
    """The name of the class of the error; None if the state is done."""
    error: str | None = None


class BatchProgress(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a run: its rows by state, and its seconds."""

    done: int = 0
    failed: int = 0
    poison: int = 0
    running: int = 0
    """The rows that are leased now."""
    waiting: int = 0
    """The rows that are still to be transcribed."""
    audio_s: float = 0.0
    """The audio of the sources that are done."""
    billed_s: float = 0.0
    """The seconds that are billed, those of failed attempts and killed workers included."""
    wasted_s: float = 0.0
    """The part of them that gave no output: failed attempts, and the sources of killed workers, which may have been
    billed."""
    reserved_s: float = 0.0
    """The lengths of the sources that are being transcribed."""
    missing_s: float = 0.0
    """The audio that the transcripts lack."""
    elapsed_s: float = 0.0
    """The time since this process began to work on the run."""
    remaining_s: float | None = None
    """The estimated time until the run ends, by the speed of this run; None as long as nothing is done."""
    stopped: Literal["finished", "budget", "error"] | None = None
    """The reason why the run ended; None while it runs, and if it was interrupted."""

    @property
    def total(self) -> int:
        """The number of all sources."""
        return self.done + self.failed + self.poison + self.running + self.waiting
