"""Scores of a video whose rows are still arriving."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from kgvad.detector.api import Detector, Output
from kgvad.detector.data.samples import Features, checked
from kgvad.errors import FeatureError

OVERLAP = 64  # rows that neighbouring chunks share; they fade into each other
Found = dict[str, NDArray[np.float32]]


class Stream:
    """Scores rows as they come, in chunks that share rows and there fade into each other, so that no score jumps.

    The last chunk of a video ends with its last row. So a row is final, and given out, when ``chunk`` rows and one
    more follow it, or at :meth:`finish`: the delay is ``chunk`` rows. No more than about two chunks are kept in memory
    beside what one :meth:`push` brings. Whole videos are scored by the same code
    (:func:`kgvad.detector.scoring.infer.infer`).

    Parameters
    ----------
    detector
        In evaluation mode.
    chunk
        Rows that the detector sees at once; ``None``: as many as it takes. What it judges by the whole video it then
        judges by the chunk.
    """

    def __init__(self, detector: Detector, chunk: int | None = None) -> None:
        limits = [limit for limit in (chunk, detector.max_rows) if limit]
        if chunk is not None and chunk < 2:
            raise FeatureError(f"a chunk of {chunk} rows is too short", "take at least 2")
        self._detector = detector
        self._limit = min(limits) if limits else None  # None: everything waits for the end
        self._shared = 0 if self._limit is None else min(OVERLAP, self._limit // 2)
        self._kept: Features | None = None  # rows from number _start on
        self._text: Features | None = None
        self._start = self._count = 0  # first row kept; rows received
        self._next = 0  # first row of the next chunk
        self._total: dict[str, NDArray[np.float64]] = {}  # from row _given on
        self._weight = np.zeros(0)
        self._given = 0

    def push(self, features: Features, text: Features | None = None) -> Found:
        """Take rows [n, D] (and captions [n, E]); what is final by now.

        Returns
        -------
        scores [m] and, where the detector has them, alignment [m, C] and concepts [m, P] of the next m rows; nothing
        where no row is final yet.

        Raises
        ------
        FeatureError
            The rows are of another width than before, or not finite.
        """
        if len(features):
            width = None if self._kept is None else self._kept.shape[-1]
            checked(features, f"row {self._count} and on", width)
            self._kept = _joined(self._kept, features)
            self._text = None if text is None else _joined(self._text, text)
            self._count += len(features)
        if self._limit is None:
            return {}
        while self._next + self._limit < self._count:
            self._run(self._next, self._next + self._limit, last=False)
            self._next += self._limit - self._shared
        return self._give(max(self._count - self._limit, 0))

    def finish(self) -> Found:
        """The scores of the rows that are left; the stream is at its end."""
        if self._count:
            start = 0 if self._limit is None else max(self._count - self._limit, 0)
            self._run(start, self._count, last=True)
        return self._give(self._count)

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
        place = slice(start - self._given, end - self._given)
        self._weight = _room(self._weight, place.stop)
        self._weight[place] += fade
        for name, value in found.items():
            total = _room(self._total.get(name, np.zeros((0, *value.shape[1:]))), place.stop)
            total[place] += value * _column(fade, value.ndim)
            self._total[name] = total

    def _give(self, end: int) -> Found:
        """Rows up to ``end`` that were not given before; they and their features are forgotten."""
        number = end - self._given
        if number <= 0:
            return {}
        weight = self._weight[:number]
        given = {
            name: (total[:number] / _column(weight, total.ndim)).astype(np.float32)
            for name, total in self._total.items()
        }
        self._total = {name: total[number:].copy() for name, total in self._total.items()}
        self._weight, self._given = self._weight[number:].copy(), end
        if self._kept is not None:
            self._kept = self._kept[end - self._start :].copy()
        if self._text is not None:
            self._text = self._text[end - self._start :].copy()
        self._start = end
        return given


def _joined(kept: Features | None, new: Features) -> Features:
    rows = np.asarray(new, dtype=np.float32)
    return rows.copy() if kept is None else np.concatenate([kept, rows])


def _room(array: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    """``array`` with zeros after its end, so that it has at least ``rows`` rows."""
    missing = max(rows - len(array), 0)
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]))])


def _column(weights: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    return weights.reshape(-1, *[1] * (dimensions - 1))


@torch.inference_mode()
def forward(detector: Detector, features: Features, text: Features | None) -> Found:
    """Scores [T], and alignment [T, C] and concepts [T, P] where the detector has them, of rows taken at once."""
    device = next(detector.parameters()).device
    x = torch.from_numpy(np.asarray(features, dtype=np.float32).copy())[None].to(device)
    t = None if text is None else torch.from_numpy(np.asarray(text, dtype=np.float32).copy())[None].to(device)
    output: Output = detector(x, torch.tensor([x.shape[1]], device=device), t)
    found = {"scores": torch.sigmoid(output.logits[0])}
    if output.alignment is not None:
        # what the whole video shows backs every row: naming one kind of event per video is the easier question
        found["alignment"] = output.alignment[0] if output.video is None else (output.alignment[0] + output.video) / 2
    if output.concepts is not None:
        found["concepts"] = output.concepts[0]
    return {name: value.float().cpu().numpy() for name, value in found.items()}
