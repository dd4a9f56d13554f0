"""Windows that are sampled by time: which frames they see and which part of the video a row stands for."""

from pathlib import Path

import numpy as np
import pytest

from kgvad.errors import UsageError
from kgvad.video.decode import VideoInfo, VideoReader, probe
from kgvad.video.sampling import EncoderOptions
from kgvad.video.windows import WindowSampling
from kgvad.video.write import write_video


def numbered(count):
    """Frames whose brightness tells their index, up to 64."""
    return [np.full((48, 64, 3), 4 * (i % 64), np.uint8) for i in range(count)]


def sampled_frames(path, sampling):
    """For each row, the index (modulo 64) of each frame in its window; and the edges of the rows."""
    reader = VideoReader(path)
    clips = [clip.mean((1, 2, 3)) for clip in sampling.clips(reader)]
    return [np.rint(clip / 4).astype(int).tolist() for clip in clips], sampling.edges(reader.info)


def by_definition(times, duration, sampling):
    """The rule of the module, on a list of all frames."""
    points = [k / 10 for k in range(10**6) if k / 10 < duration - 1e-6] if duration < 10**4 else []
    middles = (np.asarray(times[:-1]) + np.asarray(times[1:])) / 2
    grid = np.searchsorted(middles, np.asarray(points) + 1e-6, side="right")
    rows = []
    for row in range(max(1, round(duration / sampling.step_s))):
        start = row * sampling.step_s
        if not any(start - 1e-6 <= t < start + sampling.step_s - 1e-6 for t in times):
            continue
        first = min(max(0, round((row + 0.5) * sampling.step_s * 10 - 9)), max(0, len(grid) - 18))
        rows.append([int(grid[min(first + i, len(grid) - 1)]) % 64 for i in range(18)])
    return rows


@pytest.mark.parametrize("fps", [30, 25, 10, 7, 4])
@pytest.mark.parametrize("step_s", [1.6, 32 / 30, 2.5])
def test_windows_follow_the_rule(tmp_path, fps, step_s):
    path = write_video(tmp_path / "v.mp4", numbered(round(9.3 * fps)), fps)
    sampling = WindowSampling(step_s)
    found, edges = sampled_frames(path, sampling)
    count = round(9.3 * fps)
    assert found == by_definition([i / fps for i in range(count)], count / fps, sampling)
    assert len(edges) == len(found) + 1
    assert edges[:-1].tolist() == [int(np.ceil(row * step_s * fps - 1e-6)) for row in range(len(found))]
    assert edges[-1] == count


def test_a_short_video_repeats_its_last_frame(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered(30), 30)
    found, edges = sampled_frames(path, WindowSampling())
    assert found == [[0, 3, 6, 9, 12, 15, 18, 21, 24, 27, *[27] * 8]]
    assert edges.tolist() == [0, 30]


def test_variable_rate_is_sampled_by_time_and_parts_without_frames_have_no_row(tmp_path):
    times = [i / 10 for i in range(20)] + [8 + i / 10 for i in range(20)]
    path = write_video(tmp_path / "v.mp4", numbered(40), 10, times_s=times)
    sampling = WindowSampling()
    found, edges = sampled_frames(path, sampling)
    assert edges.tolist() == [0, 16, 20, 40]  # parts 0, 1 and 5; nothing begins in parts 2 to 4
    assert found == by_definition(times, probe(path, exact=True).duration_s, sampling)


def test_one_frame_a_snippet(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered(21), 2)
    sampling = WindowSampling.of("i3d-actions", EncoderOptions(stride=1))
    found, edges = sampled_frames(path, sampling)
    assert edges.tolist() == [0, 4, 8, 12, 16, 21]
    assert found[0] == [(i + 1) // 2 for i in range(18)]  # a tie goes to the later frame


def test_memory_is_a_few_windows():
    """Frames that no later window needs are let go."""

    class Long:
        decoded_s = 0.0
        alive = 0
        most = 0
        info = VideoInfo(Path("v"), 10.0, 3000, 8, 8, 300.0)

        def sampled(self, rate_hz, assumed_fps):
            import weakref

            for i in range(3000):
                picture = np.zeros((8, 8, 3), np.uint8)
                self.alive += 1
                self.most = max(self.most, self.alive)
                weakref.finalize(picture, self._gone)
                self.decoded_s = (i + 1) / 10
                yield picture

        def _gone(self):
            self.alive -= 1

        def frames_before(self, time_s):
            return min(3000, int(np.ceil(time_s * 10)))

    reader = Long()
    assert sum(1 for _ in WindowSampling().clips(reader)) == round(300 / 1.6)
    assert reader.most < 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (EncoderOptions(crop="ten"), "one crop"),
        (EncoderOptions(temporal="mean4"), "samples frames by time"),
        (EncoderOptions(stride=8), "a stride of 8 frames does not fit"),
        (EncoderOptions(step_s=0.01), r"a step of 0\.01 s"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(UsageError, match=message):
        WindowSampling.of("i3d-actions", options)


def test_other_encoders_refuse_a_step():
    with pytest.raises(UsageError, match="a step in seconds does not fit"):
        EncoderOptions(step_s=1.0).clip_sampling("i3d")
