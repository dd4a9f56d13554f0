"""What is known about one camera: zones and times to ignore, written by its owner, and thresholds from calibration."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kgvad.errors import SettingsError, UsageError, first_fault, place_of
from kgvad.explain.analysis.calibration import parse_rate
from kgvad.explain.analysis.events import Calibration, EventRule
from kgvad.explain.media.clips import safe_name
from kgvad.files import check_version, read_json, write_text
from kgvad.toml import tomllib

VERSION = 1  # of a file of thresholds
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Ignored(BaseModel):
    """A zone of the picture, or a time of day, in which nothing counts."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    zone: tuple[tuple[float, float], ...] | None = Field(
        default=None, description="Corners of the zone, as shares of the width and the height: 0, 0 is top left."
    )
    start: time | None = Field(default=None, alias="from", description="Local time at which events count no more.")
    end: time | None = Field(
        default=None, alias="to", description="Local time from which they count again; as `from`: a day later."
    )
    days: tuple[Day, ...] = Field(default=DAYS, min_length=1, description="Days on which that holds.")

    @model_validator(mode="after")
    def _one_kind(self) -> Ignored:
        has_time = self.start is not None and self.end is not None
        if (self.zone is None) == (not has_time) or (self.start is None) != (self.end is None):
            raise ValueError("give either a zone, or from and to")
        if self.zone is not None and (
            len(self.zone) < 3 or not all(0 <= value <= 1 for corner in self.zone for value in corner)
        ):
            raise ValueError("a zone has at least three corners, shares of width and height between 0 and 1")
        if any(one is not None and one.tzinfo is not None for one in (self.start, self.end)):
            raise ValueError("from and to are local times without a zone, such as 12:30:00")
        return self

    def covers(self, moment: datetime) -> bool:
        """Whether this local time is ignored; a time that does not end after it begins reaches over midnight."""
        if self.start is None or self.end is None or DAYS[moment.weekday()] not in self.days:
            return False
        now = moment.time()
        if self.start < self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end


class CameraSettings(BaseModel):
    """``NAME.toml`` in the folder of the cameras."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ignore: tuple[Ignored, ...] = ()

    def ignores(self, moment: datetime) -> bool:
        """Whether events of this moment (with time zone) do not count."""
        return any(one.covers(moment.astimezone()) for one in self.ignore)

    def mask(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """``frames`` [F, H, W, 3] with the zones in the mean colour of the rest, which does not move."""
        zones = [one.zone for one in self.ignore if one.zone is not None]
        if not zones:
            return frames
        hidden = _inside(zones, frames.shape[2], frames.shape[1])
        if hidden.all():
            return np.zeros_like(frames)
        masked = frames.copy()
        masked[:, hidden] = frames[:, ~hidden].mean((0, 1)).round().astype(np.uint8)
        return masked


def _inside(zones: Sequence[tuple[tuple[float, float], ...]], width: int, height: int) -> NDArray[np.bool_]:
    picture = Image.new("1", (width, height))
    draw = ImageDraw.Draw(picture)
    for zone in zones:
        draw.polygon([(x * width, y * height) for x, y in zone], fill=1)
    return np.asarray(picture, bool)


class Block(BaseModel):
    """Hours of the day with one threshold, and its evidence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_hour: int = Field(ge=0, le=23, description="First local hour of the day.")
    last_hour: int = Field(ge=0, le=23, description="Last local hour of the day, inclusive.")
    onset: float = Field(gt=0, le=1, description="Score at which an event starts.")
    footage_h: float = Field(ge=0, description="Hours of footage that it was set on.")
    alarms: int = Field(ge=0, description="Events in this footage.")
    limit_per_hour: float = Field(description="Upper 95 % limit of the false alarms an hour.")


class ScenePicture(BaseModel):
    """What the camera saw in one hour of the day."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hour: int
    luma: float = Field(description="Mean grey value, 0 to 255.")
    similarity: float = Field(description="Least correlation of the picture of some minutes with this one.")
    picture: str = Field(description="Grey picture, 64 x 48, base64.")


class CameraThresholds(BaseModel):
    """``NAME.thresholds.json``: what ``kgvad calibrate`` learned about a camera."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    camera: str
    made: str = Field(description="When, UTC.")
    run_fingerprint: str
    rate: str = Field(description="Accepted false alarms, as typed.")
    footage_h: float
    is_proven: bool = Field(description="Whether the upper 95 % limit is within the rate everywhere.")
    blocks: tuple[Block, ...]
    scenes: tuple[ScenePicture, ...] = ()

    def block_at(self, moment: datetime) -> Block:
        """The thresholds of a moment (with time zone)."""
        hour = moment.astimezone().hour
        return next((one for one in self.blocks if one.first_hour <= hour <= one.last_hour), self.blocks[0])

    @property
    def calibration(self) -> Calibration:
        """What reports say about it."""
        return Calibration(0, parse_rate(self.rate).per_hour, self.footage_h)

    def rule_at(self, moment: datetime, rule: EventRule) -> EventRule:
        """``rule`` with the thresholds of a moment; the ratio of onset and offset stays."""
        onset = self.block_at(moment).onset
        return EventRule(onset, onset * rule.offset / rule.onset, rule.merge_gap_s, rule.min_duration_s)


def settings_path(folder: Path, camera: str) -> Path:
    """Where a camera's zones and times to ignore stand."""
    return folder / f"{safe_name(camera)}.toml"


def thresholds_path(folder: Path, camera: str) -> Path:
    """Where a camera's thresholds stand."""
    return folder / f"{safe_name(camera)}.thresholds.json"


def read_settings(folder: Path, camera: str) -> CameraSettings:
    """Zones and times to ignore; none where there is no file.

    Raises
    ------
    SettingsError
        The file is wrong.
    """
    path = settings_path(folder, camera)
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return CameraSettings()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}", "correct the file") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text", "save it as UTF-8") from error
    try:
        return CameraSettings.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}", "correct the file") from error
    except ValidationError as error:
        first = error.errors()[0]
        unknown = first["type"] == "extra_forbidden"
        fault = f"{place_of(first['loc'])}: unknown key" if unknown else first_fault(error)
        raise SettingsError(f"{path}: {fault}", "correct the file") from error


def read_thresholds(folder: Path, camera: str) -> CameraThresholds | None:
    """The calibration of a camera; ``None`` where there is none.

    Raises
    ------
    UsageError
        The file is damaged.
    """
    path, remedy = thresholds_path(folder, camera), "delete it, and repeat kgvad calibrate"
    if not path.is_file():
        return None
    data = read_json(path, UsageError, remedy)
    check_version(data, path, VERSION, UsageError, remedy)
    try:
        return CameraThresholds.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{path}: {first_fault(error)}", remedy) from error


def write_thresholds(folder: Path, thresholds: CameraThresholds) -> Path:
    """Write the calibration of a camera and return its path."""
    path = thresholds_path(folder, thresholds.camera)
    write_text(path, thresholds.model_dump_json(indent=1) + "\n")
    return path
