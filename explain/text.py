"""Names and given texts as the reports show them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping


def plain(text: str) -> str:
    """``text`` on one line, without control characters and invisible marks that turn the reading direction."""
    swapped = "".join(" " if char in "\n\r\t" else char for char in text)
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") else char
        for char in swapped
    )


def words(name: str) -> str:
    """``RoadAccidents`` as ``road accidents``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name).lower()


def category_text(name: str, texts: Mapping[str, str]) -> str:
    """A category in words: those of its category table, else its name, in lower case where it is ``RoadAccidents``."""
    is_words = " " in name or name.isupper()
    return texts.get(name, name if is_words else words(name))
