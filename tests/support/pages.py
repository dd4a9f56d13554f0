"""Commands and code in README and the pages of the documentation."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDS_NETWORK = "# needs a network"
GUIDES = [ROOT / "README.md", ROOT / "docs/quick-start.md", *sorted((ROOT / "docs/guides").glob("*.md"))]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`(kgvad [^`]+)`")


@dataclass(frozen=True)
class Line:
    """A command on a page: what is typed, split as a shell does, and the file that its output goes to."""

    text: str
    words: tuple[str, ...]
    stdout: str | None
    needs_network: bool

    def __str__(self) -> str:
        return self.text


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return [body for name, body in _FENCE.findall(page.read_text("utf-8")) if name == language]


def commands(page: Path) -> list[Line]:
    """Commands of the console blocks and of the tables of a page, in order."""
    text = page.read_text("utf-8")
    found: list[tuple[int, Line]] = []
    for block in _FENCE.finditer(text):
        if block[1] == "console":
            body = block[2].replace("\\\n", " ")
            network = body.startswith(NEEDS_NETWORK)
            found += [(block.start(), _line(line, network)) for line in body.splitlines() if line.startswith("kgvad ")]
    for row in re.finditer(r"^\|.*$", text, re.MULTILINE):
        found += [(row.start(), _line(code, "://" in code)) for code in _CODE.findall(row[0])]
    return [line for _, line in sorted(found, key=lambda one: one[0])]


def mentions(page: Path) -> list[Line]:
    """Every `kgvad` command of a page, in blocks of any kind and within sentences, whether it can be run or not."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    lines = [line.strip() for _, body in _FENCE.findall(text) for line in body.splitlines()]
    found = [line for line in lines if line.startswith("kgvad ")]
    return [_line(line, False) for line in (*found, *_CODE.findall(_FENCE.sub("", text)))]


def _line(text: str, needs_network: bool) -> Line:
    words = shlex.split(text, comments=True)
    stdout = None
    if ">" in words:
        words, stdout = words[: words.index(">")], words[words.index(">") + 1]
    return Line(text.partition(" #")[0].strip(), tuple(words[1:]), stdout, needs_network)
