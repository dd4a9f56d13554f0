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
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined
from jinja2.exceptions import SecurityError, TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from kgvad.errors import ReportError, UsageError
from kgvad.explain.rendering.csv_table import events_csv, particulars
from kgvad.explain.rendering.escaping import clock, code, markdown, qid, stamp, vtt, words
from kgvad.explain.rendering.sentences import with_sentences
from kgvad.explain.rendering.timeline import figures
from kgvad.explain.report import Report

FORMATS = ("md", "html", "json", "srt", "vtt", "csv")
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

    def __init__(self, language: str, environment: ImmutableSandboxedEnvironment) -> None:
        self.language = language
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
        self.properties: dict[str, str] = dict(self._macros.get("properties", {}))

    def say(self, key: str, values: dict[str, Any]) -> str:
        """The sentence ``key`` with ``values``; empty text where the language leaves it out."""
        macro = self._macros.get(key)
        if macro is None or not callable(macro):
            raise ReportError(f"phrases.{self.language}.j2 has no sentence {key!r}", "add the macro")
        return str(_guard(f"phrases.{self.language}.j2, {key}", lambda: macro(**values)))


class Renderer:
    """Makes views in one language from one set of templates.

    Each renderer compiles its templates from their sources, once. Compiled templates are code: none is kept on disk.

    Parameters
    ----------
    language
        Code of a phrases file.
    templates
        Folder whose templates win over those of the package.

    Raises
    ------
    UsageError
        Unknown language, or ``templates`` is no folder.
    ReportError
        The phrases are no valid template.
    """

    def __init__(self, language: str = "en", templates: Path | None = None) -> None:
        self._environment = _environment(templates)
        self.phrases = phrases = Phrases(language, self._environment)

        def category(share: dict[str, str]) -> str:
            return phrases.categories.get(share["name"], share["text"])

        def decimal(value: float, digits: int = 2) -> str:
            return f"{value:.{digits}f}".replace(".", phrases.labels["decimal"])

        self._environment.filters |= {"category": category, "decimal": decimal}

    def fingerprint(self) -> str:
        """Hash of the language and of every template, to notice that a view would look otherwise."""
        loader, digest = self._environment.loader, hashlib.sha256(self.phrases.language.encode())
        assert loader is not None
        for name in self._environment.list_templates(extensions=["j2"]):
            source = _guard(name, partial(loader.get_source, self._environment, name))[0]
            digest.update(f"\0{name}\0{source}".encode())
        return digest.hexdigest()

    def render(self, report: Report, form: str, *, pictures: Pictures | None = None, player: str | None = None) -> str:
        """The report as text in one of :data:`FORMATS`.

        Parameters
        ----------
        report
            What to show; its sentences are made here.
        form
            ``md``, ``html``, ``json``, ``srt``, ``vtt`` or ``csv``.
        pictures
            JPEG by frame number, shown as key frames in HTML.
        player
            Where the video is, relative to the report; HTML links and plays it.

        Raises
        ------
        UsageError
            Unknown format.
        ReportError
            A template is wrong or tried what the sandbox forbids.
        """
        if form not in FORMATS:
            raise UsageError(f"{form!r} is not a format", f"use {', '.join(FORMATS)}")
        report = with_sentences(report, self.phrases)
        data = report.model_dump(mode="json")
        if form == "json":
            return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        if form == "csv":
            return events_csv(report)
        said: dict[str, list[dict[str, Any]]] = {"notes": []}
        for sentence in data["sentences"]:
            said.setdefault(sentence["place"], []).append(sentence)
        labels = self.phrases.labels
        context: dict[str, Any] = {
            "report": data,
            "said": said,
            "labels": labels,
            "scales": self.phrases.scales,
            "relations": self.phrases.relations,
            "gravities": self.phrases.gravities,
            "player": player,
            "rows": particulars(report, labels),
        }
        if form == "html":
            words = self.phrases
            context["figures"] = drawn = figures(report, labels, words.categories, words.properties, pictures or {})
            context["poster"] = next(iter(drawn.pictures.values()), None)
            context |= self._page(context, "player.js.j2", active=player is not None)
        return self._fill(f"report.{form}.j2", context)

    def index(self, entries: list[dict[str, Any]]) -> str:
        """The page over many reports; ``entries`` are the fields of :class:`~kgvad.explain.batch.Entry`."""
        categories = {
            entry["category"]: self.phrases.categories.get(entry["category"], entry["category_text"])
            for entry in entries
            if entry["category"] is not None
        }
        context: dict[str, Any] = {"entries": entries, "labels": self.phrases.labels, "categories": categories}
        return self._fill("index.html.j2", context | self._page(context, "index.js.j2", active=True))

    def _fill(self, name: str, context: dict[str, Any]) -> str:
        template = _guard(name, lambda: self._environment.get_template(name))
        return str(_guard(name, lambda: template.render(context)))

    def _page(self, context: dict[str, Any], script_name: str, *, active: bool) -> dict[str, Any]:
        """Style sheet, script and the content security policy that allows exactly these two by their hashes."""
        style, script = (self._fill(name, context).strip() for name in ("style.css.j2", script_name))
        for name, text in (("style.css.j2", style), (script_name, script)):
            if "</" in text:
                raise ReportError(f"the template {name} contains '</'", "remove it: it would end its element")
        policy = f"default-src 'none'; style-src '{_hash(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
        if active:
            policy += f"; media-src 'self' file:; script-src '{_hash(script)}'"
        return {"style": Markup(style), "script": Markup(script), "policy": policy}


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


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
