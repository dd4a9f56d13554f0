"""A small inbox: rendered videos, scores of another program, and the pages without a server around them."""

import json

import pytest
from square_video import write_video

from kgvad.explainers import ExplainRequest
from kgvad.inbox.access import Access
from kgvad.inbox.serve import Server
from kgvad.session import Session

HOST = "localhost:8472"


@pytest.fixture(scope="session")
def footage(tmp_path_factory):
    """A folder of two videos, and scores for them: an event from 8 to 12 s."""
    folder = tmp_path_factory.mktemp("footage")
    scores = tmp_path_factory.mktemp("scores")
    for number, name in enumerate(("door", "yard")):
        write_video(folder / f"{name}.mp4", grey=110 + number)
        values = [0.1] * 10 + [0.9, 0.8, 0.7, 0.9, 0.6] + [0.1] * 5
        (scores / f"{name}.json").write_text(json.dumps({"scores": values}))
    return folder, scores


@pytest.fixture
def make(footage, tmp_path):
    """``make(...)``: an inbox on the footage; options are those of :class:`Access`."""
    videos, scores = footage
    opened = []

    def open_inbox(token=None, max_upload=1 << 20, language="en"):
        session = Session(explaining=True)
        request = ExplainRequest(scores=scores, videos=videos, actions=False, language=language)
        server = Server(session, request, tmp_path / "inbox", [videos])
        server.client = server.app(Access(frozenset({"localhost"}), token, max_upload))
        opened.append((session, server))
        return server

    yield open_inbox
    for session, server in opened:
        server.library.close()
        session.close()


@pytest.fixture
def inbox(make, footage, monkeypatch):
    """An inbox whose two videos are explained."""
    monkeypatch.setattr("kgvad.inbox.serve.SETTLED_S", -1.0)  # the footage was written just now
    server = make()
    server.look()
    explain_all(server)
    return server


def explain_all(server):
    """Do the work of the worker's thread here."""
    while (video := server.library.take()) is not None:
        server.worker.explain(video)
