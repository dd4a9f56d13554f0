"""Commands of ``explain``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.options import MAIN_PATH, MEASURE, example

logger = logging.getLogger(__name__)


def explain(
    video: Annotated[
        Path | None,
        typer.Argument(metavar="VIDEO", help="A video, or a folder of videos; may be left out with --scores."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", "-f", help="md, html, json, srt, vtt or csv; default: by the name of the output, else md."
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="Write here instead of to stdout; may be given several times."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Trained run to score with; default: the one of the dataset.")
    ] = None,
    anchors: Annotated[
        Path | None, typer.Option("--anchors", help="Anchor bank; default: the one of the dataset.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Category table: a name or a file; default ucf.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", "-e", help="Score without training on the features of this visual encoder."),
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option("--captions", help="Captions of the video by frame, JSON: they let categories be named."),
    ] = None,
    open_: Annotated[
        list[str] | None,
        typer.Option("--open", help="Also look for this, without training: words, or an item such as Q4654740."),
    ] = None,
    scores: Annotated[Path | None, typer.Option("--scores", help="Scores of any program: npz, CSV or JSON.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            help="With --run: stored features to score; VIDEO is a file or a name in the store. "
            "With --scores: features of blip or clip, which name categories by the anchor bank.",
        ),
    ] = None,
    high: Annotated[
        float | None, typer.Option("--high", help="A score from here on starts an event; default: as suits the scorer.")
    ] = None,
    low: Annotated[
        float | None, typer.Option("--low", help="An event lasts while the score stays above; default 0.7 x high.")
    ] = None,
    merge: Annotated[
        float | None, typer.Option("--merge", help="Events at most this many seconds apart are one; default 2.")
    ] = None,
    shortest: Annotated[
        float | None, typer.Option("--min", help="Shorter events, in seconds, are left out; default 1.")
    ] = None,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(
            "--calibrate", help="Normal footage that sets the threshold: video, folder or file of scores; repeatable."
        ),
    ] = None,
    false_alarms: Annotated[
        float, typer.Option("--false-alarms", min=0, help="What --calibrate may allow, events an hour.")
    ] = 1.0,
    stride: Annotated[
        int, typer.Option(min=1, help="Frames a score; 1 for footage that keeps one frame of sixteen.")
    ] = 16,
    actions: Annotated[
        bool, typer.Option("--actions/--no-actions", help="Look for known actions at the peaks (I3D).")
    ] = True,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Show key frames.")] = True,
    clips: Annotated[
        Path | None, typer.Option("--clips", help="Cut each event out of the video, into this folder.")
    ] = None,
    save_scores: Annotated[
        Path | None, typer.Option("--save-scores", help="Also keep the scores: npz, CSV or JSON, for --scores.")
    ] = None,
    language: Annotated[str, typer.Option("--language", "-l", help="Language of the report: en or de.")] = "en",
    templates: Annotated[
        Path | None, typer.Option("--templates", help="Folder whose templates win over the built-in ones.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Torch device; default: of kgvad.toml, else cpu.")] = None,
) -> None:
    """Write a report about a video: when something abnormal happens, what it may be, and why."""
    from kgvad.errors import AnchorError, FeatureError, RunError, ScoresError, UsageError, VideoError
    from kgvad.given import must_exist

    if video is None and scores is None:
        raise UsageError("neither a video nor scores were named", "name a video, or --scores FILE")
    if features is None:  # else VIDEO may be a name in the store
        must_exist(video, VideoError, "check the name")
    must_exist(scores, ScoresError, "name a file of scores")
    must_exist(captions, UsageError, "give a JSON file {video: {frame: caption}}")
    must_exist(run, RunError, "make one with: kgvad train")
    must_exist(anchors, AnchorError, "make it with: kgvad build-anchors --dataset NAME")
    must_exist(features, FeatureError, "make some with: kgvad extract")
    must_exist(calibrate, UsageError, "name normal footage: a video, a folder or a file of scores")

    from kgvad.explain.analysis.events import Thresholds
    from kgvad.explain.batch import explain_folder
    from kgvad.explain.explainer import Explainer, Options
    from kgvad.explain.rendering.render import Renderer
    from kgvad.explain.rendering.writers import Outputs
    from kgvad.files import refuse_inputs
    from kgvad.session import Session

    session = Session(device=device)

    settings = session.settings
    options = Options(
        dataset=dataset or settings.dataset or "ucf",
        run=run or settings.run,
        run_is_named=(run or settings.run) is not None,
        anchors=anchors or settings.anchors,
        encoder=encoder,
        scores=scores,
        captions=captions,
        features=features,
        open=tuple(open_ or ()),
        stride=stride,
        actions=actions,
        images=images,
        thresholds=Thresholds(high, low, merge, shortest),
        device=session.device,
    )
    sources = (video, *options.sources(), *(calibrate or ()))
    if video is not None and video.is_dir():
        if output is None or len(output) != 1:
            raise UsageError(f"{video} is a folder", "name one folder for the reports with --output")
        if save_scores is not None or clips is not None:
            raise UsageError("--save-scores and --clips name one video's files", "leave them out for a folder")
        explainer = Explainer(options)
        if calibrate:
            explainer = explainer.calibrated(calibrate, false_alarms)
        renderer = Renderer(language, templates)
        outcome = explain_folder(video, output[0], explainer, renderer, forms=(form,) if form else (), sources=sources)
        print(outcome.index)
        raise typer.Exit(1 if outcome.failed else 0)
    outputs = Outputs(output or [], form, language, templates)
    bank = save_scores.with_suffix(".anchors.safetensors") if save_scores is not None and options.open else None
    refuse_inputs({"--output": output, "--save-scores": save_scores, "the anchor bank": bank}, sources)
    explainer = Explainer(options)
    if calibrate:
        explainer = explainer.calibrated(calibrate, false_alarms)
    explained = explainer.explain(video)
    if save_scores is not None:
        explained.scores.save(save_scores)
        if bank is not None and explained.bank is not None:
            explained.bank.save(bank)
            logger.info(f"{bank} holds what --open added: name it with --anchors beside these scores")
    text = outputs.write(explained, clips)
    if text is not None:
        print(text, end="")


def explain_eval(
    reports: Annotated[
        list[Path] | None,
        typer.Argument(metavar="REPORTS", help="Reports as JSON, or folders of them, to compare as text."),
    ] = None,
    references: Annotated[
        Path | None, typer.Option("--references", help="Sentences that people wrote, JSON: {video: [text, ...]}.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Trained run whose explanations are tested by deletion.")
    ] = None,
    features: Annotated[Path | None, typer.Option("--features", help="Feature store for --run.")] = None,
    videos: Annotated[
        Path | None, typer.Option("--videos", help="File with one video a line: only these are tested with --run.")
    ] = None,
    again: Annotated[
        Path | None,
        typer.Option("--reencode", help="Video or folder: explained as it is and encoded again, smaller and coarser."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random deletions and the bootstrap.")] = 0,
) -> None:
    """Measure explanations: as text against references, by taking away what they cite, and by encoding videos again."""
    from kgvad.errors import UsageError
    from kgvad.explain.quality.tables import deletion_table, text_table

    if (
        (references is None) != (not reports)
        or (features is not None and run is None)
        or (run is not None and features is None and again is None)
        or (references is None and run is None and again is None)
    ):
        raise UsageError(
            "there is nothing to measure",
            "give REPORTS with --references FILE, --run RUN with --features STORE, or --reencode VIDEOS",
        )
    if reports and references is not None:
        print(text_table(reports, references, seed), end="")
    if run is not None and features is not None:
        print(deletion_table(run, features, videos, seed), end="")
    if again is not None:
        from kgvad.explain.explainer import Explainer, Options
        from kgvad.explain.quality.reencoding import survival_table
        from kgvad.session import Session
        from kgvad.video.extract import find_videos

        session = Session()

        settings = session.settings
        options = Options(
            dataset=settings.dataset or "ucf",
            run=run or settings.run,
            run_is_named=(run or settings.run) is not None,
            anchors=settings.anchors,
            actions=False,
            images=False,
            device=session.device,
        )
        print(survival_table(list(find_videos(again).values()), Explainer(options)), end="")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel=MAIN_PATH, epilog=example("kgvad explain video.mp4 --output report.html"))(explain)
    app.command(
        "explain-eval",
        rich_help_panel=MEASURE,
        epilog=example("kgvad explain-eval reports/ --references references.json"),
    )(explain_eval)
