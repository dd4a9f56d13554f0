"""Put the inbox together and serve it."""

from __future__ import annotations

import logging
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ByteSize, TypeAdapter, ValidationError

from kgvad.console import count_of
from kgvad.errors import FeatureError, KgvadError, UsageError, WeightsError
from kgvad.explain.rendering.render import Renderer
from kgvad.explain.report import Report
from kgvad.explainers import ExplainRequest, build_explainer
from kgvad.files import sha256
from kgvad.http_client import is_loopback
from kgvad.inbox.access import Access
from kgvad.inbox.library import Library, VideoRow
from kgvad.inbox.search import Searcher
from kgvad.inbox.worker import REDACTED, Worker, report_folder
from kgvad.session import Session
from kgvad.signals import Interrupted
from kgvad.video.extract import find_videos
from kgvad.video.feature_store import check_name

if TYPE_CHECKING:
    from kgvad.anchors.text_encoders import TextEncoder

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0  # at the opened folders
CLOSING_S = 2  # that open connections, such as a video that plays, have at the end
SETTLED_S = 5.0  # a file that changed within this time is still being written


class Server:
    """An inbox with its worker, its followed folders and its pages.

    Parameters
    ----------
    session
        Device, run and dataset.
    request
        How videos are explained.
    folder
        Folder of the inbox. Default: ``inbox`` in the home folder of the settings.
    videos
        Folders whose videos are explained.
    """

    def __init__(
        self, session: Session, request: ExplainRequest, folder: Path | None = None, videos: Sequence[Path] = ()
    ) -> None:
        self.session, self.videos = session, [path.absolute() for path in videos]
        self._refused: set[Path] = set()  # files whose names were said to be unusable
        self.library = Library((folder or session.settings.home / "inbox").absolute())
        self.renderer = Renderer(request.language or session.settings.language)
        self.worker = Worker(self.library, lambda: build_explainer(session, request), self.renderer)
        self.faces_blurred = session.face_finder is not None
        if self.faces_blurred:
            self._explain_unblurred_again()

    def run(self, host: str, port: int, token: str | None, names: Sequence[str], max_upload: str) -> None:
        """Serve until interrupted; prints the address.

        Raises
        ------
        UsageError
            The address cannot be served, or an option has a wrong value.
        """
        import uvicorn

        if token is None and not is_loopback(host):
            token = secrets.token_urlsafe(18)
        listener = _listen(host, port)
        port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else "localhost" if is_loopback(host) else host
        hosts = {host, "localhost", "127.0.0.1", "::1", *names}
        if host in ("0.0.0.0", "::"):
            shown = socket.gethostname()
            hosts |= {shown.lower(), f"{shown.lower()}.local", *_own_addresses()}
        app = self.app(Access(frozenset(name.lower() for name in hosts), token, _bytes(max_upload)))
        threading.Thread(target=self._follow, name="folders", daemon=True).start()
        self.worker.start()
        print(f"http://{shown}:{port}/" + (f"?token={token}" if token else ""), flush=True)
        try:
            config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=CLOSING_S)
            with suppress(Interrupted):  # the end that was asked for
                uvicorn.Server(config).run(sockets=[listener])
        finally:
            self.worker.stop()
            self.library.close()

    def app(self, access: Access):  # type: ignore[no-untyped-def]
        """The application (FastAPI), without a server around it."""
        from kgvad.inbox.routes import create_app
        from kgvad.inbox.web import Inbox

        table, words = self.session.table(), self.renderer.phrases.categories
        categories = [(one.name, words.get(one.name, one.text)) for one in table.categories if not one.normal]
        searcher = Searcher(self.library, self._text_encoder)
        return create_app(
            Inbox(self.library, self.worker, searcher, self.renderer, access, categories, self.faces_blurred)
        )

    def look(self) -> None:
        """Add the videos of the followed folders that are complete; what the inbox writes below them is none."""
        own = self.library.folder.resolve()
        for folder in self.videos:
            try:
                found = find_videos(folder)
            except KgvadError as error:  # it is empty yet, or its disk is away
                logger.debug("%s", error)
                continue
            for name, path in found.items():
                try:
                    status = path.stat()
                except OSError:
                    continue
                is_settled = time.time() - status.st_mtime > SETTLED_S
                if is_settled and path not in self._refused and not path.resolve().is_relative_to(own):
                    self._add(path, name, f"{status.st_size} {status.st_mtime_ns}")
        self.worker.wake()

    def _add(self, path: Path, name: str, stamp: str) -> None:
        """Add a video, again if its file was replaced; one whose name cannot be kept is said once."""
        try:
            check_name(name)
        except FeatureError as error:
            logger.warning("%s", error)
            self._refused.add(path)
            return
        known = self.library.find(path)
        if known is None:
            self.library.add(path, name, stamp=stamp)
        elif known.state != "removed" and known.stamp != stamp:
            self._update(known, stamp)

    def _update(self, video: VideoRow, stamp: str) -> None:
        """Explain what stands in the file of a video now, unless it has the same content as before."""
        folder = report_folder(self.library, video.id)
        if video.stamp is None or (video.state == "done" and _is_of(folder, Path(video.path))):
            self.library.set_stamp(video.id, stamp)
            return
        marks = self.library.replace(video, stamp)
        shutil.rmtree(folder, ignore_errors=True)
        lost = f"; {count_of(marks, 'mark')} of the earlier file dropped" if marks else ""
        logger.warning("%s was replaced and is explained again%s", video.path, lost)

    def _explain_unblurred_again(self) -> None:
        """Queue the videos whose reports were made without blurring faces; until then their pages show nothing."""
        for video in self.library.videos():
            if not (report_folder(self.library, video.id) / REDACTED).is_file():
                self.library.again(video.id)

    def _follow(self) -> None:
        while self.videos:
            try:
                self.look()
            except KgvadError as error:
                logger.warning("%s", error)
            time.sleep(LOOK_EVERY_S)

    def _text_encoder(self) -> TextEncoder | None:
        try:
            return self.session.text_encoder("minilm")
        except WeightsError as error:
            logger.info("only the words themselves are searched: %s", error.message)
            return None


def _is_of(folder: Path, video: Path) -> bool:
    """Whether the report in ``folder`` was made from what the file has now."""
    try:
        return Report.read(folder / "report.json").video.sha256 == sha256(video)
    except (KgvadError, OSError):
        return False


def _bytes(text: str) -> int:
    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError as error:
        raise UsageError(f"--max-upload {text} is not a size", "give one such as 500MB or 4GB") from error


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; taken here so that a busy port is one line before any model is loaded."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
        return listener
    except OSError as error:
        raise UsageError(
            f"cannot serve on {host}:{port}: {error.strerror}", "choose another --port or --host"
        ) from error


def _own_addresses() -> set[str]:
    """Addresses of this machine, as far as its name resolves to them."""
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return set()
