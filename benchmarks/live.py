"""Whether the services really answer: one sentence to every model and mode that the keys in the environment reach.

No part of the tests: it needs accounts, and some seconds of audio per model are billed. A model works when the vendor
has confirmed the end and a text came, with a translation where one was asked for. What the text says is for the reader
to judge: the sentence is English, and some of the models know Chinese only.

Exit status: 0 all work, 1 some do not, 2 there are no keys.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import sys
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from asr_async import ASRError, Client, ConfigurationError, Local, Transcript
from asr_async.emulator import Scripted
from asr_async.vendors import vendors
from asr_async.vendors.options import Options
from asr_async.vendors.registry import Vendor
from asr_async.vendors.service import Service

RECORDING = Path(__file__).parent.parent / "examples" / "audio" / "train.wav"
SCRIPT = [
    {
        "text": RECORDING.with_suffix(".txt").read_text(encoding="utf-8").strip(),
        "start_ms": 300,
        "end_ms": 4_300,  # a little beyond the recording, so that the final waits for its end
        "translations": {"zh": "开往机场的火车每二十分钟一班。"},
    }
]
"""What the emulator hears."""

MODES: tuple[dict[str, Any], ...] = (
    {},
    {"manual_commit": True},
    {"intermediate_result_enabled": True},
    {"translation_target_languages": ["zh"]},
)
"""Each is tried with the models whose options take it."""


class Attempt(msgspec.Struct, frozen=True):
    """One model in one mode."""

    name: str
    options: Options
    is_translated: bool


def attempts_of(vendor: Vendor) -> list[Attempt]:
    """Every model of a vendor in every mode that it has."""
    found = {
        attempt.name: attempt  # a model may have two names
        for model, options_class in vendor.models.items()
        for mode in MODES
        if (attempt := attempt_for(model, options_class, mode)) is not None
    }
    return list(found.values())


def attempt_for(model: str, options_class: type[Options], mode: dict[str, Any]) -> Attempt | None:
    """None if the model does not have the mode."""
    if not mode.keys() <= set(options_class.__struct_fields__):
        return None
    try:
        options = options_for(model, options_class, mode)
    except ConfigurationError:
        if not mode:
            raise
        return None
    return Attempt(" ".join((options.model, *mode)), options, "translation_target_languages" in mode)


def options_for(model: str, options_class: type[Options], mode: dict[str, Any]) -> Options:
    """The options for 16 kHz, or for 8 kHz where the model takes nothing else."""
    values: dict[str, Any] = {"model": model, **mode}
    try:
        return options_class(**values)
    except ConfigurationError:
        if "sample_rate" not in options_class.__struct_fields__:
            raise
        return options_class(**{**values, "sample_rate": 8_000})


def samples_at(sample_rate: int) -> bytes:
    """The recording, 16 kHz; at 8 kHz each sample is the mean of two, which is filter enough for speech."""
    with wave.open(str(RECORDING)) as file:
        samples: bytes = file.readframes(file.getnframes())
    if sample_rate == 16_000:
        return samples
    pairs = struct.iter_unpack("<hh", samples[: len(samples) // 4 * 4])
    return b"".join(struct.pack("<h", (first + second) // 2) for first, second in pairs)


async def outcome_of(client: Client, attempt: Attempt, pace: float | None) -> tuple[bool, str]:
    """Try it; whether it works, and the rest of its line in the table."""
    samples = samples_at(attempt.options.audio.sample_rate)
    try:
        transcript = await client.transcribe([samples], attempt.options, pace=pace)
    except ASRError as error:
        return False, line(None, f"{type(error).__name__}: {error}")
    translations = [translation.text for result in transcript.results for translation in result.translations.values()]
    if not transcript.text:
        return False, line(transcript, "no text came")
    if attempt.is_translated and not any(translations):
        return False, line(transcript, f"no translation came: {transcript.text}")
    return True, line(transcript, " | ".join((f"ok: {transcript.text}", *translations)))


def line(transcript: Transcript | None, result: str) -> str:
    """The columns behind the name: delays in milliseconds, and what came of it."""
    delays = (None, None) if transcript is None else (transcript.stats.first_result_ms, transcript.stats.last_result_ms)
    columns = ("-" if delay is None else f"{delay:.0f}" for delay in delays)
    return "".join(f"{column:>10}" for column in columns) + f"  {' '.join(result.split())}"


def reachable(*, emulator: bool) -> Iterator[tuple[Vendor, Service]]:
    """The vendors to try, each with its service; tells of those that are left out."""
    for vendor in vendors().values():
        missing = vendor.missing_variables()
        if emulator:
            yield vendor, Local(Scripted(SCRIPT))
        elif missing:
            print(f"{vendor.name} is left out: set {', '.join(missing)} to try it", file=sys.stderr)
        else:
            yield vendor, vendor.service()


async def try_all(pairs: Sequence[tuple[Vendor, Service]], pace: float | None) -> bool:
    """Try one after the other, so that no session delays another; whether all work."""
    attempts = [(service, attempts_of(vendor)) for vendor, service in pairs]
    width = max(len(attempt.name) for _, group in attempts for attempt in group)
    print(f"{'model':{width}}{'first ms':>10}{'final ms':>10}  result")
    all_work = True
    for service, group in attempts:
        async with Client(service) as client:
            for attempt in group:
                works, rest = await outcome_of(client, attempt, pace)
                print(f"{attempt.name:{width}}{rest}", flush=True)
                all_work &= works
    return all_work


def pace_of(text: str) -> float | None:
    """A number, or `max` for no pacing at all."""
    return None if text == "max" else float(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments, try, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pace", type=pace_of, default=1.0, help="audio seconds per second, or max (default: 1.0)")
    parser.add_argument("--emulator", action="store_true", help="try a scripted emulator instead; needs no keys")
    given = parser.parse_args(arguments)
    pairs = list(reachable(emulator=given.emulator))
    if not pairs:
        return 2
    return 0 if asyncio.run(try_all(pairs, given.pace)) else 1


if __name__ == "__main__":
    sys.exit(main())
