"""`dashscope.audio.qwen_omni` on this library, for the recognition models: Qwen3-ASR-Flash-Realtime.

    from asr_async.compat.dashscope.audio.qwen_omni import OmniRealtimeConversation, OmniRealtimeCallback, MultiModality
    from asr_async.compat.dashscope.audio.qwen_omni.omni_realtime import TranscriptionParams

What differs from the official SDK 2.0.2, and why:

| the SDK | this module |
|---|---|
| a connection that is refused is a `TimeoutError` after 5 s, without the reason | a `TimeoutError` at once, with the reason |
| a lost connection is logged, and the next call raises | it is replaced, and the audio without a result is sent again; otherwise an event "error" precedes `on_close` |
| `update_session` changes the open session | it opens another one, with these options, before audio was sent; behind that it is refused, since a reconnect would not know what holds for which audio |
| a callback that raises is logged | the event "error" and `on_close` follow: nothing else comes |
| messages as the vendor sends them | the same names and members; times and the numbers in `item_id` go on behind a reconnect. Events that report no progress (`session.updated` behind the first, `conversation.item.created`) are left out |
| one thread for each conversation, all callbacks in it | one for all, and a bounded number for callbacks; each callback may block |
| models that answer by voice, with video and responses | are refused: the official package runs them |

`AudioFormatConfig` and the other parameters of the dialogue models are accepted where they say something about the
audio or the text; a conversation of a recognition model has no voice and no video.
"""

from .omni_realtime import (
    AudioFormat,
    AudioFormatConfig,
    AudioFormatType,
    AudioSampleRate,
    MultiModality,
    OmniRealtimeCallback,
    OmniRealtimeConversation,
    TranscriptionParams,
    TranslationParams,
)

__all__ = [
    "AudioFormat",
    "AudioFormatConfig",
    "AudioFormatType",
    "AudioSampleRate",
    "MultiModality",
    "OmniRealtimeCallback",
    "OmniRealtimeConversation",
    "TranscriptionParams",
    "TranslationParams",
]
