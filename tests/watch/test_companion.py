"""Frigate's reviews are explained: a stub of its interface on loopback, made from its public documentation."""

import http.server
import json
import threading
from dataclasses import replace
from datetime import datetime, timezone

import faces
import paho.mqtt.client as mqtt
import pytest
from explain_samples import scores
from watch_samples import FakeClock, footage

from kgvad.errors import KgvadError
from kgvad.explain.explainer import Explainer
from kgvad.explain.rendering.render import Renderer
from kgvad.explain.scorers.base import ScoredVideo
from kgvad.video.decode import probe
from kgvad.video.redaction import FaceFinder
from kgvad.video.seek import read_frames
from kgvad.video.write import write_video
from kgvad.watch.companion import ClipExplainer, Done, explain_clips, explain_reviews, reviews
from kgvad.watch.frigate import Frigate, Review, ended_review

START = 1767614400.0


class Handler(http.server.BaseHTTPRequestHandler):
    stub = None

    def _answer(self, status, body=b"{}", cookie=None):
        self.send_response(status)
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _allowed(self):
        if self.stub.password is None or "frigate_token=t" in self.headers.get("Cookie", ""):
            return True
        self._answer(401)
        return False

    def do_GET(self):
        self.stub.asked.append(self.path)
        if not self._allowed():
            return
        if self.path.startswith("/api/review?"):
            self._answer(200, json.dumps(self.stub.reviews).encode())
        elif self.stub.missing:
            self.stub.missing -= 1
            self._answer(404, b'{"success": false}')
        else:
            self._answer(200, self.stub.clip)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/login":
            good = body == {"user": "kg", "password": self.stub.password}
            self._answer(200 if good else 401, cookie="frigate_token=t" if good else None)
        elif self._allowed():
            _, _, _, event, what = self.path.split("/")
            (self.stub.labels if what == "sub_label" else self.stub.descriptions)[event] = body
            self._answer(200)

    def log_message(self, *_):
        pass


class StubFrigate:
    """The parts of the interface that are used; ``missing`` clips answer 404 that many times first."""

    def __init__(self, clip, *, missing=0, password=None):
        self.clip, self.missing, self.password = clip.read_bytes(), missing, password
        self.asked, self.descriptions, self.labels, self.reviews = [], {}, {}, []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"stub": self}))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def review(number=1, *, end=True, detections=("d1", "d2")):
    about = {
        "id": f"{START + number}-abc",
        "camera": "front_door",
        "start_time": START + number,
        "end_time": START + number + 20 if end else None,
        "severity": "alert",
        "thumb_path": "/media/frigate/clips/review/x.webp",
        "data": {"detections": list(detections), "objects": ["person"], "sub_labels": [], "zones": [], "audio": []},
    }
    return about


def message(about, kind="end"):
    return json.dumps({"type": kind, "before": about, "after": about}).encode()


class GivenScorer:
    """Scores with an event that is a robbery, fitted to the clip."""

    def __init__(self, **options):
        self.options = options

    def score(self, video):
        probe(video)
        return ScoredVideo(scores=scores(name=video.name, **self.options))

    def identity(self):
        return "given"


def clip_explainer(folder, **options):
    texts = {"RoadAccidents": "road accident"}
    explainer = Explainer(GivenScorer(**({"names": "yes", "trained": True} | options)), category_texts=texts)
    return ClipExplainer(explainer, Renderer("en"), folder)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return footage(tmp_path_factory.mktemp("clip") / "a.mp4", 6, ())


def run(stub, payloads, out, *, expected=1, **options):
    """Explain the reviews of these messages until there are so many results, or for a second."""
    results, stop, done = [], threading.Event(), Done(out / "done" / "companion")
    frigate = Frigate(stub.url, attempts=3, wait_s=0.01)

    def subscribe(take):
        for payload in payloads:
            take(payload)
        if not expected:
            threading.Timer(1.0, stop.set).start()

    def emit(result):
        results.append(result)
        if len(results) == expected:
            stop.set()

    found = reviews(frigate, subscribe, done, stop)
    explain_reviews(frigate, found, clip_explainer(out, **options), done, emit, FakeClock())
    frigate.close()
    return results


