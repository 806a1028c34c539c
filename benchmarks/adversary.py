"""An adversary for the promise that no word is lost in silence: recognisers that behave as badly as real ones do.

Each session streams numbered audio with words at known places to scripted servers of its own (`hostile/`). On every
connection they draw the boundaries of sentences anew over the audio that they are sent; times are off by up to 100 ms,
noise becomes an interim that is never final, finals are late, repeated or out of order, ids repeat or are missing, and
connections end at random places: aborted, closed, or with an error that passes. What became of each word is counted.
The unstable vendors have a small vocabulary, decide otherwise about numbers ("25", "twenty five"), send the last final
again in other words after a reconnect, are off by up to 200 ms in finals, and refuse connections for some time.

    python benchmarks/adversary.py --cuts 1000 --scenario all --seed 1
    python benchmarks/adversary.py --scenario huawei --session 1234567 --show 1

A connection recognises each word of which it has received the middle; of less, it may recognise the word if it has
received more than a quarter. Everything follows from the seed except the order in which the two sides run; a session
that went wrong is printed with its own seed (`--show`), with which it is run again (`--session`).

Exit status 1 if a promise is broken: a word lost, doubled without a mark, in the wrong order, a translation lost or at
a wrong segment, a segment without its end, a session that failed or ended as if it were whole.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import random
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from asr_async import (
    ASRError,
    Client,
    DashScope,
    Fallback,
    FunASR,
    FunASR2Pass,
    FunASRNano,
    FunASRServer,
    Gummy,
    Huawei,
    Limits,
    OpenAI,
    OpenAIRealtime,
    Paraformer,
    QwenRealtime,
    Rasr,
    Retry,
    Session,
    Timeouts,
    VendorError,
)
from asr_async.sources import UtteranceEnd
from hostile.audio import PER_MS, numbered_audio
from hostile.count import MOST_JITTER_MS, Counts, Outcome, count
from hostile.recogniser import Habits
from hostile.script import Script, draw_script, draw_spoken_script
from hostile.vendors import FUNASR_PATH, LANGUAGE, World, connection_for

CONCURRENT = 24
SESSION_S = 60.0
"""The longest time of a session of some seconds: one that takes longer hangs."""

TIMEOUTS = Timeouts(connect=5, start=5, idle=5, finish=5, translation=0.2, close=1)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of vendor, and the sessions that meet it."""

    habits: Callable[[random.Random], Habits]
    vendor: str = "dashscope"
    audio_format: str = "pcm"
    source_ms: int = 15_000
    breaks: int = 6
    """The most connections of a session that are ended."""
    rotates: bool = False
    commits: bool = False
    has_words: bool = False
    """Huawei is asked for the times of words in each session; else in every other one."""
    dies: float = 0.0
    script: Callable[[random.Random, int], Script] | None = None
    """Draws the words; None for words of which some are repeated."""
    counts_translations: bool = True
    paces: tuple[float | None, ...] = (None, 30.0, 60.0)
    delivers_in_order: bool = True
    """The vendor makes sentences final in their order, so that results are delivered in it."""


def _common(rng: random.Random) -> dict[str, Any]:
    """Draw the habits that every vendor may have."""
    return {
        "jitter_ms": rng.choice((0, 30, 100)),
        "jitters_each_message": rng.random() < 0.5,
        "late": rng.choice((0.0, 0.3)),
        "repeats": rng.choice((0.0, 0.15)),
        "repeats_exactly": rng.random() < 0.7,
        "never_final": 0.1,
        "punctuates": rng.random() < 0.5,
        "splits_less": rng.random() < 0.3,
        "stale": rng.random() < 0.5,
    }


def _paraformer(rng: random.Random) -> Habits:
    return Habits(
        **_common(rng),
        ids=rng.choice(("count", "zero", "same", "sticky", "restart", "missing")),
        word_times=rng.choice(("always", "always", "finals", "never")),
        missing_ends=rng.choice((0.0, 0.0, 0.3)),
        far_ends=rng.choice((0.0, 0.0, 0.3)),
        missing_starts=rng.choice((0.0, 0.0, 0.1)),
        drops=rng.choice((0.0, 0.05)),
    )


def _paraformer_noise(rng: random.Random) -> Habits:
    return Habits(
        **_common(rng),
        ids=rng.choice(("count", "zero", "sticky", "restart", "missing")),
        word_times=rng.choice(("always", "always", "finals", "never")),
        noise=0.5,
        drops=0.05,
    )


