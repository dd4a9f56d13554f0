"""A category's subgraph as a tree: in the terminal and as a picture."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kgvad.kg.graph.abstract_items import ABSTRACT
from kgvad.kg.graph.traversal import RELATED_REACH, Found, Reach, walk
from kgvad.kg.properties import TABLE
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import Category

ROW, CHAR, GAP, PAD = 26, 7.2, 44, 9  # pixels: line height, width of a character, between columns, inside a box
LONGEST = 64  # characters of a name before it is cut
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass
class Node:
    """A node of the tree: an item, or a property that its children share."""

    text: str
    qid: str = ""
    kind: str = "item"  # category, item, words, cue
    children: list[Node] = field(default_factory=list)


def category_tree(store: GraphStore, category: Category, abstract: bool = False) -> Node:
    """The category with its items, their neighbourhoods and its cues; abstract ancestors only if ``abstract``."""
    root = Node(category.text, kind="category")
    without = {*category.exclude, *(() if abstract else ABSTRACT)}
    for item in category.items:
        reach = Reach() if item.role == "primary" else RELATED_REACH
        # An item that a related item shares with the category is drawn once, on the category's own branch.
        others = {other.qid for other in category.items} if item.role == "related" else set()
        found = walk(store, item.qid, reach, without | others)
        labels = store.labels({item.qid, *(f.qid for f in found)})
        node = Node(labels.get(item.qid, item.label), item.qid)
        _grow(node, found, labels)
        words = "is" if item.role == "primary" else "is related to"
        _branch(root, words).children.append(node)
    if category.cues:
        _branch(root, "looks like").children += [Node(cue, kind="cue") for cue in category.cues]
    return root


def _grow(root: Node, found: Sequence[Found], labels: dict[str, str]) -> None:
    nodes = {root.qid: root}
    for one in sorted(found, key=lambda f: (len(f.path), -f.weight, labels.get(f.qid, "~"), f.qid)):
        subject, pid, value = one.path[-1]
        forward = value == one.qid
        parent = nodes[subject if forward else value]
        words = TABLE[pid].words if forward else f"\u2190 {TABLE[pid].words}"
        node = Node(labels.get(one.qid, one.qid), one.qid)
        nodes[one.qid] = node
        _branch(parent, words).children.append(node)


def _branch(node: Node, words: str) -> Node:
    for child in node.children:
        if child.kind == "words" and child.text == words:
            return child
    node.children.append(Node(words, kind="words"))
    return node.children[-1]


def text_lines(node: Node, before: str = "", last: bool | None = None) -> Iterator[str]:
    """The tree as lines for a terminal. Control characters are removed."""
    text = visible(node.text)
    shown = f"{text} ({node.qid})" if node.qid and node.qid != text else text
    if last is None:
        yield shown
        indent = ""
    else:
        yield f"{before}{'└─ ' if last else '├─ '}{shown}"
        indent = before + ("   " if last else "│  ")
    for child in node.children:
        yield from text_lines(child, indent, child is node.children[-1])


def svg(node: Node) -> str:
    """The tree as an SVG picture: columns from left to right, one row a leaf, without overlaps."""
    placed: list[tuple[Node, int, float, Node | None]] = []
    rows = _place(node, 0, 0, None, placed)
    width: dict[int, float] = {}
    for one, column, _, _ in placed:
        width[column] = max(width.get(column, 0), _width(one))
    left = {column: PAD + sum(width[c] + GAP for c in range(column)) for column in width}
    at = {id(one): (left[column], y) for one, column, y, _ in placed}
    total_w = max(left[c] + width[c] for c in width) + PAD
    total_h = rows * ROW + 2 * PAD
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_w:.0f} {total_h:.0f}" width="{total_w:.0f}" '
        f'height="{total_h:.0f}" font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12" role="img">',
        f"<title>{_escape(node.text)}</title>",
        f'<rect width="{total_w:.0f}" height="{total_h:.0f}" fill="#ffffff"/>',
    ]
    for _, column, y, parent in placed:
        if parent is not None:
            px, py = at[id(parent)]
            start, end = px + _width(parent), left[column]
            middle = (left[column] - GAP / 2, _centre(py), _centre(y))
            lines.append(
                f'<path d="M{start:.1f} {middle[1]:.1f} H{middle[0] - 8:.1f} C{middle[0]:.1f} {middle[1]:.1f} '
                f'{middle[0]:.1f} {middle[2]:.1f} {end:.1f} {middle[2]:.1f}" fill="none" stroke="#b8c0cc"/>'
            )
    lines += [_box(one, *at[id(one)]) for one, _, _, _ in placed]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _place(
    node: Node, column: int, row: float, parent: Node | None, placed: list[tuple[Node, int, float, Node | None]]
) -> float:
    index = len(placed)
    placed.append((node, column, row, parent))
    following = row
    for child in node.children:
        following = _place(child, column + 1, following, node, placed)
    following = max(following, row + 1)
    placed[index] = (node, column, (row + following - 1) / 2, parent)
    return following


def _box(node: Node, x: float, y: float) -> str:
    fill, line, ink = {
        "category": ("#1f3a5f", "#1f3a5f", "#ffffff"),
        "item": ("#eaf1fb", "#7d9cc4", "#14263d"),
        "words": ("#ffffff", "none", "#5a6472"),
        "cue": ("#f3f7ec", "#9db37c", "#2d3a17"),
    }[node.kind]
    style = ' font-style="italic"' if node.kind == "words" else ""
    tip = f"<title>{_escape(node.text)}{f' ({node.qid})' if node.qid else ''}</title>"
    return (
        f'<g>{tip}<rect x="{x:.1f}" y="{y * ROW + PAD + 2:.1f}" width="{_width(node):.1f}" height="{ROW - 4}" rx="4" '
        f'fill="{fill}" stroke="{line}"/><text x="{x + PAD:.1f}" y="{_centre(y) + 4:.1f}" fill="{ink}"{style}>'
        f"{_escape(_short(node.text))}</text></g>"
    )


def _centre(row: float) -> float:
    return row * ROW + PAD + ROW / 2


def _width(node: Node) -> float:
    letters = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in _short(node.text))
    return letters * CHAR + 2 * PAD


def _short(text: str) -> str:
    text = visible(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "\u2026"


def visible(text: str) -> str:
    """Text as one line for a terminal, without control characters and marks of writing direction."""
    return " ".join(_UNSEEN.sub(" ", text).split())


def _escape(text: str) -> str:
    return html.escape(visible(text))
