"""The web pages of the inbox: rendered on the server, usable without a script, nothing loaded from elsewhere."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from mimetypes import guess_type
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import FastAPI, Form, HTTPException, Request, UploadFile
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware.base import RequestResponseEndpoint

from kgvad.detector.data.labels import NORMAL
from kgvad.errors import KgvadError, unexpected
from kgvad.explain.media.clips import safe_name
from kgvad.explain.rendering.render import FORMATS, Renderer
from kgvad.inbox.access import FIELD, HEADERS, Access
from kgvad.inbox.library import Library, Mark, MarkRow, VideoRow
from kgvad.inbox.search import Hit, Searcher
from kgvad.inbox.training_set import marks_json, training_clips, write_training_set
from kgvad.inbox.worker import REDACTED, Worker, read_report, report_folder
from kgvad.video.decode import probe

logger = logging.getLogger(__name__)

UPLOADS = "videos"
FormToken = Annotated[str, Form(alias=FIELD)]
Number = Annotated[int, PathParameter(ge=0, le=2**63 - 1)]  # of a video; SQLite has no larger integers
NO_SPACE = "free space on the disk of the server"
CATEGORY = re.compile(r"\w[\w .&+-]{0,59}")  # also the name of a folder


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
            videos = [by_number[number] for number in hits if number in by_number]
        rows = [
            {"video": video, "hit": hits.get(video.id), "marked": len(marks.get(video.id, ()))}
            for video in videos
            if _is_shown(video, marks.get(video.id, []), query["show"])
            and query["category"] in ("", video.category, *(mark.category for mark in marks.get(video.id, ())))
        ]
        return self._page(
            request,
            "inbox.html.j2",
            rows=rows,
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
        marks = self.library.marks().get(video.id, [])
        numbers = {(event.start_s, event.end_s): event.number for event in report.events}
        by_event = {numbers[mark.start_s, mark.end_s]: mark for mark in marks if (mark.start_s, mark.end_s) in numbers}
        return self.renderer.served(
            "inbox_video.html.j2",
            {
                "served": True,
                "form_token": self.access.form_token(request),
                "video": video,
                "marks": by_event,
                "earlier": [mark for mark in marks if (mark.start_s, mark.end_s) not in numbers],
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

    def progress(self) -> dict[str, object]:
        """What the worker does, in words and as figures."""
        labels, counts, now = self.renderer.phrases.labels["inbox"], self.library.counts(), self.worker.progress
        waiting, finished = counts.get("waiting", 0), counts.get("done", 0) + counts.get("failed", 0)
        parts = [f"{finished} {labels['done']}"]
        if waiting:
            parts.append(f"{waiting} {labels['waiting']}")
        video = None if now.video is None else self.library.video(now.video)
        if video is not None:
            share = "" if now.share is None else f" {now.share:.0%}"
            parts.append(f"{video.name}{share}")
        busy = bool(waiting or counts.get("working"))
        if not busy and finished:
            parts = [f"{labels['all_done']} ({finished})"]
        return {"progress": " · ".join(parts) if busy or finished else "", "busy": busy, "finished": finished}

    def _waiting_page(self, request: Request, video: VideoRow) -> str:
        labels = self.renderer.phrases.labels["inbox"]
        more: dict[str, object] = {k: v for k, v in self.progress().items() if k != "busy"}
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
        report, _ = read_report(report_folder(self.library, video.id))
        event = next((event for event in report.events if event.number == number), None)
        category = category.strip()
        if event is None or verdict not in ("right", "wrong", "none"):
            raise HTTPException(404, "there is no such event")
        if category and (not CATEGORY.fullmatch(category) or category.casefold() == NORMAL.casefold()):
            raise HTTPException(422, "a category is a name of letters, digits and spaces, other than Normal")
        if verdict == "none":
            self.library.unmark(video.id, event.start_s, event.end_s)
        elif verdict == "right":
            self.library.mark(video.id, Mark(event.start_s, event.end_s, "right", category or None))
        else:
            self.library.mark(video.id, Mark(event.start_s, event.end_s, "wrong"))


def _is_shown(video: VideoRow, marks: Sequence[MarkRow], show: str) -> bool:
    verdicts = {mark.verdict for mark in marks}
    return {
        "events": video.events > 0,
        "unmarked": video.events > len(marks),
        "right": "right" in verdicts,
        "wrong": "wrong" in verdicts,
        "failed": video.state == "failed",
    }.get(show, True)


def create_app(inbox: Inbox) -> FastAPI:
    """The application; the worker is started by whoever serves it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def check(request: Request, call_next: RequestResponseEndpoint) -> Response:
        refusal = inbox.access.refusal(request)
        if refusal is not None:
            return refusal
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(KgvadError)
    async def failed(_request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"kgvad: {error}\n", 500)

    @app.exception_handler(OSError)  # an upload is kept in the temporary folder until it is complete
    async def full(_request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"kgvad: {unexpected(error)}\n", 500)

    @app.exception_handler(AnyHTTPException)  # of Starlette: also an address that is not there
    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, AnyHTTPException)
        return PlainTextResponse(f"kgvad: {error.detail}\n", error.status_code)

    @app.exception_handler(RequestValidationError)
    async def wrong(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return PlainTextResponse(f"kgvad: {first['loc'][-1]}: {first['msg']}\n", 422)

    _add_reading(app, inbox)
    _add_changes(app, inbox)
    return app


def _video(inbox: Inbox, number: int) -> VideoRow:
    video = inbox.library.video(number)
    if video is None:
        raise HTTPException(404, "there is no such video")
    return video


def _add_reading(app: FastAPI, inbox: Inbox) -> None:
    @app.get("/", response_class=HTMLResponse)
    def index(request: Request) -> str:
        return inbox.list_page(request)

    @app.get("/status.json")
    def status() -> JSONResponse:
        now = inbox.progress()
        return JSONResponse({"text": now["progress"], "busy": now["busy"], "finished": now["finished"]})

    @app.get("/marks.json")
    def marks() -> JSONResponse:
        return JSONResponse(marks_json(inbox.library))

    @app.get("/training", response_class=HTMLResponse)
    def training(request: Request) -> str:
        return inbox.training_page(request)

    @app.get("/videos/{number}", response_class=HTMLResponse)
    def video(request: Request, number: Number) -> str:
        return inbox.video_page(request, _video(inbox, number))

    @app.get("/videos/{number}/file")
    def file(number: Number) -> Response:
        path = inbox.shown_file(_video(inbox, number))
        if not path.is_file():
            raise HTTPException(404, f"{path} is gone")
        return FileResponse(path, media_type=_video_type(path))

    @app.get("/videos/{number}/report.{form}")
    def report(number: Number, form: str) -> Response:
        video = _video(inbox, number)
        if form not in FORMATS or video.state != "done":
            raise HTTPException(404, "there is no such report")
        found, pictures = read_report(report_folder(inbox.library, number))
        text = inbox.renderer.render(found, form, pictures=pictures)
        kind = {"html": "text/html", "json": "application/json"}.get(form, "text/plain")
        name = quote(f"{safe_name(Path(video.name).stem)}.{form}")
        return Response(text, media_type=kind, headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"})


def _video_type(path: Path) -> str:
    """The media type of a video by its name; never one that a browser opens as a page, whatever was uploaded."""
    found = guess_type(path.name)[0] or ""
    return found if found.startswith("video/") else "application/octet-stream"


def _add_changes(app: FastAPI, inbox: Inbox) -> None:
    def must_be_ours(request: Request, token: str) -> None:
        if not inbox.access.is_our_form(request, token):
            raise HTTPException(403, "the page is too old; load it again")

    @app.post("/videos", response_class=HTMLResponse)
    async def upload(request: Request) -> Response:
        async with request.form(max_fields=10) as form:
            must_be_ours(request, str(form.get(FIELD, "")))
            files = [file for file in form.getlist("files") if not isinstance(file, str) and file.filename]
            refused = await inbox.upload(files)  # type: ignore[arg-type]
        return HTMLResponse(inbox.list_page(request, refused), 422) if refused else RedirectResponse("/", 303)

    @app.post("/training", response_class=HTMLResponse)
    def training(request: Request, token: FormToken) -> str:
        must_be_ours(request, token)
        return inbox.training_page(request, write_training_set(inbox.library))

    @app.post("/videos/{number}/marks")
    def mark(
        request: Request,
        number: Number,
        token: FormToken,
        event: Annotated[int, Form()],
        verdict: Annotated[str, Form()],
        category: Annotated[str, Form()] = "",
    ) -> Response:
        must_be_ours(request, token)
        inbox.mark(_video(inbox, number), event, verdict, category)
        return RedirectResponse(f"/videos/{number}#event-{event}", 303)

    @app.post("/videos/{number}/again")
    def again(request: Request, number: Number, token: FormToken) -> Response:
        must_be_ours(request, token)
        inbox.library.again(_video(inbox, number).id)
        inbox.worker.wake()
        return RedirectResponse(f"/videos/{number}", 303)

    @app.post("/videos/{number}/remove")
    def remove(request: Request, number: Number, token: FormToken) -> Response:
        must_be_ours(request, token)
        inbox.remove(_video(inbox, number))
        return RedirectResponse("/", 303)
