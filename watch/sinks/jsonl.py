"""Messages as lines of a file."""

from __future__ import annotations

from pathlib import Path

from kgvad.errors import UsageError
from kgvad.watch.messages import CameraMessage, EventMessage, to_line
from kgvad.watch.sinks.base import NotDeliveredError


class JsonLines:
    """Appends every message to a file."""

    def __init__(self, target: str, folder: Path | None) -> None:
        self._path = Path(target).expanduser()
        if self._path.is_dir():
            raise UsageError(f"--sink jsonl:{target} is a folder", "name a file")

    def deliver(self, message: EventMessage | CameraMessage, key: str) -> None:
        """Append one line."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(to_line(message) + "\n")
        except OSError as error:
            raise NotDeliveredError(f"{self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is open between two messages."""
