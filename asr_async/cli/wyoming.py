"""`asr-async wyoming`: a speech-to-text server for Home Assistant."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from ..errors import ASRError
from .display import Screen
from .exit_status import ExitStatus, error_text, exit_status_of, run
from .session_options import logging_to, session_options

if TYPE_CHECKING:
    from .session_options import SessionChoice

__all__ = ["wyoming"]

EMBEDDED_LANGUAGES = ("en",)
"""The languages of the recognisers on this machine."""


@click.command()
@click.option(
    "--uri",
    default="tcp://127.0.0.1:10300",
    show_default=True,
    help="The address to listen on, tcp://host:port or unix:///path. Other machines reach tcp://0.0.0.0:10300.",
)
@session_options
@click.pass_context
def wyoming(context: click.Context, *, uri: str, choice: SessionChoice) -> None:
    """Serve speech-to-text to Home Assistant (Wyoming protocol), until Ctrl-C."""
    context.exit(run(_serve(uri, choice)))


async def _serve(uri: str, choice: SessionChoice) -> ExitStatus:
    with Screen(is_quiet=choice.is_quiet) as screen, logging_to(screen, choice.verbosity):
        try:
            from ..integrations.wyoming import WyomingServer  # noqa: PLC0415 - an optional dependency
        except ImportError as error:
            if error.name != "wyoming":
                raise
            screen.error(str(error))
            return ExitStatus.WRONG_USE
        languages = EMBEDDED_LANGUAGES if choice.is_local else None
        try:
            async with (
                choice.client(screen) as client,
                WyomingServer(uri, client, choice.options, languages=languages),
            ):
                screen.info(
                    f"Listening on {uri}; in Home Assistant, add the integration Wyoming Protocol. Ctrl-C ends."
                )
                await asyncio.Event().wait()
        except (ASRError, OSError) as error:
            screen.error(error_text(error))
            return exit_status_of(error)
    return ExitStatus.DONE
