"""The memory of a session: open and idle, and while it streams, over ws and over wss.

Counted is the memory that the client's process shares with no other process (`Private_*` of
`/proc/self/smaps_rollup`), after a garbage collection, minus the same with ten sessions opened before, which pay for
imports and for allocations that are made once. Linux only.

Streaming sessions receive frames with memory of their own, as from a microphone. So the figure includes the audio that
a session keeps for a replay; a final result arrives every second. The kernel's memory of a socket is not included.

    python benchmarks/bench_memory.py --sessions 200 500
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from load import plots
from load.comparison import Case, Row, compare, comparison_parser
from load.harness import run_job
from load.jobs import MemoryUse
from load.report import Target, finish

IDLE_KIB = {"ws": 20, "wss": 64}


def measure(case: Case, *, loop: str, seconds: float) -> Row:
    """Measure one case once."""
    job = MemoryUse(peer=case.peer, loop=loop, sessions=case.sessions, seconds=seconds)
    figures = run_job(job, scheme=case.scheme)
    return {"idle_kib": figures["idle_kib_per_session"], "active_kib": figures["active_kib_per_session"]}


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Yield the project's targets that these rows can check."""
    for row in rows:
        if row["peer"] == "ours":
            what = f"KiB per idle session, {row['sessions']} sessions over {row['scheme']}"
            yield Target(what=what, value=row.get("idle_kib"), at_most=IDLE_KIB[row["scheme"]])


def main() -> None:
    """Parse the arguments, measure, print the report."""
    peers = ["ours", "thin", "aiohttp", "floor", "official"]
    parser = comparison_parser(__doc__, peers=peers, sessions=[200, 500], schemes=["ws", "wss"])
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="streamed before the memory is read again (default: %(default)s)"
    )
    arguments = parser.parse_args()
    rows = compare(arguments, lambda case: measure(case, loop=arguments.loop, seconds=arguments.seconds))
    report = finish(__file__, arguments, rows, targets(rows))
    if arguments.plot:
        plots.bars(report, y="idle_kib")
        plots.bars(report, y="active_kib")


if __name__ == "__main__":
    main()
