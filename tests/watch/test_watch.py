"""Cameras are watched: events open, grow and close; reports, clips, losses, gaps, interruptions."""

import base64
import copy
import http.server
import io
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import time
from pathlib import Path

import faces
import numpy as np
import pytest
import watch_samples
from PIL import Image
from watch_samples import FPS, FakeClock, archive, footage, models, pictures, rules, watch

from kgvad.detector.scoring.infer import infer
from kgvad.errors import KgvadError, ReportError, UsageError
from kgvad.explain.explainer import Explainer
from kgvad.explain.report import Report
from kgvad.explain.scorers.from_video import RunScorer
from kgvad.video.cameras import parse_cameras
from kgvad.video.decode import probe
from kgvad.video.extract import extract_video
from kgvad.video.redaction import FaceFinder
from kgvad.video.seek import read_frames
from kgvad.video.write import write_video
from kgvad.watch.archive import Archive
from kgvad.watch.camera_settings import CameraSettings, Ignored
from kgvad.watch.feed import _Pace
from kgvad.watch.messages import from_line, to_line
from kgvad.watch.watcher import Watcher

pytestmark = pytest.mark.slow

NOTHING = CameraSettings(ignore=(Ignored(start=time(0), end=time(12)), Ignored(start=time(12), end=time(0))))


def events(messages):
    return [message for message in messages if message.kind != "camera"]


def states(messages):
    return [message.state for message in messages if message.kind == "camera"]


@pytest.fixture
def clips(tmp_path):
    (tmp_path / "clips").mkdir()
    footage(tmp_path / "clips" / "one.mp4")
    return tmp_path / "clips"


def test_an_event_opens_grows_and_closes_with_report_and_clip(clips, tmp_path):
    kept = replace(archive(tmp_path / "out"), set_by_user=("onset",))
    messages = watch(parse_cameras([f"yard={clips}"]), kept, once=True)
    found = events(messages)
    assert [message.kind for message in found] == ["open", "update", "close"]
    assert len({message.id for message in found}) == 1
    closed = found[-1]
    assert closed.duration.total_seconds() == pytest.approx(11.2, abs=1.7)  # the bright seconds, a row more or less
    assert closed.reason == "ended" and closed.score > closed.threshold
    report = Report.model_validate_json((tmp_path / "out" / closed.report).with_suffix(".json").read_bytes())
    assert report.method.detection.set_by_user == ("onset",)  # and not all that the rule of a camera gives
    clip = probe(tmp_path / "out" / closed.clip, exact=True)
    assert report.video.name == Path(closed.clip).name
    (event,) = report.events
    assert event.peak_score == pytest.approx(closed.score, abs=1e-3)
    assert 0 < event.start_s <= 15 and event.end_s < clip.duration_s
    assert event.end_s - event.start_s == pytest.approx(closed.duration.total_seconds(), abs=0.2)
    recorded = report.video.recorded
    assert recorded.camera == "yard"
    assert (closed.start - recorded.start).total_seconds() == pytest.approx(event.start_s, abs=0.2)
    assert "html" in (tmp_path / "out" / closed.report).read_text("utf-8")
    assert not list((tmp_path / "out" / "open").iterdir())
    assert all(to_line(from_line(to_line(message))) == to_line(message) for message in messages)


def test_clips_that_were_watched_are_not_watched_again(clips, tmp_path):
    cameras, out = parse_cameras([f"yard={clips}"]), archive(tmp_path / "out")
    assert events(watch(cameras, out, once=True))
    assert watch(cameras, out, once=True) == []
    footage(clips / "two.mp4")
    assert states(watch(cameras, out, once=True)) == ["connected"]


def test_live_scores_are_the_causal_scores_of_the_video(clips, tmp_path):
    shared = models()
    made = extract_video(clips / "one.mp4", shared.encoder)
    whole = infer(shared.run.detector, made.features)["scores"]
    messages = events(watch(parse_cameras([f"yard={clips}"]), archive(tmp_path / "out"), once=True))
    assert messages[-1].score == pytest.approx(float(whole.max()), abs=1e-3)
    rows = np.flatnonzero(whole >= shared.run.thresholds.onset)
    assert len(rows) and len(messages) >= 2


def test_two_cameras_share_one_encoder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        footage(tmp_path / name / "clip.mp4")
    messages = events(watch(parse_cameras([str(tmp_path / "a"), str(tmp_path / "b")]), once=True))
    assert sorted({(message.camera, message.kind) for message in messages}) == [
        (name, kind) for name in ("a", "b") for kind in ("close", "open", "update")
    ]


