"""What I3D recognises in parts of a video."""

from pathlib import Path

import numpy as np
import pytest

from kgvad.errors import UsageError
from kgvad.video.action_labels import action_labels
from kgvad.video.action_recognition import action_probabilities, window_frames
from kgvad.video.decode import VideoInfo
from kgvad.video.write import write_video


def test_labels_are_the_400_of_kinetics():
    labels = action_labels()
    assert len(labels) == len(set(labels)) == 400
    assert (labels[0], labels[-1]) == ("abseiling", "zumba")


@pytest.mark.parametrize(
    ("start", "end", "count", "windows", "first"),
    [
        (0, 45, 250, 3, [0]),  # 1.8 s: one window
        (0, 135, 250, 3, [0, 45, 90]),
        (0, 250, 250, 2, [0, 205]),
        (100, 105, 250, 3, [80]),  # widened to a window around it
        (245, 250, 250, 3, [205]),  # and kept inside the video
        (20, 220, 250, 1, [98]),
        (0, 20, 20, 3, [0]),  # a video shorter than a window
    ],
)
def test_which_frames_are_encoded(start, end, count, windows, first):
    info = VideoInfo(Path("v.mp4"), 25.0, count, 64, 48, count / 25)
    chosen = window_frames(info, start, end, windows)
    assert chosen.shape == (len(first), 18)
    assert chosen[:, 0].tolist() == first
    assert chosen.min() >= 0
    assert chosen.max() < count
    if count > 45:
        assert (np.diff(chosen, axis=1) >= 2).all()
        assert chosen[:, -1] - chosen[:, 0] == pytest.approx(42.5, abs=0.5)
    else:
        assert chosen[0, -9:].tolist() == [count - 1] * 9


def test_spans_outside_the_video_are_refused(tmp_path):
    path = write_video(tmp_path / "v.mp4", [np.zeros((32, 32, 3), np.uint8)] * 20, 25)
    for span in ((0, 21), (-1, 5), (5, 5)):
        with pytest.raises(UsageError, match=rf"frames {span[0]} to {span[1]} are not a part.*20 frames"):
            action_probabilities(path, [span])
    assert action_probabilities(path, []).shape == (0, 400)
