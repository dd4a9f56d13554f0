"""The addresses of the inbox: who is let in, which page answers, what a form changes."""

from __future__ import annotations

from http import HTTPStatus
from mimetypes import guess_type
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import FastAPI, Form, HTTPException, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware.base import RequestResponseEndpoint

from kgvad.errors import KgvadError, unexpected
from kgvad.explain.media.clips import safe_name
from kgvad.explain.rendering.render import FORMATS
from kgvad.inbox.access import FIELD, HEADERS
from kgvad.inbox.library import VideoRow
from kgvad.inbox.training_set import marks_json, write_training_set
from kgvad.inbox.web import Inbox
from kgvad.inbox.worker import read_report, report_folder

FormToken = Annotated[str, Form(alias=FIELD)]
Number = Annotated[int, PathParameter(ge=0, le=2**63 - 1)]  # of a video or a mark; SQLite has no larger integers


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

    def said(request: Request, status: int, text: str) -> Response:
        """One line for programs, a page with a way back for people."""
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(inbox.message_page(request, text), status)
        return PlainTextResponse(f"kgvad: {text}\n", status)

    @app.exception_handler(KgvadError)
    async def failed(request: Request, error: Exception) -> Response:
        return said(request, 500, str(error))

    @app.exception_handler(OSError)  # an upload is kept in the temporary folder until it is complete
    async def full(request: Request, error: Exception) -> Response:
        return said(request, 500, unexpected(error))

    @app.exception_handler(AnyHTTPException)  # of Starlette: also an address that is not there
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, AnyHTTPException)
        is_ours = error.detail != HTTPStatus(error.status_code).phrase
        return said(
            request, error.status_code, error.detail if is_ours else f"{error.detail.lower()}: {request.url.path}"
        )

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        return said(request, 422, f"{first['loc'][-1]}: {first['msg']}")

    _add_reading(app, inbox)
    _add_changes(app, inbox)
    _add_marking(app, inbox)
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
        return JSONResponse({"text": now.pop("progress"), **now})

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


def _must_be_ours(inbox: Inbox, request: Request, token: str) -> None:
    if not inbox.access.is_our_form(request, token):
        raise HTTPException(403, "the page is too old; load it again")


def _add_changes(app: FastAPI, inbox: Inbox) -> None:
    @app.post("/videos", response_class=HTMLResponse)
    async def upload(request: Request) -> Response:
        async with request.form(max_fields=10) as form:
            _must_be_ours(inbox, request, str(form.get(FIELD, "")))
            files = [file for file in form.getlist("files") if not isinstance(file, str) and file.filename]
            refused = await inbox.upload(files)  # type: ignore[arg-type]
        return HTMLResponse(inbox.list_page(request, refused), 422) if refused else RedirectResponse("/", 303)

    @app.post("/training", response_class=HTMLResponse)
    def training(request: Request, token: FormToken) -> str:
        _must_be_ours(inbox, request, token)
        return inbox.training_page(request, write_training_set(inbox.library))

    @app.post("/videos/{number}/again")
    def again(request: Request, number: Number, token: FormToken) -> Response:
        _must_be_ours(inbox, request, token)
        inbox.library.again(_video(inbox, number).id)
        inbox.worker.wake()
        return RedirectResponse(f"/videos/{number}", 303)

    @app.post("/videos/{number}/remove")
    def remove(request: Request, number: Number, token: FormToken) -> Response:
        _must_be_ours(inbox, request, token)
        inbox.remove(_video(inbox, number))
        return RedirectResponse("/", 303)


def _add_marking(app: FastAPI, inbox: Inbox) -> None:
    @app.post("/videos/{number}/marks")
    def mark(
        request: Request,
        number: Number,
        token: FormToken,
        event: Annotated[int, Form()],
        verdict: Annotated[str, Form()],
        category: Annotated[str, Form()] = "",
    ) -> Response:
        _must_be_ours(inbox, request, token)
        inbox.mark(_video(inbox, number), event, verdict, category)
        return RedirectResponse(f"/videos/{number}#event-{event}", 303)

    @app.post("/videos/{number}/missed")
    def missed(
        request: Request,
        number: Number,
        token: FormToken,
        category: Annotated[str, Form()] = "",
        start: Annotated[str, Form()] = "",
        end: Annotated[str, Form()] = "",
    ) -> Response:
        _must_be_ours(inbox, request, token)
        mark = inbox.mark_missed(_video(inbox, number), category, start, end)
        return RedirectResponse(f"/videos/{number}#missed-{mark}", 303)

    @app.post("/videos/{number}/missed/{mark}/remove")
    def unmark_missed(request: Request, number: Number, mark: Number, token: FormToken) -> Response:
        _must_be_ours(inbox, request, token)
        inbox.library.unmark_missed(_video(inbox, number).id, mark)
        return RedirectResponse(f"/videos/{number}#missed", 303)
