"""Drawings of a report, in a folder that git ignores; matplotlib is imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .harness import BENCHMARKS

if TYPE_CHECKING:
    from .report import Report

FOLDER = BENCHMARKS / "plots"


def lines(report: Report, *, x: str, y: str) -> None:
    """One line per peer and scheme, both axes logarithmic."""

    def draw(axes: Any) -> None:
        groups: dict[str, list[tuple[float, float]]] = {}
        for row in report.rows:
            if y in row:
                groups.setdefault(f"{row['peer']}, {row['scheme']}", []).append((row[x], row[y]))
        for label, points in groups.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
        axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
        axes.legend()

    _save(report, y, draw)


def bars(report: Report, *, y: str) -> None:
    """One bar per row."""
    rows = [row for row in report.rows if y in row]

    def draw(axes: Any) -> None:
        axes.barh([f"{row['peer']}, {row['scheme']}, {row['sessions']}" for row in rows], [row[y] for row in rows])
        axes.set(xlabel=y)

    _save(report, y, draw)


def _save(report: Report, name: str, draw: Callable[[Any], None]) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 - only for who wants drawings

    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(report.benchmark)
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / f"{report.benchmark}_{name}.svg")
