"""Sinks against real receivers on loopback: nothing is lost while they are away, nothing comes twice."""

import hashlib
import hmac
import http.server
import json
import sys
import threading
import time
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from importlib.metadata import EntryPoint

import paho.mqtt.client as mqtt
import pytest
from aiosmtpd import controller
from brokers import mosquitto, until
from kg_servers import free_port

from kgvad.errors import KgvadError, UsageError
from kgvad.watch.messages import CameraMessage, EventMessage, event_id, from_line, to_line
from kgvad.watch.sinks import dispatch
from kgvad.watch.sinks.base import make_sink
from kgvad.watch.sinks.dispatch import Dispatcher
from kgvad.watch.sinks.spool import Spool

START = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)


def event(kind="open", minute=0, **more):
    start = START + timedelta(minutes=minute)
    return EventMessage(
        kind=kind,
        id=event_id("front door", start),
        camera="front door",
        time=start,
        start=start,
        end=start + timedelta(seconds=8),
        peak=start + timedelta(seconds=4),
        score=0.95,
        threshold=0.9,
        **more,
    )


@contextmanager
def dispatcher(tmp_path, *sinks, folder=None):
    made = Dispatcher(sinks, tmp_path / "spool.sqlite", folder)
    try:
        yield made
    finally:
        made.close()


