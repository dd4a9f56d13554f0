"""The pages without a browser: what they show, what they change, and what they refuse."""

import base64
import errno
import html
import io
import json
import os
import re
from pathlib import Path

import faces
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from kgvad.explainers import ExplainRequest
from kgvad.inbox.access import Access
from kgvad.inbox.serve import Server
from kgvad.inbox.training_set import write_training_set
from kgvad.inbox.web import ROWS
from kgvad.session import Session
from kgvad.video.seek import read_frames
from kgvad.video.write import write_video

from .conftest import HOST, explain_all


def client(server, **options):
    return TestClient(server.client, base_url=f"http://{HOST}", follow_redirects=False, **options)


def token(page):
    return re.search(r'name="form_token" value="(\w+)"', page.text)[1]


def video_number(server, name):
    return next(video.id for video in server.library.videos() if video.name == name)


def post(web, address, page="/", **fields):
    return web.post(address, data={"form_token": token(web.get(page))} | fields)


def test_the_list_shows_every_video_with_its_result(inbox):
    page = client(inbox).get("/").text
    assert "door" in page and "yard" in page
    assert "00:00:08" in page  # start of the event
    assert "All videos are explained (2)" in page


def test_a_search_finds_names_first(inbox):
    shown = re.compile(r'<a href="/videos/\d+">([^<]+)</a>')
    for words, found in (("OO", ["door"]), ("o r", ["door"]), ("elephant", [])):
        assert shown.findall(client(inbox).get("/", params={"q": words}).text) == found


def test_a_long_list_has_pages_that_keep_the_filter(inbox):
    for number in range(ROWS):
        inbox.library.add(Path(f"/waiting/{number}.mp4"), f"clip {number:03d}")
    web, shown = client(inbox), re.compile(r'<a href="/videos/\d+">([^<]+)</a>')
    first = web.get("/?show=all&q=&category=").text
    assert len(shown.findall(first)) == ROWS
    assert f"1–{ROWS} / {ROWS + 2}" in first and 'rel="prev"' not in first
    following = html.unescape(re.search(r'rel="next" href="([^"]+)"', first)[1])
    assert shown.findall(web.get(following).text) == ["yard", "door"]
    assert web.get("/?page=77777").text == web.get(following).text
    for wrong in ("0", "-1", "x", "٣", "9" * 5000):
        assert shown.findall(web.get("/", params={"page": wrong}).text) == shown.findall(first)
    assert "rel=" not in web.get("/?show=events").text


def test_a_mark_is_kept_shown_and_exported(inbox):
    web, number = client(inbox), video_number(inbox, "door")
    done = post(web, f"/videos/{number}/marks", f"/videos/{number}", event="1", verdict="right", category="Burglary")
    assert (done.status_code, done.headers["location"]) == (303, f"/videos/{number}#event-1")
    page = web.get(f"/videos/{number}").text
    assert "marked as right: Burglary" in page
    assert '<button name="verdict" value="right" aria-pressed="true">' in page
    (mark,) = web.get("/marks.json").json()["marks"]
    assert (mark["start_s"], mark["end_s"], mark["verdict"], mark["category"]) == (8.0, 12.0, "right", "Burglary")
    assert "door" in web.get("/?show=right").text
    assert "yard" not in web.get("/?show=right").text
    assert "door" not in web.get("/?show=unmarked").text
    post(web, f"/videos/{number}/marks", f"/videos/{number}", event="1", verdict="none")
    assert web.get("/marks.json").json()["marks"] == []


def test_one_category_in_several_spellings_stays_one(inbox):
    """Each spelling became a class of the training set: Robbery and robbery."""
    web, number = client(inbox), video_number(inbox, "door")
    here = f"/videos/{number}"
    given = ["robbery", "Road Accident", "road-accidents", "forklift crash", "Forklift crash", "überfall", "Überfall"]
    for name in given:
        post(web, f"{here}/missed", here, category=name)
    post(web, f"{here}/marks", here, event="1", verdict="right", category="ROBBERY")
    names = {mark["category"] for mark in web.get("/marks.json").json()["marks"]}
    assert names == {"Robbery", "RoadAccidents", "forklift crash", "überfall"}


