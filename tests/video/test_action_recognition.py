"""What I3D recognises in parts of a video."""

import numpy as np
import pytest

from kgvad.errors import UsageError
from kgvad.video.action_recognition import action_labels, clip_frames, recognise_actions
from kgvad.video.write import write_video


def test_labels_are_the_400_of_kinetics():
    labels = action_labels()
    assert len(labels) == len(set(labels)) == 400
    assert (labels[0], labels[-1]) == ("abseiling", "zumba")


@pytest.mark.parametrize(
    ("start", "end", "count", "clips", "first", "shape"),
    [
        (0, 32, 100, 3, [0], (1, 32)),
        (0, 96, 100, 3, [0, 32, 64], (3, 32)),
        (0, 1000, 1000, 2, [0, 968], (2, 32)),
        (40, 50, 100, 3, [29], (1, 32)),  # widened to a clip around it
        (95, 100, 100, 3, [68], (1, 32)),  # and kept inside the video
        (0, 5, 100, 3, [0], (1, 32)),
        (0, 20, 20, 3, [0], (1, 20)),  # a video shorter than a clip
        (10, 90, 100, 1, [34], (1, 32)),
    ],
)
def test_which_frames_are_looked_at(start, end, count, clips, first, shape):
    picked = clip_frames(start, end, count, clips)
    assert picked.shape == shape
    assert picked[:, 0].tolist() == first
    assert picked.min() >= 0
    assert picked.max() < count
    assert (np.diff(picked, axis=1) == 1).all()


def test_spans_outside_the_video_are_refused(tmp_path):
    path = write_video(tmp_path / "v.mp4", [np.zeros((32, 32, 3), np.uint8)] * 20, 25)
    for span in ((0, 21), (-1, 5), (5, 5)):
        with pytest.raises(UsageError, match=rf"frames {span[0]} to {span[1]} are not a part.*20 frames"):
            recognise_actions(path, [span])
    assert recognise_actions(path, []) == []
