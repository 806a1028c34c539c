"""The manifest of a batch: a row for each source, with its state and its outcome.

A row is to do, leased to a worker, or finished. The column `due_at` orders the open rows: it is the instant from which
on a row may be claimed. For a row to do it is now, or later after a failed attempt; for a leased row it is the end of
its lease. So the row of a dead worker returns by itself, without a sweep, and a claim is one look into an index,
whatever the number of rows. The totals are a row of their own, which each transaction changes along with its sources,
so neither progress nor the budget counts rows.

An output is written in two steps, with the hash of its content in the row between them (`prepare`): whatever the
instant at which a process is killed, the next one finds either no hash, and transcribes the source again, or a hash and
the file, and only finishes the row. See `outputs`.

All statements run in one thread of the manifest, so the event loop never waits for a disk. Does not know audio, files
of outputs, services or engines.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Self, TypeVar

import anyio
import msgspec

from .._text.lines import one_line
from ..errors import ConfigurationError
from .databases import Database, StorageError, concealed, database_for
from .processes import is_dead, process_name
from .records import Added, BatchProgress, Figures, Lease, Pause, Row, RowState, RunRecord, SourceEntry, Stopped

__all__ = ["LEASE_S", "Manifest"]

logger: logging.Logger = logging.getLogger("asr_async")

LEASE_S = 60.0
"""The time after which the source of a dead worker, on another machine, is begun again. A worker renews its leases
three times as often."""

BUSY_PAUSE_S = 0.05
"""The pause when another transaction holds the only rows that are due."""

RECONNECT_PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""The pauses between attempts to reach a server that was reached before: two minutes, in which it can restart."""

PAGE_ROWS = 500
MAX_ERROR_CHARS = 500

T = TypeVar("T")

_STATES: tuple[RowState, ...] = ("todo", "leased", "done", "failed", "poison")

_ROW_COLUMNS = ", ".join(Row.__struct_fields__)


def _schema(database: Database) -> list[str]:
    """Return the statements that make the tables."""
    seconds = "DOUBLE PRECISION NOT NULL DEFAULT 0"
    count = "BIGINT NOT NULL DEFAULT 0"
    totals = [f"{state} {count}" for state in _STATES]
    totals += [f"{name} {seconds}" for name in ("audio_s", "billed_s", "wasted_s", "reserved_s", "missing_s")]
    columns = [
        f"row_id {database.row_id}",
        "source TEXT NOT NULL UNIQUE",
        "output TEXT NOT NULL UNIQUE",
        "size_bytes BIGINT",
        "version TEXT NOT NULL",
        "state TEXT NOT NULL DEFAULT 'todo'",
        # NULL in a finished row, which leaves it out of the index of open ones
        "due_at DOUBLE PRECISION DEFAULT 0",
        "worker TEXT",
        *(f"{name} {count}" for name in ("claims", "attempts", "losses")),
        *(f"{name} {seconds}" for name in ("reserved_s", "audio_s", "billed_s", "missing_s")),
        "sha256 TEXT",
        "error_class TEXT",
        "error TEXT",
    ]
    return [
        "CREATE TABLE info (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        f"CREATE TABLE totals ({', '.join(totals)})",
        "INSERT INTO totals (todo) VALUES (0)",
        f"CREATE TABLE sources ({', '.join(columns)})",
        "CREATE INDEX sources_due ON sources (due_at, row_id) WHERE due_at IS NOT NULL",
        "CREATE INDEX sources_worker ON sources (worker) WHERE worker IS NOT NULL",
        "CREATE INDEX sources_state ON sources (state, row_id)",
    ]


