"""Whether methods differ in mAP by more than chance: resamples of the abnormal test videos and of the seeds.

    python benchmarks/map_differences.py FEATURES RUNS RUNS... [--resamples 1000] [--temperature 5]

FEATURES is the feature store of a track of ``benchmarks/tracks.py``, each RUNS a folder of seeds; the first is the
baseline. Prints the mean over seeds, and difference, 95 % interval and two-sided bootstrap p value. With --temperature,
class probabilities follow the rule of DSANet. ``kgvad evaluate`` has no such test: every resample is a new matching.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from track_runs import finished_runs

from kgvad.detector.data.annotations import Truth
from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo
from kgvad.detector.evaluation.scored_method import match_all, score_split
from kgvad.detector.evaluation.temporal_map import temporal_map
from kgvad.detector.run import Run
from kgvad.detector.scoring.class_probabilities import ClassRule
from kgvad.video.feature_store import FeatureStore


class Method:
    """The abnormal test videos as the runs of a folder scored them."""

    def __init__(self, folder: Path, features: Path) -> None:
        store, truth = FeatureStore.open(features), Truth.load(features)
        runs = [Run.load(path) for path in finished_runs(folder)]
        self.name, self.config = folder.name, runs[0].config
        self.seeds = [[v for v in match_all(score_split(run, store, truth), truth) if v.abnormal] for run in runs]

    def maps(self, picks: NDArray[np.int64], rule: ClassRule) -> NDArray[np.float64]:
        """mAP of the picked videos in percent, one for each seed."""
        return np.array([self._map([videos[index] for index in picks], rule) for videos in self.seeds])

    def _map(self, videos: Sequence[EvaluatedVideo], rule: ClassRule) -> float:
        return temporal_map(videos, self.config.categories, self.config.normal, rule=rule).average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--temperature", type=float)
    options = parser.parse_args()
    rule = ClassRule() if options.temperature is None else ClassRule("dsanet", options.temperature)
    methods = [Method(folder, options.features) for folder in options.runs]
    number = len(methods[0].seeds[0])
    means = [float(method.maps(np.arange(number), rule).mean()) for method in methods]
    random = np.random.default_rng(0)
    drawn = np.empty((options.resamples, len(methods)))
    for row in drawn:
        picks = random.integers(0, number, number)
        for index, method in enumerate(methods):
            values = method.maps(picks, rule)
            row[index] = values[random.integers(0, len(values), len(values))].mean()
    for index, method in enumerate(methods):
        print(f"{method.name}: {means[index]:.1f}, {len(method.seeds)} seeds")
        if index:
            gap = drawn[:, index] - drawn[:, 0]
            low, high = np.percentile(gap, [2.5, 97.5])
            p = min(1.0, 2 * (min((gap <= 0).sum(), (gap >= 0).sum()) + 1) / (len(gap) + 1))
            print(f"    {means[index] - means[0]:+.1f} [{low:+.1f}, {high:+.1f}], p {p:.3f}")


if __name__ == "__main__":
    main()
