"""Archives of strangers: nothing outside, no links, no bombs."""

import stat
import zipfile

import numpy as np
import pytest

from kgvad.errors import DatasetError
from kgvad.sources.recipe import Part, SourceArrays
from kgvad.sources.staging import stage
from kgvad.sources.unpack import copy, opened


def archive(path, *entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in entries:
            bundle.writestr(name, data)
    return path


def members(path, most=None):
    with opened("a.zip", path, most) as found:
        return found


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "a/../../x.npy", "C:/x.npy", "..\\x.npy"])
def test_a_path_outside_is_refused(tmp_path, name):
    with pytest.raises(DatasetError, match="leads outside its folder; nothing was unpacked"):
        members(archive(tmp_path / "a.zip", (name, b"x")))


def test_links_twins_and_bombs_are_refused(tmp_path):
    link = zipfile.ZipInfo("link.npy")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DatasetError, match="is a link or a device"):
        members(archive(tmp_path / "a.zip", (link, b"/etc/passwd")))
    with pytest.warns(UserWarning, match="Duplicate"):
        twins = archive(tmp_path / "b.zip", ("x.npy", b"1"), ("x.npy", b"2"))
    with pytest.raises(DatasetError, match="occurs twice"):
        members(twins)
    with pytest.raises(DatasetError, match="would unpack to 30000000 bytes from"):
        members(archive(tmp_path / "c.zip", ("x.npy", bytes(30_000_000))))
    with pytest.raises(DatasetError, match="would unpack to more than 1500 bytes"):
        members(archive(tmp_path / "d.zip", ("x.npy", b"a" * 1000), ("y.npy", b"b" * 1000)), most=1500)


def test_a_damaged_archive_is_one_line(tmp_path):
    path = archive(tmp_path / "a.zip", ("x.bin", np.random.default_rng(0).bytes(5000)))
    data = bytearray(path.read_bytes())
    data[2000] ^= 255
    path.write_bytes(data)
    with opened("a.zip", path, None) as (member,), pytest.raises(DatasetError, match=r"a\.zip/x\.bin cannot be read"):
        copy(member, tmp_path / "x.bin")
    assert not (tmp_path / "x.bin").exists()
    path.write_bytes(b"no archive")
    with pytest.raises(DatasetError, match=r"a\.zip cannot be read"):
        members(path)


FEATURES = SourceArrays(encoder="e", dim=4, part=(Part(match="*rgb/*.npy", stream="rgb", rows=3),
                                              Part(match="*flow/*.npy", stream="flow", rows=3)))  # fmt: skip


def npy(array, **options):
    import io

    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def staged(tmp_path, *entries):
    with opened("a.zip", archive(tmp_path / "a.zip", *entries), None) as found:
        return stage(FEATURES, found, tmp_path / "out")


def test_streams_are_joined_by_file_name(tmp_path):
    rgb, flow = np.full((3, 4), 1, np.float32), np.full((3, 4), 2, np.float32)
    made = staged(tmp_path, ("rgb/A/a.mp4.npy", npy(rgb)), ("flow/A/a.mp4.npy", npy(flow)), ("README.md", b"hello"))
    (path,) = made.splits[None]
    np.testing.assert_array_equal(np.load(path), np.concatenate([rgb, flow], axis=1))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("rgb/a.npy", (3, 4))], r"0 arrays '\*flow/\*\.npy' where the recipe expects some"),
        ([("rgb/a.npy", (3, 4)), ("flow/b.npy", (3, 4))], r"a\.npy is in the stream rgb and not in flow"),
        ([("rgb/a.npy", (3, 5)), ("flow/a.npy", (3, 4))], r"rgb/a\.npy has the shape \[3, 5\] .* not of 4 dimensions"),
        ([("rgb/a.npy", (7, 4)), ("flow/a.npy", (3, 4))], "not of 3 segments"),
        ([("rgb/a.npy", (3, 4)), ("flow/a.npy", (3, 4)), ("more/a.npy", (3, 4))], "is in no folder that the recipe"),
        ([("rgb/x/a.npy", (3, 4)), ("rgb/y/a.npy", (3, 4)), ("flow/a.npy", (3, 4))], "have the same name"),
    ],
)
def test_what_differs_from_the_recipe_is_named(tmp_path, entries, message):
    with pytest.raises(DatasetError, match=message):
        staged(tmp_path, *((name, npy(np.ones(shape, np.float32))) for name, shape in entries))


def test_a_pickled_array_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="Python objects, which are never loaded"):
        staged(tmp_path, ("rgb/a.npy", npy(np.array([{}], object))), ("flow/a.npy", npy(np.ones((3, 4)))))
