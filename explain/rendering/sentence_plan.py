"""Which sentences a report has, where they stand, and which fields they state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kgvad.explain.report import SHIPPED, Event, LimitationKey, Report

HELD_OUT = "/method/detection/held_out"
EVIDENCE = ("concept", "category", "relation", "inside", "outside", "rise", "path_text")

LIMITATION_FIELDS: dict[LimitationKey, dict[str, str]] = {
    "pixels_only": {"names_categories": "/method/names_categories", "encoder": "/method/encoder"},
    "hint_only": {"names_categories": "/method/names_categories"},
    "no_alignment": {"names_categories": "/method/names_categories"},
    "misses": {
        name: f"{HELD_OUT}/{name}" for name in ("miss_rate", "abnormal_videos", "false_alarm_rate", "normal_videos")
    },
    "not_probabilities": {"trained": "/method/trained"},
    "captions_only": {"file": "/method/captions_file"},
    "captions_not_english": {"file": "/method/captions_file"},
    "scores_unknown": {"scorer": "/method/scorer"},
    "built_in_thresholds": {"onset": "/method/detection/onset"},
    "all_abnormal": {"share": "/summary/abnormal_share"},
    "short_video": {"duration_s": "/video/duration_s"},
    "excluded": {"excluded_s": "/summary/excluded_s", "trained": "/method/trained", "file": "/method/captions_file"},
    "concepts_not_causal": {"trained": "/method/trained"},
    "closed_list": {"names_categories": "/method/names_categories"},
    "damaged_video": {"limitations": "/limitations"},
    "faces_blurred": {"limitations": "/limitations"},
    "no_sound": {"limitations": "/limitations"},
    "not_a_judgement": {"limitations": "/limitations"},
}


@dataclass(frozen=True)
class PlannedSentence:
    """A sentence before it is put into words.

    Attributes
    ----------
    place
        Where it stands in the report ("summary", "event/1", "event/1/evidence/0", ...).
    key
        Name of the macro.
    fields
        Parameter of the macro to JSON pointer into the report.
    """

    place: str
    key: str
    fields: dict[str, str]


def is_unusual_only(report: Report) -> bool:
    """Whether nothing was trained and nothing links the scores to words: they show unusual stretches, not events."""
    return report.method.scorer == "training-free" and report.method.names_categories == "no"


def plan_sentences(report: Report) -> list[PlannedSentence]:
    """All sentences of a report, in reading order."""
    sentences = _summary(report) if report.events else _nothing_found(report)
    for index in range(len(report.events)):
        sentences += _event(report, index)
    for key in report.limitations:
        sentences.append(PlannedSentence("limitations", f"limitation_{key}", LIMITATION_FIELDS[key]))
    sentences += _method(report)
    for index in range(len(report.method.notes)):
        sentences.append(PlannedSentence("notes", "note", {"note": f"/method/notes/{index}"}))
    return sentences


def _nothing_found(report: Report) -> list[PlannedSentence]:
    unusual, held_out = is_unusual_only(report), report.method.detection.held_out
    fields = {
        "score": "/summary/highest_score",
        "time_s": "/summary/highest_s",
        "onset": "/method/detection/onset",
        "min_duration_s": "/method/detection/min_duration_s",
    }
    return [
        PlannedSentence(
            "headline",
            "headline_nothing_unusual" if unusual else "headline_nothing_found",
            {"duration_s": "/video/duration_s"},
        ),
        PlannedSentence("summary", "summary_highest_score", fields),
        PlannedSentence("summary", "summary_misses_unknown", {"scorer": "/method/scorer"})
        if held_out is None
        else PlannedSentence("summary", "summary_misses", _pick(HELD_OUT, ("miss_rate", "abnormal_videos"))),
    ]


def _summary(report: Report) -> list[PlannedSentence]:
    index = (report.summary.top_event or 1) - 1
    top, at = report.events[index], f"/events/{index}"
    number, count = {"number": f"{at}/number"}, {"events": "/summary/events"}
    headline = "headline_unusual" if is_unusual_only(report) else "headline_events"
    sentences = [
        PlannedSentence("headline", headline, count | {"duration_s": "/video/duration_s"}),
        PlannedSentence(
            "summary",
            "summary_duration",
            count | {"abnormal_s": "/summary/abnormal_s", "share": "/summary/abnormal_share"},
        ),
    ]
    if len(report.events) == 1:
        sentences += _recorded(report, at, "summary")
    else:
        fields = number | {"time_s": f"{at}/peak_s", "events": "/events"}
        key = "summary_highest_stretch" if is_unusual_only(report) else "summary_highest_event"
        sentences.append(PlannedSentence("summary", key, fields))
    if top.caption is not None:
        sentences.append(PlannedSentence("summary", "summary_caption", _pick(at, ("caption", "caption_s"))))
    if not top.categories:
        fields = {"names_categories": "/method/names_categories"}
        sentences.append(PlannedSentence("summary", "summary_category_unknown", fields))
        return sentences
    fields = number | count
    if len(top.categories) == 1:  # the share of the only candidate carries no information
        fields |= _first(at)
        sentences.append(PlannedSentence("summary", "summary_category_single", fields))
    elif not top.category_clear:
        fields |= {"names_categories": "/method/names_categories"} | _first_two(at)
        sentences.append(PlannedSentence("summary", "summary_category_unclear", fields))
    else:
        fields |= _first(at)
        if report.method.names_categories == "yes":
            fields |= {"share": f"{at}/categories/0/probability"}
            sentences.append(PlannedSentence("summary", "summary_category", fields))
        else:
            sentences.append(PlannedSentence("summary", "summary_category_hint", fields))
    return [*sentences, *_resembles(top, at)]


def _recorded(report: Report, at: str, place: str) -> list[PlannedSentence]:
    """Camera and time of day, where they are known."""
    if report.video.recorded is None:
        return []
    fields = _pick("/video/recorded", ("camera", "start")) | _pick(at, ("start_s", "end_s"))
    return [PlannedSentence(place, "event_recorded", fields)]


def _resembles(event: Event, at: str) -> list[PlannedSentence]:
    """The concepts that the columns which speak for the category are closest to."""
    if not any(one.concept and one.value > 0 for one in event.contributions):
        return []
    fields = _first(at) | {"contributions": f"{at}/contributions"}
    return [PlannedSentence("summary", "summary_resembles", fields)]


def _event(report: Report, index: int) -> list[PlannedSentence]:
    event, at = report.events[index], f"/events/{index}"
    is_hint = report.method.names_categories == "hint"
    return [
        *_timing_and_score(report, event, at),
        *_category(event, at, is_hint),
        # The summary quotes the caption of the top event.
        *([] if event.number == report.summary.top_event else _caption(event, at)),
        _label(event, at, f"event/{event.number}/category", "category"),
        _label(event, at, f"subtitle/{event.number}", "subtitle", is_stretch=is_unusual_only(report)),
        *_evidence(event, at, is_hint),
        *_contributions(event, at),
        *_similar(event, at),
        *_actions(event, at),
    ]


def _timing_and_score(report: Report, event: Event, at: str) -> list[PlannedSentence]:
    place, number = f"event/{event.number}", {"number": f"{at}/number"}
    times = number | _pick(at, ("start_s", "end_s", "duration_s", "peak_s"))
    score = number | _pick(at, ("peak_score", "mean_score"))
    sentences = [PlannedSentence(place, "event_time", times)]
    if len(report.events) > 1:  # that of a single event stands in the summary
        sentences += _recorded(report, at, place)
    if event.outside_score is None:
        sentences.append(PlannedSentence(place, "event_score_alone", score))
    else:
        sentences.append(PlannedSentence(place, "event_score", score | {"outside": f"{at}/outside_score"}))
    if event.outside_score is not None or event.confidence.scale == "probability":
        fields = number | _pick(f"{at}/confidence", ("level", "value"))
        sentences.append(PlannedSentence(place, f"event_confidence_{event.confidence.scale}", fields))
    return sentences


def _category(event: Event, at: str, is_hint: bool) -> list[PlannedSentence]:
    """Category and severity."""
    place, number = f"event/{event.number}", {"number": f"{at}/number"}
    sentences = []
    if len(event.categories) == 1:
        sentences.append(PlannedSentence(place, "event_category_single", number | _first(at)))
    elif event.categories:
        key = "event_category_hint" if is_hint else "event_category"
        fields = number | _first_two(at)
        fields |= {"share": f"{at}/categories/0/probability", "rival_share": f"{at}/categories/1/probability"}
        if not event.category_clear:
            key, fields = "event_category_unclear", fields | {"margin": "/method/detection/category_margin"}
        sentences.append(PlannedSentence(place, key, fields))
    if event.severity is not None:
        sentences.append(PlannedSentence(place, "event_severity", {"level": f"{at}/severity/level"}))
    return sentences


def _caption(event: Event, at: str) -> list[PlannedSentence]:
    if event.caption is None:
        return []
    return [PlannedSentence(f"event/{event.number}", "event_caption", _pick(at, ("caption", "caption_s")))]


def _label(event: Event, at: str, place: str, kind: str, *, is_stretch: bool = False) -> PlannedSentence:
    """The category in a few words, for tables and (``kind`` "subtitle") subtitles: named, unclear or unknown."""
    fields = {"number": f"{at}/number"} if kind == "subtitle" else {}
    fields |= {"names_categories": "/method/names_categories"}
    if not event.categories:
        return PlannedSentence(place, f"{kind}_stretch" if is_stretch else f"{kind}_unknown", fields)
    if event.category_clear:
        return PlannedSentence(place, f"{kind}_named", fields | _first(at))
    return PlannedSentence(place, f"{kind}_unclear", fields | _first_two(at))


def _evidence(event: Event, at: str, is_hint: bool) -> list[PlannedSentence]:
    place = f"event/{event.number}"
    sentences = []
    if event.evidence:
        key = "evidence_summary_hint" if is_hint else "evidence_summary"
        fields = _first(at) | {"evidence": f"{at}/evidence"}
        if not event.category_clear:
            key = "evidence_summary_unclear"
        sentences.append(PlannedSentence(f"{place}/explanation", key, fields))
    for i in range(len(event.evidence)):
        fields = _pick(f"{at}/evidence/{i}", EVIDENCE)
        sentences.append(PlannedSentence(f"{place}/evidence/{i}", "evidence", fields))
    if event.contrast is not None and event.category_clear:
        fields = _pick(f"{at}/contrast", ("category", "rival", "concept", "rise", "rival_concept", "rival_rise"))
        fields |= {"category_text": f"{at}/categories/0/text", "rival_text": f"{at}/categories/1/text"}
        key = "contrast_alone" if event.outside_score is None else "contrast"
        sentences.append(PlannedSentence(f"{place}/contrast", key, fields))
    return sentences


def _contributions(event: Event, at: str) -> list[PlannedSentence]:
    place, sentences = f"event/{event.number}/contributions", []
    if event.contributions:
        key, fields = "contributions_intro" if len(event.categories) > 1 else "contributions_intro_single", _first(at)
        if event.contributions[0].relation is not None:
            key, fields = "contributions_intro_concepts", fields | {"contributions": f"{at}/contributions"}
        sentences.append(PlannedSentence(place, key, fields))
    for i, one in enumerate(event.contributions):
        key, names = "contribution", ["name", "value", "share", "concept", "path_text"]
        if one.relation is not None:
            key, names = "contribution_concept", ["name", "relation", "share"]
        sentences.append(PlannedSentence(f"{place}/{i}", key, _pick(f"{at}/contributions/{i}", names)))
    return sentences


def _similar(event: Event, at: str) -> list[PlannedSentence]:
    place, sentences = f"event/{event.number}/similar", []
    if event.similar:
        sentences.append(
            PlannedSentence(place, "similar_intro", {"encoder": "/method/encoder", "similar": f"{at}/similar"})
        )
    for i in range(len(event.similar)):
        fields = _pick(f"{at}/similar/{i}", ("video", "category", "text", "start_s", "end_s", "similarity"))
        sentences.append(PlannedSentence(f"{place}/{i}", "similar", fields))
    return sentences


def _actions(event: Event, at: str) -> list[PlannedSentence]:
    place, sentences = f"event/{event.number}/actions", []
    if event.actions:
        fields = {"peak_s": f"{at}/peak_s", "recogniser": "/method/action_recogniser", "actions": f"{at}/actions"}
        sentences.append(PlannedSentence(place, "actions_intro", fields))
    for i in range(len(event.actions)):
        fields = _pick(f"{at}/actions/{i}", ("name", "probability", "outside"))
        sentences.append(PlannedSentence(f"{place}/{i}", "action", fields))
    return sentences


def _method(report: Report) -> list[PlannedSentence]:
    method = report.method
    if method.scores_file is not None:
        fields = {"file": "/method/scores_file", "scorer": "/method/scorer"}
        first = PlannedSentence("method", "method_score_file", fields)
    elif method.run is not None and method.run.startswith(SHIPPED):
        first = PlannedSentence("method", "method_shipped", _pick("/method", ("run", "encoder")))
    elif method.trained:
        fields = _pick("/method", ("scorer", "run", "encoder"))
        first = PlannedSentence("method", "method_trained", fields)
    elif method.captions_file is not None:
        first = PlannedSentence("method", "method_compared_captions", {"names_categories": "/method/names_categories"})
    else:
        first = PlannedSentence("method", "method_training_free", {"encoder": "/method/encoder"})
    sentences = [first]
    if method.captions_file is not None:
        sentences.append(PlannedSentence("method", "method_captions", {"file": "/method/captions_file"}))
    detection = _pick("/method/detection", ("onset", "offset", "merge_gap_s", "min_duration_s"))
    sentences.append(PlannedSentence("method", "method_detection", detection))
    if method.detection.set_by_user:
        fields = {"set_by_user": "/method/detection/set_by_user"}
        sentences.append(PlannedSentence("method", "method_set_by_user", fields))
    if any(event.category_clear is not None and len(event.categories) > 1 for event in report.events):
        sentences.append(PlannedSentence("method", "method_category", {"margin": "/method/detection/category_margin"}))
    if method.detection.calibrated_on:
        fields = _pick("/method/detection", ("calibrated_on", "false_alarms_per_hour"))
        sentences.append(PlannedSentence("method", "method_calibration", fields))
    elif method.detection.calibrated_h is not None:
        fields = _pick("/method/detection", ("calibrated_h", "false_alarms_per_hour"))
        sentences.append(PlannedSentence("method", "method_calibration_camera", fields))
    if method.knowledge is not None:
        facts = ("dataset", "categories", "concepts", "text_encoder", "facts_date")
        sentences.append(PlannedSentence("method", "method_knowledge", _pick("/method/knowledge", facts)))
    return sentences


def _first(at: str) -> dict[str, str]:
    return _pick(f"{at}/categories/0", ("name", "text"))


def _first_two(at: str) -> dict[str, str]:
    return _first(at) | {f"rival_{name}": f"{at}/categories/1/{name}" for name in ("name", "text")}


def _pick(at: str, names: Iterable[str]) -> dict[str, str]:
    """Name to pointer for fields of the object at ``at``."""
    return {name: f"{at}/{name}" for name in names}
