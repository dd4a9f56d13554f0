"""Whether a report survives what networks and recorders do to a video: smaller pictures, a lower bit rate.

The video is encoded again at half the width and height and a coarse quality, and explained again; the events should
stay where they are, and be called the same.
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
from kgvad.explain.explainer import Explained, Explainer

QUALITY = 35  # constant rate factor of H.264; 23 is usual, 51 the worst
SHRINK = 2  # by how much width and height are divided


@dataclass(frozen=True)
class Survival:
    """What encoding one video again changed.

    Attributes
    ----------
    video
        Its name.
    size_ratio
        Size of the new file as a share of the old.
    events, events_after
        Numbers of events.
    overlap
        Share of the time of either's events that is in both's; ``None`` where neither has one.
    score_change
        Mean absolute difference of the scores.
    correlation
        Of the scores, row by row; ``None`` where one of them never changes.
    same_category
        Whether the strongest event keeps its category; ``None`` where one has none.
    """

    video: str
    size_ratio: float
    events: int
    events_after: int
    overlap: float | None
    score_change: float
    correlation: float | None
    same_category: bool | None


def encode_again(video: Path, target: Path, *, quality: int = QUALITY, shrink: int = SHRINK) -> None:
    """Write the pictures of ``video`` to ``target`` as H.264, smaller and coarser, frame by frame at the same times.

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
            stream = out.add_stream("libx264", rate=pictures.average_rate or 25, options={"crf": str(quality)})
            stream.width, stream.height = (
                max(2, side // shrink // 2 * 2) for side in (pictures.width, pictures.height)
            )
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = pictures.time_base or Fraction(1, 90000)
            for frame in source.decode(pictures):
                small = frame.reformat(stream.width, stream.height, "yuv420p")
                small.pts, small.time_base = frame.pts, frame.time_base
                out.mux(stream.encode(small))
            out.mux(stream.encode(None))
    except (av.FFmpegError, IndexError) as error:
        raise VideoError(f"{video} cannot be encoded again: {error}", "name a video that can be played") from error


def survival(video: Path, explainer: Explainer) -> Survival:
    """Explain ``video`` as it is and encoded again, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / f"{video.stem}.mp4"
        encode_again(video, again)
        before, after = explainer.explain(video), explainer.explain(again)
        ratio = again.stat().st_size / video.stat().st_size
    return compare(before, after, video.stem, ratio)


def compare(before: Explained, after: Explained, name: str, size_ratio: float = 1.0) -> Survival:
    """What differs between two reports on one video."""
    rows = min(len(before.scores.scores), len(after.scores.scores))
    old, new = (one.scores.scores[:rows].astype(np.float64) for one in (before, after))
    loud = [_inside(one)[:rows] for one in (before, after)]
    either = (loud[0] | loud[1]).sum()
    names = [_category(one) for one in (before, after)]
    return Survival(
        name,
        size_ratio,
        len(before.report.events),
        len(after.report.events),
        float((loud[0] & loud[1]).sum() / either) if either else None,
        float(np.abs(old - new).mean()),
        float(np.corrcoef(old, new)[0, 1]) if old.std() > 0 and new.std() > 0 else None,
        names[0] == names[1] if all(names) else None,
    )


def _inside(explained: Explained) -> NDArray[np.bool_]:
    """Rows that lie in an event of the report, bool [T]."""
    middle = (np.array(explained.report.curve.start_s) + np.array(explained.report.curve.end_s)) / 2
    inside = np.zeros(len(middle), dtype=bool)
    for event in explained.report.events:
        inside |= (middle >= event.start_s) & (middle <= event.end_s)
    return inside


def _category(explained: Explained) -> str | None:
    top = explained.report.summary.top_event
    categories = explained.report.events[top - 1].categories if top is not None else ()
    return categories[0].name if categories else None


def survival_table(videos: Sequence[Path], explainer: Explainer) -> str:
    """Markdown table, one line a video, and the means.

    Raises
    ------
    ReportError
        There is no video.
    """
    if not videos:
        raise ReportError("there is no video to encode again", "name a video, or a folder of them")
    found = [survival(video, explainer) for video in track(videos, "encoding again")]
    lines = [
        f"Encoded again at 1/{SHRINK} of the width and height, H.264 quality {QUALITY}.",
        "",
        "| video | size | events | after | overlap | score change | correlation | category |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for one in found:
        same = "" if one.same_category is None else ("same" if one.same_category else "other")
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
