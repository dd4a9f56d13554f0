"""Files of distributions come from the configured index; nothing in them, or in the working folder, is executed."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kgvad.errors import WeightsError
from kgvad.package_index import PYPI, IndexOptions, fetch_file, index_options

NAME = "tiny_weights-1.0.tar.gz"


@pytest.fixture
def pip_settings(tmp_path, monkeypatch):
    """``pip_settings(text)``: the only pip configuration there is."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)

    def write(text: str) -> None:
        (tmp_path / "pip.conf").write_text(text)
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))

    return write


@pytest.fixture
def source(tmp_path):
    """A source distribution whose set-up would leave a trace."""
    path = tmp_path / "files" / NAME
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as bundle:
        for name, text in (
            ("setup.py", f"open({str(tmp_path / 'executed')!r}, 'w')"),
            ("pyproject.toml", "[build-system]\nrequires = ['no-such-backend']\n"),
            ("w.bin", "weights"),
        ):
            info = tarfile.TarInfo(f"tiny_weights-1.0/{name}")
            info.size = len(text)
            bundle.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def index(source):
    """A simple index on loopback; ``asked`` keeps the paths and user names it was asked with."""
    asked: list[tuple[str, str | None]] = []
    digest = hashlib.sha256(source.read_bytes()).hexdigest()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            if self.path == "/simple/tiny-weights/":
                body, kind = f'<a href="/files/{NAME}#sha256={digest}">{NAME}</a>'.encode(), "text/html"
            elif self.path == f"/files/{NAME}":
                body, kind = source.read_bytes(), "application/gzip"
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple", digest, asked
        server.shutdown()


def test_pip_configuration_files_and_variables_are_used(pip_settings, monkeypatch):
    pip_settings(
        "[global]\nindex-url = https://one/simple\nextra-index-url =\n  https://two/simple\n  https://three/simple\n"
        "trusted-host = two\nproxy = http://proxy:3128\ncert = /ca.pem\nclient-cert = /me.pem\ntimeout = 7\n"
        "[download]\nfind-links = /wheels\n[install]\nfind-links = /not-this\n"
    )
    assert index_options() == IndexOptions(
        indexes=("https://one/simple", "https://two/simple", "https://three/simple"),
        find_links=("/wheels",),
        trusted_hosts=("two",),
        proxy="http://proxy:3128",
        cert="/ca.pem",
        client_cert="/me.pem",
        timeout_s=7,
    )
    monkeypatch.setenv("PIP_INDEX_URL", "https://four/simple")
    assert index_options().indexes[0] == "https://four/simple"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert index_options().indexes == ()


def test_without_settings_the_public_index_is_asked(pip_settings):
    pip_settings("")
    assert index_options().indexes[0] == PYPI


def test_no_pip_py_of_the_working_folder_is_run(pip_settings, index, tmp_path, monkeypatch):
    url, digest, _ = index
    pip_settings(f"[global]\nindex-url = {url}\n")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pip.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.chdir(tmp_path / "here")
    assert index_options().indexes[0] == url
    program = tmp_path / "program.py"
    program.write_text(
        "from pathlib import Path\nfrom kgvad.package_index import fetch_file\n"
        f"fetch_file('tiny-weights', {NAME!r}, {digest!r}, Path('.'))"
    )
    subprocess.run([sys.executable, str(program)], check=True)
    assert (tmp_path / "here" / NAME).is_file()
    assert not (tmp_path / "executed").exists()


def test_a_source_archive_is_fetched_and_nothing_of_it_is_run(index, source, tmp_path):
    url, digest, asked = index
    options = IndexOptions(indexes=(url,))
    assert fetch_file("tiny-weights", NAME, digest, tmp_path / "to", options).read_bytes() == source.read_bytes()
    assert [path for path, _ in asked] == ["/simple/tiny-weights/", f"/files/{NAME}"]
    assert not (tmp_path / "executed").exists()


def test_a_file_of_another_hash_is_refused_and_another_source_is_asked(index, source, tmp_path):
    url, digest, _ = index
    with pytest.raises(WeightsError, match=f"{NAME} there has another hash"):
        fetch_file("tiny-weights", NAME, "0" * 64, tmp_path / "to", IndexOptions(indexes=(url,)))
    other = tmp_path / "other"
    other.mkdir()
    (other / NAME).write_bytes(b"not the weights")
    options = IndexOptions(indexes=(url,), find_links=(str(other),))
    assert fetch_file("tiny-weights", NAME, digest, tmp_path / "to", options).read_bytes() == source.read_bytes()


def test_a_folder_of_files_serves_too(source, tmp_path):
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    options = IndexOptions(indexes=(), find_links=(str(source.parent),))
    assert fetch_file("tiny-weights", NAME, digest, tmp_path / "to", options) == source


def test_an_index_that_refuses_fails_in_seconds_and_the_next_one_is_used(index, tmp_path):
    url, digest, asked = index
    started = time.monotonic()
    with pytest.raises(WeightsError, match=r"http://127\.0\.0\.1:9/simple: .*refused"):
        fetch_file(
            "tiny-weights", NAME, digest, tmp_path, IndexOptions(indexes=("http://me:secret@127.0.0.1:9/simple",))
        )
    assert time.monotonic() - started < 5
    host = url.removeprefix("http://")
    options = IndexOptions(indexes=("http://127.0.0.1:9/simple", f"http://me:secret@{host}"))
    assert fetch_file("tiny-weights", NAME, digest, tmp_path, options) == Path(tmp_path / NAME)
    assert all(authorization == "Basic bWU6c2VjcmV0" for _, authorization in asked)


def test_a_password_is_not_repeated(tmp_path):
    options = IndexOptions(indexes=("http://me:secret@127.0.0.1:9/simple",))
    with pytest.raises(WeightsError) as caught:
        fetch_file("tiny-weights", NAME, "0" * 64, tmp_path, options)
    assert "secret" not in str(caught.value)


def test_a_certificate_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"pip's settings cannot be used: .*; see `pip config list`"):
        fetch_file("tiny-weights", NAME, "0" * 64, tmp_path, IndexOptions(cert="/no/such/ca.pem"))
