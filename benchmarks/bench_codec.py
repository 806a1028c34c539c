"""What the rules cost without any network: a frame of audio wrapped, a result of ten words read.

Every codec gets the messages of one task, interims and finals in turns, each of them once. `ns` is per call. `blocks`
and `bytes` are what a call leaves behind in what it returns. Beside them stands what it costs to decode the same
messages into plain dictionaries, with the standard library and with msgspec.

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
from load.figures import medians
from load.report import argument_parser, finish

TASK_ID = "0" * 32


class Case(NamedTuple):
    """Something that is called once with each input."""

    vendor: str
    name: str
    call: Callable[[Any], object]
    inputs: Sequence[Any]


def dashscope_messages(calls: int) -> list[str]:
    """The results of a task."""
    return [messages.result(TASK_ID.encode(), number).decode() for number in range(calls)]


def huawei_messages(calls: int) -> list[str]:
    """The same, said by Huawei's RASR."""
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
    """One whose task is open."""
    codec = DashScope("key").codec(Paraformer(), task_id=TASK_ID)
    codec.start()
    codec.receive(messages.started(TASK_ID).decode())
    return codec


def huawei_codec() -> Any:
    """One whose round is open."""
    service = Huawei(ak="a", sk="s", project_id="p", region="cn-north-4")
    codec = service.codec(Rasr(interim_results=True, need_word_info=True), task_id=TASK_ID)
    codec.start()
    codec.receive(json.dumps({"resp_type": "START", "trace_id": TASK_ID}))
    return codec


def cases(calls: int) -> Iterator[Case]:
    """Each with a codec that has read nothing yet."""
    for vendor, codec, results in (
        ("DashScope", dashscope_codec(), dashscope_messages(calls)),
        ("Huawei", huawei_codec(), huawei_messages(calls)),
    ):
        yield Case(vendor, "codec.audio", codec.audio, [memoryview(messages.FRAME)] * calls)
        yield Case(vendor, "codec.receive", codec.receive, results)
        yield Case(vendor, "json.loads", json.loads, results)
        yield Case(vendor, "msgspec.json.decode", msgspec.json.decode, results)


def ns_per_call(case: Case) -> float:
    """Time of one call, without what becomes of its outcome."""
    _, _, call, inputs = case
    gc.collect()
    began_at = time.perf_counter_ns()
    for item in inputs:
        call(item)
    return round((time.perf_counter_ns() - began_at) / len(inputs), 1)


def kept_per_call(case: Case) -> dict[str, float]:
    """Blocks and bytes that are still there when all outcomes are kept; the list that keeps them is left out."""
    _, _, call, inputs = case
    kept: list[object] = [None] * len(inputs)
    gc.collect()
    tracemalloc.start()
    blocks, size = sys.getallocatedblocks(), tracemalloc.get_traced_memory()[0]
    for number, item in enumerate(inputs):
        kept[number] = call(item)
    blocks, size = sys.getallocatedblocks() - blocks, tracemalloc.get_traced_memory()[0] - size
    tracemalloc.stop()
    return {"blocks": round(blocks / len(inputs), 1), "bytes": round(size / len(inputs))}


def measure(calls: int) -> list[dict[str, Any]]:
    """Every case, with one codec for the time and another one for the memory."""
    return [
        {"vendor": timed.vendor, "call": timed.name, "ns": ns_per_call(timed), **kept_per_call(weighed)}
        for timed, weighed in zip(cases(calls), cases(calls), strict=True)
    ]


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argument_parser(__doc__)
    parser.add_argument("--calls", type=int, default=5_000, help="per figure (default: %(default)s)")
    arguments = parser.parse_args()
    runs = [measure(arguments.calls) for _ in range(arguments.runs)]
    finish(__file__, arguments, [medians(rows) for rows in zip(*runs, strict=True)], targets=[])


if __name__ == "__main__":
    main()