def test_a_gap_is_said_and_ends_the_event(tmp_path):
    (tmp_path / "clips").mkdir()
    times = [number / FPS + (60 if number >= 180 else 0) for number in range(320)]
    write_video(tmp_path / "clips" / "gap.mp4", pictures(32, ((12.8, 24),)), FPS, times_s=times)
    messages = watch(parse_cameras([str(tmp_path / "clips")]), once=True)
    assert states(messages) == ["connected", "gap"]
    gap = next(message for message in messages if message.kind == "camera" and message.state == "gap")
    assert gap.seconds == pytest.approx(60.1, abs=0.05)
    kinds = [message.kind for message in messages]
    assert kinds.index("close") < kinds.index("open", kinds.index("open") + 1)  # the second part is another event


def test_a_file_in_real_time_opens_its_event_in_time(tmp_path):
    path = footage(tmp_path / "short.mp4", 7, ((3.2, 7),))
    messages = watch(parse_cameras([str(path)], as_live=True), archive(tmp_path / "out"))
    opened = events(messages)[0]
    assert opened.kind == "open"
    assert (opened.time - opened.end).total_seconds() < 3  # the row that crossed the threshold ended then
    assert events(messages)[-1].clip is not None


@contextmanager
def mpegts(path, times):
    """Serve a transport stream on loopback some times; afterwards there is none."""
    write_video(path, pictures(6), FPS)
    data, served = path.read_bytes(), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if len(served) >= times:
                self.send_error(404)
                return
            served.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/live.ts"
    finally:
        server.shutdown()
        server.server_close()


def test_a_lost_camera_is_connected_again_with_growing_waits(tmp_path):
    from kgvad.watch.watcher import Watcher

    messages, shared, clock = [], models(), FakeClock()
    with mpegts(tmp_path / "live.ts", 2) as url:
        cameras = parse_cameras([f"yard={url}"])

        def emit(message):
            messages.append(message)
            if sum(state == "lost" for state in states(messages)) == 6:
                watcher.stop()

        watcher = Watcher(watch_samples.rules(cameras, shared), shared, emit, clock=clock)
        watcher.run()
    assert [state for state in states(messages) if state != "skipping"][:4] == [
        "connected",
        "lost",
        "connected",
        "lost",
    ]
    waits = [message.seconds for message in messages if message.kind == "camera" and message.seconds]
    assert waits == sorted(waits) and waits[-1] > 3
    assert "yard" in messages[-1].detail and url.partition("//")[2] in messages[-1].detail


