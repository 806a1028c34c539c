"""The exit of a program in every state of a recognition: no hang, and the results of what was not stopped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import HalfOpen

from ..support.child_processes import child_environment
from ..support.threaded_server import in_a_thread
from .conftest import SEGMENTS

PREAMBLE = """
import os, signal, sys, threading, time
import asr_async.compat._session as base
from asr_async.compat import dashscope
from asr_async.compat.dashscope.audio.asr import *

base.EXIT_S = 1.5
dashscope.api_key = "sk-test"
dashscope.base_websocket_api_url = os.environ["ENDPOINT"]
has_event = threading.Event()

class Callback(RecognitionCallback):
    def on_event(self, result):
        has_event.set()
        sentence = result.get_sentence()
        if RecognitionResult.is_sentence_end(sentence):
            print(sentence["text"], flush=True)
    def on_close(self):
        print("closed", flush=True)

def recognition(callback=None):
    return Recognition(model="paraformer-realtime-v2", format="pcm", sample_rate=16000, callback=callback or Callback())

def send(made):
    for _ in range(22):
        made.send_audio_frame(bytes(3200))
"""

WHOLE = "你好世界。\n再见。\nclosed\n"

STATES = {
    "not started": ("made = recognition()", ""),
    "running with audio": ("made = recognition(); made.start(); send(made)", WHOLE),
    "many states at once": (
        """
stopped, running, blocked, raising, other = (recognition() for _ in range(5))
class Blocked(RecognitionCallback):
    def on_event(self, result):
        has_event.set()
        threading.Event().wait()
class Stopping(RecognitionCallback):
    def on_event(self, result):
        self.made.stop() if self.made._running else None
blocked, stopping = recognition(Blocked()), recognition(Stopping())
stopping._callback.made = stopping
for made in (stopped, blocked, stopping):
    made.start()
    send(made)
stopped.stop()
has_event.wait(20)
child = os.fork()
if not child:
    made = recognition()
    made.start()
    send(made)
    made.stop()
    sys.exit(0)
os.waitpid(child, 0)
""",
        WHOLE * 2,
    ),
    "stopped in a thread while the program ends": (
        "made = recognition(); made.start(); send(made); threading.Thread(target=made.stop).start()",
        WHOLE,
    ),
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with in_a_thread(serve(Scripted(SEGMENTS))) as emulator:
        yield emulator.dashscope_url


def run(code: str, endpoint: str) -> str:
    """Run a program, which must end by itself, and return what it prints."""
    completed = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PREAMBLE + code],
        env={**child_environment(), "ENDPOINT": endpoint, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=40,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert "Traceback" not in completed.stderr, completed.stderr
    return completed.stdout


@pytest.mark.parametrize(("code", "printed"), STATES.values(), ids=STATES)
def test_a_program_ends_without_a_hang(code: str, printed: str, endpoint: str) -> None:
    assert run(code, endpoint) == printed


def test_ctrl_c_ends_a_start_that_waits_for_its_connection() -> None:
    code = """
def stop(number, frame):
    made.stop()
    sys.exit(0)
signal.signal(signal.SIGINT, stop)
made = recognition()
threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
made.start()
"""
    with in_a_thread(serve(Scripted(SEGMENTS), faults=[HalfOpen(at="handshake")])) as emulator:
        assert run(code, emulator.dashscope_url) in {"", "closed\n"}
