"""Draw the pictures of the README: the terminal during `asr-async transcribe` of eight files, and after `doctor`.

python -m examples.pictures.draw [FOLDER [PACE]]

The commands run on a pseudo-terminal (`tests/support/terminal.py`), and rich draws what its screen shows.
"""

from __future__ import annotations

import io
import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.style import Style
from rich.text import Text

from tests.support.terminal import Terminal

if TYPE_CHECKING:
    import subprocess

HERE = Path(__file__).parent
AUDIO = "examples/audio"
COLUMNS = 100

_COLOURS = {"brightblack": "bright_black", "brown": "yellow", "brightgreen": "bright_green"}
"""pyte's names of colours that rich has under another one."""


def styled_lines(terminal: Terminal) -> list[Text]:
    """Return the lines of a terminal with their colours, without blank ones at the end."""
    lines = []
    for row in range(len(terminal.lines)):
        line = Text()
        characters = (terminal.screen.buffer[row][column] for column in range(COLUMNS))
        for (colour, is_bold), group in itertools.groupby(characters, lambda character: (character.fg, character.bold)):
            style = Style(color=None if colour == "default" else _COLOURS.get(colour, colour), bold=is_bold)
            line.append("".join(character.data for character in group), style)
        line.rstrip()
        lines.append(line)
    return lines


def run(*arguments: str, bars: int = 0) -> list[Text]:
    """Run a command; return the screen as it was when it last had so many bars, or as it is at the end."""
    kept: list[Text] = []

    def keep(_process: subprocess.Popen[bytes], lines: list[str]) -> None:
        if bars and sum("━" in line for line in lines) >= bars and "of 8 files" in lines[-1]:
            kept[:] = styled_lines(terminal)

    terminal = Terminal(COLUMNS)
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "DASHSCOPE_API_KEY"}}
    terminal.run([sys.executable, "-m", "asr_async", *arguments], {**environment, "TERM": "xterm"}, on_output=keep)
    return kept if bars else styled_lines(terminal)


def draw(path: Path, command: str, lines: list[Text]) -> None:
    """Write a picture of a terminal in which a command was given."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ {command}", "bold"))
    for line in lines:
        console.print(line, soft_wrap=True)
    path.write_text(console.export_svg(title=path.stem, unique_id=path.stem), encoding="utf-8")


def main(folder: Path, pace: str) -> None:
    """Draw both pictures."""
    transcribing = run("transcribe", AUDIO, "--service", "local", "--pace", pace, bars=5)
    draw(folder / "transcribe.svg", f"asr-async transcribe {AUDIO} --service local", transcribing)
    draw(folder / "doctor.svg", "asr-async doctor", run("doctor"))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE, sys.argv[2] if len(sys.argv) > 2 else "4")
