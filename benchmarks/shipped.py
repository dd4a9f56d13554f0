"""Measure the shipped run on footage that it was not trained on.

    python benchmarks/shipped.py STORE [STORE...] [--annotations FILE]

A STORE is made by ``kgvad extract VIDEOS --encoder i3d-actions``; the category of a video is the folder it lies in, or
the letters that its name starts with. FILE is UCF-Crime's Temporal_Anomaly_Annotation.txt; with it, frame AUC and the
overlap of events are measured too. Each store is judged with the centre of the other stores, so that no video
contributes to its own judgement.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from kgvad.detector.models.additive import standardise_columns
from kgvad.detector.run import Run
from kgvad.detector.scoring.infer import score_features
from kgvad.detector.shipped import UCF_ACTIONS
from kgvad.explain.analysis.events import default_rule, find_events, snippet_times
from kgvad.video.feature_store import FeatureStore


def centre_of(stores: Sequence[FeatureStore]) -> torch.Tensor:
    means = []
    for store in stores:
        rows = [torch.from_numpy(np.asarray(store.load(video), np.float32)) for video in store.ids()]
        means.append(standardise_columns(torch.cat(rows)).mean(0))
    return torch.stack(means).mean(0)


def category_of(video: str) -> str:
    parts = video.split("/")
    name = parts[-2] if len(parts) > 1 else re.match(r"[A-Za-z]+", parts[-1])[0]  # type: ignore[index]
    return "Normal" if "normal" in name.lower() else name


def annotations(path: Path | None) -> dict[str, list[tuple[int, int]]]:
    found = {}
    for line in path.read_text().splitlines() if path else ():
        fields = line.split()
        frames = list(map(int, fields[2:6]))
        found[fields[0].removesuffix(".mp4")] = [p for p in zip(frames[::2], frames[1::2], strict=True) if p[0] >= 0]
    return found


def measure(run: Run, store: FeatureStore, truth: dict[str, list[tuple[int, int]]]) -> dict[str, float]:
    highest, abnormal, alarms, ranks, frames, labels, overlaps = [], [], [], [], [], [], []
    for video in store.ids():
        category, entry = category_of(video), store.info(video)
        scores = score_features(run, store.load(video), entry, video=video)
        events = find_events(scores, default_rule(scores.origin), snippet_times(scores, None))
        highest.append(float(scores.scores.max()))
        abnormal.append(category != "Normal")
        alarms.append(bool(events))
        if abnormal[-1] and category in run.config.categories:
            assert scores.alignment is not None
            mean = np.average(scores.alignment, axis=0, weights=scores.scores + 1e-9)
            order = [run.config.categories[i] for i in np.argsort(-mean) if i != run.config.normal]
            ranks.append(order.index(category))
        if video.split("/")[-1] in truth:
            inside = np.zeros(entry.frame_count, bool)
            for start, end in truth[video.split("/")[-1]]:
                inside[start:end] = True
            per_frame = np.zeros(entry.frame_count)
            for (start, end), score in zip(scores.spans, scores.scores, strict=True):
                per_frame[start:end] = score
            frames.append(per_frame)
            labels.append(inside)
            if inside.any():
                spans = [(event.start_s * entry.fps, event.end_s * entry.fps) for event in events]
                overlaps.append(any(inside[int(start) : int(end)].any() for start, end in spans))
    is_abnormal = np.array(abnormal)
    both = 0 < is_abnormal.sum() < len(is_abnormal)
    alarm = np.array(alarms)
    return {
        "videos": len(abnormal),
        "video AUC": roc_auc_score(is_abnormal, highest) if both else float("nan"),
        "abnormal with an event": float(alarm[is_abnormal].mean()) if is_abnormal.any() else float("nan"),
        "normal with an event": float(alarm[~is_abnormal].mean()) if (~is_abnormal).any() else float("nan"),
        "category top-1": float(np.mean(np.array(ranks) < 1)) if ranks else float("nan"),
        "category top-3": float(np.mean(np.array(ranks) < 3)) if ranks else float("nan"),
        "frame AUC": roc_auc_score(np.concatenate(labels), np.concatenate(frames)) if labels else float("nan"),
        "annotated events overlapped": float(np.mean(overlaps)) if overlaps else float("nan"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--annotations", type=Path)
    arguments = parser.parse_args()
    run, truth = Run.load(UCF_ACTIONS), annotations(arguments.annotations)
    stores = [FeatureStore.open(path) for path in arguments.stores]
    for path, store in zip(arguments.stores, stores, strict=True):
        others = [other for other in stores if other is not store]
        if others:
            run.detector.centre.copy_(centre_of(others))  # type: ignore[operator]
        print(path)
        for name, value in measure(run, store, truth).items():
            print(f"    {name}: {value:.3f}" if isinstance(value, float) else f"    {name}: {value}")


if __name__ == "__main__":
    main()
