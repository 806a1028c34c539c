"""Lines: texts of others without the characters that change a log or a terminal."""

from __future__ import annotations

import pytest

from asr_async._text.lines import one_line, printable


@pytest.mark.parametrize(
    "characters", ["\x1b", "\r\n", "\x00", "\x7f\x9b", "\u2028\u2029", "\u202e", "\u2066", "\ud800"], ids=ascii
)
def test_a_blank_replaces_characters_that_no_line_holds(characters: str) -> None:
    assert printable(f"a{characters}b") == "a b"


def test_letters_of_all_scripts_stay_with_the_marks_that_join_them() -> None:
    text = "नमस्ते می\u200cخواهم 你好 👩\u200d💻"
    assert printable(text) == one_line(text) == text


def test_a_line_has_single_blanks() -> None:
    assert one_line("\x1b[31m first\r\n\tsecond\x00  third ") == "[31m first second third"


def test_a_line_keeps_wide_blanks_and_symbols() -> None:
    assert one_line("你好\u3000世界 → &") == "你好\u3000世界 → &"


def test_a_long_line_ends_in_an_ellipsis() -> None:
    assert one_line("word " * 100, 12) == "word word w…"
    assert one_line("word") == "word"
