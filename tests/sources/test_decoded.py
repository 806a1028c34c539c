"""Recordings that are decoded: every kind of file gives the same sound, and damaged files say what they are."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from asr_async import (
    AudioFile,
    AudioFormat,
    AudioLostError,
    ConfigurationError,
    FunASR,
    Paraformer,
    Rasr,
    preflight,
    read_audio,
)
from asr_async.sources import DroppedAudio, decoded

from ..support.encoders import ENCODINGS, encode, run_ffmpeg
from ..support.paths import RECORDINGS
from ..support.wav_files import write_wav

if TYPE_CHECKING:
    from pathlib import Path

    from asr_async.vendors.options import Options

SPEECH = RECORDINGS / "office.wav"
PCM16K = AudioFormat()


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("encoded")
    return {name: encode(SPEECH, folder / f"speech.{name}", *arguments) for name, arguments in ENCODINGS.items()}


async def read(source: AudioFile, expected: AudioFormat = PCM16K) -> np.ndarray[Any, Any]:
    """Return the samples of a source."""
    await source.preflight(expected)
    return np.frombuffer(b"".join([piece async for piece in source]), "<i2").astype(float)


def likeness(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
    """Return the highest correlation of two sounds, whatever the delay between them."""
    size = len(first) + len(second)
    product = np.fft.irfft(np.fft.rfft(first, size) * np.conj(np.fft.rfft(second, size)), size)
    return float(product.max() / np.sqrt((first**2).sum() * (second**2).sum()))


TREATMENTS = {
    "mp3": "mp3, 16000 Hz, mono: decoded",
    "stereo.mp3": "mp3, 44100 Hz, 2 channels: decoded, mixed to mono, resampled to 16000 Hz",
    "m4a": "aac in mov, 16000 Hz, mono: decoded",
    "aac": "AAC, 16000 Hz, mono: decoded",
    "opus": "Opus in Ogg, 16000 Hz, mono: decoded",
    "webm": "opus in matroska, 48000 Hz, mono: decoded, resampled to 16000 Hz",
    "spx": "Speex in Ogg, 16000 Hz, mono: decoded",
    "vorbis.ogg": "vorbis in ogg, 16000 Hz, mono: decoded",
    "amr": "AMR, 8000 Hz, mono: decoded, resampled to 16000 Hz",
    "flac": "flac in flac, 16000 Hz, mono: decoded",
    "wma": "wmav2 in asf, 16000 Hz, mono: decoded",
    "mp4": "aac in mov, 16000 Hz, mono: decoded",
    "aiff": "pcm_s16be in aiff, 16000 Hz, mono: decoded",
    "s24.wav": "24-bit WAV, 48000 Hz, 2 channels: converted to 16 bits, mixed to mono, resampled to 16000 Hz",
    "float.wav": "32-bit float WAV, 16000 Hz, mono: converted to 16 bits",
    "alaw.wav": "A-law WAV, 8000 Hz, mono: converted to 16 bits, resampled to 16000 Hz",
    "ulaw.wav": "\N{GREEK SMALL LETTER MU}-law WAV, 8000 Hz, mono: converted to 16 bits, resampled to 16000 Hz",
    "adpcm.wav": "adpcm_ima_wav in wav, 16000 Hz, mono: decoded",
}


@pytest.mark.parametrize("name", ENCODINGS)
async def test_every_kind_of_file_gives_the_same_sound(name: str, encoded: dict[str, Path]) -> None:
    original = await read(read_audio(SPEECH))
    path = encoded[name]
    for source in (read_audio(path), read_audio(path.read_bytes()), read_audio(BytesIO(path.read_bytes()))):
        sound = await read(source)
        assert source.treatment == TREATMENTS[name]
        assert abs(len(sound) - len(original)) < 0.2 * 16_000
        assert likeness(original, sound) > (0.5 if name in {"spx", "amr"} else 0.8)


DECLARED = {
    "mp3": (AudioFormat("mp3", 16_000), AudioFormat("mp3", 16_000), PCM16K),
    "stereo.mp3": (AudioFormat("pcm", 44_100), PCM16K, PCM16K),
    "m4a": (PCM16K, PCM16K, PCM16K),
    "aac": (AudioFormat("aac", 16_000), AudioFormat("aac", 16_000), PCM16K),
    "opus": (AudioFormat("opus", 16_000), AudioFormat("opus", 16_000), PCM16K),
    "spx": (AudioFormat("speex", 16_000), AudioFormat("speex", 16_000), PCM16K),
    "amr": (AudioFormat("amr", 8_000), PCM16K, AudioFormat("pcm", 8_000)),
    "webm": (AudioFormat("pcm", 48_000), PCM16K, PCM16K),
    "s24.wav": (AudioFormat("pcm", 48_000), PCM16K, PCM16K),
    "alaw.wav": (AudioFormat("pcm", 8_000), PCM16K, AudioFormat("alaw", 8_000)),
    "ulaw.wav": (AudioFormat("pcm", 8_000), PCM16K, AudioFormat("ulaw", 8_000)),
}
"""What Paraformer (any rate), Fun-ASR (16 kHz) and Huawei (samples, 8 or 16 kHz) are given."""


@pytest.mark.parametrize("name", DECLARED)
async def test_the_options_declare_what_the_model_takes_as_it_is(name: str, encoded: dict[str, Path]) -> None:
    models: list[Options] = [Paraformer(), FunASR(), Rasr()]
    source = read_audio(encoded[name])
    assert tuple([(await source.fit(options)).audio for options in models]) == DECLARED[name]


@pytest.mark.parametrize("name", ["mp3", "aac", "opus", "spx", "amr"])
async def test_compressed_audio_of_one_channel_is_passed_through_if_it_is_declared(
    name: str, encoded: dict[str, Path]
) -> None:
    source = read_audio(encoded[name])
    audio = DECLARED[name][0]
    await source.preflight(audio)
    assert b"".join([piece async for piece in source]) == encoded[name].read_bytes()
    assert source.treatment is not None
    assert source.treatment.endswith(f": passed through as {audio.encoding}")


async def test_another_encoding_than_the_declared_one_is_refused(encoded: dict[str, Path]) -> None:
    for name, facts in (("opus", "Opus in Ogg, 16000 Hz, mono"), ("m4a", "aac in mov, 16000 Hz, mono")):
        with pytest.raises(ConfigurationError) as caught:
            await read_audio(encoded[name]).preflight(AudioFormat("mp3", 16_000))
        assert str(caught.value) == (
            f"{encoded[name]} is {facts}, but the options declare mp3 at 16000 Hz: leave format and sample rate out, "
            "and it is sent as the model takes it"
        )


async def test_one_channel_of_a_compressed_call_is_picked(tmp_path: Path) -> None:
    silence = write_wav(tmp_path / "silence.wav", 4)
    call = tmp_path / "call.m4a"
    run_ffmpeg("-i", SPEECH, "-i", silence, "-filter_complex", "[0][1]amerge=inputs=2", "-c:a", "aac", call)
    original = await read(read_audio(SPEECH))
    assert likeness(original, await read(read_audio(call, channel="left"))) > 0.9
    assert np.abs(await read(read_audio(call, channel="right"))).max() < 50


async def test_of_two_sound_tracks_one_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    silence = write_wav(tmp_path / "silence.wav", 4)
    film = tmp_path / "film.mkv"
    run_ffmpeg("-i", silence, "-i", SPEECH, "-map", "0:a", "-map", "1:a", film)
    assert np.abs(await read(read_audio(film))).max() == 0
    note = f"{film}: it has 2 sound tracks, and the first is read: choose one by its number (track)"
    assert [record.getMessage() for record in caplog.records] == [note]
    assert likeness(await read(read_audio(SPEECH)), await read(read_audio(film, track=1))) > 0.9
    with pytest.raises(ConfigurationError, match="has 2 sound tracks: track=2 must be less than that"):
        await read_audio(film, track=2).preflight(PCM16K)


# --- bad input --------------------------------------------------------------------------------------------------------


async def refusal(source: AudioFile) -> str:
    with pytest.raises(ConfigurationError) as caught:
        await read(source)
    text = str(caught.value)
    assert text.startswith(f"{source.name} ")
    assert "\n" not in text
    return text.removeprefix(f"{source.name} ")


async def test_what_is_no_sound_is_refused_in_one_line(tmp_path: Path, encoded: dict[str, Path]) -> None:
    lyrics = tmp_path / "song.mp3"
    lyrics.write_text("La la la,\nla la.\n" * 50)
    assert await refusal(read_audio(lyrics)) == "is text, not audio"
    assert await refusal(read_audio(b"")) == "is empty"
    noise = tmp_path / "noise.mp3"
    noise.write_bytes(bytes(range(128, 256)) * 50)
    assert (await refusal(read_audio(noise))).startswith("is not audio, or is damaged: FFmpeg cannot read it (")
    mute = tmp_path / "mute.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "color=size=32x32:duration=1", "-c:v", "mpeg4", mute)
    assert await refusal(read_audio(mute)) == "has no sound track"
    cut = encoded["m4a"].read_bytes()[:10_000]
    text = "is cut off, or was not finished by the program that recorded it: its table of contents is missing"
    assert await refusal(read_audio(cut)) == text


async def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    key = "00112233445566778899aabbccddeeff"
    encryption = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key, "-encryption_kid", key)
    path = encode(SPEECH, tmp_path / "secret.mp4", "-c:a", "aac", *encryption)
    with pytest.raises(ConfigurationError, match="is encrypted: decrypt it, or record the sound anew"):
        await read_audio(path).preflight(PCM16K)


async def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    playlist = tmp_path / "list.mp3"
    playlist.write_bytes(b"\xef\xbb\xbf#EXTM3U\n#EXTINF:4,\n" + str(SPEECH).encode() + b"\n#EXT-X-ENDLIST\n")
    assert (await refusal(read_audio(playlist))).startswith("is not audio, or is damaged")


@pytest.mark.parametrize("name", ["m4a", "flac"])
async def test_a_file_that_is_cut_off_ends_in_an_error_behind_its_audio(name: str, tmp_path: Path) -> None:
    path = encode(SPEECH, tmp_path / f"speech.{name}", "-movflags", "+faststart")
    length_ms = 1000 * len(await read(read_audio(SPEECH))) / 16_000
    source = read_audio(path.read_bytes()[: path.stat().st_size // 2])
    await source.preflight(PCM16K)
    read_bytes = 0
    with pytest.raises(AudioLostError, match=r"ends after \d\.\d s, but its header declares \d\.\d s") as caught:
        async for piece in source:
            read_bytes += len(piece)
    assert caught.value.start_ms == pytest.approx(read_bytes / 32, abs=100)
    assert caught.value.end_ms == pytest.approx(length_ms, abs=100)
    assert 0.3 < read_bytes / 32 / length_ms < 0.7


async def test_a_damaged_part_is_dropped_audio_of_its_length(tmp_path: Path) -> None:
    path = encode(SPEECH, tmp_path / "speech.m4a", "-c:a", "aac")
    with av.open(str(path)) as container:
        damaged = [packet for packet in container.demux(audio=0) if packet.size][20:40]
        data = bytearray(path.read_bytes())
        for packet in damaged:
            assert packet.pos is not None
            data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
        lost_ms = 1_000 * float(sum(packet.duration or 0 for packet in damaged) * (damaged[0].time_base or 0))
    source = read_audio(bytes(data))
    await source.preflight(PCM16K)
    pieces = [piece async for piece in source]
    (mark,) = [piece for piece in pieces if isinstance(piece, DroppedAudio)]
    assert mark.size_bytes == pytest.approx(32 * lost_ms, rel=0.1)
    assert mark.reason == "the recording is damaged there, and cannot be decoded"
    assert (await preflight(bytes(data))).is_usable
    length_bytes = sum(map(len, pieces)) + mark.size_bytes
    assert length_bytes == pytest.approx(2 * len(await read(read_audio(SPEECH))), abs=2 * 32 * 64)


async def test_an_mp3_that_is_cut_off_ends_in_an_error_decoded_or_passed_through(encoded: dict[str, Path]) -> None:
    data = encoded["mp3"].read_bytes()
    for audio in (PCM16K, AudioFormat("mp3", 16_000)):
        source = read_audio(data[: len(data) // 2])
        await source.preflight(audio)
        with pytest.raises(AudioLostError) as caught:
            assert [len(piece) async for piece in source] == []
        assert caught.value.end_ms is not None
        assert 0.4 < caught.value.start_ms / caught.value.end_ms < 0.6


async def test_without_pyav_the_error_says_what_to_install_and_the_command_is_quoted(
    tmp_path: Path, encoded: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "has_decoder", lambda: False)
    monkeypatch.setattr("asr_async.sources.contents.has_decoder", lambda: False)
    monkeypatch.setattr("asr_async.sources.recording.has_decoder", lambda: False)
    folder = tmp_path / "my calls"
    folder.mkdir()
    path = folder / "Bob's call.m4a"
    path.write_bytes(encoded["m4a"].read_bytes())
    install = 'pip install "asr-async[audio]", or convert it with: ffmpeg -i '
    target = f"{tmp_path}/my calls/Bob'\"'\"'s call"
    assert await refusal(read_audio(path)) == (
        f"has to be decoded: {install}'{target}.m4a' -ac 1 -c:a pcm_s16le '{target}.mono.wav'"
    )
    slow = write_wav(folder / "8k.wav", 1, rate=8_000)
    assert await refusal(read_audio(slow)) == (
        f"has a sample rate of 8000 Hz, but the session declares 16000: declare its own, {install}"
        f"'{tmp_path}/my calls/8k.wav' -ar 16000 -ac 1 -c:a pcm_s16le '{tmp_path}/my calls/8k.16k.wav'"
    )
