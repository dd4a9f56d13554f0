"""Which frames of a video each row of features covers, for features of other programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from kgvad.errors import FeatureError
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.feature_sources import names_of
from kgvad.video.feature_store import VideoEntry
from kgvad.video.frame_counts import Clock
from kgvad.video.row_spans import RowSpans

Rule = Literal["uniform", "even", "segments"]
FIXED_ROWS = 32  # of one number of rows for all videos, as in Sultani's segments; fewer may be chance


def layout_rule(
    rows: Mapping[str, int], frames: Mapping[str, int], stride: int, source: str, *, segments: bool = False
) -> Rule:
    """How the rows of one source cover the videos, decided for all of them together.

    ``uniform``: row i is frames [i stride, (i + 1) stride). ``even``: the rows divide the video into equal parts, which
    is so where all videos have the same number of rows and frames that do not fit it. ``segments``: equal whole
    numbers of snippets, the tail to the last.

    Parameters
    ----------
    rows
        Rows by video.
    frames
        Frame counts, where they are known.
    stride
        Frames per row of the layout ``uniform``.
    segments
        The source is in the form of C3D archives of 32 segments.

    Raises
    ------
    FeatureError
        Rows fit neither; the message names the videos and the remedy.
    """
    if segments:
        return "segments"
    wrong = [video for video, count in rows.items() if video in frames and not _fits(count, frames[video], stride)]
    lengths = set(rows.values())
    known = [video for video in rows if video in frames]
    fixed = len(lengths) == 1 and (len(rows) > 1 or FIXED_ROWS in lengths)
    if not known:
        return "even" if fixed and min(lengths) >= FIXED_ROWS else "uniform"
    if not wrong:
        return "uniform"
    if fixed or set(rows.values()) == {rows[wrong[0]]}:
        return "even"
    shown = names_of(f"{video} has {rows[video]} rows and {frames[video]} frames" for video in wrong)
    raise FeatureError(
        f"{source}: {len(wrong)} of {len(rows)} videos do not fit {stride} frames a row: {shown}",
        "set the frames of a row with --stride, spread the rows evenly with --layout even, or leave these videos out",
    )


def _fits(rows: int, frames: int, stride: int) -> bool:
    """Whether ``rows`` uniform rows cover a video, give or take one row."""
    return (rows - 1) * stride < frames < (rows + 2) * stride


def entry_of(video: str, rows: int, clock: Clock, rule: Rule, stride: int, fps: float) -> VideoEntry:
    """Facts about one video; what is not known of its clock is assumed, and the entry says so.

    Parameters
    ----------
    clock
        Frames and rate, where they are known.
    fps
        Assumed where ``clock`` has no rate.
    """
    assumed: list[Literal["fps", "frame_count"]] = []
    if clock.fps is None:
        assumed.append("fps")
    frames = clock.frames
    if frames is None:
        assumed.append("frame_count")
        frames, rule = rows * stride, "uniform"
    if rule == "even" and frames < rows:
        raise FeatureError(f"{video}: {rows} rows cannot cover {frames} frames", "correct its frame count")
    common = {"frame_count": frames, "fps": clock.fps or fps, "rows": rows, "assumed": tuple(assumed)}
    snippets = frames // SNIPPET_FRAMES // rows
    if rule == "segments" and snippets:
        return VideoEntry.model_validate({**common, "layout": "segments", "segment_snippets": snippets})
    if rule != "uniform":
        return VideoEntry.model_validate({**common, "layout": "even", "stride": stride})
    return VideoEntry.model_validate({**common, "stride": stride})


def spans_entry(video: str, rows: int, clock: Clock, spans: RowSpans, stride: int, fps: float) -> VideoEntry:
    """Facts about a video whose rows have explicit spans; parameters as of :func:`entry_of`.

    Raises
    ------
    FeatureError
        There are more or fewer spans than rows, or they do not fit the video.
    """
    if len(spans.spans) != rows:
        raise FeatureError(
            f"{video} has {rows} rows of features and {len(spans.spans)} spans", "give one line for each row"
        )
    assumed: tuple[Literal["fps", "frame_count"], ...] = () if clock.fps is not None else ("fps",)
    edges = spans.edges(clock.fps or fps, clock.frames, video)
    if clock.frames is None:
        assumed = (*assumed, "frame_count")
    return VideoEntry(
        frame_count=edges[-1],
        fps=clock.fps or fps,
        rows=rows,
        layout="spans",
        stride=stride,
        edges=edges,
        assumed=assumed,
    )


def fitted_entry(entry: VideoEntry, frame_count: int | None, video: str) -> VideoEntry:
    """``entry`` with the frame count that a video or an annotation has, where its own is assumed.

    Raises
    ------
    FeatureError
        The rows do not fit that count.
    """
    if frame_count is None or "frame_count" not in entry.assumed:
        return entry
    edges = entry.edges
    if edges is not None:
        fits = edges[-2] < frame_count <= edges[-1] + max(entry.stride, edges[-1] - edges[-2])
        edges = [*edges[:-1], frame_count]
    else:
        fits = _fits(entry.rows, frame_count, entry.stride)
    if not fits:
        what = f"of {entry.stride} frames" if edges is None else f"up to frame {entry.frame_count}"
        raise FeatureError(
            f"{video}: {entry.rows} rows {what} do not fit its {frame_count} frames",
            "import the features again with --frames, a table of frame counts or the folder of the videos",
        )
    left = tuple(name for name in entry.assumed if name != "frame_count")
    return entry.model_copy(update={"frame_count": frame_count, "edges": edges, "assumed": left})


def assumptions(entry: VideoEntry) -> list[str]:
    """What is assumed of a video, one sentence for each, for reports."""
    found = []
    if "fps" in entry.assumed:
        found.append(f"the frame rate is not known; {entry.fps:g} frames per second are assumed, so times may be wrong")
    if "frame_count" in entry.assumed:
        found.append(f"the number of frames is not known; {entry.stride} frames a row of features are assumed")
    return found
