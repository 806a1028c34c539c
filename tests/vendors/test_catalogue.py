"""`models()` lists the capabilities of each model: those of the documents, and those that options really accept."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest

from asr_async import AudioFormat, ConfigurationError, ModelInfo, models
from asr_async.vendors import options_for_model, vendors
from asr_async.vendors.huawei.models import AUDIO_FORMATS
from asr_async.vendors.openai.models import FORMATS as OPENAI_FORMATS
from asr_async.vendors.options import Options

from ..support.feature_table import (
    BEIJING,
    EMOTION,
    FEATURES,
    FORMATS,
    HOT_WORDS,
    ONE_MINUTE,
    SINGAPORE,
    V1_HOT_WORDS,
)

ROWS = {row.model: row for row in models()}
TABLES_AND_WORDS: dict[str, Any] = {
    "vocabulary_id": "v",
    "phrase_id": "p",
    "vocabulary": {"word": 1},
    "user_words": ["word"],
    "hotwords": ["word"],
}


def takes(row: ModelInfo, sample_rate: int) -> bool:
    if row.sample_rates is None:
        return sample_rate >= (row.min_sample_rate or 0)
    return sample_rate in row.sample_rates


def encoding_options(audio: AudioFormat, vendor: str) -> dict[str, Any]:
    """Return the options that declare this audio."""
    if vendor == "openai":  # vLLM's options have no format
        return {} if audio.sample_rate == 16_000 else {"format": audio.encoding}
    if vendor == "funasr":  # its real-time server takes one rate
        return {} if audio.sample_rate == 16_000 else {"sample_rate": audio.sample_rate}
    if vendor != "huawei":
        return {"format": audio.encoding, "sample_rate": audio.sample_rate}
    name = next(name for name, declared in AUDIO_FORMATS.items() if declared == audio)
    return {"audio_format": name, "property": f"chinese_{audio.sample_rate // 1000}k_general"}


def options_of(row: ModelInfo, audio: AudioFormat | None = None, **values: Any) -> Options:
    rate = (row.sample_rates or (16_000,))[0]
    declared = encoding_options(audio or AudioFormat(row.formats[0], rate), row.vendor)
    return options_for_model(row.model)(model=row.model, **declared, **values)


@pytest.mark.parametrize("model", FEATURES)
def test_each_column_of_the_feature_table_is_in_the_catalogue(model: str) -> None:
    column, row = FEATURES[model], ROWS[model]
    assert takes(row, column.accepted_hz)
    assert column.rejected_hz is None or not takes(row, column.rejected_hz)
    assert row.formats == FORMATS
    assert set(row.languages) == column.languages
    assert row.hot_words == tuple(name for name in (HOT_WORDS, V1_HOT_WORDS) if name in column.features)
    assert row.emotion == (EMOTION in column.features)
    assert row.max_audio_s == (60 if ONE_MINUTE in column.features else None)
    assert (row.starts_per_second, row.yuan_per_second) == (column.starts_per_second, column.yuan_per_second)
    assert set(row.regions or ()) == column.regions
    prices = {BEIJING: column.yuan_per_second, SINGAPORE: column.yuan_per_second_abroad}
    assert dict(row.prices) == {region: price for region, price in prices.items() if price is not None}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("fun-asr-realtime-2026-02-28", "ap-southeast-1"),
        ("fun-asr-realtime", "disfluency_removal_enabled"),
        ("huawei/short", "/asr/short-audio"),
        ("huawei/short", "/asr/short-stream"),
    ],
)
def test_contradictions_of_the_documents_and_interfaces_that_are_not_spoken_are_notes(model: str, words: str) -> None:
    assert any(words in note for note in ROWS[model].notes)


def test_every_model_name_is_in_the_catalogue_once() -> None:
    told = [name for row in models() for name in (row.model, *row.other_names)]
    assert len(told) == len(set(told))
    assert set(told) == {name for vendor in vendors().values() for name in vendor.models}
    assert {vendor.default_model for vendor in vendors().values()} <= ROWS.keys()


def test_the_vendors_stand_in_the_order_of_the_registry() -> None:
    vendors_of_rows = list(dict.fromkeys(row.vendor for row in models()))
    assert vendors_of_rows[:4] == ["dashscope", "huawei", "openai", "funasr"]


@pytest.mark.parametrize("row", models(), ids=lambda row: row.model)
def test_the_catalogue_equals_the_options_that_are_accepted(row: ModelInfo) -> None:
    options = options_of(row)
    assert (type(options).__name__, options.model, options.vendor) == (row.options, row.model, row.vendor)
    assert options.max_audio_ms == (None if row.max_audio_s is None else row.max_audio_s * 1000)
    for rate in row.sample_rates or (row.min_sample_rate or 8_000,):
        for encoding in row.formats:
            audio = AudioFormat(encoding, rate)
            if row.options != "OpenAIRealtime" or audio in OPENAI_FORMATS.values():  # there each encoding has one rate
                assert options_of(row, audio).audio == audio
    for name, value in TABLES_AND_WORDS.items():
        accepts = functools.partial(options_of, row, **{name: value})
        if name in row.hot_words:
            accepts()
        else:  # TypeError: the whole class has no such option
            with pytest.raises((ConfigurationError, TypeError), match=name):
                accepts()


@pytest.mark.parametrize("row", models(), ids=lambda row: row.model)
def test_every_row_names_a_document_and_its_year(row: ModelInfo) -> None:
    assert re.search(r"\b20[12]\d\b", row.source)


def test_how_sentences_are_cut() -> None:
    assert ROWS["paraformer-realtime-v2"].segmentation == ("silence", "meaning")
    assert ROWS["paraformer-realtime-v1"].segmentation == ("silence",)
    assert ROWS["gummy-chat-v1"].segmentation == ROWS["huawei/sentence"].segmentation == ("one sentence",)
    assert ROWS["qwen3-asr-flash-realtime"].segmentation == ("silence", "caller")
    assert ROWS["huawei/continue"].segmentation == ("silence",)
    assert ROWS["huawei/short"].segmentation == ()


def test_the_catalogue_names_the_models_with_context_and_with_translation() -> None:
    assert {name for name, row in ROWS.items() if row.context} == {
        "fun-asr-realtime",
        "fun-asr-realtime-2025-11-07",
        "qwen-audio-3.0-asr-flash-streaming",
        "qwen-audio-3.1-asr-flash-streaming",
        "qwen-audio-3.1-asr-flash-message",
    }
    translating = {name: set(row.translation) for name, row in ROWS.items() if row.translation}
    assert translating == {name: {"zh", "en", "ja", "ko"} for name in ("gummy-realtime-v1", "gummy-chat-v1")}


def test_a_mode_of_huawei_is_found_by_its_own_name_too() -> None:
    assert ROWS["huawei/continue"].other_names == ("continue",)
    assert options_for_model("continue") is options_for_model("huawei/continue")
