r"""The blocking face of the library, for programs without an event loop: Flask, Django, Celery, scripts, notebooks.

    from asr_async import Paraformer, read_audio
    from asr_async.sync import connect

    with connect(Paraformer()) as session:
        for result in session.stream(read_audio("meeting.wav")):
            print(result.text, end="\n" if result.is_final else "\r")

Everything has the name and the arguments that it has in `asr_async`, without `async` and `await`; `aclose` is `close`.
Options, services, results and errors are those of `asr_async`. Beside it, every call that waits accepts a `timeout` in
seconds, behind which it raises a `DeadlineError` and what it waited for is cancelled.

All sessions of a process run in one event loop, in a thread of its own that begins with the first of them and ends with
the interpreter, which closes what is still open. All calls can be made from any thread, from several at once, and from
a thread that runs an event loop of its own, which stands still meanwhile. Observers and async sources are called in the
loop's thread; a plain iterable is read in a thread of its own, so that it may block.
"""

from .client import Client, TranscriptionBatch, Vocabularies, connect, transcribe
from .session import ResultStream, Session

__all__ = ["Client", "ResultStream", "Session", "TranscriptionBatch", "Vocabularies", "connect", "transcribe"]
