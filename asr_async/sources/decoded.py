"""Decoding and resampling with PyAV (FFmpeg), for everything but WAV and bare samples; needs the extra `audio`.

Works in small pieces, so its memory does not depend on the length of a file. Blocks: it is for threads.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

from ..audio.samples import SAMPLE_BYTES, Channel, mono
from ..errors import ASRError, ConfigurationError
from .source import DroppedAudio

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    import av
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

    from .byte_reader import ByteReader

__all__ = ["Decoder", "PacketDecoder", "Resampler", "has_decoder"]

logger: logging.Logger = logging.getLogger("asr_async")

NO_PROTOCOLS = {"protocol_whitelist": "none"}
"""A file is never a way to others: without this, a playlist that is given as audio makes FFmpeg open what it names."""

SWRESAMPLE = {"filter_size": "64", "cutoff": "0.95"}
"""The options of FFmpeg's resampler: a steeper filter than its default, so that no hiss comes from above the band."""

ENCRYPTED_TAGS = frozenset({"enca", "drms", "aavd"})
"""The codec tags of encrypted sound in MP4: common encryption, iTunes, Audible."""


NO_INDEX = "is cut off, or was not finished by the program that recorded it: its table of contents is missing"
DAMAGED = "the recording is damaged there, and cannot be decoded"
ENCRYPTED = "is encrypted: decrypt it, or record the sound anew"


@functools.cache
def has_decoder() -> bool:
    """Return True if PyAV is installed."""
    try:
        import av  # noqa: F401, PLC0415 - loaded only when it is used
    except ImportError:
        return False
    return True


def _av() -> ModuleType:
    import av  # noqa: PLC0415 - loaded only when it is used

    return av


