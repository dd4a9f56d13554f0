"""Run time of an evaluation on the test set of UCF-Crime: ``python benchmarks/evaluation.py FOLDER_OF_LISTS``.

Detection mAP by intervals is compared with the definition by sets of frames (time and result); all metrics of one run
and ten seeds with a thousand bootstrap resamples are timed. The scores are random, the ground truth is real: the
folder has the official lists and a table of frame counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kgvad.detector.data.annotations import Truth, read_truth
from kgvad.detector.evaluation.bootstrap import BootstrapTable, bootstrap
from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo
from kgvad.detector.evaluation.frame_metrics import measure
from kgvad.detector.evaluation.temporal_map import temporal_map

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
from detector_samples import map_by_sets


def random_run(truth: Truth, seed: int) -> list[EvaluatedVideo]:
    """Random scores of snippets of sixteen frames."""
    random = np.random.default_rng(seed)
    videos = []
    for video in truth.split("test"):
        known = truth.videos[video]
        if known.frame_count is None or known.intervals is None:
            raise SystemExit(f"{video} has no frame count or no frame labels")
        edges = np.append(np.arange(0, known.frame_count - 15, 16), known.frame_count)
        logits = random.uniform(size=(len(edges) - 1, len(truth.categories)))
        events = tuple((known.labels[0], *span) for span in known.intervals)
        videos.append(EvaluatedVideo(video, known.labels, logits[:, 0], edges, known.intervals, logits, events))
    return videos


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Result and CPU seconds."""
    started = time.process_time()
    return work(), time.process_time() - started


def main() -> None:
    truth = read_truth("ucf", Path(sys.argv[1]))
    names, normal = truth.categories, truth.categories.index(truth.normal)
    runs = [random_run(truth, seed) for seed in range(10)]
    frames = sum(one.frame_count for one in runs[0])
    print(f"{len(runs[0])} videos, {frames} frames, {sum(len(one.scores) for one in runs[0])} snippets\n")
    print("| computation | CPU s |\n|---|--:|")
    found, quick = min(
        (timed(lambda: temporal_map(runs[0], names, normal, "legacy")) for _ in range(5)), key=lambda r: r[1]
    )
    expected, slow = timed(lambda: map_by_sets(runs[0], names, "legacy"))
    np.testing.assert_allclose(found.maps, expected, atol=1e-9)
    again = slow + timed(lambda: [map_by_sets(runs[0], names, "legacy") for _ in range(4)])[1]
    print(f"| detection mAP by sets of frames, for each of five IoU as published | {again:.1f} |")
    print(f"| detection mAP by sets of frames, once | {slow:.1f} |")
    ratios = f"{again / quick:.0f} and {slow / quick:.0f} times as fast"
    print(f"| detection mAP by intervals, same result; {ratios} | {quick:.2f} |")
    print(f"| frame and video metrics of one run | {timed(lambda: measure(runs[0], names, normal))[1]:.2f} |")
    tables, prepared = timed(lambda: [BootstrapTable(run, names, normal) for run in runs])
    print(f"| ten seeds, 1000 resamples of videos and seeds | {prepared + timed(lambda: bootstrap(tables))[1]:.1f} |")


if __name__ == "__main__":
    main()
