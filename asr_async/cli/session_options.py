"""The command-line options that choose the model and the service, shared by `transcribe` and `mic`."""

from __future__ import annotations

import contextlib
import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from .. import Client, ConfigurationError, Local
from ..vendors import options_for_model, vendor_of, vendors
from .display import LogHandler
from .model_options import language_values, option_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..subtitles import Languages
    from ..vendors.options import Options
    from ..vendors.service import Service
    from .display import Screen

__all__ = ["SessionChoice", "complete_model", "logging_to", "session_options"]

_LOG_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
"""The level of the log by the number of `-v`."""


@dataclass(frozen=True, kw_only=True)
class SessionChoice:
    """The model, its options, and the service that recognises."""

    options: Options
    service_name: str
    engine_name: str | None
    """The recogniser on this machine; None is the best one."""
    endpoint: str | None
    tape: str | None
    verbosity: int
    is_quiet: bool

    @property
    def missing_variables(self) -> list[str]:
        """The environment variables that the vendor's service needs and that are not set."""
        return vendor_of(self.options).missing_variables(has_endpoint=self.endpoint is not None)

    @property
    def is_local(self) -> bool:
        """True if the recogniser on this machine is used."""
        is_fallback = self.service_name == "auto" and self.endpoint is None and bool(self.missing_variables)
        return self.service_name == "local" or is_fallback

    @property
    def live_languages(self) -> Languages:
        """The texts of live captions: those with a translation wait for it."""
        return "both" if getattr(self.options, "translation_target_languages", None) else "original"

    def client(self, screen: Screen) -> Client:
        """Return a client of the service; write why it is the local one, unless that was chosen."""
        service = self.service(screen)
        if self.verbosity:
            screen.info(f"asr-async: {self.options.model} of {service!r}")
        return Client(service, tape=self.tape)

    def service(self, screen: Screen) -> Service:
        """Return the service; write why it is the local one, unless that was chosen."""
        if self.is_local:
            if self.service_name == "auto":
                variable = self.missing_variables[0]
                screen.info(f"asr-async: {variable} is not set: using the embedded recogniser (--service local)")
            service = Local(self.engine_name)
            screen.info(f"asr-async: recogniser: {service.recogniser}")
            return service
        vendor = vendor_of(self.options)
        return vendor.service() if self.endpoint is None else vendor.service(endpoint=self.endpoint)


def session_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which gets them as the argument `choice`."""

    @functools.wraps(command)
    def with_choice(*arguments: Any, **values: Any) -> None:
        names = ("service", "engine", "model", "assignments", "language", "endpoint", "tape", "verbosity", "is_quiet")
        command(*arguments, choice=_choice(**{name: values.pop(name) for name in names}), **values)

    for option in reversed(_OPTIONS):
        with_choice = option(with_choice)
    return with_choice


def complete_model(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the models whose names begin so, for a shell's completion."""
    return [name for vendor in vendors().values() for name in vendor.models if name.startswith(incomplete)]


def _default_models() -> str:
    first, *others = vendors().values()
    return ", ".join([first.default_model, *(f"with {vendor.name} {vendor.default_model}" for vendor in others)])


_OPTIONS = (
    click.option(
        "--service",
        type=click.Choice(["auto", "local", *vendors()]),
        default="auto",
        show_default=True,
        help="The service; auto is the vendor of the model if its key is in the environment, else local.",
    ),
    click.option(
        "--engine",
        metavar="NAME",
        help="The recogniser on this machine (implies --service local): moonshine, pocketsphinx, or sherpa:FOLDER, a "
        "sherpa-onnx model of yours. [default: the best one that is installed]",
    ),
    click.option("--model", shell_complete=complete_model, help=f"The model. [default: {_default_models()}]"),
    click.option("--language", metavar="CODE[,CODE]", help="The spoken language, or several, such as zh,en."),
    click.option(
        "--option",
        "assignments",
        metavar="KEY=VALUE",
        multiple=True,
        help="An option of the model, such as sample_rate=8000 or language_hints=zh,en; may be repeated.",
    ),
    click.option("--endpoint", metavar="URL", help="Another address of the service, such as ws://127.0.0.1:8765."),
    click.option(
        "--tape",
        metavar="PATH",
        help="Record the messages of all connections, without keys and audio, for a bug report.",
    ),
    click.option("-q", "--quiet", "is_quiet", is_flag=True, help="Write only errors to standard error."),
    click.option("-v", "--verbose", "verbosity", count=True, help="Write the log to standard error; -vv in detail."),
)


def _choice(  # noqa: PLR0917 - called with keywords
    service: str,
    engine: str | None,
    model: str | None,
    assignments: tuple[str, ...],
    language: str | None,
    endpoint: str | None,
    tape: str | None,
    verbosity: int,
    is_quiet: bool,
) -> SessionChoice:
    """Check the values, and that the service has the model.

    Raises:
        click.UsageError: the model, an option or the service is wrong, or the key is missing.
    """
    if is_quiet and verbosity:
        raise click.UsageError("--quiet and --verbose contradict each other")
    if engine is not None:
        if service not in {"auto", "local"}:
            raise click.UsageError(f"--engine is a recogniser on this machine, not of --service {service}: leave one")
        service = "local"
    if service == "local" and endpoint is not None:
        raise click.UsageError("--endpoint is the address of a vendor's service; --service local runs on this machine")
    model = model or _default_model(service)
    try:
        options_class = options_for_model(model)
        values = language_values(options_class, language) | option_values(options_class, assignments)
        options = options_class(model=model, **values)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    if service not in {"auto", "local", options.vendor}:
        raise click.UsageError(f"--service {service} has no model {model}: it is a model of {options.vendor}")
    choice = SessionChoice(
        options=options,
        service_name=service,
        engine_name=engine,
        endpoint=endpoint,
        tape=tape,
        verbosity=verbosity,
        is_quiet=is_quiet,
    )
    try:
        missing = [] if choice.is_local else choice.missing_variables
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    if missing:
        needing = f"--service {service}" if service != "auto" else "--endpoint"
        if missing == [vendor_of(options).address_variable]:
            raise click.UsageError(f"{needing} needs an address: set {missing[0]}, or pass --endpoint")
        raise click.UsageError(f"{needing} needs a key: set {' and '.join(missing)}")
    return choice


def _default_model(service: str) -> str:
    vendor = vendors().get(service) or next(iter(vendors().values()))
    return vendor.default_model


@contextlib.contextmanager
def logging_to(screen: Screen, verbosity: int) -> Iterator[None]:
    """Write the log of the library to a screen: warnings, with verbosity 1 what happens, with 2 every detail."""
    logger, handler = logging.getLogger("asr_async"), LogHandler(screen)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(_LOG_LEVELS[min(verbosity, len(_LOG_LEVELS) - 1)])
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
