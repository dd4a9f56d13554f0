"""Messages on their way: kept on disk until their receiver has them, and never sent twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    delete,
    event,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError, IntegrityError

from kgvad.errors import KgvadError

KEPT = timedelta(days=7)  # how long it is known that a message was delivered

_METADATA = MetaData()
_DELIVERIES = Table(
    "deliveries",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("sink", String(80), nullable=False),
    Column("key", String(200), nullable=False),
    Column("line", Text, nullable=False),
    Column("state", String(10), nullable=False),  # waiting, sent, refused
    Column("added", DateTime, nullable=False),
    UniqueConstraint("sink", "key"),
)


@dataclass(frozen=True)
class Delivery:
    """A message that waits."""

    id: int
    key: str
    line: str


class Spool:
    """A SQLite file of messages by sink.

    Raises
    ------
    KgvadError
        The file is damaged or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
        event.listen(self._engine, "connect", lambda raw, _: raw.execute("PRAGMA journal_mode=WAL"))
        try:
            _METADATA.create_all(self._engine)
            with self._engine.begin() as connection:
                old = _DELIVERIES.c.added < _now() - KEPT
                connection.execute(delete(_DELIVERIES).where(_DELIVERIES.c.state != "waiting", old))
        except DatabaseError as error:
            raise KgvadError(f"{path} cannot be used: {error.orig}", "delete it; what waits in it is lost") from error

    def add(self, sink: str, key: str, line: str) -> bool:
        """Keep a message for a sink; false where the sink has one with this key."""
        values = {"sink": sink, "key": key, "line": line, "state": "waiting", "added": _now()}
        try:
            with self._engine.begin() as connection:
                connection.execute(_DELIVERIES.insert().values(**values))
        except IntegrityError:
            return False
        return True

    def next(self, sink: str) -> Delivery | None:
        """The oldest message that waits for a sink."""
        columns = (_DELIVERIES.c.id, _DELIVERIES.c.key, _DELIVERIES.c.line)
        query = select(*columns).where(_DELIVERIES.c.sink == sink, _DELIVERIES.c.state == "waiting")
        with self._engine.connect() as connection:
            row = connection.execute(query.order_by(_DELIVERIES.c.id).limit(1)).first()
        return None if row is None else Delivery(*row)

    def waiting(self, sink: str) -> int:
        """How many messages wait for a sink."""
        query = select(_DELIVERIES.c.id).where(_DELIVERIES.c.sink == sink, _DELIVERIES.c.state == "waiting")
        with self._engine.connect() as connection:
            return len(connection.execute(query).all())

    def settle(self, delivery: Delivery, state: str) -> None:
        """The message was ``sent``, or ``refused``."""
        with self._engine.begin() as connection:
            connection.execute(update(_DELIVERIES).where(_DELIVERIES.c.id == delivery.id).values(state=state))

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(tzinfo=None)
