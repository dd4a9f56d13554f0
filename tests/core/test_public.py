"""The public interface: names, their documentation and the types that their signatures use."""

import ast
import inspect
import re
import subprocess
import sys
import types
import typing
from importlib.metadata import version
from pathlib import Path

import pytest
from pydantic import BaseModel

import kgvad

PUBLIC = {name: getattr(kgvad, name) for name in kgvad.__all__}


@pytest.mark.parametrize("name", kgvad.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name):
    assert PUBLIC[name].__doc__, name
    assert name in dir(kgvad)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(kgvad.__file__).read_text("utf-8"))
    seen = {a.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names if a.asname}
    assert sorted(seen) == kgvad.__all__


def test_the_version_is_that_of_the_distribution():
    assert kgvad.__version__ == version("kgvad")


def callables(name, value):
    """The functions that make up a public name: itself, or constructor and public methods."""
    if not inspect.isclass(value):
        return {name: value}
    found = {
        f"{name}.{member}": getattr(function, "__func__", function)
        for member, function in vars(value).items()
        if not member.startswith("_") and isinstance(function, (types.FunctionType, classmethod, staticmethod))
    }
    if "__init__" in vars(value) and not issubclass(value, (BaseModel, BaseException)):
        found[f"{name}()"] = value.__init__
    return found


def own_types(annotation):
    """Names of kgvad's own classes in an annotation, looked up as a type checker does."""
    if isinstance(annotation, str):
        return set(re.findall(r"\b[A-Z]\w+", annotation))
    own = {annotation.__name__} if getattr(annotation, "__module__", "").startswith("kgvad.") else set()
    return own.union(*(own_types(argument) for argument in typing.get_args(annotation)))


@pytest.mark.parametrize("name", kgvad.__all__)
def test_arguments_and_results_of_public_names_are_public(name):
    classes = {cls.__name__ for module in list(sys.modules.values()) for cls in classes_of(module)}
    for where, function in callables(name, PUBLIC[name]).items():
        for argument, annotation in inspect.get_annotations(function).items():
            private = (own_types(annotation) & classes) - set(kgvad.__all__)
            assert not private, f"{where}: {argument} is {annotation}"


def classes_of(module):
    """Classes that a module of kgvad defines."""
    if not getattr(module, "__name__", "").startswith("kgvad"):
        return []
    return [v for v in vars(module).values() if inspect.isclass(v) and v.__module__ == module.__name__]


@pytest.mark.parametrize("name", kgvad.__all__)
def test_files_may_be_strings_and_paths(name):
    for where, function in callables(name, PUBLIC[name]).items():
        for argument, annotation in inspect.get_annotations(function).items():
            parts = set(re.split(r"[^\w.]+", str(annotation)))
            if "Path" in parts and argument != "return" and not where.endswith("()"):
                assert "str" in parts, f"{where}: {argument} is {annotation}"


def test_importing_kgvad_imports_nothing_heavy():
    code = "import sys, kgvad; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd="/", text=True) == "set()\n"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'explane'"):
        _ = kgvad.explane