class Decoder:
    """A sound track of a file, decoded.

    Attributes:
        container: the name of the container, as FFmpeg spells it.
        codec: the name of the codec.
        sample_rate: in Hz.
        channels: the number of channels.
        track_count: the number of sound tracks in the file.
        duration_ms: the length that the file declares; None if it declares none.
        is_exact: True if the declared length is not an estimate.
        position_ms: the length of the audio that was decoded, with damaged parts in between.
        damaged_ms: the length of the damaged part at the present place, which may be the end of the file.
    """

    def __init__(self, reader: ByteReader, *, track: int) -> None:
        """Open the file.

        Raises:
            ConfigurationError: it holds no sound that can be decoded; the text stands behind its name.
        """
        self._container = _open(reader)
        try:
            self._stream = self._track(track)
            self._bad_packets = 0
            self._damaged_s = 0.0
            self._packets: Iterator[av.Packet[AudioStream]] = self._container.demux(self._stream)
            # known at once, since it tells whether the sound is encrypted
            self._packet: av.Packet[AudioStream] | None = self._next_packet()
        except BaseException:
            self._container.close()
            raise
        context = self._stream.codec_context
        self.container: str = self._container.format.name
        self.codec: str = context.name
        self.sample_rate: int = context.sample_rate
        self.channels: int = context.channels
        self.duration_ms: int | None = self._declared_ms()
        # The length of an mp3 without a table of contents, for example, is estimated from its bit rate.
        self.is_exact: bool = self.container.startswith(("mov", "matroska", "flac"))
        self._decoded_samples = 0

    def __repr__(self) -> str:
        return f"<Decoder {self.container} {self.codec}>"

    @property
    def track_count(self) -> int:
        """The number of sound tracks in the file."""
        return len(self._container.streams.audio)

    @property
    def has_packet(self) -> bool:
        """True if there is a packet to decode next."""
        return self._packet is not None

    @property
    def position_ms(self) -> int:
        """The length of the audio that was decoded, with damaged parts in between."""
        return self._decoded_samples * 1000 // self.sample_rate

    @property
    def damaged_ms(self) -> int:
        """The length of the damaged part at the present place, which may be the end."""
        return round(1_000 * self._damaged_s)

    def samples(self, sample_rate: int, channel: Channel | None) -> Iterator[bytes]:
        """Yield 16-bit samples of a channel, or of all (None), with this rate, in pieces as they are decoded.

        In the place of a damaged part that others follow is a `DroppedAudio`.

        Raises:
            ConfigurationError: none of it can be decoded, or the rest is encrypted; the text stands behind its name.
        """
        converter = _FrameConverter(sample_rate, channel)
        for frame in self._frames():
            if self._damaged_s:
                yield from converter.convert(None)
                yield self.damaged_part(sample_rate)
            self._decoded_samples += frame.samples
            yield from converter.convert(frame)
        yield from converter.convert(None)
        if self._bad_packets and not self._decoded_samples:
            raise ConfigurationError(f"is damaged: none of its {self._bad_packets} packets of sound can be decoded")

    def damaged_part(self, sample_rate: int) -> DroppedAudio:
        """Return the mark of the damaged part at the present place, and go on behind it."""
        damaged_s, self._damaged_s = self._damaged_s, 0.0
        self._decoded_samples += round(damaged_s * self.sample_rate)
        return DroppedAudio.of_size(round(damaged_s * sample_rate) * SAMPLE_BYTES, DAMAGED)

    def close(self) -> None:
        """Close the container, not the file. Idempotent."""
        self._container.close()

    def _track(self, track: int) -> AudioStream:
        tracks = self._container.streams.audio
        if not tracks:
            raise ConfigurationError("has no sound track")
        if track >= len(tracks):
            raise ConfigurationError(f"has {len(tracks)} sound tracks: track={track} must be less than that")
        stream = tracks[track]
        if stream.codec_context.codec_tag in ENCRYPTED_TAGS:
            raise ConfigurationError(ENCRYPTED)
        if not stream.codec_context.sample_rate or not stream.codec_context.channels:
            raise ConfigurationError(f"has a damaged sound track ({stream.codec_context.name}), without a sample rate")
        return stream

    def _declared_ms(self) -> int | None:
        stream, container = self._stream, self._container
        if stream.duration is not None and stream.time_base is not None:
            return round(1000 * stream.duration * stream.time_base)
        return None if container.duration is None else container.duration // 1000

    def _frames(self) -> Iterator[AudioFrame]:
        """Yield the frames that can be decoded; packets that cannot are counted.

        Raises:
            ConfigurationError: the file is encrypted.
        """
        errors = _av().error
        while self._packet is not None:
            try:
                yield from self._packet.decode()
            except errors.EOFError:
                return
            except errors.FFmpegError:
                self._record_damage(self._packet)
            self._packet = self._next_packet()

    def _record_damage(self, packet: av.Packet[AudioStream]) -> None:
        self._bad_packets += 1
        if packet.duration and packet.time_base:
            self._damaged_s += float(packet.duration * packet.time_base)

    def _next_packet(self) -> av.Packet[AudioStream] | None:
        """Return the next packet; None at the end, also of a file that is cut off.

        Raises:
            ConfigurationError: the file is encrypted.
        """
        errors = _av().error
        try:
            packet = next(self._packets, None)
        except (errors.InvalidDataError, errors.EOFError):
            self._bad_packets += 1
            return None
        if packet is not None and packet.has_sidedata("encryption_info"):
            raise ConfigurationError(ENCRYPTED)
        return packet


class _FrameConverter:
    """The conversion of frames to 16-bit samples; the format of the frames may change."""

    def __init__(self, sample_rate: int, channel: Channel | None) -> None:
        self._sample_rate = sample_rate
        self._channel = channel
        self._layout = "mono" if channel == "mix" else None
        self._resampler: av.AudioResampler | None = None
        self._config: tuple[object, ...] = ()

    def convert(self, frame: AudioFrame | None) -> Iterator[bytes]:
        """Yield what the frame completes; None completes the rest."""
        config = () if frame is None else (frame.format.name, frame.layout.name, frame.sample_rate)
        if config != self._config:
            if self._resampler is not None:
                yield from self._bytes(self._resampler.resample(None))
            self._config = config
            self._resampler = _resampler(self._sample_rate, self._layout) if config else None
        if frame is not None and self._resampler is not None:
            frame.pts = None  # gaps between the times of packets are no audio
            yield from self._bytes(self._resampler.resample(frame))

    def _bytes(self, frames: list[AudioFrame]) -> Iterator[bytes]:
        for frame in frames:
            channels = frame.layout.nb_channels
            data = bytes(frame.planes[0])[: frame.samples * channels * SAMPLE_BYTES]
            yield data if self._channel is None else mono(data, channels, self._channel)


