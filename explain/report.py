"""The report as data. Markdown, HTML, JSON, subtitles and tables are views of one :class:`Report`.

Everything that a view states is a field here, so the JSON holds the whole report (:mod:`.rendering.sentence_plan` maps
each sentence to its fields). ``docs/report.schema.json`` is the published schema; :data:`SCHEMA_VERSION` counts up when
a field changes its meaning (major) or is added (minor).
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, PlainSerializer, ValidationError

from kgvad.detector.thresholds import RunThresholds
from kgvad.errors import ReportError, first_fault
from kgvad.explain.checked_text import Narrative
from kgvad.explain.parts import GraphStep, ReportPart, Seconds, Share
from kgvad.files import reading
from kgvad.types import Fields

Version = Literal["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6"]  # of files that can be read
SCHEMA_VERSION: Version = "1.6"

SHIPPED = "kgvad:"  # before the name of a run that comes with kgvad


class Recorded(ReportPart):
    """Which camera recorded the video, and when."""

    camera: str
    start: Annotated[AwareDatetime, PlainSerializer(datetime.isoformat)]  # of the first frame, in local time


class VideoFacts(ReportPart):
    """The analysed video."""

    name: str
    fps: float
    frame_count: int
    duration_s: Seconds
    width: int | None = None  # pixels; None where only scores were given
    height: int | None = None
    sha256: str | None = None  # of the file
    recorded: Recorded | None = None  # where a watched camera recorded it


Setting = Literal["onset", "offset", "merge_gap_s", "min_duration_s"]


class Detection(ReportPart):
    """How events were detected on the score curve, and where the thresholds come from."""

    onset: Share  # score at which an event starts
    offset: Share  # score below which it ends
    merge_gap_s: Seconds  # events at most this far apart are one
    min_duration_s: Seconds  # shorter events are dropped
    category_margin: Share  # lead over the runner-up, in probability, at which a category is named
    held_out: RunThresholds | None = None  # what the run's held-out training videos say about its thresholds
    calibrated_on: int = 0  # normal videos that set the thresholds; 0: built-in thresholds
    calibrated_h: float | None = None  # hours of footage of the camera that set the thresholds, where they were counted
    false_alarms_per_hour: float | None = None  # accepted in the calibration
    set_by_user: tuple[Setting, ...] = ()  # what the user chose of the rule; the rest is by default or calibrated


class Knowledge(ReportPart):
    """The anchor bank and the facts behind it."""

    dataset: str
    categories: int  # abnormal ones
    concepts: int
    text_encoder: str
    facts_date: str | None = None  # ISO date of the newest fact
    fingerprint: str | None = None


class Method(ReportPart):
    """What computed the scores, as far as it is known."""

    scorer: str
    trained: bool
    encoder: str | None = None
    encoder_fingerprint: str | None = None
    run: str | None = None  # folder, or kgvad:NAME for a run that comes with kgvad
    run_fingerprint: str | None = None
    bank_fingerprint: str | None = None
    scores_file: str | None = None
    captions_file: str | None = None
    action_recogniser: str | None = None  # applied to the peaks
    names_categories: Literal["yes", "hint", "no"]
    detection: Detection
    knowledge: Knowledge | None = None
    notes: tuple[str, ...] = ()  # remarks of the scorer


class Confidence(ReportPart):
    """Confidence that an event is abnormal, on one of two scales.

    ``probability``: a trained detector's mean score over the event, read as a probability.
    ``margin``: mean score of the event minus the median score outside all events, for scores that are not
    probabilities: those without training, and those whose threshold was measured on held-out videos.
    """

    scale: Literal["probability", "margin"]
    value: Share
    level: Literal[1, 2, 3, 4]  # 4 is the highest


class CategoryShare(ReportPart):
    """A category and its share in the softmax over the abnormal categories."""

    name: str
    text: str
    probability: Share


class Evidence(ReportPart):
    """A concept cited for an event, with its figures and its source."""

    concept: str
    category: str
    relation: str
    qid: str | None = None
    property: str | None = None
    path: tuple[GraphStep, ...] = ()
    path_text: str | None = None
    source: str | None = None
    fetched_at: str | None = None
    inside: float  # mean similarity during the event
    outside: float | None = None  # mean similarity in the rest of the video
    normal: float | None = None  # mean rise of the Normal concepts during the event
    rise: float  # inside - outside, less the rise of Normal where that is positive
    contribution: Share  # share of this among the cited concepts


class Action(ReportPart):
    """An action recognised at the peak of an event."""

    name: str
    probability: Share
    outside: Share  # in the calmest snippets outside the events


class Contrast(ReportPart):
    """The category against the runner-up: the concept of each whose similarity rises most."""

    category: str
    rival: str
    concept: str
    rise: float
    rival_concept: str
    rival_rise: float


class Similar(ReportPart):
    """An exemplar: a segment of a training video whose features resemble those of the event."""

    video: str
    category: str
    text: str  # the category in words
    start_s: Seconds
    end_s: Seconds
    similarity: float  # cosine of the pooled features, both less the mean of all exemplars


class KeyFrame(ReportPart):
    """A frame shown in the report."""

    time_s: Seconds
    frame: int
    score: Share
    reason: Literal["peak", "onset", "between"]


class Severity(ReportPart):
    """Severity of the category, from a fixed table, not from the video."""

    level: Literal[1, 2, 3]
    category: str


class Contribution(ReportPart):
    """A term of the sum that decided the category: a feature column with the concept it is closest to, or a concept."""

    name: str  # of the column, such as an action, or the text of the concept
    value: float  # of a column: for or against the category, against the mean of all; of a concept: in the similarity
    share: Share | None = None  # of a column: in all terms of its sign; of a concept: in the similarity to the category
    relation: str | None = None  # of a concept to the category
    concept: str | None = None
    qid: str | None = None
    path_text: str | None = None
    similarity: float | None = None  # cosine of the column's name and the concept


class Event(ReportPart):
    """A run of abnormal snippets."""

    number: int  # from 1, in the order of time
    start_s: Seconds
    end_s: Seconds
    duration_s: Seconds
    onset_s: Seconds
    peak_s: Seconds
    peak_score: Share
    mean_score: Share
    outside_score: Share | None  # median score outside all events; None where the events fill the video
    confidence: Confidence
    categories: tuple[CategoryShare, ...] = ()  # most likely first; empty where nothing is known
    category_clear: bool | None = None  # whether the first leads by detection.category_margin; None without categories
    severity: Severity | None = None
    evidence: tuple[Evidence, ...] = ()
    contributions: tuple[Contribution, ...] = ()  # those for the first category first
    contrast: Contrast | None = None
    similar: tuple[Similar, ...] = ()
    actions: tuple[Action, ...] = ()
    key_frames: tuple[KeyFrame, ...] = ()
    clip: str | None = None  # file, relative to the report
    caption: str | None = None  # the given caption that says most of what those of the event say
    caption_s: Seconds | None = None  # its time


class Curve(ReportPart):
    """The score of every snippet."""

    start_s: tuple[Seconds, ...]
    end_s: tuple[Seconds, ...]
    score: tuple[Share, ...]


class CategoryCurves(ReportPart):
    """Share of each category over time."""

    categories: tuple[str, ...]
    shares: tuple[tuple[Share, ...], ...]  # one tuple per category, one value per snippet of the curve


class Summary(ReportPart):
    """Result for the whole video."""

    events: int
    abnormal_s: Seconds
    abnormal_share: Share
    top_event: int | None  # number of the event with the highest score
    highest_score: Share
    highest_s: Seconds
    excluded_s: Seconds = 0.0  # black frames, title cards, fades and the like, which were not scored


class Sentence(ReportPart):
    """A sentence of the report and the fields that it states."""

    place: str  # "summary", "event/1", "event/1/evidence/0", "limitations", ...
    key: str
    text: str
    fields: tuple[str, ...]  # JSON pointers into the report


LimitationKey = Literal[
    "pixels_only",
    "hint_only",
    "no_alignment",
    "misses",
    "not_probabilities",
    "captions_only",
    "captions_not_english",
    "scores_unknown",
    "built_in_thresholds",
    "all_abnormal",
    "short_video",
    "damaged_video",
    "excluded",
    "faces_blurred",
    "no_sound",
    "closed_list",
    "concepts_not_causal",
    "not_a_judgement",
]


class Report(ReportPart):
    """The analysis of one video."""

    schema_version: Version = SCHEMA_VERSION
    kgvad_version: str
    created: str  # ISO 8601, UTC
    video: VideoFacts
    method: Method
    summary: Summary
    events: tuple[Event, ...]
    curve: Curve
    category_curves: CategoryCurves | None = None
    limitations: tuple[LimitationKey, ...]
    language: str | None = None  # of the sentences
    sentences: tuple[Sentence, ...] = ()
    narrative: Narrative | None = None  # a language model's text, each sentence with its verdict

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Report:
        """Read a JSON report from ``path``; raises what :meth:`from_json` raises."""
        path = Path(path)
        with reading(path, ReportError, "give a report in JSON format"):
            text = path.read_text("utf-8-sig")
        return cls.from_json(text, str(path))

    @classmethod
    def from_json(cls, text: str, name: str = "the report") -> Report:
        """Read the JSON format of a report.

        Raises
        ------
        ReportError
            Not JSON, not a report, or of another version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            remedy = "create the report again with: kgvad explain VIDEO -o FILE.json"
            raise ReportError(f"{name}: {first_fault(error)}", remedy) from error


def json_schema() -> Fields:
    """The JSON schema of :class:`Report`, as published in ``docs/report.schema.json``."""
    schema = Report.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "kgvad report", **schema}
