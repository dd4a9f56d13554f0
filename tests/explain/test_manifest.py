"""Manifests of reports: written beside them, verified, and the only leave to delete old files."""

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from explain_samples import bank, report_on, scores, terms
from typer.testing import CliRunner

from kgvad.cli import app
from kgvad.errors import ReportError, UsageError
from kgvad.explain.explanation import Explanation
from kgvad.explain.manifest import Manifest, age, expired, manifest_of, verify
from kgvad.explain.rendering import pdf
from kgvad.explain.rendering.writers import Outputs

LATER = datetime.now(timezone.utc) + timedelta(days=40)


@pytest.fixture
def folder(tmp_path):
    """Reports with a manifest, an input, and a file of somebody else."""
    made = scores(names="yes", trained=True)
    report = report_on(made, bank=bank())
    pictures = {frame.frame: bytes([n]) * 50 for n, frame in enumerate(report.events[0].key_frames)}
    (tmp_path / "scores.csv").write_text("x")
    (tmp_path / "notes.html").write_text("mine")
    outputs = Outputs([tmp_path / "out" / name for name in ("r.html", "r.json", "r.manifest.json")], None)
    outputs.write(Explanation(report, made, pictures), None, [tmp_path / "scores.csv"])
    return tmp_path / "out"


def states(folder):
    return {(one.role, one.name): one.state for one in verify(manifest_of(folder / "r.html"))}


def test_everything_matches_until_something_changes(folder):
    found = states(folder)
    assert set(found.values()) == {"ok"}
    assert {role for role, _ in found} == {"input", "report", "picture"}
    (folder.parent / "scores.csv").write_text("y")
    (folder / "r.json").unlink()
    page = (folder / "r.html").read_text()
    (folder / "r.html").write_text(page.replace("base64,AA", "base64,AB", 1))
    found = states(folder)
    assert found["input", "../scores.csv"] == "changed" and found["report", "r.json"] == "missing"
    assert found["report", "r.html"] == "changed" and "missing" in {v for (k, _), v in found.items() if k == "picture"}


@pytest.mark.parametrize(("run", "listed"), [("runs/mine", {"runs/mine/config.json"}), (None, {"bank.safetensors"})])
def test_only_the_run_or_the_bank_that_the_report_was_made_with_is_an_input(tmp_path, monkeypatch, run, listed):
    monkeypatch.chdir(tmp_path)
    inputs = [Path("runs/mine"), Path("runs/other"), Path("bank.safetensors")]
    for place in inputs[:2]:
        place.mkdir(parents=True)
        (place / "config.json").write_text("{}")
    inputs[2].write_bytes(b"x")
    made = scores(names="yes", trained=run is not None, run=run)
    Outputs([Path("r.json"), Path("r.manifest.json")], None).write(
        Explanation(report_on(made, bank=bank()), made), None, inputs
    )
    assert {one.path for one in Manifest.read(Path("r.manifest.json")).files if one.role == "input"} == listed


def test_the_command_says_it_and_fails(folder):
    run = lambda: CliRunner().invoke(app, ["verify", str(folder / "r.json")], prog_name="kgvad")  # noqa: E731
    result = run()
    assert result.exit_code == 0 and "ok\treport\tr.html" in result.stdout
    (folder / "r.html").write_text("other")
    result = run()
    assert result.exit_code == 1 and "changed\treport\tr.html" in result.stdout


def test_faults_are_one_line(folder, tmp_path):
    (tmp_path / "alone.html").write_text("x")
    with pytest.raises(ReportError, match=r"no manifest alone\.manifest\.json"):
        manifest_of(tmp_path / "alone.html")
    nul = (folder / "r.manifest.json").read_text().replace('"path": "', '"path": "\\u0000')
    nothing = json.dumps(json.loads((folder / "r.manifest.json").read_text()) | {"files": []})
    for text in ("", "[]", "{}", '{"schema_version": "9.9"}', "\x00", nul, nothing):
        (tmp_path / "bad.manifest.json").write_text(text)
        with pytest.raises(ReportError, match="not a manifest"):
            Manifest.read(tmp_path / "bad.manifest.json")
    with pytest.raises(UsageError, match="beside it"):
        Outputs([tmp_path / "r.manifest.json"], None)
    for form in ("pdf", "manifest"):
        with pytest.raises(UsageError, match="needs a file"):
            Outputs([], form)


def test_a_report_that_its_manifest_does_not_list_is_not_verified(folder):
    (folder / "r.pdf").write_text("forged")
    with pytest.raises(ReportError, match=r"does not list r.pdf and proves nothing about it; write both in one"):
        manifest_of(folder / "r.pdf")
    with pytest.raises(ReportError, match="out is a folder; name a report in it"):
        manifest_of(folder)
    assert verify(manifest_of(folder / "r.manifest.json"))


