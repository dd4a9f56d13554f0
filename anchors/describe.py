"""Anchor banks as text: description, comparison, and the concepts as CSV."""

from __future__ import annotations

import csv
import io

import numpy as np
from numpy.typing import NDArray

from kgvad.anchors.bank import AnchorBank
from kgvad.anchors.text_encoders import takes_prompts
from kgvad.kg.draw import visible
from kgvad.spreadsheets import without_formula


def describe(bank: AnchorBank) -> str:
    """Header and concepts of a bank, one line each."""
    lines = [
        f"dataset      {bank.dataset} (table {bank.table_fingerprint})",
        f"encoder      {bank.encoder.source}, {bank.encoder.dim}-d, {bank.encoder.fingerprint}",
        f"trainable    {'context, adapters or residual' if takes_prompts(bank.encoder.name) else 'residual only'}",
        f"pooling      {bank.pooling}",
        f"facts        {bank.facts_date or 'the table only'}",
        f"made         {bank.created}",
        f"fingerprint  {bank.fingerprint}",
    ]
    for index, name in enumerate(bank.categories):
        mark = " (normal)" if index == bank.normal else ""
        lines += ["", f"{name}{mark}"]
        for row in np.flatnonzero(bank.concept_category == index):
            concept = bank.concepts[row]
            prompt, where = visible(concept.prompt), " ".join(part for part in (concept.qid, concept.property) if part)
            context = "" if bank.concept_weight[row] > 0 else "  (not in the anchor)"
            lines.append(f"  {concept.relation:<12} {prompt}{f'  [{where}]' if where else ''}{context}")
    return "\n".join(lines) + "\n"


def differences(first: AnchorBank, second: AnchorBank) -> str:
    """Differences of two banks; cosines of anchors only for the same text encoder."""
    same = first.encoder.fingerprint == second.encoder.fingerprint
    lines = []
    for name in ("dataset", "table_fingerprint", "pooling", "facts_date"):
        one, two = getattr(first, name), getattr(second, name)
        if one != two:
            lines.append(f"{name}: {one} | {two}")
    if not same:
        lines.append(
            f"encoder: {first.encoder.name} {first.encoder.fingerprint} | {second.encoder.name} "
            f"{second.encoder.fingerprint}: their anchors cannot be compared"
        )
    for name in [*first.categories, *(name for name in second.categories if name not in first.categories)]:
        if name not in first.categories or name not in second.categories:
            lines.append(f"{name}: only in the {'first' if name in first.categories else 'second'}")
            continue
        one, two = ({visible(concept.prompt) for concept in bank.of(name)} for bank in (first, second))
        parts = [f"cosine {float(_anchor(first, name) @ _anchor(second, name)):.3f}"] if same else []
        parts += [f"- {text}" for text in sorted(one - two)] + [f"+ {text}" for text in sorted(two - one)]
        if one != two or (same and not parts[0].endswith("1.000")):
            lines.append(f"{name}: " + "; ".join(parts))
    return "\n".join(lines or ["no differences"]) + "\n"


def _anchor(bank: AnchorBank, name: str) -> NDArray[np.float32]:
    anchor: NDArray[np.float32] = bank.anchors[bank.categories.index(name)]
    return anchor


def as_csv(bank: AnchorBank) -> str:
    """The concepts as CSV, one row each; a text that a spreadsheet would run is quoted by an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = ("text", "prompt", "relation", "qid", "property", "path_text", "source", "fetched_at")
    writer.writerow(("category", *columns, "weight"))
    for row, concept in enumerate(bank.concepts):
        values = [bank.categories[bank.concept_category[row]], *(getattr(concept, name) or "" for name in columns)]
        writer.writerow([*(without_formula(value) for value in values), f"{bank.concept_weight[row]:.4f}"])
    return out.getvalue()
