"""What a live session costs, and how many of them one core bears.

Every session sends 100 ms frames of 16 kHz PCM in real time and gets a result of ten words every 500 ms. Each peer runs
in a process of its own, against a server in another; the peers take turns. Measured is only the time in which all
sessions run: without opening and closing.

- `cpu_ms`: user and system time of the client's process, all its threads, per session and second: per second of audio
  that arrived, so that who does not keep up is not cheap.
- `per_core`: how many sessions that makes on one core, reckoned; try it with `--sessions`.
- `late_*`: how far behind its schedule a frame arrived at the server; the same for every peer, since no peer is asked.
- `frames`: the share of the due frames that came. Below 1 the client did not keep up, or the server (`server_cpu`).

    python benchmarks/bench_sessions.py --sessions 50 200 300 1000 4000
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from load import plots
from load.comparison import Case, Row, compare, comparison_parser
from load.harness import run
from load.jobs import Steady
from load.messages import FRAME_MS
from load.report import Target, finish

KEEPS_UP = 0.98
"""With a smaller share of the due frames there is no steady state to measure."""


def measure(case: Case, *, seconds: float, loop: str, gc_threshold: int | None) -> Row:
    """Measure once."""
    job = Steady(peer=case.peer, loop=loop, sessions=case.sessions, seconds=seconds, gc_threshold=gc_threshold)
    figures = run(job, scheme=case.scheme)
    server = figures["server"]
    audio_s = server["frames"] * FRAME_MS / 1_000
    cpu_ms = 1_000 * figures["cpu_s"] / audio_s
    return {
        "cpu_ms": round(cpu_ms, 4),
        "per_core": round(1_000 / cpu_ms),
        **{f"late_{name}": value for name, value in server["lateness"].items()},
        "frames": round(audio_s / (case.sessions * figures["elapsed_s"]), 3),
        "threads": figures["threads_per_session"],
        "server_cpu": server["server_cpu_share"],
    }


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """What of the project's numbers these rows can tell."""
    for scheme in dict.fromkeys(row["scheme"] for row in rows):
        costs = {(row["peer"], row["sessions"]): _cost(row) for row in rows if row["scheme"] == scheme}
        yield from _cost_targets(costs, scheme)
    for row in rows:
        if row["peer"] == "ours":
            what = f"{row['sessions']} sessions over {row['scheme']}"
            yield Target(what=f"threads per session, {what}", value=row.get("threads"), at_most=0)
            yield Target(what=f"p99 lateness in ms, {what}", value=row.get("late_p99_ms"), at_most=20)


def _cost_targets(costs: dict[tuple[str, int], float | None], scheme: str) -> Iterator[Target]:
    """Ours beside the floor with as many sessions, the official SDK with the most it was asked for, and our fewest."""
    ours = {sessions: cost for (peer, sessions), cost in costs.items() if peer == "ours"}
    fewest = min(ours, default=0)
    official = max((sessions for peer, sessions in costs if peer == "official"), default=0)
    for sessions, cost in ours.items():
        what = f"CPU per session-second, {sessions} sessions over {scheme}, times"
        if ("floor", sessions) in costs:
            yield Target(what=f"{what} the floor", value=_ratio(cost, costs["floor", sessions]), at_most=1.5)
        if official:
            ratio = _ratio(cost, costs["official", official])
            yield Target(what=f"{what} that of {official} of the official SDK", value=ratio, at_most=round(1 / 12, 3))
        if fewest < sessions <= 1_000:
            yield Target(what=f"{what} that of {fewest}", value=_ratio(cost, ours[fewest]), at_most=1.2)


def _cost(row: Row) -> float | None:
    """None where the peer did not keep up."""
    return row["cpu_ms"] if row.get("frames", 0) >= KEEPS_UP else None


def _ratio(cost: float | None, other: float | None) -> float | None:
    return None if cost is None or other is None else round(cost / other, 3)


def main() -> None:
    """Read the arguments, measure, print."""
    parser = comparison_parser(
        __doc__, peers=["ours", "thin", "aiohttp", "floor", "official"], sessions=[50, 200, 300, 1_000, 4_000]
    )
    parser.add_argument("--seconds", type=float, default=10, help="that are measured (default: %(default)s)")
    parser.add_argument(
        "--gc-threshold", type=int, metavar="N", help="new objects before the clients look for garbage (Python's: 700)"
    )
    arguments = parser.parse_args()
    rows = compare(
        arguments,
        lambda case: measure(case, seconds=arguments.seconds, loop=arguments.loop, gc_threshold=arguments.gc_threshold),
        worst=("threads",),
    )
    report = finish(__file__, arguments, rows, targets(rows))
    if arguments.plot:
        plots.lines(report, x="sessions", y="cpu_ms")
        plots.lines(report, x="sessions", y="late_p99_ms")


if __name__ == "__main__":
    main()
