r"""The kept figure: CPU time of a session-second by the number of sessions, this library beside its peers.

It is drawn from a report of `bench_sessions.py`, which is kept beside it. Measure and draw anew with

    python benchmarks/bench_sessions.py --peers ours thin floor official --sessions 50 100 300 1000 \
        --runs 3 --seconds 5 --json > benchmarks/figures/cost.json && python benchmarks/draw_figure.py

on a machine that does nothing else. Needs matplotlib. The same report gives the same SVG.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from load import plots
from load.comparison import cost_ms
from load.harness import BENCHMARKS
from load.report import Report

if TYPE_CHECKING:
    from collections.abc import Mapping

    Point = tuple[int, float]

REPORT = BENCHMARKS / "figures" / "cost.json"


class Series(msgspec.Struct, frozen=True):
    """Label and colour of a peer's line."""

    label: str
    colour: str
    is_emphasised: bool = False


SERIES = {
    "ours": Series("this library", "#0b5cad", is_emphasised=True),
    "thin": Series("thin client (websockets)", "#b45309"),
    "aiohttp": Series("thin client (aiohttp)", "#7c3aed"),
    "floor": Series("floor (bare asyncio)", "#57606a"),
    "official": Series("official SDK", "#b42318"),
}
"""The peers in the figure, in colours that stay apart for colour-blind readers and have contrast on white."""

TICKS_MS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)

SIZE_INCHES = (8, 4.8)
AXES = (0.085, 0.2, 0.56, 0.62)
"""Left, bottom, width and height of the plot, as fractions of the figure; the labels need the space at its right."""

LABEL_INCHES = 0.2
"""Height of a label, with the space between two of them."""

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    # Text stays text. The first font is the one that matplotlib brings along, for the same layout on every machine.
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "font.size": 10,
    "axes.edgecolor": "#8c959f",
    "axes.labelcolor": "#424a53",
    "xtick.color": "#424a53",
    "ytick.color": "#424a53",
    "text.color": "#1f2328",
}


def points_of(report: Report) -> dict[str, list[Point]]:
    """Return (sessions, CPU ms) of each peer over ws, without the loads with which the peer did not keep up."""
    points: dict[str, list[Point]] = {}
    for row in report.rows:
        cost = cost_ms(row)
        if row["scheme"] == "ws" and row["peer"] in SERIES and cost is not None:
            points.setdefault(row["peer"], []).append((row["sessions"], cost))
    return points


def limits_ms(points: Mapping[str, list[Point]]) -> tuple[float, float]:
    """Return the ends of the vertical axis."""
    costs = [cost for line in points.values() for _, cost in line]
    return min(costs) / 1.3, max(costs) * 1.3


def separated(costs: Mapping[str, float], ratio: float) -> dict[str, float]:
    """Return the costs, raised where needed so that each one is at least `ratio` times the next lower one."""
    lowest = 0.0
    positions: dict[str, float] = {}
    for peer, cost in sorted(costs.items(), key=lambda item: item[1]):
        positions[peer] = max(cost, lowest)
        lowest = positions[peer] * ratio
    return positions


def note_of(report: Report) -> str:
    """Return the conditions of the measurement, and the reason why a line is short."""
    versions, runs = report.versions, report.arguments["runs"]
    note = (
        f"{f'Median of {runs} runs' if runs > 1 else 'One run'} of {report.arguments['seconds']:g} s. "
        "100 ms frames in real time, ten words every 500 ms. "
        f"CPython {versions['CPython']}, {versions['loop']} event loop, {versions['processors']} processors."
    )
    if any(row["scheme"] == "ws" and row["peer"] in SERIES and cost_ms(row) is None for row in report.rows):
        note += "\nA line ends where its client does not keep up."
    return note


