"""Captions are cut where another thing is said, and spread over the snippets."""

import pytest

from kgvad.detector.scoring.clauses import clauses, snippet_captions


@pytest.mark.parametrize(
    ("caption", "parts"),
    [
        ("A man walks.", ["A man walks"]),
        ("A man walks, and a car burns.", ["A man walks", "a car burns"]),
        ("One person sits while another falls.", ["One person sits", "another falls"]),
        ("A man enters. He takes a bag; he runs", ["A man enters", "He takes a bag", "he runs"]),
        ("A man and woman talk", ["A man and woman talk"]),
        ("", [""]),
        ("...", ["..."]),
        ("放火", ["放火"]),
    ],
)
def test_clauses(caption, parts):
    assert clauses(caption) == parts


def test_a_snippet_has_the_captions_that_begin_in_it_or_the_latest():
    captions = [(20, "a"), (33, "b"), (40, "c"), (100, "d")]
    assert snippet_captions(captions, 8) == [["a"], ["a"], ["b", "c"], ["c"], ["c"], ["c"], ["d"], ["d"]]


def test_captions_of_every_frame_are_thinned_evenly():
    captions = [(frame, str(frame)) for frame in range(32)]
    assert snippet_captions(captions, 2) == [["3", "7", "11", "15"], ["19", "23", "27", "31"]]
