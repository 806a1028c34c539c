"""The cost of a codec without a network: encoding a frame of audio, and decoding a result of ten words.

Every codec receives the messages of one task, interims and finals alternately, each message once. `ns` is the time of a
call. `blocks` and `bytes` are the memory that the value returned by a call keeps allocated. For comparison, the same
messages are decoded into plain dictionaries with the standard library and with msgspec.

    python benchmarks/bench_codec.py --calls 20000
"""

from __future__ import annotations

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from asr_async import DashScope, Huawei, Paraformer, Rasr
from load import messages
from load.measurements import medians
from load.report import argument_parser, finish

TASK_ID = "0" * 32


class Case(NamedTuple):
    """A function and its inputs; it is called once with each."""

    vendor: str
    name: str
    call: Callable[[Any], object]
    inputs: Sequence[Any]


def dashscope_messages(calls: int) -> list[str]:
    """Return the results of a task of DashScope."""
    return [messages.result(TASK_ID.encode(), number).decode() for number in range(calls)]


def huawei_messages(calls: int) -> list[str]:
    """Return the same results in the format of Huawei's RASR."""
    return [json.dumps(_huawei_result(number)) for number in range(calls)]


def _huawei_result(number: int) -> dict[str, Any]:
    times = messages.word_times(number)
    words = [
        {"start_time": start_ms, "end_time": end_ms, "word": word}
        for word, (start_ms, end_ms) in zip(messages.WORDS, times, strict=True)
    ]
    is_final = messages.is_final(number)
    segment = {
        "start_time": times[0][0],
        "end_time": times[-1][1],
        "is_final": is_final,
        "result": {"text": " ".join(messages.WORDS), "score": 0.9 if is_final else 0.0, "word_info": words},
    }
    return {"resp_type": "RESULT", "trace_id": TASK_ID, "segments": [segment]}


def dashscope_codec() -> Any:
    """Return a codec whose task is open."""
    codec = DashScope("key").codec(Paraformer(), task_id=TASK_ID)
    codec.start()
    codec.receive(messages.started(TASK_ID).decode())
    return codec


def huawei_codec() -> Any:
    """Return a codec whose task is open."""
    service = Huawei(ak="a", sk="s", project_id="p", region="cn-north-4")
    codec = service.codec(Rasr(interim_results=True, need_word_info=True), task_id=TASK_ID)
    codec.start()
    codec.receive(json.dumps({"resp_type": "START", "trace_id": TASK_ID}))
    return codec


def cases(calls: int) -> Iterator[Case]:
    """Yield the cases, with a codec per vendor that has received no result yet."""
    for vendor, codec, results in (
        ("DashScope", dashscope_codec(), dashscope_messages(calls)),
        ("Huawei", huawei_codec(), huawei_messages(calls)),
    ):
        yield Case(vendor, "codec.audio", codec.audio, [memoryview(messages.FRAME)] * calls)
        yield Case(vendor, "codec.receive", codec.receive, results)
        yield Case(vendor, "json.loads", json.loads, results)
        yield Case(vendor, "msgspec.json.decode", msgspec.json.decode, results)


def ns_per_call(case: Case) -> float:
    """Return the time of one call, whose value is discarded."""
    _, _, call, inputs = case
    gc.collect()
    began_at = time.perf_counter_ns()
    for item in inputs:
        call(item)
    return round((time.perf_counter_ns() - began_at) / len(inputs), 1)


def memory_per_call(case: Case) -> dict[str, float]:
    """Return the blocks and bytes that a returned value keeps allocated, without the list that holds the values."""
    _, _, call, inputs = case
    values: list[object] = [None] * len(inputs)
    gc.collect()
    tracemalloc.start()
    blocks, size = sys.getallocatedblocks(), tracemalloc.get_traced_memory()[0]
    for number, item in enumerate(inputs):
        values[number] = call(item)
    blocks, size = sys.getallocatedblocks() - blocks, tracemalloc.get_traced_memory()[0] - size
    tracemalloc.stop()
    return {"blocks": round(blocks / len(inputs), 1), "bytes": round(size / len(inputs))}


def measure(calls: int) -> list[dict[str, Any]]:
    """Measure every case, with one codec for the time and another one for the memory."""
    return [
        {"vendor": timed.vendor, "call": timed.name, "ns": ns_per_call(timed), **memory_per_call(sized)}
        for timed, sized in zip(cases(calls), cases(calls), strict=True)
    ]


def main() -> None:
    """Parse the arguments, measure, print the report."""
    parser = argument_parser(__doc__)
    parser.add_argument("--calls", type=int, default=5_000, help="number of calls per figure (default: %(default)s)")
    arguments = parser.parse_args()
    runs = [measure(arguments.calls) for _ in range(arguments.runs)]
    finish(__file__, arguments, [medians(rows) for rows in zip(*runs, strict=True)], targets=[])


if __name__ == "__main__":
    main()
