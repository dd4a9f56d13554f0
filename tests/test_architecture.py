"""The rooms import only rooms to their left."""

import ast
import importlib
from importlib.resources import files
from pathlib import Path

import pytest

import kgvad

ORDER = ["kg", "anchors", "video", "detector", "explain"]
GROUND = {
    "arrays",
    "checksums",
    "model_folder",
    "vectors",
    "console",
    "device",
    "errors",
    "files",
    "package_index",
    "processes",
    "settings",
    "weights",
}
ROOTS = {room: Path(__import__(f"kgvad.{room}", fromlist=["x"]).__file__).parent for room in ORDER}


def imported(path: Path) -> set[str]:
    """First name after ``kgvad`` in every import of a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "kgvad":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("kgvad.")}
    return found


@pytest.mark.parametrize("room", ORDER)
def test_room_imports_only_to_its_left(room):
    allowed = set(ORDER[: ORDER.index(room) + 1]) | GROUND
    if room == "video":
        allowed -= {"kg", "anchors"}
    if room == "explain":
        allowed |= {"templates"}
    for path in sorted(ROOTS[room].rglob("*.py")):
        assert imported(path) <= allowed, path


def test_ground_floor_imports_no_room():
    root = Path(kgvad.__file__).parent
    for name in GROUND:
        assert imported(root / f"{name}.py") <= GROUND, name


def test_every_package_is_installed():
    """A folder of modules that pyproject.toml does not list would be left out of the wheel."""
    listed = {f"kgvad.{room}" for room in ORDER}
    for room, root in ROOTS.items():
        for folder in root.rglob("__init__.py"):
            parts = folder.parent.relative_to(root).parts
            listed.add(".".join(("kgvad", room, *parts)))
    for name in listed:
        assert importlib.import_module(name), name
    for name in ("kgvad.kg", "kgvad.templates", "kgvad.video"):  # data files that the code reads
        data = {"kgvad.kg": "facts", "kgvad.templates": "report.md.j2", "kgvad.video": "labels"}[name]
        assert (files(name) / data).is_dir() or (files(name) / data).is_file(), (name, data)
