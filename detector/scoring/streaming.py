"""Scores of a video while its features are still arriving."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from kgvad.detector.api import Detector
from kgvad.detector.data.samples import Features, checked
from kgvad.detector.protocol import checked_output
from kgvad.errors import FeatureError, RunError

OVERLAP = 64  # snippets that neighbouring chunks share and are cross-faded over
Found = dict[str, NDArray[np.float32]]


class Stream:
    """Scores snippets as they arrive, in overlapping chunks that are cross-faded, so that scores are continuous.

    The last chunk of a video ends with its last snippet. A score is therefore final, and returned, once ``chunk``
    snippets and one more follow, or at :meth:`finish`: the delay is ``chunk`` snippets. About two chunks are kept in
    memory, beside the argument of one :meth:`push`. Whole videos are scored by the same code
    (:func:`kgvad.detector.scoring.infer.infer`).

    Parameters
    ----------
    detector
        In evaluation mode.
    chunk
        Snippets that the detector scores together; ``None``: as many as it accepts. Whatever the detector derives
        from the whole video it derives from the chunk instead.
    """

    def __init__(self, detector: Detector, chunk: int | None = None) -> None:
        limits = [limit for limit in (chunk, detector.max_snippets) if limit]
        if chunk is not None and chunk < 2:
            raise FeatureError(f"a chunk of {chunk} snippets is too short", "use at least 2")
        self._detector = detector
        self._limit = min(limits) if limits else None  # None: everything waits for the end
        self._shared = 0 if self._limit is None else min(OVERLAP, self._limit // 2)
        self._kept: Features | None = None  # features from snippet _start on
        self._text: Features | None = None
        self._start = self._count = 0  # first snippet kept; snippets received
        self._next = 0  # first snippet of the next chunk
        self._total: dict[str, NDArray[np.float64]] = {}  # weighted sums from snippet _released on
        self._weight = np.zeros(0)
        self._released = 0

    def push(self, features: Features, text: Features | None = None) -> Found:
        """Add features [n, D] (and captions [n, E]) of the next n snippets; return the scores that became final.

        Returns
        -------
        scores [m] and, where the detector has them, alignment [m, C] and concepts [m, P] of the next m snippets; an
        empty dictionary where no score is final yet.

        Raises
        ------
        FeatureError
            The features have another width than before, or are not finite.
        """
        if len(features):
            width = None if self._kept is None else self._kept.shape[-1]
            checked(features, f"from snippet {self._count} on", width)
            self._kept = _appended(self._kept, features)
            self._text = None if text is None else _appended(self._text, text)
            self._count += len(features)
        if self._limit is None:
            return {}
        while self._next + self._limit < self._count:
            self._run(self._next, self._next + self._limit, last=False)
            self._next += self._limit - self._shared
        return self._release(max(self._count - self._limit, 0))

    def finish(self) -> Found:
        """Scores of the remaining snippets; ends the stream."""
        if self._count:
            start = 0 if self._limit is None else max(self._count - self._limit, 0)
            self._run(start, self._count, last=True)
        return self._release(self._count)

    def _run(self, start: int, end: int, *, last: bool) -> None:
        assert self._kept is not None
        part = slice(start - self._start, end - self._start)
        fade = np.ones(end - start)
        ramp = (np.arange(self._shared) + 1) / (self._shared + 1)
        if start > 0:
            fade[: self._shared] = ramp
        if not last and self._shared:
            fade[-self._shared :] = np.minimum(fade[-self._shared :], ramp[::-1])
        found = forward(self._detector, self._kept[part], None if self._text is None else self._text[part])
        place = slice(start - self._released, end - self._released)
        self._weight = _zero_padded(self._weight, place.stop)
        self._weight[place] += fade
        for name, value in found.items():
            total = _zero_padded(self._total.get(name, np.zeros((0, *value.shape[1:]))), place.stop)
            total[place] += value * _column(fade, value.ndim)
            self._total[name] = total

    def _release(self, end: int) -> Found:
        """Scores up to snippet ``end`` that were not returned before; they and their features are dropped."""
        number = end - self._released
        if number <= 0:
            return {}
        weight = self._weight[:number]
        released = {
            name: (total[:number] / _column(weight, total.ndim)).astype(np.float32)
            for name, total in self._total.items()
        }
        self._total = {name: total[number:].copy() for name, total in self._total.items()}
        self._weight, self._released = self._weight[number:].copy(), end
        if self._kept is not None:
            self._kept = self._kept[end - self._start :].copy()
        if self._text is not None:
            self._text = self._text[end - self._start :].copy()
        self._start = end
        return released


def _appended(kept: Features | None, new: Features) -> Features:
    added = np.asarray(new, dtype=np.float32)
    return added.copy() if kept is None else np.concatenate([kept, added])


def _zero_padded(array: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """``array`` padded with zeros at the end to at least ``length``."""
    missing = max(length - len(array), 0)
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]))])


def _column(weights: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    return weights.reshape(-1, *[1] * (dimensions - 1))


@torch.inference_mode()
def forward(detector: Detector, features: Features, text: Features | None) -> Found:
    """Scores [T] of one chunk, and alignment [T, C] and concepts [T, P] where the detector has them.

    Raises
    ------
    RunError
        The detector returns something else, or scores that are not finite.
    """
    device = next(detector.parameters()).device
    x = torch.from_numpy(np.asarray(features, dtype=np.float32).copy())[None].to(device)
    t = None if text is None else torch.from_numpy(np.asarray(text, dtype=np.float32).copy())[None].to(device)
    output = checked_output(detector, detector(x, torch.tensor([x.shape[1]], device=device), t), *x.shape[:2])
    found = {"scores": torch.sigmoid(output.logits[0])}
    if output.alignment is not None:
        # The video-level logits join those of every snippet: a video usually has one kind of event.
        found["alignment"] = output.alignment[0] if output.video is None else (output.alignment[0] + output.video) / 2
    if output.concepts is not None:
        found["concepts"] = output.concepts[0]
    for name, value in found.items():
        if not bool(value.isfinite().all()):
            raise RunError(
                f"{detector.name}: {name} of a video are not finite", "train again with a lower learning rate"
            )
    return {name: value.float().cpu().numpy() for name, value in found.items()}
