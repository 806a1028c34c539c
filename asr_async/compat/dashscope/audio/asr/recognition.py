"""`Recognition` of the models that send one sentence after the other: Paraformer, Fun-ASR, Qwen-Audio."""

from __future__ import annotations

import json
from typing import Any

from .....results import Event, Result
from ...._session import SessionCallbacks
from ...api_entities.dashscope_response import RecognitionResponse
from ...common.error import InvalidParameter
from ._recogniser import Recogniser, context_of, describe_error, output_of, parameters_of
from ._sentences import sentence_of

__all__ = ["Recognition", "RecognitionCallback", "RecognitionResult"]


class RecognitionResult(RecognitionResponse):
    """A result: one sentence in a callback, all final sentences after `call`, or an error without an output."""

    def __init__(
        self, response: Any, sentences: list[Any] | None = None, usages: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(
            status_code=response.status_code,
            request_id=response.request_id,
            code=response.code,
            message=response.message,
            output={"sentence": sentences} if sentences else response.output,
            usage=usages[-1].get("usage") if usages else None,
            headers=response.get("headers"),
        )
        self.usages = usages

    def __str__(self) -> str:
        return json.dumps(self._shown(), ensure_ascii=False)

    def get_sentence(self) -> dict[str, Any] | list[Any] | None:
        """Return the sentence, or the list of sentences of a file; None for an error."""
        sentence: dict[str, Any] | list[Any] | None = (self.output or {}).get("sentence")
        return sentence

    def get_request_id(self) -> str:
        """Return the id of the task."""
        return str(self.request_id)

    def get_usage(self, sentence: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the usage that was reported with a final sentence; None if there is none."""
        if self.is_sentence_end(sentence) and sentence is not None:
            for usage in self.usages or ():
                if usage["end_time"] == sentence["end_time"]:
                    found: dict[str, Any] | None = usage["usage"]
                    return found
        return None


class RecognitionCallback:
    """The callbacks of a recognition; derive from it. Each may block."""

    def on_open(self) -> None:
        """Act when the vendor is ready for audio."""

    def on_complete(self) -> None:
        """Act when all results have arrived."""

    def on_error(self, result: RecognitionResult) -> None:
        """Receive the error that ended the task."""

    def on_close(self) -> None:
        """Act when the task is over."""

    def on_event(self, result: RecognitionResult) -> None:
        """Receive a sentence so far, or a final one."""


class Recognition(Recogniser):
    """Recognition with callbacks (`start`, `send_audio_frame`, `stop`), or of a file (`call`).

    Args:
        model: the name of the model.
        callback: receives the results of `start`; None for `call`.
        format: the encoding of the audio: pcm, wav, mp3, opus, speex, aac, amr.
        sample_rate: the sample rate in Hz.
        workspace: the id of a workspace.
        disfluency_removal_enabled: see the model's options, `asr_async.Paraformer` for instance; all parameters are
            sent as they are.
        diarization_enabled: sent as it is.
        speaker_count: sent as it is.
        timestamp_alignment_enabled: sent as it is.
        special_word_filter: sent as it is.
        audio_event_detection_enabled: sent as it is.
        kwargs: further parameters, and `api_key`, `base_address`, `headers`, `request_timeout`, `raw_input`.

    Raises:
        InputRequired: there is no format or no sample rate.
        ModelRequired: there is no model.
    """

    def __init__(
        self,
        model: str,
        callback: RecognitionCallback | None,
        format: str,  # noqa: A002 - the SDK's name
        sample_rate: int,
        workspace: str | None = None,
        disfluency_removal_enabled: bool | None = None,
        diarization_enabled: bool | None = None,
        speaker_count: int | None = None,
        timestamp_alignment_enabled: bool | None = None,
        special_word_filter: str | None = None,
        audio_event_detection_enabled: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, callback, format, sample_rate, workspace, parameters_of(locals()))

    def start(
        self,
        phrase_id: str | None = None,
        disfluency_removal_enabled: bool | None = None,
        diarization_enabled: bool | None = None,
        speaker_count: int | None = None,
        timestamp_alignment_enabled: bool | None = None,
        special_word_filter: str | None = None,
        audio_event_detection_enabled: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Start a task, and return when the vendor is ready for audio and `on_open` has returned.

        In a thread that runs an event loop, return at once. If the task cannot be opened, `on_error` is called.

        Raises:
            AssertionError: there is no callback.
            InvalidParameter: it is running already, or a parameter cannot be sent.
        """
        self._begin(parameters_of(locals()), phrase_id)

    def send_audio_frame(self, buffer: bytes) -> None:
        """Send audio; return at once.

        Raises:
            InvalidParameter: it is not running.
            TimeoutException: half an hour of audio waits to be sent, and does not become less.
        """
        self._send(buffer)

    def update_context(self, payload_input: dict[str, Any]) -> None:
        """Replace the context of the running task: `{"context": [{"role": "user", "content": [{"text": "..."}]}]}`.

        Raises:
            InvalidParameter: it is not running, or the context has another form.
        """
        session = self._running_session()
        if payload_input is None:
            raise InvalidParameter("Context is required.")
        messages = context_of(payload_input) or []
        session.call(lambda opened: opened.update_context(messages))

    def call(
        self,
        file: str,
        phrase_id: str | None = None,
        disfluency_removal_enabled: bool | None = None,
        diarization_enabled: bool | None = None,
        speaker_count: int | None = None,
        timestamp_alignment_enabled: bool | None = None,
        special_word_filter: str | None = None,
        audio_event_detection_enabled: bool | None = None,
        **kwargs: Any,
    ) -> RecognitionResult:
        """Recognise a file and return its final sentences; an error of the vendor is returned, not raised.

        Raises:
            AuthenticationError: there is no key.
            InputDataRequired: the file is empty.
            InvalidParameter: it is running already.
            OSError: the file cannot be read.
        """
        sentences: list[dict[str, Any]] = []
        usages: list[dict[str, Any]] = []

        def collect(event: Event) -> None:
            if isinstance(event, Result):
                result = self._to_result(event)
                if event.is_final:
                    sentences.append(result.output["sentence"])
                    usages.extend(result.usages or ())

        error = self._recognise_file(file, parameters_of(locals()), phrase_id, collect)
        if error is not None:
            return self._to_error(error)
        response = RecognitionResponse(status_code=200, request_id=self.last_request_id, output={})
        return self._keep(RecognitionResult(response, sentences, usages))

    def _callbacks(self) -> SessionCallbacks:
        return _Callbacks(self, self._callback)

    def _to_result(self, result: Result) -> RecognitionResult:
        output, usage = output_of(result.raw)
        sentence = sentence_of(result, output.get("sentence"), first_id=1)
        self._record_result(result.request_id, has_text=bool(result.text))
        usages = None if usage is None else [{"end_time": sentence["end_time"], "usage": usage}]
        response = RecognitionResponse(status_code=200, request_id=result.request_id, output={"sentence": sentence})
        return self._keep(RecognitionResult(response, usages=usages))

    def _to_error(self, error: BaseException) -> RecognitionResult:
        return self._keep(RecognitionResult(RecognitionResponse(**describe_error(error))))

    def _keep(self, result: RecognitionResult) -> RecognitionResult:
        self._last_response = result
        return result


class _Callbacks(SessionCallbacks):
    """The callbacks of a session, as calls of the program's."""

    def __init__(self, recognition: Recognition, callback: RecognitionCallback) -> None:
        self._recognition = recognition
        self.on_open = callback.on_open  # type: ignore[method-assign]
        self.on_close = callback.on_close  # type: ignore[method-assign]
        self._callback = callback

    def on_event(self, event: Event) -> None:
        if isinstance(event, Result):
            self._callback.on_event(self._recognition._to_result(event))  # noqa: SLF001 - of this module

    def on_complete(self) -> None:
        self._recognition._record_end()  # noqa: SLF001
        self._callback.on_complete()

    def on_error(self, error: BaseException) -> None:
        self._callback.on_error(self._recognition._to_error(error))  # noqa: SLF001
