"""Views of a report: Markdown, HTML, JSON, subtitles and a table.

Templates are read from the folder that the user gives and then from the package, in a sandbox: a template sees plain
data (never an object of ours) and cannot reach Python. HTML is escaped by Jinja, Markdown by the filter ``md``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined
from jinja2.exceptions import SecurityError, TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from kgvad.errors import ReportError, UsageError
from kgvad.explain.figures import figures
from kgvad.explain.report import Report
from kgvad.explain.sentences import with_sentences
from kgvad.explain.tables import events_csv, particulars
from kgvad.explain.text import clock, code, markdown, qid, stamp, vtt, words

FORMATS = {
    "md": "report.md.j2",
    "html": "report.html.j2",
    "json": None,
    "srt": "report.srt.j2",
    "vtt": "report.vtt.j2",
    "csv": None,
}
Pictures = dict[int, bytes]  # frame to JPEG


class Phrases:
    """The sentences and labels of one language, read from ``phrases.<language>.j2``.

    Raises
    ------
    UsageError
        No such language.
    ReportError
        The file is no valid template, or lacks its labels.
    """

    def __init__(self, language: str, templates: Path | None = None) -> None:
        self.language = language
        environment = _environment(templates)
        name = f"phrases.{language}.j2"
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,20}", language):
            raise UsageError(f"{language!r} is not a language code", "use, for example, en or de")
        known = sorted(n.split(".")[1] for n in environment.list_templates() if re.fullmatch(r"phrases\.[^.]+\.j2", n))
        if language not in known:
            raise UsageError(f"there are no phrases for the language {language!r}", f"known: {', '.join(known)}")
        module = _guard(name, lambda: environment.get_template(name).make_module())
        self._macros = vars(module)
        for part in ("labels", "scales", "gravities", "relations", "categories"):
            if part not in self._macros:
                raise ReportError(f"the template {name} does not set {part}", "copy it from the English file")
        self.labels: dict[str, Any] = dict(self._macros["labels"])
        self.categories: dict[str, str] = dict(self._macros["categories"])
        self.scales: dict[str, Any] = dict(self._macros["scales"])
        self.gravities: list[str] = list(self._macros["gravities"])
        self.relations: dict[str, str] = dict(self._macros["relations"])

    def say(self, key: str, values: dict[str, Any]) -> str:
        """The sentence ``key`` with ``values``; empty text where the language leaves it out."""
        macro = self._macros.get(key)
        if macro is None or not callable(macro):
            raise ReportError(f"phrases.{self.language}.j2 has no sentence {key!r}", "add the macro")
        return str(_guard(f"phrases.{self.language}.j2, {key}", lambda: macro(**values)))


def render(
    report: Report,
    form: str,
    *,
    language: str = "en",
    templates: Path | None = None,
    pictures: Pictures | None = None,
    player: str | None = None,
) -> str:
    """The report as text in one of :data:`FORMATS`.

    Parameters
    ----------
    report
        What to show; its sentences are made here, in ``language``.
    form
        ``md``, ``html``, ``json``, ``srt``, ``vtt`` or ``csv``.
    language
        Code of a phrases file.
    templates
        Folder whose templates win over those of the package.
    pictures
        JPEG by frame number, shown as key frames in HTML.
    player
        Where the video is, relative to the report; HTML links and plays it.

    Raises
    ------
    UsageError
        Unknown format or language, or ``templates`` is no folder.
    ReportError
        A template is wrong or tried what the sandbox forbids.
    """
    if form not in FORMATS:
        raise UsageError(f"{form!r} is not a format", f"use {', '.join(FORMATS)}")
    phrases = Phrases(language, templates)
    report = with_sentences(report, phrases)
    if form == "json":
        return json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if form == "csv":
        return events_csv(report)
    name = FORMATS[form]
    assert name is not None
    environment = _environment(templates)
    environment.filters |= {
        "category": lambda share: phrases.categories.get(share["name"], share["text"]),
        "decimal": lambda value, digits=2: f"{value:.{digits}f}".replace(".", phrases.labels["decimal"]),
    }
    data = report.model_dump(mode="json")
    said: dict[str, list[dict[str, Any]]] = {}
    for sentence in data["sentences"]:
        said.setdefault(sentence["place"], []).append(sentence)
    context = {
        "report": data,
        "said": said,
        "labels": phrases.labels,
        "scales": phrases.scales,
        "relations": phrases.relations,
        "gravities": phrases.gravities,
        "player": player,
        "rows": particulars(report, phrases.labels),
        "figures": figures(report, phrases.labels, phrases.categories, pictures or {}) if form == "html" else {},
    }
    if form == "html":
        context |= _page(environment, context)
    template = _guard(name, lambda: environment.get_template(name))
    return str(_guard(name, lambda: template.render(context)))


def _page(environment: ImmutableSandboxedEnvironment, context: dict[str, Any]) -> dict[str, Any]:
    """Style sheet, script and the content security policy that allows exactly these two by their hashes."""
    parts = {}
    for key, name in (("style", "style.css.j2"), ("script", "player.js.j2")):
        parts[key] = _guard(name, lambda name=name: environment.get_template(name).render(context)).strip()
        if "</" in parts[key]:
            raise ReportError(f"the template {name} contains '</'", "remove it: it would end its element")
    hashes = {key: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for key, text in parts.items()}
    policy = (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    if context["player"]:
        policy += f"; media-src 'self' file:; script-src 'sha256-{hashes['script']}'"
    return {key: Markup(text) for key, text in parts.items()} | {"policy": policy}


def _environment(templates: Path | None) -> ImmutableSandboxedEnvironment:
    loaders: list[BaseLoader] = []
    if templates is not None:
        if not templates.is_dir():
            raise UsageError(f"--templates {templates} is not a folder", "name a folder with templates in it")
        loaders.append(FileSystemLoader(templates))
    loaders.append(PackageLoader("kgvad.templates", ""))
    environment = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader(loaders),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"clock": clock, "stamp": stamp, "md": markdown, "code": code, "words": words, "vtt": vtt}
    environment.tests["qid"] = qid
    return environment


def _guard(name: str, action: Callable[[], Any]) -> Any:
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


def template_names() -> list[str]:
    """Names of the templates that a user's folder may replace."""
    return sorted(name for name in _environment(None).list_templates() if name.endswith(".j2"))
