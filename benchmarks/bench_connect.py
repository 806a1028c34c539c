"""How long from `client.session()` until the vendor is ready: on a new connection, and on one that waited in the pool.

One session after the other, each ended properly. `ready_*` is the time until the task is open; the server answers at
once. `connections` is how many connections the server saw for these sessions, the first of all left out, which pays for
what is made once. `ours-unpooled` is the same client with `Pool(max_idle=0)`, `thin` a client on `websockets` alone.

    python benchmarks/bench_connect.py --sessions 200
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from load import plots
from load.comparison import Case, Row, compare, comparison_parser
from load.harness import run
from load.jobs import Connects
from load.report import Target, finish


def measure(case: Case, *, loop: str) -> Row:
    """Measure once."""
    job = Connects(peer=case.peer, loop=loop, sessions=case.sessions)
    figures = run(job, scheme=case.scheme, start_delay_ms=0)
    return {
        **{f"ready_{name}": value for name, value in figures["ready"].items()},
        "connections": figures["server_total"]["connections"] - 1,
    }


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """What of the project's numbers these rows can tell."""
    for row in rows:
        if row["peer"] == "ours":
            what = f"handshakes of {row['sessions']} pooled starts over {row['scheme']}"
            yield Target(what=what, value=row.get("connections"), at_most=0)


def main() -> None:
    """Read the arguments, measure, print."""
    peers = ["ours", "ours-unpooled", "thin"]
    arguments = comparison_parser(__doc__, peers=peers, sessions=[200], schemes=["ws", "wss"]).parse_args()
    rows = compare(arguments, lambda case: measure(case, loop=arguments.loop), worst=("connections",))
    report = finish(__file__, arguments, rows, targets(rows))
    if arguments.plot:
        plots.bars(report, y="ready_p50_ms")


if __name__ == "__main__":
    main()
