"""An opened input: what it holds, and its sound in the format that a session declares.

WAV and bare samples are read here, everything else is decoded by `decoded`, or passed through if the session declares
its encoding. Blocks: it is for threads. Does not know sessions.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import msgspec

from ..audio import AudioFormat
from ..audio.samples import SAMPLE_BYTES, Channel, SampleFormat, mono, sixteen_bit
from ..errors import AudioLostError, ConfigurationError, printable
from .advice import ffmpeg_command
from .byte_reader import PathInput
from .decoded import Decoder, Resampler, has_decoder
from .sniff import CompressedAudio, find_compressed, is_text
from .wav import WAV_MAGICS, WavHeaderError, read_wav_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .byte_reader import AudioInput
    from .wav import WavHeader

__all__ = ["Facts", "ReadOptions", "Recording"]

logger: logging.Logger = logging.getLogger("asr_async")

BLOCK_BYTES = 64 * 1024
"""The size of one read: two seconds of 16-bit samples at 16 kHz."""

TOLERANCE_MS = 100
"""A file that is shorter than its header says by less is whole: some programs count the header as samples."""

DECODED_TOLERANCE_MS = 1_000
"""The same for the lengths in other containers, which are less exact."""

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

_SAMPLES = {
    "pcm": SampleFormat("int", 2),
    "ulaw": SampleFormat("ulaw", 1),
    "alaw": SampleFormat("alaw", 1),
}
_CONTAINER_MAGICS = (b"\x1aE\xdf\xa3", b"fLaC", b"OggS", b"FORM", b".snd", b"caff", b"\x30\x26\xb2\x75", b"FLV", b"ID3")
"""Of what may come through a pipe: WebM and Matroska, flac, Ogg, AIFF, AU, CAF, ASF (wma), FLV, mp3."""


class ReadOptions(msgspec.Struct, frozen=True):
    """The choices of the caller: see `read_audio`."""

    channel: Channel = "mix"
    track: int = 0
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


class Recording:
    """An opened input, to be read once.

    Attributes:
        name: its name in texts.
        facts: what it holds.
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
        self._input = audio_input
        self._options = options
        self._wav: WavHeader | None = None
        self._decoder: Decoder | None = None
        # the format of samples without a header
        self._raw: AudioFormat | None = None
        self._reader = audio_input.open()
        try:
            self.facts: Facts = self._find_facts(expected)
            self._check_channel()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Recording {self.name}: {self.facts}>"

    def close(self) -> None:
        """Close the input, unless it is the caller's own file. Idempotent."""
        if self._decoder is not None:
            self._decoder.close()
        self._reader.close()

    # --- what it is --------------------------------------------------------------------------------------------------

    def _find_facts(self, expected: AudioFormat) -> Facts:
        start, raw = self._reader.peek(16), self._options.raw
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
        compressed = find_compressed(self._reader)
        if compressed is not None:
            return self._compressed_facts(compressed)
        if is_text(self._reader.peek(512)):
            raise ConfigurationError(f"{self.name} is text, not audio")
        if self._input.is_live and own_format is not None:
            return self._raw_facts(own_format)
        return self._decoded_facts()

    @property
    def _suffix(self) -> str:
        path = self._input.path if isinstance(self._input, PathInput) else ""
        return path[path.rfind(".") :].lower() if "." in path else ""

    def _read_wav(self) -> Facts:
        reader = self._reader
        try:
            header = read_wav_header(reader)
        except WavHeaderError as error:
            raise ConfigurationError(f"{self.name} {error}") from None
        if header.samples is None:
            if not reader.is_seekable:
                raise ConfigurationError(f"{self.name} is a WAV file with {header.codec}: read it from a file")
            reader.seek(0)
            return self._decoded_facts()
        self._wav = header
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
        self._raw = audio_format
        size = self._reader.size_bytes
        duration_ms = None if size is None else audio_format.to_ms(size)
        return Facts(f"{audio_format.encoding} without a header", audio_format.sample_rate, 1, duration_ms)

    def _given_facts(self, expected: AudioFormat) -> Facts:
        """Return the facts about bytes that begin with no container: they are what the options declare."""
        known = find_compressed(self._reader) if expected.encoding in PASSED_ENCODINGS else None
        if known is not None:
            return self._compressed_facts(known)
        if is_text(self._reader.peek(512)):
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
        decoder = self._open_decoder()
        return Facts(
            kind=f"{decoder.codec} in {decoder.container.partition(',')[0]}",
            sample_rate=decoder.sample_rate,
            channels=decoder.channels,
            duration_ms=decoder.duration_ms,
            declared_ms=decoder.duration_ms if decoder.is_exact else None,
            tracks=decoder.track_count,
        )

    def _open_decoder(self) -> Decoder:
        if self._decoder is None:
            if not has_decoder():
                raise ConfigurationError(
                    f'{self.name} has to be decoded: pip install "asr-async[audio]", or convert it{self._command()}'
                )
            try:
                self._decoder = Decoder(self._reader, track=self._options.track)
            except ConfigurationError as error:
                raise ConfigurationError(f"{self.name} {error.message}") from None
        return self._decoder

    def _check_channel(self) -> None:
        channel, channels = self._options.channel, self.facts.channels
        if channel != "mix" and channel >= channels:
            raise ConfigurationError(f"{self.name} has no channel {channel}: it has {channels}, and they count from 0")

    def _command(self, sample_rate: int | None = None) -> str:
        """Return the command that converts the file, behind the word "with"; empty if it is no file."""
        if not isinstance(self._input, PathInput) or self._input.is_live:
            return ""
        return f" with: {ffmpeg_command(self._input.path, sample_rate=sample_rate)}"

    # --- what a session may declare ----------------------------------------------------------------------------------

    @property
    def formats(self) -> list[AudioFormat]:
        """The formats in which it may be sent without a change of its rate, those that change it least first."""
        facts = self.facts
        formats = [AudioFormat("pcm", facts.sample_rate)]
        if facts.compressed is not None and facts.channels == 1:  # vendors take one channel
            formats.insert(0, AudioFormat(facts.compressed.encoding, facts.sample_rate))
        elif self._law is not None and facts.channels == 1:
            formats.insert(0, AudioFormat(self._law, facts.sample_rate))
        return formats

    @property
    def _law(self) -> Literal["ulaw", "alaw"] | None:
        """The law of G.711, if the samples are in it."""
        if self._wav is not None and self._wav.samples is not None:
            kind: str = self._wav.samples.kind
        else:
            kind = "" if self._raw is None else self._raw.encoding
        return kind if kind in {"ulaw", "alaw"} else None  # type: ignore[return-value]

    # --- its sound ---------------------------------------------------------------------------------------------------

    def treatment(self, expected: AudioFormat) -> str:
        """Return what is done to the audio, in words.

        Raises:
            ConfigurationError: the format cannot be made of it.
        """
        facts = self.facts
        if self._is_passed(expected):
            return f"{facts}: passed through as {expected.encoding}"
        if expected.encoding not in {"pcm", "wav"} and expected != AudioFormat(self._law or "", facts.sample_rate):
            text = f"{self.name} is {facts}, but the options declare {expected.encoding} at {expected.sample_rate} Hz"
            raise ConfigurationError(f"{text}: leave format and sample rate out, and it is sent as the model takes it")
        is_resampled = facts.sample_rate != expected.sample_rate
        if is_resampled and not has_decoder():
            raise ConfigurationError(
                f"{self.name} has a sample rate of {facts.sample_rate} Hz, but the session declares "
                f'{expected.sample_rate}: declare its own, pip install "asr-async[audio]", or convert it'
                f"{self._command(expected.sample_rate)}"
            )
        steps = []
        if self._is_decoded:
            decoder = self._open_decoder()
            self.facts = facts = msgspec.structs.replace(facts, duration_ms=decoder.duration_ms)
            steps.append("decoded")
        elif not self._sample_format.is_sixteen_bit and expected.encoding in {"pcm", "wav"}:
            steps.append("converted to 16 bits")
        if facts.channels > 1:
            channel = self._options.channel
            steps.append("mixed to mono" if channel == "mix" else f"channel {channel} alone")
        if is_resampled:
            steps.append(f"resampled to {expected.sample_rate} Hz")
        return f"{facts}: {', '.join(steps) or 'sent as it is'}"

    def _is_passed(self, expected: AudioFormat) -> bool:
        """Return True if the bytes of compressed audio are sent as they are."""
        return self.facts.compressed is not None and self.facts.compressed.encoding == expected.encoding

    @property
    def _is_decoded(self) -> bool:
        return self._wav is None and self._raw is None

    def pieces(self, expected: AudioFormat) -> Iterator[bytes]:
        """Yield the audio in this format.

        Raises:
            AudioLostError: behind the audio: the file is shorter than it says.
            ConfigurationError: the format cannot be made of it.
        """
        self.treatment(expected)
        if self._is_passed(expected):
            yield from self._passed()
        elif expected.encoding in {"ulaw", "alaw"}:
            yield from self._plain_samples()
        else:
            yield from self._wav_file(expected) if expected.header else self._samples(expected.sample_rate)

    def all_channels(self) -> Iterator[bytes]:
        """Yield 16-bit samples of all channels, at the sample rate of the file.

        Raises:
            AudioLostError: behind the audio: the file is shorter than it says.
            ConfigurationError: the file cannot be decoded here.
        """
        if self._is_decoded:
            yield from self._decoded(self.facts.sample_rate, None)
        else:
            yield from (sixteen_bit(piece, self._sample_format) for piece in self._plain_samples())

    def _passed(self) -> Iterator[bytes]:
        read_bytes = 0
        while data := self._reader.read(BLOCK_BYTES):
            read_bytes += len(data)
            yield data
        compressed = self.facts.compressed
        if compressed is not None and compressed.declared_bytes and compressed.declared_ms:
            part = read_bytes / compressed.declared_bytes
            self._check_length(round(part * compressed.declared_ms), compressed.declared_ms, DECODED_TOLERANCE_MS)

    def _wav_file(self, expected: AudioFormat) -> Iterator[bytes]:
        """Yield a WAV file: a plain one as it is, another one with a header of its own."""
        header = self._wav
        is_plain = header is not None and header.samples == _SAMPLES["pcm"]
        if header is not None and is_plain and header.sample_rate == expected.sample_rate and self._reader.is_seekable:
            self._reader.seek(0)
            yield self._reader.read_exactly(header.header_bytes)
        else:
            yield expected.header
        yield from self._samples(expected.sample_rate)

    def _samples(self, sample_rate: int) -> Iterator[bytes]:
        """Yield 16-bit mono samples with this rate."""
        if self._is_decoded:
            yield from self._decoded(sample_rate, self._options.channel)
            return
        facts = self.facts
        own_format = self._sample_format
        pieces = self._plain_samples()
        if own_format != _SAMPLES["pcm"]:
            channel = self._options.channel
            pieces = (mono(sixteen_bit(piece, own_format), own_format.channels, channel) for piece in pieces)
        if facts.sample_rate == sample_rate:
            yield from pieces
            return
        resampler = Resampler(facts.sample_rate, sample_rate)
        for piece in pieces:
            if resampled := resampler.push(piece):
                yield resampled
        yield resampler.finish()

    @property
    def _sample_format(self) -> SampleFormat:
        if self._wav is not None and self._wav.samples is not None:
            return self._wav.samples
        return _SAMPLES["pcm" if self._raw is None else self._raw.encoding]

    def _plain_samples(self) -> Iterator[bytes]:
        """Yield the samples as they are in the file, whole ones of all channels."""
        header = self._wav
        left = None if header is None else header.data_bytes
        group_bytes = self._sample_format.group_bytes
        begun = b""
        read_bytes = 0
        while data := self._reader.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left - read_bytes)):
            read_bytes += len(data)
            if group_bytes > 1:
                data = begun + data if begun else data
                whole_bytes = len(data) - len(data) % group_bytes
                data, begun = data[:whole_bytes], data[whole_bytes:]
            if data:
                yield data
        if header is not None and left is not None:
            read_ms, declared_ms = (size * 1000 // group_bytes // header.sample_rate for size in (read_bytes, left))
            self._check_length(read_ms, declared_ms, TOLERANCE_MS)

    def _decoded(self, sample_rate: int, channel: Channel | None) -> Iterator[bytes]:
        decoder = self._open_decoder()
        pieces = decoder.samples(sample_rate, channel)
        try:
            yield from pieces if self._input.is_live else _joined(pieces)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.name} {error.message}") from None
        if decoder.bad_packets:
            logger.warning(
                "%s: %d packets could not be decoded, and are missing from the audio", self.name, decoder.bad_packets
            )
        declared_ms = self.facts.declared_ms
        if declared_ms is not None:
            self._check_length(decoder.position_ms, declared_ms, max(DECODED_TOLERANCE_MS, declared_ms // 100))

    def _check_length(self, read_ms: int, declared_ms: int, tolerance_ms: int) -> None:
        if declared_ms - read_ms > tolerance_ms:
            text = (
                f"{self.name} ends after {read_ms / 1000:.1f} s, but its header declares {declared_ms / 1000:.1f} s: "
                "it is cut off; copy it again, or finish the recording"
            )
            raise AudioLostError(text, start_ms=read_ms, end_ms=declared_ms)


def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield pieces of some size: a packet has 20 ms of audio, and each piece costs a change of threads."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES // SAMPLE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)
