"""Draw pictures of the terminal: `transcribe` of one and of eight files, `mic`, `models` and `doctor`, in two widths.

python -m examples.pictures.draw [FOLDER] [--scenes mic models] [--columns 100 40] [--pace 4]

The commands run on a pseudo-terminal (`tests/support/terminal.py`), and rich draws what its screen shows. A recording
stands in for the microphone, and the emulator for the service that `doctor` checks.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.style import Style
from rich.text import Text

from asr_async.emulator import Scripted, serve
from tests.support.sound_device import COMMAND as COMMAND_WITH_MICROPHONE
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    import subprocess

HERE = Path(__file__).parent
AUDIO = "examples/audio"
ROWS = 120

_COLOURS = {"brightblack": "bright_black", "brown": "yellow", "brightgreen": "bright_green"}
"""pyte's names of colours that rich has under another one."""

Lines = list[str]


class Scene(NamedTuple):
    """A command, and the moment at which its terminal is drawn."""

    command: str
    is_moment: Callable[[Lines], bool] | None = None
    """True for the lines that are drawn, the last ones of these; None draws the terminal at the end."""
    is_over: Callable[[Lines], bool] = lambda _: False
    """True for the lines at which Ctrl-C is pressed."""


def _any(lines: Lines, *texts: str) -> bool:
    return any(all(text in line for text in texts) for line in lines)


SCENES = {
    "transcribe": Scene(
        f"transcribe {AUDIO} --service local",
        is_moment=lambda lines: sum("━" in line for line in lines) >= 5 and "of 8 files" in lines[-1],
    ),
    "transcribe_one": Scene(
        f"transcribe {AUDIO}/meeting.wav --service local",
        is_moment=lambda lines: _any(lines, "Good morning") and _any(lines, "… ") and not _any(lines, "[00:04"),
    ),
    "mic": Scene(
        "mic --service local",
        is_moment=lambda lines: any(line.startswith("What is") for line in lines),
        is_over=lambda lines: _any(lines, "→ 00:06"),
    ),
    "models": Scene("models --vendor dashscope"),
    "doctor": Scene(f"doctor {AUDIO}/demo.wav"),
}


def styled_lines(terminal: Terminal) -> list[Text]:
    """Return the lines of a terminal with their colours, without blank ones at the end."""
    lines = []
    for row in range(len(terminal.lines)):
        line = Text()
        characters = (terminal.screen.buffer[row][column] for column in range(terminal.screen.columns))
        for (colour, is_bold), group in itertools.groupby(characters, lambda character: (character.fg, character.bold)):
            style = Style(color=None if colour == "default" else _COLOURS.get(colour, colour), bold=is_bold)
            line.append("".join(character.data for character in group), style)
        line.rstrip()
        lines.append(line)
    return lines


def run(scene: Scene, arguments: list[str], columns: int, variables: dict[str, str]) -> list[Text]:
    """Run the command of a scene with arguments that are not drawn; return its terminal at the moment of the scene."""
    kept: list[Text] = []
    is_over = False

    def watch(process: subprocess.Popen[bytes], lines: Lines) -> None:
        nonlocal is_over
        if scene.is_moment is not None and scene.is_moment(lines):
            kept[:] = styled_lines(terminal)
        if not is_over and scene.is_over(lines):
            is_over = True
            process.send_signal(signal.SIGINT)

    terminal = Terminal(columns, ROWS)
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "DASHSCOPE_API_KEY"}}
    command = [*COMMAND_WITH_MICROPHONE, *scene.command.split(), *arguments]
    terminal.run(command, {**environment, "TERM": "xterm", **variables}, on_output=watch)
    return kept or styled_lines(terminal)


def draw(path: Path, command: str, lines: list[Text], columns: int) -> None:
    """Write a picture of a terminal in which a command was given."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ asr-async {command}", "bold"), soft_wrap=len(command) + 12 < columns)
    for line in lines:
        console.print(line, soft_wrap=True)
    path.write_text(console.export_svg(title="asr-async", unique_id=path.stem), encoding="utf-8")


async def draw_all(folder: Path, scenes: list[str], columns: list[int], pace: str) -> None:
    """Draw scenes, in each width."""
    async with serve(engine=Scripted([])) as emulator:
        service = {"DASHSCOPE_API_KEY": "sk-0123456789abcdef", "DASHSCOPE_WEBSOCKET_BASE_URL": emulator.dashscope_url}
        for width, name in itertools.product(columns, scenes):
            scene = SCENES[name]
            variables = {"MICROPHONE": f"{AUDIO}/demo.wav"} | (service if name == "doctor" else {})
            arguments = ["--pace", pace] if scene.command.startswith("transcribe") else []
            lines = await asyncio.to_thread(run, scene, arguments, width, variables)
            file = folder / f"{name}.svg" if width == 100 else folder / f"{name}_{width}.svg"
            draw(file, scene.command, lines, width)


def main() -> None:
    """Parse the arguments, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=HERE)
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES), help="default: all")
    parser.add_argument("--columns", nargs="+", type=int, default=[100, 40])
    parser.add_argument("--pace", default="4", help="of transcribe (default: %(default)s)")
    arguments = parser.parse_args()
    asyncio.run(draw_all(arguments.folder, arguments.scenes, arguments.columns, arguments.pace))


if __name__ == "__main__":
    main()
