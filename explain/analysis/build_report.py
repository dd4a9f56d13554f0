"""From scores to the :class:`~kgvad.explain.report.Report`: the one place where the parts come together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.scoring.scores import Scores
from kgvad.explain.analysis.events import EventRule, Interval, find_events, row_times
from kgvad.explain.analysis.evidence import (
    category_shares,
    concept_rises,
    contrast_of,
    evidence_for,
    quiet_rows,
    temperature,
)
from kgvad.explain.rendering.escaping import plain, words
from kgvad.explain.report import (
    Action,
    CategoryShare,
    Certainty,
    Contrast,
    Curve,
    Event,
    Evidence,
    Heat,
    KeyFrame,
    Knowledge,
    LimitKey,
    Method,
    Report,
    Rule,
    Severity,
    Similar,
    Summary,
    VideoFacts,
)

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank
    from kgvad.detector.training.exemplars import Match

# Certainty in four words. Probabilities: the words of a trained scorer; contrasts: how far an untrained score stands
# out from the rest of the same video. The report prints both scales.
PROBABILITY_LEVELS = (0.65, 0.80, 0.95)
CONTRAST_LEVELS = (0.25, 0.45, 0.65)
SHORT_VIDEO_S = 10.0  # too little quiet footage to compare with
KEY_FRAMES = 4  # of one event, at most
SHARES_KEPT = 3  # categories named for an event


@dataclass(frozen=True)
class Context:
    """What is known beside the scores; every part may be missing.

    Attributes
    ----------
    rule
        How events are found.
    calibrated_on, false_alarms_per_hour
        How the thresholds of ``rule`` were set, for the report.
    bank
        The anchor bank that the scores were made with, or that hints are drawn from.
    texts
        Category name to words ("RoadAccidents": "road accident").
    harm
        Category name to severity 1..3.
    labels
        QID to label, for the steps of graph paths.
    width, height
        Of the video, pixels.
    sha256
        Of the video's file.
    scores_file, captions_file
        Names of files that the user gave.
    captions
        Frame and caption, in the order of frames.
    times
        Start and end of every scored row in seconds, float64 [T, 2], where the frame rate varies.
    similar
        Similar moments of the training videos, by event number.
    created
        Time of the report; now if ``None``.
    """

    rule: EventRule = field(default_factory=EventRule)
    calibrated_on: int = 0
    false_alarms_per_hour: float | None = None
    bank: AnchorBank | None = None
    texts: dict[str, str] = field(default_factory=dict)
    harm: dict[str, int] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    scores_file: str | None = None
    captions_file: str | None = None
    captions: list[tuple[int, str]] | None = None
    times: NDArray[np.float64] | None = None
    similar: Mapping[int, Sequence[Match]] = field(default_factory=dict)
    created: datetime | None = None


@dataclass(frozen=True)
class Seen:
    """What the action recogniser found for one event, and the concepts near it."""

    actions: tuple[Action, ...] = ()
    hints: tuple[Evidence, ...] = ()


def compose(
    scores: Scores, context: Context, seen: dict[int, Seen] | None = None, actions_by: str | None = None
) -> Report:
    """The report on one video.

    Parameters
    ----------
    scores
        Anomaly scores of any origin.
    context
        Everything else that is known.
    seen
        Recognised actions and hints, by event number.
    actions_by
        Name of the action recogniser, where one looked.
    """
    times = row_times(scores) if context.times is None else context.times
    intervals = find_events(scores, context.rule, times)
    quiet = quiet_rows(scores, intervals)
    events = tuple(
        _event(scores, context, times, intervals, number, (seen or {}).get(number, Seen()))
        for number in range(1, len(intervals) + 1)
    )
    duration = max(scores.frame_count / scores.fps if context.times is None else 0.0, float(times[-1, 1]))
    peak = int(scores.scores.argmax())
    abnormal_s = sum(event.duration_s for event in events)
    return Report(
        kgvad_version=version("kgvad"),
        created=(context.created or datetime.now(timezone.utc)).isoformat(timespec="seconds"),
        video=VideoFacts(
            name=plain(scores.video),
            fps=round(scores.fps, 4),
            frame_count=scores.frame_count,
            duration_s=_time(duration),
            width=context.width,
            height=context.height,
            sha256=context.sha256,
        ),
        method=_method(scores, context, actions_by),
        summary=Summary(
            events=len(events),
            abnormal_s=_time(abnormal_s),
            abnormal_share=min(1.0, round(abnormal_s / duration, 4)),
            top_event=max(events, key=lambda event: event.peak_score).number if events else None,
            highest_score=_share(scores.scores[peak]),
            highest_s=_time(times[peak].mean()),
        ),
        events=events,
        curve=Curve(
            start_s=tuple(_time(value) for value in times[:, 0]),
            end_s=tuple(_time(value) for value in times[:, 1]),
            score=tuple(_share(value) for value in scores.scores),
        ),
        heat=_heat(scores),
        limits=_limits(scores, context, duration, bool(events), bool(quiet.any())),
    )


def certainty(event: Interval, elsewhere: float | None, trained: bool) -> Certainty:
    """How sure: the mean score of a trained scorer, or how far an untrained one stands out."""
    if trained:
        value, levels = event.mean, PROBABILITY_LEVELS
    else:
        value, levels = max(0.0, event.mean - (elsewhere if elsewhere is not None else event.mean)), CONTRAST_LEVELS
    return Certainty(
        scale="probability" if trained else "contrast",
        value=_share(value),
        level=1 + sum(value >= level for level in levels),  # type: ignore[arg-type]
    )


def _event(
    scores: Scores, context: Context, times: NDArray[np.float64], intervals: list[Interval], number: int, seen: Seen
) -> Event:
    interval = intervals[number - 1]
    quiet = quiet_rows(scores, intervals)
    elsewhere = float(np.median(scores.scores[quiet])) if quiet.any() else None
    named = scores.origin.names_categories != "no"
    categories = category_shares(scores, interval, context.texts) if named else []
    evidence, contrast = _cited(scores, context, interval, quiet, categories)
    return Event(
        number=number,
        start_s=_time(interval.start_s),
        end_s=_time(interval.end_s),
        duration_s=_time(interval.end_s - interval.start_s),
        onset_s=_time(interval.onset_s),
        peak_s=_time(interval.peak_s),
        peak_score=_share(interval.peak),
        mean_score=_share(interval.mean),
        elsewhere_score=None if elsewhere is None else _share(elsewhere),
        certainty=certainty(interval, elsewhere, scores.origin.trained),
        categories=tuple(categories[:SHARES_KEPT]),
        severity=_severity(context, categories),
        evidence=evidence,
        contrast=contrast,
        similar=_similar(context, number),
        actions=seen.actions,
        hints=seen.hints,
        key_frames=key_frames(scores, interval, times),
        caption=_caption(context, scores, interval),
    )


def _cited(
    scores: Scores, context: Context, interval: Interval, quiet: NDArray[np.bool_], categories: list[CategoryShare]
) -> tuple[tuple[Evidence, ...], Contrast | None]:
    bank = context.bank
    if bank is None or not categories or categories[0].name not in bank.categories:
        return (), None
    change = concept_rises(scores, bank, interval, quiet)
    if change is None:
        return (), None
    found = evidence_for(bank, change, categories[0].name, context.labels)
    rival = categories[1].name if len(categories) > 1 else None
    contrast = contrast_of(bank, change, categories[0].name, rival) if rival in bank.categories else None
    return tuple(_in_words(item, context.texts) for item in found), contrast


def _in_words(item: Evidence, texts: Mapping[str, str]) -> Evidence:
    """``item`` whose path begins with the words of the category where the bank wrote its name ("RoadAccidents")."""
    text = texts.get(item.category, "")
    if not text or item.path_text is None or not item.path_text.startswith(f"{item.category} "):
        return item
    return item.model_copy(update={"path_text": text + item.path_text[len(item.category) :]})


def _similar(context: Context, number: int) -> tuple[Similar, ...]:
    return tuple(
        Similar(
            video=plain(match.video),
            category=match.category,
            text=context.texts.get(match.category, words(match.category)),
            start_s=_time(match.start_s),
            end_s=_time(match.end_s),
            similarity=round(match.similarity, 4),
        )
        for match in context.similar.get(number, ())
    )


def _severity(context: Context, categories: list[CategoryShare]) -> Severity | None:
    if not categories or categories[0].name not in context.harm:
        return None
    return Severity(level=context.harm[categories[0].name], category=categories[0].name)  # type: ignore[arg-type]


def key_frames(scores: Scores, interval: Interval, times: NDArray[np.float64]) -> tuple[KeyFrame, ...]:
    """Onset, peak, and frames far from those already chosen, in the order of time; one a row at most."""
    first, stop = interval.rows
    onset = first + int((times[first:stop, 0] >= interval.onset_s - 1e-9).argmax())
    chosen: dict[int, str] = {interval.peak_row: "peak"}
    chosen.setdefault(onset, "onset")
    rows = np.arange(first, stop)
    while len(chosen) < min(KEY_FRAMES, len(rows)):
        distance = np.abs(rows[:, None] - np.array(list(chosen))[None, :]).min(axis=1)
        worth = distance / max(1, len(rows)) * (0.25 + scores.scores[rows])  # far from the others, and telling
        chosen[int(rows[worth.argmax()])] = "variety"
    frames = []
    for row, why in sorted(chosen.items()):
        frame = int(scores.spans[row].sum() // 2)
        frames.append(
            KeyFrame(time_s=_time(times[row].mean()), frame=frame, score=_share(scores.scores[row]), why=why)  # type: ignore[arg-type]
        )
    return tuple(frames)


def _caption(context: Context, scores: Scores, interval: Interval) -> str | None:
    """The given caption nearest to the peak, if one falls into the event."""
    if not context.captions:
        return None
    middle = scores.spans[interval.peak_row].mean()
    nearest, caption = min(context.captions, key=lambda pair: (abs(pair[0] - middle), pair[0]))
    inside = scores.spans[interval.rows[0], 0] <= nearest < scores.spans[interval.rows[1] - 1, 1]
    return plain(caption)[:400] if inside else None


def _method(scores: Scores, context: Context, actions_by: str | None) -> Method:
    origin, bank = scores.origin, context.bank
    return Method(
        scorer=plain(origin.scorer),
        trained=origin.trained,
        encoder=origin.encoder,
        encoder_fingerprint=origin.encoder_fingerprint,
        run=None if origin.run is None else plain(origin.run),
        run_fingerprint=origin.run_fingerprint,
        bank_fingerprint=origin.bank_fingerprint,
        scores_file=None if context.scores_file is None else plain(context.scores_file),
        captions_file=None if context.captions_file is None else plain(context.captions_file),
        actions_by=actions_by,
        names_categories=origin.names_categories,
        rule=Rule(
            high=_share(context.rule.high),
            low=_share(context.rule.low),
            merge_s=context.rule.merge_s,
            min_s=context.rule.min_s,
            calibrated_on=context.calibrated_on,
            false_alarms_per_hour=context.false_alarms_per_hour,
        ),
        knowledge=None
        if bank is None
        else Knowledge(
            dataset=bank.dataset,
            categories=len(bank.categories) - 1,
            concepts=len(bank.concepts),
            text_encoder=bank.encoder.name,
            facts_date=bank.facts_date or None,
            fingerprint=bank.fingerprint,
        ),
        notes=tuple(plain(note) for note in origin.notes),
    )


def _heat(scores: Scores) -> Heat | None:
    if scores.alignment is None or scores.categories is None or scores.origin.names_categories == "no":
        return None
    from scipy.special import softmax

    share = softmax(scores.alignment.astype(np.float64) / temperature(scores.alignment), axis=1)
    return Heat(
        categories=tuple(plain(name) for name in scores.categories),
        shares=tuple(tuple(_share(value, 3) for value in row) for row in share.T),
    )


def _limits(scores: Scores, context: Context, duration: float, found: bool, quiet: bool) -> tuple[LimitKey, ...]:
    """What this report cannot know, most important first; about names only where there are events to name."""
    limits: list[LimitKey] = []
    origin = scores.origin
    if origin.names_categories == "no":
        limits.append("no_alignment" if origin.scorer != "training-free" else "pixels_only")
    elif origin.names_categories == "hint" and found:
        limits.append("hint_only")
    if origin.names_categories != "no" and found:
        limits.append("closed_list")
    if origin.trained and found and scores.concept_alignment is not None and context.bank is not None:
        limits.append("concepts_go_along")
    if origin.scorer == "unknown":
        limits.append("scores_unknown")
    if not origin.trained:
        limits.append("not_probabilities")
    if not quiet:
        limits.append("all_abnormal")
    elif duration < SHORT_VIDEO_S and not origin.trained:
        limits.append("short_video")
    if not context.calibrated_on:
        limits.append("built_in_thresholds")
    limits += ["no_sound", "not_a_judgement"]
    return tuple(limits)


def _time(seconds: float) -> float:
    return round(float(seconds), 3)


def _share(value: float, digits: int = 4) -> float:
    return min(1.0, max(0.0, round(float(value), digits)))
