"""Two checkouts compared: CPU per session-second and delivery delay, measured alternately in one sitting.

For each pair and each number of sessions the old checkout is measured, then the new one, with the scripts
`bench_sessions.py` and `bench_latency.py` of that checkout, its package on `PYTHONPATH`, and this interpreter. So both
have the same machine, the same dependencies and nearly the same moment. The ratio of a pair is new divided by old:
below 1 the new checkout is cheaper or faster. The medians are those of the ratios, not ratios of medians.

    python benchmarks/compare.py ../before . --sessions 50 300 1000 --pairs 5
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from load.comparison import Row, cost_ms
from load.report import print_table

Values = Mapping[str, float | None]


class Checkout(msgspec.Struct, frozen=True):
    """A working tree, which holds the package and its benchmarks."""

    path: Path

    def row(self, script: str, sessions: int, seconds: float) -> Row:
        """Run a script of this checkout once for `ours`, and return its only row."""
        options = ["--json", "--runs", "1", "--peers", "ours", "--sessions", str(sessions), "--seconds", str(seconds)]
        report = json.loads(self._python(str(self.path / "benchmarks" / script), *options))
        row: Row = report["rows"][0]
        if "failed" in row:
            raise SystemExit(f"{script} of {self.path} failed: {row['failed']}; its traceback is above")
        return row

    def check(self) -> None:
        """Check that the processes of this checkout import its own package.

        Raises:
            SystemExit: they import another one, or none.
        """
        imported = Path(self._python("-P", "-c", "import asr_async; print(asr_async.__file__)").strip())
        if not imported.is_relative_to(self.path):
            raise SystemExit(f"{self.path} does not contain the package: {imported} would be measured instead")

    def _python(self, *arguments: str) -> str:
        completed = subprocess.run(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(self.path)},
        )
        if completed.returncode:
            raise SystemExit(f"a process of {self.path} ended with status {completed.returncode}")
        return completed.stdout


class PairRow(msgspec.Struct, kw_only=True):
    """One figure, measured once in each checkout."""

    pair: int
    figure: str
    old: float | None
    """None if the checkout did not keep up with the load."""
    new: float | None
    ratio: float | None = None

    def __post_init__(self) -> None:
        if self.old and self.new is not None:
            self.ratio = round(self.new / self.old, 3)


class MedianRow(msgspec.Struct, kw_only=True):
    """The ratios of one figure over all pairs."""

    figure: str
    median: float | None
    """None if no pair has a ratio."""
    lowest: float | None
    highest: float | None
    pairs: int

    @property
    def line(self) -> str:
        """The ratios as one line of the report."""
        if self.median is None:
            return f"{self.figure}: no ratio, a checkout did not keep up"
        spread = f"{self.lowest:.3f} to {self.highest:.3f} in {self.pairs} pairs"
        return f"{self.figure}: median ratio {self.median:.3f} ({spread})"


def cost_of(row: Row) -> Values:
    """Return the CPU time of a session-second."""
    return {"CPU ms per session-second": cost_ms(row)}


def delays_of(row: Row) -> Values:
    """Return the quantiles of the delivery delay."""
    return {"delivery p50 ms": row.get("delay_p50_ms"), "delivery p99 ms": row.get("delay_p99_ms")}


def measure_pairs(old: Checkout, new: Checkout, options: argparse.Namespace) -> Iterator[PairRow]:
    """Measure and yield each figure of each pair."""
    jobs = [
        *(("bench_sessions.py", cost_of, sessions) for sessions in options.sessions),
        *(("bench_latency.py", delays_of, sessions) for sessions in options.latency_sessions),
    ]
    for pair in range(1, options.pairs + 1):
        for script, values_of, sessions in jobs:
            print(f"pair {pair} of {options.pairs}: {script} with {sessions} sessions", file=sys.stderr)
            old_values = values_of(old.row(script, sessions, options.seconds))
            new_values = values_of(new.row(script, sessions, options.seconds))
            for name, old_value in old_values.items():
                yield PairRow(pair=pair, figure=f"{name}, {sessions} sessions", old=old_value, new=new_values[name])


def medians_of(rows: Sequence[PairRow]) -> list[MedianRow]:
    """Return one row per figure, in the order of the figures."""
    medians = []
    for figure in dict.fromkeys(row.figure for row in rows):
        ratios = [row.ratio for row in rows if row.figure == figure and row.ratio is not None]
        medians.append(
            MedianRow(
                figure=figure,
                median=round(statistics.median(ratios), 3) if ratios else None,
                lowest=min(ratios, default=None),
                highest=max(ratios, default=None),
                pairs=len(ratios),
            )
        )
    return medians


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="the checkout to compare with")
    parser.add_argument("new", type=Path, help="the checkout to measure")
    parser.add_argument("--pairs", type=int, default=5, help="number of pairs (default: %(default)s)")
    parser.add_argument(
        "--sessions",
        type=int,
        nargs="*",
        default=[50, 300, 1_000],
        metavar="N",
        help="loads for the CPU time (default: %(default)s)",
    )
    parser.add_argument(
        "--latency-sessions",
        type=int,
        nargs="*",
        default=[200],
        metavar="N",
        help="loads for the delay (default: %(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=10, help="length of a measurement (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    old, new = Checkout(options.old.resolve()), Checkout(options.new.resolve())
    old.check()
    new.check()
    rows = list(measure_pairs(old, new, options))
    medians = medians_of(rows)
    if options.json:
        print(msgspec.json.encode({"pairs": rows, "medians": medians}).decode())
        return
    print_table(
        [{name: "-" if value is None else value for name, value in msgspec.structs.asdict(row).items()} for row in rows]
    )
    print()
    for median in medians:
        print(median.line)


if __name__ == "__main__":
    main()
