"""Make a store of caption embeddings: human sentences for training, captions of a model for testing.

    python benchmarks/text_track.py SHARED OUTPUT [--segments 32] [--vectors FOLDER]

Every video is cut into at most SEGMENTS segments of equally many whole snippets. Training videos are the official ones
with UCA sentences: a segment has the mean of the sentences whose times cover its middle, or the sentence nearest in
time. A segment of a test video has the mean of the captions of its snippets.
Train on the store with: kgvad train --dataset ucf --features OUTPUT --detector anchor-text
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.console import track
from kgvad.detector.data.annotations import Truth, read_truth
from kgvad.vectors import unit
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry

logger = logging.getLogger(__name__)

FPS = 30.0


def encode(texts: list[str], folder: Path | None) -> dict[str, np.ndarray]:
    """Vectors of the texts; those in FOLDER/*.json and *.npy (lists of texts and their vectors) are reused."""
    known: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.json")) if folder else []:
        vectors = np.load(path.with_suffix(".npy"), mmap_mode="r")
        for text, vector in zip(json.loads(path.read_text()), vectors, strict=True):
            if vector.any():
                known[text] = np.asarray(vector)
    missing = sorted({text for text in texts if text not in known}, key=len)
    logger.info(f"{len(missing)} of {len(set(texts))} texts are to be encoded")
    encoder = load_text_encoder("minilm")
    for start in track(range(0, len(missing), 512), "encoding"):
        part = missing[start : start + 512]
        known.update(zip(part, encoder.encode(part).astype(np.float16), strict=True))
    return known


def segment_features(times: np.ndarray, vectors: np.ndarray, segments: int, segment_s: float) -> np.ndarray:
    """Features [segments, d] of a training video, from times [S, 2] in seconds and vectors [S, d] of its sentences."""
    middle = (np.arange(segments) + 0.5) * segment_s
    before = np.maximum(times[None, :, 0] - middle[:, None], 0)
    after = np.maximum(middle[:, None] - times[None, :, 1], 0)
    away = before + after
    chosen = away <= away.min(axis=1, keepdims=True) + 1e-9
    mean = chosen @ vectors / chosen.sum(axis=1, keepdims=True)
    return unit(mean)


def cut(frames: int, segments: int) -> tuple[int, int]:
    """Number of segments of a video (at most ``segments``) and frames of each (whole snippets)."""
    snippets = max(1, frames // SNIPPET_FRAMES)
    each = -(-snippets // segments)
    return -(-snippets // each), each * SNIPPET_FRAMES


def human_sentences(data: Path, truth: Truth) -> dict[str, dict[str, Any]]:
    """UCA sentences of the official training videos: ``sentences``, ``timestamps`` and ``duration`` by video."""
    train_videos = set(truth.split("train"))
    human = {}
    for name in ("Train", "Val", "Test"):
        human |= json.loads((data / "refs" / f"uca_{name}.json").read_text("utf-8"))
    return {video: entry for video, entry in human.items() if video in train_videos and entry["sentences"]}


def build(shared: Path, output: Path, segments: int, folder: Path | None) -> FeatureStore:
    """Make the store ``output/minilm-text`` and its labels."""
    data = shared / "data"
    truth = read_truth("ucf", data / "ucf")
    human = human_sentences(data, truth)
    with gzip.open(data / "captions" / "ucf_test_videollama3.json.gz", "rt", encoding="utf-8") as file:
        captions = json.load(file)
    kept = {}
    for video, entry in captions.items():
        rows, stride = cut(truth.videos[video].frame_count or 0, segments)
        by_row: dict[int, list[str]] = {}
        for frame in sorted(entry, key=int):
            by_row.setdefault(int(frame) // stride, []).append(entry[frame])
        last = [""]
        kept[video] = [last := by_row.get(row, last) for row in range(rows)]
    texts = [text for entry in human.values() for text in entry["sentences"]]
    vectors = encode([*texts, *(text for rows in kept.values() for row in rows for text in row)], folder)
    manifest = Manifest(encoder="minilm-text", dim=384, temporal=f"text, {segments} segments", stride=SNIPPET_FRAMES)
    with FeatureStore.create(output, manifest).adding() as store:
        for video, entry in track(human.items(), "training videos"):
            frames = round(entry["duration"] * FPS)
            number, stride = cut(frames, segments)
            matrix = np.stack([vectors[text] for text in entry["sentences"]]).astype(np.float32)
            rows = segment_features(np.array(entry["timestamps"]), matrix, number, stride / FPS)
            store.add(video, rows, VideoEntry(frame_count=max(frames, 1), fps=FPS, rows=len(rows), stride=stride))
        for video, lines in track(kept.items(), "test videos"):
            matrix = np.stack([np.mean([vectors[text] for text in row], axis=0, dtype=np.float32) for row in lines])
            matrix = unit(matrix)
            count = truth.videos[video].frame_count or 1
            stride = cut(count, segments)[1]
            store.add(video, matrix, VideoEntry(frame_count=count, fps=FPS, rows=len(matrix), stride=stride))
    truth.save(output)
    return store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--segments", type=int, default=32)
    parser.add_argument("--vectors", type=Path)
    options = parser.parse_args()
    print(build(options.shared, options.output, options.segments, options.vectors).root)


if __name__ == "__main__":
    main()
