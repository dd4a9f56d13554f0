"""Migrations: all steps together give the tables of the models, and no step depends on the models."""

import pytest
from sqlalchemy import Column, Integer, Table, create_engine, text

from kgvad.errors import StoreError
from kgvad.kg.store import database
from kgvad.kg.store.database import Database
from kgvad.kg.store.migrations import MIGRATIONS
from kgvad.kg.store.schema import Base, MigrationRow


def definitions(url):
    """The ``CREATE`` statements of a database by name: every table, index and constraint."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
    engine.dispose()
    return {name: " ".join(sql.split()) for name, sql in rows}


def file_of(folder, steps, name="old"):
    """The URL of a cache that a kgvad with ``steps`` migrations wrote."""
    url = f"sqlite:///{folder / name}.sqlite"
    engine = create_engine(url)
    with engine.begin() as connection:
        for number, migration in enumerate(MIGRATIONS[:steps], start=1):
            migration(connection)
            row = {"number": number, "name": migration.__name__, "applied_at": "2026-01-01T00:00:00+00:00"}
            connection.execute(MigrationRow.__table__.insert(), row)
    engine.dispose()
    return url


@pytest.mark.parametrize("steps", range(len(MIGRATIONS) + 1))
def test_every_older_format_is_migrated_to_the_current_models(tmp_path, steps):
    url = file_of(tmp_path, steps)
    Database(url).close()
    expected = f"sqlite:///{tmp_path / 'models.sqlite'}"
    engine = create_engine(expected)
    Base.metadata.create_all(engine)
    engine.dispose()
    assert definitions(url) == definitions(expected)


def test_the_first_migration_is_independent_of_the_models(tmp_path):
    before = definitions(file_of(tmp_path, 1))
    table = Table("tomorrow", Base.metadata, Column("id", Integer, primary_key=True))
    try:
        assert definitions(file_of(tmp_path, 1, "after")) == before
    finally:
        Base.metadata.remove(table)
    assert "items" in before and "statements_of_object" in before


def test_migration_keeps_the_rows_of_an_older_file(tmp_path, monkeypatch):
    url = file_of(tmp_path, 1)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO bundles VALUES ('abc', '2026-01-01')"))
    engine.dispose()

    def second(connection):
        connection.execute(text("ALTER TABLE bundles ADD COLUMN note TEXT NOT NULL DEFAULT ''"))

    monkeypatch.setattr(database, "MIGRATIONS", [*MIGRATIONS[:1], second])
    opened = Database(url)
    with opened.read() as connection:
        assert connection.execute(text("SELECT * FROM bundles")).all() == [("abc", "2026-01-01", "")]
        assert connection.execute(text("SELECT number, name FROM migrations")).all()[-1] == (2, "second")
    opened.close()
    monkeypatch.setattr(database, "MIGRATIONS", MIGRATIONS[:1])
    with pytest.raises(StoreError, match=r"was written by a newer kgvad \(format 2, this one reads 1\); upgrade kgvad"):
        Database(url)
