"""Times, and text made safe for Markdown and WebVTT."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from markupsafe import Markup, escape

SHORT_S = 9.95  # durations below it are written to a tenth of a second


def clock(seconds: float) -> str:
    """``hh:mm:ss`` of a time, the second that is running: 83.4 is ``00:01:23``."""
    whole = int(seconds + 1e-6)
    return f"{whole // 3600:02d}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def fine_clock(seconds: float, mark: str = ".") -> str:
    """``hh:mm:ss.t`` of a time, to a tenth of a second: times of an event, whose difference is its duration."""
    tenths = round(seconds * 10)
    return f"{clock(tenths // 10)}{mark}{tenths % 10}"


def round_clock(seconds: float, mark: str = ".") -> str:
    """``hh:mm:ss`` of a duration, rounded as in the sentences: 59.8 is ``00:01:00``, and 0.12 is ``00:00:00.1``."""
    return fine_clock(seconds, mark) if seconds < SHORT_S else clock(round(seconds))


def stamp(seconds: float, mark: str = ",") -> str:
    """Time of a subtitle to the millisecond: ``00:01:23,400`` (SRT) or with a dot (WebVTT)."""
    milliseconds = round(seconds * 1000)
    return f"{clock(milliseconds // 1000)}{mark}{milliseconds % 1000:03d}"


def moment(start: str, seconds: float) -> datetime:
    """The time ``seconds`` after an ISO 8601 time, to the second, in its time zone."""
    return (datetime.fromisoformat(start) + timedelta(seconds=seconds)).replace(microsecond=0)


def qid(text: object) -> bool:
    """Whether ``text`` is the number of a Wikidata item or property, fit for a link."""
    return isinstance(text, str) and re.fullmatch(r"[QP][1-9]\d{0,11}", text) is not None


_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$@])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def markdown(text: object) -> str:
    """``text`` as Markdown that shows exactly it: no markup, no HTML, and no link that a viewer would make of it."""
    line = " ".join(str(text).split())
    line = _SPECIAL.sub(r"\\\1", line)
    line = re.sub(r"[&<>]", lambda match: _ENTITIES[match[0]], line)
    line = line.replace("://", ":\\/\\/").replace("!\\[", "\\!\\[")
    line = re.sub(r"\b(www|mailto|xmpp)([.:])", r"\1\\\2", line, flags=re.IGNORECASE)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", re.sub(r"^([-+=])", r"\\\1", line))


def code(text: object, table: bool = False) -> str:
    """``text`` as a Markdown code span, whatever backticks it holds; in a table, bars must not end the cell."""
    line = " ".join(str(text).split())
    fence = "`" * (max((len(run) for run in re.findall(r"`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    span = f"{fence}{pad}{line}{pad}{fence}"
    return span.replace("|", "\\|") if table else span


def vtt(text: object) -> str:
    """``text`` as one line of a subtitle: no markup of WebVTT and no arrow that would start a cue."""
    line = " ".join(str(text).split()).replace("-->", "→")
    return re.sub(r"[&<>]", lambda match: _ENTITIES[match[0]], line)


def nowrap_options(text: object) -> Markup:
    """``text`` as HTML in which options such as ``--run RUN`` are not broken at the end of a line."""
    return Markup(re.sub(r"--\w[\w-]*(?: [A-Z]+\b)?", r'<span class="nowrap">\g<0></span>', str(escape(text))))
