"""Detector options on the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from kgvad.errors import UsageError
from kgvad.types import Fields


def parse_options(pairs: Sequence[str]) -> Fields:
    """Detector options from ``NAME=VALUE``; a value is JSON if it can be parsed, else text.

    A dotted name (``captions.width``) is an option of a nested model.

    Raises
    ------
    UsageError
        A pair has another form.
    """
    options: Fields = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not all(name.split(".")):
            raise UsageError(f"--set {pair!r} is not NAME=VALUE", "write for example --set width=64")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        for key in reversed(name.split(".")):
            value = {key: value}
        options = merged(options, value)
    return options


def merged(values: Mapping[str, object], overrides: Mapping[str, object]) -> Fields:
    """Nested ``values`` with ``overrides`` in place of their own."""
    result = dict(values)
    for name, value in overrides.items():
        if isinstance(value, Mapping):
            below = result.get(name)
            result[name] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[name] = value
    return result
