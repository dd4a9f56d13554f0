"""``kgvad.explain_video`` and what it returns."""

import html
import json
import re

import numpy as np
import pytest
import torch
from anchors_samples import TABLE
from training_samples import config, samples, train

import kgvad
from kgvad.video.write import write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Four seconds of noise with scores of another program: an event in the middle."""
    folder = tmp_path_factory.mktemp("clip")
    write_video(folder / "clip.mp4", np.random.default_rng(0).integers(0, 256, (96, 48, 64, 3), np.uint8), 24)
    (folder / "scores.json").write_text(json.dumps({"scores": [0.1, 0.1, 0.9, 0.9, 0.1, 0.1]}))
    return folder / "clip.mp4"


@pytest.fixture(scope="module")
def result(clip):
    return kgvad.explain_video(clip, scores=clip.with_name("scores.json"), actions=False)


def test_the_result_has_report_scores_and_pictures(result):
    [event] = result.report.events
    assert (event.start_s, event.end_s) == pytest.approx((32 / 24, 64 / 24), abs=1e-3)
    assert len(result.scores.scores) == 6
    assert {frame.frame for frame in event.key_frames} == set(result.pictures)
    assert all(picture.startswith(b"\xff\xd8") for picture in result.pictures.values())
    assert result.info.frame_count == 96


def test_strings_and_paths_give_the_same(clip, result):
    again = kgvad.explain_video(str(clip), scores=str(clip.with_name("scores.json")), actions=False, images=False)
    assert again.report.events == result.report.events and not again.pictures
    (clip.parent / "own.toml").write_text(TABLE)
    options = {"scores": clip.with_name("scores.json"), "actions": False, "images": False}
    assert kgvad.explain_video(clip, dataset=clip.parent / "own.toml", **options).report.events == again.report.events


def test_one_category_is_not_taken_letter_by_letter(clip, monkeypatch):
    """``categories="dog"`` added the categories d, o and g."""
    asked = []

    def build(session, request, thresholds):
        asked.append(request.queries)
        raise kgvad.KgvadError("stop")

    monkeypatch.setattr("kgvad.explainers.build_explainer", build)
    for given in ("dog", ["dog"]):
        with pytest.raises(kgvad.KgvadError, match="stop"):
            kgvad.explain_video(clip, categories=given)
    assert asked == [("dog",), ("dog",)]


def test_save_takes_the_format_from_the_suffix(result, tmp_path):
    assert result.save(str(tmp_path / "r.html")) == tmp_path / "r.html"
    assert "data:image/jpeg;base64," in (tmp_path / "r.html").read_text("utf-8")
    result.save(tmp_path / "r.json")
    assert kgvad.Report.read(tmp_path / "r.json").events == result.report.events
    result.save(tmp_path / "r.txt", form="csv")
    assert (tmp_path / "r.txt").read_text().startswith("video,event,")
    with pytest.raises(kgvad.KgvadError, match="its suffix names no format"):
        result.save(tmp_path / "r.xyz")


def test_save_does_not_replace_the_video(result, clip):
    before = clip.read_bytes()
    with pytest.raises(kgvad.KgvadError, match="is one of the inputs"):
        result.save(clip, form="md")
    assert clip.read_bytes() == before


def test_save_does_not_replace_the_scores(result, clip):
    scores = clip.with_name("scores.json")
    before = scores.read_bytes()
    with pytest.raises(kgvad.KgvadError, match=r"scores\.json is one of the inputs"):
        result.save(scores)
    assert scores.read_bytes() == before


def test_an_unknown_language_is_an_error_before_the_analysis():
    with pytest.raises(kgvad.KgvadError, match="language: Input should be 'en' or 'de'"):
        kgvad.explain_video("no-such-video.mp4", language="fr")


def test_the_language_is_kept_for_every_format(clip, tmp_path):
    german = kgvad.explain_video(clip, scores=clip.with_name("scores.json"), actions=False, language="de")
    assert "Ein anomales Ereignis" in german.render()
    assert "One abnormal event" in german.render(language="en")


def test_a_notebook_shows_the_page_in_a_frame(result):
    shown = result._repr_html_()
    [page] = re.findall(r'<iframe [^>]*srcdoc="([^"]*)"></iframe>', shown)
    assert html.unescape(page) == result.render("html")


def test_thresholds_can_be_given(clip):
    strict = kgvad.Thresholds(onset=0.95)
    assert not kgvad.explain_video(clip, scores=clip.with_name("scores.json"), thresholds=strict).report.events


def test_without_video_and_scores_there_is_one_clear_error():
    with pytest.raises(kgvad.KgvadError, match="neither a video nor scores were given"):
        kgvad.explain_video()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(samples(dim=4), config(dim=4), tmp_path_factory.mktemp("run") / "run")


ENTRY = kgvad.VideoEntry(frame_count=80, fps=25.0, rows=5)


@pytest.mark.parametrize("form", [list, torch.Tensor.numpy, torch.Tensor.double, torch.Tensor.bfloat16, None])
def test_features_may_be_any_array_of_numbers(run, tmp_path, form):
    x = torch.tensor([[row, 1, 0, row % 2] for row in range(5)], dtype=torch.float32)
    given = x.requires_grad_() if form is None else x.tolist() if form is list else form(x)
    expected = kgvad.score_features(run, x.detach().numpy(), ENTRY, video="v")
    np.testing.assert_array_equal(kgvad.score_features(run, given, ENTRY, video="v").scores, expected.scores)
    store = kgvad.FeatureStore.create(tmp_path, kgvad.Manifest(encoder="e", dim=4))
    store.add("v", given, ENTRY)
    np.testing.assert_array_equal(store.load("v"), x.detach().numpy())


@pytest.mark.parametrize("given", ["abc", None, [[1, 2], [3]], np.full((5, 4), "a"), {"v": 1}])
def test_features_that_are_no_numbers_are_refused(run, tmp_path, given):
    with pytest.raises(kgvad.KgvadError, match=r"^v: the features are (of type|not an array)"):
        kgvad.score_features(run, given, ENTRY, video="v")
    store = kgvad.FeatureStore.create(tmp_path, kgvad.Manifest(encoder="e", dim=4))
    with pytest.raises(kgvad.KgvadError, match=r"^features of v are (of type|not an array)"):
        store.add("v", given, ENTRY)


def test_devices_are_those_of_the_command_line(run):
    assert kgvad.Run.load(run.folder, "auto").fingerprint == run.fingerprint
    for load in (lambda: kgvad.Run.load(run.folder, "gpu"), lambda: kgvad.load_text_encoder("minilm", "gpu")):
        with pytest.raises(kgvad.KgvadError, match=r"--device gpu: .*; use auto, cpu, cuda, cuda:1 or mps"):
            load()
