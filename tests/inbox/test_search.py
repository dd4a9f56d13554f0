"""Words find videos literally, and other wordings through the text encoder."""

from threading import Event
from types import SimpleNamespace

import numpy as np
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


def test_the_words_are_found_while_the_encoder_is_loaded(library, monkeypatch):
    """A search does not wait for that, and says whether there may be more."""
    monkeypatch.setattr("kgvad.inbox.search.PATIENCE_S", 0.01)
    may_load, loads = Event(), []

    def load():
        loads.append(1)
        may_load.wait(20)
        return SimpleNamespace(encode=lambda texts: np.ones((len(texts), 1)))

    searcher = Searcher(library, load)
    assert list(searcher.search("fire")) == list(searcher.search("fire")) == [1] and searcher.is_loading
    may_load.set()
    searcher._loading.join(20)
    assert list(searcher.search("fire")) == [1, 2] and not searcher.is_loading and loads == [1]


def test_other_wordings_are_found_by_meaning(library, weights, monkeypatch):
    from kgvad.anchors.text_encoders import load_text_encoder

    weights("minilm-l6")
    monkeypatch.setattr("kgvad.inbox.search.PATIENCE_S", 60)
    searcher = Searcher(library, lambda: load_text_encoder("minilm"))
    found = searcher.search("putting out a blaze")
    assert list(found) == [1]
    assert found[1].similarity < 1
    assert list(searcher.search("a thief"))[:1] == [2]


def test_a_video_that_was_removed_is_not_found(library):
    library.remove(1)
    assert Searcher(library, lambda: None).search("fire") == {}
