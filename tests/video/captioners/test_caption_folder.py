"""A folder of videos into one file of captions: resumed, never overwritten, read again by every reader of captions."""

import gzip
import json

import pytest
from captioner_samples import Brightness, write_greys
from filelock import FileLock

from kgvad.detector.data.captions import read_track
from kgvad.errors import KgvadError, UsageError
from kgvad.video.captioners.caption_folder import caption_folder


@pytest.fixture
def videos(tmp_path):
    (tmp_path / "videos" / "yard").mkdir(parents=True)
    write_greys(tmp_path / "videos" / "door.mp4", [40, 120])
    write_greys(tmp_path / "videos" / "yard" / "door.mp4", [200, 40])
    return tmp_path / "videos"


@pytest.mark.parametrize("name", ["c.json", "c.json.gz"])
def test_captions_are_read_again(videos, tmp_path, name):
    done = caption_folder(videos, tmp_path / name, Brightness(), 1.0)
    assert done.made == ["door", "yard/door"]
    track = read_track(tmp_path / name, "yard/door.mp4")
    assert track.clock == "seconds"
    assert [start for start, _ in track.items] == [0.0, 1.0]
    assert track.items[0][1].startswith(("199", "200", "201"))


def test_the_file_says_what_made_it(videos, tmp_path):
    caption_folder(videos, tmp_path / "c.json.gz", Brightness(), 1.0)
    content = json.loads(gzip.decompress((tmp_path / "c.json.gz").read_bytes()))
    assert content["captioner"] == {"name": "brightness", "fingerprint": "b" * 16, "every_s": 1.0}
    assert content["videos"]["door"][1]["end"] == 2.0


def test_twice_gives_the_same_bytes_and_asks_once(videos, tmp_path):
    caption_folder(videos, tmp_path / "c.json.gz", Brightness(), 1.0)
    before = (tmp_path / "c.json.gz").read_bytes()
    captioner = Brightness()
    done = caption_folder(videos, tmp_path / "c.json.gz", captioner, 1.0)
    assert (done.made, done.reused, captioner.asked) == ([], ["door", "yard/door"], [])
    assert (tmp_path / "c.json.gz").read_bytes() == before


class Killed(Brightness):
    """Dies in the second video."""

    def caption(self, clips):
        if self.asked:
            raise KeyboardInterrupt
        return super().caption(clips)


def test_an_interrupted_run_keeps_what_was_finished(videos, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        caption_folder(videos, tmp_path / "c.json", Killed(), 1.0)
    assert not (tmp_path / "c.json").exists()
    with (tmp_path / ".c.json.journal").open("a") as journal:
        journal.write('{"captioner": "brok')  # a line that the kill cut off
    captioner = Brightness()
    done = caption_folder(videos, tmp_path / "c.json", captioner, 1.0)
    assert (done.reused, done.made) == (["door"], ["yard/door"])
    assert len(captioner.asked) == 2
    assert not (tmp_path / ".c.json.journal").exists()


def test_a_changed_video_is_captioned_again(videos, tmp_path):
    caption_folder(videos, tmp_path / "c.json", Brightness(), 1.0)
    write_greys(videos / "door.mp4", [200, 200, 200])
    assert caption_folder(videos, tmp_path / "c.json", Brightness(), 1.0).made == ["door"]
    assert len(read_track(tmp_path / "c.json", "yard/door").items) == 2


def test_a_broken_video_or_a_captioner_that_refuses_does_not_stop_the_others(videos, tmp_path):
    (videos / "broken.mp4").write_bytes(b"no video")

    class Refusing(Brightness):
        def caption(self, clips):
            if clips[0].middle.mean() > 150:
                raise KgvadError("the service refused", "check it")
            return super().caption(clips)

    done = caption_folder(videos, tmp_path / "c.json", Refusing(), 1.0)
    assert list(done.failed) == ["broken", "yard/door"]
    assert done.made == ["door"]


def test_a_file_without_captions_is_no_bar_to_another_captioner(videos, tmp_path):
    class Silent(Brightness):
        name = "silent"

        def caption(self, clips):
            raise KgvadError("the service refused", "check it")

    assert not caption_folder(videos, tmp_path / "c.json", Silent(), 1.0).made
    assert caption_folder(videos, tmp_path / "c.json", Brightness(), 1.0).made == ["door", "yard/door"]


def test_files_of_others_are_not_overwritten(videos, tmp_path):
    (tmp_path / "mine.json").write_text('{"door": {"0": "a man"}}')
    with pytest.raises(UsageError, match="was not written by this version of kgvad caption"):
        caption_folder(videos, tmp_path / "mine.json", Brightness())
    caption_folder(videos, tmp_path / "c.json", Brightness(), 1.0)
    with pytest.raises(UsageError, match="captions by brightness with other weights or options"):
        caption_folder(videos, tmp_path / "c.json", Brightness(), 2.0)
    with pytest.raises(UsageError, match=r"ends in \.json"):
        caption_folder(videos, tmp_path / "c.txt", Brightness())


def test_two_at_once_do_not_mix(videos, tmp_path):
    with FileLock(tmp_path / ".c.json.lock"), pytest.raises(UsageError, match="another process writes"):
        caption_folder(videos, tmp_path / "c.json", Brightness())
