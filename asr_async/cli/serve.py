"""`asr-async serve`: the emulator as a service of its own, for this client and for the vendor's SDK."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import ConfigurationError
from .status import Status, report, run

if TYPE_CHECKING:
    from ..emulator.engine import Engine

__all__ = ["serve"]

_DEFAULT_PORT = 8765


@click.command()
@click.option(
    "--engine",
    "engine_name",
    type=click.Choice(["pocketsphinx", "scripted"]),
    help="What listens. [default: scripted if there is a script, else pocketsphinx]",
)
@click.option(
    "--script",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="What the scripted engine answers, as JSON.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=_DEFAULT_PORT,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--api-key", metavar="KEY", help="Accept this key only. [default: any]")
@click.pass_context
def serve(
    context: click.Context,
    *,
    engine_name: str | None,
    script: Path | None,
    host: str,
    port: int,
    api_key: str | None,
) -> None:
    """Speak a vendor's protocol on this machine, until Ctrl-C."""
    engine = _engine(engine_name, script)
    context.exit(run(_serve(engine, host, port, api_key)))


def _engine(name: str | None, script: Path | None) -> Engine:
    from ..emulator import PocketSphinx, Scripted  # noqa: PLC0415 - only this command knows the emulator

    name = name or ("scripted" if script else "pocketsphinx")
    if name == "scripted" and script is None:
        raise click.UsageError("--engine scripted needs --script FILE: what it answers")
    if name == "pocketsphinx" and script is not None:
        raise click.UsageError("--script is for --engine scripted; pocketsphinx listens by itself")
    if script is None:
        return PocketSphinx()
    try:
        return Scripted.from_file(script)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None


async def _serve(engine: Engine, host: str, port: int, api_key: str | None) -> Status:
    from ..emulator import serve as emulate  # noqa: PLC0415 - only this command knows the emulator

    api_keys = None if api_key is None else {api_key}
    try:
        async with emulate(engine=engine, host=host, port=port, api_keys=api_keys) as emulator:
            click.echo(_directions(emulator.dashscope_url, "YOUR_KEY" if api_keys else "any"))
            await asyncio.Event().wait()
    except ConfigurationError as error:
        report(str(error))
    except OSError as error:
        report(f"cannot listen on {host} port {port}: {error.strerror}; --port 0 takes a free port")
    return Status.WRONG_USE


def _directions(url: str, key: str) -> str:
    """How to get here, with the address alone on the first line for scripts to read."""
    return (
        f"{url}\n\n"
        "This client:\n"
        f"  DASHSCOPE_API_KEY={key} DASHSCOPE_WEBSOCKET_BASE_URL={url} \\\n"
        "    asr-async transcribe --service dashscope FILE\n"
        "The official SDK:\n"
        f'  dashscope.api_key = "{key}"\n'
        f'  dashscope.base_websocket_api_url = "{url}"\n'
        "Ctrl-C ends the service."
    )
