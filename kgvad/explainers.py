"""Put an explainer together: choose the source of the scores, load what it needs from the session.

The packages receive the objects that are made here; they know neither the session nor the settings.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kgvad.errors import KgvadError, RunError, UsageError, WeightsError
from kgvad.session import Session
from kgvad.video import SNIPPET_FRAMES

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank
    from kgvad.detector.run import Run
    from kgvad.explain.analysis.events import Thresholds
    from kgvad.explain.explainer import Explainer
    from kgvad.explain.narration.narrate import Narrator
    from kgvad.explain.scorers.base import Scorer
    from kgvad.video.encoders.base import VisualEncoder

logger = logging.getLogger(__name__)

JOINT = ("blip", "clip")  # visual encoders that share a space with texts
DEFAULT_ENCODER = "efficientnet-lite0"


@dataclass(frozen=True)
class Narration:
    """A language model that tells reports.

    Attributes
    ----------
    place
        Address of an OpenAI-compatible service, or a model folder.
    model
        Name of the model on the service.
    with_graph
        Whether the prompt has the paths of the knowledge graph.
    unsupported
        What happens to sentences that the claim check does not support.
    """

    place: str
    model: str | None = None
    with_graph: bool = True
    unsupported: Literal["drop", "mark"] = "mark"


@dataclass(frozen=True)
class ExplainRequest:
    """What to explain videos with; run, anchor bank, dataset and device come from the settings of the session.

    Attributes
    ----------
    scores
        File of scores of any program, or folder with one file per video.
    captions
        Captions by video and frame, JSON.
    features
        Feature store. With a run: scored instead of the video. With ``scores``: compared with the anchor bank.
    encoder
        Visual encoder for scoring without training.
    queries
        Categories to add: words or items of the knowledge graph.
    stride
        Frames per score.
    videos
        Folder of the videos, where ``scores`` is a folder.
    actions
        Whether actions are recognised at the peaks where the scores come from pixels alone.
    images
        Whether key frames are read.
    language
        Language of the reports. Default: of the settings.
    narration
        Language model that tells the report; its text is checked.
    """

    scores: Path | None = None
    captions: Path | None = None
    features: Path | None = None
    encoder: str | None = None
    queries: tuple[str, ...] = ()
    stride: int = SNIPPET_FRAMES
    videos: Path | None = None
    actions: bool = True
    images: bool = True
    language: str | None = None
    narration: Narration | None = None

    def inputs(self, session: Session) -> list[Path]:
        """Files and folders that are read beside the videos, including the default ones.

        Of a folder of videos by category, only names are read.
        """
        dataset = session.dataset_ref.path
        table = None if dataset is None or Path(dataset).is_dir() else Path(dataset)
        named = (self.scores, self.captions, self.features, table)
        return [path for path in (*named, session.run_folder, session.bank_path) if path is not None]


def build_explainer(session: Session, request: ExplainRequest, thresholds: Thresholds | None = None) -> Explainer:
    """The explainer for a request.

    Raises
    ------
    KgvadError
        An input is missing or does not fit the others.
    """
    from kgvad.explain.analysis.action_hints import ActionRecogniser
    from kgvad.explain.analysis.events import Thresholds
    from kgvad.explain.explainer import Explainer

    texts = category_texts(session)  # an unknown dataset is reported before any model is loaded
    recogniser = None
    if request.actions and request.stride == SNIPPET_FRAMES:  # it needs every frame to see movement
        recogniser = ActionRecogniser(session.device)
    return Explainer(
        scorer=choose_scorer(session, request),
        thresholds=thresholds or Thresholds(),
        category_texts=texts,
        recogniser=recogniser,
        images=request.images,
        language=request.language or session.settings.language,
        narrator=_narrator(session, request),
        face_finder=session.face_finder,
    )


def _narrator(session: Session, request: ExplainRequest) -> Narrator | None:
    """The narrator of a request, its model loaded."""
    from functools import partial

    from kgvad.chat_endpoint import is_address
    from kgvad.checking import build_checker
    from kgvad.explain.narration.narrate import Narrator
    from kgvad.explain.narration.writers import load_writer

    asked = request.narration
    if asked is None:
        return None
    if session.settings.offline and is_address(asked.place):
        raise UsageError("--narrate sends the report to a service, and KGVAD_OFFLINE is set", "name a model folder")
    return Narrator(
        writer=load_writer(asked.place, asked.model, session.device),
        checker=partial(build_checker, session, captions=request.captions),
        with_graph=asked.with_graph,
        unsupported=asked.unsupported,
        language=request.language or session.settings.language,
    )


def category_texts(session: Session) -> Mapping[str, str]:
    """Category name to words, from the category table."""
    return {category.name: category.text for category in session.table().categories}


def choose_scorer(session: Session, request: ExplainRequest) -> Scorer:
    """The first source of scores that applies, in the order of :data:`CANDIDATES`.

    Raises
    ------
    KgvadError
        What the user named is missing or does not fit.
    """
    for candidate in CANDIDATES:
        scorer = candidate(session, request)
        if scorer is not None:
            return scorer
    raise AssertionError("the last candidate always gives a scorer")


def _score_file(session: Session, request: ExplainRequest) -> Scorer | None:
    """The scores that the user gave."""
    if request.scores is None:
        return None
    from kgvad.explain.scorers.alignment import open_features
    from kgvad.explain.scorers.score_files import ScoreFileScorer

    if request.queries:
        raise UsageError("--open cannot add categories to existing scores", "leave out --open or --scores")
    features = None if request.features is None else open_features(request.features, session.bank())
    return ScoreFileScorer(
        path=request.scores,
        load_bank=session.bank,
        bank_is_named=session.settings.anchors is not None,
        features=features,
        captions=request.captions,
        videos=request.videos,
    )


def _named_run(session: Session, request: ExplainRequest) -> Scorer | None:
    """The run that the user named: it must fit."""
    folder = session.settings.run
    return None if folder is None else _run_scorer(session, request, folder)


def _default_run(session: Session, request: ExplainRequest) -> Scorer | None:
    """The run in the default place, where it exists and fits; otherwise one line says why not."""
    from kgvad.detector.run import CONFIG

    folder = session.run_folder
    if request.encoder is not None or not (folder / CONFIG).is_file():
        return None  # an encoder that the user named means scoring without training
    try:
        return _run_scorer(session, request, folder)
    except KgvadError as error:
        if request.features is not None:
            raise
        logger.info("the default run does not fit: %s; trying the next source of scores", error.message)
        return None


def _captions(session: Session, request: ExplainRequest) -> Scorer | None:
    """Captions, compared with the anchors."""
    _no_features(request)
    if request.captions is None:
        return None
    from kgvad.explain.scorers.from_video import CaptionScorer

    encoder = _encoder(session, request)
    bank = _bank(session, request, encoder)
    text_encoder = session.text_encoder(bank.encoder.source)
    return CaptionScorer(request.captions, encoder, bank, text_encoder, request.queries)


def _shipped_run(session: Session, request: ExplainRequest) -> Scorer | None:
    """The run that comes with kgvad, where it knows the dataset and sees every frame."""
    from kgvad.detector.shipped import UCF_ACTIONS
    from kgvad.settings import DEFAULT_DATASET

    _no_features(request)
    if request.encoder is not None or request.queries:
        return None  # another encoder, other categories
    if session.dataset != DEFAULT_DATASET:
        logger.info(
            "%s has no run that scores this video: unusual stretches only; train one with kgvad train --dataset %s, or "
            "leave out --dataset for the run that comes with kgvad",
            session.dataset_ref.name,
            session.dataset,
        )
        return None
    if request.stride != SNIPPET_FRAMES:
        logger.info("footage with one frame per snippet shows no movement: unusual stretches only, by change of pixels")
        return None
    try:
        return _run_scorer(session, request, UCF_ACTIONS)
    except WeightsError as error:
        logger.warning("the shipped run needs I3D: %s; unusual stretches only, by change of pixels", error.message)
        return None


def _training_free(session: Session, request: ExplainRequest) -> Scorer:
    """The video alone: change and novelty of features, with a joint encoder compared with the anchors."""
    from kgvad.explain.scorers.from_video import TrainingFreeScorer

    _no_features(request)
    encoder = _encoder(session, request)
    if encoder.name in JOINT:
        return TrainingFreeScorer(encoder, _bank(session, request, encoder), request.queries)
    if request.queries:
        raise UsageError(
            f"--open adds categories, and {_blind(request)} names none",
            "add --captions FILE, or --encoder blip or clip",
        )
    return TrainingFreeScorer(encoder)


def _blind(request: ExplainRequest) -> str:
    """What scores a video without naming categories, as the user chose it."""
    return "the video alone" if request.encoder is None else f"--encoder {request.encoder}"


CANDIDATES: tuple[Callable[[Session, ExplainRequest], Scorer | None], ...] = (
    _score_file,
    _named_run,
    _default_run,
    _captions,
    _shipped_run,
    _training_free,
)


def _run_scorer(session: Session, request: ExplainRequest, folder: Path) -> Scorer:
    from kgvad.detector.run import read_config
    from kgvad.detector.training.exemplars import Exemplars
    from kgvad.explain.scorers.from_video import RunScorer
    from kgvad.explain.scorers.stored_features import StoredFeatureScorer
    from kgvad.video.store_folders import OF_TEXT

    config = read_config(folder)
    if request.encoder not in (None, config.encoder):
        raise UsageError(
            f"the run {folder} reads {config.encoder} features, and --encoder {request.encoder} scores without a run",
            "leave out --encoder or --run",
        )
    if config.caption_dim is not None and request.captions is None:
        raise RunError(f"the run {folder} reads captions beside features", "give them with --captions FILE")
    if request.features is not None:
        from kgvad.detector.data.inputs import open_store

        store = open_store(request.features, config.encoder)
        run = _load_run(session, request, folder)
        return StoredFeatureScorer(run, store, request.captions, Exemplars.load(folder), request.queries)
    if config.encoder.endswith(OF_TEXT):
        return _caption_run_scorer(session, request, folder)
    encoder = encoder_of_run(session, request, folder)
    run = _load_run(session, request, folder)
    return RunScorer(run, encoder, request.captions, Exemplars.load(folder), request.queries)


def _caption_run_scorer(session: Session, request: ExplainRequest, folder: Path) -> Scorer:
    """A run on caption embeddings reads the captions that the user gave, by the text encoder of its training."""
    from kgvad.detector.data.caption_features import caption_manifest
    from kgvad.detector.training.exemplars import Exemplars
    from kgvad.explain.scorers.caption_runs import CaptionRunScorer
    from kgvad.video.store_folders import OF_TEXT

    if request.captions is None:
        raise RunError(f"the run {folder} reads captions", "give them with --captions FILE, or their store: --features")
    run = _load_run(session, request, folder)
    name = run.config.encoder.removesuffix(OF_TEXT)
    of_bank = None if run.bank is None else run.bank.encoder  # perhaps of a model folder
    encoder = session.text_encoder(of_bank.source if of_bank is not None and of_bank.name == name else name)
    if caption_manifest(encoder).fingerprint != run.config.features_fingerprint:
        raise RunError(
            f"the run {folder} was trained on captions that were embedded in another way, or by another {name}",
            "give their store with --features",
        )
    return CaptionRunScorer(run, request.captions, encoder, Exemplars.load(folder), request.queries, request.stride)


def encoder_of_run(session: Session, request: ExplainRequest, folder: Path) -> VisualEncoder:
    """The encoder that the run was trained on.

    Raises
    ------
    RunError
        kgvad has no such encoder, or its features are made in another way.
    """
    from kgvad.detector.run import read_config
    from kgvad.video.encoders.base import visual_encoder_names

    config = read_config(folder)
    known = visual_encoder_names()
    if config.encoder not in known:
        raise RunError(
            f"the run {folder} was trained on {config.encoder} features, which kgvad cannot compute from a video",
            f"give their store with --features, or a run on {', '.join(known)}",
        )
    encoder = session.visual_encoder(config.encoder, stride=request.stride)
    if encoder.fingerprint != config.features_fingerprint:
        raise RunError(
            f"the run {folder} was trained on {config.encoder} features with other weights or sampling "
            f"({config.features_fingerprint} instead of {encoder.fingerprint})",
            "train on features that kgvad extract makes with its default options",
        )
    return encoder


def _load_run(session: Session, request: ExplainRequest, folder: Path) -> Run:
    from kgvad.detector.run import Run

    run = Run.load(folder, session.device)
    if not request.queries:
        return run
    from kgvad.detector.scoring.open_vocabulary import open_run

    encoder = None if run.bank is None else session.text_encoder(run.bank.encoder.source)
    return open_run(run, request.queries, session.graph, session.device, encoder)


def _encoder(session: Session, request: ExplainRequest) -> VisualEncoder:
    return session.visual_encoder(request.encoder or DEFAULT_ENCODER, stride=request.stride)


def _bank(session: Session, request: ExplainRequest, encoder: VisualEncoder) -> AnchorBank:
    """The bank to compare with, with the categories that the user added."""
    joint = encoder.name if encoder.name in JOINT else None
    return session.open_bank(session.bank(joint=joint), request.queries)


def _no_features(request: ExplainRequest) -> None:
    if request.features is not None:
        raise UsageError("--features needs --run or --scores", "give one of them, or leave out --features")
