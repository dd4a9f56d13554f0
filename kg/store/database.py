"""Opening the cache's database: connection rules, transactions, ordered migrations."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from kgvad.errors import StoreError, UsageError
from kgvad.kg.store.migrations import MIGRATIONS
from kgvad.kg.store.schema import Base, MigrationRow
from kgvad.settings import cache_dir

BUSY_TIMEOUT_S = 60  # how long a writer waits for another process's batch


def now() -> str:
    """The time, UTC, to the second, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def default_url() -> str:
    """URL of the SQLite file in the cache folder."""
    return f"sqlite:///{cache_dir() / 'knowledge-graph.sqlite'}"


def database_file(url: str | None = None) -> Path | None:
    """File of the cache at this URL (``None``: the default one); ``None`` where it is not a file."""
    parsed = _parse(url or default_url())
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


class Database:
    """An engine with the rules that keep the cache consistent.

    SQLite: write-ahead log, foreign keys on, a busy timeout, and writers that take the lock when they
    begin, so that two processes wait for each other instead of failing. A file that cannot be written is read.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = _parse(url or default_url())
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._engine()
        with self.guard():
            self._migrate()

    @property
    def where(self) -> str:
        """The database in words, without a password."""
        if self.sqlite:
            return self.url.database or "the database in memory"
        return self.url.render_as_string(hide_password=True)

    def _engine(self) -> Engine:
        if not self.sqlite:
            try:
                return create_engine(self.url, pool_pre_ping=True)
            except ImportError as error:
                remedy = f"pip install {error.name or 'it'}, or use the default SQLite cache"
                raise StoreError(f"the driver for {self.where} is not installed", remedy) from error
        if self.url.database:
            folder = Path(self.url.database).absolute().parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"cannot make the folder {folder}: {error.strerror}", "set KGVAD_CACHE") from error
        fixed = self._read_only()
        engine = create_engine(
            self.url, connect_args={"timeout": BUSY_TIMEOUT_S}, **({"creator": fixed} if fixed else {})
        )

        @event.listens_for(engine, "connect")
        def _connect(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # BEGIN is sent below, not by the driver
            if not fixed:
                _write_ahead(connection)
            for pragma in ("synchronous = NORMAL", "foreign_keys = ON", "cache_size = -16000"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("kgvad_writes")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def _read_only(self) -> Callable[[], sqlite3.Connection] | None:
        """Opens a file that cannot be written; ``None``: it can be, or is not there yet.

        The write-ahead log needs a file beside it even for reading. Where none can be made, nobody writes either
        (``immutable``).
        """
        path = Path(self.url.database or "").absolute()
        writable = os.access(path.parent, os.W_OK)
        if not path.is_file() or (writable and os.access(path, os.W_OK)):
            return None
        address = f"{path.as_uri()}?mode=ro{'' if writable else '&immutable=1'}"
        return partial(sqlite3.connect, address, uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn the database's own errors into one line with a remedy."""
        try:
            yield
        except SQLAlchemyError as error:
            raise self._explain(error) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one consistent state."""
        with self.guard(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: all of the block is committed, or, after an error or a kill, none of it."""
        with self.guard(), self.engine.connect() as plain:
            connection = plain.execution_options(kgvad_writes=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def _migrate(self) -> None:
        with self.read() as connection:
            if self._version(connection) == len(MIGRATIONS):
                return
        with self.write() as connection:
            if self.url.get_backend_name() == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(7239461)"))  # one migrates, the others wait
            version = self._version(connection)
            for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
                migration(connection)
                row = {"number": number, "name": migration.__name__, "applied_at": now()}
                connection.execute(MigrationRow.__table__.insert(), row)  # type: ignore[attr-defined]

    def _version(self, connection: Connection) -> int:
        tables = set(inspect(connection).get_table_names())
        if "migrations" not in tables:
            if tables & set(Base.metadata.tables):
                raise StoreError(f"{self.where} is a database of another program", "name another one")
            return 0
        numbers = connection.scalars(select(MigrationRow.number).order_by(MigrationRow.number)).all()
        if len(numbers) > len(MIGRATIONS):
            raise StoreError(
                f"{self.where} was written by a newer kgvad (format {len(numbers)}, this one reads {len(MIGRATIONS)})",
                "upgrade kgvad, or set KGVAD_CACHE to another folder",
            )
        return len(numbers)

    def _explain(self, error: SQLAlchemyError) -> StoreError:
        if not isinstance(error, DBAPIError):
            return StoreError(f"{self.where}: {_first_line(error)}")
        reason = _first_line(error.orig or error)
        low = reason.casefold()
        if self.sqlite:
            if "not a database" in low or "malformed" in low or "corrupt" in low:
                remedy = f"it can be built again: mv '{self.where}' '{self.where}.damaged' && kgvad kg fetch"
                return StoreError(f"the knowledge-graph cache {self.where} is damaged ({reason})", remedy)
            if "locked" in low or "busy" in low:
                remedy = "wait for it to end, or set KGVAD_CACHE to another folder"
                return StoreError(f"{self.where} is locked by another program", remedy)
            if "readonly" in low or "unable to open" in low:
                remedy = "set KGVAD_CACHE to a writable folder, or name another cache with --store"
                return StoreError(f"{self.where} cannot be written: {reason}", remedy)
            if "full" in low:
                return StoreError(f"no space left for {self.where}", "free some space and run the same command again")
        return StoreError(f"{self.where}: {reason}", "check the server and the store URL")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch the write-ahead log on; SQLite does not wait for another process that does the same, so retry here."""
    end = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.01)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        remedy = "write sqlite:///file.sqlite or postgresql+psycopg://user@host/name"
        raise UsageError(f"{url!r} is not a supported database URL", remedy) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        remedy = "use SQLite or PostgreSQL"
        raise UsageError(f"{parsed.get_backend_name()} is not supported for the knowledge graph", remedy)
    return parsed


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
