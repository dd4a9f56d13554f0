"""A checked text in words: its verdicts and the reason of each, in the language of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kgvad.errors import UsageError
from kgvad.explain.checked_text import CheckedSentence, CheckedText, Claim, Narrative
from kgvad.explain.claims.vocabulary import entities
from kgvad.explain.rendering.escaping import clock
from kgvad.explain.rendering.phrases import Phrases
from kgvad.explain.text import words

CHECK_FORMS = ("txt", "md", "html", "json")


def check_form(output: Path | None, form: str | None) -> str:
    """The format of a check: what the user chose, else by the suffix of the file, else plain text.

    Raises
    ------
    UsageError
        There is no such format.
    """
    suffix = "" if output is None else output.suffix.lower().lstrip(".")
    chosen = form or {"": "txt", "markdown": "md", "htm": "html"}.get(suffix, suffix)
    if chosen not in CHECK_FORMS:
        where = f"--format {form}" if form else f"--output {output}: the suffix"
        raise UsageError(f"{where} is not a format of a check", f"use {', '.join(CHECK_FORMS)}")
    return chosen


def check_context(checked: CheckedText, phrases: Phrases) -> dict[str, Any]:
    """What the templates of a checked text read."""
    own = phrases.labels["check"]
    notes = [own["about"]]
    if not checked.captions:
        notes.append(own["no_captions"])
        if checked.names_categories == "no":
            notes.append(own["no_hint"])
    counts = {name: checked.count(name) for name in ("supported", "contradicted", "not_supported")}
    return {
        "checked": checked.model_dump(mode="json"),
        "labels": phrases.labels,
        "rows": sentence_rows(checked.sentences, phrases),
        "summary": phrases.sentence("check_summary", {"sentences": len(checked.sentences), **counts}),
        "notes": notes,
    }


def narrative_context(narrative: Narrative | None, phrases: Phrases) -> dict[str, Any]:
    """What the templates of a report read about a language model's text."""
    if narrative is None:
        return {"narrative": None}
    written = len(narrative.sentences) + narrative.dropped
    supported = sum(sentence.verdict == "supported" for sentence in narrative.sentences)
    fields = {"model": narrative.model, "with_graph": narrative.with_graph, "dropped": narrative.dropped}
    fields |= {"supported": supported, "sentences": written, "unsupported": narrative.unsupported}
    return {
        "narrative": {
            "summary": phrases.sentence("narrative_summary", fields),
            "rows": sentence_rows(narrative.sentences, phrases),
        }
    }


def sentence_rows(sentences: Sequence[CheckedSentence], phrases: Phrases) -> list[dict[str, Any]]:
    """Sentences and claims as data, with their verdicts and reasons in words."""
    verdicts = phrases.labels["check"]["verdicts"]
    return [
        sentence.model_dump(mode="json")
        | {
            "verdict_text": verdicts[sentence.verdict],
            "claims": [_claim(claim, phrases) for claim in sentence.claims],
        }
        for sentence in sentences
    ]


def _claim(claim: Claim, phrases: Phrases) -> dict[str, Any]:
    own = phrases.labels["check"]
    values = {
        "value": _words(claim.value, phrases),
        "found": None if claim.found is None else _words(claim.found, phrases),
        "value_share": claim.value_share,
        "found_share": claim.found_share,
        "event": claim.event,
    }
    where = ""
    if claim.start_s is not None and claim.end_s is not None and claim.frames is not None:
        where = f"{clock(claim.start_s)} {phrases.labels['to']} {clock(claim.end_s)}, {own['frames']} "
        where += f"{claim.frames[0]}-{claim.frames[1]}"
    return claim.model_dump(mode="json") | {
        "verdict_text": own["verdicts"][claim.verdict],
        "kind_text": own["kinds"][claim.kind],
        "reason_text": phrases.sentence(f"claim_{claim.reason}", values),
        "where": where,
    }


def _words(value: str, phrases: Phrases) -> str:
    """A category or an entity in the language of the reports."""
    known = entities()
    if value in known:
        return known[value].words["de" if phrases.language == "de" else "en"][0]
    return ", ".join(phrases.categories.get(name) or words(name) for name in value.split("/"))
