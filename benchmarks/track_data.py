"""Stores of the four tracks of ``benchmarks/tracks.py``, made once from the research data, and their duplicates."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from text_track import build as build_text
from text_track import human_sentences

from kgvad.console import track
from kgvad.detector.data.annotations import Truth, read_truth
from kgvad.detector.data.duplicates import across_splits, duplicate_groups
from kgvad.detector.data.feature_import import ImportOptions, import_features
from kgvad.files import write_json
from kgvad.video.action_labels import action_labels
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry

FPS = 30.0
ROWS = 100  # of a video in the file of I3D logits
TIMES = "times.json"


@dataclass(frozen=True)
class Track:
    """One of the four tracks.

    Attributes
    ----------
    name, title
        Short name, and heading in the results.
    features
        Root of its feature store.
    captions
        Root of its caption store, if any.
    """

    name: str
    title: str
    features: Path
    captions: Path | None = None


def tracks(stores: Path) -> dict[str, Track]:
    """The tracks, with their stores below ``stores``."""
    text = stores / "text"
    found = [
        Track("c3d", "UCF-Crime, C3D features", stores / "c3d"),
        Track("i3d", "UCF-Crime, I3D action scores", stores / "i3d"),
        Track("text", "UCF-Crime, captions", text),
        Track("fused", "UCF-Crime, C3D features with captions", stores / "c3d", text),
    ]
    return {track.name: track for track in found}


def prepare(shared: Path, stores: Path, names: Sequence[str], vectors: Path | None) -> None:
    """Make the stores of the tracks that are missing, and ``times.json`` of the training videos."""
    ucf = shared / "data" / "ucf"
    events = shared / "data" / "refs" / "hivau_new_train.json"
    if not (stores / TIMES).is_file():
        write_json(stores / TIMES, training_times(events, ucf))
    if {"c3d", "fused"} & set(names) and not (stores / "c3d" / "dataset.json").is_file():
        import_features([ucf / "c3d_32segments_u8.npz"], stores / "c3d", ImportOptions("ucf", ucf, [events], "c3d"))
    if "i3d" in names and not (stores / "i3d" / "dataset.json").is_file():
        import_logits(ucf, events, stores / "i3d")
    if {"text", "fused"} & set(names) and not (stores / "text" / "dataset.json").is_file():
        build_text(shared, stores / "text", 32, vectors)


def training_times(events: Path, lists: Path) -> dict[str, list[list[int]]]:
    """Abnormal frames of abnormal training videos, from the events that HIVAU names."""
    train = set(read_truth("ucf", lists).split("train"))
    found = {}
    for video, entry in json.loads(events.read_text("utf-8")).items():
        if video in train and entry["label"]:
            spans = [[round(edge * entry["fps"]) for edge in event] for event in entry["events"]]
            found[video] = [[start, min(end, entry["n_frames"])] for start, end in spans if start < end]
    return found


def import_logits(ucf: Path, events: Path, output: Path) -> FeatureStore:
    """The I3D logits as a store with named columns; row j covers frames F j / 100 to F (j + 1) / 100.

    The number of frames F of a training video is that of HIVAU; where it has none, the video counts as 16 frames a row.
    """
    truth = read_truth("ucf", ucf)
    counts = {video: entry["n_frames"] for video, entry in json.loads(events.read_text("utf-8")).items()}
    with (ucf / "gt_ucf_index_rebuilt.csv").open() as file:
        counts |= {row["video"]: int(row["n_frames"]) for row in csv.DictReader(file)}
    archive = ucf / "i3d_k400_logits_100rows_i8.npz"
    columns = list(action_labels())
    manifest = Manifest(
        encoder="i3d-logits", dim=400, temporal=f"{ROWS} rows of equal length", columns=columns, note=archive.name
    )
    with np.load(archive) as bundle, FeatureStore.create(output, manifest).adding() as store:
        for video in track(sorted({name.split("|")[0] for name in bundle.files} & set(truth.videos)), "I3D logits"):
            rows = bundle[f"{video}|q"].astype(np.float32) * bundle[f"{video}|s"].astype(np.float32)[:, None]
            frames = max(counts.get(video, 0), ROWS)
            if video not in counts:
                frames = 16 * ROWS
            edges = np.round(np.arange(ROWS + 1) * frames / ROWS).astype(int).tolist()
            entry = VideoEntry(frame_count=frames, fps=FPS, rows=ROWS, layout="spans", edges=edges)
            store.add(video, rows, entry)
        truth.save(output)
    return store


def caption_texts(shared: Path, output: Path) -> Path:
    """Human sentences of training videos as a caption file {video: {frame: sentence}}, for class prompts."""
    truth = read_truth("ucf", shared / "data" / "ucf")
    found = {}
    for video, entry in human_sentences(shared / "data", truth).items():
        pairs = zip(entry["timestamps"], entry["sentences"], strict=True)
        found[video] = {str(round(start * FPS)): sentence for (start, _), sentence in pairs}
    write_json(output, found)
    return output


def list_duplicates(store: FeatureStore, truth: Truth) -> tuple[list[list[str]], list[list[str]]]:
    """Groups of videos with identical features, and those of them that lie across the splits."""
    present = [video for video in store.ids() if video in truth.videos]
    groups = duplicate_groups((video, store.load(video)) for video in present)
    return groups, across_splits(groups, {video: truth.videos[video].split for video in present})
