"""Options are checked by the capability table when they are made; the error is one line with the remedy."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from asr_async import (
    AudioFormat,
    ConfigurationError,
    ContextMessage,
    DashScope,
    FunASR,
    Gummy,
    GummyChat,
    Paraformer,
    QwenAudio,
    QwenRealtime,
)
from asr_async.vendors import options_for_model, service_for, vendor_of
from asr_async.vendors.dashscope.models import MODEL_ROWS, TRANSLATIONS, TaskOptions
from asr_async.vendors.options import Options

from ...support.feature_table import (
    EMOTION,
    FEATURES,
    FORMATS,
    HOT_WORDS,
    NO_FILLERS,
    NO_PUNCTUATION,
    ONE_MINUTE,
    V1_HOT_WORDS,
)


@pytest.mark.parametrize("model", MODEL_ROWS)
def test_every_model_of_the_table_accepts_its_options_and_refuses_all_others(model: str) -> None:
    row = MODEL_ROWS[model]
    options_class = options_for_model(model)
    rate = row.sample_rates[0] if row.sample_rates else 16_000
    values: dict[str, Any] = {
        "language_hints": (row.language_hints or ("en",))[:1],
        "vocabulary_id": "vocab-1",
        "phrase_id": "phrase-1",
        "disfluency_removal_enabled": True,
        "semantic_punctuation_enabled": True,
        "max_sentence_silence": 500,
        "multi_threshold_mode_enabled": True,
        "punctuation_prediction_enabled": options_class is FunASR,
        "inverse_text_normalization_enabled": False,
        "heartbeat": True,
        "speech_noise_threshold": 0.5,
        "special_word_filter": "{}",
        "context": (ContextMessage("user", "x"),),
        "vocabulary": {"阿里云": 4},
        "keep_dialect": True,
        "vad_model": "near_meeting_16k",
        "intermediate_result_enabled": True,
        "source_language": "zh",
        "max_end_silence": 500,
    }
    fields = {field.name for field in msgspec.structs.fields(options_class)}
    for name in fields & set(values):
        arguments = {"model": model, "sample_rate": rate, name: values[name]}
        if name in row.options:
            assert getattr(options_class(**arguments), name) == values[name]
        else:
            with pytest.raises(ConfigurationError, match=f"^{name}=.*{model} does not have this option .*do"):
                options_class(**arguments)
    assert row.options <= fields


@pytest.mark.parametrize("model", [name for name, row in MODEL_ROWS.items() if row.sample_rates])
def test_a_rate_that_the_model_does_not_accept_is_refused(model: str) -> None:
    rate = MODEL_ROWS[model].sample_rates[0]  # type: ignore[index]
    with pytest.raises(ConfigurationError, match=f"sample_rate=44100: {model} accepts {rate} Hz only"):
        options_for_model(model)(model=model, sample_rate=44_100)  # type: ignore[call-arg]


def refused(options_class: type[Options], **values: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        options_class(**values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_model_is_refused_with_the_nearest() -> None:
    assert refused(Paraformer, model="paraformer-realtime-v3") == (
        "unknown model 'paraformer-realtime-v3': did you mean 'paraformer-realtime-v2'? (strict=False accepts any)"
    )
    assert "known are fun-asr-" in refused(FunASR, model="whisper")
    with pytest.raises(ConfigurationError, match=r"unknown model 'fun-asr-realtme': did you mean 'fun-asr-realtime'\?"):
        options_for_model("fun-asr-realtme")


def test_a_model_of_the_other_family_is_refused_with_those_of_this_one() -> None:
    assert "does not belong to Paraformer: paraformer-realtime-v2" in refused(Paraformer, model="fun-asr-realtime")


@pytest.mark.parametrize(
    ("options_class", "values", "text"),
    [
        (Paraformer, {"max_sentence_silence": 100}, "max_sentence_silence=100: must be between 200 and 6000 ms"),
        (FunASR, {"speech_noise_threshold": 1.5}, "speech_noise_threshold=1.5: must be between -1.0 and 1.0"),
        (Paraformer, {"sample_rate": 0}, "sample_rate=0: must be between 1000 and 384000 Hz"),
        (Paraformer, {"sample_rate": "16000"}, "sample_rate='16000': expected int | null, got str"),
        (Paraformer, {"language_hints": "zh"}, "language_hints='zh': expected array | null, got str"),
        (Paraformer, {"heartbeat": "yes"}, "heartbeat='yes': expected bool | null, got str"),
        (
            Paraformer,
            {"model": "paraformer-realtime-v1", "vocabulary_id": "vocab-1"},
            (
                "vocabulary_id='vocab-1': paraformer-realtime-v1 does not have this option (paraformer-realtime-v2, "
                "paraformer-realtime-8k-v2 do)"
            ),
        ),
        (
            Paraformer,
            {"phrase_id": "phrase-1"},
            (
                "phrase_id='phrase-1': paraformer-realtime-v2 does not have this option (paraformer-realtime-v1, "
                "paraformer-realtime-8k-v1 do)"
            ),
        ),
        (
            Paraformer,
            {"model": "paraformer-realtime-8k-v2", "sample_rate": 8_000, "language_hints": ["en"]},
            "language_hints=('en',): paraformer-realtime-8k-v2 does not have this option (paraformer-realtime-v2 do)",
        ),
        (Paraformer, {"vocabulary_id": ""}, "vocabulary_id='': must not be empty; leave it out for no hot words"),
        (FunASR, {"vocabulary_id": " "}, "vocabulary_id=' ': must not be empty; leave it out for no hot words"),
        (Paraformer, {"phrase_id": ""}, "phrase_id='': must not be empty; leave it out for no hot words"),
        (Paraformer, {"format": "mp4"}, "format='mp4': did you mean 'mp3'?"),
        (Paraformer, {"language_hints": ["zh", "xx"]}, "accepts zh, en, ja, yue, ko, de, fr, ru, not 'xx'"),
        (FunASR, {"punctuation_prediction_enabled": False}, "fun-asr-realtime always sets punctuation marks"),
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


def test_an_empty_list_is_no_value_and_is_not_sent() -> None:
    assert Paraformer(language_hints=[]).parameters() == Paraformer().parameters()
    assert FunASR(language_hints=[], context=[]).parameters() == FunASR().parameters()


V1 = "paraformer-realtime-v1"


@pytest.mark.parametrize(
    ("options_class", "model", "harmless"),
    [
        (Paraformer, V1, {"semantic_punctuation_enabled": False, "heartbeat": False, "language_hints": ["zh"]}),
        (Paraformer, V1, {"punctuation_prediction_enabled": True, "inverse_text_normalization_enabled": True}),
        (Paraformer, "paraformer-realtime-8k-v2", {"language_hints": ["zh"]}),
        (FunASR, "fun-asr-flash-8k-realtime", {"semantic_punctuation_enabled": False}),
        (QwenAudio, "qwen-audio-3.1-asr-flash-message", {"multi_threshold_mode_enabled": False}),
    ],
)
def test_a_value_that_changes_nothing_is_accepted_and_not_sent(
    options_class: Any, model: str, harmless: dict[str, Any]
) -> None:
    assert options_class(model=model, **harmless).parameters() == options_class(model=model).parameters()
    sent = options_class(model=model, strict=False, **harmless).parameters()
    assert sent.keys() >= harmless.keys()


def test_an_option_on_which_the_documents_disagree_is_sent_and_noted_in_the_models() -> None:
    assert FunASR(disfluency_removal_enabled=True).parameters()["disfluency_removal_enabled"] is True
    assert "feature table of the model selection page, 2026-01, which alone has disfluency_removal_enabled" in (
        MODEL_ROWS["fun-asr-realtime"].source
    )


def test_fun_asr_reads_the_first_of_several_languages() -> None:
    assert FunASR(language_hints=["zh", "en"]).parameters()["language_hints"] == ("zh", "en")


def test_options_do_not_change_after_they_were_made() -> None:
    hints, words = ["zh"], {"hi": 1}
    options = QwenAudio(language_hints=hints, vocabulary=words)
    hints.append("xx")
    words["ho"] = 9
    assert options.language_hints == ("zh",)
    assert options.vocabulary == {"hi": 1}
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


# --- the feature table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", FEATURES)
def test_the_feature_table_holds(model: str) -> None:
    column, row = FEATURES[model], MODEL_ROWS[model]

    def accepts(**values: Any) -> bool:
        try:
            options_for_model(model)(model=model, **{"sample_rate": column.accepted_hz, **values})
        except (ConfigurationError, TypeError):  # TypeError: the whole family has no such option
            return False
        return True

    assert accepts()
    assert column.rejected_hz is None or not accepts(sample_rate=column.rejected_hz)
    assert all(accepts(format=name) for name in FORMATS)
    for option, value in ((HOT_WORDS, "v"), (V1_HOT_WORDS, "p"), (NO_FILLERS, True), (NO_PUNCTUATION, False)):
        assert accepts(**{option: value}) == (option in column.features), option
    assert row.emotion == (EMOTION in column.features)
    assert (row.starts_per_second, row.yuan_per_second) == (column.starts_per_second, column.yuan_per_second)
    most_audio_ms = options_for_model(model)(model=model, sample_rate=column.accepted_hz).max_audio_ms  # type: ignore[call-arg]
    assert most_audio_ms == (60_000 if ONE_MINUTE in column.features else None)


# --- Gummy -----------------------------------------------------------------------------------------------------------


def test_translation_follows_from_its_target_unless_it_is_set() -> None:
    assert Gummy().parameters()["translation_enabled"] is False
    for given in (None, True):
        options = Gummy(translation_enabled=given, translation_target_languages=["en"])
        assert options.parameters()["translation_enabled"] is True
    assert "source_language" not in options.parameters()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (
            {"transcription_enabled": False},
            "transcription_enabled=False without translation_target_languages: no output is left",
        ),
        (
            {"transcription_enabled": False, "translation_enabled": False},
            "transcription_enabled=False without translation_target_languages: no output is left",
        ),
        ({"translation_enabled": True}, "translation_enabled=True: name the language in translation_target_languages"),
        (
            {"translation_enabled": False, "translation_target_languages": ["en"]},
            "translation_enabled=False contradicts translation_target_languages=['en']",
        ),
        (
            {"translation_target_languages": ["en", "ja"]},
            "translation_target_languages=['en', 'ja']: gummy-realtime-v1 accepts one language only",
        ),
        (
            {"source_language": "zh", "translation_target_languages": ["fr"]},
            "translation_target_languages=['fr']: gummy-realtime-v1 translates from 'zh' into en, ja, ko",
        ),
        (
            {"source_language": "pt", "translation_target_languages": ["en"]},
            "gummy-realtime-v1 translates from 'pt' into nothing",
        ),
        ({"translation_target_languages": ["de"]}, "gummy-realtime-v1 translates into en, ja, ko, zh"),
        ({"source_language": "xx"}, "source_language='xx': known are ar, auto, da, de, en, es"),
        ({"sample_rate": 8_000}, "sample_rate=8000: gummy-realtime-v1 accepts 16000 Hz or more"),
    ],
)
def test_options_that_gummy_lacks_are_refused_in_one_line(values: dict[str, Any], text: str) -> None:
    assert text in refused(Gummy, **values)


@pytest.mark.parametrize("source", [*TRANSLATIONS, "auto", None])
@pytest.mark.parametrize("target", ["zh", "en", "ja", "ko", "de"])
def test_the_language_pairs_of_the_table_are_accepted_and_no_others(source: str | None, target: str) -> None:
    pairs = TRANSLATIONS.get(source or "", ("zh", "en", "ja", "ko"))
    if target in pairs:
        Gummy(source_language=source, translation_target_languages=[target])
    else:
        refused(Gummy, source_language=source, translation_target_languages=[target])


def test_the_silence_that_ends_a_sentence_is_an_option_of_chat_only() -> None:
    assert GummyChat(max_end_silence=500).parameters()["max_end_silence"] == 500
    assert "max_end_silence=100: must be between 200 and 6000 ms" in refused(GummyChat, max_end_silence=100)
    with pytest.raises(ConfigurationError, match="max_end_silence"):
        Gummy(max_end_silence=500)  # type: ignore[call-arg]


# --- Qwen-Audio ------------------------------------------------------------------------------------------------------

MESSAGE = "qwen-audio-3.1-asr-flash-message"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"vocabulary": {"a": 6}}, "vocabulary: 'a' has weight 6, must be 1 to 5 or 50"),
        ({"vocabulary": {"a": "5"}}, "vocabulary={'a': '5'}: expected int, got str - at $[...]"),
        ({"vocabulary": {"字" * 16: 1}}, "has 16 characters, at most 15"),
        ({"vocabulary": {"a b c d e f g h": 1}}, "vocabulary: 'a b c d e f g h' has 8 parts, must be 1 to 7"),
        ({"vocabulary": {"": 1}}, "vocabulary: '' has 0 parts, must be 1 to 7"),
        ({"vocabulary": {f"w{n}": 1 for n in range(2_001)}}, "vocabulary: 2001 words, at most 2000 are accepted"),
        (
            {"vocabulary": {f"w{n}": 50 for n in range(51)}},
            "vocabulary: 51 words of weight 50, at most 50 are accepted",
        ),
        ({"vad_model": "far"}, "vad_model='far': known are far_field_meeting_16k, near_meeting_16k"),
        ({"speech_noise_threshold": 2.0}, "speech_noise_threshold=2.0: must be between -1.0 and 1.0"),
        ({"language_hints": ["zh", "en", "ja", "ko", "de"]}, "reads 4 at most; pass 4"),
        ({"context": [ContextMessage("user", "x" * 401)]}, "a message of 401 characters, at most 400 are read"),
        ({"sample_rate": 8_000}, "qwen-audio-3.1-asr-flash-streaming accepts 16000 Hz only"),
        (
            {"intermediate_result_enabled": True},
            f"qwen-audio-3.1-asr-flash-streaming does not have this option ({MESSAGE} do)",
        ),
        (
            {"model": MESSAGE, "language_hints": ["zh"]},
            f"language_hints=('zh',): {MESSAGE} does not have this option (qwen-",
        ),
        (
            {"model": "qwen-audio-3.0-asr-flash-streaming", "keep_dialect": True},
            "does not have this option (qwen-audio-3.1-",
        ),
    ],
)
def test_options_that_qwen_audio_lacks_are_refused_in_one_line(values: dict[str, Any], text: str) -> None:
    assert text in refused(QwenAudio, **values)


def test_hot_words_are_sent_as_they_are() -> None:
    words = {"字" * 15: 5, "one two three four five six seven": 1, "GPT": 50}
    assert QwenAudio(vocabulary=words, language_hints=["zh", "fil"]).parameters()["vocabulary"] == words


# --- without strict --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options_class", [Paraformer, FunASR, QwenAudio, Gummy, GummyChat])
def test_without_strict_every_model_and_value_is_accepted_but_no_wrong_type(options_class: type[TaskOptions]) -> None:
    options = options_class(model="brand-new", strict=False, format="flac", sample_rate=7, vocabulary_id="v")
    assert options.parameters()["format"] == "flac"
    assert "strict" not in options.parameters()
    assert options.model_row.source == "not in the table"
    assert options.model_row.accepts_rate(16_000)
    options.check_context([ContextMessage("user", "x" * 401)] * 6)
    assert "sample_rate='7': expected int | null, got str" in refused(options_class, strict=False, sample_rate="7")


def test_not_strict_lets_options_of_a_known_model_pass_unchecked() -> None:
    assert Paraformer(model="paraformer-realtime-v1", strict=False, heartbeat=True).parameters()["heartbeat"] is True
    assert Gummy(strict=False, translation_target_languages=["en", "fr"]).target_languages == ("en", "fr")
    contradicting = Gummy(strict=False, translation_enabled=False, translation_target_languages=["en"])
    assert (contradicting.target_languages, contradicting.parameters()["translation_enabled"]) == ((), False)


def test_without_strict_a_known_model_of_another_family_is_refused() -> None:
    assert "does not belong to Paraformer" in refused(Paraformer, model="gummy-realtime-v1", strict=False)


async def test_a_model_that_the_table_does_not_know_may_be_in_any_region() -> None:
    options = Gummy(model="gummy-realtime-v2", strict=False)
    target = await DashScope("sk-test", region="ap-southeast-1").resolve(options)
    assert target.host == "dashscope-intl.aliyuncs.com"
    with pytest.raises(ConfigurationError, match="does not have gummy-realtime-v1: cn-beijing does"):
        await DashScope("sk-test", region="ap-southeast-1").resolve(Gummy())


@pytest.mark.parametrize("model", MODEL_ROWS)
def test_without_a_rate_the_model_has_its_own(model: str) -> None:
    options = options_for_model(model)(model=model)
    assert options.audio == AudioFormat("pcm", 8_000 if "8k" in model else 16_000)


MP3 = AudioFormat("mp3", 44_100)
PCM44 = AudioFormat("pcm", 44_100)
PCM8 = AudioFormat("pcm", 8_000)
PCM16 = AudioFormat("pcm", 16_000)


@pytest.mark.parametrize(
    ("options", "formats", "chosen"),
    [
        (Paraformer(), [MP3, PCM44], MP3),
        (Paraformer(format="pcm"), [MP3, PCM44], PCM44),
        (Paraformer(sample_rate=16_000), [MP3, PCM44], PCM16),
        (Paraformer(), [PCM8], PCM8),
        (Paraformer(), [AudioFormat("pcm", 500)], PCM16),
        (Paraformer(), [AudioFormat("ulaw", 8_000), PCM8], PCM8),
        (Paraformer(model="paraformer-realtime-8k-v2"), [PCM44], PCM8),
        (FunASR(), [MP3, PCM44], PCM16),
        (FunASR(), [AudioFormat("opus", 16_000)], AudioFormat("opus", 16_000)),
        (Gummy(), [PCM8], PCM16),
        (Paraformer(model="new", strict=False), [AudioFormat("flac", 44_100), PCM44], PCM44),
        (QwenRealtime(), [AudioFormat("opus", 16_000), PCM8], PCM8),
        (QwenRealtime(), [PCM44], PCM16),
    ],
    ids=repr,
)
def test_the_first_format_that_the_model_accepts_and_the_options_leave_open_is_declared(
    options: Options, formats: list[AudioFormat], chosen: AudioFormat
) -> None:
    assert options.with_audio(formats).audio == chosen
