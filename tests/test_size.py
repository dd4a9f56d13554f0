"""Files and functions stay short enough to be read in one sitting."""

import ast
import importlib
from pathlib import Path

import kgvad

FILE_LINES, FUNCTION_LINES = 400, 60
ROOTS = [Path(kgvad.__file__).parent] + [
    Path(importlib.import_module(f"kgvad.{name}").__file__).parent
    for name in ("kg", "anchors", "video", "detector", "explain", "watch")
]
SOURCES = sorted(path for root in ROOTS for path in root.rglob("*.py"))


def test_files_are_short():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    long = [f"{path}: {lines} lines" for path, lines in lengths.items() if lines > FILE_LINES]
    assert SOURCES and not long, "\n".join(long)


def test_functions_are_short():
    """Lines of code without the docstring, and of commands, whose parameters are options, without these."""
    long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
                first = node.body[0]
                documented = ast.get_docstring(node) is not None
                docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
                start = first.lineno if path.parent.name == "cli" else node.lineno
                lines = node.end_lineno - start + 1 - docstring
                if lines > FUNCTION_LINES:
                    long.append(f"{path}:{node.lineno} {node.name}: {lines} lines")
    assert not long, "\n".join(long)
