"""Drawing of the knowledge graph behind an event: category, items and concepts, with the properties between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from kgvad.explain.report import Evidence

BOX_W, BOX_H, GAP_X, GAP_Y = 168, 44, 104, 14  # user units of the drawing
TIP = 7  # length of an arrowhead
MAX_LETTERS = 23  # of a label in a box

Node = tuple[str, str]  # QID (or the text itself), label


def draw(
    evidence: Sequence[Evidence], category: str, title: str, properties: Mapping[str, str] | None = None
) -> Markup | None:
    """A drawing of the statements behind ``evidence``; ``None`` where no concept has a path in the graph.

    Each column is one step further from the category. An arrow goes from the subject of a statement to its object,
    labelled with the property. The list next to the drawing has the same items as text, with links.

    Parameters
    ----------
    evidence
        Cited concepts.
    category
        The category in words, drawn as the root.
    title
        Text for screen readers.
    properties
        Property to words ("P279": "kind of"); others are shown as their number.
    """
    columns: list[list[Node]] = [[("", category)]]
    edges: list[tuple[Node, Node, str]] = []

    def place(node: Node, column: int) -> Node:
        for nodes in columns:
            for other in nodes:
                if other[0] == node[0] and node[0]:
                    return other
        while len(columns) <= column:
            columns.append([])
        columns[column].append(node)
        return node

    for item in evidence:
        if item.relation == "description":  # a sentence, not a node
            continue
        if not item.path:
            if item.qid:  # an item that the category table names beside the category's own
                _once(edges, (columns[0][0], place((item.qid, item.concept), 1), ""))
            continue
        near = _category_side(item)
        for depth, step in enumerate(item.path):
            names = {step.subject: step.subject_label, step.object: step.object_label}
            far = step.object if near == step.subject else step.subject
            label = item.concept if far == item.qid else names[far] or far
            before = place((near, names[near] or near), depth + 1)
            after = place((far, label), depth + 2)
            if depth == 0:
                _once(edges, (columns[0][0], before, ""))
            forward = near == step.subject
            name = (properties or {}).get(step.property, step.property)
            _once(edges, (before, after, name) if forward else (after, before, name))
            near = far
    return _svg(columns, edges, title) if edges else None


def _category_side(item: Evidence) -> str:
    """The end of the first statement that is the category's own item; a narrower term stands as its subject."""
    first = item.path[0]
    beyond = {item.path[1].subject, item.path[1].object} if len(item.path) > 1 else {item.qid}
    return first.object if first.subject in beyond else first.subject


def _once(edges: list[tuple[Node, Node, str]], edge: tuple[Node, Node, str]) -> None:
    if edge not in edges and edge[0] != edge[1]:
        edges.append(edge)


def _svg(columns: list[list[Node]], edges: list[tuple[Node, Node, str]], title: str) -> Markup:
    tallest = max(len(nodes) for nodes in columns)
    width = len(columns) * BOX_W + (len(columns) - 1) * GAP_X
    height = tallest * BOX_H + (tallest - 1) * GAP_Y
    corner: dict[Node, tuple[float, float]] = {}
    for x, nodes in enumerate(columns):
        top = (height - len(nodes) * BOX_H - (len(nodes) - 1) * GAP_Y) / 2
        for y, node in enumerate(nodes):
            corner[node] = (x * (BOX_W + GAP_X), top + y * (BOX_H + GAP_Y))
    parts = [_edge(corner[a], corner[b], name) for a, b, name in edges]
    parts += [_box(corner[node], node, x == 0) for x, nodes in enumerate(columns) for node in nodes]
    size = Markup('viewBox="-2 -2 {w} {h}" width="{w}" height="{h}"').format(w=f"{width + 4:g}", h=f"{height + 4:g}")
    return Markup('<svg class="graph" {size} role="img" aria-label="{title}">{parts}</svg>').format(
        size=size, title=title, parts=Markup("").join(parts)
    )


def _edge(start: tuple[float, float], end: tuple[float, float], name: str) -> Markup:
    x1, y1 = start[0] + BOX_W, start[1] + BOX_H / 2
    x2, y2 = end[0], end[1] + BOX_H / 2
    if x2 <= start[0]:  # back to an earlier column: from the left side
        x1, x2 = start[0], end[0] + BOX_W
    middle = (x1 + x2) / 2
    line = f"M{x1:g},{y1:g}C{middle:g},{y1:g} {middle:g},{y2:g} {x2:g},{y2:g}"
    if not name:  # from the category to its own item: not a statement
        return Markup('<path class="edge" d="{}"/>').format(line)
    back = TIP if x2 < x1 else -TIP
    tip = f"M{x2:g},{y2:g}l{back:g},{TIP / 2:g}v{-TIP:g}z"
    return Markup(
        '<path class="edge" d="{}"/><path class="tip" d="{}"/><text class="prop" x="{}" y="{}">{}</text>'
    ).format(line, tip, f"{middle:g}", f"{(y1 + y2) / 2 - 5:g}", name)


def _box(corner: tuple[float, float], node: Node, root: bool) -> Markup:
    x, y = corner
    qid, label = node
    short = label if len(label) <= MAX_LETTERS else label[: MAX_LETTERS - 1] + "…"
    center = x + BOX_W / 2
    number = (
        Markup('<text class="qid" x="{}" y="{}">{}</text>').format(f"{center:g}", f"{y + 35:g}", qid) if qid else ""
    )
    return Markup(
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="6"/><text x="{}" y="{}">{}</text>{}'
    ).format(
        "root" if root else "node",
        f"{x:g}",
        f"{y:g}",
        BOX_W,
        BOX_H,
        f"{center:g}",
        f"{y + (20 if qid else 27):g}",
        escape(short),
        number,
    )
