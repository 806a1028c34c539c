"""The report of a benchmark: rows, the targets and whether they were reached, and the versions of everything."""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import ssl
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

import asr_async

DISTRIBUTIONS = ("websockets", "msgspec", "aiohttp", "uvloop", "dashscope")


class Target(msgspec.Struct, kw_only=True):
    """A limit that the project sets itself, beside the value that was measured."""

    what: str
    value: float | None
    """None if there is no value, because the client did not keep up with the load."""
    at_most: float
    reached: bool = False

    def __post_init__(self) -> None:
        self.reached = self.value is not None and self.value <= self.at_most

    @property
    def line(self) -> str:
        """The target as one line of the report."""
        value = "not measurable" if self.value is None else f"{self.value:g}"
        return f"{self.what}: {value}, target ≤ {self.at_most:g}: {'reached' if self.reached else 'missed'}"


class Report(msgspec.Struct, kw_only=True):
    """The output of a script."""

    benchmark: str
    arguments: dict[str, Any]
    rows: list[dict[str, Any]]
    targets: list[Target]
    versions: dict[str, str]


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every script."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--runs", type=int, default=5, help="number of runs; their medians are shown (default: %(default)s)"
    )
    return parser


def finish(
    path: str, arguments: argparse.Namespace, rows: Sequence[dict[str, Any]], targets: Iterable[Target]
) -> Report:
    """Print the report of the script at this path; return the report."""
    report = Report(
        benchmark=Path(path).stem,
        arguments=vars(arguments),
        rows=list(rows),
        targets=list(targets),
        versions=_versions(getattr(arguments, "loop", None)),
    )
    if arguments.json:
        print(msgspec.json.encode(report).decode())
    else:
        _print(report)
    return report


def _print(report: Report) -> None:
    for _, rows in itertools.groupby(report.rows, key=lambda row: row.get("measure")):
        print_table(list(rows))
        print()
    for target in report.targets:
        print(target.line)
    print()
    print(", ".join(f"{name} {version}" for name, version in report.versions.items()))


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def _versions(loop: str | None) -> dict[str, str]:
    return {
        "asr_async": asr_async.__version__,
        platform.python_implementation(): platform.python_version(),
        **({} if loop is None else {"loop": loop}),
        **{name: _version(name) for name in DISTRIBUTIONS},
        "TLS": ssl.OPENSSL_VERSION,
        platform.system(): platform.release(),
        "processors": str(os.cpu_count()),
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
