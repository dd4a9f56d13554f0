"""Measures the knowledge graph: building it from a SPARQL service on loopback, and its growth.

    python benchmarks/kg.py FILE.nt [FILE.nt ...]     RDF in Wikidata's vocabulary, served by Oxigraph

Prints Markdown tables. Every build runs in a process of its own, whose peak memory is the figure given.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONTACT = "benchmark@example.org"


@contextmanager
def serve(folder: Path, files: list[str]) -> Iterator[str]:
    program = Path(sys.executable).parent / "oxigraph"
    place = str(folder / "oxigraph")
    subprocess.run([str(program), "load", "--location", place, "--file", *files], check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [str(program), "serve-read-only", "--location", place, "--bind", address]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            host, port = address.split(":")
            for _ in range(100):
                try:
                    socket.create_connection((host, int(port)), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield f"http://{address}/query"
        finally:
            server.terminate()


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def build(url: str, endpoint: str, batch: int) -> dict[str, float]:
    """Fetch all bundled tables; ``batch`` 1 is a client that sends one query per item."""
    from kgvad.kg.sources.service import ServiceSettings
    from kgvad.kg.sources.subgraphs import Fetcher, FetchSettings
    from kgvad.kg.sources.wikidata import WikidataClient
    from kgvad.kg.store.cache import GraphStore
    from kgvad.kg.tables import bundled_tables, load_table

    began = time.perf_counter()
    with GraphStore.open(url, facts=False) as store:
        # The time budget protects a public service; here it would only slow the measurement.
        client = WikidataClient(ServiceSettings(endpoint, CONTACT, budget_s=1e9))
        tables = [load_table(name) for name in bundled_tables()]
        report = Fetcher(store, client, FetchSettings(batch=batch)).tables(*tables)
        items = store.counts()["items"]
    seconds = time.perf_counter() - began
    return {"requests": report.requests, "rows": report.rows, "items": items, "seconds": seconds, "peak_mb": peak_mb()}


def grow(url: str, count: int) -> dict[str, float]:
    """Record ``count`` generated items, then open, rank and export."""
    from kgvad.kg import rdf
    from kgvad.kg.graph.concepts import category_concepts
    from kgvad.kg.store.cache import GraphStore
    from kgvad.kg.store.schema import Batch, Fetch, Statement, Term
    from kgvad.kg.tables import load_table

    path = Path(url.removeprefix("sqlite:///"))
    began = time.perf_counter()
    first = 1_000_000_000  # above every real item
    with GraphStore.open(url) as store:
        for start in range(0, count, 100):
            qids = [f"Q{first + number}" for number in range(start, min(start + 100, count))]
            terms = [
                Term(qid, kind, "en", f"{kind} of {qid}") for qid in qids for kind in ("label", "alias", "description")
            ]
            # A tree of ten children a node, under robbery.
            parents = [int(qid[1:]) - first for qid in qids]
            above = [f"Q{first + (number - 1) // 10}" if number else "Q53706" for number in parents]
            statements = [Statement(qid, "P279", parent) for qid, parent in zip(qids, above, strict=True)]
            store.record(
                Batch(Fetch(f"generated#{start}", "2026-01-01", "item", "generated"), tuple(qids), terms, statements)
            )
    recorded = time.perf_counter() - began
    began = time.perf_counter()
    with GraphStore.open(url) as store:
        opened = time.perf_counter() - began
        began = time.perf_counter()
        category_concepts(store, load_table("ucf").category("Robbery"))
        ranked = time.perf_counter() - began
        began = time.perf_counter()
        rdf.export(store, path.with_suffix(".nq"))
        exported = time.perf_counter() - began
    return {
        "items": count,
        "record": recorded,
        "open_ms": opened * 1000,
        "rank": ranked,
        "export": exported,
        "file_mb": path.stat().st_size / 1e6,
        "peak_mb": peak_mb(),
    }


def apart(*arguments: object) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, __file__, "--part", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="RDF to serve")
    parser.add_argument("--sizes", default="1000,10000,100000", help="generated items")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        kind, url, *rest = options.part
        found = build(url, rest[0], int(rest[1])) if kind == "build" else grow(url, int(rest[0]))
        print(json.dumps(found))
        return
    if not options.files:
        parser.error("name the RDF files to serve")
    print(f"{platform.machine()}, Python {platform.python_version()}, SQLite on the local disk.\n")
    with tempfile.TemporaryDirectory() as name, serve(Path(name), options.files) as endpoint:
        folder = Path(name)
        cold = apart("build", f"sqlite:///{folder}/a.sqlite", endpoint, 100)
        warm = apart("build", f"sqlite:///{folder}/a.sqlite", endpoint, 100)
        naive = apart("build", f"sqlite:///{folder}/b.sqlite", endpoint, 1)
        print("| all five datasets | requests | rows | items | seconds | peak memory |\n|---|---|---|---|---|---|")
        for title, row in (("cold build", cold), ("warm build", warm), ("one query an item", naive)):
            numbers = (
                f"{row['requests']} | {row['rows']} | {row['items']} | {row['seconds']:.2f} | {row['peak_mb']:.0f} MB"
            )
            print(f"| {title} | {numbers} |")
        requests, seconds = naive["requests"] / cold["requests"], naive["seconds"] / cold["seconds"]
        print(f"\nOne query an item: {requests:.0f} times the requests, {seconds:.1f} times the seconds.\n")
        print("| generated items | record | open | rank Robbery | export N-Quads | file | peak memory |")
        print("|---|---|---|---|---|---|---|")
        for size in options.sizes.split(","):
            row = apart("grow", f"sqlite:///{folder}/grow-{size}.sqlite", size)
            print(
                f"| {int(size):,} | {row['record']:.1f} s | {row['open_ms']:.0f} ms | {row['rank']:.2f} s | "
                f"{row['export']:.1f} s | {row['file_mb']:.1f} MB | {row['peak_mb']:.0f} MB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
