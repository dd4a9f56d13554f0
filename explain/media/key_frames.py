"""Key frames of a report as JPEG."""

from __future__ import annotations

import io
import logging
from pathlib import Path

from PIL import Image

from kgvad.errors import VideoError
from kgvad.explain.report import Report
from kgvad.video.decode import VideoInfo
from kgvad.video.seek import read_frames

logger = logging.getLogger(__name__)


WIDTH = 480  # pixels; four stand side by side in a report
QUALITY = 80
MAX_PICTURES = 40  # in one report, so that it stays small enough to send


def key_pictures(path: Path, report: Report, info: VideoInfo) -> dict[int, bytes]:
    """The key frames of ``report`` as JPEG, by frame number.

    Events with the highest scores come first where there are more than :data:`MAX_PICTURES`. If the frames cannot be
    decoded, one warning is logged and there are no pictures.
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
        frames = read_frames(path, wanted, size=size, info=info)
    except VideoError as error:
        logger.warning("the report has no pictures: %s", error)
        return {}
    return {index: _jpeg(Image.fromarray(picture)) for index, picture in frames.items()}


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()
