"""Labels and features name videos differently; this module matches them."""

from __future__ import annotations

from collections.abc import Iterable

from kgvad.detector.data.annotations import Truth
from kgvad.errors import FeatureError
from kgvad.video.video_ids import video_id


def match_videos(truth: Truth, ids: Iterable[str]) -> Truth:
    """``truth`` under the identifiers of a feature store.

    Official lists name a video ``Abuse001_x264``; extraction from a folder names it ``Abuse/Abuse001_x264``. A video
    takes the identifier with the same last part.

    Raises
    ------
    FeatureError
        Two identifiers have the name of one video.
    """
    unknown = [one for one in ids if one not in truth.videos]
    renamed: dict[str, str] = {}
    for one in unknown:
        video = video_id(one)
        if video not in truth.videos:
            continue
        if renamed.setdefault(video, one) != one:
            raise FeatureError(
                f"{renamed[video]!r} and {one!r} both have the name of the video {video} of {truth.dataset}",
                "keep features of one of them",
            )
    if not renamed:
        return truth
    videos = {renamed.get(video, video): one for video, one in truth.videos.items()}
    return truth.model_copy(update={"videos": videos})
