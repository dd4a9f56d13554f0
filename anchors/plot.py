"""A picture of an anchor bank: how alike its anchors are, and a map of anchors and concepts."""

from __future__ import annotations

import colorsys
import math

import numpy as np
from numpy.typing import NDArray

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.canvas import Box, Canvas, Dot, Line, Text, text_width
from kgvad.anchors.pooling import FACTS

CELL, PAD, MAP, TOP = 34, 24, 640, 64  # units: side of a cell, margin, least side of the map, height of the titles
FEWEST = 12  # points that a neighbourhood map needs; fewer are laid out by their principal components
GREY = "#8a8f98"


def picture(bank: AnchorBank) -> Canvas:
    """On the left the cosine of every two anchors, on the right anchors and concepts so that like ones lie together."""
    names = [name if len(name) <= 28 else f"{name[:27]}…" for name in bank.categories]
    side = max(text_width(name, 12) for name in names)
    above = side * math.sin(math.radians(50)) + 16
    square = CELL * len(names)
    left, top = PAD + side + 10, TOP + above
    high = TOP + 22  # the map is as high as the matrix with its names
    edge = max(MAP, top + square - high)
    start = left + square + max(60, side * math.cos(math.radians(50)) - CELL + 20)
    canvas = Canvas(start + edge + PAD, max(high + edge, top + square) + 56)
    draw = canvas.shapes
    about = f"{bank.encoder.name}, {bank.pooling} pooling, {len(bank.concepts)} concepts"
    draw.append(Text(PAD, 34, f"Anchors of {bank.dataset}", 20))
    draw.append(Text(PAD, 54, f"{about}, facts of {bank.facts_date[:10] or 'the table only'}", 12, fill="#666666"))
    _matrix(canvas, bank, names, left, top)
    _map(canvas, bank, names, start, high, edge)
    return canvas


def _matrix(canvas: Canvas, bank: AnchorBank, names: list[str], left: float, top: float) -> None:
    draw = canvas.shapes
    cosines = bank.anchors @ bank.anchors.T
    off = cosines[~np.eye(len(names), dtype=bool)]
    low, high = float(off.min()), float(off.max())
    for i, name in enumerate(names):
        draw.append(Text(left - 8, top + CELL * (i + 0.5) + 4, name, 12, "e"))
        draw.append(Text(left + CELL * (i + 0.5) + 4, top - 8, name, 12, slope=50))
        for j in range(len(names)):
            share = (float(cosines[i, j]) - low) / max(high - low, 1e-6)
            fill = "#e9ebee" if i == j else _blue(share)
            draw.append(Box(left + CELL * j, top + CELL * i, CELL - 1, CELL - 1, fill))
            ink = "#ffffff" if i != j and share > 0.55 else "#333333"
            said = "1" if i == j else f"{cosines[i, j]:.2f}".replace("0.", ".", 1)
            draw.append(Text(left + CELL * (j + 0.5) - 0.5, top + CELL * (i + 0.5) + 4, said, 10, "m", ink))
    below, steps = top + CELL * len(names) + 18, 40
    draw.append(Text(left, below + 10, f"cosine of two anchors: {low:.2f}", 11))
    bar = left + text_width(f"cosine of two anchors: {low:.2f}", 11) + 8
    for step in range(steps):
        draw.append(Box(bar + 3 * step, below, 3, 12, _blue(step / (steps - 1))))
    draw.append(Text(bar + 3 * steps + 8, below + 10, f"{high:.2f}", 11))


