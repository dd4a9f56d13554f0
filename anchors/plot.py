"""A picture of an anchor bank: similarity of its anchors, and a map of anchors and concepts; SVG."""

from __future__ import annotations

import colorsys
from html import escape

import numpy as np
from numpy.typing import NDArray

from kgvad.anchors.bank import AnchorBank

CELL, MARGIN, MAP = 30, 130, 520  # pixels


def picture(bank: AnchorBank) -> str:
    """SVG text: on the left the cosine of every two anchors, on the right the first two principal components."""
    count = len(bank.categories)
    side = CELL * count
    height = max(side, MAP) + MARGIN + 40
    colours = [_colour(index / count) for index in range(count)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{MARGIN + side + 60 + MAP + 120}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="18" font-size="14">Anchors of {escape(bank.dataset)} ({escape(bank.encoder.name)}, '
        f"{escape(bank.pooling)} pooling): cosine, and principal components</text>",
    ]
    cosines = bank.anchors @ bank.anchors.T
    low = float(cosines.min())
    for i, name in enumerate(bank.categories):
        x, y = MARGIN + CELL * i, MARGIN + CELL * i
        parts.append(f'<text x="{MARGIN - 6}" y="{y + 19}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<text transform="translate({x + 19},{MARGIN - 6}) rotate(-60)">{escape(name)}</text>')
        for j in range(count):
            value = float(cosines[i, j])
            depth = (value - low) / max(1 - low, 1e-6)
            fill = f"rgb({round(255 - 205 * depth)},{round(255 - 160 * depth)},255)"
            left = MARGIN + CELL * j
            parts.append(f'<rect x="{left}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" fill="{fill}"/>')
            parts.append(
                f'<text x="{left + CELL / 2:.0f}" y="{y + 19}" text-anchor="middle" font-size="9" '
                f'fill="{"white" if depth > 0.6 else "black"}">{value:.2f}</text>'
            )
    points = _components(np.concatenate([bank.anchors, bank.concept_vectors]))
    left = MARGIN + side + 60
    for row, (x, y) in enumerate(points * (MAP - 20) + 10):
        place = f'cx="{left + x:.1f}" cy="{MARGIN + y:.1f}"'
        if row < count:
            parts.append(f'<circle {place} r="6" fill="{colours[row]}" stroke="black"/>')
            parts.append(f'<text x="{left + x + 8:.1f}" y="{MARGIN + y + 4:.1f}">{escape(bank.categories[row])}</text>')
        else:
            own = int(bank.concept_category[row - count])
            title = escape(bank.concepts[row - count].prompt)
            parts.append(f'<circle {place} r="2.5" fill="{colours[own]}" opacity="0.6"><title>{title}</title></circle>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _components(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """First two principal components scaled to 0..1; the sign is fixed so that the same bank gives the same picture."""
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = np.pad(axes, ((0, max(0, 2 - len(axes))), (0, 0)))[:2]
    axes *= np.where(axes[np.arange(2), np.abs(axes).argmax(1)] < 0, -1, 1)[:, None]
    points = centred @ axes.T
    spread = np.maximum(points.max(0) - points.min(0), 1e-9)
    return np.asarray((points - points.min(0)) / spread)


def _colour(hue: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hsv_to_rgb(hue, 0.75, 0.8))
