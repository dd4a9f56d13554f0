"""Sentences and labels of one language."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from jinja2.exceptions import SecurityError, TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kgvad.errors import ReportError, UsageError
from kgvad.types import Fields

TABLES = ("labels", "scales", "severities", "relations", "properties", "categories")


class Phrases:
    """Sentences and labels, read from ``phrases.<language>.j2``.

    A sentence is a macro of that file. Macros whose names start with an underscore are building blocks of others.

    Raises
    ------
    UsageError
        No such language.
    ReportError
        The file is not a valid template, or lacks one of :data:`TABLES`.
    """

    def __init__(self, language: str, environment: ImmutableSandboxedEnvironment) -> None:
        self.language = language
        self.file = f"phrases.{language}.j2"
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,20}", language):
            raise UsageError(f"{language!r} is not a language code", "use, for example, en or de")
        known = sorted(n.split(".")[1] for n in environment.list_templates() if re.fullmatch(r"phrases\.[^.]+\.j2", n))
        if language not in known:
            raise UsageError(f"there are no phrases for the language {language!r}", f"known: {', '.join(known)}")
        module = vars(guard(self.file, lambda: environment.get_template(self.file).make_module()))
        for part in TABLES:
            if part not in module:
                raise ReportError(f"the template {self.file} does not set {part}", "copy it from the English file")
        self.labels: Fields = dict(module["labels"])
        self.scales: Fields = dict(module["scales"])
        self.severities: list[str] = list(module["severities"])
        self.relations: dict[str, str] = dict(module["relations"])
        self.properties: dict[str, str] = dict(module["properties"])
        self.categories: dict[str, str] = dict(module["categories"])
        self.sentences: dict[str, Callable[..., str]] = {
            name: value for name, value in module.items() if hasattr(value, "arguments")
        }

    def sentence(self, key: str, values: Fields) -> str:
        """The sentence ``key`` filled with ``values``.

        Raises
        ------
        ReportError
            The language has no such sentence, or its macro fails.
        """
        if key not in self.sentences:
            raise ReportError(f"{self.file} has no sentence {key!r}", "add the macro")
        return str(guard(f"{self.file}, {key}", lambda: self.sentences[key](**values)))


def guard(name: str, action: Callable[[], Any]) -> Any:
    """``action()``, with Jinja's errors as one line that names the template."""
    try:
        return action()
    except SecurityError as error:
        raise ReportError(f"the template {name} tried something forbidden: {error}", "remove it") from error
    except TemplateNotFound as error:
        raise ReportError(f"the template {error.name} is missing", "add it to the folder of templates") from error
    except TemplateSyntaxError as error:
        where = error.name or name
        raise ReportError(f"the template {where}, line {error.lineno}: {error.message}", "correct it") from error
    except (TemplateError, TypeError, ValueError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise ReportError(f"the template {name} failed: {error}", "correct it") from error
