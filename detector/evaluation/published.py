"""Figures that others published, and figures measured here; never in one table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kgvad.detector.evaluation.report import Report, markdown_table
from kgvad.errors import UsageError
from kgvad.files import check_version, read_json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TITLES = {"ucf": "UCF-Crime", "xd": "XD-Violence", "shanghaitech": "ShanghaiTech"}
FIGURES = {
    "ucf": {"auc": "AUC", "ano_auc": "Ano-AUC", "map": "mAP"},
    "xd": {"ap": "AP", "map": "mAP"},
    "shanghaitech": {"auc": "AUC"},
}


class Published(BaseModel):
    """What one paper reports of one method, in percent.

    Attributes
    ----------
    name, year, features
        The method and what it looks at; ``None`` where the source does not say.
    source
        Whose table the figures are from.
    protocol
        How the reported state of the model was chosen.
    ucf, xd, shanghaitech
        Figures by dataset, named as in ``FIGURES``.
    note
        What a reader should know, by dataset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    year: int | None = None
    features: str | None = None
    source: Literal["own", "another paper", "VadCLIP"]
    protocol: str
    ucf: dict[str, float] = {}
    xd: dict[str, float] = {}
    shanghaitech: dict[str, float] = {}
    note: dict[str, str] = {}

    def figures(self, dataset: str) -> dict[str, float]:
        """Its figures on ``dataset``; empty where it has none."""
        return {"ucf": self.ucf, "xd": self.xd, "shanghaitech": self.shanghaitech}.get(dataset, {})


class Collection(BaseModel):
    """Evaluations kept in one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    evaluations: list[Report] = Field(default_factory=list)


def published() -> list[Published]:
    """The bundled figures of others, in the order of their data file."""
    data = tomllib.loads(files("kgvad.detector.evaluation").joinpath("published.toml").read_text("utf-8"))
    return [Published.model_validate(entry) for entry in data["method"]]


def collect(paths: Sequence[Path]) -> Collection:
    """Evaluations from files that ``kgvad evaluate --json`` or ``kgvad results --json`` wrote.

    What was measured of each single run is left out: the collection is made for reading.

    Raises
    ------
    UsageError
        A file is not such a file.
    """
    found: list[Report] = []
    for path in paths:
        try:
            data = read_json(path, UsageError, "name files written by kgvad evaluate --json")
            check_version(data, path, 1, UsageError, "measure again: kgvad evaluate --json")
            kind = Collection if isinstance(data, dict) and "evaluations" in data else Report
            read = kind.model_validate(data)
        except ValidationError as error:
            reason = str(error).splitlines()[0]
            raise UsageError(
                f"{path} is no evaluation: {reason}", "name files written by kgvad evaluate --json"
            ) from None
        found.extend(read.evaluations if isinstance(read, Collection) else [read])
    return Collection(
        evaluations=[
            one.model_copy(update={"methods": [method.model_copy(update={"runs": []}) for method in one.methods]})
            for one in found
        ]
    )


def measured() -> Collection:
    """Evaluations that this version of kgvad brings along."""
    return Collection.model_validate_json(
        files("kgvad.detector.evaluation").joinpath("measured.json").read_text("utf-8")
    )


Piece = tuple[str, list[str], list[list[str]], int] | str  # a table (title, heads, rows, text columns) or a sentence


def pieces(collection: Collection, datasets: Sequence[str]) -> list[Piece]:
    """Tables and sentences: for each dataset what others published, and below it, apart, what was measured here."""
    found: list[Piece] = []
    for dataset in datasets:
        found += _published_pieces(dataset) if dataset in FIGURES else []
        reports = [report for report in collection.evaluations if report.dataset == dataset]
        for report in reports:
            (_, heads, rows), *others = report.tables()
            features = sorted({" + ".join(filter(None, (m.encoder, m.text))) for m in report.methods})
            title = f"{TITLES.get(dataset, dataset)}: measured here, features {', '.join(features)}"
            found += [(title, heads, rows, 1), *((*other, 1) for other in others), " ".join(report.lines())]
        if not reports:
            found.append(f"{TITLES.get(dataset, dataset)}: nothing measured here.")
    return found


def _published_pieces(dataset: str) -> list[Piece]:
    names = FIGURES[dataset]
    first = next(iter(names))
    chosen = sorted((one for one in published() if one.figures(dataset)), key=lambda one: one.figures(dataset)[first])
    rows = [
        [
            one.name,
            str(one.year or ""),
            one.features or "",
            one.source,
            one.protocol,
            *(f"{one.figures(dataset)[name]:.2f}" if name in one.figures(dataset) else "" for name in names),
        ]
        for one in chosen
    ]
    heads = ["method", "year", "features", "table of", "chosen by", *names.values()]
    notes = [f"{one.name}: {one.note[dataset]}." for one in chosen if dataset in one.note]
    about = "In percent, as printed; all test videos of the dataset, evaluated by the authors."
    if dataset == "ucf":
        about += " Their mAP counts a class that is never found: it cannot exceed 92.86."
    return [
        (f"{TITLES[dataset]}: published by others, not run by us", heads, rows, 5),
        " ".join([about, *notes]),
    ]


def as_markdown(found: Sequence[Piece]) -> str:
    """Tables and sentences for a document."""
    return "\n".join(f"\n{one}" if isinstance(one, str) else markdown_table(*one) for one in found).lstrip() + "\n"
