"""The formats of a transcript, tested with values."""

from __future__ import annotations

import json

import pytest

from asr_async.cli.transcript_formats import EXTENSIONS, JsonLines, SubRip, Text, WebVTT, one_line, writer_for
from asr_async.results import Gap, Result, Translation, Word

HOUR_MS = 3_600_000


def final(text: str, start_ms: int = 0, end_ms: int = 1_000) -> Result:
    return Result(text=text, is_final=True, segment_id=0, start_ms=start_ms, end_ms=end_ms)


GAP = Gap(start_ms=1_000, end_ms=3_500, reason="lost the connection")

INTERIM = Result(text="go for", is_final=False, segment_id=0, start_ms=0, end_ms=400)


class TestText:
    def test_each_final_is_a_line(self) -> None:
        assert Text(times=False).final(final("go forward")) == "go forward\n"

    def test_times_are_before_the_text(self) -> None:
        line = Text(times=True).final(final("go forward", 450, 61_990))
        assert line == "[00:00.4 → 01:01.9] go forward\n"

    def test_times_have_hours_after_an_hour(self) -> None:
        line = Text(times=True).final(final("still here", HOUR_MS - 100, 2 * HOUR_MS + 65_000))
        assert line == "[59:59.9 → 2:01:05.0] still here\n"

    def test_chinese_is_not_escaped(self) -> None:
        assert Text(times=False).final(final("今天天气不错。")) == "今天天气不错。\n"

    def test_there_are_no_interims_and_no_header(self) -> None:
        writer = Text(times=True)
        assert (writer.header(), writer.interim(INTERIM)) == ("", "")

    def test_a_final_without_text_has_no_line(self) -> None:
        assert Text(times=True).final(final(" \n")) == ""

    def test_control_characters_do_not_break_a_line(self) -> None:
        assert Text(times=False).final(final("one\r\ntwo\u2028three\x1b[2Jfour")) == "one two three [2Jfour\n"


class TestJsonLines:
    def test_a_line_has_the_file_and_every_field_except_raw(self) -> None:
        line = JsonLines("a.wav").final(final("go"))
        assert list(json.loads(line)) == ["file", *(name for name in Result.__struct_fields__ if name != "raw")]
        assert line.startswith('{"file":"a.wav","text":"go","is_final":true,')
        assert line.endswith("}\n")

    def test_interims_are_lines_too(self) -> None:
        record = json.loads(JsonLines("a.wav").interim(INTERIM))
        assert (record["text"], record["is_final"]) == ("go for", False)

    def test_nested_values_and_text_are_not_changed(self) -> None:
        result = Result(
            text="好\n的",
            is_final=True,
            segment_id=7,
            start_ms=HOUR_MS,
            end_ms=HOUR_MS + 10,
            words=(Word(text="好", start_ms=HOUR_MS, end_ms=HOUR_MS + 10, punctuation="，"),),
            translations={"en": Translation(text="okay", is_final=True, start_ms=0, end_ms=10)},
            raw='{"secret": 1}',
        )
        line = JsonLines("会议.wav").final(result)
        record = json.loads(line)
        assert line.count("\n") == 1
        assert "好" in line
        assert "secret" not in line
        assert (record["file"], record["text"], record["segment_id"]) == ("会议.wav", "好\n的", 7)
        assert record["words"][0] == {
            "text": "好",
            "start_ms": HOUR_MS,
            "end_ms": HOUR_MS + 10,
            "punctuation": "，",
            "confidence": None,
            "is_fixed": None,
        }
        assert record["translations"]["en"]["text"] == "okay"

    def test_a_gap_is_a_line_of_its_own(self) -> None:
        record = json.loads(JsonLines("a.wav").gap(GAP))
        assert record == {
            "file": "a.wav",
            "gap": {"start_ms": 1_000, "end_ms": 3_500, "reason": "lost the connection"},
        }

    def test_uncertain_results_have_their_marks(self) -> None:
        result = Result(
            text="go",
            is_final=True,
            segment_id=0,
            start_ms=0,
            end_ms=1,
            is_confirmed=False,
            may_repeat=True,
            lost_before_ms=2_500,
        )
        record = json.loads(JsonLines("a.wav").final(result))
        assert (record["is_confirmed"], record["may_repeat"], record["lost_before_ms"]) == (False, True, 2_500)

    def test_there_is_no_header(self) -> None:
        assert JsonLines("a.wav").header() == ""


class TestSubRip:
    def test_cues_are_numbered_from_one_and_separated(self) -> None:
        writer = SubRip()
        text = writer.header() + writer.final(final("one", 0, 1_500)) + writer.final(final("two", 2_000, 2_001))
        assert text == ("1\n00:00:00,000 --> 00:00:01,500\none\n\n2\n00:00:02,000 --> 00:00:02,001\ntwo\n\n")

    def test_hours_may_exceed_two_digits(self) -> None:
        cue = SubRip().final(final("late", 100 * HOUR_MS, 100 * HOUR_MS + 61_007))
        assert cue.splitlines()[1] == "100:00:00,000 --> 100:01:01,007"

    def test_a_final_without_text_has_no_number(self) -> None:
        writer = SubRip()
        assert writer.final(final("")) == ""
        assert writer.final(final("one")).startswith("1\n")

    def test_blank_lines_and_arrows_are_replaced_in_a_cue(self) -> None:
        cue = SubRip().final(final("a\n\nb --> c"))
        assert cue.splitlines()[2:] == ["a b → c", ""]

    def test_interims_are_skipped(self) -> None:
        assert SubRip().interim(INTERIM) == ""


class TestWebVTT:
    def test_a_header_precedes_the_cues(self) -> None:
        writer = WebVTT()
        assert writer.header() == "WEBVTT\n\n"
        assert writer.final(final("好的。", 1_234, HOUR_MS)) == "00:00:01.234 --> 01:00:00.000\n好的。\n\n"

    @pytest.mark.parametrize(
        ("text", "written"),
        [
            ("R&D", "R&amp;D"),
            ("<i>a</i>", "&lt;i&gt;a&lt;/i&gt;"),
            ("a --> b", "a --&gt; b"),
            ("&lt;", "&amp;lt;"),
            ("a\r\n\r\nb", "a b"),
            ("a\x00b", "a b"),
        ],
    )
    def test_markup_is_escaped(self, text: str, written: str) -> None:
        assert WebVTT().final(final(text)).splitlines()[1:] == [written, ""]

    def test_a_cue_ends_after_it_starts(self) -> None:
        cue = WebVTT().final(final("short", 500, 400))
        assert cue.splitlines()[0] == "00:00:00.500 --> 00:00:00.501"

    def test_interims_and_empty_finals_are_skipped(self) -> None:
        writer = WebVTT()
        assert (writer.interim(INTERIM), writer.final(final(" "))) == ("", "")


@pytest.mark.parametrize("writer", [Text(times=True), SubRip(), WebVTT()])
def test_formats_for_reading_have_no_gaps(writer: Text | SubRip | WebVTT) -> None:
    assert writer.gap(GAP) == ""


@pytest.mark.parametrize(("name", "kind"), [("text", Text), ("jsonl", JsonLines), ("srt", SubRip), ("vtt", WebVTT)])
def test_every_format_has_a_writer_and_an_extension(name: str, kind: type) -> None:
    assert isinstance(writer_for(name, source="a.wav", times=False), kind)
    assert EXTENSIONS[name]


def test_one_line_keeps_full_width_spaces_and_symbols() -> None:
    assert one_line("你好\u3000世界 → &") == "你好\u3000世界 → &"
