"""The inbox's database: videos, the state of their reports, and the marks of reviewers, in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from filelock import FileLock
from sqlalchemy import Delete, Engine, ForeignKey, create_engine, delete, event, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from kgvad.errors import StoreError
from kgvad.locks import hold

FILE = "inbox.sqlite"
VERSION = 2  # PRAGMA user_version of the file; since 2 a mark may lack times, a file has a stamp
BUSY_TIMEOUT_S = 30
TRIES = 2  # times that the same video may end the process

State = Literal["waiting", "working", "done", "failed", "removed"]  # removed: a file of a folder that is not wanted
Verdict = Literal["right", "wrong", "missed"]  # missed: an event that the report has not


class Base(DeclarativeBase):
    """Base of the tables."""


class VideoRow(Base):
    """A video in the inbox."""

    __tablename__ = "video"
    __table_args__ = ({"sqlite_autoincrement": True},)  # the number of a removed video is never given to another

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]  # shown; the path inside the opened folder, or the name of the upload
    path: Mapped[str] = mapped_column(unique=True)  # absolute
    uploaded: Mapped[bool]  # whether the file belongs to the inbox
    added: Mapped[str]
    stamp: Mapped[str | None]  # size and time of the file of a folder; None: added by version 1, or an upload
    state: Mapped[str] = mapped_column(default="waiting", index=True)
    reason: Mapped[str | None]  # why it failed
    tries: Mapped[int] = mapped_column(default=0)  # begun, never ended
    made_with: Mapped[str | None]  # identity of the explainer
    events: Mapped[int] = mapped_column(default=0)
    first_s: Mapped[float | None]
    duration_s: Mapped[float | None]
    highest: Mapped[float | None]  # score
    category: Mapped[str | None]  # of the strongest event, where it is clear
    verdict: Mapped[str | None]  # that category in words


class MarkRow(Base):
    """What a person said about an event."""

    __tablename__ = "mark"

    id: Mapped[int] = mapped_column(primary_key=True)
    video_id: Mapped[int] = mapped_column(ForeignKey("video.id", ondelete="CASCADE"), index=True)
    start_s: Mapped[float | None]  # of a missed event only if they were given
    end_s: Mapped[float | None]
    verdict: Mapped[str]
    category: Mapped[str | None]
    made: Mapped[str]


class MentionRow(Base):
    """A text of a report, for search."""

    __tablename__ = "mention"

    id: Mapped[int] = mapped_column(primary_key=True)
    video_id: Mapped[int] = mapped_column(ForeignKey("video.id", ondelete="CASCADE"), index=True)
    text: Mapped[str]
    time_s: Mapped[float]


@dataclass(frozen=True)
class Mark:
    """A reviewer's mark of an event: ``verdict``, and the category if it was given; a missed event may lack times."""

    start_s: float | None
    end_s: float | None
    verdict: Verdict
    category: str | None = None


