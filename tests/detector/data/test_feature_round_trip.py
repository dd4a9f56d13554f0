"""A random source, written in any layout and grammar, reads back to the same arrays, labels and times."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.feature_import import ImportOptions, import_features
from kgvad.video.video_ids import video_id

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,4}([.#=_ ,-][A-Z][a-z]{1,4}){0,3}", fullmatch=True).filter(
    lambda name: video_id(name) == name  # `C.Ts` is a file of the video `C`
)
DIM = 6


@st.composite
def sources(draw):
    """Videos with features [crops, T, D], labels, frames and rates, and the form in which they are written."""
    crops = draw(st.sampled_from([1, 5, 10]))
    names = draw(st.lists(NAMES, min_size=3, max_size=5, unique_by=str.casefold))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    lengths = draw(st.lists(st.sampled_from([11, 12, 13, 17]), min_size=len(names), max_size=len(names)))
    lengths[:2] = [12, 13]  # the rows differ, so they are snippets
    stride = draw(st.sampled_from([8, 16, 64]))
    videos = {
        name: {
            "array": random.integers(-8, 8, (crops, rows, DIM)).astype(np.float16),  # exact in float16
            "label": ("Normal", "Fall", "Theft")[index % 3],
            "frames": rows * stride + int(random.integers(0, stride)),
            "fps": float(random.choice([10, 12.5, 25])),
        }
        for index, (name, rows) in enumerate(zip(names, lengths, strict=True))
    }
    forms = ["TCD", "CTD", "files", "bare zero"] if crops > 1 else ["TD", "T1D", "text"]
    written = draw(st.sampled_from(forms))
    grammar = draw(st.sampled_from(["comma", "semicolon", "tab", "pandas", "plain"]))
    newline, mark = draw(st.sampled_from(["\n", "\r\n"])), draw(st.sampled_from(["", "\ufeff"]))
    root = draw(st.sampled_from(["/home/some one/feat/", "D:\\data\\feat\\", "feat/", "/x, y/feat/"]))
    return videos, stride, written, (grammar, newline, mark, root)


def write_arrays(folder, name, array, written):
    """Write one video and return the names of its files."""
    if written in ("files", "bare zero"):
        names = [
            f"{name}{'' if written == 'bare zero' and crop == 0 else f'__{crop}'}.npy" for crop in range(len(array))
        ]
        for file, crop in zip(names, array, strict=True):
            np.save(folder / file, crop)
        return names
    if written == "text":
        np.savetxt(folder / f"{name}.txt", array[0])
        return [f"{name}.txt"]
    solid = {"TD": lambda: array[0], "CTD": lambda: array}.get(written, lambda: array.transpose(1, 0, 2))()
    np.save(folder / f"{name}.npy", solid.astype(np.float32))
    return [f"{name}.npy"]


def write_list(path, rows, grammar, newline, mark):
    """Write ``(file, label, frames, fps)`` as a list."""
    if grammar == "plain":
        lines = [f"{file} {label}" for file, label, _, _ in rows]
    else:
        delimiter = {"comma": ",", "pandas": ",", "semicolon": ";", "tab": "\t"}[grammar]
        index = [""] if grammar == "pandas" else []
        lines = [delimiter.join([*index, "path", "label", "frames", "fps"])]
        for number, (file, *cells) in enumerate(rows):
            lines.append(delimiter.join([*([str(number)] if index else []), file, *map(str, cells)]))
    path.write_bytes((mark + newline.join(lines) + newline).encode())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=sources())
def test_what_is_written_is_read(source):
    videos, stride, written, (grammar, newline, mark, root) = source
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "feat").mkdir()
        rows = [
            (f"{root}{file}", one["label"], one["frames"], one["fps"])
            for name, one in videos.items()
            for file in write_arrays(folder / "feat", name, one["array"], written)
        ]
        write_list(folder / "own.csv", rows, grammar, newline, mark)
        if grammar == "plain":
            table = "".join(f"{name};{one['frames']};{one['fps']}\n" for name, one in videos.items())
            (folder / "frames.csv").write_text("video;n_frames;fps\n" + table)
        options = ImportOptions("own", frames=[folder / "frames.csv"] if grammar == "plain" else [], stride=stride)
        store = import_features([folder / "own.csv"], folder / "out", options)
        truth = Truth.load(folder / "out")
        assert store.ids() == sorted(videos)
        for name, one in videos.items():
            crops, entry = one["array"], store.info(name)
            np.testing.assert_array_equal(store.load(name), crops if len(crops) > 1 else crops[0])
            assert truth.videos[name].labels == (() if one["label"] == "Normal" else (one["label"],))
            assert (entry.frame_count, entry.fps, entry.assumed) == (one["frames"], one["fps"], ())
            starts = np.arange(crops.shape[1]) * stride
            np.testing.assert_array_equal(entry.spans()[:, 0], starts)
            assert entry.spans()[-1, 1] == one["frames"]


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 260), frames=st.integers(1, 5000))
def test_rows_spread_evenly_cover_every_frame_once(rows, frames):
    from kgvad.video.feature_layout import entry_of
    from kgvad.video.frame_counts import Clock

    frames = max(rows, frames)
    spans = entry_of("v", rows, Clock(frames, 25.0), "even", 16, 30.0).spans()
    lengths = np.diff(spans, axis=1).ravel()
    assert spans[0, 0] == 0 and spans[-1, 1] == frames and (spans[1:, 0] == spans[:-1, 1]).all()
    assert lengths.max() - lengths.min() <= 1
