"""Class prompts from the words of training captions (SemVAD, section 3.2 and Figure 3).

A class prompt is the words that are frequent in the captions of a category and rare in those of normal videos, put in
the order of their similarity to the category's label, as many as the text encoder reads.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

_WORD = re.compile(r"[a-z]+(?:['’][a-z]+)*")


class PromptOptions(BaseModel):
    """How words are chosen. The paper gives the share; the other values are not published and are our choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    word_share: float = Field(default=10.0, gt=0, le=100, description="Percent of the vocabulary kept by score.")
    epsilon: float = Field(default=1e-6, gt=0, description="Added to the count below the fraction.")
    stop_words: bool = Field(default=True, description="Leave out English stop words (those of scikit-learn).")
    min_count: int = Field(default=2, ge=1, description="Leave out words with fewer occurrences in all captions.")
    tokens: int = Field(default=77, ge=3, description="Tokens of a prompt, with start and end.")


@dataclass(frozen=True, eq=False)
class WordEncoder:
    """What the choice of words needs of a text encoder.

    Attributes
    ----------
    encode
        Unit vectors of texts, float32 [N, E].
    tokens
        Number of tokens of a text, with start and end.
    limit
        Tokens that the encoder reads.
    """

    encode: Callable[[Sequence[str]], NDArray[np.float32]]
    tokens: Callable[[str], int]
    limit: int


def count_words(
    captions: Mapping[str, Iterable[str]], labels: Mapping[str, Sequence[int]], categories: int
) -> list[Counter[str]]:
    """Occurrences of every word in the captions of each category.

    Parameters
    ----------
    captions
        Captions of each video, one for each clip.
    labels
        Categories of each video; the words of a video of several count in each.
    categories
        Number of categories.
    """
    counts: list[Counter[str]] = [Counter() for _ in range(categories)]
    for video, texts in captions.items():
        words = Counter(word for text in texts for word in _WORD.findall(text.lower()))
        for category in labels.get(video, ()):
            counts[category].update(words)
    return counts


def word_scores(counts: Sequence[Counter[str]], normal: int, epsilon: float) -> list[dict[str, float]]:
    """P_m(w) of every word in each category (SemVAD, eq. 1).

    P_m(w) = count(w, C^m) / (count(w, C^0) + epsilon); for Normal, count(w, C^0) / (count(w, union of C^m) + epsilon).
    """
    abnormal: Counter[str] = sum((own for index, own in enumerate(counts) if index != normal), Counter())
    vocabulary = set(abnormal) | set(counts[normal])
    return [
        {word: own[word] / ((abnormal if index == normal else counts[normal])[word] + epsilon) for word in vocabulary}
        for index, own in enumerate(counts)
    ]


def top_words(scores: Mapping[str, float], share: float) -> list[str]:
    """The words of the highest scores, ``share`` percent of the vocabulary (rounded up), without scores of 0.

    Ties are in alphabetical order, which is our choice, as is leaving out words that the category never has.
    """
    count = math.ceil(len(scores) * share / 100)
    ordered = sorted(scores, key=lambda word: (-scores[word], word))[:count]
    return [word for word in ordered if scores[word] > 0]


def rank_by_label(
    words: Sequence[str], label: str, encode: Callable[[Sequence[str]], NDArray[np.float32]]
) -> list[str]:
    """The words in the order of the cosine of their vectors with that of the label, highest first."""
    if not words:
        return []
    cosine = encode(list(words)) @ encode([label])[0]
    return [words[index] for index in np.argsort(-cosine, kind="stable")]


def join_words(words: Sequence[str], tokens: Callable[[str], int], limit: int) -> str:
    """As many whole words from the first on as fit ``limit`` tokens, joined with blanks."""
    phrase = ""
    for word in words:
        longer = f"{phrase} {word}".strip()
        if tokens(longer) > limit:
            break
        phrase = longer
    return phrase


def class_prompts(
    captions: Mapping[str, Iterable[str]],
    labels: Mapping[str, Sequence[int]],
    names: Sequence[str],
    normal: int,
    encoder: WordEncoder,
    options: PromptOptions,
) -> tuple[str, ...]:
    """A prompt for each category, from the captions of training videos.

    The words of Normal keep the order of P_0, because its label says little.

    Parameters
    ----------
    captions, labels
        As for :func:`count_words`.
    names
        Categories in words, to which words are compared; the prompt of a category without captions.
    normal
        Index of Normal.
    encoder
        Text encoder of the captions.
    options
        How words are chosen.
    """
    counts = count_words(captions, labels, len(names))
    total: Counter[str] = sum(counts, Counter())
    dropped = {word for word, number in total.items() if number < options.min_count}
    if options.stop_words:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        dropped |= set(ENGLISH_STOP_WORDS)
    counts = [Counter({word: number for word, number in own.items() if word not in dropped}) for own in counts]
    limit = min(options.tokens, encoder.limit)
    prompts = []
    for index, scores in enumerate(word_scores(counts, normal, options.epsilon)):
        words = top_words(scores, options.word_share)
        if index != normal:
            words = rank_by_label(words, names[index], encoder.encode)
        prompts.append(join_words(words, encoder.tokens, limit) or names[index])
    return tuple(prompts)
