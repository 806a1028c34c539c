r"""Streaming speech recognition for asyncio: many live sessions in one event loop, no transcript silently short.

    async with connect(Paraformer()) as session:
        async for result in session.stream(read_audio("meeting.wav")):
            print(result.text, end="\n" if result.is_final else "\r")

Begin with `connect`, `Session`, `Client` and `Result`; errors are drawn as a tree in `asr_async.errors`.

General layout, top to bottom; a room imports only from rooms above it:

- words: `errors` (the tree), `results` (what comes out), `audio` (what goes in), `hotwords` (terms to expect)
- rules, without sockets or clocks: `vendors/options`, `vendors/codec`, `vendors/catalogue`, each vendor's `wire`,
  `models`, `catalogue`, `codec`, `errors` (`realtime_wire`, `realtime_models`, `realtime` where a vendor has a second
  protocol); `_pacer`, `_quota`
- edges: `_transport` (the connection), `_http` (requests beside it), each vendor's `service` (whom to call), `sources`
  (files and other audio)
- limits: `_counts` (in this event loop), `_redis_counts` (for several processes), `limits`
- one connection: `_link` (a task on it), `_dialer` (how it is opened), `_pool` (those that wait)
- one session: `_timeline`, `_ledger`, `_recovery` (the rules that join several connections), `_relay` (the next one),
  `_feed` (what is sent), `_delivery` and `_outbox` (on the way to the caller), `_run` (what its tasks share), `session`
- several services: `fallback`, with `_circuit`
- doors: `client`, with `_fanout` (many sources), this module, `cli`
- beside the house: `emulator` (the vendors' protocols from the other side), `local` (the emulator as a service)
"""

from __future__ import annotations

from ._net.user_agent import __version__
from .audio import AudioFormat
from .batch import TranscriptionBatch
from .client import Client, connect, transcribe
from .config import Limits, Pool, Retry, Timeouts
from .errors import (
    ASRError,
    AudioLostError,
    AuthenticationError,
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    LocalProtocolError,
    ProtocolError,
    RateLimitedError,
    RemoteProtocolError,
    VendorError,
)
from .fallback import Difference, Fallback
from .hotwords import HotWord, Vocabulary
from .local import Local
from .results import (
    BatchItem,
    Event,
    Gap,
    Reconnected,
    Result,
    SessionStats,
    SpeechEnded,
    SpeechEnding,
    SpeechStarted,
    Transcript,
    Translation,
    TranslationArrived,
    Word,
)
from .session import ResultStream, Session
from .sources import AudioFile, read_audio
from .vendors import ModelInfo, models
from .vendors.dashscope import ContextMessage, DashScope, FunASR, Gummy, GummyChat, Paraformer, QwenAudio, QwenRealtime
from .vendors.huawei import Huawei, Rasr
from .vendors.service import TemporaryKey

__all__ = [
    "ASRError",
    "AudioFile",
    "AudioFormat",
    "AudioLostError",
    "AuthenticationError",
    "BatchItem",
    "Client",
    "ConfigurationError",
    "ConnectionLostError",
    "ContextMessage",
    "DashScope",
    "DeadlineError",
    "Difference",
    "Event",
    "Fallback",
    "FunASR",
    "Gap",
    "Gummy",
    "GummyChat",
    "HotWord",
    "Huawei",
    "Limits",
    "Local",
    "LocalProtocolError",
    "ModelInfo",
    "Paraformer",
    "Pool",
    "ProtocolError",
    "QwenAudio",
    "QwenRealtime",
    "Rasr",
    "RateLimitedError",
    "Reconnected",
    "RemoteProtocolError",
    "Result",
    "ResultStream",
    "Retry",
    "Session",
    "SessionStats",
    "SpeechEnded",
    "SpeechEnding",
    "SpeechStarted",
    "TemporaryKey",
    "Timeouts",
    "Transcript",
    "TranscriptionBatch",
    "Translation",
    "TranslationArrived",
    "VendorError",
    "Vocabulary",
    "Word",
    "__version__",
    "connect",
    "models",
    "read_audio",
    "transcribe",
]
