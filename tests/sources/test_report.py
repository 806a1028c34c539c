"""Reports on recordings: what is wrong with each, and the line that says how to mend it."""

from __future__ import annotations

import random
import shlex
import struct
import subprocess
import wave
from array import array
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from asr_async import ConfigurationError, FunASR, GummyChat, Paraformer, Report, preflight, read_audio
from asr_async.sources import advice

from ..support.encoders import encode, require_ffmpeg, run_ffmpeg
from ..support.paths import RECORDINGS
from ..support.wav_files import write_wav
from .wav_bytes import WAVS, chunk, fmt, riff, stereo

if TYPE_CHECKING:
    from pathlib import Path

SPEECH = RECORDINGS / "office.wav"


DEAD_CHANNEL = (
    "channel 1 is silent, which halves the level of the mix: recognise the other one alone: read_audio(..., "
    "channel=0), or --channel 0"
)


def speech() -> bytes:
    with wave.open(str(SPEECH)) as file:
        samples: bytes = file.readframes(file.getnframes())
        return samples


def swapped(samples: bytes) -> bytes:
    values = array("h", samples)
    values.byteswap()
    return values.tobytes()


def kinds(report: Report) -> list[str]:
    return [finding.kind for finding in report.findings]


@pytest.mark.parametrize("name", [path.stem for path in sorted(RECORDINGS.glob("*.wav"))])
async def test_there_is_nothing_to_find_in_a_good_recording(name: str) -> None:
    report = await preflight(RECORDINGS / f"{name}.wav", Paraformer())
    assert report.findings == ()
    assert report.is_usable
    assert report.summary == "16-bit WAV, 16000 Hz, mono: sent as it is"
    assert report.duration_ms == report.measured_ms


async def test_a_report_is_printed_as_lines(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "call.wav", samples=stereo(speech(), bytes(len(speech()))), channels=2, rate=16_000)
    report = await preflight(path, FunASR())
    assert (report.sample_rate, report.channels, report.is_usable) == (16_000, 2, True)
    assert str(report).splitlines() == [
        f"{path}: 16-bit WAV, 16000 Hz, 2 channels: mixed to mono, 4.4 s",
        f"warning: {DEAD_CHANNEL}",
    ]


async def test_silence_is_an_error(tmp_path: Path) -> None:
    for samples in (bytes(64_000), struct.pack("<2h", 50, -50) * 16_000):
        report = await preflight(write_wav(tmp_path / "a.wav", samples=samples))
        assert kinds(report) == ["silent"]
        assert not report.is_usable


async def test_clipped_sound_is_found(tmp_path: Path) -> None:
    loud = array("h", [max(-32_768, min(32_767, 12 * value)) for value in array("h", speech())]).tobytes()
    report = await preflight(write_wav(tmp_path / "a.wav", samples=loud))
    assert kinds(report) == ["clipped"]
    assert "% of the samples are clipped" in report.findings[0].text


