"""What watching says: events that open, grow and close, and the state of the cameras. One JSON object a line."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, TypeAdapter

from kgvad.explain.analysis.live_events import Reason


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[datetime, PlainSerializer(_iso)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    camera: str = Field(description="Name of the camera.")
    time: Moment = Field(description="When this was said, UTC.")


class EventMessage(_Message):
    """An event opened, grew or closed."""

    kind: Literal["open", "update", "close"] = Field(description="What happened to the event.")
    id: str = Field(description="Identifier of the event; the same in all its messages.")
    start: Moment = Field(description="Start of the event, UTC.")
    end: Moment = Field(description="End of the event so far, UTC.")
    peak: Moment = Field(description="Time of the highest score so far, UTC.")
    score: float = Field(description="Highest anomaly score so far, 0 to 1.")
    threshold: float = Field(description="Score at which events start at this camera now.")
    reason: Reason | None = Field(default=None, description="Why it closed: ended, long, lost, stopped or interrupted.")
    category: str | None = Field(
        default=None, description="Category that the event resembles most, where one is named."
    )
    text: str | None = Field(default=None, description="What the report says about the event.")
    report: str | None = Field(default=None, description="Report, a page in the folder of --output.")
    clip: str | None = Field(default=None, description="Clip, an MP4 in the folder of --output.")

    @property
    def key(self) -> str:
        """Identifier of this message: two messages with one key are one message."""
        return f"{self.id}/{self.kind}" + (f"/{_iso(self.end)}" if self.kind == "update" else "")

    @property
    def duration(self) -> timedelta:
        """How long the event has lasted."""
        return self.end - self.start


CameraState = Literal["connected", "lost", "gap", "drift", "skipping", "ended", "scene"]


class CameraMessage(_Message):
    """The state of a camera changed."""

    kind: Literal["camera"] = "camera"
    state: CameraState = Field(description="What happened.")
    detail: str = Field(description="The same in words.")
    seconds: float | None = Field(default=None, description="Length of the gap or of the drift.")


Message = Annotated[EventMessage | CameraMessage, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[EventMessage | CameraMessage] = TypeAdapter(Message)


def to_line(message: EventMessage | CameraMessage) -> str:
    """The message as one line of JSON; what is not known is left out."""
    return message.model_dump_json(exclude_none=True)


def from_line(line: str | bytes) -> EventMessage | CameraMessage:
    """The message of :func:`to_line`; raises ``ValidationError`` for anything else."""
    return _ADAPTER.validate_json(line)


def event_id(camera: str, start: datetime) -> str:
    """Identifier of the event that began at ``start``."""
    return f"{camera}-{start.astimezone(timezone.utc):%Y%m%dT%H%M%S}{start.microsecond // 1000:03d}Z"
