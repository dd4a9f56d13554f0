"""Summary of the cache as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kgvad.kg.store.cache import GraphStore


def lines(store: GraphStore) -> Iterator[str]:
    """Location and size of the cache, datasets whose labels were checked, and sources with their dates."""
    where = store.database.where
    size = f" ({Path(where).stat().st_size / 1e6:.1f} MB)" if store.database.sqlite and Path(where).is_file() else ""
    yield f"{where}{size}"
    yield ", ".join(f"{count} {name}" for name, count in store.counts().items() if name != "categories")
    for dataset, count in store.categories():
        yield f"labels of {dataset} compared with the graph: {count}"
    services: dict[str, list[tuple[str, int, float]]] = {}
    for fetch in store.fetches():
        if fetch.endpoint:
            services.setdefault(fetch.endpoint, []).append((fetch.fetched_at, fetch.rows, fetch.seconds))
        else:
            inferred = " (property inferred)" if fetch.inferred else ""
            yield f"{fetch.fetched_at}  {fetch.name}{inferred}  {fetch.note}".rstrip()
    for endpoint, found in services.items():
        first, last = min(found)[0], max(found)[0]
        rows, seconds = sum(row for _, row, _ in found), sum(s for _, _, s in found)
        yield f"{first} to {last}  {endpoint}  {len(found)} fetches, {rows} rows, {seconds:.1f} s"
