"""Verdicts on the claims of a text.

Nothing here is a judgement of a language model. A verdict is a comparison of words, times, counts or cosines with what
captions and a report hold; every figure that decided it is in the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from kgvad.explain.checked_text import CheckedSentence, CheckedText, CitedCaption, Claim, Reason, Verdict, worst
from kgvad.explain.claims.evidence import Evidence
from kgvad.explain.claims.extract import ANY, EVENT, CategoryWords, FoundClaim, content_words, counts, find_claims
from kgvad.explain.claims.split import split_sentences
from kgvad.explain.claims.vocabulary import entities, rivals
from kgvad.explain.parts import GraphStep
from kgvad.explain.text import plain
from kgvad.text_language import Language, language_of

CITED = 2  # captions that a verdict shows


@dataclass(frozen=True)
class ClaimRule:
    """Bounds of the verdicts, chosen on one half of the videos of benchmarks/claims.py (docs/notebook/claims.md)."""

    category: float = 0.15  # share of a category from which it is supported, as a part of the leader's share
    category_gap: float = 0.1  # the same, below which it is contradicted
    time: float = 0.5  # share of equally long stretches of the video that the claimed one must exceed
    time_gap: float = 0.1  # cosine by which another stretch must be more similar to contradict a time
    tolerance_s: float = 6.0  # a claimed time covers this much on both sides
    tolerance_share: float = 0.02  # the same as a share of the duration; the larger counts
    statement: float = 0.35  # cosine that supports a sentence: mean of the nearest caption's and of all captions'


@dataclass(frozen=True)
class _Stretch:
    """The part of the video that a sentence is about: the captions in it; ``None``: all of it."""

    chosen: NDArray[np.bool_] | None
    start_s: float
    end_s: float


class ClaimChecker:
    """Checks texts about one video.

    Parameters
    ----------
    evidence
        Captions and report.
    words
        Names of the categories.
    rule
        Bounds of the verdicts.
    """

    def __init__(self, evidence: Evidence, words: CategoryWords, rule: ClaimRule | None = None) -> None:
        self.evidence, self.words, self.rule = evidence, words, rule or ClaimRule()

    def check(
        self, text: str, *, video: str, source: str | None = None, captions_file: str | None = None
    ) -> CheckedText:
        """The verdicts on every sentence of ``text``.

        Parameters
        ----------
        text
            In English or German; of a text in another language, nothing is supported.
        video, source, captions_file
            Names for the result.
        """
        language, report = language_of(text), self.evidence.report
        sentences = [
            self.check_sentence(number, sentence, language)
            for number, sentence in enumerate(split_sentences(text), start=1)
        ]
        return CheckedText(
            kgvad_version=version("kgvad"),
            video=video,
            duration_s=self.evidence.duration_s,
            source=source,
            language=language,
            captions_file=captions_file,
            captions=len(self.evidence.captions),
            events=None if report is None else len(report.events),
            names_categories="no" if report is None else report.method.names_categories,
            sentences=tuple(sentences),
        )

    def check_sentence(self, number: int, sentence: str, language: Language | None) -> CheckedSentence:
        """The verdict on one sentence."""
        if language is None:
            claim = Claim(
                kind="statement", text=sentence, value=sentence, verdict="not_supported", reason="no_language"
            )
            return CheckedSentence(number=number, text=sentence, verdict="not_supported", claims=(claim,))
        found = find_claims(sentence, language, self.evidence.duration_s, self.words)
        stretch = self._stretch(found)
        claims = tuple(self._claim(one, stretch, language) for one in found)
        return CheckedSentence(number=number, text=sentence, verdict=worst(claims), claims=claims)

    def _stretch(self, found: Sequence[FoundClaim]) -> _Stretch:
        evidence = self.evidence
        time = next((one.time for one in found if one.time is not None), None)
        if time is None or time.start_s > evidence.duration_s:
            return _Stretch(None, 0.0, evidence.duration_s)
        start_s, end_s = self._widened(time.start_s, time.end_s)
        return _Stretch(evidence.inside(start_s, end_s), start_s, end_s)

    def _widened(self, start_s: float, end_s: float) -> tuple[float, float]:
        more = max(self.rule.tolerance_s, self.rule.tolerance_share * self.evidence.duration_s)
        return max(0.0, start_s - more), min(self.evidence.duration_s, end_s + more)

    def _claim(self, claim: FoundClaim, stretch: _Stretch, language: Language) -> Claim:
        if claim.kind == "time":
            return self._order(claim, language) if claim.parts else self._time(claim, language)
        if claim.kind == "absence":
            return self._absence(claim, stretch)
        if claim.kind == "category":
            return self._category(claim, stretch)
        if claim.kind == "count":
            return self._count(claim, stretch)
        if claim.kind == "entity":
            return self._entity(claim, stretch)
        return self._statement(claim, stretch, language)

    # -- categories ----------------------------------------------------------------------------------------------------

    def _category(self, claim: FoundClaim, stretch: _Stretch) -> Claim:
        """Supported by the captions or by an event of the report; else what the captions say, if there are any."""
        if claim.values == (ANY,):
            return self._any_event(claim, stretch)
        shares = self.evidence.category_shares(stretch.chosen)
        found = [self._by_shares(claim, stretch, shares, None)] if shares else []
        for event in self.evidence.events_in(stretch.start_s, stretch.end_s):
            of_event = {one.name: one.probability for one in event.categories}
            found.append(self._by_shares(claim, stretch, of_event, event.number))
        unknown = self._made(claim, "not_supported", "category_unknown", stretch)
        known = [one for one in found if one.reason != "category_unknown"]
        return next((one for one in known if one.verdict == "supported"), known[0] if known else unknown)

    def _by_shares(self, claim: FoundClaim, stretch: _Stretch, shares: dict[str, float], event: int | None) -> Claim:
        own = [name for name in claim.values if name in shares]
        if not own:
            return self._made(claim, "not_supported", "category_unknown", stretch)
        value = max(own, key=lambda name: shares[name])
        leader = max(shares, key=lambda name: shares[name])
        figures = {"found": leader, "value_share": shares[value], "found_share": shares[leader], "event": event}
        if shares[value] >= self.rule.category * shares[leader]:
            cited = self._path(value, stretch, event)
            return self._made(claim, "supported", "category_supported", stretch, **figures, **cited)
        if shares[value] < self.rule.category_gap * shares[leader]:
            cited = self._path(leader, stretch, event)
            return self._made(claim, "contradicted", "category_other", stretch, **figures, **cited)
        return self._made(claim, "not_supported", "category_weak", stretch, **figures)

    def _any_event(self, claim: FoundClaim, stretch: _Stretch) -> Claim:
        if self.evidence.report is None:
            return self._made(claim, "not_supported", "category_unknown", stretch)
        return self._time_by_events(claim, stretch)

    def _path(self, category: str, stretch: _Stretch, event: int | None) -> dict[str, object]:
        """The nearest concept in the captions, with its path; of an event of the report, the path that it cites."""
        evidence = self.evidence
        if event is None:
            index, caption, cosine = evidence.nearest_concept(category, stretch.chosen)
            concept = evidence.bank.concepts[index]
            steps = tuple(GraphStep(subject=s, property=p, object=o) for s, p, o in concept.path)
            return {"path": steps, "path_text": concept.path_text or None, "captions": self._cited([caption], [cosine])}
        for one in evidence.events_in(stretch.start_s, stretch.end_s):
            for concept_cited in one.evidence if one.number == event else ():
                if concept_cited.category == category:
                    return {"path": concept_cited.path, "path_text": concept_cited.path_text}
        return {}

    # -- times ---------------------------------------------------------------------------------------------------------

    def _time(self, claim: FoundClaim, language: Language) -> Claim:
        time, evidence = claim.time, self.evidence
        assert time is not None
        start_s, end_s = self._widened(time.start_s, time.end_s)
        stretch = _Stretch(None, min(start_s, end_s), end_s)
        if time.start_s > evidence.duration_s + 0.5:
            return self._made(claim, "contradicted", "time_beyond_end", stretch, found=_span(0, evidence.duration_s))
        if evidence.report is not None and find_categories(time.rest, language, self.words):
            return self._time_by_events(claim, stretch)
        similarity = evidence.similarity(time.rest) if language == "en" else None
        if similarity is None:
            return self._made(claim, "not_supported", self._uncompared(language), stretch)
        inside = evidence.inside(start_s, end_s)
        if inside.all() or not content_words(time.rest, language):
            return self._made(claim, "not_supported", "time_unknown", stretch)
        level, levels = float(similarity[inside].mean()), _stretches(similarity, int(inside.sum()))
        rank = float((levels < level).mean() + 0.5 * (levels == level).mean())
        best = int(levels.argmax())
        at = best + int(similarity[best : best + int(inside.sum())].argmax())
        found, elsewhere = _span(float(evidence.starts[at]), None), float(levels[best])
        figures: dict[str, object] = {"value_share": level, "found_share": elsewhere, "found": found}
        if rank >= self.rule.time:
            own = int(np.where(inside, similarity, -2).argmax())
            figures["captions"] = self._cited([own], [float(similarity[own])])
            return self._made(claim, "supported", "time_match", stretch, **figures)
        figures["captions"] = self._cited([at], [float(similarity[at])])
        if elsewhere - level >= self.rule.time_gap and not inside[at]:
            return self._made(claim, "contradicted", "time_elsewhere", stretch, **figures)
        return self._made(claim, "not_supported", "time_unknown", stretch, **figures)

    def _time_by_events(self, claim: FoundClaim, stretch: _Stretch) -> Claim:
        """Where an abnormal event is claimed: whether one of the report covers the time."""
        events = self.evidence.events_in(stretch.start_s, stretch.end_s)
        if events:
            return self._made(claim, "supported", "time_event", stretch, event=events[0].number)
        return self._made(claim, "contradicted", "time_no_event", stretch)

    def _order(self, claim: FoundClaim, language: Language) -> Claim:
        assert claim.parts is not None
        whole = _Stretch(None, 0.0, self.evidence.duration_s)
        first, second = (self.evidence.similarity(part) if language == "en" else None for part in claim.parts)
        if first is None or second is None:
            return self._made(claim, "not_supported", self._uncompared(language), whole)
        weakest = min(float(first.max()), float(second.max()))
        a, b = int(first.argmax()), int(second.argmax())
        figures = {"captions": self._cited([a, b], [float(first[a]), float(second[b])])}
        if weakest < self.rule.statement:
            return self._made(claim, "not_supported", "order_unknown", whole)
        if self.evidence.starts[a] <= self.evidence.starts[b]:
            return self._made(claim, "supported", "order_match", whole, **figures)
        return self._made(claim, "contradicted", "order_reversed", whole, **figures)

    # -- entities, counts, absences ------------------------------------------------------------------------------------

    def _entity(self, claim: FoundClaim, stretch: _Stretch) -> Claim:
        entity, evidence = claim.values[0], self.evidence
        if not evidence.captions:
            return self._made(claim, "not_supported", "no_captions", stretch)
        found = evidence.mentioning(entity, stretch.chosen)
        if found:
            return self._made(claim, "supported", "entity_found", stretch, captions=self._cited(found))
        others = {one: evidence.mentioning(one, stretch.chosen) for one in sorted(rivals(entity))}
        other = max(others, key=lambda one: len(others[one]), default=None)
        if other is not None and others[other]:
            cited = self._cited(others[other])
            return self._made(claim, "contradicted", "entity_other", stretch, found=other, captions=cited)
        return self._made(claim, "not_supported", "entity_absent", stretch)

    def _count(self, claim: FoundClaim, stretch: _Stretch) -> Claim:
        entity, evidence = claim.values[0], self.evidence
        if entity == EVENT and evidence.report is not None:
            count = len(evidence.report.events)
            verdict: Verdict = "supported" if claim.number == count else "contradicted"
            return self._made(claim, verdict, "events_counted", stretch, found=str(count))
        if not evidence.captions or entity == EVENT:
            return self._made(claim, "not_supported", "no_captions", stretch)
        said: dict[int, list[int]] = {}
        for index in evidence.mentioning(entity, stretch.chosen):
            for name, number, _ in counts(evidence.captions[index].text, "en"):
                if name == entity or entities()[name].kind_of == entity:
                    said.setdefault(number, []).append(index)
        if claim.number in said:
            return self._made(claim, "supported", "count_found", stretch, captions=self._cited(said[claim.number]))
        if said:
            most = max(said, key=lambda number: len(said[number]))
            cited = self._cited(said[most])
            return self._made(claim, "contradicted", "count_other", stretch, found=str(most), captions=cited)
        return self._made(claim, "not_supported", "count_absent", stretch)

    def _absence(self, claim: FoundClaim, stretch: _Stretch) -> Claim:
        value = claim.values[0]
        if value == ANY:
            if self.evidence.report is None:
                return self._made(claim, "not_supported", "absence_unknown", stretch)
            events = self.evidence.events_in(stretch.start_s, stretch.end_s)
            if events:
                return self._made(claim, "contradicted", "absence_refuted", stretch, event=events[0].number)
            return self._made(claim, "supported", "absence_confirmed", stretch)
        if value in entities():
            if not self.evidence.captions:
                return self._made(claim, "not_supported", "no_captions", stretch)
            found = self.evidence.mentioning(value, stretch.chosen)
            if found:
                return self._made(claim, "contradicted", "absence_refuted", stretch, captions=self._cited(found))
            return self._made(claim, "supported", "absence_confirmed", stretch)
        positive = self._category(FoundClaim("category", claim.text, claim.values), stretch)
        if positive.reason == "category_unknown":
            return self._made(claim, "not_supported", "absence_unknown", stretch)
        verdict: tuple[Verdict, Reason] = ("supported", "absence_confirmed")
        if positive.verdict == "supported":
            verdict = (
                ("contradicted", "absence_refuted")
                if positive.found in claim.values
                else ("not_supported", "absence_unknown")
            )
        return positive.model_copy(update={"kind": "absence", "verdict": verdict[0], "reason": verdict[1]})

    # -- the rest ------------------------------------------------------------------------------------------------------

    def _statement(self, claim: FoundClaim, stretch: _Stretch, language: Language) -> Claim:
        similarity = self.evidence.similarity(claim.text) if language == "en" else None
        if similarity is None:
            return self._made(claim, "not_supported", self._uncompared(language), stretch)
        within = similarity if stretch.chosen is None else similarity[stretch.chosen]
        level = float(within.max() + within.mean()) / 2  # the nearest caption, and what the footage is about
        at = int(similarity.argmax() if stretch.chosen is None else np.where(stretch.chosen, similarity, -2).argmax())
        figures = {"value_share": level, "captions": self._cited([at], [float(similarity[at])])}
        if level >= self.rule.statement:
            return self._made(claim, "supported", "statement_found", stretch, **figures)
        return self._made(claim, "not_supported", "statement_weak", stretch, **figures)

    def _uncompared(self, language: Language) -> Reason:
        """Why a text was not compared with captions."""
        return "no_captions" if language == "en" or not self.evidence.captions else "no_language"

    def _cited(self, indices: Sequence[int], similarities: Sequence[float] | None = None) -> tuple[CitedCaption, ...]:
        captions = self.evidence.captions
        return tuple(
            CitedCaption(
                start_s=captions[index].start_s,
                frame=captions[index].frame,
                text=plain(captions[index].text),
                similarity=None if similarities is None else round(similarities[place], 4),
            )
            for place, index in enumerate(indices[:CITED])
        )

    def _made(self, claim: FoundClaim, verdict: Verdict, reason: Reason, stretch: _Stretch, **figures: object) -> Claim:
        for name in ("value_share", "found_share"):
            if figures.get(name) is not None:
                figures[name] = round(float(figures[name]), 4)  # type: ignore[arg-type]
        last = max(stretch.start_s, stretch.end_s)
        return Claim.model_validate(
            {
                "kind": claim.kind,
                "text": claim.text,
                "value": _value(claim),
                "verdict": verdict,
                "reason": reason,
                "start_s": stretch.start_s,
                "end_s": last,
                "frames": (round(stretch.start_s * self.evidence.fps), round(last * self.evidence.fps)),
                **figures,
            }
        )


def find_categories(sentence: str, language: Language, words: CategoryWords) -> list[str]:
    """Categories that ``sentence`` names, or :data:`ANY` where it only says that something abnormal happens."""
    found = find_claims(sentence, language, 1.0, words)
    return [value for claim in found if claim.kind == "category" for value in claim.values]


def _value(claim: FoundClaim) -> str:
    if claim.time is not None:
        return _span(claim.time.start_s, claim.time.end_s)
    if claim.parts is not None:
        return " < ".join(claim.parts)
    if claim.number is not None:
        return f"{claim.number} {claim.values[0]}"
    return "/".join(claim.values) or claim.text


def _span(start_s: float, end_s: float | None) -> str:
    """A time or a span in seconds, as values of claims."""
    return f"{start_s:g}" if end_s is None or end_s == start_s else f"{start_s:g}-{end_s:g}"


def _stretches(similarity: NDArray[np.floating], length: int) -> NDArray[np.float64]:
    """The mean similarity in each stretch of ``length`` captions."""
    windows = np.lib.stride_tricks.sliding_window_view(similarity, length)
    return np.asarray(windows.mean(axis=1), np.float64)