def test_the_categories_are_in_the_language_of_the_reports(make):
    web = client(make(language="de"))
    page = web.get("/").text
    assert '<option value="Robbery">Raub</option>' in page and ">robbery<" not in page


def test_a_failed_video_has_no_report_to_mark_and_is_not_counted_as_explained(inbox, tmp_path):
    number = inbox.library.add(tmp_path / "gone.mp4", "gone")
    explain_all(inbox)
    web = client(inbox)
    refused = post(web, f"/videos/{number}/marks", f"/videos/{number}", event="1", verdict="right")
    assert refused.status_code == 404 and "there is no report of this video yet" in refused.text
    assert web.get("/status.json").json()["text"] == "2 done · 1 failed"


def test_a_missed_event_is_kept_shown_exported_and_taken_back(inbox):
    web, number = client(inbox), video_number(inbox, "door")
    here = f"/videos/{number}"
    done = post(web, f"{here}/missed", here, category="Arson", start="0:03", end="4,5")
    assert (done.status_code, done.headers["location"]) == (303, f"{here}#missed-1")
    post(web, f"{here}/missed", here, category="Robbery")
    page = web.get(here).text
    assert "<b>Arson</b>" in page and "00:00:03.0 to 00:00:04.5" in page and "<b>Robbery</b>" in page
    marks = web.get("/marks.json").json()["marks"]
    assert [(mark["start_s"], mark["end_s"], mark["verdict"], mark["category"]) for mark in marks] == [
        (None, None, "missed", "Robbery"),
        (3.0, 4.5, "missed", "Arson"),
    ]
    found = web.get("/?show=missed").text
    assert "door" in found and "yard" not in found and "0 / 1 · 2 missed" in found
    assert "door" in web.get("/?show=unmarked").text
    post(web, f"/videos/{video_number(inbox, 'yard')}/missed/1/remove")  # the mark of another video
    post(web, f"{here}/missed/2/remove")
    assert [mark["category"] for mark in web.get("/marks.json").json()["marks"]] == ["Arson"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "category"),
        ({"category": "Normal"}, "category"),
        ({"category": "Arson", "start": "soon"}, "start"),
        ({"category": "Arson", "start": "-1"}, "start"),
        ({"category": "Arson", "end": "4"}, "end"),
        ({"category": "Arson", "start": "4", "end": "0:04"}, "end"),
        ({"category": "Arson", "start": "1:00"}, "ends at 16.0 s"),
    ],
)
def test_a_missed_event_without_category_or_at_an_impossible_time_is_refused(inbox, fields, said):
    web, number = client(inbox), video_number(inbox, "door")
    answer = post(web, f"/videos/{number}/missed", **fields)
    assert (answer.status_code, said in answer.text) == (422, True)
    assert inbox.library.marks() == {}


@pytest.mark.parametrize("category", ["../up", "Normal", "a/b", "x" * 61, "<b>", ".hidden", "Test", "12"])
def test_a_category_that_is_no_name_is_refused(inbox, category):
    web, number = client(inbox), video_number(inbox, "door")
    answer = post(web, f"/videos/{number}/marks", event="1", verdict="right", category=category)
    assert answer.status_code == 422
    assert inbox.library.marks() == {}


def test_a_category_of_the_users_own_folders_is_taken(inbox):
    """Brackets, commas and pictures were refused, also in names that the page had filled in."""
    web, number = client(inbox), video_number(inbox, "door")
    for name in ("Schlägerei 🥊", "Fall (ladder)", "slip, trip"):
        assert post(web, f"/videos/{number}/missed", category=name).status_code == 303
    # what stands in the field of the category is no matter for an event that is wrong
    assert post(web, f"/videos/{number}/marks", event="1", verdict="wrong", category="a/b").status_code == 303
    folder = write_training_set(inbox.library)
    assert sorted(one.name for one in folder.iterdir() if one.is_dir()) == [
        "Fall (ladder)",
        "Normal",
        "Schlägerei 🥊",
        "slip, trip",
    ]


def test_an_event_that_is_not_there_is_refused(inbox):
    number = video_number(inbox, "door")
    assert post(client(inbox), f"/videos/{number}/marks", event="2", verdict="right").status_code == 404
    assert post(client(inbox), "/videos/999/marks", event="1", verdict="right").status_code == 404


