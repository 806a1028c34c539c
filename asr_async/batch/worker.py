"""A worker: one client and some sessions, which claim sources from a manifest until there are no more.

Its sources are leases, so a worker that dies loses them after a while; a living one renews them. Whatever ends it, the
rows that it has not settled are to do again. Does not know the other workers of the run, nor its engine.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import Literal, Self, TypeVar

import anyio
import anyio.to_thread
import msgspec

from .._loop.tasks import TaskSet
from ..client import Client
from ..errors import ASRError
from ..results import SessionStats, Transcript
from ..sources import TranscriptionBatch, check_source, prepare
from ..vendors.service import ServiceOfMembers
from .databases import StorageError
from .failures import Verdict, retry_delay_s, verdict_of
from .manifest import Manifest
from .outputs import OutputFolder, render
from .processes import worker_name
from .records import BatchOutcome, Figures, FinalState, Lease, Pause, Stopped
from .sources import check_unchanged, open_source
from .work import Work

__all__ = ["Worker"]

logger: logging.Logger = logging.getLogger("asr_async")

RENEWALS_PER_LEASE = 3
"""The number of renewals while a lease lasts: one or two may be late."""

LONGEST_PAUSE_S = 2.0
"""The longest time between two claims while other workers have leases: they may fail, or die."""

MAX_LOSSES = 5
"""The most workers that may die over one source: a decoder that crashes takes its process with it."""

LIMIT_WAIT_S = 86_400.0
"""The time that a session waits for a permit, at least: in a batch that is no failure."""

RATE_LIMIT_PAUSE_S = 5.0
"""The time until a source is tried again that the vendor refused because of too many sessions. `Limits` makes all
sessions of the account wait meanwhile, if longer is necessary."""

LEAST_BYTES_PER_SECOND = 2_000
"""The size of speech that is compressed a lot: the length of a file whose header has none is estimated by it, which
rather is too long."""

T = TypeVar("T")


class Worker:
    """The outcomes of the sources that one worker settles, as an async context manager and iterator.

        async with Worker(work, sessions=8) as outcomes:
            async for outcome in outcomes:
                ...

    Args:
        work: the work.
        sessions: the most sessions at once; `Limits.max_sessions` of the work is obeyed too.
    """

    def __init__(self, work: Work, *, sessions: int) -> None:
        self._work = work
        most = work.limits.max_sessions
        self._sessions = sessions if most is None else min(sessions, most)
        self._name = worker_name()
        self._manifest = Manifest(work.manifest, lease_s=work.lease_s)
        self._folder = OutputFolder(work.output)
        limits = msgspec.structs.replace(work.limits, wait=max(work.limits.wait, LIMIT_WAIT_S))
        self._client = Client(
            work.service, options=work.options, limits=limits, timeouts=work.timeouts, retry=work.retry
        )
        self._stack = AsyncExitStack()
        self._batch: TranscriptionBatch[Lease, BatchOutcome | None] | None = None
        # by the id of the row
        self._leases: dict[int, Lease] = {}
        # set when a source is settled: another may be due, or none is left
        self._settled = asyncio.Event()
        self._error: Exception | None = None

    def __repr__(self) -> str:
        return f"<Worker {self._name}, {len(self._leases)} sources>"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._manifest)
            await stack.enter_async_context(self._client)
            stack.push_async_callback(self._release)
            tasks = TaskSet()
            await stack.enter_async_context(tasks.group)
            tasks.start(self._renew_leases())
            stack.callback(tasks.cancel_others)
            self._batch = TranscriptionBatch(self._work_on, self._claims(), concurrency=self._sessions)
            await stack.enter_async_context(self._batch)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with anyio.CancelScope(shield=True):  # a caller that is cancelled returns its rows too
            await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchOutcome:
        if self._batch is None:
            raise RuntimeError("use a worker with 'async with'")
        async for outcome in self._batch:
            if outcome is not None:
                return outcome
        raise StopAsyncIteration if self._error is None else self._error

    # --- leases ------------------------------------------------------------------------------------------------------

    async def _claims(self) -> AsyncIterator[Lease]:
        """Yield leases until there is no more work."""
        while True:
            self._settled.clear()
            answer = await self._manifest.claim(self._name, budget_s=self._work.budget_s)
            match answer:
                case Lease():
                    self._leases[answer.row_id] = answer
                    yield answer
                case Pause(seconds):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(seconds, LONGEST_PAUSE_S)):
                            await self._settled.wait()
                case Stopped():
                    return

    async def _renew_leases(self) -> None:
        """Renew the leases of all sources in work, until cancelled."""
        while True:
            await asyncio.sleep(self._work.lease_s / RENEWALS_PER_LEASE)
            try:
                await self._manifest.renew(self._leases.values())
            except ASRError as error:  # the sources' own statements fail too, and stop the run
                logger.warning("leases are not renewed: %s", error)

    async def _release(self) -> None:
        """Return the rows that are not settled. If the manifest cannot be written, their leases run out."""
        try:
            await self._manifest.release(self._name)
        except ASRError as error:
            logger.warning("sources that were begun return when their leases run out: %s", error)

    # --- one source --------------------------------------------------------------------------------------------------

    async def _work_on(self, _index: int, lease: Lease) -> BatchOutcome | None:
        """Settle one source, and return its outcome; None if it is to do again, or another worker has it."""
        try:
            return await self._settle(lease)
        except Exception as error:  # noqa: BLE001 - the manifest or the outputs fail: raised behind the other outcomes
            self._error = self._error or error
            with suppress(ASRError):
                await self._manifest.stop(str(error))
            return None
        finally:
            self._leases.pop(lease.row_id, None)
            self._settled.set()

    async def _settle(self, lease: Lease) -> BatchOutcome | None:
        if lease.sha256 is not None:
            if await _in_thread(self._folder.adopt, lease.output, lease.sha256):
                figures = msgspec.structs.replace(lease.figures, billed_s=0.0)  # by the earlier lease
                return await self._finish(lease, figures)
            await self._manifest.discard(lease)
        if lease.losses >= MAX_LOSSES:
            error = ASRError(f"{lease.losses} workers died while they transcribed it: it may crash the decoder")
            return await self._give_up(lease, error, "failed")
        try:
            transcript = await self._transcribe(lease)
        except Exception as error:  # noqa: BLE001 - the outcome of this source; a source may raise anything
            return await self._on_failure(lease, error)
        if transcript is None:
            return None
        return await self._write(lease, transcript)

    async def _transcribe(self, lease: Lease) -> Transcript | None:
        """Transcribe a source; return None if the budget or the lease ended before."""
        work = self._work
        await _in_thread(check_unchanged, lease.source, lease.size_bytes, lease.version)
        source = open_source(lease.source, channel=work.channel, track=work.track)
        options = work.options
        service: object = work.service
        if isinstance(service, ServiceOfMembers):  # its members declare what they were given
            await check_source(source, options)
        else:
            options = await prepare(source, options)
        if not await self._manifest.reserve(lease, _length_s(source.duration_ms, lease), budget_s=work.budget_s):
            await self._manifest.put_back(lease)
            return None
        return await self._client.transcribe(source, options, pace=work.pace)

    async def _write(self, lease: Lease, transcript: Transcript) -> BatchOutcome | None:
        """Write an output, and settle its row; see `outputs`."""
        content = render(transcript, self._work.format)
        figures = _figures(transcript)
        try:
            sha256 = await _in_thread(self._folder.write_temporary, lease.output, content)
        except StorageError as error:
            await self._manifest.put_back(lease, error, billed_s=figures.billed_s)
            raise
        if not await self._manifest.prepare(lease, sha256, figures):
            return _lost(lease)
        if not await _in_thread(self._folder.give_name, lease.output, sha256):
            return _lost(lease)
        return await self._finish(lease, figures)

    async def _finish(self, lease: Lease, figures: Figures) -> BatchOutcome | None:
        if not await self._manifest.finish(lease):
            return _lost(lease)
        return self._outcome(lease, "done", figures)

    async def _on_failure(self, lease: Lease, error: Exception) -> BatchOutcome | None:
        """Do what follows from the failure of a source."""
        partial = error.transcript if isinstance(error, ASRError) else None
        billed_s = None if partial is None else _figures(partial).billed_s
        verdict = verdict_of(error)
        attempts = lease.attempts + 1
        if verdict is Verdict.STOP:
            await self._manifest.put_back(lease, error, billed_s=billed_s)
            raise error
        if verdict is Verdict.POISON:
            return await self._give_up(lease, error, "poison", billed_s)
        if verdict is Verdict.RETRY and attempts >= self._work.attempts:
            if partial is not None and partial.results:
                content = render(partial, self._work.format)
                await _in_thread(self._folder.write_partial, lease.output, content)
            return await self._give_up(lease, error, "failed", billed_s)
        is_attempt = verdict is Verdict.RETRY
        delay_s = retry_delay_s(attempts) if is_attempt else RATE_LIMIT_PAUSE_S
        logger.info("%s: to be transcribed again in %g s: %s", lease.source, delay_s, error)
        await self._manifest.put_back(lease, error, delay_s=delay_s, billed_s=billed_s, is_attempt=is_attempt)
        return None

    async def _give_up(
        self, lease: Lease, error: Exception, state: Literal["failed", "poison"], billed_s: float | None = None
    ) -> BatchOutcome | None:
        if not await self._manifest.fail(lease, error, state, billed_s=billed_s):
            return _lost(lease)
        outcome = self._outcome(lease, state, Figures(billed_s=billed_s or 0.0))
        return msgspec.structs.replace(
            outcome, attempts=lease.attempts + 1, error_class=type(error).__name__, error=str(error)
        )

    def _outcome(self, lease: Lease, state: FinalState, figures: Figures) -> BatchOutcome:
        return BatchOutcome(
            source=lease.source,
            state=state,
            output=str(self._folder.path(lease.output)),
            attempts=lease.attempts,
            audio_s=figures.audio_s,
            billed_s=figures.billed_s,
            missing_s=figures.missing_s,
        )


def _lost(lease: Lease) -> BatchOutcome | None:
    """Return no outcome of a source: this process stood still for longer than a lease lasts."""
    logger.warning("%s: another worker has taken it, since its lease was not renewed in time", lease.source)
    return None


def _figures(transcript: Transcript) -> Figures:
    stats: SessionStats = transcript.stats
    sent_ms = stats.audio_sent_ms or 0
    billed_s = transcript.usage_seconds
    if billed_s is None:
        billed_s = (sent_ms + stats.silence_sent_ms + stats.replayed_ms) / 1000
    missing_s = sum(gap.end_ms - gap.start_ms for gap in transcript.gaps) / 1000
    return Figures(audio_s=sent_ms / 1000, billed_s=billed_s, missing_s=missing_s)


def _length_s(duration_ms: int | None, lease: Lease) -> float:
    """Return the length of a source; an estimate if its header has none."""
    if duration_ms is not None:
        return duration_ms / 1000
    return (lease.size_bytes or 0) / LEAST_BYTES_PER_SECOND


async def _in_thread(function: Callable[..., T], *arguments: object) -> T:
    return await anyio.to_thread.run_sync(functools.partial(function, *arguments))
