"""The result of explaining one video: a report with everything that it was made from."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kgvad.detector.scoring.scores import Scores
from kgvad.explain.report import Report
from kgvad.video.decode import VideoInfo

if TYPE_CHECKING:
    from kgvad.anchors.bank import AnchorBank
    from kgvad.video.redaction import FaceFinder

NOTEBOOK_HEIGHT = 720  # pixels of the page in a notebook


@dataclass(frozen=True, eq=False)
class Explanation:
    """A report with the scores and pictures that it was made from. A notebook shows it as a page.

    Attributes
    ----------
    report
        Events, evidence and limitations.
    scores
        Anomaly scores of every snippet.
    pictures
        Key frames as JPEG, by frame number.
    info
        Facts about the video file; ``None`` where only scores were given.
    bank
        Anchor bank that the scores were computed with, where there was one.
    language
        Language in which :meth:`save` and :meth:`render` write the report by default.
    face_finder
        Finds the faces that are blurred in clips; ``None``: none is blurred.
    inputs
        Files and folders that were read in addition to the video; :meth:`save` does not replace them.
    """

    report: Report
    scores: Scores
    pictures: dict[int, bytes] = field(default_factory=dict)
    info: VideoInfo | None = None
    bank: AnchorBank | None = None
    language: str = "en"
    face_finder: FaceFinder | None = None
    inputs: tuple[Path, ...] = ()

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        form: str | None = None,
        language: str | None = None,
        templates: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Write the report to a file and return its path.

        Parameters
        ----------
        path
            File to write.
        form
            ``md``, ``html``, ``json``, ``srt``, ``vtt``, ``csv`` or ``pdf``; default: by the suffix of ``path``.
        language
            ``en`` or ``de``; default: :attr:`language`.
        templates
            Folder whose templates replace the built-in ones of the same name.

        Raises
        ------
        UsageError
            Unknown format or language, or ``path`` is the video itself or one of :attr:`inputs`.
        ReportError
            A template is wrong.
        """
        from kgvad.explain.rendering.writers import Outputs

        outputs = Outputs([Path(path)], form, language or self.language, None if templates is None else Path(templates))
        outputs.write(self, inputs=self.inputs)
        return Path(path)

    def render(self, form: str = "md", *, language: str | None = None) -> str:
        """The report as text; ``form`` and ``language`` as for :meth:`save`, except ``pdf``."""
        from kgvad.explain.rendering.render import Renderer

        return Renderer(language or self.language).render(self.report, form, pictures=self.pictures)

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style sheet does not reach the notebook."""
        page = html.escape(self.render("html"), quote=True)
        title = html.escape(self.report.video.name, quote=True)
        style = f"width:100%;height:{NOTEBOOK_HEIGHT}px;border:0"
        return f'<iframe title="{title}" style="{style}" srcdoc="{page}"></iframe>'
