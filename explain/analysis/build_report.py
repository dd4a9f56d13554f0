"""From an analysis to the :class:`~kgvad.explain.report.Report`: the one place where a report is put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kgvad.detector.scoring.scores import Scores
from kgvad.detector.shipped import UCF_ACTIONS
from kgvad.detector.thresholds import RunThresholds
from kgvad.explain.analysis.analyse import AnalysedEvent, Analysis
from kgvad.explain.analysis.category import category_margin, is_clear
from kgvad.explain.analysis.events import PIXELS_HELD_OUT, Calibration, EventRule, EventSpan, default_rule
from kgvad.explain.analysis.evidence import snippet_shares, temperature
from kgvad.explain.analysis.severity import severity_of
from kgvad.explain.report import (
    SHIPPED,
    Action,
    CategoryCurves,
    Confidence,
    Curve,
    Detection,
    Event,
    Knowledge,
    LimitationKey,
    Method,
    Report,
    Setting,
    Severity,
    Summary,
    VideoFacts,
)
from kgvad.explain.scorers.base import ScoredVideo
from kgvad.explain.text import plain
from kgvad.text_language import may_be_english

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank

# Lower bounds of confidence levels 2 to 4. Probabilities: mean score of a trained detector whose threshold was not
# measured. Margins: mean score minus the median outside the events. Every report prints its scale.
PROBABILITY_LEVELS = (0.65, 0.80, 0.95)
MARGIN_LEVELS = (0.25, 0.45, 0.65)
SHORT_VIDEO_S = 10.0  # too little footage outside an event to compare with
MAX_CATEGORIES = 3  # reported for an event


@dataclass(frozen=True)
class ReportFacts:
    """Facts for the report that come neither from the scores nor from the analysis.

    Attributes
    ----------
    sha256
        Of the video file.
    calibration
        Footage that the thresholds were set on.
    set_by_user
        What the user chose of the rule for events.
    actions
        Recognised actions by event number, from 1.
    action_recogniser
        Name of the action recogniser, where one was applied.
    faces_blurred
        Whether faces are blurred in its pictures and clips.
    """

    sha256: str | None = None
    calibration: Calibration | None = None
    set_by_user: tuple[Setting, ...] = ()
    actions: Mapping[int, tuple[Action, ...]] | None = None
    action_recogniser: str | None = None
    faces_blurred: bool = False


def build_report(scored: ScoredVideo, analysis: Analysis, facts: ReportFacts | None = None) -> Report:
    """The report on one video."""
    facts = facts or ReportFacts()
    scores, info, times = scored.scores, scored.info, analysis.times
    variable_rate = info is not None and info.variable_rate
    duration = max(0.0 if variable_rate else scores.frame_count / scores.fps, float(times[-1, 1]))
    events = tuple(
        _event(scored, analysis, event, number, (facts.actions or {}).get(number, ()))
        for number, event in enumerate(analysis.events, 1)
    )
    return Report(
        kgvad_version=version("kgvad"),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        video=VideoFacts(
            name=plain(scores.video),
            fps=round(scores.fps, 4),
            frame_count=scores.frame_count,
            duration_s=_seconds(duration),
            width=None if info is None else info.width,
            height=None if info is None else info.height,
            sha256=facts.sha256,
            recorded=scored.recorded,
        ),
        method=_method(scored, analysis, facts),
        summary=_summary(scored, analysis, events, duration),
        events=events,
        curve=Curve(
            start_s=tuple(_seconds(value) for value in times[:, 0]),
            end_s=tuple(_seconds(value) for value in times[:, 1]),
            score=tuple(_share(value) for value in scores.scores),
        ),
        category_curves=_category_curves(scores),
        limitations=_limitations(scored, analysis, facts, duration),
    )


def _summary(scored: ScoredVideo, analysis: Analysis, events: tuple[Event, ...], duration: float) -> Summary:
    scores = scored.scores
    peak = int(scores.scores.argmax())
    lengths = analysis.times[:, 1] - analysis.times[:, 0]
    excluded_s = 0.0 if scored.excluded is None else float(lengths[scored.excluded].sum())
    abnormal_s = sum(event.duration_s for event in events)
    return Summary(
        events=len(events),
        abnormal_s=_seconds(abnormal_s),
        abnormal_share=min(1.0, round(abnormal_s / duration, 4)),
        top_event=max(events, key=lambda event: event.peak_score).number if events else None,
        highest_score=_share(scores.scores[peak]),
        highest_s=_seconds(analysis.times[peak].mean()),
        excluded_s=_seconds(excluded_s),
    )


def _event(
    scored: ScoredVideo, analysis: Analysis, event: AnalysedEvent, number: int, actions: tuple[Action, ...]
) -> Event:
    span, outside, origin = event.span, analysis.outside_score, scored.scores.origin
    clear = is_clear(event.categories, category_margin(origin))
    return Event(
        number=number,
        start_s=_seconds(span.start_s),
        end_s=_seconds(span.end_s),
        duration_s=_seconds(span.end_s - span.start_s),
        onset_s=_seconds(span.onset_s),
        peak_s=_seconds(span.peak_s),
        peak_score=_share(span.peak),
        mean_score=_share(span.mean),
        outside_score=None if outside is None else _share(outside),
        confidence=confidence(span, outside, origin.trained and origin.thresholds is None),
        categories=event.categories[:MAX_CATEGORIES],
        category_clear=clear,
        severity=_severity(event.categories[0].name) if clear and origin.names_categories == "yes" else None,
        evidence=event.evidence,
        contributions=event.contributions,
        contrast=event.contrast,
        similar=event.similar,
        actions=actions,
        key_frames=event.key_frames,
        caption=event.caption,
        caption_s=None if event.caption_s is None else _seconds(event.caption_s),
    )


def confidence(span: EventSpan, outside_score: float | None, probable: bool) -> Confidence:
    """Mean score where it is read as a probability; for other scores the margin over the snippets outside the events.

    Where the threshold was measured, 5 % of normal videos reach it, whatever its value: the score is no probability.
    """
    if probable:
        value, levels = span.mean, PROBABILITY_LEVELS
    else:
        value, levels = max(0.0, span.mean - (span.mean if outside_score is None else outside_score)), MARGIN_LEVELS
    return Confidence(
        scale="probability" if probable else "margin",
        value=_share(value),
        level=1 + sum(value >= level for level in levels),  # type: ignore[arg-type]
    )


def _severity(category: str) -> Severity | None:
    level = severity_of(category)
    return None if level is None else Severity(level=level, category=category)


def _method(scored: ScoredVideo, analysis: Analysis, facts: ReportFacts) -> Method:
    origin, rule = scored.scores.origin, analysis.rule
    return Method(
        scorer=plain(origin.scorer),
        trained=origin.trained,
        encoder=origin.encoder,
        encoder_fingerprint=origin.encoder_fingerprint,
        run=None if origin.run is None else run_name(origin.run),
        run_fingerprint=origin.run_fingerprint,
        bank_fingerprint=origin.bank_fingerprint,
        scores_file=None if scored.scores_file is None else plain(scored.scores_file),
        captions_file=None if scored.captions_file is None else plain(scored.captions_file),
        action_recogniser=facts.action_recogniser,
        names_categories=origin.names_categories,
        detection=Detection(
            onset=_share(rule.onset),
            offset=_share(rule.offset),
            merge_gap_s=rule.merge_gap_s,
            min_duration_s=rule.min_duration_s,
            category_margin=_share(category_margin(origin)),
            held_out=_held_out(scored.scores, rule),
            calibrated_on=0 if facts.calibration is None else facts.calibration.videos,
            calibrated_h=None if facts.calibration is None else facts.calibration.hours,
            false_alarms_per_hour=None if facts.calibration is None else facts.calibration.false_alarms_per_hour,
            set_by_user=facts.set_by_user,
        ),
        knowledge=None if scored.bank is None else _knowledge(scored.bank),
        notes=tuple(plain(note) for note in origin.notes),
    )


def run_name(folder: str) -> str:
    """A run as a report names it: its folder, or ``kgvad:NAME`` for a run that comes with kgvad."""
    path = Path(folder)
    return f"{SHIPPED}{path.name}" if path.parent == UCF_ACTIONS.parent else plain(folder)


def _held_out(scores: Scores, rule: EventRule) -> RunThresholds | None:
    """What was measured on held-out videos, where events are found by the rule that was measured."""
    origin = scores.origin
    if origin.scorer == "training-free" and origin.names_categories == "no":
        return PIXELS_HELD_OUT if rule == default_rule(origin, scores.scores) else None
    found = origin.thresholds
    return found if found is not None and abs(found.onset - rule.onset) < 1e-6 else None


def _knowledge(bank: AnchorBank) -> Knowledge:
    return Knowledge(
        dataset=bank.dataset,
        categories=len(bank.categories) - 1,
        concepts=len(bank.concepts),
        text_encoder=bank.encoder.name,
        facts_date=bank.facts_date or None,
        fingerprint=bank.fingerprint,
    )


def _category_curves(scores: Scores) -> CategoryCurves | None:
    if scores.alignment is None or scores.categories is None or scores.origin.names_categories == "no":
        return None
    share = snippet_shares(scores.alignment.astype(np.float64), scores.normal, temperature(scores))
    return CategoryCurves(
        categories=tuple(plain(name) for name in scores.categories),
        shares=tuple(tuple(_share(value, 3) for value in column) for column in share.T),
    )


def _limitations(
    scored: ScoredVideo, analysis: Analysis, facts: ReportFacts, duration: float
) -> tuple[LimitationKey, ...]:
    """What the reader must know, most important first."""
    found = _limits_of_words(scored, analysis)
    origin = scored.scores.origin
    if origin.scorer == "unknown":
        found.append("scores_unknown")
    if not origin.trained:
        found.append("not_probabilities" if scored.captions_file is None else "captions_only")
    if _held_out(scored.scores, analysis.rule) is not None:
        found.append("misses")
    if not analysis.outside.any():
        found.append("all_abnormal")
    elif duration < SHORT_VIDEO_S and not origin.trained:
        found.append("short_video")
    if scored.excluded is not None:
        found.append("excluded")
    if scored.info is not None and scored.info.damaged:
        found.append("damaged_video")
    if facts.calibration is None:
        found.append("built_in_thresholds")
    if facts.faces_blurred:
        found.append("faces_blurred")
    return (*found, "no_sound", "not_a_judgement")


def _limits_of_words(scored: ScoredVideo, analysis: Analysis) -> list[LimitationKey]:
    """Limits of captions, categories and concepts. Remarks on categories and concepts only where events have them."""
    found: list[LimitationKey] = []
    origin = scored.scores.origin
    if scored.captions and not may_be_english([text for _, text in scored.captions]):
        found.append("captions_not_english")
    if origin.names_categories == "no":
        found.append("pixels_only" if origin.scorer == "training-free" else "no_alignment")
    elif analysis.events:
        found += ["hint_only", "closed_list"] if origin.names_categories == "hint" else ["closed_list"]
    if origin.trained and any(event.evidence for event in analysis.events):
        found.append("concepts_not_causal")
    return found


def _seconds(value: float) -> float:
    return round(float(value), 3)


def _share(value: float, digits: int = 4) -> float:
    return min(1.0, max(0.0, round(float(value), digits)))
