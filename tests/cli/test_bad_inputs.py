"""Inputs that cannot be transcribed: one line each, the exit status, and finished work that is kept."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from ..support.child_processes import child_environment
from ..support.encoders import encode, run_ffmpeg
from ..support.paths import RECORDINGS, ROOT
from ..support.sound_device import COMMAND as COMMAND_WITH_MICROPHONE
from ..support.wav_files import write_wav
from .command_line import COMMAND, FINALS, environment, transcribe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .engines import CountingEngine

SPEECH = RECORDINGS / "office.wav"
KEY = "00112233445566778899aabbccddeeff"
ENCRYPTION = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", KEY, "-encryption_kid", KEY)


def write_text(path: Path) -> None:
    path.write_text("La la la,\nla la.\n" * 50)


def write_nothing(path: Path) -> None:
    path.touch()


def write_cut(path: Path) -> None:
    encode(SPEECH, path, "-c:a", "aac")
    path.write_bytes(path.read_bytes()[:10_000])


def write_cut_behind_its_index(path: Path) -> None:
    encode(SPEECH, path, "-c:a", "aac", "-movflags", "+faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])


def write_encrypted(path: Path) -> None:
    encode(SPEECH, path, "-c:a", "aac", *ENCRYPTION)


def write_mute(path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "color=size=32x32:duration=1", "-c:v", "mpeg4", path)


class Bad(NamedTuple):
    """A file that cannot be transcribed: how it is made, what is said of it, and if it is found before connecting."""

    write: Callable[[Path], None]
    text: str
    is_refused: bool = True


BAD = {
    "text.mp3": Bad(write_text, "is text, not audio"),
    "empty.wav": Bad(write_nothing, "is empty"),
    "cut.mp4": Bad(
        write_cut,
        "is cut off, or was not finished by the program that recorded it: its table of contents is missing",
    ),
    "short.mp4": Bad(
        write_cut_behind_its_index,
        r"ends after \d\.\d s, but its header declares \d\.\d s: it is cut off; copy it again, or finish the recording",
        is_refused=False,
    ),
    "secret.mp4": Bad(write_encrypted, "is encrypted: decrypt it, or record the sound anew"),
    "mute.mp4": Bad(write_mute, "has no sound track"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_has_one_line_and_the_others_are_transcribed(
    name: str, clip: Path, tmp_path: Path, url: str, engine: CountingEngine
) -> None:
    bad, path = BAD[name], tmp_path / name
    bad.write(path)
    outcome = transcribe(path, "-q", url=url)
    assert re.fullmatch(f"asr-async: {re.escape(str(path))}: {bad.text}\n", outcome.stderr)
    assert outcome.exit_code == (2 if bad.is_refused else 1)
    assert engine.opened == (0 if bad.is_refused else 1)

    outcome = transcribe(path, clip, "-q", "-o", f"{tmp_path}/out/", url=url)
    assert outcome.exit_code == 1
    assert (tmp_path / "out" / "clip.txt").read_text(encoding="utf-8") == FINALS
    assert (tmp_path / "out" / path.name).with_suffix(".txt").exists() == (not bad.is_refused)


def test_of_two_sound_tracks_one_is_transcribed_and_named(tmp_path: Path, url: str) -> None:
    film = tmp_path / "film.mkv"
    run_ffmpeg("-i", write_wav(tmp_path / "silence.wav", 4), "-i", SPEECH, "-map", "0:a", "-map", "1:a", film)
    outcome = transcribe(film, "-q", url=url)
    assert (outcome.exit_code, outcome.stdout) == (0, FINALS)
    assert outcome.stderr == (
        f"asr-async: warning: {film}: it has 2 sound tracks, and the first is read: choose one by its number (track)\n"
    )
    outcome = transcribe(film, "-q", "--track", "1", url=url)
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    outcome = transcribe(film, "--track", "2", url=url)
    assert outcome.exit_code == 2
    assert outcome.stderr == f"asr-async: {film}: has 2 sound tracks: track=2 must be less than that\n"


def piped(data: bytes, url: str) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, "transcribe", "-", "-q", "--pace", "max"]
    return subprocess.run(
        command, env=environment(url), cwd=ROOT, input=data, capture_output=True, timeout=60, check=False
    )


def test_a_stream_of_no_bytes_is_named(url: str) -> None:
    done = piped(b"", url)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"asr-async: standard input: is empty\n")


def test_a_writer_that_dies_within_its_declared_length_is_a_failure_behind_its_words(clip: Path, url: str) -> None:
    done = piped(clip.read_bytes()[:51_244], url)
    assert (done.returncode, done.stdout) == (1, b"go forward ten meters\n")
    assert done.stderr == (
        b"asr-async: standard input: ends after 1.6 s, but its header declares 3.0 s: it is cut off; copy it again, or "
        b"finish the recording\n"
    )


# --- the microphone ---------------------------------------------------------------------------------------------------


def mic(clip: Path, url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND_WITH_MICROPHONE, "mic", "-q"],
        env=environment(url) | {"MICROPHONE": str(clip), "PYTHONPATH": child_environment()["PYTHONPATH"]} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_microphone_that_is_unplugged_ends_behind_its_words(clip: Path, url: str) -> None:
    done = mic(clip, url, UNPLUGGED_AFTER_S="3")
    assert (done.returncode, done.stdout) == (1, FINALS)
    assert done.stderr == "asr-async: the microphone brings no more audio: was it unplugged?\n"


def test_a_machine_without_portaudio_learns_what_to_install(clip: Path, url: str, tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    done = subprocess.run(
        [*COMMAND, "mic"],
        env=environment(url) | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "asr-async: microphone() needs the PortAudio library: apt-get install libportaudio2, dnf install portaudio, or "
        "brew install portaudio\n"
    )
