"""Names of categories in texts: the category table, the knowledge graph, and the phrases of the reports."""

from __future__ import annotations

from collections.abc import Mapping

from kgvad.anchors.bank import AnchorBank
from kgvad.kg.tables import CategoryTable


def category_names(
    table: CategoryTable | None, bank: AnchorBank, translations: Mapping[str, str] | None = None
) -> dict[str, list[str]]:
    """The names of each abnormal category of ``bank``: words, aliases, labels of its items, and a translation."""
    found: dict[str, list[str]] = {}
    for index, category in enumerate(bank.categories):
        if index == bank.normal:
            continue
        names = [category]
        if table is not None and category in table.names:
            own = table.category(category)
            names += [own.text, *own.aliases]
        names += [concept.text for concept in bank.of(category) if concept.relation in ("label", "alias")]
        if translations is not None and category in translations:
            names.append(translations[category])
        found[category] = list(dict.fromkeys(names))
    return found