async def test_swapped_bytes_are_found_and_the_command_mends_them(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a b.wav", samples=swapped(speech()))
    report = await preflight(path)
    assert kinds(report) == ["swapped_bytes"]
    assert mended(report).getvalue() == speech()


async def test_noise_is_not_taken_for_swapped_bytes(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(64_000)
    assert "swapped_bytes" not in kinds(await preflight(write_wav(tmp_path / "a.wav", samples=noise)))


async def test_telephone_sound_in_a_file_of_16_khz_is_found(tmp_path: Path) -> None:
    call = encode(SPEECH, tmp_path / "call.wav", "-ar", "8000")
    path = encode(call, tmp_path / "it's a call.wav", "-ar", "16000")
    report = await preflight(path)
    assert kinds(report) == ["narrow_band"]
    with wave.open(mended_file(report)) as file:
        assert file.getframerate() == 8_000
    assert (await preflight(call)).findings == ()


async def test_long_silence_at_the_ends_is_found_and_the_commands_cut_it_off(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", samples=bytes(12 * 32_000) + speech() + bytes(15 * 32_000))
    report = await preflight(path)
    assert kinds(report) == ["silence_at_start", "silence_at_end"]
    assert [finding.text for finding in report.findings] == [
        "it begins with 12 s of silence",
        "it ends with 16 s of silence",
    ]
    for finding in report.findings:
        trimmed = await preflight(mended_file(report, finding.kind))
        assert finding.kind not in kinds(trimmed)
        assert "silent" not in kinds(trimmed)


async def test_a_recording_that_is_too_long_is_found_and_the_command_splits_it(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", samples=15 * speech())
    report = await preflight(path, GummyChat())
    assert kinds(report) == ["too_long"]
    assert report.findings[0].text == "is 65.8 s long: gummy-chat-v1 accepts at most 60 s"
    mended_file(report)
    assert names_in(tmp_path) == ["a.000.wav", "a.001.wav", "a.wav"]
    assert (await preflight(path, Paraformer())).findings == ()


async def test_several_sound_tracks_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    run_ffmpeg("-i", SPEECH, "-i", SPEECH, "-map", "0:a", "-map", "1:a", path)
    assert kinds(await preflight(path)) == ["several_tracks"]


async def test_a_file_that_is_cut_off_is_measured_as_far_as_it_goes() -> None:
    data = riff(fmt(), chunk(b"data", speech(), size=2 * len(speech())))
    report = await preflight(data)
    assert kinds(report) == ["cut_off"]
    assert report.findings[0].text.startswith("ends after 4.4 s, but its header declares 8.8 s")
    assert report.is_usable


async def test_what_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    report = await preflight(tmp_path / "none.wav")
    assert str(report).splitlines() == [
        str(tmp_path / "none.wav"),
        "error: No such file or directory: give another file",
    ]
    (tmp_path / "a.mp3").write_text("hello " * 100)
    report = await preflight(tmp_path / "a.mp3", Paraformer())
    assert [str(finding) for finding in report.findings] == ["error: is text, not audio: give another file"]
    report = await preflight(WAVS["cut off in the header"].data)
    assert [str(finding) for finding in report.findings] == ["error: is cut off: its header is not complete"]
    assert not report.is_usable
    assert (report.duration_ms, report.sample_rate, report.channels) == (None, None, None)


async def test_an_audio_file_and_one_channel_of_it_can_be_checked() -> None:
    data = riff(fmt(channels=2), chunk(b"data", stereo(speech(), speech())))
    report = await preflight(read_audio(data, channel="left"), Paraformer())
    assert report.summary == "16-bit WAV, 16000 Hz, 2 channels: channel 0 alone"


async def test_a_live_source_is_refused() -> None:
    pipe = BytesIO(WAVS["plain"].data)
    pipe.seekable = lambda: False  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match=r"the BytesIO is live: preflight\(\) reads recordings"):
        await preflight(pipe)


def mended_file(report: Report, kind: str | None = None) -> str:
    """Run the command of a finding in a shell, and return the name of the file that it makes."""
    finding = next(finding for finding in report.findings if kind in {None, finding.kind})
    command = finding.fix[finding.fix.index("ffmpeg ") :]
    run_in_shell(command)
    return shlex.split(command)[-1]


def run_in_shell(command: str) -> None:
    require_ffmpeg()
    subprocess.run(["bash", "-c", f"{command} -v error -y"], check=True, timeout=60)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mended(report: Report) -> BytesIO:
    with wave.open(mended_file(report)) as file:
        return BytesIO(file.readframes(file.getnframes()))


@pytest.mark.parametrize(
    "name", ["a b.wav", "it's.wav", 'say "hi".wav', "$HOME.wav", "-dash.wav", "two\nlines.wav", "a:b.wav", "tab\t.wav"]
)
def test_names_of_any_kind_are_quoted_for_the_shell(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_wav(tmp_path / name, samples=speech())
    command = advice.ffmpeg_command(name, sample_rate=8_000)
    assert "\n" not in command
    run_in_shell(command)
    assert names_in(tmp_path) == sorted([path.name, name.replace(".wav", ".8k.wav")])


async def test_a_name_that_is_no_utf8_is_quoted_and_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.wav"
    write_wav(path, samples=speech())
    assert advice.shell_quoted("caf\udce9.wav") == r"$'caf\xe9.wav'"
    report = await preflight(path)
    assert report.findings == ()
    report.name.encode()
