"""From files to reports: the command, its outputs, folders, clips, and what happens when something is wrong."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import av
import faces
import numpy as np
import pytest
from PIL import Image
from square_video import FPS, FRAMES, write_video
from typer.testing import CliRunner

from kgvad.cli import app
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import UsageError, WeightsError
from kgvad.explain.explainer import Explainer
from kgvad.explain.media.clips import MARGIN_S, cut_clips, safe_name
from kgvad.explain.media.key_frames import key_pictures
from kgvad.explain.report import Report
from kgvad.explain.scorers.score_files import ScoreFileScorer
from kgvad.python_api import explain_video
from kgvad.video.decode import probe


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Sixteen seconds, grey, with a white square that jumps about from 8 to 12 s."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(path)
    return path


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Scores of another program for that video: 20 rows, an event from row 10 to 14 (8 to 12 s)."""
    path = tmp_path_factory.mktemp("scores") / "clip.json"
    path.write_text(json.dumps({"scores": [0.1] * 10 + [0.9, 0.8, 0.7, 0.9, 0.6] + [0.1] * 5}))
    return path


def explainer(given, **options):
    return Explainer(ScoreFileScorer(given, load_bank=lambda: None), **options)


@pytest.fixture
def kgvad(monkeypatch, capsys):
    """``kgvad("video.mp4", ...)``: what ``kgvad explain --no-actions`` with these arguments gives, in this process."""
    from kgvad.cli import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["kgvad", "explain", "--no-actions", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=out, stderr=err)

    return call


