"""Recordings as a data set of Ray: python examples/ray_data.py FOLDER OUTPUT (pip install "ray[data]")."""

import os
import sys
from typing import Any

import ray

from asr_async import Local, Paraformer
from asr_async.sources import find_sources
from asr_async.sync import Client


class Transcribe:
    """A step of a data set: paths or URLs in, texts out. A key is in the environment of the worker."""

    def __init__(self) -> None:
        self.client = Client(None if "DASHSCOPE_API_KEY" in os.environ else Local(), options=Paraformer())
        self.client.open()

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        items = self.client.transcribe_many(rows["path"].tolist(), concurrency=16)
        done = sorted(items, key=lambda item: item.index)
        texts = ["" if item.transcript is None else item.transcript.text for item in done]
        return {**rows, "text": texts, "error": [str(item.error or "") for item in done]}


if __name__ == "__main__":
    found = ray.data.from_items([{"path": each.source} for each in find_sources(sys.argv[1])])
    found.map_batches(Transcribe, concurrency=2, batch_size=64).write_json(sys.argv[2])
