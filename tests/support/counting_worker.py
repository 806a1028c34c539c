"""A worker program whose recogniser counts samples: started by a `WorkerPool`, without a model to load.

Each call yields an interim with the number of samples so far, `finish` a final one. Pieces that begin with
`CRASH` and the like make it fail. With the argument `broken` or `damaged` the process ends while it loads.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from asr_async.emulator.engines.engine import Hypothesis
from asr_async.emulator.engines.worker_process import StreamingSessions, run_worker

if TYPE_CHECKING:
    from asr_async.emulator.engines.engine import Request
    from asr_async.emulator.engines.worker_process import Sender

__all__ = ["CRASH", "EXIT", "HANG", "PRINT"]

CRASH, EXIT, HANG, PRINT = b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x04\x00"
"""The beginnings of pieces that make the worker raise an error, end itself, sleep, or print."""


class Session:
    """A session that counts samples."""

    silent_ms = 0
    has_speech = True

    def __init__(self, _request: Request) -> None:
        self._samples = 0

    def feed(self, samples: bytes) -> list[Hypothesis]:
        match samples[:2]:
            case b"\x01\x00":
                raise OSError("the model is\tgone")
            case b"\x02\x00":
                os.write(2, b"one\n\ntwo\nthree\nfour without an end")
                os._exit(255)
            case b"\x03\x00":
                time.sleep(600)
            case b"\x04\x00":
                print("a library prints this", flush=True)  # noqa: T201
        self._samples += len(samples) // 2
        return [self._hypothesis(is_final=False)]

    def finish(self) -> list[Hypothesis]:
        return [self._hypothesis(is_final=True)]

    def _hypothesis(self, *, is_final: bool) -> Hypothesis:
        return Hypothesis(text=str(self._samples), is_final=is_final, start_ms=0, end_ms=self._samples // 16)

    def close(self) -> None:
        pass


def load(sender: Sender) -> StreamingSessions:
    if "broken" in sys.argv:
        sys.exit("the folder has no model")
    if "damaged" in sys.argv:
        raise ImportError("libruntime.so: cannot open shared object file")
    return StreamingSessions(sender, Session)


if __name__ == "__main__":
    run_worker(load)
