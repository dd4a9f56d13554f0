"""What other packages register through entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from kgvad.errors import KgvadError


def load(point: EntryPoint, kind: str) -> object:
    """What an entry point names; ``kind`` says what it should be, for messages.

    Raises
    ------
    KgvadError
        Its package cannot be imported.
    """
    try:
        value: object = point.load()
    except Exception as error:  # a plugin may raise anything while it is imported
        raise KgvadError(
            f"{kind} {point.name!r} ({point.value}) cannot be loaded: {error}", "repair its package"
        ) from error
    return value


def load_factory(point: EntryPoint, kind: str) -> object:
    """The callable that an entry point names.

    Raises
    ------
    KgvadError
        Its package cannot be imported, or it names something else.
    """
    factory = load(point, kind)
    if not callable(factory):
        raise KgvadError(f"{kind} {point.name!r} ({point.value}) is not a factory", "repair its package")
    return factory
