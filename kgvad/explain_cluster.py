"""Reports on many videos on a Ray cluster: each actor keeps an explainer and writes into the folder of the reports."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.errors import KgvadError
from kgvad.explain.batch import Entry, Job, explain_job, failed_entry
from kgvad.ray_cluster import Model, RayCluster, Row, noted_warnings
from kgvad.session import Session
from kgvad.settings import Settings

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from kgvad.explain.analysis.events import Thresholds
    from kgvad.explainers import ExplainRequest


def explain_on_cluster(jobs: Sequence[Job], model: Model, on: RayCluster) -> Iterator[Entry]:
    """Entries of the index, in the order in which the videos are finished.

    Parameters
    ----------
    jobs
        Videos; with the folder of the reports on a file system that all nodes share.
    model
        :class:`VideoExplainer` and its arguments.
    on
        The cluster.
    """
    left = {str(number): job for number, job in enumerate(jobs)}
    items: list[Row] = [
        {
            "number": number,
            "name": json.dumps(job.name),
            "path": json.dumps(str(job.path)),
            "output": json.dumps(str(job.output)),
            "page": json.dumps(job.page),
            "views": json.dumps(job.views),
        }
        for number, job in left.items()
    ]
    for row in on.rows(items, model) if items else ():
        job = left.pop(str(row["number"]), None)
        if job is None:
            continue
        entry = Entry.model_validate_json(str(row["entry"]))
        if entry.page is not None and not (job.output / f"{job.page}.html").is_file():
            raise KgvadError(
                f"--output {job.output} is not the same folder on all nodes", "give one on a shared file system"
            )
        if entry.reason is not None:
            logger.warning(entry.reason)
        yield entry
    for job in left.values():
        yield failed_entry(
            job.name, f"{job.path} ended the processes that worked on it (damaged file, or memory is short)"
        )


class VideoExplainer:
    """Explains whole videos: an actor of the cluster.

    Parameters
    ----------
    settings
        Of the caller.
    request
        What to explain the videos with.
    thresholds
        Rule for events, calibrated by the caller where that was asked for.
    language, templates
        Of the reports.
    device
        Torch device.
    """

    def __init__(
        self,
        settings: Settings,
        request: ExplainRequest,
        thresholds: Thresholds,
        language: str,
        templates: Path | None,
        device: str,
    ) -> None:
        from kgvad.explain.rendering.render import Renderer
        from kgvad.explainers import build_explainer

        session = Session(settings.model_copy(update={"device": device}), explaining=True)
        self._explainer = build_explainer(session, request, thresholds)
        self._renderer = Renderer(language, templates)

    def __call__(self, row: Row) -> Row:
        """The number of the job and its entry as JSON."""
        name, path, output, page, views = (
            json.loads(str(row[key])) for key in ("name", "path", "output", "page", "views")
        )
        job = Job(name, Path(path), Path(output), page, tuple(views))
        with noted_warnings():
            entry = explain_job(job, self._explainer, self._renderer)
        return {"number": row["number"], "entry": entry.model_dump_json()}