def test_stdout_carries_the_report_and_nothing_else(video, given):
    command = [sys.executable, "-m", "kgvad", "explain", video, "--scores", given, "--no-actions"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# Report on `clip.mp4`\n")
    assert "00:00:08.0 to 00:00:12.0" in done.stdout
    assert done.stderr == ""


def test_a_hyphen_is_stdout(kgvad, video, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = kgvad(video, "--scores", given, "--output", "-", "--format", "csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout == kgvad(video, "--scores", given, "--format", "csv").stdout != ""
    folder = kgvad(video.parent, "--output", "-")
    assert folder.returncode == 2 and "give one folder for the reports" in folder.stderr
    assert not (tmp_path / "-").exists()


def test_one_analysis_becomes_several_files(kgvad, video, given, tmp_path):
    outputs = [tmp_path / f"report.{form}" for form in ("md", "html", "json", "srt", "vtt", "csv")]
    done = kgvad(video, "--scores", given, *(x for path in outputs for x in ("--output", path)))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert all(path.stat().st_size for path in outputs)
    report = Report.from_json(outputs[2].read_text("utf-8"))
    assert (report.video.width, report.video.height, report.video.frame_count) == (96, 64, FRAMES)
    assert len(report.video.sha256) == 64
    assert outputs[1].read_text("utf-8").count("data:image/jpeg;base64,") >= 4
    assert 'src="' in outputs[1].read_text("utf-8")


def test_a_report_says_which_thresholds_its_user_set(kgvad, video, given, tmp_path):
    options = ("--scores", given, "--no-images")
    assert "The user set the onset threshold." in kgvad(video, *options, "--onset", 0.4).stdout
    assert "The user set" not in kgvad(video, *options).stdout
    normal = tmp_path / "normal.json"
    normal.write_text(json.dumps({"scores": [0.1, 0.3, 0.2], "fps": FPS}))
    calibrated = kgvad(video, *options, "--calibrate", normal, "--onset", 0.4, "--merge-gap", 3).stdout
    assert "The user set the largest gap for merging." in calibrated


def test_pictures_are_of_the_moments_they_claim(video, given):
    explained = explainer(given).explain(video)
    assert explained.pictures
    for frame in explained.report.events[0].key_frames:
        image = np.asarray(Image.open(io.BytesIO(explained.pictures[frame.frame])).convert("L"), float)
        assert frame.frame == pytest.approx(frame.time_s * FPS, abs=1)
        assert (image > 200).mean() > 0.03, "the white square is in every picture of the event"


def test_a_frame_that_cannot_be_decoded_does_not_take_the_other_pictures_away(video, given, tmp_path, caplog):
    """Nothing after second 10 can be read any more; the event lasts from 8 to 12 s."""
    explained = explainer(given).explain(video)
    damaged = tmp_path / "damaged.mp4"
    with av.open(str(video)) as whole, av.open(str(damaged), "w") as copy:
        stream = copy.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.dts is not None and packet.pts * packet.time_base < 10:
                packet.stream = stream
                copy.mux(packet)
    found = key_pictures(damaged, explained.report, explained.info)
    early = {frame.frame for frame in explained.report.events[0].key_frames if frame.time_s < 9.9}
    assert set(found) == early and 0 < len(early) < len(explained.pictures)
    assert f"the report lacks {len(explained.pictures) - len(early)} of 4 pictures: {damaged} is damaged" in caplog.text


def test_pictures_can_be_left_out(kgvad, video, given, tmp_path):
    page = tmp_path / "r.html"
    assert kgvad(video, "--scores", given, "--no-images", "-o", page).returncode == 0
    assert "data:image" not in page.read_text("utf-8")


def test_scores_alone_make_a_report_too(kgvad, tmp_path):
    path = tmp_path / "alone.json"
    path.write_text(json.dumps({"scores": [0.1, 0.9, 0.9, 0.9, 0.1], "fps": 16.0}))
    done = kgvad("--scores", path)
    assert done.returncode == 0, done.stderr
    assert "One abnormal event" in done.stdout
    assert "alone.json" in done.stdout


def test_a_report_in_german(kgvad, video, given):
    done = kgvad(video, "--scores", given, "--language", "de")
    assert "Ein anomales Ereignis" in done.stdout


def test_scores_that_were_kept_give_the_same_report(kgvad, video, given, tmp_path):
    kept = tmp_path / "kept.npz"
    first = kgvad(video, "--scores", given, "--save-scores", kept)
    assert first.returncode == 0, first.stderr
    assert len(Scores.load(kept).scores) == 20
    again = kgvad(video, "--scores", kept)
    assert again.stdout.replace("kept.npz", "clip.json").split("| Created")[0] == first.stdout.split("| Created")[0]


def test_clips_begin_and_end_with_the_events(video, given, tmp_path):
    report = explainer(given, images=False).explain(video).report
    [clip] = cut_clips(video, report, tmp_path).values()
    info = probe(clip, exact=True)
    assert info.duration_s == pytest.approx(report.events[0].duration_s + 2 * MARGIN_S, abs=0.06)
    with av.open(str(clip)) as container:
        lit = [(frame.to_ndarray(format="gray") > 200).mean() > 0.03 for frame in container.decode(video=0)]
    first = lit.index(True) / FPS
    assert first == pytest.approx(MARGIN_S, abs=0.1)  # the square appears when the event begins


def test_the_report_names_its_clips(kgvad, video, given, tmp_path):
    done = kgvad(
        video, "--scores", given, "--clips", tmp_path / "cuts", "-o", tmp_path / "r.html", "-o", tmp_path / "r.md"
    )
    assert done.returncode == 0, done.stderr
    assert 'href="cuts/clip-event-1.mp4"' in (tmp_path / "r.html").read_text("utf-8")
    assert "`cuts/clip-event-1.mp4`" in (tmp_path / "r.md").read_text("utf-8")
    assert (tmp_path / "cuts" / "clip-event-1.mp4").is_file()


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", ".hidden", "a b\nc", "", "..", "x" * 300, "räuber"])
def test_names_of_clips_stay_in_their_folder(name, tmp_path):
    safe = safe_name(name)
    assert (tmp_path / safe).resolve().parent == tmp_path.resolve()
    assert safe and not safe.startswith(".") and len(safe) <= 100


def test_calibration_on_normal_scores_moves_the_threshold(kgvad, video, given, tmp_path):
    normal = tmp_path / "normal.json"
    normal.write_text(json.dumps({"scores": [0.1, 0.7, 0.2] * 50, "fps": FPS}))
    done = kgvad(video, "--scores", given, "--calibrate", normal, "--false-alarms", "0/hour", "--format", "json")
    assert done.returncode == 0, done.stderr
    rule = json.loads(done.stdout)["method"]["detection"]
    assert 0.7 < rule["onset"] < 0.71
    assert rule["calibrated_on"] == 1
    assert "built_in_thresholds" not in json.loads(done.stdout)["limitations"]


@pytest.fixture
def folder(video, given, tmp_path):
    """Three good videos, one of them in a sub-folder, and one that is broken; and scores for all."""
    videos, scores = tmp_path / "videos", tmp_path / "scores"
    for name in ("a", "b", "sub/c"):
        (videos / f"{name}.mp4").parent.mkdir(parents=True, exist_ok=True)
        (scores / f"{name}.json").parent.mkdir(parents=True, exist_ok=True)
        (videos / f"{name}.mp4").write_bytes(video.read_bytes())
        (scores / f"{name}.json").write_text(given.read_text())
    (videos / "broken.mp4").write_text("this is text")
    (scores / "broken.json").write_text(given.read_text())
    return videos, scores


def test_a_folder_gets_an_index_and_one_bad_file_does_not_stop_the_rest(kgvad, folder, tmp_path):
    videos, scores = folder
    out = tmp_path / "out"
    done = kgvad(videos, "--scores", scores, "-o", out, "--no-images")
    assert done.returncode == 1  # one failed
    assert done.stdout.strip() == str(out / "index.html")
    assert "broken.mp4" in done.stderr
    for name in ("a", "b", "sub/c"):
        assert (out / f"{name}.html").is_file() and (out / f"{name}.json").is_file()
    index = (out / "index.html").read_text("utf-8")
    assert 'href="sub/c.html"' in index
    assert "could not be analysed" in index
    assert "A person must watch the video" in index  # the limitations of the reports
    assert not (out / "broken.html").exists()


def test_the_manifests_of_a_folder_name_what_each_video_was_explained_from(kgvad, folder, tmp_path):
    videos, scores = folder
    kgvad(videos, "--scores", scores, "-o", tmp_path / "out", "--no-images", "-f", "manifest", "-f", "srt")
    assert (tmp_path / "out/a.srt").is_file()  # the last --format alone counted
    for name, inputs in (("a", ["../scores/a.json"]), ("sub/c", ["../../scores/sub/c.json"])):
        files = json.loads((tmp_path / f"out/{name}.manifest.json").read_text())["files"]
        assert [one["path"] for one in files if one["role"] == "input"] == inputs


def test_what_is_pruned_leaves_the_index(kgvad, folder, tmp_path):
    """Name, time and category of every pruned video stayed there, with links to reports that were gone."""
    videos, scores = folder
    out = tmp_path / "out"
    kgvad(videos, "--scores", scores, "-o", out, "--no-images", "-f", "manifest", "-l", "de")
    (out / "b.html").write_text("edited")  # stays
    prune = ["prune", str(out), "--keep", "0h"]
    assert CliRunner().invoke(app, [*prune, "--dry-run"]).exit_code == 0
    assert 'href="sub/c.html"' in (out / "index.html").read_text("utf-8")
    assert CliRunner().invoke(app, prune).exit_code == 0
    index = (out / "index.html").read_text("utf-8")
    assert re.findall(r'href="([^"#]*\.html)"', index) == ["b.html"] and 'lang="de"' in index
    assert [one["video"] for one in json.loads((out / "index.json").read_text())["entries"]] == ["b", "broken"]


def test_a_second_call_reuses_reports_and_a_changed_video_is_done_again(kgvad, folder, tmp_path):
    videos, scores = folder
    (videos / "broken.mp4").unlink()
    out = tmp_path / "out"
    assert kgvad(videos, "--scores", scores, "-o", out, "--no-images").returncode == 0
    before = (out / "a.html").stat().st_mtime_ns
    write_video(videos / "b.mp4", frames=FRAMES - 16)
    again = kgvad(videos, "--scores", scores, "-o", out, "--no-images")
    assert "2 of 3 reports exist already" in again.stderr
    assert (out / "a.html").stat().st_mtime_ns == before
    other = kgvad(videos, "--scores", scores, "-o", out, "--no-images", "--onset", "0.95")
    assert "exist already" not in other.stderr
    mine = tmp_path / "templates"
    mine.mkdir()
    for text in ("body { color: red }", "body { color: blue }"):  # a changed template makes the reports anew
        (mine / "style.css.j2").write_text(text)
        done = kgvad(videos, "--scores", scores, "-o", out, "--no-images", "--templates", mine)
        assert "exist already" not in done.stderr and text in (out / "a.html").read_text("utf-8")


@pytest.mark.parametrize("form", ["json", "srt"])  # one that is always written, and one that was asked for
def test_a_form_that_was_deleted_is_written_again(kgvad, folder, tmp_path, form):
    videos, scores = folder
    (videos / "broken.mp4").unlink()
    command = (videos, "--scores", scores, "-o", tmp_path / "out", "--no-images", "--format", "srt")
    assert kgvad(*command).returncode == 0
    (tmp_path / "out" / f"a.{form}").unlink()
    assert "2 of 3 reports exist already" in kgvad(*command).stderr
    assert (tmp_path / "out" / f"a.{form}").is_file()


WRONG = {
    "no video": ((), 2, "give a video"),
    "missing": (("nowhere.mp4",), 1, "does not exist"),
    "two formats": (("{video}", "-f", "md", "-f", "json"), 2, "name each report with --output FILE"),
    "unknown format": (("{video}", "-f", "docx"), 2, "not a format"),
    "suffix without format": (("{video}", "-o", "report.xyz"), 2, "names no format"),
    "two outputs of one name": (("{video}", "-o", "r.md", "-o", "r.md"), 2, "another option writes"),
    "thresholds crossed": (("{video}", "--offset", "0.9", "--onset", "0.5"), 2, "offset threshold 0.9"),
    "language": (("{video}", "-l", "xx"), 2, "no phrases"),
    "templates": (("{video}", "--templates", "nowhere"), 2, "not a folder"),
    "scores missing": (("{video}", "--scores", "none.json"), 1, "none.json"),
    "scores of another form": (("{video}", "--scores", "{video}"), 2, "format of scores"),
    "folder without output": (("{folder}",), 2, "--output"),
    "run that is none": (("{video}", "--run", "{folder}"), 1, "not a run"),
    "bank that is none": (("{video}", "--scores", "{scores}", "--anchors", "{scores}"), 1, "build it again"),
    "captions missing": (("{video}", "--captions", "none.json"), 2, "none.json"),
    "open without words": (("{video}", "-e", "efficientnet-lite0", "--open", "a dog"), 2, "add --captions FILE"),
    "run beside scores": (("{video}", "--scores", "{scores}", "--run", "shipped"), 2, "a run would score anew"),
    "open with scores": (("{video}", "--scores", "{scores}", "--open", "a dog"), 2, "leave out --open or --scores"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_one_line_with_its_exit_code(kgvad, monkeypatch, case, video, given, tmp_path):
    arguments, code, words = WRONG[case]
    filled = [a.format(video=video, folder=video.parent, scores=given) for a in arguments]
    monkeypatch.chdir(tmp_path)
    done = kgvad(*filled)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stdout == ""
    assert len([line for line in done.stderr.splitlines() if line != "kgvad: device: cpu"]) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({"scores": []}, "0 scores fit"),
        ({"scores": [0.1, float("nan")]}, "NaN is not a number"),
        ({"scores": [0.1] * 19 + [7]}, "outside 0..1"),
        ({"scores": [0.5] * 400}, "400 scores fit"),
        ({"scores": [0.5] * 20, "alignment": [[1]] * 3, "categories": ["A"]}, "rows"),
    ],
)
def test_wrong_scores_are_one_line(kgvad, scores, words, video, tmp_path):
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(scores))
    done = kgvad(video, "--scores", path)
    assert done.returncode == 1
    assert words in done.stderr and "wrong.json" in done.stderr


def test_an_output_that_cannot_be_written_leaves_what_was_there(kgvad, video, given, tmp_path):
    (tmp_path / "r.md").mkdir()
    done = kgvad(video, "--scores", given, "-o", tmp_path / "r.md")
    assert done.returncode == 1
    assert "r.md" in done.stderr
    assert os.listdir(tmp_path) == ["r.md"]


def test_killed_half_way_nothing_half_written_stays(kgvad, folder, tmp_path):
    videos, scores = folder
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "kgvad",
        "explain",
        "--no-actions",
        str(videos),
        "--scores",
        str(scores),
        "-o",
        str(out),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(out.rglob("*.html")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for page in out.rglob("*.html"):
        if not page.name.startswith("."):
            assert page.read_text("utf-8").endswith("</html>\n")
    for state in out.rglob("*.json"):
        if not state.name.startswith("."):
            json.loads(state.read_text("utf-8"))
    assert kgvad(videos, "--scores", scores, "-o", out).returncode == 1  # broken.mp4, the rest is done
    assert (out / "index.html").is_file()


def test_a_broken_pipe_gives_no_traceback(video, given):
    reader, writer = os.pipe()
    os.close(reader)  # whoever read stdout has gone before the report is written
    command = [sys.executable, "-m", "kgvad", "explain", "--no-actions", str(video), "--scores", str(given)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr and "BrokenPipeError" not in done.stderr


def test_a_name_with_everything_in_it_goes_through(kgvad, video, given, tmp_path):
    name = tmp_path / "<b>a & 'b' \"c\" `d` [e](f) $(g) ä.mp4"
    Path(name).write_bytes(video.read_bytes())
    page = tmp_path / "r.html"
    done = kgvad(name, "--scores", given, "-o", page, "-o", tmp_path / "r.md")
    assert done.returncode == 0, done.stderr
    assert "<b>a" not in page.read_text("utf-8")
    assert "&lt;b&gt;a &amp;" in page.read_text("utf-8")


def test_faces_are_blurred_in_all_that_a_report_carries(kgvad, tmp_path):
    from kgvad.video.write import write_video

    video, given = write_video(tmp_path / "door.mp4", faces.pictures(3), faces.FPS), tmp_path / "door.json"
    given.write_text(json.dumps({"scores": [0.1] * 10 + [0.9] * 12 + [0.1] * 8}))
    made = {}
    for redact in ("--redact", "--no-redact"):
        folder = tmp_path / redact
        done = kgvad(video, "--scores", given, redact, "--clips", folder, "-o", folder / "r.html")
        assert done.returncode == 0, done.stderr
        page = (folder / "r.html").read_text("utf-8")
        found = re.findall(r"data:image/jpeg;base64,([^\"']+)", page)
        shown = [base64.b64decode(one) for one in dict.fromkeys(found)]  # the poster is one of them
        with av.open(str(folder / "door-event-1.mp4")) as container:
            clip = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        made[redact] = page, [np.asarray(Image.open(io.BytesIO(one))) for one in shown], clip
    page, pictures, clip = made["--redact"]
    assert len(pictures) >= 2 and len(clip) >= 10
    for now, was in zip([*pictures, *clip], [*made["--no-redact"][1], *made["--no-redact"][2]], strict=True):
        assert faces.sharpness(now) < 0.4 * faces.sharpness(was)
    assert "<video" not in page and "Faces were blurred where they were found." in page
    page = made["--no-redact"][0]
    assert "<video" in page and "blurred" not in page


def test_a_run_beside_scores_is_refused_in_python_too(video, given):
    with pytest.raises(UsageError, match="a run would score anew; leave out one of them"):
        explain_video(video, scores=given, run="shipped")


def test_the_shipped_run_can_be_named(only_weights, video, kgvad):
    only_weights("efficientnet-lite0")
    with pytest.raises(WeightsError, match="i3d"):
        explain_video(video, run="shipped")
    done = kgvad(video, "--run", "shipped")
    assert done.returncode == 1 and "i3d" in done.stderr
