"""A claim checker whose captions have known vectors, for tests of claims and narratives."""

import numpy as np
from toy_bank import DIM, toy_bank

from kgvad.explain.claims.check import ClaimChecker
from kgvad.explain.claims.evidence import Evidence, TimedCaption
from kgvad.explain.claims.extract import CategoryWords, stem

WORDS = CategoryWords({"Fighting": ["fighting", "fight"], "Arson": ["arson", "fire setting"], "Robbery": ["robbery"]})


class Texts:
    """Vectors by word: ``walk``, ``fight`` and ``fire`` have axes of their own, other words share the rest."""

    name = fingerprint = "toy"
    dim, joint = DIM, None

    def encode(self, texts):
        rows = np.zeros((len(texts), DIM), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in stems(text):
                row[{"walk": 0, "fight": 1, "fire": 2}.get(word, 3 + sum(map(ord, word)) % (DIM - 3))] += 1
            row /= np.linalg.norm(row) or 1
        return rows


def stems(text):
    return [stem(word.strip(".,")) for word in text.split()]


CAPTIONS = [
    "A man walks along a street.",
    "Two men walk past a shop.",
    "Two men fight beside a car.",
    "Two men fight and a man falls.",
    "A woman walks to a car with a phone.",
    "A woman walks away.",
]


def checker(captions=CAPTIONS, report=None):
    timed = [TimedCaption(10.0 * index, 250 * index, text) for index, text in enumerate(captions)]
    return ClaimChecker(Evidence(60.0, 25.0, timed, toy_bank(), Texts(), report), WORDS)
