"""Have a report told by a language model, check every sentence, and put the result beside the report's own text."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from kgvad.explain.checked_text import MOST_BYTES, CheckedSentence, Narrative
from kgvad.explain.claims.check import ClaimChecker
from kgvad.explain.narration.prompt import messages
from kgvad.explain.report import Report

logger = logging.getLogger(__name__)

TOKENS = 400  # most that a model writes
Unsupported = Literal["drop", "mark"]


class Writer(Protocol):
    """A language model."""

    name: str
    endpoint: str | None

    def write(self, conversation: list[dict[str, str]], tokens: int) -> str:
        """The model's answer."""
        ...


@dataclass(frozen=True, eq=False)
class Narrator:
    """Adds a checked narrative to reports.

    Attributes
    ----------
    writer
        The language model.
    checker
        Gives the claim checker of a report.
    with_graph
        Whether the prompt has the paths of the knowledge graph.
    unsupported
        What happens to sentences that are not supported.
    language
        ``en`` or ``de``.
    """

    writer: Writer
    checker: Callable[[Report], ClaimChecker]
    with_graph: bool = True
    unsupported: Unsupported = "mark"
    language: str = "en"

    def narrate(self, report: Report) -> Report:
        """``report`` with a narrative; its other parts stay as they are.

        Where the model writes no sentence, a warning says so, and the report stays without a narrative.

        Raises
        ------
        KgvadError
            The model cannot be reached, or answers with something else than text.
        """
        conversation = messages(report, with_graph=self.with_graph, language=self.language)
        text = self.writer.write(conversation, TOKENS)[:MOST_BYTES]
        checked = self.checker(report).check(text, video=report.video.name)
        if not checked.sentences:
            logger.warning("%s wrote no sentence: %s has no narrative", self.writer.name, report.video.name)
            return report
        kept = [one for one in checked.sentences if self.unsupported == "mark" or one.verdict == "supported"]
        count = len(checked.sentences)
        logger.info("%s wrote %d sentences, %d are supported", self.writer.name, count, checked.count("supported"))
        narrative = Narrative(
            model=self.writer.name,
            endpoint=self.writer.endpoint,
            with_graph=self.with_graph,
            unsupported=self.unsupported,
            dropped=count - len(kept),
            language=self.language,
            sentences=tuple(_renumbered(kept)),
            share_supported=checked.count("supported") / count,
        )
        return report.model_copy(update={"narrative": narrative})

    def identity(self) -> str:
        """Text that changes when this narrator would write another narrative."""
        return f"{self.writer.name} {self.writer.endpoint} {self.with_graph} {self.unsupported} {self.language}"


def _renumbered(sentences: list[CheckedSentence]) -> list[CheckedSentence]:
    return [one.model_copy(update={"number": number}) for number, one in enumerate(sentences, start=1)]
