"""What a sink is, and the registry through which sinks are found by name.

========  =====================================  ===========================================================
name      target                                 what it gets
========  =====================================  ===========================================================
jsonl     file                                   every message, as a line
webhook   http(s) URL                            every message, as a signed POST
mqtt      mqtt(s)://HOST[:PORT][/PREFIX]         every message, and entities for Home Assistant
email     smtp(s)://HOST[:PORT]/TO?from=FROM     events that closed, with their report
========  =====================================  ===========================================================

A sink of another package registers in the entry-point group ``kgvad.sinks``. The value is a factory
``factory(target: str, folder: Path | None) -> Sink``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

from kgvad import plugins
from kgvad.errors import KgvadError, UsageError
from kgvad.watch.messages import CameraMessage, EventMessage

GROUP = "kgvad.sinks"
_OWN = {
    "jsonl": "kgvad.watch.sinks.jsonl:JsonLines",
    "webhook": "kgvad.watch.sinks.webhook:Webhook",
    "mqtt": "kgvad.watch.sinks.mqtt:Mqtt",
    "email": "kgvad.watch.sinks.mail:Email",
}


class NotDeliveredError(Exception):
    """A message could not be delivered now; it is tried again."""


class RefusedError(Exception):
    """The receiver will never take this message; it is not tried again."""


@runtime_checkable
class Sink(Protocol):
    """Takes messages, one at a time, from one thread. Messages that were not delivered are kept and come again."""

    def deliver(self, message: EventMessage | CameraMessage, key: str) -> None:
        """Send one message and return once the receiver has it.

        Parameters
        ----------
        message
            What happened. Paths in it are relative to the folder that the sink was made with.
        key
            Identifier of the message; a receiver that knows it has the message already.

        Raises
        ------
        NotDeliveredError
            The receiver cannot be reached, or is busy.
        RefusedError
            It does not take this message.
        """
        ...

    def close(self) -> None:
        """Watching ends."""
        ...


def server_of(target: str, ports: Mapping[str, int]) -> tuple[str, int] | None:
    """Host and port of an address; ``ports`` has the usual port of each scheme. ``None`` for anything else."""
    try:
        parts = urlsplit(target)
        port = parts.port
    except ValueError:
        return None
    return (parts.hostname, port or ports[parts.scheme]) if parts.scheme in ports and parts.hostname else None


def make_sink(text: str, folder: Path | None) -> Sink:
    """The sink that ``KIND:TARGET`` names.

    Parameters
    ----------
    text
        As typed, such as ``webhook:https://example.org/alarms``.
    folder
        Folder of reports and clips.

    Raises
    ------
    UsageError
        Unknown kind, a target that does not fit it, or a library of an extra is missing.
    KgvadError
        The package that registers the sink cannot be imported, or gives something else.
    """
    kind, colon, target = text.partition(":")
    points = plugins.registered(GROUP, _OWN)
    if not colon or not target or kind not in points:
        raise UsageError(f"unknown sink {text[:60]!r}", f"use KIND:TARGET with one of {', '.join(points)}")
    try:
        return plugins.make(points[kind], "sink", Sink, target, folder)
    except KgvadError as error:
        missing = error.__cause__
        if kind in _OWN and isinstance(missing, ImportError):
            remedy = "install it with: pip install 'kgvad[watch]'"
            raise UsageError(f"--sink {kind} needs {missing.name}", remedy) from error
        raise
