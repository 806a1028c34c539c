"""The worker process of the engine `pocketsphinx`: several decoders, driven by calls on standard input.

Started by `PocketSphinx`, never imported by it.

The endpointer finds where speech begins and ends, in frames of 30 ms. Each stretch of speech is one utterance of the
decoder, with interims while it lasts and a final hypothesis at its end. The decoder adapts to the voice from one
utterance to the next; the next session starts from the model's own values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .engine import Hypothesis, HypothesisWord
from .worker_process import StreamingSessions, run_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .engine import Request

__all__ = ["main"]

SETTINGS = {"loglevel": "FATAL", "maxhmmpf": 2000, "ds": 2, "topn": 2, "fwdflat": False}
"""Less than half the time of the defaults at the same accuracy: no second pass, fewer paths, each second frame scored.

Share of one core and word errors over `examples/audio`, on a slow machine: 0.061 and 4.9 %; without `ds` and `topn`
0.091 and 5.5 %; with `maxhmmpf` 1500 in addition 0.053 and 8.2 %.
"""

MODEL_CMN = "41.00,-5.29,-0.12,5.09,2.48,-4.07,-1.37,-1.78,-5.08,-2.05,-6.45,-1.42,1.17"
"""The cepstral mean in the English model's own parameters (`feat.params`)."""

BYTES_PER_MS = 32
"""At 16 kHz, the only rate that the model has."""

FRAME_BYTES = 30 * BYTES_PER_MS
"""The endpointer accepts exactly this length."""

DECODER_FRAME_MS = 10

END_SILENCE_BYTES = 11 * FRAME_BYTES
"""One frame more than the endpointer looks ahead: after this much silence it reports the end of speech."""

MAX_UTTERANCE_MS = 60_000
"""The longest utterance without a pause: memory, and the time of the last pass (0.1 s here), grow with its length."""

FILLER = re.compile(r"[<\[]|\+\+")
"""The beginning of the decoder's segments that are not words: `<s>`, `</s>`, `<sil>`, `[NOISE]`, `++UM++`."""

PRONUNCIATION = re.compile(r"\(\d+\)$")
"""The suffix of a further pronunciation in the dictionary: the second one of a word is written `word(2)`."""


class _Utterance:
    """One stretch of speech in the decoder, from `start_utt` to `end_utt`.

    No method may be called after `end`: pocketsphinx crashes if it receives audio then.
    """

    def __init__(self, decoder: Any, start_ms: int) -> None:
        self.start_ms = start_ms
        self.has_words = False
        self._decoder = decoder
        self._decoded_bytes = 0
        self._interim_text = ""
        decoder.start_utt()

    @property
    def end_ms(self) -> int:
        """The end of the decoded audio."""
        return self.start_ms + self._decoded_bytes // BYTES_PER_MS

    def decode(self, speech: bytes) -> None:
        self._decoder.process_raw(speech)
        self._decoded_bytes += len(speech)

    def interim(self) -> Hypothesis | None:
        """Return the present hypothesis if it has changed and has words."""
        hypothesis = self._read(self.end_ms, is_final=False)
        if hypothesis is None or hypothesis.text == self._interim_text:
            return None
        self._interim_text = hypothesis.text
        return hypothesis

    def end(self, latest_ms: int) -> Hypothesis | None:
        """Return the final hypothesis, None without words; its times end at `latest_ms` at the latest."""
        self._decoder.end_utt()
        return self._read(min(self.end_ms, latest_ms), is_final=True)

    def _read(self, end_ms: int, *, is_final: bool) -> Hypothesis | None:
        words = tuple(_words(self._decoder.seg() or (), self.start_ms, end_ms))
        self.has_words = bool(words)
        if not words:
            return None
        text = " ".join(word.text for word in words)
        return Hypothesis(text=text, is_final=is_final, start_ms=self.start_ms, end_ms=end_ms, words=words)


def _words(segments: Iterable[Any], start_ms: int, end_ms: int) -> Iterator[HypothesisWord]:
    """Yield the words among a decoder's segments; their frames count from the start of the utterance."""
    for segment in segments:
        if not FILLER.match(segment.word):
            yield HypothesisWord(
                text=PRONUNCIATION.sub("", segment.word),
                start_ms=min(start_ms + segment.start_frame * DECODER_FRAME_MS, end_ms),
                end_ms=min(start_ms + (segment.end_frame + 1) * DECODER_FRAME_MS, end_ms),
            )


