"""Captions for ``kgvad explain --captions auto``: made once for each video, kept in the cache."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from kgvad.errors import KgvadError
from kgvad.session import Session

logger = logging.getLogger(__name__)


def made_captions(session: Session, videos: Path) -> Path:
    """File of captions of a video or a folder of videos, by the captioner of the settings.

    Raises
    ------
    KgvadError
        The captioner cannot be loaded, or no video could be captioned.
    """
    from kgvad.video.captioners.caption_folder import caption_folder

    captioner = session.captioner()
    name = hashlib.sha256(f"{videos.resolve()}\0{captioner.fingerprint}".encode("utf-8", "surrogateescape")).hexdigest()
    done = caption_folder(videos, session.settings.cache / "captions" / f"{name[:32]}.json", captioner)
    if not done.made and not done.reused:
        raise KgvadError(next(iter(done.failed.values())))
    if done.made:
        logger.info("captions by %s: %d clips, %d of them asked for", captioner.name, done.clips, done.asked)
    return done.file
