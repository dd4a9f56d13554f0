"""A report page as PDF, printed by a browser engine that is installed: Chromium, Chrome or Edge."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from kgvad.errors import ReportError
from kgvad.files import write_bytes

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "microsoft-edge",
)
VARIABLE = "KGVAD_BROWSER"  # path of another one
TIMEOUT_S = 120


def write_pdf(path: Path, page: str) -> None:
    """Print ``page``, HTML, to the file ``path``. The browser has a fresh profile and no network.

    Raises
    ------
    ReportError
        No browser is installed, or it fails.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory(prefix="kgvad-pdf-") as folder:
        source, target = Path(folder) / "report.html", Path(folder) / "report.pdf"
        source.write_text(page, "utf-8")
        command = [
            browser, "--headless", "--disable-gpu", "--no-first-run", "--disable-extensions", "--no-pdf-header-footer",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder}/profile", f"--print-to-pdf={target}",
            source.as_uri(),
        ]  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium refuses its sandbox as root; the page runs no script
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ReportError(f"{browser} did not print the report ({type(error).__name__})", "write HTML") from error
        if not target.is_file() or not (data := target.read_bytes()).startswith(b"%PDF"):
            said = " ".join(done.stderr.decode("utf-8", "replace").split())[-200:] or f"exit code {done.returncode}"
            raise ReportError(f"{browser} did not print the report ({said})", "write HTML and print it")
        write_bytes(path, data)


def find_browser() -> str:
    """Path of the browser that prints: that of ``KGVAD_BROWSER``, else the first of :data:`BROWSERS`.

    Raises
    ------
    ReportError
        There is none.
    """
    named = os.environ.get(VARIABLE)
    found = shutil.which(named) if named else next((p for name in BROWSERS if (p := shutil.which(name))), None)
    if found is None:
        what = f"{VARIABLE}={named} is not a program" if named else "no browser is installed that prints PDF"
        raise ReportError(what, f"install chromium, or set {VARIABLE}; or write HTML and print it")
    return found
