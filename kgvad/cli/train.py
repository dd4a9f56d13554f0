"""Commands of ``detector``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset", "-d", help="Name of a dataset (ucf), or a folder with one sub-folder of videos per category."
    ),
]
FeatureRoot = Annotated[
    Path | None, typer.Option("--features", help="Root of the feature stores, or a list of .npy files to import.")
]
Lists = Annotated[Path | None, typer.Option("--lists", help="Folder of the dataset's official lists.")]
Temperature = Annotated[
    float, typer.Option("--temperature", help="Of --classes; larger is flatter. DSANet: 5 on ucf, 1 on xd.")
]
Device = Annotated[str | None, typer.Option("--device", help="Torch device; default: of kgvad.toml, else cpu.")]


def train(
    dataset: Dataset = None,
    features: FeatureRoot = None,
    anchors: Annotated[Path | None, typer.Option("--anchors", help="Anchor bank.")] = None,
    run: Annotated[Path | None, typer.Option("--run", "-r", help="Folder of the run.")] = None,
    detector: Annotated[str, typer.Option("--detector", help="Name of the detector.")] = "anchor-aligned",
    option: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE: an option of the detector; may be repeated.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Epochs; default: the detector's.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Default: the detector's.")] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Normal and as many abnormal videos in a step.")
    ] = None,
    standardise: Annotated[
        bool, typer.Option("--standardise", help="Centre the features and bring them to unit deviation.")
    ] = False,
    micro_batch: Annotated[
        int | None,
        typer.Option("--micro-batch", min=1, help="Videos in memory at once; gradients stay those of the whole batch."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="fp32 or bf16 (half precision where it is safe). Default: fp32.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option("--sigma", min=0.0, help="Noise in the choice of rows; it fades out. Default: none.")
    ] = None,
    validate: Annotated[
        float | None,
        typer.Option(
            "--validate", min=0.0, max=0.5, help="Keep this share of the training videos back and keep the best epoch."
        ),
    ] = None,
    patience: Annotated[
        int | None, typer.Option("--patience", min=1, help="With --validate: epochs without a better one; default 5.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")] = 0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Train so many runs, seed after seed.")] = 1,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="With --seeds: so many at once.")] = 1,
    encoder: Annotated[
        str | None, typer.Option("--encoder", "-e", help="Which features; for a folder of videos, what to extract.")
    ] = None,
    lists: Lists = None,
    text: Annotated[
        Path | None,
        typer.Option(
            "--text", help="Store of caption embeddings, for detectors that read them (kgvad import-captions)."
        ),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            "--text-encoder", help="With --set learn=context or adapters: the bank's text encoder, a name or a folder."
        ),
    ] = None,
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run with other settings.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write the losses for TensorBoard, into the run.")
    ] = False,
) -> None:
    """Train a detector on videos with video-level labels; run it again to go on where it stopped."""
    from kgvad.errors import AnchorError, FeatureError, UsageError
    from kgvad.given import must_exist

    must_exist(features, FeatureError, "make features with: kgvad extract VIDEOS --output FOLDER")
    must_exist(anchors, AnchorError, "make it with: kgvad build-anchors --dataset NAME")
    must_exist(lists, UsageError, "name the folder of the dataset's official lists")
    must_exist(text, FeatureError, "make it with: kgvad import-captions")

    from contextlib import nullcontext

    from kgvad.detector.data.training_inputs import Choices, find_inputs
    from kgvad.detector.training.distributed import Team
    from kgvad.detector.training.seeds import Order, parse_options, train_seeds, wants_anchors
    from kgvad.detector.training.tensorboard import mirrored
    from kgvad.session import Session

    session = Session(device=device)

    settings = session.settings
    options = parse_options(option or [])
    device = session.device
    with Team(device).after_first():
        inputs = find_inputs(
            Choices(dataset, features, anchors, run, lists, encoder),
            settings,
            needs_anchors=wants_anchors(detector, options),
        )
    changes = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "normal_batch": batch,
        "abnormal_batch": batch,
        "standardise": standardise or None,
        "micro_batch": micro_batch,
        "precision": precision,
        "sigma": sigma,
        "validation": validate,
        "patience": patience,
    }
    order = Order(
        inputs,
        detector,
        options,
        {name: value for name, value in changes.items() if value is not None},
        text,
        device,
        overwrite,
        text_encoder,
    )
    chosen = range(seed, seed + seeds)
    folders = [inputs.run] if seeds == 1 else [inputs.run / f"seed-{one}" for one in chosen]
    with mirrored(folders) if tensorboard and Team(device).first else nullcontext():
        for folder in train_seeds(order, chosen, jobs):
            print(folder)


def score(
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="Feature store.")],
    run: Annotated[Path, typer.Option("--run", "-r", help="Trained run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the scores, one file per video.")],
    form: Annotated[str, typer.Option("--format", help="npz, csv or json.")] = "npz",
    videos: Annotated[list[str] | None, typer.Option("--video", help="Only this video; may be repeated.")] = None,
    open_: Annotated[
        list[str] | None,
        typer.Option("--open", help="Also name this, without training: words, or an item such as Q4654740."),
    ] = None,
    text: Annotated[
        Path | None, typer.Option("--text", help="Store of caption embeddings, for a run that reads them.")
    ] = None,
    chunk: Annotated[
        int | None, typer.Option("--chunk", min=2, help="Rows to look at at once; default: what the detector takes.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Also write class probabilities: softmax, or dsanet (its paper's rule)."),
    ] = None,
    temperature: Temperature = 1.0,
    device: Device = None,
) -> None:
    """Score the videos of a feature store with a trained run."""
    from kgvad.errors import FeatureError, RunError, UsageError
    from kgvad.given import must_exist

    if form not in ("npz", "csv", "json"):
        raise UsageError(f"--format {form!r} is unknown", "use npz, csv or json")
    must_exist(features, FeatureError, "make some with: kgvad extract")
    must_exist(run, RunError, "make one with: kgvad train")
    must_exist(text, FeatureError, "make it with: kgvad import-captions")

    from kgvad.detector.scoring.class_probabilities import ClassRule
    from kgvad.detector.scoring.infer import score_store
    from kgvad.session import Session

    if classes is None and temperature != 1:
        raise UsageError("--temperature is for class probabilities", "add --classes softmax or dsanet")
    session = Session(device=device)
    settings = session.settings
    for path in score_store(
        features,
        run,
        output,
        form=form,
        videos=videos,
        queries=open_ or (),
        text=text,
        chunk=chunk,
        classes=None if classes is None else ClassRule(classes, temperature),
        device=session.device,
        settings=settings,
    ):
        print(path)


def import_features(
    archive: Annotated[
        list[Path],
        typer.Argument(metavar="ARCHIVE", help="npz archive of segments, or lists of .npy files (.csv, .list, .txt)."),
    ],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Dataset whose lists label the videos.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Root of the feature stores; default: the user's data folder.")
    ] = None,
    lists: Annotated[
        Path | None, typer.Option("--lists", help="Folder of the official lists; default: beside the archive.")
    ] = None,
    frames: Annotated[
        list[Path] | None, typer.Option("--frames", help="Table of frame counts (CSV, TSV, JSON); may be repeated.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", "-e", help="Name of the encoder that made them; default: c3d, of lists imported."),
    ] = None,
) -> None:
    """Turn feature files of another program into a feature store."""
    from kgvad.detector.data.feature_lists import import_any
    from kgvad.settings import default_features

    print(
        import_any(
            archive, dataset, output or default_features(dataset), lists=lists, frames=frames or [], encoder=encoder
        )
    )


def import_captions(
    captions: Annotated[
        Path, typer.Argument(metavar="CAPTIONS", help="JSON: {video: {frame: caption}}; may be gzipped.")
    ],
    features: Annotated[Path, typer.Option("--features", help="Feature store whose rows the captions tell.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Root of the feature stores; default: that of the features.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--text-encoder", help="As of the anchor bank; default: blip, or minilm without it.")
    ] = None,
    device: Device = None,
) -> None:
    """Embed captions for detectors that read them beside features (--text)."""
    from kgvad.anchors.text_encoders import load_text_encoder
    from kgvad.detector.data.caption_features import import_captions as embed
    from kgvad.session import Session
    from kgvad.video.feature_store import FeatureStore

    store = FeatureStore.open(features)
    chosen = load_text_encoder(encoder, Session(device=device).device)
    print(embed(captions, store, output or store.root.parent, chosen).root)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(train)
    app.command()(score)
    app.command("import-features")(import_features)
    app.command("import-captions")(import_captions)