def test_an_upload_is_explained_and_removed(inbox, footage):
    web = client(inbox)
    data = (footage[0] / "door.mp4").read_bytes()
    answer = web.post(
        "/videos", data={"form_token": token(web.get("/"))}, files={"files": ("../../door one.mp4", data)}
    )
    assert answer.status_code == 303
    (stored,) = (inbox.library.folder / "videos").iterdir()
    assert stored.name.endswith("-door_one.mp4")
    number = video_number(inbox, "door one.mp4")
    explain_all(inbox)
    assert inbox.library.video(number).state == "failed"  # there are no scores of it
    assert "could not be analysed" in web.get(f"/videos/{number}").text
    post(web, f"/videos/{number}/remove")
    assert not stored.exists()
    assert inbox.library.video(number) is None


def test_removing_a_video_of_a_folder_keeps_its_file(inbox, footage):
    number = video_number(inbox, "door")
    post(client(inbox), f"/videos/{number}/remove")
    assert (footage[0] / "door.mp4").is_file()
    assert not (inbox.library.folder / "reports" / str(number)).exists()


def test_a_file_that_is_no_video_is_refused_and_not_kept(inbox):
    web = client(inbox)
    answer = web.post("/videos", data={"form_token": token(web.get("/"))}, files={"files": ("a.mp4", b"<script>" * 99)})
    assert answer.status_code == 422
    assert "a.mp4" in answer.text
    assert list((inbox.library.folder / "videos").iterdir()) == []


def test_one_file_that_is_no_video_does_not_stop_the_others(inbox, footage):
    web = client(inbox)
    data = (footage[0] / "door.mp4").read_bytes()
    files = [("files", (name, content)) for name, content in {"a.mp4": b"", "b.mp4": data, "c.txt": b"x"}.items()]
    answer = web.post("/videos", data={"form_token": token(web.get("/"))}, files=files)
    assert answer.status_code == 422
    alerts = re.findall(r'role="alert">(.*?)</p>', answer.text)
    assert [alert.split()[0] for alert in alerts] == ["a.mp4", "c.txt"]
    assert inbox.library.video(video_number(inbox, "b.mp4")).uploaded


def test_an_upload_is_never_served_as_a_page(inbox, footage):
    """A video with markup behind it is a video; by the name it was given it would be a page of the inbox."""
    web = client(inbox)
    data = (footage[0] / "door.mp4").read_bytes() + b"<script>alert(document.domain)</script>"
    web.post("/videos", data={"form_token": token(web.get("/"))}, files={"files": ("door.html", data)})
    answer = web.get(f"/videos/{video_number(inbox, 'door.html')}/file")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert web.get(f"/videos/{video_number(inbox, 'door')}/file").headers["content-type"] == "video/mp4"


@pytest.mark.parametrize("address", ["/nowhere", "/videos/a", f"/videos/{10**30}", "/videos/-1", "/videos/999"])
def test_an_address_that_is_not_there_is_one_line(inbox, address):
    answer = client(inbox).get(address)
    assert answer.status_code in (404, 422)
    assert re.fullmatch(r"kgvad: .+\n", answer.text)


