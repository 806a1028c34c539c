"""Recordings as people bring them: encodings, WAV files of other programs, and ten hours in one file.

Three reports, each a table; exit status 1 if a line is not as it should be:

- `encodings`: one sentence in each encoding, made by ffmpeg, through the embedded recogniser, with what was done to the
  audio: decoded, and passed through as well where the model takes the encoding (the emulator then decodes it).
- `wavs`: WAV files as recorders, pipes and editors write them (`tests/sources/wav_bytes.py`), and what was read.
- `long`: a recording of `--hours` as WAV and as mp3, decoded and passed through, each in a session without pacing, with
  a scripted engine: the resident memory of the client's process in each fifth of the recording, and its peak.

    python -m benchmarks.recordings encodings wavs
    python -m benchmarks.recordings long --hours 10

It needs ffmpeg, the extras `local` and `audio`, and for ten hours 200 MB of temporary disk. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from asr_async import (
    AudioFormat,
    AudioLostError,
    Client,
    ConfigurationError,
    DashScope,
    Local,
    Paraformer,
    connect,
    read_audio,
)
from asr_async.emulator import Scripted, serve
from tests.sources.wav_bytes import TONE, WAVS, WavCase, fmt, riff
from tests.support.encoders import ENCODINGS, encode, run_ffmpeg
from tests.support.paths import RECORDINGS

SENTENCE = RECORDINGS / "train.wav"

SAMPLES = Paraformer(format="pcm", sample_rate=16_000)
"""Options for which compressed audio is decoded here."""

FIFTHS = 5

MAX_GROWTH_MIB = 8
"""The memory by which the last fifth of a long recording may exceed the first: noise of the allocator."""

SEGMENT_MS = 10_000


# --- encodings --------------------------------------------------------------------------------------------------------


async def report_encodings() -> bool:
    """Print the words of one sentence in each encoding; return True if all are the same."""
    is_good = True
    with tempfile.TemporaryDirectory() as folder:
        async with Client(Local()) as client:
            expected = (await client.transcribe(SENTENCE, Paraformer())).text
            print(f"{SENTENCE.name}: {expected}\n")
            for name, arguments in ENCODINGS.items():
                path = encode(SENTENCE, Path(folder, f"sentence.{name}"), *arguments)
                for options in (Paraformer(), SAMPLES):
                    source = read_audio(path)
                    fitted = await source.fit(options)
                    if options is SAMPLES and fitted == await source.fit(Paraformer()):
                        continue  # printed already
                    transcript = await client.transcribe(source, options, pace=None)
                    is_same = words_of(transcript.text) == words_of(expected)
                    is_good &= is_same
                    words = "same words" if is_same else transcript.text
                    print(f"{name:12} {words:12} {source.treatment}", flush=True)
    return is_good


def words_of(text: str) -> list[str]:
    """Return the words of a text, without case and punctuation."""
    return re.findall(r"[\w']+", text.lower())


# --- WAV files --------------------------------------------------------------------------------------------------------


async def report_wavs() -> bool:
    """Print how much was read of each WAV file, and the error; return True if both are as the tests expect."""
    outcomes = [(name, case, *await read_wav(case)) for name, case in WAVS.items()]
    for name, _, read_ms, error in outcomes:
        print(f"{name:55} {f'{read_ms} ms' if read_ms else '':7}{'' if error is None else error}")
    return all((ms, error) == (case.read_ms, case.error and case.error.format("it")) for _, case, ms, error in outcomes)


async def read_wav(case: WavCase) -> tuple[int, str | None]:
    """Return how much of a file was read, and the text of the error, with "it" for the name."""
    source, audio, error_text = read_audio(case.data), b"", None
    try:
        await source.preflight(AudioFormat())
        async for piece in source:
            audio += piece
    except (AudioLostError, ConfigurationError) as error:
        error_text = error.message.replace(source.name, "it")
    assert TONE.startswith(audio), "the samples are changed"
    return len(audio) // 32, error_text


# --- long recordings --------------------------------------------------------------------------------------------------


class Memory(msgspec.Struct, frozen=True):
    """The memory of one session with a long recording, in MiB."""

    fifths: list[float]
    """The most in each fifth of the recording."""
    peak: float
    finals: int
    wall_s: float

    @property
    def is_flat(self) -> bool:
        """True if the last fifth needed no more than the first."""
        return self.fifths[-1] - self.fifths[0] < MAX_GROWTH_MIB


async def report_long(hours: float) -> bool:
    """Print the memory of sessions with long recordings; return True if none grows and all words arrive."""
    is_good = True
    seconds = round(hours * 3_600)
    script = [(f"sentence number {at}", at + 1_000, at + 4_000) for at in range(0, seconds * 1_000, SEGMENT_MS)]
    with tempfile.TemporaryDirectory() as folder:
        wav, mp3 = write_long_wav(Path(folder, "long.wav"), seconds), write_long_mp3(Path(folder, "long.mp3"), seconds)
        async with serve(engine=Scripted(script, interim_every_ms=1_000)) as emulator:
            for what, path, *arguments in (
                ("WAV", wav),
                ("mp3, decoded", mp3, "--samples"),
                ("mp3, passed through", mp3),
            ):
                memory = await measure_in_child(
                    "--measure", str(path), "--url", emulator.dashscope_url, "--hours", str(hours), *arguments
                )
                is_good &= memory.is_flat and memory.finals == len(script)
                print_memory(f"{what}, {hours:g} h", memory, len(script))
    return is_good


def print_memory(what: str, memory: Memory, expected_finals: int) -> None:
    """Print the memory of one session on a line."""
    fifths = " ".join(f"{mib:5.1f}" for mib in memory.fifths)
    print(f"{what:26} {fifths} MiB, peak {memory.peak:.1f} MiB", end="; ")
    print(f"{memory.finals} of {expected_finals} finals in {memory.wall_s:.0f} s", flush=True)


def write_long_wav(path: Path, seconds: int) -> Path:
    """Write a WAV file of silence, which takes no disk: a file with a hole."""
    size_bytes = seconds * 32_000
    header = riff(fmt(), b"data" + size_bytes.to_bytes(4, "little"), size=36 + size_bytes)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size_bytes)
    return path


def write_long_mp3(path: Path, seconds: int) -> Path:
    """Write an mp3 file: frames of speech, again and again."""
    minute = path.with_suffix(".minute.mp3")
    cut = ("-t", "60", "-c:a", "libmp3lame", "-b:a", "32k", "-write_xing", "0", "-id3v2_version", "0")
    run_ffmpeg("-stream_loop", "-1", "-i", SENTENCE, *cut, minute)
    data = minute.read_bytes()
    with path.open("wb") as file:
        for _ in range(-(-seconds // 60)):
            file.write(data)
    return path


async def measure_in_child(*arguments: str) -> Memory:
    """Run `measure` in another process."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.recordings", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    return msgspec.json.decode(output, type=Memory)