def test_reports_may_be_kept_for_longer_than_dates_reach(folder):
    assert expired(folder, age("999999w"), LATER).delete == ()


def test_only_what_kgvad_wrote_and_nobody_changed_expires(folder):
    (folder / "notes.html").write_text("mine")
    assert expired(folder, age("30d")).delete == ()
    found = expired(folder, age("30d"), LATER)
    assert {path.name for path in found.delete} == {"r.html", "r.json", "r.manifest.json"} and found.stay == ()
    (folder / "r.json").write_text("changed by hand")
    found = expired(folder, age("30d"), LATER)
    assert {path.name for path in found.delete} == {"r.html"}  # the manifest stays with what stays
    assert {path.name for path in found.stay} == {"r.json"}


def test_a_forged_manifest_reaches_nothing_outside(folder, tmp_path):
    from kgvad.files import sha256

    secret = tmp_path / "secret.txt"
    secret.write_text("s")
    (folder / "link.html").symlink_to(secret)
    about = json.loads((folder / "r.manifest.json").read_text())
    entry = {"role": "report", "sha256": sha256(secret), "bytes": 1}
    about["files"] = [entry | {"path": path} for path in ("../secret.txt", str(secret), "link.html")]
    (folder / "f.manifest.json").write_text(json.dumps(about))
    (folder / "g.manifest.json").symlink_to(secret)
    found = expired(folder, age("0h"), LATER)
    assert not {"secret.txt", "link.html", "g.manifest.json"} & {path.name for path in found.delete}


def test_prune_lists_without_deleting_and_then_deletes(folder):
    run = lambda *more: CliRunner().invoke(app, ["prune", str(folder), "--keep", "0h", *more], prog_name="kgvad")  # noqa: E731
    listed = run("--dry-run").stdout
    assert (folder / "r.html").exists() and listed.count("\n") == 3
    assert run().stdout == listed
    assert [path.name for path in folder.iterdir()] == []
    assert (folder.parent / "notes.html").exists() and (folder.parent / "scores.csv").exists()


def test_prune_says_why_it_deletes_nothing(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "a.md").write_text("a report without a manifest")
    found = CliRunner().invoke(app, ["prune", str(tmp_path), "--keep", "0h"], prog_name="kgvad")
    assert found.exit_code == 0 and (tmp_path / "a.md").is_file()
    assert f"nothing to delete: {tmp_path} has no manifest older than 0h" in caplog.text + found.output


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5d", "1y", "9999999d"])
def test_ages_that_are_none(text):
    with pytest.raises(UsageError, match="not a duration"):
        age(text)
    assert age("4w") == timedelta(days=28)


def test_pdf_without_a_browser_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "BROWSERS", ("no-such-browser",))
    with pytest.raises(ReportError, match="no browser is installed"):
        Outputs([tmp_path / "r.pdf"], None)
    monkeypatch.setenv(pdf.VARIABLE, "false")
    with pytest.raises(ReportError, match=r"did not print the report \(exit code 1\)"):
        pdf.write_pdf(tmp_path / "r.pdf", "<p>x</p>")
    assert not (tmp_path / "r.pdf").exists()


def test_a_browser_prints_the_report(tmp_path):
    try:
        pdf.find_browser()
    except ReportError as error:
        pytest.skip(str(error))
    made = scores(names="yes", trained=True)
    Outputs([tmp_path / "r.pdf"], None).write(Explanation(report_on(made, bank=bank()), made, {}))
    data = (tmp_path / "r.pdf").read_bytes()
    assert data.startswith(b"%PDF") and len(data) > 10_000


def test_a_printed_report_hides_nothing_that_paper_cannot_unfold(tmp_path, monkeypatch):
    """The hash of the video, the versions and the terms of an unclear category were folded away in the PDF."""
    pages = []
    monkeypatch.setattr("kgvad.explain.rendering.writers.find_browser", lambda: "chromium")
    monkeypatch.setattr("kgvad.explain.rendering.writers.write_pdf", lambda path, page: pages.append(page))
    made = scores(names="yes", trained=True)
    unclear = replace(made, alignment=np.zeros_like(made.alignment))
    known = bank(concept_vectors=np.eye(15, dtype=np.float32))
    report = report_on(unclear, bank=known, terms=terms())
    Outputs([tmp_path / "r.pdf", tmp_path / "r.html"], None).write(Explanation(report, made))
    screen = (tmp_path / "r.html").read_text("utf-8")
    folded, kept = re.findall(r"<details[^>]*>", screen), re.findall(r"<details[^>]*>", pages[0])
    assert folded == ["<details>"] * (len(folded) - 1) + ['<details class="all-scores">'] and len(folded) > 2
    assert kept == ["<details open>"] * (len(folded) - 1) + ['<details class="all-scores">']
