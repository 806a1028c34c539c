"""The cost of telemetry: CPU per session-second with observers, beside the same sessions without any.

The load is that of `bench_sessions.py`: every session sends 100 ms frames in real time, and receives a final each
second. In each run all cases are measured alternately, each in a process of its own, and compared with the case without
observers of the same run. The shares are new divided by old: 1.05 is 5 % more CPU.

- `none`: `observers=()`.
- `observer`: an observer of a program's own that counts finals.
- `opentelemetry`: `OpenTelemetryObserver` with OpenTelemetry's SDK, its in-memory span exporter and metric reader.

`share` is the median of the runs, between `lowest` and `highest`. Opening and closing are outside of the measured time,
and with them the span: what is measured is the running session.

    python benchmarks/bench_telemetry.py --sessions 100 300
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence

from bench_sessions import measure
from load.comparison import Case, Row, add_duration_options, cost_ms
from load.report import Target, argument_parser, finish

PEERS = {"none": "ours", "observer": "ours-observed", "opentelemetry": "ours-otel"}
"""Telemetry → the peer that has it; the first one is what the others are compared with."""

Costs = dict[str, float | None]


def measure_run(sessions: int, run: int, arguments: argparse.Namespace) -> Costs:
    """Measure each case once; every second run in the opposite order, since a machine may change its speed."""
    names = list(PEERS) if run % 2 == 0 else list(PEERS)[::-1]
    costs = {name: cost_ms(measure(Case("ws", sessions, PEERS[name]), arguments)) for name in names}
    return {name: costs[name] for name in PEERS}


def rows_of(sessions: int, runs: Sequence[Costs]) -> Iterator[Row]:
    """Yield a row for each case; without a cost or a share, if a client did not keep up."""
    for name in PEERS:
        costs = [cost for run in runs if (cost := run[name]) is not None]
        shares = [cost / base for run in runs if (cost := run[name]) is not None and (base := run["none"]) is not None]
        row: Row = {"telemetry": name, "sessions": sessions}
        if costs:
            row["cpu_ms"] = round(statistics.median(costs), 4)
        if shares:
            share, lowest, highest = statistics.median(shares), min(shares), max(shares)
            row |= {"share": round(share, 3), "lowest": round(lowest, 3), "highest": round(highest, 3)}
        yield row


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Yield the project's targets that these rows can check."""
    for row in rows:
        if row["telemetry"] == "opentelemetry":
            what = f"CPU per session-second with OpenTelemetry, {row['sessions']} sessions, times that without"
            yield Target(what=what, value=row.get("share"), at_most=1.05)


def main() -> None:
    """Parse the arguments, measure, print the report."""
    parser = argument_parser(__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[100, 300], metavar="N", help="default: %(default)s")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio", help="default: %(default)s")
    add_duration_options(parser)
    parser.set_defaults(gc_threshold=None)
    arguments = parser.parse_args()
    rows: list[Row] = []
    for sessions in arguments.sessions:
        rows += rows_of(sessions, [measure_run(sessions, run, arguments) for run in range(arguments.runs)])
    finish(__file__, arguments, rows, targets(rows))


if __name__ == "__main__":
    main()
