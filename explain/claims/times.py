"""Times that a sentence names: clock times, spans, parts of the video, in English and German."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_CLOCK = r"(?:\d{1,2}:)?\d{1,3}:\d{2}(?:[.,]\d+)?"
_SECONDS = (
    r"\d{1,6}(?:[.,]\d+)?\s*"
    r"(?:seconds?|secs?|s|minutes?|mins?|min|hours?|hrs?|h|Sekunden?|Sek\.?|Minuten?|Stunden?|Std\.?)\b"
)
_NUMBERED = r"(?:second|minute|hour|Sekunde|Minute|Stunde)\s+\d{1,6}\b(?!\s*[-–]\s*[a-z])"  # no 18-wheeler
_POINT = rf"(?:{_CLOCK}(?:\s*(?:min|s|h))?\b|{_SECONDS}|\b(?:at|around|by|from|in|bei|ab)\s+{_NUMBERED})"
_SPAN = re.compile(
    rf"(?:\b(?:from|between|von|zwischen)\s+)?(?P<a>(?P<unit>\b{_NUMBERED})|{_POINT}|\d+(?:[.,]\d+)?)\s*"
    rf"(?:to|until|and|bis|und|[-–—])\s*(?P<b>{_NUMBERED}|{_POINT}|(?(unit)\d{{1,6}}\b|(?!)))",
    re.IGNORECASE,
)
_AT = re.compile(
    rf"\b(?:(?P<word>at|around|about|by|near|after|bei|um|nach|gegen|ca\.?)\s+(?:the\s+)?)?(?P<t>{_POINT})"
    r"(?:\s+(?:in|into the video|mark|im Video))?",
    re.IGNORECASE,
)
_LENGTH = re.compile(
    rf"\b(?:for|lasts?|lasting|during|within|dauert|lang)\s+(?:about\s+|etwa\s+)?{_POINT}|{_POINT}[\s-]+(?:long|lang)\b",
    re.IGNORECASE,
)
_VIDEO = r"(?:\s+(?:of|in|des|im|der)\s+(?:the\s+|dem\s+)?(?:video|clip|footage|recording|Videos?|Clips?|Aufnahme))?"
_WHOLE = r"(?:the|der|die|dem|den)?\s*"

_UNITS = ((r"(?:\b|\d)min", 60.0), (r"(?:\b|\d)(?:h|std|stund)", 3600.0))  # seconds otherwise

Part = Callable[[float], tuple[float, float]]


def _share(start: float, end: float) -> Part:
    return lambda duration: (start * duration, end * duration)


_PARTS: tuple[tuple[str, Part], ...] = (
    (rf"\b(?:in|during|in der)\s+{_WHOLE}(?:first|ersten)\s+(?:half|Hälfte){_VIDEO}", _share(0, 0.5)),
    (rf"\b(?:in|during|in der)\s+{_WHOLE}(?:second|last|latter|zweiten)\s+(?:half|Hälfte){_VIDEO}", _share(0.5, 1)),
    (rf"\b(?:in|during|im)\s+{_WHOLE}(?:first|ersten)\s+(?:third|Drittel){_VIDEO}", _share(0, 1 / 3)),
    (rf"\b(?:in|during|im)\s+{_WHOLE}(?:last|final|letzten)\s+(?:third|Drittel){_VIDEO}", _share(2 / 3, 1)),
    (rf"\b(?:in|near|around|in der)\s+{_WHOLE}(?:middle|Mitte){_VIDEO}", _share(1 / 3, 2 / 3)),
    (rf"\b(?:at|in|near|am|zu)\s+{_WHOLE}(?:beginning|start|Anfang|Beginn){_VIDEO}", _share(0, 1 / 3)),
    (rf"\b(?:at|near|towards?|by|am|gegen)\s+{_WHOLE}(?:very\s+)?(?:end|Ende){_VIDEO}", _share(2 / 3, 1)),
    (r"\b(?:initially|zunächst|anfangs)\b", _share(0, 1 / 3)),
)
_NAMED = tuple((re.compile(pattern, re.IGNORECASE), part) for pattern, part in _PARTS)


@dataclass(frozen=True)
class TimeWords:
    """A time that a sentence names.

    Attributes
    ----------
    text
        Its words.
    start_s, end_s
        The span, seconds; equal for a point in time.
    rest
        The sentence without these words: what is claimed to happen then.
    """

    text: str
    start_s: float
    end_s: float
    rest: str


def time_words(sentence: str, duration_s: float) -> TimeWords | None:
    """The first time that ``sentence`` names; lengths ("for 5 seconds", "5 seconds long") are none."""
    length = _LENGTH.search(sentence)
    blanked = sentence
    if length is not None:
        blanked = sentence[: length.start()] + " " * (length.end() - length.start()) + sentence[length.end() :]
    for match in (_SPAN.search(blanked), _AT.search(blanked)):
        if match is not None:
            groups = match.groupdict()
            first = _seconds(groups.get("a") or groups["t"], groups.get("b"))
            last = _seconds(groups["b"], groups["a"]) if groups.get("b") else first
            return _found(sentence, match, min(first, last), max(first, last))
    for pattern, part in _NAMED:
        match = pattern.search(sentence)
        if match is not None:
            return _found(sentence, match, *part(duration_s))
    return None


def _found(sentence: str, match: re.Match[str], start_s: float, end_s: float) -> TimeWords:
    rest = re.sub(r"\s+", " ", f"{sentence[: match.start()]} {sentence[match.end() :]}").strip(" ,;:()[]-–")
    rest = re.sub(r" (?=[.,;!?])", "", rest)
    return TimeWords(match.group().strip(), start_s, end_s, rest)


def _seconds(text: str, other: str | None = None) -> float:
    """Seconds of ``1:05``, ``65 s`` or ``2 minutes``; a bare number has the unit of ``other``."""
    if ":" in text:
        clock = re.search(_CLOCK, text)
        assert clock is not None
        parts = [float(part.replace(",", ".")) for part in clock.group().split(":")]
        return sum(part * 60.0**power for power, part in enumerate(reversed(parts)))
    found = re.search(r"\d[\d.,]*", text)
    assert found is not None
    number = float(found.group().strip(".,").replace(",", "."))
    unit = text if re.search(r"[a-zA-Z]", text) else other or "s"
    return number * next((seconds for pattern, seconds in _UNITS if re.search(pattern, unit, re.IGNORECASE)), 1.0)
