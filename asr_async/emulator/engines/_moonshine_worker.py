"""The worker process of the engine `moonshine`: one model, which the sessions of the process share.

Started by `Moonshine`, never imported by it.
"""

from __future__ import annotations

import base64
import re
import tempfile
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .moonshine_weights import find_weights
from .segment_sessions import SAMPLE_RATE, Decoded, SegmentSessions
from .worker_process import run_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .worker_process import Sender

__all__ = ["main"]

MAX_TOKENS_PER_SECOND = 15
"""The limit of sherpa-onnx 2.0.1. Speech has seven at most: a text that reaches it is a loop."""

REPEATED_MARK = re.compile(r"([.,?!])\1+")
"""The model doubles a mark now and then."""

EMPHASIS = 0.4
"""How much of each sample is subtracted from the next one, which raises consonants over vowels: 2.7 % of the words of
synthetic voices are wrong instead of 5.8 %, and with people as many at 16 kHz and a sixth fewer at telephone quality.
More of it raises noise, too: with 0.7, a quarter more words are wrong in pink noise (bench_recogniser.py)."""

LOUDNESS = 1.2
"""The factor that gives speech back the loudness which the emphasis takes."""

PIECE_SHARE = (0.35, 0.65)
"""The part of a segment in which it is divided if the decoder loops."""

QUIET_BYTES = 3_200
"""The length of the quiet place at which a segment is divided, 100 ms."""


class Recogniser:
    """Moonshine, run by sherpa-onnx."""

    def __init__(self, folder: Path) -> None:
        from sherpa_onnx import OfflineRecognizer  # noqa: PLC0415 - without the extra, importing must succeed

        tokens = _write_tokens(folder / "tokenizer.bin")
        try:
            self._recognizer = OfflineRecognizer.from_moonshine_v2(
                encoder=str(folder / "encoder_model.ort"),
                decoder=str(folder / "decoder_model_merged.ort"),
                tokens=str(tokens),
                num_threads=1,  # one worker per core
            )
        finally:
            tokens.unlink()

    def decode(self, samples: bytes) -> Decoded:
        """Return the text of 16-bit samples at 16 kHz.

        A text that reaches the limit of tokens repeats itself without end. It is replaced by the texts of two pieces of
        the audio, which seldom do so too.
        """
        decoded = self._decode(samples)
        if not decoded.is_cut:
            return decoded
        place = _quiet_place(samples)
        pieces = [self._decode(piece) for piece in (samples[:place], samples[place:])]
        text = " ".join(f"{piece.text}…" if piece.is_cut else piece.text for piece in pieces)
        return Decoded(text.strip(), is_cut=any(piece.is_cut for piece in pieces))

    def _decode(self, samples: bytes) -> Decoded:
        values = array("h", samples)
        stream = self._recognizer.create_stream()
        factor = LOUDNESS / 32_768
        emphasised = [factor * (value - EMPHASIS * before) for before, value in zip([0, *values], values, strict=False)]
        stream.accept_waveform(SAMPLE_RATE, emphasised)
        self._recognizer.decode_stream(stream)
        result = stream.result
        limit = MAX_TOKENS_PER_SECOND * len(values) // SAMPLE_RATE - 1
        return Decoded(REPEATED_MARK.sub(r"\1", result.text.strip()), is_cut=_count_tokens(result) >= limit)


def _count_tokens(result: Any) -> int:
    try:
        return len(result.tokens)
    except UnicodeDecodeError:  # a token can be a part of a character, such as that of a note
        return 0


def _quiet_place(samples: bytes) -> int:
    """Return the quietest place in the middle of the samples, in bytes."""
    first, last = (int(len(samples) * share) // QUIET_BYTES * QUIET_BYTES for share in PIECE_SHARE)
    return min(range(first, last + 1, QUIET_BYTES), key=lambda place: _energy(samples[place : place + QUIET_BYTES]))


def _energy(samples: bytes) -> int:
    return sum(value * value for value in array("h", samples))


def _write_tokens(tokenizer: Path) -> Path:
    """Write the tokens in the form that sherpa-onnx reads to a file of this user; return its path."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False, encoding="ascii") as file:
        for number, token in enumerate(_tokens(tokenizer.read_bytes())):
            file.write(f"{base64.b64encode(token).decode()} {number}\n")
    return Path(file.name)


def _tokens(data: bytes) -> Iterator[bytes]:
    """Yield the tokens of the publisher's format: the length, in two bytes from 128 on, then the bytes of the token."""
    place = 0
    while place < len(data):
        length = data[place]
        place += 1
        if length >= 128:
            length = data[place] * 128 + length - 128
            place += 1
        yield data[place : place + length]
        place += length


def _load(sender: Sender) -> SegmentSessions:
    return SegmentSessions(sender, Recogniser(find_weights()).decode)


def main() -> None:
    """Serve until standard input ends."""
    run_worker(_load)


if __name__ == "__main__":
    main()
