"""Options are held against the capability table when they are made, with one line that says what to change."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from asr_async import ConfigurationError, ContextMessage, FunASR, Paraformer
from asr_async.vendors import options_for_model, service_for, vendor_of
from asr_async.vendors.dashscope import DashScope
from asr_async.vendors.dashscope.models import CAPABILITIES
from asr_async.vendors.options import Options


@pytest.mark.parametrize("model", CAPABILITIES)
def test_every_model_of_the_table_takes_its_options_and_refuses_all_others(model: str) -> None:
    row = CAPABILITIES[model]
    options_class = options_for_model(model)
    rate = row.sample_rates[0] if row.sample_rates else 16_000
    values: dict[str, Any] = {
        "language_hints": row.language_hints[:1] or ("zh",),
        "vocabulary_id": "vocab-1",
        "phrase_id": "phrase-1",
        "disfluency_removal_enabled": True,
        "semantic_punctuation_enabled": False,
        "max_sentence_silence": 500,
        "multi_threshold_mode_enabled": True,
        "punctuation_prediction_enabled": True,
        "inverse_text_normalization_enabled": False,
        "heartbeat": True,
        "speech_noise_threshold": 0.5,
        "special_word_filter": "{}",
        "context": (ContextMessage("user", "x"),),
    }
    fields = {field.name for field in msgspec.structs.fields(options_class)}
    for name in fields & set(values):
        arguments = {"model": model, "sample_rate": rate, name: values[name]}
        if name in row.options:
            assert getattr(options_class(**arguments), name) == values[name]
        else:
            with pytest.raises(ConfigurationError, match=f"^{name}=.*{model} does not have it .*do"):
                options_class(**arguments)
    assert row.options <= fields


@pytest.mark.parametrize("model", [name for name, row in CAPABILITIES.items() if row.sample_rates])
def test_a_rate_that_the_model_does_not_take_is_refused(model: str) -> None:
    rate = CAPABILITIES[model].sample_rates[0]  # type: ignore[index]
    with pytest.raises(ConfigurationError, match=f"sample_rate=44100: {model} takes {rate} Hz only"):
        options_for_model(model)(model=model, sample_rate=44_100)  # type: ignore[call-arg]


def refused(options_class: type[Options], **values: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        options_class(**values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_model_is_refused_with_the_nearest() -> None:
    assert refused(Paraformer, model="paraformer-realtime-v3") == (
        "unknown model 'paraformer-realtime-v3': did you mean 'paraformer-realtime-v2'?"
    )
    assert "known are fun-asr-" in refused(FunASR, model="whisper")
    with pytest.raises(ConfigurationError, match=r"unknown model 'fun-asr-realtme': did you mean 'fun-asr-realtime'\?"):
        options_for_model("fun-asr-realtme")


def test_a_model_of_the_other_family_is_refused_with_those_of_this_one() -> None:
    assert "is not of Paraformer: paraformer-realtime-v2" in refused(Paraformer, model="fun-asr-realtime")


@pytest.mark.parametrize(
    ("options_class", "values", "text"),
    [
        (Paraformer, {"max_sentence_silence": 100}, "max_sentence_silence=100: must be between 200 and 6000 ms"),
        (FunASR, {"speech_noise_threshold": 1.5}, "speech_noise_threshold=1.5: must be between -1.0 and 1.0"),
        (Paraformer, {"sample_rate": 0}, "sample_rate=0: must be between 1000 and 384000 Hz"),
        (Paraformer, {"sample_rate": "16000"}, "sample_rate='16000': expected int, got str"),
        (Paraformer, {"language_hints": "zh"}, "language_hints='zh': expected array | null, got str"),
        (Paraformer, {"heartbeat": "yes"}, "heartbeat='yes': expected bool | null, got str"),
        (Paraformer, {"format": "mp4"}, "format='mp4': did you mean 'mp3'?"),
        (Paraformer, {"language_hints": ["zh", "xx"]}, "knows zh, en, ja, yue, ko, de, fr, ru, not 'xx'"),
        (FunASR, {"language_hints": ["zh", "en"]}, "fun-asr-realtime reads only the first; give 1"),
        (FunASR, {"punctuation_prediction_enabled": False}, "fun-asr-realtime always punctuates"),
        (FunASR, {"context": [ContextMessage("user", "x" * 401)]}, "a message of 401 characters, at most 400 are read"),
        (FunASR, {"context": [ContextMessage("user", "x")] * 6}, "6 messages of 'user', at most 5 are read"),
        (
            Paraformer,
            {"semantic_punctuation_enabled": True, "max_sentence_silence": 800},
            "max_sentence_silence=800 has no effect with semantic_punctuation_enabled=True: leave one out",
        ),
    ],
)
def test_a_bad_value_is_refused_in_one_line(options_class: type[Options], values: dict[str, Any], text: str) -> None:
    assert text in refused(options_class, **values)


def test_options_do_not_change_after_they_were_made() -> None:
    hints = ["zh"]
    options = Paraformer(language_hints=hints)
    hints.append("xx")
    assert options.language_hints == ("zh",)
    with pytest.raises(AttributeError):
        options.model = "x"  # type: ignore[misc]


def test_a_changed_copy_is_checked_like_new() -> None:
    with pytest.raises(ConfigurationError, match="max_sentence_silence=1"):
        msgspec.structs.replace(Paraformer(), max_sentence_silence=1)


def test_the_vendor_and_its_service_are_found_from_the_options() -> None:
    assert vendor_of(FunASR()).name == "dashscope"
    assert isinstance(service_for(Paraformer()), DashScope)
    with pytest.raises(ConfigurationError, match="str is not the options of a model"):
        vendor_of("paraformer")  # type: ignore[arg-type]
