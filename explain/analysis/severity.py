"""How grave a category is: a fixed table of our own, by what may happen to people, not by what the video shows.

3  people are likely to be killed or badly hurt
2  people are threatened, hurt or put in danger
1  goods or order suffer, people usually do not
"""

from __future__ import annotations

from collections.abc import Iterable

HARM = {
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


def harm_of(categories: Iterable[str]) -> dict[str, int]:
    """Levels of the categories that the table knows; spelling without regard to case and spaces."""
    known = {_bare(name): level for name, level in HARM.items()}
    return {name: known[_bare(name)] for name in categories if _bare(name) in known}


def _bare(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())
