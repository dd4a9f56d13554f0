"""Class prompts of caption words, with every count worked out by hand."""

from collections import Counter

import numpy as np
import pytest

from kgvad.detector.data.class_prompts import (
    PromptOptions,
    WordEncoder,
    class_prompts,
    count_words,
    join_words,
    rank_by_label,
    top_words,
    word_scores,
)

CAPTIONS = {
    "fight": ["A man hits a man.", "He hits him; they don't stop"],
    "fire": ["a car burns"],
    "walk": ["A man walks.", "a man stands"],
}
LABELS = {"fight": [1], "fire": [2], "walk": [0]}


def test_counts_and_scores_by_hand():
    counts = count_words(CAPTIONS, LABELS, 3)
    assert counts[1]["man"] == 2 and counts[1]["hits"] == 2 and counts[1]["don't"] == 1
    assert counts[0] == Counter({"a": 2, "man": 2, "walks": 1, "stands": 1})
    scores = word_scores(counts, 0, 0.5)
    # man: 2 in fights, 2 in normal videos; hits: 2 and 0; a: 2 and 2
    assert scores[1]["man"] == pytest.approx(2 / 2.5) and scores[1]["hits"] == pytest.approx(2 / 0.5)
    # for Normal the other way round, over all abnormal captions: a is in 2 + 1 of their places
    assert scores[0]["walks"] == pytest.approx(1 / 0.5) and scores[0]["a"] == pytest.approx(2 / 3.5)
    assert scores[2]["hits"] == 0 and set(scores[2]) == set(scores[0])  # one vocabulary for all


def test_words_of_a_video_of_two_categories_count_in_both():
    counts = count_words({"both": ["fire fight"]}, {"both": [1, 2]}, 3)
    assert counts[1] == counts[2] == Counter(["fire", "fight"])


def test_the_share_is_of_the_vocabulary_and_rounded_up():
    scores = {"a": 1.0, "b": 3.0, "c": 3.0, "d": 2.0, "e": 0.0}
    assert top_words(scores, 10) == ["b"]  # 0.5 of a word
    assert top_words(scores, 60) == ["b", "c", "d"]
    assert top_words(scores, 100) == ["b", "c", "d", "a"]  # never in the category: never in its prompt


def test_words_are_ranked_by_cosine_with_the_label():
    vectors = {"fire": [1.0, 0], "smoke": [0.8, 0.6], "dog": [0, 1.0], "flame": [0.96, 0.28]}
    words = rank_by_label(["dog", "smoke", "flame"], "fire", lambda texts: np.array([vectors[t] for t in texts]))
    assert words == ["flame", "smoke", "dog"]


def test_only_whole_top_words_that_fit_are_joined():
    def tokens(text):
        return 2 + sum(len(word) for word in text.split())  # a letter is a token

    assert join_words(["abc", "de", "fgh", "i"], tokens, 7) == "abc de"  # fgh does not fit; i would, but comes later
    assert join_words(["abcdef"], tokens, 7) == ""


def test_prompts_end_to_end():
    captions = {
        "f1": ["the thug punches the clerk"] * 3,
        "f2": ["a thug punches someone, blurry"],
        "n1": ["the clerk smiles"] * 4,
        "empty": [],
    }
    labels = {"f1": [1], "f2": [1], "n1": [0], "empty": [2]}
    order = {"punches": [1.0, 0], "thug": [0.6, 0.8], "clerk": [0, 1.0], "fighting": [1.0, 0]}
    encoder = WordEncoder(lambda t: np.array([order.get(w, [0.5, 0.5]) for w in t]), lambda t: len(t.split()) + 2, 99)
    names = ["normal", "fighting", "arson"]
    found = class_prompts(captions, labels, names, 0, encoder, PromptOptions(word_share=50))
    # vocabulary: thug, punches, clerk, smiles ("the", "a", "someone" are stop words, "blurry" is rare); half of it
    # in fights: thug and punches (never in normal videos), ranked by the label; Normal: smiles 4 / 0, clerk 4 / 3
    assert found == ("smiles clerk", "punches thug", "arson")
    everything = PromptOptions(word_share=100, stop_words=False, min_count=1, tokens=4)
    assert class_prompts(captions, labels, names, 0, encoder, everything)[0] == "smiles clerk"  # two words and the ends
