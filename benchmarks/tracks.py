"""Rebuild the tables of docs/results.md from stored runs; with --train, train the runs that are missing.

    python benchmarks/tracks.py SHARED FOLDER --bank BANK [--train] [--docs docs/results.md]

SHARED is the folder of research data. FOLDER keeps everything and resumes: ``stores`` (made on the first call),
``tuned/TRACK`` (made by ``kgvad tune ... --features FOLDER/stores/TRACK --annotations FOLDER/stores/times.json --output
FOLDER/tuned/TRACK``), ``runs`` and ``results``. Without --train nothing is trained, and a method without runs has no
row. BANK is made by ``kgvad build-anchors --dataset ucf --encoder minilm``.

Tracks: c3d, i3d, text, fused. Tables: main (metrics with intervals and paired tests), configurations, curves (10, 25,
50 and 100 % of the training videos), transfer (one half of the categories to the other), graph (anchors from the
graph against labels and random words), captions (text to four other datasets) and duplicates. With --docs a table
replaces what stands between ``<!-- tracks: TRACK TABLE -->`` and ``<!-- end -->``; else all are printed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from graph_worth import graph_table
from track_data import Track, prepare, tracks
from track_runs import Method, Runs, read_methods
from track_tables import (
    caption_sets_table,
    configurations,
    curve_table,
    duplicates_table,
    main_table,
    transfer_table,
)

from kgvad.console import configure_logging
from kgvad.files import write_text

TABLES = ("main", "configurations", "curves", "transfer", "graph", "captions", "duplicates")
ONLY = {"captions": {"text"}, "graph": {"c3d", "i3d"}}  # tables of some tracks
Table = Callable[[Runs, Track, Sequence[Method]], str]


def replaced(text: str, marker: str, table: str) -> str:
    """``text`` with ``table`` between the marker and the next end marker; unchanged where the marker is missing."""
    pattern = re.compile(rf"(<!-- tracks: {re.escape(marker)} -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found.group(1)}\n{table}\n\n{found.group(2)}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument(
        "--tracks", nargs="+", choices=["c3d", "i3d", "text", "fused"], default=["c3d", "i3d", "text", "fused"]
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--methods", nargs="+", help="names in tracks.toml; default: all")
    parser.add_argument("--train", action="store_true", help="train missing runs")
    parser.add_argument("--seeds", type=int, help="in place of the number in tracks.toml")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="of trainings")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--vectors", type=Path, help="folder of known text vectors; see text_track.py")
    parser.add_argument("--docs", type=Path, help="page whose tables are replaced")
    options = parser.parse_args()
    configure_logging(0)
    stores = options.folder / "stores"
    prepare(options.shared, stores, options.tracks, options.vectors)
    runs = Runs(
        options.folder, options.shared, options.bank, options.train, options.seeds, options.jobs, options.device
    )
    methods = read_methods(Path(__file__).with_name("tracks.toml"))
    makers: dict[str, Table] = {
        "main": partial(main_table, resamples=options.resamples),
        "configurations": configurations,
        "curves": curve_table,
        "transfer": transfer_table,
        "graph": graph_table,
        "captions": caption_sets_table,
        "duplicates": duplicates_table,
    }
    page = options.docs.read_text("utf-8") if options.docs else ""
    for name in options.tracks:
        track = tracks(stores)[name]
        own = [m for m in methods if name in m.tracks and (not options.methods or m.name in options.methods)]
        for table in options.tables:
            if name not in ONLY.get(table, {name}):
                continue
            text = makers[table](runs, track, own)
            if options.docs:
                page = replaced(page, f"{name} {table}", text) if text else page
            elif text:
                print(f"## {track.title}: {table}\n\n{text}\n")
    if options.docs:
        write_text(options.docs, page)


if __name__ == "__main__":
    main()
