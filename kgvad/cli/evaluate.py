"""``kgvad evaluate`` and ``kgvad results``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgvad.cli.options import INPUTS, MEASURE, OUTPUTS, Device, FeatureRoot, Lists, Temperature, example

if TYPE_CHECKING:
    from rich.table import Table

logger = logging.getLogger(__name__)

METRICS = "Metrics"  # panel of options
Json = Annotated[Path | None, typer.Option("--json", help="Write all results as JSON.", rich_help_panel=OUTPUTS)]
Markdown = Annotated[
    Path | None, typer.Option("--markdown", help="Write the tables as Markdown.", rich_help_panel=OUTPUTS)
]


Runs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="RUN...",
        help="Runs, folders with one run per seed, or scores from any program: one file for several videos, or a "
        "folder with one file per video. The first is the baseline of the comparison. Default: where kgvad train "
        "writes the run.",
    ),
]
ScoredDataset = Annotated[
    str | None,
    typer.Option(
        "--dataset", "-d", help="Dataset of the scores if no run is given, such as ucf.", rich_help_panel=INPUTS
    ),
]
Text = Annotated[
    Path | None,
    typer.Option(
        "--captions", help="Store of caption embeddings, for runs trained with captions.", rich_help_panel=INPUTS
    ),
]
Annotations = Annotated[
    Path | None,
    typer.Option(
        "--annotations",
        help="Frame labels of your own test videos: CSV with video, start_s, end_s (or start_frame, end_frame) and "
        "category, text in the format of UCF-Crime, or folder of 0/1 arrays.",
        rich_help_panel=INPUTS,
    ),
]
Smooth = Annotated[
    int,
    typer.Option(
        "--smooth",
        min=1,
        help="Window of a moving average of the scores, in snippets; 1: no smoothing.",
        rich_help_panel=METRICS,
    ),
]
EvaluateClassRule = Annotated[
    str,
    typer.Option(
        "--class-probabilities",
        metavar="RULE",
        help="Class probabilities for mAP: softmax, or dsanet (the rule of the DSANet paper).",
        rich_help_panel=METRICS,
    ),
]
Resamples = Annotated[
    int,
    typer.Option(
        "--resamples",
        min=0,
        help="Bootstrap resamples for confidence intervals and p values; 0: none.",
        rich_help_panel=METRICS,
    ),
]
Plots = Annotated[
    Path | None,
    typer.Option(
        "--plots",
        help="Folder for plots: ROC and precision-recall curves, categories, score curves.",
        rich_help_panel=OUTPUTS,
    ),
]
Videos = Annotated[
    list[str] | None,
    typer.Option(
        "--video",
        help="With --plots: plot the scores of this test video; repeatable. Default: the best, the median and the "
        "worst.",
        rich_help_panel=OUTPUTS,
    ),
]


def evaluate(
    runs: Runs = None,
    dataset: ScoredDataset = None,
    features: FeatureRoot = None,
    lists: Lists = None,
    text: Text = None,
    annotations: Annotations = None,
    smooth: Smooth = 1,
    class_rule: EvaluateClassRule = "softmax",
    temperature: Temperature = 1.0,
    resamples: Resamples = 1000,
    json_file: Json = None,
    markdown: Markdown = None,
    plots: Plots = None,
    videos: Videos = None,
    device: Device = None,
) -> None:
    """Evaluate runs, or scores from any program, on the test videos of a dataset, and compare them with the first."""
    from kgvad.errors import FeatureError, RunError, UsageError
    from kgvad.given import must_exist

    if videos and plots is None:
        raise UsageError("--video chooses the score curves to plot", "name a folder with --plots")
    must_exist(runs, RunError, "name a run of kgvad train, or scores")
    must_exist(features, FeatureError, "make some with: kgvad extract")
    must_exist(lists, UsageError, "name the folder of the dataset's official lists")
    must_exist(text, FeatureError, "make it with: kgvad features import CAPTIONS --to STORE")
    must_exist(annotations, UsageError, "name a table of events, or a folder of 0/1 arrays")

    from kgvad.detector.data.folder_dataset import refuse_other_folder
    from kgvad.detector.evaluation.evaluator import EvaluationOptions, evaluate_runs
    from kgvad.detector.evaluation.given_scores import are_scores
    from kgvad.detector.evaluation.plots import draw_plots
    from kgvad.detector.scoring.class_probabilities import ClassRule
    from kgvad.files import refuse_inputs, write_json, write_text
    from kgvad.session import Session

    session = Session(device=device, dataset=dataset)
    if session.dataset_ref.kind == "folder" and session.dataset_ref.path is not None:
        refuse_other_folder(features or session.features_root, session.dataset_ref.path)
    chosen = runs or [session.run_folder]
    must_exist(chosen, RunError, "make one with: kgvad train")
    only_scores = all(are_scores(path) for path in chosen)  # runs know their dataset
    options = EvaluationOptions(
        dataset=session.dataset_ref.name if dataset or (session.settings.dataset and only_scores) else None,
        features=features or session.settings.features,
        lists=lists,
        text=text,
        annotations=annotations,
        device=session.device,
        resamples=resamples,
        smooth=smooth,
        rule=ClassRule(class_rule, temperature),
    )
    outputs = {"--json": json_file, "--markdown": markdown, "--plots": plots}
    refuse_inputs(outputs, [*chosen, options.features, lists, text, annotations])
    found = evaluate_runs(chosen, options)
    report = found.report()
    if json_file is not None:
        write_json(json_file, report.model_dump(mode="json"))
    if markdown is not None:
        write_text(markdown, report.as_markdown())
    if plots is not None:
        for path in draw_plots(found, plots, videos or ()):
            logger.info(f"{path}")
    show(report.as_rich())


Evaluations = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="EVALUATION...",
        help="Files written by kgvad evaluate --json. Default: the evaluations that come with kgvad.",
    ),
]
Dataset = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        "-d",
        help="ucf, xd or shanghaitech; repeatable. Default: all.",
        rich_help_panel=INPUTS,
    ),
]
JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        help="Write the evaluations to one file, which this command can read.",
        rich_help_panel=OUTPUTS,
    ),
]


def results(
    evaluations: Evaluations = None,
    dataset: Dataset = None,
    json_file: JsonFile = None,
    markdown: Markdown = None,
) -> None:
    """Show published results and, in separate tables, results measured with kgvad."""
    from kgvad.detector.evaluation.published import (
        PUBLISHED_METRICS,
        as_markdown,
        collect,
        measured,
        result_blocks,
    )
    from kgvad.errors import UsageError
    from kgvad.files import refuse_inputs, write_json, write_text

    refuse_inputs({"--json": json_file, "--markdown": markdown}, evaluations or ())
    collection = collect(evaluations) if evaluations else measured()
    others = sorted({one.dataset for one in collection.evaluations} - set(PUBLISHED_METRICS))
    known = [*PUBLISHED_METRICS, *others]
    same = {name.casefold(): name for name in known}  # as everywhere, UCF is ucf
    chosen = [same.get(name.casefold(), name) for name in dataset or known]
    for name in chosen:
        if name not in known:
            raise UsageError(f"there are no results on {name!r}", f"choose one of {', '.join(known)}")
    blocks = result_blocks(collection, list(dict.fromkeys(chosen)))
    if json_file is not None:
        write_json(json_file, collection.model_dump(mode="json"))
    if markdown is not None:
        write_text(markdown, as_markdown(blocks))
    show([one if isinstance(one, str) else one.as_rich() for one in blocks])


def show(parts: Sequence[Table | str]) -> None:
    """Print tables and notes; a pipe gets lines of any length instead of folded cells."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = 240
    for part in parts:
        console.print(part, markup=False)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel=MEASURE, epilog=example("kgvad evaluate runs/baseline runs/ours --plots plots/"))(
        evaluate
    )
    app.command(rich_help_panel=MEASURE, epilog=example("kgvad results --dataset ucf"))(results)
