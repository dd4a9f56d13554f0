"""Cache of text vectors between runs, one SQLite file in the cache folder.

The key of a vector is a hash of the encoder and the text; the texts themselves are not stored. A fault of the file
costs time but never changes a result: a damaged file is deleted, one that cannot be written is ignored, each with a log
line.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kgvad.settings import cache_dir

logger = logging.getLogger(__name__)

FILE = "text-vectors-1.sqlite"  # the number is the version of the file format
MOST_BYTES = 512 * 2**20  # about 300,000 vectors of 384 numbers; beyond, the oldest quarter is deleted
BUSY_TIMEOUT_S = 30  # how long one process waits for another's chunk
CHUNK = 1024  # texts per transaction: the most that a killed run loses
KEYS_PER_QUERY = 500

Floats = NDArray[np.float32]


class VectorCache:
    """Text vectors of one encoder.

    Parameters
    ----------
    encoder
        Everything the vectors depend on: weights, tokenizer, how they are pooled, precision.
    dim
        Length of a vector.
    path
        The file; default: in kgvad's cache folder.
    most_bytes
        Approximate limit of the file's size.
    """

    def __init__(self, encoder: str, dim: int, path: Path | None = None, most_bytes: int = MOST_BYTES) -> None:
        self.encoder, self.dim, self.most_bytes = encoder, dim, most_bytes
        self.path = path or cache_dir() / FILE
        self._writable = True

    def encode(self, texts: Sequence[str], encode: Callable[[Sequence[str]], Floats]) -> Floats:
        """Vectors of ``texts``, float32 [N, dim]: from the file where they are in it, else by ``encode``."""
        keys = [hashlib.sha256(f"{self.encoder}\n{text}".encode("utf-8", "surrogatepass")).digest() for text in texts]
        known = self._read(list(dict.fromkeys(keys)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        by_length = sorted(missing, key=lambda key: len(missing[key]))  # similar lengths need little padding
        for start in range(0, len(by_length), CHUNK):
            some = by_length[start : start + CHUNK]
            found = dict(zip(some, encode([missing[key] for key in some]), strict=True))
            self._write(found)
            known.update(found)
        return np.stack([known[key] for key in keys]) if keys else np.zeros((0, self.dim), np.float32)

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, Floats]:
        found: dict[bytes, Floats] = {}
        with self._guard():
            if not self.path.is_file():
                return found
            with closing(self._open()) as file:
                read: dict[bytes, Floats] = {}
                for start in range(0, len(keys), KEYS_PER_QUERY):
                    some = keys[start : start + KEYS_PER_QUERY]
                    marks = ",".join("?" * len(some))
                    for key, vector, check in file.execute(f"SELECT * FROM vectors WHERE key IN ({marks})", some):
                        if len(vector) != 4 * self.dim or zlib.crc32(vector) != check:
                            raise sqlite3.DatabaseError("a vector does not fit its checksum")
                        read[key] = np.frombuffer(vector, "<f4").astype(np.float32)
            found = read  # all, or nothing of a damaged file
        return found

    def _write(self, vectors: dict[bytes, Floats]) -> None:
        if not self._writable:
            return
        rows = [(key, data := vector.astype("<f4").tobytes(), zlib.crc32(data)) for key, vector in vectors.items()]
        with self._guard():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as file:
                file.execute("BEGIN IMMEDIATE")
                file.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB, crc INTEGER)")
                file.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)", rows)
                pages, free, size = (
                    file.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("page_count", "freelist_count", "page_size")
                )
                if (pages - free) * size > self.most_bytes:  # freed pages are reused: the file stops growing
                    file.execute(
                        "DELETE FROM vectors WHERE rowid <= "
                        "(SELECT min(rowid) + (max(rowid) - min(rowid) + 1) / 4 FROM vectors)"
                    )
                file.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn errors of the file into log lines."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:  # read-only, full, locked
            if "no such table" not in str(error):  # another process is creating the file
                self._writable = False
                logger.info(f"text vectors are not cached in {self.path} ({error})")
        except sqlite3.DatabaseError as error:
            self.path.unlink(missing_ok=True)
            logger.info(f"{self.path} was damaged and is rebuilt ({error})")
