"""Fixtures that several packages use."""

import os
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command


def pytest_collection_modifyitems(items):
    """Modules with slow tests run first, so that no worker waits for another's slow module at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def _shared() -> Path | None:
    """The folder of real data beside the checkout, or where KGVAD_SHARED points."""
    given = os.environ.get("KGVAD_SHARED")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared"
    return folder if (folder / "design.md").is_file() else None


@pytest.fixture(autouse=True)
def log_on_stderr():
    """What a command logs is seen on stderr, as a user sees it."""
    from kgvad.console import configure_logging

    configure_logging()


@pytest.fixture(scope="session", autouse=True)
def one_command_tree():
    """Commands that run in the test process share one tree; Typer would build it for each of them, in .1 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", cache(get_command))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data for research; not part of the repository."""
    folder = _shared()
    if folder is None:
        pytest.skip("the shared data folder is not beside the checkout (set KGVAD_SHARED)")
    return folder


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's own folders, except cached weights, which are read-only input.

    Nor does one run in the checkout, where Python would find the folder ``kgvad`` before the installed package.
    """
    monkeypatch.setenv("KGVAD_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory):
    """One cache folder per test session; weights come from KGVAD_WEIGHTS, the user's cache or the index."""
    before = os.environ.get("KGVAD_CACHE")
    if "KGVAD_WEIGHTS" not in os.environ:
        from kgvad.settings import cache_dir

        real = cache_dir() / "weights"
        if real.is_dir():
            os.environ["KGVAD_WEIGHTS"] = str(real)
    os.environ["KGVAD_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        os.environ.pop("KGVAD_CACHE", None)
    else:
        os.environ["KGVAD_CACHE"] = before


@pytest.fixture
def weights():
    """``weights(name)``: folder of real pretrained weights, or a skip that says how to get them."""
    from kgvad.errors import WeightsError
    from kgvad.weights import find

    def get(name: str) -> Path:
        try:
            return find(name)
        except WeightsError as error:
            pytest.skip(f"{error}")

    return get


@pytest.fixture
def only_weights(weights, tmp_path, monkeypatch):
    """``only_weights(name)``: these are the only pretrained weights here, and nothing is fetched."""

    def leave(name: str) -> None:
        folder = weights(name)
        (tmp_path / "weights").mkdir()
        (tmp_path / "weights" / name).symlink_to(folder)
        monkeypatch.setenv("KGVAD_WEIGHTS", str(tmp_path / "weights"))
        monkeypatch.setenv("KGVAD_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("KGVAD_OFFLINE", "1")

    return leave
