"""The options of every vendor as values: equality and hashes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from asr_async import ContextMessage, FunASR, Gummy, Paraformer, QwenAudio, QwenRealtime, Rasr
from asr_async.vendors import vendors
from asr_async.vendors.options import Options

NESTED: dict[str, Any] = {"levels": [1, {"of": ["a", "b"]}]}


def pairs() -> list[tuple[Options, Options]]:
    """Return options twice, with lists and tuples, and mappings in another order."""
    return [
        (Paraformer(language_hints=["zh", "en"]), Paraformer(language_hints=("zh", "en"))),
        (Paraformer(extra_parameters=NESTED), Paraformer(extra_parameters=dict(NESTED))),
        (QwenAudio(vocabulary={"a": 1, "b": 2}), QwenAudio(vocabulary={"b": 2, "a": 1})),
        (QwenAudio(speech_noise_threshold=1), QwenAudio(speech_noise_threshold=1.0)),
        (FunASR(context=[ContextMessage("user", "go")]), FunASR(context=(ContextMessage("user", "go"),))),
        (Gummy(translation_target_languages=["en"]), Gummy(translation_target_languages=["en"])),
        (QwenRealtime(manual_commit=True), QwenRealtime(manual_commit=True)),
        (Rasr(user_words=["go"]), Rasr(user_words=["go"])),
    ]


@pytest.mark.parametrize(("one", "same"), pairs(), ids=repr)
def test_equal_options_have_equal_hashes(one: Options, same: Options) -> None:
    assert one == same
    assert hash(one) == hash(same)
    assert {one: "kept"}[same] == "kept"


def test_the_options_of_every_class_are_keys_of_one_cache() -> None:
    classes: list[Any] = [cls for vendor in vendors().values() for cls in vendor.options]
    assert len({cls() for cls in classes}) == len({hash(cls()) for cls in classes}) == len(classes)


def test_a_changed_copy_has_another_hash() -> None:
    options = QwenAudio(vocabulary={"a": 1})
    assert hash(msgspec.structs.replace(options, vocabulary={"a": 2})) != hash(options)
