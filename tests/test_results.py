"""Results as values, and the joining of texts."""

from __future__ import annotations

import msgspec
import pytest

from asr_async import Result, Translation, Word
from asr_async.results import join_texts


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        ([], ""),
        (["hello", "world"], "hello world"),
        (["你好。", "世界"], "你好。世界"),
        (["你好", "hello", "world", "世界"], "你好hello world世界"),
        (
            ["𠮷野家", "hello，", "world"],
            "𠮷野家hello，world",
        ),  # beyond the basic plane
        (["안녕하세요", "세계"], "안녕하세요 세계"),  # Korean uses spaces
        ([" a ", "", "b"], "a b"),
    ],
)
def test_texts_are_joined_by_spaces_only_in_scripts_that_use_them(texts: list[str], joined: str) -> None:
    assert join_texts(texts) == joined


def test_a_result_is_frozen_and_survives_json() -> None:
    result = Result(
        text="hi",
        is_final=True,
        segment_id=0,
        start_ms=0,
        end_ms=5,
        words=(Word(text="hi", start_ms=0, end_ms=5),),
        translations={"fr": Translation(text="salut", is_final=True, start_ms=0, end_ms=5)},
    )
    with pytest.raises(AttributeError):
        result.text = "ho"  # type: ignore[misc]
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result


def test_two_results_do_not_share_their_translations() -> None:
    first, second = (Result(text="", is_final=False, segment_id=0, start_ms=0, end_ms=0) for _ in range(2))
    first.translations["fr"] = Translation(text="", is_final=False, start_ms=0, end_ms=0)
    assert second.translations == {}
