"""Pooling the vectors of a category's concepts into its anchor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from kgvad.errors import UsageError
from kgvad.vectors import unit

Floats = NDArray[np.float32]
Pooling = Callable[[Floats, Floats, Sequence[str]], Floats]

# Weights of the groups in ``balanced``, chosen on one half of the descriptions; see docs/notebook/anchors.md.
SHARE = {"cue": 1.0, "label": 0.3, "fact": 0.8}
FACTS = ("related", "subclass", "superclass")  # one group
ATTENTION_TEMPERATURE = 0.1
GRAPH_TEMPERATURE = 0.1
RESTART = 0.5  # of the walk over the concepts, towards the graph's own weights
STEPS = 20  # RESTART ** 20 is below the precision of float32


def label(vectors: Floats, weights: Floats, relations: Sequence[str]) -> Floats:
    """Mean of the labels, or of all concepts where there is none: the baseline without a graph."""
    own = [i for i, relation in enumerate(relations) if relation == "label"]
    return mean(vectors[own] if own else vectors, weights, relations)


def mean(vectors: Floats, weights: Floats, relations: Sequence[str]) -> Floats:
    """Normalise, mean, normalise (the prompt ensemble of Radford et al. 2021)."""
    return unit(vectors.mean(0))


def weighted(vectors: Floats, weights: Floats, relations: Sequence[str]) -> Floats:
    """Mean weighted by :attr:`kgvad.kg.graph.concepts.Concept.weight`."""
    return unit(weights @ vectors)


def balanced(vectors: Floats, weights: Floats, relations: Sequence[str]) -> Floats:
    """Mean within cues, labels and facts, then over these groups weighted by :data:`SHARE`; else the plain mean.

    So the number of facts does not matter. Aliases, descriptions, effects and concepts of weight 0 are left out.
    Without cues, the labels have the weight of the facts.
    """
    groups = ["fact" if relation in FACTS else relation for relation in relations]
    total = np.zeros(vectors.shape[1], np.float32)
    for group, share in SHARE.items():
        if group == "label" and "cue" not in groups:
            share = SHARE["fact"]
        own = [i for i, other in enumerate(groups) if other == group and weights[i] > 0]
        if own:
            total += share * unit(vectors[own].mean(0))
    return unit(total) if total.any() else mean(vectors, weights, relations)


def attention(vectors: Floats, weights: Floats, relations: Sequence[str]) -> Floats:
    """Softmax attention with the label as the query and all concepts as keys.

    ``A = sum_p softmax_p(l . e_p / t + log w_p) e_p`` with the label anchor l and the temperature t.
    """
    query = label(vectors, weights, relations)
    logits = vectors @ query / ATTENTION_TEMPERATURE + np.log(np.maximum(weights, 1e-6))
    share = np.exp(logits - logits.max())
    return unit((share / share.sum()).astype(np.float32) @ vectors)


def graph(vectors: Floats, weights: Floats, relations: Sequence[str]) -> Floats:
    """Random walk with restart over the category's concepts: similar ones are likely steps, weights are the restart.

    Concepts similar to many others gain weight, outliers lose: personalised PageRank (Page et al. 1999) on the graph
    with the edges ``exp(cos / t)``.
    """
    start = weights / max(float(weights.sum()), 1e-12)
    if len(vectors) == 1:
        return unit(vectors[0])
    edges = np.exp((vectors @ vectors.T - 1) / GRAPH_TEMPERATURE)
    np.fill_diagonal(edges, 0)
    transition = edges / np.maximum(edges.sum(0, keepdims=True), 1e-12)  # columns sum to one
    mass = start
    for _ in range(STEPS):
        mass = RESTART * start + (1 - RESTART) * (transition @ mass)
    return unit(mass.astype(np.float32) @ vectors)


POOLINGS: dict[str, Pooling] = {
    "balanced": balanced,
    "weighted": weighted,
    "mean": mean,
    "attention": attention,
    "graph": graph,
    "label": label,
}
DEFAULT_POOLING = "balanced"


def pooling(name: str) -> Pooling:
    """The pooling called ``name``.

    Every pooling takes the unit vectors of a category's concepts, float32 [P, d], their weights, float32 [P], and their
    relations, and returns a unit vector, float32 [d].
    """
    if name not in POOLINGS:
        raise UsageError(f"unknown pooling {name!r}", f"choose one of {', '.join(POOLINGS)}")
    return POOLINGS[name]