async def measure(path: Path, url: str, hours: float, *, samples: bool) -> Memory:
    """Run a session with a recording, as fast as the service takes it, and return the memory of this process."""
    source = read_audio(path)
    options = await source.fit(SAMPLES if samples else Paraformer())
    length_ms = hours * 3_600_000
    fifths, finals, began_at = [0.0] * FIFTHS, 0, time.monotonic()
    async with connect(options, DashScope("key", endpoint=url)) as session:
        async for result in session.stream(source, pace=None):
            finals += result.is_final
            fifth = min(FIFTHS - 1, int(FIFTHS * result.start_ms / length_ms))
            fifths[fifth] = max(fifths[fifth], resident_mib("VmRSS"))
    return Memory(
        fifths=fifths,
        peak=resident_mib("VmHWM"),
        finals=finals,
        wall_s=time.monotonic() - began_at,
    )


def resident_mib(field: str) -> float:
    """Return a size from the status of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1_024 for line in lines if line.startswith(field))


def main() -> int:
    """Parse the arguments, print the reports; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="*", choices=["encodings", "wavs", "long", []], help="default: all of them")
    parser.add_argument("--hours", type=float, default=10.0, help="of a long recording (default: %(default)s)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--samples", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        memory = asyncio.run(measure(arguments.measure, arguments.url, arguments.hours, samples=arguments.samples))
        print(msgspec.json.encode(memory).decode())
        return 0
    reports: dict[str, Callable[[], Awaitable[bool]]] = {
        "encodings": report_encodings,
        "wavs": report_wavs,
        "long": lambda: report_long(arguments.hours),
    }
    is_good = True
    for name in arguments.reports or reports:
        print(f"\n{name}:\n")
        is_good &= asyncio.run(_awaited(reports[name]))
    return 0 if is_good else 1


async def _awaited(report: Callable[[], Awaitable[bool]]) -> bool:
    return await report()


if __name__ == "__main__":
    sys.exit(main())
