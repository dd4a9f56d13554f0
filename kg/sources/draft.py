"""A draft of a category table from class names, filled with what the bundled tables and the cache know."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import UsageError
from kgvad.kg.sources.resolve import Candidate, resolve
from kgvad.kg.sources.wikidata import WikidataClient
from kgvad.kg.store.cache import GraphStore
from kgvad.kg.tables import (
    VERSION,
    Category,
    CategoryTable,
    ItemRef,
    bundled_tables,
    is_dataset_name,
    load_table,
    parse_table,
)

Similar = Callable[[str, Sequence[str]], NDArray[np.floating]]  # cosines of a text with texts, by a text encoder

MIN_COSINE, MAX_SIMILAR = 0.5, 3  # items that are added by the meaning of their labels
MAX_COMMENTED = 5  # further items of the same name
FILLERS = frozenset(
    ["a", "an", "and", "at", "by", "for", "from", "in", "into", "of", "off", "on", "or", "the", "to", "with"]
)  # words that name nothing


@dataclass(frozen=True)
class _Draft:
    """What is known about a category: its rows, items of the same name that were not taken, and cues."""

    items: dict[str, ItemRef]
    others: tuple[Candidate, ...]
    cues: tuple[str, ...]


def first_table(
    store: GraphStore,
    dataset: str,
    names: Sequence[str],
    client: WikidataClient | None = None,
    similar: Similar | None = None,
) -> tuple[str, CategoryTable, list[str]]:
    """Draft of a category table.

    A category that a bundled table has takes its items and cues. Others take the items that are called like the
    category (label, title, alias), related items that are called like a part of its words, or whose labels mean
    something similar, and the cues of bundled categories with the same item. The category ``Normal`` is that of the
    UCF-Crime table.

    Parameters
    ----------
    store
        The knowledge-graph cache.
    dataset, names
        Name of the dataset and of its abnormal categories.
    client
        Looks names up in a service too.
    similar
        Compares texts; ``None``: no item is added by meaning.

    Returns
    -------
    (str, CategoryTable, list of str)
        The TOML text, the same as a table, and the names for which no item was found.

    Raises
    ------
    UsageError
        A name cannot stand in a table, or comes twice.
    """
    names = _checked(dataset, names)
    normal = load_table("ucf").normal
    parts = [
        "# Draft by kgvad datasets init. Delete what does not fit: related items share words with the name or mean",
        "# something similar. Write two to six cues for each category: short phrases for what a fixed camera shows.",
        "",
        f"version = {VERSION}",
        f"dataset = {_toml(dataset)}",
        f"title = {_toml(dataset)}",
    ]
    unknown = []
    labels = {} if similar is None else store.all_labels()
    for name in names:
        draft = _draft(store, name, client, similar, labels)
        if not draft.items:
            unknown.append(name)
        parts += ["", "[[category]]", f"name = {_toml(name)}", f"text = {_toml(_words(name))}"]
        rows = [f"  {_item_row(item)}," for item in draft.items.values()]
        parts += ["items = [", *rows, "]"] if rows else ["items = []"]
        for other in draft.others[:MAX_COMMENTED]:
            parts.append(f"# or: {item_row(other)} # {_comment(other)}")
        parts += ["cues = [", *(f"  {_toml(cue)}," for cue in draft.cues or (_words(name),)), "]"]
    parts += ["", "[[category]]", 'name = "Normal"', f"text = {_toml(normal.text)}", "normal = true", "items = ["]
    parts += [f"  {_item_row(item)}," for item in normal.items]
    parts += ["]", "cues = [", *(f"  {_toml(cue)}," for cue in normal.cues), "]", ""]
    text = "\n".join(parts)
    return text, parse_table(text, dataset), unknown


def _checked(dataset: str, names: Sequence[str]) -> list[str]:
    """The abnormal ones of ``names``."""
    if not is_dataset_name(dataset):
        raise UsageError(
            f"{dataset!r} is not a name for a dataset", "use up to 64 letters, digits, hyphens and underscores"
        )
    if dataset.casefold() in bundled_tables():  # its anchors, features and run would replace those of the bundled one
        raise UsageError(f"{dataset!r} is the name of a bundled dataset", "choose another name")
    if blank := [name for name in names if not name.strip()]:
        raise UsageError(f"--category {blank[0]!r} is empty", "give the name of an abnormal category")
    abnormal = [name for name in names if name.casefold() != "normal"]
    if not abnormal:
        raise UsageError("every table has the category Normal, and this one no other", "name abnormal ones: --category")
    folded = [name.casefold() for name in abnormal]
    if twice := [name for name in abnormal if folded.count(name.casefold()) > 1]:
        raise UsageError(f"--category names {twice[0]!r} twice", "name each once")
    return abnormal


def _draft(
    store: GraphStore, name: str, client: WikidataClient | None, similar: Similar | None, labels: dict[str, str]
) -> _Draft:
    bundled = _bundled(name)
    if bundled is not None:
        return _Draft({item.qid: item for item in bundled.items}, (), bundled.cues)
    candidates = resolve(store, name, client)
    exact = [one for one in candidates if one.match == candidates[0].match][:1]
    items = {one.qid: _reference(one, "primary") for one in exact}
    for part in _parts(name):
        for one in resolve(store, part, client)[:1]:
            if one.match != "search":
                items.setdefault(one.qid, _reference(one, "related"))
    if similar is not None:
        for qid in _nearest(name, labels, similar):
            items.setdefault(qid, ItemRef(qid=qid, label=labels[qid], role="related"))
    others = tuple(one for one in candidates if one.qid not in items)
    own = {one.qid for one in exact}
    cues = [cue for category in _categories() if own & {item.qid for item in category.primary} for cue in category.cues]
    return _Draft(items, others, tuple(dict.fromkeys(cues)))


def _categories() -> Iterator[Category]:
    """The abnormal categories of the bundled tables."""
    for table in bundled_tables():
        yield from (category for category in load_table(table).categories if not category.normal)


def _bundled(name: str) -> Category | None:
    """The category of a bundled table with this name, alias or text; UCF-Crime's first."""
    for table in sorted(bundled_tables(), key=lambda table: table != "ucf"):
        loaded = load_table(table)
        try:
            found = loaded.category(name)
        except UsageError:
            found = next((one for one in loaded.categories if one.text.casefold() == name.casefold()), loaded.normal)
        if not found.normal:
            return found
    return None


