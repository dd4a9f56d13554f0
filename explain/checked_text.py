"""A text about a video, checked: sentences, the claims in them, and what the evidence says about each."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from kgvad.errors import UsageError
from kgvad.explain.parts import GraphStep, ReportPart, Seconds, Share
from kgvad.files import decode_text, read_data

MOST_BYTES = 2 * 2**20  # of a text to check

ClaimKind = Literal["category", "time", "entity", "count", "absence", "statement"]
Verdict = Literal["supported", "contradicted", "not_supported"]
Reason = Literal[
    "category_supported",
    "category_other",
    "category_weak",
    "category_unknown",
    "time_match",
    "time_event",
    "time_elsewhere",
    "time_no_event",
    "time_beyond_end",
    "time_unknown",
    "order_match",
    "order_reversed",
    "order_unknown",
    "entity_found",
    "entity_other",
    "entity_absent",
    "count_found",
    "count_other",
    "count_absent",
    "events_counted",
    "absence_confirmed",
    "absence_refuted",
    "absence_unknown",
    "statement_found",
    "statement_weak",
    "no_captions",
    "no_language",
]


class CitedCaption(ReportPart):
    """A caption that a verdict rests on."""

    start_s: Seconds
    frame: int
    text: str
    similarity: float | None = None  # cosine with the claim; None where words were compared


class Claim(ReportPart):
    """One claim of a sentence, and the verdict on it."""

    kind: ClaimKind
    text: str  # the words that state it
    value: str  # what is claimed: a category, a time span, an entity, "2 man", ...
    verdict: Verdict
    reason: Reason
    found: str | None = None  # what the evidence shows: the leading category, the matching time, another count, ...
    value_share: float | None = None  # figure of what is claimed, on the scale of its kind
    found_share: float | None = None
    start_s: Seconds | None = None  # where in the video the claim was looked up
    end_s: Seconds | None = None
    frames: tuple[int, int] | None = None  # first and last of that stretch
    captions: tuple[CitedCaption, ...] = ()
    event: int | None = None  # number of the report's event
    path: tuple[GraphStep, ...] = ()  # from the category to the concept that links it to the evidence
    path_text: str | None = None


class CheckedSentence(ReportPart):
    """A sentence with its claims. Its verdict is the worst of theirs: contradicted, not supported, supported."""

    number: int  # from 1
    text: str
    verdict: Verdict
    claims: tuple[Claim, ...]


class CheckedText(ReportPart):
    """A text about a video and the verdict on each of its sentences."""

    schema_version: Literal["1.0"] = "1.0"
    kgvad_version: str
    video: str
    duration_s: Seconds
    source: str | None = None  # file of the text
    language: Literal["en", "de"] | None = None  # of the text; None: another
    captions_file: str | None = None
    captions: int = 0  # that were read
    events: int | None = None  # of the report; None without a report
    names_categories: Literal["yes", "hint", "no"] = "no"
    sentences: tuple[CheckedSentence, ...] = ()

    def count(self, verdict: Verdict) -> int:
        """Number of sentences with this verdict."""
        return sum(sentence.verdict == verdict for sentence in self.sentences)


class Narrative(ReportPart):
    """A language model's text about the video, as the report shows it."""

    model: str
    endpoint: str | None = None  # without credentials; None: a local model
    with_graph: bool  # whether the prompt had the paths of the knowledge graph
    unsupported: Literal["drop", "mark"]
    dropped: int = 0  # sentences that were left out
    language: str
    sentences: tuple[CheckedSentence, ...] = ()
    share_supported: Share | None = None  # of all sentences that the model wrote; None where it wrote none


def worst(claims: tuple[Claim, ...]) -> Verdict:
    """The verdict on a sentence with these claims."""
    verdicts = {claim.verdict for claim in claims}
    return (
        "contradicted" if "contradicted" in verdicts else "supported" if verdicts == {"supported"} else "not_supported"
    )


def read_text(path: str | os.PathLike[str]) -> str:
    """A text about a video from a file, UTF-8 or UTF-16.

    Raises
    ------
    UsageError
        The file is missing, larger than :data:`MOST_BYTES`, no text, or blank.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}", "give a text file")
    if path.stat().st_size > MOST_BYTES:
        raise UsageError(f"{path} is larger than {MOST_BYTES // 2**20} MiB", "split the text")
    data = read_data(path, UsageError, "give a text file")
    if len(data) > MOST_BYTES:  # it was gzipped
        raise UsageError(f"{path} holds more than {MOST_BYTES // 2**20} MiB of text", "split the text")
    try:
        text = decode_text(data)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", "save it as UTF-8") from error
    if "\0" in text:
        raise UsageError(f"{path} is not text", "give a text file")
    if not re.search(r"\w", text):
        raise UsageError(f"{path} holds no text", "give a text with at least one sentence")
    return text
