"""Windows wait for the encoder in turn; live cameras skip, clips wait."""

import threading
from types import SimpleNamespace

import numpy as np

from kgvad.video.live_reader import LiveWindow
from kgvad.watch.window_queue import Notice, Row, WindowQueue


def row(number):
    return Row(SimpleNamespace(), LiveWindow(np.zeros((1, 1, 1, 3), np.uint8), number, number + 1), None)


def never():
    return False


def test_cameras_take_turns():
    queue = WindowQueue({"a": False, "b": False, "c": False})
    for name in "abc":
        queue.put(name, row(0), never)
    assert [name for name, _ in queue.take(2)] == ["a", "b"]
    queue.put("a", row(1), never)
    assert [name for name, _ in queue.take(3)] == ["c", "a"]


def test_half_of_the_windows_are_skipped_evenly_where_the_encoder_is_half_as_fast():
    queue, taken = WindowQueue({"a": True}), []
    for number in range(100):
        queue.put("a", row(number), never)
        if number % 2:
            taken += [item.window.start_s for _, item in queue.take(1)]
    assert set(np.diff(taken)) == {2}
    assert queue.skipped["a"] == 50 and queue.taken["a"] == 50


def test_notices_are_never_skipped_and_keep_their_place():
    queue = WindowQueue({"a": True})
    for item in (row(0), Notice("gap", "first"), row(1), row(2), Notice("lost", "second")):
        queue.put("a", item, never)
    found = [queue.take(1)[0][1] for _ in range(3)]
    assert [getattr(item, "detail", None) for item in found] == ["first", None, "second"]
    assert found[1].window.start_s == 2


def test_several_windows_of_one_clip_are_taken_at_once_but_no_notice_after_them():
    queue = WindowQueue({"a": False, "b": False})
    for item in (Notice("live", "first"), row(1), row(2), Notice("gap", "second"), row(3)):
        queue.put("a", item, never)
    queue.put("b", row(4), never)
    first, second = queue.take(9), queue.take(9)
    assert [name for name, _ in first] == ["a", "b", "a", "a"]
    assert [item.window.start_s for _, item in first if isinstance(item, Row)] == [4, 1, 2]
    assert [getattr(item, "detail", None) for _, item in second] == ["second", None]
    assert queue.taken == {"a": 3, "b": 1}


def test_clips_wait_for_the_encoder():
    queue, done = WindowQueue({"a": False}), threading.Event()

    def fill():
        for number in range(5):
            queue.put("a", row(number), never)
        queue.end("a")
        done.set()

    threading.Thread(target=fill, daemon=True).start()
    found = []
    while not queue.is_over:
        found += [item.window.start_s for _, item in queue.take(1)]
    assert found == [0, 1, 2, 3, 4] and done.wait(5) and queue.skipped["a"] == 0
