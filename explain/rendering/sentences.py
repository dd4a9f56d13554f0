"""What the report says, sentence by sentence, each bound to the fields that it says.

A sentence is a macro of ``phrases.<language>.j2``. It is called with values read from the report's JSON by pointer and
sees nothing else, so it cannot say what no field holds. Translation is another phrases file.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from kgvad.explain.report import Report, Sentence

Pointers = dict[str, str]


class Speaker(Protocol):
    """Turns a key and values into a sentence of one language."""

    language: str

    def say(self, key: str, values: dict[str, Any]) -> str: ...


def resolve(document: Any, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901); ``KeyError`` or ``IndexError`` where there is none."""
    value = document
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def with_sentences(report: Report, speaker: Speaker) -> Report:
    """``report`` with its sentences in the language of ``speaker``."""
    document = report.model_dump(mode="json")
    said = []
    for place, key, pointers in plan(report):
        values = {name: resolve(document, pointer) for name, pointer in pointers.items()}
        text = re.sub(r"[ \t\r\n]+", " ", speaker.say(key, values)).strip()
        if text:
            said.append(Sentence(place=place, key=key, text=text, fields=tuple(pointers.values())))
    return report.model_copy(update={"language": speaker.language, "sentences": tuple(said)})


def plan(report: Report) -> list[tuple[str, str, Pointers]]:
    """Place, key and pointers of every sentence, in reading order."""
    sentences = _summary(report)
    for index in range(len(report.events)):
        sentences += _event(report, index)
    sentences += [("limits", f"limit_{key}", _limit_fields(key)) for key in report.limits]
    notes = [("notes", "note", {"note": f"/method/notes/{i}"}) for i in range(len(report.method.notes))]
    return sentences + _method(report) + notes


def _summary(report: Report) -> list[tuple[str, str, Pointers]]:
    if not report.events:
        return [
            ("headline", "nothing", {"duration_s": "/video/duration_s"}),
            (
                "summary",
                "highest",
                {
                    "score": "/summary/highest_score",
                    "time_s": "/summary/highest_s",
                    "high": "/method/rule/high",
                    "min_s": "/method/rule/min_s",
                },
            ),
        ]
    top = f"/events/{(report.summary.top_event or 1) - 1}"
    sentences: list[tuple[str, str, Pointers]] = [
        ("headline", "found", {"events": "/summary/events", "duration_s": "/video/duration_s"}),
        (
            "summary",
            "covers",
            {"abnormal_s": "/summary/abnormal_s", "share": "/summary/abnormal_share", "events": "/summary/events"},
        ),
    ]
    if len(report.events) > 1:
        sentences.append(("summary", "strongest", {"number": f"{top}/number", "time_s": f"{top}/peak_s"}))
    best = report.events[(report.summary.top_event or 1) - 1]
    if best.categories:
        fields = {
            "number": f"{top}/number",
            "events": "/summary/events",
            "name": f"{top}/categories/0/name",
            "text": f"{top}/categories/0/text",
        }
        if len(best.categories) == 1:  # the share of the only category on offer says nothing
            sentences.append(("summary", "names_only", fields))
        else:
            key = "names" if report.method.names_categories == "yes" else "names_hint"
            sentences.append(("summary", key, fields | {"share": f"{top}/categories/0/probability"}))
    else:
        sentences.append(("summary", "names_nothing", {"names_categories": "/method/names_categories"}))
    return sentences


def _event(report: Report, index: int) -> list[tuple[str, str, Pointers]]:
    event, at = report.events[index], f"/events/{index}"
    place = f"event/{event.number}"
    number = {"number": f"{at}/number"}
    sentences: list[tuple[str, str, Pointers]] = [
        (
            place,
            "event_when",
            number | {name: f"{at}/{name}" for name in ("start_s", "end_s", "duration_s", "onset_s", "peak_s")},
        )
    ]
    strength = number | {"peak_score": f"{at}/peak_score", "mean_score": f"{at}/mean_score"}
    if event.elsewhere_score is None:
        sentences.append((place, "event_strength_alone", strength))
    else:
        sentences.append((place, "event_strength", strength | {"elsewhere": f"{at}/elsewhere_score"}))
    if event.elsewhere_score is not None or event.certainty.scale == "probability":
        sentences.append(
            (
                place,
                f"event_certainty_{event.certainty.scale}",
                number | {"level": f"{at}/certainty/level", "value": f"{at}/certainty/value"},
            )
        )
    sentences += _what(report, index)
    if event.categories:
        fields = {"name": f"{at}/categories/0/name", "text": f"{at}/categories/0/text"}
        shared = fields | {"share": f"{at}/categories/0/probability"}
        if report.method.names_categories == "hint":
            said = ("subtitle_hint", number | shared)
        else:
            said = ("subtitle", number | shared) if len(event.categories) > 1 else ("subtitle_only", number | fields)
        sentences.append((f"subtitle/{event.number}", *said))
    else:
        sentences.append((f"subtitle/{event.number}", "subtitle_unknown", number | {"peak_score": f"{at}/peak_score"}))
    if event.evidence:
        fields = {"name": f"{at}/categories/0/name", "text": f"{at}/categories/0/text", "evidence": f"{at}/evidence"}
        key = "explanation" if report.method.names_categories == "yes" else "explanation_hint"
        sentences.append((f"{place}/explanation", key, fields))
    for i in range(len(event.evidence)):
        sentences.append((f"{place}/evidence/{i}", "evidence", _evidence_fields(f"{at}/evidence/{i}")))
    if event.contrast is not None:
        names = ("category", "rival", "concept", "rise", "rival_concept", "rival_rise")
        texts = {"category_text": f"{at}/categories/0/text", "rival_text": f"{at}/categories/1/text"}
        key = "contrast" if event.elsewhere_score is not None else "contrast_alone"
        sentences.append((f"{place}/contrast", key, {n: f"{at}/contrast/{n}" for n in names} | texts))
    if event.similar:
        sentences.append((f"{place}/similar", "similar_intro", {"by": "/method/encoder"}))
    for i in range(len(event.similar)):
        names = ("video", "category", "text", "start_s", "end_s", "similarity")
        sentences.append((f"{place}/similar/{i}", "similar", {n: f"{at}/similar/{i}/{n}" for n in names}))
    if event.actions:
        sentences.append((f"{place}/actions", "actions_intro", {"peak_s": f"{at}/peak_s", "by": "/method/actions_by"}))
    for i in range(len(event.actions)):
        sentences.append(
            (
                f"{place}/actions/{i}",
                "action",
                {name: f"{at}/actions/{i}/{name}" for name in ("name", "probability", "elsewhere")},
            )
        )
    if event.hints:
        if event.actions:
            sentences.append((f"{place}/hints", "hints_intro", {"basis": f"{at}/hints/0/basis"}))
        else:
            fields = {"peak_s": f"{at}/peak_s", "by": "/method/actions_by"}
            sentences.append((f"{place}/hints", "hints_intro_alone", fields))
    for i in range(len(event.hints)):
        sentences.append((f"{place}/hints/{i}", "hint", _evidence_fields(f"{at}/hints/{i}")))
    return sentences


