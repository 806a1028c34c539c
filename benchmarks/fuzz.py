"""A structure-aware fuzzer of vendor messages: mutated conversations through all codecs, and through whole sessions.

A conversation is the messages of one vendor task, with the client's steps between. It begins well-formed, in each
protocol and mode, and is then damaged: types and bounds of members, missing and extra members, ids, times, the order of
messages, and the text itself. Whatever comes, only an `ASRError` may be raised, each event is well-typed, each final
with its needed members as documented arrives, and each segment starts, ends and becomes final once at most. No call is
slow, and memory stays flat. Sessions moreover end within their deadlines, and their results end behind their start.

    python benchmarks/fuzz.py --messages 1000000 --session-messages 10000
    python benchmarks/fuzz.py --replay paraformer conversation.txt

A conversation that breaks a rule is printed in its smallest form, one message per line, which `--replay` reads. The
same seed gives the same conversations. Exit status 1 if a rule is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from fuzzing import codecs, sessions
from fuzzing.conversations import CONNECTION_ENDS, PROTOCOLS, Protocol, foreign_messages
from fuzzing.mutations import Step
from fuzzing.rules import BrokenRuleError
from fuzzing.shrinking import from_text, shrink, to_text

MAX_REPORTS = 10
"""The most broken rules that are reported; each of a protocol counts once."""

LONG_SHARE = 0.1
"""The share of the messages that is sent in one long task per protocol."""

MAX_GROWTH_MIB = 32.0
"""The most that the process may grow after the first fifth of a run: pages that the allocator keeps, but no leak."""

CONCURRENT = 16
"""The sessions that run at the same time."""

Runner = Callable[[Protocol, list[Step]], None]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A broken rule, with the smallest conversation that breaks it."""

    rule: str
    detail: str
    protocol: str
    part: str
    """"codec", "long task" or "session"."""
    seed: int
    conversation: str


class Outcome(msgspec.Struct, kw_only=True):
    """The sums of a run."""

    messages: int = 0
    conversations: int = 0
    codec_seconds: float = 0.0
    session_messages: int = 0
    sessions: int = 0
    session_errors: dict[str, int] = {}
    """The class of the error, "none" for a normal end → the number of sessions that ended with it."""
    longest_session_s: float = 0.0
    session_seconds: float = 0.0
    growth_mib: float = 0.0
    findings: list[Finding] = []
    broken: dict[str, int] = {}
    """Protocol and rule → the number of conversations that have broken it."""

    @property
    def is_good(self) -> bool:
        """True if no rule is broken."""
        return not self.broken

    def record(self, part: str, protocol: Protocol, seed: int, steps: list[Step], broken: BrokenRuleError) -> None:
        """Count a broken rule; the first conversation of its kind is shrunk and kept."""
        key = f"{protocol.name}: {broken.rule}"
        self.broken[key] = self.broken.get(key, 0) + 1
        if self.broken[key] > 1 or len(self.findings) >= MAX_REPORTS:
            return
        runner, tries = RUNNERS[part]

        def breaks(shorter: list[Step]) -> bool:
            return rule_broken_by(runner, protocol, shorter) == broken.rule

        text = to_text(shrink(steps, breaks, max_tries=tries))
        finding = Finding(
            rule=broken.rule, detail=str(broken), protocol=protocol.name, part=part, seed=seed, conversation=text
        )
        self.findings.append(finding)

    def record_memory(self, baseline_mib: float) -> None:
        """Check that the process has not grown much."""
        self.growth_mib = max(self.growth_mib, round(rss_mib() - baseline_mib, 1))
        if self.growth_mib > MAX_GROWTH_MIB:
            self.broken["memory is flat"] = 1


def rule_broken_by(runner: Runner, protocol: Protocol, steps: list[Step]) -> str | None:
    """Return the rule that a conversation breaks; None if it breaks none."""
    try:
        runner(protocol, steps)
    except BrokenRuleError as broken:
        return broken.rule
    return None


def run_codec(protocol: Protocol, steps: list[Step]) -> None:
    """Run one conversation through a codec."""
    codecs.run(protocol, steps)


def run_long_task(protocol: Protocol, steps: list[Step]) -> None:
    """Run one conversation through a codec that goes on behind a refused message."""
    codecs.run(protocol, steps, goes_on=True)


def run_session(protocol: Protocol, steps: list[Step]) -> None:
    """Run one session."""

    async def run() -> None:
        async with sessions.Vendor().serving() as vendor:
            await sessions.run(vendor, "s", protocol, steps)

    asyncio.run(run())


RUNNERS: dict[str, tuple[Runner, int]] = {
    "codec": (run_codec, 2_000),
    "long task": (run_long_task, 500),
    "session": (run_session, 60),
}
"""Part of the run → the function that repeats a conversation, and the most times that shrinking calls it."""


