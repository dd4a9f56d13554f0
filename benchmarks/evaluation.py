"""How long an evaluation takes on UCF-Crime's test set: ``python benchmarks/evaluation.py FOLDER_OF_LISTS``.

Detection mAP by intervals against the definition by sets of frames (both in this process, results compared), all
figures of one run, and ten seeds with a thousand bootstrap draws. The scores are random, the ground truth is real:
the folder holds the official lists and a table of frame counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kgvad.detector.data.annotations import Truth, read_truth
from kgvad.detector.evaluation.bootstrap import Board, sample
from kgvad.detector.evaluation.frame_metrics import Track, measure
from kgvad.detector.evaluation.temporal_map import detection_map

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from detector_samples import map_by_sets


def random_run(truth: Truth, seed: int) -> list[Track]:
    """Random scores, a row every sixteen frames."""
    random = np.random.default_rng(seed)
    tracks = []
    for video in truth.split("test"):
        known = truth.videos[video]
        assert known.frame_count is not None and known.intervals is not None
        edges = np.append(np.arange(0, known.frame_count - 15, 16), known.frame_count)
        logits = random.uniform(size=(len(edges) - 1, len(truth.categories)))
        events = tuple((known.labels[0], *span) for span in known.intervals)
        tracks.append(Track(video, known.labels, logits[:, 0], edges, known.intervals, logits, events))
    return tracks


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Result and CPU seconds."""
    started = time.process_time()
    return work(), time.process_time() - started


def main() -> None:
    truth = read_truth("ucf", Path(sys.argv[1]))
    names, normal = truth.categories, truth.categories.index(truth.normal)
    runs = [random_run(truth, seed) for seed in range(10)]
    frames = sum(track.frame_count for track in runs[0])
    print(f"{len(runs[0])} videos, {frames} frames, {sum(len(t.scores) for t in runs[0])} rows\n")
    print("| what | CPU s |\n|---|--:|")
    found, quick = min(
        (timed(lambda: detection_map(runs[0], names, normal, "legacy")) for _ in range(5)), key=lambda r: r[1]
    )
    expected, slow = timed(lambda: map_by_sets(runs[0], names, "legacy"))
    np.testing.assert_allclose(found.maps, expected, atol=1e-9)
    again = slow + timed(lambda: [map_by_sets(runs[0], names, "legacy") for _ in range(4)])[1]
    print(f"| detection mAP by sets of frames, anew for each of five IoU as published | {again:.1f} |")
    print(f"| detection mAP by sets of frames, made once | {slow:.1f} |")
    ratios = f"{again / quick:.0f} and {slow / quick:.0f} times as fast"
    print(f"| detection mAP by intervals, same result; {ratios} | {quick:.2f} |")
    print(f"| frame and video figures of one run | {timed(lambda: measure(runs[0], names, normal))[1]:.2f} |")
    boards, prepared = timed(lambda: [Board(run, names, normal) for run in runs])
    print(f"| ten seeds, 1000 draws of videos and seeds | {prepared + timed(lambda: sample(boards))[1]:.1f} |")


if __name__ == "__main__":
    main()
