"""The embedded recogniser: wrong words, invented words, delays of results, and sessions per core, engine by engine.

Measures, each a table:

- `accuracy`: the share of wrong words, for people (recordings in the wheel `moonshine-voice`), prompts of a telephone
  exchange, the examples, and synthetic voices (`speech/material.py` names the packages that prompts and voices need);
  as they are, in 8 kHz mu-law, on a telephone line (the same, 300 to 3,400 Hz), and with pink noise 10 dB below the
  speech. `real_time_factor` is the time for a second of audio that is sent as fast as it is recognised, with few
  interims.
- `invented`: words that were recognised in 30 s of sound without speech.
- `noise`, with `--noise-minutes`: the words of all results, interims too, in one long stream of pink noise, and the
  memory of the workers after a tenth of it and at its end.
- `live`: sessions that stream the examples in real time. `first_result` is the delay behind the beginning of an
  utterance, `final` that behind its end, of which half a second is the silence that ends it. `cores_per_session`
  is the CPU time of the workers per second of speech, loading included. `loop_lag` is by how much sleeps in the
  client's event loop are exceeded.

The whole table, the delays of 4 sessions on one core and of 8 on two, and an hour of noise:

    python benchmarks/bench_recogniser.py --sources people prompts examples synthetic --sessions
    python benchmarks/bench_recogniser.py --engines moonshine --sources --sounds --sessions 4 --workers 1
    python benchmarks/bench_recogniser.py --engines moonshine --sources --sounds --sessions 8 --workers 2
    python benchmarks/bench_recogniser.py --engines moonshine --sources --sounds --sessions --noise-minutes 60

Figures of synthetic voices and of a few readings compare engines and versions; they are no promise for your audio.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import numpy as np

from asr_async import ASRError, Client, Local, Paraformer, VendorError
from asr_async.emulator import Moonshine, PocketSphinx
from asr_async.emulator.engines.workers import usable_cores
from load.report import Target, finish
from speech import material
from speech.live import children_mib, measure_live
from speech.material import CONDITIONS, SOUNDS, SOURCES, Speech
from speech.scoring import word_errors, words_of

ENGINES: dict[str, type[Moonshine | PocketSphinx]] = {"moonshine": Moonshine, "pocketsphinx": PocketSphinx}

MODELS = {16_000: "paraformer-realtime-v2", 8_000: "paraformer-realtime-8k-v2"}
AT_ONCE = 2
"""The files that are transcribed at the same time."""

SOUND_S = 30

Row = dict[str, Any]

TARGETS = {
    ("people", "16 kHz"): 5,
    ("examples", "16 kHz"): 3,
    ("synthetic", "16 kHz"): 5,
    ("synthetic", "8 kHz mu-law"): 8,
    ("synthetic", "telephone"): 8,
}
"""The most wrong words of the engine moonshine, in percent, by source and condition."""

LIVE_TARGETS = {
    4: {
        "first_result_p50_ms": 1_000,
        "first_result_p99_ms": 1_000,
        "final_p50_ms": 1_000,
        "final_p99_ms": 1_000,
        "loop_lag_p99_ms": 10,
    },
    8: {"final_max_ms": 2_000, "loop_lag_p99_ms": 10},
}
"""The longest delays of the engine moonshine by the number of sessions: of 4 on one core, of 8 on two."""


def local(engine: str, workers: int | None) -> Local:
    """Return the service with an engine."""
    return Local(ENGINES[engine](workers=workers))


async def transcribe(service: Local, sounds: Iterable[material.Sound]) -> list[str]:
    """Return the texts of sounds of one sample rate."""
    sounds = list(sounds)
    rate = sounds[0].sample_rate
    options = Paraformer(model=MODELS[rate], sample_rate=rate)
    permits = asyncio.Semaphore(AT_ONCE)
    async with Client(service) as client:

        async def transcribe_one(sound: material.Sound) -> str:
            async with permits:
                return (await client.transcribe([sound.samples], options, pace=None)).text

        return await asyncio.gather(*map(transcribe_one, sounds))


async def accuracy(engine: str, source: str, speech: list[Speech], condition: str, workers: int | None) -> Row:
    """Measure the wrong words of a source in a condition."""
    sounds = [CONDITIONS[condition](each.samples) for each in speech]
    row: Row = {"measure": "accuracy", "engine": engine, "source": source, "condition": condition}
    began_at = time.perf_counter()
    try:
        texts = await transcribe(local(engine, workers), sounds)
    except ASRError as error:
        return {**row, "refused": str(error).partition(" (")[0]}
    elapsed_s = time.perf_counter() - began_at
    spoken = [each.text for each in speech]
    exact = sum(words_of(one) == words_of(other) for one, other in zip(spoken, texts, strict=True))
    return {
        **row,
        "words": sum(len(words_of(text).split()) for text in spoken),
        "wrong_percent": round(100 * word_errors(spoken, texts), 1),
        "exact": f"{exact} of {len(speech)}",
        "real_time_factor": round(elapsed_s / sum(each.seconds for each in speech), 3),
    }


async def invented(engine: str, sound: str, workers: int | None) -> Row:
    """Count the words that are recognised in a sound without speech."""
    try:
        (text,) = await transcribe(local(engine, workers), [material.plain(SOUNDS[sound](SOUND_S * material.RATE))])
    except VendorError as error:
        if error.code != "NO_VALID_AUDIO_ERROR":
            raise
        text = ""  # the protocol's answer to a stream without words
    return {"measure": "invented", "engine": engine, "sound": sound, "seconds": SOUND_S, "words": len(text.split())}


async def noise(engine: str, minutes: float, workers: int | None) -> Row:
    """Stream pink noise for minutes, as fast as it is recognised; count the words, and read the workers' memory."""
    seconds = max(10, round(60 * minutes))
    memory_mib: list[int] = []
    texts = []

    async def sound() -> AsyncIterator[bytes]:
        for second in range(seconds):
            if second == seconds // 10:
                memory_mib.append(children_mib())
            yield material.plain(material.noise_of_second(second)).samples
        memory_mib.append(children_mib())

    began_at = time.perf_counter()
    async with Client(local(engine, workers)) as client, client.session(Paraformer(heartbeat=True)) as session:
        try:
            async for result in session.stream(sound(), pace=None):
                texts.append(result.text)
        except VendorError as error:
            if error.code != "NO_VALID_AUDIO_ERROR":
                raise
    early_mib, late_mib = memory_mib
    return {
        "measure": "noise",
        "engine": engine,
        "minutes": round(seconds / 60, 1),
        "words": sum(len(text.split()) for text in texts),
        "workers_early_mib": early_mib,
        "workers_late_mib": late_mib,
        "real_time_factor": round((time.perf_counter() - began_at) / seconds, 3),
    }


