"""The figure of a bank: content, both file formats, determinism, hostile names, and the error without matplotlib."""

import io
import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from anchors_samples import tiny_bank
from PIL import Image

from kgvad.anchors.build import open_vocabulary
from kgvad.anchors.plot import DPI, draw, image, principal_components
from kgvad.errors import AnchorError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_bank(tmp_path_factory)


def texts(svg):
    root = ElementTree.fromstring(svg)
    return ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_svg_names_every_category_and_shows_every_cosine(made):
    bank, encoder, store = made
    wider = open_vocabulary(bank, encoder, store, ["<script>alert(1)</script>", "a man " * 40, "costs $5 or $6"])
    svg = image(wider, "svg")
    found = texts(svg)
    for name in ("Robbery", "Arson", "Normal", "<script>alert(1)</script>", "costs $5 or $6"):
        assert found.count(name) == 3, name  # both axes of the matrix, and the map
    assert max(len(text) for text in found if text.startswith("a man")) == 28
    cosines = wider.anchors @ wider.anchors.T
    shown = sorted(float(text) for text in found if re.fullmatch(r"-?\d?\.\d\d", text))
    expected = sorted(round(float(cosines[i, j]), 2) for i in range(6) for j in range(6) if i != j)
    assert np.allclose(shown[-len(expected) :] if len(shown) > len(expected) else shown, expected, atol=0.011)
    assert svg == image(wider, "svg")  # deterministic


def test_map_has_every_anchor_and_concept_at_its_principal_components(made):
    bank = made[0]
    axes = draw(bank).axes[1]
    points = np.concatenate(
        [collection.get_offsets() for collection in axes.collections if len(collection.get_offsets())]
    )
    expected = principal_components(np.concatenate([bank.anchors, bank.concept_vectors]))
    assert len(points) == len(expected)
    assert np.allclose(np.sort(points, axis=0), np.sort(expected, axis=0), atol=1e-6)


def test_principal_components_are_those_of_scikit_learn(made):
    from sklearn.decomposition import PCA

    vectors = made[0].concept_vectors
    ours, theirs = principal_components(vectors), PCA(2, svd_solver="full").fit_transform(vectors)
    assert np.allclose(np.abs(ours), np.abs(theirs), atol=1e-5)
    assert principal_components(vectors[:1]).shape == (1, 2)


def test_png_is_the_figure_at_its_resolution(made):
    picture = Image.open(io.BytesIO(image(made[0], "png")))
    width, height = draw(made[0]).get_size_inches() * DPI
    assert picture.format == "PNG" and picture.size == (round(width), round(height))
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 50  # not blank


def test_without_matplotlib_the_error_names_the_extra(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(AnchorError, match=r"needs matplotlib; pip install 'kgvad\[figures\]'"):
        draw(made[0])
