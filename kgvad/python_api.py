"""Functions of the Python interface that do what a command does; :mod:`kgvad` re-exports them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.errors import UsageError
from kgvad.given import refuse_run_beside_scores, run_folder

if TYPE_CHECKING:
    from kgvad.explain.analysis.events import Thresholds
    from kgvad.explain.explanation import Explanation

PathLike = str | os.PathLike[str]


def explain_video(  # noqa: PLR0913 - one keyword for each option of `kgvad explain`
    video: PathLike | None = None,
    *,
    scores: PathLike | None = None,
    run: PathLike | None = None,
    features: PathLike | None = None,
    captions: PathLike | None = None,
    encoder: str | None = None,
    dataset: PathLike | None = None,
    anchors: PathLike | None = None,
    categories: str | Sequence[str] = (),
    thresholds: Thresholds | None = None,
    actions: bool = True,
    images: bool = True,
    redact: bool | None = None,
    language: str | None = None,
    device: str | None = None,
) -> Explanation:
    """Find abnormal events in a video and explain them, like ``kgvad explain``.

    Parameters
    ----------
    video
        The video. May be left out if ``scores`` is given.
    scores
        Score file from any program (npz, JSON or CSV), used instead of a detector.
    run
        Folder of a trained run, or ``shipped``. Default: the run of the dataset, if there is one that fits.
    features
        Feature store. With ``run``: scored instead of the video. With ``scores``: compared with the anchor bank.
    captions
        Captions of the video, JSON: ``{video: {frame: caption}}``.
    encoder
        Visual encoder for scoring without training (``efficientnet-lite0``, ``i3d``, ``clip`` or ``blip``).
    dataset
        Bundled dataset such as ``ucf``, or path to a category table.
    anchors
        Anchor bank. Default: that of the dataset, built if it is missing.
    categories
        Further categories to look for, one or several: words, or items of the knowledge graph such as ``Q4654740``.
    thresholds
        Scores and durations that define an event. Default: those of the scorer.
    actions
        Recognise actions at the peaks if the scores come from pixels alone.
    images
        Read key frames.
    redact
        Blur faces in key frames and clips; needs the extra ``redact``. Default: from ``kgvad.toml``, else not.
    language
        Language of the report. Default: from ``kgvad.toml``, else English.
    device
        Torch device. Default: from ``kgvad.toml``, else ``auto``.

    Returns
    -------
    Explanation
        Report, scores and key frames. A notebook shows it as a page.

    Raises
    ------
    KgvadError
        An input is missing, damaged or does not fit the others. The message says what to do.

    Examples
    --------
    >>> result = kgvad.explain_video("clip.mp4")  # doctest: +SKIP
    >>> result.save("report.html")  # doctest: +SKIP
    """
    from kgvad.explainers import ExplainRequest, build_explainer
    from kgvad.session import Session

    if video is None and scores is None:
        raise UsageError("neither a video nor scores were given", "give a video, or scores=FILE")
    refuse_run_beside_scores(_path(scores), _path(run))
    request = ExplainRequest(
        scores=_path(scores),
        captions=_path(captions),
        features=_path(features),
        encoder=encoder,
        queries=(categories,) if isinstance(categories, str) else tuple(categories),
        actions=actions,
        images=images,
        language=language,
    )
    with Session(
        run=run_folder(_path(run)),
        anchors=_path(anchors),
        dataset=None if dataset is None else os.fspath(dataset),
        device=device,
        redact=redact,
        language=language,
        explaining=True,
    ) as session:
        explanation = build_explainer(session, request, thresholds).explain(_path(video))
        return replace(explanation, inputs=tuple(request.inputs(session)))


def _path(path: PathLike | None) -> Path | None:
    return None if path is None else Path(path)
