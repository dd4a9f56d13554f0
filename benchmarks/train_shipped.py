"""Train the run that is shipped with kgvad (detector/shipped/ucf_actions), and measure it on the official test list.

    python benchmarks/train_shipped.py SHARED --centre STORE [STORE...] [--seeds 10] [--output FOLDER] [--test]

SHARED is the folder of research data: ``data/ucf/i3d_k400_logits_100rows_i8.npz`` (I3D Kinetics-400 logits of 1,785
UCF-Crime videos, made by another program) and the official lists. The STOREs are features of ordinary and abnormal
footage by ``kgvad extract --encoder i3d-actions``; their labels are not used. They give the mean of the standardised
columns of kgvad's own I3D, which differs from that of the published logits.

Left out of the training: duplicates of test videos, and the videos that the STOREs contain. The additive detector is
linear, so the run that is written is the mean of the seeds. Options: docs/notebook/detectors.md.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from kgvad.detector.api import Recipe
from kgvad.detector.data.annotations import Truth, read_truth
from kgvad.detector.data.samples import TrainingSample
from kgvad.detector.evaluation.evaluated_video import match_ground_truth
from kgvad.detector.evaluation.frame_metrics import measure
from kgvad.detector.models.additive import standardise_columns
from kgvad.detector.run import ANCHORS, CONFIG, MODEL, Run, RunConfig
from kgvad.detector.scoring.infer import infer
from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.detector.thresholds import RunThresholds
from kgvad.detector.training.thresholds import assign_folds, held_out_videos, save_thresholds
from kgvad.detector.training.trainer import Trainer
from kgvad.explain.quality.faithfulness import examine
from kgvad.explain.quality.tables import faithfulness_table
from kgvad.files import write_text
from kgvad.session import Session
from kgvad.video.encoders.base import load_visual_encoder
from kgvad.video.feature_store import FeatureStore, VideoEntry

DATASET, FPS, ROWS = "ucf", 30.0, 100
ARCHIVE = "data/ucf/i3d_k400_logits_100rows_i8.npz"
Logits = dict[str, NDArray[np.float32]]


def read_logits(archive: Path) -> Logits:
    """Logits [100, 400] of every video."""
    with np.load(archive) as bundle:
        names = sorted({name.split("|")[0] for name in bundle.files})
        return {
            name: bundle[f"{name}|q"].astype(np.float32) * bundle[f"{name}|s"].astype(np.float32)[:, None]
            for name in names
        }


def training_videos(logits: Logits, truth: Truth, left_out: set[str]) -> list[str]:
    """Videos of the official training list that equal no test video and are not in ``left_out``."""

    def digest(name: str) -> str:
        return hashlib.sha256(logits[name].tobytes()).hexdigest()

    test = {digest(name) for name in truth.split("test") if name in logits}
    return [n for n in truth.split("train") if n in logits and digest(n) not in test and n not in left_out]


def samples_of(names: Sequence[str], logits: Logits, truth: Truth, config: RunConfig) -> list[TrainingSample]:
    samples = []
    for name in names:
        target = np.zeros(len(config.categories), np.float32)
        for label in truth.videos[name].labels or (config.categories[config.normal],):
            target[config.categories.index(label)] = 1
        samples.append(TrainingSample(name, target, logits[name]))
    return samples


def own_centre(stores: Sequence[Path]) -> torch.Tensor:
    """Mean of the standardised columns over all windows of the stores, each store with equal weight."""
    means = []
    for root in stores:
        store = FeatureStore.open(root)
        rows = [torch.from_numpy(np.asarray(store.load(video), np.float32)) for video in store.ids()]
        means.append(standardise_columns(torch.cat(rows)).mean(0))
    return torch.stack(means).mean(0)


def measure_held_out(samples: Sequence[TrainingSample], run: Run, folds: int = 5) -> RunThresholds:
    """Thresholds of the run, and of its causal form, from held-out folds of its training videos."""

    def train(part: Sequence[TrainingSample], folder: Path) -> Run:
        counts = {"videos": len(part), "abnormal_videos": sum(not s.target[run.config.normal] for s in part)}
        return Trainer(part, run.config.model_copy(update=counts), folder, bank=run.bank).fit()

    fold_of = assign_folds(samples, run.config.normal, folds, 0)
    assert fold_of is not None
    return save_thresholds(run, [video for _, video in held_out_videos(samples, fold_of, train)])


def mean_run(runs: Sequence[Run], centre: torch.Tensor, folder: Path) -> Run:
    """Write the run whose parameters are the mean of those of ``runs``, with the centre of kgvad's own features."""
    states = [run.detector.state_dict() for run in runs]
    state = {
        name: torch.stack([one[name].float() for one in states]).mean(0).to(value.dtype)
        for name, value in states[0].items()
    }
    state["centre"] = centre
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / MODEL)
    write_text(folder / CONFIG, runs[0].config.model_dump_json(indent=1) + "\n")
    assert runs[0].bank is not None
    runs[0].bank.save(folder / ANCHORS)
    return Run.load(folder)


