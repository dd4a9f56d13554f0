"""Made-up scores and a small anchor bank for the tests of explain: 96 seconds, Normal and four categories."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from kgvad.detector.scoring.scores import Origin, Scores
from kgvad.explain.analysis.analyse import analyse
from kgvad.explain.analysis.build_report import ReportFacts, build_report
from kgvad.explain.scorers.base import ColumnTerms, ScoredVideo

CATEGORIES = ["Normal", "Robbery", "RoadAccidents", "Arson", "Burglary"]
ROWS, FPS = 180, 30.0  # 16 frames per snippet


def scores(
    *, events=((60, 80, 0.9), (120, 130, 0.6)), names="no", trained=False, name="video.mp4", aligned=True, **origin
) -> Scores:
    """Low scores with events (first snippet, stop, score); the first event is a robbery, the others are arson."""
    rng = np.random.default_rng(7)
    values = rng.uniform(0.02, 0.12, ROWS)
    alignment = rng.normal(0, 0.3, (ROWS, len(CATEGORIES)))
    alignment[:, 0] += 2
    for index, (first, stop, score) in enumerate(events):
        values[first:stop] = score - 0.002 * np.arange(stop - first)
        alignment[first:stop, 1 if index == 0 else 3] += 3
    starts = np.arange(ROWS) * 16
    concepts = np.repeat(alignment, 3, axis=1) / 10 + rng.normal(0, 0.01, (ROWS, 15))
    return Scores(
        name,
        FPS,
        ROWS * 16,
        np.stack([starts, starts + 16], 1),
        values.astype(np.float32),
        alignment=alignment.astype(np.float32) if aligned else None,
        categories=CATEGORIES if aligned else None,
        normal=0 if aligned else None,
        concept_alignment=concepts.astype(np.float32) if aligned else None,
        origin=Origin(scorer=origin.pop("scorer", "training-free"), trained=trained, names_categories=names, **origin),
    )


def bank(**changes):
    """What explain reads of an anchor bank: three concepts a category, in the order of :func:`scores`."""
    concepts = []
    for category in CATEGORIES:
        for number, relation in enumerate(("label", "superclass", "cue")):
            graph = relation != "cue"
            concepts.append(
                SimpleNamespace(
                    category=category,
                    text=f"{category.lower()} {relation}",
                    prompt=f"a video of {category.lower()} {relation}",
                    relation=relation,
                    qid=f"Q{100 + number}" if graph else None,
                    property="P279" if relation == "superclass" else None,
                    path=(("Q1", "P279", f"Q{100 + number}"),) if relation == "superclass" else (),
                    path_text=f"{category.lower()} is a kind of {category.lower()} {relation}" if graph else "",
                    source="test",
                    fetched_at="2026-01-02T03:04:05+00:00" if graph else None,
                )
            )
    fields = {
        "dataset": "ucf",
        "categories": list(CATEGORIES),
        "normal": 0,
        "concepts": concepts,
        "concept_category": np.repeat(np.arange(5), 3),
        "encoder": SimpleNamespace(name="minilm", source="minilm", fingerprint="f" * 64, dim=384, joint=None),
        "facts_date": "2026-01-02T03:04:05+00:00",
        "fingerprint": "b" * 64,
    }
    return SimpleNamespace(**(fields | changes))


COLUMNS = ("running", "opening door", "extinguishing fire", "reading")


def terms():
    """Contributions of four columns; over any snippets the last category has 0, 1, 2 and -1, the others have none."""
    values = np.zeros((len(CATEGORIES), len(COLUMNS)), np.float32)
    values[1:] = 0.01  # Normal's row is 0
    values[-1] = (0, 1, 2, -1)
    vectors = np.eye(len(COLUMNS), 15, 11, dtype=np.float32)  # "extinguishing fire" lies on the last superclass
    return ColumnTerms(COLUMNS, vectors, lambda weights: values)


def report_on(given, *, texts=None, facts=None, **scored):
    """The report on scores; ``scored`` are further fields of ScoredVideo, ``facts`` those of ReportFacts."""
    video = ScoredVideo(given, **scored)
    return build_report(video, analyse(video, category_texts=texts), ReportFacts(**(facts or {})))
