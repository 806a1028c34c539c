"""The blocking face in whole processes: the exit of the interpreter, interrupts, and forks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from asr_async.emulator import Scripted, serve

from ..support.child_processes import child_environment
from ..support.threaded_server import in_a_thread

PREAMBLE = """
import _thread, os, signal, sys, threading, time
from asr_async import DashScope, DeadlineError, LocalProtocolError, Paraformer
from asr_async.sync import Client, connect, transcribe

service = DashScope("sk-test", endpoint=os.environ["ENDPOINT"])
AUDIO = [bytes(3200)] * 20

def texts(results):
    return [result.text for result in results if result.is_final]

def blocked():
    yield bytes(3200)
    threading.Event().wait()
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with in_a_thread(serve(Scripted([("good morning", 0, 700), ("how are you", 900, 1_800)]))) as emulator:
        yield emulator.dashscope_url


def run(code: str, endpoint: str) -> str:
    """Run a program, which must end by itself, and return what it prints."""
    completed = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore::ResourceWarning", "-c", PREAMBLE + code],
        env={**child_environment(), "ENDPOINT": endpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert "Traceback" not in completed.stderr, completed.stderr
    return completed.stdout


AT_EXIT = {
    "nothing is open": "print(texts(transcribe(AUDIO, Paraformer(), service).results))",
    "a client is open": "client = Client(service).open(); print(texts(client.transcribe(AUDIO, Paraformer()).results))",
    "a session is open": """
client = Client(service).open()
session = client.session(Paraformer()).open()
for chunk in AUDIO:
    session.send(chunk)
session.finish()
print(texts(session))
""",
    "a session streams a source that blocks": """
client = Client(service).open()
print(texts(client.transcribe(AUDIO, Paraformer()).results))
session = client.session(Paraformer()).open()
try:
    session.events(blocked()).next(timeout=0.1)
except DeadlineError:
    pass
""",
    "a daemon thread waits for a result": """
client = Client(service).open()
session = client.session(Paraformer()).open()
def wait():
    try:
        list(session)
    except LocalProtocolError:  # the interpreter is exiting
        pass
threading.Thread(target=wait, daemon=True).start()
print(texts(client.transcribe(AUDIO, Paraformer()).results))
""",
    "the program is ended by sys.exit in a with block": """
with connect(Paraformer(), service) as session:
    print(texts(session.stream(AUDIO, pace=None)))
    sys.exit(0)
""",
}


@pytest.mark.parametrize("code", AT_EXIT.values(), ids=AT_EXIT)
def test_the_interpreter_exits_without_a_hang(code: str, endpoint: str) -> None:
    assert run(code, endpoint) == "['good morning', 'how are you']\n"


def test_a_call_while_the_interpreter_exits_is_an_error(endpoint: str) -> None:
    code = """
import atexit
@atexit.register
def late():
    try:
        client.transcribe(AUDIO, Paraformer())
    except LocalProtocolError as error:
        print(error)
client = Client(service).open()
"""
    # registered first, so run last
    assert run(code, endpoint) == "the interpreter is exiting: close sessions and clients before that\n"


def test_an_interrupt_ends_the_wait_and_the_session_can_go_on(endpoint: str) -> None:
    code = """
def interrupting():
    yield AUDIO[0]
    _thread.interrupt_main()
    time.sleep(0.2)
    yield from AUDIO[1:]

with connect(Paraformer(), service) as session:
    results, finals = session.stream(interrupting(), pace=None), []
    while True:
        try:
            result = next(results)
        except KeyboardInterrupt:
            print("interrupted")
        except StopIteration:
            break
        else:
            finals += [result.text] if result.is_final else []
print(finals)
"""
    assert run(code, endpoint) == "interrupted\n['good morning', 'how are you']\n"


def test_no_interrupt_loses_an_item_that_the_loop_has_given_away(endpoint: str) -> None:
    code = """
import sys
from asr_async.sync._loop import ItemReader, background_loop

sys.setswitchinterval(1e-5)
items, taken, interrupts, armed = iter(range(3000)), [], 0, threading.Event()

async def read_next():
    try:
        return next(items)
    except StopIteration:
        raise StopAsyncIteration

def interrupt():
    while armed.wait():
        armed.clear()
        _thread.interrupt_main()

class Items:
    reader = ItemReader(background_loop())
    def __iter__(self):
        return self
    def __next__(self):
        try:
            return self.reader.read(read_next, None)
        except StopAsyncIteration:
            raise StopIteration

threading.Thread(target=interrupt, daemon=True).start()
results = Items()
while len(taken) < 3000:
    try:
        armed.set()
        for item in results:
            taken.append(item)
    except KeyboardInterrupt:
        interrupts += 1
print(taken == list(range(3000)), interrupts > 100)
"""
    assert run(code, endpoint) == "True True\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_a_loop_of_its_own(endpoint: str) -> None:
    code = """
client = Client(service).open()
print(len(texts(client.transcribe(AUDIO, Paraformer()).results)), flush=True)
if os.fork() == 0:
    try:
        client.transcribe(AUDIO, Paraformer())
    except LocalProtocolError as error:
        print(error, flush=True)
    print(texts(transcribe(AUDIO, Paraformer(), service).results), flush=True)
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
print(len(texts(client.transcribe(AUDIO, Paraformer()).results)))
"""
    assert run(code, endpoint).splitlines() == [
        "2",
        (
            "this client or session is of the process that forked this one: make a client in each process, in Celery "
            "at worker_process_init, in gunicorn in post_fork"
        ),
        "['good morning', 'how are you']",
        "2",
    ]
