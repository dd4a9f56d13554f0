"""From a video to its report: features, scores, events, evidence. Each heavy part is loaded once, on first use."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kgvad.console import progress
from kgvad.detector.scoring.scores import FORMATS as SCORE_FORMATS
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import AnchorError, RunError, UsageError, WeightsError
from kgvad.explain.analysis.build_report import Context, Seen, compose
from kgvad.explain.analysis.events import Interval, Thresholds, calibrate, find_events, frame_times
from kgvad.explain.analysis.evidence import item_labels
from kgvad.explain.analysis.severity import harm_of
from kgvad.explain.media.key_frames import key_pictures
from kgvad.explain.report import Report
from kgvad.explain.scorers.alignment import open_features, with_alignment
from kgvad.explain.scorers.banks import find_bank, open_bank, tell_opened
from kgvad.files import sha256
from kgvad.kg.tables import CategoryTable, load_table
from kgvad.settings import default_bank, default_run
from kgvad.video.decode import VideoInfo, probe

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank
    from kgvad.detector.data.captions import Captions
    from kgvad.detector.run import Run
    from kgvad.detector.training.exemplars import Exemplars, Match
    from kgvad.video.encoders.base import VisualEncoder

logger = logging.getLogger(__name__)


JOINT = ("blip", "clip")  # visual encoders that share a space with texts


@dataclass(frozen=True)
class Options:
    """How videos are explained.

    Attributes
    ----------
    dataset
        Name of a category table, or path to one.
    run
        Trained run; ``None`` takes the default run where it exists and fits, else no training.
    run_is_named
        Whether the user named ``run``: then it must fit.
    anchors
        Anchor bank; ``None`` takes the default one, built where it is missing.
    encoder
        Visual encoder for scoring without training; ``None`` leaves the choice to the video room.
    scores, captions
        Files of scores and captions.
    features
        Feature store: what the run scores instead of encoding the video; with ``scores`` it names categories by way of
        the anchor bank.
    open
        Categories added to the anchor bank, and to the run: words or items.
    stride
        Frames a row of features; 1 for footage that keeps one frame a snippet.
    actions
        Whether the action recogniser may look at the peaks.
    images
        Whether key frames are read.
    thresholds, calibrated_on, false_alarms_per_hour
        How events are found, and how the thresholds were set.
    device
        Torch device.
    """

    dataset: str = "ucf"
    run: Path | None = None
    run_is_named: bool = False
    anchors: Path | None = None
    encoder: str | None = None
    scores: Path | None = None
    captions: Path | None = None
    features: Path | None = None
    open: tuple[str, ...] = ()
    stride: int = 16
    actions: bool = True
    images: bool = True
    thresholds: Thresholds = field(default_factory=Thresholds)
    calibrated_on: int = 0
    false_alarms_per_hour: float | None = None
    device: str = "cpu"

    def sources(self) -> list[Path]:
        """Files and folders that are read beside the videos, the default ones too."""
        name = Path(self.dataset).stem
        named = (Path(self.dataset), self.run, self.anchors, self.scores, self.captions, self.features)
        return [path for path in (*named, default_run(name), default_bank(name)) if path is not None]


@dataclass(frozen=True, eq=False)
class Explained:
    """A report with what it was made from; ``pictures`` are JPEG by frame number."""

    report: Report
    scores: Scores
    info: VideoInfo | None
    pictures: dict[int, bytes]
    bank: AnchorBank | None = None


class Explainer:
    """Explains videos one after the other; encoders, run and bank are loaded once."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def explain(self, video: Path | None) -> Explained:
        """The report on one video, or on the scores alone where ``video`` is ``None``.

        Raises
        ------
        KgvadError
            The video, the scores, the captions, the run or the anchor bank cannot be used.
        """
        options = self.options
        self._check_open()
        source = video  # a file, or a name in the feature store
        if video is not None and self._from_store and not video.exists():
            video = None
        info = None if video is None else probe(video)
        features: NDArray[np.floating] | None = None
        captions = self._captions(source)
        if options.scores is not None:
            if video is not None:
                info = probe(video, exact=True)
            scores = self._given_scores(options.scores, info)
            if options.features is not None:
                scores = with_alignment(scores, open_features(options.features, self._bank), _stem(scores), self._bank)
        elif source is None:
            raise UsageError("neither a video nor scores were named", "name a video, or --scores FILE")
        elif self._from_store:
            scores, features = self._stored(source, info, captions)
        else:
            scores, info, features = self._score(source, captions)
        scores = tell_opened(scores, len(options.open))
        bank = self._bank_for(scores)
        times = frame_times(scores, info)
        rule = options.thresholds.rule(scores.origin, scores.scores)
        context = Context(
            rule=rule,
            calibrated_on=options.calibrated_on,
            false_alarms_per_hour=options.false_alarms_per_hour,
            bank=bank,
            texts=self._texts(scores),
            harm=harm_of(scores.categories or ()),
            labels=item_labels(bank),
            width=info.width if info else None,
            height=info.height if info else None,
            sha256=sha256(video) if video else None,
            scores_file=options.scores.name if options.scores else None,
            captions_file=options.captions.name if options.captions else None,
            captions=captions,
            times=times,
        )
        intervals = find_events(scores, rule, times)
        seen, by = self._actions(video, scores, info, intervals)
        report = compose(scores, replace(context, similar=self._similar(features, intervals)), seen, by)
        pictures = key_pictures(video, report, info) if video is not None and options.images else {}
        return Explained(report, scores, info, pictures, bank)

    def calibrated(self, sources: list[Path], false_alarms_per_hour: float) -> Explainer:
        """The same, with thresholds set on normal footage: videos, folders of videos, or files of scores.

        Raises
        ------
        KgvadError
            A source cannot be read or scored.
        """
        from kgvad.video.extract import find_videos

        scores = []
        for source in sources:
            if source.suffix.lower() in SCORE_FORMATS:
                scores.append(Scores.load(source))
            else:
                scores += [
                    self._stored(video, probe(video))[0] if self._from_store else self._score(video, None)[0]
                    for video in find_videos(source).values()
                ]
        usual = self.options.thresholds.rule(scores[0].origin) if scores else None
        rule = calibrate(scores, usual, false_alarms_per_hour)
        logger.info(f"on {len(scores)} normal videos the event threshold became {rule.high:.3f}")
        found = Thresholds(rule.high, rule.low, rule.merge_s, rule.min_s)
        return self._with(thresholds=found, calibrated_on=len(scores), false_alarms_per_hour=false_alarms_per_hour)

    def with_scores(self, path: Path) -> Explainer:
        """The same, with the scores of another file; what was loaded is kept."""
        return self._with(scores=path)

    def _with(self, **changes: Any) -> Explainer:
        other = Explainer(replace(self.options, **changes))
        loaded = {key: value for key, value in vars(self).items() if key != "options"}
        vars(other).update(loaded)
        return other

    @cached_property
    def _table(self) -> CategoryTable:
        return load_table(self.options.dataset)

    @cached_property
    def _run(self) -> Run | None:
        """The run to score with: the named one, or the default one where it exists and videos can be encoded for it."""
        from kgvad.detector.run import CONFIG, Run, read_config
        from kgvad.video.encoders.base import visual_encoder_names

        options = self.options
        if options.encoder is not None and not options.run_is_named:
            return None  # the user chose how to score
        folder = options.run or default_run(Path(options.dataset).stem)
        if not options.run_is_named and not (folder / CONFIG).is_file():
            return None
        config = read_config(folder)
        if config.caption_dim is not None and options.captions is None:
            raise RunError(f"the run {folder} reads captions beside features", "name them with --captions FILE")
        known = visual_encoder_names()
        if config.encoder not in known and not self._from_store:
            reason = (
                f"the run {folder} was trained on {config.encoder} features, which kgvad cannot compute from a video"
            )
            if options.run_is_named:
                raise RunError(reason, f"name their store with --features, or a run on {', '.join(known)}")
            logger.info(f"{reason}; scoring without training")
            return None
        run = Run.load(folder, options.device)
        if not options.open:
            return run
        from kgvad.detector.scoring.open_vocabulary import open_run
        from kgvad.kg.store.cache import GraphStore

        return open_run(run, options.open, GraphStore.open(None), options.device)

    @property
    def _from_store(self) -> bool:
        """Whether a run scores stored features, so that no video is encoded."""
        return self.options.features is not None and self.options.scores is None

    @cached_property
    def _encoder(self) -> VisualEncoder:
        from kgvad.video.encoders.base import load_visual_encoder

        name = self.options.encoder if self._run is None else self._run.config.encoder
        encoder = load_visual_encoder(name, self.options.device, stride=self.options.stride)
        if self._run is not None and encoder.fingerprint != self._run.config.features_fingerprint:
            raise RunError(
                f"the run {self._run.folder} was trained on {self._run.config.encoder} features made in another way "
                f"({self._run.config.features_fingerprint} instead of {encoder.fingerprint})",
                "train on features that kgvad extract makes with its default options",
            )
        return encoder

    def _check_open(self) -> None:
        """--open needs a scorer that compares with the bank; told before anything is computed."""
        if not self.options.open:
            return
        remedy = "add --captions FILE, or --encoder blip or clip"
        if self.options.scores is not None:
            raise UsageError("--open cannot change scores that are there already", "leave out --scores")
        if self._run is None and self.options.captions is None and self._encoder.name not in JOINT:
            raise UsageError(f"{self._encoder.name} looks at pixels only and names no category", remedy)

    @cached_property
    def _bank(self) -> AnchorBank:
        """The bank to compare with, with the categories of --open."""
        options = self.options
        looks = options.scores is None and options.features is None  # at the video itself, with an encoder
        joint = self._encoder.name if looks and self._encoder.name in JOINT else None
        return open_bank(
            find_bank(options.anchors, options.dataset, joint, options.device), options.open, options.device
        )

    def _given_scores(self, path: Path, info: VideoInfo | None) -> Scores:
        if info is None:
            return Scores.load(path)
        scores = Scores.load(path, video=info.path.name, fps=info.fps, frame_count=info.frame_count)
        if scores.frame_count > info.frame_count + 16:
            raise UsageError(
                f"{path} has scores for {scores.frame_count} frames and {info.path} has {info.frame_count}",
                "name the video that was scored",
            )
        return scores

    def _score(self, video: Path, captions: Captions | None) -> tuple[Scores, VideoInfo, NDArray[np.floating]]:
        """Features, then scores: by the run, or without training."""
        from kgvad.video.extract import extract_video

        options, encoder, run = self.options, self._encoder, self._run
        total = encoder.sampling.expected_rows(probe(video))
        with progress(f"looking at {video.name} with {encoder.name}", total) as advance:
            made = extract_video(video, encoder, advance=advance)
        features, info, entry = made.features, made.info, made.entry
        if run is not None:
            from kgvad.detector.scoring.caption_input import caption_input
            from kgvad.detector.scoring.infer import score_features

            text = caption_input(run, captions, entry, options.device)
            made = encoder.fingerprint
            scores = score_features(run, features, entry, video=video.name, encoder_fingerprint=made, text=text)
            return scores, info, features
        from kgvad.detector.scoring.training_free import score_training_free

        joint = encoder.name in JOINT
        bank = self._bank if joint or captions is not None else None
        scores = score_training_free(
            features, entry, encoder=encoder, bank=bank, captions=captions, video=info.path.name
        )
        return scores, info, features

    def _stored(
        self, video: Path, info: VideoInfo | None, captions: Captions | None = None
    ) -> tuple[Scores, NDArray[np.floating]]:
        """Scores by the run from the features of --features."""
        from kgvad.explain.scorers.stored_features import score_stored

        if self._run is None:
            raise UsageError("--features goes with --run or --scores", "name one, or leave --features out")
        assert self.options.features is not None
        return score_stored(self._run, self.options.features, video, info, self.options.device, captions)

    def _bank_for(self, scores: Scores) -> AnchorBank | None:
        """The bank that the scores were made with, where concepts can be cited from it."""
        if self.options.anchors is None and scores.concept_alignment is None:
            return None
        bank = self._run.bank if self.options.scores is None and self._run is not None else self._bank
        if bank is not None and scores.concept_alignment is not None:
            known = scores.origin.bank_fingerprint
            if known is not None and known != bank.fingerprint:
                raise AnchorError(
                    f"the scores were made with the anchor bank {known[:16]} and not with {bank.fingerprint[:16]}",
                    "name the bank that the scores were made with (--anchors BANK)",
                )
        return bank

    def _texts(self, scores: Scores) -> dict[str, str]:
        """Words for the categories of the scores, from the category table where it knows them."""
        if scores.categories is None:
            return {}
        known = {category.name: category.text for category in self._table.categories}
        return {name: known[name] for name in scores.categories if name in known}

    @cached_property
    def _examples(self) -> Exemplars | None:
        """Moments of the training videos that the run stores."""
        from kgvad.detector.training.exemplars import Exemplars

        return None if self._run is None else Exemplars.load(self._run.folder)

    def _similar(
        self, features: NDArray[np.floating] | None, intervals: list[Interval]
    ) -> dict[int, tuple[Match, ...]]:
        """The most similar training moments of each event, by event number."""
        if features is None or self._examples is None:
            return {}
        rows = features[0] if features.ndim == 3 else features
        return {
            number: tuple(self._examples.nearest(rows[slice(*interval.rows)]))
            for number, interval in enumerate(intervals, 1)
        }

    def _actions(
        self, video: Path | None, scores: Scores, info: VideoInfo | None, intervals: list[Interval]
    ) -> tuple[dict[int, Seen], str | None]:
        """Hints by recognised actions, where nothing names categories; one line on stderr where they cannot be had."""
        options = self.options
        if video is None or info is None or not options.actions or scores.origin.names_categories != "no":
            return {}, None
        if not intervals or options.stride != 16:  # a recogniser of movement needs every frame
            return {}, None
        from kgvad.anchors.text_encoders import load_text_encoder
        from kgvad.explain.analysis.action_hints import RECOGNISER, look

        try:
            text = load_text_encoder(self._bank.encoder.source, options.device)
            bank = self._bank
            seen = look(video, scores, intervals, info, bank, text, item_labels(bank), options.device)
        except WeightsError as error:
            logger.info(f"no actions were recognised: {error.message}")
            return {}, None
        return seen, RECOGNISER

    def _captions(self, video: Path | None) -> Captions | None:
        path = self.options.captions
        if path is None:
            return None
        if video is None:
            raise UsageError("--captions needs the video that they describe", "name the video")
        from kgvad.detector.data.captions import read_captions

        return read_captions(path, video.name)


def _stem(scores: Scores) -> str:
    """Name of the video as a feature store has it."""
    return Path(scores.video).stem
