"""Clips of a video, their neighbours, and still stretches that are captioned once."""

import av
import numpy as np
import pytest
from captioner_samples import Brightness, write_greys

from kgvad.errors import KgvadError, VideoError
from kgvad.video.captioners.caption_video import caption_video


def near(text, *greys):
    return all(abs(int(word) - grey) <= 3 for word, grey in zip(text.split(), greys, strict=True))


def test_every_clip_is_seen_between_its_neighbours(tmp_path):
    found = caption_video(write_greys(tmp_path / "a.mp4", [40, 40, 120, 120, 200]), Brightness(), 2.0).captions
    assert [(one.start_s, one.end_s) for one in found] == [(0.0, 2.0), (2.0, 4.0), (4.0, 5.0)]
    assert near(found[0].text, 40, 40, 120)
    assert near(found[1].text, 40, 120, 200)
    assert near(found[2].text, 120, 200, 200)


def test_still_stretches_are_captioned_once(tmp_path):
    captioner = Brightness()
    found = caption_video(write_greys(tmp_path / "a.mp4", [40] * 8 + [200] * 4 + [40] * 2), captioner, 1.0)
    assert (len(found.captions), found.asked, len(captioner.asked)) == (14, 3, 3)
    assert found.captions[7].text == found.captions[0].text
    assert near(found.captions[9].text, 40, 200, 200)
    assert near(found.captions[13].text, 200, 40, 40)


def test_a_small_change_in_an_empty_scene_is_captioned(tmp_path):
    """Somebody far away fills one cell of the grid."""
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for index in range(40):
            picture = np.full((240, 320, 3), 90, np.uint8)
            if index >= 20:
                picture[100:112, 200:212] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    assert caption_video(tmp_path / "a.mp4", Brightness(), 1.0).asked == 2


def test_large_pictures_are_made_smaller(tmp_path):
    captioner = Brightness()
    caption_video(write_greys(tmp_path / "a.mp4", [40], side=1080), captioner, 1.0)
    assert captioner.asked[0].middle.shape == (512, 768, 3)


def test_a_captioner_that_gives_another_number_of_texts_is_refused(tmp_path):
    """Otherwise each later clip would have the caption of another one."""

    class TwoForOne(Brightness):
        def caption(self, clips):
            return super().caption(clips) * 2

    with pytest.raises(KgvadError, match="captioner 'brightness' gave 2 texts for 1 clips; repair its package"):
        caption_video(write_greys(tmp_path / "a.mp4", [40]), TwoForOne(), 1.0)


def test_a_video_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"a\.mp4"):
        caption_video(tmp_path / "a.mp4", Brightness())
