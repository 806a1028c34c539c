"""What the load server says, prepared: DashScope's task protocol with the instant of sending in each result.

A result of ten words comes every 500 ms of audio, in turns the interim and the final of a sentence of one second. Its
text begins with the instant, in nanoseconds of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import functools
import json
import time
from typing import Any

from . import wire

FRAME_MS = 100
FRAME = bytes(3_200)
"""100 ms of 16 kHz PCM."""

BYTES_PER_S = 32_000
RESULT_EVERY_BYTES = 16_000
RESULT_EVERY_MS = 500

WORDS = ("pass", "me", "the", "butter", "and", "some", "of", "the", "bread", "please")

_STAMP_DIGITS = 20
_STAMP = "S" * _STAMP_DIGITS
_TASK_ID = "T" * 32


def stamp_of(text: str) -> int:
    """When a result with this text was sent, in nanoseconds of the monotonic clock."""
    return int(text[:_STAMP_DIGITS])


def run_task(task_id: str) -> str:
    """What a client that knows nothing but the protocol opens a task with."""
    payload = {
        "task_group": "audio",
        "task": "asr",
        "function": "recognition",
        "model": "paraformer-realtime-v2",
        "parameters": {"format": "pcm", "sample_rate": 16_000},
        "input": {},
    }
    return json.dumps({"header": {"action": "run-task", "task_id": task_id, "streaming": "duplex"}, "payload": payload})


def finish_task(task_id: str) -> str:
    """No more audio."""
    header = {"action": "finish-task", "task_id": task_id, "streaming": "duplex"}
    return json.dumps({"header": header, "payload": {"input": {}}})


def started(task_id: str) -> bytes:
    """The task is open."""
    return _compact({"header": {"task_id": task_id, "event": "task-started", "attributes": {}}, "payload": {}}).encode()


def finished(task_id: str) -> bytes:
    """The task is over."""
    header = {"task_id": task_id, "event": "task-finished", "attributes": {}}
    return _compact({"header": header, "payload": {}}).encode()


def result(task_id: bytes, number: int) -> bytes:
    """The result with this number of a task, counted from 0, as it is sent now; even ones are interim."""
    head, middle, tail = _result_parts(number)
    return b"%b%b%b%020d%b" % (head, task_id, middle, time.monotonic_ns(), tail)


def result_frame(task_id: bytes, number: int) -> bytes:
    """The same as it goes over the wire."""
    return wire.frame(wire.TEXT, result(task_id, number), masked=False)


def is_final(number: int) -> bool:
    """Whether the result with this number ends its sentence."""
    return number % 2 == 1


def word_times(number: int) -> list[tuple[int, int]]:
    """When the words of the result with this number begin and end, in ms of the task's audio."""
    begin_ms, end_ms = number // 2 * 1_000, (number + 1) * RESULT_EVERY_MS
    word_ms = (end_ms - begin_ms) // len(WORDS)
    return [(begin_ms + word_ms * place, begin_ms + word_ms * (place + 1)) for place in range(len(WORDS))]


@functools.cache
def _result_parts(number: int) -> tuple[bytes, bytes, bytes]:
    """What stands before the task id, between it and the instant, and behind."""
    times = word_times(number)
    begin_ms, end_ms = times[0][0], times[-1][1]
    sentence = {
        "sentence_id": number // 2 + 1,
        "begin_time": begin_ms,
        "end_time": end_ms if is_final(number) else None,
        "text": " ".join((_STAMP, *WORDS[1:])),
        "words": [
            {"begin_time": word_begin_ms, "end_time": word_end_ms, "text": word, "punctuation": ""}
            for word, (word_begin_ms, word_end_ms) in zip(WORDS, times, strict=True)
        ],
        "heartbeat": False,
        "sentence_end": is_final(number),
    }
    message = {
        "header": {"task_id": _TASK_ID, "event": "result-generated", "attributes": {}},
        "payload": {
            "output": {"sentence": sentence},
            "usage": {"duration": end_ms // 1_000} if is_final(number) else None,
        },
    }
    head, rest = _compact(message).split(_TASK_ID)
    middle, tail = rest.split(_STAMP)
    return head.encode(), middle.encode(), tail.encode()


def _compact(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))
