"""Words for entities, in English and German, from ``vocabulary.toml``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from kgvad.text_language import Language
from kgvad.toml import tomllib


@dataclass(frozen=True)
class Entity:
    """A kind of person, object or place.

    Attributes
    ----------
    name
        Key in the vocabulary.
    words
        Words by language; the first is the one that reports show.
    kind_of
        Broader entity.
    group
        Entities of one group exclude each other for the same object.
    """

    name: str
    words: dict[str, tuple[str, ...]]
    kind_of: str | None
    group: str | None


@dataclass(frozen=True)
class Mention:
    """A word of a text that names an entity."""

    entity: str
    start: int  # character in the text
    end: int
    text: str


@cache
def entities() -> dict[str, Entity]:
    """All entities by name."""
    content = tomllib.loads((files("kgvad.explain.claims") / "vocabulary.toml").read_text("utf-8"))
    return {
        name: Entity(
            name,
            {language: tuple(one[language]) for language in ("en", "de")},
            one.get("kind_of"),
            one.get("group"),
        )
        for name, one in content.items()
    }


@cache
def _pattern(language: Language) -> tuple[re.Pattern[str], dict[str, tuple[str, ...]]]:
    """One pattern for all words of a language, longest first, and the entities of each word."""
    owners: dict[str, list[str]] = {}
    for entity in entities().values():
        for word in entity.words[language]:
            owners.setdefault(word.casefold(), []).append(entity.name)
    words = sorted(owners, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)
    return pattern, {word: tuple(names) for word, names in owners.items()}


def mentions(text: str, language: Language) -> Iterator[Mention]:
    """Words of ``text`` that name entities; a word of two entities ("boy") gives two mentions."""
    pattern, owners = _pattern(language)
    for match in pattern.finditer(text):
        for name in owners[match.group().casefold()]:
            yield Mention(name, match.start(), match.end(), match.group())


def named(text: str) -> set[str]:
    """Entities that an English ``text`` names, with all broader ones."""
    return set(_with_broader(mention.entity for mention in mentions(text, "en")))


def rivals(name: str) -> set[str]:
    """Entities that exclude ``name`` for the same object."""
    group = entities()[name].group
    return {one.name for one in entities().values() if group is not None and one.group == group and one.name != name}


def narrower_or_same(name: str) -> set[str]:
    """``name`` and the entities that are kinds of it."""
    return {one for one in entities() if name in _with_broader([one])}


def _with_broader(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        step: str | None = name
        while step is not None:
            yield step
            step = entities()[step].kind_of
