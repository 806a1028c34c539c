"""Messages of DashScope's task protocol, prepared as far as possible, with the instant of sending in each result.

A result of ten words follows every 500 ms of audio: alternately the interim and the final of a sentence of one second.
Its text begins with the instant, in nanoseconds of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import functools
import json
import time
from typing import Any

from . import ws_frames

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
    """Return the instant at which the result with this text was sent, in nanoseconds of the monotonic clock."""
    return int(text[:_STAMP_DIGITS])


def run_task(task_id: str) -> str:
    """Return the message with which a client starts a task."""
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
    """Return the message with which a client ends its audio."""
    header = {"action": "finish-task", "task_id": task_id, "streaming": "duplex"}
    return json.dumps({"header": header, "payload": {"input": {}}})


def started(task_id: str) -> bytes:
    """Return the message with which the server confirms the start of a task."""
    return _compact({"header": {"task_id": task_id, "event": "task-started", "attributes": {}}, "payload": {}}).encode()


def finished(task_id: str) -> bytes:
    """Return the message with which the server confirms the end of a task."""
    header = {"task_id": task_id, "event": "task-finished", "attributes": {}}
    return _compact({"header": header, "payload": {}}).encode()


def result(task_id: bytes, number: int) -> bytes:
    """Return a result of a task, stamped with the present instant; numbers count from 0, even ones are interim."""
    head, middle, tail = _result_parts(number)
    return b"%b%b%b%020d%b" % (head, task_id, middle, time.monotonic_ns(), tail)


def result_ws_frame(task_id: bytes, number: int) -> bytes:
    """Return the same result as a ws frame."""
    return ws_frames.encode(ws_frames.TEXT, result(task_id, number), masked=False)


def is_final(number: int) -> bool:
    """Return True if the result with this number ends its sentence."""
    return number % 2 == 1


def word_times(number: int) -> list[tuple[int, int]]:
    """Return begin and end of each word of the result with this number, in ms of the task's audio."""
    begin_ms, end_ms = number // 2 * 1_000, (number + 1) * RESULT_EVERY_MS
    word_ms = (end_ms - begin_ms) // len(WORDS)
    return [(begin_ms + word_ms * index, begin_ms + word_ms * (index + 1)) for index in range(len(WORDS))]


@functools.cache
def _result_parts(number: int) -> tuple[bytes, bytes, bytes]:
    """Return the parts of a result before the task id, between the id and the instant, and after the instant."""
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
