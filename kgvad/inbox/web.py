"""The web pages of the inbox: rendered on the server, usable without a script, nothing loaded from elsewhere."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from fastapi import HTTPException, Request, UploadFile
from starlette.concurrency import run_in_threadpool

from kgvad.detector.data.clock import seconds_of
from kgvad.detector.data.labels import NORMAL, find_category
from kgvad.errors import KgvadError
from kgvad.explain.media.clips import safe_name
from kgvad.explain.rendering.render import Renderer
from kgvad.inbox.access import Access
from kgvad.inbox.library import Library, Mark, MarkRow, VideoRow
from kgvad.inbox.search import Hit, Searcher
from kgvad.inbox.training_set import CATEGORY, is_category, training_clips
from kgvad.inbox.worker import REDACTED, Worker, read_report, report_folder
from kgvad.video.decode import probe

logger = logging.getLogger(__name__)

ROWS = 100  # of a page of the list
UPLOADS = "videos"
NO_REPORT = "there is no report of this video yet"
NO_SPACE = "free space on the disk of the server"
TIME = r"\d+(:[0-5]?\d){0,2}([.,]\d+)?"  # seconds, mm:ss or hh:mm:ss; a browser checks it, too


@dataclass
class Inbox:
    """What the pages read and change.

    Attributes
    ----------
    library, worker, searcher, renderer, access
        See their classes.
    categories
        Name and words of the abnormal categories that are offered.
    faces_blurred
        Whether the player shows copies with blurred faces.
    """

    library: Library
    worker: Worker
    searcher: Searcher
    renderer: Renderer
    access: Access
    categories: Sequence[tuple[str, str]]
    faces_blurred: bool = False

    # Pages

    def list_page(self, request: Request, messages: Sequence[str] = ()) -> str:
        """The page over all videos, filtered by the address."""
        asked = request.query_params
        query = {"q": asked.get("q", ""), "category": asked.get("category", ""), "show": asked.get("show", "all")}
        videos, marks = self.library.videos(), self.library.marks()
        hits: dict[int, Hit] = {}
        if query["q"].strip():
            hits = self.searcher.search(query["q"])
            by_number = {video.id: video for video in videos}
            words = query["q"].casefold().split()
            named = [video.id for video in videos if all(word in video.name.casefold() for word in words)]
            videos = [by_number[number] for number in dict.fromkeys([*named, *hits]) if number in by_number]
        rows = [
            {"video": video, "hit": hits.get(video.id)} | _counts(marks.get(video.id, []))
            for video in videos
            if _is_shown(video, marks.get(video.id, []), query["show"])
            and query["category"] in ("", video.category, *(mark.category for mark in marks.get(video.id, ())))
        ]
        page = min(_page_number(asked.get("page", "")), max(1, -(-len(rows) // ROWS)))
        first = (page - 1) * ROWS
        return self._page(
            request,
            "inbox.html.j2",
            rows=rows[first : first + ROWS],
            first=first,
            found=len(rows),
            previous="/?" + urlencode(query | {"page": page - 1}) if first else None,
            next="/?" + urlencode(query | {"page": page + 1}) if first + ROWS < len(rows) else None,
            query=query,
            messages=messages,
            total=len(self.library.counts()),
            categories=self.categories,
            **self.progress(),
        )

    def video_page(self, request: Request, video: VideoRow) -> str:
        """The report about a video with forms for its marks, or how far it is."""
        if video.state != "done":
            return self._waiting_page(request, video)
        report, pictures = read_report(report_folder(self.library, video.id))
        marks, missed = _split(self.library.marks().get(video.id, []))
        numbers: dict[tuple[float | None, float | None], int] = {
            (event.start_s, event.end_s): event.number for event in report.events
        }
        by_event = {numbers[mark.start_s, mark.end_s]: mark for mark in marks if (mark.start_s, mark.end_s) in numbers}
        return self.renderer.served(
            "inbox_video.html.j2",
            {
                "served": True,
                "form_token": self.access.form_token(request),
                "video": video,
                "marks": by_event,
                "earlier": [mark for mark in marks if (mark.start_s, mark.end_s) not in numbers],
                "missed": missed,
                "time_pattern": TIME,
                "category_pattern": CATEGORY,
                "categories": self.categories,
            },
            report=report,
            pictures=pictures,
            player=f"/videos/{video.id}/file",
        )

    def training_page(self, request: Request, written: Path | None = None) -> str:
        """What the marks make as training data, and the command that trains on it."""
        labels = self.renderer.phrases.labels["inbox"]
        counts = Counter(clip.category for clip in training_clips(self.library))
        lines = [labels["training_about"]]
        if not counts[NORMAL]:
            lines.append(labels["training_lacks_normal"])
        if counts.keys() <= {NORMAL}:
            lines.append(labels["training_lacks_abnormal"])
        if written is not None:
            lines.append(labels["training_written"])
        run = self.library.folder / "run"
        command = f'kgvad train --dataset "{written}" --from shipped --run "{run}" --overwrite' if written else ""
        return self._page(
            request,
            "inbox_note.html.j2",
            title=labels["training"],
            lines=lines,
            command=command,
            actions=[("/training", labels["training_write"])] if counts else [],
            counts=sorted(counts.items()),
        )

    def message_page(self, request: Request, text: str) -> str:
        """A page that says one thing, such as what is wrong with an address."""
        return self._page(request, "inbox_note.html.j2", title=text, lines=[], command="", actions=[], counts=[])

    def progress(self) -> dict[str, object]:
        """What the worker does, in words and as figures."""
        labels, counts, now = self.renderer.phrases.labels["inbox"], self.library.counts(), self.worker.progress
        waiting, done, failed = (counts.get(state, 0) for state in ("waiting", "done", "failed"))
        parts = [f"{done} {labels['done']}", *([f"{failed} {labels['failed']}"] if failed else [])]
        if waiting:
            parts.append(f"{waiting} {labels['waiting']}")
        video = None if now.video is None else self.library.video(now.video)
        if video is not None:
            share = "" if now.share is None else f" {now.share:.0%}"
            parts.append(f"{video.name}{share}")
        busy, finished = bool(waiting or counts.get("working")), done + failed
        if not busy and done and not failed:
            parts = [f"{labels['all_done']} ({done})"]
        return {
            "progress": " · ".join(parts) if busy or finished else "",
            "busy": busy,
            "finished": finished,
            "loading": self.searcher.is_loading,
        }

    def _waiting_page(self, request: Request, video: VideoRow) -> str:
        labels = self.renderer.phrases.labels["inbox"]
        more: dict[str, object] = {k: v for k, v in self.progress().items() if k not in ("busy", "loading")}
        actions = [(f"/videos/{video.id}/remove", labels["remove"])]
        if video.state == "failed":
            more = {}
            actions.insert(0, (f"/videos/{video.id}/again", labels["again"]))
        lines = [labels["states"][video.state] + (f": {video.reason}" if video.reason else "")]
        return self._page(
            request,
            "inbox_note.html.j2",
            title=video.name,
            lines=lines,
            command="",
            actions=actions,
            counts=[],
            **more,
        )

    def _page(self, request: Request, name: str, **more: object) -> str:
        return self.renderer.served(name, {"form_token": self.access.form_token(request)} | more)

    def shown_file(self, video: VideoRow) -> Path:
        """What the player shows: the video, or its copy with blurred faces."""
        return report_folder(self.library, video.id) / REDACTED if self.faces_blurred else Path(video.path)

    # Changes

    async def upload(self, files: Sequence[UploadFile]) -> list[str]:
        """Keep the uploaded videos, and return for each file that cannot be kept why."""
        refused = []
        for file in files:
            try:
                await self._keep(file)
            except KgvadError as error:
                refused.append(str(error))
        return refused

    async def _keep(self, file: UploadFile) -> None:
        """Keep an uploaded video, once it is known to be one.

        Raises
        ------
        KgvadError
            It is not a video, or there is no space.
        """
        name = Path((file.filename or "video").replace("\\", "/")).name
        stem, suffix = safe_name(Path(name).stem), safe_name(Path(name).suffix)
        folder = self.library.folder / UPLOADS
        folder.mkdir(exist_ok=True)
        target = folder / f"{secrets.token_hex(6)}-{stem}.{suffix}"
        try:
            with target.open("wb") as out:
                while block := await file.read(1 << 20):
                    out.write(block)
            await run_in_threadpool(probe, target)
        except OSError as error:
            target.unlink(missing_ok=True)
            raise KgvadError(f"{name} cannot be kept: {error.strerror}", NO_SPACE) from error
        except KgvadError as error:
            target.unlink(missing_ok=True)
            raise KgvadError(error.message.replace(str(target), name), error.remedy) from error
        self.library.add(target, name, uploaded=True)
        self.worker.wake()

    def remove(self, video: VideoRow) -> None:
        """Forget a video: its report, its marks, and the file if it was uploaded."""
        self.library.remove(video.id)
        shutil.rmtree(report_folder(self.library, video.id), ignore_errors=True)
        if video.uploaded:
            Path(video.path).unlink(missing_ok=True)

    def mark(self, video: VideoRow, number: int, verdict: str, category: str) -> None:
        """Set or remove the mark of an event.

        Raises
        ------
        HTTPException
            There is no such event, or the category is no name.
        """
        if video.state != "done":
            raise HTTPException(404, NO_REPORT)
        report, _ = read_report(report_folder(self.library, video.id))
        event = next((event for event in report.events if event.number == number), None)
        if event is None or verdict not in ("right", "wrong", "none"):
            raise HTTPException(404, "there is no such event")
        if verdict == "none":
            self.library.unmark(video.id, event.start_s, event.end_s)
        elif verdict == "right":
            self.library.mark(video.id, Mark(event.start_s, event.end_s, "right", self._category(category) or None))
        else:
            self.library.mark(video.id, Mark(event.start_s, event.end_s, "wrong"))

    def mark_missed(self, video: VideoRow, category: str, start: str, end: str) -> int:
        """Mark an event that the report has not, and return the number of the mark; the times may be empty.

        Raises
        ------
        HTTPException
            There is no report, the category is no name, or the times are not in the video.
        """
        if video.duration_s is None:
            raise HTTPException(404, NO_REPORT)
        category, start_s, end_s = self._category(category), _seconds("start", start), _seconds("end", end)
        if not category:
            raise HTTPException(422, "category: give the category of the missed event")
        if end_s is not None and (start_s is None or end_s <= start_s):
            raise HTTPException(422, "end: give a start before it")
        if max(start_s or 0, end_s or 0) > video.duration_s:
            raise HTTPException(422, f"the times must be within the video, which ends at {video.duration_s:.1f} s")
        return self.library.mark(video.id, Mark(start_s, end_s, "missed", category))

    def _category(self, text: str) -> str:
        """A category as it is spelled elsewhere: another spelling would be another class of the training set.

        Empty where none was given.
        """
        given = text.strip()
        in_words = {text.casefold(): name for name, text in self.categories}
        marked = [mark.category for marks in self.library.marks().values() for mark in marks if mark.category]
        names = [*sorted(marked), *(name for name, _ in self.categories)]  # of equal ones the last counts
        category = find_category(given, "", names) or in_words.get(given.casefold(), given)
        if category and not is_category(category):
            raise HTTPException(
                422, "a category is the name of a folder of videos, other than Normal, train, val, test and numbers"
            )
        return category


def _page_number(text: str) -> int:
    """The page that an address asks for; the first where it names none."""
    return max(1, int(text)) if re.fullmatch(r"[0-9]{1,9}", text) else 1


def _seconds(field: str, text: str) -> float | None:
    if not text.strip():
        return None
    if not re.fullmatch(TIME, text.strip(), re.ASCII):
        raise HTTPException(422, f"{field}: give seconds or mm:ss")
    return seconds_of(text)


def _split(marks: Sequence[MarkRow]) -> tuple[list[MarkRow], list[MarkRow]]:
    """The marks of events in the report, and those of missed events."""
    return [mark for mark in marks if mark.verdict != "missed"], [mark for mark in marks if mark.verdict == "missed"]


def _counts(marks: Sequence[MarkRow]) -> dict[str, int]:
    marked, missed = _split(marks)
    return {"marked": len(marked), "missed": len(missed)}


def _is_shown(video: VideoRow, marks: Sequence[MarkRow], show: str) -> bool:
    verdicts = {mark.verdict for mark in marks}
    return {
        "events": video.events > 0,
        "unmarked": video.events > len(_split(marks)[0]),
        "right": "right" in verdicts,
        "wrong": "wrong" in verdicts,
        "missed": "missed" in verdicts,
        "failed": video.state == "failed",
    }.get(show, True)
