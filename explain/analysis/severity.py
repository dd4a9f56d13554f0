"""Severity of a category: a fixed table, by the harm that people usually suffer, independent of the video.

3  people are likely to be killed or seriously injured
2  people are threatened, injured or endangered
1  damage to property or order; people are usually not harmed
"""

from __future__ import annotations

from typing import Literal

Level = Literal[1, 2, 3]

SEVERITIES: dict[str, Level] = {
    "Abuse": 3,
    "Arrest": 1,
    "Arson": 3,
    "Assault": 3,
    "Burglary": 2,
    "CarAccident": 3,
    "Explosion": 3,
    "Fighting": 2,
    "Riot": 2,
    "RoadAccidents": 3,
    "Robbery": 2,
    "Shooting": 3,
    "Shoplifting": 1,
    "Stealing": 1,
    "Vandalism": 1,
}


def severity_of(category: str) -> Level | None:
    """Severity of a category, spelled in any case and with or without spaces; ``None`` if it is not in the table."""
    levels = {_letters(name): level for name, level in SEVERITIES.items()}
    return levels.get(_letters(category))


def _letters(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())