def test_a_full_disk_is_said_on_the_page(inbox, footage, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    web, data = client(inbox), (footage[0] / "door.mp4").read_bytes()
    fields = {"form_token": token(web.get("/"))}
    for place in (Path, "starlette.datastructures.UploadFile"):  # where videos are kept; where an upload arrives
        with monkeypatch.context() as patched:
            patched.setattr(*((place, "open") if place is Path else (f"{place}.write",)), full)
            answer = web.post("/videos", data=fields, files={"files": ("b.mp4", data)})
        assert answer.status_code in (422, 500)
        assert "No space left on device" in answer.text and "free space" in answer.text, place
    assert list((inbox.library.folder / "videos").iterdir()) == []


def test_reports_can_be_downloaded(inbox):
    number = video_number(inbox, "door")
    for form, start in {"html": "<!doctype html>", "json": "{", "md": "# ", "csv": ""}.items():
        answer = client(inbox).get(f"/videos/{number}/report.{form}")
        assert answer.text.startswith(start)
        assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''door.{form}"
    assert client(inbox).get(f"/videos/{number}/report.exe").status_code == 404


def test_only_the_downloaded_page_is_called_self_contained(inbox):
    web, here = client(inbox), f"/videos/{video_number(inbox, 'door')}"
    assert "This file is self-contained" not in web.get(here).text and "Served by kgvad" in web.get(here).text
    assert "This file is self-contained" in web.get(f"{here}/report.html").text


def test_a_part_of_a_video_can_be_read(inbox):
    number = video_number(inbox, "door")
    answer = client(inbox).get(f"/videos/{number}/file", headers={"Range": "bytes=0-99"})
    assert (answer.status_code, len(answer.content)) == (206, 100)


@pytest.mark.parametrize(
    "path", ["/videos/1/../../inbox.sqlite", "/videos/%2e%2e/file", "/..%2finbox.sqlite", "/videos/a/file"]
)
def test_paths_lead_nowhere_else(inbox, path):
    answer = client(inbox).get(path)
    assert answer.status_code in (404, 422)
    assert b"SQLite" not in answer.content


def test_hostile_names_are_text(inbox, footage, tmp_path):
    inbox.library.add(tmp_path / "x.mp4", '<img src=x onerror="alert(1)">')
    page = client(inbox).get("/?q=%3Cscript%3E&category=%22%3E%3Cb%3E&show=x").text
    assert "<script>alert" not in page and "<img" not in page and '"><b>' not in page


def test_german_pages(make):
    assert '<html lang="de">' in (page := client(make(language="de")).get("/").text)
    assert "Noch kein Video." in page


def test_the_inbox_shows_no_face_and_explains_again_what_it_did_without_blurring(tmp_path):
    (tmp_path / "videos").mkdir()
    video = write_video(tmp_path / "videos" / "door.mp4", faces.pictures(3), faces.FPS)
    before = video.read_bytes()
    (tmp_path / "door.json").write_text(json.dumps({"scores": [0.1] * 10 + [0.9] * 12 + [0.1] * 8}))
    request = ExplainRequest(scores=tmp_path, videos=tmp_path / "videos", actions=False)
    shown = {}
    for redact in (False, True):
        with Session(explaining=True, redact=redact) as session:
            server = Server(session, request, tmp_path / "inbox")
            server.client = server.app(Access(frozenset({"localhost"}), None, 1 << 20))
            server.library.add(video, "door")
            web = client(server)
            if redact:  # nothing of the earlier report is shown
                assert server.library.counts() == {"waiting": 1} and web.get("/videos/1/file").status_code == 404
            explain_all(server)
            page = web.get("/videos/1").text
            pictures = [base64.b64decode(one) for one in re.findall(r"data:image/jpeg;base64,([^\"']+)", page)]
            (tmp_path / "shown.mp4").write_bytes(web.get("/videos/1/file").content)
            frames = read_frames(tmp_path / "shown.mp4", [0, 10, 20, 29]).values()
            shown[redact] = [*frames, *(np.asarray(Image.open(io.BytesIO(one))) for one in pictures)]
            server.library.close()
    assert len(shown[True]) == len(shown[False]) > 5
    assert all(
        faces.sharpness(now) < 0.4 * faces.sharpness(was) for now, was in zip(shown[True], shown[False], strict=True)
    )
    assert video.read_bytes() == before


def test_closing_breaks_off_the_blurring_of_a_video_which_is_done_at_the_next_start(tmp_path):
    (tmp_path / "videos").mkdir()
    video = write_video(tmp_path / "videos" / "door.mp4", faces.pictures(3), faces.FPS)
    (tmp_path / "door.json").write_text(json.dumps({"scores": [0.1] * 10 + [0.9] * 12 + [0.1] * 8}))
    request = ExplainRequest(scores=tmp_path, videos=tmp_path / "videos", actions=False)
    with Session(explaining=True, redact=True) as session:
        server = Server(session, request, tmp_path / "inbox")
        server.library.add(video, "door")
        server.worker.stop()
        server.worker.explain(server.library.take())
        row = server.library.video(1)
        assert (row.state, row.tries) == ("waiting", 0)
        assert list((tmp_path / "inbox" / "reports" / "1").glob("*.mp4")) == []
        server.library.close()
