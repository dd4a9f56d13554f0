"""Names of the 400 Kinetics actions that I3D tells apart."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def action_labels() -> tuple[str, ...]:
    """The 400 class names, in the order of the logits."""
    text = files("kgvad.video").joinpath("labels/kinetics400.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))
