"""A trial of the real services: one sentence for every model and mode that the environment gives access to.

Not part of the tests: it needs accounts, and the vendors bill some seconds of audio per model. A model works if the
vendor confirms the end and returns a text, with a translation where one is requested. Judge the text yourself: the
sentence is English, and some of the models know Chinese only. A server of FunASR speaks one of its protocols, in one
mode: name one that is running in FUNASR_SERVER, and expect its row alone to work. So it is with the row of vLLM, whose
server is named in OPENAI_BASE_URL, and the others of OpenAI.

Exit status: 0 if all work, 1 if some do not, 2 if there are neither keys nor addresses.
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
        "end_ms": 4_300,  # after the end of the recording, so that the final is sent at the end
        "translations": {"zh": "开往机场的火车每二十分钟一班。"},
    }
]
"""The script of the emulator."""

MODES: tuple[dict[str, Any], ...] = (
    {},
    {"manual_commit": True},
    {"intermediate_result_enabled": True},
    {"translation_target_languages": ["zh"]},
)
"""Options of the modes; each mode is tried with the models that have its options."""


class Attempt(msgspec.Struct, frozen=True):
    """One model in one mode, to be tried."""

    name: str
    options: Options
    is_translated: bool


def attempts_of(vendor: Vendor) -> list[Attempt]:
    """Return every model of a vendor in every mode that it has."""
    found = {
        attempt.name: attempt  # a model may have two names
        for model, options_class in vendor.models.items()
        for mode in MODES
        if (attempt := attempt_for(model, options_class, mode)) is not None
    }
    return list(found.values())


def attempt_for(model: str, options_class: type[Options], mode: dict[str, Any]) -> Attempt | None:
    """Return the attempt, or None if the model does not have the mode."""
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
    """Return the options for 16 kHz, or for 8 kHz if the model supports nothing else."""
    values: dict[str, Any] = {"model": model, **mode}
    try:
        return options_class(**values)
    except ConfigurationError:
        if "sample_rate" not in options_class.__struct_fields__:
            raise
        return options_class(**{**values, "sample_rate": 8_000})


def samples_at(sample_rate: int) -> bytes:
    """Return the recording at 8, 16 or 24 kHz.

    At 8 kHz each sample is the mean of two, a low-pass filter good enough for speech. At 24 kHz two samples are three:
    the first one, and two on the straight lines to the next ones.
    """
    with wave.open(str(RECORDING)) as file:
        samples: bytes = file.readframes(file.getnframes())
    if sample_rate == 16_000:
        return samples
    pairs = list(struct.iter_unpack("<hh", samples[: len(samples) // 4 * 4]))
    if sample_rate == 8_000:
        return b"".join(struct.pack("<h", (first + second) // 2) for first, second in pairs)
    if sample_rate != 24_000:
        raise ValueError(f"the recording is not converted to {sample_rate} Hz")
    following = [first for first, _ in pairs[1:]] + [pairs[-1][1]]
    return b"".join(
        struct.pack("<hhh", first, (first + 2 * second) // 3, (2 * second + third) // 3)
        for (first, second), third in zip(pairs, following, strict=True)
    )


async def outcome_of(client: Client, attempt: Attempt, pace: float | None) -> tuple[bool, str]:
    """Transcribe the recording; return True if the model works, and the rest of its line in the table."""
    samples = samples_at(attempt.options.audio.sample_rate)
    try:
        transcript = await client.transcribe([samples], attempt.options, pace=pace)
    except ASRError as error:
        return False, line(None, f"{type(error).__name__}: {error}")
    translations = [translation.text for result in transcript.results for translation in result.translations.values()]
    if not transcript.text:
        return False, line(transcript, "no text was returned")
    if attempt.is_translated and not any(translations):
        return False, line(transcript, f"no translation was returned: {transcript.text}")
    return True, line(transcript, " | ".join((f"ok: {transcript.text}", *translations)))


def line(transcript: Transcript | None, result: str) -> str:
    """Return the columns after the name: the delays in milliseconds, and the result."""
    delays = (None, None) if transcript is None else (transcript.stats.first_result_ms, transcript.stats.last_result_ms)
    columns = ("-" if delay is None else f"{delay:.0f}" for delay in delays)
    return "".join(f"{column:>10}" for column in columns) + f"  {' '.join(result.split())}"


def reachable(*, emulator: bool) -> Iterator[tuple[Vendor, Service]]:
    """Yield the vendors to try, each with its service; print those that are left out, with what they need."""
    for vendor in vendors().values():
        missing = vendor.missing_variables()
        if emulator:
            yield vendor, Local(Scripted(SCRIPT))
        elif missing:
            print(f"{vendor.name} is left out: set {', '.join(missing)} to try it", file=sys.stderr)
        else:
            yield vendor, vendor.service()


async def try_all(pairs: Sequence[tuple[Vendor, Service]], pace: float | None) -> bool:
    """Try one model after the other, so that no session delays another; return True if all work."""
    attempts = [(service, attempts_of(vendor)) for vendor, service in pairs]
    width = max(len(attempt.name) for _, group in attempts for attempt in group)
    print(f"{'model':{width}}{'first ms':>10}{'final ms':>10}  result")
    all_work = True
    for service, group in attempts:
        async with Client(service) as client:
            for attempt in group:
                works, columns = await outcome_of(client, attempt, pace)
                print(f"{attempt.name:{width}}{columns}", flush=True)
                all_work &= works
    return all_work


def pace_of(text: str) -> float | None:
    """Parse a number, or `max` for no pacing."""
    return None if text == "max" else float(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, try the models, print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pace", type=pace_of, default=1.0, help="seconds of audio per second, or max (default: 1.0)")
    parser.add_argument("--emulator", action="store_true", help="try a scripted emulator instead; needs no keys")
    options = parser.parse_args(arguments)
    pairs = list(reachable(emulator=options.emulator))
    if not pairs:
        return 2
    return 0 if asyncio.run(try_all(pairs, options.pace)) else 1


if __name__ == "__main__":
    sys.exit(main())
