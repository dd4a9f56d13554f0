"""``kgvad check``: compare a text about a video with the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.explain_options import AUTO, Captions, Language
from kgvad.cli.options import INPUTS, OPERATE, OUTPUTS, Dataset, Device, RunFolder, example

Text = Annotated[Path, typer.Argument(metavar="TEXT", help="Text about a video: another system's alert, a story.")]
Video = Annotated[
    Path | None, typer.Option("--video", help="The video that the text is about.", rich_help_panel=INPUTS)
]
ReportFile = Annotated[
    Path | None,
    typer.Option("--report", help="Report on the video, JSON. Default: the video is analysed.", rich_help_panel=INPUTS),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write. Default: stdout.", rich_help_panel=OUTPUTS)
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        help="txt, md, html or json. Default: by the suffix of the output, else txt.",
        rich_help_panel=OUTPUTS,
    ),
]


def check(
    text: Text,
    video: Video = None,
    captions: Captions = None,
    report: ReportFile = None,
    output: Output = None,
    form: Format = None,
    dataset: Dataset = None,
    run: RunFolder = None,
    language: Language = None,
    device: Device = None,
) -> None:
    """Mark each sentence of a text about a video as supported, contradicted or not supported."""
    from kgvad.errors import ReportError, UsageError, VideoError
    from kgvad.given import must_exist

    must_exist(text, UsageError, "give a text file")
    must_exist(video, VideoError, "check the name")
    if captions == AUTO and video is None:
        raise UsageError("--captions auto needs the video", "give it with --video, or a file of captions")
    must_exist(None if captions == AUTO else captions, UsageError, "give a JSON file {video: {frame: caption}}")
    must_exist(report, ReportError, "create it with: kgvad explain VIDEO -o report.json")
    if video is None and report is None:
        raise UsageError("neither a video nor a report was given", "give --video VIDEO or --report report.json")
    from kgvad.checking import CheckRequest, check_text
    from kgvad.explain.rendering.checks import check_form
    from kgvad.explain.rendering.render import Renderer
    from kgvad.files import refuse_inputs, write_text
    from kgvad.session import Session

    chosen = check_form(output, form)
    refuse_inputs({"--output": output}, [one for one in (text, video, captions, report) if one is not None])
    with Session(device=device, dataset=dataset, run=run, explaining=True) as session:
        renderer = Renderer(language or session.settings.language)
        if captions == AUTO and video is not None:
            from kgvad.captioning import made_captions

            captions = made_captions(session, video)
        checked = check_text(session, text, CheckRequest(video, captions, report))
        written = renderer.check(checked, chosen)
    if output is None:
        print(written, end="")
    else:
        write_text(output, written)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(rich_help_panel=OPERATE, epilog=example("kgvad check alert.txt --video video.mp4"))(check)
