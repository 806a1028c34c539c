"""Options of Huawei's recognition: the values that are sent, and those that are refused before a request."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from asr_async import ConfigurationError
from asr_async.audio import AudioFormat
from asr_async.vendors.huawei.models import AUDIO_FORMATS, FRAME_LIMITS, MODES, Rasr

EVERY_OPTION: dict[str, Any] = {
    "add_punc": False,
    "digit_norm": True,
    "vad_head": 10_000,
    "vad_tail": 500,
    "max_seconds": 30,
    "interim_results": False,
    "need_word_info": False,
    "vad_threshold": 0,
    "user_words": ["华为", "SIS"],
    "vocabulary_id": "table-1",
}


def sent(options: Rasr) -> Any:
    return json.loads(msgspec.json.encode(options.config()))


def refused(**values: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Rasr(**values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_accepts_its_options_and_refuses_all_others(mode: str) -> None:
    for name, value in EVERY_OPTION.items():
        if name in MODES[mode].options:
            assert name in sent(Rasr(mode=mode, **{name: value}))
        else:
            text = refused(mode=mode, **{name: value})
            assert text == (
                f"{name}={value!r}: huawei/{mode} does not have this option (huawei/continue, huawei/sentence do)"
            )
    assert MODES[mode].options <= set(EVERY_OPTION)


def test_without_strict_every_value_and_option_is_sent_and_types_are_checked() -> None:
    assert sent(Rasr(mode="short", vad_head=99_999, strict=False))["vad_head"] == 99_999
    assert sent(Rasr(property="chinese_8k_x", audio_format="pcm16k16bit", strict=False))["property"] == "chinese_8k_x"
    assert refused(vad_head="long", strict=False) == "vad_head='long': expected int | null, got str"
    assert refused(audio_format="mp3", strict=False).startswith("audio_format='mp3': ")


def test_the_short_mode_has_no_segmentation() -> None:
    assert set(EVERY_OPTION) - MODES["short"].options == {"vad_head", "vad_tail", "max_seconds"}


def test_options_without_a_value_are_not_sent_except_for_interims() -> None:
    required = {"audio_format": "pcm16k16bit", "property": "chinese_16k_general"}
    assert sent(Rasr()) == {**required, "interim_results": "yes"}
    assert sent(Rasr(interim_results=None)) == required
    assert sent(Rasr(interim_results=None, user_words=[])) == required


def test_flags_are_sent_as_yes_and_no_and_numbers_as_numbers() -> None:
    config = sent(Rasr(**EVERY_OPTION))
    assert {name for name, value in config.items() if value == "yes"} == {"digit_norm"}
    assert {name for name, value in config.items() if value == "no"} == {
        "add_punc",
        "interim_results",
        "need_word_info",
    }
    assert (config["vad_head"], config["vad_threshold"], config["user_words"]) == (10_000, 0, ["华为", "SIS"])


@pytest.mark.parametrize("mode", MODES)
def test_mode_and_model_say_the_same(mode: str) -> None:
    by_mode = Rasr(mode=mode)
    assert (by_mode.mode, by_mode.model) == (mode, f"huawei/{mode}")
    assert by_mode == Rasr(model=f"huawei/{mode}") == Rasr(model=mode) == Rasr(mode=mode, model=f"huawei/{mode}")
    assert by_mode.model_row is MODES[mode]


def test_continue_is_the_mode_when_none_is_named() -> None:
    assert Rasr() == Rasr(mode="continue")
    assert Rasr.vendor == "huawei"


def test_a_mode_that_contradicts_the_model_is_refused() -> None:
    assert refused(mode="short", model="huawei/sentence") == (
        "mode='short' contradicts model='huawei/sentence': pass only one of them"
    )


def test_a_changed_copy_is_checked_like_new() -> None:
    copy = msgspec.structs.replace(Rasr(), mode="sentence", model="")
    assert copy == Rasr(mode="sentence")
    with pytest.raises(ConfigurationError, match="vad_tail=3001: must be between 0 and 3000 ms"):
        msgspec.structs.replace(Rasr(), vad_tail=3_001)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"mode": "continous"}, "mode='continous': did you mean 'continue'?"),
        ({"mode": 3}, "mode=3: expected str, got int"),
        ({"model": "huawei/sentense"}, "unknown model 'huawei/sentense': did you mean 'huawei/sentence'?"),
        ({"model": "whisper"}, "unknown model 'whisper': known are huawei/continue, huawei/sentence, huawei/short"),
        ({"model": "huawei/"}, "unknown model 'huawei/'"),
        ({"audio_format": "pcm16k"}, "audio_format='pcm16k': did you mean 'pcm16k16bit'?"),
        ({"audio_format": "mp3"}, "audio_format='mp3': known are alaw16k8bit, alaw8k8bit, pcm16k16bit"),
        (
            {"property": "chinese_8k_general", "audio_format": "pcm16k16bit"},
            "property='chinese_8k_general' is for 8 kHz, audio_format='pcm16k16bit' has 16 kHz: change one",
        ),
        (
            {"property": "chinese_48k_general"},
            "property='chinese_48k_general' is for 48 kHz, audio_format='pcm16k16bit' has 16 kHz: change one",
        ),
        ({"property": "new_16k"} | {"audio_format": "alaw8k8bit"}, "property='new_16k' is for 16 kHz"),
        ({"property": ""}, "property='': must not be empty"),
        ({"vocabulary_id": ""}, "vocabulary_id='': must not be empty"),
        ({"user_words": "abc"}, "user_words='abc': expected array | null, got str"),
        ({"user_words": ["a", ""]}, "user_words: a word must not be empty"),
        ({"add_punc": "yes"}, "add_punc='yes': expected bool | null, got str"),
        ({"vad_head": True}, "vad_head=True: expected int | null, got bool"),
        ({"vad_head": -1}, "vad_head=-1: must be between 0 and 60000 ms"),
        ({"vad_head": 60_001}, "vad_head=60001: must be between 0 and 60000 ms"),
        ({"vad_tail": -1}, "vad_tail=-1: must be between 0 and 3000 ms"),
        ({"max_seconds": 0}, "max_seconds=0: must be between 1 and 60 s"),
        ({"max_seconds": 61}, "max_seconds=61: must be between 1 and 60 s"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(values: dict[str, Any], text: str) -> None:
    assert text in refused(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"vad_head": 0, "vad_tail": 0, "max_seconds": 1},
        {"vad_head": 60_000, "vad_tail": 3_000, "max_seconds": 60},
        {"property": "klingon_16k_general"},
        {"property": "a_name_without_a_rate"},
        {"property": "arabic_8k_general", "audio_format": "alaw8k8bit"},
    ],
)
def test_values_at_the_limits_and_unknown_properties_pass(values: dict[str, Any]) -> None:
    assert values.items() <= sent(Rasr(**values)).items()


def test_every_audio_format_maps_to_its_encoding_and_rate() -> None:
    for name, audio in AUDIO_FORMATS.items():
        rate = "8k" if audio.sample_rate == 8_000 else "16k"
        options = Rasr(audio_format=name, property=f"chinese_{rate}_general")
        assert options.audio == audio
        assert name == f"{audio.encoding}{rate}{16 if audio.encoding == 'pcm' else 8}bit"
    assert Rasr().audio == AudioFormat("pcm", 16_000)


def test_audio_messages_have_limits_at_every_rate() -> None:
    assert FRAME_LIMITS == {8_000: (160, 32_768), 16_000: (320, 65_536)}
    assert {audio.sample_rate for audio in AUDIO_FORMATS.values()} == set(FRAME_LIMITS)


def test_options_do_not_change_after_they_were_made() -> None:
    words = ["a"]
    options = Rasr(user_words=words)
    words.append("b")
    assert options.user_words == ("a",)
    with pytest.raises(AttributeError):
        options.mode = "short"  # type: ignore[misc]


def test_each_mode_has_its_path_and_its_longest_audio() -> None:
    assert {row.name: (row.path, row.max_audio_s, row.is_single_sentence) for row in MODES.values()} == {
        "continue": ("rasr/continue-stream", 18_000, False),
        "sentence": ("rasr/sentence-stream", 60, True),
        "short": ("rasr/short-stream", 60, False),
    }


@pytest.mark.parametrize(
    ("values", "audio_format", "model_property"),
    [
        ({}, "pcm16k16bit", "chinese_16k_general"),
        ({"property": "english_8k_common"}, "pcm8k16bit", "english_8k_common"),
        ({"audio_format": "ulaw8k8bit"}, "ulaw8k8bit", "chinese_8k_general"),
    ],
)
def test_of_audio_format_and_property_one_is_enough(
    values: dict[str, Any], audio_format: str, model_property: str
) -> None:
    config = Rasr(**values).config()
    assert (config.audio_format, config.property) == (audio_format, model_property)


@pytest.mark.parametrize(
    ("values", "formats", "chosen"),
    [
        ({}, [AudioFormat("pcm", 8_000)], "pcm8k16bit"),
        ({}, [AudioFormat("alaw", 8_000), AudioFormat("pcm", 8_000)], "alaw8k8bit"),
        ({}, [AudioFormat("mp3", 8_000), AudioFormat("pcm", 44_100)], None),
        ({"property": "chinese_16k_general"}, [AudioFormat("pcm", 8_000)], None),
        ({"audio_format": "pcm16k16bit"}, [AudioFormat("pcm", 8_000)], "pcm16k16bit"),
    ],
)
def test_the_format_of_a_file_is_taken_where_the_options_leave_it_open(
    values: dict[str, Any], formats: list[AudioFormat], chosen: str | None
) -> None:
    options = Rasr(**values).with_audio(formats)
    assert options == msgspec.structs.replace(Rasr(**values), audio_format=chosen)
