"""The picture of a bank: the same in SVG and PNG, with everything in it and nothing hostile."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from anchors_samples import tiny_bank
from PIL import Image

from kgvad.anchors.bank import open_vocabulary
from kgvad.anchors.canvas import SCALE, Dot, Text
from kgvad.anchors.plot import picture


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_bank(tmp_path_factory)


def test_every_anchor_and_concept_is_drawn_inside_and_named(made):
    bank, encoder, store = made
    wider = open_vocabulary(bank, encoder, store, ["<script>alert(1)</script>", "a man " * 40])
    drawn = picture(wider)
    dots = [shape for shape in drawn.shapes if isinstance(shape, Dot) and shape.title]
    assert len(dots) == len(wider.concepts) + len(wider.categories)
    for shape in drawn.shapes:
        if isinstance(shape, Dot | Text):
            assert 0 < shape.x < drawn.width and 0 < shape.y < drawn.height
    root = ElementTree.fromstring(drawn.svg())
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Robbery", "Arson", "Normal", "<script>alert(1)</script>"} <= texts
    assert max(map(len, texts)) < 200  # a long name is cut
    assert drawn.svg() == picture(wider).svg()


def test_the_matrix_is_dark_where_anchors_are_alike(made):
    drawn = picture(made[0])
    cells = [shape for shape in drawn.shapes if getattr(shape, "width", 0) == getattr(shape, "height", 1) < 100]
    cosines = made[0].anchors @ made[0].anchors.T
    shades = np.array([int(cell.fill[1:3], 16) for cell in cells[:9]]).reshape(3, 3)
    off = [(0, 1), (0, 2), (1, 2)]
    assert shades[max(off, key=lambda ij: cosines[ij])] < shades[min(off, key=lambda ij: cosines[ij])]


def test_the_png_shows_what_the_svg_shows(made):
    drawn = picture(made[0])
    image = Image.open(io.BytesIO(drawn.png()))
    assert image.format == "PNG" and image.size == (round(drawn.width * SCALE), round(drawn.height * SCALE))
    anchors = [shape for shape in drawn.shapes if isinstance(shape, Dot) and shape.title.startswith("anchor of")]
    assert len(anchors) == 3
    for dot in anchors:  # nothing is drawn over an anchor but names beside it
        seen = image.getpixel((round(dot.x * SCALE), round(dot.y * SCALE)))
        wanted = tuple(int(dot.fill[i : i + 2], 16) for i in (1, 3, 5))
        assert max(abs(a - b) for a, b in zip(seen, wanted, strict=True)) < 12
