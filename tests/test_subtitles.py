"""Subtitles: cues, their lines and times, two languages, the formats as pysubs2 reads them, and live captions."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_async import Result, SessionStats, Transcript, Translation, Word
from asr_async._alignment.words import spoken_length_ms
from asr_async._session.stats import StatsRecorder
from asr_async._text.lines import one_line
from asr_async.audio import AudioFormat
from asr_async.subtitles import LINE_WIDTH, MAX_CUE_MS, MIN_CUE_MS, Cue, LiveCaptions, cues_of, subtitles

if TYPE_CHECKING:
    from collections.abc import Sequence

ENGLISH = (
    "Good morning, everyone, and thank you for coming to this meeting on such short notice. We have three things to "
    "discuss today: the budget, the new office, and the plan for the summer. Let us begin with the budget."
)
CHINESE = "今天我们开会讨论三个问题：预算、新办公室，还有夏天的计划。先从预算开始吧，因为这件事情最紧急，也最重要。"
IN_ENGLISH = (
    "Today we meet to discuss three questions: the budget, the new office, and the plan for the summer. Let us begin "
    "with the budget, because it is the most urgent and the most important."
)


def final(text: str, start_ms: int = 0, end_ms: int | None = None, *, into: str = "", **fields: Any) -> Result:
    end_ms = start_ms + spoken_length_ms(text) if end_ms is None else end_ms
    translation = Translation(text=into, is_final=True, start_ms=start_ms, end_ms=end_ms)
    translations = {"en": translation} if into else {}
    members: dict[str, Any] = {"segment_id": 0, "is_final": True, "translations": translations} | fields
    return Result(text=text, start_ms=start_ms, end_ms=end_ms, **members)


def transcript_of(*results: Result) -> Transcript:
    stats: SessionStats = StatsRecorder(AudioFormat()).snapshot("", sent_ms=0, conflated=0)
    return Transcript(
        text="", results=results, duration_ms=None, gaps=(), usage_seconds=None, request_id="", stats=stats
    )


def read_back(text: str) -> list[tuple[int, int, list[str]]]:
    """Return the cues as pysubs2 reads them."""
    return [(event.start, event.end, event.plaintext.split("\n")) for event in pysubs2.SSAFile.from_string(text)]


def lines_of(cues: Sequence[Cue]) -> list[str]:
    return [line for cue in cues for line in cue.lines]


# --- cues ------------------------------------------------------------------------------------------------------------


class TestLines:
    def test_english_is_broken_at_sentences_commas_and_words(self) -> None:
        assert [cue.lines for cue in cues_of([final(ENGLISH)])] == [
            ("Good morning, everyone,",),
            ("and thank you for coming to this", "meeting on such short notice."),
            ("We have three things to discuss today:", "the budget, the new office,"),
            ("and the plan for the summer.", "Let us begin with the budget."),
        ]

    def test_chinese_is_broken_at_punctuation(self) -> None:
        assert [cue.lines for cue in cues_of([final(CHINESE)])] == [
            ("今天我们开会讨论三个问题：预算、", "新办公室，还有夏天的计划。"),
            ("先从预算开始吧，", "因为这件事情最紧急，也最重要。"),
        ]

    def test_chinese_without_punctuation_is_broken_between_the_words_of_the_vendor(self) -> None:
        tokens = ["我们", "今天", "讨论", "人工智能", "和", "语音识别", "技术", "的", "发展"]
        words = tuple(Word(text=text, start_ms=400 * n, end_ms=400 * (n + 1)) for n, text in enumerate(tokens))
        first, second = cues_of([final("".join(tokens), 0, 3_600, words=words)])[0].lines
        assert (first, second) in {
            ("我们今天讨论人工智能", "和语音识别技术的发展"),
            ("我们今天讨论人工智能和", "语音识别技术的发展"),
        }

    def test_no_line_begins_with_closing_punctuation_or_ends_with_an_opening_one(self) -> None:
        text = "他说：“" + "好的，没问题。”（笑）《红楼梦》、" * 12
        for line in lines_of(cues_of([final(text, 0, 60_000)])):
            assert not re.match("[，。：”）》、]", line)
            assert not re.search("[“（《]$", line)

    def test_words_are_not_broken_in_a_mixed_text(self) -> None:
        text = "我们用 Paraformer 和 DashScope 做语音识别，效果比 Whisper 好很多，而且 latency 更低。"
        cues = cues_of([final(text)])
        assert " ".join(lines_of(cues)).replace(" ", "") == text.replace(" ", "")
        assert all(word in " ".join(lines_of(cues)) for word in ("Paraformer", "DashScope", "Whisper", "latency"))

    def test_a_word_that_is_longer_than_a_line_is_divided(self) -> None:
        lines = lines_of(cues_of([final("see https://example.com/" + "a" * 100)]))
        assert max(map(len, lines)) <= LINE_WIDTH
        assert "".join(lines).replace(" ", "") == "seehttps://example.com/" + "a" * 100

    def test_the_width_can_be_chosen(self) -> None:
        assert max(map(len, lines_of(cues_of([final(ENGLISH)], width=20)))) <= 20

    def test_control_characters_do_not_break_a_line(self) -> None:
        assert lines_of(cues_of([final("one\r\n\r\ntwo\u2028three\x1b[2Jfour")])) == ["one two three [2Jfour"]

    def test_a_result_without_text_has_no_cue(self) -> None:
        assert cues_of([final(" \n")]) == []

    def test_korean_is_broken_between_words(self) -> None:
        text = "안녕하세요 여러분 오늘은 인공지능과 음성 인식 기술에 대해서 이야기해 보겠습니다"
        assert " ".join(lines_of(cues_of([final(text)]))) == text

    @given(st.text(max_size=200), st.integers(0, 30_000))
    @settings(max_examples=100, deadline=None)
    def test_no_character_is_lost(self, text: str, length_ms: int) -> None:
        cues = cues_of([final(text, 0, length_ms)])
        assert "".join("".join(lines_of(cues)).split()) == "".join(one_line(text).split())


class TestTimes:
    def test_cues_have_the_times_of_their_words(self) -> None:
        texts = ENGLISH.split()
        words = tuple(
            Word(text=text.strip(",.:"), start_ms=1_000 + 300 * n, end_ms=1_200 + 300 * n)
            for n, text in enumerate(texts)
        )
        cues = cues_of([final(ENGLISH, 1_000, 1_200 + 300 * (len(texts) - 1), words=words)])
        assert [(cue.start_ms, cue.end_ms) for cue in cues] == [
            (1_000, 1_800),
            (1_900, 5_400),
            (5_500, 9_000),
            (9_100, 12_600),
        ]

    def test_a_cue_is_not_longer_than_seven_seconds(self) -> None:
        cues = cues_of([final("one two three four five six", 0, 30_000)])
        assert len(cues) == 6
        assert all(cue.end_ms - cue.start_ms <= MAX_CUE_MS for cue in cues)

    def test_words_before_and_behind_a_pause_are_in_different_cues(self) -> None:
        words = (Word(text="yes", start_ms=0, end_ms=400), Word(text="no", start_ms=4_000, end_ms=4_400))
        cues = cues_of([final("yes no", 0, 4_400, words=words)])
        assert [(cue.start_ms, cue.lines) for cue in cues] == [(0, ("yes",)), (4_000, ("no",))]

    def test_a_short_cue_stays_until_it_can_be_read_but_not_into_the_next(self) -> None:
        first, second = cues_of([final("yes", 0, 100), final("no", 500, 600)])
        assert (first.end_ms, second.end_ms) == (500, 1_300)

    def test_a_cue_that_ends_before_it_starts_has_a_length(self) -> None:
        assert cues_of([final("short", 500, 400)])[0].end_ms > 500


class TestTwoLanguages:
    def test_the_translation_is_below_the_text_of_its_cue(self) -> None:
        assert [cue.lines for cue in cues_of([final(CHINESE, into=IN_ENGLISH)])] == [
            ("今天我们开会讨论三个问题：预算、", "Today we meet to discuss three questions:", "the budget,"),
            ("新办公室，还有夏天的计划。", "the new office,", "and the plan for the summer."),
            ("先从预算开始吧，", "Let us begin with the budget,"),
            ("因为这件事情最紧急，也最重要。", "because it is the most urgent", "and the most important."),
        ]

    def test_one_language_can_be_chosen(self) -> None:
        result = final("你好。", into="Hello.")
        assert lines_of(cues_of([result], languages="original")) == ["你好。"]
        assert lines_of(cues_of([result], languages="translation")) == ["Hello."]

    def test_one_translation_of_several_can_be_chosen(self) -> None:
        german = Translation(text="Hallo.", is_final=True, start_ms=0, end_ms=1_000)
        result = final("你好。", into="Hello.")
        result = msgspec.structs.replace(result, translations={**result.translations, "de": german})
        assert lines_of(cues_of([result])) == ["你好。", "Hello."]
        assert lines_of(cues_of([result], translation="de")) == ["你好。", "Hallo."]

    def test_no_text_is_missing_where_there_is_no_translation(self) -> None:
        assert lines_of(cues_of([final("你好。")], languages="translation")) == ["你好。"]
        assert lines_of(cues_of([final("", into="Hello.")], languages="original")) == ["Hello."]
        assert lines_of(cues_of([final("", into="Hello.")])) == ["Hello."]

    def test_a_translation_that_is_shorter_than_the_text_leaves_no_word_out(self) -> None:
        cues = cues_of([final(ENGLISH, into="大家好。")])
        assert lines_of(cues).count("大家好。") == 1


# --- formats ---------------------------------------------------------------------------------------------------------


class TestTranscript:
    def test_pysubs2_reads_the_subtitles_of_both_formats(self) -> None:
        transcript = transcript_of(final(ENGLISH), final(CHINESE, 13_000, 25_000, into=IN_ENGLISH))
        cues = [(cue.start_ms, cue.end_ms, list(cue.lines)) for cue in cues_of(transcript.results)]
        assert read_back(transcript.to_srt()) == cues
        assert read_back(transcript.to_vtt()) == cues

    def test_srt_has_numbered_cues(self) -> None:
        text = transcript_of(final("one", 0, 1_500), final("two", 2_000, 3_000)).to_srt()
        assert text == "1\n00:00:00,000 --> 00:00:01,500\none\n\n2\n00:00:02,000 --> 00:00:03,000\ntwo\n\n"

    def test_markup_is_escaped_in_vtt(self) -> None:
        text = transcript_of(final("R&D <i>a</i> b --> c {x} \\N \\h")).to_vtt()
        assert "\nR&amp;D &lt;i&gt;a&lt;/i&gt; b --&gt; c {x} \\\u2060N \\\u2060h\n" in text

    def test_an_arrow_is_replaced_in_srt(self) -> None:
        assert "\nb → c\n" in transcript_of(final("b --> c")).to_srt()

    def test_a_transcript_without_results_is_an_empty_file(self) -> None:
        assert (transcript_of().to_srt(), transcript_of().to_vtt()) == ("", "WEBVTT\n\n")

    def test_text_has_a_line_for_each_result_and_each_translation(self) -> None:
        transcript = transcript_of(final("one\r\ntwo"), final("你好。", into="Hello."), final(" "))
        assert transcript.to_text() == "one two\n你好。\nHello.\n"
        assert transcript.to_text(languages="original") == "one two\n你好。\n"
        assert transcript.to_text(languages="translation") == "one two\nHello.\n"

    def test_json_is_read_back_as_the_same_transcript(self) -> None:
        transcript = transcript_of(final("你好。", into="Hello.", raw='{"a": 1}'))
        assert msgspec.json.decode(transcript.to_json(raw=True), type=Transcript) == transcript
        assert msgspec.json.decode(transcript.to_json(), type=Transcript).results[0].raw == ""
        assert "你好。" in transcript.to_json()

    def test_a_missing_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pysubs2", None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'asr-async\[subtitles\]'"):
            transcript_of().to_srt()


# --- live captions ---------------------------------------------------------------------------------------------------


def interims(text: str, segment_id: int = 0) -> list[Result]:
    """Return an interim for each word of a text."""
    words = text.split()
    return [
        final(" ".join(words[:count]), 0, 300 * count, is_final=False, segment_id=segment_id)
        for count in range(1, len(words) + 1)
    ]


class TestLiveCaptions:
    def test_cues_are_written_before_the_segment_is_final_and_never_again(self) -> None:
        captions = LiveCaptions("srt")
        written = [captions.add(result) for result in interims(ENGLISH)]
        before = "".join(written)
        assert len(read_back(before)) >= 3
        after = before + captions.add(final(ENGLISH))
        spoken = " ".join(line for _, _, lines in read_back(after) for line in lines)
        assert spoken == ENGLISH
        assert [int(number) for number in re.findall(r"^(\d+)$", after, re.MULTILINE)] == list(
            range(1, len(read_back(after)) + 1)
        )

    def test_a_file_that_grows_is_always_a_whole_file(self) -> None:
        captions = LiveCaptions("vtt")
        text = captions.header
        for result in [*interims(ENGLISH), final(ENGLISH)]:
            text += captions.add(result)
            cues = read_back(text)
            assert [start for start, _, _ in cues] == sorted(start for start, _, _ in cues)
            assert all(end <= start for (_, end, _), (start, _, _) in pairwise(cues))
        assert text.startswith("WEBVTT\n\n1\n")

    def test_a_corrected_word_is_not_shown_twice_and_no_other_is_lost(self) -> None:
        captions = LiveCaptions("srt")
        text = "".join(captions.add(result) for result in interims(ENGLISH))
        corrected = ENGLISH.replace("coming to this meeting", "coming into this meeting").replace("budget.", "money.")
        text += captions.add(final(corrected))
        spoken = " ".join(line for _, _, lines in read_back(text) for line in lines)
        assert spoken == ENGLISH.replace("budget.", "money.")

    def test_text_on_which_two_interims_do_not_agree_is_not_written(self) -> None:
        captions = LiveCaptions("srt")
        assert captions.cues(final(ENGLISH, is_final=False)) == []
        assert captions.cues(final(ENGLISH.upper().replace("GOOD", "BAD"), is_final=False)) == []
        assert captions.cues(final(ENGLISH.upper().replace("GOOD", "BAD"), is_final=False)) != []

    def test_the_stable_text_of_the_vendor_is_certain(self) -> None:
        captions = LiveCaptions("srt")
        assert captions.cues(final(ENGLISH, is_final=False, stable_text="Good morning,")) == []
        assert captions.cues(final(ENGLISH, is_final=False, stable_text="Good morning,")) == []
        stable = ENGLISH[: ENGLISH.index("the plan")]
        spoken = " ".join(lines_of(captions.cues(final(ENGLISH, is_final=False, stable_text=stable))))
        assert spoken
        assert stable.startswith(spoken)

    def test_segments_at_the_same_time_have_cues_of_their_own(self) -> None:
        captions = LiveCaptions("srt")
        text = "".join(
            captions.add(one) + captions.add(other)
            for one, other in zip(interims(ENGLISH, 0), interims(IN_ENGLISH, 1), strict=False)
        )
        text += captions.add(final(ENGLISH)) + captions.add(final(IN_ENGLISH, segment_id=1))
        spoken = [line for _, _, lines in read_back(text) for line in lines]
        assert sorted(" ".join(spoken).split()) == sorted(f"{ENGLISH} {IN_ENGLISH}".split())

    def test_a_segment_with_a_translation_is_written_when_it_is_final(self) -> None:
        captions = LiveCaptions("srt", languages="both")
        assert all(captions.add(result) == "" for result in interims(ENGLISH))
        assert read_back(captions.add(final("你好。", into="Hello.")))[0][2] == ["你好。", "Hello."]
        assert repr(captions) == "<LiveCaptions srt, 1 cues>"

    def test_a_final_in_other_words_is_written_behind_what_is_shown(self) -> None:
        captions = LiveCaptions("srt")
        shown = sum(len(captions.cues(result)) for result in interims(ENGLISH))
        assert shown
        assert captions.cues(final("something else")) == []


def test_the_cues_of_a_long_text_without_times_are_spread_over_all_of_its_audio() -> None:
    cues = cues_of([final(" ".join(f"word{n:04}" for n in range(3_000)), 0, 1_200_000)])
    assert all(MIN_CUE_MS <= cue.end_ms - cue.start_ms <= MAX_CUE_MS for cue in cues)
    middle = next(cue for cue in cues if any("word1500" in line for line in cue.lines))
    assert middle.start_ms == pytest.approx(600_000, rel=0.02)


def test_cues_of_a_players_length_are_written_as_they_are() -> None:
    cue = Cue(start_ms=3_600_000, end_ms=3_601_000, lines=("a", "b"))
    assert subtitles([cue], "vtt") == "WEBVTT\n\n1\n01:00:00.000 --> 01:00:01.000\na\nb\n\n"
