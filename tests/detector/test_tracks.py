"""``benchmarks/tracks.py`` on a small dataset: tables from stored runs, learning curves, transfer, duplicates."""

import json

import graph_worth
import numpy as np
import pytest
import track_runs
import track_tables
import tracks
from detector_samples import kgvad, make_archive
from toy_bank import toy_bank

from kgvad.anchors.bank import AnchorBank
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """``run(*options)`` of benchmarks/tracks.py: stdout and stderr."""
    folder = tmp_path / "all"
    (folder / "stores").mkdir(parents=True)
    (folder / "stores" / "times.json").write_text("{}")
    kgvad("features", "import", make_archive(tmp_path), "--dataset", "ucf", "--output", folder / "stores" / "c3d")
    toy_bank().save(tmp_path / "bank.safetensors")

    def run(*options):
        command = ["tracks.py", tmp_path, folder, "--bank", tmp_path / "bank.safetensors", "--tracks", "c3d"]
        command += ["--methods", "sultani", "sultani, tuned", "--resamples", "20", "--seeds", "2", *options]
        monkeypatch.setattr("sys.argv", list(map(str, command)))
        tracks.main()
        return capsys.readouterr()

    return run


@pytest.mark.slow
def test_tables_are_rebuilt_from_stored_runs_without_training(run, tmp_path, caplog):
    assert run("--tables", "main").out == "" and "no run of sultani; train it with --train" in caplog.text
    tuned = tmp_path / "all" / "tuned" / "c3d"
    tuned.mkdir(parents=True)
    (tuned / "sultani.json").write_text(json.dumps({"detector": "sultani", "recipe": {"epochs": 1}}))
    first = run("--train").out
    assert "| sultani, tuned | 2 |" in first and "| sultani | 2 |" in first
    assert "Difference from" in first
    curves = first.split("curves")[1].split("##")[0]
    assert [f"| {share} % | sultani | 2 |" in curves for share in (10, 25, 50, 100)] == [True] * 4
    assert "Arson" in first.split("transfer")[1] and "0 groups of identical videos" in first
    again = run()
    assert again.out == first and "training" not in again.err
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- tracks: c3d main -->\nold\n<!-- end -->\n\nkept\n")
    run("--tables", "main", "--docs", page)
    text = page.read_text()
    assert "| sultani | 2 |" in text and "old" not in text and text.endswith("<!-- end -->\n\nkept\n")


def truth_of(tmp_path):
    from kgvad.detector.data.annotations import read_truth

    make_archive(tmp_path)
    return read_truth("ucf", tmp_path)


def test_shares_are_nested_and_keep_every_category(tmp_path):
    truth = truth_of(tmp_path)
    videos = list(truth.videos)
    small, large = (track_runs.with_share(truth, share, videos) for share in (0.1, 0.5))
    train = [set(one.split("train")) for one in (small, large)]
    assert train[0] < train[1] < set(truth.split("train"))
    assert {truth.videos[video].labels for video in train[0]} == {("Arson",), ("Fighting",), ()}
    assert (len(train[0]), len(train[1])) == (3, 6)
    assert small.split("test") == truth.split("test")


def test_halves_share_no_category_and_keep_the_normal_videos(tmp_path):
    truth = truth_of(tmp_path)
    assert track_runs.halves(truth, list(truth.videos)) == (("Arson",), ("Fighting",))
    left = track_runs.with_categories(truth, ["Arson"], "train")
    assert {left.videos[video].labels for video in left.split("train")} == {("Arson",), ()}
    assert left.split("test") == truth.split("test")
    assert track_runs.without_videos(truth, truth.split("test")[:1]).split("test") == truth.split("test")[1:]


def test_captions_of_frames_become_snippets_with_their_labels():
    class Words:
        def encode(self, texts):
            return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    entry = {"captions": [["ab", 20], ["abcd", 13]], "labels": [[0, 18], [1, 15]], "n": 33}
    vectors, positive, negative = track_tables.caption_video(entry, Words())
    assert (positive.tolist(), negative.tolist()) == ([0, 14, 1], [16, 2, 0])
    mean = np.array([(4 * 2 + 12 * 4) / 16, 1.0])
    np.testing.assert_allclose(vectors[1], mean / np.linalg.norm(mean), rtol=1e-6)


def test_identical_videos_are_listed_by_their_features(tmp_path):
    from track_data import list_duplicates

    truth = truth_of(tmp_path)
    train, test = truth.split("train")[0], truth.split("test")[0]
    store = FeatureStore.create(tmp_path / "store", Manifest(encoder="toy", dim=2))
    for number, video in enumerate((train, test, truth.split("train")[1])):
        rows = np.full((3, 2), float(number // 2), np.float32)
        store.add(video, rows, VideoEntry(frame_count=48, fps=30, rows=3))
    groups, across = list_duplicates(store, truth)
    assert groups == across == [sorted([train, test])]


def test_sources_of_anchors_differ_in_the_concepts_of_abnormal_categories_only():
    toy = toy_bank()
    concepts = [
        toy.concepts[index].model_copy(update={"relation": relation})
        for index, relation in ((0, "label"), (0, "cue"), (1, "label"), (1, "P279"), (1, "cue"), (2, "label"))
    ]
    vectors = np.eye(64, dtype=np.float32)[:6]
    tensors = {
        "anchors": toy.anchors,
        "concept_vectors": vectors,
        "concept_category": np.array([0, 0, 1, 1, 1, 2]),
        "concept_weight": np.ones(6, np.float32),
    }
    bank = AnchorBank(toy.header.model_copy(update={"concepts": concepts}), tensors)
    for source, count in (("labels", 1), ("facts", 2), ("facts and cues", 3)):
        made = graph_worth.selected(bank, source)
        assert np.bincount(made.concept_category).tolist() == [2, count, 1]
        np.testing.assert_allclose(made.anchors[1], vectors[2 : 2 + count].sum(0) / count**0.5, rtol=1e-6)


def test_ranks_become_percentages():
    assert graph_worth._cell([[0, 1, 3, 0], [0, 0, 0, 5]]) == "62.5 ± 17.7/75.0"
