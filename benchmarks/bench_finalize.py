"""The delay from `session.finalize()` to the final result, on each vendor's protocol, against the emulator.

One session pushes utterances of half a second, without silence behind them, and finalizes each when its audio was sent.
The emulator runs in the same process and answers at once, so these are the costs of the library, the emulator and the
loopback: a vendor adds its own delay, and a network its round trips, of which the final needs one.

- `by`: the means of the protocol: a commit, or the end of the vendor's task, behind which the next one begins.
- `final_*`: from the call to the final result in the loop of the caller.
- `returned_*`: from the call to its return, when the next utterance may begin.
- `next_*`: from the first audio of the next utterance to its first interim, with the start of the next task.
- `connections`: those that were opened behind the first one.
- `missing`: the utterances whose final had not all of their words when the call returned.

    python benchmarks/bench_finalize.py --utterances 50
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

from asr_async import (
    Client,
    DashScope,
    FunASR,
    Gummy,
    Huawei,
    Paraformer,
    QwenAudio,
    QwenRealtime,
    Rasr,
    Session,
)
from asr_async.emulator import Emulator, Scripted, position_audio, position_of, serve
from asr_async.telemetry import Observer
from load.measurements import medians, quantiles_ms
from load.report import Target, argument_parser, finish

UTTERANCE_MS = 500
WORDS = 2
"""The words of an utterance."""

SENT_S = 0.02
"""The time in which the audio of an utterance is sent and recognised, before it is finalized."""

OPTIONS: dict[str, Any] = {
    "Paraformer": Paraformer(),
    "FunASR": FunASR(),
    "QwenAudio": QwenAudio(),
    "Gummy": Gummy(),
    "QwenRealtime": QwenRealtime(),
    "QwenRealtime(manual_commit=True)": QwenRealtime(manual_commit=True),
    "Rasr": Rasr(),
}

Row = dict[str, Any]


class Connections(Observer):
    """Counts the connections that are opened."""

    def __init__(self) -> None:
        self.opened = 0

    def on_connect(self, *_: Any, is_reused: bool, **_facts: Any) -> None:
        self.opened += not is_reused


class Listener:
    """The loop over the results of a session, with the instants at which they arrive."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin with the next utterance."""
        self.words: list[str] = []
        self.began_at = self.final_at = time.perf_counter()
        self.interim_at: float | None = None

    async def listen(self, session: Session) -> None:
        async for result in session:
            if result.is_final:
                self.words += result.text.split()
                self.final_at = time.perf_counter()
            elif self.interim_at is None:
                self.interim_at = time.perf_counter()


def service_of(emulator: Emulator, options: Any) -> DashScope | Huawei:
    if isinstance(options, Rasr):
        return Huawei(ak="a", sk="s", project_id="p", region="r", endpoint=emulator.huawei_url)
    return DashScope("key", endpoint=emulator.dashscope_url)


async def measure(name: str, utterances: int) -> Row:
    """Finalize this number of utterances, and one before them that is not measured."""
    options = OPTIONS[name]
    # one sentence, which goes on behind the last utterance: nothing but the calls makes anything final
    words = [f"word{number}" for number in range(WORDS * (2 + utterances))]
    script = Scripted([(" ".join(words), 0, UTTERANCE_MS * (2 + utterances))], position=position_of)
    listener, connections = Listener(), Connections()
    delays_ms: dict[str, list[float]] = {"final": [], "returned": [], "next": []}
    missing = 0
    async with (
        serve(script) as emulator,
        Client(service_of(emulator, options), observers=[connections]) as client,
        client.session(options) as session,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(listener.listen(session))
        for number in range(1 + utterances):
            listener.begin()
            await session.send(position_audio(UTTERANCE_MS * number, UTTERANCE_MS * (number + 1)))
            await asyncio.sleep(SENT_S)
            called_at = time.perf_counter()
            await session.finalize()
            returned_at = time.perf_counter()
            missing += listener.words != words[WORDS * number : WORDS * (number + 1)]
            if number == 0:  # pays for objects that are made once
                continue
            delays_ms["final"].append(1_000 * (listener.final_at - called_at))
            delays_ms["returned"].append(1_000 * (returned_at - called_at))
            if listener.interim_at is not None:
                delays_ms["next"].append(1_000 * (listener.interim_at - listener.began_at))
        await session.finish()
    return {
        "options": name,
        "by": "commit" if options.capabilities.commit else "next task",
        **{
            f"{what}_{figure}": value
            for what, delays in delays_ms.items()
            for figure, value in quantiles_ms(delays).items()
            if figure != "max_ms"
        },
        "connections": connections.opened - 1,
        "missing": missing,
    }


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Yield the project's targets that these rows can check."""
    for row in rows:
        yield Target(what=f"utterances without all of their words, {row['options']}", value=row["missing"], at_most=0)


def main() -> None:
    """Parse the arguments, measure, print the report."""
    parser = argument_parser(__doc__)
    parser.add_argument("--utterances", type=int, default=50, help="of each session (default: %(default)s)")
    parser.add_argument("--options", nargs="+", choices=list(OPTIONS), default=list(OPTIONS), help="default: all")
    arguments: argparse.Namespace = parser.parse_args()
    runs = [
        [asyncio.run(measure(name, arguments.utterances)) for name in arguments.options] for _ in range(arguments.runs)
    ]
    rows = [medians(same, worst=("connections", "missing")) for same in zip(*runs, strict=True)]
    finish(__file__, arguments, rows, targets(rows))


if __name__ == "__main__":
    main()
