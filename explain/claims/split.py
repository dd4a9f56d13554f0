"""Split a text into sentences."""

from __future__ import annotations

import re

from kgvad.errors import UsageError
from kgvad.explain.text import plain

MOST_SENTENCES = 2000
MOST_CHARACTERS = 1000  # of one sentence; text encoders read about 256 words

_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|approx|ca|vs|no|Mr|Mrs|Ms|Dr|St|sec|min|z\.B|d\.h|bzw|Nr|Sek|Min)|\b[A-Z]|\d)\.$",
    re.IGNORECASE,
)
_END = re.compile(
    r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“„‘(\[]*[^\W\d_]|\d|[*-])|\n\s*\n|\n(?=\s*(?:[-*•#]|\d+[.)]))|(?<=[。！？])"
)
_MARKUP = re.compile(r"^\s*(?:[-*•#>]+|\d+[.)])\s+|\*\*|__|`")


def split_sentences(text: str) -> list[str]:
    """The sentences of ``text`` on one line each, without list marks and emphasis.

    Raises
    ------
    UsageError
        There are more than :data:`MOST_SENTENCES`.
    """
    parts: list[str] = []
    for part in _END.split(text.replace("\r\n", "\n")):
        if parts and _ABBREVIATION.search(parts[-1].rstrip()) and not part[:1].isupper():
            parts[-1] = f"{parts[-1]} {part}"
        else:
            parts.append(part)
    found = [re.sub(r" {2,}", " ", plain(_MARKUP.sub("", part))).strip() for part in parts]
    found = [part for part in found if re.search(r"\w", part)]
    if len(found) > MOST_SENTENCES:
        raise UsageError(f"the text has {len(found)} sentences", f"check at most {MOST_SENTENCES} together")
    return found
