"""Figure of an anchor bank: cosine similarity of its anchors, and a map of anchors and concepts. Needs matplotlib."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.pooling import FACTS
from kgvad.errors import AnchorError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#8a8f98"  # Normal
LONGEST_NAME = 28  # characters
CELL = 0.34  # inches, side of a cell of the matrix
DPI = 150
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "kgvad", "text.parse_math": False}  # text stays text


def draw(bank: AnchorBank) -> Figure:
    """Two panels: cosine of every two anchors, and the first two principal components of anchors and concepts.

    Raises
    ------
    AnchorError
        matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise AnchorError("drawing an anchor bank needs matplotlib", "pip install 'kgvad[figures]'") from error
    with rc_context(STYLE):
        return _figure(bank)


def _figure(bank: AnchorBank) -> Figure:
    from matplotlib.figure import Figure

    names = [_plain(name) for name in bank.categories]
    side = max(5.0, CELL * len(names) + 2)
    figure = Figure(figsize=(2 * side + 2, side + 1.2), layout="constrained")
    facts = f"facts of {bank.facts_date[:10]}" if bank.facts_date else "category table only"
    figure.suptitle(
        f"Anchors of {_plain(bank.dataset)}: {_plain(bank.encoder.name)}, {bank.pooling} pooling, "
        f"{len(bank.concepts)} concepts, {facts}"
    )
    left, right = figure.subplots(1, 2)
    _similarity(left, bank, names)
    _map(right, bank, names)
    return figure


def image(bank: AnchorBank, format_: Literal["svg", "png"]) -> bytes:
    """The figure of :func:`draw` as a file; the same bank and matplotlib give the same bytes."""
    figure = draw(bank)

    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(
            content, format=format_, dpi=DPI, metadata={"Date": None} if format_ == "svg" else {"Software": None}
        )
    return content.getvalue()


def principal_components(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Coordinates on the first two principal components, float64 [N, 2].

    The sign of a component is chosen so that its largest loading is positive.
    """
    centred = np.asarray(vectors, np.float64) - vectors.mean(0, dtype=np.float64)
    _, _, components = np.linalg.svd(centred, full_matrices=False)
    components = np.pad(components, ((0, max(0, 2 - len(components))), (0, 0)))[:2]
    largest = components[np.arange(2), np.abs(components).argmax(1)]
    return np.asarray(centred @ (components * np.where(largest < 0, -1, 1)[:, None]).T)


def _similarity(axes: Axes, bank: AnchorBank, names: list[str]) -> None:
    cosines = bank.anchors @ bank.anchors.T
    others = ~np.eye(len(names), dtype=bool)
    low, high = float(cosines[others].min()), float(cosines[others].max())
    shown = np.ma.masked_array(cosines, ~others)
    mesh = axes.imshow(shown, cmap="Blues", vmin=low, vmax=max(high, low + 1e-6))
    for i, j in np.argwhere(others):
        dark = cosines[i, j] > low + 0.55 * (high - low)
        text = f"{cosines[i, j]:.2f}".replace("0.", ".", 1)
        axes.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if dark else "#333333")
    axes.set_xticks(range(len(names)), names, rotation=50, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.figure.colorbar(mesh, ax=axes, location="bottom", shrink=0.6, label="cosine similarity of two anchors")


def _map(axes: Axes, bank: AnchorBank, names: list[str]) -> None:
    from matplotlib.lines import Line2D

    count = len(names)
    points = principal_components(np.concatenate([bank.anchors, bank.concept_vectors]))
    colours = _colours(bank)
    fact = np.array([concept.relation in FACTS for concept in bank.concepts])
    pooled = bank.concept_weight > 0
    for index in range(count):
        own = bank.concept_category == index
        for concept in points[count:][own]:
            axes.plot(*np.stack([points[index], concept]).T, color=colours[index], alpha=0.2, linewidth=0.7, zorder=1)
        for is_fact, marker in ((False, "o"), (True, "D")):
            for is_pooled, face in ((True, colours[index]), (False, "white")):
                x, y = points[count:][own & (fact == is_fact) & (pooled == is_pooled)].T
                axes.scatter(x, y, s=14, marker=marker, facecolor=face, edgecolor=colours[index], alpha=0.7, zorder=2)
        axes.scatter(points[index, 0], points[index, 1], s=90, color=colours[index], edgecolor="white", zorder=3)
        axes.annotate(
            names[index],
            points[index],
            xytext=(6, 4),
            textcoords="offset points",
            fontweight="bold",
            zorder=4,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.7},
        )
    axes.set_title("First two principal components of anchors and concepts", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    legend = (("anchor", "o", GREY, 9), ("label, cue or text", "o", GREY, 4), ("fact of the graph", "D", GREY, 4))
    handles = [
        Line2D([], [], marker=marker, color=GREY, markerfacecolor=face, linestyle="", markersize=size, label=label)
        for label, marker, face, size in (*legend, ("not in the anchor", "D", "white", 4))
    ]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, frameon=False, fontsize=8)


def _colours(bank: AnchorBank) -> list[str]:
    """One colour per category; grey for Normal."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    palette = colormaps["tab20"]
    return [GREY if i == bank.normal else to_hex(palette(i % 20)) for i in range(len(bank.categories))]


def _plain(name: str) -> str:
    """A name that fits the figure: printable, and cut where it is long."""
    text = "".join(letter if letter.isprintable() else " " for letter in name)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