def _map(canvas: Canvas, bank: AnchorBank, names: list[str], left: float, top: float, edge: float) -> None:
    draw = canvas.shapes
    count = len(names)
    colours = [GREY if i == bank.normal else _colour(i) for i in range(count)]
    draw.append(Box(left, top, edge, edge, "#fbfbfc", "#dddddd"))
    places = _layout(np.concatenate([bank.anchors, bank.concept_vectors])) * (edge - 60) + 30
    at = [(left + float(x), top + float(y)) for x, y in places]
    for row, own in enumerate(bank.concept_category):
        (x0, y0), (x1, y1) = at[own], at[count + row]
        draw.append(Line(x0, y0, x1, y1, _pale(colours[own], 0.25), 0.8))
    for row, own in enumerate(bank.concept_category):
        concept, loud = bank.concepts[row], bank.concept_weight[row] > 0
        fill = _pale(colours[own], 0.75) if loud else "#ffffff"
        title = f"{names[own]}: {concept.prompt} ({concept.relation}{'' if loud else ', kept out of the anchor'})"
        draw.append(Dot(*at[count + row], 3.2, fill, colours[own], title, concept.relation in FACTS, 0.8))
    for i in range(count):
        draw.append(Dot(*at[i], 7, colours[i], "#ffffff", f"anchor of {names[i]}", stroke_width=1.5))
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in at[:count]]
    for i in range(count):
        box = _free(at[i], text_width(names[i], 13), taken, (left, top, left + edge, top + edge))
        taken.append(box)
        draw.append(Text(box[0], box[3] - 4, names[i], 13, fill=_dark(colours[i]), halo=True))
    draw.append(Text(left, top - 10, "Map of anchors and concepts: what lies together is alike", 12, fill="#666666"))
    x, y = left, top + edge + 24
    for what, diamond, fill, radius in (
        ("anchor", False, GREY, 7.0),
        ("label, cue or text", False, _pale(GREY, 0.75), 3.6),
        ("fact of the graph", True, _pale(GREY, 0.75), 3.6),
        ("fact that is kept out of the anchor", True, "#ffffff", 3.6),
    ):
        draw.append(Dot(x + 6, y, radius, fill, GREY, diamond=diamond))
        draw.append(Text(x + 18, y + 4, what, 11))
        x += 18 + text_width(what, 11) + 22


def _free(
    at: tuple[float, float],
    width: float,
    taken: list[tuple[float, float, float, float]],
    inside: tuple[float, float, float, float],
) -> tuple[float, float, float, float]:
    """Where a name of this width goes beside its anchor: the place that covers least of what is there."""
    x, y = at
    best: tuple[float, tuple[float, float, float, float]] | None = None
    for dx, dy in ((11, -8), (-11 - width, -8), (-width / 2, -27), (-width / 2, 11), (11, -25), (11, 9)):
        box = (x + dx, y + dy, x + dx + width, y + dy + 17)
        cost = sum(
            max(0.0, min(box[2], b[2]) - max(box[0], b[0])) * max(0.0, min(box[3], b[3]) - max(box[1], b[1]))
            for b in taken
        )
        cost += 1e4 * (box[0] < inside[0] or box[1] < inside[1] or box[2] > inside[2] or box[3] > inside[3])
        if best is None or cost < best[0]:
            best = (cost, box)
    assert best is not None
    return best[1]


def _layout(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Places in the unit square; the same vectors give the same places."""
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = np.pad(axes, ((0, max(0, 2 - len(axes))), (0, 0)))[:2]
    axes *= np.where(axes[np.arange(2), np.abs(axes).argmax(1)] < 0, -1, 1)[:, None]
    points = centred @ axes.T
    if len(vectors) >= FEWEST:
        from sklearn.manifold import TSNE

        first = points / max(float(points[:, 0].std()), 1e-9) * 1e-4
        perplexity = min(25.0, (len(vectors) - 1) / 3)
        points = TSNE(metric="cosine", init=first, perplexity=perplexity, random_state=0).fit_transform(vectors)
    spread = np.maximum(points.max(0) - points.min(0), 1e-9)
    return np.asarray((points - points.min(0)) / spread, np.float64)


def _colour(index: int) -> str:
    """Neighbours in a table get hues that are far apart."""
    hue, light = (index * 0.618034) % 1, (0.42, 0.54)[index % 2]
    return _hex(colorsys.hls_to_rgb(hue, light, 0.62))


def _hex(rgb: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def _mixed(colour: str, other: float, share: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 * share + other * (1 - share) for i in (1, 3, 5))
    return _hex((red, green, blue))


def _pale(colour: str, share: float) -> str:
    return _mixed(colour, 1, share)


def _dark(colour: str) -> str:
    return _mixed(colour, 0, 0.7)


def _blue(share: float) -> str:
    """From nearly white to a deep blue."""
    return _hex((0.96 - 0.85 * share, 0.97 - 0.68 * share, 0.99 - 0.43 * share))
