"""Published data in one call: plan, download, check, import."""

from __future__ import annotations

import csv
import io
import logging
import shlex
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from kgvad.console import track
from kgvad.detector.data.annotations import Truth, read_truth
from kgvad.detector.data.feature_import import ImportOptions, import_features
from kgvad.errors import DatasetError, FeatureError
from kgvad.files import read_json, write_json, write_text
from kgvad.settings import Settings
from kgvad.sources.hub import Hub, HubFile, fetch, megabytes
from kgvad.sources.recipe import Download, SourceRecipe, first_source
from kgvad.sources.staging import CHANGED, Staged, stage
from kgvad.sources.unpack import opened
from kgvad.sources.videos import unpack_videos

logger = logging.getLogger(__name__)
RECORD = "source.json"  # beside the features or videos: where they come from
STORED = 0.5  # bytes kept of a byte of float32 features
NEVER_SCORES = (
    "a run trained on these features cannot score video here: kgvad extract does not make them. It scores features of "
    "the same kind; to score video, extract features with kgvad extract and train on them"
)


@dataclass(frozen=True)
class Got:
    """What :func:`get` made: a feature store or a folder of videos, and the command that comes next."""

    folder: Path
    next_command: str


@dataclass(frozen=True)
class _Plan:
    """Files to download, the places to work in and to write to."""

    recipe: SourceRecipe
    files: list[tuple[Download, HubFile]]
    work: Path
    output: Path
    lists: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lists", self.work / "lists")

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for _, file in self.files)

    @property
    def unpacked(self) -> int:
        """Bytes of what is in the downloads."""
        stated = self.recipe.unpacked_megabytes
        return self.size if stated is None else stated * 1_000_000


def place_of(recipe: SourceRecipe, settings: Settings) -> Path:
    """Where the features (root of the stores) or the videos of ``recipe`` are kept by default."""
    if recipe.features is not None:
        return settings.features or settings.features_root(recipe.dataset)
    return settings.home / "videos" / recipe.dataset


def instructions(recipe: SourceRecipe, settings: Settings) -> str:
    """What to do by hand for a source that no program may fetch."""
    assert recipe.manual is not None
    folder = place_of(recipe, settings)
    return "\n".join(
        (
            f"{recipe.name} cannot be fetched by a program.",
            f"page: {recipe.page}",
            f"licence: {recipe.licence}",
            f"save: {recipe.manual.save}",
            f"into: {folder}",
            f"then: {recipe.manual.command.format(folder=shlex.quote(str(folder)))}",
        )
    )


def get(recipe: SourceRecipe, settings: Settings, *, output: Path | None = None, frames: Sequence[Path] = ()) -> Got:
    """Download, check and import a published source.

    Parameters
    ----------
    recipe
        The source; not a manual one.
    settings
        Cache and home folder.
    output
        Root of the feature stores, or folder of the videos. Default: in the home folder.
    frames
        Tables of frame counts that replace those of the source.

    Raises
    ------
    DatasetError
        The hub cannot be reached, there is too little space, or what was downloaded differs from the recipe.
    """
    place = output or place_of(recipe, settings)
    target = place / recipe.features.encoder if recipe.features else place
    if (target / RECORD).is_file():
        logger.info("%s is here already; delete %s to get it again", recipe.name, target)
        return Got(target, _next(recipe, place))
    hub = Hub()
    wanted = [one for one in recipe.download if not (one.counts_frames and frames)]
    files = [(one, file) for one in wanted for file in hub.find(one)]
    plan = _Plan(recipe, files, settings.cache / "datasets" / recipe.name, place)
    _announce(plan)
    _check_space(plan)
    with ExitStack() as stack:
        downloads = [(one, file, fetch(file, plan.work / "downloads")) for one, file in track(files, "downloading")]
        most = None if recipe.unpacked_megabytes is None else int(plan.unpacked * 1.1)
        members = [
            member
            for one, file, path in downloads
            if one.save_as is None
            for member in stack.enter_context(opened(file.path, path, most))
        ]
        _save_lists(plan, downloads)
        if recipe.features is not None:
            staged = stage(recipe.features, members, plan.work / "arrays")
            folder = _import(plan, staged, frames)
        else:
            folder = unpack_videos(recipe, members, plan.lists, place)
    _record(plan, folder)
    shutil.rmtree(plan.work, ignore_errors=True)
    return Got(folder, _next(recipe, place))


def _next(recipe: SourceRecipe, place: Path) -> str:
    if recipe.features is not None:
        return f"kgvad train --dataset {recipe.dataset}"
    return f"kgvad extract {shlex.quote(str(place))} --dataset {recipe.dataset} --encoder i3d"


def _announce(plan: _Plan) -> None:
    recipe = plan.recipe
    logger.info("%s: %s (dataset %s)", recipe.name, recipe.about, recipe.dataset)
    logger.info("from: %s", ", ".join(dict.fromkeys((recipe.page, *(one.repository for one, _ in plan.files)))))
    logger.info("licence, as its page states it: %s", recipe.licence)
    if not recipe.tried:
        logger.info("this recipe was written from the page and has not been tried on the real source yet")
    if recipe.features is not None:
        logger.info(NEVER_SCORES)


