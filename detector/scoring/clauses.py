"""Captions cut into clauses, so that the one clause that reports an event does not vanish in a long caption."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from kgvad.video import SNIPPET_FRAMES

CAPTIONS_PER_SNIPPET = 4  # read at most; more of the same 16 frames hardly differ

_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_CLAUSE = re.compile(
    r",\s+(?:and\s+|while\s+|but\s+|or\s+)?|\s+(?:while|then|before|after|as)\s+|:\s+"
    r"|\s+and\s+(?=(?:the|an?|one|another|two|three|four|five|he|she|they|then|is|are|appears?|begins?|starts?)\b)",
    re.IGNORECASE,
)


def clauses(caption: str) -> list[str]:
    """The clauses of a caption, at least one: cut at the ends of sentences, commas and English conjunctions."""
    parts = (part.strip(" .,;:") for sentence in _SENTENCE.split(caption) for part in _CLAUSE.split(sentence))
    return [part for part in parts if part] or [caption]


def snippet_captions(captions: Sequence[tuple[int, str]], snippets: int) -> list[list[str]]:
    """The captions of each snippet: those that begin in it, or the latest that began earlier.

    Parameters
    ----------
    captions
        (frame, caption), ordered by frame, not empty.
    snippets
        Number of snippets.

    Returns
    -------
    list of list of str
        One to four captions for each snippet, the last of a snippet included; the snippets before the first caption
        have the first.
    """
    starts = [frame for frame, _ in captions]
    found = []
    for snippet in range(snippets):
        first = bisect_left(starts, snippet * SNIPPET_FRAMES)
        stop = bisect_left(starts, (snippet + 1) * SNIPPET_FRAMES)
        own = [text for _, text in captions[first:stop]] or [captions[max(first - 1, 0)][1]]
        step = -(-len(own) // CAPTIONS_PER_SNIPPET)
        found.append(own[::-1][::step][::-1])
    return found