def fuzz_codecs(protocols: Sequence[Protocol], seed: int, messages: int, outcome: Outcome) -> None:
    """Send mutated conversations through the codecs, until there were this many messages."""
    foreign, began_at, baseline_mib = foreign_messages(), time.perf_counter(), 0.0
    for number, protocol in zip(itertools.count(), itertools.cycle(protocols), strict=False):
        if outcome.messages >= messages * (1 - LONG_SHARE):
            break
        if not baseline_mib and outcome.messages >= messages / 5:
            baseline_mib = rss_mib()
        conversation_seed = seed * 1_000_003 + number
        steps = codecs.conversation(protocol, conversation_seed, foreign)
        try:
            outcome.messages += codecs.run(protocol, steps)
        except BrokenRuleError as broken:
            outcome.messages += len(steps)
            outcome.record("codec", protocol, conversation_seed, steps, broken)
        outcome.conversations += 1
    for protocol in protocols:
        count = int(messages * LONG_SHARE / len(protocols))
        steps = list(itertools.islice(codecs.long_conversation(protocol, seed, foreign), count))
        try:
            codecs.run(protocol, steps, goes_on=True)
        except BrokenRuleError as broken:
            outcome.record("long task", protocol, seed, steps, broken)
        outcome.messages += len(steps)
        outcome.conversations += 1
    outcome.record_memory(baseline_mib)
    outcome.codec_seconds = round(time.perf_counter() - began_at, 1)


def fuzz_sessions(protocols: Sequence[Protocol], seed: int, messages: int, outcome: Outcome) -> None:
    """Send mutated conversations through sessions, until the server has sent this many messages."""
    began_at = time.perf_counter()
    for broken, protocol, session_seed, steps in asyncio.run(_run_sessions(protocols, seed, messages, outcome)):
        outcome.record("session", protocol, session_seed, steps, broken)
    outcome.session_seconds = round(time.perf_counter() - began_at, 1)


Broken = tuple[BrokenRuleError, Protocol, int, list[Step]]


async def _run_sessions(protocols: Sequence[Protocol], seed: int, messages: int, outcome: Outcome) -> list[Broken]:
    foreign, numbers, broken_sessions = foreign_messages(), itertools.count(), list[Broken]()
    leaks: list[str] = []
    baseline_mib: list[float] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: leaks.append(str(context)))

    async def run_some(vendor: sessions.Vendor) -> None:
        while vendor.messages < messages:
            if not baseline_mib and vendor.messages >= messages / 5:
                baseline_mib.append(rss_mib())
            number = next(numbers)
            protocol, session_seed = protocols[number % len(protocols)], seed * 1_000_003 + number
            steps = sessions.plan_of(protocol, session_seed, foreign)
            try:
                ended = await sessions.run(vendor, f"s{number}", protocol, steps)
                error = ended.error or "none"
                outcome.session_errors[error] = outcome.session_errors.get(error, 0) + 1
                outcome.longest_session_s = max(outcome.longest_session_s, round(ended.seconds, 1))
                sessions.check_leaks(leaks)
            except BrokenRuleError as broken:
                broken_sessions.append((broken, protocol, session_seed, steps))
            outcome.sessions += 1

    async with sessions.Vendor().serving() as vendor:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONCURRENT):
                tasks.create_task(run_some(vendor))
        outcome.session_messages = vendor.messages
    outcome.record_memory(baseline_mib[0] if baseline_mib else rss_mib())
    return broken_sessions


def rss_mib() -> float:
    """Return the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def report(outcome: Outcome) -> None:
    """Print what was run, and each broken rule."""
    for finding in outcome.findings:
        print(f"--- {finding.protocol}, {finding.part}, seed {finding.seed}: {finding.detail}")
        print(finding.conversation)
    print(
        f"{outcome.messages} messages in {outcome.conversations} tasks, {outcome.codec_seconds} s;"
        f" {outcome.session_messages} messages in {outcome.sessions} sessions, {outcome.session_seconds} s,"
        f" the longest took {outcome.longest_session_s} s"
    )
    print(f"errors of sessions: {outcome.session_errors}")
    print(f"memory grew by {outcome.growth_mib} MiB; {sum(outcome.broken.values())} rules broken")
    for key, count in sorted(outcome.broken.items()):
        print(f"{count:7} {key}")


def replay(name: str, path: str) -> int:
    """Run a printed conversation once more, in each part of which it may be; return the exit status."""
    (protocol,) = [protocol for protocol in PROTOCOLS if protocol.name == name]
    steps = from_text(Path(path).read_text())
    is_session = any(step in CONNECTION_ENDS for step in steps)
    try:
        (run_session if is_session else run_codec)(protocol, steps)
    except BrokenRuleError as broken:
        print(broken)
        return 1
    print("no rule broken")
    return 0


def main(arguments: list[str] | None = None, protocols: Sequence[Protocol] = PROTOCOLS) -> int:
    """Parse the arguments, run, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="decides the conversations (default: %(default)s)")
    parser.add_argument(
        "--messages", type=int, default=100_000, help="messages through the codecs (default: %(default)s)"
    )
    parser.add_argument(
        "--session-messages", type=int, default=2_000, help="messages through sessions (default: %(default)s)"
    )
    parser.add_argument("--protocols", nargs="+", help="only these: " + ", ".join(p.name for p in protocols))
    parser.add_argument("--replay", nargs=2, metavar=("PROTOCOL", "FILE"), help="run a printed conversation instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if options.replay:
        return replay(*options.replay)
    chosen = [protocol for protocol in protocols if not options.protocols or protocol.name in options.protocols]
    if not chosen:
        parser.error("no such protocol")
    outcome = Outcome()
    if options.messages:
        fuzz_codecs(chosen, options.seed, options.messages, outcome)
    if options.session_messages:
        fuzz_sessions(chosen, options.seed, options.session_messages, outcome)
    if options.json:
        print(json.dumps(msgspec.to_builtins(outcome)))
    else:
        report(outcome)
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    logging.getLogger("asr_async").setLevel(logging.CRITICAL)
    sys.exit(main())
