"""Options of ``kgvad explain`` and ``kgvad explain-eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgvad.cli.addresses import read_here, write_there
from kgvad.cli.options import EVENTS, INPUTS, OUTPUTS, REPORT
from kgvad.given import run_folder

SCORING = "Scoring"
NARRATION = "Narration"

Video = Annotated[
    Path | None,
    typer.Argument(
        metavar="VIDEO",
        help="Video, or folder, glob (in quotes) or list (.txt) of videos. May be left out with --scores.",
    ),
]
Output = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        callback=write_there,
        help="File to write, or its address (s3://bucket/report.html); repeatable. For several videos: folder to "
        "write to. Default: stdout.",
        rich_help_panel=OUTPUTS,
    ),
]
Format = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        "-f",
        help="md, html, json, srt, vtt, csv, pdf or manifest (hashes for kgvad verify); may be repeated for several "
        "videos. Default: by the suffix of the output, else md.",
        rich_help_panel=OUTPUTS,
    ),
]
Clips = Annotated[
    Path | None,
    typer.Option("--clips", help="Folder to write a video clip of each event to.", rich_help_panel=OUTPUTS),
]
SaveScores = Annotated[
    Path | None,
    typer.Option("--save-scores", help="File to write the scores to (npz, CSV or JSON).", rich_help_panel=OUTPUTS),
]
AUTO = Path("auto")  # --captions: make them
STDOUT = Path("-")
CaptionsFile = Annotated[
    Path | None,
    typer.Option(
        "--captions",
        help="Captions, JSON: {video: {frame: caption}}; make them with kgvad caption.",
        rich_help_panel=INPUTS,
    ),
]
Captions = Annotated[
    Path | None,
    typer.Option(
        "--captions",
        help="Captions, JSON: {video: {frame: caption}}; auto: make them, as kgvad caption does.",
        rich_help_panel=INPUTS,
    ),
]
Features = Annotated[
    Path | None,
    typer.Option(
        "--features",
        callback=read_here,
        help="Feature store. With --run, it is scored, and VIDEO may be a name in it. With --scores, blip or clip "
        "features add categories.",
        rich_help_panel=INPUTS,
    ),
]
ScoreFile = Annotated[
    Path | None,
    typer.Option(
        "--scores",
        help="Scores from any program (npz, CSV or JSON), or a folder with one file per video.",
        rich_help_panel=SCORING,
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        "-e",
        help="Score without training, on features of this visual encoder: efficientnet-lite0, i3d, clip, blip.",
        rich_help_panel=SCORING,
    ),
]
Open = Annotated[
    list[str] | None,
    typer.Option(
        "--open",
        help="Category to add without training: words, or a Wikidata item such as Q4654740; repeatable.",
        rich_help_panel=SCORING,
    ),
]
Stride = Annotated[
    int,
    typer.Option(
        min=1,
        help="Frames per score. Use 1 for footage that keeps one frame in sixteen.",
        rich_help_panel=SCORING,
    ),
]
Actions = Annotated[
    bool,
    typer.Option(
        "--actions/--no-actions",
        help="Recognise actions at the peaks (I3D), if the scores come from pixels alone.",
        rich_help_panel=SCORING,
    ),
]
Onset = Annotated[
    float | None,
    typer.Option(
        "--onset",
        metavar="SCORE",
        help="Score at which an event starts (onset threshold), 0 to 1. Default: depends on the scorer.",
        rich_help_panel=EVENTS,
    ),
]
Offset = Annotated[
    float | None,
    typer.Option(
        "--offset",
        metavar="SCORE",
        help="Score below which an event ends (offset threshold). Default: 0.7 times the onset.",
        rich_help_panel=EVENTS,
    ),
]
MergeGap = Annotated[
    float | None,
    typer.Option(
        "--merge-gap",
        metavar="SECONDS",
        help="Merge events at most this far apart. Default: 2.",
        rich_help_panel=EVENTS,
    ),
]
MinDuration = Annotated[
    float | None,
    typer.Option("--min-duration", metavar="SECONDS", help="Drop shorter events. Default: 1.", rich_help_panel=EVENTS),
]
Calibrate = Annotated[
    list[Path] | None,
    typer.Option(
        "--calibrate",
        help="Normal footage to set the thresholds on: video, folder of videos or score file; repeatable.",
        rich_help_panel=EVENTS,
    ),
]
FalseAlarms = Annotated[
    str | None,
    typer.Option(
        "--false-alarms",
        metavar="RATE",
        help="With --calibrate: accepted false alarms, such as 2/hour or 1/day. Default: 1/hour.",
        rich_help_panel=EVENTS,
    ),
]
Language = Annotated[
    str | None,
    typer.Option("--language", "-l", help="en or de. Default: en.", rich_help_panel=REPORT),
]
Images = Annotated[bool, typer.Option("--images/--no-images", help="Include key frames.", rich_help_panel=REPORT)]
Redact = Annotated[
    bool | None,
    typer.Option(
        "--redact/--no-redact",
        help="Blur faces in key frames and clips (kgvad[redact]); some are missed. Default: the setting `redact`.",
        rich_help_panel=REPORT,
    ),
]
Templates = Annotated[
    Path | None,
    typer.Option(
        "--templates",
        help="Folder of templates that replace the built-in ones of the same name.",
        rich_help_panel=REPORT,
    ),
]
Narrate = Annotated[
    str | None,
    typer.Option(
        "--narrate",
        metavar="URL|FOLDER",
        help="Add a text by a language model, with every sentence checked: OpenAI-compatible service (key: "
        "KGVAD_API_KEY), or model folder. A service gets the report, but no pictures.",
        rich_help_panel=NARRATION,
    ),
]
NarrateModel = Annotated[
    str | None,
    typer.Option("--narrate-model", help="Name of the model on the service.", rich_help_panel=NARRATION),
]
NarrateGraph = Annotated[
    bool,
    typer.Option(
        "--narrate-graph/--no-narrate-graph",
        help="Give the model the knowledge graph paths.",
        rich_help_panel=NARRATION,
    ),
]
DropUnsupported = Annotated[
    bool,
    typer.Option(
        "--drop-unsupported",
        help="Leave out sentences that the check does not support. Default: mark them.",
        rich_help_panel=NARRATION,
    ),
]
Reports = Annotated[
    list[Path] | None,
    typer.Argument(metavar="REPORTS", help="Reports in JSON format, or folders of them. Needs --references."),
]
References = Annotated[
    Path | None,
    typer.Option("--references", help="Human-written texts, JSON: {video: [text, ...]}.", rich_help_panel=INPUTS),
]
EvaluatedRun = Annotated[
    Path | None,
    typer.Option(
        "--run",
        "-r",
        callback=run_folder,
        help="Trained run whose cited evidence is removed. Needs --features.",
        rich_help_panel=INPUTS,
    ),
]
RunFeatures = Annotated[
    Path | None, typer.Option("--features", help="Feature store for --run.", rich_help_panel=INPUTS)
]
VideoList = Annotated[
    Path | None,
    typer.Option("--videos", help="With --run: file with one video per line to use.", rich_help_panel=INPUTS),
]
Reencode = Annotated[
    Path | None,
    typer.Option(
        "--reencode",
        help="Video or folder to re-encode at lower size and quality and explain again.",
        rich_help_panel=INPUTS,
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", help="Seed of the random baselines and of the bootstrap.", rich_help_panel=INPUTS)
]
