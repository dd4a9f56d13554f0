"""Events as CSV, and the table of method details in the other formats."""

from __future__ import annotations

import csv
import io

from kgvad.explain.report import Event, Method, Report
from kgvad.spreadsheets import without_formula

COLUMNS = (
    "video", "event", "start_s", "end_s", "duration_s", "onset_s", "peak_s", "peak_score", "mean_score",
    "outside_score", "confidence_scale", "confidence_value", "confidence_level", "category", "best_match",
    "probability", "runner_up", "runner_up_probability", "names_categories", "severity", "evidence",
)  # fmt: skip


def events_csv(report: Report) -> str:
    """One line per event under a header.

    Text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for event in report.events:
        first = event.categories[0] if event.categories else None
        second = event.categories[1] if len(event.categories) > 1 else None
        is_known = event.outside_score is not None or event.confidence.scale == "probability"
        confidence = event.confidence if is_known else None
        values = [
            report.video.name, event.number, event.start_s, event.end_s, event.duration_s, event.onset_s, event.peak_s,
            event.peak_score, event.mean_score, event.outside_score, event.confidence.scale,
            confidence and confidence.value, confidence and confidence.level, _category(event),
            first and first.name, first and first.probability,
            second and second.name, second and second.probability, report.method.names_categories,
            event.severity and event.severity.level,
            "; ".join(f"{e.concept} ({e.qid})" if e.qid else e.concept for e in event.evidence),
        ]  # fmt: skip
        writer.writerow([without_formula(value) if isinstance(value, str) else value for value in values])
    return out.getvalue()


def _category(event: Event) -> str | None:
    """The category where it is clear, and otherwise the first two."""
    names = [category.name for category in event.categories]
    if not names or event.category_clear:
        return names[0] if names else None
    return f"unclear: {' or '.join(names[:2])}"


def method_details(report: Report, labels: dict[str, str]) -> list[tuple[str, str]]:
    """Key and value of everything known about the method, in reading order; ``labels`` are those of the phrases."""
    method, video, knowledge = report.method, report.video, report.method.knowledge
    rule = method.detection
    size = f"{video.width} × {video.height}" if video.width and video.height else None

    def number(value: float, form: str = "g") -> str:
        return format(value, form).replace(".", labels["decimal"])

    lead = number(rule.category_margin) if rule.category_margin < 1 else labels["never"]
    rows: list[tuple[str, str | None]] = [
        ("scorer", method.scorer),
        ("trained", labels["yes"] if method.trained else labels["no"]),
        ("run", _with(method.run, method.run_fingerprint)),
        ("encoder", _with(method.encoder, method.encoder_fingerprint)),
        ("scores_file", method.scores_file),
        ("captions_file", method.captions_file),
        ("action_recogniser", method.action_recogniser),
        ("dataset", knowledge.dataset if knowledge else None),
        ("bank", _with(f"{knowledge.concepts} {labels['concepts']}", knowledge.fingerprint) if knowledge else None),
        ("text_encoder", knowledge.text_encoder if knowledge else None),
        ("facts_date", knowledge.facts_date if knowledge else None),
        (
            "thresholds",
            f"{number(rule.onset, '.3g')} / {number(rule.offset, '.3g')} ({labels[_source_of(method)]})",
        ),
        ("margin", lead if any(e.categories for e in report.events) else None),
        ("size", size),
        ("frames", f"{video.frame_count} ({number(video.fps)}/s)"),
        ("sha256", video.sha256),
        ("version", report.kgvad_version),
        ("created", report.created),
        ("schema", report.schema_version),
    ]
    return [(key, value) for key, value in rows if value is not None]


def _source_of(method: Method) -> str:
    """Label of where the thresholds come from."""
    if method.detection.calibrated_on or method.detection.calibrated_h is not None:
        return "calibrated"
    if "onset" in method.detection.set_by_user:
        return "by_user"
    return "measured" if method.trained and method.detection.held_out is not None else "built_in"


def _with(name: str | None, fingerprint: str | None) -> str | None:
    if name is None or fingerprint is None:
        return name
    return f"{name} ({fingerprint[:16]})"
