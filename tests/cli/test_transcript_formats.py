"""The formats of a transcript, tested with values."""

from __future__ import annotations

import json

import pytest

from asr_async.cli.transcript_formats import EXTENSIONS, Json, JsonLines, Subtitles, Text, format_of_output, writer_for
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

    def test_the_heading_is_a_line_of_its_own(self) -> None:
        assert Text(times=False, heading="a.wav").header() == "a.wav:\n"

    def test_lines_are_broken_between_words_for_a_terminal(self) -> None:
        writer = Text(times=False, width=12)
        assert writer.final(final("go forward ten meters")) == "go forward\nten meters\n"
        assert writer.final(final("今天天气不错。今天天气不错。")) == "今天天气不错\n。今天天气不\n错。\n"

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


class TestJson:
    def test_the_object_is_written_at_the_end(self) -> None:
        writer = Json("a.wav")
        before = writer.header() + writer.interim(INTERIM) + writer.final(final("two", 2_000, 3_000))
        before += writer.final(final("one")) + writer.gap(GAP)
        record = json.loads(writer.footer())
        assert before == ""
        assert (record["file"], record["text"]) == ("a.wav", "one two")
        assert [result["start_ms"] for result in record["results"]] == [0, 2_000]
        assert record["gaps"] == [{"start_ms": 1_000, "end_ms": 3_500, "reason": "lost the connection"}]
        assert "raw" not in record["results"][0]


class TestSubtitles:
    """The cues themselves are tested in `tests/test_subtitles.py`."""

    def test_srt_has_numbered_cues(self) -> None:
        writer = Subtitles("srt")
        text = writer.header() + writer.final(final("one", 0, 1_500)) + writer.final(final("two", 2_000, 2_001))
        assert text == "1\n00:00:00,000 --> 00:00:01,500\none\n\n2\n00:00:02,000 --> 00:00:02,001\ntwo\n\n"

    def test_a_final_without_text_has_no_number(self) -> None:
        writer = Subtitles("srt")
        assert writer.final(final("")) == ""
        assert writer.final(final("one")).startswith("1\n")

    def test_vtt_has_a_header(self) -> None:
        writer = Subtitles("vtt")
        assert writer.header() == "WEBVTT\n\n"
        assert writer.final(final("好的。", 1_234, 5_000)) == "1\n00:00:01.234 --> 00:00:05.000\n好的。\n\n"

    def test_a_translation_is_below_its_text(self) -> None:
        translation = Translation(text="Okay.", is_final=True, start_ms=0, end_ms=1_000)
        result = Result(
            text="好的。", is_final=True, segment_id=0, start_ms=0, end_ms=1_000, translations={"en": translation}
        )
        assert Subtitles("srt").final(result).endswith("\n好的。\nOkay.\n\n")
        assert Text(times=False).final(result) == "好的。\nOkay.\n"

    def test_interims_without_certain_text_are_skipped(self) -> None:
        assert Subtitles("vtt", "original").interim(INTERIM) == ""


@pytest.mark.parametrize("writer", [Text(times=True), Subtitles("srt"), Subtitles("vtt")])
def test_formats_for_reading_have_no_gaps_and_no_footer(writer: Text | Subtitles) -> None:
    assert writer.footer() == ""
    assert writer.gap(GAP) == ""


@pytest.mark.parametrize(
    ("name", "kind"), [("text", Text), ("jsonl", JsonLines), ("json", Json), ("srt", Subtitles), ("vtt", Subtitles)]
)
def test_every_format_has_a_writer_and_an_extension(name: str, kind: type) -> None:
    assert isinstance(writer_for(name, source="a.wav"), kind)
    assert format_of_output(f"a/b.c.{EXTENSIONS[name].upper()}") == name


def test_other_names_stand_for_no_format() -> None:
    assert {format_of_output(name) for name in (None, "a", "a.doc", "srt", ".srt", "a.srt/")} == {"text"}
