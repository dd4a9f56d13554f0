"""Commands that explain videos, and that measure explanations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kgvad.cli.explain_options import (
    AUTO,
    STDOUT,
    Actions,
    Calibrate,
    Captions,
    Clips,
    DropUnsupported,
    Encoder,
    EvaluatedRun,
    FalseAlarms,
    Features,
    Format,
    Images,
    Language,
    MergeGap,
    MinDuration,
    Narrate,
    NarrateGraph,
    NarrateModel,
    Offset,
    Onset,
    Open,
    Output,
    Redact,
    Reencode,
    References,
    Reports,
    RunFeatures,
    SaveScores,
    ScoreFile,
    Seed,
    Stride,
    Templates,
    Video,
    VideoList,
)
from kgvad.cli.options import (
    MAIN_PATH,
    MEASURE,
    Address,
    Anchors,
    Dataset,
    Device,
    Engine,
    EngineName,
    Gpus,
    ImageRate,
    RunFolder,
    Workers,
    example,
    ray_options,
)

if TYPE_CHECKING:
    from kgvad.explain.batch import Remote
    from kgvad.explain.explainer import Explainer
    from kgvad.explainers import ExplainRequest
    from kgvad.ray_cluster import RayOptions
    from kgvad.session import Session

logger = logging.getLogger(__name__)


def explain(
    video: Video = None,
    output: Output = None,
    form: Format = None,
    clips: Clips = None,
    save_scores: SaveScores = None,
    dataset: Dataset = None,
    anchors: Anchors = None,
    captions: Captions = None,
    features: Features = None,
    run: RunFolder = None,
    scores: ScoreFile = None,
    encoder: Encoder = None,
    open_: Open = None,
    fps: ImageRate = None,
    stride: Stride = 16,
    actions: Actions = True,
    onset: Onset = None,
    offset: Offset = None,
    merge_gap: MergeGap = None,
    min_duration: MinDuration = None,
    calibrate: Calibrate = None,
    false_alarms: FalseAlarms = None,
    language: Language = None,
    images: Images = True,
    redact: Redact = None,
    templates: Templates = None,
    narrate: Narrate = None,
    narrate_model: NarrateModel = None,
    narrate_graph: NarrateGraph = True,
    drop_unsupported: DropUnsupported = False,
    device: Device = None,
    engine: Engine = EngineName.local,
    address: Address = None,
    gpus: Gpus = None,
    workers: Workers = None,
) -> None:
    """Report when something abnormal happens in a video, what it may be, and the evidence."""
    from kgvad.given import goes_with, must_be_folder, videos_here

    if video is not None and features is None:
        video = videos_here(video) or video
    _check_inputs(video, scores, captions, run, anchors, features, calibrate)
    goes_with("--calibrate", calibrate, {"--false-alarms": false_alarms})
    about_narration = {"--narrate-model": narrate_model, "--drop-unsupported": drop_unsupported}
    goes_with("--narrate", narrate, about_narration | {"--no-narrate-graph": not narrate_graph})
    must_be_folder(clips, "--clips")
    cluster = ray_options(engine, address, gpus, workers)
    from kgvad.errors import UsageError
    from kgvad.explain.analysis.calibration import parse_rate
    from kgvad.explain.analysis.events import Thresholds
    from kgvad.explainers import ExplainRequest, Narration, build_explainer
    from kgvad.session import Session
    from kgvad.video.inputs import folder_of

    if video is not None and (fps is not None or video.is_dir() or video.suffix.lower() == ".zip"):
        from kgvad.settings import cache_dir
        from kgvad.video.image_frames import as_videos

        video = as_videos(video, cache_dir(), fps)
    folder = None if video is None else folder_of(video)
    queries = tuple(open_ or ())
    narration = None
    if narrate is not None:
        narration = Narration(narrate, narrate_model, narrate_graph, "drop" if drop_unsupported else "mark")
    request = ExplainRequest(
        scores, captions, features, encoder, queries, stride, folder, actions, images, language, narration
    )
    thresholds = Thresholds(onset, offset, merge_gap, min_duration)
    rate = parse_rate(false_alarms or "1/hour")
    with Session(device=device, dataset=dataset, anchors=anchors, run=run, redact=redact, explaining=True) as session:
        if captions == AUTO and video is not None:
            from kgvad.captioning import made_captions

            request = replace(request, captions=made_captions(session, video))

        def load() -> Explainer:
            explainer = build_explainer(session, request, thresholds)
            return explainer.calibrated(calibrate, rate) if calibrate else explainer

        sources, said = [*request.inputs(session), *(calibrate or ())], language or session.settings.language
        if video is not None and folder is not None:
            remote = None if cluster is None else partial(_remote, cluster, session, request, said, templates)
            _explain_folder(
                video, output or [], form or [], said, templates, load, sources, save_scores or clips, remote
            )
        elif cluster is not None:
            raise UsageError("--engine ray is for several videos", "leave it out, or name a folder")
        else:
            _explain_one(video, output or [], form or [], said, templates, load, sources, save_scores, clips, queries)


def _check_inputs(
    video: Path | None,
    scores: Path | None,
    captions: Path | None,
    run: Path | None,
    anchors: Path | None,
    features: Path | None,
    calibrate: list[Path] | None,
) -> None:
    """Report a missing file before anything heavy is imported."""
    from kgvad.errors import AnchorError, FeatureError, RunError, ScoresError, UsageError, VideoError
    from kgvad.given import must_exist, refuse_run_beside_scores, videos_must_exist
    from kgvad.video.inputs import LISTS

    if video is None and scores is None:
        raise UsageError("neither a video nor scores were given", "give a video, or --scores FILE")
    if features is None:  # otherwise VIDEO may be a name in the store
        videos_must_exist(video, VideoError)
    must_exist(scores, ScoresError, "give a file of scores")
    refuse_run_beside_scores(scores, run)
    if captions == AUTO and video is None:
        raise UsageError("--captions auto needs the video", "give it, or a file of captions")
    must_exist(None if captions == AUTO else captions, UsageError, "give a JSON file {video: {frame: caption}}")
    must_exist(run, RunError, "make one with: kgvad train")
    must_exist(anchors, AnchorError, "build it with: kgvad build-anchors --dataset NAME")
    must_exist(features, FeatureError, "extract them with: kgvad extract")
    must_exist(calibrate, UsageError, "give normal footage: a video, a folder of videos or a file of scores")
    if video is not None and video.is_file() and video.suffix.lower() not in (".zip", *LISTS):
        from kgvad.video.decode import probe

        probe(video)  # a file that is not a video is reported before any model is loaded


def _explain_folder(
    videos: Path,
    output: list[Path],
    forms: Sequence[str],
    language: str,
    templates: Path | None,
    load: Callable[[], Explainer],
    sources: Sequence[Path],
    single_file: Path | None,
    remote: Callable[[Explainer], AbstractContextManager[Remote]] | None,
) -> None:
    from kgvad.errors import UsageError
    from kgvad.explain.batch import explain_folder
    from kgvad.explain.rendering.render import Renderer

    if len(output) != 1 or output == [STDOUT]:
        raise UsageError(f"{videos} may be several videos", "give one folder for the reports with --output")
    if single_file is not None:
        raise UsageError("--save-scores and --clips work for a single video", "leave them out")
    renderer = Renderer(language, templates)
    explainer = load()
    with nullcontext() if remote is None else remote(explainer) as engine:
        more = tuple(dict.fromkeys(forms))
        outcome = explain_folder(videos, output[0], explainer, renderer, forms=more, sources=sources, remote=engine)
    print(outcome.index)
    if outcome.failed:
        raise typer.Exit(1)


@contextmanager
def _remote(
    cluster: RayOptions,
    session: Session,
    request: ExplainRequest,
    language: str,
    templates: Path | None,
    explainer: Explainer,
) -> Iterator[Remote]:
    """What explains videos on a Ray cluster, as ``explainer`` does here."""
    from kgvad.explain_cluster import VideoExplainer, explain_on_cluster
    from kgvad.ray_cluster import Model, connected

    model = Model(VideoExplainer, (session.settings, request, explainer.thresholds, language, templates))
    with connected(cluster, session.settings.device) as on:
        yield partial(explain_on_cluster, model=model, on=on)


def _explain_one(
    video: Path | None,
    output: list[Path],
    forms: Sequence[str],
    language: str,
    templates: Path | None,
    load: Callable[[], Explainer],
    sources: Sequence[Path],
    save_scores: Path | None,
    clips: Path | None,
    queries: tuple[str, ...],
) -> None:
    from kgvad.errors import UsageError
    from kgvad.explain.rendering.writers import Outputs
    from kgvad.explain.scorers.files_read import files_read
    from kgvad.files import refuse_inputs

    if output == [STDOUT]:
        output = []
    if len(forms) > 1:
        raise UsageError("--format is given twice for one video", "name each report with --output FILE")
    outputs = Outputs(output, forms[0] if forms else None, language, templates)
    bank_file = save_scores.with_suffix(".anchors.safetensors") if save_scores is not None and queries else None
    written = {"--output": output, "--save-scores": save_scores, "the anchor bank": bank_file}
    refuse_inputs(written, [video, *sources])
    explainer = load()
    explanation = explainer.explain(video)
    if save_scores is not None:
        explanation.scores.save(save_scores)
    if bank_file is not None and explanation.bank is not None:
        explanation.bank.save(bank_file)
        logger.info("%s has the added categories: give it with --anchors together with these scores", bank_file)
    text = outputs.write(explanation, clips, files_read(explainer.scorer, sources, video))
    if text is not None:
        print(text, end="")


def explain_eval(
    reports: Reports = None,
    references: References = None,
    run: EvaluatedRun = None,
    features: RunFeatures = None,
    videos: VideoList = None,
    reencode: Reencode = None,
    seed: Seed = 0,
) -> None:
    """Measure explanations: text quality, faithfulness to the detector, robustness to compression."""
    from kgvad.errors import UsageError
    from kgvad.explain.quality.tables import deletion_table, text_table

    has_text, has_run = bool(reports), run is not None and features is not None
    if (
        has_text != (references is not None)
        or (features is not None and run is None)
        or (run is not None and features is None and reencode is None)
        or not (has_text or has_run or reencode is not None)
    ):
        raise UsageError(
            "there is nothing to measure",
            "give REPORTS with --references FILE, --run RUN with --features STORE, or --reencode VIDEOS",
        )
    if reports and references is not None:
        print(text_table(reports, references, seed), end="")
    if run is not None and features is not None:
        print(deletion_table(run, features, videos, seed), end="")
    if reencode is not None:
        print(_robustness(reencode, run), end="")


def _robustness(videos: Path, run: Path | None) -> str:
    from kgvad.explain.quality.reencoding import robustness_table
    from kgvad.explainers import ExplainRequest, build_explainer
    from kgvad.session import Session
    from kgvad.video.extract import find_videos

    with Session(run=run) as session:
        explainer = build_explainer(session, ExplainRequest(actions=False, images=False))
        return robustness_table(list(find_videos(videos).values()), explainer)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command(rich_help_panel=MAIN_PATH, epilog=example("kgvad explain video.mp4 --output report.html"))(explain)
    text = example("kgvad explain-eval reports/ --references references.json")
    app.command("explain-eval", rich_help_panel=MEASURE, epilog=text)(explain_eval)
