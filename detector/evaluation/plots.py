"""Plots of an evaluation: ROC and precision-recall curves, bars by category, score curves over the ground truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kgvad.detector.evaluation.evaluated_video import EvaluatedVideo, Floats, pool_snippets
from kgvad.detector.evaluation.frame_metrics import precision_recall_points, roc_auc, roc_points
from kgvad.detector.evaluation.report import Evaluation, Method
from kgvad.errors import KgvadError, UsageError
from kgvad.files import replacing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = np.linspace(0, 1, 201)
# safe for colour-blind readers (Okabe and Ito 2008); lines also differ in their dashes
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
STYLE: Any = {  # matplotlib types each key
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "axes.edgecolor": "#888888",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "kgvad",  # equal plots give equal files
}
NO_DATE: dict[str, dict[str, None]] = {"svg": {"Date": None}, "png": {"Software": None}}


def draw_plots(evaluation: Evaluation, folder: Path, videos: Sequence[str] = ()) -> list[Path]:
    """Draw all plots into ``folder``, each as SVG and PNG, and return the files.

    Parameters
    ----------
    videos
        Whose score curves are drawn; default: :func:`representative_videos`.

    Raises
    ------
    UsageError
        A video is not a test video.
    KgvadError
        matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise KgvadError("plots need matplotlib", "pip install 'kgvad[figures]'") from None
    chosen = dict.fromkeys(videos, "") or representative_videos(evaluation.methods[0])
    known = [one.video for one in evaluation.methods[0].videos[0]]
    for name in chosen:
        if name not in known:
            raise UsageError(f"--video {name} is not a test video", f"known: {', '.join(known[:3])}, ...")
    drawings: dict[str, Callable[[Figure], None]] = {
        "roc": lambda figure: _curves(figure, evaluation, _roc, "false positive rate", "recall", chance=True),
        "precision-recall": lambda figure: _curves(figure, evaluation, _precision, "recall", "precision", chance=False),
        "categories": lambda figure: _categories(figure, evaluation),
        "scores": lambda figure: _scores(figure, evaluation, chosen),
    }
    if not any(one.positives.any() for one in evaluation.methods[0].videos[0]):
        drawings = {name: draw for name, draw in drawings.items() if name == "scores"}  # the others are over frames
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context(STYLE):
        for name, draw in drawings.items():
            figure = Figure(layout="constrained")
            draw(figure)
            for form in ("svg", "png"):
                path = folder / f"{name}.{form}"
                with replacing(path) as temporary:
                    figure.savefig(temporary, format=form, dpi=150, metadata=NO_DATE[form], bbox_inches="tight")
                written.append(path)
    return written


