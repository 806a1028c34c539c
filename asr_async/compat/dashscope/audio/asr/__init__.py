"""`dashscope.audio.asr` on this library: recognition and translation with callbacks, or of a file.

    from asr_async.compat.dashscope.audio.asr import *

What differs from the official SDK 2.0.2, and why:

| the SDK | this module |
|---|---|
| `on_open` is called before there is a connection | when the vendor is ready for audio: `start()` waits for that. In a thread that runs an event loop, which must not stand still, `start()` returns at once and `on_open` follows |
| a session that cannot be opened calls `on_open`, `on_error`, `on_close` | `on_error`, `on_close` |
| a missing key ends a thread with a traceback, and `start()` succeeds | it is an error for `on_error`, and an `AuthenticationError` of `call` |
| a lost connection loses audio and is error "Unknown", without a close code | it is replaced, and the audio without a result is sent again; an error keeps the vendor's code, the close code and the text |
| `stop()` waits without a limit | every wait has a deadline; a callback that blocks for 20 s is a `TimeoutException` |
| `stop()` in a callback is a `RuntimeError` | it returns at once; the results follow, and `on_close` behind them |
| `on_close` is called twice for an error during `stop()`, and not at all after 23 s without audio | once, always |
| a callback that raises drops all later results in silence | the exception goes to `on_error`, is logged, and ends the session |
| a result reaches the callback two frames later, or when the next audio is sent | at once |
| `str(result)` raises `AttributeError` | returns JSON |
| four threads for each recognition | one for all, and a bounded number for callbacks; each callback may block |
| more starts in a second than the vendor allows (20, Gummy 10) are refused by it | they wait for their turn, for 30 s at most |
| a chat object is good for one sentence | for one after each `start()` |
| a message without a member raises `KeyError` in a thread | that member is None |
| a hot-word request without a network ends in `UnboundLocalError` | in a `VocabularyServiceException` |
| a program that ends without `stop()` waits for up to 23 s | for the results, 3 s at most |

The sentences have further members where the program should know: `lost_before_ms` (audio was lost in front of it) and
`may_repeat` (it may repeat words); see `asr_async.Result`. `phrase_id` is sent with the v1 models of Paraformer, which alone
have phrase lists. The keyword `user_agent` and environment variables for
logging have no effect: the records of this library are in the logger `asr_async`.
"""

from .asr_phrase_manager import AsrPhraseManager
from .recognition import Recognition, RecognitionCallback, RecognitionResult
from .transcription import Transcription
from .translation_recognizer import (
    TranscriptionResult,
    Translation,
    TranslationRecognizerCallback,
    TranslationRecognizerChat,
    TranslationRecognizerRealtime,
    TranslationRecognizerResultPack,
    TranslationResult,
)
from .vocabulary import VocabularyService, VocabularyServiceException

__all__ = [
    "AsrPhraseManager",
    "Recognition",
    "RecognitionCallback",
    "RecognitionResult",
    "Transcription",
    "TranscriptionResult",
    "Translation",
    "TranslationRecognizerCallback",
    "TranslationRecognizerChat",
    "TranslationRecognizerRealtime",
    "TranslationRecognizerResultPack",
    "TranslationResult",
    "VocabularyService",
    "VocabularyServiceException",
]