def evaluate(run: Run, logits: Logits, truth: Truth, frames: dict[str, int], onset: float) -> dict[str, float]:
    """Metrics of a run on the official test videos that have logits."""
    videos = []
    for name in truth.split("test"):
        if name not in logits:
            continue
        found = infer(run.detector, logits[name])
        edges = np.round(np.arange(ROWS + 1) * frames[name] / ROWS).astype(np.int64)
        scores = Scores(
            video=name,
            fps=FPS,
            frame_count=frames[name],
            spans=np.stack([edges[:-1], edges[1:]], 1),
            scores=found["scores"],
            alignment=found["alignment"],
            categories=list(run.config.categories),
            normal=run.config.normal,
            origin=Origin(scorer="additive", trained=True, names_categories="yes"),
        )
        video = truth.videos[name]
        alignment = found["alignment"].astype(np.float64)
        intervals = video.intervals or ()
        videos.append(match_ground_truth(scores, video.labels, intervals, frames[name], category_scores=alignment))
    metrics = measure(videos, run.config.categories, run.config.normal)
    normal = [video.scores.max() for video in videos if not video.abnormal]
    abnormal = [video.scores.max() for video in videos if video.abnormal]
    alarms = {
        "false_alarms": float(np.mean(np.array(normal) >= onset)),
        "abnormal_with_alarm": float(np.mean(np.array(abnormal) >= onset)),
    }
    return {name: float(value) for name, value in vars(metrics).items()} | alarms


def deletion(run: Run, logits: Logits, truth: Truth, frames: dict[str, int]) -> str:
    """Table of what the cited evidence is worth on the official test videos that have an event."""
    found = []
    for number, name in enumerate(truth.split("test")):
        if name not in logits:
            continue
        entry = VideoEntry(frame_count=frames[name], fps=FPS, rows=ROWS, layout="even")
        result = examine(run, logits[name], entry, name, seed=number)
        if result is not None:
            found.append(result)
    return faithfulness_table(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--centre", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--output", type=Path, default=Path("detector/shipped/ucf_actions"))
    parser.add_argument("--test", action="store_true", help="open the test list")
    arguments = parser.parse_args()

    session = Session(dataset=DATASET, device="cpu")
    bank = session.bank()
    encoder = load_visual_encoder("i3d-actions")
    truth = read_truth(DATASET, arguments.shared / "data" / "ucf")
    logits = read_logits(arguments.shared / ARCHIVE)
    seen = {video.split("/")[-1] for root in arguments.centre for video in FeatureStore.open(root).ids()}
    names = training_videos(logits, truth, seen | {"Normal_Videos764_x264"})
    abnormal = sum(bool(truth.videos[name].labels) for name in names)
    config = RunConfig(
        detector="additive",
        recipe=Recipe(epochs=12, learning_rate=5e-3, weight_decay=0.0),
        dataset=DATASET,
        categories=tuple(bank.categories),
        normal=bank.normal,
        dim=encoder.dim,
        encoder=encoder.name,
        features_fingerprint=encoder.fingerprint,
        columns=encoder.columns or (),
        bank_fingerprint=bank.fingerprint,
        videos=len(names),
        abnormal_videos=abnormal,
    )
    print(f"{len(names)} training videos, {abnormal} abnormal")
    samples = samples_of(names, logits, truth, config)
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for seed in range(arguments.seeds):
            trainer = Trainer(samples, config.model_copy(update={"seed": seed}), Path(folder, str(seed)), bank=bank)
            runs.append(trainer.fit())
        shipped = mean_run(runs, own_centre(arguments.centre), arguments.output)
        thresholds = measure_held_out(samples, shipped)
        print(f"{shipped.folder}: {sum(path.stat().st_size for path in shipped.folder.iterdir())} bytes")
        if not arguments.test:
            return
        with (arguments.shared / "data/ucf/gt_ucf_index_rebuilt.csv").open() as file:
            frames = {row["video"]: int(row["n_frames"]) for row in csv.DictReader(file)}
        print(deletion(replace(runs[0], thresholds=thresholds), logits, truth, frames))
        found = [evaluate(run, logits, truth, frames, thresholds.onset) for run in runs]
    for name in found[0]:
        values = [one[name] for one in found]
        print(f"{name}: {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}")


if __name__ == "__main__":
    main()
