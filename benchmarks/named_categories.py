"""How often the categories that reports of the shipped run name are right, on the official UCF-Crime test videos.

    python benchmarks/named_categories.py SHARED

SHARED is the folder of research data of ``benchmarks/train_shipped.py``. The run is the shipped one with the centre of
the published logits, which another program made. Prints, for the abnormal videos, how many reach the lead at which a
category is named, over the whole video and in the strongest event of a report, and how many of these are right.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from explain_pixels import Pixels
from train_shipped import DATASET, FPS, ROWS

from kgvad.detector.data.annotations import read_truth
from kgvad.detector.scoring.infer import score_features
from kgvad.detector.scoring.scores import Scores
from kgvad.explain.analysis.events import EventSpan, default_rule, find_events
from kgvad.explain.analysis.evidence import category_shares
from kgvad.video.feature_store import VideoEntry


def whole_video(scores: Scores) -> EventSpan:
    """An event that covers the video."""
    end = scores.frame_count / scores.fps
    peak = int(scores.scores.argmax())
    return EventSpan((0, len(scores.scores)), 0.0, end, 0.0, 0.0, peak, float(scores.scores[peak]), 0.0)


def judged(scores: Scores, span: EventSpan, labels: Sequence[str]) -> tuple[float, bool]:
    """Lead of the first category over the second during ``span``, and whether the first is a label of the video."""
    first, second, *_ = category_shares(scores, span, {})
    return first.probability - second.probability, first.name in labels


def line(title: str, found: Sequence[tuple[float, bool]], margin: float) -> str:
    named = [right for lead, right in found if lead >= margin]
    first = np.mean([right for _, right in found])
    return f"{title}: {len(found)} videos, first right {first:.3f}; named {len(named)}, of these right {sum(named)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    shared = parser.parse_args().shared
    pixels, truth = Pixels.load(shared), read_truth(DATASET, shared / "data" / "ucf")
    margin = pixels.run.thresholds.category_margin if pixels.run.thresholds else None
    assert margin is not None
    with (shared / "data/ucf/gt_ucf_index_rebuilt.csv").open() as file:
        frames = {row["video"]: int(row["n_frames"]) for row in csv.DictReader(file)}
    videos, events = [], []
    for name in truth.split("test"):
        labels = truth.videos[name].labels
        if name not in pixels.logits or not labels:
            continue
        entry = VideoEntry(frame_count=frames[name], fps=FPS, rows=ROWS, layout="even")
        scores = score_features(pixels.run, pixels.logits[name], entry, video=name)
        videos.append(judged(scores, whole_video(scores), labels))
        found = find_events(scores, default_rule(scores.origin, scores.scores))
        if found:
            events.append(judged(scores, max(found, key=lambda event: event.peak), labels))
    print(line("whole video", videos, margin))
    print(line("strongest event", events, margin))


if __name__ == "__main__":
    main()