def _words_always(rng: random.Random) -> Habits:
    """Return Paraformer as it is documented: with the times of all words."""
    return Habits(**_common(rng), word_times="always", noise=rng.choice((0.0, 0.3)))


def _huawei(rng: random.Random) -> Habits:
    return Habits(
        **{**_common(rng), "late": 0.4},
        is_sequential=False,
        noise=rng.choice((0.0, 0.3)),
        missing_ends=rng.choice((0.0, 0.0, 0.3)),
        far_ends=rng.choice((0.0, 0.0, 0.3)),
        missing_starts=rng.choice((0.0, 0.0, 0.1)),
    )


def _qwen(rng: random.Random, **habits: Any) -> Habits:
    common = _common(rng)
    return Habits(**{**common, "is_sequential": True, "unanswered": 0.2, **habits})


def _qwen_coughs(rng: random.Random) -> Habits:
    return _qwen(rng, coughs=0.4, noise=rng.choice((0.0, 0.2)))


def _qwen_order(rng: random.Random) -> Habits:
    return _qwen(rng, is_sequential=False, late=0.5, coughs=0.15)


def _qwen_commits(rng: random.Random) -> Habits:
    return _qwen(rng, is_sequential=False, late=0.3, never_final=0.0, unanswered=0.0)


def _openai(rng: random.Random) -> Habits:
    noise, coughs = rng.choice((0.0, 0.2)), rng.choice((0.0, 0.2))
    return _qwen(rng, is_sequential=False, late=0.4, never_final=0.0, unanswered=0.0, noise=noise, coughs=coughs)


def _gummy(rng: random.Random) -> Habits:
    return Habits(
        **_common(rng),
        ids=rng.choice(("count", "zero", "zero", "restart")),
        word_times=rng.choice(("always", "always", "never")),
        noise=rng.choice((0.0, 0.3)),
        translates=True,
    )


def _funasr_realtime(rng: random.Random) -> Habits:
    return Habits(
        **_common(rng),
        noise=rng.choice((0.0, 0.3)),
        redivides=rng.choice((0.0, 0.2)),
        window_words=rng.choice((0, 0, 4)),
    )


def _funasr_2pass(rng: random.Random) -> Habits:
    common = _common(rng)
    # The Python server gives no times.
    return Habits(**{**common, "word_times": rng.choice(("always", "always", "never")), "repeats": 0.0})


def _failover(rng: random.Random) -> Habits:
    return Habits(**_common(rng), noise=rng.choice((0.0, 0.3)))


def _unstable(rng: random.Random, **habits: Any) -> Habits:
    """Return a vendor that decides otherwise the second time: about words, numbers, places and boundaries."""
    common: dict[str, Any] = {
        **_common(rng),
        "word_times": rng.choice(("always", "finals", "never")),
        "missing_ends": rng.choice((0.0, 0.0, 0.3)),
        "rewrites": rng.choice((0.0, 0.5)),
        "final_shift_ms": rng.choice((0, 100)),
        "resends": rng.choice((0.0, 0.5)),
    }
    return Habits(**{**common, **habits})


