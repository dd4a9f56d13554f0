import pytest
from detector_samples import kgvad

from kgvad.errors import UsageError


def test_every_detector_with_paper_needs_and_options():
    text = kgvad("detectors")
    assert "vadclip: Wu et al. 2024; anchors required; no captions\n    width=512 layers=2 " in text
    assert "sultani: Sultani et al. 2018; no anchors; no captions\n    width=512 dropout=0.6 " in text
    assert "\nsemvad: SemVAD; anchors required; captions required\n" in text


def test_the_options_of_one():
    text = kgvad("detectors", "sultani")
    assert "\ndropout\tnumber, >= 0, < 1\t0.6" in text and "\ntraining: epochs=" in text
    assert "\ncompatible\ttrue|false\tfalse" in kgvad("detectors", "vadclip")
    assert "\ncaptions.width\t" in kgvad("detectors", "anchor-fused")
    with pytest.raises(UsageError, match=r"'nothing'; .*anchor-aligned"):
        kgvad("detectors", "nothing")
