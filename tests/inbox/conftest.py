"""A small inbox: rendered videos, scores of another program, and the pages without a server around them."""

import json

import av
import numpy as np
import pytest

from kgvad.explainers import ExplainRequest
from kgvad.inbox.access import Access
from kgvad.inbox.serve import Server
from kgvad.session import Session

FPS, FRAMES = 20, 320
HOST = "localhost:8472"


def write_video(path, seed=0):
    """Sixteen seconds, grey, with a white square that jumps about from 8 to 12 s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "30", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(FRAMES):
            picture = np.full((64, 96, 3), 110 + seed, np.uint8)
            if 160 <= index < 240:
                x = (index * 37) % 70
                picture[20:40, x : x + 20] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def footage(tmp_path_factory):
    """A folder of two videos, and scores for them: an event from 8 to 12 s."""
    folder = tmp_path_factory.mktemp("footage")
    scores = tmp_path_factory.mktemp("scores")
    for number, name in enumerate(("door", "yard")):
        write_video(folder / f"{name}.mp4", number)
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
    monkeypatch.setattr("kgvad.inbox.serve.LOOK_EVERY_S", -1.0)  # the footage was written just now
    server = make()
    server.look()
    explain_all(server)
    return server


def explain_all(server):
    """Do the work of the worker's thread here."""
    while (video := server.library.take()) is not None:
        server.worker.explain(video)