def representative_videos(method: Method) -> dict[str, str]:
    """Test videos from the best to the worst result of a method, with the reason why each was chosen.

    Abnormal videos, by the frame AUC within the video: the best two, the median and the worst. Normal videos, by the
    video score: the highest and the median.
    """
    within, normal = {}, {}
    for seeds in zip(*method.videos, strict=True):
        one, score = seeds[0], np.mean([seed.scores for seed in seeds], axis=0)
        if not one.abnormal:
            normal[one.video] = float(np.mean([seed.video_score for seed in seeds]))
            continue
        auc = roc_auc(score, one.positives.astype(np.float64), one.negatives.astype(np.float64))
        if np.isfinite(auc):
            within[one.video] = auc
    found: dict[str, str] = {}
    ranked = sorted(within, key=lambda name: -within[name])
    for place, words in ((0, "best"), (1, "second best"), (len(ranked) // 2, "median"), (-1, "worst")):
        if ranked:
            found.setdefault(ranked[place], f"{words}, AUC {within[ranked[place]]:.2f} within the video")
    ranked = sorted(normal, key=lambda name: -normal[name])
    for place, words in ((0, "highest scores of a normal video"), (len(ranked) // 2, "median of the normal videos")):
        if ranked:
            found.setdefault(ranked[place], words)
    return found


def _roc(videos: Sequence[EvaluatedVideo]) -> Floats:
    false_positive_rate, recall = roc_points(pool_snippets(videos))
    return np.asarray(np.interp(GRID, false_positive_rate, recall))


def _precision(videos: Sequence[EvaluatedVideo]) -> Floats:
    precision, recall = precision_recall_points(pool_snippets(videos))
    precision[0] = precision[1]  # scikit-learn starts the curve at precision 1, which no threshold has
    return np.asarray(np.interp(GRID, recall, precision))


def _curves(
    figure: Figure,
    evaluation: Evaluation,
    curve: Callable[[Sequence[EvaluatedVideo]], Floats],
    x_label: str,
    y_label: str,
    *,
    chance: bool,
) -> None:
    """One line a method, mean and deviation over seeds: over all test videos, and over the abnormal ones."""
    figure.set_size_inches(8.6, 4.3)
    name = "frame_auc" if chance else "frame_ap"
    for place, inside in enumerate((False, True)):
        axes = figure.add_subplot(1, 2, place + 1)
        chosen = [[_chosen(seed, inside) for seed in method.videos] for method in evaluation.methods]
        pool = pool_snippets(chosen[0][0])
        share = pool.positives.sum() / (pool.positives.sum() + pool.negatives.sum())
        axes.plot(GRID, GRID if chance else np.full_like(GRID, share), color="#aaaaaa", lw=0.8, label="chance")
        for number, (method, seeds) in enumerate(zip(evaluation.methods, chosen, strict=True)):
            lines = np.array([curve(videos) for videos in seeds])
            mean, spread = lines.mean(axis=0), lines.std(axis=0, ddof=1) if len(lines) > 1 else np.zeros(len(GRID))
            key = "ano_auc" if inside and chance else name
            value = f" {100 * np.mean(method.columns()[key]):.1f}" if chance or not inside else ""
            colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
            axes.plot(GRID, mean, color=colour, ls=dash, lw=1.5, label=method.name + value)
            axes.fill_between(GRID, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
        axes.set(xlim=(0, 1), xlabel=f"{x_label} (frames)", ylabel=y_label)
        axes.set_ylim(0, 1 if chance else min(1, 1.3 * float(max(np.max(line.get_ydata()) for line in axes.lines))))
        where = "abnormal videos only" if inside else "all test videos"
        axes.set_title(where + ("" if inside and not chance else f", {'AUC' if chance else 'AP'} in %"))
        axes.legend(loc="lower right" if chance else "upper right", fontsize=8)


def _chosen(videos: Sequence[EvaluatedVideo], abnormal_only: bool) -> list[EvaluatedVideo]:
    return [one for one in videos if one.abnormal or not abnormal_only]


def _categories(figure: Figure, evaluation: Evaluation) -> None:
    """Bars of each category: frame AUC against the normal videos, and share of videos that are correctly classified."""
    counts: dict[str, int] = {}
    for one in evaluation.methods[0].videos[0]:
        for label in one.labels[:1]:
            counts[label] = counts.get(label, 0) + 1
    names = sorted(counts)
    figure.set_size_inches(8.6, 1.0 + len(names) * max(0.28, 0.11 * len(evaluation.methods)))
    left, right = figure.subplots(1, 2, sharey=True)
    thick = 0.8 / len(evaluation.methods)
    for number, method in enumerate(evaluation.methods):
        colour = COLOURS[number % len(COLOURS)]
        places = np.arange(len(names)) + (number + 0.5) * thick - 0.4
        auc = np.array([[d["category_auc"].get(name, np.nan) for name in names] for d in method.details])
        _bars(left, places, auc, thick, colour, method.name)
        if all("confusion" in d for d in method.details):
            correct = [[d["confusion"][name].get(name, 0) / counts[name] for name in names] for d in method.details]
            _bars(right, places, np.array(correct), thick, colour, method.name)
    left.axvline(0.5, color="#888888", lw=0.8)
    left.set(xlim=(0, 1), xlabel="frame AUC, with all normal videos (0.5: chance)")
    left.set_yticks(range(len(names)), [f"{name} ({counts[name]})" for name in names])
    left.invert_yaxis()
    right.set(xlim=(0, 1), xlabel="share of its videos correctly classified")
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    if len(evaluation.methods) > 1:
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4)


def _bars(
    axes: Axes, places: NDArray[np.floating], values: NDArray[np.floating], thick: float, colour: str, name: str
) -> None:
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else None
    axes.barh(
        places,
        values.mean(axis=0),
        height=0.9 * thick,
        color=colour,
        label=name,
        xerr=spread,
        error_kw={"lw": 0.7, "ecolor": "#222222"},
    )


def _scores(figure: Figure, evaluation: Evaluation, videos: dict[str, str]) -> None:
    """One panel a video: scores of each method (mean and range over seeds) over the annotated frames."""
    figure.set_size_inches(8.6, 0.6 + 1.25 * len(videos))
    panels = figure.subplots(len(videos), 1, squeeze=False)[:, 0]
    for axes, (video, words) in zip(panels, videos.items(), strict=True):
        shown: EvaluatedVideo | None = None
        for number, method in enumerate(evaluation.methods):
            seeds = [one for seed in method.videos for one in seed if one.video == video]
            if not seeds:
                continue
            shown = seeds[0]
            values = np.array([one.scores for one in seeds])
            colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
            axes.stairs(
                values.mean(axis=0), shown.edges, baseline=None, color=colour, ls=dash, lw=1.3, label=method.name
            )
            if len(values) > 1:
                axes.stairs(
                    values.max(axis=0), shown.edges, baseline=values.min(axis=0), fill=True, color=colour, alpha=0.15
                )
        if shown is None:
            continue
        for start, end in shown.intervals:
            axes.axvspan(start, end, color="#f3c5bd", alpha=0.7, lw=0, zorder=0, label="annotated")
        label = ", ".join(shown.labels) or "Normal"
        axes.set_title(f"{video} ({label})" + (f": {words}" if words else ""))
        axes.set(xlim=(0, shown.frame_count), ylim=(0, 1), yticks=(0, 0.5, 1))
    panels[-1].set_xlabel("frame")
    handles: dict[str, Artist] = {}
    for axes in panels:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(str(text), handle)
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=5)