class Manifest:
    """A manifest, which is an async context manager: `async with Manifest("run.sqlite") as manifest`.

    Args:
        location: the path of a file (sqlite), for one machine; or the URL of a Postgres database, for several, with the
            name of the run as its fragment.
        create: True makes it if there is none.
        lease_s: the time for which a claimed row belongs to its worker without a renewal.
        database: the database; None is the one of the location.
        clock: the Unix time; None is the clock of the database.

    Raises:
        ConfigurationError: the location is neither; on entering, it is not a manifest, its format is newer, or there is
            none.
        StorageError: on entering, and in every method, the database cannot be read or written.
    """

    def __init__(
        self,
        location: str,
        *,
        create: bool = False,
        lease_s: float = LEASE_S,
        database: Database | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        location = concealed(location)
        self._database = database_for(location) if database is None else database
        self._create = create
        self._lease_s = lease_s
        self._clock = clock or self._database.now
        self._thread: ThreadPoolExecutor | None = None

    def __repr__(self) -> str:
        return f"<Manifest {self.name} {'closed' if self._thread is None else 'open'}>"

    @property
    def name(self) -> str:
        """The location without credentials."""
        return self._database.name

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="asr_async manifest")
        try:
            await self._call(lambda: self._database.open(_schema(self._database), create=self._create))
        except BaseException:
            self._thread.shutdown(wait=False)
            self._thread = None
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with anyio.CancelScope(shield=True):  # the last statement of a cancelled caller runs to its end first
            await self._call(self._database.close)
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    # --- the run -----------------------------------------------------------------------------------------------------

    async def begin(self, record: RunRecord) -> None:
        """Begin a run, or continue it.

        In a file it becomes the only run of this manifest until it is closed. The rows of workers of this machine whose
        processes are dead are to do again at once; those of other machines when their leases run out.

        Raises:
            ConfigurationError: the manifest belongs to a run with other options, or is run by another process.
        """

        def begin() -> None:
            self._database.hold(process_name())
            with self._database.transaction():
                row = self._database.execute("SELECT value FROM info WHERE name = 'run'").fetchone()
                if row is None:
                    self._set_info("run", msgspec.json.encode(record).decode())
                else:
                    _check_same(self.name, msgspec.json.decode(row[0], type=RunRecord), record)
                self._database.execute("DELETE FROM info WHERE name = 'stopped'")
                self._return_dead_leases()

        await self._call(begin)

    async def record(self) -> RunRecord | None:
        """Return the facts of the run; None before its beginning."""

        def read() -> RunRecord | None:
            row = self._database.execute("SELECT value FROM info WHERE name = 'run'").fetchone()
            return None if row is None else msgspec.json.decode(row[0], type=RunRecord)

        return await self._read(read)

    async def stop(self, reason: str) -> None:
        """Stop the run in all processes: no further row is claimed until it is begun again."""
        await self._transaction(lambda: self._set_info("stopped", one_line(reason, MAX_ERROR_CHARS)))

    async def stop_reason(self) -> str | None:
        """Return the reason why the run was stopped; None if it was not."""

        def read() -> str | None:
            row = self._database.execute("SELECT value FROM info WHERE name = 'stopped'").fetchone()
            return None if row is None else str(row[0])

        return await self._read(read)

    def _set_info(self, name: str, value: str) -> None:
        statement = "INSERT INTO info VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        self._database.execute(statement, name, value)

    def _return_dead_leases(self) -> None:
        workers = self._database.execute("SELECT DISTINCT worker FROM sources WHERE worker IS NOT NULL").fetchall()
        for (worker,) in workers:
            if is_dead(worker):
                self._return_rows(worker, losses=1)

    def _return_rows(self, worker: str, *, losses: int) -> None:
        """Make the rows of a worker to do again; what they reserved may have been billed."""
        query = "SELECT count(*), coalesce(sum(reserved_s), 0) FROM sources WHERE worker = ?"
        count, reserved_s = self._database.execute(query, worker).fetchone()
        if not count:
            return
        self._database.execute(
            "UPDATE sources SET state = 'todo', due_at = ?, worker = NULL, losses = losses + ?, "
            "billed_s = billed_s + reserved_s, reserved_s = 0 WHERE worker = ?",
            self._clock(),
            losses,
            worker,
        )
        self._count(leased=-count, todo=count, billed_s=reserved_s, wasted_s=reserved_s, reserved_s=-reserved_s)

    # --- sources -----------------------------------------------------------------------------------------------------

    async def add(self, entries: Sequence[SourceEntry]) -> Added:
        """Add sources, all or none. Known ones keep their rows.

        A known source that has changed since is transcribed as it is now, if it was not done. If it was, its row is
        failed with the reason, and its output stays: `retry` has it transcribed again. One that is being transcribed
        is left to its worker, and found to be changed the next time.

        Raises:
            ConfigurationError: a source is named twice, or two sources have the same output.
        """
        _check_distinct(entries)
        return await self._transaction(lambda: self._add(entries))

    def _add(self, entries: Sequence[SourceEntry]) -> Added:
        known: dict[str, tuple[Any, ...]] = {}
        for first in range(0, len(entries), PAGE_ROWS):
            page = entries[first : first + PAGE_ROWS]
            marks = ", ".join("?" * len(page))
            query = f"SELECT source, size_bytes, version, state FROM sources WHERE source IN ({marks})"
            known |= {
                row[0]: row for row in self._database.execute(query, *(entry.source for entry in page)).fetchall()
            }
        fresh = [entry for entry in entries if entry.source not in known]
        self._check_outputs(fresh)
        new = 0
        if fresh:
            rows = [(entry.source, entry.output, entry.size_bytes, entry.version) for entry in fresh]
            columns = "source, output, size_bytes, version"
            insert = f"INSERT INTO sources ({columns}) VALUES (?, ?, ?, ?) ON CONFLICT (source) DO NOTHING"
            new = self._database.insert_many(insert, rows)
            self._count(todo=new)
        changed = []
        for entry in entries:
            row = known.get(entry.source)
            if row is not None and (row[1], row[2]) != (entry.size_bytes, entry.version) and row[3] != "leased":
                changed += self._change(entry, state=row[3])
        return Added(new=new, known=len(entries) - new, changed=tuple(changed))

    def _check_outputs(self, entries: Sequence[SourceEntry]) -> None:
        """Refuse new sources whose outputs belong to other rows."""
        for first in range(0, len(entries), PAGE_ROWS):
            page = {entry.output: entry.source for entry in entries[first : first + PAGE_ROWS]}
            marks = ", ".join("?" * len(page))
            query = f"SELECT output, source FROM sources WHERE output IN ({marks})"
            for output, source in self._database.execute(query, *page).fetchall():
                if source != page[output]:
                    raise _same_output(source, page[output], output)

    def _change(self, entry: SourceEntry, *, state: RowState) -> list[str]:
        """Record that a known source has changed; return it if it was done."""
        if state != "done":
            statement = "UPDATE sources SET size_bytes = ?, version = ?, sha256 = NULL WHERE source = ?"
            self._database.execute(statement, entry.size_bytes, entry.version, entry.source)
            return []
        query = "SELECT audio_s, missing_s FROM sources WHERE source = ?"
        audio_s, missing_s = self._database.execute(query, entry.source).fetchone()
        self._database.execute(
            "UPDATE sources SET size_bytes = ?, version = ?, state = 'failed', sha256 = NULL, audio_s = 0, "
            "missing_s = 0, error_class = 'SourceChanged', error = ? WHERE source = ?",
            entry.size_bytes,
            entry.version,
            "changed since it was transcribed, and the output is of its earlier content; 'asr-async batch retry' "
            "has it transcribed again",
            entry.source,
        )
        self._count(done=-1, failed=1, audio_s=-audio_s, missing_s=-missing_s)
        return [entry.source]

    # --- work --------------------------------------------------------------------------------------------------------

    async def claim(self, worker: str, *, budget_s: float | None = None) -> Lease | Pause | Stopped:
        """Claim the row that has been due for the longest time.

        Args:
            worker: the name of the worker, of `processes.worker_name`.
            budget_s: the most seconds that the run may bill.

        Returns:
            A lease; a pause if all open rows are leased or wait for another attempt; or the reason why there is no more
            work.
        """
        return await self._transaction(lambda: self._claim(worker, budget_s))

    def _claim(self, worker: str, budget_s: float | None) -> Lease | Pause | Stopped:
        if self._database.execute("SELECT 1 FROM info WHERE name = 'stopped'").fetchone():
            return Stopped("error")
        now = self._clock()
        row = self._database.execute(
            "SELECT state, reserved_s, row_id, source, output, size_bytes, version, claims, attempts, losses, sha256, "
            "audio_s, billed_s, missing_s FROM sources WHERE due_at <= ? ORDER BY due_at, row_id LIMIT 1"
            + self._database.skip_locked,
            now,
        ).fetchone()
        if row is None:
            next_at = self._database.execute("SELECT min(due_at) FROM sources WHERE due_at IS NOT NULL").fetchone()[0]
            return Stopped("finished") if next_at is None else Pause(max(next_at - now, BUSY_PAUSE_S))
        state, reserved_s, row_id, source, output, size_bytes, version, claims, attempts, losses, sha256, *seconds = row
        if budget_s is not None and sha256 is None and not self._is_within(budget_s, reserved_s=reserved_s):
            return Stopped("budget")
        lease = Lease(
            row_id=row_id,
            source=source,
            output=output,
            size_bytes=size_bytes,
            version=version,
            worker=worker,
            claims=claims + 1,
            attempts=attempts,
            losses=losses + (state == "leased"),
            sha256=sha256,
            figures=Figures(audio_s=seconds[0], billed_s=seconds[1], missing_s=seconds[2]),
        )
        self._hand_out(lease, is_lost=state == "leased", reserved_s=reserved_s, until=now + self._lease_s)
        return lease

    def _hand_out(self, lease: Lease, *, is_lost: bool, reserved_s: float, until: float) -> None:
        """Record a lease. The seconds that a lost lease had reserved may have been billed."""
        self._database.execute(
            "UPDATE sources SET state = 'leased', worker = ?, due_at = ?, claims = ?, losses = ?, "
            "billed_s = billed_s + ?, reserved_s = 0 WHERE row_id = ?",
            lease.worker,
            until,
            lease.claims,
            lease.losses,
            reserved_s,
            lease.row_id,
        )
        if not is_lost:
            self._count(todo=-1, leased=1)
        self._count(billed_s=reserved_s, wasted_s=reserved_s, reserved_s=-reserved_s)

    def _is_within(self, budget_s: float, *, reserved_s: float = 0.0) -> bool:
        """Return True if a further source may be billed; `reserved_s` is what it has reserved itself."""
        billed_s, all_reserved_s = self._database.execute(
            "SELECT billed_s, reserved_s FROM totals" + self._database.locked
        ).fetchone()
        return bool(billed_s + all_reserved_s - reserved_s < budget_s)

    async def reserve(self, lease: Lease, seconds: float, *, budget_s: float | None = None) -> bool:
        """Count the length of a source before it is sent; return False if the budget is used up, or the lease lost."""

        def reserve() -> bool:
            row = self._held(lease)
            if row is None or (budget_s is not None and not self._is_within(budget_s, reserved_s=row[0])):
                return False
            self._database.execute("UPDATE sources SET reserved_s = ? WHERE row_id = ?", seconds, lease.row_id)
            self._count(reserved_s=seconds - row[0])
            return True

        return await self._transaction(reserve)

    async def renew(self, leases: Iterable[Lease]) -> None:
        """Postpone the ends of leases; those that are lost stay so."""
        held = list(leases)

        def renew() -> None:
            until = self._clock() + self._lease_s
            for lease in held:
                self._database.execute(
                    "UPDATE sources SET due_at = ? WHERE row_id = ? AND worker = ? AND claims = ?",
                    until,
                    lease.row_id,
                    lease.worker,
                    lease.claims,
                )

        if held:
            await self._transaction(renew)

    async def prepare(self, lease: Lease, sha256: str, figures: Figures) -> bool:
        """Record the hash of the output that is about to get its name; return False if the lease is lost."""

        def prepare() -> bool:
            row = self._held(lease)
            if row is None:
                return False
            self._database.execute(
                "UPDATE sources SET sha256 = ?, audio_s = ?, billed_s = billed_s + ?, missing_s = ?, reserved_s = 0 "
                "WHERE row_id = ?",
                sha256,
                figures.audio_s,
                figures.billed_s,
                figures.missing_s,
                lease.row_id,
            )
            self._count(billed_s=figures.billed_s, reserved_s=-row[0])
            return True

        return await self._transaction(prepare)

    async def finish(self, lease: Lease) -> bool:
        """Settle a row as done, whose output has its name; return False if the lease is lost."""

        def finish() -> bool:
            if self._held(lease) is None:
                return False
            self._settle(lease, "done")
            audio_s, missing_s = self._database.execute(
                "SELECT audio_s, missing_s FROM sources WHERE row_id = ?", lease.row_id
            ).fetchone()
            self._count(leased=-1, done=1, audio_s=audio_s, missing_s=missing_s)
            return True

        return await self._transaction(finish)

    async def discard(self, lease: Lease) -> None:
        """Forget the hash of an output that is not there: the source is transcribed again."""
        statement = "UPDATE sources SET sha256 = NULL, audio_s = 0, missing_s = 0 WHERE row_id = ?"

        def discard() -> None:
            if self._held(lease) is not None:
                self._database.execute(statement, lease.row_id)

        await self._transaction(discard)

    async def fail(
        self, lease: Lease, error: BaseException, state: Literal["failed", "poison"], *, billed_s: float | None = None
    ) -> bool:
        """Settle a row without an output; return False if the lease is lost.

        Args:
            lease: the lease.
            error: the reason.
            state: the state of the row from now on.
            billed_s: the seconds that were billed; None if that is not known: what was reserved counts.
        """

        def fail() -> bool:
            row = self._held(lease)
            if row is None:
                return False
            spent_s = row[0] if billed_s is None else billed_s
            self._settle(lease, state, error=error, billed_s=spent_s, attempts=1)
            counts = {state: 1}
            self._count(leased=-1, billed_s=spent_s, wasted_s=spent_s, reserved_s=-row[0], **counts)
            return True

        return await self._transaction(fail)

    async def put_back(
        self,
        lease: Lease,
        error: BaseException | None = None,
        *,
        delay_s: float = 0.0,
        billed_s: float | None = None,
        is_attempt: bool = False,
    ) -> bool:
        """Return a row, to be claimed again after a delay; return False if the lease is lost.

        Args:
            lease: the lease.
            error: the reason; None if the work was only interrupted.
            delay_s: the time until it may be claimed.
            billed_s: the seconds that were billed; None if that is not known: what was reserved counts.
            is_attempt: True if it counts as a failed attempt.
        """

        def put_back() -> bool:
            row = self._held(lease)
            if row is None:
                return False
            spent_s = row[0] if billed_s is None else billed_s
            due_at = self._clock() + delay_s
            self._settle(lease, "todo", error=error, billed_s=spent_s, attempts=int(is_attempt), due_at=due_at)
            self._count(leased=-1, todo=1, billed_s=spent_s, wasted_s=spent_s, reserved_s=-row[0])
            return True

        return await self._transaction(put_back)

    async def release(self, worker: str) -> None:
        """Return all rows of a worker that ends before it has settled them; what they reserved may have been billed."""
        await self._transaction(lambda: self._return_rows(worker, losses=0))

    def _held(self, lease: Lease) -> tuple[float] | None:
        """Return the reserved seconds of a lease; None if it is lost."""
        query = "SELECT reserved_s FROM sources WHERE row_id = ? AND worker = ? AND claims = ?" + self._database.locked
        row: tuple[float] | None = self._database.execute(query, lease.row_id, lease.worker, lease.claims).fetchone()
        return row

    def _settle(
        self,
        lease: Lease,
        state: RowState,
        *,
        error: BaseException | None = None,
        billed_s: float = 0.0,
        attempts: int = 0,
        due_at: float | None = None,
    ) -> None:
        self._database.execute(
            "UPDATE sources SET state = ?, due_at = ?, worker = NULL, reserved_s = 0, attempts = attempts + ?, "
            "billed_s = billed_s + ?, error_class = ?, error = ? WHERE row_id = ?",
            state,
            due_at,
            attempts,
            billed_s,
            None if error is None else type(error).__name__,
            None if error is None else one_line(str(error) or type(error).__name__, MAX_ERROR_CHARS),
            lease.row_id,
        )

    def _count(self, **changes: float) -> None:
        """Add to the totals; each name is a column."""
        changes = {name: change for name, change in changes.items() if change}
        if changes:
            assignments = ", ".join(f"{name} = {name} + ?" for name in changes)
            self._database.execute(f"UPDATE totals SET {assignments}", *changes.values())

    # --- reading -----------------------------------------------------------------------------------------------------

    async def progress(self) -> BatchProgress:
        """Return the numbers of rows by state, and the seconds."""
        columns = {
            "waiting": "todo",
            "running": "leased",
            **{name: name for name in ("done", "failed", "poison", "audio_s", "billed_s", "wasted_s", "reserved_s")},
            "missing_s": "missing_s",
        }

        def read() -> BatchProgress:
            values = self._database.execute(f"SELECT {', '.join(columns.values())} FROM totals").fetchone()
            return BatchProgress(**dict(zip(columns, values, strict=True)))

        return await self._read(read)

    async def rows(self, states: Collection[RowState] = _STATES) -> AsyncIterator[Row]:
        """Yield the rows in certain states, in the order in which they were added, with few of them in memory."""
        marks = ", ".join("?" * len(states))
        query = (
            f"SELECT row_id, {_ROW_COLUMNS} FROM sources WHERE row_id > ? AND state IN ({marks}) "
            f"ORDER BY row_id LIMIT {PAGE_ROWS}"
        )
        names = _ROW_COLUMNS.split(", ")
        last_id = 0
        while True:
            page = await self._read(functools.partial(self._fetch_all, query, last_id, *states))
            for row in page:
                yield Row(**dict(zip(names, row[1:], strict=True)))
            if len(page) < PAGE_ROWS:
                return
            last_id = page[-1][0]

    def _fetch_all(self, query: str, *arguments: object) -> list[Any]:
        return self._database.execute(query, *arguments).fetchall()

    async def retry(self, states: Collection[Literal["failed", "poison"]] = ("failed", "poison")) -> int:
        """Make finished rows to do again, with all their attempts; return their number."""

        def retry() -> int:
            count = 0
            for state in states:
                changed = self._database.execute(
                    "UPDATE sources SET state = 'todo', due_at = 0, attempts = 0, losses = 0, sha256 = NULL, "
                    "error_class = NULL, error = NULL WHERE state = ?",
                    state,
                ).rowcount
                self._count(**{state: -changed, "todo": changed})
                count += changed
            return count

        return await self._transaction(retry)

    # --- the thread --------------------------------------------------------------------------------------------------

    async def _transaction(self, function: Callable[[], T]) -> T:
        """Call a function in the thread, in a transaction; again if the connection to a server was lost.

        If it was lost at the end of the transaction, that may have had its effect already: a row that was claimed
        returns when its lease runs out, and seconds may count twice.
        """

        def run() -> T:
            with self._database.transaction():
                return function()

        return await self._repeat(run)

    async def _read(self, function: Callable[[], T]) -> T:
        """Call a function with one statement in the thread."""

        def run() -> T:
            with self._database.errors():
                return function()

        return await self._repeat(run)

    async def _repeat(self, function: Callable[[], T]) -> T:
        """Call a function in the thread, and again as long as the server of the database cannot be reached.

        Raises:
            StorageError: it fails otherwise, or for too long.
        """
        for pause_s in RECONNECT_PAUSES_S:
            try:
                return await self._call(function)
            except StorageError as error:
                if not error.retryable:
                    raise
                logger.warning("%s; trying again in %g s", error, pause_s)
            await asyncio.sleep(pause_s)
        return await self._call(function)

    async def _call(self, function: Callable[[], T]) -> T:
        """Call a function in the thread. A caller that is cancelled does not wait for it; it runs to its end."""
        if self._thread is None:
            raise RuntimeError(f"{self!r}: use it inside 'async with'")
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


