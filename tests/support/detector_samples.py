"""A small dataset in the official format, and the command line, for tests of the detector."""

import json
import os
import signal

import numpy as np
from typer.testing import CliRunner

from kgvad.cli import app
from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo
from kgvad.errors import RunError
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry

DIM = 12


def kgvad(*arguments):
    """Run a command; its errors are raised, its stdout is returned."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def make_archive(folder):
    """A small archive in ``folder``: official lists, annotations, frame counts, 4-segment features."""
    random = np.random.default_rng(0)
    kinds = ["Arson", "Fighting", "Normal"]
    arrays, train, test, notes, counts = {}, [], [], [], ["video,n_frames"]
    for number in range(18):
        kind = kinds[number % 3]
        name = f"{kind}{number:03d}_x264"
        rows = random.uniform(size=(4, DIM)).astype(np.float32)
        if kind != "Normal":
            rows[1:3, number % 3] += 2
        scale = rows.max(1)
        arrays[f"{name}|q"] = (np.sqrt(rows / scale[:, None]) * 255).round().astype(np.uint8)
        arrays[f"{name}|s"] = scale.astype(np.float16)
        place = "Training_Normal_Videos_Anomaly" if kind == "Normal" else kind
        if number < 12:
            train.append(f"{place}/{name}.mp4")
        else:
            test.append(f"{place}/{name}.mp4")
            notes.append(f"{name}.mp4  {kind}  {'-1 -1' if kind == 'Normal' else '20 70'}  -1  -1")
        counts.append(f"{name},135")
    np.savez(folder / "c3d.npz", **arrays)
    (folder / "Anomaly_Train.txt").write_text("\n".join(train))
    (folder / "Anomaly_Test.txt").write_text("\n".join(test))
    (folder / "Temporal_Anomaly_Annotation.txt").write_text("\n".join(notes))
    (folder / "gt_ucf_index_rebuilt.csv").write_text("\n".join(counts))
    return folder / "c3d.npz"


def train(features, run, *more):
    """Train a tiny run without anchors."""
    options = ["--set", "anchors=false", "--set", "width=8", "--epochs", 2]
    return kgvad("train", "--dataset", "ucf", "--features", features, "--run", run, *options, *more)


def text_store(root, videos, dim=5, scale=1.0):
    """A store of caption embeddings; those of the first video are of another length."""
    store = FeatureStore.create(root, Manifest(encoder="words", dim=dim))
    for number, video in enumerate(videos):
        rows = np.random.default_rng(number).normal(size=(9, dim)).astype(np.float32) * scale
        store.add(video, rows, VideoEntry(frame_count=135 if number else 1000, fps=30, rows=9))
    return root


class ToyWords:
    """A text encoder of five dimensions, by letters."""

    name, dim, fingerprint, joint = "words", 5, "f", None

    def encode(self, texts):
        return np.array([[text.count(letter) + 0.1 for letter in "aefgs"] for text in texts], dtype=np.float32)


def swap_labels(features, one, other):
    """Give two videos of ``dataset.json`` the labels of each other."""
    path = features / "dataset.json"
    truth = json.loads(path.read_text())
    first, second = truth["videos"][one], truth["videos"][other]
    first["labels"], second["labels"] = second["labels"], first["labels"]
    path.write_text(json.dumps(truth))


def evaluated_video(video, edges, logits, events=(), labels=None, scores=None):
    """A video with these snippets, category logits and events."""
    intervals = tuple((start, end) for _, start, end in events)
    labels = tuple(dict.fromkeys(name for name, *_ in events)) if labels is None else labels
    logits = np.asarray(logits, float)
    scores = np.full(len(logits), 0.5) if scores is None else np.asarray(scores, float)
    return EvaluatedVideo(video, labels, scores, np.asarray(edges), intervals, logits, tuple(events))


IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


def map_by_sets(videos, names, mode, normal_has_events=False):
    """Detection mAP by the published procedure, frame by frame, with sets of frames: the definition."""
    used = [v for v in videos if mode == "legacy" or v.abnormal]
    shares = []
    for v in used:
        e = np.exp(v.category_scores)
        shares.append(np.repeat(e / e.sum(1, keepdims=True), np.diff(v.edges), axis=0))
    results = []
    for c, name in enumerate(names):
        truth = [(i, set(range(s, e))) for i, v in enumerate(used) for n, s, e in v.events if n == name]
        if mode == "legacy" and normal_has_events and c == 0:
            truth += [(i, set(range(v.frame_count))) for i, v in enumerate(used) if not v.abnormal]
        if mode == "corrected" and (c == 0 or not truth):
            continue
        found = [one for i, s in enumerate(shares) for one in _runs_of_frames(i, s[:, c], mode)]
        if mode == "legacy" and not found:
            return [0.0] * 5
        found.sort(key=lambda p: -p[0])
        results.append([100 * _greedy_precision(found, truth, threshold) for threshold in IOU_THRESHOLDS])
    return np.mean(results, axis=0).tolist()


def _runs_of_frames(video, s, mode):
    """(confidence, video, set of frames) of each run of frames of one category."""
    top = np.sort(s)[::-1][: len(s) // 16]
    least = s.max() - 0.6 * (s.max() - s.min())
    above = [*(s > least if mode == "legacy" else s >= least), False]
    found, start = [], None
    for f, inside in enumerate(above):
        if inside:
            start = f if start is None else start
        elif start is not None:
            if f - start >= (2 if mode == "legacy" else 1):
                confidence = s[start:f].max() + 0.7 * (top.mean() if len(top) else 0)
                found.append((confidence, video, set(range(start, f))))
            start = None
    return found


def _greedy_precision(found, truth, threshold):
    """AP of proposals, best first, each of which takes the free event of its video with the largest IoU."""
    free, hits, total = list(range(len(truth))), 0, 0.0
    for rank, (_, i, covered) in enumerate(found, 1):
        best = max(
            ((len(covered & truth[g][1]) / len(covered | truth[g][1]), -g) for g in free if truth[g][0] == i),
            default=(0, 0),
        )
        if best[0] >= threshold:
            free.remove(-best[1])
            hits += 1
            total += hits / rank
    return total / len(truth) if truth else 0.0


def fail_or_die(task):
    """Work for another process, which imports it by name."""
    if task == "fail":
        raise RunError("seed 3 is bad", "take another")
    if task == "divide":
        1 / 0  # noqa: B018
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
