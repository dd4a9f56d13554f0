"""The language of a text, by its small words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Language = Literal["en", "de"]
_WORDS: dict[Language, str] = {
    "en": "the a an is are was were and of in on at to with no not there then he she they it from by",
    "de": "der die das ein eine einen einem ist sind war wurde und in im auf mit kein keine nicht es dann er sie zu",
}
SAMPLE = 200  # captions whose language is looked at
SENTENCE_WORDS = 6  # a caption; shorter ones, such as "car crash at night", have too few small words to tell
LEAST_SHARE = 0.12  # of a language's own small words, below which the language is another


def small_words(language: Language) -> set[str]:
    """Articles, pronouns, prepositions and the like."""
    return set(_WORDS[language].split())


def language_of(text: str) -> Language | None:
    """The language of a text by its small words; ``None``: neither English nor German."""
    words = re.findall(r"[^\W\d_]+", text.casefold())[:5000]
    if not words:
        return None
    shares = {language: sum(word in small_words(language) for word in words) / len(words) for language in _WORDS}
    best = max(shares, key=lambda language: shares[language])
    return best if shares[best] >= LEAST_SHARE else None


def may_be_english(texts: Sequence[str]) -> bool:
    """Whether captions of one author are English as far as some of them tell; a few words each do not tell."""
    sample = texts[:: 1 + len(texts) // SAMPLE]
    text = " ".join(sample)
    letters = [letter for letter in text if letter.isalpha()]
    if 2 * sum(not letter.isascii() for letter in letters) > len(letters):
        return False
    return len(text.split()) < SENTENCE_WORDS * len(sample) or language_of(text) == "en"
