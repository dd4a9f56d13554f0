"""Words find videos literally, and other wordings through the text encoder."""

import pytest

from kgvad.inbox.library import Library
from kgvad.inbox.search import Searcher


@pytest.fixture
def library(tmp_path):
    found = Library(tmp_path)
    for number, (name, texts) in enumerate(
        {"a": ["arson", "extinguishing fire"], "b": ["robbery", "a man takes a bag"], "c": []}.items()
    ):
        found.add(tmp_path / name, name)
        found.take()
        found.finish(number + 1, {"events": 1}, [(text, 4.0 + place) for place, text in enumerate(texts)])
    yield found
    found.close()


def test_words_are_found_literally_without_an_encoder(library):
    searcher = Searcher(library, lambda: None)
    assert {number: hit.text for number, hit in searcher.search("FIRE").items()} == {1: "extinguishing fire"}
    assert searcher.search("man bag")[2].time_s == 5.0
    assert searcher.search("   ") == searcher.search("elephant") == {}


def test_other_wordings_are_found_by_meaning(library, weights):
    from kgvad.anchors.text_encoders import load_text_encoder

    weights("minilm-l6")
    searcher = Searcher(library, lambda: load_text_encoder("minilm"))
    found = searcher.search("putting out a blaze")
    assert list(found) == [1]
    assert found[1].similarity < 1
    assert list(searcher.search("a thief"))[:1] == [2]


def test_a_video_that_was_removed_is_not_found(library):
    library.remove(1)
    assert Searcher(library, lambda: None).search("fire") == {}
