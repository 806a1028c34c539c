"""The embedded recogniser: results, refusals, and the state after failures."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import wave
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from asr_async import ConfigurationError
from asr_async.emulator.engines.engine import EngineRefusedError, Hypothesis, Request
from asr_async.emulator.engines.pocketsphinx import PocketSphinx

from ...support.child_processes import child_environment
from ...support.paths import RECORDINGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable

    from asr_async.emulator.engines.engine import Emit, Recognition

ENGLISH = Request(sample_rate=16_000, languages=("en",))
PIECE_BYTES = 3200


def samples_of(name: str) -> bytes:
    with wave.open(str(RECORDINGS / f"{name}.wav")) as file:
        samples: bytes = file.readframes(file.getnframes())
    return samples


def words_of(name: str) -> list[str]:
    return re.findall(r"[a-z']+", (RECORDINGS / f"{name}.txt").read_text().lower())


def pieces_of(samples: bytes, size: int = PIECE_BYTES) -> list[bytes]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def finals_in(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    return [hypothesis for hypothesis in hypotheses if hypothesis.is_final]


async def drop(hypothesis: Hypothesis) -> None:
    """Discard a hypothesis."""


async def recognise(engine: PocketSphinx, pieces: Iterable[bytes]) -> list[Hypothesis]:
    hypotheses: list[Hypothesis] = []

    async def collect(hypothesis: Hypothesis) -> None:
        hypotheses.append(hypothesis)

    async with opened(engine, collect) as recognition:
        for piece in pieces:
            await recognition.feed(piece)
        await recognition.finish()
    return hypotheses


@asynccontextmanager
async def opened(engine: PocketSphinx, emit: Emit = drop) -> AsyncIterator[Recognition]:
    recognition = await engine.open(ENGLISH, emit)
    try:
        yield recognition
    finally:
        await recognition.aclose()


def pids(engine: PocketSphinx) -> list[int]:
    return [worker._process.pid for worker in engine._pool._workers if worker._process is not None]


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def engine() -> AsyncIterator[PocketSphinx]:
    """One worker for all tests of a class: its start takes longer than most of them."""
    async with PocketSphinx(workers=1) as engine:
        yield engine


@pytest.mark.asyncio(loop_scope="class")
class TestRecognition:
    async def test_the_demo_is_exact_with_interims_first_and_word_times_in_order(self, engine: PocketSphinx) -> None:
        hypotheses = await recognise(engine, pieces_of(samples_of("demo")))
        finals = finals_in(hypotheses)
        assert " ".join(final.text for final in finals).split() == words_of("demo")
        assert [hypothesis.is_final for hypothesis in hypotheses].index(True) >= 3
        assert hypotheses[-1].is_final
        for hypothesis in hypotheses:
            assert [word.text for word in hypothesis.words] == hypothesis.text.split()
            times = [time for word in hypothesis.words for time in (word.start_ms, word.end_ms)]
            assert times == sorted(times)
            assert hypothesis.start_ms <= times[0] < times[-1] <= hypothesis.end_ms

    async def test_a_pause_ends_an_utterance(self, engine: PocketSphinx) -> None:
        first, second = finals_in(await recognise(engine, pieces_of(samples_of("demo"))))
        assert first.end_ms < second.start_ms
        assert second.end_ms <= len(samples_of("demo")) // 32
        # flite's first sentence lasts 3.3 s, and 0.7 s of silence follow.
        assert first.end_ms < 3_900
        assert 3_700 < second.words[0].start_ms < 4_300

    async def test_speech_without_a_pause_is_divided_and_times_continue(self, monkeypatch: pytest.MonkeyPatch) -> None:
        worker = pytest.importorskip("asr_async.emulator.engines._pocketsphinx_worker")
        monkeypatch.setattr(worker, "MAX_UTTERANCE_MS", 1_500)
        session = worker._Session(worker._new_decoder(), worker._new_endpointer(), lambda decoder: None)
        hypotheses = [*session.feed(samples_of("train")), *session.finish()]
        first, second, *_ = finals_in(hypotheses)
        assert first.end_ms - first.start_ms == 1_500
        assert second.start_ms == first.end_ms

    async def test_one_recognition_does_not_influence_the_next(self, engine: PocketSphinx) -> None:
        pieces = pieces_of(samples_of("office"))
        first = await recognise(engine, pieces)
        async with opened(engine) as unfinished:
            await unfinished.feed(samples_of("table")[:80_000])
        assert await recognise(engine, pieces) == first
        assert len(pids(engine)) == 1

    async def test_concurrent_recognitions_do_not_mix(self, engine: PocketSphinx) -> None:
        alone = [await recognise(engine, pieces_of(samples_of(name))) for name in ("train", "house")]
        together = await asyncio.gather(
            *(recognise(engine, pieces_of(samples_of(name))) for name in ("train", "house"))
        )
        assert together == alone

    async def test_finals_do_not_depend_on_the_size_of_pieces(self, engine: PocketSphinx) -> None:
        samples = samples_of("train")
        drops = [*pieces_of(samples[:2_000], 2), *pieces_of(samples[2_000:], 998)]
        in_drops = await recognise(engine, drops)
        at_once = await recognise(engine, [samples])
        assert finals_in(in_drops) == finals_in(at_once)
        assert finals_in(at_once)[0].text.split() == words_of("train")

    async def test_speech_that_lasts_to_the_end_is_recognised_to_the_end(self, engine: PocketSphinx) -> None:
        samples = samples_of("train")[: -2 * 16_000 * 7 // 10]
        (final,) = finals_in(await recognise(engine, [samples]))
        assert final.text.split() == words_of("train")
        assert final.end_ms <= len(samples) // 32

    async def test_silence_yields_no_hypotheses(self, engine: PocketSphinx) -> None:
        hypotheses: list[Hypothesis] = []

        async def collect(hypothesis: Hypothesis) -> None:
            hypotheses.append(hypothesis)

        async with opened(engine, collect) as recognition:
            await recognition.feed(bytes(2 * 16_000 * 2))
            await recognition.finish()
            assert recognition.silent_ms == 2_000
            assert not recognition.has_speech
            assert repr(recognition).endswith("over (it was finished), silent for 2000 ms>")
        assert hypotheses == []

    async def test_silent_ms_counts_from_the_last_speech(self, engine: PocketSphinx) -> None:
        async with opened(engine) as recognition:
            await recognition.feed(samples_of("train")[:64_000])
            assert recognition.has_speech
            assert recognition.silent_ms == 0
            await recognition.feed(samples_of("train")[64_000:] + bytes(32_000))
            assert 1_000 <= recognition.silent_ms <= 2_000
            assert recognition.has_speech


class TestRefusals:
    async def refusal(self, engine: PocketSphinx, request: Request) -> EngineRefusedError:
        with pytest.raises(EngineRefusedError) as caught:
            await engine.open(request, drop)
        return caught.value

    async def test_8_khz_is_refused_with_the_reason_and_the_engine_that_accepts_it(self) -> None:
        async with PocketSphinx(workers=1) as engine:
            refused = await self.refusal(engine, Request(sample_rate=8_000))
        assert refused.kind == "unsupported"
        assert "16000 Hz only, not 8000 Hz" in refused.reason
        assert "66 to 90 %" in refused.reason
        assert "use the engine moonshine (pip install 'asr-async[local]')" in refused.reason

    async def test_languages_without_english_are_refused(self) -> None:
        async with PocketSphinx(workers=1) as engine:
            refused = await self.refusal(engine, Request(sample_rate=16_000, languages=("zh", "ja")))
        assert refused.kind == "unsupported"
        assert "English only" in refused.reason
        assert "zh, ja" in refused.reason

    async def test_translation_is_refused(self) -> None:
        async with PocketSphinx(workers=1) as engine:
            refused = await self.refusal(engine, Request(sample_rate=16_000, translate_to=("zh",)))
        assert refused.kind == "unsupported"
        assert "cannot translate (into zh)" in refused.reason

    async def test_without_pocketsphinx_the_reason_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pocketsphinx", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'asr-async\[local-small\]'"):
            await PocketSphinx(workers=1).__aenter__()


class TestFailures:
    async def test_a_killed_worker_fails_its_sessions_and_the_next_one_works(self) -> None:
        async with PocketSphinx(workers=1) as engine:
            async with opened(engine) as feeding:
                feed = asyncio.create_task(feeding.feed(samples_of("meeting")))
                await asyncio.sleep(0)
                os.kill(pids(engine)[0], signal.SIGKILL)
                with pytest.raises(EngineRefusedError, match="ended by signal 9"):
                    await feed
            (final,) = finals_in(await recognise(engine, [samples_of("train")]))
        assert final.text.split() == words_of("train")

    @pytest.mark.parametrize("step", ["open", "feed", "finish"])
    async def test_a_cancelled_call_leaves_the_decoder_usable(self, step: str) -> None:
        async with PocketSphinx(workers=1, sessions_per_worker=1) as engine:
            await recognise(engine, [samples_of("train")[:32_000]])
            if step == "open":
                await start_and_cancel(engine.open(ENGLISH, drop))
            else:
                async with opened(engine) as recognition:
                    await recognition.feed(samples_of("train")[:32_000])
                    call = recognition.finish() if step == "finish" else recognition.feed(samples_of("meeting"))
                    await start_and_cancel(call)
            (final,) = finals_in(await recognise(engine, [samples_of("train")]))
            assert final.text.split() == words_of("train")


async def start_and_cancel(call: Coroutine[object, object, object]) -> None:
    """Start a call, and cancel it once it waits for its answer."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_import_does_not_import_the_recogniser() -> None:
    program = (
        "import sys, asr_async.emulator.engines.pocketsphinx, asr_async.emulator.engines._pocketsphinx_worker; "
        "sys.exit('pocketsphinx' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=child_environment())
