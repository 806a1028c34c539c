"""Plots of a report as SVG files. Only this module imports matplotlib, and only when it draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .harness import BENCHMARKS

if TYPE_CHECKING:
    from .report import Report

FOLDER = BENCHMARKS / "plots"
"""Ignored by git; the figure that is kept is in `benchmarks/figures`."""


def lines(report: Report, *, x: str, y: str) -> None:
    """Draw one line per peer and scheme; both axes are logarithmic."""

    def draw(axes: Any) -> None:
        for label, points in points_by_label(report.rows, x=x, y=y).items():
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
        axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
        axes.legend()

    _plot(report, y, draw)


def bars(report: Report, *, y: str) -> None:
    """Draw one bar per row."""
    rows = [row for row in report.rows if y in row]

    def draw(axes: Any) -> None:
        axes.barh([f"{row['peer']}, {row['scheme']}, {row['sessions']}" for row in rows], [row[y] for row in rows])
        axes.set(xlabel=y)

    _plot(report, y, draw)


def points_by_label(rows: list[dict[str, Any]], *, x: str, y: str) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each peer and scheme, without the rows that have no `y` because the peer failed."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if y in row:
            points.setdefault(f"{row['peer']}, {row['scheme']}", []).append((row[x], row[y]))
    return points


def save(figure: Any, path: Path) -> None:
    """Write a figure as SVG, with text as text; the same figure gives the same bytes."""
    import matplotlib as mpl  # noqa: PLC0415 - needed to draw, not to measure

    with mpl.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none"}):
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _plot(report: Report, name: str, draw: Callable[[Any], None]) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 - needed to draw, not to measure

    figure = Figure(layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(report.benchmark)
    save(figure, FOLDER / f"{report.benchmark}_{name}.svg")
