"""FunASR's own real-time server as the other side: the code of its wheel, with stubs in place of its models.

It needs `pip install --no-deps funasr==1.4.16` and `regex`; torch and the weights, which are too large for a test, are
replaced (`support/funasr_program.py`).
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import os
import random
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from asr_async import (
    Client,
    ConnectionLostError,
    Event,
    FunASRNano,
    FunASRServer,
    Reconnected,
    Result,
    Retry,
    VendorError,
    connect,
)
from hostile.audio import numbered_audio
from hostile.count import Counts, Outcome, count
from hostile.script import Script, draw_script

from ..support.child_processes import child_environment
from ..support.paths import ROOT
from ..support.tcp_proxy import NetworkPath, TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROGRAM = ROOT / "tests" / "support" / "funasr_program.py"
WORDS = [
    ("good", 200, 600),
    ("morning", 650, 1_100),
    ("how", 1_900, 2_100),
    ("are", 2_150, 2_350),
    ("you", 2_400, 2_700),
]
SOURCE = numbered_audio("pcm", 4_000, random.Random(0))
QUICK = Retry(attempts=60, max_delay_s=0.01)
OFTEN = ("--decode-interval", "0")


@pytest.fixture(autouse=True)
def _is_installed() -> None:
    if importlib.util.find_spec("funasr") is None or importlib.util.find_spec("regex") is None:
        if os.environ.get("CI"):
            pytest.fail("funasr (--no-deps) and regex are not installed")
        pytest.skip("needs funasr (--no-deps) and regex")


@asynccontextmanager
async def vendor_server(words: list[tuple[str, int, int]], *options: str) -> AsyncIterator[int]:
    """Run the vendor's server in a process of its own, and yield its port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), json.dumps(words), *options),
        env=child_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    try:
        port = await process.stdout.readline()
        assert port, (await errors).decode()
        yield int(port)
    finally:
        process.stdin.close()
        await process.wait()
        await errors


async def events_of(port: int, options: FunASRNano | None = None, **arguments: Any) -> list[Event]:
    service = FunASRServer(f"ws://127.0.0.1:{port}")
    async with connect(options or FunASRNano(), service, retry=QUICK) as session:
        return [event async for event in session.events([SOURCE], **arguments)]


def finals(events: list[Event]) -> list[tuple[str, int, int]]:
    return [(each.text, each.start_ms, each.end_ms) for each in events if isinstance(each, Result) and each.is_final]


async def test_sentences_and_their_times_are_those_of_the_server() -> None:
    async with vendor_server(WORDS, *OFTEN) as port:
        events = await events_of(port, pace=None)
    assert finals(events) == [("good morning", 200, 1_100), ("how are you", 1_900, 2_700)]
    assert all(event.is_confirmed and not event.may_repeat for event in events if isinstance(event, Result))


async def test_interims_grow_while_a_sentence_is_spoken() -> None:
    """The server recognises what there is after each second; at a higher pace, it may skip some."""
    texts = ["bago", "rimu", "tose", "kale", "fidu", "mopa", "zeri", "lono"]
    words = [(text, 200 + 450 * number, 600 + 450 * number) for number, text in enumerate(texts)]
    async with vendor_server(words, *OFTEN) as port:
        events = await events_of(port, pace=4.0)
    results = [event for event in events if isinstance(event, Result)]
    *interims, final = [result.text for result in results]
    assert (final, results[-1].is_final) == (" ".join(texts), True)
    assert len(interims) >= 2
    assert all(longer.startswith(shorter) for shorter, longer in itertools.pairwise([*interims, final]))
    assert {(result.segment_id, result.start_ms) for result in results} == {(0, 200)}


async def test_hot_words_and_the_language_reach_the_model() -> None:
    options = FunASRNano(hotwords=["Morning", "YOU"], language="en", replacements={"how": "How"})
    async with vendor_server(WORDS, *OFTEN) as port:
        events = await events_of(port, options, pace=None)
    assert [text for text, _, _ in finals(events)] == ["en: good Morning", "en: How are YOU"]


async def test_commits_end_utterances() -> None:
    async with vendor_server(WORDS, *OFTEN, "--endpoint-mode", "client") as port:
        service = FunASRServer(f"ws://127.0.0.1:{port}")
        async with connect(FunASRNano(manual_commit=True), service) as session:
            for begin, end in itertools.pairwise((0, 700, 2_120, 4_000)):
                await session.send(SOURCE[begin * 32 : end * 32])
                await session.commit()
            await session.finish()
            events = [event async for event in session.events()]
    assert finals(events) == [("good", 0, 700), ("morning how", 700, 2_120), ("are you", 2_120, 4_000)]


@pytest.mark.parametrize(
    ("server_options", "options", "text"),
    [
        ((), FunASRNano(manual_commit=True), "start the server with --endpoint-mode client, or leave manual_commit"),
        (("--endpoint-mode", "client"), FunASRNano(), "this server was started with --endpoint-mode client"),
    ],
)
async def test_a_server_in_the_other_mode_is_refused(
    server_options: tuple[str, ...], options: FunASRNano, text: str
) -> None:
    async with vendor_server(WORDS, *server_options) as port:
        with pytest.raises(VendorError, match=text) as caught:
            await events_of(port, options)
    assert not caught.value.retryable


async def test_a_model_that_is_not_loaded_ends_the_connection() -> None:
    """The server loads its models with the first client if they are not there."""
    async with vendor_server(WORDS, "--without-models") as port:
        with pytest.raises(ConnectionLostError) as caught:
            async with connect(FunASRNano(), FunASRServer(f"ws://127.0.0.1:{port}"), retry=Retry(attempts=0)):
                pass
    assert "1011" in str(caught.value)


async def test_a_killed_connection_is_replaced() -> None:
    async with vendor_server(WORDS, *OFTEN) as port:
        proxy = TcpProxy(port, [NetworkPath(fault="abort", after_bytes=60_000)])
        async with proxy.serving():
            events = await events_of(proxy.port, pace=None)
    assert sum(isinstance(event, Reconnected) for event in events) == 1
    assert [text for text, _, _ in finals(events)] == ["good morning", "how are you"]


async def test_no_promise_is_broken_by_cuts() -> None:
    """Each connection of a session is aborted at another place."""
    scripts = [draw_script(random.Random(seed), 8_000, repeated=0.0) for seed in range(3)]
    total = Counts()
    for seed, script in enumerate(scripts):
        words = [(word.text, word.start_ms, word.end_ms) for word in script.words]
        async with vendor_server(words, *OFTEN) as port:
            for session in range(4):
                outcome, cuts = await cut_session(port, script, random.Random(f"{seed} {session}"))
                counts, notes = count(outcome)
                assert counts.broken == {}, (seed, session, notes)
                total.add(counts)
                total.cuts += cuts
    assert total.cuts >= 12


async def cut_session(port: int, script: Script, rng: random.Random) -> tuple[Outcome, int]:
    """Return the outcome of a session, and the number of its connections that were lost."""
    audio, outcome = numbered_audio("pcm", script.length_ms, rng), Outcome(script=script)
    lengths = [rng.randrange(20_000, 120_000) for _ in range(rng.randrange(1, 5))]
    proxy = TcpProxy(port, [NetworkPath(fault="abort", after_bytes=length) for length in lengths])
    async with proxy.serving():
        service = FunASRServer(f"ws://127.0.0.1:{proxy.port}")
        async with Client(service, retry=QUICK) as client, client.session(FunASRNano()) as session:
            async for event in session.events([audio], pace=rng.choice((None, 40.0))):
                outcome.events.append(event)
            return outcome, session.stats.reconnects
