"""Tables of results, for documents and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class ResultTable:
    """A table of texts.

    Attributes
    ----------
    title
        Shown above the table; may be empty.
    header, rows
        Cells.
    text_columns
        How many of the first columns hold text; the others hold numbers and are aligned right.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1

    def as_markdown(self) -> str:
        """For a document."""
        lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in (self.header, *self.rows)]
        ruler = "|" + "---|" * self.text_columns + "---:|" * (len(self.header) - self.text_columns)
        return "\n".join(["", *([f"{self.title}:", ""] if self.title else []), lines[0], ruler, *lines[1:]])

    def as_rich(self) -> Table:
        """For the terminal."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.title or None, title_justify="left", box=box.SIMPLE_HEAD, show_lines=False)
        for number, name in enumerate(self.header):
            table.add_column(name, justify="left" if number < self.text_columns else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        return table


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
