"""The worker process of `Sherpa`: a model of the user's, run by sherpa-onnx.

Started by `WorkerPool` with the folder of the model as its argument. Loading tries the model on two seconds of noise:
sherpa-onnx ends the process on a model that does not fit, and the engine must know before it serves a session.

A streaming model decodes its audio as it arrives and ends utterances by itself. An offline model decodes whole segments
of speech, as Moonshine does (`segment_sessions`).
"""

from __future__ import annotations

import sys
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .engine import Hypothesis, Request
from .model_folder import find_model
from .segment_sessions import Decoded, SegmentSessions
from .words import spread_words, words_at_tokens
from .worker_process import StreamingSessions, run_worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from .engine import HypothesisWord
    from .model_folder import Model
    from .worker_process import Sender

__all__ = ["main"]

MODEL_RATE = 16_000
"""The sample rate of the models; the runtime resamples audio of another rate."""

ENDPOINTS = {
    "enable_endpoint_detection": True,
    "rule1_min_trailing_silence": 2.4,
    "rule2_min_trailing_silence": 0.8,
    "rule3_min_utterance_length": 20.0,
}
"""An utterance ends after 0.8 s of silence, or after 20 s. The first rule, for audio without words, and the third are
the runtime's defaults; its default of the second, 1.2 s, makes captions late."""

TAIL_S = 1.5
"""The silence behind the end of the audio: more than the longest chunk of the models (1.28 s), which is decoded only
as a whole."""

TRIAL_S = 2.0
"""The length of the noise on which a model is tried: more than the longest chunk."""

CHUNK_MS = 600
"""The chunk of a streaming Paraformer, whose tokens have no times."""


def load_streaming(model: Model) -> StreamingModel:
    """Load a streaming model."""
    from sherpa_onnx import OnlineRecognizer  # noqa: PLC0415 - without the extra, importing this module must succeed

    options: dict[str, Any] = {**model.files, **ENDPOINTS, "num_threads": 1}
    if model.family.takes_hot_words:
        # greedy search ignores hot words
        options["decoding_method"] = "modified_beam_search"
        options["modeling_unit"] = model.modeling_unit
        options["bpe_vocab"] = model.bpe_vocabulary
    return StreamingModel(getattr(OnlineRecognizer, model.family.factory)(**options))


class StreamingModel:
    """A streaming model, shared by all sessions of this process."""

    def __init__(self, recognizer: Any) -> None:
        self._recognizer = recognizer

    def new_session(self, request: Request) -> StreamingSession:
        """Return a session that recognises a stream of audio."""
        # Only sessions with hot words pay for them; families without hot words accept no argument.
        hot_words = ("/".join(request.hot_words),) if request.hot_words else ()
        return StreamingSession(self._recognizer, self._recognizer.create_stream(*hot_words), request.sample_rate)


