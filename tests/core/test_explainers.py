"""The choice of the source of scores: what is named must fit, what is not named is passed over with the reason."""

import json
from types import SimpleNamespace

import pytest
from detector_samples import kgvad, make_archive, train

from kgvad.detector.data.inputs import open_store
from kgvad.detector.run import Run
from kgvad.detector.shipped import UCF_ACTIONS
from kgvad.errors import RunError, UsageError
from kgvad.explain.manifest import Manifest
from kgvad.explain.scorers.from_video import CaptionScorer, RunScorer, TrainingFreeScorer
from kgvad.explain.scorers.score_files import ScoreFileScorer
from kgvad.explain.scorers.stored_features import StoredFeatureScorer
from kgvad.explainers import CANDIDATES, ExplainRequest, build_explainer, choose_scorer
from kgvad.session import Session
from kgvad.video.encoders.base import load_visual_encoder


@pytest.fixture(scope="module")
def c3d(tmp_path_factory):
    """A tiny run on C3D features, which kgvad cannot compute from a video, and the store of the features."""
    folder = tmp_path_factory.mktemp("c3d")
    kgvad("features", "import", make_archive(folder), "--dataset", "ucf", "--output", folder / "features")
    train(folder / "features", folder / "run")
    return folder


@pytest.fixture
def default_run(c3d):
    """The same run in the default place."""
    place = Session(dataset="ucf").run_folder
    place.parent.mkdir(parents=True)
    place.symlink_to(c3d / "run")
    return place


def test_the_order_of_the_candidates():
    names = [candidate.__name__ for candidate in CANDIDATES]
    assert names == ["_score_file", "_named_run", "_default_run", "_captions", "_shipped_run", "_training_free"]


def test_a_file_of_scores_comes_first(tmp_path):
    session = Session(dataset="ucf", run=tmp_path / "no run at all")
    assert isinstance(choose_scorer(session, ExplainRequest(scores=tmp_path / "s.json")), ScoreFileScorer)


def test_a_named_run_must_fit(c3d):
    with Session(dataset="ucf", run=c3d / "run") as session:
        with pytest.raises(RunError, match=r"trained on imported features, which kgvad cannot compute from a video"):
            choose_scorer(session, ExplainRequest())
        scorer = choose_scorer(session, ExplainRequest(features=c3d / "features"))
    assert isinstance(scorer, StoredFeatureScorer)
    scored = scorer.score(scorer.store.root / "Arson000_x264")
    assert scored.info is None and len(scored.scores.scores) == len(scored.features)


def test_an_encoder_that_the_user_named_is_not_replaced_by_that_of_a_run(c3d):
    with Session(dataset="ucf", run=c3d / "run") as session:
        with pytest.raises(UsageError, match=r"reads imported features, and --encoder i3d scores without a run; leave"):
            choose_scorer(session, ExplainRequest(encoder="i3d", features=c3d / "features"))
        given = ExplainRequest(encoder="imported", features=c3d / "features")
        assert isinstance(choose_scorer(session, given), StoredFeatureScorer)


def test_a_default_run_that_does_not_fit_is_passed_over_with_the_reason(weights, default_run, capsys):
    weights("i3d-k400")
    with Session(dataset="ucf", device="cpu") as session:
        scorer = choose_scorer(session, ExplainRequest())
    assert isinstance(scorer, RunScorer) and scorer.run.folder == UCF_ACTIONS
    said = capsys.readouterr().err
    assert "the default run does not fit" in said and "trained on imported features" in said


def test_without_its_weights_the_shipped_run_gives_way_to_change_of_pixels(only_weights, capsys):
    only_weights("efficientnet-lite0")
    with Session(dataset="ucf", device="cpu") as session:
        assert isinstance(choose_scorer(session, ExplainRequest()), TrainingFreeScorer)
    assert "the shipped run needs I3D" in capsys.readouterr().err


def test_footage_without_movement_is_not_for_the_shipped_run(weights, capsys):
    weights("efficientnet-lite0")
    with Session(dataset="ucf", device="cpu") as session:
        assert isinstance(choose_scorer(session, ExplainRequest(stride=1)), TrainingFreeScorer)
    assert "shows no movement" in capsys.readouterr().err


def test_the_shipped_run_is_small_and_fits_the_encoder_of_kgvad(weights):
    weights("i3d-k400")
    assert sum(path.stat().st_size for path in UCF_ACTIONS.iterdir()) < 1_000_000
    run = Run.load(UCF_ACTIONS)
    encoder = load_visual_encoder("i3d-actions")
    assert run.config.features_fingerprint == encoder.fingerprint and run.config.columns == encoder.columns
    assert (UCF_ACTIONS / "MODEL_CARD.md").is_file() and 0 < run.thresholds.onset < 1


def test_stored_features_are_scored_by_the_default_run(c3d, default_run):
    with Session(dataset="ucf") as session:
        assert isinstance(choose_scorer(session, ExplainRequest(features=c3d / "features")), StoredFeatureScorer)