def test_a_review_is_fetched_explained_and_described(clip, tmp_path):
    with StubFrigate(clip, missing=1) as stub:
        about = review()
        given = [
            message(about, "new"),
            message(review(end=False), "update"),
            b"no json",
            message(about),
            message(about),
        ]
        (result,) = run(stub, given, tmp_path)
        assert result.camera == "front_door" and result.id == about["id"]
        assert set(stub.descriptions) == set(stub.labels) == {"d1", "d2"}
        assert stub.labels["d1"] == {"subLabel": "Robbery"} and result.category == "Robbery"
        assert stub.descriptions["d1"] == {"description": result.text} and "robbery" in result.text
        assert len(stub.asked) == 2  # once it was not recorded yet
        start, end = (float(stub.asked[-1].split("/")[place]) for place in (4, 6))
        assert (start, end) == (pytest.approx(START + 1 - 5), pytest.approx(START + 21 + 5))
        assert (tmp_path / result.report).is_file() and (tmp_path / result.clip).is_file()
        assert run(stub, given, tmp_path, expected=0) == []  # known


def test_what_ended_while_nobody_listened_is_explained_at_the_next_start(clip, tmp_path):
    with StubFrigate(clip) as stub:
        run(stub, [message(review(1))], tmp_path)
        stub.reviews = [review(3), review(1), review(4, end=False), review(2)]
        found = run(stub, [], tmp_path, expected=2)
        assert [one.id for one in found] == [review(2)["id"], review(3)["id"]]
        assert any(path.startswith("/api/review?after=17676144") for path in stub.asked)


def test_without_an_event_the_description_says_so(clip, tmp_path):
    with StubFrigate(clip) as stub:
        (result,) = run(stub, [message(review())], tmp_path, events=())
        assert result.events == 0 and result.category is None and not stub.labels
        assert stub.descriptions["d1"]["description"] == "kgvad found no abnormal event in this clip."


def test_frigate_may_want_a_login(clip, tmp_path, monkeypatch):
    with StubFrigate(clip, password="pw") as stub:
        frigate = Frigate(stub.url, attempts=1)
        with pytest.raises(KgvadError, match="answered 401; check the URL, KGVAD_FRIGATE_USER"):
            frigate.describe("d1", "text", None)
        monkeypatch.setenv("KGVAD_FRIGATE_USER", "kg")
        monkeypatch.setenv("KGVAD_FRIGATE_PASSWORD", "pw")
        frigate.describe("d1", "text", None)
        assert stub.descriptions == {"d1": {"description": "text"}}


def test_a_review_that_cannot_be_explained_does_not_stop_the_others(clip, tmp_path, caplog):
    with StubFrigate(clip, missing=3) as stub:
        (result,) = run(stub, [message(review(1)), message(review(2))], tmp_path)
        assert result.id == review(2)["id"]
        assert "answered 404" in caplog.text


def test_frigate_that_is_away_is_one_line():
    with pytest.raises(KgvadError, match="does not answer"):
        Frigate("http://127.0.0.1:9", attempts=1).reviews_since(0)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1]", message(review(), "new"), message(review(end=False))])
def test_other_messages_are_passed_over(payload):
    assert ended_review(payload) is None


def explained_clips(folder, out):
    """What one look at a folder of clips finds that was not explained before."""
    results = []
    done = Done(out / "done" / "companion")
    explain_clips(
        folder, clip_explainer(out), done, results.append, stop=threading.Event(), once=True, clock=FakeClock()
    )
    return results


