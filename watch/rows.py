"""Scored rows of a camera, and the report that is made from them when an event is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.run import Run
from kgvad.detector.scoring.infer import origin_of
from kgvad.detector.scoring.scores import Scores
from kgvad.explain.report import Recorded
from kgvad.explain.scorers.base import ColumnTerms, ScoredVideo
from kgvad.explain.scorers.from_video import column_terms
from kgvad.explain.text import plain
from kgvad.video.decode import probe
from kgvad.watch.window_queue import Segment

if TYPE_CHECKING:
    from kgvad.detector.training.exemplars import Exemplars

NO_CLIP_FPS = 30.0  # frame rate that scores without a clip are counted in


@dataclass(frozen=True, eq=False)
class ScoredRow:
    """One row with its causal score.

    Attributes
    ----------
    number
        Counted over the stream of the camera.
    start_s, end_s
        Seconds of the segment.
    """

    number: int
    segment: Segment
    start_s: float
    end_s: float
    score: float
    features: NDArray[np.float32]
    alignment: NDArray[np.float32] | None = None
    concepts: NDArray[np.float32] | None = None
    shows_scene: bool = True


@dataclass(frozen=True, eq=False)
class RowScorer:
    """The scores that a camera's rows got while it was watched, as a scorer of the clip that was recorded.

    Attributes
    ----------
    run
        In its causal form.
    rows
        Of one segment, in order.
    clip_start_s
        Second of the segment at which the clip begins.
    history
        Rows before these, from which their scores were computed too.
    name
        Of the video in the report, where there is no clip.
    camera
        Name of the camera.
    """

    run: Run
    rows: Sequence[ScoredRow]
    clip_start_s: float
    name: str
    camera: str
    history: Sequence[ScoredRow] = ()
    exemplars: Exemplars | None = None

    def score(self, video: Path | None) -> ScoredVideo:
        """The rows that the clip shows, or all of them where ``video`` is ``None``."""
        info = None if video is None else probe(video, exact=True)
        start_s = self.clip_start_s if info is not None else self.rows[0].start_s
        times = np.array([[row.start_s - start_s, row.end_s - start_s] for row in self.rows])
        if info is None:
            fps = NO_CLIP_FPS
            spans = np.round(times * fps).astype(np.int64)
            count = int(spans[-1, 1])
        else:
            fps, count = info.fps, info.frame_count
            shown = np.arange(count) / fps if info.frame_times is None else info.frame_times
            spans = np.searchsorted(shown, times - 1e-6).astype(np.int64)
        spans[1:, 0] = np.maximum(spans[1:, 0], spans[:-1, 1])
        inside = (spans[:, 1] > spans[:, 0]) & (times[:, 1] > 0)
        chosen = [row for row, kept in zip(self.rows, inside, strict=True) if kept]
        first = int(np.flatnonzero(inside)[0])
        features = np.stack([row.features for row in chosen])
        config = self.run.config
        named = chosen[0].alignment is not None
        scores = Scores(
            video=self.name if video is None else video.name,
            fps=fps,
            frame_count=count,
            spans=spans[inside],
            scores=np.array([row.score for row in chosen], np.float32),
            alignment=_stacked([row.alignment for row in chosen]),
            categories=list(config.categories) if named else None,
            normal=config.normal if named else None,
            concept_alignment=_stacked([row.concepts for row in chosen]),
            origin=origin_of(self.run, names_categories=named),
        )
        excluded = np.array([not row.shows_scene for row in chosen])
        return ScoredVideo(
            scores=scores,
            info=info,
            features=features,
            bank=self.run.bank,
            excluded=excluded if excluded.any() and not excluded.all() else None,
            terms=self._terms(first, len(chosen)),
            exemplars=self.exemplars,
            recorded=Recorded(camera=plain(self.camera), start=self.rows[0].segment.moment(start_s).astimezone()),
        )

    def identity(self) -> str:
        """The run; rows have no other identity."""
        return f"live\n{self.run.fingerprint}"

    def _terms(self, first: int, count: int) -> ColumnTerms | None:
        """Contributions within the clip, computed with the rows before it as the scores were."""
        before = [*self.history, *self.rows[:first]]
        rows = [*before, *self.rows[first : first + count]]
        terms = column_terms(self.run, np.stack([row.features for row in rows]))
        if terms is None:
            return None
        over, past = terms.over, np.zeros(len(before))
        return ColumnTerms(terms.columns, terms.vectors, lambda weights: over(np.concatenate([past, weights])))


def _stacked(parts: list[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    known = [part for part in parts if part is not None]
    return np.stack(known) if len(known) == len(parts) else None
