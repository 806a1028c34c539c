"""How long a result takes from the server's send to the caller, with many sessions in one process.

The server puts the instant of sending into each result's text; all processes of a machine read the same monotonic
clock. Every session sends 100 ms frames of 16 kHz PCM in real time and gets a result of ten words every 500 ms. Each
peer runs in a process of its own; they take turns. `missing` counts the final results that were sent and never handed
over, from the first one to the confirmed end; an interim may be overtaken by the next one.

    python benchmarks/bench_latency.py --sessions 200
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from load import plots
from load.comparison import Case, Row, compare, comparison_parser
from load.harness import run
from load.jobs import Steady
from load.report import Target, finish


def measure(case: Case, *, seconds: float, loop: str) -> Row:
    """Measure once."""
    job = Steady(peer=case.peer, loop=loop, sessions=case.sessions, seconds=seconds)
    figures = run(job, scheme=case.scheme)
    return {
        **{f"delay_{name}": value for name, value in figures["delay"].items()},
        "missing": figures["server_total"]["finals"] - figures["finals"],
    }


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """What of the project's numbers these rows can tell."""
    for row in rows:
        if row["peer"] == "ours":
            what = f"{row['sessions']} sessions over {row['scheme']}"
            yield Target(what=f"delivery p50 in ms, {what}", value=row.get("delay_p50_ms"), at_most=2)
            yield Target(what=f"delivery p99 in ms, {what}", value=row.get("delay_p99_ms"), at_most=10)
            yield Target(what=f"final results missing, {what}", value=row.get("missing"), at_most=0)


def main() -> None:
    """Read the arguments, measure, print."""
    parser = comparison_parser(__doc__, peers=["ours", "thin", "aiohttp", "official"], sessions=[200])
    parser.add_argument("--seconds", type=float, default=10, help="that are measured (default: %(default)s)")
    arguments = parser.parse_args()
    rows = compare(
        arguments, lambda case: measure(case, seconds=arguments.seconds, loop=arguments.loop), worst=("missing",)
    )
    report = finish(__file__, arguments, rows, targets(rows))
    if arguments.plot:
        plots.lines(report, x="sessions", y="delay_p99_ms")


if __name__ == "__main__":
    main()
