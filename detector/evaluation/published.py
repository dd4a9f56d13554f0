"""Results that others published, and results measured here; never in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kgvad.detector.evaluation.report import EvaluationReport
from kgvad.detector.evaluation.tables import ResultTable
from kgvad.errors import UsageError, first_fault
from kgvad.files import check_version, read_json
from kgvad.toml import tomllib

TITLES = {"ucf": "UCF-Crime", "xd": "XD-Violence", "shanghaitech": "ShanghaiTech"}
PUBLISHED_METRICS = {
    "ucf": {"auc": "AUC", "ano_auc": "Ano-AUC", "map": "mAP"},
    "xd": {"ap": "AP", "map": "mAP"},
    "shanghaitech": {"auc": "AUC"},
}
TRANSFERS = {"ucf_to_xd_ap": "UCF-Crime to XD-Violence, AP", "xd_to_ucf_auc": "XD-Violence to UCF-Crime, AUC"}


class Published(BaseModel):
    """Results of one method in one paper, in percent.

    Attributes
    ----------
    name, year, features
        The method and its features; ``None`` where the source does not say.
    source
        Whose table the results are from.
    protocol
        How the reported checkpoint was chosen.
    ucf, xd, shanghaitech
        Results by dataset, named as in ``PUBLISHED_METRICS``.
    note
        What a reader should know, by dataset.
    std
        Standard deviation over seeds of a mean, by dataset and metric.
    iou
        mAP at IoU 0.1 to 0.5, by dataset.
    transfer
        Results on another dataset than that of the training, named as in ``TRANSFERS``.
    sound
        Whether the method reads the sound of the videos.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    year: int | None = None
    features: str | None = None
    source: Literal["own", "another paper", "VadCLIP", "SemVAD"]
    protocol: str
    ucf: dict[str, float] = {}
    xd: dict[str, float] = {}
    shanghaitech: dict[str, float] = {}
    note: dict[str, str] = {}
    std: dict[str, dict[str, float]] = {}
    iou: dict[str, tuple[float, float, float, float, float]] = {}
    transfer: dict[str, float] = {}
    sound: bool = False

    def on(self, dataset: str) -> dict[str, float]:
        """Its results on ``dataset``; empty where it has none."""
        return {"ucf": self.ucf, "xd": self.xd, "shanghaitech": self.shanghaitech}.get(dataset, {})


