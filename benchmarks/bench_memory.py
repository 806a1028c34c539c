"""What a session holds: open and idle, and while it streams, over ws and over wss.

Counted is the memory that the client's process shares with nobody (`Private_*` of `/proc/self/smaps_rollup`), after a
garbage collection, less that with ten sessions before, which pay for what is imported and allocated once. Linux only.

Streaming sessions get frames with memory of their own, as from a microphone: what a session keeps of its audio, to send
it again on another connection, is in the figure; a final result comes every second. What the kernel holds for a socket
is not in it.

    python benchmarks/bench_memory.py --sessions 200 500
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from load import plots
from load.comparison import Case, Row, compare, comparison_parser
from load.harness import run
from load.jobs import Memory
from load.report import Target, finish

IDLE_KIB = {"ws": 20, "wss": 64}


def measure(case: Case, *, loop: str) -> Row:
    """Measure once."""
    figures = run(Memory(peer=case.peer, loop=loop, sessions=case.sessions), scheme=case.scheme)
    return {"idle_kib": figures["idle_kib_per_session"], "active_kib": figures["active_kib_per_session"]}


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """What of the project's numbers these rows can tell."""
    for row in rows:
        if row["peer"] == "ours":
            what = f"KiB per idle session, {row['sessions']} sessions over {row['scheme']}"
            yield Target(what=what, value=row.get("idle_kib"), at_most=IDLE_KIB[row["scheme"]])


def main() -> None:
    """Read the arguments, measure, print."""
    peers = ["ours", "thin", "aiohttp", "floor", "official"]
    arguments = comparison_parser(__doc__, peers=peers, sessions=[200, 500], schemes=["ws", "wss"]).parse_args()
    rows = compare(arguments, lambda case: measure(case, loop=arguments.loop))
    report = finish(__file__, arguments, rows, targets(rows))
    if arguments.plot:
        plots.bars(report, y="idle_kib")
        plots.bars(report, y="active_kib")


if __name__ == "__main__":
    main()
