"""What `kgvad calibrate` is worth: calibrated on half of the ordinary footage, alarms counted on the other half.

    python benchmarks/calibration.py STORE [STORE...] [--rates 60/hour 30/hour 12/hour] [--resamples 200]

The STOREs are features of ordinary videos by ``kgvad extract --encoder i3d-actions``; videos whose name or category is
not Normal are left out. Each resample draws half of the videos at random, sets the onset threshold on them as
``kgvad calibrate`` does, and counts the events in the other half, per hour. Scores are those of the causal form of the
run that comes with kgvad. Where a store keeps one frame per snippet (stride 1), an hour is an hour of the original
footage.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from kgvad.detector.run import Run
from kgvad.detector.scoring.infer import infer, origin_of
from kgvad.detector.shipped import UCF_ACTIONS
from kgvad.explain.analysis.calibration import (
    Piece,
    count_events,
    lowest_onset,
    parse_rate,
    provable_alarms,
    upper_limit,
)
from kgvad.explain.analysis.events import default_rule
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.feature_store import FeatureStore

ORIGINAL_FPS = 30.0  # of the footage that a store of one frame per snippet was made from


def read(stores: list[Path], run: Run) -> list[Piece]:
    """Causal scores of every ordinary video, with the times of its rows in seconds."""
    pieces = []
    for root in stores:
        store = FeatureStore.open(root)
        for video in store.ids():
            if "normal" not in video.casefold():
                continue
            entry = store.info(video)
            fps = ORIGINAL_FPS / SNIPPET_FRAMES if entry.stride == 1 else entry.fps
            features = np.asarray(store.load(video), np.float32)
            pieces.append((infer(run.detector, features)["scores"], entry.spans() / fps))
    return pieces


def hours(pieces: list[Piece]) -> float:
    return sum(float(times[-1, 1] - times[0, 0]) for _, times in pieces) / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--rates", nargs="+", default=["60/hour", "30/hour", "12/hour"])
    parser.add_argument("--resamples", type=int, default=200)
    arguments = parser.parse_args()
    run = Run.load(UCF_ACTIONS).causal()
    rule = default_rule(origin_of(run, names_categories=True))
    pieces = read(arguments.stores, run)
    alarms, total = count_events(pieces, rule), hours(pieces)
    print(f"{len(pieces)} videos, {total:.2f} hours")
    print(
        f"threshold of the run ({rule.onset:.3f}): {alarms} alarms, {alarms / total:.1f} an hour, "
        f"upper 95 % limit {upper_limit(alarms, total):.1f}"
    )
    print("| rate | proven on half | onset, median | alarms an hour, other half | within the rate | within the limit |")
    print("|---|---|---|---|---|---|")
    for text in arguments.rates:
        rate, random = parse_rate(text), np.random.default_rng(0)
        onsets, found, within_rate, within_limit, proven = [], [], [], [], []
        for _ in range(arguments.resamples):
            order = random.permutation(len(pieces))
            half, rest = ([pieces[i] for i in part] for part in np.array_split(order, 2))
            allowed = provable_alarms(rate, hours(half))
            trial = lowest_onset(half, rule, allowed or 0)
            if allowed is None and trial.onset < rule.onset:
                trial = rule
            limit = upper_limit(count_events(half, trial), hours(half))
            per_hour = count_events(rest, trial) / hours(rest)
            onsets.append(trial.onset)
            found.append(per_hour)
            proven.append(allowed is not None)
            within_rate.append(per_hour <= rate.per_hour)
            within_limit.append(per_hour <= limit)
        low, middle, high = np.quantile(found, [0.05, 0.5, 0.95])
        print(
            f"| {text} | {np.mean(proven):.0%} | {np.median(onsets):.3f} | {middle:.1f} ({low:.1f} to {high:.1f}) "
            f"| {np.mean(within_rate):.0%} | {np.mean(within_limit):.0%} |"
        )


if __name__ == "__main__":
    main()
