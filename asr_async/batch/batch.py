"""The run of a batch: it finds the sources, begins the manifest, has an engine do the work, and reports.

Does not know sessions, leases or databases.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal, Self

import anyio.to_thread
import msgspec

from .._session.policy import check_options
from ..config import Limits, Retry, Timeouts
from ..errors import ASRError, ConfigurationError
from ..sources import read_audio
from ..vendors import models, service_for
from ..vendors.options import Options, check_is_options
from ..vendors.service import Service, check_is_service
from .databases import concealed
from .engine import Engine, InProcess
from .manifest import LEASE_S, Manifest
from .outputs import EXTENSIONS, OutputFolder, check_format
from .records import BatchOutcome, BatchProgress, Budget, RunRecord
from .sources import BatchSources, find_sources
from .work import Work

__all__ = ["Batch"]


class Batch:
    """A run over many sources, which can be killed and continued; an async context manager and iterator of outcomes.

        async with Batch("run.sqlite", "calls/", Paraformer(), output="texts/") as batch:
            async for outcome in batch:
                print(outcome.source, outcome.error or outcome.output)
        print(await batch.progress())

    The manifest remembers what became of each source. Begun again with the same arguments, whatever ended it before
    (Ctrl-C, `kill -9`, the power), a run transcribes only what is not finished. Each output is there exactly once, and
    complete; audio may be billed twice only for the sources that were being transcribed at that instant.

    A source that is no audio is poison at once. One that fails otherwise is tried again after some time. Wrong
    credentials, an unpaid bill, a full disk stop the run: its error is raised behind the outcomes before it. Rate
    limits are waited for.

    Args:
        manifest: the path of the manifest, a sqlite file on a local disk. For several machines, which share the folder
            of the outputs, the URL of a Postgres database with the name of the run (extra `postgres`):
            `postgresql://host/database#nightly`. Each may then run the same batch, and they divide the sources.
        sources: a folder, a pattern (`calls/**/*.wav`), a file, or an iterable of them. None continues with those of
            the manifest.
        options: the model and its settings, the same for all sources.
        service: the vendor's service; None is that of the options, with the credentials of the environment.
        output: the folder of the outputs, which have the names of their sources.
        format: "json" (`Transcript.to_json`), "jsonl" (a line for each final result and gap), "text", "srt" or "vtt".
        attempts: the most attempts for one source, each of which reconnects as `retry` says.
        limits: the sessions and starts of each process, or with `shared` of all; see `Limits`. `wait` does not apply.
        budget: the most that the run may bill. It then ends with sources left, and continues with a larger one.
        timeouts, retry: those of `Client`.
        pace: the speed of sending; None, the default, sends as fast as the connection accepts audio.
        channel, track: the channel that is recognised, and the sound track of files with several; see `read_audio`.
        lease_s: the time after which the source of a machine that died is begun again.

    Raises:
        ConfigurationError: an argument is wrong, or a session with these options would be refused; on entering, there
            are no sources, one is named twice, or the manifest is of a run with other options, is run by another
            process, is none, or is of a newer version.
        StorageError: on entering, and while it runs, the manifest or an output cannot be read or written.
    """

    def __init__(
        self,
        manifest: str | os.PathLike[str],
        sources: BatchSources | None,
        options: Options,
        service: Service | None = None,
        *,
        # outputs
        output: str | os.PathLike[str],
        format: str = "json",  # noqa: A002 - the name of the option of the command line
        # failures and limits
        attempts: int = 3,
        limits: Limits | None = None,
        budget: Budget | None = None,
        # sessions
        timeouts: Timeouts | None = None,
        retry: Retry | None = None,
        pace: float | None = None,
        # audio
        channel: Literal["mix", "left", "right"] | int = "mix",
        track: int | None = None,
        # machines
        lease_s: float = LEASE_S,
    ) -> None:
        manifest = concealed(os.fspath(manifest))
        check_is_options(options)
        check_format(format)
        if not isinstance(attempts, int) or attempts < 1:
            raise ConfigurationError(f"attempts={attempts!r}: must be a whole number, 1 or more")
        if not isinstance(lease_s, int | float) or not lease_s > 0:
            raise ConfigurationError(f"lease_s={lease_s!r}: must be a positive number of seconds")
        if service is not None:
            check_is_service(service)
        retry = retry or Retry()
        check_options(service or service_for(options), options, retry)
        read_audio(b"", channel=channel, track=track)  # checks both
        self._sources = sources
        self._work = Work(
            manifest=manifest,
            options=options,
            service=service,
            output=str(Path(output).absolute()),
            format=format,
            attempts=attempts,
            budget_s=_budget_s(budget, options),
            limits=limits or Limits(),
            timeouts=timeouts or Timeouts(),
            retry=retry,
            pace=pace,
            channel=channel,
            track=track,
            lease_s=lease_s,
        )
        self._manifest = Manifest(manifest, create=True, lease_s=lease_s)
        self._engine: Engine = InProcess()
        self._stack = AsyncExitStack()
        # None before the first outcome is read
        self._outcomes: AsyncIterator[BatchOutcome] | None = None
        self._started_at = time.monotonic()
        self._began = BatchProgress()
        self._has_ended = False

    def __repr__(self) -> str:
        return f"<Batch {self._manifest.name} with {self._work.options.model} on {self._engine!r}>"

    def on(self, engine: Engine) -> Self:
        """Choose the engine, and return this batch; by default it is `InProcess()`."""
        self._engine = engine
        return self

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._manifest)
            await self._manifest.begin(_record(self._work))
            if self._sources is not None:
                extension = EXTENSIONS[self._work.format]
                entries = await anyio.to_thread.run_sync(find_sources, self._sources, extension)
                await self._manifest.add(entries)
            self._began = await self._manifest.progress()
            if self._began.total == 0:
                raise ConfigurationError(f"{self._manifest.name} has no sources yet: name files, folders or patterns")
            self._started_at = time.monotonic()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchOutcome:
        if self._outcomes is None:
            self._outcomes = await self._stack.enter_async_context(self._engine.run(self._work))
        try:
            return await anext(self._outcomes)
        except StopAsyncIteration:
            self._has_ended = True
        except Exception:
            self._has_ended = True
            raise
        progress = await self.progress()
        if progress.stopped == "finished":
            await anyio.to_thread.run_sync(OutputFolder(self._work.output).remove_temporary_files)
        elif progress.stopped == "error":
            raise ASRError(await self._manifest.stop_reason() or "the engine ended before all sources were settled")
        raise StopAsyncIteration

    async def progress(self) -> BatchProgress:
        """Return the state of the run, in all its processes, at any time inside `async with`.

        Raises:
            StorageError: the manifest cannot be read.
        """
        now = await self._manifest.progress()
        elapsed_s = time.monotonic() - self._started_at
        settled = now.done + now.failed + now.poison - self._began.done - self._began.failed - self._began.poison
        left = now.waiting + now.running
        return msgspec.structs.replace(
            now,
            elapsed_s=elapsed_s,
            remaining_s=left * elapsed_s / settled if settled > 0 else None,
            stopped=self._stopped(now) if self._has_ended else None,
        )

    def _stopped(self, progress: BatchProgress) -> Literal["finished", "budget", "error"]:
        if progress.waiting + progress.running == 0:
            return "finished"
        budget_s = self._work.budget_s
        is_used_up = budget_s is not None and progress.billed_s + progress.reserved_s >= budget_s
        return "budget" if is_used_up else "error"


def _record(work: Work) -> RunRecord:
    options = msgspec.to_builtins(work.options)
    return RunRecord(
        options={
            "options": type(work.options).__name__,
            **options,
            "channel": work.channel,
            "track": work.track,
        },
        output=work.output,
        format=work.format,
    )


def _budget_s(budget: Budget | None, options: Options) -> float | None:
    """Return the most seconds that a run may bill.

    Raises:
        ConfigurationError: the budget is money, and the price of the model is not known.
    """
    if budget is None or budget.yuan is None:
        return None if budget is None else budget.billed_s
    prices = [each.yuan_per_second for each in models() if options.model in {each.model, *each.other_names}]
    if not prices or not prices[0]:
        raise ConfigurationError(f"Budget(yuan=...): the price of {options.model} is not known; set billed_s instead")
    return budget.yuan / prices[0]
