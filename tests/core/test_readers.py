"""Whatever a file contains, reading it gives a value or a one-line error that names the file."""

import gzip
import io
import json
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from kgvad.anchors.bank import AnchorBank
from kgvad.detector.data.annotations import Truth
from kgvad.detector.data.captions import caption_tracks
from kgvad.detector.data.feature_import import ImportOptions, import_features
from kgvad.detector.evaluation.published import collect
from kgvad.detector.run import read_config
from kgvad.detector.scoring.scores import Scores
from kgvad.detector.training.exemplars import Exemplars
from kgvad.errors import KgvadError
from kgvad.explain.quality.text_quality import read_references
from kgvad.explain.report import Report
from kgvad.kg.tables import load_table
from kgvad.settings import load_settings
from kgvad.video.feature_arrays import read_array
from kgvad.video.feature_lists import read_list
from kgvad.video.feature_store import FeatureStore, Manifest
from kgvad.video.frame_counts import read_frame_counts

SCORES = {"scores": [0.1, 0.9], "fps": 25.0, "spans": [[0, 16], [16, 32]], "frame_count": 32}


def npz(**arrays):
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def bank(folder):
    header = {
        "version": 1, "dataset": "toy", "categories": ["Normal", "A"], "normal": 0, "table_fingerprint": "f",
        "pooling": "mean", "created": "c", "facts_date": "d", "made_by": "kgvad",
        "encoder": {"name": "minilm", "fingerprint": "f", "dim": 2, "joint": None},
        "concepts": [
            {"text": t, "prompt": t, "relation": "label", "qid": None, "property": None, "path": [], "path_text": "",
             "source": "s", "fetched_at": None} for t in ("calm", "fight")
        ],
    }  # fmt: skip
    eye = np.eye(2, dtype=np.float32)
    tensors = {
        "anchors": eye, "concept_vectors": eye, "concept_category": np.arange(2),
        "concept_weight": np.ones(2, np.float32),
    }  # fmt: skip
    save_file(tensors, folder / "made", {"kgvad": json.dumps(header)})
    return (folder / "made").read_bytes()


def segments(path):
    for name, line in (("mist_SH_Train_new.txt", "v,0\n"), ("mist_SH_Test_NEW.txt", "")):
        (path.parent / name).write_text(line)
    return import_features([path], path.parent / "out", ImportOptions(dataset="shanghaitech"))


# Reader, file name, and a valid content where one is short to write.
READERS = {
    "scores npz": (Scores.load, "s.npz", npz(scores=np.array([0.1, 0.9], np.float32), fps=np.array(25.0))),
    "scores json": (Scores.load, "s.json", json.dumps(SCORES).encode()),
    "scores csv": (Scores.load, "s.csv", b'# {"fps": 25}\nstart,end,score\n0,16,0.5\n16,32,0.7\n'),
    "captions": (caption_tracks, "c.json", b'{"v": {"0": "a man runs", "16": "a man falls"}}'),
    "captions gz": (caption_tracks, "c.json.gz", gzip.compress(b'{"v": {"0": "a man runs"}}')),
    "bank": (AnchorBank.load, "b.safetensors", bank),
    "run config": (
        lambda path: read_config(path.parent), "config.json", b'{"version": 1, "detector": "anchor-aligned"}',
    ),
    "exemplars": (lambda path: Exemplars.load(path.parent), "exemplars.safetensors", b""),
    "manifest": (
        lambda path: FeatureStore.open(path.parent), "manifest.json",
        Manifest(encoder="e", dim=2).model_dump_json().encode(),
    ),
    "features": (read_array, "f.npy", npy(np.ones((3, 2), np.float16))),
    "segments": (segments, "a.npz", npz(v=np.ones((2, 3), np.float32))),
    "frame counts": (read_frame_counts, "n.json", b'{"v": 320}'),
    "frame table": (read_frame_counts, "n.csv", b"video,n_frames\nv,320\n"),
    "list": (read_list, "l.csv", b"path,label\nv__0.npy,Normal\n"),
    "listing": (read_list, "l.list", b"v__0.npy 1\n"),
    "dataset": (
        lambda path: Truth.load(path.parent), "dataset.json",
        b'{"version": 1, "dataset": "toy", "categories": ["Normal"], "videos": {}}',
    ),
    "table": (load_table, "t.toml", b'dataset = "toy"\n'),
    "settings": (lambda path: load_settings(path.parent), "kgvad.toml", b'dataset = "ucf"\n'),
    "evaluations": (lambda path: collect([path]), "e.json", b'{"version": 1, "evaluations": []}'),
    "references": (read_references, "r.json", b'{"v": ["a man falls"]}'),
    "report": (lambda path: Report.read(path), "r.json", b'{"schema_version": "1.2"}'),
}  # fmt: skip
GOOD = [name for name, (_, _, content) in READERS.items() if name not in ("run config", "exemplars", "table", "report")]
UNDECIDED = (b"", b"\x00" * 64, b"\xff\xfe\x00", b"null", b"17", b'"x"', b"[]", b"{}", b"[[[[", b"\x1f\x8b\x08")


def read(name, folder, content):
    """The value, or the one line of the error; anything else fails the test."""
    reader, file, _ = READERS[name]
    path = folder / file
    path.write_bytes(content)
    return outcome(reader, path)


def outcome(reader, path):
    try:
        return reader(path)
    except KgvadError as error:
        assert "\n" not in str(error).strip() or path.suffix == ".toml", str(error)
        assert path.name in str(error) or str(path.parent) in str(error), str(error)
        assert error.remedy, str(error)
        return str(error)


def valid(name, folder):
    content = READERS[name][2]
    return content(folder) if callable(content) else content


