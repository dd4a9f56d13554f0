"""The inbox's database: the queue, what a killed process leaves, marks."""

import os
import sqlite3

import pytest
from users import ordinary_user

from kgvad.errors import StoreError
from kgvad.inbox.library import FILE, Library, Mark


@pytest.fixture
def library(tmp_path):
    found = Library(tmp_path / "inbox")
    yield found
    found.close()


def test_videos_are_taken_oldest_first_and_once(library, tmp_path):
    first, second = library.add(tmp_path / "a.mp4", "a"), library.add(tmp_path / "b.mp4", "b")
    assert library.add(tmp_path / "a.mp4", "a") == first
    assert [library.take().id, library.take().id, library.take()] == [first, second, None]


def test_a_video_that_was_being_explained_is_queued_again_but_not_for_ever(library, tmp_path):
    number = library.add(tmp_path / "a.mp4", "a")
    for _ in range(2):
        assert library.take().id == number
        library.recover()
    video = library.video(number)
    assert video.state == "failed"
    assert "ended the process" in video.reason
    assert library.take() is None


def test_a_mark_replaces_the_earlier_one_of_the_same_event(library, tmp_path):
    number = library.add(tmp_path / "a.mp4", "a")
    library.mark(number, Mark(8.0, 12.0, "right", "Robbery"))
    library.mark(number, Mark(8.0, 12.0, "wrong"))
    library.mark(number, Mark(1.0, 2.0, "right", "Arson"))
    assert [(m.start_s, m.verdict, m.category) for m in library.marks()[number]] == [
        (1.0, "right", "Arson"),
        (8.0, "wrong", None),
    ]
    library.unmark(number, 1.0, 2.0)
    assert len(library.marks()[number]) == 1
    library.remove(number)
    assert library.marks() == {}


def test_what_was_written_is_there_after_opening_again(tmp_path):
    one = Library(tmp_path)
    number = one.add(tmp_path / "a.mp4", "a")
    one.mark(number, Mark(8.0, 12.0, "wrong"))
    one.close()
    again = Library(tmp_path)
    assert len(again.marks()[number]) == 1
    again.close()


VERSION_1 = """
CREATE TABLE mark (
    id INTEGER NOT NULL, video_id INTEGER NOT NULL, start_s FLOAT NOT NULL, end_s FLOAT NOT NULL,
    verdict VARCHAR NOT NULL, category VARCHAR, made VARCHAR NOT NULL, PRIMARY KEY (id),
    UNIQUE (video_id, start_s, end_s), FOREIGN KEY(video_id) REFERENCES video (id) ON DELETE CASCADE
);
CREATE INDEX ix_mark_video_id ON mark (video_id);
INSERT INTO mark VALUES (7, 1, 8.0, 12.0, 'right', 'Arson', '2026-01-01');
PRAGMA user_version = 1;
"""


def test_an_inbox_of_version_1_keeps_its_marks_and_takes_missed_events(tmp_path):
    one = Library(tmp_path)
    number = one.add(tmp_path / "a.mp4", "a")
    one.close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.executescript("DROP TABLE mark; ALTER TABLE video DROP COLUMN stamp;" + VERSION_1)
    for _ in range(2):  # also once it is of the present version
        library = Library(tmp_path)
        library.mark(number, Mark(None, None, "missed", "Arson"))
        assert [(m.start_s, m.verdict, m.category, m.made[:10]) for m in library.marks()[number] if m.start_s] == [
            (8.0, "right", "Arson", "2026-01-01")
        ]
        assert len(library.marks()[number]) == 2
        assert library.find(tmp_path / "a.mp4").stamp is None
        library.close()


def test_missed_events_and_events_of_the_report_are_marked_apart(library, tmp_path):
    number = library.add(tmp_path / "a.mp4", "a")
    for mark in (
        Mark(8.0, 12.0, "wrong"),
        Mark(8.0, 12.0, "missed", "Arson"),
        Mark(None, None, "missed", "Arson"),
        Mark(None, None, "missed", "Robbery"),
    ):
        last = library.mark(number, mark)
    assert len(library.marks()[number]) == 4
    library.unmark(number, 8.0, 12.0)
    library.unmark_missed(number, last)
    assert [(m.start_s, m.verdict, m.category) for m in library.marks()[number]] == [
        (None, "missed", "Arson"),
        (8.0, "missed", "Arson"),
    ]


def test_a_file_of_a_newer_version_is_refused(tmp_path):
    Library(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer kgvad"):
        Library(tmp_path)


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"inbox\.sqlite"):
        Library(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="there are no POSIX permissions")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    tmp_path.chmod(0o555)
    with ordinary_user(tmp_path), pytest.raises(StoreError, match="cannot make the folder"):
        Library(tmp_path / "inbox")


def test_a_second_process_is_told_that_the_inbox_is_open(library):
    """Two would explain the same videos, and each would take the work of the other for unfinished."""
    with pytest.raises(StoreError, match="another kgvad serve"):
        Library(library.folder)


def test_a_video_of_a_folder_that_was_removed_does_not_come_back(library, tmp_path):
    number = library.add(tmp_path / "a.mp4", "a")
    library.remove(number)
    library.add(tmp_path / "a.mp4", "a")
    assert library.videos() == [] and library.counts() == {} and library.take() is None
    assert library.video(number) is None


def test_a_report_of_a_video_that_was_removed_meanwhile_is_not_recorded(library, tmp_path):
    """Nor is it taken for that of the next video."""
    number = library.add(tmp_path / "a.mp4", "a", uploaded=True)
    library.take()
    library.remove(number)
    later = library.add(tmp_path / "b.mp4", "b", uploaded=True)
    assert later != number
    assert not library.finish(number, {}, [("fire", 1.0)])
    library.fail(later, "it was not begun")
    assert library.counts() == {"waiting": 1} and library.mentions() == []


def test_closing_in_the_middle_of_a_video_costs_it_no_try(library, tmp_path):
    number = library.add(tmp_path / "a.mp4", "a")
    for _ in range(5):
        assert library.take().id == number
        library.put_back()
    library.recover()
    assert library.video(number).state == "waiting"
