"""What a report from pixels says about the events of ``benchmarks/explain.py``: the shipped run on published logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from train_shipped import ARCHIVE, DATASET, FPS, ROWS, Logits, read_logits

from kgvad.detector.data.annotations import read_truth
from kgvad.detector.models.additive import standardise_columns
from kgvad.detector.run import Run
from kgvad.detector.scoring.infer import score_features
from kgvad.detector.shipped import UCF_ACTIONS
from kgvad.explain.analysis.contributions import cited_contributions
from kgvad.explain.analysis.events import EventSpan
from kgvad.explain.analysis.evidence import category_shares
from kgvad.explain.scorers.from_video import column_terms
from kgvad.video.feature_store import VideoEntry

CITED = 3  # actions in a sentence


@dataclass(frozen=True)
class Pixels:
    """The shipped run, and the logits of the test videos."""

    run: Run
    logits: Logits

    @classmethod
    def load(cls, shared: Path) -> Pixels:
        """The run, with the centre of the published logits, which another program made."""
        run = Run.load(UCF_ACTIONS)
        logits = read_logits(shared / ARCHIVE)
        training = [name for name in read_truth(DATASET, shared / "data" / "ucf").split("train") if name in logits]
        rows = torch.cat([torch.from_numpy(logits[name]) for name in training])
        run.detector.get_buffer("centre").copy_(standardise_columns(rows).mean(0))
        return cls(run, logits)

    def sentences(
        self, video: str, span_s: tuple[float, float], duration_s: float, words: Mapping[str, str]
    ) -> tuple[str, str, str] | None:
        """The event by its predicted category alone, with the actions that decided, and with the concepts of the graph
        that these actions are closest to; ``None`` without logits.

        Parameters
        ----------
        span_s
            Start and end of the event, which are given.
        words
            Category name to words.
        """
        if video not in self.logits:
            return None
        frames = round(duration_s * FPS)
        entry = VideoEntry(frame_count=frames, fps=FPS, rows=ROWS, layout="even")
        scores = score_features(self.run, self.logits[video], entry, video=video)
        first, stop = (int(edge / duration_s * ROWS) for edge in span_s)
        first = min(first, ROWS - 1)
        stop = min(max(stop, first + 1), ROWS)
        inside = scores.scores[first:stop]
        span = EventSpan(
            (first, stop), *span_s, span_s[0], span_s[0], first + int(inside.argmax()), inside.max(), np.mean(inside)
        )
        category = category_shares(scores, span, {})[0].name
        terms = column_terms(self.run, self.logits[video])
        assert terms is not None
        cited = cited_contributions(terms, scores, span, category, self.run.bank)
        actions = [one.name for one in cited if one.value > 0]
        concepts = list(dict.fromkeys(one.concept for one in cited if one.concept is not None))
        label = f"The video shows {words[category]}"
        return f"{label}.", *(f"{label}{listed(cited[:CITED])}." for cited in (actions, concepts))


def listed(items: list[str]) -> str:
    """``: a, b and c``; nothing for no items."""
    if len(items) < 2:
        return "".join(f": {item}" for item in items)
    return f": {', '.join(items[:-1])} and {items[-1]}"
