"""The claims in a sentence: categories, times, entities, counts, absences, and what else it states."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from kgvad.explain.checked_text import ClaimKind
from kgvad.explain.claims.times import TimeWords, time_words
from kgvad.explain.claims.vocabulary import mentions
from kgvad.text_language import Language, small_words

MORE_WORDS = 3  # content words beside those of other claims, from which a sentence states something of its own
EVENT = "event"  # value of a claim about the number of events
ANY = "any"  # value of a claim about abnormal events of whatever category

_NUMBERS: dict[Language, tuple[str, ...]] = {  # from two
    "en": ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    "de": ("zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"),
}
_NEGATION: dict[Language, str] = {
    "en": r"\b(?:no|not|without|never|neither|nor|nobody|lacks|absence of|free of)\b",
    "de": r"\b(?:kein\w*|nicht|ohne|nie|niemals|weder|niemand)\b",
}
_ABNORMAL: dict[Language, str] = {
    "en": r"(?:anomal(?:y|ies|ous)|abnormal\w*|unusual|incidents?|events?|suspicious|crimes?|out of the ordinary)",
    "de": r"(?:Anomalie\w*|Ereignis\w*|Auffällig\w*|ungewöhnlich\w*|Vorfall\w*|Zwischenf\w+|verdächtig\w*|Straftat\w*)",
}
_NOTHING: dict[Language, str] = {
    "en": r"\bnothing\s+(?:\w+\s+){0,2}?(?:happen\w*|occur\w*|unusual|abnormal|suspicious|out of)|\buneventful\b",
    "de": r"\b(?:nichts\s+(?:\w+\s+){0,2}?(?:passiert|geschieht|\w+liches|\w+tiges)|ereignislos)\b",
}
_ORDER: dict[Language, re.Pattern[str]] = {
    "en": re.compile(r"\b(?P<word>before|after)\b(?!\s+(?:that|this|which|\d))", re.IGNORECASE),
    "de": re.compile(r"\b(?P<word>bevor|nachdem)\b", re.IGNORECASE),
}
_EVENTS: dict[Language, str] = {  # words for events, to be counted
    "en": r"(?:events|incidents|anomalies)",
    "de": r"(?:Ereignisse\w*|Vorfälle\w*|Anomalien)",
}
_ABOUT_REPORTS = """event events incident incidents anomaly anomalies abnormal unusual category likely most probably
possibly clearly video footage clip recording starts start started begins began ends ended lasts lasted peaks peak
occurs occurred happens happened takes place shows show seen visible score confidence detected found first second third
between seconds minutes time zeit around about during one either or evidence graph knowledge because kind also
ereignis ereignisse vorfall kategorie wahrscheinlich wahrscheinlichste zeigt beginnt endet dauert liegt findet statt
erste zweite minuten sekunden etwa gegen oder höhepunkt sichtbar aufnahme"""  # words that state nothing about the scene
_IRREGULAR = {
    "stole": "steal", "stolen": "steal", "shot": "shoot", "shots": "shoot", "fought": "fight", "rob": "robb",
    "robs": "robb", "thief": "theft", "thieves": "theft",
}  # fmt: skip
_SUFFIX = re.compile(r"(?:eries|ery|ings?|ers?|ed|es|s|isms?|ised|ized|ising|izing|ists?|ions?|ies|y|e)$")


@dataclass(frozen=True)
class FoundClaim:
    """A claim before it is checked.

    Attributes
    ----------
    kind, text
        As of :class:`~kgvad.explain.checked_text.Claim`.
    values
        Categories (a word may name several), the entity, or :data:`ANY`.
    number
        Of a count.
    time
        Of a time claim.
    parts
        Of an order: what comes first, and what comes second.
    """

    kind: ClaimKind
    text: str
    values: tuple[str, ...] = ()
    number: int | None = None
    time: TimeWords | None = None
    parts: tuple[str, str] | None = None


class CategoryWords:
    """Finds names of categories in sentences, also in other grammatical forms ("robbed" for robbery).

    Parameters
    ----------
    names
        Category to its names: label and aliases in the languages of the texts.
    """

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self.names = names

    @cached_property
    def _stems(self) -> dict[tuple[str, ...], list[str]]:
        found: dict[tuple[str, ...], list[str]] = {}
        for category, names in self.names.items():
            for name in names:
                key = tuple(map(stem, re.findall(r"[^\W_]+", spaced(name))))
                if key and category not in found.setdefault(key, []):
                    found[key].append(category)
        return found

    def find(self, sentence: str) -> Iterator[tuple[tuple[str, ...], re.Match[str], int]]:
        """Categories that a word or several name, the first word, and the character after the last."""
        words = list(re.finditer(r"[^\W_]+", sentence))
        longest = max(map(len, self._stems), default=0)
        at = 0
        while at < len(words):
            for length in range(min(longest, len(words) - at), 0, -1):
                key = tuple(stem(word.group()) for word in words[at : at + length])
                if key in self._stems:
                    yield tuple(self._stems[key]), words[at], words[at + length - 1].end()
                    at += length - 1
                    break
            at += 1


def spaced(text: str) -> str:
    """``RoadAccidents`` as ``Road Accidents``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)


def stem(word: str) -> str:
    """``word`` in lower case without its English ending; at least four letters are kept."""
    word = word.casefold()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    shorter = _SUFFIX.sub("", word)
    return shorter if len(shorter) >= 4 else word


