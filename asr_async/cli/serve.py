"""`asr-async serve`: the emulator as a separate process, for this library and for the vendors' SDKs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import ConfigurationError
from ..vendors.registry import BUILT_IN, vendors
from .exit_status import ExitStatus, report, run

if TYPE_CHECKING:
    from ..emulator import Emulator, Faults
    from ..emulator.engines.engine import Engine
    from ..emulator.engines.installed import EngineChoice

__all__ = ["serve"]

_DEFAULT_PORT = 8765


@click.command()
@click.option(
    "--engine",
    "engine_name",
    metavar="NAME",
    help="The recogniser: moonshine, pocketsphinx, sherpa:FOLDER (a sherpa-onnx model of yours), or scripted. "
    "[default: scripted with --script, else the best one that is installed]",
)
@click.option(
    "--script",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The results of the scripted engine, as JSON.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=_DEFAULT_PORT,
    show_default=True,
    help="Port to listen on; 0 uses a free one.",
)
@click.option(
    "--api-key",
    metavar="KEY[:SECRET]",
    help="Accept only this key; with a secret, check signatures and passwords too. [default: any]",
)
@click.option(
    "--faults",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The faults to inject, and the connections they apply to, as JSON.",
)
@click.pass_context
def serve(
    context: click.Context,
    *,
    engine_name: str | None,
    script: Path | None,
    host: str,
    port: int,
    api_key: str | None,
    faults: Path | None,
) -> None:
    """Serve the vendors' protocols on this machine, until Ctrl-C."""
    choice, fault_plan = _engine(engine_name, script), _faults(faults)
    if script is None:
        report(f"recogniser: {choice.description}")
    context.exit(run(_serve(choice.engine, host, port, _api_keys(api_key), fault_plan)))


def _engine(name: str | None, script: Path | None) -> EngineChoice:
    from ..emulator import Scripted  # noqa: PLC0415 - only this command needs the emulator
    from ..emulator.engines.installed import EngineChoice, choose_engine  # noqa: PLC0415 - as above

    if name == "scripted" and script is None:
        raise click.UsageError("--engine scripted needs --script FILE, with its results")
    if name not in {None, "scripted"} and script is not None:
        raise click.UsageError(f"--script is only for --engine scripted; {name} recognises the audio")
    try:
        if script is None:
            return choose_engine(name)
        return EngineChoice(Scripted.from_file(script), f"the script {script}")
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None


def _faults(path: Path | None) -> Faults:
    from ..emulator import Faults  # noqa: PLC0415 - only this command needs the emulator

    try:
        return Faults([]) if path is None else Faults.from_file(path)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None


def _api_keys(value: str | None) -> set[str] | dict[str, str] | None:
    if value is None:
        return None
    key, colon, secret = value.partition(":")
    if not key or (colon and not secret):
        raise click.UsageError("--api-key must be KEY or KEY:SECRET, and neither may be empty")
    return {key: secret} if colon else {key}


async def _serve(
    engine: Engine, host: str, port: int, api_keys: set[str] | dict[str, str] | None, faults: Faults
) -> ExitStatus:
    from ..emulator import serve as emulate  # noqa: PLC0415 - only this command needs the emulator

    try:
        async with emulate(engine=engine, host=host, port=port, api_keys=api_keys, faults=faults) as emulator:
            click.echo(_instructions(emulator, api_keys))
            await asyncio.Event().wait()
    except ConfigurationError as error:
        report(str(error))
    except OSError as error:
        report(f"cannot listen on {host} port {port}: {error.strerror}; --port 0 uses a free port")
    return ExitStatus.WRONG_USE


def _instructions(emulator: Emulator, api_keys: set[str] | dict[str, str] | None) -> str:
    """Return how to connect; the first line is the DashScope address alone, for scripts."""
    key = "YOUR_KEY" if api_keys else "any"
    secret = "YOUR_SECRET" if isinstance(api_keys, dict) else "any"
    url = emulator.dashscope_url
    return (
        f"{url}\n\n"
        "This client, as DashScope:\n"
        f"  DASHSCOPE_API_KEY={key} DASHSCOPE_WEBSOCKET_BASE_URL={url} \\\n"
        "    asr-async transcribe --service dashscope FILE\n"
        "This client, as Huawei Cloud:\n"
        f"  HUAWEICLOUD_SIS_ENDPOINT={emulator.huawei_url} HUAWEICLOUD_SIS_AK={key} HUAWEICLOUD_SIS_SK={secret} \\\n"
        "  HUAWEICLOUD_SIS_PROJECT_ID=any HUAWEICLOUD_SIS_REGION=cn-north-4 \\\n"
        "    asr-async transcribe --service huawei --model huawei/continue FILE\n"
        "This client, as with FunASR on machines of your own:\n"
        f"  FUNASR_SERVER={emulator.funasr_url} asr-async transcribe --service funasr FILE\n"
        "DashScope's official SDK:\n"
        f'  dashscope.api_key = "{key}"\n'
        f'  dashscope.base_websocket_api_url = "{url}"\n'
        f"{_of_third_parties(emulator)}"
        "Press Ctrl-C to stop."
    )


def _of_third_parties(emulator: Emulator) -> str:
    """Return how to connect as the vendors of other packages; empty if there are none."""
    lines = []
    for name in sorted(vendors().keys() - set(BUILT_IN)):
        variables = emulator.environment(name)
        if variables:
            assignments = " ".join(f"{variable}={value}" for variable, value in variables.items())
            lines.append(
                f"This client, as {name}:\n  {assignments} \\\n    asr-async transcribe --service {name} FILE\n"
            )
    return "".join(lines)
