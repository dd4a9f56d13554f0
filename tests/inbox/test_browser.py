"""The inbox in a real browser: keys alone, phone width, no script errors, nothing serious for axe."""

import shutil
import threading

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from detector_samples import kgvad
from playwright import sync_api
from square_video import write_video

from kgvad.inbox.access import Access
from kgvad.inbox.library import Mark

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)")


@pytest.fixture
def address(inbox):
    app = inbox.app(Access(frozenset({"127.0.0.1"}), None, 1 << 20))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found = browser.new_page(viewport={"width": 1280, "height": 900})
        found.errors = []
        found.on("console", lambda message: found.errors.append(message.text) if message.type == "error" else None)
        found.on("pageerror", lambda error: found.errors.append(str(error)))
        yield found
        browser.close()


def test_a_wrong_alarm_is_marked_with_keys_alone(inbox, address, page):
    page.goto(address)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/videos/*")
    page.keyboard.press("j")
    page.keyboard.press("w")
    page.wait_for_selector("text=marked as wrong")
    assert [mark.verdict for marks in inbox.library.marks().values() for mark in marks] == ["wrong"]
    page.keyboard.press("x")
    page.wait_for_selector("text=marked as wrong", state="detached")
    assert inbox.library.marks() == {}
    page.keyboard.press("u")
    page.wait_for_url(address + "/")
    page.keyboard.press("j")  # on from the video that was reviewed
    assert page.get_attribute("tr.current", "data-href") == "/videos/1"
    page.keyboard.press("/")
    page.keyboard.type("door")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=door*")
    assert page.errors == []


def test_a_missed_event_is_marked_and_taken_back_with_keys_alone(inbox, address, page):
    page.goto(address + "/videos/1")
    page.keyboard.press("m")
    page.keyboard.type("Arson")
    page.keyboard.press("Tab")
    page.keyboard.type("soon")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.validity.patternMismatch")
    page.keyboard.press("Control+a")
    page.keyboard.type("0:03")
    page.keyboard.press("Enter")
    page.wait_for_selector(".missed.current >> text=Arson")
    assert [(mark.verdict, mark.start_s) for mark in inbox.library.marks()[1]] == [("missed", 3.0)]
    page.keyboard.press("x")
    page.wait_for_selector(".missed", state="detached")
    assert inbox.library.marks() == {}
    assert page.errors == []


def test_a_search_says_that_it_is_getting_ready_and_goes_on_by_itself(inbox, address, page, monkeypatch):
    monkeypatch.setattr("kgvad.inbox.search.Searcher.is_loading", True)
    page.goto(address + "/?q=door")
    page.wait_for_selector("text=is getting ready")
    monkeypatch.setattr("kgvad.inbox.search.Searcher.is_loading", False)
    page.wait_for_selector("text=is getting ready", state="detached")
    assert page.errors == []


def test_a_finished_report_does_not_take_chosen_files_away(inbox, address, page, footage, tmp_path):
    """The page loads itself again when a report is finished, which would also break off an upload."""
    number = inbox.library.add(tmp_path / "late.mp4", "late")
    page.goto(address)
    page.set_input_files("#files", footage[0] / "door.mp4")
    inbox.library.take()
    inbox.library.fail(number, "damaged")
    page.wait_for_selector("#progress:has-text('1 failed')")
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_selector("text=door.mp4")
    assert page.errors == []


def test_what_is_refused_has_a_way_back(inbox, address, page):
    page.goto(address + "/videos/1")
    page.fill("input[name=category]", "<b>")
    page.get_by_role("button", name="Right").click()
    assert page.evaluate("document.querySelector('input[name=category]').validity.patternMismatch")
    page.fill("input[name=category]", "Schlägerei 🥊 (Hof)")
    assert not page.evaluate("document.querySelector('input[name=category]').validity.patternMismatch")
    page.fill("input[name=category]", "Normal")  # only the server refuses this
    page.get_by_role("button", name="Right").click()
    page.wait_for_selector("h1:has-text('other than Normal')")
    page.get_by_role("link", name="Inbox").click()
    page.wait_for_url(address + "/")


def test_four_clicks_lead_from_a_wrong_alarm_to_the_training_command(inbox, address, page):
    page.goto(address)
    page.get_by_role("link", name="door").click()
    page.get_by_role("button", name="Wrong").click()
    page.get_by_role("link", name="Training set").click()
    page.get_by_role("button", name="Write the training set").click()
    assert "kgvad train --dataset" in page.inner_text("pre")
    assert list((inbox.library.folder / "training" / "Normal").iterdir())


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_pages_fit_and_are_accessible(inbox, address, page, width):
    axe = Axe()
    inbox.library.mark(1, Mark(3.0, 5.0, "missed", "RoadAccidents"))
    page.set_viewport_size({"width": width, "height": 844})
    for path in ("/", "/videos/1", "/training", "/?q=x"):
        page.goto(address + path)
        found = axe.run(page).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert page.errors == []


def test_names_in_the_index_of_a_folder_are_sorted_by_their_numbers(tmp_path, page):
    for folder in ("videos", "scores"):
        (tmp_path / folder).mkdir()
    for number in (1, 2, 10):
        write_video(tmp_path / "videos" / f"cam {number}.mp4")
        (tmp_path / "scores" / f"cam {number}.csv").write_text("frame,score\n0,0.1\n")
    kgvad("explain", tmp_path / "videos", "--scores", tmp_path / "scores", "--no-actions", "--output", tmp_path / "out")
    page.goto((tmp_path / "out" / "index.html").as_uri())
    for expected in (["cam 1", "cam 2", "cam 10"], ["cam 10", "cam 2", "cam 1"]):
        page.click("#reports thead button >> nth=0")
        rows = page.query_selector_all("#reports tbody tr")
        assert [row.inner_text().partition("\t")[0] for row in rows] == expected
    assert page.errors == []
