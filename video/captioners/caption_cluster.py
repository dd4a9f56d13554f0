"""Captions of many videos on a Ray cluster: each actor keeps the captioner and captions whole videos."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from kgvad.console import progress
from kgvad.errors import KgvadError, failure_of
from kgvad.ray_cluster import Model, RayCluster, Row
from kgvad.video.captioners.base import Captioner, CaptionerOptions, load_captioner
from kgvad.video.captioners.caption_folder import Outcome
from kgvad.video.captioners.caption_video import Caption, CaptionedVideo, caption_video


def caption_on_cluster(
    todo: Mapping[str, Path],
    captioner: Captioner,
    name: str,
    options: CaptionerOptions,
    every_s: float,
    on: RayCluster,
) -> Iterator[Outcome]:
    """Captions of videos, in the order in which they are finished.

    Parameters
    ----------
    todo
        Videos by identifier; the same path on every node.
    captioner
        Of the caller; those of the cluster must have its fingerprint.
    name, options
        What :func:`load_captioner` takes.
    every_s
        Seconds of a clip.
    on
        The cluster.
    """
    items: list[Row] = [{"video": video, "path": str(path.absolute())} for video, path in todo.items()]
    model = Model(VideoCaptioner, (name, options, captioner.fingerprint, every_s))
    left = dict(todo)
    with progress("captioning videos", len(todo)) as advance:
        for row in on.rows(items, model) if items else ():
            video = str(row["video"])
            if left.pop(video, None) is None:
                continue
            advance()
            found = None
            if not row["reason"]:
                content = json.loads(str(row["captions"]))
                found = CaptionedVideo([Caption(**one) for one in content["captions"]], content["asked"])
            yield video, found, str(row["reason"])
    for video, path in left.items():
        yield video, None, f"{path} ended the processes that worked on it (damaged file, or memory is short)"


class VideoCaptioner:
    """Captions whole videos: an actor of the cluster."""

    def __init__(self, name: str, options: CaptionerOptions, fingerprint: str, every_s: float, device: str) -> None:
        self._captioner = load_captioner(name, device, options)
        self._every_s = every_s
        if self._captioner.fingerprint != fingerprint:
            raise KgvadError(
                f"a node of the cluster has another version or other weights of {name}", "install the same"
            )

    def __call__(self, row: Row) -> Row:
        """Identifier, captions as JSON, and the reason of a failure."""
        video, path = str(row["video"]), Path(str(row["path"]))
        try:
            captions = json.dumps(asdict(caption_video(path, self._captioner, self._every_s)))
            return {"video": video, "captions": captions, "reason": ""}
        except Exception as error:  # of a decoder or a model; it costs this video only
            return {"video": video, "captions": "", "reason": failure_of(path, error)}
