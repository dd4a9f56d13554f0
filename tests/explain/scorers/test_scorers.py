"""Reports by every scorer, from video to file: a run, a joint encoder, captions, features with scores."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from anchors_samples import TABLE, checkpoint
from detector_samples import kgvad
from training_samples import config, samples, train

from kgvad.anchors.bank import AnchorBank
from kgvad.detector.api import Recipe
from kgvad.errors import FeatureError, RunError, UsageError
from kgvad.explain.report import Report
from kgvad.explain.scorers.stored_features import StoredFeatureScorer
from kgvad.video.feature_store import FeatureStore, Manifest, VideoEntry


def write_video(path, side, frames=160):
    """Eight seconds of grey; a white square of ``side`` pixels (0: none) jumps about from 2.4 to 5.6 s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"crf": "30", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(frames):
            picture = np.full((64, 96, 3), 100 + 5 * (index // 40), np.uint8)
            if 48 <= index < 112:
                picture[20 : 20 + side, index * 37 % 70 :][:, :side] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder dataset: one category and Normal."""
    folder = tmp_path_factory.mktemp("shop") / "shop"
    for number in range(3):
        write_video(folder / "Fighting" / f"fight{number}.mp4", 12 + 10 * number)
        write_video(folder / "Normal" / f"calm{number}.mp4", 0)
    return folder


def explained(*arguments, output):
    kgvad("explain", *arguments, "--no-actions", "--no-images", "--output", output)
    return Report.from_json(output.read_text("utf-8"))


def test_a_trained_run_names_shows_evidence_and_similar_training_moments(weights, shop, tmp_path):
    weights("efficientnet-lite0")
    weights("minilm-l6")
    run = tmp_path / "run"
    kgvad("extract", shop, "--encoder", "efficientnet-lite0", "--output", tmp_path / "features", "--workers", 1)
    given = ("--dataset", shop, "--encoder", "efficientnet-lite0", "--features", tmp_path / "features")
    kgvad("train", *given, "--epochs", 2, "--run", run)
    video = shop / "Fighting" / "fight0.mp4"
    report = explained(video, "--run", run, "--onset", 0.02, "--dataset", "ucf", output=tmp_path / "r.json")
    assert report.method.trained and report.method.names_categories == "yes"
    event = report.events[0]
    assert [category.name for category in event.categories] == ["Fighting"]
    assert event.similar[0].video == "Fighting/fight0"
    said = " ".join(sentence.text for sentence in report.sentences)
    assert "The only available category is fighting." in said and "fighting (100%)" not in said
    assert f"“Fighting/fight0” (fighting), 00:00:0{int(event.similar[0].start_s)}" in said
    assert "The detector was trained on 6 videos only." in said
    german = kgvad("explain", video, "--run", run, "--onset", 0.02, "--no-actions", "--language", "de")
    assert "Der Detektor wurde mit nur 6 Videos trainiert." in german and "trained on" not in german
    assert "Ähnliche Ereignisse in den Trainingsvideos" in german
    # stored features give the same report, also where there is only the name of a video
    stored = ("--run", run, "--onset", 0.02, "--dataset", "ucf", "--features", tmp_path / "features")
    for name in (video, "Fighting/fight0"):
        same = explained(name, *stored, output=tmp_path / "s.json")
        assert same.curve.score == pytest.approx(report.curve.score, abs=2e-3)  # stores keep 16 bits
        assert [(e.start_s, e.end_s, e.similar[0].video) for e in same.events] == [
            (event.start_s, event.end_s, "Fighting/fight0")
        ]
    with pytest.raises(FeatureError, match="has no features of Fighting/fight9"):
        kgvad("explain", "Fighting/fight9", *stored)
    write_video(tmp_path / "Fighting" / "fight0.mp4", 0, frames=100)
    with pytest.raises(FeatureError, match=r"are of 160 frames, .* has 100"):
        kgvad("explain", tmp_path / "Fighting" / "fight0.mp4", *stored)
    # a category that nobody trained stands beside the others, in text and in the drawing of categories
    options = ("--open", "a dog bites | a <b>man</b>", "--save-scores", tmp_path / "o.npz")
    opened = explained(video, *stored, *options, output=tmp_path / "o.json")
    assert {c.name for c in opened.events[0].categories} == {"Fighting", "a dog bites | a <b>man</b>"}
    assert "a dog bites | a <b>man</b>" in opened.category_curves.categories
    assert "Added by the user, not learned from any video" in " ".join(s.text for s in opened.sentences)
    again = ("--scores", tmp_path / "o.npz", "--anchors", tmp_path / "o.anchors.safetensors", "--onset", 0.02)
    assert explained(*again, output=tmp_path / "p.json").events[0].evidence == opened.events[0].evidence


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    """A tiny CLIP with random weights, and a bank of its text side."""
    folder = tmp_path_factory.mktemp("joint")
    model = checkpoint("clip", folder / "clip")
    (folder / "tiny.toml").write_text(TABLE)
    kgvad("build-anchors", "--dataset", folder / "tiny.toml", "--encoder", model, "--output", folder / "bank")
    return model, next(folder.glob("bank*")), folder / "tiny.toml"


def test_a_joint_encoder_names_categories_without_training(joint, shop, tmp_path):
    model, bank, table = joint
    video = shop / "Fighting" / "fight0.mp4"
    given = ("--encoder", model, "--anchors", bank, "--dataset", table, "--onset", 0.05)
    report = explained(video, *given, output=tmp_path / "r.json")
    assert report.method.names_categories == "hint" and report.method.encoder == "clip"
    event = report.events[0]
    assert {category.name for category in event.categories} == {"Robbery", "Arson"}
    assert sum(category.probability for category in event.categories) == pytest.approx(1, abs=1e-3)
    assert report.method.knowledge.fingerprint == AnchorBank.load(bank).fingerprint
    assert "hint_only" in report.limitations and "pixels_only" not in report.limitations


def test_features_name_the_categories_of_given_scores(joint, shop, tmp_path):
    model, bank, table = joint
    kgvad("extract", shop / "Fighting", "--encoder", model, "--output", tmp_path / "features", "--workers", 1)
    scores = tmp_path / "fight0.json"
    scores.write_text(json.dumps({"scores": [0.1] * 3 + [0.9] * 4 + [0.1] * 3, "fps": 20, "frame_count": 160}))
    alone = explained("--scores", scores, output=tmp_path / "alone.json")
    assert alone.method.names_categories == "no" and not alone.events[0].categories
    given = ("--scores", scores, "--anchors", bank, "--dataset", table, "--features", tmp_path / "features")
    report = explained(*given, output=tmp_path / "r.json")
    assert report.method.names_categories == "hint" and len(report.events[0].categories) == 2
    said = [sentence.text for sentence in report.sentences if sentence.place == "notes"]
    assert said == ["Categories were added by comparing clip features with the anchors."]
    # the same features with the scorer of kgvad: the same alignment, so the same shares where the event is the same
    kept = tmp_path / "kept.json"
    explained(
        *(shop / "Fighting" / "fight0.mp4", "--encoder", model, "--anchors", bank, "--dataset", table),
        *("--save-scores", kept),
        output=tmp_path / "own.json",
    )
    own = json.loads(kept.read_text())
    rows = np.array(own["alignment"])[3:7]
    weight = np.exp(rows.mean(axis=0)[:2] / 0.05)
    by_name = dict(zip(own["categories"], weight / weight.sum(), strict=False))
    for category in report.events[0].categories:
        assert category.probability == pytest.approx(by_name[category.name], abs=2e-3)


def test_features_that_do_not_fit_are_refused(joint, shop, tmp_path):
    model, bank, table = joint
    FeatureStore.create(tmp_path / "f", Manifest(encoder="c3d", dim=4))
    scores = tmp_path / "fight0.json"
    scores.write_text(json.dumps({"scores": [0.1] * 3 + [0.9] * 7, "fps": 20, "frame_count": 160}))
    given = ("explain", "--scores", scores, "--anchors", bank, "--dataset", table)
    with pytest.raises(FeatureError, match="share no space"):
        kgvad(*given, "--features", tmp_path / "f" / "c3d")
    with pytest.raises(UsageError, match="--features needs --run or --scores"):
        kgvad("explain", shop / "Fighting" / "fight0.mp4", "--features", tmp_path / "f")
    kgvad("extract", shop / "Normal", "--encoder", model, "--output", tmp_path / "g", "--workers", 1)
    with pytest.raises(FeatureError, match="has no features of fight0"):
        kgvad(*given, "--features", tmp_path / "g")


def test_captions_of_a_folder_of_videos(weights, shop, tmp_path):
    weights("efficientnet-lite0")
    weights("minilm-l6")
    quiet, loud = "a quiet street with parked cars", "two men are fighting and punching each other"
    captions = {
        f"fight{number}": {str(16 * i): loud if 3 <= i < 7 else quiet for i in range(10)} for number in range(2)
    }
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    given = ("--encoder", "efficientnet-lite0", "--captions", tmp_path / "captions.json", "--onset", 0.02)
    from typer.testing import CliRunner

    from kgvad.cli import app

    words = ["explain", shop / "Fighting", *given, "--no-actions", "--no-images", "--output", tmp_path / "reports"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 1, "the third video has no captions"
    state = json.loads((tmp_path / "reports" / "index.json").read_text())
    failed = [entry["video"] for entry in state["entries"] if entry["page"] is None]
    assert failed == ["fight2"] and "no captions of 'fight2'" in state["entries"][2]["reason"]
    report = Report.from_json((tmp_path / "reports" / "fight0.json").read_text())
    assert report.events[0].categories[0].name == "Fighting" and report.events[0].caption in (loud, quiet)
    assert (tmp_path / "reports" / "index.html").read_text().count("fight") >= 3


def test_a_run_on_captions_explains_a_video_from_its_captions(weights, shop, tmp_path, caplog):
    weights("efficientnet-lite0")
    weights("minilm-l6")
    features, run = tmp_path / "features", tmp_path / "run"
    kgvad("extract", shop, "--encoder", "efficientnet-lite0", "--output", features, "--workers", 1)
    calm, fight = ({"0": "people walk", "48": text, "112": "people walk"} for text in ("people stand", "two men fight"))
    videos = {f"{kind}{n}": one for kind, one in (("Fighting/fight", fight), ("Normal/calm", calm)) for n in range(3)}
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps(videos))
    kgvad("features", "import", captions, "--to", features / "efficientnet-lite0", "--text-encoder", "minilm")
    given = ("--dataset", shop, "--encoder", "minilm-text", "--features", features, "--detector", "anchor-text")
    kgvad("build-anchors", "--dataset", shop, "--encoder", "minilm", "--output", tmp_path / "bank.safetensors")
    anchors = ("--anchors", tmp_path / "bank.safetensors")
    kgvad("train", *given, *anchors, "--epochs", 2, "--threshold-folds", 0, "--run", run)
    assert "cannot score video here" not in caplog.text
    video = shop / "Fighting" / "fight0.mp4"
    both = ("--run", run, "--captions", captions, "--onset", 0.02)
    live = explained(video, *both, output=tmp_path / "live.json")
    stored = explained(video, *both, "--features", features, output=tmp_path / "stored.json")
    assert live.method.trained and live.events
    for one, other in zip(live.events, stored.events, strict=True):  # the store rounds to float16
        assert (one.start_s, one.end_s, one.caption) == (other.start_s, other.end_s, other.caption)
        assert one.mean_score == pytest.approx(other.mean_score, abs=2e-3)
    with pytest.raises(RunError, match="reads captions; give them with --captions FILE, or their store: --features"):
        kgvad("explain", video, "--run", run)
    store = FeatureStore.create(tmp_path / "other", Manifest(encoder="minilm-text", dim=384, temporal="by hand"))
    for name in (names := FeatureStore.open(features, "minilm-text")).ids():
        store.add(name, names.load(name), names.info(name))
    (tmp_path / "other/dataset.json").write_bytes((features / "dataset.json").read_bytes())
    given = ("--dataset", shop, "--encoder", "minilm-text", "--features", tmp_path / "other")
    again = ("train", *given, *anchors, "--detector", "anchor-text", "--epochs", 1, "--threshold-folds", 0)
    kgvad(*again, "--run", tmp_path / "run2")
    with pytest.raises(RunError, match="was trained on captions that were embedded in another way"):
        kgvad("explain", video, "--run", tmp_path / "run2", "--captions", captions)


def test_stored_features_with_named_columns_give_the_terms_of_the_decision(tmp_path):
    """As the same run gives them of the video itself."""
    manifest = Manifest(encoder="toy", dim=12, columns=[f"action {number}" for number in range(12)])
    features = np.random.default_rng(3).normal(size=(20, 12)).astype(np.float16)
    store = FeatureStore.create(tmp_path / "store", manifest)
    store.add("v", features, VideoEntry(frame_count=320, fps=25.0, rows=20))
    settings = config(
        detector="additive",
        options={},
        categories=("Normal", "Arson", "Fighting"),
        dim=12,
        columns=manifest.columns,
        features_fingerprint=store.fingerprint,
        recipe=Recipe(epochs=1),
    )
    run = train(samples(dim=12, kinds=3), settings, tmp_path / "run")
    scored = StoredFeatureScorer(run, store).score(Path("v"))
    assert scored.terms.columns == tuple(manifest.columns)
    weights = np.full(20, 1 / 20)
    expected = run.detector.contributions(torch.from_numpy(features.astype(np.float32)), torch.full((20,), 1 / 20))
    np.testing.assert_allclose(scored.terms.over(weights), expected.detach().numpy(), rtol=1e-5)
