"""An opened recording: its sound, in the format that a session declares.

WAV and bare samples are read here, everything else is decoded by `decoded`, or passed through if the session declares
its encoding. Blocks: it is for threads. Does not know sessions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..audio import AudioFormat
from ..audio.samples import SAMPLE_BYTES, Channel, mono, sixteen_bit
from ..errors import AudioLostError, ConfigurationError
from .contents import SAMPLES, Contents
from .decoded import Resampler, has_decoder
from .source import AudioMark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .byte_reader import AudioInput
    from .contents import Facts, ReadOptions

__all__ = ["Recording"]

BLOCK_BYTES = 64 * 1024
"""The size of one read: two seconds of 16-bit samples at 16 kHz."""

TOLERANCE_MS = 100
"""A file that is shorter than its header says by less is whole: some programs count the header as samples."""

DECODED_TOLERANCE_MS = 1_000
"""The same for the lengths in other containers, which are less exact."""


class Recording:
    """An opened input, to be read once.

    Attributes:
        name: its name in texts.
        facts: what it holds.
    """

    def __init__(self, audio_input: AudioInput, options: ReadOptions, expected: AudioFormat) -> None:
        """Open the input and find out what it holds; the arguments and errors are those of `Contents`."""
        self._contents = Contents(audio_input, options, expected)
        self._options = options
        self.name: str = self._contents.name
        self.facts: Facts = self._contents.facts

    def __repr__(self) -> str:
        return f"<Recording {self.name}: {self.facts}>"

    def close(self) -> None:
        """Close the input, unless it is the caller's own file. Idempotent."""
        self._contents.close()

    @property
    def formats(self) -> list[AudioFormat]:
        """The formats in which it may be sent without a change of its rate, those that change it least first."""
        facts = self.facts
        formats = [AudioFormat("pcm", facts.sample_rate)]
        if facts.compressed is not None and facts.channels == 1:  # vendors take one channel
            formats.insert(0, AudioFormat(facts.compressed.encoding, facts.sample_rate))
        elif self._contents.law is not None and facts.channels == 1:
            formats.insert(0, AudioFormat(self._contents.law, facts.sample_rate))
        return formats

    def treatment(self, expected: AudioFormat) -> str:
        """Return what is done to the audio, in words.

        Raises:
            ConfigurationError: the format cannot be made of it.
        """
        facts = self.facts
        if self._is_passed(expected):
            return f"{facts}: passed through as {expected.encoding}"
        own_law = AudioFormat(self._contents.law or "", facts.sample_rate)
        if expected.encoding not in {"pcm", "wav"} and expected != own_law:
            text = f"{self.name} is {facts}, but the options declare {expected.encoding} at {expected.sample_rate} Hz"
            raise ConfigurationError(f"{text}: leave format and sample rate out, and it is sent as the model takes it")
        is_resampled = facts.sample_rate != expected.sample_rate
        if is_resampled and not has_decoder():
            raise ConfigurationError(
                f"{self.name} has a sample rate of {facts.sample_rate} Hz, but the session declares "
                f'{expected.sample_rate}: declare its own, pip install "asr-async[audio]", or convert it'
                f"{self._contents.command(expected.sample_rate)}"
            )
        steps = []
        if self._contents.is_decoded:
            decoder = self._contents.open_decoder()
            self.facts = facts = msgspec.structs.replace(facts, duration_ms=decoder.duration_ms)
            steps.append("decoded")
        elif not self._contents.sample_format.is_sixteen_bit and expected.encoding in {"pcm", "wav"}:
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
        if self._contents.is_decoded:
            yield from self._decoded(self.facts.sample_rate, None)
        else:
            yield from (sixteen_bit(piece, self._contents.sample_format) for piece in self._plain_samples())

    def _passed(self) -> Iterator[bytes]:
        read_bytes = 0
        while data := self._contents.reader.read(BLOCK_BYTES):
            read_bytes += len(data)
            yield data
        compressed = self.facts.compressed
        if compressed is not None and compressed.declared_bytes and compressed.declared_ms:
            part = read_bytes / compressed.declared_bytes
            self._check_length(round(part * compressed.declared_ms), compressed.declared_ms, DECODED_TOLERANCE_MS)

    def _wav_file(self, expected: AudioFormat) -> Iterator[bytes]:
        """Yield a WAV file: a plain one as it is, another one with a header of its own."""
        header, reader = self._contents.wav, self._contents.reader
        is_plain = header is not None and header.samples == SAMPLES["pcm"]
        if header is not None and is_plain and header.sample_rate == expected.sample_rate and reader.is_seekable:
            reader.seek(0)
            yield reader.read_exactly(header.header_bytes)
        else:
            yield expected.header
        yield from self._samples(expected.sample_rate)

    def _samples(self, sample_rate: int) -> Iterator[bytes]:
        """Yield 16-bit mono samples with this rate."""
        if self._contents.is_decoded:
            yield from self._decoded(sample_rate, self._options.channel)
            return
        facts = self.facts
        own_format = self._contents.sample_format
        pieces = self._plain_samples()
        if own_format != SAMPLES["pcm"]:
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

    def _plain_samples(self) -> Iterator[bytes]:
        """Yield the samples as they are in the file, whole ones of all channels."""
        header, reader = self._contents.wav, self._contents.reader
        left = None if header is None else header.data_bytes
        group_bytes = self._contents.sample_format.group_bytes
        begun = b""
        read_bytes = 0
        while data := reader.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left - read_bytes)):
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
        decoder = self._contents.open_decoder()
        pieces = decoder.samples(sample_rate, channel)
        try:
            yield from pieces if self._contents.is_live else _joined(pieces)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.name} {error.message}") from None
        declared_ms = self.facts.declared_ms
        if declared_ms is not None:
            self._check_length(decoder.position_ms, declared_ms, max(DECODED_TOLERANCE_MS, declared_ms // 100))
        if decoder.damaged_ms > DECODED_TOLERANCE_MS:
            yield decoder.damaged_part(sample_rate)

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
        if isinstance(piece, AudioMark):
            yield b"".join(waiting)
            yield piece
            waiting, size = [], 0
            continue
        waiting.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES // SAMPLE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)
