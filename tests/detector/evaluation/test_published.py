"""Published and measured results, in tables of their own."""

import json

import pytest
from detector_samples import kgvad

from kgvad.detector.evaluation.published import PUBLISHED_METRICS, TRANSFERS, measured, published
from kgvad.errors import UsageError


def evaluation(path, name="ours", dataset="ucf"):
    """A file as ``kgvad evaluate --json`` writes it."""
    figure = {"mean": 0.75, "std": 0.01, "low": 0.7, "high": 0.8}
    names = ("frame_auc", "frame_ap", "ano_auc", "video_auc", "category_top1", "category_top3", "map")
    method = {
        **{"name": name, "detector": "anchor-aligned", "encoder": "c3d", "text": None, "seeds": [0, 1]},
        **{"videos": 227, "abnormal_videos": 94, "categories_present": 11},
        "summary": dict.fromkeys(names, figure),
        "runs": [{"run": "runs/x", "seed": 0, "frame_auc": 0.74}],
    }
    path.write_text(json.dumps({"version": 1, "dataset": dataset, "smooth": 1, "resamples": 9, "methods": [method]}))
    return path


def test_published_results_are_complete_and_plausible():
    for one in published():
        assert any(one.on(dataset) for dataset in PUBLISHED_METRICS), one.name
        for dataset, names in PUBLISHED_METRICS.items():
            assert set(one.on(dataset)) <= set(names) and set(one.note) <= set(PUBLISHED_METRICS), one.name
            assert all(1 < value < 100 for value in one.on(dataset).values()), one.name
    found = {(one.name, one.features): one for one in published() if one.source != "SemVAD"}
    assert found["VadCLIP", "CLIP"].ucf == {"auc": 88.02, "ano_auc": 70.23, "map": 6.68}
    assert found["DSANet", "CLIP"].xd == {"ap": 86.95, "map": 28.87}
    for one in published():
        assert all(set(std) <= set(one.on(dataset)) for dataset, std in one.std.items()), one.name
        assert set(one.iou) <= set(PUBLISHED_METRICS) and set(one.transfer) <= set(TRANSFERS), one.name


def test_means_of_seeds_iou_and_transfer_are_shown_and_sound_stands_apart():
    ucf, xd = (kgvad("results", "--dataset", name) for name in ("ucf", "xd"))
    assert kgvad("results", "--dataset", "UCF", "--dataset", "ucf") == ucf
    assert "87.21 ± 0.46" in ucf and "8.10 ± 1.19" in ucf and "15.49" in ucf
    assert (
        "UCF-Crime to XD-Violence, AP" in ucf
        and "71.66" in ucf
        and "84.66" not in ucf.split("transfer")[1].split("\n\n")[0]
    )
    silent, loud = xd.split("published by others, not run by us, with sound")
    assert "78.64" in loud and "78.64" not in silent


def test_measured_results_are_in_tables_of_their_own(tmp_path):
    shown = kgvad("results", evaluation(tmp_path / "e.json"), "--dataset", "ucf")
    theirs, ours = shown.split("UCF-Crime: measured here")
    assert "published by others, not run by us" in theirs and "VadCLIP" in theirs and "ours" not in theirs
    assert "75.0 ± 1.0" in ours and "VadCLIP" not in ours and "227 test videos, 94 abnormal" in ours
    assert "XD-Violence: " not in shown
    assert "nothing measured here" in kgvad("results", evaluation(tmp_path / "e.json"), "--dataset", "xd")
    with pytest.raises(UsageError, match="no results on 'ucff'; choose one of ucf, xd, shanghaitech"):
        kgvad("results", evaluation(tmp_path / "e.json"), "--dataset", "ucff")


def test_evaluations_are_collected_in_one_file(tmp_path):
    first, second = evaluation(tmp_path / "a.json"), evaluation(tmp_path / "b.json", "theirs", "mine")
    kgvad("results", first, second, "--json", tmp_path / "all.json")
    assert "runs/x" not in (tmp_path / "all.json").read_text()  # single runs stay in their own file
    kgvad("results", tmp_path / "all.json", "--markdown", tmp_path / "all.md")
    text = (tmp_path / "all.md").read_text()
    assert "| ours | 2 | 75.0 ± 1.0<br>[70.0, 80.0] |" in text and "| theirs | 2 |" in text
    assert "mine: measured here" in text and "mine: published" not in text


@pytest.mark.parametrize(
    "content", [None, "", "[]", '{"dataset": "ucf"}', '{"version": 1, "evaluations": [{}]}', "\x00"]
)
def test_a_file_of_another_format_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "e.json").write_text(content)
    with pytest.raises(
        UsageError, match=r"e\.json (is not an evaluation|cannot be read|is not valid JSON|has no version)"
    ) as caught:
        kgvad("results", tmp_path / "e.json")
    assert "\n" not in str(caught.value)


def test_the_bundled_evaluations_can_be_read():
    assert measured().version == 1
    assert "published by others" in kgvad("results")


def test_what_the_bundled_evaluations_do_not_show_is_said_below_each_table(tmp_path):
    kgvad("results", "--dataset", "ucf", "--json", tmp_path / "all.json", "--markdown", tmp_path / "all.md")
    kgvad("results", tmp_path / "all.json", "--dataset", "ucf", "--markdown", tmp_path / "again.md")
    for text in ((tmp_path / "all.md").read_text(), (tmp_path / "again.md").read_text()):
        assert text.count("measured here") == text.count("They are no evidence that a method is better.") == 3