def _check_space(plan: _Plan) -> None:
    there = sum(path.stat().st_size for path in (plan.work / "downloads").glob("*"))
    free, work = _free(plan.work)
    logger.info("to download: %s in %d files; free: %s", megabytes(plan.size), len(plan.files), megabytes(free))
    needs = max(plan.size - there, 0) + (plan.unpacked if plan.recipe.features else 0)
    kept = int(plan.unpacked * (STORED if plan.recipe.features else 1))
    home_free, home = _free(plan.output)
    if home.stat().st_dev == work.stat().st_dev:
        needs, kept = needs + kept, 0
    for need, room, where in ((needs, free, work), (kept, home_free, home)):
        if need > room:
            raise DatasetError(
                f"{plan.recipe.name} needs {megabytes(need)} on the disk of {where}, which has {megabytes(room)} free",
                "free space, or move kgvad with KGVAD_CACHE and KGVAD_HOME",
            )


def _free(folder: Path) -> tuple[int, Path]:
    """Free bytes on the disk of a folder that may not exist yet, and its nearest folder that does."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free, folder


def _save_lists(plan: _Plan, downloads: Sequence[tuple[Download, HubFile, Path]]) -> None:
    plan.lists.mkdir(parents=True, exist_ok=True)
    for one, _, path in downloads:
        if one.save_as is not None:
            shutil.copyfile(path, plan.lists / one.save_as)


def _import(plan: _Plan, staged: Staged, frames: Sequence[Path]) -> Path:
    """Hand the arrays with their lists to the importer; return the folder of the store."""
    recipe = plan.recipe
    assert recipe.features is not None
    truth = read_truth(recipe.dataset, plan.lists)
    splits = _splits(staged, truth)
    listings = []
    for split, paths in splits.items():
        listing = staged.folder / f"{split}.list"
        write_text(listing, "".join(f"{path.relative_to(staged.folder).as_posix()}\n" for path in sorted(paths)))
        listings.append(listing)
    tables = list(frames)
    counted = [one.save_as for one, _ in plan.files if one.counts_frames and one.save_as]
    if counted:
        tables.append(_frame_table(plan.lists / counted[0], truth))
    options = ImportOptions(recipe.dataset, plan.lists, tables, recipe.features.encoder)
    return import_features(listings, plan.output, options).root


def _splits(staged: Staged, truth: Truth) -> dict[str, list[Path]]:
    """Paths by split: as the source divides them, else as the official lists do."""
    found: dict[str, list[Path]] = {"train": [], "test": []}
    for split, paths in staged.splits.items():
        for path in paths:
            if split is None:
                known = truth.videos.get(path.name.removesuffix(".npy").removesuffix(".mp4"))
                if known is None:
                    raise DatasetError(f"{path.name} is in no official list of {truth.dataset}", CHANGED)
                found[known.split].append(path)
            else:
                found[split].append(path)
    return {split: paths for split, paths in found.items() if paths}


def _frame_table(path: Path, truth: Truth) -> Path:
    """A table of frame counts from ``{video: [label of each frame]}``; the longest of a video and its annotation."""
    labels = read_json(path, DatasetError, "give frame counts with --frames")
    if not isinstance(labels, dict) or not all(isinstance(one, list) for one in labels.values()):
        raise DatasetError(f"{path.name} is not {{video: [label of each frame]}}", "give frame counts with --frames")
    counts = {name.rpartition("/")[2].removesuffix(".mp4"): len(one) for name, one in labels.items()}
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("video", "n_frames"))
    for video in truth.split("test"):
        if video not in counts:
            raise DatasetError(f"{path.name} has no frames of the test video {video}", "give counts with --frames")
        end = max((end for _, end in truth.videos[video].intervals or ()), default=0)
        if end > counts[video] + 16:
            raise DatasetError(
                f"{path.name}: {video} has {counts[video]} frames, its annotation ends at {end}", CHANGED
            )
        writer.writerow((video, max(end, counts[video])))
    target = path.with_name("frames.csv")
    write_text(target, table.getvalue())
    return target


def _record(plan: _Plan, folder: Path) -> None:
    recipe = plan.recipe
    files = [
        {"repository": file.repository, "commit": file.commit, "path": file.path, "hash": file.digest}
        for _, file in plan.files
    ]
    about = {"source": recipe.name, "page": recipe.page, "licence": recipe.licence, "files": files}
    write_json(folder / RECORD, about)


def require_features(dataset: str, settings: Settings, *, download: bool) -> None:
    """Make sure that there are features of ``dataset`` in the home folder.

    Parameters
    ----------
    download
        Get the first published source where there are none.

    Raises
    ------
    FeatureError
        There are none; the message names the command that gets them.
    """
    root = settings.features_root(dataset)
    if any(root.glob("*/manifest.json")):
        return
    recipe = first_source(dataset)
    own = f"kgvad extract VIDEOS --dataset {dataset}, or kgvad features import FILES --dataset {dataset}"
    if recipe is None:
        raise FeatureError(f"there are no features of {dataset} in {root}", f"make them with: {own}")
    if not download:
        raise FeatureError(
            f"there are no features of {dataset} in {root}",
            f"get published ones with: kgvad datasets get {recipe.name} (or let kgvad train --fetch do it); "
            f"of your own files: {own}",
        )
    get(recipe, settings)
