"""Reports on a re-encoded video."""

import av
import numpy as np
import pytest
from detector_samples import kgvad
from explain_samples import bank, report_on, scores

from kgvad.errors import UsageError, VideoError
from kgvad.explain.explanation import Explanation
from kgvad.explain.quality.reencoding import compare, reencode
from kgvad.video.decode import probe


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.mp4"
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 66, "yuv420p"
        for index in range(100):
            picture = np.full((66, 96, 3), 110, np.uint8)
            if 30 <= index < 70:
                picture[20:40, index * 37 % 70 :][:, :20] = random.integers(0, 255, 3)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def explained(**changes):
    given = scores(names="hint", **changes)
    return Explanation(report_on(given, bank=bank()), given)


def test_the_copy_is_smaller_and_has_the_same_frames(video, tmp_path):
    reencode(video, tmp_path / "again.mp4")
    old, new = probe(video, exact=True), probe(tmp_path / "again.mp4", exact=True)
    assert (new.width, new.height) == (48, 32)
    assert (new.frame_count, new.fps) == (old.frame_count, old.fps)
    assert (tmp_path / "again.mp4").stat().st_size < video.stat().st_size
    with pytest.raises(VideoError, match=r"nothing\.mp4 cannot be re-encoded"):
        reencode(tmp_path / "nothing.mp4", tmp_path / "x.mp4")


def test_differences_worked_out_by_hand():
    whole = explained(events=((60, 80, 0.9),))
    same = compare(whole, whole, "v")
    assert (same.overlap, same.score_change, same.same_category) == (1, 0, True)
    assert same.correlation == pytest.approx(1)
    half = compare(whole, explained(events=((60, 70, 0.9),)), "v")
    assert half.overlap == pytest.approx(0.5) and half.score_change > 0.03
    none = compare(explained(events=()), explained(events=()), "v")
    assert none.overlap is None and none.same_category is None


def test_the_command_prints_a_row_per_video(video, weights):
    weights("efficientnet-lite0")
    table = kgvad("explain-eval", "--reencode", video)
    assert "Re-encoded at 1/2 of the width and height" in table
    assert "| clip |" in table and "| mean of 1 |" in table
    with pytest.raises(UsageError, match="nothing to measure"):
        kgvad("explain-eval", "--features", video)
