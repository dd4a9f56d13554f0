from itertools import islice

import av
import numpy as np
import pytest

from kgvad.video import demo


def test_every_call_draws_the_same_frames():
    first, second = (list(islice(demo.frames(), 3)) for _ in range(2))
    assert first[0].shape == (demo.HEIGHT, demo.WIDTH, 3)
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_the_rendered_file_shows_the_collision(tmp_path):
    path = demo.render(tmp_path / "scene.mp4")
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == 800
    fire = np.asarray(pictures, np.int16)[:, 120:220, 180:320]
    orange = ((fire[..., 0] > 200) & (fire[..., 2] < 120)).mean((1, 2))
    start = int(demo.COLLISION_S * demo.FPS)
    assert orange[:start].max() < 0.01 < 0.03 < orange[start + 50 : start + 200].min()
