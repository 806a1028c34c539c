"""The live display: on a terminal, in a pipe, and in memory."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import re
from typing import TYPE_CHECKING

import pytest

from asr_async.cli import display as display_module
from asr_async.cli.display import FileDisplay, FileRow, InterimRow, Position, Screen, TotalRow, crop_start
from asr_async.cli.outputs import StandardOutput
from asr_async.cli.session_options import logging_to

from ..support.terminal import Terminal
from ..support.wav_files import write_wav
from .command_line import (
    COMMAND,
    ESCAPE,
    FINALS,
    PACED,
    SCRIPT,
    SUMMARY,
    environment,
    finished,
    on_terminal,
)
from .engines import FailingOnceEngine, emulator_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class TestTerminal:
    def test_the_interim_is_rewritten_in_place(self, clip: Path, url: str) -> None:
        status, out, shown = on_terminal("transcribe", clip, "--pace", PACED, url=url)
        assert (status, out) == (0, FINALS)
        assert f"\r{ESCAPE}[2K" in shown
        assert "… " in shown
        assert "elapsed" not in shown
        assert SUMMARY.search(shown)

    def test_long_audio_has_a_progress_bar(self, tmp_path: Path, url: str) -> None:
        status, out, shown = on_terminal("transcribe", write_wav(tmp_path / "a.wav", 11), "--pace", "max", url=url)
        assert (status, out) == (0, FINALS)
        assert "/ 0:11 ·" in shown

    def test_finals_are_on_lines_of_their_own_on_a_shared_terminal(self, clip: Path, url: str) -> None:
        arguments = ("transcribe", clip, "--pace", PACED, "--no-times")
        status, _, shown = on_terminal(*arguments, url=url, share=True)
        assert status == 0
        for line in FINALS.splitlines():
            assert f"{ESCAPE}[2K{line}\r\n" in shown

    def test_times_are_printed_on_a_terminal_by_default(self, clip: Path, url: str) -> None:
        _, _, shown = on_terminal("transcribe", clip, "--pace", "max", url=url, share=True)
        assert "[00:00.2 → 00:01.4] go forward ten meters" in shown

    def test_characters_that_the_terminal_cannot_encode_are_replaced(
        self, clip: Path, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONIOENCODING", "ascii")
        status, _, shown = on_terminal("transcribe", clip, "--pace", "max", url=url, share=True)
        assert status == 0
        assert "[00:00.2 ? 00:01.4] go forward ten meters" in shown
        assert "???????" in shown

    @pytest.mark.parametrize("name", ["text", "jsonl", "srt", "vtt"])
    def test_a_pipe_receives_no_control_codes(self, name: str, tmp_path: Path, url: str) -> None:
        long = write_wav(tmp_path / "a.wav", 11)
        status, out, err = finished("transcribe", long, "--pace", "max", "--format", name, url=url)
        assert status == 0
        assert ESCAPE not in out + err
        assert "\r" not in out + err

    def test_an_interim_without_a_final_stays_visible(self, clip: Path) -> None:
        with emulator_thread(FailingOnceEngine(SCRIPT)) as url:
            status, out, shown = on_terminal("transcribe", clip, "--pace", "max", url=url)
        assert (status, out) == (1, "go forward ten meters\n")
        assert re.search(r"… 今.*\r\nasr-async: .*the engine stumbled", shown)


class TerminalFile(io.StringIO):
    """A terminal in memory."""

    def isatty(self) -> bool:
        return True

    @property
    def plain(self) -> str:
        """The written text without colours, with `<` for the sequence that erases the line."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue()).replace(f"\r{ESCAPE}[2K", "<")


class TerminalOutput(StandardOutput):
    """An output on the same terminal as standard error."""

    def __init__(self, file: TerminalFile, screen: Screen) -> None:
        super().__init__(screen.above_the_rows)
        self._file = file

    def write(self, text: str) -> None:
        if text:
            with self._around():
                self._file.write(text)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> TerminalFile:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return TerminalFile()


@contextlib.contextmanager
def display_on(
    terminal: TerminalFile, duration_ms: int | None = None, position_ms: Callable[[], int | None] = lambda: None
) -> Iterator[FileDisplay]:
    with contextlib.redirect_stderr(terminal), Screen() as screen:
        row = InterimRow(Position(duration_ms, position_ms))
        with FileDisplay(screen, TerminalOutput(terminal, screen), row) as display:
            yield display


class TestFileDisplay:
    async def test_a_final_replaces_the_interim(self, terminal: TerminalFile) -> None:
        with display_on(terminal) as display:
            display.show("", "go")
            display.show("", "go forward")
            display.show("go forward\n", "")
        assert terminal.plain == "… go<… go forward<go forward\n"

    async def test_an_unconfirmed_interim_stays_visible(self, terminal: TerminalFile) -> None:
        with display_on(terminal) as display:
            display.show("", "go")
        assert terminal.plain == "… go<… go\n"

    async def test_the_progress_bar_is_updated_by_a_timer(
        self, terminal: TerminalFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(display_module, "_TICK_SECONDS", 0)
        positions = iter(range(0, 600_000, 1_000))
        moved = asyncio.Event()

        def position_ms() -> int:
            position = next(positions)
            if position == 9_000:
                moved.set()
            return position

        with display_on(terminal, 60_000, position_ms):
            await moved.wait()
        assert " / 1:00 · 0:00 elapsed<" in terminal.plain

    @pytest.mark.parametrize(("duration_ms", "has_bar"), [(None, False), (10_000, False), (10_001, True)])
    async def test_only_long_audio_of_known_length_has_a_progress_bar(
        self, duration_ms: int | None, has_bar: bool, terminal: TerminalFile
    ) -> None:
        with display_on(terminal, duration_ms):
            pass
        assert ("━" in terminal.plain) == has_bar

    def test_the_rows_are_shown_only_on_a_terminal(
        self, terminal: TerminalFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with contextlib.redirect_stderr(terminal):
            assert Screen().is_live
            assert not Screen(is_quiet=True).is_live
            monkeypatch.setenv("TERM", "dumb")
            assert not Screen().is_live
        with contextlib.redirect_stderr(io.StringIO()):
            assert not Screen().is_live
        with contextlib.redirect_stderr(None):
            assert not Screen().is_live

    async def test_rows_that_do_not_fit_are_not_drawn(self, terminal: TerminalFile) -> None:
        with contextlib.redirect_stderr(terminal), Screen() as screen:
            screen.add(TotalRow(100, None))
            for number in range(100):
                screen.add(FileRow(f"{number}.wav", Position(None, lambda: 0)))
        drawn = terminal.plain.rpartition("<")[0].rpartition("<")[2]
        assert drawn.count("\n") < 25
        assert "0 of 100 files" in terminal.plain


def test_the_log_is_written_on_lines_of_its_own(terminal: TerminalFile) -> None:
    logger = logging.getLogger("asr_async")
    with contextlib.redirect_stderr(terminal), Screen() as screen:
        with logging_to(screen, 1):
            logger.info("one\ntwo")
            logger.debug("three")
        logger.info("four")
    assert terminal.plain == "asr-async: info: one two\n"


class TestWidths:
    """The terminal as people see it, with the rows at the end of a run just before they are erased."""

    @pytest.mark.parametrize("columns", [40, 100])
    def test_eight_files_have_a_row_each_and_a_total(self, columns: int, tmp_path: Path, url: str) -> None:
        files = [write_wav(tmp_path / f"recording number {number}.wav", 3) for number in range(8)]
        terminal = Terminal(columns, rows=80)
        status = terminal.run([*COMMAND, "transcribe", *map(str, files), "--pace", "8"], environment(url, columns=None))
        most = max(terminal.frames, key=lambda frame: sum("━" in line for line in frame))
        assert status == 0
        assert sum("━" in line for line in most) == 8
        assert any(re.match(r"\d of 8 files · ", line) for line in most)
        assert all(len(line) < columns for frame in terminal.frames for line in frame if "━" in line)
        assert not any("━" in line for line in terminal.lines)
        assert sum(line.startswith("[00:01.7 → ") for line in terminal.lines) == 8
        assert terminal.lines[-1 if columns == 100 else -2].startswith("8 files · 80 words · 24.0 s of audio in")

    def test_one_file_shows_its_newest_words(self, clip: Path, url: str) -> None:
        terminal = Terminal(40)
        terminal.run([*COMMAND, "transcribe", str(clip), "--pace", "4"], environment(url, columns=None))
        assert any(line.startswith("… ") for frame in terminal.frames for line in frame)
        assert terminal.lines[:3] == [
            "[00:00.2 → 00:01.4] go forward ten",
            "meters",
            "[00:01.7 → 00:02.7] 今天天气不错。",
        ]


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("go forward", 10, "go forward"),
        ("go forward ten", 10, "… ten"),
        ("go forward ten", 12, "… ten"),
        ("go forward ten", 13, "… forward ten"),
        ("recordings/of/monday.wav", 12, "… monday.wav"),
        ("今天天气不错", 8, "… 气不错"),
        ("今天天气不错", 7, "… 不错"),
    ],
)
def test_a_long_line_keeps_its_end(text: str, width: int, shown: str) -> None:
    assert crop_start(text, width) == shown
