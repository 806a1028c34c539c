"""The databases that hold a manifest: sqlite by path, Postgres by URL. Everything here blocks.

Both speak the same SQL, with `?` for arguments. The differences are here: how a connection is made, which clock counts,
how rows are locked, and what their errors mean. Does not know the tables of a manifest.

Why Postgres and not Redis, which this package uses for shared limits. A manifest is the record of money that was spent:
a row that is done must stay done. Postgres has a transaction on the disk when it answers. Redis answers before: with
`appendonly` and its default `appendfsync everysec` a crash loses the last second, without `appendonly` all, and a
server that is out of memory may evict rows. A manifest may also be too large to keep in memory. And its statements
are those of sqlite (`FOR UPDATE SKIP LOCKED` is the only addition), so that one set of transitions, and one set of
tests, serves both; in Redis they would be written a second time, in Lua.
"""

from __future__ import annotations

import importlib
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urldefrag, urlsplit

from .._text.lines import one_line
from .._text.secret import SecretText, secret_url, shown_url
from ..errors import ASRError, ConfigurationError

if TYPE_CHECKING:
    import psycopg

__all__ = [
    "FORMAT",
    "Cursor",
    "Database",
    "PostgresDatabase",
    "SqliteDatabase",
    "StorageError",
    "concealed",
    "database_for",
]

FORMAT = 1
"""The format of the tables; a program refuses a manifest of a newer one."""

APPLICATION_ID = 0x61737262
"""The mark of a manifest in the header of its file: "asrb"."""

BUSY_S = 30.0
"""The longest wait for another process that writes to the same file; a write takes milliseconds."""

_SCHEMES = ("postgresql", "postgres")
_DEFAULT_RUN = "asr_async_batch"
_RUN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")


class StorageError(ASRError):
    """The manifest or an output cannot be read or written. The run stops, and can be continued once it can."""


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """The number of changed rows."""
        ...

    def fetchone(self) -> Any:
        """Return the next row; None if there is none."""
        ...

    def fetchall(self) -> list[Any]:
        """Return all rows."""
        ...


