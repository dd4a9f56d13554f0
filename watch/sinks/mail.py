"""Events that closed, by e-mail: what the report says, with the report attached.

The target is ``smtp://HOST[:PORT]/TO?from=FROM`` (STARTTLS where the server offers it) or ``smtps://``
(TLS throughout).
User and password come from ``KGVAD_SMTP_USER`` and ``KGVAD_SMTP_PASSWORD``.
"""

from __future__ import annotations

import os
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from kgvad.errors import UsageError
from kgvad.watch.messages import CameraMessage, EventMessage
from kgvad.watch.sinks.base import NotDeliveredError, RefusedError, server_of

USER, PASSWORD = "KGVAD_SMTP_USER", "KGVAD_SMTP_PASSWORD"
PORTS = {"smtp": 25, "smtps": 465}
TIMEOUT_S = 20.0


class Email:
    """Sends a letter about every event that closed."""

    def __init__(self, target: str, folder: Path | None) -> None:
        server = server_of(target, PORTS)
        parts = urlsplit(target if server else "")
        self._to = unquote(parts.path.strip("/"))
        self._from = parse_qs(parts.query).get("from", [self._to])[0]
        if server is None or "@" not in self._to:
            raise UsageError(f"--sink email:{target[:60]} has no address", "give email:smtp://HOST/TO?from=FROM")
        (self._host, self._port), self._is_tls, self._folder = server, parts.scheme == "smtps", folder

    def deliver(self, message: EventMessage | CameraMessage, key: str) -> None:
        """Send a letter; nothing for other messages."""
        if not isinstance(message, EventMessage) or message.kind != "close":
            return
        try:
            with self._connect() as server:
                server.send_message(letter(message, self._from, self._to, key, self._folder))
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            codes = (
                error.recipients.values() if isinstance(error, smtplib.SMTPRecipientsRefused) else [(error.smtp_code,)]
            )
            if all(code[0] >= 500 for code in codes):
                raise RefusedError(str(error)) from error
            raise NotDeliveredError(str(error)) from error
        except (smtplib.SMTPException, OSError) as error:
            raise NotDeliveredError(f"{self._host}: {error}") from error

    def close(self) -> None:
        """Nothing is open between two letters."""

    def _connect(self) -> smtplib.SMTP:
        if self._is_tls:
            context = ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S)
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=ssl.create_default_context())
        if os.environ.get(USER):
            server.login(os.environ[USER], os.environ.get(PASSWORD, ""))
        return server


def letter(message: EventMessage, sender: str, to: str, key: str, folder: Path | None) -> EmailMessage:
    """The letter about an event, with its report attached where there is one."""
    mail = EmailMessage()
    what = message.category or "abnormal event"
    mail["Subject"] = f"{message.camera}: {what}, {message.start:%Y-%m-%d %H:%M:%S} UTC"
    mail["From"], mail["To"], mail["Date"] = sender, to, formatdate()
    mail["Message-ID"] = f"<{key.replace('/', '.')}@kgvad.invalid>"  # the same for every attempt
    lines = [
        f"Camera {message.camera}, {message.start:%Y-%m-%d %H:%M:%S} to {message.end:%H:%M:%S} UTC.",
        f"Highest score {message.score:.2f}; events start at {message.threshold:.2f}.",
        *([message.text] if message.text else []),
        *([f"Clip: {message.clip}"] if message.clip else []),
        "A score is a reason to look, never a verdict about a person.",
    ]
    mail.set_content("\n".join(lines) + "\n")
    report = None if folder is None or message.report is None else folder / message.report
    if report is not None and report.is_file():
        mail.add_attachment(report.read_bytes(), maintype="text", subtype="html", filename=report.name)
    return mail
