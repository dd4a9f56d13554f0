"""Standard streams that are closed, full or no longer read."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import Any


class OutputError(BaseException):
    """Standard output cannot be written; not an ``Exception``, so that no handler takes it for a failed video."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.is_closed_pipe = error.errno == errno.EPIPE


class _Results(io.FileIO):
    """Standard output: the first failure is raised as :class:`OutputError`; later writes are dropped."""

    _failed = False

    def write(self, data: Any) -> int:
        if self._failed:
            return memoryview(data).nbytes
        try:
            return super().write(data) or 0
        except OSError as error:
            self._failed = True
            raise OutputError(error) from error


class _Messages(io.FileIO):
    """Standard error: what cannot be written is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


def guard_streams() -> None:
    """Make the standard streams of this process fail cleanly; streams that were replaced (by tests) stay."""
    if os.name != "posix":
        return
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file that is opened must not take its place; results stay unwritable
            os.open(os.devnull, mode)
    for name, kind in (("stdout", _Results), ("stderr", _Messages)):
        old = getattr(sys, name)
        if old is not getattr(sys, f"__{name}__"):
            continue
        raw = kind(1 if name == "stdout" else 2, "w", closefd=False)
        text = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=_encoding(old.encoding) if old is not None else "utf-8",
            errors="surrogateescape" if name == "stdout" else "backslashreplace",
            line_buffering=name == "stderr" or raw.isatty(),
        )
        setattr(sys, name, text)


def _encoding(name: str) -> str:
    """UTF-8 in place of ASCII, as Python itself takes it in the C locale: reports and captions are of any letters."""
    return "utf-8" if codecs.lookup(name).name == "ascii" else name
