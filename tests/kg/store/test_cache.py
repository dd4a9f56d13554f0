"""The cache: the same on SQLite and PostgreSQL, consistent after a kill, and usable by two processes."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import kg_servers as servers
import pytest
import sqlalchemy

from kgvad.errors import StoreError, UsageError
from kgvad.kg.store import database
from kgvad.kg.store.cache import GraphStore, label_of
from kgvad.kg.store.schema import Batch, Fetch, Statement, Term


@pytest.fixture(scope="module")
def postgresql():
    with servers.postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/kg.sqlite"
        return
    server = request.getfixturevalue("postgresql")
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    name = f"test_{os.urandom(6).hex()}"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    yield server.rsplit("/", 1)[0] + "/" + name


ROBBERY = [Term("Q53706", "label", "en", "robbery"), Term("Q53706", "alias", "en", "mugging")]


def fetched(name, at="2026-01-01T00:00:00+00:00", kind="item", endpoint="http://e/sparql", **more):
    return Fetch(name=name, fetched_at=at, kind=kind, endpoint=endpoint, scope="s", **more)


def test_recorded_facts_are_read_back(url):
    batch = Batch(
        fetched("f1", rows=3, seconds=0.5), ("Q53706",), [*ROBBERY], [Statement("Q53706", "P279", "Q2727213")]
    )
    with GraphStore.open(url, facts=False) as store:
        store.record(batch)
    with GraphStore.open(url, facts=False) as store:
        assert store.terms(["Q53706"])["Q53706"] == sorted(ROBBERY)
        assert store.labels(["Q53706", "Q1"]) == {"Q53706": "robbery"}
        (fact,) = store.facts(["Q53706"])
        assert (fact.subject, fact.property, fact.object) == ("Q53706", "P279", "Q2727213")
        assert (fact.source, fact.fetched_at) == ("f1", "2026-01-01T00:00:00+00:00")
        assert store.facts_to(["Q2727213"]) == [fact]
        assert store.facts(["Q53706"], ["P31"]) == []
        assert store.edges("P279") == [("Q53706", "Q2727213")]
        assert store.fetches() == [batch.fetch]
        assert store.term_source(ROBBERY[1]) == ("f1", "2026-01-01T00:00:00+00:00")
        assert store.called("MUGGING") == {"Q53706": "alias"}
        assert store.counts() == {"items": 2, "terms": 2, "statements": 1, "fetches": 1, "categories": 0}


def test_bundled_facts_are_loaded_once_and_replaced_by_a_newer_version(url, monkeypatch):
    from kgvad.kg.store import bundled

    with GraphStore.open(url) as store:
        before = store.counts()
        assert store.labels(["Q53706", "Q383906"]) == {"Q53706": "robbery", "Q383906": "shoplifting"}
        assert before["terms"] > 2000 and before["statements"] > 1000
    with GraphStore.open(url) as store:
        assert store.counts() == before
    whole = bundled.batches()
    monkeypatch.setattr(bundled, "fingerprint", lambda: "another")
    monkeypatch.setattr(bundled, "batches", lambda: [batch for batch in whole if batch.fetch.name.endswith("arnold")])
    with GraphStore.open(url) as store:
        assert store.labels(["Q53706", "Q383906"]) == {"Q53706": "robbery"}


def test_a_later_fetch_replaces_facts_of_the_same_service(url):
    requested = ("Q53706", "Q2727213")
    with GraphStore.open(url, facts=False) as store:
        theft = Term("Q2727213", "label", "en", "theft")
        store.record(Batch(fetched("old"), requested, [*ROBBERY, theft], [Statement("Q53706", "P279", "Q1")]))
        store.record(Batch(fetched("file", kind="import", endpoint=""), (), [Term("Q53706", "alias", "en", "heist")]))
        later = fetched("new", at="2026-02-01T00:00:00+00:00")
        store.record(Batch(later, ("Q53706",), [ROBBERY[0]], [Statement("Q53706", "P279", "Q2")]))
        texts = {term.text for term in store.terms(["Q53706"])["Q53706"]}
        assert texts == {"robbery", "heist"}  # mugging is gone, the other source stays
        assert [fact.object for fact in store.facts(["Q53706"])] == ["Q2"]
        assert store.labels(["Q2727213"]) == {"Q2727213": "theft"}  # not requested again
        assert store.visited(requested, "item", "s", "http://e/sparql", "2026-01-15T00:00:00+00:00") == {"Q53706"}
        store.record(Batch(fetched("newer", at="2026-03-01T00:00:00+00:00"), requested))
        assert {fetch.name for fetch in store.fetches()} == {"file", "newer"}  # the others say nothing any more


def test_a_stated_property_wins_over_an_inferred_one(url):
    statement = [Statement("Q1", "P279", "Q2")]
    with GraphStore.open(url, facts=False) as store:
        store.record(Batch(Fetch("guess", "2026-05-01", inferred=True), (), [], statement))
        store.record(Batch(Fetch("read", "2020-01-01"), (), [], statement))
        assert [fact.source for fact in store.facts(["Q1"])] == ["read"]


def test_a_failed_batch_is_rolled_back(url):
    def batches():
        yield Batch(Fetch("good", "2026-01-01"), (), [*ROBBERY])
        raise RuntimeError("interrupted")

    with GraphStore.open(url, facts=False) as store:
        with pytest.raises(RuntimeError):
            store.record_all(batches())
        assert store.counts()["terms"] == 0 and store.fetches() == []


def test_every_character_is_stored(url):
    texts = [
        "\x00 \x1a \x1a0 \x01\x7f",
        "a\nb\r\tc\u2028",
        "\u202eevil\u202c",
        "'); DROP TABLE terms; --",
        "\U0001f525" * 9,
    ]
    texts.append("x" * 1_000_000)
    with GraphStore.open(url, facts=False) as store:
        store.record(Batch(Fetch("f", "2026-01-01"), (), [Term("Q1", "alias", "en", text) for text in texts]))
    with GraphStore.open(url, facts=False) as store:
        assert {term.text for term in store.terms(["Q1"])["Q1"]} == set(texts)


def test_languages_fall_back_in_the_order_given(url):
    terms = [
        Term("Q1", "label", "de", "Raub"),
        Term("Q1", "label", "en", "robbery"),
        Term("Q2", "label", "de", "Brand"),
    ]
    with GraphStore.open(url, facts=False) as store:
        store.record(Batch(Fetch("f", "2026-01-01"), (), terms))
        assert store.labels(["Q1", "Q2"], ["en", "de"]) == {"Q1": "robbery", "Q2": "Brand"}
        assert store.labels(["Q1", "Q2"], ["en"]) == {"Q1": "robbery"}


def test_migrations_run_in_order_and_once(url, monkeypatch):
    ran = []

    def _m2_note(connection):
        connection.exec_driver_sql("CREATE TABLE notes (text VARCHAR(20))")
        ran.append(2)

    GraphStore.open(url, facts=False).close()
    monkeypatch.setattr(database, "MIGRATIONS", [*database.MIGRATIONS, _m2_note])
    for _ in range(2):
        with GraphStore.open(url, facts=False) as store, store.database.read() as connection:
            assert connection.exec_driver_sql("SELECT name FROM migrations ORDER BY number").scalars().all() == [
                "_m1_tables",
                "_m2_note",
            ]
    assert ran == [2]
    monkeypatch.undo()
    with pytest.raises(StoreError, match=r"newer kgvad \(format 2, this one reads 1\); upgrade kgvad"):
        GraphStore.open(url)


def test_a_failed_migration_is_rolled_back(url, monkeypatch):
    def _m2_breaks(connection):
        connection.exec_driver_sql("CREATE TABLE half (text VARCHAR(20))")
        raise RuntimeError("power cut")

    GraphStore.open(url, facts=False).close()
    monkeypatch.setattr(database, "MIGRATIONS", [*database.MIGRATIONS, _m2_breaks])
    with pytest.raises(RuntimeError):
        GraphStore.open(url, facts=False)
    monkeypatch.undo()
    with GraphStore.open(url, facts=False) as store, store.database.read() as connection:
        assert "half" not in sqlalchemy.inspect(connection).get_table_names()


WRITER = """
import sys
from kgvad.kg.store.schema import Batch, Fetch, Statement, Term
from kgvad.kg.store.cache import GraphStore
name, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with GraphStore.open(url) as store:
    print("open", flush=True)
    for number in range(count):
        qids = [f"Q{1000 * number + n + 1}" for n in range(100)]
        fetch = Fetch(f"{name}-{number}", "2026-01-01", "item", "http://e/" + name, rows=100)
        store.record(Batch(fetch, tuple(qids), [Term(q, "label", "en", name + q) for q in qids],
                           [Statement(q, "P279", "Q5") for q in qids]))
        print(number, flush=True)
