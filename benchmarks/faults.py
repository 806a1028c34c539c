"""Sessions under random faults: what is lost, what comes twice, what is told at the wrong time.

Each session streams a source whose script is known, word by word and to the millisecond, to an emulator that cuts,
closes, plays dead, stalls and answers with errors, by a plan that follows from the seed. What the caller gets is
held against the script. Half of the sessions speak DashScope's task protocol, half Huawei's.

    python benchmarks/faults.py --seed 1 --faults 1000

Exit status 1 if a final result was lost, doubled, or off by more than a frame, or a session failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator

import msgspec

from asr_async import ASRError, Client, DashScope, Huawei, Paraformer, Rasr, Result, Retry, Timeouts
from asr_async.audio import FRAME_MS
from asr_async.emulator import Emulator, Scripted, position_audio, position_of, serve
from asr_async.emulator.faults import Close, Cut, Delay, Fail, Fault, Faults, HalfOpen, Refuse, Throttle

SOURCE_MS = 12_000
SENTENCES = 6
CONCURRENT = 16

TIMEOUTS = Timeouts(connect=3, start=3, idle=1.5, finish=2, close=0.5)
"""Short, so that what plays dead is found out soon; a stall of the plan is shorter than these."""


class Outcome(msgspec.Struct, kw_only=True):
    """What became of all sessions."""

    sessions: int = 0
    failed: int = 0
    finals: int = 0
    lost: int = 0
    doubled: int = 0
    off_by_more_than_a_frame: int = 0
    reconnects: int = 0
    faults: dict[str, int] = {}
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether every word arrived once, at its time."""
        return not (self.failed or self.lost or self.doubled or self.off_by_more_than_a_frame)


def script(seed: int) -> list[tuple[str, int, int]]:
    """Sentences at random places in the source, with pauses between."""
    rng = random.Random(seed)
    marks = sorted(rng.sample(range(200, SOURCE_MS - 200, 50), 2 * SENTENCES))
    places = zip(marks[::2], marks[1::2], strict=True)
    return [(f"sentence {number} of {seed}", start, end) for number, (start, end) in enumerate(places)]


def plan(seed: int) -> Iterator[Fault]:
    """Faults of all kinds, each on some connections, at random places in their audio."""
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


def service_at(emulator: Emulator, number: int) -> tuple[DashScope | Huawei, Paraformer | Rasr]:
    if number % 2:
        huawei = Huawei(ak="a", sk="s", project_id="p", region="r", endpoint=emulator.huawei_url)
        return huawei, Rasr(add_punc=True)
    return DashScope("key", endpoint=emulator.dashscope_url), Paraformer()


async def one_session(seed: int, number: int, outcome: Outcome, *, pace: float | None) -> None:
    """Stream one source and hold what came against its script."""
    told = script(seed)
    engine = Scripted(told, position=position_of)
    retry = Retry(attempts=30, max_delay_s=0.2)
    async with serve(engine, faults=Faults(plan(seed), seed=seed)) as emulator:
        service, options = service_at(emulator, number)
        async with Client(service, timeouts=TIMEOUTS, retry=retry) as client:
            for attempt in range(20):
                heard: list[Result] = []
                try:
                    async with client.session(options) as session:
                        async for result in session.stream([position_audio(0, SOURCE_MS)], pace=pace):
                            if result.is_final:
                                heard.append(result)
                        outcome.reconnects += session.stats.reconnects
                    break
                except ASRError as error:
                    # the first connection of a session is the caller's to try again
                    if heard or not error.retryable or attempt == 19:
                        outcome.failed += 1
                        print(f"seed {seed}, session {number}: {error}", file=sys.stderr)
                        return
        compare(told, heard, outcome)
        for kind, count in emulator.faults_struck.items():
            outcome.faults[kind] = outcome.faults.get(kind, 0) + count


def compare(told: list[tuple[str, int, int]], heard: list[Result], outcome: Outcome) -> None:
    """Count what is missing, what is too much, and what is at the wrong time."""
    outcome.sessions += 1
    outcome.finals += len(heard)
    texts = [result.text for result in heard]
    outcome.lost += sum(text not in texts for text, _, _ in told)
    outcome.doubled += len(texts) - len(set(texts))
    places = {text: (start, end) for text, start, end in told}
    for result in heard:
        start, end = places.get(result.text, (-SOURCE_MS, -SOURCE_MS))
        if max(abs(result.start_ms - start), abs(result.end_ms - end)) > FRAME_MS:
            outcome.off_by_more_than_a_frame += 1
            print(f"{result.text!r} at {result.start_ms}..{result.end_ms}, not {start}..{end}", file=sys.stderr)


async def run(seed: int, faults: int, pace: float | None) -> Outcome:
    """Sessions until so many faults have struck."""
    outcome = Outcome(faults={})
    rng = random.Random(seed)
    began_at = time.monotonic()
    number = 0
    while sum(outcome.faults.values()) < faults:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENT):
                number += 1
                group.create_task(one_session(rng.randrange(2**31), number, outcome, pace=pace))
        if outcome.failed:
            break
    outcome.seconds = round(time.monotonic() - began_at, 1)
    return outcome


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=1_000, help="how many must have struck")
    parser.add_argument("--pace", type=float, default=40.0, help="how much faster than real time the source is")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    outcome = asyncio.run(run(given.seed, given.faults, given.pace))
    if given.json:
        print(json.dumps(msgspec.to_builtins(outcome)))
    else:
        struck = sum(outcome.faults.values())
        print(f"{struck} faults in {outcome.sessions} sessions, {outcome.seconds} s: {outcome.faults}")
        print(f"{outcome.finals} finals, {outcome.reconnects} reconnects, {outcome.failed} sessions failed")
        print(f"{outcome.lost} lost, {outcome.doubled} doubled, {outcome.off_by_more_than_a_frame} at a wrong time")
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
