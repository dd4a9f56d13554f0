"""mAP@IoU by intervals equals the definition with sets of frames."""

import gzip
import json

import numpy as np
import pytest
from detector_samples import evaluated_video, map_by_sets

from kgvad.detector.data.annotations import read_truth
from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo, match_ground_truth
from kgvad.detector.evaluation.frame_metrics import measure
from kgvad.detector.evaluation.temporal_map import temporal_iou, temporal_map
from kgvad.detector.scoring.scores import Scores

NAMES = ("Normal", "A", "B")


def random_videos(seed, videos=8):
    random = np.random.default_rng(seed)
    scored = []
    for number in range(videos):
        edges = np.concatenate([[0], np.cumsum(random.integers(1, 40, int(random.integers(2, 12))))])
        events = []
        if number % 3:
            cuts = np.sort(random.choice(int(edges[-1]), min(4, int(edges[-1])), replace=False))
            events = [(NAMES[1 + number % 2], int(a), int(b)) for a, b in cuts[: len(cuts) // 2 * 2].reshape(-1, 2)]
        scored.append(evaluated_video(f"v{number}", edges, random.normal(size=(len(edges) - 1, 3)) * 2, events))
    return scored


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("mode", "whole"), [("legacy", False), ("legacy", True), ("corrected", False)])
def test_intervals_equal_sets_of_frames(seed, mode, whole):
    scored = random_videos(seed)
    found = temporal_map(scored, NAMES, 0, mode, normal_has_events=whole)
    assert found.maps == pytest.approx(map_by_sets(scored, NAMES, mode, whole), abs=1e-9)


def test_temporal_iou():
    assert temporal_iou((0, 10), (5, 15)) == pytest.approx(5 / 15)
    assert temporal_iou((0, 5), (5, 9)) == 0


def test_one_video_by_hand():
    # B has no event, so corrected leaves it out. A: one run, frames 16..48, the event is 16..32: IoU 1/2
    logits = [[0, -9, 0], [0, 9, 0], [0, 9, 0], [0, -9, 0]]
    found = temporal_map([evaluated_video("v", [0, 16, 32, 48, 64], logits, [("A", 16, 32)])], NAMES, 0)
    assert found.maps == (100, 100, 100, 100, 100)
    found = temporal_map([evaluated_video("v", [0, 16, 32, 48, 64], logits, [("A", 40, 48)])], NAMES, 0)
    assert found.by_category["A"] == (100, 100, 0, 0, 0)  # IoU 1/4


def test_events_of_one_category_that_overlap_count_once():
    logits = [[0, -9, 0], [0, 9, 0], [0, 9, 0], [0, -9, 0]]
    one = evaluated_video("v", [0, 16, 32, 48, 64], logits, [("A", 16, 40), ("A", 30, 48)])
    assert temporal_map([one], NAMES, 0).maps == (100, 100, 100, 100, 100)
    assert temporal_map([one], NAMES, 0, "legacy").by_category["A"] == (50, 50, 50, 50, 50)


def test_legacy_is_zero_when_a_class_has_no_proposal():
    flat = evaluated_video("v", [0, 16, 32], [[0, 1, 2], [0, 1, 2]], [("A", 0, 16)])
    assert temporal_map([flat], NAMES, 0, "legacy").maps == (0, 0, 0, 0, 0)


def perfect(truth, names):
    """Scores that follow the annotation exactly."""
    scored = []
    for video in truth.split("test"):
        known = truth.videos[video]
        events = known.events or tuple((known.labels[0], *span) for span in known.intervals if known.labels)
        events = tuple((n, s, min(e, known.frame_count)) for n, s, e in events if s < known.frame_count)
        spans = tuple((s, min(e, known.frame_count)) for s, e in known.intervals if s < known.frame_count)
        edges = np.unique(
            [0, known.frame_count, *(v for _, s, e in events for v in (s, e)), *(v for s in spans for v in s)]
        )
        logits = np.zeros((len(edges) - 1, len(names)))
        scores = np.zeros(len(edges) - 1)
        logits[:, 0] = 20
        for name, start, end in events:
            inside = (edges[:-1] >= start) & (edges[:-1] < end)
            logits[inside, 0] = 0
            logits[inside, names.index(name)] = 40
        for start, end in spans:
            scores[(edges[:-1] >= start) & (edges[:-1] < end)] = 1
        scored.append(EvaluatedVideo(video, known.labels, scores, edges, spans, logits, events))
    return scored


def test_perfect_scores_on_ucf_crime(shared):
    truth = read_truth("ucf", shared / "data" / "ucf")
    scored = perfect(truth, truth.categories)
    figures = measure(scored, truth.categories, 0)
    assert (figures.frame_auc, figures.frame_ap, figures.ano_auc, figures.video_auc) == (1, 1, 1, 1)
    assert figures.category_top1 == 1
    assert temporal_map(scored, truth.categories, 0).maps == pytest.approx([100] * 5)
    assert temporal_map(scored, truth.categories, 0, "legacy").maps == pytest.approx([100 * 13 / 14] * 5)


def test_perfect_scores_on_xd_violence_and_shanghaitech(shared):
    truth = read_truth("xd", shared / "data" / "xd")
    scored = perfect(truth, truth.categories)
    figures = measure(scored, truth.categories, 0)
    assert (figures.frame_auc, figures.frame_ap, figures.ano_auc) == (1, 1, 1)
    assert len(scored) == 800 and temporal_map(scored, truth.categories, 0).maps == pytest.approx([100] * 5)
    truth = read_truth("shanghaitech", shared / "data" / "shanghaitech")
    scored = perfect(truth, truth.categories)
    assert measure(scored, truth.categories, 0).frame_auc == 1
    assert temporal_map(scored, truth.categories, 0).maps == pytest.approx([100] * 5)


def test_random_scores_on_ucf_crime_find_a_tenth_of_a_percent(shared):
    """The authors' routine was measured at .098, .029, .013, .006, .003 percent on random scores."""
    truth = read_truth("ucf", shared / "data" / "ucf")
    random = np.random.default_rng(0)
    scored = []
    for video in truth.split("test"):
        known = truth.videos[video]
        edges = np.append(np.arange(0, known.frame_count - 15, 16), known.frame_count)
        events = tuple((known.labels[0], *span) for span in known.intervals if known.labels)
        scored.append(evaluated_video(video, edges, random.uniform(size=(len(edges) - 1, 14)), events, known.labels))
    found = temporal_map(scored, truth.categories, 0, "legacy")
    assert found.maps == pytest.approx((0.1, 0.03, 0.014, 0.006, 0.003), abs=0.01)


def test_published_scores_of_a_language_model_give_the_known_figures(shared):
    """A training-free method's raw scores: .712 frame AUC and .629 Ano-AUC against these frame labels."""
    truth = read_truth("ucf", shared / "data" / "ucf")
    with gzip.open(shared / "data" / "scores" / "ucf_test_llm_scores.json.gz", "rt") as file:
        published = json.load(file)
    scored = []
    for video in truth.split("test"):
        known = truth.videos[video]
        frames = sorted((int(frame), score) for frame, score in published[video].items())
        starts = [frame for frame, _ in frames if frame < known.frame_count]
        spans = list(zip(starts, [*starts[1:], known.frame_count], strict=True))
        one = Scores(video, 30.0, known.frame_count, spans, np.clip([s for f, s in frames[: len(starts)]], 0, 1))
        scored.append(match_ground_truth(one, known.labels, known.intervals, known.frame_count))
    figures = measure(scored)
    assert figures.frame_auc == pytest.approx(0.712, abs=0.002)
    assert figures.ano_auc == pytest.approx(0.629, abs=0.002)