def figure_of(report: Report) -> Any:
    """Return the figure of a report, as a matplotlib figure with a fixed layout."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import, and not needed for --help

    points = points_of(report)
    figure = Figure(figsize=SIZE_INCHES, facecolor="white")
    axes = figure.add_axes(AXES)
    for peer, line in points.items():
        _draw_line(axes, peer, line)
    _label_lines(axes, points)
    _scale(axes, points)
    figure.text(0.02, 0.93, "CPU time of one live session, per second of audio", fontsize=13, fontweight="bold")
    figure.text(
        0.02, 0.87, "user and system time of the client's process, all threads; both axes logarithmic", color="#57606a"
    )
    figure.text(0.02, 0.025, note_of(report), fontsize=8, color="#57606a")
    return figure


def _draw_line(axes: Any, peer: str, line: list[Point]) -> None:
    series = SERIES[peer]
    axes.plot(
        *zip(*line, strict=True),
        color=series.colour,
        linewidth=2.8 if series.is_emphasised else 1.6,
        marker="o",
        markersize=6 if series.is_emphasised else 4.5,
        zorder=3 if series.is_emphasised else 2,
        clip_on=False,
        gid=peer,
    )


def _label_lines(axes: Any, points: Mapping[str, list[Point]]) -> None:
    """Write each label at the right end of its line; a single point may be far to the left, and has its load in it."""
    most = max(sessions for line in points.values() for sessions, _ in line)
    at_edge = {peer: line[-1][1] for peer, line in points.items() if line[-1][0] == most}
    lowest, highest = limits_ms(points)
    heights = separated(at_edge, (highest / lowest) ** (LABEL_INCHES / (AXES[3] * SIZE_INCHES[1])))
    for peer, line in points.items():
        series, (sessions, cost) = SERIES[peer], line[-1]
        suffix = "" if peer in at_edge else f", {sessions} sessions"
        axes.annotate(
            f"{series.label} {cost:.2g} ms{suffix}",
            xy=(sessions, heights.get(peer, cost)),
            xytext=(10, 0),
            textcoords="offset points",
            verticalalignment="center",
            color=series.colour,
            fontweight="bold" if series.is_emphasised else "normal",
            annotation_clip=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},  # covers the grid
        )


def _scale(axes: Any, points: Mapping[str, list[Point]]) -> None:
    loads = sorted({sessions for line in points.values() for sessions, _ in line})
    lowest, highest = limits_ms(points)
    axes.set(xscale="log", yscale="log", xlim=(loads[0] / 1.12, loads[-1] * 1.03), ylim=(lowest, highest))
    axes.set_xticks(loads, [f"{sessions:,}" for sessions in loads])
    shown_ms = [tick for tick in TICKS_MS if lowest <= tick <= highest]
    axes.set_yticks(shown_ms, [f"{tick:g} ms" for tick in shown_ms])
    axes.minorticks_off()
    axes.set_xlabel("sessions in one process")
    axes.grid(visible=True, axis="y", color="#d8dee4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw(report_path: Path, svg_path: Path) -> None:
    """Draw the figure of a kept report.

    Raises:
        SystemExit: the file is not a report of `bench_sessions.py`, or none of its rows can be drawn.
    """
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and not needed for --help

    try:
        report = msgspec.json.decode(report_path.read_bytes(), type=Report)
    except msgspec.DecodeError as error:
        raise SystemExit(f"{report_path} is not a report of bench_sessions.py: {error}") from error
    if report.benchmark != "bench_sessions":
        raise SystemExit(f"{report_path} is not a report of bench_sessions.py, but of {report.benchmark}.py")
    if not points_of(report):
        raise SystemExit(f"{report_path} has no load over ws with which a peer kept up: measure with fewer sessions")
    with mpl.rc_context(STYLE):
        plots.save(figure_of(report), svg_path)


def main() -> None:
    """Parse the arguments and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="?", type=Path, default=REPORT, help="default: benchmarks/figures/cost.json")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: the report's name with .svg")
    arguments = parser.parse_args()
    draw(arguments.report, arguments.output or arguments.report.with_suffix(".svg"))


if __name__ == "__main__":
    main()
