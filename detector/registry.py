"""Detectors by name: ours, and those that other packages register in the entry-point group ``kgvad.detectors``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from kgvad import plugins
from kgvad.errors import KgvadError, UsageError, place_of

if TYPE_CHECKING:
    from kgvad.detector.api import Detector, Problem

GROUP = "kgvad.detectors"
_OWN = {
    "anchor-aligned": "kgvad.detector.models.anchor_aligned:AnchorAligned",
    "anchor-text": "kgvad.detector.models.two_stream:AnchorText",
    "anchor-fused": "kgvad.detector.models.two_stream:AnchorFused",
    "additive": "kgvad.detector.models.additive:Additive",
    "linear": "kgvad.detector.models.zoo.mil:Linear",
    "mlp": "kgvad.detector.models.zoo.mil:Mlp",
    "sultani": "kgvad.detector.models.zoo.sultani:Sultani",
    "rtfm": "kgvad.detector.models.zoo.rtfm:Rtfm",
    "clip_tsa": "kgvad.detector.models.zoo.clip_tsa:ClipTsa",
    "vadclip": "kgvad.detector.models.zoo.vadclip:VadClip",
    "dsanet": "kgvad.detector.models.zoo.dsanet:Dsanet",
    "semvad": "kgvad.detector.models.zoo.semvad:Semvad",
}


def detector_names() -> list[str]:
    """Names of all detectors, ours first."""
    return list(plugins.registered(GROUP, _OWN))


def detector_class(name: str) -> type[Detector]:
    """The detector registered as ``name``.

    Raises
    ------
    UsageError
        No detector has this name; the message lists those that are installed.
    KgvadError
        The package that registers it cannot be imported or gives something else.
    """
    point = plugins.registered(GROUP, _OWN).get(name)
    if point is None:
        raise UsageError(f"unknown detector {name!r}", f"choose one of {', '.join(detector_names())}")
    value = plugins.load(point, "detector")
    from kgvad.detector.api import Detector

    if not (isinstance(value, type) and issubclass(value, Detector)):
        raise KgvadError(f"detector {name!r} ({point.value}) is not a kgvad Detector class", plugins.REMEDY)
    missing = [part for part in ("name", "Config") if not hasattr(value, part)] + sorted(value.__abstractmethods__)
    if missing:
        raise KgvadError(f"detector {name!r} ({point.value}) has no {', '.join(missing)}", plugins.REMEDY)
    if not (isinstance(value.Config, type) and issubclass(value.Config, BaseModel)):
        raise KgvadError(f"detector {name!r} ({point.value}): Config is not a Pydantic model", plugins.REMEDY)
    return value


def check_options(name: str, options: Mapping[str, object] | None = None) -> BaseModel:
    """The complete ``Config`` of detector ``name``.

    Raises
    ------
    UsageError
        An option is unknown or has a wrong value.
    """
    config = detector_class(name).Config
    try:
        return config.model_validate(dict(options or {}))
    except ValidationError as error:
        first = error.errors()[0]
        option = place_of(first["loc"])
        unknown = first["type"] == "extra_forbidden"
        raise UsageError(
            f"{name}: unknown option {option!r}" if unknown else f"{name}: option {option}: {first['msg']}",
            f"its options are {', '.join(config.model_fields) or 'none'}",
        ) from error


def build(name: str, problem: Problem, options: Mapping[str, object] | None = None) -> Detector:
    """A new detector for ``problem``; ``options`` are fields of its ``Config``.

    Raises
    ------
    UsageError
        An option is wrong, or the detector needs an anchor bank and has none.
    KgvadError
        The detector has no parameters.
    """
    cls = detector_class(name)
    config = check_options(name, options)
    if cls.needs_anchors and problem.anchors is None:
        raise UsageError(
            f"{name} needs an anchor bank", "make one with: kgvad build-anchors, and name it with --anchors"
        )
    detector = cls(problem, config)
    if not any(True for _ in detector.parameters()):
        raise KgvadError(f"detector {name!r} has no parameters, so nothing can be trained", plugins.REMEDY)
    return detector
