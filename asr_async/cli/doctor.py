"""`asr-async doctor`: says what is installed, and whether keys, services, Redis, microphone and a file are usable."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import ConfigurationError
from ..vendors import options_for_model, vendors
from .checks import (
    Finding,
    check_endpoint,
    check_engine,
    check_extras,
    check_file,
    check_keys,
    check_microphone,
    check_recognisers,
    check_redis,
    check_versions,
    resolve,
)
from .exit_status import ExitStatus, run
from .inputs import shown_name
from .outputs import StandardOutput
from .session_options import complete_model
from .transcription import count_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.console import RenderableType

    from ..vendors import Vendor
    from ..vendors.options import Options

__all__ = ["doctor"]

_NARROW = 60
"""On a narrower terminal, the text of a finding is below its subject."""

_SUBJECT_WIDTH = 27

_MARKS = {"good": ("✓", "green"), "note": ("·", "dim"), "warning": ("!", "yellow"), "failed": ("✗", "red")}


@click.command()
@click.argument("file", required=False)
@click.option(
    "--model",
    shell_complete=complete_model,
    help="Check the service of this model. [default: those of all vendors with keys]",
)
@click.option("--endpoint", metavar="URL", help="Check this address of the service.")
@click.option("--engine", metavar="NAME", help="Start this recogniser, such as sherpa:FOLDER, a model of yours.")
@click.option("--redis", "redis_url", metavar="URL", help="Check the Redis server of shared limits.")
@click.pass_context
def doctor(
    context: click.Context,
    *,
    file: str | None,
    model: str | None,
    endpoint: str | None,
    engine: str | None,
    redis_url: str | None,
) -> None:
    """Check the installation, keys, services, the microphone, and a recording; nothing is recognised or billed.

    Exit status: 0 if what was checked works, 1 if something fails. An extra that is not installed and a key that
    is not set are no failures.
    """
    try:
        targets = _targets(model, endpoint)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    context.exit(run(_doctor(targets, endpoint, engine, redis_url, file)))


def _targets(model: str | None, endpoint: str | None) -> list[tuple[Vendor, Options]]:
    """Return the vendors whose services are checked, with the options of a session."""
    found = [(vendor, vendor.default_model) for vendor in vendors().values() if _has_credentials(vendor)]
    if model is not None or endpoint is not None:
        model = model or next(iter(vendors().values())).default_model
        vendor = vendors()[options_for_model(model).vendor]
        found = [(vendor, model)]
    return [(vendor, options_for_model(name)(model=name)) for vendor, name in found]


def _has_credentials(vendor: Vendor) -> bool:
    try:
        return not vendor.missing_variables()
    except ConfigurationError:  # reported among the keys
        return False


async def _doctor(
    targets: list[tuple[Vendor, Options]],
    endpoint: str | None,
    engine: str | None,
    redis_url: str | None,
    file: str | None,
) -> ExitStatus:
    report = _Report()
    for heading, findings in (
        ("Versions", check_versions()),
        ("Extras", check_extras()),
        ("Recognisers on this machine", check_recognisers()),
        ("Keys", (finding for vendor in vendors().values() for finding in check_keys(vendor))),
    ):
        report.heading(heading)
        for finding in findings:
            report.add(finding)
    if engine is not None:
        report.heading("Recogniser")
        report.add(await check_engine(engine))
    for vendor, options in targets:
        report.heading(f"Service {vendor.name}, {options.model}")
        async for finding in _service(vendor, options, endpoint):
            report.add(finding)
    if redis_url is not None:
        report.heading("Redis")
        report.add(await check_redis(redis_url))
    report.heading("Sound")
    report.add(await check_microphone())
    if file is not None:
        _, options = targets[0] if targets else _default_target()
        report.heading(f"{shown_name(file)} for {options.model}")
        async for finding in check_file(file, options):
            report.add(finding)
    return report.close()


def _default_target() -> tuple[Vendor, Options]:
    """Return the first vendor, with the options of its default model."""
    vendor = next(iter(vendors().values()))
    return vendor, options_for_model(vendor.default_model)(model=vendor.default_model)


async def _service(vendor: Vendor, options: Options, address: str | None) -> AsyncIterator[Finding]:
    endpoint = await resolve(vendor, options, address)
    if isinstance(endpoint, Finding):
        yield endpoint
        return
    async for finding in check_endpoint(endpoint):
        yield finding


class _Report:
    """The report on standard output, which is written line by line, since some checks take seconds."""

    def __init__(self) -> None:
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._output = StandardOutput()
        self._console = Console(
            # Forced, since rich would let the environment (FORCE_COLOR, TTY_COMPATIBLE) decide.
            force_terminal=is_terminal,
            width=None if is_terminal else 10_000,
            highlight=False,
        )
        self._states: Counter[str] = Counter()

    def heading(self, text: str) -> None:
        """Write a heading."""
        self._write(Text(f"{text}:", "bold"))

    def add(self, finding: Finding) -> None:
        """Write a finding: its mark, its subject and its text."""
        self._states[finding.state] += 1
        mark, style = _MARKS[finding.state]
        row = Table.grid(padding=(0, 1))
        row.add_column()
        if self._console.width < _NARROW:
            self._write(Text(f"{mark} {finding.subject}", style))
            row.add_row(" ", finding.text)
        else:
            row.add_column(width=_SUBJECT_WIDTH)
            row.add_row(Text(mark, style), finding.subject, Text(finding.text))
        self._write(row)

    def close(self) -> ExitStatus:
        """Write the result, and return the status."""
        failed, warnings = self._states["failed"], self._states["warning"]
        parts = [f"{failed} failed"] if failed else []
        parts += [count_of(warnings, "warning")] if warnings else []
        self._write(Text(", ".join(parts) or "All checks passed.", "bold"))
        return ExitStatus.FAILED if failed else ExitStatus.DONE

    def _write(self, content: RenderableType) -> None:
        with self._console.capture() as captured:
            self._console.print(content)
        self._output.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
