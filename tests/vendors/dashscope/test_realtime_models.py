"""The options of the realtime models are checked when they are made; the error is one line with the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from asr_async import AudioFormat, ConfigurationError, QwenRealtime
from asr_async.vendors import options_for_model, service_for, vendor_of
from asr_async.vendors.dashscope import DashScope
from asr_async.vendors.dashscope.realtime_models import REALTIME_MODEL_ROWS


@pytest.mark.parametrize("model", REALTIME_MODEL_ROWS)
def test_every_model_of_the_table_is_found_by_its_name_and_knows_its_row(model: str) -> None:
    assert options_for_model(model) is QwenRealtime
    row = QwenRealtime(model=model).model_row
    assert row.model == model
    assert row.options <= set(QwenRealtime.__struct_fields__)


def test_the_options_tell_their_audio_and_their_vendor() -> None:
    options = QwenRealtime(format="opus", sample_rate=8_000)
    assert options.audio == AudioFormat("opus", 8_000)
    assert vendor_of(options).name == "dashscope"
    assert isinstance(service_for(options), DashScope)


@pytest.mark.parametrize(
    "values",
    [
        {"vad_threshold": -1.0, "silence_duration_ms": 200, "prefix_padding_ms": 0},
        {"vad_threshold": 1.0, "silence_duration_ms": 6_000},
        {"language": "fil"},
        {"manual_commit": True, "corpus_text": "names"},
    ],
)
def test_documented_values_are_accepted(values: dict[str, Any]) -> None:
    options = QwenRealtime(**values)
    assert {name: getattr(options, name) for name in values} == values


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"model": "qwen3-asr-flash-realtim"},
            "unknown model 'qwen3-asr-flash-realtim': did you mean 'qwen3-asr-flash-realtime'? (strict=False",
        ),
        ({"format": "wav"}, "format='wav': qwen3-asr-flash-realtime accepts pcm or opus only"),
        ({"sample_rate": 44_100}, "sample_rate=44100: qwen3-asr-flash-realtime accepts 8000 or 16000 Hz only"),
        ({"language": "zh-CN"}, "language='zh-CN': must be a code of ISO 639, such as 'zh', 'yue' or 'en'"),
        ({"vad_threshold": 1.5}, "vad_threshold=1.5: must be between -1.0 and 1.0"),
        ({"silence_duration_ms": 100}, "silence_duration_ms=100: must be between 200 and 6000 ms"),
        ({"prefix_padding_ms": -1}, "prefix_padding_ms=-1: expected int >= 0"),
        (
            {"manual_commit": True, "vad_threshold": 0.0},
            "vad_threshold=0.0 has no effect with manual_commit=True: leave one out",
        ),
        (
            {"manual_commit": True, "silence_duration_ms": 400},
            "silence_duration_ms=400 has no effect with manual_commit=True: leave one out",
        ),
    ],
)
def test_a_bad_value_is_refused_in_one_line(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        QwenRealtime(**values)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_newer_model_is_accepted_unchecked_without_strict() -> None:
    options = QwenRealtime(model="qwen9-asr-realtime", sample_rate=48_000, vad_threshold=7.0, strict=False)
    assert options.model_row.source == "not in the table"


def test_the_types_are_checked_all_the_same() -> None:
    with pytest.raises(ConfigurationError, match=r"sample_rate='fast': expected int \| null, got str"):
        QwenRealtime(model="qwen9-asr-realtime", sample_rate="fast", strict=False)  # type: ignore[arg-type]