class Library:
    """The database of one inbox. Several threads of one process may use it; :meth:`close` leaves it to another process.

    Parameters
    ----------
    folder
        Folder of the inbox; made where it is missing.

    Raises
    ------
    StoreError
        The folder cannot be written, another process serves it, or the file is damaged or of a newer version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = _locked(folder)
        self.file = folder / FILE
        self._engine = self._open()
        self._sessions = sessionmaker(self._engine, expire_on_commit=False)
        try:
            with self._guard():
                self._prepare()
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections and unlock the folder."""
        self._engine.dispose()
        self._lock.release()

    # Videos

    def add(self, path: Path, name: str, *, uploaded: bool = False, stamp: str | None = None) -> int:
        """Put a video into the queue and return its number; one that is known, or was removed, stays as it is."""
        with self._write() as session:
            known = session.scalar(select(VideoRow).where(VideoRow.path == str(path)))
            if known is not None:
                return known.id
            row = VideoRow(name=name, path=str(path), uploaded=uploaded, added=_now(), stamp=stamp)
            session.add(row)
            session.flush()
            return row.id

    def find(self, path: Path) -> VideoRow | None:
        """The video in this file, also one that was removed."""
        with self._read() as session:
            return session.scalar(select(VideoRow).where(VideoRow.path == str(path)))

    def set_stamp(self, number: int, stamp: str) -> None:
        """Record size and time of a file whose content is the one that is known."""
        with self._write() as session:
            session.execute(update(VideoRow).where(VideoRow.id == number).values(stamp=stamp))

    def replace(self, video: VideoRow, stamp: str) -> int:
        """Queue what stands in the file of a video now, as another video, and return how many marks went with it."""
        with self._write() as session:
            marks = session.scalar(select(func.count()).where(MarkRow.video_id == video.id))
            session.execute(delete(VideoRow).where(VideoRow.id == video.id))  # with its marks and texts
            session.flush()
            session.add(VideoRow(name=video.name, path=video.path, uploaded=False, added=_now(), stamp=stamp))
            return marks or 0

    def video(self, number: int) -> VideoRow | None:
        """The video with this number."""
        with self._read() as session:
            return session.scalar(select(VideoRow).where(VideoRow.id == number, VideoRow.state != "removed"))

    def videos(self) -> list[VideoRow]:
        """All videos, newest first."""
        with self._read() as session:
            shown = select(VideoRow).where(VideoRow.state != "removed")
            return list(session.scalars(shown.order_by(VideoRow.id.desc())))

    def counts(self) -> dict[str, int]:
        """Number of videos by state."""
        with self._read() as session:
            shown = select(VideoRow.state, func.count()).where(VideoRow.state != "removed")
            return {row[0]: row[1] for row in session.execute(shown.group_by(VideoRow.state))}

    def remove(self, number: int) -> None:
        """Forget a video with its marks; of one that lies in a followed folder is kept that it is not wanted."""
        with self._write() as session:
            session.execute(delete(VideoRow).where(VideoRow.id == number, VideoRow.uploaded))
            for table in (MarkRow, MentionRow):
                session.execute(delete(table).where(table.video_id == number))
            session.execute(update(VideoRow).where(VideoRow.id == number).values(state="removed"))

    # Queue

    def recover(self) -> None:
        """Queue what an ended process left unfinished again; a video that ended it :data:`TRIES` times has failed."""
        reason = "explaining it ended the process twice; try kgvad explain on it alone"
        with self._write() as session:
            ended = VideoRow.state == "working"
            session.execute(
                update(VideoRow).where(ended, VideoRow.tries >= TRIES).values(state="failed", reason=reason)
            )
            session.execute(update(VideoRow).where(ended).values(state="waiting"))

    def put_back(self) -> None:
        """Queue the video that is being worked on again, as if it had not been begun."""
        with self._write() as session:
            begun = update(VideoRow).where(VideoRow.state == "working")
            session.execute(begun.values(state="waiting", tries=VideoRow.tries - 1))

    def take(self) -> VideoRow | None:
        """The oldest video that waits, now marked as being worked on."""
        with self._write() as session:
            row = session.scalar(select(VideoRow).where(VideoRow.state == "waiting").order_by(VideoRow.id).limit(1))
            if row is not None:
                row.state, row.tries = "working", row.tries + 1
            return row

    def finish(self, number: int, facts: Mapping[str, object], mentions: Sequence[tuple[str, float]]) -> bool:
        """Record a report: columns of :class:`VideoRow`, and the texts that a search finds it by, with their times.

        Returns whether it was recorded: not if the video was removed while it was worked on.
        """
        with self._write() as session:
            if not self._end(session, number, state="done", reason=None, **facts):
                return False
            session.execute(delete(MentionRow).where(MentionRow.video_id == number))
            session.add_all(MentionRow(video_id=number, text=text, time_s=time_s) for text, time_s in mentions)
            return True

    def fail(self, number: int, reason: str) -> None:
        """Record why a video has no report."""
        with self._write() as session:
            self._end(session, number, state="failed", reason=reason)

    def _end(self, session: Session, number: int, **values: object) -> bool:
        row = session.get(VideoRow, number)
        if row is None or row.state != "working":
            return False
        for name, value in {"tries": 0, **values}.items():
            setattr(row, name, value)
        return True

    def again(self, number: int) -> None:
        """Put a video back into the queue."""
        with self._write() as session:
            session.execute(
                update(VideoRow)
                .where(VideoRow.id == number, VideoRow.state.in_(("done", "failed")))
                .values(state="waiting", reason=None, tries=0)
            )

    # Marks

    def mark(self, number: int, mark: Mark) -> int:
        """Set the mark of an event and return its number; an earlier mark of the same event is replaced.

        Missed events are the same if they have the same category and times, others if they have the same times.
        """
        with self._write() as session:
            is_same = MarkRow.verdict != "missed"
            if mark.verdict == "missed":
                is_same = (MarkRow.verdict == "missed") & (MarkRow.category == mark.category)
            session.execute(_of_stretch(number, mark.start_s, mark.end_s).where(is_same))
            row = MarkRow(video_id=number, made=_now(), **asdict(mark))
            session.add(row)
            session.flush()
            return row.id

    def unmark(self, number: int, start_s: float, end_s: float) -> None:
        """Take the mark of an event back."""
        with self._write() as session:
            session.execute(_of_stretch(number, start_s, end_s).where(MarkRow.verdict != "missed"))

    def unmark_missed(self, number: int, mark: int) -> None:
        """Take the mark of a missed event back."""
        with self._write() as session:
            of_video = delete(MarkRow).where(MarkRow.video_id == number, MarkRow.id == mark)
            session.execute(of_video.where(MarkRow.verdict == "missed"))

    def marks(self) -> dict[int, list[MarkRow]]:
        """Marks by number of the video, in the order of time."""
        found: dict[int, list[MarkRow]] = {}
        with self._read() as session:
            for row in session.scalars(select(MarkRow).order_by(MarkRow.video_id, MarkRow.start_s)):
                found.setdefault(row.video_id, []).append(row)
        return found

    # Search

    def mentions(self) -> list[MentionRow]:
        """Every text of every report."""
        with self._read() as session:
            return list(session.scalars(select(MentionRow).order_by(MentionRow.id)))

    # Connections

    def _open(self) -> Engine:
        engine = create_engine(f"sqlite:///{self.file}", connect_args={"timeout": BUSY_TIMEOUT_S})

        @event.listens_for(engine, "connect")
        def _connect(connection: sqlite3.Connection, _record: object) -> None:
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")

        return engine

    def _prepare(self) -> None:
        with self._engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver would write each change of a table at once
            found = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if found > VERSION:
                raise StoreError(f"{self.file} was written by a newer kgvad", "update kgvad, or choose another --inbox")
            if found == 1:
                connection.exec_driver_sql("ALTER TABLE mark RENAME TO mark_1")
                connection.exec_driver_sql("DROP INDEX ix_mark_video_id")
                connection.exec_driver_sql("ALTER TABLE video ADD COLUMN stamp VARCHAR")
            Base.metadata.create_all(connection)
            if found == 1:
                columns = "id, video_id, start_s, end_s, verdict, category, made"
                connection.exec_driver_sql(f"INSERT INTO mark ({columns}) SELECT {columns} FROM mark_1")
                connection.exec_driver_sql("DROP TABLE mark_1")
            connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StoreError(f"the inbox {self.file}: {cause}", "free disk space, or choose another --inbox") from error

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with self._guard(), self._sessions() as session:
            yield session

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with self._guard(), self._sessions.begin() as session:
            yield session


def _locked(folder: Path) -> FileLock:
    """The folder, made where it is missing, for this process alone: two would explain the same videos."""
    taken = StoreError(f"another kgvad serve has the inbox {folder} open", "end it, or choose another --inbox")
    try:
        return hold(folder / ".lock", taken)
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error.strerror}", "choose another --inbox") from error


def _of_stretch(number: int, start_s: float | None, end_s: float | None) -> Delete:
    return delete(MarkRow).where(MarkRow.video_id == number, MarkRow.start_s == start_s, MarkRow.end_s == end_s)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
