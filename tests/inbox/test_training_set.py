"""Marks become a folder that ``kgvad train`` takes."""

import shutil

from kgvad.detector.data.folder_dataset import folder_truth
from kgvad.inbox.library import Mark
from kgvad.inbox.training_set import training_clips, write_training_set
from kgvad.video.decode import probe


def number(inbox, name):
    return next(video.id for video in inbox.library.videos() if video.name == name)


def test_marks_make_a_dataset(inbox):
    door, yard = number(inbox, "door"), number(inbox, "yard")
    inbox.library.mark(door, Mark(8.0, 12.0, "right", "Burglary"))
    inbox.library.mark(yard, Mark(8.0, 12.0, "wrong"))
    folder = write_training_set(inbox.library)
    truth = folder_truth(folder, "site")
    assert sorted(truth.categories) == ["Burglary", "Normal"]
    assert sorted(video.labels for video in truth.videos.values()) == [(), ("Burglary",)]
    (clip,) = (folder / "Burglary").iterdir()
    assert abs(probe(clip).duration_s - 6) < 0.2  # the event and a second around it
    (whole,) = (folder / "Normal").iterdir()
    assert abs(probe(whole).duration_s - 16) < 0.2  # nothing in it is abnormal


def test_a_mark_that_is_taken_back_leaves_the_dataset_and_nothing_else_does(inbox):
    door = number(inbox, "door")
    inbox.library.mark(door, Mark(8.0, 12.0, "right", "Burglary"))
    folder = write_training_set(inbox.library)
    own = folder / "Burglary" / "mine.mp4"
    own.write_bytes(b"put here by hand")
    inbox.library.mark(door, Mark(8.0, 12.0, "right", "Arson"))
    write_training_set(inbox.library)
    assert list((folder / "Burglary").iterdir()) == [own]
    assert len(list((folder / "Arson").iterdir())) == 1


def test_clips_outlive_the_footage(inbox, tmp_path):
    """Recorders delete old footage; with it went the clips that had been cut from it."""
    file = tmp_path / "own.mp4"
    shutil.copy(inbox.library.video(number(inbox, "door")).path, file)
    own = inbox.library.add(file, "own")
    inbox.library.mark(own, Mark(8.0, 12.0, "right", "Burglary"))
    inbox.library.mark(own, Mark(1.0, 3.0, "wrong"))
    folder = write_training_set(inbox.library)
    file.unlink()
    inbox.library.mark(own, Mark(5.0, 6.0, "missed", "Arson"))  # too late to be cut
    inbox.library.unmark(own, 1.0, 3.0)
    write_training_set(inbox.library)
    assert [len(list((folder / name).glob("*"))) for name in ("Burglary", "Normal", "Arson")] == [1, 0, 0]


def test_a_hostile_list_of_earlier_clips_removes_nothing_outside(inbox, tmp_path):
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"x")
    folder = inbox.library.folder / "training"
    folder.mkdir()
    (folder / "clips.json").write_text(f'["../outside.mp4", "..//x", "{outside}", 7]')
    write_training_set(inbox.library)
    assert outside.exists()


def test_an_event_in_a_video_with_others_right_is_a_normal_clip(inbox):
    door = number(inbox, "door")
    inbox.library.mark(door, Mark(8.0, 12.0, "right", "Burglary"))
    inbox.library.mark(door, Mark(1.0, 3.0, "wrong"))
    inbox.library.mark(door, Mark(13.0, 15.0, "right"))  # no category: it says nothing to a detector
    assert [(clip.category, clip.between_s) for clip in training_clips(inbox.library)] == [
        ("Normal", (1.0, 3.0)),
        ("Burglary", (8.0, 12.0)),
    ]


def test_a_missed_event_is_a_clip_or_makes_the_whole_video_abnormal(inbox):
    door, yard = number(inbox, "door"), number(inbox, "yard")
    inbox.library.mark(door, Mark(8.0, 12.0, "wrong"))
    inbox.library.mark(door, Mark(2.0, 5.0, "missed", "Arson"))
    inbox.library.mark(yard, Mark(None, None, "missed", "Robbery"))
    inbox.library.mark(yard, Mark(3.0, None, "missed", "Robbery"))
    assert [(clip.video.id, clip.category, clip.between_s) for clip in training_clips(inbox.library)] == [
        (door, "Arson", (2.0, 5.0)),
        (door, "Normal", (8.0, 12.0)),
        (yard, "Robbery", None),
    ]
    folder = write_training_set(inbox.library)
    truth = folder_truth(folder, "site")
    assert sorted(truth.categories) == ["Arson", "Normal", "Robbery"]
    inbox.library.unmark_missed(yard, inbox.library.marks()[yard][0].id)
    inbox.library.unmark_missed(yard, inbox.library.marks()[yard][0].id)
    write_training_set(inbox.library)
    assert list((folder / "Robbery").iterdir()) == []
