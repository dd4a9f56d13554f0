"""CSV files as spreadsheets write and open them."""

from __future__ import annotations

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def delimiter_of(header: str) -> str | None:
    """What is between the cells of a table, by its first line: tab, semicolon or comma; ``None``: none of them."""
    return next((mark for mark in "\t;," if mark in header), None)


def without_formula(text: str) -> str:
    """``text``, with an apostrophe in front where a spreadsheet would run it as a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
