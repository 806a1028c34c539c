"""Comparisons of peers: the cases that a script measures, their order, and the row of each case."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .harness import PeerFailedError
from .jobs import SteadyLoad
from .measurements import medians
from .peers import MOST_SESSIONS, PEERS
from .report import argument_parser

Row = dict[str, Any]

MIN_FRAMES_SHARE = 0.98
"""Smallest share of the due frames with which a peer counts as keeping up."""


class Case(msgspec.Struct, frozen=True):
    """One peer under one load."""

    scheme: str
    sessions: int
    peer: str


def comparison_parser(
    description: str | None, *, peers: Sequence[str], sessions: Sequence[int], schemes: Sequence[str] = ("ws",)
) -> argparse.ArgumentParser:
    """Return a parser with the options of every script that compares peers, and with this script's defaults."""
    parser = argument_parser(description)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=peers, help="default: %(default)s")
    parser.add_argument("--sessions", type=int, nargs="+", default=sessions, metavar="N", help="default: %(default)s")
    parser.add_argument("--schemes", nargs="+", choices=["ws", "wss"], default=schemes, help="default: %(default)s")
    parser.add_argument("--tls", dest="schemes", action="store_const", const=["wss"], help="the same as --schemes wss")
    parser.add_argument(
        "--loop", choices=["asyncio", "uvloop"], default="asyncio", help="event loop of the clients (default: asyncio)"
    )
    parser.add_argument("--plot", action="store_true", help="draw into benchmarks/plots (needs matplotlib)")
    return parser


def add_duration_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a measurement under steady load."""
    parser.add_argument("--seconds", type=float, default=10, help="length of a measurement (default: %(default)s)")
    parser.add_argument(
        "--warm-up", type=float, default=1.0, metavar="S", help="seconds of load before it (default: %(default)s)"
    )


def steady_load(case: Case, arguments: argparse.Namespace) -> SteadyLoad:
    """Return the job of a case, with the options of `add_duration_options`."""
    return SteadyLoad(
        peer=case.peer,
        loop=arguments.loop,
        sessions=case.sessions,
        seconds=arguments.seconds,
        warm_up_s=arguments.warm_up,
    )


def compare(arguments: argparse.Namespace, measure: Callable[[Case], Row], *, worst: Sequence[str] = ()) -> list[Row]:
    """Return a row for each case, with the medians over the runs; each run measures every case once (see `medians`)."""
    cases = dict.fromkeys(
        Case(scheme, min(sessions, MOST_SESSIONS.get(peer, sessions)), peer)
        for scheme in arguments.schemes
        for sessions in sorted(arguments.sessions)
        for peer in arguments.peers
    )
    runs = [[_row_of(case, measure) for case in cases] for _ in range(arguments.runs)]
    return [medians(rows, worst=worst) for rows in zip(*runs, strict=True)]


def cost_ms(row: Row) -> float | None:
    """Return the CPU time of a session-second in a row of `bench_sessions.py`, or None if the peer did not keep up."""
    return row["cpu_ms"] if row.get("frames", 0) >= MIN_FRAMES_SHARE else None


def _row_of(case: Case, measure: Callable[[Case], Row]) -> Row:
    identity = {"peer": case.peer, "scheme": case.scheme, "sessions": case.sessions}
    try:
        return {**identity, **measure(case)}
    except PeerFailedError as error:
        return {**identity, "failed": str(error)}
