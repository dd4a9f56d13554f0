"""Progress where stderr is a file: a line now and then, never none for hours."""

import pytest

from kgvad import console


@pytest.fixture
def clock(monkeypatch):
    """Seconds since the start, to be set by the test."""
    now = {"s": 0.0}
    monkeypatch.setattr(console.time, "monotonic", lambda: now["s"])
    return now


@pytest.fixture
def logged(caplog, monkeypatch):
    """Lines of kgvad's log."""
    monkeypatch.setattr(console.logging.getLogger("kgvad"), "propagate", True)
    caplog.set_level("INFO", "kgvad")
    return lambda: [record.getMessage() for record in caplog.records]


def test_short_work_says_nothing(clock, logged):
    with console.progress("training", 4) as advance:
        for second in (10, 20, 30, 40):
            clock["s"] = second
            advance()
    assert logged() == []


def test_long_work_says_once_a_minute_where_it_is(clock, logged):
    with console.progress("extracting features", 400) as advance:
        for video in range(1, 13):
            clock["s"] = 20.0 * video
            advance(1, f"extracting features, {video} min of footage")
    assert logged() == [
        "extracting features, 3 min of footage: 3 of 400 (1%), about 132 min left",
        "extracting features, 6 min of footage: 6 of 400 (2%), about 131 min left",
        "extracting features, 9 min of footage: 9 of 400 (2%), about 130 min left",
        "extracting features, 12 min of footage: 12 of 400 (3%), about 129 min left",
    ]


def test_resumed_work_is_not_estimated_by_what_was_done_before(clock, logged):
    with console.progress("training", 30) as advance:
        clock["s"] = 1.0
        advance(20)
        clock["s"] = 121.0
        advance()
    assert logged() == ["training: 21 of 30 (70%), about 18 min left"]


def test_work_of_unknown_length(clock, logged):
    with console.progress("Wikidata") as advance:
        clock["s"] = 61.0
        advance(5)
    assert logged() == ["Wikidata: 5"]


def test_downloads_count_megabytes(clock, logged):
    with console.transfer_progress("fetching weights") as transferred:
        transferred(1_000_000, 60_000_000)
        clock["s"] = 90.0
        transferred(20_000_000, 60_000_000)
    assert logged() == ["fetching weights: 20 of 60 MB (33%), about 3 min left"]


def test_a_terminal_has_a_bar_and_no_lines(clock, logged, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with console.progress("training", 4) as advance:
        clock["s"] = 100.0
        advance()
    assert logged() == []
