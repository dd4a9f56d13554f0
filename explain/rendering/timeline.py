"""Figures of the HTML report: score timeline, category strips, graph drawing, pictures.

All of it is markup without inline styles (the content security policy allows only the one style sheet whose hash it
names), so places on the time axis are CSS rules collected in :attr:`Figures.css`. Text is HTML next to the drawing, not
inside it, so it keeps its size on a phone.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from kgvad.explain.rendering.escaping import clock, fine_clock
from kgvad.explain.rendering.sentence_plan import is_unusual_only
from kgvad.explain.rendering.subgraph import draw
from kgvad.explain.report import Report
from kgvad.explain.text import words
from kgvad.types import Fields

WIDTH, HEIGHT = 1000, 200  # user units of the drawings; they stretch to the page
LABEL_SHARE = 0.18  # of the height of the plot on a phone, that a label takes
MAX_POINTS = 500  # of the curve
MAX_BINS = 160  # of the category strips
MAX_STRIPS = 6  # categories shown
NUMBER_SHARES = {"close": 0.03, "close-narrow": 0.08}  # width of an event's number on wide and on narrow pages
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)


@dataclass
class Figures:
    """Markup for the HTML template, and the style rules that place it.

    Attributes
    ----------
    timeline, category_strips
        Drawings; ``category_strips`` is ``None`` where no category is known.
    graphs
        Event number to a drawing of the graph behind its evidence.
    pictures
        Frame number to ``data:`` URI.
    css
        Rules to append to the style sheet.
    """

    timeline: Markup
    category_strips: Markup | None
    graphs: dict[int, Markup]
    pictures: dict[int, str]
    rules: list[str] = field(default_factory=list)

    @property
    def css(self) -> str:
        return "\n".join(self.rules)


def figures(
    report: Report,
    labels: Fields,
    categories: dict[str, str],
    properties: dict[str, str],
    pictures: dict[int, bytes],
) -> Figures:
    """All figures of ``report``, with texts from ``labels``, translated ``categories`` and ``properties`` in words."""
    rules: list[str] = []
    timeline = _timeline(report, labels, rules)
    strips = _category_strips(report, categories)
    images = {frame: "data:image/jpeg;base64," + base64.b64encode(data).decode() for frame, data in pictures.items()}
    return Figures(timeline, strips, _graphs(report, labels, categories, properties), images, rules)


def _graphs(
    report: Report, labels: Fields, categories: dict[str, str], properties: dict[str, str]
) -> dict[int, Markup]:
    drawings = {}
    for event in report.events:
        cited = event.evidence
        if not cited:
            continue
        root = str(_category(report, cited[0].category, categories).unescape())
        drawing = draw(cited, root, f"{labels['graph']}: {root}", properties)
        if drawing is not None:
            drawings[event.number] = drawing
    return drawings


def pooled(report: Report, most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges float64 [N + 1] in seconds and highest score float64 [N] of at most ``most`` equal stretches of time."""
    starts, ends = np.array(report.curve.start_s), np.array(report.curve.end_s)
    scores = np.array(report.curve.score)
    count = min(most, len(scores))
    edges = np.linspace(0, report.video.duration_s, count + 1)
    highest = np.zeros(count)
    first = np.clip(np.searchsorted(edges, starts + 1e-6, side="right") - 1, 0, count - 1)
    last = np.clip(np.searchsorted(edges, ends - 1e-6, side="right") - 1, 0, count - 1)
    for low, high, score in zip(first, last, scores, strict=True):
        highest[low : high + 1] = np.maximum(highest[low : high + 1], score)
    return edges, highest


def _timeline(report: Report, labels: Fields, rules: list[str]) -> Markup:
    duration = report.video.duration_s
    edges, score = pooled(report, MAX_POINTS)
    x = edges / duration * WIDTH
    y = HEIGHT * (1 - score)
    line = f"M0,{y[0]:.1f}" + "".join(
        f"H{x[i + 1]:.1f}" + (f"V{y[i + 1]:.1f}" if i + 1 < len(y) else "") for i in range(len(y))
    )
    onset = report.method.detection.onset
    rule_y = HEIGHT * (1 - onset)
    ends = [("top", 1), ("bottom", 0)]  # a label of the axis that the threshold's would cover is left out
    parts = [
        Markup('<div class="plot with-bands">' if report.events else '<div class="plot">'),
        *(_band(report, index, duration, rules, labels, kind) for index, kind in enumerate(_number_classes(report))),
        Markup(
            '<svg viewBox="0 0 {w} {h}" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
            '<path class="area" d="{line}V{h}H0Z"/><path class="line" d="{line}"/>'
            '<line class="threshold" x1="0" x2="{w}" y1="{y}" y2="{y}"/></svg>'
        ).format(w=WIDTH, h=HEIGHT, line=line, y=f"{rule_y:.1f}"),
        *(Markup('<span class="y {}">{}</span>').format(*end) for end in ends if abs(onset - end[1]) >= LABEL_SHARE),
        Markup('<span class="y rule">{}</span>').format(f"{onset:.2f}".replace(".", labels["decimal"])),
        Markup("</div>"),
        _ticks(duration, rules),
    ]
    rules.append(f".plot .rule{{top:{100 * (1 - onset):.2f}%}}")
    return Markup("").join(parts)


