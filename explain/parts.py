"""What the models of reports and of checked texts share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


class ReportPart(BaseModel):
    """Base of all parts of a report: immutable, without fields that the schema does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GraphStep(ReportPart):
    """One edge of the knowledge graph on the way from the category's item to the concept."""

    subject: str  # QID
    property: str  # "P279"
    object: str  # QID
    subject_label: str | None = None
    object_label: str | None = None
