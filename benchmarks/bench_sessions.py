"""The cost of a live session, and the number of sessions that one core can run.

Every session sends 100 ms frames of 16 kHz PCM in real time and receives a result of ten words every 500 ms. Each peer
runs in a process of its own, one after the other, against a server in another process. Only the time in which all
sessions are running is measured, without opening and closing.

- `cpu_ms`: user and system time of the client's process, all threads included, per session-second: per second of audio
  that arrived, so that a peer does not look cheap because it cannot keep up.
- `per_core`: the number of sessions on one core that follows from `cpu_ms`; check it with `--sessions`.
- `late_*`: the lateness of a frame at the server. The server measures it, in the same way for every peer.
- `frames`: the share of the due frames that arrived. Below 1 the client, or the server (`server_cpu`), did not keep up.

    python benchmarks/bench_sessions.py --sessions 50 200 300 1000 4000
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import msgspec

from load import plots
from load.comparison import Case, Row, add_duration_options, compare, comparison_parser, cost_ms, steady_load
from load.harness import run_job
from load.messages import FRAME_MS
from load.report import Target, finish


def measure(case: Case, arguments: argparse.Namespace) -> Row:
    """Measure one case once."""
    job = msgspec.structs.replace(steady_load(case, arguments), gc_threshold=arguments.gc_threshold)
    figures = run_job(job, scheme=case.scheme)
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
    """Yield the project's targets that these rows can check."""
    for scheme in dict.fromkeys(row["scheme"] for row in rows):
        costs = {(row["peer"], row["sessions"]): cost_ms(row) for row in rows if row["scheme"] == scheme}
        yield from _cost_targets(costs, scheme)
    for row in rows:
        if row["peer"] == "ours":
            what = f"{row['sessions']} sessions over {row['scheme']}"
            yield Target(what=f"threads per session, {what}", value=row.get("threads"), at_most=0)
            yield Target(what=f"p99 lateness in ms, {what}", value=row.get("late_p99_ms"), at_most=20)


def _cost_targets(costs: dict[tuple[str, int], float | None], scheme: str) -> Iterator[Target]:
    """Compare ours with the floor at the same load, with the official SDK at its largest, and with our own smallest."""
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


def _ratio(cost: float | None, other: float | None) -> float | None:
    return None if cost is None or other is None else round(cost / other, 3)


def main() -> None:
    """Parse the arguments, measure, print the report."""
    parser = comparison_parser(
        __doc__, peers=["ours", "thin", "aiohttp", "floor", "official"], sessions=[50, 200, 300, 1_000, 4_000]
    )
    add_duration_options(parser)
    parser.add_argument(
        "--gc-threshold", type=int, metavar="N", help="new objects before a client collects garbage (Python's own: 700)"
    )
    arguments = parser.parse_args()
    rows = compare(arguments, lambda case: measure(case, arguments), worst=("threads",))
    report = finish(__file__, arguments, rows, targets(rows))
    if arguments.plot:
        plots.lines(report, x="sessions", y="cpu_ms")
        plots.lines(report, x="sessions", y="late_p99_ms")


if __name__ == "__main__":
    main()