def test_a_folder_of_clips_works_the_same(clip, tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "door-17.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "clips" / "broken.mp4").write_bytes(b"x")
    (result,) = explained_clips(tmp_path / "clips", tmp_path / "out")
    assert result.id == "door-17" and result.category == "Robbery" and (tmp_path / "out" / result.report).is_file()
    assert explained_clips(tmp_path / "clips", tmp_path / "out") == []


def test_clips_whose_names_differ_in_a_separator_have_reports_of_their_own(clip, tmp_path):
    """The report of door/1.mp4 was overwritten by that of door_1.mp4."""
    for name in ("door/1.mp4", "door_1.mp4", "door 1.mp4"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / name).write_bytes(clip.read_bytes())
    reports = {result.id: result.report for result in explained_clips(tmp_path / "clips", tmp_path / "out")}
    assert set(reports) == {"door/1", "door_1", "door 1"} and reports["door_1"] == "clips/door_1.html"
    assert len(set(reports.values())) == 3 and all((tmp_path / "out" / one).is_file() for one in reports.values())


def test_a_clip_that_is_being_written_waits(clip, tmp_path):
    class Passing(FakeClock):
        """As many polls as it takes for the file to have been left alone."""

        def now(self):
            return datetime.fromtimestamp(written + self.seconds, timezone.utc)

    (tmp_path / "a.mp4").write_bytes(clip.read_bytes())
    written, stop, polls = (tmp_path / "a.mp4").stat().st_mtime, threading.Event(), []
    clock = Passing()

    def emit(result):
        polls.append(clock.seconds)
        stop.set()

    explain_clips(tmp_path, clip_explainer(tmp_path / "out"), Done(tmp_path / "done"), emit, stop=stop, clock=clock)
    assert polls == [4.0]


def test_a_broker_that_is_away_or_refuses_is_said_once(tmp_path, caplog):
    """The companion waited for ever without a word."""
    from brokers import mosquitto, until
    from kg_servers import free_port

    from kgvad.watch.sinks.mqtt import subscribe

    caplog.set_level("INFO")
    port = free_port()
    end = subscribe(f"mqtt://127.0.0.1:{port}", "frigate/reviews", list)
    until(lambda: f"127.0.0.1:{port} cannot be reached; trying again" in caplog.text)
    with mosquitto(tmp_path, port):
        until(lambda: f"127.0.0.1:{port} is there" in caplog.text)
    end()
    with mosquitto(tmp_path, port, anonymous=False):
        end = subscribe(f"mqtt://127.0.0.1:{port}", "frigate/reviews", list)
        until(lambda: "refuses the connection: Not authorized" in caplog.text)
        end()
    assert caplog.text.count("cannot be reached") == 1


def test_what_could_not_be_explained_is_tried_again_at_the_next_start(clip, tmp_path):
    """A full disk or a recorder that pauses lost the clip for good."""
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(clip.read_bytes()[:-9000])
    assert explained_clips(tmp_path / "clips", tmp_path / "out") == []
    (tmp_path / "clips" / "a.mp4").write_bytes(clip.read_bytes())
    assert [result.id for result in explained_clips(tmp_path / "clips", tmp_path / "out")] == ["a"]


def test_a_clip_that_goes_while_it_is_looked_at_ends_nothing(clip, tmp_path, monkeypatch):
    found = {"gone": tmp_path / "gone.mp4", "a": clip}
    monkeypatch.setattr("kgvad.watch.companion.find_videos", lambda _: found)
    assert [result.id for result in explained_clips(tmp_path, tmp_path / "out")] == ["a"]


def test_reviews_come_from_a_broker(tmp_path):
    from brokers import mosquitto, until
    from kg_servers import free_port

    from kgvad.watch.sinks.mqtt import subscribe

    port, got = free_port(), []
    with mosquitto(tmp_path, port):
        end = subscribe(f"mqtt://127.0.0.1:{port}", "frigate/reviews", got.append)
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", port)
        client.loop_start()

        def arrived():
            client.publish("frigate/reviews", message(review()), qos=1)
            return got

        until(arrived)
        end()
        client.disconnect()
        client.loop_stop()
    assert ended_review(got[0]).id == review()["id"]


def test_a_fetched_clip_is_kept_with_blurred_faces_only(tmp_path):
    video = write_video(tmp_path / "door.mp4", faces.pictures(1), faces.FPS)
    explainer = clip_explainer(tmp_path / "out", events=())
    explainer = replace(explainer, explainer=replace(explainer.explainer, face_finder=FaceFinder()))
    results, done = [], Done(tmp_path / "done")
    with StubFrigate(video) as stub:
        frigate = Frigate(stub.url, attempts=1)
        found = [Review.model_validate(review(1)), Review.model_validate(review(2))]
        explain_reviews(frigate, iter(found[:1]), explainer, done, results.append, FakeClock())
        stub.clip = b"no video"
        explain_reviews(frigate, iter(found[1:]), explainer, done, results.append, FakeClock())
    (result,) = results
    kept = tmp_path / "out" / result.clip
    for number, now in read_frames(kept, range(10)).items():
        assert faces.sharpness(now) < 0.4 * faces.sharpness(faces.picture(number))
    assert list((tmp_path / "out").rglob("*.mp4")) == [kept]  # what cannot be explained is not kept
