"""Detectors as text: what is installed, what each needs, and its options with defaults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kgvad.detector.api import Detector
from kgvad.detector.registry import detector_class, detector_names
from kgvad.errors import KgvadError


@dataclass(frozen=True)
class Option:
    """One option of a detector, for ``--set NAME=VALUE``.

    Attributes
    ----------
    name
        Dotted where it belongs to a part of the detector.
    kind
        Type and range, in words.
    default
        As it is written on the command line.
    description
        Empty where the detector gives none.
    """

    name: str
    kind: str
    default: str
    description: str


def options(config: type[BaseModel], prefix: str = "", defaults: BaseModel | None = None) -> Iterator[Option]:
    """Options of a detector's ``Config``, those of its parts included."""
    for name, field in config.model_fields.items():
        value = getattr(defaults, name) if defaults is not None else field.get_default(call_default_factory=True)
        if isinstance(value, BaseModel):
            yield from options(type(value), f"{prefix}{name}.", value)
        else:
            yield Option(f"{prefix}{name}", _kind(field), _written(value), field.description or "")


def summary_lines() -> list[str]:
    """Every installed detector: name, paper, whether it needs anchors and captions, options with defaults."""
    lines: list[str] = []
    for name in detector_names():
        try:
            cls = detector_class(name)
        except KgvadError as error:
            lines.append(f"{name}: {error}")
            continue
        values = " ".join(f"{one.name}={one.default}" for one in options(cls.Config))
        lines += [f"{name}: {_needs(cls)}", f"    {values}"]
    return lines


def detail_lines(name: str) -> list[str]:
    """One detector: source, needs and training settings.

    Raises
    ------
    UsageError
        No detector has this name.
    """
    cls = detector_class(name)
    recipe = " ".join(f"{key}={_written(value)}" for key, value in cls.recipe.model_dump().items())
    return [f"{name}: {_needs(cls)}", f"training: {recipe}"]


def option_rows(name: str) -> list[tuple[str, ...]]:
    """A header, then one row per option of a detector: name, type, default, description."""
    found = options(detector_class(name).Config)
    return [("option", "type", "default", "description"), *((o.name, o.kind, o.default, o.description) for o in found)]


def _needs(cls: type[Detector]) -> str:
    by_default = cls.uses_anchors(cls.Config())
    anchors = "anchors required" if cls.needs_anchors else "anchors by default" if by_default else "no anchors"
    captions = "captions required" if cls.reads_captions else "no captions"
    return f"{cls.source or 'no paper named'}; {anchors}; {captions}"


def _kind(field: FieldInfo) -> str:
    words = [_type(field.annotation)]
    for rule in field.metadata:
        for sign, name in ((">=", "ge"), (">", "gt"), ("<=", "le"), ("<", "lt"), ("multiple of", "multiple_of")):
            bound = getattr(rule, name, None)
            if bound is not None:
                words.append(f"{sign} {bound:g}")
    return ", ".join(words)


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    parts = [one for one in get_args(annotation) if one is not type(None)]
    if parts and type(None) in get_args(annotation):
        return f"{' | '.join(map(_type, parts))} | null"
    return {int: "integer", float: "number", bool: "true|false", str: "text"}.get(
        annotation, getattr(annotation, "__name__", str(annotation))
    )


def _written(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
