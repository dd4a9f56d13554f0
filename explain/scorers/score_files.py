"""Scores of any program, read from a file, or from a folder with one file per video."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.detector.scoring.scores import Scores
from kgvad.errors import AnchorError, UsageError
from kgvad.explain.scorers.alignment import with_alignment
from kgvad.explain.scorers.base import ScoredVideo, file_name, file_state
from kgvad.video.decode import VideoInfo, probe
from kgvad.video.feature_store import FeatureStore
from kgvad.video.video_ids import video_id

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank

MAX_EXTRA_FRAMES = 16  # by which scores may reach beyond the end of the video
SUFFIXES = (".npz", ".json", ".csv", ".npy", ".json.gz")  # of the files of a folder, in the order of preference


@dataclass(frozen=True, eq=False)
class ScoreFileScorer:
    """Scores that another program, or kgvad before, wrote.

    Attributes
    ----------
    path
        File of scores (npz, JSON or CSV), or folder with one file per video.
    load_bank
        Gives the anchor bank that the scores were computed with, or that ``features`` are compared with.
    bank_is_named
        Whether the user named that bank. Otherwise it is loaded only for scores that refer to concepts.
    features
        Features that share a space with the texts of ``bank``: they give an alignment to scores without one.
    captions
        Captions of the videos, JSON, quoted in reports.
    videos
        Folder of the videos whose scores are in the folder ``path``.
    """

    path: Path
    load_bank: Callable[[], AnchorBank]
    bank_is_named: bool = False
    features: FeatureStore | None = None
    captions: Path | None = None
    videos: Path | None = None

    def score(self, video: Path | None) -> ScoredVideo:
        """Scores of ``video``, or of the file alone where ``video`` is ``None``.

        Raises
        ------
        UsageError
            The folder has no scores of the video, or the scores are of a longer video.
        AnchorError
            The scores were computed with another anchor bank.
        """
        from kgvad.detector.data.captions import read_captions
        from kgvad.detector.data.clock import VideoClock

        path = self.file_of(video)
        info = None if video is None else probe(video, exact=True)
        scores = _load(path, info)
        bank = self.load_bank() if self._needs_bank(scores) else None
        if self.features is not None and bank is not None:
            scores = with_alignment(scores, self.features, video_id(scores.video), bank)
        captions = None
        if self.captions is not None:
            if video is None:
                raise UsageError("--captions needs the video that they describe", "give the video")
            captions = read_captions(self.captions, str(video), None if info is None else VideoClock.of(info))
        _check_bank(scores, bank)
        return ScoredVideo(
            scores=scores,
            info=info,
            captions=captions,
            bank=bank,
            scores_file=path.name,
            captions_file=file_name(self.captions),
        )

    def identity(self) -> str:
        bank = self.load_bank().fingerprint if self.bank_is_named else ""
        features = "" if self.features is None else self.features.fingerprint
        return "\n".join(("score file", file_state(self.path), bank, features, file_state(self.captions)))

    def file_of(self, video: Path | None) -> Path:
        """The file of scores of ``video``.

        Raises
        ------
        UsageError
            The folder has no scores of the video.
        """
        if video is None or self.videos is None:
            return self.path
        name = video.relative_to(self.videos)
        found = [path for path in score_files(self.path, name) if path.is_file()]
        if not found:
            expected = name.with_name(video_id(name)).as_posix()
            raise UsageError(
                f"{self.path} has no scores for {expected}", f"expected {expected} with {', '.join(SUFFIXES)}"
            )
        return found[0]

    def _needs_bank(self, scores: Scores) -> bool:
        return self.bank_is_named or self.features is not None or scores.concept_alignment is not None


def score_files(folder: Path, video: Path) -> Iterable[Path]:
    """Where the scores of a video may lie in ``folder``; ``video`` is relative to the folder of the videos."""
    names = (video.as_posix(), video.with_name(video_id(video)).as_posix())
    return [folder / f"{name}{suffix}" for name in names for suffix in SUFFIXES]


def _check_bank(scores: Scores, bank: AnchorBank | None) -> None:
    known = scores.origin.bank_fingerprint
    if bank is None or scores.concept_alignment is None or known in (None, bank.fingerprint):
        return
    raise AnchorError(
        f"the scores were computed with the anchor bank {str(known)[:16]}, not with {bank.fingerprint[:16]}",
        "give the bank that the scores were computed with (--anchors BANK)",
    )


def _load(path: Path, info: VideoInfo | None) -> Scores:
    if info is None:
        return Scores.load(path)
    scores = Scores.load(
        path, video=info.path.name, fps=info.fps, frame_count=info.frame_count, frame_times=info.frame_times
    )
    if scores.frame_count > info.frame_count + MAX_EXTRA_FRAMES:
        raise UsageError(
            f"{path} has scores for {scores.frame_count} frames and {info.path} has {info.frame_count}",
            "give the video that was scored",
        )
    return scores
