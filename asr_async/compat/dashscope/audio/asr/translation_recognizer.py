"""Recognition and translation with Gummy: `TranslationRecognizerRealtime`, and for one sentence `...Chat`."""

from __future__ import annotations

import json
from typing import Any, ClassVar, TypeVar

from .....results import Event, Result, SpeechEnding, TranslationArrived
from .....results import Translation as TranslatedText
from ...._session import SessionCallbacks
from ...api_entities.dashscope_response import DashScopeAPIResponse
from ...common.error import InvalidParameter
from ._recogniser import Recogniser, describe_error, output_of, parameters_of
from ._sentences import sentence_of, with_times_of

__all__ = [
    "TranscriptionResult",
    "Translation",
    "TranslationRecognizerCallback",
    "TranslationRecognizerChat",
    "TranslationRecognizerRealtime",
    "TranslationRecognizerResultPack",
    "TranslationResult",
]

KEPT_SEGMENTS = 32
"""The segments whose late translations are recognised as such: translations are a few sentences late at most."""

S = TypeVar("S", bound="SentenceBaseObj")
P = TypeVar("P", bound="_Part")


class WordObj:
    """A word with its times in milliseconds; `fixed` words do not change any more."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.begin_time: int | None = None
        self.end_time: int | None = None
        self.fixed: bool = False
        self._raw_data: Any = None

    @staticmethod
    def from_json(json_data: dict[str, Any]) -> WordObj:
        """Return the word of a message; what that lacks is None."""
        word = WordObj()
        word.text = json_data.get("text")
        word.begin_time = json_data.get("begin_time")
        word.end_time = json_data.get("end_time")
        word.fixed = bool(json_data.get("fixed"))
        word._raw_data = json_data
        return word

    def __str__(self) -> str:
        return f"Word: {json.dumps(self._raw_data, ensure_ascii=False)}"

    __repr__ = __str__


class SentenceBaseObj:
    """A sentence with its times in milliseconds; `end_time` of one that is not final is its end so far."""

    _title: ClassVar[str] = ""

    def __init__(self) -> None:
        self.sentence_id: int = -1
        self.text: str | None = None
        self.begin_time: int | None = None
        self.end_time: int | None = None
        self.words: list[WordObj] = []
        self._raw_data: Any = None

    @staticmethod
    def from_json(json_data: dict[str, Any]) -> SentenceBaseObj:
        """Return the sentence of a message; what that lacks is None."""
        return _fill(SentenceBaseObj(), json_data)

    def __str__(self) -> str:
        return f"{self._title}{json.dumps(self._raw_data, ensure_ascii=False)}"

    def __repr__(self) -> str:
        return str(self)


class _Part(SentenceBaseObj):
    """The members that a transcription and a translation share."""

    def __init__(self) -> None:
        super().__init__()
        self.stash: SentenceBaseObj | None = None
        self.is_sentence_end: bool = False
        self.vad_pre_end: bool = False
        self.pre_end_failed: bool = False
        self.pre_end_timemillis: int = -1
        self.pre_end_start_time: int = -1
        self.pre_end_end_time: int = -1


class TranscriptionResult(_Part):
    """The text of a sentence as it was spoken."""

    _title = "Transcriptions: "

    @staticmethod
    def from_json(json_data: dict[str, Any]) -> TranscriptionResult:
        """Return the transcription of a message."""
        return _fill_part(TranscriptionResult(), json_data)


class Translation(_Part):
    """The text of a sentence in another language."""

    _title = "Translation: "

    def __init__(self) -> None:
        super().__init__()
        self.language: str | None = None

    @staticmethod
    def from_json(json_data: dict[str, Any]) -> Translation:
        """Return the translation of a message."""
        translation = _fill_part(Translation(), json_data)
        translation.language = json_data.get("lang")
        return translation


class TranslationResult:
    """The translations of a sentence by their languages."""

    def __init__(self) -> None:
        self.translations: dict[str, Translation] = {}
        self.is_sentence_end: bool = False
        self._raw_data: Any = None

    def get_translation(self, language: str) -> Translation | None:
        """Return the translation into a language; None if there is none."""
        return (self.translations or {}).get(language)

    def get_language_list(self) -> list[str]:
        """Return the languages."""
        return list(self.translations or {})

    @staticmethod
    def from_json(json_data: list[Any]) -> TranslationResult:
        """Return the translations of a message.

        Raises:
            InvalidParameter: one of them is no object.
        """
        result = TranslationResult()
        result._raw_data = json_data
        for each in json_data:
            if not isinstance(each, dict):
                raise InvalidParameter(f"Invalid translation json data: {each}")
            translation = Translation.from_json(each)
            result.translations[translation.language or ""] = translation
            result.is_sentence_end = result.is_sentence_end or bool(translation.is_sentence_end)
        return result

    def __str__(self) -> str:
        return f"TranslationList: {json.dumps(self._raw_data, ensure_ascii=False)}"

    def __repr__(self) -> str:
        return str(self)


def _fill(sentence: S, json_data: dict[str, Any]) -> S:
    """Set the members of a sentence."""
    sentence.sentence_id = json_data.get("sentence_id", -1)
    sentence.text = json_data.get("text")
    sentence.begin_time = json_data.get("begin_time")
    end_time = json_data.get("end_time")
    sentence.end_time = json_data.get("current_time") if end_time is None else end_time
    sentence.words = [WordObj.from_json(word) for word in json_data.get("words") or () if isinstance(word, dict)]
    sentence._raw_data = json_data  # noqa: SLF001 - of this module
    return sentence


def _fill_part(part: P, json_data: dict[str, Any]) -> P:
    """Set the members of a transcription or a translation."""
    _fill(part, json_data)
    part.is_sentence_end = bool(json_data.get("sentence_end"))
    if isinstance(json_data.get("stash"), dict):
        part.stash = SentenceBaseObj.from_json(json_data["stash"])
    part.vad_pre_end = bool(json_data.get("vad_pre_end"))
    part.pre_end_failed = bool(json_data.get("pre_end_failed"))
    for name in ("pre_end_timemillis", "pre_end_start_time", "pre_end_end_time"):
        setattr(part, name, json_data.get(name, -1))
    return part


class TranslationRecognizerResultPack:
    """The final sentences of a file; for each message of a final one, a list may have a None."""

    def __init__(self) -> None:
        self.transcription_result_list: list[TranscriptionResult | None] = []
        self.translation_result_list: list[TranslationResult | None] = []
        self.usage_list: list[Any] = []
        self.request_id: str | None = None
        self.error_message: Any = None


class TranslationRecognizerCallback:
    """The callbacks of a translation; derive from it. Each may block."""

    def on_open(self) -> None:
        """Act when the vendor is ready for audio."""

    def on_complete(self) -> None:
        """Act when all results have arrived."""

    def on_error(self, message: Any) -> None:
        """Receive the error that ended the task, a `DashScopeAPIResponse`."""

    def on_close(self) -> None:
        """Act when the task is over."""

    def on_event(
        self,
        request_id: str,
        transcription_result: TranscriptionResult | None,
        translation_result: TranslationResult | None,
        usage: Any,
    ) -> None:
        """Receive a sentence so far or a final one, its translations, or both."""


# --- the recognisers -------------------------------------------------------------------------------------------------


class _TranslationRecognizer(Recogniser):
    """The parts that both recognisers share.

    Args:
        model: the name of the model.
        callback: receives the results of `start`; None for `call`.
        format: the encoding of the audio: pcm, wav, mp3, opus, speex, aac, amr.
        sample_rate: the sample rate in Hz.
        transcription_enabled: True requests the text as it was spoken.
        source_language: the language that is spoken; None lets the model detect it.
        translation_enabled: True requests translations, into `translation_target_languages`.
        workspace: the id of a workspace.
        disfluency_removal_enabled: sent as it is, like all parameters.
        diarization_enabled: sent as it is.
        speaker_count: sent as it is.
        timestamp_alignment_enabled: sent as it is.
        special_word_filter: sent as it is.
        audio_event_detection_enabled: sent as it is.
        kwargs: further parameters, and `api_key`, `base_address`, `headers`, `request_timeout`.

    Raises:
        InputRequired: there is no format or no sample rate.
        ModelRequired: there is no model.
    """

    _purpose = "the translation & recognition result"

    def __init__(
        self,
        model: str,
        callback: TranslationRecognizerCallback | None,
        format: str,  # noqa: A002 - the SDK's name
        sample_rate: int,
        transcription_enabled: bool = True,
        source_language: str | None = None,
        translation_enabled: bool = False,
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
        self.source_language = source_language
        self.transcription_enabled = transcription_enabled
        self.translation_enabled = translation_enabled
        self._has_sentence_end = False

    def start(
        self,
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
        self._begin(parameters_of(locals()))

    def _reset(self, parameters: dict[str, Any]) -> None:
        super()._reset(
            {
                "source_language": self.source_language,
                "transcription_enabled": self.transcription_enabled,
                "translation_enabled": self.translation_enabled,
                **parameters,
            }
        )
        self._has_sentence_end = False

    def _callbacks(self) -> SessionCallbacks:
        return _Callbacks(self, self._callback)

    def _to_error(self, error: BaseException) -> DashScopeAPIResponse:
        self._last_response = response = DashScopeAPIResponse(**describe_error(error))
        return response


class TranslationRecognizerRealtime(_TranslationRecognizer):
    """Recognition and translation of many sentences, with callbacks or of a file."""

    _label = "TranslationRecognizerRealtime"

    def send_audio_frame(self, buffer: bytes) -> None:
        """Send audio; return at once.

        Raises:
            InvalidParameter: it is not running.
            TimeoutException: half an hour of audio waits to be sent, and does not become less.
        """
        self._send(buffer)

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
    ) -> TranslationRecognizerResultPack:
        """Recognise a file and return its final sentences; an error of the vendor is in `error_message`, not raised.

        Raises:
            AuthenticationError: there is no key.
            InputDataRequired: the file is empty.
            InvalidParameter: it is running already.
            OSError: the file cannot be read.
        """
        pack = TranslationRecognizerResultPack()
        messages = _Messages(self)

        def collect(event: Event) -> None:
            message = messages.of(event)
            if message is not None and message.is_sentence_end:
                pack.request_id = message.request_id
                pack.transcription_result_list.append(message.transcription)
                pack.translation_result_list.append(message.translations)
                pack.usage_list.append(message.usage)

        error = self._recognise_file(file, parameters_of(locals()), phrase_id, collect)
        pack.error_message = None if error is None else self._to_error(error)
        return pack


class TranslationRecognizerChat(_TranslationRecognizer):
    """Recognition and translation of one sentence of at most a minute, with callbacks."""

    _label = "TranslationRecognizerChat"

    def send_audio_frame(self, buffer: bytes) -> bool:
        """Send audio and return True; return False behind the end of the sentence, when it is time for `stop`.

        Raises:
            InvalidParameter: it is not running.
        """
        if self._has_sentence_end:
            return False
        self._send(buffer)
        return True


class _Message:
    """The arguments of one call of `on_event`."""

    def __init__(
        self,
        request_id: str,
        transcription: TranscriptionResult | None,
        translations: TranslationResult | None,
        usage: Any,
    ) -> None:
        self.request_id = request_id
        self.transcription = transcription
        self.translations = translations
        self.usage = usage

    @property
    def is_sentence_end(self) -> bool:
        """True if one of the texts is final."""
        return any(part is not None and part.is_sentence_end for part in (self.transcription, self.translations))


class _Messages:
    """The events of one task as messages of the vendor's form: a translation is in one only if it is new."""

    def __init__(self, recogniser: _TranslationRecognizer) -> None:
        self._recogniser = recogniser
        # the open segments: the newest result, and the translations that were in a message
        self._results: dict[int, Result] = {}
        self._sent: dict[tuple[int, str], TranslatedText] = {}

    def of(self, event: Event) -> _Message | None:
        """Return the message of an event; None if it says nothing new."""
        match event:
            case Result():
                return self._of_result(event)
            case TranslationArrived() if (result := self._results.get(event.segment_id)) is not None:
                translations = self._new_translations(result, {event.language: event.translation}, {})
                return self._make(result, None, translations, None)
            case SpeechEnding() if (result := self._results.get(event.segment_id)) is not None:
                return self._of_ending(event, result)
        return None

    def _of_result(self, result: Result) -> _Message | None:
        output, usage = output_of(result.raw)
        previous, self._results[result.segment_id] = self._results.get(result.segment_id), result
        self._forget_old(result.segment_id)
        transcription = None
        message = output.get("transcription")
        is_changed = previous is None or (previous.text, previous.is_final) != (result.text, result.is_final)
        if self._recogniser.transcription_enabled and (is_changed or isinstance(message, dict)):
            own = message if isinstance(message, dict) and _is_of(message, result) else {"sentence_id": 0}
            transcription = self._transcription({**own, "sentence_end": result.is_final}, result)
        translations = self._new_translations(result, result.translations, output)
        return self._make(result, transcription, translations, usage)

    def _of_ending(self, event: SpeechEnding, result: Result) -> _Message | None:
        message = output_of(result.raw)[0].get("transcription")
        if isinstance(message, dict) and message.get("vad_pre_end") and not event.is_withdrawn:
            return None  # the result before was made of the same message
        own = {"sentence_id": 0, "sentence_end": False, "vad_pre_end": not event.is_withdrawn}
        own |= {"pre_end_failed": event.is_withdrawn, "pre_end_start_time": result.start_ms}
        own["pre_end_end_time"] = -1 if event.end_ms is None else event.end_ms
        return self._make(result, self._transcription(own, result), None, None)

    def _transcription(self, message: dict[str, Any], result: Result) -> TranscriptionResult:
        sentence = sentence_of(result, message, first_id=0)
        sentence["current_time"] = result.end_ms
        return TranscriptionResult.from_json(sentence)

    def _new_translations(
        self, result: Result, translations: dict[str, TranslatedText], output: dict[str, Any]
    ) -> TranslationResult | None:
        messages = output.get("translations")
        of_language = {
            message.get("lang"): message
            for message in (messages if isinstance(messages, list) else ())
            if isinstance(message, dict)
        }
        made: list[dict[str, Any]] = []
        for language, translation in translations.items():
            if self._sent.get((result.segment_id, language)) == translation:
                continue
            self._sent[result.segment_id, language] = translation
            message = of_language.get(language) or {}
            own = message if message.get("text") == translation.text else {}
            sentence = with_times_of(translation, {**own, "sentence_end": translation.is_final})
            sentence |= {"lang": language, "sentence_id": result.segment_id, "current_time": translation.end_ms}
            made.append(sentence)
        return TranslationResult.from_json(made) if made else None

    def _make(
        self,
        result: Result,
        transcription: TranscriptionResult | None,
        translations: TranslationResult | None,
        usage: Any,
    ) -> _Message | None:
        if transcription is None and translations is None:
            return None
        message = _Message(result.request_id, transcription, translations, usage)
        self._recogniser._record_result(result.request_id, has_text=True)  # noqa: SLF001 - of this module
        if message.is_sentence_end:
            self._recogniser._has_sentence_end = True  # noqa: SLF001
        return message

    def _forget_old(self, segment_id: int) -> None:
        """Forget segments that no message is about any more."""
        for old_id in [known for known in self._results if known < segment_id - KEPT_SEGMENTS]:
            del self._results[old_id]
            for key in [key for key in self._sent if key[0] == old_id]:
                del self._sent[key]


def _is_of(message: dict[str, Any], result: Result) -> bool:
    return message.get("text") == result.text or message.get("begin_time") == result.start_ms


class _Callbacks(SessionCallbacks):
    """The callbacks of a session, as calls of the program's."""

    event_types = (Result, TranslationArrived, SpeechEnding)

    def __init__(self, recogniser: _TranslationRecognizer, callback: TranslationRecognizerCallback) -> None:
        self._recogniser = recogniser
        self._messages = _Messages(recogniser)
        self._callback = callback
        self.on_open = callback.on_open  # type: ignore[method-assign]
        self.on_close = callback.on_close  # type: ignore[method-assign]

    def on_event(self, event: Event) -> None:
        message = self._messages.of(event)
        if message is not None:
            self._callback.on_event(message.request_id, message.transcription, message.translations, message.usage)

    def on_complete(self) -> None:
        self._recogniser._record_end()  # noqa: SLF001
        self._callback.on_complete()

    def on_error(self, error: BaseException) -> None:
        self._callback.on_error(self._recogniser._to_error(error))  # noqa: SLF001
