"""The classes of the vendors' official SDKs on this library: a program changes the prefix of its imports.

    from asr_async.compat import dashscope
    from asr_async.compat.dashscope.audio.asr import *

Each module has a table of what differs from the original, and why. The parts that the faces share are `_callbacks`,
which runs the callbacks of all sessions in a bounded number of threads, and `_session`, which runs a session in the
event loop of `asr_async.sync`.
"""
