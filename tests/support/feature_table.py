"""DashScope's feature table of the model selection page (2026-01), column by column, for whoever claims to know it."""

from __future__ import annotations

from typing import NamedTuple

ONE_MINUTE, EMOTION = "one minute at most", "emotion"
HOT_WORDS, V1_HOT_WORDS = "vocabulary_id", "phrase_id"
NO_FILLERS, NO_PUNCTUATION = "disfluency_removal_enabled", "punctuation_prediction_enabled"

FORMATS = ("pcm", "wav", "mp3", "opus", "speex", "aac", "amr")
BEIJING, SINGAPORE = "cn-beijing", "ap-southeast-1"
THREE = frozenset({"zh", "en", "ja"})
# "yue" is a language of its own in the column of Gummy, and a dialect of Chinese in all others; options of Paraformer
# name it nevertheless (SDK page, 2025-10)
PARAFORMER = THREE | {"yue", "ko", "de", "fr", "ru"}
GUMMY = PARAFORMER | {"es", "it", "pt", "id", "ar", "th", "hi", "da", "ur", "tr", "nl", "ms", "vi"}


class Column(NamedTuple):
    """What the table says of one model."""

    takes_hz: int
    refuses_hz: int | None
    starts_per_second: int
    yuan_per_second: float
    languages: frozenset[str]
    regions: set[str]
    has: set[str]


def _fun_asr(languages: frozenset[str], regions: set[str]) -> Column:
    return Column(16_000, 8_000, 20, 0.00033, languages, regions, {HOT_WORDS})


def _gummy(takes_hz: int, refuses_hz: int, *has: str) -> Column:
    return Column(takes_hz, refuses_hz, 10, 0.00015, GUMMY, {BEIJING}, {HOT_WORDS, *has})


def _paraformer(takes_hz: int, refuses_hz: int | None, *has: str, languages: frozenset[str]) -> Column:
    return Column(takes_hz, refuses_hz, 20, 0.00024, languages, {BEIJING}, {NO_FILLERS, *has})


ZH = frozenset({"zh"})
FEATURES = {
    "fun-asr-realtime": _fun_asr(THREE, {BEIJING, SINGAPORE}),
    "fun-asr-realtime-2025-11-07": _fun_asr(THREE, {BEIJING, SINGAPORE}),
    "fun-asr-realtime-2025-09-15": _fun_asr(ZH | {"en"}, {BEIJING}),
    "gummy-realtime-v1": _gummy(48_000, 8_000),
    "gummy-chat-v1": _gummy(16_000, 48_000, ONE_MINUTE),
    "paraformer-realtime-v2": _paraformer(11_025, None, HOT_WORDS, NO_PUNCTUATION, languages=PARAFORMER),
    "paraformer-realtime-v1": _paraformer(16_000, 8_000, V1_HOT_WORDS, languages=ZH),
    "paraformer-realtime-8k-v2": _paraformer(8_000, 16_000, HOT_WORDS, NO_PUNCTUATION, EMOTION, languages=ZH),
    "paraformer-realtime-8k-v1": _paraformer(8_000, 16_000, V1_HOT_WORDS, languages=ZH),
}
