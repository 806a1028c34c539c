r"""Streaming speech recognition for asyncio: many live sessions in one event loop, no transcript silently short.

    async with connect(Paraformer()) as session:
        async for result in session.stream(read_audio("meeting.wav")):
            print(f"\r\x1b[K{result.text}", end="\n" if result.is_final else "")

Begin with `connect`, `Session`, `Client` and `Result`; errors are drawn as a tree in `asr_async.errors`.

A transcript never ends silently short. Every word that the vendor showed is in one final result, in a `Gap`, or behind
an error, and what is uncertain has a mark:

    Result.is_confirmed             False: the vendor confirmed the end while this was an interim
    Result.may_repeat               recognised again after a reconnect; nothing tells which words are new
    Result.lost_before_ms           audio in front of this result is lost: a `Gap`
    SpeechEnded.is_withdrawn        the segment ends without a final result
    TranslationLost                 a final result stays without a translation
    session.gaps, Transcript.gaps   the lost audio

Data flow; one synchronous call stack leads from the received bytes to the result queue:

    audio source -> framer -> replay buffer -> pacer -> codec.audio() -> websocket -> vendor
                                    ^                      (pure)           (I/O)
                                    +-- trimmed by final results <- codec.receive() <- websocket <- vendor
                                                                          |
    caller <- async for result in session.stream(...) <- result queue <---+

Layout, top to bottom: a part imports only from parts below it. Names with an underscore are internal.

    __main__      `python -m asr_async`
    cli           the command line
    testing       the conformance kit for vendors
    integrations  adapters for frameworks of voice agents and web services
    compat        the classes of the vendors' official SDKs, for programs that are written for them
    batch         many files: a manifest that outlives the process, and engines that work through it
    sync          the same without an event loop: a blocking `Client`, `connect` and `transcribe`
    client        `Client`, `connect` and `transcribe`
    fallback      several services used as one
    session       `Session` and `ResultStream`: the public object of one stream
    _session      its state, sender and receiver, pacer, replay buffer, timeline, result queue, reconnects, statistics
    _connection   a vendor task on a connection, how connections are opened, and the pool of idle ones
    _limits       rate limits in this event loop or in Redis, backoff, circuit breaker
    local         `Local`: the emulator as a service
    emulator      a server that speaks the vendors' protocols, with a recogniser or a script behind it
    sources       files, pushed chunks and other iterables of audio
    vendors       the interfaces of codecs and services, and a folder per vendor: options, messages, codecs, services
    _net          byte streams, TLS, proxies, WebSocket, HTTP, wire log
    _loop         a shared timer, a light event and task sets for thousands of sessions in one loop
    telemetry     observers, which are notified of the transitions of sessions
    config        `Limits`, `Pool`, `Retry` and `Timeouts`
    audio         the format of audio, frames of 100 ms, and the packets of compressed audio
    hotwords      hot words and their tables
    wire          events as JSON
    errors        the tree of errors
    results       results, events, transcripts and statistics
    subtitles     the cues of a transcript, their lines, and live captions
    _alignment    the words of texts that were recognised from the same audio
    _text         texts that others see: one line each, without a secret
"""

from __future__ import annotations

from ._net.user_agent import __version__
from .audio import AudioFormat
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
    TranslationLost,
    Word,
)
from .session import ResultStream, Session
from .sources import (
    AudioFile,
    Finding,
    Microphone,
    PushSource,
    Report,
    TranscriptionBatch,
    microphone,
    preflight,
    read_audio,
)
from .vendors import Capabilities, ModelInfo, models
from .vendors.dashscope import ContextMessage, DashScope, FunASR, Gummy, GummyChat, Paraformer, QwenAudio, QwenRealtime
from .vendors.funasr import FunASR2Pass, FunASRNano, FunASRServer
from .vendors.huawei import Huawei, Rasr
from .vendors.openai import OpenAI, OpenAIRealtime, VLLMRealtime
from .vendors.service import TemporaryKey
from .wire import asdict, from_json, from_json_lines, to_json, to_json_lines

__all__ = [
    "ASRError",
    "AudioFile",
    "AudioFormat",
    "AudioLostError",
    "AuthenticationError",
    "BatchItem",
    "Capabilities",
    "Client",
    "ConfigurationError",
    "ConnectionLostError",
    "ContextMessage",
    "DashScope",
    "DeadlineError",
    "Difference",
    "Event",
    "Fallback",
    "Finding",
    "FunASR",
    "FunASR2Pass",
    "FunASRNano",
    "FunASRServer",
    "Gap",
    "Gummy",
    "GummyChat",
    "HotWord",
    "Huawei",
    "Limits",
    "Local",
    "LocalProtocolError",
    "Microphone",
    "ModelInfo",
    "OpenAI",
    "OpenAIRealtime",
    "Paraformer",
    "Pool",
    "ProtocolError",
    "PushSource",
    "QwenAudio",
    "QwenRealtime",
    "Rasr",
    "RateLimitedError",
    "Reconnected",
    "RemoteProtocolError",
    "Report",
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
    "TranslationLost",
    "VLLMRealtime",
    "VendorError",
    "Vocabulary",
    "Word",
    "__version__",
    "asdict",
    "connect",
    "from_json",
    "from_json_lines",
    "microphone",
    "models",
    "preflight",
    "read_audio",
    "to_json",
    "to_json_lines",
    "transcribe",
]