"""


def writer(name, url, count):
    return subprocess.Popen([sys.executable, "-c", WRITER, name, url, str(count)], stdout=subprocess.PIPE, text=True)


def test_two_processes_build_concurrently(url):
    both = [writer(name, url, 8) for name in ("a", "b")]
    for process in both:
        process.communicate(timeout=100)
        assert process.returncode == 0
    with GraphStore.open(url) as store:
        mine = [fetch for fetch in store.fetches() if fetch.endpoint]
        assert len(mine) == 16 and len(store.facts_to(["Q5"])) >= 800
        assert store.labels(["Q53706"]) == {"Q53706": "robbery"}


OPENERS = """
import multiprocessing, sys
from kgvad.kg.store.database import Database
def opens(together):
    for number in range(150):
        together.wait()
        Database(f"sqlite:///{sys.argv[1]}/{number}.sqlite").close()
fork = multiprocessing.get_context("fork")
together = fork.Barrier(3, timeout=60)
processes = [fork.Process(target=opens, args=(together,)) for _ in range(3)]
for process in processes: process.start()
for process in processes: process.join()
sys.exit(any(process.exitcode for process in processes))
"""


def test_processes_create_one_cache_concurrently(tmp_path):
    """SQLite does not wait for another process that switches the write-ahead log on."""
    done = subprocess.run([sys.executable, "-c", OPENERS, str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_a_kill_at_any_moment_leaves_whole_batches(tmp_path):
    for number in range(3):
        path = tmp_path / f"{number}.sqlite"
        process = writer("a", f"sqlite:///{path}", 10_000)
        for _ in range(1 + number):
            process.stdout.readline()
        time.sleep(0.013 * number)
        process.send_signal(signal.SIGKILL)
        done = [line for line in process.communicate()[0].splitlines() if line.isdigit()]
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        with GraphStore.open(f"sqlite:///{path}", facts=False) as store:
            batches = [batch for batch in store.contents() if batch.fetch.endpoint]
            assert len(batches) >= max(0, len(done) - 1)  # what it said was done is there,
            assert all(len(batch.terms) == len(batch.statements) == 100 for batch in batches)  # and nothing is half
            assert store.labels(["Q53706"]) == {"Q53706": "robbery"}


def test_a_kill_while_loading_the_bundled_facts(tmp_path):
    path = tmp_path / "kg.sqlite"
    code = f"from kgvad.kg.store.cache import GraphStore; GraphStore.open('sqlite:///{path}')"
    for delay in (0.45, 0.6, 0.75):
        process = subprocess.Popen([sys.executable, "-c", code])
        time.sleep(delay)
        process.kill()
        process.wait()
    with GraphStore.open(f"sqlite:///{path}") as store:
        assert store.labels(["Q53706"]) == {"Q53706": "robbery"}
        with store.database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


@pytest.mark.parametrize("damage", ["text", "header", "middle"])
def test_a_damaged_file_is_named_with_its_remedy_and_not_changed(tmp_path, damage):
    path = tmp_path / "kg.sqlite"
    with GraphStore.open(f"sqlite:///{path}") as store, store.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    if damage == "text":
        data = bytearray(b"this is no database\n" * 500)
    elif damage == "header":
        data[:100] = b"\xff" * 100
    else:
        data[4096 : len(data)] = b"\xa5" * (len(data) - 4096)
    for extra in tmp_path.glob("kg.sqlite-*"):
        extra.unlink()
    path.write_bytes(data)
    with pytest.raises(
        StoreError, match=r"kg\.sqlite is damaged .*; .* mv '.*kg\.sqlite' '.*damaged' && kgvad kg fetch"
    ):
        GraphStore.open(f"sqlite:///{path}").labels(["Q53706"])
    assert path.read_bytes() == data


def test_a_database_of_another_program_is_refused(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE items (name TEXT)")
    with pytest.raises(StoreError, match="another program; name another"):
        GraphStore.open(f"sqlite:///{path}")


def test_a_locked_file(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.2)
    path = tmp_path / "kg.sqlite"
    GraphStore.open(f"sqlite:///{path}", facts=False).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with (
        GraphStore.open(f"sqlite:///{path}", facts=False) as store,
        pytest.raises(StoreError, match=r"is locked by another program"),
    ):
        store.record(Batch(Fetch("f", "2026-01-01"), (), [*ROBBERY]))
    other.close()


@pytest.mark.parametrize("url", ["", "nonsense", "sqlit:///x", "mysql+nothing://x/y", "http://x"])
def test_invalid_store_urls(url):
    with pytest.raises(UsageError, match="database URL"):
        database.Database(url or " ")


def test_a_cache_that_cannot_be_written_is_read(tmp_path, monkeypatch):
    """As in a container with a read-only file system: even `kgvad kg show` ended, as SQLite wanted to write its log."""
    GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite").close()
    monkeypatch.setattr(database.os, "access", lambda *_: False)
    with GraphStore.open(f"sqlite:///{tmp_path}/kg.sqlite") as store:
        assert store.labels(["Q53706"]) == {"Q53706": "robbery"}
        with pytest.raises(StoreError, match=r"kg.sqlite cannot be written: .*; set KGVAD_CACHE .* or .* --store"):
            store.record(Batch(Fetch("f", "2026-01-01"), (), [Term("Q1", "label", "en", "one")]))
        assert [path.name for path in tmp_path.iterdir()] == ["kg.sqlite"]


def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot make the folder"):
        GraphStore.open(f"sqlite:///{tmp_path}/file/kg.sqlite")


def test_an_unreachable_server():
    with pytest.raises(StoreError, match="check the server and the store URL") as caught:
        GraphStore.open(f"postgresql+psycopg://me:secret@127.0.0.1:{servers.free_port()}/x")
    assert "secret" not in str(caught.value)


def test_an_item_without_label_takes_the_title_of_its_article():
    assert label_of([Term("Q1", "title", "en", "Punch (combat)")]) == "punch"
    assert label_of([Term("Q1", "title", "en", "Punch"), Term("Q1", "label", "en", "strike")]) == "strike"
    assert label_of([]) is None
