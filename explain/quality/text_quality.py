"""How good explanation sentences are as text, against sentences that people wrote.

BLEU-4 is sacrebleu's over the whole corpus, ROUGE-L the F-measure over the longest common subsequence (Lin 2004, best
reference), METEOR nltk's on exact words and stems (no synonyms: WordNet is not installed with it), cosine the
similarity of sentence vectors (best reference). The packages are the extra ``eval``; the library works without.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import KgvadError, ReportError, UsageError
from kgvad.files import read_json
from kgvad.video.video_ids import by_video_id

RESAMPLES = 1000
Encode = Callable[[Sequence[str]], NDArray[np.floating]]


@dataclass(frozen=True)
class Figure:
    """A mean with its 95 % interval by bootstrap over the texts."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class TextQuality:
    """Agreement with the references, all 0..1 (cosine -1..1), larger is better."""

    texts: int
    bleu4: Figure
    rouge_l: Figure
    meteor: Figure
    cosine: Figure | None


def text_quality(
    candidates: Sequence[str], references: Sequence[Sequence[str]], encode: Encode | None = None, seed: int = 0
) -> TextQuality:
    """Compare each candidate with its references.

    Parameters
    ----------
    candidates
        N texts.
    references
        N lists of at least one text.
    encode
        Sentences to unit vectors; without it there is no cosine.
    seed
        Of the bootstrap.

    Raises
    ------
    ReportError
        No texts, or a text without reference.
    KgvadError
        sacrebleu or nltk is not installed.
    """
    if not candidates or len(candidates) != len(references) or not all(references):
        raise ReportError("texts and references do not match", "give each text at least one reference")
    sacrebleu, meteor_score, stemmer = _packages()
    draws = resamples(len(candidates), seed)
    rouge = np.array([max(rouge_l(c, r) for r in refs) for c, refs in zip(candidates, references, strict=True)])
    meteor = np.array(
        [
            meteor_score([tokens(r) for r in refs], tokens(c), stemmer=stemmer, wordnet=_NoSynonyms())
            for c, refs in zip(candidates, references, strict=True)
        ]
    )
    cosine = None
    if encode is not None:
        flat = [r for refs in references for r in refs]
        vectors, known = encode(list(candidates)), encode(flat)
        ends = np.cumsum([len(refs) for refs in references])
        cosine = np.array(
            [
                float((known[end - len(refs) : end] @ vector).max())
                for vector, refs, end in zip(vectors, references, ends, strict=True)
            ]
        )
    return TextQuality(
        len(candidates),
        _bleu(sacrebleu, candidates, references, draws),
        mean_figure(rouge, draws),
        mean_figure(meteor, draws),
        None if cosine is None else mean_figure(cosine, draws),
    )


def _packages() -> tuple[Any, Any, Any]:
    try:
        import sacrebleu
        from nltk.stem.porter import PorterStemmer
        from nltk.translate.meteor_score import meteor_score
    except ImportError as error:
        raise KgvadError(f"{error.name} is not installed", "run: pip install 'kgvad[quality]'") from error
    return sacrebleu, meteor_score, PorterStemmer()


class _NoSynonyms:
    """Stands where nltk expects WordNet: no word has synonyms."""

    @staticmethod
    def synsets(word: str) -> list[Any]:
        return []


def _bleu(
    sacrebleu: Any, candidates: Sequence[str], references: Sequence[Sequence[str]], draws: NDArray[np.int64]
) -> Figure:
    """Corpus BLEU-4; the bootstrap adds up the statistics of single texts, as the corpus score does."""
    metric = sacrebleu.metrics.BLEU(effective_order=False)
    most = max(map(len, references))
    columns = [[refs[i] if i < len(refs) else None for refs in references] for i in range(most)]
    statistics = np.array(metric._extract_corpus_statistics(candidates, columns))

    def score(rows: NDArray[np.int64]) -> float:
        return float(metric._compute_score_from_stats(statistics[rows].sum(axis=0).tolist()).score) / 100

    resampled = [score(draw) for draw in draws[: RESAMPLES // 5]]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Figure(score(np.arange(len(candidates))), float(low), float(high))


def resamples(count: int, seed: int) -> NDArray[np.int64]:
    """Indices of the texts in each resample, [R, N]."""
    return np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))


def mean_figure(values: NDArray[np.float64], draws: NDArray[np.int64]) -> Figure:
    """The mean of ``values`` with its interval over :func:`resamples`."""
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return Figure(float(values.mean()), float(low), float(high))


def tokens(text: str) -> list[str]:
    """Lower-case words and numbers of ``text``."""
    return re.findall(r"[a-z0-9]+", text.lower())


def rouge_l(candidate: str, reference: str) -> float:
    """F-measure of the longest common subsequence of words: ``2 P R / (P + R)``."""
    a, b = tokens(candidate), tokens(reference)
    if not a or not b:
        return 0.0
    row = [0] * (len(b) + 1)
    for word in a:
        diagonal = 0
        for j, other in enumerate(b):
            diagonal, row[j + 1] = row[j + 1], diagonal + 1 if word == other else max(row[j + 1], row[j])
    common = row[-1]
    return 2 * common / (len(a) + len(b))


def read_references(path: Path) -> dict[str, list[str]]:
    """Reference texts by video, from JSON.

    Accepted are ``{video: text}``, ``{video: [text, ...]}``, ``{video: {"sentences": [...]}}`` and
    ``{video: {"events_summary": [...]}}``; a video may be named with a folder and a suffix.

    Raises
    ------
    UsageError
        The file is missing.
    ReportError
        It is no JSON of one of these forms, or holds no text.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist", "name a JSON file of reference texts")
    content = read_json(path, ReportError, "give {video: [text, ...]}")
    if not isinstance(content, dict):
        raise ReportError(f"{path} is not an object", "give {video: [text, ...]}")
    found = {video: _texts(content[name]) for video, name in by_video_id(content, str(path)).items()}
    found = {video: texts for video, texts in found.items() if texts}
    if not found:
        raise ReportError(f"{path} holds no reference texts", "give {video: [text, ...]}")
    return found


def _texts(value: object) -> list[str]:
    if isinstance(value, Mapping):
        value = value.get("sentences") or value.get("events_summary")
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return []