async def live(engine: str, sessions: int, seconds: float, workers: int | None) -> Row:
    """Measure the delays of sessions that stream the examples, and their cost."""
    samples = np.concatenate([each.samples for each in SOURCES["examples"]()])[: round(seconds * material.RATE)]
    figures = await measure_live(local(engine, workers), samples, sessions, spread_s=min(5.0, seconds))
    return {"measure": "live", "engine": engine, "workers": workers or usable_cores(), **figures}


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """Measure everything; the engines take turns, so that the machine's other load strikes all of them."""
    workers = arguments.workers
    speech = {source: list(SOURCES[source]()) for source in arguments.sources}
    for source, condition, engine in itertools.product(speech, arguments.conditions, arguments.engines):
        if speech[source]:
            yield asyncio.run(accuracy(engine, source, speech[source], condition, workers))
    for sound, engine in itertools.product(arguments.sounds, arguments.engines):
        yield asyncio.run(invented(engine, sound, workers))
    for engine in arguments.engines if arguments.noise_minutes else ():
        yield asyncio.run(noise(engine, arguments.noise_minutes, workers))
    for number, engine in itertools.product(arguments.sessions, arguments.engines):
        yield asyncio.run(live(engine, number, arguments.seconds, workers))


def targets(measured: list[Row]) -> Iterator[Target]:
    """Yield the project's targets that these rows can check."""
    for row in measured:
        if row["engine"] != "moonshine":
            continue
        if row["measure"] == "accuracy" and (at_most := TARGETS.get((row["source"], row["condition"]))):
            what = f"wrong words in percent, {row['source']}, {row['condition']}"
            yield Target(what=what, value=row.get("wrong_percent"), at_most=at_most)
        elif row["measure"] == "invented":
            yield Target(what=f"words in {row['seconds']} s of {row['sound']}", value=row["words"], at_most=0)
        elif row["measure"] == "noise":
            yield Target(what=f"words in {row['minutes']} min of pink noise", value=row["words"], at_most=0)
            growth = row["workers_late_mib"] - row["workers_early_mib"]
            yield Target(what="growth of the workers' memory in it, MiB", value=growth, at_most=10)
        elif row["measure"] == "live" and row["sessions"] in LIVE_TARGETS:
            where = f"{row['sessions']} sessions, {row['workers']} workers"
            for figure, at_most in LIVE_TARGETS[row["sessions"]].items():
                yield Target(what=f"{figure}, {where}", value=row.get(figure), at_most=at_most)


def main() -> None:
    """Parse the arguments, measure, print the report."""
    installed = [name for name, engine in ENGINES.items() if engine.missing() is None]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=installed, help="default: those installed")
    parser.add_argument("--sources", nargs="*", choices=SOURCES, default=["people", "examples"])
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--sounds", nargs="*", choices=SOUNDS, default=list(SOUNDS))
    parser.add_argument("--noise-minutes", type=float, default=0, help="length of the long noise (default: none)")
    parser.add_argument("--sessions", nargs="*", type=int, default=[1, 4, 8], help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=25.0, help="of a live session (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="processes of an engine (default: one per core)")
    arguments = parser.parse_args()
    measured = list(rows(arguments))
    finish(__file__, arguments, measured, targets(measured))


if __name__ == "__main__":
    main()
