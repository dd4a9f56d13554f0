"""What every scorer returns, and the protocol that it follows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import UsageError
from kgvad.files import sha256
from kgvad.video.decode import VideoInfo

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank
    from kgvad.detector.data.captions import Captions
    from kgvad.detector.training.exemplars import Exemplars
    from kgvad.explain.report import Recorded


@dataclass(frozen=True, eq=False)
class ColumnTerms:
    """Contributions of named feature columns to the category logits of one video.

    Attributes
    ----------
    columns
        Names of the D columns.
    vectors
        float32 [D, d]: the names by the text encoder of the anchor bank.
    over
        Contributions [C, D] for weights [T] of the snippets, sum 1: each row sums to the mean logit of a category less
        its bias.
    """

    columns: tuple[str, ...]
    vectors: NDArray[np.float32]
    over: Callable[[NDArray[np.float64]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class ConceptTerms:
    """Terms of the concepts of the bank in the similarity of one video to its categories.

    Attributes
    ----------
    values
        float32 [T, P]; over the concepts of a category they sum to the alignment with it.
    """

    values: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ScoredVideo:
    """Anomaly scores of one video, with everything that they were computed from.

    Attributes
    ----------
    scores
        Anomaly scores.
    info
        Exact facts about the video file; ``None`` where there is no file.
    features
        Float [T, D] or [crops, T, D], one vector per snippet; ``None`` where no features were used.
    captions
        Frame and caption, in the order of frames.
    bank
        The anchor bank that the scores were computed with.
    excluded
        Snippets without a scene (black, title card, fade) or, where pixels alone are compared, with a cut or a camera
        move, bool [T]; ``None``: none.
    terms
        Contributions of named columns or of concepts, where the categories are decided by sums of them.
    exemplars
        Abnormal segments of the training videos that the run stores.
    scores_file, captions_file
        Names of the files that the user gave.
    recorded
        Which camera recorded the video, and when; ``None`` where that is not known.
    """

    scores: Scores
    info: VideoInfo | None = None
    features: NDArray[np.floating] | None = None
    captions: Captions | None = None
    bank: AnchorBank | None = None
    excluded: NDArray[np.bool_] | None = None
    terms: ColumnTerms | ConceptTerms | None = None
    exemplars: Exemplars | None = None
    scores_file: str | None = None
    captions_file: str | None = None
    recorded: Recorded | None = None


class Scorer(Protocol):
    """A source of scores. Its parts (run, encoders, bank) are loaded before it is made, so it serves many videos."""

    def score(self, video: Path | None) -> ScoredVideo:
        """Scores of one video; ``None`` where the scorer needs no video.

        Raises
        ------
        KgvadError
            The video, or what belongs to it, cannot be used.
        """
        ...

    def identity(self) -> str:
        """Text that changes when this scorer would give other scores for the same video."""
        ...


def file_state(path: Path | None) -> str:
    """Hash of a file, or of the names, sizes and times of the files in a folder; empty for ``None``."""
    if path is None or not path.exists():
        return ""
    if path.is_file():
        return sha256(path)
    states = [(one.as_posix(), one.stat()) for one in sorted(path.rglob("*")) if one.is_file()]
    return json.dumps([(name, state.st_size, state.st_mtime_ns) for name, state in states])


NO_SCENE = ("black", "flat", "fade")
NO_CONTINUITY = ("cut", "camera")  # what changes is the picture, not the scene


def exclude_snippets(
    scores: Scores, quality: Sequence[str] | None, kinds: Sequence[str]
) -> tuple[Scores, NDArray[np.bool_] | None]:
    """``scores`` with the lowest score of the video at snippets of these kinds, and which they are, bool [T].

    Such snippets neither start an event nor stand for the normal part of the video.
    """
    if quality is None or len(quality) != len(scores.scores):
        return scores, None
    excluded = np.isin(np.array(quality), kinds)
    if not excluded.any() or excluded.all():
        return scores, None
    values = np.where(excluded, scores.scores[~excluded].min(), scores.scores).astype(np.float32)
    return replace(scores, scores=values), excluded


def note_added_categories(scores: Scores, queries: Iterable[str]) -> Scores:
    """``scores`` with a note that the last categories were added by the user and not learned."""
    count = len(list(queries))
    if not count:
        return scores
    names = ", ".join(f"“{name}”" for name in (scores.categories or [])[-count:])
    notes = [*scores.origin.notes, f"Added by the user, not learned from any video: {names}."]
    return replace(scores, origin=scores.origin.model_copy(update={"notes": notes}))


def required(video: Path | None) -> Path:
    """``video``, or an error that says that one is needed."""
    if video is None:
        raise UsageError("no video was given", "give a video, or --scores FILE")
    return video


def file_name(path: Path | None) -> str | None:
    """Name of a file without its folder."""
    return None if path is None else path.name