class Database(Protocol):
    """One connection, which one thread uses."""

    name: str
    """Its name in texts, without a password."""
    row_id: str
    """The type of a column that numbers the rows."""
    locked: str
    """The end of a SELECT whose rows are changed next."""
    skip_locked: str
    """The same, but without the rows that another transaction changes."""

    def open(self, schema: Sequence[str], *, create: bool) -> None:
        """Connect, and make the tables if there are none.

        Raises:
            ConfigurationError: there is no manifest and `create` is False, it is none, or its format is newer.
            StorageError: it cannot be opened or made.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...

    def hold(self, holder: str) -> None:
        """Make this process the only run of the manifest until the connection is closed, where only one is possible.

        Raises:
            ConfigurationError: another process runs it.
        """
        ...

    def errors(self) -> AbstractContextManager[None]:
        """Return a context that raises the errors of the database as those of this package.

        Raises:
            StorageError: a statement failed.
        """
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Return a context in which statements have an effect all together, or none if it is left by an exception.

        Raises:
            StorageError: a statement failed.
        """
        ...

    def execute(self, statement: str, *arguments: object) -> Cursor:
        """Run a statement."""
        ...

    def insert_many(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        """Run a statement for each row of arguments, and return how many rows it added."""
        ...

    def now(self) -> float:
        """Return the Unix time of the clock that all users of this database share."""
        ...


def database_for(location: str) -> Database:
    """Return the database of a manifest, unopened.

    Raises:
        ConfigurationError: it is the URL of something else than Postgres.
    """
    scheme, separator, _ = location.partition("://")
    if not separator:
        return SqliteDatabase(location)
    if scheme not in _SCHEMES:
        raise ConfigurationError(
            f"{shown_url(location)}: a manifest is a path (sqlite), or a URL of Postgres: postgresql://host/database"
        )
    return PostgresDatabase(secret_url(location))


def concealed(location: str) -> str:
    """Return the location of a manifest, as a secret if it is a URL with a password."""
    if "://" not in location or not _has_password(location):
        return location
    return SecretText(
        location, "leave the password out of the URL of the manifest: libpq reads PGPASSWORD and ~/.pgpass"
    )


def _has_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    return parts.password is not None or "password" in parts.query or "@" in parts.path


def _newer(name: str, found: int) -> ConfigurationError:
    return ConfigurationError(
        f"{name} has format {found} of a manifest, and this version of asr_async knows {FORMAT}: update the package"
    )


def _missing(name: str) -> ConfigurationError:
    return ConfigurationError(f"{name}: there is no manifest; asr-async transcribe --resume makes one")


class SqliteDatabase:
    """A manifest in a file, for all processes of one machine.

    The journal is a write-ahead log, so that readers never wait; it needs a local disk. Each transaction is on the disk
    when it returns (`synchronous=FULL`). The clock is the machine's.
    """

    row_id = "INTEGER PRIMARY KEY"
    locked = ""
    skip_locked = ""

    def __init__(self, path: str, *, busy_s: float = BUSY_S) -> None:
        self.name = path
        self._path = Path(path)
        self._busy_s = busy_s
        self._connection: sqlite3.Connection | None = None
        self._hold: sqlite3.Connection | None = None

    def open(self, schema: Sequence[str], *, create: bool) -> None:
        """See `Database.open`."""
        if not create and not self._path.exists():
            raise _missing(self.name)
        with self.errors():
            self._connection = sqlite3.connect(self._path, timeout=self._busy_s, isolation_level=None)
        try:
            with self.errors():
                self._check(schema)
                self.execute("PRAGMA synchronous=FULL")
                self.execute("PRAGMA journal_mode=WAL")
        except BaseException:
            self.close()
            raise

    def _check(self, schema: Sequence[str]) -> None:
        """Make the tables in an empty file; refuse another program's file and a newer format."""
        if self._pragma("application_id") == APPLICATION_ID:
            if (found := self._pragma("user_version")) > FORMAT:
                raise _newer(self.name, found)
            return
        with self.transaction():
            if self.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                if self._pragma("application_id") == APPLICATION_ID:
                    return  # another process has made it just now
                raise ConfigurationError(f"{self.name} is a database of another program: choose another name")
            for statement in schema:
                self.execute(statement)
            self.execute(f"PRAGMA application_id={APPLICATION_ID}")
            self.execute(f"PRAGMA user_version={FORMAT}")

    def _pragma(self, name: str) -> int:
        value: int = self.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    def close(self) -> None:
        """See `Database.close`."""
        for connection in (self._hold, self._connection):
            if connection is not None:
                connection.close()
        self._hold = self._connection = None

    def hold(self, holder: str) -> None:
        """See `Database.hold`. The lock is that of a second, empty database, so it ends with the process."""
        if self._hold is not None:
            return
        with self.errors():
            lock = sqlite3.connect(f"{self._path}-run", timeout=0, isolation_level=None)
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            lock.close()
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise self._error(error) from None
            row = self.execute("SELECT value FROM info WHERE name = 'holder'").fetchone()
            other = row[0] if row else "another process"
            raise ConfigurationError(
                f"{self.name}: {other} works on this manifest; wait until it ends, or stop it. For several machines, "
                "use a manifest in Postgres"
            ) from None
        self._hold = lock
        with self.transaction():
            self.execute(
                "INSERT INTO info VALUES ('holder', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", holder
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Database.transaction`."""
        with self.errors():
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a failed statement may have ended the transaction itself
                    self.execute("ROLLBACK")
                raise

    def execute(self, statement: str, *arguments: object) -> Cursor:
        """See `Database.execute`."""
        assert self._connection is not None, "open it first"  # noqa: S101 - only `Manifest` has it
        return self._connection.execute(statement, arguments)

    def insert_many(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        """See `Database.insert_many`."""
        assert self._connection is not None, "open it first"  # noqa: S101 - only `Manifest` has it
        return self._connection.executemany(statement, rows).rowcount

    def now(self) -> float:
        """See `Database.now`."""
        return time.time()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """See `Database.errors`."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._error(error) from None

    def _error(self, error: sqlite3.Error) -> ASRError:
        # "SQLITE_BUSY", or a wider or narrower code such as "SQLITE_IOERR_WRITE"
        code = getattr(error, "sqlite_errorname", "").split("_")
        match code[1:2]:
            case ["BUSY" | "LOCKED"]:
                text = f"is locked: another program has been writing to it for {self._busy_s:g} s; close that program"
            case ["READONLY" | "PERM" | "AUTH"]:
                text = "is read-only: a run writes to its manifest; give this user the right to, also in its folder"
            case ["FULL" | "IOERR"]:
                text = f"cannot be written: {error}. Is the disk full? Make room, and run the same command again"
            case ["CANTOPEN"]:
                text = "cannot be opened: does its folder exist, and may this user write to it?"
            case ["NOTADB" | "CORRUPT"]:
                return ConfigurationError(f"{self.name} is not a manifest ({error}): choose another name")
            case _:
                text = f"cannot be used: {error}"
        return StorageError(f"{self.name} {text}")


class PostgresDatabase:
    """A manifest in Postgres (12 or later), for any number of machines; needs the extra `postgres`.

    Each run is a schema, whose name is the fragment of the URL: `postgresql://host/database#nightly`. The driver is
    psycopg, and libpq reads what the URL lacks from the environment (`PGHOST`, `PGUSER`, `PGPASSWORD`) and `~/.pgpass`:
    leave the password out of the URL. The clock is the server's, so those of the machines do not matter.

    Raises:
        ConfigurationError: the name of the run is malformed.
    """

    row_id = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    locked = " FOR UPDATE"
    skip_locked = " FOR UPDATE SKIP LOCKED"

    def __init__(self, url: str) -> None:
        url = secret_url(url)
        address, run = urldefrag(url)
        self._address = secret_url(address)
        self._run = run or _DEFAULT_RUN
        self.name: str = shown_url(url) + (f"#{run}" if run else "")
        if not _RUN_NAME.fullmatch(self._run):
            raise ConfigurationError(f"{self.name}: the name of a run has letters, digits and _.- only, at most 60")
        self._connection: psycopg.Connection[Any] | None = None

    def open(self, schema: Sequence[str], *, create: bool) -> None:
        """See `Database.open`."""
        try:
            importlib.import_module("psycopg")
        except ImportError:
            raise ConfigurationError(
                f"{self.name}: a manifest in Postgres needs psycopg: pip install 'asr-async[postgres]'"
            ) from None
        try:
            with self.transaction():
                # held until the end of the transaction: of several machines that begin at once, one makes the tables
                self.execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", self._run)
                self._check(schema, create=create)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        """Connect, if there is no connection or it was lost."""
        if self._connection is None or self._connection.closed:
            driver = importlib.import_module("psycopg")
            self._connection = driver.connect(self._address, autocommit=True, connect_timeout=10)
            self.execute(f'SET search_path TO "{self._run}"')

    def _check(self, schema: Sequence[str], *, create: bool) -> None:
        exists = self.execute("SELECT 1 FROM pg_namespace WHERE nspname = ?", self._run).fetchone()
        if not exists and not create:
            raise _missing(self.name)
        if not exists:
            self.execute(f'CREATE SCHEMA "{self._run}"')
            for statement in schema:
                self.execute(statement)
            self.execute("INSERT INTO info VALUES ('format', ?)", str(FORMAT))
            return
        is_manifest = self.execute("SELECT to_regclass('info')").fetchone()[0]
        row = is_manifest and self.execute("SELECT value FROM info WHERE name = 'format'").fetchone()
        if not row:
            raise ConfigurationError(f"{self.name} is a schema of another program: choose another name after #")
        if int(row[0]) > FORMAT:
            raise _newer(self.name, int(row[0]))

    def close(self) -> None:
        """See `Database.close`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def hold(self, holder: str) -> None:
        """Do nothing: the processes of several machines work on one manifest together."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Database.transaction`."""
        with self.errors():
            self.execute("BEGIN")
            try:
                yield
                self.execute("COMMIT")
            except BaseException:
                with suppress(Exception):  # the connection may be what failed
                    self.execute("ROLLBACK")
                raise

    def execute(self, statement: str, *arguments: object) -> Cursor:
        """See `Database.execute`."""
        assert self._connection is not None, "open it first"  # noqa: S101 - only `Manifest` has it
        return self._connection.execute(statement.replace("?", "%s").encode(), arguments)

    def insert_many(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        """See `Database.insert_many`."""
        assert self._connection is not None, "open it first"  # noqa: S101 - only `Manifest` has it
        with self._connection.cursor() as cursor:
            cursor.executemany(statement.replace("?", "%s").encode(), rows)
            return cursor.rowcount

    def now(self) -> float:
        """See `Database.now`."""
        return float(self.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()[0])

    @contextmanager
    def errors(self) -> Iterator[None]:
        """See `Database.errors`. Connects first, if there is no connection."""
        driver = importlib.import_module("psycopg")
        try:
            self._connect()
            yield
        except driver.Error as error:
            reason = one_line(str(error)).rstrip(".") or type(error).__name__
            if isinstance(error, driver.errors.InsufficientPrivilege | driver.errors.ReadOnlySqlTransaction):
                reason += "; a run writes to its manifest: give this user the right to"
            is_lost = self._connection is not None and self._connection.closed
            raise StorageError(f"{self.name}: {reason}", retryable=is_lost) from None
