"""Captions of a folder of videos in one file; an interrupted run goes on where it stopped.

Each finished video is one line of a journal beside the file. The file itself is written once, at the end.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from kgvad.console import progress
from kgvad.errors import FeatureError, KgvadError, UsageError, one_line
from kgvad.files import append_line, parse_json, read_data, refuse_inputs, write_bytes
from kgvad.locks import hold
from kgvad.video.captioners import FORMAT, VERSION
from kgvad.video.captioners.base import Captioner
from kgvad.video.captioners.caption_video import CaptionedVideo, caption_video
from kgvad.video.extract import find_videos
from kgvad.video.feature_store import check_name

logger = logging.getLogger(__name__)

SUFFIXES = (".json", ".json.gz")


@dataclass(frozen=True)
class Origin:
    """What captions were made with; written into their file."""

    name: str
    fingerprint: str
    every_s: float


@dataclass
class Captioning:
    """What :func:`caption_folder` did; identifiers of videos, with the reason where one failed."""

    file: Path
    made: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    clips: int = 0  # of the videos that were captioned now
    asked: int = 0  # of these, captioned by the model


Outcome = tuple[str, CaptionedVideo | None, str]  # identifier, captions or None, reason of failure
Remote = Callable[[Mapping[str, Path]], Iterator[Outcome]]  # videos by identifier
Entry = dict[str, object]  # source: [bytes, mtime_ns]; captions: [{start, end, text}]


def caption_folder(
    source: Path, output: Path, captioner: Captioner, every_s: float = 2.0, remote: Remote | None = None
) -> Captioning:
    """Caption every video of a folder, or one video, into one file.

    Videos that the file already has captions of are skipped while they stay the same. A video that cannot be read does
    not stop the others.

    Parameters
    ----------
    source
        Folder (searched with its sub-folders) or one video.
    output
        File to write, ``.json`` or ``.json.gz``: times in seconds, and what made the captions.
    captioner
        From :func:`~kgvad.video.captioners.base.load_captioner`.
    every_s
        Seconds of a clip.
    remote
        Captions the videos instead of ``captioner``, which then only says what the captions are made with.

    Raises
    ------
    UsageError
        No video there; the file is not ours, or was made by another captioner; another process writes it.
    """
    if not output.name.lower().endswith(SUFFIXES):
        raise UsageError(f"--output {output} is not a caption file", "give a name that ends in .json or .json.gz")
    videos = find_videos(source)
    refuse_inputs({"--output": output}, [source, *videos.values()])
    origin = Origin(captioner.name, captioner.fingerprint, every_s)
    taken = UsageError(f"another process writes {output}", "wait for it, or choose another file")
    lock = hold(_beside(output, "lock"), taken)
    try:
        return _caption(videos, output, captioner, origin, remote)
    finally:
        lock.release()


def _caption(
    videos: Mapping[str, Path], output: Path, captioner: Captioner, origin: Origin, remote: Remote | None
) -> Captioning:
    done = Captioning(output)
    entries = _written(output, origin)
    journal = _beside(output, "journal")
    entries |= _journalled(journal, origin)
    todo: dict[str, Path] = {}
    states = {video: _state(path) for video, path in videos.items()}
    for video, path in videos.items():
        try:
            check_name(video)
        except FeatureError as error:
            done.failed[video] = str(error)
            logger.warning(str(error))
            continue
        if video in entries and entries[video]["source"] == states[video]:
            done.reused.append(video)
        else:
            todo[video] = path
    for video, found, reason in _local(todo, captioner, origin) if remote is None else remote(todo):
        if found is not None and not any(one.text for one in found.captions):
            found, reason = None, f"{todo[video]}: {captioner.name} said nothing about it"
        if found is None:
            done.failed[video] = reason
            logger.warning(reason)
            continue
        entries[video] = _entry(states[video], found)
        _append(journal, origin, video, entries[video])
        done.made.append(video)
        done.clips, done.asked = done.clips + len(found.captions), done.asked + found.asked
    if done.made or not output.is_file():
        _write(output, origin, entries)
    journal.unlink(missing_ok=True)
    return done


def _local(todo: Mapping[str, Path], captioner: Captioner, origin: Origin) -> Iterator[Outcome]:
    total = len(todo)
    with progress(f"captioning {total} videos, seconds") as advance:
        for number, (video, path) in enumerate(todo.items(), 1):
            advance(0, f"{number} of {total} videos, seconds captioned")
            try:
                yield video, caption_video(path, captioner, origin.every_s, advance=advance), ""
            except KgvadError as error:
                yield video, None, one_line(error)


def _entry(state: list[int], found: CaptionedVideo) -> Entry:
    captions = [{"start": one.start_s, "end": one.end_s, "text": one.text} for one in found.captions]
    return {"source": state, "captions": captions}


def _state(path: Path) -> list[int]:
    """Size and time of a file; empty where it cannot be read, which its captioning reports."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _write(output: Path, origin: Origin, entries: Mapping[str, Entry]) -> None:
    content = {
        "format": FORMAT,
        "version": VERSION,
        "kgvad": version("kgvad"),
        "captioner": asdict(origin),
        "sources": {video: entry["source"] for video, entry in sorted(entries.items())},
        "videos": {video: entry["captions"] for video, entry in sorted(entries.items())},
    }
    data = (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
    write_bytes(output, gzip.compress(data, mtime=0) if output.suffix.lower() == ".gz" else data)


def _written(output: Path, origin: Origin) -> dict[str, Entry]:
    """What the file already has."""
    if not output.is_file():
        return {}
    remedy = "choose another file"
    content = parse_json(read_data(output, UsageError, remedy), output, UsageError, remedy)
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise UsageError(f"--output {output} exists and was not written by this version of kgvad caption", remedy)
    if content["videos"] and content.get("captioner") != asdict(origin):
        made = content["captioner"]
        raise UsageError(f"--output {output} has captions by {made['name']} with other weights or options", remedy)
    return {
        video: {"source": content["sources"][video], "captions": captions}
        for video, captions in content["videos"].items()
    }


def _append(journal: Path, origin: Origin, video: str, entry: Entry) -> None:
    found = {"captioner": _digest(origin), "video": video, "entry": entry}
    append_line(journal, json.dumps(found, ensure_ascii=False))


def _journalled(journal: Path, origin: Origin) -> dict[str, Entry]:
    """Videos that an interrupted run finished; a line that it broke off is passed over."""
    entries: dict[str, Entry] = {}
    if not journal.is_file():
        return entries
    for line in journal.read_text("utf-8", errors="replace").splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if found["captioner"] == _digest(origin):
            entries[found["video"]] = found["entry"]
    return entries


def _digest(origin: Origin) -> str:
    return hashlib.sha256(json.dumps(asdict(origin), sort_keys=True).encode()).hexdigest()[:16]


def _beside(output: Path, kind: str) -> Path:
    return output.with_name(f".{output.name}.{kind}")
