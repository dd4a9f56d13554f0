"""The cache of text vectors: a hit is the miss bit for bit, and nothing that happens to the file changes a result."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from anchors_samples import checkpoint
from users import ordinary_user

from kgvad.anchors.text_encoders import load_text_encoder
from kgvad.anchors.vector_cache import FILE, VectorCache
from kgvad.settings import cache_dir

HELPERS = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")])

TEXTS = ["fire", "a man walking", "", "fire", "\ud800 is no character", "a 'quoted'; text\nof two lines"]


class Counting:
    """An encoder whose vectors depend on the text alone and that counts what it was asked."""

    def __init__(self):
        self.encoded = []

    def __call__(self, texts):
        self.encoded += texts
        seeds = [sum(map(ord, text)) for text in texts]
        return np.stack([np.random.default_rng(seed).normal(size=8).astype(np.float32) for seed in seeds])


def cache(folder, encoder="weights 1", **options):
    return VectorCache(encoder, 8, folder / "vectors.sqlite", **options)


def test_a_hit_is_the_miss_bit_for_bit_and_asks_nothing(tmp_path, capsys):
    first, second = Counting(), Counting()
    missed = cache(tmp_path).encode(TEXTS, first)
    assert sorted(first.encoded) == sorted(set(TEXTS))  # each text once
    hit = cache(tmp_path).encode(TEXTS, second)
    assert second.encoded == [] and hit.dtype == np.float32 and hit.tobytes() == missed.tobytes()
    assert missed.tobytes() == Counting()(TEXTS).tobytes()  # rows are in the order of the texts
    assert cache(tmp_path).encode([], second).shape == (0, 8)
    assert capsys.readouterr().err == ""


def test_another_encoder_never_gets_them(tmp_path):
    cache(tmp_path).encode(TEXTS, Counting())
    other = Counting()
    cache(tmp_path, "weights 2").encode(TEXTS, other)
    assert sorted(other.encoded) == sorted(set(TEXTS))


def test_encoders_keep_their_vectors_and_a_changed_tokenizer_is_another_encoder(tmp_path):
    folder = checkpoint("bert", tmp_path / "bert")
    missed = load_text_encoder(str(folder)).encode(TEXTS[:4])
    assert (cache_dir() / FILE).is_file()
    encoder = load_text_encoder(str(folder))
    encoder._model = None  # a hit needs no model
    assert encoder.encode(TEXTS[:4]).tobytes() == missed.tobytes()
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"fire"', '"erif"'))
    assert np.abs(load_text_encoder(str(folder)).encode(["fire"]) - missed[0]).max() > 1e-3


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "flipped"])
def test_a_damaged_file_is_dropped_with_one_line(tmp_path, capsys, damage):
    many = [f"text {i}" for i in range(300)]
    right = cache(tmp_path).encode(many, Counting())
    path = tmp_path / "vectors.sqlite"
    whole = path.read_bytes()
    if damage == "flipped":  # SQLite itself does not notice
        with sqlite3.connect(path) as file:
            file.execute("UPDATE vectors SET vector = zeroblob(32) WHERE rowid = 7")
    else:
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"not a database" * 100}[damage])
    again = Counting()
    assert cache(tmp_path).encode(many, again).tobytes() == right.tobytes()
    told = capsys.readouterr().err
    assert told.count("\n") == (damage != "empty") and ("was damaged" in told) == (damage != "empty")
    third = Counting()
    assert cache(tmp_path).encode(many, third).tobytes() == right.tobytes() and third.encoded == []


def test_a_place_that_cannot_be_written_costs_one_line_only(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    blocked = VectorCache("weights", 8, tmp_path / "file" / "vectors.sqlite")
    for _ in range(2):
        assert blocked.encode(TEXTS, Counting()).tobytes() == Counting()(TEXTS).tobytes()
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "not cached" in told


def test_a_read_only_folder_still_gives_hits(tmp_path, capsys):
    cache(tmp_path).encode(["fire"], Counting())
    (tmp_path / "vectors.sqlite").chmod(0o444)
    tmp_path.chmod(0o555)
    count = Counting()
    try:
        with ordinary_user(tmp_path):
            found = cache(tmp_path).encode(["fire", "smoke"], count)
    finally:
        tmp_path.chmod(0o755)
    assert count.encoded == ["smoke"] and found.tobytes() == Counting()(["fire", "smoke"]).tobytes()
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "not cached" in told


def test_a_full_disk_costs_one_line_only(tmp_path):
    program = (
        "import os, sys; sys.path[:0] = sys.argv[1].split(os.pathsep)\n"
        "from pathlib import Path; from test_vector_cache import cache, Counting\n"
        "from kgvad.console import configure_logging; configure_logging()\n"
        "many = [str(i) for i in range(3000)]\n"
        "assert cache(Path(sys.argv[2])).encode(many, Counting()).tobytes() == Counting()(many).tobytes()\n"
        "print('right')"
    )

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    command = [sys.executable, "-c", program, HELPERS, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100, preexec_fn=limit)
    assert found.stdout == "right\n", found.stderr
    assert found.stderr.count("\n") == 1 and "not cached" in found.stderr
    after = Counting()  # what was written before the end is whole
    assert cache(tmp_path).encode(["1"], after).tobytes() == Counting()(["1"]).tobytes()


def test_two_processes_write_at_once(tmp_path):
    program = (
        "import os, sys; sys.path[:0] = sys.argv[1].split(os.pathsep)\n"
        "from pathlib import Path; from test_vector_cache import cache, Counting\n"
        "for i in range(25): cache(Path(sys.argv[2])).encode([f'{i} {j}' for j in range(i % 7, 20)], Counting())"
    )
    command = [sys.executable, "-c", program, HELPERS, str(tmp_path)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=200)[1] for process in both] == ["", ""]
    again = Counting()
    many = [f"{i} {j}" for i in range(25) for j in range(i % 7, 20)]
    assert cache(tmp_path).encode(many, again).tobytes() == Counting()(many).tobytes() and again.encoded == []


def test_the_file_stops_growing_and_the_oldest_goes_first(tmp_path):
    small = cache(tmp_path, most_bytes=100_000)
    for i in range(40):
        small.encode([f"{i} {j}" for j in range(100)], Counting())
    assert (tmp_path / "vectors.sqlite").stat().st_size < 200_000
    count = Counting()
    small.encode([f"39 {j}" for j in range(100)], count)
    assert count.encoded == []
    small.encode(["0 0"], count)
    assert count.encoded == ["0 0"]