SCENARIOS: dict[str, Scenario] = {
    "paraformer": Scenario(habits=_paraformer),
    "paraformer-words": Scenario(habits=_words_always),
    "paraformer-noise": Scenario(habits=_paraformer_noise),
    "huawei": Scenario(habits=_huawei, vendor="huawei", delivers_in_order=False),
    "huawei-words": Scenario(habits=_huawei, vendor="huawei", has_words=True, delivers_in_order=False),
    "qwen-coughs": Scenario(habits=_qwen_coughs, vendor="qwen"),
    "qwen-order": Scenario(habits=_qwen_order, vendor="qwen", delivers_in_order=False),
    "qwen-commits": Scenario(habits=_qwen_commits, vendor="qwen", commits=True, delivers_in_order=False),
    "openai": Scenario(habits=_openai, vendor="openai", audio_format="pcm24k", delivers_in_order=False),
    "openai-commits": Scenario(
        habits=_qwen_commits, vendor="openai", audio_format="pcm24k", commits=True, delivers_in_order=False
    ),
    "gummy": Scenario(habits=_gummy),
    "funasr-realtime": Scenario(habits=_funasr_realtime, vendor="funasr-realtime"),
    "funasr-2pass": Scenario(habits=_funasr_2pass, vendor="funasr-2pass"),
    "mp3": Scenario(habits=_paraformer, audio_format="mp3"),
    "opus": Scenario(habits=_paraformer, audio_format="opus"),
    "rotation": Scenario(habits=_paraformer_noise, rotates=True, breaks=3, paces=(30.0, 60.0)),
    "rotation-2pass": Scenario(
        habits=lambda rng: Habits(**{**_common(rng), "repeats": 0.0, "never_final": 0.0}, word_times="always"),
        vendor="funasr-2pass",
        rotates=True,
        breaks=3,
        paces=(30.0, 60.0),
    ),
    "failover": Scenario(
        habits=_failover, vendor="both", dies=0.6, source_ms=25_000, paces=(8.0, 15.0), delivers_in_order=False
    ),
    "unstable-paraformer": Scenario(habits=_unstable, script=draw_spoken_script, dies=0.2),
    "unstable-funasr": Scenario(habits=_unstable, vendor="funasr", script=draw_spoken_script, dies=0.2),
    "unstable-funasr-realtime": Scenario(
        habits=lambda rng: _unstable(rng, window_words=rng.choice((0, 4))),
        vendor="funasr-realtime",
        script=draw_spoken_script,
        dies=0.2,
    ),
    "unstable-gummy": Scenario(
        habits=lambda rng: _unstable(rng, translates=True),
        script=draw_spoken_script,
        dies=0.2,
        counts_translations=False,
    ),
    "unstable-huawei": Scenario(
        habits=lambda rng: _unstable(rng, is_sequential=False),
        vendor="huawei",
        script=draw_spoken_script,
        dies=0.2,
        delivers_in_order=False,
    ),
    "unstable-qwen": Scenario(
        habits=lambda rng: _unstable(rng, is_sequential=False, resends=0.0),
        vendor="qwen",
        script=draw_spoken_script,
        dies=0.2,
        delivers_in_order=False,
    ),
}


# --- one session -----------------------------------------------------------------------------------------------------


class Servers:
    """The server of all sessions: a session is found by its key or its project id."""

    def __init__(self) -> None:
        self.worlds: dict[str, World] = {}
        self.port = 0

    async def handle(self, ws: ServerConnection) -> None:
        world = self._world(ws.request)
        if world is not None and ws.request is not None:
            with suppress(ConnectionClosed):  # the client may leave at any time
                await connection_for(world, ws, ws.request.path).run()

    def refuse_the_dead(self, ws: ServerConnection, request: Request) -> Response | None:
        """Refuse a handshake while the vendor is down."""
        world = self._world(request)
        vendor = "huawei" if "/rasr/" in request.path else "funasr" if request.path == FUNASR_PATH else "dashscope"
        if world is None or world.dead.get(vendor, 0) <= 0:
            return None
        world.dead[vendor] -= 1
        return ws.respond(HTTPStatus.SERVICE_UNAVAILABLE, "down\n")

    def _world(self, request: Request | None) -> World | None:
        if request is None:
            return None
        named = re.search(r"/v1/(s\d+)/", request.path) or re.search(r"(s\d+)", request.headers["Authorization"])
        return None if named is None else self.worlds.get(named[1])


@asynccontextmanager
async def running_servers() -> AsyncIterator[Servers]:
    servers = Servers()
    async with serve(
        servers.handle,
        "127.0.0.1",
        0,
        process_request=servers.refuse_the_dead,
        subprotocols=[Subprotocol("binary")],
        select_subprotocol=lambda _, offered: offered[0] if offered else None,
        ping_interval=None,
        compression=None,
        close_timeout=1,
    ) as server:
        servers.port = _port_of(server)
        yield servers


def _port_of(server: Server) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port


def make_world(scenario: Scenario, seed: int) -> World:
    """Return the vendors of the session with this seed."""
    rng = random.Random(seed)
    if scenario.script is not None:
        script = scenario.script(rng, scenario.source_ms)
    else:
        script = draw_script(rng, scenario.source_ms, repeated=rng.choice((0.0, 0.1, 0.25)))
    return World(
        seed=seed,
        script=script,
        habits=scenario.habits(rng),
        breaks=rng.randrange(scenario.breaks + 1),
        break_reach_ms=rng.choice((2_500, 7_000)),
        dies=scenario.dies,
    )


