"""From a video to its explanation: score, analyse, build the report, read the key frames."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from kgvad.detector.scoring.formats import format_of
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import UsageError
from kgvad.explain.analysis.action_hints import RECOGNISER, ActionRecogniser
from kgvad.explain.analysis.analyse import analyse
from kgvad.explain.analysis.build_report import ReportFacts, build_report
from kgvad.explain.analysis.calibration import Rate, calibrate
from kgvad.explain.analysis.events import Calibration, Thresholds
from kgvad.explain.explanation import Explanation
from kgvad.explain.media.key_frames import key_pictures
from kgvad.explain.narration.narrate import Narrator
from kgvad.explain.scorers.base import Scorer
from kgvad.explain.scorers.score_files import ScoreFileScorer
from kgvad.files import sha256
from kgvad.video.redaction import FaceFinder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Explainer:
    """Explains videos one after the other, with one scorer.

    Attributes
    ----------
    scorer
        Where the anomaly scores come from.
    thresholds
        What the user set of the rule for events.
    category_texts
        Category name to words ("RoadAccidents": "road accident").
    recogniser
        Recognises actions at the peaks where the scores come from pixels alone; ``None``: no action is recognised.
    images
        Whether key frames are read.
    language
        Language of the reports.
    narrator
        Adds a language model's text, checked; ``None``: none.
    face_finder
        Finds the faces that are blurred in key frames and clips; ``None``: none is blurred.
    """

    scorer: Scorer
    thresholds: Thresholds = field(default_factory=Thresholds)
    category_texts: Mapping[str, str] = field(default_factory=dict)
    recogniser: ActionRecogniser | None = None
    images: bool = True
    language: str = "en"
    narrator: Narrator | None = None
    face_finder: FaceFinder | None = None

    def explain(self, video: Path | None) -> Explanation:
        """Explain one video, or a file of scores alone where ``video`` is ``None``.

        Raises
        ------
        KgvadError
            The video, the scores, the captions, the run or the anchor bank cannot be used.
        """
        scored = self.scorer.score(video)
        analysis = analyse(scored, self.thresholds, self.category_texts)
        actions = None if self.recogniser is None else self.recogniser.examine(scored, analysis.spans)
        facts = ReportFacts(
            sha256=None if scored.info is None else sha256(scored.info.path),
            calibration=self.thresholds.calibration,
            set_by_user=self.thresholds.by_user or (),
            actions=actions,
            action_recogniser=None if actions is None else RECOGNISER,
            faces_blurred=self.face_finder is not None,
        )
        report = build_report(scored, analysis, facts)
        if self.narrator is not None:
            report = self.narrator.narrate(report)
        pictures = {}
        if scored.info is not None and self.images:
            pictures = key_pictures(scored.info.path, report, scored.info, self.face_finder)
        return Explanation(report, scored.scores, pictures, scored.info, scored.bank, self.language, self.face_finder)

    def calibrated(self, sources: Sequence[Path], rate: Rate) -> Explainer:
        """The same explainer, with thresholds set on normal footage.

        Parameters
        ----------
        sources
            Videos, folders of videos, or files of scores.
        rate
            Events in this footage that are accepted.

        Raises
        ------
        KgvadError
            A source cannot be read or scored.
        """
        scores = [one for source in sources for one in self._normal_scores(source)]
        default = self.thresholds.rule(scores[0].origin) if scores else None
        rule = calibrate(scores, default, rate)
        logger.info("onset threshold set to %.3f on %d normal videos", rule.onset, len(scores))
        calibration = Calibration(len(scores), rate.per_hour)
        kept = tuple(name for name in self.thresholds.by_user or () if name not in ("onset", "offset"))
        found = Thresholds(rule.onset, rule.offset, rule.merge_gap_s, rule.min_duration_s, calibration, kept)
        return replace(self, thresholds=found)

    def identity(self) -> str:
        """Hash that changes when this explainer would write another report about the same video."""
        facts = {
            "scorer": self.scorer.identity(),
            "thresholds": asdict(self.thresholds),
            "category_texts": dict(self.category_texts),
            "actions": self.recogniser is not None,
            "images": self.images,
            "faces_blurred": self.face_finder is not None,
            "narrator": None if self.narrator is None else self.narrator.identity(),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _normal_scores(self, source: Path) -> list[Scores]:
        from kgvad.video.extract import find_videos

        if format_of(source) is not None:
            return [Scores.load(source)]
        if isinstance(self.scorer, ScoreFileScorer):
            raise UsageError(
                f"--calibrate {source} is not a file of scores", "with --scores, give scores of normal footage too"
            )
        return [self.scorer.score(video).scores for video in find_videos(source).values()]
