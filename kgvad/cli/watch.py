"""Commands about live cameras."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgvad.cli.explain_options import Language, MergeGap, MinDuration, Offset, Onset, Redact
from kgvad.cli.options import EVENTS, INPUTS, OPERATE, OUTPUTS, Device, RunFolder, example

if TYPE_CHECKING:
    from pydantic import BaseModel

logger = logging.getLogger(__name__)

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="RTSP or other URL, camera device (/dev/video0), folder that fills with clips, or a file with --as-live. "
        "NAME=SOURCE names the camera.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        "--out",
        help="Folder for a report and a clip of each event. Default: none.",
        rich_help_panel=OUTPUTS,
    ),
]
AsLive = Annotated[bool, typer.Option("--as-live", help="Play files in real time.", rich_help_panel=INPUTS)]
SinkTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--sink",
        metavar="KIND:TARGET",
        help="Where messages go, besides stdout: jsonl:FILE, webhook:URL, mqtt:mqtt://HOST, email:smtp://HOST/TO; "
        "repeatable. Default: the setting `sinks`.",
        rich_help_panel=OUTPUTS,
    ),
]
Once = Annotated[
    bool, typer.Option("--once", help="End when the clips in the folders are done.", rich_help_panel=INPUTS)
]

Source = Annotated[
    str,
    typer.Argument(metavar="SOURCE", help="As for kgvad watch, or a file. NAME=SOURCE names the camera."),
]
Hours = Annotated[
    float,
    typer.Option(
        "--hours",
        min=0.001,
        help="Footage to collect. If interrupted, it resumes where it stopped.",
        rich_help_panel=EVENTS,
    ),
]
AcceptedRate = Annotated[
    str,
    typer.Option(
        "--false-alarms",
        metavar="RATE",
        help="Accepted false alarms, such as 1/day or 2/hour.",
        rich_help_panel=EVENTS,
    ),
]

Watched = Annotated[
    str, typer.Argument(metavar="SOURCE", help="URL of Frigate, or a folder into which another program puts clips.")
]
CompanionOut = Annotated[Path, typer.Option("--output", "-o", help="Folder for the reports.", rich_help_panel=OUTPUTS)]
Broker = Annotated[
    str | None,
    typer.Option("--broker", help="Frigate's broker, mqtt://HOST[:PORT].", rich_help_panel=INPUTS),
]
Topic = Annotated[str, typer.Option("--topic", help="Topic of Frigate's reviews.", rich_help_panel=INPUTS)]


def watch(
    sources: Sources,
    out: Out = None,
    sink: SinkTexts = None,
    as_live: AsLive = False,
    once: Once = False,
    run: RunFolder = None,
    onset: Onset = None,
    offset: Offset = None,
    merge_gap: MergeGap = None,
    min_duration: MinDuration = None,
    redact: Redact = None,
    language: Language = None,
    device: Device = None,
) -> None:
    """Watch cameras: events as JSON lines while they happen, a report and a clip of each."""
    from kgvad.given import must_be_folder

    must_be_folder(out, "--output")
    from kgvad.explain.analysis.events import Thresholds
    from kgvad.memory import return_large_blocks
    from kgvad.session import Session
    from kgvad.video.cameras import parse_cameras
    from kgvad.watch.watcher import Watcher
    from kgvad.watching import camera_rules, live_archive, live_models, message_output

    cameras = parse_cameras(sources, as_live=as_live)
    thresholds = Thresholds(onset, offset, merge_gap, min_duration)
    return_large_blocks()
    with Session(device=device, run=run, redact=redact, explaining=True) as session:
        archive = None if out is None else live_archive(session, out, language, thresholds)
        with message_output(session, sink, out) as emit:
            models = live_models(session)
            watcher = Watcher(camera_rules(session, cameras, models, thresholds), models, emit, archive, once=once)
            watcher.stop_on_signals()
            watcher.run()


def calibrate(
    source: Source,
    hours: Hours = 72.0,
    false_alarms: AcceptedRate = "1/day",
    run: RunFolder = None,
    device: Device = None,
) -> None:
    """Learn the thresholds of a camera from ordinary footage, and say how certain they are."""
    from signal import SIGINT
    from threading import Event

    from kgvad.explain.analysis.calibration import parse_rate
    from kgvad.explain.analysis.events import Thresholds
    from kgvad.memory import return_large_blocks
    from kgvad.session import Session
    from kgvad.signals import Interrupted
    from kgvad.video.cameras import SystemClock, parse_cameras
    from kgvad.watch.calibration import Collection, collect, evidence, thresholds_from
    from kgvad.watch.camera_settings import read_settings, write_thresholds
    from kgvad.watch.watcher import set_on_signals
    from kgvad.watching import live_models, live_rule

    (camera,), rate = parse_cameras([source], as_clips=True), parse_rate(false_alarms)
    stop = Event()
    return_large_blocks()
    with Session(device=device, run=run, explaining=True) as session:
        folder = session.settings.cameras_folder()
        settings, models = read_settings(folder, camera.name), live_models(session)
        collection = Collection(folder, camera.name, models.run, is_continued=camera.is_live)
        set_on_signals(stop)
        pictures = collect(camera, models, settings, collection, hours, clock=SystemClock(), stop=stop)
        if stop.is_set() and not (camera.is_live and collection.rows):
            raise Interrupted(SIGINT)  # part of the clips says less than what an earlier calibration saw
        rule = live_rule(models, Thresholds())
        found = thresholds_from(camera.name, models.run, collection.rows, rate, rule, pictures)
        path = write_thresholds(folder, found)
    for line in evidence(found, rate):
        logger.info("%s", line)
    print(path)


def companion(
    source: Watched,
    out: CompanionOut,
    broker: Broker = None,
    topic: Topic = "frigate/reviews",
    once: Once = False,
    run: RunFolder = None,
    redact: Redact = None,
    language: Language = None,
    device: Device = None,
) -> None:
    """Explain what another system detected: Frigate's reviews, or the clips in a folder."""
    from threading import Event

    from kgvad.errors import UsageError
    from kgvad.given import must_be_folder
    from kgvad.memory import return_large_blocks
    from kgvad.session import Session
    from kgvad.watch.companion import Done, explain_clips, explain_reviews, reviews
    from kgvad.watch.frigate import Frigate
    from kgvad.watch.watcher import set_on_signals
    from kgvad.watching import clip_explainer

    is_frigate = source.startswith(("http://", "https://"))
    if is_frigate != (broker is not None):
        raise UsageError("--broker goes with the URL of Frigate", "give both, or a folder of clips alone")
    if not is_frigate and not Path(source).is_dir():
        raise UsageError(f"{source} is not a folder", "give the URL of Frigate, or a folder of clips")
    must_be_folder(out, "--output")
    stop, done = Event(), Done(out / "done" / "companion")
    set_on_signals(stop)
    return_large_blocks()
    with Session(device=device, run=run, redact=redact, explaining=True) as session:
        explainer = clip_explainer(session, out, language)

        def emit(result: BaseModel) -> None:
            print(result.model_dump_json(exclude_none=True), flush=True)

        if broker is None:
            explain_clips(Path(source), explainer, done, emit, stop=stop, once=once)
            return
        from kgvad.watch.sinks.mqtt import subscribe

        frigate = Frigate(source)
        found = reviews(frigate, lambda take: subscribe(broker, topic, take), done, stop)
        explain_reviews(frigate, found, explainer, done, emit)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    text = example("kgvad watch front=rtsp://camera.local/stream --output alarms")
    app.command(rich_help_panel=OPERATE, epilog=text)(watch)
    text = example("kgvad calibrate front=rtsp://camera.local/stream --hours 72 --false-alarms 1/day")
    app.command(rich_help_panel=OPERATE, epilog=text)(calibrate)
    text = example("kgvad companion http://frigate.local:5000 --broker mqtt://broker.local --output explained")
    app.command(rich_help_panel=OPERATE, epilog=text)(companion)
