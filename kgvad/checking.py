"""Put a claim checker together: captions, report and category names from the session."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.errors import ReportError, UsageError
from kgvad.session import Session

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank
    from kgvad.explain.checked_text import CheckedText
    from kgvad.explain.claims.check import ClaimChecker
    from kgvad.explain.claims.evidence import TimedCaption
    from kgvad.explain.report import Report

TEXT_ENCODER = "minilm"  # the bounds of the verdicts were measured with it


@dataclass(frozen=True)
class CheckRequest:
    """What a text is checked against.

    Attributes
    ----------
    video
        The video, analysed unless ``report`` is given.
    captions
        Captions of it, in any form that ``kgvad explain`` reads.
    report
        Report on it in JSON format.
    """

    video: Path | None = None
    captions: Path | None = None
    report: Path | None = None


def check_text(session: Session, text: Path, request: CheckRequest) -> CheckedText:
    """The verdicts on the sentences of a text file.

    Raises
    ------
    KgvadError
        An input is missing, or cannot be used.
    """
    from kgvad.explain.checked_text import read_text

    content = read_text(text)
    report = _report(session, request)
    captions_file = None if request.captions is None else request.captions.name
    checker = build_checker(session, report, request.captions)
    return checker.check(content, video=report.video.name, source=text.name, captions_file=captions_file)


def build_checker(session: Session, report: Report, captions: Path | None) -> ClaimChecker:
    """A checker of texts about the video of ``report``."""
    from kgvad.explain.claims.check import ClaimChecker
    from kgvad.explain.claims.evidence import Evidence
    from kgvad.explain.claims.extract import CategoryWords
    from kgvad.explain.claims.names import category_names
    from kgvad.explain.rendering.render import Renderer

    facts = report.video
    read = [] if captions is None else list(_captions(captions, report))
    bank = _bank(session)
    evidence = Evidence(facts.duration_s, facts.fps, read, bank, session.text_encoder(TEXT_ENCODER), report)
    names = category_names(session.table(), bank, Renderer("de").phrases.categories)
    return ClaimChecker(evidence, CategoryWords(names))


def _report(session: Session, request: CheckRequest) -> Report:
    from kgvad.explain.report import Report
    from kgvad.explainers import ExplainRequest, build_explainer

    if request.report is not None:
        report = Report.read(request.report)
        if request.video is not None:
            _same_video(request.video, report)
        return report
    if request.video is None:
        raise UsageError("neither a video nor a report was given", "give --video VIDEO or --report report.json")
    explainer = build_explainer(session, ExplainRequest(captions=request.captions, actions=False, images=False))
    return explainer.explain(request.video).report


def _same_video(video: Path, report: Report) -> None:
    from kgvad.files import sha256

    if report.video.sha256 is not None and sha256(video) != report.video.sha256:
        raise ReportError(f"the report is about another video than {video}", "leave out --video or --report")


def _captions(path: Path, report: Report) -> Iterable[TimedCaption]:
    from kgvad.detector.data.captions import read_captions
    from kgvad.detector.data.clock import VideoClock
    from kgvad.explain.claims.evidence import TimedCaption

    facts = report.video
    for frame, text in read_captions(path, facts.name, VideoClock(facts.fps, facts.frame_count)):
        yield TimedCaption(frame / facts.fps, frame, text)


def _bank(session: Session) -> AnchorBank:
    """The bank of the dataset in the space of :data:`TEXT_ENCODER`."""
    from kgvad.anchors.build import build_bank

    bank = session.bank()
    if bank.encoder.name == TEXT_ENCODER:
        return bank
    return build_bank(session.table(), session.graph, session.text_encoder(TEXT_ENCODER))