class Receiver:
    """An HTTP server that notes what it takes; ``answers`` are the statuses of the next requests."""

    def __init__(self, port=0, answers=()):
        self.taken, self.answers = [], list(answers)
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.answers.pop(0) if receiver.answers else 204
                if status < 300:
                    receiver.taken.append((dict(self.headers), body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def messages(self):
        return [from_line(body) for _, body in self.taken]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(dispatch, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(dispatch, "LONGEST_WAIT_S", 0.2)
    monkeypatch.setattr(dispatch, "LAST_CALL_S", 1.0)


def test_lines_of_a_file(tmp_path):
    with dispatcher(tmp_path, f"jsonl:{tmp_path / 'events.jsonl'}") as sinks:
        sinks.send(event())
        sinks.send(CameraMessage(camera="front door", time=START, state="lost", detail="gone"))
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [from_line(line).kind for line in lines] == ["open", "camera"]
    assert json.loads(lines[0])["version"] == 1


def test_what_a_full_disk_left_of_a_line_does_not_spoil_the_next(tmp_path):
    """The rest of the line was kept, and the message that was sent again stood behind it."""
    (tmp_path / "events.jsonl").write_text(to_line(event())[:40])
    with dispatcher(tmp_path, f"jsonl:{tmp_path / 'events.jsonl'}") as sinks:
        sinks.send(event())
    assert (tmp_path / "events.jsonl").read_text() == to_line(event()) + "\n"


def test_a_webhook_is_signed(tmp_path, monkeypatch):
    monkeypatch.setenv("KGVAD_WEBHOOK_SECRET", "s3cret")
    with Receiver() as receiver, dispatcher(tmp_path, f"webhook:http://127.0.0.1:{receiver.port}/x") as sinks:
        sinks.send(event())
        until(lambda: receiver.taken)
    headers, body = receiver.taken[0]
    signed = headers["X-Kgvad-Timestamp"].encode() + b"." + body
    assert headers["X-Kgvad-Signature"] == "sha256=" + hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
    assert headers["X-Kgvad-Delivery"] == event().key
    assert abs(int(headers["X-Kgvad-Timestamp"]) - time.time()) < 60


def test_an_outage_loses_nothing_and_repeats_nothing(tmp_path):
    port = free_port()
    with dispatcher(tmp_path, f"webhook:http://127.0.0.1:{port}/") as sinks:
        for minute in range(20):
            sinks.send(event(minute=minute))
        time.sleep(0.5)  # nobody listens
        with Receiver(port, answers=[503, 429, 500]) as receiver:
            until(lambda: len(receiver.taken) == 20)
            sinks.send(event(minute=3))  # known
            sinks.send(event("close", minute=3, reason="ended"))
            until(lambda: len(receiver.taken) == 21)
    assert [message.start.minute for message in receiver.messages()] == [*range(20), 3]
    assert len({headers["X-Kgvad-Delivery"] for headers, _ in receiver.taken}) == 21


def test_what_waits_goes_at_the_next_start(tmp_path, caplog):
    port = free_port()
    with dispatcher(tmp_path, f"webhook:http://127.0.0.1:{port}/") as sinks:
        for minute in range(3):
            sinks.send(event(minute=minute))
    assert "3 messages wait for the sink webhook" in caplog.text
    with Receiver(port) as receiver, dispatcher(tmp_path, f"webhook:http://127.0.0.1:{port}/"):
        until(lambda: len(receiver.taken) == 3)


def test_a_refused_message_does_not_block_the_others(tmp_path, caplog):
    with Receiver(answers=[400]) as receiver, dispatcher(tmp_path, f"webhook:http://127.0.0.1:{receiver.port}/") as one:
        one.send(event())
        one.send(event(minute=1))
        until(lambda: receiver.taken)
    assert [message.start.minute for message in receiver.messages()] == [1]
    assert "was refused (status 400)" in caplog.text


@contextmanager
def subscribed(port, topics="#"):
    got, ready = [], threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_message = lambda *args: got.append((args[2].topic, args[2].payload.decode(), args[2].retain))
    client.on_connect = lambda one, *_: one.subscribe(topics, qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(10)
    try:
        yield got
    finally:
        client.disconnect()
        client.loop_stop()


def test_mqtt_with_discovery_for_home_assistant(tmp_path):
    port = free_port()
    with mosquitto(tmp_path, port), subscribed(port) as got:
        with dispatcher(tmp_path, f"mqtt:mqtt://127.0.0.1:{port}/site/kgvad") as sinks:
            sinks.send(event())
            sinks.send(event("close", reason="ended"))
            sinks.send(CameraMessage(camera="front door", time=START, state="lost", detail="gone"))
            until(lambda: any(topic.endswith("/status") for topic, _, _ in got))
        until(lambda: ("site/kgvad/availability", "offline", False) in got)
        with subscribed(port) as retained:
            until(lambda: len(retained) >= 4)
    config = json.loads(next(payload for topic, payload, _ in got if topic.startswith("homeassistant/")))
    by_topic = [(topic, payload) for topic, payload, _ in got]
    assert ("site/kgvad/availability", "online") in by_topic
    assert [payload for topic, payload in by_topic if topic == config["state_topic"]] == ["ON", "OFF"]
    events = [from_line(payload) for topic, payload in by_topic if topic == config["json_attributes_topic"]]
    assert [message.kind for message in events] == ["open", "close"]
    assert config["availability_topic"] == "site/kgvad/availability" and config["unique_id"]
    assert all(is_retained for _, _, is_retained in retained)
    assert config["state_topic"] in {topic for topic, _, _ in retained}


def test_a_broker_that_is_down_loses_nothing(tmp_path):
    port = free_port()
    with dispatcher(tmp_path, f"mqtt:mqtt://127.0.0.1:{port}") as sinks:
        for minute in range(5):
            sinks.send(event(minute=minute))
        time.sleep(0.3)
        with mosquitto(tmp_path, port), subscribed(port, "kgvad/+/event") as got:
            until(lambda: len(got) == 5, 40)
        sinks.send(event(minute=5))
        time.sleep(0.3)
        with mosquitto(tmp_path, port), subscribed(port, "kgvad/+/event") as more:
            until(lambda: more, 40)
    assert [from_line(payload).start.minute for _, payload, _ in got] == [0, 1, 2, 3, 4]
    assert {from_line(payload).start.minute for _, payload, _ in more} == {5}


@pytest.fixture
def smtp():
    letters = []

    class Handler:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802  aiosmtpd's name
            if b"12:01" in envelope.content:
                return "554 no"
            letters.append(envelope)
            return "250 ok"

    port = free_port()
    server = controller.Controller(Handler(), hostname="127.0.0.1", port=port)
    server.start()
    yield port, letters
    server.stop()


def test_a_letter_about_each_event_that_closed(smtp, tmp_path, caplog):
    port, letters = smtp
    (tmp_path / "report.html").write_text("<p>report</p>")
    target = f"email:smtp://127.0.0.1:{port}/guard@example.org?from=cam@example.org"
    with dispatcher(tmp_path, target, folder=tmp_path) as sinks:
        sinks.send(event())
        sinks.send(event("close", minute=1, reason="ended"))
        sinks.send(event("close", reason="ended", category="Arson", text="Fire.", report="report.html", clip="a.mp4"))
        until(lambda: letters)
    (letter,) = letters
    assert letter.rcpt_tos == ["guard@example.org"] and letter.mail_from == "cam@example.org"
    text = letter.content.decode()
    assert "Subject: front door: Arson, 2026-01-05 12:00:00 UTC" in text
    assert "Fire." in text and "report.html" in text and "never a verdict" in text
    assert "was refused" in caplog.text


NO_PORT = ["webhook:http://h:x/", "mqtt:mqtt://h:x", "email:smtp://h:x/a@b.example", "mqtt:mqtt://[::1"]


@pytest.mark.parametrize(
    "text", ["nothing", "paper:x", "webhook:ftp://x", "mqtt:host", "email:smtp://host", "webhook:", "jsonl:/", *NO_PORT]
)
def test_a_wrong_sink_is_one_line(text, tmp_path):
    with pytest.raises(UsageError):
        make_sink(text, tmp_path)


def test_a_damaged_spool_is_one_line(tmp_path):
    (tmp_path / "spool.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(KgvadError, match="cannot be used"):
        Spool(tmp_path / "spool.sqlite")


def test_messages_keep_their_order_by_sink_and_are_kept_once(tmp_path):
    spool = Spool(tmp_path / "spool.sqlite")
    assert spool.add("a", "1", to_line(event())) and spool.add("a", "2", "x") and spool.add("b", "1", "x")
    assert not spool.add("a", "1", "x")
    first = spool.next("a")
    assert first.key == "1" and spool.waiting("a") == 2
    spool.settle(first, "sent")
    assert spool.next("a").key == "2" and not spool.add("a", "1", "x")
    spool.close()
    assert Spool(tmp_path / "spool.sqlite").next("b").key == "1"


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda target, folder: object(), r"^sink 'theirs' \(their:sink\) has no close, deliver; repair its package$"),
        (lambda target, folder: 1 / 0, r"^sink 'theirs' \(their:sink\) cannot be loaded: division by zero; repair"),
        (3, r"^sink 'theirs' \(their:sink\) is not a factory; repair its package$"),
    ],
)
def test_errors_of_another_packages_sink_are_one_line(monkeypatch, factory, message):
    monkeypatch.setattr(EntryPoint, "load", lambda self: factory)
    monkeypatch.setattr("kgvad.plugins.installed", lambda group, path: [EntryPoint("theirs", "their:sink", group)])
    with pytest.raises(KgvadError, match=message):
        make_sink("theirs:x", None)


def test_a_sink_whose_library_is_missing_names_the_extra_and_one_of_another_package_its_own(monkeypatch):
    monkeypatch.setitem(sys.modules, "paho", None)
    monkeypatch.delitem(sys.modules, "kgvad.watch.sinks.mqtt", raising=False)
    with pytest.raises(UsageError, match=r"--sink mqtt needs paho.*pip install 'kgvad\[watch\]'"):
        make_sink("mqtt:mqtt://localhost", None)
    monkeypatch.setattr("kgvad.plugins.installed", lambda group, path: [EntryPoint("theirs", "nowhere:sink", group)])
    with pytest.raises(KgvadError, match=r"'theirs' \(nowhere:sink\) cannot be loaded: No module named 'nowhere'"):
        make_sink("theirs:x", None)
