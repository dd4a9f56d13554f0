"""Messages as lines of a file."""

from __future__ import annotations

from pathlib import Path

from kgvad.errors import KgvadError, UsageError
from kgvad.files import append_line
from kgvad.watch.messages import CameraMessage, EventMessage, to_line
from kgvad.watch.sinks.base import NotDeliveredError


class JsonLines:
    """Appends every message to a file."""

    def __init__(self, target: str, folder: Path | None) -> None:
        self._path = Path(target).expanduser()
        if self._path.exists() and not self._path.is_file():
            raise UsageError(f"--sink jsonl:{target} is a folder, a pipe or a device", "name a file")

    def deliver(self, message: EventMessage | CameraMessage, key: str) -> None:
        """Append one line."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            append_line(self._path, to_line(message))
        except KgvadError as error:
            raise NotDeliveredError(error.message) from error
        except OSError as error:
            raise NotDeliveredError(f"{self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is open between two messages."""