class PacketDecoder:
    """A decoder of packets without their container, to 16-bit mono samples."""

    def __init__(self, encoding: str, header: bytes, sample_rate: int) -> None:
        """Begin a stream.

        Args:
            encoding: the encoding, as `AudioFormat` names it.
            header: the first bytes of the stream; for Opus and Speex, the header packet.
            sample_rate: the rate of the samples in Hz.
        """
        av = _av()
        is_wide = encoding == "amr" and header.startswith(b"#!AMR-WB")
        self._context = av.CodecContext.create({"amr": "amrwb" if is_wide else "amrnb"}.get(encoding, encoding), "r")
        if encoding in {"opus", "speex"}:
            self._context.extradata = header
        elif encoding == "amr":
            self._context.sample_rate, self._context.layout = 16_000 if is_wide else 8_000, "mono"
        self._converter = _FrameConverter(sample_rate, "mix")

    def decode(self, packet: bytes) -> bytes:
        """Return the samples that a packet completes; none for one that is damaged."""
        av = _av()
        try:
            frames = self._context.decode(av.Packet(packet))
        except av.error.FFmpegError:
            return b""
        return b"".join([piece for frame in frames for piece in self._converter.convert(frame)])


class Resampler:
    """The conversion of 16-bit mono samples to another rate, in pieces of any size."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._from_rate = from_rate
        self._resampler = _resampler(to_rate, "mono")

    def push(self, samples: bytes) -> bytes:
        """Return the samples that are complete behind these."""
        if not samples:
            return b""
        frame = _av().AudioFrame(format="s16", layout="mono", samples=len(samples) // SAMPLE_BYTES)
        frame.sample_rate = self._from_rate
        frame.planes[0].update(samples)
        return _joined(self._resampler.resample(frame))

    def finish(self) -> bytes:
        """Return the rest."""
        return _joined(self._resampler.resample(None))


def _joined(frames: list[AudioFrame]) -> bytes:
    return b"".join([bytes(frame.planes[0])[: frame.samples * SAMPLE_BYTES] for frame in frames])


def _resampler(sample_rate: int, layout: str | None) -> av.AudioResampler:
    resampler: av.AudioResampler = _av().AudioResampler(
        format="s16", layout=layout, rate=sample_rate, options=SWRESAMPLE
    )
    return resampler


def _open(reader: ByteReader) -> InputContainer:
    error_class = _av().error.FFmpegError
    try:
        container: InputContainer = _av().open(
            reader, "r", container_options=NO_PROTOCOLS, metadata_errors="replace", buffer_size=32_768
        )
    except ASRError:
        raise
    except error_class as error:
        reason = error.strerror or type(error).__name__
        text = f"is not audio, or is damaged: FFmpeg cannot read it ({reason})"
        raise ConfigurationError(NO_INDEX if _lacks_index(reader) else text) from None
    return container


def _lacks_index(reader: ByteReader) -> bool:
    """Return True if this is an MP4 file without its table of contents, which is often written last."""
    if not reader.is_seekable:
        return False
    reader.seek(0)
    if reader.peek(8)[4:] != b"ftyp":
        return False
    while len(head := reader.read_exactly(16)) >= 8 and head[4:8] != b"moov":
        size = int.from_bytes(head[:4], "big")
        size = int.from_bytes(head[8:16], "big") if size == 1 else size
        if size < 8:  # to the end of the file
            return True
        reader.skip(size - len(head))
    return len(head) < 8