class OneSession:
    """One session: its vendors, its audio, and what the library delivered."""

    def __init__(self, servers: Servers, scenario: Scenario, seed: int) -> None:
        self._servers = servers
        self._scenario = scenario
        self._seed = seed
        self._rng = random.Random(f"{seed} client")
        self.world = make_world(scenario, seed)
        self._audio = numbered_audio(scenario.audio_format, scenario.source_ms, self._rng)
        self._pace = self._rng.choice(scenario.paces)
        self._is_transcription = not scenario.commits and not self.world.habits.translates and self._rng.random() < 0.25
        is_translated = self.world.habits.translates and scenario.counts_translations
        self.outcome = Outcome(
            script=self.world.script,
            wants_translation=LANGUAGE if is_translated else "",
            jitter_ms=MOST_JITTER_MS + self.world.habits.final_shift_ms,
            has_times=scenario.vendor != "funasr-2pass" or self.world.habits.word_times != "never",
        )
        self.counts = Counts()
        self.notes: list[str] = []

    async def run(self) -> None:
        name = f"s{self._seed}"
        self._servers.worlds[name] = self.world
        try:
            async with asyncio.timeout(SESSION_S):
                await self._stream(name)
        except ASRError as error:
            self.outcome.error = error
        except TimeoutError:
            self.outcome.error = ASRError(f"the session hangs: it takes longer than {SESSION_S:g} s")
        except Exception as error:  # noqa: BLE001 - counted: no other error may leave a session
            self.outcome.error = error
        finally:
            del self._servers.worlds[name]
        world = self.world
        self.outcome.unanswered = [
            word
            for connection in world.connections
            if connection.end == "finished"
            for sentence in connection.unanswered
            for word in sentence.words
        ]
        self.counts, self.notes = count(self.outcome)
        self.counts.connections = len(world.connections)
        self.counts.cuts = sum(connection.end in {"abort", "close", "error"} for connection in world.connections)
        for connection in world.connections:
            for place in connection.reader.breaks[:3]:
                self.notes.append(f"the audio of connection {connection.number} does not continue: {place}")

    async def _stream(self, name: str) -> None:
        service, options = self._service(name)
        retry = Retry(
            attempts=60, max_delay_s=0.02, rotate_after=self._rng.choice((2.0, 4.0)) if self._scenario.rotates else None
        )
        limits = Limits(starts_per_second=None)
        async with Client(service, timeouts=TIMEOUTS, retry=retry, limits=limits) as client:
            if self._rng.random() < 0.2:
                await self._use_before(client, options)
            if self._is_transcription:
                await self._transcribe(client, options)
                return
            async with client.session(options) as session:
                if self._rng.random() < (0.5 if self._scenario.commits else 0.2):
                    await self._push_and_collect(session)
                    return
                async for event in session.events(self._chunks(), pace=self._pace):
                    self.outcome.events.append(event)

    async def _push_and_collect(self, session: Session) -> None:
        pushing = asyncio.create_task(self._push(session))
        try:
            async for event in session.events():
                self.outcome.events.append(event)
        finally:
            pushing.cancel()
            await asyncio.wait([pushing])

    def _service(self, name: str) -> tuple[Any, Any]:
        url = f"ws://127.0.0.1:{self._servers.port}"
        dashscope = DashScope(f"sk-{name}", endpoint=f"{url}/api-ws/v1/inference")
        huawei = Huawei(ak="ak", sk="sk", project_id=name, region="r", endpoint=url)
        own = FunASRServer(f"{url}{FUNASR_PATH}", api_key=f"sk-{name}")
        audio_format = self._scenario.audio_format.removesuffix("24k")  # the options have the rate
        rng, commits = self._rng, self._scenario.commits
        rasr = Rasr(need_word_info=self._scenario.has_words or rng.random() < 0.5)
        if self._scenario.vendor == "both":
            members: list[tuple[Any, Any]] = [(dashscope, Paraformer()), (huawei, rasr)]
            fallback = Fallback(members if rng.random() < 0.5 else members[::-1], cooldown_s=0.3)
            return fallback, fallback.options
        if self.world.habits.translates:
            return dashscope, Gummy(translation_target_languages=[LANGUAGE])
        pairs: dict[str, tuple[Any, Any]] = {
            "dashscope": (dashscope, Paraformer(format=audio_format)),
            "funasr": (dashscope, FunASR(format=audio_format)),
            "funasr-realtime": (own, FunASRNano()),
            "funasr-2pass": (own, FunASR2Pass(hotwords=["bago"])),
            "huawei": (huawei, rasr),
            "qwen": (dashscope, QwenRealtime(manual_commit=commits)),
            "openai": (OpenAI(f"sk-{name}", endpoint=f"{url}/v1/realtime"), OpenAIRealtime(manual_commit=commits)),
        }
        return pairs[self._scenario.vendor]

    async def _use_before(self, client: Client, options: Any) -> None:
        """Run another session first, which leaves its connection in the pool."""
        breaks, self.world.breaks = self.world.breaks, 0
        with suppress(VendorError):  # there may be no speech in it
            async with client.session(options) as session:
                async for _ in session.stream([self._audio[:9_600]], pace=None):
                    pass
        self.world.breaks, self.world.used_before = breaks, len(self.world.connections)

    async def _transcribe(self, client: Client, options: Any) -> None:
        try:
            transcript = await client.transcribe(self._chunks(), options, pace=self._pace)
        except ASRError as error:
            if error.transcript is not None:
                self.outcome.results, self.outcome.gaps = error.transcript.results, error.transcript.gaps
            raise
        self.outcome.results, self.outcome.gaps = transcript.results, transcript.gaps
        self.outcome.transcript_text = transcript.text

    async def _chunks(self) -> AsyncIterator[bytes]:
        """Yield the source in chunks of random sizes; compressed audio, which is not paced, at its own pace."""
        audio, rng, at = self._audio, self._rng, 0
        bytes_per_s = 2_000 if self._scenario.audio_format == "opus" else 4_000
        per_ms = PER_MS.get(self._scenario.audio_format)
        is_compressed = per_ms is None
        commits = [place_ms * 2 * (per_ms or 0) for place_ms in self._commit_places()]
        while at < len(audio):
            size = rng.choice((1, 333, 1_000, 3_200, 10_000, 40_000)) // (8 if is_compressed else 1) + 1
            if commits and at + size >= commits[0]:
                yield audio[at : (at := commits.pop(0))]
                yield UtteranceEnd()
                continue
            yield audio[at : at + size]
            at += size
            if is_compressed and self._pace is not None:
                await asyncio.sleep(size / bytes_per_s / self._pace)

    async def _push(self, session: Session) -> None:
        """Push the source at its pace; the loop over the events gets the errors."""
        with suppress(ASRError):
            async for chunk in self._chunks():
                if isinstance(chunk, UtteranceEnd):
                    await session.commit()
                    continue
                await session.send(chunk)
                if self._pace is not None:
                    await asyncio.sleep(len(chunk) / 32_000 / self._pace)
            await session.finish()

    def _commit_places(self) -> list[int]:
        """Return the places of the caller's commits: in most of the pauses, and some inside speech."""
        if not self._scenario.commits:
            return []
        words, rng = self.world.script.words, self._rng
        places_ms = []
        for word, following in itertools.pairwise(words):
            pause_ms = following.start_ms - word.end_ms
            if rng.random() < (0.9 if pause_ms > 250 else 0.05):
                places_ms.append(word.end_ms + pause_ms // 2)
        return places_ms

    def report(self) -> str:
        """Return the messages of both sides, with which a reader finds out what went wrong."""
        world, lines = self.world, [f"=== seed {self._seed}: {self.counts.broken or 'as promised'}"]
        lines += [f"    ! {note}" for note in self.notes]
        lines.append(f"    pace {self._pace}, {world.habits}")
        lines.append(f"    words: {world.script}")
        for connection in world.connections:
            lines.append(f"    connection {connection.number} ({connection.vendor}) from {connection.begin_ms} ms:")
            lines += [f"      {at_ms:>6} {_shortened(text)}" for at_ms, text in connection.sent]
            lines.append(f"      {connection.reader.end_ms:>6} {connection.end}")
        lines.append("    delivered:")
        lines += [f"      {_event_line(event)}" for event in self.outcome.events or self.outcome.results]
        return "\n".join(lines)


def _shortened(text: str) -> str:
    """Return the part of a message that differs from message to message."""
    message = json.loads(text)
    message.get("header", {}).pop("task_id", None)
    message.pop("event_id", None)
    message.pop("trace_id", None)
    if message.get("header", {}).get("event") == "result-generated":
        message = message["payload"]["output"]
    return re.sub(r'[{"]words": \[.{80}.*?\]', '"words": [...]', json.dumps(message, ensure_ascii=False))


def _event_line(event: Any) -> str:
    values = {name: getattr(event, name) for name in event.__struct_fields__ if name not in {"raw", "request_id"}}
    kept = {
        name: value for name, value in values.items() if value not in (None, (), {}, "", False) or name == "is_final"
    }
    kept.pop("words", None)
    return f"{type(event).__name__} {kept}"


# --- many sessions ---------------------------------------------------------------------------------------------------


async def run(name: str, *, seed: int, cuts: int, show: int = 0, session: int | None = None) -> Counts:
    """Run sessions of one scenario until this number of connections was cut; print the first that went wrong."""
    scenario, total = SCENARIOS[name], Counts()
    rng = random.Random(f"{seed} {name}")
    shown = 0

    def count_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        total.exceptions += 1
        if show:
            print(f"an exception in the event loop: {context.get('exception')!r}", flush=True)

    asyncio.get_running_loop().set_exception_handler(count_exception)
    async with running_servers() as servers:

        async def work() -> None:
            nonlocal shown
            while total.cuts < cuts:
                one = OneSession(servers, scenario, rng.randrange(2**31) if session is None else session)
                await one.run()
                total.add(one.counts)
                if one.counts.broken and shown < show:
                    shown += 1
                    print(one.report(), flush=True)
                if session is not None:
                    return

        async with asyncio.TaskGroup() as tasks:
            for _ in range(1 if session is not None else CONCURRENT):
                tasks.create_task(work())
    return total


COLUMNS = {
    "sessions": "sessions",
    "cuts": "cuts",
    "words": "words",
    "lost": "lost",
    "withdrawn": "(withdrawn)",
    "behind_gap": "in gaps",
    "false_gap": "(false)",
    "doubled": "doubled",
    "doubled_marked": "(marked)",
    "invented": "invented",
    "unordered": "order",
    "delivered_unordered": "(delivered)",
    "misplaced": "(place)",
    "ids": "ids",
    "translations_lost": "tr. lost",
    "translations_wrong": "tr. wrong",
    "starts": "starts",
    "interims": "interims",
    "errors": "errors",
    "behind_error": "(words)",
    "exceptions": "exc.",
    "wrong_ends": "wrong ends",
}


def table(rows: dict[str, Counts]) -> str:
    """Return the counts of each scenario as a table; columns in parentheses are no broken promises by themselves."""
    width = max(map(len, rows))
    titles = [*COLUMNS.values(), "repeat %", "unconf. %"]
    lines = [" ".join([" " * width, *titles])]
    for name, counts in rows.items():
        values = [getattr(counts, column) for column in COLUMNS]
        shares = [100 * number / max(counts.finals, 1) for number in (counts.marked, counts.unconfirmed)]
        cells = [*map(str, values), *(f"{share:.1f}" for share in shares)]
        lines.append(" ".join([name.ljust(width), *(c.rjust(len(t)) for c, t in zip(cells, titles, strict=True))]))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, run, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="decides everything that is random (default: %(default)s)")
    parser.add_argument("--cuts", type=int, default=1_000, help="connections to cut (default: %(default)s)")
    parser.add_argument(
        "--scenario", choices=[*SCENARIOS, "all"], action="append", help="may be given several times (default: all)"
    )
    parser.add_argument("--session", type=int, help="run the one session with this seed")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N sessions that went wrong")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    names = options.scenario or ["all"]
    rows: dict[str, Counts] = {}
    for name in SCENARIOS if "all" in names else names:
        began_at = time.monotonic()
        rows[name] = asyncio.run(
            run(name, seed=options.seed, cuts=options.cuts, show=options.show, session=options.session)
        )
        if not options.json:
            print(f"{name}: {time.monotonic() - began_at:.0f} s, {rows[name].broken or 'as promised'}", file=sys.stderr)
    print(json.dumps({name: asdict(counts) for name, counts in rows.items()}) if options.json else table(rows))
    return 1 if any(counts.broken for counts in rows.values()) else 0


if __name__ == "__main__":
    logging.getLogger("asr_async").setLevel(logging.ERROR)  # some lost connections are a warning
    sys.exit(main())
