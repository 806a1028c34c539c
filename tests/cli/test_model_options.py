"""`--option KEY=VALUE`: the conversion of texts to the types of the options."""

from __future__ import annotations

import pytest

from asr_async.cli.model_options import option_values
from asr_async.vendors import options_for_model


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("heartbeat=true", True),
        ("heartbeat=YES", True),
        ("heartbeat=1", True),
        ("heartbeat=no", False),
        ("heartbeat=0", False),
        ("heartbeat=False", False),
        ("sample_rate=16000", 16_000),
        ("format=wav", "wav"),
        ("vocabulary_id=vocab-1=x", "vocab-1=x"),
        ("vocabulary_id=123", "123"),
        ("special_word_filter={}", "{}"),
        ("speech_noise_threshold=-0.5", -0.5),
        ("language_hints=zh", ("zh",)),
        ('language_hints=["zh"]', ("zh",)),
        ('extra_parameters={"a": [1]}', {"a": [1]}),
    ],
)
def test_option_values_have_the_type_of_the_option(assignment: str, value: object) -> None:
    key = assignment.partition("=")[0]
    options_class = options_for_model("fun-asr-realtime")
    options = options_class(**option_values(options_class, [assignment]))
    assert getattr(options, key) == value
