"""Captions with frame labels: one captioner and several imitations of others on UCF-Crime, another on four data sets.

``ucf``: VideoLLaMA3 on UCF-Crime. ``ucf first sentence``, ``ucf first clause``: the same, cut. ``ucf short``: the first
sentence without articles and a fifth of its words, at most 14. ``human``: sentences of people (UCA) by their times.
``SHTech``, ``UBNormal``, ``avenue``, ``ped2``: CogVLM, a caption for every frame.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from kgvad.detector.scoring.caption_scorer import CaptionScores
from kgvad.detector.scoring.clauses import clauses

SNIPPET, FPS = 16, 30
COGVLM = {"SHTech": "shanghaitech", "UBNormal": "ubnormal", "avenue": "shanghaitech", "ped2": "shanghaitech"}
SENTENCE = re.compile(r"(?<=[.!?])\s+")
ARTICLES = {"the", "a", "an", "is", "are", "seen"}


@dataclass(frozen=True)
class LabelledVideo:
    """A video with captions (frame, text) and, for each of T snippets, its abnormal and normal frames."""

    name: str
    category: str
    captions: list[tuple[int, str]]
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]

    @property
    def abnormal(self) -> bool:
        return bool(self.category != "Normal")


def shortened(caption: str) -> str:
    """The first sentence without its opening formula and articles; every fifth word is lost at random."""
    draw = random.Random(caption)  # the same caption loses the same words
    first = SENTENCE.split(caption)[0]
    first = re.sub(r"^(the video (shows|depicts|captures|features)|in the video,?)\s+", "", first, flags=re.I)
    words = [word for word in first.rstrip(".").split() if word.lower() not in ARTICLES and draw.random() > 0.2]
    return " ".join(words[:14]).lower() or "scene"


IMITATIONS: dict[str, Callable[[str], str]] = {
    "ucf": lambda caption: caption,
    "ucf first sentence": lambda caption: SENTENCE.split(caption)[0],
    "ucf first clause": lambda caption: clauses(caption)[0],
    "ucf short": shortened,
}


def labelled(shared: Path, name: str) -> list[LabelledVideo]:
    """The videos of one set; ``shared`` is the folder with data/."""
    if name in COGVLM:
        return _cogvlm(shared, name)
    data = shared / "data"
    if name == "human":
        captions = _human(data)
    else:
        with gzip.open(data / "captions/ucf_test_videollama3.json.gz") as file:
            found = json.load(file)
        edit = IMITATIONS[name]
        captions = {video: sorted((int(f), edit(text)) for f, text in own.items()) for video, own in found.items()}
    labels = np.load(data / "ucf/gt_ucf_frames_rebuilt.npy")
    with (data / "ucf/gt_ucf_index_rebuilt.csv").open() as file:
        index = list(csv.DictReader(file))
    videos = []
    for row in index:
        if row["video"] in captions:
            start = int(row["offset"])
            counts = _counts(labels[start : start + int(row["n_frames"])])
            videos.append(LabelledVideo(row["video"], row["class"], captions[row["video"]], *counts))
    return videos


def _counts(labels: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Abnormal and normal frames of each snippet; the last one has the rest."""
    starts = np.arange(max(1, len(labels) // SNIPPET)) * SNIPPET
    positives = np.add.reduceat(labels.astype(np.int64), starts)
    return positives, np.diff(np.append(starts, len(labels))) - positives


def _human(data: Path) -> dict[str, list[tuple[int, str]]]:
    found = {}
    for part in ("Train", "Val", "Test"):
        for video, own in json.loads((data / f"refs/uca_{part}.json").read_text("utf-8")).items():
            times = zip(own["timestamps"], own["sentences"], strict=True)
            found[video] = sorted((int(start * FPS), text.strip()) for (start, _), text in times)
    return found


def _cogvlm(shared: Path, name: str) -> list[LabelledVideo]:
    with gzip.open(shared / f"data/captions/anomalyruler/{name}.json.gz") as file:
        found = json.load(file)
    videos = []
    for video, own in found.items():
        texts = [text for text, count in own["captions"] for _ in range(count)]
        labels = np.array([label for label, count in own["labels"] for _ in range(count)], np.int8)
        category = "Abnormal" if labels.any() else "Normal"
        videos.append(LabelledVideo(video, category, list(enumerate(texts)), *_counts(labels)))
    return videos


def mean_matrix(parts: Sequence[Sequence[int]], columns: int) -> csr_array:
    """Matrix [len(parts), columns] whose product with values is their mean over each part."""
    sizes = np.array([len(part) for part in parts])
    rows = np.repeat(np.arange(len(parts)), sizes)
    values = np.repeat(1 / sizes, sizes).astype(np.float32)
    return csr_array((values, (rows, [i for part in parts for i in part])), (len(parts), columns))


def category_hits(found: CaptionScores, normal: int, category: int) -> tuple[bool, bool]:
    """Whether a video's category is the first, or among the first three, over its highest eighth of snippets."""
    return hits(found.alignment, found, normal, category)


def hits(values: NDArray[np.float32], found: CaptionScores, normal: int, category: int) -> tuple[bool, bool]:
    """The same by any values [T, C]."""
    total = found.contributions.sum(1)
    highest = np.argsort(-total, kind="stable")[: max(1, len(total) // 8)]
    mean = values[highest].mean(0)
    mean[normal] = -np.inf
    place = int((mean > mean[category]).sum())
    return place < 1, place < 3
