"""The delay of a result from the server's send to the caller, with many sessions in one process.

The server writes the instant of sending into each result's text; all processes of a machine read the same monotonic
clock. Every session sends 100 ms frames of 16 kHz PCM in real time and receives a result of ten words every 500 ms.
Each peer runs in a process of its own, one after the other. `missing` counts the final results that were sent and never
delivered, from the first one to the confirmed end; an interim may be replaced by the next one.

    python benchmarks/bench_latency.py --sessions 200
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from load import plots
from load.comparison import Case, Row, add_duration_options, compare, comparison_parser, steady_load
from load.harness import run_job
from load.report import Target, finish


def measure(case: Case, arguments: argparse.Namespace) -> Row:
    """Measure one case once."""
    figures = run_job(steady_load(case, arguments), scheme=case.scheme)
    return {
        **{f"delay_{name}": value for name, value in figures["delay"].items()},
        "missing": figures["server_total"]["finals"] - figures["finals"],
    }


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Yield the project's targets that these rows can check."""
    for row in rows:
        if row["peer"] == "ours":
            what = f"{row['sessions']} sessions over {row['scheme']}"
            yield Target(what=f"delivery p50 in ms, {what}", value=row.get("delay_p50_ms"), at_most=2)
            yield Target(what=f"delivery p99 in ms, {what}", value=row.get("delay_p99_ms"), at_most=10)
            yield Target(what=f"final results missing, {what}", value=row.get("missing"), at_most=0)


def main() -> None:
    """Parse the arguments, measure, print the report."""
    parser = comparison_parser(__doc__, peers=["ours", "thin", "aiohttp", "face", "official"], sessions=[200])
    add_duration_options(parser)
    arguments = parser.parse_args()
    rows = compare(arguments, lambda case: measure(case, arguments), worst=("missing",))
    report = finish(__file__, arguments, rows, targets(rows))
    if arguments.plot:
        plots.lines(report, x="sessions", y="delay_p99_ms")


if __name__ == "__main__":
    main()
