"""``kgvad explain --open``: a category that no table has, named in a report without training."""

import json
import sys

import av
import numpy as np
import pytest

from kgvad.cli import main
from kgvad.errors import UsageError
from kgvad.explainers import ExplainRequest, build_explainer
from kgvad.session import Session


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Eight seconds of grey; from 2.4 to 5.6 s a white square jumps about."""
    path = tmp_path_factory.mktemp("video") / "dog.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"crf": "30", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(160):
            picture = np.full((64, 96, 3), 110, np.uint8)
            if 48 <= index < 112:
                picture[20:40, index * 37 % 70 :][:, :20] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.json"
    said = ["a quiet street with parked cars"] * 3 + ["a big dog bites a man in the leg"] * 4 + ["a quiet street"] * 3
    path.write_text(json.dumps({"dog": {str(16 * i): text for i, text in enumerate(said)}}))
    return path


def test_words_and_an_item_become_categories_of_the_report(weights, video, captions, monkeypatch, capsys, tmp_path):
    weights("minilm-l6")
    out = tmp_path / "report.json"
    given = ["--captions", captions, "--open", "a dog attacks a person", "--open", "Q45393", "--onset", "0.005"]
    monkeypatch.setattr(
        sys,
        "argv",
        ["kgvad", "explain", *map(str, [video, "-e", "efficientnet-lite0", *given, "-o", out, "--no-images"])],
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0, capsys.readouterr().err
    report = json.loads(out.read_text("utf-8"))
    assert "a dog attacks a person" in json.dumps(report["events"][0])
    request = ExplainRequest(
        encoder="efficientnet-lite0", captions=captions, queries=("a dog attacks a person",), images=False
    )
    scores = build_explainer(Session(), request).explain(video).scores
    assert scores.categories[-1] == "a dog attacks a person"
    assert scores.alignment[4].argmax() == len(scores.categories) - 1  # a dog bites
    assert scores.alignment[0].argmax() != len(scores.categories) - 1  # a quiet street


def test_given_scores_cannot_be_opened(tmp_path):
    with pytest.raises(UsageError, match="--open cannot add categories to existing scores"):
        build_explainer(Session(), ExplainRequest(queries=("a dog",), scores=tmp_path / "s.npz"))
