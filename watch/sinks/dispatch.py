"""Hands messages to sinks: every sink has a thread of its own, so a slow one holds up nothing."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread

from sqlalchemy.exc import DatabaseError
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_exponential,
    wait_random,
)

from kgvad.watch.messages import CameraMessage, EventMessage, from_line, to_line
from kgvad.watch.sinks.base import NotDeliveredError, RefusedError, Sink, make_sink
from kgvad.watch.sinks.spool import Delivery, Spool

logger = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
LAST_CALL_S = 5.0  # for what waits when watching ends; the rest goes at the next start


class Dispatcher:
    """Delivers messages to sinks, in order, again and again until they arrive.

    Parameters
    ----------
    sinks
        ``KIND:TARGET``, as typed.
    spool
        File of the messages that wait.
    folder
        Folder of reports and clips.

    Raises
    ------
    UsageError
        A sink is unknown or its target does not fit.
    """

    def __init__(self, sinks: Sequence[str], spool: Path, folder: Path | None) -> None:
        made = [(text, make_sink(text, folder)) for text in sinks]
        self._spool = Spool(spool) if made else None
        self._lines = [_Line(text, sink, self._spool) for text, sink in made if self._spool is not None]
        for line in self._lines:
            line.start()

    def send(self, message: EventMessage | CameraMessage) -> None:
        """Keep a message for every sink; it is on disk when this returns."""
        for line in self._lines:
            try:
                line.add(message)
            except DatabaseError as error:  # a full disk; watching goes on, and stdout has the message
                logger.error("the %s misses a message: %s", line.name, error.orig)

    def close(self) -> None:
        """Give what waits a last chance, and end."""
        until_s = time.monotonic() + LAST_CALL_S
        for line in self._lines:
            line.finish(until_s)
        if self._spool is not None:
            self._spool.close()


class _Line(Thread):
    """The thread of one sink."""

    def __init__(self, text: str, sink: Sink, spool: Spool) -> None:
        super().__init__(name=f"sink {text.partition(':')[0]}", daemon=True)
        self._kind, self._sink, self._spool = text.partition(":")[0], sink, spool
        self._key = f"{self._kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"  # the target may hold a token
        self._wake, self._ending = Event(), Event()

    def add(self, message: EventMessage | CameraMessage) -> None:
        """Keep a message; one that is known is not sent again."""
        line = to_line(message)
        key = message.key if isinstance(message, EventMessage) else hashlib.sha256(line.encode()).hexdigest()[:32]
        if self._spool.add(self._key, key, line):
            self._wake.set()

    def finish(self, until_s: float) -> None:
        """Deliver what waits until then, and close the sink."""
        self._ending.set()
        self._wake.set()
        self.join(max(0.1, until_s - time.monotonic()))
        left = self._spool.waiting(self._key)
        if left:
            logger.warning("%d messages wait for the sink %s; they go at the next start", left, self._kind)
        self._sink.close()

    def run(self) -> None:
        """Deliver message after message, each until it arrives."""
        while True:
            self._wake.clear()
            delivery = self._spool.next(self._key)
            if delivery is not None and not self._settle(delivery):
                return
            if delivery is None:
                if self._ending.is_set():
                    return
                self._wake.wait()

    def _settle(self, delivery: Delivery) -> bool:
        """Deliver a message or give it up; false where watching ended before."""
        attempts = Retrying(
            wait=wait_exponential(FIRST_WAIT_S, max=LONGEST_WAIT_S) + wait_random(0, FIRST_WAIT_S / 2),
            retry=retry_if_exception_type(NotDeliveredError),
            sleep=sleep_using_event(self._ending),
            stop=stop_when_event_set(self._ending),
            before_sleep=self._say,
            reraise=True,
        )
        state = "sent"
        try:
            attempts(self._sink.deliver, from_line(delivery.line), delivery.key)
        except NotDeliveredError:
            return False
        except RefusedError as error:
            state = "refused"
            logger.warning("sink %s: message %s was refused (%s)", self._kind, delivery.key, error)
        except Exception as error:  # a sink of another package may raise anything
            state = "refused"
            logger.warning("sink %s: message %s failed (%s: %s)", self._kind, delivery.key, type(error).__name__, error)
        self._spool.settle(delivery, state)
        return True

    def _say(self, state: RetryCallState) -> None:
        if state.attempt_number in (1, 10) or state.attempt_number % 100 == 0:
            error = None if state.outcome is None else state.outcome.exception()
            logger.warning("sink %s: not delivered (%s); it is tried again", self._kind, error)
