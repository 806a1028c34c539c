"""Chunks of audio: the rule for what counts as bytes, and the check that audio begins as its format says.

A mistake here costs money and gives nonsense, not an error: floating-point samples or a file with its header, sent as
16-bit samples, are recognised as noise. Does not know sources, files or vendors.
"""

from __future__ import annotations

import sys
from typing import Protocol, cast

from ..errors import ConfigurationError
from ._containers import Block, NotCuttableError, find_parser
from .format import AudioFormat

__all__ = ["START_BYTES", "AudioArray", "byte_view", "check_array", "check_start"]

START_BYTES = 4_096
"""The part of the audio that `check_start` needs at most: three frames of mp3, which tell it from samples."""

_BYTE_FORMATS = frozenset("bBc")
_SAMPLE_FORMATS = frozenset("h" if sys.byteorder == "little" else ()) | {"<h"}
"""Formats of the `struct` module: bytes, and 16-bit little-endian samples."""

_TYPE_NAMES = {
    "?": "bool",
    "e": "float16",
    "f": "float32",
    "d": "float64",
    "g": "long double",
    "H": "uint16",
    "h": "int16",
    "i": "int32",
    "I": "uint32",
    "l": "int64",
    "L": "uint64",
    "q": "int64",
    "Q": "uint64",
}


class AudioArray(Protocol):
    """An array with the buffer protocol: of `numpy`, of the module `array`, and others."""

    @property
    def itemsize(self) -> int:
        """The size of an element in bytes."""
        ...

    def tobytes(self) -> bytes:
        """Return a copy of the memory."""
        ...


def byte_view(chunk: bytes | bytearray | memoryview | AudioArray) -> memoryview:
    """Return the bytes of a chunk: of bytes-like objects, and of arrays of bytes or of 16-bit samples.

    Raises:
        ConfigurationError: it is none of them; the text says what it is and how to convert it.
    """
    try:
        view = memoryview(cast("bytes", chunk))
    except TypeError:
        raise ConfigurationError(
            f"audio chunks must be bytes, bytearray, memoryview or an array of 16-bit samples, not "
            f"{type(chunk).__name__}"
        ) from None
    element = view.format.removeprefix("@")
    if element not in _BYTE_FORMATS and element not in _SAMPLE_FORMATS:
        raise ConfigurationError(_wrong_type(element))
    shape = view.shape or ()
    if sum(size > 1 for size in shape) > 1:
        raise ConfigurationError(
            f"an audio chunk has the shape {shape}, but only mono is supported: send one channel, audio[:, 0] or "
            "audio[0]"
        )
    if view.c_contiguous and view.ndim == 1 and len(element) == 1:
        return view.cast("B")
    return memoryview(view.tobytes())


def check_array(chunk: bytes | bytearray | memoryview | AudioArray, audio_format: AudioFormat) -> None:
    """Refuse an array of 16-bit samples where the format has 8-bit ones.

    Raises:
        ConfigurationError: the text says what to do.
    """
    if getattr(chunk, "itemsize", 1) > 1 and audio_format.encoding in {"ulaw", "alaw"}:
        raise ConfigurationError(
            f"the options declare {audio_format.encoding}, but an audio chunk is an array of int16: declare pcm, or "
            "encode the samples"
        )


def _wrong_type(element: str) -> str:
    """Return the error text for an array of elements of this format."""
    kind = element.lstrip("<>=!")
    name = _TYPE_NAMES.get(kind, f"elements of the format {element!r}")
    advice = "convert it to 16-bit samples"
    if kind == "h":
        name, advice = "big-endian int16", "swap its bytes, audio.astype('<i2') or audio.byteswap()"
    elif kind in {"e", "f", "d"}:
        advice = "convert it, (audio * 32767).astype('int16') for samples from -1 to 1"
    elif kind in {"i", "l"}:
        advice = "convert it, (audio >> 16).astype('int16') for samples of the whole range"
    return f"an audio chunk is an array of {name}, but samples are 16-bit, little-endian: {advice}"


# --- the start of the audio ------------------------------------------------------------------------------------------