def _what(report: Report, index: int) -> list[tuple[str, str, Pointers]]:
    """Category, severity and caption of one event."""
    event, at = report.events[index], f"/events/{index}"
    place, number = f"event/{event.number}", {"number": f"{at}/number"}
    sentences: list[tuple[str, str, Pointers]] = []
    if event.categories:
        fields = (
            number
            | {n: f"{at}/categories/0/{n}" for n in ("name", "text")}
            | {"share": f"{at}/categories/0/probability"}
        )
        key = "event_category" if report.method.names_categories == "yes" else "event_category_hint"
        if len(event.categories) > 1:
            fields |= {f"rival_{n}": f"{at}/categories/1/{n}" for n in ("name", "text")}
            fields["rival_share"] = f"{at}/categories/1/probability"
        else:
            key, fields = f"{key}_only", {name: fields[name] for name in ("number", "name", "text")}
        sentences.append((place, key, fields))
    if event.severity is not None:
        sentences.append((place, "severity", {n: f"{at}/severity/{n}" for n in ("level", "category")}))
    if event.caption is not None:
        sentences.append((place, "caption", {"caption": f"{at}/caption", "peak_s": f"{at}/peak_s"}))
    return sentences


def _evidence_fields(at: str) -> Pointers:
    names = ("concept", "category", "relation", "inside", "outside", "rise", "contribution", "path_text")
    return {name: f"{at}/{name}" for name in names}


def _limit_fields(key: str) -> Pointers:
    return {
        "pixels_only": {"names_categories": "/method/names_categories", "encoder": "/method/encoder"},
        "hint_only": {"names_categories": "/method/names_categories"},
        "no_alignment": {"names_categories": "/method/names_categories"},
        "not_probabilities": {"trained": "/method/trained"},
        "scores_unknown": {"scorer": "/method/scorer"},
        "built_in_thresholds": {"high": "/method/rule/high", "calibrated_on": "/method/rule/calibrated_on"},
        "all_abnormal": {"share": "/summary/abnormal_share"},
        "short_video": {"duration_s": "/video/duration_s"},
        "concepts_go_along": {"trained": "/method/trained"},
        "closed_list": {"names_categories": "/method/names_categories"},
    }.get(key, {"limits": "/limits"})


def _method(report: Report) -> list[tuple[str, str, Pointers]]:
    method = report.method
    if method.scores_file is not None:
        first = ("scores_given", {"file": "/method/scores_file", "scorer": "/method/scorer"})
    elif method.trained:
        first = ("scores_trained", {"scorer": "/method/scorer", "run": "/method/run", "encoder": "/method/encoder"})
    else:
        first = ("scores_training_free", {"scorer": "/method/scorer", "encoder": "/method/encoder"})
    sentences: list[tuple[str, str, Pointers]] = [("method", *first)]
    if method.captions_file is not None:
        sentences.append(("method", "captions_given", {"file": "/method/captions_file"}))
    rule = {name: f"/method/rule/{name}" for name in ("high", "low", "merge_s", "min_s")}
    sentences.append(("method", "rule", rule))
    if method.rule.calibrated_on:
        calibration = {n: f"/method/rule/{n}" for n in ("calibrated_on", "false_alarms_per_hour")}
        sentences.append(("method", "calibrated", calibration))
    if method.knowledge is not None:
        names = ("dataset", "categories", "concepts", "text_encoder", "facts_date")
        sentences.append(("method", "knowledge", {name: f"/method/knowledge/{name}" for name in names}))
    return sentences