def test_a_named_encoder_means_scoring_without_training(weights, default_run, capsys):
    weights("efficientnet-lite0")
    with Session(dataset="ucf", device="cpu") as session:
        scorer = choose_scorer(session, ExplainRequest(encoder="efficientnet-lite0"))
    assert isinstance(scorer, TrainingFreeScorer) and scorer.bank is None
    assert "default run" not in capsys.readouterr().err


def test_captions_come_before_pixels_alone(weights, tmp_path):
    weights("efficientnet-lite0")
    weights("minilm-l6")
    (tmp_path / "c.json").write_text('{"0": "a man walks"}')
    with Session(dataset="ucf", device="cpu") as session:
        scorer = choose_scorer(session, ExplainRequest(captions=tmp_path / "c.json"))
        assert isinstance(scorer, CaptionScorer)
        assert scorer.text_encoder is session.text_encoder(scorer.bank.encoder.source)  # loaded once


def test_features_without_a_run_or_scores_are_refused(tmp_path):
    with pytest.raises(UsageError, match="--features needs --run or --scores"):
        choose_scorer(Session(dataset="ucf"), ExplainRequest(features=tmp_path))


def test_the_configured_cache_and_device_are_used(tmp_path, monkeypatch, weights):
    """Items of --open are looked up in the store of the settings, and encoders go to its device."""
    weights("efficientnet-lite0")
    weights("minilm-l6")
    monkeypatch.setenv("KGVAD_STORE", f"sqlite:///{tmp_path}/mine.sqlite")
    monkeypatch.setenv("KGVAD_DEVICE", "cpu")
    (tmp_path / "c.json").write_text('{"0": "a man walks"}')
    request = ExplainRequest(captions=tmp_path / "c.json", queries=("Q45393",))
    with Session(dataset="ucf") as session:
        explainer = build_explainer(session, request)
    assert (tmp_path / "mine.sqlite").is_file()
    assert explainer.recogniser.device == "cpu"
    assert explainer.scorer.bank.categories[-1] not in ("Q45393", "")


def test_scores_of_a_folder_are_found_by_the_path_inside_it(tmp_path):
    for name in ("a.json", "sub/b.mp4.csv"):
        (tmp_path / "scores" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "scores" / name).write_text(json.dumps({"scores": [0.5], "fps": 1}))
    videos = tmp_path / "videos"
    scorer = ScoreFileScorer(tmp_path / "scores", load_bank=SimpleNamespace, videos=videos)
    assert scorer.file_of(videos / "a.mp4") == tmp_path / "scores" / "a.json"
    assert scorer.file_of(videos / "sub" / "b.mp4") == tmp_path / "scores" / "sub" / "b.mp4.csv"
    with pytest.raises(UsageError, match="has no scores for sub/c"):
        scorer.file_of(videos / "sub" / "c.mp4")


def test_a_named_dataset_without_a_run_says_why_the_shipped_run_is_not_used(weights, capsys):
    weights("efficientnet-lite0")
    with Session(dataset="xd", device="cpu") as session:
        assert isinstance(choose_scorer(session, ExplainRequest()), TrainingFreeScorer)
    assert "xd has no run that scores this video" in capsys.readouterr().err


def test_added_categories_without_something_that_names_them_are_refused_without_naming_an_encoder_nobody_chose(weights):
    with pytest.raises(UsageError, match="--open adds categories, and the video alone names none") as error:
        build_explainer(Session(), ExplainRequest(queries=("umbrella",)))
    assert "efficientnet" not in str(error.value)
    with pytest.raises(UsageError, match="and --encoder i3d names none"):
        build_explainer(Session(), ExplainRequest(encoder="i3d", queries=("umbrella",)))


def test_a_manifest_lists_the_files_of_its_video_and_not_the_whole_store(c3d, tmp_path):
    """It listed all arrays and the lock of the store; from 201 files on it listed none."""
    store = open_store(c3d / "features", "c3d-sports1m")
    video, other = store.ids()[:2]
    captions = tmp_path / "captions"
    for name in (video, other):
        (captions / f"{name}.json").parent.mkdir(parents=True, exist_ok=True)
        (captions / f"{name}.json").write_text(json.dumps({"0": "a man walks"}))
    for number in range(250):
        (captions / f"more{number}.json").write_text("{}")
    report, manifest = tmp_path / "r.json", tmp_path / "r.manifest.json"
    given = ("--features", c3d / "features", "--run", c3d / "run", "--captions", captions)
    kgvad("explain", video, *given, "-o", report, "-o", manifest)
    listed = {(tmp_path / one.path).resolve() for one in Manifest.read(manifest).files if one.role == "input"}
    assert {store.path(video), store.root / "manifest.json", captions / f"{video}.json"} <= listed
    run = {path for path in (c3d / "run").rglob("*") if path.is_file()}
    assert len(listed) == 3 + len(run) and run <= listed
