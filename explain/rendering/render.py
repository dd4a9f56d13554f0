"""Render a report as Markdown, HTML, JSON, subtitles or CSV.

Templates are read from the folder that the user gives and then from the package, in a sandbox: a template sees plain
data (never an object of ours) and cannot reach Python. HTML is escaped by Jinja, Markdown by the filter ``md``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import partial
from pathlib import Path

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from kgvad.errors import ReportError, UsageError
from kgvad.explain.checked_text import CheckedText
from kgvad.explain.rendering.checks import CHECK_FORMS, check_context, narrative_context
from kgvad.explain.rendering.csv_table import events_csv, method_details
from kgvad.explain.rendering.escaping import (
    clock,
    code,
    fine_clock,
    markdown,
    moment,
    nowrap_options,
    qid,
    round_clock,
    stamp,
    vtt,
)
from kgvad.explain.rendering.phrases import Phrases, guard
from kgvad.explain.rendering.sentence_plan import is_unusual_only
from kgvad.explain.rendering.sentences import with_sentences
from kgvad.explain.rendering.timeline import figures
from kgvad.explain.report import Report
from kgvad.explain.text import words
from kgvad.types import Fields

FORMATS = ("md", "html", "json", "srt", "vtt", "csv")
Pictures = dict[int, bytes]  # frame to JPEG


class Renderer:
    """Renders reports in one language from one set of templates.

    Each renderer compiles its templates from their sources, once. Compiled templates are code: none is kept on disk.

    Parameters
    ----------
    language
        Code of a phrases file.
    templates
        Folder whose templates replace those of the package.

    Raises
    ------
    UsageError
        Unknown language, or ``templates`` is no folder.
    ReportError
        The phrases are not a valid template.
    """

    def __init__(self, language: str = "en", templates: Path | None = None) -> None:
        self._environment = _environment(templates)
        self.phrases = phrases = Phrases(language, self._environment)

        def decimal(value: float, digits: int = 2) -> str:
            return f"{value:.{digits}f}".replace(".", phrases.labels["decimal"])

        self._environment.filters["decimal"] = decimal

    def fingerprint(self) -> str:
        """Hash of the language and of every template: it changes when reports would look different."""
        loader, digest = self._environment.loader, hashlib.sha256(self.phrases.language.encode())
        assert loader is not None
        for name in self._environment.list_templates(extensions=["j2"]):
            source = guard(name, partial(loader.get_source, self._environment, name))[0]
            digest.update(f"\0{name}\0{source}".encode())
        return digest.hexdigest()

    def render(
        self,
        report: Report,
        form: str,
        *,
        pictures: Pictures | None = None,
        player: str | None = None,
        printed: bool = False,
    ) -> str:
        """The report as text in one of :data:`FORMATS`.

        Parameters
        ----------
        report
            What to render; its sentences are written here.
        form
            ``md``, ``html``, ``json``, ``srt``, ``vtt`` or ``csv``.
        pictures
            JPEG by frame number, shown as key frames in HTML.
        player
            Address of the video relative to the report; the HTML page plays it.
        printed
            Whether the HTML page is for paper, where nobody can unfold its details.

        Raises
        ------
        UsageError
            Unknown format.
        ReportError
            A template is wrong, or does what the sandbox forbids.
        """
        if form not in FORMATS:
            raise UsageError(f"{form!r} is not a format", f"use {', '.join(FORMATS)}")
        report = with_sentences(report, self.phrases)
        if form == "json":
            return json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        if form == "csv":
            return events_csv(report)
        context = self._context(report, player)
        if form == "html":
            context |= self._figures(report, pictures)
            context |= self._page(context, "player.js.j2", active=player is not None) | {"printed": printed}
        return self._fill(f"report.{form}.j2", context)

    def served(
        self,
        name: str,
        more: Fields,
        *,
        report: Report | None = None,
        pictures: Pictures | None = None,
        player: str | None = None,
    ) -> str:
        """A page of the inbox, whose forms and addresses belong to the server that it comes from.

        Parameters
        ----------
        name
            Template.
        more
            What the template reads beside labels and report.
        report, pictures, player
            As for :meth:`render`, for a page about one report.
        """
        context: Fields = {"labels": self.phrases.labels} | more
        if report is not None:
            context |= self._context(report, player) | self._figures(report, pictures)
        return self._fill(name, context | self._page(context, "inbox.js.j2", "inbox.css.j2", active=True, served=True))

    def _context(self, report: Report, player: str | None) -> Fields:
        """What the templates of a report with sentences read."""
        data = report.model_dump(mode="json")
        sentences: dict[str, list[Fields]] = {"notes": []}
        for sentence in data["sentences"]:
            sentences.setdefault(sentence["place"], []).append(sentence)
        labels = self.phrases.labels
        return {
            "report": data,
            "sentences": sentences,
            "labels": labels,
            "scales": self.phrases.scales,
            "relations": self.phrases.relations,
            "player": player,
            "printed": False,
            "unusual_only": is_unusual_only(report),
            "rows": method_details(report, labels),
            **narrative_context(report.narrative, self.phrases),
        }

    def _figures(self, report: Report, pictures: Pictures | None) -> Fields:
        """What is drawn on a page."""
        phrases = self.phrases
        drawn = figures(report, phrases.labels, phrases.categories, phrases.properties, pictures or {})
        return {"figures": drawn, "poster": next(iter(drawn.pictures.values()), None)}

    def check(self, checked: CheckedText, form: str) -> str:
        """A checked text in one of :data:`~kgvad.explain.rendering.checks.CHECK_FORMS`; errors as of :meth:`render`."""
        if form not in CHECK_FORMS:
            raise UsageError(f"{form!r} is not a format of a check", f"use {', '.join(CHECK_FORMS)}")
        if form == "json":
            return json.dumps(checked.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        context = check_context(checked, self.phrases)
        if form == "html":
            context |= self._page(context, "player.js.j2", active=False)
        text = self._fill(f"check.{form}.j2", context)
        return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n" if form != "html" else text

    def index(self, entries: list[Fields]) -> str:
        """The index page of many reports; ``entries`` are the fields of :class:`~kgvad.explain.batch.Entry`."""
        categories = {
            entry["category"]: self.phrases.categories.get(entry["category"], entry["category_text"])
            for entry in entries
            if entry["category"] is not None
        }
        made = [entry for entry in entries if entry["page"] is not None]
        context: Fields = {
            "entries": entries,
            "labels": self.phrases.labels,
            "categories": categories,
            "comparable": all(entry["comparable"] for entry in made),
            "limitations": list(dict.fromkeys(text for entry in made for text in entry["limitations"])),
        }
        return self._fill("index.html.j2", context | self._page(context, "index.js.j2", active=True))

    def _fill(self, name: str, context: Fields) -> str:
        template = guard(name, lambda: self._environment.get_template(name))
        return str(guard(name, lambda: template.render(context)))

    def _page(
        self,
        context: Fields,
        script_name: str,
        style_name: str = "style.css.j2",
        *,
        active: bool,
        served: bool = False,
    ) -> Fields:
        """Style sheet, script and the content security policy that allows exactly these two by their hashes.

        Where the page is ``served``, its forms and requests may go to its server, too.
        """
        style, script = (self._fill(name, context).strip() for name in (style_name, script_name))
        for name, text in ((style_name, style), (script_name, script)):
            if "</" in text:
                raise ReportError(f"the template {name} contains '</'", "remove it: it would end its element")
        forms = "'self'; connect-src 'self'" if served else "'none'"
        policy = f"default-src 'none'; style-src '{_hash(style)}'; img-src data:; base-uri 'none'; form-action {forms}"
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
    environment.filters |= {"nowrap_options": nowrap_options, "round_clock": round_clock, "fine_clock": fine_clock}
    environment.filters["moment"] = moment
    environment.tests["qid"] = qid
    return environment


def template_names() -> list[str]:
    """Names of the templates that a user's folder may replace."""
    return sorted(name for name in _environment(None).list_templates() if name.endswith(".j2"))
