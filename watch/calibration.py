"""Learns the thresholds of a camera from ordinary footage, which it collects for hours or days."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Event

import numpy as np

from kgvad.console import count_of
from kgvad.detector.run import Run
from kgvad.detector.scoring.causal import CausalScorer
from kgvad.errors import UsageError
from kgvad.explain.analysis.calibration import (
    Piece,
    Rate,
    count_events,
    lowest_onset,
    provable_alarms,
    upper_limit,
)
from kgvad.explain.analysis.events import EventRule
from kgvad.explain.media.clips import safe_name
from kgvad.files import append_line, reading, write_text
from kgvad.video.cameras import Camera, Clock
from kgvad.watch.camera_settings import Block, CameraSettings, CameraThresholds
from kgvad.watch.feed import CameraFeed
from kgvad.watch.scene_drift import Picture, PictureMean, scene_pictures
from kgvad.watch.watcher import Models
from kgvad.watch.window_queue import Row, WindowQueue

logger = logging.getLogger(__name__)

BREAK_S = 10.0  # between two rows: what follows is another piece of footage
SCENE_ROWS = 40  # rows of one picture of the scene: a minute of the shipped run
PROGRESS_H = 1.0  # footage between two lines of progress


@dataclass(frozen=True)
class CollectedRow:
    """One scored row of ordinary footage.

    Attributes
    ----------
    start, end
        Seconds since 1970, UTC.
    """

    start: float
    end: float
    score: float


class Collection:
    """The rows of a camera, in a CSV file that grows: a calibration that was interrupted goes on where it stopped.

    Parameters
    ----------
    folder
        Folder of the cameras.
    camera
        Name.
    run
        In its causal form; rows of another run are refused.
    is_continued
        Whether the rows of an earlier call count. Those of clips, which would be read again, do not; they have a file
        of their own, so that the days of a live camera of this name stay.
    """

    def __init__(self, folder: Path, camera: str, run: Run, *, is_continued: bool = True) -> None:
        self.path = folder / f"{safe_name(camera)}.{'rows' if is_continued else 'clips'}.csv"
        self.rows: list[CollectedRow] = []
        self._fingerprint = run.fingerprint
        if not is_continued:
            self.path.unlink(missing_ok=True)
        if self.path.exists():
            self._read()

    @property
    def hours(self) -> float:
        """Hours of footage."""
        return _hours(self.rows)

    def add(self, row: CollectedRow) -> None:
        """Keep a row; it is on disk when this returns."""
        line = f"{row.start:.3f},{row.end:.3f},{row.score:.6f}"
        if not self.path.exists():
            write_text(self.path, f"start,end,score,{self._fingerprint}\n{line}\n")
        else:
            append_line(self.path, line)
        self.rows.append(row)

    def _read(self) -> None:
        with reading(self.path, UsageError, "delete it to begin anew"):
            text = self.path.read_text("utf-8")
            lines = text.splitlines()
            if lines[0].split(",")[-1] != self._fingerprint:
                raise UsageError(f"{self.path} was collected with another run", "delete it to begin anew")
            if not text.endswith("\n"):  # cut off by a full disk or a kill
                lines.pop()
            self.rows = [CollectedRow(*map(float, line.split(","))) for line in lines[1:]]


def collect(
    camera: Camera,
    models: Models,
    settings: CameraSettings,
    collection: Collection,
    hours: float,
    *,
    clock: Clock,
    stop: Event,
) -> list[tuple[datetime, Picture]]:
    """Watch a camera until there are ``hours`` of footage, it ends or ``stop`` is set; pictures of its scene."""
    queue = WindowQueue({camera.name: camera.is_live})
    ended = Event()
    feed = CameraFeed(camera, models.encoder, queue, clock=clock, stop=ended, mask=settings.mask, once=True)
    scorer, mean, pictures = CausalScorer(models.run.detector), PictureMean(SCENE_ROWS), []
    said_h = collection.hours
    feed.start()
    try:
        while collection.hours < hours and not stop.is_set() and not queue.is_over:
            items = [item for _, item in queue.take(models.encoder.batch)]
            windows = [item.window.frames for item in items if isinstance(item, Row)]
            encoded = iter(models.encoder.encode(np.stack(windows)) if windows else ())
            for item in items:
                if not isinstance(item, Row):
                    if item.detail:
                        logger.info("camera %s: %s: %s", camera.name, item.state, item.detail)
                    continue
                found = scorer.push(next(encoded))
                start, end = (item.segment.moment(s) for s in (item.window.start_s, item.window.end_s))
                if not settings.ignores(start):
                    score = float(found["scores"][0]) if item.scene.shows_scene else 0.0
                    collection.add(CollectedRow(start.timestamp(), end.timestamp(), float(np.clip(score, 0, 1))))
                picture = mean.push(item.scene.picture)
                if picture is not None:
                    pictures.append((end, picture))
            if collection.hours - said_h >= PROGRESS_H:
                said_h = collection.hours
                logger.info("camera %s: %.0f of %g hours", camera.name, said_h, hours)
    finally:
        ended.set()
        feed.join(timeout=2.0)
    return pictures


def thresholds_from(
    camera: str,
    run: Run,
    rows: Sequence[CollectedRow],
    rate: Rate,
    rule: EventRule,
    pictures: Sequence[tuple[datetime, Picture]] = (),
) -> CameraThresholds:
    """Thresholds of a camera by hour of day, as far as the footage proves the rate for each part of the day.

    Neighbouring hours are joined until each block has so much footage that the rate can be proven on it alone. Where
    all of it does not suffice, there is one block, whose threshold lies above every peak and not below ``rule``'s.

    Raises
    ------
    UsageError
        There are no rows.
    """
    if not rows:
        raise UsageError(f"camera {camera} gave no footage to calibrate on", "check the source")
    by_hour: list[list[CollectedRow]] = [[] for _ in range(24)]
    for row in rows:
        by_hour[datetime.fromtimestamp(row.start, timezone.utc).astimezone().hour].append(row)
    blocks = []
    for first, last in hour_blocks([_hours(part) for part in by_hour], rate.footage_needed_h()):
        part = [row for hour in range(first, last + 1) for row in by_hour[hour]]
        blocks.append(_block(first, last, part, rate, rule))
    return CameraThresholds(
        camera=camera,
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        run_fingerprint=run.fingerprint,
        rate=str(rate),
        footage_h=round(_hours(rows), 4),
        is_proven=all(block.limit_per_hour <= rate.per_hour * (1 + 1e-6) for block in blocks),
        blocks=tuple(blocks),
        scenes=scene_pictures(pictures),
    )


def hour_blocks(footage_h: Sequence[float], needed_h: float) -> list[tuple[int, int]]:
    """First and last hour of each block: the fewest neighbouring hours that have the footage needed."""
    blocks: list[tuple[int, int]] = []
    first, have = 0, 0.0
    for hour, hours in enumerate(footage_h):
        have += hours
        if have >= needed_h:
            blocks.append((first, hour))
            first, have = hour + 1, 0.0
    if not blocks:
        return [(0, 23)]
    return [*blocks[:-1], (blocks[-1][0], 23)]  # hours without enough footage join the last block


def _block(first: int, last: int, rows: Sequence[CollectedRow], rate: Rate, rule: EventRule) -> Block:
    pieces, hours = pieces_of(rows), _hours(rows)
    allowed = provable_alarms(rate, hours)
    found = lowest_onset(pieces, rule, allowed or 0)
    if allowed is None and found.onset < rule.onset:
        found = rule  # too little footage to go below the threshold of the run
    alarms = count_events(pieces, found)
    return Block(
        first_hour=first,
        last_hour=last,
        onset=round(found.onset, 6),
        footage_h=round(hours, 4),
        alarms=alarms,
        limit_per_hour=round(upper_limit(alarms, hours), 6),
    )


def pieces_of(rows: Sequence[CollectedRow]) -> list[Piece]:
    """Rows in order of time, cut where footage is missing."""
    ordered = sorted(rows, key=lambda row: row.start)
    times = np.array([[row.start, row.end] for row in ordered])
    scores = np.array([row.score for row in ordered])
    cuts = np.flatnonzero(times[1:, 0] - times[:-1, 1] > BREAK_S) + 1
    return list(zip(np.split(scores, cuts), np.split(times, cuts), strict=True))


def _hours(rows: Sequence[CollectedRow]) -> float:
    return sum(row.end - row.start for row in rows) / 3600


def _figure(value: float) -> str:
    """Three significant digits, without an exponent for large values."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def evidence(found: CameraThresholds, rate: Rate) -> list[str]:
    """What the calibration says, in lines."""
    per = 24.0 if rate.unit in ("day", "week") else 1.0
    unit = "day" if per == 24.0 else "hour"
    lines = []
    for block in found.blocks:
        hours = "all day" if len(found.blocks) == 1 else f"{block.first_hour:02d}:00 to {block.last_hour:02d}:59"
        lines.append(
            f"{hours}: onset {block.onset:.4f}, {count_of(block.alarms, 'alarm')} in {block.footage_h:.3g} h; "
            f"at most {_figure(block.limit_per_hour * per)} per {unit} (upper 95 % limit)"
        )
    if not found.is_proven:
        needed = (
            f"that takes {_figure(rate.footage_needed_h())} h without an alarm, and there are {found.footage_h:.3g} h"
        )
        lines.append(f"{found.rate} is not proven: {needed if rate.count else 'no amount of footage proves it'}")
    return lines
