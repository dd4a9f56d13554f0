"""The report as data. Markdown, HTML, JSON, subtitles and tables are views of one :class:`Report`.

Everything a view says is a field here (``sentences.py`` keeps the map from sentence to fields), so whoever has the
JSON has it all. ``docs/report.schema.json`` is the published schema; ``SCHEMA_VERSION`` counts up when a field
changes its meaning (major) or is added (minor).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kgvad.errors import ReportError
from kgvad.files import reading

Version = Literal["1.0", "1.1"]  # of files that can be read; 1.1 added ``similar`` to events
SCHEMA_VERSION: Version = "1.1"

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """Base of all parts of a report: fixed once made, and no field that the schema does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VideoFacts(Part):
    """The video that was looked at."""

    name: str
    fps: float
    frame_count: int
    duration_s: Seconds
    width: int | None = None  # pixels; None where only scores were given
    height: int | None = None
    sha256: str | None = None  # of the file


class Rule(Part):
    """Thresholds and lengths of the events, and where the thresholds come from."""

    high: Share
    low: Share
    merge_s: Seconds
    min_s: Seconds
    calibrated_on: int = 0  # normal videos that set the thresholds; 0: the built-in ones
    false_alarms_per_hour: float | None = None  # what the calibration allowed


class Knowledge(Part):
    """The anchor bank and the facts behind it."""

    dataset: str
    categories: int  # abnormal ones
    concepts: int
    text_encoder: str
    facts_date: str | None = None  # ISO date of the newest fact
    fingerprint: str | None = None


class Method(Part):
    """What made the scores, as far as it is known."""

    scorer: str
    trained: bool
    encoder: str | None = None
    encoder_fingerprint: str | None = None
    run: str | None = None
    run_fingerprint: str | None = None
    bank_fingerprint: str | None = None
    scores_file: str | None = None
    captions_file: str | None = None
    actions_by: str | None = None  # the action recogniser that looked at the peaks
    names_categories: Literal["yes", "hint", "no"]
    rule: Rule
    knowledge: Knowledge | None = None
    notes: tuple[str, ...] = ()  # sentences from the scorer


class Certainty(Part):
    """How sure the report is, on one of two stated scales.

    ``probability``: a trained scorer's mean score over the event, read as a probability.
    ``contrast``: mean score of the event minus the median of the rest of the video, for scores that are no
    probabilities.
    """

    scale: Literal["probability", "contrast"]
    value: Share
    level: Literal[1, 2, 3, 4]  # 4 is the surest


class CategoryShare(Part):
    """A category and its share of the alignment of an event."""

    name: str
    text: str
    probability: Share


class GraphStep(Part):
    """One edge of the knowledge graph on the way from the category's item to the concept."""

    subject: str  # QID
    property: str  # "P279"
    object: str  # QID
    subject_label: str | None = None
    object_label: str | None = None


class Evidence(Part):
    """A concept that speaks for an event, with the numbers and the source."""

    concept: str
    category: str
    relation: str
    qid: str | None = None
    property: str | None = None
    path: tuple[GraphStep, ...] = ()
    path_text: str | None = None
    source: str | None = None
    fetched_at: str | None = None
    basis: Literal["alignment", "actions"]  # measured on the video, or by way of recognised actions
    inside: float  # mean similarity during the event
    outside: float | None = None  # mean similarity in the rest of the video
    normal: float | None = None  # how far the closest Normal concept rises at the same time
    rise: float  # what counts: inside - outside, less the rise of Normal
    contribution: Share  # share of this among the cited concepts


class Action(Part):
    """An action recognised at the peak of an event."""

    name: str
    probability: Share
    elsewhere: Share  # in the quiet part of the video


class Contrast(Part):
    """Why the category and not the runner-up: the concept that tells them apart best."""

    category: str
    rival: str
    concept: str
    rise: float
    rival_concept: str
    rival_rise: float


class Similar(Part):
    """A stretch of a training video whose features resemble those of the event."""

    video: str
    category: str
    text: str  # the category in words
    start_s: Seconds
    end_s: Seconds
    similarity: float  # cosine of the pooled features, both less the mean of the stored examples


class KeyFrame(Part):
    """A frame worth looking at."""

    time_s: Seconds
    frame: int
    score: Share
    why: Literal["peak", "onset", "evidence", "variety"]


class Severity(Part):
    """How grave the category is, from the harm table, not from the video."""

    level: Literal[1, 2, 3]
    category: str


class Event(Part):
    """A run of snippets judged abnormal."""

    number: int  # from 1, in the order of time
    start_s: Seconds
    end_s: Seconds
    duration_s: Seconds
    onset_s: Seconds
    peak_s: Seconds
    peak_score: Share
    mean_score: Share
    elsewhere_score: Share | None  # median score outside all events; None where nothing is outside
    certainty: Certainty
    categories: tuple[CategoryShare, ...] = ()  # most likely first; empty where nothing is known
    severity: Severity | None = None
    evidence: tuple[Evidence, ...] = ()
    contrast: Contrast | None = None
    similar: tuple[Similar, ...] = ()
    actions: tuple[Action, ...] = ()
    hints: tuple[Evidence, ...] = ()
    key_frames: tuple[KeyFrame, ...] = ()
    clip: str | None = None  # file, relative to the report
    caption: str | None = None  # given caption at the peak


class Curve(Part):
    """The score of every scored row."""

    start_s: tuple[Seconds, ...]
    end_s: tuple[Seconds, ...]
    score: tuple[Share, ...]


class Heat(Part):
    """Share of each category over time, for the heat strip."""

    categories: tuple[str, ...]
    shares: tuple[tuple[Share, ...], ...]  # one row a category, one value a row of the curve


class Summary(Part):
    """The verdict on the whole video."""

    events: int
    abnormal_s: Seconds
    abnormal_share: Share
    top_event: int | None  # number of the event with the highest score
    highest_score: Share
    highest_s: Seconds


class Sentence(Part):
    """A sentence of the report and the fields that it says."""

    place: str  # "summary", "event/1", "event/1/evidence/0", "limits", ...

    key: str
    text: str
    fields: tuple[str, ...]  # JSON pointers into the report


LimitKey = Literal[
    "pixels_only",
    "hint_only",
    "no_alignment",
    "not_probabilities",
    "scores_unknown",
    "built_in_thresholds",
    "all_abnormal",
    "short_video",
    "no_sound",
    "closed_list",
    "concepts_go_along",
    "not_a_judgement",
]


class Report(Part):
    """What kgvad has to say about one video."""

    schema_version: Version = SCHEMA_VERSION
    kgvad_version: str
    created: str  # ISO 8601, UTC
    video: VideoFacts
    method: Method
    summary: Summary
    events: tuple[Event, ...]
    curve: Curve
    heat: Heat | None = None
    limits: tuple[LimitKey, ...]
    language: str | None = None  # of the sentences
    sentences: tuple[Sentence, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read a JSON report from ``path``; errors as of :meth:`from_json`."""
        with reading(path, ReportError, "name a report as JSON"):
            text = path.read_text("utf-8-sig")
        return cls.from_json(text, str(path))

    @classmethod
    def from_json(cls, text: str, name: str = "the report") -> Report:
        """Read what the JSON view wrote.

        Raises
        ------
        ReportError
            Not JSON, not a report, or of another major version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "content"
            raise ReportError(f"{name}: {where}: {first['msg']}", "write the report again") from error


def json_schema() -> dict[str, Any]:
    """The JSON schema of :class:`Report`, as published in ``docs/report.schema.json``."""
    schema = Report.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "kgvad report", **schema}