def start(path, out):
    script = Path(watch_samples.__file__)
    return subprocess.Popen(
        [sys.executable, str(script), f"yard={path}", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def until_open(process):
    for line in process.stdout:
        message = from_line(line)
        if message.kind == "open":
            return message
    raise AssertionError(process.stderr.read())


@pytest.fixture
def long_event(tmp_path):
    return footage(tmp_path / "long.mp4", 60, ((3.2, 60),))


def test_kill_9_loses_the_open_event_at_most(long_event, tmp_path):
    with start(long_event, tmp_path / "out") as process:
        opened = until_open(process)
        process.send_signal(signal.SIGKILL)
    messages = events(
        watch(parse_cameras([f"yard={tmp_path}"]), archive(tmp_path / "out"), once=True, settings=NOTHING)
    )
    assert [(message.id, message.kind, message.reason) for message in messages] == [(opened.id, "close", "interrupted")]
    assert probe(tmp_path / "out" / messages[0].clip).duration_s > 1
    assert not list((tmp_path / "out" / "open").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_close_what_is_open(number, long_event, tmp_path):
    with start(long_event, tmp_path / "out") as process:
        opened = until_open(process)
        process.send_signal(number)
        rest = [from_line(line) for line in process.stdout]
    assert process.returncode == 0, process.stderr
    closed = events(rest)[-1]
    assert (closed.id, closed.kind, closed.reason) == (opened.id, "close", "stopped")
    assert (tmp_path / "out" / closed.report).is_file() and (tmp_path / "out" / closed.clip).is_file()


def test_alarms_are_sent_while_the_disk_is_full(tmp_path, monkeypatch):
    def full(*_):
        raise KgvadError("cannot write x: No space left on device")

    for name in ("note_open", "note_done"):
        monkeypatch.setattr(Archive, name, full)
    (tmp_path / "clips").mkdir()
    footage(tmp_path / "clips" / "a.mp4")
    found = events(watch(parse_cameras([f"yard={tmp_path / 'clips'}"]), archive(tmp_path / "out"), once=True))
    assert [message.kind for message in found if message.kind != "update"] == ["open", "close"]


def test_events_without_a_report_are_counted_at_the_end(clips, tmp_path, monkeypatch):
    def full(*_):
        raise KgvadError("cannot write x: No space left on device")

    monkeypatch.setattr("kgvad.watch.archive.write_views", full)
    shared, messages = models(), []
    cameras = rules(parse_cameras([f"yard={clips}"]), shared)
    with pytest.raises(ReportError, match=r"^1 event without a report in .*out; the warnings above"):
        Watcher(cameras, shared, messages.append, archive(tmp_path / "out"), once=True).run()
    assert events(messages)[-1].kind == "close"  # the alarm is sent all the same
    archive(tmp_path / "out").lock().release()


def test_one_process_writes_into_a_folder(tmp_path):
    out = archive(tmp_path / "out")
    lock = out.lock()
    with pytest.raises(UsageError, match="in use"):
        archive(tmp_path / "out").lock()
    lock.release()


def test_drift_of_a_cameras_clock_is_measured_by_the_least_lag_of_a_minute():
    clock = FakeClock()
    pace = _Pace(parse_cameras(["rtsp://host/a"])[0], clock, threading.Event())
    found = []
    for number in range(2000):
        clock.seconds = number * 0.1 * 1.03 + (0.4 if number % 7 else 0.0)  # 3 % slow, and jitter of the network
        pace(number * 0.1)
        if number % 16 == 0:
            found.append(pace.drift_s(number * 0.1))
    said = [drift for drift in found if drift is not None]
    assert said and said[0] == pytest.approx(0.03 * 120, abs=2.0)


def test_clip_and_report_of_an_event_show_no_face(tmp_path):

    def seen():
        face = faces.picture()[80:160, 120:200]
        for small in pictures(26, ((12.8, 19),)):
            picture = small.repeat(4, axis=0).repeat(4, axis=1)  # noise of single pixels would be no scene
            picture[37:73] = 90  # the face alone is sharp at its height
            picture[24:104, 56:136] = face
            yield picture

    def sharpness(picture):
        return faces.sharpness(np.pad(picture, ((faces.PLACE[1] - 37, 0), (0, 0), (0, 0))))

    (tmp_path / "clips").mkdir()
    before = read_frames(write_video(tmp_path / "clips" / "one.mp4", seen(), FPS), [0])[0]
    kept = replace(archive(tmp_path / "out"), face_finder=FaceFinder())
    closed = events(watch(parse_cameras([f"yard={tmp_path / 'clips'}"]), kept, once=True))[-1]
    clip = tmp_path / "out" / closed.clip
    shown = read_frames(clip, range(0, probe(clip, exact=True).frame_count, 20))
    page = (tmp_path / "out" / closed.report).read_text("utf-8")
    key_frames = [base64.b64decode(one) for one in re.findall(r"data:image/jpeg;base64,([^\"']+)", page)]
    assert shown and key_frames and "Faces were blurred" in page
    for picture in [*shown.values(), *(np.asarray(Image.open(io.BytesIO(one))) for one in key_frames)]:
        assert sharpness(picture) < 0.4 * sharpness(before)
    assert len(list(tmp_path.rglob("*.mp4"))) == 2 and not list(tmp_path.rglob("*.mkv"))


def test_a_live_report_cites_what_explain_cites(clips, tmp_path):
    """The categories, the terms that decided them, the concepts and the exemplars are those of the whole video."""
    closed = events(watch(parse_cameras([f"yard={clips}"]), archive(tmp_path / "out"), once=True))[-1]
    live = Report.read((tmp_path / "out" / closed.report).with_suffix(".json"))
    shared = models()
    encoder = copy.copy(shared.encoder)
    encoder.fingerprint = shared.run.config.features_fingerprint  # its features stand for those of the run
    scorer = RunScorer(shared.run, encoder, exemplars=shared.exemplars)
    whole = Explainer(scorer, category_texts={"RoadAccidents": "road accident"}, images=False)
    (event,), (expected,) = live.events, whole.explain(clips / "one.mp4").report.events
    assert len(event.contributions) >= 5 and event.contributions[0].value > 0
    assert [one.name for one in event.categories] == [one.name for one in expected.categories]
    shares = [one.probability for one in expected.categories]
    assert [one.probability for one in event.categories] == pytest.approx(shares, abs=0.02)
    assert event.contributions == expected.contributions
    assert (event.evidence, event.contrast, event.similar) == (expected.evidence, expected.contrast, expected.similar)
