"""Put the watching of cameras together: a run in its causal form, its encoder, the rules of the cameras, sinks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.console import count_of
from kgvad.errors import RunError
from kgvad.session import Session

if TYPE_CHECKING:
    from kgvad.explain.analysis.events import EventRule, Thresholds
    from kgvad.video.cameras import Camera
    from kgvad.watch.archive import Archive
    from kgvad.watch.companion import ClipExplainer
    from kgvad.watch.messages import CameraMessage, EventMessage
    from kgvad.watch.watcher import CameraRule, Models

logger = logging.getLogger(__name__)


def live_models(session: Session) -> Models:
    """The named run, else the default one, else the shipped one, in its causal form, with its encoder.

    Raises
    ------
    RunError
        The run has no causal form, or kgvad cannot compute its features.
    """
    from kgvad.detector.run import CONFIG, Run
    from kgvad.detector.shipped import UCF_ACTIONS
    from kgvad.detector.training.exemplars import Exemplars
    from kgvad.explainers import ExplainRequest, encoder_of_run
    from kgvad.watch.watcher import Models

    folder = session.run_folder if session.settings.run or (session.run_folder / CONFIG).is_file() else UCF_ACTIONS
    run = Run.load(folder, session.device).causal()
    if run.config.caption_dim is not None:
        raise RunError(f"the run {folder} reads captions, which a camera has not", "name another run with --run")
    return Models(run, encoder_of_run(session, ExplainRequest(), folder), Exemplars.load(folder))


def live_archive(session: Session, folder: Path, language: str | None, thresholds: Thresholds) -> Archive:
    """The folder of reports, in the language of the settings unless another is given; they say what was set."""
    from kgvad.explain.rendering.render import Renderer
    from kgvad.explainers import category_texts
    from kgvad.watch.archive import Archive

    renderer = Renderer(language or session.settings.language)
    return Archive(folder, renderer, category_texts(session), session.face_finder, thresholds.by_user or ())


def clip_explainer(session: Session, folder: Path, language: str | None) -> ClipExplainer:
    """What explains whole clips, as ``kgvad explain`` does, into a folder."""
    from kgvad.explain.rendering.render import Renderer
    from kgvad.explainers import ExplainRequest, build_explainer
    from kgvad.watch.companion import ClipExplainer

    said = language or session.settings.language
    return ClipExplainer(build_explainer(session, ExplainRequest(language=said)), Renderer(said), folder)


@contextmanager
def message_output(
    session: Session, sinks: Sequence[str] | None, folder: Path | None
) -> Iterator[Callable[[EventMessage | CameraMessage], None]]:
    """What sends a message to the sinks, of the settings unless others are given, and prints it on stdout."""
    from kgvad.watch.messages import to_line
    from kgvad.watch.sinks.dispatch import Dispatcher

    spool = (folder or session.settings.home / "watch") / "spool.sqlite"
    dispatcher = Dispatcher(session.settings.sinks if sinks is None else sinks, spool, folder)

    def emit(message: EventMessage | CameraMessage) -> None:
        dispatcher.send(message)
        print(to_line(message), flush=True)

    try:
        yield emit
    finally:
        dispatcher.close()


def live_rule(models: Models, thresholds: Thresholds) -> EventRule:
    """What the user gave, else the thresholds of the run's causal form."""
    from kgvad.detector.scoring.infer import origin_of

    return thresholds.rule(origin_of(models.run, names_categories=True))


def camera_rules(
    session: Session, cameras: Sequence[Camera], models: Models, thresholds: Thresholds
) -> list[tuple[Camera, CameraRule]]:
    """Each camera with its rule for events, its zones and times to ignore, and the scene that it was calibrated on.

    An onset threshold that the user gave wins over the camera's calibration, and this over the threshold of the run.

    Raises
    ------
    UsageError
        What is known about a camera cannot be read.
    """
    from kgvad.watch.camera_settings import read_settings, read_thresholds
    from kgvad.watch.watcher import CameraRule

    rule, folder = live_rule(models, thresholds), session.settings.cameras_folder()
    found = []
    for camera in cameras:
        settings, calibrated = read_settings(folder, camera.name), read_thresholds(folder, camera.name)
        if settings.ignore:
            zones = sum(one.zone is not None for one in settings.ignore)
            ignored = f"{count_of(zones, 'zone')} and {count_of(len(settings.ignore) - zones, 'time')} of day"
            logger.info("camera %s ignores %s", camera.name, ignored)
        if calibrated is not None and calibrated.run_fingerprint != models.run.fingerprint:
            logger.warning("camera %s was calibrated with another run; calibrate it again", camera.name)
            calibrated = None
        if calibrated is None:
            logger.info(
                "camera %s is not calibrated: events start at %.3f, as for every camera", camera.name, rule.onset
            )
        elif not calibrated.is_proven:
            logger.info("camera %s: %s is not proven by its calibration", camera.name, calibrated.rate)
        by_camera = calibrated if thresholds.onset is None else None
        found.append((camera, CameraRule(rule, settings, by_camera, () if calibrated is None else calibrated.scenes)))
    return found