@pytest.mark.parametrize("name", GOOD)
def test_the_valid_file_is_read(name, tmp_path):
    assert not isinstance(read(name, tmp_path, valid(name, tmp_path)), str)


@pytest.mark.parametrize(
    "name", [name for name in GOOD if READERS[name][1].endswith((".json", ".csv", ".toml", ".list"))]
)
def test_a_byte_order_mark_does_no_harm(name, tmp_path):
    assert not isinstance(read(name, tmp_path, b"\xef\xbb\xbf" + valid(name, tmp_path)), str)


@pytest.mark.parametrize("name", READERS)
def test_damage_is_one_line(name, tmp_path):
    content = valid(name, tmp_path)
    generator = np.random.default_rng(0)
    for length in np.linspace(0, len(content), 12).astype(int):
        read(name, tmp_path, content[:length])
    for _ in range(60 if content else 0):
        flipped = bytearray(content)
        flipped[generator.integers(len(flipped))] ^= 1 << generator.integers(8)
        read(name, tmp_path, bytes(flipped))
    for other in UNDECIDED:
        read(name, tmp_path, other)


@pytest.mark.parametrize("name", READERS)
@given(content=st.binary(max_size=200))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_one_line(name, content, tmp_path):
    read(name, tmp_path, content)


JSON_NAMES = [name for name, (_, file, _) in READERS.items() if file.endswith(".json")]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["v", "0", "version", "scores", "fps", "spans", "videos", "n_frames"]), inner)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("name", JSON_NAMES)
@given(value=VALUES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wrong_types_are_one_line(name, value, tmp_path):
    read(name, tmp_path, json.dumps(value).encode())
    if isinstance(value, dict):
        read(name, tmp_path, json.dumps({**json.loads(valid(name, tmp_path)), **value}).encode())


@pytest.mark.parametrize("name", [*JSON_NAMES, "captions gz", "scores csv", "settings", "table"])
def test_a_hundred_thousand_brackets_are_one_line(name, tmp_path):
    deep = b"[" * 100_000
    content = {"captions gz": gzip.compress(deep), "scores csv": b"# " + deep + b"\n"}.get(name)
    if content is None:
        content = b"x = " + deep if READERS[name][1].endswith(".toml") else deep
    assert isinstance(read(name, tmp_path, content), str)


@pytest.mark.parametrize("name", ["captions", "references", "scores json"])
@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", '"\\ud800"'])
def test_nan_and_half_a_surrogate_pair_are_refused(name, text, tmp_path):
    assert "is not valid JSON" in read(name, tmp_path, b'{"v": {"0": %s}, "scores": 1}' % text.encode())


@pytest.mark.parametrize("name", READERS)
def test_a_folder_in_place_of_the_file_is_one_line(name, tmp_path):
    reader, file, _ = READERS[name]
    (tmp_path / file).mkdir()
    outcome(reader, tmp_path / file)


def npy_claiming(shape):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return out.getvalue() + b"\x00" * 64


def zipped(member, content, **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr(member, content, **options)
    return out.getvalue()


@pytest.mark.parametrize(("name", "member"), [("scores npz", "scores.npy"), ("segments", "v.npy"), ("features", None)])
@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 31, 1 << 31), (-1,), (1 << 62, 4)])
def test_an_array_that_claims_terabytes_is_refused(name, member, shape, tmp_path):
    content = npy_claiming(shape)
    said = read(name, tmp_path, content if member is None else zipped(member, content))
    assert isinstance(said, str) and "claims" in said


@pytest.mark.parametrize("name", ["scores npz", "segments"])
def test_an_encrypted_archive_is_one_line(name, tmp_path):
    content = bytearray(valid(name, tmp_path))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag "encrypted" of every member
        at = content.find(mark)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(mark, at + 4)
    assert "encrypted" in read(name, tmp_path, bytes(content))


def test_a_zip_bomb_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("kgvad.arrays.LARGEST_ARRAY", 1 << 20)
    bomb = npz(scores=np.zeros(1 << 20, np.float32))
    assert len(bomb) < 1 << 14
    assert "is larger than" in read("scores npz", tmp_path, bomb)


def test_a_gzip_bomb_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("kgvad.files.LARGEST_TEXT", 1 << 20)
    assert "is larger than 1 MB" in read("captions gz", tmp_path, gzip.compress(b" " * (4 << 20)))


@pytest.mark.parametrize("name", ["bank", "exemplars"])
def test_a_safetensors_header_that_claims_terabytes_is_refused(name, tmp_path):
    for claim in (1 << 40, (1 << 64) - 1, 50):
        assert isinstance(read(name, tmp_path, struct.pack("<Q", claim) + b'{"a":1}'), str)
    header = b'{"anchors":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    assert isinstance(read(name, tmp_path, struct.pack("<Q", len(header)) + header), str)


@pytest.mark.parametrize(
    "name", ["bank", "run config", "manifest", "dataset", "evaluations", "scores json", "scores npz"]
)
@pytest.mark.parametrize(("version", "said"), [(99, "update kgvad"), ("1", "version"), (True, "version")])
def test_another_version_is_refused(name, version, said, tmp_path):
    content = valid(name, tmp_path)
    if name == "scores npz":
        content = npz(scores=np.array([0.1]), about=np.array(json.dumps({"fps": 25, "version": version})))
    elif name == "bank":
        content = bank_of(tmp_path, version)
    else:
        content = json.dumps({**json.loads(content), "version": version}).encode()
    message = read(name, tmp_path, content)
    assert isinstance(message, str) and said in message


def bank_of(folder, version):
    content = bank(folder)
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    about = json.loads(header["__metadata__"]["kgvad"])
    header["__metadata__"]["kgvad"] = json.dumps({**about, "version": version})
    new = json.dumps(header).encode()
    return struct.pack("<Q", len(new)) + new + content[8 + size :]
