"""Key frames of a report as JPEG."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kgvad.errors import VideoError
from kgvad.explain.report import Report
from kgvad.video.decode import VideoInfo
from kgvad.video.redaction import FaceFinder, blurred, nearby
from kgvad.video.seek import read_frames

logger = logging.getLogger(__name__)

WIDTH = 480  # pixels; four stand side by side in a report
QUALITY = 80
MAX_PICTURES = 40  # in one report, so that it stays small enough to send
AT_ONCE = 4  # pictures with the frames around them that are held in memory while faces are searched


def key_pictures(
    path: Path, report: Report, info: VideoInfo, face_finder: FaceFinder | None = None
) -> dict[int, bytes]:
    """The key frames of ``report`` as JPEG, by frame number; with a ``face_finder``, faces are blurred.

    Events with the highest scores come first where there are more than :data:`MAX_PICTURES`. Frames that cannot
    be decoded have no picture; one warning is logged.
    """
    wanted: list[int] = []
    for event in sorted(report.events, key=lambda event: -event.peak_score):
        wanted += [frame.frame for frame in event.key_frames]
    wanted = sorted(set(wanted[:MAX_PICTURES]))
    if not wanted:
        return {}
    width = min(WIDTH, info.width)
    size = (width, max(2, round(info.height * width / info.width)))
    wanted = [frame for frame in wanted if frame < info.frame_count]
    try:
        if face_finder is not None:
            found = _without_faces(path, wanted, info, face_finder)
            pictures = {index: _jpeg(Image.fromarray(picture).resize(size)) for index, picture in found}
        else:
            frames = read_frames(path, wanted, size=size, info=info, skip_missing=True)
            pictures = {index: _jpeg(Image.fromarray(picture)) for index, picture in frames.items()}
    except VideoError as error:
        logger.warning("the report has no pictures: %s", error)
        return {}
    if missing := len(wanted) - len(pictures):
        logger.warning("the report lacks %d of %d pictures: %s is damaged or shorter there", missing, len(wanted), path)
    return pictures


def _without_faces(
    path: Path, wanted: Sequence[int], info: VideoInfo, face_finder: FaceFinder
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Frames of full size, in which the faces of the frames around them are blurred too.

    A frame is left out where it or one of those around it, in which a face may be easier to find, cannot be decoded.
    """
    near = {index: nearby(index, info.fps, info.frame_count) for index in wanted}
    for first in range(0, len(wanted), AT_ONCE):
        few = wanted[first : first + AT_ONCE]
        frames = read_frames(path, [one for index in few for one in near[index]], info=info, skip_missing=True)
        faces = {one: face_finder.find(picture) for one, picture in frames.items()}
        for index in (one for one in few if set(near[one]) <= set(frames)):
            yield index, blurred(frames[index], np.concatenate([faces[one] for one in near[index]]))


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()
