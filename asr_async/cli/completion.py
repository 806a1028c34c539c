"""`asr-async completion`: the completion of commands, options and values by the tab key, printed or installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["completion"]

PROGRAM = "asr-async"
_VARIABLE = "_ASR_ASYNC_COMPLETE"


def _data_folder() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def _config_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


_FILES: dict[str, Callable[[], Path]] = {
    "bash": lambda: _data_folder() / "bash-completion" / "completions" / PROGRAM,
    "zsh": lambda: Path(os.environ.get("ZDOTDIR") or Path.home()) / ".zfunc" / f"_{PROGRAM}",
    "fish": lambda: _config_folder() / "fish" / "completions" / f"{PROGRAM}.fish",
}
"""Shell → the file in which it looks for the completion of this program."""

_NOTES = {
    "bash": "New shells use it, if the package bash-completion is installed.",
    "zsh": "Put this into .zshrc, if it is not there: fpath+=~/.zfunc; autoload -Uz compinit; compinit",
    "fish": "New shells use it.",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_FILES)), required=False)
@click.option("--install", "is_installed", is_flag=True, help="Write it to the file in which the shell looks for it.")
def completion(*, shell: str | None, is_installed: bool) -> None:
    """Print or install the completion of a shell, by default of the one in $SHELL."""
    shell = shell or Path(os.environ.get("SHELL", "")).name
    completion_class = get_completion_class(shell)
    if shell not in _FILES or completion_class is None:
        raise click.UsageError(f"name a shell: {', '.join(_FILES)}")
    root = click.get_current_context().find_root().command
    script = completion_class(root, {}, PROGRAM, _VARIABLE).source()
    if not is_installed:
        click.echo(script)
        return
    path = _FILES[shell]()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    click.echo(f"Written to {path}. {_NOTES[shell]}")
