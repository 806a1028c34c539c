"""The time from `client.session()` until the task is open: on a new connection, and on one from the pool.

Sessions are opened one after the other, and each one is finished properly. `ready_*` is the time until the task is
open; the server confirms it at once. `connections` is the number of connections that the server counted for these
sessions; the very first session pays for objects that are made once and is left out. `ours-unpooled` is the same client
with `Pool(max_idle=0)`, `thin` a client on `websockets` alone.

    python benchmarks/bench_connect.py --sessions 200
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from load import plots
from load.comparison import Case, Row, compare, comparison_parser
from load.harness import run_job
from load.jobs import ConnectTimes
from load.report import Target, finish


def measure(case: Case, *, loop: str) -> Row:
    """Measure one case once."""
    job = ConnectTimes(peer=case.peer, loop=loop, sessions=case.sessions)
    figures = run_job(job, scheme=case.scheme, start_delay_ms=0)
    return {
        **{f"ready_{name}": value for name, value in figures["ready"].items()},
        "connections": figures["server_total"]["connections"] - 1,
    }


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Yield the project's targets that these rows can check."""
    for row in rows:
        if row["peer"] == "ours":
            what = f"handshakes of {row['sessions']} pooled starts over {row['scheme']}"
            yield Target(what=what, value=row.get("connections"), at_most=0)


def main() -> None:
    """Parse the arguments, measure, print the report."""
    peers = ["ours", "ours-unpooled", "thin"]
    arguments = comparison_parser(__doc__, peers=peers, sessions=[200], schemes=["ws", "wss"]).parse_args()
    rows = compare(arguments, lambda case: measure(case, loop=arguments.loop), worst=("connections",))
    report = finish(__file__, arguments, rows, targets(rows))
    if arguments.plot:
        plots.bars(report, y="ready_p50_ms")


if __name__ == "__main__":
    main()
