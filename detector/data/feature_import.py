"""Features of other programs as a feature store with labels: the one reader behind ``kgvad features import``."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kgvad.checksums import sha256
from kgvad.console import count_of, track
from kgvad.detector.data.annotations import FILE, Truth
from kgvad.detector.data.feature_truth import label_videos, merge_truth, report_labels
from kgvad.detector.data.feature_videos import ImportedVideo, collect_videos, measure_videos
from kgvad.errors import FeatureError
from kgvad.files import refuse_inputs
from kgvad.video import SNIPPET_FRAMES
from kgvad.video.feature_layout import Rule, entry_of, layout_rule, spans_entry
from kgvad.video.feature_rows import Arrays, Axes
from kgvad.video.feature_sources import Source, names_of, open_sources
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry
from kgvad.video.frame_counts import Clock, read_clocks
from kgvad.video.row_spans import RowSpans, read_spans
from kgvad.video.side_files import side_rate
from kgvad.video.store_staging import MANIFEST
from kgvad.video.video_ids import VideoNames

logger = logging.getLogger(__name__)

FPS = {"ucf": 30.0, "xd": 24.0, "shanghaitech": 24.0}  # frame rates of the videos of the datasets
IMPORTED = "imported"  # encoder, crop rule and temporal rule of features of which nothing is said


@dataclass(frozen=True)
class ImportOptions:
    """How features of other programs are read.

    Attributes
    ----------
    dataset
        ``ucf``, ``xd``, ``shanghaitech``, or another name, whose categories are then the labels. ``None``: the features
        get no labels.
    lists
        Folder of the dataset's official lists. ``None``: the folder of the first source, where they are there.
    frames
        Tables of frame counts, or folders of the videos.
    encoder
        Name of the encoder that made the features. Features of the same name, stride and width are comparable.
    stride
        Frames per row of uniform snippets.
    layout
        How rows cover a video; ``None``: decided from the frame counts
        (:func:`kgvad.video.feature_layout.layout_rule`).
    spans
        Tables with the start and end of each row (:mod:`kgvad.video.row_spans`), instead of a layout.
    fps
        Frames per second of videos of which nothing else says it.
    axes
        Order of the axes of the arrays; ``None``: decided from all shapes of a source.
    crops, stream
        As :func:`kgvad.detector.data.feature_videos.collect_videos` takes them.
    labels
        What labels mean where the words do not say: ``{"0": "Normal"}``.
    skip_missing
        Leave out videos whose listed files are missing.
    """

    dataset: str | None = None
    lists: Path | None = None
    frames: Sequence[Path] = ()
    encoder: str = IMPORTED
    stride: int = SNIPPET_FRAMES
    layout: Rule | None = None
    spans: Sequence[Path] = ()
    fps: float | None = None
    axes: Axes | None = None
    crops: int | None = None
    stream: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    skip_missing: bool = False


def import_features(sources: Sequence[Path], output: Path, options: ImportOptions | None = None) -> FeatureStore:
    """Import features of other programs as the store ``<output>/<encoder>``, with ``dataset.json`` beside it.

    Parameters
    ----------
    sources
        Lists of files, folders of arrays, npz archives, or single files. With lists, folders are where their files are
        searched.
    output
        Root of the feature stores.
    options
        How they are read.

    Raises
    ------
    UsageError, FeatureError
        A source is wrong; one line names the file, the list or the video, and the remedy.
    """
    options = options or ImportOptions()
    refuse_inputs({"--output": output / options.encoder}, [path for path in sources if path.is_dir()])
    opened = open_sources(sources, skip_missing=options.skip_missing)
    videos = collect_videos(opened, crops=options.crops, stream=options.stream)
    beside = sources[0] if sources[0].is_dir() else sources[0].parent
    truth = label_videos(videos, options.dataset, options.lists, beside, options.labels)
    truth = None if truth is None else merge_truth(truth, output)
    arrays = Arrays()
    measure_videos(videos, arrays, options.axes)
    entries = _entries(videos, truth, arrays, options)
    store = _store(videos, output, options, note_of(sources))
    _write(store, videos, entries, arrays, truth, output)
    _report(store, videos, entries, truth)
    return store


def note_of(sources: Sequence[Path]) -> str:
    """Where features come from: names of the sources, and the hash of lists and archives."""
    files = [path for path in sources if path.is_file()]
    digest = sha256(files[0]) if len(files) == 1 else hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()
    return f"imported from {', '.join(path.name for path in sources)}" + (f", sha256 {digest}" if files else "")


def is_imported(root: Path, encoder: str, sources: Sequence[Path]) -> bool:
    """Whether the store of ``encoder`` was imported from the same lists and is whole."""
    if not (root / encoder / MANIFEST).is_file() or not (root / FILE).is_file():
        return False
    return FeatureStore.open(root, encoder).manifest.note == note_of(sources)


def _store(videos: Sequence[ImportedVideo], output: Path, options: ImportOptions, note: str) -> FeatureStore:
    crops = max(video.shape[0] for video in videos)
    folder = output / options.encoder
    if (folder / MANIFEST).is_file():
        there = FeatureStore.open(output, options.encoder).manifest.crops
        if there < crops:
            raise FeatureError(
                f"{folder} has {there} crops, these features {crops}", "import all lists together into a new --output"
            )
        crops = there
    manifest = Manifest(
        encoder=options.encoder,
        dim=videos[0].shape[2],
        crop=IMPORTED,
        crops=crops,
        temporal=IMPORTED,
        stride=options.stride,
        note=note,
    )
    return FeatureStore.create(output, manifest)


def _write(
    store: FeatureStore,
    videos: Sequence[ImportedVideo],
    entries: Mapping[str, VideoEntry],
    arrays: Arrays,
    truth: Truth | None,
    output: Path,
) -> None:
    crops = store.manifest.crops
    repeated = []
    twins: dict[bytes, list[str]] = {}
    with store.adding():
        for video in track(videos, "importing features", len(videos)):
            array = video.load(arrays)
            twins.setdefault(hashlib.sha256(array.tobytes()).digest(), []).append(video.name)
            if len(array) < crops:
                repeated.append(video.name)
                array = array[np.arange(crops) % len(array)]
            store.add(video.name, array if crops > 1 else array[0], entries[video.name])
        if truth is not None:
            truth.save(output)  # before the store counts as whole
    if repeated:
        logger.warning(f"the crops of {count_of(len(repeated), 'video')} with fewer than {crops} are repeated")
    if truth is not None:
        _warn_of_twins(list(twins.values()), truth)


def _warn_of_twins(groups: Sequence[Sequence[str]], truth: Truth) -> None:
    """Warn where training videos have the same features as test videos: published datasets hold such copies."""
    splits = {video: one.split for video, one in truth.videos.items()}
    both = [own for own in groups if {"train", "test"} <= {splits.get(video) for video in own}]
    if both:
        pairs = [" = ".join(own) for own in both]
        logger.warning(
            f"{count_of(len(both), 'video')} with the same features in the training and the test list: "
            f"{names_of(pairs)} (figures on these test videos are too good; take them out of one list)"
        )


def _entries(
    videos: Sequence[ImportedVideo], truth: Truth | None, arrays: Arrays, options: ImportOptions
) -> dict[str, VideoEntry]:
    """Frames and times of the rows of each video."""
    clocks = _clocks(videos, truth, options)
    fps = options.fps or FPS.get(options.dataset or "", 30.0)
    explicit = _explicit(videos, options.spans)
    entries: dict[str, VideoEntry] = {}
    fixed: set[str] = set()
    for source in _distinct(video.source for video in videos):
        own = [video for video in videos if video.source is source]
        rows = {video.name: video.shape[1] for video in own}
        frames = {video: count for video in rows if (count := clocks[video].frames) is not None}
        segments = all(arrays.is_quantised(video.pieces[0]) for video in own[:1])
        if explicit:
            for video, count in rows.items():
                entries[video] = spans_entry(video, count, clocks[video], explicit[video], options.stride, fps)
            continue
        rule = options.layout or layout_rule(rows, frames, options.stride, str(source.path), segments=segments)
        if rule != "uniform":
            fixed |= rows.keys()
        for video, count in rows.items():
            entries[video] = entry_of(video, count, clocks[video], rule, options.stride, fps)
    if truth is not None:
        _check_frame_labels(truth, entries, fixed, clocks)
    return entries


def _explicit(videos: Sequence[ImportedVideo], tables: Sequence[Path]) -> dict[str, RowSpans]:
    """The spans of each video; empty where there are no tables of spans."""
    if not tables:
        return {}
    spans = read_spans(tables)
    names = VideoNames(spans)
    found = {video.name: spans[name] for video in videos if (name := names.find(video.name)) is not None}
    without = [video.name for video in videos if video.name not in found]
    if without:
        raise FeatureError(
            f"{count_of(len(without), 'video')} without spans: {names_of(without)}",
            "add the lines of their rows, or leave these videos out",
        )
    return found


def _distinct(sources: Iterable[Source]) -> list[Source]:
    return list({id(source): source for source in sources}.values())


def _clocks(videos: Sequence[ImportedVideo], truth: Truth | None, options: ImportOptions) -> dict[str, Clock]:
    """What is known: from the list, then the tables, then the dataset.

    A rate also from ``--fps``, then from a file beside the features (:mod:`kgvad.video.side_files`).
    """
    tables = read_clocks(options.frames)
    names = VideoNames(tables)
    if tables and not any(names.find(video.name) for video in videos):
        raise FeatureError(
            f"{names_of(map(str, options.frames))} has none of these videos, but {names_of(tables)}",
            "check the names of the videos",
        )
    known = {} if truth is None else truth.videos
    found: dict[str, Clock] = {}
    apart: dict[str, float] = {}
    for video in videos:
        lines = [piece.line for piece in video.pieces if piece.line is not None]
        table = tables.get(names.find(video.name) or "", Clock())
        frames = next((line.frames for line in lines if line.frames), None) or table.frames
        if frames is None and video.name in known:
            frames = known[video.name].frame_count
        rate = next((line.fps for line in lines if line.fps), None) or table.fps or options.fps
        if rate is None and video.pieces[0].member is None:
            rate, step = side_rate(video.pieces[0].file, video.name, options.stride)
            if step is not None and abs(step - options.stride) > 1:
                apart[video.name] = step
        found[video.name] = Clock(frames, rate or FPS.get(options.dataset or ""))
    if apart and not options.spans and options.layout is None:
        step = next(iter(apart.values()))
        logger.warning(
            f"time stamps beside the features of {count_of(len(apart), 'video')} put rows {step:.4g} frames apart, not "
            f"{options.stride} (set the frames of a row with --stride)"
        )
    return found


def _check_frame_labels(
    truth: Truth, entries: Mapping[str, VideoEntry], fixed: set[str], clocks: Mapping[str, Clock]
) -> None:
    """Refuse test videos whose frame labels cannot be laid against their rows."""
    remedy = "give a table of frame counts, or the folder of the videos, with --frames"
    unknown, beyond = [], []
    for video, entry in entries.items():
        one = truth.videos.get(video)
        if one is None or one.intervals is None or one.split != "test":
            continue
        if clocks[video].frames is None and video in fixed:
            unknown.append(video)
        last = max((end for _, end in one.intervals), default=0)
        end = one.frame_count or entry.frame_count
        if last > end + entry.stride:
            assumed = " assumed" if "frame_count" in entry.assumed and one.frame_count is None else ""
            beyond.append(f"{video} (annotated to frame {last} of {end}{assumed})")
    if unknown:
        raise FeatureError(
            f"{len(unknown)} test videos have {entries[unknown[0]].rows} rows and no frame count: {names_of(unknown)}",
            remedy,
        )
    if beyond:
        raise FeatureError(f"annotated intervals lie past the end of {len(beyond)} videos: {names_of(beyond)}", remedy)


def _report(
    store: FeatureStore, videos: Sequence[ImportedVideo], entries: Mapping[str, VideoEntry], truth: Truth | None
) -> None:
    made = store.manifest
    layouts = {entry.layout for entry in entries.values()}
    logger.info(
        f"{count_of(len(videos), 'video')}, {count_of(made.crops, 'crop')}, {count_of(made.dim, 'dimension')}, "
        f"layout {' and '.join(sorted(layouts))}"
    )
    for name, text, remedy in (
        (
            "frame_count",
            f"frame counts of {{}} are unknown; {made.stride} frames a row are assumed",
            "--frames or --stride",
        ),
        ("fps", f"{entries[videos[0].name].fps:g} frames per second are assumed for {{}}", "--fps"),
    ):
        assumed = sum(name in entry.assumed for entry in entries.values())
        if assumed:
            logger.warning(f"{text.format(count_of(assumed, 'video'))} (set them with {remedy})")
    report_labels(truth, [video.name for video in videos])