class Collection(BaseModel):
    """Evaluations kept in one file; ``note`` says what a reader should know of all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    note: str = ""
    evaluations: list[EvaluationReport] = Field(default_factory=list)


def published() -> list[Published]:
    """The bundled results of others, in the order of their data file."""
    data = tomllib.loads(files("kgvad.detector.evaluation").joinpath("published.toml").read_text("utf-8"))
    return [Published.model_validate(entry) for entry in data["method"]]


def collect(paths: Sequence[Path]) -> Collection:
    """Evaluations from files that ``kgvad evaluate --json`` or ``kgvad results --json`` wrote.

    The results of single runs are left out.

    Raises
    ------
    UsageError
        A file has another format.
    """
    found: list[EvaluationReport] = []
    notes: list[str] = []
    for path in paths:
        try:
            data = read_json(path, UsageError, "name files written by kgvad evaluate --json")
            check_version(data, path, 1, UsageError, "measure again: kgvad evaluate --json")
            kind = Collection if isinstance(data, dict) and "evaluations" in data else EvaluationReport
            read = kind.model_validate(data)
        except ValidationError as error:
            raise UsageError(
                f"{path} is not an evaluation: {first_fault(error)}", "name files written by kgvad evaluate --json"
            ) from None
        found.extend(read.evaluations if isinstance(read, Collection) else [read])
        notes.extend([read.note] if isinstance(read, Collection) else [])
    return Collection(
        note=" ".join(dict.fromkeys(notes)),
        evaluations=[
            one.model_copy(update={"methods": [method.model_copy(update={"runs": []}) for method in one.methods]})
            for one in found
        ],
    )


def measured() -> Collection:
    """Evaluations bundled with this version of kgvad."""
    return Collection.model_validate_json(
        files("kgvad.detector.evaluation").joinpath("measured.json").read_text("utf-8")
    )


ResultBlock = ResultTable | str  # a table, or the notes below it


def result_blocks(collection: Collection, datasets: Sequence[str]) -> list[ResultBlock]:
    """Tables and notes: for each dataset published results, then, in tables of their own, results measured here."""
    found: list[ResultBlock] = []
    for dataset in datasets:
        found += _published_blocks(dataset) if dataset in PUBLISHED_METRICS else []
        reports = [report for report in collection.evaluations if report.dataset == dataset]
        for report in reports:
            first, *others = report.tables()
            features = sorted({" + ".join(filter(None, (m.encoder, m.text))) for m in report.methods})
            title = f"{TITLES.get(dataset, dataset)}: measured here, features {', '.join(features)}"
            found += [replace(first, title=title), *others, " ".join([*report.notes(), collection.note]).strip()]
        if not reports:
            found.append(f"{TITLES.get(dataset, dataset)}: nothing measured here.")
    return found


def _published_blocks(dataset: str) -> list[ResultBlock]:
    names = PUBLISHED_METRICS[dataset]
    first = next(iter(names))
    found = sorted((one for one in published() if one.on(dataset)), key=lambda one: one.on(dataset)[first])
    header = ["method", "year", "features", "reported by", "checkpoint chosen by", *names.values()]
    title = f"{TITLES[dataset]}: published by others, not run by us"
    blocks: list[ResultBlock] = []
    for sound in (False, True):
        chosen = [one for one in found if one.sound is sound]
        rows = [
            [one.name, str(one.year or ""), one.features or "", one.source, one.protocol, *_cells(one, dataset)]
            for one in chosen
        ]
        if rows:
            blocks.append(ResultTable(title + ", with sound" * sound, header, rows, text_columns=5))
            blocks.append(" ".join([_about(dataset), *_notes(chosen, dataset)]))
    return blocks + _iou_blocks(found, dataset) + _transfer_blocks(found, dataset)


def _cells(one: Published, dataset: str) -> list[str]:
    """Results of a method, with the deviation of a mean."""
    values, deviations = one.on(dataset), one.std.get(dataset, {})
    return [
        (f"{values[name]:.2f}" if name in values else "") + (f" ± {deviations[name]:.2f}" if name in deviations else "")
        for name in PUBLISHED_METRICS[dataset]
    ]


def _about(dataset: str) -> str:
    about = "In percent, as printed; evaluated by the authors on all test videos of the dataset."
    if dataset == "ucf":
        about += " Their mAP includes a class that is never found: it cannot exceed 92.86."
    return about


def _notes(chosen: Sequence[Published], dataset: str) -> list[str]:
    """Each note once, with the methods that it is about."""
    methods: dict[str, list[str]] = {}
    for one in chosen:
        if dataset in one.note:
            methods.setdefault(one.note[dataset], []).append(one.name)
    return [f"{', '.join(dict.fromkeys(names))}: {note}." for note, names in methods.items()]


def _iou_blocks(found: Sequence[Published], dataset: str) -> list[ResultBlock]:
    rows = [
        [one.name, one.source, one.protocol, *(f"{value:.2f}" for value in one.iou[dataset])]
        for one in found
        if dataset in one.iou
    ]
    header = ["method", "reported by", "checkpoint chosen by", "0.1", "0.2", "0.3", "0.4", "0.5"]
    title = f"{TITLES[dataset]}: mAP by IoU, published by others"
    return [ResultTable(title, header, rows, text_columns=3)] if rows else []


def _transfer_blocks(found: Sequence[Published], dataset: str) -> list[ResultBlock]:
    """Results of methods trained on ``dataset`` and tested on another."""
    columns = {key: name for key, name in TRANSFERS.items() if key.startswith(f"{dataset}_to_")}
    rows = [
        [one.name, one.source, *(f"{one.transfer[key]:.2f}" for key in columns)]
        for one in found
        if columns and set(columns) <= set(one.transfer)
    ]
    title = f"{TITLES[dataset]}: transfer, published by others"
    return [ResultTable(title, ["method", "reported by", *columns.values()], rows, text_columns=2)] if rows else []


def as_markdown(blocks: Sequence[ResultBlock]) -> str:
    """Tables and notes for a document."""
    return "\n".join(f"\n{one}" if isinstance(one, str) else one.as_markdown() for one in blocks).lstrip() + "\n"
