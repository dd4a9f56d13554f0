"""Scores of a stream without end, each from the snippets up to it."""

from __future__ import annotations

import numpy as np

from kgvad.detector.api import Detector
from kgvad.detector.data.samples import Features, checked
from kgvad.detector.scoring.streaming import Found, forward

HISTORY = 100  # snippets that a score is computed from: 160 s of the shipped run, whose videos had 100 in training


class CausalScorer:
    """Scores each snippet from the latest ones up to it, with constant memory.

    A detector in its causal form gives the first ``history`` snippets the scores that it gives them in a video.

    Parameters
    ----------
    detector
        In its causal form (:meth:`kgvad.detector.api.Detector.causal_form`) and evaluation mode.
    history
        Snippets that a score is computed from.
    """

    def __init__(self, detector: Detector, history: int = HISTORY) -> None:
        self._detector = detector
        self._history = history
        self._kept: Features | None = None

    def push(self, features: Features) -> Found:
        """Score of the next snippet: ``scores`` [1] and, where the detector has them, ``alignment`` and ``concepts``.

        Parameters
        ----------
        features
            float [D].

        Raises
        ------
        FeatureError
            The features have another width than before, or are not finite.
        """
        width = None if self._kept is None else self._kept.shape[-1]
        row = checked(np.asarray(features, np.float32)[None], "the stream", width)
        kept = row if self._kept is None else np.concatenate([self._kept, row])
        self._kept = kept[-self._history :]
        return {name: value[-1:] for name, value in forward(self._detector, self._kept, None).items()}
