"""Metrics of weighted snippets equal those over single frames."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from kgvad.detector.evaluation.evaluated_video import match_ground_truth, overlap, pool_snippets
from kgvad.detector.evaluation.frame_metrics import (
    average_precision,
    length_only_baseline,
    measure,
    precision_recall_points,
    roc_auc,
    roc_points,
)
from kgvad.detector.scoring.scores import Scores
from kgvad.errors import ScoresError


def scored(video, values, frames=None, step=16, **more):
    spans = np.arange(len(values) + 1) * step
    return Scores(video, 30.0, frames or int(spans[-1]), np.stack([spans[:-1], spans[1:]], 1), values, **more)


def test_four_frames_by_hand():
    # labels 1 0 1 0: of four pairs three are in order; precision is 1 at the first hit, 2/3 at the next
    scores, positives = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1.0, 0, 1, 0])
    assert roc_auc(scores, positives, 1 - positives) == pytest.approx(3 / 4)
    assert average_precision(scores, positives, 1 - positives) == pytest.approx((1 + 2 / 3) / 2)


def test_ties_count_half():
    assert roc_auc(np.array([0.5, 0.5]), np.array([1.0, 0]), np.array([0, 1.0])) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_weighted_snippets_equal_single_frames(seed):
    random = np.random.default_rng(seed)
    videos, scores, labels = [], [], []
    for number in range(6):
        frames = int(random.integers(40, 400))
        values = random.integers(0, 6, frames // 16) / 5  # many ties
        a, b = sorted(random.integers(0, frames, 2))
        truth = np.zeros(frames, int)
        intervals = [(int(a), int(b) + 1)] if number % 2 else []
        for start, end in intervals:
            truth[start:end] = 1
        one = scored(f"v{number}", values, frames)
        videos.append(match_ground_truth(one, ["x"] if intervals else [], intervals, frames))
        scores.append(one.per_frame())
        labels.append(truth)
    pool = pool_snippets(videos)
    flat, truth = np.concatenate(scores), np.concatenate(labels)
    assert roc_auc(pool.scores, pool.positives, pool.negatives) == pytest.approx(roc_auc_score(truth, flat), abs=1e-9)
    ap = average_precision(pool.scores, pool.positives, pool.negatives)
    assert ap == pytest.approx(average_precision_score(truth, flat), abs=1e-9)
    false_positive_rate, recall, _ = roc_curve(truth, flat, drop_intermediate=False)
    np.testing.assert_allclose(roc_points(pool), (false_positive_rate, recall), atol=1e-9)
    precision, recall, _ = precision_recall_curve(truth, flat)
    np.testing.assert_allclose(precision_recall_points(pool), (precision[::-1], recall[::-1]), atol=1e-9)
    assert (pool.positives + pool.negatives).sum() == len(flat)


def test_overlapping_annotations_count_a_frame_once():
    edges = np.array([0, 10, 20, 35])
    assert overlap(edges, [(5, 15), (12, 22), (13, 14)]).tolist() == [5, 10, 2]
    assert overlap(edges, []).tolist() == [0, 0, 0]


def test_a_length_that_does_not_fit_names_the_video_and_both_lengths():
    with pytest.raises(ScoresError, match=r"Arson009.*48 frames.*50"):
        match_ground_truth(scored("Arson009", [0.1, 0.2, 0.3]), ["Arson"], [(0, 5)], 50)


@pytest.mark.parametrize(("frames", "positives"), [(47, [0, 0, 5]), (49, [0, 0, 7])])
def test_a_mask_that_is_one_frame_off_is_used_and_measured_whole(frames, positives):
    """Decoders disagree about the last frame."""
    one = match_ground_truth(scored("v", [0.1, 0.2, 0.3]), ["x"], [(42, frames)], frames)
    assert one.frame_count == frames and one.positives.tolist() == positives


def test_an_annotation_beyond_the_end_of_the_video_is_cut():
    one = match_ground_truth(scored("v", [0.1, 0.2]), ["x"], [(30, 99), (40, 50), (-4, 3)], 32)
    assert one.intervals == ((0, 3), (30, 32))
    assert one.positives.tolist() == [3, 2]


def test_measure_by_hand():
    names = ["Normal", "A", "B", "C", "D"]

    def evaluated(video, values, labels, intervals, categories):
        one = scored(video, values)
        return match_ground_truth(one, labels, intervals, 32, category_scores=np.array(categories, float))

    videos = [
        evaluated("n", [0.1, 0.2], [], [], [[9, 0, 0, 0, 0]] * 2),
        # the second snippet has nearly all the weight and says A; Normal is larger and is left out
        evaluated("a", [0.0, 0.9], ["A"], [(16, 32)], [[9, 0, 5, 1, 1], [9, 3, 2, 1, 0]]),
        evaluated("d", [0.3, 0.05], ["D"], [(16, 32)], [[0, 4, 3, 2, 1]] * 2),
    ]
    figures = measure(videos, names, 0)
    # positives .9 .05, negatives .1 .2 .0 .3: .9 beats 4, .05 beats 1
    assert figures.frame_auc == pytest.approx(5 / 8)
    assert figures.ano_auc == pytest.approx((2 + 1) / 4)  # negatives .0 .3 only
    assert figures.video_auc == 1.0
    assert (figures.category_top1, figures.category_top3) == (0.5, 0.5)


def test_the_length_only_baseline_ignores_the_scores():
    videos = [
        match_ground_truth(scored("long", [0.9] * 10), [], [], 160),
        match_ground_truth(scored("short", [0.1, 0.2]), ["A"], [(0, 16)], 32),
    ]
    baseline = length_only_baseline(videos)
    assert baseline.frame_auc == pytest.approx((160 + 16 / 2) / 176)  # 16 normal frames are of the same video: ties
    assert (baseline.ano_auc, baseline.video_auc) == (0.5, 1.0)
    assert videos[0].scores.tolist() == pytest.approx([0.9] * 10)


def test_what_cannot_be_computed_is_nan():
    figures = measure([match_ground_truth(scored("n", [0.5]), [], [], 16)])
    assert np.isnan([figures.frame_auc, figures.ano_auc, figures.video_auc, figures.category_top1]).all()
