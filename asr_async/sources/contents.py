"""The contents of an opened input: what it holds, by its first bytes, its header, or FFmpeg.

Blocks: it is for threads. Does not know sessions, and reads no audio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from .._text.lines import printable
from ..audio import AudioFormat
from ..audio.samples import Channel, SampleFormat
from ..errors import ConfigurationError
from .advice import ffmpeg_command
from .byte_reader import PathInput
from .decoded import Decoder, has_decoder
from .sniff import CompressedAudio, find_compressed, is_text
from .wav import WAV_MAGICS, WavHeaderError, read_wav_header

if TYPE_CHECKING:
    from .byte_reader import AudioInput, ByteReader
    from .wav import WavHeader

__all__ = ["SAMPLES", "Contents", "Facts", "ReadOptions"]

RAW_SUFFIXES: dict[str, AudioFormat | None] = {
    ".pcm": None,
    ".raw": None,
    ".ulaw": AudioFormat("ulaw", 8_000),
    ".ul": AudioFormat("ulaw", 8_000),
    ".alaw": AudioFormat("alaw", 8_000),
    ".al": AudioFormat("alaw", 8_000),
}
"""The suffixes of samples without a header; None has the format of the options. G.711 is telephony, at 8 kHz."""

PASSED_ENCODINGS = frozenset({"mp3", "aac", "amr", "opus", "speex"})
"""The encodings that are recognised by their first bytes; another one that the options declare is not checked."""

SAMPLES = {
    "pcm": SampleFormat("int", 2),
    "ulaw": SampleFormat("ulaw", 1),
    "alaw": SampleFormat("alaw", 1),
}
"""The samples of these encodings, of one channel."""

_CONTAINER_MAGICS = (b"\x1aE\xdf\xa3", b"fLaC", b"OggS", b"FORM", b".snd", b"caff", b"\x30\x26\xb2\x75", b"FLV", b"ID3")
"""Of what may come through a pipe: WebM and Matroska, flac, Ogg, AIFF, AU, CAF, ASF (wma), FLV, mp3."""


class ReadOptions(msgspec.Struct, frozen=True):
    """The choices of the caller: see `read_audio`."""

    channel: Channel = "mix"
    track: int | None = None
    raw: AudioFormat | None = None


class Facts(msgspec.Struct, frozen=True):
    """The facts about an input.

    Attributes:
        kind: the container or codec in words.
        sample_rate: in Hz.
        channels: the number of channels.
        duration_ms: the length of the audio that is there; None if it is not known.
        declared_ms: the length that the header declares; None if it declares none.
        compressed: the encoding, if it is compressed and a vendor may take it as it is.
        tracks: the number of sound tracks.
    """

    kind: str
    sample_rate: int
    channels: int
    duration_ms: int | None = None
    declared_ms: int | None = None
    compressed: CompressedAudio | None = None
    tracks: int = 1

    def __str__(self) -> str:
        return f"{self.kind}, {self.sample_rate} Hz, {'mono' if self.channels == 1 else f'{self.channels} channels'}"


class Contents:
    """An opened input and the facts about it; its audio begins where `reader` stands.

    Attributes:
        name: its name in texts.
        is_live: True for a pipe or a device.
        reader: its bytes.
        facts: what it holds.
        wav: its header, if it is a WAV file that is read here.
        raw: the format of its samples, if they have no header.
    """

    def __init__(self, audio_input: AudioInput, options: ReadOptions, expected: AudioFormat) -> None:
        """Open the input and find out what it holds.

        Args:
            audio_input: the input.
            options: the choices of the caller.
            expected: the format that a session declares, which is also that of samples without a header.

        Raises:
            ConfigurationError: it is empty, or not audio, or cannot be decoded here.
            OSError: it cannot be opened.
        """
        self.name: str = printable(audio_input.name)
        self.is_live: bool = audio_input.is_live
        self.wav: WavHeader | None = None
        self.raw: AudioFormat | None = None
        self._suffix: str = audio_input.suffix
        self._path: str | None = audio_input.path if isinstance(audio_input, PathInput) else None
        self._options = options
        self._decoder: Decoder | None = None
        self.reader: ByteReader = audio_input.open()
        try:
            self.facts: Facts = self._find_facts(expected)
            self._check_channel()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Contents of {self.name}: {self.facts}>"

    def close(self) -> None:
        """Close the input, unless it is the caller's own file. Idempotent."""
        if self._decoder is not None:
            self._decoder.close()
        self.reader.close()

    @property
    def law(self) -> Literal["ulaw", "alaw"] | None:
        """The law of G.711, if the samples are in it."""
        if self.wav is not None and self.wav.samples is not None:
            kind: str = self.wav.samples.kind
        else:
            kind = "" if self.raw is None else self.raw.encoding
        return kind if kind in {"ulaw", "alaw"} else None  # type: ignore[return-value]

    @property
    def is_decoded(self) -> bool:
        """True if PyAV decodes it, or would; False for WAV and samples without a header."""
        return self.wav is None and self.raw is None

    @property
    def sample_format(self) -> SampleFormat:
        """The samples of a WAV file, or of one without a header."""
        if self.wav is not None and self.wav.samples is not None:
            return self.wav.samples
        return SAMPLES["pcm" if self.raw is None else self.raw.encoding]

    def _find_facts(self, expected: AudioFormat) -> Facts:
        start, raw = self.reader.peek(16), self._options.raw
        if not start:
            raise ConfigurationError(f"{self.name} is empty")
        if raw is None and start.startswith(WAV_MAGICS):
            return self._read_wav()
        is_compressed = expected.bytes_per_second is None
        own_format = AudioFormat("pcm", expected.sample_rate) if expected.header or is_compressed else expected
        if raw is not None or self._suffix in RAW_SUFFIXES:
            return self._raw_facts(raw or RAW_SUFFIXES[self._suffix] or own_format)
        is_container = start.startswith(_CONTAINER_MAGICS) or start[4:8] == b"ftyp"
        if is_compressed and not (is_container and expected.encoding in PASSED_ENCODINGS):
            return self._given_facts(expected)
        return self._facts_by_content(None if is_container else own_format)

    def _facts_by_content(self, own_format: AudioFormat | None) -> Facts:
        """Return the facts by what FFmpeg or a look at the start finds.

        Args:
            own_format: the format of a live input without a header; None if there is one.
        """
        compressed = find_compressed(self.reader)
        if compressed is not None:
            return self._compressed_facts(compressed)
        if is_text(self.reader.peek(512)):
            raise ConfigurationError(f"{self.name} is text, not audio")
        if self.is_live and own_format is not None:
            return self._raw_facts(own_format)
        return self._decoded_facts()

    def _read_wav(self) -> Facts:
        reader = self.reader
        try:
            header = read_wav_header(reader)
        except WavHeaderError as error:
            raise ConfigurationError(f"{self.name} {error}") from None
        if header.samples is None:
            if not reader.is_seekable:
                raise ConfigurationError(f"{self.name} is a WAV file with {header.codec}: read it from a file")
            reader.seek(0)
            return self._decoded_facts()
        self.wav = header
        bytes_per_second = header.sample_rate * header.samples.group_bytes
        rest = None if reader.size_bytes is None else reader.size_bytes - header.header_bytes
        sizes = [size for size in (header.data_bytes, rest) if size is not None]
        duration_ms = min(sizes) * 1000 // bytes_per_second if sizes and rest is not None else None
        if duration_ms is not None and min(sizes) < header.samples.group_bytes:
            raise ConfigurationError(f"{self.name} has no samples")
        return Facts(
            kind=f"{header.codec} WAV",
            sample_rate=header.sample_rate,
            channels=header.channels,
            duration_ms=duration_ms,
            declared_ms=None if header.data_bytes is None else header.data_bytes * 1000 // bytes_per_second,
        )

    def _raw_facts(self, audio_format: AudioFormat) -> Facts:
        self.raw = audio_format
        size = self.reader.size_bytes
        duration_ms = None if size is None else audio_format.to_ms(size)
        return Facts(f"{audio_format.encoding} without a header", audio_format.sample_rate, 1, duration_ms)

    def _given_facts(self, expected: AudioFormat) -> Facts:
        """Return the facts about bytes that begin with no container: they are what the options declare."""
        known = find_compressed(self.reader) if expected.encoding in PASSED_ENCODINGS else None
        if known is not None:
            return self._compressed_facts(known)
        if is_text(self.reader.peek(512)):
            raise ConfigurationError(f"{self.name} is text, not audio")
        compressed = CompressedAudio(expected.encoding, expected.sample_rate, 1)
        return Facts(f"{expected.encoding} (not checked)", expected.sample_rate, 1, compressed=compressed)

    def _compressed_facts(self, compressed: CompressedAudio) -> Facts:
        return Facts(
            kind={"opus": "Opus in Ogg", "speex": "Speex in Ogg", "aac": "AAC", "amr": "AMR"}.get(
                compressed.encoding, compressed.encoding
            ),
            sample_rate=compressed.sample_rate,
            channels=compressed.channels,
            duration_ms=compressed.declared_ms,
            declared_ms=compressed.declared_ms,
            compressed=compressed,
        )

    def _decoded_facts(self) -> Facts:
        decoder = self.open_decoder()
        return Facts(
            kind=f"{decoder.codec} in {decoder.container.partition(',')[0]}",
            sample_rate=decoder.sample_rate,
            channels=decoder.channels,
            duration_ms=decoder.duration_ms,
            declared_ms=decoder.duration_ms if decoder.is_exact else None,
            tracks=decoder.track_count,
        )

    def open_decoder(self) -> Decoder:
        """Return the decoder, which is opened at the first call.

        Raises:
            ConfigurationError: PyAV is missing, or it cannot decode the input.
        """
        if self._decoder is None:
            if not has_decoder():
                raise ConfigurationError(
                    f'{self.name} has to be decoded: pip install "asr-async[audio]", or convert it{self.command()}'
                )
            try:
                self._decoder = Decoder(self.reader, track=self._options.track or 0)
            except ConfigurationError as error:
                raise ConfigurationError(f"{self.name} {error.message}") from None
            if not self._decoder.has_packet and not self.reader.is_seekable:
                text = "cannot be read as a stream, since its table of contents is at its end: read it from a file"
                raise ConfigurationError(f"{self.name} {text}")
        return self._decoder

    def _check_channel(self) -> None:
        channel, channels = self._options.channel, self.facts.channels
        if channel != "mix" and channel >= channels:
            raise ConfigurationError(f"{self.name} has no channel {channel}: it has {channels}, and they count from 0")

    def command(self, sample_rate: int | None = None) -> str:
        """Return the command that converts the file, behind the word "with"; empty if it is no file."""
        if self._path is None or self.is_live:
            return ""
        return f" with: {ffmpeg_command(self._path, sample_rate=sample_rate)}"
