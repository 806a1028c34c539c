"""DashScope's feature table (model selection page, 2026-01), one entry per column.

Tests of the options, of the catalogue and of the emulator compare with it.
"""

from __future__ import annotations

from typing import NamedTuple

ONE_MINUTE, EMOTION = "one minute at most", "emotion"
HOT_WORDS, V1_HOT_WORDS = "vocabulary_id", "phrase_id"
NO_FILLERS, NO_PUNCTUATION = "disfluency_removal_enabled", "punctuation_prediction_enabled"

FORMATS = ("pcm", "wav", "mp3", "opus", "speex", "aac", "amr")
BEIJING, SINGAPORE = "cn-beijing", "ap-southeast-1"
ZH = frozenset({"zh"})
ZH_EN = ZH | {"en"}
ZH_EN_JA = ZH_EN | {"ja"}
# In Gummy's column "yue" is a language of its own, in all others it is a dialect of Chinese; Paraformer's options
# accept it nevertheless (SDK page, 2025-10).
PARAFORMER = ZH_EN_JA | {"yue", "ko", "de", "fr", "ru"}
GUMMY = PARAFORMER | {"es", "it", "pt", "id", "ar", "th", "hi", "da", "ur", "tr", "nl", "ms", "vi"}


class ModelFeatures(NamedTuple):
    """One column of the table: the features of one model."""

    accepted_hz: int
    rejected_hz: int | None
    starts_per_second: int
    yuan_per_second: float
    yuan_per_second_abroad: float | None
    languages: frozenset[str]
    regions: set[str]
    features: set[str]


def _fun_asr(languages: frozenset[str], regions: set[str]) -> ModelFeatures:
    abroad = 0.00066 if SINGAPORE in regions else None
    return ModelFeatures(16_000, 8_000, 20, 0.00033, abroad, languages, regions, {HOT_WORDS, NO_FILLERS})


def _gummy(accepted_hz: int, rejected_hz: int, *features: str) -> ModelFeatures:
    return ModelFeatures(accepted_hz, rejected_hz, 10, 0.00015, None, GUMMY, {BEIJING}, {HOT_WORDS, *features})


def _paraformer(accepted_hz: int, rejected_hz: int | None, *features: str, languages: frozenset[str]) -> ModelFeatures:
    return ModelFeatures(accepted_hz, rejected_hz, 20, 0.00024, None, languages, {BEIJING}, {NO_FILLERS, *features})


FEATURES = {
    "fun-asr-realtime": _fun_asr(ZH_EN_JA, {BEIJING, SINGAPORE}),
    "fun-asr-realtime-2025-11-07": _fun_asr(ZH_EN_JA, {BEIJING, SINGAPORE}),
    "fun-asr-realtime-2025-09-15": _fun_asr(ZH_EN, {BEIJING}),
    "gummy-realtime-v1": _gummy(48_000, 8_000),
    "gummy-chat-v1": _gummy(16_000, 48_000, ONE_MINUTE),
    "paraformer-realtime-v2": _paraformer(11_025, None, HOT_WORDS, NO_PUNCTUATION, languages=PARAFORMER),
    "paraformer-realtime-v1": _paraformer(16_000, 8_000, V1_HOT_WORDS, languages=ZH),
    "paraformer-realtime-8k-v2": _paraformer(8_000, 16_000, HOT_WORDS, NO_PUNCTUATION, EMOTION, languages=ZH),
    "paraformer-realtime-8k-v1": _paraformer(8_000, 16_000, V1_HOT_WORDS, languages=ZH),
}
