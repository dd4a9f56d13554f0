"""Imports run one way, between packages and inside them, and everything is installed."""

import ast
import importlib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

import kgvad

PACKAGES = ["kg", "anchors", "video", "detector", "explain", "watch"]  # each imports packages before it
# Beside the commands; the rest of the top folder is the core.
TOP = {
    "__init__",
    "__main__",
    "captioning",
    "checking",
    "doctor",
    "explain_cluster",
    "explainers",
    "given",
    "inventory",
    "python_api",
    "reference",
    "session",
    "streams",
    "watching",
}
CORE = {path.stem for path in Path(kgvad.__file__).parent.glob("*.py")} - TOP  # imports no package
# Modules and sub-packages of a package by layer; each imports layers before it, and nothing else of its own layer.
LAYERS = {
    "kg": [
        {"properties", "tables"},
        {"store"},
        {"graph"},
        {"sources"},
        {"rdf", "draw", "stats", "datasets"},
    ],
    "detector": [
        {"api", "thresholds"},
        {"registry", "protocol"},
        {"data"},
        {"run"},
        {"models", "shipped"},
        {"scoring"},
        {"evaluation"},
        {"training"},
        {"describe"},
    ],
    "explain": [
        {"parts"},
        {"checked_text"},
        {"report", "text"},
        {"scorers"},
        {"analysis"},
        {"claims"},
        {"narration"},
        {"media", "manifest"},
        {"rendering"},
        {"explanation"},
        {"explainer"},
        {"quality", "batch"},
    ],
    "watch": [
        {"messages", "scene"},
        {"window_queue"},
        {"feed", "rows"},
        {"tracker", "archive", "camera_settings"},
        {"scene_drift", "frigate", "sinks"},
        {"watcher", "companion"},
        {"calibration"},
    ],
}
ROOTS = {name: Path(importlib.import_module(f"kgvad.{name}").__file__).parent for name in PACKAGES}


def imports(path: Path, *, for_types: bool = True) -> Iterator[tuple[str, ...]]:
    """Parts of every kgvad module that a file imports, without ``kgvad``; with or without imports for type checkers."""
    tree = ast.parse(path.read_text("utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if not for_types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "kgvad":
            parts = tuple(node.module.split(".")[1:])
            yield from [parts] if len(parts) > 1 else [(*parts, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (tuple(a.name.split(".")[1:]) for a in node.names if a.name.startswith("kgvad."))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_packages_before_it(package):
    allowed = set(PACKAGES[: PACKAGES.index(package) + 1]) | CORE
    if package == "video":
        allowed -= {"kg", "anchors"}
    if package == "explain":
        allowed |= {"templates"}
    for path in sorted(ROOTS[package].rglob("*.py")):
        assert {parts[0] for parts in imports(path)} <= allowed, path


def test_the_core_imports_no_package():
    root = Path(kgvad.__file__).parent
    for name in CORE:
        assert {parts[0] for parts in imports(root / f"{name}.py")} <= CORE, name


@pytest.mark.parametrize("package", LAYERS)
def test_inside_a_package_imports_run_one_way(package):
    root, layers = ROOTS[package], LAYERS[package]
    level = {name: number for number, names in enumerate(layers) for name in names}
    wrong = []
    for path in sorted(root.rglob("*.py")):
        unit = path.relative_to(root).parts[0].removesuffix(".py")
        if unit == "__init__":
            continue
        assert unit in level, f"{path} belongs to no layer of {package}"
        for top, *rest in imports(path, for_types=False):
            other = rest[0] if rest else None
            if top == package and other != unit and level.get(other, -1) >= level[unit]:
                wrong.append(f"{path.relative_to(root.parent)} imports {package}.{other}")
    assert not wrong, "\n".join(wrong)


def test_every_package_is_installed():
    """A folder of modules that pyproject.toml does not list would be left out of the wheel."""
    listed = {f"kgvad.{name}" for name in PACKAGES}
    for name, root in ROOTS.items():
        for folder in root.rglob("__init__.py"):
            parts = folder.parent.relative_to(root).parts
            listed.add(".".join(("kgvad", name, *parts)))
    for name in listed:
        assert importlib.import_module(name), name
    for name in ("kgvad.kg", "kgvad.templates", "kgvad.video"):  # data files that the code reads
        data = {"kgvad.kg": "facts", "kgvad.templates": "report.md.j2", "kgvad.video": "labels"}[name]
        assert (files(name) / data).is_dir() or (files(name) / data).is_file(), (name, data)
