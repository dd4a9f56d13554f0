"""The errors that kgvad raises.

    KgvadError                  exit code 1
    ├── UsageError              exit code 2: an option or argument is wrong
    │   └── SettingsError       kgvad.toml is wrong
    ├── WeightsError            pretrained weights missing, damaged or unreachable
    ├── KnowledgeGraphError
    │   ├── FetchError          the SPARQL service failed or refused
    │   ├── OfflineError        something is not in the cache and fetching is not allowed
    │   ├── StoreError          the cache file is damaged, locked or of a newer version
    │   └── CategoryTableError  a category table is wrong or does not match the graph
    ├── AnchorError             an anchor bank is missing, damaged or does not fit
    ├── DatasetError            published data cannot be fetched, or differs from its recipe
    ├── VideoError              a video cannot be read
    ├── FeatureError            features are missing, damaged or do not fit
    ├── RunError                a trained run is missing, damaged or does not fit
    ├── ScoresError             a file of anomaly scores is wrong
    └── ReportError             a report or template cannot be made

An error is one line that names the file, option or item, and the remedy.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import ValidationError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, a quota, a limit on the size of files
OUT_OF_MEMORY = ("not enough memory", "out of memory", "unable to allocate", "cannot allocate memory")


class KgvadError(Exception):
    """Base class of all errors that kgvad raises.

    Parameters
    ----------
    message
        What is wrong, naming the file, option or item.
    remedy
        What the reader can do about it; printed after a semicolon.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message if remedy is None else f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy


class UsageError(KgvadError):
    exit_code = 2


class SettingsError(UsageError):
    pass


class WeightsError(KgvadError):
    pass


class KnowledgeGraphError(KgvadError):
    pass


class FetchError(KnowledgeGraphError):
    pass


class OfflineError(KnowledgeGraphError):
    pass


class StoreError(KnowledgeGraphError):
    pass


class CategoryTableError(KnowledgeGraphError):
    pass


class AnchorError(KgvadError):
    pass


class DatasetError(KgvadError):
    pass


class VideoError(KgvadError):
    pass


class FeatureError(KgvadError):
    pass


class RunError(KgvadError):
    pass


class ScoresError(KgvadError):
    pass


class ReportError(KgvadError):
    pass


def first_fault(error: ValidationError) -> str:
    """Place and message of the first fault that Pydantic found, such as ``videos.a.rows: Field required``."""
    first = error.errors()[0]
    return ": ".join(filter(None, (place_of(first["loc"]), first["msg"].removeprefix("Value error, "))))


def place_of(keys: Iterable[int | str]) -> str:
    """Where in a document a fault is: its keys, joined by dots."""
    return ".".join(map(str, keys))


def one_line(error: BaseException) -> str:
    """What an exception says, on one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The beginning of what an exception says, where a library says a lot."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def failure_of(what: object, error: Exception) -> str:
    """Why one of many items failed, for work that goes on with the others."""
    if isinstance(error, KgvadError):
        return one_line(error)
    return f"{what} failed unexpectedly ({type(error).__name__}: {one_line(error)})"


def unexpected(error: BaseException) -> str:
    """One line about an exception that kgvad did not raise: a full disk, a faulty plug-in or a bug, for example."""
    from kgvad.plugins import blamed

    message = " ".join(str(error).split())[:300]
    kind = type(error).__name__
    if is_out_of_memory(error):
        place = "GPU" if "cuda" in message.casefold() else "machine"
        return (
            f"out of memory: the {place} cannot hold what this command needs ({message or kind}); "
            "close other programs, use smaller inputs or a smaller --batch, or on a GPU --device cpu"
        )
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}{error.strerror or kind}; free space on the disk that is written to, and run the command again"
    if isinstance(error, UnicodeEncodeError) and error.encoding.lower() not in ("utf-8", "utf8"):
        letter = error.object[error.start : error.start + 1]
        what = f"the encoding {error.encoding} of the output has no {letter!a}"
        return f"{what}; set PYTHONIOENCODING=utf-8, or name a file with --output"
    if (plugin := blamed(error)) is not None:
        what = f"the plug-in {plugin.name!r} ({plugin.value}) failed: {kind}: {message or 'no message'}"
        return f"{what}; repair its package, and see the traceback with --debug"
    if isinstance(error, RecursionError):
        return f"an input is nested too deeply ({message}); check the files given, or run again with --debug"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}; check this file or folder and who may read and write it"
    return f"{kind}: {message or 'no message'}; this is a bug, run again with --debug"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy, the operating system or PyTorch's allocators (CPU, CUDA) ran out of memory."""
    if isinstance(error, MemoryError):
        return True
    message = str(error).casefold()
    return isinstance(error, (RuntimeError, OSError)) and any(words in message for words in OUT_OF_MEMORY)