def _words(name: str) -> str:
    """``ForkliftAccident`` and ``forklift_accident`` are ``forklift accident``."""
    found = re.findall(r"[A-Z]?[^A-Z_\s\-]+|[A-Z]+(?![^A-Z_\s\-])", name)
    return " ".join(found).lower() or name


def _parts(name: str) -> list[str]:
    """Runs of words inside the name, longest first; single words that say nothing are left out."""
    words = _words(name).split()
    runs = [
        " ".join(words[start : start + size])
        for size in range(len(words) - 1, 0, -1)
        for start in range(len(words) - size + 1)
    ]
    return [run for run in runs if run not in FILLERS and len(run) > 2]


def _nearest(name: str, labels: dict[str, str], similar: Similar) -> list[str]:
    """Items whose labels mean something similar to ``name``, the most similar first."""
    qids = list(labels)
    if not qids:
        return []
    cosines = similar(_words(name), [labels[qid] for qid in qids])
    order = np.argsort(-cosines, kind="stable")[:MAX_SIMILAR]
    return [qids[index] for index in order if cosines[index] >= MIN_COSINE]


def item_row(candidate: Candidate) -> str:
    """A candidate as a row of a category table."""
    return _item_row(_reference(candidate, "primary"))


def _reference(candidate: Candidate, role: str) -> ItemRef:
    return ItemRef.model_validate(
        {"qid": candidate.qid, "label": candidate.label, "role": role, "verified_by": candidate.sources}
    )


def _item_row(item: ItemRef) -> str:
    values = (("qid", item.qid), ("label", item.label), ("role", item.role), ("verified_by", item.verified_by))
    return "{ " + ", ".join(f"{key} = {_toml(value)}" for key, value in values) + " }"


def _comment(candidate: Candidate) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in candidate.description)[:100]


def _toml(text: str) -> str:
    """A TOML basic string. JSON's escapes are TOML's, but for U+007F and the surrogate pairs."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
