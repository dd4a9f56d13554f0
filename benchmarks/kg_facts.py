"""Select the facts bundled with kgvad from a larger collection of N-Quads.

    python benchmarks/kg_facts.py SUBSET.nq TITLES.tsv > kg/facts/wikidata.nq

Kept is what lies around the items of the bundled category tables: two levels down, four levels up, and one
step over every other property, with all terms. A fact that several sources state keeps the best of them
(``PRECEDENCE``); an item keeps one label and one description. ``TITLES.tsv`` lists witnesses of items that
the collection does not have itself, such as ``GF-WordNet enwiki "Cart"``; only the titles in it are used.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import defaultdict
from pathlib import Path

from kgvad.kg.store import nquads
from kgvad.kg.store.schema import Statement, Term
from kgvad.kg.tables import bundled_tables, is_qid, load_table

PRECEDENCE = [
    "kgtk-arnold", "codex-types", "wikicausal", "vise", "villmow", "vandycite", "gf-wordnet", "wd50k",
    "vise-edge", "wikicausal-edge",
]  # fmt: skip
UP, DOWN = 4, 2


def read(path: Path) -> dict[Term | Statement, set[str]]:
    """Facts with their sources."""
    facts: dict[Term | Statement, set[str]] = defaultdict(set)
    item, title = {}, {}
    for quad in nquads.parse(path.read_bytes(), str(path)):
        source = quad.graph.removeprefix("urn:source:")
        if source not in PRECEDENCE:
            continue
        fact = nquads.fact_of(quad)
        if fact is not None:
            facts[fact].add(source)
        elif quad.predicate == nquads.ABOUT:
            item[quad.subject] = nquads.entity(quad.object)
        elif quad.predicate == nquads.TERM_IRIS["title"]:
            title[quad.subject] = quad.object
    for page, text in title.items():
        if text and (qid := item.get(page)):
            facts[Term(qid, "title", "en", text)].add("gf-wordnet")
    return facts


def add_titles(facts: dict[Term | Statement, set[str]], path: Path) -> set[str]:
    """Add the titles that witnesses name; returns every item of the list."""
    titled = {fact.qid for fact in facts if isinstance(fact, Term) and fact.kind == "title"}
    listed = set()
    for row in csv.DictReader(path.open(encoding="utf-8", newline=""), delimiter="\t"):
        if is_qid(row["qid"]):
            listed.add(row["qid"])
            match = re.search(r'GF-WordNet enwiki "(.*?)"', row["verified_by"])
            if match and row["qid"] not in titled:
                facts[Term(row["qid"], "title", "en", match[1])].add("gf-wordnet")
    return listed


def around(roots: set[str], statements: list[Statement]) -> set[str]:
    """The items to select."""
    above, below, beside = defaultdict(set), defaultdict(set), defaultdict(set)
    for s in statements:
        if s.property in ("P279", "P31"):
            above[s.subject].add(s.object)
            if s.property == "P279":
                below[s.object].add(s.subject)
        else:
            beside[s.subject].add(s.object)
            beside[s.object].add(s.subject)
    kept = set(roots)
    for edges, depth in ((below, DOWN), (beside, 1), (above, UP)):
        frontier = set(roots) if edges is not above else set(kept)
        for _ in range(depth):
            frontier = {there for here in frontier for there in edges[here]} - kept
            kept |= frontier
    return kept


def main(subset: Path, titles: Path) -> None:
    facts = read(subset)
    roots = {qid for name in bundled_tables() for qid in load_table(name).qids} | add_titles(facts, titles)
    kept = around(roots, [fact for fact in facts if isinstance(fact, Statement)])
    best = {fact: min(sources, key=PRECEDENCE.index) for fact, sources in facts.items()}
    only: dict[tuple[str, str], list[tuple[int, Term]]] = defaultdict(list)
    for fact, source in best.items():
        if isinstance(fact, Term) and fact.kind in ("label", "description"):
            only[fact.qid, fact.kind].append((PRECEDENCE.index(source), fact))
    dropped = {fact for several in only.values() for _, fact in sorted(several)[1:]}
    lines = []
    for fact, source in best.items():
        graph = f"urn:source:{source}"
        if isinstance(fact, Term) and fact.qid in kept and fact not in dropped:
            lines.append(nquads.term_line(fact, graph))
        elif isinstance(fact, Statement) and {fact.subject, fact.object} <= kept:
            lines.append(nquads.statement_line(fact, graph))
    sys.stdout.write("\n".join(sorted(lines)) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