def find_claims(sentence: str, language: Language, duration_s: float, categories: CategoryWords) -> list[FoundClaim]:
    """All claims of ``sentence``; one that has no other claim states itself."""
    sentence = spaced(sentence)
    time = time_words(sentence, duration_s)
    content = sentence if time is None else time.rest
    found = [*_absences(content, language, categories)]
    if time is not None:
        found.append(FoundClaim("time", time.text, time=time))
    order = _order(content, language)
    if order is not None:
        found.append(order)
    if not any(claim.kind == "absence" and claim.values == (ANY,) for claim in found):
        found += _categories(content, language, categories)
    found += _entities(content, language)
    found += _event_counts(content, language)
    if not found or _says_more(content, found, language):
        found.append(FoundClaim("statement", content))
    return found


def _says_more(content: str, found: Sequence[FoundClaim], language: Language) -> bool:
    """Whether a sentence has content words beside those of its claims."""
    if all(claim.kind == "absence" for claim in found):
        return False
    known = {word for claim in found for word in re.findall(r"\w+", claim.text.casefold())}
    return len(content_words(content, language) - known) >= MORE_WORDS


def content_words(text: str, language: Language) -> set[str]:
    """The words of ``text`` that say something about a scene."""
    return set(re.findall(r"[^\W\d_]+", text.casefold())) - small_words(language) - set(_ABOUT_REPORTS.split())


def _negated(sentence: str, start: int, language: Language) -> bool:
    """Whether a negation stands at most four words before ``start``, in the same clause."""
    before = re.split(r"[,;:.]|\bbut\b|\baber\b", sentence[:start])[-1]
    last = " ".join(before.split()[-4:])
    return re.search(_NEGATION[language], last, re.IGNORECASE) is not None


def _absences(sentence: str, language: Language, categories: CategoryWords) -> Iterator[FoundClaim]:
    nothing = re.search(_NOTHING[language], sentence, re.IGNORECASE)
    if nothing is not None:
        yield FoundClaim("absence", nothing.group(), (ANY,))
        return
    for match in re.finditer(rf"\b{_ABNORMAL[language]}\b", sentence, re.IGNORECASE):
        if _negated(sentence, match.start(), language):
            yield FoundClaim("absence", match.group(), (ANY,))
            return
    for values, match, end in categories.find(sentence):
        if _negated(sentence, match.start(), language):
            yield FoundClaim("absence", sentence[match.start() : end], values)
    seen = set()
    for mention in mentions(sentence, language):
        if _negated(sentence, mention.start, language) and mention.entity not in seen:
            seen.add(mention.entity)
            yield FoundClaim("absence", mention.text, (mention.entity,))


def _categories(sentence: str, language: Language, categories: CategoryWords) -> Iterator[FoundClaim]:
    seen = set()
    for values, match, end in categories.find(sentence):
        if not _negated(sentence, match.start(), language) and values not in seen:
            seen.add(values)
            yield FoundClaim("category", sentence[match.start() : end], values)
    if seen:
        return
    abnormal = re.search(rf"\b{_ABNORMAL[language]}\b", sentence, re.IGNORECASE)
    if abnormal is not None and not _negated(sentence, abnormal.start(), language):
        yield FoundClaim("category", abnormal.group(), (ANY,))


def _entities(sentence: str, language: Language) -> Iterator[FoundClaim]:
    seen = set()
    for mention in mentions(sentence, language):
        if _negated(sentence, mention.start, language) or mention.entity in seen:
            continue
        seen.add(mention.entity)
        yield FoundClaim("entity", mention.text, (mention.entity,))
    for entity, number, text in counts(sentence, language):
        yield FoundClaim("count", text, (entity,), number=number)


def counts(sentence: str, language: Language) -> Iterator[tuple[str, int, str]]:
    """Entities that a number stands before, with at most two words between: "two armed policemen"."""
    numbers = {word: number for number, word in enumerate(_NUMBERS[language], start=2)}
    seen: set[str] = set()
    for mention in mentions(sentence, language):
        if mention.entity in seen or not _can_be_counted(mention.text, language):
            continue
        match = re.search(r"\b(\d{1,3}|[^\W\d_]+)\s+(?:[^\W\d_]+\s+){0,2}$", sentence[: mention.start])
        words = [] if match is None else match.group().split()
        for at, word in enumerate(words):
            number = int(word) if word.isdigit() else numbers.get(word.casefold())
            if number is not None and number > 1 and not any(_can_be_counted(w, language) for w in words[at + 1 :]):
                seen.add(mention.entity)
                yield mention.entity, number, f"{' '.join(words[at:])} {mention.text}"
                break


def _event_counts(sentence: str, language: Language) -> Iterator[FoundClaim]:
    numbers = _NUMBERS[language]
    pattern = rf"\b(\d{{1,3}}|{'|'.join(numbers)})\s+(?:\w+\s+)?{_EVENTS[language]}\b"
    for match in re.finditer(pattern, sentence, re.IGNORECASE):
        word = match[1].casefold()
        number = numbers.index(word) + 2 if word in numbers else int(word)
        yield FoundClaim("count", match.group(), (EVENT,), number=number)


def _can_be_counted(word: str, language: Language) -> bool:
    """Whether ``word`` can follow a number: an English plural; a German noun."""
    if language == "en":
        return re.search(r"(?:[^s]s|men|people|children|police|staff)$", word.casefold()) is not None
    return word[:1].isupper()


def _order(sentence: str, language: Language) -> FoundClaim | None:
    match = _ORDER[language].search(sentence)
    if match is None:
        return None
    left, right = sentence[: match.start()].strip(" ,"), sentence[match.end() :].strip(" ,.")
    if not left:  # "After the crash, people run away."
        right, _, left = right.partition(",")
    if len(left.split()) < 2 or len(right.split()) < 2:
        return None
    is_after = match["word"].casefold() in ("after", "nachdem")
    return FoundClaim(
        "time", match.group(), parts=(right.strip(), left.strip()) if is_after else (left.strip(), right.strip())
    )