class StreamingSession:
    """One stream of audio, divided into utterances by the model; times count from its first sample."""

    def __init__(self, recognizer: Any, stream: Any, sample_rate: int) -> None:
        self.has_speech = False
        self._recognizer = recognizer
        self._stream = stream
        self._sample_rate = sample_rate
        self._samples = 0
        self._text = ""
        """The text of the present utterance."""
        self._start_ms = 0
        self._end_ms = 0
        """The place of the present utterance, by the instants at which its text changed: for models without times."""
        self._speech_until_ms = 0

    @property
    def silent_ms(self) -> int:
        """The audio since a word was last recognised (since the start if there was none), in milliseconds."""
        return self._received_ms - self._speech_until_ms

    @property
    def _received_ms(self) -> int:
        return self._samples * 1000 // self._sample_rate

    def feed(self, samples: bytes) -> list[Hypothesis]:
        """Recognise samples; return an interim if the text has changed, or a final at the end of an utterance."""
        self._samples += len(samples) // 2
        self._accept(samples)
        return self._decode()

    def finish(self) -> list[Hypothesis]:
        """Recognise to the end, and end the utterance."""
        self._accept(bytes(2 * round(TAIL_S * self._sample_rate)))
        self._stream.input_finished()
        hypotheses = [hypothesis for hypothesis in self._decode() if hypothesis.is_final]
        if final := self._read(is_final=True):
            hypotheses.append(final)
        return hypotheses

    def close(self) -> None:
        """Drop the stream."""
        self._stream = None

    def _accept(self, samples: bytes) -> None:
        self._stream.accept_waveform(self._sample_rate, floats_of(samples))

    def _decode(self) -> list[Hypothesis]:
        """Decode the chunks that are complete."""
        hypotheses = []
        while self._recognizer.is_ready(self._stream):
            self._recognizer.decode_stream(self._stream)
            is_final = self._recognizer.is_endpoint(self._stream)
            if hypothesis := self._read(is_final=is_final):
                hypotheses.append(hypothesis)
            if is_final:
                self._recognizer.reset(self._stream)
                self._text = ""
        return hypotheses

    def _read(self, *, is_final: bool) -> Hypothesis | None:
        """Return the hypothesis of the utterance; None if it has no text, or no new one."""
        result = self._recognizer.get_result_all(self._stream)
        text = result.text.strip()
        if not text or (text == self._text and not is_final):
            return None
        if not self._text:
            self._start_ms = max(self._speech_until_ms, self._received_ms - CHUNK_MS)
        if text != self._text:
            self._end_ms = max(self._start_ms + 1, self._received_ms)
        self._text = text
        words = self._words(result, text)
        self.has_speech = True
        self._speech_until_ms = words[-1].end_ms
        return Hypothesis(
            text=text, is_final=is_final, start_ms=words[0].start_ms, end_ms=words[-1].end_ms, words=words
        )

    def _words(self, result: Any, text: str) -> tuple[HypothesisWord, ...]:
        times_ms = [round(1000 * (result.start_time + time)) for time in result.timestamps]
        words = words_at_tokens(text, result.tokens, times_ms, self._received_ms)
        return words or spread_words(text, self._start_ms, self._end_ms)


def noise_of(seconds: float) -> bytes:
    """Return quiet noise: a model must run on it, whatever it recognises."""
    return array("h", (number * 7_919 % 201 - 100 for number in range(round(seconds * MODEL_RATE)))).tobytes()


def load_offline(model: Model) -> Callable[[bytes], Decoded]:
    """Load an offline model; return the function that decodes 16-bit samples at 16 kHz."""
    from sherpa_onnx import OfflineRecognizer  # noqa: PLC0415 - as above

    factory = getattr(OfflineRecognizer, model.family.factory)
    recognizer = factory(**model.files, **model.family.options, num_threads=1)

    def decode(samples: bytes) -> Decoded:
        stream = recognizer.create_stream()
        stream.accept_waveform(MODEL_RATE, floats_of(samples))
        recognizer.decode_stream(stream)
        return Decoded(stream.result.text.strip())

    return decode


def floats_of(samples: bytes) -> list[float]:
    """Return 16-bit samples as the runtime takes them, between -1 and 1."""
    return [sample / 32_768 for sample in array("h", samples)]


def load(sender: Sender, folder: Path) -> StreamingSessions | SegmentSessions:
    """Load the model and try it; return the table of its sessions."""
    model = find_model(folder)
    if not model.family.is_streaming:
        decode = load_offline(model)
        decode(noise_of(TRIAL_S))
        return SegmentSessions(sender, decode)
    streaming = load_streaming(model)
    trial = streaming.new_session(Request(sample_rate=MODEL_RATE))
    trial.feed(noise_of(TRIAL_S))
    trial.finish()
    return StreamingSessions(sender, streaming.new_session)


def main() -> None:
    """Serve until standard input ends."""
    folder = Path(sys.argv[1])
    run_worker(lambda sender: load(sender, folder))


if __name__ == "__main__":
    main()