class _Session:
    """One stream of audio, divided into utterances; times count from its first sample."""

    def __init__(self, decoder: Any, endpointer: Any, release: Callable[[Any], None]) -> None:
        # set_cmn alone would keep the last session's state in the feature extraction.
        decoder.reinit_feat()
        decoder.set_cmn(MODEL_CMN)
        self._decoder = decoder
        self._endpointer = endpointer
        self._release = release
        """Takes the decoder back when the session is closed."""
        self._remainder = bytearray()
        self._utterance: _Utterance | None = None
        self._decoded_until_ms = 0
        self._received_bytes = 0
        self._speech_until_ms = 0
        self.has_speech = False
        """True if any word was recognised."""

    @property
    def silent_ms(self) -> int:
        """The audio since a word was last recognised (since the start if there was none), in milliseconds."""
        return self._received_ms - self._speech_until_ms

    def feed(self, samples: bytes) -> list[Hypothesis]:
        """Recognise samples. One interim per call is enough: the caller cannot receive more."""
        self._received_bytes += len(samples)
        self._remainder += samples
        hypotheses = self._decode_frames()
        if self._utterance is not None and (interim := self._utterance.interim()):
            hypotheses.append(interim)
        self._record_speech(hypotheses)
        return hypotheses

    def finish(self) -> list[Hypothesis]:
        """Decode the audio that the endpointer still buffers, and end the utterance."""
        if self._endpointer.in_speech:
            # Silence, not the endpointer's end_stream(): that raises if there is no remainder, and drops the speech
            # after the first gap in the last 0.3 s.
            self._remainder += bytes(END_SILENCE_BYTES - len(self._remainder))
        hypotheses = self._decode_frames()
        if final := self._end_utterance():
            hypotheses.append(final)
        self._record_speech(hypotheses)
        return hypotheses

    def close(self) -> None:
        """Reset the decoder for another session."""
        if self._utterance is not None:
            self._decoder.end_utt()
            self._utterance = None
        self._release(self._decoder)

    @property
    def _received_ms(self) -> int:
        return self._received_bytes // BYTES_PER_MS

    def _decode_frames(self) -> list[Hypothesis]:
        """Decode the samples that make whole frames; return the finals."""
        whole = len(self._remainder) - len(self._remainder) % FRAME_BYTES
        frames = bytes(self._remainder[:whole])
        del self._remainder[:whole]
        finals = (self._decode(frames[start : start + FRAME_BYTES]) for start in range(0, whole, FRAME_BYTES))
        return [final for final in finals if final]

    def _decode(self, frame: bytes) -> Hypothesis | None:
        # The endpointer looks 0.3 s ahead: it returns an earlier frame, the next one of the speech.
        speech = self._endpointer.process(frame)
        if speech is None:
            return None
        if self._utterance is None:
            speech_start_ms = round(self._endpointer.speech_start * 1000)
            self._utterance = _Utterance(self._decoder, max(speech_start_ms, self._decoded_until_ms))
        self._utterance.decode(speech)
        too_long = self._utterance.end_ms - self._utterance.start_ms >= MAX_UTTERANCE_MS
        return None if self._endpointer.in_speech and not too_long else self._end_utterance()

    def _end_utterance(self) -> Hypothesis | None:
        if self._utterance is None:
            return None
        utterance, self._utterance = self._utterance, None
        self._decoded_until_ms = utterance.end_ms
        return utterance.end(latest_ms=self._received_ms)

    def _record_speech(self, hypotheses: list[Hypothesis]) -> None:
        if self._utterance is not None and self._utterance.has_words:
            self._speech_until_ms = self._received_ms
        elif hypotheses:
            self._speech_until_ms = hypotheses[-1].end_ms
        self.has_speech = self.has_speech or bool(hypotheses)


class _Decoders:
    """The decoders of this process: those of closed sessions serve the next ones."""

    def __init__(self) -> None:
        self._idle = [_new_decoder()]

    def new_session(self, _request: Request) -> _Session:
        """Return a session with an idle decoder, or with a new one."""
        return _Session(self._idle.pop() if self._idle else _new_decoder(), _new_endpointer(), self._idle.append)


def _new_decoder() -> Any:
    from pocketsphinx import Decoder  # noqa: PLC0415 - without the extra, importing this module must succeed

    return Decoder(**SETTINGS)


def _new_endpointer() -> Any:
    from pocketsphinx import Endpointer  # noqa: PLC0415 - as above

    return Endpointer()


def main() -> None:
    """Serve until standard input ends."""
    run_worker(lambda sender: StreamingSessions(sender, _Decoders().new_session))


if __name__ == "__main__":
    main()