def _number_classes(report: Report) -> list[str]:
    """For each event, the classes that hide its number where that of an earlier event would cover it."""
    last, found = dict.fromkeys(NUMBER_SHARES, -1.0), []
    for event in report.events:
        middle = (event.start_s + event.duration_s / 2) / report.video.duration_s
        hidden = [kind for kind, share in NUMBER_SHARES.items() if middle - last[kind] < share]
        last |= {kind: middle for kind in NUMBER_SHARES if kind not in hidden}
        found.append("".join(f" {kind}" for kind in hidden))
    return found


def _band(report: Report, index: int, duration: float, rules: list[str], labels: Fields, kind: str) -> Markup:
    event = report.events[index]
    left, width = 100 * event.start_s / duration, 100 * event.duration_s / duration
    rules.append(f".b{event.number}{{left:{left:.3f}%;width:{max(width, 0.2):.3f}%}}")
    start, end = (fine_clock(time, labels["decimal"]) for time in (event.start_s, event.end_s))
    kind_of = labels["stretch"] if is_unusual_only(report) else labels["event"]
    title = f"{kind_of} {event.number}: {start} {labels['to']} {end}"
    return Markup(
        '<a class="band b{n}{k}" href="#event-{n}" data-start="{s}" title="{t}" aria-label="{t}"><span>{n}</span></a>'
    ).format(n=event.number, k=kind, s=f"{event.start_s:g}", t=title)


def _ticks(duration: float, rules: list[str]) -> Markup:
    """Labels of the time axis: at most seven, at round times."""
    step = next((step for step in STEPS_S if duration / step <= 6), STEPS_S[-1])
    times = np.arange(0, duration + 1e-6, step)
    if len(times) > 8:
        times = times[:: int(np.ceil(len(times) / 7))]
    spans = []
    for number, time in enumerate(times):
        place = 100 * float(time) / duration
        rules.append(f".t{number}{{left:{place:.3f}%}}")
        last = " last" if place > 93 else ""
        spans.append(Markup('<span class="t{}{}">{}</span>').format(number, last, _short(clock(float(time)), duration)))
    return Markup('<div class="ticks" aria-hidden="true">{}</div>').format(Markup("").join(spans))


def _short(time: str, duration: float) -> str:
    """Without the hours where the video has none."""
    return time if duration >= 3600 else time[3:]


def _category_strips(report: Report, categories: dict[str, str]) -> Markup | None:
    curves = report.category_curves
    if curves is None or not report.events:
        return None
    shares = np.array(curves.shares)
    named = [category.name for event in report.events for category in event.categories[:2]]  # the page names these
    order = [row for row in np.argsort(-shares.max(axis=1)).tolist() if curves.categories[row] in named]
    starts, ends = np.array(report.curve.start_s), np.array(report.curve.end_s)
    count = min(MAX_BINS, len(starts))
    edges = np.linspace(0, report.video.duration_s, count + 1)
    rows = np.clip(np.searchsorted(ends, (edges[:-1] + edges[1:]) / 2), 0, len(starts) - 1)
    lines = []
    for row in order[:MAX_STRIPS]:
        cells = Markup("").join(
            Markup('<rect x="{}" width="{}" height="1" fill-opacity="{}"/>').format(
                f"{edges[i] / edges[-1] * WIDTH:.1f}",
                f"{WIDTH / count + 0.3:.1f}",
                f"{shares[row, rows[i]]:.2f}",
            )
            for i in range(count)
            if shares[row, rows[i]] >= 0.02
        )
        name = _category(report, curves.categories[row], categories)
        lines.append(
            Markup(
                '<div class="strip"><span>{}</span><svg viewBox="0 0 {} 1" preserveAspectRatio="none" '
                'aria-hidden="true" focusable="false">{}</svg></div>'
            ).format(name, WIDTH, cells)
        )
    return Markup('<div class="strips">{}</div>').format(Markup("").join(lines))


def _category(report: Report, name: str, categories: dict[str, str]) -> Markup:
    """Words of a category, as its events name it."""
    if name in categories:
        return escape(categories[name])
    for event in report.events:
        for category in event.categories:
            if category.name == name:
                return escape(category.text)
    return escape(words(name))
