"""Sessions under random faults: counts of final results, or of words, that are lost, doubled, or at a wrong time.

Each session streams a source whose script is known, word by word and to the millisecond, to an emulator that cuts and
closes connections, stops reading, delays messages and answers with errors. The seed decides which faults strike and
where. The results are compared with the script. Half of the sessions speak DashScope's task protocol, half Huawei's.

    python benchmarks/faults.py --seed 1 --faults 1000
    python benchmarks/faults.py --seed 1 --faults 1000 --redraw

With `--redraw`, each connection moreover draws its own sentences over the same words, with jitter and noises, as real
recognisers do. Every word of the script is then counted by itself, since no sentence is the script's.

Exit status 1 if anything was lost, doubled without the mark `may_repeat`, off by more than a frame (with `--redraw`,
than the jitter and a frame) or, with `--redraw`, out of order, or if a session failed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator

import msgspec

from asr_async import ASRError, Client, DashScope, Huawei, Paraformer, Rasr, Result, Retry, Timeouts
from asr_async.audio import FRAME_MS
from asr_async.emulator import Emulator, Scripted, position_audio, position_of, serve
from asr_async.emulator.faults import Close, Cut, Delay, Fail, Fault, Faults, HalfOpen, Redraw, Refuse, Throttle

SOURCE_MS = 12_000
SENTENCES = 6
CONCURRENT = 16

TIMEOUTS = Timeouts(connect=3, start=3, idle=1.5, finish=2, close=0.5)
"""Short deadlines, so that a half-open connection is noticed soon; every `Delay` is shorter than these."""


class Outcome(msgspec.Struct, kw_only=True):
    """The sums over all sessions."""

    sessions: int = 0
    failed: int = 0
    finals: int = 0
    lost: int = 0
    doubled: int = 0
    off_by_more_than_a_frame: int = 0
    words: int = 0
    """The words of the scripts; 0 where finals are counted."""
    marked: int = 0
    """Doubled words of results that say so (`Result.may_repeat`)."""
    out_of_order: int = 0
    """Words that arrived behind a later word."""
    reconnects: int = 0
    faults: dict[str, int] = {}
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """True if every final result, or every word, arrived once, at its time and in its order."""
        wrong = self.lost or self.doubled or self.off_by_more_than_a_frame or self.out_of_order
        return not (self.failed or wrong)


Script = list[tuple[str, int, int]]
"""Sentences: text, start and end in milliseconds."""


def script_of(seed: int) -> Script:
    """Return sentences at random times of the source, with pauses between them."""
    rng = random.Random(seed)
    boundaries_ms = sorted(rng.sample(range(200, SOURCE_MS - 200, 50), 2 * SENTENCES))
    spans = zip(boundaries_ms[::2], boundaries_ms[1::2], strict=True)
    return [(f"sentence {number} of {seed}", start_ms, end_ms) for number, (start_ms, end_ms) in enumerate(spans)]


def script_of_words(seed: int) -> Script:
    """Return sentences of words that occur once in the source, and are long enough in spite of the jitter."""
    rng = random.Random(seed)
    numbers = itertools.count()
    script, at_ms = [], rng.randrange(100, 1_000, 50)
    while at_ms < SOURCE_MS - 3_000:
        words = [f"w{next(numbers)}" for _ in range(rng.randint(1, 6))]
        end_ms = at_ms + len(words) * rng.randrange(2 * FRAME_MS, 400, 20)
        script.append((" ".join(words), at_ms, end_ms))
        at_ms = end_ms + rng.choice((0, 100, 400, 900))
    return script


def faults_of(seed: int) -> Iterator[Fault]:
    """Yield faults of all kinds, each for some of the connections, at random times of their audio."""
    rng = random.Random(seed)
    for _ in range(4):
        at_ms = rng.randrange(100, SOURCE_MS)
        yield Cut(after_audio_ms=at_ms, probability=0.15)
        yield Close(after_audio_ms=at_ms, code=rng.choice([1000, 1001, 1011]), probability=0.1)
        yield Fail(after_audio_ms=at_ms, probability=0.1)
        yield HalfOpen(after_audio_ms=at_ms, probability=0.05)
        yield Delay(by_ms=rng.randrange(50, 500), after_audio_ms=at_ms, probability=0.1)
    yield Cut(at="result", probability=0.1)
    yield Cut(at="finish", probability=0.1)
    yield Refuse(status=503, probability=0.1)
    yield Throttle(probability=0.05)


def service_and_options(emulator: Emulator, number: int) -> tuple[DashScope | Huawei, Paraformer | Rasr]:
    """Return those of the session with this number: Huawei's for odd numbers, DashScope's for even ones.

    Every second session with Huawei has interims and the times of words.
    """
    if number % 2:
        huawei = Huawei(ak="a", sk="s", project_id="p", region="r", endpoint=emulator.huawei_url)
        has_words = number % 4 == 1
        return huawei, Rasr(add_punc=True, interim_results=has_words, need_word_info=has_words)
    return DashScope("key", endpoint=emulator.dashscope_url), Paraformer()


async def one_session(seed: int, number: int, outcome: Outcome, *, pace: float | None, redraw: bool) -> None:
    """Stream one source, and compare its final results with the script."""
    script = script_of_words(seed) if redraw else script_of(seed)
    engine = Scripted(script, position=position_of)
    retry = Retry(attempts=30, max_delay_s=0.2)
    faults = [*faults_of(seed), *([Redraw()] if redraw else [])]
    async with serve(engine, faults=Faults(faults, seed=seed)) as emulator:
        service, options = service_and_options(emulator, number)
        async with Client(service, timeouts=TIMEOUTS, retry=retry) as client:
            for attempt in range(20):
                finals: list[Result] = []
                try:
                    async with client.session(options) as session:
                        async for result in session.stream([position_audio(0, SOURCE_MS)], pace=pace):
                            if result.is_final:
                                finals.append(result)
                        outcome.reconnects += session.stats.reconnects
                    break
                except ASRError as error:
                    # a session does not retry its first connection, its caller does
                    if finals or not error.retryable or attempt == 19:
                        outcome.failed += 1
                        print(f"seed {seed}, session {number}: {error}", file=sys.stderr)
                        return
        (compare_words if redraw else compare)(script, finals, outcome)
        for kind, count in emulator.faults_struck.items():
            if kind == "redraw":  # part of every connection
                continue
            outcome.faults[kind] = outcome.faults.get(kind, 0) + count


def compare(script: Script, finals: list[Result], outcome: Outcome) -> None:
    """Count the final results that are missing, doubled, or at a wrong time."""
    outcome.sessions += 1
    outcome.finals += len(finals)
    texts = [result.text for result in finals]
    outcome.lost += sum(text not in texts for text, _, _ in script)
    outcome.doubled += len(texts) - len(set(texts))
    times_ms = {text: (start_ms, end_ms) for text, start_ms, end_ms in script}
    for result in finals:
        start_ms, end_ms = times_ms.get(result.text, (-SOURCE_MS, -SOURCE_MS))
        if max(abs(result.start_ms - start_ms), abs(result.end_ms - end_ms)) > FRAME_MS:
            outcome.off_by_more_than_a_frame += 1
            print(f"{result.text!r} at {result.start_ms}..{result.end_ms}, not {start_ms}..{end_ms}", file=sys.stderr)


def compare_words(script: Script, finals: list[Result], outcome: Outcome) -> None:
    """Count the words that are missing, doubled, out of order, or at a wrong time."""
    outcome.sessions += 1
    outcome.finals += len(finals)
    places = dict(_words_of(script))
    outcome.words += len(places)
    arrived = [(word, result) for result in finals for word in result.text.split() if word in places]
    seen: set[str] = set()
    latest_ms = 0
    for word, result in arrived:
        if word in seen:
            outcome.marked += result.may_repeat
            outcome.doubled += not result.may_repeat
        elif places[word][0] < latest_ms:
            outcome.out_of_order += 1
        seen.add(word)
        latest_ms = max(latest_ms, places[word][0])
    outcome.lost += len(places.keys() - seen)
    for result in finals:
        for spoken in result.words:
            start_ms, end_ms = places.get(spoken.text, (spoken.start_ms, spoken.end_ms))
            if max(abs(spoken.start_ms - start_ms), abs(spoken.end_ms - end_ms)) > 2 * FRAME_MS:
                outcome.off_by_more_than_a_frame += 1
                print(f"{spoken!r}, not at {start_ms}..{end_ms}", file=sys.stderr)
    if lost := places.keys() - seen:
        print(f"lost {sorted(lost)} of {script[0]}...: {[final.text for final in finals]}", file=sys.stderr)


def _words_of(script: Script) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each word with its place: the words of a sentence have the same length."""
    for text, start_ms, end_ms in script:
        words = text.split()
        times_ms = [start_ms + (end_ms - start_ms) * index // len(words) for index in range(len(words) + 1)]
        yield from zip(words, itertools.pairwise(times_ms), strict=True)


async def run(seed: int, faults: int, pace: float | None, *, redraw: bool) -> Outcome:
    """Run sessions until this number of faults has struck, or until one session fails."""
    outcome = Outcome(faults={})
    rng = random.Random(seed)
    began_at = time.monotonic()
    number = 0
    while sum(outcome.faults.values()) < faults:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONCURRENT):
                number += 1
                tasks.create_task(one_session(rng.randrange(2**31), number, outcome, pace=pace, redraw=redraw))
        if outcome.failed:
            break
    outcome.seconds = round(time.monotonic() - began_at, 1)
    return outcome


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, run, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="decides scripts and faults (default: %(default)s)")
    parser.add_argument(
        "--faults", type=int, default=1_000, help="number of faults after which it ends (default: %(default)s)"
    )
    parser.add_argument("--pace", type=float, default=40.0, help="seconds of audio per second (default: %(default)s)")
    parser.add_argument("--redraw", action="store_true", help="other sentences on each connection; count words")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    outcome = asyncio.run(run(options.seed, options.faults, options.pace, redraw=options.redraw))
    if options.json:
        print(json.dumps(msgspec.to_builtins(outcome)))
    else:
        struck = sum(outcome.faults.values())
        print(f"{struck} faults in {outcome.sessions} sessions, {outcome.seconds} s: {outcome.faults}")
        print(f"{outcome.finals} finals, {outcome.reconnects} reconnects, {outcome.failed} sessions failed")
        print(f"{outcome.lost} lost, {outcome.doubled} doubled, {outcome.off_by_more_than_a_frame} at a wrong time")
        if options.redraw:
            print(
                f"of {outcome.words} words; {outcome.marked} doubled with a mark, {outcome.out_of_order} out of order"
            )
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
