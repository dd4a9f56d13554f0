"""Files of a hub: found by pattern, downloaded with resume, checked by hash."""

import pytest
from hub_server import Hub as Server
from hub_server import serve

from kgvad.errors import DatasetError, UsageError
from kgvad.sources.hub import Hub, fetch
from kgvad.sources.recipe import Download

DATA = bytes(range(256)) * 4000


@pytest.fixture
def server(monkeypatch):
    with serve(Server({"a/b": {"x.zip": DATA, "lists/one.txt": b"1\n", "lists/two.txt": b"2\n"}})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def one(match, **options):
    (file,) = Hub().find(Download(repository="a/b", match=match, **options))
    return file


def test_files_are_found_by_pattern_with_size_and_hash(server):
    assert (one("*.zip").size, len(one("*.zip").digest)) == (len(DATA), 64)
    assert len(one("lists/one.txt").digest) == 40  # a small file has the hash of git
    assert len(Hub().find(Download(repository="a/b", match="lists/*", several=True))) == 2


def test_what_is_not_as_expected_is_named(server):
    with pytest.raises(DatasetError, match=r"a/b has 0 files '\*\.npy' where the recipe expects one \(it has: lists/o"):
        one("*.npy")
    with pytest.raises(DatasetError, match=r"2 files .* expects one \(it has: lists/one.txt, lists/two.txt"):
        one("lists/*")
    with pytest.raises(DatasetError, match="no/where is not on the hub"):
        Hub().find(Download(repository="no/where", match="*"))
    server.gated.add("a/b")
    with pytest.raises(DatasetError, match=r"a/b is given on request only; ask for access on http.*then set HF_TOKEN"):
        one("*.zip")


def test_a_file_is_downloaded_once(server, tmp_path):
    path = fetch(one("*.zip"), tmp_path)
    assert path.read_bytes() == DATA and fetch(one("*.zip"), tmp_path) == path
    assert fetch(one("lists/two.txt"), tmp_path).read_bytes() == b"2\n"
    assert [name for name, _ in server.ranges] == ["x.zip", "lists/two.txt"]


def interrupted(server, tmp_path, monkeypatch):
    """A download that ends after 100,000 bytes, as when the process is killed."""
    import huggingface_hub.file_download as library

    file = one("*.zip")
    with monkeypatch.context() as patch:
        patch.setattr(library.constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what is lost of an interrupted transfer
        patch.setattr(library.time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        server.cut["x.zip"] = 100_000
        with pytest.raises(KeyboardInterrupt):
            fetch(file, tmp_path)
    return file


def test_an_interrupted_download_continues(server, tmp_path, monkeypatch):
    file = interrupted(server, tmp_path, monkeypatch)
    part = next(tmp_path.glob("*.part"))
    size = part.stat().st_size
    assert 0 < size <= 100_000
    assert fetch(file, tmp_path).read_bytes() == DATA
    assert server.ranges[-1] == ("x.zip", f"bytes={size}-") and not list(tmp_path.glob("*.part"))


def test_a_file_that_changed_on_the_hub_does_not_continue_an_old_part(server, tmp_path, monkeypatch):
    interrupted(server, tmp_path, monkeypatch)
    server.files["a/b"]["x.zip"] = DATA[::-1]
    assert fetch(one("*.zip"), tmp_path).read_bytes() == DATA[::-1]
    assert server.ranges[-1] == ("x.zip", None)


def test_damaged_content_is_refused_and_deleted(server, tmp_path):
    server.damaged.add("x.zip")
    with pytest.raises(DatasetError, match=r"a/b: x\.zip arrived with the hash \w+… instead of \w+…; run the same"):
        fetch(one("*.zip"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_fetched_offline(server, monkeypatch):
    monkeypatch.setenv("KGVAD_OFFLINE", "1")
    with pytest.raises(UsageError, match="KGVAD_OFFLINE forbids"):
        one("*.zip")
    assert not server.ranges


def test_an_unreachable_hub_is_one_line(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DatasetError, match=r"cannot fetch a/b from the hub \(.*; check the network"):
        one("*.zip")
