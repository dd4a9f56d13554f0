"""Labels and features name videos differently; this module matches them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from kgvad.detector.data.annotations import Truth


def match_videos(truth: Truth, ids: Iterable[str]) -> Truth:
    """``truth`` under the identifiers of a feature store.

    Official lists name a video ``Abuse001_x264``; extraction from a folder names it ``Abuse/Abuse001_x264``. A video
    takes the identifier with the same last part where there is one alone.
    """
    known = list(ids)
    last = Counter(one.rpartition("/")[2] for one in known)
    renamed = {
        one.rpartition("/")[2]: one for one in known if one not in truth.videos and last[one.rpartition("/")[2]] == 1
    }
    if not renamed.keys() & truth.videos.keys():
        return truth
    videos = {renamed.get(video, video): one for video, one in truth.videos.items()}
    return truth.model_copy(update={"videos": videos})
