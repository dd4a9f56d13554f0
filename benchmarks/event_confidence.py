"""How often the events of trained runs are abnormal, by the mean score that a report reads as a probability.

    python benchmarks/event_confidence.py FEATURES RUN...

FEATURES is the feature store of a track of ``benchmarks/tracks.py``, RUN a run on it without measured thresholds. For
every level of confidence of a report: the events in the test videos, their mean score, and the share that overlaps an
annotated abnormal frame.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

from kgvad.detector.data.annotations import Truth
from kgvad.detector.evaluation.scored_method import match_all, score_split
from kgvad.detector.run import Run
from kgvad.explain.analysis.events import default_rule, find_events
from kgvad.video.feature_store import FeatureStore

LEVELS = (0.0, 0.65, 0.8, 0.95, 1.01)  # of mean scores, as in explain/analysis/build_report.py


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    store, truth = FeatureStore.open(options.features), Truth.load(options.features)
    for folder in options.runs:
        scored = score_split(Run.load(folder), store, truth)
        found = []
        for scores, video in zip(scored, match_all(scored, truth), strict=True):
            for event in find_events(scores, default_rule(scores.origin, scores.scores)):
                inside = slice(*event.snippets)
                found.append((event.mean, bool(video.positives[inside].any())))
        mean, right = np.array(found, float).T
        print(folder)
        for low, high in pairwise(LEVELS):
            level = (mean >= low) & (mean < high)
            if level.any():
                print(
                    f"    below {high:.2f}: {level.sum()} events, {mean[level].mean():.2f}, {right[level].mean():.2f}"
                )


if __name__ == "__main__":
    main()
