"""The report in sentences, each bound to the fields that it states.

A sentence is a macro of ``phrases.<language>.j2``. It is called with values read from the report's JSON by pointer and
has access to nothing else, so it cannot state what no field holds. A translation is another phrases file.
"""

from __future__ import annotations

import re
from typing import Any

from kgvad.explain.rendering.phrases import Phrases
from kgvad.explain.rendering.sentence_plan import plan_sentences
from kgvad.explain.report import Report, Sentence


def resolve(document: Any, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901); ``KeyError`` or ``IndexError`` where there is none."""
    value = document
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def with_sentences(report: Report, phrases: Phrases) -> Report:
    """``report`` with its sentences in the language of ``phrases``."""
    document = report.model_dump(mode="json")
    sentences = []
    for planned in plan_sentences(report):
        values = {name: resolve(document, pointer) for name, pointer in planned.fields.items()}
        text = re.sub(r"[ \t\r\n]+", " ", phrases.sentence(planned.key, values)).strip()
        if text:
            fields = tuple(planned.fields.values())
            sentences.append(Sentence(place=planned.place, key=planned.key, text=text, fields=fields))
    return report.model_copy(update={"language": phrases.language, "sentences": tuple(sentences)})
