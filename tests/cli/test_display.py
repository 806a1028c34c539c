"""The live display: on a terminal, in a pipe, and in memory."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from pathlib import Path

import pytest

from asr_async.cli import display as display_module
from asr_async.cli.display import crop_start, display_for
from asr_async.cli.outputs import StandardOutput

from ..support.wav_files import write_wav
from .command_line import (
    ESCAPE,
    FINALS,
    PACED,
    SCRIPT,
    SUMMARY,
    finished,
    on_terminal,
)
from .engines import FailingOnceEngine, emulator_thread


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


class Screen(io.StringIO):
    """A terminal in memory."""

    def isatty(self) -> bool:
        return True

    @property
    def plain(self) -> str:
        """The written text without colours, with `<` for the sequence that erases the line."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue()).replace(f"\r{ESCAPE}[2K", "<")


class ScreenOutput(StandardOutput):
    """An output on the same terminal as standard error."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def write(self, text: str) -> None:
        self._screen.write(text)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return Screen()


def display_on(screen: Screen, progress: display_module.Progress | None = None) -> display_module.Display:
    return display_for(ScreenOutput(screen), progress, lines=True)


class TestDisplay:
    def test_a_final_replaces_the_interim(self, screen: Screen) -> None:
        with contextlib.redirect_stderr(screen), display_on(screen) as display:
            display.show("", "go")
            display.show("", "go forward")
            display.show("go forward\n", "")
        assert screen.plain == "… go<… go forward<go forward\n"

    def test_an_unconfirmed_interim_stays_visible(self, screen: Screen) -> None:
        with contextlib.redirect_stderr(screen), display_on(screen) as display:
            display.show("", "go")
        assert screen.plain == "… go<… go\n"

    async def test_the_progress_bar_is_updated_by_a_timer(
        self, screen: Screen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(display_module, "_TICK_SECONDS", 0)
        positions = iter(range(0, 60_000, 1_000))
        moved = asyncio.Event()

        def position_ms() -> int:
            position = next(positions)
            if position == 3_000:
                moved.set()
            return position

        with contextlib.redirect_stderr(screen), display_on(screen, display_module.progress_for(60_000, position_ms)):
            await moved.wait()
        assert " 0:03 / 1:00 · 0:00 elapsed<" in screen.plain

    @pytest.mark.parametrize(("duration_ms", "has_bar"), [(None, False), (10_000, False), (10_001, True)])
    def test_only_long_audio_of_known_length_has_a_progress_bar(self, duration_ms: int | None, has_bar: bool) -> None:
        assert (display_module.progress_for(duration_ms, lambda: None) is not None) == has_bar

    def test_the_display_suits_standard_error(self, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
        output = StandardOutput()
        with contextlib.redirect_stderr(screen):
            assert type(display_for(output, None, lines=False)) is display_module.TerminalDisplay
            monkeypatch.setenv("TERM", "dumb")
            assert type(display_for(output, None, lines=False)) is display_module.SilentDisplay
        with contextlib.redirect_stderr(io.StringIO()):
            assert type(display_for(output, None, lines=True)) is display_module.LineDisplay


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("go forward", 10, "go forward"),
        ("go forward ten", 10, "… ward ten"),
        ("今天天气不错", 8, "… 气不错"),
        ("今天天气不错", 7, "… 不错"),
    ],
)
def test_a_long_line_keeps_its_end(text: str, width: int, shown: str) -> None:
    assert crop_start(text, width) == shown
