"""Robustness of reports to video compression.

The video is re-encoded at half the width and height and at low quality, and explained again. Events and categories
should stay the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from kgvad.console import track
from kgvad.errors import ReportError, VideoError
from kgvad.explain.explainer import Explainer
from kgvad.explain.explanation import Explanation
from kgvad.video.write import TIME_BASE, H264Stream, even_size

QUALITY = 35  # constant rate factor of H.264; 23 is typical, 51 the worst
SHRINK = 2  # by how much width and height are divided


@dataclass(frozen=True)
class Robustness:
    """Differences between the reports on a video and on its re-encoded copy.

    Attributes
    ----------
    video
        Its name.
    size_ratio
        Size of the new file as a share of the old.
    events, events_after
        Numbers of events.
    overlap
        Temporal intersection over union of the events; ``None`` where neither report has one.
    score_change
        Mean absolute difference of the scores.
    correlation
        Of the scores of the snippets; ``None`` where one of the curves is constant.
    same_category
        Whether the event with the highest score keeps its category; ``None`` where there is none.
    """

    video: str
    size_ratio: float
    events: int
    events_after: int
    overlap: float | None
    score_change: float
    correlation: float | None
    same_category: bool | None


def reencode(video: Path, target: Path) -> None:
    """Re-encode ``video`` to ``target`` as H.264, smaller and at lower quality, with the same frames and times.

    Raises
    ------
    VideoError
        The video cannot be read.
    """
    try:
        with (
            av.open(str(video.absolute()), options={"protocol_whitelist": "file"}) as source,
            av.open(str(target), "w", format="mp4") as out,
        ):
            pictures = source.streams.video[0]
            width, height = even_size(pictures.width, pictures.height, SHRINK)
            base = pictures.time_base or TIME_BASE
            rate = Fraction(pictures.average_rate or 25)
            stream = H264Stream(out, width, height, rate, crf=QUALITY, time_base=base)
            for index, frame in enumerate(source.decode(pictures)):
                stream.write(frame, float(index / rate) if frame.time is None else frame.time)
            stream.finish()
    except (av.FFmpegError, IndexError) as error:
        raise VideoError(f"{video} cannot be re-encoded: {error}", "give a video that can be played") from error


def robustness(video: Path, explainer: Explainer) -> Robustness:
    """Explain ``video`` and its re-encoded copy, and compare the reports."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"{video.stem}.mp4"
        reencode(video, copy)
        before, after = explainer.explain(video), explainer.explain(copy)
        ratio = copy.stat().st_size / video.stat().st_size
    return compare(before, after, video.stem, ratio)


def compare(before: Explanation, after: Explanation, name: str, size_ratio: float = 1.0) -> Robustness:
    """Differences between two explanations of one video."""
    count = min(len(before.scores.scores), len(after.scores.scores))
    old, new = (one.scores.scores[:count].astype(np.float64) for one in (before, after))
    inside = [_inside(one)[:count] for one in (before, after)]
    either = (inside[0] | inside[1]).sum()
    names = [_category(one) for one in (before, after)]
    return Robustness(
        name,
        size_ratio,
        len(before.report.events),
        len(after.report.events),
        float((inside[0] & inside[1]).sum() / either) if either else None,
        float(np.abs(old - new).mean()),
        float(np.corrcoef(old, new)[0, 1]) if old.std() > 0 and new.std() > 0 else None,
        names[0] == names[1] if all(names) else None,
    )


def _inside(explanation: Explanation) -> NDArray[np.bool_]:
    """Snippets that lie in an event of the report, bool [T]."""
    middle = (np.array(explanation.report.curve.start_s) + np.array(explanation.report.curve.end_s)) / 2
    inside = np.zeros(len(middle), dtype=bool)
    for event in explanation.report.events:
        inside |= (middle >= event.start_s) & (middle <= event.end_s)
    return inside


def _category(explanation: Explanation) -> str | None:
    top = explanation.report.summary.top_event
    categories = explanation.report.events[top - 1].categories if top is not None else ()
    return categories[0].name if categories else None


def robustness_table(videos: Sequence[Path], explainer: Explainer) -> str:
    """Markdown table, one row per video, and the means.

    Raises
    ------
    ReportError
        There is no video.
    """
    if not videos:
        raise ReportError("there is no video to re-encode", "give a video, or a folder of videos")
    found = [robustness(video, explainer) for video in track(videos, "re-encoding videos")]
    lines = [
        f"Re-encoded at 1/{SHRINK} of the width and height, H.264 CRF {QUALITY}.",
        "",
        "| video | size | events | events after | temporal IoU | score change | correlation | category |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for one in found:
        same = "" if one.same_category is None else ("same" if one.same_category else "changed")
        lines.append(
            f"| {one.video} | {one.size_ratio:.0%} | {one.events} | {one.events_after} | {_figure(one.overlap)} | "
            f"{one.score_change:.3f} | {_figure(one.correlation)} | {same} |"
        )
    overlaps, correlations = (
        [value for one in found if (value := getattr(one, name)) is not None] for name in ("overlap", "correlation")
    )
    lines.append(
        f"| mean of {len(found)} | {np.mean([one.size_ratio for one in found]):.0%} | | | "
        f"{_figure(np.mean(overlaps) if overlaps else None)} | {np.mean([one.score_change for one in found]):.3f} | "
        f"{_figure(np.mean(correlations) if correlations else None)} | |"
    )
    return "\n".join(lines) + "\n"


def _figure(value: float | np.floating | None) -> str:
    return "–" if value is None else f"{value:.2f}"