_WAV, _MP3, _AAC, _OGG, _AMR = "a WAV file", "mp3", "AAC (ADTS)", "an Ogg file", "an AMR file"
_MP4, _WEBM, _CAF = "an MP4 file (m4a)", "a WebM or Matroska file", "a CAF file"
_AIFF, _FLAC, _AU = "an AIFF file", "a FLAC file", "an AU file"

_MAGICS: tuple[tuple[bytes, int, bytes, str], ...] = (
    (b"RIFF", 8, b"WAVE", _WAV),
    (b"RIFX", 8, b"WAVE", _WAV),
    (b"RF64", 8, b"WAVE", _WAV),
    (b"OggS", 4, b"\0", _OGG),
    (b"fLaC", 4, b"", _FLAC),
    (b"#!AMR", 5, b"", _AMR),
    (b"\x1a\x45\xdf\xa3", 4, b"", _WEBM),
    (b"", 4, b"ftyp", _MP4),
    (b"ID3", 3, b"", _MP3),
    (b"FORM", 8, b"AIF", _AIFF),
    (b"caff", 4, b"\0\1", _CAF),
    (b".snd\0", 5, b"", _AU),
)
"""The first bytes of a file, the place of a second mark and the mark, and the name of the kind."""

_RAW = ("pcm", "ulaw", "alaw")
_ACCEPTED: dict[str, frozenset[str]] = {
    **dict.fromkeys(_RAW, frozenset()),
    "wav": frozenset({_WAV}),
    "mp3": frozenset({_MP3}),
    "aac": frozenset({_AAC, _MP4, _MP3}),  # an ID3 tag may be in front of ADTS too
    "opus": frozenset({_OGG, _WEBM, _MP4, _CAF}),
    "speex": frozenset({_OGG}),
    "amr": frozenset({_AMR, _MP4}),
}
"""Encoding → the kinds that may hold it. For other encodings, of vendors of other packages, nothing is checked."""

_NEEDS_CONTAINER = {
    "wav": "it has no RIFF header: declare pcm for samples without one",
    "opus": "it is in no container, so these are raw Opus packets: put them into Ogg, or decode them and declare pcm",
    "speex": "it is in no Ogg container: put the packets into Ogg, or decode them and declare pcm",
}


def check_start(start: bytes, audio_format: AudioFormat, *, is_whole: bool = True) -> None:
    """Refuse audio that certainly does not have the format that is declared.

    Args:
        start: the first bytes, `START_BYTES` of them if there are as many.
        audio_format: the declared format.
        is_whole: False if more bytes follow, so that nothing is said yet about what is missing.

    Raises:
        ConfigurationError: the text says what the audio is, and what to do.
    """
    encoding = audio_format.encoding
    accepted = _ACCEPTED.get(encoding)
    if accepted is None or not start:
        return
    kind = _kind_of(start)
    if kind is None:
        if encoding in _NEEDS_CONTAINER and (is_whole or len(start) >= _LONGEST_MAGIC_BYTES):
            raise ConfigurationError(f"the options declare {encoding}, but {_NEEDS_CONTAINER[encoding]}")
        return
    if kind not in accepted:
        rate = audio_format.sample_rate
        advice = f"pass the file to read_audio(), or convert it: ffmpeg -i FILE -ar {rate} -ac 1 -f s16le FILE.pcm"
        if encoding not in _RAW:
            advice = "declare the format that it has, if the model takes it, or pass the file to read_audio()"
        raise ConfigurationError(f"the options declare {encoding}, but the audio is {kind}: {advice}")


_LONGEST_MAGIC_BYTES = 12


def _kind_of(start: bytes) -> str | None:
    """Return the kind of file that begins so; None if it is none that is known, such as samples."""
    for magic, at, mark, kind in _MAGICS:
        if start.startswith(magic) and len(start) > at and start.startswith(mark, at):
            return kind
    if len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0:
        is_adts = start[1] & 0xF6 == 0xF0
        if _begins_with_frames("aac" if is_adts else "mp3", start):
            return _AAC if is_adts else _MP3
    return None


def _begins_with_frames(encoding: str, start: bytes) -> bool:
    """Return True if a frame begins at the first byte, and more follow where its header says."""
    try:
        parser = find_parser(encoding, start)
    except NotCuttableError:
        return False
    blocks: list[Block] = [] if parser is None else parser.feed(start)
    return bool(blocks and blocks[0].packets)