def _check_distinct(entries: Sequence[SourceEntry]) -> None:
    """Refuse a source that is named twice, and two sources with one output."""
    sources: set[str] = set()
    outputs: dict[str, str] = {}
    for entry in entries:
        if entry.source in sources:
            raise ConfigurationError(f"{one_line(entry.source)} is named twice among the sources: leave one out")
        if entry.output in outputs:
            raise _same_output(outputs[entry.output], entry.source, entry.output)
        sources.add(entry.source)
        outputs[entry.output] = entry.source


def _same_output(first: str, second: str, output: str) -> ConfigurationError:
    return ConfigurationError(
        f"{one_line(first)} and {one_line(second)} have the same output, {one_line(output)}: rename one, or run it "
        "with another manifest and output folder"
    )


def _check_same(name: str, recorded: RunRecord, record: RunRecord) -> None:
    """Refuse a run with other options than those of the manifest.

    Raises:
        ConfigurationError: the text names each difference.
    """
    fresh = msgspec.json.decode(msgspec.json.encode(record), type=RunRecord)  # with lists in place of tuples
    pairs: dict[str, tuple[object, object]] = {
        option: (recorded.options.get(option), fresh.options.get(option))
        for option in dict.fromkeys([*recorded.options, *fresh.options])
    }
    pairs |= {"output": (recorded.output, fresh.output), "format": (recorded.format, fresh.format)}
    differences = [f"{option} was {old!r}, is {new!r}" for option, (old, new) in pairs.items() if old != new]
    if differences:
        raise ConfigurationError(
            f"{name} belongs to a run with other options: {'; '.join(differences)}. Use the same, or another manifest"
        )
